"""Spectra of kernels and equivalents: eigenvalues, norms, densities, and the limiting law of them all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from helpers.checks import as_real_array, integer
from helpers.eigen import (
    block_eigenpairs,
    both_ends,
    eigenvalues,
    extreme_eigenpair,
    operator_norm,
    top_eigenpairs,
)
from helpers.laws import LimitingLaw, critical_distance, limiting_law

__all__ = [
    "Histogram",
    "LimitingLaw",
    "block_eigenpairs",
    "both_ends",
    "critical_distance",
    "eigenvalues",
    "extreme_eigenpair",
    "histogram",
    "limiting_law",
    "operator_norm",
    "top_eigenpairs",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Histogram:
    """Density of a set of eigenvalues: ``edges`` (bins + 1,), ``density`` (bins,) of total mass one."""

    edges: Array
    density: Array


def histogram(
    values: ArrayLike,
    bins: int = 60,
    range: tuple[float, float] | None = None,  # noqa: A002  # as in numpy.histogram
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
    if range is not None:
        ends = as_real_array(range, "range")
        if ends.shape != (2,) or not ends[0] < ends[1]:
            raise ValueError(f"range must be two numbers, the lower one first; it is {range!r}")
    counts, edges = np.histogram(values, integer(bins, "bins", 1), range)
    return Histogram(edges, counts / (values.size * np.diff(edges)))
