"""The repository holds its own style: the checks of ``make style``, docstrings, spelling, tags and seeds."""

import ast
import doctest
import importlib
import json
import re
import sys

import pytest
import yaml
from conftest import NOTEBOOKS, ROOT

sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "_ext")]
import page_checks  # noqa: E402  # in one of these folders
import style  # noqa: E402

MODULES = sorted((ROOT / "src" / "helpers").glob("*.py"))
CODE = sorted(
    path
    for folder in ("src", "tests", "tools", "deep", "_ext", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
)
LABEL = re.compile(r"(?<![\w-])((?:thm|prop|cor|lem|def|asm|eq)-[a-z][a-z0-9-]*)")

# ---------------------------------------------------------------- the checks


@pytest.mark.parametrize("name", style.CHECKS)
def test_a_check_finds_nothing(name):
    done = style.check(name)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hooks_run_the_checks():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (local,) = config["repos"]
    assert local["repo"] == "local"
    entries = [hook["entry"].split() for hook in local["hooks"]]
    assert [entry[-1] for entry in entries] == [hook["id"] for hook in local["hooks"]]
    assert [entry[-1] for entry in entries] == list(style.CHECKS)
    assert {entry[-2] for entry in entries} == {"tools/style.py"}


def test_suppressions_say_why():
    """A suppression names what it suppresses, and is followed by a reason."""
    bare = [
        f"{path.stem}:{number}"
        for path in MODULES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for found in re.findall(r"# (?:type: ignore|noqa)(.*)", line)
        if not re.fullmatch(r"(?:\[[\w, -]+\]|: [\w, ]+?)  # .+", found)
    ]
    assert not bare


# ---------------------------------------------------------------- docstrings


def functions(body, prefix=""):
    """Public functions and methods of public classes, with their names."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from functions(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield prefix + node.name, node


def public(path):
    return dict(functions(ast.parse(path.read_text(encoding="utf-8")).body))


def parameters(node):
    given = node.args
    plain = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return [one.arg for one in plain if one and one.arg.strip("_") not in ("self", "cls", "")]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_docstrings_name_every_parameter(path):
    for name, node in public(path).items():
        text = ast.get_docstring(node) or ""
        missing = [p for p in parameters(node) if not re.search(rf"(?<!\w){p}(?!\w)", text)]
        assert not missing, f"{path.stem}.{name} does not say what {', '.join(missing)} is"


ARRAY_LINE = re.compile(r"^ *[\w, ]+ : (.*\barrays?\b.*)$", re.MULTILINE)
SHAPE = re.compile(r"\([\w+*… -]+,[\w+*…, -]*\)|\(…\)|any shape|tuple of arrays|or array, optional")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_arrays_in_docstrings_have_shapes(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = [n for n in ast.walk(tree) if isinstance(n, (ast.ClassDef, ast.FunctionDef))]
    for node in documented:
        for line in ARRAY_LINE.findall(ast.get_docstring(node) or ""):
            assert SHAPE.search(line), f"{path.stem}.{node.name}: what shape is {line!r}?"


@pytest.fixture(scope="module")
def labels():
    """Every label of a statement or an equation in the book."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "book").glob("*.md"))
    text += "".join("".join(c["source"]) for c in notebook_cells() if c["cell_type"] == "markdown")
    return set(LABEL.findall("\n".join(re.findall(r"^(?:\$\$ \(|:label: ).*", text, re.MULTILINE))))


def notebook_cells():
    for path in NOTEBOOKS:
        yield from json.loads(path.read_text(encoding="utf-8"))["cells"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_labels_that_the_code_cites_are_in_the_book(path, labels):
    cited = set(LABEL.findall(path.read_text(encoding="utf-8")))
    assert not {label for label in cited if not exists(label, labels)}


def exists(label, labels):
    """A label, or the beginning that a pattern such as ``thm-`` leaves."""
    return label in labels or label.rstrip("-") in labels


THEORY = ["backward", "bulk", "equivalents", "feasibility", "forms", "gaps", "kernels", "laws"]
THEORY += ["matching", "mixtures", "refined", "rule", "spikes", "support"]


@pytest.mark.parametrize("module", THEORY)
def test_modules_of_the_theory_cite_the_book(module):
    assert LABEL.search((ROOT / "src" / "helpers" / f"{module}.py").read_text(encoding="utf-8"))


CITING = ["kernels.ck", "kernels.ntk", "kernels.diagonal", "equivalents.coefficients"]
CITING += ["equivalents.ck", "equivalents.ntk", "refined.squared_products", "matching.match"]
CITING += ["laws.limiting_law", "mixtures.statistics", "mixtures.estimate"]


def docstring(name):
    """Of a function, ``module.function``."""
    module, function = name.split(".")
    return ast.get_docstring(public(ROOT / "src" / "helpers" / f"{module}.py")[function])


@pytest.mark.parametrize("name", CITING)
def test_main_functions_cite_what_they_compute(name):
    assert LABEL.search(docstring(name))


# ---------------------------------------------------------------- examples


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_examples_in_docstrings_run(path):
    module = importlib.import_module(f"helpers.{path.stem}".removesuffix(".__init__"))
    failed, _ = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert not failed, "what was printed is above"


EXAMPLES = ["activations.get", "claims.check", "equivalents.coefficients", "equivalents.ck"]
EXAMPLES += ["kernels.ck", "kernels.ntk", "laws.limiting_law", "matching.match"]
EXAMPLES += ["mixtures.statistics", "mixtures.estimate", "eigen.operator_norm"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_main_functions_have_an_example(name):
    assert ">>>" in docstring(name)


# ---------------------------------------------------------------- spelling

BRITISH = re.compile(
    r"\b\w*(?:behaviour|colour|favour|honour|labour|neighbour|flavour|centre(?!d-)|fibre|metre(?!s? of)|"
    r"analys(?:e[ds]?|ing)\b|catalogue|dialogue|licence|defence|modell(?:ed|ing)|labell(?:ed|ing)|"
    r"cancell(?:ed|ing)|travell|grey(?!s)|(?:general|normal|optim|minim|maxim|real|organ|recogn|"
    r"summar|standard|regular|initial|parametr|linear|diagonal|factor|randomi?|central)is"
    r"(?:e[ds]?|ing|ation)\b)\w*",
    re.IGNORECASE,
)
PROSE = [ROOT / "README.md", *sorted((ROOT / "book").glob("*.md")), *CODE]


def prose():
    for path in PROSE:
        if path.name != "test_style.py":
            yield path.name, path.read_text(encoding="utf-8")
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        yield path.name, "\n".join("".join(cell["source"]) for cell in cells)


def test_spelling_is_american():
    words = {(name, word) for name, text in prose() for word in re.findall(r"[A-Za-z]+", text)}
    assert not [(name, word) for name, word in sorted(words) if BRITISH.search(word)]


def test_the_list_of_british_forms_finds_some():
    for word in ("behaviour", "Centre", "generalised", "minimisation", "labelled", "licence"):
        assert BRITISH.search(word), word
    for word in ("behavior", "center", "generalized", "precise", "revised", "greys"):
        assert not BRITISH.search(word), word


# ---------------------------------------------------------------- cells and seeds


def test_cells_have_known_tags_only(notebook):
    for number, cell in enumerate(notebook.cells, 1):
        unknown = set(cell.metadata.get("tags", [])) - page_checks.CELL_TAGS
        assert not unknown, f"cell {number} has the unknown tags {sorted(unknown)}"


LEGACY = {
    "rand",
    "randn",
    "randint",
    "random",
    "choice",
    "shuffle",
    "permutation",
    "seed",
    "normal",
}
TORCH = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial"}


#: what draws without a seed on purpose
UNSEEDED = {
    "test_export.py": "that torch's own generator, seeded there, is left alone",
    "43_design_your_own": "an activation that draws at random, which is refused",
}


def unseeded(tree):
    """Lines that draw from a generator without a seed of its own."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name, bare = ast.unparse(node.func), not node.args and not node.keywords
        owner, _, last = name.rpartition(".")
        if last in ("default_rng", "SeedSequence", "Generator") and bare:
            yield node.lineno, name
        if owner in ("np.random", "numpy.random") and last in LEGACY:
            yield node.lineno, name
        if owner == "random" and last != "Random":
            yield node.lineno, name
        if name == "random.Random" and bare:
            yield node.lineno, name
        given = {keyword.arg for keyword in node.keywords}
        if owner == "torch" and last in TORCH and "generator" not in given:
            yield node.lineno, name


@pytest.mark.parametrize("path", CODE, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_code_draws_with_a_seed(path):
    found = list(unseeded(ast.parse(path.read_text(encoding="utf-8"))))
    assert bool(found) == (path.name in UNSEEDED), found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_draw_with_a_seed(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    codes = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    plain = "\n".join(re.sub(r"(?m)^\s*[%!].*$", "", code) for code in codes)
    found = list(unseeded(ast.parse(plain)))
    assert bool(found) == (path.stem in UNSEEDED), found


@pytest.mark.parametrize(
    "code",
    ["np.random.default_rng()", "np.random.rand(3)", "random.random()", "torch.randn(2)"],
)
def test_draws_without_a_seed_are_found(code):
    assert list(unseeded(ast.parse(code)))
