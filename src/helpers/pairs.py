r"""Covariances :math:`\mathrm{Cov}(\varphi(u), \varphi(v))` of a jointly Gaussian pair, by family of activation.

Each family answers two questions. ``prepare(s)`` computes, once a sample, what its variance ``s``
contributes; ``covariance(left, right, rho)`` combines two samples at correlation ``rho`` and returns the
covariance together with its derivative in ``rho``. By Price's theorem that derivative is
:math:`\sqrt{st}\,E[\varphi'(u)\varphi'(v)]`, so one evaluation serves the conjugate kernel, its Newton
step and the tangent kernel. A constant subtracted from :math:`\varphi` changes nothing here.

``prepare`` takes arrays of numpy. ``covariance`` takes arrays of numpy or tensors of torch, all three of
one kind, and answers in their type and precision; ``left`` and ``right`` come from one ``prepare``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, ndtr, owens_t

from helpers import wedge
from helpers.arrays import as_numpy, is_tensor, like, namespace
from helpers.quadrature import (
    Function,
    fineness,
    hermite_coefficients,
    in_variance,
    pair_mean,
    reach,
    rule,
)

Array = NDArray[np.float64]
ROOT_2PI = math.sqrt(2 * math.pi)  # not numpy's scalar, which would widen single precision
TOLERANCE = 1e-13  # share of E[phi^2] that a truncated series may leave out
MAX_DEGREE = {True: 2048, False: 256}  # of a Hermite series, smooth or not


class Pairs(Protocol):
    """What a family of activations provides; arrays of ``prepare`` have the samples on their last axis."""

    def prepare(self, s: Array) -> Array:
        """Contribution of each sample of variance ``s``, shape (..., n)."""
        ...

    def covariance(self, left: Array, right: Array, rho: Array) -> tuple[Array, Array]:
        """Covariance and its derivative in ``rho``, from the prepared ``left`` and ``right``; trailing axes broadcast against ``rho``."""
        ...


@dataclass(frozen=True)
class Rectifier:
    r"""Slope ``a`` right of zero and ``b`` left of it: ReLU, leaky ReLU, abs (arc-cosine kernels, Cho and Saul 2009)."""

    a: float
    b: float

    def prepare(self, s: Array) -> Array:
        """Standard deviations (n,) at variances ``s`` (n,)."""
        return np.sqrt(s)

    def covariance(self, left: Array, right: Array, rho: Array) -> tuple[Array, Array]:
        """Arc-cosine kernels of orders 1 and 0 (Cho and Saul 2009), without the mean; ``left``, ``right``, ``rho`` as in :class:`Pairs`."""
        odd, even = (self.a + self.b) ** 2 / 4, (self.a - self.b) ** 2 / (2 * np.pi)
        xp = namespace(rho)
        scale, angle = left * right, xp.arcsin(rho)
        value = odd * rho + even * (xp.sqrt((1 - rho) * (1 + rho)) + rho * angle - 1)
        return scale * value, scale * (odd + even * angle)


@dataclass(frozen=True)
class Jump:
    """Height ``a`` right of zero and ``b`` left of it: sign, step (arc-cosine kernel of order 0)."""

    a: float
    b: float

    def prepare(self, s: Array) -> Array:
        """Ones: a jump has no scale; ``s`` (n,) are variances."""
        return np.ones_like(s)

    def covariance(self, left: Array, right: Array, rho: Array) -> tuple[Array, Array]:
        """Arc-cosine kernel of order 0 (Cho and Saul 2009), without the mean; ``left``, ``right``, ``rho`` as in :class:`Pairs`."""
        xp, height = namespace(rho), (self.a - self.b) ** 2 / (2 * np.pi)
        with np.errstate(divide="ignore"):
            slope = height / xp.sqrt((1 - rho) * (1 + rho))
        return height * xp.arcsin(rho), slope


@dataclass(frozen=True)
class ErrorFunction:
    """erf(x), the arcsine kernel of Williams (1996)."""

    def prepare(self, s: Array) -> Array:
        r"""The factors :math:`\sqrt{2s/(1 + 2s)}` at variances ``s`` (n,)."""
        return np.sqrt(2 * s / (1 + 2 * s))

    def covariance(self, left: Array, right: Array, rho: Array) -> tuple[Array, Array]:
        """The arcsine kernel (Williams 1996); ``left``, ``right``, ``rho`` as in :class:`Pairs`."""
        xp, scale = namespace(rho), left * right
        sine = scale * rho
        return 2 / np.pi * xp.arcsin(sine), 2 / np.pi * scale / xp.sqrt((1 - sine) * (1 + sine))


@dataclass(frozen=True)
class Sine:
    """sin(x): E[sin u sin v] = exp(-(s+t)/2) sinh(c)."""

    def prepare(self, s: Array) -> Array:
        """Standard deviations (n,) at variances ``s`` (n,)."""
        return np.sqrt(s)

    def covariance(self, left: Array, right: Array, rho: Array) -> tuple[Array, Array]:
        """The formula of the class; ``left``, ``right``, ``rho`` as in :class:`Pairs`."""
        xp, scale, half = namespace(rho), left * right, (left**2 + right**2) / 2
        c = scale * rho
        size = xp.abs(c)
        near, lost = xp.exp(size - half) / 2, xp.expm1(-2 * size)  # keeps the digits of a small c
        return xp.copysign(near * lost, c), scale * near * (2 + lost)


@dataclass(frozen=True)
class Cosine:
    """cos(x): E[cos u cos v] = exp(-(s+t)/2) cosh(c)."""

    def prepare(self, s: Array) -> Array:
        """Standard deviations (n,) at variances ``s`` (n,)."""
        return np.sqrt(s)

    def covariance(self, left: Array, right: Array, rho: Array) -> tuple[Array, Array]:
        """The formula of the class, without the mean; ``left``, ``right``, ``rho`` as in :class:`Pairs`."""
        xp, scale, half = namespace(rho), left * right, (left**2 + right**2) / 4
        c = scale * rho
        size = xp.abs(c) / 2
        near, lost = xp.exp(size - half), xp.expm1(-2 * size)
        # cosh(c) - 1 = 2 sinh(c/2)^2 and sinh(c) = 2 sinh(c/2) cosh(c/2) keep the digits of a small c
        sine = near * lost
        return sine**2 / 2, scale * xp.copysign(sine * near * (2 + lost) / 2, c)


@dataclass(frozen=True)
class Bell:
    """exp(-x^2/2): E = 1/sqrt((1+s)(1+t) - c^2)."""

    def prepare(self, s: Array) -> Array:
        r"""Rows :math:`\sqrt{s/(1 + s)}` and :math:`1/\sqrt{1 + s}` at variances ``s`` (n,)."""
        return np.array([np.sqrt(s / (1 + s)), 1 / np.sqrt(1 + s)])

    def covariance(self, left: Array, right: Array, rho: Array) -> tuple[Array, Array]:
        """The formula of the class, without the mean; ``left``, ``right``, ``rho`` as in :class:`Pairs`."""
        scale, means = left[0] * right[0], left[1] * right[1]
        q = (scale * rho) ** 2
        root = namespace(rho).sqrt(1 - q)
        return means * q / (root * (1 + root)), means * scale**2 * rho / root**3


@dataclass(frozen=True)
class Hinges:
    r"""Piecewise linear :math:`b x + \sum_k d_k (x - x_k)_+`, by the bivariate normal distribution."""

    slope: float
    knots: tuple[float, ...]
    jumps: tuple[float, ...]

    def prepare(self, s: Array) -> Array:
        """Rows at variances ``s`` (n,): root, levels of the knots, mean slopes, mean hinges."""
        root = np.sqrt(s)
        # a knot beyond 10 standard deviations is a line to rounding, but its square would cancel
        levels = [np.clip(knot / root, -10.0, 10.0) for knot in self.knots]
        return np.array(
            [
                root,
                *levels,
                *[d * ndtr(-h) for d, h in zip(self.jumps, levels)],
                *[d * _hinge_mean(h) for d, h in zip(self.jumps, levels)],
            ]
        )

    def covariance(self, left: Array, right: Array, rho: Array) -> tuple[Array, Array]:
        """A sum over pairs of hinges, without the mean; ``left``, ``right``, ``rho`` as in :class:`Pairs`."""
        if is_tensor(rho):  # torch has no T function of Owen
            return _through_numpy(self.covariance, left, right, rho)
        m = len(self.knots)
        h, k = left[1 : m + 1], right[1 : m + 1]
        mean_left, mean_right = left[2 * m + 1 :].sum(0), right[2 * m + 1 :].sum(0)
        slopes = (
            self.slope + left[m + 1 : 2 * m + 1].sum(0),
            self.slope + right[m + 1 : 2 * m + 1].sum(0),
        )
        linear = self.slope * (slopes[0] + slopes[1] - self.slope)
        value, slope = linear * rho - mean_left * mean_right, linear + 0 * rho
        for i, d in enumerate(self.jumps):
            for j, e in enumerate(self.jumps):
                hinge, orthant = _hinge_pair(h[i], k[j], rho)
                value, slope = value + d * e * hinge, slope + d * e * orthant
        return left[0] * right[0] * value, left[0] * right[0] * slope


def _through_numpy(
    covariance: Callable[..., tuple[Array, Array]], *tensors: Array
) -> tuple[Array, Array]:
    """A covariance of tensors whose functions torch does not have."""
    value, slope = covariance(*map(as_numpy, tensors))
    return like(tensors[-1], value), like(tensors[-1], slope)


def _density(x: Array) -> Array:
    return np.exp(-(x**2) / 2) / ROOT_2PI


def _hinge_mean(h: Array) -> Array:
    """E[(U - h)_+] of a standard Gaussian."""
    mean: Array = _density(h) - h * ndtr(-h)
    return mean


def _hinge_pair(h: Array, k: Array, rho: Array) -> tuple[Array, Array]:
    """E[(U-h)_+ (V-k)_+] and P(U > h, V > k) of a standard pair at correlation rho."""
    root = np.sqrt(np.maximum((1 - rho) * (1 + rho), 1e8 * np.finfo(rho.dtype).tiny))
    small = np.sqrt(np.finfo(root.dtype).tiny)  # at a knot of zero, ratios of limits
    h, k = np.where(h == 0, small, h), np.where(k == 0, small, k)
    over_h, over_k = _residual(h, k, rho), _residual(k, h, rho)
    orthant = _orthant(h, k, over_h, over_k, root)
    mass = np.exp(-((over_h / root) ** 2 + k**2) / 2) / (2 * np.pi)
    tails = k * _density(h) * ndtr(-over_k / root) + h * _density(k) * ndtr(-over_h / root)
    return (rho + h * k) * orthant - tails + root * mass, orthant


def _residual(h: Array, k: Array, rho: Array) -> Array:
    """h - rho k without the cancellation at correlations near one."""
    return np.where(rho >= 0, (h - k) + (1 - rho) * k, (h + k) - (1 + rho) * k)


def _orthant(h: Array, k: Array, over_h: Array, over_k: Array, root: Array) -> Array:
    """P(U > h, V > k) by Owen's T function (Owen 1956)."""
    wedge = owens_t(h, over_k / (h * root)) + owens_t(k, over_h / (k * root))
    apart = ((h < 0) != (k < 0)).astype(root.dtype)
    mass: Array = (ndtr(-h) + ndtr(-k)) / 2 - wedge - 0.5 * apart
    return mass


@dataclass(frozen=True)
class Polynomial:
    r"""Any polynomial, in closed form: its series :math:`\sum_k c_k(s) c_k(t) \rho^k` ends.

    It is a sum of Hermite polynomials of variance ``origin``, :math:`\sum_n w_n He_n^{[o]}(x)/\sqrt{n!}`:
    powers for :math:`o = 0`, the orthonormal Hermite polynomials for :math:`o = 1`. At variance s,

    .. math:: c_k(s) = s^{k/2} \sum_{i \ge 0} w_{k+2i} \sqrt{\frac{(k+2i)!}{k!}} \frac{(s - o)^i}{2^i i!}.
    """

    weights: tuple[float, ...]
    origin: float

    def expansion(self, s: Array) -> Array:
        """Coefficients c_0 ... c_N in orthonormal Hermite polynomials, shape (N + 1, n), at variances ``s`` (n,)."""
        w, rows = np.array(self.weights), []
        for k in range(len(w)):
            i = np.arange((len(w) - k + 1) // 2)
            n = k + 2 * i
            factors = np.exp((gammaln(n + 1) - gammaln(k + 1)) / 2 - gammaln(i + 1)) / 2.0**i
            rows.append(
                s ** (k / 2) * np.polynomial.polynomial.polyval(s - self.origin, w[n] * factors)
            )
        return np.array(rows)

    def prepare(self, s: Array) -> Array:
        """The :meth:`expansion` at variances ``s`` (n,)."""
        return self.expansion(s)

    def covariance(self, left: Array, right: Array, rho: Array) -> tuple[Array, Array]:
        """The finite series, summed by Horner's rule; ``left``, ``right``, ``rho`` as in :class:`Pairs`."""
        return _horner(left, right, rho)


@dataclass(frozen=True)
class Wedge:
    """A function that is smooth on either side of zero, by the tables of :mod:`helpers.wedge`."""

    function: Function
    slope: Function
    name: str = "activation"

    def prepare(self, s: Array) -> Array:
        """Rows: the grid of variances (two numbers), the standard deviation, the grid's functions."""
        grid = wedge.Grid.of(s)
        wedge.tables(self.function, self.slope, self.name, grid)  # before threads ask for them
        head = [np.full_like(s, grid.top), np.full_like(s, grid.occupied), np.sqrt(s)]
        return np.concatenate([head, grid.basis(s)])

    def covariance(self, left: Array, right: Array, rho: Array) -> tuple[Array, Array]:
        """Clenshaw's sum over the tables; ``left``, ``right``, ``rho`` as in :class:`Pairs`."""
        grid = wedge.Grid(*(int(row.reshape(-1)[0]) for row in left[:2]))
        scale, y = left[2] * right[2], wedge.coordinate(rho, namespace(rho))
        value, slope = (
            _clenshaw(like(rho, table), left[3:], right[3:], y)
            for table in wedge.tables(self.function, self.slope, self.name, grid)
        )
        return scale * value, scale * slope


def _clenshaw(table: Array, left: Array, right: Array, y: Array) -> Array:
    r"""Sum of :math:`T_q(y)\,l^\top M_q r` over q for the functions l and r of two samples."""
    if left.shape[2:] == (1,) and right.shape[1:2] == (1,):  # a tile: all rows meet all columns

        def coefficient(q: int) -> Array:
            product: Array = (left[..., 0].T @ table[q]) @ right[:, 0]
            return product
    else:
        xp = namespace(y)
        left, right = (
            xp.broadcast_arrays(left, right) if xp is np else xp.broadcast_tensors(left, right)
        )

        def coefficient(q: int) -> Array:
            rows = (table[q].T @ left.reshape(len(left), -1)).reshape(left.shape)
            product: Array = (rows * right).sum(0)
            return product

    now = after = 0.0 * y
    for q in range(len(table) - 1, 0, -1):
        now, after = coefficient(q) + 2 * y * now - after, now
    return coefficient(0) + y * now - after


@dataclass(frozen=True)
class Series:
    r"""Any square-integrable function, by :math:`\sum_{k \ge 1} c_k(s) c_k(t) \rho^k` (Mehler 1866).

    What the terms left out may add to a pair is, by Cauchy-Schwarz, at most
    :math:`r(s) r(t) |\rho|^{N+1}` with :math:`r^2 = E[f^2] - \sum_{k \le N} c_k^2` (Parseval). Where this
    a-priori bound exceeds the tolerance, at correlations near one of a function with kinks, the pair is
    integrated in two dimensions instead. Functions with a kink at zero alone are for :class:`Wedge`.
    """

    function: Function
    slope: Function
    kinks: tuple[float, ...] = ()
    name: str = "activation"

    def prepare(self, s: Array) -> Array:
        """Rows at variances ``s`` (n,): the standard deviation in the place of c_0, then c_1 ... c_N, then r."""
        ends, degree = np.array([s.min(), s.max()]), 32
        while (
            degree < MAX_DEGREE[not self.kinks]
            and _left_out(self._expand(ends, degree)) > TOLERANCE
        ):
            degree *= 2
        rows = in_variance(lambda v: self._expand(v, degree), s)
        return np.concatenate([np.sqrt(s)[None], _without_parity(rows[1:-1]), np.abs(rows[-1:])])

    def _expand(self, s: Array, degree: int) -> Array:
        """Coefficients c_0 ... c_N and, in a last row, the remainder r^2."""
        far = reach(self.function, s, self.name)
        fine = fineness(self.function, s, self.kinks, far, self.name)
        rows = hermite_coefficients(self.function, s, degree, self.kinks, far, fine)
        nodes, weights = rule(s, self.kinks, degree, far, fine)
        norms = (weights * self.function(np.sqrt(s)[:, None] * nodes) ** 2).sum(axis=1)
        return np.concatenate([rows, (norms - (rows**2).sum(axis=0))[None]])

    def covariance(self, left: Array, right: Array, rho: Array) -> tuple[Array, Array]:
        """The series, summed by Horner's rule, or quadrature where it does not reach; ``left``, ``right``, ``rho`` as in :class:`Pairs`."""
        value, slope = _horner(left[:-1], right[:-1], rho)
        far = self._left_out_of_reach(left, right, rho)
        if far is not None:
            xp = namespace(rho)
            far = xp.broadcast_to(far, value.shape)
            chosen = (
                xp.broadcast_to(array, value.shape)[far] for array in (left[0], right[0], rho)
            )
            integrate = self._integrate if xp is np else partial(_through_numpy, self._integrate)
            value[far], slope[far] = integrate(*chosen)
        return value, slope

    def _left_out_of_reach(self, left: Array, right: Array, rho: Array) -> Array | None:
        """Pairs whose a-priori bound exceeds the tolerance; None, found without a power a pair, if none does."""
        xp = namespace(rho)
        sizes = xp.amax(xp.abs(left[1:-1]), 0) * xp.amax(xp.abs(right[1:-1]), 0)
        allowed = 1e3 * TOLERANCE * sizes
        remainder, order = xp.sqrt(left[-1] * right[-1]) * len(left), len(left) - 2
        if remainder.max() * max(rho.max(), -rho.min()) ** order <= allowed.min():
            return None
        far = remainder * xp.abs(rho) ** order > allowed
        return far if far.any() else None

    def _integrate(self, left: Array, right: Array, rho: Array) -> tuple[Array, Array]:
        s, t = left**2, right**2
        means = [self._expand(v, 0)[0] for v in (s, t)]
        both = np.concatenate([s, t])
        fine = fineness(
            self.function, both, self.kinks, reach(self.function, both, self.name), self.name
        )
        value = pair_mean(self.function, s, t, rho, self.kinks, fine) - means[0] * means[1]
        return value, left * right * pair_mean(self.slope, s, t, rho, self.kinks, fine)


def _left_out(rows: Array) -> float:
    """Largest share of E[f^2] that a truncated expansion leaves out."""
    return float((rows[-1] / ((rows[:-1] ** 2).sum(axis=0) + np.abs(rows[-1]))).max())


def _horner(left: Array, right: Array, rho: Array) -> tuple[Array, Array]:
    """Sum of c_k(s) c_k(t) rho^k over k >= 1, and its derivative in rho."""
    xp = namespace(rho)
    shape = np.broadcast_shapes(left[0].shape, right[0].shape, rho.shape)
    where = {"dtype": rho.dtype} if xp is np else {"dtype": rho.dtype, "device": rho.device}
    value, slope, term = (
        xp.zeros(shape, **where),
        xp.zeros(shape, **where),
        xp.empty(shape, **where),
    )
    degree = _degree(left, right, rho)
    first = 1 if left[1::2].any() else 2
    stride = 1 if first == 1 and left[2::2].any() else 2  # an odd or even function skips
    power = rho if stride == 1 else rho * rho
    for k in range(first + stride * ((degree - first) // stride), 0, -stride):
        slope *= power
        slope += value
        value *= power
        value += xp.multiply(left[k], right[k], out=term)
    below = 1.0 if first == 1 else rho  # rho^(first - 1)
    slope *= stride * below * power
    slope += first * below * value
    value *= below * rho
    return value, slope


def _without_parity(rows: Array) -> Array:
    """Set the coefficients c_1 ... of an absent parity, which are rounding, to zero."""
    energy = (rows**2).max(axis=1)
    for start in (0, 1):
        if energy[start::2].sum() < 1e-28 * energy.sum():
            rows[start::2] = 0.0
    return rows


def _degree(left: Array, right: Array, rho: Array) -> int:
    """Last term that matters at the largest correlation present (its derivative included)."""
    xp = namespace(rho)
    sizes = [xp.amax(xp.abs(side.reshape(len(side), -1)), 1) for side in (left, right)]
    products = as_numpy(sizes[0] * sizes[1])
    orders = np.arange(1, len(products))
    terms = orders * products[1:] * float(max(rho.max(), -rho.min())) ** (orders - 1)
    tail = np.cumsum(terms[::-1])[::-1]
    precision = max(TOLERANCE, float(xp.finfo(rho.dtype).eps))
    return max(1, int((tail > 1e-2 * precision * products[1:].max()).sum()))
