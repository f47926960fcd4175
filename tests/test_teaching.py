"""What lecturers use: exercises and their solutions, editions without these, slides."""

import json
import os
import re
import shutil
import subprocess
import symtable
import sys
from functools import cache
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from bs4 import BeautifulSoup
from conftest import NOTEBOOKS, ROOT

sys.path.insert(0, str(ROOT / "_ext"))
import editions
import slides

MAKE = ROOT / "tools" / "make.py"
HTML = ROOT / "_build" / "html"
BOOK = editions.documents(ROOT)
SECRET = "forty-five"  # a word of the toy's solutions alone


# ---------------------------------------------------------------- reading solutions

BLOCK = """Before.

```{{exercise}} A title
:label: ex-a

*Paper.* A question.
```

{fence}{{solution}} ex-a
:label: sol-a
:class: dropdown

An answer, with a block of code:

```python
print("```{{solution-start}} ex-b")
```
{fence}

After.
"""


@pytest.mark.parametrize("fence", ["````", "``````", ":::", "::::::", "~~~~"])
def test_a_block_of_any_fence_is_cut_and_nothing_else(fence):
    document = editions.page("p.md", BLOCK.format(fence=fence))
    assert document.exercises == [editions.Exercise("ex-a", "Paper", 0)]
    text = editions.student_page(document)
    assert text.startswith("Before.") and text.endswith("After.\n")
    assert "A question." in text
    assert "sol-a" not in text and "answer" not in text and "print" not in text


def test_what_only_looks_like_a_solution_stays():
    text = "````md\n```{solution} ex-a\nAn answer.\n```\n````\n\nSee `{solution}`.\n"
    assert editions.student_page(editions.page("p.md", text)) == text


@pytest.mark.parametrize("name", BOOK)
def test_pieces_of_a_cell_are_the_cell(name):
    document = BOOK[name]
    for number, cell in enumerate(document.cells):
        assert "".join(p.text for p in document.pieces if p.cell == number) == cell.text


def gated(*cells):
    """A document of text cells."""
    return editions.Document("notebooks/x.ipynb", tuple(editions.Cell(text) for text in cells))


EXERCISE = "```{exercise}\n:label: ex-a\n*Code.* Do it.\n```\n"
START, END = "```{solution-start} ex-a\n```\n", "```{solution-end}\n```\n"


@pytest.mark.parametrize(
    "cells, cell, message",
    [
        ([EXERCISE + START], 1, "the solution of ex-a is never ended: add a {solution-end}"),
        ([EXERCISE, END], 2, "{solution-end} ends nothing"),
        ([EXERCISE, START, START], 3, "begins inside that of ex-a"),
        ([EXERCISE, START.replace(" ex-a", ""), END], 2, "needs the label of its exercise"),
        ([EXERCISE, "```{solution}\nIt is 4.\n```"], 2, "needs the label of its exercise"),
        ([EXERCISE, "```{solution} ex-a\nIt is 4."], 2, "has no closing ```"),
        ([EXERCISE, "```{solution} ex-b\nIt is 4.\n```"], 2, "a solution of ex-b"),
        (["```{exercise}\n*Code.* Do it.\n```"], 1, "has no label"),
        (
            [EXERCISE, START + "$$ x $$ (eq-s)\n" + END, "By {eq}`eq-s`."],
            3,
            "eq-s lies in a solution",
        ),
        ([EXERCISE, "See {ref}`it <sol-a>`.", START + ":label: sol-a\n" + END], 2, "sol-a lies"),
    ],
)
def test_a_malformed_solution_names_page_and_cell(cells, cell, message):
    with pytest.raises(editions.MalformedError) as caught:
        editions.check([gated(*cells)])
    assert str(caught.value).startswith(f"notebooks/x.ipynb, cell {cell}: ")
    assert message in str(caught.value)


def test_code_cells_of_solutions_are_counted_among_code_cells():
    texts = [EXERCISE, START, END]
    cells = [editions.Cell(text) for text in texts]
    code = [editions.Cell("x", is_code=True)] * 3
    document = editions.Document("x", (code[0], *cells[:2], code[1], cells[2], code[2]))
    assert editions.solution_cells(document) == {2}


def test_the_exercises_and_solutions_of_the_book_are_whole():
    editions.check(BOOK.values())


# ---------------------------------------------------------------- the student edition


def student(path):
    content = nbformat.read(path, as_version=4)
    return editions.student_notebook(BOOK[f"notebooks/{path.stem}"], content)


each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


@each_notebook
def test_nothing_of_a_solution_is_in_the_student_edition(path):
    document = BOOK[f"notebooks/{path.stem}"]
    edition = json.dumps(student(path), ensure_ascii=False)
    bodies = [p.text for p in document.pieces if p.solves]
    lines = {line.strip() for text in bodies for line in text.splitlines() if len(line) > 25}
    shown = "\n".join(p.text for p in document.pieces if not p.solves)
    leaked = [x for x in lines if json.dumps(x, ensure_ascii=False)[1:-1] in edition]
    assert not [line for line in leaked if line not in shown]
    assert not re.search(r"\{solution(-start|-end)?\}|\bsol-", edition)


@each_notebook
def test_what_is_no_solution_is_kept_as_it_was(path):
    before = nbformat.read(path, as_version=4)
    after = student(path)
    nbformat.validate(after)
    document = BOOK[f"notebooks/{path.stem}"]
    solved = {p.cell for p in document.pieces if p.solves}
    kept = [cell for number, cell in enumerate(before.cells) if number not in solved]
    assert [cell for cell in after.cells if cell in kept] == kept
    assert after.cells[0] == before.cells[0]
    answers = [cell.id for cell in after.cells if cell.source in editions.ANSWER.values()]
    assert answers == [
        f"answer-{x}"[:64] for x in dict.fromkeys(p.solves for p in document.pieces) if x
    ]


@each_notebook
def test_students_can_run_what_they_get(path):
    """No cell uses a name that only a solution defines."""
    before, after = nbformat.read(path, as_version=4), student(path)
    theirs = {cell.id for cell in after.cells}
    hidden = [c for c in before.cells if c.cell_type == "code" and c.id not in theirs]
    lost = set().union(*map(defined, hidden))
    known = set()
    for cell in (cell for cell in after.cells if cell.cell_type == "code"):
        known |= defined(cell)
        assert not (read(symtable.symtable(cell.source, "cell", "exec")) & lost) - known


def defined(cell):
    """Names that a cell sets at its top level."""
    table = symtable.symtable(cell.source, "cell", "exec")
    return {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}


def read(table):
    """Names that a scope, or one inside of it, takes from the notebook."""
    top = table.get_type() == "module"
    own = {s.get_name() for s in table.get_symbols() if s.is_referenced() and (top or not_own(s))}
    return own.union(*map(read, table.get_children()))


def not_own(symbol):
    """Whether a function takes this name from outside (Python 3.11 takes one named top for a module)."""
    return symbol.is_global() and not symbol.is_local()


# ---------------------------------------------------------------- exercises, course plan, slides

CHAPTERS = slides.chapters(ROOT)
COURSE = (ROOT / "book" / "course.md").read_text(encoding="utf-8")
DECKS = sorted(CHAPTERS)
RAW = re.compile(
    r"\{(?:eq|ref|numref|doc|cite(?::\w+)?|prf:ref|glue(?::\w+)?)\}|:::|^```|\$[^$\s][^$]*\$"
)

each_deck = pytest.mark.parametrize("deck", DECKS)


@pytest.mark.parametrize("chapter", [x for x in CHAPTERS if CHAPTERS[x][0].startswith("book/")])
def test_a_chapter_has_exercises_of_four_kinds_and_their_solutions(chapter):
    exercises = [exercise for page in CHAPTERS[chapter] for exercise in BOOK[page].exercises]
    assert not [exercise.label for exercise in exercises if not exercise.kind]
    assert len(exercises) >= 4
    assert {exercise.kind for exercise in exercises} == set(editions.KINDS)
    solved = {piece.solves for page in CHAPTERS[chapter] for piece in BOOK[page].pieces}
    assert not [exercise.label for exercise in exercises if exercise.label not in solved]


def test_every_chapter_and_every_notebook_is_in_the_course_plan():
    pages = {page for pages in CHAPTERS.values() for page in pages}
    planned = set(re.findall(r"\{doc\}`(?:\.\./)?([\w/]+)`", COURSE))
    named = {page if page.startswith("notebooks/") else page.partition("/")[2] for page in pages}
    assert named <= planned
    assert all((ROOT / f"book/{page}.md").exists() for page in planned if "/" not in page)


def articles(deck):
    """The slides of a deck."""
    text = (HTML / "slides" / f"{deck}.html").read_text(encoding="utf-8")
    return BeautifulSoup(text, "html.parser").select("section.slide")


def test_there_is_a_deck_for_each_chapter_and_no_other():
    assert sorted(path.stem for path in (HTML / "slides").glob("*.html")) == DECKS


@each_deck
def test_a_deck_shows_its_pages(deck):
    kinds = [section["class"][1] for section in articles(deck)]
    assert kinds.count("title") == len(CHAPTERS[deck])
    assert "figure" in kinds and "claims" in kinds
    assert deck.startswith("0") or {"statement", "take-away", "exercises"} <= set(kinds)


@each_deck
def test_a_deck_holds_no_markup_and_no_solution(deck):
    for section in articles(deck):
        assert section.h2.get_text().strip()
        assert section.select_one(".body").get_text().strip()
        assert not section.select(".solution, .headerlink, .problematic, [id^=sol-]")
        for element in section.select(".math, pre, code"):
            element.decompose()
        assert not RAW.search(section.get_text()), section.h2


@each_deck
def test_links_and_images_of_a_deck_lead_somewhere(deck):
    found = [tag for section in articles(deck) for tag in section.select("a[href], img[src]")]
    for tag in found:
        link = tag.get("href") or tag["src"]
        if urlsplit(link).scheme:
            continue
        path = (HTML / "slides" / unquote(urlsplit(link).path)).resolve()
        assert path.is_file(), link
        assert tag.name == "a" or len(tag["alt"]) > 20
        anchor = unquote(urlsplit(link).fragment)
        assert not anchor or anchor in anchors(path), link


@cache
def anchors(path):
    """All targets in a page."""
    return set(re.findall(r'\bid="([^"]+)"', path.read_text(encoding="utf-8")))


def test_the_course_plan_leads_to_every_deck():
    page = BeautifulSoup((HTML / "book/course.html").read_text(encoding="utf-8"), "html.parser")
    links = {link["href"] for link in page.select("article a[href]")}
    assert {f"../slides/{deck}.html" for deck in DECKS} <= links


# ---------------------------------------------------------------- on a toy book


def tool(root, command, **environment):
    call = [sys.executable, MAKE, command, "--no-env", "--root", root]
    settings = {"env": os.environ | environment, "encoding": "utf-8", "timeout": 120}
    return subprocess.run(call, capture_output=True, check=False, **settings)


def toy_book(root):
    """The toy book, with an exercise on its page and one in its notebook."""
    shutil.copytree(ROOT / "tests" / "toy", root)
    shutil.copy(ROOT / "_config.yml", root)
    for folder in ("_ext", "web"):
        shutil.copytree(ROOT / folder, root / folder)
    page = root / "book" / "index.md"
    solution = f"```{{solution}} ex-page\n:label: sol-page\nIt is {SECRET}.\n```\n"
    text = EXERCISE.replace("ex-a", "ex-page") + "\n" + solution
    page.write_text(page.read_text(encoding="utf-8") + "\n" + text, encoding="utf-8")
    path = root / "notebooks" / "10_toy.ipynb"
    content = nbformat.read(path, as_version=4)
    new = nbformat.v4
    output = new.new_output("stream", name="stdout", text=f"{SECRET} 90\n")
    code = new.new_code_cell(f"print('{SECRET}', 2 * total)", id="code", execution_count=3)
    code.outputs = [output]
    texts = [EXERCISE + "\n" + START, END + "\nThe end."]
    first, last = (new.new_markdown_cell(text, id=f"toy-{len(text)}") for text in texts)
    content.cells += [first, code, last]
    nbformat.write(content, path)
    return root


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    """The toy book, built without solutions."""
    root = toy_book(tmp_path_factory.mktemp("toy") / "book")
    done = tool(root, "book", SOLUTIONS="0")
    assert done.returncode == 0, done.stderr
    return root


def everything(folder):
    """All text below a folder."""
    paths = [path for path in folder.rglob("*") if path.is_file() and "mathjax" not in path.parts]
    return {path: path.read_text(encoding="utf-8", errors="ignore") for path in paths}


def test_pages_without_solutions_hold_nothing_of_them(without):
    texts = everything(without / "_build" / "html")
    assert not [path for path, text in texts.items() if SECRET in text or "sol-page" in text]
    notebook = texts[without / "_build" / "html" / "notebooks" / "10_toy.html"]
    assert "The end." in notebook and "Do it." in notebook


def test_the_switch_leaves_the_execution_alone_and_enters_the_stamp(without, tmp_path):
    root = shutil.copytree(without, tmp_path / "book")
    done = tool(root, "book")
    assert "Executing 0 of 1" in done.stdout, done.stdout + done.stderr
    assert SECRET in (root / "_build" / "html" / "notebooks" / "10_toy.html").read_text()
    assert "Nothing has changed" in tool(root, "book", SOLUTIONS="1").stdout


def test_an_unknown_value_of_the_switch_is_refused(without):
    done = tool(without, "book", SOLUTIONS="maybe")
    assert done.returncode == 1
    assert done.stderr == (
        "error: SOLUTIONS must be 0 (build without solutions) or 1, and it is 'maybe'\n"
    )


def test_student_edition_of_the_toy(without):
    done = tool(without, "student")
    assert done.returncode == 0, done.stderr
    (path,) = (without / "_build" / "student").glob("*.ipynb")
    edition = nbformat.read(path, as_version=4)
    nbformat.validate(edition)
    assert [cell.source for cell in edition.cells][-3:] == [
        EXERCISE.strip(),
        editions.ANSWER["code"],
        "The end.",
    ]
    assert SECRET not in path.read_text(encoding="utf-8")
    assert "total 45" in path.read_text(encoding="utf-8")  # outputs are kept


def test_student_edition_installs_the_package_where_the_repository_is_known(without, tmp_path):
    root = shutil.copytree(without, tmp_path / "book")
    address = {"BOOK_REPOSITORY": "https://example.org/book", "BOOK_BRANCH": "v1"}
    assert tool(root, "student", **address).returncode == 0
    (path,) = (root / "_build" / "student").glob("*.ipynb")
    assert "git+https://example.org/book@v1" in nbformat.read(path, as_version=4).cells[0].source


@pytest.mark.parametrize("command", ["student", "book"])
def test_a_solution_without_end_stops(without, tmp_path, command):
    root = shutil.copytree(without, tmp_path / "book")
    path = root / "notebooks" / "10_toy.ipynb"
    path.write_text(path.read_text(encoding="utf-8").replace("solution-end", "note"))
    done = tool(root, command)
    assert done.returncode == 1
    assert "notebooks/10_toy.ipynb, cell 7: the solution of ex-a is never ended" in done.stderr
