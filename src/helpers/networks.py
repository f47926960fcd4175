r"""The two networks of the book, as records: implicit (a DEQ) and explicit (a stack of layers)."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import FrameType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from helpers import activations, formulas
from helpers.activations import Activation, Function
from helpers.checks import as_real_array, non_negative, positive
from helpers.errors import ConvergenceError
from helpers.quadrature import in_variance

Array = NDArray[np.float64]
Trained = str | tuple[float, ...]
TOLERANCE = 1e-13  # relative residual of a scalar fixed point
STEPS = 200
RUNAWAY = 1e6  # a fixed point this far above its start is one that does not exist


@dataclass(frozen=True)
class ImplicitNetwork:
    r"""The DEQ :math:`h = \varphi(\sigma_a A h + \sigma_b B x)/\sqrt m`, in the limit of infinite width.

    Parameters
    ----------
    activation : Activation or str
        :math:`\varphi`.
    sigma_a2 : float
        Variance of the recurrent weights, at least 0; with 0 the DEQ is one explicit layer.
    sigma_b2 : float, optional
        Variance of the input weights; ``1 - sigma_a2`` unless given, which it must be for
        ``sigma_a2 >= 1``.
    tau0 : float, optional
        The scale of the data at which :meth:`centered` centered it.

    Raises
    ------
    ValueError, TypeError
        For variances outside their range, or an activation that jumps under ``sigma_a2 > 0``.

    Examples
    --------
    >>> from helpers.networks import ImplicitNetwork
    >>> network = ImplicitNetwork("relu", sigma_a2=0.2).centered(tau0=1.0)
    >>> network.sigma_b2
    0.8
    >>> f"{network.activation.shift:.4f}"
    '0.3696'
    """

    activation: Activation
    sigma_a2: float
    sigma_b2: float = None  # type: ignore[assignment]  # filled in below
    tau0: float | None = None

    if TYPE_CHECKING:  # what may be given; the fields say what is kept

        def __init__(
            self,
            activation: Activation | Function | str,
            sigma_a2: float,
            sigma_b2: float | None = None,
            tau0: float | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", _activation(self.activation, "activation"))
        object.__setattr__(self, "sigma_a2", non_negative(self.sigma_a2, "sigma_a2"))
        object.__setattr__(self, "sigma_b2", self._input_variance())
        object.__setattr__(self, "tau0", _scale(self.tau0))
        if self.sigma_a2 > 0 and np.isinf(self.activation.slope_second_moment(1.0)):
            raise ValueError(
                f"activation {self.activation.name} jumps: E[phi'^2] is infinite, so that no sigma_a2 > 0 "
                "is below the sharp threshold; use it in an ExplicitNetwork, or with sigma_a2 = 0"
            )

    def __str__(self) -> str:
        return formulas.text(self)

    def _repr_latex_(self) -> str:
        """The formula, for notebooks."""
        return rf"$\displaystyle {formulas.latex(self)}$"

    def _input_variance(self) -> float:
        if self.sigma_b2 is not None:
            return positive(self.sigma_b2, "sigma_b2")
        if self.sigma_a2 >= 1:
            raise ValueError(
                f"sigma_b2 must be given for sigma_a2 >= 1 (it defaults to 1 - sigma_a2, sigma_a2 is {self.sigma_a2:g})"
            )
        return 1.0 - self.sigma_a2

    def centered(self, tau0: float) -> ImplicitNetwork:
        r"""The network with the constant subtracted that makes :math:`E[\varphi(\tau_*\xi)] = 0`.

        Bias and :math:`\tau_*` are solved together: the variance
        :math:`\tau_*^2 = \sigma_a^2 \mathrm{Var}\,\varphi(\tau_*\xi) + \sigma_b^2\tau_0^2` does not depend on
        the constant, which is then the mean. Doing it twice changes nothing.

        Parameters
        ----------
        tau0 : float
            Root of the mean squared norm of the data, positive.
        """
        tau0 = positive(tau0, "tau0")
        free = self.activation.minus(0.0)

        def variance(s: Array) -> Array:
            return free.second_moment(s) - free.mean(s) ** 2

        tau2 = fixed_point(
            lambda s: self.sigma_a2 * variance(s) + self.sigma_b2 * tau0**2,
            np.array([self.sigma_b2 * tau0**2]),
            "the variance tau_*^2 of the centered network",
        )
        self._require_stability(tau2)
        return replace(self, activation=free.minus(_clean_mean(free, tau2)), tau0=tau0)

    def variance(self, squared_norms: ArrayLike) -> Array:
        r"""Fixed point :math:`\Lambda_{ii} = \sigma_a^2 E[\varphi^2(\sqrt{\Lambda_{ii}}\xi)] + \sigma_b^2\lVert x_i\rVert^2`.

        Parameters
        ----------
        squared_norms : (n,) array
            :math:`\lVert x_i\rVert^2`.

        Returns
        -------
        (n,) array

        Raises
        ------
        ConvergenceError
            If the iteration stalls or runs away, as it does beyond the sharp threshold.
        ValueError
            If the fixed point lies beyond the sharp threshold
            :math:`\sigma_a^2 E[\varphi'^2(\sqrt{\Lambda_{ii}}\xi)] < 1`.
        """
        source = self.sigma_b2 * positive_variances(squared_norms, "squared_norms")
        s = in_variance(self._diagonal, source.ravel()).reshape(source.shape)
        self._require_stability(s)
        return s

    def _diagonal(self, source: Array) -> Array:
        r"""Fixed points at a few values of the source :math:`\sigma_b^2\lVert x_i\rVert^2`."""
        moment = self.activation.second_moment
        try:
            return fixed_point(
                lambda s: self.sigma_a2 * moment(s) + source,
                source + self.sigma_a2 * moment(source),
                "the diagonal of the implicit kernel",
            )
        except ConvergenceError as error:
            raise ConvergenceError(
                "the diagonal of the implicit kernel did not settle, is it beyond the sharp threshold? "
                + self._gain(source),
                error.residual,
            ) from None

    def input_rate(self, trained: Trained) -> float:
        """Whether the input weights B are trained: 0 for ``trained="default"``, 1 for "all".

        Raises
        ------
        ValueError
            For any other choice of trained weights.
        """
        if not isinstance(trained, str) or trained not in ("default", "all"):
            raise ValueError(
                f'trained must be "default" or "all" for an implicit network, got {trained!r}'
            )
        return float(trained == "all")

    def _require_stability(self, s: Array) -> None:
        if self.sigma_a2 == 0:
            return
        if self.sigma_a2 * self.activation.slope_second_moment(s).max() >= 1:
            raise ValueError(
                f"sigma_a2 = {self.sigma_a2:g} is beyond the sharp threshold: {self._gain(s)}"
            )

    def _gain(self, s: Array) -> str:
        """How a network stands to its sharp threshold at some variances, in words."""
        slopes = self.activation.slope_second_moment(s)
        worst = int(slopes.argmax())
        return (
            f"sigma_a2 * E[phi'^2] is {self.sigma_a2 * slopes[worst]:.3g} at a variance of {s[worst]:.3g}, "
            "and must stay below 1"
        )


@dataclass(frozen=True)
class ExplicitNetwork:
    r"""The feed-forward network :math:`x^{(l)} = \varphi_l(W_l x^{(l-1)})/\sqrt{m_l}`, in the limit of infinite width.

    Parameters
    ----------
    layers : sequence of Activation or str
        :math:`\varphi_1, \dots, \varphi_L`, at least one.
    tau0 : float, optional
        The scale of the data at which :meth:`centered` centered it.

    Examples
    --------
    >>> from helpers.networks import ExplicitNetwork
    >>> twin = ExplicitNetwork(("tanh", "relu")).centered(tau0=1.0)
    >>> twin.depth
    2
    >>> [f"{layer.shift:.4f}" for layer in twin.layers]
    ['0.0000', '0.2505']
    """

    layers: tuple[Activation, ...]
    tau0: float | None = None

    if TYPE_CHECKING:  # what may be given; the fields say what is kept

        def __init__(
            self, layers: Sequence[Activation | Function | str], tau0: float | None = None
        ) -> None: ...

    def __post_init__(self) -> None:
        if isinstance(self.layers, str | Activation) or not isinstance(self.layers, Sequence):
            raise TypeError(f"layers must be a sequence of activations, got {self.layers!r}")
        if not self.layers:
            raise ValueError("layers must hold at least one activation, got none")
        layers = tuple(_activation(layer, "layers") for layer in self.layers)
        object.__setattr__(self, "layers", layers)
        object.__setattr__(self, "tau0", _scale(self.tau0))

    def __str__(self) -> str:
        return formulas.text(self)

    def _repr_latex_(self) -> str:
        """The formula, for notebooks."""
        return rf"$\displaystyle {formulas.latex(self)}$"

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.layers)

    def rates(self, trained: Trained, name: str = "trained") -> tuple[float, ...]:
        """Rates c_0 ... c_L of the layers, the readout last, that a choice of trained weights stands for.

        Raises
        ------
        ValueError
            For an unknown name, another number of rates, or a negative one.
        """
        if isinstance(trained, str) and trained in ("default", "all"):
            return (1.0,) * (self.depth + 1)
        if isinstance(trained, str) and trained == "first_frozen":
            return (0.0,) + (1.0,) * self.depth
        rates = np.empty(0) if isinstance(trained, str) else as_real_array(trained, name)
        if rates.shape != (self.depth + 1,) or (rates < 0).any():
            raise ValueError(
                f'{name} must be "default", "all", "first_frozen" or {self.depth + 1} rates of at least 0, '
                f"got {trained!r}"
            )
        return tuple(float(rate) for rate in rates)

    def centered(self, tau0: float) -> ExplicitNetwork:
        r"""The network with a constant subtracted a layer, so that :math:`E[\varphi_l(\tau_{l-1}\xi)] = 0`.

        Parameters
        ----------
        tau0 : float
            Root of the mean squared norm of the data, positive.
        """
        tau0 = positive(tau0, "tau0")
        s, layers = np.array([tau0**2]), []
        for layer in self.layers:
            free = layer.minus(0.0)
            layers.append(free.minus(_clean_mean(free, s)))
            s = layers[-1].second_moment(s)
        return replace(self, layers=tuple(layers), tau0=tau0)


def _activation(given: Activation | str, name: str) -> Activation:
    """An activation, or an error that names the argument beside what is wrong with it."""
    try:
        return activations.get(given)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from error


def _scale(tau0: float | None) -> float | None:
    return None if tau0 is None else positive(tau0, "tau0")


def _clean_mean(free: Activation, s: Array) -> float:
    """Mean of an activation, exactly zero when it is rounding of an odd function's."""
    mean, size = float(free.mean(s)[0]), float(np.sqrt(free.second_moment(s)[0]))
    return 0.0 if abs(mean) < 1e-14 * size else mean


def warn_if_scale_differs(network: ImplicitNetwork | ExplicitNetwork, tau0: float) -> None:
    """Warn when a network was centered at a scale more than 1 % away from ``tau0``, that of the data."""
    if network.tau0 is not None and abs(network.tau0 / tau0 - 1) > 0.01:
        warnings.warn(
            f"the network was centered at tau0 = {network.tau0:.4g}, the data have tau0 = {tau0:.4g}; "
            "center it at the data's scale with .centered(tau0)",
            stacklevel=_callers_level(sys._getframe()),
        )


def _callers_level(frame: FrameType) -> int:
    """How far up the stack from ``frame``, which is 1, the first line outside the package is."""
    level = 1
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("helpers."):
        level, frame = level + 1, frame.f_back
    return level


def positive_variances(values: ArrayLike, name: str) -> Array:
    """``values`` (n,) as variances for moments that divide by them: a norm of 0 becomes one far below rounding; errors give the ``name``."""
    values = as_real_array(values, name)
    if values.size == 0 or values.min() < 0:
        raise ValueError(f"{name} must hold at least one number, each 0 or positive")
    return np.maximum(values, 1e-30 * (values.max() or 1.0))


def fixed_point(step: Function, start: ArrayLike, what: str) -> Array:
    """Fixed points of an elementwise map of positive numbers, by secant-accelerated (Steffensen) iteration.

    Parameters
    ----------
    step : callable
        Elementwise map of an (n,) array to an (n,) array.
    start : (n,) array
        Positive starting points.
    what : str
        What is iterated, for the error message.

    Raises
    ------
    ConvergenceError
        With the largest relative residual, when it does not settle.
    """
    s = np.maximum(np.asarray(as_real_array(start, "start")), 1e-300)
    residual, limit = np.inf, RUNAWAY * max(1.0, float(s.max()))
    for _ in range(STEPS):
        first = step(s)
        second = step(first)
        residual = float((np.abs(first - s) / np.maximum(first, 1e-300)).max())
        bend = second - 2 * first + s
        with np.errstate(divide="ignore", invalid="ignore"):
            leap = s - (first - s) ** 2 / bend  # not finite where nothing bends
        s = np.where(np.isfinite(leap) & (leap > 0), leap, second)
        if residual < TOLERANCE:
            return second
        if not s.max() < limit:  # before the next step, whose cost grows with s
            break
    raise ConvergenceError(
        f"{what} did not settle: is sigma_a2 beyond the sharp threshold?", residual
    )
