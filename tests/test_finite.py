"""Networks of finite width: their fixed points, gradients and kernels, against theory and plain autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers import ConvergenceError, activations, finite, kernels, networks
from helpers.finite import Solver, empirical_ck, empirical_ntk, realize

METHODS = ["plain", "anderson", "broyden"]
P, N = 40, 16
EXPLICIT = ("relu", "tanh")
NAMES = ["tanh", "relu", "explicit"]


@pytest.fixture(scope="module")
def X() -> np.ndarray:
    """Two clusters of mean squared norm 1, so that kernels have large and small entries."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((P, N)) + np.repeat([[0.7, -0.7]], N // 2, axis=1).reshape(1, N)
    return X / np.sqrt((X**2).sum() / N)


@pytest.fixture(scope="module")
def small() -> np.ndarray:
    return np.random.default_rng(4).standard_normal((3, 4))


def implicit(name: str, sigma_a2: float = 0.3) -> networks.ImplicitNetwork:
    return networks.ImplicitNetwork(name, sigma_a2).centered(1.0)


def explicit() -> networks.ExplicitNetwork:
    return networks.ExplicitNetwork(EXPLICIT).centered(1.0)


def rms(A: np.ndarray, B: np.ndarray) -> float:
    return float(np.sqrt(((A - B) ** 2).mean()))


def mean_error(estimate, exact: np.ndarray, seeds=range(3)) -> float:
    """Root mean square over seeds of the error of ``estimate(seed)``."""
    return float(np.sqrt(np.mean([rms(estimate(seed), exact) ** 2 for seed in seeds])))


def noise(exact: np.ndarray, m: int) -> float:
    """Size of an entry's fluctuation at width m, up to a constant near 1."""
    return float(exact.diagonal().mean() / np.sqrt(m))


# --- widths -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [implicit("tanh"), implicit("relu"), explicit()], ids=NAMES)
def test_ck_error_falls_like_the_root_of_the_width(network, X):
    exact = kernels.ck(network, X)
    widths = [64, 128, 256, 512, 1024]
    errors = [
        mean_error(lambda seed, m=m: empirical_ck(realize(network, P, m, seed), X), exact)
        for m in widths
    ]
    slope = np.polyfit(np.log(widths), np.log(errors), 1)[0]
    assert -0.6 < slope < -0.4
    assert errors[-1] < 2 * noise(exact, 1024)


@pytest.mark.parametrize("name", ["relu", "tanh"])
@pytest.mark.parametrize("trained, other", [("default", "all"), ("all", "default")])
def test_ntk_converges_for_both_conventions(name, trained, other, X):
    network = implicit(name)
    exact, not_this = (kernels.ntk(network, X, trained=t) for t in (trained, other))
    errors = [
        mean_error(lambda seed, m=m: empirical_ntk(realize(network, P, m, seed), X, trained), exact)
        for m in (256, 1024)
    ]
    assert 1.5 < errors[0] / errors[1] < 2.7
    assert errors[1] < 2 * noise(exact, 1024)
    assert 4 * errors[1] < rms(exact, not_this)  # the conventions are told apart


@pytest.mark.parametrize(
    "groups, trained",
    [
        ("default", "all"),
        ("first_frozen", "first_frozen"),
        (0, (1.0, 0.0, 0.0)),
        ((1,), (0.0, 1.0, 0.0)),
        ([2], (0.0, 0.0, 1.0)),
    ],
)
def test_explicit_ntk_converges_layer_by_layer(groups, trained, X):
    network = explicit()
    exact = kernels.ntk(network, X, trained=trained)
    errors = [
        mean_error(lambda seed, m=m: empirical_ntk(realize(network, P, m, seed), X, groups), exact)
        for m in (128, 512, 2048)
    ]
    assert 2.6 < errors[0] / errors[2] < 6.0
    assert errors[2] < 2 * noise(exact, 2048)


def test_widths_may_differ_by_layer(X):
    module = realize(explicit(), P, (700, 300), seed=0)
    assert module.features(X).shape == (300, N)
    assert [tuple(W.shape) for W in module.W] == [(700, P), (300, 700)]


@pytest.mark.parametrize("network", [implicit("tanh"), explicit()], ids=["implicit", "explicit"])
@pytest.mark.parametrize("weights", ["rademacher", "student"])
def test_the_limit_does_not_depend_on_the_law_of_the_weights(network, weights, X):
    G, K = kernels.ck_and_ntk(network, X)

    def modules(seed: int):
        return realize(network, P, 1024, seed, weights=weights)

    assert mean_error(lambda seed: empirical_ck(modules(seed), X), G) < 2 * noise(G, 1024)
    assert mean_error(lambda seed: empirical_ntk(modules(seed), X), K) < 2 * noise(K, 1024)


def test_bias_adds_its_variance_to_the_covariance_of_the_preactivations(X):
    """A bias of variance 0.25 is one more coordinate, of value 0.5/sigma_b, of every sample."""
    network, bias = implicit("tanh"), 0.5
    row = np.full((1, N), bias / np.sqrt(network.sigma_b2))
    G, K = kernels.ck_and_ntk(network, np.concatenate([X, row]), trained="all")

    def module(seed: int):
        return realize(network, P, 1024, seed, bias=bias)

    without = rms(kernels.ck(network, X), G)
    assert mean_error(lambda seed: empirical_ck(module(seed), X), G) < 0.2 * without
    assert mean_error(lambda seed: empirical_ntk(module(seed), X, "all"), K) < 2 * noise(K, 1024)


def test_bias_enters_every_layer_of_an_explicit_network(X):
    network, bias = explicit(), 0.5
    covariance = X.T @ X
    for layer in network.layers:
        covariance = covariance + bias**2
        s = covariance.diagonal()
        covariance = layer.dual(s[:, None], s[None, :], covariance)
    error = mean_error(
        lambda seed: empirical_ck(realize(network, P, 1024, seed, bias=bias), X), covariance
    )
    assert error < 0.2 * rms(kernels.ck(network, X), covariance)


# --- weights ----------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_weights(small):
    network = implicit("tanh")
    first, again, other = (realize(network, 3, 9, seed) for seed in (5, 5, 6))
    assert torch.equal(first(small), again(small))
    assert not torch.equal(first.A, other.A)
    with_bias, single = (
        realize(network, 3, 9, 5, bias=1.0),
        realize(network, 3, 9, 5, dtype=torch.float32),
    )
    assert torch.equal(first.A, with_bias.A) and torch.equal(first.r, with_bias.r)
    assert torch.equal(first.A.float(), single.A) and single(small).dtype == torch.float32


@pytest.mark.parametrize(
    "weights, fourth", [("gaussian", (2.8, 3.2)), ("rademacher", (1, 1)), ("student", (4.5, 12.0))]
)
def test_weights_have_unit_variance_and_their_law(weights, fourth):
    module = realize(implicit("tanh"), 3, 1000, 0, weights=weights)
    A = module.A.detach().numpy()
    assert abs(A.mean()) < 0.004 and A.var() == pytest.approx(1.0, abs=0.01)
    assert fourth[0] <= (A**4).mean() <= fourth[1]
    assert np.unique(module.B.detach().abs()).size == (1 if weights == "rademacher" else 3000)


# --- fixed points -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_features_are_equilibria(method, X):
    network = implicit("tanh", 0.6)
    module = realize(network, P, 50, 0, bias=0.4, solver=Solver(method, tolerance=1e-13))
    h, A, B, b = (v.detach().numpy() for v in (module.features(X), module.A, module.B, module.b))
    u = np.sqrt(0.6) * A @ h + np.sqrt(0.4) * B @ X + 0.4 * b[:, None]
    np.testing.assert_allclose(h, network.activation(u) / np.sqrt(50), atol=1e-12)
    r = module.r.detach().numpy()
    np.testing.assert_allclose(module(X).detach(), r @ h, atol=1e-12)


def linear_problem(m: int = 6, gain: float = 1.5):
    """h = M h + c, of eigenvalues up to ``gain``, and its solution."""
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.standard_normal((m, m)))[0]
    M = Q @ np.diag(np.linspace(-gain, gain, m)) @ Q.T
    c = rng.standard_normal((m, 5))
    solution = np.linalg.solve(np.eye(m) - M, c)
    M, c = torch.tensor(M), torch.tensor(c)
    return (lambda h, samples: M @ h + c[:, samples]), torch.zeros_like(c), solution


@pytest.mark.parametrize("method, most", [("anderson", 6 + 2), ("broyden", 2 * 6 + 1)])
def test_accelerated_methods_solve_linear_problems_in_finitely_many_steps(method, most):
    """Anderson with full memory is GMRES (Walker and Ni 2011); Broyden ends in 2m steps (Gay 1979)."""
    step, start, exact = linear_problem()
    solution = finite.solve(step, start, method, tolerance=1e-8, memory=50, regularization=0.0)
    assert solution.iterations.max() <= most
    np.testing.assert_allclose(solution.state, exact, rtol=1e-6, atol=1e-6)
    with pytest.raises(ConvergenceError):  # its eigenvalues reach 1.5
        finite.solve(step, start, "plain")


@pytest.mark.parametrize(
    "method, memory",
    [("plain", 1), ("anderson", 2), ("anderson", 7), ("broyden", 3), ("broyden", 7)],
)
def test_short_memories_solve_contractions(method, memory):
    step, start, exact = linear_problem(12, gain=0.9)
    solution = finite.solve(step, start, method, tolerance=1e-12, memory=memory)
    np.testing.assert_allclose(solution.state, exact, rtol=1e-9, atol=1e-9)
    gap = (step(solution.state, torch.arange(5)) - solution.state).norm(dim=0)
    assert (solution.residual <= 1e-12).all()
    assert (
        gap
        <= 1.01e-12
        * torch.maximum(solution.state.norm(dim=0), step(start, torch.arange(5)).norm(dim=0))
    ).all()


def test_broyden_that_restarts_too_often_says_that_it_cycles():
    """Without a line search a contraction is no guarantee: with two updates this one goes round."""
    step, start, _ = linear_problem(12, gain=0.9)
    with pytest.raises(ConvergenceError, match="5 of 5 samples") as error:
        finite.solve(step, start, "broyden", tolerance=1e-12, memory=2)
    assert error.value.residual > 1e-3


def test_every_sample_stops_by_itself():
    """h = g h + 1 has the gap g^(k-1) after k steps: each column's count is known in advance."""
    gains = torch.tensor([[0.0, 0.5, 0.9, 0.1]], dtype=torch.float64)
    asked = []

    def step(h, samples):
        asked.append(samples.tolist())
        return gains[:, samples] * h + 1

    solution = finite.solve(step, torch.zeros(1, 4, dtype=torch.float64), tolerance=1e-6)
    for gain, count in zip(gains[0].tolist(), solution.iterations.tolist()):
        gaps = [gain ** (k - 1) * (1 - gain) / (1 - gain**k) for k in range(1, 200)]
        assert count == 1 + next(k for k, gap in enumerate(gaps) if gap <= 1e-6)
    assert [sum(i in call for call in asked) for i in range(4)] == solution.iterations.tolist()
    assert asked[-1] == [2]


@pytest.mark.parametrize("method", METHODS)
def test_a_sample_does_not_feel_its_batch(method, X):
    module = realize(implicit("tanh", 0.9), P, 60, 0, solver=Solver(method))
    batch, alone = module.solution(X), module.solution(X[:, :1])
    assert alone.state.shape == (60, 1) and module(X[:, :1]).shape == (1,)
    torch.testing.assert_close(alone.state, batch.state[:, :1], rtol=0, atol=1e-9)
    assert (
        abs(int(alone.iterations[0] - batch.iterations[0])) <= 1
    )  # sums of other shapes round otherwise


def steps(sigma_a2: float, X: np.ndarray, method: str, **settings: float) -> torch.Tensor:
    network = networks.ImplicitNetwork("tanh", sigma_a2, 0.8)
    module = realize(network, P, 200, 0, solver=Solver(method, tolerance=1e-9, **settings))
    return module.solution(X).iterations.double()


@pytest.mark.parametrize("method", ["anderson", "broyden"])
def test_acceleration_changes_the_count_of_steps(method, X):
    """It pays near the threshold; far below it there is nothing to gain."""
    plain, fast = steps(1.5, X, "plain"), steps(1.5, X, method)
    assert fast.mean() < 0.7 * plain.mean()
    assert (steps(0.1, X, "plain") - steps(0.1, X, method)).abs().max() <= 3


def test_anderson_turned_off_is_plain_iteration(X):
    off = steps(1.5, X, "anderson", regularization=1e14)
    assert torch.equal(off, steps(1.5, X, "plain"))
    assert not torch.equal(steps(1.5, X, "anderson"), off)


@pytest.mark.parametrize("name, sigma_a2", [("relu", 2.6), ("tanh", 4.0)])
def test_beyond_the_threshold_is_an_error_with_its_residual(name, sigma_a2, X):
    module = realize(networks.ImplicitNetwork(name, sigma_a2, 1.0), P, 200, 0)
    with pytest.raises(ConvergenceError, match="threshold") as error:
        module(X)
    assert error.value.residual > 1e-3


def test_a_step_that_blows_up_is_an_error():
    with pytest.raises(ConvergenceError, match="2 of 2 samples"):
        finite.solve(lambda h, samples: torch.exp(h) * 10, torch.zeros(3, 2))


def test_zero_is_a_fixed_point_like_any_other():
    """Samples whose state is or becomes zero have no size to be relative to."""
    module = realize(networks.ImplicitNetwork("tanh", 0.3), 3, 8, 0)
    assert not module.solution(np.zeros((3, 2))).state.any()
    shrink = finite.solve(lambda h, samples: h / 2, torch.ones(4, 2))
    assert shrink.state.abs().max() < 1e-4


# --- gradients --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name, bias", [("tanh", 0.0), ("tanh", 0.3), ("gelu", 0.3)])
def test_gradients_pass_gradcheck(method, name, bias, small):
    solver = Solver(method, tolerance=1e-13)
    module = realize(implicit(name, 0.5), 3, 5, 1, bias=bias, solver=solver)
    names, values = zip(*module.named_parameters())
    assert set(names) == {"A", "B", "r"} | ({"b"} if bias else set())

    def output(X, *parameters):
        return torch.func.functional_call(module, dict(zip(names, parameters)), (X,))

    data = torch.tensor(small, requires_grad=True)
    assert torch.autograd.gradcheck(output, (data, *values))


def unrolled(module, X: torch.Tensor, count: int = 300) -> torch.Tensor:
    """Outputs by as many plain steps, which autograd differentiates one by one."""
    phi = finite.torch_function(module.network.activation)
    h = torch.zeros(module.m, X.shape[1], dtype=torch.float64)
    source = module.network.sigma_b2**0.5 * module.B @ X + module.bias * module.b[:, None]
    for _ in range(count):
        h = phi(module.network.sigma_a2**0.5 * module.A @ h + source) / module.m**0.5
    return module.r @ h


def saved(run) -> int:
    """Numbers that autograd keeps for the backward pass of ``run``."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.append(t.numel()) or t, lambda t: t
    ):
        run()
    return sum(kept)


def test_memory_does_not_grow_with_the_steps(X):
    network, sizes, counts = implicit("tanh", 0.9), [], []
    for tolerance in (1e-1, 1e-12):
        module = realize(network, P, 60, 0, bias=0.1, solver=Solver("plain", tolerance))
        sizes.append(saved(lambda: module(X)))  # noqa: B023
        counts.append(int(module.solution(X).iterations.max()))
    assert counts[1] > 5 * counts[0] and sizes[0] == sizes[1] > 0
    data = torch.tensor(X)
    assert saved(lambda: unrolled(module, data, 50)) > 5 * sizes[1]


def test_gradients_are_taken_once_and_say_so(small):
    module = realize(implicit("tanh"), 3, 5, 0)
    first = torch.autograd.grad(module(small).sum(), module.A, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


# --- tangent kernels --------------------------------------------------------------------------------


def jacobian_kernel(outputs: torch.Tensor, parameters) -> np.ndarray:
    rows = []
    for output in outputs:
        gradients = torch.autograd.grad(output, parameters, retain_graph=True)
        rows.append(torch.cat([g.ravel() for g in gradients]))
    J = torch.stack(rows)
    return (J @ J.T).numpy()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "groups, names",
    [
        ("readout", "r"),
        ("recurrent", "A"),
        ("input", "B"),
        ("bias", "b"),
        ("default", "rA"),
        (["input", "readout"], "rB"),
        ("all", "rABb"),
    ],
)
def test_implicit_ntk_is_that_of_the_unrolled_network(method, groups, names, small):
    solver = Solver(method, tolerance=1e-13)
    module = realize(implicit("tanh", 0.5), 3, 7, 1, bias=0.3, solver=solver)
    parameters = [getattr(module, name) for name in names]
    exact = jacobian_kernel(unrolled(module, torch.tensor(small)), parameters)
    np.testing.assert_allclose(empirical_ntk(module, small, groups), exact, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("groups", [0, 1, 2, "bias", "default", "all", "first_frozen", (0, 2)])
def test_explicit_ntk_is_that_of_the_jacobian(groups, small):
    module = realize(explicit(), 3, (6, 7), 1, bias=0.3)
    parts = {0: [module.W[0]], 1: [module.W[1]], 2: [module.r], "bias": list(module.b)}
    named = {"default": (0, 1, 2), "all": (0, 1, 2, "bias"), "first_frozen": (1, 2)}
    members = groups if isinstance(groups, tuple) else named.get(groups, (groups,))
    exact = jacobian_kernel(module(small), [part for g in members for part in parts[g]])
    np.testing.assert_allclose(empirical_ntk(module, small, groups), exact, rtol=1e-12, atol=1e-12)


def test_explicit_features_are_the_layers(small):
    module = realize(explicit(), 3, (6, 7), 1)
    x = small
    for layer, W in zip(module.network.layers, module.W):
        x = layer(W.detach().numpy() @ x) / np.sqrt(len(W))
    np.testing.assert_allclose(module.features(small).detach(), x, atol=1e-14)


def test_tensors_in_give_tensors_out(small):
    module = realize(implicit("tanh"), 3, 8, 0)
    data = torch.tensor(small, dtype=torch.float32)
    for kernel in (empirical_ck, empirical_ntk):
        out = kernel(module, data)
        assert isinstance(out, torch.Tensor) and not out.requires_grad
        np.testing.assert_allclose(out, kernel(module, small), rtol=1e-5, atol=1e-6)
        assert isinstance(kernel(module, small), np.ndarray)


# --- activations ------------------------------------------------------------------------------------

NAMED = [(name, {}) for name in activations.names()] + [
    ("leaky_relu", {"a": -0.7, "b": 1.3}),
    ("hard_tanh", {"a": 1.7, "c": 0.6}),
    ("polynomial", {"coefficients": [0.3, -1.0, 0.2, 0.5, 0.0, 0.01]}),
    ("hermite", {"coefficients": [0.3, 1.0, 0.2, 0.0, 0.1]}),
]


@pytest.mark.parametrize("name, parameters", NAMED, ids=str)
def test_torch_functions_are_the_activations(name, parameters):
    phi = activations.get(name, **parameters).minus(0.2)
    x = np.linspace(-7.03, 7.01, 101)
    u = torch.tensor(x, requires_grad=True)
    value = finite.torch_function(phi)(u)
    np.testing.assert_allclose(value.detach(), phi(x), rtol=1e-10, atol=1e-10)
    slope = torch.autograd.grad(value.sum(), u)[0]
    np.testing.assert_allclose(slope, phi.derivative(x), rtol=1e-9, atol=1e-9)


def test_a_users_callable_works_where_torch_can_follow(small):
    def rational(x):
        return x / (1 + x**2)

    network = networks.ImplicitNetwork(activations.get(rational), 0.3)
    h = realize(network, 3, 5, 0).features(small)
    assert h.shape == (5, 4) and h.abs().max() <= 0.5 / np.sqrt(5) + 1e-12


def test_a_users_callable_that_torch_cannot_follow_is_named():
    def arctangent(x):
        return np.arctan(x) * np.ones_like(x)

    network = networks.ImplicitNetwork(activations.get(arctangent), 0.3)
    with pytest.raises(ValueError, match="arctangent has no counterpart in torch"):
        realize(network, 3, 5, 0)


def test_a_name_alone_does_not_make_a_function():
    def tanh(x):
        return 2 * x / (2 + abs(x))

    phi = activations.get(tanh)
    value = finite.torch_function(phi)(torch.tensor([2.0], dtype=torch.float64))
    assert float(value[0]) == pytest.approx(1.0)


def test_activations_that_jump_have_features_but_no_tangent_kernel(X):
    network = networks.ExplicitNetwork(("sign",))
    module = realize(network, P, 4000, 0)
    assert rms(empirical_ck(module, X), kernels.ck(network, X)) < 0.03
    with pytest.raises(ValueError, match="sign jumps"):
        empirical_ntk(module, X)


# --- wrong input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"weights": "cauchy"}, ValueError, "weights must be one of gaussian"),
        ({"m": 0}, ValueError, "m must be at least 1"),
        ({"m": 2.5}, TypeError, "m must be an integer"),
        ({"m": (4, 5)}, TypeError, "m must be an integer"),
        ({"p": 0}, ValueError, "p must be at least 1"),
        ({"seed": -1}, ValueError, "seed"),
        ({"bias": -0.1}, ValueError, "bias must be 0 or positive"),
        ({"bias": float("nan")}, ValueError, "bias must be finite"),
        ({"dtype": torch.int64}, ValueError, "dtype"),
        ({"solver": "plain"}, TypeError, "solver must be a Solver"),
        ({"network": "relu"}, TypeError, "network must be"),
        ({"network": explicit(), "m": (4,)}, ValueError, "m must be one width or 2"),
        ({"network": explicit(), "solver": Solver()}, ValueError, "solver is for implicit"),
    ],
)
def test_realize_refuses(change, error, message):
    arguments = {"network": implicit("tanh"), "p": 3, "m": 5, "seed": 0} | change
    with pytest.raises(error, match=message):
        realize(**arguments)


@pytest.mark.parametrize(
    "settings, error",
    [
        ({"method": "newton"}, ValueError),
        ({"tolerance": 0.0}, ValueError),
        ({"tolerance": -1.0}, ValueError),
        ({"max_steps": 0}, ValueError),
        ({"max_steps": 1.5}, TypeError),
        ({"memory": 0}, ValueError),
        ({"regularization": -1.0}, ValueError),
    ],
)
def test_solvers_refuse(settings, error):
    with pytest.raises(error, match=next(iter(settings))):
        Solver(**settings)


@pytest.mark.parametrize("network", [implicit("tanh"), explicit()], ids=["implicit", "explicit"])
@pytest.mark.parametrize(
    "data, error, message",
    [
        (np.full((3, 2), np.nan), ValueError, "X must be finite"),
        (torch.full((3, 2), torch.inf), ValueError, "X must be finite"),
        (np.zeros((4, 2)), ValueError, r"X must be \(3, n\)"),
        (np.zeros(3), ValueError, "X must be a"),
        (np.zeros((3, 0)), ValueError, "n >= 1"),
        (np.zeros((3, 2), dtype=complex), TypeError, "X must hold real"),
    ],
)
def test_modules_refuse_data(network, data, error, message):
    module = realize(network, 3, 5, 0)
    for call in (module, lambda X: empirical_ck(module, X), lambda X: empirical_ntk(module, X)):
        with pytest.raises(error, match=message):
            call(data)


@pytest.mark.parametrize(
    "network, groups",
    [
        (implicit("tanh"), "output"),
        (implicit("tanh"), ("readout", "readout")),
        (implicit("tanh"), ()),
        (implicit("tanh"), "bias"),  # it has none
        (implicit("tanh"), 0),
        (explicit(), 3),
        (explicit(), "recurrent"),
        (explicit(), (True,)),
    ],
)
def test_unknown_groups_are_refused(network, groups, small):
    with pytest.raises(ValueError, match="groups must"):
        empirical_ntk(realize(network, 3, 5, 0), small, groups)


def test_other_modules_are_refused(small):
    with pytest.raises(TypeError, match=r"finite\.realize"):
        empirical_ck(torch.nn.Linear(3, 1), small)


@torch.no_grad()
def test_a_network_may_be_realized_where_no_gradients_are_kept():
    module = finite.realize(networks.ImplicitNetwork("relu", 0.2), p=3, m=8, seed=0)
    assert module.features(np.eye(3)).shape == (8, 3)


def test_an_overflown_state_is_not_settled():
    # a finite gap over an infinite norm would be a residual of zero
    with pytest.raises(ConvergenceError):
        finite.solve(lambda h, samples: 1.2 * h + 1, torch.ones(3, 2))


def detached(x):
    """arctan; of a tensor it answers without its gradient."""
    return torch.arctan(x.detach()) if isinstance(x, torch.Tensor) else np.arctan(x)


def shortened(x):
    return torch.arctan(x)[1:] if isinstance(x, torch.Tensor) else np.arctan(x)


def halved(x):
    return torch.arctan(x) / 2 if isinstance(x, torch.Tensor) else np.arctan(x)


@pytest.mark.parametrize("function", [detached, shortened, halved])
def test_a_callable_that_answers_tensors_otherwise_is_refused(function):
    phi, name = activations.get(function), function.__name__
    with pytest.raises(ValueError, match=f"^{name} has no counterpart in torch: write it with"):
        realize(networks.ExplicitNetwork((phi,)), 3, 4, 0)


@pytest.mark.parametrize("network", ["ImplicitNetwork", "ExplicitNetwork"])
def test_every_kind_of_module_has_what_the_two_share(network, X):
    """The base asks its kinds for states, gradients and groups, and has none of its own."""
    base = finite._FiniteNetwork()
    for call in (lambda: base.features(X), lambda: base.tangents(X), lambda: base.chosen("all")):
        with pytest.raises(NotImplementedError):
            call()
    made = getattr(networks, network)
    module = realize(made("tanh", 0.2) if network[0] == "I" else made(("tanh",)), len(X), 4, 0)
    assert isinstance(module, finite._FiniteNetwork)
    assert module.features(X).shape == (4, X.shape[1])
    assert module.tangents(X).keys() == set(module.chosen("all"))
