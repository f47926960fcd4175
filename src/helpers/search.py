r"""The search for exact twins: multi-start least squares toward the rule, then Newton on the equations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from helpers import rule
from helpers.families import Family, Layer
from helpers.feasibility import ZERO

Array = NDArray[np.float64]
STARTS = 12
NEAR = 1e-4  # residual from which Newton is sure to arrive
PULL = 1e-3  # weight of the rule beside the equations while searching


@dataclass(frozen=True)
class Problem:
    """Equations for the raw parameters of a stack of layers, and of its free rates.

    Attributes
    ----------
    family : Family
    depth : int
    target : (3,) array
        Scaled coefficients, :func:`feasibility.scaled`.
    drifts : (5,) array
        Of the network that is matched, :class:`rule.Expansion`.
    rates : tuple of float or None
        c_0 … c_L, None where c_0 … c_{L-1} are unknowns and c_L = 1.
    """

    family: Family
    depth: int
    target: Array
    drifts: Array
    rates: tuple[float, ...] | None

    @property
    def size(self) -> int:
        """Number of raw parameters."""
        return self.family.size * self.depth + (0 if self.rates else self.depth)

    def parts(self, x: Array) -> tuple[list[Array], tuple[float, ...]]:
        """Raw parameters layer by layer, and the rates, from the unknowns x (n, …)."""
        cut = self.family.size * self.depth
        layers = list(x[:cut].reshape(self.depth, self.family.size, *x.shape[1:]))
        return layers, self.rates or (*x[cut:] ** 2, 1.0)

    def expansion(self, x: Array) -> rule.Expansion:
        """The expansion of the network that the unknowns x (n, …) stand for."""
        layers, rates = self.parts(x)
        return rule.of_layers([self.family.layer(layer) for layer in layers], rates)

    def equations(self, found: rule.Expansion) -> Array:
        """Relative residuals of ``found``; of a coefficient that has to vanish, the roots whose squares it is a sum of."""
        parts = [
            (value - goal)[None] / goal if goal > ZERO else root
            for value, root, goal in zip(found.coefficients, found.roots, self.target)
        ]
        return np.concatenate(parts)

    def mismatch(self, found: rule.Expansion) -> Array:
        """Differences of the drifts of ``found`` as the rule measures them: the length of this vector is the spread."""
        return rule.mismatch((found.drifts.T - self.drifts).T)


@dataclass(frozen=True)
class Solution:
    """An exact solution: raw parameters, largest residual, and the rule's number."""

    x: Array
    residual: float
    spread: float


def solve(problem: Problem, tolerance: float, seed: int) -> tuple[list[Solution], float]:
    """Distinct solutions by ascending spread, and the best residual over all starts.

    Parameters
    ----------
    problem : Problem
    tolerance : float
        Largest residual of a solution.
    seed : int
        Of the random starting points.
    """
    draws = np.random.default_rng(seed)
    found: list[Solution] = []
    best = np.inf
    for _ in range(STARTS):
        solution = _descend(problem, draws.standard_normal(problem.size))
        best = min(best, solution.residual)
        if solution.residual <= tolerance and not _seen(problem, solution, found):
            found.append(solution)
    return sorted(found, key=lambda solution: solution.spread), best


def _seen(problem: Problem, solution: Solution, found: list[Solution]) -> bool:
    """Whether a solution has the drifts of one before: signs that kernels do not see do not count."""
    drifts = problem.expansion(solution.x).drifts
    return any(np.abs(problem.expansion(other.x).drifts - drifts).max() < 1e-4 for other in found)


def _descend(problem: Problem, start: Array) -> Solution:
    """From a starting point to the solution near it that the rule likes best."""

    def equations(x: Array) -> Array:
        return problem.equations(problem.expansion(x))

    def both(x: Array) -> Array:
        found = problem.expansion(x)
        return np.concatenate([problem.equations(found), PULL * problem.mismatch(found)])

    x = fit(equations, start, 60)
    if np.abs(equations(x)).max() > NEAR:
        return Solution(x, float(np.abs(equations(x)).max()), np.inf)
    x = fit(both, x, 80)
    x = newton(equations, x)
    return Solution(
        x,
        float(np.abs(equations(x)).max()),
        float(np.linalg.norm(problem.mismatch(problem.expansion(x)))),
    )


def fit(residuals: Callable[[Array], Array], start: Array, passes: int) -> Array:
    """Least squares of ``residuals`` from ``start`` (n,), in at most ``passes`` steps of Levenberg and Marquardt."""

    def padded(x: Array) -> Array:  # MINPACK wants as many residuals as unknowns
        values = residuals(x)
        missing = max(0, len(x) - len(values))
        return np.concatenate([values, np.zeros((missing, *values.shape[1:]))])

    def slopes(x: Array) -> Array:
        return jacobian(padded, x)

    solution: Array = least_squares(
        padded, start, slopes, method="lm", max_nfev=passes, xtol=1e-8, ftol=1e-8
    ).x
    return solution


def jacobian(residuals: Callable[[Array], Array], x: Array) -> Array:
    """Central differences of ``residuals`` at x (n,) in all directions, one batch of 2n points."""
    steps = 1e-6 * np.eye(x.size)
    values = residuals(np.concatenate([x[:, None] + steps, x[:, None] - steps], axis=1))
    return (values[:, : x.size] - values[:, x.size :]) / 2e-6


def newton(equations: Callable[[Array], Array], x: Array, steps: int = 8) -> Array:
    """Gauss-Newton steps of least length from x (n,): the nearest exact solution of ``equations``, to rounding."""
    value = equations(x)
    for _ in range(steps):
        slopes = jacobian(equations, x)
        if not np.isfinite(slopes).all():
            break
        step = np.linalg.lstsq(slopes, value, rcond=1e-10)[0]
        moved = equations(x - step)
        if not np.abs(moved).max() < np.abs(value).max():
            break
        x, value = x - step, moved
    return x


@dataclass(frozen=True)
class Joint:
    """Seven equations: both kernels of one stack of layers, with free rates.

    Attributes
    ----------
    family : Family
    depth : int
    targets : ((3,) array, (3,) array, float)
        Scaled coefficients of the conjugate and the tangent kernel, and the ratio of their diagonals.
    """

    family: Family
    depth: int
    targets: tuple[Array, Array, float]

    def equations(self, x: Array) -> Array:
        """Relative residuals at x (n, …); the rates are squares of the last depth + 1 unknowns."""
        cut = self.family.size * self.depth
        raw = x[:cut].reshape(self.depth, self.family.size, *x.shape[1:])
        layers, rates = [self.family.layer(one) for one in raw], list(x[cut:] ** 2)
        diagonal = rates[0]
        for rate, layer in zip(rates[1:], layers):
            diagonal = rate + diagonal * layer.steepness
        ck = rule.of_layers(layers, [0.0] * self.depth + [1.0]).coefficients
        ntk = rule.of_layers(layers, rates).coefficients
        # what has to vanish counts relative to the diagonal
        scales = [np.where(np.abs(b) > ZERO, b, 1.0) for b in self.targets[:2]]
        parts = [((a.T - b) / c).T for a, b, c in zip((ck, ntk), self.targets[:2], scales)]
        return np.concatenate([*parts, np.asarray(diagonal / self.targets[2] - 1)[None]])


def best_joint(joint: Joint, seed: int) -> float:
    """Root of the least sum of squares of a ``joint`` problem over starting points drawn by the ``seed``."""
    draws = np.random.default_rng(seed)
    size = (joint.family.size + 1) * joint.depth + 1
    ends = [fit(joint.equations, draws.standard_normal(size), 300) for _ in range(STARTS)]
    return min(float(np.linalg.norm(joint.equations(x))) for x in ends)


def layers_of(problem: Problem, x: Array) -> list[Layer]:
    """The layers of a solution x (n,) of a ``problem``."""
    return [problem.family.layer(layer) for layer in problem.parts(x)[0]]
