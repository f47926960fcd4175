"""What the printed book needs beyond Sphinx's LaTeX: numbers of exercises, widths of tables, the bibliography's place.

``tools/pdf.py`` loads it; the pages of the site are built without it.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.addnodes import number_reference, start_of_file
from sphinx.application import Sphinx
from sphinx.builders.latex.nodes import thebibliography
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform

ROOM = 105  # letters in a line of a table
LONG = 10  # rows of a table that may have to break between pages
BIBLIOGRAPHY = "book/references"


class NumberExercises(SphinxPostTransform):
    """Write the number of an exercise on another page: LaTeX has no counter that knows it."""

    default_priority = 250  # after the references are resolved
    builders = ("latex",)

    def run(self, **_: Any) -> None:
        registry = getattr(self.env, "sphinx_exercise_registry", {})
        for node in list(self.document.findall(number_reference)):
            label = (
                (node.get("refid") or node.get("refuri", "")).rpartition("#")[2].rpartition(":")[2]
            )
            if label in registry:
                text = f"Exercise {self.number(registry[label])}"
                target = nodes.raw("", rf"\hyperref[exercise:{label}]{{{text}}}", format="latex")
                node.replace_self(target)

    def number(self, entry: dict[str, Any]) -> str:
        """The number that the site gives it, such as 4.12."""
        identity = entry["node"]["ids"][0]
        numbers = self.env.toc_fignumbers[entry["docname"]]["exercise"][identity]
        return ".".join(map(str, numbers))


class SetTableWidths(SphinxPostTransform):
    """Give the columns of long tables widths, or LaTeX sets each cell on one line and out of the page."""

    default_priority = 251
    builders = ("latex",)

    def run(self, **_: Any) -> None:
        for table in self.document.findall(nodes.table):
            rows = list(table.findall(nodes.row))
            long = len(rows) >= LONG or "longtable" in table["classes"]
            if not long or "colwidths-given" in table["classes"]:
                continue
            table["classes"] += ["colwidths-given", "longtable"]
            columns = zip(
                *[[letters(entry) for entry in row.children] for row in rows], strict=True
            )
            for spec, width in zip(
                table.findall(nodes.colspec), widths(list(columns)), strict=True
            ):
                spec["colwidth"] = width


def letters(entry: nodes.Element) -> tuple[int, int]:
    """Letters of a cell, and of its longest word; formulas are about half as long as their source."""
    text = entry.astext()
    for formula in entry.findall(nodes.math):
        source = formula.astext()
        text = text.replace(source, "x" * (len(re.sub(r"\\\w+|[{}^_\\]", "", source)) + 2), 1)
    return len(text), max(map(len, text.split()), default=0)


def widths(columns: list[tuple[tuple[int, int], ...]]) -> list[int]:
    """Widths of columns: the longest word of each at least, what is left by the length of their text."""
    needed = [1 + max(word for _, word in column) for column in columns]
    wished = [sum(length for length, _ in column) / len(column) for column in columns]
    left = max(0, ROOM - sum(needed))
    return [
        round(need + left * wish / sum(wished)) for need, wish in zip(needed, wished, strict=True)
    ]


class PlaceBibliography(SphinxPostTransform):
    """Put the references back onto their page, from where sphinx-jupyterbook-latex took them."""

    default_priority = 710
    builders = ("latex",)

    def run(self, **_: Any) -> None:
        pages = [
            page for page in self.document.findall(start_of_file) if page["docname"] == BIBLIOGRAPHY
        ]
        for bibliography in list(self.document.findall(thebibliography)):
            if pages:
                bibliography.parent.remove(bibliography)
                pages[0].append(bibliography)


def number_for_latex(app: Sphinx, _: BuildEnvironment) -> None:
    """Let LaTeX begin each chapter with Fig. 1 anew; it counts the parts as a level too."""
    app.config.numfig_secnum_depth = 2


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transforms; theorems, numbered when all pages are read, count by chapter as on the site."""
    app.config.numfig_secnum_depth = 1
    app.connect("env-check-consistency", number_for_latex)
    for transform in (NumberExercises, SetTableWidths, PlaceBibliography):
        app.add_post_transform(transform)
    return {"parallel_read_safe": True}
