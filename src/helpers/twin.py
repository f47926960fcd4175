r"""The record of a match: the twin, its residuals, and its gap on data."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from helpers import kernels, spectra
from helpers.activations import Activation
from helpers.checks import as_data
from helpers.networks import (
    ExplicitNetwork,
    ImplicitNetwork,
    _callers_level,
    warn_if_scale_differs,
)


@dataclass(frozen=True)
class Match:
    r"""A twin, and what is known of it.

    Attributes
    ----------
    network : ExplicitNetwork
        Centered at ``tau0``; every hidden layer keeps the norm, :math:`\tau_l = \tau_0`.
    family : str
    depth : int
    residual : float
        The largest of ``residuals``.
    residuals : dict of str to float
        Relative difference of each coefficient, computed afresh from both networks by
        :func:`equivalents.coefficients`; of one that vanishes, relative to the kernel's diagonal.
    source : ImplicitNetwork
        Whose twin it is.
    tau0 : float
    kernel : {"ck", "ntk"}
    trained : str
        The DEQ's trained weights, for the tangent kernel.
    rates : tuple of float
        c_0 … c_L of the twin: ``kernels.ntk(match.network, X, trained=match.rates)``.
    solutions : int
        Distinct exact solutions (local minima of the rule) that the search saw.
    spread : float
        The number that the selection rule minimizes (prop-rule).
    """

    network: ExplicitNetwork
    family: str
    depth: int
    residual: float
    residuals: dict[str, float]
    source: ImplicitNetwork
    tau0: float
    kernel: str
    trained: str
    rates: tuple[float, ...]
    solutions: int
    spread: float

    def gap(self, X: ArrayLike, network: ImplicitNetwork | None = None) -> float:
        r"""Relative gap :math:`\lVert G^* - \Sigma^{(L)}\rVert/\lVert G^*\rVert` of the exact kernels on data.

        Parameters
        ----------
        X : (p, n) array
        network : ImplicitNetwork, optional
            To be compared with the twin in place of ``source``; a warning says if it is another.

        Warns
        -----
        UserWarning
            If the data's scale is more than 1 % off ``tau0``, or the network is not ``source``; with both
            values.
        """
        X = as_data(X)
        warn_if_scale_differs(self.network, float(np.sqrt(np.mean(np.sum(X * X, axis=0)))))
        if network is not None:
            self.require(network)
        network = network or self.source
        if self.kernel == "ck":
            exact, twin = kernels.ck(network, X), kernels.ck(self.network, X)
        else:
            exact = kernels.ntk(network, X, self.trained)
            twin = kernels.ntk(self.network, X, self.rates)
        return spectra.operator_norm(exact - twin) / spectra.operator_norm(exact)

    def require(self, network: ImplicitNetwork) -> None:
        """Warn, with both values, if this is not the twin of ``network``.

        Raises
        ------
        TypeError
            If the network is not implicit.
        """
        if not isinstance(network, ImplicitNetwork):
            raise TypeError(f"network must be an ImplicitNetwork, got {type(network).__name__}")
        for what, mine, other in self._differences(network):
            warnings.warn(
                f"the twin was found for {what} = {mine}, the network has {what} = {other}; match it anew",
                stacklevel=_callers_level(sys._getframe()),
            )

    def _differences(self, network: ImplicitNetwork) -> Iterator[tuple[str, str, str]]:
        for name in ("sigma_a2", "sigma_b2"):
            mine, other = getattr(self.source, name), getattr(network, name)
            if not np.isclose(mine, other, rtol=1e-9, atol=0):
                yield name, f"{mine:.6g}", f"{other:.6g}"
        scale = network.tau0 or self.tau0
        if abs(scale / self.tau0 - 1) > 0.01:
            yield "tau0", f"{self.tau0:.4g}", f"{scale:.4g}"
        mine, other = self.source.activation, network.activation
        if (mine.name, mine.parameters) != (other.name, other.parameters):
            yield "activation", _called(mine), _called(other)

    def __str__(self) -> str:
        return (
            f"{self.kernel.upper()} twin of {self.source.activation.name} at sigma_a2 = "
            f"{self.source.sigma_a2:g}, tau0 = {self.tau0:.4g}: {self.depth} x {self.family}, "
            f"residual {self.residual:.1e}"
        )


def _called(phi: Activation) -> str:
    values = ", ".join(f"{key}={value}" for key, value in phi.parameters)
    return f"{phi.name}({values})" if values else phi.name
