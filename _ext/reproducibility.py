"""What the page on reproducibility shows of this build: directives ``circumstances``, ``runs`` and ``deep-tests``.

All of it is read when the pages are built: from the execution cache, the installed packages, git, and the files that
longer tests left in ``results/deep``.
"""

from __future__ import annotations

import datetime
import json
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from docutils import nodes
from executed import Execution, cache_folder, executed
from markdown_directive import MarkdownDirective, escape, table
from seeds import seeds, shown
from sphinx.application import Sphinx
from sphinx.util import logging

PACKAGE = "implicit-meets-explicit"
KEYS = {"what": str, "date": str, "machine": str, "rows": list}  # of a file in results/deep
logger = logging.getLogger(__name__)


def commit(root: Path) -> str:
    """The commit of the book's folder, and whether it was changed since."""
    try:
        short, changes = (
            subprocess.run(
                ["git", "-C", str(root), *words],
                capture_output=True,
                check=True,
                encoding="utf-8",
            ).stdout.strip()
            for words in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown: the sources are no git repository"
    return f"`{short}`" + (" with changes that are not committed" if changes else "")


def versions() -> list[list[str]]:
    """Name and version of Python and of what the package and the book ask for."""
    asked = metadata.requires(PACKAGE) or []
    kept = [line for line in asked if "extra ==" not in line or 'extra == "book"' in line]
    names = sorted(re.match(r"[\w.-]+", line)[0] for line in kept)  # type: ignore[index]
    return [["Python", platform.python_version()], *([x, metadata.version(x)] for x in names)]


def run_row(run: Execution) -> list[str]:
    """What one notebook took, and the seeds that its cells name."""
    taken = run.taken
    link = f"{{doc}}`{run.path.stem} <../notebooks/{run.path.stem}>`"
    figures = [
        f"{taken['execution_seconds']:.1f}",
        f"{taken['core_seconds']:.1f}",
        f"{taken['megabytes']:.0f}",
        taken["date"],
    ]
    return [link, *figures, shown(seeds([cell.source for cell in run.code_cells]))]


def run_summary(runs: list[Execution]) -> str:
    """The extremes, and where all of this was measured."""
    longest = max(runs, key=lambda run: run.taken["execution_seconds"])
    largest = max(runs, key=lambda run: run.taken["megabytes"])
    together = sum(run.taken["core_seconds"] for run in runs)
    machines = sorted({run.taken["machine"] for run in runs})
    return (
        f"{len(runs)} notebooks took {together:.0f} core-seconds together. The longest is "
        f"{longest.path.stem} with {longest.taken['execution_seconds']:.0f} s, the largest "
        f"{largest.path.stem} with {largest.taken['megabytes']:.0f} MB. "
        f"Measured on {'; '.join(machines)}."
    ).replace("_", r"\_")


def deep_record(path: Path) -> dict[str, Any]:
    """A file of ``results/deep``: what was tested, when and where, and rows of name, value, bound and note."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        wrong = [key for key, kind in KEYS.items() if not isinstance(record[key], kind)]
        datetime.date.fromisoformat(record["date"])
        nameless = [row for row in record["rows"] if "name" not in row]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"results/deep/{path.name}: {type(error).__name__}: {error}") from error
    if wrong or nameless:
        raise ValueError(f"results/deep/{path.name}: {', '.join(wrong) or nameless} is of no use")
    return record


def deep_lines(record: dict[str, Any]) -> list[str]:
    """A heading, when and where, and a table."""
    keys = ("name", "value", "bound", "note")
    rows = [[escape(word(row.get(key))) for key in keys] for row in record["rows"]]
    made = f"{record['date']}, {record['machine']}"
    return [f"**{escape(record['what'])}** ({escape(made)})", "", *table(list(keys), rows), ""]


def word(value: Any) -> str:
    """A value in few digits; nothing for None."""
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


class Circumstances(MarkdownDirective):
    """Commit, date and versions of this build."""

    def run(self) -> list[nodes.Node]:
        today = datetime.datetime.now(datetime.UTC).date()
        head = f"Built on {today} from commit {commit(Path(self.env.srcdir))}."
        return self.parsed([head, "", *table(["package", "version"], versions())])


class Runs(MarkdownDirective):
    """Time, memory and seeds of every notebook."""

    def run(self) -> list[nodes.Node]:
        cache = cache_folder(self.config, self.env.app.outdir)
        runs = executed(Path(self.env.srcdir, "notebooks"), cache)
        runs = [run for run in runs if "core_seconds" in run.taken]
        if not runs:
            return self.parsed(["No notebook was measured in this build."])
        head = ["notebook", "seconds", "core-seconds", "MB at peak", "executed", "seeds"]
        return self.parsed([run_summary(runs), "", *table(head, list(map(run_row, runs)))])


class DeepTests(MarkdownDirective):
    """Results of the tests that take longer than a build."""

    def run(self) -> list[nodes.Node]:
        lines = []
        for path in sorted(Path(self.env.srcdir, "results", "deep").glob("*.json")):
            self.env.note_dependency(str(path))
            try:
                lines += deep_lines(deep_record(path))
            except ValueError as error:
                logger.warning("%s", error)
        return self.parsed(lines or ["None has been kept yet."])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("circumstances", Circumstances)
    app.add_directive("runs", Runs)
    app.add_directive("deep-tests", DeepTests)
    return {"parallel_read_safe": True}
