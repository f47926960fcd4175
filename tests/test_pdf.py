"""The printed book, page by page: ``make pdf`` makes it, and these tests skip where it is missing or out of date."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from functools import cache

import pytest
from bs4 import BeautifulSoup
from conftest import ROOT
from PIL import Image
from test_book import HTML, PAGES, RAW_MYST, soup
from test_tool import make

MADE = ROOT / "_build" / "pdf" / "implicit-meets-explicit.pdf"
SOURCE = ROOT / "_build" / "latex" / "book.tex"
EDGE = 20  # points of paper that text keeps clear of
STATEMENTS = [
    "Theorem",
    "Proposition",
    "Corollary",
    "Lemma",
    "Definition",
    "Assumption",
    "Remark",
    "Example",
]


def load(name):
    """A script of tools/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


pdf = load("pdf")


def why_not():
    """Why there is no PDF to look at, or None."""
    if not shutil.which("xelatex"):
        return "no TeX on this machine"
    stamp = MADE.with_name(".stamp")
    current = stamp.exists() and stamp.read_text() == make.digest(ROOT, make.SOURCES)
    return None if current and MADE.exists() else "no PDF of these sources: run `make pdf`"


@pytest.fixture(scope="module")
def book():
    """The PDF, where there is one; with BOOK_REQUIRE_TOOLS there has to be."""
    if reason := why_not():
        if os.environ.get("BOOK_REQUIRE_TOOLS"):
            pytest.fail(reason)
        pytest.skip(reason)
    return MADE


@cache
def poppler(program, *options):
    """What a program of poppler says of the PDF."""
    call = [program, *options, str(MADE)] + (["-"] if program == "pdftotext" else [])
    return subprocess.run(call, capture_output=True, check=True).stdout.decode("utf-8")


def pages():
    """Text of each page, in its order."""
    return poppler("pdftotext", "-layout").split("\f")[:-1]


@cache
def numbers():
    """Label of each equation and figure to its number, as LaTeX counted."""
    aux = SOURCE.with_suffix(".aux").read_text(encoding="utf-8")
    found = re.findall(
        r"\\newlabel\{(?:equation:)?(?:book|notebooks)/\w+:([\w-]+)\}\{\{([\d.]+)\}", aux
    )
    return {label.lower(): number for label, number in found}  # as in the pages' anchors


def flat(text):
    """Text as one line, without soft breaks of words and of lines."""
    return re.sub(r"\s+", " ", text)


# ---------------------------------------------------------------- LaTeX's log


def test_nothing_is_missing_undefined_or_cut(book):
    assert pdf.read_log(SOURCE).complaints() == []


@pytest.mark.parametrize(
    "line, complaint",
    [
        ("Missing character: There is no x (U+29F5) in font y!", "(U+29F5)"),
        ("LaTeX Warning: Reference `eq-a' on page 3 undefined on input line 4.", "`eq-a'"),
        (
            r"Overfull \hbox (30.5pt too wide) in paragraph at lines 3--4",
            "book/models (line 3 of book.tex): sticks out by 30 pt",
        ),
        (r"Overfull \hbox (3.0pt too wide) in paragraph at lines 3--4", None),
    ],
)
def test_the_log_is_read(tmp_path, line, complaint):
    source = tmp_path / "book.tex"
    source.write_text("\\section{A}\n\\label{\\detokenize{book/models:a}}\nlong\n")
    source.with_suffix(".log").write_text(f"This is XeTeX\n{line}\n")
    complaints = pdf.read_log(source).complaints()
    assert len(complaints) == (complaint is not None)
    assert complaint is None or complaint in complaints[0]


def test_a_part_that_latex_lost_is_named(tmp_path):
    (tmp_path / "_toc.yml").write_text("parts: [{caption: Theory, numbered: 2}]")
    source = tmp_path / "book.tex"
    source.write_text(r"\part{Theory}")
    pdf.mark_parts(tmp_path, source)
    assert source.read_text() == r"\part{Theory}\numberedpart"
    source.write_text("")
    with pytest.raises(pdf.PrintError, match="Theory"):
        pdf.mark_parts(tmp_path, source)


def test_long_tables_get_columns_that_fit():
    sys.path.append(str(ROOT / "_ext"))
    from printed import ROOM, widths

    short, long = [(3, 3)] * 30, [(200, 9)] * 30
    narrow, wide = widths([short, long])
    assert narrow < wide and abs(narrow + wide - ROOM) <= 2


# ---------------------------------------------------------------- pages


def test_no_page_is_empty(book):
    images = {int(line.split()[0]) for line in poppler("pdfimages", "-list").splitlines()[2:]}
    for number, text in enumerate(pages(), start=1):
        body = flat("\n".join(text.strip().splitlines()[1:-1]))
        assert body.strip() or number in images or number == 1, f"page {number}"


def test_no_page_shows_markup_or_unresolved_references(book):
    for number, text in enumerate(pages(), start=1):
        assert "??" not in text, f"page {number}"
        assert not RAW_MYST.search(text), f"page {number}: {RAW_MYST.search(text).group()}"
        assert "Traceback (most recent call last)" not in text, f"page {number}"


def test_text_stays_on_the_paper(book):
    """Every word lies within the page, some points from its edge."""
    page = re.compile(r'<page width="([\d.]+)" height="([\d.]+)">(.*?)</page>', re.DOTALL)
    word = re.compile(r'xMin="([-\d.]+)" yMin="([-\d.]+)" xMax="([-\d.]+)" yMax="([-\d.]+)">(.*?)<')
    found = page.findall(poppler("pdftotext", "-bbox"))
    assert len(found) == len(pages())
    for number, (width, height, inside) in enumerate(found, start=1):
        for *corners, text in word.findall(inside):
            left, top, right, bottom = map(float, corners)
            where = f"page {number}: {text}"
            assert EDGE < left and right < float(width) - EDGE, where
            assert 0 < top and bottom < float(height), where


def test_fonts_are_embedded(book):
    listed = poppler("pdffonts").splitlines()[2:]
    assert listed
    for line in listed:
        assert re.search(r"\byes (?:yes|no) +(?:yes|no)\b", line), line


# ---------------------------------------------------------------- the same book as the site


def site_figures():
    """Label and image of each figure of the site."""
    for page in PAGES:
        for figure in soup(HTML / f"{page}.html").select("article figure[id^=fig-]"):
            for image in figure.select("img"):
                yield page, figure, (HTML / f"{page}.html").parent / image["src"]


def test_every_figure_of_the_site_is_printed(book):
    source = SOURCE.read_text(encoding="utf-8")
    named = re.findall(r"\\sphinxincludegraphics.*?\{\{?([^{}]+)\}?(\.\w+)?\}", source)
    printed = [SOURCE.parent / f"{stem}{ending}" for stem, ending in named]
    contents = {path.read_bytes() for path in printed}
    for page, figure, image in site_figures():
        assert image.read_bytes() in contents, f"{page}: {figure['id']}"
    in_pdf = [line for line in poppler("pdfimages", "-list").splitlines()[2:] if " image " in line]
    assert len(in_pdf) >= len(printed) > 0


def test_no_figure_is_empty(book):
    for page, figure, image in site_figures():
        with Image.open(image) as picture:
            dark, bright = picture.convert("L").getextrema()
        assert bright - dark > 50, f"{page}: {figure['id']}"
    for line in poppler("pdfimages", "-list").splitlines()[2:]:
        width, height = map(int, line.split()[3:5])
        assert min(width, height) > 50, line


def test_figures_have_the_numbers_of_the_site(book):
    for page, figure, _ in site_figures():
        number = figure.select_one(".caption-number").get_text().removeprefix("Fig.").strip()
        assert numbers()[figure["id"]] == number, f"{page}: {figure['id']}"


def test_equations_have_the_numbers_of_the_site(book):
    seen = 0
    for page in PAGES:
        for equation in soup(HTML / f"{page}.html").select("article div.math[id^=equation-]"):
            label = equation["id"].removeprefix("equation-")
            number = equation.select_one(".eqno").get_text().strip("()¶# \n")
            assert numbers()[label] == number, f"{page}: {label}"
            seen += 1
    assert seen > 100


def test_statements_and_exercises_have_the_numbers_of_the_site(book):
    text = flat(poppler("pdftotext", "-layout"))
    seen = 0
    for page in PAGES:
        for number in soup(HTML / f"{page}.html").select(
            "article .admonition-title .caption-number"
        ):
            title = number.get_text().strip()
            if title.split()[0] in [*STATEMENTS, "Exercise"]:
                assert re.search(rf"{re.escape(title)}(?![\d.]\d)", text), f"{page}: {title}"
                seen += 1
    assert seen > 100


def test_the_bibliography_is_printed(book):
    html = BeautifulSoup(
        (HTML / "book" / "references.html").read_text(encoding="utf-8"), "html.parser"
    )
    listed = html.select("div.citation")
    assert len(listed) == SOURCE.read_text(encoding="utf-8").count(r"\bibitem") > 20
    text = flat(poppler("pdftotext"))
    assert text.count("Bibliography") >= 1
    for entry in listed:
        title = flat(entry.select_one("p").get_text()).split(". ")
        assert any(len(part) > 20 and part[:20] in text for part in title), title


def test_every_page_of_the_site_is_a_chapter_or_section(book):
    text = flat(poppler("pdftotext")).casefold()
    for page in PAGES:
        title = soup(HTML / f"{page}.html").select_one("article h1").get_text().rstrip("#¶\n ")
        words = re.sub(r"^[\d.]+\s*", "", title)
        if page != "book/index":
            assert flat(words).casefold() in text, page
