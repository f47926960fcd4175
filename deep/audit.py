"""Look the pinned packages up among known vulnerabilities: ``python deep/audit.py``.

pip-audit asks the package index; where that has no such data, or cannot be reached, one line says so and nothing is
recorded as found or not found. The counts go to ``results/deep/audit.json``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from record import keep

CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"


def audited() -> list[dict[str, Any]]:
    """Every pinned package with what is known of it; one without data has a reason in place of a list."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip_audit", "--progress-spinner", "off", "--no-deps"]
        command += ["--disable-pip", "-r", str(CONSTRAINTS), "-f", "json", "-o", str(report)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        if not report.exists():
            raise OSError((done.stderr.strip() or "pip-audit gave no report").splitlines()[-1])
        return json.loads(report.read_text(encoding="utf-8"))["dependencies"]


def row(packages: list[dict[str, Any]]) -> dict[str, Any]:
    """How many packages have known vulnerabilities, and which."""
    known = [package for package in packages if "vulns" in package]
    weak = [package for package in known if package["vulns"]]
    note = f"{len(known)} of {len(packages)} pinned packages looked up"
    note += "".join(f"; {p['name']} {p['version']}: {p['vulns'][0]['id']}" for p in weak)
    return {"name": "known vulnerabilities", "value": len(weak), "bound": 0, "note": note}


def main() -> int:
    """Ask, and keep the answer if there is one."""
    try:
        found = row(audited())
    except OSError as error:
        print(f"nothing audited: {error}")
        return 0
    print(found["note"])
    if not found["note"].startswith("0 of"):
        keep("audit", "Pinned packages with known vulnerabilities", [found])
    return int(found["value"] > 0)


if __name__ == "__main__":
    sys.exit(main())
