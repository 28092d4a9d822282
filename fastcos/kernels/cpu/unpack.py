"""The argument block of a kernel, unpacked into the records of :mod:`fastcos.kernels.arguments`."""

from __future__ import annotations

from typing import Any, NamedTuple

from fastcos.kernels.arguments import (
    CONSTANTS,
    HOST_FIXED,
    PER_OPERAND,
    Addresses,
    Constants,
    HostIntegers,
    PerSample,
)
from fastcos.kernels.cpu.memory import double_tuple, long_table, long_tuple


class Arguments(NamedTuple):
    """The arguments of a kernel."""

    fixed: Any  # the :class:`HostIntegers`
    geometry: Any  # A table of int64, as :mod:`fastcos.kernels.arguments` describes it.
    rows: Any  # addresses of the operands
    grads: Any  # addresses of the gradients
    sums: Any  # addresses of the float64 sums of the gradients
    modes: Any  # SKIP, WRITE or ADD for each operand
    labels: Any  # A :class:`PerSample`
    weights: Any  # A :class:`PerSample`
    scales: Any  # A :class:`PerSample`
    of_distance: Any  # the parameters of the distance
    of_loss: Any  # the parameters of the loss


def unpacker(operands: int, parameters: tuple[int, int], jitable: Any) -> Any:
    """Makes ``unpack(address of the block) -> Arguments``."""
    modes = HOST_FIXED + len(Addresses._fields) * operands
    constants = HOST_FIXED + PER_OPERAND * operands
    of_distance, of_loss = parameters

    @jitable()
    def unpack(block: int) -> Any:
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
            double_tuple(block + 8 * (constants + CONSTANTS), of_distance),
            double_tuple(block + 8 * (constants + CONSTANTS + of_distance), of_loss),
        )

    return unpack
