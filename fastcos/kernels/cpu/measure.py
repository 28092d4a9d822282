"""Measuring a sample: two rows are accumulated into a state, and that gives their distance.

Sums are reordered, and so vectorised, by the compiler; in float32 each stretch of a row is summed,
and these sums in float64. The compiler does not vectorise maxima that are NaN where a number is,
nor a maximum with a second one beside it. A distance with ``merge`` therefore takes many parts of a
row side by side, in lanes, from end to end of the row, unless that is too short.
"""

from typing import Any, NamedTuple

from numba import float32, float64

from fastcos.distances import Functions
from fastcos.kernels.cpu.memory import hidden, prefetch
from fastcos.kernels.cpu.states import (
    LANES,
    add_gain,
    as_float32,
    as_float64,
    lane_memory,
    load_element,
    load_float32_lane,
    load_lane,
    replace_changed,
    store_float32_lane,
    store_lane,
)
from fastcos.kernels.cpu.storage import Storage
from fastcos.kernels.functions import jitable, registered

# What the compiler may do to the sums: reorder them, and fuse product and sum.
_REORDER = {"reassoc", "contract"}

# Numbers that one loop sums, at most, and bytes of them; bytes of a row that are prefetched, and
# written, at a time, for which write buffers are large enough. The processor does not foresee where
# a row starts, and to ask for much at once stalls.
_BLOCK, _BLOCK_SIZE, _STEP = 256, 1024, 512


class Rows(NamedTuple):
    """Addresses of two rows, and of those to be read after them, 0 where these are the same."""

    x: int
    y: int
    next_x: int
    next_y: int


class _Lanes(NamedTuple):
    """The address of the lanes' memory, and whether the row is long enough for them."""

    address: int
    used: bool


@jitable()
def _write_nothing(pending: Any, start: int, stop: int, features: int) -> None:
    pass


@jitable()
def _begin_nothing(lanes: _Lanes, fresh: Any) -> None:
    pass


@jitable()
def _end_nothing(lanes: _Lanes, fresh: Any, state: Any) -> Any:
    return state


@jitable()
def _unchanged(fresh: Any, state: Any) -> Any:
    return state


@jitable()
def _from_float32(fresh: Any, state: Any) -> Any:
    return replace_changed(fresh, state, as_float32(fresh))


def _never(state: Any) -> Any:
    return False, state


def _same(state: Any, x: Any, y: Any) -> Any:
    return state


class _Arithmetic(NamedTuple):
    """The type in which rows are accumulated."""

    number: Any  # casts an element of a row
    cast: Any  # casts a state
    store_lane: Any  # stores the state of a lane
    load_lane: Any  # loads it
    # ``(fresh, state) -> state`` in float64, of the state of no element and another
    to_float64: Any


_FLOAT64 = _Arithmetic(float64, as_float64, store_lane, load_lane, _unchanged)
_FLOAT32 = _Arithmetic(float32, as_float32, store_float32_lane, load_float32_lane, _from_float32)


def _accumulator(accumulate: Any, arithmetic: _Arithmetic, storage: Storage, jitable: Any) -> Any:
    """Makes ``(state, x, y, length) -> state``, the loop over a stretch at addresses x and y."""
    row, decode, size, load_two = storage.row, storage.decode, storage.size, storage.load_two
    number, cast = arithmetic.number, arithmetic.cast

    @jitable(fastmath=_REORDER)
    def one_at_a_time(state: Any, x: int, y: int, length: int) -> Any:
        xs, ys = row(x, length), row(y, length)
        for k in range(length):
            state = cast(accumulate(state, number(decode(xs[k])), number(decode(ys[k]))))
        return state

    @jitable(fastmath=_REORDER)
    def two_at_a_time(state: Any, x: int, y: int, length: int) -> Any:
        for k in range(length // 2):
            (a, next_a), (b, next_b) = load_two(x, k), load_two(y, k)
            state = cast(accumulate(state, number(a), number(b)))
            state = cast(accumulate(state, number(next_a), number(next_b)))
        rest = length % 2
        last_x, last_y = x + (length - rest) * size, y + (length - rest) * size
        return one_at_a_time(state, last_x, last_y, rest)

    return two_at_a_time if load_two else one_at_a_time


class _Pass(NamedTuple):
    """Functions that accumulate a row, stretch by stretch.

    ``begin(lanes, fresh)``; ``block(lanes, fresh, state, x, y, length) -> state`` for every whole
    block, at addresses x and y, and ``rest`` like it for what is left; ``end(lanes, fresh, state)
    -> state``. ``fresh`` is the state of no element: a row begins with it, and so does a stretch in
    float32.
    """

    begin: Any
    block: Any
    rest: Any
    end: Any


def _pass(
    accumulate: Any, merge: Any, arithmetic: _Arithmetic, storage: Storage, jitable: Any
) -> _Pass:
    take_in = _accumulator(accumulate, arithmetic, storage, jitable)
    if merge:
        return _pass_in_lanes(accumulate, merge, take_in, arithmetic, storage, jitable)

    @jitable()
    def stretch(lanes: _Lanes, fresh: Any, state: Any, x: int, y: int, length: int) -> Any:
        return take_in(state, x, y, length)

    @jitable()
    def float32_stretch(lanes: _Lanes, fresh: Any, state: Any, x: int, y: int, length: int) -> Any:
        start = as_float32(fresh)
        return add_gain(state, take_in(start, x, y, length), start)

    found = float32_stretch if arithmetic is _FLOAT32 else stretch
    return _Pass(_begin_nothing, found, found, _end_nothing)


def _pass_in_lanes(
    accumulate: Any,
    merge: Any,
    take_in: Any,
    arithmetic: _Arithmetic,
    storage: Storage,
    jitable: Any,
) -> _Pass:
    row, decode, size = storage.row, storage.decode, storage.size
    number, cast, to_float64 = arithmetic.number, arithmetic.cast, arithmetic.to_float64
    store_lane, load_lane = arithmetic.store_lane, arithmetic.load_lane

    @jitable()
    def begin(lanes: _Lanes, fresh: Any) -> None:
        if lanes.used:
            for lane in range(LANES):
                store_lane(lanes.address, lane, fresh)

    @jitable(fastmath=_REORDER)
    def block(lanes: _Lanes, fresh: Any, state: Any, x: int, y: int, length: int) -> Any:
        for k in range(0, length, LANES):
            # Rows of their own, in which no index can be negative: gathers are half as fast.
            xs, ys = row(x + k * size, LANES), row(y + k * size, LANES)
            for lane in range(LANES):
                part = load_lane(lanes.address, lane, state)
                a, b = load_element(xs, lane), load_element(ys, lane)
                part = accumulate(part, number(decode(a)), number(decode(b)))
                store_lane(lanes.address, lane, part)
        return state

    @jitable()
    def rest(lanes: _Lanes, fresh: Any, state: Any, x: int, y: int, length: int) -> Any:
        whole = length - length % LANES if lanes.used else 0
        block(lanes, fresh, state, x, y, whole)
        at = whole * size
        return to_float64(fresh, take_in(cast(fresh), x + at, y + at, length - whole))

    @jitable()
    def end(lanes: _Lanes, fresh: Any, state: Any) -> Any:
        if not lanes.used:
            return state
        at, half = lanes.address, LANES // 2
        while half > 0:
            for lane in range(half):
                part = load_lane(lanes.address, lane, state)
                store_lane(
                    lanes.address, lane, merge(part, load_lane(lanes.address, half + lane, state))
                )
            half //= 2
        return merge(state, to_float64(fresh, load_lane(at, 0, state)))

    return _Pass(begin, block, rest, end)


def measurer(functions: Functions, storage: Storage, jitable: Any) -> Any:
    """Makes a function that makes ``measure`` of a ``write_pending``, and of where rows come from.

    ``measure(rows, features, parameters, live, is_pending, pending) -> (state, d)`` accumulates
    :class:`Rows`. Meanwhile, if ``is_pending``, it calls ``write_pending(pending, start, stop,
    features)`` for every stretch: memory that is read and written in turns, by the stretch and not
    by the row, is never idle. With ``live=False`` nothing is accumulated, and only the pending
    gradients are written.

    Of rows that are ``scattered`` the processor does not foresee the next one. It is asked for to
    its end, by the stretch: all at once, the processor waits, and computes nothing meanwhile (750
    and not 590 ns for two rows of 768 float32 numbers, 560 to only read them). Where rows follow
    one another, to ask for the end of one took up to a fifth longer.
    """
    init, accumulate, finalize = functions.init, functions.accumulate, functions.finalize
    revisit = registered(functions.revisit or _never)
    reaccumulate = registered(functions.reaccumulate or _same)
    merge, suffices = registered(functions.merge), registered(functions.suffices)
    row, decode, size = storage.row, storage.decode, storage.size
    float64_pass = _pass(accumulate, merge, _FLOAT64, storage, jitable)
    begin_in_float64, rest_in_float64 = float64_pass.begin, float64_pass.rest
    end_in_float64 = float64_pass.end

    @jitable(fastmath=_REORDER)
    def further_pass(state: Any, x: Any, y: Any) -> Any:
        for k in range(x.shape[0]):
            state = reaccumulate(state, float64(decode(x[k])), float64(decode(y[k])))
        return state

    # Not inlined, for few rows need it.
    @jitable(forceinline=False)
    def further_passes(state: Any, x: int, y: int, features: int) -> Any:
        again = True
        while again:
            state = further_pass(state, row(x, features), row(y, features))
            again, state = revisit(state)
        return state, finalize(state)

    @jitable(forceinline=False)
    def measure_in_float64(fresh: Any, x: int, y: int, features: int) -> Any:
        lanes = _Lanes(lane_memory(fresh), features >= 2 * LANES)
        begin_in_float64(lanes, fresh)
        state = rest_in_float64(lanes, fresh, fresh, x, y, features)
        state = end_in_float64(lanes, fresh, state)
        again, revised = revisit(state)
        if again:
            return further_passes(revised, x, y, features)
        return state, finalize(state)

    # needs_reread: whether the row has to be read again, and the state with which that begins.
    if suffices and storage.size == 2:
        first_pass = _pass(accumulate, merge, _FLOAT32, storage, jitable)
        reread = measure_in_float64

        @jitable()
        def needs_reread(state: Any, fresh: Any) -> Any:
            return not suffices(state), fresh

    else:
        first_pass, reread = float64_pass, further_passes

        @jitable()
        def needs_reread(state: Any, fresh: Any) -> Any:
            return revisit(state)

    begin, end = first_pass.begin, first_pass.end
    accumulate_block, accumulate_rest = first_pass.block, first_pass.rest
    block, step = min(_BLOCK, _BLOCK_SIZE // size), _STEP // size

    def measuring(write_pending: Any = _write_nothing, scattered: bool = False) -> Any:
        @jitable()
        def measure(
            rows: Any, features: int, parameters: Any, live: bool, is_pending: bool, pending: Any
        ) -> Any:
            x, y = rows.x, rows.y
            fresh = as_float64(init(0.0, *parameters))
            state, lanes = fresh, _Lanes(lane_memory(fresh), features >= 2 * LANES)
            begin(lanes, fresh)
            whole = features - features % block
            for start in range(0, whole, block):
                for part in range(start, start + block, step):
                    at = part * size
                    if live:
                        if rows.next_x != 0:
                            prefetch(rows.next_x + at, _STEP)
                        if rows.next_y != 0:
                            prefetch(rows.next_y + at, _STEP)
                    if is_pending:
                        write_pending(pending, part, part + step, features)
                if live:
                    at = start * size
                    # Of a loop over a constant number the compiler, once it has unrolled it, makes
                    # one chain, in which each product waits for the one before: 1.4 of the time.
                    length = 64 * hidden(block // 64)
                    state = accumulate_block(lanes, fresh, state, x + at, y + at, length)
            if whole < features:
                at, left = whole * size, features - whole
                if live:
                    if scattered and rows.next_x != 0:
                        prefetch(rows.next_x + at, left * size)
                    if scattered and rows.next_y != 0:
                        prefetch(rows.next_y + at, left * size)
                    state = accumulate_rest(lanes, fresh, state, x + at, y + at, left)
                if is_pending:
                    for part in range(whole, features, step):
                        write_pending(pending, part, min(part + step, features), features)
            if not live:
                return state, 0.0
            state = end(lanes, fresh, state)
            again, initial = needs_reread(state, fresh)
            if again:
                return reread(initial, x, y, features)
            # Not the state of a later pass: what init made constant is still so to the compiler.
            return state, finalize(state)

        return measure

    return measuring
