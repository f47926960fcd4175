"""The two records: centering, fixed points, thresholds, wrong input."""

from __future__ import annotations

import re
import types
import warnings

import numpy as np
import oracles
import pytest

from helpers import ConvergenceError, kernels, networks
from helpers.networks import ExplicitNetwork, ImplicitNetwork, fixed_point, positive_variances

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


# ---------------------------------------------------------------- what a record keeps


def test_a_record_keeps_plain_floats():
    deq = ImplicitNetwork("relu", np.float32(0.25), np.int64(2), np.int64(3))
    for value, kept in ((0.25, deq.sigma_a2), (2.0, deq.sigma_b2), (3.0, deq.tau0)):
        assert type(kept) is float and kept == value
    stack = ExplicitNetwork(["relu", "tanh"], np.int64(3))
    assert type(stack.tau0) is float and stack.tau0 == 3.0
    assert type(stack.layers) is tuple and [f.name for f in stack.layers] == ["relu", "tanh"]
    assert type(deq.centered(np.int64(2)).tau0) is float


def test_a_centered_network_keeps_its_scale_and_its_weights():
    deq = ImplicitNetwork("relu", 0.3, 1.7).centered(1.2)
    assert (deq.tau0, deq.sigma_a2, deq.sigma_b2) == (1.2, 0.3, 1.7)
    assert ExplicitNetwork(("relu", "tanh")).centered(1.2).tau0 == 1.2
    assert ImplicitNetwork("relu", 0.3).tau0 is None and ExplicitNetwork(("relu",)).tau0 is None


def test_centering_forgets_what_was_subtracted_before():
    moved = networks.activations.get("relu").minus(-3.0)
    fresh = ImplicitNetwork("relu", 0.4).centered(1.3)
    assert ImplicitNetwork(moved, 0.4).centered(1.3).activation.shift == fresh.activation.shift
    shifts = [layer.shift for layer in ExplicitNetwork(("relu", "relu")).centered(1.3).layers]
    again = ExplicitNetwork((moved, moved)).centered(1.3)
    assert [layer.shift for layer in again.layers] == shifts


@pytest.mark.parametrize(("size", "rounding"), [(1e6, 9e-9), (1.0, 9e-15), (1e-6, 9e-21)])
def test_the_mean_of_an_odd_function_is_zero_to_its_own_rounding(size, rounding):
    """Rounding is relative to the size of the function: 1e-14 of it is none, more is a mean."""
    for sign in (1.0, -1.0):
        for mean, kept in ((sign * rounding, 0.0), (sign * 2 * rounding, sign * 2 * rounding)):
            stub = types.SimpleNamespace(
                mean=lambda s, mean=mean: np.array([mean]),
                second_moment=lambda s: np.array([size**2]),
            )
            assert networks._clean_mean(stub, np.array([1.0])) == kept


def test_variances_of_any_shape_keep_it():
    network, norms = ImplicitNetwork("relu", 0.5), np.arange(1.0, 7.0).reshape(2, 3)
    np.testing.assert_allclose(network.variance(norms), 0.5 * norms / 0.75, rtol=1e-12)
    assert network.variance(norms[0]).shape == (3,)


# ---------------------------------------------------------------- choices of trained weights


def test_rates_by_their_names():
    stack = ExplicitNetwork(("relu", "tanh", "relu"))
    assert stack.rates("default") == stack.rates("all") == (1.0, 1.0, 1.0, 1.0)
    assert stack.rates("first_frozen") == (0.0, 1.0, 1.0, 1.0)
    given = stack.rates((0, 1, 2, 3))
    assert given == (0.0, 1.0, 2.0, 3.0) and {type(rate) for rate in given} == {float}
    assert stack.rates(np.array([0.5, 0.0, 0.25, 1.0])) == (0.5, 0.0, 0.25, 1.0)


def test_input_weights_are_trained_by_name():
    network = ImplicitNetwork("relu", 0.2)
    assert network.input_rate("default") == 0.0 and network.input_rate("all") == 1.0


# ---------------------------------------------------------------- messages, word by word


def says(message):
    """A pattern of the whole message."""
    return f"^{re.escape(message)}$"


JUMPS = (
    "activation sign jumps: E[phi'^2] is infinite, so that no sigma_a2 > 0 is below the sharp threshold; "
    "use it in an ExplicitNetwork, or with sigma_a2 = 0"
)
DEFAULT = "sigma_b2 must be given for sigma_a2 >= 1 (it defaults to 1 - sigma_a2, sigma_a2 is 1.5)"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ImplicitNetwork("sign", 0.2), ValueError, JUMPS),
        (lambda: ImplicitNetwork("relu", 1.5), ValueError, DEFAULT),
        (
            lambda: ImplicitNetwork("relu", 0.2, -1),
            ValueError,
            "sigma_b2 must be positive; it is -1",
        ),
        (
            lambda: ImplicitNetwork("relu", -1),
            ValueError,
            "sigma_a2 must be 0 or positive; it is -1",
        ),
        (
            lambda: ImplicitNetwork("relu", 0.2, tau0=-1),
            ValueError,
            "tau0 must be positive; it is -1",
        ),
        (lambda: ExplicitNetwork(("relu",), -1), ValueError, "tau0 must be positive; it is -1"),
        (
            lambda: ImplicitNetwork("relu", 0.2).centered(0),
            ValueError,
            "tau0 must be positive; it is 0",
        ),
        (
            lambda: ExplicitNetwork(("relu",)).centered(0),
            ValueError,
            "tau0 must be positive; it is 0",
        ),
        (
            lambda: ExplicitNetwork("relu"),
            TypeError,
            "layers must be a sequence of activations, got 'relu'",
        ),
        (
            lambda: ExplicitNetwork(()),
            ValueError,
            "layers must hold at least one activation, got none",
        ),
        (
            lambda: ImplicitNetwork("relu", 0.2).input_rate("first_frozen"),
            ValueError,
            'trained must be "default" or "all" for an implicit network, got \'first_frozen\'',
        ),
        (
            lambda: ExplicitNetwork(("relu", "tanh")).rates("some"),
            ValueError,
            'trained must be "default", "all", "first_frozen" or 3 rates of at least 0, got \'some\'',
        ),
        (
            lambda: ExplicitNetwork(("relu",)).rates([1.0, -0.5], "weights"),
            ValueError,
            'weights must be "default", "all", "first_frozen" or 2 rates of at least 0, got [1.0, -0.5]',
        ),
        (
            lambda: ImplicitNetwork("relu", 0.2).variance([-1.0]),
            ValueError,
            "squared_norms must hold at least one number, each 0 or positive",
        ),
        (
            lambda: positive_variances([], "norms"),
            ValueError,
            "norms must hold at least one number, each 0 or positive",
        ),
    ],
)
def test_a_message_names_the_argument_and_the_way_out(make, error, message):
    with pytest.raises(error, match=says(message)):
        make()


@pytest.mark.parametrize(
    ("make", "start"),
    [
        (lambda: ImplicitNetwork("rleu", 0.2), "activation: name must be one of abs, "),
        (lambda: ExplicitNetwork(("relu", "rleu")), "layers: name must be one of abs, "),
        (lambda: ExplicitNetwork(("relu", 3)), "layers: name must be the name of an activation"),
        (lambda: ExplicitNetwork(("relu",)).rates(["a", "b"], "weights"), "weights must hold real"),
        (lambda: positive_variances([np.nan], "norms"), "norms must be finite"),
        (lambda: fixed_point(np.sqrt, [np.nan], "it"), "start must be finite"),
    ],
)
def test_an_error_from_below_names_the_argument(make, start):
    with pytest.raises((ValueError, TypeError), match=f"^{start}"):
        make()


def test_the_cause_of_a_wrong_activation_is_kept():
    with pytest.raises(ValueError, match="^layers: ") as caught:
        ExplicitNetwork(("rleu",))
    assert isinstance(caught.value.__cause__, ValueError)
    assert str(caught.value) == f"layers: {caught.value.__cause__}"


def test_a_diagonal_that_runs_away_says_by_how_much():
    """E[phi'^2] = 1/2 of a ReLU: s <- 2s + 0.15 takes residuals (s + 0.15)/(2s + 0.15), in the end 1/2."""
    message = (
        "the diagonal of the implicit kernel did not settle, is it beyond the sharp threshold? "
        "sigma_a2 * E[phi'^2] is 2 at a variance of 0.15, and must stay below 1 (residual 5.00e-01)"
    )
    with pytest.raises(ConvergenceError, match=says(message)) as caught:
        ImplicitNetwork("relu", 4.0, 0.5).variance([0.3])
    assert caught.value.residual == pytest.approx(0.5, abs=1e-3)
    assert caught.value.__suppress_context__


def test_a_centered_variance_that_runs_away_says_so():
    """Var max(u, 0) = s (1/2 - 1/(2 pi)): s <- g s + c with g = 4 of it, residuals near 1 - 1/g."""
    gain = 4 * (1 / 2 - 1 / (2 * np.pi))
    message = (
        "the variance tau_*^2 of the centered network did not settle: "
        f"is sigma_a2 beyond the sharp threshold? (residual {1 - 1 / gain:.2e})"
    )
    with pytest.raises(ConvergenceError, match=says(message)):
        ImplicitNetwork("relu", 4.0, sigma_b2=1.0).centered(1.0)


def test_at_the_sharp_threshold_itself_it_is_refused():
    """phi(x) = x has E[phi'^2] = 1 exactly: at sigma_a2 = 1 the gain is 1, which is not below 1."""
    message = (
        "sigma_a2 = 1 is beyond the sharp threshold: sigma_a2 * E[phi'^2] is 1 at a variance of 1, "
        "and must stay below 1"
    )
    line = networks.activations.get("polynomial", coefficients=(0.0, 1.0))
    with pytest.raises(ValueError, match=says(message)):
        ImplicitNetwork(line, 1.0, 1.0)._require_stability(np.array([1.0]))
    ImplicitNetwork(line, 0.999, 1.0)._require_stability(np.array([1.0]))


def test_the_threshold_is_that_of_the_worst_sample():
    """A large sample saturates tanh, a small one does not: its slopes, by quadrature, are the worst."""
    norms = np.array([100.0, 1e-3, 400.0])

    def gain(s):
        return 3.0 * oracles.mean(lambda x: np.cosh(x) ** -4.0, s)

    low, high = 1e-3, 3.001  # s = 3 E[tanh^2] + 0.001
    for _ in range(100):
        middle = (low + high) / 2
        above = 3.0 * oracles.mean(lambda x: np.tanh(x) ** 2, middle) + 1e-3 > middle
        low, high = (middle, high) if above else (low, middle)
    assert gain(low) > 1
    message = (
        "sigma_a2 = 3 is beyond the sharp threshold: "
        f"sigma_a2 * E[phi'^2] is {gain(low):.3g} at a variance of {low:.3g}, and must stay below 1"
    )
    network = ImplicitNetwork("tanh", 3.0, 1.0)
    assert network.variance(norms[[0, 2]]).min() > 100  # the others stay below it
    with pytest.raises(ValueError, match=says(message)):
        network.variance(norms)


# ---------------------------------------------------------------- the scale of the data


@pytest.mark.parametrize(
    ("scale", "warned"), [(3.0, 0), (2.98, 0), (3.02, 0), (2.96, 1), (3.04, 1)]
)
def test_the_scale_warning_is_relative_and_says_both_scales(scale, warned):
    message = (
        f"the network was centered at tau0 = {scale:.4g}, the data have tau0 = 3; "
        "center it at the data's scale with .centered(tau0)"
    )
    for network in (ImplicitNetwork("relu", 0.2), ExplicitNetwork(("relu",))):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            networks.warn_if_scale_differs(network, 3.0)  # not centered at all: nothing to say
            networks.warn_if_scale_differs(network.centered(scale), 3.0)
        assert [str(one.message) for one in caught] == [message] * warned
        assert all(one.filename != networks.__file__ for one in caught)


def stack_of(*modules):
    """Frames of such modules, the innermost of them."""
    frame = None
    for name in reversed(modules):
        names = {} if name is None else {"__name__": name}
        frame = types.SimpleNamespace(f_back=frame, f_globals=names)
    return frame


@pytest.mark.parametrize(
    ("modules", "level"),
    [
        (["helpers.networks", "__main__"], 2),
        (["helpers.networks", "helpers.equivalents", "helpers.kernels", "notebook", "runpy"], 4),
        (["helpers.networks", "notebook", "helpers.kernels", "notebook"], 2),
        (["helpers.networks", "helpers_of_others", "runpy"], 2),
        (["helpers.networks", None, "runpy"], 2),  # code that was given no name
        (["other", "runpy"], 1),
        (["helpers.networks", "helpers.search"], 2),  # ``python -m``: there is no line outside
    ],
)
def test_the_caller_is_the_first_line_outside_of_the_package(modules, level):
    assert networks._callers_level(stack_of(*modules)) == level


# ---------------------------------------------------------------- scalar fixed points


def test_norms_of_zero_become_small_ones_and_no_other_moves():
    for scale in (1e-40, 1.0, 1e40):
        found = positive_variances(scale * np.array([4.0, 0.0, 1e-9]), "s")
        assert (found[[0, 2]] == scale * np.array([4.0, 1e-9])).all()
        assert 0 < found[1] < 1e-20 * scale
    assert (0 < positive_variances([0.0, 0.0], "s")).all()


def counted(step):
    """A map that remembers what it was given."""
    seen = []

    def remembering(s):
        seen.append(np.array(s))
        return step(s)

    return remembering, seen


@pytest.mark.parametrize("slope", [0.999, -0.5, 0.3, 1e-3])
@pytest.mark.parametrize("root", [0.3, 70.0])
def test_a_straight_line_is_solved_by_one_leap(slope, root):
    """Steffensen's leap is exact on s <- root + slope (s - root), however near to 1 the slope is."""
    step, seen = counted(lambda s: root + slope * (s - root))
    found = fixed_point(step, np.array([1.5 * root, 0.8 * root]), "it")
    np.testing.assert_allclose(found, root, rtol=2e-13 / (1 - slope))
    assert (seen[0] == [1.5 * root, 0.8 * root]).all() and len(seen) <= 6


def test_leaps_settle_where_plain_steps_would_not():
    """s <- s - (s - 1)^3/100 - (s - 1)/100: near 1 the slope is 0.99, and 400 plain steps leave 2 %."""
    step, seen = counted(lambda s: s - (s - 1) ** 3 / 100 - (s - 1) / 100)
    np.testing.assert_allclose(fixed_point(step, [3.0, 1.2], "it"), 1.0, rtol=1e-11)
    assert len(seen) < 40


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_residuals_are_relative(scale):
    """s <- sqrt(scale s) has the fixed point ``scale``."""
    found = fixed_point(lambda s: np.sqrt(scale * s), [4 * scale, 0.3 * scale], "it")
    np.testing.assert_allclose(found, scale, rtol=1e-12)


def test_a_fixed_point_at_the_start_is_taken_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(fixed_point(np.sqrt, [1.0, 1.0], "it"), 1.0)
        np.testing.assert_allclose(fixed_point(lambda s: 0 * s + 5.0, [1.0, 5.0], "it"), 5.0)
        np.testing.assert_allclose(fixed_point(lambda s: s / 2 + 1, [0.0], "it"), 2.0)


@pytest.mark.parametrize(
    ("start", "root", "settles"),
    [
        (1.0, 5e5, True),
        (1e-3, 5e5, True),
        (10.0, 5e6, True),
        (1.0, 1e6, False),
        (1.0, 1.5e6, False),
        (10.0, 2e7, False),
    ],
)
def test_a_fixed_point_a_million_times_above_its_start_is_none(start, root, settles):
    def step(s):
        return root + 0.5 * (s - root)

    if settles:
        np.testing.assert_allclose(fixed_point(step, [start], "it"), root, rtol=1e-12)
        return
    with pytest.raises(ConvergenceError, match=r"^it did not settle: is sigma_a2 beyond the sharp"):
        fixed_point(step, [start], "it")


def test_no_step_is_taken_from_a_negative_number():
    """s <- 2s + 1 has the fixed point -1, which is none of a variance; s grows until it is out of reach."""
    step, seen = counted(lambda s: 2 * s + 1)
    message = "it did not settle: is sigma_a2 beyond the sharp threshold? (residual 5.00e-01)"
    with warnings.catch_warnings(), pytest.raises(ConvergenceError, match=says(message)) as caught:
        warnings.simplefilter("error")
        fixed_point(step, [1.0], "it")
    assert min(s.min() for s in seen) > 0 and max(s.max() for s in seen) < 3e6
    assert caught.value.residual == pytest.approx(0.5, abs=1e-5)


def test_zero_is_no_fixed_point_to_leap_to():
    """s <- 2s has the fixed point 0, which is none of a variance either."""
    with pytest.raises(ConvergenceError, match=r"residual 5\.00e-01"):
        fixed_point(lambda s: 2 * s, [1.0], "it")


def test_steps_of_one_length_never_settle():
    """s <- s + 1 bends nowhere: the leap is infinite, and the second step is taken in its place."""
    step, seen = counted(lambda s: s + 1)
    with warnings.catch_warnings(), pytest.raises(ConvergenceError) as caught:
        warnings.simplefilter("error")
        fixed_point(step, [1.0], "it")
    assert len(seen) == 2 * networks.STEPS
    np.testing.assert_array_equal(np.ravel(seen), np.arange(1.0, 2 * networks.STEPS + 1))
    assert caught.value.residual == pytest.approx(1 / (2 * networks.STEPS), rel=1e-12)


def test_what_is_not_a_number_ends_at_once():
    step, seen = counted(lambda s: s * np.nan)
    with pytest.raises(ConvergenceError, match="residual nan"):
        fixed_point(step, [1.0], "it")
    assert len(seen) == 2
