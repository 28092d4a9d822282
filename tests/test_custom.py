"""A user's own distance stands where the built-in ones do, by one record."""

import math
import sys

import ml_dtypes
import numpy as np
import pytest

import fastcos
from fastcos import Distance, distances
from fastcos.distances import Linear, Refinements

rng = np.random.default_rng(5)
A, P, N = rng.standard_normal((3, 9, 6))


def log_cosh():
    """d = Σ log cosh(x - y), dd/dx = tanh(x - y), with a helper function of the user's own."""
    return Distance(
        "log_cosh",
        init=lambda zero: (zero,),
        accumulate=lambda state, x, y: (state[0] + _log_cosh(x - y),),
        finalize=lambda state: state[0],
        gradient=lambda state, d, x, y: (math.tanh(x - y), -math.tanh(x - y)),
    )


def _log_cosh(t):
    return abs(t) + math.log1p(math.exp(-2 * abs(t))) - math.log(2)


MINE = log_cosh()


def test_value_and_gradient():
    d, (gx, gy) = fastcos.value_and_grad(fastcos.paired_distance)(A, P, MINE)
    np.testing.assert_allclose(d, np.log(np.cosh(A - P)).sum(1), rtol=1e-14)
    np.testing.assert_allclose(gx, np.tanh(A - P), rtol=1e-14)
    np.testing.assert_array_equal(gy, -gx)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_triplet_swap_and_reductions(swap, reduction):
    d = {
        k: np.log(np.cosh(x - y)).sum(1)
        for k, (x, y) in {"ap": (A, P), "an": (A, N), "pn": (P, N)}.items()
    }
    far = np.minimum(d["an"], d["pn"]) if swap else d["an"]
    losses = np.maximum(0, d["ap"] - far + 0.5)
    expected = {"none": losses, "sum": losses.sum(), "mean": losses.mean()}[reduction]
    upstream = rng.standard_normal(9) if reduction == "none" else 1.75
    value, (ga, gp, gn) = fastcos.value_and_grad(fastcos.triplet_margin_with_distance_loss)(
        A,
        P,
        N,
        distance_function=MINE,
        margin=0.5,
        swap=swap,
        reduction=reduction,
        grad_output=upstream,
    )
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    c = (losses > 0) * upstream / (9 if reduction == "mean" else 1)
    nearer_p = (d["pn"] < d["an"]) & swap
    ap, an, pn = np.tanh(A - P), np.tanh(A - N), np.tanh(P - N)
    c_an, c_pn = (c * ~nearer_p)[:, None], (c * nearer_p)[:, None]
    np.testing.assert_allclose(ga, c[:, None] * ap - c_an * an, atol=1e-14)
    np.testing.assert_allclose(gp, -c[:, None] * ap - c_pn * pn, atol=1e-14)
    np.testing.assert_allclose(gn, c_an * an + c_pn * pn, atol=1e-14)
    assert nearer_p.any() == swap


def test_half_and_broadcast_inputs():
    x, y = A[0].astype("f4"), P.astype("f4")
    d, (gx, gy) = fastcos.value_and_grad(fastcos.paired_distance)(x, y, MINE)
    assert d.dtype == gx.dtype == np.float32
    slope = np.tanh(np.subtract(x, y, dtype="f8"))
    np.testing.assert_allclose(gx, slope.sum(0), rtol=1e-6)
    np.testing.assert_allclose(gy, -slope, rtol=1e-6)


def test_parameters_are_arguments():
    def accumulate(state, x, y):
        return state[0] + state[1] * (x - y) ** 2, state[1]

    def gradient(state, d, x, y):
        return 2 * state[1] * (x - y), -2 * state[1] * (x - y)

    scaled = Distance(
        "scaled",
        lambda zero, a: (zero, zero + a),
        accumulate,
        lambda s: s[0],
        gradient,
        parameters=(2.0,),
    )
    twice = fastcos.paired_distance(A, P, scaled)
    for three in (3.0, 3, np.int64(3), np.float32(3)):
        thrice = fastcos.paired_distance(A, P, scaled._replace(parameters=(three,)))
        np.testing.assert_allclose(thrice, 1.5 * twice, rtol=1e-14)
    once = fastcos.paired_distance(A, P, scaled._replace(parameters=(True,)))
    np.testing.assert_allclose(once, twice / 2, rtol=1e-14)


# A norm with a state of its own for the gradient: another length, and other numbers in it.
PREPARED = Distance(
    "norm",
    init=lambda zero: (zero, zero),
    accumulate=lambda state, x, y: (state[0] + (x - y) ** 2, state[1]),
    finalize=lambda state: math.sqrt(state[0]),
    gradient=lambda state, d, x, y: ((x - y) * state[0], (y - x) * state[0]),
    refinements=Refinements(prepare=lambda state, d: (1 / d,)),
)


def test_roots_and_quotients_are_prepared_once_for_a_row():
    f = fastcos.value_and_grad(fastcos.triplet_margin_with_distance_loss)
    own, theirs = (
        f(A, P, N, distance_function=d, margin=9.0, swap=True)
        for d in (PREPARED, distances.euclidean(eps=0))
    )
    np.testing.assert_allclose(own[0], theirs[0], rtol=1e-14)
    np.testing.assert_allclose(own[1], theirs[1], rtol=1e-12, atol=1e-15)


def test_a_state_may_begin_with_integers():
    # The half of the square of a mean difference: a sum, a count and what is to be halved.
    counted = Distance(
        "counted",
        init=lambda zero: (0, 0, True),
        accumulate=lambda state, x, y: (state[0] + (x - y), state[1] + 1, state[2]),
        finalize=lambda state: (state[0] / state[1]) ** 2 / (1 + state[2]),
        gradient=lambda state, d, x, y: (state[0] / state[1] ** 2, -state[0] / state[1] ** 2),
    )
    ap, an = ((A - other).mean(1, keepdims=True) for other in (P, N))
    d, (gx, gy) = fastcos.value_and_grad(fastcos.paired_distance)(A, P, counted)
    np.testing.assert_allclose(d, ap[:, 0] ** 2 / 2, rtol=1e-13)
    np.testing.assert_allclose(gx, np.repeat(ap / 6, 6, axis=1), rtol=1e-13)
    np.testing.assert_array_equal(gy, -gx)
    _, (ga, gp, gn) = fastcos.value_and_grad(fastcos.triplet_margin_with_distance_loss)(
        A, P, N, distance_function=counted, margin=9.0, reduction="sum"
    )
    np.testing.assert_allclose(ga, np.repeat((ap - an) / 6, 6, axis=1), rtol=1e-12)
    np.testing.assert_allclose(gp, -gx, rtol=1e-13)
    np.testing.assert_allclose(gn, np.repeat(an / 6, 6, axis=1), rtol=1e-13)


@pytest.mark.parametrize("features", [5, 64, 203, 389])
def test_long_rows_are_merged_from_parts(features):
    # The largest |x - y| above -1, how many numbers there were, and the halved sum of both.
    x, y = rng.standard_normal((2, 3, features))
    mine = Distance(
        "largest and count",
        init=lambda zero: (-1, 0, 0.5),
        accumulate=lambda state, x, y: (max(state[0], abs(x - y)), state[1] + 1, state[2]),
        finalize=lambda state: (state[0] + state[1]) * state[2],
        gradient=lambda state, d, x, y: (
            (state[0] == abs(x - y)) * state[2] * np.sign(x - y),
            (state[0] == abs(x - y)) * state[2] * np.sign(y - x),
        ),
        refinements=Refinements(
            merge=lambda state, other: (max(state[0], other[0]), state[1] + other[1], state[2])
        ),
    )
    d, (gx, gy) = fastcos.value_and_grad(fastcos.paired_distance)(x, y, mine)
    largest = abs(x - y).max(1)
    np.testing.assert_allclose(d, (largest + features) / 2, rtol=1e-14)
    np.testing.assert_array_equal(gx, np.sign(x - y) * (abs(x - y) == largest[:, None]) / 2)
    np.testing.assert_array_equal(gy, -gx)


# 0.1 after sums in float64, 0 after those in float32, which lose 2⁻⁴⁰ beside 1. Float32 will do for
# more components than the last parameter says.
COUNT = Distance(
    "count",
    init=lambda zero, start, huge, most: (zero, zero + 1, start, huge, most),
    accumulate=lambda state, x, y: (state[0] + 1, state[1] + 2.0**-40, *state[2:]),
    finalize=lambda state: (state[1] - 1) * 2.0**40 / state[0] * state[2] * (state[3] / 1e300),
    gradient=lambda state, d, x, y: (0.0, 0.0),
    refinements=Refinements(float32_sums=lambda state: state[0] > state[4]),
    parameters=(0.1, 1e300, 0),
)
MERGED_COUNT = COUNT._replace(
    refinements=COUNT.refinements._replace(
        merge=lambda a, b: (a[0] + b[0], a[1] + b[1] - 1, *a[2:])
    )
)


@pytest.mark.host
@pytest.mark.parametrize("count", [COUNT, MERGED_COUNT], ids=["sums", "merged"])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_types_are_summed_in_float32_where_that_will_do(dtype, count):
    rows = rng.standard_normal((2, 3, 900)).astype(dtype)
    for most in (0, 400):
        counted = count._replace(parameters=(0.1, 1e300, most))
        for features in (1, 5, 256, 900):
            d = fastcos.paired_distance(*rows[..., :features], counted)
            np.testing.assert_array_equal(d, np.full(3, 0 if features > most else 0.1, dtype))


SPREAD = Distance(
    "spread",
    init=lambda zero: (zero - math.inf, zero + 1e30),
    accumulate=lambda state, x, y: (max(state[0], x + y), min(state[1], x + y)),
    finalize=lambda state: state[0] - state[1],
    gradient=lambda state, d, x, y: (0.0, 0.0),
    refinements=Refinements(
        merge=lambda a, b: (max(a[0], b[0]), min(a[1], b[1])), float32_sums=lambda state: True
    ),
)


@pytest.mark.host
@pytest.mark.parametrize("features", [1, 5, 64, 97, 300])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_maxima_in_float32_may_start_at_infinity(dtype, features):
    x = rng.integers(-50, 50, (3, features)).astype(dtype)
    d = fastcos.paired_distance(x, np.zeros_like(x), SPREAD)
    np.testing.assert_array_equal(d, x.max(1) - x.min(1))


def slope(state, d, x, y):
    _, one, tiny, huge, _ = state
    g = ((one + tiny) - one) * huge
    return g, -g


# Length of the rows; its slopes are 1 and -1 in float64, and 0 in float32, which will do for rows
# longer than the last parameter.
LENGTH = Distance(
    "length",
    init=lambda zero, tiny, huge, most: (zero, zero + 1, tiny, huge, most),
    accumulate=lambda state, x, y: (state[0] + 1, *state[1:]),
    finalize=lambda state: state[0],
    gradient=slope,
    refinements=Refinements(float32_gradient=lambda state, d: d > state[4]),
    parameters=(2.0**-40, 2.0**40, 0),
)


@pytest.mark.host
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
def test_gradients_of_half_types_are_in_float32_where_that_will_do(dtype):
    rows = rng.standard_normal((2, 3, 900)).astype(dtype)
    in_float32 = LENGTH._replace(parameters=(2.0**-40, 2.0**40, 400))
    for features in (1, 5, 256, 900):
        expected = 1 if features <= 400 or dtype == np.float32 else 0
        x, y = rows[..., :features]
        _, grads = fastcos.value_and_grad(fastcos.paired_distance)(x, y, in_float32)
        for given, sign in zip(grads, (1, -1), strict=True):
            np.testing.assert_array_equal(given, np.full(x.shape, sign * expected, dtype))
        # One gradient, which another loop writes.
        _, (gx,) = fastcos.value_and_grad(fastcos.paired_distance, argnums=(0,))(x, y, in_float32)
        np.testing.assert_array_equal(gx, grads[0])


@pytest.mark.host
def test_gradients_are_not_in_float32_where_their_factor_is_not():
    x, y = rng.standard_normal((2, 3, 900)).astype(ml_dtypes.bfloat16)
    for factor, slope in ((2.0**20, 0), (2.0**21, 1), (2.0**-100, 0), (2.0**-101, 1)):
        _, (gx, gy) = fastcos.value_and_grad(fastcos.paired_distance)(
            x, y, LENGTH, grad_output=np.full(3, factor, np.float32)
        )
        np.testing.assert_array_equal(gx, np.full(x.shape, slope * factor, x.dtype))
        np.testing.assert_array_equal(gy, -gx)


PRODUCTS = Distance(
    "products",
    init=lambda zero: (zero,),
    accumulate=lambda state, x, y: state,
    finalize=lambda state: state[0],
    gradient=lambda state, d, x, y: (x * y, x + y),
    refinements=Refinements(float32_gradient=lambda state, d: True),
)


@pytest.mark.host
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("features", [1, 2, 7, 1023, 2**16])
def test_gradients_in_float32_are_rounded_to_nearest(dtype, features):
    # All numbers there are, NaN of every kind and products too large among them.
    every = np.arange(2**16, dtype=np.uint16).view(dtype)
    x, y = (rng.permutation(every)[: 2**16 // features * features] for _ in range(2))
    x, y = x.reshape(-1, features), y.reshape(-1, features)
    _, (gx, gy) = fastcos.value_and_grad(fastcos.paired_distance)(x, y, PRODUCTS)
    with np.errstate(all="ignore"):
        wide = x.astype(np.float32), y.astype(np.float32)
        expected = (wide[0] * wide[1]).astype(dtype), (wide[0] + wide[1]).astype(dtype)
    for given, right in zip((gx, gy), expected, strict=True):
        np.testing.assert_array_equal(np.isnan(given), np.isnan(right))
        known = ~np.isnan(right)
        words = given[known].view(np.uint16), right[known].view(np.uint16)
        np.testing.assert_array_equal(*words)


@pytest.mark.host
def test_gradients_of_triplets_are_not_in_float32():
    rows = rng.standard_normal((3, 3, 40)).astype(np.float16)
    _, (ga, gp, gn) = fastcos.value_and_grad(fastcos.triplet_margin_with_distance_loss)(
        *rows, distance_function=LENGTH, reduction="sum"
    )
    np.testing.assert_array_equal(ga, np.zeros(ga.shape, np.float16))
    np.testing.assert_array_equal(gp, np.full(gp.shape, -1, np.float16))
    np.testing.assert_array_equal(gn, np.full(gn.shape, 1, np.float16))


@pytest.mark.host
def test_gradients_of_half_types_are_those_of_linear():
    x, y = np.ones((2, 3, 40), np.float16)
    three = Linear(lambda state, d: (0 * d + 3, d * 0, d * 0, d * 0, d * 0))
    linear = LENGTH._replace(refinements=Refinements(float32_gradient=three))
    _, (gx, gy) = fastcos.value_and_grad(fastcos.paired_distance)(x, y, linear)
    np.testing.assert_array_equal(gx, np.full(x.shape, -3, np.float16))
    np.testing.assert_array_equal(gy, np.zeros(y.shape, np.float16))


@pytest.mark.host
def test_check_distance_finds_a_wrong_float32_gradient():
    # Right in float64; float32 has no digit left of what cancels.
    cancels = distances.sqeuclidean()._replace(
        init=lambda zero, float32_will_do: (zero, 2.0**30, float32_will_do),
        accumulate=lambda state, x, y: (state[0] + (x - y) ** 2, state[1], state[2]),
        gradient=lambda state, d, x, y: (
            ((x - y) + state[1]) - state[1] + (x - y),
            ((y - x) + state[1]) - state[1] + (y - x),
        ),
        refinements=Refinements(float32_gradient=lambda state, d: state[2] > 0),
        parameters=(0.0,),
    )
    fastcos.check_distance(cancels)
    message = r"float32_gradient of sqeuclidean is wrong: .* float64 gives"
    with pytest.raises(ValueError, match=message):
        fastcos.check_distance(cancels._replace(parameters=(1.0,)))


@pytest.mark.host
def test_check_distance_of_slopes_that_float16_all_but_loses():
    fastcos.check_distance(distances.braycurtis(), low=1, high=100)


@pytest.mark.host
def test_check_distance_finds_wrong_float32_sums():
    message = r"float32_sums of count is wrong: float16 .* of 7 features"
    with pytest.raises(ValueError, match=message):
        fastcos.check_distance(COUNT)
    # What is right within a stretch: a maximum is no sum.
    largest = Distance(
        "largest",
        init=lambda zero: (zero,),
        accumulate=lambda state, x, y: (max(state[0], abs(x - y)),),
        finalize=lambda state: state[0],
        gradient=lambda state, d, x, y: (
            (abs(x - y) == state[0]) * (1.0 if x > y else -1.0),
            (abs(x - y) == state[0]) * (-1.0 if x > y else 1.0),
        ),
        refinements=Refinements(float32_sums=lambda state: True),
    )
    with pytest.raises(ValueError, match=r"float32_sums of largest is wrong: .* of 1000 features"):
        fastcos.check_distance(largest)


@pytest.mark.host
@pytest.mark.filterwarnings("error")
def test_check_distance_of_rows_that_float16_has_not():
    fastcos.check_distance(distances.canberra(), low=1e5, high=2e5)
    fastcos.check_distance(distances.sqeuclidean(), low=-1e3, high=1e3)


@pytest.mark.host
def test_check_distance_accepts_what_is_prepared():
    linear = Linear(lambda state, d: (1 / d, 1.0, 1 / d, 1.0, 0.0))
    refinements = PREPARED.refinements._replace(float32_gradient=linear)
    fastcos.check_distance(PREPARED._replace(refinements=refinements))


def test_a_redefined_distance_is_compiled_anew():
    def make(factor):
        return Distance(
            "same name",
            lambda zero: (zero,),
            lambda state, x, y: (state[0] + factor * abs(x - y),),
            lambda state: state[0],
            lambda state, d, x, y: (factor, -factor),
        )

    one, five = (fastcos.paired_distance(A, P, make(factor)) for factor in (1.0, 5.0))
    np.testing.assert_allclose(five, 5 * one, rtol=1e-14)


@pytest.mark.host
@pytest.mark.parametrize("name", distances.DISTANCES)
def test_check_distance_accepts_the_built_in_ones(name):
    low, high = (-0.3, 0.3) if name == "poincare" else (-1.0, 1.0)
    for seed in range(5):
        fastcos.check_distance(distances.DISTANCES[name](), low=low, high=high, seed=seed)


@pytest.mark.host
def test_check_distance_accepts_mine_and_lp():
    fastcos.check_distance(MINE)
    fastcos.check_distance(distances.lp(3.5))


@pytest.mark.host
@pytest.mark.parametrize("samples", [2, 4000])
def test_what_a_function_raises_is_not_lost(samples, monkeypatch):
    shown = []
    monkeypatch.setattr(sys, "unraisablehook", lambda hook: shown.append(str(hook.exc_value)))

    def accumulate(state, x, y):
        if x < 0:
            raise ValueError("negative")
        return (state[0] + abs(x - y),)

    strict = Distance(
        "strict", lambda zero: (zero,), accumulate, lambda s: s[0], lambda s, d, x, y: (1.0, -1.0)
    )
    x = np.ones((samples, 9))
    assert (fastcos.paired_distance(x, x, strict) == 0).all()
    x[-1, 3] = -1
    with pytest.raises(RuntimeError, match="function of the distance raised"):
        fastcos.paired_distance(x, x, strict)
    assert shown == ["negative"]


@pytest.mark.host
def test_check_distance_finds_a_wrong_linear():
    euclidean = distances.euclidean()
    linear = Linear(lambda state, d: (1 / d, 1.0, 1 / d, 1.0, 0.0))
    wrong = euclidean._replace(refinements=euclidean.refinements._replace(float32_gradient=linear))
    fastcos.check_distance(wrong._replace(parameters=(0.0,)))
    with pytest.raises(ValueError, match="linear gradient of euclidean is wrong"):
        fastcos.check_distance(wrong._replace(parameters=(1e-2,)))


@pytest.mark.host
@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda s, d, x, y: (x - y, y - x), r"gradient of log_cosh is wrong.*d/d[xy]\[\d\]"),
        (lambda s, d, x, y: (math.tanh(x - y), math.tanh(x - y)), r"d/dy\[\d\]"),
        (lambda s, d, x, y: (math.nan, math.nan), "nan"),
    ],
)
def test_check_distance_finds_a_wrong_gradient(broken, message):
    with pytest.raises(ValueError, match=message):
        fastcos.check_distance(MINE._replace(gradient=broken))


@pytest.mark.host
def test_check_distance_finds_a_kernel_that_differs(monkeypatch):
    # Compiled code keeps the globals it was compiled with; plain Python looks again.
    factored = MINE._replace(
        finalize=lambda state: state[0] * FACTOR,
        gradient=lambda state, d, x, y: (FACTOR * math.tanh(x - y), -FACTOR * math.tanh(x - y)),
    )
    fastcos.check_distance(factored)
    monkeypatch.setitem(globals(), "FACTOR", 2.0)
    with pytest.raises(ValueError, match=r"compiled and .* as plain Python"):
        fastcos.check_distance(factored)


FACTOR = 1.0


@pytest.mark.host
def test_check_distance_wants_smooth_ground():
    steps = MINE._replace(finalize=lambda state: state[0] + 1e-3 * (int(state[0] * 1e9) % 7))
    with pytest.raises(ValueError, match="not smooth enough"):
        fastcos.check_distance(steps)
