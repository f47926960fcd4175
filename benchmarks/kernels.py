"""Measure the kernel engine beside the ways it replaces, on the same work and in one run.

    python benchmarks/kernels.py [n ...]

For each n (1000, 2000 and 4000 unless given) on the two-class mixture with p = 1.25 n: the product X^T X alone, the
exact CK and NTK of a ReLU- and of a tanh-DEQ, a straightforward fixed-point iteration in numpy, and the average
of finite networks; where ``neural_tangents`` is installed, also its unrolled recursion. Medians of several runs,
peak memory of a process of its own, and the error against the exact kernel go to ``results/benchmark_kernels.json``.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from helpers import experiments, kernels, mixtures, networks

Array = NDArray[np.float64]
SIGMA_A2 = 0.2
REPEATS = 3


def data(n: int) -> tuple[Array, float]:
    """The two-class mixture at p = 1.25 n, and its scale."""
    sample = mixtures.two_class(round(1.25 * n)).sample(n, seed=0)
    return sample.X, mixtures.statistics(sample).tau0


def network(name: str, tau0: float) -> networks.ImplicitNetwork:
    """The DEQ of the paper's experiments."""
    return networks.ImplicitNetwork(name, SIGMA_A2).centered(tau0)


def product(X: Array, tau0: float) -> Array:
    """X^T X alone: what any kernel of inner products costs at least."""
    return X.T @ X


def exact_relu(X: Array, tau0: float) -> Array:
    """CK and NTK of the ReLU-DEQ in one call."""
    return kernels.ck_and_ntk(network("relu", tau0), X)[0]


def exact_tanh(X: Array, tau0: float) -> Array:
    """CK and NTK of the tanh-DEQ in one call."""
    return kernels.ck_and_ntk(network("tanh", tau0), X)[0]


def plain_numpy(X: Array, tau0: float) -> Array:
    """The CK of the ReLU-DEQ by plain iteration of its definition, on whole matrices, to 1e-12."""
    shift, gram = network("relu", tau0).activation.shift, X.T @ X
    G = np.zeros_like(gram)
    while True:
        Lambda = SIGMA_A2 * G + (1 - SIGMA_A2) * gram
        root = np.sqrt(Lambda.diagonal())
        rho = np.clip(Lambda / np.outer(root, root), -1, 1)
        dual = np.outer(root, root) * (np.sqrt(1 - rho**2) + rho * (np.pi - np.arccos(rho)))
        means = shift * root / np.sqrt(2 * np.pi)
        new = dual / (2 * np.pi) - means[:, None] - means[None, :] + shift**2
        if np.abs(new - G).max() < 1e-12:
            return new
        G = new


def finite_networks(X: Array, tau0: float, width: int = 1000, draws: int = 6) -> Array:
    """The average CK of finite ReLU-DEQs, as published scripts compute it."""
    phi, rng = network("relu", tau0).activation, np.random.default_rng(0)
    total = np.zeros((X.shape[1],) * 2)
    for _ in range(draws):
        A = np.sqrt(SIGMA_A2 / width) * rng.standard_normal((width, width))
        source = np.sqrt(1 - SIGMA_A2) * rng.standard_normal((width, len(X))) @ X
        H = np.zeros_like(source)
        for _ in range(20):
            H = phi(A @ H + source)
        total += H.T @ H / width
    return total / draws


@functools.cache
def unrolled(layers: int) -> Callable[[Array], tuple[Array, Array]]:
    """The ReLU-DEQ, without shift, unrolled into layers that receive the input again, compiled."""
    import jax
    from neural_tangents import stax

    jax.config.update("jax_enable_x64", True)
    source = stax.Dense(1, W_std=np.sqrt(1 - SIGMA_A2), parameterization="ntk")
    layer = stax.serial(source, stax.Relu())
    for _ in range(layers):
        inner = stax.serial(layer, stax.Dense(1, W_std=np.sqrt(SIGMA_A2), parameterization="ntk"))
        joined = stax.serial(stax.FanOut(2), stax.parallel(inner, source), stax.FanInSum())
        layer = stax.serial(joined, stax.Relu())
    return jax.jit(lambda x: tuple(layer[2](x, None, ("nngp", "ntk"))))


def neural_tangents(X: Array, tau0: float, layers: int = 20) -> Array:
    """CK and NTK (its NTK trains B as well) by twenty unrolled layers."""
    scaled = np.sqrt(len(X)) * X.T  # its dense layers divide by the number of inputs
    return np.asarray(unrolled(layers)(scaled)[0])


METHODS: dict[str, Callable[[Array, float], Array]] = {
    function.__name__: function
    for function in (product, exact_relu, exact_tanh, plain_numpy, finite_networks, neural_tangents)
}


def reference(method: str, X: Array, tau0: float) -> Array | None:
    """The exact CK that a method's result is held against."""
    if method in ("plain_numpy", "finite_networks"):
        return kernels.ck(network("relu", tau0), X)
    if method == "neural_tangents":
        return kernels.ck(networks.ImplicitNetwork("relu", SIGMA_A2), X)
    return None


def measure(method: str, n: int) -> dict[str, float | str | int | None]:
    """One row: median time, peak memory of this process, largest error of an entry."""
    X, tau0 = data(n)
    result = METHODS[method](X, tau0)  # not timed: compiles, and warms the caches
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        result = METHODS[method](X, tau0)
        times.append(time.perf_counter() - start)
        if times[-1] > 20:
            break
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    exact = reference(method, X, tau0)
    error = None if exact is None else float(np.abs(result - exact).max())
    return {
        "method": method,
        "n": n,
        "seconds": float(np.median(times)),
        "peak_gb": peak,
        "error": error,
    }


def main(sizes: list[int]) -> None:
    """Every method at every size, each in a process of its own."""
    methods = list(METHODS)
    if importlib.util.find_spec("neural_tangents") is None:
        methods.remove("neural_tangents")
        print("neural_tangents is not installed: left out")
    rows = []
    for n in sizes:
        for method in methods:
            command = [sys.executable, __file__, "--one", method, str(n)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{method} at n = {n} failed: {done.stderr.strip().splitlines()[-1]}")
                continue
            rows.append(json.loads(done.stdout))
            error = "" if rows[-1]["error"] is None else f"error {rows[-1]['error']:.1e}"
            print(
                f"{method:16s} n = {n:5d} {rows[-1]['seconds']:8.2f} s {rows[-1]['peak_gb']:6.2f} GB {error}"
            )
    parameters = {"sizes": sizes, "sigma_a2": SIGMA_A2, "repeats": REPEATS}
    result = {"parameters": parameters, **experiments.circumstances(), "rows": rows}
    print("wrote", experiments.save(result, "benchmark_kernels").name)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]))))
    else:
        main([int(size) for size in sys.argv[1:]] or [1000, 2000, 4000])
