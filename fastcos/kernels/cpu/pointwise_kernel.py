"""The kernel of a loss of distances that were computed elsewhere: one number for each sample."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from numba import float64

from fastcos.kernels import DOUBLES, FLOATS, WRITE
from fastcos.kernels.cpu.memory import doubles
from fastcos.kernels.cpu.samples import number, offset
from fastcos.kernels.cpu.states import LANES, lane_memory, load_lane, store_lane
from fastcos.kernels.cpu.storage import STORAGE, Storage
from fastcos.kernels.functions import jitable, times


@functools.cache
def _columns(storage: Storage) -> tuple[Any, Any]:
    """Makes ``gather`` and ``scatter``, between evenly spaced numbers and a column of float64."""
    row, decode, encode, size = storage.row, storage.decode, storage.encode, storage.size

    def gather(column: Any, factor: float, address: int, stride: int, count: int) -> None:
        if stride == size:
            numbers = row(address, count)
            for k in range(count):
                column[k] = factor * float64(decode(numbers[k]))
        else:
            for k in range(count):
                column[k] = factor * float64(decode(row(address + k * stride, 1)[0]))

    def scatter(column: Any, address: int, stride: int, count: int) -> None:
        if stride == size:
            numbers = row(address, count)
            for k in range(count):
                numbers[k] = encode(column[k])
        else:
            for k in range(count):
                row(address + k * stride, 1)[0] = encode(column[k])

    for function in (gather, scatter):
        function.__qualname__ += f"_{storage.name}"
        jitable()(function)
    return gather, scatter


_gather_doubles, _scatter_doubles = _columns(STORAGE["float64"])
_gather_floats, _ = _columns(STORAGE["float32"])


@jitable()
def _fetch(column: Any, numbers: Any, i: int, step: int, count: int) -> None:
    address, constant = numbers.address, numbers.constant
    first, stride = i * numbers.step, step * numbers.step
    if address == 0:
        for k in range(count):
            column[k] = constant
    elif numbers.kind == DOUBLES:
        _gather_doubles(column, constant, address + 8 * first, 8 * stride, count)
    elif numbers.kind == FLOATS:
        _gather_floats(column, constant, address + 4 * first, 4 * stride, count)
    else:
        for k in range(count):
            column[k] = number(numbers, i + k * step)


def pointwise_kernel(
    function: Any, functions: None, storage: Storage, unpack: Any, jitable: Any
) -> Callable[[int, int], int]:
    """As :func:`~fastcos.kernels.cpu.pair_kernel.pair_kernel`, without a distance."""
    gather, scatter = _columns(storage)

    def kernel(t: int, block: int) -> int:
        arguments = unpack(block)
        geometry, rows = arguments.geometry, arguments.rows
        arity, last = len(rows), geometry.shape[1] - 1
        sample = geometry.shape[0] - 1
        # A column for each distance, in which its slope replaces it.
        table = lane_memory(rows)
        labels, weights = doubles(lane_memory((0.0,)), LANES), doubles(lane_memory((0.0,)), LANES)
        scales = doubles(lane_memory((0.0,)), LANES)
        inner, segments = arguments.fixed.inner, arguments.fixed.segments
        # Not in a function of its own, where a division by 0 would be looked for.
        outer, segment = t // segments, t % segments
        position = outer * inner + segment * inner // segments
        end = outer * inner + (segment + 1) * inner // segments
        while position < end:
            # None beyond the end of the innermost axis: up to there the strides are the same.
            length = geometry[0, last]
            count = min(LANES, end - position, length - position % length)
            for operand in range(arity):
                at = rows[operand] + offset(position, geometry, 1 + operand)
                column = doubles(table + 8 * LANES * operand, LANES)
                gather(column, 1.0, at, geometry[1 + operand, last], count)
            i, step = offset(position, geometry, sample), geometry[sample, last]
            _fetch(labels, arguments.labels, i, step, count)
            _fetch(weights, arguments.weights, i, step, count)
            _fetch(scales, arguments.scales, i, step, count)
            for k in range(count):
                distances = load_lane(table, k, rows)
                value, slopes = function(distances, labels[k], *arguments.of_loss)
                store_lane(table, k, slopes)
                labels[k] = weights[k] * value
                scales[k] *= weights[k]
            _scatter_doubles(labels, arguments.fixed.losses + 8 * i, 8 * step, count)
            for operand in range(arity):
                if arguments.modes[operand] == WRITE:
                    column = doubles(table + 8 * LANES * operand, LANES)
                    for k in range(count):
                        column[k] = times(scales[k], column[k])
                    gradient = 1 + arity + operand  # its row of the geometry
                    at = arguments.grads[operand] + offset(position, geometry, gradient)
                    scatter(column, at, geometry[gradient, last], count)
            position += count
        return 1

    return kernel
