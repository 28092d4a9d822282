"""What the memory of this machine gives: the most that a forward pass or a gradient could reach.

A forward pass reads its operands, so its ceiling is a sum over the same arrays. Value and gradient
read k arrays and write k arrays, and so does the copy; past the caches, where that takes less time.
Both walk all their arrays at once, as the kernels do, and share the work out among the same
threads, except where the arrays are so small that starting threads takes longer. Half types move as
64-bit integers: Numba has no bfloat16, and what the numbers are makes no difference to a memory.

Rows of a table are read at the places that samples name, a few rows ahead of the sum.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
from numba import prange

from fastcos.kernels.cpu.memory import prefetch
from fastcos.kernels.cpu.streaming import stream_line

Call = Callable[[], None]

#: Bytes of one array from which the ceilings use all threads.
SHARE_FROM = 1 << 17
#: How many rows of a table can be asked for ahead of the one that is read.
_AHEAD = (1, 2, 4, 8, 16, 32)
#: Among how many tasks the threads share the rows of a table that are read.
_TASKS = 256


def _sums(parallel: bool) -> tuple[Callable[..., Any], ...]:
    jit = numba.njit(parallel=parallel, fastmath=True)

    @jit
    def one(a: Any) -> Any:
        total = a.dtype.type(0)
        for i in prange(a.size):
            total += a[i]
        return total

    @jit
    def two(a: Any, b: Any) -> Any:
        total = a.dtype.type(0)
        for i in prange(a.size):
            total += a[i] + b[i]
        return total

    @jit
    def three(a: Any, b: Any, c: Any) -> Any:
        total = a.dtype.type(0)
        for i in prange(a.size):
            total += a[i] + b[i] + c[i]
        return total

    return one, two, three


def _copies(parallel: bool) -> tuple[Callable[..., None], ...]:
    jit = numba.njit(parallel=parallel)

    @jit
    def one(a: Any, to_a: Any) -> None:
        for i in prange(a.size):
            to_a[i] = a[i]

    @jit
    def two(a: Any, b: Any, to_a: Any, to_b: Any) -> None:
        for i in prange(a.size):
            to_a[i] = a[i]
            to_b[i] = b[i]

    @jit
    def three(a: Any, b: Any, c: Any, to_a: Any, to_b: Any, to_c: Any) -> None:
        for i in prange(a.size):
            to_a[i] = a[i]
            to_b[i] = b[i]
            to_c[i] = c[i]

    return one, two, three


def _copies_of_lines(parallel: bool) -> tuple[Callable[..., None], ...]:
    jit = numba.njit(parallel=parallel)

    @jit
    def one(lines: int, a: int, to_a: int) -> None:
        for k in prange(lines):
            stream_line(a + 64 * k, to_a + 64 * k)

    @jit
    def two(lines: int, a: int, b: int, to_a: int, to_b: int) -> None:
        for k in prange(lines):
            stream_line(a + 64 * k, to_a + 64 * k)
            stream_line(b + 64 * k, to_b + 64 * k)

    @jit
    def three(lines: int, a: int, b: int, c: int, to_a: int, to_b: int, to_c: int) -> None:
        for k in prange(lines):
            stream_line(a + 64 * k, to_a + 64 * k)
            stream_line(b + 64 * k, to_b + 64 * k)
            stream_line(c + 64 * k, to_c + 64 * k)

    return one, two, three


_SUMS = {parallel: _sums(parallel) for parallel in (False, True)}
_COPIES = {parallel: _copies(parallel) for parallel in (False, True)}
_COPIES_OF_LINES = {parallel: _copies_of_lines(parallel) for parallel in (False, True)}


def flattened(array: Any) -> Any:
    """The same bytes in one dimension; of a half type whole groups of four numbers."""
    flat = array.reshape(-1)
    return flat if flat.itemsize > 2 else flat[: flat.size // 4 * 4].view(np.int64)


def read(arrays: Sequence[Any]) -> Call:
    """What reads up to three arrays of one size once."""
    function = _SUMS[arrays[0].nbytes >= SHARE_FROM][len(arrays) - 1]
    flat = [flattened(array) for array in arrays]
    return lambda: function(*flat)


def copy(sources: Sequence[Any], targets: Sequence[Any]) -> Call:
    """What reads up to three sources and writes as many targets, of one size, once."""
    function = _COPIES[sources[0].nbytes >= SHARE_FROM][len(sources) - 1]
    flat = [flattened(array) for array in (*sources, *targets)]
    return lambda: function(*flat)


def copy_past_caches(sources: Sequence[Any], targets: Sequence[Any]) -> Call:
    """The same, with cache lines that are written as a whole and left in no cache."""
    function = _COPIES_OF_LINES[sources[0].nbytes >= SHARE_FROM][len(sources) - 1]
    lines = max(0, sources[0].nbytes // 64 - 1)
    given, taken = ([a.reshape(-1).view(np.uint8) for a in s] for s in (sources, targets))
    heads = [-target.ctypes.data % 64 for target in taken]
    addresses = [
        array.ctypes.data + head
        for arrays in (given, taken)
        for array, head in zip(arrays, heads, strict=True)
    ]

    def run() -> None:
        function(lines, *addresses)
        for source, target, head in zip(given, taken, heads, strict=True):
            target[:head] = source[:head]
            target[head + 64 * lines :] = source[head + 64 * lines :]

    return run


@numba.njit(parallel=True, fastmath=True)
def _sum_of_rows(table: Any, numbers: Any, address: int, size: int, ahead: int) -> Any:
    kind = table.dtype.type
    result = kind(0)
    for task in prange(_TASKS):
        total = kind(0)
        stop = (task + 1) * numbers.size // _TASKS
        for s in range(task * numbers.size // _TASKS, stop):
            if s + ahead < stop:
                prefetch(address + numbers[s + ahead] * size, size)
            # One that is never negative is not to be counted from the end.
            row = table[np.uint64(numbers[s])]
            for k in range(row.size):
                total = kind(total + row[k])
        result += total
    return result


def row_words(table: Any) -> Any:
    """The same rows; of a half type as integers of 32 bits, where a row is so many."""
    if table.itemsize > 2:
        return table
    return table.view(np.uint16 if table.strides[0] % 4 else np.uint32)


def read_rows(table: Any, numbers: Any) -> Call:
    """What reads the rows of a table that are named, in that order, and so far ahead as pays."""
    words, address, size = row_words(table), table.ctypes.data, table.strides[0]

    def call(ahead: int) -> Call:
        return lambda: _sum_of_rows(words, numbers, address, size, ahead)

    return min(map(call, _AHEAD), key=lambda thunk: _seconds([thunk]))


def _seconds(thunks: Sequence[Call]) -> float:
    """What it takes to call all of these, the shortest of four times."""

    def once() -> float:
        start = time.perf_counter()
        for thunk in thunks:
            thunk()
        return time.perf_counter() - start

    return min(once() for _ in range(4))


def best_copies(sources: Sequence[Sequence[Any]], targets: Sequence[Sequence[Any]]) -> list[Call]:
    """For each set of arrays a copy, of the kind that takes less time when all sets are copied."""
    kinds = [list(map(kind, sources, targets)) for kind in (copy, copy_past_caches)]
    return min(kinds, key=_seconds)


def numpy_copy(sources: Sequence[Any], targets: Sequence[Any]) -> Call:
    """The same with NumPy, on one thread."""
    pairs = list(zip(targets, sources, strict=True))

    def run() -> None:
        for target, source in pairs:
            np.copyto(target, source)

    return run
