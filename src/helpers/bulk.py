r"""The deterministic equivalent behind the limiting laws, equation (eq-bulk), solved on the real axis.

Unknown are the diagonal values :math:`\mathfrak m_a` of the resolvent, one a class, at a spectral parameter z:

.. math:: \mathfrak m_a = \frac{1}{s_a - z + \delta_a}, \quad \delta_a = \frac1p\operatorname{tr}\tilde C_a\bar P,
          \quad \bar P = \Bigl(I + \sum_b \frac{n_b}p\mathfrak m_b\tilde C_b\Bigr)^{-1},

with :math:`\tilde C_a = d_a^2 C_a`, the covariance of a class times its squared gain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigvalsh
from scipy.linalg.lapack import dpotrf, dpotri

from helpers.errors import ConvergenceError

Array = NDArray[np.float64]
Complex = NDArray[np.complex128]
Numbers = NDArray[Any]  # real on the real axis, complex above it
SIZE = 2048  # eigenvalues of all classes up to which every solution is found from scratch


@dataclass(frozen=True, eq=False)
class Commuting:
    r"""Traces for covariances with common eigenvectors: row a of ``values`` (K, q) are eigenvalues of
    :math:`\tilde C_a`, columns have the shares ``weights`` (q,) of the dimension."""

    values: Array
    weights: Array

    tolerance = 1e-11  # residual that is aimed at
    accepted = 1e-8  # and one that is taken for a solution
    dear = False

    def __call__(self, w: Numbers, slopes: str = "exact") -> tuple[Numbers, Numbers]:
        r""":math:`\frac1p\operatorname{tr}\tilde C_a\bar P`, (N, K), and
        :math:`\frac1p\operatorname{tr}\tilde C_a\bar P\tilde C_b\bar P`, (N, K, K), at weights w (N, K)."""
        parts = [
            self._some(rows)
            for rows in np.array_split(w, 1 + w.size * len(self.weights) // 4_000_000)
        ]
        first, second = (np.concatenate(part) for part in zip(*parts))
        return first, second

    def _some(self, w: Numbers) -> tuple[Numbers, Numbers]:
        P = 1 / (1 + w @ self.values)
        traces = (P * self.weights) @ self.values.T
        squares = (P**2 * self.weights)[:, None, :] * self.values
        return traces, squares @ self.values.T

    def coarse(self) -> Commuting:
        """The same with fewer columns, neighbors averaged, if there are many."""
        columns = max(128, SIZE // len(self.values))
        if len(self.weights) <= columns:
            return self
        order = np.argsort(self.values.mean(axis=0))
        groups = np.array_split(order, columns)
        weights = np.array([self.weights[g].sum() for g in groups])
        values = [self.values[:, g] @ self.weights[g] for g in groups]
        return Commuting(np.stack(values, axis=1) / weights, weights)


@dataclass(frozen=True, eq=False)
class Full:
    r"""Traces for covariances without common eigenvectors, :math:`\tilde C_a` in ``matrices`` (K, p, p),
    written in the eigenbasis of their mean."""

    matrices: Array

    tolerance = 1e-7
    accepted = 1e-6
    dear = True

    def __call__(self, w: Numbers, slopes: str = "near") -> tuple[Numbers, Numbers]:
        """As :class:`Commuting`; the second traces are "exact" (on the real axis), to leading order
        ("near"), or left at zero ("none")."""
        found = [self._one(row, slopes) for row in w]
        return np.stack([f for f, _ in found]), np.stack([s for _, s in found])

    def _one(self, w: Numbers, slopes: str) -> tuple[Numbers, Numbers]:
        K, p, _ = self.matrices.shape
        flat = self.matrices.reshape(K, -1)
        P = _inverse(_combine(w, flat).reshape(p, p) + np.eye(p))
        squares = np.zeros((K, K))
        if slopes == "exact":  # in single precision: an edge's error is the square of this one
            images = (self.matrices.astype(np.float32) @ P.astype(np.float32)).astype(float)
            squares = images.reshape(K, -1) @ images.transpose(0, 2, 1).reshape(K, -1).T
        elif slopes == "near":  # P is taken for its diagonal, its largest part
            squares = _products(np.outer(P.diagonal(), P.diagonal()).ravel(), flat)
        return _combine(P.ravel(), flat.T) / p, squares / p

    def coarse(self) -> Commuting:
        """The diagonals alone, as eigenvalues that commute."""
        diagonals = np.diagonal(self.matrices, axis1=1, axis2=2).copy()
        p = diagonals.shape[1]
        return Commuting(diagonals, np.full(p, 1 / p)).coarse()


def _inverse(A: Numbers) -> Numbers:
    """Inverse of a symmetric matrix, by Cholesky's factors where it has them."""
    if not np.iscomplexobj(A):
        factor, failed = dpotrf(A, lower=1)
        if not failed:
            half = np.tril(dpotri(factor, lower=1)[0])
            whole: Array = half + np.tril(half, -1).T
            return whole
    return np.linalg.inv(A)


def _combine(w: Numbers, flat: Array) -> Numbers:
    """w @ flat without a complex copy of the real matrix."""
    row = w.real @ flat
    return row + 1j * (w.imag @ flat) if np.iscomplexobj(w) else row


def _products(outer: Numbers, flat: Array) -> Numbers:
    """Sums over entries of C_a, C_b and ``outer``, (K, K)."""
    products: Numbers = (flat * outer.real) @ flat.T
    if np.iscomplexobj(outer):
        products = products + 1j * ((flat * outer.imag) @ flat.T)
    return products


@dataclass(frozen=True, eq=False)
class Equations:
    r"""The system (eq-bulk): traces, ratios :math:`n_a/p` (K,) and places :math:`s_a` (K,)."""

    traces: Commuting | Full
    ratios: Array
    places: Array

    def coarse(self) -> Equations:
        """The same with traces that are cheap, for first guesses."""
        return Equations(self.traces.coarse(), self.ratios, self.places)

    def residual(self, m: Numbers, z: Numbers, slopes: str = "near") -> tuple[Numbers, Numbers]:
        """Dimensionless residual (N, K), zero at a solution, and its Jacobian in m (N, K, K).

        Parameters
        ----------
        m : (N, K) array
        z : (N,) array
        slopes : {"exact", "near", "none"}
            How the second traces are found, see :class:`Full`.
        """
        first, second = self.traces(self.ratios * m, slopes)
        inverse = self.places - z[:, None] + first
        jacobian = -m[:, :, None] * second * self.ratios
        index = np.arange(m.shape[1])
        jacobian[:, index, index] += inverse
        return m * inverse - 1, jacobian

    def newton(
        self, m: Numbers, z: Numbers, steps: int = 30, tolerance: float = 0.0
    ) -> tuple[Numbers, Array]:
        """Newton's method for a batch of z (N,) from m (N, K): solutions and their residuals (N,).

        Parameters
        ----------
        m : (N, K) array
            Where to begin.
        z : (N,) array
        steps : int
            At most.
        tolerance : float
            Residual to stop at; with 0 that of the traces.
        """
        tolerance = tolerance or self.traces.tolerance
        m, error = m.copy(), np.full(len(z), np.inf)
        active, chord, move = np.arange(len(z)), None, np.zeros_like(m)
        for step in range(steps + 1):
            slopes = "none" if chord is not None else "near"
            r, jacobian = self.residual(m[active], z[active], slopes)
            if chord is not None:  # Broyden's update in place of new slopes
                shares = move.conj() / (np.abs(move) ** 2).sum(axis=1)[:, None]
                jacobian = chord + r[:, :, None] * shares[:, None, :]
            error[active] = np.abs(r).max(axis=1)
            keep = (error[active] > tolerance) & (error[active] < 1e8)
            active, r, jacobian = active[keep], r[keep], jacobian[keep]
            if active.size == 0 or step == steps:
                break
            move = -_solve(jacobian, r)
            move[~np.isfinite(move)] = 1e30
            m[active] += move
            chord = jacobian if self.traces.dear else None
        return m, np.where(np.isfinite(error), error, np.inf)

    def slope(self, m: Array, z: float) -> tuple[Array, float]:
        r""":math:`d\mathfrak m_a/dz` at a real solution m (K,) at z, and its stability."""
        second = self.traces((self.ratios * m)[None], "exact")[1][0]
        jacobian = np.diag(1 / m) - m[:, None] * second * self.ratios
        return np.linalg.solve(jacobian, m), self._stability(m, second)

    def stability(self, m: Array) -> float:
        r""":math:`1 - \rho` of (eq-stability) at m (K,): positive outside the bulk and zero at an edge (prop-edges)."""
        return self._stability(m, self.traces((self.ratios * m)[None], "exact")[1][0])

    def _stability(self, m: Array, second: Array) -> float:
        root = np.sqrt(self.ratios) * np.abs(m)
        symmetric = root[:, None] * second * root
        return 1.0 - float(eigvalsh((symmetric + symmetric.T) / 2)[-1])

    def outside(self, m: Numbers, z: Array) -> tuple[NDArray[np.bool_], Array]:
        """Which z (N,) a stable real solution puts outside the bulk, and the solutions, from guesses m."""
        real, error = self.newton(np.ascontiguousarray(m.real), z)
        stable = error < self.traces.accepted
        for i in np.flatnonzero(stable):
            stable[i] = self.stability(real[i]) > 0
        return stable, real

    def from_above(self, z: Array, depth: float, steps: int = 12) -> Complex:
        """Solutions just above real z (N,): from far above the axis, where iteration contracts, inward.

        Parameters
        ----------
        z : (N,) array
        depth : float
            Height of the first points above the axis, of the order of the law.
        steps : int
            Each is four times as near to the axis as the one before.
        """
        point: Complex = np.asarray(z + 1j * depth)
        m: Complex = 1 / (self.places - point[:, None])
        for _ in range(8):
            m = 1 / (self.places - point[:, None] + self.traces(self.ratios * m)[0])
        for height in depth * 4.0 ** -np.arange(1, steps + 1):
            point = np.asarray(z + 1j * height)
            better, error = self.newton(m, point, 6, 1e-6)
            good = (error < 1e-3) & (better.imag > 0).all(axis=1)
            better[~good] = self._damped(m[~good], point[~good])
            m = better
        return m

    def _damped(self, m: Complex, z: Complex, steps: int = 400) -> Complex:
        """Averaged iteration: slow, but it converges above the real axis."""
        for _ in range(steps if len(z) else 0):
            m = (m + 1 / (self.places - z[:, None] + self.traces(self.ratios * m)[0])) / 2
        return self.newton(m, z)[0]


def _solve(jacobian: Numbers, r: Numbers) -> Numbers:
    """Batched linear solve; by least squares where a matrix of the batch is singular."""
    try:
        return np.linalg.solve(jacobian, r[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:
        least: Numbers = np.linalg.pinv(jacobian) @ r[:, :, None]
        return least[:, :, 0]


def edge(equations: Equations, z: float, m: Array, side: int, reach: float) -> tuple[float, Array]:
    r"""An edge of the bulk, from a stable point z outside of it: where :math:`dz/d\mathfrak m = 0` (prop-edges).

    Parameters
    ----------
    equations : Equations
    z, m : float and (K,) array
        A real solution outside the bulk, or nearly an edge.
    side : {1, -1, 0}
        On which side of z the edge is, 0 where it is near.
    reach : float
        How far away it can be.

    Returns
    -------
    z : float
    m : (K,) array
        The solution at the edge.
    """
    slope, stability = equations.slope(m, z)
    size = np.abs(m)
    direction = slope / size / np.linalg.norm(slope / size)
    # the solution as a curve in t = <direction, m/|m|>, on which the stability has a simple zero
    t, step = 0.0, 0.02 * (side or 0.1) * min(1.0, abs(stability) + 1e-3)
    start, last = m, stability
    for _ in range(200):
        found = _on_curve(equations, z, m, start, size, direction, t + step)
        if found is None or abs(found[0] - z) > 2 * reach:
            step /= 4
            if abs(step) < 1e-14:
                break
            continue
        z, m, now = found
        t, previous, last = t + step, last, now
        if abs(now) < equations.traces.tolerance**0.75:
            return z, m
        rate = (now - previous) / step
        move = -now / rate if rate else step
        # in a narrow gap the stability may rise first, on the way to this edge, too
        if side * move < 0 < now:
            move = side * np.inf
        step = float(np.clip(move, -3 * abs(step), 3 * abs(step)))
    raise ConvergenceError("an edge of the bulk was not found", abs(last))


def _on_curve(
    equations: Equations, z: float, m: Array, start: Array, size: Array, direction: Array, t: float
) -> tuple[float, Array, float] | None:
    """The solution (z, m) with a given t, and its stability: Newton's method, z unknown as well."""
    K = len(m)
    for _ in range(12):
        r, jacobian = equations.residual(m[None], np.array([z]))
        system = np.zeros((K + 1, K + 1))
        system[:K, :K], system[:K, K], system[K, :K] = jacobian[0], -m, direction / size
        right = np.append(r[0], direction @ ((m - start) / size) - t)
        try:
            move = np.linalg.solve(system, right)
        except np.linalg.LinAlgError:
            return None
        m, z = m - move[:K], z - move[K]
        if not np.isfinite(z) or np.abs(right).max() > 1e3:
            return None
        if np.abs(right).max() < 100 * equations.traces.tolerance:
            return z, m, equations.stability(m)
    return None
