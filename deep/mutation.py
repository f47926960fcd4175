"""Mutation testing of the numerical core: a seeded sample of mutants, each run with the tests that cover it.

    python deep/mutation.py --size 320 --seed 1      # writes results/deep/mutation.json

mutmut makes the mutants and records which test reaches which function; the sample is drawn here, in
proportion to the mutants of each module. A mutant is killed when a covering test fails or when it spends
its processor time, and survives otherwise. The work is done in ``_build/mutation``, on a copy.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "_build" / "mutation"
NOTES = ROOT / "deep" / "survivors.json"
COPIED = ["src", "tests", "data", "pyproject.toml"]
BEHIND_SPECTRA = ("laws", "eigen", "spikes", "support", "bulk")  # what the thin room spectra shows
MODULES = ("activations", "networks", "kernels", "equivalents", "matching", "spectra")
BEHIND = "behind spectra"
LEAST = 20  # mutants drawn from a module, however small it is
BOUND = 0.9
SECONDS = 60.0  # of a mutant's covering tests, quickest first
MORE_SECONDS = 600.0  # of those that a survivor of the first round meets in a second one
GIGABYTE = 1024**3
KILLED = ("killed", "timeout")


@dataclass(frozen=True)
class Verdict:
    """What became of one mutant."""

    name: str
    module: str
    status: str  # killed, timeout, survived, or no tests
    seconds: float


# ---------------------------------------------------------------- mutants and the tests that reach them


def prepare() -> None:
    """A fresh copy of the sources and tests, and the working folder in it."""
    WORK.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        source, target = ROOT / name, WORK / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=ignore)
        else:
            shutil.copy2(source, target)
    shutil.rmtree(WORK / "mutants", ignore_errors=True)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let pytest, and mutmut that calls it, print to a log and not to the screen."""
    sys.stdout.flush()
    saved = [os.dup(number) for number in (1, 2)]
    log = os.open(WORK / "mutation.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        for number in (1, 2):
            os.dup2(log, number)
        yield
    finally:
        sys.stdout.flush()
        for number, kept in zip((1, 2), saved, strict=True):
            os.dup2(kept, number)
            os.close(kept)
        os.close(log)


def generate() -> None:
    """Mutants of every function, and the durations of the tests that reach it (in a process of its own)."""
    os.chdir(WORK)
    from mutmut.__main__ import create_mutants, set_mutant_under_test
    from mutmut.configuration import config
    from mutmut.utils.file_utils import copy_also_copy_files, copy_src_dir, setup_source_paths

    (WORK / "mutants").mkdir()
    copy_src_dir()
    copy_also_copy_files()
    setup_source_paths()
    set_mutant_under_test("mutant_generation")
    create_mutants(1)
    set_mutant_under_test("stats")
    selection = config().pytest_add_cli_args_test_selection
    os.chdir(WORK / "mutants")
    import pytest

    require_mutants()
    reach = Reach()
    pytest.main(["--rootdir=.", "-q", "--tb=line", *CLEAN, *selection], plugins=[reach])
    reach.write(WORK / "reach.json")


def require_mutants() -> None:
    """Stop where the package that tests will import is not the mutated copy."""
    import helpers

    if WORK not in Path(helpers.__file__).parents:
        sys.exit(f"the tests would import {helpers.__file__}, which holds no mutants")


class Reach:
    """What pytest's hooks tell: which test reaches which function, and how long it takes."""

    def __init__(self) -> None:
        self.tests: dict[str, set[str]] = defaultdict(set)
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        """The functions that the trampolines have seen since the last report are this test's."""
        from mutmut.state import state

        for function in state()._stats:
            self.tests[function].add(report.nodeid)
        state()._stats.clear()
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed:
            self.failed.append(report.nodeid)

    def write(self, path: Path) -> None:
        """Tests that fail without any mutant, such as one that looks at stack frames, judge none."""
        print(f"left out, because they fail among trampolines: {', '.join(self.failed) or 'none'}")
        tests = {name: sorted(found.difference(self.failed)) for name, found in self.tests.items()}
        text = json.dumps({"tests": tests, "seconds": self.seconds, "failed": self.failed})
        path.write_text(text, encoding="utf-8")


def mutants() -> dict[str, str]:
    """Every mutant's name and the module that it belongs to; those behind spectra are marked so."""
    found = {}
    for path in sorted((WORK / "mutants" / "src" / "helpers").glob("*.py.meta")):
        stem = path.name.removesuffix(".py.meta")
        for name in json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]:
            found[name] = BEHIND if stem in BEHIND_SPECTRA else stem
    return found


def covering_tests(most: float) -> dict[str, list[str]]:
    """The tests that reach each function, quickest first, as many as fit into ``most`` seconds."""
    found = json.loads((WORK / "reach.json").read_text(encoding="utf-8"))
    seconds, chosen = found["seconds"], {}
    for function, tests in found["tests"].items():
        total, kept = 0.0, []
        for test in sorted(tests, key=lambda name: (seconds[name], name)):
            total += seconds[test]
            if total > most and kept:
                break
            kept.append(test)
        chosen[function] = kept
    return chosen


def draw(population: dict[str, str], size: int, seed: int) -> list[str]:
    """A sample without repetition, in proportion to the mutants of each of the six modules.

    Of what stands behind spectra, a third as many are drawn beside them.
    """
    by_module = defaultdict(list)
    for name, module in sorted(population.items()):
        by_module[module].append(name)
    rng, sample = np.random.default_rng(seed), []
    total = sum(len(by_module[module]) for module in MODULES)
    for module in (*MODULES, BEHIND):
        names = by_module[module]
        share = size // 3 if module == BEHIND else max(LEAST, math.ceil(size * len(names) / total))
        sample += rng.choice(names, min(share, len(names)), replace=False).tolist()
    rng.shuffle(sample)  # so that what is done by any moment is a sample, too
    return sample


# ---------------------------------------------------------------- one mutant


def start(name: str, tests: list[str]) -> int:
    """Run the tests against one mutant in a fork, which inherits all imports; its process number."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        os._exit(run_tests(name, tests))
    return child


def finish(running: dict[int, tuple[str, str, float]]) -> Verdict:
    """Wait for one of the forks that run."""
    child, status = os.wait()
    name, module, since = running.pop(child)
    verdict = {0: "survived", 1: "killed", 2: "killed", 3: "killed"}
    found = verdict.get(os.waitstatus_to_exitcode(status), "timeout")
    result = Verdict(name, module, found, round(time.monotonic() - since, 1))
    if found not in KILLED:
        print(f"{found}: {name} ({result.seconds:.0f} s)", flush=True)
    return result


def run_tests(name: str, tests: list[str]) -> int:
    """In the fork: pytest's exit code with one mutant switched on, within limits of time and memory."""
    import pytest
    from mutmut.mutation.trampoline import set_mutant_under_test

    limit = int(120 + 3 * MORE_SECONDS)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    resource.setrlimit(resource.RLIMIT_DATA, (8 * GIGABYTE, 8 * GIGABYTE))
    with quiet():
        set_mutant_under_test(name)
        return int(pytest.main(["--rootdir=.", "-x", "-q", "--tb=no", *CLEAN, *tests]))


CLEAN = ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:nbval"]


def run(sample: list[str], population: dict[str, str], workers: int) -> list[Verdict]:
    """The verdicts on a sample: a round with the quick tests, and one with more for those that live."""
    ready()
    few, many = covering_tests(SECONDS), covering_tests(MORE_SECONDS)
    first = {v.name: v for v in one_round(sample, population, workers, few)}
    left = {name: [t for t in tests if t not in few[name]] for name, tests in many.items()}
    alive = [n for n, v in first.items() if v.status == "survived" and left[function_of(n)]]
    print(f"{len(alive)} meet the tests that were left out", flush=True)
    second = {v.name: v for v in one_round(alive, population, workers, left)}
    return list((first | second).values())


def function_of(name: str) -> str:
    """The function that a mutant is one of."""
    return name.partition("__mutmut_")[0]


def ready() -> None:
    """Import in this process all that the forks will need."""
    os.chdir(WORK)
    from mutmut.configuration import config
    from mutmut.mutation.trampoline import set_mutant_under_test
    from mutmut.utils.file_utils import setup_source_paths

    setup_source_paths()
    selection = config().pytest_add_cli_args_test_selection
    os.chdir(WORK / "mutants")
    import pytest

    set_mutant_under_test("none")
    require_mutants()
    with quiet():
        pytest.main(["--rootdir=.", "--collect-only", "-qqq", *CLEAN, *selection])


def one_round(
    sample: Iterable[str], population: dict[str, str], workers: int, tests: dict[str, list[str]]
) -> list[Verdict]:
    """The verdict of some tests on each mutant, with a line for every one that lives."""
    verdicts: list[Verdict] = []
    running: dict[int, tuple[str, str, float]] = {}
    for name in sample:
        module, covering = population[name], tests.get(function_of(name))
        if not covering:
            verdicts.append(Verdict(name, module, "no tests", 0.0))
            continue
        running[start(name, covering)] = name, module, time.monotonic()
        if len(running) == workers:
            verdicts.append(finish(running))
    return verdicts + [finish(running) for _ in range(len(running))]


# ---------------------------------------------------------------- the result


def interval(killed: int, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion."""
    z, p = 1.959964, killed / total
    center = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(p * (1 - p) / total + z * z / (4 * total**2))
    return max(0.0, center - half), min(1.0, center + half)


def row(name: str, verdicts: list[Verdict], existing: int) -> dict:
    """One line of the result: a score, its bound and how it was counted."""
    killed, total = sum(v.status in KILLED for v in verdicts), len(verdicts)
    late = sum(v.status == "timeout" for v in verdicts)
    low, high = interval(killed, total)
    note = f"{killed}/{total} killed, {late} of them by time; 95 % interval {low:.3f} to {high:.3f}; {existing} mutants exist"
    return {"name": name, "value": round(killed / total, 4), "bound": BOUND, "note": note}


def rows(verdicts: list[Verdict], population: dict[str, str]) -> list[dict]:
    """A line a module, in the order of the book, and one for all of them."""
    lines = []
    for label, modules in (
        *((module, (module,)) for module in MODULES),
        ("the six modules", MODULES),
        (f"behind spectra: {', '.join(BEHIND_SPECTRA)}", (BEHIND,)),
    ):
        own = [v for v in verdicts if v.module in modules]
        if own:
            lines.append(row(label, own, sum(m in modules for m in population.values())))
    return lines


def difference(name: str) -> str:
    """What a mutant changes, as the lines that are taken away and put in their place."""
    command = [sys.executable, "-m", "mutmut", "show", name]
    shown = subprocess.run(command, cwd=WORK, capture_output=True, text=True, check=False).stdout
    lines = [line.rstrip() for line in shown.splitlines() if line[:1] in "+-"]
    return "\n".join(line for line in lines if not line.startswith(("+++", "---")))


def survivors(verdicts: list[Verdict]) -> list[dict]:
    """Those that lived, with their change and the word that was written on it by hand."""
    notes = json.loads(NOTES.read_text(encoding="utf-8")) if NOTES.exists() else {}
    listed = []
    for v in verdicts:
        if v.status not in KILLED:
            change = difference(v.name)
            listed.append(asdict(v) | {"change": change, "word": notes.get(change, "")})
    return listed


def report(verdicts: list[Verdict], population: dict[str, str], seed: int, name: str) -> None:
    """Keep the result, with the seed, the tool and every survivor."""
    from record import keep  # here: what it imports of the package comes from the mutated copy

    from helpers.files import whole

    found = rows(verdicts, population)
    tool = f"mutmut {importlib.metadata.version('mutmut')}"
    what = f"Mutation testing: share of the mutants that tests kill ({tool}, seed {seed})"
    place = keep(name, what, found)
    record = json.loads(place.read_text(encoding="utf-8"))
    record |= {"tool": tool, "seed": seed, "survivors": survivors(verdicts)}
    with whole(place) as partial:
        text = json.dumps(record, indent=1, ensure_ascii=False)
        partial.write_text(text + "\n", encoding="utf-8")
    print("\n".join(f"{line['name']}: {line['value']} ({line['note']})" for line in found))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=320, help="how many mutants to draw")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--name", default="mutation", help="of the result in results/deep")
    parser.add_argument("--keep", action="store_true", help="take the mutants that are there")
    parser.add_argument("--only", nargs="*", help="these mutants and no sample")
    parser.add_argument("--generate", action="store_true", help="make the mutants and no more")
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HELPERS_PROGRESS": "0"}
    if options.generate:
        generate()
        return 0
    if not options.keep:
        prepare()
        subprocess.run([sys.executable, __file__, "--generate"], check=True, cwd=ROOT)
    population = mutants()
    sample = options.only or draw(population, options.size, options.seed)
    verdicts = run(sample, population, options.workers)
    report(verdicts, population, options.seed, options.name)
    scores = {line["name"]: line["value"] for line in rows(verdicts, population)}
    return 1 if scores.get("the six modules", 1.0) < BOUND else 0


if __name__ == "__main__":
    sys.exit(main())
