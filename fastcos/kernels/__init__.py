"""The compile. They know memory, order and threads, and close over the scalars of the records.

Kernels get raw addresses, strides and numbers; they allocate nothing and validate nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fastcos.distances import Functions
    from fastcos.losses import Loss

#: What a pass does with an operand's gradient: nothing, write it row by row, or add it up over the
#: samples that share a row (the row of the ``sums`` buffer that belongs to the task).
SKIP, WRITE, ADD = 0, 1, 2

#: How labels are written: as float64, float32, int64, int8, or as bool, where True is 1 and False
#: is -1. An upstream gradient on a GPU also in the dtype that is computed in, OWN.
DOUBLES, FLOATS, LONGS, BYTES, BOOLS, OWN = 0, 1, 2, 3, 4, 5


#: What a kernel does: a pass over rows that lie one after another; or, of rows that are looked up
#: in tables, the losses of all samples, or the gradient of one table.
ALIGNED, LOOKED_UP, OF_TABLE = 0, 1, 2


#: What the numbers of a listwise loss are made of: the product of two rows, or the square of their
#: distance, or the distance.
PRODUCT, SQUARED, EUCLIDEAN = 0, 1, 2


class Spec(NamedTuple):
    """What a kernel is compiled for, on a CPU as on a GPU."""

    loss: Loss  # the loss
    # The functions of the distance; None where the operands are distances
    distance: Functions | None
    counts: tuple[int, int]  # how many parameters the distance has, and how many the loss
    operands: int  # how many there are
    dtype: str  # the name of their dtype, and of the gradients'
    what: str  # what a person calls the kernel
    does: int = ALIGNED  # what the kernel does
