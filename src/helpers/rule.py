r"""What decides between exact twins: the terms of a kernel beyond its coefficients (prop-rule).

To leading order the entry of a kernel at norms :math:`\lVert x_i\rVert^2 = \tau_0^2 + \chi_i` and product
:math:`q_{ij}` is given by the coefficients. What comes next are five numbers a network, here called its
*drifts*: how gain, offset, quadratic weight and the rest of the diagonal move with the norm, and the
coefficient of :math:`q_{ij}^3`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers import refined
from helpers.activations import Activation
from helpers.families import Layer
from helpers.networks import ExplicitNetwork, ImplicitNetwork, Trained

Array = NDArray[np.float64]
Network = ImplicitNetwork | ExplicitNetwork
Pair = tuple[Any, Any]  # numbers, or arrays of a batch
Series = tuple[Any, Any, Any]  # coefficients of orders 1 to 3
NAMES = ("gain", "offset", "square", "rest", "cube")
# weights of the drifts along a class whose samples are longer than the others
ALIGNED = np.array([8.0, 2.0, 0.5, 0.2, 0.0])
REMAINDER = 0.2  # weight of every drift on its own
STEP = 2e-3  # relative step of the differences in the squared norm
CENTRAL = np.array(
    [[1 / 12, -2 / 3, 0.0, 2 / 3, -1 / 12], [-1 / 12, 4 / 3, -5 / 2, 4 / 3, -1 / 12]]
)


def mismatch(difference: Array) -> Array:
    r"""What the selection rule measures of a difference of drifts (prop-rule).

    The *spread* of a twin is the length of this vector, whose entries are
    :math:`8\,\delta_{\rm gain} + 2\,\delta_{\rm offset} + 0.5\,\delta_{\rm square} + 0.2\,\delta_{\rm rest}` and
    0.2 times each of the five differences. In a class whose norms differ from :math:`\tau_0^2` the first four
    errors have one direction, the class's indicator, and add up with their signs. In the two-class mixture
    of Ling et al. (2024) they do so in the proportions 8 : 1.9 : 0.9 : 0.2 at p = 512 and 8 : 2.1 : 0.2 : 0.16
    at p = 6000; the weights lie between.

    Parameters
    ----------
    difference : (5, …) array

    Returns
    -------
    (6, …) array
    """
    return np.concatenate([(ALIGNED @ difference)[None], REMAINDER * difference])


@dataclass(frozen=True)
class Expansion:
    r"""A kernel's coefficients and drifts, in units in which :math:`\tau_0` and the diagonal are 1.

    Attributes
    ----------
    roots : tuple of arrays
        Vectors whose squared lengths are the coefficients 1, 2, 3: gain (1,), slopes of the offsets (L,),
        quadratic weights (L,).
    drifts : (5,) array
        In the order of :data:`NAMES`.
    """

    roots: tuple[Array, Array, Array]
    drifts: Array

    @property
    def coefficients(self) -> Array:
        """The three coefficients over the diagonal."""
        return np.array([(root**2).sum(axis=0) for root in self.roots])


def of_layers(layers: Sequence[Layer], rates: Sequence[Any]) -> Expansion:
    r"""Expansion of an explicit network whose every layer keeps the norm, in closed form.

    The recursions (eq-explicit-alphas), (eq-explicit-betas) and (eq-refined-explicit) with two
    derivatives in the squared norm s at s = 1. The conjugate kernel is the case of rates 0, …, 0, 1.

    Parameters
    ----------
    layers : sequence of Layer
    rates : sequence of float
        c_0 … c_L. Any axes of the layers' fields are a batch, here and in what is returned.
    """
    gain: Pair = (1.0, 0.0)  # value and derivative in s
    first: Any = 1.0  # derivatives of the layer's variance in s
    second: Any = 0.0
    diagonal: Pair = (rates[0], rates[0])
    offset: list[Pair] = []  # first and second derivatives
    square: list[Pair] = []
    sigma: Series = (1.0, 0.0, 0.0)  # of the conjugate kernel in q
    theta: Series = (rates[0], 0.0, 0.0)
    for level, layer in enumerate(layers, start=1):
        before, after = sum(rates[:level]), sum(rates[level:])
        _, q1, q2, q3, q4 = layer.hermite
        mean, e1 = np.sqrt(0.5) * q2, (q1, np.sqrt(1.5) * q3 * first)  # (E f)', and E f' as a pair
        e2 = (np.sqrt(2) * q2, np.sqrt(6) * q4 * first)
        offset = [(e1[0] * d1, e1[0] * d2 + 2 * e1[1] * d1) for d1, d2 in offset]
        bend = np.sqrt(1.5) * q4 * first**2 + mean * second
        offset.append((np.sqrt(after) * mean * first, np.sqrt(after) * bend))
        weight = (np.sqrt(after / 2 + before), 0.0)
        square = [_times(e1, w) for w in square]
        square.append(_times(weight, _times(e2, _times(gain, gain))))
        gain = _times(gain, e1)
        sigma, theta = _series(layer, sigma, theta, rates[level])
        steep = (layer.steepness, layer.steepness_slope * first)
        first, second = layer.response * first, layer.bend * first**2 + layer.response * second
        diagonal = _times(diagonal, steep)
        diagonal = (rates[level] + diagonal[0], rates[level] * first + diagonal[1])
    gain = _times((np.sqrt(sum(rates)), 0.0), gain)
    return _expansion(gain, np.array(offset), np.array(square), diagonal, theta[2])


def _times(f: Pair, g: Pair) -> Pair:
    """Value and derivative of a product."""
    return f[0] * g[0], f[1] * g[0] + f[0] * g[1]


def _series(layer: Layer, sigma: Series, theta: Series, rate: Any) -> tuple[Series, Series]:
    """Power series, orders 1 to 3, of the kernels after one more layer."""
    f1, f2, f3 = layer.hermite[1:4] ** 2
    s1, s2, s3 = sigma
    after = f1 * s1, f1 * s2 + f2 * s1**2, f1 * s3 + 2 * f2 * s1 * s2 + f3 * s1**3
    slope = f1, 2 * f2 * s1, 2 * f2 * s2 + 3 * f3 * s1**2
    t1, t2, t3 = theta
    passed = (
        t1 * slope[0],
        t2 * slope[0] + t1 * slope[1],
        t3 * slope[0] + t2 * slope[1] + t1 * slope[2],
    )
    return after, tuple(rate * a + t for a, t in zip(after, passed, strict=True))


def _expansion(
    gain: Pair,
    offset: Array,
    square: Array,
    diagonal: Pair,
    cube: Any,
) -> Expansion:
    drifts = np.array(
        [
            gain[0] * gain[1],
            (offset[:, 0] * offset[:, 1]).sum(axis=0) / 2,
            (square[:, 0] * square[:, 1]).sum(axis=0),
            diagonal[1] - 2 * gain[0] * gain[1] - gain[0] ** 2,
            cube,
        ]
    )
    size = np.sqrt(diagonal[0])
    roots = np.array([gain[0]]) / size, offset[:, 0] / size, square[:, 0] / size
    return Expansion(roots, drifts / diagonal[0])


def of_network(
    network: Network, tau0: float, kernel: str = "ck", trained: Trained = "default"
) -> Expansion:
    r"""Expansion of any centered network, from differences of its exact profile (eq-profile).

    Parameters
    ----------
    network : ImplicitNetwork or ExplicitNetwork
        Centered at ``tau0``.
    tau0 : float
    kernel : {"ck", "ntk"}
    trained : as in :func:`kernels.ntk`

    Notes
    -----
    In these units the derivatives are in :math:`s = \lVert x\rVert^2/\tau_0^2`. Differences of order four
    have an error of about 1e-10, far below what the rule has to tell apart.
    """
    s = 1 + STEP * np.arange(-2.0, 3.0)
    seen = refined.profile(network, tau0**2 * s, kernel, trained)
    slope, bend = CENTRAL[0] / STEP, CENTRAL[1] / STEP**2
    gain, square = tau0 * seen.gain, tau0**2 * seen.square
    return _expansion(
        (gain[2], slope @ gain),
        np.array([slope @ seen.offset, bend @ seen.offset]).T,
        np.array([square[2], slope @ square]).T,
        (seen.diagonal[2], slope @ seen.diagonal),
        tau0**6 * _cube(network, tau0, kernel, trained),
    )


def _cube(network: Network, tau0: float, kernel: str, trained: Trained) -> float:
    r"""Coefficient of :math:`q^3` at norms :math:`\tau_0^2`, from the power series of both kernels."""
    if isinstance(network, ImplicitNetwork):
        return _implicit_cube(network, tau0, kernel, trained)
    rates = (0.0,) * network.depth + (1.0,) if kernel == "ck" else network.rates(trained)
    sigma = np.array([0.0, 1.0, 0.0, 0.0])
    theta, s = rates[0] * sigma, tau0**2
    for phi, rate in zip(network.layers, rates[1:]):
        f = _taylor(phi, s)
        square = np.convolve(sigma, sigma)[:4]
        after = f[0] * sigma + f[1] / 2 * square + f[2] / 6 * np.convolve(square, sigma)[:4]
        slope = f[1] * sigma + f[2] / 2 * square
        slope[0] += f[0]
        sigma, theta = after, rate * after + np.convolve(theta, slope)[:4]
        s = float(phi.second_moment(s))
    return float(theta[3])


def _implicit_cube(network: ImplicitNetwork, tau0: float, kernel: str, trained: Trained) -> float:
    a2, b2 = network.sigma_a2, network.sigma_b2
    s = float(network.variance(np.array([tau0**2]))[0])
    f = _taylor(network.activation, s)
    room = 1 - a2 * f[0]
    Lambda = np.zeros(4)  # of the fixed point Lambda = a2 G + b2 q, order by order
    Lambda[1] = b2 / room
    Lambda[2] = a2 * f[1] / 2 * Lambda[1] ** 2 / room
    Lambda[3] = a2 * (f[1] * Lambda[1] * Lambda[2] + f[2] / 6 * Lambda[1] ** 3) / room
    q = np.array([0.0, 1.0, 0.0, 0.0])
    square = np.convolve(Lambda, Lambda)[:4]
    G = f[0] * Lambda + f[1] / 2 * square + f[2] / 6 * np.convolve(square, Lambda)[:4]
    if kernel == "ck":
        return float(G[3])
    slope = f[1] * Lambda + f[2] / 2 * square
    slope[0] += f[0]
    source = G + network.input_rate(trained) * b2 * np.convolve(q, slope)[:4]
    theta = np.zeros(4)  # of theta = source + a2 slope theta
    for k in range(4):
        theta[k] = (source[k] + a2 * slope[1 : k + 1] @ theta[:k][::-1]) / room
    return float(theta[3])


def _taylor(phi: Activation, s: float) -> tuple[float, float, float]:
    """Squares of E[phi'], E[phi''], E[phi'''] at variance s; the last is twice the derivative of the first."""
    near = phi.slope(s * (1 + STEP * np.arange(-2.0, 3.0)))
    third = 2 * float(CENTRAL[0] @ near) / (STEP * s)
    return float(near[2]) ** 2, float(phi.curvature(s)) ** 2, third**2
