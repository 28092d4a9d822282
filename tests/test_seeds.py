"""The examples of the documents that the library grew from, on NumPy arrays.

Shapes, margins and printed values are theirs; their data are random, so the results are checked
against the definitions that they state.
"""

import tracemalloc

import numpy as np
import oracle
import pytest

import fastcos
from fastcos import distances, value_and_grad

# --------------------------------------------------------------------------------------------------
# 000: CosineEmbeddingLoss, four uses
# --------------------------------------------------------------------------------------------------


def randn(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def check(operands, target, **parameters):
    """Loss and gradients of the mean against the oracle; returns them."""
    value, grads = value_and_grad(fastcos.cosine_embedding_loss)(*operands, target, **parameters)
    expected = oracle.loss("cosine_embedding_loss", operands, target, **parameters)
    oracle.assert_results_agree(oracle.Result(value, grads), expected)
    oracle.assert_same_bits(fastcos.cosine_embedding_loss(*operands, target, **parameters), value)
    return value, grads


def test_similar_pairs_of_a_siamese_network(rng):
    embedding1, embedding2 = randn(rng, 32, 128), randn(rng, 32, 128)
    loss, _ = check((embedding1, embedding2), np.ones(32, np.float32), margin=0.0)
    c = oracle.distance("cosine_similarity", embedding1, embedding2)[0]
    assert loss == pytest.approx(float((1 - c).mean()), rel=1e-6)


def test_similar_and_dissimilar_pairs_in_one_batch(rng):
    pos1, pos2, neg1, neg2 = (randn(rng, 16, 128) for _ in range(4))
    pos2 = pos1 + pos2 / 2
    neg2[:8] += neg1[:8]
    embeddings1, embeddings2 = np.concatenate([pos1, neg1]), np.concatenate([pos2, neg2])
    target = np.concatenate([np.ones(16, np.float32), -np.ones(16, np.float32)])
    loss, (g1, _) = check((embeddings1, embeddings2), target, margin=0.0)
    # "simultaneously pulls similar pairs together and pushes dissimilar apart"
    step = embeddings1 - 0.1 * g1 / np.abs(g1).max()
    before = fastcos.cosine_similarity(embeddings1, embeddings2)
    after = fastcos.cosine_similarity(step, embeddings2)
    costs = fastcos.cosine_embedding_loss(embeddings1, embeddings2, target, reduction="none") > 0
    assert costs[:16].all()
    assert costs[16:].any()
    assert (np.sign(after - before) == target)[costs].all()
    assert (after == before)[~costs].all()
    assert fastcos.cosine_embedding_loss(step, embeddings2, target) < loss


def test_face_verification_with_a_margin(rng):
    face1 = randn(rng, 1, 512)
    face2 = face1 + randn(rng, 1, 512)
    c = float(oracle.distance("cosine_similarity", face1, face2)[0][0])
    assert c > 0.25
    loss, _ = check((face1, face2), np.array([1]), margin=0.25)
    assert loss == pytest.approx(1 - c, rel=1e-6)
    loss, _ = check((face1, face2), np.array([-1]), margin=0.25)
    assert loss == pytest.approx(c - 0.25, rel=1e-6)
    # The document's own definition has one margin for both: max(0, margin - c) for similar pairs.
    loss, grads = check((face1, face2), np.array([1]), margin=0.25, pos_margin=0.25)
    assert loss == 0
    assert not np.any(grads)
    loss, _ = check((face1, -face2), np.array([1]), margin=0.25, pos_margin=0.25)
    assert loss == pytest.approx(0.25 + c, rel=1e-6)


def gallery(rng, dtype=np.float32, samples=1000):
    query = rng.standard_normal(256)
    gallery = rng.standard_normal((samples, 256))
    gallery[: 3 * samples // 10] += query
    target = np.where(np.arange(samples) < samples // 10, 1.0, -1.0)
    return query.astype(dtype), gallery.astype(dtype), target


def test_a_query_against_a_gallery(rng, device):
    samples = 1000 if device != "simulated" else 40
    query, embeddings, target = gallery(rng, samples=samples)
    loss, (gq, gg) = check((query, embeddings), target, margin=0.1)
    assert gq.shape == (256,)
    assert gg.shape == (samples, 256)
    # As the document does it, with the query expanded to a batch.
    batch = np.broadcast_to(query[None], (samples, 256))
    expanded, (gb, same) = value_and_grad(fastcos.cosine_embedding_loss)(
        batch, embeddings, target, margin=0.1
    )
    oracle.assert_same_bits(expanded, loss)
    if device == "numpy":
        oracle.assert_same_bits(same, gg)
    else:
        # Beside a gradient that is added up in float64, the others are computed in float64 too.
        oracle.assert_rows_within_ulps(same, gg.astype(np.float64), 4)
    oracle.assert_rows_within_ulps(gq, gb.astype(np.float64).sum(axis=0), 4)


def peak(call):
    """The most memory that a call held at a time, in bytes."""
    call()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.host
def test_a_query_against_a_gallery_makes_no_copy_of_the_query(rng):
    query, embeddings, target = gallery(rng, np.float64)
    copy = embeddings.nbytes
    assert peak(lambda: embeddings.copy()) >= copy  # the measure does measure
    value = fastcos.cosine_embedding_loss
    assert peak(lambda: value(query, embeddings, target, margin=0.1)) < copy / 20
    # The gradient of the query is summed in 256 parts at most, each a row.
    of_query = value_and_grad(value, "input1")
    assert peak(lambda: of_query(query, embeddings, target, margin=0.1)) < copy / 2
    # With both gradients: that of the gallery, and those parts.
    of_both = value_and_grad(value)
    assert peak(lambda: of_both(query, embeddings, target, margin=0.1)) < 1.5 * copy
    out = np.empty_like(query), np.empty_like(embeddings)
    assert peak(lambda: of_both(query, embeddings, target, margin=0.1, out=out)) < copy / 2


# --------------------------------------------------------------------------------------------------
# 001: the cosine distance loss of TensorFlow
# --------------------------------------------------------------------------------------------------

T1, T2 = [[1, 4, 5], [5, 5, 7]], [[3, 2, 5], [3, 2, 7]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_the_printed_loss_of_two_rows(dtype):
    t1, t2 = np.array(T1, dtype), np.array(T2, dtype)
    loss = fastcos.cosine_distance_loss(t1, t2, axis=1)
    # The printed one is 1 - c in float32, so c was rounded by up to 2⁻²⁵, and so was the mean.
    assert abs(loss - 0.077168673) < 2**-24
    exact = oracle.loss("cosine_distance_loss", (t1, t2), axis=1).value
    oracle.assert_within_ulps(loss, exact, 4, scale=None if dtype == np.float32 else 1)
    assert loss == pytest.approx(fastcos.cosine_distance_loss(t1.T, t2.T, axis=0), rel=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_printed_loss_of_rows_normalised_beforehand(dtype):
    # The document's own steps: tf.nn.l2_normalize, then 1 - Σ labels · predictions.
    t1, t2 = (np.array(t, dtype) for t in (T1, T2))
    t1_norm, t2_norm = (t / np.linalg.norm(t, axis=1, keepdims=True) for t in (t1, t2))
    for normalize in (True, False):
        loss = fastcos.cosine_distance_loss(t1_norm, t2_norm, axis=1, normalize=normalize)
        assert abs(loss - 0.077168673) < 1e-7
    # Without the first step the function does what it says: 1 - x·y, which is no distance.
    plain = fastcos.cosine_distance_loss(t1, t2, axis=1, normalize=False, reduction="none")
    np.testing.assert_array_equal(plain, [1 - 36, 1 - 74])


# --------------------------------------------------------------------------------------------------
# 002: TripletMarginWithDistanceLoss and its three distance functions
# --------------------------------------------------------------------------------------------------


@pytest.fixture
def triplet(rng):
    """Anchors, positives and negatives looked up in a table of 1000 embeddings."""
    embedding = rng.standard_normal((1000, 128))
    return tuple(embedding[rng.integers(0, 1000, 9)] for _ in range(3))


def loss_of(triplet, **options):
    return fastcos.triplet_margin_with_distance_loss(*triplet, **options)


def agrees(triplet, name, **options):
    function = options.pop("distance_function")
    expected = oracle.loss(
        "triplet_margin_with_distance_loss",
        triplet,
        distance_function=name,
        **options,
    )
    value = loss_of(triplet, distance_function=function, **options)
    oracle.assert_within_ulps(value, expected.value, 32, scale=expected.magnitude)
    return value, expected


def test_the_built_in_distance_function(triplet):
    value, expected = agrees(triplet, "euclidean", distance_function="euclidean")
    assert value > 0
    assert value == fastcos.triplet_margin_loss(*triplet, eps=0)
    f = value_and_grad(fastcos.triplet_margin_with_distance_loss)
    _, grads = f(*triplet, distance_function="euclidean")
    oracle.assert_results_agree(oracle.Result(value, grads), expected)


def test_no_distance_function_is_torchs_with_its_eps(triplet):
    value = loss_of(triplet)
    assert value == fastcos.triplet_margin_loss(*triplet)
    assert value == loss_of(triplet, distance_function=distances.euclidean(eps=1e-6))
    assert value != loss_of(triplet, distance_function="euclidean")
    _, grads = value_and_grad(fastcos.triplet_margin_with_distance_loss)(*triplet)
    expected = oracle.loss("triplet_margin_with_distance_loss", triplet)
    oracle.assert_results_agree(oracle.Result(value, grads), expected)


def l_infinity(x1, x2):
    return np.max(np.abs(x1 - x2), axis=1)


def test_the_custom_distance_function(triplet):
    options = {"margin": 1.5, "reduction": "none"}
    record = distances.chebyshev()
    given, expected = agrees(triplet, "chebyshev", distance_function=record, **options)
    by_callable, _ = agrees(triplet, "chebyshev", distance_function=l_infinity, **options)
    oracle.assert_within_ulps(by_callable, given, 4, scale=1)
    assert (given > 0).any()
    # The record has the gradient that the callable has not.
    f = value_and_grad(fastcos.triplet_margin_with_distance_loss)
    _, grads = f(*triplet, distance_function=record, **options)
    oracle.assert_results_agree(oracle.Result(given, grads), expected)
    with pytest.raises(TypeError, match=r"l_infinity.*Distance"):
        f(*triplet, distance_function=l_infinity, **options)


def test_the_custom_distance_function_that_is_a_lambda(triplet):
    def cosine_similarity(x, y):
        return (x * y).sum(axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)

    value, expected = agrees(triplet, "cosine", distance_function="cosine")
    by_callable = loss_of(triplet, distance_function=lambda x, y: 1.0 - cosine_similarity(x, y))
    by_ours = loss_of(triplet, distance_function=lambda x, y: 1.0 - fastcos.cosine_similarity(x, y))
    oracle.assert_within_ulps(by_callable, value, 8, scale=1)
    oracle.assert_within_ulps(by_ours, value, 8, scale=1)
    _, grads = value_and_grad(fastcos.triplet_margin_with_distance_loss)(
        *triplet, distance_function="cosine"
    )
    oracle.assert_results_agree(oracle.Result(value, grads), expected)


# --------------------------------------------------------------------------------------------------
# 003: CosineEmbeddingLoss and HingeEmbeddingLoss under three reductions
# --------------------------------------------------------------------------------------------------


@pytest.fixture
def batch(rng):
    a, b = randn(rng, 100, 128), randn(rng, 100, 128)
    return a, b, 2 * rng.integers(0, 2, 100) - 1


def test_the_cosine_embedding_loss_under_three_reductions(batch):
    a, b, y = batch
    losses = {
        reduction: fastcos.cosine_embedding_loss(a, b, y, margin=0.2, reduction=reduction)
        for reduction in ("none", "sum", "mean")
    }
    for reduction, value in losses.items():
        expected = oracle.loss("cosine_embedding_loss", (a, b), y, margin=0.2, reduction=reduction)
        oracle.assert_within_ulps(value, expected.value, 4)
    # "none seems to return a scalar too, why?" Here it does not.
    assert losses["none"].shape == (100,)
    assert losses["sum"] == pytest.approx(losses["none"].astype(np.float64).sum(), rel=1e-6)
    assert losses["mean"] == pytest.approx(losses["sum"] / 100, rel=1e-6)
    # Easy samples cost nothing: y = -1 and a cosine below the margin.
    easy = (y == -1) & (oracle.distance("cosine_similarity", a, b)[0] < 0.2)
    np.testing.assert_array_equal(losses["none"] == 0, easy)


def test_the_hinge_embedding_loss_under_three_reductions(batch):
    a, b, y = batch
    x = 1 - fastcos.cosine_similarity(a, b)
    losses = {
        reduction: fastcos.hinge_embedding_loss(x, y, margin=0.2, reduction=reduction)
        for reduction in ("none", "sum", "mean")
    }
    for reduction, value in losses.items():
        expected = oracle.loss("hinge_embedding_loss", (x,), y, margin=0.2, reduction=reduction)
        oracle.assert_within_ulps(value, expected.value, 4)
    assert losses["none"].shape == (100,)
    np.testing.assert_array_equal(losses["none"][y == 1], x[y == 1])
    np.testing.assert_array_equal(losses["none"][(y == -1) & (x > 0.2)], 0)
    # As in the document: about half of the samples are dissimilar and far apart.
    assert 0.3 < (losses["none"] == 0).mean() < 0.7
    assert losses["mean"] == pytest.approx(losses["sum"] / 100, rel=1e-6)
