"""The small trained network, features of any module, and the errors of modules that misbehave."""

import enum
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers import ConvergenceError, datasets, features

TEST = datasets.load("fashion_mnist", "test")
FEW = TEST.subset(range(10), 200, seed=0)


@pytest.fixture(scope="module")
def trained():
    return features.train_extractor(FEW, dimension=24, epochs=3, batch=20, seed=1)


# ---------------------------------------------------------------- training


def test_it_learns_the_shipped_images_in_seconds():
    module = features.train_extractor(datasets.load("fashion_mnist"), dimension=128, epochs=2)
    assert module.accuracy(TEST) > 0.78  # ten classes: chance is 0.1
    assert features.extract(module, TEST).shape == (128, 2000)


def test_features_are_the_layer_before_the_last(trained):
    F = features.extract(trained, FEW)
    assert F.shape == (24, 200) and F.dtype == np.float64 and F.min() == 0 and F.max() > 0
    (weight, bias) = (parameter.detach().numpy() for parameter in trained.readout.parameters())
    right = np.argmax(weight @ F + bias[:, None], axis=0) == FEW.labels
    assert right.mean() == trained.accuracy(FEW) > 0.4


def test_the_first_layers_are_convolutions_of_stride_two(trained):
    """One feature, computed from the definition of the layers."""
    image = FEW.X[:, 7].reshape(28, 28)
    p = [parameter.detach().numpy() for parameter in trained.body.parameters()]
    state = image[None]
    for weight, bias, pad in ((p[0], p[1], 2), (p[2], p[3], 1)):
        size, padded = weight.shape[-1], np.pad(state, ((0, 0), (pad, pad), (pad, pad)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))
        sums = np.einsum("chwij,ocij->ohw", windows[:, ::2, ::2], weight)
        state = np.maximum(sums + bias[:, None, None], 0)
    expected = np.maximum(p[4] @ state.ravel() + p[5], 0)
    assert np.allclose(features.extract(trained, FEW.X[:, 7:8])[:, 0], expected, atol=1e-12)


def test_the_seed_decides_and_the_generator_of_torch_is_left_alone(trained):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    again = features.train_extractor(FEW, dimension=24, epochs=3, batch=20, seed=1)
    other = features.train_extractor(FEW, dimension=24, epochs=3, batch=20, seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    F = features.extract(trained, FEW)
    assert np.allclose(features.extract(again, FEW), F, atol=1e-9)
    assert not np.allclose(features.extract(other, FEW), F, atol=1e-2)


def test_color_images_have_three_channels():
    rng = np.random.default_rng(0)
    data = datasets.Dataset(rng.random((3072, 12)), np.arange(12) % 3, "cifar10", "train")
    module = features.train_extractor(data, dimension=5, epochs=1)
    assert not module.training and module.body[0].in_channels == 3
    assert features.extract(module, data).shape == (5, 12)


def test_images_keep_the_order_of_their_pixels():
    X = np.arange(3072.0)[:, None]
    image = features.as_images(X)[0]
    assert image.shape == (3, 32, 32) and image[2, 1, 4] == 2 * 1024 + 32 + 4


def with_data(**change):
    return replace(FEW, **change)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"data": with_data(X=FEW.X[:100])}, ValueError, r"784 \(1 x 28 x 28\) or 3072 .*got 100"),
        ({"data": with_data(X=np.full((784, 200), np.nan))}, ValueError, "images must be finite"),
        ({"data": with_data(labels=2 * FEW.labels)}, ValueError, "data.labels must use every"),
        ({"data": with_data(labels=FEW.labels[:9])}, ValueError, r"data.labels .*shape \(200,\)"),
        ({"data": with_data(labels=0 * FEW.labels)}, ValueError, "at least two classes"),
        ({"dimension": 0}, ValueError, "dimension must be at least 1"),
        ({"epochs": 0}, ValueError, "epochs must be at least 1"),
        ({"batch": 0}, ValueError, "batch must be at least 1"),
        ({"batch": 2.5}, TypeError, "batch must be an integer"),
        ({"step_size": 0.0}, ValueError, "step_size must be positive"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"step_size": 1e200, "epochs": 3}, ConvergenceError, "smaller step_size"),
    ],
)
def test_training_refuses(change, error, message):
    arguments = {"data": FEW, "dimension": 4, "epochs": 1} | change
    with pytest.raises(error, match=message):
        features.train_extractor(**arguments)


# ---------------------------------------------------------------- extraction


def pixel_sums(images):
    """Features of an image: the sums of its upper and its lower half."""
    return torch.stack([images[:, :, :14].sum((1, 2, 3)), images[:, :, 14:].sum((1, 2, 3))], dim=1)


@pytest.mark.parametrize("n", [1, 7, 250, 251, 600])
def test_columns_are_images_in_batches_of_any_size(n):
    F = features.extract(pixel_sums, TEST.X[:, :n])
    halves = [TEST.X[:392, :n].sum(axis=0), TEST.X[392:, :n].sum(axis=0)]
    assert F.shape == (2, n) and np.allclose(F, halves, rtol=1e-5)


def test_a_module_gets_its_own_precision_and_its_mode_back():
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(784, 6))
    assert module.training
    F = features.extract(module, FEW)
    assert module.training and F.dtype == np.float64
    assert np.array_equal(F, features.extract(module, FEW))  # no dropout
    frozen = module.eval()
    features.extract(frozen, FEW)
    assert not frozen.training
    assert np.allclose(features.extract(frozen.double(), FEW), F, atol=1e-5)


def test_mode_comes_back_after_an_error():
    module = torch.nn.Flatten(0).train()
    with pytest.raises(ValueError, match="Flatten"):
        features.extract(module, FEW)
    assert module.training


def broken_at_the_end(images):
    out = pixel_sums(images)
    out[-1, 0] = float("nan")
    return out


calls = []


def growing(images):
    calls.append(len(images))
    return torch.zeros(len(images), len(calls))


@pytest.mark.parametrize(
    ("module", "error", "message"),
    [
        (broken_at_the_end, ValueError, "broken_at_the_end must return finite .*: 1 of 500"),
        (lambda x: pixel_sums(x) / 0, ValueError, "finite features"),
        (lambda x: pixel_sums(x)[:, 0], ValueError, r"\(250, q\) for 250 .*returned shape \(250,"),
        (lambda x: pixel_sums(x).T, ValueError, r"returned shape \(2, 250\)"),
        (lambda x: pixel_sums(x)[:-1], ValueError, r"returned shape \(249, 2\)"),
        (lambda x: pixel_sums(x)[:, :0], ValueError, "q at least 1"),
        (lambda x: x, ValueError, r"returned shape \(250, 1, 28, 28\)"),
        (growing, ValueError, "growing must return as many .*returned 1 and then 2"),
        (lambda x: None, TypeError, "real numbers, got NoneType"),
        (lambda x: pixel_sums(x) * 1j, TypeError, "real numbers, got Tensor of complex"),
        (3, TypeError, "module must take a batch of images, got 3"),
    ],
)
def test_misbehaving_modules_are_named(module, error, message):
    with pytest.raises(error, match=message):
        features.extract(module, TEST.X[:, :500])


def test_a_squeezed_batch_of_one():
    with pytest.raises(ValueError, match=r"shape \(1, q\) for 1 images.*returned shape \(2,\)"):
        features.extract(lambda x: pixel_sums(x).squeeze(), TEST.X[:, :1])


@pytest.mark.parametrize("X", [TEST.X[0], TEST.X[:, :0], TEST.X[:783], np.full((784, 2), np.inf)])
def test_images_of_another_kind(X):
    with pytest.raises(ValueError, match="images must"):
        features.extract(pixel_sums, X)


# ---------------------------------------------------------------- torchvision


class Weights(enum.Enum):
    """Like torchvision's: members by name, each with the transform of its images."""

    DEFAULT = "seen in training"

    def transforms(self):
        return torch.nn.AvgPool2d(4)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Flatten()
        self.head = torch.nn.Sequential(torch.nn.Linear(192, 7), torch.nn.Linear(7, 1000))

    def forward(self, images):
        return self.head(self.stem(images))


@pytest.fixture
def torchvision(monkeypatch):
    """A stand-in with the three functions that are used."""
    models = types.ModuleType("torchvision.models")

    def get_model(name, weights):
        if name == "offline":
            raise OSError("no network")
        return torch.nn.Flatten() if name == "flat" else Model()

    def get_model_weights(name):
        if name == "unknown":
            raise ValueError("Unknown model")
        return Weights

    models.get_model, models.get_model_weights = get_model, get_model_weights
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)


def test_pretrained_drops_the_last_dense_layer_and_resizes(torchvision):
    rng = np.random.default_rng(0)
    module = features.pretrained("small")
    assert not module.training
    assert features.extract(module, rng.random((3072, 4))).shape == (7, 4)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("unknown",), ValueError, "no model 'unknown'"),
        (("small", "OTHER"), ValueError, "weights 'OTHER'"),
        (("flat", None), ValueError, "flat has no dense layer"),
        (("offline",), OSError, "the weights of offline could not be fetched"),
    ],
)
def test_pretrained_refuses(torchvision, arguments, error, message):
    with pytest.raises(error, match=message):
        features.pretrained(*arguments)


def test_without_torchvision_one_line_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    with pytest.raises(ImportError, match="needs torchvision.*train_extractor"):
        features.pretrained()


def test_a_module_with_integers_first_is_fed_in_the_precision_of_its_weights():
    class Module(torch.nn.Module):
        def __init__(self, dtype):
            super().__init__()
            self.places = torch.nn.Parameter(torch.tensor([5, 3]), requires_grad=False)
            self.weight = torch.nn.Parameter(torch.tensor(2.0, dtype=dtype))

        def forward(self, images):
            assert images.dtype == self.weight.dtype
            return self.weight * images.flatten(1)[:, self.places]

    found = [features.extract(Module(dtype), FEW) for dtype in (torch.float32, torch.float64)]
    assert found[0].shape == (2, 200)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
