r"""What a DEQ and its twin do in practice: accuracy against width, agreement of decisions, training of all weights.

Tasks for sweeps on images. Training samples are the 10 000 that ship with the book, test samples the 10 000 official ones,
from ``HELPERS_DATA`` or fetched once (:func:`helpers.datasets.load`). All images are centered by the training mean and
scaled to a mean squared norm of one, so that :math:`\tau_0 = 1`.
"""

from __future__ import annotations

import time
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from helpers import datasets, finite, kernels, matching, readout
from helpers.networks import ExplicitNetwork, ImplicitNetwork
from helpers.sweeps import Sweep

Values = dict[str, float]
Network = ImplicitNetwork | ExplicitNetwork
Module = finite.ImplicitModule | finite.ExplicitModule
SIGMA_A2 = 0.2
SOLVER = finite.Solver("plain", 1e-4)
BATCH = 1000  # images whose features are computed at a time
NETWORKS = ("deq", "twin", "plain", "other")
OTHER = {"relu": ("abs", "abs"), "tanh": ("sign",)}


@cache
def network(activation: str, name: str) -> Network:
    r"""A DEQ, its twin, or one of two explicit networks of the twin's depth that are not matched.

    Parameters
    ----------
    activation : {"relu", "tanh"}
        Of the DEQ, at :math:`\sigma_a^2 = 0.2` and :math:`\tau_0 = 1`.
    name : {"deq", "twin", "plain", "other"}
        ``plain`` stacks the DEQ's activation; ``other`` is a network that kernels do tell apart: two layers of
        \|x\| for ReLU, one of signs for tanh.
    """
    deq = ImplicitNetwork(activation, SIGMA_A2).centered(1.0)
    if name == "deq":
        return deq
    twin = matching.match(deq, 1.0).network
    if name == "twin":
        return twin
    layers = {"plain": (activation,) * twin.depth, "other": OTHER[activation]}[name]
    return ExplicitNetwork(layers).centered(1.0)


@cache
def images(
    data: str, full: bool = True
) -> tuple[Tensor, NDArray[np.int64], Tensor, NDArray[np.int64]]:
    """Training and test images, (784, n) in single precision, and their labels.

    Parameters
    ----------
    data : {"mnist", "fashion_mnist"}
    full : bool
        Whether the test images are the 10 000 official ones or the last 2000 of those that ship, which are then
        left out of the training images.
    """
    labels, X = datasets.load(data).labels, training(data)
    if not full:
        return X[:, :-2000], labels[:-2000], X[:, -2000:], labels[-2000:]
    test = datasets.load(data, "test", full=True)
    return X, labels, _scaled(test.X, data), test.labels


def training(data: str) -> Tensor:
    """The images of ``data`` that ship, (784, 10000), centered and scaled by themselves."""
    return _scaled(datasets.load(data).X, data)


def _scaled(X: NDArray[np.float64], data: str) -> Tensor:
    """Images by the center and the scale of those that ship."""
    own = datasets.load(data).X
    center = own.mean(axis=1, keepdims=True)
    scale = np.sqrt(np.square(own - center).sum(axis=0).mean())
    return torch.as_tensor((X - center) / scale, dtype=torch.float32)


def realized(activation: str, name: str, width: int, seed: int) -> Module:
    """One of the networks of :func:`network` with random weights, in single precision.

    Parameters
    ----------
    activation, name : str
        As in :func:`network`.
    width : int
        Of every layer.
    seed : int
    """
    chosen = network(activation, name)
    solver = SOLVER if isinstance(chosen, ImplicitNetwork) else None
    return finite.realize(chosen, 784, width, seed, dtype=torch.float32, solver=solver)


@torch.no_grad()
def features(module: Module, X: Tensor) -> Tensor:
    """Features (m, n) of a ``module`` for many images X (784, n), a batch at a time."""
    return torch.cat([module.features(part) for part in X.split(BATCH, dim=1)], dim=1)


def accuracy(
    data: str,
    activation: str,
    width: int,
    seed: int,
    methods: tuple[str, ...] = ("ridge",),
    **settings: Any,
) -> Values:
    """Test accuracies of a DEQ, its twin and controls with readouts trained on fixed features.

    Features are computed once a network and used by every readout.

    Parameters
    ----------
    data, activation : str
    width, seed : int
        Every network draws its own weights, from seeds that do not overlap.
    methods : tuple of {"ridge", "sgd", "adam"}
    **settings
        See :func:`helpers.readout.fit`.

    Returns
    -------
    dict
        Keys ``network_method``: test accuracy; ``network_method_train``: on the training images;
        and ``network_method_agreement``: share of test images that the DEQ decides alike.
    """
    X, labels, T, wanted = images(data)
    found: Values = {}
    decisions: dict[str, NDArray[np.int64]] = {}
    for k, name in enumerate(NETWORKS):
        module = realized(activation, name, width, len(NETWORKS) * seed + k)
        H, H_test = features(module, X), features(module, T)
        for method in methods:
            trained = readout.fit(H, labels, method, seed=seed, **settings)
            classes = trained.predict(H_test)
            decisions.setdefault(method, classes)
            key = f"{name}_{method}"
            found[key] = float(np.mean(classes == wanted))
            found[f"{key}_train"] = trained.accuracy(H, labels)
            found[f"{key}_agreement"] = float(np.mean(classes == decisions[method]))
    return found


def descended(data: str, activation: str, width: int, seed: int) -> Values:
    """:func:`accuracy` with stochastic gradient descent and with Adam, the protocol of Ling et al. (2024).

    Parameters
    ----------
    data, activation, width, seed
        As in :func:`accuracy`.
    """
    return accuracy(data, activation, width, seed, ("sgd", "adam"), epochs=15)


def limit(data: str, activation: str) -> Values:
    """Infinite width: kernel ridge regression with the exact conjugate kernels.

    Parameters
    ----------
    data, activation : str

    Returns
    -------
    dict
        Keys deq, twin, plain, other: test accuracies; and ``*_agreement`` with the DEQ.
    """
    X, labels, T, wanted = images(data)
    both = torch.cat([X, T], dim=1).numpy()
    n, found, first = X.shape[1], {}, None
    for name in NETWORKS:
        # entries to 1e-7 are enough for decisions, and a third of the memory
        G = kernels.ck(network(activation, name), both, dtype="float32")
        outputs, _ = readout.kernel_ridge(G[:n, :n], labels, G[:n, n:])
        classes = outputs.argmax(axis=0)
        first = classes if first is None else first
        found[name] = float(np.mean(classes == wanted))
        found[f"{name}_agreement"] = float(np.mean(classes == first))
        del G
    return found


# ---------------------------------------------------------------- all weights trained

EPOCHS, STEP, DESCENT_BATCH = 12, 4.0, 50


def trained(
    data: str, activation: str, name: str, seed: int, width: int = 512, n: int = 5000
) -> Values:
    """All weights of one network trained by gradient descent with momentum on the cross-entropy.

    The DEQ by implicit differentiation. Seconds are those of this run: medians over seeds are for comparison.

    Parameters
    ----------
    data, activation : str
    name : {"deq", "twin", "plain"}
    seed, width : int
    n : int
        Training images, of those that ship.

    Returns
    -------
    dict
        ``accuracy_e``, ``seconds_e``, ``steps_e`` for epochs e = 0 … 12: test accuracy after the epoch; its
        duration without the test; mean solver steps of a batch (0 for explicit networks).
    """
    X, labels, T, wanted = images(data)
    X, targets = X[:, :n], torch.as_tensor(labels[:n])
    module = realized(activation, name, width, seed)
    head = torch.zeros(width, 10, requires_grad=True)
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD([*weights, head], lr=STEP, momentum=0.9)
    rng, found = np.random.default_rng(seed), {}
    for epoch in range(EPOCHS + 1):
        start = time.perf_counter()
        if epoch:
            for some in torch.as_tensor(rng.permutation(n)).split(DESCENT_BATCH):
                optimizer.zero_grad()
                outputs = module.features(X[:, some]).T @ head
                torch.nn.functional.cross_entropy(outputs, targets[some]).backward()
                optimizer.step()
        found[f"seconds_{epoch}"] = time.perf_counter() - start
        found[f"steps_{epoch}"] = _steps(module, X[:, :500])
        found[f"accuracy_{epoch}"] = _test(module, head, T, wanted)
    return found


@torch.no_grad()
def _steps(module: Module, X: Tensor) -> float:
    """Mean number of steps that a DEQ's solver takes; 0 for explicit networks."""
    if not isinstance(module, finite.ImplicitModule):
        return 0.0
    return float(module.solution(X).iterations.double().mean())


@torch.no_grad()
def _test(module: Module, head: Tensor, T: Tensor, wanted: NDArray[np.int64]) -> float:
    outputs = features(module, T).T @ head
    return float(np.mean(outputs.argmax(1).numpy() == wanted))


# ---------------------------------------------------------------- sweeps

WHAT = {"data": ["mnist", "fashion_mnist"], "activation": ["relu", "tanh"]}
WIDTHS = [32, 64, 128, 256, 512, 1024, 2048]
SEEDS = list(range(5))
ACCURACY = Sweep("accuracy", 1, accuracy, WHAT | {"seed": SEEDS, "width": WIDTHS})
MORE_SEEDS = Sweep("accuracy_512", 1, accuracy, WHAT | {"seed": list(range(5, 10)), "width": [512]})
DESCENT = Sweep("accuracy_descent", 1, descended, WHAT | {"seed": SEEDS, "width": WIDTHS})
LIMIT = Sweep("accuracy_limit", 1, limit, WHAT)
TRAINED = Sweep("trained", 1, trained, WHAT | {"name": ["deq", "twin", "plain"], "seed": SEEDS})
SWEEPS = [ACCURACY, MORE_SEEDS, DESCENT, LIMIT, TRAINED]
