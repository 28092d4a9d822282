"""Bisection in the numbers of a row in order, for losses that ask for them.

The loops of these losses, and no part of a formula: :mod:`fastcos.listwise.triplets` has those.
"""

from typing import Any


def first_from(values: Any, low: Any, high: Any, s: Any) -> Any:
    """The first place from low on, of those before high, whose value is at least s; else high."""
    while low < high:
        middle = (low + high) // 2
        if values[middle] >= s:
            high = middle
        else:
            low = middle + 1
    return low


def first_beyond(values: Any, low: Any, high: Any, s: Any) -> Any:
    """The same for a value that is greater than s."""
    while low < high:
        middle = (low + high) // 2
        if values[middle] > s:
            high = middle
        else:
            low = middle + 1
    return low


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


def chosen_negative(d: Any, order: Any) -> Any:
    """Where the semi-hard negative of a positive at distance d is: the nearest of those beyond d.

    If there is none, it is the farthest of all.
    """
    end = order.positives + order.negatives
    return min(first_beyond(order.values, order.positives, end, d), end - 1)
