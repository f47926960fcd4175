r"""Expectations :math:`E[f(\sqrt{s}\,\xi)]` of a scalar Gaussian, exact to rounding, for many s at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Function = Callable[[Array], Array]

DEGREES = (16, 32, 64, 128)  # of an interpolation in the variance, tried in turn
PIECE = 1.0  # of log s: interpolation keeps digits relative to the largest value it sees
ROUNDING = 4e-15  # what a sum of a few hundred terms leaves
REACHES = (12.5, 20.0, 30.0)  # standard deviations, the first that holds the mass is taken
PAIR_REACH = 9.0  # of an integral in two dimensions: 2e-19 of the mass lies beyond
# breaks about a kink, where a broken power is not smooth: six times nearer each time
NEAR = tuple(sign * 0.5 / 6**k for k in range(4) for sign in (-1, 1)) + (0.0,)
CHUNK = 32  # pairs integrated at once
NODES = 20  # Gauss-Legendre nodes a panel


@lru_cache(maxsize=1)
def _legendre() -> tuple[Array, Array]:
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return 0.5 * (nodes + 1.0), 0.5 * weights


def reach(f: Function, s: Array, name: str) -> float:
    r"""Standard deviations beyond which :math:`f(\sqrt s\,\xi)^2` and :math:`\xi^2` carry no mass; ``name`` is that of f in errors.

    The largest variance decides: exp has its mass near :math:`2\sqrt s`.

    Raises
    ------
    ValueError
        If the mass grows outward up to 30 standard deviations.
    """
    root = np.sqrt(np.max(s))
    for end in REACHES:
        xi = np.linspace(-end, end, 201)
        with np.errstate(over="ignore", invalid="ignore"):
            mass = (f(root * xi) * xi) ** 2 * np.exp(-0.5 * xi**2)
        if mass[[0, -1]].max() <= 1e-15 * mass.max() < np.inf:
            return end
    raise ValueError(
        f"{name} grows too fast: its Gaussian moments at variance {root**2:.3g} are not finite, "
        "or beyond the quadrature's reach"
    )


def fineness(f: Function, s: Array, kinks: tuple[float, ...], far: float, name: str) -> float:
    """Panels a panel of :func:`rule` that :math:`E[f^2]` asks for at the largest variance.

    Parameters
    ----------
    f : callable
    s : (n,) array
        Variances.
    kinks : tuple of float
    far : float
        As in :func:`rule`.
    name : str
        That of f in errors.

    Raises
    ------
    ValueError
        If eight are too few.
    """
    s, before = np.max(s, keepdims=True).reshape(1), np.nan
    for fine in (1.0, 2.0, 4.0, 8.0, 16.0):
        nodes, weights = rule(s, kinks, far=far, fine=fine)
        moment = float((weights * f(np.sqrt(s)[:, None] * nodes) ** 2).sum())
        if abs(moment - before) <= 1e-13 * moment:
            return fine / 2
        error, before = abs(before / moment - 1) if moment else 0.0, moment
    raise ValueError(
        f"{name} varies too fast for the quadrature at variance {s[0]:.3g}: its second moment is "
        f"known to {error:.1e} only"
    )


def rule(
    s: Array,
    kinks: tuple[float, ...] = (),
    degree: int = 8,
    far: float = REACHES[0],
    fine: float = 1.0,
) -> tuple[Array, Array]:
    r"""Nodes and weights of :math:`\xi` for each variance, split where the integrand has kinks.

    Gauss-Legendre panels between the kinks of :math:`f`, short enough for the scale of
    :math:`f(\sqrt s\,\xi)` and for the oscillations of a Hermite polynomial of the given degree.

    Parameters
    ----------
    s : (n,) array
        Variances, positive.
    kinks : tuple of float
        Points where ``f`` is not smooth, in the units of its argument.
    degree : int
        Highest degree of a polynomial that multiplies ``f``.
    far : float
        Standard deviations where the panels end, see :func:`reach`.
    fine : float
        Panels a panel, see :func:`fineness`.

    Returns
    -------
    nodes, weights : (n, m) arrays
        ``(weights * f(sqrt(s) * nodes)).sum(-1)`` is the expectation.
    """
    s = np.asarray(s, dtype=float)
    width = min(3.0, 3.0 / np.sqrt(s.max()), 12.0 / np.sqrt(degree + 1.0))
    breaks = np.array(kinks)[None, :] / np.sqrt(s)[:, None]
    return _panels(np.concatenate([breaks + near for near in NEAR], axis=1), width / fine, far)


def hermite_coefficients(
    f: Function,
    s: Array,
    degree: int,
    kinks: tuple[float, ...] = (),
    far: float = REACHES[0],
    fine: float = 1.0,
) -> Array:
    r"""Coefficients :math:`c_k(s) = E[f(\sqrt s\,\xi) h_k(\xi)]` in orthonormal Hermite polynomials.

    Parameters
    ----------
    f : callable
        Vectorized real function.
    s : (n,) array
        Variances, positive.
    degree : int
        Highest ``k``.
    kinks : tuple of float
        Points where ``f`` is not smooth.
    far, fine : float
        As in :func:`rule`.

    Returns
    -------
    (degree + 1, n) array
        Row ``k`` holds :math:`c_k`; :math:`\sum_k c_k^2 = E[f^2]` (Parseval).
    """
    nodes, weights = rule(s, kinks, degree, far, fine)
    # carry the square root of the weight in h_k: the recursion is then bounded (Hermite functions)
    root = np.sqrt(weights)
    integrand = f(np.sqrt(np.asarray(s, dtype=float))[:, None] * nodes) * root
    before, now = np.zeros_like(root), root.copy()
    rows = []
    for k in range(degree + 1):
        rows.append(np.einsum("ij,ij->i", integrand, now))
        before, now = now, (nodes * now - np.sqrt(k) * before) / np.sqrt(k + 1.0)
    return np.array(rows)


def in_variance(function: Function, s: Array) -> Array:
    r"""Values of a function of the variance at very many variances, by Chebyshev interpolation in log s.

    Gaussian moments are analytic in s, and the norms of real data span a narrow range: a few dozen
    evaluations serve any number of samples. A wide range is cut into pieces, so that the values at small
    variances keep their own digits.

    Parameters
    ----------
    function : callable
        Maps (q,) variances to (..., q) values.
    s : (n,) array
        Positive variances.

    Returns
    -------
    (..., n) array
    """
    if s.size <= DEGREES[0] + 1:
        return function(s)
    cell = np.floor((np.log(s) - np.log(s.min())) / PIECE)
    order = np.argsort(cell, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(cell[order])) + 1)
    values = np.concatenate([_interpolated(function, s[part]) for part in parts], axis=-1)
    return values[..., np.argsort(order)]


def _interpolated(function: Function, s: Array) -> Array:
    """One piece: the degree is doubled until the last Chebyshev coefficients are rounding; a function
    that resists is evaluated everywhere."""
    low, high = np.log(s.min()), np.log(s.max())
    if s.size <= DEGREES[0] + 1:
        return function(s)
    middle, half = (low + high) / 2, max((high - low) / 2, 1e-8)
    for degree in DEGREES:
        if degree >= s.size:
            break
        nodes = np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
        values = function(np.exp(middle + half * nodes))
        basis = np.polynomial.chebyshev.chebvander(nodes, degree)
        coefficients = (2 / (degree + 1)) * values @ basis
        coefficients[..., 0] /= 2
        if np.abs(coefficients[..., -3:]).max() <= ROUNDING * np.abs(coefficients).max():
            points = np.clip((np.log(s) - middle) / half, -1.0, 1.0)
            return coefficients @ np.polynomial.chebyshev.chebvander(points, degree).T
    return function(s)


def pair_mean(
    f: Function,
    s: Array,
    t: Array,
    rho: Array,
    kinks: tuple[float, ...] = (),
    fine: float = 1.0,
) -> Array:
    r"""Expectation :math:`E[f(u)f(v)]` of Gaussian pairs at correlations near one or minus one.

    In the sum and the difference of the standardized pair, :math:`U = ap + bm, V = ap - bm`, the
    integrand is smooth between its kinks, which are lines; Gauss-Legendre panels end on them, first in
    p, then in m where two of them cross. About 20 000 evaluations a pair: for the few pairs that a
    series cannot reach.

    Parameters
    ----------
    f : callable
        Vectorized real function.
    s, t, rho : (n,) arrays
        Variances, and correlations of absolute value below or at one.
    kinks : tuple of float
        Points where ``f`` is not smooth.
    fine : float
        As in :func:`rule`.

    Returns
    -------
    (n,) array
    """
    pieces = np.arange(0, s.size, max(1, int(CHUNK / fine**2)))[1:]
    chunks = zip(*(np.split(array, pieces) for array in (s, t, rho)))
    values = [_some_pairs(f, u, v, c, np.array(kinks), fine) for u, v, c in chunks]
    return np.concatenate(values)


def _some_pairs(f: Function, s: Array, t: Array, rho: Array, kinks: Array, fine: float) -> Array:
    root_s, root_t, sign = np.sqrt(s), np.sqrt(t), np.where(rho < 0, -1.0, 1.0)
    # at a negative correlation the difference is the wide direction: turn v over
    a, b = np.sqrt((1 + np.abs(rho)) / 2), np.sqrt((1 - np.abs(rho)) / 2)
    width = min(3.0, 3.0 / max(root_s.max(), root_t.max())) / fine
    # where f(u) and f(v) break, in U and sign * V
    left, right = kinks / root_s[:, None], (sign / root_t)[:, None] * kinks
    crossings = left[:, :, None] - right[:, None, :]
    crossings = crossings.reshape(len(s), -1) / (2 * np.maximum(b, 1e-150))[:, None]
    m, m_weights = _panels(crossings, width, PAIR_REACH)
    a, shift = a[:, None, None], (b[:, None] * m)[:, :, None]
    breaks = np.concatenate([left[:, None, :] - shift, right[:, None, :] + shift], axis=2) / a
    p, p_weights = _panels(breaks.reshape(m.size, -1), width, PAIR_REACH)
    p, p_weights = p.reshape(*m.shape, -1), p_weights.reshape(*m.shape, -1)
    values = f(root_s[:, None, None] * (a * p + shift))
    values *= f((sign * root_t)[:, None, None] * (a * p - shift))
    means: Array = np.einsum("im,imp,imp->i", m_weights, p_weights, values)
    return means


def _panels(breaks: Array, width: float, far: float) -> tuple[Array, Array]:
    """Gauss-Legendre nodes and Gaussian weights on panels that end at the breaks, a row each."""
    even = np.linspace(-far, far, int(np.ceil(2 * far / width)) + 1)
    even = np.broadcast_to(even, (len(breaks), even.size))
    edges = np.sort(np.concatenate([even, np.clip(breaks, -far, far)], axis=1), axis=1)
    unit, unit_weights = _legendre()
    lengths = np.diff(edges, axis=1)[:, :, None]
    nodes = (edges[:, :-1, None] + lengths * unit).reshape(len(edges), -1)
    weights = (lengths * unit_weights).reshape(len(edges), -1)
    return nodes, weights * np.exp(-0.5 * nodes**2) / np.sqrt(2.0 * np.pi)
