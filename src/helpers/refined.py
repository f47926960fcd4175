r"""The refined equivalent (thm-refined): every sample keeps the variance of its own preactivation.

Entry (i, j) of a kernel is a function of :math:`q_{ij} = x_i^\top x_j` and of the two variances alone. Its
expansion to second order, :math:`d_i d_j q_{ij} + \langle b_i, b_j\rangle + \langle w_i, w_j\rangle q_{ij}^2`,
keeps these variances as they are; then :math:`q_{ij}^2` gives way to its mean, known one sample at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import block_diag
from scipy.linalg.blas import dtrmm

from helpers import kernels
from helpers.activations import Activation
from helpers.checks import Labels, as_data, as_labels, as_real_array
from helpers.kernels import Network
from helpers.mixtures import Statistics
from helpers.networks import (
    ExplicitNetwork,
    ImplicitNetwork,
    Trained,
    positive_variances,
    warn_if_scale_differs,
)

Array = NDArray[np.float64]
BAND = 512  # rows of the Gram matrix that are squared at a time
ROUNDING = 1e-14  # a contribution this small beside the kernel's diagonal is rounding


@dataclass(frozen=True, eq=False)
class Profile:
    r"""What a kernel makes of each sample, equation (eq-profile); a column more for every layer.

    Attributes
    ----------
    gain : (n,) array
        :math:`d_i`: the pair's entry grows with its inner product as :math:`d_i d_j q_{ij}`.
    offset : (n, L) array
        :math:`b_i`: the entry at :math:`q_{ij} = 0` is :math:`\langle b_i, b_j\rangle`. L is 1 for a DEQ.
    square : (n, L) array
        :math:`w_i`: the weight of :math:`q_{ij}^2` is :math:`\langle w_i, w_j\rangle`.
    diagonal : (n,) array
        The exact diagonal of the kernel.
    """

    gain: Array
    offset: Array
    square: Array
    diagonal: Array


def profile(
    network: Network, squared_norms: ArrayLike, kernel: str = "ck", trained: Trained = "default"
) -> Profile:
    r"""Gain, offset, quadratic weight and exact diagonal of every sample, equation (eq-profile).

    Parameters
    ----------
    network : ImplicitNetwork or ExplicitNetwork
        Centered at the scale of the data.
    squared_norms : (n,) array
        :math:`\lVert x_i\rVert^2`.
    kernel : {"ck", "ntk"}
    trained : as in :func:`kernels.ntk`

    Returns
    -------
    Profile

    Raises
    ------
    As :func:`kernels.ntk`.
    """
    norms = as_real_array(squared_norms, "squared_norms")
    if norms.ndim != 1 or norms.size == 0 or norms.min() < 0:
        raise ValueError(
            "squared_norms must be a vector of at least one number, each 0 or positive"
        )
    # a diagonal depends on the norms alone: data of dimension one have the same
    diagonal = kernels.operator(network, np.sqrt(norms)[None, :], kernel, trained).diagonal
    if isinstance(network, ImplicitNetwork):
        return Profile(*_implicit(network, norms, kernel, trained), diagonal)
    return Profile(*_explicit(network, norms, kernel, trained), diagonal)


def terms(
    network: Network,
    stats: Statistics,
    X: ArrayLike,
    kernel: str = "ck",
    trained: Trained = "default",
    squares: ArrayLike | None = None,
) -> tuple[Array, Array, Array, Array]:
    r"""The refined equivalent (eq-refined) in parts: scaled Gram matrix, low rank, diagonal.

    It is ``diag(scale) X^T X diag(scale) + frame @ core @ frame.T + diag(diagonal)``, with the exact
    diagonal of the kernel. Products with it cost O(np); the parts themselves cost as much as
    :func:`squared_products`, or O(np) if ``squares`` are given.

    Parameters
    ----------
    network : ImplicitNetwork or ExplicitNetwork
        Centered at the scale of the data.
    stats : Statistics
        Of these data; what is used of them is the scale and the labels.
    X : (p, n) array
    kernel : {"ck", "ntk"}
    trained : as in :func:`kernels.ntk`
    squares : (n, K) array, optional
        Mean of :math:`(x_i^\top x)^2` over x of class b, at place (i, b): by default
        :func:`squared_products`; for a known mixture ``mixtures.quadratic_means(sample)``.

    Returns
    -------
    scale : (n,) array
    frame : (n, r) array
        At most 1 + 2K columns for a DEQ, that many a layer for an explicit network.
    core : (r, r) array
        Symmetric.
    diagonal : (n,) array

    Raises
    ------
    ValueError
        If the statistics are of other data, or the network is not centered at their scale.
    """
    X = as_data(X)
    _require_fit(network, stats, X)
    norms = np.einsum("ij,ij->j", X, X)
    found = profile(network, norms, kernel, trained)
    frame, core = _low_rank(found, norms, X, stats.labels, squares)
    rest = found.diagonal - found.gain**2 * norms - np.einsum("ij,ij->i", frame @ core, frame)
    return found.gain, frame, core, rest


def squared_products(X: ArrayLike, labels: ArrayLike) -> Array:
    r"""Mean of :math:`(x_i^\top x_j)^2` over the samples j ≠ i of class b, at place (i, b).

    The mean of the data stands for the expectation :math:`x_i^\top\Xi_b x_i` (prop-refined-empirical).
    Costs O(n min(n, Kp) p) once, in memory for a band of the Gram matrix or one p x p matrix.

    Parameters
    ----------
    X : (p, n) array
    labels : (n,) array of integers 0, ..., K-1

    Returns
    -------
    (n, K) array
        0 for the class of a sample that is alone in it: there is no such pair.
    """
    X = as_data(X)
    p, n = X.shape
    labels = as_labels(labels, n)
    J = np.eye(labels.max() + 1)[labels]
    counts = J.sum(axis=0) - J  # without i itself
    sums = _sums_by_rows(X, J) if n <= J.shape[1] * p else _sums_by_classes(X, labels)
    sums -= J * np.einsum("ij,ij->j", X, X)[:, None] ** 2
    return np.where(counts > 0, sums / np.maximum(counts, 1), 0.0)


def _sums_by_rows(X: Array, J: Array) -> Array:
    """Sum of (x_i^T x_j)^2 over each class, a band of rows at a time."""
    bands = [slice(start, start + BAND) for start in range(0, X.shape[1], BAND)]
    return np.concatenate([(X[:, band].T @ X) ** 2 @ J for band in bands])


def _sums_by_classes(X: Array, labels: Labels) -> Array:
    """The same as x_i^T S_b x_i with S_b = X_b X_b^T, of which one triangle is multiplied."""
    sums = np.empty((X.shape[1], labels.max() + 1))
    for b in range(sums.shape[1]):
        S = X[:, labels == b] @ X[:, labels == b].T
        half = np.triu(S, 1) + np.diag(S.diagonal() / 2)
        sums[:, b] = 2 * np.einsum("ip,pi->i", dtrmm(1.0, half, X.T, side=1), X)
    return sums


def _implicit(
    network: ImplicitNetwork, norms: Array, kernel: str, trained: Trained
) -> tuple[Array, Array, Array]:
    """Gain, offset and quadratic weight of a DEQ, (eq-profile), (eq-refined-ntk), (eq-refined-ntk-all)."""
    ((phi, s),) = _levels(network, norms)
    e0, e1, e2 = phi.mean(s), phi.slope(s), phi.curvature(s)
    a2, b2 = network.sigma_a2, network.sigma_b2
    v = 1 - a2 * e1**2  # positive below the sharp threshold
    if kernel == "ck":
        gain, offset, square = np.sqrt(b2 / v) * e1, e0 / np.sqrt(v), b2 * e2 / np.sqrt(2 * v**3)
    else:
        rate = network.input_rate(trained)
        gain, offset = np.sqrt(b2 * (1 + rate * v)) * e1 / v, e0 / v
        square = np.sqrt(1.5 - (1 - rate) * v) * b2 * e2 / v**2
    return gain, offset[:, None], square[:, None]


def _explicit(
    network: ExplicitNetwork, norms: Array, kernel: str, trained: Trained
) -> tuple[Array, Array, Array]:
    """Gain, offsets and quadratic weights of a stack of layers, (eq-refined-explicit)."""
    # the conjugate kernel is the tangent kernel of a network that trains its readout alone
    rates = (0.0,) * network.depth + (1.0,) if kernel == "ck" else network.rates(trained)
    gain = np.ones_like(norms)
    offset: list[Array] = []
    square: list[Array] = []
    for level, (phi, s) in enumerate(_levels(network, norms), start=1):
        before, after = sum(rates[:level]), sum(rates[level:])
        e0, e1, e2 = phi.mean(s), phi.slope(s), phi.curvature(s)
        offset = [e1 * b for b in offset] + [np.sqrt(after) * e0]
        square = [e1 * w for w in square] + [np.sqrt(after / 2 + before) * e2 * gain**2]
        gain = gain * e1
    return np.sqrt(sum(rates)) * gain, np.stack(offset, axis=1), np.stack(square, axis=1)


def _low_rank(
    found: Profile, norms: Array, X: Array, labels: Labels, squares: ArrayLike | None
) -> tuple[Array, Array]:
    r"""Frame and core of :math:`\sum_l b_l b_l^\top + \mathrm{diag}(w_l) R\,\mathrm{diag}(w_l)`."""
    size = ROUNDING * np.sqrt(np.abs(found.diagonal).max())
    offset = found.offset[:, np.abs(found.offset).max(axis=0) > size]
    square = found.square[:, np.abs(found.square * norms[:, None]).max(axis=0) > size]
    frames, cores = [offset], [np.eye(offset.shape[1])]
    if square.shape[1]:
        factor, core = _mean_square(X, labels, squares)
        frames += [weight[:, None] * factor for weight in square.T]
        cores += [core] * square.shape[1]
    return np.hstack(frames), block_diag(*cores)


def _mean_square(X: Array, labels: Labels, squares: ArrayLike | None) -> tuple[Array, Array]:
    r"""The matrix R of (eq-refined-square), as factor and core of 2K columns.

    R_ij = A_ib + A_ja - H_ab for i in class a and j in b, with H_ab the mean of A_ib over i in a.
    """
    n, K = X.shape[1], int(labels.max()) + 1
    A = squared_products(X, labels) if squares is None else as_real_array(squares, "squares")
    if A.shape != (n, K):
        raise ValueError(f"squares must have shape {(n, K)}, one column a class; it is {A.shape}")
    J = np.eye(K)[labels]
    H = (J.T @ A) / J.sum(axis=0)[:, None]
    core = np.block([[-(H + H.T) / 2, np.eye(K)], [np.eye(K), np.zeros((K, K))]])
    return np.hstack([J, A]), core


def _require_fit(network: Network, stats: Statistics, X: Array) -> None:
    """Statistics of data of this shape, and a network centered at their scale."""
    if not isinstance(network, ImplicitNetwork | ExplicitNetwork):
        raise TypeError(
            f"network must be an ImplicitNetwork or an ExplicitNetwork, got {network!r}"
        )
    if not isinstance(stats, Statistics):
        raise TypeError(f"stats must be a Statistics, got {type(stats).__name__}")
    if (stats.p, stats.n) != X.shape:
        raise ValueError(f"stats are of data of shape {(stats.p, stats.n)}, X has shape {X.shape}")
    warn_if_scale_differs(network, stats.tau0)
    slack = 1e-9 if network.tau0 is None else 0.1  # as of a scale that is one percent off
    for phi, s in _levels(network, np.array([stats.tau0**2])):
        mean, size = float(phi.mean(s)[0]), float(np.sqrt(phi.second_moment(s)[0]))
        if abs(mean) > slack * size:
            raise ValueError(
                f"the network is not centered: E[phi] = {mean:.3g} in a layer at this tau0; "
                "use network.centered(tau0)"
            )


def _levels(network: Network, norms: Array) -> list[tuple[Activation, Array]]:
    """The activations, each with the variances of its preactivations."""
    if isinstance(network, ImplicitNetwork):
        return [(network.activation, network.variance(norms))]
    levels, s = [], norms
    for phi in network.layers:
        levels.append((phi, positive_variances(s, "squared_norms")))
        s = phi.second_moment(levels[-1][1])
    return levels
