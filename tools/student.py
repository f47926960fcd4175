"""Write the student edition of the notebooks into ``_build/student``: the same, with empty cells for solutions.

``tools/make.py`` runs it in the environment of the book, as ``student.py ROOT``. Outputs are kept, so that figures and
numbers can be compared; of a solution nothing is. With ``BOOK_REPOSITORY`` and ``BOOK_BRANCH`` in the environment each
notebook begins, as the published ones do, with a cell that installs the package where it is missing.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nbformat

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "_ext"))
import editions
from published import PublishError, install_cell, setting


def write(root: Path) -> list[Path]:
    """Write all of them anew; MalformedError before anything is written."""
    book = editions.documents(root)
    editions.check(book.values())
    first = installing()
    folder = root / "_build" / "student"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    written = []
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        content = nbformat.read(path, as_version=4)
        student = editions.student_notebook(book[f"notebooks/{path.stem}"], content)
        student.cells[:0] = first
        written.append(folder / path.name)
        nbformat.write(student, written[-1])
    return written


def installing() -> list[nbformat.NotebookNode]:
    """The cell that installs the package, where the repository is known."""
    if not os.environ.get("BOOK_REPOSITORY"):
        return []
    return [install_cell(setting("BOOK_REPOSITORY"), setting("BOOK_BRANCH"))]


def main() -> int:
    """Write the edition and say where it is."""
    try:
        written = write(Path(sys.argv[1]).resolve())
    except (editions.MalformedError, PublishError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{len(written)} notebooks without solutions are in\n  {written[0].parent}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
