"""Neighbours: what is looked for, and the loop over blocks of queries and candidates.

For a block, scores of queries with candidates come from a product of matrices
(:mod:`fastcos.engine.products`), or from the kernels that measure, where a distance has no product
or a row is out of its reach. What may be among the nearest by the bounds of its score is kept in a
list for each query (:mod:`fastcos.engine.lists_host`). What is left in the end is measured, and
the order is that of the distances, ties by number: so the answer does not depend on the way.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import itertools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from fastcos.engine import blocks_host, host, lists_host, products
from fastcos.engine.blocks import readable
from fastcos.engine.scores import Ready, made_ready, measured_blocks, scored_blocks
from fastcos.engine.search import (
    FEW,
    Search,
    chunk_of,
    distance_of,
    frame_of,
    index,
    own_numbers,
    pairs,
)

#: Dtypes of rows that are scanned, and how many of these at once.
_SCANNED, _SCANNED_AT_ONCE = ("float16", "bfloat16", "float32"), 1 << 16
#: From how many terms of products on threads share them, and from how many queries for each of them
#: they take queries apart, and not candidates.
_SHARED_FROM, _MANY = 1 << 24, 256
#: Candidates beyond the reach of scores that are copied at once, to be measured.
_TOGETHER = 1 << 14


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
    frame, size = frame_of(search), chunk_of(k)
    measured = 0
    for first in range(0, count, size):
        chunk = queries[first : first + size]
        own = own_numbers(search, first, len(chunk))
        if frame is not None:
            found = _by_products(search, frame, chunk, own, k)
        else:
            found = _by_scanning(search, chunk, own, k) or _by_measuring(
                search, chunk, gallery, own, k, search.progress
            )
        distances[first : first + size], numbers[first : first + size] = found[:2]
        measured += found.measured
    return Found(distances, numbers, measured)


# --------------------------------------------------------------------------------------------------
# The ways
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
    if features >= products.LONGEST:
        return None
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
        blocks_host.scan(adapter, *readable(adapter, rows), units, kind.normalizes, scores)
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


class Part(NamedTuple):
    """What one thread goes over."""

    queries: slice
    candidates: range


class Proposed(NamedTuple):
    """What products propose."""

    lists: Any
    beyond: list[Any]  # numbers of candidates that they do not order
    measured: int  # candidates that had to be measured on the way


def _by_products(search: Search, frame: products.Frame, queries: Any, own: Any, k: int) -> Found:
    rows = made_ready(search, frame, queries)
    limited, parts = _parts(search, len(queries))
    with limited:
        by_queries = parts[0].queries != parts[-1].queries
        # What all of them go over one of them tells.
        quiet = search._replace(progress=None) if by_queries else search
        searches = [search, *[quiet] * (len(parts) - 1)]
        propose = functools.partial(_propose, frame, queries, rows, own, k)
        if len(parts) == 1:
            found = [propose(search, parts[0])]
        else:
            with ThreadPoolExecutor(len(parts)) as pool:
                # Each in a context like this one, and on no other threads.
                run = functools.partial(_run_alone, propose)
                contexts = [contextvars.copy_context() for _ in parts]
                found = [*pool.map(run, contexts, searches, parts)]
    lists = lists_host.united([each.lists for each in found], by_queries)
    beyond = found[0].beyond if by_queries else [x for each in found for x in each.beyond]
    search.finish(lists, search.adapter)
    measured = sum(each.measured for each in found)
    nearest = _with(search, _finished(search, lists, queries), beyond, queries, own, k, measured)
    if rows.odd.any():
        which = np.flatnonzero(rows.odd)
        own = None if own is None else own[which]
        exact = _by_measuring(search, queries[index(search, which)], search.gallery, own, k)
        nearest.distances[which], nearest.numbers[which] = exact[:2]
    return nearest


def _run_alone(propose: Any, context: contextvars.Context, search: Search, part: Part) -> Proposed:
    def alone() -> Proposed:
        with host.on_one_thread():
            return propose(search, part)  # type: ignore[no-any-return]

    return context.run(alone)


def _parts(
    search: Search, queries: int
) -> tuple[contextlib.AbstractContextManager[Any], list[Part]]:
    """What threads go over, each for itself, and within what; all of it where they cannot."""
    columns, features = map(int, search.gallery.shape)
    threads = 1
    if search.place is blocks_host and queries * columns * features >= _SHARED_FROM:
        threads = min(host.thread_count(), columns)
    limited = search.adapter.products_on_one_thread() if threads > 1 else None
    if limited is None:
        return contextlib.nullcontext(), [Part(slice(0, queries), range(columns))]
    # Few queries at once make products slow; candidates apart make twice as many lists.
    if queries >= _MANY * threads:
        ends = [queries * i // threads for i in range(threads + 1)]
        ways = itertools.pairwise(ends)
        return limited, [Part(slice(*way), range(columns)) for way in ways]
    ends = [columns * i // threads for i in range(threads + 1)]
    return limited, [Part(slice(0, queries), range(*way)) for way in itertools.pairwise(ends)]


def _propose(
    frame: products.Frame,
    queries: Any,
    rows: Ready,
    own: Any,
    k: int,
    search: Search,
    part: Part,
) -> Proposed:
    """What may be among the nearest, by products."""
    some = part.queries
    queries, own = queries[some], None if own is None else own[some]
    squares, norms, odd = rows.squares[some], rows.norms[some], rows.odd[some]
    bounds = products.query_bounds(frame, squares, norms)
    thresholds = np.where(odd, math.inf, -math.inf)  # they are measured
    lists = lists_host.new(k, thresholds, bounds.slacks, bounds.widening, own, exact=False)
    beyond: list[Any] = []
    measured = 0
    for first, column, scores, shifts in scored_blocks(
        search, frame, rows.units[some], beyond, part.candidates
    ):
        positions = np.zeros(len(scores), np.int64)
        block = lists, first, scores, shifts, column, positions
        for attempt in range(2):
            full = search.offer(*block, search.adapter)
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
    return Proposed(lists, beyond, measured)


# --------------------------------------------------------------------------------------------------
# What distances decide
# --------------------------------------------------------------------------------------------------


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
    return of, lists_host.places_of(of), d[order], order


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
    for first in range(0, len(everything), _TOGETHER):
        numbers = everything[first : first + _TOGETHER]
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
