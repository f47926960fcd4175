"""What is published of a version: notebooks that install what they need, and the folder of all versions' pages.

``published.py notebooks ROOT``
    Writes the notebooks to ``_build/published/notebooks``, with a cell in front that installs the package where it is
    missing, as on Colab, from ``BOOK_REPOSITORY`` at ``BOOK_BRANCH``.
``published.py site ROOT FOLDER``
    Puts the built pages and the PDF into ``FOLDER/BOOK_BRANCH``, and lists all versions in ``FOLDER/index.html``.
"""

from __future__ import annotations

import argparse
import html
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

PACKAGE = "implicit-meets-explicit"
PDF = "implicit-meets-explicit.pdf"
INSTALL = """\
# Where the book's package is missing, as on Colab, this installs it; PyTorch stays as it is.
from importlib.metadata import PackageNotFoundError, version

try:
    version("{package}")
except PackageNotFoundError:
    %pip install --quiet "git+{repository}@{branch}"
"""
INDEX = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Implicit Meets Explicit: all versions</title>
<style>body {{ font: 1.1rem/1.6 sans-serif; margin: 3rem auto; max-width: 40rem; padding: 0 1rem }}</style>
<h1>Implicit Meets Explicit</h1>
<p>A random-matrix book on deep equilibrium models. The newest version is
<a href="{newest}/index.html">{newest}</a>; every version keeps its address.</p>
<ul>
{versions}
</ul>
</html>
"""
LINE = (
    '<li>{name}: <a href="{name}/index.html">pages</a>, <a href="{name}/{pdf}">PDF</a>, '
    '<a href="{name}/book/changes.html">changes</a></li>'
)


class PublishError(RuntimeError):
    """Something that a publication needs is missing; one line says what."""


def setting(name: str) -> str:
    """A variable of the environment that has to be there."""
    if value := os.environ.get(name, "").strip().removesuffix(".git").rstrip("/"):
        return value
    raise PublishError(
        f"{name} is not set: name the repository (BOOK_REPOSITORY) and tag (BOOK_BRANCH)"
    )


def install_cell(repository: str, branch: str) -> Any:
    """The cell that installs the package where it is missing."""
    import nbformat  # here, for the site is put together where only Python is installed

    if not re.fullmatch(r"https://[\w./~-]+", repository) or not re.fullmatch(r"[\w./-]+", branch):
        raise PublishError(f"no address and tag of a repository: {repository!r}, {branch!r}")
    source = INSTALL.format(package=PACKAGE, repository=repository, branch=branch)
    cell = nbformat.v4.new_code_cell(source.strip())
    cell.id = "install"
    return cell


def write_notebooks(root: Path, repository: str, branch: str) -> Path:
    """Copies of all notebooks, outputs kept, each with the cell in front."""
    import nbformat

    folder = root / "_build" / "published" / "notebooks"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        notebook.cells.insert(0, install_cell(repository, branch))
        nbformat.validate(notebook)
        nbformat.write(notebook, folder / path.name)
    return folder


def check_version(root: Path, branch: str) -> None:
    """A tag names the version of the package, or two versions would share an address."""
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "version"
    ]
    if branch != f"v{version}":
        raise PublishError(
            f"tag {branch!r} is not that of version {version}: expected 'v{version}'"
        )


def publish_site(root: Path, folder: Path, branch: str) -> None:
    """Add this version's pages to the folder of all versions, in place of an earlier try of the same version."""
    check_version(root, branch)
    pages = root / "_build" / "html"
    for needed in ("index.html", PDF):
        if not (pages / needed).exists():
            raise PublishError(f"_build/html/{needed} is missing: run `make pdf` first")
    shutil.rmtree(folder / branch, ignore_errors=True)
    shutil.copytree(pages, folder / branch)
    (folder / ".nojekyll").touch()  # or folders that begin with _ would not be served
    versions = sorted(filter(is_version, folder.iterdir()), key=rank, reverse=True)
    names = [html.escape(path.name) for path in versions]
    lines = "\n".join(LINE.format(name=name, pdf=PDF) for name in names)
    (folder / "index.html").write_text(
        INDEX.format(newest=names[0], versions=lines), encoding="utf-8"
    )


def is_version(path: Path) -> bool:
    """Whether this is the folder of a version."""
    return bool(path.is_dir() and re.fullmatch(r"v\d+(\.\d+)*", path.name))


def rank(path: Path) -> list[int]:
    """Order of versions: v0.10 after v0.9."""
    return [int(part) for part in path.name.removeprefix("v").split(".")]


def main(arguments: list[str] | None = None) -> int:
    """Write notebooks or site."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["notebooks", "site"])
    parser.add_argument("root", type=Path)
    parser.add_argument("folder", type=Path, nargs="?", help="of all versions, for site")
    options = parser.parse_args(arguments)
    root = options.root.resolve()
    try:
        if options.what == "notebooks":
            folder = write_notebooks(root, setting("BOOK_REPOSITORY"), setting("BOOK_BRANCH"))
            print(f"The notebooks for Colab and Binder are in\n  {folder}")
        elif options.folder is None:
            parser.error("site needs the folder of all versions")
        else:
            publish_site(root, options.folder, setting("BOOK_BRANCH"))
    except PublishError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
