"""The slides in a browser, without network: everything is drawn, every slide fits its screen, and keys turn them."""

import sys

import browsing
import pytest
from browsing import HTML
from conftest import ROOT

sys.path.insert(0, str(ROOT / "_ext"))
import slides

SCREEN = {"width": 1280, "height": 720}
WRONG = """() => [...document.querySelectorAll('.slide')].flatMap(slide => {
  const body = slide.querySelector('.body');
  const wrong = {
    'is higher than the screen': body.scrollHeight > body.clientHeight + 1,
    'is wider than the screen': body.scrollWidth > body.clientWidth + 1,
    'has small print': Number(slide.style.getPropertyValue('--fit')) < 0.55,
    'has a formula that is not set': [...body.querySelectorAll('.math')]
      .some(math => !math.querySelector('mjx-container') || math.querySelector('mjx-merror')),
    'lacks a picture': [...body.querySelectorAll('img')].some(image => !image.naturalWidth),
  };
  return Object.keys(wrong).filter(what => wrong[what]).map(what => `slide ${slide.id} ${what}`);
})"""
DECKS = sorted(slides.chapters(ROOT))


@pytest.fixture(scope="module")
def browser():
    with browsing.launched() as browser:
        yield browser


def opened(browser, deck, theme="light"):
    """A deck, as a reader opens it from the folder."""
    address = (HTML / "slides" / f"{deck}.html").as_uri()
    return browsing.opened(browser, address, color_scheme=theme)


def ready(tab):
    """Wait until formulas are set and slides are fitted."""
    tab.set_viewport_size(SCREEN)
    tab.wait_for_selector("html[data-ready]", state="attached", timeout=120_000)


@pytest.mark.parametrize("deck", DECKS)
def test_every_slide_is_whole(browser, deck):
    with opened(browser, deck) as (tab, visit):
        ready(tab)
        assert not tab.evaluate(WRONG)
    assert not visit.errors
    assert not visit.failures


def test_keys_turn_slides(browser):
    with opened(browser, "implicit_ck") as (tab, _):
        ready(tab)
        last = tab.evaluate("() => document.querySelectorAll('.slide').length")
        for key, place in [("ArrowRight", 2), ("Space", 3), ("PageUp", 2), ("End", last)]:
            tab.keyboard.press(key)
            tab.wait_for_function(f"() => location.hash === '#{place}'")
        tab.keyboard.press("d")
        assert tab.evaluate("() => document.documentElement.dataset.theme") == "dark"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_slides_are_accessible(browser, theme):
    with opened(browser, "real_data", theme) as (tab, _):
        ready(tab)
        assert not browsing.violations(tab)
