"""Metric-learning losses on raw arrays: value and gradient in one fused pass."""

from fastcos import distances
from fastcos._check import check_distance
from fastcos._config import show_config
from fastcos._limit import threads
from fastcos._version import __version__
from fastcos._warmup import warmup
from fastcos.api import (
    cosine_distance_loss,
    cosine_embedding_loss,
    cosine_similarity,
    grad,
    hinge_embedding_loss,
    paired_distance,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
    value_and_grad,
)
from fastcos.distances import Distance

__all__ = [
    "Distance",
    "__version__",
    "check_distance",
    "cosine_distance_loss",
    "cosine_embedding_loss",
    "cosine_similarity",
    "distances",
    "grad",
    "hinge_embedding_loss",
    "paired_distance",
    "show_config",
    "threads",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
    "value_and_grad",
    "warmup",
]
