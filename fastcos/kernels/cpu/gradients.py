"""Gradients of one sample: of one operand at a time, or of all while the next sample is measured.

What is written is ``c`` times the gradient of a distance, or the sum of two of these. That is done
in float32 where nothing is lost by it (:mod:`fastcos.kernels.linear`, or the ``narrow`` of a
distance), else in float64.
"""

from typing import Any, NamedTuple

from numba import float32, float64

from fastcos.distances import Functions
from fastcos.kernels import ADD, WRITE
from fastcos.kernels.cpu.memory import fma, has_fma, load
from fastcos.kernels.cpu.states import as_float32, load_element, store_gradient
from fastcos.kernels.cpu.storage import Storage
from fastcos.kernels.cpu.streaming import buffer_slot, flush_lines
from fastcos.kernels.functions import jitable, registered
from fastcos.kernels.linear import linear_gradient, linear_triplet_gradient


class Two(NamedTuple):
    """Something of each operand of a pair."""

    x: Any
    y: Any


class Three(NamedTuple):
    """Something of each operand of a triplet: anchor, positive, negative."""

    a: Any
    p: Any
    n: Any


class Term(NamedTuple):
    """A term of the gradient of one operand."""

    scaled: Any  # A :class:`~fastcos.kernels.linear.Scaled` distance.
    x: Any  # the first row of the distance
    y: Any  # the second
    side: int  # which of them is the operand: 0 for x, 1 for y


class Slot(NamedTuple):
    """A value in memory: its address, and one of the same type."""

    address: int
    like: Any


class _Pending(NamedTuple):
    """A sample whose gradients are still to be written."""

    terms: Any  # what the gradients are computed from in float64
    coefficients: Any  # the same in float32; ``fits`` says whether they may be used
    rows: Any  # addresses of the operands
    grads: Any  # addresses of the gradients
    buffers: int  # the address of the write buffers, or 0


class _NarrowCoefficients(NamedTuple):
    """A :class:`~fastcos.kernels.linear.Scaled` distance in float32, and whether it fits that."""

    fits: bool
    c: Any
    state: Any
    d: Any


class _TwoTerms(NamedTuple):
    """Two scaled distances; they share the positive if ``shares_p``, else the anchor."""

    first: Any
    second: Any
    shares_p: bool


def float32_gradient(functions: Functions, storage: Storage, jitable: Any) -> tuple[Any, Any]:
    """As :func:`linear_gradient`, also by ``narrow``; only for dtypes that gain time by it."""
    gradient, linear = functions.gradient, registered(functions.linear)
    narrow = registered(functions.narrow)
    if linear or not narrow or storage.size > 2:
        return linear_gradient(linear if storage.size <= 4 and has_fma() else None, fma, jitable)

    @jitable()
    def coefficients(c: float, state: Any, d: float) -> Any:
        fits = 2.0**-100 <= abs(c) <= 2.0**20 and narrow(state, d)
        return _NarrowCoefficients(fits, float32(c), as_float32(state), float32(d))

    @jitable()
    def slopes(coefficients: Any, x: Any, y: Any) -> Any:
        c = coefficients.c
        dx, dy = gradient(coefficients.state, coefficients.d, x, y)
        return c * float32(dx), c * float32(dy)

    return coefficients, slopes


def row_writer(gradient: Any, in_float32: Any, storage: Storage, jitable: Any) -> Any:
    """Makes ``write(mode, grad, total, term)``: one term, as the gradient or added to ``total``."""
    decode, encode = storage.decode, storage.encode
    coefficients, slopes = in_float32

    # Functions of their own, not inlined at the places that call them: half the time to compile.
    @jitable(forceinline=False)
    def write_row(mode: int, grad: Any, total: Any, term: Any) -> None:
        c, state, d = term.scaled.c, term.scaled.state, term.scaled.d
        x, y, side = term.x, term.y, term.side
        if mode == WRITE:
            factors = coefficients(c, state, d)
            if c == 0:
                for k in range(x.shape[0]):
                    grad[k] = 0
            elif factors.fits:
                for k in range(x.shape[0]):
                    to_x, to_y = slopes(factors, decode(x[k]), decode(y[k]))
                    grad[k] = encode(to_y if side else to_x)
            else:
                for k in range(x.shape[0]):
                    dx, dy = gradient(state, d, float64(decode(x[k])), float64(decode(y[k])))
                    grad[k] = encode(c * (dy if side else dx))
        elif mode == ADD and c != 0:
            for k in range(x.shape[0]):
                dx, dy = gradient(state, d, float64(decode(x[k])), float64(decode(y[k])))
                total[k] += c * (dy if side else dx)

    return write_row


def sum_writer(gradient: Any, storage: Storage, jitable: Any) -> Any:
    """As :func:`row_writer`, of the two terms of an operand that takes part in two distances."""
    decode, encode = storage.decode, storage.encode
    write_row = row_writer(gradient, linear_gradient(None, fma, jitable), storage, jitable)

    @jitable(forceinline=False)
    def write_sum(mode: int, grad: Any, total: Any, first: Any, second: Any) -> None:
        c1, s1, d1 = first.scaled.c, first.scaled.state, first.scaled.d
        x1, y1, side1 = first.x, first.y, first.side
        c2, s2, d2 = second.scaled.c, second.scaled.state, second.scaled.d
        x2, y2, side2 = second.x, second.y, second.side
        if mode == WRITE and c1 != 0 and c2 != 0:
            for k in range(x1.shape[0]):
                dx, dy = gradient(s1, d1, float64(decode(x1[k])), float64(decode(y1[k])))
                part = c1 * (dy if side1 else dx)
                dx, dy = gradient(s2, d2, float64(decode(x2[k])), float64(decode(y2[k])))
                grad[k] = encode(part + c2 * (dy if side2 else dx))
        elif mode == WRITE:
            write_row(mode, grad, total, second if c1 == 0 else first)
        elif mode == ADD:
            write_row(mode, grad, total, first)
            write_row(mode, grad, total, second)

    return write_sum


# --------------------------------------------------------------------------------------------------
# Pending gradients: those of all operands are written together, a stretch at a time.
# --------------------------------------------------------------------------------------------------


@jitable()
def _aligned(first: int, start: int, stop: int, features: int, size: int) -> tuple[int, int]:
    """The stretch, moved to begin and end with a cache line of the array that begins at first.

    Large NumPy arrays begin 16 bytes after one, and every vector stored would straddle two.
    """
    shift = (first % 64) // size
    return max(start - shift, 0), features if stop == features else stop - shift


def pair_writer(gradient: Any, in_float32: Any, storage: Storage, jitable: Any) -> tuple[Any, Any]:
    """The functions that write both gradients of a sample while the next one is measured.

    Returns:
        ``pending_of(scaled, rows, grads, buffers)``, which is stored in a :class:`Slot`, and
        ``write_pending(slot, start, stop, features)``, which writes a stretch of the gradients.
    """
    size = storage.size
    coefficients, slopes_in_float32 = in_float32

    @jitable()
    def slopes(scaled: Any, x: float, y: float) -> Any:
        dx, dy = gradient(scaled.state, scaled.d, x, y)
        return scaled.c * dx, scaled.c * dy

    write = _pair_loop(slopes, float64, storage, jitable)
    write_in_float32 = _pair_loop(slopes_in_float32, float32, storage, jitable)

    @jitable()
    def pending_of(scaled: Any, rows: Any, grads: Any, buffers: int) -> Any:
        return _Pending(scaled, coefficients(*scaled), rows, grads, buffers)

    @jitable()
    def write_pending(slot: Any, start: int, stop: int, features: int) -> None:
        pending = load(slot.address, slot.like)
        rows, grads, buffers = pending.rows, pending.grads, pending.buffers
        start, stop = _aligned(grads.x, start, stop, features, size)
        at, length = start * size, stop - start
        source = Two(rows.x + at, rows.y + at)
        target = Two(buffer_slot(buffers, 0, grads.x + at), buffer_slot(buffers, 1, grads.y + at))
        # Again: of numbers that were read before a call, each would be read at every place.
        pending = load(slot.address, slot.like)
        if pending.coefficients.fits:
            write_in_float32(pending.coefficients, source, target, length)
        else:
            write(pending.terms, source, target, length)
        if buffers != 0:
            flush_lines(buffers, 0, length * size)
            flush_lines(buffers, 1, length * size)

    return pending_of, write_pending


def _pair_loop(slopes: Any, number: Any, storage: Storage, jitable: Any) -> Any:
    """Makes ``write(terms, source, target, length)``, with :class:`Two` addresses each."""
    row, decode, encode, size = storage.row, storage.decode, storage.encode, storage.size
    load_two, store_two = storage.load_two, storage.store_two

    @jitable()
    def one_at_a_time(terms: Any, source: Any, target: Any, length: int) -> None:
        x, y = row(source.x, length), row(source.y, length)
        grad_x, grad_y = row(target.x, length), row(target.y, length)
        for k in range(length):
            a, b = load_element(x, k), load_element(y, k)
            to_x, to_y = slopes(terms, number(decode(a)), number(decode(b)))
            store_gradient(grad_x, k, encode(to_x), 0)
            store_gradient(grad_y, k, encode(to_y), 1)

    @jitable()
    def two_at_a_time(terms: Any, source: Any, target: Any, length: int) -> None:
        for k in range(length // 2):
            (x, next_x), (y, next_y) = load_two(source.x, k), load_two(source.y, k)
            to_x, to_y = slopes(terms, x, y)
            next_to_x, next_to_y = slopes(terms, next_x, next_y)
            store_two(target.x, k, to_x, next_to_x)
            store_two(target.y, k, to_y, next_to_y)
        at, rest = (length - length % 2) * size, length % 2
        source, target = Two(source.x + at, source.y + at), Two(target.x + at, target.y + at)
        one_at_a_time(terms, source, target, rest)

    return two_at_a_time if store_two and number is float32 else one_at_a_time


def triplet_writer(
    gradient: Any, linear: Any, storage: Storage, jitable: Any, swap: bool
) -> tuple[Any, Any]:
    """As :func:`pair_writer`, for (a,p) and (a,n), or with ``swap`` (p,n), and three gradients.

    In float64, as the two parts of one of them may cancel, and the others come with it. For half
    types in float32, where the gradient is linear: that of the sum of both does not cancel.
    """
    size = storage.size
    half = size == 2 and bool(linear) and has_fma()
    coefficients, slopes_in_float32 = linear_triplet_gradient(
        linear if half else None, swap, fma, jitable
    )

    @jitable()
    def slopes(terms: Any, a: float, p: float, n: float) -> Any:
        first, second = terms.first, terms.second
        shares_p = swap and terms.shares_p
        da, dp = gradient(first.state, first.d, a, p)
        # The one that is in both distances.
        dq, dn = gradient(second.state, second.d, p if shares_p else a, n)
        part_a, part_p, part_q = first.c * da, first.c * dp, second.c * dq
        return (
            part_a if shares_p else part_a + part_q,
            part_p + part_q if shares_p else part_p,
            second.c * dn,
        )

    write = _triplet_loop(slopes, float64, storage, jitable)
    write_in_float32 = _triplet_loop(slopes_in_float32, float32, storage, jitable)

    @jitable()
    def pending_of(
        first: Any, second: Any, shares_p: bool, rows: Any, grads: Any, buffers: int
    ) -> Any:
        terms = _TwoTerms(first, second, shares_p)
        return _Pending(terms, coefficients(first, second, shares_p), rows, grads, buffers)

    @jitable()
    def write_pending(slot: Any, start: int, stop: int, features: int) -> None:
        pending = load(slot.address, slot.like)
        rows, grads, buffers = pending.rows, pending.grads, pending.buffers
        start, stop = _aligned(grads.a, start, stop, features, size)
        at, length = start * size, stop - start
        source = Three(rows.a + at, rows.p + at, rows.n + at)
        to_a, to_p = buffer_slot(buffers, 0, grads.a + at), buffer_slot(buffers, 1, grads.p + at)
        target = Three(to_a, to_p, buffer_slot(buffers, 2, grads.n + at))
        pending = load(slot.address, slot.like)
        if half and pending.coefficients.fits:
            write_in_float32(pending.coefficients, source, target, length)
        else:
            write(pending.terms, source, target, length)
        if buffers != 0:
            flush_lines(buffers, 0, length * size)
            flush_lines(buffers, 1, length * size)
            flush_lines(buffers, 2, length * size)

    return pending_of, write_pending


def _triplet_loop(slopes: Any, number: Any, storage: Storage, jitable: Any) -> Any:
    """As :func:`_pair_loop`, with :class:`Three` addresses each."""
    row, decode, encode, size = storage.row, storage.decode, storage.encode, storage.size
    load_two, store_two = storage.load_two, storage.store_two

    @jitable()
    def one_at_a_time(terms: Any, source: Any, target: Any, length: int) -> None:
        a, p, n = row(source.a, length), row(source.p, length), row(source.n, length)
        grad_a, grad_p = row(target.a, length), row(target.p, length)
        grad_n = row(target.n, length)
        for k in range(length):
            one, two, three = load_element(a, k), load_element(p, k), load_element(n, k)
            to_a, to_p, to_n = slopes(
                terms, number(decode(one)), number(decode(two)), number(decode(three))
            )
            store_gradient(grad_a, k, encode(to_a), 0)
            store_gradient(grad_p, k, encode(to_p), 1)
            store_gradient(grad_n, k, encode(to_n), 2)

    @jitable()
    def two_at_a_time(terms: Any, source: Any, target: Any, length: int) -> None:
        for k in range(length // 2):
            a, next_a = load_two(source.a, k)
            p, next_p = load_two(source.p, k)
            n, next_n = load_two(source.n, k)
            to_a, to_p, to_n = slopes(terms, a, p, n)
            next_to_a, next_to_p, next_to_n = slopes(terms, next_a, next_p, next_n)
            store_two(target.a, k, to_a, next_to_a)
            store_two(target.p, k, to_p, next_to_p)
            store_two(target.n, k, to_n, next_to_n)
        at, rest = (length - length % 2) * size, length % 2
        source = Three(source.a + at, source.p + at, source.n + at)
        target = Three(target.a + at, target.p + at, target.n + at)
        one_at_a_time(terms, source, target, rest)

    return two_at_a_time if store_two and number is float32 else one_at_a_time
