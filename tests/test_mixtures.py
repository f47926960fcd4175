"""The mixture and its statistics, against loops, dense matrices and Monte Carlo."""

import dataclasses

import numpy as np
import pytest

from helpers import checks, mixtures, spectra
from helpers.mixtures import GaussianMixture, Sample
from helpers.networks import ImplicitNetwork

RNG = np.random.default_rng(20240702)
P = 12
MEANS = RNG.normal(size=(3, P))
DIAGONALS = RNG.uniform(0.5, 2.0, size=(3, P))
FULL = np.stack([B @ B.T / P for B in RNG.normal(size=(3, P, P))])
PROPORTIONS = np.array([0.5, 0.3, 0.2])
X0 = RNG.normal(size=(5, 12))
LABELS0 = np.arange(12) % 3  # not sorted, four samples a class


def dense(mix):
    """Explicit (p, p) covariances, written independently of the package."""
    storage = mix.covariances
    if storage.ndim == 3:
        return storage
    return np.stack([np.eye(mix.p) * c for c in storage])  # broadcasts numbers and rows alike


def z_score(draws, truth):
    """Distance of the mean of independent draws from the truth, in standard errors."""
    draws = np.asarray(draws)
    return np.abs(draws.mean(axis=0) - truth) / (draws.std(axis=0, ddof=1) / np.sqrt(len(draws)))


# ---------------------------------------------------------------- the mixture and its samples


@pytest.mark.parametrize("covariances", [np.array([1.0, 2.0, 0.5]), DIAGONALS, FULL])
def test_sample_has_the_stated_moments(covariances):
    sample = GaussianMixture(MEANS, covariances, PROPORTIONS).sample(60_000, seed=3)
    for a, C in enumerate(dense(sample.mixture)):
        X = sample.X[:, sample.labels == a]
        n_a = X.shape[1]
        standard_error = np.sqrt(np.diag(C) / (P * n_a))
        assert np.all(np.abs(X.mean(axis=1) - MEANS[a] / np.sqrt(P)) < 5 * standard_error)
        # the variance of an empirical covariance entry is (C_kk C_ll + C_kl^2) / n
        width = np.sqrt((np.outer(np.diag(C), np.diag(C)) + C**2) / n_a) / P
        assert np.all(np.abs(np.cov(X) - C / P) < 5 * width)


def test_sample_is_sorted_typed_and_deterministic():
    mix = GaussianMixture(MEANS, FULL, PROPORTIONS)
    sample, again, other = mix.sample(40, seed=1), mix.sample(40, seed=1), mix.sample(40, seed=2)
    assert sample.X.shape == (P, 40) and sample.X.dtype == np.float64
    assert sample.labels.dtype.kind == "i" and np.all(np.diff(sample.labels) >= 0)
    assert sample.mixture is mix
    assert np.array_equal(sample.X, again.X) and not np.allclose(sample.X, other.X)


def test_sample_from_singular_covariance_stays_in_its_range():
    u = np.ones(P) / np.sqrt(P)
    mix = GaussianMixture(np.zeros((1, P)), np.outer(u, u)[None])
    X = mix.sample(30, seed=0).X
    np.testing.assert_allclose(X, np.outer(u, u @ X), atol=1e-7)
    assert np.std(u @ X) > 0.5 / np.sqrt(P)


@pytest.mark.parametrize(
    ("proportions", "n", "counts"),
    [
        ([0.5, 0.3, 0.2], 10, [5, 3, 2]),
        ([0.5, 0.3, 0.2], 9, [4, 3, 2]),  # quotas 4.5, 2.7, 1.8: remainders .5 < .7 < .8
        ([1 / 3, 1 / 3, 1 / 3], 10, [4, 3, 3]),  # equal remainders: the first class
        ([0.41, 0.29, 0.3], 10, [4, 3, 3]),
        ([0.1, 0.2, 0.7], 1000, [100, 200, 700]),
    ],
)
def test_counts_by_largest_remainder(proportions, n, counts):
    mix = GaussianMixture(np.zeros((3, 2)), np.ones(3), proportions)
    assert mix.counts(n).tolist() == counts
    assert np.bincount(mix.sample(n, seed=0).labels).tolist() == counts


def test_number_of_dimensions_decides_the_storage():
    square = np.array([[1.0, 2.0], [3.0, 4.0]])  # K = p = 2: rows are diagonals
    assert np.array_equal(GaussianMixture(np.zeros((2, 2)), square).covariance(1), np.diag([3, 4]))
    assert np.array_equal(GaussianMixture(np.zeros((2, 2)), [1, 2]).covariance(1), 2 * np.eye(2))


def test_mixture_is_frozen_and_keeps_its_own_copies():
    means = np.zeros((2, 3))
    mix = GaussianMixture(means, [1, 1])
    means[0, 0] = 5.0
    assert mix.means[0, 0] == 0 and mix.proportions.tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match="read-only"):
        mix.means[0, 0] = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        mix.means = means


def test_two_class_is_the_setting_of_the_paper():
    mix = mixtures.two_class(64)
    assert np.argwhere(mix.means).tolist() == [[0, 0], [1, 8]] and mix.means.max() == 8
    assert np.array_equal(mix.covariance(1), 2 * np.eye(64)) and mix.covariance(0)[0, 0] == 1


def test_from_data_has_the_first_two_moments_of_the_data():
    mix = GaussianMixture.from_data(X0, LABELS0)
    assert mix.proportions.tolist() == [1 / 3] * 3
    for a in range(3):
        X = X0[:, LABELS0 == a]
        np.testing.assert_allclose(mix.means[a] / np.sqrt(5), X.mean(axis=1))
        np.testing.assert_allclose(mix.covariance(a) / 5, np.cov(X, bias=True), atol=1e-15)
    # hence the mean squared norms, overall and by class, are those of the data
    stats = mixtures.statistics(Sample(X0, LABELS0, mix))
    estimate = mixtures.estimate(X0, LABELS0)
    np.testing.assert_allclose(stats.tau0, estimate.tau0)
    np.testing.assert_allclose(stats.t, estimate.t)


# ---------------------------------------------------------------- statistics, true parameters


@pytest.mark.parametrize("covariances", [np.array([1.0, 2.0, 0.5]), DIAGONALS, FULL])
def test_statistics_against_their_definitions(covariances):
    mix = GaussianMixture(MEANS, covariances, PROPORTIONS)
    sample = mix.sample(31, seed=5)
    stats, C = mixtures.statistics(sample), dense(mix)
    pi = np.bincount(sample.labels) / 31
    second = np.array([C[a] + np.outer(MEANS[a], MEANS[a]) for a in range(3)])
    tau0_squared = sum(pi[a] * np.trace(second[a]) for a in range(3)) / P
    assert stats.tau0 == pytest.approx(np.sqrt(tau0_squared), rel=1e-13)
    for a in range(3):
        t_a = (np.trace(second[a]) - P * tau0_squared) / np.sqrt(P)
        assert stats.t[a] == pytest.approx(t_a, abs=1e-12)
        for b in range(3):
            assert stats.T[a, b] == pytest.approx(np.trace(C[a] @ C[b]) / P, rel=1e-12)
            refined = np.trace(second[a] @ second[b]) / P
            assert stats.T_refined[a, b] == pytest.approx(refined, rel=1e-12)
    for i, a in enumerate(sample.labels):
        noise = sample.X[:, i] - MEANS[a] / np.sqrt(P)
        assert stats.psi[i] == pytest.approx(noise @ noise - np.trace(C[a]) / P, abs=1e-13)
    assert (stats.p, stats.n, stats.K) == (P, 31, 3)
    assert np.array_equal(stats.J.argmax(axis=1), sample.labels) and np.all(stats.J.sum(1) == 1)
    assert np.array_equal(stats.V[:, :3] * np.sqrt(P) > 0.5, stats.J > 0)
    assert np.array_equal(stats.V[:, 3], stats.psi) and np.array_equal(stats.counts, 31 * pi)


def test_storages_of_one_covariance_give_identical_statistics():
    c = np.array([1.0, 2.0, 0.5])
    storages = [c, np.tile(c[:, None], (1, P)), c[:, None, None] * np.eye(P)]
    draws = [GaussianMixture(MEANS, C, PROPORTIONS).sample(30, seed=8) for C in storages]
    reference = mixtures.statistics(draws[0])
    for sample in draws[1:]:
        np.testing.assert_allclose(sample.X, draws[0].X, atol=1e-14)
        stats = mixtures.statistics(sample)
        for name in ("tau0", "t", "psi", "T", "T_refined", "V"):
            np.testing.assert_allclose(
                getattr(stats, name), getattr(reference, name), atol=1e-13, err_msg=name
            )


def test_squared_norms_are_tau0_and_chi():
    """Equation (eq-chi): the exact remainder is the cross term 2 mu^T C^{1/2} zeta / p."""
    sample = GaussianMixture(MEANS, FULL, PROPORTIONS).sample(50, seed=2)
    stats = mixtures.statistics(sample)
    chi = (sample.X**2).sum(axis=0) - stats.tau0**2
    centers = MEANS[sample.labels].T / np.sqrt(P)
    cross = 2 * (centers * (sample.X - centers)).sum(axis=0)
    np.testing.assert_allclose(chi, stats.V @ np.append(stats.t, 1.0) + cross, atol=1e-13)


@pytest.mark.parametrize("covariances", [np.array([1.0, 2.0, 0.5]), DIAGONALS, FULL])
def test_quadratic_means_are_those_of_fresh_samples(covariances):
    """The vector x_i is kept, its partner x of class b is drawn anew."""
    mix = GaussianMixture(MEANS, covariances, PROPORTIONS)
    sample, fresh = mix.sample(4, seed=1), mix.sample(200_000, seed=2)
    found = mixtures.quadratic_means(sample)
    assert found.shape == (4, 3)
    for i in range(4):
        for b in range(3):
            draws = (fresh.X[:, fresh.labels == b].T @ sample.X[:, i]) ** 2
            assert z_score(draws, found[i, b]) < 4
    with pytest.raises(TypeError, match="squared_products"):
        mixtures.quadratic_means(sample.X)


def test_refined_T_is_the_mean_of_squared_inner_products():
    mix = GaussianMixture(4 * MEANS, FULL)
    stats = mixtures.statistics(mix.sample(300, seed=0))
    draws = []
    for seed in range(100):
        X, labels = (s := mix.sample(12, seed=seed)).X, s.labels
        squares = P * (X.T @ X) ** 2
        draws.append([squares[0, 1], squares[0, labels == 1].mean(), squares[11, 10]])
    truth = [stats.T_refined[0, 0], stats.T_refined[0, 1], stats.T_refined[2, 2]]
    assert z_score(draws, truth).max() < 4
    assert z_score(draws, [stats.T[0, 0], stats.T[0, 1], stats.T[2, 2]]).max() > 6


# ---------------------------------------------------------------- statistics, from data


def loop_estimate_of_tr_sigma2(X):
    """Average of ((x_i - x_j)^T (x_k - x_l))^2 / 4 over distinct i, j, k, l: unbiased by design."""
    n = X.shape[1]
    terms = [
        ((X[:, i] - X[:, j]) @ (X[:, k] - X[:, m])) ** 2 / 4
        for i in range(n)
        for j in range(n)
        for k in range(n)
        for m in range(n)
        if len({i, j, k, m}) == 4
    ]
    return np.mean(terms)


@pytest.mark.parametrize("shape", [(5, 15), (40, 15)])  # products of size p x p, then n x n
def test_estimates_against_loops(shape):
    p, n = shape
    rng = np.random.default_rng(7)
    labels = rng.permutation(np.arange(n) % 3)
    X = rng.normal(size=shape) * rng.uniform(0.5, 2, size=(p, 1)) + 0.5 * labels
    stats = mixtures.estimate(X, labels)
    norms = np.array([x @ x for x in X.T])
    assert stats.tau0 == pytest.approx(np.sqrt(norms.mean()))
    S = [np.cov(X[:, labels == a]) for a in range(3)]
    for a in range(3):
        assert stats.t[a] == pytest.approx(np.sqrt(p) * (norms[labels == a].mean() - norms.mean()))
        own = loop_estimate_of_tr_sigma2(X[:, labels == a])
        assert stats.T[a, a] == pytest.approx(p * own, rel=1e-10)
        for b in range(3):
            pairs = [
                (X[:, i] @ X[:, j]) ** 2
                for i in np.flatnonzero(labels == a)
                for j in np.flatnonzero(labels == b)
                if i != j
            ]
            assert stats.T_refined[a, b] == pytest.approx(p * np.mean(pairs), rel=1e-10)
            if a != b:
                assert stats.T[a, b] == pytest.approx(p * np.trace(S[a] @ S[b]), rel=1e-10)
    for i, a in enumerate(labels):
        own = X[:, labels == a]
        r = len(own.T) / (len(own.T) - 1)
        deviations = r * ((own - own.mean(axis=1, keepdims=True)) ** 2).sum(axis=0)
        x = X[:, i] - own.mean(axis=1)
        assert stats.psi[i] == pytest.approx(r * x @ x - deviations.mean(), abs=1e-12)


def test_estimates_are_unbiased_where_the_naive_one_is_not():
    """3000 draws of 4, 5 and 6 samples: a z-score of 4.5 over 12 entries fails once in 10^4."""
    mix = GaussianMixture(MEANS, FULL, [4 / 15, 5 / 15, 6 / 15])
    truth = mixtures.statistics(mix.sample(15, seed=0))
    T, T_refined, naive = [], [], []
    for seed in range(3000):
        sample = mix.sample(15, seed=seed)
        stats = mixtures.estimate(sample.X, sample.labels)
        T.append(stats.T[np.triu_indices(3)])
        T_refined.append(stats.T_refined[np.triu_indices(3)])
        naive.append(P * (np.cov(sample.X[:, :4]) ** 2).sum())
    assert z_score(T, truth.T[np.triu_indices(3)]).max() < 4.5
    assert z_score(T_refined, truth.T_refined[np.triu_indices(3)]).max() < 4.5
    assert z_score(naive, truth.T[0, 0]) > 30


def test_estimate_is_unbiased_for_skewed_noise():
    """Nothing in the U-statistic is Gaussian: exponential noise, tr(Sigma^2) = p."""
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(4000):
        X = rng.exponential(size=(6, 5))
        draws.append(mixtures.estimate(X, np.zeros(5, dtype=int)).T[0, 0] / 6)
    assert z_score(draws, 6.0) < 4


def test_estimate_tends_to_the_true_statistics():
    mix = mixtures.two_class(200)
    sample = mix.sample(4000, seed=0)
    true, seen = mixtures.statistics(sample), mixtures.estimate(sample.X, sample.labels)
    assert seen.tau0 == pytest.approx(true.tau0, rel=1e-3)
    np.testing.assert_allclose(seen.t, true.t, atol=0.05)
    # 2 (x_i - mu_a)^T (mean error) has standard deviation 2 / sqrt(p n_a), about 0.003
    assert np.std(seen.psi - true.psi) < 0.006
    assert np.std(true.psi) > 0.06
    np.testing.assert_allclose(seen.T, true.T, rtol=5e-3)
    np.testing.assert_allclose(seen.T_refined, true.T_refined, rtol=0.04)  # ||mean||^4


def test_estimate_takes_labels_in_any_order_and_integer_data():
    order = np.random.default_rng(1).permutation(12)
    stats, shuffled = (
        mixtures.estimate(X0, LABELS0),
        mixtures.estimate(X0[:, order], LABELS0[order]),
    )
    np.testing.assert_allclose(shuffled.T, stats.T)
    np.testing.assert_allclose(shuffled.psi, stats.psi[order])
    whole = np.arange(60).reshape(5, 12) % 7
    assert mixtures.estimate(whole.astype(np.uint8), LABELS0).tau0 == pytest.approx(
        mixtures.estimate(whole.astype(float), LABELS0.astype(np.uint8)).tau0
    )


# ---------------------------------------------------------------- wrong input


def changed(value):
    X = X0.astype(type(value) if isinstance(value, complex) else float)
    X[1, 2] = value
    return X


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (changed(np.nan), ValueError, "X must be finite: 1 of 60"),
        (changed(np.inf), ValueError, "X must be finite"),
        (changed(1j), TypeError, "X must hold real numbers.*complex128"),
        (X0.astype(object), TypeError, "X must hold real numbers.*object"),
        (X0.astype(str), TypeError, "X must hold real numbers"),
        (X0 > 0, TypeError, "X must hold real numbers.*bool"),
        ([[1.0, 2.0], [3.0]], ValueError, "X must be a rectangular"),
        (X0[0], ValueError, r"X must be a \(p, n\) matrix.*\(12,\)"),
        (X0[None], ValueError, r"\(1, 5, 12\)"),
        (X0[:0], ValueError, r"p >= 1 and n >= 1.*\(0, 12\)"),
        (X0[:, :0], ValueError, r"\(5, 0\)"),
        (0 * X0, ValueError, "X must have tau0 > 0"),
    ],
)
def test_wrong_data(X, error, message):
    with pytest.raises(error, match=message):
        mixtures.estimate(X, LABELS0)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (np.where(LABELS0 == 1, 3, LABELS0), ValueError, r"class 1 is empty.*return_inverse=True"),
        (LABELS0 + 1, ValueError, "class 0 is empty.*np.unique"),
        (LABELS0 - 1, ValueError, "smallest is -1"),
        (LABELS0 / 1.0, TypeError, "labels must be integers, not float64"),
        (LABELS0.astype(str), TypeError, "labels must be integers"),
        (LABELS0[:-1], ValueError, r"shape \(12,\).*\(11,\)"),
        (LABELS0[None], ValueError, r"shape \(12,\).*\(1, 12\)"),
        ([0] * 9 + [1] * 3, ValueError, "at least 4 samples.*class 1 has 3"),
        ([0] * 11 + [1], ValueError, "class 1 has 1"),
    ],
)
def test_wrong_labels(labels, error, message):
    with pytest.raises(error, match=message):
        mixtures.estimate(X0, labels)


INDEFINITE = np.stack([np.eye(2), np.diag([1.0, -0.3])])
SKEW = np.array([np.eye(2), [[1.0, 0.5], [0.0, 1.0]]])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.zeros(2), [1, 1]), ValueError, r"means must have shape \(K, p\).*\(2,\)"),
        ((np.zeros((2, 0)), [1, 1]), ValueError, "means must have shape"),
        ((np.zeros((0, 2)), []), ValueError, "means must have shape"),
        ((np.full((2, 2), np.nan), [1, 1]), ValueError, "means must be finite"),
        ((np.ones((2, 2)) * 1j, [1, 1]), TypeError, "means must hold real numbers"),
        ((np.zeros((2, 2)), [1, 1, 1]), ValueError, r"covariances must have shape.*\(3,\)"),
        ((np.zeros((2, 2)), np.eye(3)), ValueError, r"\(2, 2, 2\) full.*\(3, 3\)"),
        ((np.zeros((2, 2)), [1, np.inf]), ValueError, "covariances must be finite"),
        ((np.zeros((2, 2)), INDEFINITE), ValueError, "semi-definite: class 1 has eigenvalue -0.3"),
        ((np.zeros((2, 2)), [1, -0.3]), ValueError, "semi-definite: class 1 has eigenvalue -0.3"),
        ((np.zeros((2, 3)), [[1, 1, 1], [1, 1, -2]]), ValueError, "class 1 has eigenvalue -2"),
        ((np.zeros((2, 2)), SKEW), ValueError, "symmetric: class 1 .* 0.5"),
        ((np.zeros((2, 2)), [1, 1], [0.5, 0.4]), ValueError, "sum to 1 within 1e-8.*0.9"),
        ((np.zeros((2, 2)), [1, 1], [1.0, 0.0]), ValueError, "positive: class 1 has 0"),
        ((np.zeros((2, 2)), [1, 1], [1.0]), ValueError, r"proportions must have shape \(2,\)"),
        ((np.zeros((2, 2)), [1, 1], ["a", "b"]), TypeError, "proportions must hold real"),
    ],
)
def test_wrong_mixture(arguments, error, message):
    with pytest.raises(error, match=message):
        GaussianMixture(*arguments)


@pytest.mark.parametrize(
    ("n", "seed", "error", "message"),
    [
        (0, 0, ValueError, "n must be at least 1"),
        (2.0, 0, TypeError, "n must be an integer; it is 2.0"),
        (3, 0, ValueError, "n must give every class a sample: with n = 3, class 2"),
        (30, -1, ValueError, "seed must be at least 0"),
        (30, None, TypeError, "seed must be an integer"),
        (30, True, TypeError, "seed must be an integer"),
    ],
)
def test_wrong_draw(n, seed, error, message):
    mix = GaussianMixture(np.zeros((3, 2)), np.ones(3), [0.6, 0.3, 0.1])
    with pytest.raises(error, match=message):
        mix.sample(n, seed)


def test_wrong_samples():
    mix = GaussianMixture(np.zeros((2, 5)), [0, 0])
    with pytest.raises(TypeError, match=r"Sample, not ndarray.*mixtures.estimate"):
        mixtures.statistics(X0)
    with pytest.raises(ValueError, match="tau0 > 0"):
        mixtures.statistics(mix.sample(4, seed=0))
    with pytest.raises(ValueError, match="X must have p = 5 rows"):
        Sample(X0[:3], LABELS0, mix)
    with pytest.raises(ValueError, match="below K = 2; the largest is 2"):
        Sample(X0, LABELS0, mix)
    with pytest.raises(ValueError, match="class 1 is empty"):
        Sample(X0, np.zeros(12, dtype=int), mix)
    with pytest.raises(TypeError, match="mixture must be a GaussianMixture, not str"):
        Sample(X0, LABELS0, "mixture")
    with pytest.raises(ValueError, match="p must be at least 9; it is 8"):
        mixtures.two_class(8)


@pytest.mark.parametrize(
    ("check", "value", "error", "message"),
    [
        (checks.positive, 0, ValueError, "tau0 must be positive; it is 0"),
        (checks.positive, np.nan, ValueError, "tau0 must be finite"),
        (checks.positive, "1", TypeError, "tau0 must be one real number; it is '1'"),
        (checks.positive, 1j, TypeError, "tau0 must be one real number"),
        (checks.positive, [1.0], TypeError, "tau0 must be one real number"),
        (checks.non_negative, -1e-3, ValueError, "tau0 must be 0 or positive; it is -0.001"),
    ],
)
def test_wrong_scalars(check, value, error, message):
    with pytest.raises(error, match=message):
        check(value, "tau0")


def test_right_scalars():
    assert checks.positive(np.int32(2), "x") == 2.0 and checks.non_negative(0, "x") == 0.0
    assert isinstance(checks.positive(np.float32(2), "x"), float)


def test_a_law_without_coupled_classes_needs_no_covariances():
    """E[phi'] = 0 of an even function: X^T X has no weight, and full matrices are as good as diagonals."""
    variances = np.array([[0.5, 1.0, 1.5, 1.0], [2.0, 1.0, 1.0, 2.0]])
    means = np.random.default_rng(1).standard_normal((2, 4))
    diagonal = GaussianMixture(means, variances)
    full = GaussianMixture(means, np.array([np.diag(v) for v in variances]))
    tau0 = mixtures.statistics(diagonal.sample(20, 0)).tau0
    network = ImplicitNetwork("cos", 0.2).centered(tau0)
    one, other = (spectra.limiting_law(network, mixture, 20) for mixture in (diagonal, full))
    assert np.array(one.support) == pytest.approx(np.array(other.support), rel=1e-9)
    assert [a.mass for a in one.atoms] == pytest.approx([a.mass for a in other.atoms])
    assert one.spikes == pytest.approx(other.spikes, rel=1e-9)
