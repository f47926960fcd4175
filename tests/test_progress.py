"""Progress is shown in notebooks where something takes more than two seconds, and nowhere else."""

import importlib
import os
import re
import subprocess
import sys
import threading
import types

import IPython
import nbformat
import pytest
from nbclient import NotebookClient

import helpers
from helpers import progress

CELLS = [
    "import helpers\nfrom helpers import progress\nimport time\nprogress.DELAY = 0.3",
    "time.sleep(2.5)",
    "print('short')",
    "for _ in progress.track(range(4), 4, 'counting'):\n    time.sleep(0.5)",
    "time.sleep(1.5)\nprint('end')\n1 / 0",
    "time.sleep(0.1)",
]


def printed(**environment):
    """What the cells print."""
    cells = [nbformat.v4.new_code_cell(cell) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = NotebookClient(notebook, kernel_name="python3", allow_errors=True)
    client.execute(env=os.environ | environment)
    return ["".join(out.get("text", "") for out in cell.outputs) for cell in notebook.cells]


def test_long_cells_show_a_clock_or_a_bar():
    first, clock, short, bar, failing, last = printed(HELPERS_PROGRESS="1")
    assert (first, short, last) == ("", "short\n", "")
    assert re.search(r"\rrunning for [23] s\n$", clock)
    assert "counting: 100%|" in bar and "running" not in bar.partition("counting")[2]
    assert re.search(r"running for \d s", failing) and "end" in failing


def test_nothing_is_shown_where_it_is_switched_off():
    assert printed(HELPERS_PROGRESS="0") == ["", "", "short\n", "", "end\n", ""]


@pytest.mark.parametrize(("value", "wanted"), [("0", False), ("1", True), (None, True)])
def test_the_switch(monkeypatch, value, wanted):
    monkeypatch.delenv("HELPERS_PROGRESS", raising=False)
    if value is not None:
        monkeypatch.setenv("HELPERS_PROGRESS", value)
    assert progress.wanted() is wanted


def test_scripts_are_left_alone():
    code = (
        "import sys, threading, helpers; assert 'tqdm' not in sys.modules;"
        "assert threading.active_count() == 1; from helpers.progress import track;"
        "assert list(track(range(3), 3, 'x')) == [0, 1, 2]"
    )
    call = [sys.executable, "-c", code]
    done = subprocess.run(call, capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# ---------------------------------------------------------------- in this process


class Over:
    """An event that is set after some waits, which it remembers."""

    def __init__(self, waits):
        self.left, self.waited = waits, []

    def wait(self, seconds):
        self.waited.append(seconds)
        self.left -= 1
        return self.left < 0


@pytest.fixture
def no_bars(monkeypatch):
    monkeypatch.setattr(progress.tqdm, "_instances", [], raising=False)


@pytest.fixture
def seconds(monkeypatch):
    """A clock that goes on by 1.5 seconds whenever it is read."""
    times = iter(100 + 1.5 * k for k in range(10))
    monkeypatch.setattr(progress, "time", types.SimpleNamespace(monotonic=lambda: next(times)))


def test_the_time_is_written_every_second_after_a_delay(no_bars, seconds, capsys):
    over = Over(3)
    progress.show_time(over)
    lines = ["running for 2 s", "running for 3 s", "running for 4 s"]  # 1.5, 3 and 4.5, to even
    assert capsys.readouterr().out == "".join("\r" + line for line in lines) + "\n"
    assert over.waited == [progress.DELAY, 1.0, 1.0, 1.0]


def test_a_short_cell_writes_nothing(no_bars, seconds, capsys):
    over = Over(0)
    progress.show_time(over)
    assert capsys.readouterr().out == "" and over.waited == [progress.DELAY]


@pytest.mark.parametrize(("moved", "shown"), [((3,), False), ((0, 1), False), ((0,), True)])
def test_the_time_is_left_out_while_a_bar_moves(moved, shown, seconds, monkeypatch, capsys):
    bars = [types.SimpleNamespace(n=n) for n in moved]
    monkeypatch.setattr(progress.tqdm, "_instances", bars, raising=False)
    progress.show_time(Over(1))
    assert capsys.readouterr().out == ("\rrunning for 2 s\n" if shown else "")


@pytest.mark.parametrize("switch", ["0", "1"])
def test_a_clock_runs_in_a_thread_from_start_to_stop(switch, monkeypatch):
    began, ended = threading.Event(), threading.Event()

    def show(over):
        began.set()
        if threading.current_thread().daemon and over.wait(10):
            ended.set()

    monkeypatch.setenv("HELPERS_PROGRESS", switch)
    monkeypatch.setattr(progress, "show_time", show)
    clock = progress.Clock()
    clock.stop()  # a cell that ends before any has begun
    assert not began.is_set()
    clock.start("info")
    assert began.wait(10 if switch == "1" else 0.05) is (switch == "1")
    assert not ended.is_set()
    clock.stop("result")
    assert ended.wait(10 if switch == "1" else 0) is (switch == "1")


class AtOnce:
    """A thread that has done its work when it starts."""

    def __init__(self, target, args, daemon):
        self.target, self.args = target, args

    def start(self):
        self.target(*self.args)


def test_cells_are_watched_in_a_notebook_and_nowhere_else(monkeypatch):
    monkeypatch.setenv("HELPERS_PROGRESS", "1")
    registered, overs = {}, []
    monkeypatch.setattr(progress, "show_time", overs.append)
    own = types.SimpleNamespace(Thread=AtOnce, Event=threading.Event)
    monkeypatch.setattr(progress, "threading", own)
    events = types.SimpleNamespace(register=registered.__setitem__)
    for shell in (None, types.SimpleNamespace(events=events)):  # a script, a terminal
        monkeypatch.setattr(IPython, "get_ipython", lambda shell=shell: shell)
        progress.watch_cells()
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "IPython")
        progress.watch_cells()
    assert not registered and not overs
    shell = types.SimpleNamespace(events=events, kernel=None)
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    progress.watch_cells()
    assert list(registered) == ["pre_run_cell", "post_run_cell"]
    registered["post_run_cell"]("result")  # the cell that imports ends its own clock
    registered["pre_run_cell"]("info")
    assert [over.is_set() for over in overs] == [True, False]


def test_a_bar_needs_a_terminal_or_a_notebook_and_the_switch(monkeypatch):
    def off(ipykernel, terminal, switch):
        with monkeypatch.context() as patch:
            patch.setenv("HELPERS_PROGRESS", switch)
            patch.delitem(sys.modules, "ipykernel", raising=False)
            if ipykernel:
                patch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
            patch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
            bar = progress.track(range(3), 3, "counting")
            disabled = bar.disable
            assert list(bar) == [0, 1, 2]
            return disabled

    assert not off(True, False, "1") and not off(False, True, "1")
    assert off(False, False, "1") and off(True, True, "0")


@pytest.mark.parametrize("kernel", [False, True])
def test_the_package_watches_cells_where_there_may_be_a_notebook(kernel, monkeypatch):
    watched = []
    monkeypatch.setattr(progress, "watch_cells", lambda: watched.append(1))
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    if kernel:
        monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    importlib.reload(helpers)
    assert len(watched) == kernel
