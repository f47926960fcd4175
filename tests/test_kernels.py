"""Exact kernels: put back into their own equations by independent quadrature, and symmetries."""

from __future__ import annotations

import numpy as np
import oracles
import pytest

from helpers import ConvergenceError, kernels, networks

CASES = [pytest.param(key, id=key[0]) for key in oracles.FUNCTIONS]
RECURRENT, INPUT = 0.3, 0.7
SMALL = {"polynomial": 0.15, "sin": 0.3}  # those whose slopes grow need a smaller sigma_a2


@pytest.fixture(scope="module")
def mixed() -> np.ndarray:
    """200 samples of norms 0.1 to 3 and of correlations up to 0.9999, with twins and opposites."""
    rng = np.random.default_rng(5)
    X = rng.standard_normal((40, 200))
    X /= np.linalg.norm(X, axis=0)
    for gap, column in zip((1e-2, 1e-1, 0.3, 1.0), (1, 3, 5, 7)):
        X[:, column] = X[:, column - 1] + gap * X[:, column]
    X *= np.geomspace(0.1, 3.0, 200) / np.linalg.norm(X, axis=0)
    X[:, 9], X[:, 11] = X[:, 8], -X[:, 10]
    return X


def network_of(key) -> networks.ImplicitNetwork:
    f = networks.activations.get(key[0], **dict(key[1:])).minus(0.1)
    return networks.ImplicitNetwork(f, SMALL.get(key[0], RECURRENT), INPUT)


def pairs_of(X: np.ndarray) -> list[tuple[int, int]]:
    """The most correlated pairs, and some at random."""
    rng = np.random.default_rng(1)
    return [
        (0, 1),
        (2, 3),
        (4, 5),
        (6, 7),
        (8, 9),
        (10, 11),
        *rng.integers(12, 200, (6, 2)).tolist(),
    ]


@pytest.mark.parametrize("key", CASES)
def test_implicit_kernels_solve_their_equations(key, mixed):
    """Lambda = sigma_a2 G + sigma_b2 X^T X, G = E phi phi, with expectations that are not the package's."""
    f, slope, kinks = oracles.FUNCTIONS[key]
    network = network_of(key)
    G, K = kernels.ck_and_ntk(network, mixed)
    K_all = kernels.ntk(network, mixed, trained="all")
    tolerance = 1e-12 if key[0] in oracles.CLOSED else 1e-9
    gram = mixed.T @ mixed
    Lambda = network.sigma_a2 * G + network.sigma_b2 * gram
    for i, j in pairs_of(mixed):
        s, t = Lambda[i, i], Lambda[j, j]
        rho = np.clip(Lambda[i, j] / np.sqrt(s * t), -1, 1)
        unit = max(1.0, np.sqrt(G[i, i] * G[j, j]))
        value = oracles.pair(lambda x: f(x) - 0.1, s, t, rho, kinks)
        assert abs(G[i, j] - value) <= 2 * tolerance * unit
        slopes = oracles.pair(slope, s, t, rho, kinks)
        gain = network.sigma_a2 * slopes
        assert K[i, j] == pytest.approx(
            value / (1 - gain), rel=10 * tolerance, abs=10 * tolerance * unit
        )
        more = network.sigma_b2 * gram[i, j] * slopes / (1 - gain)
        expected = value / (1 - gain) + more
        assert K_all[i, j] == pytest.approx(expected, rel=10 * tolerance, abs=10 * tolerance * unit)


@pytest.mark.parametrize("key", CASES)
def test_implicit_kernels_are_symmetric_and_positive(key, mixed):
    G, K = kernels.ck_and_ntk(network_of(key), mixed)
    for kernel in (G, K):
        np.testing.assert_array_equal(kernel, kernel.T)
        values = np.linalg.eigvalsh(kernel)
        assert values[0] >= -1e-11 * values[-1]


def test_diagonal_is_its_own_fixed_point(mixed):
    network = network_of(("tanh",))
    norms = (mixed**2).sum(axis=0)
    s = kernels.diagonal(network, norms)
    for i in (0, 50, 199):
        moment = oracles.mean(lambda x: (np.tanh(x) - 0.1) ** 2, s[i])
        assert s[i] == pytest.approx(
            network.sigma_a2 * moment + network.sigma_b2 * norms[i], rel=1e-12
        )


def test_plain_iteration_reaches_the_same_kernel(mixed):
    network, gram = networks.ImplicitNetwork("relu", 0.4, 0.9), mixed.T @ mixed
    G = np.zeros_like(gram)
    for _ in range(80):
        Lambda = 0.4 * G + 0.9 * gram
        root = np.sqrt(Lambda.diagonal())
        rho = np.clip(Lambda / np.outer(root, root), -1, 1)
        G = (
            np.outer(root, root)
            * (np.sqrt(1 - rho**2) + rho * (np.pi - np.arccos(rho)))
            / (2 * np.pi)
        )
    np.testing.assert_allclose(kernels.ck(network, mixed), G, rtol=0, atol=1e-12 * G.max())


@pytest.mark.parametrize("trained", ["default", "first_frozen", (0.5, 2.0, 1.0)])
def test_explicit_kernels_follow_the_recursion(trained, mixed):
    network = networks.ExplicitNetwork(("tanh", "relu"))
    rates = {"default": (1.0, 1.0, 1.0), "first_frozen": (0.0, 1.0, 1.0)}.get(trained, trained)
    G, K = kernels.ck_and_ntk(network, mixed, trained=trained)
    gram = mixed.T @ mixed
    for i, j in [(0, 1), (8, 9), (10, 11), (20, 33), (57, 57)]:
        entries = {(a, b): gram[a, b] for a in (i, j) for b in (i, j)}
        tangent = rates[0] * gram[i, j]
        for key, rate in zip([("tanh",), ("relu",)], rates[1:]):
            f, slope, kinks = oracles.FUNCTIONS[key]
            s, t, c = entries[i, i], entries[j, j], entries[i, j]
            rho = np.clip(c / np.sqrt(s * t), -1, 1)
            new = {
                (a, a): oracles.mean(lambda x, f=f: f(x) ** 2, entries[a, a], kinks) for a in (i, j)
            }
            new[i, j] = new[j, i] = oracles.pair(f, s, t, rho, kinks)
            tangent = rate * new[i, j] + tangent * oracles.pair(slope, s, t, rho, kinks)
            entries = new
        assert G[i, j] == pytest.approx(entries[i, j], rel=1e-10, abs=1e-13)
        assert K[i, j] == pytest.approx(tangent, rel=1e-10, abs=1e-12)


def test_without_recurrence_a_deq_is_one_layer(mixed):
    for name in ("tanh", "sign"):
        deq = kernels.ck(networks.ImplicitNetwork(name, 0.0, 0.6), mixed)
        layer = kernels.ck(networks.ExplicitNetwork((name,)), np.sqrt(0.6) * mixed)
        np.testing.assert_allclose(deq, layer, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("n", [1, 2, kernels.TILE - 1, kernels.TILE, kernels.TILE + 1, 300])
def test_sizes_at_the_borders_of_tiles(n):
    X = np.random.default_rng(n).standard_normal((7, n))
    network = networks.ImplicitNetwork("tanh", 0.2)
    G = kernels.ck(network, X)
    few = [0, n // 2, n - 1]
    # a kernel's entries depend on their two samples alone
    np.testing.assert_allclose(
        G[np.ix_(few, few)], kernels.ck(network, X[:, few]), rtol=1e-11, atol=1e-13
    )


def test_rotation_and_order_of_the_samples(mixed):
    network = networks.ImplicitNetwork("relu", 0.2)
    G = kernels.ck(network, mixed)
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.standard_normal((40, 40)))[0]
    np.testing.assert_allclose(kernels.ck(network, rotation @ mixed), G, atol=1e-11)
    order = rng.permutation(200)
    np.testing.assert_allclose(
        kernels.ck(network, mixed[:, order]), G[np.ix_(order, order)], atol=1e-13
    )


def test_threads_change_nothing(mixed, monkeypatch):
    network = networks.ImplicitNetwork("tanh", 0.2)
    results = []
    for threads in ("1", "2"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        results.append(kernels.ck_and_ntk(network, mixed))
    np.testing.assert_array_equal(results[0], results[1])


def test_uncentered_relu_is_homogeneous(mixed):
    network = networks.ImplicitNetwork("relu", 0.2)
    np.testing.assert_allclose(
        kernels.ck(network, 3 * mixed), 9 * kernels.ck(network, mixed), rtol=1e-11
    )


def test_a_zero_sample_has_the_kernel_of_its_constant():
    X = np.random.default_rng(0).standard_normal((5, 4))
    X[:, 2] = 0.0
    G = kernels.ck(networks.ImplicitNetwork("cos", 0.2), X)
    assert np.isfinite(G).all()
    assert np.linalg.eigvalsh(G)[0] > -1e-12
    G = kernels.ck(networks.ImplicitNetwork("tanh", 0.2), X)
    np.testing.assert_allclose(G[2], 0.0, atol=1e-12)


@pytest.mark.parametrize("kernel", ["ck", "ntk"])
@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_operator_multiplies_by_the_kernel(kernel, name, mixed, monkeypatch):
    monkeypatch.setattr(kernels, "OPERATOR_TILE", 64)
    network = networks.ImplicitNetwork(name, 0.2)
    dense = kernels.ck(network, mixed) if kernel == "ck" else kernels.ntk(network, mixed)
    operator = kernels.operator(network, mixed, kernel)
    vectors = np.random.default_rng(0).standard_normal((200, 3))
    np.testing.assert_allclose(operator @ vectors, dense @ vectors, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(
        operator.T @ vectors[:, 0], dense @ vectors[:, 0], rtol=1e-10, atol=1e-11
    )
    values, eigenvectors = operator.eigsh(3)
    expected = np.linalg.eigvalsh(dense)[::-1][:3]
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    np.testing.assert_allclose(dense @ eigenvectors, eigenvectors * values, atol=1e-3 * values[0])


def test_operator_says_when_passes_were_too_few():
    X = np.random.default_rng(0).standard_normal((300, 200)) / 17
    operator = kernels.operator(networks.ImplicitNetwork("relu", 0.2).centered(1.0), X)
    with pytest.raises(ConvergenceError, match="1 passes were too few"):
        operator.eigsh(3, passes=1)


X_GOOD = np.ones((3, 2))
NETWORK = networks.ImplicitNetwork("relu", 0.2)


@pytest.mark.parametrize(
    ("X", "error", "words"),
    [
        (np.array([[1.0, np.nan]]), ValueError, "X must be finite"),
        (np.array([[1.0, np.inf]]), ValueError, "X must be finite"),
        (np.array([[1j, 1.0]]), TypeError, "X must hold real numbers"),
        (np.array([["a", "b"]]), TypeError, "X must hold real numbers"),
        (np.ones(3), ValueError, r"X must be a \(p, n\) matrix"),
        (np.ones((0, 3)), ValueError, "p >= 1"),
        (np.ones((3, 0)), ValueError, "n >= 1"),
    ],
)
@pytest.mark.parametrize("function", [kernels.ck, kernels.ntk, kernels.operator])
def test_wrong_data(function, X, error, words):
    with pytest.raises(error, match=words):
        function(NETWORK, X)


@pytest.mark.parametrize(
    ("network", "trained", "error", "words"),
    [
        ("relu", "default", TypeError, "network must be"),
        (NETWORK, "first_frozen", ValueError, "trained must be"),
        (NETWORK, (1.0, 1.0), ValueError, "trained must be"),
        (networks.ExplicitNetwork(("relu",)), "some", ValueError, "trained must be"),
        (networks.ExplicitNetwork(("relu",)), (1.0, 1.0, 1.0), ValueError, "2 rates"),
        (networks.ExplicitNetwork(("relu",)), (1.0, -1.0), ValueError, "at least 0"),
        (networks.ExplicitNetwork(("sign",)), "default", ValueError, "sign jumps"),
    ],
)
def test_wrong_network_or_choice_of_weights(network, trained, error, words):
    with pytest.raises(error, match=words):
        kernels.ntk(network, X_GOOD, trained=trained)


def test_wrong_kernel_of_the_operator():
    with pytest.raises(ValueError, match='kernel must be "ck" or "ntk"'):
        kernels.operator(NETWORK, X_GOOD, "nngp")


def test_too_many_samples_are_refused_before_allocating(monkeypatch):
    monkeypatch.setattr(kernels.os, "sysconf", lambda name: 1024, raising=False)
    with pytest.raises(MemoryError, match=r"kernels\.operator"):
        kernels.ck(NETWORK, np.ones((1, 2000)))
