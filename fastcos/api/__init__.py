"""The public functions: what they are called with, and what they promise.

All of them take any number of leading batch axes and broadcast them without copying; float16,
bfloat16, float32, float64, integers and bool; sums are kept in float64. They return arrays of the
kind and dtype that went in, a scalar where one number is left.
"""

from fastcos.api.gradients import grad, value_and_grad
from fastcos.api.pairs import (
    cosine_distance_loss,
    cosine_embedding_loss,
    cosine_similarity,
    hinge_embedding_loss,
    paired_distance,
)
from fastcos.api.rows import RowGradient, rows
from fastcos.api.triplets import triplet_margin_loss, triplet_margin_with_distance_loss

__all__ = [
    "RowGradient",
    "cosine_distance_loss",
    "cosine_embedding_loss",
    "cosine_similarity",
    "grad",
    "hinge_embedding_loss",
    "paired_distance",
    "rows",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
    "value_and_grad",
]


def __dir__() -> list[str]:
    return __all__
