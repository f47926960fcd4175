"""The equivalents against closed forms, differences of exact pairs, plain loops and exact kernels; and with a term wrong."""

import dataclasses
import inspect
import re
import tracemalloc
import types
import warnings
from functools import cache

import numpy as np
import oracles
import pytest
from scipy import optimize, special
from scipy.linalg import eigh
from scipy.sparse.linalg import LinearOperator

from helpers import activations, equivalents, kernels, mixtures, spectra
from helpers.equivalents import Coefficients
from helpers.mixtures import GaussianMixture
from helpers.networks import ExplicitNetwork, ImplicitNetwork

PI = np.pi
SETTINGS = [(0.0, None, 1.0), (0.2, None, 1.0), (0.5, None, 1.6), (0.8, 0.3, 0.7)]


def four_equations(a2, b2, tau2, gamma2, slope, curvature, square_curvature):
    """Eq. 8 to 10 of Ling et al. (2024), from E[phi'], E[phi''] and E[(phi^2)'']."""
    g1, g2 = slope**2, curvature**2
    alpha1 = b2 * g1 / (1 - a2 * g1)
    alpha4 = b2 / (1 - a2 / 2 * square_curvature)
    alpha2 = g2 * alpha4**2 / 4 / (1 - a2 * g1)
    alpha3 = g2 * (a2 * alpha1 + b2) ** 2 / 2 / (1 - a2 * g1)
    return types.SimpleNamespace(
        tau=np.sqrt(tau2), gamma2=gamma2, alpha1=alpha1, alpha2=alpha2, alpha3=alpha3, alpha4=alpha4
    )


def assert_same(found, expected, rel=1e-11):
    for name, value in vars(expected).items():
        assert getattr(found, name) == pytest.approx(value, rel=rel, abs=1e-13), name


def solve(phi, a2, b2, tau0):
    network = ImplicitNetwork(phi, a2, b2).centered(tau0)
    return equivalents.coefficients(network, tau0), network.sigma_b2


# ---------------------------------------------------------------- coefficients by hand


@pytest.mark.parametrize(("a2", "b2", "tau0"), [*SETTINGS, (1.8, 0.4, 1.0)])
def test_relu_by_hand(a2, b2, tau0):
    """E[phi'] = 1/2, E[phi''] = 1/(sqrt(2 pi) tau), E[(phi^2)''] = 1 - 1/pi, all simplified."""
    found, b2 = solve("relu", a2, b2, tau0)
    tau2 = b2 * tau0**2 / (1 - a2 * (PI - 1) / (2 * PI))
    assert found.tau == pytest.approx(np.sqrt(tau2), rel=1e-12)
    assert found.gamma2 == pytest.approx(tau2 * (PI - 1) / (2 * PI), rel=1e-12)
    assert found.alpha1 == pytest.approx(b2 / (4 - a2), rel=1e-12)
    assert found.alpha4 == pytest.approx(2 * PI * b2 / (2 * PI - a2 * (PI - 1)), rel=1e-12)
    assert found.alpha2 == pytest.approx(found.alpha4**2 / (2 * PI * tau2 * (4 - a2)), rel=1e-12)
    assert found.alpha3 == pytest.approx(16 * b2**2 / (PI * tau2 * (4 - a2) ** 3), rel=1e-12)


@pytest.mark.parametrize(("a", "b"), [(1.3, 0.2), (-0.4, 1.1), (1.0, -1.0), (1.0, 1.0)])
@pytest.mark.parametrize(("a2", "b2", "tau0"), SETTINGS)
def test_leaky_relu_by_hand(a, b, a2, b2, tau0):
    """phi(x) = even x + odd |x|: E|x| = tau sqrt(2/pi), |x|'' = 2 delta of mass 2/(sqrt(2 pi) tau)."""
    found, b2 = solve(activations.get("leaky_relu", a=a, b=b), a2, b2, tau0)
    line, bend = (a + b) / 2, (a - b) / 2
    share = line**2 + bend**2 * (1 - 2 / PI)
    tau2 = b2 * tau0**2 / (1 - a2 * share)
    expected = four_equations(
        a2,
        b2,
        tau2,
        share * tau2,
        line,
        2 * bend / np.sqrt(2 * PI * tau2),
        2 * line**2 + 2 * bend**2 - 4 * bend**2 / PI,
    )
    assert_same(found, expected)
    # every net of centered leaky ReLUs obeys one relation between its coefficients
    left = found.gamma2 - tau0**2 * found.alpha1
    assert left == pytest.approx((2 * PI - 4) * tau0**4 * found.alpha2, rel=1e-10, abs=1e-13)


@pytest.mark.parametrize(("a2", "b2", "tau0"), SETTINGS)
def test_erf_by_hand(a2, b2, tau0):
    """Williams (1996): E[erf^2] = (2/pi) arcsin(2s/(1 + 2s)), and its derivative in s."""
    found, b2 = solve("erf", a2, b2, tau0)

    def second(s):
        return 2 / PI * np.arcsin(2 * s / (1 + 2 * s))

    tau2 = optimize.brentq(lambda s: s - a2 * second(s) - b2 * tau0**2, 1e-9, 50, xtol=1e-15)
    slope = 2 / np.sqrt(PI * (1 + 2 * tau2))
    twice_derivative = 8 / (PI * (1 + 2 * tau2) * np.sqrt(1 + 4 * tau2))
    assert_same(found, four_equations(a2, b2, tau2, second(tau2), slope, 0.0, twice_derivative))
    assert found.alpha2 == pytest.approx(0.0, abs=1e-25)
    assert found.alpha3 == pytest.approx(0.0, abs=1e-25)


@pytest.mark.parametrize(("a2", "b2", "tau0"), SETTINGS)
def test_cos_by_hand(a2, b2, tau0):
    """E[cos] = exp(-s/2); (cos - m)^2 = 1/2 + cos(2x)/2 - 2m cos(x) + m^2."""
    found, b2 = solve("cos", a2, b2, tau0)

    def variance(s):
        return (1 - np.exp(-s)) ** 2 / 2

    tau2 = optimize.brentq(lambda s: s - a2 * variance(s) - b2 * tau0**2, 1e-9, 50, xtol=1e-15)
    decay = np.exp(-tau2)
    expected = four_equations(
        a2, b2, tau2, variance(tau2), 0.0, -np.sqrt(decay), 2 * decay - 2 * decay**2
    )
    assert_same(found, expected)


@pytest.mark.parametrize(
    ("a2", "b2", "tau0"), [(0.0, None, 1.0), (0.2, None, 1.0), (0.5, 0.3, 1.2)]
)
def test_quadratic_by_hand(a2, b2, tau0):
    """phi(x) = x + c x^2: variance s + 2 c^2 s^2, so that tau^2 is a root of a quadratic."""
    c = 0.3
    found, b2 = solve(activations.get("polynomial", coefficients=(7.0, 1.0, c)), a2, b2, tau0)
    source, linear, square = b2 * tau0**2, 1 - a2, 2 * a2 * c**2
    tau2 = 2 * source / (linear + np.sqrt(linear**2 - 4 * square * source))
    gamma2 = tau2 + 2 * c**2 * tau2**2
    assert_same(found, four_equations(a2, b2, tau2, gamma2, 1.0, 2 * c, 2 + 8 * c**2 * tau2))


# ---------------------------------------------------------------- coefficients by quadrature


def cdf(x):
    return special.erfc(-x / np.sqrt(2)) / 2


def bell(x):
    return np.exp(-(x**2) / 2) / np.sqrt(2 * PI)


def logistic(x):
    return 1 / (1 + np.exp(-x))


def bump(x):
    """The derivative of the logistic function."""
    return logistic(x) * logistic(-x)


def tilt(x):
    """Its second derivative."""
    return bump(x) * (logistic(-x) - logistic(x))


# phi, phi', phi''
SMOOTH = {
    "tanh": (np.tanh, lambda x: np.cosh(x) ** -2.0, lambda x: -2 * np.tanh(x) / np.cosh(x) ** 2),
    "sigmoid": (logistic, bump, tilt),
    "softplus": (lambda x: np.log1p(np.exp(x)), logistic, bump),
    "swish": (
        lambda x: x * logistic(x),
        lambda x: logistic(x) + x * bump(x),
        lambda x: 2 * bump(x) + x * tilt(x),
    ),
    "gelu": (lambda x: x * cdf(x), lambda x: cdf(x) + x * bell(x), lambda x: (2 - x**2) * bell(x)),
    "elu": (
        lambda x: np.where(x > 0, x, np.exp(x) - 1),
        lambda x: np.where(x > 0, 1, np.exp(x)),
        lambda x: np.where(x > 0, 0, np.exp(x)),
    ),
    "sin": (np.sin, np.cos, lambda x: -np.sin(x)),
    "gaussian": (
        lambda x: np.exp(-(x**2) / 2),
        lambda x: -x * np.exp(-(x**2) / 2),
        lambda x: (x**2 - 1) * np.exp(-(x**2) / 2),
    ),
    "erf": (
        special.erf,
        lambda x: 2 / np.sqrt(PI) * np.exp(-(x**2)),
        lambda x: -4 / np.sqrt(PI) * x * np.exp(-(x**2)),
    ),
}


def expectation(f, s):
    """E[f(sqrt(s) xi)], Gauss-Legendre on unit panels that meet at zero."""
    nodes, weights = np.polynomial.legendre.leggauss(30)
    x = (np.arange(-10, 10)[:, None] + (nodes + 1) / 2).ravel()
    return float(np.tile(weights / 2, 20) * bell(x) @ f(np.sqrt(s) * x))


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize(("a2", "b2", "tau0"), SETTINGS)
def test_smooth_activations_by_quadrature(name, a2, b2, tau0):
    phi, slope, curvature = SMOOTH[name]
    found, b2 = solve(name, a2, b2, tau0)

    def variance(s):
        return expectation(lambda x: phi(x) ** 2, s) - expectation(phi, s) ** 2

    tau2 = optimize.brentq(lambda s: s - a2 * variance(s) - b2 * tau0**2, 1e-6, 50, xtol=1e-15)
    m = expectation(phi, tau2)
    expected = four_equations(
        a2,
        b2,
        tau2,
        variance(tau2),
        expectation(slope, tau2),
        expectation(curvature, tau2),
        # the second derivative of (phi - m)^2, as a derivative and not by parts
        expectation(lambda x: 2 * slope(x) ** 2 + 2 * (phi(x) - m) * curvature(x), tau2),
    )
    assert_same(found, expected, rel=1e-10)


@pytest.mark.parametrize("name", ["relu", "abs", "swish", "elu", "cos", "hermite", "softplus"])
def test_without_recurrence_it_is_one_explicit_layer(name):
    parameters = {"coefficients": (0.0, 0.7, 0.4)} if name == "hermite" else {}
    phi = activations.get(name, **parameters)
    found, _ = solve(phi, 0.0, None, 1.3)
    assert found.tau == pytest.approx(1.3, rel=1e-13)
    assert found.alpha4 == 1.0
    assert found.alpha3 == pytest.approx(2 * found.alpha2, rel=1e-13) and found.alpha2 > 1e-4
    assert solve(phi, 0.0, 0.6, 1.3)[0].alpha4 == 0.6


# ---------------------------------------------------------------- coefficients by differences of exact pairs


CASES = {str(case): case for case in oracles.CASES}
KINDS = [("ck", None), ("ntk", "default"), ("all", "all")]


class Pairs:
    """Entries of a network's exact kernels, from its definition and the quadrature of ``oracles``."""

    def __init__(self, activations_, cases):
        self.layers = [
            (lambda x, f=case.f, shift=phi.shift: f(x) - shift, case.df, case.kinks)
            for phi, case in zip(activations_, cases)
        ]

    def second(self, layer, s, derivative=False):
        f, df, kinks = self.layers[layer]
        g = df if derivative else f
        return oracles.mean(lambda x: g(x) ** 2, s, kinks)

    def both(self, layer, s, t, c):
        """E[phi(u)phi(v)] and E[phi'(u)phi'(v)]."""
        f, df, kinks = self.layers[layer]
        rho = c / np.sqrt(s * t)
        return oracles.pair(f, s, t, rho, kinks), oracles.pair(df, s, t, rho, kinks)


class DeqPairs(Pairs):
    def __init__(self, network, case):
        super().__init__([network.activation], [case])
        self.a2, self.b2 = network.sigma_a2, network.sigma_b2
        self.variance = cache(self._variance)

    def _variance(self, norm):
        s = self.b2 * norm
        for _ in range(300):
            before, s = s, self.a2 * self.second(0, s) + self.b2 * norm
            if abs(s - before) < 1e-15 * s:
                break
        return s

    def entry(self, norm, other, q):
        s, t, c = self.variance(norm), self.variance(other), 0.0
        for _ in range(60):
            value, slope = self.both(0, s, t, c)
            step = (self.a2 * value + self.b2 * q - c) / (1 - self.a2 * slope)
            c += step
            if abs(step) < 1e-15:
                break
        value, slope = self.both(0, s, t, c)
        tangent = value / (1 - self.a2 * slope)
        everything = tangent + self.b2 * q * slope / (1 - self.a2 * slope)
        return np.array([value, tangent, everything])

    def diagonal(self, norm):
        s = self.variance(norm)
        value, slope = self.second(0, s), self.second(0, s, derivative=True)
        tangent = value / (1 - self.a2 * slope)
        return np.array([value, tangent, tangent + self.b2 * norm * slope / (1 - self.a2 * slope)])

    def response(self, norm):
        return self.variance(norm)


class StackPairs(Pairs):
    """The conjugate and the tangent kernel of a stack of layers with rates."""

    def __init__(self, network, cases, rates):
        super().__init__(network.layers, cases)
        self.rates = rates

    def entry(self, norm, other, q):
        s, t, c, theta = norm, other, q, self.rates[0] * q
        for layer, rate in enumerate(self.rates[1:]):
            value, slope = self.both(layer, s, t, c)
            s, t, c = self.second(layer, s), self.second(layer, t), value
            theta = rate * value + theta * slope
        return np.array([c, theta])

    def diagonal(self, norm):
        s, theta = norm, self.rates[0] * norm
        for layer, rate in enumerate(self.rates[1:]):
            slope, s = self.second(layer, s, derivative=True), self.second(layer, s)
            theta = rate * s + theta * slope
        return np.array([s, theta])

    def response(self, norm):
        return self.diagonal(norm)[0]


def richardson(difference, h):
    """A central difference of error h^2, made one of h^4."""
    return (4 * difference(h / 2) - difference(h)) / 3


def responses(pairs, tau2):
    """Weights of q, chi chi' and q^2 in a pair's entry, its diagonal, and alpha4, by differences."""

    def first(h):
        return (pairs.entry(tau2, tau2, h) - pairs.entry(tau2, tau2, -h)) / (2 * h)

    def mixed(h):
        up, down = tau2 + h, tau2 - h
        same = pairs.entry(up, up, 0.0) + pairs.entry(down, down, 0.0)
        return (same - 2 * pairs.entry(up, down, 0.0)) / (4 * h * h)

    def second(h):
        ends = pairs.entry(tau2, tau2, h) + pairs.entry(tau2, tau2, -h)
        return (ends - 2 * pairs.entry(tau2, tau2, 0.0)) / (2 * h * h)

    def drift(h):
        return (pairs.response(tau2 + h) - pairs.response(tau2 - h)) / (2 * h)

    h = 0.02 * tau2
    weights = [richardson(f, h) for f in (first, mixed, second)]
    return np.array([*weights, pairs.diagonal(tau2)]), richardson(drift, h)


def listed(c):
    """What a record says of both kernels, as :func:`responses` arranges it."""
    ck = [c.alpha1, c.alpha2, c.alpha3, c.gamma2]
    return np.array([ck, [c.beta1, c.beta2, c.beta3, c.kappa2]]).T


@cache
def deq_responses(name, a2, b2, tau0):
    network = ImplicitNetwork(name, a2, b2).centered(tau0)
    return responses(DeqPairs(network, CASES[name]), tau0**2)


def response_gap(name, a2, b2, tau0):
    """Largest relative difference between the coefficients of a DEQ and those of its exact pairs."""
    network = ImplicitNetwork(name, a2, b2).centered(tau0)
    seen, drift = deq_responses(name, a2, b2, tau0)
    default = equivalents.coefficients(network, tau0)
    both = listed(default), listed(equivalents.coefficients(network, tau0, "all"))[:, 1:]
    gap = np.abs(np.hstack(both) / seen - 1).max()
    return max(gap, abs(default.alpha4 / drift - 1))


@pytest.mark.parametrize("name", ["relu", "swish", "elu", "gelu", "softplus"])
@pytest.mark.parametrize(
    ("a2", "b2", "tau0"), [(0.0, None, 1.0), (0.2, None, 1.0), (0.9, 0.4, 0.8)]
)
def test_coefficients_of_a_deq_are_those_of_its_exact_pairs(name, a2, b2, tau0):
    assert response_gap(name, a2, b2, tau0) < 2e-6


@pytest.mark.parametrize("name", ["tanh", "sin", "abs", "cos"])
def test_coefficients_that_symmetry_makes_zero(name):
    network = ImplicitNetwork(name, 0.4).centered(1.2)
    seen, drift = responses(DeqPairs(network, CASES[name]), 1.44)
    for trained, columns in [("default", [0, 1]), ("all", [0, 2])]:
        c = equivalents.coefficients(network, 1.2, trained)
        np.testing.assert_allclose(listed(c), seen[:, columns], rtol=2e-6, atol=1e-8)
        assert c.alpha4 == pytest.approx(drift, rel=1e-6)


@pytest.mark.parametrize(
    "layers", [("swish",), ("relu", "gelu"), ("elu", "relu", "softplus"), ("tanh", "swish")]
)
@pytest.mark.parametrize("trained", ["all", "first_frozen", "rates"])
def test_coefficients_of_a_stack_are_those_of_its_exact_pairs(layers, trained):
    chosen = (0.3, 1.7, 0.0, 2.5)[: len(layers) + 1] if trained == "rates" else trained
    rates = {"all": (1,) * 4, "first_frozen": (0, 1, 1, 1), "rates": (0.3, 1.7, 0.0, 2.5)}[trained]
    network = ExplicitNetwork(layers).centered(1.1)
    pairs = StackPairs(network, [CASES[name] for name in layers], rates[: len(layers) + 1])
    seen, drift = responses(pairs, 1.21)
    found = equivalents.coefficients(network, 1.1, chosen)
    np.testing.assert_allclose(listed(found), seen, rtol=2e-6, atol=1e-8)
    assert found.alpha4 == pytest.approx(drift, rel=1e-6)
    below = network.layers[:-1]
    scale = 1.21 if not below else StackPairs(
        ExplicitNetwork(below), [CASES[name] for name in layers[:-1]], rates[: len(layers)]
    ).response(1.21)  # fmt: skip
    assert found.tau == pytest.approx(np.sqrt(scale), rel=1e-12)


@pytest.mark.parametrize("a2", [0.05, 0.2, 1.0, 1.8])
@pytest.mark.parametrize("b2", [0.3, 1.0])
def test_relu_betas_by_hand(a2, b2):
    """(eq-relu-betas): g_1 = 1/4, E[phi'^2] = 1/2."""
    tau0 = 1.3
    network = ImplicitNetwork("relu", a2, b2).centered(tau0)
    c, everything = (equivalents.coefficients(network, tau0, t) for t in ("default", "all"))
    assert c.beta1 == pytest.approx(4 * b2 / (4 - a2) ** 2, rel=1e-12)
    assert c.beta2 == pytest.approx(4 * c.alpha2 / (4 - a2), rel=1e-12)
    assert c.beta3 == pytest.approx(2 * (2 + a2) * c.alpha3 / (4 - a2), rel=1e-12)
    assert c.kappa2 == pytest.approx(2 * c.gamma2 / (2 - a2), rel=1e-12)
    assert everything.beta1 == pytest.approx((8 - a2) * c.alpha1 / (4 - a2), rel=1e-12)
    assert everything.beta3 == pytest.approx(12 * c.alpha3 / (4 - a2), rel=1e-12)
    assert everything.kappa2 == pytest.approx((2 * c.gamma2 + b2 * tau0**2) / (2 - a2), rel=1e-12)


def test_without_recurrence_both_kinds_of_network_agree():
    """With sigma_a = 0 and sigma_b = 1 a DEQ is one explicit layer, and B is its W_1."""
    deq, stack = (
        network.centered(0.9)
        for network in (ImplicitNetwork("gelu", 0.0), ExplicitNetwork(["gelu"]))
    )
    for mine, theirs in [("default", "first_frozen"), ("all", "all")]:
        a = equivalents.coefficients(deq, 0.9, mine)
        b = equivalents.coefficients(stack, 0.9, theirs)
        np.testing.assert_allclose(listed(a), listed(b), rtol=1e-13)


def test_a_jump_has_coefficients_and_no_tangent_diagonal():
    sample = mixtures.two_class(60).sample(30, 0)
    stats = mixtures.statistics(sample)
    stack = ExplicitNetwork(["sign"]).centered(stats.tau0)
    c = equivalents.coefficients(stack, stats.tau0)
    assert np.isinf(c.kappa2) and c.gamma2 == pytest.approx(1.0)
    assert c.alpha1 == pytest.approx(2 / PI / stats.tau0**2, rel=1e-12)
    equivalents.ck(stack, stats, sample.X)
    with pytest.raises(ValueError, match="jumps above trained weights"):
        equivalents.ntk(stack, stats, sample.X)
    frozen = equivalents.coefficients(stack, stats.tau0, "first_frozen")
    assert frozen.kappa2 == frozen.gamma2
    deq = ImplicitNetwork("step", 0.0).centered(stats.tau0)
    assert equivalents.coefficients(deq, stats.tau0).kappa2 == pytest.approx(0.25)
    assert np.isinf(equivalents.coefficients(deq, stats.tau0, "all").kappa2)


# ---------------------------------------------------------------- the matrix and its products


@pytest.fixture(scope="module")
def three():
    """Three classes in a shuffled order, their estimated statistics, and a centered network."""
    rng = np.random.default_rng(5)
    p, n = 30, 24
    means = rng.normal(size=(3, p))
    sample = GaussianMixture(means, rng.uniform(0.4, 2.0, (3, p)), [0.5, 0.25, 0.25]).sample(n, 1)
    order = rng.permutation(n)
    X, labels = sample.X[:, order], sample.labels[order]
    stats = mixtures.estimate(X, labels)
    return X, labels, stats, ImplicitNetwork("swish", 0.4, 0.9).centered(stats.tau0)


def test_the_matrix_entry_by_entry(three):
    """alpha1 x_i.x_j + alpha2 chi_i chi_j + alpha3 T_ab/p, with chi = t/sqrt(p) + psi."""
    X, labels, stats, network = three
    p, n = X.shape
    c = equivalents.coefficients(network, stats.tau0)
    expected = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            a, b = labels[i], labels[j]
            chi_i = stats.t[a] / np.sqrt(p) + stats.psi[i]
            chi_j = stats.t[b] / np.sqrt(p) + stats.psi[j]
            gram = sum(X[k, i] * X[k, j] for k in range(p))
            entry = c.alpha1 * gram + c.alpha2 * chi_i * chi_j + c.alpha3 * stats.T[a, b] / p
            expected[i, j] = entry + (i == j) * (c.gamma2 - stats.tau0**2 * c.alpha1)
    matrix = equivalents.ck(network, stats, X)
    np.testing.assert_allclose(matrix.toarray(), expected, rtol=1e-12, atol=1e-14)
    assert min(c.alpha1, c.alpha2, c.alpha3) > 0.01  # no term is idle here


def test_products_are_those_of_the_array(three):
    X, _, stats, network = three
    matrix, rng = equivalents.ck(network, stats, X), np.random.default_rng(0)
    dense, n = matrix.toarray(), X.shape[1]
    assert isinstance(matrix, LinearOperator)
    assert matrix.shape == (n, n) and matrix.dtype == np.float64
    v, V = rng.normal(size=n), rng.normal(size=(n, 4))
    for product, factor in [
        (matrix.matvec(v), v),
        (matrix.rmatvec(v), v),
        (matrix @ v, v),
        (matrix.T @ v, v),
        (matrix.matvec(v[:, None]), v[:, None]),
        (matrix.matmat(V), V),
        (matrix.rmatmat(V), V),
        (matrix @ V, V),
    ]:
        assert product.shape == factor.shape
        np.testing.assert_allclose(product, dense @ factor, rtol=1e-11, atol=1e-12)


def test_the_array_is_exactly_symmetric(three):
    X, _, stats, network = three
    dense = equivalents.ck(network, stats, X).toarray()
    assert np.array_equal(dense, dense.T)


@pytest.mark.parametrize("refined", [False, True])
@pytest.mark.parametrize("p", [200, 60, 9])
@pytest.mark.parametrize("n", [40, 160])
@pytest.mark.parametrize("k", [1, 3, 7])
def test_eigsh(p, n, k, refined):
    """Every way of eigsh: dense, Lanczos, and the small matrix where n exceeds p + r + k."""
    sample = mixtures.two_class(p).sample(n, 0)
    stats = mixtures.statistics(sample)
    network = ImplicitNetwork("relu", 0.2).centered(stats.tau0)
    matrix = equivalents.ntk(network, stats, sample.X, refined=refined)
    values, vectors = eigh(matrix.toarray())
    found, columns = matrix.eigsh(k)
    np.testing.assert_allclose(found, values[::-1][:k], rtol=1e-9)
    assert columns.shape == (n, k)
    overlaps = np.sum(columns * vectors[:, ::-1][:, :k], axis=0)
    np.testing.assert_allclose(np.abs(overlaps), 1, atol=1e-7)


def test_eigenpairs_of_many_samples_take_no_product_with_them(monkeypatch):
    """A matrix of order p + r holds the eigenvalues: the n samples are not iterated upon."""
    sample = mixtures.two_class(20).sample(200, 0)
    stats = mixtures.statistics(sample)
    matrix = equivalents.ck(ImplicitNetwork("relu", 0.2).centered(stats.tau0), stats, sample.X)
    wanted = np.linalg.eigvalsh(matrix.toarray())[::-1][:3]
    monkeypatch.setattr(equivalents.Equivalent, "_matmat", None)
    np.testing.assert_allclose(matrix.eigsh(3)[0], wanted, rtol=1e-10)


@pytest.mark.parametrize("scalar", [True, False])
def test_the_general_form(scalar):
    """Scales and diagonals one a sample, or numbers; a core that is indefinite."""
    rng = np.random.default_rng(3)
    p, n, r = 12, 90, 3
    X, frame = rng.normal(size=(p, n)), rng.normal(size=(n, r))
    core = np.diag([4.0, -9.0, 0.5])
    scale, diagonal = (0.7, 0.3) if scalar else (rng.normal(size=n), rng.uniform(0.1, 0.4, n))
    matrix = equivalents.Equivalent(X, scale, frame, core, diagonal)
    D = np.diag(np.broadcast_to(scale, n))
    expected = D @ X.T @ X @ D + frame @ core @ frame.T + np.diag(np.broadcast_to(diagonal, n))
    np.testing.assert_allclose(matrix.toarray(), expected, rtol=1e-12, atol=1e-12)
    assert np.array_equal(matrix.toarray(), matrix.toarray().T)
    v = rng.normal(size=(n, 2))
    np.testing.assert_allclose(matrix @ v, expected @ v, rtol=1e-11, atol=1e-11)
    for k in (5, 14):  # 14 is the number of positive eigenvalues of the part without its diagonal
        values, vectors = matrix.eigsh(k)
        np.testing.assert_allclose(values, np.linalg.eigvalsh(expected)[::-1][:k], rtol=1e-9)
        np.testing.assert_allclose(expected @ vectors, vectors * values, atol=1e-6)
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(k), atol=1e-9)


@pytest.mark.parametrize("k", [4, 6, 40])
def test_eigenpairs_of_the_identity_beside_few_others(k):
    """Asked for more eigenvalues than the factors have, or for those that a negative core lies below."""
    rng = np.random.default_rng(4)
    X, frame = rng.normal(size=(5, 80)), rng.normal(size=(80, 1))
    matrix = equivalents.Equivalent(X, 1.0, frame, np.array([[-50.0]]), 2.0)
    np.testing.assert_allclose(
        matrix.eigsh(k)[0], np.linalg.eigvalsh(matrix.toarray())[::-1][:k], rtol=1e-9
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [({"frame": np.ones((9, 2))}, "frame must be"), ({"core": np.ones((2, 3))}, "core"),
     ({"core": np.eye(3)}, "frame must be"), ({"scale": np.ones(4)}, "scale must be"),
     ({"diagonal": np.ones((3, 3))}, "diagonal must be")],
)  # fmt: skip
def test_parts_that_do_not_fit(change, message):
    parts = {"X": np.ones((4, 10)), "scale": 1.0, "frame": np.ones((10, 2)), "core": np.eye(2)}
    with pytest.raises(ValueError, match=message):
        equivalents.Equivalent(**({**parts, "diagonal": 0.0} | change))


def test_many_samples_never_make_an_n_by_n_array():
    n, p = 20_000, 20
    sample = GaussianMixture(np.zeros((2, p)), [1.0, 1.5]).sample(n, 0)
    stats = mixtures.statistics(sample)
    network = ImplicitNetwork("swish", 0.2).centered(stats.tau0)
    tracemalloc.start()
    matrix = equivalents.ntk(network, stats, sample.X, "all")
    values, vectors = matrix.eigsh(5)
    residual = matrix @ vectors - vectors * values
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.linalg.norm(residual, axis=0).max() < 1e-10 * values[0]
    assert peak < 12 * 8 * n * p  # the square would take 1000 times the data


def test_integers_are_data(three):
    _, _, stats, network = three
    X = np.random.default_rng(1).integers(-3, 4, (30, 24))
    found = equivalents.ck(network, stats, X).toarray()
    np.testing.assert_array_equal(found, equivalents.ck(network, stats, X.astype(float)).toarray())


# ---------------------------------------------------------------- against the exact kernel


# ck, ntk, ntk of all weights: those of p = 2000 are in the sweeps
PUBLISHED = {
    ("relu", 500): (0.226, 0.259, 0.66),
    ("relu", 1000): (0.131, 0.148, 0.36),
    ("tanh", 500): (0.790, 0.914, 1.72),
    ("tanh", 1000): (0.597, 0.694, 1.31),
}


def gaps(name, p, seed, **options):
    """Operator norm of exact minus equivalent, for the three kernels of a DEQ in the authors' setting."""
    sample = mixtures.two_class(p).sample(round(0.8 * p), seed)
    stats, X = mixtures.statistics(sample), sample.X
    network = ImplicitNetwork(name, 0.2).centered(stats.tau0)
    made = [
        (kernels.ck(network, X), equivalents.ck(network, stats, X, **options)),
        (kernels.ntk(network, X), equivalents.ntk(network, stats, X, **options)),
        (kernels.ntk(network, X, "all"), equivalents.ntk(network, stats, X, "all", **options)),
    ]
    return [spectra.operator_norm(exact - theory.toarray()) for exact, theory in made]


@pytest.mark.drift
@pytest.mark.parametrize(("name", "p"), PUBLISHED)
def test_errors_in_the_setting_of_the_authors(name, p):
    found = np.mean([gaps(name, p, seed) for seed in range(1, 4)], axis=0)
    np.testing.assert_allclose(found, PUBLISHED[name, p], rtol=0.06)


def test_refined_products_halve_the_error_of_relu():
    plain, better = gaps("relu", 500, 1), gaps("relu", 500, 1, T="refined")
    assert (np.array(better) < 0.55 * np.array(plain)).all()


@pytest.mark.parametrize(("name", "factor"), [("relu", 5), ("tanh", 25)])
def test_the_refined_form_is_nearer(name, factor):
    plain, better = gaps(name, 500, 1), gaps(name, 500, 1, refined=True)
    assert (factor * np.array(better) < plain).all()


P = 1000
UNEVEN = np.where(np.arange(P) % 2, 3.0, 0.1)  # tr C^2/p is large
MEANS = np.zeros((2, P))
MEANS[[0, 1], [0, 1]] = 1.5
MIXTURES = {
    # norms that differ between the classes: t and psi carry the kernel
    "norms": (GaussianMixture(MEANS, [1 - 4 / P**0.5, 1 + 4 / P**0.5]), 800),
    # covariances far from the identity: T carries it
    "products": (GaussianMixture(MEANS, [UNEVEN, UNEVEN]), 1500),
    # covariances that see different coordinates: T depends on the pair of classes
    "opposed": (GaussianMixture(MEANS, [UNEVEN, UNEVEN[::-1]]), 1500),
}
TYPICAL = {
    "norms": {"ck": 0.018, "ntk": 0.034, "all": 0.091},
    "products": {"ck": 0.025, "ntk": 0.040, "all": 0.10},
    "opposed": {"ck": 0.027, "ntk": 0.045, "all": 0.12},
}


@pytest.fixture(scope="module")
def exact():
    """For each mixture: its data, statistics and network, and the three exact kernels."""
    made = {}
    for name, (mixture, n) in MIXTURES.items():
        sample = mixture.sample(n, 0)
        stats = mixtures.statistics(sample)
        network = ImplicitNetwork("relu", 0.5).centered(stats.tau0)
        both = kernels.ck_and_ntk(network, sample.X)
        exact_kernels = [*both, kernels.ntk(network, sample.X, "all")]
        made[name] = sample.X, stats, network, dict(zip(TYPICAL[name], exact_kernels))
    return made


def error_of(case, kind, stats=None):
    X, true, network, exact_kernels = case
    stats, trained = stats or true, dict(KINDS)[kind]
    theory = (
        equivalents.ntk(network, stats, X, trained)
        if trained
        else equivalents.ck(network, stats, X)
    )
    return spectra.operator_norm(exact_kernels[kind] - theory.toarray())


@pytest.mark.parametrize("kind", ["ck", "ntk", "all"])
@pytest.mark.parametrize("name", MIXTURES)
def test_the_error_when_nothing_is_altered(exact, name, kind):
    assert error_of(exact[name], kind) == pytest.approx(TYPICAL[name][kind], rel=0.15)


def altered(monkeypatch, change):
    """Make ``equivalents.coefficients`` return wrong ones: change(c, network, tau0) says which."""
    true = equivalents.coefficients

    def wrong(network, tau0, trained="default"):
        c = true(network, tau0, trained)
        return dataclasses.replace(c, **change(c, network, tau0))

    monkeypatch.setattr(equivalents, "coefficients", wrong)


def gain(c, network):
    """d_0 = sigma_a^2 g_1, back from alpha_1."""
    return network.sigma_a2 * c.alpha1 / (network.sigma_b2 + network.sigma_a2 * c.alpha1)


# kernel, mixture, what is wrong, and by what it multiplies the error
WRONG_COEFFICIENTS = {
    "alpha1 left out": ("ck", "products", lambda c, w, tau0: {"alpha1": 0.0}, 30),
    "alpha1 of one pass": (
        "ck", "products", lambda c, w, tau0: {"alpha1": c.alpha1 * (1 - gain(c, w))}, 5),
    "alpha2 left out": ("ck", "norms", lambda c, w, tau0: {"alpha2": 0.0}, 12),
    "alpha2 of the other sign": ("ck", "norms", lambda c, w, tau0: {"alpha2": -c.alpha2}, 25),
    "alpha3 left out": ("ck", "products", lambda c, w, tau0: {"alpha3": 0.0}, 6),
    "alpha3 doubled": ("ck", "products", lambda c, w, tau0: {"alpha3": 2 * c.alpha3}, 6),
    "alpha3 of one pass": (
        "ck", "products", lambda c, w, tau0: {"alpha3": c.alpha3 * (1 - gain(c, w)) ** 2}, 1.7),
    "alpha4 without feedback": (
        "ck", "norms", lambda c, w, tau0: {"alpha2": c.alpha2 * (w.sigma_b2 / c.alpha4) ** 2}, 4),
    "gamma left out": ("ck", "norms", lambda c, w, tau0: {"gamma2": 0.0}, 6),
    "identity without alpha1": (
        "ck", "norms", lambda c, w, tau0: {"gamma2": c.gamma2 + tau0**2 * c.alpha1}, 5),
    "beta1 left out": ("ntk", "products", lambda c, w, tau0: {"beta1": 0.0}, 20),
    "beta1 is alpha1": ("ntk", "products", lambda c, w, tau0: {"beta1": c.alpha1}, 3.5),
    "beta2 left out": ("ntk", "norms", lambda c, w, tau0: {"beta2": 0.0}, 8),
    "beta2 is alpha2": ("ntk", "norms", lambda c, w, tau0: {"beta2": c.alpha2}, 1.4),
    "alpha4 in beta2 without feedback": (
        "ntk", "norms", lambda c, w, tau0: {"beta2": c.beta2 * (w.sigma_b2 / c.alpha4) ** 2}, 3),
    "beta3 left out": ("ntk", "products", lambda c, w, tau0: {"beta3": 0.0}, 5),
    "beta3 is alpha3": ("ntk", "products", lambda c, w, tau0: {"beta3": c.alpha3}, 1.7),
    "beta3 without beta1": (
        "ntk", "products", lambda c, w, tau0: {"beta3": c.alpha3 / (1 - gain(c, w))}, 1.4),
    "kappa left out": ("ntk", "norms", lambda c, w, tau0: {"kappa2": 0.0}, 6),
    "kappa is gamma": ("ntk", "products", lambda c, w, tau0: {"kappa2": c.gamma2}, 2.5),
    "identity without beta1": (
        "ntk", "norms", lambda c, w, tau0: {"kappa2": c.kappa2 + tau0**2 * c.beta1}, 4),
    "beta1 of B left out": ("all", "products", lambda c, w, tau0: {"beta1": c.beta1 - c.alpha1}, 8),
    "beta2 of all left out": ("all", "norms", lambda c, w, tau0: {"beta2": 0.0}, 3.5),
    "beta3 of B left out": (
        "all", "products", lambda c, w, tau0: {"beta3": c.beta3 - 2 * c.alpha3}, 3),
    "kappa of B left out": (
        "all", "products", lambda c, w, tau0: {"kappa2": c.gamma2 / (1 - w.sigma_a2 / 2)}, 4),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_COEFFICIENTS)
def test_an_altered_coefficient_shows(exact, monkeypatch, wrong):
    kind, name, change, factor = WRONG_COEFFICIENTS[wrong]
    before = error_of(exact[name], kind)
    altered(monkeypatch, change)
    assert error_of(exact[name], kind) > factor * before


@pytest.mark.parametrize("wrong", WRONG_COEFFICIENTS)
def test_an_altered_coefficient_is_not_that_of_exact_pairs(monkeypatch, wrong):
    """The finer measure, of :func:`test_coefficients_of_a_deq_are_those_of_its_exact_pairs`."""
    setting = ("relu", 0.5, None, 1.0)
    assert response_gap(*setting) < 2e-6
    altered(monkeypatch, WRONG_COEFFICIENTS[wrong][2])
    assert response_gap(*setting) > 0.02


def centered_products(mixture):
    """T of the centered covariances C_a - C°, of diagonal mixtures."""
    C = (
        mixture.covariances
        if mixture.covariances.ndim == 2
        else np.outer(mixture.covariances, np.ones(P))
    )
    deviations = C - C.mean(axis=0)
    return deviations @ deviations.T / P


# mixture, what is wrong, and by what it multiplies the error of CK, NTK and NTK of all weights
WRONG_STATISTICS = {
    "t left out": ("norms", lambda s, m: {"t": 0 * s.t}, (12, 8, 3.5)),
    "t of the other sign": ("norms", lambda s, m: {"t": -s.t}, (8, 6, 2.5)),
    "psi left out": ("products", lambda s, m: {"psi": 0 * s.psi}, (6, 4.5, 2)),
    "T left out": ("products", lambda s, m: {"T": 0 * s.T}, (6, 5, 5)),
    "T centered": ("opposed", lambda s, m: {"T": centered_products(m)}, (3, 2.5, 2.2)),
    "T of the mean class": (
        "opposed",
        lambda s, m: {"T": np.full((2, 2), s.T.mean())},
        (2.5, 2.3, 2),
    ),
    "T of the other pairs": ("opposed", lambda s, m: {"T": s.T[::-1]}, (3, 3, 3)),
    "labels reversed": ("norms", lambda s, m: {"labels": s.labels[::-1]}, (8, 6, 2.5)),
}


@pytest.mark.parametrize("wrong", WRONG_STATISTICS)
def test_an_altered_statistic_shows(exact, monkeypatch, wrong):
    name, change, factors = WRONG_STATISTICS[wrong]
    stats = exact[name][1]
    broken = dataclasses.replace(stats, **change(stats, MIXTURES[name][0]))
    monkeypatch.setattr(equivalents, "_require_own_statistics", lambda stats, X: None)
    for (kind, _), factor in zip(KINDS, factors):
        assert error_of(exact[name], kind, broken) > factor * error_of(exact[name], kind), kind


def test_norms_without_the_means_double_the_error():
    """tau_0 and t of the covariances alone have the same limit and another finite size."""
    p = 500
    sample = mixtures.two_class(p).sample(400, 0)
    stats = mixtures.statistics(sample)
    traces = sample.mixture.traces() / p
    bare = dataclasses.replace(
        stats, tau0=np.sqrt(traces.mean()), t=np.sqrt(p) * (traces - traces.mean())
    )

    def error(stats):
        network = ImplicitNetwork("relu", 0.2).centered(stats.tau0)
        kernel = kernels.ck(network, sample.X)
        return spectra.operator_norm(kernel - equivalents.ck(network, stats, sample.X).toarray())

    assert error(bare) > 2 * error(stats)


# ---------------------------------------------------------------- scales, centering, wrong input


@pytest.mark.parametrize(
    ("ratio", "warned"), [(1.0, 0), (1.009, 0), (0.991, 0), (1.012, 1), (0.98, 1)]
)
def test_a_network_centered_at_another_scale_warns(ratio, warned):
    sample = mixtures.two_class(100).sample(40, 0)
    stats = mixtures.statistics(sample)
    network = ImplicitNetwork("relu", 0.2).centered(ratio * stats.tau0)
    calls = [
        lambda: equivalents.coefficients(network, stats.tau0),
        lambda: equivalents.ck(network, stats, sample.X),
    ]
    for call in calls:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        assert len(caught) == warned
        if warned:
            message = str(caught[0].message)
            assert ".centered(tau0)" in message and f"{stats.tau0:.4g}" in message


@pytest.mark.parametrize("name", ["relu", "swish", "cos", "abs", "sigmoid"])
def test_an_uncentered_network_is_refused(name):
    sample = mixtures.two_class(60).sample(20, 0)
    network, stats = ImplicitNetwork(name, 0.2), mixtures.statistics(sample)
    for call in [
        lambda: equivalents.coefficients(network, 1.0),
        lambda: equivalents.ck(network, stats, sample.X),
    ]:
        with pytest.raises(ValueError, match=r"not centered: .*use network\.centered\(tau0\)"):
            call()


@pytest.mark.parametrize("name", ["tanh", "erf", "sin", "hard_tanh"])
def test_an_odd_activation_is_centered_as_it_is(name):
    bare, centered = ImplicitNetwork(name, 0.2), ImplicitNetwork(name, 0.2).centered(1.1)
    assert equivalents.coefficients(bare, 1.1) == equivalents.coefficients(centered, 1.1)


@pytest.mark.filterwarnings("ignore:the network was centered at")
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_being_centered_does_not_depend_on_the_size_of_the_activation(size):
    free = ImplicitNetwork(activations.get("leaky_relu", a=size, b=0.1 * size), 0.0)
    with pytest.raises(ValueError, match=r"\.centered\("):
        equivalents.coefficients(free, 1.0)
    assert equivalents.coefficients(free.centered(1.0), 1.0).gamma2 > 0.1 * size**2


def test_a_network_centered_far_away_is_refused():
    network = ImplicitNetwork("relu", 0.2).centered(1.0)
    with pytest.raises(ValueError, match=r"\.centered"):
        equivalents.coefficients(network, 2.0)


@pytest.mark.parametrize("shape", [(30, 23), (29, 24), (24, 30)])
def test_statistics_of_other_data(three, shape):
    _, _, stats, network = three
    with pytest.raises(ValueError, match=r"stats are of data of shape \(30, 24\), X has shape"):
        equivalents.ck(network, stats, np.ones(shape))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"network": "relu"}, TypeError, "an ImplicitNetwork or an ExplicitNetwork, got str"),
        ({"T": "exact"}, ValueError, 'T must be "plain" or "refined", got \'exact\''),
        ({"refined": True, "T": "refined"}, ValueError, "T is for the plain equivalent"),
        ({"network": None}, TypeError, "network must be"),
        ({"stats": None}, TypeError, "stats must be .*Statistics.* got NoneType"),
        ({"stats": mixtures.two_class(9)}, TypeError, "stats must be .*Statistics.* got GaussianM"),
        ({"X": np.ones(24)}, ValueError, r"X must be a \(p, n\) matrix"),
        ({"X": np.full((30, 24), np.nan)}, ValueError, "X must be finite"),
        ({"X": np.ones((30, 24), complex)}, TypeError, "X must hold real numbers"),
        ({"X": "data"}, TypeError, "X must hold real numbers"),
        ({"X": np.ones((30, 0))}, ValueError, "n >= 1"),
    ],
)
def test_wrong_types(three, change, error, message):
    X, _, stats, network = three
    with pytest.raises(error, match=message):
        equivalents.ck(**({"network": network, "stats": stats, "X": X} | change))


@pytest.mark.parametrize(
    ("tau0", "error"),
    [(0.0, ValueError), (-1.0, ValueError), (np.nan, ValueError), (np.inf, ValueError),
     ("1", TypeError), ([1.0, 1.0], TypeError), (1j, TypeError)],
)  # fmt: skip
def test_wrong_scales(tau0, error):
    with pytest.raises(error, match="tau0 must be"):
        equivalents.coefficients(ImplicitNetwork("tanh", 0.2), tau0)


def test_the_contract_of_names():
    names = ["network", "stats", "X", "refined", "T"]
    assert list(inspect.signature(equivalents.ck).parameters) == names
    names.insert(3, "trained")
    assert list(inspect.signature(equivalents.ntk).parameters) == names
    names = [
        "tau",
        "gamma2",
        "alpha1",
        "alpha2",
        "alpha3",
        "alpha4",
        "kappa2",
        "beta1",
        "beta2",
        "beta3",
    ]
    assert [field.name for field in dataclasses.fields(Coefficients)] == names


@pytest.mark.parametrize("other", ["another draw", "another order"])
def test_statistics_of_other_data_of_the_same_shape_are_refused(other):
    mix = mixtures.two_class(100)
    sample, stats = mix.sample(80, 0), mixtures.statistics(mix.sample(80, 1))
    X = sample.X if other == "another draw" else mix.sample(80, 1).X[:, ::-1]
    network = ImplicitNetwork("relu", 0.2).centered(stats.tau0)
    with pytest.raises(ValueError, match="stats are of other data"):
        equivalents.ck(network, stats, X)


@pytest.mark.parametrize("unit", [1.0, 1e3, 1e-3])
@pytest.mark.parametrize("form", ["signs", "unit norm"])
def test_samples_that_all_have_one_norm_are_their_own_data(form, unit):
    """Their norms do not fluctuate: psi and the norms' deviations are rounding, which agrees with nothing."""
    p, n = 200, 160
    Z = np.random.default_rng(3).standard_normal((p, n))
    X = unit * (np.sign(Z) / np.sqrt(p) if form == "signs" else Z / np.linalg.norm(Z, axis=0))
    labels = np.repeat([0, 1], n // 2)
    mixture = mixtures.GaussianMixture(np.zeros((2, p)), unit**2 * np.ones(2))
    network = ImplicitNetwork("relu", 0.2).centered(unit)
    for stats in (
        mixtures.statistics(mixtures.Sample(X, labels, mixture)),
        mixtures.estimate(X, labels),
    ):
        error = kernels.ck(network, X) - equivalents.ck(network, stats, X).toarray()
        assert np.linalg.norm(error, 2) < 0.15 * unit**2


def test_the_scale_warning_names_the_line_that_called():
    mix = mixtures.two_class(100)
    sample = mix.sample(80, 0)
    stats = mixtures.statistics(sample)
    network = ImplicitNetwork("relu", 0.2).centered(1.1 * stats.tau0)
    for call in (
        lambda: equivalents.ck(network, stats, sample.X),
        lambda: equivalents.coefficients(network, stats.tau0),
    ):
        with pytest.warns(UserWarning, match="was centered at") as caught:
            call()
        assert caught[0].filename == __file__


def test_statistics_of_data_with_large_means_are_their_own():
    """The norms of such data are mostly those of their means, with which psi has little in common."""
    p, n = 100, 200
    mix = mixtures.GaussianMixture(4 * np.sqrt(p) * np.eye(2, p), [1.0, 1.0])
    sample = mix.sample(n, 0)
    for stats in (mixtures.statistics(sample), mixtures.estimate(sample.X, sample.labels)):
        network = ImplicitNetwork("relu", 0.2).centered(stats.tau0)
        assert equivalents.ck(network, stats, sample.X).shape == (n, n)


# ---------------------------------------------------------------- messages word by word, and their bounds


def whole(message):
    """A pattern of the whole message."""
    return f"^{re.escape(message)}$"


FITS = {"X": np.ones((4, 10)), "scale": 1.0, "frame": np.ones((10, 2)), "core": np.eye(2)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame": np.ones((9, 2))}, "{} (9, 2) and (2, 2)"),
        ({"frame": np.ones((10, 3))}, "{} (10, 3) and (2, 2)"),
        ({"core": np.ones((2, 3))}, "{} (10, 2) and (2, 3)"),
        ({"core": np.ones(2)}, "{} (10, 2) and (2,)"),
        ({"scale": np.ones(4)}, "scale must be a number or 10 of them, got shape (4,)"),
        ({"diagonal": np.ones(1)}, "diagonal must be a number or 10 of them, got shape (1,)"),
        ({"frame": "U"}, "frame must hold real numbers (integers or floats), not <U1"),
        ({"core": [[np.nan]]}, "core must be finite: 1 of 1 entries are NaN or inf"),
        ({"scale": None}, "scale must hold real numbers (integers or floats), not object"),
        ({"diagonal": 1j}, "diagonal must hold real numbers (integers or floats), not complex128"),
    ],
)
def test_a_part_that_does_not_fit_is_named(change, message):
    message = message.format("frame must be (n, r) and core (r, r), n = 10: got")
    with pytest.raises((TypeError, ValueError), match=whole(message)):
        equivalents.Equivalent(**(FITS | {"diagonal": 0.0} | change))


@pytest.mark.parametrize(("k", "message"), [(0, "k must be at least 1; it is 0"), (1.5, "k must")])
def test_a_wrong_number_of_eigenpairs(k, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        equivalents.Equivalent(**FITS, diagonal=0.0).eigsh(k)


@pytest.mark.parametrize("band", [1, 7, 90, 200])
def test_bands_of_columns_change_no_eigenpair(band, monkeypatch):
    rng = np.random.default_rng(8)
    X, frame = rng.normal(size=(5, 90)), rng.normal(size=(90, 2))
    core, scale = np.array([[3.0, 1.0], [1.0, -4.0]]), rng.uniform(0.5, 2.0, 90)
    matrix = equivalents.Equivalent(X, scale, frame, core, 0.3)
    expected = (scale[:, None] * (X.T @ X)) * scale + frame @ core @ frame.T + 0.3 * np.eye(90)
    monkeypatch.setattr(equivalents, "BAND", band)
    monkeypatch.setattr(equivalents.Equivalent, "_matmat", None)  # no product with the matrix
    values, vectors = matrix.eigsh(5)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(expected)[::-1][:5], rtol=1e-11)
    np.testing.assert_allclose(expected @ vectors, vectors * values, atol=1e-9)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(5), atol=1e-11)
    assert (vectors[np.abs(vectors).argmax(axis=0), range(5)] > 0).all()


def test_the_reduced_matrix_leaves_out_what_is_not_there():
    """W = [X^T, U] of rank 3 among 6 columns: a repeated row of X, and a frame that is one more."""
    rng = np.random.default_rng(9)
    rows = rng.normal(size=(3, 60))
    X, frame = np.vstack([rows, rows[:1]]), np.stack([rows[1], rows[2]], axis=1)
    core = np.diag([2.0, 1.0])
    matrix = equivalents.Equivalent(X, 1.0, frame, core, 0.0)
    expected = X.T @ X + frame @ core @ frame.T
    np.testing.assert_allclose(
        matrix.eigsh(3)[0], np.linalg.eigvalsh(expected)[::-1][:3], rtol=1e-11
    )


MEAN, SPREAD = 1 / np.sqrt(2 * PI), np.sqrt(1 / 2 - 1 / (2 * PI))  # of max(u, 0) at variance 1


@pytest.mark.parametrize(
    ("tau0", "off", "refused"),
    [(None, 0.5e-9, False), (None, 2e-9, True), (1.0, 0.08, False), (1.0, 0.12, True)],
)
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_how_far_from_centered_a_network_may_be(tau0, off, refused, sign, size):
    """A mean of 1e-9 of its size, or of a tenth where the network says at which scale it was centered."""
    phi = activations.get("leaky_relu", a=size, b=0.0).minus(size * (MEAN - sign * off * SPREAD))
    mean = sign * size * off * SPREAD
    for network in (ImplicitNetwork(phi, 0.0, 1.0, tau0), ExplicitNetwork((phi,), tau0)):
        if not refused:
            assert equivalents.coefficients(network, 1.0).tau == pytest.approx(1.0, rel=1e-12)
            continue
        message = f"the network is not centered: E[phi] = {mean:.3g} in leaky_relu at this tau0; "
        if off > 1e-3:
            message = whole(message + "use network.centered(tau0)")
        else:  # digits of so small a mean are rounding
            message = r"^the network is not centered: .* in leaky_relu at this tau0; use network"
        with pytest.raises(ValueError, match=message):
            equivalents.coefficients(network, 1.0)


JUMPS = "an activation jumps above trained weights: E[phi'^2] and so the tangent kernel's diagonal are infinite"


@pytest.mark.parametrize(
    ("function", "change", "message"),
    [
        (
            equivalents.ck,
            {"network": "relu"},
            "network must be an ImplicitNetwork or an ExplicitNetwork, got str",
        ),
        (
            equivalents.ck,
            {"stats": 3},
            "stats must be a Statistics, got int: mixtures.statistics and mixtures.estimate make one",
        ),
        (
            equivalents.ntk,
            {"X": np.ones((30, 23))},
            "stats are of data of shape (30, 24), X has shape (30, 23)",
        ),
        (equivalents.ntk, {"T": "exact"}, 'T must be "plain" or "refined", got \'exact\''),
        (
            equivalents.ntk,
            {"T": "refined", "refined": True},
            "T is for the plain equivalent: the refined one has its own mean squares",
        ),
        (equivalents.ck, {"refined": 1}, "refined must be True or False; it is 1"),
        (equivalents.ntk, {"network": ExplicitNetwork(("sign",))}, JUMPS),
        (
            equivalents.ntk,
            {"trained": "some"},
            'trained must be "default" or "all" for an implicit network, got \'some\'',
        ),
    ],
)
def test_an_argument_is_named_with_what_it_must_be(three, function, change, message):
    X, _, stats, network = three
    with pytest.raises((TypeError, ValueError), match=whole(message)):
        function(**({"network": network, "stats": stats, "X": X} | change))


def test_a_wrong_scale_is_named():
    with pytest.raises(ValueError, match=whole("tau0 must be positive; it is 0")):
        equivalents.coefficients(ImplicitNetwork("tanh", 0.2), 0)


def own(p, n):
    """Data of two classes, their statistics, and the fluctuations of the norms about the class means."""
    sample = mixtures.two_class(p).sample(n, 4)
    stats, labels = mixtures.estimate(sample.X, sample.labels), sample.labels
    within = np.empty(n)
    for a in (0, 1):
        X = sample.X[:, labels == a]
        norms = ((X - X.mean(axis=1, keepdims=True)) ** 2).sum(axis=0)
        within[labels == a] = norms - norms.mean()
    return sample.X, stats, within


def agreeing(within, cosine):
    """A vector at that cosine to ``within``."""
    other = np.random.default_rng(0).standard_normal(len(within))
    other -= within * (other @ within) / (within @ within)
    unit, aside = within / np.linalg.norm(within), other / np.linalg.norm(other)
    return cosine * unit + np.sqrt(1 - cosine**2) * aside


@pytest.mark.parametrize(("cosine", "refused"), [(0.42, False), (0.38, True), (-0.9, True)])
@pytest.mark.parametrize("size", [1e-6, 1.0])
def test_fluctuations_that_agree_too_little_are_of_other_data(cosine, refused, size):
    X, stats, within = own(60, 50)
    network = ImplicitNetwork("relu", 0.2).centered(stats.tau0)
    other = dataclasses.replace(stats, psi=size * agreeing(within, cosine))
    if not refused:
        assert equivalents.ck(network, other, X).shape == (50, 50)
        return
    message = (
        "stats are of other data than X (or of its samples in another order): the fluctuations psi "
        f"have a correlation of {cosine:.2f} with those of X about its class means"
    )
    with pytest.raises(ValueError, match=whole(message)):
        equivalents.ck(network, other, X)


def test_few_samples_and_fluctuations_of_rounding_are_not_judged():
    for n, size in ((49, 1.0), (50, 1e-13)):
        X, stats, within = own(60, n)
        network = ImplicitNetwork("relu", 0.2).centered(stats.tau0)
        other = dataclasses.replace(stats, psi=-size * agreeing(within, 1.0))
        assert equivalents.ck(network, other, X).shape == (n, n)
