"""Kernels of rows that are looked up in tables, by numbers that each sample has of its own.

Nothing is gathered. One kernel visits the samples, and keeps of each what its gradients need; the
other visits the rows of a table, each with the samples that name it
(:mod:`fastcos.kernels.lookup`), adds their gradients up in float64, and writes the row once. Both
wait for memory more than they compute: rows come from anywhere, and are asked for well before.

The words are cut into tasks of as many each, wherever rows begin and end. A row within a task is
written by it, and so are the zeros of the rows before it that no sample names. Of a row that goes
on into the next task, each leaves its part of the sum; a second launch adds these up, in order.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from numba import float64

from fastcos.distances import Functions
from fastcos.kernels import LOOKED_UP, OF_TABLE
from fastcos.kernels.cpu.measure import Rows, measurer
from fastcos.kernels.cpu.memory import (
    double_tuple,
    doubles,
    load,
    longs,
    prefetch,
    stack_slot,
    store,
)
from fastcos.kernels.cpu.samples import number, offset, usually_constant
from fastcos.kernels.cpu.states import as_float64
from fastcos.kernels.cpu.storage import Storage
from fastcos.kernels.functions import as_it_is, jitable, registered, times
from fastcos.kernels.linear import has_say, kept_coefficients, of_side
from fastcos.kernels.lookup import FIRST, OPERAND_BITS, SECOND, is_linear
from fastcos.losses import operand_count

# Rows are asked for so many bytes before they are read.
_AHEAD = 1 << 12
_OPERAND = (1 << OPERAND_BITS) - 1


class _Term(NamedTuple):
    """A term of the gradient of a row: what was kept of a distance, and the row it is to."""

    kept: Any
    other: int  # the address of that row
    side: int  # 0 if it is the second of the distance, 1 if it is the first


class _Kept(NamedTuple):
    """What is kept of a distance of a sample."""

    none: Any  # ``(parameters) -> what is kept``, of its type
    # ``(c, state, d) -> what is kept``, with c the slope of the loss
    of: Any
    # ``(total, own, first, second, both) -> number`` adds one term, or two, to the sum of a row;
    # the number is to be added to all of its components
    add: Any


@jitable()
def _row_address(tables: Any, geometry: Any, operand: int, sample: int) -> int:
    """Where an operand's row of a sample is."""
    row = offset(sample, geometry, 1 + operand)
    index = tables.index[operand]
    if index != 0:
        row = longs(index + row, 1)[0]
    return tables.address[operand] + row * tables.stride[operand]


def _kept(functions: Functions, storage: Storage, jitable: Any) -> _Kept:
    if is_linear(functions, storage.size):
        return _kept_coefficients(functions, storage, jitable)
    prepare, gradient = registered(functions.prepare or as_it_is), functions.gradient
    init, row, decode = functions.init, storage.row, storage.decode

    @jitable()
    def none(parameters: Any) -> Any:
        return 0.0, 0.0, as_float64(init(0.0, *parameters))

    @jitable()
    def of(c: float, state: Any, d: float) -> Any:
        return c, d, state

    @jitable(forceinline=False)
    def add_one(total: Any, own: Any, term: Any) -> None:
        (c, d, state), other = term.kept, row(term.other, total.shape[0])
        state = prepare(state, d)
        if term.side:
            for k in range(total.shape[0]):
                _, slope = gradient(state, d, float64(decode(other[k])), float64(decode(own[k])))
                total[k] += c * slope
        else:
            for k in range(total.shape[0]):
                slope, _ = gradient(state, d, float64(decode(own[k])), float64(decode(other[k])))
                total[k] += c * slope

    @jitable()
    def add(total: Any, own: Any, first: Any, second: Any, both: bool) -> float:
        # A slope of 0 is one of a sample that has no say, whatever its rows are.
        if first.kept[0] != 0:
            add_one(total, own, first)
        if both and second.kept[0] != 0:
            add_one(total, own, second)
        return 0.0

    return _Kept(none, of, add)


def _kept_coefficients(functions: Functions, storage: Storage, jitable: Any) -> _Kept:
    prepare, linear = registered(functions.prepare or as_it_is), registered(functions.linear)
    row, decode = storage.row, storage.decode
    of = kept_coefficients(linear, prepare, jitable)

    @jitable()
    def none(parameters: Any) -> Any:
        return 0.0, 0.0, 0.0, 0.0, 0.0

    # Two at a time: the sum is loaded and stored half as often, a third of the time in cache.
    @jitable(forceinline=False, fastmath={"contract"})
    def add_two(total: Any, own: Any, first: Any, second: Any) -> None:
        r, u, _ = of_side(first.kept, first.side)
        s, v, _ = of_side(second.kept, second.side)
        x, y = row(first.other, total.shape[0]), row(second.other, total.shape[0])
        for k in range(total.shape[0]):
            this = float64(decode(own[k]))
            part = r * (u * this - float64(decode(x[k])))
            total[k] += part + s * (v * this - float64(decode(y[k])))

    @jitable(forceinline=False, fastmath={"contract"})
    def add_one(total: Any, own: Any, term: Any) -> None:
        r, u, _ = of_side(term.kept, term.side)
        other = row(term.other, total.shape[0])
        for k in range(total.shape[0]):
            total[k] += r * (u * float64(decode(own[k])) - float64(decode(other[k])))

    @jitable()
    def counts(term: Any) -> bool:
        r, u, _ = of_side(term.kept, term.side)
        return has_say(r, u)

    @jitable()
    def constant(term: Any) -> float:
        r, _, e = of_side(term.kept, term.side)
        return times(r, e)

    # ``r e`` is the same for all components, and added once a row.
    @jitable()
    def add(total: Any, own: Any, first: Any, second: Any, both: bool) -> float:
        first_counts, second_counts = counts(first), both and counts(second)
        if first_counts and second_counts:
            add_two(total, own, first, second)
        elif first_counts:
            add_one(total, own, first)
        elif second_counts:
            add_one(total, own, second)
        return constant(first) + constant(second) if both else constant(first)

    return _Kept(none, of, add)


def looked_up_kernel(
    function: Any, functions: Functions, arity: int, storage: Storage, unpack: Any, jitable: Any
) -> Callable[[int, int], int]:
    """``kernel(t, address of the arguments) -> 1``: the losses of a task, and what to keep."""
    measure, size = measurer(functions, storage, jitable)(scattered=True), storage.size
    init, operands = functions.init, operand_count(arity)
    kept_of = _kept(functions, storage, jitable).of

    def kernel(t: int, block: int) -> int:
        arguments = unpack(block)
        fixed, geometry, tables = arguments.fixed, arguments.geometry, arguments.tables
        features, samples, segments = fixed.features, fixed.samples, fixed.segments
        row_size = features * size
        ahead = max(1, _AHEAD // row_size)
        rows, coming = longs(stack_slot((0, 0, 0)), 3), longs(stack_slot((0, 0, 0)), 3)
        distances_at = stack_slot((0.0, 0.0, 0.0))
        distances = doubles(distances_at, 3)
        no_state = as_float64(init(0.0, *arguments.of_distance))
        states, state_size = stack_slot((no_state, no_state, no_state)), 8 * len(no_state)
        start, end = t * samples // segments, (t + 1) * samples // segments
        for i in range(start, end):
            for m in range(operands):
                rows[m] = _row_address(tables, geometry, m, i)
                coming[m] = 0
                if i + ahead < end:
                    coming[m] = _row_address(tables, geometry, m, i + ahead)
            for k in range(arity):
                x, y = FIRST[k], SECOND[k]
                pair = Rows(rows[x], rows[y], coming[x], coming[y])
                coming[x] = coming[y] = 0
                state, d = measure(pair, features, arguments.of_distance, True, False, 0)
                distances[k] = d
                store(states + k * state_size, state)
            d = double_tuple(distances_at, arity)
            value, slopes = function(d, number(arguments.labels, i), *arguments.of_loss)
            weight = usually_constant(arguments.weights, i)
            doubles(fixed.losses + 8 * i, 1)[0] = weight * value
            if fixed.kept == 0:
                continue
            scale = weight * usually_constant(arguments.scales, i)
            kept = fixed.kept + fixed.kept_size * i
            for m in range(operands):
                longs(kept + 8 * m, 1)[0] = rows[m]
            for k in range(arity):
                c, state = times(scale, slopes[k]), load(states + k * state_size, no_state)
                each = (fixed.kept_size - 8 * operands) // arity
                store(kept + 8 * operands + k * each, kept_of(c, state, distances[k]))
        return 1

    return kernel


def of_table_kernel(
    function: Any, functions: Functions, arity: int, storage: Storage, unpack: Any, jitable: Any
) -> Callable[[int, int], int]:
    """``kernel(t, address of the arguments) -> 1``: the gradients of the rows of a task."""
    size, operands = storage.size, operand_count(arity)
    row, decode, encode = storage.row, storage.decode, storage.encode
    none, _, add = _kept(functions, storage, jitable)

    @jitable(forceinline=False)
    def add_constant(total: Any, constant: float) -> None:
        for k in range(total.shape[0]):
            total[k] += constant

    @jitable(forceinline=False)
    def write(fixed: Any, this: int, total: Any) -> None:
        grad = row(fixed.grad + this * fixed.stride, total.shape[0])
        if fixed.accumulate:
            for k in range(total.shape[0]):
                grad[k] = encode(float64(decode(grad[k])) + total[k])
        else:
            for k in range(total.shape[0]):
                grad[k] = encode(total[k])

    @jitable(forceinline=False)
    def clear(fixed: Any, first: int, end: int) -> None:
        """Zeros for rows that no sample names."""
        if not fixed.accumulate:
            for this in range(first, end):
                grad = row(fixed.grad + this * fixed.stride, fixed.features)
                for k in range(fixed.features):
                    grad[k] = encode(0.0)

    @jitable()
    def is_same(fixed: Any, words: Any, e: int, this: int) -> bool:
        """Whether word e is there, and of this row."""
        return 0 <= e < fixed.word_count and words[e] >> fixed.shift == this

    @jitable(forceinline=False)
    def finish(fixed: Any, words: Any, t: int) -> None:
        """Adds up the parts of the row that begins in this task and goes on into the next."""
        features, count, segments = fixed.features, fixed.word_count, fixed.segments
        start, end = t * count // segments, (t + 1) * count // segments
        this = words[end - 1] >> fixed.shift
        if is_same(fixed, words, start - 1, this) or not is_same(fixed, words, end, this):
            return
        total = doubles(fixed.sums + (2 * t + 1) * features * 8, features)
        while is_same(fixed, words, end, this):
            t += 1
            end = (t + 1) * count // segments
            part = doubles(fixed.sums + 2 * t * features * 8, features)
            for k in range(features):
                total[k] += part[k]
        write(fixed, this, total)

    def kernel(t: int, block: int) -> int:
        arguments = unpack(block)
        fixed, no_parameters = arguments.fixed, arguments.of_distance
        words = longs(fixed.words, fixed.word_count)
        if fixed.finishing:
            finish(fixed, words, t)
            return 1
        features, shift = fixed.features, fixed.shift
        row_size = features * size
        ahead = max(1, _AHEAD // row_size)
        start = t * fixed.word_count // fixed.segments
        end = (t + 1) * fixed.word_count // fixed.segments
        this = words[start] >> shift
        # The part of a row that an earlier task has begun comes first.
        begun = is_same(fixed, words, start - 1, this)
        clear(fixed, (words[start - 1] >> shift) + 1 if start else 0, this)
        place = fixed.sums + 2 * t * features * 8
        total = doubles(place if begun else place + features * 8, features)
        nothing = none(no_parameters)
        each, sample_bits = (fixed.kept_size - 8 * operands) // arity, (1 << shift) - 1
        held, is_held = _Term(nothing, 0, 0), False
        own, constant = row(0, features), 0.0
        for k in range(features):
            total[k] = 0
        for e in range(start, end):
            if words[e] >> shift != this:
                if is_held:
                    constant += add(total, own, held, held, False)
                    is_held = False
                if constant != 0:
                    add_constant(total, constant)
                    constant = 0.0
                if not begun:
                    write(fixed, this, total)
                clear(fixed, this + 1, words[e] >> shift)
                this, begun = words[e] >> shift, False
                total = doubles(place + features * 8, features)
                for k in range(features):
                    total[k] = 0
            if e + 2 * ahead < end:
                i = (words[e + 2 * ahead] & sample_bits) >> OPERAND_BITS
                prefetch(fixed.kept + fixed.kept_size * i, fixed.kept_size)
            if e + ahead < end:
                i = (words[e + ahead] & sample_bits) >> OPERAND_BITS
                at = longs(fixed.kept + fixed.kept_size * i, operands)
                for m in range(operands):
                    if m != words[e + ahead] & _OPERAND:
                        prefetch(at[m], row_size)
            operand = words[e] & _OPERAND
            kept = fixed.kept + fixed.kept_size * ((words[e] & sample_bits) >> OPERAND_BITS)
            at = longs(kept, operands)
            own = row(at[operand], features)
            for k in range(arity):
                if operand != FIRST[k] and operand != SECOND[k]:
                    continue
                found = load(kept + 8 * operands + k * each, nothing)
                side = 0 if operand == FIRST[k] else 1
                term = _Term(found, at[FIRST[k] + SECOND[k] - operand], side)
                if is_held:
                    constant += add(total, own, held, term, True)
                    is_held = False
                else:
                    held, is_held = term, True
        if is_held:
            constant += add(total, own, held, held, False)
        if constant != 0:
            add_constant(total, constant)
        if not (begun or is_same(fixed, words, end, this)):
            write(fixed, this, total)
        if end == fixed.word_count:
            clear(fixed, this + 1, fixed.rows)
        return 1

    return kernel


#: What makes each kernel.
BODIES = {LOOKED_UP: looked_up_kernel, OF_TABLE: of_table_kernel}
