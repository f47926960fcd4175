"""Run the package's tests with the lowest and the newest versions that it allows: ``python deep/versions.py``.

Each set of versions is installed in an environment of its own, outside of the repository. Torch is taken at the version
that the constraints name, whose build is the smallest: its lower bound is not tried. The counts go to
``results/deep/versions.json``.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from package import tests_of_the_package
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]


def requirements(which: str) -> list[str]:
    """What pip is asked for: the lowest series of every dependency, or whatever is newest."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = [Requirement(line) for line in project["dependencies"]]
    if which == "newest":
        return [str(r) for r in found if r.name != "torch"]
    return [f"{r.name}=={lower_bound(r)}.*" for r in found if r.name != "torch"]


def lower_bound(requirement: Requirement) -> str:
    """The version behind ``>=``."""
    (bound,) = (s.version for s in requirement.specifier if s.operator == ">=")
    return bound


def torch_pin() -> str:
    """The version of torch that the constraints name."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return re.search(r"^torch==\S+", text, re.MULTILINE)[0]  # type: ignore[index]


def environment(folder: Path, which: str) -> Path:
    """An environment with these versions and what the tests need; its Python."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, torch_pin()], check=True)
    # in one call, so that the test tools cannot raise what the lowest versions hold down
    project = ["--editable", f"{ROOT}[book,test]"]
    subprocess.run([*pip, *requirements(which), *project], check=True)
    return python


def measure(which: str) -> dict[str, Any]:
    """A row of the record: how many tests fail, with which versions."""
    with tempfile.TemporaryDirectory(prefix="versions ") as name:
        python = environment(Path(name, "venv"), which)
        command = [str(python), "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile"]
        command += ["-p", "no:cacheprovider", "--no-header", *tests_of_the_package()]
        settings = {"cwd": ROOT, "capture_output": True, "encoding": "utf-8"}
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        done = subprocess.run(command, env=os.environ | threads, check=False, **settings)
        listed = [str(python), "-m", "pip", "freeze"]
        frozen = subprocess.run(listed, capture_output=True, encoding="utf-8", check=True).stdout
    last = (done.stdout.strip() or "pytest said nothing").splitlines()
    print("\n".join(last[-15:]), flush=True)
    counts = {word: int(n) for n, word in re.findall(r"(\d+) (passed|failed|errors?)\b", last[-1])}
    bad = sum(n for word, n in counts.items() if word != "passed")
    bad = max(bad, int(done.returncode != 0))
    names = {Requirement(r).name for r in requirements(which)} | {"torch"}
    versions = [line for line in frozen.splitlines() if line.split("==")[0] in names]
    note = f"{counts.get('passed', 0)} tests passed with {', '.join(versions)}"
    return {"name": f"{which} versions", "value": bad, "bound": 0, "note": note}


def main() -> int:
    """Both sets, or one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("lowest", "newest"))
    options = parser.parse_args()
    from record import keep

    rows = [measure(which) for which in ("lowest", "newest") if options.only in (None, which)]
    if not options.only:
        keep("versions", "Tests of the package that fail with other allowed versions", rows)
    return int(any(row["value"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
