"""A sentence for each page, for search engines and for who shares a link: ``book/descriptions.yml``.

A page without one fails the build, and so does a sentence that is too short, too long or of another page.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import yaml
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

TABLE = "book/descriptions.yml"
SHORTEST, LONGEST = 50, 200
logger = logging.getLogger(__name__)
Context = dict[str, Any]


def read(root: str | Path) -> dict[str, str]:
    """The table: page, without its ending, to sentence."""
    path = Path(root, TABLE)
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}


def check(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn, which ends the build, of each page without its sentence."""
    table = read(app.srcdir)
    for page in sorted(env.found_docs):
        length = len(table.get(page, ""))
        if not length:
            logger.warning("%s has no description: write a sentence into %s", page, TABLE)
        elif not SHORTEST <= length <= LONGEST:
            logger.warning(
                "%s: its description in %s has %d characters, not %d to %d",
                *(page, TABLE, length, SHORTEST, LONGEST),
            )


def describe(app: Sphinx, page: str, template: str, context: Context, doctree: object) -> None:
    """Write the sentence into the head of its page, and into the card of a shared link."""
    if sentence := app.config.book_descriptions.get(page):
        tag = f'<meta name="description" content="{escape(sentence)}" />\n'
        context["metatags"] = context.get("metatags", "") + tag
        if isinstance(context.get("meta"), dict):
            context["meta"]["og:description"] = escape(sentence)


def load(app: Sphinx, config: Any) -> None:
    """Read the table once, as a value of the configuration: pages are written anew when it changes."""
    config.book_descriptions = read(app.srcdir)


def setup(app: Sphinx) -> dict[str, bool]:
    """The table is read before the pages, and written before the card is."""
    app.add_config_value("book_descriptions", {}, "html", [dict])
    app.connect("config-inited", load)
    app.connect("env-check-consistency", check)
    app.connect("html-page-context", describe, priority=100)
    return {"parallel_read_safe": True}
