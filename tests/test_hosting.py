"""Workflows, Binder's files and what is published: every path and command in them is real, and may do no more than it must."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib

import nbformat
import pytest
import yaml
from conftest import NOTEBOOKS, ROOT
from test_tool import SCRIPT, make

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PINNED = re.compile(r"^actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
PUBLISHED = ROOT / "tools" / "published.py"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TAG = f"v{PROJECT['version']}"
HERE = {"REPO": "https://github.com/someone/somewhere"}

each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs(path):
    return read(path)["jobs"].items()


def steps(path):
    return [step for _, job in jobs(path) for step in job["steps"]]


def scripts(path):
    """Shell text of every step that runs some."""
    return [step["run"] for step in steps(path) if "run" in step]


# ---------------------------------------------------------------- workflows


def test_there_is_a_workflow_for_each_need():
    triggers = {path.stem: set(read(path)[True]) for path in WORKFLOWS}  # YAML reads `on` as true
    assert triggers["check"] >= {"push", "pull_request"}
    assert "schedule" in triggers["weekly"]
    assert read(ROOT / ".github/workflows/publish.yml")[True] == {"push": {"tags": ["v*"]}}


@each_workflow
def test_permissions_are_the_least(path):
    assert read(path)["permissions"] == {"contents": "read"}
    more = {name: job["permissions"] for name, job in jobs(path) if "permissions" in job}
    assert more == ({"publish": {"contents": "write"}} if path.stem == "publish" else {})


@each_workflow
def test_only_the_job_that_pushes_keeps_the_token(path):
    for name, job in jobs(path):
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                keeps = step["with"]["persist-credentials"]
                assert keeps is ("permissions" in job), name


@each_workflow
def test_actions_are_pinned_to_commits(path):
    used = re.findall(r"uses: (.+)", path.read_text(encoding="utf-8"))
    assert used
    for action in used:
        assert PINNED.match(action), action


def test_an_action_has_one_commit_everywhere():
    lines = {line for path in WORKFLOWS for line in re.findall(r"uses: (.+)", path.read_text())}
    assert len({line.split("@")[0] for line in lines}) == len(lines)


@each_workflow
def test_jobs_end_and_do_not_pile_up(path):
    assert read(path)["concurrency"].keys() == {"group", "cancel-in-progress"}
    for name, job in jobs(path):
        assert 0 < job["timeout-minutes"] <= 90, name


@each_workflow
def test_no_secret_is_used_and_nothing_is_pasted_into_shells(path):
    assert "secrets." not in path.read_text(encoding="utf-8")
    for script in scripts(path):
        assert "${{" not in script, script


@each_workflow
def test_shell_is_well_formed(path):
    for script in scripts(path):
        done = subprocess.run(
            ["bash", "-n"], input=script, text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr


@each_workflow
def test_commands_and_paths_are_real(path):
    for script in scripts(path):
        for name in re.findall(r"(?<![\w./])(?:tools|deep|\.ci)/[\w./]+", script):
            assert (ROOT / name).is_file(), name
        for command in re.findall(r"tools/make\.py (\S+)|\bmake (?!\S*/)(\S+)", script):
            assert "".join(command) in make.COMMANDS, script
        for name in re.findall(r"--file (\S+)|--requirement (\S+)", script):
            assert (ROOT / "".join(name)).is_file(), script
        for extras in re.findall(r'"?\.\[([\w,]+)\]', script):
            assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys(), script


@each_workflow
def test_options_of_scripts_are_real(path):
    for script in scripts(path):
        for line in re.findall(r"((?:tools|deep)/\w+\.py .*)", script):
            program, *words = line.split()
            for option in (word for word in words if word.startswith("--")):
                assert f'"{option}"' in (ROOT / program).read_text(encoding="utf-8"), line


@each_workflow
def test_variables_are_read_somewhere(path):
    places = [*(ROOT / "tools").glob("*.py"), *(ROOT / "_ext").glob("*.py")]
    known = "".join(place.read_text(encoding="utf-8") for place in places)
    for name in set(re.findall(r"^ +(BOOK_\w+|TORCH_\w+):", path.read_text(), re.MULTILINE)):
        assert f'"{name}"' in known, name


def test_an_artifact_that_is_fetched_was_kept():
    found = steps(ROOT / ".github" / "workflows" / "publish.yml")
    names = {
        verb: {
            step["with"]["name"]
            for step in found
            if f"actions/{verb}-artifact" in step.get("uses", "")
        }
        for verb in ("upload", "download")
    }
    assert names["download"] == names["upload"] != set()


def test_dependabot_and_the_form_are_well_formed():
    (update,) = read(ROOT / ".github" / "dependabot.yml")["updates"]
    assert update["package-ecosystem"] == "github-actions"
    form = read(ROOT / ".github" / "ISSUE_TEMPLATE" / "erratum.yml")
    assert {"name", "description", "body"} <= form.keys()
    assert all(field["attributes"]["label"] for field in form["body"])


# ---------------------------------------------------------------- Binder


def test_binder_gets_the_tested_torch_and_python():
    pin = next(
        line for line in (ROOT / "constraints.txt").read_text().splitlines() if "torch==" in line
    )
    lines = (ROOT / ".binder" / "requirements.txt").read_text().splitlines()
    assert lines[-1] == pin and lines[-2].endswith("/whl/cpu")
    version = (ROOT / ".binder" / "runtime.txt").read_text().strip().removeprefix("python-")
    assert PROJECT["requires-python"] == f">={version}"


def test_binder_installs_the_package_and_its_data():
    script = ROOT / ".binder" / "postBuild"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert "--constraint constraints.txt --editable ." in script.read_text()
    checks = re.search(r'python -c "(.+)"', script.read_text())[1]
    assert subprocess.run([sys.executable, "-c", checks], check=False).returncode == 0


# ---------------------------------------------------------------- notebooks for Colab and Binder


def published(root, *arguments, **environment):
    """Run tools/published.py."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("BOOK_")}
    call = [sys.executable, PUBLISHED, *map(str, arguments)]
    settings = {"cwd": root, "env": clean | environment, "encoding": "utf-8"}
    return subprocess.run(call, capture_output=True, check=False, **settings)


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """The published notebooks, by name."""
    root = tmp_path_factory.mktemp("published")
    shutil.copytree(ROOT / "notebooks", root / "notebooks")
    done = published(
        root, "notebooks", root, BOOK_REPOSITORY=HERE["REPO"] + ".git", BOOK_BRANCH=TAG
    )
    assert done.returncode == 0, done.stderr
    folder = root / "_build" / "published" / "notebooks"
    return {path.name: nbformat.read(path, as_version=4) for path in folder.glob("*.ipynb")}


def test_every_notebook_is_published_with_one_cell_more(copies):
    assert copies.keys() == {path.name for path in NOTEBOOKS}
    for path in NOTEBOOKS:
        first, *rest = copies[path.name].cells
        assert f'"git+{HERE["REPO"]}@{TAG}"' in first.source
        assert rest == nbformat.read(path, as_version=4).cells


def test_the_cell_does_nothing_where_the_package_is(copies):
    """As on Binder; and elsewhere it asks for the package and for nothing else, so that torch stays."""
    source = next(iter(copies.values())).cells[0].source
    code = source.replace("%pip install", "asked = 'pip install', #")
    here = {}
    exec(code, here)  # noqa: S102  # our own
    assert "asked" not in here
    exec(code.replace(PROJECT["name"], "no-such-package"), here)  # noqa: S102  # our own
    assert "asked" in here
    assert source.count("%pip") == 1 and "torch" not in source.partition("try:")[2]


@pytest.mark.parametrize(
    "environment, names",
    [
        ({}, "BOOK_REPOSITORY"),
        ({"BOOK_REPOSITORY": HERE["REPO"]}, "BOOK_BRANCH"),
        ({"BOOK_REPOSITORY": 'x"; rm', "BOOK_BRANCH": "v1"}, "x"),
    ],
)
def test_a_missing_or_wrong_address_is_one_line(tmp_path, environment, names):
    shutil.copytree(ROOT / "tests" / "toy" / "notebooks", tmp_path / "notebooks")
    done = published(tmp_path, "notebooks", tmp_path, **environment)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and line.startswith("error: ") and names in line


# ---------------------------------------------------------------- publication, rehearsed


@pytest.fixture
def hosted(tmp_path):
    """A small repository with a remote, and the artifact that the first job left."""
    remote, clone = tmp_path / "remote.git", tmp_path / "clone"
    git(tmp_path, "init", "--quiet", "--bare", remote)
    git(tmp_path, "clone", "--quiet", remote, clone)
    for name in (
        "tools/published.py",
        "pyproject.toml",
        ".gitignore",
        str(NOTEBOOKS[0].relative_to(ROOT)),
    ):
        (clone / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, clone / name)
    git(clone, "add", "--all")
    git(clone, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "--quiet", "-m", "all")
    git(clone, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    pages = clone / "_build" / "html"
    pages.mkdir(parents=True)
    for name in ("index.html", "implicit-meets-explicit.pdf"):
        (pages / name).write_text(name)
    environment = {"BOOK_REPOSITORY": HERE["REPO"], "BOOK_BRANCH": TAG}
    assert published(clone, "notebooks", clone, **environment).returncode == 0
    return clone


def git(folder, *arguments):
    call = ["git", *map(str, arguments)]
    done = subprocess.run(call, cwd=folder, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def publish(clone, tag=TAG):
    """The steps of the second job, in a fresh clone, as a runner makes it."""
    work = clone.with_name(f"runner-{len(list(clone.parent.iterdir()))}")
    git(clone, "clone", "--quiet", "--branch", "main", clone.with_name("remote.git"), work)
    shutil.copytree(clone / "_build", work / "_build")
    job = read(ROOT / ".github" / "workflows" / "publish.yml")["jobs"]["publish"]
    for script in [step["run"] for step in job["steps"] if "run" in step]:
        call = ["bash", "-e", "-o", "pipefail", "-c", script]
        settings = {"cwd": work, "env": os.environ | {"BOOK_BRANCH": tag}, "encoding": "utf-8"}
        done = subprocess.run(call, capture_output=True, check=False, **settings)
        if done.returncode:
            return done.stderr
    return ""


def test_a_version_is_published(hosted):
    assert publish(hosted) == ""
    remote = hosted.with_name("remote.git")
    files = set(git(remote, "ls-tree", "-r", "--name-only", "gh-pages").split())
    assert files == {
        ".nojekyll",
        "index.html",
        f"{TAG}/index.html",
        f"{TAG}/implicit-meets-explicit.pdf",
    }
    assert f'href="{TAG}/index.html"' in git(remote, "show", "gh-pages:index.html")
    name = f"notebooks/{NOTEBOOKS[0].name}"
    notebook = json.loads(git(remote, "show", f"notebooks-{TAG}:{name}"))
    assert f"@{TAG}" in "".join(notebook["cells"][0]["source"])
    assert "pyproject.toml" in git(remote, "ls-tree", "-r", "--name-only", f"notebooks-{TAG}")


def test_a_second_version_keeps_the_first(hosted):
    assert publish(hosted) == ""
    project = hosted / "pyproject.toml"
    text = project.read_text().replace(f'version = "{TAG[1:]}"', 'version = "99.0.0"')
    project.write_text(text)
    git(hosted, "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "--quiet", "-am", "next")
    git(hosted, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    assert publish(hosted, "v99.0.0") == ""
    remote = hosted.with_name("remote.git")
    files = git(remote, "ls-tree", "-r", "--name-only", "gh-pages").split()
    assert {f"{TAG}/index.html", "v99.0.0/index.html"} <= set(files)
    page = git(remote, "show", "gh-pages:index.html")
    assert page.index("v99.0.0") < page.index(TAG)


def test_a_tag_that_is_not_the_version_is_refused(hosted):
    assert "expected" in publish(hosted, "v0.0.77")
    assert "gh-pages" not in git(hosted.with_name("remote.git"), "branch", "--list")


def test_addresses_of_the_buttons_are_those_that_are_published():
    """Colab and Binder open notebooks/NAME.ipynb of the branch that BOOK_NOTEBOOKS names."""
    text = (ROOT / ".github" / "workflows" / "publish.yml").read_text()
    assert "BOOK_NOTEBOOKS: notebooks-${{ github.ref_name }}" in text
    assert text.count('"notebooks-$BOOK_BRANCH"') == 2


def test_make_says_what_published_needs():
    clean = {key: value for key, value in os.environ.items() if not key.startswith("BOOK_")}
    call = [sys.executable, SCRIPT, "published", "--no-env"]
    done = subprocess.run(call, env=clean, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 1
    assert done.stderr.strip().startswith("error: BOOK_REPOSITORY is not set")
