"""The order in which samples are visited: passes of a kernel, from the layout of the rows.

A *sample* is one position of the leading axes, broadcast over the operands. A *pass* is one run of
a kernel over all samples. An operand that has a row of its own for every sample gets its gradient
written as the samples go by. One that is broadcast gets it added up over the samples that share a
row, so those are made neighbours: the axes that the operand does not have become the inner ones.
Operands that are broadcast over different axes take a pass each; all others ride on the first.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fastcos.engine.layout import RowLayout, Shape, Strides
from fastcos.kernels import ADD, SKIP, WRITE

# Below this many components a call is one task on the calling thread. Above, it is shared out in
# tasks of that many components, but no more than so many tasks. The shape alone says how many, so
# that sums do not depend on the threads.
SHARED_FROM = 1 << 15
_TASK = 1 << 13
_TASKS = 256
# Tasks on a GPU: where each sample has gradients of its own, and where some are added up. Rows of a
# few numbers have one thread each: 65,536 tasks would be 500 threads for each processor of an H100,
# and a quarter of what it takes to have memory busy.
_TASKS_OF_DEVICE, _SUMMING_TASKS_OF_DEVICE = 1 << 16, 1 << 12
_SHORT, _SHORT_TASKS_OF_DEVICE = 4, 1 << 19
# Float64 sums held at a time, in components (32 MiB), unless one per row of the operand is more.
_SUMS = 1 << 22


class Pass(NamedTuple):
    """One run of a kernel over all samples, which are numbered ``outer * inner``.

    It comes in ``tasks`` pieces, ``outer * segments``; ``parallel`` says whether these are worth
    sharing out to threads, and :mod:`fastcos.kernels.arguments` what the geometry is.
    """

    geometry: npt.NDArray[np.int64]
    outer: int
    inner: int
    segments: int
    features: int
    modes: tuple[int, ...]
    tasks: int
    parallel: bool


def passes(
    samples: Shape,
    features: int,
    operands: Sequence[RowLayout],
    grads: Sequence[RowLayout | None],
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
    parallel = math.prod(samples) > 1 and components >= SHARED_FROM
    found = []
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
            alone = _SHORT_TASKS_OF_DEVICE if features <= _SHORT else _TASKS_OF_DEVICE
            tasks = _SUMMING_TASKS_OF_DEVICE if summing else alone
        segments = min(inner, max(1, tasks // outer))
        if summing:
            segments = max(1, min(segments, _SUMS // (outer * features)))
        geometry = _geometry(samples, (outside, group), operands, grads, modes)
        tasks = outer * segments
        found.append(Pass(geometry, outer, inner, segments, features, modes, tasks, parallel))
    return tuple(found)


def _broadcast_axes(shape: Shape, samples: Shape) -> tuple[int, ...]:
    """The axes of the samples along which an operand repeats its rows."""
    padded = (1,) * (len(samples) - len(shape)) + shape
    return tuple(a for a, n in enumerate(samples) if n > 1 and padded[a] == 1)


def _geometry(
    samples: Shape,
    groups: Sequence[tuple[int, ...]],
    operands: Sequence[RowLayout],
    grads: Sequence[RowLayout | None],
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


def _aligned(layout: RowLayout, samples: Shape) -> Strides:
    """Strides along the axes of the samples, 0 where the operand is broadcast."""
    missing = len(samples) - len(layout.shape)
    own = tuple(
        0 if n == 1 else stride for n, stride in zip(layout.shape, layout.strides, strict=True)
    )
    return (0,) * missing + own
