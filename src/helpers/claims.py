"""A stated result, its measured value and its bound: printed, recorded and enforced."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass

from helpers.checks import as_real_array

SENSES = ("<=", ">=", "in")
ROUNDING = 1e-9  # a bound this small is kept by rounding errors alone


class ClaimError(AssertionError):
    """A claim of the book that its own computation does not bear out."""


@dataclass(frozen=True)
class Claim:
    """One checked sentence: the label of its statement, the value measured, the bound it must keep."""

    label: str
    sentence: str
    measured: float
    bound: float | tuple[float, float]
    sense: str

    @property
    def holds(self) -> bool:
        """Whether the measured value keeps its bound; NaN and infinity never do."""
        low, high = self.interval
        return math.isfinite(self.measured) and low <= self.measured <= high

    @property
    def interval(self) -> tuple[float, float]:
        """The bound as an interval that the measured value must lie in."""
        if isinstance(self.bound, tuple):
            return self.bound
        return (-math.inf, self.bound) if self.sense == "<=" else (self.bound, math.inf)

    def __str__(self) -> str:
        if isinstance(self.bound, tuple):
            relation = "in [{:.3g}, {:.3g}]".format(*self.bound)
        else:
            relation = f"{self.sense} {self.bound:.3g}"
        verdict = "holds" if self.holds else "FAILS"
        measured = "rounding" if self.holds and self.is_rounding else f"{self.measured:.3g}"
        return f"{self.label}: {self.sentence}: {measured} {relation}, {verdict}"

    @property
    def is_rounding(self) -> bool:
        """Whether only rounding is measured, whose digits differ from machine to machine."""
        return self.sense == "<=" and 0 <= self.interval[1] <= ROUNDING


def check(
    label: str,
    sentence: str,
    *,
    measured: float,
    bound: float | tuple[float, float],
    sense: str = "<=",
) -> Claim:
    """Print a claim, leave its record as a cell output, and raise if it does not hold.

    Parameters
    ----------
    label : str
        Label of the statement in the book, such as ``thm-implicit-ck``.
    sentence : str
        What is claimed, in words.
    measured : float
        The value that the computation gave.
    bound : float or pair of floats
        What it is held against; a pair ``(low, high)`` for ``sense="in"``.
    sense : {"<=", ">=", "in"}
        How the two compare.

    Returns
    -------
    Claim
        The record.

    Raises
    ------
    ClaimError
        When the claim does not hold.
    ValueError
        For an empty label, an unknown sense, a bound of the wrong form, a non-numeric value.

    Examples
    --------
    >>> from helpers import claims
    >>> claim = claims.check("thm-implicit-ck", "the error is small", measured=0.05, bound=0.1)
    thm-implicit-ck: the error is small: 0.05 <= 0.1, holds
    >>> claim.holds
    True
    """
    claim = Claim(label, sentence, _number(measured), _bound(bound, sense), sense)
    if not label or not isinstance(label, str):
        raise ValueError(f"label must be the label of a statement in the book, got {label!r}")
    if not claim.holds:
        raise ClaimError(str(claim))
    _emit(claim)
    return claim


def _number(measured: float) -> float:
    try:
        return float(measured)
    except (TypeError, ValueError) as error:
        raise ValueError(f"measured must be a real number, got {measured!r}") from error


def _bound(bound: float | tuple[float, float], sense: str) -> float | tuple[float, float]:
    if sense not in SENSES:
        raise ValueError(f"sense must be one of {', '.join(SENSES)}, got {sense!r}")
    values = as_real_array(bound, "bound")
    if sense != "in" and values.ndim == 0:
        return float(values)
    if sense == "in" and values.shape == (2,) and values[0] <= values[1]:
        return float(values[0]), float(values[1])
    form = "a pair (low, high) with low <= high" if sense == "in" else "one number"
    raise ValueError(f"bound must be {form} for sense={sense!r}, got {bound!r}")


def glue(key: str, value: float) -> None:
    """Keep a number under a key for the text of the book, at four digits: the same on every machine.

    Parameters
    ----------
    key : str
        What the text names in ``{glue:text}``.
    value : float
    """
    from myst_nb import glue as keep

    keep(key, float(f"{value:.4g}"), display=False)


def _emit(claim: Claim) -> None:
    """Leave the record with the cell's output when there is a notebook, and print the sentence otherwise."""
    shell = sys.modules.get("IPython")
    if shell is None or shell.get_ipython() is None:
        print(claim)
        return
    from IPython.display import publish_display_data

    # few digits, and none of a rounding error: the record is the same on every machine
    record = asdict(claim) | {
        "measured": None if claim.is_rounding else float(f"{claim.measured:.3g}")
    }
    publish_display_data({"text/plain": str(claim)}, metadata={"claim": record})
