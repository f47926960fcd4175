"""How far two kernels are apart, against cases with a known answer."""

import numpy as np
import pytest

from helpers import experiments, gaps
from helpers.errors import ConvergenceError


def positive(n, seed):
    Z = np.random.default_rng(seed).standard_normal((n, n))
    return Z @ Z.T / n


def test_a_multiple_of_a_kernel_is_no_distance_once_rescaled():
    G = positive(60, 0)
    assert gaps.relative_gap(G, 3 * G) == pytest.approx(2)
    assert gaps.rescaled_gap(G, 3 * G) < 1e-6


def test_the_best_factor_of_two_diagonal_kernels():
    """With G = diag(1, 2) and H = I the gap max(|1 - f|, |2 - f|) is least at f = 3/2: a quarter of the norm."""
    assert gaps.rescaled_gap(np.diag([1.0, 2.0]), np.eye(2)) == pytest.approx(0.25, rel=1e-12)


def by_thirds(G, H):
    """The least norm by dense eigenvalues in intervals that shrink by a third: it is convex in the factor."""
    low, high = -5.0, 5.0
    for _ in range(90):
        a, b = low + (high - low) / 3, high - (high - low) / 3
        one, two = (np.abs(np.linalg.eigvalsh(G - f * H)).max() for f in (a, b))
        low, high = (low, b) if one < two else (a, high)
    return np.abs(np.linalg.eigvalsh(G - low * H)).max()


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("n", [5, 40, 150])
def test_the_best_factor_is_found_at_the_kink(n, seed):
    G, H = positive(n, seed), positive(n, seed + 10)
    assert gaps.least_norm(G, H) == pytest.approx(by_thirds(G, H), rel=1e-9)
    # neither the sign of H, nor that of G, nor indefinite matrices make a difference
    assert gaps.least_norm(G, -H) == pytest.approx(gaps.least_norm(-G, H), rel=1e-9)
    G, H = G - np.eye(n), H - np.eye(n)
    assert gaps.least_norm(G, H) == pytest.approx(by_thirds(G, H), rel=1e-9)


def test_no_factor_brings_a_kernel_nearer_to_nothing():
    G = positive(4, 0)
    assert gaps.rescaled_gap(G, np.zeros((4, 4))) == 1.0
    assert gaps.least_norm(np.diag([1.0, 0.0]), np.diag([0.0, 2.0])) == pytest.approx(1.0)


def test_a_least_norm_that_takes_too_long_says_how_far_it_is(monkeypatch):
    monkeypatch.setattr(gaps, "CUTS", 1)
    with pytest.raises(ConvergenceError, match="1 pairs of cuts") as caught:
        gaps.least_norm(positive(40, 1), positive(40, 2))
    assert caught.value.residual > 1e-3


def test_the_angle_of_a_rotation():
    """The span of the two leading axes, its second turned by 30 degrees toward the third."""
    turn, c, s = np.eye(4), np.cos(np.pi / 6), np.sin(np.pi / 6)
    turn[1:3, 1:3] = [[c, -s], [s, c]]
    G = np.diag([4.0, 3.0, 1.0, 0.5])
    assert gaps.angle(G, turn @ G @ turn.T, k=2) == pytest.approx(30)


def test_a_kernel_agrees_with_its_multiples_and_not_with_noise():
    labels = np.repeat([0, 1], 50)
    G = 0.2 * np.eye(100) + (labels[:, None] == labels)
    same = gaps.predictions(G, 2 * G, labels)
    assert same["agreement"] == same["accuracy"] == same["other_accuracy"] == 1
    other = gaps.predictions(G, positive(100, 3), labels)
    assert 0.2 < other["other_accuracy"] < 0.8
    assert other["least_agreement"] <= other["agreement"] < 0.8


def test_a_ridge_so_small_that_targets_are_interpolated():
    """The solver behind the predictions: decisions on the training samples themselves are their labels."""
    labels = np.arange(30) % 3
    every = np.arange(30)
    assert np.array_equal(
        gaps._decisions(positive(30, 4) + np.eye(30), labels, every, every), labels
    )


@pytest.mark.parametrize("kernel", ["ck", "all"])
def test_a_twin_is_nearer_than_controls(kernel):
    found = gaps.twin_gaps("relu", kernel, 0.2, 128, seed=0)
    assert found["twin"] < 0.01
    assert found["plain"] > 0.3 and found["plain_rescaled"] > 0.02
    assert found["other"] > 0.3 and found["other_rescaled"] > 0.02
    assert found["plain_rescaled"] < found["plain"]


def test_digits_of_a_twin_and_of_a_control():
    twin = gaps.digit_gaps("mnist", "relu", "twin", n=300)
    plain = gaps.digit_gaps("mnist", "relu", "relu relu", n=300)
    assert twin["gap"] < 1e-3
    assert 0.02 < plain["rescaled"] < plain["gap"]
    assert twin["angle"] < 0.1 < plain["angle"]
    assert twin["agreement"] == 1


def test_a_family_may_be_named():
    near = gaps.digit_gaps("mnist", "tanh", "twin", n=200)["gap"]
    far = gaps.digit_gaps("mnist", "tanh", "twin of hard_tanh", n=200)["gap"]
    assert 1.5 * near < far < 0.05


def test_the_sweeps_are_readable_and_hold_what_the_book_claims():
    """Results that are in the repository fit the sweeps of the code."""
    from helpers import sweeps

    for sweep in (experiments.TWINS, experiments.HARD_TANH_TWIN, *experiments.DIGIT_TWINS):
        assert sweeps.read(sweep).made
