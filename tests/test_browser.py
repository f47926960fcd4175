"""Every page in a browser, in the light theme, without scripts and without a server; ``make test`` builds them first."""

from functools import cache

import browsing
import pytest
from browsing import HTML, PAGES

FIRST_VIEW = 1_500_000  # bytes
TEXT = """() => {
  const copy = document.querySelector('article').cloneNode(true);
  copy.querySelectorAll('script').forEach(script => script.remove());
  return copy.textContent;
}"""

each_page = pytest.mark.parametrize("page", PAGES)


@pytest.fixture(scope="module")
def browser():
    with browsing.launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def site():
    with browsing.served() as address:
        yield address


@pytest.fixture(scope="module")
def look(browser, site):
    """Each page is looked at once."""
    return cache(lambda page: browsing.look(browser, f"{site}{page}.html", "light"))


@each_page
def test_nothing_goes_wrong_and_nothing_is_asked_of_another_host(look, page):
    assert not look(page).errors
    assert not look(page).failures


@each_page
def test_all_math_is_rendered_and_all_images_are_there(look, page):
    assert not look(page).unrendered
    assert not look(page).missing_images


@each_page
def test_readers_with_a_keyboard_or_a_screen_reader_find_their_way(look, page):
    assert not look(page).violations


@each_page
def test_text_fits_a_phone(look, page):
    assert not look(page).wider_than_phone


@each_page
def test_first_view_is_small(look, page):
    assert 50_000 < look(page).size < FIRST_VIEW


@each_page
def test_a_reader_without_scripts_gets_text_math_and_figures(browser, site, page):
    if page == "search":
        pytest.skip("searching takes a script")
    with browsing.opened(browser, f"{site}{page}.html", java_script_enabled=False) as (tab, visit):
        seen = "".join(tab.inner_text("article").split())
        held = "".join(tab.evaluate(TEXT).split())
        math = tab.evaluate("() => document.querySelectorAll('article .math').length")
        assert len(seen) > 0.8 * len(held)  # what is folded unfolds without scripts too
        assert seen.count("\\(") + seen.count("\\[") >= 0.9 * math
        assert not tab.evaluate(browsing.MISSING_IMAGES)
    assert not visit.failures


@pytest.mark.parametrize(
    "page", ["index", "book/index", "book/implicit_ck", "notebooks/35_spectrum"]
)
def test_pages_open_from_a_folder(browser, page):
    with browsing.opened(browser, (HTML / f"{page}.html").as_uri()) as (tab, visit):
        tab.wait_for_selector("article h1")
        browsing.wait_for_math(tab)
        assert not tab.evaluate(browsing.MATH)
        assert not tab.evaluate(browsing.MISSING_IMAGES)
    assert not visit.errors
    assert not visit.failures


def test_search_finds_a_word(browser, site):
    with browsing.opened(browser, f"{site}search.html?q=resolvent") as (tab, visit):
        tab.wait_for_selector("#search-results li a")
        hits = tab.locator("#search-results li a").all_inner_texts()
    assert any("Random matrices" in hit for hit in hits)
    assert not visit.errors


def test_the_button_changes_the_theme_and_it_lasts(browser, site):
    with browsing.opened(browser, f"{site}book/index.html", color_scheme="light") as (tab, _):
        theme = "() => document.documentElement.dataset.theme"
        for _ in range(3):
            if tab.evaluate(theme) == "dark":
                break
            tab.locator("button.theme-switch-button:visible").first.click()
        assert tab.evaluate(theme) == "dark"
        tab.reload()
        assert tab.evaluate(theme) == "dark"


@pytest.mark.parametrize("how", ["hover", "focus"])
def test_a_reference_shows_what_it_leads_to(browser, how):
    """Also across pages, and from a folder; with its math set, and until Escape."""
    page = (HTML / "notebooks" / "31_rate.html").as_uri()
    with browsing.opened(browser, page) as (tab, visit):
        browsing.wait_for_math(tab)
        link = tab.locator("article a.reference.internal[href*='#thm-implicit-ck']").first
        if how == "hover":
            link.hover()
        else:
            tab.keyboard.press("Tab")  # focus is by the keyboard from here on
            link.focus()
        tab.wait_for_selector("#tip:visible mjx-container")
        assert "Theorem 4.1" in tab.inner_text("#tip")
        assert not tab.locator("#tip [id]:not(mjx-container *)").count()
        tab.keyboard.press("Escape")
        assert not tab.is_visible("#tip")
    assert not visit.errors
    assert not visit.failures
