"""The exceptions that every module may raise."""

from __future__ import annotations


class ConvergenceError(RuntimeError):
    """An iteration that did not reach its tolerance; carries the residual it stopped at.

    Parameters
    ----------
    message : str
        What was iterated and what to try.
    residual : float
        The residual at the last iterate, in the units the message names.

    Examples
    --------
    >>> from helpers import ConvergenceError
    >>> print(ConvergenceError("Newton stalled", residual=0.25))
    Newton stalled (residual 2.50e-01)
    """

    def __init__(self, message: str, residual: float) -> None:
        super().__init__(f"{message} (residual {residual:.2e})")
        self.residual = float(residual)


class MatchingError(RuntimeError):
    """No network of the family asked for has the coefficients wanted; carries the best residual.

    Parameters
    ----------
    message : str
        Which family failed and which one would serve.
    residual : float
        The best relative residual found, dimensionless.
    """

    def __init__(self, message: str, residual: float) -> None:
        super().__init__(f"{message} (best residual {residual:.2e})")
        self.residual = float(residual)
