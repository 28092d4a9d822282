"""Rows of a table as operands, against the oracle on rows that were gathered and scattered here."""

import math
import os
import subprocess
import sys
import tracemalloc
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import oracle
import pytest

import fastcos
from fastcos import Distance, distances, grad, value_and_grad
from fastcos.distances import Refinements

pytestmark = pytest.mark.host

COUNTS = (1, 2, 3, 13, 64)
FEATURES = (1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97, 300)
TRIPLET = ("anchor", "positive", "negative")

# --------------------------------------------------------------------------------------------------
# What is expected
# --------------------------------------------------------------------------------------------------


class Named(NamedTuple):
    """An operand that is rows of a table, of which fastcos knows nothing yet."""

    table: Any
    index: Any
    sparse: bool = False


def given(operands):
    """The operands as fastcos takes them."""
    return [fastcos.rows(*each) if isinstance(each, Named) else each for each in operands]


def gathered(operand, axis=-1):
    """The rows in extended precision, the feature axis last."""
    if not isinstance(operand, Named):
        return np.moveaxis(oracle.wide(operand), axis, -1)
    return np.moveaxis(oracle.wide(operand.table)[np.asarray(operand.index, int)], axis, -1)


def spread(operands, axis=-1):
    """The same of all operands, with a row for every sample."""
    rows = [gathered(operand, axis) for operand in operands]
    samples = np.broadcast_shapes(*(x.shape[:-1] for x in rows))
    return [np.broadcast_to(x, (*samples, x.shape[-1])) for x in rows]


def scattered(operands, slopes, axis=-1):
    """The slopes of every sample's rows added up where the rows are from: one for each array."""
    sums: dict[Any, Any] = {}
    for place, (operand, slope) in enumerate(zip(operands, slopes, strict=True)):
        named = isinstance(operand, Named)
        array = operand.table if named else operand
        key = id(array) if named else place
        total = sums.setdefault(key, np.zeros(np.shape(array), oracle.LD))
        total = np.moveaxis(total, axis, -1)
        slope = oracle.unbroadcast(slope, gathered(operand, axis).shape)
        if named:
            np.add.at(total, np.asarray(operand.index, int), slope)
        else:
            total += slope
    return list(sums.values())


class Expected(NamedTuple):
    """Value, gradient of each array, and the size of the terms that each gradient is a sum of."""

    value: Any
    grads: list[Any]
    terms: list[Any]
    scale: Any = None  # of the value
    weight_grad: Any = None
    weight_scale: Any = None


def expected(name, operands, target=None, *, axis=-1, **kwargs):
    """What a loss gives."""
    rows = spread(operands, axis)
    result = oracle.loss(name, rows, target, **kwargs)
    sums = scattered(operands, result.grads, axis)
    sizes = [np.abs(g) for g in result.grads]
    if name.startswith("cosine"):
        # Those of the cosine cancel where rows are nearly parallel; they come with its share in
        # the result, which is the gradient of a loss that is its only operand.
        share = {k: kwargs[k] for k in ("weight", "reduction", "grad_output") if k in kwargs}
        share.setdefault("reduction", oracle.LOSSES[name].reduction)
        one = oracle.loss("hinge_embedding_loss", (0 * rows[0][..., 0],), 1, **share).grads[0]
        with np.errstate(all="ignore"):
            _, *slopes = oracle.distance_terms("cosine", *rows)
        slopes = [np.nan_to_num(np.abs(one)[..., None] * slope) for slope in slopes]
        sizes = [np.maximum(size, slope) for size, slope in zip(sizes, slopes, strict=True)]
    terms = scattered(operands, sizes, axis)
    weights = result.weight_grad, result.weight_magnitude
    return Expected(result.value, sums, terms, result.magnitude, *weights)


def of_distance(formula, operands, grad_output=1.0, *, axis=-1, terms=None):
    """What a distance gives, by a formula ``(x, y) -> (d, dx, dy)`` on rows, and its terms."""
    rows = spread(operands, axis)
    d, *slopes = formula(*rows)
    upstream = np.broadcast_to(oracle.wide(grad_output), d.shape)[..., None]
    scale, *sizes = np.abs(d), *map(oracle.row_scale, slopes)
    if terms:
        with np.errstate(all="ignore"):
            scale, *sizes = map(np.nan_to_num, terms(*rows))
    sizes = [np.abs(upstream) * (size + 0 * row) for size, row in zip(sizes, rows, strict=True)]
    sums = scattered(operands, [upstream * slope for slope in slopes], axis)
    return Expected(d, sums, scattered(operands, sizes, axis), scale)


def named_distance(name, operands, grad_output=1.0, *, axis=-1, **parameters):
    """What a distance of the library gives."""
    return of_distance(
        lambda x, y: oracle.distance(name, x, y, **parameters),
        *(operands, grad_output),
        axis=axis,
        terms=lambda x, y: oracle.distance_terms(name, x, y, **parameters),
    )


# --------------------------------------------------------------------------------------------------
# Assertions
# --------------------------------------------------------------------------------------------------

#: Units in the last place: of float64 those of the terms, of the others those of the result.
ULPS = {"float16": 1, "bfloat16": 1, "float32": 2, "float64": 32}


def assert_close(actual, right, terms, axis=-1):
    """A gradient to the accuracy of its dtype, by rows; where it has no terms it is zero."""
    actual = np.asarray(actual)
    terms = np.broadcast_to(oracle.row_scale(terms, axis), right.shape)
    assert actual.shape == right.shape
    assert not actual[terms == 0].any()
    scale = terms
    if actual.dtype != np.float64:
        # What cancels was added up in float64, or in float32 for rows of half types.
        least = terms * oracle.LD(2) ** -(ml_dtypes.finfo(actual.dtype).nmant + 1)
        scale = np.maximum(np.broadcast_to(oracle.row_scale(right, axis), right.shape), least)
    oracle.assert_within_ulps(actual, right, ULPS[actual.dtype.name], scale=scale)


def assert_value(actual, right):
    actual = np.asarray(actual)
    scale = right.scale
    if actual.dtype != np.float64:
        scale = np.maximum(np.abs(right.value), scale * ml_dtypes.finfo(actual.dtype).eps / 2)
    oracle.assert_within_ulps(actual, right.value, ULPS[actual.dtype.name], scale=scale)


def dense(gradient, table):
    """The gradient of a table as an array, whatever it came as."""
    if not isinstance(gradient, fastcos.RowGradient):
        return gradient
    rows, values = gradient
    assert rows.dtype == np.int64
    assert (np.diff(rows) > 0).all()
    assert values.shape == (len(rows), *np.shape(table)[1:])
    array = np.zeros(np.shape(table), values.dtype)
    array[rows] = values
    return array


def arrays_of(operands):
    """Each array that was given, once."""
    arrays = {}
    for place, operand in enumerate(operands):
        named = isinstance(operand, Named)
        array = operand.table if named else operand
        arrays.setdefault(id(array) if named else place, array)
    return list(arrays.values())


def assert_agree(value, grads, operands, right, axis=-1):
    """A value and the gradients of all arrays."""
    assert_value(value, right)
    arrays = arrays_of(operands)
    assert len(grads) == len(arrays) == len(right.grads)
    for g, array, sums, terms in zip(grads, arrays, right.grads, right.terms, strict=True):
        g, own = dense(g, array), np.asarray(array).dtype
        assert g.dtype == (value.dtype if own.kind in "iub" else own)
        assert_close(g, sums, terms, axis)


def check_loss(name, operands, target=None, *, options=None, **kwargs):
    """A loss and all of its gradients; ``options`` are what fastcos calls otherwise."""
    args = given(operands) + ([] if target is None else [target])
    loss = getattr(fastcos, name)
    options = kwargs if options is None else options
    value, grads = value_and_grad(loss)(*args, **options)
    right = expected(name, operands, target, **kwargs)
    assert_agree(value, grads, operands, right, kwargs.get("axis", -1))
    # The value alone is computed by the same code.
    options = {k: v for k, v in options.items() if k != "grad_output"}
    oracle.assert_same_bits(loss(*args, **options), value)
    return value, grads


def check_distance(name, operands, grad_output=1.0, *, axis=-1, **parameters):
    """A distance and both of its gradients."""
    which = distances.lp(**parameters) if name == "lp" else name
    value, grads = value_and_grad(fastcos.paired_distance)(
        *given(operands), which, axis=axis, grad_output=grad_output
    )
    right = named_distance(name, operands, grad_output, axis=axis, **parameters)
    assert_agree(value, grads, operands, right, axis)
    return value, grads


def pairs(rng, rows, count):
    """Indices of two different rows each, some of them negative, many of them more than once."""
    i = rng.integers(0, rows, count)
    j = (i + rng.integers(1, rows, count)) % rows
    return i - rows * (rng.random(count) < 0.3), j


def labels_of(rng, shape):
    return rng.choice([-1, 1], shape)


# --------------------------------------------------------------------------------------------------
# All functions, dtypes and sizes
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*distances.DISTANCES, "lp"])
def test_every_distance_at_corner_sizes(rng, name):
    parameters = {"p": 3} if name == "lp" else {}
    for place, features in enumerate(FEATURES):
        count = COUNTS[place % len(COUNTS)]
        for rows in (7, 90):
            table = oracle.draw(rng, name, (rows, features), np.float32)
            i, j = pairs(rng, rows, count)
            upstream = rng.standard_normal(count)
            check_distance(name, (Named(table, i), Named(table, j)), upstream, **parameters)


# A half type each: kernels take two seconds to compile, and read both alike.
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *(("cosine", np.float16), ("cosine", np.float64)),
        *(("euclidean", ml_dtypes.bfloat16), ("euclidean", np.float64)),
    ],
)
def test_other_dtypes(rng, name, dtype):
    for features, count in ((1, 5), (5, 64), (33, 13), (300, 40)):
        table = rng.standard_normal((9, features)).astype(dtype)
        i, j = pairs(rng, 9, count)
        check_distance(name, (Named(table, i), Named(table, j)), rng.standard_normal(count))


@pytest.mark.parametrize(
    ("dtype", "result"),
    [(np.int8, np.float32), (np.uint16, np.float32), (bool, np.float32), (np.int64, np.float64)],
)
def test_tables_of_integers(rng, dtype, result):
    table = rng.integers(0, 2 if dtype is bool else 100, (9, 17)).astype(dtype)
    i, j = pairs(rng, 9, 30)
    value, (g,) = check_distance("euclidean", (Named(table, i), Named(table, j)))
    assert value.dtype == g.dtype == result


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.float32, np.float64),
        (np.float16, ml_dtypes.bfloat16),
        (np.int16, np.float64),
        (np.float16, np.int8),
    ],
)
@pytest.mark.parametrize("count", [3, 40])
def test_tables_of_two_dtypes(rng, one, other, count):
    a, b = (4 * rng.standard_normal((2, 9, 17))).astype(one), (4 * rng.standard_normal((7, 17)))
    a, b = a[0] + a[1], b.astype(other)
    operands = Named(a, rng.integers(0, 9, count)), Named(b, rng.integers(0, 7, count))
    check_distance("euclidean", operands, rng.standard_normal(count))


def test_a_similarity(rng):
    table = rng.standard_normal((9, 17)).astype(np.float32)
    upstream = rng.standard_normal(30)
    operands = [Named(table, index) for index in pairs(rng, 9, 30)]
    f = value_and_grad(fastcos.cosine_similarity)
    value, grads = f(*given(operands), grad_output=upstream)
    right = named_distance("cosine_similarity", operands, upstream)
    assert_agree(value, grads, operands, right)
    value, grads = f(*given(operands), grad_output=upstream, eps=0.5)
    right = named_distance("cosine_similarity", operands, upstream, eps=0.5)
    assert_agree(value, grads, operands, right)


@pytest.mark.parametrize("reduction", oracle.REDUCTIONS)
def test_cosine_embedding_loss(rng, reduction):
    table, target = rng.standard_normal((9, 17)), labels_of(rng, 30)
    operands = [Named(table, index) for index in pairs(rng, 9, 30)]
    upstream = rng.standard_normal(30) if reduction == "none" else -1.75
    for weight in (None, 0.5, rng.choice([0, 0.5, 2.0], 30)):
        more = {"reduction": reduction, "weight": weight, "grad_output": upstream}
        _, (g,) = check_loss(
            *("cosine_embedding_loss", operands, target), margin=0.1, pos_margin=0.9, **more
        )
        assert g.any()


@pytest.mark.parametrize("normalize", [True, False])
def test_cosine_distance_loss(rng, normalize):
    table = rng.standard_normal((9, 17)).astype(np.float32)
    operands = [Named(table, index) for index in pairs(rng, 9, 30)]
    weight = rng.choice([0, 0.5, 2.0], 30)
    options = {"normalize": normalize, "weights": weight}
    check_loss(
        *("cosine_distance_loss", operands), options=options, normalize=normalize, weight=weight
    )


@pytest.mark.parametrize(("p", "swap"), [(2, False), (2, True), (1, False)])
def test_triplet_margin_loss(rng, p, swap):
    table = rng.standard_normal((11, 6))
    a, b = pairs(rng, 11, 40)
    operands = Named(table, a), Named(table, b), Named(table, rng.integers(0, 11, 40))
    for reduction, upstream in (("none", rng.standard_normal(40)), ("mean", 3.0)):
        more = {"p": p, "swap": swap, "reduction": reduction, "grad_output": upstream}
        value, _ = check_loss("triplet_margin_loss", operands, eps=0.01, **more)
    value = fastcos.triplet_margin_loss(*given(operands), p=p, swap=swap, reduction="none")
    assert (value > 0).any()
    assert (value == 0).any()


def test_triplets_of_any_distance(rng):
    table = rng.standard_normal((11, 17)).astype(np.float32)
    index = rng.integers(0, 11, (3, 40))
    index[1:] += (index[1:] == index[0]) * 3
    operands = [Named(table, each % 11) for each in index]
    more = {"distance_function": "cosine", "margin": 0.1}
    check_loss("triplet_margin_with_distance_loss", operands, **more)


def test_triplets_of_a_callable_have_a_value(rng):
    table = rng.standard_normal((11, 17))
    index = rng.integers(0, 11, (3, 40))
    args = given([Named(table, each) for each in index])

    def measure(x, y):
        return abs(x - y).max(-1)

    loss = fastcos.triplet_margin_with_distance_loss
    a, p, n = table[index]
    right = np.maximum(0, measure(a, p) - measure(a, n) + 1)
    found = loss(*args, distance_function=measure, reduction="none")
    np.testing.assert_allclose(found, right, rtol=1e-14)


# One of a single state, and one of several that are integers and parameters, which is prepared.
LOG_COSH = Distance(
    "log_cosh",
    init=lambda zero: (zero,),
    accumulate=lambda state, x, y: (state[0] + math.log(math.cosh(x - y)),),
    finalize=lambda state: state[0],
    gradient=lambda state, d, x, y: (math.tanh(x - y), -math.tanh(x - y)),
)
# d = a √Σ(x - y)² + b n Σ(x + 2y), with n components
SEVERAL = Distance(
    "several",
    init=lambda zero, a, b: (0, 0, zero, a, b),
    accumulate=lambda s, x, y: (s[0] + 1, s[1] + (x - y) ** 2, s[2] + x + 2 * y, s[3], s[4]),
    finalize=lambda s: s[3] * math.sqrt(s[1]) + s[4] * s[0] * s[2],
    gradient=lambda s, d, x, y: (s[0] * (x - y) + s[1], s[0] * (y - x) + 2 * s[1]),
    refinements=Refinements(
        prepare=lambda s, d: (s[3] / math.sqrt(s[1]), s[4] * s[0]),
        merge=lambda s, t: (s[0] + t[0], s[1] + t[1], s[2] + t[2], s[3], s[4]),
    ),
    parameters=(2.0, 0.25),
)


def log_cosh(x, y):
    slope = np.tanh(x - y)
    return np.log(np.cosh(x - y)).sum(-1), slope, -slope


def several(x, y, a=2.0, b=0.25):
    t, n = x - y, x.shape[-1]
    norm = np.sqrt((t * t).sum(-1, keepdims=True))
    d = a * norm[..., 0] + b * n * (x + 2 * y).sum(-1)
    return d, a * t / norm + b * n, -a * t / norm + 2 * b * n


@pytest.mark.parametrize(
    ("record", "formula"),
    [
        (LOG_COSH, log_cosh),
        (SEVERAL, several),
        (
            SEVERAL._replace(parameters=(-0.5, 3.0)),
            lambda x, y: several(x, y, -0.5, 3.0),
        ),
    ],
    ids=["log_cosh", "several", "other parameters"],
)
def test_distances_of_ones_own(rng, record, formula):
    for features in (1, 6, 97, 300):
        table, other = rng.standard_normal((9, features)), rng.standard_normal((30, features))
        i, j = pairs(rng, 9, 30)
        upstream = rng.standard_normal(30)
        for operands in ((Named(table, i), Named(table, j)), (Named(table, i), other)):
            value, grads = value_and_grad(fastcos.paired_distance)(
                *given(operands), record, grad_output=upstream
            )
            right = of_distance(formula, operands, upstream)
            # Of terms that cancel in d.
            right = right._replace(scale=right.scale + 4 * features**1.5)
            assert_agree(value, grads, operands, right)


# --------------------------------------------------------------------------------------------------
# Indices
# --------------------------------------------------------------------------------------------------


INDICES = {
    "duplicates": ([4, 4, 4, 4, 4], [1, 1, 2, 2, 1]),
    "negative": ([-1, -7, 0, -2, 6], [0, -1, -7, 3, -3]),
    "one": ([3], [5]),
    "0-d": (3, -1),
    "0-d and more": (3, [0, 1, 2, 4]),
    "two axes": ([[0, 1, 2], [3, 4, 5]], [[6, 5, 4], [1, 1, 1]]),
    "column and row": ([[0], [1], [1]], [[2, 3, 4, -1]]),
    "axes that are added": ([1, 2], [[[3], [4]], [[3], [5]]]),
    "(0)": ([], []),
    "(0, 3)": (np.zeros((0, 1), int), [[4, 5, 6]]),
    "int8": (np.array([-7, 6], np.int8), np.array([1, 2], np.uint8)),
    "uint64": (np.array([0, 6], np.uint64), np.array([1, 2], np.uint32)),
    "big-endian": (np.array([0, 6], ">i4"), np.array([1, -2], ">i8")),
    "strided": (np.arange(7)[::-2], np.arange(12).reshape(3, 4)[:, 1][:1]),
    "read-only": (np.broadcast_to(np.array([2]), (5,)), range(5)),
    "ranges": (range(3), range(4, 7)),
    "a tuple": ((0, 1), (2, 3)),
}


@pytest.mark.parametrize("case", INDICES)
def test_indices_of_any_kind(rng, case):
    table = rng.standard_normal((7, 5))
    operands = [Named(table, index) for index in INDICES[case]]
    shape = np.broadcast_shapes(*(np.shape(index) for index in INDICES[case]))
    target, upstream = labels_of(rng, shape), rng.standard_normal(shape)
    options = {"margin": -0.5, "reduction": "none", "grad_output": upstream}
    value, (g,) = check_loss("cosine_embedding_loss", operands, target, **options)
    assert value.shape == shape
    assert g.any() == (value.size > 0)
    check_loss("cosine_embedding_loss", operands, target, reduction="sum")


def test_rows_broadcast_like_arrays(rng):
    table, other = rng.standard_normal((2, 7, 5))
    plain = rng.standard_normal((4, 1, 5))
    options = {"margin": -0.5, "reduction": "sum"}
    for operands in (
        (Named(table, [0, 1, 1]), plain),
        (plain, Named(table, [0, 1, 1])),
        (Named(table, 3), plain),
        (Named(table, [[2]]), plain),
        (plain[0, 0], Named(table, [0, 1, 1])),
        (Named(table, [[0], [1]]), Named(other, [3, 4, 4])),
        (Named(table, [0]), Named(other, [3, 4, 4])),
        (Named(table, [[0], [1]]), plain[:1]),
    ):
        shape = np.broadcast_shapes(*(x.shape[:-1] for x in map(gathered, operands)))
        check_loss("cosine_embedding_loss", operands, labels_of(rng, shape), **options)


def test_the_operand_says_what_it_is(rng):
    table = rng.standard_normal((7, 3, 5)).astype(np.float32)
    index = np.array([[1, -1]])
    rows = fastcos.rows(table, index)
    assert rows.table is table
    assert rows.shape == table[index].shape
    assert rows.dtype == np.float32
    assert repr(rows) == "fastcos.rows(table of (7, 3, 5), index of (1, 2))"
    with pytest.raises(AttributeError):
        rows.table = table.copy()


def test_the_index_is_copied_and_the_table_is_not(rng):
    table, index = rng.standard_normal((7, 5)), np.array([1, 2])
    rows = fastcos.rows(table, index)
    index[:] = 1000
    table[2] = 3.5
    other = np.zeros((2, 5))
    np.testing.assert_array_equal(
        fastcos.paired_distance(rows, other, "euclidean"),
        fastcos.paired_distance(table[[1, 2]], other, "euclidean"),
    )
    assert (index == 1000).all()


def test_a_gather_by_every_row_is_the_table_itself(rng):
    x, y = rng.standard_normal((2, 40, 17))
    target = labels_of(rng, 40)
    f = value_and_grad(fastcos.cosine_embedding_loss)
    value, grads = f(x, y, target)
    again, same = f(fastcos.rows(x, range(40)), fastcos.rows(y, range(40)), target)
    np.testing.assert_allclose(again, value, rtol=1e-15)
    for one, other in zip(same, grads, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *(("cosine", np.float16), ("cosine", np.float32), ("cosine", np.float64)),
        *(("euclidean", ml_dtypes.bfloat16), ("euclidean", np.float32), ("euclidean", np.float64)),
    ],
)
def test_a_row_and_itself_have_no_gradient(rng, name, dtype):
    for features in (1, 2, 3, 17, 64, 300):
        table = rng.standard_normal((50, features)).astype(dtype)
        table[1] = 0
        i = np.arange(50)
        value, (g,) = value_and_grad(fastcos.paired_distance)(
            fastcos.rows(table, i), fastcos.rows(table, i), name
        )
        np.testing.assert_array_equal(value, np.where((i == 1) & (name == "cosine"), 1, 0))
        assert not g.any()
        # Beside other pairs it does not count.
        more = np.concatenate([i, [0, 2]]), np.concatenate([i, [2, 3]])
        f = grad(fastcos.paired_distance)
        (g,) = f(*(fastcos.rows(table, index) for index in more), name)
        (h,) = f(*(fastcos.rows(table, index[-2:]) for index in more), name)
        oracle.assert_same_bits(g, h)


@pytest.mark.parametrize("name", ["sqeuclidean", "manhattan", "chebyshev", "canberra", "poincare"])
def test_a_row_and_itself_have_none_in_other_distances(rng, name):
    table = oracle.draw(rng, name, (50, 17), np.float32)
    rows = fastcos.rows(table, np.arange(50))
    value, (g,) = value_and_grad(fastcos.paired_distance)(rows, rows, name)
    assert not value.any()
    assert not g.any()


# --------------------------------------------------------------------------------------------------
# Tables of every layout
# --------------------------------------------------------------------------------------------------


def _misaligned(table):
    memory = np.zeros(table.nbytes + 1, np.uint8)[1:]
    memory[:] = np.frombuffer(table.tobytes(), np.uint8)
    return memory.view(table.dtype).reshape(table.shape)


def _read_only(table):
    table = table.copy()
    table.flags.writeable = False
    return table


LAYOUTS = {
    "C": lambda e: e.copy(),
    "every other row": lambda e: np.repeat(e, 2, axis=0)[::2],
    "reversed": lambda e: e[::-1],
    "every other component": lambda e: np.repeat(e, 2, axis=-1)[..., ::2],
    "reversed components": lambda e: e[..., ::-1],
    "transposed": lambda e: np.ascontiguousarray(e.T).T,
    "Fortran": lambda e: np.asfortranarray(e),
    "part of wider rows": lambda e: np.concatenate([e, e, e], axis=-1)[..., : e.shape[-1]],
    "one row many times": lambda e: np.broadcast_to(e[:1], e.shape),
    "read-only": _read_only,
    "misaligned": _misaligned,
    "big-endian": lambda e: e.astype(e.dtype.newbyteorder(">")),
    "a list": lambda e: e.tolist(),
}


@pytest.mark.parametrize("count", [3, 40])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_tables_of_any_layout(rng, layout, count):
    table = LAYOUTS[layout](rng.standard_normal((9, 7)))
    right = np.array(table, float)
    i, j = pairs(rng, 9, count)
    upstream = rng.standard_normal(count)
    f = value_and_grad(fastcos.paired_distance)
    value, grads = f(
        *(fastcos.rows(table, index) for index in (i, j)), "euclidean", grad_output=upstream
    )
    operands = Named(right, i), Named(right, j)
    assert_agree(value, grads, operands, named_distance("euclidean", operands, upstream))
    np.testing.assert_array_equal(np.array(table, float), right)


@pytest.mark.parametrize("axis", [-1, -2, -3])
@pytest.mark.parametrize("count", [2, 30])
@pytest.mark.parametrize(
    "layout",
    [
        lambda e: e,
        lambda e: np.ascontiguousarray(e.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3),
        lambda e: np.ascontiguousarray(np.moveaxis(e, 1, -1)).transpose(0, 3, 1, 2),
        lambda e: e[:, ::-1],
        lambda e: np.repeat(e, 2, axis=2)[:, :, ::2],
        lambda e: np.asfortranarray(e),
    ],
    ids=["C", "axes 1 and 2", "axis 1 last", "reversed", "every other", "Fortran"],
)
def test_tables_of_arrays_of_rows(rng, layout, count, axis):
    table = layout(rng.standard_normal((6, 3, 4, 5)))
    i, j = pairs(rng, 6, count)
    other = rng.standard_normal((count, 3, 4, 5))
    operands = Named(table, i), Named(table, j)
    upstream = rng.standard_normal(spread(operands, axis)[0].shape[:-1])
    check_distance("euclidean", operands, upstream, axis=axis)
    check_distance("euclidean", (other, Named(table, j, True)), upstream, axis=axis)


def test_tables_of_arrays_of_rows_broadcast(rng):
    table, flat = rng.standard_normal((6, 3, 5)), rng.standard_normal((6, 5))
    options = {"reduction": "sum", "margin": -0.5}
    for operands in (
        # (2, 3, 5) and (2, 1, 5), (4, 1, 3, 5) and (2, 3, 5), (3, 5) and (2, 3, 5)
        (Named(table, [1, 4]), Named(flat, [[1], [1]])),
        (Named(table, [[1], [4], [4], [2]]), Named(table, [0, 5])),
        (Named(table, -1), Named(table, [0, 5])),
        (Named(table, [1, 4]), flat[0]),
        (Named(table[:, :1], [1, 4]), Named(table, [0, 5])),
        # As many rows as there are arrays of them: which axis is which shows in the result alone.
        (Named(table[:, :1], [1, 4, 2]), Named(table, [0, 5, 3])),
        (Named(table, [0, 5, 3]), Named(table[:, :1], [[1], [4], [2]])),
    ):
        shape = np.broadcast_shapes(*(x.shape[:-1] for x in map(gathered, operands)))
        check_loss("cosine_embedding_loss", operands, labels_of(rng, shape), **options)
    # Along the first axis of a plain array, and the last but one of both.
    operands = Named(table, [1, 4]), rng.standard_normal((3, 5))
    check_loss("cosine_distance_loss", operands, axis=-2, reduction="sum")


def test_a_positive_axis_counts_along_the_broadcast_shape(rng):
    table = rng.standard_normal((6, 3, 5))
    operands = Named(table, [1, 4]), Named(table, [0, 5])
    f = value_and_grad(fastcos.paired_distance)
    value, (g,) = f(*given(operands), "euclidean", axis=1)
    again, (same,) = f(*given(operands), "euclidean", axis=-2)
    assert value.shape == (2, 5)
    oracle.assert_same_bits(value, again)
    oracle.assert_same_bits(g, same)


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_tables_that_are_memory_maps(rng, tmp_path, mode):
    rows = rng.standard_normal((9, 17))
    rows.tofile(tmp_path / "table")
    table = np.memmap(tmp_path / "table", np.float64, mode, shape=(9, 17))
    for count in (3, 40):
        i, j = pairs(rng, 9, count)
        _, (g,) = check_distance("euclidean", (Named(table, i), Named(table, j)))
        assert type(g) is np.ndarray
    assert (tmp_path / "table").read_bytes() == rows.tobytes()


def test_one_row_against_many(rng):
    # The gradient of that row is of many tasks, and of others none.
    table, other = rng.standard_normal((40, 64)), rng.standard_normal((5000, 64))
    upstream = rng.standard_normal(5000)
    for index in (7, [7], np.full(5000, 7)):
        operands = Named(table, index), other
        _, (g, _) = check_distance("euclidean", operands, upstream)
        assert not np.delete(g, 7, axis=0).any()
    # Many tasks, and rows that begin in one and end in another.
    index = rng.permutation(np.repeat(np.arange(0, 40, 3), [1, 2000, 1, 3, 1000, 1, 1] + [284] * 7))
    index = np.resize(index, 5000)
    check_distance("euclidean", (Named(table, index), other), upstream)
    check_distance("cosine", (Named(table, index), Named(table, 1)), upstream)


def test_a_table_of_many_rows_of_which_few_are_named(rng):
    table = rng.standard_normal((3000, 33)).astype(np.float32)
    for index in ([0], [2999], [1500, 7], rng.integers(0, 3000, 2000)):
        j = (np.asarray(index) + 1) % 3000
        check_distance("euclidean", (Named(table, index), Named(table, j)))


# --------------------------------------------------------------------------------------------------
# Which gradients there are
# --------------------------------------------------------------------------------------------------


def test_one_gradient_for_each_table(rng):
    one, other, plain = rng.standard_normal((3, 9, 6))
    index = rng.integers(0, 9, (3, 9))
    index[1] = (index[0] + 1 + index[1] % 8) % 9
    for tables in ((0, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 0), (0, 2, 0), (0, 2, 2), (2, 2, 0)):
        operands = [
            plain if table == 2 else Named((one, other)[table], each)
            for table, each in zip(tables, index, strict=True)
        ]
        check_loss("triplet_margin_loss", operands, margin=2.0, reduction="sum")


def test_a_table_is_the_same_object_or_another_table(rng):
    table = rng.standard_normal((9, 6))
    i, j = pairs(rng, 9, 20)
    operands = Named(table, i), Named(table[:], j)
    _, grads = check_distance("euclidean", operands)
    assert len(grads) == 2
    # A table is another array than its rows, too.
    operands = Named(table, np.roll(np.arange(9), 1)), table
    _, grads = check_distance("euclidean", operands)
    assert len(grads) == 2


ARGNUMS = [
    (None, ("anchor", "negative")),
    ((0, 1, 2), ("anchor", "negative")),
    ((2, 1, 0), ("negative", "anchor")),
    (("negative", "positive"), ("negative", "anchor")),
    ((1,), ("anchor",)),
    (["positive", "anchor"], ("anchor",)),
    (("weight", "positive", "negative"), ("weight", "anchor", "negative")),
    (("positive", "weight", "anchor"), ("anchor", "weight")),
    ((), ()),
    (0, "anchor"),
    ("positive", "anchor"),
    (2, "negative"),
    ("weight", "weight"),
]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(("argnums", "names"), ARGNUMS)
def test_argnums_say_which_gradients_and_in_which_order(rng, argnums, names, sparse):
    table, other = rng.standard_normal((2, 9, 6))
    a, p = pairs(rng, 9, 20)
    operands = Named(table, a, sparse), Named(table, p, sparse), Named(other, p[::-1])
    weight = rng.uniform(0.5, 2, 20)
    right = expected("triplet_margin_loss", operands, weight=weight)
    known = {
        "anchor": (right.grads[0], right.terms[0]),
        "negative": (right.grads[1], right.terms[1]),
        "weight": (right.weight_grad, right.weight_scale),
    }
    f = value_and_grad(fastcos.triplet_margin_loss, argnums)
    value, grads = f(*given(operands), weight=weight)
    assert_value(value, right)
    if isinstance(names, str):
        names, grads = (names,), (grads,)
    assert type(grads) is tuple
    assert len(grads) == len(names)
    for name, g in zip(names, grads, strict=True):
        assert isinstance(g, fastcos.RowGradient) == (sparse and name == "anchor")
        if name == "weight":
            oracle.assert_within_ulps(g, known[name][0], 32, scale=known[name][1])
        else:
            assert_close(dense(g, table), *known[name])
    for one, again in zip(
        grads,
        _tuple(grad(fastcos.triplet_margin_loss, argnums), names)(*given(operands), weight=weight),
        strict=True,
    ):
        oracle.assert_same_bits(dense(one, table), dense(again, table))


def _tuple(f, names):
    """The gradients of a function, in a tuple."""
    alone = len(names) == 1 and f.alone
    return lambda *args, **kwargs: (f(*args, **kwargs),) if alone else f(*args, **kwargs)


@pytest.mark.parametrize("shape", [(4, 5), (4, 1), (1, 1), ()])
@pytest.mark.parametrize("reduction", oracle.REDUCTIONS)
def test_gradients_of_weights_beside_those_of_tables(rng, reduction, shape):
    table = rng.standard_normal((9, 6))
    operands = Named(table, rng.integers(0, 4, (4, 1))), Named(table, rng.integers(4, 9, 5))
    target, weight = labels_of(rng, (4, 5)), rng.uniform(0.5, 2, shape)
    upstream = rng.standard_normal((4, 5)) if reduction == "none" else 1.5
    more = {"weight": np.asarray(weight), "reduction": reduction, "grad_output": upstream}
    f = value_and_grad(fastcos.cosine_embedding_loss, ("input1", "weight"))
    value, (g, slopes) = f(*given(operands), target, **more)
    right = expected("cosine_embedding_loss", operands, target, **more)
    assert_agree(value, [g], operands, right)
    oracle.assert_within_ulps(slopes, right.weight_grad, 32, scale=right.weight_scale)
    # As without tables, a gradient of one number is a scalar.
    copies = [np.asarray(gathered(each), float) for each in operands]
    assert type(slopes) is type(f(*copies, target, **more)[1][1])


@pytest.mark.parametrize("upstream", [0.0, -2.5, np.float32(3), np.array(1.25)])
def test_one_upstream_gradient(rng, upstream):
    table, target = rng.standard_normal((9, 6)), labels_of(rng, 20)
    operands = [Named(table, index) for index in pairs(rng, 9, 20)]
    for reduction in oracle.REDUCTIONS:
        more = {"grad_output": upstream, "reduction": reduction}
        _, (g,) = check_loss("cosine_embedding_loss", operands, target, **more)
        assert g.any() == bool(upstream)


def test_labels_and_weights_of_every_shape(rng):
    table = rng.standard_normal((9, 6))
    operands = Named(table, rng.integers(0, 4, (4, 1))), Named(table, rng.integers(4, 9, 5))
    for shape in ((), (1, 1), (4, 1), (1, 5), (4, 5)):
        for dtype in (np.int8, np.float32, bool):
            target = labels_of(rng, shape)
            weight = rng.uniform(0.5, 2, shape[::1]).astype(np.float32)
            f = value_and_grad(fastcos.cosine_embedding_loss)
            labels = np.asarray(target > 0) if dtype is bool else np.asarray(target, dtype)
            value, grads = f(*given(operands), labels, weight=np.asarray(weight))
            right = expected("cosine_embedding_loss", operands, target, weight=weight)
            assert_agree(value, grads, operands, right)


# --------------------------------------------------------------------------------------------------
# Buffers
# --------------------------------------------------------------------------------------------------

BUFFERS = {
    "C": lambda shape, dtype: np.empty(shape, dtype),
    "Fortran": lambda shape, dtype: np.empty(shape, dtype, "F"),
    "every other row": lambda shape, dtype: np.empty((2 * shape[0], shape[1]), dtype)[::2],
    "every other component": lambda shape, dtype: np.empty((shape[0], 2 * shape[1]), dtype)[:, ::2],
    "reversed": lambda shape, dtype: np.empty(shape, dtype)[::-1],
    "reversed both ways": lambda shape, dtype: np.empty(shape, dtype)[::-1, ::-1],
    "part of wider rows": lambda shape, dtype: np.empty((shape[0], 2 * shape[1]), dtype)[:, 3:10],
}


def buffer_of(kind, shape, dtype):
    """A buffer full of sevens, and all of the memory that it is in."""
    buffer = BUFFERS[kind](shape, dtype)
    whole = buffer if buffer.base is None else buffer.base
    whole[...] = 7
    return buffer, whole


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kind", BUFFERS)
def test_out_is_written_and_returned_whatever_its_layout(rng, kind, dtype):
    table, plain = rng.standard_normal((9, 7)).astype(dtype), rng.standard_normal(7).astype(dtype)
    rows = fastcos.rows(table, rng.integers(0, 8, 20))
    f = value_and_grad(fastcos.paired_distance)
    value, right = f(rows, plain, "euclidean", grad_output=0.5)
    out, whole = buffer_of(kind, (9, 7), dtype)
    of_plain = np.full(7, 7, dtype)
    again, grads = f(rows, plain, "euclidean", grad_output=0.5, out=(out, of_plain))
    assert grads[0] is out
    assert grads[1] is of_plain
    oracle.assert_same_bits(again, value)
    for one, other in zip(grads, right, strict=True):
        oracle.assert_same_bits(one, other)
    assert not out[8].any()
    # What is between the rows was not touched.
    assert (whole == 7).sum() == whole.size - out.size


@pytest.mark.parametrize("axis", [-1, -2])
@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (2, 1, 0)])
def test_out_of_arrays_of_rows(rng, order, axis):
    table = rng.standard_normal((6, 3, 4))
    operands = [fastcos.rows(table, index) for index in pairs(rng, 6, 20)]
    f = value_and_grad(fastcos.paired_distance, "x1")
    _, right = f(*operands, "euclidean", axis=axis, grad_output=0.5)
    memory = np.full([table.shape[k] for k in order], np.nan)
    out = memory.transpose(np.argsort(order))
    _, g = f(*operands, "euclidean", axis=axis, grad_output=0.5, out=out)
    assert g is out
    oracle.assert_same_bits(g, right)
    f(*operands, "euclidean", axis=axis, grad_output=0.5, out=out, accumulate=True)
    np.testing.assert_array_equal(out, 2 * right)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("kind", BUFFERS)
def test_gradients_are_added_to_what_is_in_out(rng, kind, dtype):
    table = rng.standard_normal((9, 7)).astype(dtype)
    plain = rng.standard_normal((20, 7)).astype(dtype)
    rows = fastcos.rows(table, rng.integers(0, 8, 20))
    f = value_and_grad(fastcos.paired_distance)
    value, right = f(rows, plain, "euclidean", grad_output=0.5)
    out, whole = buffer_of(kind, (9, 7), dtype)
    start = rng.standard_normal((9, 7)).astype(dtype), rng.standard_normal((20, 7)).astype(dtype)
    out[...] = start[0]
    buffers = out, start[1].copy()
    again, grads = f(*(rows, plain, "euclidean"), grad_output=0.5, out=buffers, accumulate=True)
    oracle.assert_same_bits(again, value)
    for g, buffer, before, more in zip(grads, buffers, start, right, strict=True):
        assert g is buffer
        sizes = np.maximum(np.abs(oracle.wide(before)), np.abs(oracle.wide(more)))
        total = oracle.wide(before) + oracle.wide(more)
        oracle.assert_within_ulps(g, total, 1, scale=np.maximum(sizes, np.abs(total)))
    oracle.assert_same_bits(out[8], start[0][8])
    assert (whole == 7).sum() == whole.size - out.size


def test_weights_accumulate_too_and_in_any_order(rng):
    table = rng.standard_normal((9, 6))
    operands = [Named(table, index) for index in pairs(rng, 9, 20)]
    target = labels_of(rng, 20)
    for shape in ((20,), (1,), ()):
        weight = np.asarray(rng.uniform(0.5, 2, shape))
        f = value_and_grad(fastcos.cosine_embedding_loss, ("weight", "input2"))
        _, right = f(*given(operands), target, weight=weight)
        start = np.asarray(rng.standard_normal(shape)), rng.standard_normal((9, 6))
        out = tuple(x.copy() for x in start)
        _, grads = f(*given(operands), target, weight=weight, out=out, accumulate=True)
        for g, buffer, before, more in zip(grads, out, start, right, strict=True):
            assert g is buffer
            np.testing.assert_allclose(g, before + more, rtol=1e-15, atol=1e-15)
        f(*given(operands), target, weight=weight, out=out)
        for buffer, more in zip(out, right, strict=True):
            np.testing.assert_array_equal(buffer, more)


@pytest.mark.parametrize("kind", BUFFERS)
@pytest.mark.parametrize("shape", [(9, 7), (1, 7)])
def test_gradients_of_plain_arrays_accumulate_too(rng, shape, kind):
    x, y, target = rng.standard_normal(shape), rng.standard_normal((9, 7)), labels_of(rng, 9)
    weight = rng.uniform(0.5, 2, 9)
    f = value_and_grad(fastcos.cosine_embedding_loss, (0, "weight", 1))
    value, right = f(x, y, target, weight=weight)
    out = buffer_of(kind, shape, float)[0], np.full(9, 7.0), buffer_of(kind, (9, 7), float)[0]
    for times in (1, 2):
        again, grads = f(x, y, target, weight=weight, out=out, accumulate=True)
        assert again == value
        for g, buffer, more in zip(grads, out, right, strict=True):
            assert g is buffer
            np.testing.assert_allclose(g, 7 + times * more, rtol=1e-14)
    f(x, y, target, weight=weight, out=out)
    for buffer, more in zip(out, right, strict=True):
        oracle.assert_same_bits(buffer, more)
    # And what is alone, and what is none.
    (alone,) = buffers = [np.full((9, 7), 7.0)]
    g = grad(fastcos.cosine_embedding_loss, "input2")(
        *(x, y, target), weight=weight, out=alone, accumulate=np.True_
    )
    assert g is buffers[0]
    np.testing.assert_allclose(g, 7 + right[2], rtol=1e-14)


def test_gradients_of_distances_accumulate_too(rng):
    x = rng.standard_normal(9)
    f = grad(fastcos.hinge_embedding_loss)
    (right,) = f(x, -1)
    out = np.full(9, 7.0)
    f(x, -1, out=(out,), accumulate=True)
    np.testing.assert_allclose(out, 7 + right, rtol=1e-15)


def test_nothing_is_added_over_no_samples():
    table = np.ones((4, 3))
    rows = fastcos.rows(table, [])
    f = value_and_grad(fastcos.paired_distance)
    out = np.full((4, 3), 7.0), np.full((1, 3), 7.0)
    f(rows, np.ones((1, 3)), "euclidean", out=out, accumulate=True, grad_output=1.0)
    assert all((buffer == 7).all() for buffer in out)
    value, grads = f(rows, np.ones((1, 3)), "euclidean", out=out, grad_output=1.0)
    assert value.shape == (0,)
    assert not np.any(np.concatenate(grads))
    _, (g, _) = f(fastcos.rows(table, [], True), np.ones((1, 3)), "euclidean")
    assert g.rows.shape == (0,)
    assert g.rows.dtype == np.int64
    assert g.values.shape == (0, 3)


def test_a_table_without_rows():
    rows = fastcos.rows(np.ones((0, 3)), np.zeros((0, 2), int))
    value, (g,) = value_and_grad(fastcos.cosine_embedding_loss)(rows, rows, 1, reduction="sum")
    assert value == 0
    assert g.shape == (0, 3)
    with pytest.raises(IndexError, match="index is 0 at position 0, the table has 0 rows"):
        fastcos.rows(np.ones((0, 3)), [0])


# --------------------------------------------------------------------------------------------------
# Gradients of the rows that are named
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 5, 60, 3000])
def test_sparse_gradients(rng, count):
    table, plain = rng.standard_normal((500, 17)), rng.standard_normal((count, 17))
    i, j = pairs(rng, 500, count)
    weight = rng.choice([0.0, 1.0], count)
    for operands in (
        (Named(table, i, True), Named(table, j, True), plain),
        (plain, Named(table, i, True), Named(table[::-1], j)),
        (Named(table, i, True), plain, Named(table[::2], j // 2, True)),
    ):
        names = [each.index for each in operands if isinstance(each, Named) and each.sparse]
        _, grads = check_loss(
            "triplet_margin_loss", operands, weight=weight, reduction="sum", margin=9.0
        )
        found = [g for g in grads if isinstance(g, fastcos.RowGradient)]
        if len(found) == 1:
            # Rows that no sample with a weight names are there all the same.
            np.testing.assert_array_equal(found[0].rows, np.unique(np.concatenate(names) % 500))
        else:
            rows = np.unique(i % 500), np.unique((j // 2) % 250)
            for g, right in zip(found, rows, strict=True):
                np.testing.assert_array_equal(g.rows, right)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.int32])
def test_sparse_gradients_are_the_rows_of_dense_ones(rng, dtype):
    table = (8 * rng.standard_normal((30, 17))).astype(dtype)
    i, j = pairs(rng, 30, 20)
    f = value_and_grad(fastcos.paired_distance, 0)
    for name in ("cosine", "euclidean"):
        value, right = f(fastcos.rows(table, i), fastcos.rows(table, j), name)
        again, g = f(fastcos.rows(table, i, sparse=True), fastcos.rows(table, j, True), name)
        oracle.assert_same_bits(again, value)
        np.testing.assert_array_equal(g.rows, np.unique(np.concatenate([i, j]) % 30))
        oracle.assert_same_bits(g.values, right[g.rows])


def test_sparse_gradients_of_strided_tables(rng):
    for layout in LAYOUTS.values():
        table = layout(rng.standard_normal((9, 7)))
        right = np.array(table, float)
        index = [4, -1, 4]
        operands = fastcos.rows(table, index, True), fastcos.rows(table, [0, 1, 2], True)
        (g,) = grad(fastcos.paired_distance)(*operands, "euclidean")
        np.testing.assert_array_equal(g.rows, [0, 1, 2, 4, 8])
        named = Named(right, index), Named(right, [0, 1, 2])
        want = named_distance("euclidean", named)
        assert_close(dense(g, right), want.grads[0], want.terms[0])


def test_rows_of_one_table_agree_about_sparse(rng):
    table, other = rng.standard_normal((2, 9, 6))
    one, two = fastcos.rows(table, [0, 1], True), fastcos.rows(table, [1, 2])
    f = value_and_grad(fastcos.paired_distance)
    with pytest.raises(ValueError, match=r"^x2 and x1 are rows of one table.* sparse must be"):
        f(one, two, "euclidean")
    with pytest.raises(ValueError, match=r"^x1 and x2 are rows of one table"):
        f(two, one, "euclidean")
    # Their value does not ask; other tables are as they are.
    copies = table[[0, 1]], table[[1, 2]]
    np.testing.assert_array_equal(
        fastcos.paired_distance(one, two, "euclidean"),
        fastcos.paired_distance(*copies, "euclidean"),
    )
    _, grads = f(one, fastcos.rows(other, [0, 1]), "euclidean")
    assert [type(g) for g in grads] == [fastcos.RowGradient, np.ndarray]


def test_sparse_gradients_have_no_buffer(rng):
    table = rng.standard_normal((9, 6))
    out = np.full((9, 6), 7.0), np.full((2, 6), 7.0)
    for accumulate in (False, True):
        with pytest.raises(ValueError, match="out for x1: the gradient is sparse"):
            value_and_grad(fastcos.paired_distance)(
                *(fastcos.rows(table, [0, 1], True), table[:2], "euclidean"),
                out=out,
                accumulate=accumulate,
            )
    assert all((buffer == 7).all() for buffer in out)


# --------------------------------------------------------------------------------------------------
# Any call
# --------------------------------------------------------------------------------------------------


def _any_table(rng, inner):
    layouts = [LAYOUTS[name] for name in LAYOUTS if name not in ("a list", "big-endian")]
    table = rng.standard_normal((int(rng.integers(1, 12)), *inner, 6))
    return layouts[rng.integers(len(layouts))](table)


def _any_operands(rng, arity, samples, inner, axis):
    """Rows of at most two tables and plain arrays, of all samples or broadcast to them."""
    tables = [np.moveaxis(_any_table(rng, inner), -1, axis) for _ in range(2)]
    sparse = [bool(rng.integers(2)) for _ in tables]
    operands = []
    for _ in range(arity):
        shape = tuple(n if rng.random() < 0.8 else 1 for n in samples)
        shape = shape[rng.integers(2) if shape[:1] == (1,) and not inner else 0 :]
        kind = rng.integers(3 if operands else 2)
        if kind == 2:
            operands.append(np.moveaxis(rng.standard_normal((*shape, *inner, 6)), -1, axis))
        else:
            rows = len(tables[kind])
            index = rng.integers(-rows, rows, shape)
            operands.append(Named(tables[kind], index, sparse[kind]))
    return operands


@pytest.mark.parametrize("seed", range(60))
def test_any_call(seed):
    rng = np.random.default_rng(seed)
    name, arity = (("cosine_embedding_loss", 2), ("triplet_margin_loss", 3))[seed % 2]
    # Of a few samples, or of so many that gradients are made in several tasks.
    samples = tuple(rng.integers(*((1, 9, rng.integers(1, 4)) if seed % 3 else (20, 60, 2))))
    inner = ((), (2,), (3, 1))[rng.integers(3)]
    axis = -int(rng.integers(1, 2 + len(inner)))
    operands = _any_operands(rng, arity, samples, inner, axis)
    shape = np.broadcast_shapes(*(x.shape[:-1] for x in (gathered(o, axis) for o in operands)))
    target = labels_of(rng, shape) if arity == 2 else None
    reduction = oracle.REDUCTIONS[rng.integers(5)]
    more = {
        "axis": axis,
        "reduction": reduction,
        "weight": rng.uniform(0.5, 2, shape) if rng.integers(2) else None,
        "grad_output": rng.standard_normal(shape) if reduction == "none" else 0.75,
    }
    if arity == 3:
        # No kink: rows of a table may be a row and itself.
        more |= {"eps": 0.01, "margin": 1.5, "swap": bool(rng.integers(2))}
    else:
        more |= {"eps": 0.1, "margin": -2.0, "pos_margin": 2.0}
    args = given(operands) + ([] if target is None else [target])
    f = value_and_grad(getattr(fastcos, name))
    value, grads = f(*args, **more)
    right = expected(name, operands, target, **more)
    assert_agree(value, grads, operands, right, axis)
    if any(isinstance(g, fastcos.RowGradient) for g in grads):
        return
    out = []
    for g in grads:
        kind = rng.integers(3)
        whole = np.full((*g.shape[:-1], 2 * g.shape[-1]), 7.0)
        memory = np.full(g.shape[::-1], 7.0).T if kind == 0 else whole[..., :: 1 + kind % 2]
        out.append(memory[..., : g.shape[-1]])
    f(*args, **more, out=tuple(out), accumulate=True)
    for buffer, g in zip(out, grads, strict=True):
        np.testing.assert_allclose(buffer, 7 + g, rtol=1e-14)
    f(*args, **more, out=tuple(out))
    for buffer, g in zip(out, grads, strict=True):
        oracle.assert_same_bits(buffer, g)


# --------------------------------------------------------------------------------------------------
# Threads
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cosine", "euclidean", "canberra"])
def test_the_same_bits_on_any_number_of_threads(rng, name):
    table = rng.standard_normal((700, 33)).astype(np.float32)
    plain = rng.standard_normal((6000, 33)).astype(np.float32)
    # Some rows are named by a third of the samples, some by none.
    i = np.where(rng.random(6000) < 0.3, 5, rng.integers(0, 600, 6000))
    j = rng.integers(600, 700, 6000)
    f, upstream = value_and_grad(fastcos.paired_distance), rng.standard_normal(6000)
    for sparse in (False, True):
        rows = fastcos.rows(table, i, sparse)
        for operands in (
            (rows, fastcos.rows(table, j, sparse)),
            (rows, plain),
            (rows, plain[:1]),
            (fastcos.rows(table, [5], sparse), plain),
        ):
            results = []
            for threads in (1, 2, 2, 1, 7):
                with fastcos.threads(threads):
                    value, grads = f(*operands, name, grad_output=upstream)
                results.append([value, *(dense(g, table) for g in grads)])
            for again in results[1:]:
                for one, other in zip(again, results[0], strict=True):
                    oracle.assert_same_bits(one, other)


# --------------------------------------------------------------------------------------------------
# Extreme and bad rows
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "size"), [(np.float32, 1e30), (np.float64, 1e200)])
def test_rows_of_extreme_sizes(rng, dtype, size):
    table = rng.standard_normal((12, 17))
    table[:4] *= size
    table[4:8] /= size
    table = table.astype(dtype)
    for low, high in ((0, 4), (4, 8), (8, 12)):
        # Of one size each, for a gradient is the sum of terms that are 1 over that of the row.
        i = rng.integers(low, high, 30)
        j = rng.integers(0, 12, 30)
        j += (i == j) * np.where(j == 11, -1, 1)
        operands = Named(table, i), Named(table.copy(), j)
        value, grads = value_and_grad(fastcos.paired_distance)(*given(operands), "cosine")
        right = named_distance("cosine", operands)
        assert_value(value, right)
        for g, sums, terms in zip(grads, right.grads, right.terms, strict=True):
            # Each row has a scale of its own.
            assert_close(g, sums, terms)
    i = rng.integers(0, 12, 30)
    operands = Named(table, i), Named(table, (i + 1) % 12)
    value, grads = value_and_grad(fastcos.paired_distance)(*given(operands), "euclidean")
    right = named_distance("euclidean", operands)
    assert_value(value, right)
    assert_close(grads[0], right.grads[0], right.terms[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["cosine", "euclidean", "canberra"])
def test_bad_rows_spoil_those_they_meet(rng, name, bad):
    table = rng.standard_normal((12, 17)).astype(np.float32)
    i, j = np.arange(0, 12, 2), np.arange(1, 12, 2)
    f = value_and_grad(fastcos.paired_distance)
    value, (right,) = f(fastcos.rows(table, i), fastcos.rows(table, j), name)
    table[4, 3] = bad
    again, (g,) = f(fastcos.rows(table, i), fastcos.rows(table, j), name)
    others = np.delete(np.arange(12), [4, 5])
    oracle.assert_same_bits(g[others], right[others])
    oracle.assert_same_bits(np.delete(again, 2), np.delete(value, 2))
    x, y = table[[4]], table[[5]]
    alone, grads = f(x, y, name)
    np.testing.assert_array_equal(again[2], alone[0])
    np.testing.assert_allclose(g[4:6], np.concatenate(grads), rtol=1e-6)
    assert np.isnan(g[4:6]).any()
    # Who has no say spoils nothing, and who is not named neither.
    upstream = np.where(i == 4, 0.0, 1.0)
    _, (g,) = f(fastcos.rows(table, i), fastcos.rows(table, j), name, grad_output=upstream)
    oracle.assert_same_bits(g[others], right[others])
    assert not g[4:6].any()
    i, j = i[i != 4], j[i != 4]
    _, (g,) = f(fastcos.rows(table, i), fastcos.rows(table, j), name)
    oracle.assert_same_bits(g[others], right[others])
    assert not g[4:6].any()


def test_zero_rows(rng):
    table = rng.standard_normal((8, 17)).astype(np.float32)
    table[3] = table[5] = 0
    operands = Named(table, [3, 3, 0, 1, 3]), Named(table, [5, 0, 5, 2, 3])
    for name in ("cosine", "euclidean", "canberra"):
        _, (g,) = check_distance(name, operands)
        assert np.isfinite(g).all()
    _, (g,) = check_distance("cosine", [each._replace(index=each.index[:3]) for each in operands])
    assert not g.any()


# --------------------------------------------------------------------------------------------------
# Errors
# --------------------------------------------------------------------------------------------------

TABLE = np.arange(15.0).reshape(5, 3)
ERRORS = {
    "too large": (lambda: fastcos.rows(TABLE, [0, 4, 5, 9]), IndexError, "is 5 at position 2, the"),
    "too small": (lambda: fastcos.rows(TABLE, [-5, -6]), IndexError, "is -6 at position 1, the"),
    "of two axes": (
        lambda: fastcos.rows(TABLE, [[0, 1], [7, -9]]),
        IndexError,
        r"^index is 7 at position \(1, 0\), the table has 5 rows$",
    ),
    "0-d": (lambda: fastcos.rows(TABLE, 5), IndexError, "^index is 5, the table has 5 rows$"),
    "int8": (
        lambda: fastcos.rows(TABLE, np.array([4, -6], np.int8)),
        IndexError,
        "index is -6 at position 1",
    ),
    "uint8": (
        lambda: fastcos.rows(TABLE, np.array([4, 255], np.uint8)),
        IndexError,
        "index is 255 at position 1",
    ),
    "uint64": (
        lambda: fastcos.rows(TABLE, np.array([4, 2**64 - 1], np.uint64)),
        IndexError,
        f"index is {2**64 - 1} at position 1",
    ),
    "int64": (
        lambda: fastcos.rows(TABLE, np.array([-(2**63)])),
        IndexError,
        f"index is -{2**63} at position 0",
    ),
    "floats": (lambda: fastcos.rows(TABLE, [0.0, 1.0]), TypeError, "^index must be integers, got "),
    "bools": (
        lambda: fastcos.rows(TABLE, [True, False, True, True, False]),
        TypeError,
        "^index must be integers, got dtype bool: pass the numbers",
    ),
    "a bool": (lambda: fastcos.rows(TABLE, True), TypeError, "must be integers, got dtype bool"),
    "no floats": (lambda: fastcos.rows(TABLE, np.empty(0)), TypeError, "^index must be integers"),
    "objects": (
        lambda: fastcos.rows(TABLE, np.array([0, 1], object)),
        TypeError,
        "^index must be integers, got dtype object$",
    ),
    "None": (lambda: fastcos.rows(TABLE, None), TypeError, "^index "),
    "text": (lambda: fastcos.rows(TABLE, ["0", "1"]), TypeError, "^index "),
    "unequal": (lambda: fastcos.rows(TABLE, [[0], [1, 2]]), ValueError, "^index "),
    "masked": (
        lambda: fastcos.rows(TABLE, np.ma.masked_array([0, 1], [False, True])),
        TypeError,
        "^index is a masked array",
    ),
    "a slice": (lambda: fastcos.rows(TABLE, slice(2)), TypeError, "^index "),
    "rows of rows": (
        lambda: fastcos.rows(fastcos.rows(TABLE, [0]), [0]),
        TypeError,
        "^table is rows of another table: index that table$",
    ),
    "an index of rows": (
        lambda: fastcos.rows(TABLE, fastcos.rows(TABLE, [0])),
        TypeError,
        "^index must be integers, got rows of a table$",
    ),
    "one axis": (lambda: fastcos.rows(TABLE[0], [0]), ValueError, r"^table must .*shape \(3,\)$"),
    "no axis": (lambda: fastcos.rows(3.0, [0]), ValueError, r"^table must .*shape \(\)$"),
    "complex": (lambda: fastcos.rows(TABLE * 1j, [0]), TypeError, "^table has dtype complex128"),
    "distances": (
        lambda: fastcos.hinge_embedding_loss(fastcos.rows(TABLE, [0]), [1]),
        TypeError,
        "^input must be distances, got rows of a table$",
    ),
    "gradients of distances": (
        lambda: grad(fastcos.hinge_embedding_loss)(fastcos.rows(TABLE, [0]), [1]),
        TypeError,
        "^input must be distances, got rows of a table$",
    ),
    "an axis of the index": (
        lambda: fastcos.cosine_similarity(
            fastcos.rows(TABLE, [0, 1, 2]), fastcos.rows(TABLE, [1, 2, 3]), axis=0
        ),
        ValueError,
        r"^axis -2 of x1 is not one of the table's rows, whose shape is \(3,\)$",
    ),
    "other features": (
        lambda: fastcos.cosine_similarity(fastcos.rows(TABLE, [0]), TABLE[:, :2]),
        ValueError,
        r"feature axis.*x1 of shape \(1, 3\), x2 of shape \(5, 2\)",
    ),
    "other samples": (
        lambda: fastcos.cosine_similarity(fastcos.rows(TABLE, [0, 1]), TABLE),
        ValueError,
        r"leading axes must be equal or 1, got x1 of shape \(2, 3\), x2 of shape \(5, 3\)",
    ),
    "rows as a target": (
        lambda: fastcos.cosine_embedding_loss(TABLE, TABLE, fastcos.rows(TABLE, [0])),
        TypeError,
        "target",
    ),
    "rows as a weight": (
        lambda: fastcos.cosine_embedding_loss(TABLE, TABLE, 1, weight=fastcos.rows(TABLE, [0])),
        TypeError,
        "weight",
    ),
    "rows as an upstream gradient": (
        lambda: grad(fastcos.cosine_similarity)(TABLE, TABLE, grad_output=fastcos.rows(TABLE, [0])),
        TypeError,
        "grad_output",
    ),
    "accumulate without out": (
        lambda: grad(fastcos.cosine_similarity)(TABLE, TABLE, accumulate=True),
        TypeError,
        "^accumulate .*out",
    ),
    "accumulate that is neither": (
        lambda: grad(fastcos.cosine_similarity)(
            TABLE, TABLE + 1, accumulate="yes", out=(TABLE * 0, TABLE * 0)
        ),
        TypeError,
        "^accumulate must be True or False, got 'yes'$",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_what_is_wrong_is_named(case):
    call, error, message = ERRORS[case]
    with pytest.raises(error, match=message):
        call()


def test_the_first_bad_number_is_named_wherever_it_is(rng):
    for _ in range(20):
        index = rng.integers(-5, 5, (3, 7))
        bad = tuple(rng.integers(0, (3, 7)))
        index[bad] = rng.choice([5, -6, 1000, -1000])
        place = rf"\({bad[0]}, {bad[1]}\)"
        with pytest.raises(IndexError, match=f"index is {index[bad]} at position {place}, the"):
            fastcos.rows(TABLE, index)


def test_arrays_of_one_library_only():
    torch = pytest.importorskip("torch")
    for args in ((TABLE, torch.tensor([0])), (torch.tensor(TABLE), np.array([0]))):
        with pytest.raises(TypeError, match=r"arrays of one library only: table is .* index is "):
            fastcos.rows(*args)
    with pytest.raises(TypeError, match="arrays of one library only"):
        fastcos.cosine_similarity(fastcos.rows(TABLE, [0]), torch.tensor(TABLE))


CHANGES = {
    "resized": (lambda table: table.resize((3, 3), refcheck=False), ValueError, r"\(3, 3\)"),
    "shape": (lambda table: setattr(table, "shape", (3, 5)), ValueError, r"\(3, 5\)"),
    "dtype": (lambda table: setattr(table, "dtype", np.int64), TypeError, "int64"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of NumPy, which frowns upon them
@pytest.mark.parametrize("case", CHANGES)
def test_tables_that_have_changed_since(case):
    change, error, message = CHANGES[case]
    table = TABLE.copy()
    rows = fastcos.rows(table, [0, 4])
    f, out = value_and_grad(fastcos.paired_distance), (np.full((5, 3), 7.0), np.full((1, 3), 7.0))
    plain = np.zeros((1, 3))
    f(rows, plain, "euclidean", out=out)
    for buffer in out:
        buffer[...] = 7
    change(table)
    # Calls of this form are known where there was one before.
    if table.shape == (3, 3):
        f(fastcos.rows(table, [0, 2]), plain, "euclidean")
    said = (
        rf"^x1 is rows of a table that has changed since: .*\(5, 3\) and dtype float64.*{message}"
    )
    for call in (
        lambda: f(rows, plain, "euclidean"),
        lambda: f(rows, plain, "euclidean", out=out),
        lambda: f(rows, plain, "euclidean", out=out, accumulate=True),
        lambda: fastcos.paired_distance(rows, plain, "euclidean"),
    ):
        with pytest.raises(error, match=said):
            call()
    assert all((buffer == 7).all() for buffer in out)


def _outs():
    return np.full((5, 3), 7.0), np.full((2, 3), 7.0)


#: ``(i, out) -> (operands, target, options)``
FAILURES = {
    "label": lambda t, out: ((t, TABLE[:2]), [1, 2], {}, ValueError, "target must be"),
    "shape of a weight": lambda t, out: (
        *((t, TABLE[:2]), [1, 1], {"weight": np.ones(3)}),
        *(ValueError, "weight must be a scalar or have"),
    ),
    "shape of a label": lambda t, out: ((t, TABLE[:2]), [1, 1, 1], {}, ValueError, "target must"),
    "upstream": lambda t, out: (
        *((t, TABLE[:2]), [1, 1], {"grad_output": np.ones(2)}),
        *(ValueError, "grad_output must"),
    ),
    "margin": lambda t, out: ((t, TABLE[:2]), [1, 1], {"margin": np.nan}, ValueError, "margin"),
    "shape of out": lambda t, out: (
        *((t, TABLE[:2]), [1, 1], {"out": (out[0][:2], out[1])}),
        *(ValueError, r"out for input1 must have shape \(5, 3\).* got \(2, 3\)"),
    ),
    "shape of the other out": lambda t, out: (
        *((t, TABLE[:2]), [1, 1], {"out": (out[0], out[0])}),
        *(ValueError, "out for input2 shares memory with out for input1"),
    ),
    "dtype of out": lambda t, out: (
        *((t, TABLE[:2]), [1, 1], {"out": (out[0], out[1].astype("f4"))}),
        *(TypeError, "out for input2 must have .*float64, got .*float32"),
    ),
    "the table": lambda t, out: (
        *((t, TABLE[:2]), [1, 1], {"out": (TABLE, out[1])}),
        *(ValueError, "out for input1 shares memory with input1"),
    ),
    "too many": lambda t, out: (
        *((t, fastcos.rows(TABLE, [1, 2])), [1, 1], {}),
        *(TypeError, "out must hold one buffer for each of input1, got a tuple of length 2"),
    ),
    "too few": lambda t, out: (
        *((t, TABLE[:2]), [1, 1], {"out": out[:1]}),
        *(TypeError, "one buffer for each of input1, input2, got a tuple of length 1"),
    ),
    "read-only": lambda t, out: (
        *((t, TABLE[:2]), [1, 1], {"out": (_read_only(out[0]), out[1])}),
        *(ValueError, "out for input1 is read-only"),
    ),
    "overlapping": lambda t, out: (
        *((t, TABLE[:2]), [1, 1], {"out": (out[0], np.broadcast_to(out[1][:1], (2, 3)))}),
        *(ValueError, "out for input2 is "),
    ),
    "sparse": lambda t, out: (
        *((TABLE[:2], fastcos.rows(TABLE, [1, 2], True)), [1, 1]),
        *({"out": (out[1], out[0])}, ValueError, "out for input2: the gradient is sparse"),
    ),
}


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("case", FAILURES)
def test_a_failed_call_leaves_out_alone(case, accumulate):
    out = _outs()
    before = TABLE.copy()
    rows = fastcos.rows(TABLE, [0, 4])
    operands, target, options, error, message = FAILURES[case](rows, out)
    with pytest.raises(error, match=message):
        value_and_grad(fastcos.cosine_embedding_loss)(
            *operands, target, **{"out": out, "accumulate": accumulate, **options}
        )
    assert all((buffer == 7).all() for buffer in out)
    np.testing.assert_array_equal(TABLE, before)


def test_one_buffer_for_each_table(rng):
    table, other = rng.standard_normal((2, 9, 6))
    i, j = pairs(rng, 9, 20)
    f = value_and_grad(fastcos.triplet_margin_loss, ("negative", "positive", "anchor"))
    args = given([Named(table, i), Named(other, j), Named(table, j)])
    _, right = f(*args)
    out = np.empty((9, 6)), np.empty((9, 6))
    _, grads = f(*args, out=out)
    for g, buffer, same in zip(grads, out, right, strict=True):
        assert g is buffer
        oracle.assert_same_bits(g, same)
    names = "one buffer for each of negative, positive, got a tuple of length 3"
    with pytest.raises(TypeError, match=names):
        f(*args, out=(*out, np.empty((9, 6))))


# --------------------------------------------------------------------------------------------------
# Memory
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sparse", [False, True])
def test_a_call_takes_its_gradient_and_a_hundred_bytes_a_sample(rng, sparse):
    count = 100_000
    table = rng.standard_normal((20_000, 128), dtype=np.float32)
    i, j = rng.integers(0, 20_000, (2, count))
    target = labels_of(rng, count)
    f = value_and_grad(fastcos.cosine_embedding_loss)

    def call():
        return f(fastcos.rows(table, i, sparse), fastcos.rows(table, j, sparse), target)

    call()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        result = call()
        most = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    (g,) = result[1]
    gradient = g.values.nbytes + g.rows.nbytes if sparse else g.nbytes
    assert gradient <= most
    assert most <= gradient + 100 * count, f"{(most - gradient) / count} bytes a sample"


# A table that would not fit, if it were copied; nor would a gradient of its size.
OVER_THE_LIMIT = """
import pathlib, resource, sys
import numpy as np, fastcos

path, rows, features = sys.argv[1], int(sys.argv[2]), 256
table = np.memmap(path, np.float32, "r", shape=(rows, features))
rng = np.random.default_rng(0)
named = rng.integers(0, rows, 50)
named[:2] = 0, rows - 1
filled = np.memmap(path, np.float32, "r+", shape=(rows, features))
for index in named:
    filled[index] = rng.standard_normal(features)
del filled
i, j = rng.choice(named, (2, 3000))
f = fastcos.value_and_grad(fastcos.paired_distance)
copies = table[i], table[j]
value, (a, b) = f(*copies, "euclidean")
# Threads are started, and all that is imported is.
small = np.array(table[:4000])
k = np.arange(3000)
f(*(fastcos.rows(small, index, sparse=True) for index in (k, k + 1)), "euclidean")

text = pathlib.Path("/proc/self/status").read_text()
(line,) = [line for line in text.splitlines() if line.startswith("VmSize")]
used = int(line.split()[1]) << 10
assert used > table.nbytes
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30),) * 2)
try:
    np.array(table)
except MemoryError:
    pass
else:
    raise AssertionError("a copy fits")
operands = [fastcos.rows(table, index, sparse=True) for index in (i, j)]
again, (g,) = f(*operands, "euclidean")
np.testing.assert_allclose(again, value, rtol=1e-6)
np.testing.assert_array_equal(g.rows, np.unique([i, j]))
sums = np.zeros((len(g.rows), features))
np.add.at(sums, np.searchsorted(g.rows, i), a)
np.add.at(sums, np.searchsorted(g.rows, j), b)
np.testing.assert_allclose(g.values, sums, rtol=1e-4, atol=1e-6)
assert abs(sums).max(1).min() > 0
np.testing.assert_array_equal(fastcos.paired_distance(*operands, "euclidean"), again)
(h,) = f(operands[0], copies[1], "euclidean")[1][:1]
np.testing.assert_array_equal(h.rows, np.unique(i))
print("ended")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is read and set as on Linux")
def test_a_table_larger_than_what_may_be_taken(tmp_path):
    path, rows = tmp_path / "table", 6 * (1 << 20)
    with open(path, "wb") as file:
        file.truncate(rows * 256 * 4)
    try:
        done = subprocess.run(
            [sys.executable, "-c", OVER_THE_LIMIT, str(path), str(rows)],
            env={**os.environ, "NUMBA_NUM_THREADS": "2"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    finally:
        path.unlink()
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ended\n"


def test_a_list_that_has_grown_is_another_table():
    table = [[1.0, 0.0], [0.0, 1.0]]
    first = fastcos.rows(table, [0])
    table += [[1.0, 1.0]] * 1000
    with pytest.raises(ValueError, match="are rows of one table, which has changed"):
        value_and_grad(fastcos.cosine_embedding_loss)(first, fastcos.rows(table, [900]), [1])


@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("poincare", [2, 0], [2, 0]),
        ("poincare", [np.inf, 0], [0.5, 0]),
        ("cosine", [1, np.nan], [0, 0]),
        ("cosine", [1, np.inf], [0, 0]),
    ],
)
def test_no_gradient_of_a_distance_that_is_none_is_0(name, x, y):
    table = np.array([x, y, [0.1, 0.2]], np.float32)
    (grad,) = fastcos.grad(fastcos.paired_distance)(
        fastcos.rows(table, [0]), fastcos.rows(table, [1]), name
    )
    assert np.isnan(grad[:2]).any(axis=1).all()
    assert (grad[2] == 0).all()


def test_the_numbers_of_rows_and_a_sparse_gradient_are_not_for_arithmetic():
    table = np.eye(3)
    operand = fastcos.rows(table, [0, 1], sparse=True)
    with pytest.raises(ValueError, match="read-only"):
        operand.index[0] = 7
    (grad,) = fastcos.grad(fastcos.cosine_similarity)(operand, operand)
    for wrong in (lambda: 2 * grad, lambda: grad * 2, lambda: grad + grad):
        with pytest.raises(TypeError, match="compute with its values"):
            wrong()


@pytest.mark.parametrize("index", ["0", slice(3), None, {0}])
def test_what_is_no_index(index):
    with pytest.raises(TypeError, match=f"index must be integers, got a {type(index).__name__}"):
        fastcos.rows(np.eye(3), index)
    with pytest.raises(TypeError, match="sparse must be True or False, got 'yes'"):
        fastcos.rows(np.eye(3), [0], "yes")
