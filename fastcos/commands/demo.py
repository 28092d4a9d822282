"""The demo: a linear projection of scanned digits, learned under each loss.

What a user of the library would write. An image is a row of 64 pixels, a projection a 64 x 32
matrix that multiplies it from the right. The projected images are a table, of which pairs and
triplets name the rows: fastcos gives the loss and the gradient of that table; one product with the
pixels takes it to the projection; SciPy does the rest. The last of the losses needs no pairs: it
takes the projected images and their labels.

Margins and penalties were chosen by cross-validation inside the training half of seed 0.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

import fastcos

DIMENSIONS = 32
PAIRS = 5_000  # of each kind, of the 40,000 similar and 360,000 dissimilar ones there are
TRIPLETS = 10_000
ITERATIONS = 60  # 100 change no AUC by 1e-4

Rows = NDArray[np.float64]
Integers = NDArray[np.int64]
Objective = Callable[[Rows], tuple[float, Rows]]  # projection -> loss, its gradient


class Split(NamedTuple):
    """Images, one per row and less the mean of the training half, with the digits they show."""

    train: Rows
    train_labels: Integers
    held_out: Rows
    held_out_labels: Integers


class Quality(NamedTuple):
    """How well a score tells pairs of the same digit from others, over all held-out pairs."""

    scores: Rows
    same: NDArray[np.bool_]
    threshold: float  # where the two errors are equal
    roc_auc: float
    equal_error_rate: float
    nearest_neighbour_accuracy: float


class Result(NamedTuple):
    """One loss: what its projection is scored by, and the quality without and with it."""

    loss: str
    score: str
    before: Quality
    after: Quality


class Method(NamedTuple):
    """How a projection is learned under one loss.

    ``penalty`` weighs its squared distance from the start, the principal axes. Without it the
    training half is learned by heart: no AUC is better, and 1-NN accuracy falls from 0.97 to 0.92.
    It is the least of those tried, each twice the one before, with which 1-NN accuracy was never
    below that of the raw pixels in cross-validation. AUC alone would be content with less.
    """

    objective: Callable[[Rows, Integers, np.random.Generator], Objective]
    score: str
    penalty: float


def load(seed: int) -> Split:
    """The digits, 1,797 scans of 8 x 8 pixels, in two halves with every digit in equal shares."""
    images, labels = load_digits(return_X_y=True)
    train, held_out, train_labels, held_out_labels = train_test_split(
        images / 16, labels, test_size=0.5, stratify=labels, random_state=seed
    )
    mean = train.mean(axis=0)
    return Split(train - mean, train_labels, held_out - mean, held_out_labels)


def run(
    loss: str, split: Split, seed: int, *, on_iteration: Callable[[], object] = lambda: None
) -> Result:
    """Learns a projection on the training half and evaluates it on the other."""
    method = METHODS[loss]
    objective = method.objective(split.train, split.train_labels, np.random.default_rng(seed))
    projection = _learn(objective, _principal_axes(split.train), method.penalty, on_iteration)
    no_projection = np.eye(split.train.shape[1])
    return Result(
        loss,
        method.score,
        before=_evaluate(SCORES[method.score], split, no_projection),
        after=_evaluate(SCORES[method.score], split, projection),
    )


def _learn(
    objective: Objective, start: Rows, penalty: float, on_iteration: Callable[[], object]
) -> Rows:
    """The projection that minimises the objective and stays near its start."""

    def penalised(flat: Rows) -> tuple[float, Rows]:
        projection = flat.reshape(start.shape)
        loss, gradient = objective(projection)
        moved = projection - start
        return loss + penalty * np.sum(moved**2), (gradient + 2 * penalty * moved).ravel()

    # The products are small. BLAS threads, which wait spinning, would take the cores from Numba's:
    # 14 ms an evaluation on 2 cores, not 6. With one thread the result does not depend on them.
    with threadpool_limits(1, user_api="blas"):
        found = minimize(
            penalised,
            start.ravel(),
            jac=True,
            method="L-BFGS-B",
            callback=lambda _: on_iteration(),
            options={"maxiter": ITERATIONS},
        )
    return np.asarray(found.x).reshape(start.shape)


def _principal_axes(images: Rows) -> Rows:
    return np.linalg.svd(images, full_matrices=False)[2][:DIMENSIONS].T


# --------------------------------------------------------------------------------------------------
# The losses. Each closes over its labels, or the numbers of its pairs or triplets, and returns loss
# and gradient of a projection: for z = x @ projection the gradient is x.T @ dloss/dz.
# --------------------------------------------------------------------------------------------------


def _cosine_embedding(images: Rows, labels: Integers, rng: np.random.Generator) -> Objective:
    """Cosines of similar pairs up to 0.7, of dissimilar ones down to 0.2."""
    first, second, target = _draw_pairs(labels, rng)
    loss_and_grad = fastcos.value_and_grad(fastcos.cosine_embedding_loss)

    def objective(projection: Rows) -> tuple[float, Rows]:
        z = images @ projection
        loss, (grad,) = loss_and_grad(
            fastcos.rows(z, first), fastcos.rows(z, second), target, pos_margin=0.7, margin=0.2
        )
        return loss, images.T @ grad

    return objective


def _cosine_distance(images: Rows, labels: Integers, rng: np.random.Generator) -> Objective:
    """Every image towards the direction of its digit.

    The loss only attracts: pairs alone would end in one point, and a negative weight on dissimilar
    pairs, which rewards distance without bound, in two heaps (AUC 0.86, worse than raw pixels). So
    the images are paired with fixed directions, as the loss's ``labels`` and ``predictions`` mean.
    """
    directions = _class_directions(images @ _principal_axes(images), labels)[labels]
    loss_and_grad = fastcos.value_and_grad(fastcos.cosine_distance_loss, "predictions")

    def objective(projection: Rows) -> tuple[float, Rows]:
        loss, grad = loss_and_grad(directions, images @ projection)
        return loss, images.T @ grad

    return objective


def _triplet(images: Rows, labels: Integers, rng: np.random.Generator) -> Objective:
    """Dissimilar images farther than similar ones by 1, in Euclidean distance."""
    anchor, positive, negative = _draw_triplets(labels, rng)
    loss_and_grad = fastcos.value_and_grad(fastcos.triplet_margin_with_distance_loss)

    def objective(projection: Rows) -> tuple[float, Rows]:
        z = images @ projection
        loss, (grad,) = loss_and_grad(
            fastcos.rows(z, anchor),
            fastcos.rows(z, positive),
            fastcos.rows(z, negative),
            distance_function="euclidean",
            margin=1.0,
        )
        return loss, images.T @ grad

    return objective


def _hinge_embedding(images: Rows, labels: Integers, rng: np.random.Generator) -> Objective:
    """Squared distances of similar pairs to 0, of dissimilar ones up to 4.

    The loss takes distances, so there are two steps; the second takes the gradient of the first as
    its ``grad_output``: the chain rule.
    """
    first, second, target = _draw_pairs(labels, rng)
    loss_and_grad = fastcos.value_and_grad(fastcos.hinge_embedding_loss, "input")
    distance_grad = fastcos.grad(fastcos.paired_distance)

    def objective(projection: Rows) -> tuple[float, Rows]:
        z = images @ projection
        pairs = fastcos.rows(z, first), fastcos.rows(z, second)
        distance = fastcos.paired_distance(*pairs, "sqeuclidean")
        loss, slope = loss_and_grad(distance, target, margin=4.0)
        (grad,) = distance_grad(*pairs, "sqeuclidean", grad_output=slope)
        return loss, images.T @ grad

    return objective


def _supervised_contrastive(images: Rows, labels: Integers, rng: np.random.Generator) -> Objective:
    """Every image against every other, by the labels alone: no pairs are drawn."""
    loss_and_grad = fastcos.value_and_grad(fastcos.supervised_contrastive_loss, "x")

    def objective(projection: Rows) -> tuple[float, Rows]:
        loss, grad = loss_and_grad(images @ projection, labels, temperature=0.2)
        return loss, images.T @ grad

    return objective


METHODS = {
    "cosine_embedding_loss": Method(_cosine_embedding, "cosine", penalty=8e-3),
    "cosine_distance_loss": Method(_cosine_distance, "cosine", penalty=3.2e-2),
    "triplet_margin_with_distance_loss": Method(_triplet, "-euclidean", penalty=3.2e-2),
    "hinge_embedding_loss": Method(_hinge_embedding, "-euclidean", penalty=6e-2),
    "supervised_contrastive_loss": Method(_supervised_contrastive, "cosine", penalty=3.2e-2),
}


def _pairs(count: int) -> tuple[Integers, Integers]:
    """All pairs of ``count`` rows."""
    return np.triu_indices(count, k=1)


def _draw_pairs(labels: Integers, rng: np.random.Generator) -> tuple[Integers, Integers, Integers]:
    """As many pairs of one digit as of two, and their target, +1 and -1."""
    first, second = _pairs(len(labels))
    same = labels[first] == labels[second]
    drawn = np.concatenate(
        [rng.choice(np.flatnonzero(kind), PAIRS, replace=False) for kind in (same, ~same)]
    )
    return first[drawn], second[drawn], np.where(same[drawn], 1, -1)


def _draw_triplets(
    labels: Integers, rng: np.random.Generator
) -> tuple[Integers, Integers, Integers]:
    """Pairs of one digit, each with an image of another digit."""
    first, second = _pairs(len(labels))
    similar = np.flatnonzero(labels[first] == labels[second])
    drawn = rng.choice(similar, TRIPLETS, replace=False)
    anchor, positive = first[drawn], second[drawn]
    negative = np.empty_like(anchor)
    for digit in np.unique(labels):
        wanted = labels[anchor] == digit
        negative[wanted] = rng.choice(np.flatnonzero(labels != digit), np.count_nonzero(wanted))
    return anchor, positive, negative


def _class_directions(rows: Rows, labels: Integers) -> Rows:
    """Ten vectors at equal angles, as far apart as ten can be, turned towards the class means.

    Of all matrices U with orthonormal columns (9: the means sum to 0) the one nearest to the means
    is the polar factor of their matrix; its rows have a cosine of -1/9.
    """
    means = np.array([rows[labels == digit].mean(axis=0) for digit in np.unique(labels)])
    left, _, right = np.linalg.svd(means - means.mean(axis=0), full_matrices=False)
    return np.asarray(left[:, :-1] @ right[:-1])


# --------------------------------------------------------------------------------------------------
# The evaluation. A score is a number for every pair of two sets of rows, higher for more alike.
# --------------------------------------------------------------------------------------------------

# The axes broadcast: (n, 1, D) against (1, m, D) gives (n, m), and no copy of the rows is made.
SCORES: dict[str, Callable[[Rows, Rows], Rows]] = {
    "cosine": lambda a, b: np.asarray(fastcos.cosine_similarity(a[:, None], b[None])),
    "-euclidean": lambda a, b: -np.asarray(fastcos.paired_distance(a[:, None], b[None])),
}


def _evaluate(score: Callable[[Rows, Rows], Rows], split: Split, projection: Rows) -> Quality:
    train, held_out = split.train @ projection, split.held_out @ projection
    labels = split.held_out_labels
    first, second = _pairs(len(labels))
    scores = score(held_out, held_out)[first, second]
    same = labels[first] == labels[second]
    found = fastcos.measures.verification(scores, same)
    nearest = score(held_out, train).argmax(axis=1)
    return Quality(
        scores,
        same,
        threshold=found.equal_error_threshold,
        roc_auc=found.auc,
        equal_error_rate=found.equal_error_rate,
        nearest_neighbour_accuracy=float(np.mean(split.train_labels[nearest] == labels)),
    )


# --------------------------------------------------------------------------------------------------
# The report.
# --------------------------------------------------------------------------------------------------


_FIGURES = {
    "ROC-AUC": "roc_auc",
    "EER": "equal_error_rate",
    "1-NN accuracy": "nearest_neighbour_accuracy",
}


def preamble(split: Split, seed: int) -> str:
    """What is compared with what."""
    count, pixels = split.held_out.shape
    pairs = len(_pairs(count)[0])
    return f"""\
Scanned digits of {pixels} pixels: {len(split.train)} to learn from, {count} held out (seed {seed}).
  before         raw pixels, less the training mean
  after          a projection {pixels} -> {DIMENSIONS} of them, learned on the training half
  score          how alike two images are: their cosine, or minus their Euclidean distance
  ROC-AUC, EER   of telling pairs of one digit from others by score, over {pairs:,} held-out pairs
  1-NN accuracy  of naming held-out images after the most similar training image
On its first run every loss compiles its kernels, some 5 s.
"""


def table(results: Sequence[Result]) -> str:
    """The figures before and after, one line per loss."""
    lines = [
        f"{'':48}" + "".join(f"{title:^18}" for title in _FIGURES).rstrip(),
        f"{'loss':35}{'score':13}" + ("  before   after  " * len(_FIGURES)).rstrip(),
    ]
    for loss, score, before, after in results:
        figures = [
            f"  {getattr(before, name):.4f}  {getattr(after, name):.4f}  "
            for name in _FIGURES.values()
        ]
        lines.append(f"{loss:35}{score:13}" + "".join(figures).rstrip())
    return "\n".join(lines)
