"""The page on reproducibility, and that every draw has a seed."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from conftest import NOTEBOOKS, ROOT

sys.path.insert(0, str(ROOT / "_ext"))
executed = importlib.import_module("executed")
page = importlib.import_module("reproducibility")
seeds = importlib.import_module("seeds")

TAKEN = {
    "execution_seconds": 12.34,
    "core_seconds": 10.06,
    "megabytes": 512.4,
    "date": "2026-11-30",
    "machine": "2 cores, 25 GB of memory, Linux x86_64",
}


def run(name="10_x", **taken):
    cell = nbformat.v4.new_code_cell("mixture.sample(5, seed=3)")
    notebook = nbformat.v4.new_notebook(cells=[cell])
    return executed.Execution(Path(f"notebooks/{name}.ipynb"), notebook, TAKEN | taken)


def test_what_a_notebook_took():
    row = ["{doc}`10_x <../notebooks/10_x>`", "12.3", "10.1", "512", "2026-11-30", "3"]
    assert page.run_row(run()) == row


def test_the_extremes_are_named():
    runs = [run(), run("11_long", execution_seconds=50.0), run("12_large", megabytes=1500.0)]
    text = page.run_summary(runs)
    assert r"11\_long with 50 s" in text and r"12\_large with 1500 MB" in text
    assert "3 notebooks took 30 core-seconds together" in text
    assert text.count("25 GB of memory") == 1


def test_versions_are_of_what_the_book_needs():
    found = dict(page.versions())
    assert {"Python", "numpy", "torch", "jupyter-book"} <= found.keys()
    assert found["Python"] == "{}.{}.{}".format(*sys.version_info)
    assert "pytest" not in found


def test_the_commit(tmp_path):
    assert "no git repository" in page.commit(tmp_path)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    assert page.commit(tmp_path).count("`") == 2 and "changes" not in page.commit(tmp_path)
    (tmp_path / "new").touch()
    assert page.commit(tmp_path).endswith("with changes that are not committed")


def cells(name, table):
    """Texts of the cells of a table of a built page, row by row."""
    text = (ROOT / "_build" / "html" / "book" / f"{name}.html").read_text(encoding="utf-8")
    rows = BeautifulSoup(text, "html.parser").select(f"article {table} tbody tr")
    return [[cell.get_text().strip() for cell in row.select("td")] for row in rows]


def test_every_notebook_was_measured_and_keeps_its_budget():
    rows = [row for row in cells("reproducibility", "table") if len(row) == 6]
    assert [row[0] for row in rows] == [path.stem for path in NOTEBOOKS], "make clean, make book"
    for name, seconds, _, megabytes, *_ in rows:
        assert 0 < float(seconds) and 0 < float(megabytes) <= 2000, name


def test_every_claim_has_its_cell_and_time():
    rows = cells("claims", "table.claims")
    assert len(rows) > 300
    assert not [row for row in rows if not row[5].endswith(" s")], "make clean, make book"


# ---------------------------------------------------------------- deep tests

RECORD = {
    "what": "Kills of a build",
    "date": "2026-11-30",
    "machine": "2 cores",
    "rows": [{"name": "half | files", "value": 0, "bound": 0, "note": None}, {"name": "b"}],
}


def test_a_deep_test_is_shown(tmp_path):
    path = tmp_path / "kills.json"
    path.write_text(json.dumps(RECORD), encoding="utf-8")
    lines = page.deep_lines(page.deep_record(path))
    assert lines[0] == "**Kills of a build** (2026-11-30, 2 cores)"
    assert lines[4:6] == [r"| half \| files | 0 | 0 |  |", "| b |  |  |  |"]


@pytest.mark.parametrize(
    "change",
    [
        {"what": 3},
        {"date": "yesterday"},
        {"machine": None},
        {"rows": {}},
        {"rows": [{}]},
        {"rows": [3]},
    ],
)
def test_a_malformed_record_is_named(tmp_path, change):
    path = tmp_path / "kills.json"
    path.write_text(json.dumps(RECORD | change), encoding="utf-8")
    with pytest.raises(ValueError, match=r"results/deep/kills\.json: "):
        page.deep_record(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null"])
def test_a_broken_record_is_named(tmp_path, text):
    path = tmp_path / "kills.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"results/deep/kills\.json: "):
        page.deep_record(path)


def test_what_is_kept_can_be_shown():
    for path in (ROOT / "results" / "deep").glob("*.json"):
        assert page.deep_lines(page.deep_record(path))


# ---------------------------------------------------------------- seeds


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("mixture.sample(10, seed=3)", [3]),
        ("mixture.sample(10, 4)", [4]),
        ("np.random.default_rng(5)", [5]),
        ("np.random.default_rng([5, 1])", [1, 5]),
        ("torch.manual_seed(6)", [6]),
        ("[f(seed) for seed in range(3)]", [0, 1, 2]),
        ("for seed in (1, 2):\n    f(seed)", [1, 2]),
        ("n, seeds = 10, range(2, 4)", [2, 3]),
        ("def f(p, seed=7): ...", [7]),
        ("f(seed=seed)\nf(seeds=[8, 9])", [8, 9]),
        ("f(10, 3)\nn = 5", []),
    ],
)
def test_seeds_are_read_from_code(source, found):
    assert seeds.seeds([source]) == found


def test_seeds_in_few_words():
    assert seeds.shown([0, 1, 2, 3, 5, 7, 8]) == "0–3, 5, 7, 8"
    assert seeds.shown([]) == ""


LEGACY = {"seed", "rand", "randn", "randint", "normal", "uniform", "choice", "permutation"} | {
    "shuffle",
    "random",
    "standard_normal",
    "RandomState",
    "get_state",
}
TORCH = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial"} | {
    "rand_like",
    "randn_like",
    "normal_",
    "uniform_",
    "bernoulli_",
}


def unseeded(source):
    """Calls that draw from a global state or from a generator without a seed."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name, words = ast.unparse(node.func), {word.arg for word in node.keywords}
        owner, _, last = name.rpartition(".")
        global_state = owner in ("np.random", "numpy.random", "random") and last in LEGACY
        of_torch = last in TORCH and (owner == "torch" or last.endswith("_"))
        no_seed = last in ("default_rng", "SeedSequence") and not (node.args or words)
        if global_state or no_seed or (of_torch and "generator" not in words):
            found.append(name)
        if last in ("rvs", "sample") and not (
            {"seed", "random_state"} & words or len(node.args) > 1
        ):
            found.append(name)
    return found


@pytest.mark.parametrize(
    "source",
    [
        "np.random.randn(3)",
        "np.random.default_rng()",
        "torch.randn(3)",
        "x.normal_()",
        "stats.norm.rvs(size=3)",
        "mixture.sample(10)",
        "random.shuffle(x)",
    ],
)
def test_a_draw_without_a_seed_is_found(source):
    assert unseeded(source)
    assert not unseeded("rng = np.random.default_rng(3); rng.normal(); mixture.sample(10, 3)")
    assert not unseeded("torch.randn(3, generator=g); x.normal_(generator=g)")


# an activation that is no function, which `match` must refuse
ON_PURPOSE = {"43_design_your_own": ["np.random.default_rng"]}
SCRIPTS = [
    path for name in ("src", "benchmarks", "deep", "tools") for path in (ROOT / name).rglob("*.py")
]


@pytest.mark.parametrize("path", [*NOTEBOOKS, *SCRIPTS], ids=lambda path: path.stem)
def test_every_draw_has_a_seed(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = nbformat.reads(text, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert unseeded(text) == ON_PURPOSE.get(path.stem, [])
