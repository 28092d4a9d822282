"""Neighbours: what is looked for, and the loop over blocks of queries and candidates.

For a block, scores of queries with candidates come from a product of matrices
(:mod:`fastcos.engine.products`), or from the kernels that measure, where a distance has no product
or a row is out of its reach. What may be among the nearest by the bounds of its score is kept in a
list for each query (:mod:`fastcos.engine.lists_host`). What is left in the end is measured, and
the order is that of the distances, ties by number: so the answer does not depend on the way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from fastcos import losses
from fastcos.distances import Distance
from fastcos.engine import blocks_device, blocks_host, lists_device, lists_host, products
from fastcos.engine.blocks import readable
from fastcos.engine.problem import Problem
from fastcos.engine.rows import Rows
from fastcos.engine.solve import of_arrays
from fastcos.kernels import PRODUCT, SQUARED

#: Queries that go over the candidates together.
CHUNK = 16_384
#: Of these so many are multiplied at once, and with candidates of so many bytes as are made ready
#: in a cache, and so many bytes of scores.
_HEIGHT, _READY_BYTES, _SCORE_BYTES = 2048, 2 << 20, 8 << 20
#: Up to so many queries scan all candidates as they lie in memory, or are measured with them.
FEW = 2
#: Dtypes of rows that are scanned, and how many of these at once.
_SCANNED, _SCANNED_AT_ONCE = ("float16", "bfloat16", "float32"), 1 << 16
#: The score of the distance infinity, which is one, too, and nearer than none.
_FARTHEST = -np.finfo(np.float64).max
#: Scores that are measured at once.
_MEASURED = 1 << 17


class Search(NamedTuple):
    """What is looked for, with arguments that are arrays of one library, on one device."""

    adapter: Any
    distance: Distance
    measure: Distance  # what decides: the same with sums in float64
    queries: Any  # (Q, D)
    gallery: Any  # (N, D); the queries themselves, of which none is its own neighbour, if ...
    excludes: bool  # ... this is so
    dtype: Any  # what both are promoted to
    place: Any  # blocks_host or blocks_device
    offer: Any  # those of lists_host or lists_device
    finish: Any
    block: int | None = None  # how many candidates are taken at a time
    progress: Callable[[int], None] | None = None  # is told how many candidates are done


def stated(
    adapter: Any,
    distance: Distance,
    queries: Any,
    gallery: Any,
    excludes: bool,
    block: int | None,
    progress: Callable[[int], None] | None,
) -> Search:
    """What is looked for, of arrays."""
    if adapter.records:  # and nothing of this
        queries, gallery = queries.detach(), gallery.detach()
    dtype, measure = adapter.common_dtype([queries, gallery]), distance
    if adapter.float_name(dtype) in ("float16", "bfloat16"):
        # Sums in float32 are for results of half types.
        refinements = distance.refinements._replace(float32_sums=None)
        measure = distance._replace(refinements=refinements)
        dtype = adapter.DTYPES["float32"]
    on_host = adapter.layout(gallery).device < 0
    lists: Any = lists_host if on_host else lists_device
    return Search(
        *(adapter, distance, measure, queries, gallery, excludes, dtype),
        place=blocks_host if on_host else blocks_device,
        offer=lists.offer,
        finish=lists.finish,
        block=block,
        progress=progress,
    )


def values(search: Search, distances: Any) -> Any:
    """Distances as what is returned; those beyond the dtype, whose order is known, as infinity."""
    with np.errstate(over="ignore"):
        return search.adapter.values(index(search, distances), search.dtype)


def index(search: Search, numbers: Any) -> Any:
    """Numbers of rows as an array of the library."""
    return search.adapter.from_host(numbers, search.gallery)


class Found(NamedTuple):
    """The nearest of each query."""

    distances: Any  # (Q, k) float64, nearest first; NaN where there are no more
    numbers: Any  # (Q, k) int64; -1 where there are no more
    measured: int  # how many candidates were measured that products had proposed


def nearest(search: Search, k: int) -> Found:
    """The ``k`` nearest candidates of each query."""
    queries, gallery = search.queries, search.gallery
    count = int(queries.shape[0])
    distances, numbers = np.full((count, k), math.nan), np.full((count, k), -1)
    frame = frame_of(search)
    measured = 0
    for first in range(0, count, CHUNK):
        chunk = queries[first : first + CHUNK]
        own = own_numbers(search, first, len(chunk))
        if frame is not None:
            found = _by_products(search, frame, chunk, own, k)
        else:
            found = _by_scanning(search, chunk, own, k) or _by_measuring(
                search, chunk, gallery, own, k, search.progress
            )
        distances[first : first + CHUNK], numbers[first : first + CHUNK] = found[:2]
        measured += found.measured
    return Found(distances, numbers, measured)


def frame_of(search: Search) -> products.Frame | None:
    """What rows are brought to before they are multiplied; None where they are measured."""
    kind = products.kind_of(search.distance)
    if kind is None or (search.place is blocks_host and search.queries.shape[0] <= FEW):
        return None
    return products.frame_of(search.adapter, search.place, kind, search.gallery, search.dtype)


def own_numbers(search: Search, first: int, count: int) -> Any | None:
    """The numbers of queries as candidates; None where they are none."""
    return np.arange(first, first + count) if search.excludes else None


# --------------------------------------------------------------------------------------------------
# The two ways
# --------------------------------------------------------------------------------------------------


def _by_measuring(
    search: Search,
    queries: Any,
    gallery: Any,
    own: Any | None,
    k: int,
    progress: Callable[[int], None] | None = None,
) -> Found:
    """The nearest by distances alone; ``own`` is in terms of this gallery."""
    count = len(queries)
    lists = lists_host.new(k, np.full(count, -math.inf), np.zeros(count), 0.0, own, exact=True)
    for rows, column, scores in measured_blocks(search, queries, gallery):
        positions = np.zeros(len(scores), np.int64)
        while len(
            full := search.offer(lists, rows, scores, None, column, positions, search.adapter)
        ):
            _settle(search, lists, full, queries)
        if progress and rows + len(scores) == count:
            progress(scores.shape[1])
    return _finished(search, lists, queries)


def _by_scanning(search: Search, queries: Any, own: Any, k: int) -> Found | None:
    """The nearest of a few queries by the scores of a scan.

    None where it is of no use: of rows in float64, which are measured as fast as they are read, of
    distances that it does not know, and of candidates that are too many within its bounds.
    """
    adapter, gallery, kind = search.adapter, search.gallery, products.kind_of(search.distance)
    known = kind is not None and (kind.normalizes or kind.squares)
    narrow = adapter.float_name(gallery.dtype) in _SCANNED
    narrow = narrow and adapter.float_name(search.dtype) == "float32"
    if not known or not narrow or search.place is not blocks_host or len(queries) > FEW:
        return None
    assert kind is not None
    count, (columns, features) = len(queries), map(int, gallery.shape)
    rows = products.ready(adapter, search.place, queries, search.dtype, normalizes=kind.normalizes)
    units, squares = rows.units, adapter.host(adapter.wrap(rows.squares))
    if not (squares < math.inf).all():
        return None
    bounds = products.scan_bounds(kind, features)
    slacks = np.full(count, bounds.slack)
    lists = lists_host.new(k, np.full(count, -math.inf), slacks, -2.0, own, exact=False)
    beyond: list[Any] = []
    width = min(search.block or _SCANNED_AT_ONCE, columns)
    memory = np.empty(count * width, np.float32)
    for column in range(0, columns, width):
        rows = gallery[column : column + width]
        wide = int(rows.shape[0])
        scores = memory[: count * wide].reshape(count, wide)
        of = PRODUCT if kind.normalizes else SQUARED
        blocks_host.scan(adapter, *readable(adapter, rows), units, of, kind.normalizes, scores)
        out = ~np.isfinite(scores).all(0)
        if out.any():
            beyond.append(np.flatnonzero(out) + column)
            scores[:, out] = math.nan
        for i in range(count):
            row = scores[i : i + 1]
            # A lower bound is as far below a score as the upper one is above.
            shifts = np.abs(row[0]) * np.float32(-bounds.relative) if bounds.relative else None
            positions = np.zeros(1, np.int64)
            part = index(search, row)
            if len(search.offer(lists, i, part, shifts, column, positions, adapter)):
                return None
        if search.progress:
            search.progress(wide)
    search.finish(lists, adapter)
    return _with(search, _finished(search, lists, queries), beyond, queries, own, k, 0)


def measured_blocks(search: Search, queries: Any, gallery: Any) -> Iterator[tuple[int, int, Any]]:
    """First query, first candidate, and the distances of a block with the other sign."""
    count, (columns, features) = len(queries), map(int, gallery.shape)
    width = search.block or max(min(_MEASURED // max(count, 1), columns), 64)
    if count > 1 and not search.block:
        # Candidates that stay in a cache while queries go over them.
        width = max(min(width, (256 << 10) // (4 * features)), 64)
    height = max(_MEASURED // width, 1)
    for column in range(0, columns, width):
        candidates = gallery[column : column + width]
        for first in range(0, count, height):
            some = queries[first : first + height]
            d = distances(search, some[:, None], candidates[None]).clip(None, -_FARTHEST)
            d *= -1
            yield first, column, d


def _by_products(search: Search, frame: products.Frame, queries: Any, own: Any, k: int) -> Found:
    adapter = search.adapter
    rows = made_ready(search, frame, queries)
    squares, norms, odd = rows.squares, rows.norms, rows.odd
    bounds = products.query_bounds(frame, squares, norms)
    thresholds = np.where(odd, math.inf, -math.inf)  # they are measured below
    lists = lists_host.new(k, thresholds, bounds.slacks, bounds.widening, own, exact=False)
    beyond: list[Any] = []
    measured = 0

    for first, column, scores, shifts in scored_blocks(search, frame, rows.units, beyond):
        positions = np.zeros(len(scores), np.int64)
        block = lists, first, scores, shifts, column, positions
        for attempt in range(2):
            full = search.offer(*block, adapter)
            if not len(full):
                break
            measured += int(lists.counts[full].sum())
            if attempt == 0:
                last = _settle(search, lists, full, queries)
                sizes = squares[full], norms[full]
                least, _ = products.least_scores(search.distance, frame, *sizes, last)
                lists.thresholds[full] = np.fmax(lists.thresholds[full], least)
            else:
                # So many are in doubt that to measure all of the block takes less time.
                measured += len(full) * int(scores.shape[1])
                _measure_block(search, full, queries, *block[:-1])
    search.finish(lists, adapter)
    found = _with(search, _finished(search, lists, queries), beyond, queries, own, k, measured)
    if odd.any():
        which = np.flatnonzero(odd)
        own = None if own is None else own[which]
        exact = _by_measuring(search, queries[index(search, which)], search.gallery, own, k)
        found.distances[which], found.numbers[which] = exact[:2]
    return found


class Ready(NamedTuple):
    """Queries as they are multiplied."""

    units: Any  # an array of the library
    squares: Any  # of their lengths; arrays of NumPy
    norms: Any  # what they were divided by
    odd: Any  # which of them products do not order


def made_ready(search: Search, frame: products.Frame, queries: Any) -> Ready:
    """Queries as they are multiplied."""
    rows, host, wrap = _ready(search, frame, queries, 0), search.adapter.host, search.adapter.wrap
    squares, norms = host(wrap(rows.squares)), host(wrap(rows.norms))
    return Ready(rows.units, squares, norms, products.out_of_reach(frame, squares, norms, 0))


def scored_blocks(
    search: Search, frame: products.Frame, queries: Any, beyond: list[Any], height: int = _HEIGHT
) -> Iterator[tuple[int, int, Any, Any]]:
    """First query, first candidate, scores, and what is to be taken from these, of a block.

    Numbers of candidates that are out of reach go to ``beyond``: their scores are NaN.
    """
    adapter, gallery = search.adapter, search.gallery
    count, (columns, features) = len(queries), map(int, gallery.shape)
    size = 8 if adapter.float_name(frame.dtype) == "float64" else 4
    most = min(count, height)
    width = search.block or max(
        min(_SCORE_BYTES // (size * most), max(_READY_BYTES // (size * features), 1024)), 64
    )
    width = min(width, columns)
    memory = adapter.workspace((most * width,), frame.dtype, gallery)
    for column in range(0, columns, width):
        rows = _ready(search, frame, gallery[column : column + width], 1)
        squares = adapter.host(adapter.wrap(rows.squares))
        taken = products.shifts(frame, squares)
        if taken is not None:
            out = products.out_of_reach(frame, squares, adapter.host(adapter.wrap(rows.norms)), 1)
            if out.any():
                beyond.append(np.flatnonzero(out) + column)
                taken[out] = math.nan
            taken = taken.astype(f"f{size}")
        wide = len(squares)
        for first in range(0, count, most):
            some = queries[first : first + most]
            scores = memory[: len(some) * wide].reshape(len(some), wide)
            adapter.matmul(some, rows.units.T, scores)
            yield first, column, scores, taken
        if search.progress:
            search.progress(wide)


def _ready(search: Search, frame: products.Frame, array: Any, of: int) -> Any:
    return products.ready(
        *(search.adapter, search.place, array, frame.dtype),
        normalizes=frame.normalizes[of],
        center=frame.center if of == 1 or frame.squares else None,
        exponent=frame.exponents[of],
    )


# --------------------------------------------------------------------------------------------------
# Distances, and what they decide
# --------------------------------------------------------------------------------------------------


def distances(search: Search, x: Any, y: Any) -> Any:
    """The distances of rows in float64."""
    adapter = search.adapter
    problem = Problem(
        losses.identity, search.measure, ("queries", "gallery"), (x, y), reduction="none"
    )
    return of_arrays(adapter, problem, result=adapter.DTYPES["float64"])[0]


def measured_pairs(search: Search, queries: Any, gallery: Any, i: Any, j: Any) -> Any:
    """The distances of pairs of rows by their numbers, which are arrays of the library."""
    adapter = search.adapter

    def rows(table: Any, numbers: Any) -> Rows:
        own = adapter.row_numbers(numbers, int(table.shape[0]))
        return Rows(table, own, False, table, adapter.layout(table))

    return distances(search, rows(queries, i), rows(gallery, j))


def pairs(search: Search, queries: Any, gallery: Any, i: Any, j: Any) -> Any:
    """The same of arrays of NumPy."""
    own = [index(search, each) for each in (i, j)]
    return search.adapter.host(measured_pairs(search, queries, gallery, *own))


def distance_of(scores: Any) -> Any:
    """The distances that were taken for scores."""
    return np.where(scores == _FARTHEST, math.inf, 0 - scores)  # of 0 not -0


def _ranked(
    search: Search, found: tuple[Any, Any, Any, Any], exact: bool, queries: Any, known: Any = None
) -> Any:
    """What lists hold, in order: queries, places in the order, distances, and which they were.

    NaN is no distance, and left out. Distances that are ``known`` are those of the last ones.
    """
    of, numbers, uppers, _ = found
    if exact:
        d = distance_of(uppers)
    else:
        some = len(of) - (0 if known is None else len(known))
        d = pairs(search, queries, search.gallery, of[:some], numbers[:some])
        d = d if known is None else np.concatenate([d, known])
    order = np.lexsort((numbers, d, of))
    order = order[~np.isnan(d[order])]
    of = of[order]
    starts = np.flatnonzero(np.diff(of, prepend=-1))
    places = np.arange(len(of)) - np.repeat(starts, np.diff(starts, append=len(of)))
    return of, places, d[order], order


def _settle(search: Search, lists: Any, full: Any, queries: Any) -> Any:
    """Leaves the nearest in the lists of some queries; returns how far the last of them is."""
    return _keep(search, lists, full, lists_host.taken(lists, full), queries)


def _keep(
    search: Search, lists: Any, rows: Any, found: Any, queries: Any, known: Any = None
) -> Any:
    """Leaves the nearest of what was found in the lists of some queries; as :func:`_settle`."""
    of, places, d, order = _ranked(search, found, lists.exact, queries, known)
    kept = places < lists.nearest
    of, places, d, order = of[kept], places[kept], d[kept], order[kept]
    lists_host.put_back(lists, rows, (of, *(each[order] for each in found[1:])), places)
    last = np.full(len(queries), math.nan)
    is_last = places == lists.nearest - 1
    last[of[is_last]] = d[is_last]
    if lists.exact:
        lists.thresholds[rows] = np.fmax(lists.thresholds[rows], -last[rows])
    return last[rows]


def _measure_block(
    search: Search,
    full: Any,
    queries: Any,
    lists: Any,
    first: int,
    scores: Any,
    shifts: Any,
    column: int,
) -> None:
    """Leaves the nearest in the lists of some queries, with all of a block measured."""
    candidates = search.gallery[column : column + int(scores.shape[1])]
    own = None if lists.own is None else _inside(lists.own[full] - column, len(candidates))
    k = min(lists.nearest, len(candidates))
    block = _by_measuring(search, queries[index(search, full)], candidates, own, k)
    i, place = np.nonzero(block.numbers >= 0)
    j, d = block.numbers[i, place], block.distances[i, place]
    shift = np.zeros(len(j)) if shifts is None else shifts[j].astype(np.float64)
    within = ~np.isnan(shift)  # what is out of reach is measured with all queries
    i, j, d, shift = i[within], j[within], d[within], shift[within]
    score = search.adapter.host(scores)[full[i] - first, j].astype(np.float64) - shift
    slack = lists.slacks[full[i]]
    new = full[i], j + column, score + slack, score - slack - lists.widening[0] * shift
    known = lists_host.taken(lists, full)
    before = known[1] < column
    found = [np.concatenate([one[before], two]) for one, two in zip(known, new, strict=True)]
    _keep(search, lists, full, found, queries, d)


def _inside(numbers: Any, count: int) -> Any:
    return np.where((numbers >= 0) & (numbers < count), numbers, -1)


def _finished(search: Search, lists: Any, queries: Any) -> Found:
    """The nearest of each query, by what the lists hold; and how many of that were measured."""
    count, k = len(queries), lists.nearest
    of, numbers, uppers, _ = lists_host.taken(lists, np.arange(count))
    if lists.exact:
        d = distance_of(uppers)
    else:
        d = pairs(search, queries, search.gallery, of, numbers)
    # A row for each query: to sort those takes a third of the time that to sort all would take.
    shape = count, max(int(lists.counts.max(initial=0)), k)
    at = of, lists_host.places(lists.counts)
    distances, found = np.full(shape, math.nan), np.full(shape, -1)
    distances[at], found[at] = d, np.where(np.isnan(d), -1, numbers)
    order = distances.argsort(axis=1)
    ranked = np.take_along_axis(distances, order, 1)
    tied = np.flatnonzero((ranked[:, 1:] == ranked[:, :-1]).any(1))
    if len(tied):
        order[tied] = np.lexsort((found[tied], distances[tied]), axis=1)
    return Found(ranked[:, :k], np.take_along_axis(found, order, 1)[:, :k], len(of))


def _with(
    search: Search, found: Found, beyond: list[Any], queries: Any, own: Any, k: int, measured: int
) -> Found:
    """What was found, with what the rows that are beyond the reach of scores have among them.

    ``measured`` are the candidates that were measured before.
    """
    measured += found.measured
    everything = np.concatenate([np.empty(0, np.int64), *beyond])
    for first in range(0, len(everything), CHUNK):
        numbers = everything[first : first + CHUNK]
        rest = search.gallery[index(search, numbers)]
        places = None if own is None else _places(numbers, own)
        more = _by_measuring(search, queries, rest, places, min(k, len(numbers)))
        found = _merged(found, more._replace(numbers=_of(numbers, more.numbers)), k)
    return found._replace(measured=measured)


def _places(numbers: Any, own: Any) -> Any:
    """Where the numbers of queries are among some numbers; -1 where they are not."""
    at = np.searchsorted(numbers, own)
    there = numbers[np.minimum(at, len(numbers) - 1)] == own
    return np.where(there, at, -1)


def _of(numbers: Any, places: Any) -> Any:
    return np.where(places < 0, -1, numbers[places])


def _merged(one: Found, two: Found, k: int) -> Found:
    """The nearest of both."""
    distances = np.concatenate([one.distances, two.distances], axis=1)
    numbers = np.concatenate([one.numbers, two.numbers], axis=1)
    order = np.lexsort((numbers, distances), axis=1)[:, :k]
    return Found(
        np.take_along_axis(distances, order, 1), np.take_along_axis(numbers, order, 1), one.measured
    )
