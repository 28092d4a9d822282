"""The matrix of all distances: right to its dtype, and that of paired distances."""

import math

import ml_dtypes
import neighbors_oracle
import numpy as np
import oracle
import pytest

import fastcos

NAMES = [name for name in oracle.DISTANCES if name not in ("cosine_similarity", "lp")]


def terms(name, d, x, y):
    """What a float64 distance is right to the digits of."""
    found = neighbors_oracle.scale(name, d, x, y)
    if name in ("euclidean", "sqeuclidean"):
        # A difference of squares of lengths where both are long, down to 2**-5 of these.
        return 64 * np.abs(found)
    return found


@pytest.mark.parametrize("shape", [(9, 70, 17), (1, 1, 2), (1, 300, 64), (70, 3, 33)])
@pytest.mark.parametrize("name", NAMES)
def test_every_distance(rng, name, shape):
    n, m, features = shape
    x, y = (oracle.draw(rng, name, (k, features), np.float32) for k in (n, m))
    d = neighbors_oracle.distances(name, x, y)
    found = fastcos.pairwise(x, y, name)
    assert (found.dtype, found.shape) == (np.float32, (n, m))
    size = np.abs(d) if name != "dot" else np.maximum(np.abs(d), np.finfo(np.float32).tiny)
    oracle.assert_within_ulps(found, d, 4, scale=size)
    paired = fastcos.paired_distance(x[:, None], y[None], name)
    oracle.assert_within_ulps(found, paired, 2)


@pytest.mark.parametrize("name", ["cosine", "euclidean", "sqeuclidean", "dot", "manhattan"])
@pytest.mark.parametrize("features", [2, 16, 97])
def test_float64(rng, name, features):
    x, y = rng.standard_normal((20, features)), rng.standard_normal((90, features))
    d = neighbors_oracle.distances(name, x, y)
    found = fastcos.pairwise(x, y, name)
    assert found.dtype == np.float64
    oracle.assert_within_ulps(found, d, 32, scale=terms(name, d, x, y))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["cosine", "euclidean"])
def test_half_types(rng, name, dtype):
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    x, y = (rng.standard_normal((n, 33)).astype(kind) for n in (9, 40))
    y[3] = x[1]
    d = neighbors_oracle.distances(name, x, y)
    found = fastcos.pairwise(x, y, name)
    assert found.dtype == kind
    assert found[1, 3] == 0
    oracle.assert_within_ulps(found, d, 4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("gap", [1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9])
@pytest.mark.parametrize("cone", [False, True])
def test_one_minus_c_of_nearly_parallel_rows(rng, gap, dtype, cone):
    x = rng.standard_normal((1 if cone else 30, 64)) + math.sqrt(gap) * np.zeros((30, 1))
    y = x + math.sqrt(2 * gap / 64) * np.linalg.norm(x, axis=1, keepdims=True) * (
        rng.standard_normal(x.shape)
    )
    x, y = x.astype(dtype), (3 * y).astype(dtype)
    d = neighbors_oracle.distances("cosine", x, y)
    found = fastcos.pairwise(x, y)
    pairs = np.arange(30)
    assert (np.abs(d[pairs, pairs] / gap - 1) < 0.9).all()
    np.testing.assert_allclose(found, d.astype(float), rtol=1e-6)


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean", "sqeuclidean", "angular"])
@pytest.mark.parametrize("kind", ["far", "scales", "zero", "duplicates"])
def test_rows_that_products_get_wrong(rng, name, kind):
    both = rng.standard_normal((40, 24))
    if kind == "far":
        both = 1000 + both
    elif kind == "scales":
        both *= 10.0 ** rng.uniform(-15, 15, (40, 1))
    elif kind == "zero":
        both[::5] = 0
    else:
        both[20:] = both[:20] * (1 + 1e-6 * rng.standard_normal((20, 24)))
        both[20:25] = both[:5]
    both = both.astype(np.float32)
    x, y = both[:20], both[20:]
    d = neighbors_oracle.distances(name, x, y)
    found = fastcos.pairwise(x, y, name)
    # The dot product, which is a sum of float64 products, may cancel.
    size = neighbors_oracle.scale(name, d, x, y) if name == "dot" else None
    oracle.assert_within_ulps(found, d, 4, scale=size)
    paired = fastcos.paired_distance(x[:, None], y[None], name)
    oracle.assert_within_ulps(found, paired, 2, scale=size)


def test_of_one_set(rng):
    for dtype in (np.float32, np.float64):
        x = rng.standard_normal((60, 12)).astype(dtype)
        for name in ("cosine", "euclidean", "sqeuclidean", "manhattan"):
            found = fastcos.pairwise(x, distance=name)
            assert (np.diag(found) == 0).all()
            assert (found >= 0).all()
            np.testing.assert_allclose(found, found.T, rtol=1e-6, atol=1e-14)
            np.testing.assert_array_equal(found, fastcos.pairwise(x, x, name))


def test_nan_and_infinity_stay_with_their_rows(rng):
    x, y = (rng.standard_normal((n, 12), dtype=np.float32) for n in (6, 9))
    clean = {name: fastcos.pairwise(x, y, name) for name in ("cosine", "euclidean", "manhattan")}
    x[2, 3] = np.nan
    y[4, 0] = np.inf
    for name, right in clean.items():
        with np.errstate(all="ignore"):
            found = fastcos.pairwise(x, y, name)
            paired = fastcos.paired_distance(x[:, None], y[None], name)
        assert np.isnan(found[2]).all()
        np.testing.assert_array_equal(np.isnan(found), np.isnan(paired))
        np.testing.assert_array_equal(np.isinf(found), np.isinf(paired))
        others = np.ix_(np.arange(6) != 2, np.arange(9) != 4)
        np.testing.assert_allclose(found[others], right[others], rtol=1e-6)


def test_out(rng):
    x, y = (rng.standard_normal((n, 12), dtype=np.float32) for n in (6, 9))
    for name in ("cosine", "manhattan"):
        expected = fastcos.pairwise(x, y, name)
        for out in (
            np.empty((6, 9), np.float32),
            np.empty((9, 6), np.float32).T,
            np.empty((12, 18), np.float32)[::2, ::2],
        ):
            assert fastcos.pairwise(x, y, name, out=out) is out
            np.testing.assert_array_equal(out, expected)


def test_layouts_and_threads(rng):
    x, y = (rng.standard_normal((n, 12), dtype=np.float32) for n in (300, 900))
    expected = fastcos.pairwise(x, y)
    others = [np.asfortranarray(y), np.repeat(y, 2, axis=1)[:, ::2], y[::-1].copy()[::-1]]
    for other in others:
        np.testing.assert_array_equal(fastcos.pairwise(x, other), expected)
    with fastcos.threads(1):
        np.testing.assert_allclose(fastcos.pairwise(x, y), expected, rtol=2e-7)
    np.testing.assert_allclose(fastcos.pairwise(x.tolist(), y.tolist()), expected, rtol=2e-7)
    integers = np.arange(12).reshape(4, 3)
    found = fastcos.pairwise(integers, distance="manhattan")
    np.testing.assert_array_equal(found, 9 * np.abs(np.arange(4)[:, None] - np.arange(4)))


def test_tensors(rng):
    torch = pytest.importorskip("torch")
    x, y = (rng.standard_normal((n, 12), dtype=np.float32) for n in (6, 9))
    found = fastcos.pairwise(torch.from_numpy(x), torch.from_numpy(y))
    assert isinstance(found, torch.Tensor)
    np.testing.assert_allclose(found.numpy(), fastcos.pairwise(x, y), rtol=2e-7)
    with pytest.raises(RuntimeError, match=r"x\.detach"):
        fastcos.pairwise(torch.from_numpy(x).requires_grad_(), torch.from_numpy(y))


X, Y = np.ones((3, 4)), np.ones((5, 4))


@pytest.mark.parametrize(
    ("args", "options", "error", "told"),
    [
        ((X, np.ones((5, 3))), {}, ValueError, r"x and y .*\(3, 4\).*\(5, 3\)"),
        ((X[0], Y), {}, ValueError, "x must have shape"),
        ((X, Y[None]), {}, ValueError, "y must have shape"),
        ((X, Y, "cosin"), {}, ValueError, "distance.*cosin"),
        ((X, Y + 1j), {}, TypeError, "y.*complex"),
        ((X, Y), {"out": np.empty((5, 3))}, ValueError, r"out.*\(5, 3\)"),
        ((X, Y), {"out": np.empty((3, 5), np.float32)}, TypeError, "out.*float32"),
        ((X, Y), {"out": np.ones((3, 5)).tolist()}, TypeError, "out"),
        ((fastcos.rows(X, [0]), Y), {}, TypeError, "x is rows of a table"),
    ],
)
def test_bad_input(args, options, error, told):
    with pytest.raises(error, match=told):
        fastcos.pairwise(*args, **options)


def test_an_out_that_is_the_rows():
    x = np.ones((4, 4))
    with pytest.raises(ValueError, match=r"out.*x"):
        fastcos.pairwise(x, out=x)
    np.testing.assert_array_equal(x, np.ones((4, 4)))


def test_small_distances_beside_large_ones():
    found = fastcos.pairwise(np.array([[2e-170]]), np.array([[1e-170], [1.0], [-1.0]]), "euclidean")
    np.testing.assert_allclose(found, [[1e-170, 1, 1]], rtol=1e-12)
