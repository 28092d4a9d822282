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
from fastcos.kernels.cpu.memory import (
    bits_from,
    bits_shifted_from,
    doubles,
    floats,
    long_tuple,
    longs,
    lowest_bit,
    wide_vectors,
)

FIELDS = len(Select._fields)
#: Scores that are looked at together: mostly none of them is to be kept.
STRETCH = 64
#: Halvings of the range of bounds in search of a threshold.
_HALVINGS = 12
_ROUNDING = 2.0**-22
#: A list that so many of a hundred fill is full: it has to be settled by measuring.
_FULL = 75


def select_kernel(wide: bool, jitable: Any) -> Callable[[int, int], int]:
    """``kernel(t, address of a Select) -> 1``, of float64 scores if ``wide``, else of float32.

    A query whose list is full stops where it is, and says where in ``positions``.
    """
    array, number, size = (doubles, float64, 8) if wide else (floats, float32, 4)

    @jitable()
    def limit_of(threshold: Any, slack: Any) -> Any:
        """What a score has to be at least, rounded down."""
        limit = threshold - slack
        return number(limit - abs(limit) * _ROUNDING)

    @jitable()
    def exchange(a: Any, i: Any, j: Any) -> None:
        a[i], a[j] = a[j], a[i]

    @jitable()
    def kth_of(numbers: Any, uppers: Any, lowers: Any, count: Any, k: Any) -> Any:
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
    def count_from(lowers: Any, pivot: Any) -> Any:
        wide_vectors()
        total = 0
        for i in range(lowers.shape[0]):
            total += 1 if lowers[i] >= pivot else 0
        return total

    @jitable()
    def raised(numbers: Any, uppers: Any, lowers: Any, count: Any, k: Any) -> Any:
        """A threshold that at least k lower bounds reach, and not many more.

        By halving the range of the bounds, for to count is a loop without branches; where these
        are spread too unevenly for that, the k-th itself.
        """
        low, high = lowers[0], lowers[0]
        for i in range(count):
            low, high = min(low, lowers[i]), max(high, lowers[i])
        for _ in range(_HALVINGS):
            pivot = 0.5 * low + 0.5 * high
            reached = count_from(lowers[:count], pivot)
            if reached >= k:
                low = pivot
                if 8 * reached <= 9 * k:
                    return low
            else:
                high = pivot
        if 2 * count_from(lowers[:count], low) <= 3 * k:
            return low
        return kth_of(numbers, uppers, lowers, count, k)

    @jitable()
    def prune(numbers: Any, uppers: Any, lowers: Any, count: Any, threshold: Any) -> Any:
        """Leaves those whose upper bound is not below the threshold, and returns how many."""
        kept = 0
        for i in range(count):
            # Without a branch, which nobody foresees.
            numbers[kept], uppers[kept], lowers[kept] = numbers[i], uppers[i], lowers[i]
            kept += 1 if uppers[i] >= threshold else 0
        return kept

    def kernel(t: int, block: int) -> int:
        wide_vectors()
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
        if 100 * count > _FULL * n.capacity and n.columns > 0:
            return 1  # the block before has filled it, with its last candidate
        before, limit = count, limit_of(threshold, slack)
        scores = n.scores + size * t * n.columns
        while at < n.columns:
            start, end = at, min(at + STRETCH, n.columns)
            if end - start < STRETCH:
                bits = -1  # too few to be looked at together
            elif n.shifts != 0:
                bits = bits_shifted_from(scores + size * start, n.shifts + size * start, limit)
            else:
                bits = bits_from(scores + size * start, limit)
            at = end
            while bits != 0:
                place = start + lowest_bit(bits)
                bits &= bits - 1
                if place >= end:
                    break
                # In the dtype of the scores: bounds count its rounding once.
                shift = shifts[place] if n.shifts != 0 else number(0)
                x = row[place] - shift
                # Again: the limit may have risen.
                if not x >= limit or n.first + place == own:
                    continue
                score = float64(x)
                if not (score > threshold if n.strict else score + slack >= threshold):
                    continue
                numbers[count], uppers[count] = n.first + place, score + slack
                lowers[count] = score - slack - widening * float64(shift)
                count += 1
                if count < n.capacity:
                    continue
                if n.nearest > 0:
                    risen = raised(numbers, uppers, lowers, count, n.nearest)
                    threshold = max(threshold, risen)
                    count = prune(numbers, uppers, lowers, count, threshold)
                    limit = limit_of(threshold, slack)
                if 100 * count > _FULL * n.capacity:
                    counts[t], thresholds[t], positions[t] = count, threshold, place + 1
                    return 1
        if n.columns == 0 and 0 < n.nearest < count:  # there are no more
            threshold = max(threshold, kth_of(numbers, uppers, lowers, count, n.nearest))
            count = prune(numbers, uppers, lowers, count, threshold)
        # Of those that this block has brought many go at once.
        if 0 < n.nearest and 4 * count > 7 * n.nearest and count > before:
            risen = raised(numbers, uppers, lowers, count, n.nearest)
            threshold = max(threshold, risen)
            count = prune(numbers, uppers, lowers, count, threshold)
        counts[t], thresholds[t], positions[t] = count, threshold, at
        return 1

    return kernel
