"""Claims print, record and enforce; inside a notebook the record is the metadata of an output."""

import json
import subprocess
import sys
import types

import IPython
import myst_nb
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from helpers import claims
from helpers.claims import ClaimError, check


@pytest.mark.parametrize(
    ("measured", "bound", "sense", "holds"),
    [
        (1.0, 2.0, "<=", True),
        (2.0, 2.0, "<=", True),
        (2.0001, 2.0, "<=", False),
        (3.0, 2.0, ">=", True),
        (2.0, 2.0, ">=", True),
        (1.9999, 2.0, ">=", False),
        (1.5, (1.0, 2.0), "in", True),
        (1.0, (1.0, 2.0), "in", True),
        (2.0, (1.0, 2.0), "in", True),
        (0.999, (1.0, 2.0), "in", False),
        (2.001, (1.0, 2.0), "in", False),
        (np.nan, 2.0, "<=", False),
        (np.nan, 2.0, ">=", False),
        (np.nan, (1.0, 2.0), "in", False),
        (np.inf, 2.0, "<=", False),
        (-np.inf, 2.0, ">=", False),
    ],
)
def test_every_sense(measured, bound, sense, holds, capsys):
    if holds:
        claim = check("thm-x", "it is so", measured=measured, bound=bound, sense=sense)
        assert claim.holds and claim.measured == measured and claim.bound == bound
        return
    with pytest.raises(ClaimError, match="^thm-x: it is so: .* FAILS$"):
        check("thm-x", "it is so", measured=measured, bound=bound, sense=sense)
    assert capsys.readouterr().out == ""


def test_sense_is_at_most_unless_said():
    assert check("lem-a", "small", measured=1, bound=1).sense == "<="
    with pytest.raises(ClaimError):
        check("lem-a", "small", measured=2, bound=1)


def test_a_failed_claim_is_a_failed_assertion():
    assert issubclass(ClaimError, AssertionError)


@pytest.mark.parametrize(
    ("measured", "bound", "sense", "line"),
    [
        (0.123456, 0.2, "<=", "thm-a: error: 0.123 <= 0.2, holds"),
        (0.98765, 0.9, ">=", "thm-a: error: 0.988 >= 0.9, holds"),
        (-0.6543, (-0.8, -0.5), "in", "thm-a: error: -0.654 in [-0.8, -0.5], holds"),
        (3.1e-14, 1e-10, "<=", "thm-a: error: rounding <= 1e-10, holds"),
        (3.1e-14, 1e-8, "<=", "thm-a: error: 3.1e-14 <= 1e-08, holds"),
    ],
)
def test_the_printed_line(measured, bound, sense, line, capsys):
    claim = check("thm-a", "error", measured=measured, bound=bound, sense=sense)
    assert capsys.readouterr().out == line + "\n"
    assert str(claim) == line


def test_a_rounding_claim_that_fails_shows_what_was_measured():
    with pytest.raises(ClaimError, match="3.46e-07 <= 1e-10, FAILS"):
        check("thm-a", "error", measured=3.456e-7, bound=1e-10)


def test_a_failure_shows_enough_digits_to_be_believed():
    with pytest.raises(ClaimError) as caught:
        check("thm-a", "error", measured=0.5, bound=0.25)
    assert str(caught.value) == "thm-a: error: 0.5 <= 0.25, FAILS"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": ""}, "label must be the label"),
        ({"label": None}, "label must be the label"),
        ({"label": 3}, "label must be the label"),
        ({"sense": "<"}, "sense must be one of <=, >=, in, got '<'"),
        ({"sense": "=="}, "sense must be one of"),
        ({"bound": (0.0, 1.0)}, "bound must be one number for sense='<='"),
        ({"bound": [1.0]}, "bound must be one number"),
        ({"sense": "in"}, "bound must be a pair"),
        ({"sense": "in", "bound": (2.0, 1.0)}, "low <= high"),
        ({"sense": "in", "bound": (1.0, 2.0, 3.0)}, "bound must be a pair"),
        ({"bound": np.nan}, "bound must be finite"),
        ({"bound": np.inf}, "bound must be finite"),
        ({"measured": "much"}, "measured must be a real number, got 'much'"),
        ({"measured": None}, "measured must be a real number"),
        ({"measured": 1j}, "measured must be a real number"),
        ({"measured": [1.0, 2.0]}, "measured must be a real number"),
    ],
)
def test_wrong_arguments(change, message, capsys):
    arguments = {"label": "thm-a", "measured": 0.5, "bound": 1.0} | change
    with pytest.raises(ValueError, match=message):
        check(arguments.pop("label"), "a sentence", **arguments)
    assert capsys.readouterr().out == ""


def test_numpy_scalars_are_numbers():
    claim = check("thm-a", "s", measured=np.float32(0.5), bound=np.int64(1))
    assert type(claim.measured) is float and type(claim.bound) is float


def test_in_a_shell_the_record_is_published_and_nothing_printed(monkeypatch, capsys):
    published = []
    monkeypatch.setattr(IPython, "get_ipython", types.SimpleNamespace)
    monkeypatch.setattr(
        "IPython.display.publish_display_data",
        lambda data, metadata: published.append((data, metadata)),
    )
    check("thm-a", "first", measured=0.123456, bound=0.2)
    check("lem-c", "third", measured=1.7e-15, bound=1e-12)
    assert capsys.readouterr().out == ""
    (first, record), (third, rounding) = published
    assert first == {"text/plain": "thm-a: first: 0.123 <= 0.2, holds"}
    expected = {
        "label": "thm-a",
        "sentence": "first",
        "measured": 0.123,
        "bound": 0.2,
        "sense": "<=",
    }
    assert record == {"claim": expected}
    assert third == {"text/plain": "lem-c: third: rounding <= 1e-12, holds"}
    assert rounding["claim"]["measured"] is None


def test_ipython_that_is_imported_and_does_not_run_changes_nothing(monkeypatch, capsys):
    monkeypatch.setattr(IPython, "get_ipython", lambda: None)
    check("thm-a", "s", measured=1, bound=2)
    assert capsys.readouterr().out == "thm-a: s: 1 <= 2, holds\n"


@pytest.mark.parametrize(
    ("value", "kept"), [(0.1234567, 0.1235), (-98765.4, -98770.0), (np.float32(0.5), 0.5)]
)
def test_a_number_for_the_text_has_four_digits(value, kept, monkeypatch):
    given = []
    monkeypatch.setattr(myst_nb, "glue", lambda *args, **rest: given.append((args, rest)))
    claims.glue("error", value)
    assert given == [(("error", kept), {"display": False})]
    assert type(given[0][0][1]) is float


# ---------------------------------------------------------------- in a notebook

CELLS = [
    "from helpers.claims import check, glue",
    "check('thm-a', 'first', measured=0.123456, bound=0.2)\nNone",
    "check('thm-b', 'second', measured=2.34567, bound=(2, 3), sense='in')\nNone",
    "check('lem-c', 'third', measured=1.7e-15, bound=1e-12)\nNone",
    "glue('error', 0.1234567)",
    "check('thm-d', 'fourth', measured=2.0, bound=1.0)",
]


@pytest.fixture(scope="module")
def outputs():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    NotebookClient(notebook, kernel_name="python3", timeout=60, allow_errors=True).execute()
    return [cell.outputs for cell in notebook.cells]


def test_the_record_is_the_metadata_of_one_output(outputs):
    (output,) = outputs[1]
    assert output.output_type == "display_data"
    assert output.data == {"text/plain": "thm-a: first: 0.123 <= 0.2, holds"}
    assert output.metadata == {
        "claim": {
            "label": "thm-a",
            "sentence": "first",
            "measured": 0.123,  # three digits: the same on every machine
            "bound": 0.2,
            "sense": "<=",
        }
    }
    json.dumps(output.metadata)


def test_the_record_of_a_range(outputs):
    record = outputs[2][0].metadata["claim"]
    assert record["measured"] == 2.35
    assert list(record["bound"]) == [2.0, 3.0]
    assert record["sense"] == "in"


def test_a_rounding_claim_hides_its_digits(outputs):
    (output,) = outputs[3]
    assert output.data["text/plain"] == "lem-c: third: rounding <= 1e-12, holds"
    assert output.metadata["claim"]["measured"] is None


def test_glue_keeps_four_digits(outputs):
    (output,) = outputs[4]
    assert "0.1235" in str(output.data) and "0.12345" not in str(output.data)
    assert output.metadata["scrapbook"]["name"] == "error"


def test_a_failed_claim_stops_the_cell(outputs):
    (output,) = outputs[5]
    assert output.output_type == "error" and output.ename == "ClaimError"
    assert output.evalue == "thm-d: fourth: 2 <= 1, FAILS"


def test_outside_of_notebooks_ipython_is_not_needed():
    code = (
        "import sys; from helpers import claims; claims.check('thm-a', 's', measured=1, bound=2);"
        "assert 'IPython' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.returncode) == ("thm-a: s: 1 <= 2, holds\n", 0), done.stderr


def test_senses_are_those_of_the_message():
    assert claims.SENSES == ("<=", ">=", "in")
