"""The argument block of a kernel, unpacked into the records of :mod:`fastcos.kernels.arguments`."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from fastcos.kernels.arguments import (
    CONSTANTS,
    HOST_FIXED,
    PER_OPERAND,
    Constants,
    HostIntegers,
    PerSample,
)
from fastcos.kernels.cpu.memory import double_tuple, long_table, long_tuple
from fastcos.kernels.functions import jitable


class Counts(NamedTuple):
    """How many operands a kernel has, and how many parameters its distance and its loss."""

    operands: int
    of_distance: int
    of_loss: int


class Arguments(NamedTuple):
    """The arguments of a kernel: :class:`HostIntegers`, the geometry as a table of int64, ...

    ``rows``, ``grads``, ``sums`` and ``modes`` have a number for each operand; ``labels``,
    ``weights`` and ``scales`` are :class:`PerSample`.
    """

    fixed: Any
    geometry: Any
    rows: Any
    grads: Any
    sums: Any
    modes: Any
    labels: Any
    weights: Any
    scales: Any
    of_distance: Any
    of_loss: Any


@functools.cache
def unpacker(counts: Counts) -> Any:
    """Makes ``unpack(address of the block) -> Arguments``."""
    operands, of_distance, of_loss = counts
    modes = HOST_FIXED + 3 * operands
    constants = HOST_FIXED + PER_OPERAND * operands
    parameters = constants + CONSTANTS

    def unpack(block: int) -> Arguments:
        n = HostIntegers(*long_tuple(block, HOST_FIXED))
        constant = Constants(*double_tuple(block + 8 * constants, CONSTANTS))
        return Arguments(
            n,
            long_table(n.geometry, 2 + 2 * operands, n.columns),
            long_tuple(block + 8 * HOST_FIXED, operands),
            long_tuple(block + 8 * (HOST_FIXED + operands), operands),
            long_tuple(block + 8 * (HOST_FIXED + 2 * operands), operands),
            long_tuple(block + 8 * modes, operands),
            PerSample(n.label_address, n.label_step, n.label_kind, constant.label),
            PerSample(n.weight_address, n.weight_step, n.weight_kind, constant.weight),
            PerSample(n.scale_address, n.scale_step, n.scale_kind, constant.scale),
            double_tuple(block + 8 * parameters, of_distance),
            double_tuple(block + 8 * (parameters + of_distance), of_loss),
        )

    unpack.__qualname__ += f"_{operands}_{of_distance}_{of_loss}"
    return jitable()(unpack)
