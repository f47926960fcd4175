r"""One form for all kernels (eq-form): gains, places and a quadratic part, class by class.

The plain law takes them, as the theorems do, from a typical sample (eq-form-plain), the class-wise law from
the typical sample of each class (eq-classwise).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from helpers.bulk import Array, Commuting, Equations, Full
from helpers.checks import integer
from helpers.equivalents import Network, coefficients
from helpers.mixtures import GaussianMixture
from helpers.networks import Trained
from helpers.refined import profile
from helpers.spikes import Perturbation

FAINT = 1e-12  # a class whose Gram part is this small beside the kernel's diagonal has none


@dataclass(frozen=True, eq=False)
class Terms:
    """A kernel class by class: gains (K,), places (K,), and the blocks of the quadratic part, (K, K) each."""

    gains: Array
    places: Array
    classes: Array
    mixed: Array
    norms: Array


@dataclass(frozen=True, eq=False)
class Moments:
    """What the law needs of a mixture and n: class sizes, squared norms, and traces."""

    mixture: GaussianMixture
    counts: Array
    norms: Array  # E ||x||^2, class by class
    T: Array
    T_refined: Array

    @classmethod
    def of(cls, mixture: GaussianMixture, n: int) -> Moments:
        """The moments of a ``mixture`` at sample size ``n``; TypeError or ValueError for another object, or one of zeros."""
        if not isinstance(mixture, GaussianMixture):
            raise TypeError(
                f"mixture must be a GaussianMixture, got {type(mixture).__name__}: a law needs all covariances; "
                "for data, GaussianMixture.from_data(X, labels) makes one"
            )
        p = mixture.p
        counts = mixture.counts(integer(n, "n", 1)).astype(float)
        energies = mixture.mean_energies()
        T = mixture.trace_products() / p
        refined = T + ((mixture.means @ mixture.means.T) ** 2 + energies + energies.T) / p
        norms = (mixture.traces() + (mixture.means**2).sum(axis=1)) / p
        if not norms.any():
            raise ValueError("mixture must have tau0 > 0: all its means and covariances are zero")
        return cls(mixture, counts, norms, T, refined)

    @property
    def tau0(self) -> float:
        r""":math:`\tau_0`, root of the mean squared norm."""
        return float(np.sqrt(np.average(self.norms, weights=self.counts)))


def terms_of(network: Network, moments: Moments, kernel: str, trained: Trained, law: str) -> Terms:
    """The terms of a kernel's form at a mixture's moments.

    Parameters
    ----------
    network : ImplicitNetwork or ExplicitNetwork
    moments : Moments
    kernel : {"ck", "ntk"}
    trained : as in :func:`helpers.kernels.ntk`
    law : {"classwise", "plain"}

    Raises
    ------
    ValueError
        For another kernel, law or choice of weights, or a network that is not centered.
    """
    for name, value, allowed in (
        ("kernel", kernel, ("ck", "ntk")),
        ("law", law, ("classwise", "plain")),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {allowed}, got {value!r}")
    c = coefficients(network, moments.tau0, trained)
    if kernel == "ck":
        weights, diagonal = (c.alpha1, c.alpha2, c.alpha3), c.gamma2
    else:
        weights, diagonal = (c.beta1, c.beta2, c.beta3), c.kappa2
    if np.isinf(diagonal):
        raise ValueError(
            "an activation jumps above trained weights: E[phi'^2] and so the kernel's diagonal are infinite"
        )
    if law == "plain":
        return _plain(moments, weights, diagonal)
    return _classwise(network, moments, kernel, trained)


def _plain(moments: Moments, weights: tuple[float, float, float], diagonal: float) -> Terms:
    """The theorems' coefficients for all classes: (eq-omega)."""
    first, second, third = weights
    t = np.sqrt(moments.mixture.p) * (moments.norms - moments.tau0**2)
    ones = np.ones(len(t))
    place = diagonal - moments.tau0**2 * first
    return Terms(
        np.sqrt(first) * ones,
        place * ones,
        second * np.outer(t, t) + third * moments.T,
        second * np.outer(t, ones),
        second * np.outer(ones, ones),
    )


def _classwise(network: Network, moments: Moments, kernel: str, trained: Trained) -> Terms:
    """The profile of each class's typical sample: (eq-classwise)."""
    norms, p, step = moments.norms, moments.mixture.p, 1e-4
    found = profile(network, np.r_[norms, norms * (1 + step), norms * (1 - step)], kernel, trained)
    gains, offset, square, diagonal = (
        np.split(part, 3) for part in (found.gain, found.offset, found.square, found.diagonal)
    )
    response = (offset[1] - offset[2]) / (2 * step * norms[:, None])
    return Terms(
        gains[0],
        diagonal[0] - gains[0] ** 2 * norms,
        p * offset[0] @ offset[0].T + square[0] @ square[0].T * moments.T_refined,
        np.sqrt(p) * offset[0] @ response.T,
        response @ response.T,
    )


def perturbation(terms: Terms, moments: Moments) -> Perturbation:
    """The bulk's equations, and what is added to it, from the terms of a kernel at the mixture's ``moments``."""
    mixture = moments.mixture
    gains = np.where(
        terms.gains**2 * moments.norms > FAINT * np.abs(terms.places), terms.gains, 0.0
    )
    coupled = gains**2 * mixture.traces() / mixture.p > FAINT * np.abs(terms.places)
    ratios = moments.counts / mixture.p
    traces, means = _traces(mixture, gains**2, ratios, coupled)
    equations = Equations(traces, ratios[coupled], terms.places[coupled])
    core = core_of(terms, gains, means.T @ means)
    spread = 2 * np.diag(moments.T)
    return Perturbation(equations, coupled, terms.places, ratios, core, spread, means)


def core_of(terms: Terms, gains: Array, products: Array) -> Array:
    r""":math:`\mathcal B` of (eq-frame), (3K, 3K), from the ``terms``, ``gains`` (K,) and ``products`` of means (K, K)."""
    D, zero = np.diag(gains), np.zeros_like(products)
    return np.block(
        [
            [terms.classes + D @ products @ D, terms.mixed, D],
            [terms.mixed.T, terms.norms, zero],
            [D, zero, zero],
        ]
    )


def _traces(
    mixture: GaussianMixture, squares: Array, ratios: Array, coupled: NDArray[np.bool_]
) -> tuple[Commuting | Full, Array]:
    """Traces of the coupled classes' covariances times squared gains, and the means in their basis."""
    C, M = mixture.covariances, mixture.means.T
    if C.ndim < 3:
        values = (squares[:, None] * C.reshape(mixture.K, -1))[coupled]
        return Commuting(values, np.full(values.shape[1], 1 / values.shape[1])), M
    matrices = squares[coupled, None, None] * C[coupled]
    if not len(matrices):
        return Commuting(np.zeros((0, 1)), np.ones(1)), M
    basis = np.linalg.eigh(np.tensordot(ratios[coupled], matrices, 1))[1]
    matrices = basis.T @ matrices @ basis
    matrices = (matrices + matrices.transpose(0, 2, 1)) / 2
    diagonals = np.diagonal(matrices, axis1=1, axis2=2).copy()
    off = (matrices**2).sum(axis=(1, 2)) - (diagonals**2).sum(axis=1)
    if (off <= 1e-20 * (diagonals**2).sum(axis=1)).all():
        p = mixture.p
        return Commuting(np.maximum(diagonals, 0.0), np.full(p, 1 / p)), basis.T @ M
    return Full(matrices), basis.T @ M
