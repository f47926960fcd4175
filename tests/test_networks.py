"""The two records: centering, fixed points, thresholds, wrong input."""

from __future__ import annotations

import numpy as np
import oracles
import pytest

from helpers import ConvergenceError, kernels, networks
from helpers.networks import ExplicitNetwork, ImplicitNetwork

SMOOTH = [key for key in oracles.FUNCTIONS if key[0] != "polynomial"]


@pytest.mark.parametrize("key", SMOOTH, ids=lambda key: key[0])
@pytest.mark.parametrize("tau0", [0.7, 1.4])
def test_centering_solves_bias_and_variance_together(key, tau0):
    f, _, kinks = oracles.FUNCTIONS[key]
    network = ImplicitNetwork(networks.activations.get(key[0], **dict(key[1:])), 0.2).centered(tau0)
    shift = network.activation.shift
    tau2 = float(network.variance(np.array([tau0**2]))[0])
    assert oracles.mean(f, tau2, kinks) - shift == pytest.approx(0.0, abs=1e-12)
    moment = oracles.mean(lambda x: (f(x) - shift) ** 2, tau2, kinks)
    assert tau2 == pytest.approx(0.2 * moment + 0.8 * tau0**2, rel=1e-12)
    assert network.tau0 == tau0


def test_centering_twice_changes_nothing():
    for name in ("relu", "tanh", "swish"):
        once = ImplicitNetwork(name, 0.3).centered(1.1)
        assert once.centered(1.1).activation.shift == once.activation.shift
        twin = ExplicitNetwork((name, "relu")).centered(1.1)
        assert [layer.shift for layer in twin.centered(1.1).layers] == [
            layer.shift for layer in twin.layers
        ]


def test_relu_by_hand():
    """Equation (eq-relu-tau)."""
    for sigma_a2, tau0 in ((0.05, 1.0), (0.5, 2.0)):
        network = ImplicitNetwork("relu", sigma_a2).centered(tau0)
        tau2 = (1 - sigma_a2) * tau0**2 / (1 - sigma_a2 * (1 / 2 - 1 / (2 * np.pi)))
        assert network.variance(np.array([tau0**2]))[0] == pytest.approx(tau2, rel=1e-12)
        assert network.activation.shift == pytest.approx(np.sqrt(tau2 / (2 * np.pi)), rel=1e-12)


def test_odd_activations_are_centered_already():
    assert ImplicitNetwork("tanh", 0.2).centered(1.3).activation.shift == 0.0


def test_explicit_centering_layer_by_layer():
    network = ExplicitNetwork(("relu", "swish")).centered(1.2)
    s = 1.44
    for key, layer in zip((("relu",), ("swish",)), network.layers):
        f, _, kinks = oracles.FUNCTIONS[key]
        assert layer.shift == pytest.approx(oracles.mean(f, s, kinks), rel=1e-12)
        s = oracles.mean(lambda x, f=f, shift=layer.shift: (f(x) - shift) ** 2, s, kinks)
    assert network.depth == 2


def test_sigma_b2_defaults_to_the_rest():
    assert ImplicitNetwork("relu", 0.3).sigma_b2 == pytest.approx(0.7)
    assert ImplicitNetwork("relu", 0.0).sigma_b2 == 1.0


@pytest.mark.parametrize(("name", "sigma_a2"), [("relu", 1.9), ("tanh", 2.5)])
def test_between_the_sufficient_and_the_sharp_threshold_it_works(name, sigma_a2):
    X = np.random.default_rng(0).standard_normal((30, 20)) / np.sqrt(30)
    G = kernels.ck(ImplicitNetwork(name, sigma_a2, 1.0), X)
    assert np.isfinite(G).all()
    assert np.linalg.eigvalsh(G)[0] > -1e-9 * G.max()


@pytest.mark.parametrize(("name", "sigma_a2"), [("relu", 2.1), ("tanh", 4.0), ("abs", 1.2)])
def test_beyond_the_sharp_threshold_is_an_error_that_names_it(name, sigma_a2):
    X = np.random.default_rng(0).standard_normal((30, 20)) / np.sqrt(30)
    with pytest.raises((ValueError, ConvergenceError), match="sharp threshold"):
        kernels.ck(ImplicitNetwork(name, sigma_a2, 1.0), X)


def test_networks_are_shown_by_their_formulas():
    deq, stack = ImplicitNetwork("relu", 0.2), ExplicitNetwork(("relu", "tanh"))
    assert "max(u, 0)" in str(deq) and "tanh(W2 x1)" in str(stack)
    for network, word in ((deq, r"\max(u, 0)"), (stack, r"\tanh(W_2 x^{(1)})")):
        shown = network._repr_latex_()
        assert shown.startswith(r"$\displaystyle ") and shown.endswith("$") and word in shown


def test_a_variance_that_runs_away_is_named():
    """Var max(u, 0) = s (1/2 - 1/(2 pi)): with sigma_a2 = 4 there is no fixed point to center at."""
    with pytest.raises(ConvergenceError, match=r"^the variance tau_\*\^2 of the centered network"):
        ImplicitNetwork("relu", 4.0, sigma_b2=1.0).centered(1.0)


def test_the_threshold_error_says_by_how_much():
    with pytest.raises(ValueError, match=r"E\[phi'\^2\] is 1\.\d+ .* below 1"):
        ImplicitNetwork("relu", 2.1, 1.0).centered(1.0)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("relu", -0.1), ValueError, "sigma_a2 must be 0 or positive"),
        (("relu", np.nan), ValueError, "sigma_a2 must be finite"),
        (("relu", 1j), TypeError, "sigma_a2 must be one real number"),
        (("relu", [0.1, 0.2]), TypeError, "sigma_a2 must be one real number"),
        (("relu", 1.0), ValueError, "sigma_b2 must be given"),
        (("relu", 1.5), ValueError, "sigma_b2 must be given"),
        (("relu", 0.2, 0.0), ValueError, "sigma_b2 must be positive"),
        (("rleu", 0.2), ValueError, "name must be one of"),
        (("sign", 0.2), ValueError, "sign jumps"),
        (("step", 0.2), ValueError, "sharp threshold"),
    ],
)
def test_wrong_implicit_networks(arguments, error, words):
    with pytest.raises(error, match=words):
        ImplicitNetwork(*arguments)


@pytest.mark.parametrize(
    ("layers", "error", "words"),
    [
        ((), ValueError, "at least one"),
        ("relu", TypeError, "layers must be"),
        (3, TypeError, "layers must be"),
    ],
)
def test_wrong_explicit_networks(layers, error, words):
    with pytest.raises(error, match=words):
        ExplicitNetwork(layers)


@pytest.mark.parametrize("tau0", [0.0, -1.0, np.inf])
def test_wrong_scales(tau0):
    for network in (ImplicitNetwork("relu", 0.2), ExplicitNetwork(("relu",))):
        with pytest.raises(ValueError, match="tau0 must be"):
            network.centered(tau0)
