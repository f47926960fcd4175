"""What the sweeps of the practical chapter measure, on few images."""

import types

import numpy as np
import pytest
import torch

from helpers import practice

IMAGES = practice.images.__wrapped__  # what stands behind the cache, and before the fixture


@pytest.fixture(autouse=True)
def shipped_images(monkeypatch):
    """The last 2000 shipped images stand in for the official test images, which need a network."""
    load = practice.images.__wrapped__
    few = {}

    def images(data, full=True):
        if data not in few:
            X, labels, T, wanted = load(data, full=False)
            few[data] = X[:, :600], labels[:600], T[:, :300], wanted[:300]
        return few[data]

    monkeypatch.setattr(practice, "images", images)


def test_images_are_centered_scaled_and_apart():
    X, labels, T, wanted = practice.images("mnist")
    assert X.dtype == torch.float32
    assert len(labels) == X.shape[1] and len(wanted) == T.shape[1]
    assert not set(map(bytes, X.T.numpy())) & set(map(bytes, T.T.numpy()))
    assert float(X.square().sum(0).mean()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_networks_have_one_depth_and_one_scale(activation):
    twin = practice.network(activation, "twin")
    assert practice.network(activation, "plain").depth == twin.depth
    assert practice.network(activation, "other").depth == twin.depth
    for name in practice.NETWORKS:
        assert practice.network(activation, name).tau0 == 1.0


def test_features_in_batches_are_features():
    module = practice.realized("relu", "deq", 40, 0)
    X = practice.images("mnist")[0][:, :50]
    with torch.no_grad():
        whole = module.features(X)
    batch, practice.BATCH = practice.BATCH, 7
    try:
        parts = practice.features(module, X)
    finally:
        practice.BATCH = batch
    assert torch.allclose(whole, parts, atol=1e-4 * float(whole.abs().max()))


def test_accuracies_of_all_networks():
    found = practice.accuracy("mnist", "relu", 64, 0)
    assert set(found) == {
        f"{name}_ridge{what}" for name in practice.NETWORKS for what in ("", "_train", "_agreement")
    }
    assert found["deq_ridge_agreement"] == 1
    assert found["deq_ridge"] > 0.6 and found["twin_ridge"] > 0.6
    assert abs(found["deq_ridge"] - found["twin_ridge"]) < 0.1
    assert found == practice.accuracy("mnist", "relu", 64, 0)
    assert found != practice.accuracy("mnist", "relu", 64, 1)


def test_descent_reads_the_same_features():
    found = practice.descended("mnist", "tanh", 32, 0)
    assert found["deq_sgd"] > 0.5 and found["deq_adam"] > 0.5


def test_infinite_width_decides_like_the_twin():
    found = practice.limit("mnist", "relu")
    assert found["twin"] == pytest.approx(found["deq"], abs=0.01)
    assert found["twin_agreement"] > 0.99 > found["other_agreement"]


def test_all_weights_are_trained(monkeypatch):
    monkeypatch.setattr(practice, "EPOCHS", 2)
    for name in ("deq", "twin"):
        found = practice.trained("mnist", "relu", name, 0, width=32, n=300)
        assert found["accuracy_2"] > found["accuracy_0"] + 0.2
        assert (found["steps_2"] > 0) == (name == "deq")
        assert found["seconds_1"] > 0


def test_a_batch_of_one_is_a_batch():
    module = practice.realized("tanh", "deq", 16, 0)
    X = practice.images("mnist")[0]
    one = practice.features(module, X[:, :1])
    assert one.shape == (16, 1)
    assert torch.allclose(one, practice.features(module, X[:, :5])[:, :1], atol=1e-4)


def test_images_of_another_size_are_refused():
    module = practice.realized("tanh", "deq", 16, 0)
    with pytest.raises(ValueError, match="784"):
        practice.features(module, torch.zeros(785, 3))


def test_sweeps_name_their_task():
    for sweep in practice.SWEEPS:
        point = next(sweep.points())
        assert set(point) <= set(sweep.task.__code__.co_varnames)
        assert np.all([len(axis) for axis in sweep.grid.values()])


def test_the_official_test_images_are_scaled_as_the_training_images(monkeypatch):
    """With the official test images all that ship are trained on."""
    asked = []
    shipped = practice.datasets.load

    def load(data, *split, **options):
        asked.append((data, split, options))
        sample = shipped(data)
        if not split:
            return sample
        return types.SimpleNamespace(X=sample.X[:, :50], labels=sample.labels[:50])

    monkeypatch.setattr(practice.datasets, "load", load)
    X, labels, T, wanted = IMAGES("mnist")
    assert ("mnist", ("test",), {"full": True}) in asked
    assert X.shape[1] == len(labels) == len(shipped("mnist").labels)
    assert torch.equal(T, X[:, :50]) and (wanted == labels[:50]).all()
