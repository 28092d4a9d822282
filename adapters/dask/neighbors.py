"""Nearest rows on arrays of Dask: each chunk of queries with each of the gallery, then merged.

What a task finds is in float64, in the order of :func:`fastcos.nearest`. Of two lists the nearest
are the first of both in the same order, so the lists of all chunks of the gallery are merged along
a tree, and the answer is that of one search.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import dask.array as da
import numpy as np

from fastcos.api.neighbors import k_of, ranked
from fastcos.engine.checks import check_one_length
from fastcos.engine.libraries import adapter_of

from .arrays import one_like, only, rows_of


class Lists(NamedTuple):
    """The nearest of each query of a chunk among some rows of the gallery."""

    distances: Any  # (q, n) float64, n at most k; NaN where there are no more
    numbers: Any  # (q, n) int64, of the whole gallery; -1 where there are no more
    k: int  # how many are wanted
    like: Any  # no rows, of the library of the chunks


class Grid(NamedTuple):
    """Queries and gallery, in chunks of whole rows, and where these begin."""

    queries: Any
    gallery: Any
    excludes: bool  # whether the gallery is the queries, of which none is its own neighbour
    first_query: Any  # one number for each chunk
    first_row: Any

    def over(self, task: Callable[..., Any], *more: Any) -> Any:
        """An object for each chunk of queries with each of the gallery.

        ``task(queries, gallery, first_query, first_row, *more)`` makes it.
        """
        pairs: list[Any] = [(self.queries, (0, 2)), (self.gallery, (1, 2))]
        pairs += [(self.first_query, (0,)), (self.first_row, (1,)), *more]
        return objects(functools.partial(_of_chunks, task), (0, 1), pairs)


def objects(
    task: Callable[..., Any],
    index: Sequence[int],
    pairs: Any,
) -> Any:
    """Objects that tasks make of chunks, one for each position of an index.

    What has more axes than that is given as lists.
    """
    return da.blockwise(
        task,
        tuple(index),
        *[each for pair in pairs for each in pair],
        concatenate=False,
        align_arrays=False,  # of what there is one for each chunk there is a chunk of one
        dtype=object,
        meta=np.empty((0,) * len(index), object),
    )


def merged(found: Any, merge: Callable[..., Any], axis: int) -> Any:
    """The objects along an axis made one, along a tree."""
    return da.reduction(
        found,
        chunk=_as_it_is,
        combine=merge,
        aggregate=merge,
        axis=axis,
        keepdims=True,
        concatenate=False,
        dtype=object,
        meta=np.empty((0,) * found.ndim, object),
    )


def grid(queries: Any, gallery: Any) -> Grid:
    """Queries and gallery as they are taken apart.

    Raises:
        ValueError: shapes that do not fit.
        TypeError: what are no arrays.
    """
    x = rows_of("queries", queries)
    y = x if gallery is None else rows_of("gallery", gallery)
    check_one_length(("queries", "gallery"), (x.shape, y.shape))
    return Grid(x, y, gallery is None, *map(_starts, (x, y)))


def nearest(
    queries: Any, gallery: Any, k: Any, distance: Any, out: Any, block: Any, progress: Any
) -> tuple[Any, Any]:
    """Distances and indices of the ``k`` nearest rows, lazy, in the chunks of the queries.

    Raises:
        TypeError: what is for arrays in memory.
    """
    if out is not None:
        raise TypeError("out is for arrays in memory: what is returned of Dask arrays is lazy")
    if progress is not False:
        raise TypeError("progress is for arrays in memory: use dask.diagnostics.ProgressBar")
    searched = grid(queries, gallery)
    y = searched.gallery
    if not y.shape[0]:
        name = "queries" if searched.excludes else "gallery"
        raise ValueError(f"{name} must have rows, got shape {tuple(y.shape)}")
    count = k_of(k, y.shape[0] - searched.excludes)
    dtype = checked(searched, distance, block)
    task = functools.partial(
        lists_of, k=count, distance=distance, block=block, excludes=searched.excludes
    )
    lists = merged(searched.over(task), merged_lists, axis=1)

    def taken(field: str, dtype: Any) -> Any:
        return da.blockwise(
            _field,
            (0, 2),
            *(lists, (0, 1)),
            concatenate=False,
            new_axes={2: count},
            field=field,
            as_dtype=dtype,
            dtype=dtype,
            meta=np.empty_like(y._meta, shape=(0, 0), dtype=dtype),
        )

    return taken("distances", dtype), taken("numbers", np.dtype(np.int64))


def checked(searched: Grid, distance: Any, block: Any) -> Any:
    """The dtype of distances, by a search among one row: what is wrong is found now."""
    one, other = [
        one_like(each, (1, each.shape[1])) for each in (searched.queries, searched.gallery)
    ]
    return ranked(one, other, 1, distance, block)[2]


def lists_of(
    queries: Any,
    gallery: Any,
    first_query: Any,
    first_row: Any,
    *,
    k: int,
    distance: Any,
    block: Any,
    excludes: bool,
) -> Lists:
    """The task of a chunk of queries and one of the gallery."""
    itself = excludes and int(first_query[0]) == int(first_row[0])
    count = min(k, len(gallery) - itself)
    like = gallery[:0].copy()
    if count < 1 or not len(queries):
        nothing = len(queries), 0 if len(queries) else k
        return Lists(np.empty(nothing), np.empty(nothing, np.int64), k, like)
    distances, numbers, _ = ranked(queries, None if itself else gallery, count, distance, block)
    numbers[numbers >= 0] += int(first_row[0])
    return Lists(distances, numbers, k, like)


def merged_lists(lists: Any, axis: Any, keepdims: Any) -> Lists:
    """The nearest of all of several lists, ties by number; NaN, which is none, comes last."""
    several: list[Lists] = flat(lists)
    distances = np.concatenate([each.distances for each in several], axis=1)
    numbers = np.concatenate([each.numbers for each in several], axis=1)
    k = several[0].k
    order = np.lexsort((numbers, distances), axis=1)[:, :k]
    return Lists(
        np.take_along_axis(distances, order, axis=1),
        np.take_along_axis(numbers, order, axis=1),
        *(k, several[0].like),
    )


def flat(found: Any) -> list[Any]:
    """The objects of a reduction, which come one by one, or in lists of lists."""
    if not isinstance(found, list):
        return [found]
    return [each for part in found for each in flat(part)]


def _of_chunks(task: Callable[..., Any], queries: Any, gallery: Any, *more: Any) -> Any:
    return task(only(queries), only(gallery), *more)


def _as_it_is(found: Any, axis: Any, keepdims: Any) -> Any:
    return found


def _field(found: Any, *, field: str, as_dtype: Any) -> Any:
    """Distances or numbers as an array of the library of the chunks."""
    lists = only(found)
    adapter: Any = adapter_of(type(lists.like))  # type: ignore[arg-type]
    with np.errstate(over="ignore"):
        # Beyond the dtype, whose order is known, distances are infinite.
        return adapter.from_host(getattr(lists, field).astype(as_dtype), lists.like)


def _starts(array: Any) -> Any:
    """The number of the first row of each chunk, in chunks of one."""
    lengths = array.chunks[0]
    return da.from_array(np.cumsum([0, *lengths[:-1]]), chunks=1)
