"""Measure limiting laws and eigenpairs of equivalents.

    python benchmarks/spectra.py

Each row in a process of its own on one BLAS thread, medians of three runs or more:

- laws: 1000 points of the density of the class-wise law of a tanh-DEQ. ``isotropic``: one class, C = I. ``two_class``:
  the mixture of Ling et al. ``ten_full``: ten classes with full 784 x 784 covariances without common eigenvectors,
  n = 392.
- equivalents: the top 20 eigenpairs of the equivalent of the CK of a ReLU-DEQ, n = 60 000 and p = 784, ten classes,
  synthetic Gaussian data.
- dense: the same by way of the array, at n that fit: ``toarray``, then ``eigh`` for 20 eigenpairs, or Lanczos'
  iteration. What n = 60 000 would take is extrapolated from the largest of them, with n^3 for ``eigh``, and n^2 for
  Lanczos' iteration and the memory.

Times and peak memory are printed and saved in ``results/benchmark_spectra.json``, from which the book draws them.
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
import scipy.linalg

from helpers import equivalents, mixtures, networks, spectra, sweeps

REPEATS = 3
THREADS = 1
POINTS = 1000
P, CLASSES, TOP = 784, 10, 20
LARGE = 60_000
DENSE = (1000, 2000, 4000)

Call = Callable[[], object]


def isotropic() -> mixtures.GaussianMixture:
    """White noise."""
    return mixtures.GaussianMixture(np.zeros((1, P)), [1.0])


def ten_full(seed: int = 0) -> mixtures.GaussianMixture:
    """Ten classes with full covariances, Wishart draws of 2p degrees of freedom and different scales."""
    rng = np.random.default_rng(seed)
    draws = rng.standard_normal((CLASSES, P, 2 * P))
    C = draws @ draws.transpose(0, 2, 1) / (2 * P)
    means = 4 * np.eye(CLASSES, P)
    return mixtures.GaussianMixture(means, C * (1 + np.arange(CLASSES)[:, None, None] / 20))


def law(mixture: mixtures.GaussianMixture) -> Call:
    """The density at all points, from the mixture on."""
    n = P // 2
    norms = (mixture.traces() + (mixture.means**2).sum(axis=1)) / mixture.p
    tau0 = float(np.sqrt(np.average(norms, weights=mixture.counts(n))))
    network = networks.ImplicitNetwork("tanh", 0.2).centered(tau0)

    def call() -> object:
        found = spectra.limiting_law(network, mixture, n)
        x = np.linspace(found.support[0][0], found.support[-1][1], POINTS)
        return found.density(x)

    return call


def equivalent(n: int, way: str = "formula") -> Call:
    """Its top eigenpairs, from its formula or from its array."""
    sample = mixtures.GaussianMixture(8 * np.eye(CLASSES, P), np.ones(CLASSES)).sample(n, 0)
    stats = mixtures.statistics(sample)
    network = networks.ImplicitNetwork("relu", 0.2).centered(stats.tau0)

    def call() -> object:
        operator = equivalents.ck(network, stats, sample.X)
        if way == "eigh":
            return scipy.linalg.eigh(operator.toarray(), subset_by_index=(n - TOP, n - 1))
        if way == "lanczos":
            return spectra.top_eigenpairs(operator.toarray(), TOP)
        return operator.eigsh(TOP)

    return call


TASKS: dict[str, Callable[[int], Call]] = {
    "isotropic": lambda n: law(isotropic()),
    "two_class": lambda n: law(mixtures.two_class(P)),
    "ten_full": lambda n: law(ten_full()),
    "equivalent": equivalent,
    "dense": lambda n: equivalent(n, "eigh"),
    "dense_lanczos": lambda n: equivalent(n, "lanczos"),
}


def measure(task: str, n: int) -> dict[str, float | int | str]:
    """One row: median time and peak memory of this process, its data included."""
    call = TASKS[task](n)
    times: list[float] = []
    while len(times) < REPEATS or (sum(times) < 0.5 and len(times) < 20):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds = float(np.median(times))
    return {"task": task, "n": n, "seconds": seconds, "runs": len(times), "peak_gb": peak}


def row(task: str, n: int) -> dict[str, float | int | str]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--one", task, str(n)]
    environment = os.environ | {f"{name}_NUM_THREADS": str(THREADS) for name in ("OMP", "OPENBLAS")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found = json.loads(done.stdout)
    print(f"{task:14} n = {n:6d} {found['seconds']:9.3f} s {found['peak_gb']:6.2f} GB", flush=True)
    return found


def main() -> None:
    """All rows, and the extrapolation."""
    names = ("numpy", "scipy")
    dense = [row("dense", n) for n in DENSE]
    lanczos = [row("dense_lanczos", n) for n in DENSE]
    growth = LARGE / DENSE[-1]
    result = {
        "parameters": {
            "points": POINTS,
            "p": P,
            "classes": CLASSES,
            "top": TOP,
            "repeats": REPEATS,
            "threads": THREADS,
        },
        **sweeps.circumstances(),
        "versions": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names),
        "laws": [row(task, P // 2) for task in ("isotropic", "two_class", "ten_full")],
        "equivalents": [row("equivalent", LARGE)],
        "dense": dense + lanczos,
        "dense_extrapolated": {
            "n": LARGE,
            "seconds": float(dense[-1]["seconds"]) * growth**3,
            "seconds_lanczos": float(lanczos[-1]["seconds"]) * growth**2,
            "array_gb": 8 * LARGE**2 / 2**30,
        },
    }
    print("wrote", sweeps.save(result, "benchmark_spectra").name)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]))))
    else:
        main()
