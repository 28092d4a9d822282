"""What neighbours should be, from the distances of all pairs in extended precision.

Nothing here is taken from the library. Distances are those of ``oracle.py``; for rows that are
nearly parallel, of which an extended ``1 - c`` keeps too few digits, half the square of the chord.
Whoever is nearer comes first, of equally near rows the first; NaN is nobody's distance.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import oracle

LD = np.longdouble
#: Pairs times features that are measured at once.
_AT_ONCE = 1 << 18
#: Distances of one query that agree to so much of their scale may be in either order: they are
#: sums in float64.
CLOSE = 2e-15


def distances(name: str, x: Any, y: Any, **parameters: float) -> Any:
    """Those of each row of x to each of y, ``(N, M)`` longdouble."""
    x, y = oracle.wide(x), oracle.wide(y)
    found = np.empty((len(x), len(y)), LD)
    step = max(1, _AT_ONCE // max(1, y.size))
    for first in range(0, len(x), step):
        some = x[first : first + step, None]
        if name == "cosine" and not parameters:
            d = _cosine(some, y[None])
        else:
            d = oracle.distance(name, some, y[None], **parameters)[0]
        found[first : first + step] = d
    return found


def _cosine(x: Any, y: Any) -> Any:
    """½|u - v|² of rows of unit length; 1 for a zero row."""
    with np.errstate(all="ignore"):
        nx, ny = (np.sqrt((a * a).sum(-1, keepdims=True)) for a in (x, y))
        zero = ((nx == 0) & ~np.isnan(ny)) | ((ny == 0) & ~np.isnan(nx))
        t = x / nx - y / ny
    return np.where(zero[..., 0], LD(1), (t * t).sum(-1) / 2)


class Nearest(NamedTuple):
    """The nearest of each query: -1 and NaN where there are no more."""

    distances: Any
    indices: Any


def nearest(d: Any, k: int, excludes: bool = False) -> Nearest:
    """The first k of each row of a matrix of distances; ``excludes`` its own number."""
    found = np.full((len(d), k), LD("nan")), np.full((len(d), k), -1)
    for query, row in enumerate(d):
        order = [j for j in np.argsort(row, kind="stable") if not np.isnan(row[j])]
        order = [j for j in order if not (excludes and j == query)][:k]
        found[0][query, : len(order)] = row[order]
        found[1][query, : len(order)] = order
    return Nearest(*found)


class Within(NamedTuple):
    """All pairs within a radius, in CSR."""

    indptr: Any
    indices: Any


def within(d: Any, radius: float, later: bool = False) -> Within:
    """Pairs no farther apart than the radius; ``later`` those with ``i < j`` alone."""
    near = d <= LD(radius)
    if later:
        near = np.triu(near, 1)
    return Within(np.concatenate([[0], np.cumsum(near.sum(1))]), np.nonzero(near)[1])


def groups(d: Any, radius: float) -> Any:
    """The smallest number of each row's group, by union and find."""
    parents = list(range(len(d)))

    def root(i: int) -> int:
        while parents[i] != i:
            i = parents[i]
        return i

    for i, j in zip(*np.nonzero(np.triu(d <= LD(radius), 1)), strict=True):
        one, two = sorted((root(i), root(j)))
        parents[two] = one
    return np.array([root(i) for i in range(len(d))])


def scale(name: str, d: Any, x: Any, y: Any) -> Any:
    """How large the terms are that a distance is a difference of, ``(N, M)``."""
    if name == "cosine":
        # From the chord below, which has all its digits.
        return np.where(d < 2.0**-10, d, LD(1))
    if name in ("dot", "braycurtis"):
        x, y = oracle.wide(x)[:, None], oracle.wide(y)[None]
        return oracle.DISTANCES[name].terms(x, y)[0]
    return np.abs(d)


def assert_nearest(
    found: Any,
    d: Any,
    k: int,
    *,
    excludes: bool = False,
    scale: Any = None,
    close: float = CLOSE,
    ulps: float = 4,
) -> None:
    """Fails unless these are the nearest, in order.

    Args:
        found: What the library returned.
        d: The distances of all pairs.
        k: How many were asked for.
        excludes: Whether a query is its own candidate.
        scale: Of these distances, by which it is judged whether two are equal; themselves.
        close: How much of that two distances may differ by to be in either order.
        ulps: Units in the last place by which a distance may be off.
    """
    indices, values = np.asarray(found.indices), np.asarray(found.distances)
    right = nearest(d, k, excludes)
    assert indices.shape == values.shape == right.indices.shape
    assert indices.dtype == np.int64
    none = right.indices == -1
    np.testing.assert_array_equal(indices == -1, none)
    np.testing.assert_array_equal(np.isnan(values), none)
    for query, row in enumerate(indices):
        kept = row[row >= 0]
        assert len({*kept.tolist()}) == len(kept)
        assert not (excludes and query in kept)
    at = np.take_along_axis(d, np.maximum(indices, 0), 1)
    others = (indices != right.indices) & ~none
    query = np.nonzero(others)[0]
    mine, theirs = at[others], right.distances[others]
    size = np.abs(theirs) if scale is None else scale[query, right.indices[others]]
    wrong = ~(np.abs(mine - theirs) <= close * size)
    assert not wrong.any(), (
        f"{wrong.sum()} of {none.size} are wrong; of query {query[wrong][0]} at"
        f" {mine[wrong][0]!r}, which should be at {theirs[wrong][0]!r}"
    )
    assert_ties_go_by_number(indices, at, d, excludes)
    assert_distances(values[~none], at[~none], ulps)


def assert_ties_go_by_number(indices: Any, at: Any, d: Any, excludes: bool) -> None:
    """Fails where of two that are as far to the last digit the later comes first, or alone."""
    tied = (at[:, 1:] == at[:, :-1]) & (indices[:, 1:] >= 0)
    assert (indices[:, 1:] > indices[:, :-1])[tied].all()
    for query, row in enumerate(indices):
        if row[-1] >= 0:
            before = np.flatnonzero(d[query] == d[query, row[-1]])
            before = before[(before < row[-1]) & ~(excludes & (before == query))]
            assert np.isin(before, row).all(), f"of query {query} a tie is broken by others"


def assert_distances(values: Any, right: Any, ulps: float, terms: Any = None) -> None:
    """Fails where distances are off by more than so many units in the last place.

    Of ``terms``, if that is given, and else of themselves.
    """
    with np.errstate(over="ignore"):
        rounded = right.astype(values.dtype)
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(values[~finite], rounded[~finite])
    of = None if terms is None else np.maximum(np.abs(terms), np.abs(right))[finite]
    oracle.assert_within_ulps(values[finite], right[finite], ulps, scale=of)
