r"""Readouts trained on fixed features: ridge regression in closed form, gradient descent, Adam.

The features :math:`H = [h_1 \dots h_n]` of a network whose weights stay random are computed once. A readout R of
K outputs, :math:`f(x) = R^\top h`, is then trained on them, and the class of the largest output is the decision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from helpers.checks import as_data, as_labels, choice, integer, integers, positive, real_entries

__all__ = ["METHODS", "Readout", "fit", "kernel_ridge", "targets"]

Array = NDArray[np.float64]
RIDGES = np.logspace(-5, 1, 25)  # tried in turn, relative to the mean squared norm of a sample
CHUNK = 2500  # samples whose Gram matrix is summed in the features' own precision
CHOICE = 4000  # samples from which kernel ridge regression chooses its ridge
EPOCHS, BATCH = 30, 100


@dataclass(frozen=True, eq=False)
class Readout:
    r"""A trained readout.

    Attributes
    ----------
    weights : (m, K) array
    ridge : float
        Of the ridge regression, in the units of :math:`h^\\top h`; 0 for the other methods.
    """

    weights: Array
    ridge: float = 0.0

    def outputs(self, H: ArrayLike | Tensor) -> Array:
        """Outputs (K, n) of the samples whose features H (m, n) are given.

        Raises
        ------
        ValueError
            For features of another width.
        """
        H = _as_features(H)
        if len(H) != len(self.weights):
            raise ValueError(
                f"H must have {len(self.weights)} rows, one a unit, as the features that the readout was "
                f"trained on; its shape is {tuple(H.shape)}"
            )
        return (torch.as_tensor(self.weights, dtype=H.dtype).T @ H).numpy().astype(np.float64)

    def predict(self, H: ArrayLike | Tensor) -> NDArray[np.int64]:
        """The class (n,) of the largest output of each sample, from features H (m, n)."""
        classes: NDArray[np.int64] = self.outputs(H).argmax(axis=0)
        return classes

    def accuracy(self, H: ArrayLike | Tensor, labels: ArrayLike) -> float:
        """Share of samples, features H (m, n), whose decision is their label; not every class of ``labels`` (n,) need be there."""
        decisions = self.predict(H)
        labels = integers(labels, len(decisions), "labels")
        if labels.min() < 0:
            raise ValueError(f"labels must be 0 or larger; the smallest is {labels.min()}")
        return float(np.mean(decisions == labels))


def fit(
    H: ArrayLike | Tensor,
    labels: ArrayLike,
    method: str = "ridge",
    *,
    classes: int | None = None,
    seed: int = 0,
    **settings: Any,
) -> Readout:
    """Train a readout.

    Parameters
    ----------
    H : (m, n) array or tensor
        Features, one column a sample; single precision is kept for what is linear in n.
    labels : (n,) array of int
    method : {"ridge", "sgd", "adam"}
        Ridge regression on one-hot targets, solved in double precision, its ridge chosen by generalized
        cross-validation; or cross-entropy of the softmax, minimized in batches with momentum or with Adam.
    classes : int, optional
        Number K of classes; the largest label plus one unless given.
    seed : int
        Of the order in which batches are drawn.
    **settings
        For "ridge": ``ridge``, relative to the mean squared norm of a sample, instead of the choice. For the
        others ``epochs``, ``batch`` and ``step_size``, relative to a default that suits every width.

    Returns
    -------
    Readout

    Raises
    ------
    ValueError, TypeError
        For an unknown method, features that are not finite, labels that miss a class.
    """
    choice(method, "method", METHODS)
    integer(seed, "seed")
    if classes is not None:
        integer(classes, "classes", 1)
    H = _as_features(H)
    labels = as_labels(labels, H.shape[1], classes=classes)
    if method == "ridge":
        return _ridge(H, labels, **settings)
    return _descend(H, labels, method, seed, **settings)


def _as_features(H: ArrayLike | Tensor) -> Tensor:
    """Features as a finite tensor in their own precision, without gradients."""
    if not isinstance(H, Tensor):
        single = getattr(H, "dtype", None) == np.float32
        H = torch.as_tensor(as_data(H, "H"), dtype=torch.float32 if single else torch.float64)
    if H.ndim != 2 or 0 in H.shape or not H.is_floating_point():
        raise ValueError(
            f"H must be a real (m, n) matrix, one column a sample; its shape is {tuple(H.shape)}"
        )
    if not torch.isfinite(H.sum()) and not torch.isfinite(H).all():
        raise ValueError("H must be finite: some features are NaN or inf")
    return H.detach().cpu()


def targets(labels: NDArray[np.int64], classes: int) -> Array:
    """One-hot rows (n, K) of ``labels`` (n,) in K ``classes``, minus their mean 1/K: a constant that no decision depends on."""
    labels = integers(labels, np.size(labels), "labels")
    if not 0 <= labels.min() <= labels.max() < integer(classes, "classes", 1):
        raise ValueError(
            f"labels must be 0 to {classes - 1} for classes = {classes}; they are "
            f"{labels.min()} to {labels.max()}"
        )
    return np.eye(classes)[labels] - 1 / classes


# ---------------------------------------------------------------- closed form


def _ridge(H: Tensor, labels: NDArray[np.int64], ridge: float | None = None) -> Readout:
    r"""Least squares with a ridge, :math:`R = (HH^\top + \omega I)^{-1}HY`, by the eigenvectors of the Gram matrix."""
    Y = targets(labels, int(labels.max()) + 1)
    gram, moments = _gram(H, Y)
    size = gram.trace() / H.shape[1]
    values, vectors = scipy.linalg.eigh(gram, overwrite_a=True, check_finite=False, driver="evd")
    values, rotated = values.clip(0), vectors.T @ moments
    if ridge is None:
        omega = _by_cross_validation(values, rotated, Y, size)
    else:
        omega = positive(ridge, "ridge") * size
    return Readout(vectors @ (rotated / (values + omega)[:, None]), float(omega))


def _gram(H: Tensor, Y: Array) -> tuple[Array, Array]:
    r""":math:`HH^\top` and :math:`HY` in double precision, summed over short chunks of samples."""
    gram, moments = np.zeros((len(H),) * 2), np.zeros((len(H), Y.shape[1]))
    for start in range(0, H.shape[1], CHUNK):
        part = H[:, start : start + CHUNK]
        gram += (part @ part.T).numpy()
        moments += part.numpy().astype(np.float64) @ Y[start : start + CHUNK]
    return gram, moments


def _by_cross_validation(values: Array, rotated: Array, Y: Array, size: float) -> float:
    r"""The ridge of least generalized cross-validation (Golub, Heath and Wahba 1979).

    With :math:`\lambda_k` the eigenvalues and :math:`b_k` the rotated moments, the residual sum of squares is
    :math:`\lVert Y\rVert^2 - \sum_k b_k^2 (\lambda_k + 2\omega)/(\lambda_k + \omega)^2` and the degrees of freedom
    are :math:`\sum_k \lambda_k/(\lambda_k + \omega)`: leave-one-out with every leverage replaced by the mean one.
    """
    n, omegas = len(Y), RIDGES * size
    shrunk = values + omegas[:, None]
    weight = (values + 2 * omegas[:, None]) / shrunk**2
    rest = (Y**2).sum() - weight @ (rotated**2).sum(axis=1)
    freedom = (values / shrunk).sum(axis=1)
    return float(omegas[np.argmin(rest.clip(0) / (1 - freedom / n) ** 2)])


def kernel_ridge(
    G: ArrayLike, labels: ArrayLike, cross: ArrayLike, ridge: float | None = None
) -> tuple[Array, float]:
    r"""Ridge regression with a kernel, :math:`f = Y^\top(G + \omega I)^{-1}G_\times`: infinitely many features.

    Parameters
    ----------
    G : (n, n) array
        Of the training samples; in any precision, solved in double.
    labels : (n,) array of int
    cross : (n, k) array
        Between training and test samples.
    ridge : float, optional
        Relative to the mean of the diagonal; chosen by generalized cross-validation on the first 4000 samples
        unless given.

    Returns
    -------
    outputs : (K, k) array
    ridge : float
        The one used, relative to the mean of the diagonal.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit, labels that miss a class, a matrix that is not positive definite.
    """
    G, cross = _matrix(G, "G"), _matrix(cross, "cross")
    n = len(G)
    if G.shape != (n, n) or len(cross) != n:
        raise ValueError(
            f"G must be (n, n) and cross (n, k); their shapes are {G.shape} and {cross.shape}"
        )
    labels = as_labels(labels, n)
    Y, size = targets(labels, int(labels.max()) + 1), float(np.trace(G, dtype=np.float64)) / n
    if ridge is None:
        few = slice(0, CHOICE)
        values, vectors = scipy.linalg.eigh(G[few, few].astype(np.float64), driver="evd")
        moments = np.sqrt(values.clip(0))[:, None] * (vectors.T @ Y[few])
        ridge = _by_cross_validation(values.clip(0), moments, Y[few], size) / size
    system = G.astype(np.float64)
    system.flat[:: n + 1] += positive(ridge, "ridge") * size
    return _solve(system, Y).T @ cross, float(ridge)


def _matrix(values: ArrayLike, name: str) -> NDArray[Any]:
    """A finite real matrix in its own precision: without a copy, these are large."""
    array = real_entries(values, name)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} must be a matrix; its shape is {array.shape}")
    if not np.isfinite(array.sum(dtype=np.float64)):
        raise ValueError(f"{name} must be finite: some entries are NaN or inf")
    return array


def _solve(system: Array, Y: Array) -> Array:
    """Cholesky's solution, in the system's own memory."""
    try:
        factor = scipy.linalg.cho_factor(system, overwrite_a=True)
    except scipy.linalg.LinAlgError as error:
        raise ValueError(f"G plus the ridge must be positive definite: {error}") from None
    solution: Array = scipy.linalg.cho_solve(factor, Y)
    return solution


# ---------------------------------------------------------------- gradient descent


def _descend(
    H: Tensor,
    labels: NDArray[np.int64],
    method: str,
    seed: int,
    epochs: int = EPOCHS,
    batch: int = BATCH,
    step_size: float = 1.0,
) -> Readout:
    """Cross-entropy in batches, the step size falling to zero along half a cosine."""
    epochs, batch = integer(epochs, "epochs", 1), integer(batch, "batch", 1)
    n, K, size = H.shape[1], int(labels.max()) + 1, float(H.square().sum(0).mean().sqrt())
    rows, wanted = (H.T / size).contiguous(), torch.as_tensor(labels)
    R = torch.zeros(len(H), K, dtype=H.dtype)
    optimizer = _OPTIMIZERS[method](R, rows, positive(step_size, "step_size"))
    steps = epochs * -(-n // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        for some in torch.as_tensor(rng.permutation(n)).split(batch):
            h = rows[some]
            error = torch.softmax(h @ R, dim=1)
            error[torch.arange(len(some)), wanted[some]] -= 1
            R.grad = h.T @ error / len(some)
            optimizer.step()
            schedule.step()
    return Readout((R / size).numpy().astype(np.float64))


def _momentum(R: Tensor, rows: Tensor, step_size: float) -> torch.optim.Optimizer:
    """Gradient descent with momentum, its step a share of what the curvature allows.

    The Hessian of the cross-entropy is at most half the covariance of the features.
    """
    top = torch.linalg.matrix_norm(rows[:1000], 2).item() ** 2 / len(rows[:1000])
    return torch.optim.SGD([R], lr=step_size / top, momentum=0.9)


def _adam(R: Tensor, rows: Tensor, step_size: float) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015), its step such that outputs move by about as much at every width."""
    return torch.optim.Adam([R], lr=step_size / len(R) ** 0.5)


_OPTIMIZERS: dict[str, Callable[[Tensor, Tensor, float], torch.optim.Optimizer]] = {
    "sgd": _momentum,
    "adam": _adam,
}
METHODS = ("ridge", *_OPTIMIZERS)
