"""Losses of triplets that are found within the batch: the hardest, the semi-hard, all."""

from typing import Any

from fastcos.listwise.order import (
    chosen_negative,
    count_negatives,
    count_positives,
    first_beyond,
    first_from,
)
from fastcos.listwise.record import DISTANCE, Listwise
from fastcos.listwise.scalars import sigmoid, softplus


def _hard(soft: bool) -> Any:
    # z = max_P d - min_N d + m,    l = max(0, z), or softplus(z)
    # Candidates that are equally far share the slope.
    def start(row: Any, margin: Any) -> Any:
        return row.greatest_positive, row.least_negative, 1.0, 0.0

    def accumulate(sums: Any, context: Any, each: Any) -> Any:
        farthest, nearest, one, zero = context
        return (
            sums[0] + (one if each.positive and each.s == farthest else zero),
            sums[1] + (one if not each.positive and each.s == nearest else zero),
        )

    def finalize_hard(sums: Any, context: Any, row: Any, margin: Any) -> Any:
        farthest, nearest, _, _ = context
        if row.positives == 0 or row.negatives == 0:
            return 0.0, 0.0, (0.0, 0.0, 0.0, 0.0, 0.0)
        z = row.greatest_positive - row.least_negative + margin
        by = 1.0 if z >= 0 else 0.0
        return max(z, 0.0), 1.0, (farthest, nearest, by / sums[0], -by / sums[1], 0.0)

    def finalize_soft(sums: Any, context: Any, row: Any, margin: Any) -> Any:
        farthest, nearest, _, _ = context
        if row.positives == 0 or row.negatives == 0:
            return 0.0, 0.0, (0.0, 0.0, 0.0, 0.0, 0.0)
        z = row.greatest_positive - row.least_negative + margin
        by = sigmoid(z)
        return softplus(z), 1.0, (farthest, nearest, by / sums[0], -by / sums[1], 0.0)

    def slope(coefficients: Any, each: Any) -> Any:
        farthest, nearest, of_positive, of_negative, zero = coefficients
        if each.positive:
            return of_positive if each.s == farthest else zero
        return of_negative if each.s == nearest else zero

    name, finalize = ("soft_hard", finalize_soft) if soft else ("hard", finalize_hard)
    return Listwise(name, start, accumulate, finalize, slope, sums=2, of=DISTANCE)


# In the losses below a triplet has z = d(a,p) - d(a,n) + m. It grows with d(a,p) and falls with
# d(a,n), also as it is rounded: of values in order, those with z >= 0 are a run at one end, and how
# many there are is found by bisection.


def _all() -> Listwise:
    # l = Σ_P Σ_N max(0, z), by parts: with k of the negatives for a positive, and c of the
    # positives for a negative, where z >= 0,
    # l = Σ_P k (d + m) - Σ_N c d,    dl/dd = k for positives, -c for negatives
    # Terms are the triplets with z > 0.
    def start(row: Any, margin: Any) -> Any:
        return margin, 0.0, TINY

    def accumulate(sums: Any, context: Any, each: Any, order: Any) -> Any:
        margin, zero, above = context
        value, terms = sums
        if each.positive:
            k = count_negatives(each.s, margin, order, zero)
            return value + k * (each.s + margin), terms + count_negatives(
                each.s, margin, order, above
            )
        return value - count_positives(each.s, margin, order, zero) * each.s, terms

    def finalize(sums: Any, context: Any, row: Any, margin: Any) -> Any:
        return max(sums[0], 0.0), sums[1], (margin, 0.0)

    def slope(coefficients: Any, each: Any, order: Any) -> Any:
        margin, zero = coefficients
        if each.positive:
            return 1.0 * count_negatives(each.s, margin, order, zero)
        return -1.0 * count_positives(each.s, margin, order, zero)

    return Listwise(
        "all_triplets", start, accumulate, finalize, slope, sums=2, of=DISTANCE, ordered=True
    )


#: The least that counts for more than 0.
TINY = 1e-37


def _semi_hard() -> Listwise:
    # l = Σ_P max(0, d - d_n + m), n the nearest negative that is farther than the positive, or the
    # farthest of all where none is. dl/dd is 1 for a positive with z >= 0; for a negative -1 for
    # each such positive that has chosen it, shared by negatives that are equally far.
    # Of the positives in order, those that choose a value v of the negatives are a run: from the
    # greatest negative below v on, to v, and to the end where v is the greatest; and those of them
    # with z >= 0 are the end of that run.
    def start(row: Any, margin: Any) -> Any:
        return margin, 0.0

    def accumulate(sums: Any, context: Any, each: Any, order: Any) -> Any:
        margin, zero = context
        if each.positive and order.negatives > 0:
            z = each.s - order.values[chosen_negative(each.s, order)] + margin
            return (sums[0] + (z if z > zero else zero),)
        return (sums[0] + zero,)

    def finalize(sums: Any, context: Any, row: Any, margin: Any) -> Any:
        terms = row.positives if row.negatives > 0 else 0.0
        return sums[0], terms, (margin, 0.0)

    def slope(coefficients: Any, each: Any, order: Any) -> Any:
        margin, zero = coefficients
        end = order.positives + order.negatives
        if each.positive:
            if order.negatives == 0:
                return 0.0
            z = each.s - order.values[chosen_negative(each.s, order)] + margin
            return 1.0 if z >= zero else 0.0
        # The negatives that are equally far: values[first:last].
        first = first_from(order.values, order.positives, end, each.s)
        last = first_beyond(order.values, first, end, each.s)
        below = order.values[max(first - 1, 0)]
        since = (
            0 if first == order.positives else first_from(order.values, 0, order.positives, below)
        )
        until = order.positives
        if last < end:
            until = first_from(order.values, 0, order.positives, each.s)
        active = order.positives - count_positives(each.s, margin, order, zero)
        return -1.0 * max(until - max(since, active), 0) / (last - first)

    return Listwise(
        "semi_hard_triplets", start, accumulate, finalize, slope, of=DISTANCE, ordered=True
    )


hard = _hard(soft=False)
soft_hard = _hard(soft=True)
all_triplets = _all()
semi_hard_triplets = _semi_hard()
