"""Activations against quadrature that was written apart from them."""

from __future__ import annotations

import functools
import math
from fractions import Fraction

import numpy as np
import oracles
import pytest

from helpers import activations

CASES = [pytest.param(key, id=key[0]) for key in oracles.FUNCTIONS]
SHIFT = 0.17
# closed forms, and polynomials, whose series ends
EXACT = oracles.CLOSED | {"polynomial", "hermite"}


def make(key):
    return activations.get(key[0], **dict(key[1:])).minus(SHIFT)


def scale(key, *variances):
    f, _, kinks = oracles.FUNCTIONS[key]
    return np.sqrt(np.prod([oracles.mean(lambda x: f(x) ** 2, s, kinks) for s in variances]))


@functools.cache
def moment(key, order, s):
    """Second moment of the centered value (order 0) or of the slope (order 1)."""
    f, slope, kinks = oracles.FUNCTIONS[key]
    return oracles.mean(lambda x: (slope(x) if order else f(x) - SHIFT) ** 2, s, kinks)


@pytest.mark.parametrize("key", CASES)
@pytest.mark.parametrize("s", [0.1, 1.0, 9.0])
def test_moments(key, s):
    f, slope, kinks = oracles.FUNCTIONS[key]
    phi = make(key)
    size = scale(key, s) + SHIFT
    expected = {
        "mean": oracles.mean(f, s, kinks) - SHIFT,
        "second_moment": oracles.mean(lambda x: (f(x) - SHIFT) ** 2, s, kinks),
        "slope": oracles.mean(slope, s, kinks),
        "slope_second_moment": oracles.mean(lambda x: slope(x) ** 2, s, kinks),
        # by Gaussian integration by parts, from the slope and not from the value
        "curvature": oracles.mean(lambda x: x * slope(x), s, kinks) / s,
        "square_curvature": oracles.mean(lambda x: x * 2 * (f(x) - SHIFT) * slope(x), s, kinks) / s,
    }
    for name, value in expected.items():
        unit = max(1.0, size**2, size / s)
        assert getattr(phi, name)(s) == pytest.approx(value, rel=1e-11, abs=1e-12 * unit), name


@pytest.mark.parametrize("key", CASES)
def test_value_and_derivative(key):
    f, slope, kinks = oracles.FUNCTIONS[key]
    phi, x = make(key), np.linspace(-3.03, 3.07, 41)
    np.testing.assert_allclose(phi(x), f(x) - SHIFT, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(phi.derivative(x), slope(x), rtol=1e-13, atol=1e-14)
    step = 1e-5
    away = np.array([all(abs(point - k) > 1e-3 for k in kinks) for point in x])
    difference = (phi(x + step) - phi(x - step)) / (2 * step)
    np.testing.assert_allclose(phi.derivative(x)[away], difference[away], atol=1e-8)


@pytest.mark.parametrize("key", CASES)
@pytest.mark.parametrize("rho", [0.0, 0.3, -0.3, 0.9, -0.9, 0.999, -0.999, 0.9999, -0.9999, -1.0])
def test_dual_kernels(key, rho):
    f, slope, kinks = oracles.FUNCTIONS[key]
    phi = make(key)
    tolerance = 1e-12 if key[0] in EXACT else 1e-9
    for s, t in ((1.0, 1.0), (0.1, 9.0)):
        c = rho * np.sqrt(s * t)
        units = [np.sqrt(np.prod([moment(key, name, v) for v in (s, t)])) for name in (0, 1)]
        value = oracles.pair(lambda x: f(x) - SHIFT, s, t, rho, kinks)
        assert abs(phi.dual(s, t, c) - value) <= tolerance * units[0]
        slopes = oracles.pair(slope, s, t, rho, kinks)
        assert abs(phi.dual_slope(s, t, c) - slopes) <= tolerance * units[1]


@pytest.mark.parametrize("key", CASES)
def test_dual_kernels_at_correlation_one_are_moments(key):
    f, slope, kinks = oracles.FUNCTIONS[key]
    phi, tolerance = make(key), 1e-12 if key[0] in EXACT else 1e-9
    for s in (0.1, 1.0, 9.0):
        second = oracles.mean(lambda x: (f(x) - SHIFT) ** 2, s, kinks)
        assert phi.dual(s, s, s) == pytest.approx(second, rel=tolerance)
        slopes = oracles.mean(lambda x: slope(x) ** 2, s, kinks)
        assert phi.dual_slope(s, s, s) == pytest.approx(slopes, rel=tolerance)


@pytest.mark.parametrize(("name", "factor"), [("sign", 1.0), ("step", 0.25)])
def test_jumps_have_the_arcsine_kernel(name, factor):
    phi = activations.get(name)
    s, t, rho = 0.7, 2.0, np.array([-1.0, -0.3, 0.0, 0.5, 1.0])
    # P(u, v of one sign) = 1/2 + asin(rho)/pi (Sheppard 1899)
    expected = factor * 2 / np.pi * np.arcsin(rho) + (0.25 if name == "step" else 0.0)
    np.testing.assert_allclose(phi.dual(s, t, rho * np.sqrt(s * t)), expected, atol=1e-13)
    assert np.isinf(phi.slope_second_moment(1.0))


def test_every_name_is_tested():
    tested = {key[0] for key in oracles.FUNCTIONS} | {"sign", "step"}
    assert tested | {"silu"} == set(activations.names())


@pytest.mark.parametrize("weights", [(0.0, 1.0), (0.3, 0.8, 0.5), (0.1, -0.2, 0.0, 0.7)])
def test_the_derivative_of_a_hermite_sum_at_zero(weights):
    """h_1' = 1 everywhere, h_2'(0) = 0, h_3'(0) = -3/sqrt(6): the derivative of (x^3 - 3x)/sqrt 6."""
    slopes = (0.0, 1.0, 0.0, -3 / np.sqrt(6))
    found = activations.get("hermite", coefficients=weights).derivative(0.0)
    assert found == pytest.approx(sum(w * k for w, k in zip(weights, slopes)), abs=1e-15)


@pytest.mark.parametrize(
    ("name", "takes"), [("relu", "none"), ("leaky_relu", "a, b"), ("hard_tanh", "a, c")]
)
def test_an_unknown_parameter_is_told_the_known_ones(name, takes):
    with pytest.raises(
        ValueError, match=f"^slope is not a parameter of {name}, which takes {takes}$"
    ):
        activations.get(name, slope=1.0)


def test_an_activation_has_the_name_that_it_was_asked_by():
    aliases = {"silu": "swish"}
    for name in activations.names():
        assert activations.get(name).name == aliases.get(name, name)


def test_a_callable_becomes_an_activation():
    phi = activations.get(lambda x: x / (1 + np.exp(-x)))
    swish = activations.get("swish")
    s, t, c = 1.2, 0.7, 0.5
    assert phi.dual(s, t, c) == pytest.approx(float(swish.dual(s, t, c)), abs=1e-12)
    assert phi.dual_slope(s, t, c) == pytest.approx(float(swish.dual_slope(s, t, c)), abs=1e-12)
    assert phi.slope_second_moment(s) == pytest.approx(
        float(swish.slope_second_moment(s)), abs=1e-10
    )


def test_a_callable_says_where_its_kinks_are():
    phi = activations.get(lambda x: np.maximum(x, 0), kinks=(0.0,))
    relu = activations.get("relu")
    for c in (0.1, 0.9999):
        assert phi.dual(1.0, 1.0, c) == pytest.approx(float(relu.dual(1.0, 1.0, c)), abs=1e-9)


@pytest.mark.parametrize("size", [1e-4, 1.0, 1e3])
@pytest.mark.parametrize("name", ["tanh", "softplus"])
def test_the_size_of_a_callable_costs_no_digits(name, size):
    """The series is truncated by a share of E[f^2], whatever the units of f."""
    f, slope, _ = oracles.FUNCTIONS[(name,)]
    phi = activations.get(lambda x: size * f(x), derivative=lambda x: size * slope(x))
    for rho in (0.3, -0.9, 0.999):
        s, t = 0.7, 1.3
        value, slopes = (oracles.pair(g, s, t, rho) for g in (f, slope))
        c = rho * np.sqrt(s * t)
        assert phi.dual(s, t, c) / size**2 == pytest.approx(value, rel=1e-11)
        assert phi.dual_slope(s, t, c) / size**2 == pytest.approx(slopes, rel=1e-9)


@pytest.mark.parametrize("case", [case for case in oracles.CASES if not case.jump], ids=str)
def test_many_unequal_variances_keep_their_own_digits(case):
    """A cubic's second moments span many decades here."""
    phi, s = activations.get(case.name, **case.parameters), np.geomspace(0.005, 9.0, 301)
    for name, g in (("second_moment", case.f), ("slope_second_moment", case.df)):
        expected = [oracles.mean(lambda x, g=g: g(x) ** 2, v, case.kinks) for v in s[::20]]
        np.testing.assert_allclose(getattr(phi, name)(s)[::20], expected, rtol=1e-12)


def test_many_variances_are_interpolated_to_rounding():
    phi, s = activations.get("tanh"), np.geomspace(0.3, 4.0, 500)
    direct = np.array([float(phi.second_moment(value)) for value in s[::50]])
    np.testing.assert_allclose(phi.second_moment(s)[::50], direct, rtol=1e-13)
    rough = np.concatenate([[1e-11], s])
    np.testing.assert_allclose(phi.second_moment(rough)[1::50], direct, rtol=1e-13)


def at_random(x, rng=np.random.default_rng(0)):  # noqa: B008  # one stream on purpose
    return x + rng.standard_normal(x.shape)


@pytest.mark.parametrize(
    ("argument", "error", "words"),
    [
        (("sofplus",), ValueError, "name must be one of"),
        ((3,), TypeError, "name must be"),
        ((lambda x: x[:-1],), ValueError, "<lambda> must be vectorized.*shape"),
        ((lambda x: 1.0,), ValueError, "must be vectorized.*shape"),
        ((lambda x: None,), ValueError, "must be vectorized.*shape"),
        ((math.tanh,), ValueError, "tanh must be vectorized.*np.vectorize"),
        ((lambda x: x if x > 0 else 0.0,), ValueError, "must be vectorized.*truth value"),
        ((lambda x, y: x,), ValueError, "must be vectorized.*argument"),
        ((lambda x: x * 1j,), ValueError, "real numbers, got complex128"),
        ((lambda x: x > 0,), ValueError, "real numbers, got bool"),
        ((lambda x: x.astype(object),), ValueError, "real numbers, got object"),
        ((lambda x: np.tanh(x).astype(np.float32),), ValueError, "double precision, got float32"),
        ((at_random,), ValueError, "at_random must depend on its argument alone"),
        ((lambda x: np.floor(x).astype(int),), ValueError, "continuous, it jumps"),
        ((lambda x: np.where(x < 11, x, np.nan),), ValueError, "finite, at x = 11"),
        ((lambda x: np.log(np.abs(x) - 1.0),), ValueError, "finite"),
        ((lambda x: np.exp(x**4),), ValueError, "finite"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_wrong_activations(argument, error, words):
    with pytest.raises(error, match=words):
        activations.get(*argument)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kinks": (0.0,)}, "continuous, it jumps at x = 0"),
        ({"kinks": (np.nan,)}, "kinks must be finite"),
        ({"derivative": math.cos}, "the derivative of .* must be vectorized"),
        ({"slope": np.cos}, "slope is not a parameter"),
    ],
)
def test_wrong_options_of_a_callable(options, words):
    function = np.sign if "kinks" in options else np.sin
    with pytest.raises(ValueError, match=words):
        activations.get(function, **options)


def overwrites(x):
    x *= (x > 0) + 0.1
    return x


class Cubic:
    """Callable, and not hashable."""

    __hash__ = None

    def __call__(self, x):
        return x + 0.1 * x**3


@pytest.mark.parametrize(
    ("function", "same"),
    [
        (overwrites, lambda x: np.where(x > 0, 1.1 * x, 0.1 * x)),
        (lambda x: [math.tanh(value) for value in x], np.tanh),
        (np.vectorize(math.tanh), np.tanh),
        (Cubic(), lambda x: x + 0.1 * x**3),
        (lambda x: np.maximum(x, 0), lambda x: np.maximum(x, 0)),
    ],
)
def test_unusual_callables_are_served(function, same):
    phi, points = activations.get(function), np.array([[-1.5, 0.2], [0.7, 3.0]])
    np.testing.assert_allclose(phi(points), same(points), rtol=1e-15)
    expected = oracles.pair(same, 0.8, 1.1, 0.6, (0.0,))
    assert phi.dual(0.8, 1.1, 0.6 * np.sqrt(0.88)) == pytest.approx(expected, rel=1e-12)
    slopes = oracles.mean(lambda x: phi.derivative(x) ** 2, 0.8, (0.0,))
    assert phi.slope_second_moment(0.8) == pytest.approx(slopes, rel=1e-10)


def test_a_callable_that_varies_too_fast_is_refused():
    with pytest.raises(ValueError, match="<lambda> varies too fast .* at variance 1.5"):
        activations.get(lambda x: np.sin(700 * x)).second_moment(1.5)


@pytest.mark.parametrize(
    ("function", "tolerance"), [(lambda x: x / (1 + x**2), 1e-11), (lambda x: np.sin(20 * x), 1e-9)]
)
def test_a_callable_that_varies_fast_is_resolved(function, tolerance):
    """Poles at ±i, and a wavelength of 0.3: panels are halved until they serve."""
    phi, s, t = activations.get(function), 1.5, 0.9
    assert phi.second_moment(s) == pytest.approx(
        oracles.mean(lambda x: function(x / 9) ** 2, 81 * s), rel=1e-12
    )
    for rho in (0.6, 0.999, -1.0):
        # scaled, so that the reference's panels are short enough
        expected = oracles.pair(lambda x: function(x / 9), 81 * s, 81 * t, rho)
        assert abs(phi.dual(s, t, rho * np.sqrt(s * t)) - expected) < tolerance


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("relu", {"slope": 2.0}, "slope is not a parameter of relu"),
        ("hard_tanh", {"c": 0.0}, "c must be positive"),
        ("hard_tanh", {"a": [1.0, 2.0]}, "a must be one number"),
        ("leaky_relu", {"b": np.nan}, "b must be finite"),
        ("polynomial", {"coefficients": [1.0]}, "coefficients"),
        ("hermite", {"coefficients": [[0.0, 1.0]]}, "coefficients"),
    ],
)
def test_wrong_parameters(name, parameters, words):
    with pytest.raises(ValueError, match=words):
        activations.get(name, **parameters)


@pytest.mark.parametrize("s", [0.0, -1.0, np.nan])
def test_wrong_variances(s):
    with pytest.raises(ValueError, match="s must be"):
        activations.get("tanh").mean(s)


def test_an_activation_that_grows_too_fast_is_named():
    def steep(x):
        return np.exp(x**2 / 4)

    phi = activations.get(steep)
    assert phi.second_moment(0.5) == pytest.approx((1 - 0.5) ** -0.5, rel=1e-12)
    with pytest.raises(ValueError, match="steep grows too fast"):
        phi.second_moment(1.5)


@pytest.mark.parametrize("s", [0.3, 1.0, 4.0, 9.0, 25.0])
def test_the_exponential_by_hand(s):
    """Its mass lies near 2 sqrt(s): at variance 25 ten standard deviations out."""
    phi, t = activations.get(np.exp), 0.7 * s
    assert phi.mean(s) == pytest.approx(np.exp(s / 2), rel=1e-13)
    assert phi.second_moment(s) == pytest.approx(np.exp(2 * s), rel=1e-12)
    assert phi.curvature(s) == pytest.approx(np.exp(s / 2), rel=1e-12)
    for c in np.array([-1.0, 0.2, 0.9, 1.0]) * np.sqrt(s * t):
        unit = np.exp(s + t)
        expected = np.exp((s + t) / 2 + c)
        assert abs(phi.dual(s, t, c) - expected) < 1e-12 * unit
        assert abs(phi.dual_slope(s, t, c) - expected) < 1e-9 * unit


def gaussian_powers(s, t, c, degree):
    """E[u^i v^j], i, j <= degree, by Gaussian integration by parts, in rational numbers."""
    table = [[Fraction(0)] * (degree + 1) for _ in range(degree + 1)]
    for i in range(degree + 1):
        for j in range(degree + 1):
            if i == 0:
                above = table[0][j - 2] if j > 1 else Fraction(0)
                table[0][j] = Fraction(1) if j == 0 else (j - 1) * t * above
            else:
                down = (i - 1) * s * table[i - 2][j] if i > 1 else Fraction(0)
                across = j * c * table[i - 1][j - 1] if j else Fraction(0)
                table[i][j] = down + across
    return table


def hermite_powers(orders):
    """Powers of sum_k orders[k] He_k, exactly."""
    before, now = [Fraction(0)], [Fraction(1)]
    total = [Fraction(0)] * len(orders)
    for k, weight in enumerate(orders):
        for n, coefficient in enumerate(now):
            total[n] += Fraction(weight) * coefficient
        raised = [Fraction(0), *now]
        for n, coefficient in enumerate(before):
            raised[n] -= k * coefficient
        before, now = now, raised
    return total


def exact_dual(powers, s, t, c):
    moments = gaussian_powers(Fraction(s), Fraction(t), Fraction(c), len(powers))
    return sum(
        a * b * moments[i][j] for i, a in enumerate(powers) for j, b in enumerate(powers) if a * b
    )


@pytest.mark.parametrize("degree", [3, 16, 25, 40])
@pytest.mark.parametrize("kind", ["polynomial", "hermite"])
@pytest.mark.parametrize("s", [0.0625, 1.0, 6.25])
def test_polynomials_in_rational_numbers(degree, kind, s):
    rng = np.random.default_rng(degree)
    orders = (rng.integers(1, 9, degree + 1) / 8.0).tolist()
    if kind == "hermite":
        # weights of He_k / sqrt(k!); those of He_k itself must be exact
        orders = [a / 2.0**k for k, a in enumerate(orders)]
        coefficients = [a * math.sqrt(math.factorial(k)) for k, a in enumerate(orders)]
        powers = hermite_powers(orders)
    else:
        coefficients, powers = orders, [Fraction(a) for a in orders]
    phi, t = activations.get(kind, coefficients=coefficients).minus(0.25), 2.25
    powers[0] -= Fraction(1, 4)
    slopes = [k * a for k, a in enumerate(powers)][1:]
    curves = [k * a for k, a in enumerate(slopes)][1:]
    for rho in (-1.0, -0.5, 0.25, 0.9375, 1.0):
        c = rho * 1.5 * math.sqrt(s)
        unit = math.sqrt(exact_dual(powers, s, s, s) * exact_dual(powers, t, t, t))
        assert abs(phi.dual(s, t, c) - float(exact_dual(powers, s, t, c))) < 1e-12 * unit
        unit = math.sqrt(exact_dual(slopes, s, s, s) * exact_dual(slopes, t, t, t))
        assert abs(phi.dual_slope(s, t, c) - float(exact_dual(slopes, s, t, c))) < 1e-12 * unit
    row = [line[0] for line in gaussian_powers(Fraction(s), Fraction(s), Fraction(s), 2 * degree)]
    second = exact_dual(powers, s, s, s)
    expected = {
        "mean": sum(a * m for a, m in zip(powers, row)),
        "second_moment": second,
        "slope": sum(a * m for a, m in zip(slopes, row)),
        "curvature": sum(a * m for a, m in zip(curves, row)),
        "slope_second_moment": exact_dual(slopes, s, s, s),
        "square_curvature": 2 * exact_dual(slopes, s, s, s)
        + 2 * sum(a * b * row[i + j] for i, a in enumerate(powers) for j, b in enumerate(curves)),
    }
    for name, value in expected.items():
        scale = max(abs(float(value)), 1e-3 * float(second))
        assert abs(getattr(phi, name)(s) - float(value)) < 1e-12 * scale, name


def test_high_degrees_and_values():
    phi = activations.get("hermite", coefficients=[0.0] * 40 + [1.0])
    assert phi.second_moment(1.0) == pytest.approx(1.0, rel=1e-14)
    assert phi.mean(1.0) == pytest.approx(0.0, abs=1e-15)
    assert phi.dual(1.0, 1.0, 0.5) == pytest.approx(0.5**40, rel=1e-12)
    with pytest.raises(ValueError, match="degree at most 40, got one of degree 41"):
        activations.get("hermite", coefficients=[0.0] * 41 + [1.0])
