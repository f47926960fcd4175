"""Where the book is hosted, told by the environment: without it, no button leads to a place that may not exist.

``BOOK_REPOSITORY``
    Address of the repository: gives the buttons *repository*, *edit* and *issue*, and on notebook pages those
    for Binder and, for a repository on GitHub, Colab.
``BOOK_BRANCH``
    Branch or tag that these lead to; ``main`` if it is not set.
``BOOK_NOTEBOOKS``
    Branch or tag for Colab and Binder alone, where notebooks are published apart; as ``BOOK_BRANCH`` if not set.
``BOOK_URL``
    Address of the pages: gives the site map, the canonical links and the card shown where a page is shared.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ConfigError

CARD = "_images/headline.png"
CARD_TEXT = (
    "The eigenvalues of a deep equilibrium model's kernel, and exactly on them those of two layers."
)
Context = dict[str, Any]


def address(name: str) -> str | None:
    """The https address in a variable, without a final slash, or None where it is not set."""
    value = os.environ.get(name, "").strip().rstrip("/")
    value = value.removesuffix(".git")
    if value and not re.fullmatch(r"https?://[\w.:-]+(/[\w.~-]+)*", value):
        raise ConfigError(
            f"{name} must be an address such as https://example.org/a/b, not {value!r}"
        )
    return value or None


def branch() -> str:
    """The branch or tag that buttons lead to."""
    return os.environ.get("BOOK_BRANCH", "").strip() or "main"


def set_buttons(app: Sphinx, config: Config) -> None:
    """Hand the repository's address to the theme."""
    repository = address("BOOK_REPOSITORY")
    options = config.html_theme_options
    options["repository_url"] = repository or ""
    options["repository_branch"] = branch()
    for button in ("repository", "edit_page", "issues"):
        options[f"use_{button}_button"] = bool(repository)


def set_site(app: Sphinx, config: Config) -> None:
    """Hand the address of the pages to the site map and to the card."""
    if url := address("BOOK_URL"):
        config.html_baseurl = config.ogp_site_url = f"{url}/"
        config.ogp_image, config.ogp_image_alt = CARD, CARD_TEXT
        config.ogp_use_first_image = False
        config.ogp_enable_meta_description = False  # _ext/descriptions.py gives each page its own
        config.sitemap_url_scheme = "{link}"
        config.sitemap_show_lastmod = False


def launchers(repository: str, page: str) -> list[dict[str, str]]:
    """Buttons that open a notebook on Colab and Binder, as the theme's header takes them."""
    place = repository.removeprefix("https://").split("/")
    where = quote(os.environ.get("BOOK_NOTEBOOKS", "").strip() or branch(), safe="")
    path = "/".join(place[1:])
    if place[0] == "github.com":
        colab = f"https://colab.research.google.com/github/{path}/blob/{where}/{page}.ipynb"
        binder = f"https://mybinder.org/v2/gh/{path}/{where}"
        found = [("Colab", colab, "_static/images/logo_colab.png")]
    else:
        binder = f"https://mybinder.org/v2/git/{quote(repository, safe='')}/{where}"
        found = []
    binder += f"?urlpath={quote(f'lab/tree/{page}.ipynb', safe='')}"
    found.append(("Binder", binder, "_static/images/logo_binder.svg"))
    keys = ("text", "url", "icon", "tooltip")
    rows = [(name, link, icon, f"Launch on {name}") for name, link, icon in found]
    return [{"type": "link"} | dict(zip(keys, row, strict=True)) for row in rows]


def add_launchers(app: Sphinx, page: str, template: str, context: Context, doctree: object) -> None:
    """A group of launch buttons on a page that is a notebook."""
    repository = address("BOOK_REPOSITORY")
    is_notebook = doctree and Path(app.env.doc2path(page)).suffix == ".ipynb"
    if repository and is_notebook and "header_buttons" in context:
        group = {"type": "group", "icon": "fas fa-rocket", "label": "launch-buttons"}
        group |= {"tooltip": "Launch interactive content", "buttons": launchers(repository, page)}
        context["header_buttons"].insert(0, group)


def setup(app: Sphinx) -> dict[str, bool]:
    """Site map and card are loaded only where the pages have an address."""
    if address("BOOK_URL"):
        app.setup_extension("sphinx_sitemap")
        app.setup_extension("sphinxext.opengraph")
    app.connect("config-inited", set_buttons, priority=100)
    app.connect("config-inited", set_site, priority=100)
    app.connect("html-page-context", add_launchers, priority=600)
    return {"parallel_read_safe": True}
