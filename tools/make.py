"""Build, test and serve the book: ``python3 tools/make.py COMMAND`` (``make COMMAND`` does the same).

Only the standard library is needed to start it. The environment is made in ``.venv``, pages in ``_build``.
"""

import sys

if sys.version_info < (3, 11):  # before anything that an older Python would stumble over
    sys.exit(
        "error: Python 3.11 or newer is needed, this is %d.%d: install one and name it, "
        "as in `make book PYTHON=python3.12` or `python3.12 tools/make.py book`"
        % tuple(sys.version_info[:2])
    )

import argparse
import contextlib
import ctypes
import errno
import functools
import hashlib
import http.server
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import time
import webbrowser
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
ENVIRONMENT_FILES = ["pyproject.toml", "constraints.txt"]
# what notebooks read, and what measures them
COMPUTED_FROM = ["src", "data", "results", "tools/execute.py", "tools/meter.py", *ENVIRONMENT_FILES]
SOURCES = [
    "book",
    "notebooks",
    "_static",
    "_ext",
    "web",
    "_config.yml",
    "_toc.yml",
    "tools",
    *COMPUTED_FROM,
]
GIGABYTE = 1024**3
FREE_SPACE = 4 * GIGABYTE
UNFINISHED, ADOPTED = "unfinished", "adopted "  # adopted: somebody else's, which is never removed
NO_SPACE = "there is no space left on the disk: free about 4 GB and run the same command again"


class Stop(Exception):
    """A step that failed, in one line that says what to do."""


@dataclass(frozen=True)
class Book:
    """Where the book lies, and whether it makes an environment of its own."""

    root: Path
    own_environment: bool = True

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    @property
    def build(self) -> Path:
        return self.root / "_build"

    @property
    def page(self) -> Path:
        return self.build / "html" / "index.html"

    @property
    def python(self) -> Path:
        """The interpreter that runs everything but this script."""
        if not self.own_environment:
            return Path(sys.executable)
        folder, name = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
        return self.venv / folder / name


# ---------------------------------------------------------------- the environment


def make_environment(book: Book) -> None:
    """Make ``.venv`` whole, or do nothing where it already is."""
    if not book.own_environment:
        return
    stamp = book.venv / ".stamp"
    found = stamp.read_text(encoding="utf-8") if stamp.exists() else None
    adopted = ADOPTED if found is None or found.startswith(ADOPTED) else ""
    wanted = environment_digest(book)
    if found == adopted + wanted and book.python.exists():
        return
    check_venv_module()
    check_disk(book.root)
    print("Making the environment in .venv (a few minutes, the first time only) ...", flush=True)
    start = time.monotonic()
    if not (adopted and book.venv.exists()):
        adopted = ""
        create_venv(book, stamp)
    install(book)
    stamp.write_text(adopted + wanted, encoding="utf-8")
    print(f"The environment is ready ({time.monotonic() - start:.0f} s).", flush=True)


def environment_digest(book: Book) -> str:
    """What the environment depends on: the requirements, the Python and the place."""
    version = "%d.%d.%d" % sys.version_info[:3]
    return digest(book.root, ENVIRONMENT_FILES, version, str(book.root))


def check_venv_module() -> None:
    """Stop where Python came without ``venv``, as on a bare Debian."""
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        raise Stop(
            "this Python has no venv module: install it "
            "(on Debian and Ubuntu: `sudo apt install python3-venv`) and run the same command again"
        )


def check_disk(root: Path) -> None:
    """Stop before an installation that could not end."""
    free = shutil.disk_usage(root).free
    if free < FREE_SPACE:
        raise Stop(
            f"the environment needs {FREE_SPACE // GIGABYTE} GB of disk, and only "
            f"{free / GIGABYTE:.1f} GB are free in {root}: free some and run the same command again"
        )


def create_venv(book: Book, stamp: Path) -> None:
    """A new virtual environment, in place of our own unfinished or outdated one."""
    shutil.rmtree(book.venv, ignore_errors=True)
    book.venv.mkdir()
    stamp.write_text(UNFINISHED, encoding="utf-8")
    code, output = run_quietly([sys.executable, "-m", "venv", str(book.venv)], book)
    if code:
        raise Stop(f"the virtual environment could not be made: {last_line(output)}")


def install(book: Book) -> None:
    """Torch first and pinned, or a dependency would choose its build; then the project."""
    if not book.python.exists():
        raise Stop(f"{book.venv} is not a virtual environment of Python: move it away, run again")
    pip = [str(book.python), "-m", "pip", "install", "--quiet", "--no-input"]
    pip += ["--disable-pip-version-check", "--constraint", "constraints.txt"]
    index = os.environ.get("TORCH_INDEX_URL")
    run_pip([*pip, *(["--extra-index-url", index] if index else []), torch_pin(book)], book)
    run_pip([*pip, "--editable", ".[book,test]"], book)


def torch_pin(book: Book) -> str:
    """The line ``torch==...`` of the constraints file."""
    text = (book.root / "constraints.txt").read_text(encoding="utf-8")
    pin = re.search(r"^torch==\S+", text, re.MULTILINE)
    if pin is None:
        raise Stop("constraints.txt has no line `torch==...`: restore the file")
    return pin.group()


def run_pip(command: list[str], book: Book) -> None:
    """One pip call; its last meaningful line is the reason when it fails."""
    code, output = run_quietly(command, book)
    if code and ("No space left" in output or "Errno 28" in output):
        raise Stop(NO_SPACE)
    if code:
        (book.venv / "pip.log").write_text(output, encoding="utf-8")
        raise Stop(
            f"pip could not install {command[-1]}: {last_line(output)} (is the network up? then "
            "run the same command again; all that pip said is in .venv/pip.log)"
        )


def last_line(output: str) -> str:
    """The last line that says something, an error of pip's before anything else."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    wrapped = re.compile(r"subprocess-exited|metadata-generation|[Ff]ailed to build|exit code")
    errors = [line for line in lines if re.match(r"error:", line, re.IGNORECASE)]
    errors = [line for line in errors if not wrapped.search(line)]
    return (errors or lines or ["it gave no reason"])[-1]


# ---------------------------------------------------------------- the book


def make_book(book: Book, fresh: bool = False) -> None:
    """Execute what is not yet executed and build the pages; nothing changed, nothing done."""
    start = time.monotonic()
    make_environment(book)
    stamp = book.build / ".stamp"
    wanted = digest(book.root, SOURCES, str(book.python), solutions())
    if not fresh and book.page.exists() and stamp.exists() and stamp.read_text() == wanted:
        print(f"Nothing has changed since the last build. The book is at\n  {book.page}")
        return
    stamp.unlink(missing_ok=True)
    execute(book)
    build_pages(book)
    stamp.write_text(wanted)
    print(f"The book is ready ({time.monotonic() - start:.0f} s):\n  {book.page}", flush=True)


def solutions() -> str:
    """``1``, or ``0`` for a book without the solutions of its exercises, from the environment."""
    value = os.environ.get("SOLUTIONS", "1")
    if value not in ("0", "1"):
        raise Stop(f"SOLUTIONS must be 0 (build without solutions) or 1, and it is {value!r}")
    return value


def execute(book: Book, *options: str) -> None:
    """Run the notebooks that the cache does not hold, side by side."""
    drop_stale_cache(book)
    command = [str(book.python), str(TOOLS / "execute.py"), *options, str(book.root)]
    code = run(command, book)
    if code == 1:
        raise SystemExit(1)  # execute.py has said which notebook, which cell and why
    if code:
        raise Stop(f"the execution of the notebooks was ended from outside ({code}): run it again")


def drop_stale_cache(book: Book) -> None:
    """The execution cache knows notebooks only: forget it when what they import or read has changed."""
    cache = book.build / ".jupyter_cache"
    stamp = book.build / ".cache-stamp"
    wanted = digest(book.root, COMPUTED_FROM, "%d.%d" % sys.version_info[:2])
    if not stamp.exists() or stamp.read_text() != wanted:
        stamp.unlink(missing_ok=True)
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir(parents=True)
        stamp.write_text(wanted)


def build_pages(book: Book) -> None:
    """Build from clean doctrees (an incremental build forgets warnings); a warning is an error."""
    start = time.monotonic()
    for folder in ("html", ".doctrees"):
        shutil.rmtree(book.build / folder, ignore_errors=True)
    program = "from jupyter_book.cli.main import main; main()"  # it has no __main__
    command = [str(book.python), "-c", program, "build", "."]
    code, output = run_quietly([*command, "-n", "-W", "--keep-going"], book)
    output = re.sub(r"\x1b\[[\d;]*m", "", output).replace(f"{book.root}{os.sep}", "")
    (book.build / "build.log").write_text(output, encoding="utf-8")
    complaints = [
        line for line in output.splitlines() if re.search(r"\b(WARNING|ERROR|CRITICAL)\b", line)
    ]
    if code or not book.page.exists():
        print("\n".join(complaints), file=sys.stderr)
        why = f"{len(complaints)} warnings, above" if complaints else last_line(output)
        raise Stop(f"the pages were not built: {why} (all of it is in _build/build.log)")
    print(f"Pages built in {time.monotonic() - start:.0f} s.", flush=True)


def make_test(book: Book) -> None:
    """The tests, the built pages among them; nbval compares the run that filled the cache."""
    make_book(book)
    places = [name for name in ("tests", "notebooks") if (book.root / name).is_dir()]
    workers = ["-n", "2", "--dist", "loadfile"]
    color = "yes" if sys.stdout.isatty() else "no"
    command = [str(book.python), "-m", "pytest", "-p", "replay", *workers, f"--color={color}"]
    if code := run([*command, *places], book, PYTHONPATH=str(TOOLS)):
        raise Stop(f"the tests failed (pytest ended with {code}): its report is above")


def make_pdf(book: Book) -> None:
    """Print the book into one PDF by way of xelatex, and put it beside the pages."""
    make_book(book)
    start = time.monotonic()
    folder = book.build / "pdf"
    stamp, wanted = folder / ".stamp", digest(book.root, SOURCES)
    made = folder / "implicit-meets-explicit.pdf"
    if not (made.exists() and stamp.exists() and stamp.read_text() == wanted):
        stamp.unlink(missing_ok=True)
        if run([str(book.python), str(TOOLS / "system.py"), "tex"], book):
            raise SystemExit(1)  # system.py has said what to install
        print("Printing the book (a few minutes) ...", flush=True)
        command = [str(book.python), str(TOOLS / "pdf.py"), str(book.root), str(made)]
        code, output = run_quietly(command, book)
        if code:
            raise Stop(f"the PDF was not made: {output.strip() or code} (logs: _build/latex)")
        stamp.write_text(wanted)
    shutil.copyfile(made, book.page.parent / made.name)
    print(f"The PDF is ready ({time.monotonic() - start:.0f} s):\n  {made}", flush=True)


def publish_notebooks(book: Book) -> None:
    """Copies of the notebooks for Colab and Binder; BOOK_REPOSITORY and BOOK_BRANCH say where from."""
    make_environment(book)
    command = [str(book.python), str(TOOLS / "published.py"), "notebooks", str(book.root)]
    if run(command, book):
        raise SystemExit(1)  # published.py has said why


def open_lab(book: Book) -> None:
    """Open the notebooks in JupyterLab until Ctrl-C, installing it where it is missing."""
    make_environment(book)
    has_lab = [str(book.python), "-c", "import jupyterlab"]
    if run_quietly(has_lab, book)[0]:
        if not book.own_environment:
            raise Stop("JupyterLab is missing: install it with `python -m pip install '.[lab]'`")
        print("Installing JupyterLab into .venv (once) ...", flush=True)
        pip = [str(book.python), "-m", "pip", "install", "--quiet", "--no-input"]
        pip += ["--disable-pip-version-check", "--constraint", "constraints.txt"]
        run_pip([*pip, "--editable", ".[lab]"], book)
    print("JupyterLab opens in the browser; Ctrl-C ends it.", flush=True)
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    options = ["--allow-root"] if is_root else []  # in a container; Jupyter asks for the word
    command = [str(book.python), "-m", "jupyterlab", *options, "notebooks"]
    with contextlib.suppress(KeyboardInterrupt):
        run(command, book, HELPERS_PROGRESS="1")


def test_deep(book: Book) -> None:
    """The slow tests: mutants, coverage, fuzzing, kills (hours); their results go to results/deep."""
    make_environment(book)
    if book.own_environment:
        pip = [str(book.python), "-m", "pip", "install", "--quiet", "--no-input"]
        run_pip([*pip, "--constraint", "constraints.txt", "--editable", ".[book,test,deep]"], book)
    if code := run([str(book.python), str(book.root / "deep" / "all.py")], book):
        raise Stop(f"the deep tests failed (they ended with {code}): their report is above")


def check_style(book: Book) -> None:
    """Lint, formatting, types, docstrings and spelling, as the tests hold them."""
    make_environment(book)
    if run([str(book.python), str(TOOLS / "style.py")], book):
        raise Stop("the style is not held: what was found is above")


def save_notebooks(book: Book) -> None:
    """Execute every notebook anew and keep the outputs in the files."""
    make_environment(book)
    execute(book, "--save")


def make_student(book: Book) -> None:
    """Write the notebooks without solutions into _build/student."""
    make_environment(book)
    if run([str(book.python), str(TOOLS / "student.py"), str(book.root)], book):
        raise SystemExit(1)  # student.py has said which page, which cell and why


def make_slides(book: Book) -> None:
    """Build the book; its slides, one deck a chapter, come with the pages."""
    make_book(book)
    decks = sorted((book.page.parent / "slides").glob("*.html"))
    print("\n".join(["The slides:", *(f"  {deck}" for deck in decks)]))


def run_experiments(book: Book) -> None:
    """Recompute what lies in results/ (minutes, on all cores)."""
    make_environment(book)
    environment = {"HELPERS_PROGRESS": "1"}
    if code := run([str(book.python), "-m", "helpers.experiments"], book, **environment):
        raise Stop(f"the experiments failed (they ended with {code}): their report is above")


def serve(book: Book, port: int = 8000) -> None:
    """Build, then show the book in the browser until Ctrl-C."""
    make_book(book)
    handler = functools.partial(QuietHandler, directory=str(book.page.parent))
    server = listen(handler, port)
    address = f"http://localhost:{server.server_address[1]}/"
    print(f"The book is at {address} (Ctrl-C ends it)", flush=True)
    webbrowser.open(address)
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files and does not print a line for each."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def listen(handler: object, port: int) -> http.server.ThreadingHTTPServer:
    """A server on the port, or on a free one where that is taken."""
    try:
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError:
        return http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)


def clean(book: Book) -> None:
    """Remove what was built; the environment stays."""
    shutil.rmtree(book.build, ignore_errors=True)
    for name in (".pytest_cache", ".ruff_cache", ".hypothesis", "build"):
        shutil.rmtree(book.root / name, ignore_errors=True)
    print("Removed _build and the caches; the environment in .venv is kept.")


# ---------------------------------------------------------------- stamps and processes


def digest(root: Path, names: Iterable[str], *more: str) -> str:
    """SHA-256 of files and folders under root, names and contents, and of some words more."""
    total = hashlib.sha256(repr(more).encode())
    for path in sorted(files(root, names)):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return total.hexdigest()


def files(root: Path, names: Iterable[str]) -> Iterator[Path]:
    """All files of these names, without hidden ones and what tools leave behind."""
    for name in names:
        for path in [root / name, *(root / name).rglob("*")]:
            parts = path.relative_to(root).parts
            left_behind = any(p[0] == "." or p == "__pycache__" or "egg-info" in p for p in parts)
            if path.is_file() and not left_behind:
                yield path


def run(command: list[str], book: Book, **environment: str) -> int:
    """Run to the end with its output shown; an interruption ends all that it started."""
    return finish(start(command, book, environment))[0]


def run_quietly(command: list[str], book: Book) -> tuple[int, str]:
    """Run to the end and return the exit code and all that was printed."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return finish(start(command, book, {}, **pipes))


def start(command: list[str], book: Book, environment: dict[str, str], **pipes: int):
    """A process in a group of its own, so that Ctrl-C reaches it through us alone."""
    group = (
        {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        if os.name == "nt"
        else {"start_new_session": True}
    )
    if sys.platform == "linux":
        group["preexec_fn"] = functools.partial(end_with, os.getpid())
    text = {"encoding": "utf-8", "errors": "replace"}
    settings = {"cwd": book.root, "stdin": subprocess.DEVNULL, **group, **text, **pipes}
    return subprocess.Popen(command, env=surroundings(book) | environment, **settings)


def end_with(parent: int) -> None:
    """Ask Linux to end this process with its parent, even when that is killed and can end nothing itself."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def finish(process) -> tuple[int, str]:
    """Wait; whatever interrupts us interrupts the process and its children too."""
    try:
        output, _ = process.communicate()
        return process.returncode, output or ""
    except BaseException:
        end(process)
        raise


def end(process) -> None:
    """End a process and its children, first politely."""
    if os.name == "nt":
        command = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
        subprocess.run(command, capture_output=True, check=False)
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)


def surroundings(book: Book) -> dict[str, str]:
    """The environment variables of every step: the same numbers everywhere, nothing of the user's."""
    ours = dict(os.environ)
    for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "MPLBACKEND", "PYTEST_ADDOPTS"):
        ours.pop(name, None)
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    ours |= dict.fromkeys(threads, "1")
    ours |= {"HELPERS_PROGRESS": "0", "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
    ours |= {"PYTHONNOUSERSITE": "1", "PIP_USER": "0", "JUPYTER_PREFER_ENV_PATH": "1"}
    # a home that cannot be written is no reason for a warning in a notebook
    ours |= {"MPLCONFIGDIR": str(book.build / ".matplotlib")}
    return ours | {"IPYTHONDIR": str(book.build / ".ipython"), "JUPYTER_PLATFORM_DIRS": "1"}


# ---------------------------------------------------------------- the command line

COMMANDS = {
    "env": make_environment,
    "book": make_book,
    "test": make_test,
    "test-deep": test_deep,
    "pdf": make_pdf,
    "published": publish_notebooks,
    "lab": open_lab,
    "serve": serve,
    "clean": clean,
    "notebooks": save_notebooks,
    "student": make_student,
    "slides": make_slides,
    "experiments": run_experiments,
    "style": check_style,
}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line; each command is described by its function."""
    parser = argparse.ArgumentParser(prog="make.py", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, function in COMMANDS.items():
        command = commands.add_parser(name, help=function.__doc__.splitlines()[0])
        command.add_argument("--root", type=Path, default=TOOLS.parent, help="folder of the book")
        command.add_argument(
            "--no-env", action="store_true", help="use the Python that runs this, as it is"
        )
        if name == "book":
            command.add_argument(
                "--fresh", action="store_true", help="build even if nothing changed"
            )
    return parser.parse_args(arguments)


def interrupt(*_: object) -> None:
    """Being told to end is as good as Ctrl-C."""
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Run one command; a failure is one line and a non-zero exit."""
    options = parse(arguments)
    book = Book(options.root.resolve(), own_environment=not options.no_env)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        more = {"fresh": options.fresh} if options.command == "book" else {}
        COMMANDS[options.command](book, **more)
    except Stop as stop:
        print(f"error: {stop}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on", file=sys.stderr)
        return 130
    except OSError as error:
        what = NO_SPACE if error.errno == errno.ENOSPC else error
        print(f"error: {what}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
