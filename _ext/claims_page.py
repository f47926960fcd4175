"""The directive ``claims``: every claim of the executed notebooks, with its statement, measured value and bound.

It also lists the theorems, propositions and corollaries that no claim bears out, and fails the build on a claim that
does not hold or whose label leads nowhere.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

LABEL = re.compile(r"^(?::label: |\$\$ \()([\w-]+)", re.MULTILINE)
STATEMENTS = ("thm-", "prop-", "cor-")
HEAD = ["| statement | what is measured | value | bound |", "| --- | --- | --- | --- |"]
logger = logging.getLogger(__name__)
Record = dict[str, Any]


def records(path: Path) -> list[Record]:
    """Claims among the outputs of one notebook, in their order."""
    notebook = nbformat.read(path, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [
        output["metadata"]["claim"] for output in outputs if "claim" in output.get("metadata", {})
    ]


def labels(root: Path) -> set[str]:
    """Labels of all statements and equations of the chapters."""
    return {
        label
        for path in sorted((root / "book").glob("*.md"))
        for label in LABEL.findall(path.read_text(encoding="utf-8"))
    }


def holds(claim: Record) -> bool:
    """Whether the value keeps its bound; a value that is rounding was found to when it was measured."""
    value, bound = claim["measured"], claim["bound"]
    if value is None:
        return True
    if claim["sense"] == "in":
        return bool(bound[0] <= value <= bound[1])
    return bool(value <= bound if claim["sense"] == "<=" else value >= bound)


def shown(claim: Record) -> str:
    """A row of the table."""
    role = "eq" if claim["label"].startswith("eq-") else "prf:ref"
    bound = claim["bound"]
    if claim["sense"] == "in":
        limit = f"in [{bound[0]:.3g}, {bound[1]:.3g}]"
    else:
        limit = f"{ {'<=': '≤', '>=': '≥'}[claim['sense']] } {bound:.3g}"
    measured = claim["measured"]
    value = "rounding" if measured is None else f"{measured:.3g}"
    sentence = re.sub(r"([|*_$`])", r"\\\1", claim["sentence"])
    return f"| {{{role}}}`{claim['label']}` | {sentence} | {value} | {limit} |"


class Claims(SphinxDirective):
    """Tables of claims, a notebook each, and what has none."""

    def run(self) -> list[nodes.Node]:
        root = Path(self.env.srcdir)
        known, seen, lines = labels(root), set(), []
        for path in sorted((root / "notebooks").glob("*.ipynb")):
            self.env.note_dependency(str(path))
            found = records(path)
            for claim in found:
                self.require(claim, known, path.name)
            seen |= {claim["label"] for claim in found}
            lines += [f"**{{doc}}`../notebooks/{path.stem}`**", "", *HEAD, *map(shown, found), ""]
        without = sorted(x for x in known - seen if x.startswith(STATEMENTS))
        lines += ["**Proved, and not borne out by a claim of its own**", ""]
        lines += [", ".join(f"{{prf:ref}}`{label}`" for label in without) + ".", ""]
        holder = nodes.container()
        self.state.nested_parse(StringList(lines, "claims"), self.content_offset, holder)
        return holder.children

    def require(self, claim: Record, known: set[str], name: str) -> None:
        """Warn, which ends the build, of a claim that fails or leads nowhere."""
        if claim["label"] not in known:
            logger.warning("%s: the claim's label %s is nowhere", name, claim["label"])
        if not holds(claim):
            logger.warning("%s: the claim %s does not hold", name, claim["label"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("claims", Claims)
    return {"parallel_read_safe": True}
