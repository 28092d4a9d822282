"""Where the rows of a sample lie, and its label, weight and scale."""

from __future__ import annotations

from typing import Any

from fastcos.kernels import ADD, BOOLS, DOUBLES, FLOATS, LONGS
from fastcos.kernels.arguments import PerSample
from fastcos.kernels.cpu.memory import doubles, floats, int8s, longs
from fastcos.kernels.functions import jitable


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
