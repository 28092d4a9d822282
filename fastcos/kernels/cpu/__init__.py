"""Pair, triplet and pointwise loops for the CPU.

A kernel is compiled for a loss, a distance and a dtype. It does one *task*, a run of samples; two
loops over tasks, one of them with ``prange``, serve all kernels. A task's work does not depend on
which thread does it, and nothing is added up across tasks in an order that threads could change:
the results are the same bits for every thread count.

Accumulators are float64 for every dtype; of half types those of a few hundred numbers are float32,
where the distance finds that it suffices. Only the accumulating pass may reorder its sums, which is
what lets it vectorise; values, slopes and gradients are strict IEEE, so NaN goes where it should.
"""

from __future__ import annotations

import functools
import struct
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

from numba import float32, float64, int64, prange
from numba.core.compiler_lock import global_compiler_lock

from fastcos.distances import Functions
from fastcos.kernels import ADD, BOOLS, DOUBLES, FLOATS, LONGS, SKIP, WRITE
from fastcos.kernels._memory import (
    LANES,
    STORAGE,
    beside_lanes,
    call,
    changed,
    double_tuple,
    doubles,
    finish,
    floats,
    fma,
    gained,
    has_fma,
    int8s,
    lanes,
    long_table,
    long_tuple,
    longs,
    past_caches_from,
    place,
    prefetch,
    put,
    put_lane,
    put_slim_lane,
    queues,
    room,
    slim,
    stream,
    take,
    take_lane,
    take_slim_lane,
    wide,
)
from fastcos.kernels.cache import compiled, digest, exported, folder_of, source_digest
from fastcos.kernels.functions import as_it_is, is_ours, jitable, name_of, registered, times
from fastcos.kernels.linear import linear_gradient, linear_triplet_gradient
from fastcos.losses import Loss

# What the compiler may do to the sums: reorder them, and fuse product and sum.
_REORDER = {"reassoc", "contract"}

# Numbers that one loop sums, at most, and bytes of them; bytes of a row that are asked for, and
# written, at a time, for which queues() have room. The processor does not foresee where a row
# starts, and to ask for much at once stalls.
_BLOCK, _BLOCK_SIZE, _STEP = 256, 1024, 512


def pair(
    loss: Loss, distance: Functions, parameters: tuple[int, int], dtype: str, what: str = ""
) -> Any:
    """The kernel of a loss of one distance between two operands.

    Args:
        loss: The loss.
        distance: The functions of the distance.
        parameters: How many parameters the distance has, and how many the loss.
        dtype: Of the operands and gradients.
        what: What a person calls the kernel.

    Returns:
        Numba's callback; its ``address`` is what a loop takes.
    """
    return _compiled(what, _pair, loss.function, distance, parameters, 2, dtype)


def triplet(
    loss: Loss, distance: Functions, parameters: tuple[int, int], dtype: str, what: str = ""
) -> Any:
    """The kernel of a loss of the distances (a,p), (a,n) and, for a loss of three, (p,n).

    As :func:`pair`, with three operands.
    """
    body = _triplet_swap if loss.arity == 3 else _triplet
    return _compiled(what, body, loss.function, distance, parameters, 3, dtype)


def pointwise(loss: Loss, parameters: tuple[int, int], dtype: str, what: str = "") -> Any:
    """The kernel of a loss of distances that were computed elsewhere.

    As :func:`pair`, with rows of length 1, the distances, as operands.
    """
    return _compiled(what, _pointwise, loss.function, (), parameters, loss.arity, dtype)


def serial() -> Callable[..., float]:
    """The loop over tasks on the calling thread.

    Its arguments: the address of the kernel, the block of float64 numbers into which
    :func:`packer` put the arguments of the kernel, how many tasks and how many samples. The end of
    the block is for the weighted losses of the samples.

    Returns:
        The loop; it returns the sum of the losses.
    """
    return _loop(parallel=False)


def threaded() -> Callable[..., float]:
    """:func:`serial`, shared out to threads."""
    return _loop(parallel=True)


@functools.cache
def packer(operands: int, parameters: int) -> tuple[int, Callable[..., None]]:
    """How many numbers the arguments of a kernel are, and what puts them into a block.

    One after another, addresses being integers, strides bytes, numbers of samples float64:

    - address of the weighted loss per sample, which the loop fills in;
    - inner, segments: task ``o * segments + s`` visits samples ``o * inner + i`` for i in the s-th
      part of the inner range;
    - features, the length of a row;
    - address and number of columns of the geometry, int64, a column per axis of the pass: the
      length of the axis, the strides of each operand, of each gradient, and the position of the
      sample in C order;
    - whether gradients that are written all at once go past the caches;
    - of the labels, of the weights and of the scales (the upstream gradients) the address, the step
      and how they are written;
    - per operand the address of the data, then those of the gradients, those of the float64 sums
      (a row per task), then SKIP, WRITE or ADD per operand;
    - of each of these the factor (that of the scale is 1 over the reduction's denominator), or
      where the address above is 0 the label, weight or scale of all samples;
    - the parameters of the distance, then of the loss.
    """
    layout = struct.Struct(f"={_FIXED + 4 * operands}q{3 + parameters}d")
    return layout.size // 8, layout.pack_into


_FIXED = 16


def _unpacker(operands: int, parameters: tuple[int, int], jitable: Any) -> Any:
    """The way back, to what a task takes."""
    modes = _FIXED + 3 * operands
    constants = modes + operands
    of_distance, of_loss = parameters

    @jitable()
    def unpack(block: int) -> Any:
        n = long_tuple(block, _FIXED)
        label, weight, scale = double_tuple(block + 8 * constants, 3)
        rows = long_tuple(block + 8 * _FIXED, operands)
        grads = long_tuple(block + 8 * (_FIXED + operands), operands)
        sums = long_tuple(block + 8 * (_FIXED + 2 * operands), operands)
        geometry = long_table(n[4], 2 + 2 * operands, n[5])
        return (
            n[0],
            (rows, grads, sums, long_tuple(block + 8 * modes, operands)),
            (geometry, n[1], n[2], n[3], n[6]),
            (
                (n[7], n[8], label, n[9]),
                (n[10], n[11], weight, n[12]),
                (n[13], n[14], scale, n[15]),
            ),
            double_tuple(block + 8 * (constants + 3), of_distance),
            double_tuple(block + 8 * (constants + 3 + of_distance), of_loss),
        )

    return unpack


def past_caches(numbers: int, dtype: str) -> bool:
    """Whether as many gradients as rows, of so many numbers, had better go past the caches."""
    return 2 * numbers * STORAGE[dtype].size >= past_caches_from()


@functools.cache
def all_signs() -> Callable[[int, int, int], bool]:
    """The kernel that says whether each of ``count`` labels of a kind at an address is 1 or -1."""

    def kernel(address: int, count: int, kind: int) -> bool:
        wrong = 0
        if kind == DOUBLES:
            for label in doubles(address, count):
                wrong += abs(label) != 1
        elif kind == FLOATS:
            for label in floats(address, count):
                wrong += abs(label) != 1
        elif kind == LONGS:
            for label in longs(address, count):
                wrong += (label != 1) & (label != -1)
        else:
            for label in int8s(address, count):
                wrong += (label != 1) & (label != -1)
        return wrong == 0

    kernel.__qualname__ += f"_{_source_digest()}"
    return compiled(kernel, "the check of labels")


# --------------------------------------------------------------------------------------------------
# Compilation
# --------------------------------------------------------------------------------------------------


_kernels: dict[tuple[Any, ...], Any] = {}


def _compiled(what: str, *key: Any) -> Any:
    if key not in _kernels:
        # Under Numba's lock, or threads that need a kernel at once would each compile it.
        with global_compiler_lock:
            if key not in _kernels:
                _kernels[key] = _kernel(what, *key)
    return _kernels[key]


def _kernel(
    what: str,
    body: Callable[..., Callable[..., None]],
    function: Callable[..., Any],
    distance: Functions,
    parameters: tuple[int, int],
    operands: int,
    dtype: str,
) -> Any:
    # A user's function may be redefined under its old name and place (a notebook cell), which the
    # key of the disk cache does not see: only our own kernels go there.
    ours = all(f is None or is_ours(f) for f in (function, *distance))
    content = (_source_digest(), body, function, distance, parameters, dtype)
    tag = digest(*map(name_of, content)) if ours else uuid.uuid4().hex
    jitable = _named(tag)
    unpack = _unpacker(operands, parameters, jitable)
    functions = registered(function), tuple(map(registered, distance))
    kernel = body(*functions, STORAGE[dtype], unpack, jitable)
    kernel.__qualname__ += f"_{tag}"
    return exported(kernel, int64(int64, int64), what, keep=ours)


@functools.cache
def _loop(parallel: bool) -> Any:
    def loop(kernel: int, block: Any, tasks: int, samples: int) -> float:
        address, done = block.ctypes.data, 0
        # Filled in here, as to ask for the address of the block takes Python 0.2 us.
        losses = address + 8 * (block.size - samples)
        longs(address, 1)[0] = losses
        for t in prange(tasks):
            done += call(kernel, t, address)
        if done < tasks:  # a kernel returns 1, and 0 where a function raised
            raise RuntimeError("a function of the distance raised the exception shown on stderr")
        return _total(doubles(losses, samples))

    loop.__qualname__ += f"_{digest(_source_digest(), str(parallel))}"
    what = "the loop that threads share" if parallel else "the loop over samples"
    return compiled(loop, what, parallel)


def _named(tag: str) -> Any:
    """A :func:`jitable` that puts ``tag`` into the name of the function.

    The symbols of a compiled function are made of its name, the types of its arguments and a number
    that Numba counts up in each process. Two kernels that were cached by two processes can agree in
    all three, and loaded into a third one would run the code of the other.
    """

    def named(**options: Any) -> Any:
        def decorate(function: Any) -> Any:
            function.__qualname__ += f"_{tag}"
            return jitable(**options)(function)

        return decorate

    return named


@jitable(fastmath=_REORDER)
def _total(values: Any) -> float:
    total = 0.0
    for i in range(values.shape[0]):
        total += values[i]
    return total


@functools.cache
def _source_digest() -> str:
    """A digest of the sources that end up in a compiled kernel."""
    parts = "kernels", "kernels.functions", "kernels._memory", "kernels.linear", "kernels.cpu"
    return source_digest("distances", "losses", *parts)


def cache_directory() -> str:
    """Where Numba keeps compiled kernels."""
    return str(folder_of(_loop) or "none that can be written to")


def _never(state: Any) -> Any:
    return False, state


def _same(state: Any, x: Any, y: Any) -> Any:
    return state


# --------------------------------------------------------------------------------------------------
# Kernels. A body makes one of the functions of a loss and a distance.
# --------------------------------------------------------------------------------------------------


@jitable()
def _offset(position: int, geometry: Any, operand: int) -> int:
    """Byte offset of a sample's row, from its position in the order of the pass."""
    last = geometry.shape[1] - 1
    if last == 0:
        return position * geometry[operand, 0]
    offset = 0
    for axis in range(last, -1, -1):
        length = geometry[0, axis]
        offset += (position % length) * geometry[operand, axis]
        position //= length
    return offset


@jitable()
def _at(values: Any, i: int) -> float:
    """The number of sample i, as :func:`packer` has it."""
    address, step, constant, kind = values
    if address == 0:
        return constant
    i *= step
    if kind == DOUBLES:
        return constant * doubles(address, i + 1)[i]
    if kind == FLOATS:
        return constant * floats(address, i + 1)[i]
    if kind == LONGS:
        return constant * longs(address, i + 1)[i]
    label = constant * int8s(address, i + 1)[i]
    return 2 * label - 1 if kind == BOOLS else label


@jitable(forceinline=False)
def _one_of(values: Any, i: int) -> float:
    """:func:`_at`, not inlined: for what there mostly is one of for all samples."""
    return _at(values, i)


@jitable()
def _mostly_one(values: Any, i: int) -> float:
    return values[2] if values[0] == 0 else _one_of(values, i)


@jitable()
def _row_and_next(address: int, position: int, geometry: Any, operand: int) -> tuple[int, int]:
    """Where a sample's row is, and the next one's if that is another row."""
    this = address + _offset(position, geometry, operand)
    following = address + _offset(position + 1, geometry, operand)
    return this, 0 if following == this else following


@jitable()
def _nothing(work: Any, start: int, stop: int, features: int) -> None:
    pass


@jitable()
def _no_parts(parts: int, several: bool, state: Any) -> None:
    pass


@jitable()
def _state_alone(parts: int, several: bool, fresh: Any, state: Any) -> Any:
    return state


def _loop_over(accumulate: Any, number: Any, kept: Any, storage: Any, jitable: Any) -> Any:
    """``(state, x, y, length) -> state``: numbers at addresses taken in, one after another.

    They are turned into a ``number``, and every state into ``kept``.
    """
    row, decode, size, pair = storage.row, storage.decode, storage.size, storage.pair

    @jitable(fastmath=_REORDER)
    def one_by_one(state: Any, x: int, y: int, length: int) -> Any:
        xs, ys = row(x, length), row(y, length)
        for k in range(length):
            state = kept(accumulate(state, number(decode(xs[k])), number(decode(ys[k]))))
        return state

    @jitable(fastmath=_REORDER)
    def by_pairs(state: Any, x: int, y: int, length: int) -> Any:
        for k in range(length // 2):
            (a, next_a), (b, next_b) = pair(x, k), pair(y, k)
            state = kept(accumulate(state, number(a), number(b)))
            state = kept(accumulate(state, number(next_a), number(next_b)))
        rest = length % 2
        last_x, last_y = x + (length - rest) * size, y + (length - rest) * size
        return one_by_one(state, last_x, last_y, rest)

    return by_pairs if pair else one_by_one


@jitable()
def _as_found(fresh: Any, state: Any) -> Any:
    return state


@jitable()
def _widened(fresh: Any, state: Any) -> Any:
    return changed(fresh, state, slim(fresh))


class _Arithmetic(NamedTuple):
    """How sums are taken: the type of a number, of all in a state, and of states kept in lanes.

    ``whole(fresh, state)`` is the state in float64, of that of no number and what was found.
    """

    number: Any
    kept: Any
    put_lane: Any
    take_lane: Any
    whole: Any


_WIDE = _Arithmetic(float64, wide, put_lane, take_lane, _as_found)
_SLIM = _Arithmetic(float32, slim, put_slim_lane, take_slim_lane, _widened)


def _passes(accumulate: Any, merge: Any, sums: _Arithmetic, storage: Any, jitable: Any) -> Any:
    """Functions that take a row in, stretch by stretch.

    Sums are reordered, and so vectorised, by the compiler; in float32 each stretch is summed, and
    these sums in float64. It does not do that to a maximum that is NaN where a number is, nor to
    one with a second beside it. Where parts of a row can be merged, so many of them are taken side
    by side, from end to end of the row, unless it is too short for ``several``.

    Returns:
        ``begin(parts, several, fresh)``, ``first_pass(parts, several, fresh, state, x, y, length)
        -> state`` for whole stretches, ``last_pass`` like it for the rest, and ``end(parts,
        several, fresh, state) -> state``; x and y are addresses. The state of no number, fresh,
        is what a row begins with, and a stretch that is summed apart.
    """
    row, decode, size = storage.row, storage.decode, storage.size
    number, kept, put_lane, take_lane, whole_of = sums
    take_in = _loop_over(accumulate, number, kept, storage, jitable)

    if not merge:

        @jitable()
        def in_place(
            parts: int, several: bool, fresh: Any, state: Any, x: int, y: int, length: int
        ) -> Any:
            return take_in(state, x, y, length)

        @jitable()
        def apart(
            parts: int, several: bool, fresh: Any, state: Any, x: int, y: int, length: int
        ) -> Any:
            start = slim(fresh)
            return gained(state, take_in(start, x, y, length), start)

        stretch = apart if sums is _SLIM else in_place
        return _no_parts, stretch, stretch, _state_alone

    @jitable()
    def begin(parts: int, several: bool, fresh: Any) -> None:
        if several:
            for lane in range(LANES):
                put_lane(parts, lane, fresh)

    @jitable(fastmath=_REORDER)
    def first_pass(
        parts: int, several: bool, fresh: Any, state: Any, x: int, y: int, length: int
    ) -> Any:
        for k in range(0, length, LANES):
            # Rows of their own, in which no index can be negative: gathers are half as fast.
            xs, ys = row(x + k * size, LANES), row(y + k * size, LANES)
            for lane in range(LANES):
                part = take_lane(parts, lane, state)
                a, b = beside_lanes(xs, lane), beside_lanes(ys, lane)
                part = accumulate(part, number(decode(a)), number(decode(b)))
                put_lane(parts, lane, part)
        return state

    @jitable()
    def last_pass(
        parts: int, several: bool, fresh: Any, state: Any, x: int, y: int, length: int
    ) -> Any:
        whole = length - length % LANES if several else 0
        first_pass(parts, several, fresh, state, x, y, whole)
        at = whole * size
        return whole_of(fresh, take_in(kept(fresh), x + at, y + at, length - whole))

    @jitable()
    def end(parts: int, several: bool, fresh: Any, state: Any) -> Any:
        if not several:
            return state
        half = LANES // 2
        while half > 0:
            for lane in range(half):
                part = take_lane(parts, lane, state)
                put_lane(parts, lane, merge(part, take_lane(parts, half + lane, state)))
            half //= 2
        return merge(state, whole_of(fresh, take_lane(parts, 0, state)))

    return begin, first_pass, last_pass, end


def _measuring(distance: Any, storage: Any, jitable: Any) -> Any:
    """Makes ``measure(rows, features, parameters, live, busy, work) -> (state, d)`` of ``go_on``.

    Rows are two addresses, and those of the rows that will be read after these, or 0. While they
    are summed, ``go_on(work, start, stop, features)`` is called for every stretch, if ``busy``:
    memory that is read and written in turns, by the stretch and not by the row, is never idle. Not
    ``live``, there is nothing to be summed.
    """
    init, accumulate, finalize, _, revisit, reaccumulate = distance[:6]
    revisit, reaccumulate = registered(revisit or _never), registered(reaccumulate or _same)
    merge, suffices = registered(distance[8]), registered(distance[9])
    row, decode, size = storage.row, storage.decode, storage.size
    in_float64 = _passes(accumulate, merge, _WIDE, storage, jitable)
    begin_in_float64, _, pass_in_float64, end_in_float64 = in_float64

    @jitable(fastmath=_REORDER)
    def further_pass(state: Any, x: Any, y: Any) -> Any:
        for k in range(x.shape[0]):
            state = reaccumulate(state, float64(decode(x[k])), float64(decode(y[k])))
        return state

    # Not inlined, for few rows need it.
    @jitable(forceinline=False)
    def settle(state: Any, x: int, y: int, features: int) -> Any:
        again = True
        while again:
            state = further_pass(state, row(x, features), row(y, features))
            again, state = revisit(state)
        return state, finalize(state)

    @jitable(forceinline=False)
    def measure_in_float64(fresh: Any, x: int, y: int, features: int) -> Any:
        parts, several = lanes(fresh), features >= 2 * LANES
        begin_in_float64(parts, several, fresh)
        state = pass_in_float64(parts, several, fresh, fresh, x, y, features)
        state = end_in_float64(parts, several, fresh, state)
        again, revised = revisit(state)
        if again:
            return settle(revised, x, y, features)
        return state, finalize(state)

    # Whether a row is to be read again, and the state to begin with; what does that.
    if suffices and storage.size == 2:
        passes = _passes(accumulate, merge, _SLIM, storage, jitable)
        read_again = measure_in_float64

        @jitable()
        def in_doubt(state: Any, fresh: Any) -> Any:
            return not suffices(state), fresh

    else:
        passes, read_again = in_float64, settle

        @jitable()
        def in_doubt(state: Any, fresh: Any) -> Any:
            return revisit(state)

    begin, first_pass, last_pass, end = passes
    block, step = min(_BLOCK, _BLOCK_SIZE // size), _STEP // size

    def measuring(go_on: Any = _nothing) -> Any:
        @jitable()
        def measure(
            rows: Any, features: int, parameters: Any, live: bool, busy: bool, work: Any
        ) -> Any:
            x, y, next_x, next_y = rows
            fresh = wide(init(0.0, *parameters))
            state, parts, several = fresh, lanes(fresh), features >= 2 * LANES
            begin(parts, several, fresh)
            whole = features - features % block
            for start in range(0, whole, block):
                for part in range(start, start + block, step):
                    at = part * size
                    if live:
                        if next_x != 0:
                            prefetch(next_x + at, _STEP)
                        if next_y != 0:
                            prefetch(next_y + at, _STEP)
                    if busy:
                        go_on(work, part, part + step, features)
                if live:
                    at = start * size
                    state = first_pass(parts, several, fresh, state, x + at, y + at, block)
            if whole < features:
                at, rest = whole * size, features - whole
                if live:
                    state = last_pass(parts, several, fresh, state, x + at, y + at, rest)
                if busy:
                    for part in range(whole, features, step):
                        go_on(work, part, min(part + step, features), features)
            if not live:
                return state, 0.0
            state = end(parts, several, fresh, state)
            again, anew = in_doubt(state, fresh)
            if again:
                return read_again(anew, x, y, features)
            # Not the state of a later pass: what init made constant is still so to the compiler.
            return state, finalize(state)

        return measure

    return measuring


@jitable()
def _aligned(first: int, start: int, stop: int, features: int, size: int) -> tuple[int, int]:
    """The stretch, moved to begin and end with a cache line of the array that begins at first.

    Large NumPy arrays begin 16 bytes after one, and every vector stored would straddle two.
    """
    shift = (first % 64) // size
    return max(start - shift, 0), features if stop == features else stop - shift


def _narrow(distance: Any, storage: Any, jitable: Any) -> tuple[Any, Any]:
    """The gradient in float32, for what is stored in no more and where that takes no time."""
    gradient, linear, suits = distance[3], registered(distance[7]), registered(distance[10])
    if linear or not suits or storage.size > 2:
        return linear_gradient(linear if storage.size <= 4 and has_fma() else None, fma, jitable)

    @jitable()
    def coefficients(c: float, s: Any, d: float) -> Any:
        fits = 2.0**-100 <= abs(c) <= 2.0**20 and suits(s, d)
        return fits, float32(c), slim(s), float32(d)

    @jitable()
    def slopes(coefficients: Any, x: Any, y: Any) -> Any:
        _, c, s, d = coefficients
        dx, dy = gradient(s, d, x, y)
        return c * float32(dx), c * float32(dy)

    return coefficients, slopes


def _sweep(gradient: Any, in_float32: Any, storage: Any, jitable: Any) -> Any:
    """Puts ``c * dd/d(side)`` of one distance into the gradient of one operand."""
    decode, encode = storage.decode, storage.encode
    coefficients, slopes = in_float32

    # Functions of their own, not inlined at the places that call them: half the time to compile.
    @jitable(forceinline=False)
    def sweep(mode: int, g: Any, total: Any, part: Any) -> None:
        c, s, d, x, y, side = part
        if mode == WRITE:
            factors = coefficients(c, s, d)
            if c == 0:
                for k in range(x.shape[0]):
                    g[k] = 0
            elif factors[0]:
                for k in range(x.shape[0]):
                    to_x, to_y = slopes(factors, decode(x[k]), decode(y[k]))
                    g[k] = encode(to_y if side else to_x)
            else:
                for k in range(x.shape[0]):
                    dx, dy = gradient(s, d, float64(decode(x[k])), float64(decode(y[k])))
                    g[k] = encode(c * (dy if side else dx))
        elif mode == ADD and c != 0:
            for k in range(x.shape[0]):
                dx, dy = gradient(s, d, float64(decode(x[k])), float64(decode(y[k])))
                total[k] += c * (dy if side else dx)

    return sweep


def _sweep_pair(gradient: Any, in_float32: Any, storage: Any, jitable: Any) -> tuple[Any, Any]:
    """Writes both gradients of a sample while the next one is measured.

    Returns:
        ``begin(c, state, d, x, y, gx, gy)``, what is to be kept of the sample, and ``go_on(work,
        start, stop, features)``, to be called for every stretch of the row; work is the address
        where that is kept, and one like it.
    """
    size = storage.size
    coefficients, slopes_in_float32 = in_float32

    @jitable()
    def slopes(part: Any, x: float, y: float) -> Any:
        c, s, d = part
        dx, dy = gradient(s, d, x, y)
        return c * dx, c * dy

    write = _write_two(slopes, float64, storage, jitable)
    write_in_float32 = _write_two(slopes_in_float32, float32, storage, jitable)

    @jitable()
    def begin(c: float, s: Any, d: float, rows: Any, grads: Any, queue: int) -> Any:
        return (c, s, d), coefficients(c, s, d), rows, grads, queue

    @jitable()
    def go_on(work: Any, start: int, stop: int, features: int) -> None:
        part, factors, rows, grads, queue = take(*work)
        start, stop = _aligned(grads[0], start, stop, features, size)
        at, length = start * size, stop - start
        given = rows[0] + at, rows[1] + at
        taken = place(queue, 0, grads[0] + at), place(queue, 1, grads[1] + at)
        if factors[0]:
            write_in_float32(factors, given, taken, length)
        else:
            write(part, given, taken, length)
        if queue != 0:
            stream(queue, 0, length * size)
            stream(queue, 1, length * size)

    return begin, go_on


def _write_two(slopes: Any, number: Any, storage: Any, jitable: Any) -> Any:
    """The loop of :func:`_sweep_pair`: ``(parts, rows, gradients, length)``, both by address."""
    row, decode, encode, size = storage.row, storage.decode, storage.encode, storage.size
    pair, put_pair = storage.pair, storage.put_pair

    @jitable()
    def one_by_one(parts: Any, given: Any, taken: Any, length: int) -> None:
        x, y = row(given[0], length), row(given[1], length)
        gx, gy = row(taken[0], length), row(taken[1], length)
        for k in range(length):
            to_x, to_y = slopes(parts, number(decode(x[k])), number(decode(y[k])))
            gx[k] = encode(to_x)
            gy[k] = encode(to_y)

    @jitable()
    def by_pairs(parts: Any, given: Any, taken: Any, length: int) -> None:
        for k in range(length // 2):
            (x, next_x), (y, next_y) = pair(given[0], k), pair(given[1], k)
            to_x, to_y = slopes(parts, x, y)
            next_to_x, next_to_y = slopes(parts, next_x, next_y)
            put_pair(taken[0], k, to_x, next_to_x)
            put_pair(taken[1], k, to_y, next_to_y)
        at, rest = (length - length % 2) * size, length % 2
        given, taken = (given[0] + at, given[1] + at), (taken[0] + at, taken[1] + at)
        one_by_one(parts, given, taken, rest)

    return by_pairs if put_pair and number is float32 else one_by_one


def _sweep_three(
    gradient: Any, linear: Any, storage: Any, jitable: Any, swap: bool
) -> tuple[Any, Any]:
    """The same for the distances (a,p) and (a,n), with ``swap`` or (p,n), and three gradients.

    In float64, as the two parts of one of them may cancel, and the others come with it. For half
    types in float32, where the gradient is linear: that of the sum of both does not cancel.
    """
    size = storage.size
    half = size == 2 and bool(linear) and has_fma()
    coefficients, slopes_in_float32 = linear_triplet_gradient(
        linear if half else None, swap, fma, jitable
    )

    @jitable()
    def slopes(parts: Any, a: float, p: float, n: float) -> Any:
        (c1, s1, d1), (c2, s2, d2), of_p = parts
        of_p = swap and of_p
        da, dp = gradient(s1, d1, a, p)
        # The one that is in both distances.
        dq, dn = gradient(s2, d2, p if of_p else a, n)
        part_a, part_p, part_q = c1 * da, c1 * dp, c2 * dq
        return (
            part_a if of_p else part_a + part_q,
            part_p + part_q if of_p else part_p,
            c2 * dn,
        )

    write = _write_three(slopes, float64, storage, jitable)
    write_in_float32 = _write_three(slopes_in_float32, float32, storage, jitable)

    @jitable()
    def begin(first: Any, second: Any, of_p: bool, rows: Any, grads: Any, queue: int) -> Any:
        return (first, second, of_p), coefficients(first, second, of_p), rows, grads, queue

    @jitable()
    def go_on(work: Any, start: int, stop: int, features: int) -> None:
        parts, factors, rows, grads, queue = take(*work)
        start, stop = _aligned(grads[0], start, stop, features, size)
        at, length = start * size, stop - start
        given = rows[0] + at, rows[1] + at, rows[2] + at
        to_a, to_p = place(queue, 0, grads[0] + at), place(queue, 1, grads[1] + at)
        taken = to_a, to_p, place(queue, 2, grads[2] + at)
        if half and factors[0]:
            write_in_float32(factors, given, taken, length)
        else:
            write(parts, given, taken, length)
        if queue != 0:
            stream(queue, 0, length * size)
            stream(queue, 1, length * size)
            stream(queue, 2, length * size)

    return begin, go_on


def _write_three(slopes: Any, number: Any, storage: Any, jitable: Any) -> Any:
    """The loop of :func:`_sweep_three`, as :func:`_write_two`."""
    row, decode, encode, size = storage.row, storage.decode, storage.encode, storage.size
    pair, put_pair = storage.pair, storage.put_pair

    @jitable()
    def one_by_one(parts: Any, given: Any, taken: Any, length: int) -> None:
        a, p, n = row(given[0], length), row(given[1], length), row(given[2], length)
        ga, gp, gn = row(taken[0], length), row(taken[1], length), row(taken[2], length)
        for k in range(length):
            to_a, to_p, to_n = slopes(
                parts, number(decode(a[k])), number(decode(p[k])), number(decode(n[k]))
            )
            ga[k] = encode(to_a)
            gp[k] = encode(to_p)
            gn[k] = encode(to_n)

    @jitable()
    def by_pairs(parts: Any, given: Any, taken: Any, length: int) -> None:
        for k in range(length // 2):
            a, next_a = pair(given[0], k)
            p, next_p = pair(given[1], k)
            n, next_n = pair(given[2], k)
            to_a, to_p, to_n = slopes(parts, a, p, n)
            next_to_a, next_to_p, next_to_n = slopes(parts, next_a, next_p, next_n)
            put_pair(taken[0], k, to_a, next_to_a)
            put_pair(taken[1], k, to_p, next_to_p)
            put_pair(taken[2], k, to_n, next_to_n)
        at, rest = (length - length % 2) * size, length % 2
        given = given[0] + at, given[1] + at, given[2] + at
        taken = taken[0] + at, taken[1] + at, taken[2] + at
        one_by_one(parts, given, taken, rest)

    return by_pairs if put_pair and number is float32 else one_by_one


def _sweep_both(gradient: Any, storage: Any, jitable: Any) -> Any:
    """:func:`_sweep` for an operand that takes part in two distances."""
    decode, encode = storage.decode, storage.encode
    sweep = _sweep(gradient, linear_gradient(None, fma, jitable), storage, jitable)

    @jitable(forceinline=False)
    def sweep_both(mode: int, g: Any, total: Any, first: Any, second: Any) -> None:
        c1, s1, d1, x1, y1, side1 = first
        c2, s2, d2, x2, y2, side2 = second
        if mode == WRITE and c1 != 0 and c2 != 0:
            for k in range(x1.shape[0]):
                dx, dy = gradient(s1, d1, float64(decode(x1[k])), float64(decode(y1[k])))
                part = c1 * (dy if side1 else dx)
                dx, dy = gradient(s2, d2, float64(decode(x2[k])), float64(decode(y2[k])))
                g[k] = encode(part + c2 * (dy if side2 else dx))
        elif mode == WRITE:
            sweep(mode, g, total, second if c1 == 0 else first)
        elif mode == ADD:
            sweep(mode, g, total, first)
            sweep(mode, g, total, second)

    return sweep_both


@jitable()
def _clear(sums: Any, modes: Any, t: int, features: int) -> None:
    for operand in range(len(modes)):
        if modes[operand] == ADD:
            total = doubles(sums[operand] + t * features * 8, features)
            for k in range(features):
                total[k] = 0


def _pair(function: Any, distance: Any, storage: Any, unpack: Any, jitable: Any) -> Any:
    init, gradient, row = distance[0], distance[3], storage.row
    prepare = registered(distance[6] or as_it_is)
    in_float32 = _narrow(distance, storage, jitable)
    sweep = _sweep(gradient, in_float32, storage, jitable)
    begin, go_on = _sweep_pair(gradient, in_float32, storage, jitable)
    measure = _measuring(distance, storage, jitable)(go_on)

    def kernel(t: int, block: int) -> int:
        out, operands, order, numbers, of_distance, of_loss = unpack(block)
        rows, grads, sums, modes = operands
        geometry, inner, segments, features, past = order
        target, weight, scale = numbers
        o, segment = t // segments, t % segments
        _clear(sums, modes, t, features)
        sum_x = doubles(sums[0] + t * features * 8, features)
        sum_y = doubles(sums[1] + t * features * 8, features)
        wanted = modes[0] != SKIP or modes[1] != SKIP
        # The sample whose gradients are still to be written is kept in memory: as variables of the
        # loop it took 50 of the 250 instructions of a row of 16, wanted or not.
        none = prepare(wide(init(0.0, *of_distance)), 0.0)
        like = begin(0.0, none, 0.0, (0, 0), (0, 0), 0)
        kept, busy = room(like), False
        queue = queues(2) if past else 0
        work = kept, like
        end = (segment + 1) * inner // segments
        for inside in range(segment * inner // segments, end + 1):
            # One round more than there are samples, for the gradients of the last one.
            live = inside < end
            if not (live or busy):
                break
            position = o * inner + min(inside, end - 1)
            x, next_x = _row_and_next(rows[0], position, geometry, 1)
            y, next_y = _row_and_next(rows[1], position, geometry, 2)
            where = x, y, next_x, next_y
            state, d = measure(where, features, of_distance, live, busy, work)
            if not live:
                break
            i = _offset(position, geometry, 5)
            value, slopes = function((d,), _at(target, i), *of_loss)
            w = _mostly_one(weight, i)
            doubles(out + 8 * i, 1)[0] = w * value
            if not wanted:
                continue
            c = times(w * _mostly_one(scale, i), slopes[0])
            gx = grads[0] + _offset(position, geometry, 3)
            gy = grads[1] + _offset(position, geometry, 4)
            state = prepare(state, d)
            busy = modes[0] == WRITE and modes[1] == WRITE and c != 0
            if busy:
                put(kept, begin(c, state, d, (x, y), (gx, gy), queue))
                continue
            xs, ys = row(x, features), row(y, features)
            if modes[0] != SKIP:
                sweep(modes[0], row(gx, features), sum_x, (c, state, d, xs, ys, 0))
            if modes[1] != SKIP:
                sweep(modes[1], row(gy, features), sum_y, (c, state, d, xs, ys, 1))
        if past:
            finish(queue, 2)
        return 1

    return kernel


def _triplet_kernel(
    function: Any, distance: Any, storage: Any, unpack: Any, jitable: Any, swap: bool
) -> Any:
    init, gradient, row = distance[0], distance[3], storage.row
    prepare = registered(distance[6] or as_it_is)
    begin, go_on = _sweep_three(gradient, registered(distance[7]), storage, jitable, swap)
    measuring = _measuring(distance, storage, jitable)
    measure_and_write, measure = measuring(go_on), measuring()
    sweep = _sweep_both(gradient, storage, jitable)
    if swap:
        third = measure

        @jitable()
        def judge(d1: float, d2: float, d3: float, label: float, parameters: Any) -> Any:
            return function((d1, d2, d3), label, *parameters)

    else:

        @jitable()
        def third(
            rows: Any, features: int, parameters: Any, live: bool, busy: bool, work: Any
        ) -> Any:
            return wide(init(0.0, *parameters)), 0.0

        @jitable()
        def judge(d1: float, d2: float, d3: float, label: float, parameters: Any) -> Any:
            value, slopes = function((d1, d2), label, *parameters)
            return value, (slopes[0], slopes[1], 0.0)

    def kernel(t: int, block: int) -> int:
        out, operands, order, numbers, of_distance, of_loss = unpack(block)
        rows, grads, sums, modes = operands
        geometry, inner, segments, features, past = order
        target, weight, scale = numbers
        o, segment = t // segments, t % segments
        _clear(sums, modes, t, features)
        sum_a = doubles(sums[0] + t * features * 8, features)
        sum_p = doubles(sums[1] + t * features * 8, features)
        sum_n = doubles(sums[2] + t * features * 8, features)
        wanted = modes[0] != SKIP or modes[1] != SKIP or modes[2] != SKIP
        none = 0.0, prepare(wide(init(0.0, *of_distance)), 0.0), 0.0
        like = begin(none, none, False, (0, 0, 0), (0, 0, 0), 0)
        kept, busy = room(like), False
        queue = queues(3) if past else 0
        work = kept, like
        end = (segment + 1) * inner // segments
        for inside in range(segment * inner // segments, end + 1):
            # One round more than there are samples, for the gradients of the last one.
            live = inside < end
            if not (live or busy):
                break
            position = o * inner + min(inside, end - 1)
            at_a, next_a = _row_and_next(rows[0], position, geometry, 1)
            at_p, next_p = _row_and_next(rows[1], position, geometry, 2)
            at_n, next_n = _row_and_next(rows[2], position, geometry, 3)
            where = at_a, at_p, next_a, next_p
            s1, d1 = measure_and_write(where, features, of_distance, live, busy, work)
            if not live:
                break
            s2, d2 = measure((at_a, at_n, 0, next_n), features, of_distance, True, False, 0)
            s3, d3 = third((at_p, at_n, 0, 0), features, of_distance, True, False, 0)
            a, p, n = row(at_a, features), row(at_p, features), row(at_n, features)
            i = _offset(position, geometry, 7)
            value, slopes = judge(d1, d2, d3, _at(target, i), of_loss)
            w = _mostly_one(weight, i)
            doubles(out + 8 * i, 1)[0] = w * value
            if not wanted:
                continue
            c = w * _mostly_one(scale, i)
            c1, c2, c3 = times(c, slopes[0]), times(c, slopes[1]), times(c, slopes[2])
            s1, s2, s3 = prepare(s1, d1), prepare(s2, d2), prepare(s3, d3)
            at_ga = grads[0] + _offset(position, geometry, 4)
            at_gp = grads[1] + _offset(position, geometry, 5)
            at_gn = grads[2] + _offset(position, geometry, 6)
            write_all = modes[0] == WRITE and modes[1] == WRITE and modes[2] == WRITE
            of_p = swap and c2 == 0
            second = (c3, s3, d3) if of_p else (c2, s2, d2)
            busy = write_all and c1 != 0 and second[0] != 0 and (of_p or c3 == 0)
            if busy:
                rows_of, grads_of = (at_a, at_p, at_n), (at_ga, at_gp, at_gn)
                put(kept, begin((c1, s1, d1), second, of_p, rows_of, grads_of, queue))
                continue
            if modes[0] != SKIP:
                ap, an = (c1, s1, d1, a, p, 0), (c2, s2, d2, a, n, 0)
                sweep(modes[0], row(at_ga, features), sum_a, ap, an)
            if modes[1] != SKIP:
                ap, pn = (c1, s1, d1, a, p, 1), (c3, s3, d3, p, n, 0)
                sweep(modes[1], row(at_gp, features), sum_p, ap, pn)
            if modes[2] != SKIP:
                an, pn = (c2, s2, d2, a, n, 1), (c3, s3, d3, p, n, 1)
                sweep(modes[2], row(at_gn, features), sum_n, an, pn)
        if past:
            finish(queue, 3)
        return 1

    return kernel


def _triplet(function: Any, distance: Any, storage: Any, unpack: Any, jitable: Any) -> Any:
    return _triplet_kernel(function, distance, storage, unpack, jitable, swap=False)


def _triplet_swap(function: Any, distance: Any, storage: Any, unpack: Any, jitable: Any) -> Any:
    return _triplet_kernel(function, distance, storage, unpack, jitable, swap=True)


def _pointwise(function: Any, distance: Any, storage: Any, unpack: Any, jitable: Any) -> Any:
    gather, scatter = _columns(storage, jitable)
    gather_doubles, scatter_doubles = _columns(STORAGE["float64"], jitable)
    gather_floats, _ = _columns(STORAGE["float32"], jitable)

    @jitable()
    def fetch(column: Any, values: Any, i: int, step: int, count: int) -> None:
        address, each, constant, kind = values
        first, stride = i * each, step * each
        if address == 0:
            for k in range(count):
                column[k] = constant
        elif kind == DOUBLES:
            gather_doubles(column, constant, address + 8 * first, 8 * stride, count)
        elif kind == FLOATS:
            gather_floats(column, constant, address + 4 * first, 4 * stride, count)
        else:
            for k in range(count):
                column[k] = _at(values, i + k * step)

    def kernel(t: int, block: int) -> int:
        out, operands, order, numbers, _, of_loss = unpack(block)
        rows, grads, _, modes = operands
        geometry, inner, segments, _, _ = order
        target, weight, scale = numbers
        arity, last = len(rows), geometry.shape[1] - 1
        samples = geometry.shape[0] - 1
        # A column for each distance, where its slope comes after it.
        table = lanes(rows)
        labels, weights = doubles(lanes((0.0,)), LANES), doubles(lanes((0.0,)), LANES)
        scales = doubles(lanes((0.0,)), LANES)
        o, segment = t // segments, t % segments
        position = o * inner + segment * inner // segments
        end = o * inner + (segment + 1) * inner // segments
        while position < end:
            # None beyond the end of the innermost axis: up to there the strides are the same.
            length = geometry[0, last]
            count = min(LANES, end - position, length - position % length)
            for operand in range(arity):
                at = rows[operand] + _offset(position, geometry, 1 + operand)
                column = doubles(table + 8 * LANES * operand, LANES)
                gather(column, 1.0, at, geometry[1 + operand, last], count)
            i, step = _offset(position, geometry, samples), geometry[samples, last]
            fetch(labels, target, i, step, count)
            fetch(weights, weight, i, step, count)
            fetch(scales, scale, i, step, count)
            for k in range(count):
                value, slopes = function(take_lane(table, k, rows), labels[k], *of_loss)
                put_lane(table, k, slopes)
                labels[k] = weights[k] * value
                scales[k] *= weights[k]
            scatter_doubles(labels, out + 8 * i, 8 * step, count)
            for operand in range(arity):
                if modes[operand] == WRITE:
                    column = doubles(table + 8 * LANES * operand, LANES)
                    for k in range(count):
                        column[k] = times(scales[k], column[k])
                    at = grads[operand] + _offset(position, geometry, 1 + arity + operand)
                    scatter(column, at, geometry[1 + arity + operand, last], count)
            position += count
        return 1

    return kernel


def _columns(storage: Any, jitable: Any) -> tuple[Any, Any]:
    """Takes numbers at equal distances, times a factor, into a column of float64, and back."""
    row, decode, encode, size = storage.row, storage.decode, storage.encode, storage.size

    @jitable()
    def gather(column: Any, factor: float, address: int, stride: int, count: int) -> None:
        if stride == size:
            numbers = row(address, count)
            for k in range(count):
                column[k] = factor * float64(decode(numbers[k]))
        else:
            for k in range(count):
                column[k] = factor * float64(decode(row(address + k * stride, 1)[0]))

    @jitable()
    def scatter(column: Any, address: int, stride: int, count: int) -> None:
        if stride == size:
            numbers = row(address, count)
            for k in range(count):
                numbers[k] = encode(column[k])
        else:
            for k in range(count):
                row(address + k * stride, 1)[0] = encode(column[k])

    return gather, scatter
