r"""Covariances of a function with a kink at zero, as a table in the angle of a pair and in its two variances.

In polar coordinates of the plane where :math:`u = \sqrt s\,r\cos\alpha`, :math:`v = \sqrt t\,r\cos(\alpha - \theta)`,
:math:`\rho = \cos\theta`, the kinks are rays, and between two rays the integrand is smooth. The covariance is
therefore smooth in :math:`\theta` up to both ends, however close the correlation is to one, and so it is in the
logarithms of the variances: polynomials in the three of them reach rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from helpers.quadrature import Function, reach, rule

Array = NDArray[np.float64]
OCTAVES = 4.0  # of the variance, a piece
ORDER = 16  # Chebyshev polynomials a piece
PIECES = 24  # below the piece of the largest variance; smaller variances scale with the last piece
DEGREES = (48, 96, 192)  # in the angle, tried in turn
ROUNDING = {
    "value": 1e-14,
    "slope": 1e-12,
}  # share of the last coefficients; a slope may be a difference
ALLOWED = {"value": 1e-11, "slope": 1e-9}  # disagreement with the moments of one Gaussian


@dataclass(frozen=True)
class Grid:
    """Pieces of log s: their upper end in quarters of an octave, and bits for those below it with a sample."""

    top: int
    occupied: int

    @classmethod
    def of(cls, s: Array) -> Grid:
        """The grid that the variances s (n,) need."""
        top = int(np.ceil(4 * np.log2(s.max())))
        return cls(top, int(sum(1 << int(k) for k in np.unique(_depth(s, top)))))

    def pieces(self) -> list[int]:
        """Numbers of the pieces that hold a sample."""
        return [k for k in range(PIECES) if self.occupied >> k & 1]

    def nodes(self) -> Array:
        """Chebyshev nodes in log s, ORDER a piece."""
        x = np.cos(np.pi * (np.arange(ORDER) + 0.5) / ORDER)
        return np.concatenate(
            [2 ** (self.top / 4 - OCTAVES * (k + (1 - x) / 2)) for k in self.pieces()]
        )

    def basis(self, s: Array) -> Array:
        """Cardinal functions of the nodes at s, shape (nodes, n); they vanish outside of their piece."""
        depth, rows = _depth(s, self.top), []
        turns = np.arange(ORDER)[:, None] * np.pi * (np.arange(ORDER) + 0.5) / ORDER
        cardinal = np.where(np.arange(ORDER)[:, None] == 0, 1.0, 2.0) / ORDER * np.cos(turns)
        for k in self.pieces():
            x = 1 - 2 * ((self.top / 4 - np.log2(s)) / OCTAVES - k)
            polynomials = chebyshev.chebvander(np.clip(x, -1.0, 1.0), ORDER - 1)
            rows.append(np.where(depth == k, (polynomials @ cardinal).T, 0.0))
        return np.concatenate(rows)


def _depth(s: Array, top: int) -> Array:
    """How many pieces below the top one each variance lies."""
    with np.errstate(divide="ignore"):
        return np.clip(np.floor((top / 4 - np.log2(s)) / OCTAVES), 0, PIECES - 1)


def coordinate(rho: Array, xp: ModuleType = np) -> Array:
    r"""The variable :math:`y` in [-1, 1] of :math:`\rho = \sin(\tfrac\pi2\sin(\tfrac\pi2 y))`, by ``xp``, numpy or torch.

    One arcsine makes the covariance of a function smooth at both ends, if the function is so on either
    side of zero; where it grows with a broken power, the second one tames the logarithm of the angle.
    """
    y: Array = 2 / np.pi * xp.arcsin(2 / np.pi * xp.arcsin(rho))
    return y


@lru_cache(maxsize=32)
def tables(function: Function, slope: Function, name: str, grid: Grid) -> tuple[Array, Array]:
    r"""Chebyshev coefficients in :func:`coordinate` between the nodes of a grid.

    Parameters
    ----------
    function, slope : callable
        Smooth but at zero; hashable.
    name : str
        For error messages.
    grid : Grid

    Returns
    -------
    value, slope : (q, a, a) arrays
        Of the covariance over :math:`\sqrt{st}`, and of :math:`E[f'(u)f'(v)]`.

    Raises
    ------
    ValueError
        If the function is too steep for the quadrature at these variances.
    """
    s = grid.nodes()
    constant = function(np.zeros(1))[0]
    root = np.sqrt(s)

    def centered(x: Array) -> Array:
        return function(x) - float(constant)

    nodes, weights = rule(s, (0.0,), far=reach(function, s, name))
    mean = (weights * centered(root[:, None] * nodes)).sum(axis=1) / root
    value = _table(centered, s, name, "value", root)
    value[0] -= mean[:, None] * mean
    return value, _table(slope, s, name, "slope", np.ones_like(s))


def _table(f: Function, s: Array, name: str, kind: str, unit: Array) -> Array:
    """Coefficients of E[f(u) f(v)] over the units, refined until they end and agree with one Gaussian's moments."""
    far = reach(f, s, name)
    nodes, weights = rule(s, (0.0,), far=far)
    moment = (weights * f(np.sqrt(s)[:, None] * nodes) ** 2).sum(axis=1) / unit**2
    for density in (1, 2):
        for degree in DEGREES:
            table = _coefficients(f, s, degree, density, far) / (unit[:, None] * unit)
            size = np.abs(table).max(axis=(1, 2))
            if size[-3:].max() <= ROUNDING[kind] * size.max():
                break
        error = np.abs(np.einsum("qaa->a", table) - moment).max() / moment.max()
        if error <= ALLOWED[kind]:
            return table[: np.flatnonzero(size > 0.01 * ROUNDING[kind] * size.max())[-1] + 1]
    raise ValueError(
        f"{name} is too steep for its pairs at variance {s.max():.3g}: the {kind} is off by {error:.1e}"
    )


def _coefficients(f: Function, s: Array, degree: int, density: int, far: float) -> Array:
    """Chebyshev coefficients in the angle, (degree + 1, a, a)."""
    turns = np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1)
    lengths = np.pi / 2 * (1 + np.sin(np.pi / 2 * np.cos(turns)))  # of the wedge of equal signs
    arcs = [_arc(f, s, length, density, far) for length in lengths]
    # the nodes are symmetric: the wedge of opposite signs has the length of the mirrored node
    values = np.array([same + other for (same, _), (_, other) in zip(arcs, arcs[::-1])])
    orders = np.arange(degree + 1)
    transform = (
        np.where(orders == 0, 1.0, 2.0)[:, None] / (degree + 1) * np.cos(orders[:, None] * turns)
    )
    return np.tensordot(transform, values, axes=1)


def _arc(f: Function, s: Array, length: float, density: int, far: float) -> tuple[Array, Array]:
    """Integrals over a wedge between the kinks of u and v: both of one sign, and of opposite signs."""
    radius, radial = _radii(np.sqrt(s.max()), density, far)
    share, angular = _angles(32 * density)
    sines = np.sin(length * share)
    points = np.sqrt(s)[:, None, None] * radius[:, None] * sines
    weights = radial[:, None] * (length * angular) / (2 * np.pi)
    high, low = f(points), f(-points)
    # v runs through the wedge backward
    weighted = [(weights * side[..., ::-1]).reshape(len(s), -1).T for side in (high, low)]
    high, low = high.reshape(len(s), -1), low.reshape(len(s), -1)
    opposite = high @ weighted[1]
    return high @ weighted[0] + low @ weighted[1], opposite + opposite.T


def _radii(scale: float, density: int, far: float) -> tuple[Array, Array]:
    """Nodes and weights of the radius, whose density is r exp(-r^2/2)."""
    panels = int(np.ceil(far / min(3.4, 5.0 / scale))) * density
    unit, weight = np.polynomial.legendre.leggauss(20)
    r = far / panels * (np.arange(panels)[:, None] + (unit + 1) / 2).ravel()
    return r, np.tile(weight, panels) * far / (2 * panels) * r * np.exp(-(r**2) / 2)


def _angles(count: int) -> tuple[Array, Array]:
    """Nodes in [0, 1] that crowd at both ends, where a power of the distance may not be smooth."""
    unit, weight = np.polynomial.legendre.leggauss(count)
    x = (unit + 1) / 2
    return x**3 * (10 - 15 * x + 6 * x**2), 15 * (x * (1 - x)) ** 2 * weight
