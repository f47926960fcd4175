"""Measure the kernel engine beside the ways it replaces, on the same work and in one run.

    python benchmarks/kernels.py [n ...]

Each row in a process of its own, medians of several runs:

- methods: for each n (1000, 2000 and 4000 unless given) on the two-class mixture with p = 1.25 n, the product X^T X
  alone, the exact CK and NTK of a ReLU- and of a tanh-DEQ, a straightforward fixed-point iteration in numpy, the
  average of finite networks, the eigenvalues that are taken of a kernel; where ``neural_tangents`` is installed, also
  its unrolled recursion. It wants old packages: jax and jaxlib 0.4.35, tf2jax 0.3.6, numpy below 2.1 and scipy below
  1.15, in an environment of its own, with ``PYTHONPATH=src``.
- alternately: at n = 4000 and p = 5000, the product and both exact kernels in turns, for their ratios.
- growth: the exact kernels at p = 5000 and n = 1000 to 8000.
- sampling: at p = 500 and n = 400, the exact kernel beside the average of six finite networks.
- memory: the ten largest eigenpairs of the exact kernel of n = 20000 samples, which is never stored.

Times, peak memory and errors against the exact kernel are printed as a table and saved in
``results/benchmark_kernels.json``, from which the book draws them.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from helpers import kernels, mixtures, networks, sweeps

Array = NDArray[np.float64]
SIGMA_A2 = 0.2
REPEATS = 5
GROWTH = (1000, 2000, 4000, 8000)
GROWTH_P = 5000
SLOW = (
    "neural_tangents",
    "finite_networks",
    "operator_eigenpairs",
)  # of which the first run counts


def data(n: int, p: int) -> tuple[Array, float]:
    """The two-class mixture and its scale."""
    sample = mixtures.two_class(p).sample(n, seed=0)
    return sample.X, mixtures.statistics(sample).tau0


@functools.cache
def network(name: str, tau0: float) -> networks.ImplicitNetwork:
    """The DEQ of the paper's experiments."""
    return networks.ImplicitNetwork(name, SIGMA_A2).centered(tau0)


def product(X: Array, tau0: float) -> Array:
    """X^T X alone: what any kernel of inner products costs at least."""
    return X.T @ X


def exact_relu(X: Array, tau0: float) -> Array:
    """CK and NTK of the ReLU-DEQ in one call."""
    return kernels.ck_and_ntk(network("relu", tau0), X)[0]


def exact_relu_ck(X: Array, tau0: float) -> Array:
    """The CK of the ReLU-DEQ alone."""
    return kernels.ck(network("relu", tau0), X)


def exact_tanh(X: Array, tau0: float) -> Array:
    """CK and NTK of the tanh-DEQ in one call."""
    return kernels.ck_and_ntk(network("tanh", tau0), X)[0]


def eigenvalues(X: Array, tau0: float) -> Array:
    """The spectrum of a kernel, for scale."""
    return scipy.linalg.eigvalsh(X.T @ X)


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
def unrolled(layers: int, compiled: bool) -> Callable[[Array], tuple[Array, Array]]:
    """The ReLU-DEQ, without shift, unrolled into layers that receive the input again."""
    import jax
    from neural_tangents import stax

    jax.config.update("jax_enable_x64", True)
    source = stax.Dense(1, W_std=np.sqrt(1 - SIGMA_A2), parameterization="ntk")
    layer = stax.serial(source, stax.Relu())
    for _ in range(layers):
        inner = stax.serial(layer, stax.Dense(1, W_std=np.sqrt(SIGMA_A2), parameterization="ntk"))
        joined = stax.serial(stax.FanOut(2), stax.parallel(inner, source), stax.FanInSum())
        layer = stax.serial(joined, stax.Relu())

    def kernels_of(x: Array) -> tuple[Array, Array]:
        return tuple(layer[2](x, None, ("nngp", "ntk")))

    return jax.jit(kernels_of) if compiled else kernels_of


def neural_tangents(X: Array, tau0: float, compiled: bool = False) -> Array:
    """CK and NTK (its NTK trains B as well) by twenty unrolled layers, called as its README does."""
    scaled = np.sqrt(len(X)) * X.T  # its dense layers divide by the number of inputs
    G, theta = unrolled(20, compiled)(scaled)
    np.asarray(theta)  # waits until it is there
    return np.asarray(G)


def neural_tangents_compiled(X: Array, tau0: float) -> Array:
    """The same, compiled for this size beforehand: the compilation is not counted."""
    return neural_tangents(X, tau0, compiled=True)


def operator_eigenpairs(X: Array, tau0: float) -> Array:
    """Ten largest eigenvalues of the exact CK of ten classes, without storing it."""
    means = 8 * np.eye(10, len(X))
    sample = mixtures.GaussianMixture(means, np.ones(10)).sample(X.shape[1], seed=0)
    tau0 = mixtures.statistics(sample).tau0
    return kernels.operator(network("relu", tau0), sample.X).eigsh(10)[0]


METHODS: dict[str, Callable[[Array, float], Array]] = {
    function.__name__: function
    for function in (
        product,
        exact_relu,
        exact_relu_ck,
        exact_tanh,
        eigenvalues,
        plain_numpy,
        finite_networks,
        neural_tangents,
        neural_tangents_compiled,
        operator_eigenpairs,
    )
}


def error(method: str, result: Array, X: Array, tau0: float) -> float | None:
    """Largest error of an entry of the CK, against an answer found in another way."""
    if method in ("exact_relu", "exact_relu_ck"):
        return float(np.abs(result - plain_numpy(X, tau0)).max())
    if method == "exact_tanh":
        return defect(network("tanh", tau0), result, X)
    if method in ("plain_numpy", "finite_networks"):
        return float(np.abs(result - kernels.ck(network("relu", tau0), X)).max())
    if method.startswith("neural_tangents"):
        exact = kernels.ck(networks.ImplicitNetwork("relu", SIGMA_A2), X)
        return float(np.abs(result - exact).max())
    return None


def defect(net: networks.ImplicitNetwork, G: Array, X: Array, pairs: int = 500) -> float:
    """How far random entries of G are from solving their definition, by a trapezoid rule in two dimensions."""
    i, j = np.random.default_rng(0).integers(0, len(G), (2, pairs))
    Lambda = [
        net.sigma_a2 * G[a, b] + net.sigma_b2 * (X[:, a] * X[:, b]).sum(0)
        for a, b in ((i, i), (j, j), (i, j))
    ]
    xi = np.linspace(-8.5, 8.5, 65)
    weights = np.exp(-(xi**2) / 2) * (xi[1] - xi[0]) / np.sqrt(2 * np.pi)
    u, rho = np.sqrt(Lambda[0])[:, None] * xi, Lambda[2] / np.sqrt(Lambda[0] * Lambda[1])
    orthogonal = np.sqrt(np.clip(1 - rho**2, 0, 1))[:, None, None] * xi
    v = np.sqrt(Lambda[1])[:, None, None] * (rho[:, None, None] * xi[:, None] + orthogonal)
    dual = np.einsum("ka,a,kab,b->k", net.activation(u), weights, net.activation(v), weights)
    return float(np.abs(dual - G[i, j]).max())


def measure(method: str, n: int, p: int) -> dict[str, float | str | int | None]:
    """One row: median time, peak memory of this process, largest error of an entry."""
    X, tau0 = data(n, p)
    times: list[float] = []
    start = time.perf_counter()
    result = METHODS[method](X, tau0)  # not counted: compiles, and warms the caches
    if method in SLOW:
        times.append(time.perf_counter() - start)
    while (len(times) < REPEATS and sum(times) < 10) or (len(times) < 50 and sum(times) < 0.5):
        start = time.perf_counter()
        result = METHODS[method](X, tau0)
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "method": method,
        "n": n,
        "p": p,
        "seconds": float(np.median(times)),
        "runs": len(times),
        "peak_gb": peak,
        "error": error(method, result, X, tau0),
    }


def alternately(n: int, p: int, rounds: int = 9) -> dict[str, float]:
    """Median times of the product and of the exact kernels in one process, taking turns: their ratios are then fair."""
    X, tau0 = data(n, p)
    times: dict[str, list[float]] = {name: [] for name in ("product", "exact_relu", "exact_tanh")}
    for _ in range(rounds):
        for name, seconds in times.items():
            start = time.perf_counter()
            METHODS[name](X, tau0)
            seconds.append(time.perf_counter() - start)
    return {name: float(np.median(seconds)) for name, seconds in times.items()}


def operator_error(draws: int = 6) -> float:
    """Distance of the average of finite networks to the exact kernel, p = 500, n = 400, in operator norm."""
    X, tau0 = data(400, 500)
    average = finite_networks(X, tau0, draws=draws)
    return float(np.linalg.norm(average - kernels.ck(network("relu", tau0), X), 2))


def rows_of(methods: list[str], sizes: list[tuple[int, int]]) -> list[dict]:
    """Rows of methods at sizes (n, p), printed as they come."""
    rows = []
    for n, p in sizes:
        for method in methods:
            command = [sys.executable, __file__, "--one", method, str(n), str(p)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{method} at n = {n} failed: {done.stderr.strip().splitlines()[-1]}")
                continue
            row = json.loads(done.stdout)
            rows.append(row)
            off = "" if row["error"] is None else f"error {row['error']:.1e}"
            print(
                f"{method:16s} n = {n:5d} p = {p:5d} {row['seconds']:9.3f} s {row['peak_gb']:6.2f} GB {off}",
                flush=True,
            )
    return rows


def main(sizes: list[int]) -> None:
    """Every method at every size, the growth with n, and the cost of sampling."""
    elsewhere = ("operator_eigenpairs", "exact_relu_ck")
    methods = [name for name in METHODS if name not in elsewhere]
    versions = {name: importlib.metadata.version(name) for name in ("numpy", "scipy")}
    if importlib.util.find_spec("neural_tangents") is None:
        methods = [name for name in methods if not name.startswith("neural_tangents")]
        print("neural_tangents is not installed: left out")
    else:
        peers = ("jax", "neural-tangents")
        versions |= {name: importlib.metadata.version(name) for name in peers}
    exact = ["exact_relu", "exact_tanh"]
    result = {
        "parameters": {"sizes": sizes, "sigma_a2": SIGMA_A2, "repeats": REPEATS},
        **sweeps.circumstances(),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "methods": rows_of(methods, [(n, round(1.25 * n)) for n in sizes]),
        "growth": rows_of(["product", *exact], [(n, GROWTH_P) for n in GROWTH]),
        "sampling": rows_of(["exact_relu_ck", "finite_networks"], [(400, 500)]),
        "memory": rows_of(["operator_eigenpairs"], [(20_000, 784)]),
        "sampling_error": operator_error(),
        "alternately": alternately(4000, 5000),
    }
    print("wrote", sweeps.save(result, "benchmark_kernels").name)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
    else:
        main([int(size) for size in sys.argv[1:]] or [1000, 2000, 4000])
