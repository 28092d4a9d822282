"""What is checked once, and the order in which samples are visited: no arrays, only their layout.

A *sample* is one position of the leading axes, broadcast over the operands. A *pass* is one run of
a kernel over all samples. An operand that has a row of its own for every sample gets its gradient
written as the samples go by. One that is broadcast gets it added up over the samples that share a
row, so those are made neighbours: the axes that the operand does not have become the inner ones.
Operands that are broadcast over different axes take a pass each; all others ride on the first.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from fastcos import _names
from fastcos.distances.record import real_number
from fastcos.kernels import ADD, SKIP, WRITE
from fastcos.typing import Reduction

Shape = tuple[int, ...]
Strides = tuple[int, ...]

REDUCTIONS: tuple[str, ...] = get_args(Reduction)

# Below this many components a call is one task on the calling thread. Above, it is shared out in
# tasks of that many components, but no more than so many tasks. The shape alone says how many, so
# that sums do not depend on the threads.
_SHARE_FROM = 1 << 15
_TASK = 1 << 13
_TASKS = 256
# Tasks on a GPU: where each sample has gradients of its own, and where some are added up.
_TASKS_OF_DEVICE, _SUMMING_TASKS_OF_DEVICE = 1 << 16, 1 << 12
# Float64 sums held at a time, in components (32 MiB), unless one per row of the operand is more.
_SUMS = 1 << 22


class Pass(NamedTuple):
    """One run of a kernel over all samples, which are numbered ``outer * inner``.

    It comes in ``tasks`` pieces, ``outer * segments``; ``address`` is that of the geometry, and
    ``parallel`` whether it is worth sharing out to threads.
    """

    geometry: npt.NDArray[np.int64]
    outer: int
    inner: int
    segments: int
    features: int
    modes: tuple[int, ...]
    tasks: int
    address: int
    parallel: bool


class Form(NamedTuple):
    """What an array looks like; strides in units of so many bytes.

    ``device`` is the number of the GPU in whose memory it is, or -1.
    """

    shape: Shape
    strides: Strides
    dtype: Any
    aligned: bool
    unit: int = 1
    device: int = -1


#: Numbers of the samples as kernels take them: address, step, how they are written, and the factor
#: or, where the address is 0, the number of all samples.
Number = tuple[int, int, int, float]


class Layout(NamedTuple):
    """Where the rows of an operand lie: leading axes aligned to the samples', strides in bytes."""

    shape: Shape
    strides: Strides


def rows(form: Form, axis: int, dtype: Any) -> tuple[Layout, bool]:
    """Where a kernel finds the rows, and whether that is where they are, or in a copy.

    A row must be contiguous and of the computing dtype; the other axes may have any strides. An
    axis of 0 stands for rows of one component.
    """
    shape, strides, own, aligned, unit, _ = form
    strides = tuple(unit * stride for stride in strides)
    if axis:
        length, step = shape[axis], strides[axis]
        shape, strides = _without(shape, axis), _without(strides, axis)
    else:
        length, step = 1, 0
    if own == dtype and aligned and (length == 1 or step == own.itemsize):
        return Layout(shape, strides), True
    return Layout(shape, _contiguous(shape, length * dtype.itemsize)), False


def new(form: Form, axis: int, dtype: Any) -> Form:
    """A new array of the same shape, whose rows along ``axis`` are contiguous."""
    if not axis:
        return Form(form.shape, _contiguous(form.shape, dtype.itemsize), dtype, True)
    outer = _contiguous(_without(form.shape, axis), form.shape[axis] * dtype.itemsize)
    at = len(form.shape) + axis
    return Form(form.shape, (*outer[:at], dtype.itemsize, *outer[at:]), dtype, True)


def may_overlap_itself(form: Form) -> bool:
    """Whether elements may share memory: no is certain, yes may be wrong where they interleave."""
    if 0 in form.shape:
        return False
    # From the smallest step up, each one leads beyond all that those before it span.
    span = form.dtype.itemsize // form.unit
    axes = zip(form.strides, form.shape, strict=True)
    for step, n in sorted((abs(step), n) for step, n in axes if n > 1):
        if step < span:
            return True
        span += step * (n - 1)
    return False


def is_packed(form: Form) -> bool:
    """Whether the elements lie one after another, in C order."""
    one = form.dtype.itemsize // form.unit
    if form.strides == _contiguous(form.shape, one):
        return True
    steps = [s for n, s in zip(form.shape, form.strides, strict=True) if n != 1]
    return steps == [*_contiguous(tuple(n for n in form.shape if n != 1), one)]


def _without(values: tuple[int, ...], axis: int) -> tuple[int, ...]:
    at = len(values) + axis
    return values[:at] + values[at + 1 :]


def _contiguous(shape: Shape, itemsize: int) -> Strides:
    return tuple(itemsize * math.prod(shape[a + 1 :]) for a in range(len(shape)))


def check_reduction(reduction: object) -> str:
    """Returns a known reduction or raises with the list of them."""
    if not isinstance(reduction, str) or reduction not in REDUCTIONS:
        raise ValueError(
            f"reduction must be one of {', '.join(REDUCTIONS)}; got {reduction!r}"
            f"{_names.hint(reduction, REDUCTIONS)}"
        )
    return reduction


def check_finite(name: str, value: object) -> float:
    """Returns a finite float or raises."""
    number = value if type(value) is float else real_number(name, value)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {value!r}")
    return number


def check_axis(axis: object) -> int:
    """Returns an integer or raises."""
    try:
        if not isinstance(axis, bool):
            return operator.index(axis)  # type: ignore[arg-type]
    except TypeError:
        pass
    raise TypeError(f"axis must be an integer, got {axis!r}")


def check_flag(name: str, value: object, optional: bool = False) -> bool | None:
    """Returns True, False or, where it is optional, None, or raises.

    What equals True or False stands for it: 1 and 0, scalars, arrays of no axes.
    """
    if value is True or value is False or (value is None and optional):
        return value
    truth = bool(value)
    if value == truth:
        return truth
    choices = "None, True or False" if optional else "True or False"
    raise TypeError(f"{name} must be {choices}, got {value!r}")


def feature_axis(names: tuple[str, ...], shapes: tuple[Shape, ...], axis: int) -> int:
    """The feature axis counted from the end, the same for all operands.

    A positive ``axis`` counts along the broadcast shape, that is along the operand of highest rank.

    Raises:
        ValueError: an operand is 0-d or lacks the axis, or the axis is empty or of unequal length.
    """
    rank = max(map(len, shapes))
    listing = _listing(names, shapes)
    if min(map(len, shapes)) == 0:
        raise ValueError(f"every operand needs a feature axis, got {listing}")
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is out of range for {listing}")
    from_end = axis if axis < 0 else axis - rank
    lengths = {shape[from_end] for shape in shapes if len(shape) >= -from_end}
    if any(len(shape) < -from_end for shape in shapes) or len(lengths) > 1:
        raise ValueError(f"the feature axis ({axis}) must have one length, got {listing}")
    if lengths == {0}:
        raise ValueError(f"the feature axis ({axis}) must not be empty, got {listing}")
    return from_end


def sample_shape(names: tuple[str, ...], shapes: tuple[Shape, ...], axis: int) -> Shape:
    """The broadcast leading shape: one loss per position.

    Raises:
        ValueError: the leading axes do not broadcast.
    """
    leading = [_without(shape, axis) for shape in shapes]
    try:
        return np.broadcast_shapes(*leading)
    except ValueError:
        raise ValueError(
            f"leading axes must be equal or 1, got {_listing(names, shapes)}"
            f" with feature axis {axis}"
        ) from None


def check_per_sample(name: str, shape: Shape, samples: Shape) -> None:
    """Raises unless ``shape`` is () or has the rank of the samples with every axis equal or 1."""
    fits = (
        not shape
        or shape == samples
        or (
            len(shape) == len(samples)
            and all(n in (1, of) for n, of in zip(shape, samples, strict=True))
        )
    )
    if not fits:
        raise ValueError(
            f"{name} must be a scalar or have the shape of the per-sample loss, {samples}, with"
            f" every axis equal or 1; got shape {shape}"
        )


def plan(
    samples: Shape,
    features: int,
    operands: Sequence[Layout],
    grads: Sequence[Layout | None],
    on_device: bool = False,
) -> tuple[Pass, ...]:
    """The passes that visit all samples and give every gradient asked for.

    Args:
        samples: The shape of the per-sample loss; at least one sample.
        features: The length of a row.
        operands: Where each operand's rows lie.
        grads: Where each gradient's rows lie, None where no gradient is wanted.
        on_device: Whether a GPU does it.
    """
    axes = tuple(range(len(samples)))
    shared = [_broadcast_axes(op.shape, samples) for op in operands]
    writes = [g is not None and not over for g, over in zip(grads, shared, strict=True)]
    # Operands to be added up, grouped by the axes they are broadcast over.
    groups = list(
        dict.fromkeys(s for s, g in zip(shared, grads, strict=True) if s and g is not None)
    )
    components = math.prod(samples) * features
    parallel = math.prod(samples) > 1 and components >= _SHARE_FROM
    passes = []
    for number, group in enumerate(groups or [axes]):
        modes = tuple(
            WRITE
            if write and number == 0
            else ADD
            if grad is not None and over == group and groups
            else SKIP
            for write, grad, over in zip(writes, grads, shared, strict=True)
        )
        outside = tuple(a for a in axes if a not in group)
        outer = math.prod(samples[a] for a in outside)
        inner = math.prod(samples[a] for a in group)
        summing = ADD in modes
        tasks = min(_TASKS, components // _TASK) if parallel else 1
        if on_device:
            tasks = _SUMMING_TASKS_OF_DEVICE if summing else _TASKS_OF_DEVICE
        segments = min(inner, max(1, tasks // outer))
        if summing:
            segments = max(1, min(segments, _SUMS // (outer * features)))
        geometry = _geometry(samples, (outside, group), operands, grads, modes)
        where = geometry.ctypes.data
        tasks = outer * segments
        passes.append(
            Pass(geometry, outer, inner, segments, features, modes, tasks, where, parallel)
        )
    return tuple(passes)


def _broadcast_axes(shape: Shape, samples: Shape) -> tuple[int, ...]:
    """The axes of the samples along which an operand repeats its rows."""
    padded = (1,) * (len(samples) - len(shape)) + shape
    return tuple(a for a, n in enumerate(samples) if n > 1 and padded[a] == 1)


def _geometry(
    samples: Shape,
    groups: Sequence[tuple[int, ...]],
    operands: Sequence[Layout],
    grads: Sequence[Layout | None],
    modes: Sequence[int],
) -> npt.NDArray[np.int64]:
    """Row 0 the shape in visiting order, then the strides of operands, gradients and positions.

    Neighbouring axes that every row walks as one are merged, so that most calls have one axis.
    """
    rows = [_aligned(op, samples) for op in operands]
    rows += [
        _aligned(grad, samples) if grad is not None and mode == WRITE else (0,) * len(samples)
        for grad, mode in zip(grads, modes, strict=True)
    ]
    rows.append(tuple(math.prod(samples[a + 1 :]) for a in range(len(samples))))
    columns: list[list[int]] = []
    for axis in (a for group in groups for a in group if samples[a] != 1):
        column = [samples[axis], *(row[axis] for row in rows)]
        last = columns[-1] if columns else None
        if last and all(o == i * column[0] for o, i in zip(last[1:], column[1:], strict=True)):
            column[0] *= last[0]
            columns[-1] = column
        else:
            columns.append(column)
    if not columns:
        columns = [[1, *(0 for _ in rows)]]
    return np.ascontiguousarray(np.array(columns, dtype=np.int64).T)


def _aligned(layout: Layout, samples: Shape) -> Strides:
    """Strides along the axes of the samples, 0 where the operand is broadcast."""
    missing = len(samples) - len(layout.shape)
    own = tuple(
        0 if n == 1 else stride for n, stride in zip(layout.shape, layout.strides, strict=True)
    )
    return (0,) * missing + own


def _listing(names: Sequence[str], shapes: Sequence[Shape]) -> str:
    return ", ".join(f"{n} of shape {s}" for n, s in zip(names, shapes, strict=True))
