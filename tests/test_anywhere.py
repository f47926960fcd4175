"""A notebook prints the same wherever it is executed; ``deep/anywhere.py`` tries them all."""

import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "deep"))
import anywhere


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """All circumstances at once."""
    folder = tmp_path_factory.mktemp("locales")
    if not anywhere.can_cut() or not anywhere.compile_locale(folder):
        pytest.skip("needs Linux with localedef and a user who may unshare networks")
    return anywhere.circumstances(folder)[-1]


def test_the_same_text_under_all_circumstances_at_once(everything):
    assert anywhere.differences("31_rate.ipynb", everything) == ""


def test_another_text_is_noticed():
    stored = anywhere.texts(anywhere.read("31_rate.ipynb"))
    assert anywhere.difference(stored, stored) == ""
    assert "prints" in anywhere.difference(["something else", *stored[1:]], stored)
    assert "fewer" in anywhere.difference(stored[:-1], stored)


def test_a_failing_notebook_is_named_with_its_error(everything):
    assert anywhere.differences("no_such.ipynb", everything).startswith("fails: ")
