"""What is made of pip-audit's report."""

import sys

from conftest import ROOT

sys.path.insert(0, str(ROOT / "deep"))
import audit

WEAK = {"name": "a", "version": "1", "vulns": [{"id": "CVE-0"}]}
SOUND = {"name": "b", "version": "2", "vulns": []}
UNKNOWN = {"name": "c", "skip_reason": "not found"}


def test_a_known_vulnerability_is_counted_and_named():
    found = audit.row([WEAK, SOUND, UNKNOWN])
    assert found["value"] == 1
    assert found["note"] == "2 of 3 pinned packages looked up; a 1: CVE-0"


def test_without_data_nothing_is_recorded(monkeypatch, capsys):
    kept = []
    monkeypatch.setattr(audit, "keep", lambda *row: kept.append(row))
    monkeypatch.setattr(audit, "audited", lambda: [UNKNOWN])
    assert audit.main() == 0 and not kept
    assert "0 of 1" in capsys.readouterr().out


def test_a_network_that_is_cut_is_one_line(monkeypatch, capsys):
    def cut():
        raise OSError("no route")

    monkeypatch.setattr(audit, "audited", cut)
    assert audit.main() == 0
    assert capsys.readouterr().out == "nothing audited: no route\n"
