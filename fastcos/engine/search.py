"""A search for neighbours: what is looked for, and the distances that decide."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastcos import losses
from fastcos.distances import Distance
from fastcos.engine import blocks_device, blocks_host, lists_device, lists_host, products
from fastcos.engine.problem import Problem
from fastcos.engine.rows import Rows
from fastcos.engine.solve import of_arrays

#: Queries that go over the candidates together, at most, and bytes of their lists.
_CHUNK, _LIST_BYTES = 16_384, 64 << 20
#: Up to so many queries scan all candidates as they lie in memory, or are measured with them.
FEW = 2
#: The score of the distance infinity, which is one, too, and nearer than none.
FARTHEST = -np.finfo(np.float64).max


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


def frame_of(search: Search) -> products.Frame | None:
    """What rows are brought to before they are multiplied; None where they are measured."""
    kind = products.kind_of(search.distance)
    if kind is None or (search.place is blocks_host and search.queries.shape[0] <= FEW):
        return None
    return products.frame_of(search.adapter, search.place, kind, search.gallery, search.dtype)


def chunk_of(k: int) -> int:
    """How many queries go over the candidates together, of which each has a list for ``k``."""
    return max(min(_CHUNK, _LIST_BYTES // lists_host.size(k)), 256)


def own_numbers(search: Search, first: int, count: int) -> Any | None:
    """The numbers of queries as candidates; None where they are none."""
    return np.arange(first, first + count) if search.excludes else None


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
    return np.where(scores == FARTHEST, math.inf, 0 - scores)  # of 0 not -0
