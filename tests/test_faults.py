"""A few of the deep tests' kills and damaged files, and disks that are full or closed; the rest is in ``deep/``."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "deep"))
import faults
import fuzz

posix = pytest.mark.skipif(os.name == "nt", reason="signals and limits are POSIX")


# --- damaged files ----------------------------------------------------------------------------------


def damaged(content, rng):
    """A whole file, cut, altered in a few places, or with a part of it moved."""
    raw = bytearray(content)
    kind = rng.integers(3)
    if kind == 0:
        del raw[rng.integers(len(raw)) :]
    elif kind == 1:
        for place in rng.integers(len(raw), size=rng.integers(1, 9)):
            raw[place] = rng.integers(256)
    else:
        start, end = np.sort(rng.integers(len(raw), size=2))
        raw[:0] = raw[start:end]
    return bytes(raw)


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_readers_refuse_damaged_files_by_their_own_error(tmp_path, name):
    rng = np.random.default_rng(3)
    contents = fuzz.seeds(name, tmp_path)
    for content in contents:
        fuzz.TARGETS[name](content, tmp_path)
    for _ in range(150):
        fuzz.TARGETS[name](damaged(contents[rng.integers(len(contents))], rng), tmp_path)


def test_another_error_is_not_taken_for_a_refusal():
    with pytest.raises(ZeroDivisionError):
        fuzz.refused(ValueError, lambda: 1 / 0)


def test_a_member_without_an_arrays_header_is_refused(tmp_path):
    fuzz.npz(b"\xff" + fuzz.npy(fuzz.SMALL) + b"no array", tmp_path)


# --- kills ------------------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("name", ["sweep", "download", "result"])
def test_killed_writers_recover(name):
    with faults.serving() as place:
        (writer,) = [writer for writer in faults.writers(place) if writer.name == name]
        assert faults.measure(writer, times=2, seed=4) == []


@posix
def test_a_writer_that_leaves_half_a_file_is_noticed(tmp_path):
    code = (
        "import sys, time; open(sys.argv[1] + '/b', 'x').close(); time.sleep(0.5)\n"
        "open(sys.argv[1] + '/a', 'w').write('x')"
    )
    half = faults.Writer("half", lambda folder: [sys.executable, "-c", code, str(folder)])
    assert any("ends with 1" in failure for failure in faults.measure(half, times=4, seed=0))


@posix
def test_a_process_that_outlives_its_parent_is_noticed(monkeypatch):
    monkeypatch.setattr(faults, "PATIENCE", 0.5)
    monkeypatch.setattr(faults, "SIGNALS", (faults.signal.SIGKILL,))
    code = (
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', 'import time; time.sleep(3)'])"
    )
    careless = faults.Writer("careless", lambda _: [sys.executable, "-c", code])
    found = faults.once(careless, {}, 1e-9, LateRandom())
    assert found == "SIGKILL leaves 1 processes"


class LateRandom:
    """Kills late enough for a child to have been started."""

    bytes = staticmethod(os.urandom)
    uniform = staticmethod(lambda *_: 1.0)
    integers = staticmethod(lambda _: 0)


# --- disks that are full or closed -------------------------------------------------------------------


def run_limited(code, folder, before):
    """Run some Python in a folder, under a limit set beforehand."""
    call = [sys.executable, "-c", code]
    settings = {"cwd": folder, "preexec_fn": before, "capture_output": True, "text": True}
    return subprocess.run(call, timeout=120, check=False, **settings)


def no_room():
    """Files may have 1000 bytes: what is longer fails in the midst of writing, as on a full disk."""
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


SAVE = (
    "from pathlib import Path\n"
    "from helpers import sweeps\n"
    "try: sweeps.save({'parameters': 1, 'values': [0.5] * 5000}, 'a', Path('.'))\n"
    "except OSError as error: print(error.errno)"
)


@posix
def test_a_full_disk_leaves_the_old_result_and_no_half_file(tmp_path):
    (tmp_path / "a.json").write_text("old")
    done = run_limited(SAVE, tmp_path, no_room)
    assert done.stdout.strip() == str(errno.EFBIG), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "old"


@posix
def test_a_closed_folder_is_one_line_of_the_build(tmp_path):
    book = tmp_path / "book"
    faults.toy_book(book)
    call = faults.build(book)
    if os.getuid() == 0:  # who may write wherever there is a disk that takes it
        if sys.platform != "linux" or not shutil.which("unshare"):
            pytest.skip("root is kept from writing by a mount of Linux only")
        mount = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
        call = ["unshare", "--mount", "sh", "-c", mount, str(book), *call]
    book.chmod(0o555)
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    book.chmod(0o755)
    if "unshare failed" in done.stderr:
        pytest.skip("mounts are not allowed here")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert "_build" in done.stderr


@posix
def test_a_full_disk_is_one_line_of_the_build(tmp_path):
    book = tmp_path / "book"
    faults.toy_book(book)
    call = faults.build(book)
    done = subprocess.run(call, preexec_fn=no_room, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "Traceback" not in done.stderr, done.stderr
    assert not list(Path(book).rglob("*.partial"))
