"""Twins: their coefficients by quadrature, closed forms, the rule against exact kernels, and what is refused."""

import dataclasses
import inspect
import itertools
import types
import warnings

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import spearmanr

from helpers import (
    activations,
    backward,
    equivalents,
    families,
    feasibility,
    kernels,
    matching,
    mixtures,
    rule,
    search,
    spectra,
)
from helpers.errors import MatchingError
from helpers.networks import ExplicitNetwork, ImplicitNetwork

PI = np.pi
pytestmark = pytest.mark.filterwarnings("ignore::scipy.integrate.IntegrationWarning")
ACTIVATIONS = [
    "relu", "leaky_relu", "tanh", "erf", "hard_tanh", "sin", "swish", "gelu", "elu", "softplus", "abs", "cos",
]  # fmt: skip
ODD = ("tanh", "erf", "hard_tanh", "sin")
SETTINGS = [(0.05, 0.5), (0.3, 1.0), (0.9, 2.0)]


def deq(activation, sigma_a2, tau0=1.0):
    return ImplicitNetwork(activation, sigma_a2).centered(tau0)


# ---------------------------------------------------------------- every activation has its twin


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("sigma_a2", "tau2"), SETTINGS)
def test_every_deq_has_a_ck_twin(activation, sigma_a2, tau2):
    tau0 = np.sqrt(tau2)
    found = matching.match(deq(activation, sigma_a2, tau0), tau0)
    assert found.residual < 1e-12
    assert found.depth == found.network.depth == (1 if activation in ODD else 2)
    assert set(found.residuals) == {"alpha1", "alpha2", "alpha3", "gamma2"}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    ("trained", "rates"), [("default", None), ("default", "free"), ("all", None)]
)
def test_every_deq_has_an_ntk_twin(activation, trained, rates):
    found = matching.match(deq(activation, 0.3), 1.0, "ntk", trained=trained, rates=rates)
    assert found.residual < 1e-12
    assert set(found.residuals) == {"beta1", "beta2", "beta3", "kappa2"}
    assert len(found.rates) == found.depth + 1 and min(found.rates) >= 0
    if rates is None:
        assert found.rates == (float(trained == "all"),) + (1.0,) * found.depth


def test_a_callable_has_its_twin():
    found = matching.match(deq(lambda x: x / (1 + np.exp(-2 * x)) + 0.1 * x**2, 0.2), 1.0)
    assert found.residual < 1e-12 and found.family == "hermite" and found.depth == 2


def test_a_deq_without_recurrence_is_one_layer():
    found = matching.match(deq("swish", 0.0), 1.0)
    assert found.depth == 1 and found.residual < 1e-12


# ---------------------------------------------------------------- the solver is not its own judge


def expectation(f, kinks):
    """E[f(xi)] by scipy's adaptive quadrature, split at the kinks."""
    edges = [-9.0, *sorted(k for k in kinks if -9 < k < 9), 0.0, 9.0]
    edges = sorted(set(edges))
    density = lambda x: f(x) * np.exp(-x * x / 2) / np.sqrt(2 * PI)
    pieces = itertools.pairwise(edges)
    return sum(quad(density, a, b, epsabs=1e-14, epsrel=1e-13, limit=200)[0] for a, b in pieces)


def moments(phi, tau):
    """E phi^2, (E phi')^2, (E phi'')^2, E(phi^2)''/2 and E phi'^2, from values of phi alone, by Stein's identity."""
    kinks = [k / tau for k in phi.kinks]
    mean = lambda g: expectation(g, kinks)
    value = lambda x: float(phi(tau * x))
    step = 1e-5
    slope = lambda x: (value(x + step) - value(x - step)) / (2 * step * tau)
    near = [k + s for k in kinks for s in (-step, step)]
    return types.SimpleNamespace(
        second=mean(lambda x: value(x) ** 2),
        slope2=(mean(lambda x: x * value(x)) / tau) ** 2,
        curvature2=(mean(lambda x: (x * x - 1) * value(x)) / tau**2) ** 2,
        response=mean(lambda x: (x * x - 1) * value(x) ** 2) / (2 * tau**2),
        steep=expectation(lambda x: slope(x) ** 2, near + kinks),
    )


def by_quadrature(network, tau0, rates=None):
    """alpha_1, alpha_2, alpha_3, gamma^2, and for rates the betas and kappa^2, of an explicit network."""
    a1, a2, a3, a4, tau2 = 1.0, 0.0, 0.0, 1.0, tau0**2
    rates = rates or (1.0,) * (network.depth + 1)
    b1, b2, b3, kappa2 = rates[0], 0.0, 0.0, rates[0] * tau0**2
    for phi, c in zip(network.layers, rates[1:], strict=True):
        m = moments(phi, np.sqrt(tau2))
        b3 = m.slope2 * b3 + b1 * a1 * m.curvature2
        a3 = m.slope2 * a3 + m.curvature2 * a1**2 / 2
        a2 = m.slope2 * a2 + m.curvature2 * a4**2 / 4
        a1, a4, tau2 = m.slope2 * a1, m.response * a4, m.second
        b1, b2, b3 = c * a1 + m.slope2 * b1, c * a2 + m.slope2 * b2, c * a3 + b3
        kappa2 = c * tau2 + m.steep * kappa2
    return np.array([a1, a2, a3, tau2]), np.array([b1, b2, b3, kappa2])


def deq_by_quadrature(network, tau0):
    """The same of a DEQ: its fixed point by bisection, then the four equations."""
    phi, a2, b2 = network.activation, network.sigma_a2, network.sigma_b2
    kinks = phi.kinks

    def excess(s):
        root = np.sqrt(s)
        second = expectation(lambda x: float(phi(root * x)) ** 2, [k / root for k in kinks])
        return a2 * second + b2 * tau0**2 - s

    tau2 = brentq(excess, b2 * tau0**2 / 2, 3 * tau0**2 + 3, xtol=1e-14, rtol=1e-14)
    m = moments(phi, np.sqrt(tau2))
    gain = a2 * m.slope2
    a1 = b2 * m.slope2 / (1 - gain)
    a4 = b2 / (1 - a2 * m.response)
    al2 = m.curvature2 * a4**2 / (4 * (1 - gain))
    al3 = m.curvature2 * (a2 * a1 + b2) ** 2 / (2 * (1 - gain))
    lost = a2 * m.steep
    star = [a1 / (1 - gain), al2 / (1 - gain)]
    star += [
        (al3 + star[0] * a2 * m.curvature2 * (a2 * a1 + b2)) / (1 - gain),
        m.second / (1 - lost),
    ]
    return np.array([a1, al2, al3, m.second]), np.array(star)


JUDGED = [
    ("relu", 0.2, 1.0, {}),
    ("tanh", 0.3, 1.3, {}),
    ("swish", 0.5, 0.8, {}),
    ("cos", 0.2, 1.0, {}),
    ("tanh", 0.2, 1.0, {"family": "hard_tanh"}),
    ("swish", 0.2, 1.0, {"family": "quartic"}),
    ("gelu", 0.1, 1.2, {"family": "polynomial"}),
    ("elu", 0.2, 1.0, {"family": "clipped_leaky_relu"}),
]


@pytest.mark.parametrize(("activation", "sigma_a2", "tau0", "choice"), JUDGED)
def test_the_twins_coefficients_by_quadrature(activation, sigma_a2, tau0, choice):
    network = deq(activation, sigma_a2, tau0)
    twin = matching.match(network, tau0, **choice).network
    wanted, found = deq_by_quadrature(network, tau0)[0], by_quadrature(twin, tau0)[0]
    assert found == pytest.approx(wanted, rel=1e-9, abs=1e-11)


@pytest.mark.parametrize(("activation", "rates"), [("relu", "free"), ("swish", "first_frozen")])
def test_the_tangent_twins_coefficients_by_quadrature(activation, rates):
    network = deq(activation, 0.3)
    twin = matching.match(network, 1.0, "ntk", rates=rates)
    found = by_quadrature(twin.network, 1.0, twin.rates)[1]
    assert found == pytest.approx(deq_by_quadrature(network, 1.0)[1], rel=1e-7)


@pytest.mark.parametrize("name", families.names())
def test_moments_of_a_family_by_quadrature(name):
    """The closed forms of a layer at scale one, and how its activation realizes it at other scales."""
    family = families.get(name)
    x = np.array([0.4, -0.3, 0.7, 0.2])[: family.size]
    layer, phi = family.layer(x), family.activation(x, 1.3, 0.8)
    phi = phi.minus(float(phi.mean(1.3**2)))
    kinks = [k / 1.3 for k in phi.kinks]

    def f(xi, s=1.0):
        return float(phi(1.3 * np.sqrt(s) * xi)) / 0.8

    he = [lambda x: x, lambda x: x * x - 1, lambda x: x**3 - 3 * x, lambda x: x**4 - 6 * x * x + 3]
    q = [
        expectation(lambda x, k=k: f(x) * he[k](x), kinks) / np.sqrt([1, 2, 6, 24][k])
        for k in range(4)
    ]
    assert layer.hermite[1:] == pytest.approx(q, abs=1e-10)
    square = lambda k: expectation(lambda x: f(x) ** 2 * he[k](x), kinks)
    assert expectation(lambda x: f(x) ** 2, kinks) == pytest.approx(1, rel=1e-10)
    assert layer.response == pytest.approx(square(1) / 2, rel=1e-8, abs=1e-9)
    assert layer.bend == pytest.approx(square(3) / 4, rel=1e-8, abs=1e-9)
    steep = lambda g: expectation(
        lambda x: (float(phi.derivative(1.3 * x)) * 1.3 / 0.8) ** 2 * g(x), kinks
    )
    assert layer.steepness == pytest.approx(steep(lambda x: 1.0), rel=1e-9)
    assert layer.steepness_slope == pytest.approx(steep(he[1]) / 2, rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("activation", ["relu", "swish", "tanh"])
def test_reported_residuals_are_those_of_the_networks(activation):
    network = deq(activation, 0.2)
    found = matching.match(network, 1.0)
    wanted = equivalents.coefficients(network, 1.0)
    seen = equivalents.coefficients(found.network, 1.0)
    for name, residual in found.residuals.items():
        goal, value = getattr(wanted, name), getattr(seen, name)
        scale = goal if goal > 1e-14 else wanted.gamma2
        assert residual == pytest.approx(abs(value - goal) / scale, rel=1e-6, abs=1e-30)
    assert found.residual == max(found.residuals.values())


def test_a_wrong_network_shows_in_its_residual(monkeypatch):
    """A family that realizes its layers wrongly is found out, because residuals are of the network returned."""
    right = families.get("hard_tanh")
    wrong = dataclasses.replace(right, activation=lambda x, t, u: right.activation(x, t, 1.001 * u))
    monkeypatch.setitem(families._FAMILIES, "hard_tanh", wrong)
    with pytest.raises(MatchingError) as caught:
        matching.match(deq("tanh", 0.2), 1.0, family="hard_tanh", depth=1)
    assert caught.value.residual < 1e-12  # of the equations; the network was refused


# ---------------------------------------------------------------- closed forms and feasibility


def test_two_leaky_relus_in_closed_form():
    """At sigma_a2 = 0.2 there are two; both are exact; the search finds the same two and takes the nearer."""
    network = deq("relu", 0.2, 1.4)
    c = equivalents.coefficients(network, 1.4)
    twins = matching.leaky_twins(c, 1.4)
    assert [twin.y for twin in twins] == pytest.approx([1.021, 1.358], abs=5e-4)
    for twin in twins:
        found = by_quadrature(twin.network, 1.4)[0]
        assert found == pytest.approx([c.alpha1, c.alpha2, c.alpha3, c.gamma2], rel=1e-9)
        assert twin.slopes == tuple(
            tuple(v for _, v in phi.parameters) for phi in twin.network.layers
        )
    found = matching.match(network, 1.4)
    assert found.family == "leaky_relu" and found.solutions == 2
    line = abs(sum(value for _, value in found.network.layers[0].parameters))
    assert min(abs(line - abs(sum(twin.slopes[0]))) for twin in twins) < 1e-9


def test_the_end_of_two_leaky_relus():
    """They merge at sigma_a2 = 0.8528."""
    end = matching.leaky_end("relu")
    assert end == pytest.approx(0.8528, abs=5e-5)
    for sigma_a2, number in ((end - 1e-4, 2), (end + 1e-4, 0)):
        c = equivalents.coefficients(deq("relu", sigma_a2), 1.0)
        assert len(matching.leaky_twins(c, 1.0)) == number


def test_the_leaky_identity():
    rng = np.random.default_rng(0)
    for depth in (1, 2, 4):
        layers = [activations.get("leaky_relu", a=a, b=b) for a, b in rng.normal(size=(depth, 2))]
        network = ExplicitNetwork(layers).centered(1.3)
        assert abs(matching.leaky_identity(equivalents.coefficients(network, 1.3), 1.3)) < 1e-12
    for name in ("relu", "leaky_relu", "abs"):
        c = equivalents.coefficients(deq(name, 0.4, 0.7), 0.7)
        assert abs(matching.leaky_identity(c, 0.7)) < 1e-12
    c = equivalents.coefficients(deq("swish", 0.4), 1.0)
    assert abs(matching.leaky_identity(c, 1.0)) > 0.01
    with pytest.raises(ValueError, match="coefficients of leaky ReLUs"):
        matching.leaky_twins(c, 1.0)


@pytest.mark.parametrize("name", ["relu", "swish", "cos", "elu"])
def test_one_layer_has_alpha3_twice_alpha2(name):
    c = equivalents.coefficients(ExplicitNetwork([name]).centered(1.2), 1.2)
    assert abs(matching.one_layer_defect(c)) < 1e-12
    assert abs(matching.one_layer_defect(equivalents.coefficients(deq(name, 0.2), 1.0))) > 1e-3


def test_the_range_of_hard_tanh():
    low, high = matching.hard_tanh_range()
    ratios = []
    for c in np.geomspace(1e-3, 8, 40):
        network = ExplicitNetwork([activations.get("hard_tanh", c=c)])
        k = equivalents.coefficients(network, 1.0)
        ratios.append(k.gamma2 / k.alpha1)
    assert all(low - 1e-12 <= r <= high for r in ratios)
    assert min(ratios) == pytest.approx(low, abs=1e-10)
    assert max(ratios) == pytest.approx(high, abs=1e-3)
    assert np.all(np.diff(ratios) <= 1e-12)


def test_the_odd_cubic_in_closed_form():
    c = equivalents.coefficients(deq("sin", 0.1, 1.5), 1.5)
    q1, q3 = matching.odd_cubic(c, 1.5)

    def cubic(x):
        return q1 * x / 1.5 + q3 * ((x / 1.5) ** 3 - 3 * x / 1.5) / np.sqrt(6)

    found = by_quadrature(ExplicitNetwork([activations.get(cubic)]), 1.5)[0]
    assert found == pytest.approx([c.alpha1, 0, 0, c.gamma2], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("activation", ["relu", "swish", "elu"])
def test_one_layer_with_a_rate_of_its_own_is_a_tangent_twin(activation):
    network = deq(activation, 0.3, 1.2)
    c = equivalents.coefficients(network, 1.2)
    found = matching.match(network, 1.2, "ntk", rates="free", family="hermite", depth=1)
    assert found.residual < 1e-12
    assert found.rates == pytest.approx((matching.one_layer_rate(c), 1.0), rel=1e-9)


def test_no_network_is_a_twin_of_both_kernels():
    seen = [matching.joint_residual(deq("relu", s), 1.0) for s in (0.05, 0.2, 0.5)]
    assert seen == pytest.approx([7.2e-3, 2.84e-2, 7.1e-2], rel=0.02)
    assert matching.joint_residual(deq("relu", 0.2), 1.0, depth=3) > 0.02


def test_named_families_that_cannot():
    cases = [
        (
            "sin",
            0.1,
            2.0,
            {"family": "hard_tanh", "depth": 1},
            r"in \[1, pi/2\], the network has 1\.69",
        ),
        ("relu", 0.9, 1.0, {"family": "leaky_relu", "depth": 2}, "eq-leaky-y"),
        ("swish", 0.2, 1.0, {"family": "leaky_relu", "depth": 2}, "leaky ReLUs of any depth"),
        ("relu", 0.2, 1.0, {"family": "odd_cubic"}, "layers are odd"),
        ("relu", 0.2, 1.0, {"depth": 1}, "one layer has alpha_3/alpha_2 = 2, the network has 1.9"),
    ]
    for activation, sigma_a2, tau2, choice, message in cases:
        with pytest.raises(MatchingError, match=message) as caught:
            matching.match(deq(activation, sigma_a2, np.sqrt(tau2)), np.sqrt(tau2), **choice)
        assert 1e-4 < caught.value.residual < 10


def test_three_leaky_relus_serve_where_two_end():
    assert matching.match(deq("relu", 0.9), 1.0, family="leaky_relu").depth == 3
    assert matching.match(deq("relu", 0.9), 1.0).family == "hermite"


# ---------------------------------------------------------------- the rule


def stacks():
    rng = np.random.default_rng(3)
    for name in families.names():
        family = families.get(name)
        yield family, [0.4 * rng.normal(size=family.size) + 0.3 for _ in range(2)]


@pytest.mark.parametrize(("kernel", "rates"), [("ck", (0, 0, 1.0)), ("ntk", (0.3, 0.7, 1.0))])
def test_drifts_in_closed_form_are_those_of_the_exact_profile(kernel, rates):
    for family, raw in stacks():
        layers = [
            family.activation(x, 1.3, scale) for x, scale in zip(raw, (1.3, 0.9), strict=True)
        ]
        network = ExplicitNetwork(layers).centered(1.3)
        exact = rule.of_network(network, 1.3, kernel, "default" if kernel == "ck" else rates)
        found = rule.of_layers([family.layer(x) for x in raw], rates)
        assert found.coefficients == pytest.approx(exact.coefficients, rel=1e-7, abs=1e-9), (
            family.name
        )
        assert found.drifts == pytest.approx(exact.drifts, rel=1e-5, abs=2e-5), family.name


@pytest.mark.parametrize("activation", ["tanh", "swish", "relu"])
@pytest.mark.parametrize(
    ("kernel", "trained"), [("ck", "default"), ("ntk", "default"), ("ntk", "all")]
)
def test_drifts_of_a_deq_are_those_of_exact_pairs(activation, kernel, trained):
    """Gain, offset and cube by differences of the exact kernel of two samples."""
    network, h = deq(activation, 0.3), 0.02

    def entry(s, t, q):
        X = np.array([[np.sqrt(s), q / np.sqrt(s)], [0, np.sqrt(t - q * q / s)]])
        both = kernels.ck(network, X) if kernel == "ck" else kernels.ntk(network, X, trained)
        return both[0, 1] / diagonal

    diagonal = 1.0
    diagonal = entry(1.0, 1.0, 1.0 - 1e-12)
    expansion = rule.of_network(network, 1.0, kernel, trained)
    slope = lambda f: (8 * (f(h) - f(-h)) - f(2 * h) + f(-2 * h)) / (12 * h)
    gain = slope(lambda e: slope(lambda q: entry(1 + e, 1.0, q)))
    bend = lambda f: (-f(2 * h) + 16 * f(h) - 30 * f(0) + 16 * f(-h) - f(-2 * h)) / (12 * h * h)
    offset = bend(lambda e: slope(lambda d: entry(1 + e, 1 + d, 0.0))) / 2
    weights = np.array([1, -8, 13, 0, -13, 8, -1]) / (8 * (2 * h) ** 3)
    third = lambda f: sum(w * f(2 * h * k) for w, k in zip(weights, range(-3, 4), strict=True))
    cube = third(lambda q: entry(1.0, 1.0, q)) / 6
    assert expansion.drifts[0] == pytest.approx(gain, abs=3e-5)
    assert expansion.drifts[1] == pytest.approx(offset, abs=3e-5)
    assert expansion.drifts[4] == pytest.approx(cube, abs=2e-5)


@pytest.fixture(scope="module")
def sample():
    return mixtures.two_class(512).sample(410, 0)


def exact_twins(network, tau0, family, depth, number):
    """Exact twins of random starting points, without the rule, and the one that the rule chose."""
    task = matching._checked(network, tau0, "ck", "default", None, 1e-10, 0)
    problem = search.Problem(
        families.get(family), depth, task.target, task.drifts, task.rates_at(depth)
    )
    equations = lambda x: problem.equations(problem.expansion(x))
    rng, twins = np.random.default_rng(1), []
    while len(twins) < number:
        x = search.newton(equations, search.fit(equations, rng.normal(size=problem.size), 60))
        if np.abs(equations(x)).max() < 1e-11:
            spread = float(np.linalg.norm(problem.mismatch(problem.expansion(x))))
            twins.append(matching._as_match(task, problem, search.Solution(x, 0.0, spread), 0))
    return twins, matching.match(network, tau0, family=family, depth=depth)


@pytest.mark.parametrize(
    ("activation", "family", "depth"),
    [("swish", "hermite", 2), ("tanh", "odd_quintic", 1), ("relu", "leaky_relu", 2)],
)
def test_the_rule_orders_exact_twins_by_their_gap(sample, activation, family, depth):
    """Rank correlation of spread and gap on exact kernels, and the chosen one is within 1.2 of the smallest."""
    tau0 = mixtures.statistics(sample).tau0
    network = deq(activation, 0.2, tau0)
    twins, chosen = exact_twins(network, tau0, family, depth, 16)
    exact = kernels.ck(network, sample.X)
    size = spectra.operator_norm(exact)

    def gap(match):
        return spectra.operator_norm(exact - kernels.ck(match.network, sample.X)) / size

    gaps, spreads = [gap(twin) for twin in twins], [twin.spread for twin in twins]
    assert max(twin.residual for twin in twins) < 1e-10
    if family != "leaky_relu":  # of which there are but two
        assert spearmanr(spreads, gaps).statistic > 0.9
        assert max(gaps) > 10 * min(gaps)
    assert gap(chosen) < 1.2 * min(gaps)
    assert chosen.spread <= min(spreads) * (1 + 1e-6)


@pytest.mark.parametrize(
    ("activation", "choice"),
    [("tanh", {}), ("swish", {}), ("relu", {"kernel": "ntk", "trained": "all"})],
)
def test_the_gap_closes_with_the_dimension(activation, choice):
    """A slope below -1/2 from p = 256 to 1024, and a control of the same depth that keeps its gap."""
    gaps, control = [], []
    for p in (256, 1024):
        data = mixtures.two_class(p).sample(round(0.8 * p), 0)
        tau0 = mixtures.statistics(data).tau0
        found = matching.match(deq(activation, 0.2, tau0), tau0, **choice)
        gaps.append(found.gap(data.X))
        naive = ExplicitNetwork((activation,) * found.depth).centered(tau0)
        control.append(dataclasses.replace(found, network=naive).gap(data.X))
    assert np.log(gaps[1] / gaps[0]) / np.log(4) < -0.5
    assert np.log(control[1] / control[0]) / np.log(4) > -0.15 and control[1] > 10 * gaps[1]


# ---------------------------------------------------------------- the record


def test_the_record(sample):
    tau0 = mixtures.statistics(sample).tau0
    found = matching.match(deq("swish", 0.2, tau0), tau0)
    again = matching.match(deq("swish", 0.2, tau0), tau0)
    for one, other in zip(found.network.layers, again.network.layers, strict=True):
        # from equal residuals and slopes scipy's "lm" may return other last digits (seen with MALLOC_PERTURB_)
        assert np.allclose(
            dict(one.parameters)["coefficients"], dict(other.parameters)["coefficients"], 1e-7, 1e-9
        )
    assert "\n" not in str(found) and "swish" in str(found) and "2 x hermite" in str(found)
    assert found.network.tau0 == found.tau0 == tau0 and found.rates == (1.0, 1.0, 1.0)
    assert (found.kernel, found.trained, found.family, found.depth) == (
        "ck",
        "default",
        "hermite",
        2,
    )
    assert found.source.activation.name == "swish" and found.source.sigma_a2 == 0.2
    assert set(found.residuals) == {"alpha1", "alpha2", "alpha3", "gamma2"}
    assert found.residual == max(found.residuals.values()) and found.solutions >= 1
    assert 0 <= found.spread < 1
    assert float(found.network.layers[0].second_moment(tau0**2)) == pytest.approx(tau0**2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.depth = 3


def test_a_gap_is_that_of_exact_kernels():
    data = mixtures.two_class(64).sample(48, 0)
    tau0 = np.sqrt((data.X**2).sum(0).mean())
    network = deq("relu", 0.2, tau0)
    ck, ntk = matching.match(network, tau0), matching.match(network, tau0, "ntk", rates="free")
    exact = kernels.ck(network, data.X)
    gap = np.linalg.norm(exact - kernels.ck(ck.network, data.X), 2) / np.linalg.norm(exact, 2)
    assert ck.gap(data.X) == pytest.approx(gap, rel=1e-6)
    exact = kernels.ntk(network, data.X)
    twin = kernels.ntk(ntk.network, data.X, ntk.rates)
    gap = np.linalg.norm(exact - twin, 2) / np.linalg.norm(exact, 2)
    assert ntk.gap(data.X) == pytest.approx(gap, rel=1e-6)


def test_data_of_another_scale_warn_with_both_values():
    data = mixtures.two_class(64).sample(48, 0)
    found = matching.match(deq("relu", 0.2, 1.5), 1.5)
    with pytest.warns(
        UserWarning, match=r"centered at tau0 = 1\.5, the data have tau0 = 1\."
    ) as seen:
        found.gap(data.X)
    assert seen[0].filename == __file__


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            ImplicitNetwork("relu", 0.3, 0.8).centered(1.0),
            r"sigma_a2 = 0\.2, the network has sigma_a2 = 0\.3",
        ),
        (deq("relu", 0.2, 1.1), r"tau0 = 1, the network has tau0 = 1\.1"),
        (deq("swish", 0.2), "activation = relu, the network has activation = swish"),
        (
            ImplicitNetwork("relu", 0.2, 0.5).centered(1.0),
            r"sigma_b2 = 0\.8, the network has sigma_b2 = 0\.5",
        ),
    ],
)
def test_another_network_warns_with_both_values(other, message):
    found = matching.match(deq("relu", 0.2), 1.0)
    X = np.linalg.qr(np.random.default_rng(0).normal(size=(30, 20)))[0]
    with pytest.warns(UserWarning, match=message) as seen:
        found.gap(X, network=other)
    assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found.gap(X, network=found.source)


def test_another_kind_of_network_is_refused():
    found = matching.match(deq("relu", 0.2), 1.0)
    with pytest.raises(TypeError, match="network must be an ImplicitNetwork"):
        found.require(found.network)


# ---------------------------------------------------------------- the other way


@pytest.mark.parametrize(
    ("activation", "kernel", "trained"),
    [("relu", "ck", "default"), ("swish", "ck", "default"), ("tanh", "ck", "default"),
     ("relu", "ntk", "all"), ("gelu", "ntk", "default"), ("abs", "ck", "default")],
)  # fmt: skip
def test_a_twin_leads_back_to_a_deq(activation, kernel, trained):
    twin = matching.match(deq(activation, 0.2, 1.3), 1.3, kernel, trained=trained)
    rates = twin.rates if kernel == "ntk" else "default"
    back = matching.implicit_for(twin.network, 1.3, kernel, trained=trained, rates=rates)
    assert back.residual < 1e-12 and 0 <= back.network.sigma_a2 < 1
    if kernel == "ck":
        found = deq_by_quadrature(back.network, 1.3)[0]
        assert found == pytest.approx(by_quadrature(twin.network, 1.3)[0], rel=1e-8, abs=1e-10)
    if activation == "relu":  # of a leaky ReLU with sigma_b2 = 1 - sigma_a2
        assert back.network.sigma_a2 == pytest.approx(0.2, abs=1e-6)
    assert "\n" not in str(back)


def test_one_layer_is_a_deq_without_recurrence():
    back = matching.implicit_for(ExplicitNetwork(["relu"]).centered(1.0), 1.0)
    assert back.network.sigma_a2 < 1e-12


def test_no_deq_for_an_explicit_network():
    c = (0.0, 0.9, 0.1)
    network = ExplicitNetwork([activations.get("hermite", coefficients=c)] * 2).centered(1.0)
    with pytest.raises(MatchingError, match="leaky_relu has the coefficients of these 2 layers"):
        matching.implicit_for(network, 1.0, activation="leaky_relu")
    with pytest.raises(TypeError, match="explicit must be an ExplicitNetwork"):
        matching.implicit_for(deq("relu", 0.2), 1.0)


# ---------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"family": "cubist"}, ValueError, "family must be one of hard_tanh, .*got 'cubist'"),
        ({"family": 3}, TypeError, "family must be the name of a family, got 3"),
        ({"depth": 0}, ValueError, "depth must be at least 1; it is 0"),
        ({"depth": 1.5}, TypeError, "depth must be an integer"),
        ({"tolerance": 0.0}, ValueError, "tolerance must be positive"),
        ({"tolerance": 1e-16}, ValueError, "tolerance must be at least 1e-15"),
        ({"tau0": 0.0}, ValueError, "tau0 must be positive"),
        ({"tau0": -1.0}, ValueError, "tau0 must be positive"),
        ({"tau0": np.nan}, ValueError, "tau0 must be finite"),
        ({"kernel": "nngp"}, ValueError, 'kernel must be "ck" or "ntk"'),
        ({"network": "relu"}, TypeError, "network must be an ImplicitNetwork, got str"),
        ({"network": ExplicitNetwork(["relu"])}, TypeError, "matching.implicit_for goes that way"),
        ({"network": ImplicitNetwork("relu", 0.2)}, ValueError, r"not centered: .*\.centered"),
        ({"rates": "all"}, ValueError, "rates are of tangent kernels"),
        ({"kernel": "ntk", "rates": "some"}, ValueError, 'rates must be "first_frozen"'),
        ({"kernel": "ntk", "rates": (1.0, -1.0)}, ValueError, "rates of at least 0"),
        ({"kernel": "ntk", "rates": (1.0, 0.0)}, ValueError, "a positive c_L"),
        ({"kernel": "ntk", "rates": (1.0, 1.0), "depth": 2}, ValueError, r"2 \+ 1 numbers"),
        ({"trained": "some", "kernel": "ntk"}, ValueError, "trained must be"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
    ],
)
def test_wrong_input(change, error, message):
    arguments = {"network": deq("relu", 0.2), "tau0": 1.0} | change
    with pytest.raises(error, match=message):
        matching.match(**arguments)


def test_a_callable_that_is_not_finite():
    with (
        np.errstate(all="ignore"),
        pytest.raises(ValueError, match="must be finite"),
    ):
        matching.match(deq(lambda x: 1 / np.maximum(x, 0), 0.2), 1.0)


def test_the_contract_of_names():
    assert list(inspect.signature(matching.match).parameters) == [
        "network", "tau0", "kernel", "family", "depth", "trained", "rates", "tolerance", "seed",
    ]  # fmt: skip
    fields = {field.name for field in dataclasses.fields(matching.Match)}
    assert {
        "network",
        "family",
        "depth",
        "residual",
        "residuals",
        "source",
        "tau0",
        "rates",
    } <= fields
    for name in matching.__all__:
        assert hasattr(matching, name)
    assert set(matching.families()) == set(families.names())


@pytest.mark.parametrize("sigma_a2", [0.05, 0.2, 0.9])
@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name not in ODD])
def test_two_cubics_in_closed_form(name, sigma_a2):
    """prop-cubic-twins, judged by the coefficients of the network that is returned."""
    tau0 = 1.3
    wanted = equivalents.coefficients(deq(name, sigma_a2, tau0), tau0)
    twin = matching.cubic_twin(wanted, tau0)
    residuals = feasibility.relative_residuals(equivalents.coefficients(twin, tau0), wanted, tau0)
    assert max(residuals.values()) < 1e-10
    assert twin.depth == 2


def test_two_cubics_of_an_odd_network_are_refused():
    with pytest.raises(ValueError, match="alpha_2 and alpha_3 above zero"):
        matching.cubic_twin(equivalents.coefficients(deq("tanh", 0.2), 1.0), 1.0)


def test_both_kernels_of_an_odd_network_and_not_of_another():
    """thm-no-joint-twin, and why it needs a curvature."""
    assert matching.joint_residual(deq("tanh", 0.2), 1.0, depth=1) < 1e-12
    assert matching.joint_residual(deq("relu", 0.2), 1.0, depth=2) > 0.02


def test_a_constant_activation_is_refused():
    network = ImplicitNetwork(activations.get(lambda x: 0 * x), 0.2).centered(1.0)
    with pytest.raises(ValueError, match="constant"):
        matching.match(network, 1.0)


# ---------------------------------------------------------------- borders


def test_an_even_activation_has_no_leaky_roots_and_an_odd_one_no_cubic_twin():
    """alpha_1 = 0 of a cosine: there is no quotient to look for; alpha_2 = 0 of tanh."""
    even, odd = (equivalents.coefficients(deq(name, 0.2), 1.0) for name in ("cos", "tanh"))
    assert feasibility.leaky_roots(even, 1.0) == []
    message = "^c must have alpha_2 and alpha_3 above zero; an odd cubic serves others$"
    with pytest.raises(ValueError, match=message):
        feasibility.cubic_twin(odd, 1.0)


def test_a_cubic_twin_has_no_room_for_a_large_alpha3():
    """R = sqrt(a_3/(2 a_2)) beyond 2, of scaled coefficients that no two cubic layers have."""
    c = equivalents.coefficients(deq("relu", 0.2), 1.0)
    _, a2, a3 = feasibility.scaled(c, 1.0)
    wide = dataclasses.replace(c, alpha3=c.alpha3 * 2 * a2 / a3 * 2.1**2)
    with pytest.raises(
        ValueError, match=r"^c has no such twin: R = 2\.1, and a_1/P \+ a_3/P\^2 = "
    ):
        feasibility.cubic_twin(wide, 1.0)


def test_twins_at_every_recurrence_have_no_end():
    bent = activations.get("leaky_relu", a=1.0, b=-0.5)
    for sigma_a2 in (0.05, 0.5, 0.9, 0.999):
        network = ImplicitNetwork(bent, sigma_a2).centered(1.0)
        assert len(feasibility.leaky_roots(equivalents.coefficients(network, 1.0), 1.0)) == 2
    message = "^leaky_relu has a twin of two leaky ReLUs at every sigma_a2 < 1 "
    with pytest.raises(MatchingError, match=message):
        feasibility.leaky_end(bent)


def test_rates_that_are_given_fix_the_depth():
    """The twin of a tangent kernel at these rates has its coefficients, by the layers' own recursion."""
    network, rates = deq("relu", 0.2), (0.0, 1.0, 1.0)
    found = matching.match(network, 1.0, "ntk", rates=rates)
    assert (found.depth, found.rates) == (2, rates)
    wanted, c = (
        equivalents.coefficients(one, 1.0, trained)
        for one, trained in ((network, "default"), (found.network, rates))
    )
    for name in ("beta1", "beta2", "beta3", "kappa2"):
        assert getattr(c, name) == pytest.approx(getattr(wanted, name), rel=1e-10)
    assert matching.match(network, 1.0, "ntk", rates=rates, depth=2).depth == 2
    for other in ((0.0, 5.0, 1.0), (1.0, 1.0)):
        depth = len(other) - 1
        message = f"^no NTK twin of relu at sigma_a2 = 0.2 in {depth} layers of leaky_relu: "
        with pytest.raises(MatchingError, match=message):
            matching.match(network, 1.0, "ntk", rates=other, family="leaky_relu")
    message = "^rates must be 3 [+] 1 numbers for depth = 3, got 3$"
    with pytest.raises(ValueError, match=message):
        matching.match(network, 1.0, "ntk", rates=rates, depth=3)


def test_a_far_twin_is_kept_where_no_layer_more_is_left(monkeypatch):
    network = deq("swish", 0.2)
    near = matching.match(network, 1.0)
    assert near.depth == 2
    monkeypatch.setattr(matching, "FAR", 0.0)
    monkeypatch.setattr(matching, "DEEPEST", 2)
    found = matching.match(network, 1.0)
    assert found.depth == 2 and found.residual < 1e-12
    assert found.spread == pytest.approx(near.spread, rel=1e-9)


def test_deqs_without_a_stable_fixed_point_are_counted(monkeypatch):
    monkeypatch.setattr(backward, "_as_network", lambda *given: None)
    message = (
        r"^the [1-9]\d* DEQs with an activation of hard_tanh or odd_cubic that solve the equations for these "
        r"1 layers have no stable fixed point at norms within 10 % of the data's "
    )
    with pytest.raises(MatchingError, match=message):
        matching.implicit_for(ExplicitNetwork(["tanh"]).centered(1.0), 1.0)


def test_newton_stays_where_slopes_are_not_numbers_and_where_steps_do_not_help():
    x = np.array([0.5, 2.0])

    def walled(points):
        """One at x, and not a number anywhere else."""
        there = (points.T == x).all(axis=-1)
        return np.where(there, 1.0, np.nan)[None] if points.ndim > 1 else np.ones(1)

    np.testing.assert_array_equal(search.newton(walled, x), x)
    np.testing.assert_array_equal(search.newton(lambda p: np.abs(p) + 1, np.array([0.0])), [0.0])
    found = search.newton(lambda p: p**2 - 2, np.array([1.0]))
    assert found == pytest.approx(np.sqrt(2), rel=1e-15)


def test_a_solution_with_other_coefficients_is_no_match(monkeypatch):
    """What solves a family's equations is held against the coefficients once more."""
    stack = ExplicitNetwork(["relu"]).centered(1.0)
    assert matching.implicit_for(stack, 1.0, activation="leaky_relu").residual < 1e-10
    monkeypatch.setattr(backward, "relative_residuals", lambda *given: {"alpha1": 1e-3})
    message = "^no DEQ with an activation of leaky_relu has the coefficients of these 1 layers; "
    with pytest.raises(MatchingError, match=message):
        matching.implicit_for(stack, 1.0, activation="leaky_relu")
