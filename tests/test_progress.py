"""Progress is shown in notebooks where something takes more than two seconds, and nowhere else."""

import os
import re
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient

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
