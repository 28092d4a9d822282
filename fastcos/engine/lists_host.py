"""Lists of candidates for each query, for arrays in the memory of this machine.

The other place is :mod:`fastcos.engine.lists_device`, with the same functions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastcos.engine import host
from fastcos.kernels.arguments import Select
from fastcos.kernels.forks import importing


class Lists(NamedTuple):
    """What may be among the nearest of each query; arrays of NumPy."""

    numbers: Any  # (Q, capacity) int64: the numbers of the candidates
    uppers: Any  # (Q, capacity) float64: what their scores are at most
    lowers: Any  # and at least
    counts: Any  # (Q,) int64: how many there are
    thresholds: Any  # (Q,) float64: what is below is not looked at
    slacks: Any  # (Q,) float64: by how much a score may be wrong
    widening: Any  # (1,) float64: by how much more for each of what is taken from it
    own: Any | None  # (Q,) int64: the number of the query as a candidate
    nearest: int  # how many are wanted; 0 for all at the threshold
    exact: bool  # whether scores are distances, with the other sign


#: How many candidates a list holds beside those that are wanted: room for what a block brings.
ROOM = 64


def size(nearest: int) -> int:
    """Bytes of a list."""
    return 24 * _capacity(nearest)


def _capacity(nearest: int) -> int:
    return 2 * nearest + ROOM if nearest else 4 * ROOM


def new(
    nearest: int, thresholds: Any, slacks: Any, widening: float, own: Any, exact: bool
) -> Lists:
    """Empty lists; ``nearest`` is 0 for all at the threshold."""
    queries = len(thresholds)
    shape = queries, _capacity(nearest)
    return Lists(
        *(np.empty(shape, np.int64), np.empty(shape), np.empty(shape)),
        *(np.zeros(queries, np.int64), thresholds, slacks, np.array([widening]), own),
        *(nearest, exact),
    )


def offer(
    lists: Lists, first: int, scores: Any, shifts: Any, column: int, positions: Any, adapter: Any
) -> Any:
    """Looks at a block of scores for what may be among the nearest.

    Args:
        lists: The lists.
        first: The first query of the block.
        scores: Of queries with candidates, one after another, float32 or float64; an array of the
            library's.
        shifts: What is taken from the scores of each candidate, of their dtype; or None.
        column: The number of the first candidate.
        positions: The column from which on each query goes over the block.
        adapter: That of the library.

    Returns:
        Which queries have stopped on the way, for their lists are full; ``positions`` says where.
    """
    with importing():
        from fastcos.kernels.cpu import compile

    place, scores = host.address_of, adapter.host(scores)
    queries, columns = scores.shape
    last = first + queries
    own = None if lists.own is None else lists.own[first:last]
    packed = Select(
        *(0, place(scores), columns, column, 0 if own is None else place(own)),
        *(0 if shifts is None else place(shifts), place(lists.widening)),
        *(place(lists.slacks[first:last]), lists.nearest, int(lists.exact and lists.nearest > 0)),
        *(
            lists.numbers.shape[1],
            place(lists.numbers[first:last]),
            place(lists.uppers[first:last]),
        ),
        *(place(lists.lowers[first:last]), place(lists.counts[first:last])),
        *(place(lists.thresholds[first:last]), place(positions)),
    )
    kernel = compile.select_kernel_of(scores.dtype == np.float64)
    block = np.array(packed).view(float)
    parallel = queries * columns >= adapter.SHARED_BESIDE_PRODUCTS
    host.launch(kernel.address, block, queries, 0, adapter.THREADS, parallel=parallel)
    return np.flatnonzero(positions < columns) + first


def finish(lists: Lists, adapter: Any) -> None:
    """Leaves what is among the nearest by its bounds; the last blocks have left some more."""
    queries = len(lists.counts)
    positions, nothing = np.zeros(queries, np.int64), np.empty((queries, 0), np.float32)
    offer(lists, 0, adapter.from_host(nothing, None), None, 0, positions, adapter)


def places(counts: Any) -> Any:
    """The places 0, 1, ... in lists of these counts, one list after the other."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def places_of(queries: Any) -> Any:
    """The places 0, 1, ... of what belongs to queries, of which each comes in one run."""
    starts = np.flatnonzero(np.diff(queries, prepend=-1))
    return places(np.diff(starts, append=len(queries)))


def taken(lists: Lists, rows: Any) -> tuple[Any, Any, Any, Any]:
    """All that is in the lists of some queries: queries, numbers, upper and lower bounds."""
    counts = lists.counts[rows]
    queries = np.repeat(rows, counts)
    at = queries, places(counts)
    return queries, lists.numbers[at], lists.uppers[at], lists.lowers[at]


def put_back(lists: Lists, rows: Any, found: tuple[Any, Any, Any, Any], at: Any) -> None:
    """Leaves in the lists of some queries what was chosen of :func:`taken`, at these places."""
    queries, numbers, uppers, lowers = found
    lists.counts[rows] = 0
    where = queries, at
    lists.numbers[where], lists.uppers[where], lists.lowers[where] = numbers, uppers, lowers
    np.add.at(lists.counts, queries, 1)


def united(parts: list[Lists], by_queries: bool) -> Lists:
    """The lists of parts, which had queries of their own, or else candidates of their own."""
    if len(parts) == 1:
        return parts[0]
    if by_queries:
        fields: tuple[str, ...] = ("numbers", "uppers", "lowers", "counts", "thresholds", "slacks")
        fields += () if parts[0].own is None else ("own",)
        both: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name in fields
        }
        return parts[0]._replace(**both)
    queries = np.arange(len(parts[0].counts))
    found = [np.concatenate(each) for each in zip(*(taken(p, queries) for p in parts), strict=True)]
    order = np.argsort(found[0], kind="stable")
    counts = np.sum([part.counts for part in parts], axis=0)
    capacity = max(int(counts.max(initial=0)), 1)
    shape = len(queries), capacity
    lists = parts[0]._replace(
        numbers=np.empty(shape, np.int64),
        uppers=np.empty(shape),
        lowers=np.empty(shape),
        counts=counts,
        thresholds=np.max([part.thresholds for part in parts], axis=0),
    )
    where = np.repeat(queries, counts), places(counts)
    for array, each in zip(lists[:3], found[1:], strict=True):
        array[where] = each[order]
    return lists
