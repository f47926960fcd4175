"""Every page in a browser, in the dark theme: what differs from the light one is colors."""

from functools import cache

import browsing
import pytest
from browsing import PAGES


@pytest.fixture(scope="module")
def look():
    """Each page is looked at once."""
    with browsing.launched() as browser, browsing.served() as site:
        yield cache(lambda page: browsing.look(browser, f"{site}{page}.html", "dark"))


@pytest.mark.parametrize("page", PAGES)
def test_the_dark_page_is_as_sound_and_legible(look, page):
    visit = look(page)
    assert not visit.errors
    assert not visit.failures
    assert not visit.unrendered
    assert not visit.violations
