"""The picture of the demo: scores of held-out pairs and ROC curves, before and after."""

from collections.abc import Sequence
from typing import Any

import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from fastcos.commands.demo import Quality, Result

# Of the palette of Okabe and Ito, told apart with every kind of colour vision.
_SAME, _DIFFERENT = "#0072B2", "#E69F00"
_BEFORE, _AFTER = "#8C8C8C", "#0072B2"

_STYLE = {
    "font.size": 12,
    "axes.titlesize": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.edgecolor": "none",
    "legend.framealpha": 1.0,
}
_SCORES = {"cosine": "cosine similarity", "-euclidean": "minus Euclidean distance"}


def draw(results: Sequence[Result]) -> Figure:
    """A row per loss: histograms of the scores before and after, and the ROC curves of both."""
    with matplotlib.style.context(["default", _STYLE]):
        layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.09)
        figure = Figure(figsize=(14, 0.8 + 3.1 * len(results)), dpi=110, layout=layout)
        figure.suptitle(
            "Pairs of held-out digits: the same or not?", x=0.01, ha="left", fontsize=20
        )
        rows = figure.subfigures(len(results), 1, squeeze=False)[:, 0]
        for row, result in zip(rows, results, strict=True):
            _draw_row(row, result)
        handles, labels = rows[0].axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="upper right", ncols=len(labels), fontsize=12)
        return figure


def _draw_row(row: Any, result: Result) -> None:
    row.suptitle(result.loss, x=0.01, ha="left", fontsize=14, fontweight="bold")
    before, after, roc = row.subplots(1, 3, width_ratios=(1, 1, 0.64))
    _draw_scores(before, result.before, result.score, "before, raw pixels")
    _draw_scores(after, result.after, result.score, "after, learned projection")
    _draw_roc(roc, result)


def _draw_scores(axes: Any, quality: Quality, score: str, title: str) -> None:
    limits = (-1.0, 1.0) if score == "cosine" else (quality.scores.min(), 0.0)
    for kind, colour, name in (
        (~quality.same, _DIFFERENT, "different digits"),
        (quality.same, _SAME, "same digit"),
    ):
        shape = {"bins": 80, "range": limits, "density": True, "color": colour}
        axes.hist(quality.scores[kind], alpha=0.55, label=name, **shape)
        axes.hist(quality.scores[kind], histtype="step", linewidth=1.2, **shape)
    line = {"color": "black", "linestyle": "--", "linewidth": 1.2}
    axes.axvline(quality.threshold, label="threshold of equal errors", **line)
    axes.set_title(f"{title}: equal error rate {quality.equal_error_rate:.1%}")
    axes.set(xlabel=_SCORES[score], ylabel="density", xlim=limits, yticks=[])
    axes.locator_params(axis="x", nbins=6)


def _draw_roc(axes: Any, result: Result) -> None:
    for name, quality, colour in (
        ("before", result.before, _BEFORE),
        ("after", result.after, _AFTER),
    ):
        label = f"{name}, AUC {quality.roc_auc:.3f}"
        curve = (quality.false_positive_rate, quality.true_positive_rate)
        axes.plot(*curve, color=colour, linewidth=2.5, label=label)
    axes.plot([0, 1], [0, 1], color="black", linestyle=":", linewidth=1, label="chance")
    axes.set(title="ROC", xlabel="false positive rate", ylabel="true positive rate")
    axes.set(xlim=(-0.01, 1), ylim=(0, 1.01), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axes.legend(loc="lower right", fontsize=12)
