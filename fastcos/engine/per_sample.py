"""One number for each sample: how kernels read labels, weights and upstream gradients.

Where the layout and dtype allow it they are read where they lie. Else labels are converted to what
kernels read, and the others to float64, which is no rounding.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastcos.engine.layout import ArrayLayout, Shape, is_packed
from fastcos.kernels import DOUBLES, FLOATS, OWN
from fastcos.kernels.forks import importing


class Source(NamedTuple):
    """How kernels read numbers of the samples."""

    step: int  # from one sample to the next: 1, or 0 where there is one for all
    kind: int  # how they are stored: DOUBLES, FLOATS, ...
    in_place: bool  # whether that is where the argument has them, or in a converted copy


#: Numbers that are converted, one number among them.
CONVERTED = Source(1, DOUBLES, False)


def source(layout: ArrayLayout, kind: int | None, samples: Shape) -> Source:
    """How kernels read an array of numbers whose dtype they know as ``kind``, if they do."""
    if kind is not None and layout.shape in ((), samples) and layout.aligned:
        if not any(layout.strides):
            return Source(0, kind, True)  # one number, perhaps expanded, as the gradient of a sum
        if is_packed(layout):
            return Source(1, kind, True)
    return CONVERTED if kind is None else Source(1, kind, False)


def float_kind(adapter: Any, layout: ArrayLayout, dtype: Any) -> int | None:
    """How kernels that compute in a dtype read weights or upstream gradients; None: they do not."""
    if layout.device >= 0 and layout.dtype == dtype:
        return OWN
    kind: int | None = adapter.label_kind(layout.dtype)
    return kind if kind in (DOUBLES, FLOATS) else None


def is_no_weight(weight: Any) -> bool:
    """Whether all samples weigh the same, as they do without a weight."""
    return weight is None or (type(weight) is float and weight == 1)


def is_number(value: Any) -> bool:
    """Whether a weight or an upstream gradient is one number, or none is given."""
    return value is None or isinstance(value, (int, float))


def weight_layout(adapter: Any, weight: Any) -> Any:
    """The layout of weights; False for one number, None where all samples weigh the same."""
    if is_no_weight(weight):
        return None
    return False if isinstance(weight, (int, float)) else adapter.layout(weight)


def converted(adapter: Any, name: str, value: Any) -> Any:
    """A number, or a float64 array; of what is on a GPU always an array, so as not to wait."""
    if isinstance(value, (int, float)):
        return float(value)
    array = adapter.float64(name, value)
    return array if array.ndim else adapter.number(array)


def denominator(adapter: Any, reduction: str, weight: Any, count: int) -> Any:
    """What the sum of the weighted losses of so many samples is divided by.

    The weight is a number or float64 numbers; so is the denominator, on a GPU an array of one.
    """
    if reduction in ("none", "sum"):
        return 1.0
    if reduction == "sum_over_batch_size":
        return float(count)
    if isinstance(weight, float):
        return weight * count if reduction == "mean" else float((weight != 0) * count)
    # Every weight counts once for each sample that it is broadcast to.
    size = math.prod(weight.shape)
    total = weight.sum() if reduction == "mean" else (weight != 0).sum()
    return adapter.number(total) * float(count // size if size else 0)


def quotient(adapter: Any, numerator: Any, denominator: Any) -> Any:
    """The quotient; 0 where the denominator is 0."""
    if isinstance(denominator, float):
        return numerator / denominator if denominator else 0 * numerator
    return adapter.quotient(numerator, denominator)


def check_labels(adapter: Any, given: Any, device: int) -> None:
    """Raises unless all labels are 1 or -1."""
    labels, kind = adapter.labels(given)
    if device < 0:
        address = adapter.address(labels)
    else:
        labels = adapter.host(labels)
        address = labels.ctypes.data
    if not _all_signs()(address, math.prod(labels.shape), kind):
        raise _wrong_label(adapter.host(given))


@functools.cache
def _all_signs() -> Callable[..., bool]:
    with importing():
        from fastcos.kernels.cpu import compile

    return compile.all_signs()


def _wrong_label(given: Any) -> ValueError:
    first = np.flatnonzero(np.abs(given.astype(np.float64)) != 1)[0]
    index = tuple(int(i) for i in np.unravel_index(first, given.shape))
    hint = ""
    if np.isin(given, (0, 1)).all():
        hint = "; for 0/1 labels pass target == 1, an array of bool"
    return ValueError(
        f"target must be +1 or -1 (or bool), got {given[index]!s} at index {index}{hint}"
    )
