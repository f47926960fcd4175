"""The page of claims: what it shows of each record, and what it does not let pass."""

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from conftest import ROOT

sys.path.insert(0, str(ROOT / "_ext"))
executed = importlib.import_module("executed")
page = importlib.import_module("claims_page")

CHAPTERS = {"book/one": ["thm-a", "eq-b", "prop-c"], "book/two": ["lem-d"]}
KNOWN = {"thm-a", "eq-b", "prop-c", "lem-d"}


def claim(label="thm-a", measured=1.0, bound=2.0, sense="<="):
    return page.Claim(label, "it is so", measured, bound, sense, "10_x", 3, 0.25)


def run(*records, taken=None):
    """An executed notebook whose second code cell made these records."""
    outputs = [
        nbformat.v4.new_output("display_data", metadata={"claim": record}) for record in records
    ]
    cells = [
        nbformat.v4.new_code_cell("x = 1"),
        nbformat.v4.new_markdown_cell("text"),
        nbformat.v4.new_code_cell("check", outputs=outputs),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    return executed.Execution(Path("notebooks/10_x.ipynb"), notebook, taken or {})


RECORD = {"label": "thm-a", "sentence": "s", "measured": 1.0, "bound": 2.0, "sense": "<="}


def test_claims_know_their_cell_and_its_time():
    (found,) = page.claims_of(run(RECORD, taken={"cell_seconds": [0.5, 0.125]}))
    assert (found.notebook, found.cell, found.seconds) == ("10_x", 2, 0.125)
    (found,) = page.claims_of(run(RECORD))
    assert found.seconds is None


@pytest.mark.parametrize(
    ("measured", "bound", "sense", "holds"),
    [
        (1.0, 1.0, "<=", True),
        (1.1, 1.0, "<=", False),
        (1.0, 1.0, ">=", True),
        (0.9, 1.0, ">=", False),
        (2.0, [1.0, 2.0], "in", True),
        (2.1, [1.0, 2.0], "in", False),
        (0.9, [1.0, 2.0], "in", False),
        (None, 1e-12, "<=", True),
    ],
)
def test_what_holds(measured, bound, sense, holds):
    found = claim(measured=measured, bound=bound, sense=sense)
    assert found.holds is holds
    assert (".claim-wrong" in page.row(found, known=True)) is not holds


def test_the_row_of_a_claim():
    assert page.row(claim(), known=True) == (
        "| {prf:ref}`thm-a` <br>`thm-a` | it is so | 1 | ≤ 2 | "
        "{ref}`10_x, 3 <cell-10_x-3>` | 0.25 s |"
    )
    assert "{eq}`eq-b`" in page.row(claim("eq-b"), known=True)
    assert "{prf:ref}" not in page.row(claim("thm-z"), known=False)


def test_a_chapter_has_its_claims_in_the_order_of_its_labels_and_the_missing_ones():
    lines = page.rows([claim("eq-b"), claim("thm-a"), claim("lem-d")], CHAPTERS["book/one"])
    assert [re.search(r"`([\w-]+)`", line)[1] for line in lines] == ["thm-a", "eq-b", "prop-c"]
    assert ".claim-wrong" in lines[2] and "no claim" in lines[2]


@pytest.mark.parametrize(
    "text", ["a | b", "|x|", "2 * 3 * 4", "a_b_c", "$x$", "`code`", "<b>", "[a](b)", "{ref}`x`"]
)
def test_sentences_are_shown_as_they_are(text):
    assert re.sub(r"\\(.)", r"\1", page.escape(text)) == text
    assert not re.search(r"(?<!\\)[|*_$`<\[\]{}]", page.escape(text))


@pytest.fixture
def warnings(monkeypatch):
    """What would end the build."""
    found = []
    monkeypatch.setattr(page.logger, "warning", lambda text, *words: found.append(text % words))
    return found


def test_all_is_well(warnings):
    page.require([claim("thm-a"), claim("prop-c")], CHAPTERS)
    assert warnings == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (claim("Theorem 1"), "label 'Theorem 1' is not like"),
        (claim(""), "label '' is not like"),
        (claim("thm-"), "label 'thm-' is not like"),
        (claim("theorem-a"), "label 'theorem-a' is not like"),
        (claim("thm-missing"), "label thm-missing is nowhere"),
        (claim(measured=3.0), "thm-a does not hold"),
        (claim(measured=float("nan")), "thm-a does not hold"),
    ],
)
def test_what_is_wrong_is_named_with_notebook_and_cell(warnings, wrong, words):
    page.require([claim("thm-a"), claim("prop-c"), wrong], CHAPTERS)
    (line,) = warnings
    assert line.startswith("notebooks/10_x.ipynb, code cell 3: ") and words in line


def test_a_statement_without_a_claim_is_named_with_its_page(warnings):
    page.require([claim("thm-a"), claim("eq-b")], CHAPTERS)
    assert warnings == ["book/one.md: no claims.check of a notebook bears out prop-c"]


def test_the_summary_counts():
    good = page.summary([claim("thm-a"), claim("prop-c")], KNOWN)
    assert good.startswith("2 claims of 1 notebooks, all of which hold.")
    assert "1 theorems, 1 propositions, 0 corollaries" in good and "at least one" in good
    bad = page.summary([claim(measured=3.0)], KNOWN)
    assert "1 of which fail" in bad and "1 have none" in bad and bad.count(".claim-wrong") == 2


# ---------------------------------------------------------------- the book


def test_labels_of_the_book_are_well_formed_and_in_its_order():
    chapters = page.labels(ROOT)
    found = [label for own in chapters.values() for label in own]
    assert len(found) == len(set(found)) > 300
    assert not [label for label in found if not page.WELL_FORMED.fullmatch(label)]
    names = list(chapters)
    assert names.index("book/mixture") < names.index("book/models") < names.index("book/practice")


STATEMENT = re.compile(
    r"^`{3,}\{prf:(theorem|proposition|corollary)\}.*\n(?::(?!label).*\n)*(:label: (\w+)-)?",
    re.MULTILINE,
)


@pytest.mark.parametrize("path", sorted(ROOT.glob("book/*.md")), ids=lambda path: path.stem)
def test_every_statement_has_a_label_of_its_kind(path):
    for kind, label, prefix in STATEMENT.findall(path.read_text(encoding="utf-8")):
        assert label, f"{path.name}: a {kind} without a label can have no claim"
        assert page.STATEMENTS[prefix] == {"corollary": "corollaries"}.get(kind, f"{kind}s")


# ---------------------------------------------------------------- a toy book


def build(root):
    """Build a book; the process."""
    call = [sys.executable, ROOT / "tools" / "make.py", "book", "--no-env", "--root", root]
    return subprocess.run(call, capture_output=True, timeout=120, check=False, encoding="utf-8")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("book") / "toy"
    shutil.copytree(ROOT / "tests" / "toy", root)
    shutil.copy(ROOT / "_config.yml", root)
    for folder in ("_ext", "web"):
        shutil.copytree(ROOT / folder, root / folder)
    done = build(root)
    assert done.returncode == 0, done.stderr
    return root


def soup(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def test_the_page_leads_to_statement_and_cell(built):
    pages = built / "_build" / "html"
    cells = soup(pages / "book" / "claims.html").select("table.claims tbody td")
    words = [cell.get_text() for cell in cells]
    assert words[1:5] == ["the sum", "45", "≤ 60", "10_toy, 3"] and words[5].endswith(" s")
    for cell in (cells[0], cells[4]):
        address, _, anchor = cell.a["href"].partition("#")
        target = soup((pages / "book" / address).resolve()).find(id=anchor)
        assert target is not None
    assert "claims.check" in target.find_next("div", class_="cell").get_text()


@pytest.mark.parametrize("label", ["thm toy", "thm-other"])
def test_a_wrong_label_ends_the_build(built, tmp_path, label):
    toy = shutil.copytree(built, tmp_path / "toy")
    path = toy / "notebooks" / "10_toy.ipynb"
    path.write_text(path.read_text(encoding="utf-8").replace("thm-toy", label), encoding="utf-8")
    done = build(toy)
    assert done.returncode == 1
    assert "notebooks/10_toy.ipynb, code cell 3: the claim's label" in done.stderr
    assert label in done.stderr
