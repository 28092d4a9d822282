"""Nearest rows of a gallery, and who else finds them, for ``python -m bench nearest``.

A provider is given the gallery and the name of a distance, and keeps of it what an index keeps:
FAISS, torch and NumPy rows of unit length for cosines, or the squares of their lengths for
distances. What it returns is called with queries and k. Ours, scikit-learn and usearch keep the
rows as they are.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

import fastcos
from bench.cases import Array
from bench.report import NUMPY_PRODUCTS
from bench.runner import OURS, READ, Size
from fastcos.engine import neighbors
from fastcos.engine import search as engine
from fastcos.engine.libraries import adapter_of_arrays
from fastcos.engine.problem import resolve_distance

COSINE, SQEUCLIDEAN, EUCLIDEAN = "cosine", "sqeuclidean", "euclidean"
#: The queries of a call, and the numbers of neighbours that it asks for.
QUERIES, NEIGHBOURS = (1, 100, 2000), (10, 100)
#: What one reads, or multiplies, that is as long as a call has to take.
CEILINGS = (READ, NUMPY_PRODUCTS)
FAISS, SKLEARN, USEARCH, TORCH, NUMPY = "faiss", "scikit-learn", "usearch", "torch", "numpy"
PEERS = (FAISS, SKLEARN, USEARCH, TORCH, NUMPY)
#: By provider, the distribution that it comes from, and its module.
_FROM = {
    OURS: ("fastcos", "fastcos"),
    FAISS: ("faiss-cpu", "faiss"),
    SKLEARN: ("scikit-learn", "sklearn"),
    USEARCH: ("usearch", "usearch"),
    TORCH: ("torch", "torch"),
    NUMPY: ("numpy", "numpy"),
}
MISSING = tuple(
    name for name, (_, module) in _FROM.items() if importlib.util.find_spec(module) is None
)
#: A matrix of queries by gallery takes so many bytes at most: more queries are taken by turns.
_MATRIX = 1 << 28
#: Columns of a block of products that are tried, on so many rows; bytes of a block at most.
_WIDTHS, _TRIED, _BLOCK = (1024, 4096, 16384), 1 << 15, 1 << 27

#: From queries, and how many neighbours of each, to their numbers, the nearest first. A ceiling
#: returns anything.
Search = Callable[[Array, int], Any]


#: What a gallery is: an array of a dtype, or a file of it that is mapped into memory.
STORED = ("float32", "float16", "bfloat16", "float32, mapped")
_MAPPED = ", mapped"


class Galleries(NamedTuple):
    """Galleries to be searched, all with one distance, and how.

    Args:
        distance: Its name.
        sizes: Rows, and features of each.
        queries: How many a call has; those that would take too long are left out.
        stored: One of :data:`STORED`.
    """

    distance: str
    sizes: str
    queries: tuple[int, ...] = QUERIES
    stored: str = STORED[0]


#: Measured unless others are asked for.
GALLERIES: tuple[Galleries, ...] = (
    Galleries(COSINE, "100000x128,100000x384,100000x768,1000000x128,1000000x384"),
    Galleries(SQEUCLIDEAN, "100000x384"),
    *(Galleries(COSINE, "1000000x384", stored=stored) for stored in STORED[1:]),
)
#: What is measured besides with ``--all``: 3 GB of gallery, and whatever takes longer than this
#: in products of two numbers.
MORE = "1000000x768"
MOST = 3e11


def versions(names: Sequence[str]) -> dict[str, str]:
    """Of the distributions that providers come from."""
    found = {_FROM[name][0] for name in names if name in _FROM and name not in MISSING}
    return {of: importlib.metadata.version(of) for of in sorted(found)}


def sized(text: str) -> Size | None:
    """The size that ``NxD`` tells, or None."""
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    return Size(*map(int, match.groups())) if match else None


def count_candidates(queries: Array, rows: Array, k: int, distance: str) -> float | None:
    """How many rows ours measures once more for a query; None where it measures all."""
    if len(queries) <= engine.FEW:
        return None
    names, arrays = ("queries", "gallery"), (queries, rows)
    named: Any = resolve_distance("distance", distance)
    asked = engine.stated(*(adapter_of_arrays(names, arrays), named, *arrays), False, None, None)
    return float(neighbors.nearest(asked, k).measured / len(queries))


# --------------------------------------------------------------------------------------------------
# Data
# --------------------------------------------------------------------------------------------------


class Drawn(NamedTuple):
    """A gallery and queries."""

    rows: Array
    queries: Array


def draw(size: Size, queries: int, seed: int = 0, stored: str = STORED[0]) -> Drawn:
    """Ordinary rows, and queries that are none of them."""
    drawn = ordinary(np.random.default_rng(seed), size, queries)
    dtype = dtype_of(stored)
    return drawn if dtype == np.float32 else Drawn(*(array.astype(dtype) for array in drawn))


def dtype_of(stored: str) -> np.dtype[Any]:
    """The dtype of a gallery that is stored so."""
    name = stored.removesuffix(_MAPPED)
    return np.dtype(importlib.import_module("ml_dtypes").bfloat16 if name == "bfloat16" else name)


def keep(drawn: Drawn, folder: pathlib.Path) -> None:
    """Puts arrays where other processes find them."""
    for name, array in drawn._asdict().items():
        # NumPy's files have no name for bfloat16.
        np.save(folder / f"{name}.npy", array.view(np.uint16) if array.itemsize == 2 else array)


def kept(folder: pathlib.Path, stored: str) -> Drawn:
    """Arrays from there."""
    dtype, mapped = dtype_of(stored), stored.endswith(_MAPPED)
    # Read, unless it is to be mapped: a mapped file has small pages, and the index of another has
    # not.
    rows = np.load(folder / "rows.npy", mmap_mode="r" if mapped else None)
    return Drawn(rows.view(dtype), np.load(folder / "queries.npy").view(dtype))


def ordinary(rng: np.random.Generator, size: Size, queries: int) -> Drawn:
    """Normal numbers."""
    found = rng.standard_normal((size.n + queries, size.d), dtype=np.float32)
    return Drawn(found[queries:], found[:queries])


def _cone(rng: np.random.Generator, size: Size, queries: int) -> Drawn:
    axis = rng.standard_normal(size.d, dtype=np.float32)
    return Drawn(*(axis + np.float32(1e-4) * rows for rows in ordinary(rng, size, queries)))


def _far(rng: np.random.Generator, size: Size, queries: int) -> Drawn:
    return Drawn(*(np.float32(1000) + rows for rows in ordinary(rng, size, queries)))


#: So many rows are one row but for rounding and a little more.
ALIKE = 16


def _duplicates(rng: np.random.Generator, size: Size, queries: int) -> Drawn:
    originals = rng.standard_normal((-(-size.n // ALIKE), size.d), dtype=np.float32)
    rows = np.resize(np.arange(len(originals)), size.n)
    chosen = rng.choice(len(originals), queries)
    noise = ordinary(rng, size, queries)
    little = np.float32(1e-6)
    return Drawn(
        originals[rows] * (1 + little * noise.rows),
        originals[chosen] * (1 + little * noise.queries),
    )


class Kind(NamedTuple):
    """Data whose nearest rows are looked for, to see how many are found.

    Args:
        name: What the report calls it.
        distance: The name of the distance.
        draw: From a generator, a size and a number of queries.
    """

    name: str
    distance: str
    draw: Callable[[np.random.Generator, Size, int], Drawn]


KINDS = (
    Kind("ordinary", COSINE, ordinary),
    Kind("narrow cone", COSINE, _cone),
    Kind("near duplicates", COSINE, _duplicates),
    Kind("ordinary", EUCLIDEAN, ordinary),
    Kind("far from the origin", EUCLIDEAN, _far),
    Kind("near duplicates", EUCLIDEAN, _duplicates),
)


# --------------------------------------------------------------------------------------------------
# The truth
# --------------------------------------------------------------------------------------------------


def truth(drawn: Drawn, k: int, distance: str) -> Array:
    """The k nearest rows of each query by extended precision, of equal ones the first.

    Every distance is measured: between rows of unit length, of which a cosine is half the square,
    or between the rows as they are.
    """
    wide = np.longdouble
    rows, queries = (array.astype(wide) for array in drawn)
    if distance == COSINE:
        rows, queries = (a / np.sqrt((a * a).sum(1, keepdims=True)) for a in (rows, queries))
    found = np.empty((len(queries), k), np.int64)
    for number, query in enumerate(queries):
        apart = rows - query
        apart *= apart
        squares = apart.sum(1)
        few = np.flatnonzero(squares <= np.partition(squares, k - 1)[k - 1])
        found[number] = few[np.argsort(squares[few], kind="stable")][:k]
    return found


class Wrong(NamedTuple):
    """Shares of the queries: whose rows are others, or in another order; and whose are others."""

    order: float
    rows: float


def wrong(found: Array, right: Array) -> Wrong:
    """How many of the answers are not what they have to be."""
    found = np.asarray(found).astype(np.int64)
    order = (found != right).any(axis=1)
    rows = (np.sort(found, axis=1) != np.sort(right, axis=1)).any(axis=1)
    return Wrong(float(order.mean()), float(rows.mean()))


# --------------------------------------------------------------------------------------------------
# Who finds them
# --------------------------------------------------------------------------------------------------


def takes(provider: str, stored: str) -> str:
    """Why a provider does not take a gallery that is stored so; empty where it does."""
    if stored == STORED[0] or provider in (OURS, *CEILINGS):
        return ""
    if stored.endswith(_MAPPED):
        return "" if provider == USEARCH else "keeps a copy in memory"
    if provider == FAISS or (provider == USEARCH and stored == "float16"):
        return ""
    return f"takes no {stored}"


def search(provider: str, rows: Array, distance: str, threads: int) -> Search:
    """What a provider makes of a gallery."""
    return _MADE[provider](rows, distance, threads)


def _ours(rows: Array, distance: str, threads: int) -> Search:
    nearest: Any = fastcos.nearest
    return lambda queries, k: nearest(queries, rows, k, distance).indices


def _faiss(rows: Array, distance: str, threads: int) -> Search:
    faiss: Any = importlib.import_module("faiss")
    faiss.omp_set_num_threads(threads)
    if rows.dtype == np.float32:
        index = (faiss.IndexFlatIP if distance == COSINE else faiss.IndexFlatL2)(rows.shape[1])
    else:
        # Every row is looked at here, too, as numbers of 16 bits.
        kinds = faiss.ScalarQuantizer
        kind = kinds.QT_fp16 if rows.dtype == np.float16 else kinds.QT_bf16
        metric = faiss.METRIC_INNER_PRODUCT if distance == COSINE else faiss.METRIC_L2
        index = faiss.IndexScalarQuantizer(rows.shape[1], kind, metric)
        index.train(_ready(rows[:1024], distance))
    for part in _parts(len(rows), 1 << 14):
        index.add(_ready(rows[part], distance))
    return lambda queries, k: index.search(_ready(queries, distance), k)[1]


def _sklearn(rows: Array, distance: str, threads: int) -> Search:
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(algorithm="brute", metric=distance).fit(rows)
    return lambda queries, k: found.kneighbors(queries, k)[1]


def _usearch(rows: Array, distance: str, threads: int) -> Search:
    index: Any = importlib.import_module("usearch.index")
    kind = index.MetricKind.Cos if distance == COSINE else index.MetricKind.L2sq

    def called(queries: Array, k: int) -> Array:
        found = index.search(rows, queries, k, kind, exact=True, threads=threads)
        return np.asarray(found.keys).reshape(len(queries), -1)

    return called


def _torch(rows: Array, distance: str, threads: int) -> Search:
    import torch

    torch.set_num_threads(threads)
    gallery = torch.from_numpy(_ready(rows, distance))
    squares = None if distance == COSINE else (gallery * gallery).sum(1)

    def called(queries: Array, k: int) -> Array:
        found = np.empty((len(queries), k), np.int64)
        for part in _parts(len(queries), _height(rows)):
            near = torch.mm(torch.from_numpy(_ready(queries[part], distance)), gallery.T)
            if squares is not None:  # the less the length of the query, which is one for all rows
                near.mul_(2).sub_(squares)
            found[part] = torch.topk(near, k).indices.numpy()
        return found

    return called


def _numpy(rows: Array, distance: str, threads: int) -> Search:
    gallery = _ready(rows, distance)
    squares = None if distance == COSINE else np.einsum("ij,ij->i", gallery, gallery)

    def called(queries: Array, k: int) -> Array:
        found = np.empty((len(queries), k), np.int64)
        for part in _parts(len(queries), _height(rows)):
            far = _ready(queries[part], distance) @ gallery.T
            far *= -1 if squares is None else -2
            if squares is not None:
                far += squares
            few = np.argpartition(far, k - 1, axis=1)[:, :k]
            order = np.argsort(np.take_along_axis(far, few, 1), axis=1, kind="stable")
            found[part] = np.take_along_axis(few, order, 1)
        return found

    return called


def _ready(rows: Array, distance: str) -> Array:
    """For a product: float32 rows, of unit length where they are for cosines."""
    rows = rows.astype(np.float32, copy=False)
    if distance != COSINE:
        return rows
    unit: Array = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _height(rows: Array) -> int:
    return max(1, _MATRIX // (4 * len(rows)))


def _parts(count: int, step: int) -> Iterator[slice]:
    for first in range(0, count, step):
        yield slice(first, min(first + step, count))


def _read(rows: Array, distance: str, threads: int) -> Search:
    from bench import ceilings

    read = ceilings.read([rows])
    return lambda queries, k: read()


def _products(rows: Array, distance: str, threads: int) -> Search:
    """Queries by gallery in blocks of as many columns as is quickest when tried, in float32."""
    rows = rows.astype(np.float32, copy=False)

    @functools.cache
    def best(count: int) -> Any:
        queries = rows[:count] if len(rows) >= count else np.ones((count, rows.shape[1]), "f4")
        widths = [w for w in _WIDTHS if 4 * w * count <= _BLOCK] or list(_WIDTHS[:1])
        some = rows[:_TRIED]
        return min(widths, key=lambda width: _seconds(lambda: _multiply(queries, some, width)))

    return lambda queries, k: _multiply(queries, rows, best(len(queries)))


def _multiply(queries: Array, rows: Array, width: int) -> None:
    block = np.empty(len(queries) * min(width, len(rows)), rows.dtype)
    for part in _parts(len(rows), width):
        those = rows[part]
        out = block[: len(queries) * len(those)].reshape(len(queries), len(those))
        np.matmul(queries, those.T, out=out)


def _seconds(thunk: Callable[[], Any]) -> float:
    import time

    def once() -> float:
        start = time.perf_counter()
        thunk()
        return time.perf_counter() - start

    return min(once() for _ in range(2))


_MADE = {
    **{OURS: _ours, FAISS: _faiss, SKLEARN: _sklearn, USEARCH: _usearch},
    **{TORCH: _torch, NUMPY: _numpy, READ: _read, NUMPY_PRODUCTS: _products},
}
