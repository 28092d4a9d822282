"""The picture of the demo: scores of held-out pairs and ROC curves, before and after."""

from collections.abc import Sequence
from typing import Any

import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

import fastcos
from fastcos.commands.demo import Quality, Result

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
    fastcos.plots.scores(
        quality.scores,
        quality.same,
        ax=axes,
        limits=limits,
        names=("same digit", "different digits"),
    )
    axes.set_title(f"{title}: equal error rate {quality.equal_error_rate:.1%}")
    axes.set(xlabel=_SCORES[score], xlim=limits)
    axes.locator_params(axis="x", nbins=6)


def _draw_roc(axes: Any, result: Result) -> None:
    for name, quality, colour in (
        ("before", result.before, _BEFORE),
        ("after", result.after, _AFTER),
    ):
        fastcos.plots.roc(quality.scores, quality.same, ax=axes, label=name, color=colour)
    axes.set(title="ROC", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axes.legend(loc="lower right", fontsize=12)
