"""Checks of arguments: every error names the argument, what it was and what is allowed."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

__all__ = [
    "as_data",
    "as_labels",
    "as_real_array",
    "choice",
    "flag",
    "integer",
    "integers",
    "non_negative",
    "number",
    "positive",
    "real_entries",
]


def as_real_array(values: ArrayLike, name: str) -> Array:
    """Array of finite real numbers, as float64.

    Parameters
    ----------
    values : array_like
        Integers or floats of any width, of any shape.
    name : str
        The argument's name in error messages.

    Raises
    ------
    TypeError
        If the entries are not real numbers (complex, boolean, text, objects).
    ValueError
        If the rows are of unequal length, or an entry is NaN or infinite.
    """
    array: Array = real_entries(values, name).astype(np.float64, copy=False)
    if not np.isfinite(array).all():
        bad = array.size - int(np.isfinite(array).sum())
        raise ValueError(f"{name} must be finite: {bad} of {array.size} entries are NaN or inf")
    return array


def real_entries(values: ArrayLike, name: str) -> NDArray[Any]:
    """Array of real numbers, finite or not, in its own precision: a copy of a large one is not made.

    Parameters
    ----------
    values : array_like
        Integers or floats of any width, of any shape.
    name : str
        The argument's name in error messages.

    Raises
    ------
    TypeError
        If the entries are not real numbers (complex, boolean, text, objects).
    ValueError
        If the rows are of unequal length.
    """
    try:
        array: NDArray[Any] = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must be a rectangular array of numbers: {error}") from None
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must hold real numbers (integers or floats), not {array.dtype}")
    return array


def as_data(X: ArrayLike, name: str = "X") -> Array:
    """Data matrix as a float64 array of shape (p, n), one column a sample.

    Parameters
    ----------
    X : (p, n) array_like
        Finite real numbers; integers are converted.
    name : str
        The argument's name in error messages.

    Raises
    ------
    TypeError
        If the entries are not real numbers.
    ValueError
        If `X` has not two dimensions, if p or n is 0, or an entry is NaN or infinite.
    """
    array = as_real_array(X, name)
    if array.ndim != 2:
        raise ValueError(
            f"{name} must be a (p, n) matrix, one column a sample; its shape is {array.shape}"
        )
    if 0 in array.shape:
        raise ValueError(f"{name} must have p >= 1 and n >= 1; its shape is {array.shape}")
    return array


def as_labels(
    labels: ArrayLike, n: int, name: str = "labels", classes: int | None = None
) -> Labels:
    """Class labels as an int64 array of shape (n,) that uses every integer 0, ..., K-1.

    Parameters
    ----------
    labels : (n,) array_like of integers
        In any order.
    n : int
        Number of samples.
    name : str
        The argument's name in error messages.
    classes : int, optional
        The number K of classes, where it is known; otherwise the largest label plus one.

    Raises
    ------
    TypeError
        If the labels are not integers.
    ValueError
        If their number is not `n`, one is negative or too large, or a class is empty.

    Examples
    --------
    >>> from helpers import checks
    >>> checks.as_labels([1, 0, 1], 3).tolist()
    [1, 0, 1]
    """
    array = integers(labels, n, name)
    if array.min() < 0:
        raise ValueError(f"{name} must be integers 0, ..., K-1; the smallest is {array.min()}")
    K = int(array.max()) + 1 if classes is None else classes
    if array.max() >= K:
        raise ValueError(f"{name} must be below K = {K}; the largest is {array.max()}")
    present = np.unique(array)
    if len(present) < K:
        empty = np.setdiff1d(np.arange(len(present) + 1), present)[0]
        raise ValueError(
            f"{name} must use every integer 0, ..., {K - 1}, but class {empty} is empty; "
            f"np.unique({name}, return_inverse=True)[1] numbers the classes without a gap"
        )
    return array.astype(np.int64, copy=False)


def integers(labels: ArrayLike, n: int, name: str) -> Labels:
    """``labels`` as a vector of `n` >= 1 integers, of whatever integer type; otherwise TypeError or ValueError with its ``name``."""
    try:
        array = np.asarray(labels)
    except ValueError:
        raise ValueError(f"{name} must be a vector of integers, not a ragged list") from None
    if array.shape != (n,):
        raise ValueError(
            f"{name} must have shape ({n},), one label a sample; its shape is {array.shape}"
        )
    if n == 0:
        raise ValueError(f"{name} must hold at least one label")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, not {array.dtype}")
    return array


def positive(value: float, name: str) -> float:
    """``value`` as a float if it is finite and above 0; otherwise TypeError or ValueError with its ``name``."""
    value = number(value, name)
    if not value > 0:
        raise ValueError(f"{name} must be positive; it is {value:g}")
    return value


def non_negative(value: float, name: str) -> float:
    """``value`` as a float if it is finite and at least 0; otherwise TypeError or ValueError with its ``name``."""
    value = number(value, name)
    if not value >= 0:
        raise ValueError(f"{name} must be 0 or positive; it is {value:g}")
    return value


def integer(value: object, name: str, minimum: int = 0) -> int:
    """``value`` as an int if it is an integer of at least `minimum`; otherwise TypeError or ValueError with its ``name``."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer; it is {value!r}")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}; it is {int(value)}")
    return int(value)


def number(value: float, name: str) -> float:
    """``value`` as a float if it is one finite real number; otherwise TypeError or ValueError with its ``name``."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise TypeError(f"{name} must be one real number; it is {value!r}") from None
    if array.ndim != 0 or array.dtype.kind not in "iuf":
        raise TypeError(f"{name} must be one real number; it is {value!r}")
    if not np.isfinite(array):
        raise ValueError(f"{name} must be finite; it is {array}")
    return float(array)


def choice(value: str, name: str, allowed: Iterable[str]) -> str:
    """``value`` if it is one of the words ``allowed``; otherwise ValueError with its ``name``."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}; it is {value!r}")
    return value


def flag(value: bool, name: str) -> bool:
    """``value`` if it is True or False; otherwise TypeError with its ``name``."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False; it is {value!r}")
    return bool(value)
