"""How far two kernels are apart, against cases with a known answer."""

import numpy as np
import pytest

from helpers import experiments, gaps


def positive(n, seed):
    Z = np.random.default_rng(seed).standard_normal((n, n))
    return Z @ Z.T / n


def test_a_multiple_of_a_kernel_is_no_distance_once_rescaled():
    G = positive(60, 0)
    assert gaps.relative_gap(G, 3 * G) == pytest.approx(2)
    assert gaps.rescaled_gap(G, 3 * G) < 1e-6


def test_the_best_factor_of_two_diagonal_kernels():
    """With G = diag(1, 2) and H = I the gap max(|1 - f|, |2 - f|) is least at f = 3/2: a quarter of the norm."""
    assert gaps.rescaled_gap(np.diag([1.0, 2.0]), np.eye(2)) == pytest.approx(0.25, rel=1e-3)


def test_the_best_factor_beats_a_grid():
    G, H = positive(40, 1), positive(40, 2)
    least = min(gaps.relative_gap(G, f * H) for f in np.linspace(0, 2, 400))
    assert gaps.rescaled_gap(G, H) <= least * (1 + 1e-4)


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
