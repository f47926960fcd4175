"""What the directives of this book share: they write Markdown, and the parser of the page reads it."""

from __future__ import annotations

import re

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective


class MarkdownDirective(SphinxDirective):
    """A directive that is replaced by lines of Markdown."""

    def parsed(self, lines: list[str]) -> list[nodes.Node]:
        """Nodes of some lines of Markdown."""
        holder = nodes.container()
        self.state.nested_parse(StringList(lines, self.name), self.content_offset, holder)
        return holder.children


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a table; its cells are Markdown."""
    return [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]]


def escape(text: str) -> str:
    """Text without meaning to Markdown."""
    return re.sub(r"([\\|*_$`<\[\]{}])", r"\\\1", text)
