"""``fastcos.sklearn``: that it learns, and that it is an estimator as scikit-learn has them."""

import pickle
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

import fastcos
from fastcos import _extras
from fastcos.typing import LossName

pytest.importorskip("sklearn", reason="scikit-learn is in the extra 'learn'")
from scipy.optimize import minimize
from scipy.spatial import distance as scipy_distance
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_info

from fastcos.sklearn import LinearEmbedding, losses, samples, solvers

#: Too few iterations are enough for most tests.
unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BY_KIND = {
    kind: [name for name, its in losses.KINDS.items() if its == kind]
    for kind in ("pairs", "triplets", "matches", "labels", "proxies", "directions")
}
OF_LABELS = [name for name in losses.LOSSES if name not in BY_KIND["matches"]]
OPTIONS = {
    "cosine_embedding_loss": {"margin": 0.2, "pos_margin": 0.9},
    "hinge_embedding_loss": {"margin": 4.0, "distance": "sqeuclidean"},
    "triplet_margin_with_distance_loss": {"distance": "manhattan"},
    "supervised_contrastive_loss": {"temperature": 0.5},
    "circle_loss": {"gamma": 2.0},
    "sigmoid_contrastive_loss": {"bias": -1.0},
}


def classes(rng, y, noise):
    """Four classes that two of six features tell apart; the other four are noise."""
    X = rng.standard_normal((len(y), 6)) * [1, 1, noise, noise, noise, noise] + 5
    X[:, 0] += 6 * (y % 2)
    X[:, 1] += 6 * (y // 2)
    return X


@pytest.fixture
def rows(rng):
    y = np.repeat(np.arange(4), 15)
    return classes(rng, y, noise=3), y


def told(kind, y, rng):
    """Numbers of rows, and what is said of them."""
    count = len(y)
    if kind == "triplets":
        drawn = rng.integers(count, size=(2000, 3))
        a, p, n = y[drawn].T
        return drawn[(a == p) & (a != n)], None
    drawn = rng.integers(count, size=(150, 2))
    same = y[drawn[:, 0]] == y[drawn[:, 1]]
    return (drawn[same], None) if kind == "matches" else (drawn, np.where(same, 1, -1))


def learned(loss, X, y, rng, **options):
    """An estimator that was told what the loss takes, and what it was told."""
    kind = losses.KINDS[loss]
    embedding = LinearEmbedding(
        loss=loss, loss_options=OPTIONS.get(loss), random_state=0, **{"max_iter": 8, **options}
    )
    if kind in ("pairs", "matches"):
        drawn, alike = told(kind, y, rng)
        return embedding.fit_pairs(X, drawn, alike), drawn, alike
    if kind == "triplets":
        drawn, _ = told(kind, y, rng)
        return embedding.fit_triplets(X, drawn), drawn, None
    return embedding.fit(X, y), None, y


# -- scikit-learn's own checks ---------------------------------------------------------------------


@unconverged
@parametrize_with_checks(
    [
        LinearEmbedding(),
        LinearEmbedding(solver="sgd", loss="arcface"),
        LinearEmbedding(loss="cosine_embedding", init="random", n_tuples=100),
        LinearEmbedding(loss="triplet_margin", solver="sgd", n_tuples=100),
        LinearEmbedding(loss="cosine_distance", init="identity"),
    ]
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


# -- the objective ---------------------------------------------------------------------------------


def test_every_loss_of_the_library_has_a_kind():
    names = [name for name in LossName.__args__ if name.endswith("_loss")]
    assert names == list(losses.KINDS)
    assert set(LossName.__args__) - set(names) == {"cosine_similarity", "paired_distance"}
    assert all(BY_KIND.values())


def direct(loss, z, drawn, alike, proxies):
    """The loss of projected rows as a user calls it, with copies of the rows."""
    kind, function, options = losses.KINDS[loss], losses.LOSSES[loss], dict(OPTIONS.get(loss, {}))
    if loss == "hinge_embedding_loss":
        far = fastcos.paired_distance(*z[drawn.T], options.pop("distance"))
        return function(far, alike, **options)
    if loss == "triplet_margin_with_distance_loss":
        options["distance_function"] = options.pop("distance")
    if kind in ("pairs", "triplets", "matches"):
        return function(*z[drawn.T], *(() if alike is None else (alike,)), **options)
    if kind == "directions":
        return function(proxies[alike], z, **options)
    return function(z, *((proxies,) if kind == "proxies" else ()), alike, **options)


def test_the_temperature_where_nothing_is_said(rows):
    X, y = rows[:2]
    found, said = (
        LinearEmbedding(2, loss_options=options).fit(X, y).components_
        for options in (None, {"temperature": 0.2})
    )
    np.testing.assert_array_equal(found, said)


@unconverged
@pytest.mark.parametrize("loss", losses.LOSSES)
def test_the_curve_is_the_loss_and_the_penalty(rows, rng, loss):
    X, y = rows
    found, drawn, alike = learned(loss, X, y, rng, init="identity", n_components=3, penalty=0.1)
    proxies = getattr(found, "proxies_", None)
    assert (proxies is not None) == (losses.KINDS[loss] in ("proxies", "directions"))
    value = direct(loss, found.transform(X), drawn, alike, proxies)
    moved = found.components_ - np.eye(3, 6)
    assert found.loss_curve_[-1] == pytest.approx(value + 0.1 * np.sum(moved**2), rel=1e-9)
    assert np.any(moved)
    assert np.all(np.diff(found.loss_curve_) <= 0)
    assert found.n_iter_ == len(found.loss_curve_) <= 8


@pytest.mark.parametrize("loss", losses.LOSSES)
def test_gradients_match_finite_differences(rows, rng, loss):
    X, y = rows
    kind = losses.KINDS[loss]
    drawn, alike = np.arange(60)[:, None], y
    if kind in ("pairs", "triplets", "matches"):
        drawn, alike = told(kind, y, rng)
    given = samples.Samples(drawn, alike)
    directions = rng.standard_normal((4, 3)) if kind == "directions" else None
    size = 18 + (12 if kind == "proxies" else 0)
    objective = solvers.Objective(
        losses.loss_of(loss, OPTIONS.get(loss)), rng.standard_normal((3, 6)), directions, 0.1
    )
    flat, along = rng.standard_normal((2, size))
    step = 1e-6
    up, down = (solvers.evaluate(objective, flat + h * along, X, given)[0] for h in (step, -step))
    _, gradient = solvers.evaluate(objective, flat, X, given)
    # The weights of the circle loss are constants to its gradient, as in the paper.
    if loss != "circle_loss":
        assert gradient @ along == pytest.approx((up - down) / (2 * step), rel=1e-5)


def supervised_contrastive(z, y, temperature):
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    s = z @ z.T / temperature
    np.fill_diagonal(s, -np.inf)
    log_p = s - np.log(np.exp(s).sum(axis=1, keepdims=True))
    same = (y[:, None] == y) & ~np.eye(len(y), dtype=bool)
    return -np.mean(np.where(same, log_p, 0).sum(axis=1) / same.sum(axis=1))


def hinge_of_squares(z, drawn, alike, margin):
    d = np.sum((z[drawn[:, 0]] - z[drawn[:, 1]]) ** 2, axis=1)
    return np.mean(np.where(alike > 0, d, np.maximum(0, margin - d)))


@pytest.mark.parametrize("loss", ["supervised_contrastive", "hinge_embedding"])
def test_the_optimum_is_that_of_the_formula(rows, rng, loss):
    # Found by another optimiser, without a gradient, on the formula written out.
    X, y = rows
    X = X[:, ::-1]  # it starts from noise
    centred = X - X.mean(axis=0)
    start = np.eye(2, 6)
    embedding = LinearEmbedding(2, loss, init="identity", penalty=0.2, tol=1e-7, max_iter=500)
    if loss == "hinge_embedding":
        drawn, alike = told("pairs", y, rng)
        embedding.set_params(loss_options={"margin": 30.0, "distance": "sqeuclidean"})
        found = embedding.fit_pairs(X, drawn, alike)
    else:
        found = embedding.set_params(loss_options={"temperature": 0.5}).fit(X, y)

    def objective(flat):
        components = flat.reshape(2, 6)
        z = centred @ components.T
        if loss == "hinge_embedding":
            value = hinge_of_squares(z, drawn, alike, 30.0)
        else:
            value = supervised_contrastive(z, y, 0.5)
        return value + 0.2 * np.sum((components - start) ** 2)

    expected = minimize(objective, start.ravel(), method="BFGS")
    assert objective(start.ravel()) > 1.05 * expected.fun
    assert found.loss_curve_[-1] == pytest.approx(objective(found.components_.ravel()), rel=1e-9)
    assert found.loss_curve_[-1] == pytest.approx(expected.fun, rel=1e-3)
    if loss == "supervised_contrastive":  # smooth, and so the place is known as well
        np.testing.assert_allclose(found.components_, expected.x.reshape(2, 6), atol=2e-3)


# -- starts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [20, 60])
def test_the_start_is_the_principal_axes(rng, count):
    X = rng.standard_normal((count, 30)) * np.arange(1, 31) + 7
    y = np.arange(count) % 3
    heavy = LinearEmbedding(5, penalty=1e6).fit(X, y)  # it does not move
    axes = PCA(5).fit(X)
    np.testing.assert_allclose(np.abs(heavy.components_ @ axes.components_.T), np.eye(5), atol=1e-6)
    np.testing.assert_allclose(heavy.mean_, X.mean(axis=0))
    assert (heavy.components_.max(axis=1) > -heavy.components_.min(axis=1)).all()


def test_more_components_than_rows_are_orthonormal(rng):
    X, y = rng.standard_normal((6, 10)), [0, 0, 1, 1, 2, 2]
    found = LinearEmbedding(penalty=1e6).fit(X, y)
    assert found.components_.shape == (10, 10)
    np.testing.assert_allclose(found.components_ @ found.components_.T, np.eye(10), atol=1e-5)


def test_directions_are_as_far_apart_as_can_be(rows):
    X, y = rows
    found = LinearEmbedding(loss="cosine_distance").fit(X, y)
    cosines = 1 - scipy_distance.cdist(found.proxies_, found.proxies_, "cosine")
    np.testing.assert_allclose(cosines, np.where(np.eye(4), 1, -1 / 3), atol=1e-12)
    z = found.transform(X)
    means = np.stack([z[y == label].mean(axis=0) for label in range(4)])
    near = 1 - scipy_distance.cdist(means, found.proxies_, "cosine")
    np.testing.assert_array_equal(near.argmax(axis=1), range(4))


# -- learning --------------------------------------------------------------------------------------


@unconverged
@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
@pytest.mark.parametrize("loss", OF_LABELS)
def test_held_out_neighbours_get_better(rng, loss, solver):
    y = np.repeat(np.arange(4), 30)
    X = classes(rng, y, noise=6)
    X, other, y, its = train_test_split(X, y, test_size=0.5, stratify=y, random_state=0)
    options = {"margin": 4.0, "distance": "sqeuclidean"} if loss == "hinge_embedding_loss" else None
    embedding = LinearEmbedding(4, loss, loss_options=options, solver=solver, random_state=0)
    embedding.set_params(n_tuples=1000, max_iter=80, batch_size=30, learning_rate=0.1, penalty=1e-3)
    metric = "euclidean" if "triplet" in loss or loss == "hinge_embedding_loss" else "cosine"
    neighbours = KNeighborsClassifier(1, metric=metric)
    before = neighbours.fit(X, y).score(other, its)
    after = make_pipeline(embedding, neighbours).fit(X, y).score(other, its)
    assert before < 0.75
    assert after > before + 0.15
    assert after > (0.7 if loss == "proxy_anchor_loss" else 0.85)  # its default alpha is sharp


@unconverged
@pytest.mark.parametrize("loss", BY_KIND["matches"])
def test_pairs_that_belong_together(rng, loss):
    shared = rng.standard_normal((40, 2)) * 3
    noise = rng.standard_normal((80, 4)) * 5
    X = np.concatenate([np.concatenate([shared, shared]), noise], axis=1)
    X[:, :2] += rng.standard_normal((80, 2)) * 0.1
    pairs = np.stack([np.arange(40), np.arange(40, 80)], axis=1)

    def right(z):
        return fastcos.measures.recall_at_k(
            z[:40], range(40), gallery=z[40:], gallery_labels=range(40)
        )

    found = LinearEmbedding(2, loss, random_state=0, penalty=0.0).fit_pairs(X, pairs)
    assert right(X) < 0.3
    assert right(found.transform(X)) > 0.4
    same = LinearEmbedding(2, loss, random_state=0, penalty=0.0).fit_pairs(X, pairs, np.ones(40))
    np.testing.assert_array_equal(same.components_, found.components_)


@unconverged
def test_a_loss_by_name_by_its_function_and_as_a_record(rows):
    X, y = rows

    def components(loss):
        return LinearEmbedding(2, loss, max_iter=5).fit(X, y).components_

    expected = components("supervised_contrastive_loss")
    for loss in ("supervised_contrastive", fastcos.supervised_contrastive_loss):
        np.testing.assert_array_equal(components(loss), expected)
    mean = fastcos.Listwise(
        "mean of other labels",
        start=lambda row: (1.0,),
        accumulate=lambda sums, c, each: (sums[0] + (0.0 if each.positive else each.s),),
        finalize=lambda sums, c, row: (sums[0], 1.0, c),
        slope=lambda c, each: 0.0 if each.positive else c[0],
    )
    found = LinearEmbedding(2, mean, max_iter=20, penalty=0.0).fit(X, y)
    assert found.loss_curve_[-1] < found.loss_curve_[0]


def test_a_distance_of_ones_own(rows):
    X, y = rows
    square = fastcos.Distance(
        "half of the square",
        init=lambda zero: (zero,),
        accumulate=lambda state, x, y: (state[0] + (x - y) ** 2 / 2,),
        finalize=lambda state: state[0],
        gradient=lambda state, d, x, y: (x - y, y - x),
    )
    embedding = LinearEmbedding(2, "triplet_margin_with_distance", random_state=0, n_tuples=300)
    own = embedding.set_params(loss_options={"distance": square, "margin": 2.0}).fit(X, y)
    scores = own.score_pairs(X, [[0, 1], [0, 59]])
    other = {"distance_function": "sqeuclidean", "margin": 4.0}
    twice = clone(embedding).set_params(loss_options=other, penalty=2 * 0.03).fit(X, y)
    np.testing.assert_allclose(own.components_, twice.components_, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(2 * scores, twice.score_pairs(X, [[0, 1], [0, 59]]), rtol=1e-2)


def test_fit_draws_what_fit_pairs_and_fit_triplets_take(rows):
    X, y = rows
    seed = np.random.RandomState(3).randint(2**31 - 1)
    for loss, draw in (
        ("cosine_embedding", samples.draw_pairs),
        ("triplet_margin", samples.draw_triplets),
    ):
        embedding = LinearEmbedding(2, loss, n_tuples=200, random_state=3).fit(X, y)
        expected = embedding.components_
        drawn, alike = draw(y, 200, np.random.default_rng(seed))
        assert drawn.shape == (200, 2 if loss == "cosine_embedding" else 3)
        found = (
            embedding.fit_triplets(X, drawn)
            if alike is None
            else embedding.fit_pairs(X, drawn, alike)
        )
        np.testing.assert_array_equal(found.components_, expected)
        assert not hasattr(found, "classes_")


@pytest.mark.parametrize("loss", ["hinge_embedding", "triplet_margin"])
def test_rows_that_are_not_named_count_for_the_start_alone(rows, rng, loss):
    X, y = rows
    drawn, alike = told("triplets" if loss == "triplet_margin" else "pairs", y[:20], rng)
    more = () if alike is None else (alike,)

    def fit(X, drawn):
        embedding = LinearEmbedding(2, loss, init="identity")
        return (embedding.fit_triplets if alike is None else embedding.fit_pairs)(X, drawn, *more)

    # Distances are of differences: the mean does not matter to them.
    alone, among = fit(X[:20], drawn), fit(X, drawn)
    np.testing.assert_allclose(among.components_, alone.components_, rtol=1e-4, atol=1e-5)
    backwards = fit(X, drawn - 60)
    np.testing.assert_array_equal(backwards.components_, among.components_)


def test_rows_that_are_named_from_both_ends(rows):
    X = rows[0][::15]
    embedding = LinearEmbedding(2, "hinge_embedding", init="identity")
    expected = embedding.fit_pairs(X, [[0, 1], [2, 3]], [1, -1]).components_
    found = embedding.fit_pairs(X, [[0, 1], [2, -1]], [1, -1]).components_
    np.testing.assert_array_equal(found, expected)


# -- what is drawn ---------------------------------------------------------------------------------


def test_pairs_are_what_they_say(rng):
    y = rng.integers(5, size=300)
    rows, alike = samples.draw_pairs(y, 1001, rng)
    assert np.count_nonzero(alike == 1) == np.count_nonzero(alike == -1) == 500
    np.testing.assert_array_equal(y[rows[:, 0]] == y[rows[:, 1]], alike == 1)
    assert (rows[:, 0] != rows[:, 1]).all()
    assert len({frozenset(pair) for pair in rows.tolist()}) == len(rows)


def test_few_rows_give_all_their_pairs(rng):
    y = np.array([7, 8, 7, 7])
    rows, alike = samples.draw_pairs(np.unique(y, return_inverse=True)[1], 1000, rng)
    found = {frozenset(pair) for pair in rows.tolist()}
    assert found == {frozenset(pair) for pair in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))}
    assert (alike > 0).sum() == 3


def test_triplets_are_each_as_likely(rng):
    y = np.array([0, 1, 0, 0, 1, 2])
    rows, nothing = samples.draw_triplets(y, 90_000, rng)
    assert nothing is None
    a, p, n = rows.T
    assert (a != p).all()
    assert (y[a] == y[p]).all()
    assert (y[a] != y[n]).all()
    triplets, counts = np.unique(rows, axis=0, return_counts=True)
    assert len(triplets) == 6 * 3 + 2 * 4
    assert np.abs(counts / (90_000 / 26) - 1).max() < 0.08  # 4.7 standard deviations


def test_of_many_rows_no_list_of_all_pairs_is_made(rng):
    y = rng.integers(3, size=1_000_000)  # half a million million pairs
    for draw in (samples.draw_pairs, samples.draw_triplets):
        assert len(draw(y, 1000, rng).rows) == 1000


# -- mini-batches ----------------------------------------------------------------------------------


def adam(gradient_of, flat, batches, share):
    """Algorithm 1 of Kingma and Ba, on as many batches."""
    m = v = np.zeros_like(flat)
    rate = share * np.sqrt(np.mean(flat**2))
    for t, batch in enumerate(batches, start=1):
        g = gradient_of(flat, batch)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        flat = flat - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return flat


def test_partial_fit_is_a_step_of_adam_for_each_batch(rows, rng):
    X, y = rows
    order = rng.permutation(60)
    X, y = X[order], y[order]
    mean, start = X[:40].mean(axis=0), np.eye(2, 6)
    f = fastcos.value_and_grad(fastcos.supervised_contrastive_loss, "x")

    def gradient_of(components, batch):
        centred = X[batch] - mean
        _, dz = f(centred @ components.T, y[batch], temperature=0.5)
        return dz.T @ centred + 2 * 0.1 * (components - start)

    parts = [slice(0, 20), slice(20, 40), slice(40, 60)]
    options = {"penalty": 0.1, "learning_rate": 0.03, "batch_size": 20, "init": "identity"}
    options["loss_options"] = {"temperature": 0.5}
    found = LinearEmbedding(2, **options)
    assert found.partial_fit(X[:40], y[:40]) is found  # two batches
    found.partial_fit(X[40:], y[40:])
    np.testing.assert_allclose(found.components_, adam(gradient_of, start, parts, 0.03), rtol=1e-9)
    np.testing.assert_allclose(found.mean_, mean)
    assert found.n_iter_ == len(found.loss_curve_) == 2
    # As in a process of its own.
    half = LinearEmbedding(2, **options).partial_fit(X[:40], y[:40])
    half = pickle.loads(pickle.dumps(half)).partial_fit(X[40:], y[40:])
    np.testing.assert_array_equal(half.components_, found.components_)


@unconverged
def test_partial_fit_goes_on_after_fit(rows):
    X, y = rows
    found = LinearEmbedding(2, max_iter=1).fit(X, y)
    first, start, mean = found.loss_curve_[-1], found.components_.copy(), found.mean_
    for _ in range(20):
        found.partial_fit(X + 1, y)
    assert found.mean_ is mean
    assert found.n_iter_ == 21
    assert found.loss_curve_[0] == first
    assert 0 < np.abs(found.components_ - start).max() < 1
    assert found.loss_curve_[-1] < found.loss_curve_[1]


@unconverged
def test_classes_that_come_later(rows):
    X, y = rows
    names = np.array(["ape", "bee", "cat", "dog"])[y]
    for loss in ("arcface", "cosine_distance"):
        found = LinearEmbedding(3, loss).partial_fit(X[:40], names[:40], classes=names)
        assert found.proxies_.shape == (4, 3)
        assert np.linalg.norm(found.proxies_, axis=1).min() > 0.1
        found.partial_fit(X[40:], names[40:])
        first = LinearEmbedding(3, loss).partial_fit(X[:40], names[:40])
        with pytest.raises(ValueError, match=r"y must be of the classes.*ape.*cat.*got.*'dog'"):
            first.partial_fit(X[40:], names[40:])
        assert first.fit(X, names).proxies_.shape == (4, 3)


@pytest.mark.parametrize("loss", ["supervised_contrastive", "cosine_embedding", "arcface"])
def test_mini_batches_end_near_the_optimum(rows, loss):
    X, y = rows
    options = {"penalty": 0.1, "random_state": 0, "n_tuples": 500}
    if loss == "arcface":
        options["loss_options"] = {"scale": 4.0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        best = LinearEmbedding(2, loss, max_iter=300, **options).fit(X, y)
        found = LinearEmbedding(
            2, loss, solver="sgd", max_iter=300, learning_rate=0.01, batch_size=500, **options
        ).fit(X, y)
    assert best.loss_curve_[-1] < found.loss_curve_[-1] < best.loss_curve_[-1] * 1.02
    assert found.loss_curve_[0] > best.loss_curve_[-1] * 1.02


def test_epochs_end_when_nothing_gets_better(rows):
    X, y = rows
    embedding = LinearEmbedding(2, solver="sgd", random_state=0, tol=100.0)
    assert embedding.fit(X, y).n_iter_ == 11  # the first, and ten that were not better by 100
    with pytest.warns(ConvergenceWarning, match="sgd did not converge in 3 iterations.*max_iter"):
        embedding.set_params(max_iter=3, tol=0.0).fit(X, y)


# -- an estimator ----------------------------------------------------------------------------------


def test_the_curve_the_count_and_the_warning(rows):
    X, y = rows
    with pytest.warns(ConvergenceWarning, match="lbfgs did not converge in 2 iterations.*scale X"):
        found = LinearEmbedding(2, max_iter=2).fit(X, y)
    assert found.n_iter_ == len(found.loss_curve_) == 2
    found = LinearEmbedding(2, max_iter=1000).fit(X, y)
    assert 2 < found.n_iter_ < 1000
    assert LinearEmbedding(2, tol=1e3).fit(X, y).n_iter_ == 1


@unconverged
@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
@pytest.mark.parametrize("loss", OF_LABELS)
def test_the_same_seed_gives_the_same_bits(rows, loss, solver):
    X, y = rows

    def fit(seed):
        embedding = LinearEmbedding(2, loss, solver=solver, max_iter=3, batch_size=50, n_tuples=100)
        return embedding.set_params(random_state=seed).fit(X, y)

    first, again, other = fit(1), fit(1), fit(2)
    np.testing.assert_array_equal(first.components_, again.components_)
    assert first.loss_curve_ == again.loss_curve_
    draws = solver == "sgd" or losses.KINDS[loss] in ("pairs", "triplets")
    assert np.array_equal(first.components_, other.components_) != draws


@unconverged
@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
@pytest.mark.parametrize("loss", ["supervised_contrastive", "hinge_embedding", "arcface"])
def test_float32_stays_float32(rows, loss, solver):
    X, y = rows
    X = X / 10
    options = {"loss": loss, "solver": solver, "random_state": 0, "penalty": 0.5, "n_tuples": 300}
    single = LinearEmbedding(2, **options).fit(X.astype(np.float32), y)
    double = LinearEmbedding(2, **options).fit(X, y)
    z = single.transform(X.astype(np.float32))
    for array in (z, single.components_, single.mean_, getattr(single, "proxies_", z)):
        assert array.dtype == np.float32
    assert double.components_.dtype == double.transform(X).dtype == np.float64
    assert single.score_pairs(X.astype(np.float32), [[0, 1]]).dtype == np.float32
    np.testing.assert_allclose(single.components_, double.components_, atol=0.02)


@unconverged
def test_pipeline_grid_search_clone_pickle(rows):
    X, y = rows
    names = np.array(["ape", "bee", "cat", "dog"])[y]
    pipeline = make_pipeline(LinearEmbedding(2, max_iter=20), KNeighborsClassifier(1))
    grid = {
        "linearembedding__loss": ["triplet_margin", fastcos.nca_loss],
        "linearembedding__penalty": [1e-3, 1e6],
        "linearembedding__n_tuples": [500],
    }
    search = GridSearchCV(pipeline, grid, cv=3).fit(X, names)
    assert search.best_score_ > 0.8
    assert search.best_params_["linearembedding__penalty"] == 1e-3
    best = search.best_estimator_[0]
    read = pickle.loads(pickle.dumps(best))
    np.testing.assert_array_equal(read.transform(X), best.transform(X))
    assert list(read.classes_) == ["ape", "bee", "cat", "dog"]
    copied = clone(best)
    assert copied.get_params() == best.get_params()
    with pytest.raises(NotFittedError):
        copied.transform(X)
    np.testing.assert_array_equal(
        copied.set_params(random_state=0).fit_transform(X, names), copied.transform(X)
    )


def test_pandas(rows):
    pandas = pytest.importorskip("pandas")
    X, y = rows
    frame = pandas.DataFrame(X, columns=list("abcdef"), index=np.arange(60) + 100)
    embedding = LinearEmbedding(2).set_output(transform="pandas")
    found = embedding.fit_transform(frame, pandas.Series(y))
    assert list(found.columns) == ["linearembedding0", "linearembedding1"]
    assert list(embedding.get_feature_names_out()) == list(found.columns)
    assert list(embedding.feature_names_in_) == list("abcdef")
    np.testing.assert_array_equal(found.index, frame.index)
    with pytest.raises(ValueError, match="feature names"):
        embedding.transform(frame[list("fedcba")])


@unconverged
@pytest.mark.parametrize("loss", ["supervised_contrastive", "arcface", "cosine_distance"])
def test_warm_start(rows, loss):
    X, y = rows
    whole = LinearEmbedding(2, loss, max_iter=300).fit(X, y)
    parts = LinearEmbedding(2, loss, max_iter=4, warm_start=True)
    curve = [value for _ in range(8) for value in parts.fit(X, y).loss_curve_]
    assert np.all(np.diff(curve) <= 1e-12 * np.abs(curve[1:]))
    assert whole.loss_curve_[-1] <= curve[-1] + 1e-9
    assert curve[-1] - whole.loss_curve_[-1] < 0.05 * (curve[0] - whole.loss_curve_[-1]) + 1e-6
    again = whole.set_params(warm_start=True).fit(X, y)
    assert again.n_iter_ < 30
    cold = LinearEmbedding(2, loss, max_iter=4)
    np.testing.assert_array_equal(
        cold.fit(X, y).components_, cold.fit(X, y).components_, err_msg="it starts anew"
    )
    with pytest.raises(ValueError, match=r"components of shape \(2, 6\).*\(3, 6\).*warm_start"):
        parts.set_params(n_components=3).fit(X, y)
    # Of other classes there are other proxies: here they come in the other order.
    before = getattr(parts, "proxies_", None)
    other = parts.set_params(n_components=2).fit(X, 13 - y)
    if before is not None:
        assert (fastcos.cosine_similarity(other.proxies_[::-1], before) > 0.9).all()
    assert not hasattr(other.set_params(loss="nca").fit(X, y), "proxies_")


@unconverged
def test_progress(rows, capsys):
    X, y = rows
    LinearEmbedding(2, max_iter=3).fit(X, y)
    assert capsys.readouterr().out == ""
    found = LinearEmbedding(2, max_iter=3, verbose=1).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith(
        f"[LinearEmbedding] iteration    2, loss {found.loss_curve_[1]:.6g}, "
    )
    seen = []
    found.set_params(solver="sgd", verbose=lambda *each: seen.append(each)).fit(X, y)
    assert seen == list(enumerate(found.loss_curve_, start=1))
    found.partial_fit(X, y)
    assert seen[-1] == (4, found.loss_curve_[-1])


def test_threads_of_blas_are_given_back(rows):
    X, y = rows

    def threads():
        return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]

    before, within = threads(), []
    LinearEmbedding(2, verbose=lambda *_: within.append(threads())).fit(X, y)
    assert threads() == before
    assert within[0] == [1] * len(before)


# -- scores of pairs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "options", "metric"),
    [
        ("supervised_contrastive", {}, lambda u, v: 1 - scipy_distance.cosine(u, v)),
        ("supervised_contrastive", {"distance": "dot"}, np.dot),
        ("circle", {}, lambda u, v: 1 - scipy_distance.cosine(u, v)),
        ("cosine_embedding", {}, lambda u, v: 1 - scipy_distance.cosine(u, v)),
        ("cosine_distance", {}, lambda u, v: 1 - scipy_distance.cosine(u, v)),
        ("cosine_distance", {"normalize": False}, np.dot),
        ("hinge_embedding", {}, lambda u, v: -scipy_distance.euclidean(u, v)),
        (
            "triplet_margin",
            {"p": 3, "eps": 0.0},
            lambda u, v: -scipy_distance.minkowski(u, v, 3),
        ),
        (
            "triplet_margin_with_distance",
            {"distance": fastcos.distances.manhattan()},
            lambda u, v: -scipy_distance.cityblock(u, v),
        ),
        ("triplet_margin_with_distance", {}, lambda u, v: -np.linalg.norm(u - v + 1e-6)),
        (
            "contrastive",
            {},
            lambda u, v: -np.linalg.norm(u / np.linalg.norm(u) - v / np.linalg.norm(v)),
        ),
    ],
)
@unconverged
def test_scores_are_by_the_distance_of_the_loss(rows, loss, options, metric):
    X, y = rows
    embedding = LinearEmbedding(3, loss, loss_options=options, max_iter=1, n_tuples=50)
    found = embedding.fit(X * 0.1, y)
    pairs = np.array([[0, 1], [5, -1], [2, 2]])
    z = found.transform(X)
    expected = [metric(z[i], z[j]) for i, j in pairs]
    np.testing.assert_allclose(found.score_pairs(X, pairs), expected, rtol=1e-9, atol=1e-9)


def test_scores_tell_pairs_apart(rows, rng):
    X, y = rows
    found = LinearEmbedding(2, "triplet_margin", random_state=0, penalty=1e-3).fit(X, y)
    drawn, alike = told("pairs", y, rng)
    scores = found.score_pairs(X, drawn)
    assert fastcos.measures.verification(scores, alike > 0).auc > 0.9


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "error", "said"),
    [
        ({"loss": "triplet_margn"}, ValueError, r"loss must be.*did you mean 'triplet_margin'"),
        ({"loss": fastcos.paired_distance}, TypeError, r"loss must be a loss.*Listwise; got"),
        ({"loss": 3}, TypeError, r"loss must be.*got 3"),
        (
            {"loss_options": {"temprature": 1}},
            ValueError,
            r"loss_options: supervised_contrastive_loss has no option 'temprature'.*'temperature'",
        ),
        ({"loss_options": {"weight": 1}}, ValueError, r"no option 'weight'\. It has temperature, "),
        ({"loss_options": [1]}, TypeError, r"loss_options must be None or a dict.*\[1\]"),
        ({"loss_options": {"reduction": "none"}}, ValueError, r"reduction must give one number"),
        ({"loss_options": {"temperature": -1}}, ValueError, r"temperature must be"),
        ({"loss": "circle", "loss_options": {"distance": "dot"}}, ValueError, r"no option 'distan"),
        (
            {
                "loss": "triplet_margin_with_distance",
                "loss_options": {"distance": "cosine", "distance_function": "cosine"},
            },
            ValueError,
            r"both distance and distance_function",
        ),
        (
            {
                "loss": "triplet_margin_with_distance",
                "loss_options": {"distance": lambda u, v: abs(u - v).sum(-1)},
            },
            TypeError,
            r"Distance",
        ),
        ({"loss": "info_nce"}, ValueError, r"fit cannot learn with info_nce_loss.*fit_pairs\(X"),
        ({"solver": "adam"}, ValueError, r"solver must be one of lbfgs, sgd; got 'adam'"),
        ({"init": "pc"}, ValueError, r"init must be one of pca.*did you mean 'pca'"),
        ({"penalty": -1}, ValueError, r"penalty must be at least 0 and finite, got -1"),
        ({"penalty": "1"}, TypeError, r"penalty must be a number, got '1'"),
        ({"tol": np.nan}, ValueError, r"tol must be at least 0 and finite, got nan"),
        ({"max_iter": 0}, ValueError, r"max_iter must be at least 1, got 0"),
        ({"max_iter": 1.5}, TypeError, r"max_iter must be an integer, got 1\.5"),
        ({"n_tuples": 1}, ValueError, r"n_tuples must be at least 2, got 1"),
        ({"n_components": 7}, ValueError, r"at most the number of features, 6; got 7"),
        ({"n_components": True}, TypeError, r"n_components must be an integer, got True"),
    ],
)
def test_wrong_parameters(rows, parameters, error, said):
    with pytest.raises(error, match=said):
        LinearEmbedding(**parameters).fit(*rows)


def test_wrong_rows_and_labels(rows):
    from scipy import sparse

    X, y = rows
    embedding = LinearEmbedding(2)
    for array in (sparse.csr_matrix(X), sparse.csr_array(X)):
        with pytest.raises(TypeError, match=r"dense data is required.*toarray\(\)"):
            embedding.fit(array, y)
    with pytest.raises(ValueError, match="two classes or more, got 1 class: 3"):
        embedding.fit(X, np.full(60, 3))
    with pytest.raises(ValueError, match=r"two rows of a class.*got 9 rows of 9"):
        embedding.fit(X[:9], np.arange(9))
    with pytest.raises(ValueError, match="Unknown label type"):
        embedding.fit(X, np.linspace(0, 1, 60))
    with pytest.raises(ValueError, match=r"requires y.*None"):
        embedding.fit(X, None)
    poincare = {"distance": "poincare"}
    far = LinearEmbedding(2, "hinge_embedding", loss_options=poincare, n_tuples=50)
    with pytest.raises(ValueError, match=r"hinge_embedding_loss is nan.*scale X"):
        far.fit(X, y)


def test_wrong_pairs_and_triplets(rows):
    X, _ = rows
    pairs, alike = np.array([[0, 1], [2, 30]]), [1, -1]
    embedding = LinearEmbedding(2, "cosine_embedding")
    for given, error, said in (
        ([0, 1], ValueError, r"pairs must be numbers of rows of X, of shape \(n, 2\); got.*\(2,\)"),
        ([[0, 1, 2]], ValueError, r"of shape \(n, 2\); got shape \(1, 3\)"),
        (np.empty((0, 2), int), ValueError, r"pairs must not be empty"),
        ([[0.0, 1.0]], TypeError, r"pairs must be integers.*float64"),
        ([[0, 1], [60, 2]], IndexError, r"pairs must name rows of X, which has 60; got 60 at \(1,"),
        ([[0, -61]], IndexError, r"got -61 at \(0, 1\)"),
    ):
        with pytest.raises(error, match=said):
            embedding.fit_pairs(X, given, alike)
    for given, error, said in (
        (None, ValueError, r"y must say of each pair whether it is alike"),
        ([1], ValueError, r"y must be one label for each of the 2 pairs; got shape \(1,\)"),
        ([1, 0], ValueError, r"got 0 at 1: 0 is no label, y == 1 makes it bool"),
        ([1, 2], ValueError, r"y must be \+1 \(alike\) or -1 \(not alike\); got 2 at 1"),
        (["a", "b"], TypeError, r"y must be \+1 and -1, or bool; got dtype"),
    ):
        with pytest.raises(error, match=said):
            embedding.fit_pairs(X, pairs, given)
    said = r"fit_pairs cannot learn with triplet_margin_loss: it takes labels.*fit_triplets\(X"
    with pytest.raises(ValueError, match=said):
        LinearEmbedding(2, "triplet_margin").fit_pairs(X, pairs, alike)
    with pytest.raises(ValueError, match=r"fit_triplets cannot learn with cosine_embedding_loss"):
        embedding.fit_triplets(X, [[0, 1, 20]])
    with pytest.raises(ValueError, match=r"triplets must be.*\(n, 3\); got shape \(2, 2\)"):
        LinearEmbedding(2, "triplet_margin").fit_triplets(X, pairs)
    with pytest.raises(ValueError, match=r"info_nce_loss takes pairs that belong together.*at 1"):
        LinearEmbedding(2, "info_nce").fit_pairs(X, pairs, alike)
    found = embedding.fit_pairs(X, pairs, np.array([True, False]))
    np.testing.assert_array_equal(
        found.components_, clone(found).fit_pairs(X, pairs, [1.0, -1.0]).components_
    )
    with pytest.raises(NotFittedError):
        clone(found).score_pairs(X, pairs)


@pytest.mark.parametrize("package", ["sklearn", "scipy", "threadpoolctl"])
def test_without_the_extra(package):
    code = f"""
import sys
sys.modules[{package!r}] = None
try:
    from fastcos.sklearn import LinearEmbedding
except ImportError as error:
    print(error.name, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = f"fastcos.sklearn needs {package}: {_extras.command('learn')}"
    assert done.stdout.strip() == f"{package} {expected}"


@unconverged
def test_two_threads_fit_at_the_same_time(rows):
    X, y = rows
    expected = LinearEmbedding(2, max_iter=5).fit(X, y).components_
    found = [None] * 2

    def fit(k):
        found[k] = LinearEmbedding(2, max_iter=5).fit(X, y).components_

    threads = [threading.Thread(target=fit, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in found:
        np.testing.assert_array_equal(each, expected)


def test_another_dtype_later(rows):
    """What goes on from another dtype projects as the one that it was given last."""
    X, y = rows
    for method in ("fit", "partial_fit"):
        embedding = LinearEmbedding(2, "proxy_nca", solver="sgd", max_iter=2, warm_start=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            for dtype in (np.float64, np.float32):
                getattr(embedding, method)(X.astype(dtype), y)
        assert embedding.mean_.dtype == embedding.components_.dtype == np.float32
        assert embedding.transform(X.astype(np.float32)).dtype == np.float32


@unconverged
@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_proxies_whatever_the_scale_of_the_rows(rows, scale):
    """Of a loss of cosines, with components that are free, a scale is none."""
    X, y = rows
    one, other = (
        LinearEmbedding(3, "normalized_softmax", penalty=0.0, max_iter=30).fit(each, y)
        for each in (X, scale * X)
    )
    assert other.loss_curve_[-1] == pytest.approx(one.loss_curve_[-1], rel=0.02)


def test_rows_beyond_what_float64_squares(rows):
    X, y = rows
    with pytest.raises(ValueError, match="squares of X are beyond float64"):
        LinearEmbedding(2).fit(1e200 * X, y)
