"""Pair, triplet and pointwise loops for NVIDIA GPUs.

A *team* of threads visits the samples of a task: a part of a warp where rows are short, a whole
block where they are long. Each thread takes its part of a row, 16 bytes at a time where the
addresses allow it; the parts of the state are merged, which leaves every thread of the team with
the whole, and each writes its part of the gradients.

Sums are float64 here too. On the cards this is for (A100, H100 and later) two conversions and three
products with sum for each pair of numbers, as the cosine takes, are a third of what the processor
does while memory delivers a pair of float32, and two thirds for half types; values, slopes and what
else there is one of per row is lost in that. On cards with a 64th of the rate, which do about two
of these a clock and processor, the same count is what float32 takes to be delivered and twice what
half types take. What would help there is a first pass in float32, a vector at a time, and this one
for the rows whose sums that leaves in doubt, as the CPU has it for half types (``suffices`` of a
:class:`~fastcos.Distance`); it is not worth a second kernel to the cards at hand.
Gradients that are linear in the rows are computed in float32, to the same accuracy
(:mod:`fastcos.kernels.linear`).

Nothing is added up by atomics: a team's sum, its block's, and the sum over the blocks, which is a
kernel of its own, are taken in an order that follows from the shape.

The functions here return plain Python functions. What they use of the machine comes with ``gpu``,
:mod:`fastcos.kernels._gpu` or a simulator of it.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from numba import float64

from fastcos.distances import Functions
from fastcos.kernels import ADD, BOOLS, DOUBLES, FLOATS, LONGS, OWN, WRITE
from fastcos.kernels.functions import as_it_is, is_ours, jitable, registered, times
from fastcos.kernels.linear import linear_gradient
from fastcos.losses import Loss

#: Threads of a block, where a team is not one.
THREADS = 128
#: Threads of a warp: the largest team that is not a block.
WARP = 32
_ALL = 0xFFFFFFFF
# Vectors of 16 bytes that a thread takes of each row, at most. Many, for what follows the sums is
# the same work for every row; but the rows that a processor works on are read a second time for
# the gradient, from its first-level cache if they are not too many: 16 warps of 12 vectors of two
# rows are 196 KB of 256.
_VECTORS = 12
# Threads side by side, who read 64 bytes: what memory delivers is 32 or more.
_NEIGHBOURS = 4
# Of 65536 registers each of 256 threads may have as many as there can be.
_LARGEST_TEAM = 256


class Layout(NamedTuple):
    """How threads share out rows.

    Args:
        shift: Logarithm of how many are a team.
        threads: Of a block.
    """

    shift: int
    threads: int

    @property
    def wide(self) -> bool:
        """Whether a team is a block."""
        return 1 << self.shift > WARP


def layout(features: int, dtype: str) -> Layout:
    """How threads share out rows of so many numbers."""
    size = 8 if dtype == "float64" else 4 if dtype == "float32" else 2
    vectors = -(-features * size // 16)
    team = max(min(-(-vectors // _VECTORS), _LARGEST_TEAM), min(vectors, _NEIGHBOURS))
    shift = (team - 1).bit_length()
    return Layout(shift, THREADS if 1 << shift <= WARP else 1 << shift)


#: Of the kernel that sums up what the blocks have left.
FINISHING = Layout(0, 256)


class Variant(NamedTuple):
    """What a kernel is compiled for, apart from the functions.

    Args:
        dtype: Of the operands and gradients.
        parameters: How many the distance has, and how many the loss.
        columns: How many axes the geometry has.
        gradients: "none", "written", or "summed" where some are added up over shared rows.
        wide: Whether a team is a block.
    """

    dtype: str
    parameters: tuple[int, int]
    columns: int = 1
    gradients: str = "none"
    wide: bool = False


# --------------------------------------------------------------------------------------------------
# Arguments
# --------------------------------------------------------------------------------------------------

# A kernel takes int64 numbers and float64 numbers, a tuple of each:
#
# 0-2     the address of the losses (0: not wanted), whether they are float64 there (or of the
#         dtype), the address of the sums of the blocks, float64
# 3-6     tasks, inner, segments, features: task ``o * segments + s`` visits the samples
#         ``o * inner + i`` for i = s, s + segments, ...
# 7       the logarithm of the number of threads of a team
# 8-16    of the labels, of the weights and of the scales the address, the step and how they are
#         written, as the CPU's kernels have it
# 17-18   the address of a number, or 0, and how it is written: where it is exactly 1, everything is
#         left as it is
# 19-     per operand the address of the data, then those of the gradients, of the float64 sums (a
#         row per task), then SKIP, WRITE or ADD per operand; then the geometry, row by row
#
# and: label, weight and scale of all samples or, where there is an address, the factor; then the
# parameters of the distance and of the loss.
_FIXED = 19


def signature(operands: int, variant: Variant) -> tuple[int, int]:
    """How many int64 and how many float64 numbers a kernel takes."""
    geometry = (2 + 2 * operands) * variant.columns
    return _FIXED + 4 * operands + geometry, 3 + sum(variant.parameters)


# --------------------------------------------------------------------------------------------------
# Kernels
# --------------------------------------------------------------------------------------------------


def pair(loss: Loss, distance: Functions, variant: Variant, gpu: Any) -> Callable[..., None]:
    """The kernel of a loss of one distance between two operands."""
    return _kernel(2, variant, gpu, _rows(loss, distance, variant, gpu), _fields(distance, variant))


def triplet(loss: Loss, distance: Functions, variant: Variant, gpu: Any) -> Callable[..., None]:
    """The kernel of a loss of the distances (a,p), (a,n) and, for a loss of three, (p,n)."""
    return _kernel(3, variant, gpu, _rows(loss, distance, variant, gpu), _fields(distance, variant))


def pointwise(loss: Loss, variant: Variant, gpu: Any) -> Callable[..., None]:
    """The kernel of a loss of distances that were computed elsewhere."""
    return _kernel(loss.arity, variant, gpu, _points(loss, variant, gpu), 1)


def finishing(dtype: str, gpu: Any) -> Callable[..., None]:
    """The kernel that sums up float64 numbers, over a denominator, to one number of a dtype.

    It takes the address of the numbers, how many they are, the address of the denominator or 0 and
    that of the result; and the denominator, where there is no address. Over 0 the sum is 0.
    """
    cuda, get, put = gpu.cuda, gpu.get_double, gpu.STORAGE[dtype].put
    number, block_sum = gpu.STORAGE[dtype].number, _block_sum(gpu)

    def finish(n: Any, d: Any) -> None:
        numbers, count, denominator_at, out = n
        shared = cuda.shared.array(WARP, float64)
        total = 0.0
        k = cuda.threadIdx.x
        while k < count:
            total += get(numbers + 8 * k)
            k += cuda.blockDim.x
        total = block_sum(shared, total)
        if cuda.threadIdx.x == 0:
            denominator = d[0] if denominator_at == 0 else get(denominator_at)
            put(out, number(total / denominator if denominator != 0 else 0.0))

    return finish


def _kernel(
    operands: int, variant: Variant, gpu: Any, sample: Any, fields: int
) -> Callable[..., None]:
    """Which thread visits which samples, and the sum of their losses."""
    cuda, put_double = gpu.cuda, gpu.put_double
    storage = gpu.STORAGE[variant.dtype]
    put, number, size = storage.put, storage.number, storage.size
    at, block_sum = _at(variant, gpu), _block_sum(gpu)
    place = _offset(variant.columns, 1 + 2 * operands)
    grads_from, sums_from = _FIXED + operands, _FIXED + 2 * operands
    modes_from, geometry_from = _FIXED + 3 * operands, _FIXED + 4 * operands
    loss_from = 3 + variant.parameters[0]
    # Of a block that is a team: a state for each warp, and the one merged from them.
    room = (WARP + 1) * fields if variant.wide else WARP

    def kernel(n: Any, d: Any) -> None:
        if n[17] != 0 and at(n[17], 0, 1.0, n[18], 0) == 1:
            return
        shared = cuda.shared.array(room, float64)
        tasks, inner, segments, features, shift = n[3], n[4], n[5], n[6], n[7]
        width = 1 << shift
        lane = cuda.threadIdx.x & (width - 1)
        task = cuda.blockIdx.x * (cuda.blockDim.x >> shift) + (cuda.threadIdx.x >> shift)
        addresses = n[_FIXED:grads_from], n[grads_from:sums_from], n[sums_from:modes_from]
        modes, geometry = n[modes_from:geometry_from], n[geometry_from:]
        total = 0.0
        if task < tasks:
            outer, inside = 0, task
            if tasks != segments:
                outer = task // segments
                inside = task - outer * segments
            first = True
            while inside < inner:
                position = outer * inner + inside
                i = place(position, geometry)
                weight = at(n[11], n[12], d[1], n[13], i)
                value = weight * sample(
                    (shared, lane, width),
                    addresses,
                    modes,
                    (position, geometry, features, task, first),
                    at(n[8], n[9], d[0], n[10], i),
                    weight * at(n[14], n[15], d[2], n[16], i),
                    d[3:loss_from],
                    d[loss_from:],
                )
                total += value
                if n[0] != 0 and lane == 0:
                    if n[1] != 0:
                        put_double(n[0] + 8 * i, value)
                    else:
                        put(n[0] + size * i, number(value))
                first = False
                inside += segments
        cuda.syncthreads()
        total = block_sum(shared, total if lane == 0 else 0.0)
        if cuda.threadIdx.x == 0:
            put_double(n[2] + 8 * cuda.blockIdx.x, total)

    return kernel


def _block_sum(gpu: Any) -> Any:
    """``(shared, number) -> sum`` over the block, for its first thread."""
    cuda = gpu.cuda

    @jitable()
    def block_sum(shared: Any, number: Any) -> Any:
        step = WARP >> 1
        while step > 0:
            number += cuda.shfl_xor_sync(_ALL, number, step)
            step >>= 1
        if cuda.threadIdx.x & (WARP - 1) == 0:
            shared[cuda.threadIdx.x // WARP] = number
        cuda.syncthreads()
        total = 0.0
        if cuda.threadIdx.x == 0:
            for warp in range(cuda.blockDim.x // WARP):
                total += shared[warp]
        return total

    return block_sum


def _at(variant: Variant, gpu: Any) -> Any:
    """The number of sample i: address, step, constant and kind are as the CPU's kernels have it."""
    own, size = gpu.STORAGE[variant.dtype].get, gpu.STORAGE[variant.dtype].size
    get_double, get_float, get_long, get_byte = (
        gpu.get_double,
        gpu.get_float,
        gpu.get_long,
        gpu.get_byte,
    )

    @jitable()
    def at(address: Any, step: Any, constant: Any, kind: Any, i: Any) -> Any:
        if address == 0:
            return constant
        i *= step
        if kind == DOUBLES:
            return constant * get_double(address + 8 * i)
        if kind == FLOATS:
            return constant * get_float(address + 4 * i)
        if kind == LONGS:
            return constant * get_long(address + 8 * i)
        if kind == OWN:
            return constant * float64(own(address + size * i))
        label = constant * get_byte(address + i)
        return 2 * label - 1 if kind == BOOLS else label

    return at


# A loop over a tuple has to be none: a thread counts its way through memory, not through registers.


def _tuple_of(count: int, make: Callable[[int], Any]) -> Any:
    """``(*args) -> (make(0)(*args), make(1)(*args), ...)``."""
    if count > 3:
        # Three at a time: the compiler takes 10 ms for each function.
        before, after = _tuple_of(3, make), _tuple_of(count - 3, lambda k: make(k + 3))
        return jitable()(lambda *args: (*before(*args), *after(*args)))
    each: list[Any] = [jitable()(make(k)) for k in range(count)]
    first, second, third = (*each, None, None)[:3]
    return jitable()(
        (
            lambda *args: (first(*args),),
            lambda *args: (first(*args), second(*args)),
            lambda *args: (first(*args), second(*args), third(*args)),
        )[count - 1]
    )


def _every(count: int, make: Callable[[int], Any]) -> Any:
    """``(*args) -> make(0)(*args) and make(1)(*args) ...``."""
    last = jitable()(make(count - 1))
    if count == 1:
        return last
    before = _every(count - 1, make)

    @jitable()
    def upto(*args: Any) -> bool:
        return before(*args) and last(*args)

    return upto


def _offset(columns: int, row: int) -> Any:
    """``(position, geometry) -> bytes``: where a sample lies along a row of the geometry."""

    def upto(axis: int) -> Any:
        stride = row * columns + axis
        if axis == 0:
            return jitable()(lambda position, geometry: position * geometry[stride])
        before = upto(axis - 1)

        @jitable()
        def offset(position: Any, geometry: Any) -> Any:
            outer = position // geometry[axis]
            inside = position - outer * geometry[axis]
            return before(outer, geometry) + inside * geometry[stride]

        return offset

    return upto(columns - 1)


def _places(count: int, variant: Variant, row: int) -> Any:
    """``(addresses, position, geometry) -> addresses`` of a sample, by that row and the next."""

    def place(k: int) -> Any:
        offset = _offset(variant.columns, row + k)
        return lambda at, position, geometry: at[k] + offset(position, geometry)

    return _tuple_of(count, place)


# --------------------------------------------------------------------------------------------------
# Samples: the value of one, its gradients written on the way
# --------------------------------------------------------------------------------------------------

# Which operands the distances of a loss are between, by how many those are.
_PAIRS = {1: ((0, 1),), 2: ((0, 1), (0, 2)), 3: ((0, 1), (0, 2), (1, 2))}


def _operands(arity: int) -> int:
    return 1 + max(j for _, j in _PAIRS[arity])


def _points(loss: Loss, variant: Variant, gpu: Any) -> Any:
    """Of distances."""
    function, count = registered(loss.function), loss.arity
    storage = gpu.STORAGE[variant.dtype]
    get, put, number = storage.get, storage.put, storage.number
    rows_at, grads_at = _places(count, variant, 1), _places(count, variant, 1 + count)
    numbers = _tuple_of(count, lambda k: lambda rows: float64(get(rows[k])))

    def write(k: int) -> Any:
        def one(modes: Any, grads: Any, c: Any, slopes: Any) -> bool:
            if modes[k] == WRITE:
                put(grads[k], number(times(c, slopes[k])))
            return True

        return one

    write_all = _tuple_of(count, write)

    @jitable()
    def sample(
        team: Any,
        addresses: Any,
        modes: Any,
        where: Any,
        label: Any,
        c: Any,
        of_distance: Any,
        of_loss: Any,
    ) -> Any:
        position, geometry, _, _, _ = where
        d = numbers(rows_at(addresses[0], position, geometry))
        value, slopes = function(d, label, *of_loss)
        write_all(modes, grads_at(addresses[1], position, geometry), c, slopes)
        return value

    return sample


def _rows(loss: Loss, distance: Functions, variant: Variant, gpu: Any) -> Any:
    """Of rows."""
    function, prepare = registered(loss.function), registered(distance[6] or as_it_is)
    count = _operands(loss.arity)
    rows_at, grads_at = _places(count, variant, 1), _places(count, variant, 1 + count)
    measure = _measure(loss.arity, distance, variant, gpu)
    writers = {"none": _write_nothing, "written": _write, "summed": _write_and_sum}
    write = writers[variant.gradients](loss.arity, distance, variant, gpu)

    def part(k: int) -> Any:
        def one(c: Any, slopes: Any, states: Any, d: Any) -> Any:
            return times(c, slopes[k]), prepare(states[k], d[k]), d[k]

        return one

    all_parts = _tuple_of(loss.arity, part)

    @jitable()
    def sample(
        team: Any,
        addresses: Any,
        modes: Any,
        where: Any,
        label: Any,
        c: Any,
        of_distance: Any,
        of_loss: Any,
    ) -> Any:
        position, geometry, features, _, _ = where
        rows = rows_at(addresses[0], position, geometry)
        states, d = measure(team, rows, features, of_distance)
        value, slopes = function(d, label, *of_loss)
        grads = grads_at(addresses[1], position, geometry)
        write(team, all_parts(c, slopes, states, d), rows, grads, addresses[2], modes, where)
        return value

    return sample


# --------------------------------------------------------------------------------------------------
# Measuring
# --------------------------------------------------------------------------------------------------


def _fields(distance: Functions, variant: Variant) -> int:
    """How many numbers the state of a distance has."""
    init: Any = distance[0]
    return len(init(0.0, *[1.0] * variant.parameters[0]))


def _measure(arity: int, distance: Functions, variant: Variant, gpu: Any) -> Any:
    """``(team, rows, features, parameters) -> (states, distances)``, for the team as a whole."""
    init, accumulate, finalize = map(registered, distance[:3])
    pairs, fields = _PAIRS[arity], _fields(distance, variant)
    gather = _gathered(distance, variant, gpu)
    settle = _settle(distance, gather, variant, gpu)
    wide = _tuple_of(fields, lambda k: lambda state: float64(state[k]))
    starts = _tuple_of(arity, lambda k: lambda start: start)
    distances = _tuple_of(arity, lambda k: lambda states: finalize(states[k]))

    def take(k: int) -> Any:
        i, j = pairs[k]
        return lambda states, n: accumulate(states[k], float64(n[i]), float64(n[j]))

    def settled(k: int) -> Any:
        i, j = pairs[k]

        def one(team: Any, parts: Any, start: Any, rows: Any, features: Any) -> Any:
            return settle(team, gather(team, parts[k], start), (rows[i], rows[j]), features)

        return one

    # Of memory that answers after 700 ns, 25 KB have to be under way to each processor.
    ahead = 4 if arity == 1 and variant.gradients != "summed" else 2
    first_pass = _pass(_operands(arity), ahead, _tuple_of(arity, take), variant, gpu)
    all_settled = _tuple_of(arity, settled)

    @jitable()
    def measure(team: Any, rows: Any, features: Any, parameters: Any) -> Any:
        start = wide(init(0.0, *parameters))
        parts = first_pass(starts(start), rows, features, team)
        states = all_settled(team, parts, start, rows, features)
        return states, distances(states)

    return measure


def _settle(distance: Functions, gather: Any, variant: Variant, gpu: Any) -> Any:
    """``(team, state, rows, features) -> state`` after the further passes that it asks for."""
    revisit, reaccumulate = registered(distance[4]), registered(distance[5])
    if not revisit:
        return jitable()(lambda team, state, rows, features: state)
    cuda = gpu.cuda

    @jitable()
    def take(states: Any, n: Any) -> Any:
        return (reaccumulate(states[0], float64(n[0]), float64(n[1])),)

    further_pass = _pass(2, 1, take, variant, gpu)

    @jitable()
    def agreed(team: Any, again: bool) -> bool:
        # What the first thread says: all have merged the same parts, but perhaps in another order.
        mask, first = _of_warp(cuda, team)
        return cuda.shfl_sync(mask, 1 if again else 0, first) == 1

    @jitable()
    def settle(team: Any, state: Any, rows: Any, features: Any) -> Any:
        again, state = revisit(state)
        while agreed(team, again):
            parts = further_pass((state,), rows, features, team)
            again, state = revisit(gather(team, parts[0], state))
        return state

    return settle


def _pass(count: int, ahead: int, take: Any, variant: Variant, gpu: Any) -> Any:
    """``(states, rows, features, team) -> states`` of the part of the rows of one thread.

    So many vectors of each row are under way ahead of being taken.
    """
    storage = gpu.STORAGE[variant.dtype]
    size, vector = storage.size, storage.vector
    load, get = _of_each(count, storage.load), _of_each(count, storage.get)
    aligned = _every(count, lambda i: lambda rows: rows[i] & 15 == 0)
    turned = gpu.turned

    def take_upto(k: int) -> Any:
        if k == 0:
            return jitable()(lambda states, numbers: take(states, numbers[0]))
        before = take_upto(k - 1)
        return jitable()(lambda states, numbers: take(before(states, numbers), numbers[k]))

    def take_vectors_upto(i: int) -> Any:
        if i == 0:
            return jitable()(lambda states, loaded: take_all(states, turned(loaded[0])))
        before = take_vectors_upto(i - 1)
        return jitable()(lambda states, loaded: take_all(before(states, loaded), turned(loaded[i])))

    take_all = take_upto(vector - 1)
    take_several = take_vectors_upto(ahead - 1)
    load_several = _tuple_of(
        ahead, lambda i: lambda rows, offset, step: load(rows, offset + i * step)
    )

    @jitable()
    def one_pass(states: Any, rows: Any, features: Any, team: Any) -> Any:
        _, lane, width = team
        whole = features & -vector
        k, step = lane * vector, width * vector
        if aligned(rows):
            while k + (ahead - 1) * step < whole:
                states = take_several(states, load_several(rows, k * size, step * size))
                k += ahead * step
            while k < whole:
                states = take_all(states, turned(load(rows, k * size)))
                k += step
        while k < whole:
            # The same numbers in the same order: a row has the same bits wherever it lies.
            j, end = k, min(k + vector, whole)
            while j < end:
                states = take(states, get(rows, j * size))
                j += 1
            k += step
        k = whole + lane
        while k < features:
            states = take(states, get(rows, k * size))
            k += width
        return states

    return one_pass


def _of_each(count: int, function: Any) -> Any:
    """``(addresses, offset) -> (function(address + offset), ...)``."""
    return _tuple_of(count, lambda k: lambda addresses, offset: function(addresses[k] + offset))


@jitable()
def _of_warp(cuda: Any, team: Any) -> Any:
    """The threads of the warp that are of this team, as bits, and the first of them."""
    _, lane, width = team
    if width >= WARP:
        return _ALL, 0
    first = (cuda.threadIdx.x - lane) & (WARP - 1)
    return (_ALL >> (WARP - width)) << first, first


def _gathered(distance: Functions, variant: Variant, gpu: Any) -> Any:
    """``(team, part, start) -> state``: the parts of a team, which all started from ``start``."""
    cuda, merge = gpu.cuda, registered(distance[8])
    if not merge and not is_ours(distance[0]):
        _check_sums(distance, variant)
    fields, moving = _fields(distance, variant), _moving(distance, variant)
    count = len(moving)

    def exchanging(i: int) -> Any:
        k = moving[i]
        return lambda part, mask, step: cuda.shfl_xor_sync(mask, part[k], step)

    def gained(k: int) -> Any:
        if k not in moving:
            return lambda state, other, start: state[k]
        i = moving.index(k)
        return lambda state, other, start: state[k] + (other[i] - start[k])

    exchanged = _tuple_of(count, exchanging)
    if merge:
        merged = jitable()(lambda state, other, start: merge(state, other))
    else:
        merged = _tuple_of(fields, gained)

    @jitable()
    def within_warp(part: Any, start: Any, mask: Any, width: Any) -> Any:
        step = width >> 1
        while step > 0:
            part = merged(part, exchanged(part, mask, step), start)
            step >>= 1
        return part

    if not variant.wide:

        @jitable()
        def gather(team: Any, part: Any, start: Any) -> Any:
            mask, _ = _of_warp(cuda, team)
            return within_warp(part, start, mask, team[2])

        return gather

    def saving(i: int) -> Any:
        k = moving[i]

        def save(shared: Any, at: Any, state: Any) -> bool:
            shared[at + i] = state[k]
            return True

        return save

    def loading(k: int) -> Any:
        if k not in moving:
            return lambda shared, at, start: start[k]
        i = moving.index(k)
        return lambda shared, at, start: shared[at + i]

    save, load = _tuple_of(count, saving), _tuple_of(fields, loading)

    @jitable()
    def gather_block(team: Any, part: Any, start: Any) -> Any:
        shared, lane, width = team
        part = within_warp(part, start, _ALL, WARP)
        cuda.syncthreads()
        if lane & (WARP - 1) == 0:
            save(shared, lane // WARP * count, part)
        cuda.syncthreads()
        if lane < WARP:
            part = load(shared, lane * count, start) if lane < width // WARP else start
            part = within_warp(part, start, _ALL, WARP)
            if lane == 0:
                save(shared, WARP * count, part)
        cuda.syncthreads()
        return load(shared, WARP * count, start)

    return gather_block


_ROW = ((0.25, -1.5), (2.0, 0.75), (-0.5, 1.75), (1.0, -0.25), (1.25, 1.5), (-2.25, 0.5))


def _check_sums(distance: Functions, variant: Variant) -> None:
    """Raises unless parts of a state may be added up, which a function of the user's may not allow.

    Raises:
        ValueError: the distance of a row is another one when it is taken in two parts.
    """
    functions: Any = distance
    init, accumulate, finalize, gradient, _, _, prepare = functions[:7]
    start = init(0.0, *[1.0 / 64] * variant.parameters[0])

    def found(*parts: Any) -> Any:
        states = [functools.reduce(lambda s, each: accumulate(s, *each), p, start) for p in parts]
        state = tuple(at + sum(state[k] - at for state in states) for k, at in enumerate(start))
        d = finalize(state)
        state = prepare(state, d) if prepare else state
        return [d, *(g for x, y in _ROW for g in gradient(state, d, x, y))]

    try:
        pairs = zip(found(_ROW), found(_ROW[:3], _ROW[3:]), strict=True)
    except ArithmeticError:  # which is no error once compiled
        return
    if not all(math.isclose(one, other, rel_tol=1e-9) for one, other in pairs):
        raise ValueError(
            "on a GPU a row is taken in parts, and the state of this distance is not made of sums:"
            " give it merge=lambda state, other: ..., the state of two parts together"
        )


# Rows that a distance may ask to see again, or not, and numbers of every kind.
_TRIED = (0.0, 1.0, -1.0, 0.75, -3.0, 1e-200, -1e200, math.inf, math.nan)


def _moving(distance: Functions, variant: Variant) -> tuple[int, ...]:
    """Which numbers of the state a pass changes: the others need not be merged.

    Found by trying: a function hands on what it does not change, the very same object. That is
    sure enough for the one pass that most distances make; what those that ask for more do in the
    further ones depends on their state, and is tried for ours only, which are tested.
    """
    functions: Any = distance
    init, accumulate, _, _, revisit, reaccumulate = functions[:6]
    everything = tuple(range(_fields(distance, variant)))
    if distance[8] or (revisit and not is_ours(revisit)):
        return everything
    moved: set[int] = set()

    def take(function: Any, state: Any, x: float, y: float) -> Any:
        new = function(state, x, y)
        moved.update(k for k in everything if new[k] is not state[k])
        return new

    def measure(x: float, y: float) -> None:
        row = (x, y), (y, x), (0.5, 0.25)
        state = init(0.0, *[1.0 / 64] * variant.parameters[0])
        for each in row:
            state = take(accumulate, state, *each)
        again, state = revisit(state) if revisit else (False, state)
        while again:
            for each in row:
                state = take(reaccumulate, state, *each)
            again, state = revisit(state)

    try:
        for x, y in itertools.product(_TRIED, repeat=2):
            measure(x, y)
            measure(x, 0.5)
    except ArithmeticError:  # which is no error once compiled
        return everything
    return tuple(sorted(moved))


# --------------------------------------------------------------------------------------------------
# Gradients: (team, parts, rows, grads, sums, modes, where) -> None
# --------------------------------------------------------------------------------------------------


def _write_nothing(arity: int, distance: Functions, variant: Variant, gpu: Any) -> Any:
    @jitable()
    def write(
        team: Any, parts: Any, rows: Any, grads: Any, sums: Any, modes: Any, where: Any
    ) -> None:
        pass

    return write


def _exact(arity: int, gradient: Any) -> Any:
    """``(parts, numbers) -> gradients`` of one component of each operand, in float64."""
    pairs = _PAIRS[arity]

    def of_pair(k: int) -> Any:
        i, j = pairs[k]

        def one(parts: Any, n: Any) -> Any:
            c, state, d = parts[k]
            if c == 0:
                return 0.0, 0.0
            dx, dy = gradient(state, d, float64(n[i]), float64(n[j]))
            return c * dx, c * dy

        return one

    all_pairs = _tuple_of(arity, of_pair)

    def of_operand(m: int) -> Any:
        (k, side), *others = [(k, pair.index(m)) for k, pair in enumerate(pairs) if m in pair]
        if not others:
            return lambda slopes: slopes[k][side]
        ((k2, side2),) = others
        return lambda slopes: slopes[k][side] + slopes[k2][side2]

    all_operands = _tuple_of(_operands(arity), of_operand)
    return jitable()(lambda parts, n: all_operands(all_pairs(parts, n)))


def _write(arity: int, distance: Functions, variant: Variant, gpu: Any) -> Any:
    """Each operand's into a row of its own."""
    count, storage = _operands(arity), gpu.STORAGE[variant.dtype]
    size, vector, number = storage.size, storage.vector, storage.number
    load, get = _of_each(count, storage.load), _of_each(count, storage.get)
    idle = _every(arity, lambda k: lambda parts: parts[k][0] == 0)
    aligned = _every(count, lambda m: lambda at: at[m] & 15 == 0)
    exact, turned, clear = _exact(arity, registered(distance[3])), gpu.turned, gpu.clear
    nothing = _tuple_of(count, lambda m: lambda: number(0))

    if arity == 1 and distance[7] and size <= 4:
        coefficients, slopes = linear_gradient(registered(distance[7]), gpu.fma, jitable)
        begin = jitable()(lambda parts: coefficients(*parts[0]))
        quick = jitable()(lambda parts, narrow, n: slopes(narrow, n[0], n[1]))
    else:
        begin = jitable()(lambda parts: (False,))
        quick = jitable()(lambda parts, narrow, n: nothing())

    cast = _tuple_of(count, lambda m: lambda slopes: number(slopes[m]))

    @jitable()
    def slopes_of(parts: Any, narrow: Any, n: Any) -> Any:
        return quick(parts, narrow, n) if narrow[0] else cast(exact(parts, n))

    all_slopes = _tuple_of(
        vector, lambda k: lambda parts, narrow, n: slopes_of(parts, narrow, n[k])
    )
    clear_one = jitable()(lambda address, slopes: clear(address))

    def writing(write_one: Any) -> Any:
        def one(m: int) -> Any:
            def write(modes: Any, grads: Any, at: Any, slopes: Any) -> bool:
                if modes[m] == WRITE:
                    write_one(grads[m] + at, slopes[m])
                return True

            return write

        return _tuple_of(count, one)

    store, put, zero = writing(storage.store), writing(storage.put), writing(clear_one)

    @jitable()
    def write(
        team: Any, parts: Any, rows: Any, grads: Any, sums: Any, modes: Any, where: Any
    ) -> None:
        _, lane, width = team
        features = where[2]
        none, narrow = idle(parts), begin(parts)
        whole = features & -vector if aligned(rows) and aligned(grads) else 0
        k = lane * vector
        while k < whole:
            at = k * size
            if none:
                zero(modes, grads, at, nothing())
            else:
                slopes = all_slopes(parts, narrow, turned(load(rows, at)))
                store(modes, grads, at, turned(slopes))
            k += width * vector
        k = whole + lane
        while k < features:
            at = k * size
            if none:
                put(modes, grads, at, nothing())
            else:
                put(modes, grads, at, slopes_of(parts, narrow, get(rows, at)))
            k += width

    return write


def _write_and_sum(arity: int, distance: Functions, variant: Variant, gpu: Any) -> Any:
    """One number at a time, some added up in float64 over the samples of the task."""
    count, storage = _operands(arity), gpu.STORAGE[variant.dtype]
    size, number = storage.size, storage.number
    get_double, put_double = gpu.get_double, gpu.put_double
    get, put = _of_each(count, storage.get), storage.put
    exact = _exact(arity, registered(distance[3]))

    def writing(m: int) -> Any:
        def write_one(
            slopes: Any, k: Any, grads: Any, sums: Any, modes: Any, at: Any, first: Any
        ) -> bool:
            if modes[m] == WRITE:
                put(grads[m] + k * size, number(slopes[m]))
            elif modes[m] == ADD:
                to = sums[m] + 8 * (at + k)
                put_double(to, slopes[m] if first else get_double(to) + slopes[m])
            return True

        return write_one

    write_each = _tuple_of(count, writing)

    @jitable()
    def write(
        team: Any, parts: Any, rows: Any, grads: Any, sums: Any, modes: Any, where: Any
    ) -> None:
        _, lane, width = team
        _, _, features, task, first = where
        k = lane
        while k < features:
            slopes = exact(parts, get(rows, k * size))
            write_each(slopes, k, grads, sums, modes, task * features, first)
            k += width

    return write
