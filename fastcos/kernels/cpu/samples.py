"""What a task finds in its arguments: where the rows of a sample lie, its label, weight and scale.

The block of arguments is unpacked into the records of :mod:`fastcos.kernels.arguments`.
"""

import functools
from typing import Any, NamedTuple

from fastcos.kernels import ADD, BOOLS, DOUBLES, FLOATS, LONGS
from fastcos.kernels.arguments import (
    CONSTANTS,
    HOST_FIXED,
    PER_OPERAND,
    PER_TABLE,
    TABLE_FIXED,
    Constants,
    HostIntegers,
    PerSample,
    TableIntegers,
    Tables,
)
from fastcos.kernels.cpu import memory
from fastcos.kernels.cpu.memory import doubles, floats, int8s, longs
from fastcos.kernels.functions import jitable


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
def unpacker(operands: int, of_distance: int, of_loss: int) -> Any:
    """Makes ``unpack(address of the block) -> Arguments``, with so many parameters of both."""
    modes = HOST_FIXED + 3 * operands
    constants = HOST_FIXED + PER_OPERAND * operands
    parameters = constants + CONSTANTS

    def unpack(block: int) -> Arguments:
        n = HostIntegers(*memory.long_tuple(block, HOST_FIXED))
        constant = Constants(*memory.double_tuple(block + 8 * constants, CONSTANTS))
        return Arguments(
            n,
            memory.long_table(n.geometry, 2 + 2 * operands, n.columns),
            memory.long_tuple(block + 8 * HOST_FIXED, operands),
            memory.long_tuple(block + 8 * (HOST_FIXED + operands), operands),
            memory.long_tuple(block + 8 * (HOST_FIXED + 2 * operands), operands),
            memory.long_tuple(block + 8 * modes, operands),
            PerSample(n.label_address, n.label_step, n.label_kind, constant.label),
            PerSample(n.weight_address, n.weight_step, n.weight_kind, constant.weight),
            PerSample(n.scale_address, n.scale_step, n.scale_kind, constant.scale),
            memory.double_tuple(block + 8 * parameters, of_distance),
            memory.double_tuple(block + 8 * (parameters + of_distance), of_loss),
        )

    unpack.__qualname__ += f"_{operands}_{of_distance}_{of_loss}"
    return jitable()(unpack)


class TableArguments(NamedTuple):
    """As :class:`Arguments`, of a kernel that looks rows up."""

    fixed: Any  # :class:`TableIntegers`
    geometry: Any
    tables: Any  # :class:`Tables`
    labels: Any
    weights: Any
    scales: Any
    of_distance: Any
    of_loss: Any


@functools.cache
def table_unpacker(operands: int, of_distance: int, of_loss: int) -> Any:
    """As :func:`unpacker`, to :class:`TableArguments`."""
    index, stride = TABLE_FIXED + operands, TABLE_FIXED + 2 * operands
    constants = TABLE_FIXED + PER_TABLE * operands
    parameters = constants + CONSTANTS

    def unpack(block: int) -> TableArguments:
        n = TableIntegers(*memory.long_tuple(block, TABLE_FIXED))
        constant = Constants(*memory.double_tuple(block + 8 * constants, CONSTANTS))
        return TableArguments(
            n,
            memory.long_table(n.geometry, 2 + 2 * operands, n.columns),
            Tables(
                memory.long_tuple(block + 8 * TABLE_FIXED, operands),
                memory.long_tuple(block + 8 * index, operands),
                memory.long_tuple(block + 8 * stride, operands),
            ),
            PerSample(n.label_address, n.label_step, n.label_kind, constant.label),
            PerSample(n.weight_address, n.weight_step, n.weight_kind, constant.weight),
            PerSample(n.scale_address, n.scale_step, n.scale_kind, constant.scale),
            memory.double_tuple(block + 8 * parameters, of_distance),
            memory.double_tuple(block + 8 * (parameters + of_distance), of_loss),
        )

    unpack.__qualname__ += f"_{operands}_{of_distance}_{of_loss}"
    return jitable()(unpack)


@jitable()
def offset(position: int, geometry: Any, row: int) -> int:
    """Byte offset of a sample by a row of the geometry, from its position in the pass."""
    last = geometry.shape[1] - 1
    if last == 0:
        return position * geometry[row, 0]
    total = 0
    for axis in range(last, -1, -1):
        length = geometry[0, axis]
        total += (position % length) * geometry[row, axis]
        position //= length
    return total


@jitable()
def row_and_next(address: int, position: int, geometry: Any, row: int) -> tuple[int, int]:
    """The address of a sample's row, and that of the next sample's, or 0 if it is the same row."""
    this = address + offset(position, geometry, row)
    following = address + offset(position + 1, geometry, row)
    return this, 0 if following == this else following


@jitable()
def number(numbers: PerSample, i: int) -> float:
    """The number of sample i."""
    if numbers.address == 0:
        return numbers.constant
    i *= numbers.step
    if numbers.kind == DOUBLES:
        return numbers.constant * doubles(numbers.address, i + 1)[i]
    if numbers.kind == FLOATS:
        return numbers.constant * floats(numbers.address, i + 1)[i]
    if numbers.kind == LONGS:
        return numbers.constant * longs(numbers.address, i + 1)[i]
    label = numbers.constant * int8s(numbers.address, i + 1)[i]
    return 2 * label - 1 if numbers.kind == BOOLS else label


@jitable(forceinline=False)
def _number(numbers: PerSample, i: int) -> float:
    return number(numbers, i)


@jitable()
def usually_constant(numbers: PerSample, i: int) -> float:
    """:func:`number`, of numbers most of which are constants: what reads memory is not inlined."""
    return numbers.constant if numbers.address == 0 else _number(numbers, i)


@jitable()
def clear_sums(sums: Any, modes: Any, t: int, features: int) -> None:
    """Sets the sums of a task to 0."""
    for operand in range(len(modes)):
        if modes[operand] == ADD:
            total = doubles(sums[operand] + t * features * 8, features)
            for k in range(features):
                total[k] = 0
