"""Reference values of Gaussian expectations and kernels, written from the mathematics alone.

Nothing here imports the package. One-dimensional expectations are integrated by mpmath at 25 digits
(double-exponential rule). Two-dimensional ones condition on the first Gaussian: v given u is Gaussian of
mean ``rho sqrt(t) x`` and variance ``t (1 - rho^2)``. The inner integral is split at the kinks of the
function, the outer one at those kinks and, geometrically, around those that the inner integral has
smoothed to a width ``sqrt(1 - rho^2)``.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import mpmath as mp
import numpy as np
from scipy import special

ROOT_2PI = np.sqrt(2 * np.pi)
END = 9.0  # in standard deviations: the mass left out is 2e-19
NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)


@dataclass(frozen=True)
class Case:
    """A function by its formulas: for numpy, for mpmath, its derivatives, its kinks and jumps."""

    name: str
    parameters: dict
    f: Callable
    df: Callable
    precise: Callable
    precise_df: Callable
    kinks: tuple = ()
    jump: float = 0.0  # at zero
    smooth: bool = False  # integrated numerically by the package, not by a closed form

    def __str__(self):
        return self.name + ("" if not self.parameters else "_with_parameters")


def _leaky(name, parameters, a, b):
    return Case(
        name,
        parameters,
        lambda x: np.where(x > 0, a * x, b * x),
        lambda x: np.where(x > 0, a, b),
        lambda x: a * x if x > 0 else b * x,
        lambda x: mp.mpf(a if x > 0 else b),
        (0.0,),
    )


def _jump(name, high, low):
    return Case(
        name,
        {},
        lambda x: np.where(x > 0, high, low),
        lambda x: 0.0 * x,
        lambda x: mp.mpf(high if x > 0 else low),
        lambda x: mp.mpf(0),
        (0.0,),
        jump=high - low,
    )


def _hard_tanh(parameters, a, c):
    return Case(
        "hard_tanh",
        parameters,
        lambda x: a * np.maximum(-c, np.minimum(x, c)),
        lambda x: a * (np.abs(x) < c),
        lambda x: a * max(-c, min(x, c)),
        lambda x: mp.mpf(a if abs(x) < c else 0),
        (-c, c),
    )


def _leaky_hard_tanh(parameters, a, b, c):
    return Case(
        "leaky_hard_tanh",
        parameters,
        lambda x: np.where(np.abs(x) < c, a * x, np.sign(x) * (a * c + b * (np.abs(x) - c))),
        lambda x: np.where(np.abs(x) < c, a, b),
        lambda x: a * x if abs(x) < c else mp.sign(x) * (a * c + b * (abs(x) - c)),
        lambda x: mp.mpf(a if abs(x) < c else b),
        (-c, c),
    )


def _clipped_leaky_relu(parameters, a, b, c):
    return Case(
        "clipped_leaky_relu",
        parameters,
        lambda x: np.where(x > 0, a * np.minimum(x, c), b * np.maximum(x, -c)),
        lambda x: np.where(np.abs(x) < c, np.where(x > 0, a, b), 0.0),
        lambda x: a * min(x, c) if x > 0 else b * max(x, -c),
        lambda x: mp.mpf((a if x > 0 else b) if abs(x) < c else 0),
        (-c, 0.0, c),
    )


def _normal_cdf(x):
    return special.erfc(-x / np.sqrt(2)) / 2


def _normal_pdf(x):
    return np.exp(-x * x / 2) / ROOT_2PI


def _logistic(x):
    return 0.5 * (1 + np.tanh(x / 2))


def _mp_logistic(x):
    return 1 / (1 + mp.exp(-x))


def _swish(name):
    return Case(
        name,
        {},
        lambda x: x * _logistic(x),
        lambda x: _logistic(x) + x * _logistic(x) * _logistic(-x),
        lambda x: x * _mp_logistic(x),
        lambda x: _mp_logistic(x) + x * _mp_logistic(x) * _mp_logistic(-x),
        smooth=True,
    )


def _horner(coefficients, x):
    value = 0 * x
    for c in reversed(coefficients):
        value = value * x + c
    return value


def _derived(coefficients):
    return [k * c for k, c in enumerate(coefficients)][1:]


def _power_series(name, parameters, powers):
    return Case(
        name,
        parameters,
        lambda x: _horner(powers, x),
        lambda x: _horner(_derived(powers), x),
        lambda x: _horner(powers, x),
        lambda x: _horner(_derived(powers), x),
        smooth=True,
    )


def _hermite(*weights):
    """Orthonormal Hermite polynomials up to h_2 = (x^2 - 1)/sqrt 2, h_3 = (x^3 - 3x)/sqrt 6."""
    w0, w1, w2, w3 = (*weights, 0, 0, 0)[:4]
    powers = (w0 - w2 / R2, w1 - 3 * w3 / R6, w2 / R2, w3 / R6)
    return _power_series("hermite", {"coefficients": weights}, powers)


R2, R6 = 2**0.5, 6**0.5
CASES = [
    _leaky("relu", {}, 1.0, 0.0),
    _leaky("leaky_relu", {"a": 1.3, "b": 0.2}, 1.3, 0.2),
    _leaky("leaky_relu", {"a": -0.4, "b": 1.1}, -0.4, 1.1),
    _leaky("abs", {}, 1.0, -1.0),
    _jump("sign", 1.0, -1.0),
    _jump("step", 1.0, 0.0),
    _hard_tanh({}, 1.0, 1.0),
    _hard_tanh({"a": 1.7, "c": 0.4}, 1.7, 0.4),
    _leaky_hard_tanh({}, 1.0, 0.1, 1.0),
    _leaky_hard_tanh({"a": 0.8, "b": -0.3, "c": 0.7}, 0.8, -0.3, 0.7),
    _clipped_leaky_relu({}, 1.0, 0.1, 1.0),
    _clipped_leaky_relu({"a": 0.8, "b": -0.4, "c": 0.7}, 0.8, -0.4, 0.7),
    Case("erf", {}, special.erf, lambda x: 2 / np.sqrt(np.pi) * np.exp(-x * x),
         mp.erf, lambda x: 2 / mp.sqrt(mp.pi) * mp.exp(-x * x)),
    Case("sin", {}, np.sin, np.cos, mp.sin, mp.cos),
    Case("cos", {}, np.cos, lambda x: -np.sin(x), mp.cos, lambda x: -mp.sin(x)),
    Case("gaussian", {}, lambda x: np.exp(-x * x / 2), lambda x: -x * np.exp(-x * x / 2),
         lambda x: mp.exp(-x * x / 2), lambda x: -x * mp.exp(-x * x / 2)),
    Case("tanh", {}, np.tanh, lambda x: 1 / np.cosh(x) ** 2,
         mp.tanh, lambda x: 1 / mp.cosh(x) ** 2, smooth=True),
    Case("sigmoid", {}, _logistic, lambda x: _logistic(x) * _logistic(-x),
         _mp_logistic, lambda x: _mp_logistic(x) * _mp_logistic(-x), smooth=True),
    Case("softplus", {}, lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), _logistic,
         lambda x: mp.log(1 + mp.exp(x)), _mp_logistic, smooth=True),
    _swish("swish"),
    _swish("silu"),
    Case("gelu", {}, lambda x: x * _normal_cdf(x), lambda x: _normal_cdf(x) + x * _normal_pdf(x),
         lambda x: x * mp.ncdf(x), lambda x: mp.ncdf(x) + x * mp.npdf(x), smooth=True),
    Case("elu", {}, lambda x: np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1),
         lambda x: np.exp(np.minimum(x, 0)), lambda x: x if x > 0 else mp.exp(x) - 1,
         lambda x: mp.mpf(1) if x > 0 else mp.exp(x), (0.0,), smooth=True),
    _power_series("polynomial", {"coefficients": (0.5, -1.0, 0.25, 0.1)}, (0.5, -1.0, 0.25, 0.1)),
    _hermite(0.3, 0.8, 0.5, 0.2),
    # of slopes that a recurrent network of mixed data bears
    _power_series("polynomial", {"coefficients": (0.1, 0.6, 0.05)}, (0.1, 0.6, 0.05)),
    _hermite(0.1, 0.7, 0.04),
]  # fmt: skip
CLOSED = {"relu", "leaky_relu", "abs", "sign", "step", "hard_tanh", "leaky_hard_tanh", "clipped_leaky_relu", "erf", "sin",
          "cos", "gaussian"}  # fmt: skip
# (name, parameters ...) -> value, derivative, kinks, of those that recurrent networks may have
FUNCTIONS = {
    (case.name, *case.parameters.items()): (case.f, case.df, case.kinks)
    for case in CASES
    if not case.jump and not (case.parameters.get("coefficients", (0.1,))[0] > 0.2)
}


# ---------------------------------------------------------------- one Gaussian


def mean(f, s, kinks=()):
    """E[f(sqrt(s) x)] by Gauss-Legendre panels, for functions of arrays."""
    x, weights = _rule([k / np.sqrt(s) for k in kinks], min(1.0, 3.0 / np.sqrt(s)))
    return float(weights @ (f(np.sqrt(s) * x) + 0 * x))


def expectation(integrand, s, kinks=()):
    """E[integrand(x, sqrt(s) x)] of a standard Gaussian x, to about 20 digits."""
    with mp.workdps(25):
        root = mp.sqrt(mp.mpf(s))
        inner = sorted(
            {mp.mpf(k) / root for k in kinks} | {mp.mpf(0)} | {mp.mpf(k) for k in (-3, 3)}
        )
        points = [mp.mpf(-14), *[x for x in inner if abs(x) < 14], mp.mpf(14)]
        return float(mp.quad(lambda x: integrand(x, root * x) * mp.npdf(x), points))


def moments(case, s, shift=0.0):
    """Every one-dimensional moment of ``case.f - shift``, with derivatives integrated as derivatives."""
    f, df = (lambda y: case.precise(y) - shift), case.precise_df
    _high, _low = (float(case.precise(mp.mpf(sign))) - shift for sign in (1, -1))
    return {
        "mean": expectation(lambda x, y: f(y), s, case.kinks),
        "second_moment": expectation(lambda x, y: f(y) ** 2, s, case.kinks),
        # a jump h at zero is h times a Dirac mass: E[delta(u)] = 1 / sqrt(2 pi s)
        "slope": expectation(lambda x, y: df(y), s, case.kinks) + case.jump / np.sqrt(2 * np.pi * s),
        # E[phi''] = E[x phi'] / sqrt(s); the mass of a jump at zero meets x = 0
        "curvature": expectation(lambda x, y: x * df(y), s, case.kinks) / np.sqrt(s),
        "square_curvature": expectation(lambda x, y: 2 * x * f(y) * df(y), s, case.kinks) / np.sqrt(s),
        "slope_second_moment": np.inf
        if case.jump
        else expectation(lambda x, y: df(y) ** 2, s, case.kinks),
    }  # fmt: skip


# ---------------------------------------------------------------- two Gaussians


def _rule(breaks, width):
    """Gauss-Legendre nodes and Gaussian weights on panels that end at every break."""
    edges = np.unique(np.clip([-END, *breaks, END], -END, END))
    pieces = [np.linspace(a, b, max(2, int(np.ceil((b - a) / width)) + 1))[:-1]
              for a, b in itertools.pairwise(edges)]  # fmt: skip
    edges = np.append(np.concatenate(pieces), END)
    half = np.diff(edges)[:, None] / 2
    x = ((edges[:-1, None] + half) + half * NODES).ravel()
    return x, (half * WEIGHTS).ravel() * np.exp(-x * x / 2) / ROOT_2PI


def _outer_breaks(kinks, s, t, rho):
    """Where f(sqrt(s) x) breaks, and a graded mesh where the smoothed f(sqrt(t) y) bends."""
    breaks = [k / np.sqrt(s) for k in kinks]
    if rho == 0:
        return breaks
    width = np.sqrt((1 - rho) * (1 + rho)) / abs(rho)
    for k in kinks:
        center = k / (rho * np.sqrt(t))
        breaks.append(center)
        step = max(width, 1e-9) / 2
        while step < 2:
            breaks += [center - step, center + step]
            step *= 2
    return breaks


def pair(f, s, t, rho, kinks=()):
    """E[f(u) f(v)] of centered Gaussians of variances s, t and correlation rho."""
    if 1 - abs(rho) < 1e-14:  # a rounding of one, to which step functions respond by its root
        rho = np.sign(rho)
    width = min(1.0, 3.0 / np.sqrt(max(s, t)))
    x, weights = _rule(_outer_breaks(kinks, s, t, rho), width)
    if abs(rho) == 1:
        return float(weights @ (f(np.sqrt(s) * x) * f(rho * np.sqrt(t) * x)))
    rest = np.sqrt((1 - rho) * (1 + rho))
    if not kinks:
        y, inner = _rule((), width)
        smoothed = f(np.sqrt(t) * (rho * x[:, None] + rest * y)) @ inner
    else:
        smoothed = _smoothed(f, np.sqrt(t), rho * x, rest, kinks)
    return float(weights @ (f(np.sqrt(s) * x) * smoothed))


def _smoothed(g, scale, center, rest, kinks):
    """E[g(scale (center + rest y))] for each center, on panels that end at the kinks."""
    cuts = np.clip((np.sort(kinks) / scale - center[:, None]) / rest, -END, END)
    ends = np.full((len(center), 1), END)
    edges = np.concatenate([-ends, cuts, ends], axis=1)
    count = int(np.ceil(2 * END / min(2.0, 3.0 / scale / rest)))
    fine = edges[:, :-1, None] + np.diff(edges)[:, :, None] * (np.arange(count) / count)
    half = (np.diff(edges)[:, :, None] / count / 2) + 0 * fine
    y = ((fine + half)[..., None] + half[..., None] * NODES).reshape(len(center), -1)
    weights = (half[..., None] * WEIGHTS).reshape(len(center), -1) * np.exp(-y * y / 2) / ROOT_2PI
    return (weights * g(scale * (center[:, None] + rest * y))).sum(axis=1)


def _correlation(s, t, c):
    return float(np.clip(c / np.sqrt(s * t), -1.0, 1.0))


def dual(case, s, t, c, shift=0.0):
    """E[phi(u) phi(v)] of phi = case.f - shift at covariance c."""
    return pair(lambda x: case.f(x) - shift, s, t, _correlation(s, t, c), case.kinks)


def dual_slope(case, s, t, c):
    """E[phi'(u) phi'(v)]; two jumps at zero meet with the density of (u, v) at the origin."""
    if case.jump:
        return case.jump**2 / (2 * np.pi * np.sqrt(s * t - c * c))
    return pair(case.df, s, t, _correlation(s, t, c), case.kinks)


# ---------------------------------------------------------------- closed forms, from the literature


def relu_dual(s, t, c):
    """Cho and Saul (2009): sqrt(st) (sin a + (pi - a) cos a) / (2 pi), a the angle, at 40 digits."""
    with mp.workdps(40):
        s, t, c = mp.mpf(s), mp.mpf(t), mp.mpf(c)
        angle = mp.acos(c / mp.sqrt(s * t))
        return float(
            mp.sqrt(s * t) * (mp.sin(angle) + (mp.pi - angle) * mp.cos(angle)) / (2 * mp.pi)
        )


def erf_dual(s, t, c):
    """Williams (1996): (2/pi) arcsin(2c / sqrt((1 + 2s)(1 + 2t)))."""
    with mp.workdps(40):
        s, t, c = mp.mpf(s), mp.mpf(t), mp.mpf(c)
        return float(2 / mp.pi * mp.asin(2 * c / mp.sqrt((1 + 2 * s) * (1 + 2 * t))))


def plain_iteration(f, kinks, X, sigma_a2, sigma_b2, steps):
    """The kernel recursion as it is defined: Lambda <- sigma_a2 E[ff] + sigma_b2 X^T X, entry by entry."""
    source = sigma_b2 * X.T @ X
    covariance, n = source.copy(), X.shape[1]
    for _ in range(steps):
        kernel = np.empty((n, n))
        for i in range(n):
            for j in range(i + 1):
                s, t, c = covariance[i, i], covariance[j, j], covariance[i, j]
                kernel[i, j] = kernel[j, i] = pair(f, s, t, _correlation(s, t, c), kinks)
        covariance = sigma_a2 * kernel + source
    return kernel, covariance
