"""What a page must not lack, checked as it is read: a warning, which ends the build, names page and cell.

Figures have a caption, a name (hence a number) and alt text; a page has one title; tags of cells are known ones;
exercises are labeled so that they can be cited.
"""

from __future__ import annotations

import json
import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

ENOUGH = 20  # characters of an alt text that says what is seen
CELL_TAGS = {
    *("remove-cell", "remove-input", "remove-output"),
    *("hide-cell", "hide-input", "hide-output"),
    *("nbval-ignore-output", "nbval-skip", "nbval-check-output", "raises-exception"),
    *("full-width", "design"),  # design: the cell that a reader of 43_design_your_own changes
}
LABELS = {
    "exercise": re.compile(r"ex(-[a-z0-9]+)+"),
    "solution": re.compile(r"sol(-[a-z0-9]+)+"),
}
LIKE = {"exercise": "ex-spectrum-depth", "solution": "sol-spectrum-depth"}
logger = logging.getLogger(__name__)


def check_tags(app: Sphinx, page: str, source: list[str]) -> None:
    """Warn of tags that no tool of the book knows: a typing error would have no effect."""
    if app.env.doc2path(page).endswith(".ipynb"):
        cells = json.loads(source[0])["cells"]
        for number, cell in enumerate(cells, start=1):
            for tag in sorted(set(cell["metadata"].get("tags", [])) - CELL_TAGS):
                logger.warning("%s, cell %d: unknown tag %r", page, number, tag)


def place(page: str, node: nodes.Node) -> str:
    """Page and cell of a node; a notebook's parser counts lines from 10000 times the cell's number."""
    while node.parent is not None and not node.line:
        node = node.parent
    line = node.line or 0
    if line >= 10000:
        return f"{page}, cell {line // 10000}"
    return f"{page}, line {line}" if line else page


def lacks(image: nodes.image) -> list[str]:
    """What an image lacks to be a figure that all can read and cite."""
    figure = image.parent
    while figure is not None and not isinstance(figure, nodes.figure):
        figure = figure.parent
    faults = [] if len(image.get("alt", "")) > ENOUGH else ["alt text that says what is seen"]
    if figure is None or not any(isinstance(child, nodes.caption) for child in figure):
        faults.append("a caption")
    elif not figure["names"]:
        faults.append("a name")
    return faults


def check_figures(page: str, doctree: nodes.document) -> None:
    """Warn of figures without alt text, caption or name."""
    for image in doctree.findall(nodes.image):
        if faults := lacks(image):
            where, which = place(page, image), image["uri"].rpartition("/")[2]
            logger.warning("%s: the figure %s lacks %s", where, which, " and ".join(faults))


def check_labels(page: str, doctree: nodes.document) -> None:
    """Warn of an exercise without a label of the form ex-…, and of a solution with one not of the form sol-…."""
    for node in doctree.findall(nodes.Element):
        kind = type(node).__name__.partition("_")[0]
        label = node.get("label", "")
        unnamed = kind == "solution" and label.startswith(f"{page}-solution-")  # nobody cites it
        if kind in LABELS and label and not unnamed and not LABELS[kind].fullmatch(label):
            why = f"must be like {LIKE[kind]}, not {label!r}"
            logger.warning("%s: the label of this %s %s", place(page, node), kind, why)


def check_titles(page: str, doctree: nodes.document) -> None:
    """Warn unless the page has one title."""
    titles = [child for child in doctree.children if isinstance(child, nodes.section)]
    if len(titles) != 1:
        logger.warning("%s has %d headings of the first level, not one", page, len(titles))


def check_page(app: Sphinx, doctree: nodes.document) -> None:
    """All that is seen in a page by itself."""
    for check in (check_titles, check_figures, check_labels):
        check(app.env.docname, doctree)


def setup(app: Sphinx) -> dict[str, bool]:
    """Check each page as it is read."""
    app.connect("source-read", check_tags)
    app.connect("doctree-read", check_page)
    return {"parallel_read_safe": True}
