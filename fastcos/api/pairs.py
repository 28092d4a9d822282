"""Aligned pairs, row i of one array with row i of another: similarity, any distance, and losses.

Each function states its problem in terms of the records; ``calls`` makes a public function of that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fastcos import distances, losses
from fastcos.api.calls import public
from fastcos.distances import angles
from fastcos.engine.checks import check_finite, check_flag
from fastcos.engine.problem import Problem, resolve_distance
from fastcos.typing import (
    ArrayLike,
    DistanceLike,
    Reduction,
    Result,
)


@public
def cosine_similarity(x1: ArrayLike, x2: ArrayLike, *, axis: int = -1, eps: float = 0.0) -> Result:
    r"""The cosine of the angle between rows.

    .. math:: c = \frac{x_1 \cdot x_2}{\sqrt{(x_1 \cdot x_1 + eps)(x_2 \cdot x_2 + eps)}}

    Always within [-1, 1], exactly 1 for equal rows, and the same bits for rows multiplied by powers
    of two (``eps=0``).

    Args:
        x1: Rows ``(..., D)``.
        x2: Rows ``(..., D)``, leading axes broadcast with those of ``x1``.
        axis: The feature axis.
        eps: Added to both squared norms.

    Returns:
        The similarity of each sample, of the broadcast leading shape.

    Raises:
        ValueError: shapes that do not fit, an empty feature axis, a negative ``eps``.
        TypeError: complex, object, string, masked or sparse input.

    Singular points: with ``eps=0`` a zero row has similarity 0 with everything, and gradient 0.

    Example:
        >>> import numpy as np, fastcos
        >>> query = np.array([1.0, 0.0])
        >>> gallery = np.array([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])
        >>> fastcos.cosine_similarity(query, gallery)
        array([ 1.,  0., -1.])
    """
    distance = angles.cosine_similarity(eps)
    return Problem(losses.identity, distance, ("x1", "x2"), (x1, x2), axis=axis, reduction="none")


@public
def paired_distance(
    x1: ArrayLike,
    x2: ArrayLike,
    distance: DistanceLike | Callable[[Any, Any], Any] = "euclidean",
    *,
    axis: int = -1,
) -> Result:
    r"""The distance between row i of one array and row i of another.

    .. math:: d_i = d(x_{1,i}, x_{2,i})

    For all rows of one set with all of another there is :func:`pairwise`, and :func:`nearest`.

    Args:
        x1: Rows ``(..., D)``.
        x2: Rows ``(..., D)``, leading axes broadcast with those of ``x1``.
        distance: A name (``fastcos.distances.DISTANCES``, with its default parameters) or a
            :class:`Distance`.
        axis: The feature axis.

    Returns:
        The distance of each sample, of the broadcast leading shape.

    Raises:
        ValueError: an unknown name, shapes that do not fit, an empty feature axis.
        TypeError: complex, object, string, masked or sparse input.

    Singular points: those of the distance.

    Example:
        >>> import numpy as np, fastcos
        >>> x1, x2 = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[3.0, 4.0], [1.0, 3.0]])
        >>> fastcos.paired_distance(x1, x2, "manhattan")
        array([7., 2.])
        >>> fastcos.paired_distance(x1, x2, fastcos.distances.lp(3)).round(3)
        array([4.498, 2.   ])
    """
    found = resolve_distance("distance", distance)
    return Problem(losses.identity, found, ("x1", "x2"), (x1, x2), axis=axis, reduction="none")


@public
def cosine_embedding_loss(
    input1: ArrayLike,
    input2: ArrayLike,
    target: ArrayLike,
    *,
    margin: float = 0.0,
    pos_margin: float = 1.0,
    eps: float = 0.0,
    axis: int = -1,
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    validate: bool | None = None,
) -> Result:
    r"""Draws similar pairs together and pushes dissimilar ones beyond a margin, by their cosine.

    .. math:: l = \begin{cases}
        \max(0,\ pos\_margin - c) & y = +1 \\
        \max(0,\ c - margin) & y = -1 \end{cases}

    with :math:`c` as in :func:`cosine_similarity`. The default ``pos_margin=1`` gives ``1 - c``,
    computed without cancellation: never negative, exactly 0 for equal rows.

    Args:
        input1: Rows ``(..., D)``.
        input2: Rows ``(..., D)``, leading axes broadcast with those of ``input1``.
        target: +1 (similar) or -1 (dissimilar) per sample, in any dtype, or bool (True is similar);
            a scalar, or of the rank of the per-sample loss with every axis equal or 1.
        margin: Cosine above which dissimilar pairs cost.
        pos_margin: Cosine below which similar pairs cost. ``pos_margin=margin`` is the variant with
            one margin for both.
        eps: Added to both squared norms.
        axis: The feature axis.
        weight: Per-sample weight, shaped as ``target`` may be.
        reduction: With l the loss and w the weight of a sample: ``"none"`` gives w·l for each,
            ``"sum"`` their sum, ``"mean"`` that over Σw, ``"sum_over_batch_size"`` over the number
            of samples, ``"sum_by_nonzero_weights"`` over the number of samples with w ≠ 0. Σw = 0
            gives 0; an empty batch gives NaN for ``"mean"`` and 0 for the other sums.
        validate: None checks the labels of host arrays, True always, False never. An unchecked
            label other than ±1 makes the sample's loss NaN.

    Returns:
        A scalar, or with ``reduction="none"`` one value per sample.

    Raises:
        ValueError: labels other than ±1, an unknown reduction, shapes that do not fit, an empty
            feature axis, a margin or ``eps`` out of range.
        TypeError: complex, object, string, masked or sparse input.

    Singular points: at ``c = margin`` the gradient of max(0, ·) passes. With ``eps=0`` a zero row
    has cosine 0 and gradient 0.

    Example:
        >>> import numpy as np, fastcos
        >>> x1 = np.array([[1.0, 0.0], [1.0, 0.0]])
        >>> x2 = np.array([[0.6, 0.8], [0.6, 0.8]])
        >>> fastcos.cosine_embedding_loss(x1, x2, [1, -1], margin=0.5, reduction="none")
        array([0.4, 0.1])
        >>> loss, (g1, g2) = fastcos.value_and_grad(fastcos.cosine_embedding_loss)(x1, x2, [1, -1])
        >>> float(loss)
        0.5

    References:
        Payne et al., as ``torch.nn.CosineEmbeddingLoss``.
    """
    return Problem(
        losses.cosine_embedding,
        distances.cosine(eps),
        ("input1", "input2"),
        (input1, input2),
        (check_finite("margin", margin), check_finite("pos_margin", pos_margin), math.nan),
        axis=axis,
        target=target,
        weight=weight,
        reduction=reduction,
        validate=check_flag("validate", validate, optional=True),
    )


@public
def cosine_distance_loss(
    labels: ArrayLike,
    predictions: ArrayLike,
    *,
    axis: int = -1,
    weights: ArrayLike = 1.0,
    normalize: bool = True,
    eps: float = 0.0,
    reduction: Reduction = "sum_by_nonzero_weights",
) -> Result:
    r"""One minus the cosine, weighted: TensorFlow's ``cosine_distance``, with the cosine in it.

    .. math:: l = 1 - \frac{x \cdot y}{\sqrt{(x \cdot x + eps)(y \cdot y + eps)}}
        \quad\text{or, with normalize=False,}\quad l = 1 - x \cdot y

    Args:
        labels: Rows ``(..., D)``.
        predictions: Rows ``(..., D)``, leading axes broadcast with those of ``labels``.
        axis: The feature axis.
        weights: A scalar, or of the rank of the per-sample loss with every axis equal or 1. A
            gradient can be asked for by name (``argnums="weights"``).
        normalize: False takes rows to be of unit length already and divides by nothing, as
            ``tf.losses.cosine_distance`` does.
        eps: Added to both squared norms; not used with ``normalize=False``.
        reduction: As in :func:`cosine_embedding_loss`.

    Returns:
        A scalar, or with ``reduction="none"`` one value per sample.

    Raises:
        ValueError: an unknown reduction, shapes that do not fit, an empty feature axis, a negative
            ``eps``.
        TypeError: complex, object, string, masked or sparse input.

    Singular points: with ``eps=0`` a zero row has distance 1 and gradient 0.

    Example:
        >>> import numpy as np, fastcos
        >>> labels = np.array([[1.0, 4.0, 5.0], [5.0, 5.0, 7.0]])
        >>> predictions = np.array([[3.0, 2.0, 5.0], [3.0, 2.0, 7.0]])
        >>> round(float(fastcos.cosine_distance_loss(labels, predictions)), 6)
        0.077169

    References:
        TensorFlow 1, ``tf.losses.cosine_distance``.
    """
    return Problem(
        losses.identity,
        distances.cosine(eps) if check_flag("normalize", normalize) else distances.dot(),
        ("labels", "predictions"),
        (labels, predictions),
        axis=axis,
        weight=weights,
        weight_name="weights",
        reduction=reduction,
    )


@public
def hinge_embedding_loss(
    input: ArrayLike,
    target: ArrayLike,
    *,
    margin: float = 1.0,
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    validate: bool | None = None,
) -> Result:
    r"""Draws similar pairs together and pushes dissimilar ones apart, given their distances.

    .. math:: l = \begin{cases} x & y = +1 \\ \max(0,\ margin - x) & y = -1 \end{cases}

    Args:
        input: Distances x, of any shape; each is a sample.
        target: +1 (similar) or -1 (dissimilar) per sample, in any dtype, or bool (True is similar);
            a scalar, or of the rank of ``input`` with every axis equal or 1.
        margin: Distance below which dissimilar pairs cost.
        weight: Per-sample weight, shaped as ``target`` may be.
        reduction: As in :func:`cosine_embedding_loss`.
        validate: As in :func:`cosine_embedding_loss`.

    Returns:
        A scalar, or with ``reduction="none"`` one value per sample.

    Raises:
        ValueError: labels other than ±1, an unknown reduction, shapes that do not fit, a margin
            that is not finite.
        TypeError: complex, object, string, masked or sparse input.

    Singular points: at ``x = margin`` the gradient of max(0, ·) passes.

    Example:
        >>> import numpy as np, fastcos
        >>> fastcos.hinge_embedding_loss(np.array([0.25, 0.25]), [1, -1], reduction="none")
        array([0.25, 0.75])

    References:
        ``torch.nn.HingeEmbeddingLoss``.
    """
    return Problem(
        losses.hinge_embedding,
        None,
        ("input",),
        (input,),
        (check_finite("margin", margin), math.nan),
        target=target,
        weight=weight,
        reduction=reduction,
        validate=check_flag("validate", validate, optional=True),
    )
