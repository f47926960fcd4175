"""Count the cases that the property tests draw: ``python deep/properties.py``.

hypothesis draws networks, mixtures and sizes; how many it tried and how many failed goes to
``results/deep/properties.json``.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from record import keep

TESTS = Path(__file__).resolve().parents[1] / "tests" / "test_properties.py"
CASES = re.compile(r"(\d+) passing, (\d+) failing")


def main() -> int:
    """Run the tests of properties with statistics, and add them up."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += ["--hypothesis-show-statistics", str(TESTS)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    counts = [(int(held), int(failed)) for held, failed in CASES.findall(done.stdout)]
    properties = len(re.findall(r"^tests/.*::.*:$", done.stdout, re.MULTILINE))
    passing, failing = (sum(column) for column in zip(*counts, strict=True))
    print(f"{properties} properties, {passing} cases, {failing} failing")
    rows = [
        {"name": "cases that hold", "value": passing, "note": f"of {properties} properties"},
        {"name": "cases that fail", "value": failing, "bound": 0, "note": "by hypothesis"},
    ]
    keep("properties", "Property tests: cases drawn over networks, mixtures and sizes", rows)
    return int(bool(failing or done.returncode))


if __name__ == "__main__":
    sys.exit(main())
