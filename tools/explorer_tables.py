"""Write what the explorer needs of ``helpers``: ``python tools/explorer_tables.py`` (a few minutes).

For every activation, and both choices of the input variance, ``web/explorer/tables.js`` holds

- the Gaussian moments in the four equations, as Chebyshev series in sigma_a2 over [0, top];
- the twins that ``matching.match`` finds at a few values of sigma_a2, from which the page starts its own Newton
  iteration. They come in runs: within a run one family's parameters move smoothly.

The data have tau0 = 1. ``web/explorer/first.png`` is the page's first picture, for readers without scripts.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import joblib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.polynomial import chebyshev

from helpers import activations, matching, plotting, spectra
from helpers.mixtures import GaussianMixture
from helpers.networks import ImplicitNetwork

FOLDER = Path(__file__).resolve().parents[1] / "web" / "explorer"
TAU0 = 1.0
FIRST = {"sigma_a2": 0.2, "distance": 4.0, "p": 10**6, "n": 5 * 10**5}  # the page's first setting
LABELS = {  # in the order of the menu
    "relu": "ReLU",
    "leaky_relu": "leaky ReLU (slopes 1 and 0.1)",
    "abs": "|x|",
    "elu": "ELU",
    "gelu": "GELU",
    "swish": "swish",
    "softplus": "softplus",
    "tanh": "tanh",
    "erf": "erf",
    "sigmoid": "sigmoid",
    "hard_tanh": "hard tanh",
    "leaky_hard_tanh": "leaky hard tanh",
    "clipped_leaky_relu": "clipped leaky ReLU",
    "sin": "sin",
    "cos": "cos",
    "gaussian": "Gaussian bump",
}
# jumps have no DEQ, aliases are there once, and a polynomial is what its coefficients make it
LEFT_OUT = ("sign", "step", "silu", "polynomial", "hermite")
INPUTS = {"paper": lambda sigma_a2: 1.0 - sigma_a2, "unit": lambda sigma_a2: 1.0}
LEAST, MOST = 0.01, {"paper": 0.95, "unit": 4.0}  # of sigma_a2
SHARE = 0.98  # of the sharp threshold, where the page stops before it
DEGREES = (12, 16, 24, 32, 48, 64, 96, 128)
ACCURACY = 1e-10  # of a series, beside the largest value
NODES = 20  # twins a run starts from
JUMP = 0.4  # a step of a parameter that starts a new run
STEEPEST = (
    -2.0
)  # log(c) below which kernels hardly see c: one that is smaller is noise of the search
SWITCH = 1e-3  # how well the place is known where a new run starts


def network(name: str, inputs: str, sigma_a2: float) -> ImplicitNetwork:
    """The DEQ of a setting, centered."""
    return ImplicitNetwork(name, sigma_a2, INPUTS[inputs](sigma_a2)).centered(TAU0)


def stable(name: str, inputs: str, sigma_a2: float) -> bool:
    """Whether there is a centered DEQ below the sharp threshold."""
    try:
        network(name, inputs, sigma_a2)
    except (ValueError, RuntimeError):
        return False
    return True


def threshold(name: str, inputs: str) -> float | None:
    """The sharp threshold in sigma_a2, None if the page's range ends before it."""
    low, high = 0.0, MOST[inputs] / SHARE if inputs == "unit" else MOST[inputs]
    if stable(name, inputs, high):
        return None
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if stable(name, inputs, middle) else (low, middle)
    return low


def moments(net: ImplicitNetwork) -> dict[str, float]:
    """What the four equations and those of the tangent kernel ask of the activation."""
    phi, s = net.activation, net.variance(np.array([TAU0**2]))
    found = {
        "second": phi.second_moment(s),
        "slope": phi.slope(s),
        "curvature": phi.curvature(s),
        "response": phi.square_curvature(s) / 2,
        "spread": phi.slope_second_moment(s),
    }
    return {key: float(value[0]) for key, value in found.items()}


def series(name: str, inputs: str, top: float) -> dict[str, list[float]]:
    """Chebyshev coefficients of each moment in 2 sigma_a2/top - 1."""

    def at(x: np.ndarray) -> np.ndarray:
        rows = [moments(network(name, inputs, top * (1 + t) / 2)) for t in x]
        return np.array([list(row.values()) for row in rows])

    between = np.linspace(-1, 1, 24)
    wanted = at(between)
    for degree in DEGREES:
        points = chebyshev.chebpts1(degree + 1)
        found = chebyshev.chebfit(points, at(points), degree)
        error = np.abs(chebyshev.chebval(between, found).T - wanted).max()
        if error < ACCURACY * np.abs(wanted).max():
            return {key: trimmed(c) for key, c in zip(moments(network(name, inputs, 0.0)), found.T)}
    raise RuntimeError(f"no Chebyshev series for {name}, {inputs}: the last error is {error:.1e}")


def trimmed(coefficients: np.ndarray) -> list[float]:
    """Without a tail of rounding errors; empty for a moment that vanishes."""
    kept = np.flatnonzero(np.abs(coefficients) > 1e-12)
    return [rounded(c) for c in coefficients[: kept[-1] + 1 if len(kept) else 0]]


def rounded(value: float) -> float:
    return float(f"{value:.13g}")


# ---------------------------------------------------------------- twins


def twin(name: str, inputs: str, sigma_a2: float) -> tuple[str, list[list[float]]]:
    """Family and parameters, layer by layer, without what kernels do not see: signs and reflections."""
    layers = matching.match(network(name, inputs, sigma_a2), TAU0).network.layers
    parts = [_direction(layer) for layer in layers]
    return parts[0][0], [x for _, x in parts]


def _direction(layer: activations.Activation) -> tuple[str, list[float]]:
    """A layer's parameters once its scale is fixed, as ``model.js`` reads them."""
    values = dict(layer.parameters)
    if layer.name == "leaky_relu":
        a, b = values["a"], values["b"]
        bend = np.sqrt(1 - 2 / np.pi) * abs(a - b)
        return "leaky_relu", [float(np.arctan2(bend, abs(a + b)))]
    if layer.name == "leaky_hard_tanh":
        start = max(float(np.log(values["c"])), STEEPEST)
        return "leaky_hard_tanh", [start, values["b"] / values["a"]]
    q = hermite_coefficients(layer)
    q /= np.sqrt(q @ q)
    q[0::2] *= 1.0 if (q[0] if abs(q[0]) > 1e-6 else q[2]) >= 0 else -1.0
    q[1::2] = np.abs(q[1::2])
    return "polynomial", q.tolist()


def hermite_coefficients(layer: activations.Activation) -> np.ndarray:
    """Coefficients in orthonormal Hermite polynomials from the first on, by quadrature that is exact."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(12)
    values = np.polynomial.hermite_e.hermevander(nodes, 5)
    sizes = np.sqrt([1.0, 2.0, 6.0, 24.0, 120.0])
    q = (weights / weights.sum() * layer(nodes)) @ values[:, 1:] / sizes
    return q[: np.flatnonzero(np.abs(q) > 1e-12)[-1] + 1].round(14)


def runs(name: str, inputs: str, top: float) -> list[dict]:
    """Twins between ``LEAST`` and ``top``, cut where the family changes or its parameters jump."""
    places = LEAST + (top - LEAST) * (1 - np.cos(np.pi * np.arange(NODES + 1) / NODES)) / 2
    nodes = [(float(a), *twin(name, inputs, a)) for a in places]
    parts: list[list] = [[nodes[0]]]
    for left, right in pairwise(nodes):
        for node, joined in refined(name, inputs, left, right):
            if not joined:
                parts.append([])
            parts[-1].append(node)
    return [as_run(part) for part in parts]


def refined(name: str, inputs: str, left: tuple, right: tuple) -> list[tuple[tuple, bool]]:
    """The nodes after ``left``, each with whether it continues the one before."""
    if shape(left) == shape(right) and np.abs(flat(left) - flat(right)).max() <= JUMP:
        return [(right, True)]
    if right[0] - left[0] < SWITCH:
        return [(right, False)]
    a = (left[0] + right[0]) / 2
    middle = (a, *twin(name, inputs, a))
    return refined(name, inputs, left, middle) + refined(name, inputs, middle, right)


def shape(node: tuple) -> tuple[str, int, int]:
    """Family, depth and number of parameters."""
    return node[1], len(node[2]), len(node[2][0])


def flat(node: tuple) -> np.ndarray:
    return np.concatenate(node[2])


def as_run(nodes: list[tuple]) -> dict:
    return {
        "family": nodes[0][1],
        "sigma_a2": [rounded(node[0]) for node in nodes],
        "layers": [[[rounded(x) for x in layer] for layer in node[2]] for node in nodes],
    }


# ---------------------------------------------------------------- the file


def table(name: str, inputs: str) -> dict:
    """All that the page knows of an activation and a choice of the input variance."""
    sharp = threshold(name, inputs)
    top = MOST[inputs] if sharp is None else min(MOST[inputs], SHARE * sharp)
    top = float(np.floor(1000 * top) / 1000)
    return {
        "threshold": None if sharp is None else rounded(sharp),
        "top": top,
        "moments": series(name, inputs, top),
        "twins": runs(name, inputs, top),
    }


def first_picture() -> None:
    """Draw the page's first setting, and write its numbers into the file, where a test reads them."""
    plotting.use_style()
    net, mix = network("relu", "paper", FIRST["sigma_a2"]), mixture(FIRST["distance"], FIRST["p"])
    matched = matching.match(net, TAU0).network
    laws = [spectra.limiting_law(one, mix, FIRST["n"], law="plain") for one in (net, matched)]
    figure, axes = plt.subplots()
    draw(axes, *laws)
    numbers = json.dumps([laws[0].support, laws[0].spikes.tolist(), laws[0].alignments.tolist()])
    figure.savefig(FOLDER / "first.png", dpi=150, metadata={"Description": numbers})
    plt.close(figure)


def mixture(distance: float, p: int, norms: float = 0.0) -> GaussianMixture:
    """Two classes at a distance, whose norms differ, at a finite dimension."""
    means = np.zeros((2, p))
    means[:, 0] = distance / 2, -distance / 2
    scale = norms / 2 / np.sqrt(p)
    return GaussianMixture(means, [1 - scale, 1 + scale])


def draw(axes: Axes, deq: spectra.LimitingLaw, twin: spectra.LimitingLaw) -> None:
    """The bulk of a DEQ under that of its twin, and spikes at the height of their alignments."""
    ((low, high),) = deq.support
    x = (low + high) / 2 - (high - low) / 2 * np.cos(np.linspace(0, np.pi, 400))
    axes.fill_between(x, deq.density(x), color=plotting.BLUE, alpha=0.3, label="bulk of the DEQ")
    axes.plot(x, twin.density(x), "--", color=plotting.PINK, label="the twin's")
    axes.set(xlabel="eigenvalue", ylabel="density", ylim=(0, None))
    right = axes.twinx()
    right.stem(deq.spikes, deq.alignments, plotting.VERMILION, basefmt=" ", label="spike")
    right.set(ylabel="alignment of the spike", ylim=(0, 1.05))
    right.grid(False)
    axes.figure.legend(loc="outside upper center", ncols=3)


def main() -> None:
    """Recompute and write the tables."""
    first_picture()
    settings = [(name, inputs) for name in LABELS for inputs in INPUTS]
    made = joblib.Parallel(n_jobs=-1, verbose=50)(joblib.delayed(table)(*one) for one in settings)
    found: dict[str, dict] = {name: {"label": label} for name, label in LABELS.items()}
    for (name, inputs), values in zip(settings, made, strict=True):
        found[name][inputs] = values
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in found.items()]
    text = "// made by tools/explorer_tables.py, not by hand\n"
    text += "explorer.tables = {\n" + ",\n".join(lines) + "\n};\n"
    (FOLDER / "tables.js").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
