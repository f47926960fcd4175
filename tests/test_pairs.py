"""Families of pairs: in single precision, in torch, with a kink at zero, and fast enough."""

from __future__ import annotations

import time

import mpmath as mp
import numpy as np
import oracles
import pytest
import torch

from helpers import activations, kernels, pairs
from helpers.networks import ImplicitNetwork

NAMES = {
    "leaky_relu": {"a": 1.2, "b": 0.3},
    "step": {},
    "erf": {},
    "sin": {},
    "cos": {},
    "gaussian": {},
    "hard_tanh": {},
    "tanh": {},
    "gelu": {},
    "elu": {},
    "polynomial": {"coefficients": (0.5, -1.0, 0.25, 0.1)},
}


def family_and_tile(name, shape="tile"):
    """A family with prepared samples and correlations: of a tile, or of as many pairs as samples."""
    rng = np.random.default_rng(4)
    family = activations.get(name, **NAMES[name]).family
    both = family.prepare(rng.uniform(0.2, 3.0, 60))
    left, right = both[..., :30], both[..., 30:]
    if shape == "pairs":
        return family, left, right, rng.uniform(-0.99, 0.99, 30)
    return family, left[..., :, None], right[..., None, :], rng.uniform(-0.99, 0.99, (30, 30))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", ["tile", "pairs"])
def test_tensors_give_the_numbers_of_arrays(name, shape):
    family, *arrays = family_and_tile(name, shape)
    tensors = [torch.tensor(array) for array in arrays]
    for found, expected in zip(family.covariance(*tensors), family.covariance(*arrays)):
        assert isinstance(found, torch.Tensor)
        assert found.dtype == torch.float64
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("convert", [np.asarray, torch.tensor], ids=["numpy", "torch"])
def test_single_precision_stays_single(name, convert):
    family, *arrays = family_and_tile(name)
    single = [convert(array.astype(np.float32)) for array in arrays]
    for found, expected in zip(family.covariance(*single), family.covariance(*arrays)):
        assert str(found.dtype).endswith("float32")
        np.testing.assert_allclose(np.asarray(found), expected, atol=3e-6 * np.abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_a_tile_starts_from_one_zero(name):
    """Newton's iteration on a tile starts with a single correlation of zero, at which nothing covaries."""
    family, left, right, rho = family_and_tile(name)
    value, slope = (np.broadcast_to(x, rho.shape) for x in family.covariance(left, right, np.zeros((1, 1))))  # fmt: skip
    np.testing.assert_allclose(value, 0.0, atol=1e-14)
    nearby = family.covariance(left, right, np.full_like(rho, 1e-5))[0]
    np.testing.assert_allclose(nearby, 1e-5 * slope, atol=1e-8)


# functions with a kink at zero alone, as a user writes them, and their derivatives
KINKED = {
    "elu": (
        lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
        lambda x: np.exp(np.minimum(x, 0)),
    ),
    "square": (lambda x: np.maximum(x, 0) ** 2, lambda x: 2 * np.maximum(x, 0)),
    "tent": (lambda x: np.exp(-np.abs(x)), lambda x: -np.sign(x) * np.exp(-np.abs(x))),
    "softsign": (lambda x: x / (1 + np.abs(x)), lambda x: (1 + np.abs(x)) ** -2.0),
}


@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("s,t", [(1.0, 1.0), (0.3, 2.0), (9.0, 0.01)])
def test_kinks_at_zero_near_correlation_one(name, s, t):
    f, slope = KINKED[name]
    phi = activations.get(f)
    assert phi.kinks == (0.0,)
    assert isinstance(phi.family, pairs.Wedge)
    units = [np.sqrt(np.prod([oracles.mean(lambda x, g=g: g(x) ** 2, v, (0.0,)) for v in (s, t)]))
             for g in (f, slope)]  # fmt: skip
    for rho in (0.0, 0.6, -0.95, 1 - 1e-7, 1.0, 1e-5 - 1):
        c = rho * np.sqrt(s * t)
        assert abs(phi.dual(s, t, c) - oracles.pair(f, s, t, rho, (0.0,))) < 1e-12 * units[0]
        expected = oracles.pair(slope, s, t, rho, (0.0,))
        assert abs(phi.dual_slope(s, t, c) - expected) < 1e-9 * units[1]


def test_a_broken_power_near_correlation_one():
    """x_+^1.5, whose covariance has a logarithm at correlation one; the reference by mpmath."""
    phi = activations.get(lambda x: np.maximum(x, 0) ** 1.5)
    assert isinstance(phi.family, pairs.Wedge)

    def moment(power, theta):
        """E[u_+^a v_+^a]: the radius gives 2^a Gamma(a + 1), the wedge is integrated."""
        with mp.workdps(20):
            angular = mp.quad(
                lambda d: (mp.sin(d) * mp.sin(theta - d)) ** power, [0, theta / 2, theta]
            )
            return float(2**power * mp.gamma(power + 1) * angular / (2 * mp.pi))

    for theta in (1e-4, 0.3, 1.5, 3.0, np.pi):  # of the wedge where both are positive
        s, t, rho = 0.3, 2.0, -np.cos(theta)
        c = rho * np.sqrt(s * t)
        expected, size = moment(1.5, theta), np.sqrt(s * t)
        assert abs(phi.dual(s, t, c) / size**1.5 - expected) < 1e-12
        slopes = 2.25 * moment(0.5, theta)
        assert abs(phi.dual_slope(s, t, c) / size**0.5 - slopes) < 1e-9


def test_a_tile_and_its_pairs_agree_across_many_variances():
    phi = activations.get("elu")
    s = np.geomspace(1e-3, 20.0, 40)
    rho = np.random.default_rng(0).uniform(-1, 1, (40, 40))
    prepared = phi.family.prepare(s)
    tile = phi.family.covariance(prepared[:, :, None], prepared[:, None, :], rho)[0]
    f = KINKED["elu"][0]
    for i, j in [(0, 0), (0, 39), (13, 26), (39, 39), (20, 3)]:
        mean = oracles.mean(f, s[i], (0.0,)) * oracles.mean(f, s[j], (0.0,))
        expected = oracles.pair(f, s[i], s[j], rho[i, j], (0.0,)) - mean
        assert tile[i, j] == pytest.approx(expected, abs=1e-13 * np.sqrt(s[i] * s[j]))


def test_a_function_too_steep_for_its_table_is_named():
    def cusp(x):
        return np.sqrt(np.abs(x))

    phi = activations.get(cusp, kinks=(0.0,))
    with pytest.raises(ValueError, match="cusp is too steep for its pairs at variance"):
        phi.dual(1.0, 1.0, 0.5)


@pytest.mark.parametrize(
    ("function", "knots"),
    [
        (lambda x: np.clip(x, -1, 2) + 1, [-1.0, 2.0]),
        (lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0), [-0.5, 0.5]),
        (lambda x: np.maximum(x, 0.2 * x) + 3, [0.0]),
    ],
)
def test_piecewise_linear_callables_have_closed_forms(function, knots):
    phi = activations.get(function)
    assert isinstance(phi.family, pairs.Hinges | pairs.Rectifier)
    np.testing.assert_allclose(phi.kinks, knots, atol=1e-14)
    for rho in (0.3, -0.999, 1 - 1e-9, 1.0):
        expected = oracles.pair(function, 0.7, 1.9, rho, tuple(knots))
        assert phi.dual(0.7, 1.9, rho * np.sqrt(0.7 * 1.9)) == pytest.approx(expected, rel=1e-12)


def test_kinks_elsewhere_near_correlation_one():
    def hard_swish(x):
        return x * np.clip(x + 3, 0, 6) / 6

    phi = activations.get(hard_swish)
    rho = np.array([0.99, 0.9999, 1 - 1e-8, -0.9999, 1.0, -1.0])
    expected = [oracles.pair(hard_swish, 2.0, 1.5, r, (-3.0, 3.0)) for r in rho]
    np.testing.assert_allclose(phi.dual(2.0, 1.5, rho * np.sqrt(3.0)), expected, rtol=1e-10)


@pytest.mark.parametrize("function", ["elu", lambda x: np.maximum(x, 0) ** 1.5])
def test_correlated_data_cost_no_integral_a_pair(function):
    """400 samples of correlations above 0.99: a two-dimensional integral each would take minutes."""
    rng = np.random.default_rng(0)
    X = 1 + 0.05 * rng.standard_normal((50, 400))
    X /= np.sqrt((X**2).sum(axis=0).mean())
    start = time.perf_counter()
    G, K = kernels.ck_and_ntk(ImplicitNetwork(activations.get(function), 0.2), X)
    assert time.perf_counter() - start < 10
    assert np.linalg.eigvalsh(G)[0] > -1e-11 * G.trace()
    assert np.isfinite(K).all()
