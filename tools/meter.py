"""Time and memory of a notebook's kernel, cell by cell, measured from outside while it runs."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

PERIOD = 0.2  # seconds between two looks at the memory


@dataclass
class Cell:
    """A code cell that has begun: its time, by the clock and of processors, and the most memory in use, in MB."""

    begun: float
    core_seconds_before: float
    seconds: float = 0.0
    core_seconds: float = 0.0
    megabytes: float = 0.0


@dataclass
class Meter:
    """Watches a kernel with all that it starts, and ends it when it takes more memory than it may.

    Memory is resident memory, in MB of 10^6 bytes; what two processes share counts twice.
    """

    megabytes: float
    cells: list[Cell] = field(default_factory=list)
    core_seconds: float = 0.0
    kernel: psutil.Process | None = None
    done: threading.Event = field(default_factory=threading.Event)

    def watch(self, pid: int) -> None:
        """Look at this process and its descendants from now on, until ``done`` is set."""
        self.kernel = psutil.Process(pid)
        threading.Thread(target=self._keep_looking, daemon=True).start()

    def begin(self) -> None:
        """A code cell begins."""
        self.cells.append(Cell(time.monotonic(), self.core_seconds))

    def end(self) -> None:
        """The code cell has ended."""
        cell = self.cells[-1]
        cell.seconds = time.monotonic() - cell.begun
        self._look()
        cell.core_seconds = self.core_seconds - cell.core_seconds_before

    @property
    def peak(self) -> float:
        """The most memory that was in use, in MB."""
        return max((cell.megabytes for cell in self.cells), default=0.0)

    @property
    def too_large(self) -> int | None:
        """Number, from 1, of the first code cell that took more memory than it may."""
        sizes = (number for number, c in enumerate(self.cells, 1) if c.megabytes > self.megabytes)
        return next(sizes, None)

    def _keep_looking(self) -> None:
        while not self.done.wait(PERIOD):
            self._look()

    def _look(self) -> None:
        family = members(self.kernel)
        if not (family and self.cells):
            return
        in_use = max(sum(map(resident, family)), high_water(family[0]))
        self.cells[-1].megabytes = max(self.cells[-1].megabytes, in_use)
        self.core_seconds = max(self.core_seconds, sum(map(processor_time, family)))
        if in_use > self.megabytes:
            for process in family:
                with contextlib.suppress(psutil.Error):
                    process.kill()


def members(kernel: psutil.Process | None) -> list[psutil.Process]:
    """The kernel and its descendants, as far as they live."""
    try:
        return [kernel, *kernel.children(recursive=True)] if kernel else []
    except psutil.Error:
        return []


def resident(process: psutil.Process) -> float:
    """Memory of a process in MB, 0 when it is gone."""
    try:
        return float(process.memory_info().rss) / 1e6
    except psutil.Error:
        return 0.0


def processor_time(process: psutil.Process) -> float:
    """Core-seconds of a process and of its children that have ended."""
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    ended = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return float(times.user + times.system + ended)


def high_water(process: psutil.Process) -> float:
    """The most memory that a process ever held, in MB, where the system keeps it (Linux, Windows)."""
    try:
        if psutil.WINDOWS:
            return float(process.memory_info().peak_wset) / 1e6
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    except (psutil.Error, OSError):
        return 0.0
    kilobytes = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(kilobytes[0]) * 1024 / 1e6 if kilobytes else 0.0
