"""The kernels of losses of the distances (a,p), (a,n) and, with swap, (p,n)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastcos.distances import Functions
from fastcos.kernels import SKIP, WRITE
from fastcos.kernels.cpu.gradients import Slot, Term, Three, sum_writer, triplet_writer
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
_A, _P, _N, _GRAD_A, _GRAD_P, _GRAD_N, _SAMPLE = range(1, 8)


def triplet_kernel(
    function: Any, functions: Functions, storage: Storage, unpack: Any, jitable: Any
) -> Callable[[int, int], int]:
    """As :func:`~fastcos.kernels.cpu.pair_kernel.pair_kernel`, for a loss of two distances."""
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

    return _kernel(judge, no_third, functions, storage, unpack, jitable, swap=False)


def triplet_swap_kernel(
    function: Any, functions: Functions, storage: Storage, unpack: Any, jitable: Any
) -> Callable[[int, int], int]:
    """As :func:`triplet_kernel`, for a loss of three distances."""

    @jitable()
    def judge(ap: float, an: float, pn: float, label: float, parameters: Any) -> Any:
        return function((ap, an, pn), label, *parameters)

    return _kernel(judge, None, functions, storage, unpack, jitable, swap=True)


def _kernel(
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
    pending_of, write_pending = triplet_writer(gradient, linear, storage, jitable, swap)
    measuring = measurer(functions, storage, jitable)
    measure_and_write, measure = measuring(write_pending), measuring()
    measure_third = third or measure
    write_sum = sum_writer(gradient, storage, jitable)

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
            s1, d1 = measure_and_write(ap, features, of_distance, live, is_pending, pending)
            if not live:
                break
            s2, d2 = measure(Rows(at_a, at_n, 0, next_n), features, of_distance, True, False, 0)
            pn = Rows(at_p, at_n, 0, 0)
            s3, d3 = measure_third(pn, features, of_distance, True, False, 0)
            a, p, n = row(at_a, features), row(at_p, features), row(at_n, features)
            i = offset(position, geometry, _SAMPLE)
            value, slopes = judge(d1, d2, d3, number(arguments.labels, i), arguments.of_loss)
            weight = usually_constant(arguments.weights, i)
            doubles(fixed.losses + 8 * i, 1)[0] = weight * value
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
