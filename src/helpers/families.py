r"""Families of activations for a twin's layers, each with its Gaussian moments in closed form.

A layer is described at the scale one: it acts on :math:`\xi \sim N(0,1)`, is centered, and has
:math:`E[f^2(\xi)] = 1`. What remains of a family are the directions that its parameters leave.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import hermite_e
from numpy.typing import NDArray
from scipy.special import factorial, ndtr

from helpers import activations
from helpers.activations import Activation

Array = NDArray[np.float64]
ORDER = 4  # Hermite coefficients that the selection rule needs
ABS = np.sqrt(1 - 2 / np.pi)  # standard deviation of |xi|


@dataclass(frozen=True)
class Layer:
    r"""Moments of a centered function f with :math:`E[f^2(\xi)] = 1`, and how they move with the variance.

    Further axes, if any, are a batch of functions.

    Attributes
    ----------
    hermite : (5, …) array
        :math:`q_k = E[f(\xi)h_k(\xi)]`, k = 0 … 4, in orthonormal Hermite polynomials; q_0 = 0.
    response, bend : (…) array
        First and second derivative of :math:`E[f^2(\sqrt s\,\xi)]` in s, at s = 1.
    steepness, steepness_slope : (…) array
        :math:`E[f'^2(\sqrt s\,\xi)]` and its derivative in s, at s = 1.
    """

    hermite: Array
    response: Array
    bend: Array
    steepness: Array
    steepness_slope: Array


@dataclass(frozen=True)
class Family:
    """A set of functions that a layer may be taken from.

    Attributes
    ----------
    name : str
    summary : str
        Its formula, for messages and tables.
    odd : bool
        Whether all its members are odd.
    size : int
        Raw parameters a layer, any real numbers; ``freedom`` of them count.
    freedom : int
        Dimension of the family once its scale is fixed.
    layer : callable
        (size, …) array of raw parameters to :class:`Layer`, a batch at a time.
    activation : callable
        Raw parameters, standard deviation at the input, standard deviation at the output to
        :class:`~helpers.activations.Activation`, up to the constant that centers it.
    """

    name: str
    summary: str
    odd: bool
    size: int
    freedom: int
    layer: Callable[[Array], Layer]
    activation: Callable[[Array, float, float], Activation]


def names() -> tuple[str, ...]:
    """Names of all families."""
    return tuple(_FAMILIES)


def get(name: str) -> Family:
    """The family of a name.

    Raises
    ------
    ValueError, TypeError
        For a name that is not one of :func:`names`.
    """
    if not isinstance(name, str):
        raise TypeError(f"family must be the name of a family, got {name!r}")
    if name not in _FAMILIES:
        raise ValueError(f"family must be one of {', '.join(_FAMILIES)}, got {name!r}")
    return _FAMILIES[name]


# ---------------------------------------------------------------- piecewise linear functions


def piecewise_linear(knots: Array, slopes: Array, levels: Array) -> tuple[Layer, Array]:
    r"""Layer of a continuous piecewise linear function, and its standard deviation before the scaling.

    On each piece, :math:`\int He_k\,\mathrm dN = He_{k-1}(a)n(a) - He_{k-1}(b)n(b)` with the normal density n,
    and :math:`x\,He_k = He_{k+1} + k\,He_{k-1}`.

    Parameters
    ----------
    knots : (r - 1, …) array
        Any further axes are a batch of functions, here and in what is returned.
    slopes, levels : (r, …) array
        The function is ``slopes[i] * x + levels[i]`` on piece i.
    """
    J = _piece_integrals(knots)
    k = np.arange(ORDER + 1).reshape(-1, *[1] * slopes.ndim)
    once = J[1:-1] + k * np.concatenate([0 * J[:1], J[:-3]])  # of x He_k
    q = (slopes * once + levels * J[: ORDER + 1]).sum(axis=1) / np.sqrt(factorial(k[:, 0]))
    levels, q[0] = levels - q[0], 0.0
    even = [0, 2, 4]
    below = np.stack([0 * J[0], 2 * J[0], 12 * J[2]])
    twice = J[[2, 4, 6]] + (2 * k[even] + 1) * J[even] + below  # of x^2 He_k
    squares = (slopes**2 * twice + 2 * slopes * levels * once[even] + levels**2 * J[even]).sum(1)
    steep = (slopes**2 * J[[0, 2]]).sum(axis=1)
    size = squares[0]
    found = Layer(
        q / np.sqrt(size),
        squares[1] / (2 * size),
        squares[2] / (4 * size),
        steep[0] / size,
        steep[1] / (2 * size),
    )
    return found, np.sqrt(size)


def _piece_integrals(knots: Array) -> Array:
    """Integrals of He_0 … He_6 under the normal density over the pieces between the knots, (7, r, …)."""
    density = np.exp(-(knots**2) / 2) / np.sqrt(2 * np.pi)
    pieces, batch = len(knots) + 1, knots.shape[1:]
    edges = np.zeros((ORDER + 3, pieces + 1, *batch))  # He_{k-1} n at the edges, 0 at infinity
    previous, current = 0 * knots, density
    for k in range(1, ORDER + 3):
        edges[k, 1:-1] = current
        previous, current = current, knots * current - (k - 1) * previous
    J = edges[:, :-1] - edges[:, 1:]
    J[0] = np.diff(ndtr(knots), axis=0, prepend=0.0, append=1.0)
    return J


def _leaky_slopes(x: Array) -> tuple[Array, Array]:
    """Slopes left and right of zero, of a unit vector in the plane of x and |x|."""
    return np.cos(x[0]) - np.sin(x[0]) / ABS, np.cos(x[0]) + np.sin(x[0]) / ABS


def _leaky_pieces(x: Array) -> tuple[Array, Array, Array]:
    slopes = np.stack(_leaky_slopes(x))
    return 0 * slopes[:1], slopes, 0 * slopes


def _clip(x: Array) -> Array:
    """Where to clip, between a sign and a line as far as rounding can tell."""
    return np.exp(np.clip(x, -9.0, 2.3))


def _clip_pieces(x: Array) -> tuple[Array, Array, Array]:
    c = _clip(x[0])
    return np.stack([-c, c]), np.stack([0 * c, 0 * c + 1, 0 * c]), np.stack([-c, 0 * c, c])


def _clipped_pieces(x: Array) -> tuple[Array, Array, Array]:
    c = _clip(x[1])
    b, a = _leaky_slopes(x)
    none = 0 * c
    return (
        np.stack([-c, none, c]),
        np.stack([none, b, a, none]),
        np.stack([-b * c, none, none, a * c]),
    )


def _bent_pieces(x: Array) -> tuple[Array, Array, Array]:
    """Slope 1 up to c, slope x[1] beyond."""
    c, beyond = _clip(x[0]), x[1]
    level = (1 - beyond) * c
    return (
        np.stack([-c, c]),
        np.stack([beyond, 0 * c + 1, beyond]),
        np.stack([-level, 0 * c, level]),
    )


def _leaky_activation(x: Array, tau_in: float, tau_out: float) -> Activation:
    b, a = np.array(_leaky_slopes(x)) * tau_out / (tau_in * piecewise_linear(*_leaky_pieces(x))[1])
    return activations.get("leaky_relu", a=a, b=b)


def _clip_activation(x: Array, tau_in: float, tau_out: float) -> Activation:
    slope = tau_out / (tau_in * piecewise_linear(*_clip_pieces(x))[1])
    return activations.get("hard_tanh", a=float(slope), c=float(tau_in * _clip(x[0])))


def _clipped_activation(x: Array, tau_in: float, tau_out: float) -> Activation:
    b, a = (
        np.array(_leaky_slopes(x)) * tau_out / (tau_in * piecewise_linear(*_clipped_pieces(x))[1])
    )
    c = float(tau_in * _clip(x[1]))
    return activations.get("clipped_leaky_relu", a=float(a), b=float(b), c=c)


def _bent_activation(x: Array, tau_in: float, tau_out: float) -> Activation:
    slope = tau_out / (tau_in * piecewise_linear(*_bent_pieces(x))[1])
    a, b = float(slope), float(slope * x[1])
    return activations.get("leaky_hard_tanh", a=a, b=b, c=float(tau_in * _clip(x[0])))


# ---------------------------------------------------------------- polynomials


def _linearization(k: int, size: int = 6) -> Array:
    """E[h_i h_j He_k] for i, j < size, by Gauss-Hermite quadrature, which is exact."""
    nodes, weights = hermite_e.hermegauss(size + k)
    values = hermite_e.hermevander(nodes, max(size - 1, k))
    h = values[:, :size] / np.sqrt(factorial(np.arange(size)))
    means: Array = np.einsum("n,ni,nj->ij", weights / np.sqrt(2 * np.pi) * values[:, k], h, h)
    return means


SECOND, FOURTH = _linearization(2), _linearization(4)
STEPS = np.sqrt(np.arange(1.0, 6.0))


def polynomial(q: Array) -> Layer:
    r"""Layer of :math:`\sum_k q_k h_k(\xi)`, k = 1 … 5, scaled to :math:`\sum_k q_k^2 = 1`; (5, …) array.

    Parameters
    ----------
    q : (5, …) array
        Or shorter; further axes are a batch.
    """
    q = q / np.sqrt((q * q).sum(axis=0))
    n = len(q) + 1
    f = np.concatenate([0 * q[:1], q, np.zeros((max(0, ORDER - len(q)), *q.shape[1:]))])
    slope = (STEPS[: n - 1] * q.T).T  # coefficients of f'
    inner = f[:n]
    return Layer(
        f[: ORDER + 1],
        (inner * (SECOND[:n, :n] @ inner)).sum(axis=0) / 2,
        (inner * (FOURTH[:n, :n] @ inner)).sum(axis=0) / 4,
        (slope * slope).sum(axis=0),
        (slope * (SECOND[: n - 1, : n - 1] @ slope)).sum(axis=0) / 2,
    )


def _spaced(x: Array) -> Array:
    """Coefficients q_1, 0, q_3, 0, q_5 of an odd polynomial."""
    q = np.zeros((2 * len(x) - 1, *x.shape[1:]))
    q[::2] = x
    return q


def _powers(q: Array, tau_in: float, tau_out: float) -> Array:
    """Monomial coefficients of tau_out * sum_k q_k h_k(x / tau_in), the constant left out."""
    weights = np.concatenate([[0.0], q / np.sqrt(q @ q)]) * tau_out
    powers: Array = hermite_e.herme2poly(weights / np.sqrt(factorial(np.arange(weights.size))))
    powers = powers / tau_in ** np.arange(powers.size)
    powers[0] = 0.0
    return powers


def _monomials(q: Array, tau_in: float, tau_out: float) -> Activation:
    return activations.get("polynomial", coefficients=_powers(q, tau_in, tau_out))


def _hermites(q: Array, tau_in: float, tau_out: float) -> Activation:
    weights = hermite_e.poly2herme(_powers(q, tau_in, tau_out))
    weights = weights * np.sqrt(factorial(np.arange(weights.size)))
    weights[0] = 0.0
    return activations.get("hermite", coefficients=weights)


def _odd_monomials(x: Array, tau_in: float, tau_out: float) -> Activation:
    return _monomials(_spaced(x), tau_in, tau_out)


def _odd_layer(x: Array) -> Layer:
    return polynomial(_spaced(x))


_FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            "hard_tanh", "a clip(x, -c, c)", True, 1, 1,
            lambda x: piecewise_linear(*_clip_pieces(x))[0], _clip_activation,
        ),
        Family(
            "leaky_hard_tanh", "a x up to c in size, slope b beyond", True, 2, 2,
            lambda x: piecewise_linear(*_bent_pieces(x))[0], _bent_activation,
        ),
        Family(
            "leaky_relu", "a x for x > 0, b x below, less a constant", False, 1, 1,
            lambda x: piecewise_linear(*_leaky_pieces(x))[0], _leaky_activation,
        ),
        Family(
            "clipped_leaky_relu", "leaky_relu(clip(x, -c, c)), less a constant", False, 2, 2,
            lambda x: piecewise_linear(*_clipped_pieces(x))[0], _clipped_activation,
        ),
        Family("odd_cubic", "a x + b x^3", True, 2, 1, _odd_layer, _odd_monomials),
        Family("odd_quintic", "a x + b x^3 + c x^5", True, 3, 2, _odd_layer, _odd_monomials),
        Family("polynomial", "a cubic in monomials, centered", False, 3, 2, polynomial, _monomials),
        Family("hermite", "a cubic in Hermite polynomials, centered", False, 3, 2, polynomial, _hermites),
        Family("quartic", "a quartic in monomials, centered", False, 4, 3, polynomial, _monomials),
    )
}  # fmt: skip
