"""A notebook is executed alone and leaves nothing; ``deep/alone.py`` visits them all."""

import shutil
import sys

import nbformat
import numpy as np
import pytest
from conftest import NOTEBOOKS, ROOT

sys.path.insert(0, str(ROOT / "deep"))
import alone

WAIT = "while time.process_time() < begun + 0.15: pass"
CELLS = {
    "home": "from pathlib import Path\nPath.home().joinpath('note').write_text('x')",
    "temporary": "import tempfile\n_ = tempfile.mkdtemp(prefix='kept')",
    "book": "_ = open('beside', 'w').write('x')",
    "gone": "import tempfile\nwith tempfile.TemporaryDirectory(): pass",
    "silent": f"import time\nbegun = time.process_time()\n{WAIT}",
    "shown": "import sys, time\nfrom tqdm import tqdm\nbegun = time.process_time()\n"
    f"for _ in tqdm(range(1), file=sys.stdout):\n    {WAIT}",
}


def visit(folder, *names):
    """Visit a notebook of these cells."""
    cells = [nbformat.v4.new_code_cell(CELLS[name]) for name in names]
    shutil.copy(ROOT / "tests" / "toy" / "notebooks" / "budgets.toml", folder)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "10_toy.ipynb")
    return alone.visit(folder / "10_toy.ipynb")


def test_what_is_left_is_found(tmp_path):
    seen = visit(tmp_path, "home", "temporary", "book", "gone")
    assert seen.failure is None
    first, *rest, last = seen.left
    assert (first, rest) == ("book/beside", ["home/note"]) and last.startswith("temporary/kept")


def test_silence_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(alone, "LONG", 0.1)
    seen = visit(tmp_path, "home", "silent", "shown")
    assert (seen.long, seen.silent) == ([2, 3], [2])


def test_all_is_counted():
    visits = [
        alone.Visit("10_a", None, ["home/x"], [1, 2], [2]),
        alone.Visit("11_b", "code cell 1: E", [], [], []),
    ]
    over, left, silent = alone.rows(visits)
    assert (over["value"], over["note"]) == (1, "of 2 notebooks: 11_b, code cell 1: E")
    assert (left["value"], left["note"]) == (1, "of 2 notebooks: 10_a left home/x")
    assert (silent["value"], silent["note"]) == (1, "of 2 such cells: 10_a, cell 2")


SAMPLE = np.random.default_rng(9).choice(NOTEBOOKS, 2, replace=False)


@pytest.mark.parametrize("path", SAMPLE, ids=lambda path: path.stem)
def test_a_notebook_of_the_book_runs_from_the_root_and_leaves_nothing(path, monkeypatch):
    monkeypatch.setenv("BOOK_NOTEBOOK_SECONDS", "600")  # its time is the build's affair
    seen = alone.visit(path)
    assert (seen.failure, seen.left) == (None, [])
