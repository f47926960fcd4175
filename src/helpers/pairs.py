r"""Covariances :math:`\mathrm{Cov}(\varphi(u), \varphi(v))` of a jointly Gaussian pair, by family of activation.

Each family answers two questions. ``prepare(s)`` computes, once a sample, what its variance ``s``
contributes; ``covariance(left, right, rho)`` combines two samples at correlation ``rho`` and returns the
covariance together with its derivative in ``rho``. By Price's theorem that derivative is
:math:`\sqrt{st}\,E[\varphi'(u)\varphi'(v)]`, so one evaluation serves the conjugate kernel, its Newton
step and the tangent kernel. A constant subtracted from :math:`\varphi` changes nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, owens_t

from helpers.quadrature import Function, hermite_coefficients, in_variance, pair_mean, rule

Array = NDArray[np.float64]
TOLERANCE = 1e-13  # share of E[phi^2] that a truncated series may leave out
MAX_DEGREE = 256  # a Hermite series that needs many more terms than this has a kink


class Pairs(Protocol):
    """What a family of activations provides; arrays of ``prepare`` have the samples on their last axis."""

    def prepare(self, s: Array) -> Array:
        """Contribution of each sample of variance ``s``, shape (..., n)."""
        ...

    def covariance(self, left: Array, right: Array, rho: Array) -> tuple[Array, Array]:
        """Covariance and its derivative in ``rho``; trailing axes broadcast against ``rho``."""
        ...


@dataclass(frozen=True)
class Rectifier:
    r"""Slope ``a`` right of zero and ``b`` left of it: ReLU, leaky ReLU, abs (arc-cosine kernels, Cho and Saul 2009)."""

    a: float
    b: float

    def prepare(self, s: Array) -> Array:
        return np.sqrt(s)

    def covariance(self, left: Array, right: Array, rho: Array) -> tuple[Array, Array]:
        odd, even = (self.a + self.b) ** 2 / 4, (self.a - self.b) ** 2 / (2 * np.pi)
        scale, angle = left * right, np.arcsin(rho)
        value = odd * rho + even * (np.sqrt((1 - rho) * (1 + rho)) + rho * angle - 1)
        return scale * value, scale * (odd + even * angle)


@dataclass(frozen=True)
class Jump:
    """Height ``a`` right of zero and ``b`` left of it: sign, step (arc-cosine kernel of order 0)."""

    a: float
    b: float

    def prepare(self, s: Array) -> Array:
        return np.ones_like(s)

    def covariance(self, left: Array, right: Array, rho: Array) -> tuple[Array, Array]:
        height = (self.a - self.b) ** 2 / (2 * np.pi)
        with np.errstate(divide="ignore"):
            slope = height / np.sqrt((1 - rho) * (1 + rho))
        return height * np.arcsin(rho), slope


@dataclass(frozen=True)
class ErrorFunction:
    """erf(x), the arcsine kernel of Williams (1996)."""

    def prepare(self, s: Array) -> Array:
        return np.sqrt(2 * s / (1 + 2 * s))

    def covariance(self, left: Array, right: Array, rho: Array) -> tuple[Array, Array]:
        scale = left * right
        sine = scale * rho
        return 2 / np.pi * np.arcsin(sine), 2 / np.pi * scale / np.sqrt((1 - sine) * (1 + sine))


@dataclass(frozen=True)
class Sine:
    """sin(x): E[sin u sin v] = exp(-(s+t)/2) sinh(c)."""

    def prepare(self, s: Array) -> Array:
        return np.sqrt(s)

    def covariance(self, left: Array, right: Array, rho: Array) -> tuple[Array, Array]:
        c, scale = left * right * rho, left * right
        near, far = np.exp(c - (left**2 + right**2) / 2), np.exp(-c - (left**2 + right**2) / 2)
        return (near - far) / 2, scale * (near + far) / 2


@dataclass(frozen=True)
class Cosine:
    """cos(x): E[cos u cos v] = exp(-(s+t)/2) cosh(c)."""

    def prepare(self, s: Array) -> Array:
        return np.sqrt(s)

    def covariance(self, left: Array, right: Array, rho: Array) -> tuple[Array, Array]:
        c, scale = left * right * rho, left * right
        half = (left**2 + right**2) / 4
        near, far = np.exp(c / 2 - half), np.exp(-c / 2 - half)
        # cosh(c) - 1 = 2 sinh(c/2)^2 keeps the digits of a small covariance
        return (near - far) ** 2 / 2, scale * (near - far) * (near + far) / 2


@dataclass(frozen=True)
class Bell:
    """exp(-x^2/2): E = 1/sqrt((1+s)(1+t) - c^2)."""

    def prepare(self, s: Array) -> Array:
        return np.array([np.sqrt(s / (1 + s)), 1 / np.sqrt(1 + s)])

    def covariance(self, left: Array, right: Array, rho: Array) -> tuple[Array, Array]:
        scale, means = left[0] * right[0], left[1] * right[1]
        q = (scale * rho) ** 2
        root = np.sqrt(1 - q)
        return means * q / (root * (1 + root)), means * scale**2 * rho / root**3


@dataclass(frozen=True)
class Hinges:
    r"""Piecewise linear :math:`b x + \sum_k d_k (x - x_k)_+`, by the bivariate normal distribution."""

    slope: float
    knots: tuple[float, ...]
    jumps: tuple[float, ...]

    def prepare(self, s: Array) -> Array:
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


def _density(x: Array) -> Array:
    return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


def _hinge_mean(h: Array) -> Array:
    """E[(U - h)_+] of a standard Gaussian."""
    return _density(h) - h * ndtr(-h)


def _hinge_pair(h: Array, k: Array, rho: Array) -> tuple[Array, Array]:
    """E[(U-h)_+ (V-k)_+] and P(U > h, V > k) of a standard pair at correlation rho."""
    root = np.sqrt(np.maximum((1 - rho) * (1 + rho), 1e-300))
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
    h, k = np.where(h == 0, 1e-300, h), np.where(k == 0, 1e-300, k)
    wedge = owens_t(h, over_k / (h * root)) + owens_t(k, over_h / (k * root))
    return (ndtr(-h) + ndtr(-k)) / 2 - wedge - np.where(h * k < 0, 0.5, 0.0)


@dataclass(frozen=True)
class Series:
    r"""Any square-integrable function, by :math:`\sum_{k \ge 1} c_k(s) c_k(t) \rho^k` (Mehler 1866).

    What the terms left out may add to a pair is, by Cauchy-Schwarz, at most
    :math:`r(s) r(t) |\rho|^{N+1}` with :math:`r^2 = E[f^2] - \sum_{k \le N} c_k^2` (Parseval). Where this
    a-priori bound exceeds the tolerance, at correlations near one of a function with kinks, the pair is
    integrated in two dimensions instead.
    """

    function: Function
    slope: Function
    kinks: tuple[float, ...] = ()
    name: str = "activation"

    def prepare(self, s: Array) -> Array:
        """Rows: the standard deviation in the place of c_0, then c_1 ... c_N, then r."""
        ends, degree = np.array([s.min(), s.max()]), 32
        while degree < MAX_DEGREE and _left_out(self._expand(ends, degree)) > TOLERANCE:
            degree *= 2
        rows = in_variance(lambda v: self._expand(v, degree), s)
        return np.concatenate([np.sqrt(s)[None], _without_parity(rows[1:-1]), np.abs(rows[-1:])])

    def _expand(self, s: Array, degree: int) -> Array:
        """Coefficients c_0 ... c_N and, in a last row, the remainder r^2."""
        rows = hermite_coefficients(self.function, s, degree, self.kinks)
        nodes, weights = rule(s, self.kinks, degree)
        norms = (weights * self.function(np.sqrt(s)[:, None] * nodes) ** 2).sum(axis=1)
        return np.concatenate([rows, (norms - (rows**2).sum(axis=0))[None]])

    def covariance(self, left: Array, right: Array, rho: Array) -> tuple[Array, Array]:
        value, slope = _horner(left[:-1], right[:-1], rho)
        bound = np.sqrt(left[-1] * right[-1]) * len(left) * np.abs(rho) ** (len(left) - 2)
        sizes = np.abs(left[1:-1]).max(axis=0) * np.abs(right[1:-1]).max(axis=0)
        far = np.broadcast_to(bound > 1e3 * TOLERANCE * sizes, value.shape)
        if far.any():
            value[far], slope[far] = self._integrate(
                *(np.broadcast_to(array, value.shape)[far] for array in (left[0], right[0], rho))
            )
        return value, slope

    def _integrate(self, left: Array, right: Array, rho: Array) -> tuple[Array, Array]:
        s, t = left**2, right**2
        means = [self._expand(v, 0)[0] for v in (s, t)]
        value = pair_mean(self.function, s, t, rho, self.kinks) - means[0] * means[1]
        return value, left * right * pair_mean(self.slope, s, t, rho, self.kinks)


def _left_out(rows: Array) -> float:
    """Largest share of E[f^2] that a truncated expansion leaves out."""
    return float((rows[-1] / ((rows[:-1] ** 2).sum(axis=0) + np.abs(rows[-1]))).max())


def _horner(left: Array, right: Array, rho: Array) -> tuple[Array, Array]:
    """Sum of c_k(s) c_k(t) rho^k over k >= 1, and its derivative in rho."""
    shape = np.broadcast_shapes(left[0].shape, right[0].shape, rho.shape)
    value, slope, term = np.zeros(shape), np.zeros(shape), np.empty(shape)
    degree = _degree(left, right, rho)
    first = 1 if left[1::2].any() else 2
    stride = 1 if first == 1 and left[2::2].any() else 2  # an odd or even function skips
    power = rho if stride == 1 else rho * rho
    for k in range(first + stride * ((degree - first) // stride), 0, -stride):
        slope *= power
        slope += value
        value *= power
        value += np.multiply(left[k], right[k], out=term)
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
    axes = tuple(range(1, left.ndim)), tuple(range(1, right.ndim))
    products = np.abs(left).max(axis=axes[0]) * np.abs(right).max(axis=axes[1])
    orders = np.arange(1, len(products))
    terms = orders * products[1:] * np.abs(rho).max() ** (orders - 1)
    tail = np.cumsum(terms[::-1])[::-1]
    return max(1, int((tail > 1e-2 * TOLERANCE * products[1:].max()).sum()))
