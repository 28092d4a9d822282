"""Exact neighbours by brute force: the nearest, those within a radius, near duplicates."""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from fastcos.api.calls import not_compiled
from fastcos.distances import Distance, DistanceName
from fastcos.distances.record import constant_of, real_number
from fastcos.engine import matrix, neighbors
from fastcos.engine import radius as within
from fastcos.engine import search as engine
from fastcos.engine.checks import (
    check_finite,
    check_flag,
    check_one_length,
    check_out_fits,
    check_rows,
    one_device,
)
from fastcos.engine.libraries import adapter_of_arrays
from fastcos.engine.problem import resolve_distance
from fastcos.engine.rows import Rows
from fastcos.typing import ArrayLike


class Neighbors(NamedTuple):
    """The nearest of each query.

    Args:
        distances: How far they are, ``(Q, k)``, nearest first; NaN where there are no more.
        indices: Their numbers in the gallery, ``(Q, k)`` int64; -1 where there are no more.

    Example:
        >>> import numpy as np, fastcos
        >>> distances, indices = fastcos.nearest(np.eye(3), None, 1, "manhattan")
        >>> indices.ravel()
        array([1, 0, 0])
    """

    distances: Any
    indices: Any


@not_compiled
def pairwise(
    x: ArrayLike,
    y: ArrayLike | None = None,
    distance: DistanceName | Distance = "cosine",
    *,
    out: Any = None,
) -> Any:
    r"""The distances of all rows of one set to all of another, as a matrix.

    .. math:: d_{ij} = d(x_i, y_j)

    For those who want all of it; for the nearest, :func:`nearest` keeps no matrix. It is
    ``paired_distance(x[:, None], y[None])``, which takes 2 to 7 times as long where a product of
    matrices has the distance (cosine, dot, euclidean, sqeuclidean): the product is made in float64,
    and pairs that it leaves in doubt are measured. So of float32 and half types every distance is
    right to its dtype, however close the rows; of float64 to 6 bits less.

    Args:
        x: Rows ``(N, D)``.
        y: Rows ``(M, D)``; None for ``x`` itself.
        distance: A name, or a :class:`Distance`.
        out: Where it goes, ``(N, M)`` of the dtype of the result; with any strides.

    Returns:
        An array ``(N, M)`` of the dtype that the rows are promoted to; ``out``, if it was given.

    Raises:
        ValueError: shapes that do not fit, no rows, an unknown distance; an ``out`` that shares
            memory with the rows.
        TypeError: an ``out`` of another dtype; as in :func:`nearest`.
        RuntimeError: a tensor that wants a gradient, which this does not have.

    Singular points: as in :func:`paired_distance`.

    Example:
        >>> import numpy as np, fastcos
        >>> x = np.array([[3.0, 4.0], [0.0, 2.0]])
        >>> fastcos.pairwise(x).round(6)
        array([[0. , 0.2],
               [0.2, 0. ]])
        >>> fastcos.pairwise(x, np.zeros((1, 2)), "euclidean")
        array([[5.],
               [2.]])
    """
    for name, value in (("x", x), ("y", y)):
        if getattr(value, "requires_grad", False):
            raise RuntimeError(
                f"pairwise has no gradient: pass {name}.detach(), or use"
                " paired_distance(x[:, None], y[None])"
            )
    with _search(x, y, ("x", "y"), distance, None) as search:
        adapter = search.adapter
        dtype = adapter.common_dtype([search.queries, search.gallery])
        shape = int(search.queries.shape[0]), int(search.gallery.shape[0])
        if out is None:
            found = adapter.workspace(shape, dtype, search.gallery)
        else:
            adapter.check_out("out", out, {"x": search.queries, "y": search.gallery})
            device = adapter.layout(search.gallery).device
            check_out_fits("the distances", adapter.layout(out), shape, dtype, device)
            found = out
        matrix.pairwise(search, dtype, found)
        return found


@not_compiled
def nearest(
    queries: ArrayLike,
    gallery: ArrayLike | None,
    k: int,
    distance: DistanceName | Distance = "cosine",
    *,
    out: tuple[Any, Any] | None = None,
    block: int | None = None,
    progress: bool = False,
) -> Neighbors:
    r"""The ``k`` nearest rows of a gallery, exactly: every row is looked at, none approximately.

    The order is that of :func:`paired_distance` in float64, and ties go by number. It does not
    depend on how rows are scaled, how close they lie or how far from the origin, nor on threads,
    blocks or how many queries there are. Where a product of matrices orders the distance (cosine,
    angular, dot, euclidean, sqeuclidean) products propose: their rounding is bounded, and whatever
    the bound leaves in doubt is measured. All other distances are measured throughout, those of
    your own, too.

    Args:
        queries: Rows ``(Q, D)``.
        gallery: Rows ``(N, D)``; None for the other rows of ``queries``, of which none is its own
            neighbour. A memory map may be larger than memory: it is read in order, once for 16,384
            queries (of more than 50 neighbours: for as many as 64 MiB of lists hold). Half types
            are read as they are.
        k: How many, from 1 to the number of rows that there are.
        distance: A name, or a :class:`Distance`.
        out: Where distances and indices go: two arrays ``(Q, k)``, of the dtype of the result and
            of int64, with any strides.
        block: How many rows of the gallery are taken at a time; the answer does not depend on it.
        progress: Whether to show how far it is (with tqdm, if that is installed).

    Returns:
        :class:`Neighbors`; of ``out``, if it was given. Distances are of the dtype that the rows
        are promoted to, and of at least float32. Of Dask arrays, which take no ``out`` and no
        ``progress``, they are lazy, in the chunks of the queries.

    Raises:
        ValueError: a k that is not in range, shapes that do not fit, no rows, an unknown distance.
        TypeError: a k that is no integer; rows of a table; input that is complex, object, string,
            masked or sparse.

    Singular points: a row with NaN is nobody's neighbour, and has none: its distances are NaN, its
    indices -1. So has a query with fewer than ``k`` neighbours behind them. A zero row is at cosine
    distance 1 from all.

    Example:
        >>> import numpy as np, fastcos
        >>> gallery = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [1.0, 0.0]])
        >>> found = fastcos.nearest(np.array([[2.0, 0.0]]), gallery, 3)
        >>> found.indices
        array([[0, 3, 1]])
        >>> found.distances.round(6)
        array([[0. , 0. , 0.4]])
    """
    names = "queries", "gallery"
    adapter = adapter_of_arrays(names, (queries, gallery), lazy=True)
    if adapter.lazy:
        return Neighbors(*adapter.nearest(queries, gallery, k, distance, out, block, progress))
    with _search(queries, gallery, names, distance, block) as search:
        k = k_of(k, int(search.gallery.shape[0]) - search.excludes)
        if out is not None:
            _check_out(search, k, out)
        with _shown(progress, search, k) as search:
            found = neighbors.nearest(search, k)
        distances = engine.values(search, found.distances)
        indices = engine.index(search, found.numbers)
        if out is not None:
            out[0][...], out[1][...] = distances, indices
            distances, indices = out
        return Neighbors(distances, indices)


def k_of(k: Any, others: int) -> int:
    """Returns how many neighbours are wanted, of so many that there are, or raises."""
    count = _integer("k", k)
    if not 1 <= count <= others:
        raise ValueError(f"k must be from 1 to {others}, the rows there are; got {count}")
    return count


def ranked(queries: Any, gallery: Any, k: int, distance: Any, block: Any) -> tuple[Any, Any, Any]:
    """What :func:`nearest` finds, in float64 and on the host, and the dtype of its distances."""
    with _search(queries, gallery, ("queries", "gallery"), distance, block) as search:
        found = neighbors.nearest(search, k)
        return found.distances, found.numbers, search.dtype


class Within(NamedTuple):
    """The pairs within a radius, as the rows of a sparse matrix (CSR).

    Args:
        indptr: Those of row i are from ``indptr[i]`` to ``indptr[i + 1]``; ``(N + 1,)`` int64.
        indices: The numbers of the others, ascending within a row; int64.
        distances: How far these are.

    Example:
        >>> import numpy as np, fastcos
        >>> found = fastcos.neighbors_within(np.eye(2), np.eye(3)[:, :2], 0.5)
        >>> found.indices[found.indptr[1] : found.indptr[2]]  # those of row 1
        array([1])
    """

    indptr: Any
    indices: Any
    distances: Any


#: Pairs that are kept at most, unless the caller says more: 2.4 GB of them.
MAX_PAIRS = 100_000_000


@not_compiled
def neighbors_within(
    x: ArrayLike,
    y: ArrayLike | None,
    radius: float,
    distance: DistanceName | Distance = "cosine",
    *,
    max_pairs: int = MAX_PAIRS,
    block: int | None = None,
    progress: bool = False,
) -> Within:
    r"""All pairs of rows that are no farther apart than a radius, exactly.

    .. math:: \{(i, j) : d(x_i, y_j) \le radius\}

    Who belongs is decided in float64, as in :func:`nearest`: a pair at the radius belongs.

    Args:
        x: Rows ``(N, D)``.
        y: Rows ``(M, D)``; None for the pairs ``i < j`` of ``x``, of which half the work is done.
        radius: The greatest distance, at least 0.
        distance: A name, or a :class:`Distance`.
        max_pairs: More pairs than this are an error, which says how many there would be.
        block: As in :func:`nearest`.
        progress: The same.

    Returns:
        :class:`Within`; ``scipy.sparse.csr_array((w.distances, w.indices, w.indptr))`` takes its
        arrays as they are.

    Raises:
        ValueError: a radius that is negative or NaN, more than ``max_pairs`` pairs, shapes that do
            not fit, no rows, an unknown distance.
        TypeError: as in :func:`nearest`.

    Singular points: as in :func:`nearest`.

    Example:
        >>> import numpy as np, fastcos
        >>> x = np.array([[1.0, 0.0], [0.6, 0.8], [2.0, 0.1]])
        >>> found = fastcos.neighbors_within(x, None, 0.1)
        >>> found.indptr, found.indices
        (array([0, 1, 1, 1]), array([2]))
    """
    most = _at_least("max_pairs", max_pairs, 0)
    with _search(x, y, ("x", "y"), distance, block) as search:
        radius = _radius("radius", radius, search.distance)
        try:
            with _shown(progress, search, 0) as search:
                of, numbers, d = within.joined(search, radius, most)
        except within.TooManyPairs as found:
            raise _too_many(found, most, "lower the radius") from None
        counts = np.bincount(of, minlength=int(search.queries.shape[0]))
        indptr = np.concatenate([[0], np.cumsum(counts)])
        own = engine.index
        return Within(own(search, indptr), own(search, numbers), engine.values(search, d))


@not_compiled
def near_duplicates(
    x: ArrayLike,
    threshold: float,
    distance: DistanceName | Distance = "cosine",
    *,
    max_pairs: int = MAX_PAIRS,
    block: int | None = None,
    progress: bool = False,
) -> Any:
    r"""Groups of rows that are nearly the same, each row with the smallest number of its group.

    Two rows are in a group if they are near, or are both near rows of it (single linkage): for the
    cosine and the dot product if their similarity :math:`1 - d` is ``threshold`` or more, for other
    distances if :math:`d` is ``threshold`` or less. Who is near is decided as in
    :func:`neighbors_within`; pairs are joined as they are found, and none is kept.

    Args:
        x: Rows ``(N, D)``.
        threshold: The least similarity, or the greatest distance.
        distance: A name, or a :class:`Distance`.
        max_pairs: More pairs than this are an error, which says how many there would be: nearly
            all rows are in one group then.
        block: As in :func:`nearest`.
        progress: The same.

    Returns:
        An array ``(N,)`` of int64, with its own number for a row that is alone.

    Raises:
        ValueError: a threshold that is NaN, or beyond what there is (a similarity above 1, a
            negative distance); more than ``max_pairs`` pairs; no rows; an unknown distance.
        TypeError: as in :func:`nearest`.

    Singular points: as in :func:`nearest`.

    Example:
        >>> import numpy as np, fastcos
        >>> x = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 0.01], [0.01, 3.0], [-1.0, 0.0]])
        >>> groups = fastcos.near_duplicates(x, 0.99)
        >>> groups
        array([0, 1, 0, 1, 4])
        >>> np.flatnonzero(groups == np.arange(len(x)))  # one of each
        array([0, 1, 4])
    """
    most = _at_least("max_pairs", max_pairs, 0)
    with _search(x, None, ("x", "x"), distance, block) as search:
        constant = constant_of(search.distance)
        if constant in ("angles._COSINE", "angles._DOT"):
            radius = _farthest(check_finite("threshold", threshold))
            if threshold > 1 and constant == "angles._COSINE":
                raise ValueError(f"threshold must be a cosine, at most 1; got {threshold}")
            hint = "raise the threshold"
        else:
            radius, hint = _radius("threshold", threshold, search.distance), "lower the threshold"
        try:
            with _shown(progress, search, 0) as search:
                found = within.groups(search, radius, most)
        except within.TooManyPairs as error:
            raise _too_many(error, most, hint) from None
        return engine.index(search, found)


# --------------------------------------------------------------------------------------------------
# Arguments
# --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _search(
    one: Any,
    two: Any | None,
    names: tuple[str, str],
    distance: Any,
    block: Any,
) -> Iterator[engine.Search]:
    """What is looked for, checked, on the device where the arrays are."""
    found = resolve_distance("distance", distance)
    if not isinstance(found, Distance):
        raise TypeError(
            "distance must be the name of a distance or a fastcos.Distance, got the callable"
            f" {getattr(found, '__name__', found)!r}"
        )
    adapter = adapter_of_arrays(names, (one, two))
    guard = adapter.device_guard and adapter.device_guard([x for x in (one, two) if x is not None])
    with guard or contextlib.nullcontext():
        x = _rows(adapter, names[0], one)
        y = x if two is None else _rows(adapter, names[1], two)
        if two is not None:
            one_device(names, (adapter.layout(x), adapter.layout(y)))
            check_one_length(names, (tuple(x.shape), tuple(y.shape)))
        if y.shape[0] == 0:
            name = names[0] if two is None else names[1]
            raise ValueError(f"{name} must have rows, got shape {tuple(y.shape)}")
        block = None if block is None else _at_least("block", block, 1)
        yield engine.stated(adapter, found, x, y, two is None, block, None)


def _check_out(search: engine.Search, k: int, out: Any) -> None:
    """Raises unless the caller's buffers may be written to."""
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        raise TypeError(f"out must be two arrays, for distances and indices; got {out!r}")
    adapter, shape = search.adapter, (int(search.queries.shape[0]), k)
    dtypes = search.dtype, engine.index(search, np.arange(0)).dtype
    taken = {"queries": search.queries, "gallery": search.gallery}
    for name, buffer, dtype in zip(("distances", "indices"), out, dtypes, strict=True):
        label = f"out for {name}"
        adapter.check_out(label, buffer, taken)
        taken[label] = buffer
        device = adapter.layout(search.gallery).device
        check_out_fits(name, adapter.layout(buffer), shape, dtype, device)


def _rows(adapter: Any, name: str, value: Any) -> Any:
    if isinstance(value, Rows):
        raise TypeError(f"{name} is rows of a table: pass an array, such as table[index]")
    array = adapter.asarray(name, value)
    check_rows(name, tuple(array.shape))
    return array


def _radius(name: str, value: Any, distance: Distance) -> float:
    radius = real_number(name, value)
    # 1 - x·y may be anything.
    if not (radius >= 0 or (constant_of(distance) == "angles._DOT" and -math.inf < radius)):
        raise ValueError(f"{name} must be a distance, at least 0; got {value!r}")
    return radius


def _farthest(threshold: float) -> float:
    """The greatest distance d of which ``1 - d``, as it is rounded, is a threshold or more."""
    near, far = (1 - threshold + sign * 2.0**-50 * max(1, abs(threshold)) for sign in (-1, 1))
    while near < (middle := near + (far - near) / 2) < far:
        near, far = (middle, far) if 1 - middle >= threshold else (near, middle)
    return near


def _at_least(name: str, value: Any, least: int) -> int:
    number = _integer(name, value)
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def _too_many(found: within.TooManyPairs, most: int, hint: str) -> ValueError:
    return ValueError(
        f"there are more than {most:,} pairs, and would be some {found.estimate:,.0f}: {hint}, or"
        " raise max_pairs"
    )


def _integer(name: str, value: Any) -> int:
    if hasattr(type(value), "__dask_graph__"):
        raise TypeError(f"{name} is not computed yet: pass {name}.compute()")
    try:
        if not isinstance(value, (bool, np.bool_)):
            return operator.index(value)
    except TypeError:
        pass
    raise TypeError(f"{name} must be an integer, got {value!r}")


@contextlib.contextmanager
def _shown(progress: Any, search: engine.Search, k: int) -> Iterator[engine.Search]:
    """The search, of which is shown how many rows of the gallery are done, if that is asked for."""
    if not check_flag("progress", progress):
        yield search
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        raise ImportError(
            "progress=True needs tqdm: pip install tqdm, or leave progress out"
        ) from None
    queries, rows = int(search.queries.shape[0]), int(search.gallery.shape[0])
    passes = math.ceil(queries / engine.chunk_of(k))
    with tqdm(total=rows * passes, unit="rows", unit_scale=True) as bar:
        yield search._replace(progress=bar.update)
