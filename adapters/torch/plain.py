"""Which calls are plain: tensors that kernels can read, and nobody who wants to see how.

All else goes to torch's operators. What both ways share is here too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import _reduction as legacy

from fastcos.engine.problem import Problem
from fastcos.engine.rows import Rows, array_of, check_unchanged, gathered
from fastcos.engine.rows import layouts as layouts_of_operands

from .arrays import FLOATS, array_layout, at, is_exact, is_ordinary, layout, unfit
from .autocast import autocast_dtype as autocast_dtype
from .autocast import cast as cast
from .autograd import Composite, Layouts, evaluate

REDUCTIONS = ("mean", "sum", "none")
NUMBERS = (float, int)
_NO_TARGET = object()
_CONVERTED = (torch.bool, torch.uint8)


def layouts_of(rows: tuple[Any, ...], target: Any = _NO_TARGET, weight: Any = None) -> Layouts:
    """The layouts of tensors that kernels can read unobserved; None for others.

    The rows', then those of target and weight: None where that is no tensor, or is to be converted
    first.
    """
    if not is_ordinary():
        return None
    found: list[Any] = []
    for t in map(array_of, rows):
        own = array_layout(t)
        if not own or own.dtype not in FLOATS or 0 in own.shape:
            return None
        found.append(own)
    device = found[0].device
    if Rows in map(type, rows):
        for t in rows:
            if type(t) is Rows:
                check_unchanged(at("cpu"), "an argument", t)
        found = [*layouts_of_operands(at("cpu"), rows)]
    if any([own.device != device for own in found]):
        return None
    of_target = of_weight = None
    if target is not _NO_TARGET:
        of_target = array_layout(target)
        if of_target is None or of_target.device != device:
            return None
        if of_target.dtype in _CONVERTED:
            of_target = None
    if isinstance(weight, Tensor):
        of_weight = layout(weight) if is_exact(weight) and not unfit(weight) else None
        if of_weight is None or of_weight.device != device:
            return None
        if weight.is_neg():
            of_weight = None
    return *found, of_target, of_weight


def evaluated(
    problem: Problem, layouts: Layouts, composite: Composite, result: torch.dtype | None = None
) -> Tensor:
    """The value of a problem on tensors that were looked at."""
    return evaluate(
        problem, at(array_of(problem.operands[0]).device.type), layouts, composite, result
    )


def with_axis(x: Any, dim: int) -> Any:
    """An operand, and rows of a table as a tensor where the axis is one of their index."""
    if type(x) is not Rows:
        return x
    from_end = dim if dim < 0 else dim - x.ndim
    return x if len(x.layout.shape) + from_end >= 1 else gathered(x)


def refuse(**tensors: Any) -> None:
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


def is_usual(size_average: bool | None, reduce: bool | None, reduction: str) -> bool:
    """Whether nothing about the reduction is deprecated or unknown."""
    return size_average is None and reduce is None and reduction in REDUCTIONS


def reduction_of(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction that is meant, with torch's warning or error."""
    if size_average is not None or reduce is not None:
        return legacy.legacy_get_string(size_average, reduce)
    legacy.get_enum(reduction)
    return reduction


def is_norm(p: Any, eps: Any) -> bool:
    """Whether kernels have this norm."""
    return type(p) in NUMBERS and type(eps) in NUMBERS and p > 0 and 0 <= eps < float("inf")


def are_pairs(input1: Tensor, input2: Tensor, target: Tensor) -> bool:
    """Whether this is a pair of rows, or two matrices of as many rows or one, and labels to fit."""
    one, two = input1.shape, input2.shape
    if len(one) == len(two) == 2 and target.ndim == 1:
        n = max(one[0], two[0])
        return one[1] == two[1] and {one[0], two[0], target.shape[0]} <= {1, n}
    return len(one) == 1 and one == two and target.ndim == 0


def are_rows(first: Tensor, *others: Tensor) -> bool:
    """Whether these are rows of one length, their leading axes broadcast."""
    shape = first.shape
    return first.ndim > 0 and all(
        [
            t.shape == shape
            or (t.ndim > 0 and t.shape[-1] == shape[-1] and are_broadcast(t.shape, shape))
            for t in others
        ]
    )


def are_broadcast(a: torch.Size, b: torch.Size) -> bool:
    """Whether two shapes broadcast."""
    return all(m == n or m == 1 or n == 1 for m, n in zip(reversed(a), reversed(b), strict=False))


def labels_of(target: Tensor) -> Tensor:
    """Targets as torch compares them with 1 and -1: True is 1, and of uint8 255 is -1."""
    return target.to(torch.int8) if target.dtype in _CONVERTED else target
