r"""Eigenvalues outside the bulk, and how far their eigenvectors point to the classes (thm-spikes)."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag, eigh
from scipy.optimize import brentq

from helpers.bulk import Array, Commuting, Equations
from helpers.errors import ConvergenceError
from helpers.support import Bulk

RANK = 1e-13  # eigenvalues of the core this small beside the largest are zero
NEAR = 1e-9  # distance of spikes that count as one, beside the span of the law
POLE = 1e-7  # distance from an atom, a pole, at which the solutions are still accurate


@dataclass(frozen=True, eq=False)
class Perturbation:
    r"""What means and quadratic terms add to the bulk, (eq-frame).

    Attributes
    ----------
    equations : Equations
        Of the classes that take part in the bulk.
    coupled : (K,) array of bool
        Which ones these are; of the others :math:`\tilde C_a` is zero.
    places, ratios : (K,) arrays
        Of all classes.
    core : (3K, 3K) array
        :math:`\mathcal B`, symmetric: blocks of the classes, of the fluctuations of norms, of the means.
    spread : (K,) array
        :math:`2\operatorname{tr}(C_a^2)/p`, p times the variance of a squared norm.
    means : (r, K) array
        M, in the basis of the traces.
    """

    equations: Equations
    coupled: NDArray[np.bool_]
    places: Array
    ratios: Array
    core: Array
    spread: Array
    means: Array
    factor: Array = field(init=False)  # L, with the core L diag(signs) L^T
    signs: Array = field(init=False)

    def __post_init__(self) -> None:
        values, vectors = eigh(self.core)
        keep = np.abs(values) > RANK * max(np.abs(values).max(), 1e-300)
        object.__setattr__(self, "factor", vectors[:, keep] * np.sqrt(np.abs(values[keep])))
        object.__setattr__(self, "signs", np.sign(values[keep]))

    def of_all(self, z: float, m: Array) -> Array:
        """The solutions (K,) of all classes at z, from those of the coupled ones, m."""
        every = np.empty(len(self.places))
        every[self.coupled] = m
        every[~self.coupled] = 1 / (self.places[~self.coupled] - z)
        return every

    def matrix(self, z: float, m: Array) -> Array:
        r""":math:`\mathcal W = \operatorname{diag}(\pm1) + L^\top\mathcal S L` (eq-inertia), increasing in z, at the solutions m."""
        shares = self.ratios * self.of_all(z, m)
        energy = self.energy(self.equations.ratios * m)
        middle = block_diag(np.diag(shares), np.diag(shares * self.spread), energy)
        added: Array = self.factor.T @ middle @ self.factor
        return np.diag(self.signs) + added

    def negative(self, z: float, m: Array) -> int:
        """Number of negative eigenvalues of :meth:`matrix` at z and m."""
        if not len(self.signs):
            return 0
        values = np.linalg.eigvalsh(self.matrix(z, m))
        # beside an atom the matrix is large, and one that tends to zero there comes out with either sign
        return int((values < -1e-14 * np.abs(values).max()).sum())

    def energy(self, shares: Array, change: Array | None = None) -> Array:
        r""":math:`M^\top(I - \bar P)M`, (K, K), at ``shares`` (K,); or its derivative along their ``change`` (K,)."""
        traces, M = self.equations.traces, self.means
        if isinstance(traces, Commuting):
            P = 1 / (1 + shares @ traces.values)
            return (M.T * (1 - P if change is None else P**2 * (change @ traces.values))) @ M
        flat, p = traces.matrices.reshape(len(shares), -1), len(M)
        PM = np.linalg.solve((shares @ flat).reshape(p, p) + np.eye(p), M)
        return M.T @ (M - PM) if change is None else PM.T @ (change @ flat).reshape(p, p) @ PM

    def alignments(self, z: float, m: Array, order: list[int]) -> Array:
        """Alignments (eq-alignment) of the spikes at z, with solutions m, whose places among the eigenvalues are ``order``."""
        inner = self.equations.slope(m, z)[0] if len(m) else m
        energy = self.energy(self.equations.ratios * m, self.equations.ratios * inner)
        every = self.of_all(z, m)
        slope = every**2
        slope[self.coupled] = inner
        change = self.ratios * slope
        middle = block_diag(np.diag(change), np.diag(change * self.spread), energy)
        w = self.factor @ np.linalg.eigh(self.matrix(z, m))[1][:, order]
        classes = w[: len(every)]
        # of spikes at one place the alignments are those of the best directions in their eigenspace
        seen = classes.T @ ((self.ratios * every**2)[:, None] * classes)
        shares: Array = eigh(seen, w.T @ middle @ w, eigvals_only=True)
        return shares.clip(0.0, 1.0)


class Gap:
    """A part of the real axis without bulk: solutions there, continued from one that is known."""

    def __init__(self, equations: Equations, z: float, m: Array) -> None:
        self.equations = equations
        self.known = [(z, m)]

    def at(self, z: float) -> Array:
        """The solution at z, stepping towards it from the nearest known one."""
        if not len(self.equations.places):
            return np.empty(0)
        start, m = min(self.known, key=lambda pair: abs(pair[0] - z))
        target = z
        for _ in range(400):
            stable, found = self.equations.outside(m[None], np.array([target]))
            if stable[0]:
                start, m = target, np.asarray(found[0])
                self.known.append((start, m))
                if start == z:
                    return m
                target = z
            else:
                target = start + (target - start) / 2
        raise ConvergenceError(
            "the law's equations were not solved outside the bulk", abs(target - z)
        )


def spikes(perturbation: Perturbation, bulk: Bulk, atoms: Array) -> tuple[Array, Array]:
    """All eigenvalues outside the bulk, ascending, and their alignments (thm-spikes).

    Parameters
    ----------
    perturbation : Perturbation
    bulk : Bulk
        Of one on a grid, only what is above it is looked for.
    atoms : (k,) array
        Places where the solutions have poles.
    """
    if not len(perturbation.signs):
        return np.empty(0), np.empty(0)
    found = [_in_gap(perturbation, *gap) for gap in _gaps(perturbation, bulk, atoms)]
    return np.concatenate([z for z, _ in found]), np.concatenate([a for _, a in found])


End = tuple[float, "Array | None"]  # a place and the solution there; None where it has to be found


def _span(perturbation: Perturbation, bulk: Bulk) -> float:
    """A length of the order of the law and its spikes."""
    top = max([i.upper for i in bulk.intervals] + [perturbation.places.max()])
    return float(top - perturbation.places.min() + np.abs(perturbation.core).max())


def _gaps(perturbation: Perturbation, bulk: Bulk, atoms: Array) -> list[tuple[Gap, End, End]]:
    """The complement of bulk and atoms, with the solutions at its edges where they are known."""
    span = _span(perturbation, bulk)
    cuts: list[tuple[End, End]] = [
        ((z - POLE * span, None), (z + POLE * span, None)) for z in atoms
    ]
    for interval, (low, high) in zip(bulk.intervals, bulk.ends):
        left = interval.lower if low is not None else interval.lower - POLE * span
        cuts.append(((left, low), (interval.upper, high)))
    cuts.sort(key=lambda cut: cut[0][0])
    equations, first, last = bulk.equations, cuts[0][0], cuts[-1][1]
    above = _outer(perturbation, last[0], span)
    highest = (above, last, (above.known[0][0], None))
    if not bulk.exact:
        return [highest]
    inner = [
        (_inner(equations, (lower[0] + upper[0]) / 2, span), lower, upper)
        for (_, lower), (upper, _) in pairwise(cuts)
        if upper[0] - lower[0] > POLE * span
    ]
    below = _outer(perturbation, first[0], -span)
    return [(below, (below.known[0][0], None), first), *inner, highest]


def _outer(perturbation: Perturbation, z: float, step: float) -> Gap:
    """The gap beyond z, from a place with all spikes on one side."""
    equations = perturbation.equations
    for doubling in range(60):
        far = z + 2.0**doubling * step
        m = 1 / (equations.places - far)
        for _ in range(20):
            first = equations.traces((equations.ratios * m)[None], "none")[0][0]
            m = 1 / (equations.places - far + first)
        if perturbation.negative(far, m) == (perturbation.signs < 0).sum():
            return Gap(equations, far, m)
    raise ConvergenceError("a spike lies beyond all bounds", abs(step))


def _inner(equations: Equations, z: float, span: float) -> Gap:
    if not len(equations.places):
        return Gap(equations, z, np.empty(0))
    stable, m = equations.outside(equations.coarse().from_above(np.array([z]), span), np.array([z]))
    if not stable[0]:
        raise ConvergenceError("the law's equations were not solved in a gap of the bulk", 1.0)
    return Gap(equations, z, m[0])


def _in_gap(perturbation: Perturbation, gap: Gap, lower: End, upper: End) -> tuple[Array, Array]:
    """Every eigenvalue of the increasing matrix that turns positive between two ends is a spike."""
    ends = {z: gap.at(z) if m is None else m for z, m in (lower, upper)}
    (left, at_left), (right, at_right) = ends.items()
    orders = range(perturbation.negative(right, at_right), perturbation.negative(left, at_left))
    commuting = isinstance(gap.equations.traces, Commuting)
    accuracy = (1e-14 if commuting else 1e-9) * max(abs(left), abs(right))

    def eigenvalue(z: float, order: int) -> float:
        m = ends[z] if z in ends else gap.at(z)
        return float(np.linalg.eigvalsh(perturbation.matrix(z, m))[order])

    roots = np.array([brentq(eigenvalue, left, right, (k,), accuracy, 1e-14) for k in orders])
    close = np.diff(np.sort(roots)) < NEAR * (right - left)
    groups = np.split(np.argsort(roots, kind="stable"), np.flatnonzero(~close) + 1)
    alignments = [
        perturbation.alignments(roots[g[0]], gap.at(roots[g[0]]), [orders[i] for i in g])
        for g in groups
        if len(g)
    ]
    return np.sort(roots), np.concatenate([np.empty(0), *alignments])
