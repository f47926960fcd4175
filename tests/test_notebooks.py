"""Notebooks as they are committed: executed, clean, the same on every machine."""

import json
import re

import pytest

MACHINE_PATH = re.compile(
    r"(?<![\w.:/])/(home|Users|root|tmp|work|opt|private|var)/|[A-Z]:\\\\Users"
)
LONG_NUMBER = re.compile(r"(?<![\w.])-?\d+\.\d+(?:e[+-]?\d+)?", re.IGNORECASE)
IGNORED = "nbval-ignore-output"


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(cell):
    """Everything in the outputs of a cell that nbval compares as text."""
    for output in cell.outputs:
        if output.output_type == "stream":
            yield output.text
        for kind, content in output.get("data", {}).items():
            if not kind.startswith("image/"):
                yield content if isinstance(content, str) else json.dumps(content)


def significant_digits(number):
    mantissa = number.lower().partition("e")[0]
    return len(mantissa.lstrip("-").replace(".", "").lstrip("0"))


def test_every_notebook_is_a_page(root, toc_files):
    on_disk = {f"notebooks/{path.stem}" for path in (root / "notebooks").glob("*.ipynb")}
    assert on_disk
    assert on_disk == {name for name in toc_files if name.startswith("notebooks/")}


def test_cells_were_run_once_in_order(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1)), "run `make notebooks`"


def test_there_are_outputs_to_compare(notebook):
    compared = [
        cell for cell in code_cells(notebook) if IGNORED not in cell.metadata.get("tags", [])
    ]
    assert sum(bool(cell.outputs) for cell in compared) >= 1


def test_no_errors_and_no_warnings_are_stored(notebook):
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert not [out for out in outputs if out.output_type == "error" or out.get("name") == "stderr"]


def test_nothing_of_one_machine_is_stored(notebook):
    found = [
        text for cell in code_cells(notebook) for text in texts(cell) if MACHINE_PATH.search(text)
    ]
    assert not found


def test_numbers_are_short_enough_to_be_the_same_everywhere(notebook):
    """Floating-point sums differ between machines in their last digits, so these are not stored."""
    long = [
        number
        for cell in code_cells(notebook)
        if IGNORED not in cell.metadata.get("tags", [])
        for text in texts(cell)
        for number in LONG_NUMBER.findall(text)
        if significant_digits(number) > 6
    ]
    assert not long, "round what is printed or glued to 4 digits"


def test_metadata_does_not_change_from_run_to_run(notebook):
    assert notebook.metadata.kernelspec.name == "python3"
    assert not [cell for cell in notebook.cells if "execution" in cell.metadata], (
        "run `make notebooks`"
    )
    assert "version" not in notebook.metadata.get("language_info", {}), "run `make notebooks`"


@pytest.mark.parametrize(
    "number, digits", [("0.0012", 2), ("-12.50", 4), ("1.5e-07", 2), ("0.1234567", 7)]
)
def test_significant_digits(number, digits):
    assert significant_digits(number) == digits


def test_figures_have_caption_name_and_alternative_text(notebook):
    for cell in code_cells(notebook):
        if any(kind.startswith("image/") for out in cell.outputs for kind in out.get("data", {})):
            render = cell.metadata.get("mystnb", {})
            assert len(render.get("figure", {}).get("caption", "")) > 20, cell.source
            assert render["figure"].get("name", "").startswith("fig-"), cell.source
            assert len(render.get("image", {}).get("alt", "")) > 20, cell.source


def test_cells_are_short(notebook):
    assert not [cell.source for cell in code_cells(notebook) if len(cell.source.splitlines()) > 30]


def test_every_claim_is_of_a_statement_in_the_book(root, notebook):
    book = " ".join(path.read_text(encoding="utf-8") for path in (root / "book").glob("*.md"))
    labels = set(re.findall(r":label: ([\w-]+)", book)) | set(
        re.findall(r"\$\$ \(([\w-]+)\)", book)
    )
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    claims = [
        output.metadata["claim"] for output in outputs if "claim" in output.get("metadata", {})
    ]
    assert claims, "a notebook without a claim shows nothing that could fail"
    assert {claim["label"] for claim in claims} <= labels
