"""The commands, on a toy book of two pages: what they do, and how they fail."""

import ast
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
import types
from collections import namedtuple

import pytest
from conftest import ROOT
from jupyter_cache import get_cache

SCRIPT = ROOT / "tools" / "make.py"
NOTEBOOK = "notebooks/10_toy.ipynb"


def load():
    """tools/make.py as a module."""
    spec = importlib.util.spec_from_file_location("make", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["make"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


make = load()
sys.path.insert(0, str(ROOT / "tools"))
budgets = importlib.import_module("budgets")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A toy book, built once, in a path with a space and an accent."""
    root = tmp_path_factory.mktemp("böok of toys") / "a toy"
    shutil.copytree(ROOT / "tests" / "toy", root)
    shutil.copy(ROOT / "_config.yml", root)
    for folder in ("_ext", "web"):
        shutil.copytree(ROOT / folder, root / folder)
    done = tool(root, "book")
    assert done.returncode == 0, done.stderr
    assert "10_toy.ipynb: " in done.stdout  # its time
    assert str(root / "_build" / "html" / "index.html") in done.stdout
    return root


@pytest.fixture
def toy(built, tmp_path):
    """A copy of it, to be broken."""
    return shutil.copytree(built, tmp_path / "a toy")


def tool(root, command, *options, **environment):
    """Run a command on a book, in the environment of these tests."""
    call = [sys.executable, SCRIPT, command, "--no-env", "--root", root, *options]
    surroundings = {k: v for k, v in os.environ.items() if k != "BOOK_NOTEBOOK_SECONDS"}
    settings = {"env": surroundings | environment, "encoding": "utf-8"}
    return subprocess.run(call, capture_output=True, timeout=120, check=False, **settings)


def edit(root, old, new, name=NOTEBOOK):
    path = root / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def error_line(done):
    """The one line that says what went wrong."""
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return line


# ---------------------------------------------------------------- building


def test_pages_are_built_with_outputs(built):
    page = built / "_build" / "html" / "notebooks" / "10_toy.html"
    assert "total 45" in page.read_text(encoding="utf-8")


def test_nothing_changed_nothing_done(built):
    before = (built / "_build" / "html" / "index.html").stat().st_mtime_ns
    done = tool(built, "book")
    assert "Nothing has changed" in done.stdout
    assert str(built / "_build" / "html" / "index.html") in done.stdout
    assert (built / "_build" / "html" / "index.html").stat().st_mtime_ns == before


def test_broken_notebook_is_named_with_cell_and_error(toy):
    edit(toy, "sum(range(10))", "1 / 0")
    line = error_line(tool(toy, "book"))
    assert "notebooks/10_toy.ipynb" in line and "cell 1" in line
    assert "ZeroDivisionError: division by zero" in line


def test_truncated_notebook_is_named(toy):
    path = toy / NOTEBOOK
    path.write_text(path.read_text(encoding="utf-8")[:100], encoding="utf-8")
    assert "notebooks/10_toy.ipynb is not a notebook" in error_line(tool(toy, "book"))


def test_notebook_beyond_its_time_fails(toy):
    edit(toy, "sum(range(10))", "__import__('time').sleep(30)")
    line = error_line(tool(toy, "book", BOOK_NOTEBOOK_SECONDS="2"))
    assert "cell 1" in line and "2 s" in line


def test_notebook_beyond_its_memory_fails(toy):
    """Even if the memory is free again before the cell ends."""
    edit(toy, "sum(range(10))", "len(b'1' * 500_000_000) - 499_999_955")
    assert tool(toy, "book").returncode == 0
    edit(toy, "megabytes = 2000", "megabytes = 400", "notebooks/budgets.toml")
    edit(toy, "499_999_955", "500_000_000 + 45")
    line = error_line(tool(toy, "book"))
    assert "notebooks/10_toy.ipynb, code cell 1: the notebook took" in line
    assert "its budget is 400 MB" in line


def test_notebooks_beyond_their_time_together_fail(toy):
    edit(toy, "core_seconds = 480", "core_seconds = 0.01", "notebooks/budgets.toml")
    line = error_line(tool(toy, "book", "--fresh"))
    assert re.search(r"the notebooks took \d+ core-seconds, and 0.01 are allowed together", line)


def test_notebook_that_leaves_a_file_fails(toy):
    edit(toy, "sum(range(10))", "open('left.txt', 'w').write('x') + 44")
    assert "left notebooks/left.txt behind" in error_line(tool(toy, "book"))


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("seconds = 60", "seconds = -1", "[default] seconds must be a positive number, got -1"),
        ("seconds = 60", "seconds = 'long'", "[default] seconds must be a positive number"),
        ("seconds = 60", "seconds = true", "[default] seconds must be a positive number"),
        ("seconds = 60", "seconds = inf", "[default] seconds must be a positive number"),
        ("seconds = 60", "minutes = 1", "[default] must hold megabytes and seconds"),
        ("[default]", "[normal]", "[normal] is the name of no notebook"),
        ("[together]", "[11_gone]", "[11_gone] is the name of no notebook"),
        ("[together]", "[10_toy]\nseconds = 0\n[together]", "[10_toy] seconds must be a positive"),
        ("[together]", "[together]\nhours = 3", "[together] must hold core_seconds"),
        ("[default]", "[default", "notebooks/budgets.toml cannot be read"),
    ],
)
def test_wrong_budgets_are_named(tmp_path, old, new, said):
    shutil.copytree(ROOT / "tests" / "toy" / "notebooks", tmp_path / "notebooks")
    edit(tmp_path, old, new, "notebooks/budgets.toml")
    with pytest.raises(ValueError) as caught:
        budgets.read(tmp_path / "notebooks")
    assert "notebooks/budgets.toml" in str(caught.value)
    assert said in str(caught.value)


def test_missing_budgets_are_one_line(toy):
    (toy / "notebooks" / "budgets.toml").unlink()
    assert "notebooks/budgets.toml cannot be read" in error_line(tool(toy, "book", "--fresh"))


def test_a_notebook_may_have_a_budget_of_its_own(tmp_path, monkeypatch):
    monkeypatch.delenv("BOOK_NOTEBOOK_SECONDS", raising=False)
    folder = shutil.copytree(ROOT / "tests" / "toy" / "notebooks", tmp_path / "notebooks")
    edit(tmp_path, "[together]", "[10_toy]\nseconds = 90\n[together]", "notebooks/budgets.toml")
    assert budgets.read(folder) == ({"10_toy": budgets.Budget(90, 2000)}, 480)
    monkeypatch.setenv("BOOK_NOTEBOOK_SECONDS", "120")
    assert budgets.read(folder) == ({"10_toy": budgets.Budget(180, 2000)}, 960)
    for wrong in ("soon", "0", "nan", "-5"):
        monkeypatch.setenv("BOOK_NOTEBOOK_SECONDS", wrong)
        with pytest.raises(ValueError, match="BOOK_NOTEBOOK_SECONDS must be a positive number"):
            budgets.read(folder)


def test_what_a_run_took_is_kept_with_it(built):
    cache = get_cache(str(built / "_build" / ".jupyter_cache"))
    taken = cache.match_cache_file(str(built / NOTEBOOK)).data
    assert len(taken["cell_seconds"]) == 3
    assert 0 < sum(taken["cell_seconds"]) < taken["execution_seconds"] < 60
    assert 10 < taken["megabytes"] < 2000 and 0 < taken["core_seconds"] < 60
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", taken["date"])
    assert re.match(r"\d+ cores, \d+ GB of memory, \w+", taken["machine"])
    assert platform.node() not in str(taken)


def test_missing_page_fails(toy):
    edit(toy, "notebooks/10_toy", "notebooks/11_missing", "_toc.yml")
    done = tool(toy, "book")
    assert "11_missing" in done.stderr
    assert "not built" in error_line(done)


def test_unresolved_reference_fails(toy):
    edit(toy, "Two pages", "{ref}`nowhere`, two pages", "book/index.md")
    done = tool(toy, "book")
    assert "nowhere" in done.stderr
    error_line(done)


def test_failed_build_is_not_taken_for_done(toy):
    edit(toy, "Two pages", "{ref}`nowhere`", "book/index.md")
    error_line(tool(toy, "book"))
    error_line(tool(toy, "book"))


# ---------------------------------------------------------------- testing


def test_notebooks_that_agree_pass(built):
    done = tool(built, "test")
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_changed_stored_output_fails(toy):
    edit(toy, "total 45", "total 46")
    done = tool(toy, "test")
    assert "Cell outputs differ" in done.stdout
    assert "tests failed" in error_line(done)


def test_changed_data_are_computed_with(toy):
    """The execution cache holds notebooks only; what they read must empty it."""
    edit(toy, "sum(range(10))", "int(open('../data/number.txt').read())")
    (toy / "data").mkdir()
    (toy / "data" / "number.txt").write_text("45")
    assert tool(toy, "test").returncode == 0
    (toy / "data" / "number.txt").write_text("44")
    done = tool(toy, "test")
    assert "Cell outputs differ" in done.stdout
    error_line(done)


def test_saving_keeps_outputs_and_nothing_volatile(toy):
    edit(toy, "range(10)", "range(11)")
    assert tool(toy, "notebooks").returncode == 0
    text = (toy / NOTEBOOK).read_text(encoding="utf-8")
    notebook = json.loads(text)
    assert notebook["cells"][2]["outputs"][0]["text"] == ["total 55\n"]
    assert "execution" not in notebook["cells"][2]["metadata"]
    assert "version" not in notebook["metadata"]["language_info"]
    assert tool(toy, "notebooks").returncode == 0
    assert (toy / NOTEBOOK).read_text(encoding="utf-8") == text


def test_changed_constant_of_a_helper_fails(tmp_path):
    """The tests of the package, against a copy of it with one wrong number."""
    shutil.copytree(ROOT / "src", tmp_path / "src")
    assert package_tests(tmp_path / "src") == 0
    edit(tmp_path, "1.0 + 8.0 / np.sqrt(p)", "1.0 + 7.0 / np.sqrt(p)", "src/helpers/mixtures.py")
    assert package_tests(tmp_path / "src") == 1


def package_tests(source):
    """Exit code of a test of the mixtures when ``helpers`` is taken from this folder."""
    pytest_call = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        "two_class",
    ]
    settings = {"cwd": ROOT, "env": os.environ | {"PYTHONPATH": str(source)}, "timeout": 120}
    call = [*pytest_call, "tests/test_mixtures.py"]
    return subprocess.run(call, capture_output=True, check=False, **settings).returncode


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_interruption_is_one_line_and_leaves_nothing_running(toy):
    edit(toy, "sum(range(10))", "__import__('time').sleep(61.5)")
    call = [sys.executable, SCRIPT, "book", "--no-env", "--root", toy]
    process = subprocess.Popen(
        call, stderr=subprocess.PIPE, encoding="utf-8", stdout=subprocess.DEVNULL
    )
    kernels = wait_for(lambda: kernels_in(toy), 30)
    assert kernels
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.startswith("interrupted: ") and errors.count("\n") == 1
    assert wait_for(lambda: not kernels_in(toy), 15)


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.2)
    return value


def kernels_in(root):
    """Processes that work in the folder of the notebooks."""
    psutil = pytest.importorskip("psutil")
    folder, found = str(root / "notebooks"), []
    for process in psutil.process_iter():
        try:
            found += [process.pid] if process.cwd() == folder else []
        except psutil.Error:
            continue
    return found


# ---------------------------------------------------------------- the environment


def test_script_parses_on_an_old_python_and_says_so():
    source = SCRIPT.read_text(encoding="utf-8")
    ast.parse(source.split("import argparse")[0], feature_version=(3, 7))
    old = "import sys; sys.version_info = (3, 8, 10, 'final', 0); sys.argv = ['make.py', 'book']; "
    run = f"exec(compile(open({str(SCRIPT)!r}).read(), 'make.py', 'exec'))"
    done = subprocess.run(
        [sys.executable, "-c", old + run], capture_output=True, text=True, check=False
    )
    assert "Python 3.11 or newer is needed, this is 3.8" in error_line(done)


def test_no_venv_module(tmp_path, monkeypatch, capsys):
    found = importlib.util.find_spec
    hidden = types.SimpleNamespace(
        find_spec=lambda name: None if name == "ensurepip" else found(name)
    )
    monkeypatch.setattr(make, "importlib", types.SimpleNamespace(util=hidden))
    assert fails(toy_requirements(tmp_path), capsys).startswith(
        "error: this Python has no venv module"
    )


def test_no_disk_space(tmp_path, monkeypatch, capsys):
    usage = namedtuple("usage", "total used free")(10**12, 10**12, 10**8)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert "0.1 GB are free" in fails(toy_requirements(tmp_path), capsys)


@pytest.mark.parametrize(
    "output, said",
    [
        (
            "Collecting x\nERROR: No matching distribution found for x\n\n",
            "No matching distribution",
        ),
        ("ERROR: [Errno 28] No space left on device: 'y'\n", "no space left on the disk"),
    ],
)
def test_pip_fails(tmp_path, monkeypatch, capsys, output, said):
    python = make.Book(tmp_path).python
    python.parent.mkdir(parents=True)
    python.touch()
    monkeypatch.setattr(make, "run_quietly", lambda command, _: (int("pip" in command), output))
    assert said in fails(toy_requirements(tmp_path), capsys)


@pytest.fixture
def installing(tmp_path, monkeypatch):
    """A book whose environment is made by notes of the calls alone."""
    calls = []

    def note(command, book):
        calls.append([str(word) for word in command])
        book.python.parent.mkdir(parents=True, exist_ok=True)
        book.python.touch()
        return 0, ""

    monkeypatch.setattr(make, "run_quietly", note)
    return make.Book(toy_requirements(tmp_path)), calls


def test_whole_environment_is_kept(installing):
    book, calls = installing
    make.make_environment(book)
    assert len(calls) == 3  # venv, torch, the project
    make.make_environment(book)
    assert len(calls) == 3


def test_outdated_and_unfinished_environments_are_made_anew(installing):
    book, calls = installing
    make.make_environment(book)
    for spoil in (
        lambda: (book.root / "constraints.txt").write_text("torch==2.14.0\n"),
        lambda: (book.venv / ".stamp").write_text(make.UNFINISHED),
    ):
        (book.venv / "leftover").touch()
        spoil()
        make.make_environment(book)
        assert not (book.venv / "leftover").exists()
    assert calls[-2][-1] == "torch==2.14.0"


def test_failed_installation_is_not_taken_for_whole(installing, monkeypatch):
    book, calls = installing
    with monkeypatch.context() as broken, pytest.raises(make.Stop):
        broken.setattr(make, "install", lambda _: (_ for _ in ()).throw(make.Stop("no network")))
        make.make_environment(book)
    calls.clear()
    make.make_environment(book)
    assert len(calls) == 3


def test_environment_of_somebody_else_is_used_and_never_removed(installing):
    book, calls = installing
    book.python.parent.mkdir(parents=True)
    book.python.touch()
    for pin in ("torch==2.13.0", "torch==2.14.0"):
        (book.root / "constraints.txt").write_text(pin + "\n")
        make.make_environment(book)
        make.make_environment(book)
    assert [call[-1] for call in calls] == [
        "torch==2.13.0",
        ".[book,test]",
        "torch==2.14.0",
        ".[book,test]",
    ]


def test_torch_comes_first_and_from_the_index_that_is_named(installing, monkeypatch):
    book, calls = installing
    monkeypatch.setenv("TORCH_INDEX_URL", "https://example.org/cpu")
    make.make_environment(book)
    _, torch, project = calls
    assert torch[-1] == "torch==2.13.0" and "https://example.org/cpu" in torch
    assert project[-1] == ".[book,test]" and "https://example.org/cpu" not in project


def toy_requirements(folder):
    (folder / "constraints.txt").write_text("torch==2.13.0\n")
    (folder / "pyproject.toml").write_text("")
    return folder


def fails(root, capsys):
    """Make an environment that cannot be made; the line that is printed."""
    assert make.main(["env", "--root", str(root)]) == 1
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert not re.search(r"\bTraceback\b", printed)
    return printed
