r"""The twin of a DEQ: an explicit network with the same coefficients, hence the same kernels (thm-equivalence)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from helpers import families as _families
from helpers import feasibility, rule, search
from helpers.backward import ImplicitMatch, implicit_for
from helpers.checks import integer, positive
from helpers.equivalents import Coefficients, coefficients
from helpers.errors import MatchingError
from helpers.feasibility import (
    LeakyTwin,
    cubic_twin,
    hard_tanh_range,
    leaky_end,
    leaky_identity,
    leaky_roots,
    leaky_twins,
    odd_cubic,
    one_layer_defect,
    one_layer_rate,
    relative_residuals,
    scaled,
)
from helpers.networks import ExplicitNetwork, ImplicitNetwork
from helpers.twin import Match

__all__ = [
    "ImplicitMatch",
    "LeakyTwin",
    "Match",
    "cubic_twin",
    "families",
    "hard_tanh_range",
    "implicit_for",
    "joint_residual",
    "leaky_end",
    "leaky_identity",
    "leaky_roots",
    "leaky_twins",
    "match",
    "odd_cubic",
    "one_layer_defect",
    "one_layer_rate",
    "scaled",
]
Array = NDArray[np.float64]
DEEPEST = 4  # layers tried when no depth is given
FAR = 0.15  # a spread above which one more layer is tried where nothing was asked for
FARTHER = 2.0  # and which it has to divide by this
LEAST_TOLERANCE = 1e-15  # rounding of the coefficients themselves


@dataclass(frozen=True)
class _Task:
    """What is asked for, checked."""

    network: ImplicitNetwork
    tau0: float
    kernel: str
    trained: str
    rates: str | tuple[float, ...]
    coefficients: Coefficients
    target: Array
    drifts: Array
    tolerance: float
    seed: int

    def may_be_far(self, found: Match) -> bool:
        """Whether one layer more is worth a try; not for a DEQ that is one layer itself."""
        return found.spread > FAR and self.network.sigma_a2 > 0

    def rates_at(self, depth: int) -> tuple[float, ...] | None:
        """c_0 … c_L for a depth, None where they are unknowns."""
        if not isinstance(self.rates, str):
            return self.rates
        if self.rates == "free":
            return None
        return {"readout": (0.0,) * depth, "first_frozen": (0.0,) + (1.0,) * (depth - 1)}.get(
            self.rates, (1.0,) * depth
        ) + (1.0,)


def families() -> tuple[str, ...]:
    """Names of the families of activations that a twin may be asked from.

    - ``hard_tanh``: a clip(x, -c, c); odd; one number a layer beside the scale;
    - ``leaky_relu``: slopes a and b, centered; one number;
    - ``clipped_leaky_relu``: the leaky ReLU of clip(x, -c, c), centered; two numbers;
    - ``leaky_hard_tanh``: slope a up to c in size, slope b beyond; odd; two numbers;
    - ``odd_cubic``, ``odd_quintic``: odd polynomials; one and two numbers;
    - ``polynomial``: a centered cubic, written in monomials; two numbers;
    - ``hermite``: the same cubic, written in orthonormal Hermite polynomials;
    - ``quartic``: a centered quartic; three numbers.

    See :mod:`helpers.families`.
    """
    return _families.names()


def match(
    network: ImplicitNetwork,
    tau0: float,
    kernel: str = "ck",
    *,
    family: str | None = None,
    depth: int | None = None,
    trained: str = "default",
    rates: str | tuple[float, ...] | None = None,
    tolerance: float = 1e-10,
    seed: int = 0,
) -> Match:
    r"""The explicit network with the coefficients of a DEQ (thm-equivalence, eq-matching).

    Of several exact solutions the one whose drifts are nearest to the DEQ's is returned (prop-rule).

    Parameters
    ----------
    network : ImplicitNetwork
        Centered at ``tau0``.
    tau0 : float
        Scale of the data.
    kernel : {"ck", "ntk"}
    family : str, optional
        One of :func:`families`; chosen by parity and feasibility unless given.
    depth : int, optional
        Number of layers; the least that works unless given. (With no family given either, a twin whose
        spread is above 0.15 gives way to one of the next depth or family if that halves it.)
    trained : {"default", "all"}
        Which weights the DEQ's tangent kernel trains.
    rates : {"first_frozen", "free", "all"} or tuple of float, optional
        Rates :math:`c_0, \dots, c_L` of the twin's layers, for the tangent kernel: by default
        "first_frozen" for ``trained="default"`` and "all" for "all". With "free" they are solved for.
    tolerance : float
        Largest relative residual, at least 1e-15.
    seed : int
        Of the search's starting points.

    Returns
    -------
    Match

    Raises
    ------
    MatchingError
        If there is no such network, with the best residual and the reason.
    ValueError, TypeError
        For a network that is not implicit or not centered, an unknown family, a depth of 0, a tolerance
        out of reach of rounding.

    Examples
    --------
    >>> from helpers import matching, networks
    >>> network = networks.ImplicitNetwork("tanh", sigma_a2=0.2).centered(tau0=1.0)
    >>> found = matching.match(network, tau0=1.0, family="hard_tanh")
    >>> found.depth, found.residual < 1e-12
    (1, True)
    >>> found.network.layers[0].name
    'hard_tanh'
    """
    task = _checked(network, tau0, kernel, trained, rates, tolerance, seed)
    if family is not None:
        _families.get(family)
    if depth is not None:
        integer(depth, "depth", 1)
    if not isinstance(task.rates, str):
        depth = _depth_of(task.rates, depth)
    best, why = np.inf, "no family of this depth can"
    near: Match | None = None
    for names, layers in _plans(task, family, depth):
        found, residuals = zip(*(_attempt(task, name, layers) for name in names), strict=True)
        exact = [one for one in (*found, near) if one is not None]
        if exact:
            closer: Match = min(exact, key=lambda one: one.spread * FARTHER ** (one is not near))
            if near is not None or family or depth or not task.may_be_far(closer):
                return closer
            near = closer  # exact in the limit, far at a finite size: one layer more may do better
        elif min(residuals) < best:
            best, name = min(zip(residuals, names, strict=True))
            why = feasibility.reason(name, layers, task.target, task.rates_at(layers))
    if near is not None:
        return near
    raise MatchingError(f"{_wanted(task, family, depth)}: {why}", best)


def _wanted(task: _Task, family: str | None, depth: int | None) -> str:
    size = f"{depth or f'up to {DEEPEST}'} layers of {family or 'any family'}"
    return (
        f"no {task.kernel.upper()} twin of {task.network.activation.name} at sigma_a2 = "
        f"{task.network.sigma_a2:g} in {size}"
    )


def _checked(
    network: ImplicitNetwork,
    tau0: float,
    kernel: str,
    trained: str,
    rates: str | tuple[float, ...] | None,
    tolerance: float,
    seed: int,
) -> _Task:
    if isinstance(network, ExplicitNetwork):
        raise TypeError(
            "network must be an ImplicitNetwork, got an ExplicitNetwork; matching.implicit_for goes that way"
        )
    if not isinstance(network, ImplicitNetwork):
        raise TypeError(f"network must be an ImplicitNetwork, got {type(network).__name__}")
    tau0 = positive(tau0, "tau0")
    if kernel not in ("ck", "ntk"):
        raise ValueError(f'kernel must be "ck" or "ntk", got {kernel!r}')
    if positive(tolerance, "tolerance") < LEAST_TOLERANCE:
        raise ValueError(
            f"tolerance must be at least {LEAST_TOLERANCE:g}, the rounding of the coefficients; it is {tolerance:g}"
        )
    integer(seed, "seed")
    rates = _checked_rates(kernel, trained, rates)
    c = coefficients(network, tau0, trained)
    if not c.gamma2 > feasibility.ZERO:
        raise ValueError(
            "network's activation is constant, so its kernels are zero: nothing to match"
        )
    drifts = rule.of_network(network, tau0, kernel, trained).drifts
    target = scaled(c, tau0, kernel)
    return _Task(network, tau0, kernel, trained, rates, c, target, drifts, tolerance, seed)


def _checked_rates(
    kernel: str, trained: str, rates: str | tuple[float, ...] | None
) -> str | tuple[float, ...]:
    if kernel == "ck":
        if rates is not None:
            raise ValueError(f'rates are of tangent kernels, kernel="ntk"; got {rates!r}')
        return "readout"
    if rates is None:
        return "all" if trained == "all" else "first_frozen"
    if isinstance(rates, str):
        if rates not in ("first_frozen", "free", "all"):
            raise ValueError(
                f'rates must be "first_frozen", "free", "all" or a tuple c_0 … c_L, got {rates!r}'
            )
        return rates
    size = np.size(rates)
    if np.ndim(rates) != 1 or size < 2:
        raise ValueError(f"rates must be c_0 … c_L, at least two numbers; got {rates!r}")
    checked = ExplicitNetwork(("tanh",) * (size - 1)).rates(rates, "rates")
    if not checked[-1] > 0:
        raise ValueError(f"rates must end with a positive c_L, the readout's; got {rates!r}")
    return checked


def _depth_of(rates: tuple[float, ...], depth: int | None) -> int:
    if depth not in (None, len(rates) - 1):
        raise ValueError(f"rates must be {depth} + 1 numbers for depth = {depth}, got {len(rates)}")
    return len(rates) - 1


def _plans(
    task: _Task, family: str | None, depth: int | None
) -> Iterator[tuple[tuple[str, ...], int]]:
    """What to try, in order: families of which the nearest twin is taken, and a depth."""
    depths = [depth] if depth else list(range(1, DEEPEST + 1))
    if depth is None and not _one_layer_can(task):
        depths = depths[1:]
    if family is not None:
        yield from (((family,), layers) for layers in depths)
    elif max(task.target[1:]) < feasibility.ZERO:
        # an odd polynomial is near in theory, the piecewise linear one on data of uneven norms too
        if task.kernel == "ck":
            yield from ((("leaky_hard_tanh",), layers) for layers in depths[:1])
        yield from ((("leaky_hard_tanh", "odd_quintic"), layers) for layers in depths)
    else:
        # tangent twins of leaky DEQs with three leaky layers are far nearer than two cubic ones
        most = 2 if task.kernel == "ck" else 3
        if abs(feasibility.leaky_identity(task.coefficients, task.tau0)) < 1e-10:
            yield from ((("leaky_relu",), layers) for layers in depths if layers <= most)
        yield from ((("hermite",), layers) for layers in depths)


def _one_layer_can(task: _Task) -> bool:
    """Whether the ratio of the third and the second coefficient is one that a single layer has."""
    _, a2, a3 = task.target
    if max(a2, a3) < feasibility.ZERO:
        return True
    rates = task.rates_at(1)
    if rates is None:
        return bool(a3 >= 2 * a2)
    return bool(abs(a3 - (2 + 4 * rates[0] / rates[1]) * a2) < 1e-9 * a3)


def _attempt(task: _Task, name: str, depth: int) -> tuple[Match | None, float]:
    """The best match of a family and depth, None if there is none, and the best residual."""
    problem = search.Problem(
        _families.get(name), depth, task.target, task.drifts, task.rates_at(depth)
    )
    solutions, best = search.solve(problem, task.tolerance, task.seed)
    for solution in solutions:
        found = _as_match(task, problem, solution, len(solutions))
        best = min(best, found.residual)
        if found.residual <= task.tolerance:
            return found, best
    return None, best


def _as_match(
    task: _Task, problem: search.Problem, solution: search.Solution, solutions: int
) -> Match:
    """The network of a solution, with residuals that are computed from the network itself."""
    parameters, rates = problem.parts(solution.x)
    rates = tuple(float(rate) for rate in rates)
    size = _last_scale(task, rates, search.layers_of(problem, solution.x))
    scales = [task.tau0] * (problem.depth - 1) + [size]
    layers = tuple(
        problem.family.activation(x, task.tau0, scale) for x, scale in zip(parameters, scales)
    )
    network = ExplicitNetwork(layers).centered(task.tau0)
    found = coefficients(network, task.tau0, rates)
    residuals = relative_residuals(found, task.coefficients, task.tau0, task.kernel)
    return Match(
        network=network,
        family=problem.family.name,
        depth=problem.depth,
        residual=max(residuals.values()),
        residuals=residuals,
        source=task.network,
        tau0=task.tau0,
        kernel=task.kernel,
        trained=task.trained,
        rates=(1.0,) * (problem.depth + 1) if task.kernel == "ck" else rates,
        solutions=solutions,
        spread=solution.spread,
    )


def _last_scale(task: _Task, rates: tuple[float, ...], layers: list[_families.Layer]) -> float:
    r"""Standard deviation :math:`\tau_L` of the last layer that gives the kernel its diagonal."""
    if task.kernel == "ck":
        return float(np.sqrt(task.coefficients.gamma2))
    diagonal = rates[0]
    for rate, layer in zip(rates[1:], layers):
        diagonal = rate + diagonal * float(layer.steepness)
    return float(np.sqrt(task.coefficients.kappa2 / diagonal))


def joint_residual(network: ImplicitNetwork, tau0: float, depth: int = 2, seed: int = 0) -> float:
    r"""How near an explicit network comes to both CK and :math:`\Theta^*` of a DEQ, (thm-no-joint-twin).

    Cubic layers, odd ones for an odd network, and free rates :math:`c_l \ge 0`; the sum of squares of the seven relative residuals is
    made least. Bounded away from 0 whenever :math:`E[\varphi''(\tau_*\xi)] \ne 0`, at any depth.

    Parameters
    ----------
    network : ImplicitNetwork
        Centered at ``tau0``.
    tau0 : float
    depth : int
    seed : int

    Returns
    -------
    float
        Root of the sum of squares; the eighth equation is the last layer's scale.
    """
    tasks = [
        _checked(network, tau0, kernel, "default", None, 1e-10, seed) for kernel in ("ck", "ntk")
    ]
    odd = max(tasks[0].target[1:]) < feasibility.ZERO
    both = search.Joint(
        _families.get("odd_cubic" if odd else "hermite"),
        integer(depth, "depth", 1),
        (
            tasks[0].target,
            tasks[1].target,
            tasks[0].coefficients.kappa2 / tasks[0].coefficients.gamma2,
        ),
    )
    return search.best_joint(both, seed)
