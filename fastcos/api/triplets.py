"""The losses of aligned triplets: row i of anchors, of positives and of negatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fastcos import distances, losses
from fastcos.api.calls import public
from fastcos.distances import Distance
from fastcos.engine.checks import check_finite, check_flag
from fastcos.engine.problem import Problem, resolve_distance
from fastcos.typing import (
    ArrayLike,
    DistanceLike,
    Reduction,
    Result,
)


@public
def triplet_margin_loss(
    anchor: ArrayLike,
    positive: ArrayLike,
    negative: ArrayLike,
    *,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    axis: int = -1,
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
) -> Result:
    r"""Wants the negative farther from the anchor than the positive, by a margin, in a p-norm.

    .. math:: l = \max(0,\ \lVert a - p + eps\rVert_p - \lVert a - n + eps\rVert_p + margin)

    Args:
        anchor: Rows ``(..., D)``.
        positive: Rows ``(..., D)``; leading axes of all three broadcast.
        negative: Rows ``(..., D)``.
        margin: By how much.
        p: Which norm: any number > 0, or inf.
        eps: Added to every difference, signed.
        swap: Takes the smaller of d(a,n) and d(p,n) for the negative distance.
        axis: The feature axis.
        weight: A scalar, or of the rank of the per-sample loss with every axis equal or 1.
        reduction: As in :func:`cosine_embedding_loss`.

    Returns:
        A scalar, or with ``reduction="none"`` one value per sample.

    Raises:
        ValueError: ``p <= 0``, an unknown reduction, shapes that do not fit, an empty feature axis,
            a margin or ``eps`` out of range.
        TypeError: complex, object, string, masked or sparse input.

    Singular points: at l = 0 exactly the gradient of max(0, ·) passes; a tie of ``swap`` splits
    half and half; the gradient of a norm at 0 is 0, and components that share the maximum norm
    share its gradient.

    Example:
        >>> import numpy as np, fastcos
        >>> a, p, n = np.array([0.0, 0.0]), np.array([3.0, 4.0]), np.array([0.0, 5.5])
        >>> round(float(fastcos.triplet_margin_loss(a, p, n, eps=0)), 6)
        0.5

    References:
        Balntas et al., Learning shallow convolutional feature descriptors with triplet losses,
        BMVC 2016.
    """
    rows, distance = (anchor, positive, negative), distances.lp(p, eps)
    margin = check_finite("margin", margin)
    return triplet_problem(*rows, distance, margin, swap, axis, weight, reduction)


@public
def triplet_margin_with_distance_loss(
    anchor: ArrayLike,
    positive: ArrayLike,
    negative: ArrayLike,
    *,
    distance_function: DistanceLike | Callable[[Any, Any], Any] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    axis: int = -1,
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
) -> Result:
    r"""Wants the negative farther from the anchor than the positive, by a margin, in any distance.

    .. math:: l = \max(0,\ d(a, p) - d(a, n) + margin)

    Args:
        anchor: Rows ``(..., D)``.
        positive: Rows ``(..., D)``; leading axes of all three broadcast.
        negative: Rows ``(..., D)``.
        distance_function: A name (``fastcos.distances.DISTANCES``), a :class:`Distance`, or any
            callable ``f(x1, x2) -> d`` on whole arrays. A callable is handed the arguments as they
            are, ``axis`` being its own affair, and gives values only: for a gradient write a
            :class:`Distance`. None is torch's default, ``fastcos.distances.euclidean(eps=1e-6)``;
            the name ``"euclidean"`` is that with ``eps=0``.
        margin: By how much.
        swap: Takes the smaller of d(a,n) and d(p,n) for the negative distance.
        axis: The feature axis.
        weight: A scalar, or of the rank of the per-sample loss with every axis equal or 1.
        reduction: As in :func:`cosine_embedding_loss`.

    Returns:
        A scalar, or with ``reduction="none"`` one value per sample.

    Raises:
        ValueError: an unknown distance or reduction, shapes that do not fit, an empty feature axis,
            a margin that is not finite.
        TypeError: complex, object, string, masked or sparse input; a gradient through a callable.

    Singular points: at l = 0 exactly the gradient of max(0, ·) passes; a tie of ``swap`` splits
    half and half; else those of the distance.

    Example:
        >>> import numpy as np, fastcos
        >>> a, p, n = np.array([[1.0, 0.0]]), np.array([[0.8, 0.6]]), np.array([[0.6, 0.8]])
        >>> loss = fastcos.triplet_margin_with_distance_loss
        >>> round(float(loss(a, p, n, distance_function="cosine")), 6)
        0.8
        >>> def l_infinity(x1, x2):
        ...     return np.abs(x1 - x2).max(axis=1)
        >>> round(float(loss(a, p, n, distance_function=l_infinity, margin=1.5)), 6)
        1.3

    References:
        Balntas et al., BMVC 2016.
    """
    if distance_function is None:
        distance_function = distances.euclidean(1e-6)
    rows = anchor, positive, negative
    distance = resolve_distance("distance_function", distance_function)
    margin = check_finite("margin", margin)
    return triplet_problem(*rows, distance, margin, swap, axis, weight, reduction)


def triplet_problem(
    anchor: Any,
    positive: Any,
    negative: Any,
    distance: Distance | Callable[[Any, Any], Any],
    margin: float,
    swap: bool,
    axis: int,
    weight: Any,
    reduction: str,
) -> Problem:
    """The problem of a triplet loss; torch's functions state it too."""
    return Problem(
        losses.triplet_swap if check_flag("swap", swap) else losses.triplet,
        distance,
        ("anchor", "positive", "negative"),
        (anchor, positive, negative),
        (margin, math.nan),
        axis=axis,
        weight=weight,
        reduction=reduction,
    )
