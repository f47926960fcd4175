"""Slides of each chapter, made from its built pages, where references and numbers are resolved: ``slides/*.html``.

What is on a slide follows from what a thing is, and nothing is marked by hand: the title and the first paragraph of a
page, its statements without their proofs, systems of equations, the question and the take-away of a notebook, each of its figures with the
code of its cell, its claims, and the exercises. The directive ``decks`` lists the decks for the course plan.
"""

from __future__ import annotations

import copy
import html
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urldefrag, urljoin, urlsplit

import editions
import yaml
from bs4 import BeautifulSoup, SoupStrainer, Tag
from docutils import nodes
from markdown_directive import MarkdownDirective, table
from sphinx.application import Sphinx

STATEMENTS = ["assumption", "definition", "theorem", "proposition", "corollary", "lemma"]
SHOWN = ", ".join([*(f".proof.{kind}" for kind in STATEMENTS), "figure", ".tip", "section > .math"])
ROOM = 1800  # characters of HTML on a slide that lists
DECK = """<!DOCTYPE html>
<html lang="en" data-theme="light">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: slides</title>
<meta name="description" content="Slides of the chapter {title}.">
<link rel="stylesheet" href="../_static/pygments.css">
<link rel="stylesheet" href="deck.css">
<script>{mathjax}</script>
<script defer src="../mathjax/startup.js"></script>
<script defer src="deck.js"></script>
</head>
<body>
<main>
{slides}
</main>
</body>
</html>
"""
SLIDE = """<section class="slide {kind}" id="{number}" aria-label="{number} of {count}">
<h2>{title}</h2>
<div class="body">
{body}
</div>
<footer><a href="../book/index.html">{book}</a> <a href="{source}">{page}</a> <span>{number} / {count}</span></footer>
</section>"""


@dataclass(frozen=True)
class Page:
    """A built page: its name, as ``book/models``, and its article."""

    name: str
    article: Tag

    @property
    def title(self) -> str:
        """Its first heading, as HTML."""
        return inner(self, self.article.select_one("h1"))


@dataclass(frozen=True)
class Slide:
    """Kind (a class of the style sheet), title and body in HTML, and the page and anchor it comes from."""

    kind: str
    title: str
    body: str
    page: Page
    anchor: str = ""


# ---------------------------------------------------------------- from a page to slides


def chapters(root: Path) -> dict[str, list[str]]:
    """The pages of each deck by its name: a chapter and its notebooks."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    entries = [entry for part in toc["parts"] for entry in part["chapters"]]
    groups = ([e["file"], *(s["file"] for s in e.get("sections", []))] for e in entries)
    return {
        names[0].rpartition("/")[2]: names
        for names in groups
        if any(name.startswith("notebooks/") for name in names)
    }


def load(out: Path, name: str) -> Page:
    """A built page."""
    text = (out / f"{name}.html").read_text(encoding="utf-8")
    soup = BeautifulSoup(text, "html.parser", parse_only=SoupStrainer("article"))
    return Page(name, soup.select_one("article"))


def slides(page: Page) -> Iterator[Slide]:
    """The slides of a page, in the order of its content."""
    yield opening(page)
    for element in page.article.select(SHOWN):
        if not element.find_parent(class_=["solution", "exercise", "dropdown"]):
            yield from slide(page, element)
    yield from gathered(page)


def opening(page: Page) -> Slide:
    """Its title, with the first paragraph or, for a notebook, the question."""
    question = page.article.select_one(".admonition.note")
    if page.name.startswith("notebooks/") and question:
        paragraphs = question.select("p:not(.admonition-title)")[:1]
    else:
        paragraphs = page.article.select("section > p")[:1]
    return Slide("title", page.title, "".join(fragment(page, p) for p in paragraphs), page)


def slide(page: Page, element: Tag) -> Iterator[Slide]:
    """The slide of a statement, a figure, a take-away, or of the system that an equation begins."""
    classes, title = element.get("class", []), heading(page, element)
    if element.name == "figure":
        body = fragment(page, element) + code(page, element)
        yield Slide("figure", title, body, page, element.get("id", ""))
    elif "proof" in classes:
        yield Slide("statement", title, fragment(page, element), page, element.get("id", ""))
    elif "tip" in classes:
        body = "".join(
            fragment(page, child) for child in element.find_all(True, recursive=False)[1:]
        )
        yield Slide("take-away", "Take-away", body, page)
    elif "math" in classes and len(system := equations(element)) > 2:
        body = "".join(fragment(page, part) for part in system)
        yield Slide("system", title, body, page, element.get("id", ""))


def equations(first: Tag) -> list[Tag]:
    """A paragraph and the equations below it with no word between them, if the first of these is given."""
    before, found = first.find_previous_sibling(), [first]
    if before is None or before.name != "p":
        return []
    while (after := found[-1].find_next_sibling()) and "math" in after.get("class", []):
        found.append(after)
    return [before, *found]


def gathered(page: Page) -> Iterator[Slide]:
    """What is collected from all over a page: its claims, and its exercises."""
    lines = [line for pre in page.article.select(".cell_output pre") for line in claims(pre)]
    for part in parts([f"<li>{html.escape(line)}</li>" for line in lines]):
        yield Slide("claims", "What was measured", f"<ul>{part}</ul>", page)
    exercises = page.article.select(".exercise")
    for part in parts([fragment(page, exercise) for exercise in exercises]):
        yield Slide("exercises", "Exercises", part, page, exercises[0].get("id", ""))


def parts(items: list[str]) -> list[str]:
    """Pieces of HTML put together, as many at a time as a slide has room for."""
    found: list[str] = []
    for item in items:
        if not found or len(found[-1]) + len(item) > ROOM:
            found.append("")
        found[-1] += item
    return found


def claims(output: Tag) -> list[str]:
    """Sentence and value of the claims among the lines of an output, without their labels."""
    lines = [line for line in output.get_text().splitlines() if line.endswith(", holds")]
    lines = [line.partition(": ")[2].removesuffix(", holds") for line in lines]
    return [line.replace(" <= ", " ≤ ").replace(" >= ", " ≥ ") for line in lines]


def heading(page: Page, element: Tag) -> str:
    """The heading above an element."""
    return inner(page, element.find_previous(["h1", "h2", "h3"]))


def code(page: Page, figure: Tag) -> str:
    """The folded code of the cell that drew a figure."""
    cell = figure.find_parent("div", class_="cell")
    source = cell.select_one(".cell_input .highlight") if cell else None
    if source is None:
        return ""
    return f"<details><summary>Code</summary>{fragment(page, source)}</details>"


# ---------------------------------------------------------------- fragments of HTML


def fragment(page: Page, element: Tag) -> str:
    """An element as it can stand in a deck: its links lead from there, its anchors are gone."""
    element = copy.copy(element)
    for dropped in element.select(".headerlink, script, button"):
        dropped.decompose()
    for tag in [element, *element.find_all(True)]:
        for name in ("id", "loading"):
            tag.attrs.pop(name, None)
        for name in ("href", "src"):
            if name in tag.attrs:
                tag[name] = from_deck(page, tag[name])
    return str(element)


def inner(page: Page, element: Tag) -> str:
    """The content of a heading, without its number and its link."""
    element = copy.copy(element)
    for dropped in element.select(".section-number"):
        dropped.decompose()
    return BeautifulSoup(fragment(page, element), "html.parser").find(True).decode_contents()


def from_deck(page: Page, link: str) -> str:
    """A link of a page as seen from the folder of the slides."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return link
    target, anchor = urldefrag(urljoin(f"{page.name}.html", link))
    return os.path.relpath(target, "slides") + (f"#{anchor}" if anchor else "")


def deck(pages: list[Page], book: str, mathjax: str) -> str:
    """The deck of a chapter as one page."""
    shown = [slide for page in pages for slide in slides(page)]
    sections = [
        SLIDE.format(
            kind=slide.kind,
            title=slide.title,
            body=slide.body,
            source=from_deck(slide.page, f"#{slide.anchor}" if slide.anchor else ""),
            page=slide.page.title,
            book=html.escape(book),
            number=number,
            count=len(shown),
        )
        for number, slide in enumerate(shown, 1)
    ]
    title = html.escape(BeautifulSoup(pages[0].title, "html.parser").get_text())
    return DECK.format(title=title, mathjax=mathjax, slides="\n".join(sections))


def write(app: Sphinx, error: Exception | None) -> None:
    """Write all decks, once the pages are there."""
    if error or app.builder.format != "html":
        return
    out = Path(app.outdir)
    (out / "slides").mkdir(exist_ok=True)
    for name, pages in chapters(Path(app.srcdir)).items():
        content = deck([load(out, page) for page in pages], app.config.project, mathjax(app))
        (out / "slides" / f"{name}.html").write_text(content, encoding="utf-8")


def mathjax(app: Sphinx) -> str:
    """What the pages tell MathJax, for the decks."""
    return f"window.MathJax = {json.dumps(app.config.mathjax3_config)}"


# ---------------------------------------------------------------- the list of decks


class Decks(MarkdownDirective):
    """A table of the chapters: their notebooks, exercises and slides."""

    def run(self) -> list[nodes.Node]:
        root = Path(self.env.srcdir)
        book = editions.documents(root)
        rows = [self.row(name, pages, book) for name, pages in chapters(root).items()]
        return self.parsed(table(["chapter", "notebooks", "exercises", "slides"], rows))

    def row(self, name: str, pages: list[str], book: dict[str, editions.Document]) -> list[str]:
        """The row of one chapter."""
        kinds = [exercise.kind for page in pages for exercise in book[page].exercises]
        count = ", ".join(f"{kinds.count(k)} {k.lower()}" for k in editions.KINDS if k in kinds)
        notebooks = [page for page in pages if page.startswith("notebooks/")]
        links = [f"{{doc}}`{page.partition('/')[2][:2]} </{page}>`" for page in notebooks]
        slides = f"[slides](../slides/{name}.html){{.external}}"
        return [f"{{doc}}`/{pages[0]}`", ", ".join(links), count, slides]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive and the writing of the decks."""
    app.add_directive("decks", Decks)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True}
