"""Sweeps: the same numbers anywhere, results read whole or not at all."""

import dataclasses
import json
import os

import numpy as np
import pytest

from helpers import experiments
from helpers.experiments import CK_RATE, RESULTS, Point

TINY = {
    "version": 1,
    "activations": ["relu", "tanh"],
    "sigma_a2": 0.3,
    "p": [40, 60],
    "ratio": 0.5,
    "seeds": [3, 4, 5],
}


# ---------------------------------------------------------------- one run


def test_a_point_is_deterministic_and_its_fields_matter():
    point = Point("relu", 0.2, 64, 0.5, 1)
    error = experiments.ck_error(point)
    assert error == experiments.ck_error(point) > 0
    for field, value in [
        ("activation", "tanh"),
        ("sigma_a2", 0.4),
        ("p", 65),
        ("ratio", 0.75),
        ("seed", 2),
    ]:
        other = experiments.ck_error(dataclasses.replace(point, **{field: value}))
        assert abs(other / error - 1) > 1e-4, field


def test_a_point_of_a_linear_network_has_a_closed_form():
    """Of phi(x) = x, G* is X^T X sigma_b2 / (1 - sigma_a2) = X^T X and the equivalent is exact."""
    from helpers import activations

    linear = activations.get("leaky_relu", a=1.0, b=1.0)
    assert experiments.ck_error(Point(linear, 0.2, 50, 0.8, 0)) < 1e-12


# ---------------------------------------------------------------- a sweep


@pytest.fixture(scope="module")
def tiny():
    return experiments.ck_rate(TINY, workers=1)


def test_a_sweep_is_the_same_for_any_number_of_workers(tiny):
    assert experiments.ck_rate(TINY, workers=2)["errors"] == tiny["errors"]


def test_a_sweep_puts_every_run_in_its_place(tiny):
    assert list(tiny["errors"]) == TINY["activations"]
    for name, rows in tiny["errors"].items():
        assert np.shape(rows) == (3, 2)
        for seed, row in zip(TINY["seeds"], rows):
            for p, error in zip(TINY["p"], row):
                expected = experiments.ck_error(Point(name, 0.3, p, 0.5, seed))
                assert error == pytest.approx(expected, rel=1e-9)


def test_a_sweep_says_what_it_was(tiny):
    assert tiny["parameters"] == TINY
    assert set(tiny) == {"parameters", "date", "machine", "versions", "errors"}
    assert np.__version__ in tiny["versions"]
    json.dumps(tiny)


# ---------------------------------------------------------------- slopes


def test_slope_of_power_laws():
    p = np.array([100, 200, 400, 800])
    errors = np.stack([3.0 * p**-0.5, 0.2 * p**-0.7, 7.0 * p**-0.9])
    mean, error = experiments.slope(p, errors)
    assert mean == pytest.approx(-0.7, abs=1e-12)
    # slopes -0.5, -0.7, -0.9 have variance 0.04
    assert error == pytest.approx(0.2 / np.sqrt(3), rel=1e-12)


def test_slope_is_that_of_least_squares():
    p, errors = np.array([1.0, np.e, np.e**2]), np.exp([[0.0, 2.0, 1.0], [0.0, 0.0, -4.0]])
    mean, error = experiments.slope(p, errors)
    # (y_3 - y_1)/2 for three equally spaced abscissas: 1/2 and -2
    assert mean == pytest.approx(-0.75) and error == pytest.approx(1.25)


@pytest.mark.parametrize("errors", [[0.5, 0.3], [[0.5, 0.3]]])
def test_slope_of_one_seed_has_no_standard_error(errors):
    with pytest.raises(ValueError, match="at least 2 seeds .*, got 1"):
        experiments.slope(np.array([10, 20]), np.array(errors))


# ---------------------------------------------------------------- files


def test_save_and_load(tmp_path, tiny):
    folder = tmp_path / "new" / "folder with a space"
    path = experiments.save(tiny, "ck", folder)
    assert path == folder / "ck.json"
    assert experiments.load("ck", TINY, folder) == tiny
    assert [entry.name for entry in folder.iterdir()] == ["ck.json"]


@pytest.mark.parametrize("failure", ["json", "replace"])
def test_a_failed_save_leaves_what_was_there(tmp_path, monkeypatch, failure):
    old = {"parameters": {"version": 1}}
    experiments.save(old, "ck", tmp_path)
    before = (tmp_path / "ck.json").read_bytes()
    result = {"parameters": {"version": 2}}
    if failure == "json":
        result["errors"] = {1, 2}  # a set is no JSON
    else:
        monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises((TypeError, OSError)):
        experiments.save(result, "ck", tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["ck.json"]
    assert (tmp_path / "ck.json").read_bytes() == before


def test_load_refuses_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="results/none.json is missing: run `make exper"):
        experiments.load("none", {}, tmp_path)


@pytest.mark.parametrize(
    "content", ["", "{", '{"errors": 1}', "[1, 2]", "3", "null", '"parameters"', b"\xff\xfe\x00"]
)
def test_load_refuses_what_is_no_result(tmp_path, content):
    content = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "ck.json").write_bytes(content)
    with pytest.raises(ValueError, match="results/ck.json is not a result file: run `make exper"):
        experiments.load("ck", TINY, tmp_path)


@pytest.mark.parametrize("key", list(TINY))
def test_load_refuses_other_parameters(tmp_path, tiny, key):
    experiments.save(tiny, "ck", tmp_path)
    with pytest.raises(ValueError, match="is of other parameters .* run `make experiments`"):
        experiments.load("ck", TINY | {key: 9}, tmp_path)


# ---------------------------------------------------------------- the committed result


@pytest.fixture(scope="module")
def committed():
    return experiments.load("ck_rate", CK_RATE)


def test_the_committed_sweep_is_complete(committed):
    assert list(committed["errors"]) == CK_RATE["activations"]
    for rows in committed["errors"].values():
        rows = np.array(rows)
        assert rows.shape == (len(CK_RATE["seeds"]), len(CK_RATE["p"]))
        assert (rows > 0).all() and len(np.unique(rows)) == rows.size


@pytest.mark.parametrize("name", CK_RATE["activations"])
def test_a_committed_row_recomputes(committed, name):
    # another seed every day, and any of them must hold
    seed = int(np.random.default_rng().integers(len(CK_RATE["seeds"])))
    for column, p in enumerate(CK_RATE["p"]):
        if p <= 512:
            point = Point(name, CK_RATE["sigma_a2"], p, CK_RATE["ratio"], CK_RATE["seeds"][seed])
            stored = committed["errors"][name][seed][column]
            assert experiments.ck_error(point) == pytest.approx(stored, rel=1e-9), point


@pytest.mark.parametrize(("name", "low", "high"), [("relu", -0.8, -0.7), ("tanh", -0.42, -0.34)])
def test_the_committed_slopes(committed, name, low, high):
    mean, error = experiments.slope(np.array(CK_RATE["p"]), np.array(committed["errors"][name]))
    assert low < mean < high and 0 < error < 0.01


def test_the_results_folder_is_that_of_the_book(root):
    assert RESULTS == root / "results"


# ---------------------------------------------------------------- the headline and main


def test_main_writes_its_results(tmp_path, monkeypatch, capsys, tiny):
    monkeypatch.setattr(experiments, "ck_rate", lambda: tiny | {"parameters": CK_RATE | TINY})
    monkeypatch.setattr(experiments, "CK_RATE", TINY)
    monkeypatch.setattr(experiments, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(experiments.save, "__defaults__", (tmp_path / "results",))
    monkeypatch.setattr(experiments.headline, "__defaults__", (tmp_path / "results",))
    experiments.main()
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == ["wrote results/ck_rate.json", "wrote results/headline.png"]
    assert printed[2].startswith("  relu: slope -") and " ± " in printed[2]
    picture = (tmp_path / "results" / "headline.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 10_000
    assert json.loads((tmp_path / "results" / "ck_rate.json").read_text())["errors"]
