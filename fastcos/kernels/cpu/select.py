"""Lists of the candidates that may be among the nearest, from scores that may be a little wrong.

A task is one query and its row of a block of scores. A score lies between two bounds. The k-th
highest of the lower bounds is a threshold: k candidates have as much at least, so one whose upper
bound is below it is none of the k nearest. All others are kept. Candidates come in the order of
their numbers: where scores are exact a later one that only ties is none of them either.
"""

from collections.abc import Callable
from typing import Any

from numba import float32, float64

from fastcos.kernels.arguments import Select
from fastcos.kernels.cpu.memory import doubles, floats, long_tuple, longs, wide_vectors

FIELDS = len(Select._fields)
#: Scores that are looked at together before one is looked at: of nearly none there is one to keep.
STRETCH = 64
_ROUNDING = 2.0**-22
#: A list that so many of a hundred fill is full: it has to be settled by measuring.
_FULL = 75


def select_kernel(wide: bool, jitable: Any) -> Callable[[int, int], int]:
    """``kernel(t, address of a Select) -> 1``, of float64 scores if ``wide``, else of float32.

    A query whose list is full stops where it is, and says where in ``positions``.
    """
    array, number, size = (doubles, float64, 8) if wide else (floats, float32, 4)

    @jitable()
    def any_from(row: Any, limit: Any) -> Any:
        wide_vectors()
        found = False
        for i in range(row.shape[0]):
            found |= row[i] >= limit
        return found

    @jitable()
    def any_shifted_from(row: Any, shifts: Any, limit: Any) -> Any:
        wide_vectors()
        found = False
        for i in range(row.shape[0]):
            found |= row[i] - shifts[i] >= limit
        return found

    @jitable()
    def limit_of(threshold: Any, slack: Any) -> Any:
        """What a score has to be at least, rounded down."""
        limit = threshold - slack
        return number(limit - abs(limit) * _ROUNDING)

    @jitable()
    def exchange(a: Any, i: Any, j: Any) -> None:
        a[i], a[j] = a[j], a[i]

    @jitable()
    def raise_threshold(numbers: Any, uppers: Any, lowers: Any, count: Any, k: Any) -> Any:
        """The k-th highest lower bound, with which the first k of the list begin (Hoare's find)."""
        low, high = 0, count - 1
        while low < high:
            pivot, i, j = lowers[(low + high) // 2], low, high
            while i <= j:
                while lowers[i] > pivot:
                    i += 1
                while lowers[j] < pivot:
                    j -= 1
                if i <= j:
                    exchange(numbers, i, j)
                    exchange(uppers, i, j)
                    exchange(lowers, i, j)
                    i += 1
                    j -= 1
            if k - 1 <= j:
                high = j
            elif k - 1 >= i:
                low = i
            else:
                break
        return lowers[k - 1]

    @jitable()
    def prune(numbers: Any, uppers: Any, lowers: Any, count: Any, threshold: Any) -> Any:
        """Leaves those whose upper bound is not below the threshold, and returns how many."""
        kept = 0
        for i in range(count):
            if uppers[i] >= threshold:
                numbers[kept], uppers[kept], lowers[kept] = numbers[i], uppers[i], lowers[i]
                kept += 1
        return kept

    def kernel(t: int, block: int) -> int:
        n = Select(*long_tuple(block, FIELDS))
        row = array(n.scores + size * t * n.columns, n.columns)
        shifts = array(n.shifts, n.columns)
        numbers = longs(n.numbers + 8 * t * n.capacity, n.capacity)
        uppers = doubles(n.uppers + 8 * t * n.capacity, n.capacity)
        lowers = doubles(n.lowers + 8 * t * n.capacity, n.capacity)
        widening, slack = doubles(n.widening, 1)[0], doubles(n.slacks, t + 1)[t]
        counts, positions = longs(n.counts, t + 1), longs(n.positions, t + 1)
        thresholds = doubles(n.thresholds, t + 1)
        count, threshold, at = counts[t], thresholds[t], positions[t]
        own = longs(n.own, t + 1)[t] if n.own != 0 else -1
        if 100 * count > _FULL * n.capacity:
            return 1  # the block before has filled it, with its last candidate
        before, limit = count, limit_of(threshold, slack)
        while at < n.columns:
            end = min(at + STRETCH, n.columns)
            if n.shifts != 0:
                found = any_shifted_from(row[at:end], shifts[at:end], limit)
            else:
                found = any_from(row[at:end], limit)
            if not found:
                at = end
                continue
            while at < end:
                # As above, in the dtype of the scores: bounds count its rounding once.
                shift = shifts[at] if n.shifts != 0 else number(0)
                score = float64(row[at] - shift)
                above = score > threshold if n.strict else score + slack >= threshold
                if above and n.first + at != own:
                    numbers[count], uppers[count] = n.first + at, score + slack
                    lowers[count] = score - slack - widening * float64(shift)
                    count += 1
                at += 1
                if count == n.capacity:
                    if n.nearest > 0:
                        risen = raise_threshold(numbers, uppers, lowers, count, n.nearest)
                        threshold = max(threshold, risen)
                        count = prune(numbers, uppers, lowers, count, threshold)
                        limit = limit_of(threshold, slack)
                    if 100 * count > _FULL * n.capacity:
                        counts[t], thresholds[t], positions[t] = count, threshold, at
                        return 1
        # Of those that this block has brought many go at once.
        if 0 < n.nearest and 4 * count > 5 * n.nearest and count > before:
            risen = raise_threshold(numbers, uppers, lowers, count, n.nearest)
            threshold = max(threshold, risen)
            count = prune(numbers, uppers, lowers, count, threshold)
        counts[t], thresholds[t], positions[t] = count, threshold, at
        return 1

    return kernel
