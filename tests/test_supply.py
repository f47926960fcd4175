"""Supply and safety: nothing that runs code from outside, downloads by hash, few and known dependencies, no secrets."""

import ast
import json
import re
import subprocess
import tomllib

import pytest
from conftest import NOTEBOOKS, ROOT

TRACKED = subprocess.run(
    ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
).stdout.split("\0")
FILES = [ROOT / name for name in TRACKED if name and (ROOT / name).is_file()]
CODE = [path for path in FILES if path.suffix == ".py"]
TEXT = (".py", ".md", ".ipynb", ".toml", ".yml", ".yaml", ".txt", ".json", ".html", ".css", ".bib")
SITE = ROOT / "_build" / "html"
pytestmark = pytest.mark.skipif(not FILES, reason="needs a git checkout")

# ---------------------------------------------------------------- no code from data

MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "jsonpickle"}
CALLS = {"eval", "exec", "joblib.load", "joblib.dump", "torch.load", "torch.save", "os.system"}
CALLS |= {"yaml.load", "yaml.unsafe_load", "np.load", "numpy.load", "pd.read_pickle"}
#: what may stand all the same, and why
ALLOWED = {
    (
        "tests/test_export.py",
        "eval",
    ): "a formula of our own, without builtins, checked token by token",
    ("tests/test_export.py", "torch.save"): "a foreign file that has to be refused",
    ("tests/test_export.py", "np.save"): "a foreign file that has to be refused",
    ("tests/test_hosting.py", "exec"): "the install cell of published notebooks, our own",
}


def code_of(path):
    """The Python of a module, or of a notebook without its magics."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = [c for c in json.loads(text)["cells"] if c["cell_type"] == "code"]
        text = "\n".join(re.sub(r"(?m)^\s*[%!].*$", "", "".join(c["source"])) for c in cells)
    return ast.parse(text)


def dangerous(tree):
    """Names of imports and calls that run what they read."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from {alias.name for alias in node.names if alias.name.split(".")[0] in MODULES}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MODULES:
            yield node.module
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            safe = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if name in ("np.load", "numpy.load") and safe.get("allow_pickle", "False") == "False":
                continue
            if name == "torch.load" and safe.get("weights_only") == "True":
                continue
            if name in CALLS or safe.get("allow_pickle") == "True":
                yield name
            elif name.startswith("subprocess.") and safe.get("shell") == "True":
                yield f"{name} through a shell"


@pytest.mark.parametrize("path", [*CODE, *NOTEBOOKS], ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_that_is_read_is_run(path):
    name = path.relative_to(ROOT).as_posix()
    assert not [found for found in dangerous(code_of(path)) if (name, found) not in ALLOWED]


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from dill import loads",
        "np.load(f, allow_pickle=True)",
        "torch.load(f)",
        "eval(text)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_code_that_runs_what_it_reads_is_found(code):
    assert list(dangerous(ast.parse(code)))


# ---------------------------------------------------------------- the network

FETCHING = {"urllib", "requests", "httpx", "aiohttp", "ftplib", "pooch", "wget", "http.client"}
#: modules that may open a connection: to known files by hash, or to this machine
CONNECTED = {
    "src/helpers/datasets.py": "the official data, by SHA-256",
}


def fetching(tree):
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from {
            name
            for name in names
            if name not in ("urllib.parse", "urllib")
            and (name in FETCHING or name.split(".")[0] in FETCHING)
        }


SHIPPED = [
    path for path in CODE if path.relative_to(ROOT).parts[0] in ("src", "_ext", "benchmarks")
]


@pytest.mark.parametrize("path", [*SHIPPED, *NOTEBOOKS], ids=lambda p: p.name)
def test_only_known_modules_reach_for_the_network(path):
    found = set(fetching(code_of(path)))
    assert not found or path.relative_to(ROOT).as_posix() in CONNECTED


def test_downloads_are_known_by_their_hash():
    """Every call that fetches names a SHA-256, and every file that may be fetched has one of 64 digits."""
    from helpers import datasets

    tree = code_of(ROOT / "src" / "helpers" / "datasets.py")
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
    fetches = [n for n in calls if ast.unparse(n.func) == "pooch.retrieve"]
    assert fetches
    assert all("sha256:" in ast.unparse(call) for call in fetches)
    tables = [value for value in vars(datasets).values() if isinstance(value, dict)]
    hashes = re.findall(r"'([0-9a-f]{40,})'", repr(tables))
    assert len(hashes) >= 8, "the four files of MNIST and of Fashion-MNIST"
    assert all(len(one) == 64 for one in hashes)


REMOTE = re.compile(
    r"<(?:script|iframe|embed|object|link|img)\b[^>]*?(?:src|href)\s*=\s*[\"']?(?:https?:)?//[^\s>]*",
    re.IGNORECASE,
)
HARMLESS = re.compile(
    r"<link\b[^>]*rel=[\"']?(?:canonical|alternate|license|me)\b|<img\b", re.IGNORECASE
)
SHELL = re.compile(
    r"^\s*(?:[%!]\s*(?:pip|conda|mamba|curl|wget|git|sh|bash|run|load)\b|%%(?:bash|sh|script|javascript|html))",
    re.MULTILINE,
)


def test_cells_fetch_and_install_nothing(notebook):
    for number, cell in enumerate(notebook.cells, 1):
        assert not SHELL.search(cell.source) or cell.cell_type != "code", f"cell {number}"
        assert not REMOTE.search(cell.source), f"cell {number}"
        for output in cell.get("outputs", []):
            html = "".join(output.get("data", {}).get("text/html", ""))
            assert "<script" not in html, f"cell {number} stores a script"
            assert "application/javascript" not in output.get("data", {}), f"cell {number}"


def test_pages_load_nothing_from_elsewhere():
    if not SITE.exists():
        pytest.skip("the book is not built: run `make book`")
    loaded = {
        match.group()
        for path in SITE.rglob("*.html")
        for match in REMOTE.finditer(path.read_text(encoding="utf-8", errors="replace"))
        if not HARMLESS.match(match.group())
    }
    assert not loaded


# ---------------------------------------------------------------- dependencies

#: every package that the project names, and what it is for
REASONS = {
    "joblib": "sweeps on all cores",
    "matplotlib": "figures",
    "numpy": "arrays",
    "pooch": "official data, by hash",
    "psutil": "memory before it is asked for, and processes that are left",
    "scipy": "eigenvalues, special functions, root finding",
    "threadpoolctl": "one BLAS thread a worker",
    "torch": "networks of finite width",
    "tqdm": "progress bars",
    "ipykernel": "runs the notebooks",
    "ipython": "displays and claims in notebooks",
    "jupyter-book": "builds the book",
    "jupyter-cache": "remembers what was executed",
    "nbclient": "executes notebooks",
    "nbconvert": "slides",
    "nbformat": "reads and writes notebooks",
    "sphinx-exercise": "exercises and solutions",
    "sphinx-proof": "theorems and proofs",
    "sphinx-sitemap": "the map of the site",
    "sphinxext-opengraph": "social cards",
    "axe-playwright-python": "accessibility of pages",
    "beautifulsoup4": "reads built pages",
    "codespell": "spelling",
    "distributed": "the execution of experiments elsewhere",
    "hypothesis": "property tests",
    "interrogate": "coverage of docstrings",
    "mpmath": "25 digits",
    "mypy": "types",
    "nbval": "outputs against the stored ones",
    "playwright": "pages in a browser",
    "pypdf": "reads the printed book",
    "pytest": "tests",
    "pytest-cov": "coverage",
    "pytest-xdist": "tests side by side",
    "pyyaml": "configuration and workflows",
    "ruff": "lint and format",
    "setuptools": "builds the package",
    "sympy": "coefficient formulas, symbolically",
    "atheris": "fuzzing",
    "mutmut": "mutants",
    "pip-audit": "known vulnerabilities",
    "pre-commit": "checks before a commit",
    "jupyterlab": "notebooks on a reader's machine",
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"].values()
NAMED = [*PROJECT["dependencies"], *(line for extra in EXTRAS for line in extra)]


def test_every_dependency_has_a_reason_and_bounds():
    names = {re.match(r"[\w.-]+", line).group().lower() for line in NAMED}
    assert names == set(REASONS)
    unbounded = [line for line in NAMED if not re.search(r">=[\d.]+,<\d", line)]
    assert not unbounded


def test_every_pin_is_exact():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert not [line for line in pins if not re.fullmatch(r"[\w.-]+==[\w.!+-]+", line)]
    pinned = {re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in pins}
    later = {
        "atheris",
        "mutmut",
        "pip-audit",
        "pre-commit",
        "jupyterlab",
    }  # extras that make does not install
    assert set(REASONS) - later <= pinned


IMPORTED = {"beautifulsoup4": "bs4", "pyyaml": "yaml", "ipython": "IPython"}


def test_the_package_imports_what_it_requires():
    imports = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(code_of(path)):
            if isinstance(node, ast.Import):
                imports |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imports.add(node.module.split(".")[0])
    required = {re.match(r"[\w.-]+", line).group() for line in PROJECT["dependencies"]}
    assert required <= imports


# ---------------------------------------------------------------- secrets and machines

MACHINE = re.compile(r"(?<![\w.:/-])/(?:home|Users|root|work|mnt|scratch)/\w+|[A-Z]:\\+Users\\")
SECRET = re.compile(
    r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{30,}"
    r"|\bsk-[A-Za-z0-9]{24,}|\bxox[abp]-[\w-]{10,}|\bAIza[\w-]{35}\b|\bey[JK][\w-]{20,}\.ey\w{20,}"
    r"|(?:password|passwd|api_?key|secret|token)\s*[=:]\s*[\"'][^\"'\s{$]{8,}[\"']",
    re.IGNORECASE,
)
MAIL = re.compile(r"(?<![\w.@/])(?!git@)[\w.+-]+@[\w-]+\.(?:com|org|net|edu|io|fr|cn|de|dev)\b")
HOSTS = re.compile(
    r"(?:pypi|pythonhosted|npmjs|deb\.debian|conda\.anaconda)\.(?:org|com)", re.IGNORECASE
)
PATTERNS = {"machine path": MACHINE, "secret": SECRET, "address": MAIL, "package host": HOSTS}
#: text files that speak of such things: what they hold is made up
ABOUT = {"tests/test_supply.py", "tests/test_teaching.py", "tests/test_reproducibility.py"}


def leaks(text):
    return {
        f"{kind}: {match.group()}" for kind, p in PATTERNS.items() for match in p.finditer(text)
    }


def written(path):
    """The text of a file; of a notebook without its pictures."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return re.sub(r'"image/\w+": "[^"]*"', "", text) if path.suffix == ".ipynb" else text


def test_files_hold_no_secrets_and_no_machine():
    own = [path for path in FILES if path.suffix in TEXT and "mathjax" not in path.parts]
    own = [path for path in own if path.relative_to(ROOT).as_posix() not in ABOUT]
    found = {path.relative_to(ROOT).as_posix(): leaks(written(path)) for path in own}
    assert not {name: what for name, what in found.items() if what}


def test_the_site_holds_no_secrets_and_no_machine():
    if not SITE.exists():
        pytest.skip("the book is not built: run `make book`")
    pages = [path for path in SITE.rglob("*") if path.suffix in (".html", ".js", ".json", ".txt")]
    pages = [path for path in pages if not {"mathjax", "_static"} & set(path.parts)]
    found = {path.relative_to(SITE).as_posix(): leaks(written(path)) for path in pages}
    assert not {name: what for name, what in found.items() if what}


@pytest.mark.parametrize(
    "text",
    [
        "/home/ada/book",
        "C:\\Users\\ada",
        "ghp_" + "a" * 36,
        "ada@example.org",
        "api_key = 'k3y4567890'",
    ],
)
def test_leaks_are_found(text):
    assert leaks(text)
