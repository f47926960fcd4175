"""Browser and TeX: installed where they can be, asked for in one line where they cannot."""

import importlib.util
import sys

import pytest
from conftest import ROOT


@pytest.fixture
def system():
    """tools/system.py as a module."""
    spec = importlib.util.spec_from_file_location("system", ROOT / "tools" / "system.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["system"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def calls(system, monkeypatch):
    """A Debian machine without any of the packages, and the calls of its package manager."""
    made = []
    monkeypatch.setattr(system, "may_install", lambda: True)
    monkeypatch.setattr(system, "installed", lambda package: False)
    monkeypatch.setattr(system.shutil, "which", lambda command: None)
    monkeypatch.setattr(system, "apt", lambda *arguments: made.append(arguments))
    return made


def test_what_is_missing_is_installed_after_an_update(system, calls):
    system.provide(system.TEX)
    assert calls == [("update",), ("install", *system.TEX.packages)]


def test_only_what_is_missing_is_installed(system, calls, monkeypatch):
    monkeypatch.setattr(system, "installed", lambda package: package != "xindy")
    system.provide(system.TEX)
    assert calls == [("update",), ("install", "xindy")]


def test_nothing_is_done_where_all_is_there(system, calls, monkeypatch):
    monkeypatch.setattr(system, "installed", lambda package: True)
    system.provide(system.TEX)
    system.provide(system.BROWSER)
    assert not calls


def test_a_browser_of_another_source_suffices(system, calls, monkeypatch):
    monkeypatch.setattr(system.shutil, "which", lambda name: name if "google" in name else None)
    system.provide(system.BROWSER)
    assert not calls
    assert system.browser() == "google-chrome"


def test_who_may_not_install_is_told_what_to_install(system, calls, monkeypatch, capsys):
    monkeypatch.setattr(system, "may_install", lambda: False)
    assert system.main(["tex"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: TeX for the PDF is missing") and "texlive-xetex" in line
    assert not calls


def test_programs_of_another_source_suffice_to_who_may_not_install(system, calls, monkeypatch):
    monkeypatch.setattr(system, "may_install", lambda: False)
    monkeypatch.setattr(system.shutil, "which", lambda command: command)
    system.provide(system.TEX)
    assert not calls


def test_a_package_manager_that_fails_gives_its_reason(system, monkeypatch):
    monkeypatch.setattr(
        system, "APT", [sys.executable, "-c", "import sys; sys.exit('no such host')"]
    )
    with pytest.raises(system.MissingError, match="apt-get update failed: no such host"):
        system.apt("update")


def test_an_unknown_tool_is_named(system, capsys):
    assert system.main(["browsers"]) == 2
    assert "'browsers'" in capsys.readouterr().err


def test_the_build_server_requires_both(root):
    run = (root / ".ci" / "run").read_text(encoding="utf-8")
    assert "tools/system.py browser tex" in run and "BOOK_REQUIRE_TOOLS=1" in run
