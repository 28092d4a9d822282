"""Neighbours: the right rows in the right order, whatever the rows are like and however found.

Queries of one or two are measured with all candidates; of more, products of matrices propose. So
most tests ask both ways.
"""

import math
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import neighbors_oracle
import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastcos
from fastcos import Distance
from fastcos.adapters import numpy as numpy_adapter
from fastcos.distances import cosine
from fastcos.engine import host, neighbors
from fastcos.engine import search as engine

#: By name, how rows are drawn: ``(rng, rows, features) -> float64 rows``.
DATA = {}


def data(function):
    DATA[function.__name__] = function
    return function


@data
def ordinary(rng, n, d):
    return rng.standard_normal((n, d))


def _cone(noise):
    def cone(rng, n, d):
        return rng.standard_normal(d) + noise * rng.standard_normal((n, d))

    return cone


DATA |= {f"cone_{noise:g}": _cone(noise) for noise in (1e-3, 1e-5, 1e-7)}


@data
def far_from_the_origin(rng, n, d):
    return 1000 + rng.standard_normal((n, d))


@data
def very_far_from_the_origin(rng, n, d):
    return 1e6 * rng.standard_normal(d) + rng.standard_normal((n, d))


@data
def near_duplicates(rng, n, d):
    rows = np.resize(rng.standard_normal((n // 4 + 1, d)), (n, d))
    return rows * (1 + 1e-6 * rng.standard_normal((n, d)))


@data
def exact_duplicates(rng, n, d):
    return rng.standard_normal((n // 4 + 1, d))[rng.integers(0, n // 4 + 1, n)]


@data
def scales(rng, n, d):
    return rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-30, 30, (n, 1))


@data
def few_scales(rng, n, d):
    return rng.standard_normal((n, d)) * 10.0 ** rng.integers(-2, 3, (n, 1))


@data
def zero_rows(rng, n, d):
    return np.where(rng.random((n, 1)) < 0.2, 0, rng.standard_normal((n, d)))


@data
def tiny(rng, n, d):
    return 1e-10 * rng.standard_normal((n, d))


#: By how much of themselves two distances may differ to be in either order, where that is more than
#: the rounding of a sum: of float64 rows of a cone, whose chord is of numbers that nearly cancel.
CLOSE = {
    ("cosine", "float64", "cone_1e-05"): 1e-10,
    ("cosine", "float64", "cone_1e-07"): 1e-8,
    ("cosine", "float64", "cone_0.001"): 1e-12,
    ("cosine", "float64", "near_duplicates"): 1e-9,
}
#: By products, of each way to make rows ready.
PROPOSED = [
    *(("cosine", "float32"), ("cosine", "float64"), ("euclidean", "float32")),
    *(("euclidean", "float64"), ("sqeuclidean", "float32"), ("dot", "float32")),
    ("angular", "float32"),
]


def draw(rng, kind, queries, rows, features, dtype):
    """Queries and a gallery of one kind; some of the queries are rows of it."""
    both = DATA[kind](rng, queries + rows, features).astype(dtype)
    both[0] = both[queries]
    return both[:queries], both[queries:]


# As it is told of any number that leaves float32.
overflowing = pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")


@overflowing
@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize(("name", "dtype"), PROPOSED)
def test_order_and_membership(rng, name, dtype, kind):
    queries, gallery = draw(rng, kind, 20, 300, 33, dtype)
    d = neighbors_oracle.distances(name, queries, gallery)
    scale = neighbors_oracle.scale(name, d, queries, gallery)
    close = CLOSE.get((name, dtype, kind), neighbors_oracle.CLOSE)
    ulps = 4 if dtype == "float32" else math.inf
    for k in (1, 10):
        found = fastcos.nearest(queries, gallery, k, name)
        neighbors_oracle.assert_nearest(found, d, k, scale=scale, close=close, ulps=ulps)
        # Likewise if there is one query, or there are few; to the bit.
        for some in (slice(0, 1), slice(5, 7), slice(7, 10)):
            few = fastcos.nearest(queries[some], gallery, k, name)
            for one, other in zip(few, found, strict=True):
                np.testing.assert_array_equal(one, other[some])


@pytest.mark.parametrize("kind", ["ordinary", "cone_1e-05", "zero_rows", "scales"])
@pytest.mark.parametrize(("name", "dtype"), [("cosine", "float32"), ("euclidean", "float64")])
def test_the_other_rows(rng, name, dtype, kind):
    x = DATA[kind](rng, 130, 16).astype(dtype)
    x[70] = x[3]
    d = neighbors_oracle.distances(name, x, x)
    scale = neighbors_oracle.scale(name, d, x, x)
    close = CLOSE.get((name, dtype, kind), neighbors_oracle.CLOSE)
    ulps = 4 if dtype == "float32" else math.inf
    found = fastcos.nearest(x, None, 7, name)
    options = {"scale": scale, "close": close, "ulps": ulps}
    neighbors_oracle.assert_nearest(found, d, 7, excludes=True, **options)
    assert found.indices[70, 0] == 3 or kind == "zero_rows"
    for some in (2, 3):
        few = fastcos.nearest(x[:some], None, 1, name)
        neighbors_oracle.assert_nearest(
            few, d[:some, :some], 1, excludes=True, **(options | {"scale": scale[:some, :some]})
        )
    every = fastcos.nearest(x, None, len(x) - 1, name)
    assert (np.sort(every.indices) != np.arange(130)[:, None]).sum() >= 129
    neighbors_oracle.assert_nearest(every, d, len(x) - 1, excludes=True, **options)


def product():
    """d = Σ |x - y| |x + y|, and a parameter that is added."""
    return Distance(
        "product",
        init=lambda zero, more: (zero, zero + more),
        accumulate=lambda state, x, y: (state[0] + abs((x - y) * (x + y)), state[1]),
        finalize=lambda state: state[0] + state[1],
        gradient=lambda state, d, x, y: (x - y, y - x),
        parameters=(0.25,),
    )


NAMES = [name for name in oracle.DISTANCES if name not in ("cosine_similarity", "lp")]


@pytest.mark.parametrize("name", NAMES)
def test_every_distance(rng, name):
    x, y = (oracle.draw(rng, name, (n, 17), np.float32) for n in (9, 150))
    y[40] = y[7] = x[3]
    d = neighbors_oracle.distances(name, x, y)
    scale = neighbors_oracle.scale(name, d, x, y)
    found = fastcos.nearest(x, y, 6, name)
    neighbors_oracle.assert_nearest(found, d, 6, scale=scale, ulps=math.inf)
    if name != "dot":
        assert found.indices[3, :2].tolist() == [7, 40]
    named = fastcos.nearest(x, y, 6, getattr(fastcos.distances, name)())
    np.testing.assert_array_equal(named.indices, found.indices)
    for some in (slice(0, 1), slice(1, 3)):
        few = fastcos.nearest(x[some], y, 6, name, block=64)
        np.testing.assert_array_equal(few.indices, found.indices[some])


def test_distances_with_parameters(rng):
    x, y = rng.standard_normal((5, 17)), rng.standard_normal((150, 17))
    d = neighbors_oracle.distances("euclidean", x, y, eps=0.5)
    found = fastcos.nearest(x, y, 6, fastcos.distances.euclidean(eps=0.5))
    neighbors_oracle.assert_nearest(found, d, 6, ulps=math.inf)
    assert (found.indices != fastcos.nearest(x, y, 6, "euclidean").indices).any()


def test_a_distance_of_ones_own(rng):
    x, y = (rng.standard_normal((n, 5), dtype=np.float32) for n in (4, 90))
    wide = x[:, None].astype(np.longdouble)
    d = np.abs((wide - y) * (wide + y)).sum(-1) + 0.25
    for some in (1, 4):
        found = fastcos.nearest(x[:some], y, 5, product(), block=32)
        neighbors_oracle.assert_nearest(found, d[:some], 5)


# --------------------------------------------------------------------------------------------------
# Sizes, blocks, threads
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97])
def test_corner_sizes(rng, features):
    for rows in (1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97):
        queries = rng.standard_normal((4, features), dtype=np.float32)
        gallery = rng.standard_normal((rows, features), dtype=np.float32)
        d = neighbors_oracle.distances("euclidean", queries, gallery)
        for k in {1, min(2, rows), min(16, rows), rows}:
            for some in (1, 4):
                found = fastcos.nearest(queries[:some], gallery, k, "euclidean")
                neighbors_oracle.assert_nearest(found, d[:some], k)


@pytest.mark.parametrize("k", [1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97, 1000, 3000])
def test_any_k(rng, k):
    gallery = rng.standard_normal((3000, 4), dtype=np.float32)
    gallery[1500:] = gallery[:1500][::-1]  # every distance twice
    queries = rng.standard_normal((5, 4), dtype=np.float32)
    d = neighbors_oracle.distances("cosine", queries, gallery)
    scale = neighbors_oracle.scale("cosine", d, queries, gallery)
    for some in (1, 5):
        found = fastcos.nearest(queries[:some], gallery, k)
        options = {"scale": scale, "close": 1e-12, "ulps": 4}
        neighbors_oracle.assert_nearest(found, d[:some], k, **options)


@pytest.mark.parametrize("order", ["as drawn", "farthest first", "nearest first"])
def test_neither_blocks_nor_threads_nor_other_queries_matter(rng, order):
    gallery = rng.standard_normal((5000, 8), dtype=np.float32)
    queries = rng.standard_normal((300, 8), dtype=np.float32)
    if order != "as drawn":  # lists fill with every block, or with the first
        d = neighbors_oracle.distances("euclidean", queries[:1], gallery)[0]
        gallery = gallery[np.argsort(d)[:: -1 if order.startswith("far") else 1]]
        queries = queries[:1] + 1e-3 * queries
    expected = fastcos.nearest(queries, gallery, 12, "euclidean")
    d = neighbors_oracle.distances("euclidean", queries[:10], gallery)
    first = type(expected)(*(part[:10] for part in expected))
    neighbors_oracle.assert_nearest(first, d, 12)

    def same(found, some=slice(None)):
        np.testing.assert_array_equal(found.indices, expected.indices[some])
        oracle.assert_same_bits(found.distances, expected.distances[some])

    for block in (1, 7, 64, 1000, 4999, 5000, 10**9):
        same(fastcos.nearest(queries, gallery, 12, "euclidean", block=block))
        some = slice(0, 1)
        same(fastcos.nearest(queries[some], gallery, 12, "euclidean", block=block), some)
    for threads in (1, 2):
        with fastcos.threads(threads):
            same(fastcos.nearest(queries, gallery, 12, "euclidean"))
    for count in (1, 2, 3, 4, 17, 100, 299):
        same(fastcos.nearest(queries[:count], gallery, 12, "euclidean"), slice(0, count))
        last = slice(300 - count, None)
        same(fastcos.nearest(queries[last], gallery, 12, "euclidean"), last)


@pytest.mark.parametrize("k", [1, 4, 33])
@pytest.mark.parametrize("more", [0, 1, 2])
def test_lists_that_are_full_when_a_block_ends(rng, k, more):
    # Of rows so close products leave all in doubt: 64 candidates and two for each that is wanted.
    x = _cone(1e-7)(rng, 500, 300).astype(np.float32)
    width = 64 + 2 * k
    expected = fastcos.nearest(x[:1], x, k)
    for block in (width, width // (more + 1), width + more, width - more):
        found = fastcos.nearest(x[:5], x, k, block=block)
        np.testing.assert_array_equal(found.indices[:1], expected.indices)
    # Of those that are measured, ties; and whoever is nearer comes later.
    x = np.ones((600, 3), np.float32)
    x[width:] = np.linspace(1, 0, 600 - width)[:, None]
    for some in (1, 5):
        found = fastcos.nearest(np.zeros((some, 3), np.float32), x, k, "manhattan", block=width)
        assert found.indices.tolist() == [[*range(599, 599 - k, -1)]] * some


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_ties_go_by_number(drawn):
    features = drawn.draw(st.integers(1, 3))
    number = st.integers(-2, 2)

    def rows(most):
        count = drawn.draw(st.integers(1, most))
        row = st.lists(number, min_size=features, max_size=features)
        return np.array(drawn.draw(st.lists(row, min_size=count, max_size=count)))

    queries, gallery = rows(6), rows(40)
    excludes = len(queries) > 1 and drawn.draw(st.booleans())
    others = len(queries) - 1 if excludes else len(gallery)
    k = drawn.draw(st.integers(1, others))
    block = drawn.draw(st.sampled_from([None, 1, 3, 16]))
    name = drawn.draw(st.sampled_from(["euclidean", "sqeuclidean", "manhattan", "dot"]))
    found = fastcos.nearest(
        queries.astype(np.float32),
        None if excludes else gallery.astype(np.float32),
        *(k, name),
        block=block,
    )
    # Sums of small integers, of which every float64 is exact: so are ties.
    t = queries[:, None] - (queries if excludes else gallery)
    d = {
        "manhattan": np.abs(t).sum(-1),
        "dot": 1 - queries @ (queries if excludes else gallery).T,
    }.get(name, (t * t).sum(-1))
    right = neighbors_oracle.nearest(d.astype(float), k, excludes)
    np.testing.assert_array_equal(found.indices, right.indices)


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean", "sqeuclidean"])
@pytest.mark.parametrize("exponent", [-100, -40, 0, 40, 60])
def test_ties_of_all(rng, name, exponent):
    """All rows are one, or all distances come to the same number."""
    one = np.ldexp(rng.standard_normal((1, 6)), exponent).astype(np.float32)
    gallery = np.repeat(one, 300, axis=0)
    queries = np.ldexp(rng.standard_normal((4, 6)), exponent).astype(np.float32)
    for some in (1, 4):
        found = fastcos.nearest(queries[:some], gallery, 5, name)
        assert found.indices.tolist() == [[0, 1, 2, 3, 4]] * some


def test_products_that_are_lost_beside_1_are_ties(rng):
    # 1 - x·y is 1 in float64, if |x·y| is below 1e-16.
    x = 1e-10 * rng.standard_normal((5, 6), dtype=np.float32)
    y = 1e-10 * rng.standard_normal((300, 6), dtype=np.float32)
    for some in (1, 5):
        found = fastcos.nearest(x[:some], y, 3, "dot")
        assert found.indices.tolist() == [[0, 1, 2]] * some


@pytest.mark.parametrize("power", [-200, 200])
def test_squares_that_leave_the_range(rng, power):
    x = 10.0**power * rng.standard_normal((5, 6))
    y = 10.0**power * rng.standard_normal((300, 6))
    d = neighbors_oracle.distances("euclidean", x, y)
    for some in (1, 5):
        found = fastcos.nearest(x[:some], y, 3, "euclidean")
        neighbors_oracle.assert_nearest(found, d[:some], 3, ulps=64)
    assert_within(fastcos.neighbors_within(x, y, 10.0**power, "euclidean"), d, 10.0**power)


@overflowing
def test_distances_that_leave_float32_are_infinite_and_in_order(rng):
    x = 1e25 * rng.standard_normal((5, 6), dtype=np.float32)
    y = 1e25 * rng.standard_normal((300, 6), dtype=np.float32)
    d = neighbors_oracle.distances("sqeuclidean", x, y)
    for some in (1, 5):
        found = fastcos.nearest(x[:some], y, 3, "sqeuclidean")
        assert np.isinf(found.distances).all()
        neighbors_oracle.assert_nearest(found, d[:some], 3)


# --------------------------------------------------------------------------------------------------
# NaN, infinity, zero
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cosine", "euclidean", "manhattan"])
def test_nan_is_nobodys_neighbour(rng, name):
    queries = rng.standard_normal((6, 9), dtype=np.float32)
    gallery = rng.standard_normal((80, 9), dtype=np.float32)
    gallery[::3, 4] = np.nan
    gallery[0] = np.nan
    queries[2, 0] = np.nan
    d = neighbors_oracle.distances(name, queries, gallery)
    there = 80 - len(gallery[::3])
    for k in (5, there, there + 3, 80):
        for some in (slice(0, 6), slice(2, 3), slice(1, 3)):
            found = fastcos.nearest(queries[some], gallery, k, name)
            options = {"scale": np.ones_like(d[some]), "close": 1e-14}
            neighbors_oracle.assert_nearest(found, d[some], k, **options)
            missing = max(0, k - there)
            if some.start == 0:
                assert (found.indices[0] == -1).sum() == missing
                assert (found.indices[2] == -1).all()
    one = fastcos.nearest(gallery[1:7], None, 5, name)
    assert (one.indices[[2, 5]] == -1).all()
    assert np.isnan(one.distances[[2, 5]]).all()
    assert {*one.indices[[0, 1, 3, 4]].ravel().tolist()} == {-1, 0, 1, 3, 4}


def test_nothing_but_nan(rng):
    x = rng.standard_normal((5, 9), dtype=np.float32)
    for some in (1, 5):
        found = fastcos.nearest(x[:some], np.full((7, 9), np.nan, np.float32), 2)
        assert (found.indices == -1).all()
        assert np.isnan(found.distances).all()


def test_infinity(rng):
    queries = rng.standard_normal((6, 9), dtype=np.float32)
    gallery = rng.standard_normal((80, 9), dtype=np.float32)
    gallery[:50, 4] = np.inf
    for some in (1, 6):
        # At distance infinity, where that is what the definition says, and after all others.
        found = fastcos.nearest(queries[:some], gallery, 40, "euclidean")
        d = neighbors_oracle.distances("euclidean", queries[:some], gallery)
        assert np.isinf(d[:, :50]).all()
        neighbors_oracle.assert_nearest(found, d, 40)
        assert found.indices[:, 30:].tolist() == [[*range(10)]] * some
        # And there is no cosine.
        found = fastcos.nearest(queries[:some], gallery, 40)
        assert ((found.indices == -1).sum(1) == 10).all()


@pytest.mark.parametrize("where", ["query", "gallery"])
def test_infinite_products(rng, where):
    queries = rng.standard_normal((4, 2), dtype=np.float32)
    gallery = rng.standard_normal((80, 2), dtype=np.float32)
    rows = queries if where == "query" else gallery
    rows[1, 0] = np.inf
    rows[3, 0] = -np.inf
    expected = [fastcos.nearest(queries[i : i + 1], gallery, 5, "dot") for i in range(4)]
    found = fastcos.nearest(queries, gallery, 5, "dot")
    for one, right in zip(found, zip(*expected, strict=True), strict=True):
        np.testing.assert_array_equal(one, np.concatenate(right))
    paired = fastcos.paired_distance(queries[:, None], gallery[None], "dot")
    right = neighbors_oracle.nearest(paired, 5)
    np.testing.assert_array_equal(found.indices, right.indices)


def test_zero_rows_are_at_right_angles_to_all(rng):
    queries = rng.standard_normal((4, 9), dtype=np.float32)
    queries[1] = 0
    gallery = rng.standard_normal((90, 9), dtype=np.float32)
    gallery[[3, 8, 60]] = 0
    gallery[70] = -0.0
    for some in (slice(0, 4), slice(1, 2)):
        found = fastcos.nearest(queries[some], gallery, 90)
        where = 1 - some.start
        assert found.indices[where].tolist() == [*range(90)]
        assert (found.distances[where] == 1).all()
    first = fastcos.nearest(queries, gallery, 90)
    for row, d in zip(first.indices[[0, 2, 3]], first.distances[[0, 2, 3]], strict=True):
        at = [row.tolist().index(number) for number in (3, 8, 60, 70)]
        assert at == [*range(at[0], at[0] + 4)]
        assert (d[at] == 1).all()


# --------------------------------------------------------------------------------------------------
# Arrays
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int8", "int64"])
def test_dtypes(rng, dtype):
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    x, y = (np.round(20 * rng.standard_normal((n, 12))).astype(kind) for n in (7, 200))
    d = neighbors_oracle.distances("cosine", *(a.astype(np.float64) for a in (x, y)))
    scale = np.ones_like(d)
    found = fastcos.nearest(x, y, 9)
    wide = np.float64 if dtype in ("float64", "int64") else np.float32
    assert found.distances.dtype == wide
    # Rows of integers are as far as their multiples are, but for rounding.
    for some in (1, 7):
        found = fastcos.nearest(x[:some], y, 9)
        neighbors_oracle.assert_nearest(found, d[:some], 9, scale=scale[:some], ulps=math.inf)
        np.testing.assert_allclose(
            found.distances,
            np.take_along_axis(d[:some], found.indices, 1).astype(float),
            rtol=4e-7 if wide == np.float32 else 1e-13,
        )


def test_mixed_dtypes_and_lists(rng):
    x, y = (rng.standard_normal((n, 12)) for n in (5, 90))
    expected = fastcos.nearest(x, y.astype(np.float32).astype(float), 4)
    found = fastcos.nearest(x, y.astype(np.float32), 4)
    assert found.distances.dtype == np.float64
    np.testing.assert_array_equal(found.indices, expected.indices)
    found = fastcos.nearest(x.tolist(), y.astype(np.float32).astype(float).tolist(), 4)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.distances, expected.distances)


def _memory_map(array, folder):
    path = folder / f"rows{len(list(folder.iterdir()))}"
    array.tofile(path)
    return np.memmap(path, array.dtype, "r", shape=array.shape)


def _read_only(array, folder):
    array = array.copy()
    array.flags.writeable = False
    return array


LAYOUTS = {
    "F-ordered": lambda array, folder: np.asfortranarray(array),
    "every other row": lambda array, folder: np.repeat(array, 2, axis=0)[::2],
    "every other number": lambda array, folder: np.repeat(array, 2, axis=1)[:, ::2],
    "backwards": lambda array, folder: array[::-1].copy()[::-1],
    "numbers backwards": lambda array, folder: array[:, ::-1].copy()[:, ::-1],
    "not aligned": lambda array, folder: (
        np.frombuffer(b"1" + array.tobytes(), np.uint8, offset=1)
        .view(array.dtype)
        .reshape(array.shape)
    ),
    "other end first": lambda array, folder: array.astype(array.dtype.newbyteorder()),
    "read-only": _read_only,
    "memory map": _memory_map,
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["cosine", "euclidean", "manhattan"])
def test_layouts(rng, tmp_path, name, layout):
    x = rng.standard_normal((5, 12), dtype=np.float32)
    y = rng.standard_normal((150, 12), dtype=np.float32)
    expected = fastcos.nearest(x, y, 4, name)
    before = y.copy()
    other = LAYOUTS[layout](y, tmp_path)
    np.testing.assert_array_equal(other, y)
    for some in (1, 5):
        for queries in (x[:some], LAYOUTS[layout](x[:some], tmp_path)):
            found = fastcos.nearest(queries, LAYOUTS[layout](y, tmp_path), 4, name, block=64)
            for one, right in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, right[:some])
    np.testing.assert_array_equal(other, before)


def test_no_queries():
    found = fastcos.nearest(np.ones((0, 3)), np.ones((4, 3)), 2)
    assert found.indices.shape == found.distances.shape == (0, 2)
    assert found.indices.dtype == np.int64


def test_what_is_returned_has_names(rng):
    x = rng.standard_normal((4, 3))
    distances, indices = fastcos.nearest(x, x, 2)
    found = fastcos.nearest(queries=x, gallery=x, k=2, distance="cosine", progress=False)
    assert found._fields == ("distances", "indices")
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_array_equal(found.distances, distances)
    np.testing.assert_array_equal(indices[:, 0], range(4))
    assert (distances[:, 0] == 0).all()


def test_tensors(rng):
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((5, 12), dtype=np.float32)
    y = rng.standard_normal((150, 12), dtype=np.float32)
    for name in ("cosine", "euclidean", "manhattan"):
        for some in (1, 5):
            expected = fastcos.nearest(x[:some], y, 4, name)
            queries = torch.from_numpy(x[:some]).requires_grad_()
            found = fastcos.nearest(queries, torch.from_numpy(y), 4, name)
            assert found.indices.dtype == torch.int64
            assert found.distances.dtype == torch.float32
            for one, right in zip(found, expected, strict=True):
                assert not one.requires_grad
                np.testing.assert_array_equal(one.numpy(), right)
    expected = fastcos.nearest(y.astype(ml_dtypes.bfloat16), None, 4)
    found = fastcos.nearest(torch.from_numpy(y).bfloat16(), None, 4)
    np.testing.assert_array_equal(found.indices.numpy(), expected.indices)
    with pytest.raises(TypeError, match=r"queries.*gallery"):
        fastcos.nearest(x, torch.from_numpy(y), 4)


def test_progress(rng, capsys):
    pytest.importorskip("tqdm")
    x = rng.standard_normal((5, 3))
    expected = fastcos.nearest(x, None, 2)
    found = fastcos.nearest(x, None, 2, progress=True)
    np.testing.assert_array_equal(found.indices, expected.indices)
    assert "100%" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------
# Input that is none
# --------------------------------------------------------------------------------------------------

X, Y = np.ones((3, 4)), np.ones((5, 4))
BAD = [
    ((X, Y, 0), {}, ValueError, r"k must be .*got 0"),
    ((X, Y, -1), {}, ValueError, r"k must be .*got -1"),
    ((X, Y, 6), {}, ValueError, r"k must be .* 5.*got 6"),
    ((X, None, 3), {}, ValueError, r"k must be .* 2.*got 3"),
    ((X, Y, 1.0), {}, TypeError, r"k must be an integer, got 1\.0"),
    ((X, Y, True), {}, TypeError, r"k must be an integer, got True"),
    ((X, Y, None), {}, TypeError, r"k must be an integer, got None"),
    ((X, np.ones((5, 3)), 1), {}, ValueError, r"queries and gallery .*\(3, 4\).*\(5, 3\)"),
    ((X, np.ones((0, 4)), 1), {}, ValueError, r"gallery must have rows.*\(0, 4\)"),
    ((np.ones((0, 4)), None, 1), {}, ValueError, r"queries must have rows.*\(0, 4\)"),
    ((np.ones((3, 0)), np.ones((3, 0)), 1), {}, ValueError, r"queries must have features"),
    ((X[0], Y, 1), {}, ValueError, r"queries must have shape.*\(4,\)"),
    ((X, Y[0], 1), {}, ValueError, r"gallery must have shape.*\(4,\)"),
    ((X, Y[None], 1), {}, ValueError, r"gallery must have shape.*\(1, 5, 4\)"),
    ((X, Y + 1j, 1), {}, TypeError, "gallery.*complex"),
    ((X.astype(str), Y, 1), {}, TypeError, "queries"),
    ((X, np.ma.masked_array(Y), 1), {}, TypeError, "gallery.*masked"),
    ((X, Y, 1, "cosin"), {}, ValueError, "distance.*cosin"),
    ((X, Y, 1, lambda x, y: 0), {}, TypeError, "distance must be"),
    ((X, Y, 1, 3), {}, TypeError, "distance"),
    ((X, Y, 1), {"block": 0}, ValueError, "block must be at least 1, got 0"),
    ((X, Y, 1), {"block": 2.5}, TypeError, r"block must be an integer, got 2\.5"),
    ((X, Y, 1), {"progress": "yes"}, TypeError, "progress"),
    ((fastcos.rows(X, [0, 1]), Y, 1), {}, TypeError, "queries is rows of a table"),
    ((X, fastcos.rows(Y, [0, 1]), 1), {}, TypeError, "gallery is rows of a table"),
]


@pytest.mark.parametrize(("args", "options", "error", "told"), BAD)
def test_bad_input(args, options, error, told):
    with pytest.raises(error, match=told):
        fastcos.nearest(*args, **options)


# --------------------------------------------------------------------------------------------------
# Within a radius
# --------------------------------------------------------------------------------------------------


def assert_within(found, d, radius, later=False):
    """Fails unless these are the pairs, well formed, with their distances."""
    right = neighbors_oracle.within(d, radius, later)
    assert found.indptr.dtype == found.indices.dtype == np.int64
    np.testing.assert_array_equal(found.indptr, right.indptr)
    np.testing.assert_array_equal(found.indices, right.indices)
    assert found.distances.shape == found.indices.shape
    query = np.repeat(np.arange(len(d)), np.diff(found.indptr))
    with np.errstate(over="ignore"):
        at = d[query, found.indices].astype(found.distances.dtype)
    few = 4e-7 if found.distances.dtype == np.float32 else 1e-8
    np.testing.assert_allclose(found.distances, at, rtol=few, atol=1e-14)


@overflowing
@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize(("name", "dtype"), PROPOSED)
def test_all_within_a_radius(rng, name, dtype, kind):
    x, y = draw(rng, kind, 20, 90, 17, dtype)
    d = neighbors_oracle.distances(name, x, y)
    for radius in between(d.ravel()):
        assert_within(fastcos.neighbors_within(x, y, radius, name), d, radius)
        for some in (slice(0, 1), slice(3, 5)):
            few = fastcos.neighbors_within(x[some], y, radius, name)
            assert_within(few, d[some], radius)
    d = neighbors_oracle.distances(name, y, y)
    for radius in between(d[np.triu_indices(len(y), 1)]):
        found = fastcos.neighbors_within(y, None, radius, name)
        assert_within(found, d, radius, later=True)


def between(d, parts=(0.01, 0.5, 0.99)):
    """Radii between two distances that float64 tells apart: at these parts of all such gaps."""
    those = np.sort(d)
    gaps = np.flatnonzero(np.diff(those) > 1e-6 * np.abs(those[1:]) + 1e-14)
    at = gaps[[int(part * len(gaps)) for part in parts]] if len(gaps) else gaps
    return [float(radius) for radius in (those[at] + those[at + 1]) / 2]


#: Distances 0, 3, 4, 5 and more, of integers; those of the last are not.
GRID = np.stack(np.meshgrid([0, 3, 6], [0, 4, 8, 9]), axis=-1).reshape(-1, 2)


@pytest.mark.parametrize("name", ["euclidean", "sqeuclidean", "manhattan", "chebyshev", "dot"])
@pytest.mark.parametrize("block", [None, 1, 5])
def test_at_the_radius(name, block):
    x = np.concatenate([GRID, GRID]).astype(np.float32)
    # Roots of integers as float64 has them, which rounds them right.
    d = neighbors_oracle.distances(name, x, x).astype(float)
    for radius in np.unique(d).tolist():
        for at in (radius, math.nextafter(radius, math.inf), math.nextafter(radius, -math.inf)):
            if at < 0 and name != "dot":
                continue
            options = {"block": block}
            assert_within(fastcos.neighbors_within(x, x, at, name, **options), d, at)
            assert_within(fastcos.neighbors_within(x[:1], x, at, name, **options), d[:1], at)
            later = fastcos.neighbors_within(x, None, at, name, **options)
            assert_within(later, d, at, later=True)


def test_pairs_of_one_set_are_half_of_all(rng):
    x = rng.standard_normal((2500, 6), dtype=np.float32)
    x[2000] = x[10]
    radius = 0.02
    every = fastcos.neighbors_within(x, x, radius)
    later = fastcos.neighbors_within(x, None, radius)
    of = np.repeat(np.arange(2500), np.diff(every.indptr))
    kept = of < every.indices
    np.testing.assert_array_equal(later.indices, every.indices[kept])
    np.testing.assert_array_equal(later.distances, every.distances[kept])
    np.testing.assert_array_equal(np.diff(later.indptr), np.bincount(of[kept], minlength=2500))
    assert 2 * len(later.indices) + 2500 == len(every.indices)
    sparse = pytest.importorskip("scipy.sparse")
    matrix = sparse.csr_array((every.distances, every.indices, every.indptr), (2500, 2500))
    matrix.check_format()
    assert abs(matrix - matrix.T).max() == 0
    assert matrix.has_canonical_format
    for block in (64, 999):
        other = fastcos.neighbors_within(x, None, radius, block=block)
        for one, right in zip(other, later, strict=True):
            np.testing.assert_array_equal(one, right)
    with fastcos.threads(1):
        for one, right in zip(fastcos.neighbors_within(x, None, radius), later, strict=True):
            np.testing.assert_array_equal(one, right)


def test_nothing_and_all_within(rng):
    x = rng.standard_normal((70, 6), dtype=np.float32)
    x[[4, 9]] = np.nan
    for y in (x, None):
        # A row is at distance 0 from itself.
        found = fastcos.neighbors_within(x + 0, y, 0.0)
        assert len(found.indices) == (68 if y is x else 0)
        found = fastcos.neighbors_within(x, y, math.inf, "euclidean")
        assert len(found.indices) == (68 * 68 if y is x else 68 * 67 // 2)
        assert not np.isin([4, 9], found.indices).any()
    zero = np.zeros((5, 3))
    assert len(fastcos.neighbors_within(zero, None, 0.999).indices) == 0
    assert len(fastcos.neighbors_within(zero, None, 1.0).indices) == 10


@pytest.mark.parametrize(
    ("args", "options", "error", "told"),
    [
        ((X, Y, -0.1), {}, ValueError, r"radius must be .*got -0\.1"),
        ((X, Y, math.nan), {}, ValueError, "radius must be .*nan"),
        ((X, Y, "1"), {}, TypeError, "radius"),
        ((X, Y, 1j), {}, TypeError, "radius"),
        ((X, np.ones((5, 3)), 1), {}, ValueError, r"x and y .*\(3, 4\).*\(5, 3\)"),
        ((X, np.ones((0, 4)), 1), {}, ValueError, "y must have rows"),
        ((X[0], Y, 1), {}, ValueError, "x must have shape"),
        ((X, Y, 1, "cosin"), {}, ValueError, "distance.*cosin"),
        ((X, Y, 1), {"max_pairs": 14}, ValueError, "more than 14 pairs.*max_pairs"),
        ((X, Y, 1), {"max_pairs": -1}, ValueError, "max_pairs"),
        ((X, fastcos.rows(Y, [0]), 1), {}, TypeError, "y is rows of a table"),
    ],
)
def test_bad_radius(args, options, error, told):
    with pytest.raises(error, match=told):
        fastcos.neighbors_within(*args, **options)


def test_as_many_pairs_as_are_allowed():
    assert len(fastcos.neighbors_within(X, Y, 1, max_pairs=15).indices) == 15


# --------------------------------------------------------------------------------------------------
# Near duplicates
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cosine", "euclidean", "manhattan", "dot"])
@pytest.mark.parametrize("kind", ["ordinary", "near_duplicates", "exact_duplicates", "zero_rows"])
def test_groups_are_those_of_union_and_find(rng, name, kind):
    x = DATA[kind](rng, 400, 3)
    if name == "dot":
        x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-3)
    x = x.astype(np.float32)
    d = neighbors_oracle.distances(name, x, x)
    sizes = set()
    for radius in between(d[np.triu_indices(len(x), 1)], (0, 0.005, 0.02)):
        threshold = 1 - radius if name in ("cosine", "dot") else radius
        for block in (None, 37):
            found = fastcos.near_duplicates(x, threshold, name, block=block)
            assert found.dtype == np.int64
            np.testing.assert_array_equal(found, neighbors_oracle.groups(d, radius))
        sizes |= {*np.bincount(found).tolist()}
    assert len(sizes) > 2


def test_a_long_chain(rng):
    # Each is near the next alone, and they come in no order.
    order = rng.permutation(1000)
    x = order[:, None].astype(np.float32)
    for block in (None, 10):
        groups = fastcos.near_duplicates(x, 1.0, "manhattan", block=block)
        assert (groups == 0).all()
    np.testing.assert_array_equal(fastcos.near_duplicates(x, 0.99, "manhattan"), np.arange(1000))
    apart = np.concatenate([x, x + 2000])[rng.permutation(2000)]
    groups = fastcos.near_duplicates(apart, 1.0, "euclidean")
    assert {*groups.tolist()} == {int(np.argmax(apart < 1000)), int(np.argmax(apart >= 1000))}


def test_rows_without_a_direction_are_alone():
    x = np.zeros((5, 3))
    x[3] = np.nan
    x[[1, 4]] = 1, 2, 3
    assert fastcos.near_duplicates(x, 0.5).tolist() == [0, 1, 2, 3, 1]
    assert fastcos.near_duplicates(x[3:4], 0.5).tolist() == [0]


def test_too_many_near_duplicates():
    x = np.ones((60, 3))
    assert (fastcos.near_duplicates(x, 1.0, max_pairs=60 * 59 // 2) == 0).all()
    with pytest.raises(ValueError, match=r"more than 1,000 pairs.*threshold.*max_pairs"):
        fastcos.near_duplicates(x, 0.9, max_pairs=1000)


@pytest.mark.parametrize(
    ("args", "error", "told"),
    [
        ((X, 1.1), ValueError, r"threshold must be .*1\.1"),
        ((X, math.nan), ValueError, "threshold"),
        ((X, -1, "euclidean"), ValueError, "threshold"),
        ((X, "0.9"), TypeError, "threshold"),
        ((X[0], 0.9), ValueError, "x must have shape"),
        ((np.ones((0, 4)), 0.9), ValueError, "x must have rows"),
        ((X, 0.9, "cosin"), ValueError, "distance.*cosin"),
        ((fastcos.rows(X, [0]), 0.9), TypeError, "x is rows of a table"),
    ],
)
def test_bad_threshold(args, error, told):
    with pytest.raises(error, match=told):
        fastcos.near_duplicates(*args)


def test_the_threads_of_products_are_as_they_were():
    """Also after calls that overlap, and one that fails: they share a limit of the process."""
    threadpoolctl = pytest.importorskip("threadpoolctl")

    def threads():
        found = threadpoolctl.threadpool_info()
        return sorted(each["num_threads"] for each in found if each["user_api"] == "blas")

    rng = np.random.default_rng(0)
    gallery = rng.standard_normal((20_000, 64), dtype=np.float32)
    queries = gallery[:40]
    expected, before = fastcos.nearest(queries, gallery, 3), threads()
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: fastcos.nearest(queries, gallery, 3), range(16)):
            np.testing.assert_array_equal(found.indices, expected.indices)
    assert threads() == before

    def failing(rows):
        raise KeyboardInterrupt

    search = engine.stated(numpy_adapter, cosine(), queries, gallery, False, None, failing)
    with pytest.raises(KeyboardInterrupt):
        neighbors.nearest(search, 3)
    assert threads() == before


def test_more_threads_than_candidates(monkeypatch):
    rng = np.random.default_rng(0)
    queries, gallery = (rng.standard_normal((n, 36_000), dtype=np.float32) for n in (100, 5))
    monkeypatch.setattr(host, "thread_count", lambda: 8)
    found = fastcos.nearest(queries, gallery, 3)
    monkeypatch.setattr(host, "thread_count", lambda: 1)
    np.testing.assert_array_equal(found.indices, fastcos.nearest(queries, gallery, 3).indices)


@pytest.mark.parametrize("scale", [2e154, 6e153, 1e-160, 1e-161])
def test_ties_of_distances_beyond_the_range(scale):
    rows = scale * np.random.default_rng(0).standard_normal((300, 4))
    found = fastcos.nearest(rows[:5], rows, 250, "sqeuclidean").indices
    alone = [fastcos.nearest(rows[i : i + 1], rows, 250, "sqeuclidean").indices for i in range(5)]
    np.testing.assert_array_equal(found, np.concatenate(alone))


def test_products_beyond_the_range_are_ties():
    rng = np.random.default_rng(0)
    queries, gallery = rng.random((5, 4)) * 1e300, rng.random((300, 4)) * 1e100
    found = fastcos.nearest(queries, gallery, 10, "dot").indices
    np.testing.assert_array_equal(found, [range(10)] * 5)


def test_a_similarity_that_is_the_threshold_is_near():
    assert fastcos.near_duplicates([[1.0, 2.0, 3.0], [3.0, 6.0, 9.0]], 1.0).tolist() == [0, 0]
    rng = np.random.default_rng(0)
    for _ in range(100):
        rows = rng.standard_normal((2, 4))
        threshold = 1 - float(fastcos.paired_distance(*rows, "cosine"))
        assert fastcos.near_duplicates(rows, threshold).tolist() == [0, 0]
        assert fastcos.near_duplicates(rows, np.nextafter(threshold, 2)).tolist() == [0, 1]
