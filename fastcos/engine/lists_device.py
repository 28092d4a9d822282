"""Lists of candidates for each query, of scores in the memory of a GPU.

The other place is :mod:`fastcos.engine.lists_host`, whose lists these are: in the memory of this
machine, for what they hold is little. Of a block of scores only those come here that may be among
the nearest, and every block is waited for.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastcos.engine.lists_host import Lists, places_of

#: Rounding down from float64 to float32.
_ROUNDING = 2.0**-22


def offer(
    lists: Lists, first: int, scores: Any, shifts: Any, column: int, positions: Any, adapter: Any
) -> Any:
    """As :func:`fastcos.engine.lists_host.offer`, of scores on the device."""
    queries, columns = map(int, scores.shape)
    rows = slice(first, first + queries)
    thresholds, slacks = lists.thresholds[rows], lists.slacks[rows]
    lowers = scores
    if shifts is not None:
        there = adapter.from_host(shifts, scores)
        scores = scores - there[None]
        lowers = scores - float(lists.widening[0]) * there[None]
    numbers = adapter.numbered_like(scores[0])[None]
    outside = numbers < adapter.from_host(positions, scores)[:, None]
    if lists.own is not None:
        outside = outside | (
            numbers == adapter.from_host(lists.own[rows] - column, scores)[:, None]
        )
    outside = outside | ~(scores == scores)
    k, least = lists.nearest, thresholds
    if 0 < k <= columns:
        kth = adapter.host(adapter.kth_largest(adapter.where(outside, -math.inf, lowers), k))
        least = np.fmax(thresholds, kth.astype(np.float64) - slacks)
    with np.errstate(invalid="ignore"):  # that of a query of which nothing is asked is infinite
        limits = least - slacks
        limits = limits - np.abs(limits) * _ROUNDING
    limits = adapter.from_host(limits.astype(_dtype(scores)), scores)
    i, j = adapter.nonzero((scores >= limits[:, None]) & ~outside)
    found = adapter.host(scores[i, j]).astype(np.float64)
    of, at = adapter.host(i), adapter.host(j)
    shifted = np.zeros(len(of)) if shifts is None else shifts[at].astype(np.float64)
    above = found > thresholds[of] if lists.exact and k else found + slacks[of] >= least[of]
    of, at, found, shifted = of[above], at[above], found[above], shifted[above]
    # Those that are in no list yet: a list takes as many as it has room for, in their order.
    places = places_of(of) + lists.counts[rows][of]
    capacity = lists.numbers.shape[1]
    positions[...] = columns
    left = places == capacity
    positions[of[left]] = at[left]
    taken = places < capacity
    of, at, found, shifted, places = (x[taken] for x in (of, at, found, shifted, places))
    where = of + first, places
    lists.numbers[where] = at + column
    lists.uppers[where] = found + slacks[of]
    lists.lowers[where] = found - slacks[of] - lists.widening[0] * shifted
    np.add.at(lists.counts, of + first, 1)
    if k:
        _prune(lists, np.unique(of) + first)
    return np.flatnonzero(positions < columns) + first


def finish(lists: Lists, adapter: Any) -> None:
    """As :func:`fastcos.engine.lists_host.finish`."""
    _prune(lists, np.arange(len(lists.counts)))


def _dtype(scores: Any) -> Any:
    return np.float64 if "float64" in str(scores.dtype) else np.float32


def _prune(lists: Lists, rows: Any) -> None:
    """Raises the thresholds of some queries, and leaves those whose upper bounds are not below."""
    rows = rows[lists.counts[rows] > lists.nearest]
    held = np.arange(lists.numbers.shape[1]) < lists.counts[rows][:, None]
    lowers = np.where(held, lists.lowers[rows], -math.inf)
    kth = np.partition(lowers, -lists.nearest, axis=1)[:, -lists.nearest]
    lists.thresholds[rows] = np.fmax(lists.thresholds[rows], kth)
    kept = held & (lists.uppers[rows] >= lists.thresholds[rows][:, None])
    order = np.argsort(~kept, axis=1, kind="stable")
    for array in (lists.numbers, lists.uppers, lists.lowers):
        array[rows] = np.take_along_axis(array[rows], order, 1)
    lists.counts[rows] = kept.sum(1)
