r"""Fixed points of many columns at once: plain iteration, Anderson and Broyden, one interface.

Each column of the state is a problem of its own. A column that has reached the tolerance is frozen and
leaves the batch, so that the work shrinks as the samples settle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from helpers.checks import choice, integer, non_negative, positive
from helpers.errors import ConvergenceError

Step = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Solution:
    """A fixed point, and what it took.

    Parameters
    ----------
    state : (m, n) tensor
        One column a sample.
    iterations : (n,) integer tensor
        How often the step was evaluated for each sample.
    residual : (n,) tensor
        Norm of ``step(state) - state``, relative to the larger of the norms of ``step(state)`` and ``step(start)``.
    """

    state: Tensor
    iterations: Tensor
    residual: Tensor


@dataclass(frozen=True)
class Solver:
    """How a fixed point is looked for; call it as ``solver(step, start)``, see :func:`solve`.

    Parameters
    ----------
    method : {"plain", "anderson", "broyden"}
        Plain iteration; Anderson's mixing of the last iterates (Anderson 1965, Walker and Ni 2011);
        Broyden's quasi-Newton method (Broyden 1965).
    tolerance : float, optional
        Of the relative residual, positive; unless given, the 2/3 power of the precision of the numbers
        (4e-11 in double, 2e-5 in single precision).
    max_steps : int
        Evaluations of the step before giving up.
    memory : int
        Past steps that Anderson mixes; Broyden starts afresh after as many updates. There is no line
        search: with very few updates Broyden may cycle, even on a contraction, and then raises.
    regularization : float
        Added by Anderson to the Gram matrix of its normalized differences; large values turn it into plain
        iteration.

    Raises
    ------
    ValueError, TypeError
        For an unknown method or a number outside its range.
    """

    method: str = "plain"
    tolerance: float | None = None
    max_steps: int = 1000
    memory: int = 10
    regularization: float = 1e-12

    def __post_init__(self) -> None:
        choice(self.method, "method", _METHODS)
        if self.tolerance is not None:
            positive(self.tolerance, "tolerance")
        integer(self.max_steps, "max_steps", 1)
        integer(self.memory, "memory", 1)
        non_negative(self.regularization, "regularization")

    def __call__(self, step: Step, start: Tensor) -> Solution:
        """The fixed point of ``step`` from ``start``, as :func:`solve`."""
        if not isinstance(start, Tensor):
            raise TypeError(f"start must be a tensor of torch, got {type(start).__name__}")
        if start.ndim != 2 or not start.is_floating_point():
            raise ValueError(
                f"start must be a real (m, n) tensor, its shape is {tuple(start.shape)}"
            )
        tolerance = self.tolerance or torch.finfo(start.dtype).eps ** (2 / 3)
        progress = _Progress(start, tolerance)
        acceleration: _Acceleration = _METHODS[self.method](self)
        for _ in range(self.max_steps):
            gap = step(progress.state, progress.samples) - progress.state
            settled = progress.record(gap)
            if settled.all():
                return Solution(progress.solved, progress.iterations, progress.residual)
            if not torch.isfinite(progress.residual[progress.samples]).all():
                break
            if settled.any():
                gap = gap[:, ~settled]
                progress.keep(~settled)
                acceleration.keep(~settled)
            progress.state = acceleration.advance(progress.state, gap)
        raise progress.failure(self.method)


def solve(step: Step, start: Tensor, method: str = "plain", **settings: Any) -> Solution:
    """Fixed points of the columns of a state.

    Parameters
    ----------
    step : callable
        ``step(state, samples)`` maps the (m, k) columns of the samples that are not settled yet to their
        next state; ``samples`` (k,) are their places in ``start``.
    start : (m, n) tensor
        Where to begin; zeros will do.
    method : {"plain", "anderson", "broyden"}
    **settings
        Those of :class:`Solver`: tolerance, max_steps, memory, regularization.

    Returns
    -------
    Solution

    Raises
    ------
    ConvergenceError
        With the largest residual, if a sample does not reach the tolerance.
    ValueError, TypeError
        For an unknown method, or a setting outside its range.
    """
    return Solver(method, **settings)(step, start)


class _Progress:
    """Which samples are settled, where the others are."""

    def __init__(self, start: Tensor, tolerance: float) -> None:
        n = start.shape[1]
        self.tolerance = tolerance
        self.state, self.solved = start, torch.empty_like(start)
        self.samples = torch.arange(n, device=start.device)
        self.iterations = torch.zeros(n, dtype=torch.long, device=start.device)
        self.residual = start.new_full((n,), torch.inf)
        self.size = start.new_zeros(n)  # norm of the first step: a state may shrink to nothing

    def record(self, gap: Tensor) -> Tensor:
        """Write the residuals down, and the states of the samples that settled; return which did."""
        value_norm = (self.state + gap).norm(dim=0)
        if not self.iterations.any():
            self.size = value_norm
        scale = torch.maximum(value_norm, self.size)
        smallest = torch.finfo(gap.dtype).tiny
        error = gap.norm(dim=0) / scale.clamp_min(smallest)
        error[~torch.isfinite(scale)] = torch.inf  # a finite gap over an overflown norm is no zero
        self.iterations[self.samples] += 1
        self.residual[self.samples] = error
        settled: Tensor = error <= self.tolerance
        self.solved[:, self.samples[settled]] = self.state[:, settled]
        return settled

    def keep(self, chosen: Tensor) -> None:
        self.state, self.samples = self.state[:, chosen], self.samples[chosen]
        self.size = self.size[chosen]

    def failure(self, method: str) -> ConvergenceError:
        open_samples = int((~(self.residual <= self.tolerance)).sum())
        return ConvergenceError(
            f"{method} iteration: {open_samples} of {len(self.residual)} samples did not reach "
            f"{self.tolerance:.1e} in {int(self.iterations.max())} steps; is the network beyond its threshold, "
            "or do max_steps or another method help?",
            float(self.residual.max()),
        )


class _Acceleration(Protocol):
    """What a method adds to plain iteration: the next state from the present one and its gap."""

    def advance(self, state: Tensor, gap: Tensor) -> Tensor: ...

    def keep(self, chosen: Tensor) -> None: ...


class _Plain:
    """The next state is the step's value."""

    def __init__(self, solver: Solver) -> None:
        pass

    def advance(self, state: Tensor, gap: Tensor) -> Tensor:
        return state + gap

    def keep(self, chosen: Tensor) -> None:
        pass


class _Memory:
    """The last differences of states and of gaps, each (m, k)."""

    def __init__(self, solver: Solver) -> None:
        self.length, self.regularization = solver.memory, solver.regularization
        self.last: tuple[Tensor, Tensor] | None = None
        self.past: list[tuple[Tensor, Tensor]] = []

    def difference(self, state: Tensor, gap: Tensor) -> tuple[Tensor, Tensor] | None:
        """By how much state and gap moved since the last call."""
        last, self.last = self.last, (state, gap)
        return None if last is None else (state - last[0], gap - last[1])

    def keep(self, chosen: Tensor) -> None:
        if self.last is not None:
            self.last = (self.last[0][:, chosen], self.last[1][:, chosen])
        self.past = [(left[:, chosen], right[:, chosen]) for left, right in self.past]


class _Anderson(_Memory):
    r"""The combination of past iterates whose linear model of the gap is smallest, then one step.

    With the differences of states and of gaps as columns of S and Y,
    :math:`h^+ = h + g - (S + Y)\theta`, where :math:`\theta` minimizes :math:`\lVert g - Y\theta\rVert`.
    """

    def advance(self, state: Tensor, gap: Tensor) -> Tensor:
        moved = self.difference(state, gap)
        if moved is None:
            return state + gap
        self.past = (self.past + [moved])[-self.length :]
        states, gaps = (torch.stack(parts) for parts in zip(*self.past))
        norms = gaps.norm(dim=1, keepdim=True).clamp_min(torch.finfo(gap.dtype).tiny)
        weights = self._weights(gaps / norms, gap)
        return state + gap - torch.einsum("nk,kmn->mn", weights, (states + gaps) / norms)

    def _weights(self, gaps: Tensor, gap: Tensor) -> Tensor:
        """Regularized least squares of every sample, in double precision."""
        gram = torch.einsum("kmn,lmn->nkl", gaps, gaps).double()
        floor = max(self.regularization, torch.finfo(gap.dtype).eps)
        gram.diagonal(dim1=1, dim2=2).add_(floor)
        right = torch.einsum("kmn,mn->nk", gaps, gap).double()
        weights: Tensor = torch.linalg.solve(gram, right)
        return weights.to(gap.dtype)


class _Broyden(_Memory):
    r"""Newton steps on the gap with an inverse Jacobian :math:`-I + \sum_k u_k v_k^\top` learned on the way.

    ``past`` holds the pairs (u, v). The update makes the inverse Jacobian B agree with the last step,
    :math:`B \leftarrow B + (s - By)\,s^\top B/(s^\top B y)`.
    """

    def advance(self, state: Tensor, gap: Tensor) -> Tensor:
        moved = self.difference(state, gap)
        if len(self.past) == self.length:
            self.past = []
        elif moved is not None:
            self._update(*moved)
        return state - self._product(gap)

    def _update(self, moved: Tensor, change: Tensor) -> None:
        image = self._product(change)
        slope = (moved * image).sum(0)
        weak = slope.abs() <= torch.finfo(slope.dtype).eps * moved.norm(dim=0) * image.norm(dim=0)
        u = (moved - image) / torch.where(weak, torch.inf, slope)
        self.past.append((u, self._product(moved, transposed=True)))

    def _product(self, vector: Tensor, transposed: bool = False) -> Tensor:
        result = -vector
        for u, v in self.past:
            u, v = (v, u) if transposed else (u, v)
            result = result + u * (v * vector).sum(0)
        return result


_METHODS: dict[str, type] = {"plain": _Plain, "anderson": _Anderson, "broyden": _Broyden}
