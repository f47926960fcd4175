"""The built pages in a real browser whose network ends at this machine: one visit a page, and what it showed."""

from __future__ import annotations

import functools
import http.server
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
import yaml
from conftest import ROOT, named

sys.path.insert(0, str(ROOT / "tools"))
import system

HTML = ROOT / "_build" / "html"
PAGES = [*named(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))), "search"]
FLAGS = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking"
FLAGS += " disable-component-update disable-sync"
DESK, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
BAD = ("serious", "critical")

BYTES = """() => ['navigation', 'resource'].flatMap(kind => performance.getEntriesByType(kind))
  .reduce((sum, entry) => sum + entry.encodedBodySize, 0)"""
MATH = """() => [...document.querySelectorAll('article .math')]
  .filter(x => !x.querySelector('mjx-container') || x.querySelector('mjx-merror, [data-mjx-error]'))
  .map(x => x.textContent.slice(0, 80))"""
MISSING_IMAGES = """async () => {
  const images = [...document.querySelectorAll('article img')];
  images.forEach(image => { image.loading = 'eager'; });
  await Promise.all(images.map(image => image.decode().catch(() => null)));
  return images.filter(image => !image.naturalWidth).map(image => image.src);
}"""
WIDER = """() => {
  const width = document.documentElement.clientWidth;
  const scrolls = x => x && (/auto|scroll|hidden/.test(getComputedStyle(x).overflowX) || scrolls(x.parentElement));
  return [...document.querySelectorAll('article *')]
    .filter(x => x.getBoundingClientRect().right > width + 1 && !scrolls(x.parentElement))
    .map(x => `${x.tagName} ${x.className}: ${x.textContent.slice(0, 50)}`).slice(0, 5);
}"""
AT_REST = """() => Promise.all(document.getAnimations()
  .filter(one => one.effect.getComputedTiming().endTime < Infinity)
  .map(one => one.finished.catch(() => null))).then(() => null)"""
PAGE_SCROLLS = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@dataclass
class Visit:
    """What a visit of one page showed that it should not have, and the bytes of its first view."""

    errors: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    unrendered: list[str] = field(default_factory=list)
    missing_images: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    wider_than_phone: list[str] = field(default_factory=list)
    size: int = 0


def the_browser() -> str:
    """Path of the browser; without one the tests are skipped, or fail where tools are required."""
    path = system.browser()
    if path is None:
        reason = "no Chromium is installed: `python3 tools/system.py browser`"
        (pytest.fail if os.environ.get("BOOK_REQUIRE_TOOLS") else pytest.skip)(reason)
    return path


@contextmanager
def launched() -> Iterator[object]:
    """A browser."""
    path = the_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = [f"--{flag}" for flag in FLAGS.split()]
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files and does not print a line for each."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def served() -> Iterator[str]:
    """The address at which the built pages are served from this machine."""
    handler = functools.partial(QuietHandler, directory=str(HTML))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_address[1]}/"
        server.shutdown()


@contextmanager
def opened(browser: object, address: str, **options: object) -> Iterator[tuple[object, Visit]]:
    """A page opened in a profile of its own, with its network cut, and the record of its visit."""
    visit = Visit()
    context = browser.new_context(viewport=DESK, **options)

    def gate(route: object) -> None:
        ours = urlsplit(route.request.url).hostname in (None, "", "localhost")
        route.continue_() if ours else route.abort()

    context.route("**/*", gate)
    page = context.new_page()
    page.on("console", lambda said: visit.errors.append(said.text) if said.type == "error" else 0)
    page.on("pageerror", lambda error: visit.errors.append(str(error)))
    page.on("requestfailed", lambda request: visit.failures.append(request.url))
    page.on("response", lambda got: visit.failures.append(got.url) if got.status >= 400 else 0)
    page.goto(address, wait_until="load")
    yield page, visit
    context.close()


def wait_for_math(page: object) -> None:
    """Until MathJax, where the page has it, has set everything."""
    page.evaluate("async () => { await window.MathJax?.startup?.promise; }")


def violations(page: object) -> list[str]:
    """What axe finds serious or critical, outside of the formulas that MathJax draws."""
    from axe_playwright_python.sync_playwright import Axe

    page.evaluate(AT_REST)  # colors fade in where a theme sets them
    options = {"resultTypes": ["violations"], "preload": False}
    found = Axe().run(page, context={"exclude": [["mjx-container"]]}, options=options)
    return [
        f"{rule['id']}: {node['html'][:160]}"
        for rule in found.response["violations"]
        if rule["impact"] in BAD
        for node in rule["nodes"]
    ]


def look(browser: object, address: str, theme: str) -> Visit:
    """Visit a page in one theme and look at all that can be wrong, at the width of a desk and of a phone."""
    with opened(browser, address, color_scheme=theme) as (page, visit):
        wait_for_math(page)
        visit.size = page.evaluate(BYTES)
        visit.unrendered = page.evaluate(MATH)
        visit.missing_images = page.evaluate(MISSING_IMAGES)
        visit.violations = violations(page)
        page.set_viewport_size(PHONE)
        if page.evaluate(PAGE_SCROLLS):
            visit.wider_than_phone.append("the page scrolls sideways")
        visit.wider_than_phone += page.evaluate(WIDER)
    return visit
