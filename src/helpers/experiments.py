r"""The book's sweeps over sizes, seeds and networks, whose tables pages read from ``results/``.

``python -m helpers.experiments`` runs what is missing (``make experiments``); see :mod:`helpers.sweeps`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from helpers import equivalents, kernels, matching, mixtures, networks, plotting, spectra
from helpers.gaps import digit_gaps, twin_gaps
from helpers.sweeps import RESULTS, Sweep, Table, Values, read, run


def ck_error(activation: str, sigma_a2: float, p: int, seed: int, ratio: float = 0.8) -> Values:
    r"""Error :math:`\lVert G^* - \bar G\rVert` in the two-class setting of Ling et al. (2024), thm-implicit-ck.

    Parameters
    ----------
    activation : str
    sigma_a2 : float
    p : int
        Dimension.
    seed : int
    ratio : float
        n / p.

    Returns
    -------
    dict
        ``{"error": operator norm}``.
    """
    sample = mixtures.two_class(p).sample(round(ratio * p), seed)
    stats = mixtures.statistics(sample)
    network = networks.ImplicitNetwork(activation, sigma_a2).centered(stats.tau0)
    gap = kernels.ck(network, sample.X)
    gap -= equivalents.ck(network, stats, sample.X).toarray()
    return {"error": spectra.operator_norm(gap)}


CK_RATE = Sweep(
    name="ck_rate",
    version=2,
    task=ck_error,
    grid={
        "activation": ["relu", "tanh"],
        "sigma_a2": [0.2],
        "seed": list(range(10)),
        "p": [256, 512, 1024, 2048, 4096],
    },
)


def equivalent_errors(
    activation: str, sigma_a2: float, p: int, seed: int, ratio: float = 0.8
) -> Values:
    r"""Operator-norm errors of the equivalents of CK, NTK and :math:`\Theta^*_{\mathrm{all}}`, plain and refined.

    In the two-class setting of Ling et al. (2024); thm-implicit-ck, thm-implicit-ntk, thm-implicit-ntk-all, thm-refined.

    Parameters
    ----------
    activation, sigma_a2, p, seed, ratio
        As in :func:`ck_error`.

    Returns
    -------
    dict
        Keys ck, ntk, all, and the same with ``_refined``.
    """
    sample = mixtures.two_class(p).sample(round(ratio * p), seed)
    X, stats = sample.X, mixtures.statistics(sample)
    network = networks.ImplicitNetwork(activation, sigma_a2).centered(stats.tau0)
    errors = {}
    for name, trained in (("ck", None), ("ntk", "default"), ("all", "all")):
        exact = kernels.ntk(network, X, trained) if trained else kernels.ck(network, X)
        for suffix, refined in (("", False), ("_refined", True)):
            choice = {"trained": trained} if trained else {}
            make = equivalents.ntk if trained else equivalents.ck
            theory = make(network, stats, X, refined=refined, **choice).toarray()
            errors[name + suffix] = spectra.operator_norm(exact - theory)
    return errors


EQUIVALENTS = Sweep(
    name="equivalents",
    version=1,
    task=equivalent_errors,
    grid={
        "activation": ["relu", "leaky_relu", "tanh", "erf", "swish", "gelu", "abs", "cos"],
        "sigma_a2": [0.05, 0.2, 0.5],
        "seed": list(range(10)),
        "p": [512, 1024, 2048, 4096],
    },
)


TWINS = Sweep(
    name="twins",
    version=2,
    task=twin_gaps,
    grid={
        "activation": ["tanh", "relu", "swish"],
        "kernel": ["ck", "all"],
        "sigma_a2": [0.2],
        "seed": list(range(10)),
        "p": [512, 1024, 2048, 4096],
    },
)

#: the pair of Ling et al. (2024): one layer of Hard-Tanh for tanh
HARD_TANH_TWIN = Sweep(
    name="hard_tanh_twin",
    version=2,
    task=twin_gaps,
    grid=TWINS.grid | {"activation": ["tanh"], "kernel": ["ck"], "family": ["hard_tanh"]},
)


DIGIT_TWINS = [
    Sweep(
        name=f"digit_twins_{activation}",
        version=2,
        task=digit_gaps,
        grid={
            "data": ["mnist", "fashion_mnist"],
            "activation": [activation],
            "explicit": explicit,
        },
    )
    for activation, explicit in {
        "relu": ["twin", "relu relu", "abs abs"],
        "tanh": ["twin", "twin of hard_tanh", "tanh", "sign"],
    }.items()
]


def slope(p: NDArray[np.float64], errors: NDArray[np.float64]) -> tuple[float, float]:
    """Fitted log-log slope of an error against dimension, and its standard error over seeds.

    Parameters
    ----------
    p : (m,) array
        Dimensions.
    errors : (seeds, m) array
        At least two seeds.

    Returns
    -------
    slope, standard_error : float
        Mean and standard error of the slopes fitted a seed.
    """
    errors = np.atleast_2d(errors)
    if len(errors) < 2:
        raise ValueError(
            f"errors must have at least 2 seeds for a standard error, got {len(errors)}"
        )
    slopes = np.polyfit(np.log(p), np.log(errors).T, 1)[0]
    return float(slopes.mean()), float(slopes.std(ddof=1) / np.sqrt(len(slopes)))


def headline(table: Table, folder: Path = RESULTS) -> Path:
    """Draw the figure of the landing page: the spectra of a DEQ and of its twin, and how their kernels approach.

    Parameters
    ----------
    table : Table
        Of :data:`TWINS`.
    folder : Path
        Where ``headline.png`` goes.

    Returns
    -------
    Path
    """
    sample = mixtures.two_class(1000).sample(800, seed=1)
    tau0 = mixtures.statistics(sample).tau0
    network = networks.ImplicitNetwork("relu", 0.2).centered(tau0)
    twin = matching.match(network, tau0).network
    values = [spectra.eigenvalues(kernels.ck(one, sample.X)) for one in (network, twin)]
    figure, axes = plotting.panels(2)
    plotting.spectra(
        axes[0], values[0], values[1], spikes=2, labels=("ReLU-DEQ", "two layers, its twin")
    )
    curves = {"two layers, the twin": "twin", "two plain ReLU layers": "plain"}
    gaps = {name: table.of(key, activation="relu", kernel="ck")[0] for name, key in curves.items()}
    plotting.rate(axes[1], table.grid["p"], gaps)
    axes[1].set_ylabel("distance of kernels, relative")
    path = folder / "headline.png"
    figure.savefig(path, metadata={"Software": None})
    return path


SWEEPS = [CK_RATE, EQUIVALENTS, TWINS, HARD_TANH_TWIN, *DIGIT_TWINS]


def main() -> None:
    """Run what is missing of every sweep, and draw the headline."""
    from helpers import practice  # torch is loaded here only

    for sweep in [*SWEEPS, *practice.SWEEPS]:
        table = run(sweep)
        print(f"{sweep.name}: {table.made}")
    print("wrote", headline(read(TWINS)).name)


if __name__ == "__main__":
    main()
