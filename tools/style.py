"""Hold the repository to its style: ``tools/style.py [CHECK ...]``, all checks unless some are named.

``make style``, the hooks of pre-commit and the tests all run the commands of :data:`CHECKS`; their
configuration is in pyproject.toml. The environment's own Python must run this.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROSE = ["README.md", "CITATION.cff", "pyproject.toml", "book", "src", "tests", "tools", "_ext"]
PROSE += ["benchmarks", "deep", "web"]
CHECKS = {
    "lint": ["ruff", "check", "."],
    "format": ["ruff", "format", "--check", "."],
    "types": ["mypy"],
    "docstrings": ["interrogate", "src/helpers"],
    "spelling": ["codespell", *[place for place in PROSE if (ROOT / place).exists()]],
}


def check(name: str) -> subprocess.CompletedProcess[str]:
    """Run one of the checks in the root of the repository."""
    with written_notebooks() if name == "spelling" else contextlib.nullcontext([]) as more:
        program, *arguments = CHECKS[name]
        command = [sys.executable, "-m", MODULES.get(program, program), *arguments, *more]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


MODULES = {"codespell": "codespell_lib", "interrogate": "interrogate.cli"}


@contextlib.contextmanager
def written_notebooks() -> Iterator[list[str]]:
    """What people wrote in notebooks, a text file each: their pictures spell nothing."""
    with tempfile.TemporaryDirectory() as folder:
        for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            text = "\n".join("".join(cell["source"]) for cell in cells)
            (Path(folder) / f"{path.stem}.md").write_text(text, encoding="utf-8")
        yield [folder]


def main() -> int:
    """Run the checks that are named, and print what is found."""
    parser = argparse.ArgumentParser(prog="style.py", description=__doc__.splitlines()[0])
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"of {', '.join(CHECKS)}")
    names = parser.parse_args().checks or list(CHECKS)
    if unknown := [name for name in names if name not in CHECKS]:
        parser.error(f"unknown check {unknown[0]!r}: choose from {', '.join(CHECKS)}")
    failed = 0
    for name in names:
        done = check(name)
        failed += bool(done.returncode)
        print(f"{name}: {'found' if done.returncode else 'nothing found'}", flush=True)
        if done.returncode:
            print(done.stdout + done.stderr)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
