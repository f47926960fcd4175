"""Figures draw what they were given; the progress bar is quiet where it should be."""

import contextlib
import io
import sys
import types

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb

from helpers import plotting, progress

mpl.use("Agg")
RNG = np.random.default_rng(0)


@pytest.fixture
def axes():
    figure, row = plotting.panels(1)
    yield row[0]
    figure.canvas.draw()  # what cannot be drawn fails here
    plt.close(figure)


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def points(line):
    return np.column_stack(line.get_data())


# ---------------------------------------------------------------- style


def luminance(color):
    """Relative luminance of the Web Content Accessibility Guidelines."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(first, second):
    light, dark = sorted([luminance(first), luminance(second)], reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.fixture
def fresh_style():
    with mpl.rc_context():
        mpl.rcdefaults()
        assert mpl.rcParams["axes.spines.top"]
        plotting.use_style()
        yield mpl.rcParams


def test_the_style_is_legible(fresh_style):
    assert fresh_style["font.size"] >= 10
    assert fresh_style["lines.linewidth"] >= 1.5
    assert fresh_style["figure.dpi"] >= 100 and fresh_style["savefig.dpi"] >= 100
    # opaque: a transparent figure is black on black on a dark page
    assert to_hex(fresh_style["figure.facecolor"]) == "#ffffff"
    for key in ("text.color", "axes.labelcolor", "xtick.color", "ytick.color"):
        assert contrast(fresh_style[key], fresh_style["figure.facecolor"]) > 7, key
    assert contrast(fresh_style["grid.color"], fresh_style["figure.facecolor"]) < 1.5


def test_the_style_is_quiet(fresh_style):
    assert not fresh_style["axes.spines.top"] and not fresh_style["axes.spines.right"]
    assert fresh_style["axes.axisbelow"] is True
    assert fresh_style["figure.constrained_layout.use"]


def test_the_style_colors_are_the_classes_colors(fresh_style):
    cycle = fresh_style["axes.prop_cycle"].by_key()["color"]
    assert cycle[0] == plotting.BLUE and cycle[1] == plotting.VERMILION
    assert len(set(cycle)) == 6
    assert set(cycle) == set(plotting.CLASS_COLORS)
    assert contrast(plotting.BLUE, "white") > 4.5


def test_importing_sets_the_style():
    assert plt.rcParams["svg.hashsalt"] == "implicit-meets-explicit"


# ---------------------------------------------------------------- figures


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_panels(columns):
    figure, row = plotting.panels(columns, height=2.5)
    assert len(row) == columns == len(figure.axes)
    assert figure.get_size_inches() == pytest.approx([3.6 * columns, 2.5])
    plt.close(figure)


def test_spectra_without_spikes(axes):
    exact, theory = RNG.normal(size=300), RNG.normal(size=300)
    plotting.spectra(axes, exact, theory, bins=25)
    assert legend(axes) == ["exact kernel", "equivalent"]
    assert len(axes.child_axes) == 0
    bars, outline = axes.patches[:25], axes.patches[25]
    width = bars[0].get_width()
    assert sum(bar.get_height() for bar in bars) * width == pytest.approx(1.0)
    assert bars[0].get_x() == pytest.approx(min(exact.min(), theory.min()))
    assert bars[-1].get_x() + width == pytest.approx(max(exact.max(), theory.max()))
    counts = np.histogram(theory, np.append([b.get_x() for b in bars], bars[-1].get_x() + width))[0]
    assert outline.get_xy()[:, 1].max() == pytest.approx(counts.max() / 300 / width, rel=0.02)
    assert axes.get_xlabel() and axes.get_ylabel() == "density"


def test_spectra_with_spikes_in_an_inset(axes):
    exact = np.append(RNG.permutation(np.linspace(0, 1, 98)), [7.0, 9.0])
    theory = np.append(np.linspace(0, 1, 98), [7.5, 9.5])
    plotting.spectra(axes, exact, theory, spikes=2, labels=("one", "other"))
    assert legend(axes) == ["one", "other"]
    (inset,) = axes.child_axes
    assert inset.get_title() == "isolated eigenvalues"
    assert [line.get_xdata().tolist() for line in inset.lines] == [[7.0, 9.0], [7.5, 9.5]]
    # the bulk's axes end with the bulk
    assert max(patch.get_window_extent().x1 for patch in axes.patches) > 0
    assert axes.get_xlim()[1] < 1.2


def test_eigenvectors_turn_the_sign_of_the_theory(axes):
    exact = np.r_[np.full(60, 0.1), np.full(60, -0.08)]
    labels = np.repeat([0, 1], 60)
    plotting.eigenvectors(axes, exact, -exact, labels)
    first, second, theory = axes.lines
    assert [line.get_label() for line in axes.lines] == [
        "exact, class 0",
        "exact, class 1",
        "equivalent",
    ]
    np.testing.assert_array_equal(points(first), np.column_stack([np.arange(60), exact[:60]]))
    np.testing.assert_array_equal(second.get_xdata(), np.arange(60, 120))
    shown = theory.get_xdata()
    assert 40 <= len(shown) <= 61
    np.testing.assert_array_equal(theory.get_ydata(), exact[shown])
    assert first.get_color() != second.get_color()


def test_eigenvectors_at_right_angles_are_still_drawn(axes):
    plotting.eigenvectors(axes, [1.0, 0.0], [0.0, 1.0], [0, 1])
    assert axes.lines[-1].get_ydata().tolist() == [0.0, 1.0]


def test_eigenvectors_of_many_classes(axes):
    plotting.eigenvectors(
        axes, np.ones(20) / 20**0.5, np.ones(20) / 20**0.5, np.repeat(range(10), 2)
    )
    assert len(axes.lines) == 11


def test_scree(axes):
    plotting.scree(axes, [9.0, 4.0, 1.0], [8.0, 5.0, 1.5])
    assert legend(axes) == ["exact kernel", "equivalent"]
    assert points(axes.lines[0]).tolist() == [[1, 9], [2, 4], [3, 1]]
    assert points(axes.lines[1]).tolist() == [[1, 8], [2, 5], [3, 1.5]]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


@pytest.mark.parametrize("K", [2, 6])
def test_plane(axes, K):
    labels, vectors = np.arange(60) % K, RNG.normal(size=(60, 2))
    plotting.plane(axes, vectors, labels, [f"class {a}" for a in range(K)])
    assert legend(axes) == [f"class {a}" for a in range(K)]
    assert len({line.get_color() for line in axes.lines}) == K
    for a, line in enumerate(axes.lines):
        np.testing.assert_array_equal(points(line), vectors[labels == a])


def test_plane_of_ten_classes(axes):
    labels = np.arange(30) % 10
    plotting.plane(axes, RNG.normal(size=(30, 2)), labels, [str(a) for a in range(10)])
    assert legend(axes) == [str(a) for a in range(10)]
    assert len({(line.get_color(), line.get_marker()) for line in axes.lines}) == 10


def test_rate(axes):
    errors = {"relu": [[4.0, 2.0], [6.0, 4.0], [5.0, 3.0]], "tanh": [[8.0, 7.0], [9.0, 8.0]]}
    plotting.rate(axes, [256, 512], errors)
    assert legend(axes) == ["relu", "tanh"]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    drawn = [points(line).tolist() for line in axes.lines]
    assert [[256, 5.0], [512, 3.0]] in drawn and [[256, 8.5], [512, 7.5]] in drawn  # means
    for row in (*errors["relu"], *errors["tanh"]):
        assert [[256, row[0]], [512, row[1]]] in drawn
    assert len(drawn) == 2 + 5 + 2  # means, seeds, legend entries
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["256", "512"]
    assert axes.get_xlabel() == "dimension p"


def test_rate_draws_every_curve(axes):
    plotting.rate(axes, [64, 128], {f"network {k}": [[3.0, 2.0], [3.5, 2.5]] for k in range(9)})
    assert legend(axes) == [f"network {k}" for k in range(9)]
    handles = axes.get_legend().legend_handles
    assert len({(handle.get_color(), handle.get_marker()) for handle in handles}) == 9


def test_kernels_share_one_scale_that_leaves_the_diagonal_out():
    figure, row = plotting.panels(2)
    matrix = RNG.uniform(-1, 1, size=(30, 30))
    first, second = matrix + 100 * np.eye(30), 2 * matrix
    plotting.kernels(row, {"exact": first, "equivalent": second})
    figure.canvas.draw()
    pictures = [axis.images[0] for axis in row]
    assert pictures[0].get_clim() == pictures[1].get_clim()
    low, high = pictures[0].get_clim()
    assert -1 <= low < -0.9 and 0.9 < high <= 1
    np.testing.assert_array_equal(pictures[1].get_array(), second)
    assert [axis.get_xlabel() for axis in row] == ["exact", "equivalent"]
    assert len(figure.axes) == 3  # with the color bar
    plt.close(figure)


def test_learning_curves_draw_dots_in_the_color_of_their_line(axes):
    steps, lines = np.arange(101), {"slow": np.arange(101.0), "fast": 2.0 * np.arange(101)}
    plotting.learning_curves(axes, steps, lines, {"fast": 3.0 * np.arange(101)}, count=11)
    assert legend(axes) == ["slow", "fast"]
    slow, fast, seen = axes.lines
    np.testing.assert_array_equal(points(slow), np.column_stack([steps, lines["slow"]]))
    np.testing.assert_array_equal(points(fast), np.column_stack([steps, lines["fast"]]))
    np.testing.assert_array_equal(seen.get_xdata(), np.arange(0, 101, 10))
    np.testing.assert_array_equal(seen.get_ydata(), 3 * np.arange(0, 101, 10))
    assert seen.get_color() == fast.get_color() != slow.get_color()
    assert seen.get_linestyle() == "None"


def test_learning_curves_without_dots(axes):
    plotting.learning_curves(axes, [1, 2, 4], {"loss": [3.0, 2.0, 1.0]})
    assert len(axes.lines) == 1 and axes.get_xlabel() == "step"


def test_label_shares(axes):
    shares = {"clean": [0.9, 0.01], "noise": [0.5, 0.5]}
    plotting.label_shares(axes, [6.0, 0.3], shares)
    assert legend(axes) == ["clean", "noise"]
    assert points(axes.lines[0]).tolist() == [[6.0, 0.9], [0.3, 0.01]]
    assert points(axes.lines[1]).tolist() == [[6.0, 0.5], [0.3, 0.5]]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_residuals_start_the_prediction_at_their_dots(axes):
    gaps = 3.0 * 0.5 ** np.arange(60)
    plotting.residuals(axes, {"slow": gaps}, {"slow": 0.5}, start=4, floor=1e-9)
    dots, line = axes.lines
    assert legend(axes) == ["slow"] and axes.get_yscale() == "log"
    np.testing.assert_array_equal(dots.get_ydata(), gaps[gaps > 1e-9])
    np.testing.assert_allclose(line.get_ydata(), dots.get_ydata(), rtol=1e-12)
    assert dots.get_xdata()[0] == 1


def test_residuals_at_another_rate_leave_their_prediction(axes):
    plotting.residuals(axes, {"a": [1.0, 0.5, 0.25]}, {"a": 0.1}, start=1)
    np.testing.assert_allclose(axes.lines[1].get_ydata(), [1.0, 0.1, 0.01])


def test_disk(axes):
    plotting.disk(axes, [0.3 + 0.4j, -0.2], 0.6)
    dots, circle, unit = axes.lines
    assert points(dots).tolist() == [[0.3, 0.4], [-0.2, 0.0]]
    np.testing.assert_allclose(np.linalg.norm(points(circle), axis=1), 0.6)
    np.testing.assert_allclose(np.linalg.norm(points(unit), axis=1), 1.0)
    assert axes.get_aspect() == 1.0


def test_thresholds(axes):
    plotting.thresholds(axes, {"sharp": 2.0, "safe": 0.25})
    assert [line.get_xdata()[0] for line in axes.lines] == [2.0, 0.25]
    assert [text.get_text() for text in axes.texts] == ["sharp", "safe"]


# ---------------------------------------------------------------- progress


@pytest.fixture
def watch(monkeypatch):
    """What a bar without its two seconds of patience writes to an output."""
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.delenv("HELPERS_PROGRESS", raising=False)
    bar = progress.tqdm
    eager = {"delay": 0, "mininterval": 0}
    monkeypatch.setattr(progress, "tqdm", lambda items, **options: bar(items, **options | eager))

    def run(terminal=True):
        stream = io.StringIO()
        stream.isatty = lambda: terminal
        with contextlib.redirect_stdout(stream):
            assert list(progress.track(iter(range(5)), 5, "squares")) == [0, 1, 2, 3, 4]
        return stream.getvalue()

    return run


def test_a_terminal_sees_the_bar(watch, capsys):
    seen = watch()
    assert "squares" in seen and "5/5" in seen
    assert capsys.readouterr().err == ""  # nothing for a notebook to store as an error


@pytest.mark.parametrize(("value", "shown"), [("0", False), ("1", True), ("", True)])
def test_the_variable_turns_the_bar_off(watch, monkeypatch, value, shown):
    monkeypatch.setenv("HELPERS_PROGRESS", value)
    assert ("squares" in watch()) == shown
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    assert ("squares" in watch(terminal=False)) == shown


def test_a_pipe_sees_no_bar_and_a_notebook_does(watch, monkeypatch):
    assert watch(terminal=False) == ""
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    assert "squares" in watch(terminal=False)


def test_quick_work_shows_no_bar(monkeypatch):
    seen = {}
    monkeypatch.setattr(progress, "tqdm", lambda items, **options: seen.update(options) or items)
    assert list(progress.track(range(5), 5, "squares")) == [0, 1, 2, 3, 4]
    assert (seen["delay"], seen["total"], seen["desc"]) == (2.0, 5, "squares")
    assert seen["file"] is sys.stdout


def test_dots_stand_in_their_rows_with_their_bars(axes):
    values = {"plain": [1.0, 2.0, 3.0], "refined": [0.1, np.nan, 0.3]}
    plotting.dots(axes, ["ReLU", "tanh", "erf"], values, {"refined": [0.02, 0.02, 0.04]})
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["ReLU", "tanh", "erf"]
    assert legend(axes) == ["plain", "refined"]
    plain, refined = axes.containers
    np.testing.assert_allclose(plain.lines[0].get_xdata(), values["plain"])
    np.testing.assert_allclose(plain.lines[0].get_ydata(), np.arange(3) - 0.125)
    ends = refined.lines[2][0].get_segments()
    np.testing.assert_allclose(ends[0][:, 0], [0.08, 0.12])
    np.testing.assert_allclose(ends[-1][:, 0], [0.26, 0.34])
    low, high = axes.get_ylim()
    assert low > high  # the first row is on top


def test_one_series_of_dots_needs_no_legend(axes):
    plotting.dots(axes, ["gain", "offset"], {"error": [0.1, 0.2]})
    assert axes.get_legend() is None


def test_a_law_lies_over_bars_of_the_mass_within_its_range(axes):
    values = np.append(np.linspace(0.01, 0.99, 75), np.full(25, 7.0))  # a quarter outside
    plotting.law(axes, values, [0.0, 0.5, 1.0], [0.0, 2.0, 0.0], bins=5, labels=("seen", "limit"))
    assert legend(axes) == ["seen", "limit"]
    heights, edges, _ = axes.patches[0].get_data()
    np.testing.assert_allclose(edges, np.linspace(0, 1, 6))
    assert heights.sum() * 0.2 == pytest.approx(0.75)
    assert points(axes.lines[0]).tolist() == [[0, 0], [0.5, 2], [1, 0]]


def test_times_has_a_line_a_method_the_slowest_first(axes):
    rows = [
        {"method": m, "n": n, "seconds": c * n**2 / 1e6}
        for m, c in (("quick_one", 1.0), ("slow", 9.0))
        for n in (1000, 2000)
    ]
    plotting.times(axes, rows)
    slow, quick = axes.get_lines()
    np.testing.assert_allclose(slow.get_ydata(), [9.0, 36.0])
    np.testing.assert_allclose(quick.get_ydata(), [1.0, 4.0])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["slow", "quick one"]


def test_a_transition_has_its_curve_and_a_mean_for_every_place(axes):
    values = [[0.0, 0.4], [0.2, 0.6]]
    plotting.transition(axes, [0.0, 2.0], [0.0, 1.0], {"relu": ([0.5, 1.5], values)})
    assert legend(axes) == ["predicted", "relu"]
    assert points(axes.lines[0]).tolist() == [[0, 0], [2, 1]]
    np.testing.assert_allclose(points(axes.lines[1]), [[0.5, 0.1], [1.5, 0.5]])
    (bars,) = axes.collections
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    np.testing.assert_allclose(ends, [[0.0, 0.2], [0.4, 0.6]], atol=1e-12)


def test_paths_go_from_a_filled_dot_to_an_open_one(axes):
    curves = {"one": ([0.0, 1.0, 2.0], [3.0, 5.0, 4.0]), "two": ([1.0], [1.0])}
    plotting.paths(axes, curves)
    assert legend(axes) == ["one", "two"]
    line, start, end = axes.lines[:3]
    assert points(line).tolist() == [[0, 3], [1, 5], [2, 4]]
    assert points(start).tolist() == [[0, 3]] and points(end).tolist() == [[2, 4]]
    assert start.get_markerfacecolor() == line.get_color() != end.get_markerfacecolor()
    assert axes.lines[3].get_color() != line.get_color()
