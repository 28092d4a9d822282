"""What bad input gets: the right exception, naming the argument, and nothing written anywhere."""

import itertools
import re
from decimal import Decimal
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastcos
from fastcos.adapters import numpy as numpy_adapter
from fastcos.engine import layout

rng = np.random.default_rng(11)
X, Y, Z = rng.standard_normal((3, 4, 3))
T = np.array([1, -1, 1, -1])


def cosine(*args, **kwargs):
    return fastcos.cosine_embedding_loss(*args, **kwargs)


def triplet(*args, **kwargs):
    return fastcos.triplet_margin_loss(*args, **kwargs)


class Sparse:
    """Looks to fastcos like scipy.sparse.csr_matrix does, without needing SciPy."""

    __module__ = "scipy.sparse"

    def toarray(self):
        return X


class FakeTensor:
    __module__ = "torch"


LENGTHS = itertools.cycle((4, 3))
CASES = {
    "shapes": (
        lambda: cosine(X, Y[:3], T),
        ValueError,
        r"input1 of shape \(4, 3\).*input2 of shape \(3, 3\)",
    ),
    "features": (lambda: cosine(X, Y[:, :2], T), ValueError, r"feature axis.*one length.*\(4, 2\)"),
    "feature broadcast": (lambda: cosine(X, Y[:, :1], T), ValueError, "feature axis"),
    "0-d": (lambda: cosine(1.0, Y, T), ValueError, r"feature axis.*input1 of shape \(\)"),
    "column target": (
        lambda: cosine(X, Y, T[:, None]),
        ValueError,
        r"target.*\(4,\).*got shape \(4, 1\)",
    ),
    "long target": (lambda: cosine(X, Y, np.ones(5)), ValueError, r"target.*got shape \(5,\)"),
    "column weight": (
        lambda: cosine(X, Y, T, weight=np.ones((4, 1))),
        ValueError,
        r"weight.*got shape \(4, 1\)",
    ),
    "0/1 labels": (
        lambda: cosine(X, Y, [1, 0, 1, 0]),
        ValueError,
        r"target.*got 0 at index \(1,\).*pass target == 1",
    ),
    "label 2": (lambda: cosine(X, Y, [1, -1, 2, 5]), ValueError, r"got 2 at index \(2,\)"),
    "NaN label": (lambda: cosine(X, Y, [1, np.nan, 1, 1]), ValueError, r"nan at index \(1,\)"),
    "uint8 255": (lambda: cosine(X, Y, np.array([1, 255, 1, 1], "u1")), ValueError, "got 255"),
    "hinge label": (
        lambda: fastcos.hinge_embedding_loss(np.ones((2, 2)), [[1, 1], [1, 3]]),
        ValueError,
        r"got 3 at index \(1, 1\)",
    ),
    "no target": (lambda: cosine(X, Y, None), TypeError, "target"),
    "reduction": (
        lambda: cosine(X, Y, T, reduction="avg"),
        ValueError,
        "none, sum, mean, sum_over_batch_size, sum_by_nonzero_weights.*'avg'",
    ),
    "reduction type": (lambda: cosine(X, Y, T, reduction=None), ValueError, "reduction.*None"),
    "distance": (
        lambda: fastcos.paired_distance(X, Y, "euclid"),
        ValueError,
        "distance must be one of cosine, .*euclidean.*'euclid'",
    ),
    "lp by name": (
        lambda: fastcos.paired_distance(X, Y, "lp"),
        ValueError,
        r"fastcos\.distances\.lp\(p\)",
    ),
    "distance type": (lambda: fastcos.paired_distance(X, Y, 3), TypeError, "distance.*int"),
    "axis": (lambda: cosine(X, Y, T, axis=2), ValueError, "axis 2 is out of range"),
    "axis type": (lambda: cosine(X, Y, T, axis=1.0), TypeError, "axis must be an integer"),
    "axis of the shorter": (
        lambda: cosine(X[0], Y, np.ones(3), axis=0),
        ValueError,
        "feature axis",
    ),
    "complex": (lambda: cosine(X + 1j, Y, T), TypeError, "input1 has dtype complex128"),
    "object": (lambda: cosine(X, Y.astype(object), T), TypeError, "input2 has dtype object"),
    "strings": (lambda: cosine(X, Y.astype(str), T), TypeError, "input2 has dtype <U"),
    "strings of any length": (
        lambda: cosine(X, np.array([["a"]], np.dtypes.StringDType()), T),
        TypeError,
        "input2 has dtype StringDType",
    ),
    "dates": (lambda: cosine(X, Y.astype("M8[s]"), T), TypeError, "input2 has dtype datetime"),
    "longdouble": (lambda: cosine(X.astype("g"), Y, T), TypeError, "accepted are float16"),
    "complex weight": (lambda: cosine(X, Y, T, weight=1j), TypeError, "weight has dtype complex"),
    "ragged": (lambda: cosine([[1.0, 2.0], [3.0]], Y, T), ValueError, "input1 is not a rectang"),
    "deep list": (lambda: cosine([[[1.0]]], [[1.0, 2.0]], 1), ValueError, "input1 of shape"),
    "None": (lambda: cosine(None, Y, T), TypeError, "input1 has dtype object"),
    "masked": (
        lambda: cosine(np.ma.array(X), Y, T),
        TypeError,
        r"input1 is a masked array.*filled",
    ),
    "sparse": (lambda: cosine(Sparse(), Y, T), TypeError, r"sparse.*input1\.toarray"),
    "tensor": (lambda: cosine(FakeTensor(), Y, T), TypeError, "input1 is a torch array"),
    "NaN margin": (lambda: cosine(X, Y, T, margin=np.nan), ValueError, "margin.*finite.*nan"),
    "inf pos_margin": (
        lambda: cosine(X, Y, T, pos_margin=np.inf),
        ValueError,
        "pos_margin.*finite",
    ),
    "text margin": (lambda: triplet(X, Y, Z, margin="1m"), TypeError, "margin.*'1m'"),
    "huge margin": (lambda: triplet(X, Y, Z, margin=10**400), ValueError, "margin is beyond"),
    "text weight": (lambda: cosine(X, Y, T, weight="1"), TypeError, "weight has dtype <U1"),
    "texts weight": (lambda: cosine(X, Y, T, weight=["1"] * 4), TypeError, "weight has dtype <U1"),
    "bytes target": (lambda: cosine(X, Y, b"1"), TypeError, "target has dtype .S1"),
    "text grad_output": (
        lambda: fastcos.grad(fastcos.cosine_embedding_loss)(X, Y, T, grad_output="1"),
        TypeError,
        "grad_output has dtype <U1",
    ),
    "text swap": (lambda: triplet(X, Y, Z, swap="no"), TypeError, "swap must be .*got 'no'"),
    "text normalize": (
        lambda: fastcos.cosine_distance_loss(X, Y, normalize="no"),
        TypeError,
        "normalize must be True or False, got 'no'",
    ),
    "text validate": (
        lambda: cosine(X, Y, T, validate="no"),
        TypeError,
        "validate must be None, True or False, got 'no'",
    ),
    "axis True": (
        lambda: fastcos.cosine_similarity(X, Y, axis=True),
        TypeError,
        "axis must be an integer, got True",
    ),
    "array margin": (lambda: triplet(X, Y, Z, margin=np.ones(2)), TypeError, "margin"),
    "negative eps": (lambda: cosine(X, Y, T, eps=-1e-9), ValueError, "eps.*>= 0.*-1e-09"),
    "NaN eps": (lambda: triplet(X, Y, Z, eps=np.nan), ValueError, "eps"),
    "p = 0": (lambda: triplet(X, Y, Z, p=0), ValueError, "p must be > 0.*got 0"),
    "p < 0": (lambda: fastcos.distances.lp(-1), ValueError, "p must be > 0"),
    "NaN p": (lambda: fastcos.distances.lp(np.nan), ValueError, "p must be > 0"),
    "empty features": (
        lambda: cosine(np.ones((4, 0)), np.ones((4, 0)), T),
        ValueError,
        "must not be empty",
    ),
    "three shapes": (
        lambda: triplet(X, Y, Z[:2]),
        ValueError,
        r"anchor of shape.*positive.*negative of shape \(2, 3\)",
    ),
    "callable gradient": (
        lambda: fastcos.value_and_grad(fastcos.triplet_margin_with_distance_loss)(
            X, Y, Z, distance_function=lambda a, b: ((a - b) ** 2).sum(-1)
        ),
        TypeError,
        r"(?s)gradient of the callable.*fastcos\.Distance\(.*check_distance",
    ),
    "callable shapes": (
        lambda: fastcos.triplet_margin_with_distance_loss(
            X, Y, Z, distance_function=lambda a, b: a[: next(LENGTHS), 0]
        ),
        ValueError,
        "unequal shapes",
    ),
    "grad_output shape": (
        lambda: fastcos.grad(fastcos.cosine_embedding_loss)(X, Y, T, grad_output=np.ones(4)),
        ValueError,
        "grad_output must be a scalar",
    ),
    "argnums of target": (
        lambda: fastcos.grad(fastcos.cosine_embedding_loss, 2)(X, Y, T),
        TypeError,
        "argnums must be among input1, input2.*weight; got 2",
    ),
    "argnums name": (
        lambda: fastcos.grad(fastcos.cosine_embedding_loss, "target")(X, Y, T),
        TypeError,
        "argnums.*'target'",
    ),
    "argnums twice": (
        lambda: fastcos.grad(fastcos.cosine_embedding_loss, (0, "input1"))(X, Y, T),
        TypeError,
        "twice",
    ),
    "no weight": (
        lambda: fastcos.grad(fastcos.cosine_embedding_loss, "weight")(X, Y, T),
        TypeError,
        "needs weight",
    ),
    "not a loss": (lambda: fastcos.value_and_grad(np.sum), TypeError, "function of fastcos"),
    "check_distance": (lambda: fastcos.check_distance("cosine"), TypeError, "fastcos.Distance"),
}


# Each is text to Python, or to a library of arrays, and float() reads a number in it.
TEXTS = ["0.2", b"1", bytearray(b"1"), np.str_("1"), np.bytes_(b"1"), memoryview(b"1")]
TEXTS += [np.array("1"), np.array(b"1"), np.array("1", object)]
if hasattr(np.dtypes, "StringDType"):
    TEXTS += [np.array("1", np.dtypes.StringDType())]
COMPLEX = [1j, np.complex64(1), np.array(1 + 0j)]
PARAMETERS = {
    "margin": lambda v: triplet(X, Y, Z, margin=v),
    "pos_margin": lambda v: cosine(X, Y, T, pos_margin=v),
    "eps": lambda v: fastcos.cosine_similarity(X, Y, eps=v),
    "p": lambda v: fastcos.distances.lp(v),
}


@pytest.mark.host
@pytest.mark.parametrize("value", [*TEXTS, *COMPLEX], ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("name", PARAMETERS)
def test_text_and_complex_numbers_are_no_real_numbers(name, value):
    with pytest.raises(TypeError, match=f"^{name} must be a real number, got ") as caught:
        PARAMETERS[name](value)
    assert str(caught.value).endswith(repr(value))


@pytest.mark.host
@pytest.mark.parametrize(
    "value",
    [
        *(1, True, Fraction(1), Decimal(1)),
        *(np.float16(1), np.longdouble(1), np.int8(1), np.True_, ml_dtypes.bfloat16(1)),
        *(np.array(1.0), np.array(1, object), np.array(1, ml_dtypes.bfloat16)),
    ],
    ids=repr,
)
def test_real_numbers_of_every_kind_are_taken(value):
    assert fastcos.distances.lp(value, eps=value) == fastcos.distances.lp(1.0, eps=1.0)
    assert triplet(X, Y, Z, margin=value) == triplet(X, Y, Z, margin=1.0)


@pytest.mark.host
@pytest.mark.parametrize("value", ["no", "", "1", b"1", np.str_("1"), np.array("no"), 2, None, []])
@pytest.mark.parametrize("name", ["swap", "normalize", "validate"])
def test_what_is_neither_true_nor_false_is_named(name, value):
    call = {
        "swap": lambda: triplet(X, Y, Z, swap=value),
        "normalize": lambda: fastcos.cosine_distance_loss(X, Y, normalize=value),
        "validate": lambda: fastcos.hinge_embedding_loss(X[:, 0], T, validate=value),
    }[name]
    if name == "validate" and value is None:
        call()
    else:
        with pytest.raises(TypeError, match=f"^{name} must be .*True or False, got ") as caught:
            call()
        assert str(caught.value).endswith(repr(value))


@pytest.mark.host
@pytest.mark.parametrize("value", [0, 1, False, True, np.False_, np.True_, np.int64(1)], ids=repr)
def test_what_is_true_or_false_is_taken(value):
    truth = bool(value)
    assert triplet(X, Y, Z, swap=value) == triplet(X, Y, Z, swap=truth)
    loss = fastcos.cosine_distance_loss
    assert loss(X, Y, normalize=value) == loss(X, Y, normalize=truth)
    if truth:
        with pytest.raises(ValueError, match="target must be"):
            cosine(X, Y, 2 * T, validate=value)
    else:
        assert np.isnan(cosine(X, Y, 2 * T, validate=value))


# Arrays of a GPU are neither, and beside such a one these are of another library.
OF_NUMPY = {
    *("masked", "sparse", "object", "strings", "strings of any length", "dates", "longdouble"),
    "read-only",
}


def skip_what_is_of_numpy(device, case):
    if device != "numpy" and case in OF_NUMPY:
        pytest.skip("only NumPy has such arrays")


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_named(device, case):
    skip_what_is_of_numpy(device, case)
    call, error, message = CASES[case]
    with pytest.raises(error, match=message):
        call()


def _outs():
    return np.full_like(X, 7.0), np.full_like(Y, 7.0)


def _strided(shape, strides=(0, 8)):
    return np.lib.stride_tricks.as_strided(np.full(32, 7.0), shape, strides)


OUT_CASES = {
    "one": (lambda g1, g2: (g1,), TypeError, "one buffer for each of input1, input2.*length 1"),
    "not a tuple": (lambda g1, g2: g1, TypeError, "got a ndarray"),
    "list element": (
        lambda g1, g2: (g1, g2.tolist()),
        TypeError,
        r"out for input2 must be a (NumPy|CuPy) array",
    ),
    "shape": (
        lambda g1, g2: (g1, g2[:3]),
        ValueError,
        r"out for input2 must have shape \(4, 3\).*\(3, 3\)",
    ),
    "dtype": (lambda g1, g2: (g1, g2.astype("f4")), TypeError, r"out for input2.*float64.*float32"),
    "same": (
        lambda g1, g2: (g1, g1),
        ValueError,
        r"out for input2 shares memory with out for input1",
    ),
    "input": (lambda g1, g2: (g1, X), ValueError, r"out for input2 shares memory with input1"),
    "broadcast": (
        lambda g1, g2: (g1, _strided((4, 3))),
        ValueError,
        r"out for input2.*share memory",
    ),
    "overlapping": (
        lambda g1, g2: (g1, _strided((4, 3), (8, 8))),
        ValueError,
        r"out for input2.*share memory",
    ),
    "crossing": (
        lambda g1, g2: (g1, _strided((4, 3), (16, 24))),
        ValueError,
        r"out for input2.*share memory",
    ),
    "read-only": (lambda g1, g2: (g1, _locked(g2)), ValueError, r"out for input2 is read-only"),
}


def _locked(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("case", OUT_CASES)
def test_bad_out_is_named_and_left_alone(device, case):
    skip_what_is_of_numpy(device, case)
    make, error, message = OUT_CASES[case]
    g1, g2 = _outs()
    before = X.copy()
    with pytest.raises(error, match=message):
        fastcos.value_and_grad(fastcos.cosine_embedding_loss)(X, Y, T, out=make(g1, g2))
    assert (g1 == 7).all()
    assert (g2 == 7).all()
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize(
    "case", [c for c in CASES if CASES[c][0].__code__.co_names[:1] == ("cosine",)]
)
def test_a_failed_call_leaves_out_alone(device, case, monkeypatch):
    skip_what_is_of_numpy(device, case)
    out = _outs()

    def with_out(*args, **kwargs):
        return fastcos.value_and_grad(fastcos.cosine_embedding_loss)(*args, **kwargs, out=out)

    monkeypatch.setitem(globals(), "cosine", with_out)
    call, error, message = CASES[case]
    with pytest.raises(error, match=message):
        call()
    assert all((g == 7).all() for g in out)


def test_a_failing_callable_is_not_dressed_up():
    def boom(x1, x2):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        fastcos.triplet_margin_with_distance_loss(X, Y, Z, distance_function=boom)


# Anything may come in: it either works or raises one of the two errors, and its arguments are left
# as they were. What Hypothesis draws is mostly wrong in one respect and right in the others.
_dtypes = st.sampled_from(["f2", "f4", "f8", "i1", "i8", "u2", "?", "c8", "U3", "M8[s]", "g"])
_shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)


@st.composite
def _arrays(draw):
    shape = draw(st.one_of(st.just((3, 4)), st.just((4,)), _shapes))
    array = draw(hnp.arrays(np.dtype(draw(st.one_of(st.just("f8"), _dtypes))), shape))
    return array if draw(st.booleans()) else array.tolist()


@settings(max_examples=300, deadline=None)
@given(
    x1=_arrays(),
    x2=_arrays(),
    target=st.one_of(st.sampled_from([1, -1, True, 0, "1", None, [1, -1, 1]]), _arrays()),
    options=st.fixed_dictionaries(
        {},
        optional={
            "margin": st.one_of(st.floats(), st.text(max_size=1)),
            "eps": st.floats(),
            "axis": st.integers(-3, 3),
            "weight": st.one_of(st.floats(-2, 2), _arrays()),
            "reduction": st.sampled_from(["none", "sum", "mean", "median"]),
        },
    ),
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_anything_works_or_is_named(x1, x2, target, options):
    before = [np.array(a, copy=True) for a in (x1, x2)]
    try:
        value, grads = fastcos.value_and_grad(fastcos.cosine_embedding_loss)(
            x1, x2, target, **options
        )
    except (TypeError, ValueError) as error:
        message = str(error)
    else:
        message = None
    if message is not None:
        names = "input1|input2|target|margin|eps|axis|weight|reduction|feature"
        assert re.search(names, message)
    else:
        assert [g.shape for g in grads] == [np.shape(x1), np.shape(x2)]
        assert value.dtype.kind == "f"
    for argument, old in zip((x1, x2), before, strict=True):
        np.testing.assert_array_equal(np.array(argument), old)


def test_out_is_what_is_returned():
    out = _outs()
    _, grads = fastcos.value_and_grad(fastcos.cosine_embedding_loss)(X, Y, T, out=out)
    assert grads[0] is out[0]
    assert grads[1] is out[1]
    halves = np.empty((4, 6))
    left, right = halves[:, :3], halves[:, 3:]
    fastcos.value_and_grad(fastcos.cosine_embedding_loss)(X, Y, T, out=(left, right))
    np.testing.assert_array_equal(halves, np.hstack(grads))


def test_out_for_an_empty_batch_is_taken():
    empty = np.empty((0, 3))
    out = np.empty((0, 3)), np.empty((0, 3))
    f = fastcos.value_and_grad(fastcos.cosine_embedding_loss)
    value, grads = f(empty, empty, np.empty(0), out=out, reduction="sum")
    assert value == 0
    assert grads[0] is out[0]
    assert grads[1] is out[1]


def test_out_whose_elements_are_interleaved_is_taken():
    f = fastcos.value_and_grad(fastcos.cosine_embedding_loss)
    _, right = f(X, Y, T)
    # Elements at 2 i + 5 j, of which no two are equal, though the rows reach into each other.
    out = _strided((4, 3), (16, 40)), _strided((4, 3), (16, 40))
    _, grads = f(X, Y, T, out=out)
    for one, other in zip(grads, right, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.host
@given(
    axes=st.lists(st.tuples(st.integers(0, 4), st.integers(-9, 9)), max_size=4),
    size=st.sampled_from([1, 2, 4]),
)
def test_an_array_overlaps_itself_where_two_elements_share_a_byte(axes, size):
    shape, strides = tuple(n for n, _ in axes), tuple(step for _, step in axes)
    offsets = [
        sum(i * step for i, step in zip(index, strides, strict=True)) for index in np.ndindex(shape)
    ]
    shared = len({o + b for o in offsets for b in range(size)}) < size * len(offsets)
    array = numpy_adapter.extent(1 << 20, shape, strides, size)
    assert numpy_adapter.overlaps_itself(array) == shared
    if shared:
        assert layout.may_overlap_itself(numpy_adapter.layout(array))


def test_unchecked_labels_are_nan_in_their_own_sample():
    labels = [1, 0, -1, 1]
    value, (g1, _) = fastcos.value_and_grad(fastcos.cosine_embedding_loss)(
        X, Y, labels, reduction="none", validate=False
    )
    np.testing.assert_array_equal(np.isnan(value), [False, True, False, False])
    np.testing.assert_array_equal(np.isnan(g1).any(1), [False, True, False, False])
