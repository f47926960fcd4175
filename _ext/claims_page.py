"""The directive ``claims``: every claim of the executed notebooks, at the statement that it bears out.

A claim that fails, one whose label leads nowhere, and a statement that no claim bears out are shown in red and fail
the build. Claims and their cells lead to each other: each code cell of a notebook is a target ``cell-NOTEBOOK-NUMBER``.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import editions
from docutils import nodes
from executed import Execution, cache_folder, executed
from markdown_directive import MarkdownDirective, escape
from sphinx.application import Sphinx
from sphinx.util import logging

LABEL = re.compile(r"^(?::label: |\$\$ \()([\w-]+)", re.MULTILINE)
WELL_FORMED = re.compile(r"(thm|prop|cor|lem|def|asm|rem|eq|ex|sol)(-[A-Za-z0-9]+)+")
STATEMENTS = {"thm": "theorems", "prop": "propositions", "cor": "corollaries"}
HEAD = [
    "| statement | what is measured | value | bound | notebook, cell | time |",
    "| --- | --- | --- | --- | --- | --- |",
]
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Claim:
    """A record of ``helpers.claims.check``, and the cell that made it: its number and its time."""

    label: str
    sentence: str
    measured: float | None
    bound: float | list[float]
    sense: str
    notebook: str
    cell: int
    seconds: float | None

    @property
    def holds(self) -> bool:
        """Whether the value keeps its bound; a value that is rounding was found to when it was measured."""
        value, bound = self.measured, self.bound
        if value is None:
            return True
        if isinstance(bound, list):
            return bound[0] <= value <= bound[1]
        return value <= bound if self.sense == "<=" else value >= bound

    @property
    def limit(self) -> str:
        """The bound, as it is read."""
        if isinstance(self.bound, list):
            return "in [{:.3g}, {:.3g}]".format(*self.bound)
        return f"{ {'<=': '≤', '>=': '≥'}[self.sense] } {self.bound:.3g}"


def claims_of(run: Execution) -> list[Claim]:
    """Claims among the outputs of one notebook, in their order."""
    return [
        Claim(**output["metadata"]["claim"], notebook=run.path.stem, cell=n, seconds=run.seconds(n))
        for n, cell in enumerate(run.code_cells, 1)
        for output in cell.outputs
        if "claim" in output.get("metadata", {})
    ]


def labels(root: Path) -> dict[str, list[str]]:
    """Labels of the statements and equations of every chapter, in the order of the book."""
    toc = (root / "_toc.yml").read_text(encoding="utf-8")
    pages = [name for name in re.findall(r"(?:root|file): *(\S+)", toc) if name.startswith("book/")]
    texts = {page: (root / f"{page}.md").read_text(encoding="utf-8") for page in pages}
    return {page: LABEL.findall(text) for page, text in texts.items()}


def is_statement(label: str) -> bool:
    """Whether it is the label of a theorem, a proposition or a corollary, which needs a claim."""
    return label.partition("-")[0] in STATEMENTS


def row(claim: Claim, known: bool) -> str:
    """A row of the table, its value in red where the claim fails."""
    role = "eq" if claim.label.startswith("eq-") else "prf:ref"
    label = f"{{{role}}}`{claim.label}` <br>`{claim.label}`" if known else red(claim.label)
    value = "rounding" if claim.measured is None else f"{claim.measured:.3g}"
    where = f"{{ref}}`{claim.notebook}, {claim.cell} <cell-{claim.notebook}-{claim.cell}>`"
    took = "" if claim.seconds is None else f"{claim.seconds:.2g} s"
    value = value if claim.holds else red(f"{value} fails")
    return f"| {label} | {escape(claim.sentence)} | {value} | {claim.limit} | {where} | {took} |"


def empty_row(label: str) -> str:
    """The row of a statement that no claim bears out."""
    return f"| {{prf:ref}}`{label}` <br>`{label}` | {red('no claim')} | | | | |"


def red(text: str) -> str:
    """Text that says that something is wrong."""
    return f"[{escape(text)}]{{.claim-wrong}}"


def rows(claims: list[Claim], own: list[str]) -> list[str]:
    """Rows of one chapter, whose labels are given in their order."""
    found = {label: [row(c, known=True) for c in claims if c.label == label] for label in own}
    return [
        line
        for label, lines in found.items()
        for line in lines or [empty_row(label)] * is_statement(label)
    ]


def summary(claims: list[Claim], known: set[str]) -> str:
    """What the page shows, in two sentences."""
    wrong = sum(not claim.holds for claim in claims)
    verdict = "all of which hold" if not wrong else red(f"{wrong} of which fail")
    kinds = Counter(label.partition("-")[0] for label in known if is_statement(label))
    counts = ", ".join(f"{kinds[kind]} {name}" for kind, name in STATEMENTS.items())
    without = missing(claims, known)
    rest = "each of them has at least one" if not without else red(f"{len(without)} have none")
    sources = len({claim.notebook for claim in claims})
    return f"{len(claims)} claims of {sources} notebooks, {verdict}. The book has {counts}; {rest}."


def missing(claims: list[Claim], known: set[str]) -> list[str]:
    """Statements that no claim bears out."""
    return sorted(filter(is_statement, known - {claim.label for claim in claims}))


def require(claims: list[Claim], chapters: dict[str, list[str]]) -> None:
    """Warn, which ends the build, of all that is wrong: where it is, and how it should be."""
    known = {label for own in chapters.values() for label in own}
    for claim in claims:
        where = f"notebooks/{claim.notebook}.ipynb, code cell {claim.cell}: the claim"
        if not WELL_FORMED.fullmatch(claim.label):
            logger.warning("%s's label %r is not like thm-name or eq-name", where, claim.label)
        elif claim.label not in known:
            logger.warning("%s's label %s is nowhere in the book", where, claim.label)
        if not claim.holds:
            logger.warning("%s %s does not hold", where, claim.label)
    for label in missing(claims, known):
        page = next(page for page, own in chapters.items() if label in own)
        logger.warning("%s.md: no claims.check of a notebook bears out %s", page, label)


def outside_solutions(claims: list[Claim], root: Path) -> list[Claim]:
    """Claims of cells that students see."""
    book = editions.documents(root)
    cut = {name: editions.solution_cells(document) for name, document in book.items()}
    return [claim for claim in claims if claim.cell not in cut[f"notebooks/{claim.notebook}"]]


class Claims(MarkdownDirective):
    """Sentences that sum up, and the claims of each chapter in a section of its own."""

    def run(self) -> list[nodes.Node]:
        root = Path(self.env.srcdir)
        cache = cache_folder(self.config, self.env.app.outdir)
        claims = [claim for run in executed(root / "notebooks", cache) for claim in claims_of(run)]
        chapters = labels(root)
        known = {label for own in chapters.values() for label in own}
        require(claims, chapters)
        found = self.parsed([summary(claims, known)])
        shown = claims if self.config.solutions else outside_solutions(claims, root)
        hidden = {claim.label for claim in claims} - {claim.label for claim in shown}
        for page, own in chapters.items():
            heading = re.search(r"^# (.+)$", (root / f"{page}.md").read_text("utf-8"), re.MULTILINE)
            listed = rows(shown, [label for label in own if label not in hidden])
            found += self.section(heading[1], f"claims-{Path(page).name}", listed)
        lost = [row(claim, known=False) for claim in claims if claim.label not in known]
        return found + self.section("Labels that lead nowhere", "claims-lost", lost)

    def section(self, title: str, name: str, lines: list[str]) -> list[nodes.Node]:
        """A section with one table, or nothing where that would be empty."""
        if not lines:
            return []
        section = nodes.section(ids=[name], names=[name])
        text, _ = self.state.inline_text(title, self.lineno)
        section += [nodes.title(title, "", *text), *self.parsed([*HEAD, *lines])]
        self.state.document.note_implicit_target(section)
        for table in section.findall(nodes.table):
            table["classes"] += ["claims", "longtable"]
        return [section]


def name_cells(app: Sphinx, doctree: nodes.document) -> None:
    """Make a target of every code cell of a notebook, for the page of claims to lead to."""
    folder, _, stem = app.env.docname.rpartition("/")
    if folder != "notebooks":
        return
    names = app.env.get_domain("std")
    cells = [x for x in doctree.findall(nodes.container) if x.get("nb_element") == "cell_code"]
    for cell in cells:
        name = f"cell-{stem}-{cell['exec_count']}".lower()
        cell.parent.insert(cell.parent.index(cell), nodes.target(ids=[name]))
        names.labels[name] = (app.env.docname, name, stem)
        names.anonlabels[name] = (app.env.docname, name)


def cell_that_is_cut(
    app: Sphinx, env: object, node: nodes.Element, content: nodes.TextElement
) -> nodes.TextElement | None:
    """The name of a cell, without a link, where this edition has no solutions."""
    cut = str(node.get("reftarget")).startswith("cell-") and not app.config.solutions
    return content if cut else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive and the targets."""
    app.add_directive("claims", Claims)
    app.connect("doctree-read", name_cells)
    app.connect("missing-reference", cell_that_is_cut)
    return {"parallel_read_safe": True}
