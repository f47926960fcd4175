r"""Activations :math:`\varphi`: value, derivative, Gaussian moments, and the dual kernels of a Gaussian pair."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erf, eval_hermitenorm, expit, ndtr

from helpers import pairs
from helpers.checks import as_real_array, number
from helpers.quadrature import fineness, in_variance, reach, rule

Array = NDArray[np.float64]
Function = Callable[[Array], Array]
MAX_DEGREE = 40  # of a polynomial: its moments stay far from overflow


@dataclass(frozen=True)
class Activation:
    r"""A function :math:`\varphi = \mathrm{function} - \mathrm{shift}` and everything kernels ask of it.

    In all moments ``s`` and ``t`` are variances of centered Gaussians u and v, arrays of any shape, and
    the expectations are exact to rounding (Gauss-Legendre panels split at the kinks).

    Parameters
    ----------
    name : str
        What it is called in figures and messages.
    function, slope_function : callable
        Vectorized value and derivative of the uncentered function.
    family : pairs.Pairs
        How covariances of a pair are computed.
    kinks : tuple of float
        Points where the function is not smooth.
    shift : float
        The constant that is subtracted.
    parameters : tuple of (str, value)
        What :func:`get` was asked for beside the name, defaults filled in.
    """

    name: str
    function: Function
    slope_function: Function
    family: pairs.Pairs
    kinks: tuple[float, ...] = ()
    shift: float = 0.0
    parameters: tuple[tuple[str, float | tuple[float, ...]], ...] = ()

    def __call__(self, x: ArrayLike) -> Array:
        """Value at ``x``, elementwise."""
        return self.function(np.asarray(x, dtype=float)) - self.shift

    def derivative(self, x: ArrayLike) -> Array:
        """Derivative at ``x``, elementwise (the right one at a kink)."""
        return self.slope_function(np.asarray(x, dtype=float))

    def minus(self, shift: float) -> Activation:
        """The same function with ``shift`` subtracted, in place of what was subtracted before."""
        return replace(self, shift=number(shift, "shift"))

    def mean(self, s: ArrayLike) -> Array:
        r""":math:`E[\varphi(u)]` at variances ``s``, of any shape."""
        return self._moment(lambda value, xi: value, s)

    def second_moment(self, s: ArrayLike) -> Array:
        r""":math:`E[\varphi(u)^2]` at variances ``s``, of any shape."""
        return self._moment(lambda value, xi: value**2, s)

    def slope(self, s: ArrayLike) -> Array:
        r""":math:`E[\varphi'(u)] = E[\xi\varphi(\sqrt s\,\xi)]/\sqrt s` (Stein 1981)."""
        return self._moment(lambda value, xi: xi * value, s) / np.sqrt(s)

    def curvature(self, s: ArrayLike) -> Array:
        r""":math:`E[\varphi''(u)] = E[(\xi^2-1)\varphi(\sqrt s\,\xi)]/s` (Stein, twice)."""
        mean = self._moment(lambda value, xi: (xi**2 - 1) * value, s)
        return mean / np.asarray(s, np.float64)

    def square_curvature(self, s: ArrayLike) -> Array:
        r""":math:`E[(\varphi^2)''(u)] = E[(\xi^2-1)\varphi^2(\sqrt s\,\xi)]/s` (Stein, twice)."""
        mean = self._moment(lambda value, xi: (xi**2 - 1) * value**2, s)
        return mean / np.asarray(s, np.float64)

    def slope_second_moment(self, s: ArrayLike) -> Array:
        r""":math:`E[\varphi'(u)^2]` at variances ``s``; infinite where the function jumps."""
        s = _variance(s, "s")
        if isinstance(self.family, pairs.Jump):
            return np.full(s.shape, np.inf)
        return self._moment(lambda value, xi: value**2, s, self.slope_function)

    def dual(self, s: ArrayLike, t: ArrayLike, c: ArrayLike) -> Array:
        r""":math:`E[\varphi(u)\varphi(v)]` at variances s, t and covariance c, which broadcast."""
        s, t, c = _pair_arguments(s, t, c)
        return self.mean(s) * self.mean(t) + self._pair(s, t, c)[0]

    def dual_slope(self, s: ArrayLike, t: ArrayLike, c: ArrayLike) -> Array:
        r""":math:`E[\varphi'(u)\varphi'(v)]`, the derivative of :meth:`dual` in c, with its arguments s, t, c (Price 1958)."""
        s, t, c = _pair_arguments(s, t, c)
        return self._pair(s, t, c)[1] / np.sqrt(s * t)

    def _pair(self, s: Array, t: Array, c: Array) -> tuple[Array, Array]:
        both = self.family.prepare(np.concatenate([s.ravel(), t.ravel()]))
        left, right = np.split(both, 2, axis=-1)
        rho = np.clip(c / np.sqrt(s * t), -1.0, 1.0).ravel()
        value, slope = self.family.covariance(left, right, rho)
        return value.reshape(c.shape), slope.reshape(c.shape)

    def _moment(
        self, integrand: Callable[[Array, Array], Array], s: ArrayLike, f: Function | None = None
    ) -> Array:
        s = _variance(s, "s")
        function = self if f is None else f

        def expectation(variances: Array) -> Array:
            far, fine = reach(function, variances, self.name), 1.0
            if isinstance(self.function, _Guarded):  # the named ones are known to be smooth enough
                fine = fineness(function, variances, self.kinks, far, self.name)
            nodes, weights = rule(variances, self.kinks, far=far, fine=fine)
            values = function(np.sqrt(variances)[:, None] * nodes)
            means: Array = (weights * integrand(values, nodes)).sum(axis=1)
            return means

        return in_variance(expectation, s.ravel()).reshape(s.shape)


def get(name: str | Function, **parameters: Any) -> Activation:
    """The activation of a name, or one made from a callable.

    Parameters
    ----------
    name : str or callable
        One of :func:`names`, or a vectorized real function of a real array. Where a callable is not
        smooth is looked for between -12 and 12, unless it is said with ``kinks=(…)``; its derivative
        may be given as ``derivative=``. (Where the curvature alone jumps is found at zero only.) A
        piecewise linear callable is found out and served in closed form.
    **parameters
        Those of the named activation: ``leaky_relu(a, b)`` slopes right and left of zero,
        ``hard_tanh(a, c)`` = a clip(x, -c, c), ``leaky_hard_tanh(a, b, c)`` of slope a up to c in size and b
        beyond, ``clipped_leaky_relu(a, b, c)`` = leaky_relu(clip(x, -c, c)), ``polynomial(coefficients)`` from
        the constant upward, ``hermite(coefficients)`` in orthonormal Hermite polynomials.

    Returns
    -------
    Activation

    Raises
    ------
    ValueError
        For an unknown name or parameter, or a callable that is not vectorized, that returns complex,
        single-precision or non-finite values, that draws at random, or that jumps.
    TypeError
        If ``name`` is neither text nor callable.

    Examples
    --------
    >>> from helpers import activations
    >>> relu = activations.get("relu")
    >>> relu.derivative([-1.0, 2.0])
    array([0., 1.])
    >>> f"{relu.mean(1.0):.4f}"
    '0.3989'
    >>> activations.get("hard_tanh", a=2.0, c=0.5)([-1.0, 0.25])
    array([-1. ,  0.5])
    """
    if isinstance(name, Activation):
        return name
    if callable(name):
        _known_parameters(parameters, ("kinks", "derivative"), "a callable")
        return _from_callable(name, **parameters)
    if not isinstance(name, str):
        raise TypeError(f"name must be the name of an activation or a callable, got {name!r}")
    if name not in _MAKERS:
        raise ValueError(f"name must be one of {', '.join(names())}, got {name!r}")
    maker = _MAKERS[name]
    _known_parameters(parameters, inspect.signature(maker).parameters, name)
    return replace(maker(**parameters), parameters=_filled(maker, parameters))


def _filled(
    maker: Callable[..., Activation], parameters: dict[str, Any]
) -> tuple[tuple[str, float | tuple[float, ...]], ...]:
    """The parameters of a named activation with its defaults, as plain numbers and tuples of them."""
    bound = inspect.signature(maker).bind(**parameters)
    bound.apply_defaults()
    given = {key: np.asarray(value, dtype=float).tolist() for key, value in bound.arguments.items()}
    return tuple((key, tuple(v) if isinstance(v, list) else v) for key, v in given.items())


def _known_parameters(parameters: Iterable[str], allowed: Iterable[str], name: str) -> None:
    for key in parameters:
        if key not in allowed:
            raise ValueError(
                f"{key} is not a parameter of {name}, which takes {', '.join(allowed) or 'none'}"
            )


def names() -> list[str]:
    """The names that :func:`get` knows, sorted."""
    return sorted(_MAKERS)


def _relu() -> Activation:
    return replace(_leaky_relu(1.0, 0.0), name="relu")


def _abs() -> Activation:
    return replace(_leaky_relu(1.0, -1.0), name="abs")


def _leaky_relu(a: float = 1.0, b: float = 0.1) -> Activation:
    a, b = _scalars(a=a, b=b)
    return Activation(
        "leaky_relu",
        lambda x: np.where(x > 0, a * x, b * x),
        lambda x: np.where(x >= 0, a, b),
        pairs.Rectifier(a, b),
        kinks=(0.0,),
    )


def _jump(name: str, high: float, low: float) -> Activation:
    return Activation(
        name,
        lambda x: np.where(x >= 0, high, low),
        np.zeros_like,
        pairs.Jump(high, low),
        kinks=(0.0,),
    )


def _hard_tanh(a: float = 1.0, c: float = 1.0) -> Activation:
    a, c = _scalars(a=a, c=c)
    if c <= 0:
        raise ValueError(f"c must be positive, got {c:g}")
    return Activation(
        "hard_tanh",
        lambda x: a * np.clip(x, -c, c),
        lambda x: np.where((x >= -c) & (x < c), a, 0.0),
        pairs.Hinges(0.0, (-c, c), (a, -a)),
        kinks=(-c, c),
    )


def _leaky_hard_tanh(a: float = 1.0, b: float = 0.1, c: float = 1.0) -> Activation:
    a, b, c = _scalars(a=a, b=b, c=c)
    if c <= 0:
        raise ValueError(f"c must be positive, got {c:g}")
    return Activation(
        "leaky_hard_tanh",
        lambda x: (a - b) * np.clip(x, -c, c) + b * x,
        lambda x: np.where((x >= -c) & (x < c), a, b),
        pairs.Hinges(b, (-c, c), (a - b, b - a)),
        kinks=(-c, c),
    )


def _clipped_leaky_relu(a: float = 1.0, b: float = 0.1, c: float = 1.0) -> Activation:
    a, b, c = _scalars(a=a, b=b, c=c)
    if c <= 0:
        raise ValueError(f"c must be positive, got {c:g}")
    return Activation(
        "clipped_leaky_relu",
        lambda x: a * np.clip(x, 0.0, c) + b * np.clip(x, -c, 0.0),
        lambda x: np.where((x >= 0) & (x < c), a, np.where((x >= -c) & (x < 0), b, 0.0)),
        pairs.Hinges(0.0, (-c, 0.0, c), (b, a - b, -a)),
        kinks=(-c, 0.0, c),
    )


def _smooth(
    name: str, function: Function, slope: Function, kinks: tuple[float, ...] = ()
) -> Activation:
    if kinks == (0.0,):
        family: pairs.Pairs = pairs.Wedge(function, slope, name)
    else:
        family = pairs.Series(function, slope, kinks, name)
    return Activation(name, function, slope, family, kinks)


@dataclass(frozen=True)
class _Expansion(Activation):
    """A polynomial: every moment is a finite sum over its Hermite coefficients, equation by equation."""

    def _coefficients(self, s: ArrayLike) -> tuple[Array, Array]:
        """c_0 ... c_N and a last zero, at variances of any shape."""
        s = _variance(s, "s")
        rows = self.family.prepare(s.ravel())
        rows[0] -= self.shift
        return np.concatenate([rows, np.zeros((2, s.size))]).reshape(-1, *s.shape), s

    def mean(self, s: ArrayLike) -> Array:
        constant: Array = self._coefficients(s)[0][0]
        return constant

    def second_moment(self, s: ArrayLike) -> Array:
        squares: Array = (self._coefficients(s)[0] ** 2).sum(axis=0)
        return squares

    def slope(self, s: ArrayLike) -> Array:
        c, s = self._coefficients(s)
        slope: Array = c[1] / np.sqrt(s)
        return slope

    def curvature(self, s: ArrayLike) -> Array:
        c, s = self._coefficients(s)
        curvature: Array = np.sqrt(2) * c[2] / s
        return curvature

    def square_curvature(self, s: ArrayLike) -> Array:
        r"""By :math:`\xi h_k = \sqrt{k+1}\,h_{k+1} + \sqrt k\,h_{k-1}`."""
        c, s = self._coefficients(s)
        k = _orders(c)
        neighbors = (np.sqrt(k * (k + 1))[1:-1] * c[:-2] * c[2:]).sum(axis=0)
        curvature: Array = 2 * ((k * c**2).sum(axis=0) + neighbors) / s
        return curvature

    def slope_second_moment(self, s: ArrayLike) -> Array:
        c, s = self._coefficients(s)
        squares: Array = (_orders(c) * c**2).sum(axis=0) / s
        return squares


def _orders(c: Array) -> Array:
    """0, 1, 2, ... along the first axis of coefficients."""
    return np.arange(float(len(c))).reshape(-1, *[1] * (c.ndim - 1))


def _polynomial(coefficients: ArrayLike = (0.0, 1.0, 0.0, 1.0)) -> Activation:
    powers = _vector(coefficients)
    series = np.polynomial.Polynomial(powers)
    family = pairs.Polynomial(tuple((powers * _root_factorials(powers)).tolist()), 0.0)
    return _Expansion("polynomial", series, series.deriv(), family)


def _root_factorials(coefficients: Array) -> Array:
    """Square roots of 0!, 1!, 2!, ..."""
    return np.sqrt([float(math.factorial(k)) for k in range(len(coefficients))])


def _hermite(coefficients: ArrayLike = (0.0, 1.0)) -> Activation:
    weights = _vector(coefficients)
    monic = weights / _root_factorials(weights)  # h_k = He_k / sqrt(k!)

    def function(x: Array) -> Array:
        value: Array = sum(w * eval_hermitenorm(k, x) for k, w in enumerate(monic))
        return value

    def slope(x: Array) -> Array:
        return sum((k * w * eval_hermitenorm(k - 1, x) for k, w in enumerate(monic) if k), 0 * x)

    return _Expansion("hermite", function, slope, pairs.Polynomial(tuple(weights.tolist()), 1.0))


def _gaussian_density(x: Array) -> Array:
    return np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def _swish() -> Activation:
    return _smooth("swish", lambda x: x * expit(x), lambda x: expit(x) * (1 + x * expit(-x)))


def _gelu() -> Activation:
    return _smooth("gelu", lambda x: x * ndtr(x), lambda x: ndtr(x) + x * _gaussian_density(x))


_MAKERS: dict[str, Callable[..., Activation]] = {
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "abs": _abs,
    "sign": lambda: _jump("sign", 1.0, -1.0),
    "step": lambda: _jump("step", 1.0, 0.0),
    "hard_tanh": _hard_tanh,
    "leaky_hard_tanh": _leaky_hard_tanh,
    "clipped_leaky_relu": _clipped_leaky_relu,
    "erf": lambda: Activation(
        "erf", erf, lambda x: 2 / np.sqrt(np.pi) * np.exp(-(x**2)), pairs.ErrorFunction()
    ),
    "sin": lambda: Activation("sin", np.sin, np.cos, pairs.Sine()),
    "cos": lambda: Activation("cos", np.cos, lambda x: -np.sin(x), pairs.Cosine()),
    "gaussian": lambda: Activation(
        "gaussian", lambda x: np.exp(-(x**2) / 2), lambda x: -x * np.exp(-(x**2) / 2), pairs.Bell()
    ),
    "tanh": lambda: _smooth("tanh", np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "sigmoid": lambda: _smooth("sigmoid", expit, lambda x: expit(x) * expit(-x)),
    "softplus": lambda: _smooth("softplus", lambda x: np.logaddexp(0, x), expit),
    "swish": _swish,
    "silu": _swish,
    "gelu": _gelu,
    "elu": lambda: _smooth(
        "elu",
        lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
        lambda x: np.exp(np.minimum(x, 0)),
        kinks=(0.0,),
    ),
    "polynomial": _polynomial,
    "hermite": _hermite,
}


@dataclass(frozen=True, eq=False)
class _Guarded:
    """A user's function as the package needs it: of a copy of its argument, in one dimension, in float64."""

    function: Function
    name: str

    def __call__(self, x: Array) -> Array:
        if not isinstance(x, np.ndarray):  # torch's tensors pass, for finite networks
            return self.function(x)
        return np.asarray(self.function(x.ravel().copy()), dtype=float).reshape(x.shape)


def _from_callable(
    function: Function,
    kinks: tuple[float, ...] | None = None,
    derivative: Function | None = None,
) -> Activation:
    """An activation from a user's function, looked at before it is used."""
    name = getattr(function, "__name__", type(function).__name__)
    _checked_values(function, name)
    guarded = _Guarded(function, name)
    if kinks is None:
        found = _kinks(guarded, name)
    else:
        found = np.unique(as_real_array(kinks, "kinks"))
        _refuse_jumps(guarded(found + 1e-9) - guarded(found - 1e-9), guarded(found), found, name)
    found = np.where(np.abs(found) < 1e-7, 0.0, found)
    if kinks is None and 0.0 not in found and _bends_at_zero(guarded):
        found = np.sort(np.append(found, 0.0))
    pieces = _linear_pieces(guarded, found) if found.size else None
    if pieces is not None:
        found, slope = pieces[1], _steps(*pieces)
    else:
        slope = _central_difference(guarded, found)
    if derivative is not None:
        _checked_values(derivative, f"the derivative of {name}")
        slope = _Guarded(derivative, name)
    made = _smooth(name, guarded, slope, tuple(found.tolist()))
    return made if pieces is None else replace(made, family=_linear_family(*pieces))


def _linear_pieces(function: Function, kinks: Array) -> tuple[Array, Array] | None:
    """Slopes and exact knots of a piecewise linear function, None if it is not one."""
    edges = np.concatenate([[min(-40.0, kinks[0] - 1)], kinks, [max(40.0, kinks[-1] + 1)]])
    shares = np.array([0.02, 0.27, 0.5, 0.7, 0.98])
    x = edges[:-1, None] + np.diff(edges)[:, None] * shares
    y = function(x)
    slopes = (y[:, -1] - y[:, 0]) / (x[:, -1] - x[:, 0])
    levels = y[:, 0] - slopes * x[:, 0]
    gap = np.abs(y - slopes[:, None] * x - levels[:, None]).max()
    if not gap <= 1e-13 * np.abs(y).max() or not np.diff(slopes).all():
        return None
    knots = -np.diff(levels) / np.diff(slopes)  # where neighboring lines meet
    return slopes, np.where(np.abs(knots) < 1e-9, 0.0, knots)


def _steps(slopes: Array, knots: Array) -> Function:
    return lambda x: slopes[np.searchsorted(knots, x, side="right")]


def _linear_family(slopes: Array, knots: Array) -> pairs.Pairs:
    if knots.tolist() == [0.0]:
        return pairs.Rectifier(*slopes[::-1].tolist())
    return pairs.Hinges(float(slopes[0]), tuple(knots.tolist()), tuple(np.diff(slopes).tolist()))


def _checked_values(function: Function, name: str) -> None:
    probe = np.linspace(-12.0, 12.0, 97)
    try:
        values = np.asarray(function(probe.copy()))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be vectorized, a function of an array that returns one of its shape "
            f"(np.vectorize makes it so); on an array it fails: {error}"
        ) from error
    if values.shape != probe.shape:
        raise ValueError(
            f"{name} must be vectorized: return an array of its argument's shape {probe.shape}, "
            f"got {values.shape}"
        )
    if values.dtype.kind not in "iuf":
        raise ValueError(f"{name} must return real numbers, got {values.dtype}")
    if values.dtype.kind == "f" and values.dtype.itemsize < 8:
        raise ValueError(
            f"{name} must return double precision, got {values.dtype}: its rounding would be taken for kinks"
        )
    if not np.isfinite(values).all():
        raise ValueError(
            f"{name} must be finite, at x = {probe[~np.isfinite(values)][0]:g} it is not"
        )
    if not np.array_equal(values, function(probe.copy())):
        raise ValueError(f"{name} must depend on its argument alone: two calls differ")


def _refuse_jumps(rise: Array, size: Array, where: Array, name: str) -> None:
    jumps = np.abs(rise) > 1e-3 * (1.0 + np.abs(size))
    if jumps.any():
        raise ValueError(f"{name} must be continuous, it jumps at x = {where[jumps][0]:.4g}")


def _kinks(function: Function, name: str) -> Array:
    """Where the slope of a function changes at once: every cell of a grid closes in on its sharpest bend."""
    middle = np.linspace(-12.0137, 12.0171, 2048)  # a grid that meets no round number
    half = middle[1] - middle[0]
    rows = np.arange(middle.size)
    while half > 1e-7:
        points = middle + half * np.array([-1.0, -0.5, 0.0, 0.5, 1.0])[:, None]
        bend = np.abs(np.diff(function(points), n=2, axis=0))
        middle, half = points[bend.argmax(axis=0) + 1, rows], half / 2
    left, right = middle - half, middle + half
    value_left, value_right = function(left), function(right)

    def tangents(step: float) -> tuple[Array, Array]:
        return (
            (value_left - function(left - step)) / step,
            (function(right + step) - value_right) / step,
        )

    wide, (slope_left, slope_right) = np.subtract(*tangents(1e-5)), tangents(1e-6)
    bend, size = np.abs(slope_right - slope_left), 1.0 + np.abs(slope_left) + np.abs(slope_right)
    _refuse_jumps(value_right - value_left, size - 1.0, middle, name)
    # a smooth function's bend is ten times less at a tenth of the step
    bent = (bend > 1e-3 * size) & (bend > 0.5 * np.abs(wide))
    # the kink is where the two tangents meet
    gap = value_left + slope_left * (middle - left) - value_right - slope_right * (middle - right)
    found = (middle + gap / np.where(bent, slope_right - slope_left, 1.0))[bent]
    apart: Array = found[np.diff(found, prepend=-np.inf) > 1e-5]
    return apart


def _bends_at_zero(function: Function) -> bool:
    """Whether the second or third derivative changes at once at zero, as ELU's and those of x_+^2 do."""
    for order in (2, 3):
        jumps, sizes = [], []
        for h in (2e-3, 5e-4):
            steps = h * np.arange(order + 1.0)
            right = float(np.diff(function(steps), n=order)[0]) / h**order
            left = (-1) ** order * float(np.diff(function(-steps), n=order)[0]) / h**order
            jumps.append(abs(right - left))
            sizes.append(1.0 + abs(right) + abs(left))
        # a smooth function's differences approach each other with the step
        if jumps[1] > 1e-3 * sizes[1] and jumps[1] > 0.6 * jumps[0]:
            return True
    return False


def _central_difference(function: Function, kinks: Array) -> Function:
    """Sixth-order difference that keeps to one side of a kink; its error is about 1e-13."""

    def slope(x: Array) -> Array:
        room = np.abs(np.asarray(x)[..., None] - kinks).min(axis=-1, initial=np.inf)
        h = np.clip(room / 20, 1e-14, 3e-3)
        rises = [function(x + k * h) - function(x - k * h) for k in (1, 2, 3)]
        central: Array = (45 * rises[0] - 9 * rises[1] + rises[2]) / (60 * h)
        return central

    return slope


def _variance(s: ArrayLike, name: str) -> Array:
    s = as_real_array(s, name)
    if s.size == 0:
        raise ValueError(f"{name} must hold at least one variance, its shape is {s.shape}")
    if not (s > 0).all():
        raise ValueError(f"{name} must be a positive variance, its smallest entry is {s.min():g}")
    return s


def _pair_arguments(s: ArrayLike, t: ArrayLike, c: ArrayLike) -> list[Array]:
    s, t, c = _variance(s, "s"), _variance(t, "t"), as_real_array(c, "c")
    try:
        s, t, c = np.broadcast_arrays(s, t, c)
    except ValueError:
        raise ValueError(
            f"c, s and t must broadcast: their shapes are {c.shape}, {s.shape} and {t.shape}"
        ) from None
    excess = np.abs(c) / np.sqrt(s * t)
    if excess.size == 0 or excess.max() > 1 + 1e-9:
        raise ValueError("c must be a covariance, of absolute value at most sqrt(s t)")
    return [s, t, c]


def _scalars(**values: float) -> list[float]:
    for name, value in values.items():
        if as_real_array(value, name).ndim:
            raise ValueError(f"{name} must be one number, got {value!r}")
    return [float(value) for value in values.values()]


def _vector(coefficients: ArrayLike) -> Array:
    vector = as_real_array(coefficients, "coefficients")
    if vector.ndim != 1 or vector.size < 2 or not vector[1:].any():
        raise ValueError(
            f"coefficients must be a list with a nonzero term beyond the constant, got {coefficients!r}"
        )
    if vector.size > MAX_DEGREE + 1:
        raise ValueError(
            f"coefficients must be of degree at most {MAX_DEGREE}, got one of degree {vector.size - 1}"
        )
    return vector
