"""Every loss under every reduction and every kind of weight: value, gradients, weight gradient."""

import numpy as np
import oracle
import pytest

import fastcos
from fastcos import value_and_grad

FLOATS = (np.float32, np.float64)
N, D = 9, 6
LABELS = np.array([1, -1, -1, 1, 1, -1, -1, -1, 1])
GRID = np.random.default_rng(5).choice([-1, 1], (4, 5))

#: Parameters that make about half of the samples cost something.
LOSSES = {
    "cosine_embedding_loss": {"margin": 0.1},
    "cosine_distance_loss": {},
    "triplet_margin_loss": {"margin": 0.5},
    "triplet_margin_with_distance_loss": {"margin": 0.1, "distance_function": "cosine"},
    "hinge_embedding_loss": {"margin": 0.4},
}

WEIGHTS = {
    "none": lambda rng: None,
    "scalar": lambda rng: 2.5,
    "negative scalar": lambda rng: -0.5,
    "zero scalar": lambda rng: 0.0,
    "per sample": lambda rng: rng.uniform(0.5, 2, N),
    "one element": lambda rng: np.array([1.5]),
    "some zero": lambda rng: rng.uniform(0.5, 2, N) * (np.arange(N) % 3 > 0),
    "some negative": lambda rng: rng.uniform(-1, 2, N),
    "all zero": lambda rng: np.zeros(N),
    "sum to zero": lambda rng: np.array([1.0, -1, 2, -2, 4, -4, 8, -8, 0]),
}


def operands_of(rng, name, samples, dtype=np.float64):
    row = oracle.LOSSES[name]
    shape = (*samples, D) if row.on_rows else samples
    return tuple(rng.standard_normal((len(row.operand_names), *shape)).astype(dtype))


def agree(evaluate, name, operands, target, **kwargs):
    given = evaluate(name, operands, target, **kwargs)
    expected = oracle.loss(name, operands, target, **kwargs)
    oracle.assert_results_agree(given, expected)
    return given


def test_the_oracle_reduces_in_the_order_of_the_library():
    # The list of the contract; a reduction more would otherwise go untested.
    with pytest.raises(ValueError, match=", ".join(oracle.REDUCTIONS)):
        fastcos.hinge_embedding_loss([1.0], [1], reduction="median")


def test_there_are_parameters_for_every_loss():
    assert set(LOSSES) == set(oracle.LOSSES)


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("reduction", oracle.REDUCTIONS)
@pytest.mark.parametrize("name", oracle.LOSSES)
def test_weights_and_reductions(rng, evaluate, name, reduction, weight):
    target = LABELS if oracle.LOSSES[name].has_target else None
    given = agree(
        evaluate,
        name,
        operands_of(rng, name, (N,)),
        target,
        weight=WEIGHTS[weight](rng),
        reduction=reduction,
        grad_output=1.75,
        **LOSSES[name],
    )
    assert np.shape(given.value) == ((N,) if reduction == "none" else ())
    nothing = "zero" in weight and weight != "some zero"
    if nothing and reduction == "mean":
        assert given.value == 0
        assert not any(g.any() for g in given.grads)
    if not nothing:
        assert np.any(given.value)
        assert all(g.any() for g in given.grads)


@pytest.mark.parametrize("shape", [(4, 1), (1, 5), (4, 5), (1, 1), ()])
@pytest.mark.parametrize("reduction", oracle.REDUCTIONS)
@pytest.mark.parametrize("name", oracle.LOSSES)
def test_weights_broadcast_to_a_grid_of_samples(rng, evaluate, name, reduction, shape):
    target = GRID if oracle.LOSSES[name].has_target else None
    weight = rng.uniform(0.5, 2, shape)
    if weight.size > 1:
        weight.flat[1] = 0  # counts once for each sample that it is broadcast to
    given = agree(
        evaluate,
        name,
        operands_of(rng, name, (4, 5)),
        target,
        weight=weight,
        reduction=reduction,
        grad_output=-1.25,
        **LOSSES[name],
    )
    assert np.shape(given.weight_grad) == shape


@pytest.mark.parametrize("reduction", oracle.REDUCTIONS)
@pytest.mark.parametrize("name", ["cosine_embedding_loss", "hinge_embedding_loss"])
def test_targets_broadcast_to_a_grid_of_samples(rng, evaluate, name, reduction):
    operands = operands_of(rng, name, (4, 5))
    for target in (GRID[:, :1], GRID[:1], GRID[:1, :1], -1):
        kwargs = {"reduction": reduction, "weight": rng.uniform(0.5, 2, (1, 5)), **LOSSES[name]}
        agree(evaluate, name, operands, target, **kwargs)


def test_upstream_gradients_and_weights_broadcast_to_a_grid_of_samples(rng, evaluate):
    for shape in ((4, 1), (1, 5), (4, 5), (1, 1)):
        agree(
            evaluate,
            "cosine_embedding_loss",
            operands_of(rng, "cosine_embedding_loss", (4, 5)),
            GRID,
            weight=rng.uniform(0.5, 2, (4, 1)),
            reduction="none",
            grad_output=rng.standard_normal(shape),
        )


@pytest.mark.parametrize("reduction", oracle.REDUCTIONS)
@pytest.mark.parametrize("name", ["cosine_embedding_loss", "triplet_margin_loss"])
def test_reductions_in_float32(rng, evaluate, name, reduction):
    target = LABELS if oracle.LOSSES[name].has_target else None
    operands = operands_of(rng, name, (N,), np.float32)
    for weight in (None, rng.uniform(-1, 2, N), rng.uniform(0, 2, N).astype(np.float32)):
        given = agree(
            evaluate,
            name,
            operands,
            target,
            weight=weight,
            reduction=reduction,
            **LOSSES[name],
        )
        assert given.value.dtype == np.float32
        if weight is not None:
            assert given.weight_grad.dtype == weight.dtype


def test_a_weight_of_integers_or_bools_is_a_weight(rng):
    x, y = operands_of(rng, "cosine_distance_loss", (N,))
    for weight in (np.arange(N), np.arange(N) % 2 == 0, list(range(N))):
        for reduction in oracle.REDUCTIONS:
            kwargs = {"reduction": reduction}
            given = fastcos.cosine_distance_loss(x, y, weights=weight, **kwargs)
            right = fastcos.cosine_distance_loss(x, y, weights=np.float64(weight), **kwargs)
            oracle.assert_same_bits(given, right)


def test_the_gradient_of_the_weight_alone_by_its_name(rng):
    x, y = operands_of(rng, "cosine_distance_loss", (N,))
    weight = rng.uniform(0.5, 2, N)
    for reduction in oracle.REDUCTIONS:
        value, g = value_and_grad(fastcos.cosine_distance_loss, "weights")(
            x, y, weights=weight, reduction=reduction, grad_output=3.0
        )
        expected = oracle.loss(
            "cosine_distance_loss", (x, y), weight=weight, reduction=reduction, grad_output=3.0
        )
        oracle.assert_within_ulps(value, expected.value, 32, scale=expected.magnitude)
        oracle.assert_within_ulps(g, expected.weight_grad, 32, scale=expected.weight_magnitude)
        assert isinstance(g, np.ndarray)
        assert np.any(g)


def test_the_default_weight_of_the_cosine_distance_loss_has_a_gradient(rng):
    x, y = operands_of(rng, "cosine_distance_loss", (N,))
    f = value_and_grad(fastcos.cosine_distance_loss, ("weights",))
    # Σ w l / #(w ≠ 0) by the one w that all samples share
    value, (g,) = f(x, y)
    assert np.shape(g) == ()
    np.testing.assert_allclose(g, value, rtol=1e-14)


@pytest.mark.parametrize("name", oracle.LOSSES)
def test_the_default_reduction(rng, name):
    target = LABELS if oracle.LOSSES[name].has_target else None
    operands = operands_of(rng, name, (N,))
    args = (*operands, target) if target is not None else operands
    weight = {"weights" if name == "cosine_distance_loss" else "weight": np.arange(N) * 0.5}
    loss = getattr(fastcos, name)
    given = loss(*args, **weight)
    oracle.assert_same_bits(given, loss(*args, reduction=oracle.LOSSES[name].reduction, **weight))
    assert given != loss(*args, reduction="sum_over_batch_size", **weight)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", oracle.LOSSES)
def test_an_empty_batch(name):
    row = oracle.LOSSES[name]
    shape = (0, D) if row.on_rows else (0,)
    operands = [np.empty(shape, np.float32) for _ in row.operand_names]
    target = [np.empty(0)] if row.has_target else []
    weight_name = "weights" if name == "cosine_distance_loss" else "weight"
    f = value_and_grad(getattr(fastcos, name), (*row.operand_names, weight_name))
    for weight in (1.0, np.empty(0)):
        for reduction in oracle.REDUCTIONS:
            value, grads = f(*operands, *target, reduction=reduction, **{weight_name: weight})
            assert value.dtype == np.float32
            if reduction == "none":
                assert value.shape == (0,)
            elif reduction == "mean":
                assert np.isnan(value)
            else:
                assert value == 0
            assert [np.shape(g) for g in grads] == [shape] * len(operands) + [np.shape(weight)]
            assert not any(np.any(g) for g in grads)


def test_an_empty_gallery_leaves_the_query_without_gradient():
    query, gallery = np.ones(D), np.empty((0, D))
    value, (gq, gg) = value_and_grad(fastcos.cosine_embedding_loss)(
        query, gallery, 1, reduction="sum"
    )
    assert value == 0
    oracle.assert_same_bits(gq, np.zeros(D))
    assert gg.shape == (0, D)


def test_a_weight_of_zero_counts_or_not_as_the_reduction_says():
    losses = np.array([1.0, 2.0, 4.0, 8.0])
    weight = np.array([1.0, 0.0, 0.5, 0.0])
    given = {
        reduction: fastcos.hinge_embedding_loss(losses, 1, weight=weight, reduction=reduction)
        for reduction in oracle.REDUCTIONS
    }
    np.testing.assert_array_equal(given.pop("none"), [1, 0, 2, 0])
    assert given == {
        "sum": 3,
        "mean": 2,
        "sum_over_batch_size": 0.75,
        "sum_by_nonzero_weights": 1.5,
    }


@pytest.mark.parametrize("dtype", FLOATS)
def test_sums_are_kept_wide(dtype):
    # In float32 the 1s would be lost beside 2^26, and the last sum would be out of range.
    x = np.array([2.0**26] + [1.0] * 64 + [-(2.0**26)], dtype)
    assert fastcos.hinge_embedding_loss(x, 1, reduction="sum") == 64
    big = np.finfo(np.float32).max
    x = np.array([big, big, -big], dtype)
    assert fastcos.hinge_embedding_loss(x, 1, reduction="sum") == big
