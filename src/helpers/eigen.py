"""Eigenvalues, eigenvectors and norms of symmetric matrices and operators."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from scipy.sparse.linalg import (
    ArpackError,
    ArpackNoConvergence,
    LinearOperator,
    aslinearoperator,
    eigsh,
)

from helpers.checks import as_real_array, integer, positive
from helpers.errors import ConvergenceError

Array = NDArray[np.float64]
SMALL = 64  # below this size a dense eigenvalue problem is quicker than an iteration


def eigenvalues(A: ArrayLike) -> Array:
    """All eigenvalues of a symmetric matrix, ascending.

    Parameters
    ----------
    A : (n, n) array
        Symmetric.

    Returns
    -------
    (n,) array

    Raises
    ------
    ValueError
        If ``A`` is not a symmetric matrix of finite numbers.
    """
    values: Array = eigh(_symmetric(A), eigvals_only=True)
    return values


def top_eigenpairs(A: ArrayLike | LinearOperator, k: int) -> tuple[Array, Array]:
    """The ``k`` largest eigenvalues, descending, and unit eigenvectors as columns, largest entry positive.

    Parameters
    ----------
    A : (n, n) array or LinearOperator
        Symmetric.
    k : int
        At least 1 and at most n.

    Returns
    -------
    values : (k,) array
    vectors : (n, k) array
    """
    n = A.shape[0] if isinstance(A, LinearOperator) else len(A := _symmetric(A))
    if integer(k, "k", 1) > n:
        raise ValueError(f"k must be at most n = {n}, got {k}")
    if n <= SMALL or 2 * k >= n:
        dense = A @ np.eye(n) if isinstance(A, LinearOperator) else A
        values, vectors = eigh(dense, subset_by_index=(n - k, n - 1))
    else:
        values, vectors = _lanczos(A, k, "LA")
    return values[::-1], _oriented(vectors[:, ::-1])


def _oriented(vectors: Array) -> Array:
    """Columns with the sign that makes their largest entry positive."""
    peaks = vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])]
    signs: Array = np.sign(peaks)
    return vectors * signs


def block_eigenpairs(
    A: ArrayLike | LinearOperator, k: int, passes: int = 8, tolerance: float = 1e-4
) -> tuple[Array, Array]:
    r"""The ``k`` largest eigenvalues and vectors of an operator whose products are dear: a block Krylov method.

    Every pass multiplies by a block of k + 8 vectors; the pairs are taken from the span of all of them
    (Rayleigh and Ritz).

    Parameters
    ----------
    A : (n, n) array or LinearOperator
        Symmetric.
    k : int
        At least 1 and at most n.
    passes : int
        Number of products.
    tolerance : float
        Largest :math:`\lVert A v - \lambda v\rVert/\lambda_1` accepted.

    Returns
    -------
    values : (k,) array
        Descending.
    vectors : (n, k) array

    Raises
    ------
    ConvergenceError
        With the residual, if it exceeds the tolerance.
    """
    A = A if isinstance(A, LinearOperator) else aslinearoperator(_symmetric(A))
    n = A.shape[0]
    if integer(k, "k", 1) > n:
        raise ValueError(f"k must be at most n = {n}, got {k}")
    integer(passes, "passes", 1)
    positive(tolerance, "tolerance")
    block = np.random.default_rng(0).standard_normal((n, min(k + 8, n)))
    basis, image = np.empty((n, 0)), np.empty((n, 0))
    for _ in range(passes):
        # twice: one projection against the basis loses digits when the block is nearly inside it
        for _ in range(2):
            block = np.linalg.qr(block - basis @ (basis.T @ block))[0]
        product = A @ block
        basis, image = np.hstack([basis, block]), np.hstack([image, product])
        if basis.shape[1] == n:
            break
        block = np.asarray(product[:, : n - basis.shape[1]])  # no more than complete the space
    values, weights = eigh(basis.T @ image)
    values, weights = values[::-1][:k], weights[:, ::-1][:, :k]
    vectors, residual = basis @ weights, image @ weights
    residual = float(np.linalg.norm(residual - vectors * values, axis=0).max() / abs(values[0]))
    if residual > tolerance:
        raise ConvergenceError(
            f"{passes} passes were too few for {k} eigenpairs: ask for more", residual
        )
    return values, _oriented(vectors)


def operator_norm(A: ArrayLike | LinearOperator) -> float:
    """Largest absolute eigenvalue of a symmetric matrix or operator.

    Parameters
    ----------
    A : (n, n) array or LinearOperator
        Symmetric.

    Returns
    -------
    float

    Examples
    --------
    >>> import numpy as np
    >>> from helpers import spectra
    >>> spectra.operator_norm(np.diag([1.0, -3.0]))
    3.0
    """
    return abs(extreme_eigenpair(A)[0])


def extreme_eigenpair(A: ArrayLike | LinearOperator) -> tuple[float, Array]:
    """The eigenvalue of largest absolute value of a symmetric matrix or operator, and a unit vector of it.

    Parameters
    ----------
    A : (n, n) array or LinearOperator
        Symmetric.

    Returns
    -------
    value : float
    vector : (n,) array
    """
    # with one vector, a value and the negative of nearly the same would be taken for each other
    values, vectors = _extremes(A, "LM")
    largest = int(np.abs(values).argmax())
    return float(values[largest]), vectors[:, largest]


def both_ends(A: ArrayLike | LinearOperator) -> tuple[Array, Array]:
    """The least and the largest eigenvalue of a symmetric matrix or operator, and unit vectors of both.

    Parameters
    ----------
    A : (n, n) array or LinearOperator
        Symmetric.

    Returns
    -------
    values : (2,) array
        Ascending.
    vectors : (n, 2) array
    """
    values, vectors = _extremes(A, "BE")
    return values[[0, -1]], vectors[:, [0, -1]]


def _extremes(A: ArrayLike | LinearOperator, which: str) -> tuple[Array, Array]:
    """All eigenpairs of a small matrix or operator, or two of a large one, ascending."""
    A = A if isinstance(A, LinearOperator) else _symmetric(A)
    if A.shape[0] <= SMALL:
        dense = A @ np.eye(A.shape[0]) if isinstance(A, LinearOperator) else A
        values, vectors = eigh(dense)
        return values, vectors
    return _lanczos(A, 2, which)


def _lanczos(A: Array | LinearOperator, k: int, which: str) -> tuple[Array, Array]:
    """ARPACK from a fixed start, so that two runs agree."""
    start = np.random.default_rng(0).standard_normal(A.shape[0])
    try:
        values, vectors = eigsh(A, k, which=which, v0=start, tol=1e-10)
    except ArpackNoConvergence as error:
        raise ConvergenceError(
            f"Lanczos found {len(error.eigenvalues)} of {k} eigenpairs", np.nan
        ) from error
    except ArpackError:
        # ARPACK has nothing to start from when A maps the start to zero: only the zero matrix does
        if (A @ start).any():
            raise
        return np.zeros(k), np.eye(A.shape[0], k)
    return values, vectors


def _symmetric(A: ArrayLike) -> Array:
    A = as_real_array(A, "A")
    if A.ndim != 2 or A.shape[0] != A.shape[1] or A.shape[0] == 0:
        raise ValueError(f"A must be a square matrix, got shape {A.shape}")
    gap = np.abs(A - A.T).max()
    if gap > 1e-8 * np.abs(A).max():
        raise ValueError(f"A must be symmetric, |A - A^T| is up to {gap:.2e}")
    return A
