"""Losses of triplets that are found within the batch: the hardest, the semi-hard, all."""

from typing import Any

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


def count_negatives(d: Any, margin: Any, order: Any, zero: Any) -> Any:
    """Of how many negatives ``d - negative + margin >= zero``."""
    low, high = order.positives, order.positives + order.negatives
    while low < high:
        middle = (low + high) // 2
        if d - order.values[middle] + margin >= zero:
            low = middle + 1
        else:
            high = middle
    return low - order.positives


def count_positives(d: Any, margin: Any, order: Any, zero: Any) -> Any:
    """Of how many positives ``positive - d + margin >= zero``."""
    low, high = 0, order.positives
    while low < high:
        middle = (low + high) // 2
        if order.values[middle] - d + margin >= zero:
            high = middle
        else:
            low = middle + 1
    return order.positives - low


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


def chosen_negative(d: Any, order: Any) -> Any:
    """Where the semi-hard negative of a positive at distance d is: the nearest of those beyond d.

    If there is none, it is the farthest of all.
    """
    low, high = order.positives, order.positives + order.negatives
    while low < high:
        middle = (low + high) // 2
        if order.values[middle] > d:
            high = middle
        else:
            low = middle + 1
    return min(low, order.positives + order.negatives - 1)


def first_beyond(d: Any, order: Any) -> Any:
    """How many positives are nearer than d."""
    low, high = 0, order.positives
    while low < high:
        middle = (low + high) // 2
        if order.values[middle] >= d:
            high = middle
        else:
            low = middle + 1
    return low


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
        low, high = order.positives, end
        while low < high:
            middle = (low + high) // 2
            if order.values[middle] >= each.s:
                high = middle
            else:
                low = middle + 1
        first, high = low, end
        while low < high:
            middle = (low + high) // 2
            if order.values[middle] > each.s:
                high = middle
            else:
                low = middle + 1
        last = low
        since = 0 if first == order.positives else first_beyond(order.values[first - 1], order)
        until = order.positives if last == end else first_beyond(each.s, order)
        active = order.positives - count_positives(each.s, margin, order, zero)
        return -1.0 * max(until - max(since, active), 0) / (last - first)

    return Listwise(
        "semi_hard_triplets", start, accumulate, finalize, slope, of=DISTANCE, ordered=True
    )


hard = _hard(soft=False)
soft_hard = _hard(soft=True)
all_triplets = _all()
semi_hard_triplets = _semi_hard()
