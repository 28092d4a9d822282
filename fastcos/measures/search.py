"""The search behind the measures of retrieval: which of the neighbours of a query are right.

Neighbours are searched for in blocks of queries, so that memory does not grow with their number.
What is kept of a block is which of its neighbours are right; the measures are functions of that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastcos.api.neighbors import nearest
from fastcos.engine import search as engine
from fastcos.engine.libraries import adapter_of_arrays, lazy_adapter, library_of
from fastcos.engine.problem import resolve_distance
from fastcos.engine.scores import measured_blocks
from fastcos.typing import DistanceLike

# How many numbers a block of queries may have, of rows or of neighbours: some 20 MB of each array.
_BLOCK = 1 << 21

Integers = npt.NDArray[np.int64]
Right = npt.NDArray[np.bool_]  # (n, k): whether a neighbour has the label of its query
#: What a block of queries scores, (n, S), of its neighbours and of how many right ones there are.
Score = Callable[[Right, Integers], npt.NDArray[Any]]


class Asked(NamedTuple):
    """What is measured: the mean of a score, or of the reciprocal ranks where there is none."""

    k: int | None = None  # how many neighbours are looked at; None for as many as there are to find
    score: Score | None = None
    width: int = 1  # how many numbers a query scores


class Given(NamedTuple):
    """The arguments that all measures have."""

    queries: Any
    labels: Any
    gallery: Any
    gallery_labels: Any
    distance: Any


class Classes(NamedTuple):
    """Labels as numbers from 0 on."""

    own: Integers  # of the queries
    gallery: Integers
    relevant: Integers  # how many neighbours of its label a query can have


class Task(NamedTuple):
    """Queries, and where they look for what."""

    adapter: Any
    queries: Any  # (Q, D)
    gallery: Any  # (M, D), the queries themselves where none was given
    leaves_out: bool  # whether a query is no neighbour of its own
    own: Integers  # the numbers of the queries in the gallery, where they are left out
    classes: Integers  # of the queries
    gallery_classes: Integers
    relevant: Integers  # how many neighbours of its label a query can have
    answerable: Integers  # the queries that can have any
    candidates: int  # how many neighbours a query can have
    distance: DistanceLike


def adapter_of_rows(given: Given) -> Any:
    """The adapter of queries and gallery, which may be that of lazy arrays."""
    if given.gallery is not None and given.gallery_labels is None:
        raise ValueError("gallery_labels must be given, one for each row of gallery")
    if given.gallery is None and given.gallery_labels is not None:
        raise ValueError("gallery_labels are given without a gallery")
    adapter = adapter_of_arrays(("queries", "gallery"), (given.queries, given.gallery), lazy=True)
    labels = given.labels, given.gallery_labels
    return lazy_adapter(("labels", "gallery_labels"), labels) or adapter


def task_of(adapter: Any, given: Given) -> Task:
    """What is asked for; all arguments are checked here, but for what the search itself checks."""
    queries, labels, gallery, gallery_labels, distance = given
    rows = _rows(adapter, "queries", queries)
    own = labels_of("labels", labels, "queries", len(rows))
    leaves_out = gallery is None
    others, its = rows, own
    if not leaves_out:
        others = _rows(adapter, "gallery", gallery)
        its = labels_of("gallery_labels", gallery_labels, "gallery", len(others))
        if rows.shape[1] != others.shape[1]:
            raise ValueError(
                f"queries and gallery must have rows of one length, got shapes {tuple(rows.shape)}"
                f" and {tuple(others.shape)}"
            )
    classes = classes_of(own, its, leaves_out)
    return Task(
        adapter=adapter,
        queries=rows,
        gallery=others,
        leaves_out=leaves_out,
        own=np.arange(len(rows)),
        classes=classes.own,
        gallery_classes=classes.gallery,
        relevant=classes.relevant,
        answerable=np.flatnonzero(classes.relevant),
        candidates=len(others) - leaves_out,
        distance=distance,
    )


def _rows(adapter: Any, name: str, value: Any) -> Any:
    array = adapter.asarray(name, value)
    if array.ndim != 2:
        raise ValueError(f"{name} must be rows of shape (N, D), got {tuple(array.shape)}")
    return array


def labels_of(name: str, value: Any, of: str, count: int) -> npt.NDArray[Any]:
    """Labels as a NumPy array, of any dtype."""
    kind: Any = type(value)
    if library_of(kind) in (None, "numpy"):
        try:
            labels = np.asarray(value)
        except ValueError as error:
            raise ValueError(f"{name} must have shape ({count},): {error}") from None
        if labels.dtype.kind == "f" and isinstance(value, (list, tuple)):
            # There may be integers in it that float64 does not tell apart.
            labels = np.asarray(value, object)
    else:
        adapter = adapter_of_arrays((name,), (value,))
        labels = adapter.host(adapter.asarray(name, value))
    if labels.shape != (count,):
        raise ValueError(
            f"{name} must have shape ({count},), one for each row of {of}; got {labels.shape}"
        )
    return labels


def classes_of(own: npt.NDArray[Any], its: npt.NDArray[Any], leaves_out: bool) -> Classes:
    """Labels of queries and gallery as numbers; raises where they cannot be compared."""
    text = [labels.dtype.kind in "UST" for labels in (own, its)]
    numbers = [labels.dtype.kind in "biuf" for labels in (own, its)]
    if (text[0] and numbers[1]) or (text[1] and numbers[0]):
        kinds = ("text", "numbers") if text[0] else ("numbers", "text")
        raise TypeError(f"labels hold {kinds[0]} and gallery_labels {kinds[1]}")
    both = np.concatenate([own, its])
    if both.dtype.kind == "f" and "f" not in (own.dtype.kind, its.dtype.kind):
        # int64 beside uint64: float64 would not tell large ones apart.
        both = np.concatenate([own.astype(object), its.astype(object)])
    try:
        # What is not itself is NaN, NaT, or missing.
        missing = [np.flatnonzero(labels != labels) for labels in (own, its)]
        codes = np.unique(both, return_inverse=True)[1]
    except TypeError as error:
        raise TypeError(f"labels cannot be compared with each other: {error}") from None
    for name, where in zip(("labels", "gallery_labels"), missing, strict=True):
        if where.size:
            raise ValueError(f"{name} must not be NaN, got it at position {where[0]}")
    codes = codes.reshape(-1).astype(np.int64)
    mine, others = codes[: own.size], codes[own.size :]
    counts = np.bincount(others, minlength=int(mine.max(initial=-1)) + 1)
    return Classes(mine, others, counts[mine] - leaves_out)


def mean(task: Task, asked: Asked) -> list[float]:
    """The means, over all queries with something to find, of what they score of k neighbours.

    Without a k each looks at as many neighbours as there are to find, or at some more.
    """
    k, score, width = asked
    assert score
    if not task.answerable.size:
        return [math.nan] * width
    needed = task.relevant[task.answerable]
    if k is not None:
        needed = np.full(needed.size, min(k, task.candidates))
    order = needed.argsort(kind="stable")
    total = np.zeros(width)
    needed = needed[order]
    done = 0
    for chosen in blocks(task, task.answerable[order], needed):
        done += chosen.size
        total += score(right_of(task, chosen, int(needed[done - 1])), task.relevant[chosen]).sum(0)
    means: list[float] = (total / task.answerable.size).tolist()
    return means


def blocks(task: Task, chosen: Integers, needed: Integers) -> Iterator[Integers]:
    """Queries in parts that memory has room for.

    They are in the order of how many neighbours they need, so that the last of a part needs most.
    No query looks for more than twice what it needs: those of small classes need few.
    """
    features = task.queries.shape[1]
    start = 0
    while start < chosen.size:
        most = 2 * int(needed[start])
        room = max(1, _BLOCK // max(most, features))
        end = min(int(np.searchsorted(needed, most, side="right")), start + room)
        yield chosen[start:end]
        start = end


def right_of(task: Task, chosen: Integers, k: int) -> Right:
    """Which of the k nearest neighbours of some queries have their label."""
    # A query that is to be left out is found among the others, and then taken out: the search
    # itself leaves it out for all queries at once only.
    more = k + 1 if task.leaves_out else k
    with _on_device(task):
        found = nearest(task.queries[chosen], task.gallery, more, task.distance)
        rows = task.adapter.host(found.indices)
    if task.leaves_out:
        rows = _without(rows, task.own[chosen])
    same = task.gallery_classes[rows] == task.classes[chosen, None]
    right: Right = same & (rows >= 0)  # a query with NaN has -1 for neighbours
    return right


def first_ranks(task: Task, chosen: Integers) -> npt.NDArray[np.float64]:
    """The rank of the nearest right neighbour of some queries; infinite where there is none.

    That neighbour is found among the rows of its label; then those before it are counted among all.
    """
    best, at = nearest_right(task, chosen)
    return np.where(np.isnan(best), math.inf, counted_before(task, chosen, best, at) + 1)


def counted_before(
    task: Task, chosen: Integers, best: npt.NDArray[np.float64], at: Integers
) -> npt.NDArray[np.float64]:
    """How many rows are nearer to some queries than the one that is so far and has that number."""
    before = np.zeros(chosen.size)
    with _on_device(task):
        queries = task.queries[chosen]
        stated = _stated(task, queries)
        for first, column, block in measured_blocks(stated, queries, task.gallery):
            scores = task.adapter.host(block)
            part = slice(first, first + scores.shape[0])
            columns = np.arange(column, column + scores.shape[1])
            d, limit, row = engine.distance_of(scores), best[part, None], at[part, None]
            nearer = (d < limit) | ((d == limit) & (columns < row))
            if task.leaves_out:
                nearer &= columns != task.own[chosen[part], None]
            before[part] += (nearer & (columns != row)).sum(axis=1)
    return before


def _stated(task: Task, queries: Any) -> engine.Search:
    distance: Any = resolve_distance("distance", task.distance)  # callables were refused before
    return engine.stated(task.adapter, distance, queries, task.gallery, False, None, None)


def nearest_right(task: Task, chosen: Integers) -> tuple[npt.NDArray[np.float64], Integers]:
    """How far the nearest row of its label is from each query, and which; NaN where there is none.

    Of equally near ones it is the first.
    """
    best, at = np.full(chosen.size, math.nan), np.full(chosen.size, -1)
    by_class = task.gallery_classes.argsort(kind="stable")
    sizes = np.bincount(task.gallery_classes, minlength=int(task.classes.max()) + 1)
    of = task.classes[chosen]
    i = np.repeat(np.arange(chosen.size), sizes[of])
    # Rows of a class lie one after another. Where they begin, less where those of a query do:
    shift = (sizes.cumsum() - sizes)[of] - (sizes[of].cumsum() - sizes[of])
    j = by_class[np.arange(i.size) + shift[i]]
    if task.leaves_out:
        others = j != task.own[chosen[i]]
        i, j = i[others], j[others]
    if not i.size:
        return best, at
    starts = np.flatnonzero(np.diff(i, prepend=-1))
    with _on_device(task):
        stated = _stated(task, task.queries[chosen])
        d = engine.pairs(stated, stated.queries, stated.gallery, i, j)
    best[i[starts]] = np.fmin.reduceat(d, starts)
    nearest_ones = np.where(d == best[i], j, len(task.gallery))
    at[i[starts]] = np.minimum.reduceat(nearest_ones, starts)
    return best, at


def _on_device(task: Task) -> AbstractContextManager[Any]:
    """The device of the rows as the current one."""
    guard = task.adapter.device_guard and task.adapter.device_guard([task.queries, task.gallery])
    return guard or nullcontext()


def _without(rows: Integers, own: Integers) -> Integers:
    """Neighbours without the query itself; without the last where it is not among them."""
    drop = rows == own[:, None]
    drop[:, -1] |= ~drop.any(axis=1)
    others: Integers = rows[~drop].reshape(len(rows), -1)
    return others
