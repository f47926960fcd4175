r"""Sweeps over sizes, seeds and networks, whose results pages read from ``results/``.

``python -m helpers.experiments`` runs all of them (``make experiments``). A result is a small JSON file
that says what was run, with which version, when and where.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from helpers import equivalents, kernels, mixtures, networks, plotting, spectra
from helpers.progress import track

RESULTS = Path(__file__).resolve().parents[2] / "results"


@dataclass(frozen=True)
class Point:
    """One run of the error of Theorem 1 in the two-class setting of Ling et al. (2024).

    Attributes
    ----------
    activation : str
    sigma_a2 : float
    p : int
        Dimension.
    ratio : float
        n / p.
    seed : int
    """

    activation: str
    sigma_a2: float
    p: int
    ratio: float
    seed: int


def ck_error(point: Point) -> float:
    r"""Operator-norm error :math:`\lVert G^* - \bar G\rVert` of one run (thm-implicit-ck).

    Parameters
    ----------
    point : Point

    Returns
    -------
    float
    """
    sample = mixtures.two_class(point.p).sample(round(point.ratio * point.p), point.seed)
    stats = mixtures.statistics(sample)
    network = networks.ImplicitNetwork(point.activation, point.sigma_a2).centered(stats.tau0)
    gap = kernels.ck(network, sample.X)
    gap -= equivalents.ck(network, stats, sample.X).toarray()
    return spectra.operator_norm(gap)


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


CK_RATE: dict[str, Any] = {
    "version": 1,
    "activations": ["relu", "tanh"],
    "sigma_a2": 0.2,
    "p": [256, 512, 1024, 2048, 4096],
    "ratio": 0.8,
    "seeds": list(range(10)),
}


def ck_rate(parameters: dict[str, Any] = CK_RATE, workers: int = -1) -> dict[str, Any]:
    """Errors of Theorem 1 over dimensions, seeds and activations; the same for any number of workers.

    Parameters
    ----------
    parameters : dict
        As :data:`CK_RATE`.
    workers : int
        Processes of joblib, -1 for all cores.

    Returns
    -------
    dict
        The parameters, when and on what it ran, and ``errors`` (activation to seeds x dimensions).
    """
    shape = len(parameters["seeds"]), len(parameters["p"])
    points = [
        Point(name, parameters["sigma_a2"], p, parameters["ratio"], seed)
        for name in parameters["activations"]
        for seed in parameters["seeds"]
        for p in parameters["p"]
    ]
    runs = Parallel(workers, return_as="generator")(delayed(_alone)(point) for point in points)
    values = np.array(list(track(runs, len(points), "ck_rate"))).reshape(-1, *shape)
    errors = dict(zip(parameters["activations"], values.tolist()))
    return {"parameters": parameters, **circumstances(), "errors": errors}


def _alone(point: Point) -> float:
    # one thread a worker: the workers already use every core, and sums come out the same
    os.environ["OMP_NUM_THREADS"] = "1"
    with threadpool_limits(1):
        return ck_error(point)


def circumstances() -> dict[str, str]:
    """When and on what kind of machine a result is made: nothing that names the machine."""
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "versions": f"Python {platform.python_version()}, numpy {np.__version__}",
    }


def save(result: dict[str, Any], name: str, folder: Path = RESULTS) -> Path:
    """Write a result as JSON, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def load(name: str, parameters: dict[str, Any], folder: Path = RESULTS) -> dict[str, Any]:
    """Read a result that was computed with exactly these parameters.

    Raises
    ------
    FileNotFoundError, ValueError
        When it is missing, unreadable or of other parameters; both say to run ``make experiments``.
    """
    path = folder / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"results/{path.name} is missing: run `make experiments`")
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        recorded = result["parameters"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"results/{path.name} is not a result file: run `make experiments`"
        ) from error
    if recorded != parameters:
        raise ValueError(
            f"results/{path.name} is of other parameters {recorded}: run `make experiments`"
        )
    return result


def headline(result: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Draw the figure of the landing page: a spectrum and its equivalent, and the rate of a sweep.

    Parameters
    ----------
    result : dict
        From :func:`ck_rate`.
    folder : Path
        Where ``headline.png`` goes.

    Returns
    -------
    Path
    """
    sample = mixtures.two_class(1000).sample(800, seed=1)
    stats = mixtures.statistics(sample)
    network = networks.ImplicitNetwork("relu", 0.2).centered(stats.tau0)
    exact = kernels.ck(network, sample.X)
    theory = equivalents.ck(network, stats, sample.X).toarray()
    figure, axes = plotting.panels(2)
    plotting.spectra(axes[0], spectra.eigenvalues(exact), spectra.eigenvalues(theory), spikes=2)
    plotting.rate(axes[1], result["parameters"]["p"], result["errors"])
    path = folder / "headline.png"
    figure.savefig(path, metadata={"Software": None})
    return path


def main() -> None:
    """Run every sweep of the book and write its result."""
    result = ck_rate()
    print("wrote", save(result, "ck_rate").relative_to(RESULTS.parent))
    print("wrote", headline(result).relative_to(RESULTS.parent))
    for name, errors in result["errors"].items():
        mean, error = slope(np.array(CK_RATE["p"]), np.array(errors))
        print(f"  {name}: slope {mean:.3f} ± {error:.3f}")


if __name__ == "__main__":
    main()
