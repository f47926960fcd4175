"""Seeds that a notebook's cells name, read from their code."""

from __future__ import annotations

import ast
from collections.abc import Iterator

SEEDED = {"default_rng": 0, "manual_seed": 0, "sample": 1}  # where a call takes its seed


def seeds(sources: list[str]) -> list[int]:
    """All seeds that are written out in these cells: arguments, loops over ``seed`` and lists of ``seeds``."""
    trees = [ast.parse(source) for source in sources if not source.lstrip().startswith(("%", "!"))]
    named = (value for tree in trees for node in ast.walk(tree) for value in expressions(node))
    return sorted({number for value in named for number in numbers(value)})


def expressions(node: ast.AST) -> Iterator[ast.expr]:
    """What is used as a seed, or as several."""
    if isinstance(node, ast.Call):
        function = node.func
        name = getattr(function, "attr", getattr(function, "id", ""))
        place = SEEDED.get(name, len(node.args))
        yield from node.args[place : place + 1]
    elif isinstance(node, ast.keyword) and node.arg in ("seed", "seeds"):
        yield node.value
    elif isinstance(node, ast.For | ast.comprehension) and is_seed(node.target):
        yield node.iter
    elif isinstance(node, ast.Assign):
        yield from assigned(node.targets[0], node.value)
    elif isinstance(node, ast.arguments):
        defaults = node.defaults
        named = zip(node.args[len(node.args) - len(defaults) :], defaults, strict=True)
        yield from (value for argument, value in named if argument.arg in ("seed", "seeds"))


def assigned(target: ast.expr, value: ast.expr) -> Iterator[ast.expr]:
    """Seeds in ``seeds = range(8)``, also among ``n, seeds = 10, range(8)``."""
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, its in zip(target.elts, value.elts, strict=False):
            yield from assigned(one, its)
    elif is_seed(target):
        yield value


def is_seed(target: ast.expr) -> bool:
    """Whether a variable is called seed or seeds."""
    return isinstance(target, ast.Name) and target.id in ("seed", "seeds")


def numbers(value: ast.expr) -> list[int]:
    """The whole numbers of a literal or of a range of literals; none where they are computed."""
    try:
        if isinstance(value, ast.Call) and getattr(value.func, "id", "") == "range":
            return list(range(*map(ast.literal_eval, value.args)))
        found = ast.literal_eval(value)
    except (ValueError, TypeError):
        return []
    found = found if isinstance(found, tuple | list) else [found]
    return [number for number in found if type(number) is int]


def shown(found: list[int]) -> str:
    """Seeds in few words: runs of more than two as ``0–7``."""
    runs: list[list[int]] = []
    for number in found:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    words = (f"{run[0]}–{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)
    return ", ".join(words)
