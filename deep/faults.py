"""Kill what writes files, at random moments, and look at what the next run finds: ``python deep/faults.py``.

Four writers: the build of a toy book, a sweep, a download, the writing of a result. Each is started, killed
(by Ctrl-C's signal, politely, or at once) after a random part of the time that it takes, and run again. The second
run must end well with the result of a run that nobody disturbed; no process may outlive the first one, and no file
may be left over that an undisturbed run does not leave. The counts go to ``results/deep/faults.json``.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import http.server
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from record import keep

ROOT = Path(__file__).resolve().parents[1]
MARK = "BOOK_FAULTS"  # an environment variable that tells our processes from others
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
PATIENCE = 15.0  # seconds that a killed run's processes have to end
LONG = 300.0  # and that any run may take
TIMED = ("claims.html", "reproducibility.html")
PAYLOAD = np.random.default_rng(0).bytes(2_000_000)
CHUNK = 50_000


@dataclass(frozen=True)
class Writer:
    """Something that writes files.

    Attributes
    ----------
    name : str
    command : callable
        From the folder it writes in to the command line that runs it.
    ignored : tuple of str
        Parts of paths that are caches of other programs, and may differ.
    """

    name: str
    command: Callable[[Path], list[str]]
    prepare: Callable[[Path], None] = lambda _: None
    ignored: tuple[str, ...] = ()


# --- the four writers -------------------------------------------------------------------------------


def toy_book(folder: Path) -> None:
    """The toy book of the tests, with the configuration of the real one."""
    shutil.copytree(ROOT / "tests" / "toy", folder, dirs_exist_ok=True)
    shutil.copy(ROOT / "_config.yml", folder)
    for name in ("_ext", "_static", "web"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name)


def build(folder: Path) -> list[str]:
    return [
        sys.executable,
        str(ROOT / "tools" / "make.py"),
        "book",
        "--no-env",
        "--root",
        str(folder),
    ]


def child(name: str, folder: Path, *more: str) -> list[str]:
    """This file, run as one of the other writers."""
    return [sys.executable, __file__, "--child", name, str(folder), *more]


def square(x: int) -> dict[str, float]:
    """A task that takes a moment."""
    time.sleep(0.05)
    return {"square": float(x * x)}


def sweep(folder: Path) -> None:
    from helpers import sweeps

    sweeps.run(sweeps.Sweep("squares", 1, square, {"x": list(range(16))}), workers=2, folder=folder)


def save(folder: Path) -> None:
    from helpers import sweeps

    values = np.random.default_rng(1).random(100_000).round(6).tolist()
    for _ in range(5):
        sweeps.save({"parameters": {"n": len(values)}, "values": values}, "noise", folder)


def download(folder: Path, place: str) -> None:
    from helpers import datasets

    os.environ["XDG_CACHE_HOME"] = str(folder)
    expected = hashlib.sha256(PAYLOAD).hexdigest()
    datasets._retrieve(place, "noise.gz", expected, "noise.gz", "try again")


class Slow(http.server.BaseHTTPRequestHandler):
    """Sends the payload in small parts."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(PAYLOAD)))
        self.end_headers()
        try:
            for start in range(0, len(PAYLOAD), CHUNK):
                self.wfile.write(PAYLOAD[start : start + CHUNK])
                time.sleep(0.01)
        except OSError:
            return  # the reader was killed

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[str]:
    """The address of a slow server on this machine."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


def writers(place: str) -> list[Writer]:
    """All four; the download is from `place`."""
    caches = ("_build", ".ipython", ".doctrees", "__pycache__")
    return [
        Writer("build", build, toy_book, caches),
        Writer("sweep", functools.partial(child, "sweep")),
        Writer("download", lambda folder: child("download", folder, place)),
        Writer("result", functools.partial(child, "save")),
    ]


# --- killing ----------------------------------------------------------------------------------------


def start(command: list[str], token: str) -> subprocess.Popen[bytes]:
    """A run in a session of its own, recognizable by its environment."""
    quiet = {
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
        "stdin": subprocess.DEVNULL,
    }
    environment = os.environ | {MARK: token, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(command, env=environment, start_new_session=True, **quiet)


def alive(token: str) -> list[psutil.Process]:
    """Processes of a run, and all that they started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == token and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def orphans(token: str) -> int:
    """How many processes of a run are there after some patience; they are ended then."""
    end = time.monotonic() + PATIENCE
    while (left := alive(token)) and time.monotonic() < end:
        time.sleep(0.05)
    for process in left:
        process.kill()
    return len(left)


def undisturbed(writer: Writer, folder: Path) -> tuple[dict[str, str], float]:
    """The state that a run leaves, and the time it takes."""
    writer.prepare(folder)
    begin = time.monotonic()
    if start(writer.command(folder), "undisturbed").wait(LONG):
        raise RuntimeError(f"{writer.name} fails when nobody kills it")
    return state(writer, folder), time.monotonic() - begin


def state(writer: Writer, folder: Path) -> dict[str, str]:
    """Every file with its hash; what is built is compared by its pages."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        page = name.startswith("_build/html/") and path.suffix == ".html"
        ignored = any(part in writer.ignored for part in path.relative_to(folder).parts)
        if path.is_file() and (page or not ignored):
            found[name] = content(path)
    return found


def content(path: Path) -> str:
    """Hash of a file; of the pages that show how long cells took, without their numbers."""
    raw = path.read_bytes()
    return hashlib.sha256(re.sub(rb"\d", b"", raw) if path.name in TIMED else raw).hexdigest()


def once(writer: Writer, wanted: dict[str, str], seconds: float, rng: np.random.Generator) -> str:
    """Kill one run, run again: what went wrong, or nothing."""
    with tempfile.TemporaryDirectory(prefix="faults ") as name:
        folder, token = Path(name), rng.bytes(8).hex()
        writer.prepare(folder)
        process = start(writer.command(folder), token)
        time.sleep(float(rng.uniform(0, seconds)))
        number = SIGNALS[int(rng.integers(len(SIGNALS)))]
        process.send_signal(number)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            return f"{number.name} does not end it"
        if left := orphans(token):
            return f"{number.name} leaves {left} processes"
        again = subprocess.run(
            writer.command(folder),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=LONG,
            check=False,
        )
        if again.returncode:
            why = (again.stderr.strip() or "no reason given").splitlines()[-1]
            return f"after {number.name} the next run ends with {again.returncode}: {why}"
        found = state(writer, folder)
        return difference(found, wanted, number)


def difference(found: dict[str, str], wanted: dict[str, str], number: signal.Signals) -> str:
    """Which files are missing, altered or left over."""
    odd = {name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name)}
    return f"after {number.name} these differ: {', '.join(sorted(odd)[:5])}" if odd else ""


def measure(writer: Writer, times: int, seed: int) -> list[str]:
    """Failures of so many kills."""
    with tempfile.TemporaryDirectory(prefix="faults ") as name:
        wanted, seconds = undisturbed(writer, Path(name))
    rng = np.random.default_rng(seed)
    failures = []
    for k in range(times):
        failure = once(writer, wanted, seconds, rng)
        print(f"{writer.name} {k + 1}/{times}: {failure or 'as if nothing had been'}", flush=True)
        failures += [failure] if failure else []
    return failures


def main() -> int:
    """Kill all four, or be one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one of the writers")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, folder, *more = options.child
        {"sweep": sweep, "save": save, "download": download}[name](Path(folder), *more)
        return 0
    rows = []
    with serving() as place:
        for writer in writers(place):
            if options.only not in (None, writer.name):
                continue
            failures = measure(writer, options.times, options.seed)
            note = f"{options.times} kills; " + ("; ".join(failures[:3]) or "none failed")
            rows.append({"name": writer.name, "value": len(failures), "bound": 0, "note": note})
    if options.only is None:
        keep("faults", "Kills at random moments: runs that did not recover", rows)
    return int(any(row["value"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
