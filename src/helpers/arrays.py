"""Data as numpy arrays or torch tensors: one set of formulas for both, torch imported only by who uses it."""

from __future__ import annotations

import contextlib
import sys
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers.checks import as_data

DTYPES = ("float64", "float32")
Matrix = Any  # an array of numpy, or a tensor of torch on any device


def is_tensor(array: object) -> bool:
    """Whether ``array`` is a tensor; torch is not imported to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def namespace(array: object) -> ModuleType:
    """``numpy``, or ``torch`` if ``array`` is a tensor: both name sqrt, arcsin, exp, where, clip alike."""
    return sys.modules["torch"] if is_tensor(array) else np


def as_matrix(X: Matrix, dtype: object = None) -> Matrix:
    """Data (p, n) in the precision asked for, an array or a tensor as it was given.

    Parameters
    ----------
    X : (p, n) array or tensor
        A tensor stays on its device; its gradient is not followed.
    dtype : {"float64", "float32"}, or such a type of numpy or torch, optional
        Double precision unless given; for a tensor its own, if it is one of the two.

    Raises
    ------
    ValueError, TypeError
        For another dtype, or data that are not a finite real matrix.
    """
    if not is_tensor(X):
        return as_data(X).astype(_dtype_name(dtype or "float64"), copy=False)
    own = str(X.dtype).removeprefix("torch.")
    name = _dtype_name(dtype or (own if own in DTYPES else "float64"))
    tensor = X.detach()
    if tensor.is_complex() or tensor.ndim != 2 or not tensor.isfinite().all() or not tensor.numel():
        as_data(tensor.cpu().numpy())  # raises, in the words of every other function
    return tensor.to(getattr(namespace(X), name))


def _dtype_name(dtype: object) -> str:
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        with contextlib.suppress(TypeError):
            name = np.dtype(dtype).name  # type: ignore[call-overload]  # whatever was given
    if name not in DTYPES:
        raise ValueError(f'dtype must be "float64" or "float32", got {dtype!r}')
    return name


def like(reference: Matrix, values: NDArray[np.float64]) -> Matrix:
    """``values`` computed in numpy, of any shape, moved to where the reference is and to its precision."""
    if is_tensor(reference):
        return namespace(reference).as_tensor(values).to(reference)
    return values.astype(reference.dtype, copy=False)


def as_numpy(values: Matrix) -> NDArray[np.float64]:
    """``values`` of any shape as a numpy array in double precision."""
    return np.asarray(values.cpu() if is_tensor(values) else values, dtype=np.float64)
