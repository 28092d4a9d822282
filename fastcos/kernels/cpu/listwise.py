"""The kernel of a listwise loss: rows of similarities in, losses and, in their place, slopes out.

A task is the row of one anchor. It is gone over three times, from the cache: for the extremes, for
the sums, and for the slopes, each a loop that the compiler vectorises. A candidate that is the
anchor itself is left out by going over what is before it, and after it.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import float32, float64

from fastcos.kernels import EUCLIDEAN, PRODUCT, SQUARED
from fastcos.kernels.arguments import Block
from fastcos.kernels.cpu import exponential  # noqa: F401  # what the functions of losses call
from fastcos.kernels.cpu.memory import (
    double_tuple,
    doubles,
    equal,
    floats,
    greater,
    ints,
    lesser,
    long_tuple,
    wide_vectors,
)
from fastcos.kernels.cpu.states import add_up, as_float32, as_float64
from fastcos.kernels.functions import registered
from fastcos.kernels.listwise import DOUBTFUL, Variant
from fastcos.listwise import Candidate, Order, Row

FIELDS = len(Block._fields)
#: Candidates whose terms are added up in the dtype of the row, before they are in float64: with
#: float64 sums the whole loop would have half as many numbers in a vector.
STRETCH = 256
_SUMS = {"reassoc", "contract"}


class Extremes(NamedTuple):
    """What the first pass over a row finds, of the dtype of the row."""

    positives: Any
    least_positive: Any
    greatest_positive: Any
    least_negative: Any
    greatest_negative: Any


class Part(NamedTuple):
    """Arrays of the candidates before the anchor itself, or after it."""

    row: Any  # their similarities
    labels: Any
    numbers: Any
    scales: Any


def listwise_kernel(functions: Any, variant: Variant, jitable: Any) -> Callable[[int, int], int]:
    """``kernel(t, address of a Block) -> 1``, of the four functions of a listwise loss."""
    start, accumulate, finalize, slope = map(registered, functions)
    number = float32 if variant.dtype == "float32" else float64
    size = 4 if variant.dtype == "float32" else 8
    array = floats if variant.dtype == "float32" else doubles
    count, of, ordered, paired = variant.parameters, variant.of, variant.ordered, variant.paired
    # Counts of what is in order can be greater than float32 has integers.
    narrow_sums = variant.dtype == "float32" and not ordered
    as_sums = as_float32 if narrow_sums else as_float64
    none = (0.0,) * variant.sums
    zeros = (np.float32(0),) * variant.sums if narrow_sums else none
    narrow = as_float32 if variant.dtype == "float32" else as_float64

    @jitable()
    def part_of(n: Block, row: int, begin: int, end: int) -> Any:
        # Loops begin with 0: of another beginning the compiler asks whether it is negative, and
        # does not vectorise.
        length = max(end - begin, 0)
        return Part(
            array(row + size * begin, length),
            ints(n.candidate_labels + 4 * begin, length),
            array(n.candidate_numbers + size * begin, length),
            array(n.candidate_scales + size * begin, length),
        )

    @jitable()
    def candidate(part: Part, label: Any, j: int) -> Any:
        if paired:
            return Candidate(
                part.row[j], equal(part.labels[j], label), part.numbers[j], part.scales[j]
            )
        return Candidate(part.row[j], equal(part.labels[j], label), number(0), number(0))

    @jitable(fastmath=_SUMS)
    def extremes_of(part: Part, label: Any, found: Any) -> Any:
        wide_vectors()
        positives, low_positive, high_positive, low_negative, high_negative = found
        row, labels, top = part.row, part.labels, number(math.inf)
        for j in range(row.shape[0]):
            s, positive = row[j], equal(labels[j], label)
            positives += number(1) if positive else number(0)
            low_positive = lesser(s if positive else top, low_positive)
            high_positive = greater(s if positive else -top, high_positive)
            low_negative = lesser(top if positive else s, low_negative)
            high_negative = greater(-top if positive else s, high_negative)
        return Extremes(positives, low_positive, high_positive, low_negative, high_negative)

    @jitable(fastmath=_SUMS)
    def zero_or_nan(part: Part) -> Any:
        wide_vectors()
        row, total = part.row, number(0)
        for j in range(row.shape[0]):
            total += row[j] * number(0)
        return total

    @jitable(fastmath=_SUMS)
    def to_squares(row: Any, square: Any, squares: Any) -> Any:
        wide_vectors()
        doubtful = 0
        for j in range(row.shape[0]):
            both = square + squares[j]
            squared = both - number(2) * row[j]
            doubtful += squared < number(DOUBTFUL) * both
            row[j] = squared
        return doubtful

    @jitable(fastmath=_SUMS)
    def squared_distance(x: Any, y: Any) -> Any:
        total = 0.0
        for k in range(x.shape[0]):
            t = float64(x[k]) - float64(y[k])
            total += t * t
        return total

    @jitable()
    def to_distances(n: Block, row: Any, i: int, begin: int) -> None:
        squares = array(n.candidate_squares + size * begin, row.shape[0])
        square = number(doubles(n.anchor_squares + 8 * i, 1)[0])
        if to_squares(row, square, squares) > 0:
            length = size * n.features
            x = array(n.anchor_rows + length * i, n.features)
            for j in range(row.shape[0]):
                if row[j] < number(DOUBTFUL) * (square + squares[j]):
                    y = array(n.candidate_rows + length * (begin + j), n.features)
                    row[j] = number(squared_distance(x, y))
        if of == EUCLIDEAN:
            to_roots(row)

    @jitable()
    def to_roots(row: Any) -> None:
        wide_vectors()
        for j in range(row.shape[0]):
            row[j] = math.sqrt(row[j])

    @jitable(fastmath={"contract"})
    def to_numbers(row: Any, offset: Any, factor: Any) -> None:
        wide_vectors()
        for j in range(row.shape[0]):
            row[j] = offset + factor * row[j]

    @jitable(fastmath=_SUMS)
    def sum_of_stretch(context: Any, part: Part, label: Any, order: Any) -> Any:
        wide_vectors()
        sums = zeros
        for j in range(part.row.shape[0]):
            each = candidate(part, label, j)
            if ordered:
                sums = as_sums(accumulate(sums, context, each, order))
            else:
                sums = as_sums(accumulate(sums, context, each))
        return sums

    @jitable()
    def summed(
        sums: Any, context: Any, n: Block, row: int, span: Any, label: Any, order: Any
    ) -> Any:
        begin, end = span
        while begin < end:
            part = part_of(n, row, begin, min(begin + STRETCH, end))
            sums = add_up(sums, sum_of_stretch(context, part, label, order))
            begin += STRETCH
        return sums

    @jitable()
    def slope_of(coefficients: Any, each: Any, order: Any) -> Any:
        if ordered:
            return number(slope(coefficients, each, order))
        return number(slope(coefficients, each))

    @jitable(fastmath=_SUMS)
    def learned_of(coefficients: Any, part: Part, label: Any, order: Any) -> Any:
        wide_vectors()
        slopes = s_slopes = 0.0
        for j in range(part.row.shape[0]):
            each = candidate(part, label, j)
            g = slope_of(coefficients, each, order)
            slopes += g
            s_slopes += float64(g) * each.s
        return slopes, s_slopes

    @jitable(fastmath=_SUMS)
    def write(
        coefficients: Any, part: Part, label: Any, order: Any, scale: Any, offset: Any
    ) -> Any:
        wide_vectors()
        # With q the square of the distance, or the distance: d product = -dq / 2, or -q dq.
        total, row = 0.0, part.row
        for j in range(row.shape[0]):
            each = candidate(part, label, j)
            g = scale * slope_of(coefficients, each, order)
            if of == EUCLIDEAN:
                d = abs(each.s - offset)
                g = g / d if d > number(0) else number(0)
            if of != PRODUCT:
                total += g
                g = -g
            row[j] = g
        return total

    @jitable()
    def sort(before: Part, after: Part, label: Any, order: Order) -> None:
        values, positive, negative = order.values, 0, order.positives
        for part in (before, after):
            for j in range(part.row.shape[0]):
                if equal(part.labels[j], label):
                    values[positive] = part.row[j]
                    positive += 1
                else:
                    values[negative] = part.row[j]
                    negative += 1
        values[:positive].sort()
        values[positive:negative].sort()

    @jitable()
    def leave(n: Block, row: Any, i: int, slope: float) -> None:
        """Leaves an anchor whose slopes are all the same: 0, or NaN."""
        for j in range(row.shape[0]):
            row[j] = number(slope)
        if n.sums != 0:
            doubles(n.sums + 8 * i, 1)[0] = slope
        if n.learned != 0:
            learned = doubles(n.learned + 16 * i, 2)
            learned[0] = learned[1] = slope

    def kernel(t: int, block: int) -> int:
        n = Block(*long_tuple(block, FIELDS))
        i, columns = n.first + t, n.candidates
        place = n.similarities + size * columns * t
        row = array(place, columns)
        label = ints(n.anchor_labels + 4 * i, 1)[0]
        offset, factor = number(n.offset), number(n.factor)
        parameters = double_tuple(n.parameters, count)
        # The candidate that is the anchor itself, or one that there is not.
        own = n.ahead + i if n.excludes else columns
        before, after = part_of(n, place, 0, own), part_of(n, place, own + 1, columns)
        if of != PRODUCT:
            to_distances(n, before.row, i, 0)
            to_distances(n, after.row, i, own + 1)
        if n.offset != 0 or n.factor != 1:
            to_numbers(before.row, offset, factor)
            to_numbers(after.row, offset, factor)
        top = number(math.inf)
        found = extremes_of(before, label, Extremes(number(0), top, -top, top, -top))
        found = extremes_of(after, label, found)
        candidates = columns - (1 if n.excludes else 0)
        scale = doubles(n.anchor_scales + 8 * i, 1)[0] if n.anchor_scales != 0 else 0.0
        values, wanted = doubles(n.values + 16 * i, 2), n.anchor_scales != 0
        bad = zero_or_nan(before) + zero_or_nan(after)
        if bad != bad or candidates == 0:
            values[0], values[1] = math.nan if candidates else 0.0, min(1.0, candidates)
            if wanted:
                leave(n, row, i, math.nan if candidates > 0 and scale != 0 else 0.0)
            return 1
        known = Row(
            float64(found.positives),
            float64(candidates - found.positives),
            float64(found.least_positive),
            float64(found.greatest_positive),
            float64(found.least_negative),
            float64(found.greatest_negative),
            doubles(n.anchor_numbers + 8 * i, 1)[0] if n.anchor_numbers != 0 else 0.0,
            scale,
        )
        in_order = n.sorted + size * columns * t if ordered else 0
        positives = int(found.positives)
        order = Order(array(in_order, columns), positives, candidates - positives)
        if ordered:
            sort(before, after, label, order)
        context = narrow(start(known, *parameters))
        sums = summed(none, context, n, place, (0, own), label, order)
        sums = summed(sums, context, n, place, (own + 1, columns), label, order)
        value, terms, coefficients = finalize(sums, context, known, *parameters)
        values[0], values[1] = value, terms
        if not wanted:
            return 1
        if scale == 0 and not paired:
            leave(n, row, i, 0.0)
            return 1
        by, within = 1.0 if paired else scale, narrow(coefficients)
        if n.learned != 0:
            learned = doubles(n.learned + 16 * i, 2)
            first = learned_of(within, before, label, order)
            second = learned_of(within, after, label, order)
            learned[0], learned[1] = by * (first[0] + second[0]), by * (first[1] + second[1])
        by = number(by * n.factor * (2 if of == SQUARED else 1))
        total = write(within, before, label, order, by, offset)
        total += write(within, after, label, order, by, offset)
        if n.excludes:
            row[own] = number(0)
        if n.sums != 0:
            doubles(n.sums + 8 * i, 1)[0] = total
        return 1

    return kernel
