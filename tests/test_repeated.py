"""Calls that look like earlier ones: what is kept of those may not show."""

import functools
import math

import numpy as np
import oracle
import pytest

import fastcos
from fastcos.adapters import numpy as adapter
from fastcos.api import gradients
from fastcos.api.calls import _planned

LOSS = fastcos.cosine_embedding_loss


def drawn(rng, dtype=np.float32, n=5, d=7):
    x, y = rng.standard_normal((2, n, d)).astype(dtype)
    return x, y, np.where(rng.random(n) < 0.5, 1, -1)


@pytest.fixture
def no_solver(monkeypatch):
    """After it is called only calls that are known come to an end."""

    def solve(*_, **__):
        raise AssertionError("this call should have been known")

    def set_up():
        monkeypatch.setattr("fastcos.api.calls.evaluate", solve)
        monkeypatch.setattr(gradients, "solve", solve)

    return set_up


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64], ids=lambda d: d.__name__)
def test_the_numbers_are_those_of_the_call(rng, dtype, reduction, no_solver):
    f = fastcos.value_and_grad(LOSS)
    given = {"margin": 0.1, "reduction": reduction}
    for call in (LOSS, f):
        call(*drawn(rng, dtype), **given)
    no_solver()
    for _ in range(3):
        x, y, target = drawn(rng, dtype)
        right = oracle.loss("cosine_embedding_loss", (x, y), target, **given)
        tolerance = {"rtol": 4 * np.finfo(dtype).eps, "atol": 4 * np.finfo(dtype).eps}
        np.testing.assert_allclose(LOSS(x, y, target, **given), right.value, **tolerance)
        value, grads = f(x, y, target, **given)
        np.testing.assert_allclose(value, right.value, **tolerance)
        for grad, expected in zip(grads, right.grads, strict=True):
            np.testing.assert_allclose(grad, expected, **tolerance)
        assert not np.shares_memory(*grads)


def test_every_loss_is_known_the_second_time(rng, no_solver):
    x, y, target = drawn(rng)
    z, weight, out = x[::-1].copy(), rng.uniform(0.5, 2, 5), (np.empty_like(x), np.empty_like(y))
    weight_like = target.astype(np.float64)
    calls = [
        lambda: fastcos.cosine_similarity(x, y),
        lambda: fastcos.paired_distance(x, y, distance="manhattan"),
        lambda: fastcos.paired_distance(x, y, distance=fastcos.distances.lp(3)),
        lambda: fastcos.paired_distance(x, y, distance=fastcos.distances.euclidean(eps=0)),
        lambda: LOSS(x, y, target, margin=0.5),
        lambda: fastcos.cosine_distance_loss(x, y),
        lambda: fastcos.triplet_margin_loss(x, y, z, swap=True),
        lambda: fastcos.triplet_margin_with_distance_loss(x, y, z, distance_function="cosine"),
        lambda: fastcos.hinge_embedding_loss(x[:, 0].copy(), target),
        lambda: fastcos.value_and_grad(LOSS)(x, y, target),
        lambda: fastcos.value_and_grad(fastcos.cosine_distance_loss, "labels")(x, y),
        lambda: fastcos.grad(fastcos.triplet_margin_loss, (0, "negative"))(x, y, z),
        lambda: fastcos.paired_distance(x, y, "manhattan"),
        lambda: LOSS(x, y, target=target),
        lambda: LOSS(target=target, input2=y, input1=x),
        lambda: LOSS(weight=weight, target=weight_like, input2=y, input1=x),
        lambda: LOSS(x, y, target, weight=np.broadcast_to(np.float64(2), 5)),
        lambda: fastcos.value_and_grad(LOSS)(x, y, target, weight=weight, out=out),
        lambda: fastcos.triplet_margin_loss(z, x, y, weight=weight),
        lambda: fastcos.hinge_embedding_loss(x[:, 0].copy(), target, weight=weight),
        lambda: LOSS(x, y, target, weight=weight),
        lambda: fastcos.cosine_distance_loss(x, y, weights=weight.astype(np.float32)),
        lambda: fastcos.value_and_grad(LOSS)(x, y, target, reduction="none", grad_output=weight),
    ]
    first = [call() for call in calls]
    no_solver()
    for call, before in zip(calls, first, strict=True):
        seen = _planned.cache_info()
        np.testing.assert_equal(call(), before)
        assert _planned.cache_info()[:2] == (seen.hits + 1, seen.misses)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none", "sum_by_nonzero_weights"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda d: d.__name__)
def test_weights_and_upstream_gradients_are_those_of_the_call(rng, dtype, reduction):
    f = fastcos.value_and_grad(LOSS)
    each = 5 if reduction == "none" else ()

    def numbers():
        weight = rng.uniform(0.5, 2, 5).astype(dtype)
        weight[rng.integers(5)] = 0
        return weight, rng.standard_normal(each).astype(dtype)[...]

    for given in ("weight", "grad_output", "both"):
        for known in range(3):
            x, y, target = drawn(rng)
            weight, upstream = numbers()
            extra = {"reduction": reduction}
            extra |= {"weight": weight} if given != "grad_output" else {}
            extra |= {"grad_output": upstream} if given != "weight" else {}
            right = oracle.loss("cosine_embedding_loss", (x, y), target, **extra)
            with pytest.MonkeyPatch.context() as patch:
                if known:
                    patch.setattr(gradients, "solve", None)
                value, grads = f(x, y, target, **extra)
            np.testing.assert_allclose(value, right.value, rtol=1e-6, atol=1e-6)
            for grad, expected in zip(grads, right.grads, strict=True):
                np.testing.assert_allclose(grad, expected, rtol=1e-6, atol=1e-6)


def test_upstream_gradients_that_are_numbers_or_of_other_kinds(rng):
    x, y, target = drawn(rng)
    f = fastcos.grad(LOSS)
    right = f(x, y, target)
    _planned.cache_clear()
    for upstream in (2.0, -0.0, True, 3, np.float64(0.5), math.nan, math.inf):
        given = f(x, y, target, grad_output=upstream)
        # A slope of 0 lets nothing through, not even NaN.
        with np.errstate(invalid="ignore"):
            expected = np.where(np.equal(right, 0), 0, np.multiply(upstream, right))
        np.testing.assert_allclose(given, expected, rtol=1e-6)
    assert _planned.cache_info().misses == 1
    each = rng.standard_normal(5).astype(np.float16)
    right = f(x, y, target, reduction="none", grad_output=each.astype(np.float64))
    spread = np.repeat(each, 2)[::2]
    for same in (each, spread, each.tolist(), each.astype(np.float32)[:, None][:, 0]):
        given = f(x, y, target, reduction="none", grad_output=same)
        np.testing.assert_array_equal(given, right)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.float32, bool], ids=lambda d: d.__name__)
def test_one_label_expanded_to_all(rng, dtype):
    # One number in memory, and another behind it that is none of the labels.
    x, y, _ = drawn(rng)
    for memory, wrong in ((np.array([1, 0]), False), (np.array([5, 1]), True)):
        target = np.broadcast_to(memory.astype(dtype)[:1], 5)
        out = np.empty_like(x), np.empty_like(y)
        into = functools.partial(fastcos.value_and_grad(LOSS), out=out)
        for f in (into, functools.partial(LOSS, reduction="none")):
            holed = x.copy()
            holed[2] = np.nan
            if wrong and dtype is not bool:
                for rows in (x, holed):
                    with pytest.raises(ValueError, match=r"target must be \+1 or -1 .* got 5"):
                        f(rows, y, target)
            else:
                value = f(holed, y, target)
                assert np.isnan(value[0] if f is into else value).any()
                value = f(x, y, target)
                assert np.isfinite(value[0] if f is into else value).all()


def test_labels_that_are_bool_are_right_beside_rows_that_are_nan(rng):
    x, y, target = drawn(rng)
    x[2] = np.nan
    for _ in range(2):
        for labels in (target > 0, np.repeat(target > 0, 2)[::2], (target > 0).tolist()):
            assert np.isnan(LOSS(x, y, labels))
        assert np.isnan(LOSS(x, y, np.array([False])))


def test_options_that_are_arrays(rng):
    a, p, target = drawn(rng)
    n = a[::-1].copy()
    for yes in (True, False):
        for _ in range(2):
            given = fastcos.triplet_margin_loss(a, p, n, swap=np.array(yes))
            assert given == fastcos.triplet_margin_loss(a, p, n, swap=yes)
            given = fastcos.cosine_distance_loss(a, p, normalize=np.array(yes))
            assert given == fastcos.cosine_distance_loss(a, p, normalize=yes)
            given = LOSS(a, p, target, margin=np.array(0.25 * yes))
            assert given == LOSS(a, p, target, margin=0.25 * yes)
    assert np.isnan(LOSS(a, p, 0 * target, validate=np.array(False)))
    with pytest.raises(ValueError, match="truth value"):
        fastcos.triplet_margin_loss(a, p, n, swap=np.array([False, True]))


def test_weights_whose_sum_is_zero(rng):
    x, y, target = drawn(rng)
    for weight in (np.ones(5), np.array([1.0, -1, 2, -2, 0]), np.zeros(5)):
        value, grads = fastcos.value_and_grad(LOSS)(x, y, target, weight=weight)
        if weight.sum() == 0:
            assert value == 0
            np.testing.assert_array_equal(grads, 0)


def test_weights_are_checked_every_time(rng):
    x, y, target = drawn(rng)
    f = fastcos.value_and_grad(LOSS)
    weight = rng.uniform(0.5, 2, 5)
    right, expected = f(x, y, target, weight=weight)
    for same in (weight[:, None][:, 0], weight.tolist(), np.repeat(weight, 2)[::2]):
        value, grads = f(x, y, target, weight=same)
        assert value == right
        np.testing.assert_array_equal(grads, expected)
    whole = fastcos.grad(LOSS)(x, y, target, weight=np.array([1, 2, 1, 0, 3]))
    np.testing.assert_array_equal(
        whole, fastcos.grad(LOSS)(x, y, target, weight=np.array([1.0, 2, 1, 0, 3]))
    )
    with pytest.raises(ValueError, match="weight must be a scalar or have the shape"):
        f(x, y, target, weight=weight[:4].copy())
    with pytest.raises(ValueError, match="grad_output must be a scalar or have the shape"):
        f(x, y, target, grad_output=weight)
    out = np.ones((2, *x.shape), x.dtype)
    for wrong in ({"weight": out[0, 0, :5]}, {"grad_output": out[0, 1, 2, ...]}):
        fault = f"out for input1 shares memory with {min(wrong)}"
        with pytest.raises(ValueError, match=fault):
            f(x, y, target, **wrong, out=tuple(out))
    with pytest.raises(ValueError, match=r"target must be \+1 or -1"):
        f(x, y, 0 * target, weight=weight)
    expected = f(x, y, target, reduction="none", grad_output=weight)[1]
    given = f(x, y, target, reduction="none", grad_output=weight.tolist())[1]
    np.testing.assert_array_equal(given, expected)


def test_options_that_are_equal_and_not_the_same(rng):
    x, y, target = drawn(rng)
    LOSS(x, y, target, axis=-1, validate=False)
    with pytest.raises(TypeError, match="axis must be an integer"):
        LOSS(x, y, target, axis=-1.0, validate=False)
    # 0 == False, and False is no position.
    g = fastcos.value_and_grad(LOSS, 0)(x, y, target)[1]
    assert g.shape == x.shape
    for argnums in (False, (False,), [False]):
        with pytest.raises(TypeError, match="argnums must be among"):
            fastcos.value_and_grad(LOSS, argnums)(x, y, target)
    assert len(fastcos.value_and_grad(LOSS, [0])(x, y, target)[1]) == 1


@pytest.mark.parametrize("label", [1, -1, 1.0, True, False])
def test_a_label_for_all_by_its_name(rng, label):
    x, y, _ = drawn(rng)
    right = LOSS(x, y, np.full(5, label))
    assert LOSS(x, y, target=label) == right
    value, grads = fastcos.value_and_grad(LOSS)(x, y, target=label)
    assert value == right
    np.testing.assert_array_equal(grads, fastcos.grad(LOSS)(x, y, np.full(5, label)))
    d = np.abs(x[:, 0])
    right = fastcos.hinge_embedding_loss(d, np.full(5, label))
    assert fastcos.hinge_embedding_loss(d, target=label) == right


def test_arguments_by_name_that_are_none(rng):
    x, y, _ = drawn(rng)
    for wrong, error in (("1", TypeError), (0, ValueError), (None, TypeError)):
        with pytest.raises(error, match="target"):
            LOSS(x, y, target=wrong)
    with pytest.raises(ValueError, match="every operand needs a feature axis"):
        fastcos.cosine_similarity(x, x2=2.0)
    with pytest.raises(TypeError, match="x2 has dtype"):
        fastcos.cosine_similarity(x, x2="abc")


def test_a_zero_and_its_negative_are_two_parameters(rng):
    def signed(zero):
        return fastcos.Distance(
            "signed",
            init=lambda zero, sign: (zero, sign),
            accumulate=lambda state, x, y: (state[0] + x * y, state[1]),
            finalize=lambda state: math.copysign(state[0], state[1]),
            gradient=lambda state, d, x, y: (y, x),
            parameters=(zero,),
        )

    x, y, _ = drawn(rng, np.float64)
    positive = signed(0.0)
    negative = positive._replace(parameters=(-0.0,))
    for _ in range(2):
        assert (fastcos.paired_distance(x, y, distance=positive) > 0).all()
        assert (fastcos.paired_distance(x, y, distance=negative) < 0).all()


def test_argnums_that_change_between_calls_are_those_of_the_first(rng):
    x, y, target = drawn(rng)
    asked = [0]
    f = fastcos.value_and_grad(LOSS, asked)
    for _ in range(3):
        assert len(f(x, y, target)[1]) == 1
        asked.append(1)


def test_labels_are_looked_at_every_time(rng):
    x, y, target = drawn(rng)
    for call in (LOSS, fastcos.value_and_grad(LOSS)):
        call(x, y, target)
        wrong = target.copy()
        wrong[3] = 0
        with pytest.raises(ValueError, match=r"target must be \+1 or -1 .* got 0 at index \(3,\)"):
            call(x, y, wrong)
        assert np.isnan(np.asarray(LOSS(x, y, wrong, validate=False)))


def test_arrays_that_differ_in_what_the_shape_does_not_show(rng):
    x, y, target = drawn(rng, np.float64)
    right = LOSS(x, y, target)
    words = np.zeros(x.nbytes + 1, np.int8)
    odd = words[1:].view(np.float64).reshape(x.shape)
    odd[...] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    swapped = x.astype(x.dtype.newbyteorder())
    for same in (odd, read_only, swapped, np.asfortranarray(x), x.astype(np.longdouble)[...]):
        if same.dtype == np.longdouble and same.itemsize > 8:
            with pytest.raises(TypeError, match="input1 has dtype"):
                LOSS(same, y, target)
        else:
            assert LOSS(same, y, target) == right
            assert LOSS(same, y.astype(same.dtype), target) == right
    assert LOSS(x, y, target) == right
    assert LOSS(x, y, target.astype(np.float32)) == right
    assert LOSS(x, y, target > 0) == right


def test_errors_are_those_of_the_arrays(rng):
    x, y, target = drawn(rng)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"input1 of shape \(5, 7\)"):
            LOSS(x, y[:, :6].copy(), target)
        with pytest.raises(ValueError, match="reduction must be one of"):
            LOSS(x, y, target, reduction="median")
        with pytest.raises(TypeError, match="margin must be a real number, got 'wide'"):
            LOSS(x, y, target, margin="wide")
        with pytest.raises(TypeError, match=r"distance must be the name .* got ndarray"):
            fastcos.paired_distance(x, y, x)


def test_what_is_kept_holds_no_arrays(rng):
    x, y, target = drawn(rng)
    torch = pytest.importorskip("torch")
    _planned.cache_clear()
    with pytest.raises(TypeError, match="arrays of one library only"):
        LOSS(x, y, torch.ones(5))
    with pytest.raises(TypeError, match="arrays of one library only"):
        LOSS(x, y, target, weight=torch.ones(5))
    assert _planned.cache_info().currsize == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.zeros((3, 4)),
        lambda: np.zeros((3, 4))[1:, ::2],
        lambda: np.zeros((3, 4))[::-1],
        lambda: np.broadcast_to(np.float32(1), (3, 4)),
        lambda: np.zeros(()),
        lambda: np.zeros((0, 4)),
        lambda: np.zeros(9, np.int8)[1:].view(np.float64),
        lambda: np.ma.zeros(4),
        lambda: np.frombuffer(b"12345678", np.float64),
    ],
)
def test_addresses(make):
    array = make()
    assert adapter.address(array) == array.ctypes.data


def test_buffers_are_looked_at_every_time(rng, no_solver):
    x, y, target = drawn(rng)
    f = fastcos.value_and_grad(LOSS)
    right, expected = f(x, y, target)
    one = fastcos.value_and_grad(LOSS, "input2")
    out = tuple(np.empty_like(x) for _ in range(2))
    for _ in range(2):
        value, grads = f(x, y, target, out=out)
        assert value == right
        assert all(g is o for g, o in zip(grads, out, strict=True))
        np.testing.assert_array_equal(grads, expected)
        assert one(x, y, target, out=out[0])[1] is out[0]
        np.testing.assert_array_equal(out[0], expected[1])
    read_only = np.empty_like(x)
    read_only.flags.writeable = False
    halves = np.empty((2 * len(x), x.shape[1]), x.dtype)
    broadcast = np.lib.stride_tricks.as_strided(np.empty_like(x), x.shape, (0, x.itemsize))
    for wrong, fault in (
        ((out[0], read_only), "out for input2 is read-only"),
        ((out[0], x), "out for input2 shares memory with input1"),
        ((out[0], out[0]), "out for input2 shares memory with out for input1"),
        ((halves[:5], halves[4:9]), "out for input2 shares memory with out for input1"),
        ((broadcast, out[0]), "out for input1 is a broadcast view"),
    ):
        before = [array.copy() for array in (*wrong, x)]
        with pytest.raises(ValueError, match=fault):
            f(x, y, target, out=wrong)
        np.testing.assert_equal([*wrong, x], before)
    for few in (out[:1], (), []):
        length = rf"out must hold one buffer for each .* of length {len(few)}"
        with pytest.raises(TypeError, match=length):
            f(x, y, target, out=few)
    for none in (None, 1.0, 2, "out", True):
        fault = f"out for input2 must be a NumPy array, got {type(none).__name__}"
        for margin in (0, 0.5):
            with pytest.raises(TypeError, match=fault):
                f(x, y, target, margin=margin, out=(out[0], none))
    with pytest.raises(TypeError, match="out must hold one buffer for each of input2"):
        one(x, y, target, out=())
    with pytest.raises(ValueError, match="out for input2 must have shape"):
        f(x, y, target, out=(out[0], np.empty((5, 8), x.dtype)))
    wrong = np.where(np.arange(5) == 3, 0, target)
    out[0][...] = 7
    with pytest.raises(ValueError, match=r"target must be \+1 or -1"):
        f(x, y, wrong, out=out)
    assert (out[0] == 7).all()
    # Rows in turns lie within each other's bounds and share nothing.
    interleaved = halves[::2], halves[1::2]
    assert f(x, y, target, out=interleaved)[0] == right
    np.testing.assert_array_equal(interleaved, expected)
    no_solver()
    f(x, y, target, out=(halves[:5], halves[5:]))
    np.testing.assert_array_equal(halves, np.concatenate(expected))
