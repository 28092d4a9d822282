"""Pair, triplet and pointwise kernels for NVIDIA GPUs.

A *team* of threads visits the samples of a task: a part of a warp where rows are short, a whole
block where they are long (``teams``, ``kernel``). Each thread accumulates its part of a row, 16
bytes at a time where the addresses allow it (``measure``); the parts of the state are merged, which
leaves every thread of the team with the whole (``merge``), and each writes its part of the
gradients (``write``).

Sums are float64 as on the CPU. On the cards this is for (A100, H100 and later) two conversions and
three products with sum for each pair of numbers, as the cosine takes, are a third of what the
processor does while memory delivers a pair of float32, and two thirds for half types; per-row work
is negligible beside it. Cards with a 64th of the rate do about two of these a clock and processor,
which takes as long as memory does for float32 and twice as long for half types. Gradients that are
linear in the rows are computed in float32, to the same accuracy (:mod:`fastcos.kernels.linear`).

Nothing is added up by atomics: a team's sum, its block's, and the sum over the blocks, which is a
kernel of its own, are taken in an order that follows from the shape.

Rows that are looked up in tables have kernels of their own (``tables``): one for the samples, and
one for the rows of a table. So have listwise losses: one for the similarities of an anchor
(``listwise``), and two for rows before and after matrix products (``unit``).

What is made here are plain Python functions. They use the machine through ``gpu``: the module
``storage``, when ``binaries`` compiles and ``launch`` launches them, or a simulator of it.
"""

from collections.abc import Callable
from typing import Any

from fastcos.distances import Functions
from fastcos.kernels.cuda.kernel import distances_sample, finishing, in_order, kernel, rows_sample
from fastcos.kernels.cuda.listwise import count_of_anchors, of_anchors
from fastcos.kernels.cuda.merge import state_size
from fastcos.kernels.cuda.tables import joining, looked_up, of_table
from fastcos.kernels.cuda.teams import (
    FINISHING_THREADS,
    Layout,
    Variant,
    anchor_threads,
    layout,
    layout_of_table,
)
from fastcos.kernels.cuda.unit import PROJECT, UNIT, projected, units
from fastcos.losses import Loss

__all__ = [
    "FINISHING_THREADS",
    "PROJECT",
    "UNIT",
    "Layout",
    "Variant",
    "anchor_threads",
    "count_of_anchors",
    "finishing",
    "joining",
    "layout",
    "layout_of_table",
    "looked_up",
    "of_anchors",
    "of_table",
    "pair",
    "pointwise",
    "projected",
    "triplet",
    "units",
]


def pair(loss: Loss, distance: Functions, variant: Variant, gpu: Any) -> Callable[..., None]:
    """The kernel of a loss of one distance between two operands."""
    sample = rows_sample(loss, distance, variant, gpu)
    return kernel(2, variant, gpu, in_order(2), sample, state_size(distance, variant))


def triplet(loss: Loss, distance: Functions, variant: Variant, gpu: Any) -> Callable[..., None]:
    """The kernel of a loss of the distances (a,p), (a,n) and, for a loss of three, (p,n)."""
    sample = rows_sample(loss, distance, variant, gpu)
    return kernel(3, variant, gpu, in_order(3), sample, state_size(distance, variant))


def pointwise(loss: Loss, variant: Variant, gpu: Any) -> Callable[..., None]:
    """The kernel of a loss of distances that were computed elsewhere."""
    sample = distances_sample(loss, variant, gpu)
    return kernel(loss.arity, variant, gpu, in_order(loss.arity), sample, 1)
