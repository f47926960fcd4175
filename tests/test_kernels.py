"""Exact kernels: put back into their own equations by independent quadrature, and symmetries."""

from __future__ import annotations

import functools
import re
import time
import tracemalloc
import types

import numpy as np
import oracles
import pytest
import threadpoolctl
import torch

from helpers import ConvergenceError, kernels, networks, tiles

CASES = [pytest.param(key, id=key[0]) for key in oracles.FUNCTIONS]
RECURRENT, INPUT = 0.3, 0.7
SMALL = {"polynomial": 0.15, "sin": 0.3}  # those whose slopes grow need a smaller sigma_a2


# closed forms, and polynomials, whose series ends
EXACT = oracles.CLOSED | {"polynomial", "hermite"}


@pytest.fixture(scope="module")
def mixed() -> np.ndarray:
    return mixed_data()


@functools.cache
def mixed_data() -> np.ndarray:
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


@functools.cache
def kernels_of(key) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """G, K and K_all of the mixed data, computed once for several tests."""
    network = network_of(key)
    G, K = kernels.ck_and_ntk(network, mixed_data())
    return G, K, kernels.ntk(network, mixed_data(), trained="all")


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
        (0, 0),
        (199, 199),
        *rng.integers(12, 200, (6, 2)).tolist(),
    ]


@pytest.mark.parametrize("key", CASES)
def test_implicit_kernels_solve_their_equations(key, mixed):
    """Lambda = sigma_a2 G + sigma_b2 X^T X, G = E phi phi, with expectations that are not the package's."""
    f, slope, kinks = oracles.FUNCTIONS[key]
    network = network_of(key)
    G, K, K_all = kernels_of(key)
    tolerance = 1e-12 if key[0] in EXACT else 1e-9
    gram = mixed.T @ mixed
    Lambda = network.sigma_a2 * G + network.sigma_b2 * gram
    for i, j in pairs_of(mixed):
        s, t = Lambda[i, i], Lambda[j, j]
        rho = np.clip(Lambda[i, j] / np.sqrt(s * t), -1, 1)
        value = oracles.pair(lambda x: f(x) - 0.1, s, t, rho, kinks)
        assert abs(G[i, j] - value) <= tolerance * np.sqrt(G[i, i] * G[j, j])
        slopes = oracles.pair(slope, s, t, rho, kinks)
        gain = network.sigma_a2 * slopes
        expected = value / (1 - gain)
        assert abs(K[i, j] - expected) <= tolerance * np.sqrt(K[i, i] * K[j, j])
        expected += network.sigma_b2 * gram[i, j] * slopes / (1 - gain)
        assert abs(K_all[i, j] - expected) <= tolerance * np.sqrt(K_all[i, i] * K_all[j, j])


@pytest.mark.parametrize("key", CASES)
def test_implicit_kernels_are_symmetric_and_positive(key):
    for kernel in kernels_of(key):
        np.testing.assert_array_equal(kernel, kernel.T)
        values = np.linalg.eigvalsh(kernel)
        assert values[0] >= -1e-11 * values[-1]


@pytest.mark.parametrize("key", CASES)
def test_the_whole_diagonal_is_exact(key, mixed):
    """Relative to each entry: the norms span a factor of 30, and small samples keep their digits."""
    f, slope, kinks = oracles.FUNCTIONS[key]
    G, K, _ = kernels_of(key)
    network = network_of(key)
    Lambda = network.sigma_a2 * G.diagonal() + network.sigma_b2 * (mixed**2).sum(axis=0)
    few = np.arange(0, 200, 11)
    value = np.array([oracles.mean(lambda x: (f(x) - 0.1) ** 2, s, kinks) for s in Lambda[few]])
    gain = np.array([oracles.mean(lambda x: slope(x) ** 2, s, kinks) for s in Lambda[few]])
    np.testing.assert_allclose(G.diagonal()[few], value, rtol=1e-12)
    expected = value / (1 - network.sigma_a2 * gain)
    np.testing.assert_allclose(K.diagonal()[few], expected, rtol=1e-12)


def test_the_mixed_data_hold_what_they_promise(mixed):
    norms = np.linalg.norm(mixed, axis=0)
    rho = np.abs(mixed.T @ mixed / np.outer(norms, norms))
    near = rho[np.triu_indices(200, 1)]
    assert norms.min() < 0.11
    assert norms.max() > 2.9
    assert ((near > 0.9999) & (near < 1 - 1e-9)).any()
    assert (near > 1 - 1e-15).sum() == 2


@pytest.mark.parametrize("key", CASES)
def test_twins_have_equal_rows(key):
    """Columns 8 and 9 are equal up to the rounding of their norms."""
    tolerance = 1e-12 if key[0] in EXACT else 1e-9
    for kernel in kernels_of(key):
        unit = np.sqrt(kernel[8, 8] * kernel.diagonal())
        assert (np.abs(kernel[8] - kernel[9]) <= tolerance * unit).all()


@pytest.fixture(scope="module")
def twins() -> np.ndarray:
    """60 samples, the same again, their opposites and their doubles."""
    X = np.random.default_rng(2).standard_normal((20, 60)) * np.geomspace(0.02, 0.7, 60)
    return np.hstack([X, X, -X, 2 * X])


@pytest.mark.parametrize(
    "layers", [("relu",), ("relu",) * 6, ("abs", "abs"), ("hard_tanh", "relu"), ("tanh", "relu")]
)
def test_twins_of_explicit_networks(layers, twins):
    """A layer's rounding must not reach the next one's slope, by the root of 1 - |rho|."""
    G, K = kernels.ck_and_ntk(networks.ExplicitNetwork(layers), twins)
    tolerance = 1e-12 if "tanh" not in layers else 1e-9
    few = np.arange(60)
    for kernel in (G, K):
        np.testing.assert_allclose(kernel[few, few + 60], kernel.diagonal()[:60], rtol=tolerance)
        np.testing.assert_allclose(kernel[:60], kernel[60:120], atol=tolerance * kernel.max())
        values = np.linalg.eigvalsh(kernel)
        assert values[0] >= -1e-13 * values[-1]


@pytest.mark.parametrize("sigma_a2", [0.0, 0.4])
def test_parallel_samples_of_relu_by_hand(sigma_a2, twins):
    """Homogeneous: the pair x, 2x has twice the diagonal of x, in every kernel."""
    network = networks.ImplicitNetwork("relu", sigma_a2)
    few = np.arange(60)
    for trained in ("default", "all"):
        for kernel in kernels.ck_and_ntk(network, twins, trained=trained):
            np.testing.assert_allclose(
                kernel[few, few + 180], 2 * kernel.diagonal()[:60], rtol=1e-12
            )


def test_readout_of_a_jump_is_its_conjugate_kernel(mixed):
    """Without recurrence the default trains the readout alone; with B the slope is infinite."""
    network = networks.ImplicitNetwork("sign", 0.0)
    G, K = kernels.ck_and_ntk(network, mixed)
    np.testing.assert_array_equal(K, G)
    np.testing.assert_allclose(G.diagonal(), 1.0, rtol=1e-13)
    with pytest.raises(ValueError, match="sign jumps"):
        kernels.ntk(network, mixed, trained="all")


@pytest.mark.parametrize("layers", [("sign",), ("relu", "step"), ("step", "relu")])
def test_readout_of_a_stack_with_jumps_is_its_conjugate_kernel(layers, mixed):
    """Nothing is trained below, so that no infinite slope is asked for, not even of equal samples."""
    twice = np.concatenate([mixed[:, :5], mixed[:, :5]], axis=1)
    stack = networks.ExplicitNetwork(layers)
    G, K = kernels.ck_and_ntk(stack, twice, (0.0,) * len(layers) + (2.0,))
    np.testing.assert_allclose(K, 2 * G, rtol=1e-14)


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


@pytest.mark.parametrize("n", [1, 2, tiles.WIDTH - 1, tiles.WIDTH, tiles.WIDTH + 1, 300])
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


NETWORKS = {
    "relu": networks.ImplicitNetwork("relu", 0.3).centered(1.0),
    "tanh": networks.ImplicitNetwork("tanh", 0.3),
    "erf": networks.ImplicitNetwork("erf", 0.3),
    "layers": networks.ExplicitNetwork(("relu", "tanh")),
}


@functools.cache
def generic() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((30, 150)) / np.sqrt(30)


@pytest.mark.parametrize("name", NETWORKS)
def test_single_precision_is_near(name):
    double = kernels.ck_and_ntk(NETWORKS[name], generic())
    single = kernels.ck_and_ntk(NETWORKS[name], generic(), dtype="float32")
    for exact, near in zip(double, single):
        assert near.dtype == np.float32
        np.testing.assert_array_equal(near, near.T)
        np.testing.assert_allclose(near, exact, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_tensor_in_gives_a_tensor_out(name, monkeypatch):
    monkeypatch.setattr(tiles, "TENSOR_WIDTH", 64)
    X = torch.tensor(generic(), requires_grad=True)
    for array, tensor in zip(
        kernels.ck_and_ntk(NETWORKS[name], generic()), kernels.ck_and_ntk(NETWORKS[name], X)
    ):
        assert tensor.device == X.device
        assert tensor.dtype == torch.float64
        np.testing.assert_allclose(tensor.numpy(), array, rtol=1e-12, atol=1e-14)
    single = kernels.ck(NETWORKS[name], X.float())
    assert single.dtype == torch.float32
    assert kernels.ck(NETWORKS[name], X.float(), dtype=torch.float64).dtype == torch.float64


@pytest.mark.parametrize("form", [np.asarray, torch.tensor])
def test_twins_in_both_forms_and_precisions(form, mixed):
    for dtype, tolerance in (("float64", 1e-12), ("float32", 3e-3)):
        G, theta = kernels.ck_and_ntk(NETWORKS["relu"], form(mixed), dtype=dtype)
        exact = kernels.ck_and_ntk(NETWORKS["relu"], mixed)
        np.testing.assert_allclose(np.asarray(G), exact[0], rtol=tolerance, atol=1e-4 * tolerance)
        np.testing.assert_allclose(np.asarray(theta), exact[1], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float16", "int64", 3, torch.float16])
def test_another_precision_is_refused(dtype):
    with pytest.raises(ValueError, match="dtype must be"):
        kernels.ck(NETWORK, X_GOOD, dtype=dtype)


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (torch.full((3, 2), torch.nan), "finite"),
        (torch.ones(3), r"\(p, n\)"),
        (torch.ones((0, 3)), "p >= 1"),
        (torch.ones((3, 2), dtype=torch.complex64), "real"),
    ],
)
def test_wrong_tensors(X, words):
    with pytest.raises((ValueError, TypeError), match=words):
        kernels.ck(NETWORK, X)


def test_an_interrupt_drops_what_has_not_begun():
    begun = []

    def work(task):
        begun.append(task)
        if task == 3:
            raise KeyboardInterrupt
        time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt):
        list(tiles.in_threads(work, range(500), "work", 2))
    assert len(begun) < 50


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_their_tasks(workers):
    def late(task):
        time.sleep(0.002 * (7 - task))
        return task**2

    found = list(tiles.in_threads(late, range(7), "work", workers))
    assert found == [task**2 for task in range(7)]


@pytest.mark.parametrize("asked", ["2,1", "three", "", "0"])
def test_odd_numbers_of_threads(asked, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert tiles.threads() >= 1


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


def test_operator_on_tensors_and_in_single_precision():
    dense = kernels.ck(NETWORKS["relu"], generic())
    vectors = np.random.default_rng(0).standard_normal((150, 2))
    tensor = kernels.operator(NETWORKS["relu"], torch.tensor(generic()))
    np.testing.assert_allclose(tensor @ vectors, dense @ vectors, rtol=1e-11, atol=1e-12)
    single = kernels.operator(NETWORKS["relu"], generic(), dtype="float32")
    np.testing.assert_allclose(single @ vectors, dense @ vectors, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["relu", "tanh", "elu"])
def test_residual_of_a_solution_and_of_others(name, mixed):
    network = networks.ImplicitNetwork(name, 0.3)
    G = kernels.ck(network, mixed)
    assert kernels.residual(network, mixed, G) < 1e-12
    # an error e of an entry is one of e (1 - sigma_a2 E[phi' phi']) of its equation, at least 0.7 e
    wrong = G.copy()
    wrong[3, 150] += 1e-6 * G.diagonal().max()
    assert 0.6e-6 < kernels.residual(network, mixed, wrong) < 1.1e-6
    assert kernels.residual(networks.ImplicitNetwork(name, 0.31), mixed, G) > 1e-3


def test_residual_refuses_what_is_no_kernel_of_these_data(mixed):
    network = networks.ImplicitNetwork("relu", 0.3)
    with pytest.raises(ValueError, match=r"G must have shape \(200, 200\)"):
        kernels.residual(network, mixed, np.eye(3))
    with pytest.raises(TypeError, match="ImplicitNetwork"):
        kernels.residual(networks.ExplicitNetwork(("relu",)), mixed, np.eye(200))


def test_a_readout_alone_of_a_jump():
    # c_0 = 0: no slope is taken of the one layer, whose tangent kernel would be infinite
    network = networks.ExplicitNetwork(("sign",))
    G, theta = kernels.ck_and_ntk(network, generic(), trained=(0.0, 1.0))
    np.testing.assert_array_equal(G, theta)


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
        (NETWORK, None, ValueError, "trained must be"),
        (networks.ExplicitNetwork(("relu",)), None, ValueError, "trained must be"),
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
    with pytest.raises(ValueError, match="trained must be"):
        kernels.operator(NETWORK, X_GOOD, "ntk", trained=None)
    with pytest.raises(ValueError, match='kernel must be "ck" or "ntk"'):
        kernels.operator(NETWORK, X_GOOD, "nngp")


def test_too_many_samples_are_refused_before_allocating(monkeypatch):
    free = tiles.psutil.virtual_memory()._replace(available=2**20)
    monkeypatch.setattr(tiles.psutil, "virtual_memory", lambda: free)
    tracemalloc.start()
    with pytest.raises(MemoryError, match=r"^1 kernel\(s\) of n = 2000 .*kernels\.operator"):
        kernels.ck(NETWORK, np.ones((1, 2000)))
    with pytest.raises(MemoryError, match=r"^2 kernel\(s\)"):
        kernels.ck_and_ntk(NETWORK, np.ones((1, 2000)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2000**2  # an eighth of one kernel


# ---------------------------------------------------------------- closed forms, entry by entry


def relu_pairs(covariance):
    """E[phi phi] and E[phi' phi'] of a ReLU for a whole covariance matrix (Cho and Saul 2009)."""
    root = np.sqrt(np.outer(covariance.diagonal(), covariance.diagonal()))
    rho = np.clip(covariance / root, -1, 1)
    turned = np.pi - np.arccos(rho)
    value = root * (np.sqrt((1 - rho) * (1 + rho)) + rho * turned) / (2 * np.pi)
    return value, turned / (2 * np.pi)


def spread(n=9, p=4):
    """Generic samples of norms 0.2 to 3, with no two near each other."""
    X = np.random.default_rng(11).standard_normal((p, n))
    return X * np.geomspace(0.2, 3.0, n) / np.linalg.norm(X, axis=0)


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_residual_of_any_matrix_by_hand(shift):
    """Of a G that solves nothing: max |E[phi phi] - G| over max diag G, phi = max(u, 0) - shift."""
    X = spread()
    rng = np.random.default_rng(3)
    root = rng.standard_normal((12, 9))
    G = root.T @ root / 5
    network = networks.ImplicitNetwork(networks.activations.get("relu").minus(shift), 0.4, 0.9)
    covariance = 0.4 * G + 0.9 * X.T @ X
    means = np.sqrt(covariance.diagonal() / (2 * np.pi))
    values = relu_pairs(covariance)[0] - shift * (means[:, None] + means) + shift**2
    expected = abs(values - G).max() / G.diagonal().max()
    assert kernels.residual(network, X, G) == pytest.approx(expected, rel=1e-12)
    assert kernels.residual(network, X, G.tolist()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("place", [(0, 8), (4, 4), (8, 0)])
def test_residual_looks_into_every_band(place, monkeypatch):
    def bands(n, width):
        assert 2**20 < n * width <= 2**21  # numbers in a band: 16 MB
        return tiles.bands(n, 2)

    monkeypatch.setattr(kernels, "bands", bands)
    network, X = networks.ImplicitNetwork("relu", 0.3), spread()
    G = kernels.ck(network, X)
    assert kernels.residual(network, X, G) < 1e-12
    G[place] += 0.01 * G.diagonal().max()
    assert 0.005 < kernels.residual(network, X, G) < 0.02


def test_residual_of_a_correlation_out_of_range_is_that_of_one():
    """What is no covariance, such as G_12 > sqrt(G_11 G_22), is held against twins and opposites."""
    network, X = networks.ImplicitNetwork("relu", 0.5, 0.5), np.array([[1.0, 0.0], [0.0, 1.0]])
    G = np.array([[1.0, 9.0], [9.0, 1.0]])
    assert kernels.residual(network, X, G) == pytest.approx(8.5, rel=1e-12)  # E[max(u, 0)^2] = 1/2
    assert kernels.residual(network, X, 2 * np.eye(2) - G) == pytest.approx(9.0, rel=1e-12)


@pytest.mark.parametrize("sigma_a2", [0.0, 0.6])
@pytest.mark.parametrize("trained", ["default", "all"])
def test_every_entry_of_relu_kernels_by_hand(sigma_a2, trained):
    """G solved by plain iteration; then K = (G + b sigma_b2 x.x E[phi' phi'])/(1 - sigma_a2 E[phi' phi'])."""
    X, sigma_b2 = spread(), 0.8
    gram = X.T @ X
    G = np.zeros_like(gram)
    for _ in range(80):
        G, slopes = relu_pairs(sigma_a2 * G + sigma_b2 * gram)
    K = (G + (trained == "all") * sigma_b2 * gram * slopes) / (1 - sigma_a2 * slopes)
    network = networks.ImplicitNetwork("relu", sigma_a2, sigma_b2)
    for found in (
        kernels.ck_and_ntk(network, X, trained),
        (kernels.ck(network, X), kernels.ntk(network, X, trained)),
        (
            kernels.operator(network, X) @ np.eye(9),
            kernels.operator(network, X, "ntk", trained) @ np.eye(9),
        ),
    ):
        np.testing.assert_allclose(found[0], G, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(found[1], K, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    "rates", [(1.0, 1.0, 1.0, 1.0), (0.0, 0.0, 2.0, 0.5), (0.3, 0.0, 0.0, 0.0)]
)
def test_every_entry_of_a_relu_stack_by_hand(rates):
    """Theta <- c_l Sigma_l + Theta E[phi' phi'], from c_0 X^T X (Jacot et al. 2018, a rate a layer)."""
    X = spread()
    covariance = X.T @ X
    tangent = rates[0] * covariance
    for rate in rates[1:]:
        covariance, slopes = relu_pairs(covariance)
        tangent = rate * covariance + tangent * slopes
    stack = networks.ExplicitNetwork(("relu",) * 3)
    for G, K in (
        kernels.ck_and_ntk(stack, X, rates),
        (
            kernels.operator(stack, X) @ np.eye(9),
            kernels.operator(stack, X, "ntk", rates) @ np.eye(9),
        ),
    ):
        np.testing.assert_allclose(G, covariance, rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(K, tangent, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_single_pair_of_either_sign(sign):
    """Of an odd function every gap of Newton's iteration then has one sign."""
    x, y = np.array([1.0, 0.2]), np.array([0.7, 0.9])
    network = networks.ImplicitNetwork("erf", 0.7, 1.5)
    G = kernels.ck(network, np.stack([x, sign * y], axis=1))

    def solved(start, source, variances):
        value = start
        for _ in range(200):
            value = oracles.erf_dual(*variances(value), 0.7 * value + source)
        return value

    s, t = (
        0.7 * solved(0.5, 1.5 * (z @ z), lambda v, z=z: (0.7 * v + 1.5 * (z @ z),) * 2)
        + 1.5 * (z @ z)
        for z in (x, y)
    )
    pair = solved(0.0, 1.5 * sign * (x @ y), lambda v: (s, t))
    assert G[0, 1] == G[1, 0] == pytest.approx(pair, rel=1e-12)
    np.testing.assert_allclose(
        0.7 * G.diagonal() + 1.5 * np.array([x @ x, y @ y]), [s, t], rtol=1e-12
    )


# ---------------------------------------------------------------- twins


@pytest.mark.parametrize(
    ("kind", "beside", "apart"), [(np.float64, 1e-13, 1e-12), (np.float32, 1e-6, 1e-5)]
)
def test_correlations_beside_one_are_rounded_to_it(kind, beside, apart):
    """As near as rounding leaves twins; what is farther away is left alone, and so is every other entry."""
    for form in (np.asarray, torch.tensor):
        rho = form(np.array([[0.3, 1 - beside], [beside - 1, -0.9]], kind))
        np.testing.assert_array_equal(kernels._rounded(rho), np.array([[0.3, 1], [-1, -0.9]], kind))
        for sign in (1, -1):
            rho = form(sign * np.array([[0.3, 1 - apart], [1 - apart, 0.0]], kind))
            assert kernels._rounded(rho) is rho
            rho = form(sign * np.array([[0.3, 1 - beside], [1 - apart, 1.0]], kind))
            rounded = kernels._rounded(rho)
            assert type(rounded) is type(rho) and rounded.dtype == rho.dtype
            np.testing.assert_array_equal(
                rounded, sign * np.array([[0.3, 1], [1 - apart, 1]], kind)
            )


# ---------------------------------------------------------------- the operator


def test_an_operator_is_square_real_and_its_own_adjoint():
    operator = kernels.operator(NETWORKS["relu"], spread(), dtype="float32")
    assert operator.shape == (9, 9) and operator.dtype == np.float64
    assert operator.H is operator
    vector = np.arange(9.0)
    assert operator.matvec(vector).shape == (9,)
    assert operator.matvec(vector[:, None]).shape == (9, 1)
    np.testing.assert_array_equal(operator.matvec(vector), operator.matvec(vector[:, None])[:, 0])


@pytest.mark.parametrize(("workers", "limit"), [(1, None), (2, 1)])
def test_workers_of_a_product_leave_blas_one_thread_each(workers, limit, monkeypatch):
    limits, calls = [], []

    def in_threads(work, tasks, what, workers):
        calls.append((len(tasks), what, workers))
        return tiles.in_threads(work, tasks, what, workers)

    def threadpool_limits(limits_asked, user_api):
        limits.append((limits_asked, user_api))
        return threadpoolctl.threadpool_limits(limits_asked, user_api)

    monkeypatch.setattr(kernels, "threads", lambda: workers)
    monkeypatch.setattr(kernels, "in_threads", in_threads)
    monkeypatch.setattr(kernels, "threadpool_limits", threadpool_limits)
    monkeypatch.setattr(kernels, "OPERATOR_TILE", 4)
    network, vectors = NETWORKS["relu"], np.eye(9)
    product = kernels.operator(network, spread()) @ vectors
    np.testing.assert_allclose(product, kernels.ck(network, spread()), rtol=1e-12)
    assert calls == [(6, "kernel product", workers)] and limits == [(limit, "blas")]
    kernels.operator(network, torch.tensor(spread())) @ vectors  # a device has threads of its own
    assert calls[1] == (6, "kernel product", 1) and limits[1] == (None, "blas")


def test_eigenpairs_take_the_passes_asked_for(monkeypatch):
    asked = []
    monkeypatch.setattr(kernels.eigen, "block_eigenpairs", lambda *given: asked.append(given))
    operator = kernels.operator(NETWORKS["relu"], spread())
    operator.eigsh(2)
    operator.eigsh(3, 5)
    assert asked == [(operator, 2, 8), (operator, 3, 5)]


# ---------------------------------------------------------------- memory, and messages word by word


@pytest.mark.parametrize(
    ("dtype", "count", "bytes_needed"),
    [(None, 1, 8 * 100**2), (None, 2, 16 * 100**2), ("float32", 1, 4 * 100**2)],
)
def test_memory_is_asked_for_as_much_as_is_needed(dtype, count, bytes_needed, monkeypatch):
    def compute(available):
        free = types.SimpleNamespace(available=available)
        with monkeypatch.context() as patch:
            patch.setattr(tiles.psutil, "virtual_memory", lambda: free)
            X = np.ones((1, 100))
            if count == 1:
                return kernels.ck(NETWORK, X, dtype)
            return kernels.ck_and_ntk(NETWORK, X, dtype=dtype)

    compute(bytes_needed)
    with pytest.raises(MemoryError, match=rf"^{count} kernel\(s\) of n = 100 samples need"):
        compute(bytes_needed - 1)


STACK = networks.ExplicitNetwork(("relu",))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: kernels.diagonal(STACK, [1.0]),
            TypeError,
            "network must be an ImplicitNetwork, got ExplicitNetwork",
        ),
        (
            lambda: kernels.residual(STACK, X_GOOD, np.eye(2)),
            TypeError,
            "network must be an ImplicitNetwork, got ExplicitNetwork",
        ),
        (
            lambda: kernels.residual(NETWORK, X_GOOD, np.eye(3)),
            ValueError,
            "G must have shape (2, 2), one row a sample; its shape is (3, 3)",
        ),
        (
            lambda: kernels.residual(NETWORK, X_GOOD, [["a", "b"]]),
            TypeError,
            "G must hold real numbers (integers or floats), not <U1",
        ),
        (
            lambda: kernels.residual(NETWORK, X_GOOD, -np.eye(2) * 1e9),
            ValueError,
            "the diagonal of G must hold at least one number, each 0 or positive",
        ),
        (
            lambda: kernels.operator(NETWORK, X_GOOD, "nngp"),
            ValueError,
            'kernel must be "ck" or "ntk", got \'nngp\'',
        ),
        (
            lambda: kernels.ntk(NETWORK, X_GOOD, None),
            ValueError,
            'trained must be a choice of weights such as "default", got None',
        ),
        (
            lambda: kernels.ck("relu", X_GOOD),
            TypeError,
            "network must be an ImplicitNetwork or an ExplicitNetwork, got 'relu'",
        ),
        (
            lambda: kernels.ntk(networks.ExplicitNetwork(("sign",)), X_GOOD),
            ValueError,
            "sign jumps: E[phi'^2] and so its tangent kernel's diagonal are infinite",
        ),
    ],
)
def test_a_message_names_the_argument_and_the_way_out(call, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()


@pytest.mark.parametrize("name", ["relu", "erf"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_root_just_out_of_range_is_that_of_twins(name, sign):
    """rho = source + gain E[phi phi] with a root 1e-11 beyond one, as rounding leaves it, beside roots within."""
    phi, s, gain = networks.activations.get(name), np.array([0.8, 1.3]), 0.25
    f, slope, kinks = oracles.FUNCTIONS[name,]
    mean = [oracles.mean(f, v, kinks) for v in s]

    def covariance(i, j, rho):
        return oracles.pair(f, s[i], s[j], rho, kinks) - mean[i] * mean[j]

    roots = np.array([[0.35, sign], [-0.6, 0.97]])
    wanted = np.array([[covariance(i, j, roots[i, j]) for j in (0, 1)] for i in (0, 1)])
    source = roots - gain * wanted
    source[0, 1] += sign * 1e-11
    prepared = phi.family.prepare(s)
    left, right = prepared[..., :, None], prepared[..., None, :]
    value, slopes = kernels._solve(phi, left, right, source, np.full((2, 2), gain))
    np.testing.assert_allclose(value, wanted, rtol=0, atol=1e-12)
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        expected = np.sqrt(s[i] * s[j]) * oracles.pair(slope, s[i], s[j], roots[i, j], kinks)
        assert slopes[i, j] == pytest.approx(expected, abs=1e-11)
    alone = kernels._solve(
        phi, left[..., :1, :], right[..., 1:], source[:1, 1:], np.full((1, 1), gain)
    )
    np.testing.assert_allclose(alone[0], wanted[:1, 1:], rtol=0, atol=1e-12)


def test_a_stalled_iteration_names_the_activation_and_keeps_its_residual(monkeypatch):
    """After one step from rho = 0 the gap is that of the source alone: here sigma_b2 x.y / s = 1/2."""
    monkeypatch.setattr(kernels, "STEPS", 1)
    s = 1.3
    left = right = networks.activations.get("erf").family.prepare(np.array([s]))
    source, gain = np.array([[0.5]]), np.array([[0.2 / s]])
    message = r"^Newton's iteration on the pairs of the erf network stalled \(residual 5\.00e-01\)$"
    for sign in (1.0, -1.0):
        with pytest.raises(ConvergenceError, match=message) as caught:
            kernels._solve(
                networks.activations.get("erf"),
                left[..., :, None],
                right[..., None, :],
                sign * source,
                gain,
            )
        assert caught.value.residual == 0.5
