"""Exercises and their solutions in the sources of the book, and these sources without the solutions.

A document is a list of cells; a page in Markdown is a document of one cell. A solution is a ``solution`` block of any
fence, or all that lies between ``solution-start`` and ``solution-end``, code cells too. The student edition of the
notebooks, the site without solutions and the table of the course plan all come from `Document`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import nbformat
from nbformat import NotebookNode

KINDS = ("Paper", "Code", "Experiment", "Open")
OPENING = re.compile(r"^\s*(`{3,}(?!.*`)|~{3,}|:{3,})\s*(?:\{([\w:-]+)\})?\s*(\S*)")
OPTION = re.compile(r"^:[\w-]+:.*$", re.MULTILINE)
MARK = re.compile(rf"\*({'|'.join(KINDS)})\b[^*]*\*")
DEFINED = re.compile(
    r"^\s*:(?:label|name): *(\S+)|^\(([\w-]+)\)=|\$\$ *\(([\w-]+)\)\s*$", re.MULTILINE
)
REFERRED = re.compile(r"\{[\w:]+\}`(?:[^`<]*<)?([\w-]+)>?`")
ANSWER = {"code": "# Your answer", "markdown": "*Your answer:*"}


class MalformedError(ValueError):
    """An exercise or a solution that is not whole: the page, the cell, and what to do."""


@dataclass(frozen=True)
class Cell:
    """Text or code, with the label of the figure that it draws, if any."""

    text: str
    is_code: bool = False
    figure: str | None = None


@dataclass(frozen=True)
class Piece:
    """A run of one cell's text (a whole cell if it is code), and the exercise that it solves, if any."""

    cell: int
    text: str
    solves: str | None = None


@dataclass(frozen=True)
class Exercise:
    """Label, kind (one of `KINDS`, or empty when it is not marked) and cell of an exercise."""

    label: str
    kind: str
    cell: int


@dataclass(frozen=True)
class Document:
    """A page or a notebook; ``name`` is for messages."""

    name: str
    cells: tuple[Cell, ...]

    @cached_property
    def parts(self) -> tuple[list[Piece], list[Exercise]]:
        """Its pieces and its exercises; MalformedError says what is not whole."""
        scan = Scan(self.name)
        for number, cell in enumerate(self.cells):
            scan.cell(number, cell)
        if scan.solving:
            scan.fail(f"the solution of {scan.solving} is never ended: add a {{solution-end}}")
        return scan.pieces, scan.exercises

    @property
    def pieces(self) -> list[Piece]:
        """All of its text, in order: the pieces of a cell, joined, are the cell."""
        return self.parts[0]

    @property
    def exercises(self) -> list[Exercise]:
        """Its exercises, in order."""
        return self.parts[1]

    def labels(self, in_solutions: bool) -> set[str]:
        """Labels that its solutions define, or that the rest of it does."""
        pieces = [piece for piece in self.pieces if bool(piece.solves) is in_solutions]
        figures = {self.cells[piece.cell].figure for piece in pieces} - {None}
        found = (match for piece in pieces for match in DEFINED.findall(piece.text))
        return figures | {name for match in found for name in match if name}


# ---------------------------------------------------------------- reading


@dataclass
class Fence:
    """An open fence: its marks, its directive (none for code) and its argument."""

    marks: str
    directive: str | None
    argument: str
    lines: list[str] = field(default_factory=list)

    def is_closed_by(self, line: str) -> bool:
        """Whether this line is its end: the same mark, at least as often, and nothing else."""
        marks = line.strip()
        return len(marks) >= len(self.marks) and set(marks) == {self.marks[0]}


class Scan:
    """The state of reading a document line by line."""

    def __init__(self, name: str) -> None:
        self.name, self.number = name, 0
        self.pieces: list[Piece] = []
        self.exercises: list[Exercise] = []
        self.fences: list[Fence] = []
        self.solving: str | None = None  # between solution-start and solution-end

    def fail(self, why: str) -> None:
        """Stop, naming page and cell."""
        raise MalformedError(f"{self.name}, cell {self.number + 1}: {why}")

    def cell(self, number: int, cell: Cell) -> None:
        """Read one cell."""
        self.number = number
        if cell.is_code:
            self.pieces.append(Piece(number, cell.text, self.solving))
            return
        for line in cell.text.splitlines(keepends=True):
            self.keep(line, self.line(line))
        for fence in self.fences:
            if (fence.directive or "").startswith(("exercise", "solution")):
                self.fail(f"{{{fence.directive}}} {fence.argument} has no closing {fence.marks}")
        self.fences.clear()

    def keep(self, line: str, solves: str | None) -> None:
        """Add a line to the last piece, or begin a new one."""
        last = self.pieces[-1] if self.pieces else None
        if last and (last.cell, last.solves) == (self.number, solves):
            line = self.pieces.pop().text + line
        self.pieces.append(Piece(self.number, line, solves))

    def line(self, line: str) -> str | None:
        """Follow the fences; the exercise whose solution this line belongs to."""
        top = self.fences[-1] if self.fences else None
        if top and top.is_closed_by(line):
            solves = self.owner()
            self.close(self.fences.pop())
            return solves
        opening = OPENING.match(line)
        if opening and (top is None or top.directive):
            self.open(Fence(*opening.groups()))
        elif top:
            top.lines.append(line)
        return self.owner()

    def owner(self) -> str | None:
        """The exercise in whose solution we are."""
        blocks = (f.argument for f in self.fences if f.directive in ("solution", "solution-start"))
        return self.solving or next(blocks, None)

    def open(self, fence: Fence) -> None:
        """Enter a fence; a solution needs the label of its exercise and cannot lie in another."""
        if fence.directive in ("solution", "solution-start"):
            if self.owner():
                self.fail(f"the solution of {fence.argument} begins inside that of {self.owner()}")
            if not fence.argument:
                self.fail(f"{{{fence.directive}}} needs the label of its exercise behind it")
        if fence.directive == "solution-end" and not self.solving:
            self.fail("{solution-end} ends nothing: put a {solution-start} before the solution")
        self.fences.append(fence)

    def close(self, fence: Fence) -> None:
        """Leave a fence."""
        if fence.directive == "solution-start":
            self.solving = fence.argument
        elif fence.directive == "solution-end":
            self.solving = None
        elif fence.directive in ("exercise", "exercise-start"):
            self.exercises.append(self.exercise("".join(fence.lines)))

    def exercise(self, body: str) -> Exercise:
        """The exercise whose fence holds this text."""
        label = re.search(r"^:label: *(\S+)", body, re.MULTILINE)
        if label is None:
            self.fail("an exercise has no label: add a line `:label: ex-...` below its first")
        mark = MARK.match(OPTION.sub("", body).strip())
        return Exercise(label[1], mark[1] if mark else "", self.number)


def page(name: str, text: str) -> Document:
    """A page in Markdown as a document."""
    return Document(name, (Cell(text),))


def notebook(name: str, content: NotebookNode) -> Document:
    """A notebook as a document."""
    return Document(name, tuple(map(as_cell, content.cells)))


def as_cell(cell: NotebookNode) -> Cell:
    """A notebook's cell; its figure is the one that myst-nb draws."""
    figure = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
    return Cell(cell.source, cell.cell_type == "code", figure)


def documents(root: Path) -> dict[str, Document]:
    """All pages and notebooks of the book, by name without ending, as ``book/models``."""
    paths = sorted([*(root / "book").glob("*.md"), *(root / "notebooks").glob("*.ipynb")])
    names = [path.relative_to(root).as_posix() for path in paths]
    return {
        name.rpartition(".")[0]: notebook(name, nbformat.read(path, as_version=4))
        if path.suffix == ".ipynb"
        else page(name, path.read_text(encoding="utf-8"))
        for name, path in zip(names, paths, strict=True)
    }


def check(book: Iterable[Document]) -> None:
    """MalformedError for a solution of no exercise, and for a reference into a solution."""
    book = list(book)
    exercises = {exercise.label for document in book for exercise in document.exercises}
    hidden, open_to_all = (
        set().union(*(document.labels(in_solutions) for document in book))
        for in_solutions in (True, False)
    )
    for document in book:
        for piece in document.pieces:
            complaint = complaint_of(piece, exercises, hidden - open_to_all)
            if complaint:
                raise MalformedError(f"{document.name}, cell {piece.cell + 1}: {complaint}")


def complaint_of(piece: Piece, exercises: set[str], hidden: set[str]) -> str | None:
    """What is wrong with a piece, if anything is."""
    if piece.solves:
        known = piece.solves in exercises
        return None if known else f"a solution of {piece.solves}, which is no exercise's label"
    into = [label for label in REFERRED.findall(piece.text) if label in hidden]
    return f"{into[0]} lies in a solution, which students lack: refer elsewhere" if into else None


def solution_cells(document: Document) -> set[int]:
    """Which code cells belong to solutions, counted from 1 among the code cells."""
    code = [number for number, cell in enumerate(document.cells) if cell.is_code]
    solving = {piece.cell for piece in document.pieces if piece.solves}
    return {place for place, number in enumerate(code, 1) if number in solving}


# ---------------------------------------------------------------- without solutions


def student_page(document: Document) -> str:
    """The text of a page without its solutions."""
    return kept(document, 0)


def kept(document: Document, cell: int) -> str:
    """The text of a cell without what belongs to solutions."""
    pieces = (p.text for p in document.pieces if p.cell == cell and p.solves is None)
    return re.sub(r"\n{3,}", "\n\n", "".join(pieces))


def student_notebook(document: Document, content: NotebookNode) -> NotebookNode:
    """The notebook with an empty cell in place of each solution; all other cells keep their outputs."""
    kinds = {exercise.label: exercise.kind for exercise in document.exercises}
    cells: list[NotebookNode] = []
    answered = set()
    for number, piece in enumerate(document.pieces):
        if piece.solves is None:
            cells += part_of(content.cells[piece.cell], piece.text, number)
        elif piece.solves not in answered:
            answered.add(piece.solves)
            cells.append(answer(piece.solves, kinds.get(piece.solves, "")))
    student = NotebookNode(content | {"cells": cells})
    nbformat.validate(student)
    return student


def part_of(cell: NotebookNode, text: str, number: int) -> list[NotebookNode]:
    """The cell itself, or a cell of its own for a part of it; nothing for a part without words."""
    if text == cell.source:
        return [cell]
    part = nbformat.v4.new_markdown_cell(text.strip(), id=f"{cell.id}-{number}")
    return [part] if part.source else []


def answer(exercise: str, kind: str) -> NotebookNode:
    """The empty cell for the answer to an exercise: of text for paper and open questions, of code otherwise."""
    if kind in ("Paper", "Open"):
        return nbformat.v4.new_markdown_cell(ANSWER["markdown"], id=f"answer-{exercise}"[:64])
    return nbformat.v4.new_code_cell(ANSWER["code"], id=f"answer-{exercise}"[:64])


def published_notebook(document: Document, content: NotebookNode) -> NotebookNode:
    """The notebook for pages without solutions: their text is cut, their code cells are tagged ``remove-cell``.

    The code cells stay because the execution cache knows a notebook by all of its code.
    """
    for number, cell in enumerate(content.cells):
        cell.source = kept(document, number) if cell.cell_type == "markdown" else cell.source
    for piece in document.pieces:
        cell = content.cells[piece.cell]
        if piece.solves and cell.cell_type == "code":
            cell.metadata.tags = [*cell.metadata.get("tags", []), "remove-cell"]
    return content
