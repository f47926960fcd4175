"""What several test files share: where the book is, and its notebooks."""

from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def config():
    return yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def toc_files():
    """Every page that _toc.yml names, without its ending."""
    return list(named(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))))


def named(node):
    """The values of ``root`` and ``file``, at any depth."""
    for key, value in node.items():
        if key in ("root", "file"):
            yield value
        elif isinstance(value, list):
            for child in value:
                yield from named(child)


def pytest_generate_tests(metafunc):
    """A test with the argument ``notebook`` runs once a notebook."""
    if "notebook" in metafunc.fixturenames:
        read = [nbformat.read(path, as_version=4) for path in NOTEBOOKS]
        metafunc.parametrize("notebook", read, ids=[path.stem for path in NOTEBOOKS])
