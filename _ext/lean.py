"""Leave out of the theme what no page uses: of icons, of rules in style sheets, and maps for debuggers.

The theme draws icons by a script of 1.5 MB or by three fonts; the layout in ``templates/`` leaves the script out,
and here fonts and style sheets are cut to the names that occur in the built pages and scripts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont
from sphinx.application import Sphinx

SHEETS = ("styles/pydata-sphinx-theme.css", "sphinx-design.min.css", "mystnb.*.css")
NAME = re.compile(r"[\w-]+")
CLASS = re.compile(r"\.((?:[\w-]|\\.)+)")
NEGATED = re.compile(r":(?:not|is|where|has)\([^()]*(?:\([^()]*\)[^()]*)*\)")
BLOCK = re.compile(r"(?P<head>[^{}]+)\{(?P<body>[^{}]*)\}")
GLYPH = re.compile(r"\\([0-9a-f]{4})\b")
WOFF2 = re.compile(r'url\([^()]*\.woff2\) format\("woff2"\),')
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def names(site: Path) -> set[str]:
    """All words of the pages and scripts: every class that they use is one."""
    texts = [path for path in site.rglob("*") if path.suffix in (".html", ".js")]
    unread = ("searchindex.js", "fontawesome.js")  # every word of the book, and every icon there is
    return {
        name
        for path in texts
        if path.name not in unread
        for name in NAME.findall(path.read_text(encoding="utf-8"))
    }


def selectors(head: str) -> Iterator[str]:
    """The selectors of a rule, split at commas outside of brackets."""
    depth, start = 0, 0
    for place, sign in enumerate(head):
        depth += (sign in "([") - (sign in ")]")
        if sign == "," and not depth:
            yield head[start:place]
            start = place + 1
    yield head[start:]


def may_match(selector: str, used: set[str]) -> bool:
    """Whether all classes that a selector asks for occur; Bootstrap composes those that begin with ``bs-``."""
    wanted = CLASS.findall(NEGATED.sub("", selector))
    return all(name.replace("\\", "") in used or name.startswith("bs-") for name in wanted)


def cut_sheet(css: str, used: set[str]) -> str:
    """The style sheet without the rules that nothing can match."""

    def cut(block: re.Match[str]) -> str:
        head, body = block["head"], block["body"]
        if head.lstrip().startswith("@") or re.fullmatch(r"\s*(from|to|[\d.%,\s]+)\s*", head):
            return block[0]  # a font, or a step of an animation
        kept = [one for one in selectors(head) if may_match(one, used)]
        return f"{','.join(kept)}{{{body}}}" if kept else ""

    return WOFF2.sub("", BLOCK.sub(cut, COMMENT.sub("", css)))


def glyphs(css: str) -> set[int]:
    """Code points of the icons that a style sheet draws, written out or escaped, in rules or variables."""
    written_out = {ord(sign) for sign in css if "\ue000" <= sign <= "\uf8ff"}  # for private use
    return written_out | {int(point, 16) for point in GLYPH.findall(css)}


def cut_font(path: Path, points: set[int]) -> None:
    """Leave in a font the glyphs of these code points."""
    font = TTFont(path)
    cutter = subset.Subsetter(subset.Options(notdef_outline=True))
    cutter.populate(unicodes=points)
    cutter.subset(font)
    font.save(path)


def cut(app: Sphinx, error: Exception | None) -> None:
    """Cut style sheets and fonts, and drop what nothing loads any more."""
    static = Path(app.outdir) / "_static"
    if error or app.builder.name != "html" or not (static / SHEETS[0]).exists():
        return
    used = names(Path(app.outdir))
    for sheet in [path for pattern in SHEETS for path in static.glob(pattern)]:
        sheet.write_text(cut_sheet(sheet.read_text(encoding="utf-8"), used), encoding="utf-8")
    css = "".join(path.read_text(encoding="utf-8") for path in static.rglob("*.css"))
    for font in static.rglob("webfonts/*.ttf"):
        cut_font(font, glyphs(css))
    unused = {*static.rglob("webfonts/*.woff2"), *static.rglob("*.map")}
    for path in unused | {*static.glob("scripts/fontawesome.js*")}:
        path.unlink()


def setup(app: Sphinx) -> dict[str, bool]:
    """Cut when all pages are written."""
    app.connect("build-finished", cut, priority=900)
    return {"parallel_read_safe": True}
