"""Readouts on fixed features, against solutions that do not come from the package."""

import numpy as np
import pytest
import torch

from helpers import readout


def blobs(n=300, m=20, K=3, seed=0, noise=0.3):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % K
    centers = rng.standard_normal((m, K))
    return centers[:, labels] + noise * rng.standard_normal((m, n)), labels


def test_the_ridge_solution_solves_the_normal_equations():
    H, labels = blobs()
    found = readout.fit(H, labels, ridge=0.1)
    Y = np.eye(3)[labels] - 1 / 3
    omega = 0.1 * (H**2).sum() / H.shape[1]
    direct = np.linalg.solve(H @ H.T + omega * np.eye(len(H)), H @ Y)
    assert found.ridge == pytest.approx(omega)
    assert np.allclose(found.weights, direct, rtol=1e-9)


def test_the_ridge_is_chosen_by_generalized_cross_validation():
    """The criterion by the hat matrix itself, over the same ridges."""
    H, labels = blobs(n=60, m=40, noise=2.0)
    Y, n = np.eye(3)[labels] - 1 / 3, 60
    size = (H**2).sum() / n

    def criterion(relative):
        hat = H.T @ np.linalg.solve(H @ H.T + relative * size * np.eye(40), H)
        return ((Y - hat @ Y) ** 2).sum() / (1 - np.trace(hat) / n) ** 2

    best = min(readout.RIDGES, key=criterion)
    assert readout.fit(H, labels).ridge == pytest.approx(best * size)


@pytest.mark.parametrize("method", readout.METHODS)
def test_every_method_separates_what_is_separate(method):
    H, labels = blobs()
    found = readout.fit(H, labels, method)
    assert found.accuracy(H, labels) > 0.98
    assert found.outputs(H).shape == (3, 300)


@pytest.mark.parametrize("method", ["sgd", "adam"])
def test_descent_ends_near_the_minimum_of_the_cross_entropy(method):
    H, labels = blobs(n=120, m=3, noise=2.0)
    found = readout.fit(H, labels, method, epochs=300)
    R = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    X, y = torch.as_tensor(H.T), torch.as_tensor(labels)
    optimizer = torch.optim.LBFGS([R], max_iter=500, tolerance_grad=1e-12)

    def loss():
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(X @ R, y)
        value.backward()
        return value

    optimizer.step(loss)
    least = float(loss().detach())
    reached = float(torch.nn.functional.cross_entropy(X @ torch.as_tensor(found.weights), y))
    assert least <= reached <= least * 1.01


def test_single_and_double_precision_decide_alike():
    H, labels = blobs(noise=1.0)
    one, two = (readout.fit(H.astype(kind), labels) for kind in (np.float32, np.float64))
    assert np.mean(one.predict(H) == two.predict(H)) > 0.99


def test_kernel_ridge_regression_is_the_limit_of_ridge_regression():
    """With G = H^T H both solve the same problem (push-through identity)."""
    H, labels = blobs(noise=1.0)
    T = blobs(n=50, seed=1)[0]
    G, cross = H.T @ H, H.T @ T
    outputs, ridge = readout.kernel_ridge(G, labels, cross, ridge=0.05)
    direct = readout.fit(H, labels, ridge=0.05).outputs(T)
    assert ridge == 0.05
    assert np.allclose(outputs, direct, atol=1e-9)


def test_kernel_ridge_chooses_the_ridge_that_features_choose():
    H, labels = blobs(n=60, m=40, noise=2.0)
    _, ridge = readout.kernel_ridge(H.T @ H, labels, H.T @ H)
    assert ridge == pytest.approx(readout.fit(H, labels).ridge * 60 / (H**2).sum())


def test_the_same_seed_gives_the_same_readout():
    H, labels = blobs()
    one, two, three = (readout.fit(H, labels, "sgd", seed=seed).weights for seed in (3, 3, 4))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, three)


def test_one_sample_a_class_is_enough():
    H, labels = blobs(n=3)
    assert readout.fit(H, labels).accuracy(H, labels) == 1


BAD = [
    (lambda H, y: readout.fit(H, y, "newton"), ValueError, "method must be one of ridge, sgd, adam"),
    (lambda H, y: readout.fit(H * np.nan, y), ValueError, "H must"),
    (lambda H, y: readout.fit(H[0], y), ValueError, "H must"),
    (lambda H, y: readout.fit(H, y[:-1]), ValueError, "labels"),
    (lambda H, y: readout.fit(H, np.where(y == 1, 0, y)), ValueError, "labels"),
    (lambda H, y: readout.fit(H, y, classes=4), ValueError, "labels"),
    (lambda H, y: readout.fit(H, y, ridge=-1.0), ValueError, "ridge"),
    (lambda H, y: readout.fit(H, y, "sgd", epochs=0), ValueError, "epochs"),
    (lambda H, y: readout.fit(H, y, "sgd", batch=0), ValueError, "batch"),
    (lambda H, y: readout.fit(H, y, "sgd", seed=0.5), TypeError, "seed"),
    (lambda H, y: readout.fit(H, y).predict(H[:-1]), ValueError, "20 rows"),
    (lambda H, y: readout.fit(H, y).accuracy(H, y[:-1]), ValueError, "labels must have shape"),
    (lambda H, y: readout.kernel_ridge(H, y, H), ValueError, r"G must be \(n, n\)"),
    (lambda H, y: readout.kernel_ridge(-(H.T @ H), y, H.T @ H, ridge=1e-3), ValueError, "positive definite"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_wrong_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call(*blobs())


@pytest.mark.parametrize(
    ("H", "message"),
    [
        (
            torch.ones((3, 4), dtype=torch.int64),
            r"^H must be a real \(m, n\) matrix, one column a sample; its shape is \(3, 4\)$",
        ),
        (torch.ones(4), r"^H must be a real \(m, n\) matrix, .* its shape is \(4,\)$"),
        (torch.ones((0, 4)), r"^H must be a real \(m, n\) matrix, .* its shape is \(0, 4\)$"),
        (
            torch.tensor([[1.0, torch.inf, 2.0, 3.0]]),
            "^H must be finite: some features are NaN or inf$",
        ),
        (
            torch.tensor([[1.0, torch.inf, -torch.inf, 3.0]]),
            "^H must be finite: some features are NaN or inf$",
        ),
    ],
)
def test_wrong_features_as_tensors(H, message):
    with pytest.raises(ValueError, match=message):
        readout.fit(H, [0, 1, 0, 1])


def test_finite_features_whose_sum_is_not_are_served():
    """The sum overflows single precision, no entry does."""
    H = torch.full((2, 4), 3e38)
    assert not torch.isfinite(H.sum())
    assert readout._as_features(H).shape == (2, 4)
