r"""High-dimensional equivalents: network + statistics → "X^T X + low rank + diagonal", for CK and NTK."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import block_diag, eigh
from scipy.sparse.linalg import LinearOperator

from helpers import eigen
from helpers.activations import Activation
from helpers.checks import as_data, as_real_array, flag, integer, positive
from helpers.mixtures import Statistics
from helpers.networks import ExplicitNetwork, ImplicitNetwork, Trained, warn_if_scale_differs

Array = NDArray[np.float64]
Network = ImplicitNetwork | ExplicitNetwork
BAND = 4096  # columns of X that are scaled at a time


@dataclass(frozen=True)
class Coefficients:
    r"""The constants of a network's equivalents, functions of activations, variances, rates and tau0.

    For an implicit network those of thm-implicit-ck and thm-implicit-ntk (or thm-implicit-ntk-all), for an
    explicit one those of its last layer, thm-explicit-ck and thm-explicit-ntk.

    Attributes
    ----------
    tau : float
        Standard deviation of the preactivation on which the (last) activation acts: :math:`\tau_*` of an
        implicit network, :math:`\tau_{L-1}` of an explicit one.
    gamma2 : float
        Squared norm of a state, :math:`\gamma^2 = E[\varphi^2(\tau_*\xi)]` or :math:`\tau_L^2`: the
        diagonal of the conjugate kernel.
    alpha1, alpha2, alpha3 : float
        Weights of the Gram matrix, of the norms, and of the inner products squared in that kernel.
    alpha4 : float
        Response to its sample's squared norm: of a preactivation's variance for an implicit network, of
        the last features' squared norm for an explicit one.
    kappa2 : float
        :math:`\kappa^2`, the diagonal of the tangent kernel; infinite if weights below a jump are trained.
    beta1, beta2, beta3 : float
        What ``alpha1``, ``alpha2``, ``alpha3`` are to the conjugate kernel, for the tangent kernel.
    """

    tau: float
    gamma2: float
    alpha1: float
    alpha2: float
    alpha3: float
    alpha4: float
    kappa2: float
    beta1: float
    beta2: float
    beta3: float


@dataclass(frozen=True)
class _Moments:
    """What the formulas ask of one activation at one scale."""

    second: float  # E[phi^2]
    slope2: float  # E[phi']^2
    curvature2: float  # E[phi'']^2
    response: float  # E[(phi^2)'']/2, the derivative of E[phi^2] in the variance
    spread: float  # E[phi'^2]

    @classmethod
    def of(cls, phi: Activation, s: float) -> _Moments:
        return cls(
            float(phi.second_moment(s)),
            float(phi.slope(s)) ** 2,
            float(phi.curvature(s)) ** 2,
            float(phi.square_curvature(s)) / 2,
            float(phi.slope_second_moment(s)),
        )


def coefficients(network: Network, tau0: float, trained: Trained = "default") -> Coefficients:
    r"""All coefficients of a centered network's conjugate and tangent equivalents.

    Those of a DEQ are (eq-alpha1) to (eq-alpha4) and of thm-implicit-ntk, those of an explicit network the
    recursions (eq-explicit-alphas) and (eq-explicit-betas).

    Parameters
    ----------
    network : ImplicitNetwork or ExplicitNetwork
        Centered at (or very near) ``tau0``.
    tau0 : float
        Root of the mean squared norm of the data.
    trained : as in :func:`kernels.ntk`
        Which weights the tangent kernel trains. Of the fields, ``kappa2``, ``beta1``, ``beta2`` and
        ``beta3`` depend on it.

    Returns
    -------
    Coefficients

    Raises
    ------
    ValueError
        If the network is not centered, naming ``.centered``, or does not have the weights ``trained``.
    TypeError
        If the network is something else.

    Examples
    --------
    >>> from helpers import equivalents, networks
    >>> network = networks.ImplicitNetwork("relu", sigma_a2=0.2).centered(tau0=1.0)
    >>> c = equivalents.coefficients(network, tau0=1.0)
    >>> f"{c.alpha1:.4f} {c.alpha2:.4f} {c.alpha3:.4f} {c.gamma2:.4f}"
    '0.2105 0.0360 0.0692 0.2926'
    >>> f"{(1 - 0.2) / (4 - 0.2):.4f}"
    '0.2105'
    """
    if not isinstance(network, Network):
        raise TypeError(
            f"network must be an ImplicitNetwork or an ExplicitNetwork, got {type(network).__name__}"
        )
    tau0 = positive(tau0, "tau0")
    warn_if_scale_differs(network, tau0)
    if isinstance(network, ImplicitNetwork):
        return _implicit(network, tau0, network.input_rate(trained))
    return _explicit(network, tau0, network.rates(trained))


def _implicit(network: ImplicitNetwork, tau0: float, rate: float) -> Coefficients:
    r"""Equations (eq-tau) to (eq-alpha4), (eq-beta1) to (eq-kappa); ``rate`` 1 adds (eq-ntk-all-betas)."""
    phi, a2, b2 = network.activation, network.sigma_a2, network.sigma_b2
    tau2 = float(network.variance(np.array([tau0**2]))[0])
    m = _Moments.of(phi, tau2)
    _require_centered(network, phi, tau2, m.second)
    # E[phi']^2 is at most E[phi'^2], which is below 1/sigma_a^2 by the sharp threshold
    gain = a2 * m.slope2
    room = 1.0 - gain
    alpha1 = b2 * m.slope2 / room
    alpha4 = b2 / (1.0 - a2 * m.response)
    alpha2 = m.curvature2 * alpha4**2 / (4 * room)
    alpha3 = m.curvature2 * (a2 * alpha1 + b2) ** 2 / (2 * room)
    # the readout alone is trained if there is no A and B is frozen: no slope then, were it infinite
    lost = a2 * m.spread if a2 else 0.0
    kappa2 = (m.second + (b2 * tau0**2 * m.spread if rate else 0.0)) / (1.0 - lost)
    return Coefficients(
        tau=float(np.sqrt(tau2)),
        gamma2=m.second,
        alpha1=alpha1,
        alpha2=alpha2,
        alpha3=alpha3,
        alpha4=alpha4,
        kappa2=kappa2,
        beta1=alpha1 / room + rate * alpha1,
        beta2=alpha2 / room,
        beta3=alpha3 * (1.0 + 2 * gain) / room + rate * 2 * alpha3,
    )


def _explicit(network: ExplicitNetwork, tau0: float, rates: tuple[float, ...]) -> Coefficients:
    r"""The recursions (eq-explicit-alphas) and (eq-explicit-betas), layer by layer."""
    gamma2, a1, a2, a3, a4 = tau0**2, 1.0, 0.0, 0.0, 1.0
    kappa2, b1, b2, b3 = rates[0] * tau0**2, rates[0], 0.0, 0.0
    for phi, rate in zip(network.layers, rates[1:]):
        tau2 = gamma2
        m = _Moments.of(phi, tau2)
        _require_centered(network, phi, tau2, m.second)
        gamma2 = m.second
        square = m.curvature2 * a1**2  # before a1 moves on
        b3 = b3 * m.slope2 + b1 * a1 * m.curvature2
        a1, a2, a3 = (
            a1 * m.slope2,
            a2 * m.slope2 + m.curvature2 * a4**2 / 4,
            a3 * m.slope2 + square / 2,
        )
        a4 *= m.response
        b1, b2, b3 = rate * a1 + b1 * m.slope2, rate * a2 + b2 * m.slope2, rate * a3 + b3
        # nothing trained below: no slope then, were it infinite
        kappa2 = rate * gamma2 + (kappa2 * m.spread if kappa2 else 0.0)
    return Coefficients(float(np.sqrt(tau2)), gamma2, a1, a2, a3, a4, kappa2, b1, b2, b3)


def _require_centered(network: Network, phi: Activation, variance: float, second: float) -> None:
    # a network centered at a scale within one percent is centered to about one percent of its size
    slack = 1e-9 if network.tau0 is None else 0.1
    mean = float(phi.mean(variance))
    if abs(mean) > slack * np.sqrt(second):
        raise ValueError(
            f"the network is not centered: E[phi] = {mean:.3g} in {phi.name} at this tau0; "
            "use network.centered(tau0)"
        )


class Equivalent(LinearOperator):  # type: ignore[misc]  # scipy has no types
    r"""The matrix :math:`D X^\top X D + U \Omega U^\top + \mathrm{diag}(d)`, known by its products.

    Parameters
    ----------
    X : (p, n) array
    scale : (n,) array or float
        The diagonal of :math:`D`.
    frame : (n, r) array
        :math:`U`; :math:`V` for the equivalents of the theorems.
    core : (r, r) array
        :math:`\Omega`, symmetric.
    diagonal : (n,) array or float
        :math:`d`; a number for a multiple of the identity.
    """

    def __init__(
        self, X: Array, scale: ArrayLike, frame: Array, core: Array, diagonal: ArrayLike
    ) -> None:
        X, frame, core = as_data(X), as_real_array(frame, "frame"), as_real_array(core, "core")
        n = X.shape[1]
        super().__init__(np.float64, (n, n))
        self.X, self.frame, self.core = X, frame, core
        self.scale, self.diagonal = (
            _per_sample(scale, n, "scale"),
            _per_sample(diagonal, n, "diagonal"),
        )
        if core.ndim != 2 or frame.shape != (n, len(core)) or core.shape != (len(core),) * 2:
            raise ValueError(
                f"frame must be (n, r) and core (r, r), n = {n}: got {frame.shape} and {core.shape}"
            )

    def _matmat(self, vectors: Array) -> Array:
        scale = self.scale[:, None]
        product = scale * (self.X.T @ (self.X @ (scale * vectors)))
        product += self.frame @ (self.core @ (self.frame.T @ vectors))
        return product + self.diagonal[:, None] * vectors

    def _adjoint(self) -> Equivalent:
        return self

    def toarray(self) -> Array:
        """The (n, n) array, symmetric."""
        dense = self.X.T @ self.X
        dense *= self.scale[:, None]
        dense *= self.scale
        dense += (
            self.frame @ self.core @ self.frame.T + self.frame @ self.core.T @ self.frame.T
        ) / 2
        dense[np.diag_indices_from(dense)] += self.diagonal
        # two scales multiply in one order above the diagonal and in the other below
        return (dense + dense.T) / 2

    def eigsh(self, k: int) -> tuple[Array, Array]:
        """The ``k`` largest eigenvalues, descending, and unit vectors as columns, largest entry positive.

        With a multiple of the identity as its diagonal and n large, from a matrix of order p + r, in
        O(np²); otherwise by Lanczos' iteration, in O(np) a step.
        """
        order = len(self.X) + len(self.core)
        if np.ptp(self.diagonal) > 0 or self.shape[0] <= order + integer(k, "k", 1):
            return eigen.top_eigenpairs(self, k)
        return self._reduced_eigenpairs(k)

    def _reduced_eigenpairs(self, k: int) -> tuple[Array, Array]:
        r"""Eigenpairs of :math:`W S W^\top + d I`, :math:`W = [D X^\top, U]`, from :math:`W^\top W`."""
        squares, basis = eigh(self._factor_gram())
        keep = squares > 1e-13 * squares[-1]  # directions of W that are there
        roots, basis = np.sqrt(squares[keep]), basis[:, keep]
        S = block_diag(np.eye(len(self.X)), (self.core + self.core.T) / 2)
        small = roots[:, None] * (basis.T @ S @ basis) * roots
        top = (max(0, len(small) - k), len(small) - 1)
        values, weights = eigh(small, subset_by_index=top)
        if len(values) < k or values[0] <= 0:  # fewer than k eigenvalues are above those of d I
            return eigen.top_eigenpairs(self, k)
        weights = basis @ (weights / roots[:, None])
        vectors = self.scale[:, None] * (self.X.T @ weights[: len(self.X)])
        vectors += self.frame @ weights[len(self.X) :]
        return values[::-1] + self.diagonal[0], eigen._oriented(vectors[:, ::-1])

    def _factor_gram(self) -> Array:
        """W^T W, without a scaled copy of X."""
        p, r = len(self.X), len(self.core)
        gram = np.zeros((p + r, p + r))
        for start in range(0, self.shape[0], BAND):
            band = slice(start, start + BAND)
            W = np.vstack([self.X[:, band] * self.scale[band], self.frame[band].T])
            gram += W @ W.T
        return gram


def _per_sample(values: ArrayLike, n: int, name: str) -> Array:
    values = as_real_array(values, name)
    if values.shape not in ((), (n,)):
        raise ValueError(f"{name} must be a number or {n} of them, got shape {values.shape}")
    return np.broadcast_to(values, n)


def ck(
    network: Network, stats: Statistics, X: ArrayLike, refined: bool = False, T: str = "plain"
) -> Equivalent:
    r"""Equivalent of the conjugate kernel: :math:`\bar G` (thm-implicit-ck) or :math:`\bar\Sigma^{(L)}` (thm-explicit-ck).

    Parameters
    ----------
    network : ImplicitNetwork or ExplicitNetwork
        Centered at the scale of the data.
    stats : Statistics
        Of these data, true or estimated.
    X : (p, n) array
    refined : bool
        The refined equivalent in its place (thm-refined, module :mod:`helpers.refined`).
    T : {"plain", "refined"}
        Mean squares of inner products in the plain equivalent: ``stats.T`` of the theorems, or
        ``stats.T_refined`` (eq-T-refined), with the means in it, of the same limit and nearer at finite p.

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

    Examples
    --------
    >>> from helpers import equivalents, kernels, mixtures, networks, spectra
    >>> sample = mixtures.two_class(256).sample(64, seed=0)
    >>> stats = mixtures.statistics(sample)
    >>> network = networks.ImplicitNetwork("relu", sigma_a2=0.2).centered(stats.tau0)
    >>> G = equivalents.ck(network, stats, sample.X)
    >>> G.shape
    (64, 64)
    >>> f"{spectra.operator_norm(kernels.ck(network, sample.X) - G.toarray()):.2f}"
    '0.12'
    """
    X, products = _checked(stats, X), _products(stats, refined, T)
    if refined:
        return _refined(network, stats, X, "ck", "default")
    c = coefficients(network, stats.tau0)
    return _plain(stats, products, X, (c.alpha1, c.alpha2, c.alpha3), c.gamma2)


def ntk(
    network: Network,
    stats: Statistics,
    X: ArrayLike,
    trained: Trained = "default",
    refined: bool = False,
    T: str = "plain",
) -> Equivalent:
    r"""Equivalent of the tangent kernel: :math:`\bar\Theta` (thm-implicit-ntk, thm-implicit-ntk-all, thm-explicit-ntk).

    Parameters
    ----------
    network, stats, X, refined, T : as in :func:`ck`
    trained : as in :func:`kernels.ntk`

    Returns
    -------
    Equivalent

    Raises
    ------
    As :func:`ck`, and ValueError for weights that the network does not have, or a diagonal that is infinite.
    """
    X, products = _checked(stats, X), _products(stats, refined, T)
    if refined:
        return _refined(network, stats, X, "ntk", trained)
    c = coefficients(network, stats.tau0, trained)
    if np.isinf(c.kappa2):
        raise ValueError(
            "an activation jumps above trained weights: E[phi'^2] and so the tangent kernel's diagonal are infinite"
        )
    return _plain(stats, products, X, (c.beta1, c.beta2, c.beta3), c.kappa2)


def _plain(
    stats: Statistics, T: Array, X: Array, weights: tuple[float, float, float], diagonal: float
) -> Equivalent:
    """The form (eq-equivalent) that all theorems share, with three weights and a diagonal."""
    first, second, third = weights
    core = _core(second, third, stats.t, T)
    return Equivalent(X, np.sqrt(first), stats.V, core, diagonal - stats.tau0**2 * first)


def _refined(
    network: Network, stats: Statistics, X: Array, kernel: str, trained: Trained
) -> Equivalent:
    # here: it computes exact diagonals, whose machinery the plain equivalents do without
    from helpers.refined import terms

    return Equivalent(X, *terms(network, stats, X, kernel, trained))


def _products(stats: Statistics, refined: bool, T: str) -> Array:
    """The matrix that a choice of mean squares of inner products stands for."""
    flag(refined, "refined")
    if T not in ("plain", "refined"):
        raise ValueError(f'T must be "plain" or "refined", got {T!r}')
    if refined and T != "plain":
        raise ValueError("T is for the plain equivalent: the refined one has its own mean squares")
    return stats.T_refined if T == "refined" else stats.T


def _checked(stats: Statistics, X: ArrayLike) -> Array:
    """Data as an array, if the statistics are theirs."""
    X = as_data(X)
    if not isinstance(stats, Statistics):
        raise TypeError(
            f"stats must be a Statistics, got {type(stats).__name__}: "
            "mixtures.statistics and mixtures.estimate make one"
        )
    if (stats.p, stats.n) != X.shape:
        raise ValueError(f"stats are of data of shape {(stats.p, stats.n)}, X has shape {X.shape}")
    _require_own_statistics(stats, X)
    return X


def _require_own_statistics(stats: Statistics, X: Array) -> None:
    """Refuse statistics of other data of the same shape: their psi says nothing of these norms."""
    squares, means = np.einsum("ij,ij->j", X, X), X @ stats.J / stats.counts
    # squared norms about the class means: where these are large, the norms of X are theirs as well
    products = np.take_along_axis(means.T @ X, stats.labels[None, :], axis=0)[0]
    norms = squares - 2 * products + (means**2).sum(axis=0)[stats.labels]
    within = norms - (np.bincount(stats.labels, norms) / stats.counts)[stats.labels]
    size = np.linalg.norm(within) * np.linalg.norm(stats.psi)
    # samples of one norm (signs, data on a sphere) leave nothing but rounding to compare
    rounding = 1e-10 * np.linalg.norm(squares)
    flat = min(np.linalg.norm(within), np.linalg.norm(stats.psi)) <= rounding
    # the two agree but for the estimated means; a chance agreement is about 1/sqrt(n)
    if stats.n >= 50 and not flat and within @ stats.psi < 0.4 * size:
        raise ValueError(
            "stats are of other data than X (or of its samples in another order): the fluctuations psi "
            f"have a correlation of {within @ stats.psi / size:.2f} with those of X about its class means"
        )


def _core(second: float, third: float, t: Array, T: Array) -> Array:
    r"""The matrix :math:`\Omega` (eq-omega, eq-omega-ntk) from its two weights, shape (K+1, K+1)."""
    t = t[:, None]
    return np.block(
        [[second * t @ t.T + third * T, second * t], [second * t.T, np.full((1, 1), second)]]
    )
