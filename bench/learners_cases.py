"""What ``python -m bench learners`` compares: data sets, and who learns a projection of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn import datasets
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_info

from fastcos import measures
from fastcos.sklearn import LinearEmbedding

Rows = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Settings = Mapping[str, Any]

EUCLIDEAN, COSINE = "euclidean", "cosine"
DISTANCES = (EUCLIDEAN, COSINE)
OURS, SKLEARN, METRIC_LEARN = "fastcos", "scikit-learn", "metric-learn"
#: Folds of the training half in which settings are tried.
FOLDS = 2


# --------------------------------------------------------------------------------------------------
# Data sets
# --------------------------------------------------------------------------------------------------


class DataSet(NamedTuple):
    """One that comes with scikit-learn.

    Args:
        name: What it is called.
        load: What loads it.
        highest: The highest number of a feature, which it is divided by; None where the features
            have units of their own, and are standardised by the training half.
        splits: Into how many pairs of halves it is split. The more rows, the fewer are needed, and
            the longer they take.
    """

    name: str
    load: Callable[..., tuple[Any, Any]]
    highest: float | None
    splits: int


DATA_SETS = (
    DataSet("digits", datasets.load_digits, 16.0, 5),
    DataSet("wine", datasets.load_wine, None, 10),
    DataSet("breast_cancer", datasets.load_breast_cancer, None, 10),
)


class Split(NamedTuple):
    """Rows to learn from, and as many that are held out, with classes in equal shares."""

    train: Rows
    train_labels: Integers
    held_out: Rows
    held_out_labels: Integers


def split(data: DataSet, seed: int) -> Split:
    """The two halves of a seed."""
    rows, labels = data.load(return_X_y=True)
    halves = train_test_split(rows, labels, test_size=0.5, stratify=labels, random_state=seed)
    train, held_out, train_labels, held_out_labels = halves
    if data.highest is None:
        scaler = StandardScaler().fit(train)
        train, held_out = scaler.transform(train), scaler.transform(held_out)
    else:
        train, held_out = train / data.highest, held_out / data.highest
    return Split(train, train_labels, held_out, held_out_labels)


def components(features: int) -> int:
    """To how many all project."""
    return features // 2


# --------------------------------------------------------------------------------------------------
# Methods
# --------------------------------------------------------------------------------------------------


class Method(NamedTuple):
    """One that learns from the training half.

    Args:
        name: What it is called.
        library: Whose it is.
        make: The estimator, of the number of components and a seed; all else at its defaults.
        tried: Settings beside the defaults that cross-validation chooses among: as many for each
            who has any, so that the effort is the same.
    """

    name: str
    library: str
    make: Callable[[int, int], Any]
    tried: Sequence[Settings] = ()


def _lmnn(count: int, seed: int) -> Any:
    from metric_learn import LMNN

    return LMNN(n_components=count, random_state=seed)


def _other_nca(count: int, seed: int) -> Any:
    from metric_learn import NCA

    return NCA(n_components=count, random_state=seed)


#: To stop early is what keeps NCA from learning the training half by heart.
_NCA_TRIED = ({"max_iter": 5}, {"init": "identity"})
#: And ours its penalty.
_PENALTY = LinearEmbedding().penalty

METHODS = (
    Method(
        OURS,
        OURS,
        lambda count, seed: LinearEmbedding(count, random_state=seed),
        tuple({"penalty": round(by * _PENALTY, 3)} for by in (1 / 3, 3)),
    ),
    Method(
        "NCA",
        SKLEARN,
        lambda count, seed: NeighborhoodComponentsAnalysis(count, random_state=seed),
        _NCA_TRIED,
    ),
    Method("NCA (metric-learn)", METRIC_LEARN, _other_nca, _NCA_TRIED),
    Method(
        "LMNN", METRIC_LEARN, _lmnn, ({"n_neighbors": 1}, {"n_neighbors": 5, "regularization": 0.7})
    ),
    # Of as many components as there are classes, less one.
    Method("LDA", SKLEARN, lambda count, seed: LinearDiscriminantAnalysis()),
    Method("PCA", SKLEARN, lambda count, seed: PCA(count, random_state=seed)),
    Method("no projection", SKLEARN, lambda count, seed: FunctionTransformer()),
)
PEERS = tuple(method.name for method in METHODS if method.library != OURS)


def why_not(library: str) -> str:
    """Why the learners of a library cannot be used here; empty where they can.

    To import it is not enough: metric-learn 0.7.0 calls scikit-learn with an argument that newer
    releases do not know.
    """
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 2
    rows = rng.standard_normal((24, 4)) + labels[:, None]
    try:
        for method in METHODS:
            if method.library == library:
                transform(fit(method.make(2, 0), rows, labels), rows)
    except Exception as error:
        told = str(error).strip().splitlines()
        return f"{type(error).__name__}: {told[0] if told else ''}"
    return ""


def fit(estimator: Any, rows: Rows, labels: Integers) -> Any:
    """The estimator, fitted; its warnings, of steps that ran out or of names to come, are not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(rows, labels)


def transform(estimator: Any, rows: Rows) -> Rows:
    """Projected rows; warnings as in ``fit``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(estimator.transform(rows))


def with_settings(estimator: Any, settings: Settings) -> Any:
    """A new one with other settings."""
    return clone(estimator).set_params(**settings)


def blas() -> list[str]:
    """Whose products they are."""
    found = [info for info in threadpool_info() if info["user_api"] == "blas"]
    return list(dict.fromkeys(f"{info['internal_api']} {info['version']}" for info in found))


# --------------------------------------------------------------------------------------------------
# Figures
# --------------------------------------------------------------------------------------------------


class Quality(NamedTuple):
    """What is measured of a projection, each by distance.

    Args:
        accuracy: Of naming held-out rows after the nearest row of the training half.
        map_at_r: Mean average precision at R, of the held-out rows among themselves.
    """

    accuracy: dict[str, float]
    map_at_r: dict[str, float]


def evaluate(estimator: Any, halves: Split) -> Quality:
    """The figures of what is fitted."""
    train, held_out = (transform(estimator, rows) for rows in (halves.train, halves.held_out))
    accuracy, map_at_r = {}, {}
    for distance in DISTANCES:
        accuracy[distance] = measures.recall_at_k(
            held_out,
            halves.held_out_labels,
            1,
            gallery=train,
            gallery_labels=halves.train_labels,
            distance=distance,
        )
        map_at_r[distance] = measures.mean_average_precision_at_r(
            held_out, halves.held_out_labels, distance=distance
        )
    return Quality(accuracy, map_at_r)


def chosen(method: Method, halves: Split, count: int, seed: int) -> Settings:
    """The settings that cross-validation within the training half finds best.

    Best is the highest sum of both figures, each by the distance that does better; of equal ones
    the defaults.
    """
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    train, labels = halves.train, halves.train_labels
    inner = [
        Split(train[of], labels[of], train[out], labels[out])
        for of, out in folds.split(train, labels)
    ]

    def score(settings: Settings) -> float:
        found = []
        for part in inner:
            estimator = with_settings(method.make(count, seed), settings)
            found.append(evaluate(fit(estimator, part.train, part.train_labels), part))
        return sum(
            max(np.mean([getattr(quality, name)[d] for quality in found]) for d in DISTANCES)
            for name in Quality._fields
        )

    return max(({}, *method.tried), key=score)
