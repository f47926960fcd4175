r"""Limiting spectral laws of kernels: bulk, atoms, spikes and alignments (thm-bulk, thm-spikes, def-classwise).

A mixture and a network give the form of a kernel (:mod:`helpers.forms`), its noise the bulk
(:mod:`helpers.bulk`, :mod:`helpers.support`), its means and quadratic part the spikes (:mod:`helpers.spikes`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from helpers.bulk import Array, Equations
from helpers.checks import as_real_array, positive
from helpers.equivalents import Network
from helpers.errors import ConvergenceError
from helpers.forms import Moments, Terms, core_of, perturbation, terms_of
from helpers.mixtures import GaussianMixture
from helpers.networks import Trained
from helpers.spikes import Perturbation, spikes
from helpers.support import Bulk, bulk, from_scratch, sampled

SAME = 1e-10  # places this near to each other, beside their size, are one
MASS = 1e-5  # allowed error of the total mass
SAMPLED_MASS = 0.02  # and of that of a law on a grid
SINGULAR = 1e-10  # eigenvalues of a covariance this small beside the largest are zero


@dataclass(frozen=True)
class Atom:
    """A place where the law has positive mass."""

    place: float
    mass: float


@dataclass(frozen=True, eq=False)
class LimitingLaw:
    """The limiting spectral law of a kernel matrix, with its atoms, spikes and alignments.

    Attributes
    ----------
    kind : {"classwise", "plain"}
    shares : (K,) array
        Proportions of the classes.
    bulk : Bulk
    atoms : tuple of Atom
    perturbation : Perturbation
    """

    kind: str
    shares: Array
    bulk: Bulk
    atoms: tuple[Atom, ...]
    perturbation: Perturbation

    @property
    def atom(self) -> Atom | None:
        """The atom of the largest mass, None without one."""
        return max(self.atoms, key=lambda atom: atom.mass, default=None)

    @property
    def support(self) -> list[tuple[float, float]]:
        """Intervals of the bulk, ascending, between exact edges; atoms are not among them."""
        return [(float(i.lower), float(i.upper)) for i in self.bulk.intervals]

    @property
    def residual(self) -> float:
        """Largest residual of the equations between the nodes where they were solved."""
        return max((i.residual for i in self.bulk.intervals), default=0.0)

    @property
    def spikes(self) -> Array:
        """All eigenvalues outside the bulk, ascending (thm-spikes)."""
        return self._spikes[0]

    @property
    def alignments(self) -> Array:
        r""":math:`\lVert\Pi_Jv\rVert^2` of their eigenvectors, in the same order (eq-alignment)."""
        return self._spikes[1]

    @cached_property
    def _spikes(self) -> tuple[Array, Array]:
        return spikes(self.perturbation, self.bulk, np.array([atom.place for atom in self.atoms]))

    def density(self, x: ArrayLike) -> Array:
        """Density of the continuous part at real x of any shape (eq-density); zero outside of the bulk."""
        return self.bulk.density(as_real_array(x, "x"), self._coupled_shares)

    def cdf(self, x: ArrayLike) -> Array:
        """Share of eigenvalues at or below x, atoms included."""
        x = as_real_array(x, "x")
        total = self.bulk.cdf(x, self._coupled_shares)
        for atom in self.atoms:
            total = total + atom.mass * (x >= atom.place)
        return total

    def distance(self, eigenvalues: ArrayLike) -> float:
        """Kolmogorov's distance to the distribution of given eigenvalues, which spikes take part in."""
        x, counts = np.unique(as_real_array(eigenvalues, "eigenvalues"), return_counts=True)
        if not x.size:
            raise ValueError("eigenvalues must hold at least one number")
        shares, found = np.append(0, np.cumsum(counts)) / counts.sum(), self.cdf(x)
        before = found - sum(atom.mass * (x == atom.place) for atom in self.atoms)
        return float(max(np.abs(found - shares[1:]).max(), np.abs(before - shares[:-1]).max()))

    def stieltjes(self, z: ArrayLike) -> NDArray[np.complex128]:
        r""":math:`\mathfrak m(z) = \int(x - z)^{-1}\,d\mathrm{law}(x)` (eq-stieltjes).

        Parameters
        ----------
        z : complex array of any shape
            Off the real axis, or on it outside of the bulk and the atoms.

        Raises
        ------
        ValueError
            For a real z in the bulk, where the transform has two limits, or at an atom.
        """
        points = np.asarray(z)
        if points.dtype.kind not in "iufc" or not np.isfinite(points).all():
            raise ValueError(f"z must hold finite numbers, got {z!r}")
        points = points.astype(complex)
        flat = points.ravel()
        self._refuse_poles(flat[flat.imag == 0].real)
        upper = np.where(flat.imag < 0, flat.conj(), flat)
        values = self._transform(upper)
        return np.where(flat.imag < 0, values.conj(), values).reshape(points.shape)

    def _refuse_poles(self, real: Array) -> None:
        for low, high in self.support:
            inside = real[(real >= low) & (real <= high)]
            if inside.size:
                raise ValueError(
                    f"z = {inside[0]:g} is a real number in the bulk [{low:g}, {high:g}], where the transform "
                    "has two limits: give z an imaginary part, or ask for the density"
                )
        if np.isin(real, [atom.place for atom in self.atoms]).any():
            raise ValueError("z is an atom of the law, a pole of its transform")

    def _transform(self, z: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """At points in the closed upper half plane, outside of bulk and atoms."""
        equations = self.bulk.equations
        m = np.zeros((len(z), len(equations.places)), complex)
        if self.bulk.intervals:
            span = self.support[-1][1] - min(self.perturbation.places.min(), self.support[0][0])
            m[:] = [_descend(equations, point, span) for point in z]
        uncoupled = ~self.perturbation.coupled
        rest = (self.shares[uncoupled] / (self.perturbation.places[uncoupled] - z[:, None])).sum(
            axis=1
        )
        transform: NDArray[np.complex128] = m @ self._coupled_shares + rest
        return transform

    @property
    def _coupled_shares(self) -> Array:
        return self.shares[self.perturbation.coupled]


def _descend(equations: Equations, z: complex, span: float) -> NDArray[np.complex128]:
    """Solution in the closed upper half plane, outside of bulk and atoms, from far above."""
    point, coarse = np.array([z]), equations.coarse()
    m, error = equations.newton(coarse.from_above(point, max(span, abs(z))), point)
    if z.imag == 0:
        stable, real = equations.outside(m, point.real)
        m, error = real.astype(complex), np.where(stable, 0.0, np.inf)
    if error[0] > equations.traces.accepted or (z.imag > 0 and (m.imag <= 0).any()):
        raise ConvergenceError(f"the law's equations were not solved at z = {z:g}", float(error[0]))
    solution: NDArray[np.complex128] = m[0]
    return solution


def limiting_law(
    network: Network,
    mixture: GaussianMixture,
    n: int,
    kernel: str = "ck",
    trained: Trained = "default",
    law: str = "classwise",
    resolution: float | None = None,
) -> LimitingLaw:
    r"""Limiting law of the eigenvalues of a kernel matrix of n samples from a mixture.

    Parameters
    ----------
    network : ImplicitNetwork or ExplicitNetwork
        Centered at the scale of the mixture.
    mixture : GaussianMixture
        For data, ``GaussianMixture.from_data(X, labels)``: their covariances are taken for the true ones,
        which asks for many more samples than dimensions in every class.
    n : int
        Number of samples.
    kernel : {"ck", "ntk"}
    trained : as in :func:`kernels.ntk`
    law : {"classwise", "plain"}
        Gains and places of each class (def-classwise), or those of the theorems for all (thm-bulk).
    resolution : float, optional
        The law on a grid of this relative spacing, such as 0.01, without exact edges, and with no spikes but those
        above the bulk. For covariances of data: their eigenvalues spread over many orders, and every large one makes
        an interval of its own. The covariances must have common eigenvectors: isotropic or diagonal ones do.

    Returns
    -------
    LimitingLaw
        With ``density``, ``cdf``, ``stieltjes``, ``support``, ``atoms``, ``spikes`` and ``alignments``.

    Raises
    ------
    ValueError
        If an argument is not one of these, the network is not centered, or a diagonal is infinite.
    TypeError
        If ``mixture`` is not a mixture.
    ConvergenceError
        If the equations of the law were not solved, or its mass is not one.

    Examples
    --------
    >>> from helpers import laws, mixtures, networks
    >>> mixture = mixtures.GaussianMixture([[0.0] * 100], [1.0])
    >>> network = networks.ImplicitNetwork("tanh", sigma_a2=0.2).centered(tau0=1.0)
    >>> law = laws.limiting_law(network, mixture, n=25)
    >>> [(round(a, 3), round(b, 3)) for a, b in law.support]
    [(0.111, 0.801)]
    >>> len(law.spikes)
    0
    """
    moments = Moments.of(mixture, n)
    terms = terms_of(network, moments, kernel, trained, law)
    found = perturbation(terms, moments)
    continuous = _continuous(found, resolution)
    shares = moments.counts / moments.counts.sum()
    result = LimitingLaw(law, shares, continuous, _atoms(found, moments), found)
    try:
        _require_unit_mass(result, MASS if resolution is None else SAMPLED_MASS)
    except ConvergenceError:  # an interval that the coarse traces do not have
        if resolution is not None or not _has_coarse_start(found):
            raise
        result = replace(result, bulk=from_scratch(found.equations))
        _require_unit_mass(result, MASS)
    return result


def _has_coarse_start(found: Perturbation) -> bool:
    """Whether the bulk was found from coarse traces and can be found without them."""
    traces = found.equations.traces
    return bool(found.coupled.any()) and not traces.dear and traces.coarse() is not traces


def _continuous(found: Perturbation, resolution: float | None) -> Bulk:
    if not found.coupled.any():
        return Bulk(found.equations, (), ())
    if resolution is None:
        return bulk(found.equations)
    if found.equations.traces.dear:
        raise ValueError(
            "resolution is for covariances with common eigenvectors: turn the data into the eigenbasis of their "
            "mean covariance and keep the diagonals, or give one covariance to all classes"
        )
    return sampled(found.equations, positive(resolution, "resolution"))


def _groups(places: Array) -> list[Array]:
    """Classes of equal places."""
    order = np.argsort(places, kind="stable")
    apart = np.diff(places[order]) > SAME * np.abs(places).max()
    return np.split(order, np.flatnonzero(apart) + 1)


def _atoms(found: Perturbation, moments: Moments) -> tuple[Atom, ...]:
    """Places of more samples than the rank of their covariances can hold (prop-atom)."""
    n, atoms = moments.counts.sum(), []
    for group in _groups(found.places):
        size = moments.counts[group].sum()
        missing = size - _rank(moments.mixture, group[found.coupled[group]], moments.counts)
        if missing > 0:
            atoms.append(Atom(float(found.places[group].mean()), float(missing / n)))
    return tuple(atoms)


def _rank(mixture: GaussianMixture, classes: Array, counts: Array) -> int:
    """Rank of the noise of some classes, which is almost surely the same for all draws."""
    sizes, ranges = counts[classes].astype(int), []
    for a, size in zip(classes, sizes):
        C = mixture.covariances[a]
        if C.ndim == 0 or (C.ndim == 1 and C.min() > SINGULAR * C.max()) or _definite(C):
            return int(min(sizes.sum(), mixture.p))  # one class that fills the space is enough
        values, vectors = (C, np.eye(len(C))) if C.ndim == 1 else np.linalg.eigh(C)
        kept = vectors[:, values > SINGULAR * values.max()]
        rng = np.random.default_rng(int(a))
        ranges.append(kept @ rng.standard_normal((kept.shape[1], min(size, kept.shape[1]))))
    if not ranges:
        return 0
    draw = np.hstack(ranges)
    squares = np.linalg.eigvalsh(draw @ draw.T)
    return int((squares > SINGULAR * squares[-1]).sum())


def _definite(C: Array) -> bool:
    """Whether a covariance is far from singular."""
    if C.ndim < 2:
        return False
    try:
        np.linalg.cholesky(C - SINGULAR * np.trace(C) * np.eye(len(C)))
    except np.linalg.LinAlgError:
        return False
    return True


def _require_unit_mass(law: LimitingLaw, allowed: float) -> None:
    """Bulk and atoms of every place hold all its samples: no interval was overlooked."""
    coupled = law.perturbation.coupled
    mass = np.zeros(len(coupled))
    if law.bulk.intervals:
        mass[coupled] = law.bulk.masses().sum(axis=0)
    error = abs(1.0 - float(law.shares @ mass) - sum(atom.mass for atom in law.atoms))
    if error > allowed:
        raise ConvergenceError("the mass of the limiting law is not one", error)


def critical_distance(
    network: Network,
    mixture: GaussianMixture,
    n: int,
    kernel: str = "ck",
    trained: Trained = "default",
    law: str = "classwise",
) -> float:
    r"""The distance of classes beyond which their means raise a spike above the bulk (eq-transition).

    The class means are moved towards or away from their average, all by one factor; gains, places and the
    quadratic part stay those of the mixture given. At the critical factor an eigenvalue comes out of the upper
    edge that is not there when all means agree; for :math:`\pm\mu` and :math:`C = I` that is
    :math:`\lVert\mu\rVert^4 = p/n`.

    Parameters
    ----------
    network, mixture, n, kernel, trained, law : as in :func:`limiting_law`

    Returns
    -------
    float
        The largest distance :math:`\lVert\mu_a - \mu_b\rVert` between two classes at the transition; infinite
        if means raise no spike, as for even activations.

    Raises
    ------
    ValueError
        If all means are equal.
    """
    moments = Moments.of(mixture, n)
    differences = mixture.means[:, None] - mixture.means
    size = float(np.sqrt((differences**2).sum(axis=2).max()))
    if size == 0:
        raise ValueError("mixture must have means that differ")
    start = limiting_law(network, mixture, n, kernel, trained, law)
    terms = terms_of(network, moments, kernel, trained, law)

    def above(factor: float) -> int:
        return _above(start, terms, factor)

    base, high = above(0.0), 1.0
    while above(high) <= base:
        high *= 2
        if high > 1e8:
            return np.inf
    low = 0.0
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if above(middle) <= base else (low, middle)
    return high * size


def _above(law: LimitingLaw, terms: Terms, factor: float) -> int:
    """Number of spikes above the bulk, with the means moved towards their average."""
    old = law.perturbation
    if not law.bulk.intervals:
        return 0
    average = old.means @ law.shares
    means = average[:, None] + factor * (old.means - average[:, None])
    gains = np.diag(old.core[: len(law.shares), 2 * len(law.shares) :])
    moved = replace(old, core=core_of(terms, gains, means.T @ means), means=means)
    edge, at_edge = law.bulk.intervals[-1].upper, law.bulk.ends[-1][1]
    assert at_edge is not None  # the density is infinite at lower edges only
    return moved.negative(edge, at_edge) - int((moved.signs < 0).sum())
