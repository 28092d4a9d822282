"""Plots of verification: the scores of both kinds of pairs, and the ROC curve.

They draw on axes of matplotlib, which is imported only where there are none yet. Titles, limits and
legends are the caller's: the axes are returned.

Example:
    >>> import fastcos
    >>> from matplotlib.figure import Figure
    >>> axes = fastcos.plots.roc([0.9, 0.8, 0.3], [1, 0, 0], ax=Figure().subplots())
    >>> axes.get_xlabel()
    'false accept rate'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastcos import _extras
from fastcos.measures.roc import RocCurve, area, counted, curve_of, equal_errors
from fastcos.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["roc", "scores"]

# Of the palette of Okabe and Ito, told apart with every kind of colour vision.
_SAME, _DIFFERENT = "#0072B2", "#E69F00"


def __dir__() -> list[str]:
    return __all__


def scores(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    ax: Axes | None = None,
    similarity: bool = True,
    threshold: float | None = None,
    bins: int = 80,
    limits: tuple[float, float] | None = None,
    names: tuple[str, str] = ("same", "different"),
) -> Axes:
    r"""Histograms of the scores of pairs that are the same and of those that are not.

    .. math:: \hat p(s \mid same), \quad \hat p(s \mid different)

    Both have an area of 1, however many pairs there are of each kind.

    Args:
        scores: As in :func:`fastcos.measures.verification`; all finite.
        labels: The same.
        ax: Axes to draw on; by default those of a new figure of ``matplotlib.pyplot``.
        similarity: As in :func:`fastcos.measures.verification`.
        threshold: Where a dashed line is drawn; by default that of equal errors.
        bins: How many bars each histogram has.
        limits: The least and the greatest score that is shown; by default those that there are.
        names: What the pairs are called in the legend: those that are the same, then the others.

    Returns:
        The axes.

    Raises:
        ValueError: as :func:`fastcos.measures.verification`, or an infinite score.
        TypeError: the same.
        ImportError: there are no axes, and matplotlib is not installed.

    Example:
        >>> import fastcos
        >>> from matplotlib.figure import Figure
        >>> axes = Figure().subplots()
        >>> axes is fastcos.plots.scores([0.9, 0.8, 0.3], [1, 1, 0], ax=axes, bins=5)
        True
        >>> [text.get_text() for text in axes.legend().get_texts()]
        ['different', 'same', 'threshold of equal errors']

    References:
        ISO/IEC 19795-1:2021, which plots scores and both rates.
    """
    counts = counted(scores, labels, similarity)
    curve = curve_of(counts)
    distinct = curve.thresholds[1:]
    if not np.isfinite(distinct).all():
        raise ValueError("scores must be finite to be drawn")
    said = "threshold" if threshold is not None else "threshold of equal errors"
    at = threshold if threshold is not None else equal_errors(counts).threshold
    limits = limits or (float(distinct.min()), float(distinct.max()))
    axes = _axes(ax)
    same, different = names
    for shares, colour, name in (
        (np.diff(curve.far), _DIFFERENT, different),
        (np.diff(curve.tar), _SAME, same),
    ):
        shape: dict[str, Any] = {"bins": bins, "range": limits, "density": True}
        shape |= {"weights": shares, "color": colour}
        axes.hist(distinct, alpha=0.55, label=name, **shape)
        axes.hist(distinct, histtype="step", linewidth=1.2, **shape)
    axes.axvline(at, color="black", linestyle="--", linewidth=1.2, label=said)
    axes.set(xlabel="score" if similarity else "distance", ylabel="density", yticks=[])
    return axes


def roc(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    ax: Axes | None = None,
    similarity: bool = True,
    label: str | None = None,
    color: Any = None,
) -> Axes:
    r"""The ROC curve: what is accepted rightly over what is accepted wrongly.

    .. math:: t \mapsto (FAR(t),\ TAR(t))

    Several curves on the same axes are compared by their labels, which have the area under each.
    The first is drawn with the line of chance.

    Args:
        scores: As in :func:`fastcos.measures.verification`.
        labels: The same.
        ax: Axes to draw on; by default those of a new figure of ``matplotlib.pyplot``.
        similarity: As in :func:`fastcos.measures.verification`.
        label: What the curve is called in the legend, before the area under it.
        color: Of the curve, as matplotlib has colours; by default the next of the axes.

    Returns:
        The axes.

    Raises:
        ValueError: as :func:`fastcos.measures.verification`.
        TypeError: the same.
        ImportError: there are no axes, and matplotlib is not installed.

    Example:
        >>> import fastcos
        >>> from matplotlib.figure import Figure
        >>> axes = fastcos.plots.roc([0.9, 0.8, 0.3], [1, 0, 0], ax=Figure().subplots())
        >>> axes = fastcos.plots.roc([0.9, 0.1, 0.3], [0, 1, 0], ax=axes, label="worse")
        >>> [text.get_text() for text in axes.legend().get_texts()]
        ['chance', 'AUC 1.000', 'worse, AUC 0.000']

    References:
        Fawcett, "An introduction to ROC analysis", 2006.
    """
    counts = counted(scores, labels, similarity)
    curve = curve_of(counts)
    said = f"AUC {area(counts):.3f}"
    axes = _axes(ax)
    if not axes.lines:
        chance = np.r_[0, np.geomspace(1e-9, 1, 400)]  # the diagonal, on a logarithmic axis too
        axes.plot(chance, chance, color="black", linestyle=":", linewidth=1, label="chance")
    corners = _corners(curve)
    axes.plot(
        curve.far[corners],
        curve.tar[corners],
        color=color,
        linewidth=2,
        label=f"{label}, {said}" if label else said,
    )
    axes.set(xlabel="false accept rate", ylabel="true accept rate")
    axes.set(xlim=(-0.01, 1), ylim=(0, 1.01))
    return axes


def _axes(given: Axes | None) -> Axes:
    """The axes to draw on.

    Raises:
        ImportError: there are none, and matplotlib is not installed.
    """
    if given is not None:
        return given
    try:
        from matplotlib import pyplot  # takes half a second, and chooses a window system
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise ImportError(
            f"fastcos.plots needs matplotlib: {_extras.command('demo')}", name="matplotlib"
        ) from None
    found: Axes = pyplot.subplots()[1]
    return found


def _corners(curve: RocCurve) -> npt.NDArray[np.bool_]:
    """The points where a curve does not go straight on: few of the hundreds of thousands."""
    right, up = np.diff(curve.far) > 0, np.diff(curve.tar) > 0
    turns = (right[1:] != right[:-1]) | (up[1:] != up[:-1]) | (right & up)[1:]
    return np.concatenate([[True], turns, [True]])
