r"""The K-class Gaussian mixture of the chapter *The Gaussian mixture in high dimension*.

A :class:`GaussianMixture` is sampled into a :class:`Sample`; its :class:`Statistics`
:math:`\tau_0, J, \psi, t, T` come from the true parameters (:func:`statistics`) or from data
alone (:func:`estimate`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from . import checks
from .checks import Array, Labels

__all__ = [
    "GaussianMixture",
    "Sample",
    "Statistics",
    "estimate",
    "quadratic_means",
    "statistics",
    "two_class",
]

_ROUNDING = 1e-10  # relative size of an eigenvalue or an asymmetry that is taken for rounding


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    r"""K classes :math:`x = \mu_a/\sqrt p + C_a^{1/2} \zeta/\sqrt p`, equation (eq-mixture).

    Parameters
    ----------
    means : (K, p) array
        Row a is :math:`\mu_a`, before the division by :math:`\sqrt p`.
    covariances : (K,), (K, p) or (K, p, p) array
        :math:`C_a` as a multiple of the identity, a diagonal or a full symmetric matrix. The
        number of dimensions decides, also where K = p. Singular matrices are allowed.
    proportions : (K,) array, optional
        Positive, of sum 1 within 1e-8, never renormalized; equal by default.

    Raises
    ------
    TypeError
        If an array does not hold real numbers.
    ValueError
        If a shape does not fit, a covariance is not symmetric or has a negative eigenvalue, or
        the proportions are not positive or do not sum to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from helpers.mixtures import GaussianMixture
    >>> mixture = GaussianMixture(np.eye(2, 4), [1.0, 2.0], [0.25, 0.75])
    >>> mixture.K, mixture.p, mixture.counts(8).tolist()
    (2, 4, [2, 6])
    >>> mixture.sample(8, seed=0).X.shape
    (4, 8)
    """

    means: Array
    covariances: Array
    proportions: Array = None  # type: ignore[assignment]  # filled in below

    if TYPE_CHECKING:  # what may be given; the fields say what is kept

        def __init__(
            self, means: ArrayLike, covariances: ArrayLike, proportions: ArrayLike | None = None
        ) -> None: ...

    def __post_init__(self) -> None:
        means = checks.as_real_array(self.means, "means")
        if means.ndim != 2 or 0 in means.shape:
            raise ValueError(
                f"means must have shape (K, p) with K, p >= 1, one row a class; it is {means.shape}"
            )
        covariances = _checked_covariances(self.covariances, *means.shape)
        proportions = _checked_proportions(self.proportions, len(means))
        for name, array in zip(
            ("means", "covariances", "proportions"), (means, covariances, proportions), strict=True
        ):
            array = array.copy()
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @classmethod
    def from_data(cls, X: ArrayLike, labels: ArrayLike) -> GaussianMixture:
        r"""The mixture with the class means, class covariances and proportions of the data.

        Means are multiplied by :math:`\sqrt p` and covariances (divisor :math:`n_a`) by p, so
        that samples have the first two moments of the data, class by class, exactly.

        Parameters
        ----------
        X : (p, n) array
        labels : (n,) array of integers 0, ..., K-1, in any order

        Raises
        ------
        TypeError, ValueError
            As :func:`helpers.checks.as_data` and :func:`helpers.checks.as_labels`.
        """
        X = checks.as_data(X)
        p, n = X.shape
        labels = checks.as_labels(labels, n)
        classes = [X[:, labels == a] for a in range(labels.max() + 1)]
        means = np.stack([X_a.mean(axis=1) for X_a in classes])
        covariances = np.stack(
            [p * _gram(X_a - m[:, None]) / X_a.shape[1] for X_a, m in zip(classes, means)]
        )
        return cls(np.sqrt(p) * means, covariances, np.bincount(labels) / n)

    @property
    def p(self) -> int:
        """Dimension of the data."""
        return int(self.means.shape[1])

    @property
    def K(self) -> int:
        """Number of classes."""
        return len(self.means)

    def covariance(self, a: int) -> Array:
        """The covariance of class `a` as a (p, p) array, whatever its storage."""
        if checks.integer(a, "a") >= self.K:
            raise ValueError(f"a must be below the number of classes, K = {self.K}; it is {a}")
        C = self.covariances[a]
        return C.copy() if C.ndim == 2 else np.diag(np.broadcast_to(C, self.p))

    def traces(self) -> Array:
        r""":math:`\operatorname{tr} C_a`, shape (K,)."""
        if self.covariances.ndim == 3:
            traces: Array = np.trace(self.covariances, axis1=1, axis2=2)
        else:
            traces = self._diagonals().sum(axis=1)
        return traces

    def trace_products(self) -> Array:
        r""":math:`\operatorname{tr}(C_a C_b)`, shape (K, K)."""
        # tr(AB) of symmetric matrices is the dot product of their entries.
        rows = self.covariances if self.covariances.ndim == 3 else self._diagonals()
        rows = rows.reshape(self.K, -1)
        return rows @ rows.T

    def mean_energies(self) -> Array:
        r""":math:`\mu_a^\top C_b \mu_a` at place (a, b), shape (K, K)."""
        if self.covariances.ndim == 3:
            images = self.means @ self.covariances  # (K, K, p): images[b, a] = C_b mu_a
            energies: Array = np.einsum("ap,bap->ab", self.means, images)
            return energies
        return self.means**2 @ self._diagonals().T

    def _diagonals(self) -> Array:
        """The (K, p) diagonals of isotropic or diagonal covariances."""
        C = self.covariances.reshape(self.K, -1)
        return np.broadcast_to(C, (self.K, self.p))

    def counts(self, n: int) -> Labels:
        """Class sizes n_a of a sample of size `n`: the method of the largest remainder.

        Raises
        ------
        ValueError
            If `n` is too small for every class to have a sample.
        """
        n = checks.integer(n, "n", minimum=1)
        quotas = np.round(n * self.proportions, 9)  # equal remainders stay equal: ties go left
        counts = np.floor(quotas).astype(np.int64)
        left_over = n - counts.sum()
        counts[np.argsort(counts - quotas, kind="stable")[:left_over]] += 1
        if not counts.all():
            a = int(np.argmin(counts))
            raise ValueError(
                f"n must give every class a sample: with n = {n}, class {a} of proportion "
                f"{self.proportions[a]:.4g} has none"
            )
        return counts

    def sample(self, n: int, seed: int) -> Sample:
        r"""Draw `n` columns of equation (eq-mixture), sorted by class.

        Parameters
        ----------
        n : int
            Number of samples; the class sizes are those of :meth:`counts`, not random.
        seed : int
            At least 0. The same seed draws the same sample, whatever the number of threads
            (with full covariances, up to the rounding of one matrix product).

        Returns
        -------
        Sample
            With X of shape (p, n), float64, and labels of shape (n,).

        Raises
        ------
        TypeError, ValueError
            If `n` or `seed` is no such integer.
        """
        counts = self.counts(n)
        rng = np.random.default_rng(checks.integer(seed, "seed"))
        X = rng.standard_normal((self.p, int(counts.sum())))
        stop = np.cumsum(counts)
        for a in range(self.K):
            block = slice(stop[a] - counts[a], stop[a])
            X[:, block] = self.means[a][:, None] + _root_times(self.covariances[a], X[:, block])
        X /= np.sqrt(self.p)
        return Sample(X, np.repeat(np.arange(self.K), counts), self)


@dataclass(frozen=True, eq=False)
class Sample:
    """A draw X (p, n) from a mixture, with the label (n,) of each column.

    Raises
    ------
    TypeError, ValueError
        If X is not finite and real, or X, the labels and the mixture do not fit together.
    """

    X: Array
    labels: Labels
    mixture: GaussianMixture

    def __post_init__(self) -> None:
        if not isinstance(self.mixture, GaussianMixture):
            raise TypeError(f"mixture must be a GaussianMixture, not {type(self.mixture).__name__}")
        X = checks.as_data(self.X)
        if X.shape[0] != self.mixture.p:
            raise ValueError(f"X must have p = {self.mixture.p} rows; its shape is {X.shape}")
        object.__setattr__(self, "X", X)
        labels = checks.as_labels(self.labels, X.shape[1], classes=self.mixture.K)
        object.__setattr__(self, "labels", labels)


@dataclass(frozen=True, eq=False)
class Statistics:
    r"""What the equivalents need to know of the data, equations (eq-tau0) to (eq-products).

    Attributes
    ----------
    tau0 : float
        :math:`\tau_0`, the typical norm of a sample.
    t : (K,) array
        :math:`t_a`, deviations of the classes' mean squared norms, times :math:`\sqrt p`.
    psi : (n,) array
        :math:`\psi_i`, fluctuation of the squared norm of sample i within its class.
    T : (K, K) array
        :math:`\operatorname{tr}(C_a C_b)/p`.
    T_refined : (K, K) array
        p times the mean of :math:`(x_i^\top x_j)^2`, i in class a and j in class b, i ≠ j.
    labels : (n,) array of int
    p : int
    """

    tau0: float
    t: Array
    psi: Array
    T: Array
    T_refined: Array
    labels: Labels
    p: int

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.labels)

    @property
    def K(self) -> int:
        """Number of classes."""
        return len(self.t)

    @property
    def counts(self) -> Labels:
        """Class sizes n_a, shape (K,)."""
        return np.bincount(self.labels, minlength=self.K)

    @property
    def J(self) -> Array:
        """Class indicators, shape (n, K): entry (i, a) is 1 if sample i is of class a."""
        return np.eye(self.K)[self.labels]

    @property
    def V(self) -> Array:
        r""":math:`V = [J/\sqrt p, \psi]`, shape (n, K + 1), equation (eq-chi)."""
        return np.column_stack([self.J / np.sqrt(self.p), self.psi])


def two_class(p: int) -> GaussianMixture:
    r"""The setting of Ling et al. (2024): equal classes, :math:`\mu_a = 8 e_{8a}` (indices 0
    and 8) and :math:`C_a = (1 + 8a/\sqrt p) I` for a = 0, 1.

    Raises
    ------
    ValueError
        If p < 9, where the second mean has no place.
    """
    p = checks.integer(p, "p", minimum=9)
    means = np.zeros((2, p))
    means[[0, 1], [0, 8]] = 8.0
    return GaussianMixture(means, [1.0, 1.0 + 8.0 / np.sqrt(p)])


def statistics(sample: Sample) -> Statistics:
    r"""Statistics of a sample from the true means and covariances, equations (eq-tau0) to (eq-products).

    The proportions are those of the sample, :math:`\pi_a = n_a/n`; :math:`\tau_0` and t hold the
    means as well as the covariances, which matters at finite p.

    Parameters
    ----------
    sample : Sample

    Returns
    -------
    Statistics

    Raises
    ------
    TypeError
        If `sample` is not a Sample: bare data go to :func:`estimate`.
    ValueError
        If all means and covariances are zero.

    Examples
    --------
    >>> from helpers import mixtures
    >>> sample = mixtures.two_class(64).sample(32, seed=0)
    >>> stats = mixtures.statistics(sample)
    >>> f"{stats.tau0:.4f}", stats.J.shape, stats.V.shape
    ('1.5811', (32, 2), (32, 3))
    >>> stats.T.round(3).tolist()
    [[1.0, 2.0], [2.0, 4.0]]
    """
    if not isinstance(sample, Sample):
        raise TypeError(
            f"sample must be a Sample, not {type(sample).__name__}; "
            "for data without a mixture use mixtures.estimate(X, labels)"
        )
    mix, X, labels, p = sample.mixture, sample.X, sample.labels, sample.mixture.p
    norms = (mix.traces() + (mix.means**2).sum(axis=1)) / p  # E ||x||^2, class by class
    tau0_squared = np.average(norms, weights=np.bincount(labels))
    if not tau0_squared > 0:
        raise ValueError("sample must have tau0 > 0: all its means and covariances are zero")
    noise = _subtracted(X, mix.means / np.sqrt(p), labels)
    T = mix.trace_products() / p
    energies = mix.mean_energies()
    return Statistics(
        tau0=float(np.sqrt(tau0_squared)),
        t=np.sqrt(p) * (norms - tau0_squared),
        psi=_squared_norms(noise) - (mix.traces() / p)[labels],
        T=T,
        T_refined=T + ((mix.means @ mix.means.T) ** 2 + energies + energies.T) / p,
        labels=labels,
        p=p,
    )


def quadratic_means(sample: Sample) -> Array:
    r"""Mean of :math:`(x_i^\top x)^2` over x of class b, given :math:`x_i`, equation (eq-refined-square).

    It is :math:`x_i^\top \Xi_b x_i` with :math:`\Xi_b = (C_b + \mu_b\mu_b^\top)/p` of the mixture: in O(np)
    for isotropic or diagonal covariances, in O(np^2) a class for full ones.

    Parameters
    ----------
    sample : Sample

    Returns
    -------
    (n, K) array

    Raises
    ------
    TypeError
        If `sample` is not a Sample: ``refined.squared_products`` serves bare data.
    """
    if not isinstance(sample, Sample):
        raise TypeError(
            f"sample must be a Sample, not {type(sample).__name__}; "
            "for data without a mixture use refined.squared_products(X, labels)"
        )
    mix, X = sample.mixture, sample.X
    if mix.covariances.ndim == 3:
        energies = np.stack([np.einsum("pi,pi->i", X, C @ X) for C in mix.covariances], axis=1)
    else:
        energies = (X**2).T @ mix._diagonals().T
    return (energies + (X.T @ mix.means.T) ** 2) / mix.p


def estimate(X: ArrayLike, labels: ArrayLike) -> Statistics:
    r"""The same statistics from data alone, equation (eq-estimators).

    The estimates of T and of its refined form are unbiased; the naive
    :math:`\operatorname{tr}(\hat C_a^2)/p` is off by :math:`O(1)`.

    Parameters
    ----------
    X : (p, n) array
        Finite and not all zero.
    labels : (n,) array of integers 0, ..., K-1, in any order
        At least four samples a class.

    Returns
    -------
    Statistics

    Raises
    ------
    TypeError, ValueError
        For wrong data or labels, a class of fewer than four samples, or data all zero.

    Examples
    --------
    >>> from helpers import mixtures
    >>> sample = mixtures.two_class(64).sample(256, seed=0)
    >>> stats = mixtures.estimate(sample.X, sample.labels)
    >>> f"{stats.tau0:.2f}, {mixtures.statistics(sample).tau0:.2f}"
    '1.58, 1.58'
    """
    X = checks.as_data(X)
    p, n = X.shape
    labels = checks.as_labels(labels, n)
    counts = np.bincount(labels)
    _need_four_samples(counts)
    norms = _squared_norms(X)
    if not norms.any():
        raise ValueError("X must have tau0 > 0: all its entries are zero")
    centered = _subtracted(X, _class_means(X, labels), labels)
    deviations = _squared_norms(centered) * (counts / (counts - 1))[labels]
    return Statistics(
        tau0=float(np.sqrt(norms.mean())),
        t=np.sqrt(p) * (_class_averages(norms, labels) - norms.mean()),
        psi=deviations - _class_averages(deviations, labels)[labels],
        T=p * _covariance_products(centered, labels),
        T_refined=p * _mean_squared_products(X, labels),
        labels=labels,
        p=p,
    )


def _covariance_products(centered: Array, labels: Labels) -> Array:
    r"""Unbiased estimate of tr(Sigma_a Sigma_b) from class-centered data, shape (K, K).

    Off the diagonal <S_a, S_b>; on it the U-statistic of Himeno and Yamada (2014).
    """
    n = np.bincount(labels).astype(float)
    products = _pair_sums(centered, labels) / np.outer(n - 1, n - 1)
    norms = _squared_norms(centered)
    trace = np.bincount(labels, norms) / (n - 1)
    Q = np.bincount(labels, norms**2) / (n - 1)
    diagonal = (n - 1) * (n - 2) * np.diag(products) + trace**2 - n * Q
    np.fill_diagonal(products, (n - 1) / (n * (n - 2) * (n - 3)) * diagonal)
    return products


def _mean_squared_products(X: Array, labels: Labels) -> Array:
    """Mean of (x_i^T x_j)^2 over pairs i != j of the classes a, b, shape (K, K)."""
    n = np.bincount(labels).astype(float)
    sums = _pair_sums(X, labels)
    same = np.diag(sums) - np.bincount(labels, _squared_norms(X) ** 2)  # without i = j
    means = sums / np.outer(n, n)
    np.fill_diagonal(means, same / (n * (n - 1)))
    return means


def _pair_sums(Y: Array, labels: Labels) -> Array:
    """Sum of (y_i^T y_j)^2 over i in class a, j in class b, shape (K, K).

    It is ||Y_a^T Y_b||_F^2 = <Y_a Y_a^T, Y_b Y_b^T>: whichever side stores less is computed.
    """
    K = int(labels.max()) + 1
    p, n = Y.shape
    if K * p**2 <= n**2:
        grams = np.stack([_gram(Y[:, labels == a]).ravel() for a in range(K)])
        return grams @ grams.T
    J = np.eye(K)[labels]
    return J.T @ (Y.T @ Y) ** 2 @ J


def _gram(Y: Array) -> Array:
    """Y Y^T."""
    return Y @ Y.T


def _squared_norms(X: Array) -> Array:
    """Squared Euclidean norms of the columns."""
    norms: Array = np.einsum("pi,pi->i", X, X)
    return norms


def _class_averages(values: Array, labels: Labels) -> Array:
    """Mean of `values` over each class, shape (K,)."""
    return np.bincount(labels, values) / np.bincount(labels)


def _class_means(X: Array, labels: Labels) -> Array:
    """Mean column of each class, shape (K, p)."""
    return np.stack([X[:, labels == a].mean(axis=1) for a in range(labels.max() + 1)])


def _subtracted(X: Array, centers: Array, labels: Labels) -> Array:
    """X with the center of each column's class taken away; the (p, n) copy is the only one."""
    Y = X.copy()
    for a, center in enumerate(centers):
        Y[:, labels == a] -= center[:, None]
    return Y


def _root_times(C: Array, Z: Array) -> Array:
    """C^{1/2} Z with the symmetric root, for one class in any of the three storages."""
    if C.ndim < 2:
        scaled: Array = np.sqrt(C).reshape(-1, 1) * Z
        return scaled
    values, vectors = np.linalg.eigh(C)
    product: Array = (vectors * np.sqrt(np.maximum(values, 0))) @ (vectors.T @ Z)
    return product


def _checked_proportions(proportions: ArrayLike | None, K: int) -> Array:
    """Positive proportions of sum 1, equal if None."""
    if proportions is None:
        return np.full(K, 1 / K)
    array = checks.as_real_array(proportions, "proportions")
    if array.shape != (K,):
        raise ValueError(f"proportions must have shape ({K},), one a class; it is {array.shape}")
    if not (array > 0).all():
        a = int(np.argmin(array))
        raise ValueError(f"proportions must be positive: class {a} has {array[a]:g}")
    if abs(array.sum() - 1) > 1e-8:
        raise ValueError(f"proportions must sum to 1 within 1e-8; their sum is {array.sum():.10g}")
    return array


def _checked_covariances(covariances: ArrayLike, K: int, p: int) -> Array:
    """Symmetric positive semi-definite covariances in one of the three storages."""
    array = checks.as_real_array(covariances, "covariances")
    if array.shape not in ((K,), (K, p), (K, p, p)):
        raise ValueError(
            f"covariances must have shape ({K},) isotropic, ({K}, {p}) diagonal or "
            f"({K}, {p}, {p}) full, as means have K = {K} and p = {p}; it is {array.shape}"
        )
    for a, C in enumerate(array):
        size = np.abs(C).max()
        if C.ndim == 2 and np.abs(C - C.T).max() > _ROUNDING * size:
            raise ValueError(
                f"covariances must be symmetric: class {a} differs from its transpose by "
                f"{np.abs(C - C.T).max():.3g}"
            )
        smallest = np.linalg.eigvalsh(C)[0] if C.ndim == 2 else C.min()
        # Rounding leaves singular full matrices with eigenvalues of this size.
        if smallest < (-_ROUNDING * size * p if C.ndim == 2 else 0):
            raise ValueError(
                "covariances must be positive semi-definite: "
                f"class {a} has eigenvalue {smallest:.3g}"
            )
    return array


def _need_four_samples(counts: Labels) -> None:
    """Every class has the four samples without which tr(Sigma_a^2) has no unbiased estimate."""
    a = int(np.argmin(counts))
    if counts[a] < 4:
        raise ValueError(
            "labels must give every class at least 4 samples, to estimate tr(C_a^2) without bias: "
            f"class {a} has {counts[a]}"
        )
