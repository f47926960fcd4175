"""Activations against quadrature that was written apart from them."""

from __future__ import annotations

import functools
import math
import re
from fractions import Fraction

import numpy as np
import oracles
import pytest

from helpers import activations, pairs

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


# ---------------------------------------------------------------- messages word by word


def whole(message):
    """A pattern of the whole message."""
    return f"^{re.escape(message)}$"


VECTORIZED = "<lambda> must be vectorized: return an array of its argument's shape (97,), got "
TAKEN = "<lambda> must return double precision, got float32: its rounding would be taken for kinks"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (3, "name must be the name of an activation or a callable, got 3"),
        ("rleu", f"name must be one of {', '.join(activations.names())}, got 'rleu'"),
        (lambda x: 1.0, VECTORIZED + "()"),
        (lambda x: x[:-1], VECTORIZED + "(96,)"),
        (lambda x: x * 1j, "<lambda> must return real numbers, got complex128"),
        (lambda x: x > 0, "<lambda> must return real numbers, got bool"),
        (lambda x: np.tanh(x).astype(np.float32), TAKEN),
        (at_random, "at_random must depend on its argument alone: two calls differ"),
        (lambda x: np.where(x == 12, np.inf, x), "<lambda> must be finite, at x = 12 it is not"),
        (lambda x: np.where(x == 0, np.nan, x), "<lambda> must be finite, at x = 0 it is not"),
        (lambda x: np.where(x <= -11, np.nan, x), "<lambda> must be finite, at x = -12 it is not"),
    ],
)
def test_what_is_no_activation_is_told_why(argument, message):
    with pytest.raises((TypeError, ValueError), match=whole(message)):
        activations.get(argument)


def test_a_function_of_numbers_is_told_how_to_be_one_of_arrays():
    with pytest.raises(ValueError, match=r"^tanh must be vectorized, ") as caught:
        activations.get(math.tanh)
    assert str(caught.value) == (
        "tanh must be vectorized, a function of an array that returns one of its shape "
        f"(np.vectorize makes it so); on an array it fails: {caught.value.__cause__}"
    )
    with pytest.raises(ValueError, match=r"^Cubic must be vectorized, "):
        activations.get(type("Cubic", (), {"__call__": lambda self, x: math.tanh(x)})())
    with pytest.raises(ValueError, match=r"^the derivative of sin must be vectorized, "):
        activations.get(np.sin, derivative=math.cos)


def test_integers_are_values_of_a_callable():
    flat = activations.get(lambda x: np.full(x.shape, 3), kinks=())
    np.testing.assert_array_equal(flat(np.arange(3)), 3.0)
    assert flat.second_moment(1.0) == pytest.approx(9.0, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("hard_tanh", {"c": 0}, "c must be positive, got 0"),
        ("leaky_hard_tanh", {"c": 0}, "c must be positive, got 0"),
        ("clipped_leaky_relu", {"c": -0.5}, "c must be positive, got -0.5"),
        ("leaky_relu", {"a": [1, 2]}, "a must be one number, got [1, 2]"),
        ("leaky_relu", {"b": "x"}, "b must hold real numbers (integers or floats), not <U1"),
        (
            "polynomial",
            {"coefficients": [1.0, 0.0]},
            "coefficients must be a list with a nonzero term beyond the constant, got [1.0, 0.0]",
        ),
        (
            "hermite",
            {"coefficients": [[0, 1], [1, 0]]},
            "coefficients must be a list with a nonzero term beyond the constant, got [[0, 1], [1, 0]]",
        ),
        (
            "hermite",
            {"coefficients": [1]},
            "coefficients must be a list with a nonzero term beyond the constant, got [1]",
        ),
        (
            "hermite",
            {"coefficients": [0, 1, np.inf]},
            "coefficients must be finite: 1 of 3 entries are NaN or inf",
        ),
        (
            "polynomial",
            {"coefficients": np.ones(42)},
            "coefficients must be of degree at most 40, got one of degree 41",
        ),
    ],
)
def test_a_parameter_is_named_with_what_it_must_be(name, parameters, message):
    with pytest.raises((TypeError, ValueError), match=whole(message)):
        activations.get(name, **parameters)


MOMENTS = ("mean", "second_moment", "slope", "curvature", "square_curvature", "slope_second_moment")


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("phi", ["relu", "sign", "tanh", "polynomial"])
def test_a_variance_is_named_in_every_moment(phi, moment):
    call = getattr(activations.get(phi), moment)
    for s, message in [
        ([], "s must hold at least one variance, its shape is (0,)"),
        ([2.0, 0.0], "s must be a positive variance, its smallest entry is 0"),
        ([2.0, -0.5], "s must be a positive variance, its smallest entry is -0.5"),
        (np.inf, "s must be finite: 1 of 1 entries are NaN or inf"),
    ]:
        with pytest.raises(ValueError, match=whole(message)):
            call(s)
    assert call(np.ones((2, 1, 3))).shape == (2, 1, 3) and np.shape(call(1)) == ()


@pytest.mark.parametrize("dual", ["dual", "dual_slope"])
def test_the_arguments_of_a_pair_are_named(dual):
    call = getattr(activations.get("relu"), dual)
    for arguments, message in [
        ((1, 1, 1.5), "c must be a covariance, of absolute value at most sqrt(s t)"),
        ((4, 1, -2.1), "c must be a covariance, of absolute value at most sqrt(s t)"),
        ((1, 1, 1 + 3e-9), "c must be a covariance, of absolute value at most sqrt(s t)"),
        ((0, 1, 0), "s must be a positive variance, its smallest entry is 0"),
        ((1, -2, 0), "t must be a positive variance, its smallest entry is -2"),
        ((1, 1, "c"), "c must hold real numbers (integers or floats), not <U1"),
        (
            (np.ones(2), np.ones(3), np.zeros(4)),
            "c, s and t must broadcast: their shapes are (4,), (2,) and (3,)",
        ),
        (
            (np.ones(1), np.ones(1), np.ones(0)),
            "c must be a covariance, of absolute value at most sqrt(s t)",
        ),
    ]:
        with pytest.raises((TypeError, ValueError), match=whole(message)):
            call(*arguments)
    assert call(1, 1, 1 + 5e-10) == pytest.approx(call(1, 1, 1), rel=1e-12)  # rounding is forgiven
    assert call(np.ones((2, 1)), 1.0, np.zeros(3)).shape == (2, 3)


# ---------------------------------------------------------------- parameters


def test_parameters_are_kept_as_plain_floats():
    phi = activations.get("leaky_relu", a=np.int64(2))
    assert phi.parameters == (("a", 2.0), ("b", 0.1))
    assert all(type(value) is float for _, value in phi.parameters)
    ((name, weights),) = activations.get("hermite", coefficients=[0, 1]).parameters
    assert (name, weights) == ("coefficients", (0.0, 1.0))
    assert type(weights) is tuple and all(type(w) is float for w in weights)


def test_defaults_are_those_of_the_book():
    x = np.array([-3.0, -0.5, 0.5, 3.0])
    for name, values in {
        "leaky_relu": [-0.3, -0.05, 0.5, 3.0],
        "hard_tanh": [-1.0, -0.5, 0.5, 1.0],
        "leaky_hard_tanh": [-1.2, -0.5, 0.5, 1.2],
        "clipped_leaky_relu": [-0.1, -0.05, 0.5, 1.0],
        "polynomial": x + x**3,
        "hermite": x,
    }.items():
        np.testing.assert_allclose(activations.get(name)(x), values, rtol=1e-14)


@pytest.mark.parametrize(
    ("name", "x", "right"),
    [
        ("relu", 0.0, 1.0),
        ("leaky_relu", 0.0, 1.0),
        ("abs", 0.0, 1.0),
        ("hard_tanh", [-1.0, 1.0], [1.0, 0.0]),
        ("leaky_hard_tanh", [-1.0, 1.0], [1.0, 0.1]),
        ("clipped_leaky_relu", [-1.0, 0.0, 1.0], [0.1, 1.0, 0.0]),
        ("elu", 0.0, 1.0),
        ("sign", [-1.0, 0.0], [0.0, 0.0]),
    ],
)
def test_the_derivative_at_a_kink_is_the_right_one(name, x, right):
    found = activations.get(name).derivative(x)
    np.testing.assert_array_equal(found, right)
    assert found.dtype == np.float64


def test_a_step_at_zero_is_up():
    assert activations.get("step")([-1e-300, 0.0]).tolist() == [0.0, 1.0]
    assert activations.get("sign")([-1e-300, 0.0]).tolist() == [-1.0, 1.0]


# ---------------------------------------------------------------- callables: jumps, kinks, pieces


@pytest.mark.parametrize(
    ("height", "level", "refused"),
    [(0.9e-3, 0.0, False), (1.1e-3, 0.0, True), (0.4, 500.0, False), (0.6, 500.0, True),
     (0.6, -500.0, True), (0.4, -500.0, False)],
)  # fmt: skip
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_jump_is_a_thousandth_of_one_plus_the_value(height, level, refused, sign):
    def steps(x):
        return level + sign * height * (x >= 2.25) + 0.1 * np.tanh(x)

    if not refused:
        assert activations.get(steps, kinks=(2.25,)).kinks == (2.25,)
        return
    with pytest.raises(ValueError, match=r"^steps must be continuous, it jumps at x = 2\.25$"):
        activations.get(steps, kinks=(2.25,))


def test_the_first_of_several_jumps_is_named():
    with pytest.raises(ValueError, match=r"^<lambda> must be continuous, it jumps at x = -1\.5$"):
        activations.get(lambda x: np.sign(x - 2) + np.sign(x + 1.5), kinks=(2.0, -1.5))


def test_kinks_are_sorted_and_told_once():
    phi = activations.get(lambda x: np.abs(x - 1) + np.tanh(x), kinks=(1.0, -2.0, 1.0))
    assert phi.kinks == (-2.0, 1.0)
    phi = activations.get(lambda x: np.abs(x) + np.tanh(x), kinks=(5e-8, 1e-6))
    assert phi.kinks == (0.0, 1e-6)  # zero but for a rounding


@pytest.mark.parametrize(("low", "high"), [(-60.0, 55.0), (-0.5, 55.0), (-60.0, 0.25), (-2.0, 1.5)])
def test_straight_pieces_are_served_in_closed_form_however_far_they_reach(low, high):
    """clip(x, low, high) by its hinges, against quadrature that is split at its kinks."""
    phi = activations.get(lambda x: np.clip(x, low, high), kinks=(low, high))
    assert isinstance(phi.family, pairs.Hinges)
    np.testing.assert_allclose(phi.kinks, (low, high), rtol=1e-12)
    x = np.array([low - 1, low, (low + high) / 2, high, high + 1])
    np.testing.assert_array_equal(phi.derivative(x), [0.0, 1.0, 1.0, 0.0, 0.0])
    for s in (0.5, 400.0):
        expected = oracles.pair(lambda x: np.clip(x, low, high), s, s, 0.6, (low, high))
        assert phi.dual(s, s, 0.6 * s) == pytest.approx(expected, rel=1e-11)


def test_two_slopes_at_zero_are_a_rectifier():
    phi = activations.get(lambda x: np.where(x > 0, 0.7 * x, -0.2 * x))
    assert isinstance(phi.family, pairs.Rectifier)
    assert (phi.family.a, phi.family.b) == pytest.approx((0.7, -0.2), rel=1e-14)
    assert phi.kinks == (0.0,)
    np.testing.assert_allclose(phi.derivative([-1.0, 0.0, 2.0]), [-0.2, 0.7, 0.7], rtol=1e-14)


def test_almost_straight_pieces_are_not_taken_for_straight_ones():
    phi = activations.get(lambda x: np.maximum(x, 0) + 1e-9 * np.sin(x), kinks=(0.0,))
    assert not isinstance(phi.family, pairs.Rectifier | pairs.Hinges)
    straight = activations.get(lambda x: 2 * x + 1, kinks=(0.5,))  # no kink after all
    assert not isinstance(straight.family, pairs.Rectifier | pairs.Hinges)
    assert straight.second_moment(0.7) == pytest.approx(4 * 0.7 + 1, rel=1e-12)


@pytest.mark.parametrize(
    ("function", "kinks"),
    [
        (lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0)) * 0.5), (0.0,)),  # slope
        (lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), (0.0,)),  # second derivative
        (lambda x: np.maximum(x, 0) ** 2 / 2, (0.0,)),
        (lambda x: np.maximum(x, 0) ** 3 / 6, (0.0,)),  # third derivative
        (lambda x: np.abs(x - 0.5) * np.cos(x) + np.abs(x + 3), (-3.0, 0.5)),
        (np.tanh, ()),
        (lambda x: np.exp(-(x**2)), ()),
        (lambda x: 5 * np.sin(3 * x) + x**2, ()),
    ],
)
def test_bends_are_found_and_no_others(function, kinks):
    found = activations.get(function).kinks
    assert len(found) == len(kinks)
    np.testing.assert_allclose(found, kinks, atol=1e-9)


@pytest.mark.parametrize(
    ("function", "slope", "kinks"),
    [
        (lambda x: np.sin(2 * x) + x**2, lambda x: 2 * np.cos(2 * x) + 2 * x, ()),
        (
            lambda x: np.where(x > 1, np.exp(1 - x), np.cos(x - 1)),
            lambda x: np.where(x > 1, -np.exp(1 - x), -np.sin(x - 1)),
            (1.0,),
        ),
    ],
)
def test_a_callable_is_differentiated_to_twelve_digits(function, slope, kinks):
    phi = activations.get(function, kinks=kinks)
    x = np.concatenate([np.linspace(-3, 3, 41), [0.97, 0.99, 1.01, 1.03]])
    x = x[np.abs(x - 1) > 1e-9]
    np.testing.assert_allclose(phi.derivative(x), slope(x), rtol=0, atol=2e-11)
    grid = x[:44].reshape(4, 11)
    np.testing.assert_array_equal(phi.derivative(grid), phi.derivative(x[:44]).reshape(4, 11))


def test_a_pair_of_a_callable_that_grows_too_fast_is_named():
    """E[exp(20 u)^2] has its mass at 40 standard deviations of a standard Gaussian u."""

    def steep(x):
        return np.exp(20 * x)

    phi = activations.get(steep, kinks=())
    for call in (phi.second_moment, lambda s: phi.family.prepare(np.array([s]))):
        with pytest.raises(ValueError, match=r"^steep grows too fast: .* at variance 1 "):
            call(1.0)
