"""What the extensions add to pages and ask of them: on a toy book with an address, and on one with every fault."""

import json
import re
import shutil
import sys

import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import ROOT
from test_tool import tool

sys.path.insert(0, str(ROOT / "_ext"))
import address
import finish
import lean

PLACE = "https://github.com/example/a-book"
TOLD = {
    "BOOK_REPOSITORY": PLACE + ".git",
    "BOOK_BRANCH": "v1",
    "BOOK_NOTEBOOKS": "notebooks-v1",
    "BOOK_URL": "https://example.org/book/v1/",
}
UNTOLD = dict.fromkeys(TOLD, "")


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """The sources of a toy book."""
    root = tmp_path_factory.mktemp("pages") / "toy"
    shutil.copytree(ROOT / "tests" / "toy", root)
    shutil.copy(ROOT / "_config.yml", root)
    for folder in ("_ext", "web"):
        shutil.copytree(ROOT / folder, root / folder)
    return root


@pytest.fixture(scope="module")
def hosted(toy):
    """The toy book, built where it knows its address."""
    done = tool(toy, "book", **TOLD)
    assert done.returncode == 0, done.stderr
    return toy / "_build" / "html"


@pytest.fixture(scope="module")
def alone(toy, hosted, tmp_path_factory):
    """The same built where it does not."""
    root = shutil.copytree(toy, tmp_path_factory.mktemp("alone") / "toy")
    done = tool(root, "book", "--fresh", **UNTOLD)
    assert done.returncode == 0, done.stderr
    return root / "_build" / "html"


def soup(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def outside(site, page):
    """Links of a page's header that lead out of the book."""
    links = soup(site / f"{page}.html").select(".bd-header-article a[href]")
    return {link["href"] for link in links if link["href"].startswith("http")}


# ---------------------------------------------------------------- the address


def test_buttons_lead_to_the_file_in_the_branch(hosted):
    links = outside(hosted, "notebooks/10_toy")
    page = "notebooks/10_toy.ipynb"
    assert {PLACE, f"{PLACE}/edit/v1/{page}"} <= links
    assert any(link.startswith(f"{PLACE}/issues/new?") for link in links)
    colab = "https://colab.research.google.com/github/example/a-book/blob/notebooks-v1/"
    assert colab + page in links
    binder = "https://mybinder.org/v2/gh/example/a-book/notebooks-v1?urlpath=lab%2Ftree%2F"
    assert binder + page.replace("/", "%2F") in links


def test_only_notebooks_are_launched(hosted):
    links = outside(hosted, "book/index")
    assert f"{PLACE}/edit/v1/book/index.md" in links
    assert not [link for link in links if "colab" in link or "binder" in link]


def test_without_an_address_there_is_no_button(alone):
    assert not outside(alone, "notebooks/10_toy") and not outside(alone, "book/index")
    assert not (alone / "sitemap.xml").exists()
    assert not soup(alone / "book/index.html").select("[property^=og], link[rel=canonical]")


def test_a_notebook_can_be_downloaded(alone):
    links = soup(alone / "notebooks/10_toy.html").select(".bd-header-article a[href*='.ipynb']")
    assert links
    assert (alone / "notebooks" / links[0]["href"]).resolve().is_file()


def test_site_map_and_card_name_the_address(hosted):
    site = TOLD["BOOK_URL"]
    assert f"<loc>{site}book/index.html</loc>" in (hosted / "sitemap.xml").read_text()
    page = soup(hosted / "book/index.html")
    card = {tag["property"]: tag["content"] for tag in page.select("meta[property^=og]")}
    assert card["og:url"] == site + "book/index.html"
    assert card["og:image"] == site + address.CARD
    assert card["og:description"] == page.select_one("meta[name=description]")["content"]


def test_the_picture_of_the_card_is_that_of_the_landing_page():
    figure = re.search(r"\{figure\} \.\./results/(\S+)", (ROOT / "book/index.md").read_text())
    assert address.CARD == f"_images/{figure[1]}"


@pytest.mark.parametrize("wrong", ["github.com/a/b", 'https://a/b"><script>', "git@github.com:a/b"])
def test_an_address_that_is_none_is_refused(monkeypatch, wrong):
    monkeypatch.setenv("BOOK_REPOSITORY", wrong)
    with pytest.raises(Exception, match="BOOK_REPOSITORY must be an address"):
        address.address("BOOK_REPOSITORY")


def test_another_host_has_binder_alone(monkeypatch):
    monkeypatch.delenv("BOOK_NOTEBOOKS", raising=False)
    monkeypatch.delenv("BOOK_BRANCH", raising=False)
    (button,) = address.launchers("https://git.example.org/a/b", "notebooks/x")
    binder = "https://mybinder.org/v2/git/https%3A%2F%2Fgit.example.org%2Fa%2Fb/main?urlpath="
    assert button["url"] == binder + "lab%2Ftree%2Fnotebooks%2Fx.ipynb"


# ---------------------------------------------------------------- what a page must have

FAULTY = """# First

```{image} ../toy.png
```

```{figure} ../toy.png
:alt: Too short
A caption.
```

```{exercise} Nameless
A sum.
```

# Second
"""


@pytest.fixture(scope="module")
def complaints(toy, hosted, tmp_path_factory):
    """What the build says of a toy book with every fault."""
    root = shutil.copytree(toy, tmp_path_factory.mktemp("faulty") / "toy")
    shutil.copy(ROOT / "results" / "headline.png", root / "toy.png")
    (root / "book" / "faulty.md").write_text(FAULTY, encoding="utf-8")
    toc = root / "_toc.yml"
    toc.write_text(toc.read_text().rstrip() + "\n      - file: book/faulty\n")
    path = root / "notebooks" / "10_toy.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["cells"][1]["metadata"]["tags"] = ["hide-cel"]
    path.write_text(json.dumps(notebook), encoding="utf-8")
    done = tool(root, "book", **UNTOLD)
    assert done.returncode == 1
    return done.stderr


@pytest.mark.parametrize(
    "complaint",
    [
        "book/faulty has no description",
        "notebooks/10_toy, cell 2: unknown tag 'hide-cel'",
        "book/faulty, line 1: the figure toy.png lacks alt text that says what is seen and a caption",
        "book/faulty, line 6: the figure toy.png lacks alt text that says what is seen and a name",
        "book/faulty, line 11: the label of this exercise must be like ex-spectrum-depth",
        "book/faulty has 2 headings of the first level, not one",
    ],
)
def test_a_fault_ends_the_build_and_is_named_with_its_place(complaints, complaint):
    assert complaint in complaints


# ---------------------------------------------------------------- small parts


def test_arrows_of_the_navigation_are_named():
    html = '<a class="x" href="y">1. <em>Odd</em> &amp; even</a><details open="open"><summary>v</summary>'
    assert '<summary aria-label="Sections of 1. Odd &amp; even">' in finish.named_folds(html)


def test_pictures_after_the_first_load_when_they_are_near():
    html = finish.finished('<img src="a"><p><img src="b"><img src="c">')
    assert html == '<img src="a"><p><img loading="lazy" src="b"><img loading="lazy" src="c">'


def test_marks_in_code_that_change_no_color_are_left_out(hosted):
    html = '<pre><span></span><span class="n">x</span><span class="o">=</span><span class="mi">1</span></pre>'
    kept = '<pre><span></span>x<span class="o">=</span><span class="mi">1</span></pre>'
    assert finish.finished(html) == kept
    css = (hosted / "_static" / "pygments.css").read_text(encoding="utf-8")
    for theme in ("light", "dark"):
        block = f'html[data-theme="{theme}"] .highlight'
        color = re.search(rf"{re.escape(block)} {{ background: #\w+; color: (#\w+) }}", css)[1]
        for name in "npw":
            assert f"{block} .{name} {{ color: {color} }}" in css


def test_rules_that_nothing_matches_are_cut():
    css = "/* x */.a,.b:hover{top:0}@media print{.c{top:0}.a:not(.c){top:1px}}.bs-x,.d .a{left:0}"
    kept = lean.cut_sheet(css, {"a"})
    assert kept == ".a{top:0}@media print{.a:not(.c){top:1px}}.bs-x{left:0}"


def test_icons_that_rules_and_variables_draw_are_kept(hosted):
    """The lightbulb of a tip is one: the theme writes it out, in a variable."""
    assert lean.glyphs('.a{content:"\\f0c9"}:root{--b:"\uf0eb"}') == {0xF0C9, 0xF0EB}
    css = (hosted / "_static" / lean.SHEETS[0]).read_text(encoding="utf-8")
    font = lean.TTFont(next(hosted.rglob("fa-solid-900.ttf")))
    assert 0xF0EB in lean.glyphs(css) & font.getBestCmap().keys()


# ---------------------------------------------------------------- citation


def test_the_citation_box_is_that_of_the_citation_file(config):
    """Title, authors, version and year of the book and of the paper."""
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    text = (ROOT / "book" / "index.md").read_text(encoding="utf-8")
    box = " ".join(re.search(r"```bibtex\n(.*?)```", text, re.DOTALL)[1].split())
    book, paper = box.split("@inproceedings")
    assert f"{{{cff['title']}}}" in book
    assert f"{{{{{cff['authors'][0]['name']}}}}}" in book
    assert f"version = {{{cff['version']}}}" in book
    assert f"year = {{{config['copyright']}}}" in book
    (cited,) = cff["references"]
    authors = " and ".join(f"{a['family-names']}, {a['given-names']}" for a in cited["authors"])
    for value in (cited["title"], authors, cited["collection-title"], str(cited["year"])):
        assert f"{{{value}}}" in paper
