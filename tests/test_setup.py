"""The files that set the book up agree with each other."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CONDA_NAMES = {"pytorch": "torch"}
CONDA_ONLY = {"python", "pip", "pytorch-cpu"}
BOOK_OPTIONS = ("book", "test")


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def requirements(project):
    """What ``make`` installs, name to specifier."""
    extras = project["optional-dependencies"]
    lines = project["dependencies"] + [line for name in BOOK_OPTIONS for line in extras[name]]
    return {canonicalize_name((r := Requirement(line)).name): r.specifier for line in lines}


@pytest.fixture(scope="module")
def pins(root):
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pinned}


@pytest.fixture(scope="module")
def conda(root):
    return yaml.safe_load((root / "environment.yml").read_text(encoding="utf-8"))


def test_conda_gets_the_same_packages_and_bounds(conda, requirements):
    *lines, by_pip = conda["dependencies"]
    listed = [Requirement(line) for line in [*lines, *by_pip["pip"]] if line[0] != "-"]
    same = {
        canonicalize_name(CONDA_NAMES.get(r.name, r.name)): r.specifier
        for r in listed
        if r.name not in CONDA_ONLY
    }
    assert same == requirements
    assert "pytorch-cpu" in {r.name for r in listed}
    assert "--editable ." in by_pip["pip"]


def test_conda_has_the_same_python(conda, project):
    assert f"python{project['requires-python']}" in conda["dependencies"]


def test_every_requirement_is_bounded_above(requirements):
    for name, specifier in requirements.items():
        assert {s.operator for s in specifier} >= {">=", "<"}, name


def test_jupyter_book_stays_below_2(requirements):
    assert requirements["jupyter-book"].contains("1.0.4")
    assert not requirements["jupyter-book"].contains("2.0.0")


def test_constraints_cover_and_satisfy_the_requirements(requirements, pins):
    assert requirements.keys() <= pins.keys()
    for name, specifier in requirements.items():
        assert specifier.contains(pins[name]), name


def test_constraints_name_versions_only(root):
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line for line in lines if not line.startswith("#")]
    assert [line for line in pinned if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []


def test_what_the_package_imports_is_required(root, requirements):
    """Every module that helpers imports comes with Python or stands in pyproject.toml."""
    # cycler comes with matplotlib; IPython and myst_nb with the notebooks that alone need them
    ours = {"helpers", "cycler", "IPython", "myst_nb"}
    known = sys.stdlib_module_names | ours | {name.replace("-", "_") for name in requirements}
    for path in (root / "src").rglob("*.py"):
        assert top_level_imports(path) <= known, path.name


def top_level_imports(path):
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def test_make_has_the_commands_of_the_readme(root):
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    readme = (root / "README.md").read_text(encoding="utf-8")
    targets = set(re.search(r"^COMMANDS = (.+)$", makefile, re.MULTILINE)[1].split())
    assert targets == set(re.findall(r"make ([\w-]+)", readme))
    tool = subprocess.run(
        [sys.executable, "tools/make.py", "--help"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert targets <= set(tool.stdout.split())


def test_readme_gives_the_commands_without_make(root):
    readme = (root / "README.md").read_text(encoding="utf-8")
    for command in ("book", "test"):
        assert f"\nmake {command}\n" in readme
        assert f"\npython3 tools/make.py {command}\n" in readme


def test_continuous_integration_runs_the_test_command(root):
    script = (root / ".ci" / "run").read_text(encoding="utf-8")
    assert "make test;" in script and "python3 tools/make.py test;" in script


def test_citation_is_complete(root, project):
    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "title", "message", "authors", "license"} <= citation.keys()
    assert citation["version"] == project["version"]
    assert " AND ".join(citation["license"]) == project["license"]


def test_licenses_are_what_the_project_says(root):
    assert "BSD 3-Clause License" in (root / "LICENSE").read_text(encoding="utf-8")
    assert "Attribution 4.0 International" in (root / "LICENSE-TEXT").read_text(encoding="utf-8")


def test_version_is_that_of_the_package(project):
    import helpers

    assert helpers.__version__ == project["version"]


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    """The package as pip builds it from a clone."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "copy"
    for name in ("src", "data", "results"):  # a build leaves folders behind
        shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT"):
        shutil.copy(root / name, copy)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    built = subprocess.run([*pip, "-w", folder, copy], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_a_wheel_has_the_package_the_data_and_the_results(root, wheel):
    """Where the book runs without a clone, what notebooks read comes with the package."""
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert {f"helpers/{path.name}" for path in (root / "src" / "helpers").glob("*.py")} <= inside
    for folder, ending in (("data", "npz"), ("results", "json")):
        files = {f"helpers/{folder}/{path.name}" for path in (root / folder).glob(f"*.{ending}")}
        assert files and files <= inside


def test_an_installed_package_finds_data_and_results(root, wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "from helpers import datasets, sweeps; assert datasets.load('mnist').X.shape == (784, 10000);"
        "print(sweeps.RESULTS, *sorted(path.name for path in sweeps.RESULTS.glob('*.json')))"
    )
    environment = os.environ | {"PYTHONPATH": str(site)}
    call = [sys.executable, "-c", code]
    settings = {"cwd": tmp_path, "env": environment, "text": True, "capture_output": True}
    done = subprocess.run(call, check=False, **settings)
    assert done.returncode == 0, done.stderr
    where, *names = done.stdout.split()
    assert where == str(site / "helpers" / "results")
    assert names == sorted(path.name for path in (root / "results").glob("*.json"))
