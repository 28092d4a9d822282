"""The losses in torch's own operators: for second derivatives, transforms and compilation.

Only what torch has no operator for: per-sample weights, ``pos_margin`` and the distances. There is
one formula for each distance, by its name in ``fastcos.distances``; the tests compare them with the
kernels. What decides between a formula and a kernel is in ``functional``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import _reduction as legacy

from fastcos.distances import DISTANCES, Distance, lp

#: The float32 constant that torch adds to the squared norms of the cosine embedding loss.
EPS = 9.999999960041972e-13


def reduced(losses: Tensor, weight: Any, reduction: str) -> Tensor:
    """The weighted losses, their sum, or that over the sum of the weights."""
    if weight is not None and not isinstance(weight, Tensor):
        weight = torch.as_tensor(weight, device=losses.device)
    return weighted(losses, weight, reduction)


def weighted(losses: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """:func:`reduced`, for scripts."""
    legacy.get_enum(reduction)  # raises for what is none
    if weight is None:
        if reduction == "none":
            return losses
        return losses.mean() if reduction == "mean" else losses.sum()
    weight = weight.to(losses.dtype)
    if reduction == "none":
        return losses * weight
    total = (losses * weight).sum()
    if reduction == "sum":
        return total
    weights = weight.expand_as(losses).sum()
    return torch.where(weights == 0, 0 * total, total) / torch.where(weights == 0, 1, weights)


def cosine_embedding(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float,
    pos_margin: float,
    eps: float = EPS,  # as a default, for scripts, which know no global numbers
) -> Tensor:
    """The loss of each sample."""
    c = 1 - _cosine(input1, input2, eps)
    drawn, pushed = (pos_margin - c).clamp_min(0), (c - margin).clamp_min(0)
    return torch.where(target == 1, drawn, torch.where(target == -1, pushed, 0 * c))


def triplet(positive: Tensor, negative: Tensor, swapped: Tensor | None, margin: float) -> Tensor:
    """The loss of each sample, from its distances."""
    if swapped is not None:
        negative = torch.minimum(negative, swapped)
    return (margin + positive - negative).clamp_min(0)


def _cosine(x: Tensor, y: Tensor, eps: float) -> Tensor:
    p, q = (x * x).sum(-1) + eps, (y * y).sum(-1) + eps
    # A zero row is at right angles to everything, and has no gradient.
    zero = p * q == 0
    return 1 - torch.where(zero, 0, (x * y).sum(-1) / torch.where(zero, 1, p * q).sqrt())


def _angular(x: Tensor, y: Tensor, eps: float) -> Tensor:
    # Of u and v of length 1, not by the arccosine, which loses the digits of small angles.
    u, v = _unit(x), _unit(y)
    ends = torch.linalg.vector_norm(u - v, 2, -1), torch.linalg.vector_norm(u + v, 2, -1)
    return 2 * torch.atan2(*ends) / math.pi


def _unit(x: Tensor) -> Tensor:
    n = torch.linalg.vector_norm(x, 2, -1, keepdim=True)
    return torch.where(n == 0, 0, x / torch.where(n == 0, 1, n))


def _norm(p: float) -> Callable[[Tensor, Tensor, float], Tensor]:
    return lambda x, y, eps: torch.linalg.vector_norm(x - y + eps, p, -1)


def _canberra(x: Tensor, y: Tensor) -> Tensor:
    m = x.abs() + y.abs()
    return ((x - y).abs() / torch.where(m == 0, 1, m)).sum(-1)


def _braycurtis(x: Tensor, y: Tensor) -> Tensor:
    a, b = (x - y).abs().sum(-1), (x + y).abs().sum(-1)
    none = b == 0
    return torch.where(none, torch.where(a == 0, 0.0, math.inf), a / torch.where(none, 1, b))


def _poincare(x: Tensor, y: Tensor) -> Tensor:
    product = (1 - (x * x).sum(-1)) * (1 - (y * y).sum(-1))
    return 2 * torch.asinh(torch.linalg.vector_norm(x - y, 2, -1) / product.sqrt())


_DISTANCES: dict[str, Callable[..., Tensor]] = {
    "cosine": _cosine,
    "dot": lambda x, y: 1 - (x * y).sum(-1),
    "angular": _angular,
    "euclidean": _norm(2.0),
    "sqeuclidean": lambda x, y: ((x - y) ** 2).sum(-1),
    "manhattan": _norm(1.0),
    "chebyshev": _norm(math.inf),
    "lp": lambda x, y, p, eps: torch.linalg.vector_norm(x - y + eps, p, -1),
    "canberra": _canberra,
    "braycurtis": _braycurtis,
    "poincare": _poincare,
}


def distance(record: Distance) -> Callable[[Tensor, Tensor], Tensor] | None:
    """A built-in distance in torch's operators; None for a record that has no formula here."""
    is_lp = record.init is lp(3.0).init
    factory = DISTANCES.get(record.name)  # type: ignore[call-overload]  # any name is looked up
    known = lp(*record.parameters) if is_lp else factory and factory()
    formula = _DISTANCES.get(record.name)
    if formula is None or known is None or known.measure != record.measure:
        return None
    return lambda x, y: formula(x, y, *record.parameters)
