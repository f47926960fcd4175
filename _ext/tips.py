"""What a reference leads to, shown beside it: for each page a table of the theorems, equations, figures and words of
the glossary that it cites, which ``web/tips/tips.js`` loads at the first need.

The tables are scripts, not data to fetch: pages that are opened from a folder may load the first only.
"""

from __future__ import annotations

import json
import posixpath
from copy import copy
from pathlib import Path
from urllib.parse import unquote

from bs4 import BeautifulSoup, Tag
from sphinx.application import Sphinx

LINKS = "a.reference.internal[href*='#']"
TARGETS = "div.proof, div.admonition, div.math, figure, dt"
LONGEST = 6000  # characters: what is longer is read in its place
Pages = dict[str, Tag]


def target(pages: Pages, page: str, link: str) -> tuple[str, Tag | None]:
    """The page and the element that a link of a page leads to; None for what makes no tip."""
    path, _, anchor = link.partition("#")
    name = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
    name = unquote(name).removesuffix(".html")
    found = pages[name].find(id=unquote(anchor)) if name in pages else None
    if found is not None and found.name == "span" and not found.get_text(strip=True):
        found = found.find_parent(TARGETS.split(", ")) or found.find_next_sibling()
    is_target = isinstance(found, Tag) and found.css.match(TARGETS)
    return name, found if is_target else None


def tip(element: Tag, here: str, there: str) -> str:
    """The element as a tip on another page: no anchors, no links, pictures found from here."""
    parts = [element, element.find_next_sibling("dd")] if element.name == "dt" else [element]
    copies = [copy(part) for part in parts if part is not None]
    for part in copies:
        for mark in part.select(".headerlink, button"):
            mark.decompose()
        for node in [part, *part.find_all(True)]:
            node.attrs.pop("id", None)
            if node.name == "a":
                node.unwrap()
            elif node.name == "img":
                source = posixpath.join(posixpath.dirname(there), node["src"])
                node["src"] = posixpath.relpath(source, posixpath.dirname(here) or ".")
    text = "".join(map(str, copies))
    return text if len(text) <= LONGEST else ""


def table(pages: Pages, page: str) -> dict[str, str]:
    """Link to tip, for all links of a page that have one."""
    tips = {}
    for link in dict.fromkeys(a["href"] for a in pages[page].select(LINKS)):
        there, element = target(pages, page, link)
        if element is not None and (text := tip(element, page, there)):
            tips[link] = text
    return tips


def write(app: Sphinx, error: Exception | None) -> None:
    """Write the table of each page."""
    if error or app.builder.name != "html":
        return
    site = Path(app.outdir)
    texts = {name: (site / f"{name}.html").read_text("utf-8") for name in app.env.found_docs}
    soups = {name: BeautifulSoup(text, "html.parser") for name, text in texts.items()}
    pages = {name: soup.article for name, soup in soups.items() if soup.article is not None}
    for page in pages:
        path = site / "tips" / f"{page}.js"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(table(pages, page), ensure_ascii=False, indent=0)
        path.write_text(f"bookTips({text});\n", encoding="utf-8")


def add_script(app: Sphinx) -> None:
    """The script that shows the tips, on all pages."""
    app.add_js_file("../tips/tips.js", loading_method="defer")


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the tables when all pages are written."""
    app.connect("builder-inited", add_script)
    app.connect("build-finished", write, priority=800)
    return {"parallel_read_safe": True}
