"""Blocks of scores of queries with candidates, the higher the nearer: products, or distances."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from fastcos.engine import products
from fastcos.engine.search import FARTHEST, Search, distances

#: Queries that are multiplied at once, with candidates of so many bytes as are made ready in a
#: cache, and so many bytes of scores.
_HEIGHT, _READY_BYTES, _SCORE_BYTES = 2048, 2 << 20, 8 << 20
#: Scores that are measured at once.
_MEASURED = 1 << 17


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
            d = distances(search, some[:, None], candidates[None]).clip(None, -FARTHEST)
            d *= -1
            yield first, column, d


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
    search: Search,
    frame: products.Frame,
    queries: Any,
    beyond: list[Any],
    candidates: range | None = None,
) -> Iterator[tuple[int, int, Any, Any]]:
    """First query, first candidate, scores, and what is to be taken from these, of a block.

    Of all candidates, or of those with the numbers of a range.

    Numbers of candidates that are out of reach go to ``beyond``: their scores are NaN.
    """
    adapter, gallery = search.adapter, search.gallery
    count, (columns, features) = len(queries), map(int, gallery.shape)
    size = 8 if adapter.float_name(frame.dtype) == "float64" else 4
    most = min(count, _HEIGHT)
    candidates = range(columns) if candidates is None else candidates
    width = search.block or max(
        min(_SCORE_BYTES // (size * most), max(_READY_BYTES // (size * features), 1024)), 64
    )
    width = min(width, len(candidates))
    memory = adapter.workspace((most * width,), frame.dtype, gallery)
    for column in candidates[::width]:
        rows = _ready(search, frame, gallery[column : min(column + width, candidates.stop)], 1)
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
