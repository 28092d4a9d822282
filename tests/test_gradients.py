"""Gradients against the oracle, whose own are checked by differences of its values."""

import devices
import ml_dtypes
import numpy as np
import oracle
import pytest

import fastcos
from fastcos import distances, grad, value_and_grad
from fastcos.adapters import numpy as adapter

FLOATS = (np.float32, np.float64)
LABELS = np.array([1, -1, -1, 1, 1, -1, -1, -1, 1])

#: ``parameters`` of the oracle for the distances that need some.
PARAMETERS = {"lp": {"p": 3.5}}


def measure(name):
    """``(x, y) -> (d, (gx, gy))`` of the library for a row of the oracle."""
    if name == "cosine_similarity":
        return value_and_grad(fastcos.cosine_similarity)
    record = distances.lp(3.5) if name == "lp" else name
    return lambda x, y: value_and_grad(fastcos.paired_distance)(x, y, record)


# --------------------------------------------------------------------------------------------------
# The oracle's gradients are the derivatives of its values
# --------------------------------------------------------------------------------------------------


def differences(f, arrays):
    """Fourth-order central differences of ``f(*arrays)``, a sum, in extended precision."""
    h = oracle.LD(2) ** -13
    arrays = [oracle.wide(a).copy() for a in arrays]
    slopes = []
    for a in arrays:
        slope = np.empty_like(a)
        for at in np.ndindex(a.shape):
            middle, ahead = a[at], []
            for step in (h, -h, 2 * h, -2 * h):
                a[at] = middle + step
                ahead.append(f(*arrays))
            a[at] = middle
            slope[at] = (8 * (ahead[0] - ahead[1]) - (ahead[2] - ahead[3])) / (12 * h)
        slopes.append(slope)
    return slopes


def close(given, expected):
    scale = np.abs(oracle.wide(expected)).max()
    assert np.abs(given - expected).max() < 1e-11 * scale


@pytest.mark.parametrize("name", oracle.DISTANCES)
def test_the_oracle_differentiates_its_distances(rng, name):
    x, y = oracle.draw(rng, name, (2, 3, 4))
    parameters = PARAMETERS.get(name, {})
    _, *given = oracle.distance(name, x, y, **parameters)
    slopes = differences(lambda a, b: oracle.distance(name, a, b, **parameters)[0].sum(), (x, y))
    for one, other in zip(given, slopes, strict=True):
        close(one, other)


@pytest.mark.parametrize("reduction", oracle.REDUCTIONS)
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("cosine_embedding_loss", {"margin": 0.1, "pos_margin": 0.8, "eps": 0.1}),
        ("cosine_distance_loss", {}),
        ("cosine_distance_loss", {"normalize": False}),
        ("triplet_margin_loss", {"p": 3, "swap": True}),
        ("triplet_margin_with_distance_loss", {"distance_function": "canberra"}),
        ("hinge_embedding_loss", {}),
    ],
)
def test_the_oracle_differentiates_its_losses(rng, name, parameters, reduction):
    row = oracle.LOSSES[name]
    arrays = list(rng.standard_normal((len(row.operand_names), 3, 2, 4)))
    if row.on_rows:
        arrays[0] = arrays[0][:1]  # one that is broadcast
        samples = (3, 2)
    else:
        samples = (3, 2, 4)
    weight = rng.uniform(0.5, 2, (samples[0], *(1 for _ in samples[1:])))
    target = rng.choice([-1, 1], samples) if row.has_target else None
    upstream = rng.standard_normal(samples) if reduction == "none" else -1.75

    def total(*args):
        *operands, w = args
        value = oracle.loss(
            name, operands, target, weight=w, reduction=reduction, **parameters
        ).value
        return (upstream * value).sum()

    result = oracle.loss(
        name,
        arrays,
        target,
        weight=weight,
        reduction=reduction,
        grad_output=upstream,
        **parameters,
    )
    slopes = differences(total, [*arrays, weight])
    for one, other in zip((*result.grads, result.weight_grad), slopes, strict=True):
        close(one, other)


# --------------------------------------------------------------------------------------------------
# Distances
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", oracle.DISTANCES)
def test_gradients_of_distances_at_corner_sizes(rng, device, name, dtype):
    function, parameters = measure(name), PARAMETERS.get(name, {})
    for n, d in devices.corner_sizes(device):
        x, y = oracle.draw(rng, name, (2, n, d), dtype)
        _, grads = function(x, y)
        _, *expected = oracle.distance(name, x, y, **parameters)
        _, *terms = oracle.distance_terms(name, x, y, **parameters)
        for given, right, term in zip(grads, expected, terms, strict=True):
            assert given.dtype == dtype
            if dtype == np.float64 or (d == 1 and oracle.DISTANCES[name].terms is not None):
                # One component has no direction: every term cancels.
                oracle.assert_within_ulps(given, right, 32, scale=term)
            else:
                oracle.assert_rows_within_ulps(given, right, 4)


@pytest.mark.parametrize("name", oracle.DISTANCES)
def test_the_value_is_the_same_with_and_without_gradients(rng, name):
    x, y = oracle.draw(rng, name, (2, 5, 17))
    if name == "cosine_similarity":
        alone = fastcos.cosine_similarity(x, y)
    else:
        alone = fastcos.paired_distance(x, y, distances.lp(3.5) if name == "lp" else name)
    oracle.assert_same_bits(measure(name)(x, y)[0], alone)


@pytest.mark.parametrize("p", [0.3, 0.5, 1, 1.5, 2, 3, 4, 5, 7.3, 8, 9, 100, 400, np.inf])
@pytest.mark.parametrize("eps", [0.0, 0.25])
def test_gradients_of_p_norms_of_every_power(rng, p, eps):
    x, y = rng.standard_normal((2, 7, 33))
    _, grads = value_and_grad(fastcos.paired_distance)(x, y, distances.lp(p, eps=eps))
    _, *expected = oracle.distance("lp", x, y, p=p, eps=eps)
    for given, right in zip(grads, expected, strict=True):
        # (|t|/d)^(p-1) multiplies the error of d, and d that of its sum by 1/p.
        oracle.assert_rows_within_ulps(given, right, 32 * max(1, p if p < np.inf else 1, 1 / p))


@pytest.mark.parametrize("eps", [1e-8, 0.5, 40.0])
def test_gradients_of_a_cosine_with_eps(rng, eps):
    x, y = rng.standard_normal((2, 9, 5)) * [[[1]], [[0.1]]]
    _, grads = value_and_grad(fastcos.paired_distance)(x, y, distances.cosine(eps))
    _, *expected = oracle.distance("cosine", x, y, eps=eps)
    for given, right in zip(grads, expected, strict=True):
        oracle.assert_rows_within_ulps(given, right, 32)


# --------------------------------------------------------------------------------------------------
# Losses
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "parameters",
    [{}, {"margin": 0.25}, {"margin": -0.3, "pos_margin": 0.4}, {"eps": 0.5}],
)
def test_cosine_embedding_loss(rng, evaluate, dtype, parameters):
    x, y = rng.standard_normal((2, 9, 6)).astype(dtype)
    for reduction in ("none", "mean"):
        kwargs = {"reduction": reduction, **parameters}
        given = evaluate("cosine_embedding_loss", (x, y), LABELS, **kwargs)
        assert given.grads[0].any()
        assert given.grads[1].any()
        expected = oracle.loss("cosine_embedding_loss", (x, y), LABELS, **kwargs)
        oracle.assert_results_agree(given, expected)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("normalize", [True, False])
def test_cosine_distance_loss(rng, evaluate, dtype, normalize):
    x, y = rng.standard_normal((2, 9, 6)).astype(dtype)
    given = evaluate("cosine_distance_loss", (x, y), normalize=normalize)
    expected = oracle.loss("cosine_distance_loss", (x, y), normalize=normalize)
    oracle.assert_results_agree(given, expected)


@pytest.mark.parametrize(
    ("p", "swap"),
    [(1, False), (2, False), (3, False), (np.inf, False), (2, True), (np.inf, True)],
)
def test_triplet_margin_loss(rng, evaluate, p, swap):
    operands = tuple(rng.standard_normal((3, 11, 6)))
    for margin, eps in ((1.0, 1e-6), (0.2, 0.3)):
        kwargs = {"margin": margin, "eps": eps, "p": p, "swap": swap, "reduction": "none"}
        given = evaluate("triplet_margin_loss", operands, **kwargs)
        expected = oracle.loss("triplet_margin_loss", operands, **kwargs)
        oracle.assert_results_agree(given, expected)
        active = given.value > 0
        assert active.any()
        assert not active.all()


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_triplet_margin_loss_of_narrower_dtypes(rng, evaluate, dtype):
    operands = tuple(rng.standard_normal((3, 11, 33)).astype(dtype))
    given = evaluate("triplet_margin_loss", operands, reduction="none")
    assert {g.dtype for g in given.grads} == {np.dtype(dtype)}
    oracle.assert_results_agree(
        given, oracle.loss("triplet_margin_loss", operands, reduction="none")
    )


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_cosine_embedding_loss_of_half_types(rng, evaluate, dtype):
    operands = tuple(rng.standard_normal((2, 9, 33)).astype(dtype))
    given = evaluate("cosine_embedding_loss", operands, LABELS, margin=0.1)
    assert {g.dtype for g in given.grads} == {np.dtype(dtype)}
    oracle.assert_results_agree(
        given, oracle.loss("cosine_embedding_loss", operands, LABELS, margin=0.1)
    )


def triplets(rng, name):
    """Rows, and a margin small enough that some triplets cost and some do not."""
    operands = tuple(oracle.draw(rng, name, (3, 11, 6)))
    spread = float(oracle.distance(name, *operands[:2])[0].std())
    return operands, spread / 4


@pytest.mark.parametrize("name", distances.DISTANCES)
def test_triplets_in_every_distance(rng, evaluate, name):
    operands, margin = triplets(rng, name)
    kwargs = {"distance_function": name, "margin": margin, "reduction": "none"}
    given = evaluate("triplet_margin_with_distance_loss", operands, **kwargs)
    expected = oracle.loss("triplet_margin_with_distance_loss", operands, **kwargs)
    active = given.value > 0
    assert active.any()
    assert not active.all()
    oracle.assert_results_agree(given, expected)


@pytest.mark.parametrize("name", ["cosine", "euclidean", "chebyshev"])
def test_triplets_with_swap(rng, evaluate, name):
    operands, margin = triplets(rng, name)
    kwargs = {"distance_function": name, "margin": margin, "reduction": "none", "swap": True}
    given = evaluate("triplet_margin_with_distance_loss", operands, **kwargs)
    expected = oracle.loss("triplet_margin_with_distance_loss", operands, **kwargs)
    oracle.assert_results_agree(given, expected)
    # Either side of the minimum is taken by some triplets that cost.
    a, p, n = operands
    nearer = oracle.distance(name, p, n)[0] < oracle.distance(name, a, n)[0]
    assert (nearer & (given.value > 0)).any()
    assert (~nearer & (given.value > 0)).any()


@pytest.mark.parametrize("dtype", FLOATS)
def test_hinge_embedding_loss(rng, evaluate, dtype):
    x = rng.standard_normal((2, 9)).astype(dtype)
    target = np.stack([LABELS, -LABELS])
    given = evaluate("hinge_embedding_loss", (x,), target, margin=0.5)
    expected = oracle.loss("hinge_embedding_loss", (x,), target, margin=0.5)
    oracle.assert_results_agree(given, expected)


# --------------------------------------------------------------------------------------------------
# Upstream gradients, argnums, out
# --------------------------------------------------------------------------------------------------

UPSTREAM = np.array([1.5, -0.25, 0.0, 3.0, -2.0, 0.125, 7.0, 1e-3, -1e3])


@pytest.mark.parametrize("name", ["cosine_embedding_loss", "cosine_distance_loss"])
@pytest.mark.parametrize("upstream", [2.5, -0.75, 0.0, np.float32(3), np.array(1.25)])
def test_a_scalar_upstream_gradient_multiplies(rng, evaluate, name, upstream):
    operands = tuple(rng.standard_normal((2, 9, 6)))
    target = LABELS if name == "cosine_embedding_loss" else None
    for reduction in oracle.REDUCTIONS:
        kwargs = {"grad_output": upstream, "reduction": reduction}
        given = evaluate(name, operands, target, **kwargs)
        oracle.assert_results_agree(given, oracle.loss(name, operands, target, **kwargs))


@pytest.mark.parametrize("weight", [None, np.linspace(-1, 2, 9)])
def test_an_upstream_gradient_per_sample(rng, evaluate, weight):
    kwargs = {"reduction": "none", "grad_output": UPSTREAM, "weight": weight}
    operands = tuple(rng.standard_normal((2, 9, 6)))
    given = evaluate("cosine_embedding_loss", operands, LABELS, **kwargs)
    oracle.assert_results_agree(
        given, oracle.loss("cosine_embedding_loss", operands, LABELS, **kwargs)
    )
    assert not given.grads[0][2].any()
    operands = tuple(rng.standard_normal((3, 9, 6)))
    given = evaluate("triplet_margin_loss", operands, swap=True, **kwargs)
    oracle.assert_results_agree(
        given, oracle.loss("triplet_margin_loss", operands, swap=True, **kwargs)
    )
    (x,) = rng.standard_normal((1, 9))
    given = evaluate("hinge_embedding_loss", (x,), LABELS, **kwargs)
    oracle.assert_results_agree(given, oracle.loss("hinge_embedding_loss", (x,), LABELS, **kwargs))


def test_an_upstream_gradient_of_a_similarity(rng):
    x, y = rng.standard_normal((2, 9, 6))
    c, grads = value_and_grad(fastcos.cosine_similarity)(x, y, grad_output=UPSTREAM)
    right, *slopes = oracle.distance("cosine_similarity", x, y)
    oracle.assert_within_ulps(c, right, 8, scale=1)
    for given, slope in zip(grads, slopes, strict=True):
        oracle.assert_rows_within_ulps(given, UPSTREAM[:, None] * slope, 32)


@pytest.mark.parametrize(
    ("argnums", "names"),
    [
        (None, ("input1", "input2")),
        ((0, 1), ("input1", "input2")),
        ((1, 0), ("input2", "input1")),
        ((1,), ("input2",)),
        (["input2", 0], ("input2", "input1")),
        (("weight", "input1"), ("weight", "input1")),
        ((), ()),
        (0, "input1"),
        ("input2", "input2"),
        ("weight", "weight"),
    ],
)
def test_argnums_say_which_gradients_and_in_which_order(rng, argnums, names):
    x, y = rng.standard_normal((2, 9, 6))
    weight = rng.uniform(0.5, 2, 9)
    right = oracle.loss("cosine_embedding_loss", (x, y), LABELS, weight=weight, margin=-0.5)
    right = dict(
        zip(("input1", "input2", "weight"), (*right.grads, right.weight_grad), strict=True)
    )
    f = value_and_grad(fastcos.cosine_embedding_loss, argnums)
    _, grads = f(x, y, LABELS, weight=weight, margin=-0.5)
    if isinstance(names, str):
        assert isinstance(grads, np.ndarray)
        names, grads = (names,), (grads,)
    assert isinstance(grads, tuple)
    for name, given in zip(names, grads, strict=True):
        oracle.assert_rows_within_ulps(given, right[name], 32)


@pytest.mark.parametrize("argnums", [(2,), ("negative", "anchor"), (1, 2), "positive"])
def test_argnums_of_a_triplet(rng, argnums):
    operands = tuple(rng.standard_normal((3, 9, 6)))
    _, every = value_and_grad(fastcos.triplet_margin_loss)(*operands, swap=True)
    grads = grad(fastcos.triplet_margin_loss, argnums)(*operands, swap=True)
    if isinstance(argnums, str):
        argnums, grads = (argnums,), (grads,)
    position = {"anchor": 0, "positive": 1, "negative": 2, 0: 0, 1: 1, 2: 2}
    for at, given in zip(argnums, grads, strict=True):
        oracle.assert_same_bits(given, every[position[at]])


def test_grad_is_value_and_grad_without_the_value(rng):
    x, y = rng.standard_normal((2, 9, 6))
    _, expected = value_and_grad(fastcos.cosine_embedding_loss)(x, y, LABELS, grad_output=2.0)
    given = grad(fastcos.cosine_embedding_loss)(x, y, LABELS, grad_output=2.0)
    assert isinstance(given, tuple)
    for one, other in zip(given, expected, strict=True):
        oracle.assert_same_bits(one, other)


def test_arguments_by_name(rng):
    x, y = rng.standard_normal((2, 9, 6))
    f = value_and_grad(fastcos.cosine_embedding_loss)
    _, expected = f(x, y, LABELS)
    _, given = f(target=LABELS, input2=y, input1=x)
    for one, other in zip(given, expected, strict=True):
        oracle.assert_same_bits(one, other)


@pytest.mark.parametrize("layout", ["C", "F", "strided rows", "strided columns", "reversed"])
def test_out_is_written_and_returned_whatever_its_layout(rng, layout):
    x, y = rng.standard_normal((2, 9, 6))
    buffers = {
        "C": lambda: np.full((9, 6), np.nan),
        "F": lambda: np.full((6, 9), np.nan).T,
        "strided rows": lambda: np.full((18, 6), np.nan)[::2],
        "strided columns": lambda: np.full((9, 12), np.nan)[:, ::2],
        "reversed": lambda: np.full((9, 6), np.nan)[::-1, ::-1],
    }[layout]
    f = value_and_grad(fastcos.cosine_embedding_loss)
    value, expected = f(x, y, LABELS)
    out = (buffers(), buffers())
    again, given = f(x, y, LABELS, out=out)
    oracle.assert_same_bits(again, value)
    for one, buffer, other in zip(given, out, expected, strict=True):
        assert np.shares_memory(one, buffer)
        oracle.assert_same_bits(buffer, other)
        if buffer.base is not None and layout.startswith("strided"):
            assert np.isnan(buffer.base).sum() == buffer.base.size - buffer.size


def test_out_of_one_gradient_and_of_the_weight(rng):
    x, y = rng.standard_normal((2, 9, 6)).astype(np.float32)
    weight = rng.uniform(0.5, 2, 9).astype(np.float32)
    f = value_and_grad(fastcos.cosine_embedding_loss, "input2")
    out = np.empty_like(y)
    _, given = f(x, y, LABELS, out=out)
    assert given is out or given.base is out
    oracle.assert_same_bits(out, f(x, y, LABELS)[1])
    f = value_and_grad(fastcos.cosine_embedding_loss, ("weight", "input1"))
    out = (np.empty_like(weight), np.empty_like(x))
    f(x, y, LABELS, weight=weight, out=out)
    for buffer, right in zip(out, f(x, y, LABELS, weight=weight)[1], strict=True):
        oracle.assert_same_bits(buffer, right)


def test_out_of_a_broadcast_argument(rng):
    x, y = rng.standard_normal(6), rng.standard_normal((9, 6))
    f = value_and_grad(fastcos.cosine_embedding_loss)
    _, expected = f(x, y, LABELS)
    out = (np.full(6, np.nan), np.full((9, 6), np.nan))
    f(x, y, LABELS, out=out)
    for buffer, right in zip(out, expected, strict=True):
        oracle.assert_same_bits(buffer, right)


def test_inputs_are_not_written_to(rng):
    operands = rng.standard_normal((3, 9, 6))
    weight = rng.uniform(0.5, 2, 9)
    before = operands.copy(), weight.copy(), LABELS.copy(), UPSTREAM.copy()
    value_and_grad(fastcos.triplet_margin_loss, (0, 1, 2, "weight"))(
        *operands, weight=weight, swap=True, reduction="none", grad_output=UPSTREAM
    )
    value_and_grad(fastcos.cosine_embedding_loss)(*operands[:2], LABELS, weight=weight)
    for now, then in zip((operands, weight, LABELS, UPSTREAM), before, strict=True):
        oracle.assert_same_bits(now, then)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.float32, np.float64),
        (np.float16, np.float64),
        (ml_dtypes.bfloat16, np.float16),
        (np.float64, np.int64),
    ],
)
def test_a_gradient_has_the_dtype_of_its_argument(rng, one, other):
    x, y = (4 * rng.standard_normal((2, 9, 33))).astype(one), None
    x, y = x[0], (4 * x[1].astype(np.float64)).astype(other)
    losses, grads = value_and_grad(fastcos.cosine_embedding_loss)(
        x, y, LABELS, margin=-1, reduction="none"
    )
    expected = oracle.loss("cosine_embedding_loss", (x, y), LABELS, margin=-1, reduction="none")
    for given, argument, right in zip(grads, (x, y), expected.grads, strict=True):
        dtype = losses.dtype if argument.dtype.kind == "i" else argument.dtype
        assert given.dtype == dtype
        oracle.assert_rows_within_ulps(given, right, oracle.ULPS[given.dtype.name])


# --------------------------------------------------------------------------------------------------
# Kinks and ties
# --------------------------------------------------------------------------------------------------


def test_the_cosine_embedding_loss_passes_at_its_margin():
    x, y = np.array([[1.0, 0.0]]), np.array([[0.6, 0.8]])  # c = 0.6 exactly
    f = value_and_grad(fastcos.cosine_embedding_loss)
    for target, kwargs, sign in ((-1, {"margin": 0.6}, 1), (1, {"pos_margin": 0.6}, -1)):
        value, (gx, gy) = f(x, y, target, **kwargs)
        assert value == 0
        np.testing.assert_allclose(gx, [[0, sign * 0.8]], atol=1e-16)
        np.testing.assert_allclose(gy, sign * np.array([[0.64, -0.48]]), atol=1e-16)
    for target, kwargs in ((-1, {"margin": 0.7}), (1, {"pos_margin": 0.5})):
        value, grads = f(x, y, target, **kwargs)
        assert value == 0
        assert not np.any(grads)


@pytest.mark.parametrize("margin", [0.5, 0.0, -0.5])
def test_the_cosine_embedding_loss_passes_at_its_margin_without_its_difference(margin):
    # c = 0.5 exactly; c - margin is 0 for one of the margins only.
    x, y = np.array([[1.0, 1.0, 0.0]]), np.array([[1.0, 0.0, 1.0]])
    value, (gx, _) = value_and_grad(fastcos.cosine_embedding_loss)(x, y, -1, margin=margin)
    assert value == 0.5 - margin
    np.testing.assert_allclose(gx, [[0.25, -0.25, 0.5]], atol=1e-16)


def test_the_triplet_loss_passes_at_zero():
    a, p, n = np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]]), np.array([[0.0, 7.0]])
    f = value_and_grad(fastcos.triplet_margin_loss)
    value, (ga, gp, gn) = f(a, p, n, margin=2.0, eps=0)
    assert value == 0
    np.testing.assert_allclose(gp, [[0.6, 0.8]], atol=1e-16)
    np.testing.assert_allclose(gn, [[0.0, -1.0]], atol=1e-16)
    np.testing.assert_allclose(ga, [[-0.6, 0.2]], atol=1e-16)
    value, grads = f(a, p, n, margin=1.99, eps=0)
    assert value == 0
    assert not np.any(grads)


@pytest.mark.parametrize("target", [-1, 1])
def test_the_hinge_loss_passes_at_its_margin(target):
    x = np.array([0.5, 0.5000001, -0.25, 0.0])
    value, (g,) = value_and_grad(fastcos.hinge_embedding_loss)(
        x, target, margin=0.5, reduction="none"
    )
    if target == 1:
        np.testing.assert_array_equal(value, x)
        np.testing.assert_array_equal(g, np.ones(4))
    else:
        np.testing.assert_array_equal(value, [0, 0, 0.75, 0.5])
        np.testing.assert_array_equal(g, [-1, 0, -1, -1])


def test_a_tie_of_swap_splits_half_and_half():
    a, p, n = np.array([[0.0, 1.0]]), np.array([[0.0, -1.0]]), np.array([[1.0, 0.0]])
    value, (ga, gp, gn) = value_and_grad(fastcos.triplet_margin_loss)(
        a, p, n, eps=0, margin=3.0, swap=True
    )
    r = np.sqrt(0.5)
    np.testing.assert_allclose(value, 5 - np.sqrt(2), rtol=1e-15)
    np.testing.assert_allclose(ga, [[r / 2, 1 - r / 2]], rtol=1e-15)
    np.testing.assert_allclose(gp, [[r / 2, -1 + r / 2]], rtol=1e-15)
    np.testing.assert_allclose(gn, [[-r, 0]], atol=1e-16)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, *FLOATS])
def test_a_tie_of_swap_is_one_in_float32_and_float64(dtype):
    # (a,n) has two largest differences and (p,n) one, of the same size: float32 does for that only.
    a, p, n = np.array([[[3, 3]], [[3, 0]], [[0, 0]]], dtype)
    value, (ga, gp, gn) = value_and_grad(fastcos.triplet_margin_with_distance_loss)(
        a, p, n, distance_function=distances.chebyshev(eps=1e-6), margin=5, swap=True
    )
    np.testing.assert_array_equal(value, 5)
    np.testing.assert_array_equal(ga, [[-0.25, 0.75]])
    np.testing.assert_array_equal(gp, [[-0.5, -1]])
    np.testing.assert_array_equal(gn, [[0.75, 0.25]])


@pytest.mark.parametrize("dtype", FLOATS)
def test_ties_of_the_maximum_norm_share_equally(dtype):
    x = np.array([[1, -2, 2, 0, 2], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [3, 3, 3, 3, -3]], dtype)
    f = value_and_grad(fastcos.paired_distance)
    d, (gx, gy) = f(x, np.zeros_like(x), distances.chebyshev(eps=0))
    np.testing.assert_array_equal(d, [2, 1, 0, 3])
    third, fifth = dtype(1 / 3), dtype(1 / 5)
    np.testing.assert_array_equal(
        gx,
        [
            [0, -third, third, 0, third],
            [1, 0, 0, 0, 0],
            [0, 0, 0, 0, 0],
            [fifth, fifth, fifth, fifth, -fifth],
        ],
    )
    np.testing.assert_array_equal(gy, -gx)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, *FLOATS])
@pytest.mark.parametrize("features", [1, 3, 64])
def test_the_maximum_norm_where_eps_cancels_all_there_is(dtype, features):
    x, y = np.zeros((2, features), dtype), np.full((2, features), 0.5, dtype)
    d, grads = value_and_grad(fastcos.paired_distance)(x, y, distances.chebyshev(eps=0.5))
    np.testing.assert_array_equal(d, 0)
    assert not np.any(grads)


@pytest.mark.parametrize("dtype", FLOATS)
def test_neighbours_do_not_tie(dtype):
    # The middle of two neighbours is one of them.
    one = dtype(1)
    for small in (one, np.nextafter(one, dtype(2)), np.finfo(dtype).smallest_subnormal, dtype(0)):
        x = np.array([small, np.nextafter(small, dtype(2)), -small, 0], dtype)
        _, (g, _) = value_and_grad(fastcos.paired_distance)(x, 0 * x, distances.chebyshev(eps=0))
        np.testing.assert_array_equal(g, [0, 1, 0, 0])


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
@pytest.mark.parametrize("features", [33, 63, 64, 97, 256, 289, 517])
def test_ties_and_nan_wherever_they_are_in_a_row(rng, features, dtype):
    # Long rows are taken in parts, each with a maximum and a count of its own.
    f = value_and_grad(fastcos.paired_distance)
    x = rng.uniform(-1, 1, (50, features)).astype(dtype)
    sign, shares = np.zeros((50, features)), np.zeros((50, 1))
    for row, chosen in enumerate(rng.integers(0, features, (50, 4))):
        at = np.unique(chosen)
        shares[row] = 1 / len(at)
        sign[row, at] = rng.choice([-1, 1], len(at))
    x[sign != 0] = 2 * sign[sign != 0]
    d, (gx, gy) = f(x, np.zeros_like(x), distances.chebyshev(eps=0))
    np.testing.assert_array_equal(d, 2)
    np.testing.assert_array_equal(gx, (sign * shares).astype(dtype))
    np.testing.assert_array_equal(gy, -gx)
    bad = rng.integers(0, features, 50)
    bad[:4] = 0, features // 2, features - 2, features - 1
    x[np.arange(50), bad] = np.nan
    x[::2, features // 3] = np.inf
    for given in (x, -x):
        d, grads = f(given, np.zeros_like(x), distances.chebyshev(eps=0))
        nan = np.isnan(given).any(1)
        assert nan.sum() > 20
        np.testing.assert_array_equal(np.isnan(d), nan)
        for g in grads:
            np.testing.assert_array_equal(np.isnan(g), np.repeat(nan[:, None], features, axis=1))


@pytest.mark.parametrize("p", [0.5, 1, 1.5, 2, 3, 4, np.inf])
def test_the_gradient_of_a_norm_at_zero_is_zero(p):
    x = np.array([[1.0, -2.0, 3.0], [0.1, 0.2, 0.3]])
    d, grads = value_and_grad(fastcos.paired_distance)(x, x.copy(), distances.lp(p, eps=0))
    np.testing.assert_array_equal(d, [0, 0])
    assert not np.any(grads)


@pytest.mark.parametrize("p", [0.5, 1, 1.5, 3, 4])
def test_the_gradient_of_a_component_at_zero_is_zero(p):
    x, y = np.array([[1.0, -2.0, 3.0]]), np.array([[1.0, 2.0, 1.0]])
    _, (gx, gy) = value_and_grad(fastcos.paired_distance)(x, y, distances.lp(p, eps=0))
    assert gx[0, 0] == gy[0, 0] == 0
    assert gx[0, 1] < 0 < gx[0, 2]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, ml_dtypes.bfloat16])
def test_slopes_of_canberra_that_are_zero_are_so_for_subnormal_numbers(dtype):
    tiny = np.ldexp(1.0, -130 if dtype != np.float64 else -1074)
    # Components: equal, of opposite signs, y zero, x zero; one that is as usual.
    x, y = (
        np.array([[tiny, tiny, tiny, 0, 1], [-tiny, tiny, -tiny, 0, 1]]).astype(dtype),
        (np.array([[tiny, -tiny, 0, tiny, 2], [-tiny, -tiny, 0, tiny, 2]]).astype(dtype)),
    )
    _, (gx, gy) = value_and_grad(fastcos.paired_distance)(x, y, "canberra")
    np.testing.assert_array_equal(gx[:, :3], 0)
    np.testing.assert_array_equal(gy[:, [0, 1, 3]], 0)
    for given, right in ((gx[:, 4], -4 / 9), (gy[:, 4], 2 / 9)):
        np.testing.assert_array_equal(given, np.full(2, right, dtype))


def test_ratios_of_sums_of_rows_with_nan():
    x, y = np.array([[np.nan, 0.0, 1.0], [np.inf, 0.0, 1.0]]), np.array([[1.0, 0.0, -1.0]] * 2)
    d, grads = value_and_grad(fastcos.paired_distance)(x, y, "braycurtis")
    assert np.isnan(d).all()
    for g in grads:
        assert np.isnan(g).all()


def test_kinks_of_ratios_of_sums():
    f = value_and_grad(fastcos.paired_distance)
    # Components: equal, both zero, x zero, y zero, opposite signs.
    x, y = np.array([[2.0, 0.0, 0.0, 3.0, 1.0]]), np.array([[2.0, 0.0, 4.0, 0.0, -2.0]])
    d, (gx, gy) = f(x, y, "canberra")
    assert d == [3.0]
    np.testing.assert_array_equal(gx, [[0, 0, -1 / 4, 0, 0]])
    np.testing.assert_array_equal(gy, [[0, 0, 0, -1 / 3, 0]])
    for z in (np.zeros((1, 3)), np.array([[1.0, -2.0, 3.0]])):
        # All sums 0, then the lower one alone.
        d, grads = f(z, -z, "braycurtis")
        assert d == (np.inf if z.any() else 0)
        assert not np.any(grads)


def test_the_distance_of_a_point_from_itself_has_no_gradient():
    x = np.array([[0.3, -0.2, 0.5]])
    for name in ("poincare", "canberra", "braycurtis", "sqeuclidean"):
        d, (gx, gy) = value_and_grad(fastcos.paired_distance)(x, x.copy(), name)
        assert d == 0
        assert not np.any(gx)
        assert not np.any(gy)


@pytest.mark.host
def test_gradients_over_no_samples_are_zero_whatever_their_dtype(monkeypatch):
    # float32 rows beside float64 ones have their gradient computed elsewhere, and copied.
    new = adapter.empty_like
    monkeypatch.setattr(adapter, "empty_like", lambda *args: np.full_like(new(*args), np.nan))
    x, y = np.ones((1, 3), np.float32), np.ones((0, 3))
    _, grads = value_and_grad(fastcos.cosine_distance_loss)(x, y)
    np.testing.assert_array_equal(grads[0], np.zeros((1, 3)))
    assert grads[0].dtype == np.float32
