"""Every deep test, one after the other: ``make test-deep``, or ``python deep/all.py [NAME ...]``.

Each is a script of this folder that ends with 0 where nothing was found, and keeps what it found, dated, in
``results/deep``. Mutants, fuzzing and kills take an hour or more in all.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
STEPS = [
    "mutation",
    "covered",
    "properties",
    "fuzz",
    "faults",
    "anywhere",
    "alone",
    "versions",
    "audit",
]


def main() -> int:
    """Run the steps that are named, or all; a failure is told at the end and stops no other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(STEPS)}")
    names = parser.parse_args().names or STEPS
    if unknown := [name for name in names if name not in STEPS]:
        parser.error(f"unknown deep test {unknown[0]!r}: choose from {', '.join(STEPS)}")
    failed = []
    for name in names:
        start = time.monotonic()
        script = [sys.executable, str(FOLDER / f"{name}.py")]
        code = subprocess.run(script, cwd=FOLDER.parent, env=os.environ, check=False).returncode
        failed += [name] if code else []
        print(
            f"{name}: {'failed' if code else 'passed'} ({time.monotonic() - start:.0f} s)",
            flush=True,
        )
    print(f"failed: {', '.join(failed)}" if failed else "every deep test passed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
