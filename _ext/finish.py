"""Last touches on each page: what the theme and its extensions leave undone for readers with a keyboard, a screen
reader or a slow line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape, unescape
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

TEMPLATES = Path(__file__).parent / "templates"
FOLD = re.compile(r"(<a [^>]*>)(.*?)(</a>\s*<details[^>]*>)\s*<summary>", re.DOTALL)
NOT_UNIQUE = re.compile(r' id="(?:proof|(?:proof|exercise|solution)-content)"')  # once a theorem
TAG = re.compile(r"<[^>]*>")
IMAGE = re.compile(r"<img (?![^>]*\bloading=)")
PLAIN_CODE = re.compile(r'<span class="[npw]">([^<]*)</span>')  # names, punctuation, space
Context = dict[str, Any]


def named_folds(html: str) -> str:
    """The navigation with each unfolding arrow named after its chapter."""

    def name(match: re.Match[str]) -> str:
        title = escape(unescape(TAG.sub("", match[2])).strip(), quote=True)
        return f'{match[1]}{match[2]}{match[3]}<summary aria-label="Sections of {title}">'

    return FOLD.sub(name, html)


def finished(body: str) -> str:
    """The text of a page with roles that browsers accept, pictures that load when they are near, and lean code."""
    body = NOT_UNIQUE.sub("", body)
    # marks that give code the color it has anyway are two of three, and a third of a notebook's page
    body = PLAIN_CODE.sub(r"\1", body)
    body = body.replace(' role="doc-biblioentry"', "")
    body = body.replace('<div role="list" class="citation-list">', '<div class="citation-list">')
    first, *rest = IMAGE.split(body)
    return "<img ".join([first, *rest[:1]]) + "".join(f'<img loading="lazy" {x}' for x in rest[1:])


def without_thebe(files: list[Any]) -> list[Any]:
    """Scripts or style sheets without those of Thebe, which would need a server (and declare a name twice)."""
    return [
        file for file in files if "thebe" not in f"{file} {getattr(file, 'attributes', '')}".lower()
    ]


def finish(app: Sphinx, page: str, template: str, context: Context, doctree: object) -> None:
    """Change what the templates are about to write."""
    for kind in ("script_files", "css_files"):
        context[kind] = without_thebe(context[kind])
    if "body" in context:
        context["body"] = finished(context["body"])
    if navigation := context.get("generate_toctree_html"):
        context["generate_toctree_html"] = with_named_folds(navigation)


def with_named_folds(navigation: Callable[..., Any]) -> Callable[..., Any]:
    """The theme's navigation, with its arrows named in the sidebar."""

    def named(*arguments: Any, **options: Any) -> Any:
        made = navigation(*arguments, **options)
        return named_folds(str(made)) if options.get("kind") == "sidebar" else made

    return named


def prepare(app: Sphinx, config: Any) -> None:
    """Our layout before the theme's."""
    config.templates_path = [*config.templates_path, str(TEMPLATES)]


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect after the theme, whose functions it wraps."""
    app.connect("config-inited", prepare)
    app.connect("html-page-context", finish, priority=900)
    return {"parallel_read_safe": True}
