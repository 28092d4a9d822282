"""Kernels of rows that are looked up in tables, by numbers that each sample has of its own.

Nothing is gathered (:mod:`fastcos.kernels.lookup`). One kernel visits the samples and keeps of each
what its gradients need; one visits the words of a table, in their order, and adds up the gradient
of a row in registers: a thread has a vector of it, and goes through the samples that name the row.

The words are cut into tasks of as many each, wherever rows begin and end. Of a row that several
tasks have words of, each leaves its part of the sum in memory, where a third kernel adds these up,
in order. Rows that no sample names are left as they are: to write zeros is not shared out well by
words, of which the last may stand before most of a table.

Nobody has looked at the numbers of rows before. Of one that the table does not have, row 0 is read,
the loss of the sample is NaN, and so are the gradients of the other rows of the sample.
"""

import math
from collections.abc import Callable
from typing import Any

from fastcos.distances import Functions
from fastcos.kernels import arguments
from fastcos.kernels.arguments import DeviceOfTable, DeviceTables, Kept
from fastcos.kernels.cuda.access import offset as offset_by
from fastcos.kernels.cuda.kernel import kernel
from fastcos.kernels.cuda.measure import measure
from fastcos.kernels.cuda.merge import state_size
from fastcos.kernels.cuda.teams import Team, Variant, Visit, thread_of
from fastcos.kernels.cuda.unroll import all_of, tuple_of
from fastcos.kernels.functions import as_it_is, jitable, registered, times
from fastcos.kernels.linear import has_say, kept_coefficients, of_side
from fastcos.kernels.lookup import FIRST, OPERAND_BITS, SECOND, is_linear
from fastcos.losses import Loss, operand_count

_NAN = math.nan
_OPERAND = (1 << OPERAND_BITS) - 1
# Two bits for each distance: loops over distances look an operand up without a tuple.
_FIRSTS = sum(m << 2 * k for k, m in enumerate(FIRST))
_SECONDS = sum(m << 2 * k for k, m in enumerate(SECOND))
# Parts of a sum that a thread has under way at a time.
_PARTS = 4


def looked_up(loss: Loss, distance: Functions, variant: Variant, gpu: Any) -> Callable[..., None]:
    """The kernel of a loss of rows of tables: the losses, and what is kept of the samples."""
    count = operand_count(loss.arity)
    sample = _sample(loss, distance, variant, gpu)
    return kernel(count, variant, gpu, _in_tables(count), sample, state_size(distance, variant))


def _in_tables(operands: int) -> Any:
    """``(integers) -> (DeviceTables, Kept, geometry)``."""
    numbers_from, stride_from, rows_from, kept_from = (
        arguments.DEVICE_FIXED + k * operands for k in (1, 2, 3, 4)
    )
    address_from, geometry_from = arguments.DEVICE_FIXED, kept_from + len(Kept._fields)

    @jitable()
    def unpack(n: Any) -> Any:
        tables = DeviceTables(
            n[address_from:numbers_from],
            n[numbers_from:stride_from],
            n[stride_from:rows_from],
            n[rows_from:kept_from],
        )
        return tables, Kept(*n[kept_from:geometry_from]), n[geometry_from:]

    return unpack


def _sample(loss: Loss, distance: Functions, variant: Variant, gpu: Any) -> Any:
    """A sample that is given by the numbers of its rows."""
    arity, get_long, put_long, put_double = loss.arity, gpu.get_long, gpu.put_long, gpu.put_double
    count, loss_of = operand_count(arity), registered(loss.function)
    distances_of = measure(arity, distance, variant, gpu)
    kept_of, words = _kept(distance, variant, gpu)

    def finding(m: int) -> Any:
        offset_of = offset_by(variant.columns, 1 + m)

        def row(tables: DeviceTables, position: Any, geometry: Any) -> Any:
            offset, is_there = offset_of(position, geometry), True
            if tables.numbers[m] != 0:
                offset = get_long(tables.numbers[m] + offset)
                is_there = 0 <= offset < tables.rows[m]
                offset = offset if is_there else 0
            return tables.address[m] + offset * tables.stride[m], is_there

        return row

    find = tuple_of(count, finding)
    addresses_of = tuple_of(count, lambda m: lambda found: found[m][0])
    are_there = all_of(count, lambda m: lambda found: found[m][1])

    def keeping_row(m: int) -> Any:
        def keep(at: Any, rows: Any) -> bool:
            put_long(at + 8 * m, rows[m])
            return True

        return keep

    def keeping_word(i: int) -> Any:
        def keep(at: Any, values: Any) -> bool:
            put_double(at + 8 * i, values[i])
            return True

        return keep

    keep_rows, keep_words = tuple_of(count, keeping_row), tuple_of(words, keeping_word)

    def keeping_distance(k: int) -> Any:
        def keep(at: Any, scale: Any, slopes: Any, states: Any, d: Any) -> Any:
            c = times(scale, slopes[k])
            return keep_words(at + 8 * (count + words * k), kept_of(c, states[k], d[k]))

        return keep

    keep_distances = tuple_of(arity, keeping_distance)
    # A slope of 0 is none, times what it may be.
    no_slopes = tuple_of(arity, lambda k: lambda: _NAN)

    @jitable()
    def sample(team: Team, tables: DeviceTables, kept: Kept, visit: Visit, parameters: Any) -> Any:
        of_distance, of_loss = parameters
        found = find(tables, visit.position, visit.geometry)
        rows = addresses_of(found)
        states, d = distances_of(team, rows, visit.features, of_distance)
        value, slopes = loss_of(d, visit.label, *of_loss)
        if not are_there(found):
            value, slopes = _NAN, no_slopes()
        # The position is that in C order: nothing is added up over samples here.
        if kept.address != 0 and team.lane == 0:
            at = kept.address + kept.size * visit.position
            keep_rows(at, rows)
            keep_distances(at, visit.scale, slopes, states, d)
        return value

    return sample


def _kept(distance: Functions, variant: Variant, gpu: Any) -> tuple[Any, int]:
    """``(c, state, d) -> words`` that are kept of a distance, and how many they are."""
    prepare = registered(distance.prepare or as_it_is)
    if is_linear(distance, gpu.STORAGE[variant.dtype].size):
        return kept_coefficients(registered(distance.linear), prepare, jitable), 5
    return jitable()(lambda c, state, d: (c, d, *state)), 2 + state_size(distance, variant)


def of_table(arity: int, distance: Functions, variant: Variant, gpu: Any) -> Callable[..., None]:
    """The kernel of the gradient of a table."""
    cuda, get_long, float64 = gpu.cuda, gpu.get_long, gpu.float64
    storage, put_double = gpu.STORAGE[variant.dtype], gpu.put_double
    size, vector, number = storage.size, storage.vector, storage.number
    load, store = _some(storage)
    add, words = _adding(distance, variant, gpu)
    _, is_same = _words(gpu)
    count, kept_rows = arity, 8 * operand_count(arity)
    zeros = tuple_of(vector, lambda i: lambda: 0.0)
    total_of = tuple_of(vector, lambda i: lambda grad, total: float64(grad[i]) + total[i])
    numbers_of = tuple_of(vector, lambda i: lambda total: number(total[i]))

    def leaving(i: int) -> Any:
        def leave_one(at: Any, total: Any, left: Any) -> bool:
            if i < left:
                put_double(at + 8 * i, total[i])
            return True

        return leave_one

    leave = tuple_of(vector, leaving)

    @jitable()
    def kept_at(fixed: DeviceOfTable, word: Any) -> Any:
        sample = (word & ((1 << fixed.shift) - 1)) >> OPERAND_BITS
        return fixed.kept + fixed.kept_size * sample

    @jitable()
    def write(fixed: DeviceOfTable, this: Any, k: Any, left: Any, total: Any) -> None:
        at = fixed.grad + this * fixed.stride + k * size
        if fixed.accumulate != 0:
            total = total_of(load(at, left), total)
        store(at, numbers_of(total), left)

    @jitable()
    def visit(fixed: DeviceOfTable, task: Any, k: Any) -> None:
        """Makes a vector of the gradient of each row that a task has words of."""
        left, e = fixed.features - k, task * fixed.word_count // fixed.tasks
        start, end = e, (task + 1) * fixed.word_count // fixed.tasks
        word = get_long(fixed.words + 8 * e)
        while e < end:
            this = word >> fixed.shift
            if this >= fixed.rows:
                # There is no such row, nor are there those that follow.
                return
            begun = e == start and is_same(fixed, e - 1, this)
            total = zeros()
            own = load(get_long(kept_at(fixed, word) + 8 * (word & _OPERAND)) + k * size, left)
            while word >> fixed.shift == this:
                operand, at = word & _OPERAND, kept_at(fixed, word)
                # The next one is asked for before it is needed; -1 is of no row.
                e += 1
                following = get_long(fixed.words + 8 * e) if e < end else -1
                for i in range(count):
                    first, second = (_FIRSTS >> 2 * i) & 3, (_SECONDS >> 2 * i) & 3
                    if operand == first or operand == second:
                        other = at + 8 * (first + second - operand)
                        side = 0 if operand == first else 1
                        term = at + kept_rows + 8 * words * i
                        total = add(total, own, term, side, other, k, left)
                word = following
            if begun or (e == end and is_same(fixed, e, this)):
                part = 2 * task if begun else 2 * task + 1
                leave(fixed.sums + 8 * (part * fixed.features + k), total, left)
            else:
                write(fixed, this, k, left, total)

    @cuda.jit
    def gradient(n: Any, d: Any) -> None:
        fixed = DeviceOfTable(*n)
        lane, width, task = thread_of(cuda, fixed.team_shift)
        if task < fixed.tasks:
            k = lane * vector
            while k < fixed.features:
                visit(fixed, task, k)
                k += width * vector

    return gradient


def _adding(distance: Functions, variant: Variant, gpu: Any) -> tuple[Any, int]:
    """``(total, own, term, side, other, k, left) -> total``, and how many words a term has.

    A vector of the gradient, from component k on, of which so many are ``left``: ``term`` is where
    what was kept of the distance is, ``other`` where the address of the other row is.
    """
    storage, get_long, get_double = gpu.STORAGE[variant.dtype], gpu.get_long, gpu.get_double
    load, _ = _some(storage)
    size, vector, float64 = storage.size, storage.vector, gpu.float64
    _, words = _kept(distance, variant, gpu)
    get = tuple_of(words, lambda i: lambda at: get_double(at + 8 * i))
    if is_linear(distance, size):
        add_each = tuple_of(
            vector,
            lambda i: (
                lambda total, own, other, r, u, e: (
                    total[i] + r * (u * float64(own[i]) - float64(other[i]) + e)
                )
            ),
        )

        @jitable()
        def add_linear(
            total: Any, own: Any, term: Any, side: Any, other: Any, k: Any, left: Any
        ) -> Any:
            r, u, e = of_side(get(term), side)
            if has_say(r, u):
                numbers = load(get_long(other) + k * size, left)
                total = add_each(total, own, numbers, r, u, e)
            return total

        return add_linear, words
    prepare, gradient = registered(distance.prepare or as_it_is), registered(distance.gradient)

    def adding(i: int) -> Any:
        def add_one(total: Any, own: Any, other: Any, c: Any, state: Any, d: Any, side: Any) -> Any:
            # One gradient for both sides, for it may be long.
            mine, its = float64(own[i]), float64(other[i])
            x, y = (mine, its) if side == 0 else (its, mine)
            to_x, to_y = gradient(state, d, x, y)
            return total[i] + c * (to_x if side == 0 else to_y)

        return add_one

    add_vector = tuple_of(vector, adding)

    @jitable()
    def add(total: Any, own: Any, term: Any, side: Any, other: Any, k: Any, left: Any) -> Any:
        kept = get(term)
        c, d = kept[0], kept[1]
        if c != 0:
            numbers = load(get_long(other) + k * size, left)
            total = add_vector(total, own, numbers, c, prepare(kept[2:], d), d, side)
        return total

    return add, words


def _some(storage: Any) -> tuple[Any, Any]:
    """``load(address, left)`` and ``store(address, numbers, left)``: a vector, wherever it lies.

    Of one at the end of a row only so many are ``left``; the others are 0.
    """
    vector, load, store, number = storage.vector, storage.load, storage.store, storage.number
    get, put, size = storage.get, storage.put, storage.size

    def getting(i: int) -> Any:
        return lambda at, left: get(at + size * i) if i < left else number(0)

    def putting(i: int) -> Any:
        def put_one(at: Any, numbers: Any, left: Any) -> bool:
            if i < left:
                put(at + size * i, numbers[i])
            return True

        return put_one

    get_each, put_each = tuple_of(vector, getting), tuple_of(vector, putting)

    @jitable()
    def load_some(at: Any, left: Any) -> Any:
        return load(at) if left >= vector and at & 15 == 0 else get_each(at, left)

    @jitable()
    def store_some(at: Any, numbers: Any, left: Any) -> None:
        if left >= vector and at & 15 == 0:
            store(at, numbers)
        else:
            put_each(at, numbers, left)

    return load_some, store_some


def _words(gpu: Any) -> tuple[Any, Any]:
    """``row_of(fixed, e)``, the row of word e, and ``is_same(fixed, e, row)``, if there is one."""
    get_long = gpu.get_long

    @jitable()
    def row_of(fixed: DeviceOfTable, e: Any) -> Any:
        return get_long(fixed.words + 8 * e) >> fixed.shift

    @jitable()
    def is_same(fixed: DeviceOfTable, e: Any, this: Any) -> bool:
        return 0 <= e < fixed.word_count and row_of(fixed, e) == this

    return row_of, is_same


def joining(dtype: str, gpu: Any) -> Callable[..., None]:
    """The kernel that adds up the parts of rows that several tasks have, and writes these rows.

    It takes the numbers that :func:`of_table` took.
    """
    cuda, get_double, float64 = gpu.cuda, gpu.get_double, gpu.float64
    storage = gpu.STORAGE[dtype]
    get, put, number, size = storage.get, storage.put, storage.number, storage.size
    row_of, is_same = _words(gpu)
    parts_at = tuple_of(_PARTS, lambda i: lambda at, step: get_double(at + i * step))

    @jitable()
    def last_task(fixed: DeviceOfTable, task: Any, this: Any) -> Any:
        """The last task that begins within a row, later than this one, which the next one does."""
        low, high = task + 1, fixed.tasks
        while high - low > 1:
            middle = (low + high) // 2
            if row_of(fixed, middle * fixed.word_count // fixed.tasks) == this:
                low = middle
            else:
                high = middle
        return low

    @jitable()
    def join_row(fixed: DeviceOfTable, task: Any, this: Any, lane: Any, width: Any) -> None:
        last, step = last_task(fixed, task, this), 16 * fixed.features
        k = lane
        while k < fixed.features:
            total = get_double(fixed.sums + 8 * ((2 * task + 1) * fixed.features + k))
            t = task + 1
            # Several under way at a time: one after the other they take the latency of memory.
            while t + _PARTS - 1 <= last:
                a, b, c, d = parts_at(fixed.sums + 8 * k + step * t, step)
                total += (a + b) + (c + d)
                t += _PARTS
            while t <= last:
                total += get_double(fixed.sums + 8 * k + step * t)
                t += 1
            at = fixed.grad + this * fixed.stride + k * size
            if fixed.accumulate != 0:
                total += float64(get(at))
            put(at, number(total))
            k += width

    @cuda.jit
    def join(n: Any, d: Any) -> None:
        fixed = DeviceOfTable(*n)
        lane, width, task = thread_of(cuda, fixed.team_shift)
        if task < fixed.tasks:
            start = task * fixed.word_count // fixed.tasks
            end = (task + 1) * fixed.word_count // fixed.tasks
            this = row_of(fixed, end - 1)
            begins_here = this < fixed.rows and not is_same(fixed, start - 1, this)
            if begins_here and is_same(fixed, end, this):
                join_row(fixed, task, this, lane, width)

    return join
