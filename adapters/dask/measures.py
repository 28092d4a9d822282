"""Measures on arrays of Dask: of each chunk what is small, added up or merged along trees.

Labels, one number for a row, come together in one task. Rows do not: a chunk of queries meets each
chunk of the gallery, and what is kept is which of its neighbours are right. Results are lazy, too
(:class:`dask.delayed.Delayed`); computed, they are those of the arrays in memory.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import dask
import dask.array as da
import numpy as np

from fastcos.engine.libraries import adapter_of_arrays
from fastcos.measures import roc
from fastcos.measures.search import (
    Asked,
    Classes,
    Given,
    Score,
    Task,
    classes_of,
    counted_before,
    labels_of,
    nearest_right,
)

from .arrays import asarray, only
from .neighbors import Lists, checked, flat, grid, lists_of, merged, merged_lists, objects


def retrieval(given: Given, asked: Asked) -> list[Any]:
    """The means that are asked for, each a float to be computed."""
    searched = grid(given.queries, given.gallery)
    own = _labels("labels", given.labels, "queries", searched.queries)
    its = None
    if not searched.excludes:
        its = _labels("gallery_labels", given.gallery_labels, "gallery", searched.gallery)
    checked(searched, given.distance, None)
    classes = dask.delayed(_classes)(own, its)
    per_query = [(searched.first_query, (0,)), (classes, None)]
    of_pairs = functools.partial(
        functools.partial, excludes=searched.excludes, distance=given.distance
    )
    if asked.score:
        found = searched.over(of_pairs(_lists, k=asked.k), (classes, None))
        lists = merged(found, merged_lists, axis=1)
        task = functools.partial(_scored, score=asked.score)
        scores = objects(task, (0,), [(lists, (0, 1)), *per_query])
    else:
        best = merged(searched.over(of_pairs(_nearest_right), (classes, None)), _nearer, axis=1)
        # One for each query again, to go to all of the gallery.
        best = objects(only, (0,), [(best, (0, 1))])
        before = searched.over(of_pairs(_before), (classes, None), (best, (0,)))
        before = merged(before, _sum, axis=1)
        scores = objects(_reciprocal, (0,), [(before, (0, 1)), (best, (0,))])
    total = merged(scores, _sum, axis=0).to_delayed().ravel()[0]
    return [dask.delayed(_mean)(total, part) for part in range(asked.width)]


def verified(report: Callable[[roc.Counts], Any], scores: Any, labels: Any, similarity: Any) -> Any:
    """A report on scores and labels of pairs, to be computed."""
    scores, labels = asarray("scores", scores), asarray("labels", labels)
    if scores.shape != labels.shape:
        raise ValueError(
            f"labels must have the shape of scores, {scores.shape}; got {labels.shape}"
        )
    scores, labels = (each.reshape(-1) for each in (scores, labels))
    (scores, labels) = da.core.unify_chunks(scores, (0,), labels, (0,))[1]
    task = functools.partial(roc.tallied, similarity=similarity)
    tally = objects(task, (0,), [(scores, (0,)), (labels, (0,))])
    whole = merged(tally, _merged_tallies, axis=0).to_delayed().ravel()[0]
    return dask.delayed(_report)(whole, report, similarity)


# --------------------------------------------------------------------------------------------------
# Labels
# --------------------------------------------------------------------------------------------------


def _labels(name: str, value: Any, of: str, rows: Any) -> Any:
    """Labels as they go to the task that numbers them; what is in memory is checked now."""
    count = rows.shape[0]
    if not isinstance(value, da.Array):
        return labels_of(name, value, of, count)
    value = asarray(name, value)
    if value.shape != (count,):
        raise ValueError(
            f"{name} must have shape ({count},), one for each row of {of}; got {value.shape}"
        )
    return value.rechunk(-1).to_delayed().ravel()[0]


def _classes(own: Any, its: Any) -> Classes:
    own, its = (None if each is None else _on_host(each) for each in (own, its))
    return classes_of(own, own if its is None else its, its is None)


def _on_host(labels: Any) -> Any:
    return labels_of("labels", labels, "queries", len(labels))


# --------------------------------------------------------------------------------------------------
# Tasks of a chunk of queries and one of the gallery
# --------------------------------------------------------------------------------------------------


def _lists(
    queries: Any,
    gallery: Any,
    first_query: Any,
    first_row: Any,
    classes: Classes,
    *,
    k: int | None,
    excludes: bool,
    distance: Any,
) -> Lists:
    """The neighbours that are looked at: so many, or as many as the queries have to find."""
    first = int(first_query[0])
    relevant = classes.relevant[first : first + len(queries)]
    wanted = k or int(relevant.max(initial=1))
    return lists_of(
        *(queries, gallery, first_query, first_row),
        k=max(min(wanted, len(classes.gallery) - excludes), 1),
        distance=distance,
        block=None,
        excludes=excludes,
    )


def _task(queries: Any, gallery: Any, first: int, row: int, classes: Classes, more: Any) -> Task:
    """Ranks are asked for among the rows of a chunk."""
    excludes, distance = more
    own, its = slice(first, first + len(queries)), slice(row, row + len(gallery))
    return Task(
        adapter=adapter_of_arrays(("queries", "gallery"), (queries, gallery)),
        queries=queries,
        gallery=gallery,
        leaves_out=excludes,
        own=np.arange(len(queries)) + first - row,
        classes=classes.own[own],
        gallery_classes=classes.gallery[its],
        relevant=classes.relevant[own],
        answerable=np.flatnonzero(classes.relevant[own]),
        candidates=len(gallery),
        distance=distance,
    )


def _nearest_right(
    queries: Any,
    gallery: Any,
    first_query: Any,
    first_row: Any,
    classes: Classes,
    *,
    excludes: bool,
    distance: Any,
) -> Any:
    """The nearest row of its label of each query that has any, and how far it is."""
    first, row = int(first_query[0]), int(first_row[0])
    task = _task(queries, gallery, first, row, classes, (excludes, distance))
    if not task.answerable.size or not len(gallery):
        nothing = task.answerable.size
        return np.full(nothing, math.nan), np.full(nothing, -1)
    best, at = nearest_right(task, task.answerable)
    return best, np.where(at < 0, -1, at + row)


def _before(
    queries: Any,
    gallery: Any,
    first_query: Any,
    first_row: Any,
    classes: Classes,
    best: Any,
    *,
    excludes: bool,
    distance: Any,
) -> Any:
    """How many rows are nearer than that."""
    first, row = int(first_query[0]), int(first_row[0])
    task = _task(queries, gallery, first, row, classes, (excludes, distance))
    far, at = best
    if not task.answerable.size or not len(gallery):
        return np.zeros(task.answerable.size)
    return counted_before(task, task.answerable, far, at - row)


# --------------------------------------------------------------------------------------------------
# What becomes of these
# --------------------------------------------------------------------------------------------------


def _nearer(found: Any, axis: Any, keepdims: Any) -> Any:
    best, at = flat(found)[0]
    for d, number in flat(found)[1:]:
        nearer = np.isnan(best) | (d < best) | ((d == best) & (number < at))
        best, at = np.where(nearer, d, best), np.where(nearer, number, at)
    return best, at


def _sum(found: Any, axis: Any, keepdims: Any) -> Any:
    return functools.reduce(np.add, flat(found))


def _scored(lists: Any, first_query: Any, classes: Classes, *, score: Score) -> Any:
    """The sums of what the queries of a chunk score, and how many of them have anything to find."""
    found = only(lists)
    first = int(first_query[0])
    own = slice(first, first + len(found.numbers))
    chosen = np.flatnonzero(classes.relevant[own])
    rows = found.numbers[chosen]
    right = classes.gallery[rows] == classes.own[own][chosen, None]
    scores = score(right & (rows >= 0), classes.relevant[own][chosen])
    return np.append(scores.sum(axis=0), chosen.size)


def _reciprocal(before: Any, best: Any) -> Any:
    counts, (far, _) = only(before), only(best)
    ranks = np.where(np.isnan(far), math.inf, counts + 1)
    return np.array([(1 / ranks).sum(), ranks.size])


def _mean(total: Any, part: int) -> float:
    return float(total[part] / total[-1]) if total[-1] else math.nan


def _merged_tallies(found: Any, axis: Any, keepdims: Any) -> roc.Tally:
    return roc.merged(flat(found))


def _report(tally: roc.Tally, report: Callable[[roc.Counts], Any], similarity: bool) -> Any:
    return report(roc.counts_of(tally, similarity))
