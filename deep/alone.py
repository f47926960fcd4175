"""Execute every notebook alone, from the root of the book: ``python deep/alone.py``.

It works on a copy that it may not write, with a home and a folder for temporary files of its own. Counted are notebooks
over their budget, files left behind, and cells that take more than two seconds and show no progress. The counts
go to ``results/deep/alone.json``.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import execute

SHOWN = re.compile(r"\d+%\||running for \d+ s")  # a bar, or the clock of a cell
LONG = 2.0  # seconds that nobody should wait without being told
OF_TOOLS = {
    "IPYTHONDIR": "ipython",  # the history of the shell
    "MPLCONFIGDIR": "matplotlib",  # the list of fonts
    "XDG_CACHE_HOME": "cache",
}


@dataclass(frozen=True)
class Visit:
    """What one notebook did where it was executed."""

    name: str
    failure: str | None
    left: list[str]
    long: list[int]
    silent: list[int]


def visit(notebook: Path) -> Visit:
    """Execute a notebook in a place of its own, and look around afterwards."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        shutil.copytree(notebook.parent, place / "book" / "notebooks")
        for path in (place / "book").rglob("*"):
            path.chmod(0o555 if path.is_dir() else 0o444)
        for folder in ("home", "temporary", "tools"):
            (place / folder).mkdir()
        before = listing(place)
        tools = {key: str(place / "tools" / value) for key, value in OF_TOOLS.items()}
        own = {"HOME": str(place / "home"), "TMPDIR": str(place / "temporary")}
        run = execute.execute(
            place / "book" / "notebooks" / notebook.name,
            place / "book",
            HELPERS_PROGRESS="1",
            **tools,
            **own,
        )
        (place / "book" / "notebooks").chmod(0o755)
        left = sorted(listing(place) - before)
    return Visit(notebook.stem, run.failure, left, long_cells(run), silent_cells(run))


def listing(place: Path) -> set[str]:
    """All files and folders, but for what the tools keep for themselves."""
    names = {path.relative_to(place).as_posix() for path in place.rglob("*")}
    return {name for name in names if not name.startswith("tools")}


def long_cells(run: execute.Run) -> list[int]:
    """Numbers of the code cells that take more than two seconds where nothing else runs."""
    times = [min(cell.seconds, cell.core_seconds) for cell in run.meter.cells]
    return [number for number, seconds in enumerate(times, 1) if seconds > LONG]


def silent_cells(run: execute.Run) -> list[int]:
    """Those among them that showed neither a progress bar nor a clock."""
    cells = [cell for cell in run.notebook.cells if cell.cell_type == "code"]
    texts = ["".join(out.get("text", "") for out in cell.outputs) for cell in cells]
    return [number for number in long_cells(run) if not SHOWN.search(texts[number - 1])]


def row(name: str, found: list[str], bound: int | None, of: str) -> dict[str, Any]:
    """A row of the record."""
    note = f"of {of}" + (f": {'; '.join(found)}" if found else "")
    return {"name": name, "value": len(found), "bound": bound, "note": note}


def rows(visits: list[Visit]) -> list[dict[str, Any]]:
    """What is counted."""
    of = f"{len(visits)} notebooks"
    failed = [f"{v.name}, {v.failure}" for v in visits if v.failure]
    left = [f"{v.name} left {name}" for v in visits for name in v.left]
    long = sum(len(v.long) for v in visits)
    silent = [f"{v.name}, cell {number}" for v in visits for number in v.silent]
    return [
        row("notebooks that fail or are over their budget, from the root", failed, 0, of),
        row("files left behind", left, 0, of),
        row("cells longer than two seconds that show no progress", silent, 0, f"{long} such cells"),
    ]


def main() -> int:
    """Visit all notebooks, one after the other, and keep the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="only these notebooks, and nothing is kept")
    names = parser.parse_args().names
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    visits = []
    for path in [path for path in paths if not names or path.stem in names]:
        visits.append(visit(path))
        print(visits[-1], flush=True)
    found = rows(visits)
    if not names:
        from record import keep

        keep("alone", "Every notebook alone, in a place that it may not write", found)
    return int(any(line["value"] for line in found))


if __name__ == "__main__":
    sys.exit(main())
