"""The kernel of a loss of one distance between two operands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastcos.distances import Functions
from fastcos.kernels import SKIP, WRITE
from fastcos.kernels.cpu.gradients import (
    Slot,
    Term,
    Two,
    float32_gradient,
    pair_writer,
    row_writer,
)
from fastcos.kernels.cpu.measure import Rows, measurer
from fastcos.kernels.cpu.memory import doubles, stack_slot, store
from fastcos.kernels.cpu.samples import (
    clear_sums,
    number,
    offset,
    row_and_next,
    usually_constant,
)
from fastcos.kernels.cpu.states import as_float64
from fastcos.kernels.cpu.storage import Storage
from fastcos.kernels.cpu.streaming import drain, write_buffers
from fastcos.kernels.functions import as_it_is, registered, times
from fastcos.kernels.linear import Scaled

# Rows of the geometry: strides of the operands and of the gradients, position of the sample.
_X, _Y, _GRAD_X, _GRAD_Y, _SAMPLE = range(1, 6)


def pair_kernel(
    function: Any, functions: Functions, storage: Storage, unpack: Any, jitable: Any
) -> Callable[[int, int], int]:
    """``kernel(t, address of the arguments) -> 1``, of the functions of a loss and a distance."""
    init, gradient, row = functions.init, functions.gradient, storage.row
    prepare = registered(functions.prepare or as_it_is)
    in_float32 = float32_gradient(functions, storage, jitable)
    write_row = row_writer(gradient, in_float32, storage, jitable)
    pending_of, write_pending = pair_writer(gradient, in_float32, storage, jitable)
    measure = measurer(functions, storage, jitable)(write_pending)

    def kernel(t: int, block: int) -> int:
        arguments = unpack(block)
        fixed, geometry = arguments.fixed, arguments.geometry
        rows, grads = Two(*arguments.rows), Two(*arguments.grads)
        modes, features = Two(*arguments.modes), fixed.features
        inner, segments = fixed.inner, fixed.segments
        outer, segment = t // segments, t % segments
        clear_sums(arguments.sums, arguments.modes, t, features)
        sums = Two(*arguments.sums)
        sum_x = doubles(sums.x + t * features * 8, features)
        sum_y = doubles(sums.y + t * features * 8, features)
        wanted = modes.x != SKIP or modes.y != SKIP
        # The sample whose gradients are still to be written is kept in memory: as variables of the
        # loop it took 50 of the 250 instructions of a row of 16, wanted or not.
        no_state = prepare(as_float64(init(0.0, *arguments.of_distance)), 0.0)
        like = pending_of(Scaled(0.0, no_state, 0.0), Two(0, 0), Two(0, 0), 0)
        pending, is_pending = Slot(stack_slot(like), like), False
        buffers = write_buffers(2) if fixed.past_caches else 0
        end = (segment + 1) * inner // segments
        for inside in range(segment * inner // segments, end + 1):
            # One round more than there are samples, for the gradients of the last one.
            live = inside < end
            if not (live or is_pending):
                break
            position = outer * inner + min(inside, end - 1)
            x, next_x = row_and_next(rows.x, position, geometry, _X)
            y, next_y = row_and_next(rows.y, position, geometry, _Y)
            both = Rows(x, y, next_x, next_y)
            state, d = measure(both, features, arguments.of_distance, live, is_pending, pending)
            if not live:
                break
            i = offset(position, geometry, _SAMPLE)
            value, slopes = function((d,), number(arguments.labels, i), *arguments.of_loss)
            weight = usually_constant(arguments.weights, i)
            doubles(fixed.losses + 8 * i, 1)[0] = weight * value
            if not wanted:
                continue
            c = times(weight * usually_constant(arguments.scales, i), slopes[0])
            grad_x = grads.x + offset(position, geometry, _GRAD_X)
            grad_y = grads.y + offset(position, geometry, _GRAD_Y)
            scaled = Scaled(c, prepare(state, d), d)
            is_pending = modes.x == WRITE and modes.y == WRITE and c != 0
            if is_pending:
                at = Two(grad_x, grad_y)
                store(pending.address, pending_of(scaled, Two(x, y), at, buffers))
                continue
            xs, ys = row(x, features), row(y, features)
            if modes.x != SKIP:
                write_row(modes.x, row(grad_x, features), sum_x, Term(scaled, xs, ys, 0))
            if modes.y != SKIP:
                write_row(modes.y, row(grad_y, features), sum_y, Term(scaled, xs, ys, 1))
        if fixed.past_caches:
            drain(buffers, 2)
        return 1

    return kernel
