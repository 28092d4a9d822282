"""The types in the signatures of fastcos, for annotations of one's own.

torch is not imported: where it is not installed, type checkers take a tensor for ``Any``, and
signatures tell tensors from arrays all the same, by :class:`IsTensor`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from fastcos.distances import Distance, DistanceName

if TYPE_CHECKING:
    from torch import Tensor as Tensor

    from fastcos.api import _Loss  # of the stub

    #: A function of fastcos that :func:`fastcos.value_and_grad` takes.
    Loss: TypeAlias = _Loss[Any, Any, Any, Any, Any]
else:
    Tensor = Any
    #: A function of fastcos that :func:`fastcos.value_and_grad` takes.
    Loss = Any

__all__ = [
    "Argnums",
    "Array",
    "ArrayLike",
    "DistanceLike",
    "DistanceName",
    "DtypeName",
    "IsLazy",
    "IsTensor",
    "ListwiseDistance",
    "Loss",
    "LossName",
    "Reduced",
    "Reduction",
    "Result",
    "Scalar",
]

#: Reductions to one number, and all of them.
Reduced: TypeAlias = Literal["sum", "mean", "sum_over_batch_size", "sum_by_nonzero_weights"]
Reduction: TypeAlias = Literal["none", Reduced]
#: What kernels compute in, by name.
DtypeName: TypeAlias = Literal["float16", "bfloat16", "float32", "float64"]
#: The functions that :func:`fastcos.value_and_grad` takes, by name, but for that of one's own loss.
LossName: TypeAlias = Literal[
    "cosine_similarity",
    "paired_distance",
    "cosine_embedding_loss",
    "cosine_distance_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
    "hinge_embedding_loss",
    "info_nce_loss",
    "sigmoid_contrastive_loss",
    "supervised_contrastive_loss",
    "contrastive_loss",
    "multi_similarity_loss",
    "circle_loss",
    "lifted_structure_loss",
    "nca_loss",
    "batch_hard_triplet_loss",
    "batch_semi_hard_triplet_loss",
    "batch_all_triplet_loss",
    "normalized_softmax_loss",
    "cosface_loss",
    "arcface_loss",
    "proxy_nca_loss",
    "proxy_anchor_loss",
]
#: What listwise losses take between rows, by name.
ListwiseDistance: TypeAlias = Literal[
    "cosine",
    "dot",
    "euclidean",
    "sqeuclidean",
    "normalized_euclidean",
    "normalized_sqeuclidean",
]
#: A distance by name or as a record.
DistanceLike: TypeAlias = DistanceName | Distance
#: With respect to what gradients are asked for, by position or name.
Argnums: TypeAlias = int | str | Sequence[int | str] | None


class IsTensor(Protocol):
    """What tells a tensor from other arrays, also where torch is not there to say what one is."""

    def retain_grad(self) -> None:
        """As ``torch.Tensor`` has it."""


class IsLazy(Protocol):
    """What tells an array of Dask, which is not computed yet, from other arrays."""

    def __dask_graph__(self) -> Any:
        """As ``dask.array.Array`` has it."""


#: Arrays, tensors, and what NumPy makes arrays of, which are taken. CuPy's arrays have no types.
ArrayLike: TypeAlias = npt.ArrayLike | Tensor | IsTensor
#: An array or one number, which comes back of NumPy arrays and lists.
Array: TypeAlias = npt.NDArray[Any]
Scalar: TypeAlias = np.floating[Any]
#: An array or one number, of the library whose arrays were given.
Result: TypeAlias = Any


def __dir__() -> list[str]:
    return __all__
