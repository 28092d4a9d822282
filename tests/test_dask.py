"""Arrays of Dask: lazy, one task a block, the results of arrays in memory."""

import threading
import warnings

import dask
import dask.array as da
import devices
import numpy as np
import oracle
import pytest

import fastcos
from fastcos import measures

LOSSES = {
    "cosine_embedding_loss": ("input1", "input2"),
    "cosine_distance_loss": ("labels", "predictions"),
    "triplet_margin_loss": ("anchor", "positive", "negative"),
    "triplet_margin_with_distance_loss": ("anchor", "positive", "negative"),
}
N, D = 97, 17


@pytest.fixture(autouse=True)
def _one_after_another():
    with dask.config.set(scheduler="synchronous"):
        yield


def chunked(*arrays, rows=(20, 33, 50)):
    """Arrays in chunks of rows that do not fit each other."""
    return [
        da.from_array(x, chunks=(rows[i % len(rows)], *x.shape[1:])) for i, x in enumerate(arrays)
    ]


def labels(rng, *shape):
    return np.where(rng.random(shape) < 0.5, 1, -1)


def arguments(rng, name, dtype=np.float32):
    operands = [rng.standard_normal((N, D)).astype(dtype) for _ in LOSSES[name]]
    return [*operands, labels(rng, N)] if name == "cosine_embedding_loss" else operands


class Counted:
    """A table that says how often its chunks were read."""

    def __init__(self, array):
        self.array, self.reads, self.lock = array, 0, threading.Lock()
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __getitem__(self, index):
        found = self.array[index]
        with self.lock:
            self.reads += found.size > 0  # Dask asks for none, to see what they are like
        return found


# --------------------------------------------------------------------------------------------------
# Losses
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("reduction", oracle.REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_values_and_gradients_are_those_of_arrays_in_memory(name, reduction, weighted, rng):
    given = arguments(rng, name)
    options = {"reduction": reduction}
    upstream = rng.random(N) if reduction == "none" else 2.5
    lazy = chunked(*given)
    if weighted:
        weight_name = "weights" if name == "cosine_distance_loss" else "weight"
        weight = rng.random(N) * (rng.random(N) < 0.7)
        options[weight_name] = weight
    f = fastcos.value_and_grad(getattr(fastcos, name))
    value, grads = f(*given, grad_output=upstream, **options)
    if weighted:
        options[weight_name] = da.from_array(weight, chunks=41)
    found = f(*lazy, grad_output=upstream, **options)
    assert all(isinstance(each, da.Array) for each in (found[0], *found[1]))
    got, got_grads = dask.compute(*found)
    # A sum of the same float64 numbers in another order, rounded to float32.
    oracle.assert_within_ulps(got, value, 1)
    for one, lazily, other in zip(got_grads, found[1], grads, strict=True):
        assert (lazily.shape, lazily.dtype) == (other.shape, other.dtype)
        assert one.dtype == other.dtype
        if weighted and reduction == "mean":
            # The sum of the weights, in another order.
            oracle.assert_within_ulps(one, other, 1)
        else:
            oracle.assert_same_bits(one, other)


@pytest.mark.parametrize("reduction", oracle.REDUCTIONS)
@pytest.mark.parametrize("shape", [(N,), (1,), ()])
def test_the_gradient_of_a_weight(reduction, shape, rng):
    x, y, target = arguments(rng, "cosine_embedding_loss", np.float64)
    weight = rng.random(shape) + 0.5
    upstream = rng.random(N) if reduction == "none" else 2.5
    f = fastcos.value_and_grad(fastcos.cosine_embedding_loss, ("weight", "input2"))
    options = {"reduction": reduction, "grad_output": upstream}
    lazy_weight = da.from_array(weight, chunks=30) if shape else da.asarray(weight)
    value, grads = dask.compute(*f(*chunked(x, y, target), weight=lazy_weight, **options))
    expected = oracle.loss(
        *("cosine_embedding_loss", (x, y), target),
        weight=weight,
        reduction=reduction,
        grad_output=upstream,
    )
    oracle.assert_within_ulps(value, expected.value, 32, scale=expected.magnitude)
    oracle.assert_within_ulps(grads[0], expected.weight_grad, 64, scale=expected.weight_magnitude)
    oracle.assert_rows_within_ulps(grads[1], expected.grads[1], 32)


@pytest.mark.parametrize("reduction", oracle.REDUCTIONS)
@pytest.mark.parametrize("upstream", [None, 0.3])
def test_a_narrow_weight_whose_gradient_is_asked_for_scales_as_a_wide_one(reduction, upstream, rng):
    x, y = rng.standard_normal((2, 20_000, 2)).astype(np.float32)
    weight = rng.random(len(x)).astype(np.float16)
    f = fastcos.value_and_grad(fastcos.cosine_distance_loss, ("labels", "weights"))
    options = {"reduction": reduction, "grad_output": upstream}
    there = f(x, y, weights=weight, **options)
    lazy = da.from_array(x, chunks=(7000, 2)), y
    found = dask.compute(*f(*lazy, weights=da.from_array(weight, chunks=9000), **options))
    oracle.assert_within_ulps(found[0], there[0], 1)
    oracle.assert_rows_within_ulps(found[1][0], there[1][0], 1)
    np.testing.assert_allclose(
        found[1][1].astype(float), there[1][1].astype(float), rtol=2e-3, atol=1e-7
    )


NOTHING = {"weights of sum 0": np.array([1.0, -1.0, 1.0, -1.0]), "no weight": 0.0}


@pytest.mark.parametrize("weight", NOTHING.values(), ids=NOTHING)
@pytest.mark.parametrize("wanted", ["input1", "weight"])
def test_what_nothing_is_divided_by(weight, wanted, rng):
    x, y = rng.standard_normal((2, 4, 3))
    x[1] = np.nan
    weight = np.asarray(weight) if wanted == "weight" else weight
    target = [1, -1, 1, 1]
    f = fastcos.value_and_grad(fastcos.cosine_embedding_loss, wanted)
    value, grad = f(x, y, target, weight=weight)
    lazy = da.from_array(x, chunks=(3, 3))
    found = dask.compute(*f(lazy, y, target, weight=weight))
    np.testing.assert_array_equal(found[0], value)
    np.testing.assert_array_equal(found[1], grad)


def test_hinge_of_distances_and_the_chain_through_them(rng):
    x, y = rng.standard_normal((2, N, D)).astype(np.float32)
    target = labels(rng, N)
    f = fastcos.value_and_grad(fastcos.hinge_embedding_loss, "input")
    back = fastcos.grad(fastcos.paired_distance)

    def both(x, y, target):
        distance = fastcos.paired_distance(x, y, "sqeuclidean")
        loss, slope = f(distance, target, margin=4.0)
        return loss, *back(x, y, "sqeuclidean", grad_output=slope)

    expected = both(x, y, target)
    for one, other in zip(dask.compute(*both(*chunked(x, y, target))), expected, strict=True):
        oracle.assert_within_ulps(one, other, 1)


@pytest.mark.parametrize("distance", fastcos.distances.DISTANCES)
def test_every_distance(distance, rng):
    x, y = (oracle.draw(rng, distance, (N, D)).astype(np.float32) for _ in range(2))
    f = fastcos.value_and_grad(fastcos.paired_distance)
    value, grads = f(x, y, distance)
    lazy = dask.compute(*f(*chunked(x, y), distance))
    oracle.assert_same_bits(lazy[0], value)
    for one, other in zip(lazy[1], grads, strict=True):
        oracle.assert_same_bits(one, other)


def test_a_distance_of_ones_own(rng):
    x, y = rng.standard_normal((2, N, D))
    quartic = fastcos.Distance(
        "quartic",
        init=lambda zero: (zero,),
        accumulate=lambda state, x, y: (state[0] + (x - y) ** 4,),
        finalize=lambda state: state[0],
        gradient=lambda state, d, x, y: (4 * (x - y) ** 3, -4 * (x - y) ** 3),
    )
    f = fastcos.value_and_grad(fastcos.triplet_margin_with_distance_loss)
    options = {"distance_function": quartic, "swap": True}
    expected = f(x, y, y[::-1].copy(), **options)
    found = dask.compute(*f(*chunked(x, y), da.from_array(y[::-1].copy()), **options))
    oracle.assert_within_ulps(found[0], expected[0], 1)
    for one, other in zip(found[1], expected[1], strict=True):
        oracle.assert_same_bits(one, other)


def test_a_callable_is_given_lazy_arrays(rng):
    x, y, z = rng.standard_normal((3, N, D))

    def manhattan(a, b):
        assert isinstance(a, da.Array)
        return abs(a - b).sum(axis=-1)

    lazy = fastcos.triplet_margin_with_distance_loss(*chunked(x, y, z), distance_function=manhattan)
    there = fastcos.triplet_margin_with_distance_loss(x, y, z, distance_function="manhattan")
    np.testing.assert_allclose(lazy.compute(), there, rtol=1e-14)


# --------------------------------------------------------------------------------------------------
# Shapes
# --------------------------------------------------------------------------------------------------

SHAPES = {
    "one query": ((D,), (N, D)),
    "a grid": ((20, 1, D), (1, 30, D)),
    "a grid of fewer axes": ((20, 1, D), (30, D)),
    "batches": ((5, 1, 7, D), (9, 1, D)),
    "one number": ((D,), (D,)),
    "one row": ((1, D), (1, D)),
    "no rows": ((0, D), (0, D)),
}


@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_of_rows_that_blocks_share_are_added_up_in_float64(shapes, dtype, rng):
    x, y = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    samples = np.broadcast_shapes(*(each.shape[:-1] for each in (x, y)))
    target = labels(rng, *samples)
    lazy = [da.from_array(each, chunks=(*[7] * (each.ndim - 1), -1)) for each in (x, y)]
    f = fastcos.value_and_grad(fastcos.cosine_embedding_loss)
    value, grads = dask.compute(*f(*lazy, target, reduction="sum"))
    expected = oracle.loss("cosine_embedding_loss", (x, y), target, reduction="sum")
    oracle.assert_within_ulps(value, expected.value, 32, scale=expected.magnitude)
    there = f(x, y, target, reduction="sum")[1]
    for one, other, exact in zip(grads, there, expected.grads, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        # What float64 has left of sums of float32 numbers is more than float32 keeps.
        oracle.assert_rows_within_ulps(one, exact, 1 if dtype == np.float32 else 32)
    each = fastcos.cosine_similarity(*lazy)
    assert each.dtype == dtype
    oracle.assert_same_bits(each.compute(), fastcos.cosine_similarity(x, y))


def test_gradients_have_the_chunks_of_their_argument(rng):
    x, y = rng.standard_normal((2, N, D))
    lazy = [da.from_array(each, chunks=(20, D)) for each in (x, y)]
    for grad in fastcos.grad(fastcos.cosine_distance_loss)(*lazy):
        assert grad.chunks == lazy[0].chunks
    # Of arguments that were cut to fit each other, and of rows that were put together.
    x, y = lazy[0].rechunk((20, 5)), lazy[1].rechunk((30, D))
    with pytest.warns(da.PerformanceWarning):
        grads = fastcos.grad(fastcos.cosine_distance_loss)(x, y)
    assert [grad.chunks for grad in grads] == [x.chunks, y.chunks]
    query = da.from_array(lazy[0][0].compute())
    (of_query, _) = fastcos.grad(fastcos.cosine_distance_loss)(query, lazy[1])
    assert of_query.chunks == query.chunks


@pytest.mark.parametrize("axis", [0, 1, -1, -2])
def test_any_feature_axis(axis, rng):
    x, y = rng.standard_normal((2, 11, 12, 13))
    chunks = [4, 5, 6]
    chunks[axis] = -1
    lazy = [da.from_array(each, chunks=tuple(chunks)) for each in (x, y)]
    f = fastcos.value_and_grad(fastcos.cosine_distance_loss)
    value, grads = f(x, y, axis=axis)
    found = dask.compute(*f(*lazy, axis=axis))
    oracle.assert_within_ulps(found[0], value, 4)
    for one, other in zip(found[1], grads, strict=True):
        oracle.assert_same_bits(one, other)


def test_rows_in_several_chunks_are_put_together_with_a_warning(rng):
    x, y = rng.standard_normal((2, N, D))
    lazy = da.from_array(x, chunks=(20, 5))
    with pytest.warns(
        da.PerformanceWarning, match=r"x1 is split .* into 4 .*x1\.rechunk\(\{-1: -1"
    ):
        found = fastcos.cosine_similarity(lazy, da.from_array(y, chunks=(20, -1)))
    oracle.assert_same_bits(found.compute(), fastcos.cosine_similarity(x, y))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fastcos.cosine_similarity(lazy.rechunk({-1: -1}), y)


def test_what_is_in_memory_goes_with_what_is_not(rng):
    x, y, target = arguments(rng, "cosine_embedding_loss")
    expected = fastcos.cosine_embedding_loss(x, y, target)
    lazy = da.from_array(x, chunks=(20, D))
    for other, its_target in (
        (y, target),
        (y.tolist(), target.tolist()),
        (da.from_array(y), target),
        (y, da.from_array(target, chunks=13)),
    ):
        found = fastcos.cosine_embedding_loss(lazy, other, its_target)
        np.testing.assert_allclose(found.compute(), expected, rtol=1e-6)
    found = fastcos.cosine_embedding_loss(x, y, da.from_array(target, chunks=13))
    assert isinstance(found, da.Array)
    oracle.assert_within_ulps(found.compute(), expected, 1)


# --------------------------------------------------------------------------------------------------
# Laziness
# --------------------------------------------------------------------------------------------------


def test_nothing_is_read_before_it_is_computed_and_then_once(rng):
    x, y, target = arguments(rng, "cosine_embedding_loss")
    read = [Counted(x), Counted(y)]
    lazy = [da.from_array(each, chunks=(20, D)) for each in read]
    weight = da.from_array(rng.random(N), chunks=20)
    f = fastcos.value_and_grad(fastcos.cosine_embedding_loss)
    value, (first, second) = f(*lazy, target, weight=weight)
    assert [each.reads for each in read] == [0, 0]
    # As they are used: the value, a gradient, and what becomes of another.
    dask.compute(value, first, abs(second).sum())
    assert [each.reads for each in read] == [5, 5]


def test_the_warning_is_for_the_line_that_calls(rng):
    lazy = da.from_array(rng.standard_normal((6, 4)), chunks=(3, 2))
    for call in (
        lambda: fastcos.cosine_similarity(lazy, lazy),
        lambda: fastcos.value_and_grad(fastcos.cosine_distance_loss)(lazy, lazy),
        lambda: fastcos.nearest(lazy, None, 1),
    ):
        with pytest.warns(da.PerformanceWarning) as caught:
            call()
        assert {warning.filename for warning in caught} == {__file__}


class Labelled:
    """What xarray has: an array of Dask, or of memory, with names."""

    def __init__(self, data):
        self.data = data

    def __dask_graph__(self):
        return getattr(self.data, "dask", None)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.data)


def test_arrays_with_names_beside_those_of_dask(rng):
    x, y = rng.standard_normal((2, 6, 3))
    lazy = da.from_array(x, chunks=(3, 3))
    found = fastcos.cosine_similarity(lazy, Labelled(y))
    oracle.assert_same_bits(found.compute(), fastcos.cosine_similarity(x, y))
    with pytest.raises(
        TypeError, match=r"x2 is a test_dask Labelled, and no array: pass x2\.data$"
    ):
        fastcos.cosine_similarity(lazy, Labelled(lazy))


def test_labels_are_looked_at_when_they_are_read(rng):
    x, y, target = arguments(rng, "cosine_embedding_loss")
    target[50] = 3
    found = fastcos.cosine_embedding_loss(*chunked(x, y, target))
    with pytest.raises(ValueError, match=r"target must be .* of its block"):
        found.compute()
    assert np.isnan(fastcos.cosine_embedding_loss(*chunked(x, y, target), validate=False).compute())


ONE = da.from_array(np.ones((6, 3)), chunks=(2, 3))
WRONG = {
    "reduction": (lambda: fastcos.cosine_distance_loss(ONE, ONE, reduction="avg"), "reduction"),
    "shapes": (lambda: fastcos.cosine_similarity(ONE, ONE[:4]), "leading axes"),
    "features": (lambda: fastcos.cosine_similarity(ONE, np.ones((6, 4))), "feature axis"),
    "name": (lambda: fastcos.paired_distance(ONE, ONE, "cosin"), "did you mean 'cosine'"),
    "dtype": (lambda: fastcos.cosine_similarity(ONE, ONE.astype(complex)), "x2 has dtype complex"),
    "weight": (
        lambda: fastcos.cosine_distance_loss(ONE, ONE, weights=da.ones(5)),
        "weights must be a scalar or have the shape",
    ),
    "unknown chunks": (
        lambda: fastcos.cosine_similarity(ONE[ONE[:, 0] > 0], ONE),
        r"x1\.compute_chunk_sizes\(\)",
    ),
    "rows": (lambda: fastcos.cosine_similarity(ONE, fastcos.rows(np.ones((6, 3)), [0])), "table"),
    "table": (lambda: fastcos.rows(ONE, [0]), r"of Dask arrays pass table\[index\]"),
    "delayed": (
        lambda: fastcos.cosine_similarity(ONE, dask.delayed(np.ones)((6, 3))),
        r"x2 is a dask Delayed.*x2\.compute\(\)",
    ),
    "out": (
        lambda: fastcos.grad(fastcos.cosine_distance_loss, 1)(ONE, ONE, out=np.ones((6, 3))),
        "out is for arrays in memory",
    ),
    "listwise": (lambda: fastcos.info_nce_loss(ONE, ONE), r"x1 is a dask.*pass x1\.compute\(\)"),
    "listwise gradient": (
        lambda: fastcos.grad(fastcos.info_nce_loss)(ONE, ONE),
        r"x1 is a dask.*pass x1\.compute\(\)",
    ),
    "pairwise": (lambda: fastcos.pairwise(ONE), r"x is a dask.*pass x\.compute\(\)"),
    "duplicates": (lambda: fastcos.near_duplicates(ONE, 0.9), r"x is a dask"),
    "mining": (lambda: fastcos.mine_triplets(ONE, np.arange(6)), r"x is a dask"),
    "lazy option": (
        lambda: fastcos.cosine_embedding_loss(ONE, ONE, 1, margin=da.ones(3).max()),
        r"margin is not computed yet: pass margin\.compute\(\)",
    ),
    "lazy k": (lambda: fastcos.nearest(ONE, None, da.arange(3).max()), "k is not computed yet"),
    "k": (lambda: fastcos.nearest(ONE, None, 6), "k must be from 1 to 5"),
    "k of a gallery": (lambda: fastcos.nearest(ONE, ONE[:2], 3), "k must be from 1 to 2"),
    "neighbours by name": (lambda: fastcos.nearest(ONE, None, 1, "cosin"), "did you mean"),
    "neighbours out": (lambda: fastcos.nearest(ONE, None, 1, out=(1, 2)), "in memory"),
    "progress": (lambda: fastcos.nearest(ONE, None, 1, progress=True), "ProgressBar"),
    "no rows": (lambda: fastcos.nearest(ONE, ONE[:0], 1), "gallery must have rows"),
    "measure": (lambda: measures.r_precision(ONE, [1, 2]), r"labels must have shape \(6,\)"),
    "lazy labels": (
        lambda: measures.r_precision(ONE, da.ones(5)),
        r"labels must have shape \(6,\)",
    ),
    "labels of unknown length": (
        lambda: measures.r_precision(ONE, da.arange(6)[da.arange(6) > 2]),
        r"labels\.compute_chunk_sizes",
    ),
    "scores": (lambda: measures.verification(da.ones(5), [1, 0]), "labels must have the shape"),
    "torch": (
        lambda: fastcos.cosine_similarity(ONE, pytest.importorskip("torch").ones(6, 3)),
        "one library only: x1 is a dask array and x2 is a torch array",
    ),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named_before_anything_is_computed(call):
    function, message = call
    with pytest.raises((TypeError, ValueError), match=message):
        function()


# --------------------------------------------------------------------------------------------------
# Neighbours and measures
# --------------------------------------------------------------------------------------------------


def a_set(rng, rows=120):
    """Rows with equal ones among them, and one with NaN."""
    x = rng.standard_normal((rows, 7)).astype(np.float32)
    x[40:60] = x[60:80]
    x[3] = np.nan
    return x


@pytest.mark.parametrize("distance", ["cosine", "euclidean", "manhattan"])
@pytest.mark.parametrize("k", [1, 10, 119])
def test_nearest_among_themselves(distance, k, rng):
    x = a_set(rng)
    found = fastcos.nearest(da.from_array(x, chunks=((1, 50, 0, 33, 36), 7)), None, k, distance)
    assert isinstance(found, fastcos.Neighbors)
    assert found.distances.chunks == ((1, 50, 0, 33, 36), (k,))
    expected = fastcos.nearest(x, None, k, distance)
    for lazy, one, other in zip(found, dask.compute(*found), expected, strict=True):
        assert lazy.dtype == other.dtype
        oracle.assert_same_bits(one, other)


def test_nearest_of_a_gallery(rng):
    x, y = a_set(rng), a_set(rng, 131)
    lazy = da.from_array(x, chunks=(50, 7))
    expected = fastcos.nearest(x, y, 5)
    for queries, gallery in (
        (lazy, y),
        (x, da.from_array(y, chunks=(37, 7))),
        (lazy, da.from_array(y, chunks=(37, 7))),
        (x.astype(np.float32), da.from_array(y, chunks=(2, 7))),
    ):
        found = dask.compute(*fastcos.nearest(queries, gallery, 5))
        for one, other in zip(found, expected, strict=True):
            oracle.assert_same_bits(one, other)


def test_ties_go_by_number_whatever_the_chunks(rng):
    x = np.repeat(rng.standard_normal((3, 5)), 20, axis=0)
    expected = fastcos.nearest(x, None, 30).indices
    for rows in (1, 7, 20, 59, 60):
        found = fastcos.nearest(da.from_array(x, chunks=(rows, 5)), None, 30)
        np.testing.assert_array_equal(found.indices.compute(), expected)


MEASURES = {
    "recall_at_k": {"k": (1, 5, 300)},
    "precision_at_r": {"r": (1, 4)},
    "r_precision": {},
    "mean_average_precision_at_r": {},
    "mean_reciprocal_rank": {},
}


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("of", ["themselves", "a gallery"])
def test_measures_of_retrieval(name, of, rng):
    measure = getattr(measures, name)
    x, own = a_set(rng), rng.integers(0, 9, 120)
    own[17] = 77  # which occurs once
    own[40:60] = own[60:80]  # of equal rows, equally near to any other of their label
    gallery = {}
    lazy = {}
    if of == "a gallery":
        y, its = a_set(rng, 131), rng.integers(0, 11, 131)
        gallery = {"gallery": y, "gallery_labels": its}
        lazy = {
            "gallery": da.from_array(y, chunks=(40, 7)),
            "gallery_labels": da.from_array(its, 33),
        }
    for text in (False, True):
        names = own.astype(str) if text else own
        if not text:
            # Rows in memory, and labels that are not.
            mixed = measure(x, da.from_array(own, chunks=50), **gallery, **MEASURES[name])
            (mixed,) = dask.compute(mixed)
            np.testing.assert_allclose(mixed, measure(x, own, **gallery, **MEASURES[name]), 1e-14)
        if text and gallery:
            gallery["gallery_labels"] = lazy["gallery_labels"] = its.astype(str)
        expected = measure(x, names, **gallery, **MEASURES[name])
        lazily = names if text else da.from_array(own, chunks=50)
        found = measure(da.from_array(x, chunks=(50, 7)), lazily, **lazy, **MEASURES[name])
        (found,) = dask.compute(found)
        assert type(found) is type(expected)
        np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_measures_where_there_is_nothing_to_find(rng):
    x = da.from_array(rng.standard_normal((6, 3)), chunks=(2, 3))
    for name, options in MEASURES.items():
        (found,) = dask.compute(getattr(measures, name)(x, np.arange(6), **options))
        assert np.isnan(found).all()


def test_verification(rng):
    scores, same = rng.random(1000).round(2), labels(rng, 1000)
    expected = measures.verification(scores, same, far=(0.1, 0.01))
    for lazy in (
        (da.from_array(scores, chunks=70), same),
        (scores, da.from_array(same, chunks=90)),
        (da.from_array(scores, chunks=70), da.from_array(same, chunks=90)),
    ):
        assert measures.verification(*lazy, far=(0.1, 0.01)).compute() == expected
    curve = measures.roc_curve(da.from_array(scores, chunks=70), same, similarity=False).compute()
    for one, other in zip(curve, measures.roc_curve(scores, same, similarity=False), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="both kinds of pairs; all 10 are the same"):
        measures.verification(da.ones(10, chunks=3), np.ones(10)).compute()
    with pytest.raises(ValueError, match="got both 0 and -1"):
        measures.verification(da.ones(4, chunks=2), [1, 0, 1, -1]).compute()


# --------------------------------------------------------------------------------------------------
# Chunks of a GPU
# --------------------------------------------------------------------------------------------------


@pytest.mark.simulated
def test_tasks_on_chunks_of_a_gpu(monkeypatch, rng):
    """The tasks themselves, for Dask does not know the simulated CuPy."""
    from fastcos.adapters.dask import blocks, neighbors

    devices.forget()
    _, library = devices.simulated(monkeypatch)
    x, y = rng.standard_normal((2, 20, 6)).astype(np.float32)
    target = labels(rng, 20)
    taken = {}
    blockwise = blocks.da.blockwise
    monkeypatch.setattr(
        blocks.da,
        "blockwise",
        lambda task, *args, **options: (
            taken.setdefault(task, options) and blockwise(task, *args, **options)
        ),
    )
    f = fastcos.value_and_grad(fastcos.cosine_embedding_loss)
    value, grads = dask.compute(*f(da.from_array(x), da.from_array(y), target))
    block = taken[blocks._solved]["block"]
    found = blocks._solved(*map(library.asarray, (x, y, target)), None, 1 / 20, block=block)
    parts = [
        blocks._part(found, place=k, rank=rank, as_dtype=np.dtype(np.float32))
        for k, rank in ((0, 1), (1, 2), (2, 2))
    ]
    assert all(isinstance(part, library.ndarray) for part in parts)
    total, *slopes = map(library.asnumpy, parts)
    oracle.assert_within_ulps(total.sum() / 20, value, 4)
    for one, other in zip(slopes, grads, strict=True):
        oracle.assert_rows_within_ulps(one, other, 4)

    queries, gallery = map(library.asarray, (x, y))
    options = {"k": 3, "distance": "cosine", "block": None, "excludes": False}
    lists = neighbors.lists_of(queries, gallery, np.array([0]), np.array([40]), **options)
    lists = neighbors.merged_lists([lists], axis=1, keepdims=True)
    found = neighbors._field([lists], field="numbers", as_dtype=np.dtype(np.int64))
    assert isinstance(found, library.ndarray)
    expected = fastcos.nearest(x, y, 3).indices + 40
    np.testing.assert_array_equal(library.asnumpy(found), expected)
