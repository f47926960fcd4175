"""Execute the notebooks of the book side by side into the cache that the pages are built from.

``tools/make.py`` runs it in the environment of the book, as ``execute.py [--save] ROOT``. With ``--save``
every notebook is executed, and keeps its outputs.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn, JupyterCacheAbstract
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.reader import NotJSONError
from sqlalchemy.exc import SQLAlchemyError

SECONDS_EACH = float(os.environ.get("BOOK_NOTEBOOK_SECONDS", "60"))
SECONDS_TOGETHER = 8 * SECONDS_EACH
WORKERS = max(1, min(os.cpu_count() or 1, 8))


@dataclass(frozen=True)
class Run:
    """One notebook, executed: how long it took, and what went wrong if something did."""

    path: Path
    notebook: NotebookNode
    seconds: float
    failure: str | None = None


def execute(path: Path) -> Run:
    """Execute one notebook in a kernel of its own, in its own folder, within its time."""
    notebook = nbformat.read(path, as_version=4)
    begun: list[int] = []
    start = time.monotonic()
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
        timeout_func=lambda _: max(1, round(start + SECONDS_EACH - time.monotonic())),
        on_cell_execute=lambda cell, cell_index: begun.append(cell_index),
    )
    failure = None
    try:
        client.execute(stderr=subprocess.DEVNULL)  # the kernel's own log, not the cells'
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        failure = f"code cell {len(begun)}: {describe(error)}"
    return Run(path, notebook, time.monotonic() - start, failure)


def describe(error: Exception) -> str:
    """Why a cell stopped, in one line."""
    if isinstance(error, CellTimeoutError):
        return f"not done when the notebook's {SECONDS_EACH:g} s were over"
    if isinstance(error, CellExecutionError):
        return f"{error.ename}: {' '.join(error.evalue.split())}"
    return "the kernel died (out of memory?)"


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
    bundle = CacheBundleIn(notebook, str(run.path), data={"execution_seconds": run.seconds})
    cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    if save:
        partial = run.path.with_suffix(".partial")
        nbformat.write(notebook, partial)
        os.replace(partial, run.path)


def execute_all(paths: list[Path], cache: JupyterCacheAbstract, save: bool) -> list[Run]:
    """Execute side by side; keep what succeeds, and say how each one went."""
    runs = []
    with ThreadPoolExecutor(WORKERS) as pool:
        for run in pool.map(execute, paths):
            print(f"  {run.path.name}: {run.failure or f'{run.seconds:.1f} s'}", flush=True)
            if run.failure is None:
                keep(run, cache, save)
            runs.append(run)
    return runs


def recorded_seconds(paths: list[Path], cache: JupyterCacheAbstract) -> float:
    """Time that all notebooks took, whenever they were executed."""
    records = [cache.match_cache_file(str(path)) for path in paths]
    return sum(record.data.get("execution_seconds", 0.0) for record in records)


def complaint(paths: list[Path], cache: JupyterCacheAbstract, runs: list[Run]) -> str | None:
    """The line that explains a failure, if there is one."""
    for run in runs:
        if run.failure:
            return f"notebooks/{run.path.name}, {run.failure}: mend that cell, then run again"
    slow = [run.path.name for run in runs if run.seconds > SECONDS_EACH]
    if slow:
        return f"notebooks/{slow[0]} took more than {SECONDS_EACH:g} s: make it smaller"
    total = recorded_seconds(paths, cache)
    if total > SECONDS_TOGETHER:
        return f"the notebooks took {total:.0f} s, more than {SECONDS_TOGETHER:g} s together"
    return None


def main() -> int:
    """Execute what the cache does not hold; with --save, everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--save", action="store_true", help="keep the outputs in the notebooks")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(130))  # kernels end with their parent
    cache = get_cache(str(options.root / "_build" / ".jupyter_cache"))
    paths = sorted((options.root / "notebooks").glob("*.ipynb"))
    try:
        cached = {path for path in paths if is_cached(path, cache)}
    except ValueError as error:
        print(f"error: {' '.join(str(error).split())[:200]}", file=sys.stderr)
        return 1
    new = [path for path in paths if options.save or path not in cached]
    print(f"Executing {len(new)} of {len(paths)} notebooks, {WORKERS} at a time:", flush=True)
    line = complaint(paths, cache, execute_all(new, cache, options.save))
    if line:
        print(f"error: {line}", file=sys.stderr)
    return 1 if line else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, SQLAlchemyError) as error:  # no space, no permission
        print(f"error: outputs were not kept: {str(error).splitlines()[0]}", file=sys.stderr)
        sys.exit(1)
