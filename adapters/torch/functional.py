"""torch's functional losses on the fused kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fastcos import distances
from fastcos.distances import Distance
from fastcos.engine.problem import resolve_distance
from fastcos.engine.rows import gathered
from fastcos.typing import DistanceLike

from . import composites, problems
from .plain import REDUCTIONS, are_plain, fused, is_usual, reduction_of, refuse
from .problems import in_operators_of, is_margin, is_norm, measured
from .similarity import PairwiseDistance, pairwise_distance


def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    *,
    pos_margin: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    r"""``torch.nn.functional.cosine_embedding_loss`` in one fused pass.

    .. math:: l = \begin{cases}
        \max(0,\ pos\_margin - c) & y = +1 \\
        \max(0,\ c - margin) & y = -1 \\
        0 & \text{else} \end{cases}
        \qquad c = \frac{x_1 \cdot x_2}{\sqrt{(x_1 \cdot x_1 + eps)(x_2 \cdot x_2 + eps)}}

    with eps the float32 number next to 1e-12.

    Args:
        input1: Rows ``(N, D)``, or one row ``(D,)``.
        input2: The same; ``(1, D)`` is broadcast.
        target: 1 (similar) or -1 (dissimilar) for each row.
        margin: Cosine above which dissimilar pairs cost.
        size_average: Deprecated, as in torch.
        reduce: Deprecated, as in torch.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``, which gives one loss for each row.
        pos_margin: Cosine below which similar pairs cost. Not in torch.
        weight: One number for each row, or for all; ``"mean"`` divides by their sum. Not in torch.

    Returns:
        A scalar, or the loss of each row. Under autocast float32, as in torch.

    Raises:
        RuntimeError, ValueError, TypeError: as torch does.
        TypeError: a tensor on another kind of device, sparse, nested or quantised.

    Singular points: at ``c = margin`` the gradient of max(0, ·) passes.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import cosine_embedding_loss
        >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.0]], requires_grad=True)
        >>> y = torch.tensor([[0.6, 0.8], [0.6, 0.8]])
        >>> loss = cosine_embedding_loss(x, y, torch.tensor([1, -1]))
        >>> loss.backward()
        >>> round(loss.item(), 6)
        0.5
        >>> cosine_embedding_loss(x, y, torch.tensor([1, -1]), reduction="none").shape
        torch.Size([2])
    """
    if is_usual(size_average, reduce, reduction):
        options = margin, pos_margin, reduction
        value = fused(problems.cosine_embedding, (input1, input2), options, target, weight)
        if value is not None:
            return value
    input1, input2 = gathered(input1), gathered(input2)
    refuse(input1=input1, input2=input2, target=target, weight=weight)
    if pos_margin == 1 and weight is None:
        return F.cosine_embedding_loss(
            input1, input2, target, margin, size_average, reduce, reduction
        )
    reduction = reduction_of(size_average, reduce, reduction)
    # torch's operator also says what is wrong with the arguments.
    each = F.cosine_embedding_loss(input1, input2, target, margin, reduction="none")
    if pos_margin != 1:
        each = composites.cosine_embedding(input1, input2, target, margin, pos_margin)
    return composites.reduced(each, weight, reduction)


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    *,
    weight: Tensor | None = None,
) -> Tensor:
    r"""``torch.nn.functional.triplet_margin_loss`` in one fused pass.

    .. math:: l = \max(0,\ \lVert a - p + eps\rVert_p - \lVert a - n + eps\rVert_p + margin)

    Args:
        anchor: Rows ``(..., D)``.
        positive: Rows of as many axes; leading axes are broadcast.
        negative: Rows of as many axes.
        margin: By how much the negative is to be farther; > 0.
        p: Which norm; inf is the largest component.
        eps: Added to every difference, signed.
        swap: Takes the smaller of d(a,n) and d(p,n) for the negative distance.
        size_average: Deprecated, as in torch.
        reduce: Deprecated, as in torch.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``, which gives one loss for each triplet.
        weight: One number for each triplet, or for all; ``"mean"`` divides by their sum. Not in
            torch.

    Returns:
        A scalar, or the loss of each triplet. Under autocast float32, as in torch.

    Raises:
        RuntimeError, ValueError, TypeError: as torch does.
        TypeError: a tensor on another kind of device, sparse, nested or quantised.

    Singular points: at l = 0 exactly the gradient of max(0, ·) passes; a tie of ``swap`` splits
    half and half; else those of :func:`pairwise_distance`.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import triplet_margin_loss
        >>> a, p, n = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 5.5]]).split(1)
        >>> round(triplet_margin_loss(a, p, n, eps=0.0).item(), 6)
        0.5

    References:
        Balntas et al., BMVC 2016.
    """
    if is_usual(size_average, reduce, reduction):
        rows, options = (anchor, positive, negative), (margin, p, eps, swap, reduction)
        value = fused(problems.triplet, rows, options, weight=weight)
        if value is not None:
            return value
    anchor, positive, negative = gathered(anchor), gathered(positive), gathered(negative)
    refuse(anchor=anchor, positive=positive, negative=negative, weight=weight)
    if weight is None:
        return F.triplet_margin_loss(
            anchor, positive, negative, margin, p, eps, swap, size_average, reduce, reduction
        )
    reduction = reduction_of(size_average, reduce, reduction)
    each = F.triplet_margin_loss(anchor, positive, negative, margin, p, eps, swap, reduction="none")
    return composites.reduced(each, weight, reduction)


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: DistanceLike | Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    r"""``torch.nn.functional.triplet_margin_with_distance_loss`` in one fused pass.

    .. math:: l = \max(0,\ d(a, p) - d(a, n) + margin)

    Args:
        anchor: Rows ``(..., D)``.
        positive: Rows of as many axes; leading axes are broadcast.
        negative: Rows of as many axes.
        distance_function: A name (``fastcos.distances.DISTANCES``) or a :class:`fastcos.Distance`,
            both not in torch; None, ``F.pairwise_distance`` or a ``PairwiseDistance``: these run
            fused. Any other callable runs as torch runs it, and the loss of its distances fused.
            None has torch's ``eps=1e-6``, the name ``"euclidean"`` has 0.
        margin: By how much the negative is to be farther; > 0.
        swap: Takes the smaller of d(a,n) and d(p,n) for the negative distance.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``, which gives one loss for each triplet.
        weight: One number for each triplet, or for all; ``"mean"`` divides by their sum. Not in
            torch.

    Returns:
        A scalar, or the loss of each triplet.

    Raises:
        RuntimeError, ValueError, TypeError: as torch does.
        TypeError: a tensor on another kind of device, sparse, nested or quantised; a distance of
            the user's own, which has no second derivative and no transform.

    Singular points: at l = 0 exactly the gradient of max(0, ·) passes; a tie of ``swap`` splits
    half and half; else those of the distance.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import triplet_margin_with_distance_loss
        >>> a, p, n = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]]).split(1)
        >>> loss = triplet_margin_with_distance_loss(a, p, n, distance_function="cosine")
        >>> round(loss.item(), 6)
        0.8

    References:
        Balntas et al., BMVC 2016.
    """
    rows, is_known = (anchor, positive, negative), reduction in REDUCTIONS
    measure = _without_callables(distance_function)
    if measure and is_known:
        options = *measure, margin, swap, reduction
        value = fused(problems.triplet_of, rows, options, weight=weight, everywhere=False)
        if value is not None:
            return value
    record, in_torch = _distance(distance_function)
    if record is None and in_torch is not None and is_known and is_margin(margin):
        if anchor.ndim == positive.ndim == negative.ndim and are_plain(rows):
            a, p, n = map(gathered, rows)
            return _of_distances(*measured(in_torch, a, p, n, swap), margin, weight, reduction)
    anchor, positive, negative = gathered(anchor), gathered(positive), gathered(negative)
    refuse(anchor=anchor, positive=positive, negative=negative, weight=weight)
    function = in_operators_of(in_torch, record)
    if weight is None:
        return F.triplet_margin_with_distance_loss(
            anchor,
            positive,
            negative,
            distance_function=function,
            margin=margin,
            swap=swap,
            reduction=reduction,
        )
    each = F.triplet_margin_with_distance_loss(
        anchor,
        positive,
        negative,
        distance_function=function,
        margin=margin,
        swap=swap,
        reduction="none",
    )
    return composites.reduced(each, weight, reduction_of(None, None, reduction))


def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    *,
    weight: Tensor | None = None,
) -> Tensor:
    r"""``torch.nn.functional.hinge_embedding_loss`` in one fused pass.

    .. math:: l = \begin{cases} x & y = +1 \\ \max(0,\ margin - x) & y = -1 \\
        x + \max(0,\ margin - x) & \text{else} \end{cases}

    Args:
        input: Distances, of any shape.
        target: 1 (similar) or -1 (dissimilar) for each.
        margin: Distance below which dissimilar pairs cost.
        size_average: Deprecated, as in torch.
        reduce: Deprecated, as in torch.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``, which gives the loss of each distance.
        weight: One number for each distance, or for all; ``"mean"`` divides by their sum. Not in
            torch.

    Returns:
        A scalar, or the loss of each distance. Under autocast float32, as in torch.

    Raises:
        RuntimeError, ValueError, TypeError: as torch does.
        TypeError: a tensor on another kind of device, sparse, nested or quantised.

    Singular points: at ``x = margin`` the gradient of max(0, ·) passes.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import hinge_embedding_loss
        >>> x, y = torch.tensor([0.25, 0.25]), torch.tensor([1, -1])
        >>> hinge_embedding_loss(x, y, reduction="none").tolist()
        [0.25, 0.75]
    """
    if is_usual(size_average, reduce, reduction):
        value = fused(problems.hinge_embedding, (input,), (margin, reduction), target, weight)
        if value is not None:
            return value
    refuse(input=input, target=target, weight=weight)
    if weight is None:
        return F.hinge_embedding_loss(input, target, margin, size_average, reduce, reduction)
    reduction = reduction_of(size_average, reduce, reduction)
    each = F.hinge_embedding_loss(input, target, margin, reduction="none")
    return composites.reduced(each, weight, reduction)


def _without_callables(given: Any) -> tuple[str | Distance | None, float, float] | None:
    """A distance as a name or a record, or as a p-norm and its eps; None for a callable."""
    if given is None or given is F.pairwise_distance or given is pairwise_distance:
        return None, 2.0, 1e-6
    if isinstance(given, (str, Distance)):
        return given, 0.0, 0.0
    if type(given) in (torch.nn.PairwiseDistance, PairwiseDistance):
        if not given.keepdim and is_norm(given.norm, given.eps):
            return None, given.norm, given.eps
    return None


def _distance(given: Any) -> tuple[Distance | None, Callable[..., Tensor] | None]:
    """A distance as a record for the kernels and as a function for torch, each if there is one."""
    if given is None or given is F.pairwise_distance or given is pairwise_distance:
        return distances.euclidean(1e-6), F.pairwise_distance
    if isinstance(given, torch.nn.PairwiseDistance):
        known = type(given) in (torch.nn.PairwiseDistance, PairwiseDistance)
        if known and not given.keepdim and is_norm(given.norm, given.eps):
            return distances.lp(given.norm, given.eps), given
        return None, given
    resolved = resolve_distance("distance_function", given)
    if isinstance(resolved, Distance):
        return resolved, composites.distance(resolved)
    return None, resolved


def _of_distances(
    positive: Tensor,
    negative: Tensor,
    swapped: Tensor | None,
    margin: float,
    weight: Any,
    reduction: str,
) -> Tensor:
    """The loss of distances that a callable gave."""
    given = (positive, negative) if swapped is None else (positive, negative, swapped)
    value = fused(problems.triplet_of_distances, given, (margin, reduction), weight=weight)
    if value is not None:
        return value
    each = composites.triplet(positive, negative, swapped, margin)
    return composites.reduced(each, weight, reduction)
