"""Kernels of deep equilibrium models, their high-dimensional equivalents, and their shallow twins."""

from helpers.errors import ConvergenceError, MatchingError

__version__ = "0.1.0"

__all__ = ["ConvergenceError", "MatchingError", "__version__"]
