"""Values against the oracle, and the oracle against definitions that others have written."""

import inspect

import devices
import ml_dtypes
import mpmath
import numpy as np
import oracle
import pytest
import scipy.spatial.distance as sp

import fastcos
from fastcos import distances
from fastcos.api.calls import BATCHED
from fastcos.distances import norms

FLOATS = (np.float32, np.float64)

#: What makes each distance of the oracle in the library, and the parameters to hand to the oracle.
MAKERS = {
    **{name: ((lambda name=name: name), {}) for name in distances.DISTANCES},
    "lp": (lambda: distances.lp(3.5), {"p": 3.5}),
}


def measure(name):
    """``(x, y) -> d`` of the library for a row of the oracle."""
    if name == "cosine_similarity":
        return fastcos.cosine_similarity
    return lambda x, y: fastcos.paired_distance(x, y, MAKERS[name][0]())


# --------------------------------------------------------------------------------------------------
# The tables are complete
# --------------------------------------------------------------------------------------------------


@pytest.mark.host
def test_every_distance_has_an_oracle():
    public = {name: getattr(distances, name) for name in distances.__all__}
    factories = {name for name, value in public.items() if inspect.isfunction(value)}
    assert set(distances.DISTANCES) <= factories
    assert factories | {"cosine_similarity"} == set(oracle.DISTANCES)


@pytest.mark.host
def test_every_loss_has_an_oracle():
    # Listwise losses have one of their own, which tests/test_listwise.py sees to.
    batched = {loss.__name__ for loss in BATCHED}
    losses = {name for name in fastcos.__all__ if name.endswith("_loss")}
    assert losses - batched == set(oracle.LOSSES)


@pytest.mark.host
@pytest.mark.parametrize("name", oracle.LOSSES)
def test_every_parameter_of_a_loss_has_the_default_of_the_oracle(name):
    row = oracle.LOSSES[name]
    parameters = inspect.signature(getattr(fastcos, name)).parameters
    given = {key: p.default for key, p in parameters.items()}
    assert given.pop("reduction") == row.reduction
    assert given.pop("weights" if name == "cosine_distance_loss" else "weight") in (None, 1.0)
    assert given.pop("axis", -1) == -1
    assert given.pop("validate", None) is None
    for positional in (*row.operand_names, *(["target"] if row.has_target else [])):
        assert given.pop(positional) is inspect.Parameter.empty
    formula = inspect.signature(row.formula).parameters
    assert given == {
        key: p.default
        for key, p in formula.items()
        if key not in ("operands", "target", "parameters")
    }


@pytest.mark.host
@pytest.mark.parametrize("name", oracle.DISTANCES)
def test_every_parameter_of_a_distance_has_the_default_of_the_oracle(name):
    if name == "cosine_similarity":
        made = inspect.signature(fastcos.cosine_similarity).parameters
        made = {key: p for key, p in made.items() if key not in ("x1", "x2", "axis")}
    else:
        made = inspect.signature(getattr(distances, name)).parameters
    formula = inspect.signature(oracle.DISTANCES[name].formula).parameters
    assert {k: p.default for k, p in made.items()} == {
        k: p.default for k, p in formula.items() if k not in ("x", "y")
    }


# --------------------------------------------------------------------------------------------------
# The oracle and its assertions
# --------------------------------------------------------------------------------------------------


@pytest.mark.host
def test_the_oracle_is_more_precise_than_float64():
    assert np.finfo(oracle.LD).nmant >= 63
    assert np.finfo(oracle.LD).maxexp > 8 * 1024


@pytest.mark.host
@pytest.mark.parametrize(
    ("name", "other", "parameters"),
    [
        ("cosine", sp.cosine, {}),
        ("euclidean", sp.euclidean, {"eps": 0}),
        ("sqeuclidean", sp.sqeuclidean, {}),
        ("manhattan", sp.cityblock, {"eps": 0}),
        ("chebyshev", sp.chebyshev, {"eps": 0}),
        ("canberra", sp.canberra, {}),
        ("braycurtis", sp.braycurtis, {}),
        ("lp", lambda x, y: sp.minkowski(x, y, 3.5), {"p": 3.5, "eps": 0}),
        ("cosine_similarity", lambda x, y: 1 - sp.cosine(x, y), {}),
        ("dot", lambda x, y: 1 - np.dot(x, y), {}),
        ("angular", lambda x, y: np.arccos(1 - sp.cosine(x, y)) / np.pi, {}),
    ],
)
def test_the_oracle_agrees_with_scipy(rng, name, other, parameters):
    x, y = rng.standard_normal((2, 6, 11))
    expected = [other(a, b) for a, b in zip(x, y, strict=True)]
    given = oracle.distance(name, x, y, **parameters)[0].astype(np.float64)
    np.testing.assert_allclose(given, expected, rtol=1e-14, atol=1e-15)


@pytest.mark.host
def test_the_oracle_agrees_with_fifty_digits(rng):
    x, y = oracle.draw(rng, "poincare", (2, 5))
    d = oracle.distance("poincare", x, y)[0]
    with mpmath.workdps(50):
        u, v = ([mpmath.mpf(float(k)) for k in row] for row in (x, y))
        gap = mpmath.fsum((a - b) ** 2 for a, b in zip(u, v, strict=True))
        exact = mpmath.acosh(1 + 2 * gap / ((1 - mpmath.fdot(u, u)) * (1 - mpmath.fdot(v, v))))
        assert abs(mpmath.mpf(float(d)) - exact) < 2**-52 * exact
        cosine = oracle.distance("cosine", x, y)[0]
        assert abs(mpmath.mpf(float(cosine)) - oracle.precise_cosine_distance(x, y)) < 2**-52
        angle = oracle.distance("angular", x, y)[0]
        assert abs(mpmath.mpf(float(angle)) - oracle.precise_angle(x, y)) < 2**-52


@pytest.mark.host
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_unit_in_the_last_place_is_the_spacing_of_the_dtype(rng, dtype):
    x = rng.standard_normal(50).astype(dtype) * dtype(100)
    x[:4] = 1, 2, np.finfo(dtype).tiny, np.finfo(dtype).tiny / 2
    np.testing.assert_array_equal(oracle.ulp(x, dtype), oracle.wide(np.abs(np.spacing(x))))


@pytest.mark.host
def test_a_unit_in_the_last_place_of_bfloat16():
    assert oracle.ulp(1.0, ml_dtypes.bfloat16) == 2**-7
    assert oracle.ulp(1.99, ml_dtypes.bfloat16) == 2**-7
    assert oracle.ulp(0.5, ml_dtypes.bfloat16) == 2**-8


ONE = np.float32([1.0, -2.0, 0.0])


@pytest.mark.host
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (ONE + np.float32([5 * 2**-23, 0, 0]), ONE),
        (-ONE, ONE),
        (np.float32([1.0, -2.0, 1e-30]), ONE),
        (np.float32([1.0, np.nan, 0.0]), ONE),
        (ONE, np.float32([1.0, np.nan, 0.0])),
        (np.float32([1.0, np.inf, 0.0]), ONE),
        (np.float32([1.0, np.inf, 0.0]), np.float32([1.0, -np.inf, 0.0])),
        (ONE[:2], ONE),
        (ONE[None], ONE),
    ],
)
def test_the_ulp_assertion_fails_on_a_wrong_result(given, expected):
    with pytest.raises(AssertionError):
        oracle.assert_within_ulps(given, expected, 4)


@pytest.mark.host
def test_the_ulp_assertion_passes_what_is_close_enough():
    oracle.assert_within_ulps(ONE + np.float32([4 * 2**-23, 0, 0]), ONE, 4)
    oracle.assert_within_ulps(np.float32([np.nan, np.inf]), np.float64([np.nan, np.inf]), 0)
    oracle.assert_within_ulps(np.float32([1e-7]), [0.0], 4, scale=1.0)


@pytest.mark.host
def test_the_row_assertion_takes_its_unit_from_each_row():
    right = np.float32([[1.0, 1e-6], [1e-6, 1e-6]])
    wrong = right + np.float32([[0, 1e-7], [0, 0]])
    oracle.assert_rows_within_ulps(wrong, right, 4)
    with pytest.raises(AssertionError, match=r"\(1, 0\)"):
        oracle.assert_rows_within_ulps(right + np.float32([[0, 0], [1e-7, 0]]), right, 4)


@pytest.mark.host
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.float32([0.0]), np.float32([-0.0])),
        (np.float32([1.0]), np.float64([1.0])),
        (np.float32([1.0]), np.nextafter(np.float32([1.0]), np.float32(2))),
        (np.float32([1.0]), np.float32([[1.0]])),
    ],
)
def test_the_bit_assertion_fails_on_other_bits(given, expected):
    with pytest.raises(AssertionError):
        oracle.assert_same_bits(given, expected)


@pytest.mark.host
def test_the_bit_assertion_passes_on_the_same_bits():
    oracle.assert_same_bits(np.float32([np.nan, -0.0]), np.float32([np.nan, -0.0]))


RESULT = oracle.loss(
    "cosine_embedding_loss",
    np.arange(1.0, 13.0).reshape(2, 2, 3) ** 2,
    [1, -1],
    weight=[0.5, 2.0],
    reduction="sum",
)


@pytest.mark.host
@pytest.mark.parametrize(
    "wrong",
    [
        RESULT._replace(value=RESULT.value * 1.001),
        RESULT._replace(grads=(RESULT.grads[0], -RESULT.grads[1])),
        RESULT._replace(grads=RESULT.grads[::-1]),
        RESULT._replace(weight_grad=RESULT.weight_grad * 1.001),
    ],
)
def test_the_comparison_of_results_fails_on_a_wrong_result(wrong):
    def rounded(result):
        return oracle.Result(
            np.float32(result.value),
            tuple(np.float32(g) for g in result.grads),
            np.float32(result.weight_grad),
        )

    oracle.assert_results_agree(rounded(RESULT), RESULT)
    with pytest.raises(AssertionError):
        oracle.assert_results_agree(rounded(wrong), RESULT)


# --------------------------------------------------------------------------------------------------
# Distances
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", oracle.DISTANCES)
def test_distances_at_corner_sizes(rng, device, name, dtype):
    function, parameters = measure(name), MAKERS.get(name, (None, {}))[1]
    for n, d in devices.corner_sizes(device):
        x, y = oracle.draw(rng, name, (2, n, d), dtype)
        given = function(x, y)
        assert given.dtype == dtype
        expected = oracle.distance(name, x, y, **parameters)[0]
        scale = None
        # Rows of one component are parallel: 1 - c is 0 there, and rounding is not.
        if dtype == np.float64 or (d == 1 and oracle.DISTANCES[name].terms is not None):
            scale = oracle.distance_terms(name, x, y, **parameters)[0]
        oracle.assert_within_ulps(given, expected, oracle.ULPS[given.dtype.name], scale=scale)


@pytest.mark.parametrize("p", [0.3, 0.5, 1, 1.5, 2, 3, 4, 5, 7.3, 8, 9, 100, 400, np.inf])
@pytest.mark.parametrize("eps", [0.0, 1e-6, 0.25])
def test_p_norms_of_every_power(rng, p, eps):
    x, y = rng.standard_normal((2, 7, 33))
    given = fastcos.paired_distance(x, y, distances.lp(p, eps=eps))
    # 1/p multiplies the error of the sum.
    oracle.assert_within_ulps(
        given, oracle.distance("lp", x, y, p=p, eps=eps)[0], 32 * max(1, 1 / p)
    )


@pytest.mark.parametrize("name", ["euclidean", "manhattan", "chebyshev"])
@pytest.mark.parametrize("eps", [0.0, 1e-6, 0.5])
def test_eps_of_a_norm_is_signed_and_inside(rng, name, eps):
    x, y = rng.standard_normal((2, 9, 5))
    distance = getattr(distances, name)(eps=eps)
    for a, b in ((x, y), (y, x)):
        given = fastcos.paired_distance(a, b, distance)
        oracle.assert_within_ulps(given, oracle.distance(name, a, b, eps=eps)[0], 8)
    swapped = fastcos.paired_distance(y, x, distance)
    assert np.array_equal(given, fastcos.paired_distance(y, x, distance))
    assert (swapped != fastcos.paired_distance(x, y, distance)).all() == (eps > 0)


@pytest.mark.parametrize("eps", [0.0, 1e-8, 0.5, 40.0])
def test_eps_of_the_cosine_is_added_to_both_squares(rng, eps):
    x, y = rng.standard_normal((2, 9, 5)) * [[[1]], [[0.1]]]
    c = oracle.distance("cosine_similarity", x, y, eps=eps)[0]
    oracle.assert_within_ulps(fastcos.cosine_similarity(x, y, eps=eps), c, 8, scale=1)
    given = fastcos.paired_distance(x, y, distances.cosine(eps))
    oracle.assert_within_ulps(given, 1 - c, 8, scale=1)


def test_eps_keeps_the_distance_of_equal_rows_from_zero():
    x = np.array([[3.0, 4.0], [0.3, 0.4]])
    given = fastcos.paired_distance(x, x, distances.cosine(1.0))
    # 1 - c = eps / (x·x + eps)
    np.testing.assert_allclose(given, [1 / 26, 1 / 1.25], rtol=1e-15)


@pytest.mark.parametrize("name", distances.DISTANCES)
def test_a_name_and_its_record_are_the_same_distance(rng, name):
    x, y = oracle.draw(rng, name, (2, 5, 8))
    record = distances.DISTANCES[name]()
    oracle.assert_same_bits(
        fastcos.paired_distance(x, y, name), fastcos.paired_distance(x, y, record)
    )


def test_the_default_distance_is_the_euclidean(rng):
    x, y = rng.standard_normal((2, 4, 6))
    for record in ("euclidean", distances.euclidean(), distances.lp(2), distances.euclidean(0)):
        oracle.assert_same_bits(
            fastcos.paired_distance(x, y), fastcos.paired_distance(x, y, record)
        )


@pytest.mark.parametrize(
    "distance",
    ["euclidean", "manhattan", "chebyshev", distances.lp(3.5), distances.lp(3)],
    ids=lambda d: getattr(d, "name", d),
)
def test_a_norm_is_symmetric_and_zero_for_equal_rows(rng, distance):
    x, y = rng.standard_normal((2, 4, 384))
    np.testing.assert_array_equal(fastcos.paired_distance(x, x.copy(), distance), np.zeros(4))
    oracle.assert_same_bits(
        fastcos.paired_distance(x, y, distance), fastcos.paired_distance(y, x, distance)
    )


def test_records_have_the_parameters_of_their_factories():
    made = (distances.euclidean(), distances.manhattan(), distances.chebyshev(), distances.lp(3.5))
    records = (norms._EUCLIDEAN, norms._MANHATTAN, norms._CHEBYSHEV, norms._LP)
    assert [record.parameters for record in records] == [record.parameters for record in made]


# --------------------------------------------------------------------------------------------------
# Losses
# --------------------------------------------------------------------------------------------------

LABELS = np.array([1, -1, -1, 1, 1, -1, -1, -1, 1])


def check_loss(name, operands, target=None, **kwargs):
    args = (*operands, target) if target is not None else operands
    given = getattr(fastcos, name)(*args, **kwargs)
    expected = oracle.loss(name, operands, target, **kwargs)
    scale = expected.magnitude if given.dtype == np.float64 else None
    oracle.assert_within_ulps(given, expected.value, oracle.ULPS[given.dtype.name], scale=scale)
    return given


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"margin": 0.25},
        {"margin": -0.3},
        {"margin": 0.2, "pos_margin": 0.2},
        {"pos_margin": 0.5},
        {"eps": 0.5},
    ],
)
def test_cosine_embedding_loss(rng, dtype, parameters):
    x, y = rng.standard_normal((2, 9, 6)).astype(dtype)
    losses = check_loss("cosine_embedding_loss", (x, y), LABELS, reduction="none", **parameters)
    assert (losses > 0).any()
    assert losses.dtype == dtype
    check_loss("cosine_embedding_loss", (x, y), LABELS, **parameters)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "parameters", [{}, {"eps": 0.5}, {"normalize": False}, {"normalize": False, "eps": 0.5}]
)
def test_cosine_distance_loss(rng, dtype, parameters):
    x, y = rng.standard_normal((2, 9, 6)).astype(dtype)
    check_loss("cosine_distance_loss", (x, y), reduction="none", **parameters)
    check_loss("cosine_distance_loss", (x, y), **parameters)


@pytest.mark.parametrize(
    ("p", "swap"),
    [(1, False), (2, False), (3, False), (np.inf, False), (2, True), (np.inf, True)],
)
def test_triplet_margin_loss(rng, p, swap):
    operands = tuple(rng.standard_normal((3, 11, 6)))
    for margin, eps in ((1.0, 1e-6), (0.2, 0.0), (0.5, 0.3), (-0.5, 1e-6)):
        kwargs = {"margin": margin, "eps": eps, "p": p, "swap": swap}
        losses = check_loss("triplet_margin_loss", operands, reduction="none", **kwargs)
        assert (losses > 0).any()
        check_loss("triplet_margin_loss", operands, **kwargs)


def test_the_defaults_of_the_triplet_loss(rng):
    operands = tuple(rng.standard_normal((3, 11, 6)))
    check_loss("triplet_margin_loss", operands)
    check_loss("triplet_margin_with_distance_loss", operands)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("margin", [1.0, 0.2, 0.0])
def test_hinge_embedding_loss(rng, dtype, margin):
    x = rng.standard_normal(9).astype(dtype)
    losses = check_loss("hinge_embedding_loss", (x,), LABELS, margin=margin, reduction="none")
    assert losses.dtype == dtype
    check_loss("hinge_embedding_loss", (x,), LABELS, margin=margin)


def test_labels_in_every_form_that_says_plus_or_minus_one(rng):
    x, y = rng.standard_normal((2, 9, 6))
    right = fastcos.cosine_embedding_loss(x, y, LABELS, reduction="none")
    for dtype in (np.int8, np.int64, np.float16, np.float32, np.float64, ml_dtypes.bfloat16):
        given = fastcos.cosine_embedding_loss(x, y, LABELS.astype(dtype), reduction="none")
        oracle.assert_same_bits(given, right)
    for same in (LABELS > 0, LABELS.tolist(), (LABELS > 0).tolist(), LABELS.astype(">i4")):
        oracle.assert_same_bits(fastcos.cosine_embedding_loss(x, y, same, reduction="none"), right)
    for label in (1, -1, True, False, 1.0, np.int8(-1)):
        oracle.assert_same_bits(
            fastcos.cosine_embedding_loss(x, y, label, reduction="none"),
            fastcos.cosine_embedding_loss(
                x, y, np.full(9, 1 if label > 0 else -1), reduction="none"
            ),
        )


@pytest.mark.parametrize("swap", [False, True])
def test_a_callable_measures_what_its_record_measures(rng, swap):
    a, p, n = rng.standard_normal((3, 11, 6))
    given = fastcos.triplet_margin_with_distance_loss(
        a,
        p,
        n,
        distance_function=lambda x, y: np.abs(x - y).max(axis=-1),
        swap=swap,
        reduction="none",
    )
    expected = fastcos.triplet_margin_with_distance_loss(
        a, p, n, distance_function=distances.chebyshev(eps=0), swap=swap, reduction="none"
    )
    oracle.assert_within_ulps(given, expected, 4, scale=1)


# --------------------------------------------------------------------------------------------------
# Dtypes
# --------------------------------------------------------------------------------------------------

HALVES = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_half_types_are_read_as_they_are(rng, dtype):
    x, y, z = rng.standard_normal((3, 9, 33)).astype(dtype)
    losses = check_loss("cosine_embedding_loss", (x, y), LABELS, reduction="none", margin=0.1)
    assert losses.dtype == dtype
    check_loss("cosine_embedding_loss", (x, y), LABELS, margin=0.1)
    assert check_loss("triplet_margin_loss", (x, y, z), reduction="none").dtype == dtype


@pytest.mark.parametrize(
    ("one", "other", "result"),
    [
        (np.float32, np.float64, np.float64),
        (np.float64, np.float32, np.float64),
        (np.float16, np.float32, np.float32),
        (ml_dtypes.bfloat16, np.float32, np.float32),
        (ml_dtypes.bfloat16, np.float16, np.float32),
        (np.float16, np.float64, np.float64),
        (np.int8, np.int8, np.float32),
        (np.int64, np.int64, np.float64),
        (np.int8, np.float16, np.float32),
        (np.int32, np.float32, np.float64),
        (np.int16, np.float32, np.float32),
        (np.bool_, np.bool_, np.float32),
        (np.bool_, np.float64, np.float64),
    ],
)
def test_dtypes_promote_and_never_below_float32(rng, one, other, result):
    x, y = 4 * np.abs(rng.standard_normal((2, 9, 33))) - 0.5
    x, y = (v > 1 if d is np.bool_ else v.astype(d) for v, d in ((x, one), (y, other)))
    for name in ("cosine_embedding_loss", "cosine_distance_loss"):
        target = LABELS if name == "cosine_embedding_loss" else None
        losses = check_loss(name, (x, y), target, reduction="none")
        assert losses.dtype == result


def test_integers_do_not_wrap_around():
    x = np.array([[-128, 127, 100], [127, 127, 127]], dtype=np.int8)
    y = np.array([[127, -128, 100], [127, 127, -128]], dtype=np.int8)
    given = fastcos.paired_distance(x, y, "sqeuclidean")
    np.testing.assert_array_equal(given, [2 * 255**2, 255**2])
    unsigned = np.array([[0, 255]], dtype=np.uint8)
    assert fastcos.paired_distance(unsigned, unsigned[:, ::-1], "sqeuclidean") == 2 * 255**2


def test_lists_and_scalars_are_arrays():
    x1, x2 = [[1.0, 0.0], [1.0, 0.0]], [[0.6, 0.8], [0.6, 0.8]]
    given = fastcos.cosine_embedding_loss(x1, x2, [1, -1], margin=0.5, reduction="none")
    np.testing.assert_allclose(given, [0.4, 0.1], rtol=1e-15)
    assert fastcos.hinge_embedding_loss(0.25, -1) == 0.75
    assert fastcos.hinge_embedding_loss(3, 1) == 3


def test_one_number_is_a_scalar_of_the_dtype(rng):
    x, y = rng.standard_normal((2, 9, 6)).astype(np.float32)
    assert type(fastcos.cosine_embedding_loss(x, y, LABELS)) is np.float32
    assert type(fastcos.paired_distance(x[0], y[0])) is np.float32
