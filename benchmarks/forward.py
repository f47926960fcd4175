"""Measure the forward pass of a DEQ, with every solver, beside that of its twin.

    python benchmarks/forward.py

All networks of one activation, width and batch size run in turn in one process, on all cores, in single precision, on
images of MNIST; medians and quartiles of the rounds. A DEQ is solved from zero to a relative residual of 1e-3 or 1e-6 by
plain iteration, Anderson's and Broyden's method. ``loop`` is plain iteration one sample at a time, which is how much
published code runs.

Operations are counted as multiplications by weights: the input's once, the recurrent ones once a solver step after the
first (which multiplies by zero), a layer's once. Written to ``results/benchmark_forward.json``, from which the book
draws them.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from helpers import finite, practice, sweeps

P = 784
ACTIVATIONS = ("relu", "tanh")
SHAPES = [(256, 128), (512, 128), (1024, 128), (2048, 128), (1024, 1), (1024, 16), (1024, 512)]
METHODS = ("plain", "anderson", "broyden")
TOLERANCES = (1e-3, 1e-6)
ROUNDS = 15
THREADS = os.cpu_count() or 1
Row = dict[str, float | int | str]


def modules(activation: str, width: int) -> dict[str, torch.nn.Module]:
    """The twin, and the DEQ with every solver; one draw of weights each."""
    deq, twin = (practice.network(activation, name) for name in ("deq", "twin"))
    found: dict[str, torch.nn.Module] = {
        "twin": finite.realize(twin, P, width, 0, dtype=torch.float32)
    }
    for method in METHODS:
        for tolerance in TOLERANCES:
            solver = finite.Solver(method, tolerance)
            found[f"{method} {tolerance:.0e}"] = finite.realize(
                deq, P, width, 0, dtype=torch.float32, solver=solver
            )
    return found


def operations(module: torch.nn.Module, X: torch.Tensor, width: int) -> tuple[float, float]:
    """Floating-point operations for one sample, and solver steps."""
    if isinstance(module, finite.ImplicitModule):
        steps = float(module.solution(X).iterations.double().mean())
        return 2 * width * (P + width * (steps - 1)), steps
    depth = len(module.network.layers)
    return 2 * width * (P + width * (depth - 1)), 0.0


@torch.no_grad()
def measure(activation: str, width: int, batch: int) -> list[Row]:
    """Rows of one activation, width and batch size."""
    X = practice.images("mnist", full=False)[0][:, :batch]
    networks = modules(activation, width)
    calls: dict[str, Callable[[], object]] = {
        name: (lambda module=module: module.features(X)) for name, module in networks.items()
    }
    if batch == 128:
        for tolerance in TOLERANCES:
            name = f"plain {tolerance:.0e}"
            module = networks[name]
            calls[f"loop {tolerance:.0e}"] = lambda module=module: [
                module.features(x) for x in X.split(1, dim=1)
            ]
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - start)
    own = np.array(taken["twin"])
    rows = []
    for name, times in taken.items():
        ratios = np.array(times) / own
        module = networks[name.replace("loop", "plain")]
        flops, steps = operations(module, X, width)
        rows.append(
            {
                "activation": activation,
                "width": width,
                "batch": batch,
                "name": name,
                "seconds": float(np.median(times)),
                "ratio": float(np.median(ratios)),
                "ratio_low": float(np.quantile(ratios, 0.25)),
                "ratio_high": float(np.quantile(ratios, 0.75)),
                "operations": flops,
                "steps": steps,
                "parameters": sum(w.numel() for w in module.parameters()),
                "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            }
        )
    for found in rows:
        found["operations_ratio"] = found["operations"] / rows[0]["operations"]
    return rows


def alone(activation: str, width: int, batch: int) -> list[Row]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--one", activation, str(width), str(batch)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout)
    for found in rows:
        print(
            f"{activation:5s} width {width:4d} batch {batch:3d} {found['name']:14s}"
            f"{1e3 * found['seconds']:9.2f} ms  {found['ratio']:6.2f} x  operations "
            f"{found['operations_ratio']:5.2f} x",
            flush=True,
        )
    return rows


def main() -> None:
    """All rows."""
    result = {
        "parameters": {"p": P, "rounds": ROUNDS, "threads": THREADS, "precision": "single"},
        **sweeps.circumstances(),
        "versions": f"torch {importlib.metadata.version('torch')}",
        "rows": [
            row
            for activation in ACTIVATIONS
            for width, batch in SHAPES
            for row in alone(activation, width, batch)
        ],
    }
    print("wrote", sweeps.save(result, "benchmark_forward").name)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        torch.set_num_threads(THREADS)
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
    else:
        main()
