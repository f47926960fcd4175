"""Eigenvalues, eigenvectors, histograms and norms of symmetric matrices and operators."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from helpers.checks import as_real_array, integer
from helpers.errors import ConvergenceError

Array = NDArray[np.float64]
SMALL = 64  # below this size a dense eigenvalue problem is quicker than an iteration


@dataclass(frozen=True)
class Histogram:
    """Density of a set of eigenvalues: ``edges`` (bins + 1,), ``density`` (bins,) of total mass one."""

    edges: Array
    density: Array


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
    return eigh(_symmetric(A), eigvals_only=True)


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
    values, vectors = values[::-1], vectors[:, ::-1]
    peaks = vectors[np.abs(vectors).argmax(axis=0), np.arange(k)]
    return values, vectors * np.sign(peaks)


def operator_norm(A: ArrayLike | LinearOperator) -> float:
    """Largest absolute eigenvalue of a symmetric matrix or operator.

    Parameters
    ----------
    A : (n, n) array or LinearOperator
        Symmetric.

    Returns
    -------
    float
    """
    if not isinstance(A, LinearOperator):
        A = _symmetric(A)
        if not A.any():
            return 0.0
    if A.shape[0] <= SMALL:
        dense = A @ np.eye(A.shape[0]) if isinstance(A, LinearOperator) else A
        return float(np.abs(eigh(dense, eigvals_only=True)).max())
    return float(np.abs(_lanczos(A, 1, "LM")[0]).max())


def histogram(
    values: ArrayLike, bins: int = 60, range: tuple[float, float] | None = None
) -> Histogram:
    """Density of eigenvalues on equal bins.

    Parameters
    ----------
    values : (n,) array
    bins : int
        Number of bins, at least 1.
    range : pair of floats, optional
        Ends of the bins; mass outside is left out of the bins but counted in the total.

    Returns
    -------
    Histogram
    """
    values = as_real_array(values, "values")
    if values.ndim != 1 or values.size == 0:
        raise ValueError(
            f"values must be a vector with at least one entry, got shape {values.shape}"
        )
    counts, edges = np.histogram(values, integer(bins, "bins", 1), range)
    return Histogram(edges, counts / (values.size * np.diff(edges)))


def _lanczos(A: Array | LinearOperator, k: int, which: str) -> tuple[Array, Array]:
    """ARPACK from a fixed start, so that two runs agree."""
    start = np.random.default_rng(0).standard_normal(A.shape[0])
    try:
        return eigsh(A, k, which=which, v0=start, tol=1e-10)
    except ArpackNoConvergence as error:
        raise ConvergenceError(
            f"Lanczos found {len(error.eigenvalues)} of {k} eigenpairs", np.nan
        ) from error


def _symmetric(A: ArrayLike) -> Array:
    A = as_real_array(A, "A")
    if A.ndim != 2 or A.shape[0] != A.shape[1] or A.shape[0] == 0:
        raise ValueError(f"A must be a square matrix, got shape {A.shape}")
    gap = np.abs(A - A.T).max()
    if gap > 1e-8 * np.abs(A).max():
        raise ValueError(f"A must be symmetric, |A - A^T| is up to {gap:.2e}")
    return A
