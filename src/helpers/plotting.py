"""The house style, and one function per kind of figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import ArrayLike

# Okabe and Ito's palette: told apart by every kind of color vision, and in gray by its order
BLUE, ORANGE, GREEN, PINK, SKY, VERMILION = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
)
GRAY = "#5f6368"
CLASS_COLORS = (BLUE, VERMILION, GREEN, ORANGE, PINK, SKY)


def use_style() -> None:
    """Set matplotlib to the book's style: a light card that reads well on light and dark pages."""
    plt.rcParams.update(
        {
            "figure.figsize": (7.0, 3.4),
            "figure.dpi": 110,
            "savefig.dpi": 110,
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "font.size": 11,
            "axes.prop_cycle": cycler(color=[BLUE, VERMILION, GREEN, ORANGE, PINK, SKY]),
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#e6e6e6",
            "grid.linewidth": 0.8,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "svg.hashsalt": "implicit-meets-explicit",
        }
    )


def panels(columns: int = 2, height: float = 3.4) -> tuple[Figure, Sequence[Axes]]:
    """A row of axes, ``columns`` of them and ``height`` inches high, always as a sequence."""
    figure, axes = plt.subplots(1, columns, figsize=(3.6 * columns, height), squeeze=False)
    return figure, axes[0]


def spectra(
    axes: Axes,
    exact: ArrayLike,
    theory: ArrayLike,
    spikes: int = 0,
    bins: int = 40,
    labels: tuple[str, str] = ("exact kernel", "equivalent"),
) -> None:
    """Histogram of one bulk under the outline of another, with the isolated eigenvalues in an inset.

    Parameters
    ----------
    axes : Axes
    exact, theory : (n,) arrays
        Eigenvalues.
    spikes : int
        How many of the largest stand apart from the bulk.
    bins : int
    labels : pair of str
        Names in the legend.
    """
    exact, theory = np.sort(exact), np.sort(theory)
    bulks = [values[: len(values) - spikes] for values in (exact, theory)]
    ends = min(b[0] for b in bulks), max(b[-1] for b in bulks)
    edges = np.linspace(*ends, bins + 1).tolist()
    axes.hist(bulks[0], edges, density=True, color=SKY, alpha=0.75, label=labels[0])
    axes.hist(
        bulks[1],
        edges,
        density=True,
        histtype="step",
        color=VERMILION,
        linewidth=1.8,
        label=labels[1],
    )
    axes.set(xlabel="eigenvalue (bulk)", ylabel="density")
    axes.legend(loc="upper right")
    if spikes:
        inset = axes.inset_axes((0.45, 0.36, 0.5, 0.22))
        inset.plot(exact[-spikes:], np.zeros(spikes), "o", color=SKY, markersize=9)
        inset.plot(theory[-spikes:], np.zeros(spikes), "x", color=VERMILION, markersize=8)
        inset.set_title("isolated eigenvalues", fontsize=9)
        inset.set(yticks=[], ylim=(-1, 1))
        inset.margins(x=0.25)


def eigenvectors(axes: Axes, exact: ArrayLike, theory: ArrayLike, labels: ArrayLike) -> None:
    """Entries of an eigenvector of the exact kernel by class, with the equivalent's on top of them.

    Parameters
    ----------
    axes : Axes
    exact, theory : (n,) arrays
        Unit eigenvectors; the sign of ``theory`` is turned to agree.
    labels : (n,) array of int
        Classes, sorted.
    """
    exact, theory, labels = np.asarray(exact), np.asarray(theory), np.asarray(labels)
    theory = theory * (np.sign(exact @ theory) or 1.0)
    for a in np.unique(labels):
        members = np.flatnonzero(labels == a)
        color = CLASS_COLORS[a % len(CLASS_COLORS)]
        axes.plot(
            members,
            exact[members],
            ".",
            color=color,
            markersize=3.5,
            alpha=0.7,
            label=f"exact, class {a}",
        )
    some = np.arange(0, len(theory), max(1, len(theory) // 60))
    axes.plot(some, theory[some], "x", color="black", markersize=4.5, label="equivalent")
    axes.set(xlabel="sample", ylabel="entry")


def scree(
    axes: Axes,
    exact: ArrayLike,
    theory: ArrayLike,
    labels: tuple[str, str] = ("exact kernel", "equivalent"),
) -> None:
    """Leading eigenvalues against their rank, on logarithmic axes.

    Parameters
    ----------
    axes : Axes
    exact, theory : (k,) arrays
        Descending.
    labels : pair of str
        Names in the legend.
    """
    ranks = np.arange(1, len(np.asarray(exact)) + 1)
    axes.loglog(ranks, exact, "o", color=BLUE, markersize=5, label=labels[0])
    axes.loglog(ranks, theory, "x", color=VERMILION, markersize=6, label=labels[1])
    axes.set(xlabel="rank", ylabel="eigenvalue")
    for axis in (axes.xaxis, axes.yaxis):  # 1, 2, 5, 10 ... in plain numbers
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    axes.legend()


def plane(axes: Axes, vectors: ArrayLike, labels: ArrayLike, names: Sequence[str]) -> None:
    """Samples in the plane of two eigenvectors, colored by class.

    Parameters
    ----------
    axes : Axes
    vectors : (n, 2) array
    labels : (n,) array of int
    names : sequence of str
        One a class.
    """
    vectors, labels = np.asarray(vectors), np.asarray(labels)
    for a, name in enumerate(names):
        turn, color = divmod(a, len(CLASS_COLORS))  # colors come again with another marker
        marker = ".x+"[turn % 3]
        axes.plot(
            *vectors[labels == a].T,
            marker,
            color=CLASS_COLORS[color],
            markersize=3,
            alpha=0.6,
            label=name,
        )
    axes.set(xlabel="first eigenvector", ylabel="second eigenvector")
    axes.legend(markerscale=3)


def rate(axes: Axes, p: ArrayLike, errors: Mapping[str, ArrayLike]) -> None:
    """Error against dimension on logarithmic axes: every seed a dot, the mean a line.

    Parameters
    ----------
    axes : Axes
    p : (m,) array
        Dimensions.
    errors : mapping of name to (seeds, m) array
    """
    styles = zip(cycle(CLASS_COLORS), cycle("osD^v<>"))  # six and seven: 42 pairs
    for (name, values), (color, marker) in zip(errors.items(), styles):
        values = np.asarray(values)
        axes.loglog(p, values.mean(axis=0), color=color, linewidth=1.0)
        axes.loglog(p, values.T, marker, color=color, alpha=0.5, markersize=4, markeredgewidth=0)
        axes.loglog([], [], marker, color=color, label=name)
    axes.set(xlabel="dimension p", ylabel="operator-norm error")
    axes.set_xticks(p, [str(value) for value in np.asarray(p)])
    axes.minorticks_off()
    axes.legend()


def kernels(axes: Sequence[Axes], matrices: Mapping[str, ArrayLike]) -> None:
    """Matrices side by side on one color scale, diagonal left out of the scale.

    Parameters
    ----------
    axes : sequence of Axes
        One a matrix.
    matrices : mapping of title to (n, n) array
    """
    arrays = [np.asarray(matrix) for matrix in matrices.values()]
    off = ~np.eye(len(arrays[0]), dtype=bool)
    low, high = np.percentile(arrays[0][off], [1, 99])
    for axis, name, matrix in zip(axes, matrices, arrays):
        picture = axis.imshow(matrix, vmin=low, vmax=high, cmap="cividis", interpolation="nearest")
        axis.set(xlabel=name, xticks=[], yticks=[])
        axis.grid(False)
    axes[0].figure.colorbar(picture, ax=list(axes), shrink=0.8)


def learning_curves(
    axes: Axes,
    steps: ArrayLike,
    lines: Mapping[str, ArrayLike],
    dots: Mapping[str, ArrayLike] | None = None,
    count: int = 20,
) -> None:
    """Quantities against steps: theory as lines and, in the same color by name, what was seen as dots.

    Parameters
    ----------
    axes : Axes
    steps : (k,) array
    lines : mapping of name to (k,) array
    dots : mapping of a name of ``lines`` to (k,) array, optional
    count : int
        How many of the k dots are drawn, at most: every second, third, ...
    """
    steps, dots = np.asarray(steps), dots or {}
    some = slice(None, None, -(-len(steps) // count))
    for (name, values), color in zip(lines.items(), cycle(CLASS_COLORS)):
        axes.plot(steps, values, color=color, label=name, linewidth=1.4)
        if name in dots:
            axes.plot(steps[some], np.asarray(dots[name])[some], "o", color=color, markersize=4)
    axes.set(xlabel="step")
    axes.legend()


def label_shares(axes: Axes, eigenvalues: ArrayLike, shares: Mapping[str, ArrayLike]) -> None:
    r"""Share of each label vector in each eigenvector, :math:`(u_j^\top y)^2/\lVert y\rVert^2`, by eigenvalue.

    Parameters
    ----------
    axes : Axes
    eigenvalues : (n,) array
        Positive.
    shares : mapping of name to (n,) array
    """
    for (name, values), color in zip(shares.items(), cycle(CLASS_COLORS)):
        axes.loglog(eigenvalues, values, ".", color=color, markersize=4, alpha=0.6, label=name)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="eigenvalue", ylabel="share of the labels", ylim=(1e-7, 3.0))
    axes.legend(markerscale=3, loc="upper left")


def times(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Seconds against the number of samples on logarithmic axes, a line a method, the slowest first in the legend.

    Parameters
    ----------
    axes : Axes
    rows : sequence of mappings
        Each with the keys method, n and seconds.
    """
    styles = zip(cycle(CLASS_COLORS), cycle("osD^v<>"))
    last = {row["method"]: row["seconds"] for row in rows}
    for method, (color, marker) in zip(sorted(last, key=last.__getitem__, reverse=True), styles):
        n, seconds = zip(*[(row["n"], row["seconds"]) for row in rows if row["method"] == method])
        name = method.replace("_", " ")
        axes.loglog(n, seconds, color=color, marker=marker, markersize=5, label=name)
    sizes = sorted({row["n"] for row in rows})
    axes.set(xlabel="samples n", ylabel="seconds")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))


def residuals(
    axes: Axes,
    gaps: Mapping[str, ArrayLike],
    rates: Mapping[str, float],
    start: int = 5,
    floor: float = 1e-12,
) -> None:
    """Residuals of an iteration against its steps as dots, and the predicted geometric decay as lines.

    Parameters
    ----------
    axes : Axes
    gaps : mapping of name to (k,) array
        Positive; what lies below ``floor`` is rounding and is left out.
    rates : mapping of the same names to float
        Predicted factor a step.
    start : int
        The step at which a line is made to agree with its dots.
    floor : float
    """
    for (name, values), color in zip(gaps.items(), cycle(CLASS_COLORS)):
        values = np.asarray(values)
        steps = np.arange(1, len(values) + 1)[values > floor]
        line = values[start - 1] * rates[name] ** (steps - float(start))
        axes.semilogy(steps, values[steps - 1], ".", color=color, markersize=4, label=name)
        axes.semilogy(steps, line, "--", color=color, linewidth=1.2)
    axes.set(xlabel="step", ylabel="relative residual")
    axes.legend(markerscale=2)


def disk(axes: Axes, eigenvalues: ArrayLike, radius: float) -> None:
    """Complex eigenvalues, the circle that is predicted to hold them, and the unit circle.

    Parameters
    ----------
    axes : Axes
    eigenvalues : (m,) complex array
    radius : float
    """
    values = np.asarray(eigenvalues)
    turn = np.exp(1j * np.linspace(0, 2 * np.pi, 200))
    axes.plot(values.real, values.imag, ".", color=BLUE, markersize=3, label="eigenvalues")
    for scale, style, name in ((radius, "-", "predicted"), (1.0, ":", "unit circle")):
        color = VERMILION if name == "predicted" else GRAY
        axes.plot(*(scale * np.array([turn.real, turn.imag])), style, color=color, label=name)
    axes.set(xlabel="real part", ylabel="imaginary part", aspect="equal")


def thresholds(axes: Axes, marks: Mapping[str, float]) -> None:
    """Vertical lines, named at their tops.

    Parameters
    ----------
    axes : Axes
    marks : mapping of name to float
    """
    for name, value in marks.items():
        axes.axvline(value, color=GRAY, linestyle=":", linewidth=1.2)
        where = (value, 1.01)
        axes.annotate(name, where, xycoords=axes.get_xaxis_transform(), ha="center", fontsize=9)


def dots(
    axes: Axes,
    rows: Sequence[str],
    series: Mapping[str, ArrayLike],
    bands: Mapping[str, ArrayLike] | None = None,
) -> None:
    """Numbers by name: a row a name from the top down, a dot a series, a bar for each half width.

    Parameters
    ----------
    axes : Axes
    rows : sequence of str
    series : mapping of name to (rows,) array
        NaN where a series has no dot.
    bands : mapping of a name of ``series`` to (rows,) array, optional
        Half widths.
    """
    places, step = np.arange(len(rows)), 0.5 / len(series)  # a row's dots share half its height
    for k, (color, marker, (name, values)) in enumerate(
        zip(cycle(CLASS_COLORS), cycle("osD^v<>"), series.items())
    ):
        shifted = places + step * (k - (len(series) - 1) / 2)
        width = None if bands is None else bands.get(name)
        look: dict[str, Any] = {"color": color, "markersize": 5, "capsize": 3, "label": name}
        axes.errorbar(np.asarray(values), shifted, xerr=width, fmt=marker, **look)
    axes.set_yticks(places, rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    if len(series) > 1:
        axes.legend()


def law(
    axes: Axes,
    eigenvalues: ArrayLike,
    x: ArrayLike,
    density: ArrayLike,
    bins: int = 40,
    labels: tuple[str, str] = ("eigenvalues", "limit"),
) -> None:
    """Histogram of eigenvalues under the density of a limiting law.

    Parameters
    ----------
    axes : Axes
    eigenvalues : (n,) array
        All of them: those outside of ``x`` take their share of the mass, but are not drawn.
    x, density : (m,) arrays
        The law where it has a density, ``x`` increasing.
    bins : int
        Over the range of ``x``.
    labels : pair of str
        Names in the legend.
    """
    values, x = np.asarray(eigenvalues), np.asarray(x)
    counts, edges = np.histogram(values, bins, (x[0], x[-1]))
    heights = counts / (len(values) * np.diff(edges))
    axes.stairs(heights, edges, fill=True, color=SKY, alpha=0.75, label=labels[0])
    axes.plot(x, density, color=VERMILION, label=labels[1])
    axes.set(xlabel="eigenvalue", ylabel="density")
    axes.legend()


def transition(
    axes: Axes, x: ArrayLike, curve: ArrayLike, seen: Mapping[str, tuple[ArrayLike, ArrayLike]]
) -> None:
    """A predicted curve, and means over seeds as dots with a bar of one standard deviation.

    Parameters
    ----------
    axes : Axes
    x, curve : (m,) arrays
    seen : mapping of name to a pair of arrays, (k,) places and (seeds, k) values
        Dots of one place are drawn side by side.
    """
    axes.plot(x, curve, color="black", linewidth=1.2, label="predicted")
    step = 0.008 * np.ptp(x)
    for k, ((name, (places, values)), color, marker) in enumerate(
        zip(seen.items(), cycle(CLASS_COLORS), cycle("osD^v<>"))
    ):
        values = np.asarray(values)
        shifted = np.asarray(places) + step * (k - (len(seen) - 1) / 2)
        look: dict[str, Any] = {"color": color, "markersize": 4.5, "capsize": 2, "label": name}
        axes.errorbar(
            shifted, values.mean(axis=0), values.std(axis=0), fmt=marker, elinewidth=1, **look
        )
    axes.legend()


def paths(axes: Axes, curves: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> None:
    """Curves in a plane, each from a filled dot to an open one, with the names beside the axes.

    Parameters
    ----------
    axes : Axes
    curves : mapping of name to a pair of (k,) arrays
        Places x and y, in the order of the curve.
    """
    styles = zip(cycle(CLASS_COLORS), cycle("osD^v<>"))
    for (name, (x, y)), (color, marker) in zip(curves.items(), styles):
        x, y = np.asarray(x), np.asarray(y)
        look: dict[str, Any] = {"color": color, "marker": marker, "markersize": 5}
        axes.plot(x, y, color=color, linewidth=1.2)
        axes.plot(x[:1], y[:1], linestyle="none", label=name, **look)
        axes.plot(x[-1:], y[-1:], linestyle="none", markerfacecolor="white", **look)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


use_style()
