"""The search behind the measures of retrieval: which of the neighbours of a query are right.

Neighbours are searched for in blocks of queries, so that memory does not grow with their number.
What is kept of a block is which of its neighbours are right; the measures are functions of that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastcos.api.neighbors import nearest
from fastcos.engine.libraries import adapter_of_arrays, library_of
from fastcos.typing import DistanceLike

# How many numbers a block of queries may have, of rows or of neighbours: some 20 MB of each array.
_BLOCK = 1 << 21

Integers = npt.NDArray[np.int64]
Right = npt.NDArray[np.bool_]  # (n, k): whether a neighbour has the label of its query
#: What a block of queries scores, (n, S), of its neighbours and of how many right ones there are.
Score = Callable[[Right, Integers], npt.NDArray[Any]]


class Task(NamedTuple):
    """Queries, and where they look for what."""

    adapter: Any
    queries: Any  # (Q, D)
    gallery: Any  # (M, D), the queries themselves where none was given
    leaves_out: bool  # whether a query is no neighbour of its own
    classes: Integers  # of the queries
    gallery_classes: Integers
    relevant: Integers  # how many neighbours of its label a query can have
    answerable: Integers  # the queries that can have any
    candidates: int  # how many neighbours a query can have
    distance: DistanceLike


def task_of(queries: Any, labels: Any, gallery: Any, gallery_labels: Any, distance: Any) -> Task:
    """What is asked for; all arguments are checked here, but for what the search itself checks."""
    if gallery is not None and gallery_labels is None:
        raise ValueError("gallery_labels must be given, one for each row of gallery")
    if gallery is None and gallery_labels is not None:
        raise ValueError("gallery_labels are given without a gallery")
    adapter = adapter_of_arrays(("queries", "gallery"), (queries, gallery))
    rows = _rows(adapter, "queries", queries)
    own = _labels("labels", labels, "queries", len(rows))
    leaves_out = gallery is None
    others, its = rows, own
    if not leaves_out:
        others = _rows(adapter, "gallery", gallery)
        its = _labels("gallery_labels", gallery_labels, "gallery", len(others))
        if rows.shape[1] != others.shape[1]:
            raise ValueError(
                f"queries and gallery must have rows of one length, got shapes {tuple(rows.shape)}"
                f" and {tuple(others.shape)}"
            )
    classes, its_classes = _classes(own, its)
    counts = np.bincount(its_classes, minlength=int(classes.max(initial=-1)) + 1)
    relevant = counts[classes] - leaves_out
    return Task(
        adapter=adapter,
        queries=rows,
        gallery=others,
        leaves_out=leaves_out,
        classes=classes,
        gallery_classes=its_classes,
        relevant=relevant,
        answerable=np.flatnonzero(relevant),
        candidates=len(others) - leaves_out,
        distance=distance,
    )


def _rows(adapter: Any, name: str, value: Any) -> Any:
    array = adapter.asarray(name, value)
    if array.ndim != 2:
        raise ValueError(f"{name} must be rows of shape (N, D), got {tuple(array.shape)}")
    return array


def _labels(name: str, value: Any, of: str, count: int) -> npt.NDArray[Any]:
    """Labels as a NumPy array, of any dtype."""
    kind: Any = type(value)
    if library_of(kind) in (None, "numpy"):
        labels = np.asarray(value)
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


def _classes(own: npt.NDArray[Any], its: npt.NDArray[Any]) -> tuple[Integers, Integers]:
    """Labels of queries and gallery as numbers from 0 on; raises where they cannot be compared."""
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
    return codes[: own.size], codes[own.size :]


def mean(task: Task, k: int | None, score: Score, width: int = 1) -> list[float]:
    """The means, over all queries with something to find, of what they score of k neighbours.

    Without a k each looks at as many neighbours as there are to find, or at some more.
    """
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
    found = nearest(task.queries[chosen], task.gallery, more, task.distance)
    rows = task.adapter.host(found.indices)
    if task.leaves_out:
        rows = _without(rows, chosen)
    same = task.gallery_classes[rows] == task.classes[chosen, None]
    right: Right = same & (rows >= 0)  # a query with NaN has -1 for neighbours
    return right


def _without(rows: Integers, own: Integers) -> Integers:
    """Neighbours without the query itself; without the last where it is not among them."""
    drop = rows == own[:, None]
    drop[:, -1] |= ~drop.any(axis=1)
    others: Integers = rows[~drop].reshape(len(rows), -1)
    return others
