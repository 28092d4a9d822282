"""The picture of the demo: scores of held-out pairs and ROC curves, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure

from fastcos._demo import Quality, Result

# Of the Okabe-Ito palette, told apart with every kind of colour vision.
_SAME, _DIFFERENT = "#0072B2", "#E69F00"
_BEFORE, _AFTER = "#999999", "#D55E00"

_STYLE = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.dpi": 110,
}
_SCORES = {"cosine": "cosine similarity", "-euclidean": "minus Euclidean distance"}


def draw(results: Sequence[Result]) -> Figure:
    """A row per loss: histograms of the scores before and after, and the ROC curves of both."""
    with matplotlib.style.context(["default", _STYLE]):
        figure = Figure(figsize=(13, 1.4 + 2.9 * len(results)), layout="constrained")
        figure.suptitle(
            "Digits held out from training: pairs told apart by raw pixels,"
            " and by a learned projection",
            fontsize=16,
        )
        rows = figure.subplots(len(results), 3, squeeze=False, width_ratios=(1, 1, 0.8))
        for (before, after, roc), result in zip(rows, results, strict=True):
            _histogram(before, result.before, result.score, "before: raw pixels")
            _histogram(after, result.after, result.score, "after: learned projection")
            _roc(roc, result)
            before.set_ylabel(result.loss, fontweight="bold")
        return figure


def _histogram(axes: Any, quality: Quality, score: str, title: str) -> None:
    bins = np.linspace(quality.scores.min(), quality.scores.max(), 81)
    for kind, colour, name in (
        (~quality.same, _DIFFERENT, "different digits"),
        (quality.same, _SAME, "same digit"),
    ):
        axes.hist(
            quality.scores[kind], bins, density=True, color=colour, alpha=0.6, label=name
        )
    axes.set(title=title, xlabel=_SCORES[score], yticks=[])
    axes.legend()


def _roc(axes: Any, result: Result) -> None:
    for name, quality, colour in (
        ("before", result.before, _BEFORE),
        ("after", result.after, _AFTER),
    ):
        axes.plot(
            quality.false_positive_rate,
            quality.true_positive_rate,
            color=colour,
            linewidth=2.2,
            label=f"{name}, AUC {quality.roc_auc:.3f}",
        )
    axes.set(title="ROC", xlabel="false positive rate", ylabel="true positive rate")
    axes.legend(loc="lower right")
