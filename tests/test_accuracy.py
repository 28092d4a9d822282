"""What the library promises about its numbers: accuracy, range, singular rows, NaN."""

import itertools

import ml_dtypes
import mpmath
import numpy as np
import oracle
import pytest

import fastcos
from fastcos import distances, value_and_grad

HALVES = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))

#: Every distance with its default parameters.
PLAIN = {**{name: make() for name, make in distances.DISTANCES.items()}, "lp": distances.lp(3.5)}
PARAMETERS = {"lp": {"p": 3.5}}
#: Those that stay the same when both rows are multiplied, and those that are multiplied with them.
INVARIANT = ("cosine", "angular", "canberra", "braycurtis")
HOMOGENEOUS = ("euclidean", "manhattan", "chebyshev", "lp")


def measure(name):
    """``(x, y) -> (d, (gx, gy))``."""
    if name == "cosine_similarity":
        return value_and_grad(fastcos.cosine_similarity)
    return lambda x, y: value_and_grad(fastcos.paired_distance)(x, y, PLAIN[name])


# --------------------------------------------------------------------------------------------------
# 4 ulp in float32, however long the rows
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [1000, 1_000_000])
@pytest.mark.parametrize("name", oracle.DISTANCES)
def test_float32_is_within_4_ulp_for_long_rows(rng, name, features):
    x, y = oracle.draw(rng, name, (2, features), np.float32)
    parameters = PARAMETERS.get(name, {})
    d, grads = measure(name)(x, y)
    right, *slopes = oracle.distance(name, x, y, **parameters)
    oracle.assert_within_ulps(d, right, 4)
    for given, slope in zip(grads, slopes, strict=True):
        oracle.assert_rows_within_ulps(given, slope, 4)


def test_float32_is_within_4_ulp_where_all_terms_have_one_sign(rng):
    # Float32 sums of a million positive terms would be off by hundreds of units.
    x, y = rng.uniform(0.5, 1, (2, 1_000_000)).astype(np.float32)
    for name in ("cosine", "euclidean", "manhattan", "braycurtis", "dot"):
        d, grads = measure(name)(x, y)
        right, *slopes = oracle.distance(name, x, y, **PARAMETERS.get(name, {}))
        oracle.assert_within_ulps(d, right, 4)
        for given, slope in zip(grads, slopes, strict=True):
            oracle.assert_rows_within_ulps(given, slope, 4)


@pytest.mark.parametrize("name", ["euclidean", "manhattan", "chebyshev", "lp"])
@pytest.mark.parametrize("eps", [1e-6, 2.0**-30])
def test_float64_differences_are_taken_before_eps_is_added(rng, name, eps):
    # x + eps or eps - y would be rounded at 1e8 and leave nothing of eps.
    x = 1e8 * rng.standard_normal((3, 67))
    distance = distances.lp(3.5, eps) if name == "lp" else getattr(distances, name)(eps)
    d, (gx, _) = value_and_grad(fastcos.paired_distance)(x, x.copy(), distance)
    p = {"p": 3.5} if name == "lp" else {}
    right, slope, _ = oracle.distance(name, x, x, eps=eps, **p)
    oracle.assert_within_ulps(d, right, 32)
    oracle.assert_rows_within_ulps(gx, slope, 32)
    assert (gx > 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_poincare_near_the_boundary(rng, dtype):
    x, y = rng.standard_normal((2, 8, 33))
    radius = 1 - np.logspace(-1, -6, 8)[:, None]
    x, y = (radius * v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y))
    x, y = x.astype(dtype), y.astype(dtype)
    d, grads = measure("poincare")(x, y)
    right, *slopes = oracle.distance("poincare", x, y)
    # In float64 1 - x·x loses as many digits as the boundary is near.
    ulps = 4 if dtype == np.float32 else 16 / (1 - radius)
    for given, expected in zip((d[:, None], *grads), (right[:, None], *slopes), strict=True):
        unit = oracle.ulp(oracle.row_scale(expected), dtype)
        assert (np.abs(given - expected) <= ulps * unit).all()


# --------------------------------------------------------------------------------------------------
# 1 - c: never negative, 0 for equal rows, right for nearly parallel ones
# --------------------------------------------------------------------------------------------------


def nearly_parallel(rng, angle, features, dtype, factor=3.0):
    """Two rows at about this angle."""
    x, n = rng.standard_normal((2, features))
    x /= np.linalg.norm(x)
    n -= (n @ x) * x
    n /= np.linalg.norm(n)
    return (factor * x).astype(dtype), (x + angle * n).astype(dtype)


@pytest.mark.parametrize("features", [2, 3, 16, 33, 257])
@pytest.mark.parametrize("gap", [1e-2, 1e-3, 9.7e-4, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9])
def test_one_minus_c_is_right_for_nearly_parallel_float32_rows(rng, gap, features):
    for factor in (1.0, 3.0, 1e-20, 1e20):
        x, y = nearly_parallel(rng, np.sqrt(2 * gap), features, np.float32, factor)
        given = fastcos.paired_distance(x, y, "cosine")
        right = oracle.precise_cosine_distance(x, y)
        assert 0.5 * gap < right < 2 * gap
        assert abs(mpmath.mpf(float(given)) - right) < 1e-6 * right
        loss = fastcos.cosine_embedding_loss(x[None], y[None], 1)
        assert loss == given
        _, (gx, gy) = measure("cosine")(x, y)
        oracle.assert_rows_within_ulps(gx, oracle.precise_cosine_gradient(x, y), 4)
        oracle.assert_rows_within_ulps(gy, oracle.precise_cosine_gradient(y, x), 4)


def test_one_minus_c_is_right_for_long_nearly_parallel_float32_rows(rng):
    for gap in (1e-3, 1e-6, 1e-9):
        x, y = nearly_parallel(rng, np.sqrt(2 * gap), 1_000_000, np.float32)
        d, (gx, gy) = measure("cosine")(x, y)
        right, slope_x, slope_y = oracle.distance("cosine", x, y)
        assert 0.5 * gap < right < 2 * gap
        assert abs(d - right) < 1e-6 * right
        oracle.assert_rows_within_ulps(gx, slope_x, 4)
        oracle.assert_rows_within_ulps(gy, slope_y, 4)


@pytest.mark.parametrize("factor", [1.0, 3.0, 1e-200, 1e200])
@pytest.mark.parametrize("gap", [1e-3, 1e-6, 1e-9, 1e-12, 1e-16, 1e-20, 1e-25])
def test_one_minus_c_of_float64_rows_keeps_the_digits_that_an_angle_has(rng, gap, factor):
    # Components are rounded at 2⁻⁵³ of the row, which is 2⁻⁵³/θ of the angle θ = √(2(1 - c)).
    for features in (2, 3, 16, 33, 257):
        x, y = nearly_parallel(rng, np.sqrt(2 * gap), features, np.float64, factor)
        d, (gx, gy) = measure("cosine")(x, y)
        right = oracle.precise_cosine_distance(x, y)
        assert 0.1 * gap < right < 10 * gap
        # From 2⁻¹⁰ on the plain difference will do.
        allowed = 2**-50 * (right + mpmath.sqrt(right / 2)) if right < 2**-10 else 2**-50
        assert abs(mpmath.mpf(float(d)) - right) < allowed
        # Of the terms that cancel, which are of size 1/‖row‖.
        for given, row, other, length in ((gx, x, y, factor), (gy, y, x, 1)):
            slope = oracle.precise_cosine_gradient(row, other)
            oracle.assert_within_ulps(given, slope, 4, scale=np.full(features, 1 / length))


@pytest.mark.parametrize("eps", [1e-12, 1e-9, 1e-3])
def test_one_minus_c_of_nearly_parallel_rows_with_eps(rng, eps):
    for gap in (1e-3, 1e-6, 1e-9):
        x, y = nearly_parallel(rng, np.sqrt(2 * gap), 33, np.float64)
        d, (gx, gy) = value_and_grad(fastcos.paired_distance)(x, y, distances.cosine(eps))
        # Extended precision has 10 digits left of a gap of 1e-9.
        right, slope_x, slope_y = oracle.distance("cosine", x, y, eps=eps)
        assert right > 0.5 * gap
        np.testing.assert_allclose(float(d), float(right), rtol=1e-9)
        oracle.assert_within_ulps(gx, slope_x, 4, scale=1)
        oracle.assert_within_ulps(gy, slope_y, 4, scale=1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nearly_opposite_rows(rng, dtype):
    for gap in (1e-2, 1e-4, 1e-6, 1e-8):
        x, y = nearly_parallel(rng, np.sqrt(2 * gap), 33, dtype)
        d, (gx, _) = measure("cosine")(x, -y)
        oracle.assert_within_ulps(d, oracle.distance("cosine", x, -y)[0], 4)
        assert d <= 2
        oracle.assert_within_ulps(gx, -oracle.precise_cosine_gradient(x, y), 4, scale=1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("angle", [0.5, 1e-1, 3e-2, 1e-3, 1e-5, 3e-7])
def test_the_angle_of_nearly_parallel_and_opposite_rows(rng, angle, dtype):
    for features in (2, 3, 16, 33, 257):
        x, y = nearly_parallel(rng, angle, features, dtype)
        for sign in (1, -1):
            d, grads = measure("angular")(x, sign * y)
            right = oracle.precise_angle(x, sign * y)
            # In float64 the angle is known to 2⁻⁵³ of a half turn or so, as above.
            allowed = 2**-22 * right if dtype == np.float32 else 2**-48
            assert abs(mpmath.mpf(float(d)) - right) < allowed
            _, *slopes = oracle.distance("angular", x, sign * y)
            for given, slope in zip(grads, slopes, strict=True):
                if dtype == np.float32:
                    oracle.assert_rows_within_ulps(given, slope, 4)
                else:
                    assert np.abs(given - slope).max() < 2**-48 / angle**2 * np.abs(slope).max()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, *HALVES], ids=str)
def test_equal_rows_have_no_distance_and_no_loss(rng, device, dtype):
    sizes = 1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 97, 257, 1000, 100_003
    for features in sizes if device != "simulated" else sizes[:-2]:
        x = (1.7 * rng.standard_normal((3, features))).astype(dtype)
        losses = fastcos.cosine_embedding_loss(x, x.copy(), 1, reduction="none")
        oracle.assert_same_bits(losses, np.zeros(3, dtype))
        assert fastcos.cosine_embedding_loss(x, x, np.ones(3)) == 0
        if dtype in (np.float32, np.float64):
            for power in (1, 2.0**-40, 2.0**40):
                y = x * dtype(power)
                oracle.assert_same_bits(fastcos.paired_distance(x, y, "cosine"), np.zeros(3, dtype))
                oracle.assert_same_bits(fastcos.cosine_similarity(x, y), np.ones(3, dtype))
                oracle.assert_same_bits(
                    fastcos.paired_distance(x, y, "angular"), np.zeros(3, dtype)
                )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_cosine_stays_in_its_range(rng, device, dtype):
    rows = 3000 if device != "simulated" else 30
    for features in (1, 2, 3, 5, 16, 33):
        x = rng.standard_normal((rows, features)).astype(dtype)
        info = np.finfo(dtype)
        for y in (
            x * dtype(1 / 3),
            x * (1 + info.eps * rng.integers(-2, 3, x.shape).astype(dtype)),
            np.nextafter(x, dtype(np.inf)),
        ):
            for z in (y, -y):
                d = fastcos.paired_distance(x, z, "cosine")
                assert ((d >= 0) & (d <= 2)).all()
                assert (np.abs(fastcos.cosine_similarity(x, z)) <= 1).all()
                angle = fastcos.paired_distance(x, z, "angular")
                assert ((angle >= 0) & (angle <= 1)).all()
                losses = fastcos.cosine_embedding_loss(x, z, 1, reduction="none")
                oracle.assert_same_bits(losses, d)


@pytest.mark.parametrize("features", [33, 100_000])
@pytest.mark.parametrize("factor", [1, 2, 3, 7, 0.75, -1, -3])
def test_parallel_rows_have_no_gradient_of_the_angle(rng, factor, features):
    # θ has a kink at c = ±1; its gradient there is 0, also where rounding hides the 1. The
    # components have 24 bits, so that the products are exact.
    for x in rng.standard_normal((5, features)).astype(np.float32).astype(np.float64):
        d, grads = measure("angular")(x, factor * x)
        np.testing.assert_allclose(d, 0 if factor > 0 else 1, atol=1e-7)
        assert not np.any(grads)


# --------------------------------------------------------------------------------------------------
# Range
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "powers"),
    [
        (np.float32, (-60, 60, -100, 100, 1, -7)),
        (np.float64, (-60, 60, -300, 300, -900, 900, 1, -7)),
        (ml_dtypes.bfloat16, (-40, 40, 1, -7)),
    ],
)
def test_powers_of_two_change_no_bit_of_a_cosine_loss(rng, device, dtype, powers):
    rows = 40 if device != "simulated" else 6
    x, y = rng.standard_normal((2, rows, 33)).astype(dtype)
    near = slice(rows // 4)
    y[near] = x[near] * (1 + 1e-3 * rng.standard_normal((rows // 4, 33))).astype(dtype)
    target = rng.choice([-1, 1], rows)

    def losses(x, y):
        return (
            fastcos.cosine_embedding_loss(x, y, target, margin=0.1, reduction="none"),
            fastcos.cosine_embedding_loss(x, y, target, pos_margin=0.7),
            fastcos.cosine_distance_loss(x, y, reduction="none"),
            fastcos.cosine_similarity(x, y),
            fastcos.paired_distance(x, y, "angular"),
        )

    right = losses(x, y)
    for power in powers:
        scale = dtype(2.0**power)
        for a, b in (
            (x * scale, y),
            (x, y * scale),
            (x * scale, y * scale),
            (x * scale, y / scale),
        ):
            for given, expected in zip(losses(a, b), right, strict=True):
                oracle.assert_same_bits(given, expected)


@pytest.mark.parametrize(("dtype", "power"), [(np.float32, 60), (np.float64, 300)])
def test_powers_of_two_only_scale_the_gradient_of_a_cosine(rng, dtype, power):
    x, y = rng.standard_normal((2, 20, 33)).astype(dtype)
    y[:10] = x[:10] * (1 + 1e-3 * rng.standard_normal((10, 33))).astype(dtype)
    _, (gx, gy) = measure("cosine")(x, y)
    for sign in (1, -1):
        scale = np.ldexp(dtype(1), sign * power)
        _, (sx, sy) = measure("cosine")(x * scale, y)
        oracle.assert_same_bits(sx * scale, gx)
        oracle.assert_same_bits(sy, gy)


SCALES = {np.float32: (1e30, 1e-30, 1e36, 1e-36), np.float64: (1e200, 1e-200, 1e300, 1e-300)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [*INVARIANT, *HOMOGENEOUS, "cosine_similarity"])
def test_large_and_small_rows_neither_overflow_nor_underflow(rng, name, dtype):
    for scale in SCALES[dtype]:
        x, y = (scale * rng.standard_normal((2, 7, 33))).astype(dtype)
        d, grads = measure(name)(x, y)
        parameters = PARAMETERS.get(name, {})
        right, *slopes = oracle.distance(name, x, y, **parameters)
        terms = right
        if dtype == np.float64:
            terms = oracle.distance_terms(name, x, y, **parameters)[0]
        oracle.assert_within_ulps(d, right, oracle.ULPS[d.dtype.name], scale=terms)
        for given, slope in zip(grads, slopes, strict=True):
            oracle.assert_rows_within_ulps(given, slope, oracle.ULPS[d.dtype.name])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_unlike_size(rng, dtype):
    x, y = rng.standard_normal((2, 7, 33)).astype(dtype)
    for one in SCALES[dtype][:2]:
        for other in SCALES[dtype][:2]:
            a, b = x * dtype(one), y * dtype(other)
            d, grads = measure("cosine")(a, b)
            right, *slopes = oracle.distance("cosine", a, b)
            oracle.assert_within_ulps(d, right, oracle.ULPS[d.dtype.name], scale=1)
            for given, slope in zip(grads, slopes, strict=True):
                oracle.assert_rows_within_ulps(given, slope, oracle.ULPS[d.dtype.name])


@pytest.mark.parametrize("scale", [1e-30, 1e-200, 1e-300])
def test_poincare_of_points_near_the_origin(rng, scale):
    x, y = scale * rng.standard_normal((2, 7, 33))
    d, grads = measure("poincare")(x, y)
    right, *slopes = oracle.distance("poincare", x, y)
    oracle.assert_within_ulps(d, right, 32)
    for given, slope in zip(grads, slopes, strict=True):
        oracle.assert_rows_within_ulps(given, slope, 32)


@pytest.mark.parametrize("name", ["dot", "sqeuclidean"])
def test_squares_that_leave_the_range_leave_the_gradient_in_it(rng, name):
    x, y = 1e200 * rng.uniform(0.5, 1, (2, 7, 33))
    d, grads = measure(name)(x, y)
    np.testing.assert_array_equal(d, np.inf if name == "sqeuclidean" else -np.inf)
    for given, slope in zip(grads, oracle.distance(name, x, y)[1:], strict=True):
        oracle.assert_rows_within_ulps(given, slope, 1)


@pytest.mark.parametrize("name", ["cosine", "angular", "euclidean", "lp", "poincare"])
def test_subnormal_rows(rng, name):
    # Nothing is out of range here: d(x, 2x) is 0, or x's own size.
    x = np.array([[5e-324, 1e-323, 5e-324], [1e-310, -3e-310, 2e-310]])
    d, (gx, gy) = measure(name)(x, 2 * x)
    right = oracle.distance(name, x, 2 * x, **PARAMETERS.get(name, {}))[0]
    if name == "cosine":
        np.testing.assert_array_equal(d, 0)
    elif name == "angular":
        np.testing.assert_allclose(d, 0, atol=1e-8)
    else:
        oracle.assert_within_ulps(d, right, 4)
    if name in ("euclidean", "lp", "poincare"):
        assert np.isfinite(gx).all()
        assert np.isfinite(gy).all()


# Of the half types the one with the range, and the other at the largest power.
@pytest.mark.parametrize(
    ("p", "dtype"),
    [*itertools.product((2.5, 3, 8), (HALVES[1], np.dtype(np.float32))), (8, HALVES[0])],
    ids=str,
)
def test_p_norms_of_long_rows(rng, p, dtype):
    # As large as the dtype goes: |t|^8 of bfloat16 and float32 leaves even float64.
    for scale in (1, 0.01 * float(ml_dtypes.finfo(dtype).max)):
        x, y = (scale * rng.uniform(-1, 1, (2, 2, 1000))).astype(dtype)
        d, grads = value_and_grad(fastcos.paired_distance)(x, y, distances.lp(p, eps=0))
        right, *slopes = oracle.distance("lp", x, y, p=p, eps=0)
        oracle.assert_within_ulps(d, right, 4)
        for given, slope in zip(grads, slopes, strict=True):
            oracle.assert_rows_within_ulps(given, slope, 4)


@pytest.mark.parametrize("p", [3, 8])
def test_p_norms_with_bad_components(rng, p):
    x, y = rng.standard_normal((2, 4, 100))
    x[1, 70], y[2, 3], x[3, 99] = np.nan, np.inf, -np.inf
    d, grads = value_and_grad(fastcos.paired_distance)(x, y, distances.lp(p, eps=0))
    np.testing.assert_array_equal(np.isnan(d), [False, True, False, False])
    np.testing.assert_array_equal(np.isinf(d), [False, False, True, True])
    right, slope, _ = oracle.distance("lp", x[0], y[0], p=p, eps=0)
    oracle.assert_within_ulps(d[0], right, 32)
    oracle.assert_rows_within_ulps(grads[0][0], slope, 32 * p)
    for g in grads:
        assert np.isnan(g[1]).all()
        assert np.isnan(g[[2, 3], [3, 99]]).all()


@pytest.mark.parametrize("p", [2, 3, 3.5, 8, 100, 400])
def test_p_norms_of_small_and_large_differences(rng, p):
    for scale in (5e-321, 1e-300, 1e-30, 1e30, 1e300, 1e307):
        x, y = scale * rng.standard_normal((2, 5, 9))
        d, (gx, _) = value_and_grad(fastcos.paired_distance)(x, y, distances.lp(p, eps=0))
        right, slope, _ = oracle.distance("lp", x, y, p=p, eps=0)
        # The root of 1e±1000 as a power: 1/p is rounded, and the logarithm multiplies that.
        oracle.assert_within_ulps(d, right, 128)
        if scale > 1e-310:  # d itself is rounded to 10 bits there
            oracle.assert_rows_within_ulps(gx, slope, 128 * p)


def test_triplets_of_large_and_small_rows(rng):
    for scale in (1e200, 1e-200):
        operands = tuple(scale * rng.standard_normal((3, 9, 33)))
        options = {"eps": 0, "margin": 0.3 * scale, "reduction": "none", "swap": True}
        losses, grads = value_and_grad(fastcos.triplet_margin_loss)(*operands, **options)
        expected = oracle.loss("triplet_margin_loss", operands, **options)
        assert (losses > 0).any()
        oracle.assert_within_ulps(losses, expected.value, 32, scale=10 * scale)
        for given, slope in zip(grads, expected.grads, strict=True):
            oracle.assert_rows_within_ulps(given, slope, 32)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_half_types_cannot_overflow_inside(rng, dtype):
    # Rows of the largest magnitude: their squares, and sums of a thousand, are far out of range.
    largest = float(ml_dtypes.finfo(dtype).max)
    x, y = (largest * rng.uniform(-1, 1, (2, 5, 1000))).astype(dtype)
    target = np.array([1, -1, 1, -1, 1])
    losses, grads = value_and_grad(fastcos.cosine_embedding_loss)(
        x, y, target, margin=-1, reduction="none", grad_output=largest
    )
    expected = oracle.loss(
        "cosine_embedding_loss",
        (x, y),
        target,
        margin=-1,
        reduction="none",
        grad_output=largest,
    )
    oracle.assert_within_ulps(losses, expected.value, 4)
    for given, slope in zip(grads, expected.grads, strict=True):
        oracle.assert_rows_within_ulps(given, slope, 4)
        assert given.any()


# Rows of half types are summed in float32 where the distance finds that it suffices. One type for
# each: bfloat16 has the range, float16 the digits.
F16, BF16 = HALVES
SUMMED = [
    *((name, BF16) for name in ("cosine", "cosine_similarity", "euclidean", "canberra")),
    *((name, F16) for name in ("angular", "sqeuclidean", "manhattan", "poincare")),
    ("braycurtis", BF16),
    ("chebyshev", F16),
]


def half_rows(rng, name, dtype, features):
    """Rows that float32 is fit to sum and rows that it is not, with distances within the dtype."""

    def drawn():
        x, y = oracle.draw(rng, name, (2, features))
        if name == "canberra":  # whose slopes are infinite at 0
            return x + np.copysign(0.5, x), y + np.copysign(0.5, y)
        length = np.sqrt(features) if name != "poincare" else 1
        return x / length, y / length

    pairs = [drawn() for _ in range(4)]
    pairs.append(tuple(map(abs, drawn())))
    for gap in (0.3, 0.1, 0.03, 0.01, 0.003, 0.001):  # what is left of 1 - c, or of t
        x, _ = drawn()
        y = x * (1 + gap * rng.standard_normal(features))
        y[0] = x[0] * 1.02  # or both might become the same numbers
        if name in ("cosine", "angular", "cosine_similarity"):
            x, y = x / 1.7, y * 1.7  # or all sums might be rounded alike
        pairs += [(x, y), (x, -y), (abs(x), abs(y))]
    x, y = drawn()
    pairs += [(0 * x, y), (x / 128, y / 128), (abs(x), abs(x) * 2.0**-22)]
    if name == "poincare":  # as near to the boundary as can be
        unit = rng.standard_normal((100, features))
        unit = (unit / np.linalg.norm(unit, axis=1, keepdims=True)).astype(dtype).astype(float)
        left = 1 - np.vecdot(unit, unit)
        pairs.append((unit[np.argmin(np.where(left > 0, left, 1))], y))
    else:
        pairs.append((100 * x, 80 * y))
    # x·y cancels, but for the first component.
    half, other = drawn(), drawn()
    x, y = np.stack((half[0], half[0])), np.stack((other[0], -other[0]))
    x, y = (z.swapaxes(0, 1).reshape(-1)[:features].copy() for z in (x, y))
    x[-2 + features % 2 : -1] = 0
    x[-1], y[-1] = x[0] * 2.0**-14, y[0]
    order = rng.permutation(features)
    pairs.append((x[order], y[order]))
    largest = float(ml_dtypes.finfo(dtype).max)
    if name in INVARIANT:
        pairs.append(rng.uniform(0.5, 1, (2, features)) * largest)
    if dtype != np.float16 and name in (*INVARIANT, "euclidean", "manhattan"):
        pairs += [(1e-25 * x, 1e-25 * y), (1e25 * x, 1e25 * y)]
    return tuple(np.array(rows).astype(dtype) for rows in zip(*pairs, strict=True))


@pytest.mark.parametrize("features", [5, 400, 20_000])
@pytest.mark.parametrize(("name", "dtype"), SUMMED, ids=str)
def test_half_types_are_within_4_ulp(rng, name, dtype, features):
    x, y = half_rows(rng, name, dtype, features)
    d, grads = measure(name)(x, y)
    right, *slopes = oracle.distance(name, x, y, **PARAMETERS.get(name, {}))
    oracle.assert_within_ulps(d, right, 4)
    for given, slope in zip(grads, slopes, strict=True):
        fits = abs(slope).max(1) < float(ml_dtypes.finfo(dtype).max)
        assert fits.mean() > 0.8
        oracle.assert_rows_within_ulps(given[fits], slope[fits], 4)


@pytest.mark.parametrize(("p", "dtype"), [(3, BF16), (8, F16)], ids=str)
def test_whole_powers_of_half_types_are_within_4_ulp(rng, p, dtype):
    for features in (5, 400):
        rows, one = half_rows(rng, "lp", dtype, features), dtype.type(1)
        low = rng.integers(-3, 4, (2, features)).astype(dtype)
        for (x, y), eps in (
            (rows, 0),
            (rows, 1e-3),
            ([row * dtype.type(1e-39) for row in rows], 0),
            ((low, low + one), 1 + 1e-6),  # float32 leaves little of -1 and eps
            ((low, low + one), 1 + 1e-9),  # or nothing
        ):
            d, grads = value_and_grad(fastcos.paired_distance)(x, y, distances.lp(p, eps))
            right, *slopes = oracle.distance("lp", x, y, p=p, eps=eps)
            oracle.assert_within_ulps(d, right, 4)
            for given, slope in zip(grads, slopes, strict=True):
                oracle.assert_rows_within_ulps(given, slope, 4)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize(
    ("name", "dtype"),
    [("cosine", F16), ("euclidean", BF16), ("poincare", BF16), ("lp", F16), ("braycurtis", BF16)],
    ids=str,
)
def test_triplets_of_half_types_whose_slopes_cancel(rng, name, dtype, swap):
    a, apart, other = oracle.draw(rng, name, (3, 14, 301)) / 16
    p = (a + 0.3 * apart).astype(dtype).astype(float)
    n = p.copy()
    # A positive and a negative that differ by nothing, by one number, or by a unit in the last
    # place of some; both small beside the anchor; rows that float32 is not fit for.
    n[1, 7] = p[1, 8]
    for row, some in ((2, slice(0, 1)), (3, slice(0, 20)), (4, slice(None))):
        n[row, some] *= 1 + float(ml_dtypes.finfo(dtype).eps)
    for row, gap in ((5, 2.0**-8), (6, 2.0**-11), (7, 2.0**-14)):
        n[row, 150] += gap
    for row, scale in ((8, 2.0**-6), (9, 2.0**-10)):
        p[row], n[row] = scale * apart[row], scale * other[row]
    n[10], p[11], n[12], n[13] = a[10], 0, -p[12], other[13]
    operands = [z.astype(dtype) for z in (a, p, n)]
    record = distances.lp(8, eps=0) if name == "lp" else PLAIN[name]
    options = {"margin": 3, "swap": swap, "reduction": "none"}
    expected = oracle.loss(
        "triplet_margin_with_distance_loss",
        operands,
        distance_function=name,
        **{**PARAMETERS.get(name, {}), **({"p": 8} if name == "lp" else {})},
        **options,
    )
    # All gradients by one loop, some of them by another.
    for argnums in ((0, 1, 2), (0, 1), (2,)):
        losses, grads = value_and_grad(fastcos.triplet_margin_with_distance_loss, argnums=argnums)(
            *operands, distance_function=record, **options
        )
        oracle.assert_within_ulps(losses, expected.value, 4)
        for given, i in zip(grads, argnums, strict=True):
            assert expected.grads[i].any(1).sum() >= 6
            oracle.assert_rows_within_ulps(given, expected.grads[i], 4)


# Powers of two that norms are drawn from, by the size of a number.
RANGE = {F16: 5, BF16: 55, np.dtype(np.float32): 55}
#: Whose slopes cancel, or whose largest components tie, where one row is far below the other.
OF_LIKE_NORMS = ("canberra", "braycurtis", "chebyshev")


def rows_of_any_norm(rng, name, dtype, shape, count):
    """Rows near one direction, opposite to it or far from it, of one norm or norms of their own."""

    def unit(x):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    def one_each(low, high):
        return 2.0 ** rng.uniform(low, high, (shape[0], 1))

    reach = RANGE[dtype]
    common, direction = one_each(-reach, reach), unit(rng.standard_normal(shape))
    for _ in range(count):
        away, side = one_each(-12, 4), np.where(rng.random((shape[0], 1)) < 0.2, -1, 1)
        x = unit(side * direction + away * rng.standard_normal(shape))
        own = common * one_each(-8, 8) if name in OF_LIKE_NORMS else one_each(-reach, reach)
        norm = np.where(rng.random((shape[0], 1)) < 0.5, common, own)
        if name == "poincare":
            norm = 0.9 * 2.0 ** -abs(np.log2(norm))
        yield (x * norm).astype(dtype)


def assert_rows_within_4_ulp(given, right, of_what):
    """But where the result is outside of its dtype, or a cancellation leaves too little to see."""
    scale = oracle.row_scale(right)
    seen = (scale < float(ml_dtypes.finfo(given.dtype).max)) & (scale >= 2.0**-16 * of_what)
    assert seen.mean() > 0.5
    seen = seen[:, 0]
    oracle.assert_rows_within_ulps(given[seen], right[seen], 4)


@pytest.mark.parametrize("dtype", RANGE, ids=str)
@pytest.mark.parametrize("name", oracle.DISTANCES)
def test_pairs_of_any_norms_are_within_4_ulp(rng, name, dtype):
    for features in (3, 40):
        x, y = rows_of_any_norm(rng, name, dtype, (300, features), 2)
        _, grads = measure(name)(x, y)
        right, *slopes = oracle.distance(name, x, y, **PARAMETERS.get(name, {}))
        apart = (right > 0) & (right < 1) if name == "angular" else right != 0
        for given, slope in zip(grads, slopes, strict=True):
            assert_rows_within_4_ulp(given[apart], slope[apart], 0)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", [n for n in PLAIN if PLAIN[n].functions.linear])
def test_triplets_of_any_norms_are_within_4_ulp(rng, name, dtype):
    # In float32 the two parts of the gradient of the row that both distances share are summed in a
    # form that must not cancel where they do not.
    parameters, large = PARAMETERS.get(name, {}), float(ml_dtypes.finfo(dtype).max)
    for features in (3, 40):
        operands = [*rows_of_any_norm(rng, name, dtype, (300, features), 3)]
        ap, an, pn = (
            oracle.distance(name, operands[i], operands[j], **parameters)
            for i, j in ((0, 1), (0, 2), (1, 2))
        )
        options = {"margin": large / 4, "swap": True, "reduction": "none"}
        _, grads = value_and_grad(fastcos.triplet_margin_with_distance_loss)(
            *operands, distance_function=PLAIN[name], **options
        )
        expected = oracle.loss(
            "triplet_margin_with_distance_loss",
            operands,
            distance_function=name,
            **parameters,
            **options,
        )
        # Not where float32 could not say which side of a tie they are on.
        clear = abs(an[0] - pn[0]) > 2.0**-20 * an[0]
        for d in (ap[0], an[0], pn[0]):
            clear &= (d > 0) & (d < 1) if name == "angular" else d != 0
        parts = ((ap[1], an[1]), (ap[2], pn[1]), (an[2], pn[2]))
        for given, right, of in zip(grads, expected.grads, parts, strict=True):
            scale = np.maximum(*map(oracle.row_scale, of))
            assert_rows_within_4_ulp(given[clear], right[clear], scale[clear])


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("shared", ["anchor", "positive"])
@pytest.mark.parametrize("eps", [0, 1e-12])
def test_the_row_of_both_distances_beside_one_of_another_norm(shared, swap, eps):
    # A positive (or, with swap, an anchor) 2³⁰ times smaller had gradients 100 times too large.
    near, other, negative = np.array([[0.3, 0.7, -0.2], [0.9, 0.1, 0.4], [0.8, 0.3, 0.5]])
    powers = 2.0 ** np.array([[0, -10, -20, -30, -50, 20, 40]]).T
    rows = [near + 0 * powers, other * powers, negative + 0 * powers]
    rows[0][1] = 0  # with eps the only part of its gradient that is left is no cancellation either
    a, p, n = rows if shared == "anchor" else (rows[1], rows[0], rows[2])
    operands = [z.astype(BF16) for z in (a, p, n)]
    options = {"margin": 3, "swap": swap, "reduction": "none"}
    _, grads = value_and_grad(fastcos.triplet_margin_with_distance_loss)(
        *operands, distance_function=distances.cosine(eps), **options
    )
    expected = oracle.loss(
        "triplet_margin_with_distance_loss",
        operands,
        distance_function="cosine",
        eps=eps,
        **options,
    )
    for given, right in zip(grads, expected.grads, strict=True):
        oracle.assert_rows_within_ulps(given, right, 4)


@pytest.mark.parametrize("swap", [False, True])
def test_triplets_of_parallel_rows_beside_zero_rows(swap):
    # A part of the gradient that cancels by itself, but for eps, beside one that is nothing.
    row, other = np.array([[21.625, -16.125, 3.0], [0.3, 0.7, -0.2]]).astype(BF16).astype(float)
    triples = [(row, 0 * row, row), (other, 0 * row, other), (other, other, 0 * row)]
    triples += [(other, 2 * other, 4 * other), (0 * row, row, row)]
    operands = [np.array(rows).astype(BF16) for rows in zip(*triples, strict=True)]
    loss, options = "triplet_margin_with_distance_loss", {"margin": 9, "swap": swap}
    for eps in (0, 1e-6):
        _, grads = value_and_grad(getattr(fastcos, loss))(
            *operands, distance_function=distances.cosine(eps), reduction="sum", **options
        )
        expected = oracle.loss(
            loss, operands, distance_function="cosine", eps=eps, reduction="sum", **options
        )
        for given, right in zip(grads, expected.grads, strict=True):
            if eps:
                oracle.assert_rows_within_ulps(given, right, 4)
            else:
                np.testing.assert_allclose(given.astype(float), right.astype(float), atol=1e-15)


@pytest.mark.parametrize("name", ["dot", "cosine", "sqeuclidean", "euclidean"])
def test_triplets_of_rows_whose_difference_is_beyond_the_range(name):
    large = 1.9 * 2.0**127
    a, p = np.array([[2.0**-30, 2.0**-31]]).astype(BF16), np.array([[large, 1.0]]).astype(BF16)
    loss, scale = "triplet_margin_with_distance_loss", 2.0**-10
    # With swap, for the kernels of a test above: d(a, n) is the smaller one throughout.
    options = {"margin": 2.0**110, "reduction": "sum", "grad_output": scale, "swap": True}
    _, grads = value_and_grad(getattr(fastcos, loss))(
        a, p, -p, distance_function=PLAIN[name], **options
    )
    expected = oracle.loss(
        loss, (a, p, -p), distance_function=name, **PARAMETERS.get(name, {}), **options
    )
    for given, right in zip(grads, expected.grads, strict=True):
        oracle.assert_rows_within_ulps(given, right, 4)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_triplets_with_an_angle_near_0_or_a_half_turn(rng, dtype):
    # Each term of the slope of such an angle is 1/sin(θ) times their difference. With swap, for the
    # kernels of the test above; it takes a negative that is near to neither.
    a = rng.standard_normal((4000, 3))
    gap, side = 2.0 ** rng.uniform(-9, -5, (4000, 1)), np.where(rng.random((4000, 1)) < 0.5, -1, 1)
    p = 128 * side * (a + gap * rng.standard_normal(a.shape))
    operands = [z.astype(dtype) for z in (a, p, 2.0**-6 * rng.standard_normal(a.shape))]
    options = {"distance_function": "angular", "margin": 3, "swap": True, "reduction": "none"}
    loss = "triplet_margin_with_distance_loss"
    expected = oracle.loss(loss, operands, **options)
    _, grads = value_and_grad(getattr(fastcos, loss))(*operands, **options)
    ap, an, pn = (
        oracle.distance("angular", operands[i], operands[j])[0] for i, j in ((0, 1), (0, 2), (1, 2))
    )
    clear = (ap > 1e-9) & (ap < 1 - 1e-9) & (abs(an - pn) > 2.0**-20)
    for given, right in zip(grads, expected.grads, strict=True):
        assert_rows_within_4_ulp(given[clear], right[clear], 0)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_half_types_at_right_angles_are_at_the_kink(rng, dtype):
    # x·y is exactly 0, and the gradient of max(0, c) passes.
    a, b = rng.standard_normal((2, 40, 250)).astype(dtype)
    x, y = np.concatenate((a, a), axis=1), np.concatenate((b, -b), axis=1)
    order = rng.permutation(500)
    losses, grads = value_and_grad(fastcos.cosine_embedding_loss)(
        x[:, order], y[:, order], -1, reduction="none"
    )
    np.testing.assert_array_equal(losses, 0)
    assert all(g.any(axis=1).all() for g in grads)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", ["euclidean", "manhattan", "chebyshev"])
@pytest.mark.parametrize("eps", [1 + 1e-6, 1 + 1e-9])
def test_half_types_with_an_eps_that_float32_has_not(rng, name, dtype, eps):
    x = rng.integers(-3, 4, (2, 500)).astype(dtype)
    y = x + dtype.type(1)
    d, (gx, gy) = value_and_grad(fastcos.paired_distance)(x, y, getattr(distances, name)(eps))
    right, slope, _ = oracle.distance(name, x, y, eps=eps)
    oracle.assert_within_ulps(d, right, 4)
    oracle.assert_rows_within_ulps(gx, slope, 4)
    oracle.assert_same_bits(gy, -gx)


@pytest.mark.parametrize("features", [2, 70, 700])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_the_largest_difference_of_half_types_is_the_exact_one(rng, dtype, features):
    # Two of the numbers in a row that float32 takes for another. The unit is 2⁻²⁴.
    unit = 2.0**-24
    pairs = [
        ((64, -63), (-64, 65)),  # with an eps the first is larger, and after each rounding smaller
        ((64, -21), (-64, 120)),
        ((64, -1), (-64, 2)),  # one number
        ((64, -1), (64, 1)),
        ((64, 0), (-64, 0)),  # equal, but for an eps
        ((2, -3), (2, -3)),
        ((1, -64), (-1, 66)),
    ]
    x, y = (0.25 * rng.uniform(-1, 1, (2, len(pairs), features))).astype(dtype)
    for row, chosen in enumerate(pairs):
        for at, (one, other) in zip(rng.permutation(features)[:2], chosen, strict=True):
            x[row, at], y[row, at] = one, other * unit
    scales = [1] if dtype == np.float16 else [1, 2.0**-90, 2.0**-105, 2.0**118]
    for scale, eps in itertools.product(scales, (0, 1e-6, 1e-9, 50 * unit)):
        rows = [z * dtype.type(scale) for z in (x, y)]
        eps *= scale
        d, (gx, gy) = value_and_grad(fastcos.paired_distance)(*rows, distances.chebyshev(eps))
        right, slope, _ = oracle.distance("chebyshev", *rows, eps=eps)
        oracle.assert_within_ulps(d, right, 1)
        np.testing.assert_array_equal(gx, slope.astype(dtype))
        np.testing.assert_array_equal(gy, -gx)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_the_largest_of_differences_that_eps_all_but_cancels(dtype):
    # 2.9 units, and not 2.1, which are 2 and 4 in float32, with the eps that it has.
    unit = 2.0**-24
    x = np.array([-1, -1, -1], dtype)
    y = np.array([-2 * unit, 3 * unit, 0], dtype)
    d, (gx, _) = value_and_grad(fastcos.paired_distance)(x, y, distances.chebyshev(1 + 0.9 * unit))
    np.testing.assert_array_equal(gx, [1, 0, 0])
    np.testing.assert_array_equal(d, np.array(2.9 * unit, dtype))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_a_distance_of_which_eps_cancels_the_most(dtype):
    # 35 units, and not 36, which is the difference in float32.
    unit = 1024 * 2.0**-24
    x, y = np.array([[-35 * unit, 0], [1024, 1024]], dtype)
    d, (gx, _) = value_and_grad(fastcos.paired_distance)(x, y, distances.chebyshev(1024.0))
    np.testing.assert_array_equal(d, np.array(35 * unit, dtype))
    np.testing.assert_array_equal(gx, [-1, 0])


def test_the_largest_of_differences_that_float32_has_not():
    x = np.array([3e38, 2.9e38, 1], BF16)
    with np.errstate(over="ignore"):
        d, (gx, _) = value_and_grad(fastcos.paired_distance)(x, -x, "chebyshev")
    assert d == np.inf
    np.testing.assert_array_equal(gx, [1, 0, 0])


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_every_number_of_a_half_type_is_read_and_written_as_it_is(dtype):
    every = np.arange(2**16, dtype=np.uint16).view(dtype)
    finite = every[np.isfinite(every.astype(np.float32))]
    # 1-D rows: the gradient of y = -1 within the margin is -1 · grad_output.
    losses = fastcos.hinge_embedding_loss(finite, 1, reduction="none")
    oracle.assert_same_bits(losses + dtype.type(0), finite + dtype.type(0))
    _, (g,) = value_and_grad(fastcos.hinge_embedding_loss)(
        finite, 1, reduction="none", grad_output=finite
    )
    oracle.assert_same_bits(g + dtype.type(0), finite + dtype.type(0))


@pytest.mark.parametrize("reach", [1e-4, 3e-7])
@pytest.mark.parametrize("spread", [1e-1, 1e-3])
def test_differences_that_eps_all_but_cancels(rng, spread, reach):
    # x - y + eps keeps its digits only in float64.
    for features in (2, 33, 257):
        y = rng.uniform(-reach, reach, features).astype(np.float32)
        x = (y - 1e-6 * (1 + spread * rng.standard_normal(features))).astype(np.float32)
        _, grads = value_and_grad(fastcos.paired_distance)(x, y, distances.euclidean(1e-6))
        slopes = oracle.distance("euclidean", x, y, eps=1e-6)[1:]
        for given, slope in zip(grads, slopes, strict=True):
            oracle.assert_rows_within_ulps(given, slope, 4)


def test_a_gradient_has_the_same_bits_alone_and_beside_others(rng):
    rows = rng.standard_normal((3, 5, 97)).astype(np.float32)
    for loss, names in (
        (fastcos.paired_distance, ("x1", "x2")),
        (fastcos.triplet_margin_with_distance_loss, ("anchor", "positive", "negative")),
    ):
        given = rows[: len(names)]
        option = "distance" if len(names) == 2 else "distance_function"
        for name in ("cosine", "euclidean", "sqeuclidean", "manhattan"):
            _, grads = value_and_grad(loss)(*given, **{option: name})
            for argument, together in zip(names, grads, strict=True):
                _, alone = value_and_grad(loss, argument)(*given, **{option: name})
                oracle.assert_same_bits(alone, together)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_gradients_of_half_types_are_rounded_to_nearest(rng, dtype):
    values = np.float64(rng.standard_normal(5000)) * 2.0 ** rng.integers(-12, 12, 5000)
    x = np.zeros(5000, dtype)
    _, (g,) = value_and_grad(fastcos.hinge_embedding_loss)(
        x, 1, reduction="none", grad_output=values
    )
    oracle.assert_within_ulps(g, values, 0.5 + 2**-10)


# --------------------------------------------------------------------------------------------------
# Zero rows, NaN, infinity
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_zero_row_has_cosine_0_and_gradient_0(rng, dtype):
    x, y = rng.standard_normal((2, 4, 5)).astype(dtype)
    x[0] = 0
    y[1] = 0
    x[2] = y[2] = 0
    c, grads = value_and_grad(fastcos.cosine_similarity)(x, y)
    np.testing.assert_array_equal(c[:3], 0)
    for g in grads:
        assert not g[:3].any()
        assert g[3].all()
    for name, value in (("cosine", 1), ("angular", 0.5)):
        d, grads = measure(name)(x, y)
        np.testing.assert_array_equal(d[:3], value)
        for g in grads:
            assert not g[:3].any()
            assert g[3].all()
    for target, value in ((1, 1), (-1, 0.25)):
        losses, grads = value_and_grad(fastcos.cosine_embedding_loss)(
            x, y, target, margin=-0.25, reduction="none"
        )
        np.testing.assert_array_equal(losses[:3], value)
        for g in grads:
            assert not g[:3].any()


def test_a_zero_row_with_eps_has_a_gradient(rng):
    x, y = np.zeros((1, 3)), np.array([[1.0, 2.0, 2.0]])
    d, (gx, gy) = value_and_grad(fastcos.paired_distance)(x, y, distances.cosine(0.25))
    assert d == 1
    # dc/dx = y / √(eps (y·y + eps))
    np.testing.assert_allclose(gx, -y / np.sqrt(0.25 * 9.25), rtol=1e-15)
    assert not gy.any()


BAD = {
    "NaN": np.nan,
    "inf": np.inf,
    "-inf": -np.inf,
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", oracle.DISTANCES)
def test_a_bad_component_stays_in_its_row(rng, name, bad):
    x, y = oracle.draw(rng, name, (2, 12, 33))
    right, slopes = measure(name)(x, y)
    x[3, 7] = y[8, 0] = BAD[bad]
    d, grads = measure(name)(x, y)
    others = np.delete(np.arange(12), (3, 8))
    oracle.assert_same_bits(d[others], right[others])
    for given, slope in zip(grads, slopes, strict=True):
        oracle.assert_same_bits(given[others], slope[others])
    if bad == "NaN":
        assert np.isnan(d[[3, 8]]).all()
        # Only what does not depend on the bad component may stay a number.
        if name not in ("dot", "sqeuclidean", "manhattan", "canberra"):
            assert all(np.isnan(g[[3, 8]]).all() for g in grads)
        assert np.isnan(grads[0][8, 0]) or name == "dot"
        assert np.isnan(grads[1][3, 7]) or name == "dot"
    elif name in ("euclidean", "sqeuclidean", "manhattan", "chebyshev", "lp"):
        np.testing.assert_array_equal(d[[3, 8]], np.inf)
    elif name == "dot":
        assert np.isinf(d[[3, 8]]).all()
    else:
        assert np.isnan(d[[3, 8]]).all()


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_component_stays_in_its_sample_of_every_loss(rng, bad):
    x, y, z = rng.standard_normal((3, 12, 6))
    target = rng.choice([-1, 1], 12)
    calls = (
        lambda: value_and_grad(fastcos.cosine_embedding_loss)(x, y, target, reduction="none"),
        lambda: value_and_grad(fastcos.cosine_distance_loss)(x, y, reduction="none"),
        lambda: value_and_grad(fastcos.triplet_margin_loss)(x, y, z, reduction="none"),
        lambda: value_and_grad(fastcos.triplet_margin_loss)(x, y, z, swap=True, reduction="none"),
        lambda: value_and_grad(fastcos.hinge_embedding_loss)(x[:, 0], target, reduction="none"),
    )
    before = [call() for call in calls]
    x[4] = y[4] = z[7] = BAD[bad]
    for call, (right, slopes) in zip(calls, before, strict=True):
        losses, grads = call()
        good = np.delete(np.arange(12), (4, 7))
        oracle.assert_same_bits(losses[good], right[good])
        for given, slope in zip(grads, slopes, strict=True):
            oracle.assert_same_bits(given[good], slope[good])
        if bad == "NaN":
            assert np.isnan(losses[4])
            assert all(np.isnan(g[4]).all() for g in grads)


@pytest.mark.parametrize("which", ["anchor", "positive", "negative"])
def test_a_nan_in_any_operand_of_a_triplet_reaches_the_loss(rng, which):
    operands = dict(
        zip(("anchor", "positive", "negative"), rng.standard_normal((3, 3, 6)), strict=True)
    )
    operands[which][1, 2] = np.nan
    for swap in (False, True):
        losses, grads = value_and_grad(fastcos.triplet_margin_loss)(
            **operands, swap=swap, reduction="none"
        )
        np.testing.assert_array_equal(np.isnan(losses), [False, True, False])
        assert all(np.isnan(g[1]).any() and np.isfinite(g[[0, 2]]).all() for g in grads)


def test_a_nan_in_a_sample_of_a_broadcast_row_reaches_the_sum_of_its_gradients(rng):
    x, y = rng.standard_normal(6), rng.standard_normal((9, 6))
    y[4, 2] = np.nan
    losses, (gx, gy) = value_and_grad(fastcos.cosine_embedding_loss)(x, y, 1, reduction="none")
    np.testing.assert_array_equal(np.isnan(losses), np.arange(9) == 4)
    np.testing.assert_array_equal(np.isnan(gy).all(axis=1), np.arange(9) == 4)
    assert np.isnan(gx).all()


def test_poincare_is_nan_on_and_outside_the_sphere():
    x = np.array([[1.0, 0.0], [0.8, 0.7], [0.6, 0.0]])
    y = np.array([[0.1, 0.2], [0.1, 0.2], [0.1, 0.2]])
    for a, b in ((x, y), (y, x)):
        d, grads = measure("poincare")(a, b)
        np.testing.assert_array_equal(np.isnan(d), [True, True, False])
        for g in grads:
            np.testing.assert_array_equal(np.isnan(g).all(axis=1), [True, True, False])
