"""Measures: against plain loops over all neighbours or thresholds, and against those in use.

pytorch-metric-learning is in the extra ``peers``, scikit-learn in ``demo``.
"""

import itertools
import math
from fractions import Fraction

import devices
import numpy as np
import pytest

import fastcos
from fastcos import measures
from fastcos.measures import retrieval, search

RETRIEVAL = {
    "recall_at_k": measures.recall_at_k,
    "precision_at_r": measures.precision_at_r,
    "r_precision": measures.r_precision,
    "mean_average_precision_at_r": measures.mean_average_precision_at_r,
    "mean_reciprocal_rank": measures.mean_reciprocal_rank,
}
EACH = pytest.mark.parametrize("name", RETRIEVAL)
COUNTS = (1, 2, 3, 7, 50)  # the last is more than there are


def grid(rng, count):
    """Rows with many ties and duplicates, whose distances are exact."""
    return rng.integers(-2, 3, (count, 2)) + np.array([0.0, 5.0])


def classes(rng, count):
    """Labels of a large class, a middling, some small ones, and of one row alone."""
    labels = rng.choice(6, count, p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.05])
    labels[count // 2] = 99
    return labels


# --------------------------------------------------------------------------------------------------
# Retrieval. The oracle sorts all rows for each query, and counts.
# --------------------------------------------------------------------------------------------------


def ranked(queries, gallery, distance):
    """For each query the rows of the gallery, nearest first, of equally near ones the first."""
    everything = []
    for number, query in enumerate(queries):
        rows = queries if gallery is None else gallery
        apart = fastcos.paired_distance(query, rows, distance).tolist()
        keys = [
            (apart[index], index)
            for index in range(len(rows))
            if (gallery is not None or index != number) and not math.isnan(apart[index])
        ]
        everything.append([index for _, index in sorted(keys)])
    return everything


def oracle(queries, labels, gallery=None, gallery_labels=None, distance="cosine", counts=COUNTS):
    """All measures by name; those of several counts as tuples."""
    known = labels if gallery is None else gallery_labels
    scores = {name: [] for name in RETRIEVAL}
    for number, order in enumerate(ranked(queries, gallery, distance)):
        relevant = sum(label == labels[number] for label in known) - (gallery is None)
        if relevant == 0:
            continue
        right = [known[index] == labels[number] for index in order]
        scores["recall_at_k"].append([float(any(right[:k])) for k in counts])
        scores["precision_at_r"].append([sum(right[:r]) / r for r in counts])
        scores["r_precision"].append(sum(right[:relevant]) / relevant)
        precise = [sum(right[: i + 1]) / (i + 1) for i in range(len(right[:relevant])) if right[i]]
        scores["mean_average_precision_at_r"].append(sum(precise) / relevant)
        scores["mean_reciprocal_rank"].append(1 / (right.index(True) + 1) if any(right) else 0.0)
    means = {name: np.mean(each, axis=0) for name, each in scores.items()}
    return {name: tuple(mean) if mean.ndim else float(mean) for name, mean in means.items()}


def measured(queries, labels, counts=COUNTS, **options):
    """The same by fastcos."""
    several = {"recall_at_k": [counts], "precision_at_r": [counts]}
    return {
        name: measure(queries, labels, *several.get(name, ()), **options)
        for name, measure in RETRIEVAL.items()
    }


def assert_same(found, right):
    assert found.keys() == right.keys()
    for name, each in found.items():
        assert each == pytest.approx(right[name], rel=1e-12, abs=1e-12), name


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("rows", [grid, lambda rng, count: rng.standard_normal((count, 3))])
@pytest.mark.parametrize("block", [1, 60, 1 << 21])
def test_the_oracle_agrees(rng, rows, distance, block, monkeypatch):
    monkeypatch.setattr(search, "_BLOCK", block)
    x, labels = rows(rng, 41), classes(rng, 41)
    right = oracle(x, labels, distance=distance)
    assert_same(measured(x, labels, distance=distance), right)
    assert 0.05 < right["mean_average_precision_at_r"] < 0.95

    gallery, gallery_labels = rows(rng, 17), classes(rng, 17) % 99
    options = {"gallery": gallery, "gallery_labels": gallery_labels, "distance": distance}
    assert_same(measured(x, labels, **options), oracle(x, labels, **options))


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("block", [1, 60, 1 << 21])
@pytest.mark.parametrize("ranks", [1, 3])
def test_ranks_that_are_counted(rng, ranks, block, distance, monkeypatch):
    monkeypatch.setattr(retrieval, "_FIRST_RANKS", ranks)
    monkeypatch.setattr(search, "_BLOCK", block)
    x, gallery = grid(rng, 60), np.concatenate([grid(rng, 20)] * 2)
    labels, gallery_labels = rng.integers(0, 20, 60), rng.integers(0, 25, 40)
    x[7] = gallery[5] = np.nan
    gallery_labels[5], labels[:2] = 33, 33  # of this label there is nothing else
    for options in ({}, {"gallery": gallery, "gallery_labels": gallery_labels}):
        right = oracle(x, labels, distance=distance, **options)["mean_reciprocal_rank"]
        found = measures.mean_reciprocal_rank(x, labels, distance=distance, **options)
        assert found == pytest.approx(right, rel=1e-12)


@pytest.mark.parametrize("ranks", [1, 16])
def test_rows_that_are_infinitely_far_come_last_in_their_order(ranks, monkeypatch):
    monkeypatch.setattr(retrieval, "_FIRST_RANKS", ranks)
    x = np.array([[0.0], [1.0], [2.0], [-3.0], [0.0], [0.0]]) * 2.0**600
    labels, options = np.array([0, 1, 1, 0, 2, 1]), {"distance": "sqeuclidean"}
    assert_same(measured(x, labels, **options), oracle(x, labels, **options))


@pytest.mark.parametrize("seed", range(6))
def test_the_oracle_agrees_on_few_rows(seed):
    rng = np.random.default_rng(seed)
    x, labels = grid(rng, 2 + seed), np.array([0, 0, *rng.integers(0, 3, seed)])
    assert_same(measured(x, labels), oracle(x, labels))
    options = {"gallery": grid(rng, 1), "gallery_labels": labels[:1]}
    assert_same(measured(x, labels, **options), oracle(x, labels, **options))


def test_by_hand():
    # On a line: 0 and 1 are of class 0, 3 and 4.5 of class 1, 4 of class 0.
    x, labels = np.array([[0.0], [1.0], [3.0], [4.5], [4.0]]), [0, 0, 1, 1, 0]
    found = measured(x, labels, (1, 2), distance="euclidean")
    # Neighbours' classes: 0: 0 1 0 1; 1: 0 1 0 1; 3: 0 1 0 0; 4.5: 0 1 0 0; 4: 1 1 0 0.
    assert found["recall_at_k"] == (2 / 5, 4 / 5)
    assert found["precision_at_r"] == (2 / 5, 2 / 5)
    assert found["r_precision"] == pytest.approx((1 / 2 + 1 / 2 + 0 + 0 + 0) / 5)
    assert found["mean_average_precision_at_r"] == pytest.approx((1 / 2 + 1 / 2) / 5)
    assert found["mean_reciprocal_rank"] == pytest.approx((1 + 1 + 1 / 2 + 1 / 2 + 1 / 3) / 5)


def test_equally_near_rows_come_in_their_order():
    x = np.ones((3, 2))
    assert measures.precision_at_r(x, [0, 1, 0]) == 0.5
    assert measures.mean_reciprocal_rank(x, [0, 1, 0]) == 0.75


@EACH
def test_results_are_floats(name, rng):
    x, labels = rng.standard_normal((6, 2)), [0, 1, 0, 1, 0, 1]
    assert type(RETRIEVAL[name](x, labels)) is float
    assert type(RETRIEVAL[name](x, [0, 1, 2, 3, 4, 5])) is float
    if name in ("recall_at_k", "precision_at_r"):
        for several in ((1, 2), [1, 2], range(1, 3), np.array([1, 2])):
            found = RETRIEVAL[name](x, labels, several)
            assert found == tuple(RETRIEVAL[name](x, labels, each) for each in (1, 2))
            assert [type(each) for each in found] == [float, float]


def test_the_nearest_neighbour_is_where_two_measures_meet(rng):
    x, labels = rng.standard_normal((30, 3)), classes(rng, 30)
    assert measures.recall_at_k(x, labels) == measures.precision_at_r(x, labels)


@EACH
def test_a_query_without_relevant_rows_is_left_out(name, rng):
    x, labels = rng.standard_normal((20, 3)), rng.integers(0, 3, 20)
    gallery = {"gallery": x[10:], "gallery_labels": labels[10:]}
    right = RETRIEVAL[name](x[:10], labels[:10], **gallery)
    unknown = np.append(labels[:10], [7, 8])
    assert RETRIEVAL[name](x[:12], unknown, **gallery) == right
    assert math.isnan(RETRIEVAL[name](x[:10], [9] * 10, **gallery))


@EACH
def test_nothing_to_find(name):
    x = np.ones((3, 2))
    for count in (0, 1, 3):
        assert math.isnan(RETRIEVAL[name](x[:count], np.arange(count)))
    assert math.isnan(RETRIEVAL[name](x, [0, 0, 0], gallery=x[:0], gallery_labels=[]))
    if name in ("recall_at_k", "precision_at_r"):
        np.testing.assert_equal(RETRIEVAL[name](x, [0, 1, 2], (1, 2)), (math.nan, math.nan))


def test_rows_with_nan_find_nothing_and_are_not_found(rng):
    x, labels = rng.standard_normal((21, 3)), classes(rng, 21)
    x[[3, 8]] = np.nan
    labels[[0, 3]] = 77  # of this label there is one row alone to be found, and it is NaN
    assert_same(measured(x, labels), oracle(x, labels))
    gallery = {"gallery": x[:10], "gallery_labels": labels[:10]}
    assert_same(measured(x[5:], labels[5:], **gallery), oracle(x[5:], labels[5:], **gallery))
    assert measured(np.full((4, 3), np.nan), [0, 0, 1, 1]) == {
        name: (0.0,) * 5 if name in ("recall_at_k", "precision_at_r") else 0.0 for name in RETRIEVAL
    }


# -- how much is searched --------------------------------------------------------------------------


@pytest.fixture
def searches(monkeypatch):
    """How many queries were searched for, and how many neighbours of each, in order."""
    seen = []
    nearest = search.nearest

    def spy(queries, gallery, k, *rest, **options):
        seen.append((len(queries), k))
        return nearest(queries, gallery, k, *rest, **options)

    monkeypatch.setattr(search, "nearest", spy)
    return seen


def test_one_search_for_several_k(rng, searches):
    x = rng.standard_normal((40, 3))
    measures.recall_at_k(x, classes(rng, 40), (1, 8, 4), gallery=x, gallery_labels=np.arange(40))
    assert len(searches) == 1
    assert searches[0][1] == 8


def test_queries_of_small_classes_look_at_few_rows(rng, searches):
    x = rng.standard_normal((60, 3))
    labels = np.repeat([0, 1, 2, 3], [40, 16, 3, 1])  # 39, 15 and 2 to be found, and none
    measures.r_precision(x, labels)
    assert searches == [(3, 2 + 1), (16, 15 + 1), (40, 39 + 1)]  # and one for the query itself


def test_blocks_hold_what_memory_has_room_for(rng, searches, monkeypatch):
    monkeypatch.setattr(search, "_BLOCK", 100)
    x = rng.standard_normal((40, 3))
    measures.recall_at_k(x, np.arange(40) % 4, 5, gallery=x, gallery_labels=np.arange(40) % 4)
    assert searches == [(10, 5)] * 4
    searches.clear()
    measures.recall_at_k(np.ones((40, 20)), np.arange(40) % 4)  # rows take room, too
    assert searches == [(5, 2)] * 8


def test_only_queries_that_have_not_met_theirs_search_farther(searches, monkeypatch):
    # On a line of 400 rows the last is of the label of the first, and the others are in pairs.
    x = np.arange(400.0)[:, None]
    labels = np.repeat(np.arange(200), 2)
    labels[-1], labels[-2] = 0, 198
    found = measures.mean_reciprocal_rank(x, labels, distance="euclidean")
    right = oracle(x, labels, distance="euclidean")["mean_reciprocal_rank"]
    assert found == pytest.approx(right, rel=1e-12)
    assert searches == [(400, 17)]  # one is left, and the rows before its own are counted
    searches.clear()
    monkeypatch.setattr(retrieval, "_SHARE", 1)
    again = measures.mean_reciprocal_rank(x, labels, distance="euclidean")
    assert again == pytest.approx(right, rel=1e-12)
    assert searches == [(400, 17), (1, 129)]


# -- labels ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ["cat", "dog", "ant"],
        [b"cat", b"dog", b"ant"],
        np.array(["cat", "dog", "a longer one"], object),
        np.array([2**63 - 1, 2**63 - 2, -5]),
        np.array([2**63 + 1, 2**63 + 2, 5], np.uint64),
        [0.5, -1.5, 2.5],
        np.array(["2020-01-01", "2021-01-01", "2022-01-01"], "datetime64[D]"),
    ],
    ids=str,
)
def test_labels_of_any_kind(names, rng):
    x, numbers = rng.standard_normal((20, 3)), rng.integers(0, 3, 20)
    labels = np.asarray(names)[numbers]
    for given in (labels, labels.tolist()):
        assert measured(x, given) == measured(x, numbers)
    gallery = {"gallery": x[:9]}
    assert measured(x, labels, gallery_labels=labels[:9], **gallery) == measured(
        x, numbers, gallery_labels=numbers[:9], **gallery
    )


def test_labels_of_two_kinds_are_compared_by_value(rng):
    x = rng.standard_normal((2, 3))
    large = np.array([2**62 + 1, 2**62 + 2])
    options = {"gallery": x, "gallery_labels": large.astype(np.uint64)[::-1]}
    assert measures.mean_reciprocal_rank(x, large, **options) == 0.5
    assert measures.mean_reciprocal_rank(x, [True, False], gallery=x, gallery_labels=[0, 1]) == 0.5
    assert measures.mean_reciprocal_rank(x, ["a", "b"], gallery=x, gallery_labels=[b"a", b"b"]) == 1


# -- arrays ----------------------------------------------------------------------------------------


def test_lists_integers_and_rows_in_any_order_of_memory(rng):
    x, labels = rng.integers(1, 19, (12, 3)), rng.integers(0, 3, 12)
    right = measured(x.astype(np.float64), labels)
    for given in (x, x.tolist(), np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2]):
        assert_same(measured(given, labels.tolist()), right)


def test_tensors(rng, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(retrieval, "_FIRST_RANKS", 1)
    x, labels = rng.standard_normal((30, 3)), classes(rng, 30)
    right = measured(x, labels)
    tensor = torch.tensor(x, requires_grad=True)
    for given in (labels, labels.tolist(), torch.tensor(labels)):
        assert_same(measured(tensor, given), right)
    assert_same(measured(x, torch.tensor(labels)), right)
    gallery = {"gallery": torch.tensor(x[:9]), "gallery_labels": labels[:9]}
    assert_same(
        measured(tensor, labels, **gallery),
        measured(x, labels, gallery=x[:9], gallery_labels=labels[:9]),
    )
    assert tensor.grad is None


@pytest.fixture
def library(monkeypatch):
    """What makes arrays of a simulated GPU."""
    devices.forget()
    devices.simulated(monkeypatch)
    yield devices._simulated()[1]
    devices.forget()


@pytest.mark.simulated
@pytest.mark.parametrize("distance", ["cosine", "manhattan"])
def test_arrays_of_a_gpu(rng, library, distance, monkeypatch):
    monkeypatch.setattr(retrieval, "_FIRST_RANKS", 1)
    x, labels = rng.standard_normal((14, 3)).astype(np.float32), classes(rng, 14)
    right = measured(x, labels, distance=distance)
    some = measured(x, labels, gallery=x[:9], gallery_labels=labels[:9], distance=distance)
    there = library.asarray(x)
    assert_same(measured(there, labels, distance=distance), right)
    gallery = {"gallery": library.asarray(x[:9]), "gallery_labels": library.asarray(labels[:9])}
    assert_same(measured(there, library.asarray(labels), **gallery, distance=distance), some)
    scores = library.asarray(x[:, 0])
    assert measures.verification(scores, labels == 0) == measures.verification(x[:, 0], labels == 0)


# -- pytorch-metric-learning -----------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_pytorch_metric_learning(metric, rng):
    torch = pytest.importorskip("torch")
    reason = "pytorch-metric-learning is in the extra 'peers'"
    pml = pytest.importorskip("pytorch_metric_learning.utils.accuracy_calculator", reason=reason)
    from pytorch_metric_learning.distances import CosineSimilarity, LpDistance
    from pytorch_metric_learning.utils.inference import CustomKNN

    of = CosineSimilarity() if metric == "cosine" else LpDistance(normalize_embeddings=False)
    names = ("precision_at_1", *list(RETRIEVAL)[2:])
    # faiss, its default for both, is in none of our extras.
    calculator = pml.AccuracyCalculator(
        include=names, knn_func=CustomKNN(of), kmeans_func=object(), device=torch.device("cpu")
    )
    x, labels = rng.standard_normal((70, 5)), classes(rng, 70)
    y, others = rng.standard_normal((30, 5)), classes(rng, 30) % 99
    for mine, theirs in (
        ((x, labels, None, None), (x, labels)),
        ((y, others, x, labels), (y, others, x, labels)),
    ):
        queries, own, gallery, known = mine
        options = {"gallery": gallery, "gallery_labels": known, "distance": metric}
        right = calculator.get_accuracy(*theirs)
        found = measured(queries, own, (1,), **options)
        assert found["precision_at_r"] == pytest.approx((right.pop("precision_at_1"),), rel=1e-12)
        for name, value in right.items():
            assert found[name] == pytest.approx(value, rel=1e-6), name
        assert len(right) == 3


# -- what is refused -------------------------------------------------------------------------------

X = np.ones((3, 2))


@EACH
@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((X, [0, 1]), {}, ValueError, r"labels must have shape \(3,\), .* queries; got \(2,\)"),
        ((X, [[0], [1], [2]]), {}, ValueError, r"labels must have shape \(3,\)"),
        ((X, [[0], [1, 2], 3]), {}, ValueError, r"labels must have shape \(3,\): .*inhomogeneous"),
        ((X, 1), {}, ValueError, r"labels must have shape \(3,\)"),
        ((X, None), {}, ValueError, r"labels must have shape \(3,\)"),
        ((X[0], [0, 1]), {}, ValueError, r"queries must be rows of shape \(N, D\), got \(2,\)"),
        ((X, [0, 1, 1]), {"gallery": X}, ValueError, "gallery_labels must be given"),
        ((X, [0, 1, 1]), {"gallery_labels": [0]}, ValueError, "without a gallery"),
        (
            (X, [0, 1, 1]),
            {"gallery": X, "gallery_labels": [0, 1]},
            ValueError,
            r"gallery_labels must have shape \(3,\), one for each row of gallery; got \(2,\)",
        ),
        (
            (X, [0, 1, 1]),
            {"gallery": X[:, :1], "gallery_labels": [0, 1, 1]},
            ValueError,
            "queries and gallery must have rows of one length",
        ),
        (
            (X, ["a", "b", "b"]),
            {"gallery": X, "gallery_labels": [0, 1, 1]},
            TypeError,
            "labels hold text and gallery_labels numbers",
        ),
        (
            (X, [0, 1, 1]),
            {"gallery": X, "gallery_labels": ["a", "b", "b"]},
            TypeError,
            "labels hold numbers and gallery_labels text",
        ),
        ((X, [0, np.nan, 1]), {}, ValueError, "labels must not be NaN, got it at position 1"),
        ((X, np.array([0, None, "a"])), {}, TypeError, "labels cannot be compared with each other"),
        ((X, [0, 1, 1]), {"distance": "cityblock"}, ValueError, "cityblock is manhattan here"),
        ((X * 1j, [0, 1, 1]), {}, TypeError, "queries has dtype complex"),
        ((X, [0, 1, 1]), {"metric": "cosine"}, TypeError, "metric"),
    ],
)
def test_bad_input(name, arguments, options, error, message):
    with pytest.raises(error, match=message):
        RETRIEVAL[name](*arguments, **options)


@pytest.mark.parametrize("name", ["recall_at_k", "precision_at_r"])
@pytest.mark.parametrize(
    ("count", "error", "message"),
    [
        (0, ValueError, "must be at least 1, got 0"),
        ((1, -2), ValueError, "must be at least 1, got -2"),
        (1.5, TypeError, "must be an integer, at least 1; got 1.5"),
        (True, TypeError, "must be an integer"),
        ("1", TypeError, "must be an integer"),
        ((), ValueError, "must be a number of neighbours or several, got none"),
    ],
)
def test_bad_counts(name, count, error, message):
    with pytest.raises(error, match=f"{name[-1]} {message}"):
        RETRIEVAL[name](X, [0, 1, 1], count)


# --------------------------------------------------------------------------------------------------
# Verification. The oracle counts anew at every threshold.
# --------------------------------------------------------------------------------------------------


def points(scores, labels, similarity=True):
    """FAR, TAR and the threshold for none, then for each distinct score, as fractions."""
    same = [s for s, label in zip(scores, labels, strict=True) if label == 1]
    different = [s for s, label in zip(scores, labels, strict=True) if label != 1]
    found = [(Fraction(0), Fraction(0), math.inf if similarity else -math.inf)]
    for threshold in sorted(set(scores), reverse=similarity):
        accepted = [
            sum(s >= threshold if similarity else s <= threshold for s in kind)
            for kind in (different, same)
        ]
        shares = Fraction(accepted[0], len(different)), Fraction(accepted[1], len(same))
        found.append((*shares, threshold))
    return found


def verified(scores, labels, far, similarity=True):
    """The report by plain loops; the AUC over all pairs of pairs."""
    curve = points(scores, labels, similarity)
    same = [s for s, label in zip(scores, labels, strict=True) if label == 1]
    different = [s for s, label in zip(scores, labels, strict=True) if label != 1]
    sign = 1 if similarity else -1
    wins = sum(
        Fraction(1 if sign * a > sign * b else 0) + Fraction(a == b, 2)
        for a in same
        for b in different
    )
    for before, after in itertools.pairwise(curve):
        low, high = (each[0] - (1 - each[1]) for each in (before, after))
        if low < 0 <= high:
            share = -low / (high - low)
            equal = before[0] + share * (after[0] - before[0])
            there = float(share)
            at = after[2]
            if share != 1 and not math.isinf(before[2]):
                at = (1 - there) * before[2] + there * after[2]
    accuracies = [
        (f_tar * len(same) + (1 - f_far) * len(different)) / len(scores)
        for f_far, f_tar, _ in curve
    ]
    best = accuracies.index(max(accuracies))
    at_far = []
    for limit in far:
        tar = max(each[1] for each in curve if float(each[0]) <= limit)
        at_far.append((limit, float(tar), next(each[2] for each in curve if each[1] == tar)))
    return measures.Verification(
        float(wins / (len(same) * len(different))),
        float(equal),
        at,
        float(accuracies[best]),
        curve[best][2],
        tuple(measures.TarAtFar(*each) for each in at_far),
        len(same),
        len(different),
    )


FARS = (0.0, 0.001, 0.1, 0.25, 0.5, 1.0)


def assert_verified(found, right):
    for name, value in found._asdict().items():
        if name != "tar_at_far":
            assert value == pytest.approx(getattr(right, name), rel=1e-12, abs=1e-14), name
    for mine, theirs in zip(found.tar_at_far, right.tar_at_far, strict=True):
        assert mine == theirs  # to the last bit: nothing is interpolated


@pytest.mark.parametrize("similarity", [True, False])
@pytest.mark.parametrize("kinds", [3, 7, None])
@pytest.mark.parametrize("seed", range(8))
def test_the_oracle_verifies(seed, kinds, similarity):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 60))
    labels = rng.permutation(np.append([0, 1], rng.integers(0, 2, count - 2)))
    scores = rng.standard_normal(count) + (labels if similarity else -labels)
    if kinds:
        scores = np.round(scores * kinds / 3) / kinds  # ties
    found = measures.verification(scores, labels, FARS, similarity=similarity)
    assert_verified(found, verified(scores.tolist(), labels.tolist(), FARS, similarity))
    curve = measures.roc_curve(scores, labels, similarity=similarity)
    right = points(scores.tolist(), labels.tolist(), similarity)
    for mine, theirs in zip(curve, zip(*right, strict=True), strict=True):
        np.testing.assert_array_equal(mine, np.array(theirs, dtype=np.float64))


def test_distances_are_similarities_turned_round(rng):
    labels = rng.integers(0, 2, 100)
    scores = np.round(rng.standard_normal(100) + labels, 1)
    high = measures.verification(scores, labels)
    low = measures.verification(-scores, labels, similarity=False)
    thresholds = {"equal_error_threshold", "accuracy_threshold", "tar_at_far"}
    for name in set(high._fields) - thresholds:
        assert getattr(low, name) == getattr(high, name)
    for name in ("equal_error_threshold", "accuracy_threshold"):
        assert getattr(low, name) == -getattr(high, name)
    for mine, theirs in zip(low.tar_at_far, high.tar_at_far, strict=True):
        assert mine == theirs._replace(threshold=-theirs.threshold)
    # A distance of 0 has no sign.
    zero = measures.roc_curve([0.0, 1.0], [1, 0], similarity=False).thresholds[1]
    assert math.copysign(1, zero) == 1


@pytest.mark.parametrize(
    ("scores", "labels", "rate", "threshold"),
    [
        ([3, 2, 1, 0], [1, 1, 0, 0], 0.0, 2.0),  # told apart: the last that is to be accepted
        ([3, 2, 1, 0], [0, 0, 1, 1], 1.0, 2.0),  # the wrong way round
        ([3, 2, 1, 0], [1, 0, 1, 0], 0.5, 2.0),  # a point of the curve has equal errors
        ([1, 1, 1, 1], [1, 0, 1, 0], 0.5, 1.0),  # all tied: between none and all
        ([2, 1, 1, 0], [1, 0, 1, 0], 0.25, 1.5),  # in the middle of a slope, from (0, ½) to (½, 1)
    ],
)
def test_equal_errors_by_hand(scores, labels, rate, threshold):
    found = measures.verification(scores, labels)
    assert (found.equal_error_rate, found.equal_error_threshold) == (rate, threshold)


def test_tar_at_a_far_by_hand():
    # Of ten pairs that are not the same one scores 0.5 and others less than 0.1.
    scores = [0.9, 0.7, 0.5, 0.4, 0.3, *np.linspace(0, 0.09, 9)]
    labels = [1, 1, 0, 1, 1, *[0] * 9]
    found = measures.verification(scores, labels, (0.0999, 0.1, 0.1001, 0.0)).tar_at_far
    assert [each.tar for each in found] == [0.5, 1.0, 1.0, 0.5]
    assert [each.threshold for each in found] == [0.7, 0.3, 0.3, 0.7]
    assert [each.far for each in found] == [0.0999, 0.1, 0.1001, 0.0]
    # The first accepted pair would be wrong.
    (none,) = measures.verification([2, 1], [0, 1], 0.5).tar_at_far
    assert none == (0.5, 0.0, math.inf)
    assert measures.verification(scores, labels, ()).tar_at_far == ()
    assert measures.verification(scores, labels, np.array([0.1])).tar_at_far[0].tar == 1.0


def test_scikit_learn(rng):
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is in the extra 'demo'")
    for decimals in (1, 2, 16):
        labels = rng.integers(0, 2, 500)
        scores = np.round(rng.standard_normal(500) + labels, decimals)
        found = measures.verification(scores, labels)
        assert found.auc == pytest.approx(sklearn.roc_auc_score(labels, scores), rel=1e-14)
        right = sklearn.roc_curve(labels, scores, drop_intermediate=False)
        for mine, theirs in zip(measures.roc_curve(scores, labels), right, strict=True):
            np.testing.assert_array_equal(mine, theirs)
        decided = scores >= found.accuracy_threshold
        assert found.accuracy == sklearn.accuracy_score(labels, decided)


def test_labels_and_scores_in_every_form(rng):
    scores, labels = np.round(rng.standard_normal(24), 1), np.arange(24) % 2
    right = measures.verification(scores, labels)
    for given in (labels == 1, 2 * labels - 1, labels.astype(np.float32), labels.tolist()):
        assert measures.verification(scores, given) == right
    assert measures.verification(scores.reshape(4, 6), labels.reshape(4, 6)) == right
    assert measures.verification(scores.tolist(), labels.astype(np.uint8)) == right
    whole = measures.verification((scores * 10).round(), labels)
    assert measures.verification((scores * 10).round().astype(np.int8), labels) == whole
    torch = pytest.importorskip("torch")
    tensor = torch.tensor(scores, requires_grad=True)
    assert measures.verification(tensor, torch.tensor(labels)) == right
    assert measures.verification(tensor, labels) == right
    np.testing.assert_equal(measures.roc_curve(tensor, labels), measures.roc_curve(scores, labels))


def test_infinite_scores_are_scores():
    found = measures.verification([1.0, 0.5, -np.inf, -np.inf], [1, 1, 0, 1])
    assert found.auc == pytest.approx(2.5 / 3)
    assert found.accuracy_threshold == 0.5
    assert found.equal_error_threshold == -math.inf
    found = measures.verification([0.5, np.inf], [1, 0], similarity=False)
    assert (found.auc, found.accuracy_threshold) == (1.0, 0.5)


def test_many_pairs_are_counted_exactly():
    # float64 sums of the products would be off: there are 2.5e11 pairs of pairs.
    count = 1_000_001
    scores = np.arange(count)
    found = measures.verification(scores, scores % 2 == 0)
    half = count // 2
    assert found.auc == (half * (half + 1) // 2) / (half * (half + 1))
    assert (found.same, found.different) == (half + 1, half)


def test_a_report_is_a_table():
    scores, labels = np.arange(8) / 8, [0, 0, 1, 0, 1, 0, 1, 1]
    found = measures.verification(scores, labels, (0.5, 1e-5))
    lines = str(found).splitlines()
    assert len(lines) == 6
    assert lines[0].split() == ["AUC", "0.8125"]
    assert lines[1].split() == "equal error rate 0.2500 at threshold 0.5".split()
    assert lines[3].startswith("TAR at FAR 0.5 ")
    assert lines[4].split() == "TAR at FAR 1e-05 0.5000 at threshold 0.75".split()
    assert lines[5].split() == "pairs 4 the same, 4 not".split()
    figures = ("0.8125", "0.2500", "0.7500", "1.0000", "0.5000", "4 the")
    assert {line.index(figure) for line, figure in zip(lines, figures, strict=True)} == {18}


@pytest.mark.parametrize("function", [measures.verification, measures.roc_curve])
@pytest.mark.parametrize(
    ("scores", "labels", "error", "message"),
    [
        ([], [], ValueError, "scores must not be empty"),
        ([1, 2], [1], ValueError, r"labels must have the shape of scores, \(2,\); got \(1,\)"),
        ([1, 2], [[1, 0]], ValueError, "labels must have the shape of scores"),
        (
            [1, np.nan, np.nan],
            [1, 0, 1],
            ValueError,
            "scores must not be NaN; .* 2, the first at 1",
        ),
        ([1, 2], [1, 1], ValueError, "labels must have both kinds of pairs; all 2 are the same"),
        ([1, 2], [0, 0], ValueError, "all 2 are not the same"),
        ([1, 2], [-1, -1], ValueError, "all 2 are not the same"),
        ([1, 2], [1, 2], ValueError, "labels must be 1 for .*; got 2 at 1"),
        ([1, 2], [1, np.nan], ValueError, "labels must be 1 for .*; got nan at 1"),
        ([1, 2, 3], [1, 0, -1], ValueError, "got both 0 and -1"),
        ([1, 2j], [1, 0], TypeError, "scores has dtype complex"),
        ([1, 2], ["a", "b"], TypeError, "labels has dtype"),
    ],
)
def test_bad_pairs(function, scores, labels, error, message):
    with pytest.raises(error, match=message):
        function(scores, labels)


@pytest.mark.parametrize(
    ("far", "error", "message"),
    [
        (1.5, ValueError, "far must be from 0 to 1, got 1.5"),
        ((0.1, -0.1), ValueError, "far must be from 0 to 1, got -0.1"),
        (math.nan, ValueError, "far must be from 0 to 1, got nan"),
        ("all", TypeError, "far must be a real number, got 'all'"),
    ],
)
def test_bad_rates(far, error, message):
    with pytest.raises(error, match=message):
        measures.verification([1, 2], [0, 1], far)


def test_similarity_is_a_flag():
    with pytest.raises(TypeError, match="similarity must be True or False, got 'yes'"):
        measures.verification([1, 2], [0, 1], similarity="yes")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_query_that_finds_nothing_among_few(bad):
    assert measures.mean_reciprocal_rank(np.array([[bad, 0.0], [1.0, 2.0]]), [0, 0]) == 0
    x = np.array([[bad, 0.0], [1.0, 2.0], [1.0, 1.9], [3.0, -1.0]])
    assert measures.mean_reciprocal_rank(x, [0, 0, 1, 1]) == pytest.approx(0.375)
