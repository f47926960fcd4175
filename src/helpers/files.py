"""Files that are there whole or not at all, whatever happens to the process that writes them."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

__all__ = ["whole"]

ENDING = ".partial"


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A private place to write a file to, which is moved to its own place when all of it is on the disk.

    The place lies in a hidden folder beside `path`, so that the move is one step. When the body fails,
    nothing is moved and nothing stays; what a killed process left behind, the next one to write the
    same file removes.

    Parameters
    ----------
    path : Path
        Where the file is to be. Its folder must exist. A file that is there is replaced at the very end.

    Yields
    ------
    Path
        Of the same name, in the hidden folder. The body must make this file.

    Raises
    ------
    OSError
        If the file cannot be written or moved; the one that was there is left as it was.
    """
    _remove_leftovers(path)
    folder = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}{ENDING}")
    folder.mkdir()
    try:
        yield folder / path.name
        _flush(folder / path.name)
        os.replace(folder / path.name, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _flush(path: Path) -> None:
    """See to it that a crash of the machine does not leave a moved and empty file."""
    with open(path, "r+b") as file:
        os.fsync(file.fileno())


def _remove_leftovers(path: Path) -> None:
    """Folders of processes that are gone."""
    head = f".{path.name}."
    for left in path.parent.glob(f"{glob.escape(head)}*{ENDING}"):
        number = left.name.removeprefix(head).split(".")[0]
        if number.isdecimal() and not psutil.pid_exists(int(number)):
            shutil.rmtree(left, ignore_errors=True)
