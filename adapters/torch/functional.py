"""torch's functional losses on the fused kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import _reduction as legacy
from torch.nn import functional as F

from fastcos import api, distances, losses
from fastcos._dispatch import Problem, resolve_distance
from fastcos._plan import Form
from fastcos.distances import Distance, angles
from fastcos.typing import DistanceLike

from . import composites
from .arrays import FLOATS, direct, is_exact, is_ordinary, unfit
from .arrays import form as form_of
from .autograd import Forms, evaluate

_COSINE = distances.cosine(composites.EPS)
_REDUCTIONS = ("mean", "sum", "none")
_NUMBERS = (float, int)
_NO_TARGET = object()
_CONVERTED = (torch.bool, torch.uint8)


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
    if (
        (forms := _forms((input1, input2), target, weight))
        and _is_usual(size_average, reduce, reduction)
        and type(margin) in _NUMBERS
        and type(pos_margin) in _NUMBERS
        and _are_pairs(input1, input2, target)
    ):
        result = _autocast(input1, input2)

        def again(input1: Tensor, input2: Tensor, target: Tensor, weight: Any) -> Tensor:
            input1, input2 = _cast(result, input1, input2)
            if pos_margin == 1 and weight is None:
                return F.cosine_embedding_loss(input1, input2, target, margin, reduction=reduction)
            each = composites.cosine_embedding(input1, input2, target, margin, pos_margin)
            return composites.reduced(each, weight, reduction)

        problem = Problem(
            losses.cosine_embedding,
            _COSINE,
            ("input1", "input2"),
            (input1, input2),
            (float(margin), float(pos_margin), 0.0),
            target=_labels(target),
            weight=weight,
            reduction=reduction,
            validate=False,
        )
        return evaluate(problem, forms=forms, composite=again, result=result)
    _refuse(input1=input1, input2=input2, target=target, weight=weight)
    if pos_margin == 1 and weight is None:
        return F.cosine_embedding_loss(
            input1, input2, target, margin, size_average, reduce, reduction
        )
    reduction = _reduction(size_average, reduce, reduction)
    # torch's operator also says what is wrong with the arguments.
    each = F.cosine_embedding_loss(input1, input2, target, margin, reduction="none")
    if pos_margin != 1:
        each = composites.cosine_embedding(input1, input2, target, margin, pos_margin)
    return composites.reduced(each, weight, reduction)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    r"""``torch.nn.functional.cosine_similarity`` in one fused pass.

    .. math:: c = \frac{x_1 \cdot x_2}
        {\max(\lVert x_1 \rVert, eps)\,\max(\lVert x_2 \rVert, eps)}

    Args:
        x1: Rows along ``dim``.
        x2: Rows along ``dim``; other axes are broadcast.
        dim: The feature axis.
        eps: Smallest norm to divide by.

    Returns:
        The similarity of each pair of rows.

    Raises:
        RuntimeError, IndexError: as torch does.
        TypeError: a tensor on another kind of device, sparse, nested or quantised.

    Singular points: a zero row has similarity 0; its gradient is that of ``x1 · x2`` alone.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import cosine_similarity
        >>> cosine_similarity(torch.tensor([[3.0, 4.0]]), torch.tensor([[6.0, 8.0]])).tolist()
        [1.0]
    """
    if (
        (forms := _forms((x1, x2)))
        and type(dim) is int
        and type(eps) in _NUMBERS
        and eps >= 0
        and x1.ndim == x2.ndim
        and -x1.ndim <= dim < x1.ndim
        and x1.shape[dim] == x2.shape[dim]
        and _are_broadcast(x1.shape, x2.shape)
    ):
        result = _autocast(x1, x2, everywhere=False)

        def again(x1: Tensor, x2: Tensor, target: None, weight: None) -> Tensor:
            x1, x2 = _cast(result, x1, x2)
            return F.cosine_similarity(x1, x2, dim, eps)

        similarity = angles.clamped_cosine_similarity(eps)
        problem = Problem(
            losses.identity, similarity, ("x1", "x2"), (x1, x2), axis=dim, reduction="none"
        )
        return evaluate(problem, forms=forms, composite=again, result=result)
    _refuse(x1=x1, x2=x2)
    return F.cosine_similarity(x1, x2, dim, eps)


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    r"""``torch.nn.functional.pairwise_distance`` in one fused pass.

    .. math:: d = \lVert x_1 - x_2 + eps \rVert_p

    Args:
        x1: Rows ``(..., D)``.
        x2: Rows ``(..., D)``; leading axes are broadcast.
        p: Which norm; inf is the largest component.
        eps: Added to every difference, signed.
        keepdim: Whether the feature axis stays, with length 1.

    Returns:
        The distance of each pair of rows.

    Raises:
        RuntimeError: as torch does.
        TypeError: a tensor on another kind of device, sparse, nested or quantised.

    Singular points: where the distance is 0 the gradient is 0; components that share the maximum
    norm share its gradient.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import pairwise_distance
        >>> x, y = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])
        >>> pairwise_distance(x, y, p=1, eps=0).tolist()
        [7.0]
    """
    if (forms := _forms((x1, x2))) and _is_norm(p, eps) and _are_rows(x1, x2):
        result = _autocast(x1, x2, everywhere=False)

        def again(x1: Tensor, x2: Tensor, target: None, weight: None) -> Tensor:
            x1, x2 = _cast(result, x1, x2)
            return F.pairwise_distance(x1, x2, p, eps)

        problem = Problem(
            losses.identity,
            distances.lp(p, eps),
            ("x1", "x2"),
            (x1, x2),
            reduction="none",
        )
        value = evaluate(problem, forms=forms, composite=again, result=result)
        return value.unsqueeze(-1) if keepdim else value
    _refuse(x1=x1, x2=x2)
    return F.pairwise_distance(x1, x2, p, eps, keepdim)


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
    if (
        (forms := _forms((anchor, positive, negative), weight=weight))
        and _is_usual(size_average, reduce, reduction)
        and type(margin) in _NUMBERS
        and margin > 0
        and _is_norm(p, eps)
        and anchor.ndim == positive.ndim == negative.ndim
        and _are_rows(anchor, positive, negative)
    ):
        result = _autocast(anchor, positive, negative)

        def again(a: Tensor, p_: Tensor, n: Tensor, target: None, weight: Any) -> Tensor:
            a, p_, n = _cast(result, a, p_, n)
            if weight is None:
                return F.triplet_margin_loss(a, p_, n, margin, p, eps, swap, reduction=reduction)
            each = F.triplet_margin_loss(a, p_, n, margin, p, eps, swap, reduction="none")
            return composites.reduced(each, weight, reduction)

        record = distances.lp(p, eps)
        rows = anchor, positive, negative
        problem = api._triplet(*rows, record, float(margin), swap, -1, weight, reduction)
        return evaluate(problem, forms=forms, composite=again, result=result)
    _refuse(anchor=anchor, positive=positive, negative=negative, weight=weight)
    if weight is None:
        return F.triplet_margin_loss(
            anchor, positive, negative, margin, p, eps, swap, size_average, reduce, reduction
        )
    reduction = _reduction(size_average, reduce, reduction)
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
    record, in_torch = _distance(distance_function)
    if (
        (forms := _forms((anchor, positive, negative), weight=weight))
        and reduction in _REDUCTIONS
        and type(margin) in _NUMBERS
        and margin > 0
        and anchor.ndim == positive.ndim == negative.ndim
    ):
        if record is not None and _are_rows(anchor, positive, negative):
            result = _autocast(anchor, positive, negative, everywhere=False)

            def again(a: Tensor, p: Tensor, n: Tensor, target: None, weight: Any) -> Tensor:
                a, p, n = _cast(result, a, p, n)
                measured = _measured(_in_torch(in_torch, record), a, p, n, swap)
                return composites.reduced(composites.triplet(*measured, margin), weight, reduction)

            rows = anchor, positive, negative
            problem = api._triplet(*rows, record, float(margin), swap, -1, weight, reduction)
            return evaluate(problem, forms=forms, composite=again, result=result)
        if record is None and in_torch is not None:
            measured = _measured(in_torch, anchor, positive, negative, swap)
            return _of_distances(*measured, margin, weight, reduction)
    _refuse(anchor=anchor, positive=positive, negative=negative, weight=weight)
    function = _in_torch(in_torch, record)
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
    return composites.reduced(each, weight, _reduction(None, None, reduction))


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
    if (
        (forms := _forms((input,), target, weight))
        and _is_usual(size_average, reduce, reduction)
        and type(margin) in _NUMBERS
        and target.shape == input.shape
    ):
        result = _autocast(input)

        def again(input: Tensor, target: Tensor, weight: Any) -> Tensor:
            (input,) = _cast(result, input)
            if weight is None:
                return F.hinge_embedding_loss(input, target, margin, reduction=reduction)
            each = F.hinge_embedding_loss(input, target, margin, reduction="none")
            return composites.reduced(each, weight, reduction)

        problem = Problem(
            losses.hinge_embedding,
            None,
            ("input",),
            (input,),
            (float(margin), 1.0),
            target=_labels(target),
            weight=weight,
            reduction=reduction,
            validate=False,
        )
        return evaluate(problem, forms=forms, composite=again, result=result)
    _refuse(input=input, target=target, weight=weight)
    if weight is None:
        return F.hinge_embedding_loss(input, target, margin, size_average, reduce, reduction)
    reduction = _reduction(size_average, reduce, reduction)
    each = F.hinge_embedding_loss(input, target, margin, reduction="none")
    return composites.reduced(each, weight, reduction)


# --------------------------------------------------------------------------------------------------
# Which calls are plain
# --------------------------------------------------------------------------------------------------


def _forms(rows: tuple[Tensor, ...], target: Any = _NO_TARGET, weight: Any = None) -> Forms:
    """What tensors look like that the kernels can read, and nobody wants to see how; else None.

    The rows, then target and weight: None where that is no tensor, or is to be converted first.
    """
    if not is_ordinary():
        return None
    forms: list[Form] = []
    for t in rows:
        form = direct(t)
        if not form or form.dtype not in FLOATS or 0 in form.shape:
            return None
        forms.append(form)
    device = forms[0].device
    if any([form.device != device for form in forms]):
        return None
    of_target = of_weight = None
    if target is not _NO_TARGET:
        of_target = direct(target)
        if of_target is None or of_target.device != device:
            return None
        if of_target.dtype in _CONVERTED:
            of_target = None
    if isinstance(weight, Tensor):
        of_weight = form_of(weight) if is_exact(weight) and not unfit(weight) else None
        if of_weight is None or of_weight.device != device:
            return None
        if weight.is_neg():
            of_weight = None
    return *forms, of_target, of_weight


def _refuse(**tensors: Any) -> None:
    """Raises for tensors that are neither the kernels' nor, for now, torch's.

    Raises:
        TypeError: on another kind of device, sparse, nested or quantised.
    """
    if not is_ordinary():
        return
    for name, t in tensors.items():
        if is_exact(t) and not (t.is_meta or t.is_complex()):
            odd = t.is_quantized or t.is_nested or t.layout is not torch.strided
            if odd or not (t.is_cpu or t.is_cuda):
                kind = "quantised" if t.is_quantized else f"of layout {t.layout}"
                kind = "nested" if t.is_nested else kind if odd else f"on {t.device}"
                raise TypeError(
                    f"{name} is {kind}: fastcos takes strided tensors on the CPU or on a CUDA"
                    " device; torch.nn.functional has this loss for others"
                )


def _is_usual(size_average: bool | None, reduce: bool | None, reduction: str) -> bool:
    return size_average is None and reduce is None and reduction in _REDUCTIONS


def _reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction that is meant, with torch's warning or error."""
    if size_average is not None or reduce is not None:
        return legacy.legacy_get_string(size_average, reduce)
    legacy.get_enum(reduction)
    return reduction


def _is_norm(p: Any, eps: Any) -> bool:
    return type(p) in _NUMBERS and type(eps) in _NUMBERS and p > 0 and 0 <= eps < float("inf")


def _are_pairs(input1: Tensor, input2: Tensor, target: Tensor) -> bool:
    """Whether this is a pair of rows, or two matrices of as many rows or one, and labels to fit."""
    one, two = input1.shape, input2.shape
    if len(one) == len(two) == 2 and target.ndim == 1:
        n = max(one[0], two[0])
        return one[1] == two[1] and {one[0], two[0], target.shape[0]} <= {1, n}
    return len(one) == 1 and one == two and target.ndim == 0


def _are_rows(first: Tensor, *others: Tensor) -> bool:
    """Whether these are rows of one length, their leading axes broadcast."""
    shape = first.shape
    return first.ndim > 0 and all(
        [
            t.shape == shape
            or (t.ndim > 0 and t.shape[-1] == shape[-1] and _are_broadcast(t.shape, shape))
            for t in others
        ]
    )


def _are_broadcast(a: torch.Size, b: torch.Size) -> bool:
    return all(m == n or m == 1 or n == 1 for m, n in zip(reversed(a), reversed(b), strict=False))


# --------------------------------------------------------------------------------------------------
# Pieces
# --------------------------------------------------------------------------------------------------


def _labels(target: Tensor) -> Tensor:
    """Targets as torch compares them with 1 and -1: True is 1, and of uint8 255 is -1."""
    return target.to(torch.int8) if target.dtype in _CONVERTED else target


def _autocast(*inputs: Tensor, everywhere: bool = True) -> torch.dtype | None:
    """float32 where autocast computes in it what is given in a half type.

    That is the losses ``everywhere``, what they are made of on a GPU only.
    """
    if inputs[0].itemsize == 2 and (everywhere or inputs[0].is_cuda):
        enabled = torch.is_autocast_enabled(inputs[0].device.type)
        return torch.float32 if enabled and all([t.itemsize == 2 for t in inputs]) else None
    return None


def _cast(result: torch.dtype | None, *inputs: Tensor) -> tuple[Tensor, ...]:
    return inputs if result is None else tuple([t.to(result) for t in inputs])


def _distance(given: Any) -> tuple[Distance | None, Callable[..., Tensor] | None]:
    """A distance as a record for the kernels and as a function for torch, each if there is one."""
    if given is None or given is F.pairwise_distance or given is pairwise_distance:
        return distances.euclidean(1e-6), F.pairwise_distance
    if isinstance(given, torch.nn.PairwiseDistance):
        from .modules import PairwiseDistance

        known = type(given) in (torch.nn.PairwiseDistance, PairwiseDistance)
        if known and not given.keepdim and _is_norm(given.norm, given.eps):
            return distances.lp(given.norm, given.eps), given
        return None, given
    resolved = resolve_distance("distance_function", given)
    if isinstance(resolved, Distance):
        return resolved, composites.distance(resolved)
    return None, resolved


def _in_torch(
    function: Callable[..., Tensor] | None, record: Distance | None
) -> Callable[..., Tensor]:
    if function is not None:  # torch 2.11 cannot compile a function's truth
        return function
    name = record.name if record else "?"
    raise TypeError(
        f"the distance {name} has a first derivative on plain tensors, and nothing else: for second"
        " derivatives, transforms and compilation pass a function of torch operators"
    )


def _measured(
    function: Callable[..., Tensor], a: Tensor, p: Tensor, n: Tensor, swap: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    return function(a, p), function(a, n), function(p, n) if swap else None


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
    forms = _forms(given, weight=weight)
    if not forms or any([d.shape != positive.shape for d in given]):
        each = composites.triplet(positive, negative, swapped, margin)
        return composites.reduced(each, weight, reduction)

    def again(positive: Tensor, negative: Tensor, *rest: Any) -> Tensor:
        swapped, weight = rest[0] if len(rest) == 3 else None, rest[-1]
        each = composites.triplet(positive, negative, swapped, margin)
        return composites.reduced(each, weight, reduction)

    pairs = ("anchor, positive", "anchor, negative", "positive, negative")
    names = [f"distance({pair})" for pair in pairs[: len(given)]]
    problem = Problem(
        losses.triplet if swapped is None else losses.triplet_swap,
        None,
        tuple(names),
        given,
        (float(margin), 0.0),
        weight=weight,
        reduction=reduction,
    )
    return evaluate(problem, forms=forms, composite=again)
