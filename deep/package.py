"""Which tests are those of the package alone: the others look at pages, tools and notebooks."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OF_THE_PACKAGE = [
    "activations",
    "bad_input",
    "claims",
    "datasets",
    "equivalents",
    "experiments",
    "export",
    "features",
    "files",
    "finite",
    "gaps",
    "kernels",
    "laws",
    "matching",
    "mixtures",
    "networks",
    "pairs",
    "plotting",
    "practice",
    "precision",
    "progress",
    "properties",
    "readout",
    "refined",
    "spectra",
    "sweeps",
    "symbolic",
]


def tests_of_the_package() -> list[str]:
    """Their files."""
    return [str(ROOT / "tests" / f"test_{name}.py") for name in OF_THE_PACKAGE]
