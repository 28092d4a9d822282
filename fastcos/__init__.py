"""Metric-learning losses on raw arrays: value and gradient in one fused pass.

Rows are the last axis, ``(..., D)``; leading axes broadcast. NumPy arrays, lists, CuPy arrays and
torch tensors are taken, and by losses of rows and searches Dask arrays; results are of the kind
that went in.

Losses:
    cosine_embedding_loss               pairs with labels ±1, by their cosine
    cosine_distance_loss                one minus the cosine of labels and predictions
    triplet_margin_loss                 anchor, positive, negative, in a p-norm
    triplet_margin_with_distance_loss   the same in any distance
    hinge_embedding_loss                distances with labels ±1

A batch, every row against every other, without the N x N matrix:
    info_nce_loss                       row i of one set belongs to row i of another
    sigmoid_contrastive_loss            the same, for each pair by itself
    supervised_contrastive_loss         rows of one label are drawn together
    contrastive_loss                    all pairs, with margins
    multi_similarity_loss               all pairs, by how hard they are
    circle_loss                         all pairs, by how far they are from where they should be
    lifted_structure_loss               each pair of one label against all negatives of both
    nca_loss                            the chance of a neighbour of the same label
    batch_hard_triplet_loss             the farthest positive and the nearest negative
    batch_semi_hard_triplet_loss        the nearest negative beyond each positive
    batch_all_triplet_loss              all triplets, by sorting
    normalized_softmax_loss             rows against a proxy for each class
    cosface_loss                        the same with a margin on the cosine
    arcface_loss                        the same with a margin on the angle
    proxy_nca_loss                      nca_loss with proxies for neighbours
    proxy_anchor_loss                   each proxy against all rows
    listwise_loss                       one of your own
    Listwise                            its record, as scalar functions
    check_listwise                      its slopes against finite differences
    mine_triplets                       triplets as numbers of rows, for the losses above

Similarity and distance of rows:
    cosine_similarity                   the cosine of the angle
    paired_distance                     any distance, by name or as a Distance

Neighbours, exactly:
    nearest                             the k nearest rows of a gallery
    neighbors_within                    all pairs within a radius
    Neighbors                           what nearest returns
    Within                              what neighbors_within returns
    near_duplicates                     groups of rows that are nearly the same
    pairwise                            the whole matrix of distances

Rows of a table:
    rows                                the operand of pair and triplet lists: nothing is gathered
    RowGradient                         the gradient of the rows that are named alone

Gradients:
    value_and_grad                      a loss as a function that returns its value and gradients
    grad                                the same without the value

Distances:
    distances                           the module of them: cosine, euclidean, manhattan, lp, ...
    Distance                            one of your own, as scalar functions
    compiled                            one of them as a function for Numba code of your own
    check_distance                      its gradient against finite differences

Measures:
    measures                            the module of them: recall_at_k, verification, ...
    plots                               the module of their pictures, with matplotlib

Around them:
    threads                             at most n threads within a block
    warmup                              compiles ahead of the first call
    show_config                         what this installation has

``fastcos.adapters.torch`` has torch's functions and modules on the same kernels,
``fastcos.sklearn`` a learner for scikit-learn, ``fastcos.typing`` the types of the signatures.
``python -m fastcos demo`` shows it at work; the README says the rest.
"""

from typing import TYPE_CHECKING

from fastcos import distances
from fastcos._limit import threads
from fastcos._version import __version__
from fastcos.api import (
    Neighbors,
    RowGradient,
    Within,
    arcface_loss,
    batch_all_triplet_loss,
    batch_hard_triplet_loss,
    batch_semi_hard_triplet_loss,
    circle_loss,
    compiled,
    contrastive_loss,
    cosface_loss,
    cosine_distance_loss,
    cosine_embedding_loss,
    cosine_similarity,
    grad,
    hinge_embedding_loss,
    info_nce_loss,
    lifted_structure_loss,
    listwise_loss,
    mine_triplets,
    multi_similarity_loss,
    nca_loss,
    near_duplicates,
    nearest,
    neighbors_within,
    normalized_softmax_loss,
    paired_distance,
    pairwise,
    proxy_anchor_loss,
    proxy_nca_loss,
    rows,
    sigmoid_contrastive_loss,
    supervised_contrastive_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
    value_and_grad,
)
from fastcos.commands.info import show_config
from fastcos.commands.warmup import warmup
from fastcos.distances import Distance
from fastcos.distances.check import check_distance
from fastcos.listwise import Listwise
from fastcos.listwise.check import check_listwise

if TYPE_CHECKING:
    from fastcos import measures as measures
    from fastcos import plots as plots

__all__ = [
    "Distance",
    "Listwise",
    "Neighbors",
    "RowGradient",
    "Within",
    "__version__",
    "arcface_loss",
    "batch_all_triplet_loss",
    "batch_hard_triplet_loss",
    "batch_semi_hard_triplet_loss",
    "check_distance",
    "check_listwise",
    "circle_loss",
    "compiled",
    "contrastive_loss",
    "cosface_loss",
    "cosine_distance_loss",
    "cosine_embedding_loss",
    "cosine_similarity",
    "distances",
    "grad",
    "hinge_embedding_loss",
    "info_nce_loss",
    "lifted_structure_loss",
    "listwise_loss",
    "measures",
    "mine_triplets",
    "multi_similarity_loss",
    "nca_loss",
    "near_duplicates",
    "nearest",
    "neighbors_within",
    "normalized_softmax_loss",
    "paired_distance",
    "pairwise",
    "plots",
    "proxy_anchor_loss",
    "proxy_nca_loss",
    "rows",
    "show_config",
    "sigmoid_contrastive_loss",
    "supervised_contrastive_loss",
    "threads",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
    "value_and_grad",
    "warmup",
]


def __dir__() -> list[str]:
    return __all__


if not TYPE_CHECKING:  # with this function type checkers would take any name for one that there is

    def __getattr__(name: str) -> object:
        """Modules that few programs need are imported when they are asked for."""
        import importlib
        import sys

        if name not in ("measures", "plots"):
            said = f"module {__name__!r} has no attribute {name!r}"
            # With these Python says which name may have been meant.
            raise AttributeError(said, name=name, obj=sys.modules[__name__])
        from fastcos.kernels.forks import importing

        with importing():
            return importlib.import_module(f"fastcos.{name}")
