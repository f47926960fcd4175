"""Print the book: one PDF from the same sources and executed notebooks as the site, by Sphinx and xelatex.

``tools/make.py`` runs it in the environment of the book, as ``pdf.py ROOT TARGET``, when the notebooks are executed and TeX
is there. What LaTeX lacks or cuts (a glyph, a reference, a line out of the page) is an error that names the page.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jupyter_book.config import get_final_config
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

STYLE = Path(__file__).parent / "latex"
INDEX = "-L english -C utf8 -M sphinx.xdy"  # how Sphinx's index is sorted
BOUND = 10.0  # points that a line may stick out: the margin has 60
ELEMENTS = {
    "papersize": "a4paper",
    "extraclassoptions": "openany,oneside",
    "preamble": r"\usepackage{book}",
}


class PrintError(RuntimeError):
    """The PDF could not be made, or would miss something."""


@dataclass(frozen=True)
class Report:
    """What LaTeX's log says: complaints, each with the page of the book that it is about."""

    missing: list[str]
    undefined: list[str]
    overfull: list[tuple[float, str]]

    def complaints(self) -> list[str]:
        """What is wrong with the PDF, a line each."""
        wide = [f"{where}: sticks out by {points:.0f} pt" for points, where in self.overfull]
        return [*self.missing, *self.undefined, *wide]


def configuration(root: Path) -> dict[str, Any]:
    """Sphinx's configuration, as Jupyter Book derives it, with what print needs."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    overrides = {
        "external_toc_path": str(root / "_toc.yml"),
        "latex_individualpages": False,
        "nitpicky": True,
        "latex_elements": ELEMENTS,
        "latex_additional_files": [str(path) for path in sorted(STYLE.glob("*.sty"))],
        "latex_domain_indices": False,
        "release": project["version"],
        "latex_show_urls": "no",
    }
    config, _ = get_final_config(
        user_yaml=root / "_config.yml", cli_config=overrides, sourcedir=root, use_external_toc=True
    )
    return config


def write_latex(root: Path, folder: Path) -> Path:
    """Write book.tex from clean doctrees; a warning is an error."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log = folder / "sphinx.log"
    config, doctrees = configuration(root), folder / ".doctrees"
    with (
        log.open("w", encoding="utf-8") as stream,
        redirect_stdout(stream),
        redirect_stderr(stream),
        patch_docutils(None),
        docutils_namespace(),
    ):
        settings = {"status": stream, "warning": stream, "warningiserror": True, "keep_going": True}
        app = Sphinx(root, None, folder, doctrees, "latex", config, freshenv=True, **settings)
        app.setup_extension("printed")
        start, title, author = app.config.root_doc, app.config.html_title, app.config.author
        app.config.latex_documents = [(start, "book.tex", title, author, "manual")]
        app.build()
    if app.statuscode:
        lines = re.findall(r".*(?:WARNING|ERROR).*", log.read_text(encoding="utf-8"))
        raise PrintError("\n".join(lines) or f"Sphinx ended with {app.statuscode}")
    mark_parts(root, folder / "book.tex")
    return folder / "book.tex"


def mark_parts(root: Path, source: Path) -> None:
    """Tell LaTeX which parts have numbered chapters."""
    text = source.read_text(encoding="utf-8")
    for part in yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))["parts"]:
        heading = rf"\part{{{part['caption']}}}"
        if heading not in text:
            raise PrintError(f"part {part['caption']!r} of _toc.yml is not in book.tex")
        mark = r"\numberedpart" if part.get("numbered") else r"\unnumberedpart"
        text = text.replace(heading, f"{heading}{mark}")
    source.write_text(text, encoding="utf-8")


def typeset(source: Path) -> Path:
    """Run xelatex until all references are settled."""
    call = ["latexmk", "-xelatex", "-interaction=nonstopmode", "-halt-on-error", "-silent"]
    surroundings = os.environ | {"max_print_line": "10000", "XINDYOPTS": INDEX}
    done = subprocess.run(
        [*call, source.name],
        cwd=source.parent,
        env=surroundings,
        capture_output=True,
        check=False,
    )
    log = source.with_suffix(".log")
    if done.returncode:
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        error = re.search(r"^! .*(?:\n.*){0,4}", text, re.MULTILINE)
        raise PrintError(error.group() if error else done.stderr.decode(errors="replace")[-500:])
    return source.with_suffix(".pdf")


def read_log(source: Path, bound: float = BOUND) -> Report:
    """What the log of the last run complains about."""
    log = source.with_suffix(".log").read_text(encoding="utf-8", errors="replace")
    lines = source.read_text(encoding="utf-8").splitlines()
    missing = sorted(set(re.findall(r"^Missing character: .*", log, re.MULTILINE)))
    undefined = sorted(set(re.findall(r"^LaTeX Warning: .* undefined .*", log, re.MULTILINE)))
    wide = re.findall(r"^Overfull \\hbox \(([\d.]+)pt too wide\)(.*)", log, re.MULTILINE)
    overfull = {
        (float(points), place(lines, what)) for points, what in wide if float(points) > bound
    }
    return Report(missing, undefined, sorted(overfull, reverse=True))


def place(lines: list[str], what: str) -> str:
    """The page of the book, and the line of book.tex, that a complaint is about."""
    found = re.search(r"lines? (\d+)", what)
    if not found:
        return what.strip() or "somewhere"
    number = int(found.group(1))
    for line in reversed(lines[:number]):
        if label := re.search(r"\\label\{\\detokenize\{((?:book|notebooks)/[^:}]+)", line):
            return f"{label.group(1)} (line {number} of book.tex)"
    return f"line {number} of book.tex"


def main(root: Path, target: Path) -> int:
    """Write, typeset, check, and put the PDF where it is wanted."""
    try:
        source = write_latex(root, root / "_build" / "latex")
        made = typeset(source)
        if complaints := read_log(source).complaints():
            raise PrintError("\n".join(complaints))
    except PrintError as error:
        print(error, file=sys.stderr)
        return 1
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(made, target)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()))
