"""Measure which lines and branches of the package its tests reach: ``python deep/covered.py``.

The tests of the package run once more under coverage; those of pages and tools are left out. The shares of the
package go to ``results/deep/coverage.json``; below the bound of either, the end is a failure.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from package import tests_of_the_package
from record import keep

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
BOUND = 0.95


def measured(workers: str) -> dict:
    """The report of coverage.py over the tests of the package."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "coverage.json"
        command = [sys.executable, "-m", "pytest", "-q", "-n", workers, "--dist", "loadfile"]
        command += [
            "-p",
            "no:cacheprovider",
            "--cov=helpers",
            "--cov-branch",
            f"--cov-report=json:{place}",
        ]
        # one thread a worker, as make has it
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        environment = (
            os.environ | threads | {"HELPERS_PROGRESS": "0", "COVERAGE_FILE": f"{folder}/data"}
        )
        code = subprocess.run(
            [*command, *tests_of_the_package()], cwd=ROOT, env=environment, check=False
        ).returncode
        if code:
            sys.exit(f"the tests failed under coverage: pytest ended with {code}")
        return json.loads(place.read_text(encoding="utf-8"))


def shares(totals: dict) -> dict[str, tuple[int, int]]:
    """Covered and all, of lines and of branches."""
    return {
        "lines": (totals["covered_lines"], totals["num_statements"]),
        "branches": (totals["covered_branches"], totals["num_branches"]),
    }


def main() -> int:
    """Measure, keep, and fail below the bound."""
    report = measured(*(sys.argv[1:] or ["2"]))
    rows = []
    for name, (covered, total) in shares(report["totals"]).items():
        row = {
            "name": name,
            "value": round(covered / total, 4),
            "bound": BOUND,
            "note": f"{covered}/{total}",
        }
        rows.append(row)
        print(f"{name}: {row['value']:.2%} ({row['note']})")
    for path, file in sorted(report["files"].items()):
        if file["summary"]["percent_covered"] < 100 * BOUND:
            print(
                f"{path}: {file['summary']['percent_covered']:.1f} %, lines {file['missing_lines']}"
            )
    keep("coverage", "Coverage of src/helpers by its tests", rows)
    return int(any(row["value"] < BOUND for row in rows))


if __name__ == "__main__":
    sys.exit(main())
