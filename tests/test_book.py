"""The built pages in ``_build/html``, as a reader meets them. ``make test`` builds them first."""

import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import ROOT, named

HTML = ROOT / "_build" / "html"
PAGES = sorted(named(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))))
NOT_PROSE = ["script", "style", "pre", "code", ".math", "mjx-container"]
RAW_TEX = re.compile(r"\$[^$\s][^$]*\$|\\[a-zA-Z]{2,}|\\[(\[]")
RAW_MYST = re.compile(
    r"\{(?:eq|ref|numref|doc|cite(?::\w+)?|prf:ref|glue(?::\w+)?)\}|:::|^```", re.MULTILINE
)

each_page = pytest.mark.parametrize("page", PAGES)


@cache
def soup(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def article(page):
    """The page without the theme around it."""
    return soup(HTML / f"{page}.html").select_one("article")


def prose(page):
    """What a reader reads, without code and without what MathJax draws."""
    copy = BeautifulSoup(str(article(page)), "html.parser")
    for element in copy.select(", ".join(NOT_PROSE)):
        element.decompose()
    return copy.get_text()


def local_target(page, link):
    """File and anchor that a link of this book leads to, or None for a link out of it."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    here = HTML / f"{page}.html"
    path = (here.parent / unquote(parts.path)).resolve() if parts.path else here
    return path, unquote(parts.fragment)


@each_page
def test_page_exists_and_has_a_title(page):
    assert (HTML / f"{page}.html").is_file()
    assert article(page).select_one("h1").get_text().strip()


@each_page
def test_nothing_is_loaded_from_another_host(page):
    """The built folder opens with no network: scripts, styles and images are its own, and they are there."""
    page_soup = soup(HTML / f"{page}.html")
    loaded = [tag["src"] for tag in page_soup.select("script[src], img[src], iframe[src]")]
    loaded += [
        tag["href"] for tag in page_soup.select("link[rel=stylesheet][href], link[rel=icon]")
    ]
    assert loaded
    for address in loaded:
        if not address.startswith("data:"):
            target = local_target(page, address)
            assert target is not None, address
            assert target[0].is_file(), address


@each_page
def test_references_are_resolved(page):
    assert not article(page).select(".problematic, .system-message")
    assert not [mark for mark in article(page).select(".xref") if mark.find_parent("a") is None]
    assert "???" not in prose(page)
    assert not RAW_MYST.search(prose(page))


@each_page
def test_no_raw_tex_outside_math(page):
    found = RAW_TEX.search(prose(page))
    assert not found, found


@each_page
def test_no_traceback_and_no_warning(page):
    assert not article(page).select(".output.traceback, .output.stderr, div.highlight-ipythontb")
    assert "Traceback (most recent call last)" not in article(page).get_text()


@each_page
def test_figures_have_number_caption_and_alternative_text(page):
    for image in article(page).select("img"):
        figure = image.find_parent("figure")
        assert figure is not None, f"{image.get('src')} stands outside of a figure"
        assert figure.select_one("figcaption .caption-number"), image.get("src")
        assert len(figure.select_one("figcaption .caption-text").get_text().strip()) > 20
        alternative = image.get("alt", "")
        assert len(alternative) > 20 and not alternative.startswith(("../", "_images/")), image.get(
            "src"
        )


@each_page
def test_images_exist(page):
    for image in article(page).select("img"):
        path, _ = local_target(page, image["src"])
        assert path.stat().st_size > 0


@each_page
def test_internal_links_lead_somewhere(page):
    for link in article(page).select("a[href]"):
        target = local_target(page, link["href"])
        if target is None:
            continue
        path, anchor = target
        assert path.is_file(), link["href"]
        if anchor and path.suffix == ".html":
            assert soup(path).find(id=anchor), link["href"]


def test_a_reader_reaches_every_page_from_the_first_by_links_alone():
    """Links of the whole page, navigation included, as they work without scripts."""
    seen, ahead = set(), ["book/index"]
    while ahead:
        page = ahead.pop()
        if page in seen or not (HTML / f"{page}.html").is_file():
            continue
        seen.add(page)
        targets = [
            local_target(page, a["href"]) for a in soup(HTML / f"{page}.html").select("a[href]")
        ]
        inside = [target[0] for target in targets if target and HTML in target[0].parents]
        ahead += [path.relative_to(HTML).with_suffix("").as_posix() for path in inside]
    assert not set(PAGES) - seen


@each_page
def test_next_leads_through_the_book(page):
    links = [a["href"] for a in soup(HTML / f"{page}.html").select("a.right-next")]
    order = list(named(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))))
    after = order[order.index(page) + 1 :][:1]
    assert [local_target(page, link)[0] for link in links] == [HTML / f"{x}.html" for x in after]


@each_page
def test_headings_follow_each_other_without_a_jump(page):
    levels = [int(tag.name[1]) for tag in article(page).select("h1, h2, h3, h4, h5, h6")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(low <= high + 1 for high, low in pairwise(levels))


@each_page
def test_each_page_is_described_and_no_two_alike(page):
    tags = soup(HTML / f"{page}.html").select("meta[name=description]")
    assert len(tags) == 1
    table = yaml.safe_load((ROOT / "book" / "descriptions.yml").read_text(encoding="utf-8"))
    assert tags[0]["content"] == table[page]
    assert list(table.values()).count(table[page]) == 1


def test_only_pages_that_there_are_have_a_description():
    table = yaml.safe_load((ROOT / "book" / "descriptions.yml").read_text(encoding="utf-8"))
    assert sorted(table) == PAGES


@each_page
def test_names_of_elements_are_given_once(page):
    names = [tag["id"] for tag in soup(HTML / f"{page}.html").select("[id]")]
    twice = {name for name in names if names.count(name) > 1}
    assert not twice


@each_page
def test_equations_that_are_cited_are_numbered(page):
    for link in article(page).select("a.reference.internal[href*='#equation-']"):
        assert re.search(r"\d", link.get_text()), link


@each_page
def test_theorems_are_numbered_by_chapter(page):
    for title in article(page).select(".proof .admonition-title .caption-number"):
        assert re.search(r"\b\d+\.\d+\b", title.get_text()), title


def test_the_build_gave_no_warning():
    """Citations and glued values that are missing leave no trace in a page."""
    assert "WARNING" not in (ROOT / "_build" / "build.log").read_text(encoding="utf-8")


def test_no_button_leads_to_a_repository_that_is_not_ours():
    links = [link["href"] for link in soup(HTML / "book/index.html").select("a[href]")]
    assert not [link for link in links if "executablebooks/jupyter-book" in link]


def test_the_root_page_leads_to_the_book():
    assert (HTML / "index.html").is_file()


@pytest.mark.parametrize(
    "text, wrong",
    [(r"so \frac12", True), ("costs 5$ or 6", False), ("is $x$ here", True), ("a_b", False)],
)
def test_raw_tex_is_recognized(text, wrong):
    assert bool(RAW_TEX.search(text)) is wrong


def test_pages_are_those_of_the_source_folders(root):
    """No chapter is forgotten in _toc.yml."""
    chapters = {f"book/{path.stem}" for path in Path(root, "book").glob("*.md")}
    assert chapters == {page for page in PAGES if page.startswith("book/")}
