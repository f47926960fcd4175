"""Execute notebooks under other circumstances and compare their text: ``python deep/anywhere.py``.

One thread and two, a second run, another working folder, a locale with a decimal comma, a home that cannot be
written, a path with spaces and accents, no network: each on a seeded sample of the notebooks, and all of it at once on
every notebook. What they print must be what is stored. The counts go to ``results/deep/anywhere.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))
import make

NEEDED = ("notebooks", "src", "data", "results", "book")
MARK = "pyproject.toml"  # by which the package knows that it lies in the book's folder
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
IGNORED = "nbval-ignore-output"
LOCALE = "de_DE"


@dataclass(frozen=True)
class Circumstance:
    """How a notebook is executed.

    Attributes
    ----------
    name : str
    environment : dict of str
        Variables that differ from the usual ones.
    from_root : bool
        Work in the folder of the book, not in that of the notebooks.
    moved : bool
        Execute a copy of the book, in a path with spaces and accents.
    cut : bool
        Without a network: in a namespace of Linux that has none.
    """

    name: str
    environment: dict[str, str] = field(default_factory=dict)
    from_root: bool = False
    moved: bool = False
    cut: bool = False


def circumstances(locales: Path) -> list[Circumstance]:
    """All of them; the last one is all at once."""
    two = dict.fromkeys(THREADS, "2")
    comma = {"LC_ALL": f"{LOCALE}.UTF-8", "LANG": f"{LOCALE}.UTF-8", "LOCPATH": str(locales)}
    no_home = {"HOME": "/proc", "XDG_CACHE_HOME": "/proc", "XDG_CONFIG_HOME": "/proc"}
    again = {"PYTHONHASHSEED": "7"}
    return [
        Circumstance("one thread"),
        Circumstance("two threads", two),
        Circumstance("a second run, another hash seed", again),
        Circumstance("from the root", from_root=True),
        Circumstance("a decimal comma", comma),
        Circumstance("a home that cannot be written", no_home),
        Circumstance("a path with spaces and accents", moved=True),
        Circumstance("no network", cut=True),
        Circumstance("all at once", two | comma | no_home | again, True, True, True),
    ]


def compile_locale(folder: Path) -> bool:
    """Make the locale in a folder of our own; whether this machine can."""
    if not shutil.which("localedef"):
        return False
    command = ["localedef", "-i", LOCALE, "-f", "UTF-8", str(folder / f"{LOCALE}.UTF-8")]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def can_cut() -> bool:
    """Whether a process without a network can be made here."""
    command = ["unshare", "--net", "true"]
    found = sys.platform == "linux" and shutil.which("unshare")
    return bool(found) and subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def copied(moved: bool) -> Iterator[Path]:
    """The book, or a copy of it in a path that is hard on programs."""
    if not moved:
        yield ROOT
        return
    with tempfile.TemporaryDirectory(prefix="Bücher, größer ") as name:
        for part in NEEDED:
            shutil.copytree(ROOT / part, Path(name, part))
        shutil.copy(ROOT / MARK, name)
        yield Path(name)


# --- one notebook -----------------------------------------------------------------------------------


def texts(notebook: NotebookNode) -> list[str]:
    """All text that the cells leave, but that of cells which show times."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type != "code" or IGNORED in cell.metadata.get("tags", []):
            continue
        for output in cell.outputs:
            data = {k: v for k, v in output.get("data", {}).items() if not k.startswith("image/")}
            content = [output.get("text"), data, output.get("metadata", {}).get("claim")]
            found.append(json.dumps(content, sort_keys=True))
    return found


def bring_up_loopback() -> None:
    """A new namespace has no network but a loopback that is down, and a kernel talks through it."""
    import fcntl
    import socket
    import struct

    names = [name for _, name in socket.if_nameindex()]
    if names != ["lo"]:
        raise RuntimeError(f"the network is not cut: {', '.join(names)}")
    with socket.socket() as handle:
        fcntl.ioctl(handle, 0x8914, struct.pack("16sH14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP


def execute(path: Path, folder: Path) -> list[str]:
    """Text of a notebook, executed in a folder."""
    notebook = nbformat.read(path, as_version=4)
    settings = {"kernel_name": "python3", "timeout": 600, "coalesce_streams": True}
    NotebookClient(notebook, resources={"metadata": {"path": str(folder)}}, **settings).execute()
    return texts(notebook)


def differences(notebook: str, circumstance: Circumstance) -> str:
    """What differs from the stored text, or nothing."""
    with copied(circumstance.moved) as root:
        path = root / "notebooks" / notebook
        folder = root if circumstance.from_root else path.parent
        command = [sys.executable, __file__, "--one", str(path), str(folder)]
        if circumstance.cut:
            command = ["unshare", "--net", *command, "--cut"]
        environment = make.surroundings(make.Book(root)) | {"PYTHONPATH": str(root / "src")}
        environment |= circumstance.environment
        done = subprocess.run(
            command, env=environment, capture_output=True, encoding="utf-8", check=False
        )
    if done.returncode:
        return f"fails: {(done.stderr.strip() or '?').splitlines()[-1]}"
    return difference(json.loads(done.stdout.splitlines()[-1]), texts(read(notebook)))


def difference(found: list[str], stored: list[str]) -> str:
    """The first place where two lists of texts differ, or nothing."""
    for here, there in zip(found, stored):
        if here != there:
            return f"prints {here[:200]}, stored is {there[:200]}"
    return "" if len(found) == len(stored) else "has more or fewer outputs"


def read(notebook: str) -> NotebookNode:
    """A notebook as it is stored."""
    return nbformat.read(ROOT / "notebooks" / notebook, as_version=4)


# --- all of them ------------------------------------------------------------------------------------


def measure(circumstance: Circumstance, notebooks: list[str]) -> dict[str, Any]:
    """A row of the record: how many notebooks differ."""
    # of threads that wait for each other, no more than there are cores
    side_by_side = 1 if circumstance.environment.get(THREADS[0]) == "2" else 2
    with ThreadPoolExecutor(side_by_side) as pool:
        found = list(pool.map(lambda name: differences(name, circumstance), notebooks))
    odd = [f"{name} {text}" for name, text in zip(notebooks, found, strict=True) if text]
    note = f"{len(notebooks)} notebooks; " + ("; ".join(odd[:3]) or "no difference")
    print(f"{circumstance.name}: {note}", flush=True)
    return {"name": circumstance.name, "value": len(odd), "bound": 0, "note": note}


def main() -> int:
    """Execute, compare, keep the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=8, help="notebooks for each circumstance")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--cut", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        if options.cut:
            bring_up_loopback()
        print(json.dumps(execute(*map(Path, options.one))))
        return 0
    from record import keep

    names = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        if not compile_locale(Path(folder)) or not can_cut():
            print("error: this needs Linux with localedef and a user who may unshare networks")
            return 1
        *each, everything = circumstances(Path(folder))
        sizes = min(options.sample, len(names))
        rows = [measure(c, sorted(rng.choice(names, sizes, replace=False).tolist())) for c in each]
        rows.append(measure(everything, names))
    keep("anywhere", "Notebooks whose text differs under other circumstances", rows)
    return int(any(row["value"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
