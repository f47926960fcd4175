"""The numerical core against arbitrary precision, and the corners of its domain."""

import time

import numpy as np
import oracles
import pytest

from helpers import ConvergenceError, activations, kernels
from helpers.networks import ExplicitNetwork, ImplicitNetwork

CASES = [pytest.param(case, id=f"{i}-{case}") for i, case in enumerate(oracles.CASES)]
RECURRENT = [
    pytest.param(case, id=f"{i}-{case}")
    for i, case in enumerate(oracles.CASES)
    if (case.name, *case.parameters.items()) in oracles.FUNCTIONS
]
CORRELATIONS = np.array([0, 0.3, -0.3, 0.9, -0.9, 0.999, -0.999, 0.9999, 1.0, -1.0])


def activation(case, shift=0.0):
    return activations.get(case.name, **case.parameters).minus(shift)


@pytest.mark.parametrize("s,t", [(0.1, 0.1), (9.0, 9.0), (0.1, 9.0)])
def test_the_oracle_against_the_literature(s, t):
    functions = {case.name: case for case in oracles.CASES[::-1]}
    for c in CORRELATIONS * np.sqrt(s * t):
        relu, erf = (oracles.dual(functions[name], s, t, c) for name in ("relu", "erf"))
        assert abs(relu - oracles.relu_dual(s, t, c)) < 1e-15 * np.sqrt(s * t)
        assert abs(erf - oracles.erf_dual(s, t, c)) < 1e-15


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shift", [0.0, 0.37])
def test_moments_at_25_digits(case, shift):
    phi, s = activation(case, shift), np.array([0.1, 1.0, 9.0])
    wanted = [oracles.moments(case, float(value), shift) for value in s]
    for name in wanted[0]:
        expected = np.array([moments[name] for moments in wanted])
        np.testing.assert_allclose(getattr(phi, name)(s), expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("case", CASES)
def test_duals_of_every_activation(case):
    phi = activation(case, 0.2)
    tolerance = (1e-12, 1e-12) if case.name in oracles.CLOSED else (1e-12, 1e-10)
    for s, t in [(1.0, 1.0), (9.0, 9.0), (0.1, 9.0)]:
        c = CORRELATIONS * np.sqrt(s * t)
        sizes = [oracles.dual(case, v, v, v, 0.2) for v in (s, t)]
        expected = [oracles.dual(case, s, t, value, 0.2) for value in c]
        unit = np.sqrt(np.prod(sizes))
        np.testing.assert_allclose(phi.dual(s, t, c), expected, rtol=0, atol=tolerance[0] * unit)
        if case.jump:
            c = c[:-2]  # infinite at correlation one
        expected = np.array([oracles.dual_slope(case, s, t, value) for value in c])
        unit = 1.0 if case.jump else oracles.dual_slope(case, min(s, t), min(s, t), min(s, t))
        found = phi.dual_slope(s, t, c)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=tolerance[1] * unit)


NEAR_ONE = [0.0, 0.9, -0.99, 0.999, 1 - 1e-6, 1e-9 - 1, 1 - 1e-12, 1.0, -1.0]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("s,t", [(1e-4, 1e-4), (1e-4, 25.0), (4.0, 4.0), (25.0, 25.0)])
def test_duals_from_small_to_large_variances(case, s, t):
    phi, c = activation(case), np.array(NEAR_ONE) * np.sqrt(s * t)
    unit = np.sqrt(oracles.dual(case, s, s, s) * oracles.dual(case, t, t, t))
    expected = [oracles.dual(case, s, t, value) for value in c]
    np.testing.assert_allclose(phi.dual(s, t, c), expected, rtol=0, atol=2e-13 * unit)
    if case.jump:
        return
    unit = np.sqrt(oracles.dual_slope(case, s, s, s) * oracles.dual_slope(case, t, t, t))
    expected = [oracles.dual_slope(case, s, t, value) for value in c]
    tolerance = 1e-12 if case.name in oracles.CLOSED | {"elu", "polynomial", "hermite"} else 1e-10
    np.testing.assert_allclose(phi.dual_slope(s, t, c), expected, rtol=0, atol=tolerance * unit)


@pytest.fixture(scope="module")
def data():
    """Norms 0.1 to 3; columns equal, opposite and parallel, correlations of 0.999 and 0.9999."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((30, 12))
    X *= np.geomspace(0.1, 3.0, 12) / np.linalg.norm(X, axis=0)
    X[:, 1], X[:, 2], X[:, 3] = X[:, 0], -X[:, 0], 0.5 * X[:, 0]
    other = rng.standard_normal(30)
    other -= X[:, 4] * (other @ X[:, 4]) / (X[:, 4] @ X[:, 4])
    other *= np.linalg.norm(X[:, 4]) / np.linalg.norm(other)
    for column, rho in ((5, 0.999), (6, 0.9999)):
        X[:, column] = rho * X[:, 4] + np.sqrt(1 - rho**2) * other
    return X


@pytest.mark.parametrize("case", RECURRENT)
@pytest.mark.parametrize("centered", [False, True])
def test_the_kernel_solves_its_equation(case, centered, data):
    sigma_a2 = 0.1 if case.name == "polynomial" else 0.3
    network = ImplicitNetwork(activation(case), sigma_a2, 0.6)
    if centered:
        network = network.centered(1.0)
    G = kernels.ck(network, data)
    Lambda = sigma_a2 * G + 0.6 * data.T @ data
    np.testing.assert_array_equal(G, G.T)
    np.testing.assert_allclose(
        kernels.diagonal(network, (data**2).sum(axis=0)), Lambda.diagonal(), rtol=1e-12
    )
    tolerance = 1e-12 if case.name in oracles.CLOSED else 1e-10
    shift = network.activation.shift
    for i in range(8):
        for j in range(i + 1):
            value = oracles.dual(case, Lambda[i, i], Lambda[j, j], Lambda[i, j], shift)
            assert abs(value - G[i, j]) <= tolerance * np.sqrt(G[i, i] * G[j, j])
    values = np.linalg.eigvalsh(G)
    assert values[0] > -1e-11 * values[-1]


@pytest.mark.parametrize("name", ["tanh", "elu"])
def test_iterating_the_definition(name, data):
    case = next(case for case in oracles.CASES if case.name == name)
    X = data[:, 3:7]
    expected, _ = oracles.plain_iteration(case.f, case.kinks, X, 0.2, 0.8, 25)
    found = kernels.ck(ImplicitNetwork(name, 0.2), X)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("family", ["implicit", "explicit"])
def test_a_sample_of_norm_zero_is_a_constant(case, family, data):
    """Its preactivation may only come from other layers: the kernel is finite, and the rest unmoved."""
    X = data.copy()
    X[:, 4] = 0.0
    rest = np.delete(np.arange(12), 4)
    if family == "explicit":
        network = ExplicitNetwork((activation(case), activation(case)))
    elif (case.name, *case.parameters.items()) in oracles.FUNCTIONS:
        network = ImplicitNetwork(activation(case), 0.1, 0.6)
    else:
        pytest.skip("no recurrent network of this activation has a fixed point at these norms")
    G = kernels.ck(network, X)
    assert np.isfinite(G).all()
    without = kernels.ck(network, X[:, rest])
    np.testing.assert_allclose(
        G[np.ix_(rest, rest)], without, rtol=1e-10, atol=1e-10 * without.max()
    )


def test_norm_zero_of_relu_and_hard_tanh_is_zero(data):
    X = data.copy()
    X[:, 4] = 0.0
    for name in ("relu", "hard_tanh", "elu"):
        G = kernels.ck(ImplicitNetwork(name, 0.3), X)
        np.testing.assert_allclose(G[4], 0.0, atol=1e-14)


@pytest.mark.parametrize("name", ["cos", "tanh", "softplus", "relu"])
def test_twins_never_stall_the_pairs(name):
    """Equal columns: a rounding of the diagonal puts their correlation just beyond one."""
    X = np.random.default_rng(2).standard_normal((20, 60)) * np.geomspace(0.02, 0.7, 60)
    X = np.hstack([X, X])
    G, K = kernels.ck_and_ntk(ImplicitNetwork(activations.get(name).minus(0.1), 0.3, 0.7), X)
    for kernel in (G, K):
        np.testing.assert_allclose(
            kernel[np.arange(60), np.arange(60, 120)], kernel.diagonal()[:60], rtol=1e-11
        )


@pytest.mark.parametrize("sigma_a2", [2.0, 2.0000001, 2.01, 2.1, 5.0])
def test_a_runaway_fixed_point_is_refused_soon(sigma_a2):
    start = time.perf_counter()
    with pytest.raises((ConvergenceError, ValueError), match="sharp threshold"):
        kernels.ck(ImplicitNetwork("relu", sigma_a2, 1.0), np.eye(3))
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize("gap", [0.1, 1e-4])
def test_relu_near_the_threshold_by_hand(gap):
    """Uncentered: Lambda_ii (1 - sigma_a2 / 2) = sigma_b2 |x|^2."""
    s = kernels.diagonal(ImplicitNetwork("relu", 2 - gap, 1.0), [1.0, 0.3])
    np.testing.assert_allclose(s, np.array([2.0, 0.6]) / gap, rtol=1e-13 / gap)


@pytest.mark.parametrize(
    ("function", "name", "kinks"),
    [
        (lambda x: np.maximum(x, 0), "relu", [0.0]),
        (np.abs, "abs", [0.0]),
        (lambda x: np.clip(x, -1, 1), "hard_tanh", [-1.0, 1.0]),
        (np.tanh, "tanh", []),
        (np.cos, "cos", []),
    ],
)
def test_kinks_of_a_callable_are_found(function, name, kinks):
    phi, known = activations.get(function), activations.get(name)
    np.testing.assert_allclose(phi.kinks, kinks, atol=1e-9)
    s = np.array([0.3, 1.0, 2.0])
    for rho in (0.5, -0.8, 0.999):
        for dual in ("dual", "dual_slope"):
            found, expected = (getattr(one, dual)(s, s, rho * s) for one in (phi, known))
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    "function", [lambda x: np.sin(20 * x), lambda x: np.tanh(50 * x), np.exp, lambda x: x**3]
)
def test_steep_is_not_kinked(function):
    assert activations.get(function).kinks == ()


def test_wrong_callables_and_pairs():
    with pytest.raises(ValueError, match="continuous, it jumps at x"):
        activations.get(np.sign)
    with pytest.raises(ValueError, match="slope is not a parameter of a callable"):
        activations.get(np.tanh, slope=1.0)
    phi = activations.get("tanh")
    for call in (phi.dual, phi.dual_slope):
        for arguments, words in [
            ((0.0, 1.0, 0.0), "s must be a positive variance"),
            ((1.0, -1.0, 0.0), "t must be a positive variance"),
            ((1.0, 1.0, 1.1), "c must be a covariance"),
            ((1.0, 1.0, np.nan), "c must be finite"),
            (([], 1.0, 0.0), "s must hold at least one"),
        ]:
            with pytest.raises(ValueError, match=words):
                call(*arguments)


@pytest.mark.parametrize(
    ("norms", "error"),
    [([-1.0], ValueError), ([np.nan], ValueError), ([], ValueError), ([1j], TypeError)],
)
def test_wrong_squared_norms(norms, error):
    with pytest.raises(error, match="squared_norms"):
        kernels.diagonal(ImplicitNetwork("relu", 0.2), norms)
