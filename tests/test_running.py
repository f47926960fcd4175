"""The page on running says what is: its commands exist, and its table quotes the messages of the tools."""

import ast
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT
from test_tool import SCRIPT, make

PAGE = (ROOT / "book" / "running.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"^\| `(.+?)` \|", PAGE.partition("## When a step fails")[2], re.MULTILINE)


def messages():
    """Every text in the tools, what varies in it as an ellipsis, implicit joins joined."""
    for path in (ROOT / "tools").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                parts = node.values
                yield "".join(p.value if isinstance(p, ast.Constant) else "…" for p in parts)


@pytest.mark.parametrize("quoted", QUOTED)
def test_a_message_is_one_that_a_tool_gives(quoted):
    assert any(quoted in message for message in messages()), quoted


def test_the_table_is_read():
    assert len(QUOTED) > 10


def test_commands_are_real():
    named = re.findall(r"\bmake ([a-z]+)|tools/make\.py ([a-z]+)", PAGE)
    assert named and {"".join(pair) for pair in named} <= make.COMMANDS.keys()


def test_variables_are_read():
    tools = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tools").glob("*.py"))
    names = set(re.findall(r"\b((?:BOOK|TORCH)_[A-Z_]+)=", PAGE))
    assert names and all(f'"{name}"' in tools for name in names)


def test_options_and_files_are_real():
    assert '"--no-env"' in SCRIPT.read_text(encoding="utf-8")
    for name in ("environment.yml", "constraints.txt", ".binder", ".ci/run", "tools/make.py"):
        assert name in PAGE and (ROOT / name).exists()


def test_lab_says_how_to_get_it(tmp_path):
    """The tests' own environment may have JupyterLab; a package of that name that cannot be imported hides it."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "jupyterlab.py").write_text("raise ImportError")
    shutil.copytree(ROOT / "tests" / "toy", tmp_path / "toy")
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'tools')!r}); import make;"
        f"make.surroundings = lambda _, keep=make.surroundings: keep(_) | {{'PYTHONPATH': {str(hidden)!r}}};"
        f"sys.exit(make.main(['lab', '--no-env', '--root', {str(tmp_path / 'toy')!r}]))"
    )
    call = [sys.executable, "-c", code]
    done = subprocess.run(call, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: JupyterLab is missing")
