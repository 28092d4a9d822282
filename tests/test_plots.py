"""Plots: what is drawn where, and nothing that is not asked for."""

import subprocess
import sys

import numpy as np
import pytest

import fastcos
from fastcos import measures, plots

pytest.importorskip("matplotlib", reason="matplotlib is in the extra 'demo'")
from matplotlib.figure import Figure


@pytest.fixture
def axes():
    return Figure().subplots()


@pytest.fixture
def pairs(rng):
    labels = rng.integers(0, 2, 1000)
    return np.round(rng.standard_normal(1000) + 2 * labels, 2), labels


def named(axes):
    return axes.get_legend_handles_labels()[1]


@pytest.mark.parametrize("draw", [plots.scores, plots.roc])
def test_the_axes_are_drawn_on_and_returned(draw, axes, pairs):
    assert draw(*pairs, ax=axes) is axes
    assert axes.get_xlabel()
    assert axes.get_ylabel()
    axes.figure.canvas.draw()


@pytest.mark.parametrize("draw", [plots.scores, plots.roc])
def test_without_axes_there_is_a_new_figure(draw, pairs):
    import matplotlib
    from matplotlib import pyplot

    with matplotlib.rc_context():
        pyplot.switch_backend("agg")
        before = set(pyplot.get_fignums())
        axes = draw(*pairs)
        assert set(pyplot.get_fignums()) - before == {axes.figure.number}
        pyplot.close(axes.figure)


@pytest.mark.parametrize("similarity", [True, False])
def test_histograms_are_those_of_the_scores(axes, pairs, similarity):
    scores, labels = pairs
    plots.scores(scores, labels, ax=axes, bins=13, similarity=similarity)
    limits = scores.min(), scores.max()
    # Each is drawn twice: bars, and their outline.
    drawn = [each for each in axes.containers if len(each) == 13]
    for bars, kind in zip(drawn, (labels == 0, labels == 1), strict=True):
        right, _ = np.histogram(scores[kind], 13, limits, density=True)
        np.testing.assert_allclose([bar.get_height() for bar in bars], right, atol=1e-12)
    (line,) = axes.lines
    found = measures.verification(scores, labels, similarity=similarity)
    assert line.get_xdata()[0] == found.equal_error_threshold
    assert set(named(axes)) == {"different", "same", "threshold of equal errors"}
    assert axes.get_xlabel() == ("score" if similarity else "distance")


def test_what_is_asked_for_is_drawn(axes, pairs):
    plots.scores(*pairs, ax=axes, threshold=0.25, limits=(-1, 1), names=("one", "two"))
    assert axes.lines[0].get_xdata()[0] == 0.25
    assert set(named(axes)) == {"one", "two", "threshold"}
    bars = axes.containers[0]
    assert bars[0].get_x() == -1
    assert bars[-1].get_x() + bars[-1].get_width() == pytest.approx(1)


def test_the_curve_is_that_of_the_measures(axes, pairs):
    plots.roc(*pairs, ax=axes)
    curve = measures.roc_curve(*pairs)
    x, y = axes.lines[1].get_data()
    assert len(x) < len(curve.far)
    # The points that are left out lie on the straight lines between those that are drawn.
    length = np.concatenate([[0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    whole = np.concatenate([[0], np.cumsum(np.hypot(np.diff(curve.far), np.diff(curve.tar)))])
    np.testing.assert_allclose(np.interp(whole, length, x), curve.far, atol=1e-12)
    np.testing.assert_allclose(np.interp(whole, length, y), curve.tar, atol=1e-12)
    auc = measures.verification(*pairs).auc
    assert named(axes) == ["chance", f"AUC {auc:.3f}"]


def test_curves_on_the_same_axes(axes, pairs):
    scores, labels = pairs
    plots.roc(scores, labels, ax=axes, label="one", color="red")
    plots.roc(scores, labels, ax=axes, label="two", similarity=False)
    auc = measures.verification(scores, labels).auc
    assert named(axes) == ["chance", f"one, AUC {auc:.3f}", f"two, AUC {1 - auc:.3f}"]
    assert axes.lines[1].get_color() == "red"


@pytest.mark.parametrize("draw", [plots.scores, plots.roc])
def test_bad_pairs_are_refused_before_anything_is_drawn(draw, axes):
    with pytest.raises(ValueError, match="labels must have both kinds of pairs"):
        draw([1, 2], [1, 1], ax=axes)
    with pytest.raises(ValueError, match="scores must not be NaN"):
        draw([1, np.nan], [1, 0], ax=axes)
    assert not axes.has_data()


def test_infinite_scores_have_a_curve_and_no_histogram(axes):
    plots.roc([np.inf, 0, -np.inf], [1, 0, 0], ax=axes)
    with pytest.raises(ValueError, match="scores must be finite to be drawn"):
        plots.scores([np.inf, 0, -np.inf], [1, 0, 0], ax=axes)


def run_python(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_matplotlib_is_imported_where_it_is_needed():
    code = """
import sys, fastcos
print(any(name in sys.modules for name in ("fastcos.measures", "fastcos.plots")))
fastcos.plots.roc
print("matplotlib" in sys.modules)
sys.modules["matplotlib"] = None
try:
    fastcos.plots.roc([1, 2], [0, 1])
except ImportError as error:
    print(error.name, error)
"""
    late, loaded, said = run_python(code).splitlines()
    assert (late, loaded) == ("False", "False")
    assert said.startswith("matplotlib fastcos.plots needs matplotlib: pip install ")


def test_a_name_that_there_is_none_of_is_refused_as_ever():
    with pytest.raises(AttributeError, match="module 'fastcos' has no attribute 'plot'") as error:
        fastcos.plot
    assert (error.value.name, error.value.obj) == ("plot", fastcos)
