r"""Which coefficients a family of explicit networks reaches: bounds, identities and closed forms.

Everything here speaks of :math:`a_1 = \tau_0^2\alpha_1/\gamma^2`, :math:`a_2 = \tau_0^4\alpha_2/\gamma^2`,
:math:`a_3 = \tau_0^4\alpha_3/\gamma^2` (of tangent kernels the same with :math:`\beta` and
:math:`\kappa^2`): what remains of four coefficients when the last layer's scale is taken out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from helpers import activations, families
from helpers.checks import choice, positive
from helpers.equivalents import Coefficients, coefficients
from helpers.errors import MatchingError
from helpers.networks import ExplicitNetwork, ImplicitNetwork

Array = NDArray[np.float64]
ODD = tuple(name for name in families.names() if families.get(name).odd)
ZERO = 1e-14  # a scaled coefficient below this vanishes
CK = ("alpha1", "alpha2", "alpha3", "gamma2")
NTK = ("beta1", "beta2", "beta3", "kappa2")
FOUR_K = 2 * np.pi - 4  # four times k = pi/2 - 1


@dataclass(frozen=True)
class LeakyTwin:
    """One of the twins of two leaky ReLUs, :func:`leaky_twins`.

    Attributes
    ----------
    y : float
        The root of equation (eq-leaky-y) that it belongs to.
    slopes : ((float, float), (float, float))
        Slopes (a, b) right and left of zero, first layer, second layer.
    network : ExplicitNetwork
        Centered; its hidden layer keeps the norm.
    """

    y: float
    slopes: tuple[tuple[float, float], tuple[float, float]]
    network: ExplicitNetwork


def _known(c: Coefficients) -> Coefficients:
    """Coefficients, which the closed forms ask for and not for a network."""
    if not isinstance(c, Coefficients):
        raise TypeError(
            f"c must be the Coefficients of a network, from equivalents.coefficients; it is {c!r}"
        )
    return c


def scaled(c: Coefficients, tau0: float, kernel: str = "ck") -> Array:
    r"""The three scale-free numbers :math:`(a_1, a_2, a_3)` of a network, (3,).

    Parameters
    ----------
    c : Coefficients
    tau0 : float
    kernel : {"ck", "ntk"}
    """
    _known(c)
    powers = positive(tau0, "tau0") ** np.array([2.0, 4.0, 4.0])
    if choice(kernel, "kernel", ("ck", "ntk")) == "ck":
        return powers * [c.alpha1, c.alpha2, c.alpha3] / c.gamma2
    return powers * [c.beta1, c.beta2, c.beta3] / c.kappa2


def relative_residuals(
    found: Coefficients, wanted: Coefficients, tau0: float, kernel: str = "ck"
) -> dict[str, float]:
    """Relative difference of every coefficient; of one that vanishes, relative to the kernel's diagonal.

    Parameters
    ----------
    found, wanted : Coefficients
    tau0 : float
    kernel : {"ck", "ntk"}

    Returns
    -------
    dict
        Keys alpha1, alpha2, alpha3, gamma2, or beta1, beta2, beta3, kappa2.
    """
    names = CK if kernel == "ck" else NTK
    residuals = {}
    for name, power in zip(names, (2, 4, 4, 0)):
        goal, size = getattr(wanted, name), getattr(wanted, names[-1]) / tau0**power
        scale = goal if goal > ZERO * size else size
        residuals[name] = float(abs(getattr(found, name) - goal) / scale)
    return residuals


def one_layer_defect(c: Coefficients) -> float:
    r""":math:`\alpha_3/(2\alpha_2) - 1`, 0 for every network of one hidden layer (prop-one-layer); 0 if both vanish.

    Parameters
    ----------
    c : Coefficients
    """
    _known(c)
    return c.alpha3 / (2 * c.alpha2) - 1 if c.alpha3 > ZERO * c.gamma2 else 0.0


def one_layer_rate(c: Coefficients) -> float:
    r"""Rate :math:`c_0 = \beta_3/(4\beta_2) - 1/2` at which one hidden layer has these tangent coefficients.

    With :math:`c_1 = 1` one hidden layer has :math:`\beta_2 = E[\varphi'']^2/4` and
    :math:`\beta_3 = (1/2 + c_0) E[\varphi'']^2`. A centered cubic then reaches :math:`\beta_1` and
    :math:`\kappa^2` as well whenever this rate is not negative, because
    :math:`\kappa^2 \ge \tau_0^2\beta_1 + \tau_0^4\beta_3` always holds (prop-one-layer).

    Parameters
    ----------
    c : Coefficients
    """
    _known(c)
    return c.beta3 / (4 * c.beta2) - 0.5 if c.beta3 > ZERO * c.kappa2 else 0.0


def hard_tanh_range() -> tuple[float, float]:
    r"""Bounds of :math:`\gamma^2/(\tau_0^2\alpha_1)` over all Hard-Tanh networks of one layer (prop-hard-tanh).

    From the identity, a clip(x, -c, c) with c → ∞, to the sign, c → 0.
    """
    return 1.0, np.pi / 2


def odd_cubic(c: Coefficients, tau0: float) -> tuple[float, float]:
    r"""Hermite coefficients :math:`q_1 = \tau_0\sqrt{\alpha_1}`, :math:`q_3 = -\sqrt{\gamma^2 - \tau_0^2\alpha_1}` (prop-odd-cubic).

    The function is :math:`q_1 h_1(x/\tau_0) + q_3 h_3(x/\tau_0)`. It exists for every odd DEQ; the other
    sign of :math:`q_3` serves as well.

    Parameters
    ----------
    c : Coefficients
    tau0 : float
        The scale of the data.
    """
    first = positive(tau0, "tau0") ** 2 * _known(c).alpha1
    return float(np.sqrt(first)), -float(np.sqrt(max(0.0, c.gamma2 - first)))


def leaky_identity(c: Coefficients, tau0: float) -> float:
    r"""Relative defect of :math:`\gamma^2 - \tau_0^2\alpha_1 = (2\pi - 4)\tau_0^4\alpha_2` (prop-leaky-identity).

    Zero for every network of centered leaky ReLUs, implicit or explicit, of any depth: left side minus
    right side, over :math:`\gamma^2`.

    Parameters
    ----------
    c : Coefficients
    tau0 : float
        The scale of the data.
    """
    a1, a2, _ = scaled(c, tau0)
    return float(1 - a1 - FOUR_K * a2)


def leaky_roots(c: Coefficients, tau0: float) -> list[float]:
    r"""Roots y of :math:`(y-1)^2(y+1) + kA_2 = kA_3y^2` in :math:`[1, 1 + kA_2]`, equation (eq-leaky-y).

    Here k = π/2 − 1, :math:`A_2 = 4\tau_0^2\alpha_2/\alpha_1`, :math:`A_3 = 2\tau_0^2\alpha_3/\alpha_1`. There
    are two, one or none; ascending.

    Parameters
    ----------
    c : Coefficients
    tau0 : float
        The scale of the data.
    """
    a1, a2, a3 = scaled(c, tau0)
    if a1 < ZERO:
        return []
    kA2, kA3 = FOUR_K * a2 / a1, FOUR_K * a3 / (2 * a1)

    def equation(y: float) -> float:
        return float((y - 1) ** 2 * (y + 1) + kA2 - kA3 * y**2)

    # (y^3 - y^2 - y + 1 + kA2)/y^2 is convex for y > 0: one minimum, a root on either side of it
    flat = np.roots([1.0, 0.0, 1.0, -2 * (1 + kA2)])
    middle = float(np.clip(flat[np.abs(flat.imag).argmin()].real, 1.0, 1 + kA2))
    if equation(middle) > 0:
        return [middle] if equation(middle) < 1e-13 * kA3 else []
    ends = [(1.0, middle), (middle, 1 + kA2)]
    found = [
        low if abs(equation(low)) < 1e-14 else brentq(equation, low, high, xtol=1e-15, rtol=1e-15)
        for low, high in ends
        if equation(low) * equation(high) <= 0
    ]
    return sorted(set(found))


def leaky_twins(c: Coefficients, tau0: float) -> list[LeakyTwin]:
    r"""All explicit networks of two leaky ReLUs with these coefficients, in closed form (thm-leaky-twins).

    Parameters
    ----------
    c : Coefficients
        Of a network of leaky ReLUs, or any other that obeys (prop-leaky-identity).
    tau0 : float

    Returns
    -------
    list of LeakyTwin
        0, 1 or 2 of them, by ascending y. Changes of sign that leave the kernels alone are not counted.

    Raises
    ------
    ValueError
        If the coefficients do not obey the identity.
    """
    defect = leaky_identity(c, tau0)
    if abs(defect) > 1e-9:
        raise ValueError(
            "c must be the coefficients of leaky ReLUs: gamma^2 - tau_0^2 alpha_1 - (2 pi - 4) tau_0^4 alpha_2 "
            f"is {defect:.3g} times gamma^2, not 0"
        )
    return [_leaky_twin(y, c, tau0) for y in leaky_roots(c, tau0)]


def _leaky_twin(y: float, c: Coefficients, tau0: float) -> LeakyTwin:
    r"""The twin of a root: :math:`\cos^2\theta_1 = 1/y`, :math:`\cos^2\theta_2 = ya_1` share the linear parts."""
    a1 = scaled(c, tau0)[0]
    scales = 1.0, np.sqrt(c.gamma2) / tau0  # the hidden layer keeps the norm
    slopes = []
    for scale, line in zip(scales, (1 / y, min(1.0, y * a1))):
        odd, even = scale * np.sqrt(line), scale * np.sqrt((1 - line) / (1 - 2 / np.pi))
        slopes.append((float(odd + even), float(odd - even)))
    layers = [activations.get("leaky_relu", a=a, b=b) for a, b in slopes]
    network = ExplicitNetwork(tuple(layers)).centered(tau0)
    return LeakyTwin(y, (slopes[0], slopes[1]), network)


def leaky_end(activation: str = "relu") -> float:
    r"""Largest :math:`\sigma_a^2` at which a DEQ still has a twin of two leaky ReLUs: 0.8528 for ReLU (thm-leaky-twins).

    There the two roots of (eq-leaky-y) merge. With :math:`\sigma_b^2 = 1 - \sigma_a^2`; the scale of the
    data does not matter.

    Parameters
    ----------
    activation : Activation or str
        A leaky ReLU.

    Raises
    ------
    MatchingError
        If there are twins at every :math:`\sigma_a^2 < 1`.
    """

    def least(sigma_a2: float) -> float:
        """Smallest value of the equation over y, divided by y^2: negative while there are two roots."""
        c = coefficients(ImplicitNetwork(activation, sigma_a2).centered(1.0), 1.0)
        kA2, kA3 = FOUR_K * c.alpha2 / c.alpha1, FOUR_K * c.alpha3 / (2 * c.alpha1)
        flat = np.roots([1.0, 0.0, 1.0, -2 * (1 + kA2)])
        y = float(np.clip(flat[np.abs(flat.imag).argmin()].real, 1.0, 1 + kA2))
        return ((y - 1) ** 2 * (y + 1) + kA2) / y**2 - kA3

    if least(0.999) < 0:
        raise MatchingError(
            f"{activations.get(activation).name} has a twin of two leaky ReLUs at every sigma_a2 < 1",
            0.0,
        )
    return float(brentq(least, 0.05, 0.999, xtol=1e-13))


def reason(family: str, depth: int, target: Array, rates: tuple[float, ...] | None) -> str:
    r"""Why a family of some depth cannot reach :math:`(a_1, a_2, a_3)`, in words.

    Parameters
    ----------
    family : str
    depth : int
    target : (3,) array
        From :func:`scaled`.
    rates : tuple of float
        Of the layers; 0, …, 0, 1 for the conjugate kernel, None where they are free.
    """
    a1, a2, a3 = target
    ck = rates is not None and not any(rates[:-1])
    names = ("alpha", "gamma^2") if ck else ("beta", "kappa^2")
    odd_target = max(a2, a3) < ZERO
    if family in ODD and not odd_target:
        return (
            f"{family} layers are odd and have {names[0]}_2 = {names[0]}_3 = 0, the network has not"
        )
    if family == "hard_tanh" and depth == 1 and ck:
        return (
            f"one Hard-Tanh has gamma^2/(tau_0^2 alpha_1) in [1, pi/2], the network has {1 / a1:.4g}; "
            'family="odd_cubic" or "leaky_hard_tanh" serves'
        )
    if depth == 1 and rates and not odd_target and abs(a3 - (2 + 4 * rates[0]) * a2) > 1e-9 * a3:
        return f"one layer has {names[0]}_3/{names[0]}_2 = {2 + 4 * rates[0]:.3g}, the network has {a3 / a2:.4g}"
    if family == "leaky_relu" and ck:
        return _leaky_reason(depth, target)
    return f"{depth} layers of {family} do not reach ({names[0]}_1, {names[0]}_2, {names[0]}_3, {names[1]})"


def _leaky_reason(depth: int, target: Array) -> str:
    a1, a2, _ = target
    defect = 1 - a1 - FOUR_K * a2
    if abs(defect) > 1e-9:
        return (
            "leaky ReLUs of any depth have gamma^2 - tau_0^2 alpha_1 = (2 pi - 4) tau_0^4 alpha_2, "
            f"here the two sides differ by {defect:.3g} gamma^2"
        )
    return f'{depth} leaky ReLUs: equation (eq-leaky-y) has no root here; two layers of family="hermite" serve'


def cubic_twin(c: Coefficients, tau0: float) -> ExplicitNetwork:
    r"""An odd cubic layer and a centered cubic one with these coefficients, in closed form (prop-cubic-twins).

    Not the nearest twin at a finite size: :func:`matching.match` looks for that one.

    Parameters
    ----------
    c : Coefficients
        Of a network with :math:`\alpha_2, \alpha_3 > 0`.
    tau0 : float

    Returns
    -------
    ExplicitNetwork
        Centered at ``tau0``; its hidden layer keeps the norm.

    Raises
    ------
    ValueError
        If the coefficients do not satisfy the conditions of the proposition.
    """
    a1, a2, a3 = scaled(c, tau0)
    if min(a2, a3) < ZERO:
        raise ValueError("c must have alpha_2 and alpha_3 above zero; an odd cubic serves others")
    R = np.sqrt(a3 / (2 * a2))
    P = 3 * R * (1 + 3 * R + np.sqrt(max(0.0, R * (2 - R)))) / (1 + 4 * R + 10 * R**2)
    room = 1 - a1 / P - a3 / P**2
    if R > 2 or room < 0:
        raise ValueError(f"c has no such twin: R = {R:.4g}, and a_1/P + a_3/P^2 = {1 - room:.4g}")
    bend = np.copysign(np.sqrt(max(0.0, 1 - P)), P / R - 3 + 2 * P)
    shares = [np.sqrt(P), 0.0, bend], [np.sqrt(a1 / P), np.sqrt(a3) / P, np.sqrt(room)]
    sizes = positive(tau0, "tau0"), float(np.sqrt(c.gamma2))
    layers = (
        families.get("hermite").activation(np.array(q), tau0, size)
        for q, size in zip(shares, sizes, strict=True)
    )
    return ExplicitNetwork(tuple(layers)).centered(tau0)
