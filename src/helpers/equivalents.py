r"""High-dimensional equivalents: network + statistics → "X^T X + low rank + multiple of the identity"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import LinearOperator

from helpers import eigen
from helpers.checks import as_data, positive
from helpers.mixtures import Statistics
from helpers.networks import ImplicitNetwork, warn_if_scale_differs

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Coefficients:
    r"""The constants of Theorem 1 (thm-implicit-ck), functions of the activation, the variances and tau0.

    Attributes
    ----------
    tau : float
        :math:`\tau_*`, standard deviation of the preactivation.
    gamma2 : float
        :math:`\gamma^2 = E[\varphi^2(\tau_*\xi)]`.
    alpha1, alpha2, alpha3, alpha4 : float
        Weights of the Gram matrix, of the norms, of the inner products squared, and the response of
        a preactivation's variance to its sample's squared norm.
    """

    tau: float
    gamma2: float
    alpha1: float
    alpha2: float
    alpha3: float
    alpha4: float


def coefficients(network: ImplicitNetwork, tau0: float) -> Coefficients:
    r"""Solve the four equations (eq-tau, eq-alpha1, eq-alpha2, eq-alpha3) of a centered DEQ.

    Parameters
    ----------
    network : ImplicitNetwork
        Centered at (or very near) ``tau0``.
    tau0 : float
        Root of the mean squared norm of the data.

    Returns
    -------
    Coefficients

    Raises
    ------
    ValueError
        If the network is not centered, naming ``.centered``.
    """
    if not isinstance(network, ImplicitNetwork):
        raise TypeError(f"network must be an ImplicitNetwork, got {type(network).__name__}")
    tau0 = positive(tau0, "tau0")
    warn_if_scale_differs(network, tau0)
    phi, a2, b2 = network.activation, network.sigma_a2, network.sigma_b2
    tau2 = network.variance(np.array([tau0**2]))
    gamma2 = float(phi.second_moment(tau2)[0])
    _require_centered(network, float(phi.mean(tau2)[0]), gamma2)
    slope2, curvature2 = float(phi.slope(tau2)[0]) ** 2, float(phi.curvature(tau2)[0]) ** 2
    # the gain is E[phi']^2, at most E[phi'^2] < 1/sigma_a^2 below the sharp threshold
    room = 1.0 - a2 * slope2
    alpha1 = b2 * slope2 / room
    alpha4 = b2 / (1.0 - a2 * float(phi.square_curvature(tau2)[0]) / 2)
    return Coefficients(
        tau=float(np.sqrt(tau2[0])),
        gamma2=gamma2,
        alpha1=alpha1,
        alpha2=curvature2 * alpha4**2 / (4 * room),
        alpha3=curvature2 * (a2 * alpha1 + b2) ** 2 / (2 * room),
        alpha4=alpha4,
    )


def _require_centered(network: ImplicitNetwork, mean: float, gamma2: float) -> None:
    # a network centered at a scale within one percent is centered to about one percent of its size
    slack = 1e-9 if network.tau0 is None else 0.1
    if abs(mean) > slack * np.sqrt(gamma2):
        raise ValueError(
            f"the network is not centered: E[phi(tau_* xi)] = {mean:.3g} at this tau0; use network.centered(tau0)"
        )


class Equivalent(LinearOperator):
    r"""The matrix :math:`c_1 X^\top X + V \Omega V^\top + c_0 I`, known by what it does to a vector.

    Parameters
    ----------
    gram_weight : float
        :math:`c_1`.
    X : (p, n) array
    factor : (n, r) array
        :math:`V`.
    core : (r, r) array
        :math:`\Omega`, symmetric.
    identity_weight : float
        :math:`c_0`.
    """

    def __init__(
        self, gram_weight: float, X: Array, factor: Array, core: Array, identity_weight: float
    ) -> None:
        super().__init__(np.dtype(np.float64), (X.shape[1],) * 2)
        self.gram_weight, self.X = gram_weight, X
        self.factor, self.core, self.identity_weight = factor, core, identity_weight

    def _matmat(self, vectors: Array) -> Array:
        product = self.gram_weight * (self.X.T @ (self.X @ vectors))
        product += self.factor @ (self.core @ (self.factor.T @ vectors))
        return product + self.identity_weight * vectors

    def _matvec(self, vector: Array) -> Array:
        return self._matmat(vector.reshape(-1, 1)).reshape(vector.shape)

    def _adjoint(self) -> Equivalent:
        return self

    def toarray(self) -> Array:
        """The (n, n) array, symmetric."""
        dense = self.gram_weight * (self.X.T @ self.X)
        low_rank = self.factor @ (self.core @ self.factor.T)
        dense += (low_rank + low_rank.T) / 2
        dense[np.diag_indices_from(dense)] += self.identity_weight
        return dense

    def eigsh(self, k: int) -> tuple[Array, Array]:
        """The ``k`` largest eigenvalues, descending, and their vectors as columns: O(npk) a step."""
        return eigen.top_eigenpairs(self, k)


def ck(network: ImplicitNetwork, stats: Statistics, X: ArrayLike) -> Equivalent:
    r"""Equivalent :math:`\bar G` of the implicit conjugate kernel, Theorem 1 (thm-implicit-ck; Ling et al. 2024).

    Parameters
    ----------
    network : ImplicitNetwork
        Centered at the scale of the data.
    stats : Statistics
        Of these data, true or estimated.
    X : (p, n) array

    Returns
    -------
    Equivalent
        A scipy ``LinearOperator`` with ``toarray()`` and ``eigsh(k)``.

    Raises
    ------
    ValueError
        If the statistics are of other data, or the network is not centered.
    TypeError
        If the network or the statistics are something else.
    """
    X = as_data(X)
    if not isinstance(stats, Statistics):
        raise TypeError(
            f"stats must be a Statistics, got {type(stats).__name__}: "
            "mixtures.statistics and mixtures.estimate make one"
        )
    if (stats.p, stats.n) != X.shape:
        raise ValueError(f"stats are of data of shape {(stats.p, stats.n)}, X has shape {X.shape}")
    _require_own_statistics(stats, X)
    coef = coefficients(network, stats.tau0)
    return Equivalent(
        coef.alpha1,
        X,
        stats.V,
        _core(coef.alpha2, coef.alpha3, stats),
        coef.gamma2 - stats.tau0**2 * coef.alpha1,
    )


def _require_own_statistics(stats: Statistics, X: Array) -> None:
    """Refuse statistics of other data of the same shape: their psi says nothing of these norms."""
    norms = np.einsum("ij,ij->j", X, X)
    within = norms - (np.bincount(stats.labels, norms) / stats.counts)[stats.labels]
    size = np.linalg.norm(within) * np.linalg.norm(stats.psi)
    # in the regime of the theorem the two agree to 1/sqrt(p); a chance agreement is about 1/sqrt(n)
    if stats.n >= 50 and size > 0 and within @ stats.psi < 0.25 * size:
        raise ValueError(
            "stats are of other data than X (or of its samples in another order): the fluctuations psi "
            f"have a correlation of {within @ stats.psi / size:.2f} with the squared norms of X"
        )


def _core(second: float, third: float, stats: Statistics) -> Array:
    r"""The matrix :math:`\Omega` of Theorem 1, shape (K+1, K+1)."""
    t = stats.t[:, None]
    return np.block(
        [[second * t @ t.T + third * stats.T, second * t], [second * t.T, second * np.ones((1, 1))]]
    )
