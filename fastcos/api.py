"""The public functions. Each states its problem in terms of the records; ``_dispatch`` solves it.

All of them take any number of leading batch axes and broadcast them without copying; float16,
bfloat16, float32, float64, integers and bool; sums are kept in float64. They return arrays of the
kind and dtype that went in, a scalar where one number is left.
"""

from __future__ import annotations

import functools
import inspect
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, Literal, ParamSpec, TypeVar, overload

import numpy.typing as npt

from fastcos import _dispatch, _names, _plan, distances, losses
from fastcos._dispatch import Problem
from fastcos._plan import Form
from fastcos.distances import Distance, angles
from fastcos.typing import (
    Argnums,
    Array,
    ArrayLike,
    DistanceLike,
    IsTensor,
    Reduced,
    Reduction,
    Result,
    Scalar,
    Tensor,
)

__all__ = [
    "cosine_distance_loss",
    "cosine_embedding_loss",
    "cosine_similarity",
    "grad",
    "hinge_embedding_loss",
    "paired_distance",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
    "value_and_grad",
]

P = ParamSpec("P")
OfTensors = TypeVar("OfTensors")
OfArrays = TypeVar("OfArrays")
Function = TypeVar("Function", bound=Callable[..., Any])

_PUBLIC: set[Any] = set()


def _not_compiled(function: Function) -> Function:
    """What torch.compiler.disable does, by the attributes that it sets: torch is not imported."""
    vars(function)["_torchdynamo_disable"] = True
    vars(function)["_torchdynamo_disable_msg"] = (
        "it runs a kernel and none of torch's operators; the functions of fastcos.adapters.torch"
        " can be compiled"
    )
    return function


def __dir__() -> list[str]:
    return __all__


def _public(problem: Callable[P, Result]) -> Callable[P, Result]:
    """A function that states a problem, as one that returns its value.

    It is annotated with what the public one returns, which has its signature.
    """

    @_not_compiled
    @functools.wraps(problem)
    def function(*args: P.args, **kwargs: P.kwargs) -> Result:
        recalled = _recalled(problem, (), args, kwargs)
        if recalled is not None:
            return _dispatch.again(*recalled)[0]
        return _dispatch.evaluate(_stated(function, args, kwargs))

    _PUBLIC.add(function)
    return function


def _stated(
    loss: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any], *more: str
) -> Problem:
    """The problem of a call of a public function.

    Raises:
        TypeError: an option that neither it nor ``more`` has, with those that there are.
    """
    problem: Callable[..., Problem] = loss.__wrapped__  # type: ignore[attr-defined]
    try:
        return problem(*args, **options)
    except TypeError:
        known = (*_arguments(problem), *more)
        unknown = [name for name in options if name not in known]
        if not unknown:
            raise
    (name, *_), instead = unknown, _names.OPTIONS_ELSEWHERE
    if instead.get(name) in known:
        hint = f": did you mean {instead[name]!r}?"
    elif name in ("argnums", "grad_output", "out"):
        hint = ": that is for fastcos.value_and_grad and what it returns."
    else:
        hint = _names.hint(name, known) or "."
    raise TypeError(
        f"{loss.__name__}() got an unexpected keyword argument {name!r}{hint}"
        f" {loss.__name__} takes {', '.join(known)}"
    )


def _arguments(problem: Callable[..., Problem]) -> tuple[str, ...]:
    """The names of the arguments of a function."""
    code = problem.__code__
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


# --------------------------------------------------------------------------------------------------
# Most calls look like an earlier one but for the numbers in their arrays. What they come to is kept
# by the function, the layout of the arrays and the options: for a few rows a call takes longer than
# its kernel, and half of that is to find out what to do.
# --------------------------------------------------------------------------------------------------

# What is of these types makes the same call where it is equal. Anything else may be an array.
_PLAIN = {str, int, float, bool, type(None), Distance}
_NO_SIGNS: tuple[float, ...] = ()


def _recalled(
    loss: Callable[..., Problem],
    wanted: tuple[str, ...],
    args: tuple[Any, ...],
    options: dict[str, Any],
    grad_output: Any = None,
    buffers: Sequence[Any] = (),
) -> tuple[_dispatch.Known, tuple[Any, ...]] | None:
    """What is known of a call, and its arrays; None where there is more to it.

    Wanted are the names of what gradients are asked for, the buffers those of the caller for them.
    """
    named = tuple(options.values())
    given = args + named
    adapter = _dispatch.adapter_of(type(given[0])) if given else None  # type: ignore[arg-type]
    if adapter is None or adapter.records or adapter.elsewhere(given) is not None:
        return None
    direct, upstream, signs = adapter.direct, None, _NO_SIGNS
    if grad_output is not None:
        upstream = direct(grad_output)
        # One that is a number makes the same call whatever it is.
        if upstream is None and not _dispatch.is_number(grad_output):
            return None
    looks, arrays, plain = [*map(direct, args)], args, named
    try:
        # Mostly arrays come by position and nothing else does.
        if None not in looks and _PLAIN.issuperset(map(type, named)):
            looks += named
        else:
            looks = [*map(direct, given)]
            plain = tuple([x for x, look in zip(given, looks, strict=True) if look is None])
            if not _PLAIN.issuperset(map(type, plain)):
                return None
            arrays = tuple([value for value, look in zip(given, looks, strict=True) if look])
            looks = [x if look is None else look for x, look in zip(given, looks, strict=True)]
        records = [value for value in plain if type(value) is Distance]
        if records:
            # 0.0 is -0.0 for a key, but not for every distance.
            signs = tuple([math.copysign(1, p) for record in records for p in record.parameters])
        if buffers:
            others = arrays if upstream is None else (*arrays, grad_output)
            into = [*map(direct, buffers)]
            if None in into or not adapter.apart(buffers, others):
                return None
            looks += into
        kept = _kept(loss, wanted, adapter, len(args), tuple(options), signs, *looks, upstream)
    except (TypeError, OverflowError):
        return None  # lists, as parameters of a distance: they may change
    return kept and (kept[0], kept[1]((*given, *buffers, grad_output)))


# By type too: 1 is True and 1.0 for a key.
@functools.lru_cache(maxsize=1024, typed=True)
def _kept(
    loss: Callable[..., Problem],
    wanted: tuple[str, ...],
    adapter: Any,
    positions: int,
    names: tuple[str, ...],
    signs: tuple[float, ...],
    *looks: Any,
) -> tuple[_dispatch.Known, Callable[[tuple[Any, ...]], tuple[Any, ...]]] | None:
    """What is known of a call, and what takes from its arguments those of ``_dispatch.again``.

    It looks like this: arguments by position and by name, buffers, and the upstream gradient; a
    form in place of each array.
    """
    count = positions + len(names)
    buffers, upstream = looks[count:-1], looks[-1]
    try:
        options = dict(zip(names, looks[positions:count], strict=True))
        problem = loss(*looks[:positions], **options)
        weight = None if _dispatch.is_no_weight(problem.weight) else problem.weight
        target = problem.target if problem.loss.labelled else None
        forms = (*problem.operands, *[x for x in (target, weight) if x is not None])
        # No number among them, and no array among the options, which would be taken for its form.
        arrays = [look for look in looks[:count] if type(look) is Form]
        if sorted(map(id, forms)) != sorted(map(id, arrays)):
            return None
        _check_weighted(problem, wanted)
        known = _dispatch.learn(
            adapter, problem, wanted, problem.operands, target, weight, upstream, buffers
        )
    except (TypeError, ValueError):
        return None  # to be raised where the arrays are at hand, and not their forms
    if known is None:
        return None
    # By identity, for two arrays may look the same. What there is none of is not looked at.
    where = {id(form): place for place, form in enumerate(looks)}
    taken = *problem.operands, target, weight, upstream
    return known, operator.itemgetter(*[where.get(id(form), -1) for form in taken])


@overload
def cosine_similarity(
    x1: IsTensor,
    x2: ArrayLike,
    *,
    axis: int = ...,
    eps: float = ...,
) -> Tensor: ...
@overload
def cosine_similarity(
    x1: npt.ArrayLike,
    x2: ArrayLike,
    *,
    axis: int = ...,
    eps: float = ...,
) -> Array: ...
@_public
def cosine_similarity(
    x1: ArrayLike,
    x2: ArrayLike,
    *,
    axis: int = -1,
    eps: float = 0.0,
) -> Result:
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
    return Problem(
        losses.identity,
        angles.cosine_similarity(eps),
        ("x1", "x2"),
        (x1, x2),
        axis=axis,
        reduction="none",
    )


@overload
def paired_distance(
    x1: IsTensor,
    x2: ArrayLike,
    distance: DistanceLike | Callable[[Any, Any], Any] = ...,
    *,
    axis: int = ...,
) -> Tensor: ...
@overload
def paired_distance(
    x1: npt.ArrayLike,
    x2: ArrayLike,
    distance: DistanceLike | Callable[[Any, Any], Any] = ...,
    *,
    axis: int = ...,
) -> Array: ...
@_public
def paired_distance(
    x1: ArrayLike,
    x2: ArrayLike,
    distance: DistanceLike | Callable[[Any, Any], Any] = "euclidean",
    *,
    axis: int = -1,
) -> Result:
    r"""The distance between row i of one array and row i of another.

    .. math:: d_i = d(x_{1,i}, x_{2,i})

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
    return Problem(
        losses.identity,
        _dispatch.resolve_distance("distance", distance),
        ("x1", "x2"),
        (x1, x2),
        axis=axis,
        reduction="none",
    )


@overload
def cosine_embedding_loss(
    input1: IsTensor,
    input2: ArrayLike,
    target: ArrayLike,
    *,
    margin: float = ...,
    pos_margin: float = ...,
    eps: float = ...,
    axis: int = ...,
    weight: ArrayLike | None = ...,
    reduction: Reduction = ...,
    validate: bool | None = ...,
) -> Tensor: ...
@overload
def cosine_embedding_loss(
    input1: npt.ArrayLike,
    input2: ArrayLike,
    target: ArrayLike,
    *,
    margin: float = ...,
    pos_margin: float = ...,
    eps: float = ...,
    axis: int = ...,
    weight: ArrayLike | None = ...,
    reduction: Literal["none"],
    validate: bool | None = ...,
) -> Array: ...
@overload
def cosine_embedding_loss(
    input1: npt.ArrayLike,
    input2: ArrayLike,
    target: ArrayLike,
    *,
    margin: float = ...,
    pos_margin: float = ...,
    eps: float = ...,
    axis: int = ...,
    weight: ArrayLike | None = ...,
    reduction: Reduced = ...,
    validate: bool | None = ...,
) -> Scalar: ...
@_public
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
        Payne et al., as ``torch.nn.CosineEmbeddingLoss``; seed documents 000 (``pos_margin``) and
        003.
    """
    return Problem(
        losses.cosine_embedding,
        distances.cosine(eps),
        ("input1", "input2"),
        (input1, input2),
        (
            _plan.check_finite("margin", margin),
            _plan.check_finite("pos_margin", pos_margin),
            math.nan,
        ),
        axis=axis,
        target=target,
        weight=weight,
        reduction=reduction,
        validate=_plan.check_flag("validate", validate, optional=True),
    )


@overload
def cosine_distance_loss(
    labels: IsTensor,
    predictions: ArrayLike,
    *,
    axis: int = ...,
    weights: ArrayLike = ...,
    normalize: bool = ...,
    eps: float = ...,
    reduction: Reduction = ...,
) -> Tensor: ...
@overload
def cosine_distance_loss(
    labels: npt.ArrayLike,
    predictions: ArrayLike,
    *,
    axis: int = ...,
    weights: ArrayLike = ...,
    normalize: bool = ...,
    eps: float = ...,
    reduction: Literal["none"],
) -> Array: ...
@overload
def cosine_distance_loss(
    labels: npt.ArrayLike,
    predictions: ArrayLike,
    *,
    axis: int = ...,
    weights: ArrayLike = ...,
    normalize: bool = ...,
    eps: float = ...,
    reduction: Reduced = ...,
) -> Scalar: ...
@_public
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
        TensorFlow 1, ``tf.losses.cosine_distance``; seed document 001.
    """
    return Problem(
        losses.identity,
        distances.cosine(eps) if _plan.check_flag("normalize", normalize) else distances.dot(),
        ("labels", "predictions"),
        (labels, predictions),
        axis=axis,
        weight=weights,
        weight_name="weights",
        reduction=reduction,
    )


@overload
def triplet_margin_loss(
    anchor: IsTensor,
    positive: ArrayLike,
    negative: ArrayLike,
    *,
    margin: float = ...,
    p: float = ...,
    eps: float = ...,
    swap: bool = ...,
    axis: int = ...,
    weight: ArrayLike | None = ...,
    reduction: Reduction = ...,
) -> Tensor: ...
@overload
def triplet_margin_loss(
    anchor: npt.ArrayLike,
    positive: ArrayLike,
    negative: ArrayLike,
    *,
    margin: float = ...,
    p: float = ...,
    eps: float = ...,
    swap: bool = ...,
    axis: int = ...,
    weight: ArrayLike | None = ...,
    reduction: Literal["none"],
) -> Array: ...
@overload
def triplet_margin_loss(
    anchor: npt.ArrayLike,
    positive: ArrayLike,
    negative: ArrayLike,
    *,
    margin: float = ...,
    p: float = ...,
    eps: float = ...,
    swap: bool = ...,
    axis: int = ...,
    weight: ArrayLike | None = ...,
    reduction: Reduced = ...,
) -> Scalar: ...
@_public
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
    return _triplet(
        anchor,
        positive,
        negative,
        distances.lp(p, eps),
        _plan.check_finite("margin", margin),
        swap,
        axis,
        weight,
        reduction,
    )


@overload
def triplet_margin_with_distance_loss(
    anchor: IsTensor,
    positive: ArrayLike,
    negative: ArrayLike,
    *,
    distance_function: DistanceLike | Callable[[Any, Any], Any] | None = ...,
    margin: float = ...,
    swap: bool = ...,
    axis: int = ...,
    weight: ArrayLike | None = ...,
    reduction: Reduction = ...,
) -> Tensor: ...
@overload
def triplet_margin_with_distance_loss(
    anchor: npt.ArrayLike,
    positive: ArrayLike,
    negative: ArrayLike,
    *,
    distance_function: DistanceLike | Callable[[Any, Any], Any] | None = ...,
    margin: float = ...,
    swap: bool = ...,
    axis: int = ...,
    weight: ArrayLike | None = ...,
    reduction: Literal["none"],
) -> Array: ...
@overload
def triplet_margin_with_distance_loss(
    anchor: npt.ArrayLike,
    positive: ArrayLike,
    negative: ArrayLike,
    *,
    distance_function: DistanceLike | Callable[[Any, Any], Any] | None = ...,
    margin: float = ...,
    swap: bool = ...,
    axis: int = ...,
    weight: ArrayLike | None = ...,
    reduction: Reduced = ...,
) -> Scalar: ...
@_public
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
        Balntas et al., BMVC 2016; seed document 002.
    """
    return _triplet(
        anchor,
        positive,
        negative,
        distances.euclidean(1e-6)
        if distance_function is None
        else _dispatch.resolve_distance("distance_function", distance_function),
        _plan.check_finite("margin", margin),
        swap,
        axis,
        weight,
        reduction,
    )


def _triplet(
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
        losses.triplet_swap if _plan.check_flag("swap", swap) else losses.triplet,
        distance,
        ("anchor", "positive", "negative"),
        (anchor, positive, negative),
        (margin, math.nan),
        axis=axis,
        weight=weight,
        reduction=reduction,
    )


@overload
def hinge_embedding_loss(
    input: IsTensor,
    target: ArrayLike,
    *,
    margin: float = ...,
    weight: ArrayLike | None = ...,
    reduction: Reduction = ...,
    validate: bool | None = ...,
) -> Tensor: ...
@overload
def hinge_embedding_loss(
    input: npt.ArrayLike,
    target: ArrayLike,
    *,
    margin: float = ...,
    weight: ArrayLike | None = ...,
    reduction: Literal["none"],
    validate: bool | None = ...,
) -> Array: ...
@overload
def hinge_embedding_loss(
    input: npt.ArrayLike,
    target: ArrayLike,
    *,
    margin: float = ...,
    weight: ArrayLike | None = ...,
    reduction: Reduced = ...,
    validate: bool | None = ...,
) -> Scalar: ...
@_public
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
        ``torch.nn.HingeEmbeddingLoss``; seed document 003.
    """
    return Problem(
        losses.hinge_embedding,
        None,
        ("input",),
        (input,),
        (_plan.check_finite("margin", margin), math.nan),
        target=target,
        weight=weight,
        reduction=reduction,
        validate=_plan.check_flag("validate", validate, optional=True),
    )


@overload
def value_and_grad(  # type: ignore[overload-overlap]  # a name is a sequence, too
    loss: Callable[..., Any], argnums: int | str
) -> Transformed[tuple[Tensor, Tensor], tuple[Any, Array]]: ...
@overload
def value_and_grad(
    loss: Callable[..., Any], argnums: Sequence[int | str] | None = ...
) -> Transformed[tuple[Tensor, tuple[Tensor, ...]], tuple[Any, tuple[Array, ...]]]: ...
@_not_compiled
def value_and_grad(loss: Callable[..., Any], argnums: Argnums = None) -> Transformed[Any, Any]:
    r"""A function that returns a loss and its gradients, from one pass over the data.

    .. math:: f(\ldots) = \bigl(l,\ (\partial l / \partial x_1, \ldots) \cdot grad\_output\bigr)

    Args:
        loss: A function of this module.
        argnums: With respect to what: positions or names of embedding arguments, or the name of the
            per-sample weight. None stands for all embedding arguments. One position or name, not
            in a sequence, gives one gradient, not in a tuple.

    Returns:
        ``f(*args, grad_output=None, out=None, **kwargs) -> (value, grads)``, which takes the
        arguments of ``loss`` and two more; ``help(f)`` lists them. ``grad_output`` is the upstream
        gradient: a scalar, or with ``reduction="none"`` one value per sample. ``out`` is the
        buffers to write the gradients to, in the order of ``argnums``; they are what is returned
        then. A gradient has the shape of its argument, summed over broadcast axes, and its dtype
        (that of the loss where the argument is of integers). ``f`` can be pickled.

    Raises:
        TypeError: ``loss`` is not a function of this module; ``argnums`` names something that has
            no gradient, such as ``target``; a gradient through a callable distance.
        ValueError: what the loss raises; ``out`` of the wrong shape, read-only, or sharing memory
            with an argument. A failed call leaves ``out`` as it was.

    Example:
        >>> import numpy as np, fastcos
        >>> f = fastcos.value_and_grad(fastcos.cosine_embedding_loss, argnums="input1")
        >>> loss, g1 = f(np.array([[1.0, 0.0]]), np.array([[0.6, 0.8]]), [1])
        >>> g1
        array([[ 0. , -0.8]])
    """
    return Transformed(loss, argnums, valued=True)


@overload
def grad(  # type: ignore[overload-overlap]
    loss: Callable[..., Any], argnums: int | str
) -> Transformed[Tensor, Array]: ...
@overload
def grad(
    loss: Callable[..., Any], argnums: Sequence[int | str] | None = ...
) -> Transformed[tuple[Tensor, ...], tuple[Array, ...]]: ...
@_not_compiled
def grad(loss: Callable[..., Any], argnums: Argnums = None) -> Transformed[Any, Any]:
    r"""A function that returns the gradients of a loss: :func:`value_and_grad` without the value.

    .. math:: f(\ldots) = (\partial l / \partial x_1, \ldots) \cdot grad\_output

    Args:
        loss: As in :func:`value_and_grad`.
        argnums: As in :func:`value_and_grad`.

    Returns:
        ``f(*args, grad_output=None, out=None, **kwargs) -> grads``.

    Raises:
        TypeError: as :func:`value_and_grad`.
        ValueError: as :func:`value_and_grad`.

    Example:
        >>> import numpy as np, fastcos
        >>> fastcos.grad(fastcos.hinge_embedding_loss)(np.array([0.25, 2.0]), [-1, -1])
        (array([-0.5,  0. ]),)
    """
    return Transformed(loss, argnums, valued=False)


class Transformed(Generic[OfTensors, OfArrays]):
    r"""A function of the arguments of a loss: what :func:`value_and_grad` and :func:`grad` return.

    .. math:: f(\ldots) = \bigl(l,\ (\partial l / \partial x_1, \ldots) \cdot grad\_output\bigr)

    No plain function, for that could not be pickled. Those of one loss and one choice of its
    arguments are equal; none can be changed.
    """

    loss: Any
    state: Callable[..., Problem]
    wanted: tuple[str, ...]
    alone: bool
    valued: bool

    def __init__(self, loss: Callable[..., Any], argnums: Argnums, *, valued: bool) -> None:
        if loss not in _PUBLIC:
            raise TypeError(f"loss must be a function of fastcos, got {loss!r}")
        alone = isinstance(argnums, (int, str))
        self.__dict__.update(
            _described(loss, valued, alone),
            loss=loss,
            state=loss.__wrapped__,  # type: ignore[attr-defined]
            wanted=_wanted(loss, argnums),
            alone=alone,
            valued=valued,
        )

    @overload
    def __call__(
        self, x: IsTensor, /, *args: Any, grad_output: Any = ..., out: Any = ..., **kwargs: Any
    ) -> OfTensors: ...
    @overload
    def __call__(
        self,
        x: npt.ArrayLike,
        /,
        *args: Any,
        grad_output: Any = ...,
        out: Any = ...,
        **kwargs: Any,
    ) -> OfArrays: ...
    @overload
    def __call__(self, /, *, grad_output: Any = ..., out: Any = ..., **kwargs: Any) -> Any: ...
    @_not_compiled
    def __call__(
        self, /, *args: Any, grad_output: Any = None, out: Any = None, **kwargs: Any
    ) -> Any:
        """The gradients of a call of the loss, and its value."""
        wanted, alone = self.wanted, self.alone
        buffers: Any = ()
        fits = True
        if out is not None:
            buffers = (out,) if alone and not isinstance(out, (tuple, list)) else out
            fits = isinstance(buffers, (tuple, list)) and len(buffers) == len(wanted)
        recalled = None
        if fits:
            recalled = _recalled(self.state, wanted, args, kwargs, grad_output, buffers)
        if recalled is not None:
            into: dict[str, Any] = dict(zip(wanted, buffers, strict=True)) if buffers else {}
            value, grads = _dispatch.again(*recalled, given=into)
        else:
            problem = _stated(self.loss, args, kwargs, "grad_output", "out")
            _check_weighted(problem, wanted)
            if not fits:
                length = f" of length {len(out)}" if isinstance(out, (tuple, list)) else ""
                raise TypeError(
                    f"out must hold one buffer for each of {', '.join(wanted)}, got a"
                    f" {type(out).__name__}{length}"
                )
            value, grads = _dispatch.solve(
                problem, wanted, grad_output, None if out is None else tuple(buffers)
            )
        chosen = grads[0] if alone else grads
        return (value, chosen) if self.valued else chosen

    def _key(self) -> tuple[Any, ...]:
        return self.loss, self.wanted, self.alone, self.valued

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Transformed) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __reduce__(self) -> tuple[Any, ...]:
        argnums = self.wanted[0] if self.alone else self.wanted
        return (value_and_grad if self.valued else grad), (self.loss, argnums)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{self!r} cannot be changed")

    def __repr__(self) -> str:
        transform, (loss, argnums) = self.__reduce__()
        return f"fastcos.{transform.__name__}(fastcos.{loss.__name__}, {argnums!r})"


@functools.cache
def _described(loss: Callable[..., Any], valued: bool, alone: bool) -> dict[str, Any]:
    """What ``help`` and ``inspect`` find of a transformed loss: its arguments and two more."""
    parameters = inspect.signature(loss).parameters.values()
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation="Any")
        for name in ("grad_output", "out")
    ]
    grads = "Result" if alone else "tuple[Result, ...]"
    returned = f"tuple[Result, {grads}]" if valued else grads
    signature = inspect.Signature([*parameters, *more], return_annotation=returned)
    transform = value_and_grad if valued else grad
    what = "The value and the gradients" if valued else "The gradients"
    value = "is the first of what is returned" if valued else "is not returned"
    doc = f"""{what} of :func:`{loss.__name__}`, as :func:`{transform.__name__}` says.

{loss.__name__}{signature}

``grad_output`` is the upstream gradient, ``out`` the buffers to write the gradients to. What
follows is the help of the loss itself, whose value {value}:

{inspect.getdoc(loss)}"""
    return {
        "__name__": loss.__name__,
        "__qualname__": loss.__qualname__,
        "__doc__": doc,
        "__wrapped__": loss,
        "__signature__": signature,
    }


def _wanted(loss: Callable[..., Any], argnums: Argnums) -> tuple[str, ...]:
    """The names that ``argnums`` stands for.

    Raises:
        TypeError: it stands for something that has no gradient, or for the same thing twice.
    """
    names, weights = _differentiable(loss)
    if argnums is None:
        return names
    several = [argnums] if isinstance(argnums, (int, str)) else argnums
    if not isinstance(several, Iterable):
        raise TypeError(f"argnums must be positions or names, got {argnums!r}")
    wanted = []
    for given in several:
        if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < len(names):
            wanted.append(names[given])
        elif isinstance(given, str) and given in (*names, *weights):
            wanted.append(given)
        else:
            raise TypeError(
                f"argnums must be among {', '.join(names)} (or their positions)"
                f"{''.join(f' and {name}' for name in weights)}; got {given!r}"
                f"{_names.hint(given, (*names, *weights))}"
            )
    if len(set(wanted)) < len(wanted):
        raise TypeError(f"argnums names an argument twice: {argnums!r}")
    return tuple(wanted)


@functools.cache
def _differentiable(loss: Callable[..., Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a public function has gradients of: its operands, and its weights if it takes any."""
    state: Callable[..., Problem] = loss.__wrapped__  # type: ignore[attr-defined]
    # A problem is stated without a look at its arrays.
    problem = state(*[None] * (state.__code__.co_argcount - len(state.__defaults__ or ())))
    weights = [name for name in _arguments(state) if name == problem.weight_name]
    return problem.names, tuple(weights)


def _check_weighted(problem: Problem, wanted: tuple[str, ...]) -> None:
    name = problem.weight_name
    if problem.weight is None and name in wanted:
        raise TypeError(f"the gradient of {name} needs {name} to be given")
