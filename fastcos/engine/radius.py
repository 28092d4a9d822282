"""Candidates within a radius, pair by pair; and the groups that pairs join.

As in :mod:`fastcos.engine.neighbors`, with a threshold that is known before: that of the radius.
Lists are emptied as they fill, so memory is that of the pairs that are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from fastcos.engine import lists_host, products
from fastcos.engine.scores import made_ready, measured_blocks, scored_blocks
from fastcos.engine.search import Search, chunk_of, distance_of, frame_of, index, own_numbers, pairs
from fastcos.kernels.forks import importing


class Pairs(NamedTuple):
    """Pairs within the radius; arrays of NumPy."""

    queries: Any  # int64
    numbers: Any  # int64: of the candidates
    distances: Any  # float64; NaN where it was not asked for and needed no measuring


class Seen(NamedTuple):
    """How far the search was when pairs were found."""

    pairs: Pairs
    share: float  # of all pairs of rows, how many had been looked at


def within(search: Search, radius: float, measures: bool = True) -> Iterator[Seen]:
    """The pairs within a radius, by parts; of one set of rows those with ``i < j``.

    Of a query, candidates come in the order of their numbers, but for those of rows that products
    do not order. Without ``measures`` only what is in doubt is measured.
    """
    queries = search.queries
    count = int(queries.shape[0])
    frame, size = frame_of(search), chunk_of(0)
    for first in range(0, count, size):
        chunk = queries[first : first + size]
        own = own_numbers(search, first, len(chunk))
        if frame is None:
            parts = _by_measuring(search, chunk, search.gallery, own, radius, search.progress)
        else:
            parts = _by_products(search, frame, chunk, own, radius, measures)
        for found, share in parts:
            done = (first + share * len(chunk)) / count
            yield Seen(found._replace(queries=found.queries + first), done)


def _by_measuring(
    search: Search,
    queries: Any,
    gallery: Any,
    own: Any,
    radius: float,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Seen]:
    count, columns = len(queries), int(gallery.shape[0])
    lists = lists_host.new(0, np.full(count, -radius), np.zeros(count), 0.0, own, exact=True)
    for first, column, scores in measured_blocks(search, queries, gallery):
        positions = _after(own, first, column, *map(int, scores.shape))
        done = (column + scores.shape[1] * (first + len(scores)) / count) / columns
        for found in _drained(search, lists, first, scores, None, column, positions):
            of, numbers, uppers, _ = found
            d = distance_of(uppers)
            kept = d <= radius  # infinity is not, though its score may be
            yield Seen(Pairs(of[kept], numbers[kept], d[kept]), done)
        if progress and first + len(scores) == count:
            progress(int(scores.shape[1]))


def _by_products(
    search: Search,
    frame: products.Frame,
    queries: Any,
    own: Any,
    radius: float,
    measures: bool,
) -> Iterator[Seen]:
    rows = made_ready(search, frame, queries)
    bounds = products.query_bounds(frame, rows.squares, rows.norms)
    odd = rows.odd
    least, enough = products.least_scores(search.distance, frame, rows.squares, rows.norms, radius)
    least[odd] = math.inf  # they are measured below
    lists = lists_host.new(0, least, bounds.slacks, bounds.widening, own, exact=False)
    beyond: list[Any] = []
    columns = int(search.gallery.shape[0])
    for first, column, scores, shifts in scored_blocks(search, frame, rows.units, beyond):
        positions = _after(own, first, column, *map(int, scores.shape))
        done = (column + scores.shape[1] * (first + len(scores)) / len(queries)) / columns
        for found in _drained(search, lists, first, scores, shifts, column, positions):
            of, numbers, _, lowers = found
            doubtful = np.ones(len(of), bool) if measures else ~(lowers >= enough[of])
            d = np.full(len(of), math.nan)
            d[doubtful] = pairs(search, queries, search.gallery, of[doubtful], numbers[doubtful])
            kept = (d <= radius) | ~doubtful
            yield Seen(Pairs(of[kept], numbers[kept], d[kept]), done)
    if beyond:
        # As candidates of all queries, and where there is one set of rows, of those before them.
        numbers = np.concatenate(beyond)
        which = np.flatnonzero(~odd)
        rest = search.gallery[index(search, numbers)]
        some = queries[index(search, which)]
        for seen in _by_measuring(search, some, rest, None, radius):
            yield Seen(_later(seen.pairs, which, numbers, own), 1.0)
    if odd.any():
        which, numbers = np.flatnonzero(odd), np.arange(columns)
        some = queries[index(search, which)]
        for seen in _by_measuring(search, some, search.gallery, None, radius):
            yield Seen(_later(seen.pairs, which, numbers, own), 1.0)


def _later(found: Pairs, which: Any, numbers: Any, own: Any) -> Pairs:
    """Pairs by the numbers of all rows; of one set of rows those with ``i < j``."""
    of, j = which[found.queries], numbers[found.numbers]
    kept = slice(None) if own is None else own[of] < j
    return Pairs(of[kept], j[kept], found.distances[kept])


def _after(own: Any, first: int, column: int, queries: int, columns: int) -> Any:
    """The column from which on candidates come after the query itself."""
    if own is None:
        return np.zeros(queries, np.int64)
    return np.clip(own[first : first + queries] + 1 - column, 0, columns)


def _drained(
    search: Search,
    lists: Any,
    first: int,
    scores: Any,
    shifts: Any,
    column: int,
    positions: Any,
) -> Iterator[tuple[Any, Any, Any, Any]]:
    """What a block brings into the lists, which are empty before and after."""
    rows = np.arange(first, first + len(scores))
    while True:
        full = search.offer(lists, first, scores, shifts, column, positions, search.adapter)
        found = lists_host.taken(lists, rows)
        lists.counts[rows] = 0
        if len(found[0]):
            yield found
        if not len(full):
            return


class TooManyPairs(Exception):
    """There are more pairs than were to be kept."""

    def __init__(self, estimate: float) -> None:
        self.estimate = estimate  # how many there would be


def _estimate(search: Search, seen: int, share: float) -> float:
    """How many pairs there would be, if the rest is as what was seen; no more than there can be."""
    queries, rows = int(search.queries.shape[0]), int(search.gallery.shape[0])
    possible = rows * (rows - 1) / 2 if search.excludes else queries * rows
    return min(seen / share, possible)


def joined(search: Search, radius: float, most: float) -> tuple[Any, Any, Any]:
    """All pairs within a radius in the order of their queries and candidates.

    Raises:
        TooManyPairs: there are more than ``most``.
    """
    parts = [Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    total = 0
    for seen in within(search, radius):
        total += len(seen.pairs.queries)
        if total > most:
            raise TooManyPairs(_estimate(search, total, seen.share))
        parts.append(seen.pairs)
    of, numbers, d = (np.concatenate(each) for each in zip(*parts, strict=True))
    order = np.lexsort((numbers, of))
    return of[order], numbers[order], d[order]


def groups(search: Search, radius: float, most: float) -> Any:
    """The smallest number in the group of each row; groups are joined by pairs within a radius.

    Raises:
        TooManyPairs: there are more than ``most``.
    """
    with importing():
        from fastcos.kernels.cpu import compile

    parents = np.arange(int(search.queries.shape[0]))
    join, total = compile.joiner(), 0
    for seen in within(search, radius, measures=False):
        total += len(seen.pairs.queries)
        if total > most:
            raise TooManyPairs(_estimate(search, total, seen.share))
        one, two = map(np.ascontiguousarray, seen.pairs[:2])
        join(parents.ctypes.data, one.ctypes.data, two.ctypes.data, len(one))
    # The parent of a row is before it, so that those before have found theirs.
    while (parents[parents] != parents).any():
        parents = parents[parents]
    return parents
