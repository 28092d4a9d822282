"""Retrieval: what is among the nearest neighbours of a row, where labels say what is right."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from fastcos.api.calls import not_compiled
from fastcos.engine.batch import check_count
from fastcos.measures.search import (
    Asked,
    Given,
    Integers,
    Right,
    Task,
    adapter_of_rows,
    blocks,
    first_ranks,
    mean,
    right_of,
    task_of,
)
from fastcos.typing import ArrayLike, DistanceLike, IsLazy

# The reciprocal rank: the ranks that are looked at first, by what they grow, and up to what share
# of all. With longer lists of neighbours it takes less time to measure all rows and to count.
_FIRST_RANKS, _GROWTH, _SHARE = 16, 8, 1 / 16


@overload
def recall_at_k(
    queries: IsLazy,
    labels: ArrayLike,
    k: int | Sequence[int] = ...,
    *,
    gallery: ArrayLike | None = ...,
    gallery_labels: ArrayLike | None = ...,
    distance: DistanceLike = ...,
) -> Any: ...
@overload
def recall_at_k(
    queries: ArrayLike,
    labels: ArrayLike,
    k: int = ...,
    *,
    gallery: ArrayLike | None = ...,
    gallery_labels: ArrayLike | None = ...,
    distance: DistanceLike = ...,
) -> float: ...
@overload
def recall_at_k(
    queries: ArrayLike,
    labels: ArrayLike,
    k: Sequence[int],
    *,
    gallery: ArrayLike | None = ...,
    gallery_labels: ArrayLike | None = ...,
    distance: DistanceLike = ...,
) -> tuple[float, ...]: ...
@not_compiled
def recall_at_k(
    queries: ArrayLike | IsLazy,
    labels: ArrayLike,
    k: int | Sequence[int] = 1,
    *,
    gallery: ArrayLike | None = None,
    gallery_labels: ArrayLike | None = None,
    distance: DistanceLike = "cosine",
) -> float | tuple[float, ...]:
    r"""The share of queries with at least one row of their label among the k nearest.

    .. math:: R@k = \frac{1}{|Q|} \sum_{q \in Q} \max_{i \le k} \, [y_{n_i(q)} = y_q]

    ``n_i(q)`` is the i-th neighbour of a query, Q are the queries whose label occurs among the rows
    that may be found. The others are left out, for they have nothing to find.

    Args:
        queries: Rows ``(Q, D)``.
        labels: One for each query: numbers, or whatever NumPy can compare, such as strings.
        k: How many neighbours, or several numbers, for which there is one search. Where there are
            fewer neighbours all of them are taken.
        gallery: Rows ``(M, D)`` to find. By default those of ``queries``, of which none is a
            neighbour of its own: leave-one-out.
        gallery_labels: One for each row of ``gallery``.
        distance: As in :func:`fastcos.nearest`.

    Returns:
        A float, or a tuple of one for each k. NaN where no query has anything to find.

    Raises:
        ValueError: shapes that do not fit, ``gallery`` without ``gallery_labels`` or these without
            it, a label that is NaN, a k below 1, an unknown distance.
        TypeError: labels that cannot be compared; rows that are complex, object, string, masked or
            sparse.

    Singular points: of rows equally near the first is taken. A query with NaN has no neighbours,
    and so has found nothing.

    Example:
        >>> import numpy as np, fastcos
        >>> x = np.array([[1.0, 0.0], [0.9, 0.4], [0.7, 0.7], [0.4, 0.9], [0.0, 1.0]])
        >>> fastcos.measures.recall_at_k(x, ["cat", "cat", "dog", "dog", "dog"], k=(1, 2))
        (0.6, 1.0)
        >>> fastcos.measures.recall_at_k(x[:2], [0, 1], gallery=x[2:], gallery_labels=[0, 0, 1])
        0.5

    References:
        Oh Song et al., "Deep Metric Learning via Lifted Structured Feature Embedding", 2016, after
        Jégou et al., "Product Quantization for Nearest Neighbor Search", 2011.
    """
    several = _counts("k", k)
    asked = Asked(max(several), functools.partial(_found, several), len(several))
    means = _measured(Given(queries, labels, gallery, gallery_labels, distance), asked)
    return _one_or_all(k, means)


@overload
def precision_at_r(
    queries: IsLazy,
    labels: ArrayLike,
    r: int | Sequence[int] = ...,
    *,
    gallery: ArrayLike | None = ...,
    gallery_labels: ArrayLike | None = ...,
    distance: DistanceLike = ...,
) -> Any: ...
@overload
def precision_at_r(
    queries: ArrayLike,
    labels: ArrayLike,
    r: int = ...,
    *,
    gallery: ArrayLike | None = ...,
    gallery_labels: ArrayLike | None = ...,
    distance: DistanceLike = ...,
) -> float: ...
@overload
def precision_at_r(
    queries: ArrayLike,
    labels: ArrayLike,
    r: Sequence[int],
    *,
    gallery: ArrayLike | None = ...,
    gallery_labels: ArrayLike | None = ...,
    distance: DistanceLike = ...,
) -> tuple[float, ...]: ...
@not_compiled
def precision_at_r(
    queries: ArrayLike | IsLazy,
    labels: ArrayLike,
    r: int | Sequence[int] = 1,
    *,
    gallery: ArrayLike | None = None,
    gallery_labels: ArrayLike | None = None,
    distance: DistanceLike = "cosine",
) -> float | tuple[float, ...]:
    r"""The share of rows of the query's label among the r nearest.

    .. math:: P@r = \frac{1}{|Q|} \sum_{q \in Q} \frac{1}{r} \sum_{i \le r} [y_{n_i(q)} = y_q]

    With r = 1 it is the accuracy of the nearest neighbour, and :func:`recall_at_k` with k = 1.

    Args:
        queries: As in :func:`recall_at_k`.
        labels: The same.
        r: How many neighbours, or several numbers, for which there is one search. Where there are
            fewer neighbours those that are missing count as wrong.
        gallery: As in :func:`recall_at_k`.
        gallery_labels: The same.
        distance: The same.

    Returns:
        A float, or a tuple of one for each r. NaN where no query has anything to find.

    Raises:
        ValueError: as :func:`recall_at_k`.
        TypeError: the same.

    Singular points: as in :func:`recall_at_k`.

    Example:
        >>> import numpy as np, fastcos
        >>> x = np.array([[1.0, 0.0], [0.9, 0.4], [0.7, 0.7], [0.4, 0.9], [0.0, 1.0]])
        >>> fastcos.measures.precision_at_r(x, [0, 0, 1, 1, 1], r=(1, 2))
        (0.6, 0.7)

    References:
        Manning et al., "Introduction to Information Retrieval", 2008, section 8.4; with r = 1
        ``precision_at_1`` of pytorch-metric-learning.
    """
    several = _counts("r", r)
    asked = Asked(max(several), functools.partial(_precision, several), len(several))
    means = _measured(Given(queries, labels, gallery, gallery_labels, distance), asked)
    return _one_or_all(r, means)


@overload
def r_precision(
    queries: IsLazy,
    labels: ArrayLike,
    *,
    gallery: ArrayLike | None = ...,
    gallery_labels: ArrayLike | None = ...,
    distance: DistanceLike = ...,
) -> Any: ...
@overload
def r_precision(
    queries: ArrayLike,
    labels: ArrayLike,
    *,
    gallery: ArrayLike | None = ...,
    gallery_labels: ArrayLike | None = ...,
    distance: DistanceLike = ...,
) -> float: ...
@not_compiled
def r_precision(
    queries: ArrayLike | IsLazy,
    labels: ArrayLike,
    *,
    gallery: ArrayLike | None = None,
    gallery_labels: ArrayLike | None = None,
    distance: DistanceLike = "cosine",
) -> float:
    r"""The share of rows of the query's label among as many neighbours as there are such rows.

    .. math:: RP = \frac{1}{|Q|} \sum_{q \in Q} \frac{1}{R_q} \sum_{i \le R_q} [y_{n_i(q)} = y_q]

    ``R_q`` is the number of rows of the query's label that may be found.

    Args:
        queries: As in :func:`recall_at_k`.
        labels: The same.
        gallery: The same.
        gallery_labels: The same.
        distance: The same.

    Returns:
        A float; NaN where no query has anything to find.

    Raises:
        ValueError: as :func:`recall_at_k`.
        TypeError: the same.

    Singular points: as in :func:`recall_at_k`.

    Example:
        >>> import numpy as np, fastcos
        >>> x = np.array([[1.0, 0.0], [0.9, 0.4], [0.7, 0.7], [0.4, 0.9], [0.0, 1.0]])
        >>> fastcos.measures.r_precision(x, [0, 0, 1, 1, 1])
        0.7

    References:
        Musgrave, Belongie and Lim, "A Metric Learning Reality Check", 2020; ``r_precision`` of
        pytorch-metric-learning.
    """
    given = Given(queries, labels, gallery, gallery_labels, distance)
    return _measured(given, Asked(score=_r_precision))[0]


@overload
def mean_average_precision_at_r(
    queries: IsLazy,
    labels: ArrayLike,
    *,
    gallery: ArrayLike | None = ...,
    gallery_labels: ArrayLike | None = ...,
    distance: DistanceLike = ...,
) -> Any: ...
@overload
def mean_average_precision_at_r(
    queries: ArrayLike,
    labels: ArrayLike,
    *,
    gallery: ArrayLike | None = ...,
    gallery_labels: ArrayLike | None = ...,
    distance: DistanceLike = ...,
) -> float: ...
@not_compiled
def mean_average_precision_at_r(
    queries: ArrayLike | IsLazy,
    labels: ArrayLike,
    *,
    gallery: ArrayLike | None = None,
    gallery_labels: ArrayLike | None = None,
    distance: DistanceLike = "cosine",
) -> float:
    r"""R-precision in which a row counts by the precision up to it: MAP@R.

    .. math:: MAP@R = \frac{1}{|Q|} \sum_{q \in Q} \frac{1}{R_q} \sum_{i \le R_q}
        [y_{n_i(q)} = y_q] \, P_q@i

    ``R_q`` is the number of rows of the query's label that may be found, ``P_q@i`` the share of
    such rows among its i nearest.

    Args:
        queries: As in :func:`recall_at_k`.
        labels: The same.
        gallery: The same.
        gallery_labels: The same.
        distance: The same.

    Returns:
        A float; NaN where no query has anything to find.

    Raises:
        ValueError: as :func:`recall_at_k`.
        TypeError: the same.

    Singular points: as in :func:`recall_at_k`.

    Example:
        >>> import numpy as np, fastcos
        >>> x = np.array([[1.0, 0.0], [0.9, 0.4], [0.7, 0.7], [0.4, 0.9], [0.0, 1.0]])
        >>> fastcos.measures.mean_average_precision_at_r(x, [0, 0, 1, 1, 1])
        0.65

    References:
        Musgrave, Belongie and Lim, "A Metric Learning Reality Check", 2020;
        ``mean_average_precision_at_r`` of pytorch-metric-learning.
    """
    given = Given(queries, labels, gallery, gallery_labels, distance)
    return _measured(given, Asked(score=_average_precision))[0]


@overload
def mean_reciprocal_rank(
    queries: IsLazy,
    labels: ArrayLike,
    *,
    gallery: ArrayLike | None = ...,
    gallery_labels: ArrayLike | None = ...,
    distance: DistanceLike = ...,
) -> Any: ...
@overload
def mean_reciprocal_rank(
    queries: ArrayLike,
    labels: ArrayLike,
    *,
    gallery: ArrayLike | None = ...,
    gallery_labels: ArrayLike | None = ...,
    distance: DistanceLike = ...,
) -> float: ...
@not_compiled
def mean_reciprocal_rank(
    queries: ArrayLike | IsLazy,
    labels: ArrayLike,
    *,
    gallery: ArrayLike | None = None,
    gallery_labels: ArrayLike | None = None,
    distance: DistanceLike = "cosine",
) -> float:
    r"""One over the rank of the nearest row of the query's label.

    .. math:: MRR = \frac{1}{|Q|} \sum_{q \in Q} \frac{1}{\min \{i : y_{n_i(q)} = y_q\}}

    Exact for every rank: queries that have not met a row of their label search farther, and in the
    end rows that are nearer than that row are counted.

    Args:
        queries: As in :func:`recall_at_k`.
        labels: The same.
        gallery: The same.
        gallery_labels: The same.
        distance: The same.

    Returns:
        A float; NaN where no query has anything to find.

    Raises:
        ValueError: as :func:`recall_at_k`.
        TypeError: the same.

    Singular points: as in :func:`recall_at_k`. A query that finds nothing, for NaN in it or in the
    rows of its label, counts 0.

    Example:
        >>> import numpy as np, fastcos
        >>> x = np.array([[1.0, 0.0], [0.9, 0.4], [0.7, 0.7], [0.4, 0.9], [0.0, 1.0]])
        >>> fastcos.measures.mean_reciprocal_rank(x, [0, 0, 1, 1, 1])
        0.8

    References:
        Voorhees, "The TREC-8 Question Answering Track Report", 1999; ``mean_reciprocal_rank`` of
        pytorch-metric-learning.
    """
    return _measured(Given(queries, labels, gallery, gallery_labels, distance), Asked())[0]


# --------------------------------------------------------------------------------------------------
# What is measured, of the neighbours of queries, where "right" says which of them have the label
# --------------------------------------------------------------------------------------------------


def _measured(given: Given, asked: Asked) -> list[float]:
    """The means that are asked for; of lazy arrays lazy ones."""
    adapter = adapter_of_rows(given)
    if adapter.lazy:
        later: list[float] = adapter.retrieval(given, asked)
        return later
    task = task_of(adapter, given)
    return mean(task, asked) if asked.score else [_mean_reciprocal_rank(task)]


def _found(several: Sequence[int], right: Right, relevant: Integers) -> npt.NDArray[Any]:
    return np.stack([right[:, :each].any(axis=1) for each in several], axis=1)


def _precision(several: Sequence[int], right: Right, relevant: Integers) -> npt.NDArray[Any]:
    return np.stack([right[:, :each].sum(axis=1) / each for each in several], axis=1)


def _r_precision(right: Right, relevant: Integers) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = _within(right, relevant).sum(axis=1, keepdims=True)
    return found / relevant[:, None]


def _average_precision(right: Right, relevant: Integers) -> npt.NDArray[Any]:
    right = _within(right, relevant)
    precision = right.cumsum(axis=1) / np.arange(1, right.shape[1] + 1)
    summed: npt.NDArray[Any] = (precision * right).sum(axis=1, keepdims=True)
    return summed / relevant[:, None]


def _mean_reciprocal_rank(task: Task) -> float:
    if not task.answerable.size:
        return math.nan
    total = 0.0
    pending, k = task.answerable, min(_FIRST_RANKS, task.candidates)
    most = min(max(_FIRST_RANKS, _SHARE * task.candidates), task.candidates)
    while pending.size and k <= most:
        missed = []
        for chosen in blocks(task, pending, np.full(pending.size, k)):
            right = right_of(task, chosen, k)
            met = right.any(axis=1)
            total += float((1 / (right[met].argmax(axis=1) + 1)).sum())
            missed.append(chosen[~met])
        pending, k = np.concatenate(missed), _GROWTH * k
    pending = pending[task.relevant[pending].argsort(kind="stable")]
    for chosen in blocks(task, pending, task.relevant[pending]):
        total += float((1 / first_ranks(task, chosen)).sum())
    return total / task.answerable.size


def _within(right: Right, relevant: Integers) -> Right:
    """The same without those after as many neighbours as a query has to find."""
    return right & (np.arange(right.shape[1]) < relevant[:, None])


def _counts(name: str, given: Any) -> list[int]:
    """One number of neighbours, or several."""
    several = [check_count(name, each) for each in (given if np.ndim(given) else [given])]
    if not several:
        raise ValueError(f"{name} must be a number of neighbours or several, got none")
    return several


def _one_or_all(given: Any, means: list[float]) -> float | tuple[float, ...]:
    return tuple(means) if np.ndim(given) else means[0]
