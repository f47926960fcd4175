"""Properties that hold for every network, mixture and size, each tried on many drawn by hypothesis.

The draws are the same in every run (``derandomize``), ``COUNT`` of them a property.
"""

import dataclasses
import functools
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from helpers import activations, equivalents, kernels, matching, mixtures, spectra
from helpers.mixtures import GaussianMixture
from helpers.networks import ExplicitNetwork, ImplicitNetwork

COUNT = 40  # cases of a property
DEAR = 10  # of one that computes more than a few kernels
NAMES = ("relu", "tanh", "erf", "swish", "abs", "sin", "cos", "hard_tanh", "sigmoid", "gaussian")
SMOOTH = ("tanh", "erf", "swish", "sin", "cos", "sigmoid", "gaussian")

quick = functools.partial(
    settings,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def cases(count=COUNT, **strategies):
    """The decorator of a property: so many drawn cases of it."""

    def decorate(test):
        return quick(max_examples=count)(given(**strategies)(test))

    decorate.count = count
    return decorate


# ---------------------------------------------------------------- what is drawn

scales = st.floats(0.4, 2.0)
recurrences = st.floats(0.0, 0.6)  # below every threshold of these activations
seeds = st.integers(0, 2**32 - 1)
names = st.sampled_from(NAMES)


@st.composite
def deqs(draw, names=names, recurrences=recurrences):
    return ImplicitNetwork(draw(names), draw(recurrences)).centered(draw(scales))


@st.composite
def stacks(draw):
    layers = draw(st.lists(names, min_size=1, max_size=3))
    return ExplicitNetwork(tuple(layers)).centered(draw(scales))


every_network = st.one_of(deqs(), stacks())


@st.composite
def samples(draw, most=24):
    """A sample of a mixture of one to three classes with any kind of covariance."""
    p, K = draw(st.integers(2, 12)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(seeds))
    factors = rng.standard_normal((K, p, p)) / np.sqrt(p)
    covariances = {
        "isotropic": 0.3 + rng.random(K),
        "diagonal": 0.1 + rng.random((K, p)),
        "full": factors @ factors.transpose(0, 2, 1) + 0.2 * np.eye(p),
    }[draw(st.sampled_from(("isotropic", "diagonal", "full")))]
    mixture = GaussianMixture(rng.standard_normal((K, p)), covariances)
    return mixture.sample(draw(st.integers(4 * K, most)), draw(st.integers(0, 1000)))


def near(found, expected, tolerance):
    """Agreement relative to the largest entry."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert np.abs(found - expected).max() <= tolerance * max(1e-300, np.abs(expected).max())


def centered_for(network, sample):
    """A network centered at the scale of a sample, and the sample's statistics."""
    stats = mixtures.statistics(sample)
    return network.centered(stats.tau0), stats


# ---------------------------------------------------------------- exact kernels


@cases(network=every_network, sample=samples())
def test_kernels_are_symmetric_and_positive_semi_definite(network, sample):
    for kernel in kernels.ck_and_ntk(network, sample.X):
        assert np.array_equal(kernel, kernel.T)
        values = np.linalg.eigvalsh(kernel)
        assert values[0] >= -1e-9 * max(values[-1], 1e-12)


@cases(network=every_network, sample=samples(), seed=seeds)
def test_kernels_do_not_see_a_rotation_of_the_data(network, sample, seed):
    normal = np.random.default_rng(seed).standard_normal((len(sample.X),) * 2)
    turned = np.linalg.qr(normal)[0] @ sample.X
    # the slope of a kinked activation moves with the root of a rounding at equal samples
    for kernel, rotated in zip(
        kernels.ck_and_ntk(network, sample.X), kernels.ck_and_ntk(network, turned), strict=True
    ):
        near(rotated, kernel, 1e-6)


@cases(network=every_network, sample=samples(), seed=seeds)
def test_kernels_follow_a_permutation_of_the_samples(network, sample, seed):
    order = np.random.default_rng(seed).permutation(sample.X.shape[1])
    for kernel, permuted in zip(
        kernels.ck_and_ntk(network, sample.X),
        kernels.ck_and_ntk(network, sample.X[:, order]),
        strict=True,
    ):
        near(permuted, kernel[np.ix_(order, order)], 1e-9)


@cases(network=every_network, sample=samples())
def test_a_part_of_the_samples_has_a_part_of_the_kernel(network, sample):
    half = sample.X.shape[1] // 2
    for kernel, part in zip(
        kernels.ck_and_ntk(network, sample.X),
        kernels.ck_and_ntk(network, sample.X[:, :half]),
        strict=True,
    ):
        near(part, kernel[:half, :half], 1e-9)


@cases(DEAR, network=every_network, n=st.integers(129, 300), width=st.sampled_from((16, 64, 100)))
def test_kernels_do_not_depend_on_the_size_of_tiles(network, n, width):
    X = np.random.default_rng(n).standard_normal((5, n)) / np.sqrt(5)
    whole = kernels.ck(network, X)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("helpers.tiles.WIDTH", width)
        patch.setattr("helpers.tiles.SMALL_WIDTH", width)
        near(kernels.ck(network, X), whole, 1e-11)


@cases(DEAR, network=every_network, workers=st.sampled_from(("1", "2", "5")))
def test_kernels_do_not_depend_on_the_number_of_workers(network, workers):
    X = np.random.default_rng(1).standard_normal((4, 150)) / 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("helpers.tiles.FEW", 0)
        patch.setattr("helpers.tiles.SMALL_WIDTH", 32)
        patch.setenv("OMP_NUM_THREADS", "1")
        alone = kernels.ck(network, X)
        patch.setenv("OMP_NUM_THREADS", workers)
        assert np.array_equal(kernels.ck(network, X), alone)


@cases(network=every_network, sample=samples())
def test_single_precision_is_double_precision_rounded(network, sample):
    X = sample.X.astype(np.float32).astype(np.float64)
    single = kernels.ck(network, X, dtype="float32")
    assert single.dtype == np.float32
    near(single, kernels.ck(network, X), 1e-4)


@cases(network=every_network, sample=samples())
def test_the_operator_is_the_array(network, sample):
    n = sample.X.shape[1]
    for name, kernel in zip(("ck", "ntk"), kernels.ck_and_ntk(network, sample.X), strict=True):
        near(kernels.operator(network, sample.X, name) @ np.eye(n), kernel, 1e-9)


@cases(network=deqs(), sample=samples())
def test_a_kernel_solves_its_own_definition(network, sample):
    assert kernels.residual(network, sample.X, kernels.ck(network, sample.X)) < 1e-10


@cases(network=deqs(), sample=samples())
def test_training_more_weights_adds_a_positive_kernel(network, sample):
    """Readout, readout and A, readout and A and B: each adds a matrix of inner products of gradients."""
    ck, ntk = kernels.ck_and_ntk(network, sample.X)
    everything = kernels.ntk(network, sample.X, "all")
    for more, less in ((ntk, ck), (everything, ntk)):
        values = np.linalg.eigvalsh(more - less)
        assert values[0] >= -1e-7 * np.abs(more).max()


@cases(network=stacks(), sample=samples(), seed=seeds)
def test_the_tangent_kernel_is_linear_in_the_rates(network, sample, seed):
    rates = np.random.default_rng(seed).random((2, network.depth + 1))
    first, second, both = (
        kernels.ntk(network, sample.X, tuple(r)) for r in (*rates, rates[0] + 2 * rates[1])
    )
    near(both, first + 2 * second, 1e-10)


# ---------------------------------------------------------------- homogeneity, monotonicity, limits


@cases(sigma_a2=recurrences, b=st.floats(-0.9, 0.9), factor=st.floats(0.1, 10.0), sample=samples())
def test_a_positively_homogeneous_network_scales_with_the_data(sigma_a2, b, factor, sample):
    """phi(kx) = k phi(x) for k > 0: the CK takes the factor squared, and the slopes do not move."""
    network = ImplicitNetwork(activations.get("leaky_relu", a=1.0, b=b), sigma_a2)
    for kernel, scaled in zip(
        kernels.ck_and_ntk(network, sample.X),
        kernels.ck_and_ntk(network, factor * sample.X),
        strict=True,
    ):
        near(scaled, factor**2 * kernel, 1e-6)


@cases(sigma_a2=recurrences, tau0=scales, factor=st.floats(0.1, 10.0))
def test_coefficients_of_a_centered_relu_have_dimensions(sigma_a2, tau0, factor):
    """alpha_1 has none, gamma^2 and kappa^2 are squares of a norm, alpha_2 and alpha_3 inverse squares."""
    here, there = (
        equivalents.coefficients(ImplicitNetwork("relu", sigma_a2).centered(tau), tau)
        for tau in (tau0, factor * tau0)
    )
    powers = {"tau": 1, "gamma2": 2, "kappa2": 2, "alpha1": 0, "beta1": 0, "alpha4": 0}
    powers |= {"alpha2": -2, "alpha3": -2, "beta2": -2, "beta3": -2}
    for name, power in powers.items():
        assert getattr(there, name) == pytest.approx(factor**power * getattr(here, name), rel=1e-9)


@cases(name=names, sample=samples(), pair=st.tuples(st.floats(0.0, 0.6), st.floats(0.0, 0.6)))
def test_the_diagonal_grows_with_the_recurrent_variance(name, sample, pair):
    """At a fixed sigma_b^2: s = sigma_a^2 E[phi^2(sqrt s)] + c has a larger solution for a larger sigma_a^2."""
    low, high = sorted(pair)
    norms = (sample.X**2).sum(axis=0)
    small, large = (
        kernels.diagonal(ImplicitNetwork(name, value, sigma_b2=0.5), norms) for value in (low, high)
    )
    assert (large >= small * (1 - 1e-11)).all()


@cases(name=names, tau0=scales, pair=st.tuples(st.floats(0.0, 0.6), st.floats(0.0, 0.6)))
def test_alpha1_over_its_input_variance_grows_with_the_recurrent_one(name, tau0, pair):
    """alpha_1/sigma_b^2 = g_1/(1 - sigma_a^2 g_1) with g_1 = E[phi']^2 of a ReLU, 1/4 at every scale."""
    low, high = sorted(pair)
    c, d = (
        equivalents.coefficients(ImplicitNetwork("relu", value, 0.7).centered(tau0), tau0)
        for value in (low, high)
    )
    assert c.alpha1 <= d.alpha1 * (1 + 1e-12) and c.kappa2 <= d.kappa2 * (1 + 1e-12)


@cases(name=names, tau0=scales, sample=samples())
def test_a_deq_without_recurrence_is_one_explicit_layer(name, tau0, sample):
    deq = ImplicitNetwork(name, 0.0).centered(tau0)
    layer = ExplicitNetwork((name,)).centered(tau0)
    near(kernels.ck(deq, sample.X), kernels.ck(layer, sample.X), 1e-12)
    near(
        kernels.ntk(deq, sample.X), kernels.ntk(layer, sample.X, (0.0, 1.0)), 1e-12
    )  # the readout alone
    near(kernels.ntk(deq, sample.X, "all"), kernels.ntk(layer, sample.X), 1e-12)


@cases(name=names, tau0=scales, sample=samples())
def test_a_small_recurrence_changes_little(name, tau0, sample):
    """The kernels are continuous in sigma_a^2 at 0: what a millionth of recurrence changes is of its order."""
    without, little = (
        ImplicitNetwork(name, value, sigma_b2=1.0).centered(tau0) for value in (0.0, 1e-6)
    )
    for kernel, nearby in zip(
        kernels.ck_and_ntk(without, sample.X), kernels.ck_and_ntk(little, sample.X), strict=True
    ):
        near(nearby, kernel, 1e-4)


# ---------------------------------------------------------------- equivalents


@cases(network=every_network, sample=samples(), refined=st.booleans())
def test_equivalents_are_symmetric_operators_equal_to_their_arrays(network, sample, refined):
    network, stats = centered_for(network, sample)
    n = sample.X.shape[1]
    for function in (equivalents.ck, equivalents.ntk):
        found = function(network, stats, sample.X, refined=refined)
        dense = found.toarray()
        assert np.array_equal(dense, dense.T)
        near(found @ np.eye(n), dense, 1e-11)
        near(found @ np.ones(n), dense.sum(axis=1), 1e-10)
        near(found.T @ np.eye(n), dense, 1e-11)


@cases(network=every_network, sample=samples(), k=st.integers(1, 4))
def test_eigenpairs_of_equivalents_are_those_of_their_arrays(network, sample, k):
    network, stats = centered_for(network, sample)
    found = equivalents.ck(network, stats, sample.X)
    dense = found.toarray()
    values, vectors = found.eigsh(k)
    near(values, np.linalg.eigvalsh(dense)[::-1][:k], 1e-8)
    assert np.abs(dense @ vectors - vectors * values).max() <= 1e-7 * np.abs(dense).max()


@cases(network=every_network, sample=samples(), seed=seeds)
def test_equivalents_do_not_see_a_rotation(network, sample, seed):
    network, stats = centered_for(network, sample)
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(sample.X),) * 2))[0]
    dense = equivalents.ck(network, stats, sample.X).toarray()
    near(equivalents.ck(network, stats, turn @ sample.X).toarray(), dense, 1e-10)


@cases(network=every_network, sample=samples())
def test_refined_equivalents_have_the_exact_diagonal(network, sample):
    network, stats = centered_for(network, sample)
    for exact, function in zip(
        kernels.ck_and_ntk(network, sample.X), (equivalents.ck, equivalents.ntk), strict=True
    ):
        found = function(network, stats, sample.X, refined=True).toarray()
        near(np.diag(found), np.diag(exact), 1e-9)


@cases(network=every_network, seed=seeds)
def test_one_class_is_a_split_class_with_equal_halves(network, seed):
    """K = 1: two classes of one mean and one covariance have the equivalent of the class that they are."""
    rng = np.random.default_rng(seed)
    mean, covariance = rng.standard_normal((1, 6)), 0.5 + rng.random((1, 6))
    one = GaussianMixture(mean, covariance).sample(12, 0)
    two = mixtures.Sample(
        one.X,
        np.repeat([0, 1], 6),
        GaussianMixture(np.repeat(mean, 2, 0), np.repeat(covariance, 2, 0)),
    )
    network, stats = centered_for(network, one)
    near(
        equivalents.ck(network, mixtures.statistics(two), two.X).toarray(),
        equivalents.ck(network, stats, one.X).toarray(),
        1e-11,
    )


@cases(network=every_network)
def test_what_coefficients_must_be(network):
    """Squares and variances are not negative; gamma^2 holds the linear part tau_0^2 alpha_1 (Hermite)."""
    c = equivalents.coefficients(network, network.tau0)
    for value in dataclasses.astuple(c)[:5]:
        assert value >= 0
    assert c.gamma2 >= network.tau0**2 * c.alpha1 * (1 - 1e-12)
    assert c.kappa2 >= c.gamma2 * (1 - 1e-12) and c.beta1 >= c.alpha1 * (1 - 1e-12)


# ---------------------------------------------------------------- mixtures


@cases(sample=samples(), seed=seeds)
def test_statistics_follow_a_permutation(sample, seed):
    order = np.random.default_rng(seed).permutation(len(sample.labels))
    moved = mixtures.Sample(sample.X[:, order], sample.labels[order], sample.mixture)
    here, there = mixtures.statistics(sample), mixtures.statistics(moved)
    assert there.tau0 == pytest.approx(here.tau0, rel=1e-14)
    near(there.psi, here.psi[order], 1e-12)
    near(there.T, here.T, 1e-13)


@cases(sample=samples(), factor=st.floats(0.1, 10.0))
def test_estimates_scale_with_the_data(sample, factor):
    """tau_0 with the data, t and psi with their square, T with their fourth power."""
    here, there = (mixtures.estimate(k * sample.X, sample.labels) for k in (1.0, factor))
    assert there.tau0 == pytest.approx(factor * here.tau0, rel=1e-12)
    near(there.psi, factor**2 * here.psi, 1e-10)
    near(there.T, factor**4 * here.T, 1e-9)


@cases(sample=samples())
def test_norms_are_scale_class_and_fluctuation(sample):
    """||x||^2 = tau_0^2 + t_a/sqrt(p) + psi + 2 mu_a^T (x - mu_a/sqrt p)/sqrt p, exactly."""
    stats, p = mixtures.statistics(sample), len(sample.X)
    means = sample.mixture.means[sample.labels].T / np.sqrt(p)
    cross = 2 * (means * (sample.X - means)).sum(axis=0)
    found = stats.tau0**2 + stats.t[sample.labels] / np.sqrt(p) + stats.psi + cross
    near((sample.X**2).sum(axis=0), found, 1e-12)


@cases(
    K=st.integers(1, 5),
    n=st.integers(60, 400),
    seed=seeds,
)
def test_class_sizes_are_nearest_to_their_quotas(K, n, seed):
    shares = 0.2 + np.random.default_rng(seed).random(K)
    mixture = GaussianMixture(np.zeros((K, 2)), np.ones(K), shares / shares.sum())
    counts = mixture.counts(n)
    assert counts.sum() == n and np.abs(counts - n * mixture.proportions).max() < 1


# ---------------------------------------------------------------- spectra, laws, twins


@cases(n=st.integers(1, 90), seed=seeds)
def test_norms_and_eigenvalues_agree(n, seed):
    A = np.random.default_rng(seed).standard_normal((n, n))
    A = A + A.T
    values = spectra.eigenvalues(A)
    assert spectra.operator_norm(A) == pytest.approx(np.linalg.norm(A, 2), rel=1e-8)
    near(spectra.top_eigenpairs(A, 1)[0], values[-1:], 1e-8)
    assert values.sum() == pytest.approx(np.trace(A), abs=1e-9 * n)


@cases(n=st.integers(1, 60), k=st.integers(1, 5), seed=seeds)
def test_block_eigenpairs_of_every_size(n, k, seed):
    """Kernels have few large eigenvalues; where the blocks fill the space, the pairs are exact."""
    assume(k <= n)
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((n, n)))[0]
    A = basis * 0.5 ** np.arange(n) @ basis.T
    A = (A + A.T) / 2
    near(spectra.block_eigenpairs(A, k)[0], 0.5 ** np.arange(k), 1e-6)


@cases(
    DEAR,
    network=deqs(names=st.sampled_from(("relu", "tanh", "swish"))),
    n=st.integers(20, 90),
    seed=seeds,
)
def test_a_law_has_mass_one_and_a_bulk_below_its_top_spike(network, n, seed):
    rng = np.random.default_rng(seed)
    mixture = GaussianMixture(rng.standard_normal((2, 40)), np.array([1.0, 1.2]))
    tau0 = mixtures.statistics(mixture.sample(n, 0)).tau0
    law = spectra.limiting_law(network.centered(tau0), mixture, n)
    low, high = law.support[0][0], law.support[-1][1]
    assert law.cdf(low - 1e6) == 0 and law.cdf(high + 1e6) == pytest.approx(1, abs=1e-4)
    grid = law.cdf(np.linspace(low - 0.1, high + 0.1, 200))
    assert (np.diff(grid) >= -1e-9).all()
    assert (law.density(np.linspace(low, high, 200)) >= 0).all()
    assert ((law.alignments >= -1e-9) & (law.alignments <= 1 + 1e-6)).all()


@cases(DEAR, sigma_a2=st.floats(0.05, 0.8), tau0=scales)
def test_leaky_twins_have_the_coefficients_of_their_deq(sigma_a2, tau0):
    wanted = equivalents.coefficients(ImplicitNetwork("relu", sigma_a2).centered(tau0), tau0)
    twins = matching.leaky_twins(wanted, tau0)
    assert len(twins) == 2
    for twin in twins:
        found = equivalents.coefficients(twin.network, tau0)
        for name in ("alpha1", "alpha2", "alpha3", "gamma2"):
            assert getattr(found, name) == pytest.approx(getattr(wanted, name), rel=1e-8)


@cases(
    DEAR, name=st.sampled_from(("tanh", "erf", "sin")), sigma_a2=st.floats(0.05, 0.6), tau0=scales
)
def test_odd_cubics_have_the_coefficients_of_their_deq(name, sigma_a2, tau0):
    """One layer q_1 h_1(x/tau_0) + q_3 h_3(x/tau_0) has alpha_1 = q_1^2/tau_0^2 and gamma^2 = q_1^2 + q_3^2."""
    wanted = equivalents.coefficients(ImplicitNetwork(name, sigma_a2).centered(tau0), tau0)
    q1, q3 = matching.odd_cubic(wanted, tau0)

    def cubic(x):
        u = x / tau0
        return q1 * u + q3 * (u**3 - 3 * u) / 6**0.5

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = ExplicitNetwork((activations.get(cubic, kinks=()),)).centered(tau0)
    found = equivalents.coefficients(layer, tau0)
    assert found.alpha1 == pytest.approx(wanted.alpha1, rel=1e-8)
    assert found.gamma2 == pytest.approx(wanted.gamma2, rel=1e-8)
    assert found.alpha2 + found.alpha3 == pytest.approx(0, abs=1e-12)
