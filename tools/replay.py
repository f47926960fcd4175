"""A pytest plugin: nbval compares stored outputs with the run that filled the execution cache.

A notebook is executed once, by ``tools/execute.py``, for the pages and for this comparison. nbval does the
comparing; instead of a kernel it is given one that replays that run. ``pytest --nbval notebooks``, without this
plugin, executes the notebooks a second time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import nbformat
import pytest
from jupyter_cache import get_cache
from nbformat import NotebookNode
from nbval.plugin import IPyNbFile


class ReplayedKernel:
    """Answers like nbval's kernel, with the outputs of a run that is over."""

    def __init__(self, cells: list[NotebookNode]) -> None:
        self.cells = iter(cells)
        self.messages: Iterator[dict[str, Any]] = iter(())

    def execute_cell_input(self, source: str, allow_stdin: bool | None = None) -> str:
        """Line up the messages that this source led to."""
        cell = next(cell for cell in self.cells if cell.source == source)
        idle = {"msg_type": "status", "content": {"execution_state": "idle"}}
        outputs = [{"msg_type": out.output_type, "content": out} for out in cell.outputs]
        self.messages = iter([*outputs, idle])
        return "replayed"

    def get_message(self, stream: str, timeout: float | None = None) -> dict[str, Any]:
        """The next message."""
        message = next(self.messages, None)
        if message is None:
            raise Empty
        return {**message, "parent_header": {"msg_id": "replayed"}}

    def await_reply(self, msg_id: str, timeout: float | None = None) -> None:
        """The run is over."""

    await_idle = await_reply

    def is_alive(self) -> bool:
        """Always."""
        return True

    def stop(self) -> None:
        """Nothing runs."""


class ReplayedFile(IPyNbFile):
    """A notebook whose cells nbval compares with the cached run."""

    def setup(self) -> None:
        """Take the outputs from the cache in place of starting a kernel."""
        cache = get_cache(str(Path(self.config.rootpath, "_build", ".jupyter_cache")))
        notebook = nbformat.read(self.path, as_version=4)
        try:
            _, executed = cache.merge_match_into_notebook(notebook)
        except KeyError:
            pytest.fail(f"{self.path.name} has not been executed as it is: run `make test`")
        self.kernel = ReplayedKernel([cell for cell in executed.cells if cell.cell_type == "code"])
        self.setup_sanitize_files()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ReplayedFile | None:
    """Collect the notebooks, as ``--nbval`` would."""
    if file_path.suffix == ".ipynb":
        return ReplayedFile.from_parent(parent, path=file_path)
    return None
