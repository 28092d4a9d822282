"""What torch's functions are asked, stated as problems with layouts in the place of tensors.

Each function here takes ``(autocast, looks, *options)`` and returns None where torch is to decide
what happens: for shapes and options that are not the kernels', and for all that is an error.
``looks`` are the layouts of the rows, then of the target where there is one, and at last of the
weight: False for one number, None for none. ``autocast`` is the dtype in which autocast wants what
is given in a half type, or None.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from fastcos import distances, losses
from fastcos.api.triplets import triplet_problem
from fastcos.distances import Distance, angles
from fastcos.engine.layout import Shape
from fastcos.engine.problem import Problem, resolve_distance

from . import composites
from .autocast import cast
from .calls import Composite

NUMBERS = (float, int)
_COSINE = distances.cosine(composites.EPS)


class Stated(NamedTuple):
    """What a function of torch's is asked, with layouts in place of tensors."""

    problem: Problem
    composite: Composite  # the same in torch's operators, for second derivatives
    result: torch.dtype | None = None  # of the value; None for the dtype that is computed in


def cosine_similarity(
    autocast: torch.dtype | None, looks: tuple[Any, ...], dim: Any, eps: Any
) -> Stated | None:
    """Of two tensors of rows along ``dim``."""
    x1, x2, _ = looks
    axes = len(x1.shape)
    if not (
        type(dim) is int
        and type(eps) in NUMBERS
        and eps >= 0
        and axes == len(x2.shape)
        and -axes <= dim < axes
        and x1.shape[dim] == x2.shape[dim]
        and are_broadcast(x1.shape, x2.shape)
    ):
        return None

    def in_operators(x1: Tensor, x2: Tensor, target: None, weight: None) -> Tensor:
        x1, x2 = cast(autocast, x1, x2)
        return F.cosine_similarity(x1, x2, dim, eps)

    similarity = angles.clamped_cosine_similarity(eps)
    problem = Problem(
        losses.identity, similarity, ("x1", "x2"), (x1, x2), axis=dim, reduction="none"
    )
    return Stated(problem, in_operators, autocast)


def pairwise_distance(
    autocast: torch.dtype | None, looks: tuple[Any, ...], p: Any, eps: Any
) -> Stated | None:
    """Of two tensors of rows."""
    x1, x2, _ = looks
    if not (is_norm(p, eps) and are_rows(x1, x2)):
        return None

    def in_operators(x1: Tensor, x2: Tensor, target: None, weight: None) -> Tensor:
        x1, x2 = cast(autocast, x1, x2)
        return F.pairwise_distance(x1, x2, p, eps)

    distance = distances.lp(p, eps)
    problem = Problem(losses.identity, distance, ("x1", "x2"), (x1, x2), reduction="none")
    return Stated(problem, in_operators, autocast)


def cosine_embedding(
    autocast: torch.dtype | None,
    looks: tuple[Any, ...],
    margin: Any,
    pos_margin: Any,
    reduction: str,
) -> Stated | None:
    """Of two tensors of rows, with labels."""
    input1, input2, target, weight = looks
    if not (
        type(margin) in NUMBERS
        and type(pos_margin) in NUMBERS
        and are_pairs(input1, input2, target)
    ):
        return None

    def in_operators(input1: Tensor, input2: Tensor, target: Tensor, weight: Any) -> Tensor:
        input1, input2 = cast(autocast, input1, input2)
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
        target=target,
        weight=weight,
        reduction=reduction,
        validate=False,
    )
    return Stated(problem, in_operators, autocast)


def triplet(
    autocast: torch.dtype | None,
    looks: tuple[Any, ...],
    margin: Any,
    p: Any,
    eps: Any,
    swap: Any,
    reduction: str,
) -> Stated | None:
    """Of three tensors of rows and a p-norm."""
    anchor, positive, negative, weight = looks
    rows = anchor, positive, negative
    if not (is_margin(margin) and is_norm(p, eps) and _are_triplets(*rows)):
        return None

    def in_operators(a: Tensor, p_: Tensor, n: Tensor, target: None, weight: Any) -> Tensor:
        a, p_, n = cast(autocast, a, p_, n)
        if weight is None:
            return F.triplet_margin_loss(a, p_, n, margin, p, eps, swap, reduction=reduction)
        each = F.triplet_margin_loss(a, p_, n, margin, p, eps, swap, reduction="none")
        return composites.reduced(each, weight, reduction)

    record = distances.lp(p, eps)
    problem = triplet_problem(*rows, record, float(margin), swap, -1, weight, reduction)
    return Stated(problem, in_operators, autocast)


def triplet_of(
    autocast: torch.dtype | None,
    looks: tuple[Any, ...],
    distance: str | Distance | None,
    p: float,
    eps: float,
    margin: Any,
    swap: Any,
    reduction: str,
) -> Stated | None:
    """Of three tensors of rows and a distance: its name or record; None for that p-norm."""
    anchor, positive, negative, weight = looks
    rows = anchor, positive, negative
    if not (is_margin(margin) and _are_triplets(*rows)):
        return None
    record: Any
    in_torch: Callable[..., Tensor] | None
    if distance is None:
        record = distances.lp(p, eps)
        in_torch = functools.partial(F.pairwise_distance, p=p, eps=eps)
    else:
        record = resolve_distance("distance_function", distance)
        in_torch = composites.distance(record)

    def in_operators(a: Tensor, p: Tensor, n: Tensor, target: None, weight: Any) -> Tensor:
        a, p, n = cast(autocast, a, p, n)
        found = measured(in_operators_of(in_torch, record), a, p, n, swap)
        return composites.reduced(composites.triplet(*found, margin), weight, reduction)

    problem = triplet_problem(*rows, record, float(margin), swap, -1, weight, reduction)
    return Stated(problem, in_operators, autocast)


def triplet_of_distances(
    autocast: None, looks: tuple[Any, ...], margin: Any, reduction: str
) -> Stated | None:
    """Of two or three tensors of distances."""
    *given, weight = looks
    if any([d.shape != given[0].shape for d in given]):
        return None

    def in_operators(positive: Tensor, negative: Tensor, *rest: Any) -> Tensor:
        swapped, weight = rest[0] if len(rest) == 3 else None, rest[-1]
        each = composites.triplet(positive, negative, swapped, margin)
        return composites.reduced(each, weight, reduction)

    pairs = ("anchor, positive", "anchor, negative", "positive, negative")
    names = [f"distance({pair})" for pair in pairs[: len(given)]]
    problem = Problem(
        losses.triplet if len(given) == 2 else losses.triplet_swap,
        None,
        tuple(names),
        tuple(given),
        (float(margin), 0.0),
        weight=weight,
        reduction=reduction,
    )
    return Stated(problem, in_operators)


def hinge_embedding(
    autocast: torch.dtype | None, looks: tuple[Any, ...], margin: Any, reduction: str
) -> Stated | None:
    """Of a tensor of distances, with labels."""
    input, target, weight = looks
    if not (type(margin) in NUMBERS and target.shape == input.shape):
        return None

    def in_operators(input: Tensor, target: Tensor, weight: Any) -> Tensor:
        (input,) = cast(autocast, input)
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
        target=target,
        weight=weight,
        reduction=reduction,
        validate=False,
    )
    return Stated(problem, in_operators, autocast)


def is_margin(margin: Any) -> bool:
    """Whether kernels have this margin of triplets, and torch too."""
    return type(margin) in NUMBERS and margin > 0


def _are_triplets(anchor: Any, positive: Any, negative: Any) -> bool:
    axes = len(anchor.shape)
    ranks = axes == len(positive.shape) == len(negative.shape)
    return ranks and are_rows(anchor, positive, negative)


def is_norm(p: Any, eps: Any) -> bool:
    """Whether kernels have this norm."""
    return type(p) in NUMBERS and type(eps) in NUMBERS and p > 0 and 0 <= eps < float("inf")


def are_pairs(input1: Any, input2: Any, target: Any) -> bool:
    """Whether this is a pair of rows, or two matrices of as many rows or one, and labels to fit."""
    one, two, labels = input1.shape, input2.shape, target.shape
    if len(one) == len(two) == 2 and len(labels) == 1:
        n = max(one[0], two[0])
        return one[1] == two[1] and {one[0], two[0], labels[0]} <= {1, n}
    return len(one) == 1 and one == two and not labels


def are_rows(first: Any, *others: Any) -> bool:
    """Whether these are rows of one length, their leading axes broadcast."""
    shape = first.shape
    return len(shape) > 0 and all(
        [
            look.shape == shape
            or (
                len(look.shape) > 0
                and look.shape[-1] == shape[-1]
                and are_broadcast(look.shape, shape)
            )
            for look in others
        ]
    )


def are_broadcast(a: Shape, b: Shape) -> bool:
    """Whether two shapes broadcast."""
    return all(m == n or m == 1 or n == 1 for m, n in zip(reversed(a), reversed(b), strict=False))


def in_operators_of(
    function: Callable[..., Tensor] | None, record: Distance | None
) -> Callable[..., Tensor]:
    """The function of torch's operators for a distance.

    Raises:
        TypeError: there is none.
    """
    if function is not None:  # torch 2.11 cannot compile a function's truth
        return function
    name = record.name if record else "?"
    raise TypeError(
        f"the distance {name} has a first derivative on plain tensors, and nothing else: for second"
        " derivatives, transforms and compilation pass a function of torch operators"
    )


def measured(
    function: Callable[..., Tensor], a: Tensor, p: Tensor, n: Tensor, swap: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The distances of triplets."""
    return function(a, p), function(a, n), function(p, n) if swap else None
