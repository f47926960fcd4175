"""Learned features as data: a small network trained on images, a reader's own, or one of torchvision.

The penultimate layer of a trained network turns an image into a vector of moderate dimension. Stacked as
columns, such vectors are data like any other: for kernels, statistics and equivalents.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from helpers.checks import as_data, as_labels, integer, positive
from helpers.datasets import Dataset
from helpers.errors import ConvergenceError
from helpers.progress import track

__all__ = ["Extractor", "as_images", "extract", "pretrained", "train_extractor"]

Array = NDArray[np.float64]
SHAPES = {784: (1, 28, 28), 3072: (3, 32, 32)}  # channels, height and width, by number of pixels
BATCH = 250  # images an extractor gets at a time


class Extractor(nn.Module):
    """Two convolutions and two dense layers, of which the first makes the features; see :func:`train_extractor`.

    Parameters
    ----------
    shape : tuple of int
        Channels, height and width of an image.
    dimension : int
        Number q of features.
    classes : int
        Number K of classes.
    seed : int
        Of the initial weights: centered Gaussians of variance 2/(number of inputs).
    """

    def __init__(
        self, shape: tuple[int, int, int], dimension: int, classes: int, seed: int
    ) -> None:
        super().__init__()
        channels, height, width = shape
        places = -(-height // 4) * -(-width // 4)  # two strides of 2, rounded up
        with torch.random.fork_rng(devices=[]):  # torch draws weights that are drawn anew below
            self.body = nn.Sequential(
                nn.Conv2d(channels, 16, 5, stride=2, padding=2),
                nn.ReLU(),
                nn.Conv2d(16, 32, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(32 * places, dimension),
                nn.ReLU(),
            )
            self.readout = nn.Linear(dimension, classes)
        # float64: rounding that training amplifies stays far below what is printed, on every machine
        self.to(torch.float64)
        _draw(self, np.random.default_rng(seed))

    def forward(self, images: Tensor) -> Tensor:
        """Features (k, q) of the images (k, channels, height, width)."""
        features: Tensor = self.body(images)
        return features

    @torch.no_grad()
    def accuracy(self, data: Dataset) -> float:
        """Share of the images of ``data`` whose largest output is that of their label."""
        outputs = self.readout(torch.as_tensor(extract(self, data).T))
        return float(np.mean(outputs.argmax(dim=1).numpy() == data.labels))


def train_extractor(
    data: Dataset,
    dimension: int = 256,
    epochs: int = 4,
    seed: int = 0,
    batch: int = 100,
    step_size: float = 1e-3,
) -> Extractor:
    """A small convolutional network, trained to tell the classes apart (cross-entropy, Adam).

    Parameters
    ----------
    data : Dataset
        Images of 28 x 28 or 3 x 32 x 32 pixels, at least two classes.
    dimension : int
        Number q of features, the width of the penultimate layer.
    epochs : int
        Passes through the data; about two seconds each for 10 000 images of 28 x 28.
    seed : int
        Of weights and order: the same seed gives the same features, to rounding.
    batch : int
        Images a step; the last step of an epoch takes what is left.
    step_size : float

    Returns
    -------
    Extractor
        In evaluation mode.

    Raises
    ------
    ConvergenceError
        If the loss is no longer finite.
    TypeError, ValueError
        For images of another size, labels that miss a class, a single class, or a number out of range.
    """
    if not isinstance(data, Dataset):
        raise TypeError(f"data must be a Dataset, got {type(data).__name__}")
    images = as_images(data).double()
    labels = as_labels(data.labels, len(images), "data.labels")
    if labels.max() == 0:
        raise ValueError("data must have at least two classes, all labels are 0")
    batch, epochs = integer(batch, "batch", 1), integer(epochs, "epochs", 1)
    step_size = positive(step_size, "step_size")
    seed, (channels, height, width) = integer(seed, "seed"), images.shape[1:]
    shape = channels, height, width
    module = Extractor(shape, integer(dimension, "dimension", 1), int(labels.max()) + 1, seed)
    optimizer = torch.optim.Adam(module.parameters(), lr=step_size)
    rng, targets = np.random.default_rng([seed, 1]), torch.as_tensor(labels)
    for _ in track(range(epochs), epochs, "training the extractor"):
        for chosen in torch.as_tensor(rng.permutation(len(images))).split(batch):
            _step(module, optimizer, images[chosen], targets[chosen])
    return module.eval()


def _draw(module: nn.Module, rng: np.random.Generator) -> None:
    """Initial weights from numpy's generator, which leaves torch's alone; biases 0."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter.zero_()
            else:
                values = rng.standard_normal(parameter.shape) * (2 / parameter[0].numel()) ** 0.5
                parameter.copy_(torch.as_tensor(values))


def _step(
    module: Extractor, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor
) -> None:
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(module.readout(module(images)), labels)
    if not torch.isfinite(loss):
        raise ConvergenceError(
            "training of the extractor diverged: take a smaller step_size", loss.item()
        )
    loss.backward()
    optimizer.step()


def as_images(images: Dataset | ArrayLike) -> Tensor:
    """Columns of pixels as images.

    Parameters
    ----------
    images : Dataset or (p, n) array
        p = 784 or 3072; a color image lists its red, then its green, then its blue pixels.

    Returns
    -------
    (n, channels, height, width) tensor of float64

    Raises
    ------
    TypeError, ValueError
        For anything else, or pixels that are not finite.
    """
    X = as_data(images.X if isinstance(images, Dataset) else images, "images")
    if len(X) not in SHAPES:
        sizes = " or ".join(f"{p} ({' x '.join(map(str, shape))})" for p, shape in SHAPES.items())
        raise ValueError(f"images must have {sizes} pixels a column, got {len(X)}")
    return torch.as_tensor(X.T.copy()).reshape(-1, *SHAPES[len(X)])


def extract(module: Callable[[Tensor], Tensor], images: Dataset | ArrayLike) -> Array:
    """Features of images, as columns.

    Parameters
    ----------
    module : callable
        Takes a tensor (k, channels, height, width), returns k rows of features: :class:`Extractor`, any
        ``torch.nn.Module`` (put into evaluation mode meanwhile, and given its own precision), or a function.
    images : Dataset or (p, n) array
        As :func:`as_images`.

    Returns
    -------
    (q, n) array
        Float64.

    Raises
    ------
    ValueError
        If the module returns NaN or infinite features, or another shape than k rows, each of the same length.
    TypeError
        If it cannot be called, or returns no real numbers.
    """
    if not callable(module):
        raise TypeError(f"module must take a batch of images, got {module!r}")
    parts: list[Array] = []
    for part in _batches(module, as_images(images)):
        parts.append(part)
        if len(parts[0]) != len(part):
            raise ValueError(
                f"module {_name(module)} must return as many features for every batch, "
                f"it returned {len(parts[0])} and then {len(part)}"
            )
    return np.concatenate(parts, axis=1)


@torch.no_grad()
def _batches(module: Callable[[Tensor], Tensor], images: Tensor) -> Iterator[Array]:
    """Checked features, batch by batch, each of shape (q, k)."""
    resting = module if isinstance(module, nn.Module) and module.training else None
    try:
        if resting:
            resting.eval()
        for batch in images.split(BATCH):
            yield _checked(module, module(_like(module, batch)), len(batch))
    finally:
        if resting:
            resting.train()


def _like(module: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    """A batch in the precision and on the device of the module's weights; single precision if it has none."""
    if isinstance(module, nn.Module):
        for parameter in module.parameters():
            if parameter.is_floating_point():
                return batch.to(parameter)
    return batch.float()


def _checked(module: Callable[[Tensor], Tensor], output: object, k: int) -> Array:
    values = np.asarray(output.cpu() if isinstance(output, Tensor) else output)
    if values.dtype.kind not in "iuf":
        raise TypeError(
            f"module {_name(module)} must return real numbers, got {type(output).__name__} of {values.dtype}"
        )
    if values.ndim != 2 or len(values) != k or values.shape[1] == 0:
        raise ValueError(
            f"module {_name(module)} must return features of shape ({k}, q) for {k} images, q at least 1; "
            f"it returned shape {values.shape}"
        )
    bad = values.size - int(np.isfinite(values).sum())
    if bad:
        raise ValueError(
            f"module {_name(module)} must return finite features: {bad} of {values.size} are NaN or inf"
        )
    return values.T.astype(np.float64)


def _name(module: object) -> str:
    return getattr(module, "__name__", type(module).__name__)


def pretrained(name: str = "resnet18", weights: str | None = "DEFAULT") -> nn.Module:
    """A network of torchvision up to its last dense layer, with the resizing that its weights expect.

    Parameters
    ----------
    name : str
        Of a classification model of torchvision.
    weights : str or None
        Name of its weights, which torchvision downloads once; None for random ones, without resizing.

    Returns
    -------
    torch.nn.Module
        From color images in [0, 1], as :func:`extract` gives it, to features; in evaluation mode.

    Raises
    ------
    ImportError
        If torchvision is not installed.
    ValueError
        If torchvision has no such model or weights, or the model has no dense layer to drop.
    OSError
        If the weights cannot be fetched.
    """
    try:
        models = importlib.import_module("torchvision.models")
    except ImportError as error:
        raise ImportError(
            "features.pretrained needs torchvision, which the book does not install: `pip install torchvision`, "
            "or use features.train_extractor"
        ) from error
    try:
        chosen = models.get_model_weights(name)[weights] if weights else None
    except (ValueError, KeyError) as error:
        raise ValueError(f"torchvision has no model {name!r} with weights {weights!r}") from error
    try:
        model = models.get_model(name, weights=chosen)
    except OSError as error:
        raise OSError(f"the weights of {name} could not be fetched: {error}") from error
    _drop_last_dense(model, name)
    return (nn.Sequential(chosen.transforms(), model) if chosen else model).eval()


def _drop_last_dense(model: nn.Module, name: str) -> None:
    dense = [path for path, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    if not dense:
        raise ValueError(
            f"{name} has no dense layer to drop: give features.extract a module of your own"
        )
    parent, _, leaf = dense[-1].rpartition(".")
    setattr(model.get_submodule(parent), leaf, nn.Identity())
