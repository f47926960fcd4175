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
REACH = 12.5  # standard deviations: wide enough for squares of polynomials of degree 16
NODES = 20  # Gauss-Legendre nodes a panel


@lru_cache(maxsize=1)
def _legendre() -> tuple[Array, Array]:
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return 0.5 * (nodes + 1.0), 0.5 * weights


def rule(s: Array, kinks: tuple[float, ...] = (), degree: int = 8) -> tuple[Array, Array]:
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

    Returns
    -------
    nodes, weights : (n, m) arrays
        ``(weights * f(sqrt(s) * nodes)).sum(-1)`` is the expectation.
    """
    s = np.asarray(s, dtype=float)
    width = min(3.0, 3.0 / np.sqrt(s.max()), 12.0 / np.sqrt(degree + 1.0))
    return _panels(np.array(kinks)[None, :] / np.sqrt(s)[:, None], width)


def hermite_coefficients(
    f: Function, s: Array, degree: int, kinks: tuple[float, ...] = ()
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

    Returns
    -------
    (degree + 1, n) array
        Row ``k`` holds :math:`c_k`; :math:`\sum_k c_k^2 = E[f^2]` (Parseval).
    """
    nodes, weights = rule(s, kinks, degree)
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
    if s.size <= DEGREES[0]:
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
    if s.size <= DEGREES[0]:
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

    Returns
    -------
    (n,) array
    """
    values = [_one_pair(f, *pair, np.array(kinks)) for pair in zip(s, t, rho, strict=True)]
    return np.array(values)


def _one_pair(f: Function, s: float, t: float, rho: float, kinks: Array) -> float:
    a, b = np.sqrt((1 + rho) / 2), np.sqrt((1 - rho) / 2)
    root_s, root_t = np.sqrt(s), np.sqrt(t)
    if rho < 0:  # then the difference is the wide direction: turn v over
        a, b, sign = b, a, -1.0
    else:
        sign = 1.0
    width = min(3.0, 3.0 / max(root_s, root_t))
    left, right = (
        kinks / root_s,
        sign * kinks / root_t,
    )  # where f(u) and f(v) break, in U and sign * V
    crossings = ((left[:, None] - right[None, :]) / (2 * max(b, 1e-150))).ravel()
    m, m_weights = _panels(crossings[None, :], width)
    breaks = np.concatenate([left[:, None] - b * m, right[:, None] + b * m]) / a
    p, p_weights = _panels(breaks.T, width)
    u, v = a * p + b * m.T, a * p - b * m.T
    values = f(root_s * u) * f(sign * root_t * v)
    return float(m_weights[0] @ (p_weights * values).sum(axis=1))


def _panels(breaks: Array, width: float) -> tuple[Array, Array]:
    """Gauss-Legendre nodes and Gaussian weights between sorted breaks, a row each."""
    inner = np.sort(np.clip(breaks, -REACH, REACH), axis=1)
    ends = np.full((len(inner), 1), REACH)
    edges = np.concatenate([-ends, inner, ends], axis=1)
    lengths = np.diff(edges, axis=1)[:, :, None]
    panels = int(np.ceil(lengths.max() / width))
    unit, unit_weights = _legendre()
    offsets = ((np.arange(panels)[:, None] + unit) / panels).ravel()
    nodes = (edges[:, :-1, None] + lengths * offsets).reshape(len(inner), -1)
    weights = (lengths / panels * np.tile(unit_weights, panels)).reshape(len(inner), -1)
    return nodes, weights * np.exp(-0.5 * nodes**2) / np.sqrt(2.0 * np.pi)
