"""The refined equivalent against exact pairs by quadrature, plain loops, exact kernels, and with a part taken out."""

import dataclasses
import warnings

import numpy as np
import oracles
import pytest
from scipy import optimize

from helpers import activations, equivalents, kernels, mixtures, refined, spectra
from helpers.mixtures import GaussianMixture
from helpers.networks import ExplicitNetwork, ImplicitNetwork

KINDS = [("ck", "default"), ("ntk", "default"), ("ntk", "all")]
CASES = {case.name: case for case in oracles.CASES}


# ---------------------------------------------------------------- one pair, by quadrature


def shifted(activation):
    case = CASES[activation.name]
    return (lambda x: case.f(x) - activation.shift), case.df, case.kinks


def own_variance(network, norm):
    f, _, kinks = shifted(network.activation)

    def gap(s):
        square = oracles.pair(f, s, s, 1.0, kinks)
        return network.sigma_a2 * square + network.sigma_b2 * norm - s

    return optimize.brentq(gap, 1e-6, 50.0, xtol=1e-15, rtol=1e-15)


def deq_entry(network, norms, q, kernel, trained):
    """Entry of an exact kernel for two samples, from the definition of the DEQ's kernels."""
    f, df, kinks = shifted(network.activation)
    a2, b2 = network.sigma_a2, network.sigma_b2
    s, t = (own_variance(network, norm) for norm in norms)
    root = np.sqrt(s * t)

    def dual(g, c):
        return oracles.pair(g, s, t, c / root, kinks)

    c = optimize.brentq(lambda c: a2 * dual(f, c) + b2 * q - c, -root, root, xtol=1e-16)
    if kernel == "ck":
        return dual(f, c)
    slope = dual(df, c)
    return (dual(f, c) + (trained == "all") * b2 * q * slope) / (1 - a2 * slope)


def stack_entry(network, norms, q, kernel, rates):
    """The same for a stack of layers."""
    (s, t), c, theta = norms, q, rates[0] * q
    for layer, rate in zip(network.layers, rates[1:]):
        f, df, kinks = shifted(layer)
        rho = c / np.sqrt(s * t)
        theta = rate * oracles.pair(f, s, t, rho, kinks) + theta * oracles.pair(
            df, s, t, rho, kinks
        )
        c = oracles.pair(f, s, t, rho, kinks)
        s, t = (oracles.pair(f, v, v, 1.0, kinks) for v in (s, t))
    return c if kernel == "ck" else theta


def expansion(found, q):
    """The refined form of the entry of samples 0 and 1."""
    return (
        found.gain[0] * found.gain[1] * q
        + found.offset[0] @ found.offset[1]
        + found.square[0] @ found.square[1] * q**2
    )


def order_of_error(network, entry, kernel, trained, change=lambda found: found):
    """Exponent of the error in the size of the inner product and of the norms' deviations."""
    errors = []
    for size in (0.04, 0.02):
        norms, q = network.tau0**2 * (1 + size * np.array([1.0, -0.6])), 0.7 * size
        found = change(refined.profile(network, norms, kernel, trained))
        errors.append(abs(entry(network, norms, q, kernel, trained) - expansion(found, q)))
    return np.log2(errors[0] / errors[1])


@pytest.mark.parametrize("name", ["relu", "swish", "elu", "tanh", "abs"])
@pytest.mark.parametrize(("kernel", "trained"), KINDS)
def test_entries_of_a_deq_are_right_to_third_order(name, kernel, trained):
    network = ImplicitNetwork(name, 0.4, 0.7).centered(1.2)
    assert order_of_error(network, deq_entry, kernel, trained) > 2.8


@pytest.mark.parametrize("layers", [("swish",), ("relu", "elu"), ("elu", "tanh", "swish")])
@pytest.mark.parametrize("kernel", ["ck", "ntk"])
def test_entries_of_a_stack_are_right_to_third_order(layers, kernel):
    network = ExplicitNetwork(layers).centered(1.2)
    rates = (0.6, 1.0, 0.0, 2.0)[: len(layers)] + (1.4,)
    assert order_of_error(network, stack_entry, kernel, rates) > 2.8


@pytest.mark.parametrize("part", ["offset", "square"])
@pytest.mark.parametrize(("kernel", "trained"), KINDS)
def test_without_a_part_entries_are_right_to_second_order_only(part, kernel, trained):
    network = ImplicitNetwork("elu", 0.4, 0.7).centered(1.2)

    def without(found):
        return dataclasses.replace(found, **{part: 0.9 * getattr(found, part)})

    assert order_of_error(network, deq_entry, kernel, trained, without) < 2.4


@pytest.mark.parametrize(("kernel", "trained"), KINDS)
@pytest.mark.parametrize("norm", [0.4, 1.0, 2.5])
def test_gain_is_the_derivative_at_the_samples_own_norm(norm, kernel, trained):
    """Twice the same norm, however far from tau0: nothing is expanded in it."""
    network = ImplicitNetwork("tanh", 0.6, 0.8).centered(1.0)
    found = refined.profile(network, [norm, norm], kernel, trained)
    h = 1e-3
    up, down = (deq_entry(network, [norm] * 2, q, kernel, trained) for q in (h, -h))
    assert found.gain[0] ** 2 == pytest.approx((up - down) / (2 * h), rel=2e-6)
    assert np.abs(found.offset).max() < 1e-14 and np.abs(found.square).max() < 1e-14


@pytest.mark.parametrize("name", ["swish", "elu", "softplus"])
@pytest.mark.parametrize(("kernel", "trained"), KINDS)
@pytest.mark.parametrize("tau0", [0.6, 1.5])
def test_square_is_half_the_second_derivative(name, kernel, trained, tau0):
    """At the norm at which the network is centered, where the offset vanishes."""
    network = ImplicitNetwork(name, 0.5).centered(tau0)
    found = refined.profile(network, [tau0**2] * 2, kernel, trained)
    h = 0.01 * tau0**2
    up, middle, down = (deq_entry(network, [tau0**2] * 2, q, kernel, trained) for q in (h, 0.0, -h))
    assert middle == pytest.approx(0.0, abs=1e-12)
    assert found.square[0, 0] ** 2 == pytest.approx((up + down) / (2 * h**2), rel=2e-3)
    assert found.gain[0] ** 2 == pytest.approx((up - down) / (2 * h), rel=2e-3)


@pytest.mark.parametrize(("kernel", "trained"), KINDS)
def test_diagonal_is_the_entry_of_a_sample_with_itself(kernel, trained):
    network = ImplicitNetwork("swish", 0.5).centered(1.0)
    found = refined.profile(network, [0.7, 1.0, 1.6], kernel, trained)
    for i, norm in enumerate([0.7, 1.0, 1.6]):
        s = own_variance(network, norm)
        f, df, kinks = shifted(network.activation)
        square, slope = (oracles.pair(g, s, s, 1.0, kinks) for g in (f, df))
        theta = (square + (trained == "all") * 0.5 * norm * slope) / (1 - 0.5 * slope)
        assert found.diagonal[i] == pytest.approx(square if kernel == "ck" else theta, rel=1e-10)


@pytest.mark.parametrize("name", ["relu", "elu", "abs", "tanh"])
def test_without_recurrence_a_deq_is_a_stack_of_one_layer(name):
    norms = np.array([0.8, 1.0, 1.3])
    deq = ImplicitNetwork(name, 0.0, 1.0).centered(1.0)
    stack = ExplicitNetwork((name,)).centered(1.0)
    for kernel, trained, rates in [
        ("ck", "default", "all"),
        ("ntk", "default", "first_frozen"),
        ("ntk", "all", "all"),
    ]:
        left = refined.profile(deq, norms, kernel, trained)
        right = refined.profile(stack, norms, kernel, rates)
        for field in dataclasses.fields(refined.Profile):
            expected = getattr(right, field.name)
            assert getattr(left, field.name) == pytest.approx(expected, rel=1e-12, abs=1e-15)


# ---------------------------------------------------------------- the mean of squared inner products


@pytest.mark.parametrize(("p", "n"), [(3, 30), (20, 30)])
def test_squared_products_against_loops(p, n):
    """Both ways of computing them: by classes (n above Kp) and by rows."""
    rng = np.random.default_rng(1)
    X, labels = rng.normal(size=(p, n)), rng.permutation(np.arange(n) % 3)
    found = refined.squared_products(X, labels)
    for i in range(n):
        for b in range(3):
            others = [j for j in range(n) if labels[j] == b and j != i]
            expected = np.mean([(X[:, i] @ X[:, j]) ** 2 for j in others])
            assert found[i, b] == pytest.approx(expected, rel=1e-12)


def test_a_sample_alone_in_its_class_has_no_partner_in_it():
    X = np.random.default_rng(2).normal(size=(4, 5))
    found = refined.squared_products(X, [0, 0, 1, 0, 0])
    assert found[2, 1] == 0.0
    assert found[0, 1] == pytest.approx((X[:, 0] @ X[:, 2]) ** 2, rel=1e-12)


def test_squared_products_tend_to_the_quadratic_means_of_the_mixture():
    mix = GaussianMixture(np.eye(2, 5), [[1, 2, 1, 0.5, 1], [0.3, 1, 1, 1, 2]])
    sample = mix.sample(40_000, seed=0)
    seen = refined.squared_products(sample.X, sample.labels)
    assert np.abs(seen / mixtures.quadratic_means(sample) - 1).max() < 0.06


# ---------------------------------------------------------------- the matrix


def dense(parts, X):
    scale, frame, core, diagonal = parts
    return scale[:, None] * (X.T @ X) * scale + frame @ core @ frame.T + np.diag(diagonal)


def off_diagonal(A):
    return A - np.diag(A.diagonal())


@pytest.fixture(scope="module")
def three():
    """Three classes in a shuffled order, with their estimated statistics."""
    rng = np.random.default_rng(5)
    mix = GaussianMixture(rng.normal(size=(3, 20)), rng.uniform(0.6, 1.6, (3, 20)))
    sample, order = mix.sample(24, 1), rng.permutation(24)
    X, labels = sample.X[:, order], sample.labels[order]
    return X, mixtures.estimate(X, labels)


def networks_of(tau0):
    yield ImplicitNetwork("swish", 0.4, 0.9).centered(tau0)
    yield ExplicitNetwork(("elu", "tanh", "relu")).centered(tau0)


@pytest.mark.parametrize("kernel", ["ck", "ntk"])
def test_the_matrix_entry_by_entry(three, kernel):
    X, stats = three
    labels, n = stats.labels, stats.n
    A = refined.squared_products(X, labels)
    H = [[A[labels == a, b].mean() for b in range(3)] for a in range(3)]
    for network in networks_of(stats.tau0):
        found = refined.profile(network, (X**2).sum(axis=0), kernel)
        matrix = dense(refined.terms(network, stats, X, kernel), X)
        for i in range(n):
            for j in range(n):
                a, b = labels[i], labels[j]
                R = A[i, b] + A[j, a] - H[a][b]
                entry = found.gain[i] * found.gain[j] * (X[:, i] @ X[:, j])
                entry += found.offset[i] @ found.offset[j] + found.square[i] @ found.square[j] * R
                expected = found.diagonal[i] if i == j else entry
                assert matrix[i, j] == pytest.approx(expected, rel=1e-11, abs=1e-14)


def test_the_diagonal_is_exact(three):
    X, stats = three
    for network in networks_of(stats.tau0):
        for kernel, trained in [("ck", "default"), ("ntk", "default"), ("ntk", "all")]:
            exact = kernels.ck(network, X) if kernel == "ck" else kernels.ntk(network, X, trained)
            found = dense(refined.terms(network, stats, X, kernel, trained), X)
            assert found.diagonal() == pytest.approx(exact.diagonal(), rel=1e-11)


def test_odd_and_even_activations_lose_what_they_have_not(three):
    X, stats = three
    odd = refined.terms(ImplicitNetwork("tanh", 0.3).centered(stats.tau0), stats, X)
    assert odd[1].shape == (24, 0) and odd[2].shape == (0, 0) and odd[0].min() > 0.4
    even = refined.terms(ImplicitNetwork("abs", 0.3).centered(stats.tau0), stats, X)
    assert even[1].shape == (24, 7) and np.abs(even[0]).max() < 1e-14


def test_one_class_of_data_and_a_sample_of_norm_zero():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(30, 12)) / np.sqrt(30)
    X[:, 4] = 0.0
    stats = mixtures.estimate(X, np.zeros(12, dtype=int))
    network = ImplicitNetwork("relu", 0.2).centered(stats.tau0)
    matrix, exact = dense(refined.terms(network, stats, X), X), kernels.ck(network, X)
    assert np.isfinite(matrix).all()
    assert matrix.diagonal() == pytest.approx(exact.diagonal(), rel=1e-10)
    assert spectra.operator_norm(matrix - exact) < 0.15 * spectra.operator_norm(exact)


# ---------------------------------------------------------------- errors in operator norm


def drawn(p, seed=0, mixture=mixtures.two_class):
    sample = mixture(p).sample(int(0.8 * p), seed)
    return sample, mixtures.statistics(sample)


def weak_means(p):
    """The two classes with means of norm 2, so that the fluctuation of the squares is what remains."""
    return GaussianMixture(2 * np.eye(2, p), [1.0, 1.0 + 4 / np.sqrt(p)])


def exact_kernel(network, X, kernel, trained):
    return kernels.ck(network, X) if kernel == "ck" else kernels.ntk(network, X, trained)


def error(network, sample, stats, kernel="ck", trained="default", **options):
    found = dense(refined.terms(network, stats, sample.X, kernel, trained, **options), sample.X)
    return spectra.operator_norm(exact_kernel(network, sample.X, kernel, trained) - found)


@pytest.mark.drift
@pytest.mark.parametrize(
    ("name", "bounds"),
    [("relu", (0.031, 0.036, 0.1)), ("swish", (0.027, 0.031, 0.085)), ("tanh", (0.011, 0.0145, 0.048))],
)  # fmt: skip
def test_errors_in_the_setting_of_the_paper(name, bounds):
    """p = 512; the plain equivalent of the CK is at 0.22 for ReLU, 0.19 for swish and 0.79 for tanh."""
    sample, stats = drawn(512)
    network = ImplicitNetwork(name, 0.2).centered(stats.tau0)
    for (kernel, trained), bound in zip(KINDS, bounds):
        assert error(network, sample, stats, kernel, trained) < bound
    plain = equivalents.ck(network, stats, sample.X).toarray()
    gap = spectra.operator_norm(kernels.ck(network, sample.X) - plain)
    assert gap > (50 if name == "tanh" else 6) * error(network, sample, stats)


@pytest.mark.parametrize("layers", [("relu", "swish"), ("tanh", "elu", "swish")])
@pytest.mark.parametrize("trained", ["all", "first_frozen", "readout"])
def test_errors_of_stacks(layers, trained):
    sample, stats = drawn(256, mixture=weak_means)
    network = ExplicitNetwork(layers).centered(stats.tau0)
    kernel, rates = ("ck", "default") if trained == "readout" else ("ntk", trained)
    exact = exact_kernel(network, sample.X, kernel, rates)
    assert error(network, sample, stats, kernel, rates) < 0.02 * spectra.operator_norm(exact)


def test_odd_activations_gain_a_rate():
    """Three doublings of p divide the error by more than eight."""
    errors = []
    for p in (96, 768):
        runs = [drawn(p, seed) for seed in range(3)]
        networks = [ImplicitNetwork("tanh", 0.2).centered(stats.tau0) for _, stats in runs]
        errors.append(np.mean([error(net, *run) for net, run in zip(networks, runs)]))
    assert errors[0] > 10 * errors[1]


@pytest.mark.parametrize(("kernel", "trained"), KINDS)
def test_what_remains_is_the_fluctuation_of_the_squares(kernel, trained):
    """Equation (eq-refined-rest): the error is the matrix w_i w_j (q_ij^2 - R_ij), and little else."""
    sample, stats = drawn(512, mixture=weak_means)
    X = sample.X
    network = ImplicitNetwork("relu", 0.2).centered(stats.tau0)
    found = dense(refined.terms(network, stats, X, kernel, trained), X)
    A, J = refined.squared_products(X, stats.labels), stats.J
    H = J.T @ A / stats.counts[:, None]
    R = A @ J.T + J @ A.T - J @ H @ J.T
    weights = refined.profile(network, (X**2).sum(axis=0), kernel, trained).square[:, 0]
    fluctuation = off_diagonal(weights[:, None] * ((X.T @ X) ** 2 - R) * weights)
    gap = exact_kernel(network, X, kernel, trained) - found
    assert spectra.operator_norm(gap - fluctuation) < 0.05 * spectra.operator_norm(gap)
    assert spectra.operator_norm(gap) == pytest.approx(spectra.operator_norm(fluctuation), rel=0.03)


def test_known_and_estimated_means_of_squares_serve_alike():
    sample, stats = drawn(256)
    network = ImplicitNetwork("relu", 0.2).centered(stats.tau0)
    known = error(network, sample, stats, squares=mixtures.quadratic_means(sample))
    assert known == pytest.approx(error(network, sample, stats), rel=0.02)


def test_squares_given_the_classes_alone_are_worse():
    """With the class means of A, which is T_refined/p, in place of A."""
    sample, stats = drawn(512)
    network = ImplicitNetwork("relu", 0.2).centered(stats.tau0)
    A = stats.T_refined[stats.labels] / stats.p
    assert error(network, sample, stats, squares=A) > 1.7 * error(network, sample, stats)


@pytest.mark.parametrize(
    ("name", "part", "factor"),
    [("relu", "offset", 10), ("relu", "square", 7), ("tanh", "gain", 40), ("elu", "gain", 3)],
)
def test_every_ingredient_is_needed(monkeypatch, name, part, factor):
    """The offset and the square left out, the gain replaced by its mean."""
    sample, stats = drawn(512)
    network = ImplicitNetwork(name, 0.2).centered(stats.tau0)
    right, profile = error(network, sample, stats), refined.profile

    def mutated(*arguments):
        found = profile(*arguments)
        value = getattr(found, part)
        flat = np.full_like(value, value.mean() if part == "gain" else 0.0)
        return dataclasses.replace(found, **{part: flat})

    monkeypatch.setattr(refined, "profile", mutated)
    assert error(network, sample, stats) > factor * right


# ---------------------------------------------------------------- wrong input


def test_wrong_arguments(three):
    X, stats = three
    network = ImplicitNetwork("relu", 0.2).centered(stats.tau0)
    with pytest.raises(ValueError, match="shape"):
        refined.terms(network, stats, X[:, :-1])
    with pytest.raises(TypeError, match="Statistics"):
        refined.terms(network, stats.T, X)
    with pytest.raises(TypeError, match="network"):
        refined.terms("relu", stats, X)
    with pytest.raises(ValueError, match="squares must have shape"):
        refined.terms(network, stats, X, squares=np.ones((24, 2)))
    with pytest.raises(ValueError, match='"ck" or "ntk"'):
        refined.terms(network, stats, X, "gram")
    with pytest.raises(ValueError, match="trained"):
        refined.terms(network, stats, X, "ntk", "first_frozen")
    with pytest.raises(ValueError, match="squared_norms"):
        refined.profile(network, [])
    with pytest.raises(ValueError, match="squared_norms"):
        refined.profile(network, [1.0, -1.0])


def test_a_network_centered_elsewhere_is_refused(three):
    X, stats = three
    for network in (ImplicitNetwork("relu", 0.2), ExplicitNetwork(("tanh", "relu"))):
        with pytest.raises(ValueError, match="not centered"):
            refined.terms(network, stats, X)
    with pytest.warns(UserWarning, match="centered at tau0"):
        refined.terms(ImplicitNetwork("relu", 0.2).centered(1.05 * stats.tau0), stats, X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refined.terms(ImplicitNetwork("tanh", 0.2), stats, X)


def test_jumps_have_a_conjugate_kernel_only(three):
    X, stats = three
    network = ExplicitNetwork((activations.get("sign"),)).centered(stats.tau0)
    assert np.isfinite(dense(refined.terms(network, stats, X), X)).all()
    with pytest.raises(ValueError, match="jumps"):
        refined.terms(network, stats, X, "ntk")
