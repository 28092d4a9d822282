"""Shapes, strides, broadcasting, sizes and threads: the same numbers however the data lie."""

import hashlib
import os
import subprocess
import sys
import tracemalloc

import ml_dtypes
import numba
import numpy as np
import oracle
import pytest

import fastcos
from fastcos import value_and_grad

N, D = 9, 6
LABELS = np.array([1, -1, -1, 1, 1, -1, -1, -1, 1])


def PAIR(*args, **kwargs):
    return value_and_grad(fastcos.cosine_embedding_loss)(*args, **kwargs)


def agree(evaluate, name, operands, target=None, axis=-1, **kwargs):
    if oracle.LOSSES[name].on_rows:
        kwargs["axis"] = axis
    given = evaluate(name, operands, target, **kwargs)
    oracle.assert_results_agree(given, oracle.loss(name, operands, target, **kwargs), axis=axis)
    for grad, operand in zip(given.grads, operands, strict=True):
        assert np.shape(grad) == np.shape(operand)
    return given


# --------------------------------------------------------------------------------------------------
# Leading axes and the feature axis
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leading", [(), (1,), (4,), (2, 3), (2, 1, 3), (1, 1, 1, 2)])
def test_any_number_of_leading_axes(rng, evaluate, leading):
    x, y, z = rng.standard_normal((3, *leading, D))
    target = rng.choice([-1, 1], leading)
    for reduction in ("none", "mean"):
        kwargs = {"reduction": reduction, "weight": rng.uniform(0.5, 2, leading)}
        given = agree(evaluate, "cosine_embedding_loss", (x, y), target, margin=-0.5, **kwargs)
        assert np.shape(given.value) == (leading if reduction == "none" else ())
        agree(evaluate, "triplet_margin_loss", (x, y, z), swap=True, **kwargs)
        agree(evaluate, "hinge_embedding_loss", (x[..., 0],), target, **kwargs)


def test_one_dimensional_inputs_give_one_number(rng):
    x, y, z = rng.standard_normal((3, D))
    for value in (
        fastcos.cosine_similarity(x, y),
        fastcos.paired_distance(x, y),
        fastcos.cosine_embedding_loss(x, y, 1, reduction="none"),
        fastcos.cosine_distance_loss(x, y, reduction="none"),
        fastcos.triplet_margin_loss(x, y, z, reduction="none"),
        fastcos.hinge_embedding_loss(x[0], -1, reduction="none"),
    ):
        assert type(value) is np.float64


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_any_feature_axis(rng, evaluate, axis):
    x, y, z = rng.standard_normal((3, 4, 5, 3))
    samples = np.delete((4, 5, 3), axis)
    target = rng.choice([-1, 1], samples)
    weight = rng.uniform(0.5, 2, samples)
    kwargs = {"axis": axis, "weight": weight, "reduction": "none"}
    agree(evaluate, "cosine_embedding_loss", (x, y), target, margin=-0.5, **kwargs)
    agree(evaluate, "cosine_distance_loss", (x, y), **kwargs)
    agree(evaluate, "triplet_margin_loss", (x, y, z), swap=True, **kwargs)
    agree(evaluate, "triplet_margin_with_distance_loss", (x, y, z), **kwargs)
    moved = np.moveaxis(x, axis, -1), np.moveaxis(y, axis, -1)
    oracle.assert_same_bits(
        fastcos.cosine_similarity(x, y, axis=axis), fastcos.cosine_similarity(*moved)
    )
    oracle.assert_same_bits(
        fastcos.paired_distance(x, y, axis=axis), fastcos.paired_distance(*moved)
    )


@pytest.mark.parametrize("axis", [0, -2])
def test_a_feature_axis_of_operands_of_unequal_rank(rng, evaluate, axis):
    gallery, query = rng.standard_normal((D, N)), rng.standard_normal((D, 1))
    agree(evaluate, "cosine_embedding_loss", (query, gallery), LABELS, axis=axis)
    gallery, query = rng.standard_normal((2, D, N)), rng.standard_normal((D, N))
    agree(evaluate, "cosine_distance_loss", (query, gallery), axis=-2)


# --------------------------------------------------------------------------------------------------
# Broadcasting
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shapes",
    [
        [(D,), (N, D)],
        [(1, D), (N, D)],
        [(N, D), (1, D)],
        [(N, D), (D,)],
        [(4, 1, D), (1, 5, D)],
        [(4, 1, D), (5, D)],
        [(2, 4, 1, D), (3, D)],
        [(2, 1, 3, D), (4, 1, D)],
        [(1, 4, 1, D), (2, 1, 3, D)],
        [(1, D), (1, D)],
        [(1, D), (D,)],
    ],
    ids=str,
)
def test_pairs_broadcast_and_sum_their_gradients(rng, evaluate, shapes):
    operands = tuple(rng.standard_normal(shape) for shape in shapes)
    samples = np.broadcast_shapes(*(shape[:-1] for shape in shapes))
    target = rng.choice([-1, 1], samples)
    weight = rng.uniform(0.5, 2, samples)
    for reduction in ("none", "mean"):
        kwargs = {"reduction": reduction, "weight": weight}
        if reduction == "none":
            kwargs["grad_output"] = rng.standard_normal(samples)
        agree(evaluate, "cosine_embedding_loss", operands, target, margin=-0.5, **kwargs)


@pytest.mark.parametrize(
    "shapes",
    [
        [(D,), (N, D), (N, D)],
        [(N, D), (D,), (1, D)],
        [(D,), (D,), (N, D)],
        [(4, 1, D), (4, 1, D), (1, 5, D)],
        [(4, 1, 1, D), (1, 3, 1, D), (1, 1, 5, D)],
        [(5, D), (4, 1, D), (4, 5, D)],
    ],
    ids=str,
)
@pytest.mark.parametrize("swap", [False, True])
def test_triplets_broadcast_and_sum_their_gradients(rng, evaluate, shapes, swap):
    operands = tuple(rng.standard_normal(shape) for shape in shapes)
    samples = np.broadcast_shapes(*(shape[:-1] for shape in shapes))
    agree(
        evaluate,
        "triplet_margin_loss",
        operands,
        swap=swap,
        reduction="none",
        grad_output=rng.standard_normal(samples),
    )


def test_gradients_of_some_broadcast_operands_alone(rng):
    a, b = rng.standard_normal((4, 1, D)), rng.standard_normal((1, 5, D))
    target = rng.choice([-1, 1], (4, 5))
    _, every = PAIR(a, b, target, margin=-0.5)
    for position in (0, 1):
        _, alone = value_and_grad(fastcos.cosine_embedding_loss, position)(
            a, b, target, margin=-0.5
        )
        oracle.assert_same_bits(alone, every[position])


def test_a_broadcast_view_is_an_argument_of_its_own_shape(rng, evaluate):
    x, y = rng.standard_normal(D), rng.standard_normal((N, D))
    spread = np.broadcast_to(x, (N, D))
    given = agree(evaluate, "cosine_embedding_loss", (spread, y), LABELS, margin=-0.5)
    _, (gx, _) = PAIR(x, y, LABELS, margin=-0.5)
    np.testing.assert_allclose(given.grads[0].sum(axis=0), gx, rtol=1e-13)
    constant = np.broadcast_to(rng.standard_normal((N, 1)), (N, D))
    agree(evaluate, "cosine_embedding_loss", (constant, y), LABELS, margin=-0.5)


def test_a_broadcast_operand_of_another_dtype(rng, evaluate):
    query, gallery = rng.standard_normal(D).astype(np.float32), rng.standard_normal((N, D))
    agree(evaluate, "cosine_embedding_loss", (query, gallery), LABELS, margin=-0.5)


def test_half_types_broadcast(rng, evaluate):
    for dtype in (np.float16, ml_dtypes.bfloat16):
        query = rng.standard_normal(D).astype(dtype)
        gallery = rng.standard_normal((N, D)).astype(dtype)
        agree(evaluate, "cosine_embedding_loss", (query, gallery), LABELS, margin=-0.5)


# --------------------------------------------------------------------------------------------------
# Layouts
# --------------------------------------------------------------------------------------------------


def unaligned(x):
    raw = np.zeros(x.nbytes + 1, np.uint8)
    view = raw[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    assert not view.flags.aligned
    return view


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def field_of_records(x):
    records = np.zeros(len(x), dtype=[("label", "i1"), ("row", x.dtype, x.shape[1:])])
    records["row"] = x
    return records["row"]


class Subclass(np.ndarray):
    pass


LAYOUTS = {
    "every second row": lambda x: np.repeat(x, 2, axis=0)[::2],
    "every third column": lambda x: np.repeat(x, 3, axis=1)[:, ::3],
    "rows backwards": lambda x: x[::-1].copy()[::-1],
    "columns backwards": lambda x: x[:, ::-1].copy()[:, ::-1],
    "columns first": np.asfortranarray,
    "part of wider rows": lambda x: np.pad(x, ((0, 0), (2, 3)))[:, 2:-3],
    "field of records": field_of_records,
    "read-only": read_only,
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "unaligned": unaligned,
    "subclass": lambda x: x.view(Subclass),
}
# What no GPU's arrays are.
OF_NUMPY = {"field of records", "read-only", "byte-swapped", "unaligned", "subclass"}
# What needs a second axis: labels and weights stay as they are.
COLUMNS = {"every third column", "columns backwards", "part of wider rows"}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_bits_from_every_layout(rng, device, layout, dtype):
    if device != "numpy" and layout in OF_NUMPY:
        pytest.skip("only NumPy has such arrays")
    x, y, z = rng.standard_normal((3, N, D)).astype(dtype)
    target, weight = LABELS.astype(dtype), rng.uniform(0.5, 2, N).astype(dtype)
    lay = LAYOUTS[layout]
    vector = (lambda v: v) if layout in COLUMNS else lay
    right = PAIR(x, y, target, weight=weight)
    for args in ((lay(x), y), (x, lay(y)), (lay(x), lay(y))):
        value, grads = PAIR(*args, vector(target), weight=vector(weight))
        oracle.assert_same_bits(value, right[0])
        for one, other in zip(grads, right[1], strict=True):
            assert type(one) is np.ndarray
            oracle.assert_same_bits(one, other)
    f = value_and_grad(fastcos.triplet_margin_loss)
    right = f(x, y, z)
    value, grads = f(lay(x), lay(y), lay(z))
    oracle.assert_same_bits(value, right[0])
    for one, other in zip(grads, right[1], strict=True):
        oracle.assert_same_bits(one, other)
    f = value_and_grad(fastcos.hinge_embedding_loss)
    right = f(x[:, 0], target)
    value, grads = f(vector(x[:, 0]), vector(target))
    oracle.assert_same_bits(value, right[0])
    oracle.assert_same_bits(grads[0], right[1][0])


@pytest.mark.host
def test_nested_lists_are_float64_arrays(rng):
    x, y = rng.standard_normal((2, N, D))
    value, grads = PAIR(x.tolist(), y.tolist(), LABELS.tolist(), weight=[1.5] * N)
    right = PAIR(x, y, LABELS, weight=np.full(N, 1.5))
    oracle.assert_same_bits(value, right[0])
    for one, other in zip(grads, right[1], strict=True):
        oracle.assert_same_bits(one, other)


@pytest.mark.host
def test_memory_maps_are_read_in_place(rng, tmp_path):
    x, y = rng.standard_normal((2, N, D)).astype(np.float32)
    maps = []
    for name, array in (("x", x), ("y", y)):
        np.save(tmp_path / name, array)
        maps.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    value, grads = PAIR(*maps, LABELS)
    right = PAIR(x, y, LABELS)
    oracle.assert_same_bits(value, right[0])
    for one, other in zip(grads, right[1], strict=True):
        assert type(one) is np.ndarray
        oracle.assert_same_bits(one, other)


def test_strided_operands_of_three_axes(rng, evaluate):
    full = rng.standard_normal((4, 6, 10))
    x = full[::2, ::-3, 2:8]
    y = full.transpose(1, 0, 2)[1:5:2, :2, ::2][..., :3]
    agree(evaluate, "cosine_embedding_loss", (x[..., :3], y), rng.choice([-1, 1], (2, 2)))


@pytest.mark.parametrize("shape", [(97,), (33, 3), (3, 33), (2, 1, 65), (5, 32, 2)], ids=str)
@pytest.mark.parametrize("layout", ["packed", "every other", "reversed", "transposed"])
def test_numbers_from_every_layout(rng, evaluate, layout, shape):
    big = rng.uniform(0, 2, tuple(2 * n for n in shape))
    some = big[tuple(slice(0, n) for n in shape)]
    x = {
        "packed": np.ascontiguousarray(some),
        "every other": big[tuple(slice(0, 2 * n, 2) for n in shape)],
        "reversed": some[..., ::-1],
        "transposed": np.asfortranarray(some),
    }[layout]
    upstream = rng.standard_normal(shape)
    for labels in (np.int8, np.int64, np.float32, np.float64, bool):
        target = rng.choice([-1, 1], shape)
        target = target > 0 if labels is bool else target.astype(labels)
        for weight in (rng.uniform(0.5, 2, shape), rng.uniform(0.5, 2, (*shape[:-1], 1))):
            kwargs = {"weight": weight, "reduction": "none", "grad_output": upstream}
            agree(evaluate, "hinge_embedding_loss", (x,), target, **kwargs)
            single = {"weight": weight.astype(np.float32), "reduction": "mean"}
            agree(evaluate, "hinge_embedding_loss", (x.astype(np.float32),), target, **single)
        out = np.empty_like(big)[tuple(slice(0, 2 * n, 2) for n in shape)]
        f = value_and_grad(fastcos.hinge_embedding_loss)
        _, (kept,) = f(x, target, out=(out,))
        assert kept is out
        oracle.assert_same_bits(out, f(x, target)[1][0])


def test_rows_that_overlap_each_other(rng, evaluate):
    # A window sliding over a signal: all rows share memory.
    signal = rng.standard_normal(N + D - 1)
    x = np.lib.stride_tricks.sliding_window_view(signal, D)
    agree(evaluate, "cosine_distance_loss", (x, rng.standard_normal((N, D))))


@pytest.mark.host
def test_strided_rows_are_not_copied(rng):
    x = np.zeros((4000, 64), np.float32)[::2]
    y = np.ones((2000, 64), np.float32)
    target = np.ones(2000)
    fastcos.cosine_embedding_loss(x, y, target)
    assert peak(lambda: fastcos.cosine_embedding_loss(x, y, target)) < x.nbytes / 4


def peak(call):
    """The most memory that a call held at a time."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.host
def test_a_broadcast_query_is_not_copied(rng):
    query = rng.standard_normal(64).astype(np.float32)
    gallery = rng.standard_normal((20_000, 64)).astype(np.float32)
    target = np.ones(20_000, np.float32)
    for q in (query, query[None], np.broadcast_to(query, gallery.shape)):
        fastcos.cosine_embedding_loss(q, gallery, target)
        # The loss of every sample and its label in float64, and no row.
        assert peak(lambda q=q: fastcos.cosine_embedding_loss(q, gallery, target)) < 20 * 20_000


# --------------------------------------------------------------------------------------------------
# Sizes
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 32768), (2, 16383), (2, 16384), (255, 129), (257, 129)])
def test_around_the_size_from_which_work_is_shared_out(rng, evaluate, shape):
    x, y = rng.standard_normal((2, *shape)).astype(np.float32)
    target = rng.choice([-1, 1], shape[0])
    agree(evaluate, "cosine_embedding_loss", (x, y), target, margin=-0.5)


def test_a_long_batch_of_short_rows(rng, evaluate):
    x, y, z = rng.standard_normal((3, 70_000, 2)).astype(np.float32)
    target = rng.choice([-1, 1], 70_000)
    weight = rng.uniform(0, 2, 70_000)
    kwargs = {"reduction": "none"}
    agree(evaluate, "cosine_embedding_loss", (x, y), target, margin=0.3, **kwargs)
    agree(evaluate, "triplet_margin_loss", (x, y, z), **kwargs)
    agree(evaluate, "hinge_embedding_loss", (x[:, 0],), target, **kwargs)
    kwargs = {"weight": weight}
    agree(evaluate, "cosine_embedding_loss", (x, y), target, margin=0.3, **kwargs)
    agree(evaluate, "triplet_margin_loss", (x, y, z), **kwargs)
    agree(evaluate, "hinge_embedding_loss", (x[:, 0],), target, **kwargs)


def test_two_very_long_rows(rng, evaluate):
    x, y = rng.standard_normal((2, 2, 1_000_000)).astype(np.float32)
    agree(evaluate, "cosine_embedding_loss", (x, y), [1, -1], margin=-0.5, reduction="none")


@pytest.mark.parametrize(
    "shapes",
    [
        [(256,), (1000, 256)],
        [(1000, 256), (1, 256)],
        [(40, 1, 64), (1, 50, 64)],
        [(300, 1, 16), (16, 16)],
        [(2, 1, 300, 16), (9, 1, 16)],
    ],
    ids=str,
)
def test_broadcasting_shared_out_to_threads(rng, evaluate, shapes):
    operands = tuple(rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    samples = np.broadcast_shapes(*(shape[:-1] for shape in shapes))
    target = rng.choice([-1, 1], samples)
    agree(
        evaluate,
        "cosine_embedding_loss",
        operands,
        target,
        margin=-0.5,
        weight=rng.uniform(0.5, 2, samples),
    )


def test_triplets_broadcast_shared_out_to_threads(rng, evaluate):
    anchor, positive = rng.standard_normal((2, 40, 1, 33)).astype(np.float32)
    negative = rng.standard_normal((50, 33)).astype(np.float32)
    agree(evaluate, "triplet_margin_loss", (anchor, positive, negative))


# --------------------------------------------------------------------------------------------------
# Threads
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("features", [1, 2, 7, 33, 97, 1000])
def test_a_row_has_the_same_bits_alone_and_in_a_batch(rng, device, dtype, features):
    n = 40_000 // features + 50 if device != "simulated" else 21
    x, y = rng.standard_normal((2, n, features)).astype(dtype)
    x[:10] = y[:10] * dtype(1.001)  # some rows are read twice
    target = rng.choice([-1, 1], n)
    losses, (gx, gy) = PAIR(x, y, target, margin=-0.5, reduction="none")
    assert n * features >= 32768 or device == "simulated"
    for i in (*range(20), n - 1):
        value, (ax, ay) = PAIR(x[i], y[i], target[i], margin=-0.5, reduction="none")
        oracle.assert_same_bits(value, losses[i])
        oracle.assert_same_bits(ax, gx[i])
        oracle.assert_same_bits(ay, gy[i])


@pytest.mark.parametrize("features", [2, 33, 97])
def test_a_triplet_has_the_same_bits_alone_and_in_a_batch(rng, device, features):
    n = 40_000 // features + 50 if device != "simulated" else 21
    operands = rng.standard_normal((3, n, features)).astype(np.float32)
    f = value_and_grad(fastcos.triplet_margin_loss)
    losses, grads = f(*operands, reduction="none")
    for i in (*range(20), n - 1):
        value, alone = f(*operands[:, i], reduction="none")
        oracle.assert_same_bits(value, losses[i])
        for one, all_ in zip(alone, grads, strict=True):
            oracle.assert_same_bits(one, all_[i])


def everything_threaded():
    """Bytes of results that threads had a part in: values, sums and gradients of every kind.

    In float64 where there is a sum: rounding to float32 would hide a change of its order.
    """
    rng = np.random.default_rng(7)
    results = []
    x, y, z = rng.standard_normal((3, 700, 97))
    target = rng.choice([-1, 1], 700)
    weight = rng.uniform(-1, 2, 700)
    for reduction in oracle.REDUCTIONS:
        results.append(PAIR(x, y, target, weight=weight, reduction=reduction, margin=-0.5))
    results.append(PAIR(x[0], y, target, weight=weight))
    results.append(PAIR(x[:40, None], y[:50], 1))
    results.append(PAIR(x[:1], y, target, reduction="none"))
    x, y, z = x.astype(np.float32), y.astype(np.float32), z.astype(np.float32)
    results.append(PAIR(x[:40, None], y[:50], 1))
    results.append(value_and_grad(fastcos.triplet_margin_loss)(x, y, z[0]))
    values = rng.standard_normal(70_000).astype(np.float32)
    results.append(value_and_grad(fastcos.hinge_embedding_loss)(values, -1))
    return b"".join(np.asarray(a).tobytes() for value, grads in results for a in (value, *grads))


@pytest.mark.host
def test_the_number_of_threads_changes_no_bit():
    many = numba.get_num_threads()
    results = []
    try:
        for threads in {1, 2, many} & set(range(1, numba.config.NUMBA_NUM_THREADS + 1)):
            numba.set_num_threads(threads)
            results.append(everything_threaded())
    finally:
        numba.set_num_threads(many)
    results.append(everything_threaded())
    assert len(set(results)) == 1


@pytest.mark.host
@pytest.mark.parametrize("threads", ["1", "2", "5"])
def test_the_number_of_threads_of_the_process_changes_no_bit(threads):
    script = (
        "import hashlib, test_shapes, numba;"
        f"assert numba.config.NUMBA_NUM_THREADS == {threads};"
        "print(hashlib.sha256(test_shapes.everything_threaded()).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "NUMBA_NUM_THREADS": threads},
        cwd=os.path.dirname(__file__),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [hashlib.sha256(everything_threaded()).hexdigest()]


def test_run_after_run_gives_the_same_bits():
    assert everything_threaded() == everything_threaded()
