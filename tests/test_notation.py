"""The notation page is held to the code: what it names exists, and what exists is named."""

from __future__ import annotations

import dataclasses
import importlib
import re
from pathlib import Path

import pytest

from helpers import activations, equivalents, mixtures, networks

PAGE = Path(__file__).resolve().parents[1] / "book" / "notation.md"
CLASSES = {
    cls.__name__: cls
    for cls in (
        activations.Activation,
        equivalents.Coefficients,
        equivalents.Equivalent,
        mixtures.GaussianMixture,
        mixtures.Sample,
        mixtures.Statistics,
        networks.ImplicitNetwork,
    )
}


def rows() -> list[list[str]]:
    """The cells of every table row, without the head."""
    lines = [
        line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")
    ]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells if row[0] not in ("symbol", "---")]


def names() -> list[str]:
    return re.findall(r"`(\w+\.\w+)`", " ".join(row[2] for row in rows()))


def exists(name: str) -> bool:
    owner, attribute = name.split(".")
    if owner not in CLASSES:
        return hasattr(importlib.import_module(f"helpers.{owner}"), attribute)
    cls = CLASSES[owner]
    fields = [f.name for f in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []
    return (
        hasattr(cls, attribute)
        or attribute in fields
        or (attribute in cls.__init__.__code__.co_varnames)
    )


def test_every_row_has_four_cells():
    assert len(rows()) > 30
    assert [row for row in rows() if len(row) != 4] == []


@pytest.mark.parametrize("name", names())
def test_what_the_page_names_exists(name):
    assert exists(name)


def test_a_name_that_does_not_exist_is_found_out():
    assert not exists("Statistics.tau1")
    assert not exists("kernels.kc")


@pytest.mark.parametrize("cls", [mixtures.Statistics, equivalents.Coefficients])
def test_every_field_of_the_records_is_on_the_page(cls):
    missing = {f"{cls.__name__}.{f.name}" for f in dataclasses.fields(cls)} - set(names())
    assert missing == set()


def test_no_symbol_stands_twice():
    symbols = re.findall(r"\$[^$]+\$", " ".join(row[0] for row in rows()))
    assert sorted(set(symbols)) == sorted(symbols)
