r"""How far the kernels of two networks are apart: in norm, up to scale, in eigenspaces, in predictions.

The tasks of the sweeps behind thm-equivalence and thm-ntk-equivalence.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve, subspace_angles

from helpers import datasets, kernels, matching, mixtures, networks, spectra
from helpers.arrays import as_numpy
from helpers.errors import ConvergenceError
from helpers.networks import ExplicitNetwork, ImplicitNetwork

Array = NDArray[np.float64]
Values = dict[str, float]
#: what somebody would try who does not match: ReLU for an odd activation, |x| for one that is not
OTHER_ACTIVATION = {"tanh": "relu", "relu": "abs", "swish": "abs"}
RIDGE = 0.01  # of kernel ridge regression, relative to the mean of a kernel's diagonal
SPLITS = 5
CUTS = 60  # pairs of tangents that a least norm may take


def relative_gap(exact: Array, other: Array) -> float:
    r""":math:`\lVert G - H\rVert/\lVert G\rVert` in operator norm, G = ``exact`` and H = ``other`` symmetric (n, n) arrays."""
    return spectra.operator_norm(exact - other) / spectra.operator_norm(exact)


def rescaled_gap(exact: Array, other: Array) -> float:
    r"""The least :math:`\lVert G - fH\rVert/\lVert G\rVert` over factors f: how far apart but for scale.

    Parameters
    ----------
    exact, other : (n, n) array
        G and H, symmetric.

    Returns
    -------
    float
        At most one, which f = 0 gives.

    Raises
    ------
    ConvergenceError
        If 60 pairs of tangents leave the minimum uncertain by more than 1e-9 of it.
    """
    return least_norm(exact, other) / spectra.operator_norm(exact)


def least_norm(G: Array, H: Array) -> float:
    r"""The least :math:`\lVert G - fH\rVert` over real f, G and H symmetric (n, n) arrays, by cutting planes.

    The norm is the larger of :math:`\lambda_{\max}(G - fH)` and :math:`\lambda_{\max}(fH - G)`, both convex in f.
    For a unit vector v the line :math:`v^\top Gv - f\,v^\top Hv` lies below the first, and touches it where v is the
    leading eigenvector; likewise for the second. The highest of all lines so far is least at some f, with a value
    below the one sought; there the next two lines are drawn. At the minimum the two branches usually cross. A search
    that fits parabolas stops short of such a kink, lines end in it.

    Raises
    ------
    ConvergenceError
        If :data:`CUTS` pairs of lines leave the minimum uncertain by more than 1e-9 of it.
    """
    norm, signs = spectra.operator_norm(G), np.array([[-1.0, 1.0], [1.0, -1.0]])
    largest, v = spectra.extreme_eigenpair(H)
    if largest == 0:
        return norm
    lines, least = signs * (v @ G @ v, largest), norm
    for _ in range(CUTS):
        f, bound = _lowest(lines)
        ends = spectra.both_ends(G - f * H)[1].T
        touching = signs * [[v @ G @ v, v @ H @ v] for v in ends]
        least = min(least, float((touching @ (1.0, f)).max()))
        if least - bound <= 1e-9 * least + 1e-13 * norm:
            return least
        lines = np.vstack([lines, touching])
    raise ConvergenceError(f"the least norm was not found in {CUTS} pairs of cuts", least - bound)


def _lowest(lines: Array) -> tuple[float, float]:
    """Where the highest of lines, rows of intercept and slope, is least, and its value: two of them meet there."""
    falling, rising = lines[lines[:, 1] < 0, :, None], lines[lines[:, 1] >= 0].T
    f = (rising[0] - falling[:, 0]) / (falling[:, 1] - rising[1])
    values = falling[:, 0] + falling[:, 1] * f
    highest = values.argmax()
    return float(f.flat[highest]), float(values.flat[highest])


def angle(exact: Array, other: Array, k: int = 10) -> float:
    """Largest principal angle, in degrees, between the spans of the k leading eigenvectors of ``exact`` and ``other``, (n, n)."""
    spans = [spectra.top_eigenpairs(A, k)[1] for A in (exact, other)]
    return float(np.degrees(subspace_angles(*spans).max()))


def twin_gaps(
    activation: str,
    kernel: str,
    sigma_a2: float,
    p: int,
    seed: int,
    family: str | None = None,
    ratio: float = 0.8,
) -> Values:
    r"""Relative gaps of a DEQ's kernel to those of its twin and of controls, in the setting of Ling et al. (2024).

    A control is an explicit network of the twin's depth, centered and not matched: the plain one has the DEQ's
    own activation, the other one that of :data:`OTHER_ACTIVATION`.

    Parameters
    ----------
    activation : str
    kernel : {"ck", "all"}
        Conjugate kernels, or tangent kernels with all weights trained.
    sigma_a2 : float
    p, seed : int
        Dimension, and seed of the data.
    family : str, optional
        Of the twin, by default the one that :func:`helpers.matching.match` chooses.
    ratio : float
        n / p.

    Returns
    -------
    dict
        Keys twin, plain, other, plain_rescaled, other_rescaled; see :func:`relative_gap`, :func:`rescaled_gap`.
    """
    sample = mixtures.two_class(p).sample(round(ratio * p), seed)
    X, tau0 = sample.X, mixtures.statistics(sample).tau0
    network = ImplicitNetwork(activation, sigma_a2).centered(tau0)
    twin = _twin(network, tau0, kernel, family)
    exact = _kernel(network, X, kernel)
    found = {"twin": relative_gap(exact, _kernel(twin, X, kernel))}
    for control, phi in {"plain": activation, "other": OTHER_ACTIVATION[activation]}.items():
        layers = ExplicitNetwork((phi,) * twin.depth).centered(tau0)
        other = _kernel(layers, X, kernel)
        found[f"{control}_rescaled"] = rescaled_gap(exact, other)
        found[control] = relative_gap(exact, other)
    return found


@cache  # a search, the same for every seed
def _twin(
    network: ImplicitNetwork, tau0: float, kernel: str, family: str | None
) -> ExplicitNetwork:
    if kernel == "ck":
        return matching.match(network, tau0, family=family).network
    return matching.match(network, tau0, kernel="ntk", trained=kernel, family=family).network


def _kernel(network: networks.ImplicitNetwork | ExplicitNetwork, X: Array, kernel: str) -> Array:
    if kernel == "ck":
        return as_numpy(kernels.ck(network, X))
    return as_numpy(kernels.ntk(network, X, trained=kernel))


def digit_gaps(data: str, activation: str, explicit: str, n: int = 5000) -> Values:
    r"""Gaps between the conjugate kernels of a DEQ and of an explicit network on images, and between their predictions.

    With :math:`\sigma_a^2 = 0.2` on the first n shipped images, centered and scaled to :math:`\tau_0 = 1`.

    Parameters
    ----------
    data : {"mnist", "fashion_mnist"}
    activation : str
        Of the DEQ.
    explicit : str
        ``twin``; ``twin of`` a family; or the activations of the layers of a control, such as ``relu relu``.
    n : int

    Returns
    -------
    dict
        Keys gap, rescaled, angle (of the ten leading eigenvectors, in degrees); and over five splits into four
        fifths and one fifth, of kernel ridge regression with one ridge: agreement, least_agreement, accuracy,
        other_accuracy, shares of the test images.
    """
    images = datasets.load(data)
    X, labels = images.normalized().X[:, :n], images.labels[:n]
    network = ImplicitNetwork(activation, 0.2).centered(1.0)
    exact, other = kernels.ck(network, X), kernels.ck(_explicit(network, explicit), X)
    found = {
        "gap": relative_gap(exact, other),
        "rescaled": rescaled_gap(exact, other),
        "angle": angle(exact, other),
    }
    return found | predictions(exact, other, labels)


def _explicit(network: ImplicitNetwork, description: str) -> ExplicitNetwork:
    words = description.split()
    if words[0] == "twin":
        return matching.match(network, 1.0, family=words[2] if len(words) > 1 else None).network
    return ExplicitNetwork(tuple(words)).centered(1.0)


def predictions(exact: Array, other: Array, labels: NDArray[np.int64]) -> Values:
    """How far kernel ridge regression with two kernels and one ridge agrees, over :data:`SPLITS` splits.

    Parameters
    ----------
    exact, other : (n, n) arrays
    labels : (n,) array of int
    """
    order = np.random.default_rng(0).permutation(len(labels))
    agreement, right, other_right = [], [], []
    for test in np.array_split(order, SPLITS):
        train = np.setdiff1d(order, test)
        one, two = (_decisions(A, labels, train, test) for A in (exact, other))
        agreement.append(np.mean(one == two))
        right.append(np.mean(one == labels[test]))
        other_right.append(np.mean(two == labels[test]))
    return {
        "agreement": float(np.mean(agreement)),
        "least_agreement": float(np.min(agreement)),
        "accuracy": float(np.mean(right)),
        "other_accuracy": float(np.mean(other_right)),
    }


def _decisions(
    A: Array,
    labels: NDArray[np.int64],
    train: NDArray[np.int64],
    test: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Classes of the largest outputs of kernel ridge regression on one-hot targets."""
    Y = np.eye(labels.max() + 1)[labels[train]]
    system = A[np.ix_(train, train)]
    system.flat[:: len(train) + 1] += RIDGE * np.diag(A).mean()
    weights = solve(system, Y, assume_a="pos", overwrite_a=True)
    outputs: Array = A[np.ix_(test, train)] @ weights
    classes: NDArray[np.int64] = outputs.argmax(axis=1)
    return classes
