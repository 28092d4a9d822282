"""How arrays lie in memory: shapes, strides, and where the rows are. No arrays, no kernels."""

import itertools
import math
from typing import Any, NamedTuple

Shape = tuple[int, ...]
Strides = tuple[int, ...]


class ArrayLayout(NamedTuple):
    """The memory layout of an array."""

    shape: Shape  # its shape
    strides: Strides  # its strides, in multiples of ``unit`` bytes
    dtype: Any  # its dtype, of its library
    aligned: bool  # whether all elements are at addresses that are multiples of their size
    unit: int = 1  # see ``strides``
    device: int = -1  # the number of the GPU in whose memory it is, or -1


class RowLayout(NamedTuple):
    """Where the rows of an operand lie: its leading axes, with strides in bytes."""

    shape: Shape
    strides: Strides


def rows(layout: ArrayLayout, axis: int, dtype: Any) -> tuple[RowLayout, bool]:
    """Where a kernel finds the rows, and whether that is where they are, or in a copy.

    A row must be contiguous and of the computing dtype; the other axes may have any strides. An
    axis of 0 stands for rows of one component.
    """
    shape, strides, own, aligned, unit, _ = layout
    strides = tuple(unit * stride for stride in strides)
    if axis:
        length, step = shape[axis], strides[axis]
        shape, strides = without(shape, axis), without(strides, axis)
    else:
        length, step = 1, 0
    if own == dtype and aligned and (length == 1 or step == own.itemsize):
        return RowLayout(shape, strides), True
    return RowLayout(shape, contiguous(shape, length * dtype.itemsize)), False


def new(layout: ArrayLayout, axis: int, dtype: Any) -> ArrayLayout:
    """A new array of the same shape, whose rows along ``axis`` are contiguous."""
    shape = layout.shape
    if not axis:
        return ArrayLayout(shape, contiguous(shape, dtype.itemsize), dtype, True)
    outer = contiguous(without(shape, axis), shape[axis] * dtype.itemsize)
    at = len(shape) + axis
    return ArrayLayout(shape, (*outer[:at], dtype.itemsize, *outer[at:]), dtype, True)


def may_overlap_itself(layout: ArrayLayout) -> bool:
    """Whether elements may share memory: no is certain, yes may be wrong where they interleave."""
    if 0 in layout.shape:
        return False
    # From the smallest step up, each one leads beyond all that those before it span.
    span = layout.dtype.itemsize // layout.unit
    axes = zip(layout.strides, layout.shape, strict=True)
    for step, n in sorted((abs(step), n) for step, n in axes if n > 1):
        if step < span:
            return True
        span += step * (n - 1)
    return False


def is_packed(layout: ArrayLayout) -> bool:
    """Whether the elements lie one after another, in C order."""
    one = layout.dtype.itemsize // layout.unit
    if layout.strides == contiguous(layout.shape, one):
        return True
    axes = [(n, s) for n, s in zip(layout.shape, layout.strides, strict=True) if n != 1]
    return [s for _, s in axes] == [*contiguous(tuple(n for n, _ in axes), one)]


def without(values: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """The values but that of an axis, which is counted from the end."""
    at = len(values) + axis
    return values[:at] + values[at + 1 :]


def stride_of_all(rows: RowLayout) -> int | None:
    """The bytes from each row to the next, in C order of all leading axes; None if these differ."""
    axes = [(n, step) for n, step in zip(rows.shape, rows.strides, strict=True) if n != 1]
    for (_, outer), (n, inner) in itertools.pairwise(axes):
        if outer != n * inner:
            return None
    return axes[-1][1] if axes else 0


def contiguous(shape: Shape, itemsize: int) -> Strides:
    """The strides of an array in C order."""
    return tuple(itemsize * math.prod(shape[a + 1 :]) for a in range(len(shape)))
