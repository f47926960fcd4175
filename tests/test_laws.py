"""Limiting laws against closed forms, against eigenvalues of exact kernels, and against each other."""

import numpy as np
import pytest

from helpers import kernels, mixtures, networks, spectra
from helpers.bulk import Commuting, Equations, Full
from helpers.errors import ConvergenceError
from helpers.spikes import Perturbation
from helpers.support import bulk

ONE = np.ones(1)


def scale(mixture, n):
    norms = (mixture.traces() + (mixture.means**2).sum(axis=1)) / mixture.p
    return np.sqrt(np.average(norms, weights=mixture.counts(n)))


def network(name, mixture, n, sigma_a2=0.2):
    return networks.ImplicitNetwork(name, sigma_a2).centered(scale(mixture, n))


def opposite(size, p):
    """Two classes at +mu and -mu, covariance I."""
    means = np.zeros((2, p))
    means[:, 0] = size, -size
    return mixtures.GaussianMixture(means, [1.0, 1.0])


def shapes(p):
    """Two classes that differ in mean and in the shape of their diagonal covariances."""
    C = np.ones((2, p))
    C[0, : p // 2], C[0, p // 2 :] = 1.5, 0.5
    means = np.zeros((2, p))
    means[:, 0] = 2.0, -2.0
    return mixtures.GaussianMixture(means, C)


def rotated(mixture, seed=0):
    """The same mixture in another basis, with full covariances."""
    O = np.linalg.qr(np.random.default_rng(seed).standard_normal((mixture.p,) * 2))[0]
    C = np.stack([O @ mixture.covariance(a) @ O.T for a in range(mixture.K)])
    return mixtures.GaussianMixture(mixture.means @ O.T, (C + C.transpose(0, 2, 1)) / 2)


def plain_parts(law):
    """Place and weight of the Gram matrix in a plain law."""
    K = len(law.shares)
    return law.perturbation.places[0], law.perturbation.core[0, 2 * K] ** 2


@pytest.mark.parametrize("c", [0.25, 0.8, 0.999, 1.0, 1.5, 4.0])
def test_marchenko_and_pastur(c):
    found = bulk(Equations(Commuting(np.ones((1, 1)), ONE), np.array([c]), np.zeros(1)))
    (interval,) = found.intervals
    low, high = (1 - np.sqrt(c)) ** 2, (1 + np.sqrt(c)) ** 2
    assert (interval.lower, interval.upper) == pytest.approx((low, high), rel=1e-10, abs=1e-14)
    x = np.linspace(-1, 10, 777)
    inside = (x > low) & (x < high)
    exact = np.sqrt(np.where(inside, (high - x) * (x - low), 0)) / (2 * np.pi * c * np.abs(x))
    np.testing.assert_allclose(found.density(x, ONE), exact, atol=1e-8)
    assert found.masses().sum() == pytest.approx(min(1, 1 / c), abs=1e-8)


def test_several_intervals_against_a_polynomial():
    """Edges of an isotropic covariance mixture are critical points of z(m), roots of a polynomial."""
    values, c = np.array([1.0, 5.0, 20.0]), 10.0
    found = bulk(Equations(Commuting(values[None], np.ones(3) / 3), np.array([c]), np.zeros(1)))
    first, second, third = (np.poly1d([c * v, 1.0]) for v in values)
    # 1/m^2 = c sum_k w_k v_k^2/(1 + c m v_k)^2, times all denominators
    slope = (first * second * third) ** 2
    for v, others in zip(values, (second * third, first * third, first * second)):
        slope = slope - np.poly1d([c * v**2 / 3, 0, 0]) * others**2
    m = np.roots(slope.coeffs)
    m = m[np.abs(m.imag) < 1e-9].real
    edges = np.sort(-1 / m + sum(v / (1 + c * m * v) for v in values) / 3)
    assert len(edges) == 6
    assert np.ravel([(i.lower, i.upper) for i in found.intervals]) == pytest.approx(edges, rel=1e-9)
    masses = found.masses().ravel()
    np.testing.assert_allclose(masses, [1 / 30] * 3, atol=1e-7)  # exact separation


@pytest.mark.parametrize("c", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("size", [0.8, 1.7, 2.5])
@pytest.mark.parametrize("kernel", ["ck", "ntk"])
def test_phase_transition(c, size, kernel):
    p = 400
    mixture, n = opposite(size, p), int(c * p)
    law = spectra.limiting_law(network("tanh", mixture, n), mixture, n, kernel, law="plain")
    place, gain = plain_parts(law)
    m = size**2
    assert law.support[0] == pytest.approx(
        (place + gain * (1 - np.sqrt(c)) ** 2, place + gain * (1 + np.sqrt(c)) ** 2)
    )
    if c * m**2 <= 1:
        assert len(law.spikes) == 0
        return
    assert law.spikes == pytest.approx([place + gain * (1 + c * m) * (1 + m) / m], rel=1e-9)
    assert law.alignments == pytest.approx([1 - (1 + c * m) / (c * m * (1 + m))], rel=1e-8)


@pytest.mark.parametrize("c", [0.4, 3.0])
def test_critical_distance(c):
    mixture, n = opposite(1.0, 300), int(c * 300)
    found = spectra.critical_distance(network("tanh", mixture, n), mixture, n, law="plain")
    assert found == pytest.approx(2 * c**-0.25, rel=1e-8)
    even = network("abs", mixture, n)
    assert spectra.critical_distance(even, mixture, n) == np.inf
    same = mixtures.GaussianMixture(np.ones((2, 10)), [1.0, 1.1])
    with pytest.raises(ValueError, match="means that differ"):
        spectra.critical_distance(network("tanh", same, 10), same, 10)


@pytest.mark.drift
@pytest.mark.parametrize(
    ("name", "law", "expected"),
    [
        ("relu", "plain", [5.949, 6.306]),
        ("relu", "classwise", [5.985, 6.340]),
        ("tanh", "classwise", [8.722, 9.379]),
    ],
)
def test_two_classes_at_3000(name, law, expected):
    """Simulated, mean of five draws: ReLU 5.982, 6.359; tanh 8.742, 9.360."""
    mixture, n = mixtures.two_class(3000), 2400
    found = spectra.limiting_law(network(name, mixture, n), mixture, n, law=law)
    assert found.spikes == pytest.approx(expected, abs=2e-3)
    seen = {"relu": [5.982, 6.359], "tanh": [8.742, 9.360]}[name]
    assert found.spikes == pytest.approx(seen, rel=0.01)


def kernel_of(net, X, kernel):
    return kernels.ck(net, X) if kernel == "ck" else kernels.ntk(net, X)


@pytest.mark.parametrize("kernel", ["ck", "ntk"])
@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_exact_kernels(name, kernel):
    mixture, n = shapes(1400), 700
    sample = mixture.sample(n, 3)
    net = network(name, mixture, n)
    values, vectors = np.linalg.eigh(kernel_of(net, sample.X, kernel))
    law = spectra.limiting_law(net, mixture, n, kernel)
    assert law.distance(values) < 0.012
    assert law.spikes[-1] == pytest.approx(values[-1], rel=0.04)
    assert values[-2] < law.support[-1][1] * 1.02  # nothing else is outside
    classes = np.eye(2)[sample.labels] / np.sqrt(mixture.counts(n))
    seen = ((classes.T @ vectors[:, -1]) ** 2).sum()
    assert law.alignments[-1] == pytest.approx(seen, abs=0.08)


def test_exact_kernel_of_a_stack():
    mixture, n = mixtures.two_class(1400), 700
    net = networks.ExplicitNetwork(("relu", "tanh")).centered(scale(mixture, n))
    values = spectra.eigenvalues(kernels.ck(net, mixture.sample(n, 0).X))
    law = spectra.limiting_law(net, mixture, n)
    assert law.distance(values) < 0.02
    assert law.spikes[-2:] == pytest.approx(values[-2:], rel=0.05)


def test_more_samples_than_dimensions():
    """n - p eigenvalues gather at the atom; the others follow the continuous part."""
    mixture, n = mixtures.GaussianMixture(np.zeros((1, 400)), [1.0]), 1000
    net = network("erf", mixture, n)
    law = spectra.limiting_law(net, mixture, n)
    values = spectra.eigenvalues(kernels.ck(net, mixture.sample(n, 0).X))
    assert law.atom.mass == pytest.approx(0.6)
    assert values[:600] == pytest.approx(law.atom.place, rel=0.25)
    assert law.atom.place < law.support[0][0] and law.cdf([law.support[0][0]]) == pytest.approx(0.6)
    share = law.cdf(values[600:])
    assert np.abs(share - (601 + np.arange(400)) / 1000).max() < 0.02


def test_even_activation_has_no_bulk():
    """Closed form: s + eigenvalues of the core times its sizes; means do not show."""
    mixture, n = mixtures.two_class(600), 480
    net = network("abs", mixture, n)
    law = spectra.limiting_law(net, mixture, n, law="plain")
    assert law.support == [] and law.atom.mass == 1 and not law.density([0.1, 5.0]).any()
    found = law.perturbation
    sizes = np.r_[found.ratios, found.ratios * found.spread]
    values = np.linalg.eigvals(found.core[:4, :4] * sizes).real
    values = np.sort(values[values > 1e-9])
    np.testing.assert_allclose(law.spikes, law.atom.place + values, rtol=1e-8)
    seen = spectra.eigenvalues(kernels.ck(net, mixture.sample(n, 0).X))
    assert spectra.limiting_law(net, mixture, n).spikes[-1] == pytest.approx(seen[-1], rel=0.1)


def test_the_distance_to_a_law_that_is_one_atom():
    """Its distribution steps from 0 to 1: the distance is the share of eigenvalues elsewhere."""
    mixture = mixtures.two_class(100)
    law = spectra.limiting_law(network("abs", mixture, 80), mixture, 80, law="plain")
    place = law.atom.place
    assert law.distance([place] * 5) == 0
    assert law.distance([place] * 3 + [place + 1]) == pytest.approx(1 / 4)
    assert law.distance([place - 1, place - 1, place]) == pytest.approx(2 / 3)


@pytest.mark.parametrize("law", ["plain", "classwise"])
def test_full_covariances_agree_with_diagonal_ones(law):
    p, n = 60, 40
    rng = np.random.default_rng(1)
    C = rng.uniform(0.5, 2, (2, p))
    mixture = mixtures.GaussianMixture(3 * rng.standard_normal((2, p)) / np.sqrt(p), C)
    net, x = network("relu", mixture, n), np.linspace(0, 3, 301)
    first = spectra.limiting_law(net, mixture, n, law=law)
    second = spectra.limiting_law(net, rotated(mixture), n, law=law)
    np.testing.assert_allclose(second.support, first.support, rtol=1e-8)
    np.testing.assert_allclose(second.density(x), first.density(x), atol=1e-5)
    np.testing.assert_allclose(second.spikes, first.spikes, rtol=1e-7)
    np.testing.assert_allclose(second.alignments, first.alignments, atol=1e-6)


def mixed_covariances(p, K, seed=0):
    """Covariances without common eigenvectors."""
    rng = np.random.default_rng(seed)
    draws = rng.standard_normal((K, p, 2 * p))
    C = draws @ draws.transpose(0, 2, 1) / (2 * p)
    means = 3 * rng.standard_normal((K, p)) / np.sqrt(p)
    return mixtures.GaussianMixture(means, C * (1 + np.arange(K)[:, None, None] / 5))


def test_full_covariances_that_do_not_commute():
    """Residuals of the equations as they are written, with inverses of matrices, and a draw."""
    mixture, n = mixed_covariances(150, 3), 90
    net = network("tanh", mixture, n)
    law = spectra.limiting_law(net, mixture, n)
    equations = law.bulk.equations
    assert isinstance(equations.traces, Full)
    (interval,) = law.bulk.intervals
    x = np.linspace(*law.support[0], 13)[1:-1]
    for m, z in zip(interval.at(x), x):
        C = equations.traces.matrices
        P = np.linalg.inv(np.eye(150) + np.tensordot(equations.ratios * m, C, 1))
        delta = np.einsum("aij,ji->a", C, P) / 150
        np.testing.assert_allclose(m * (equations.places - z + delta), 1, atol=1e-4)
    edge, at_edge = interval.upper, law.bulk.ends[0][1]
    assert equations.stability(at_edge) == pytest.approx(0, abs=1e-4)
    assert np.abs(equations.residual(at_edge[None], np.array([edge]))[0]).max() < 1e-4
    values = [spectra.eigenvalues(kernels.ck(net, mixture.sample(n, s).X)) for s in range(3)]
    assert law.distance(np.concatenate(values)) < 0.03


def dense_spikes(core, ratios, spread, means, gains, s, outside):
    """Zeros of det(I + B S), by the change of its sign on a fine grid, isotropic covariances I."""

    def determinant(z):
        m = 1 / (s - z)
        for _ in range(300):
            m = 1 / (s - z + gains**2 / (1 + ratios.sum() * gains**2 * m))
        P = 1 / (1 + ratios.sum() * gains**2 * m)
        S = np.zeros_like(core)
        K = len(ratios)
        S[:K, :K], S[K : 2 * K, K : 2 * K] = np.diag(ratios * m), np.diag(ratios * m * spread)
        S[2 * K :, 2 * K :] = (1 - P) * means.T @ means
        return np.linalg.det(np.eye(3 * K) + core @ S)

    signs = np.sign([determinant(z) for z in outside])
    return outside[:-1][signs[:-1] * signs[1:] < 0]


def test_spikes_are_all_zeros_of_the_determinant():
    p, n = 500, 400
    means = np.zeros((3, p))
    means[[0, 1, 2], [0, 1, 2]] = 3.0, 4.0, 5.0
    mixture = mixtures.GaussianMixture(means, [1.0, 1.0, 1.0])
    law = spectra.limiting_law(network("relu", mixture, n), mixture, n, law="plain")
    found = law.perturbation
    place, gain = plain_parts(law)
    z = np.linspace(law.support[0][1] * 1.0001, 12, 1000)
    expected = dense_spikes(
        found.core, found.ratios, found.spread, found.means, np.sqrt(gain), place, z
    )
    above = law.spikes[law.spikes > law.support[0][1]]
    assert len(above) == len(expected) >= 3
    np.testing.assert_allclose(above, expected, atol=z[1] - z[0])


def test_spikes_at_one_place_are_all_counted():
    """Three orthogonal means of one length, centered: two equal spikes, which no change of sign shows."""
    p, n = 300, 300
    means = 3 * (np.eye(3, p) - np.r_[np.ones(3), np.zeros(p - 3)] / 3)
    mixture = mixtures.GaussianMixture(means, [1.0] * 3)
    law = spectra.limiting_law(network("tanh", mixture, n), mixture, n, law="plain")
    assert len(law.spikes) == 2
    assert law.spikes[0] == pytest.approx(law.spikes[1], rel=1e-9)
    place, gain = plain_parts(law)
    m = 3.0  # the mean squared projection on either direction is |mu|^2/2 = 9 * 2/3/2
    assert law.spikes[0] == pytest.approx(place + gain * (1 + m) ** 2 / m, rel=1e-8)
    assert law.alignments == pytest.approx([1 - 1 / m] * 2, rel=1e-7)


@pytest.mark.parametrize("law", ["plain", "classwise"])
@pytest.mark.parametrize("n", [300, 900])
def test_transform_density_and_distribution_agree(law, n):
    mixture = mixtures.two_class(600)
    found = spectra.limiting_law(network("relu", mixture, n), mixture, n, law=law)
    x = np.linspace(found.support[0][0] - 0.01, found.support[-1][1] + 0.01, 200_001)
    density = found.density(x)
    assert np.trapezoid(density, x) + sum(a.mass for a in found.atoms) == pytest.approx(1, abs=1e-4)
    steps = np.diff(found.cdf(x))
    assert (steps >= -1e-12).all() and found.cdf([1e9]) == pytest.approx(1, abs=1e-6)
    for z in (0.3 + 0.2j, 0.3 - 0.2j, 5.0, -1.0):
        integral = np.trapezoid(density / (x - z), x) + sum(
            a.mass / (a.place - z) for a in found.atoms
        )
        assert found.stieltjes(z) == pytest.approx(integral, abs=2e-4)


def test_defined_answers_and_errors():
    mixture = mixtures.two_class(200)
    net = network("relu", mixture, 100)
    law = spectra.limiting_law(net, mixture, 100)
    low, high = law.support[0]
    assert law.density([-1e300, low, high, 1e300]).tolist() == [0, 0, 0, 0]
    assert law.density(np.ones((2, 3))).shape == (2, 3)
    with pytest.raises(ValueError, match="a real number in the bulk"):
        law.stieltjes((low + high) / 2)
    with pytest.raises(ValueError, match="must be finite"):
        law.density([np.nan])
    with pytest.raises(ValueError, match="finite numbers"):
        law.stieltjes([np.inf])
    with pytest.raises(ValueError, match="at least one"):
        law.distance([])
    wide = spectra.limiting_law(net, mixture, 300, law="plain")
    with pytest.raises(ValueError, match="a pole"):
        wide.stieltjes(wide.atom.place)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kernel": "gram"}, ValueError, "kernel must be one of"),
        ({"law": "exact"}, ValueError, "law must be one of"),
        ({"n": 1}, ValueError, "every class a sample"),
        ({"n": 0}, ValueError, "n must be at least 1"),
        ({"mixture": np.eye(3)}, TypeError, "from_data"),
        ({"trained": "none"}, ValueError, "trained"),
        ({"network": networks.ImplicitNetwork("relu", 0.2)}, ValueError, "centered"),
        ({"mixture": mixtures.GaussianMixture(np.zeros((1, 3)), [0.0])}, ValueError, "tau0 > 0"),
        ({"network": "relu"}, TypeError, "network"),
    ],
)
def test_wrong_arguments(change, error, message):
    mixture = mixtures.two_class(200)
    arguments = {"network": network("relu", mixture, 100), "mixture": mixture, "n": 100} | change
    with pytest.raises(error, match=message):
        spectra.limiting_law(**arguments)


def test_singular_covariances_and_many_classes():
    """Half of the dimensions empty: the rank counts. More classes than a sample each: fine."""
    C = np.zeros((2, 200))
    C[:, :80] = 1.0
    mixture = mixtures.GaussianMixture(np.zeros((2, 200)), C)
    law = spectra.limiting_law(network("tanh", mixture, 100), mixture, 100, law="plain")
    assert law.atom.mass == pytest.approx(0.2)
    full = spectra.limiting_law(network("tanh", mixture, 100), rotated(mixture), 100, law="plain")
    assert full.atom.mass == pytest.approx(0.2)
    np.testing.assert_allclose(full.support, law.support, rtol=1e-8)
    many = mixtures.GaussianMixture(np.zeros((30, 50)), np.linspace(0.9, 1.1, 30))
    assert spectra.limiting_law(network("tanh", many, 30), many, 30).cdf([9.0]) == pytest.approx(1)
    none = mixtures.GaussianMixture([[0.0] * 50, [2.0] + [0.0] * 49], [1.0, 0.0])
    law = spectra.limiting_law(network("tanh", none, 40), none, 40)
    assert law.atom.mass == pytest.approx(0.5)


def test_infinite_diagonal():
    mixture = mixtures.two_class(200)
    net = networks.ExplicitNetwork(("sign",)).centered(scale(mixture, 100))
    spectra.limiting_law(net, mixture, 100)
    with pytest.raises(ValueError, match="infinite"):
        spectra.limiting_law(net, mixture, 100, "ntk")


def test_lost_mass_is_an_error(monkeypatch):
    """An interval that the search overlooks."""
    from helpers import support

    search = support._search
    monkeypatch.setattr(support, "_search", lambda *arguments: search(*arguments)[1:])
    C = np.repeat([1.0, 30.0], 100)
    mixture = mixtures.GaussianMixture(np.zeros((1, 200)), C[None])
    with pytest.raises(ConvergenceError, match="mass"):
        spectra.limiting_law(network("tanh", mixture, 2000), mixture, 2000)


def test_many_gaps():
    """Far apart eigenvalues and many samples: one interval each, also those that no first grid meets."""
    values = np.exp(np.linspace(-3, 3, 12))
    found = bulk(
        Equations(Commuting(values[None], np.ones(12) / 12), np.array([400.0]), np.zeros(1))
    )
    assert len(found.intervals) == 12
    np.testing.assert_allclose(found.masses().ravel() * 400, 1 / 12, atol=1e-6)


def test_data_make_a_law():
    mixture = shapes(40)
    sample = mixture.sample(4000, 0)
    estimated = mixtures.GaussianMixture.from_data(sample.X, sample.labels)
    net = network("tanh", estimated, 30)
    true = spectra.limiting_law(net, mixture, 30)
    law = spectra.limiting_law(net, estimated, 30)
    assert law.support[0] == pytest.approx(true.support[0], rel=0.05)
    assert law.spikes == pytest.approx(true.spikes, rel=0.05)


def test_perturbation_without_signal_has_no_spikes():
    mixture = mixtures.GaussianMixture(np.zeros((1, 100)), [1.0])
    law = spectra.limiting_law(network("tanh", mixture, 50), mixture, 50)
    assert isinstance(law.perturbation, Perturbation)
    assert law.spikes.size == law.alignments.size == 0


@pytest.mark.parametrize("law", ["plain", "classwise"])
def test_a_law_on_a_grid_is_near_the_exact_one(law):
    mixture, n = mixtures.two_class(600), 480
    net = network("relu", mixture, n)
    exact = spectra.limiting_law(net, mixture, n, law=law)
    grid = spectra.limiting_law(net, mixture, n, law=law, resolution=0.01)
    x = np.linspace(exact.support[0][0] - 0.1, exact.support[-1][1] + 0.1, 301)
    np.testing.assert_allclose(grid.cdf(x), exact.cdf(x), atol=2e-3)
    assert grid.support[-1][1] == pytest.approx(exact.support[-1][1], rel=0.02)
    assert grid.spikes == pytest.approx(exact.spikes[-2:], rel=1e-9)
    assert grid.alignments == pytest.approx(exact.alignments[-2:], rel=1e-7)


def test_a_law_on_a_grid_resolves_gaps_and_atoms():
    """Exact separation: masses of the intervals and of the atom are known."""
    C = np.repeat([0.0, 1.0, 30.0], [50, 100, 50])
    mixture, n = mixtures.GaussianMixture(np.zeros((1, 200)), C[None]), 4000
    law = spectra.limiting_law(network("tanh", mixture, n), mixture, n, resolution=0.01)
    assert law.atom.mass == pytest.approx(1 - 150 / n)
    masses = law.bulk.masses().ravel() * n
    np.testing.assert_allclose(masses, [100, 50], atol=1.0)


def spread_out(p, n, seed=0):
    """Data whose variances span five orders, as those of images do, in two classes."""
    rng = np.random.default_rng(seed)
    scale = np.geomspace(0.03, 10, p)[:, None]
    labels = np.arange(n) % 2
    return scale * (rng.standard_normal((p, n)) + 0.2 * labels) / np.sqrt(p), labels


def test_data_of_many_orders_make_a_law_on_a_grid():
    """Fewer samples a class than dimensions: covariances are singular and full."""
    X, labels = spread_out(120, 200)
    rough = mixtures.GaussianMixture.from_data(X, labels)
    values, basis = np.linalg.eigh(np.tensordot(rough.proportions, rough.covariances, 1))
    values = np.maximum(values, 0.0)
    pooled = mixtures.GaussianMixture(rough.means @ basis, np.stack([values] * 2))
    net = network("tanh", pooled, 100)
    law = spectra.limiting_law(net, pooled, 100, law="plain", resolution=0.02)
    place, gain = plain_parts(law)
    draws = [pooled.sample(100, seed).X for seed in range(4)]
    seen = [place + gain * spectra.eigenvalues(X.T @ X) for X in draws]
    assert law.distance(np.concatenate(seen)) < 0.02
    assert law.cdf([1e9]) == pytest.approx(1, abs=0.02)
    with pytest.raises(ValueError, match="common eigenvectors"):
        spectra.limiting_law(net, rough, 100, resolution=0.02)


@pytest.mark.parametrize("resolution", [0.0, -1.0, np.nan, "fine"])
def test_wrong_resolution(resolution):
    mixture = mixtures.two_class(200)
    with pytest.raises((ValueError, TypeError), match="resolution"):
        spectra.limiting_law(network("relu", mixture, 100), mixture, 100, resolution=resolution)
