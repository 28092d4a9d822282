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
    """The arguments of a kernel.

    Args:
        fixed: The :class:`HostIntegers`.
        geometry: A table of int64, as :mod:`fastcos.kernels.arguments` describes it.
        rows: Addresses of the operands.
        grads: Addresses of the gradients.
        sums: Addresses of the float64 sums of the gradients.
        modes: SKIP, WRITE or ADD for each operand.
        labels: A :class:`PerSample`.
        weights: A :class:`PerSample`.
        scales: A :class:`PerSample`.
        of_distance: The parameters of the distance.
        of_loss: The parameters of the loss.
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
