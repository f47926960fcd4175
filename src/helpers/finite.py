r"""The two networks at finite width m, in torch: features, implicit gradients, empirical kernels.

Parameters have entries of unit variance and the scales stand in the formulas (NTK parametrization):
:math:`h = \varphi(\sigma_a A h + \sigma_b B x)/\sqrt m` and
:math:`x^{(l)} = \varphi_l(W_l x^{(l-1)})/\sqrt{m_l}`, read out as :math:`f(x) = r^\top h`, so that
:math:`h_i^\top h_j` is close to the conjugate kernel of :mod:`helpers.kernels`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.autograd.function import once_differentiable

from helpers.activations import Activation
from helpers.checks import as_data, choice, integer, non_negative
from helpers.networks import ExplicitNetwork, ImplicitNetwork
from helpers.solvers import Solution, Solver, solve
from helpers.torch_activations import Function, torch_function

__all__ = [
    "ExplicitModule",
    "ImplicitModule",
    "Solution",
    "Solver",
    "Tangent",
    "empirical_ck",
    "empirical_ntk",
    "realize",
    "solve",
    "torch_function",
]

Group = str | int
DEGREES_OF_FREEDOM = 5  # of Student weights: the smallest integer with a finite fourth moment


def realize(
    network: ImplicitNetwork | ExplicitNetwork,
    p: int,
    m: int | Sequence[int],
    seed: int,
    weights: str = "gaussian",
    bias: float = 0.0,
    solver: Solver | None = None,
    dtype: torch.dtype = torch.float64,
    device: str | torch.device = "cpu",
) -> ImplicitModule | ExplicitModule:
    """A network of finite width with random weights.

    Parameters
    ----------
    network : ImplicitNetwork or ExplicitNetwork
    p : int
        Dimension of the data.
    m : int or sequence of int
        Width; an explicit network takes one width a layer, too.
    seed : int
        The same seed gives the same weights, on every device.
    weights : {"gaussian", "rademacher", "student"}
        Law of the entries, all centered and of unit variance: normal, ±1, or Student's t with 5 degrees
        of freedom, whose fourth moment is 9.
    bias : float
        Standard deviation of a Gaussian bias added to every preactivation, of the same law at every
        layer; it adds its square to every entry of the preactivations' covariance.
    solver : Solver, optional
        For an implicit network; plain iteration unless given.
    dtype : torch.float64 or torch.float32
    device : str or torch.device

    Returns
    -------
    ImplicitModule or ExplicitModule

    Raises
    ------
    ValueError, TypeError
        For an unknown law, a width or dimension below 1, a negative bias, or an activation that has no
        counterpart in torch.
    """
    draw = _Draws(seed, weights, dtype, device)
    p, bias = integer(p, "p", 1), non_negative(bias, "bias")
    if isinstance(network, ImplicitNetwork):
        if solver is not None and not isinstance(solver, Solver):
            raise TypeError(f"solver must be a Solver, got {solver!r}")
        width = integer(m, "m", 1)  # refuses a sequence
        return ImplicitModule(network, draw, p, width, bias, solver or Solver())
    if isinstance(network, ExplicitNetwork):
        if solver is not None:
            raise ValueError("solver is for implicit networks, an explicit network solves nothing")
        return ExplicitModule(network, draw, p, _widths(m, network.depth), bias)
    raise TypeError(f"network must be an ImplicitNetwork or an ExplicitNetwork, got {network!r}")


def _widths(m: int | Sequence[int], depth: int) -> tuple[int, ...]:
    """One width a layer."""
    widths = tuple(m) if isinstance(m, Sequence) else (m,) * depth
    if len(widths) != depth:
        raise ValueError(f"m must be one width or {depth}, one a layer; got {m!r}")
    return tuple(integer(width, "m", 1) for width in widths)


_LAWS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "gaussian": lambda rng, shape: rng.standard_normal(shape),
    "rademacher": lambda rng, shape: 2.0 * rng.integers(0, 2, shape) - 1.0,
    "student": lambda rng, shape: (
        rng.standard_t(DEGREES_OF_FREEDOM, shape) * np.sqrt(1 - 2 / DEGREES_OF_FREEDOM)
    ),
}


class _Draws:
    """Random parameters of one law, drawn one after the other from one seed."""

    def __init__(
        self, seed: int, weights: str, dtype: torch.dtype, device: str | torch.device
    ) -> None:
        choice(weights, "weights", _LAWS)
        if dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype must be torch.float32 or torch.float64, got {dtype}")
        self.rng = np.random.default_rng(integer(seed, "seed"))
        self.weights, self.dtype, self.device = weights, dtype, device

    def __call__(self, *shape: int, law: str | None = None) -> torch.nn.Parameter:
        values = _LAWS[law or self.weights](self.rng, shape)
        return torch.nn.Parameter(torch.as_tensor(values, dtype=self.dtype, device=self.device))


class _FiniteNetwork(torch.nn.Module):
    """What implicit and explicit modules share: the input's checks and the readout."""

    r: torch.nn.Parameter
    p: int
    bias: float

    def forward(self, X: ArrayLike | Tensor) -> Tensor:
        r""":math:`f(x) = r^\top h`, the outputs (n,) of the samples (p, n)."""
        return self.r @ self.features(X)

    def features(self, X: ArrayLike | Tensor) -> Tensor:
        """The last layer's state of each sample, (m, n)."""
        raise NotImplementedError

    def tangents(self, X: ArrayLike | Tensor) -> dict[Group, Tangent]:
        """The outputs' gradients, by group of parameters."""
        raise NotImplementedError

    def chosen(self, groups: str | Iterable[Group]) -> tuple[Group, ...]:
        """The groups that a name stands for, checked."""
        named = self._named_groups()
        if isinstance(groups, str) and groups in named:
            return named[groups]
        if not isinstance(groups, (str, int, Iterable)):
            raise TypeError(f"groups must be a name or an iterable of groups, got {groups!r}")
        given = (groups,) if isinstance(groups, (str, int)) else tuple(groups)
        for group in given:
            if group not in named["all"] or isinstance(group, bool):
                raise ValueError(
                    f"groups must be one of {', '.join(named)} or among {named['all']}, got {group!r}"
                )
        if not given or len(set(given)) < len(given):
            raise ValueError(f"groups must name one group or more, each once; got {groups!r}")
        return given

    def _named_groups(self) -> dict[str, tuple[Group, ...]]:
        raise NotImplementedError

    def _input(self, X: ArrayLike | Tensor) -> Tensor:
        """The data as a tensor like the parameters, its gradient kept."""
        values = as_data(X.detach().cpu().numpy() if isinstance(X, Tensor) else X)
        if len(values) != self.p:
            raise ValueError(
                f"X must be ({self.p}, n), one column a sample; its shape is {values.shape}"
            )
        return torch.as_tensor(X if isinstance(X, Tensor) else values).to(self.r)


class ImplicitModule(_FiniteNetwork):
    r"""A DEQ of width m, :math:`h = \varphi(\sigma_a A h + \sigma_b B x + \sigma b)/\sqrt m`; made by :func:`realize`.

    Parameters of the module are ``A`` (m, m), ``B`` (m, p), ``r`` (m,) and, with a bias, ``b`` (m,).
    Gradients come from the implicit function theorem: memory does not grow with the solver's steps.
    They may be taken once, not twice.
    """

    def __init__(
        self, network: ImplicitNetwork, draw: _Draws, p: int, m: int, bias: float, solver: Solver
    ) -> None:
        super().__init__()
        self.network, self.p, self.m, self.bias, self.solver = network, p, m, bias, solver
        self.function = torch_function(network.activation)
        self.sigma_a, self.sigma_b = network.sigma_a2**0.5, network.sigma_b2**0.5
        self.A, self.B, self.r = draw(m, m), draw(m, p), draw(m)
        if bias:
            self.b = draw(m, law="gaussian")

    def features(self, X: ArrayLike | Tensor) -> Tensor:
        """Equilibria of the samples.

        Parameters
        ----------
        X : (p, n) array or tensor

        Returns
        -------
        (m, n) tensor

        Raises
        ------
        ConvergenceError
            With the residual, if a sample does not reach an equilibrium.
        ValueError, TypeError
            For data of another shape, or not finite.
        """
        equilibria: Tensor = _Equilibrium.apply(self.A, self._source(X), self)  # type: ignore[no-untyped-call]  # torch's
        return equilibria

    @torch.no_grad()
    def solution(self, X: ArrayLike | Tensor) -> Solution:
        """Equilibria of the samples X (p, n) with iterations and residuals, without gradients; errors as :meth:`features`."""
        return self._solve(self.A, self._source(X))

    @torch.no_grad()
    def tangents(self, X: ArrayLike | Tensor) -> dict[Group, Tangent]:
        r"""Gradients of the outputs, by group: "readout", "recurrent", "input" and, if there is one, "bias".

        With :math:`v_i` the solution of :math:`(I - J_i^\top)v_i = r`, :math:`J_i` the derivative of the
        right-hand side in h, and :math:`w_i = \varphi'(u_i) \circ v_i/\sqrt m`, the gradient of
        :math:`f(x_i)` is :math:`\sigma_a w_i h_i^\top` in A and :math:`\sigma_b w_i x_i^\top` in B.

        Parameters
        ----------
        X : (p, n) array or tensor
        """
        X = self._input(X)
        source = self._source(X)
        h = self._solve(self.A, source).state
        slope = self._slope(self.A, h, source)
        w = slope * self._adjoint(self.A, slope, self.r[:, None].expand_as(h))
        ones = h.new_ones(1, h.shape[1])
        tangents: dict[Group, Tangent] = {
            "readout": Tangent(ones, h),
            "recurrent": Tangent(self.sigma_a * w, h),
            "input": Tangent(self.sigma_b * w, X),
        }
        if self.bias:
            tangents["bias"] = Tangent(self.bias * w, ones)
        return tangents

    def _named_groups(self) -> dict[str, tuple[Group, ...]]:
        default = ("readout", "recurrent")
        return {
            "default": default,
            "all": default + ("input",) + (("bias",) if self.bias else ()),
        }

    def _source(self, X: ArrayLike | Tensor) -> Tensor:
        """What the input adds to the preactivations."""
        source: Tensor = self.sigma_b * (self.B @ self._input(X))
        return source + self.bias * self.b[:, None] if self.bias else source

    def _solve(self, A: Tensor, source: Tensor) -> Solution:
        def step(h: Tensor, samples: Tensor) -> Tensor:
            after: Tensor = self.function(self.sigma_a * (A @ h) + source[:, samples]) / self.m**0.5
            return after

        return self.solver(step, torch.zeros_like(source))

    def _slope(self, A: Tensor, h: Tensor, source: Tensor) -> Tensor:
        _require_no_jump(self.network.activation)
        slope: Tensor = _slope(self.function, self.sigma_a * (A @ h) + source) / self.m**0.5
        return slope

    def _adjoint(self, A: Tensor, slope: Tensor, right: Tensor) -> Tensor:
        """Solution v of v = right + J^T v for every sample, by the module's solver."""

        def step(v: Tensor, samples: Tensor) -> Tensor:
            after: Tensor = right[:, samples] + self.sigma_a * (A.T @ (slope[:, samples] * v))
            return after

        return self.solver(step, torch.zeros_like(right)).state


class _Equilibrium(torch.autograd.Function):
    """The equilibrium as a function of A and of the source, with its implicit gradient."""

    @staticmethod
    def forward(ctx: Any, A: Tensor, source: Tensor, module: ImplicitModule) -> Tensor:
        h = module._solve(A, source).state
        ctx.module = module
        ctx.save_for_backward(A, source, h)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None]:
        A, source, h = ctx.saved_tensors
        slope = ctx.module._slope(A, h, source)
        w = slope * ctx.module._adjoint(A, slope, gradient)
        # a frozen A is not charged for its m x m gradient
        return ctx.module.sigma_a * (w @ h.T) if ctx.needs_input_grad[0] else None, w, None


class ExplicitModule(_FiniteNetwork):
    r"""The layers :math:`x^{(l)} = \varphi_l(W_l x^{(l-1)} + \sigma b_l)/\sqrt{m_l}`; made by :func:`realize`.

    Parameters of the module are the list ``W``, the readout ``r`` and, with a bias, the list ``b``.
    """

    def __init__(
        self,
        network: ExplicitNetwork,
        draw: _Draws,
        p: int,
        widths: tuple[int, ...],
        bias: float,
    ) -> None:
        super().__init__()
        self.network, self.p, self.m, self.bias = network, p, widths, bias
        self.functions = [torch_function(layer) for layer in network.layers]
        self.W = torch.nn.ParameterList(draw(*shape) for shape in zip(widths, (p,) + widths[:-1]))
        self.r = draw(widths[-1])
        if bias:
            self.b = torch.nn.ParameterList(draw(width, law="gaussian") for width in widths)

    def features(self, X: ArrayLike | Tensor) -> Tensor:
        """Last layer of the samples.

        Parameters
        ----------
        X : (p, n) array or tensor

        Returns
        -------
        (m, n) tensor

        Raises
        ------
        ValueError, TypeError
            For data of another shape, or not finite.
        """
        return self._layers(X)[0][-1]

    @torch.no_grad()
    def tangents(self, X: ArrayLike | Tensor) -> dict[Group, Tangent]:
        r"""Gradients of the outputs, by group: 0 … L, the weights that read layer l, and, if there is one, "bias".

        Group 0 is :math:`W_1`, group L the readout, as with the rates :math:`c_0, \dots, c_L` of
        :func:`helpers.kernels.ntk`.

        Parameters
        ----------
        X : (p, n) array or tensor
        """
        states, preactivations = self._layers(X)
        depth = len(preactivations)
        tangents: dict[Group, Tangent] = {depth: Tangent(_ones(states[-1]), states[-1])}
        signal, signals = self.r[:, None].expand_as(states[-1]), []
        for l in reversed(range(depth)):
            _require_no_jump(self.network.layers[l])
            signal = signal * _slope(self.functions[l], preactivations[l]) / self.m[l] ** 0.5
            tangents[l] = Tangent(signal, states[l])
            signals.append(self.bias * signal)
            signal = self.W[l].T @ signal
        if self.bias:
            tangents["bias"] = Tangent(torch.cat(signals), _ones(signal))
        return tangents

    def _layers(self, X: ArrayLike | Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The states, of which the first is the input, and the preactivations."""
        states, preactivations = [self._input(X)], []
        for l, (W, function) in enumerate(zip(self.W, self.functions)):
            u = W @ states[-1]
            preactivations.append(u + self.bias * self.b[l][:, None] if self.bias else u)
            states.append(function(preactivations[-1]) / self.m[l] ** 0.5)
        return states, preactivations

    def _named_groups(self) -> dict[str, tuple[Group, ...]]:
        layers = tuple(range(self.network.depth + 1))
        every = layers + (("bias",) if self.bias else ())
        return {"default": layers, "all": every, "first_frozen": layers[1:]}


@dataclass(frozen=True)
class Tangent:
    r"""Gradients of the outputs in one group of parameters: the outer products :math:`s_i q_i^\top`, never formed.

    Parameters
    ----------
    signal : (a, n) tensor
        :math:`s_i`, what comes back from the output.
    input : (b, n) tensor
        :math:`q_i`, what the weights read.
    """

    signal: Tensor
    input: Tensor

    def kernel(self) -> Tensor:
        r"""Inner products of the gradients, :math:`(s_i^\top s_j)(q_i^\top q_j)`, an (n, n) tensor."""
        return (self.signal.T @ self.signal) * (self.input.T @ self.input)


@torch.no_grad()
def empirical_ck(
    module: ImplicitModule | ExplicitModule, X: ArrayLike | Tensor
) -> np.ndarray | Tensor:
    r"""Conjugate kernel of one network, :math:`h_i^\top h_j`.

    Parameters
    ----------
    module : ImplicitModule or ExplicitModule
    X : (p, n) array or tensor

    Returns
    -------
    (n, n) array, or a tensor for a tensor

    Raises
    ------
    As the module's ``features``.
    """
    h = _require_module(module).features(X)
    return _like(X, h.T @ h)


@torch.no_grad()
def empirical_ntk(
    module: ImplicitModule | ExplicitModule,
    X: ArrayLike | Tensor,
    groups: str | Iterable[Group] = "default",
) -> np.ndarray | Tensor:
    r"""Tangent kernel of one network: inner products of its outputs' gradients in the chosen parameters.

    No Jacobian is formed: every group's kernel is a product of two (n, n) Gram matrices.

    Parameters
    ----------
    module : ImplicitModule or ExplicitModule
    X : (p, n) array or tensor
    groups : str or iterable
        "default" and "all" as ``trained`` in :func:`helpers.kernels.ntk` ("all" includes a bias, if
        there is one), or the groups themselves: for an implicit network among "readout", "recurrent",
        "input", "bias"; for an explicit one among 0 … L (the readout last) and "bias", or "first_frozen".

    Returns
    -------
    (n, n) array, or a tensor for a tensor

    Raises
    ------
    ConvergenceError
        If an equilibrium or its adjoint is not reached.
    ValueError, TypeError
        For an unknown group, an activation that jumps, or data of another shape.
    """
    chosen = _require_module(module).chosen(groups)
    tangents = module.tangents(X)
    return _like(X, torch.stack([tangents[group].kernel() for group in chosen]).sum(0))


def _require_module(module: ImplicitModule | ExplicitModule) -> _FiniteNetwork:
    if not isinstance(module, _FiniteNetwork):
        raise TypeError(f"module must come from finite.realize, got {type(module).__name__}")
    return module


def _like(X: ArrayLike | Tensor, result: Tensor) -> np.ndarray | Tensor:
    return result if isinstance(X, Tensor) else result.cpu().numpy()


def _ones(like: Tensor) -> Tensor:
    return like.new_ones(1, like.shape[1])


def _slope(function: Function, u: Tensor) -> Tensor:
    """Elementwise derivative of a function of torch."""
    with torch.enable_grad():
        u = u.detach().requires_grad_()
        return torch.autograd.grad(function(u).sum(), u)[0]


def _require_no_jump(activation: Activation) -> None:
    if np.isinf(activation.slope_second_moment(1.0)):
        raise ValueError(
            f"{activation.name} jumps: its derivative says nothing, and its tangent kernel is infinite"
        )
