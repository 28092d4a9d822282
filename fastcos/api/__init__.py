"""The public functions: what they are called with, and what they promise.

All of them take any number of leading batch axes and broadcast them without copying; float16,
bfloat16, float32, float64, integers and bool; sums are kept in float64. They return arrays of the
kind and dtype that went in, a scalar where one number is left.
"""

from fastcos.api.compiled import compiled
from fastcos.api.contrastive import (
    circle_loss,
    contrastive_loss,
    info_nce_loss,
    lifted_structure_loss,
    multi_similarity_loss,
    nca_loss,
    sigmoid_contrastive_loss,
    supervised_contrastive_loss,
)
from fastcos.api.gradients import grad, value_and_grad
from fastcos.api.listwise import listwise_loss
from fastcos.api.mining import (
    batch_all_triplet_loss,
    batch_hard_triplet_loss,
    batch_semi_hard_triplet_loss,
    mine_triplets,
)
from fastcos.api.neighbors import (
    Neighbors,
    Within,
    near_duplicates,
    nearest,
    neighbors_within,
    pairwise,
)
from fastcos.api.pairs import (
    cosine_distance_loss,
    cosine_embedding_loss,
    cosine_similarity,
    hinge_embedding_loss,
    paired_distance,
)
from fastcos.api.proxies import (
    arcface_loss,
    cosface_loss,
    normalized_softmax_loss,
    proxy_anchor_loss,
    proxy_nca_loss,
)
from fastcos.api.rows import RowGradient, rows
from fastcos.api.triplets import triplet_margin_loss, triplet_margin_with_distance_loss

__all__ = [
    "Neighbors",
    "RowGradient",
    "Within",
    "arcface_loss",
    "batch_all_triplet_loss",
    "batch_hard_triplet_loss",
    "batch_semi_hard_triplet_loss",
    "circle_loss",
    "compiled",
    "contrastive_loss",
    "cosface_loss",
    "cosine_distance_loss",
    "cosine_embedding_loss",
    "cosine_similarity",
    "grad",
    "hinge_embedding_loss",
    "info_nce_loss",
    "lifted_structure_loss",
    "listwise_loss",
    "mine_triplets",
    "multi_similarity_loss",
    "nca_loss",
    "near_duplicates",
    "nearest",
    "neighbors_within",
    "normalized_softmax_loss",
    "paired_distance",
    "pairwise",
    "proxy_anchor_loss",
    "proxy_nca_loss",
    "rows",
    "sigmoid_contrastive_loss",
    "supervised_contrastive_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
    "value_and_grad",
]


def __dir__() -> list[str]:
    return __all__
