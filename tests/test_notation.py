"""The notation page is held to the code and to the chapters: what it names exists, what exists is named."""

import dataclasses
import importlib
import re
from functools import cache

import pytest
from conftest import ROOT

from helpers import equivalents, mixtures, networks, refined

PAGE = ROOT / "book" / "notation.md"
HEAD = ["symbol", "meaning", "in the code", "defined in"]
NO_NAME, NOT_YET = "—", "a later chapter"
NAME = re.compile(r"`(\w+\.\w+)`")
REFERENCE = re.compile(r"\{(?:eq|prf:ref)\}`([\w-]+)`")
EQUATION = re.compile(r"^\$\$\n((?:[^$\n]+\n)+)\$\$ \(([\w-]+)\)", re.MULTILINE)
LABEL = re.compile(r"^(?:\$\$ \(|:label: )([\w-]+)", re.MULTILINE)


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


@cache
def tables():
    """The rows of each table, its head first."""
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)
    return [[cells(line) for line in block.splitlines()] for block in blocks]


def rows():
    return [row for table in tables() for row in table[2:]]


def names():
    return [name for row in rows() for name in NAME.findall(row[2])]


def split(tex, separator=","):
    """A formula, cut at the separators outside of its brackets."""
    parts, depth = [""], 0
    for character in tex:
        depth += (character in "([{") - (character in ")]}")
        if character == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def symbols(cell):
    """The symbols of a first cell, without spaces; of ``V = [J, psi]`` only ``V``."""
    formulas = [split(tex, "=")[0] for tex in re.findall(r"\$([^$]+)\$", cell)]
    return [re.sub(r"\s", "", part) for tex in formulas for part in split(tex)]


def repeated(items):
    return sorted({item for item in items if items.count(item) > 1})


@cache
def specimens():
    """One object of each class that the page names: attributes made by ``__init__`` count too."""
    sample = mixtures.two_class(9).sample(8, seed=0)
    stats = mixtures.statistics(sample)
    network = networks.ImplicitNetwork("tanh", 0.2).centered(stats.tau0)
    coefficients = equivalents.coefficients(network, stats.tau0)
    equivalent = equivalents.ck(network, stats, sample.X)
    profile = refined.profile(network, [1.0, 2.0])
    objects = [sample.mixture, sample, stats, network, network.activation, coefficients, equivalent]
    objects.append(profile)
    return {type(specimen).__name__: specimen for specimen in objects}


def exists(name):
    owner, attribute = name.split(".")
    if owner in specimens():
        return hasattr(specimens()[owner], attribute)
    try:
        return hasattr(importlib.import_module(f"helpers.{owner}"), attribute)
    except ModuleNotFoundError:
        return False


def public(cls):
    """Fields and properties of a record."""
    properties = {key for key, value in vars(cls).items() if isinstance(value, property)}
    return {
        name
        for name in {field.name for field in dataclasses.fields(cls)} | properties
        if not name.startswith("_")
    }


@cache
def sections():
    """The section of the chapters that holds each label, without spaces."""
    found = {}
    for path in sorted((ROOT / "book").glob("*.md")):
        for section in re.split(r"^(?=## )", path.read_text(encoding="utf-8"), flags=re.MULTILINE):
            found |= dict.fromkeys(LABEL.findall(section), re.sub(r"\s", "", section))
    return found


@cache
def left_sides():
    """What each labeled equation of the chapters begins with, up to its first equality sign."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "book").glob("*.md"))
    return {label: re.sub(r"\s", "", split(body, "=")[0]) for body, label in EQUATION.findall(text)}


def test_every_table_has_the_four_columns():
    assert len(tables()) == 6
    assert all(table[0] == HEAD for table in tables())
    assert [row for row in rows() if len(row) != 4 or not all(row)] == []


def test_every_code_cell_is_a_list_of_names_or_a_dash():
    name_list = re.compile(rf"{NAME.pattern}(, {NAME.pattern})*")
    assert [row[2] for row in rows() if row[2] != NO_NAME and not name_list.fullmatch(row[2])] == []


@pytest.mark.parametrize("name", names())
def test_what_the_page_names_exists(name):
    assert exists(name)


@pytest.mark.parametrize("name", ["Statistics.tau1", "Equivalent.self", "kernels.kc", "kernel.ck"])
def test_a_name_that_does_not_exist_is_found_out(name):
    assert not exists(name)


@pytest.mark.parametrize("cls", [mixtures.Statistics, equivalents.Coefficients])
def test_every_field_of_the_records_is_on_the_page(cls):
    missing = {f"{cls.__name__}.{name}" for name in public(cls)} - set(names())
    assert missing == set()


def test_no_symbol_stands_twice():
    assert repeated([symbol for row in rows() for symbol in symbols(row[0])]) == []


def test_a_symbol_that_stands_twice_is_found_out():
    assert repeated(symbols(r"$V = [J, \psi]$, $T$; $a, b$") + symbols("$F(s, t)$, $V$")) == ["V"]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_a_symbol_is_used_where_the_page_says_it_is_defined(row):
    if row[3] == NOT_YET:
        return
    (label,) = REFERENCE.findall(row[3])
    assert [symbol for symbol in symbols(row[0]) if symbol not in sections()[label]] == []


@pytest.mark.parametrize(
    "row",
    [row for row in rows() if re.search("`(Statistics|Coefficients)", row[2])],
    ids=lambda row: row[0],
)
def test_an_entry_of_a_record_refers_to_the_equation_that_defines_it(row):
    """A section would not tell alpha_1 from alpha_4; an equation t_a = ... defines t."""
    for symbol in symbols(row[0]):
        form = re.compile(re.escape(symbol) + r"(_\w|_\{\w+\})?(\^2)?")
        defining = {label for label, left in left_sides().items() if form.fullmatch(left)}
        assert not defining or defining & set(REFERENCE.findall(row[3]))


def test_equations_that_define_are_recognized():
    assert left_sides()["eq-alpha4"] == r"\alpha_4"
    assert left_sides()["eq-tau0"] == r"\tau_0^2"
