"""Files that are there whole or not at all."""

import os
import subprocess
import sys

import pytest

from helpers.files import whole


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_its_body_is_done(tmp_path):
    path = tmp_path / "a.txt"
    with whole(path) as place:
        place.write_text("all of it")
        assert not path.exists()
    assert path.read_text() == "all of it"
    assert entries(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
def test_a_body_that_fails_leaves_what_was_there(tmp_path, failure):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(failure), whole(path) as place:
        place.write_text("half of")
        raise failure
    assert path.read_text() == "old"
    assert entries(tmp_path) == ["a.txt"]


def test_a_body_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), whole(tmp_path / "a.txt"):
        pass
    assert not entries(tmp_path)


def test_leftovers_of_processes_that_are_gone_are_removed_and_no_others(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    ours = [f".a[1].txt.{gone.pid}.00.partial", ".a[1].txt.x.00.partial", ".b.txt.0.00.partial"]
    alive = f".a[1].txt.{os.getpid()}.00.partial"
    for name in (*ours, alive):
        (tmp_path / name).mkdir()
    with whole(tmp_path / "a[1].txt") as place:
        place.write_text("x")
    assert entries(tmp_path) == sorted([*ours[1:], alive, "a[1].txt"])
