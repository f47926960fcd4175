"""Execute the notebooks of the book side by side into the cache that the pages are built from.

``tools/make.py`` runs it in the environment of the book, as ``execute.py [--save] ROOT``. With ``--save``
every notebook is executed, and keeps its outputs. What a notebook may take is said in ``notebooks/budgets.toml``
(:mod:`budgets`); what it took stays with its outputs in the cache, for the pages that tell of it.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import budgets
import nbformat
import psutil
from budgets import Budget
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn, JupyterCacheAbstract
from meter import Meter
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.reader import NotJSONError
from sqlalchemy.exc import SQLAlchemyError

WORKERS = max(1, min(os.cpu_count() or 1, 8))


@dataclass(frozen=True)
class Run:
    """One notebook, executed: what it took, and what went wrong if something did."""

    path: Path
    notebook: NotebookNode
    seconds: float
    meter: Meter
    failure: str | None = None


def execute(
    path: Path, folder: Path | None = None, budget: Budget | None = None, **environment: str
) -> Run:
    """Execute one notebook in a kernel of its own, in its own folder or another, within its budget."""
    notebook = nbformat.read(path, as_version=4)
    budget = budget or budgets.read(path.parent)[0][path.stem]
    meter, start = Meter(budget.megabytes), time.monotonic()
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder or path.parent)}},
        timeout_func=lambda _: max(1, round(start + budget.seconds - time.monotonic())),
        on_notebook_start=lambda notebook: meter.watch(client.km.provisioner.pid),
        on_cell_execute=lambda cell, cell_index: meter.begin(),
        on_cell_executed=lambda cell, cell_index, execute_reply: meter.end(),
    )
    failure = None
    try:
        # the kernel's own log is of no interest; what the cells write to stderr comes as outputs
        client.execute(stderr=subprocess.DEVNULL, env=os.environ | environment)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        failure = describe(error, budget)
    meter.done.set()
    seconds = time.monotonic() - start
    return Run(path, notebook, seconds, meter, verdict(failure, seconds, meter, budget))


def describe(error: Exception, budget: Budget) -> str:
    """Why a cell stopped, in one line."""
    if isinstance(error, CellTimeoutError):
        return f"not done when the notebook's {budget.seconds:g} s were over"
    if isinstance(error, CellExecutionError):
        return f"{error.ename}: {' '.join(error.evalue.split())}"
    return "the kernel died (out of memory?)"


def verdict(failure: str | None, seconds: float, meter: Meter, budget: Budget) -> str | None:
    """What went wrong, if something did, and in which cell; too much memory explains a dead kernel."""
    cell = len(meter.cells)
    if meter.too_large:
        cell, mb = meter.too_large, f"{budget.megabytes:g} MB"
        failure = f"the notebook took {meter.peak:.0f} MB of memory, and its budget is {mb}"
    elif failure is None and seconds > budget.seconds:
        failure = f"the notebook took {seconds:.1f} s, and its budget is {budget.seconds:g} s"
    return failure and f"code cell {cell}: {failure}"


def without_volatile(notebook: NotebookNode) -> NotebookNode:
    """Drop what differs between two runs of the same notebook, such as times."""
    notebook.metadata.get("language_info", {}).pop("version", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    return notebook


def is_cached(path: Path, cache: JupyterCacheAbstract) -> bool:
    """Whether the cache holds these code cells, executed."""
    try:
        cache.match_cache_file(str(path))
    except KeyError:
        return False
    except NotJSONError as error:
        raise ValueError(f"notebooks/{path.name} is not a notebook: {error}") from error
    return True


def keep(run: Run, cache: JupyterCacheAbstract, save: bool) -> None:
    """Put an executed notebook into the cache and, if asked to, its outputs into its file."""
    notebook = without_volatile(run.notebook) if save else run.notebook
    bundle = CacheBundleIn(notebook, str(run.path), data=measured(run))
    cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    if save:
        partial = run.path.with_suffix(".partial")
        nbformat.write(notebook, partial)
        os.replace(partial, run.path)


def measured(run: Run) -> dict[str, Any]:
    """What a run took, when and where: the times of the code cells, in seconds, in their order."""
    memory = psutil.virtual_memory().total / 1e9
    return {
        "execution_seconds": run.seconds,
        "core_seconds": run.meter.core_seconds,
        "megabytes": run.meter.peak,
        "cell_seconds": [cell.seconds for cell in run.meter.cells],
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": f"{os.cpu_count()} cores, {memory:.0f} GB of memory, "
        f"{platform.system()} {platform.machine()}",
    }


def execute_all(
    paths: list[Path], allowed: dict[str, Budget], cache: JupyterCacheAbstract, save: bool
) -> list[Run]:
    """Execute side by side; keep what succeeds, and say how each one went."""
    runs = []
    with ThreadPoolExecutor(WORKERS) as pool:
        for run in pool.map(lambda path: execute(path, budget=allowed[path.stem]), paths):
            took = f"{run.seconds:.1f} s, {run.meter.peak:.0f} MB"
            print(f"  {run.path.name}: {run.failure or took}", flush=True)
            if run.failure is None:
                keep(run, cache, save)
            runs.append(run)
    return runs


def recorded_core_seconds(paths: list[Path], cache: JupyterCacheAbstract) -> float:
    """Time of processors that all notebooks took, whenever they were executed."""
    records = [cache.match_cache_file(str(path)) for path in paths]
    return sum(record.data.get("core_seconds", 0.0) for record in records)


def listing(folder: Path) -> set[str]:
    """Names of all files under a folder, but for what editors hide."""
    names = (path.relative_to(folder) for path in folder.rglob("*"))
    return {name.as_posix() for name in names if not any(part[0] == "." for part in name.parts)}


def main() -> int:
    """Execute what the cache does not hold; with --save, everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--save", action="store_true", help="keep the outputs in the notebooks")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(130))  # kernels end with their parent
    try:
        line = execute_book(options.root, options.save)
    except ValueError as error:
        line = " ".join(str(error).split())[:200]
    if line:
        print(f"error: {line}", file=sys.stderr)
    return 1 if line else 0


def execute_book(root: Path, save: bool) -> str | None:
    """Execute the notebooks of a book; the line that explains a failure, if there is one."""
    folder = root / "notebooks"
    allowed, together = budgets.read(folder)
    cache = get_cache(str(root / "_build" / ".jupyter_cache"))
    paths, before = sorted(folder.glob("*.ipynb")), listing(folder)
    cached = {path for path in paths if is_cached(path, cache)}
    new = [path for path in paths if save or path not in cached]
    print(f"Executing {len(new)} of {len(paths)} notebooks, {WORKERS} at a time:", flush=True)
    for run in execute_all(new, allowed, cache, save):
        if run.failure:
            return f"notebooks/{run.path.name}, {run.failure}: mend that cell, then run again"
    if left := sorted(listing(folder) - before):
        return (
            f"a notebook left notebooks/{left[0]} behind: let it write nothing, and remove the file"
        )
    total = recorded_core_seconds(paths, cache)
    if total > together:
        return (
            f"the notebooks took {total:.0f} core-seconds, and {together:g} are allowed "
            f"together (notebooks/{budgets.FILE}): make them smaller"
        )
    return None


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, SQLAlchemyError) as error:  # no space, no permission
        print(f"error: outputs were not kept: {str(error).splitlines()[0]}", file=sys.stderr)
        sys.exit(1)
