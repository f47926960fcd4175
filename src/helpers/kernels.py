r"""Exact infinite-width kernels of a network on data: one scalar fixed point a sample, then one a pair.

The implicit conjugate kernel is the fixed point of :math:`\Lambda = \sigma_a^2 G + \sigma_b^2 X^\top X`,
:math:`G_{ij} = E[\varphi(u)\varphi(v)]`. Its diagonal separates into n scalar equations; given the diagonal,
every pair is a scalar equation in its correlation, whose derivative Price's theorem provides.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import LinearOperator
from threadpoolctl import threadpool_limits

from helpers import eigen
from helpers.activations import Activation
from helpers.checks import as_data, as_real_array
from helpers.errors import ConvergenceError
from helpers.networks import ExplicitNetwork, ImplicitNetwork, positive_variances
from helpers.progress import track

Array = NDArray[np.float64]
Network = ImplicitNetwork | ExplicitNetwork
Trained = str | tuple[float, ...]
Block = Callable[[slice, slice, Array], tuple[Array, ...]]
TILE = 128  # a tile of doubles and its temporaries stay in the cache
OPERATOR_TILE = 512  # wide enough for the products with vectors
TOLERANCE = 1e-13
TWINS = 2e-13  # correlations this near to one are those of equal or parallel samples
STEPS = 60


def diagonal(network: ImplicitNetwork, squared_norms: ArrayLike) -> Array:
    r"""Variance :math:`\Lambda_{ii}` of each sample's preactivation, equation (eq-diagonal).

    Parameters
    ----------
    network : ImplicitNetwork
    squared_norms : (n,) array
        :math:`\lVert x_i\rVert^2`.

    Returns
    -------
    (n,) array
    """
    if not isinstance(network, ImplicitNetwork):
        raise TypeError(f"network must be an ImplicitNetwork, got {type(network).__name__}")
    return network.variance(squared_norms)


def ck(network: Network, X: ArrayLike) -> Array:
    r"""Exact conjugate kernel: :math:`G^*` of an implicit network, :math:`\Sigma^{(L)}` of an explicit one.

    Parameters
    ----------
    network : ImplicitNetwork or ExplicitNetwork
        Centered or not.
    X : (p, n) array
        One column a sample.

    Returns
    -------
    (n, n) array
        Symmetric; every pair converged to a residual of 1e-13 in its correlation.

    Raises
    ------
    ConvergenceError
        With the residual, if a fixed point does not settle.
    MemoryError
        Before allocating, if an n x n array does not fit in memory.
    ValueError, TypeError
        For data that are not a finite real matrix, or a network beyond the sharp threshold.
    """
    return _compute(network, X, None)[0]


def ntk(network: Network, X: ArrayLike, trained: Trained = "default") -> Array:
    r"""Exact neural tangent kernel: :math:`\Theta^*` of an implicit network, :math:`\Theta^{(L)}` of an explicit one.

    Parameters
    ----------
    network : ImplicitNetwork or ExplicitNetwork
        Centered or not.
    X : (p, n) array
    trained : {"default", "all", "first_frozen"} or tuple of float
        Which weights the kernel trains. For an implicit network "default" is the readout and the
        recurrent A, the kernel :math:`G^*/(1 - \dot G^*)` of Feng and Kolter (2023), and "all" adds
        B. For an explicit network both are all layers; "first_frozen" leaves :math:`W_1` out, and a
        tuple gives a rate to each layer, :math:`c_0, \dots, c_L`, the readout last.

    Returns
    -------
    (n, n) array

    Raises
    ------
    As :func:`ck`, and ValueError for a choice of weights that the network does not have.
    """
    return _compute(network, X, _chosen(trained))[1]


def ck_and_ntk(network: Network, X: ArrayLike, trained: Trained = "default") -> tuple[Array, Array]:
    """Both kernels, :func:`ck` and :func:`ntk`, for less than the two apart."""
    return _compute(network, X, _chosen(trained))


def operator(
    network: Network, X: ArrayLike, kernel: str = "ck", trained: Trained = "default"
) -> KernelOperator:
    r"""The exact kernel as an operator that never stores n x n entries: tiles are computed as they are needed.

    A product with b vectors costs one computation of the kernel, whatever b: use
    :meth:`KernelOperator.eigsh`, whose products are few and wide.

    Parameters
    ----------
    network : ImplicitNetwork or ExplicitNetwork
    X : (p, n) array
    kernel : {"ck", "ntk"}
    trained : as in :func:`ntk`

    Returns
    -------
    KernelOperator
        A scipy ``LinearOperator`` of shape (n, n).

    Raises
    ------
    As :func:`ntk`.
    """
    if kernel not in ("ck", "ntk"):
        raise ValueError(f'kernel must be "ck" or "ntk", got {kernel!r}')
    X = as_data(X)
    squared_norms = np.einsum("ij,ij->j", X, X)
    block, diagonals = _solver(network, squared_norms, None if kernel == "ck" else _chosen(trained))
    return KernelOperator(X, block, diagonals[-1])


class KernelOperator(LinearOperator):
    """An exact kernel known by its products; made by :func:`operator`."""

    def __init__(self, X: Array, block: Block, diagonal: Array) -> None:
        super().__init__(np.dtype(np.float64), (X.shape[1],) * 2)
        self.X, self.block, self.diagonal = X, block, diagonal

    def eigsh(self, k: int, passes: int = 8) -> tuple[Array, Array]:
        """The ``k`` largest eigenvalues, descending, and vectors, from ``passes`` wide products.

        Raises
        ------
        ConvergenceError
            With the residual, if ``passes`` were too few for a relative residual of 1e-4.
        """
        return eigen.block_eigenpairs(self, k, passes)

    def _matmat(self, vectors: Array) -> Array:
        out = self.diagonal[:, None] * vectors
        bands = list(_bands(self.shape[0], OPERATOR_TILE))
        with ThreadPoolExecutor(_threads()) as pool, threadpool_limits(1, "blas"):
            for index, rows in track(enumerate(bands), len(bands), "kernel product"):
                tasks = pool.map(lambda columns: self._tile(rows, columns, vectors), bands[index:])  # noqa: B023
                for columns, (right, left) in zip(bands[index:], tasks):
                    out[rows] += right
                    if columns != rows:
                        out[columns] += left
        return out

    def _tile(self, rows: slice, columns: slice, vectors: Array) -> tuple[Array, Array]:
        """Products of one tile with its columns' and its rows' part of the vectors."""
        values = self.block(rows, columns, self.X[:, rows].T @ self.X[:, columns])[-1]
        if rows == columns:
            values = (values + values.T) / 2
            np.fill_diagonal(values, 0.0)
        return values @ vectors[columns], values.T @ vectors[rows]

    def _matvec(self, vector: Array) -> Array:
        return self._matmat(vector.reshape(-1, 1)).reshape(vector.shape)

    def _adjoint(self) -> KernelOperator:
        return self


def _compute(network: Network, X: ArrayLike, trained: Trained | None) -> tuple[Array, ...]:
    """Conjugate kernel and, unless ``trained`` is None, tangent kernel."""
    X = as_data(X)
    _require_memory(X.shape[1], 1 if trained is None else 2)
    gram = X.T @ X  # half the work of a product: BLAS sees the symmetry
    block, diagonals = _solver(network, gram.diagonal().copy(), trained)
    kernels = (gram,) if trained is None else (gram, np.empty_like(gram))
    _fill(kernels, block)
    for kernel, values in zip(kernels, diagonals):
        np.fill_diagonal(kernel, values)
    return kernels


def _solver(
    network: Network, squared_norms: Array, trained: Trained | None
) -> tuple[Block, tuple[Array, ...]]:
    """What computes a tile of the kernels from the Gram matrix's, and the diagonals."""
    if isinstance(network, ImplicitNetwork):
        return _implicit(network, squared_norms, trained)
    if isinstance(network, ExplicitNetwork):
        return _explicit(network, squared_norms, trained)
    raise TypeError(f"network must be an ImplicitNetwork or an ExplicitNetwork, got {network!r}")


@dataclass(frozen=True)
class _Samples:
    """What each sample contributes to its pairs in one layer."""

    root: Array  # standard deviation of the preactivation
    mean: Array  # E[phi(u)]
    prepared: Array  # what the activation's family makes of the variance

    @classmethod
    def of(cls, activation: Activation, s: Array) -> _Samples:
        return cls(np.sqrt(s), activation.mean(s), activation.family.prepare(s))

    def tile(self, rows: slice, columns: slice) -> tuple[Array, Array, Array, Array]:
        """Scale, product of means, and prepared data of the rows and columns of a tile."""
        scale = self.root[rows, None] * self.root[None, columns]
        means = self.mean[rows, None] * self.mean[None, columns]
        return scale, means, self.prepared[..., rows, None], self.prepared[..., None, columns]


def _implicit(
    network: ImplicitNetwork, squared_norms: Array, trained: Trained | None
) -> tuple[Block, tuple[Array, ...]]:
    """The pair solver of a DEQ, and the diagonals of its kernels."""
    phi, sigma_a2, sigma_b2 = network.activation, network.sigma_a2, network.sigma_b2
    input_rate = _implicit_rate(trained)
    s = network.variance(squared_norms)
    samples = _Samples.of(phi, s)

    def tangent(kernel: Array, gram: Array, dual_slope: Array) -> Array:
        if not (sigma_a2 or input_rate):  # the readout alone is trained: no slope, were it infinite
            return kernel
        return (kernel + input_rate * sigma_b2 * gram * dual_slope) / (1 - sigma_a2 * dual_slope)

    def block(rows: slice, columns: slice, gram: Array) -> tuple[Array, ...]:
        scale, means, left, right = samples.tile(rows, columns)
        source = (sigma_a2 * means + sigma_b2 * gram) / scale
        rho = _solve(phi, left, right, source, sigma_a2 / scale)
        value, slope = phi.family.covariance(left, right, rho)
        value += means
        return (value,) if trained is None else (value, tangent(value, gram, slope / scale))

    diagonal = phi.second_moment(s)
    if trained is None:
        return block, (diagonal,)
    slopes = _finite_slopes(phi, s) if sigma_a2 or input_rate else np.zeros_like(s)
    return block, (diagonal, tangent(diagonal, squared_norms, slopes))


def _chosen(trained: Trained) -> Trained:
    """A choice of trained weights; None, which asks for no tangent kernel at all, is none."""
    if trained is None:
        raise ValueError('trained must be a choice of weights such as "default", got None')
    return trained


def _implicit_rate(trained: Trained | None) -> float:
    """Whether a DEQ's input weights B are trained, as a rate."""
    rates = {None: 0.0, "default": 0.0, "all": 1.0}
    if not (trained is None or isinstance(trained, str)) or trained not in rates:
        raise ValueError(
            f'trained must be "default" or "all" for an implicit network, got {trained!r}'
        )
    return rates[trained]


def _solve(phi: Activation, left: Array, right: Array, source: Array, gain: Array) -> Array:
    """Correlations that solve rho = source + gain * covariance(rho), by Newton's method.

    The derivative gain * slope stays below 1 under the sharp threshold (Cauchy-Schwarz), so that a step
    is always defined; the start is the first step from rho = 0.
    """
    if not gain.any():
        return _rounded(source)
    rho, residual = np.zeros((1, 1)), np.inf
    for _ in range(STEPS):
        value, slope = phi.family.covariance(left, right, rho)
        gap = source + gain * value - rho
        # twins: a rounding error of the diagonal may put the root just outside of [-1, 1]
        np.copyto(gap, 0.0, where=(np.abs(rho) == 1.0) & (gap * rho > 0.0))
        residual = float(max(gap.max(), -gap.min()))
        if residual < TOLERANCE and rho.shape == gap.shape:
            return _rounded(rho)
        rho = np.clip(rho + gap / (1.0 - gain * slope), -1.0, 1.0)
    raise ConvergenceError(
        f"Newton's iteration on the pairs of the {phi.name} network stalled", residual
    )


def _rounded(rho: Array) -> Array:
    """Correlations of twins, which rounding leaves beside one, set to one.

    The slope of a kinked function moves with the square root of 1 - |rho|.
    """
    return np.where(np.abs(rho) > 1.0 - TWINS, np.sign(rho), rho)


def _explicit(
    network: ExplicitNetwork, squared_norms: Array, trained: Trained | None
) -> tuple[Block, tuple[Array, ...]]:
    """The layer recursion of an explicit network, and the diagonals of its kernels."""
    rates = _explicit_rates(trained, network.depth)
    layers, s, theta = [], squared_norms, rates[0] * squared_norms
    for phi, rate in zip(network.layers, rates[1:]):
        s = positive_variances(s, "squared_norms")
        layers.append((phi, _Samples.of(phi, s), rate))
        if trained is not None:
            theta = rate * phi.second_moment(s) + _finite_slopes(phi, s) * theta
        s = phi.second_moment(s)

    def block(rows: slice, columns: slice, gram: Array) -> tuple[Array, ...]:
        kernel, tangent = gram, rates[0] * gram
        for phi, samples, rate in layers:
            scale, means, left, right = samples.tile(rows, columns)
            value, slope = phi.family.covariance(left, right, _rounded(kernel / scale))
            kernel = value + means
            if trained is not None:
                tangent = rate * kernel + tangent * slope / scale
        return (kernel,) if trained is None else (kernel, tangent)

    return block, (s,) if trained is None else (s, theta)


def _explicit_rates(trained: Trained | None, depth: int) -> tuple[float, ...]:
    """Rates c_0 ... c_L of an explicit network's layers."""
    if trained is None or trained in ("default", "all"):
        return (1.0,) * (depth + 1)
    if trained == "first_frozen":
        return (0.0,) + (1.0,) * depth
    rates = as_real_array(trained, "trained") if not isinstance(trained, str) else np.empty(0)
    if rates.shape != (depth + 1,) or (rates < 0).any():
        raise ValueError(
            f'trained must be "default", "all", "first_frozen" or {depth + 1} rates of at least 0, got {trained!r}'
        )
    return tuple(float(rate) for rate in rates)


def _finite_slopes(phi: Activation, s: Array) -> Array:
    slopes = phi.slope_second_moment(s)
    if np.isinf(slopes).any():
        raise ValueError(
            f"{phi.name} jumps: E[phi'^2] and so its tangent kernel's diagonal are infinite"
        )
    return slopes


def _fill(kernels: tuple[Array, ...], block: Block) -> None:
    """Overwrite symmetric matrices, the first of which holds the Gram matrix, by tiles in threads."""

    def work(tile: tuple[slice, slice]) -> None:
        rows, columns = tile
        results = block(rows, columns, kernels[0][rows, columns])
        for kernel, values in zip(kernels, results):
            kernel[rows, columns] = (values + values.T) / 2 if rows == columns else values
            kernel[columns, rows] = kernel[rows, columns].T

    with ThreadPoolExecutor(_threads()) as pool:
        for _ in pool.map(work, _tiles(len(kernels[0]))):
            pass


def _tiles(n: int) -> Iterator[tuple[slice, slice]]:
    """Tiles of the upper triangle."""
    bands = list(_bands(n, TILE))
    for index, rows in enumerate(bands):
        for columns in bands[index:]:
            yield rows, columns


def _bands(n: int, width: int) -> Iterator[slice]:
    for start in range(0, n, width):
        yield slice(start, min(start + width, n))


def _threads() -> int:
    return max(1, int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))


def _require_memory(n: int, matrices: int) -> None:
    """Refuse before allocating when the n x n doubles cannot fit."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # no such question on this system
        return
    need = 8 * n * n * matrices
    if need > total:
        raise MemoryError(
            f"{matrices} kernel(s) of n = {n} samples need {need / 2**30:.1f} GiB, "
            f"the machine has {total / 2**30:.1f} GiB: kernels.operator multiplies without storing them"
        )
