"""Sweeps: the same table from any number of workers, resumed after an interrupt, never trusted when damaged."""

import json
import os
import types

import joblib
import numpy as np
import pytest

from helpers import sweeps

CALLS = []


def product(x, y):
    """A task that this file can count."""
    CALLS.append((x, y))
    return {"product": x * y, "sum": x + y}


def stumble(x, y):
    """A task that is interrupted half way, until a file says that the way is clear."""
    if (x, y) == (2, 20) and not os.path.exists(os.environ["CLEAR"]):
        raise KeyboardInterrupt
    return product(x, y)


def sweep(task=product, **changes):
    settings = {"name": "toy", "version": 1, "grid": {"x": [1, 2, 3], "y": [10, 20]}}
    return sweeps.Sweep(task=task, **settings | changes)


@pytest.fixture(autouse=True)
def fresh_count():
    CALLS.clear()


def test_every_run_is_in_its_place(tmp_path):
    table = sweeps.run(sweep(), 1, tmp_path)
    np.testing.assert_array_equal(table.values["product"], [[10, 20], [20, 40], [30, 60]])
    np.testing.assert_array_equal(table.of("sum", x=3), [13, 23])
    assert table.of("product", y=20, x=2) == 40
    assert [path.name for path in tmp_path.iterdir()] == ["toy.json"]


@pytest.mark.parametrize("workers", [1, 2, -1])
def test_the_table_is_the_same_for_any_number_of_workers(tmp_path, workers):
    table = sweeps.run(sweep(), workers, tmp_path)
    one = sweeps.run(sweep(), 1, tmp_path / "one")
    np.testing.assert_array_equal(table.values["product"], one.values["product"])
    written = [
        json.loads((folder / "toy.json").read_text()) for folder in (tmp_path, tmp_path / "one")
    ]
    assert written[0]["values"] == written[1]["values"]


def test_a_local_dask_cluster_does_the_same(tmp_path):
    distributed = pytest.importorskip("distributed")
    expected = sweeps.run(sweep(), 1, tmp_path / "here")
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    )
    with cluster, distributed.Client(cluster), joblib.parallel_config(backend="dask"):
        table = sweeps.run(sweep(), folder=tmp_path / "there")
    np.testing.assert_array_equal(table.values["sum"], expected.values["sum"])


def test_a_table_that_is_there_is_read(tmp_path):
    sweeps.run(sweep(), 1, tmp_path)
    CALLS.clear()
    sweeps.run(sweep(), 1, tmp_path)
    assert CALLS == []


def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setenv("CLEAR", str(tmp_path / "clear"))
    with pytest.raises(KeyboardInterrupt):
        sweeps.run(sweep(stumble), 1, tmp_path)
    assert not (tmp_path / "toy.json").exists()
    assert len(CALLS) == 3
    (tmp_path / "clear").touch()
    CALLS.clear()
    table = sweeps.run(sweep(stumble), 1, tmp_path)
    assert CALLS == [(2, 20), (3, 10), (3, 20)]
    np.testing.assert_array_equal(table.values["product"], [[10, 20], [20, 40], [30, 60]])


@pytest.mark.parametrize(
    "damage", [lambda t: t[: len(t) // 2], lambda t: t.replace("20.0", "21.0")]
)
def test_a_damaged_journal_is_computed_again(tmp_path, monkeypatch, damage):
    monkeypatch.setenv("CLEAR", str(tmp_path / "clear"))
    with pytest.raises(KeyboardInterrupt):
        sweeps.run(sweep(stumble), 1, tmp_path)
    (tmp_path / "clear").touch()
    journal = tmp_path / "toy.journal"
    before = journal.read_text()
    journal.write_text(damage(before))
    assert journal.read_text() != before
    table = sweeps.run(sweep(stumble), 1, tmp_path)
    np.testing.assert_array_equal(table.values["product"], [[10, 20], [20, 40], [30, 60]])


@pytest.mark.parametrize(
    "damage", [lambda t: t[:-20], lambda t: t.replace("40.0", "41.0"), lambda t: "", lambda t: "[]"]
)
def test_a_damaged_table_is_refused_and_computed_again(tmp_path, damage):
    sweeps.run(sweep(), 1, tmp_path)
    path = tmp_path / "toy.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(ValueError, match=r"results/toy\.json .*: run `make experiments`"):
        sweeps.read(sweep(), tmp_path)
    CALLS.clear()
    assert sweeps.run(sweep(), 1, tmp_path).of("product", x=2, y=20) == 40
    assert len(CALLS) == 6


@pytest.mark.parametrize("change", [{"version": 2}, {"grid": {"x": [1, 2, 3], "y": [10, 30]}}])
def test_a_table_of_another_sweep_is_refused(tmp_path, change):
    sweeps.run(sweep(), 1, tmp_path)
    with pytest.raises(ValueError, match="other parameters"):
        sweeps.read(sweep(**change), tmp_path)


def test_a_missing_table_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="make experiments"):
        sweeps.read(sweep(), tmp_path)


@pytest.mark.parametrize(
    ("quantity", "chosen", "words"),
    [
        ("ratio", {}, "quantity must be one of product, sum"),
        ("sum", {"x": 4}, "x = 4"),
        ("sum", {"z": 1}, "no such axis"),
    ],
)
def test_what_is_not_in_the_table(tmp_path, quantity, chosen, words):
    table = sweeps.run(sweep(), 1, tmp_path)
    with pytest.raises(ValueError, match=words):
        table.of(quantity, **chosen)


@pytest.mark.parametrize("failure", ["json", "replace"])
def test_a_failed_save_leaves_what_was_there(tmp_path, monkeypatch, failure):
    sweeps.save({"parameters": {"version": 1}}, "toy", tmp_path)
    before = (tmp_path / "toy.json").read_bytes()
    result = {"parameters": {"version": 2}}
    if failure == "json":
        result["errors"] = {1, 2}  # a set is no JSON
    else:
        monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises((TypeError, OSError)):
        sweeps.save(result, "toy", tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["toy.json"]
    assert (tmp_path / "toy.json").read_bytes() == before


def test_the_results_folder_is_that_of_the_book(root):
    assert sweeps.RESULTS == root / "results"


@pytest.mark.parametrize("loss", ["another parent", "no parent"])
def test_a_worker_ends_when_its_parent_is_gone(loss, monkeypatch):
    """The parent is looked for every half second, by its number and by whether it lives."""
    naps, ended, threads = [], [], []

    class Thread:
        def __init__(self, target, daemon):
            threads.append((target, daemon))

        def start(self):
            threads[-1][0]()

    def parent():
        return 1 if len(naps) >= 3 and loss == "another parent" else 77

    def lives(pid):
        return pid == 77 and not (len(naps) >= 3 and loss == "no parent")

    for name, stand_in in {
        "threading": {"Thread": Thread},
        "time": {"sleep": naps.append},
        "os": {"getppid": parent, "_exit": ended.append},
        "psutil": {"pid_exists": lives},
    }.items():
        monkeypatch.setattr(sweeps, name, types.SimpleNamespace(**stand_in))
    sweeps._watch(77)
    assert naps == [0.5] * 3 and ended == [1] and threads[0][1]
