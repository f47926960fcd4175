r"""Exact infinite-width kernels of a network on data: one scalar fixed point a sample, then one a pair.

The implicit conjugate kernel is the fixed point of :math:`\Lambda = \sigma_a^2 G + \sigma_b^2 X^\top X`,
:math:`G_{ij} = E[\varphi(u)\varphi(v)]`. Its diagonal separates into n scalar equations; given the diagonal,
every pair is a scalar equation in its correlation, whose derivative Price's theorem provides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import LinearOperator
from threadpoolctl import threadpool_limits

from helpers import eigen
from helpers.activations import Activation
from helpers.arrays import Matrix, as_matrix, as_numpy, is_tensor, like, namespace
from helpers.checks import as_data, as_real_array
from helpers.errors import ConvergenceError
from helpers.networks import ExplicitNetwork, ImplicitNetwork, Trained, positive_variances
from helpers.tiles import Block, bands, fill, in_threads, require_memory, threads, upper

Array = NDArray[np.float64]
Network = ImplicitNetwork | ExplicitNetwork
OPERATOR_TILE = 512  # wide enough for the products with vectors
STEPS = 60
# residual of a correlation, and how near to one it belongs to equal or parallel samples
TOLERANCE = {8: (1e-13, 2e-13), 4: (2e-6, 2e-6)}  # by bytes of a number


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


def ck(network: Network, X: Matrix, dtype: object = None) -> Matrix:
    r"""Exact conjugate kernel: :math:`G^*` of an implicit network, :math:`\Sigma^{(L)}` of an explicit one.

    Equations (eq-implicit-ck) and (eq-explicit-ck).

    Parameters
    ----------
    network : ImplicitNetwork or ExplicitNetwork
        Centered or not.
    X : (p, n) array or tensor
        One column a sample. With a tensor of torch, the work is done on its device.
    dtype : {"float64", "float32"}, optional
        Double precision unless given; for a tensor its own. Single precision halves memory; correlations are
        then converged to 2e-6, and slopes of kinked activations near equal samples to its root.

    Returns
    -------
    (n, n) array, or a tensor for a tensor
        Symmetric; every pair converged to a residual of 1e-13 in its correlation.

    Raises
    ------
    ConvergenceError
        With the residual, if a fixed point does not settle.
    MemoryError
        Before allocating, if an n x n array does not fit in memory.
    ValueError, TypeError
        For data that are not a finite real matrix, or a network beyond the sharp threshold.

    Examples
    --------
    >>> import numpy as np
    >>> from helpers import kernels, networks
    >>> network = networks.ImplicitNetwork("relu", sigma_a2=0.2)
    >>> kernels.ck(network, np.eye(3)[:, :2]).round(4)
    array([[0.4444, 0.149 ],
           [0.149 , 0.4444]])
    """
    return _compute(network, X, None, dtype)[0]


def ntk(network: Network, X: Matrix, trained: Trained = "default", dtype: object = None) -> Matrix:
    r"""Exact neural tangent kernel: :math:`\Theta^*` of an implicit network, :math:`\Theta^{(L)}` of an explicit one.

    Equations (eq-ntk), (eq-ntk-all) and (eq-explicit-ntk).

    Parameters
    ----------
    network : ImplicitNetwork or ExplicitNetwork
        Centered or not.
    X : (p, n) array or tensor
    trained : {"default", "all", "first_frozen"} or tuple of float
        Which weights the kernel trains. For an implicit network "default" is the readout and the
        recurrent A, the kernel :math:`G^*/(1 - \dot G^*)` of Feng and Kolter (2023), and "all" adds
        B. For an explicit network both are all layers; "first_frozen" leaves :math:`W_1` out, and a
        tuple gives a rate to each layer, :math:`c_0, \dots, c_L`, the readout last.
    dtype : as in :func:`ck`

    Returns
    -------
    (n, n) array, or a tensor for a tensor

    Raises
    ------
    As :func:`ck`, and ValueError for a choice of weights that the network does not have.

    Examples
    --------
    >>> import numpy as np
    >>> from helpers import kernels, networks
    >>> network = networks.ImplicitNetwork("relu", sigma_a2=0.2)
    >>> kernels.ntk(network, np.eye(3)[:, :2], trained="all").round(4)
    array([[0.9383, 0.157 ],
           [0.157 , 0.9383]])
    """
    return _compute(network, X, _chosen(trained), dtype)[1]


def ck_and_ntk(
    network: Network, X: Matrix, trained: Trained = "default", dtype: object = None
) -> tuple[Matrix, Matrix]:
    """Both kernels, :func:`ck` and :func:`ntk`, for less than the two apart.

    Parameters
    ----------
    network, X, trained, dtype
        As in :func:`ntk`.
    """
    return _compute(network, X, _chosen(trained), dtype)


def residual(network: ImplicitNetwork, X: ArrayLike, G: ArrayLike) -> float:
    r"""How far a matrix is from solving the definition of the Implicit-CK, equation (eq-implicit-ck).

    Parameters
    ----------
    network : ImplicitNetwork
    X : (p, n) array
    G : (n, n) array
        From :func:`ck`, or from elsewhere.

    Returns
    -------
    float
        Largest :math:`|E[\varphi(u)\varphi(v)] - G_{ij}|` with the covariance of (u, v) that G implies, over
        the largest entry of the diagonal of G.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit, or a network that is not implicit.
    """
    if not isinstance(network, ImplicitNetwork):
        raise TypeError(f"network must be an ImplicitNetwork, got {type(network).__name__}")
    X, G = as_data(X), as_real_array(G, "G")
    n = X.shape[1]
    if G.shape != (n, n):
        raise ValueError(f"G must have shape {(n, n)}, one row a sample; its shape is {G.shape}")
    diagonal = network.sigma_a2 * G.diagonal() + network.sigma_b2 * (X * X).sum(0)
    s = positive_variances(diagonal, "the diagonal of G")
    samples, largest, every = _Samples.of(network.activation, s, G), 0.0, slice(None)
    for rows in bands(n, max(1, 2**21 // n)):
        scale, means, left, right = samples.tile(rows, every)
        Lambda = network.sigma_a2 * G[rows] + network.sigma_b2 * (X[:, rows].T @ X)
        rho = _rounded(Lambda * scale)
        values = network.activation.family.covariance(left, right, rho)[0] + means
        largest = max(largest, float(abs(values - G[rows]).max()))
    return largest / float(G.diagonal().max())


def operator(
    network: Network,
    X: Matrix,
    kernel: str = "ck",
    trained: Trained = "default",
    dtype: object = None,
) -> KernelOperator:
    r"""The exact kernel as an operator that never stores n x n entries: tiles are computed as they are needed.

    A product with b vectors costs one computation of the kernel, whatever b: use
    :meth:`KernelOperator.eigsh`, whose products are few and wide.

    Parameters
    ----------
    network : ImplicitNetwork or ExplicitNetwork
    X : (p, n) array or tensor
    kernel : {"ck", "ntk"}
    trained : as in :func:`ntk`
    dtype : as in :func:`ck`

    Returns
    -------
    KernelOperator
        A scipy ``LinearOperator`` of shape (n, n); its vectors are arrays of numpy.

    Raises
    ------
    As :func:`ntk`.
    """
    if kernel not in ("ck", "ntk"):
        raise ValueError(f'kernel must be "ck" or "ntk", got {kernel!r}')
    X = as_matrix(X, dtype)
    block, diagonals = _solver(
        network, (X * X).sum(0), None if kernel == "ck" else _chosen(trained)
    )
    return KernelOperator(X, block, diagonals[-1])


class KernelOperator(LinearOperator):  # type: ignore[misc]  # scipy has no types
    """An exact kernel known by its products; made by :func:`operator`."""

    def __init__(self, X: Matrix, block: Block, diagonal: Array) -> None:
        super().__init__(np.float64, (X.shape[1],) * 2)
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
        out, vectors = self.diagonal[:, None] * vectors, like(self.X, vectors)
        tiles = upper(self.shape[0], OPERATOR_TILE)
        workers = 1 if is_tensor(self.X) else threads()
        with threadpool_limits(1 if workers > 1 else None, "blas"):
            products = in_threads(
                lambda t: self._tile(*t, vectors), tiles, "kernel product", workers
            )
            for (rows, columns), (right, left) in zip(tiles, products):
                out[rows] += right
                if columns != rows:
                    out[columns] += left
        return out

    def _tile(self, rows: slice, columns: slice, vectors: Matrix) -> tuple[Array, Array]:
        """Products of one tile with its columns' and its rows' part of the vectors."""
        gram = self.X[:, rows].T @ self.X[:, columns]
        if rows == columns:
            _set_diagonal(gram, 0.0)
        values = self.block(rows, columns, gram)[-1]
        if rows == columns:
            values = (values + values.T) / 2
            _set_diagonal(values, 0.0)
        return as_numpy(values @ vectors[columns]), as_numpy(values.T @ vectors[rows])

    def _adjoint(self) -> KernelOperator:
        return self


def _compute(
    network: Network, X: Matrix, trained: Trained | None, dtype: object
) -> tuple[Matrix, ...]:
    """Conjugate kernel and, unless ``trained`` is None, tangent kernel."""
    X = as_matrix(X, dtype)
    require_memory(X.shape[1], 1 if trained is None else 2, X.dtype.itemsize)
    gram = X.T @ X  # half the work of a product: BLAS sees the symmetry
    block, diagonals = _solver(network, gram.diagonal(), trained)
    _set_diagonal(gram, 0.0)  # known by now; correlations of one would cost a series all its terms
    kernels = (gram,) if trained is None else (gram, namespace(gram).empty_like(gram))
    fill(kernels, block)
    for kernel, values in zip(kernels, diagonals):
        _set_diagonal(kernel, like(gram, values))
    return kernels


def _set_diagonal(kernel: Matrix, values: Matrix | float) -> None:
    kernel.reshape(-1)[:: len(kernel) + 1] = values


def _chosen(trained: Trained) -> Trained:
    """A choice of trained weights; None, which asks for no tangent kernel at all, is none."""
    if trained is None:
        raise ValueError('trained must be a choice of weights such as "default", got None')
    return trained


def _solver(
    network: Network, squared_norms: Matrix, trained: Trained | None
) -> tuple[Block, tuple[Array, ...]]:
    """What computes a tile of the kernels from the Gram matrix's, and the diagonals."""
    if isinstance(network, ImplicitNetwork):
        return _implicit(network, squared_norms, trained)
    if isinstance(network, ExplicitNetwork):
        return _explicit(network, squared_norms, trained)
    raise TypeError(f"network must be an ImplicitNetwork or an ExplicitNetwork, got {network!r}")


@dataclass(frozen=True)
class _Samples:
    """What each sample contributes to its pairs in one layer, in the precision of the tiles."""

    inverse: Matrix  # one over the standard deviation of the preactivation
    mean: Matrix  # E[phi(u)]
    prepared: Matrix  # what the activation's family makes of the variance

    @classmethod
    def of(cls, activation: Activation, s: Array, reference: Matrix) -> _Samples:
        numbers = 1 / np.sqrt(s), activation.mean(s), activation.family.prepare(s)
        return cls(*(like(reference, values) for values in numbers))

    def tile(self, rows: slice, columns: slice) -> tuple[Matrix, Matrix, Matrix, Matrix]:
        """One over the scale, product of means, and prepared data of the rows and columns of a tile."""
        scale = self.inverse[rows, None] * self.inverse[None, columns]
        means = self.mean[rows, None] * self.mean[None, columns]
        return scale, means, self.prepared[..., rows, None], self.prepared[..., None, columns]


def _implicit(
    network: ImplicitNetwork, squared_norms: Matrix, trained: Trained | None
) -> tuple[Block, tuple[Array, ...]]:
    """The pair solver of a DEQ, and the diagonals of its kernels."""
    phi, sigma_a2, sigma_b2 = network.activation, network.sigma_a2, network.sigma_b2
    input_rate = 0.0 if trained is None else network.input_rate(trained)
    norms = as_numpy(squared_norms).copy()
    s = network.variance(norms)
    samples = _Samples.of(phi, s, squared_norms)

    def tangent(kernel: Matrix, gram: Matrix, dual_slope: Matrix) -> Matrix:
        if not (sigma_a2 or input_rate):  # the readout alone is trained: no slope, were it infinite
            return kernel
        return (kernel + input_rate * sigma_b2 * gram * dual_slope) / (1 - sigma_a2 * dual_slope)

    def block(rows: slice, columns: slice, gram: Matrix) -> tuple[Matrix, ...]:
        scale, means, left, right = samples.tile(rows, columns)
        source = (sigma_a2 * means + sigma_b2 * gram) * scale
        value, slope = _solve(phi, left, right, source, sigma_a2 * scale if sigma_a2 else None)
        value += means
        return (value,) if trained is None else (value, tangent(value, gram, slope * scale))

    diagonal = phi.second_moment(s)
    if trained is None:
        return block, (diagonal,)
    slopes = _finite_slopes(phi, s) if sigma_a2 or input_rate else np.zeros_like(s)
    return block, (diagonal, tangent(diagonal, norms, slopes))


def _solve(
    phi: Activation, left: Matrix, right: Matrix, source: Matrix, gain: Matrix | None
) -> tuple[Matrix, Matrix]:
    """Covariance and slope at the correlations that solve rho = source + gain * covariance(rho), by Newton.

    The derivative gain * slope stays below 1 under the sharp threshold (Cauchy-Schwarz), so that a step
    is always defined; the start is the first step from rho = 0.
    """
    if gain is None:
        return phi.family.covariance(left, right, _rounded(source))
    tolerance = TOLERANCE[source.dtype.itemsize][0]
    rho, residual, clipped = 0 * source[:1, :1], np.inf, False
    for _ in range(STEPS):
        value, slope = phi.family.covariance(left, right, rho)
        gap = gain * value
        gap += source
        gap -= rho
        if (
            clipped
        ):  # twins: a rounding error of the diagonal may put the root just outside of [-1, 1]
            gap[(abs(rho) == 1.0) & (gap * rho > 0.0)] = 0.0
        residual = max(float(gap.max()), -float(gap.min()))
        if residual < tolerance and rho.shape == gap.shape:
            twins = _rounded(rho)
            return (value, slope) if twins is rho else phi.family.covariance(left, right, twins)
        step = gain * slope
        step *= -1
        step += 1
        gap /= step
        gap += rho
        clipped = max(float(gap.max()), -float(gap.min())) > 1.0
        rho = gap.clip(-1.0, 1.0) if clipped else gap
    raise ConvergenceError(
        f"Newton's iteration on the pairs of the {phi.name} network stalled", residual
    )


def _rounded(rho: Matrix) -> Matrix:
    """Correlations of twins, which rounding leaves beside one, set to one.

    The slope of a kinked function moves with the square root of 1 - |rho|.
    """
    nearest = 1.0 - TOLERANCE[rho.dtype.itemsize][1]
    if max(float(rho.max()), -float(rho.min())) <= nearest:
        return rho
    xp = namespace(rho)
    return xp.where(abs(rho) > nearest, xp.sign(rho), rho)


def _explicit(
    network: ExplicitNetwork, squared_norms: Matrix, trained: Trained | None
) -> tuple[Block, tuple[Array, ...]]:
    """The layer recursion of an explicit network, and the diagonals of its kernels."""
    rates = network.rates("all" if trained is None else trained)
    layers, s = [], as_numpy(squared_norms).copy()
    theta = rates[0] * s
    for phi, rate in zip(network.layers, rates[1:]):
        s = positive_variances(s, "squared_norms")
        layers.append((phi, _Samples.of(phi, s, squared_norms), rate))
        if trained is not None:
            # a tangent kernel that is still zero stays so, were the slope infinite
            slopes = _finite_slopes(phi, s) if theta.any() else np.zeros_like(s)
            theta = rate * phi.second_moment(s) + slopes * theta
        s = phi.second_moment(s)

    def block(rows: slice, columns: slice, gram: Matrix) -> tuple[Matrix, ...]:
        kernel, tangent = gram, rates[0] * gram
        for phi, samples, rate in layers:
            scale, means, left, right = samples.tile(rows, columns)
            value, slope = phi.family.covariance(left, right, _rounded(kernel * scale))
            kernel = value + means
            if trained is not None:
                tangent = rate * kernel + (tangent * slope * scale if tangent.any() else 0.0)
        return (kernel,) if trained is None else (kernel, tangent)

    return block, (s,) if trained is None else (s, theta)


def _finite_slopes(phi: Activation, s: Array) -> Array:
    slopes = phi.slope_second_moment(s)
    if np.isinf(slopes).any():
        raise ValueError(
            f"{phi.name} jumps: E[phi'^2] and so its tangent kernel's diagonal are infinite"
        )
    return slopes
