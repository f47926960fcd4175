"""Kernels of deep equilibrium models, their high-dimensional equivalents, and their shallow twins."""

import sys

from helpers.errors import ConvergenceError, MatchingError

__version__ = "0.1.0"

__all__ = ["ConvergenceError", "MatchingError", "__version__"]

if "ipykernel" in sys.modules:  # perhaps in a notebook, where a cell may take a while
    from helpers.progress import watch_cells

    watch_cells()
