"""Support and density of a limiting law: edges, and between them a rational function in the right variable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from helpers.bulk import Array, Commuting, Complex, Equations, edge
from helpers.errors import ConvergenceError

Guess = Callable[[Array], Complex]
GRID = 160  # points among which intervals are looked for, times the attempt
HARD = 1e-7  # distance from a place, beside the span, at which an edge is taken for the place
ATTEMPTS = 12  # of finding all gaps
ROUNDS = 14  # of halving panels between solved nodes
NODES = 300  # more than these on an interval are not tried
ANGLES = np.pi * (1 - np.cos(np.linspace(0.0, np.pi, 2049))) / 2  # dense where an edge may be steep
FLAT = 1e-12  # an imaginary part this small beside a solution is rounding
LOWEST = 1e-7  # distance from a place, beside the span, at which a sampled bulk begins


@dataclass(frozen=True, eq=False)
class Interval:
    r"""One interval of the bulk, on which z = middle + half cos(angle).

    In this variable the square roots at the edges are gone: :math:`\mathfrak m_a` is a smooth function of
    :math:`\zeta = e^{i\,\mathrm{angle}}`, real at the ends. It is kept as a rational function in barycentric
    form: ``support`` (r,), ``weights`` (r,), ``values`` (r, K).

    Attributes
    ----------
    lower, upper : float
    solved : int
        Number of nodes at which the equations were solved.
    residual : float
        Largest residual between the nodes.
    """

    lower: float
    upper: float
    support: Complex
    weights: Complex
    values: Complex
    solved: int
    residual: float

    def at(self, z: Array) -> Complex:
        """Solutions at z (N,) in the interval, shape (N, K)."""
        middle, half = (self.lower + self.upper) / 2, (self.upper - self.lower) / 2
        return self.at_angle(np.arccos(np.clip((z - middle) / half, -1.0, 1.0)))

    def at_angle(self, angle: Array) -> Complex:
        """The same at given ``angle`` (N,), 0 at the upper end."""
        return _barycentric(np.exp(1j * angle), self.support, self.weights, self.values)


@dataclass(frozen=True, eq=False)
class Sampled:
    """One interval of a bulk that is known at points only: as :class:`Interval`, linear between the points.

    ``points`` (N,) ascend from lower to upper, ``values`` (N, K) are the solutions there.
    """

    lower: float
    upper: float
    points: Array
    values: Complex
    residual: float

    def at(self, z: Array) -> Complex:
        """Solutions at z (N,) in the interval, shape (N, K)."""
        return np.stack([np.interp(z, self.points, column) for column in self.values.T], axis=1)

    def at_angle(self, angle: Array) -> Complex:
        """The same at given ``angle`` (N,), 0 at the upper end."""
        middle, half = (self.lower + self.upper) / 2, (self.upper - self.lower) / 2
        return self.at(middle + half * np.cos(angle))


def _barycentric(points: Complex, support: Complex, weights: Complex, values: Complex) -> Complex:
    gaps = points[:, None] - support
    hit = gaps == 0
    gaps[hit] = 1
    shares = weights / gaps
    shares[hit.any(axis=1)] = 0
    shares[hit] = 1
    mean: Complex = (shares @ values) / shares.sum(axis=1)[:, None]
    return mean


def _rational(points: Complex, values: Complex) -> tuple[Complex, Complex, Complex]:
    """The AAA algorithm (Nakatsukasa, Sete and Trefethen 2018) for several functions with common poles."""
    scaled = values / np.abs(values).max(axis=0)
    chosen: list[int] = []
    error = np.abs(scaled - scaled.mean(axis=0)).max(axis=1)
    for _ in range(max(1, len(points) // 2)):
        chosen.append(int(error.argmax()))
        rest = np.setdiff1d(np.arange(len(points)), chosen)
        cauchy = 1 / (points[rest, None] - points[chosen])
        loewner = (scaled[rest].T[:, :, None] - scaled[chosen].T[:, None, :]) * cauchy
        weights = np.linalg.svd(loewner.reshape(-1, len(chosen)), full_matrices=False)[2][-1].conj()
        fit = _barycentric(points[rest], points[chosen], weights, scaled[chosen])
        error = np.zeros(len(points))
        error[rest] = np.abs(fit - scaled[rest]).max(axis=1)
        if error.max() < 1e-13:
            break
    return points[chosen], weights, values[chosen]


@dataclass(frozen=True, eq=False)
class Bulk:
    """The continuous part of a law: the equations and their solution on each interval, ascending.

    ``ends`` holds the solutions at the edges, (K,) arrays, or None at an edge where the density is infinite;
    ``exact`` is false for a bulk on a grid, whose inner gaps are not trusted.
    """

    equations: Equations
    intervals: tuple[Interval | Sampled, ...]
    ends: tuple[tuple[Array | None, Array | None], ...]
    exact: bool = True
    _integrals: list[CubicSpline] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_integrals", [self._integral(i) for i in self.intervals])

    def density(self, x: Array, shares: Array) -> Array:
        r""":math:`\frac1\pi\operatorname{Im}\sum_a\pi_a\mathfrak m_a(x)` (eq-density) with ``shares`` :math:`\pi_a` (K,), zero outside."""
        density = np.zeros(x.shape)
        for interval in self.intervals:
            inside = (x > interval.lower) & (x < interval.upper)
            density[inside] = np.maximum(interval.at(x[inside]).imag @ shares / np.pi, 0.0)
        return density

    def masses(self) -> Array:
        """Mass of every class on every interval, as a share of that class, (intervals, K)."""
        return np.array([integral(np.pi) for integral in self._integrals])

    def cdf(self, x: Array, shares: Array) -> Array:
        """Mass at or below x (N,), without atoms, with ``shares`` (K,) of the classes."""
        total = np.zeros(x.shape)
        for interval, integral in zip(self.intervals, self._integrals):
            middle, half = (
                (interval.lower + interval.upper) / 2,
                (interval.upper - interval.lower) / 2,
            )
            angle = np.arccos(np.clip((x - middle) / half, -1.0, 1.0))
            total += (integral(np.pi) - integral(angle)) @ shares
        return total

    @staticmethod
    def _integral(interval: Interval | Sampled) -> CubicSpline:
        """Mass between an angle and the upper edge, class by class."""
        half = (interval.upper - interval.lower) / 2
        inner = interval.at_angle(ANGLES[1:-1]).imag
        heights = np.maximum(inner, 0) * np.sin(ANGLES[1:-1, None]) * half / np.pi
        # even about both ends, where a square root or an inverse one meets the sine
        ends = (4 * heights[[0, -1]] - heights[[1, -2]]) / 3
        heights = np.concatenate([ends[:1], heights, ends[1:]])
        return CubicSpline(ANGLES, heights, bc_type="clamped").antiderivative()


def bulk(equations: Equations) -> Bulk:
    """The bulk of a system of equations.

    Raises
    ------
    ConvergenceError
        If the equations were not solved, or a gap in the bulk was not found. An interval that was overlooked
        shows in the masses only.
    """
    coarse = equations.coarse()
    if coarse.traces is equations.traces:
        return from_scratch(equations)
    try:
        return _refine(equations, from_scratch(coarse))
    except ConvergenceError:  # a gap that only the coarse traces have, say
        if equations.traces.dear:
            raise
        return from_scratch(equations)


def from_scratch(equations: Equations) -> Bulk:
    """The bulk of ``equations`` whose traces commute, without a coarse one: slower, but no interval goes astray."""
    gaps = np.empty(0)
    for attempt in range(ATTEMPTS):
        try:
            edges = _search(equations, GRID * min(attempt + 1, 8), gaps)
            return _solve(equations, edges, equations.from_above)
        except _Hidden as hidden:
            gaps = np.append(gaps, hidden.points)
    raise ConvergenceError("not all gaps in the bulk were found", float(len(gaps)))


class _Hidden(Exception):
    """A gap inside an interval, with points that are in it."""

    def __init__(self, points: Array) -> None:
        super().__init__(points)
        self.points = points


@dataclass(frozen=True)
class _Edges:
    """Ends of an interval and the solutions there."""

    lower: float
    upper: float
    at_lower: Array | None
    at_upper: Array | None


def _search(equations: Equations, size: int, more: Array) -> list[_Edges]:
    """Intervals between points outside, which have a stable real solution, and points inside."""
    z, depth = _grid(equations, size)
    z = np.union1d(z, more)
    for _ in range(8):
        outside, inside, real = _sides(equations, z, depth)
        skipped = _skipped(equations, z, outside, real)
        if not skipped.size:
            break
        z = np.union1d(z, skipped)
    known = np.flatnonzero(outside | inside)
    edges: list[_Edges] = []
    lower: tuple[float, Array | None] = (equations.places.min(), None)
    for left, right in zip(np.append(-1, known[:-1]), known, strict=True):
        before = left < 0 or outside[left]
        if before and inside[right] and left >= 0:
            lower = _edge_between(equations, z[left], z[right], real[left], depth)
        elif not before and outside[right]:
            upper = _edge_between(equations, z[right], z[left], real[right], depth)
            edges.append(_Edges(lower[0], upper[0], lower[1], upper[1]))
    return edges


def _sides(
    equations: Equations, z: Array, depth: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], Array]:
    """Which points are outside and which inside (prop-edges), and the real solutions."""
    m = equations.from_above(z, depth)
    outside, real = equations.outside(m, z)
    found, error = equations.newton(m, z)
    inside = ~outside & (error < equations.traces.accepted) & (found.imag > 0).all(axis=1)
    return outside, inside, real


def _skipped(equations: Equations, z: Array, outside: NDArray[np.bool_], real: Array) -> Array:
    """Points between neighbors outside with mass between them: solutions fall, or P-bar changes its signs."""
    left = np.flatnonzero(outside[:-1] & outside[1:])
    poles = np.searchsorted(np.sort(equations.places), z)
    traces = _commuting(equations)
    signs = (1 + (equations.ratios * real) @ traces.values > 0) @ traces.weights
    apart = np.abs(signs[left + 1] - signs[left]) > 1e-12
    fallen = (real[left + 1] < real[left]).any(axis=1) | apart
    left = left[fallen & (poles[left + 1] == poles[left])]
    return (z[left, None] + np.diff(z)[left, None] * np.arange(1, 10) / 10).ravel()


def _edge_between(
    equations: Equations, outside: float, inside: float, m: Array, depth: float
) -> tuple[float, Array | None]:
    """The edge between two points: near it by halving, then exactly."""
    for _ in range(40):
        if equations.stability(m) < 0.3:
            break
        middle = np.array([(outside + inside) / 2])
        stable, found = equations.outside(equations.from_above(middle, depth), middle)
        outside, inside, m = (middle[0], inside, found[0]) if stable[0] else (outside, middle[0], m)
    try:
        return edge(equations, outside, m, 1 if inside > outside else -1, abs(inside - outside))
    except ConvergenceError:
        place = equations.places[np.abs(equations.places - outside).argmin()]
        if abs(place - outside) > HARD * depth:
            raise
        return place, None  # the density begins at a place, and is not bounded there


def _commuting(equations: Equations) -> Commuting:
    """The traces of equations that are solved from scratch, which are coarse ones or commute anyway."""
    assert isinstance(equations.traces, Commuting)
    return equations.traces


def _grid(equations: Equations, size: int) -> tuple[Array, float]:
    """Real points from below the bulk to above it, dense at its ends and at the places; and their span."""
    places, ratio = np.unique(equations.places), equations.ratios.sum()
    low, values = places[0], _commuting(equations).values
    span = places[-1] - low + values.max() * (1 + np.sqrt(ratio)) ** 2
    while not equations.outside(
        equations.from_above(np.array([low + span]), span), np.array([low + span])
    )[0]:
        span *= 1.5
    angles = np.linspace(0, np.pi, size + 1)[1:]
    near = span * np.logspace(-10, -1, 37)
    z = low + np.concatenate([span * (1 - np.cos(angles)) / 2, near])
    crowded = ratio > 1 or values.min() < 1e-9 * values.max()
    if len(places) > 1 and crowded:  # then there may be bulk between the places
        around = np.concatenate([near[::2], -near[::2]])
        between = low + np.ptp(places) * (1 - np.cos(angles)) / 2
        z = np.concatenate([z, between, (places[:, None] + around).ravel()])
    z = np.unique(z[(z > low) & (z <= low + span)])
    return z[np.abs(z[:, None] - places).min(axis=1) > 1e-11 * span], span


def _solve(equations: Equations, found: list[_Edges], guess: Callable[..., Complex]) -> Bulk:
    """Rational functions on all intervals."""
    span = found[-1].upper - equations.places.min() if found else 1.0
    intervals = tuple(_interpolate(equations, edges, lambda z: guess(z, span)) for edges in found)
    return Bulk(equations, intervals, tuple((e.at_lower, e.at_upper) for e in found))


def _interpolate(equations: Equations, edges: _Edges, guess: Guess) -> Interval:
    """Solve at nodes, fit, and halve the panels in whose middle the residual is too large."""
    tolerance = equations.traces.tolerance**0.75
    middle, half = (edges.lower + edges.upper) / 2, (edges.upper - edges.lower) / 2
    angles = (np.arange(8) + 0.5) * np.pi / 8
    values = _nodes(equations, middle + half * np.cos(angles), guess)
    for _ in range(ROUNDS):
        points = [np.exp(1j * angles), np.exp(-1j * angles)]
        known = [values, values.conj()]
        for place, m in ((-1.0, edges.at_lower), (1.0, edges.at_upper)):
            if m is not None:
                points.append(np.array([place + 0j]))
                known.append(m[None].astype(complex))
        fit = _rational(np.concatenate(points), np.concatenate(known))
        ends = np.concatenate([[0.0], angles, [np.pi]])
        between = (ends[1:] + ends[:-1]) / 2
        start = _barycentric(np.exp(1j * between), *fit)
        z = middle + half * np.cos(between)
        residual = np.abs(equations.residual(start, z, "none")[0]).max(axis=1)
        bad = ~((residual < tolerance) & (start.imag > -tolerance * np.abs(start)).all(axis=1))
        if not bad.any():
            return Interval(edges.lower, edges.upper, *fit, len(angles), float(residual.max()))
        if len(angles) > NODES:
            break
        more = _nodes(equations, z[bad], guess, start[bad])
        order = np.argsort(np.append(angles, between[bad]))
        angles = np.append(angles, between[bad])[order]
        values = np.concatenate([values, more])[order]
    raise ConvergenceError("the density between two edges was not resolved", float(residual.max()))


def _nodes(equations: Equations, z: Array, guess: Guess, start: Complex | None = None) -> Complex:
    """Solutions inside the bulk, from a start where it serves and from a guess elsewhere."""
    m, error = equations.newton(guess(z) if start is None else start, z)
    bad = ~_complex(equations, m, error)
    if start is not None and bad.any():
        m[bad], error[bad] = equations.newton(guess(z[bad]), z[bad])
        bad = ~_complex(equations, m, error)
    if bad.any():
        outside = equations.outside(m[bad], z[bad])[0]
        if outside.any():
            raise _Hidden(z[bad][outside])
        raise ConvergenceError(
            "the law's equations were not solved inside the bulk", float(error.max())
        )
    return m


def _complex(equations: Equations, m: Complex, error: Array) -> NDArray[np.bool_]:
    """Which rows of m (N, K) are solutions in the upper half plane, and not real ones up to rounding."""
    above = (m.imag > 0).all(axis=1) & (m.imag > FLAT * np.abs(m)).any(axis=1)
    inside: NDArray[np.bool_] = (error < equations.traces.accepted) & above
    return inside


def _refine(equations: Equations, law: Bulk) -> Bulk:
    """From the bulk of the coarse traces to that of the exact ones."""
    found: list[_Edges] = []
    for interval, (at_lower, at_upper) in zip(law.intervals, law.ends):
        reach = interval.upper - interval.lower
        lower, solved_lower = _moved(equations, interval.lower, at_lower, reach)
        upper, solved_upper = _moved(equations, interval.upper, at_upper, reach)
        found.append(_Edges(lower, upper, solved_lower, solved_upper))

    ends = np.ravel([(e.lower, e.upper) for e in found])
    if (np.diff(ends) <= 1e-12 * np.abs(ends[1:])).any():
        raise ConvergenceError("edges of the coarse bulk moved to the same place", 1.0)

    def guess(z: Array, span: float) -> Complex:
        """The coarse solution at the same angle of the same interval."""
        m = np.empty((len(z), len(equations.ratios)), complex)
        for new, old in zip(found, law.intervals):
            here = (z > new.lower) & (z < new.upper)
            angle = np.arccos(2 * (z[here] - new.lower) / (new.upper - new.lower) - 1)
            m[here] = old.at_angle(angle)
        return m

    try:
        return _solve(equations, found, guess)
    except _Hidden as hidden:
        raise ConvergenceError("a gap in the bulk was not found", 1.0) from hidden


def _moved(
    equations: Equations, z: float, m: Array | None, reach: float
) -> tuple[float, Array | None]:
    """An edge of the coarse traces moved to that of the exact ones; it stays where the density is infinite."""
    return (z, None) if m is None else edge(equations, z, m, 0, reach)


def sampled(equations: Equations, resolution: float) -> Bulk:
    """The bulk on a grid: for covariances of data, with more edges and finer ones than are worth finding.

    Parameters
    ----------
    equations : Equations
    resolution : float
        Distance of neighboring points, beside that from the place below or above them.

    Returns
    -------
    Bulk
        Its edges are the nearest points outside.
    """
    z, span = _fine_grid(equations, resolution)
    m = equations.from_above(z, span)
    outside, real = equations.outside(m, z)
    found, error = equations.newton(m, z)
    inside = (error < equations.traces.accepted) & (found.imag > 0).all(axis=1)
    values = np.where(inside[:, None], found, m)
    values[outside] = real[outside]
    residual = float(np.abs(equations.residual(values, z, "none")[0]).max())
    intervals, ends = [], []
    for run in _runs(outside, np.searchsorted(z, np.unique(equations.places))):
        at = [values[k].real if outside[k] else None for k in (run[0], run[-1])]
        intervals.append(Sampled(z[run[0]], z[run[-1]], z[run], values[run], residual))
        ends.append((at[0], at[1]))
    return Bulk(equations, tuple(intervals), tuple(ends), exact=False)


def _fine_grid(equations: Equations, resolution: float) -> tuple[Array, float]:
    """Points at geometric distances from every place, above it and, but for the lowest, below."""
    span, places = _grid(equations, GRID)[1], np.unique(equations.places)
    steps = int(np.ceil(-np.log(LOWEST) / resolution))
    distances = 1.01 * span * np.geomspace(LOWEST, 1.0, steps)
    z = np.unique((places[:, None] + np.concatenate([-distances, distances])).ravel())
    z = z[z > places[0]]
    return z[np.abs(z[:, None] - places).min(axis=1) >= 0.99 * LOWEST * span], span


def _runs(outside: NDArray[np.bool_], cuts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Indices of points inside and, where there is one, the next point outside; no run goes over a cut."""
    index = np.arange(len(outside))
    runs = []
    for part in np.split(index, cuts):
        edges = np.flatnonzero(np.diff(outside[part].astype(int)))
        for some in np.split(part, edges + 1):
            if some.size and not outside[some[0]]:
                low, high = max(some[0] - 1, part[0]), min(some[-1] + 1, part[-1])
                if high > low:
                    runs.append(index[low : high + 1])
    return runs
