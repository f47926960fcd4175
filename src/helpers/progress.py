"""One progress bar for everything that may take a while."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def track(items: Iterable[Item], total: int, what: str) -> Iterable[Item]:
    """Pass items through a progress bar that appears after two seconds.

    The bar is written to standard output, so that a committed notebook has no standard error; it is off
    when ``HELPERS_PROGRESS=0``, and outside of terminals and notebooks.

    Parameters
    ----------
    items : iterable
    total : int
        How many there are.
    what : str
        What is being done, in a word or two.
    """
    notebook = "ipykernel" in sys.modules
    off = os.environ.get("HELPERS_PROGRESS") == "0" or not (notebook or sys.stdout.isatty())
    return tqdm(items, total=total, desc=what, file=sys.stdout, delay=2.0, disable=off)
