"""Every public function once, with the type of what it returns: for type checkers, and not run."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from torch import Tensor
from typing_extensions import assert_type

import fastcos
from fastcos import measures, plots
from fastcos.adapters import torch as fused
from fastcos.listwise import Candidate, Row
from fastcos.sklearn import LinearEmbedding
from fastcos.typing import Array, Loss, Scalar


class Lazy:
    """As dask.array.Array, which is typed in part."""

    def __array__(self, dtype: Any = None) -> npt.NDArray[Any]:
        return np.empty(0)

    def __dask_graph__(self) -> Any:
        return None


Numbers = npt.NDArray[np.int64]
x, y, z = np.ones((3, 8, 16), np.float32)
labels, signs = [0, 0, 1, 1, 2, 2, 3, 3], np.ones(8)
a, b = torch.ones(8, 16, requires_grad=True), torch.ones(8, 16)
t = torch.arange(8)

# Losses of pairs and triplets.
assert_type(fastcos.cosine_embedding_loss(x, y, signs), Scalar)
assert_type(fastcos.cosine_embedding_loss(x, y, signs, reduction="none"), Array)
assert_type(fastcos.cosine_embedding_loss(a, b, t), Tensor)
assert_type(fastcos.cosine_distance_loss(x, y), Scalar)
assert_type(fastcos.cosine_distance_loss(a, b), Tensor)
assert_type(fastcos.hinge_embedding_loss([0.5, 1.5], [1, -1], reduction="sum"), Scalar)
assert_type(fastcos.hinge_embedding_loss(a, t), Tensor)
assert_type(fastcos.triplet_margin_loss(x, y, z, swap=True), Scalar)
assert_type(fastcos.triplet_margin_loss(a, b, b, reduction="none"), Tensor)
assert_type(fastcos.triplet_margin_with_distance_loss(x, y, z), Scalar)
assert_type(fastcos.triplet_margin_with_distance_loss(a, b, b, distance_function="dot"), Tensor)

# Listwise losses.
assert_type(fastcos.info_nce_loss(x, y, temperature=0.1), Scalar)
assert_type(fastcos.info_nce_loss(x, y, reduction="none"), Array)
assert_type(fastcos.info_nce_loss(a, b, symmetric=True), Tensor)
assert_type(fastcos.sigmoid_contrastive_loss(x, y, bias=-5.0), Scalar)
assert_type(fastcos.supervised_contrastive_loss(x, labels, ref=y, ref_labels=labels), Scalar)
assert_type(fastcos.contrastive_loss(x, labels, pos_margin=0.1), Scalar)
assert_type(fastcos.multi_similarity_loss(x, labels, alpha=1.0), Scalar)
assert_type(fastcos.circle_loss(x, labels, gamma=64.0), Scalar)
assert_type(fastcos.lifted_structure_loss(x, labels), Scalar)
assert_type(fastcos.nca_loss(a, t), Tensor)
assert_type(fastcos.batch_hard_triplet_loss(x, labels, soft=True), Scalar)
assert_type(fastcos.batch_semi_hard_triplet_loss(x, labels), Scalar)
assert_type(fastcos.batch_all_triplet_loss(x, labels, reduction="sum"), Scalar)
assert_type(fastcos.normalized_softmax_loss(x, y, labels), Scalar)
assert_type(fastcos.cosface_loss(x, y, labels, scale=30.0), Scalar)
assert_type(fastcos.arcface_loss(x, y, labels, margin=20.0), Scalar)
assert_type(fastcos.proxy_nca_loss(x, y, labels), Scalar)
assert_type(fastcos.proxy_anchor_loss(a, b, t), Tensor)


def start(row: Row) -> tuple[float, ...]:
    return (1.0,)


def accumulate(sums: tuple[float, ...], c: tuple[float, ...], each: Candidate) -> tuple[float]:
    return (sums[0] + float(each.s),)


def finalize(
    sums: tuple[float, ...], c: tuple[float, ...], row: Row
) -> tuple[float, float, tuple[float, ...]]:
    return sums[0], float(row.positives + row.negatives), c


def slope(c: tuple[float, ...], each: Candidate) -> float:
    return c[0]


own = fastcos.Listwise("mean similarity", start, accumulate, finalize, slope)
assert_type(fastcos.listwise_loss(x, labels, own), Scalar)
fastcos.check_listwise(own)
assert_type(fastcos.mine_triplets(x, labels, "hard"), tuple[Numbers, Numbers, Numbers])
assert_type(fastcos.mine_triplets(a, t), tuple[Tensor, Tensor, Tensor])

# Similarities, distances, neighbours.
assert_type(fastcos.cosine_similarity(x, y), Array)
assert_type(fastcos.cosine_similarity(a, b, axis=0), Tensor)
assert_type(fastcos.paired_distance(x, y, "manhattan"), Array)
assert_type(fastcos.pairwise(x, None, "euclidean", out=np.empty((8, 8), np.float32)), Array)
assert_type(fastcos.pairwise(b, b), Tensor)
found = fastcos.nearest(x, y, 3, "cosine", block=4)
assert_type(found, fastcos.Neighbors)
assert_type(found.indices, Array)
assert_type(fastcos.nearest(b, None, 3).distances, Tensor)
within = fastcos.neighbors_within(x, None, 0.1)
assert_type(within, fastcos.Within)
assert_type(within.indptr, Array)
assert_type(fastcos.neighbors_within(b, None, 0.1).indices, Tensor)
assert_type(fastcos.near_duplicates(x, 0.99), Numbers)
assert_type(fastcos.near_duplicates(b, 0.99), Tensor)


def first(of: fastcos.Neighbors) -> Array:
    return of.indices[:, 0]


first(found)

# Rows of tables stand for arrays of rows.
assert_type(fastcos.rows(x, [0, 1]), Array)
assert_type(fastcos.rows(a, t), Tensor)
assert_type(fastcos.cosine_embedding_loss(fastcos.rows(a, t), fastcos.rows(a, t), t), Tensor)
named = fastcos.grad(fastcos.cosine_embedding_loss, 0)
gradient_of_rows: fastcos.RowGradient = named(
    fastcos.rows(x, labels, sparse=True), fastcos.rows(x, labels, sparse=True), signs
)
assert_type(gradient_of_rows.values, Array)
sparse = fastcos.RowGradient(np.arange(2), x[:2])
assert_type(sparse.rows, Numbers)

# Gradients: argnums in all forms, of arrays and of tensors, reduced or not.
several = fastcos.value_and_grad(fastcos.cosine_embedding_loss)
assert_type(several(x, y, signs), tuple[Scalar, tuple[Array, ...]])
assert_type(several(x, y, signs, reduction="none"), tuple[Array, tuple[Array, ...]])
assert_type(several(a, b, t, margin=0.1), tuple[Tensor, tuple[Tensor, ...]])
assert_type(
    several(input1=x, input2=y, target=signs, weight=signs, accumulate=True, out=[x, y]),
    tuple[Scalar, tuple[Array, ...]],
)
alone = fastcos.value_and_grad(fastcos.cosine_embedding_loss, "weight")
assert_type(alone(x, y, signs, weight=signs, out=signs), tuple[Scalar, Array])
assert_type(alone(a, b, t, weight=t, grad_output=2.0), tuple[Tensor, Tensor])
by_number = fastcos.value_and_grad(fastcos.supervised_contrastive_loss, argnums=0)
assert_type(by_number(x, labels, temperature=0.2), tuple[Scalar, Array])
mixed = fastcos.grad(fastcos.supervised_contrastive_loss, ["x", 0, "temperature"])
assert_type(mixed(x, labels), tuple[Array, ...])
assert_type(mixed(a, t, reduction="none"), tuple[Tensor, ...])
assert_type(fastcos.grad(fastcos.info_nce_loss, ("x1",))(x, y), tuple[Array, ...])
assert_type(fastcos.grad(fastcos.info_nce_loss, argnums="x2")(a, b), Tensor)
assert_type(fastcos.grad(fastcos.paired_distance)(x, y, "dot", grad_output=signs)[0], Array)
assert_type(several.wanted, tuple[str, ...])
fastcos.value_and_grad(fused.info_nce_loss, (0, 1))(a, b, symmetric=True)


def gradient(loss: Loss, rows: Array) -> Array:
    return np.asarray(fastcos.grad(loss, 0)(rows, rows, signs))


gradient(fastcos.cosine_embedding_loss, x)
gradient(fastcos.nca_loss, x)
print(fastcos.nca_loss.__name__)
for each in [fastcos.nca_loss, fastcos.supervised_contrastive_loss, fastcos.circle_loss]:
    print(each.__name__, each(x, labels), fastcos.value_and_grad(each, "x")(x, labels))

# Distances, and what is around the calls.
distance = fastcos.compiled("cosine")
assert_type(distance(x[0], y[0]), float)
assert_type(fastcos.compiled("dot", gradient=True)(x[0], y[0]), tuple[float, Array])
fastcos.check_distance(fastcos.distances.lp(3))
assert_type(fastcos.distances.DISTANCES["dot"](), fastcos.Distance)
with fastcos.threads(1):
    assert_type(fastcos.warmup("cosine_similarity"), dict[str, float])
assert_type(fastcos.show_config(), dict[str, Any])
assert_type(fastcos.__version__, str)


@fastcos.threads(2)
def limited(rows: Array, k: int) -> Array:
    return fastcos.nearest(rows, None, k).indices


assert_type(limited(x, 1), Array)

# Measures and pictures.
assert_type(measures.recall_at_k(x, labels), float)
assert_type(measures.recall_at_k(x, labels, (1, 2)), tuple[float, ...])
assert_type(measures.precision_at_r(x, labels, 2), float)
assert_type(measures.r_precision(x, labels), float)
assert_type(measures.mean_average_precision_at_r(x, labels), float)
assert_type(measures.mean_reciprocal_rank(a, t), float)
report = measures.verification([0.5, 0.1], [1, 0])
assert_type(report, measures.Verification)
assert_type(report.tar_at_far[0], measures.TarAtFar)
curve = measures.roc_curve([0.5, 0.1], [1, 0])
assert_type(curve, measures.RocCurve)
assert_type(curve.far, npt.NDArray[np.float64])
lazy = Lazy()
delayed: list[Any] = [measures.recall_at_k(lazy, labels), measures.roc_curve(lazy, labels)]
delayed += [measures.precision_at_r(lazy, labels, (1, 2)), measures.r_precision(lazy, labels)]
delayed += [measures.mean_average_precision_at_r(lazy, labels)]
delayed += [measures.mean_reciprocal_rank(lazy, labels).compute()]
delayed += [measures.verification(lazy, labels).compute().auc]
assert_type(plots.roc([0.5, 0.1], [1, 0]), Axes)
assert_type(plots.scores([0.5, 0.1], [1, 0]), Axes)

# scikit-learn.
embedding = LinearEmbedding(2, "triplet_margin", solver="sgd", random_state=0).fit(x, labels)
assert_type(embedding, LinearEmbedding)
assert_type(embedding.transform(x), Array)
assert_type(embedding.score_pairs(x, [[0, 1]]), Array)
assert_type(embedding.components_, Array)

# torch's functions and modules.
assert_type(fused.cosine_similarity(a, b), Tensor)
assert_type(fused.pairwise_distance(a, b), Tensor)
assert_type(fused.cosine_embedding_loss(a, b, t), Tensor)
assert_type(fused.hinge_embedding_loss(a, t), Tensor)
assert_type(fused.triplet_margin_loss(a, b, b), Tensor)
assert_type(fused.triplet_margin_with_distance_loss(a, b, b), Tensor)
assert_type(fused.info_nce_loss(a, b), Tensor)
assert_type(fused.sigmoid_contrastive_loss(a, b), Tensor)
assert_type(fused.batch_all_triplet_loss(a, t, gather=True), Tensor)
assert_type(fused.batch_hard_triplet_loss(a, t, gather=True), Tensor)
assert_type(fused.batch_semi_hard_triplet_loss(a, t, gather=True), Tensor)
assert_type(fused.circle_loss(a, t, gather=True), Tensor)
assert_type(fused.contrastive_loss(a, t, gather=True), Tensor)
assert_type(fused.lifted_structure_loss(a, t, gather=True), Tensor)
assert_type(fused.multi_similarity_loss(a, t, gather=True), Tensor)
assert_type(fused.nca_loss(a, t, gather=True), Tensor)
assert_type(fused.supervised_contrastive_loss(a, t, gather=True), Tensor)
assert_type(fused.arcface_loss(a, b, t, process_group=None), Tensor)
assert_type(fused.cosface_loss(a, b, t, process_group=None), Tensor)
assert_type(fused.normalized_softmax_loss(a, b, t, process_group=None), Tensor)
assert_type(fused.proxy_anchor_loss(a, b, t, process_group=None), Tensor)
assert_type(fused.proxy_nca_loss(a, b, t, process_group=None), Tensor)
assert_type(fused.listwise_loss(a, t, own), Tensor)
assert_type(fused.CosineEmbeddingLoss(margin=0.1)(a, b, t), Tensor)
assert_type(fused.CosineSimilarity()(a, b), Tensor)
assert_type(fused.PairwiseDistance(p=1)(a, b), Tensor)
assert_type(fused.HingeEmbeddingLoss()(a, t), Tensor)
assert_type(fused.TripletMarginLoss()(a, b, b), Tensor)
assert_type(fused.TripletMarginWithDistanceLoss()(a, b, b), Tensor)
assert_type(fused.InfoNCELoss(learnable=True)(a, b), Tensor)
assert_type(fused.SigmoidContrastiveLoss()(a, b), Tensor)
assert_type(fused.SupConLoss()(a, t), Tensor)
assert_type(fused.ContrastiveLoss()(a, t), Tensor)
assert_type(fused.MultiSimilarityLoss()(a, t), Tensor)
assert_type(fused.CircleLoss()(a, t), Tensor)
assert_type(fused.LiftedStructureLoss()(a, t), Tensor)
assert_type(fused.NCALoss()(a, t), Tensor)
assert_type(fused.BatchHardTripletLoss()(a, t), Tensor)
assert_type(fused.BatchSemiHardTripletLoss()(a, t), Tensor)
assert_type(fused.BatchAllTripletLoss()(a, t), Tensor)
assert_type(fused.ArcFaceLoss(4, 16)(a, t), Tensor)
assert_type(fused.CosFaceLoss(4, 16)(a, t), Tensor)
assert_type(fused.NormalizedSoftmaxLoss(4, 16)(a, t), Tensor)
assert_type(fused.ProxyAnchorLoss(4, 16)(a, t), Tensor)
assert_type(fused.ProxyNCALoss(4, 16)(a, t), Tensor)
assert_type(fused.InfoNCELoss().log_temperature, torch.nn.Parameter)
