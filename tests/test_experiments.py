"""The book's sweeps: what a run computes, and that the committed tables are what the code computes."""

import runpy

import numpy as np
import pytest

from helpers import activations, experiments, gaps, practice, sweeps
from helpers.experiments import CK_RATE

# ---------------------------------------------------------------- one run

POINT = {"activation": "relu", "sigma_a2": 0.2, "p": 64, "seed": 1, "ratio": 0.5}


def test_a_run_is_deterministic_and_its_arguments_matter():
    error = experiments.ck_error(**POINT)["error"]
    assert error == experiments.ck_error(**POINT)["error"] > 0
    others = {"activation": "tanh", "sigma_a2": 0.4, "p": 65, "ratio": 0.75, "seed": 2}
    for name, value in others.items():
        other = experiments.ck_error(**POINT | {name: value})["error"]
        assert abs(other / error - 1) > 1e-4, name


def test_a_linear_network_has_a_closed_form():
    """Of phi(x) = x, G* is X^T X sigma_b2 / (1 - sigma_a2) = X^T X and the equivalent is exact."""
    linear = activations.get("leaky_relu", a=1.0, b=1.0)
    assert experiments.ck_error(linear, 0.2, 50, 0)["error"] < 1e-12


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


# ---------------------------------------------------------------- the committed tables


SHARES = ("agreement", "accuracy")  # of test images: two runs may agree in them


@pytest.mark.parametrize("sweep", experiments.SWEEPS, ids=lambda sweep: sweep.name)
def test_a_committed_table_is_complete_and_recomputes(sweep):
    table = sweeps.read(sweep)
    shape = tuple(len(values) for values in sweep.grid.values())
    for name, values in table.values.items():
        assert values.shape == shape and (values > 0).all(), name
        assert name.endswith(SHARES) or len(np.unique(values)) == values.size, name
    cheap = [point for point in sweep.points() if point.get("p", 0) <= 512]
    count = 4 if "p" in cheap[0] else 1
    for index in np.random.default_rng(len(sweep.name)).choice(len(cheap), count, replace=False):
        for name, value in sweep.task(**cheap[index]).items():
            if name == "twin" and not same_versions(table):
                continue  # a search: among several exact twins, another version may end in another one
            found = table.of(name, **cheap[index])
            assert value == pytest.approx(found, rel=1e-6), (name, cheap[index])


def same_versions(table):
    """Whether a table was made with the numpy that is at hand."""
    return table.made.endswith(f"numpy {np.__version__}")


@pytest.mark.parametrize(("name", "low", "high"), [("relu", -0.8, -0.7), ("tanh", -0.42, -0.34)])
def test_the_committed_slopes(name, low, high):
    errors = sweeps.read(CK_RATE).of("error", activation=name, sigma_a2=0.2)
    mean, error = experiments.slope(np.array(CK_RATE.grid["p"]), errors)
    assert low < mean < high and 0 < error < 0.01


# ---------------------------------------------------------------- the headline and main


def test_main_runs_what_is_missing(tmp_path, monkeypatch, capsys):
    tiny = sweeps.Sweep(
        "ck_rate", 2, experiments.ck_error, CK_RATE.grid | {"p": [40, 60], "seed": [0, 1]}
    )
    twins = sweeps.Sweep(
        "twins", 2, gaps.twin_gaps, experiments.TWINS.grid | {"p": [40, 60], "seed": [0, 1]}
    )
    twins.grid.update(activation=["relu"], kernel=["ck"])
    monkeypatch.setattr(experiments, "SWEEPS", [twins, tiny])
    monkeypatch.setattr(experiments, "TWINS", twins)
    monkeypatch.setattr(practice, "SWEEPS", [])
    monkeypatch.setattr(sweeps, "RESULTS", tmp_path)
    monkeypatch.setattr(experiments.headline, "__defaults__", (tmp_path,))
    experiments.main()
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "wrote headline.png" and printed[-2].startswith("ck_rate: 20")
    assert (tmp_path / "headline.png").read_bytes().startswith(b"\x89PNG")
    assert sweeps.read(tiny).values["error"].shape == (2, 1, 2, 2)


class Begun(Exception):
    """The first sweep was asked for."""


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_as_a_script_it_runs_the_sweeps(monkeypatch):
    def run(sweep):
        raise Begun(sweep.name)

    monkeypatch.setattr(sweeps, "run", run)
    runpy.run_module("helpers.experiments", run_name="imported")
    with pytest.raises(Begun, match="^ck_rate$"):
        runpy.run_module("helpers.experiments", run_name="__main__")
