"""Top eigenpairs of exact kernels on many real images, without an n x n array.

    HELPERS_DATA=… python benchmarks/large.py [n …]

The conjugate kernels of the ReLU-DEQ at sigma_a^2 = 0.2 and of its twin on the first n images of the full MNIST training
set, as operators whose tiles are computed when they are needed, and the equivalent with statistics estimated from the
images. Written to ``results/large.json``.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import subspace_angles

from helpers import datasets, equivalents, kernels, mixtures, practice, sweeps

TOP = 20
SIZES = (5000, 10_000, 20_000)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and its seconds."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def row(n: int) -> dict[str, float | int]:
    """Times, eigenvalues and angles at one size."""
    images = datasets.load("mnist", full=True)
    X, labels = images.normalized().X[:, :n], images.labels[:n]
    deq, twin = (practice.network("relu", name) for name in ("deq", "twin"))
    (values, vectors), seconds = timed(lambda: kernels.operator(deq, X).eigsh(TOP))
    (other, others), twin_seconds = timed(lambda: kernels.operator(twin, X).eigsh(TOP))
    stats = mixtures.estimate(X, labels)
    network = deq.centered(stats.tau0)
    (theory, leading), quick = timed(lambda: equivalents.ck(network, stats, X).eigsh(TOP))
    degrees = np.degrees
    found = {
        "n": n,
        "seconds": seconds,
        "twin_seconds": twin_seconds,
        "equivalent_seconds": quick,
        "largest": float(values[0]),
        "twin_difference": float(np.abs(other - values).max() / values[0]),
        "twin_angle": float(degrees(subspace_angles(vectors[:, :10], others[:, :10]).max())),
        "equivalent_difference": float(np.abs(theory - values).max() / values[0]),
        "equivalent_angle": float(degrees(subspace_angles(vectors[:, :10], leading[:, :10]).max())),
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "dense_gb": 8 * n**2 / 2**30,
    }
    print({key: float(f"{value:.3g}") for key, value in found.items()}, flush=True)
    return found


def main() -> None:
    """All sizes, the smallest first."""
    sizes = [int(word) for word in sys.argv[1:]] or list(SIZES)
    result = {
        "parameters": {"data": "mnist", "activation": "relu", "sigma_a2": 0.2, "top": TOP},
        **sweeps.circumstances(),
        "rows": [row(n) for n in sizes],
    }
    print("wrote", sweeps.save(result, "large").name)


if __name__ == "__main__":
    main()
