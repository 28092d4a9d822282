"""Where the numbers of a sample are: its operands, their addresses, labels, weights and scales.

The numbers of a row are loaded in :mod:`fastcos.kernels.cuda.measure`.
"""

from typing import Any

from fastcos.kernels import BOOLS, DOUBLES, FLOATS, LONGS, OWN
from fastcos.kernels.arguments import PerSample
from fastcos.kernels.cuda.unroll import all_of, tuple_of
from fastcos.kernels.functions import jitable


def offset(columns: int, row: int) -> Any:
    """``(position, geometry) -> bytes``: the offset of a sample by a row of the geometry."""

    def up_to(axis: int) -> Any:
        stride = row * columns + axis
        if axis == 0:
            return jitable()(lambda position, geometry: position * geometry[stride])
        before = up_to(axis - 1)

        @jitable()
        def offset_up_to(position: Any, geometry: Any) -> Any:
            outer = position // geometry[axis]
            inside = position - outer * geometry[axis]
            return before(outer, geometry) + inside * geometry[stride]

        return offset_up_to

    return up_to(columns - 1)


def addresses(count: int, columns: int, row: int) -> Any:
    """``(starts, position, geometry) -> addresses`` of a sample, by that row and the next ones."""

    def address(k: int) -> Any:
        offset_of = offset(columns, row + k)
        return lambda starts, position, geometry: starts[k] + offset_of(position, geometry)

    return tuple_of(count, address)


def are_aligned(count: int) -> Any:
    """``(addresses) -> bool``: whether all are multiples of 16."""
    return all_of(count, lambda k: lambda addresses: addresses[k] & 15 == 0)


def per_sample(dtype: str, gpu: Any) -> Any:
    """``(PerSample, i) -> number`` of sample i."""
    own, size = gpu.STORAGE[dtype].get, gpu.STORAGE[dtype].size
    get_double, get_float, get_long = gpu.get_double, gpu.get_float, gpu.get_long
    get_byte, float64 = gpu.get_byte, gpu.float64

    @jitable()
    def number_of(source: PerSample, i: Any) -> Any:
        constant = source.constant
        if source.address == 0:
            return constant
        i *= source.step
        if source.kind == DOUBLES:
            return constant * get_double(source.address + 8 * i)
        if source.kind == FLOATS:
            return constant * get_float(source.address + 4 * i)
        if source.kind == LONGS:
            return constant * get_long(source.address + 8 * i)
        if source.kind == OWN:
            return constant * float64(own(source.address + size * i))
        label = constant * get_byte(source.address + i)
        return 2 * label - 1 if source.kind == BOOLS else label

    return number_of
