"""The public functions: what they are called with, and what they promise."""

from fastcos.api.aligned import (
    cosine_distance_loss,
    cosine_embedding_loss,
    cosine_similarity,
    hinge_embedding_loss,
    paired_distance,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from fastcos.api.gradients import grad, value_and_grad

__all__ = [
    "cosine_distance_loss",
    "cosine_embedding_loss",
    "cosine_similarity",
    "grad",
    "hinge_embedding_loss",
    "paired_distance",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
    "value_and_grad",
]


def __dir__() -> list[str]:
    return __all__
