"""The kernels: of losses of pairs, of triplets, and of distances that were computed elsewhere."""

import functools
from collections.abc import Callable
from typing import Any

from numba import float64

from fastcos.distances import Functions
from fastcos.kernels import DOUBLES, FLOATS, SKIP, WRITE
from fastcos.kernels.cpu import gradients
from fastcos.kernels.cpu.gradients import Slot, Term, Three, Two
from fastcos.kernels.cpu.measure import Rows, measurer
from fastcos.kernels.cpu.memory import doubles, floats, load, stack_slot, store
from fastcos.kernels.cpu.samples import clear_sums, number, offset, row_and_next, usually_constant
from fastcos.kernels.cpu.states import LANES, as_float64, lane_memory, load_lane, store_lane
from fastcos.kernels.cpu.storage import STORAGE, Storage
from fastcos.kernels.cpu.streaming import drain, write_buffers
from fastcos.kernels.functions import as_it_is, jitable, registered, times
from fastcos.kernels.linear import Scaled

# Rows of the geometry: strides of the operands and of the gradients, position of the sample.
_X, _Y, _GRAD_X, _GRAD_Y, _SAMPLE_OF_PAIR = range(1, 6)
_A, _P, _N, _GRAD_A, _GRAD_P, _GRAD_N, _SAMPLE = range(1, 8)


def pair_kernel(
    function: Any, functions: Functions, storage: Storage, unpack: Any, jitable: Any
) -> Callable[[int, int], int]:
    """``kernel(t, address of the arguments) -> 1``, of the functions of a loss and a distance."""
    init, gradient, row = functions.init, functions.gradient, storage.row
    prepare = registered(functions.prepare or as_it_is)
    in_float32 = gradients.float32_gradient(functions, storage, jitable)
    write_row = gradients.row_writer(gradient, in_float32, storage, jitable)
    pending_of, write_pending = gradients.pair_writer(gradient, in_float32, storage, jitable)
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
            measured = live and not fixed.is_measured
            state, d = measure(both, features, arguments.of_distance, measured, is_pending, pending)
            if not live:
                break
            i = offset(position, geometry, _SAMPLE_OF_PAIR)
            if fixed.kept != 0:
                at_kept = fixed.kept + 8 * (1 + len(state)) * i
                if fixed.is_measured:
                    d, state = load(at_kept, (d, state))
                else:
                    store(at_kept, (d, state))
            value, slopes = function((d,), number(arguments.labels, i), *arguments.of_loss)
            weight = usually_constant(arguments.weights, i)
            doubles(fixed.losses + 8 * i, 1)[0] = weight * value
            if fixed.narrow != 0:
                floats(fixed.narrow + 4 * i, 1)[0] = weight * value
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


def triplet_kernel(
    function: Any, functions: Functions, storage: Storage, unpack: Any, jitable: Any
) -> Callable[[int, int], int]:
    """As :func:`pair_kernel`, for a loss of two distances."""
    init = functions.init

    @jitable()
    def no_third(
        rows: Any, features: int, parameters: Any, live: bool, is_pending: bool, pending: Any
    ) -> Any:
        return as_float64(init(0.0, *parameters)), 0.0

    @jitable()
    def judge(ap: float, an: float, pn: float, label: float, parameters: Any) -> Any:
        value, slopes = function((ap, an), label, *parameters)
        return value, (slopes[0], slopes[1], 0.0)

    return _triplet_kernel(judge, no_third, functions, storage, unpack, jitable, swap=False)


def triplet_swap_kernel(
    function: Any, functions: Functions, storage: Storage, unpack: Any, jitable: Any
) -> Callable[[int, int], int]:
    """As :func:`triplet_kernel`, for a loss of three distances."""

    @jitable()
    def judge(ap: float, an: float, pn: float, label: float, parameters: Any) -> Any:
        return function((ap, an, pn), label, *parameters)

    return _triplet_kernel(judge, None, functions, storage, unpack, jitable, swap=True)


def _triplet_kernel(
    judge: Any,
    third: Any,
    functions: Functions,
    storage: Storage,
    unpack: Any,
    jitable: Any,
    swap: bool,
) -> Callable[[int, int], int]:
    """The kernel of a loss, ``judge``; ``third`` measures (p,n), None as the other two."""
    init, gradient, row = functions.init, functions.gradient, storage.row
    prepare = registered(functions.prepare or as_it_is)
    linear = registered(functions.linear)
    pending_of, write_pending = gradients.triplet_writer(gradient, linear, storage, jitable, swap)
    measuring = measurer(functions, storage, jitable)
    measure_and_write, measure = measuring(write_pending), measuring()
    measure_third = third or measure
    write_sum = gradients.sum_writer(gradient, storage, jitable)

    def kernel(t: int, block: int) -> int:
        arguments = unpack(block)
        fixed, geometry, of_distance = arguments.fixed, arguments.geometry, arguments.of_distance
        rows, grads = Three(*arguments.rows), Three(*arguments.grads)
        modes, features = Three(*arguments.modes), fixed.features
        inner, segments = fixed.inner, fixed.segments
        outer, segment = t // segments, t % segments
        clear_sums(arguments.sums, arguments.modes, t, features)
        sums = Three(*arguments.sums)
        sum_a = doubles(sums.a + t * features * 8, features)
        sum_p = doubles(sums.p + t * features * 8, features)
        sum_n = doubles(sums.n + t * features * 8, features)
        wanted = modes.a != SKIP or modes.p != SKIP or modes.n != SKIP
        none = Scaled(0.0, prepare(as_float64(init(0.0, *of_distance)), 0.0), 0.0)
        like = pending_of(none, none, False, Three(0, 0, 0), Three(0, 0, 0), 0)
        pending, is_pending = Slot(stack_slot(like), like), False
        buffers = write_buffers(3) if fixed.past_caches else 0
        end = (segment + 1) * inner // segments
        for inside in range(segment * inner // segments, end + 1):
            # One round more than there are samples, for the gradients of the last one.
            live = inside < end
            if not (live or is_pending):
                break
            position = outer * inner + min(inside, end - 1)
            at_a, next_a = row_and_next(rows.a, position, geometry, _A)
            at_p, next_p = row_and_next(rows.p, position, geometry, _P)
            at_n, next_n = row_and_next(rows.n, position, geometry, _N)
            ap = Rows(at_a, at_p, next_a, next_p)
            measured = live and not fixed.is_measured
            s1, d1 = measure_and_write(ap, features, of_distance, measured, is_pending, pending)
            if not live:
                break
            an, pn = Rows(at_a, at_n, 0, next_n), Rows(at_p, at_n, 0, 0)
            s2, d2 = measure(an, features, of_distance, measured, False, 0)
            s3, d3 = measure_third(pn, features, of_distance, measured, False, 0)
            a, p, n = row(at_a, features), row(at_p, features), row(at_n, features)
            i = offset(position, geometry, _SAMPLE)
            if fixed.kept != 0:
                at_kept = fixed.kept + 24 * (1 + len(s1)) * i
                if fixed.is_measured:
                    d1, d2, d3, s1, s2, s3 = load(at_kept, (d1, d2, d3, s1, s2, s3))
                else:
                    store(at_kept, (d1, d2, d3, s1, s2, s3))
            value, slopes = judge(d1, d2, d3, number(arguments.labels, i), arguments.of_loss)
            weight = usually_constant(arguments.weights, i)
            doubles(fixed.losses + 8 * i, 1)[0] = weight * value
            if fixed.narrow != 0:
                floats(fixed.narrow + 4 * i, 1)[0] = weight * value
            if not wanted:
                continue
            c = weight * usually_constant(arguments.scales, i)
            c1, c2, c3 = times(c, slopes[0]), times(c, slopes[1]), times(c, slopes[2])
            of_ap, of_an = Scaled(c1, prepare(s1, d1), d1), Scaled(c2, prepare(s2, d2), d2)
            of_pn = Scaled(c3, prepare(s3, d3), d3)
            grad_a = grads.a + offset(position, geometry, _GRAD_A)
            grad_p = grads.p + offset(position, geometry, _GRAD_P)
            grad_n = grads.n + offset(position, geometry, _GRAD_N)
            write_all = modes.a == WRITE and modes.p == WRITE and modes.n == WRITE
            shares_p = swap and c2 == 0
            second = of_pn if shares_p else of_an
            is_pending = write_all and c1 != 0 and second.c != 0 and (shares_p or c3 == 0)
            if is_pending:
                read, written = Three(at_a, at_p, at_n), Three(grad_a, grad_p, grad_n)
                sample = pending_of(of_ap, second, shares_p, read, written, buffers)
                store(pending.address, sample)
                continue
            if modes.a != SKIP:
                ap_term, an_term = Term(of_ap, a, p, 0), Term(of_an, a, n, 0)
                write_sum(modes.a, row(grad_a, features), sum_a, ap_term, an_term)
            if modes.p != SKIP:
                ap_term, pn_term = Term(of_ap, a, p, 1), Term(of_pn, p, n, 0)
                write_sum(modes.p, row(grad_p, features), sum_p, ap_term, pn_term)
            if modes.n != SKIP:
                an_term, pn_term = Term(of_an, a, n, 1), Term(of_pn, p, n, 1)
                write_sum(modes.n, row(grad_n, features), sum_n, an_term, pn_term)
        if fixed.past_caches:
            drain(buffers, 3)
        return 1

    return kernel


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
_gather_floats, _scatter_floats = _columns(STORAGE["float32"])


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
    """As :func:`pair_kernel`, without a distance."""
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
            if arguments.fixed.narrow != 0:
                _scatter_floats(labels, arguments.fixed.narrow + 4 * i, 4 * step, count)
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
