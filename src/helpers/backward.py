r"""The other way: which DEQ, if any, has the kernels of an explicit network (thm-equivalence read backward)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from helpers import families, rule, search
from helpers.checks import choice, integer, positive
from helpers.equivalents import coefficients
from helpers.errors import ConvergenceError, MatchingError
from helpers.families import Family, Layer
from helpers.feasibility import ZERO, relative_residuals, scaled
from helpers.networks import ExplicitNetwork, ImplicitNetwork, Trained

Array = NDArray[np.float64]
STARTS = 12
ROOM = (
    0.999  # largest recurrent share, and largest distance to the sharp threshold, that is looked at
)


@dataclass(frozen=True)
class ImplicitMatch:
    """A DEQ with the kernels of an explicit network, and what is known of it.

    Attributes
    ----------
    network : ImplicitNetwork
        Centered at ``tau0``, with sigma_b2 = 1 - sigma_a2.
    family : str
        Of its activation.
    residual, residuals
        As of :class:`matching.Match`, recomputed from both networks.
    source : ExplicitNetwork
    tau0 : float
    kernel : {"ck", "ntk"}
    trained : str
        Of the DEQ.
    solutions : int
        Distinct exact solutions seen; the one with the nearest drifts is ``network``.
    spread : float
    """

    network: ImplicitNetwork
    family: str
    residual: float
    residuals: dict[str, float]
    source: ExplicitNetwork
    tau0: float
    kernel: str
    trained: str
    solutions: int
    spread: float

    def __str__(self) -> str:
        return (
            f"DEQ with the {self.kernel.upper()} of {self.source.depth} layers at tau0 = {self.tau0:.4g}: "
            f"{self.family}, sigma_a2 = {self.network.sigma_a2:.4g}, residual {self.residual:.1e}"
        )


@dataclass(frozen=True)
class _Wanted:
    """Equations for raw parameters of a family and, last, the recurrent share."""

    family: Family
    target: Array
    kernel: str
    trained: str

    def equations(self, x: Array) -> Array:
        """Relative residuals at an (m, …) array; of a coefficient that has to vanish, its root."""
        roots = deq_roots(self.family.layer(x[:-1]), x[-1], self.kernel, self.trained)
        return np.stack(
            [
                (root**2 - goal) / goal if goal > ZERO else root
                for root, goal in zip(roots, self.target)
            ]
        )

    def stable(self, x: Array) -> bool:
        """Whether this is a DEQ below the sharp threshold."""
        return 0 <= x[-1] < 1 and bool(x[-1] * self.family.layer(x[:-1]).steepness < ROOM)


def deq_roots(layer: Layer, share: Array, kernel: str, trained: str) -> Array:
    r"""Roots of a DEQ's scaled coefficients, (eq-alpha1) to (eq-alpha4) and (eq-beta1) to (eq-kappa).

    Parameters
    ----------
    layer : Layer
        The activation at its fixed point, scaled.
    share : (…) array
        :math:`d = \sigma_a^2\gamma^2/\tau_*^2`, the part of the preactivation's variance that comes from the
        recurrence.
    kernel : {"ck", "ntk"}
    trained : {"default", "all"}

    Returns
    -------
    (3, …) array
        Signed. Beyond the sharp threshold it has no meaning.
    """
    q1, q2 = layer.hermite[1:3]
    frozen, room = np.maximum(1 - share, 0), np.maximum(1 - share * q1**2, 1e-3)
    steep = np.maximum(1 - share * layer.steepness, 1e-3)  # bounded where the search looks too far
    first = np.sqrt(frozen / room) * q1
    second = frozen / (1 - share * layer.response) * q2 / np.sqrt(2 * room)
    third = frozen * q2 / room**1.5
    if kernel == "ck":
        return np.array([first, second, third])
    both = float(trained == "all")
    diagonal = (1 + both * frozen * layer.steepness) / steep
    gains = np.array([1 / room + both, 1 / room, (1 + 2 * share * q1**2) / room + 2 * both])
    return np.array([first, second, third]) * np.sqrt(gains / diagonal)


def implicit_for(
    explicit: ExplicitNetwork,
    tau0: float,
    kernel: str = "ck",
    *,
    activation: str | None = None,
    trained: str = "default",
    rates: Trained = "default",
    tolerance: float = 1e-10,
    seed: int = 0,
) -> ImplicitMatch:
    r"""A DEQ with the coefficients of an explicit network, its variance :math:`\sigma_a^2` solved for (eq-matching).

    Parameters
    ----------
    explicit : ExplicitNetwork
        Centered at ``tau0``.
    tau0 : float
    kernel : {"ck", "ntk"}
    activation : str, optional
        A family of :func:`matching.families` for :math:`\varphi`; by parity unless given.
    trained : {"default", "all"}
        Weights of the DEQ that its tangent kernel trains.
    rates : as in :func:`kernels.ntk`
        Of the explicit network's layers.
    tolerance, seed
        As of :func:`matching.match`.

    Returns
    -------
    ImplicitMatch

    Raises
    ------
    MatchingError
        If no DEQ of the family has these coefficients.
    TypeError, ValueError
        For a network that is not explicit or not centered, or an unknown family.
    """
    if not isinstance(explicit, ExplicitNetwork):
        raise TypeError(f"explicit must be an ExplicitNetwork, got {type(explicit).__name__}")
    tau0 = positive(tau0, "tau0")
    if kernel not in ("ck", "ntk"):
        raise ValueError(f'kernel must be "ck" or "ntk", got {kernel!r}')
    if positive(tolerance, "tolerance") < 1e-15:
        raise ValueError(f"tolerance must be at least 1e-15, it is {tolerance:g}")
    integer(seed, "seed")
    if activation is not None:
        choice(activation, "activation", families.names())
    c = coefficients(explicit, tau0, explicit.rates(rates, "rates"))
    target = scaled(c, tau0, kernel)
    drifts = rule.of_network(explicit, tau0, kernel, rates).drifts
    found, best, lost = [], np.inf, 0
    for name in _candidates(target, activation):
        wanted = _Wanted(families.get(name), target, kernel, trained)
        ends, nearest = _solve(wanted, tolerance, seed)
        best = min(best, nearest)
        for x in ends:
            diagonal = c.gamma2 if kernel == "ck" else c.kappa2
            made = _as_network(wanted, x, tau0, diagonal)
            if made is None:
                lost += 1
                continue
            residuals = relative_residuals(coefficients(made, tau0, trained), c, tau0, kernel)
            difference = rule.of_network(made, tau0, kernel, trained).drifts - drifts
            spread = float(np.linalg.norm(rule.mismatch(difference)))
            if max(residuals.values()) <= tolerance:
                found.append((spread, name, made, residuals))
    if not found:
        raise MatchingError(_no_deq(explicit, activation, target, lost), best)
    spread, name, network, residuals = min(found, key=lambda one: one[0])
    residual = max(residuals.values())
    return ImplicitMatch(
        network, name, residual, residuals, explicit, tau0, kernel, trained, len(found), spread
    )


def _candidates(target: Array, activation: str | None) -> tuple[str, ...]:
    if activation is not None:
        return (families.get(activation).name,)
    return ("hard_tanh", "odd_cubic") if max(target[1:]) < ZERO else ("leaky_relu", "hermite")


def _no_deq(explicit: ExplicitNetwork, activation: str | None, target: Array, lost: int) -> str:
    names = " or ".join(_candidates(target, activation))
    if lost:
        return (
            f"the {lost} DEQs with an activation of {names} that solve the equations for these "
            f"{explicit.depth} layers have no stable fixed point at norms within 10 % of the data's"
        )
    return (
        f"no DEQ with an activation of {names} has the coefficients of these {explicit.depth} layers; "
        f"over their diagonal they are {target[0]:.4g}, {target[1]:.4g}, {target[2]:.4g}"
    )


def _solve(wanted: _Wanted, tolerance: float, seed: int) -> tuple[list[Array], float]:
    """Distinct stable solutions, and the best residual."""
    draws, size = np.random.default_rng(seed), wanted.family.size
    found: list[Array] = []
    keys: list[Array] = []
    best = np.inf
    for k in range(STARTS):
        start = np.append(draws.standard_normal(size), (k + 0.5) / STARTS)
        for x in _ends(wanted, start):
            residual = float(np.abs(wanted.equations(x)).max()) if wanted.stable(x) else np.inf
            best = min(best, residual)
            key = np.append(np.abs(wanted.family.layer(x[:-1]).hermite), x[-1])
            if residual <= tolerance and not any(np.abs(key - one).max() < 1e-5 for one in keys):
                found.append(x)
                keys.append(key)
    return found, best


def _ends(wanted: _Wanted, start: Array) -> list[Array]:
    """Where least squares ends with a recurrent share in [0, 1), and at a share of 0."""

    def explicit(x: Array) -> Array:
        return wanted.equations(np.concatenate([x, 0 * x[:1]]))

    low = np.append(np.full(start.size - 1, -np.inf), 0.0)
    high = np.append(np.full(start.size - 1, np.inf), ROOM)
    slopes = {"jac": lambda x: search.jacobian(wanted.equations, x), "bounds": (low, high)}
    x = least_squares(wanted.equations, start, **slopes, xtol=1e-12, max_nfev=60).x
    return [
        search.newton(wanted.equations, x),
        np.append(search.newton(explicit, search.fit(explicit, start[:-1], 60)), 0.0),
    ]


def _as_network(wanted: _Wanted, x: Array, tau0: float, diagonal: float) -> ImplicitNetwork | None:
    r"""The DEQ with :math:`\sigma_b^2 = 1 - \sigma_a^2` whose kernel has this diagonal; None if it has no stable fixed point nearby."""
    steepness, share = float(wanted.family.layer(x[:-1]).steepness), float(x[-1])
    gamma2 = diagonal
    if wanted.kernel == "ntk":
        both = float(wanted.trained == "all")
        gamma2 *= (1 - share * steepness) / (1 + both * (1 - share) * steepness)
    # share = sigma_a^2 gamma^2 / (sigma_a^2 gamma^2 + (1 - sigma_a^2) tau_0^2)
    sigma_a2 = share * tau0**2 / (gamma2 * (1 - share) + share * tau0**2)
    tau = np.sqrt(sigma_a2 * gamma2 + (1 - sigma_a2) * tau0**2)
    phi = wanted.family.activation(x[:-1], tau, np.sqrt(gamma2))
    try:
        network = ImplicitNetwork(phi, sigma_a2).centered(tau0)
        network.variance(tau0**2 * np.array([0.9, 1.0, 1.1]))
    except (ConvergenceError, ValueError):
        return None
    return network
