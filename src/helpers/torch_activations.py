"""Activations as functions of torch tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from helpers import activations, pairs
from helpers.activations import Activation

Function = Callable[[Tensor], Tensor]


def torch_function(activation: Activation) -> Function:
    """The activation as a function of torch tensors, its shift subtracted.

    Parameters
    ----------
    activation : Activation

    Returns
    -------
    callable
        Elementwise and differentiable.

    Raises
    ------
    ValueError
        If a user's callable neither is one of the named functions nor takes torch tensors.
    """
    if not isinstance(activation, Activation):
        raise TypeError(f"activation must be an Activation, got {activation!r}")
    for candidate in _candidates(activation):
        if _agree(candidate, activation):
            return lambda x: candidate(x) - activation.shift
    raise ValueError(
        f"{activation.name} has no counterpart in torch: write it with operators (+, *, **, …), or so that it "
        "takes torch tensors as well as arrays"
    )


def _candidates(activation: Activation) -> Iterable[Function]:
    """Functions that may be the activation's: by family, by name, and its own."""
    family = activation.family
    if isinstance(family, pairs.Jump):
        yield lambda x: torch.where(x >= 0, family.a, family.b) + 0 * x
    if isinstance(family, pairs.Rectifier):
        yield lambda x: family.a * torch.relu(x) - family.b * torch.relu(-x)
    if isinstance(family, pairs.Hinges):
        yield _hinges(family, activation.function)
    if activation.name in _SMOOTH:
        yield _SMOOTH[activation.name]
    if activation.name in ("polynomial", "hermite"):
        yield _hermite_sum(activation.function)
    yield activation.function  # type: ignore[misc]  # it may take tensors as well


def _agree(candidate: Function, activation: Activation) -> bool:
    """Whether a function of torch is the activation, differentiable and equal on a few points."""
    points = np.linspace(-4.03, 4.09, 41)
    x = torch.tensor(points, requires_grad=True)
    try:
        with torch.enable_grad():
            value = candidate(x)
        if not value.requires_grad or value.shape != x.shape:
            return False
    except Exception:  # noqa: BLE001  # a user's function may fail in any way on a tensor
        return False
    return np.allclose(value.detach(), activation.function(points), rtol=1e-10, atol=1e-12)


def _hinges(family: pairs.Hinges, function: activations.Function) -> Function:
    """Piecewise linear function; its family does not hold the constant."""

    def bent(x: Tensor) -> Tensor:
        ramps = [d * torch.relu(x - knot) for d, knot in zip(family.jumps, family.knots)]
        return family.slope * x + sum(ramps)

    constant = float(function(np.zeros(1))[0]) - float(bent(torch.zeros(1, dtype=torch.float64))[0])
    return lambda x: bent(x) + constant


def _hermite_sum(function: activations.Function) -> Function:
    r"""A polynomial of degree below 48 from its values, by :math:`c_k = E[h_k(\xi) f(\xi)]` and Clenshaw's rule.

    The orthonormal Hermite polynomials obey
    :math:`\sqrt{k+1}\,h_{k+1}(x) = x h_k(x) - \sqrt k\,h_{k-1}(x)`.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    values = weights / weights.sum() * function(nodes)
    basis = [np.ones_like(nodes), nodes]
    for k in range(1, 47):
        basis.append((nodes * basis[k] - k**0.5 * basis[k - 1]) / (k + 1) ** 0.5)
    c = np.array(basis) @ values
    coefficients = c[: np.flatnonzero(np.abs(c) >= 1e-12 * np.abs(c).max())[-1] + 1].tolist()

    def clenshaw(x: Tensor) -> Tensor:
        above, above_that = torch.zeros_like(x), torch.zeros_like(x)
        for k in reversed(range(len(coefficients))):
            here = coefficients[k] + x / (k + 1) ** 0.5 * above
            here = here - ((k + 1) / (k + 2)) ** 0.5 * above_that
            above, above_that = here, above
        return above

    return clenshaw


_SMOOTH: dict[str, Function] = {
    "erf": torch.special.erf,
    "sin": torch.sin,
    "cos": torch.cos,
    "gaussian": lambda x: torch.exp(-(x**2) / 2),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    "swish": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
    "elu": torch.nn.functional.elu,
}
