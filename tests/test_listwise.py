"""Listwise losses against the definitions: values, gradients, layouts, singular points, bad input.

Most of the time goes into compiling: tests use the distances that a loss takes by default, or those
that share their kernel, and only two losses are tested with all of them.
"""

import functools
import re
import zlib

import listwise_oracle as oracle
import ml_dtypes
import numpy as np
import pytest
from listwise_oracle import ALONE, LABELLED, LD, LOSSES, PAIRS, PROXIES
from oracle import REDUCTIONS, assert_same_bits, wide

import fastcos
from fastcos.listwise import check, pairs, softmax, triplets

NAMES = tuple(LOSSES)
BANKED = [name for name in NAMES if LOSSES[name].kind == LABELLED]
TRIPLETS = [name for name in NAMES if "triplet" in name]
#: Of the norm of a gradient, and of a value and 1.
TOLERANCE = {"float64": 1e-9, "float32": 2e-5}
#: The least scale: gradients that cancel to nothing have the digits of what cancels.
LEAST = 1e-3
#: Rows, features. Of up to three rows the softmaxes are saturated: float32 gradients are those of
#: a float32 logarithm then, to 1e-7 of the scale of the loss and not of what is left of it.
SMALL = ((1, 3), (2, 8), (3, 3))
SIZES = ((5, 8), (16, 3), (17, 33), (33, 8), (64, 3), (97, 8))
OTHER_SIZE = (17, 8)


def rng_of(name, *seed):
    return np.random.default_rng([zlib.crc32(name.encode()), *seed])


def drawn(name, n=9, d=3, **kwargs):
    return oracle.draw(rng_of(name, n, d), name, n, d, **kwargs)


def run(name, batch, argnums=None, **options):
    loss = fastcos.value_and_grad(getattr(fastcos, name), argnums)
    return loss(*batch.args, **batch.kwargs, **options)


def value_of(name, batch, **options):
    return getattr(fastcos, name)(*batch.args, **batch.kwargs, **options)


def assert_close(found, expected, tolerance, scale=1.0):
    error = np.abs(wide(found) - wide(expected)).max(initial=0)
    assert error <= tolerance * scale, f"off by {float(error):.3g} of {float(scale):.3g}"


def assert_values(found, expected, dtype="float64"):
    scale = 1 + np.abs(wide(expected)).max(initial=0)
    assert_close(found, expected, TOLERANCE[dtype], scale)


def assert_slopes(grads, directions, expected, dtype="float64"):
    """Gradients by name, each led along its direction, against the derivatives in these."""
    for name, grad in grads.items():
        grad, along = wide(grad), wide(directions[name])
        assert grad.shape == along.shape
        scale = max(np.sqrt((grad * grad).sum()), LEAST)
        assert_close((grad * along).sum(), expected[name], TOLERANCE[dtype], scale)


def directions_of(rng, batch, learned=()):
    along = {name: rng.standard_normal(rows.shape) for name, rows in batch.rows.items()}
    return along | dict.fromkeys(learned, 1.0)


def assert_right(name, batch, dtype="float64", direction=None, **options):
    """Value and gradients of a call against the oracle."""
    learned = LOSSES[name].learnable
    along = direction or directions_of(np.random.default_rng(1), batch, learned)
    upstream = options.pop("grad_output", None)
    value, grads = run(name, batch.astype(dtype), (*along,), grad_output=upstream, **options)
    constants = {key: 1.0 if given is None else given for key, given in options.items()}
    assert_values(value, oracle.value(name, batch, **constants), dtype)
    constants["grad_output"] = 1.0 if upstream is None else upstream
    slopes = {key: oracle.slope(name, batch, {key: along[key]}, **constants) for key in along}
    assert_slopes(dict(zip(along, grads, strict=True)), along, slopes, dtype)


# --------------------------------------------------------------------------------------------------
# Values and gradients
# --------------------------------------------------------------------------------------------------


@functools.cache
def expected(name, n, d, choice=0, bank=None):
    """A batch whose rows float32 holds, so that one oracle is for both dtypes."""
    options = ({}, *LOSSES[name].others)[choice]
    batch = drawn(name, n, d, bank=bank)
    along = directions_of(rng_of(name, n), batch, LOSSES[name].learnable)
    value = oracle.value(name, batch, **options)
    slopes = {key: oracle.slope(name, batch, {key: along[key]}, **options) for key in along}
    return options, batch, along, value, slopes


def assert_expected(name, dtype, *case):
    options, batch, along, right, slopes = expected(name, *case)
    value, grads = run(name, batch.astype(dtype), (*along,), **options)
    assert value.dtype == dtype
    assert_values(value, right, dtype)
    assert_slopes(dict(zip(along, grads, strict=True)), along, slopes, dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NAMES)
def test_value_and_gradients(name, dtype):
    for n, d in (*SMALL, *SIZES) if dtype == "float64" else SIZES:
        assert_expected(name, dtype, n, d)


@pytest.mark.parametrize(
    ("name", "choice"),
    [(name, k) for name in NAMES for k in range(1, len(LOSSES[name].others) + 1)],
)
def test_other_options(name, choice):
    assert_expected(name, "float64", *OTHER_SIZE, choice)
    if "soft" not in LOSSES[name].others[choice - 1]:  # a kernel of its own
        assert_expected(name, "float32", *OTHER_SIZE, choice)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", BANKED)
def test_a_memory_bank(name, dtype):
    for bank in (1, 5, 30) if dtype == "float64" else (5, 30):
        assert_expected(name, dtype, 9, 3, 0, bank)


@pytest.mark.parametrize("name", NAMES)
def test_every_component_of_the_gradients(name):
    batch = drawn(name, 5, 2)
    _, grads = run(name, batch, (*batch.rows,))
    for key, grad in zip(batch.rows, grads, strict=True):
        right = oracle.gradient(name, batch, key)
        assert_close(grad, right, 1e-9, np.abs(right).max())


@pytest.mark.parametrize("distance", oracle.DISTANCES)
@pytest.mark.parametrize("name", ["supervised_contrastive_loss", "contrastive_loss"])
def test_all_distances(name, distance):
    # The same code for all losses of similarities, and for all of distances.
    options = {"reduction": "sum"} if LOSSES[name].of == "distance" else {"temperature": 2.0}
    # Rows of one feature that are brought to unit length are all as near, or as far, as can be.
    narrow = [(3, 1)] if distance in ("dot", "euclidean", "sqeuclidean") else []
    for n, d in (*narrow, (5, 33), (17, 3)):
        assert_right(name, drawn(name, n, d), distance=distance, **options)
    batch = drawn(name, 6, 3, bank=11)
    assert_right(name, batch, distance=distance, **options)


@pytest.mark.parametrize("name", [name for name in NAMES if LOSSES[name].takes_distance])
def test_a_distance_that_is_not_the_default(name):
    # Of the same kind as the default, so that nothing is compiled.
    other = {
        "cosine": "dot",
        "euclidean": "normalized_euclidean",
        "normalized_euclidean": "euclidean",
        "normalized_sqeuclidean": "sqeuclidean",
    }[LOSSES[name].distance]
    options = {"temperature": 3.0} if "temperature" in LOSSES[name].learnable else {}
    assert_right(name, drawn(name), distance=other, **options)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("classes", [0, 3])
def test_no_rows_and_one_row(name, classes):
    row = LOSSES[name]
    for n in (0, 1):
        batch = drawn(name, n, 3, classes=classes or None) if n or row.kind != PROXIES else None
        if batch is None:
            shape = (0, 3), (classes, 3)
            rows = dict(zip(("x", "proxies"), map(np.ones, shape), strict=True))
            batch = oracle.Batch(rows, {"labels": np.zeros(0, int)})
        anchors = len(batch.rows[row.anchors])
        value, grads = run(name, batch, (*batch.rows, *row.learnable))
        # The mean of nothing is NaN, and that of what does not count is 0. Pairs that cost
        # something are counted, not rows: there may be none of them.
        if anchors == 0:
            assert np.isnan(value) or (value == 0 and name == "contrastive_loss")
        elif len(batch.rows) == 1 or not len(batch.rows["x" if "x" in batch.rows else "x2"]):
            assert value == 0
        for key, grad in zip(batch.rows, grads, strict=False):
            assert grad.shape == batch.rows[key].shape
            assert np.isfinite(grad).all()
        assert value_of(name, batch, reduction="none").shape == (anchors,)
        for reduction in ("sum", "sum_over_batch_size", "sum_by_nonzero_weights"):
            found = value_of(name, batch, reduction=reduction)
            assert_values(found, oracle.value(name, batch, reduction=reduction) if anchors else 0)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_an_empty_memory_bank(distance):
    # Without a warning of the mean of no rows, and without its NaN.
    x, labels = np.ones((2, 3)), np.array([0, 1])
    f = fastcos.value_and_grad(fastcos.supervised_contrastive_loss, ("x", "ref"))
    value, grads = f(x, labels, ref=x[:0], ref_labels=labels[:0], distance=distance)
    assert value == 0
    assert_same_bits(grads[0], np.zeros((2, 3)))
    assert grads[1].shape == (0, 3)


# --------------------------------------------------------------------------------------------------
# Reductions, weights, upstream gradients, buffers
# --------------------------------------------------------------------------------------------------

WEIGHTS = {
    "none": lambda rng, n: None,
    "a number": lambda rng, n: 0.25,
    # Together less than 1: a mean is divided by what they come to all the same.
    "small": lambda rng, n: rng.uniform(0, 0.05, n),
    "some are 0": lambda rng, n: rng.integers(0, 3, n) * 0.5,
    "all are 0": lambda rng, n: np.zeros(n),
}


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("name", NAMES)
def test_reductions_and_weights(name, weights):
    batch = drawn(name)
    anchors = len(batch.rows[LOSSES[name].anchors])
    rng = rng_of(name)
    weight = WEIGHTS[weights](rng, anchors)
    for reduction in REDUCTIONS:
        upstream = rng.standard_normal(anchors) if reduction == "none" else -2.5
        options = {"weight": weight, "reduction": reduction, "grad_output": upstream}
        assert_right(name, batch, **options)


@pytest.mark.parametrize("symmetric", [False, True])
def test_weights_of_pairs_that_are_looked_at_twice(symmetric):
    batch, rng = drawn("info_nce_loss", 9, 3), rng_of("")
    weight, upstream = rng.integers(0, 3, 9) * 0.5, rng.standard_normal(9)
    options = {"weight": weight, "symmetric": symmetric, "reduction": "none"}
    assert_right("info_nce_loss", batch, **options, grad_output=upstream)


def test_upstream_gradients_in_every_form():
    batch = drawn("nca_loss")
    _, (once,) = run("nca_loss", batch)
    for three in (3, 3.0, np.float32(3), np.array(3.0), np.array(3, "i2")):
        assert_close(run("nca_loss", batch, grad_output=three)[1][0], 3 * once, 1e-12)
    _, (each,) = run("nca_loss", batch, reduction="none")
    for three in (3, [3.0], np.full(9, 3, np.float32), np.full(18, 3.0)[::2]):
        found = run("nca_loss", batch, grad_output=three, reduction="none")[1][0]
        assert_close(found, 3 * each, 1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_out_and_accumulate(name):
    batch = drawn(name)
    wanted = (*batch.rows, *LOSSES[name].learnable)
    value, grads = run(name, batch, wanted)
    for order, step in (("C", 1), ("F", 1), ("C", 2)):
        out = []
        for grad in map(np.asarray, grads):
            shape = tuple(step * n for n in grad.shape)
            buffer = np.full(shape, 2.0, order=order)[(slice(None, None, step),) * grad.ndim]
            out.append(np.asarray(buffer) if grad.ndim else np.full((), 2.0))
        again, found = run(name, batch, wanted, out=out)
        assert_same_bits(again, value)
        for buffer, given, grad in zip(out, found, grads, strict=True):
            assert given is buffer
            assert_same_bits(buffer, np.asarray(grad))
            buffer[...] = 2
        run(name, batch, wanted, out=out, accumulate=True)
        for buffer, grad in zip(out, grads, strict=True):
            assert_close(buffer, 2 + np.asarray(grad), 1e-14, 2 + np.abs(grad).max())


@pytest.mark.parametrize("name", NAMES)
def test_argnums_by_name_and_position(name):
    batch = drawn(name, bank=4 if name in BANKED else None)
    wanted = [*batch.rows, *LOSSES[name].learnable]
    _, grads = run(name, batch, wanted)
    _, backwards = run(name, batch, wanted[::-1])
    for one, other in zip(grads, backwards[::-1], strict=True):
        assert_same_bits(one, other)
    for key, grad in zip(wanted, grads, strict=True):
        assert_same_bits(run(name, batch, key)[1], grad)  # asked for alone, and not in a tuple
    places = [key for key in batch.rows if key != "ref"]
    for place, key in enumerate(places):
        assert_same_bits(run(name, batch, place)[1], grads[wanted.index(key)])
    loss = getattr(fastcos, name)
    plain = fastcos.grad(loss)(*batch.args, **batch.kwargs)
    assert len(plain) == len(places)
    for key, grad in zip(places, plain, strict=True):
        assert_same_bits(grad, grads[wanted.index(key)])


# --------------------------------------------------------------------------------------------------
# Blocks, threads, layouts, dtypes
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_blocks_change_results_by_rounding_only(name):
    batch = drawn(name, 17, 8)
    wanted = (*batch.rows, *LOSSES[name].learnable)
    value, grads = run(name, batch, wanted)
    anchors = len(batch.rows[LOSSES[name].anchors])
    for block in (1, 3, np.int64(anchors), anchors + 5):
        again, found = run(name, batch, wanted, block=block)
        assert_close(again, value, 1e-12, 1 + abs(value))
        for one, other in zip(found, grads, strict=True):
            assert_close(one, other, 1e-12, np.abs(other).max())


@pytest.mark.parametrize("symmetric", [False, True])
def test_blocks_of_a_loss_that_looks_at_columns(symmetric):
    batch = drawn("info_nce_loss", 17, 8)
    value, grads = run("info_nce_loss", batch, symmetric=symmetric)
    again, found = run("info_nce_loss", batch, symmetric=symmetric, block=5)
    assert_close(again, value, 1e-12, 1 + abs(value))
    for one, other in zip(found, grads, strict=True):
        assert_close(one, other, 1e-12, np.abs(other).max())


@pytest.mark.parametrize("name", NAMES)
def test_the_same_bits_whatever_the_threads(name):
    # As many numbers as threads share. Products are of the array library, the same for both.
    batch = drawn(name, 200, 3, classes=170).astype("float32")
    wanted = (*batch.rows, *LOSSES[name].learnable)
    value, grads = run(name, batch, wanted)
    with fastcos.threads(1):
        alone, own = run(name, batch, wanted)
    assert_same_bits(alone, value)
    for one, other in zip(own, grads, strict=True):
        assert_same_bits(one, other)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", NAMES)
def test_half_types(name, dtype):
    dtype = np.dtype(getattr(ml_dtypes, dtype, dtype))
    batch = drawn(name, 16, 8, bank=7 if name in BANKED else None).astype(dtype)
    wanted = (*batch.rows, *LOSSES[name].learnable)
    value, grads = run(name, batch, wanted)
    right, slopes = run(name, batch.astype("float64"), wanted)
    assert value.dtype == dtype
    rounding = float(ml_dtypes.finfo(dtype).eps) / 2
    assert_close(value, right, rounding + 2e-5, 1 + abs(right))
    for key, grad, slope in zip(wanted, grads, slopes, strict=True):
        assert grad.dtype == dtype, key
        near = rounding * np.abs(slope) + 2e-5 * np.linalg.norm(slope)
        near += float(ml_dtypes.finfo(dtype).smallest_subnormal)
        assert (np.abs(wide(grad) - slope) <= near).all(), key


def test_operands_of_different_dtypes():
    batch = drawn("circle_loss", 9, 3, bank=5)
    _, right = run("circle_loss", batch, ("x", "ref"))
    mixed = batch._replace(rows={**batch.rows, "x": batch.rows["x"].astype("f4")})
    value, (of_x, of_ref) = run("circle_loss", mixed, ("x", "ref"))
    assert (value.dtype, of_x.dtype, of_ref.dtype) == ("f8", "f4", "f8")
    assert_same_bits(of_ref, right[1])
    assert_same_bits(of_x, right[0].astype("f4"))


def test_integers_are_computed_with_as_floats():
    x, labels = np.arange(24, dtype=np.int16).reshape(8, 3) % 5, np.arange(8) // 3
    value, (grad,) = fastcos.value_and_grad(fastcos.circle_loss)(x, labels)
    same, (right,) = fastcos.value_and_grad(fastcos.circle_loss)(x.astype("f4"), labels)
    assert_same_bits(value, same)
    assert_same_bits(grad, right)


def readonly(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def unaligned(array):
    memory = np.zeros(array.nbytes + 1, np.uint8)[1:]
    memory[:] = np.ascontiguousarray(array).view(np.uint8).ravel()
    return memory.view(array.dtype).reshape(array.shape)


LAYOUTS = {
    "every other row": lambda array: np.repeat(array, 2, axis=0)[::2],
    "rows backwards": lambda array: array[::-1].copy()[::-1],
    "features backwards": lambda array: array[..., ::-1].copy()[..., ::-1],
    "every other feature": lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
    "F order": np.asfortranarray,
    "read-only": readonly,
    "unaligned": unaligned,
    "the other byte order": lambda array: array.astype(array.dtype.newbyteorder()),
    "a list": lambda array: array.tolist(),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["circle_loss", "nca_loss", "proxy_anchor_loss", "info_nce_loss"])
def test_layouts(name, layout):
    batch = drawn(name)
    value, grads = run(name, batch)
    changed = oracle.Batch(
        {key: LAYOUTS[layout](rows) for key, rows in batch.rows.items()},
        {key: LAYOUTS[layout](labels) for key, labels in batch.labels.items()},
    )
    again, found = run(name, changed)
    assert_same_bits(again, value)
    for one, other in zip(found, grads, strict=True):
        assert_same_bits(one, other)


def test_rows_that_are_one_row():
    x = np.broadcast_to(np.array([1.0, 2.0, 3.0]), (4, 3))
    value, (grad,) = fastcos.value_and_grad(fastcos.nca_loss)(x, [0, 0, 1, 1])
    assert_close(value, np.log(3), 1e-12)
    assert_close(grad, np.zeros((4, 3)), 1e-12)


# --------------------------------------------------------------------------------------------------
# Labels
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NAMES if LOSSES[name].kind in (LABELLED, ALONE)])
def test_anchors_without_positives_or_negatives(name):
    given = drawn(name, 9, 3)
    for labels in (np.zeros(9, int), np.arange(9), np.array([0, 1, 1, 1, 1, 1, 1, 1, 2])):
        assert_right(name, given._replace(labels={"labels": labels}))
    if name in BANKED:
        banked = drawn(name, 4, 3, bank=5)
        for labels, others in (([0, 0, 1, 2], [0] * 5), ([3, 4, 5, 6], [0, 1, 2, 0, 1])):
            both = {"labels": np.array(labels), "ref_labels": np.array(others)}
            assert_right(name, banked._replace(labels=both))


@pytest.mark.parametrize(
    ("name", "options"), [("circle_loss", {"gamma": 900.0}), ("nca_loss", {"scale": 900.0})]
)
def test_an_anchor_without_a_loss_has_no_gradient_however_steep_the_loss_is(name, options):
    # The exponentials of its candidates alone would be infinite, and 0 times infinity NaN.
    x = np.array([[1.0, 0.0], [-0.6, 0.8], [0.8, 0.6]])
    distance = {"distance": "dot"} if name == "nca_loss" else {}
    for labels in ([0, 0, 0], [0, 1, 2]):
        batch = oracle.Batch({"x": x}, {"labels": np.array(labels)})
        value, (grad,) = run(name, batch, **options, **distance)
        assert value == 0
        assert not grad.any()


@pytest.mark.parametrize("dtype", ["i1", "u1", "i4", "u4", "i8", "u8", "?"])
def test_labels_of_every_integer_dtype(dtype):
    batch = drawn("circle_loss", classes=2)
    batch.labels["labels"] %= 2
    value, _ = run("circle_loss", batch)
    changed = batch._replace(labels={"labels": batch.labels["labels"].astype(dtype)})
    assert_same_bits(run("circle_loss", changed)[0], value)


def test_labels_are_equal_or_not_however_large():
    batch = drawn("circle_loss", 5, 3, bank=4)
    small = {"labels": np.array([3, 0, 1, 3, 2]), "ref_labels": np.array([1, 2, 4, 3])}
    right, _ = run("circle_loss", batch._replace(labels=small), reduction="none")
    # Those of the two sides are not the same set: each by itself would be numbered otherwise.
    for first, step in ((2**31 - 3, 1), (2**31, 1), (5, 2**40), (2**62, 7)):
        large = {key: first + step * labels for key, labels in small.items()}
        found, _ = run("circle_loss", batch._replace(labels=large), reduction="none")
        assert_same_bits(found, right)
    # One side alone does not fit.
    odd = {"labels": small["labels"], "ref_labels": np.array([1, 2, 2**40, 3])}
    assert_same_bits(run("circle_loss", batch._replace(labels=odd), reduction="none")[0], right)
    wide_labels = {k: v.astype(np.uint64) + np.uint64(2**63) for k, v in small.items()}
    found, _ = run("circle_loss", batch._replace(labels=wide_labels), reduction="none")
    assert_same_bits(found, right)


# --------------------------------------------------------------------------------------------------
# Singular points
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRIPLETS)
@pytest.mark.parametrize("margin", [5.0, -0.3])
def test_candidates_that_are_equally_far_share_the_slope(name, margin):
    # Each row twice: as long as the two stay together the loss is as smooth as without.
    rng = rng_of(name)
    x = np.repeat(rng.standard_normal((8, 3)), 2, axis=0)
    along = {"x": np.repeat(rng.standard_normal((8, 3)), 2, axis=0)}
    twice = np.repeat(np.array([0, 0, 0, 1, 1, 1, 2, 3]), 2)
    for labels in (twice, rng.integers(0, 3, 16)):
        batch = oracle.Batch({"x": x}, {"labels": labels})
        assert_right(name, batch, direction=along, margin=margin)
    _, (grad,) = run(name, oracle.Batch({"x": x}, {"labels": twice}), margin=margin)
    assert np.abs(grad).max() > 0
    assert_close(grad[::2], grad[1::2], 1e-12)


@pytest.mark.parametrize("name", TRIPLETS)
def test_at_a_loss_of_0_the_gradient_passes(name):
    f = fastcos.value_and_grad(getattr(fastcos, name), ("x", "ref"))
    bank = {"ref": np.array([[3.0], [-5.0]]), "ref_labels": [0, 1], "reduction": "sum"}
    value, (of_x, of_ref) = f(np.zeros((1, 1)), [0], margin=2.0, **bank)
    assert value == 0
    assert_same_bits(of_x, np.array([[-2.0]]))  # away from 3 it loses, and towards -5 as much
    assert_same_bits(of_ref, np.array([[1.0], [1.0]]))
    value, (of_x, _) = f(np.zeros((1, 1)), [0], margin=1.875, **bank)
    assert (value, of_x[0, 0]) == (0, 0)


def test_at_a_margin_the_gradient_of_the_contrastive_loss_passes():
    f = fastcos.value_and_grad(fastcos.contrastive_loss, "ref")
    bank = {"ref": np.array([[3.0], [-5.0]]), "ref_labels": [0, 1], "distance": "euclidean"}
    value, grad = f(np.zeros((1, 1)), [0], pos_margin=3, neg_margin=5, reduction="sum", **bank)
    assert value == 0
    assert_same_bits(grad, np.array([[1.0], [1.0]]))
    # Pairs that cost nothing are not counted, and there is nothing else.
    value, grad = f(np.zeros((1, 1)), [0], pos_margin=3, neg_margin=5, **bank)
    assert value == 0
    assert not grad.any()


def test_distances_of_0_have_no_gradient():
    x = np.array([[1.0, 2.0], [1.0, 2.0], [4.0, 6.0]])
    f = fastcos.value_and_grad(fastcos.contrastive_loss)
    value, (grad,) = f(x, [0, 1, 2], distance="euclidean", neg_margin=1.0, reduction="sum")
    assert value == 2
    assert not grad.any()


@pytest.mark.parametrize("name", NAMES)
def test_a_zero_row(name):
    batch = drawn(name)
    zeroed = {key: rows.copy() for key, rows in batch.rows.items()}
    for rows in zeroed.values():
        rows[1] = 0
    batch = batch._replace(rows=zeroed)
    along = directions_of(rng_of(name), batch, LOSSES[name].learnable)
    options = {"distance": "normalized_euclidean"} if name in TRIPLETS else {}
    if name == "contrastive_loss":
        options["neg_margin"] = 1.3  # and not 1, which is how far a zero row is from all others
    for key in batch.rows:
        along[key][1] = 0  # where it stays there is a derivative
    assert_right(name, batch, direction=along, **options)
    for grad in run(name, batch, **options)[1]:
        assert not grad[1].any()


@pytest.mark.parametrize(("dtype", "exponent"), [("float32", 60), ("float64", 600)])
@pytest.mark.parametrize("name", NAMES)
def test_the_lengths_of_rows_change_no_bit(name, dtype, exponent):
    batch = drawn(name, 16, 8).astype(dtype)
    options = {"distance": "normalized_euclidean"} if name in TRIPLETS else {}
    wanted = (*batch.rows, *LOSSES[name].learnable)
    value, grads = run(name, batch, wanted, **options)
    for power in (exponent, -exponent):
        rows = {key: np.ldexp(array, power) for key, array in batch.rows.items()}
        again, found = run(name, batch._replace(rows=rows), wanted, **options)
        assert_same_bits(again, value)
        for key, one, other in zip(wanted, found, grads, strict=True):
            back = np.ldexp(one, power) if key in batch.rows else one
            assert_same_bits(back, other)


#: The losses that have exponentials of what may be of any size, and what makes them have it.
UNBOUNDED = {
    name: "dot" if row.distance == "cosine" else "sqeuclidean"
    for name, row in LOSSES.items()
    if row.takes_distance and row.of == "similarity"
}


@pytest.mark.parametrize("exponent", [8, 14])
@pytest.mark.parametrize("name", UNBOUNDED)
def test_exponents_that_float32_has_no_digits_after_the_point_for(name, exponent):
    # What is between two float32 numbers there is itself too much for an exponential.
    batch = drawn(name, 16, 3)
    rows = {key: np.ldexp(array, exponent) for key, array in batch.rows.items()}
    options = [{}, *LOSSES[name].others]
    options += [{"symmetric": True, "temperature": 0.03}] if name == "info_nce_loss" else []
    for chosen in options:
        assert_right(name, batch._replace(rows=rows), "float32", distance=UNBOUNDED[name], **chosen)


def banked(name):
    """A batch of which one side has an anchor that nothing else depends on."""
    return drawn(name, 6, 3, bank=5 if name in BANKED else None)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", [name for name in NAMES if LOSSES[name].kind != ALONE])
def test_what_is_not_finite_spoils_the_loss_of_its_anchor(name, bad):
    batch = banked(name)
    key = LOSSES[name].anchors
    right, good = run(name, batch, key, reduction="none")
    rows = batch.rows[key].copy()
    rows[2, 1] = bad
    spoiled = batch._replace(rows={**batch.rows, key: rows})
    value, grad = run(name, spoiled, key, reduction="none")
    others = np.arange(len(rows)) != 2
    assert np.isnan(value[2])
    assert np.isnan(grad[2]).all()
    assert_close(value[others], right[others], 1e-12, 1 + np.abs(right).max())
    assert_close(grad[others], good[others], 1e-12, np.abs(good).max())
    assert np.isnan(value_of(name, spoiled))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_finite_among_the_candidates_spoils_all(name, bad):
    batch = banked(name)
    row = LOSSES[name]
    key = next((k for k in batch.rows if k != row.anchors), row.anchors)
    batch.rows[key][2, 1] = bad
    assert np.isnan(value_of(name, batch, reduction="none")).all()
    assert np.isnan(value_of(name, batch))


def test_numbers_beyond_the_dtype_spoil_their_anchor_without_a_warning():
    x = np.array([[1e30, 0], [1.0, 0.0]], "f4")
    loss = fastcos.supervised_contrastive_loss
    value = loss(x, [0, 1], ref=x + 1, ref_labels=[0, 1], distance="dot", reduction="none")
    assert np.isnan(value[0])


def distance_of_each(x, y, distance):
    """The distance of each row to its own, by the loss of one positive."""
    n = len(x)
    options = {"pos_margin": 0.0, "neg_margin": -1.0, "reduction": "none", "distance": distance}
    return fastcos.contrastive_loss(x, np.arange(n), ref=y, ref_labels=np.arange(n), **options)


@pytest.mark.parametrize(
    ("far", "apart"), [(0, 1), (0, 1e-2), (0, 1e-4), (1e3, 1), (1e3, 1e-3), (1e5, 1e-1)]
)
def test_near_rows_far_from_the_origin(far, apart):
    # Rows are moved by the mean, and measured again where the product has lost digits. A product
    # loses five bits at most; that rows were rounded as they were moved is a part of their length.
    rng = np.random.default_rng(5)
    y = (far + rng.standard_normal((40, 8))).astype("f4")
    x = (y + apart * rng.standard_normal((40, 8))).astype("f4")
    right = np.sqrt(((wide(x) - wide(y)) ** 2).sum(-1))
    found = distance_of_each(x, y, "euclidean")
    eps = float(np.finfo("f4").eps)
    moved = np.linalg.norm(wide(y) - wide(y).mean(0), axis=-1)
    assert (np.abs(found - right) <= eps * (32 * right + moved)).all()
    if far:  # so few digits are left of the rows that next to none is lost as they are moved
        assert (np.abs(found - right) <= 32 * eps * right).all()
    found = distance_of_each(x.astype("f8"), y.astype("f8"), "euclidean")
    eps = float(np.finfo("f8").eps)
    assert (np.abs(found - right) <= eps * (32 * right + 2 * moved + far)).all()


@pytest.mark.parametrize("far", [0.0, 1e4])
def test_the_gradient_far_from_the_origin(far):
    # Distances do not depend on where the origin is; in float64 all digits are there.
    batch = drawn("nca_loss", 16, 8)
    moved = batch._replace(rows={"x": batch.rows["x"] + far})
    assert_right("nca_loss", moved, distance="sqeuclidean", scale=0.1)
    value, (grad,) = run("nca_loss", moved.astype("f4"), distance="sqeuclidean", scale=0.1)
    same = moved.astype("f4").astype("f8")
    right, (slope,) = run("nca_loss", same, distance="sqeuclidean", scale=0.1)
    assert_close(value, right, 2e-5, 1 + abs(right))
    assert_close(grad, slope, 2e-5, np.linalg.norm(slope))


# --------------------------------------------------------------------------------------------------
# Losses of one's own
# --------------------------------------------------------------------------------------------------


def apart_start(row, margin):
    return (margin,)


def apart_accumulate(sums, context, each):
    above = each.s - context[0]
    return (sums[0] + (above * above if not each.positive and above > 0 else 0.0),)


def apart_finalize(sums, context, row, margin):
    return sums[0], row.negatives, context


def apart_slope(coefficients, each):
    above = each.s - coefficients[0]
    return 2 * above if not each.positive and above > 0 else 0.0


def apart_learnable(slopes, s_slopes, margin):
    return (-slopes,)


#: The mean of what the squares of the similarities of negatives are above a margin.
APART = fastcos.Listwise(
    *("apart", apart_start, apart_accumulate, apart_finalize, apart_slope),
    parameters=(0.2,),
    learnable=apart_learnable,
)


def apart(s, pos, neg, fixed):
    above = np.where(neg, np.maximum(s - LD(0.2), 0), LD(0))
    return [((above**2).sum(-1), LD(1) * neg.sum(-1))]


@pytest.fixture
def own(monkeypatch):
    """A row of the oracle's table for the loss above, and a name for a call of it."""

    def call(x, labels, **options):
        return fastcos.value_and_grad(fastcos.listwise_loss)(x, labels, APART, **options)

    monkeypatch.setitem(LOSSES, "apart", oracle.LossRow(apart, LABELLED))
    return call


def test_a_loss_of_ones_own(own):
    fastcos.check_listwise(APART)
    for reduction in REDUCTIONS:
        batch = drawn("apart", 9, 3)
        weight = np.arange(9) % 3 * 0.5
        options = {"weight": weight, "reduction": reduction}
        value, (grad,) = own(*batch.args, **options)
        assert_values(value, oracle.value("apart", batch, **options))
        along = directions_of(rng_of("apart"), batch)
        slope = oracle.slope("apart", batch, along, **options)
        assert_slopes({"x": grad}, along, {"x": slope})


def test_parameters_of_ones_own_loss_compile_nothing(own):
    from fastcos.kernels.cpu import compile

    batch = drawn("apart", 9, 3)
    fastcos.listwise_loss(*batch.args, APART)
    before = len(compile._kernels)
    low = APART._replace(parameters=(-1.0,))
    found = fastcos.listwise_loss(*batch.args, low, reduction="sum")
    (values, _), *_ = oracle.parts("apart", batch)
    assert len(compile._kernels) == before
    assert found > values.sum()


def test_the_check_finds_a_wrong_slope():
    wrong = APART._replace(slope=lambda coefficients, each: -apart_slope(coefficients, each))
    with pytest.raises(ValueError, match="slope of apart is wrong: of anchor"):
        fastcos.check_listwise(wrong)
    twice = softmax.softmax._replace(
        parameters=(0.3, 0.1), slope=lambda c, each: 1.001 * softmax.softmax.slope(c, each)
    )
    with pytest.raises(ValueError, match="slope of softmax is wrong"):
        fastcos.check_listwise(twice)
    spoiled = APART._replace(slope=lambda coefficients, each: np.nan)
    with pytest.raises(ValueError, match="slope of apart is wrong"):
        fastcos.check_listwise(spoiled)


def test_the_check_finds_what_is_a_kink_everywhere():
    stairs = APART._replace(
        accumulate=lambda sums, context, each: (sums[0] + round(13.7e3 * each.s),),
        slope=lambda coefficients, each: 0.0,
    )
    with pytest.raises(ValueError, match="apart is not smooth enough"):
        fastcos.check_listwise(stairs)


#: Records, parameters, and options of the check: numbers that the loss is not flat on, and one
#: positive for each anchor where it has one.
RECORDS = {
    "softmax": (softmax.softmax, (0.3, 0.1), {}),
    "symmetric softmax": (softmax.symmetric_softmax, (0.3,), {"anchors": 8, "classes": 4}),
    "log_sum": (softmax.log_sum, (0.3,), {}),
    "sigmoid": (softmax.sigmoid_contrastive, (0.4, -0.2), {}),
    "arcface": (
        softmax.arcface,
        (3.0, 0.92, 0.39),
        {"anchors": 8, "classes": 4, "low": -0.9, "high": 0.9},
    ),
    "contrastive": (pairs.contrastive, (0.1, 0.8, 1.0, 2.0), {}),
    "contrastive mean": (pairs.contrastive_mean, (0.1, 0.8), {}),
    "multi similarity": (pairs.multi_similarity, (2.0, 5.0, 0.5), {}),
    "lifted structure": (pairs.lifted_structure, (1.0, 0.0), {"low": 0.5, "high": 2.0}),
    "nca": (pairs.nca, (2.0,), {}),
    "proxy anchor": (pairs.proxy_anchor, (0.1, 3.0, 1.5), {}),
    "hard": (triplets.hard, (0.2,), {}),
    "soft hard": (triplets.soft_hard, (0.2,), {}),
    "all": (triplets.all_triplets, (0.2,), {}),
    "semi-hard": (triplets.semi_hard_triplets, (0.2,), {}),
}


@pytest.mark.parametrize("which", RECORDS)
def test_the_check_accepts_what_is_built_in(which, monkeypatch):
    record, parameters, options = RECORDS[which]
    if record.of == "distance" or which in ("log_sum",):
        # Would be compiled for this alone; values are compared with the oracle's above.
        monkeypatch.setattr(check, "_check_compiled", lambda *_: None)
    fastcos.check_listwise(record._replace(parameters=parameters), **options)


def test_the_check_sees_that_the_weights_of_the_circle_loss_are_constants():
    record = pairs.circle._replace(parameters=(3.0, 0.25))
    with pytest.raises(ValueError, match="slope of circle is wrong"):
        fastcos.check_listwise(record)


@pytest.mark.parametrize("kind", ["hard", "semi-hard", "all"])
def test_no_triplets_of_an_empty_bank(kind):
    found = fastcos.mine_triplets(X, L, kind, ref=X[:0], ref_labels=L[:0])
    assert [(len(numbers), numbers.dtype) for numbers in found] == [(0, np.int64)] * 3


def test_how_many_triplets_there_may_be_is_a_count():
    for bad, error in ((None, TypeError), (2.5, TypeError), (True, TypeError), (0, ValueError)):
        with pytest.raises(error, match=r"^max_triplets must be"):
            fastcos.mine_triplets(X, L, "all", max_triplets=bad)


# --------------------------------------------------------------------------------------------------
# Bad input
# --------------------------------------------------------------------------------------------------

X = np.random.default_rng(3).standard_normal((6, 3))
R = np.random.default_rng(4).standard_normal((4, 3))
L = np.array([0, 0, 1, 1, 2, 2])
RL = np.array([0, 1, 2, 0])


def supcon(x=X, labels=L, **options):
    return fastcos.supervised_contrastive_loss(x, labels, **options)


def info_nce(x1=X, x2=X[::-1], **options):
    return fastcos.info_nce_loss(x1, x2, **options)


def cosface(x=X, proxies=R, labels=L, **options):
    return fastcos.cosface_loss(x, proxies, labels, **options)


def with_grad(loss, argnums=None):
    return fastcos.value_and_grad(getattr(fastcos, loss), argnums)


NCE, SUPCON = "info_nce_loss", "supervised_contrastive_loss"
CASES = {
    "1-D": (lambda: supcon(X[0]), ValueError, r"x must have shape \(N, D\), got \(3,\)"),
    "3-D": (lambda: supcon(X[None]), ValueError, r"x must have shape .* got \(1, 6, 3\)"),
    "1-D x2": (lambda: info_nce(x2=X[0]), ValueError, r"x2 must have shape"),
    "3-D proxies": (lambda: cosface(proxies=R[None]), ValueError, "proxies must have shape"),
    "no features": (lambda: supcon(X[:, :0]), ValueError, "x must have features"),
    "features": (lambda: info_nce(x2=X[:, :2]), ValueError, r"x1 and x2 .*features.*\(6, 2\)"),
    "features of the bank": (
        lambda: supcon(ref=R[:, :2], ref_labels=RL),
        ValueError,
        "x and ref must have as many features",
    ),
    "features of proxies": (
        lambda: cosface(proxies=R[:, :2]),
        ValueError,
        "x and proxies must have as many features",
    ),
    "length": (lambda: info_nce(x2=R), ValueError, "x1 and x2 must have as many rows"),
    "length of SigLIP": (
        lambda: fastcos.sigmoid_contrastive_loss(X, R),
        ValueError,
        "x1 and x2 must have as many rows",
    ),
    "few labels": (lambda: supcon(labels=L[:3]), ValueError, r"labels must have shape \(6,\)"),
    "2-D labels": (lambda: supcon(labels=L[:, None]), ValueError, r"labels .*got \(6, 1\)"),
    "one label": (lambda: supcon(labels=1), ValueError, r"labels must have shape \(6,\)"),
    "labels of the bank": (
        lambda: supcon(ref=R, ref_labels=L),
        ValueError,
        r"ref_labels must have shape \(4,\), one for each row of ref",
    ),
    "negative": (lambda: supcon(labels=L - 1), ValueError, "labels must be at least 0; got -1 at"),
    "negative in the bank": (
        lambda: supcon(ref=R, ref_labels=RL - 1),
        ValueError,
        "ref_labels must be at least 0; got -1 at position 0",
    ),
    "float labels": (lambda: supcon(labels=L * 1.0), TypeError, "labels must be integers"),
    "names": (lambda: supcon(labels=L.astype(str)), TypeError, r"np.unique\(labels, return_inv"),
    "float labels of the bank": (
        lambda: supcon(ref=R, ref_labels=RL * 1.0),
        TypeError,
        "ref_labels must be integers",
    ),
    "complex labels": (lambda: supcon(labels=L * 1j), TypeError, "labels has dtype complex128"),
    "no labels": (lambda: supcon(labels=None), TypeError, "labels must be given"),
    "labels left out": (lambda: fastcos.supervised_contrastive_loss(X), TypeError, "labels"),
    "beyond the proxies": (
        lambda: cosface(labels=L + 2),
        ValueError,
        "labels must be from 0 to 3, as there are 4 classes; got 4 at position 4",
    ),
    "beyond the proxies that are anchors": (
        lambda: fastcos.proxy_anchor_loss(X, R, L + 2),
        ValueError,
        "labels must be from 0 to 3",
    ),
    "ref alone": (lambda: supcon(ref=R), TypeError, "ref_labels must be given"),
    "ref_labels alone": (lambda: supcon(ref_labels=RL), TypeError, "ref_labels are the labels of"),
    "temperature 0": (lambda: info_nce(temperature=0), ValueError, "temperature must be greater"),
    "temperature < 0": (
        lambda: supcon(temperature=-1.0),
        ValueError,
        "temperature must be greater",
    ),
    "temperature NaN": (lambda: supcon(temperature=np.nan), ValueError, "temperature must be fin"),
    "temperature inf": (lambda: supcon(temperature=np.inf), ValueError, "temperature must be fin"),
    "array 0": (lambda: info_nce(temperature=np.array(0.0)), ValueError, "temperature must be gr"),
    "array NaN": (lambda: info_nce(temperature=np.array(np.nan)), ValueError, "temperature must"),
    "array of one": (lambda: supcon(temperature=np.ones(1)), TypeError, "temperature must be a re"),
    "two": (lambda: supcon(temperature=[1.0, 2.0]), TypeError, "temperature must be a real number"),
    "word": (lambda: supcon(temperature="warm"), TypeError, "temperature must be a real number"),
    "complex temperature": (
        lambda: supcon(temperature=np.array(1j)),
        TypeError,
        "temperature has dtype complex128",
    ),
    "bias": (
        lambda: fastcos.sigmoid_contrastive_loss(X, X, bias=np.nan),
        ValueError,
        "bias must be finite",
    ),
    "alpha": (lambda: fastcos.multi_similarity_loss(X, L, alpha=0), ValueError, "alpha must be gr"),
    "beta": (lambda: fastcos.multi_similarity_loss(X, L, beta=-1), ValueError, "beta must be gre"),
    "base": (
        lambda: fastcos.multi_similarity_loss(X, L, base="a"),
        TypeError,
        "base must be a real",
    ),
    "gamma": (lambda: fastcos.circle_loss(X, L, gamma=0.0), ValueError, "gamma must be greater"),
    "margin": (lambda: fastcos.circle_loss(X, L, margin=np.inf), ValueError, "margin must be fin"),
    "pos_margin": (
        lambda: fastcos.contrastive_loss(X, L, pos_margin=np.nan),
        ValueError,
        "pos_margin must be finite",
    ),
    "neg_margin": (
        lambda: fastcos.lifted_structure_loss(X, L, neg_margin=None),
        TypeError,
        "neg_margin must be a real number",
    ),
    "scale": (lambda: cosface(scale=0), ValueError, "scale must be greater than 0"),
    "scale of arcface": (
        lambda: fastcos.arcface_loss(X, R, L, scale=-3),
        ValueError,
        "scale must be greater than 0, got -3",
    ),
    "scale of nca": (lambda: fastcos.nca_loss(X, L, scale=0), ValueError, "scale must be greater"),
    "scale of proxy nca": (
        lambda: fastcos.proxy_nca_loss(X, R, L, scale=0),
        ValueError,
        "scale must be greater",
    ),
    "alpha of proxy anchor": (
        lambda: fastcos.proxy_anchor_loss(X, R, L, alpha=0),
        ValueError,
        "alpha must be greater",
    ),
    "margin of triplets": (
        lambda: fastcos.batch_all_triplet_loss(X, L, margin=np.nan),
        ValueError,
        "margin must be finite",
    ),
    "soft": (lambda: fastcos.batch_hard_triplet_loss(X, L, soft=2), TypeError, "soft must be True"),
    "symmetric": (lambda: info_nce(symmetric="yes"), TypeError, "symmetric must be True or False"),
    "distance": (
        lambda: supcon(distance="cosin"),
        ValueError,
        "distance must be one of cosine, dot.*got 'cosin': did you mean 'cosine'",
    ),
    "a distance of pairs": (lambda: supcon(distance="manhattan"), ValueError, "distance must be"),
    "a record": (
        lambda: supcon(distance=fastcos.distances.cosine()),
        ValueError,
        "distance must be one of",
    ),
    "reduction": (
        lambda: supcon(reduction="avg"),
        ValueError,
        "reduction must be one of none, sum, mean",
    ),
    "block 0": (lambda: supcon(block=0), ValueError, "block must be at least 1, got 0"),
    "block a": (lambda: supcon(block="a"), TypeError, "block must be an integer.*got 'a'"),
    "block 1.5": (lambda: supcon(block=1.5), TypeError, "block must be an integer"),
    "block True": (lambda: supcon(block=True), TypeError, "block must be an integer"),
    "weights": (lambda: supcon(weight=[1.0, 2.0]), ValueError, r"weight must be a scalar .*\(6,\)"),
    "2-D weights": (lambda: supcon(weight=np.ones((6, 1))), ValueError, r"weight .*\(6, 1\)"),
    "word as weight": (lambda: supcon(weight="heavy"), TypeError, "weight has dtype"),
    "rows": (
        lambda: supcon(fastcos.rows(X, [0, 1]), [0, 1]),
        TypeError,
        r"x is rows of a table.*table\[index\]",
    ),
    "rows as a bank": (
        lambda: supcon(ref=fastcos.rows(R, [0, 1]), ref_labels=[0, 1]),
        TypeError,
        "ref is rows of a table",
    ),
    "rows as proxies": (
        lambda: cosface(proxies=fastcos.rows(R, [0, 1, 2])),
        TypeError,
        "proxies is rows of a table",
    ),
    "keyword": (
        lambda: supcon(margin=2),
        TypeError,
        r"supervised_contrastive_loss\(\) got an unexpected keyword argument 'margin'.*takes x, la",
    ),
    "keyword misspelled": (
        lambda: supcon(temprature=2),
        TypeError,
        "'temprature': did you mean 'temperature'?",
    ),
    "keyword of the gradient": (
        lambda: supcon(grad_output=2),
        TypeError,
        "'grad_output': that is for fastcos.value_and_grad",
    ),
    "no distance": (
        lambda: fastcos.circle_loss(X, L, distance="dot"),
        TypeError,
        "unexpected keyword argument 'distance'",
    ),
    "complex": (lambda: supcon(X * 1j), TypeError, "x has dtype complex128"),
    "complex x2": (lambda: info_nce(x2=X * 1j), TypeError, "x2 has dtype complex128"),
    "objects": (lambda: supcon(X.astype(object)), TypeError, "x has dtype object"),
    "strings": (lambda: supcon(X.astype(str)), TypeError, "x has dtype <U"),
    "masked": (lambda: supcon(np.ma.array(X)), TypeError, "x is a masked array"),
    "long double": (lambda: supcon(X.astype(np.longdouble)), TypeError, "x has dtype"),
    "ragged": (lambda: supcon([[1.0], [1.0, 2.0]], [0, 1]), ValueError, "x"),
    "no Listwise": (
        lambda: fastcos.listwise_loss(X, L, "nce"),
        TypeError,
        "loss must be a fastcos.Listwise, got str",
    ),
    "no function": (
        lambda: fastcos.listwise_loss(X, L, APART._replace(slope=None)),
        TypeError,
        "slope of apart must be a function, got None",
    ),
    "of": (
        lambda: fastcos.listwise_loss(X, L, APART._replace(of="angle")),
        ValueError,
        "of of apart must be 'similarity' or 'distance', got 'angle'",
    ),
    "sums": (
        lambda: fastcos.listwise_loss(X, L, APART._replace(sums=0)),
        ValueError,
        "sums of apart must be an integer, at least 1",
    ),
    "check of no Listwise": (
        lambda: fastcos.check_listwise(3),
        TypeError,
        "must be a fastcos.List",
    ),
    "argnums of labels": (
        lambda: with_grad(SUPCON, "labels"),
        TypeError,
        "argnums must be among x .*temperature.*got 'labels'",
    ),
    "argnums of ref_labels": (lambda: with_grad(SUPCON, ("x", "ref_labels")), TypeError, "argnums"),
    "argnums of the weight": (lambda: with_grad(SUPCON, "weight"), TypeError, "argnums must be"),
    "argnums of a margin": (
        lambda: with_grad("circle_loss", "margin"),
        TypeError,
        "argnums must be",
    ),
    "argnums 1 of one": (lambda: with_grad(SUPCON, 1), TypeError, "argnums must be among x"),
    "argnums 2 of two": (lambda: with_grad(NCE, 2), TypeError, "argnums must be among x1, x2"),
    "argnums twice": (lambda: with_grad(NCE, (0, "x1")), TypeError, "argnums names an argument tw"),
    "argnums of a bank that is not there": (
        lambda: with_grad(SUPCON, "ref")(X, L),
        TypeError,
        "the gradient of ref needs ref to be given",
    ),
    "upstream": (
        lambda: with_grad(SUPCON)(X, L, grad_output=np.ones(6)),
        ValueError,
        r"grad_output .*got shape \(6,\)",
    ),
    "upstream of each": (
        lambda: with_grad(SUPCON)(X, L, grad_output=np.ones(5), reduction="none"),
        ValueError,
        r"grad_output .*\(6,\).*got shape \(5,\)",
    ),
    "accumulate without out": (
        lambda: with_grad(SUPCON)(X, L, accumulate=True),
        TypeError,
        "needs out to be given",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case):
    call, error, message = CASES[case]
    with pytest.raises(error, match=f"(?s){message}"):
        call()


def test_bad_input_is_said_for_every_loss():
    for name in NAMES:
        batch = drawn(name)
        for key in batch.rows:
            for bad, error in ((batch.rows[key][0], ValueError), (batch.rows[key] * 1j, TypeError)):
                changed = batch._replace(rows={**batch.rows, key: bad})
                with pytest.raises(error, match=rf"^{key} "):
                    value_of(name, changed)
        if batch.labels:
            for bad in (batch.labels["labels"] * 1.0, batch.labels["labels"] - 5):
                with pytest.raises((TypeError, ValueError), match=r"^labels must be"):
                    value_of(name, batch._replace(labels={"labels": bad}))
        with pytest.raises(TypeError, match=re.escape(f"{name}() got an unexpected keyword")):
            value_of(name, batch, metric=1)
        with pytest.raises(ValueError, match="block must be at least 1, got -1"):
            value_of(name, batch, block=-1)
        with pytest.raises(TypeError, match="argnums must be among"):
            fastcos.grad(getattr(fastcos, name), "labels")


def buffers():
    return [np.full((6, 3), 7.0), np.full((4, 3), 7.0)]


def frozen():
    buffer = np.full((6, 3), 7.0)
    buffer.flags.writeable = False
    return [buffer, buffers()[1]]


ONE = np.full((12, 3), 7.0)
OUT = {
    "shape": (lambda: [np.full((6, 2), 7.0), buffers()[1]], ValueError, r"out for x .*\(6, 3\)"),
    "shape of the second": (
        lambda: [buffers()[0], np.full((5, 3), 7.0)],
        ValueError,
        r"out for proxies must have shape \(4, 3\)",
    ),
    "dtype": (
        lambda: [buffers()[0].astype("f4"), buffers()[1]],
        TypeError,
        "out for x must have .* dtype float64",
    ),
    "read-only": (frozen, ValueError, "out for x is read-only"),
    "no array": (lambda: [buffers()[0], [1.0]], TypeError, "out for proxies must be a NumPy array"),
    "shared": (
        lambda: [ONE[:6], ONE[5:9]],
        ValueError,
        "out for proxies shares memory with out for x",
    ),
    "overlapping itself": (
        lambda: [np.broadcast_to(np.full(3, 7.0), (6, 3)), buffers()[1]],
        ValueError,
        "out for x is (read-only|a broadcast view)",
    ),
    "too few": (
        lambda: buffers()[:1],
        TypeError,
        "out must hold one buffer for each of x, proxies",
    ),
}


@pytest.mark.parametrize("case", OUT)
def test_a_buffer_that_does_not_fit_is_left_as_it_was(case):
    make, error, message = OUT[case]
    out = make()
    with pytest.raises(error, match=message):
        with_grad("cosface_loss")(X, R, L, out=out)
    for buffer in out:
        assert (np.asarray(buffer) == 7).all() or isinstance(buffer, list)


@pytest.mark.parametrize(
    "options",
    [
        {"labels": L + 9},
        {"labels": L * 1.0},
        {"weight": np.ones(2)},
        {"margin": np.nan},
        {"block": 0},
        {"reduction": "avg"},
        {"grad_output": np.ones(6)},
        {"proxies": R * 1j},
    ],
    ids=lambda options: next(iter(options)),
)
def test_a_failed_call_leaves_buffers_as_they_were(options):
    out = buffers()
    given = {"x": X, "proxies": R, "labels": L, "out": out} | options
    with pytest.raises((TypeError, ValueError)):
        with_grad("cosface_loss")(**given)
    for buffer in out:
        assert (buffer == 7).all()


@pytest.mark.parametrize("name", ["x", "proxies", "weight", "temperature"])
def test_a_buffer_that_shares_memory_with_an_argument(name):
    x, proxies, weight, temperature = X.copy(), R.copy(), np.ones(6), np.array(0.5)
    wanted = ("x", "proxies", "temperature")
    out = [np.zeros((6, 3)), np.zeros((4, 3)), np.zeros(())]
    if name == "weight":
        out[0] = memory = np.zeros((6, 3))
        weight = memory[:, 0]
    else:
        out[wanted.index(name)] = {"x": x, "proxies": proxies, "temperature": temperature}[name]
    before = [buffer.copy() for buffer in out]
    f = with_grad("normalized_softmax_loss", wanted)
    with pytest.raises(ValueError, match=f"out for .* shares memory with {name}"):
        f(x, proxies, L, temperature=temperature, weight=weight, out=out)
    for buffer, was in zip(out, before, strict=True):
        assert_same_bits(buffer, was)


def test_one_number_in_every_form_is_a_temperature():
    right, slope = with_grad(NCE, "temperature")(X, X[::-1], temperature=0.5)
    for half in (np.float64(0.5), np.float32(0.5), np.array(0.5), np.array(0.5, "f4")):
        value, grad = with_grad(NCE, "temperature")(X, X[::-1], temperature=half)
        assert_same_bits(value, right)
        assert_same_bits(grad, slope)


def test_the_oracle_knows_every_loss():
    from fastcos.api.calls import BATCHED

    known = {loss.__name__ for loss in BATCHED} - {"listwise_loss"}
    assert known == set(NAMES)
    for loss, (first, more) in BATCHED.items():
        row = LOSSES.get(loss.__name__)
        if row is not None:
            banked = ("ref",) if row.kind == LABELLED else ()
            assert {*first} == {PAIRS: {"x1", "x2"}, PROXIES: {"x", "proxies"}}.get(row.kind, {"x"})
            assert {*more} == {*row.learnable, *banked}


MINE = fastcos.Listwise(
    "mine",
    start=lambda row: (1.0,),
    accumulate=lambda sums, c, each: (sums[0] + each.s,),
    finalize=lambda sums, c, row: (sums[0], 1.0, c),
    slope=lambda c, each: c[0],
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": lambda row: 1.0}, "start of mine must return a tuple, got 1.0"),
        ({"parameters": (2.0,)}, r"start of mine must take 2 arguments, \(row, \*parameters\)"),
        ({"slope": lambda c: c[0]}, r"slope of mine must take 2 arguments, \(coefficients, cand"),
        ({"ordered": True}, r"accumulate of mine must take 4 arguments, \(.*, candidate, order\)"),
        ({"accumulate": lambda sums, c, each: (0.0, 0.0)}, "accumulate of mine .* tuple of 1"),
        ({"accumulate": lambda sums, c, each: 0.0}, "accumulate of mine must return a tuple"),
        ({"finalize": lambda sums, c, row: (0.0, 1.0)}, "finalize of mine .* tuple of 3"),
        ({"finalize": lambda sums, c, row: (0.0, 1.0, 2.0)}, "coefficients that finalize of mine"),
        (
            {"finalize": lambda sums, c, row: (0.0, 0.0, c if row.positives else ())},
            r"of one length, got \(1.0,\), and \(\) of an anchor without a positive",
        ),
        (
            {"finalize": lambda sums, c, row: (0.0, 1 / row.positives, c if row.negatives else ())},
            r"of one length, got \(1.0,\), and \(\) of an anchor without a negative",
        ),
        ({"slope": lambda c, each: (1.0,)}, "slope of mine must return a number"),
        ({"parameters": 1.0}, "parameters of mine must be a tuple"),
        ({"survey": [1]}, "survey of mine must be a Survey"),
    ],
)
def test_what_functions_of_mine_return_is_looked_at(change, message):
    with pytest.raises(TypeError, match=message):
        fastcos.listwise_loss(np.eye(3), [0, 0, 1], MINE._replace(**change))


def test_what_functions_of_mine_raise_is_raised():
    def start(row):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fastcos.check_listwise(MINE._replace(start=start))
