"""The notebooks of the book as they were last executed, with what each run took."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from jupyter_cache import get_cache
from nbformat import NotebookNode
from sphinx.config import Config


@dataclass(frozen=True)
class Execution:
    """A notebook with the outputs of its last run, and what ``tools/execute.py`` measured of it.

    ``taken`` has the keys execution_seconds, core_seconds, megabytes, cell_seconds, date and machine. It is
    empty where another program executed the notebook, and where the outputs are those of the file.
    """

    path: Path
    notebook: NotebookNode
    taken: dict[str, Any] = field(default_factory=dict)

    @property
    def code_cells(self) -> list[NotebookNode]:
        """Code cells in their order."""
        return [cell for cell in self.notebook.cells if cell.cell_type == "code"]

    def seconds(self, cell: int) -> float | None:
        """Time of a code cell, counted from 1, if it was measured."""
        times = self.taken.get("cell_seconds", [])
        return times[cell - 1] if cell <= len(times) else None


def executed(folder: Path, cache: Path) -> list[Execution]:
    """All notebooks of a folder, from the execution cache where it holds them as they are."""
    return [execution(path, cache) for path in sorted(folder.glob("*.ipynb"))]


def execution(path: Path, cache: Path) -> Execution:
    """One notebook, from the execution cache if it holds these cells, else with its stored outputs."""
    notebook = nbformat.read(path, as_version=4)
    store = get_cache(str(cache))
    try:
        record = store.match_cache_notebook(notebook)
    except KeyError:
        return Execution(path, notebook)
    return Execution(path, store.merge_match_into_notebook(notebook)[1], record.data)


def cache_folder(config: Config, outdir: str | Path) -> Path:
    """Where this build keeps what it executed."""
    return Path(config.nb_execution_cache_path or Path(outdir).parent / ".jupyter_cache")
