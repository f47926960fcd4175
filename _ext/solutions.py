"""Pages without solutions, for lecturers: with ``SOLUTIONS=0`` in the environment the site is built without them.

Sources are cut as they are read, so that nothing of a solution reaches a page, the search or the index. With or
without, the build stops at an exercise or a solution that is not whole.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import editions
import nbformat
from editions import MalformedError
from sphinx.application import Sphinx
from sphinx.util import logging

NOTEBOOK = ".ipynb"
logger = logging.getLogger(__name__)


def check_book(app: Sphinx) -> None:
    """Warn, which ends the build, of an exercise or a solution that is not whole."""
    try:
        editions.check(editions.documents(Path(app.srcdir)).values())
    except MalformedError as error:
        logger.warning("%s", error)


def cut(app: Sphinx, name: str, source: list[str]) -> None:
    """Replace a source that has solutions by one without them."""
    if app.config.solutions:
        return
    path = Path(app.env.doc2path(name))
    with suppress(MalformedError):  # of which check_book has warned
        if path.suffix == NOTEBOOK:
            content = nbformat.reads(source[0], as_version=4)
            document = editions.notebook(path.name, content)
            source[0] = nbformat.writes(editions.published_notebook(document, content))
        else:
            source[0] = editions.student_page(editions.page(path.name, source[0]))


def replace_sources(app: Sphinx, error: Exception | None) -> None:
    """The sources that pages offer for download are those of students, too."""
    offered = Path(app.outdir) / "_sources"
    if error or app.config.solutions or not offered.is_dir():
        return
    for path in [path for path in offered.rglob("*") if path.is_file()]:
        if path.suffix == NOTEBOOK:
            content = nbformat.read(path, as_version=4)
            document = editions.notebook(path.name, content)
            nbformat.write(editions.student_notebook(document, content), path)
        else:
            document = editions.page(path.name, path.read_text(encoding="utf-8"))
            path.write_text(editions.student_page(document), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the switch and what it does."""
    app.add_config_value("solutions", os.environ.get("SOLUTIONS", "1") != "0", "env", [bool])
    app.connect("builder-inited", check_book)
    app.connect("source-read", cut)
    app.connect("build-finished", replace_sources)
    return {"parallel_read_safe": True}
