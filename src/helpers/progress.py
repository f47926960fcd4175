"""One progress bar for everything that may take a while, and a clock for cells of notebooks that have none."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
DELAY = 2.0  # seconds that nobody minds waiting without being told


def track(items: Iterable[Item], total: int, what: str) -> tqdm[Item]:
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
    off = not (wanted() and ("ipykernel" in sys.modules or sys.stdout.isatty()))
    return tqdm(items, total=total, desc=what, file=sys.stdout, delay=DELAY, disable=off)


def wanted() -> bool:
    """Whether progress is to be shown: unless ``HELPERS_PROGRESS=0``."""
    return os.environ.get("HELPERS_PROGRESS") != "0"


class Clock:
    """Shows how long a cell has been running, from its third second on, where no bar is shown."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def start(self, *_: Any) -> None:
        """A cell begins."""
        self.over = threading.Event()
        if wanted():
            threading.Thread(target=show_time, args=(self.over,), daemon=True).start()

    def stop(self, *_: Any) -> None:
        """The cell has ended."""
        self.over.set()


def show_time(over: threading.Event) -> None:
    """Write the time every second until it is over, while no bar moves."""
    begun, line = time.monotonic(), ""
    while not over.wait(1.0 if line else DELAY):
        if not any(bar.n for bar in getattr(tqdm, "_instances", ())):
            line = f"\rrunning for {time.monotonic() - begun:.0f} s"
            print(line, end="", flush=True)
    if line:
        print()


def watch_cells() -> None:
    """In a notebook, give every cell a clock; ``import helpers`` does so."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is not None and hasattr(shell, "kernel"):
        clock = Clock()
        shell.events.register("pre_run_cell", clock.start)
        shell.events.register("post_run_cell", clock.stop)
        clock.start()  # in the cell that imports, too
