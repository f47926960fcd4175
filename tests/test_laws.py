"""Limiting laws against closed forms, against eigenvalues of exact kernels, and against each other."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq

from helpers import kernels, mixtures, networks, spectra, support
from helpers.bulk import Commuting, Equations, Full, _on_curve, _solve, edge
from helpers.errors import ConvergenceError
from helpers.laws import Atom, LimitingLaw, _definite, _groups, _rank, _require_unit_mass
from helpers.spikes import POLE, Gap, Perturbation, _gaps, _inner, _outer, _span, spikes
from helpers.support import Bulk, Sampled, _Hidden, bulk, sampled

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
    assert law.kind == "classwise"
    assert (
        spectra.limiting_law(network("tanh", mixture, 50), mixture, 50, law="plain").kind == "plain"
    )
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
    with pytest.raises((ValueError, TypeError), match="^resolution must be"):
        spectra.limiting_law(network("relu", mixture, 100), mixture, 100, resolution=resolution)


# ---------------------------------------------------------------- the equations


def isotropic(c, place=0.0, value=1.0):
    """One class of covariance value * I: Marchenko and Pastur's law with its edges moved and scaled."""
    return Equations(Commuting(np.full((1, 1), value), ONE), np.array([c]), np.array([place]))


def edges_of(c, place=0.0, value=1.0):
    return place + value * (1 - np.sqrt(c)) ** 2, place + value * (1 + np.sqrt(c)) ** 2


def transform(z, c, place=0.0, value=1.0):
    """The root of c v w m^2 + (w - v + c v) m + 1 = 0, w = z - place, that decays as -1/w."""
    w, (low, high) = np.asarray(z, complex) - place, edges_of(c, 0.0, value)
    root = np.sqrt(w - low) * np.sqrt(w - high)
    return (root - w + value - c * value) / (2 * c * value * w)


def two_classes():
    """Equations of two classes with five common eigenvectors, and the covariances as matrices."""
    values = np.array([[0.3, 1.0, 2.0, 0.5, 1.4], [1.2, 0.4, 1.0, 3.0, 0.8]])
    traces = Commuting(values, np.full(5, 0.2))
    equations = Equations(traces, np.array([0.4, 0.7]), np.array([0.1, 0.6]))
    return equations, np.stack([np.diag(v) for v in values])


def noncommuting(K=2, p=6, seed=3):
    draws = np.random.default_rng(seed).standard_normal((K, p, 2 * p))
    return draws @ draws.transpose(0, 2, 1) / (2 * p)


def traced(w, C):
    """Both traces at one row of weights, with the inverse of a matrix."""
    P = np.linalg.inv(np.eye(C.shape[1]) + np.tensordot(w, C, 1))
    first = [np.trace(A @ P) for A in C]
    return np.array(first) / len(P), np.array(
        [[np.trace(A @ P @ B @ P) for B in C] for A in C]
    ) / len(P)


WEIGHTS = {
    "positive": np.array([[0.3, 0.8], [1.5, 0.1]]),
    "indefinite": np.array([[-3.0, 0.2], [0.4, -7.0]]),
    "complex": np.array([[0.3 + 0.5j, -0.2 + 0.1j], [1.0 + 2.0j, 0.3j]]),
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_traces_are_those_of_an_inverse_matrix(kind):
    w = WEIGHTS[kind]
    equations, C = two_classes()
    expected = [np.stack(part) for part in zip(*(traced(row, C) for row in w))]
    first, second = equations.traces(w)
    np.testing.assert_allclose(first, expected[0], rtol=1e-12)
    np.testing.assert_allclose(second, expected[1], rtol=1e-12)
    for slopes in ("near", "exact", "none"):  # the matrices are diagonal: near is exact
        if kind == "complex" and slopes == "exact":
            continue  # of these slopes, which are for the real axis, single precision has no complex kind
        first, second = Full(C)(w, slopes)
        np.testing.assert_allclose(first, expected[0], rtol=1e-12)
        np.testing.assert_allclose(
            second, 0 * expected[1] if slopes == "none" else expected[1], rtol=1e-6
        )
    np.testing.assert_allclose(Full(C)(w)[1], expected[1], rtol=1e-12)


@pytest.mark.parametrize("kind", WEIGHTS)
def test_traces_of_covariances_that_do_not_commute(kind):
    """Exact slopes are rounded to single precision; near ones take P for its diagonal."""
    w, C = WEIGHTS[kind], noncommuting()
    for row in w:
        first, second = traced(row, C)
        near = np.diag(np.diag(np.linalg.inv(np.eye(6) + np.tensordot(row, C, 1))))
        found = Full(C)(row[None], "near")
        np.testing.assert_allclose(found[0][0], first, rtol=1e-10)
        expected = [[np.trace(A @ near @ B @ near) / 6 for B in C] for A in C]
        np.testing.assert_allclose(found[1][0], expected, rtol=1e-10)
        assert not Full(C)(row[None], "none")[1].any()
        if kind != "complex":
            np.testing.assert_allclose(Full(C)(row[None], "exact")[1][0], second, rtol=1e-4)


def test_many_traces_are_found_in_parts():
    rng = np.random.default_rng(0)
    traces = Commuting(rng.uniform(0.5, 2, (2, 1500)), np.full(1500, 1 / 1500))
    w = rng.uniform(0, 1, (1501, 2))  # beyond the size of one part
    first, second = traces(w)
    some = [0, 750, 1500]
    np.testing.assert_allclose(first[some], traces(w[some])[0], rtol=1e-13)
    np.testing.assert_allclose(second[some], traces(w[some])[1], rtol=1e-13)
    assert first.shape == (1501, 2) and second.shape == (1501, 2, 2)


@pytest.mark.parametrize(("K", "columns"), [(1, 2048), (2, 1024), (16, 128), (40, 128)])
def test_coarse_traces_are_averages_of_neighbors(K, columns):
    rng = np.random.default_rng(K)
    values, weights = rng.uniform(0, 3, (K, 3001)), rng.dirichlet(np.ones(3001))
    coarse = Commuting(values, weights).coarse()
    assert coarse.values.shape == (K, columns) and coarse.weights.shape == (columns,)
    np.testing.assert_allclose(coarse.values @ coarse.weights, values @ weights, rtol=1e-12)
    assert coarse.weights.sum() == pytest.approx(1, rel=1e-12)
    # groups follow each other in the order of the mean over classes
    order = np.argsort(values.mean(axis=0))
    size = -(-3001 // columns)
    group = order[:size]
    assert coarse.weights[0] == pytest.approx(weights[group].sum(), rel=1e-12)
    average = values[:, group] @ weights[group] / weights[group].sum()
    np.testing.assert_allclose(coarse.values[:, 0], average, rtol=1e-12)
    few = Commuting(values[:, :columns], weights[:columns])
    assert few.coarse() is few
    assert (
        Commuting(values[:, : columns + 1], weights[: columns + 1]).coarse().values.shape[1]
        == columns
    )


def test_coarse_traces_of_full_covariances_are_their_diagonals():
    C = noncommuting()
    coarse = Full(C).coarse()
    np.testing.assert_array_equal(coarse.values, [np.diag(A) for A in C])
    np.testing.assert_allclose(coarse.weights, np.full(6, 1 / 6), rtol=1e-15)


def test_residual_and_its_jacobian():
    """The equations as they are written, and derivatives by a step along the imaginary axis."""
    equations, C = two_classes()
    m, z = np.array([[0.7, -0.4], [1.1, 2.0]]), np.array([-0.3, 0.8])
    found, jacobian = equations.residual(m, z)
    for i in range(2):
        delta = traced(equations.ratios * m[i], C)[0]
        np.testing.assert_allclose(
            found[i], m[i] * (equations.places - z[i] + delta) - 1, rtol=1e-12
        )
        for b in range(2):
            moved = m[i].astype(complex)
            moved[b] += 1e-20j
            delta = traced(equations.ratios * moved, C)[0]
            slope = (moved * (equations.places - z[i] + delta)).imag / 1e-20
            np.testing.assert_allclose(jacobian[i, :, b], slope, rtol=1e-10)


def by_hand(equations, m, z, steps, dear):
    """Newton's method at one z, with Broyden's update of the first slopes where they are dear."""
    r, J = (part[0] for part in equations.residual(m[None], np.array([z])))
    for _ in range(steps):
        move = -np.linalg.solve(J, r)
        m = m + move
        r, new = (part[0] for part in equations.residual(m[None], np.array([z])))
        J = J + np.outer(r, move.conj()) / np.linalg.norm(move) ** 2 if dear else new
    return m, np.abs(r).max()


@pytest.mark.parametrize("dear", [False, True])
@pytest.mark.parametrize("z", [-1.0, 0.9 + 0.7j])
def test_steps_of_newton(dear, z):
    equations, _ = two_classes()
    if dear:
        equations = Equations(Full(noncommuting()), equations.ratios, equations.places)
    start = 0.8 / (equations.places - z)
    for steps in range(7):
        m, error = equations.newton(start[None], np.array([z]), steps, 1e-15)
        expected = by_hand(equations, start, z, steps, dear)
        np.testing.assert_allclose(m[0], expected[0], rtol=1e-8)
        assert error[0] == pytest.approx(expected[1], rel=1e-3, abs=1e-12)


def test_newton_solves_a_batch_as_one_by_one():
    equations = isotropic(0.5)
    z = np.array([-2.0, 3.5, 0.02, 100.0])
    start = 0.9 * transform(z, 0.5).real[:, None]
    m, error = equations.newton(start, z)
    np.testing.assert_allclose(m[:, 0], transform(z, 0.5).real, rtol=1e-9)
    assert (error <= equations.traces.tolerance).all()
    loose, loose_error = equations.newton(start, z, tolerance=1e-3)
    for i in range(4):
        one, its = equations.newton(start[i : i + 1], z[i : i + 1], tolerance=1e-3)
        assert (one[0, 0], its[0]) == pytest.approx((loose[i, 0], loose_error[i]), rel=1e-12)
        steps = next(k for k in range(9) if by_hand(equations, start[i], z[i], k, False)[1] <= 1e-3)
        expected = by_hand(equations, start[i], z[i], steps, False)
        assert (one[0, 0], its[0]) == pytest.approx((expected[0][0], expected[1]), rel=1e-8)
    assert start[0, 0] == 0.9 * transform(z, 0.5).real[0]  # what was given is left as it was


def test_newton_gives_up_where_the_equations_are_infinite():
    """At the pole 1 + c m = 0 of the traces there is no residual, and none is claimed."""
    with np.errstate(all="ignore"):
        m, error = isotropic(0.5).newton(np.array([[-2.0], [-0.2]]), np.array([5.0, 5.0]))
    assert error[0] == np.inf and error[1] < 1e-11
    assert m[1, 0] == pytest.approx(transform(5.0, 0.5).real, rel=1e-9)


def test_a_batch_with_a_singular_matrix_is_solved_by_least_squares():
    J = np.array([[[2.0, 0.0], [0.0, 4.0]], [[1.0, 1.0], [1.0, 1.0]]])
    r = np.array([[2.0, 8.0], [3.0, 1.0]])
    np.testing.assert_allclose(_solve(J, r), [[1.0, 2.0], [1.0, 1.0]], atol=1e-13)


@pytest.mark.parametrize(
    ("c", "place", "value"), [(0.5, 0.0, 1.0), (0.3, 1.0, 2.0), (2.5, -1.0, 0.5)]
)
def test_slope_and_stability_in_closed_form(c, place, value):
    """dm/dz by a difference of the closed form; the stability is m^2/(dm/dz)."""
    equations, (low, high) = isotropic(c, place, value), edges_of(c, place, value)
    for z in (low - 1.5, high + 0.2, high + 5.0):
        m = transform([z], c, place, value).real
        step = 1e-5
        slope = (
            (transform(z + step, c, place, value) - transform(z - step, c, place, value)).real
            / 2
            / step
        )
        found, stability = equations.slope(m, z)
        assert found[0] == pytest.approx(slope, rel=1e-6)
        assert stability == pytest.approx(m[0] ** 2 / slope, rel=1e-6)
        assert equations.stability(m) == stability
    assert equations.stability(transform([high], c, place, value).real) == pytest.approx(
        0, abs=1e-6
    )


def test_slope_of_two_classes_is_a_difference_quotient():
    equations, _ = two_classes()
    low, high = (
        equations.newton(1 / (equations.places - z)[None], np.array([z]))[0][0]
        for z in (-2.001, -1.999)
    )
    middle = equations.newton((low + high)[None] / 2, np.array([-2.0]))[0][0]
    slope, stability = equations.slope(middle, -2.0)
    np.testing.assert_allclose(slope, (high - low) / 0.002, rtol=1e-5)
    # rho of (eq-stability): eigenvalues of a product that is not symmetric
    second = traced(equations.ratios * middle, two_classes()[1])[1]
    rho = np.linalg.eigvals(np.diag(middle**2 * equations.ratios) @ second).real.max()
    assert stability == pytest.approx(1 - rho, rel=1e-9)


@pytest.mark.parametrize(("c", "place", "value"), [(0.5, 0.0, 1.0), (2.5, -1.0, 0.5)])
def test_outside_are_the_points_beyond_the_edges(c, place, value):
    low, high = edges_of(c, place, value)
    z = np.array(
        [
            low - 2,
            low - 1e-3 * value,
            low + 1e-3,
            (low + high) / 2,
            high - 1e-3,
            high + 1e-3,
            high + 9,
        ]
    )
    stable, m = isotropic(c, place, value).outside(transform(z, c, place, value)[:, None], z)
    assert stable.tolist() == [True, True, False, False, False, True, True]
    np.testing.assert_allclose(m[stable, 0], transform(z, c, place, value)[stable].real, rtol=1e-7)


@pytest.mark.parametrize(("depth", "steps"), [(100.0, 12), (100.0, 3), (7.0, 0)])
def test_solutions_from_above_are_those_at_the_last_height(depth, steps):
    z = np.array([-1.0, 1.5, 2.0, 3.0, edges_of(0.5, 1.0, 2.0)[1]])
    m = isotropic(0.5, 1.0, 2.0).from_above(z, depth, steps)[:, 0]
    exact = transform(z + 1j * depth / 4**steps, 0.5, 1.0, 2.0)
    np.testing.assert_allclose(m, exact, atol=3e-5 if steps else 0.01)
    if steps == 12:
        np.testing.assert_array_equal(m, isotropic(0.5, 1.0, 2.0).from_above(z, depth)[:, 0])


def test_where_newton_fails_above_the_axis_a_damped_iteration_goes_on(monkeypatch):
    """Newton's method with an error, as it may come from a bad start, in all but the last call at a height."""
    newton, steps = Equations.newton, []

    def fails(self, m, z, *limits):
        steps.append(len(z))
        found, error = newton(self, m, z, *limits)
        return (found.conj(), error) if limits else (found, error)

    monkeypatch.setattr(Equations, "newton", fails)
    z = np.array([0.5, 2.0])
    m = isotropic(0.5).from_above(z, 4.0, 3)[:, 0]
    np.testing.assert_allclose(m, transform(z + 1j / 16, 0.5), rtol=1e-8)
    assert steps == [2] * 6


def test_damped_iteration_reaches_the_solution_from_anywhere(monkeypatch):
    z = np.array([0.5 + 0.3j, 2.0 + 0.5j, -1.0 + 1.0j])
    start = np.array([[50.0 + 0.01j], [-30.0 + 1.0j], [0.001j]])
    found = isotropic(0.5)._damped(start, z)
    np.testing.assert_allclose(found[:, 0], transform(z, 0.5), rtol=1e-9)
    assert isotropic(0.5)._damped(start[:0], z[:0]).shape == (0, 1)
    monkeypatch.setattr(Equations, "newton", lambda self, m, z: (m, None))  # the iteration alone
    np.testing.assert_allclose(isotropic(0.5)._damped(start, z)[:, 0], transform(z, 0.5), rtol=1e-6)
    assert not np.allclose(isotropic(0.5)._damped(start, z, 4)[:, 0], transform(z, 0.5), rtol=1e-2)


# ---------------------------------------------------------------- edges


@pytest.mark.parametrize(
    ("c", "place", "value"), [(0.5, 0.0, 1.0), (0.04, 3.0, 2.0), (2.5, -1.0, 0.5)]
)
@pytest.mark.parametrize("away", [1e-3, 0.1, 2.0])
def test_an_edge_is_found_from_either_side(c, place, value, away):
    low, high = edges_of(c, place, value)
    for exact, z, side in ((low, low - away, 1), (high, high + away, -1)):
        if abs(z - place) < 0.2 * away or (z - place) * (exact - place) < 0:
            continue  # the place, a pole, is between
        m = transform([z], c, place, value).real
        found, at_edge = edge(isotropic(c, place, value), z, m, side, away)
        assert found == pytest.approx(exact, rel=1e-8)
        assert at_edge[0] == pytest.approx(transform(exact, c, place, value).real, rel=1e-6)
        if away < 0.01:
            found, _ = edge(isotropic(c, place, value), z, m, 0, high - low)
            assert found == pytest.approx(exact, rel=1e-8)


def test_an_edge_of_two_classes_is_a_double_solution():
    """There the equations hold and their Jacobian is singular."""
    equations, C = two_classes()
    (interval,) = bulk(equations).intervals
    m = equations.newton(1 / (equations.places - 20.0)[None], np.array([20.0]))[0][0]
    found, at_edge = edge(equations, 20.0, m, -1, 20.0 - interval.lower)
    assert found == pytest.approx(interval.upper, rel=1e-8)
    delta, second = traced(equations.ratios * at_edge, C)
    np.testing.assert_allclose(at_edge * (equations.places - found + delta), 1, atol=1e-8)
    jacobian = np.diag(1 / at_edge) - at_edge[:, None] * second * equations.ratios
    assert np.abs(np.linalg.eigvals(jacobian)).min() < 1e-6


def test_an_edge_out_of_reach_is_not_found():
    z = 10.0
    m = transform([z], 0.5).real
    with pytest.raises(ConvergenceError, match="an edge of the bulk was not found") as caught:
        edge(isotropic(0.5), z, m, -1, 1e-13)
    assert caught.value.residual == pytest.approx(isotropic(0.5).stability(m), rel=1e-3)


def test_a_point_on_the_curve_of_solutions():
    """z and m with t = <direction, (m - start)/size>: the closed form at m is z(m)."""
    equations, z = isotropic(0.5), 5.0
    m = transform([z], 0.5).real
    size, direction = np.abs(m), np.ones(1)
    found, solution, stability = _on_curve(equations, z, m, m, size, direction, -0.1)
    assert solution == pytest.approx(m - 0.1 * size, rel=1e-9)
    assert found == pytest.approx(-1 / solution[0] + 1 / (1 + 0.5 * solution[0]), rel=1e-9)
    assert stability == pytest.approx(
        1 - 0.5 * solution[0] ** 2 / (1 + 0.5 * solution[0]) ** 2, rel=1e-9
    )
    assert _on_curve(equations, z, m, m, size, np.zeros(1), -0.1) is None  # no direction: singular
    assert _on_curve(equations, z, m, m, size, direction, 1e5) is None  # far beyond all solutions
    assert _on_curve(equations, z, m, m, size, direction, np.nan) is None


def test_a_point_on_the_curve_that_is_not_reached(monkeypatch):
    """Residuals that do not fall, as of equations with wrong slopes."""
    equations = isotropic(0.5)
    m = transform([5.0], 0.5).real
    residual = Equations.residual
    monkeypatch.setattr(
        Equations,
        "residual",
        lambda *given: [5 * part for part in residual(*given)[:1]] + [100 * residual(*given)[1]],
    )
    assert _on_curve(equations, 5.0, 1.3 * m, m, np.abs(m), np.ones(1), 0.3) is None


# ---------------------------------------------------------------- intervals and the search for them


def test_masses_and_distribution_of_marchenko_and_pastur():
    """Integrals of the closed density by adaptive quadrature."""
    c, place, value = 0.3, 1.0, 2.0
    found = bulk(isotropic(c, place, value))
    low, high = edges_of(c, place, value)
    density = lambda x: transform(x + 1e-300j, c, place, value).imag / np.pi
    for x in low + np.array([0.05, 0.4, 0.9]) * (high - low):
        exact = quad(density, low, x, epsabs=1e-12, limit=200)[0]
        assert found.cdf(np.array([x]), ONE)[0] == pytest.approx(exact, abs=1e-9)
        assert found.density(np.array([x]), ONE)[0] == pytest.approx(density(x), rel=1e-8)
        assert found.cdf(np.array([x]), 0.25 * ONE)[0] == pytest.approx(exact / 4, abs=1e-9)
    assert found.cdf(np.array([low - 1, high + 1]), ONE) == pytest.approx([0, 1], abs=1e-9)
    assert found.masses() == pytest.approx(np.ones((1, 1)), abs=1e-9)
    assert found.exact


def test_an_interval_at_an_angle_is_the_one_at_its_point():
    (interval,) = bulk(isotropic(0.3)).intervals
    angle = np.array([0.0, 0.4, np.pi / 2, 2.0, np.pi])
    z = (interval.lower + interval.upper) / 2 + (interval.upper - interval.lower) / 2 * np.cos(
        angle
    )
    np.testing.assert_allclose(interval.at_angle(angle), interval.at(z), atol=1e-7)
    np.testing.assert_allclose(
        interval.at(z)[1:-1, 0], transform(z[1:-1] + 1e-300j, 0.3), rtol=1e-9
    )
    ends = transform([interval.upper, interval.lower], 0.3).real
    np.testing.assert_allclose(interval.at_angle(angle[[0, -1]])[:, 0], ends, rtol=1e-6)
    assert interval.residual < 1e-8
    np.testing.assert_allclose(np.abs(interval.support), 1, rtol=1e-12)  # e^(i angle)
    # a rational function of degree two in e^(i angle), so that the first nodes are enough
    assert interval.solved == 8


def test_a_sampled_interval_is_linear_between_its_points():
    points, values = np.array([1.0, 2.0, 5.0]), np.array([[1j, 0], [3j, 2], [0, 8]])
    interval = Sampled(1.0, 5.0, points, values, 0.0)
    np.testing.assert_allclose(interval.at(np.array([1.5, 3.0])), [[2j, 1], [2j, 4]])
    np.testing.assert_allclose(
        interval.at_angle(np.array([0.0, np.pi / 2, np.pi])), [[0, 8], [2j, 4], [1j, 0]], atol=1e-14
    )


def test_a_rational_function_is_found_from_its_values():
    """Two functions with common poles at 3 and -2 +- i, given at 60 points of the circle."""
    points = np.exp(1j * np.linspace(0, 2 * np.pi, 60, endpoint=False))
    functions = lambda z: np.stack(
        [1 / (z - 3) + 2 / ((z + 2) ** 2 + 1), 100 * z / (z - 3) + 5], axis=1
    )
    nodes, weights, values = support._rational(points, functions(points))
    assert len(nodes) <= 6
    elsewhere = np.array([0.3, 0.9 * np.exp(0.7j), -0.5j, 1.2])
    found = support._barycentric(elsewhere, nodes, weights, values)
    np.testing.assert_allclose(found, functions(elsewhere), rtol=1e-11)
    np.testing.assert_array_equal(support._barycentric(nodes, nodes, weights, values), values)


def silverstein(values, weights, c):
    """Edges of one class: where z(m) = -1/m + sum_k w_k v_k/(1 + c m v_k) turns, on a dense grid."""
    weights = np.array([weights[values == v].sum() for v in np.unique(values)])
    values = np.unique(values)
    slope = lambda m: 1 / m**2 - c * (weights * values**2 / (1 + c * m * values) ** 2).sum()
    place = lambda m: -1 / m + (weights * values / (1 + c * m * values)).sum()
    poles = [*(-1 / (c * values)), 0.0] if len(values) < 50 else [-1 / (c * values[-1]), 0.0]
    ends = []
    for low, high in pairwise([*[50 * poles[0]][: len(values) < 50], *poles, 10 / (c * values[0])]):
        m = low + (high - low) * (1 - np.cos(np.linspace(0, np.pi, 1000)[1:-1])) / 2
        signs = np.array([slope(one) > 0 for one in m])
        turns = np.flatnonzero(signs[1:] != signs[:-1])
        ends += [brentq(slope, m[i], m[i + 1], xtol=1e-300, rtol=1e-14) for i in turns]
    return np.sort([place(m) for m in ends]).reshape(-1, 2)


def test_many_columns_are_solved_coarsely_first():
    values = np.linspace(1, 3, 2500)
    equations = Equations(
        Commuting(values[None], np.full(2500, 1 / 2500)), np.array([0.5]), np.zeros(1)
    )
    assert equations.coarse().traces is not equations.traces
    found = bulk(equations)
    exact = silverstein(values, equations.traces.weights, 0.5)
    np.testing.assert_allclose([(i.lower, i.upper) for i in found.intervals], exact, rtol=1e-8)
    assert found.masses().sum() == pytest.approx(1, abs=1e-7)
    x = np.linspace(*exact[0], 9)[1:-1]
    for z, m in zip(x, found.intervals[0].at(x)[:, 0]):
        assert m * (np.mean(values / (1 + 0.5 * m * values)) - z) == pytest.approx(1, abs=1e-7)


def lonely(low):
    """129 eigenvalues 1, and one below them."""
    return np.r_[low, np.ones(129)], np.full(130, 1 / 130)


@pytest.mark.parametrize(("low", "c"), [(0.05, 200.0), (0.5, 1e4)])
def test_a_gap_that_only_exact_traces_have(monkeypatch, low, c):
    """Averaging merges the low eigenvalue with a neighbor: the coarse intervals are elsewhere."""
    monkeypatch.setattr("helpers.bulk.SIZE", 128)
    values, weights = lonely(low)
    equations = Equations(Commuting(values[None], weights), np.array([c]), np.zeros(1))
    assert equations.coarse().traces is not equations.traces
    with pytest.raises(ConvergenceError, match="^edges of the coarse bulk moved to the same place"):
        support._refine(equations, support.from_scratch(equations.coarse()))
    found = bulk(equations)
    exact = silverstein(values, weights, c)
    np.testing.assert_allclose([(i.lower, i.upper) for i in found.intervals], exact, rtol=1e-8)
    np.testing.assert_allclose(found.masses().ravel() * c, [1 / 130, 129 / 130], rtol=1e-4)


def test_an_interval_that_coarse_traces_do_not_have(monkeypatch):
    """Its eigenvalue is averaged away, and shows in the mass: the law is solved from scratch."""
    monkeypatch.setattr("helpers.bulk.SIZE", 128)
    values, weights = lonely(0.05)
    mixture = mixtures.GaussianMixture(np.zeros((1, 130)), values[None])
    net = network("tanh", mixture, 260)
    law = spectra.limiting_law(net, mixture, 260, law="plain")
    place, gain = plain_parts(law)
    exact = place + gain * silverstein(values, weights, 2.0)
    np.testing.assert_allclose(law.support, exact, rtol=1e-8)
    assert law.cdf([exact[0, 1], exact[1, 1]]) == pytest.approx([131 / 260, 1], abs=1e-6)
    assert spectra.limiting_law(net, mixture, 260, law="plain", resolution=0.01).cdf([99.0]) < 1.02


def test_a_gap_that_full_covariances_hide_is_an_error():
    """Eigenvalues 1 and 8 whose eigenvectors make the diagonal constant: it tells of no gap."""
    turn = np.kron(np.eye(20), np.array([[1, 1], [1, -1]]) / np.sqrt(2))
    C = turn @ np.diag([1.0, 8.0] * 20) @ turn.T
    with pytest.raises(ConvergenceError, match="^a gap in the bulk was not found") as caught:
        bulk(Equations(Full(C[None]), np.array([10.0]), np.zeros(1)))
    assert isinstance(caught.value.__cause__, _Hidden) and caught.value.residual == 1.0


def separate(count=12, c=400.0):
    """As many intervals as eigenvalues."""
    values = np.exp(np.linspace(-3, 3, count))
    return Equations(Commuting(values[None], np.ones(count) / count), np.array([c]), np.zeros(1))


def test_gaps_between_points_of_the_grid_are_found_later(monkeypatch):
    """A grid so coarse that a gap hides between its points; the solutions inside the interval tell."""
    monkeypatch.setattr(support, "GRID", 3)
    calls, search = [], support._search
    monkeypatch.setattr(support, "_search", lambda *given: calls.append(given) or search(*given))
    found, equations = bulk(separate()), separate()
    exact = silverstein(equations.traces.values[0], equations.traces.weights, 400.0)
    assert [size for _, size, _ in calls] == [3 * (i + 1) for i in range(len(calls))]
    assert len(calls) > 1 and calls[0][2].size == 0 and calls[1][2].size > 0
    np.testing.assert_allclose([(i.lower, i.upper) for i in found.intervals], exact, rtol=1e-8)


NARROW = [
    (
        [0.18848, 0.55487, 0.74594, 1.08256, 1.77681, 2.46707, 2.70479],
        [0.03549, 0.34524, 0.06315, 0.20694, 0.01485, 0.33137, 0.00296],
        16.45618,
    ),
    ([0.139, 0.281, 0.615, 0.729, 1.968], [0.213, 0.091, 0.627, 0.039, 0.03], 3.997),
    (
        [0.3713, 0.6855, 0.7397, 0.7813, 1.3528, 3.649, 4.3788, 4.6289],
        [0.0575, 0.1173, 0.0398, 0.0249, 0.3209, 0.3381, 0.062, 0.0395],
        3.8884,
    ),
]


@pytest.mark.parametrize(("values", "weights", "c"), NARROW)
def test_a_narrow_gap_has_an_edge_on_either_side(values, weights, c):
    """The stability rises to the middle of a gap, which may lie before the edge that is sought."""
    values, weights = np.array(values), np.array(weights)
    found = bulk(Equations(Commuting(values[None], weights), np.array([c]), np.zeros(1)))
    exact = silverstein(values, weights, c)
    assert 0 < (exact[1:, 0] - exact[:-1, 1]).min() < 0.001 * exact[-1, 1]
    np.testing.assert_allclose([(i.lower, i.upper) for i in found.intervals], exact, rtol=1e-8)
    assert found.masses().sum() == pytest.approx(1 / c, abs=1e-7)


def test_gaps_that_stay_hidden_are_an_error(monkeypatch):
    """The same grid, and one attempt: the error says how many points were in gaps."""
    monkeypatch.setattr(support, "GRID", 2)
    monkeypatch.setattr(support, "ATTEMPTS", 1)
    with pytest.raises(ConvergenceError, match="^not all gaps in the bulk were found") as caught:
        bulk(separate())
    assert caught.value.residual >= 1


def test_a_density_that_is_not_resolved_is_an_error(monkeypatch):
    """Two intervals that are about to part: the density between them has a cube root's cusp."""
    close = Equations(
        Commuting(np.array([[1.0, 9.0]]), np.full(2, 0.5)), np.array([1.18]), np.zeros(1)
    )
    with pytest.raises(
        ConvergenceError, match="^the density between two edges was not resolved"
    ) as caught:
        bulk(close)
    assert 1e-11**0.75 < caught.value.residual < 1e-3
    apart = Equations(
        close.traces, np.array([1.1]), np.zeros(1)
    )  # which takes more than the first nodes
    (interval,) = bulk(apart).intervals
    monkeypatch.setattr(support, "NODES", interval.solved // 2)
    with pytest.raises(ConvergenceError, match="^the density between two edges was not resolved"):
        bulk(apart)
    monkeypatch.undo()
    monkeypatch.setattr(support, "ROUNDS", 1)
    with pytest.raises(ConvergenceError, match="^the density between two edges was not resolved"):
        bulk(apart)


def test_nodes_are_solved_from_a_guess_where_the_start_is_of_no_use():
    equations = isotropic(0.5)
    z = np.linspace(0.3, 2.5, 5)
    exact = transform(z + 1e-300j, 0.5)[:, None]
    asked = []

    def guess(z):
        asked.append(z)
        return equations.from_above(z, 3.0)

    start = exact.copy()
    start[[1, 3]] = start[[1, 3]].conj()  # solutions, of the lower half plane
    np.testing.assert_allclose(support._nodes(equations, z, guess, start), exact, rtol=1e-9)
    assert [a.tolist() for a in asked] == [z[[1, 3]].tolist()]
    np.testing.assert_allclose(support._nodes(equations, z, guess), exact, rtol=1e-9)
    with pytest.raises(_Hidden) as hidden:
        support._nodes(equations, np.r_[z, 4.0, 5.0], guess)
    assert hidden.value.points.tolist() == [4.0, 5.0]
    assert isinstance(hidden.value, Exception) and hidden.value.args == (hidden.value.points,)
    with pytest.raises(
        ConvergenceError, match="^the law's equations were not solved inside the bulk"
    ) as caught:
        support._nodes(equations, z, lambda z: transform(z + 1e-300j, 0.5)[:, None].conj())
    assert caught.value.residual < 1e-8  # that of a solution, which is the wrong one


def test_a_density_that_begins_at_a_place_is_infinite_there():
    """As many samples of the upper class as dimensions: a hard edge at its place, solved by no edge."""
    equations = Equations(
        Commuting(np.ones((2, 1)), ONE), np.array([0.3, 1.0]), np.array([0.0, 10.0])
    )
    found = bulk(equations)
    assert [i.lower for i in found.intervals][1] == 10.0
    (_, upper), (hard, top) = found.ends
    assert hard is None and upper is not None and top is not None
    masses = found.masses()
    assert masses.sum(axis=0) == pytest.approx([1, 1], abs=1e-6)
    near = found.density(10 + np.array([1e-6, 1e-4]), np.array([0.0, 1.0]))
    assert near[0] / near[1] == pytest.approx(10, rel=0.05)  # an inverse square root


def test_an_edge_that_is_not_found_is_an_error_away_from_places(monkeypatch):
    """The continuation to an edge fails: at a place that is an edge of infinite density, elsewhere an error."""

    def lost(*_):
        raise ConvergenceError("an edge of the bulk was not found", 0.125)

    monkeypatch.setattr(support, "edge", lost)
    with pytest.raises(ConvergenceError, match="an edge of the bulk") as caught:
        bulk(isotropic(0.5))
    assert caught.value.residual == 0.125
    for away, near in ((0.9e-7, True), (1.1e-7, False)):
        given = (isotropic(0.5, 2.0), 2.0 + 3 * away, 4.0, np.array([-1e9]), 3.0)
        if near:
            assert support._edge_between(*given) == (2.0, None)
        else:
            with pytest.raises(ConvergenceError, match="an edge of the bulk"):
                support._edge_between(*given)


@pytest.mark.parametrize(
    ("inside", "cuts", "runs"),
    [
        ("..##..", [0], [[1, 2, 3, 4]]),  # with the next point outside on either side
        ("##..", [0], [[0, 1, 2]]),
        ("..##", [0], [[1, 2, 3]]),
        (".#.#.", [0], [[0, 1, 2], [2, 3, 4]]),
        ("..##..", [3], [[1, 2], [3, 4]]),  # no run goes over a cut
        ("..#...", [3], [[1, 2]]),
        ("...#..", [3], [[3, 4]]),
        (".#.", [1, 2], []),  # a point alone is no interval
        ("....", [2], []),
    ],
)
def test_runs_of_points_inside(inside, cuts, runs):
    outside = np.array([sign == "." for sign in inside])
    assert [run.tolist() for run in support._runs(outside, np.array(cuts))] == runs


@pytest.mark.parametrize(("c", "place"), [(0.3, 0.0), (2.5, -1.0)])
def test_marchenko_and_pastur_on_a_grid(c, place):
    found = sampled(isotropic(c, place), 0.01)
    low, high = edges_of(c, place)
    (interval,) = found.intervals
    assert not found.exact
    assert 0 < low - interval.lower < 0.0101 * (low - place)
    assert 0 < interval.upper - high < 0.0101 * (high - place)
    x = np.linspace(low, high, 12)[1:-1]
    exact = transform(x + 1e-300j, c, place).imag / np.pi
    np.testing.assert_allclose(found.density(x, ONE), exact, rtol=2e-3)
    assert found.masses().sum() == pytest.approx(min(1, 1 / c), abs=2e-3)
    ((lower, upper),) = found.ends
    assert lower == pytest.approx(transform([interval.lower], c, place).real, rel=1e-9)
    assert upper == pytest.approx(transform([interval.upper], c, place).real, rel=1e-9)
    assert interval.residual < 1e-8
    ratio = np.diff(interval.points)[5:] / (interval.points[6:] - place)
    np.testing.assert_allclose(ratio, 1 - np.exp(-0.01), rtol=0.05)


# ---------------------------------------------------------------- gaps and spikes


def spiked(theta, c=0.5, p=4, traces=None):
    """A mean of squared length theta in one of p dimensions, one class: Baik, Ben Arous and Peche's model."""
    means = np.zeros((p, 1))
    means[0] = np.sqrt(theta)
    core = np.array([[theta, 0, 1], [0, 0, 0], [1, 0, 0.0]])
    equations = isotropic(c) if traces is None else Equations(traces, np.array([c]), np.zeros(1))
    return Perturbation(
        equations, np.array([True]), np.zeros(1), np.array([c]), core, np.zeros(1), means
    )


@pytest.mark.parametrize("c", [0.5, 1.5])
@pytest.mark.parametrize("excess", [0.5, 0.99, 1.01, 2.0, 30.0])
def test_threshold_of_baik_ben_arous_and_peche(c, excess):
    """A mean of squared length theta raises a spike where c theta^2 > 1, at (1 + c theta)(1 + theta)/theta."""
    theta = excess / np.sqrt(c)
    found = spiked(theta, c)
    atoms = np.zeros(1) if c > 1 else np.empty(0)
    z, alignments = spikes(found, bulk(found.equations), atoms)
    if excess < 1:
        assert len(z) == len(alignments) == 0
    else:
        assert z == pytest.approx([(1 + c * theta) * (1 + theta) / theta], rel=1e-9)
        assert alignments == pytest.approx(
            [1 - (1 + c * theta) / (c * theta * (1 + theta))], rel=1e-6
        )


@pytest.mark.parametrize("full", [False, True])
def test_energy_of_the_means_and_its_derivative(full):
    """M^T (I - P) M with an inverse matrix, and its change by a step along the imaginary axis."""
    C = noncommuting() if full else two_classes()[1]
    p = C.shape[1]
    M = np.random.default_rng(1).standard_normal((p, 2))
    equations = Equations(Full(C) if full else two_classes()[0].traces, np.ones(2), np.zeros(2))
    found = Perturbation(
        equations, np.ones(2, bool), np.zeros(2), np.ones(2), np.eye(6), np.ones(2), M
    )
    shares, change = np.array([0.7, -0.2]), np.array([0.3, 1.1])
    exact = lambda w: M.T @ M - M.T @ np.linalg.inv(np.eye(p) + np.tensordot(w, C, 1)) @ M
    np.testing.assert_allclose(found.energy(shares), exact(shares), rtol=1e-10, atol=1e-12)
    derivative = exact(shares + 1e-20j * change).imag / 1e-20
    np.testing.assert_allclose(found.energy(shares, change), derivative, rtol=1e-10)


def test_a_perturbation_of_nothing():
    nothing = Perturbation(
        isotropic(0.5),
        np.array([True]),
        np.zeros(1),
        np.array([0.5]),
        np.zeros((3, 3)),
        np.zeros(1),
        np.zeros((2, 1)),
    )
    assert nothing.negative(9.0, np.array([-0.1])) == 0 and nothing.signs.size == 0
    z, alignments = spikes(nothing, bulk(nothing.equations), np.empty(0))
    assert z.shape == alignments.shape == (0,)


def test_the_core_is_the_product_of_its_factor():
    rng = np.random.default_rng(4)
    draw = rng.standard_normal((6, 4))
    core = (draw * [1, -1, 2, -3]) @ draw.T
    found = Perturbation(
        two_classes()[0],
        np.ones(2, bool),
        np.zeros(2),
        np.ones(2),
        core,
        np.ones(2),
        np.zeros((5, 2)),
    )
    assert found.factor.shape == (6, 4) and sorted(found.signs) == [-1, -1, 1, 1]
    np.testing.assert_allclose((found.factor * found.signs) @ found.factor.T, core, atol=1e-12)


def test_a_gap_is_crossed_from_a_solution_far_away():
    """From z = 1000 to beside the edge, in steps as large as stay outside."""
    equations, (_, high) = isotropic(0.5), edges_of(0.5)
    gap = Gap(equations, 1000.0, transform([1000.0], 0.5).real)
    for z in (high + 1e-4, high + 1.0, 5000.0):
        assert gap.at(z) == pytest.approx(transform([z], 0.5).real, rel=1e-7)
    assert {1000.0, high + 1e-4, high + 1.0, 5000.0} <= {z for z, _ in gap.known}


def test_steps_through_a_gap_are_halved_where_the_solution_is_lost(monkeypatch):
    """Newton's method that serves over short distances only; solutions met on the way are kept."""
    outside, start = Equations.outside, transform([10.0], 0.5).real
    gap = Gap(isotropic(0.5), 10.0, start)

    def near(self, m, z):
        stable, found = outside(self, m, z)
        start = next(known for known, solution in gap.known if (solution == m).all())
        return stable & (abs(z - start) < 1.5), found

    monkeypatch.setattr(Equations, "outside", near)
    assert gap.at(5.0) == pytest.approx(transform([5.0], 0.5).real, rel=1e-9)
    met = [z for z, _ in gap.known]
    assert met == [10.0, 8.75, 7.8125, 6.40625, 5.0]
    for z, m in gap.known:
        assert m == pytest.approx(transform([z], 0.5).real, rel=1e-9)
    gap.at(9.5)  # at once, from the nearest one
    assert [z for z, _ in gap.known] == [*met, 9.5]


def test_a_gap_does_not_reach_into_the_bulk():
    gap = Gap(isotropic(0.5), 10.0, transform([10.0], 0.5).real)
    with pytest.raises(
        ConvergenceError, match="^the law's equations were not solved outside the bulk"
    ) as caught:
        gap.at(1.0)
    assert caught.value.residual < 9


def test_the_inner_of_a_gap():
    equations = isotropic(0.5)
    assert _inner(equations, 7.0, 3.0).at(7.0) == pytest.approx(
        transform([7.0], 0.5).real, rel=1e-9
    )
    with pytest.raises(
        ConvergenceError, match="^the law's equations were not solved in a gap of the bulk"
    ):
        _inner(equations, 1.0, 3.0)
    none = Equations(Commuting(np.zeros((0, 1)), ONE), np.empty(0), np.empty(0))
    ((z, m),) = _inner(none, 7.0, 3.0).known
    assert z == 7.0 and m.shape == (0,) and _inner(none, 7.0, 3.0).at(2.0).shape == (0,)


def test_far_away_every_spike_is_on_one_side():
    found = spiked(100.0)
    spike = (1 + 50.0) * 101 / 100
    gap = _outer(found, edges_of(0.5)[1], 1.0)
    ((far, m),) = gap.known
    assert far > spike and m == pytest.approx(transform([far], 0.5).real, rel=1e-6)
    assert far - edges_of(0.5)[1] in 2.0 ** np.arange(12)
    ((far, m),) = _outer(found, edges_of(0.5)[0], -1.0).known
    assert far == edges_of(0.5)[0] - 1 and m == pytest.approx(transform([far], 0.5).real, rel=1e-6)
    with pytest.raises(ConvergenceError, match="^a spike lies beyond all bounds") as caught:
        _outer(found, edges_of(0.5)[1], 1e-30)  # steps too small to come past it
    assert caught.value.residual == 1e-30


# ---------------------------------------------------------------- parts of a law


def by_parts(atoms=(), equations=None, place=0.0):
    """A law of one class from its parts: the bulk of equations, if any, and atoms (place, mass)."""
    coupled = np.array([equations is not None])
    empty = Equations(Commuting(np.zeros((0, 1)), ONE), np.empty(0), np.empty(0))
    own = equations or empty
    nothing = Perturbation(
        own, coupled, np.array([place]), ONE, np.zeros((3, 3)), np.zeros(1), np.zeros((2, 1))
    )
    continuous = bulk(own) if equations else Bulk(empty, (), ())
    return LimitingLaw("plain", ONE, continuous, tuple(Atom(*atom) for atom in atoms), nothing)


def test_a_law_of_atoms():
    law = by_parts([(1.0, 0.25), (3.0, 0.5), (4.0, 0.25)], place=3.0)
    assert law.atom == Atom(3.0, 0.5)
    assert law.support == [] and law.residual == 0.0 and law.spikes.size == 0
    x = [0.0, 1.0, 1.1, 3.0, 3.5, 4.0, 5.0]
    np.testing.assert_allclose(law.cdf(x), [0, 0.25, 0.25, 0.75, 0.75, 1, 1], atol=1e-15)
    assert law.distance([1.0, 3.0, 3.0, 4.0]) == pytest.approx(0, abs=1e-15)
    assert law.distance([3.0]) == pytest.approx(0.25) and law.distance([0.5]) == pytest.approx(1.0)
    assert by_parts().atom is None
    for z in (3.0, [0.0, 4.0]):
        with pytest.raises(ValueError, match="^z is an atom of the law, a pole of its transform$"):
            law.stieltjes(z)


def test_the_residual_of_a_law_is_that_of_its_worst_interval():
    values = np.array([1.0, 20.0])
    law = by_parts(
        equations=Equations(Commuting(values[None], np.full(2, 0.5)), np.array([10.0]), np.zeros(1))
    )
    residuals = [interval.residual for interval in law.bulk.intervals]
    assert len(residuals) == 2 and law.residual == max(residuals) > min(residuals)


@pytest.mark.parametrize(("c", "place"), [(0.5, 0.0), (0.5, 2.0), (2.5, -1.0)])
def test_the_transform_of_marchenko_and_pastur(c, place):
    """One solution in the closed upper half plane, its conjugate below; of any shape."""
    law, (low, high) = by_parts(equations=isotropic(c, place), place=place), edges_of(c, place)
    z = np.array([[low - 0.5, high + 1e-3, 1e4], [1.0 + 1e-6j, 1.0 - 2j, -30 + 1e-9j]])
    found = law.stieltjes(z)
    exact = transform(z.real + 1j * np.abs(z.imag), c, place)
    exact = np.where(z.imag < 0, exact.conj(), exact)
    assert found.shape == z.shape
    np.testing.assert_allclose(found, exact, rtol=2e-6)
    assert law.stieltjes(10).shape == ()
    for inside in (low + 1e-9, (low + high) / 2, high - 1e-9):
        with pytest.raises(
            ValueError, match="is a real number in the bulk .* give z an imaginary part"
        ):
            law.stieltjes([99.0, inside])
    with pytest.raises(
        ValueError, match=r"^z = 1\.5 is a real number in the bulk \[0\.0857864, 2\.91421\]"
    ):
        by_parts(equations=isotropic(0.5)).stieltjes(1.5)
    with pytest.raises(ValueError, match="^z must hold finite numbers, got 'far'"):
        law.stieltjes("far")
    with pytest.raises(ValueError, match="^z must hold finite numbers"):
        law.stieltjes([1.0, np.nan])


@pytest.mark.parametrize("z", [9.0, 9.0 + 1.0j])
def test_a_transform_that_is_not_solved_is_an_error(monkeypatch, z):
    """Newton's method that stops short, or on the other side of the axis."""
    law, newton = by_parts(equations=isotropic(0.5)), Equations.newton

    def stops(self, m, z, *limits):
        found, error = newton(self, m, z, *limits)
        return (found, error) if limits else (found, np.full(len(z), 1e-7))

    def falls(self, m, z, *limits):
        found, error = newton(self, m, z, *limits)
        return (found, error) if limits else (found.conj(), error)

    for fails in (stops, falls) if np.iscomplex(z) else (stops,):
        monkeypatch.setattr(Equations, "newton", fails)
        with pytest.raises(
            ConvergenceError, match="^the law's equations were not solved at z = 9.[01]j"
        ) as caught:
            law.stieltjes(z)
        assert caught.value.residual == (np.inf if z == 9.0 else pytest.approx(1e-7, abs=1.01e-7))


def test_places_that_differ_by_a_rounding_are_one():
    groups = _groups(np.array([4.0, 1.0, 4.0 + 3.9e-10, 1.0 + 4.1e-10, -2.0]))
    assert [group.tolist() for group in groups] == [[4], [1], [3], [0, 2]]
    assert [group.tolist() for group in _groups(np.zeros(3))] == [[0, 1, 2]]


def projector(rng, p, rank):
    """A covariance of a given rank in a random basis."""
    basis = np.linalg.qr(rng.standard_normal((p, p)))[0][:, :rank]
    return (basis * np.linspace(1, 2, rank)) @ basis.T


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("counts", "expected"),
    [([4, 50], 4 + 6), ([50, 50], 5 + 6), ([2, 3], 5), ([50, 0], 5), ([3, 50], 9)],
)
def test_rank_of_the_noise_of_singular_classes(full, counts, expected):
    """Ranks 5 and 6 in 12 dimensions, on different axes or at random: sizes and ranks bound them."""
    rng = np.random.default_rng(2)
    C = np.zeros((2, 12))
    C[0, :5], C[1, 6:] = 1.0, 3.0
    if full:
        C = np.stack([projector(rng, 12, 5), projector(rng, 12, 6)])
    mixture = mixtures.GaussianMixture(np.zeros((2, 12)), C)
    assert _rank(mixture, np.arange(2), np.array(counts)) == expected
    draws = []
    for a, size in enumerate(counts):
        values, vectors = np.linalg.eigh(mixture.covariance(a))
        factor = vectors * np.sqrt(np.where(values > 1e-9, values, 0.0))
        draws.append(factor @ rng.standard_normal((12, size)))
    assert np.linalg.matrix_rank(np.hstack(draws)) == expected


def test_rank_of_the_noise_of_classes_that_share_dimensions():
    C = np.zeros((3, 12))
    C[0, :5], C[1, 3:7], C[2] = 1.0, 2.0, 1.0
    mixture = mixtures.GaussianMixture(np.zeros((3, 12)), C)
    counts = np.array([9, 9, 9])
    assert _rank(mixture, np.array([0, 1]), counts) == 7  # the union of their axes
    assert _rank(mixture, np.array([1]), counts) == 4
    assert _rank(mixture, np.array([0, 2]), counts) == 12  # one of them fills the space
    assert _rank(mixture, np.array([0, 2]), np.array([2, 9, 3])) == 5
    assert _rank(mixture, np.array([], int), counts) == 0
    ones = mixtures.GaussianMixture(np.zeros((1, 5)), np.ones((1, 5, 5)))
    assert _rank(ones, np.array([0]), np.array([9])) == 1
    isotropic_one = mixtures.GaussianMixture(np.zeros((1, 12)), [2.0])
    assert _rank(isotropic_one, np.array([0]), np.array([7])) == 7
    assert _rank(isotropic_one, np.array([0]), np.array([70])) == 12


@pytest.mark.parametrize("scale", [1.0, 1e-5, 1e5])
def test_eigenvalues_beside_the_largest_that_are_zero(scale):
    """Below 1e-10 of the largest one, or of the trace where a factorization tells."""
    for faint, rank in ((0.5e-10, 3), (2e-10, 5)):
        C = scale * np.array([[1.0, 1.0, 1.0, faint, faint]])
        mixture = mixtures.GaussianMixture(np.zeros((1, 5)), C)
        assert _rank(mixture, np.array([0]), np.array([9])) == rank
        full = mixtures.GaussianMixture(np.zeros((1, 5)), np.diag(C[0])[None])
        assert _rank(full, np.array([0]), np.array([9])) == rank
    assert _definite(scale * np.diag([1.0, 1.0, 2.1e-10])) and not _definite(
        scale * np.diag([1.0, 1.0, 1.9e-10])
    )
    assert not _definite(np.ones(3))


def test_mass_that_is_missing_or_too_much_is_an_error():
    for allowed in (1e-5, 0.02):
        for sign in (1, -1):
            _require_unit_mass(by_parts([(1.0, 0.3), (2.0, 0.7 + 0.9 * sign * allowed)]), allowed)
            with pytest.raises(
                ConvergenceError, match="^the mass of the limiting law is not one"
            ) as caught:
                _require_unit_mass(
                    by_parts([(1.0, 0.3), (2.0, 0.7 + 1.1 * sign * allowed)]), allowed
                )
            assert caught.value.residual == pytest.approx(1.1 * allowed, rel=1e-6)
    _require_unit_mass(by_parts([(0.0, 0.6)], isotropic(2.5)), 1e-7)


@pytest.mark.parametrize("factor", [0.7, 3.0])
def test_critical_distance_of_three_classes_scales_with_their_means(factor):
    """The threshold does not depend on the length that the means have: only on their directions."""
    means = np.zeros((3, 200))
    means[0, 0], means[1, 1], means[2, 2] = 1.0, 1.2, 0.8
    means -= means.mean(axis=0)
    mixture = mixtures.GaussianMixture(means, [1.0] * 3)
    net = network("tanh", mixture, 300)
    top = np.linalg.eigvalsh(means @ means.T / 3)[-1]  # c top^2 = 1 at the transition
    exact = np.sqrt((1.0 + 1.44) * np.sqrt(200 / 300) / top)
    assert spectra.critical_distance(net, mixture, 300, law="plain") == pytest.approx(
        exact, rel=1e-6
    )
    moved = mixtures.GaussianMixture(factor * means, [1.0] * 3)
    again = spectra.critical_distance(network("tanh", moved, 300), moved, 300, law="plain")
    assert again == pytest.approx(exact, rel=1e-6)


# ---------------------------------------------------------------- where is looked for intervals and spikes


@pytest.mark.parametrize(("c", "place"), [(0.3, 0.0), (2.5, -1.0)])
def test_the_grid_spans_the_law(c, place):
    """From beside the lowest place to the largest eigenvalue that noise of one covariance may have."""
    z, span = support._grid(isotropic(c, place, 2.0), 50)
    assert span == pytest.approx(2 * (1 + np.sqrt(c)) ** 2, rel=1e-12)
    assert (np.diff(z) > 0).all() and len(z) in (
        50 + 36,
        50 + 37,
    )  # 1e-1 of the span may be there twice
    assert z[0] - place == pytest.approx(1e-10 * span, rel=1e-5) and z[-1] == pytest.approx(
        place + span
    )
    assert np.diff(z).max() < 1.01 * span * np.pi / 100
    near = z[z < place + 0.9e-3 * span] - place
    np.testing.assert_allclose(near[1:] / near[:-1], 10**0.25, rtol=1e-4)


@pytest.mark.parametrize(
    ("values", "ratios", "crowded"),
    [
        ([[1.0], [1.0]], [0.3, 0.5], False),
        ([[1.0], [1.0]], [0.4, 0.7], True),  # more samples than dimensions
        ([[1.0, 0.0], [1.0, 1.0]], [0.3, 0.5], True),  # or a singular covariance
        ([[1.0, 1e-8], [1.0, 1.0]], [0.3, 0.5], False),
    ],
)
def test_the_grid_is_dense_at_places_that_may_have_bulk_between_them(values, ratios, crowded):
    values, places = np.array(values), np.array([1.0, 3.0])
    traces = Commuting(values, np.full(values.shape[1], 1 / values.shape[1]))
    z, span = support._grid(Equations(traces, np.array(ratios), places), 40)
    below, above = np.sort(3.0 - z[z < 3.0]), z[z > 3.0] - 3.0
    assert np.abs(z[:, None] - places).min() >= 1e-11 * span
    if crowded:
        assert (below[0], above[0]) == pytest.approx((1e-10 * span, 1e-10 * span), rel=1e-4)
        between = z[(z > 1.0) & (z < 3.0)]
        assert len(between) > 40 + 37 and np.diff(between).max() < 1.01 * 2 * np.pi / 80
    else:
        assert len(z) in (40 + 36, 40 + 37) and min(below[0], above[0]) > 1e-4 * span


def test_a_fine_grid_is_geometric_at_every_place():
    places = np.array([1.0, 3.0, 3.0])
    equations = Equations(Commuting(np.ones((3, 1)), ONE), np.full(3, 0.5), places)
    z, span = support._fine_grid(equations, 0.05)
    assert (np.diff(z) > 0).all() and z[0] > 1.0 and z[-1] == pytest.approx(3 + 1.01 * span)
    assert np.abs(z[:, None] - places).min() == pytest.approx(1.01e-7 * span, rel=1e-3)
    for near in (z - 1.0, z[z > 3.0] - 3.0, np.sort(3.0 - z[z < 3.0])):
        near = near[near < 1e-3 * span]
        steps = np.log(near[1:] / near[:-1])
        np.testing.assert_allclose(steps, steps[0], rtol=1e-2)
        assert 0.05 < steps[0] < 0.051 and near[0] < 1.02e-7 * span


def test_neighbors_outside_with_an_interval_between_them():
    """Two intervals, near 22 and near 2000: points beyond one of them, in one gap, and beyond a place."""
    traces = Commuting(np.array([[1.0, 100.0]]), np.full(2, 0.5))
    equations = Equations(traces, np.array([40.0]), np.zeros(1))
    low, high = silverstein(traces.values[0], traces.weights, 40.0)

    def skipped(*z):
        z = np.array(z)
        outside, inside, real = support._sides(equations, z, 4000.0)
        assert (outside != inside).all()
        return support._skipped(equations, z, outside, real).tolist()

    before, between, beyond = low[0] - 1, (low[1] + high[0]) / 2, high[1] + 100
    assert skipped(before, between) == pytest.approx(
        np.linspace(before, between, 11)[1:-1].tolist()
    )
    assert skipped(between, beyond) == pytest.approx(
        np.linspace(between, beyond, 11)[1:-1].tolist()
    )
    assert len(skipped(before, between, beyond)) == 18
    assert skipped(low[1] + 1, between, high[0] - 100) == [] and skipped(beyond, 2 * beyond) == []
    assert skipped(before, low.mean(), between) == []  # the point inside tells
    assert skipped(-5.0, before) == []  # a pole is between


def test_edges_of_coarse_traces_move_to_those_of_exact_ones():
    equations, (low, high) = isotropic(0.5), edges_of(0.5)
    assert support._moved(equations, 7.0, None, 3.0) == (7.0, None)
    near = isotropic(0.5, 0.0, 1.02)
    for exact, moved in ((low, 1.02 * low), (high, 1.02 * high)):
        m = transform(moved, 0.5, 0.0, 1.02).real[None]
        found, at_edge = support._moved(equations, moved, m, high - low)
        assert found == pytest.approx(exact, rel=1e-8)
        assert at_edge == pytest.approx(transform([exact], 0.5).real, rel=1e-6)
    assert near.stability(m) == pytest.approx(0, abs=1e-6)


def test_gaps_end_at_edges_and_beside_atoms():
    """With the solutions at the edges; beside atoms and infinite densities a little away, to be solved."""
    for c, atoms in ((0.5, np.empty(0)), (2.5, np.zeros(1))):
        found, (low, high) = spiked(3.0, c), edges_of(c)
        span = _span(found, bulk(found.equations))
        assert span == pytest.approx(high + 3.0, rel=1e-9)
        gaps = _gaps(found, bulk(found.equations), atoms)
        ends = [(lower[0], upper[0]) for _, lower, upper in gaps]
        solved = [(lower[1] is not None, upper[1] is not None) for _, lower, upper in gaps]
        if c < 1:
            (_, first), (last, _) = ends
            assert solved == [(False, True), (True, False)]
        else:
            (_, before), (after, first), (last, _) = ends
            assert (before, after) == pytest.approx((-POLE * span, POLE * span), rel=1e-9)
            assert solved == [(False, False), (False, True), (True, False)]
        assert first == pytest.approx(low, rel=1e-9) and last == pytest.approx(high, rel=1e-9)
        assert gaps[-1][1][1] == pytest.approx(transform([high], c).real, rel=1e-5)
        for gap, lower, upper in gaps:
            ((z, m),) = gap.known
            assert lower[0] <= z <= upper[0]
            assert m == pytest.approx(transform([z], c).real, rel=1e-6)


def test_a_gap_that_ends_at_an_infinite_density():
    """With as many samples as dimensions the density is infinite at its place, and the gap ends before it."""
    found = spiked(3.0, 1.0)
    law = bulk(found.equations)
    assert law.ends[0][0] is None and law.intervals[0].lower == 0.0
    (_, _, upper), (_, lower, _) = _gaps(found, law, np.empty(0))
    assert upper == (pytest.approx(-POLE * (4.0 + 3.0), rel=1e-9), None)
    assert lower[0] == pytest.approx(4.0, rel=1e-9)
    grid = sampled(found.equations, 0.02)
    ((_, lower, upper),) = _gaps(found, grid, np.empty(0))  # of a bulk on a grid, what is above it
    assert lower[0] == grid.intervals[-1].upper < upper[0]
    z, _ = spikes(found, grid, np.empty(0))
    assert z == pytest.approx([4.0 * 4.0 / 3.0], rel=1e-9)


def test_a_grid_that_would_end_at_the_edge_goes_beyond():
    """Far from zero the bound on the law, which is its edge, is rounded into the bulk."""
    c, place, value = 0.30960385050379485, 1994.6341388017279, 0.010114104124689872
    _, span = support._grid(isotropic(c, place, value), 50)
    low, high = edges_of(c, place, value)
    assert span == pytest.approx(1.5 * (high - place), rel=1e-9)
    (interval,) = bulk(isotropic(c, place, value)).intervals
    assert (interval.lower - place, interval.upper - place) == pytest.approx(
        (low - place, high - place), rel=1e-6
    )
