"""What the build allows a notebook, read from ``notebooks/budgets.toml``."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = "budgets.toml"
KEYS = {"seconds", "megabytes"}


@dataclass(frozen=True)
class Budget:
    """Seconds by the clock, and memory at its peak in MB (of 10^6 bytes)."""

    seconds: float
    megabytes: float


def read(folder: Path) -> tuple[dict[str, Budget], float]:
    """Budget of every notebook of a folder by its stem, and core-seconds of all together.

    Times are stretched where the environment names a slower machine: ``BOOK_NOTEBOOK_SECONDS`` is then
    the default budget, and all other times grow in the same proportion. Raises ValueError on wrong input.
    """
    path = folder / FILE
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"notebooks/{FILE} cannot be read: {error}") from error
    stems = {notebook.stem for notebook in folder.glob("*.ipynb")}
    if unknown := sorted(table.keys() - stems - {"default", "together"}):
        raise ValueError(f"notebooks/{FILE}: [{unknown[0]}] is the name of no notebook")
    default = entry(table, "default", KEYS)
    together = entry(table, "together", {"core_seconds"})
    own = {name: entry(table, name, KEYS, default) for name in table.keys() & stems}
    stretch = slowness(default["seconds"])
    budgets = {stem: own.get(stem, default) for stem in stems}
    return {
        stem: Budget(values["seconds"] * stretch, values["megabytes"])
        for stem, values in budgets.items()
    }, together["core_seconds"] * stretch


def slowness(seconds: float) -> float:
    """How much slower than usual this machine is said to be."""
    asked = os.environ.get("BOOK_NOTEBOOK_SECONDS", str(seconds))
    try:
        return positive(float(asked)) / seconds
    except ValueError as error:
        raise ValueError(
            f"BOOK_NOTEBOOK_SECONDS must be a positive number, got {asked!r}"
        ) from error


def entry(
    table: dict[str, Any], name: str, keys: set[str], default: dict[str, float] | None = None
) -> dict[str, float]:
    """One section of the file, completed by the default and checked."""
    section = table.get(name)
    values = (default or {}) | section if isinstance(section, dict) else {}
    if values.keys() != keys:
        raise ValueError(f"notebooks/{FILE}: [{name}] must hold {' and '.join(sorted(keys))}")
    for key, value in values.items():
        try:
            positive(value)
        except ValueError as error:
            raise ValueError(f"notebooks/{FILE}: [{name}] {key} {error}") from error
    return values


def positive(value: Any) -> float:
    """The value, if it is a positive finite number."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < float("inf"):
        raise ValueError(f"must be a positive number, got {value!r}")
    return float(value)
