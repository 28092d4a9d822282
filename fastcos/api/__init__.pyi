"""What type checkers read of the public functions: python tests/stubs.py writes it."""

# ruff: noqa: E501

from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, overload

import numpy as np
import numpy.typing as npt
from torch.distributed import ProcessGroup
from typing_extensions import TypeVar

from fastcos.api.compiled import compiled as compiled
from fastcos.api.rows import RowGradient as RowGradient
from fastcos.api.rows import rows as rows
from fastcos.distances import Distance, DistanceName
from fastcos.listwise import Listwise
from fastcos.typing import (
    Array,
    ArrayLike,
    DistanceLike,
    IsLazy,
    IsTensor,
    ListwiseDistance,
    Reduced,
    Reduction,
    Scalar,
    Tensor,
)

_Buffers: TypeAlias = (
    tuple[Array, ...] | tuple[Tensor, ...] | list[Array] | list[Tensor] | list[Array | Tensor]
)
_Buffer: TypeAlias = Array | Tensor | _Buffers
_Numbers: TypeAlias = npt.NDArray[np.int64]

_A = TypeVar("_A", default=Array)
# What comes of tensors, of arrays, and of arrays that are reduced; what gradients go to.
_T = TypeVar("_T")
_N = TypeVar("_N")
_S = TypeVar("_S")
_O = TypeVar("_O")
# What value_and_grad and grad make of a loss, with one gradient and with several, and the function
# of fastcos.adapters.torch. Covariant: a list of several losses is one of losses.
_V1 = TypeVar("_V1", covariant=True)
_V = TypeVar("_V", covariant=True)
_G1 = TypeVar("_G1", covariant=True)
_G = TypeVar("_G", covariant=True)
_Gathered = TypeVar("_Gathered", covariant=True)

class _Function:
    __name__: str
    __qualname__: str

class _Loss(_Function, Generic[_V1, _V, _G1, _G, _Gathered]):
    """A function that value_and_grad and grad take."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

class _Transformed(_Function):
    loss: Callable[..., Any]
    wanted: tuple[str, ...]
    alone: bool
    valued: bool
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

@overload
def value_and_grad(loss: _Loss[_V1, Any, Any, Any, Any], argnums: int | str) -> _V1: ...
@overload
def value_and_grad(
    loss: _Loss[Any, _V, Any, Any, Any], argnums: Sequence[int | str] | None = None
) -> _V: ...
@overload
def grad(loss: _Loss[Any, Any, _G1, Any, Any], argnums: int | str) -> _G1: ...
@overload
def grad(loss: _Loss[Any, Any, Any, _G, Any], argnums: Sequence[int | str] | None = None) -> _G: ...

class Neighbors(NamedTuple, Generic[_A]):
    distances: _A
    indices: _A

class Within(NamedTuple, Generic[_A]):
    indptr: _A
    indices: _A
    distances: _A

@overload
def nearest(
    queries: IsTensor,
    gallery: ArrayLike | None,
    k: int,
    distance: DistanceName | Distance = "cosine",
    *,
    out: tuple[Tensor, Tensor] | None = None,
    block: int | None = None,
    progress: bool = False,
) -> Neighbors[Tensor]: ...
@overload
def nearest(
    queries: IsLazy,
    gallery: ArrayLike | None,
    k: int,
    distance: DistanceName | Distance = "cosine",
    *,
    out: None = None,
    block: int | None = None,
    progress: bool = False,
) -> Neighbors[Any]: ...
@overload
def nearest(
    queries: npt.ArrayLike,
    gallery: ArrayLike | None,
    k: int,
    distance: DistanceName | Distance = "cosine",
    *,
    out: tuple[Array, Array] | None = None,
    block: int | None = None,
    progress: bool = False,
) -> Neighbors[Array]: ...
@overload
def neighbors_within(
    x: IsTensor,
    y: ArrayLike | None,
    radius: float,
    distance: DistanceName | Distance = "cosine",
    *,
    max_pairs: int = 100000000,
    block: int | None = None,
    progress: bool = False,
) -> Within[Tensor]: ...
@overload
def neighbors_within(
    x: npt.ArrayLike,
    y: ArrayLike | None,
    radius: float,
    distance: DistanceName | Distance = "cosine",
    *,
    max_pairs: int = 100000000,
    block: int | None = None,
    progress: bool = False,
) -> Within[Array]: ...
@overload
def near_duplicates(
    x: IsTensor,
    threshold: float,
    distance: DistanceName | Distance = "cosine",
    *,
    max_pairs: int = 100000000,
    block: int | None = None,
    progress: bool = False,
) -> Tensor: ...
@overload
def near_duplicates(
    x: npt.ArrayLike,
    threshold: float,
    distance: DistanceName | Distance = "cosine",
    *,
    max_pairs: int = 100000000,
    block: int | None = None,
    progress: bool = False,
) -> _Numbers: ...
@overload
def pairwise(
    x: IsTensor,
    y: ArrayLike | None = None,
    distance: DistanceName | Distance = "cosine",
    *,
    out: Tensor | None = None,
) -> Tensor: ...
@overload
def pairwise(
    x: npt.ArrayLike,
    y: ArrayLike | None = None,
    distance: DistanceName | Distance = "cosine",
    *,
    out: Array | None = None,
) -> Array: ...
@overload
def mine_triplets(
    x: IsTensor,
    labels: ArrayLike,
    kind: Literal["hard", "semi-hard", "all"] = "hard",
    *,
    margin: float = 5.0,
    ref: ArrayLike | None = None,
    ref_labels: ArrayLike | None = None,
    distance: ListwiseDistance = "euclidean",
    block: int | None = None,
    max_triplets: int = 100000000,
) -> tuple[Tensor, Tensor, Tensor]: ...
@overload
def mine_triplets(
    x: npt.ArrayLike,
    labels: ArrayLike,
    kind: Literal["hard", "semi-hard", "all"] = "hard",
    *,
    margin: float = 5.0,
    ref: ArrayLike | None = None,
    ref_labels: ArrayLike | None = None,
    distance: ListwiseDistance = "euclidean",
    block: int | None = None,
    max_triplets: int = 100000000,
) -> tuple[_Numbers, _Numbers, _Numbers]: ...

# fmt: off

class _ArcfaceLossGradients(_Transformed, Generic[_T, _N, _S, _O]):
    @overload
    def __call__(self, x: IsTensor, proxies: ArrayLike, labels: ArrayLike, *, margin: float = 28.6, scale: float = 64.0, weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _T: ...
    @overload
    def __call__(self, x: npt.ArrayLike, proxies: ArrayLike, labels: ArrayLike, *, margin: float = 28.6, scale: float = 64.0, weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _N: ...
    @overload
    def __call__(self, x: npt.ArrayLike, proxies: ArrayLike, labels: ArrayLike, *, margin: float = 28.6, scale: float = 64.0, weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _S: ...


class _ArcfaceLossGathered(_Loss[_ArcfaceLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _ArcfaceLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _ArcfaceLossGradients[Tensor, Array, Array, _Buffer], _ArcfaceLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], None]):
    def __call__(self, x: Tensor, proxies: ArrayLike, labels: ArrayLike, *, margin: float = 28.6, scale: float = 64.0, weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, gather: bool = False, process_group: ProcessGroup | None = None) -> Tensor: ...

class _ArcfaceLoss(_Loss[_ArcfaceLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _ArcfaceLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _ArcfaceLossGradients[Tensor, Array, Array, _Buffer], _ArcfaceLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], _ArcfaceLossGathered]):
    @overload
    def __call__(self, x: IsTensor, proxies: ArrayLike, labels: ArrayLike, *, margin: float = 28.6, scale: float = 64.0, weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None) -> Tensor: ...
    @overload
    def __call__(self, x: npt.ArrayLike, proxies: ArrayLike, labels: ArrayLike, *, margin: float = 28.6, scale: float = 64.0, weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None) -> Array: ...
    @overload
    def __call__(self, x: npt.ArrayLike, proxies: ArrayLike, labels: ArrayLike, *, margin: float = 28.6, scale: float = 64.0, weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None) -> Scalar: ...

arcface_loss: _ArcfaceLoss

class _BatchAllTripletLossGradients(_Transformed, Generic[_T, _N, _S, _O]):
    @overload
    def __call__(self, x: IsTensor, labels: ArrayLike, *, margin: float = 5.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'euclidean', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _T: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, margin: float = 5.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'euclidean', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _N: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, margin: float = 5.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'euclidean', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _S: ...


class _BatchAllTripletLossGathered(_Loss[_BatchAllTripletLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _BatchAllTripletLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _BatchAllTripletLossGradients[Tensor, Array, Array, _Buffer], _BatchAllTripletLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], None]):
    def __call__(self, x: Tensor, labels: ArrayLike, *, margin: float = 5.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'euclidean', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, gather: bool = False, process_group: ProcessGroup | None = None) -> Tensor: ...

class _BatchAllTripletLoss(_Loss[_BatchAllTripletLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _BatchAllTripletLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _BatchAllTripletLossGradients[Tensor, Array, Array, _Buffer], _BatchAllTripletLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], _BatchAllTripletLossGathered]):
    @overload
    def __call__(self, x: IsTensor, labels: ArrayLike, *, margin: float = 5.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'euclidean', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None) -> Tensor: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, margin: float = 5.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'euclidean', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None) -> Array: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, margin: float = 5.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'euclidean', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None) -> Scalar: ...

batch_all_triplet_loss: _BatchAllTripletLoss

class _BatchHardTripletLossGradients(_Transformed, Generic[_T, _N, _S, _O]):
    @overload
    def __call__(self, x: IsTensor, labels: ArrayLike, *, margin: float = 5.0, soft: bool = False, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'euclidean', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _T: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, margin: float = 5.0, soft: bool = False, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'euclidean', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _N: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, margin: float = 5.0, soft: bool = False, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'euclidean', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _S: ...


class _BatchHardTripletLossGathered(_Loss[_BatchHardTripletLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _BatchHardTripletLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _BatchHardTripletLossGradients[Tensor, Array, Array, _Buffer], _BatchHardTripletLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], None]):
    def __call__(self, x: Tensor, labels: ArrayLike, *, margin: float = 5.0, soft: bool = False, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'euclidean', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, gather: bool = False, process_group: ProcessGroup | None = None) -> Tensor: ...

class _BatchHardTripletLoss(_Loss[_BatchHardTripletLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _BatchHardTripletLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _BatchHardTripletLossGradients[Tensor, Array, Array, _Buffer], _BatchHardTripletLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], _BatchHardTripletLossGathered]):
    @overload
    def __call__(self, x: IsTensor, labels: ArrayLike, *, margin: float = 5.0, soft: bool = False, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'euclidean', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None) -> Tensor: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, margin: float = 5.0, soft: bool = False, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'euclidean', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None) -> Array: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, margin: float = 5.0, soft: bool = False, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'euclidean', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None) -> Scalar: ...

batch_hard_triplet_loss: _BatchHardTripletLoss

class _BatchSemiHardTripletLossGradients(_Transformed, Generic[_T, _N, _S, _O]):
    @overload
    def __call__(self, x: IsTensor, labels: ArrayLike, *, margin: float = 5.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'euclidean', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _T: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, margin: float = 5.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'euclidean', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _N: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, margin: float = 5.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'euclidean', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _S: ...


class _BatchSemiHardTripletLossGathered(_Loss[_BatchSemiHardTripletLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _BatchSemiHardTripletLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _BatchSemiHardTripletLossGradients[Tensor, Array, Array, _Buffer], _BatchSemiHardTripletLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], None]):
    def __call__(self, x: Tensor, labels: ArrayLike, *, margin: float = 5.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'euclidean', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, gather: bool = False, process_group: ProcessGroup | None = None) -> Tensor: ...

class _BatchSemiHardTripletLoss(_Loss[_BatchSemiHardTripletLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _BatchSemiHardTripletLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _BatchSemiHardTripletLossGradients[Tensor, Array, Array, _Buffer], _BatchSemiHardTripletLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], _BatchSemiHardTripletLossGathered]):
    @overload
    def __call__(self, x: IsTensor, labels: ArrayLike, *, margin: float = 5.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'euclidean', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None) -> Tensor: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, margin: float = 5.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'euclidean', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None) -> Array: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, margin: float = 5.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'euclidean', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None) -> Scalar: ...

batch_semi_hard_triplet_loss: _BatchSemiHardTripletLoss

class _CircleLossGradients(_Transformed, Generic[_T, _N, _S, _O]):
    @overload
    def __call__(self, x: IsTensor, labels: ArrayLike, *, margin: float = 0.4, gamma: float = 80.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _T: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, margin: float = 0.4, gamma: float = 80.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _N: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, margin: float = 0.4, gamma: float = 80.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _S: ...


class _CircleLossGathered(_Loss[_CircleLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _CircleLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _CircleLossGradients[Tensor, Array, Array, _Buffer], _CircleLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], None]):
    def __call__(self, x: Tensor, labels: ArrayLike, *, margin: float = 0.4, gamma: float = 80.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, gather: bool = False, process_group: ProcessGroup | None = None) -> Tensor: ...

class _CircleLoss(_Loss[_CircleLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _CircleLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _CircleLossGradients[Tensor, Array, Array, _Buffer], _CircleLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], _CircleLossGathered]):
    @overload
    def __call__(self, x: IsTensor, labels: ArrayLike, *, margin: float = 0.4, gamma: float = 80.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None) -> Tensor: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, margin: float = 0.4, gamma: float = 80.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None) -> Array: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, margin: float = 0.4, gamma: float = 80.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None) -> Scalar: ...

circle_loss: _CircleLoss

class _ContrastiveLossGradients(_Transformed, Generic[_T, _N, _S, _O]):
    @overload
    def __call__(self, x: IsTensor, labels: ArrayLike, *, pos_margin: float = 0.0, neg_margin: float = 1.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'normalized_euclidean', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _T: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, pos_margin: float = 0.0, neg_margin: float = 1.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'normalized_euclidean', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _N: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, pos_margin: float = 0.0, neg_margin: float = 1.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'normalized_euclidean', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _S: ...


class _ContrastiveLossGathered(_Loss[_ContrastiveLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _ContrastiveLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _ContrastiveLossGradients[Tensor, Array, Array, _Buffer], _ContrastiveLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], None]):
    def __call__(self, x: Tensor, labels: ArrayLike, *, pos_margin: float = 0.0, neg_margin: float = 1.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'normalized_euclidean', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, gather: bool = False, process_group: ProcessGroup | None = None) -> Tensor: ...

class _ContrastiveLoss(_Loss[_ContrastiveLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _ContrastiveLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _ContrastiveLossGradients[Tensor, Array, Array, _Buffer], _ContrastiveLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], _ContrastiveLossGathered]):
    @overload
    def __call__(self, x: IsTensor, labels: ArrayLike, *, pos_margin: float = 0.0, neg_margin: float = 1.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'normalized_euclidean', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None) -> Tensor: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, pos_margin: float = 0.0, neg_margin: float = 1.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'normalized_euclidean', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None) -> Array: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, pos_margin: float = 0.0, neg_margin: float = 1.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'normalized_euclidean', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None) -> Scalar: ...

contrastive_loss: _ContrastiveLoss

class _CosfaceLossGradients(_Transformed, Generic[_T, _N, _S, _O]):
    @overload
    def __call__(self, x: IsTensor, proxies: ArrayLike, labels: ArrayLike, *, margin: float = 0.35, scale: float = 64.0, weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _T: ...
    @overload
    def __call__(self, x: npt.ArrayLike, proxies: ArrayLike, labels: ArrayLike, *, margin: float = 0.35, scale: float = 64.0, weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _N: ...
    @overload
    def __call__(self, x: npt.ArrayLike, proxies: ArrayLike, labels: ArrayLike, *, margin: float = 0.35, scale: float = 64.0, weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _S: ...


class _CosfaceLossGathered(_Loss[_CosfaceLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _CosfaceLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _CosfaceLossGradients[Tensor, Array, Array, _Buffer], _CosfaceLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], None]):
    def __call__(self, x: Tensor, proxies: ArrayLike, labels: ArrayLike, *, margin: float = 0.35, scale: float = 64.0, weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, gather: bool = False, process_group: ProcessGroup | None = None) -> Tensor: ...

class _CosfaceLoss(_Loss[_CosfaceLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _CosfaceLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _CosfaceLossGradients[Tensor, Array, Array, _Buffer], _CosfaceLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], _CosfaceLossGathered]):
    @overload
    def __call__(self, x: IsTensor, proxies: ArrayLike, labels: ArrayLike, *, margin: float = 0.35, scale: float = 64.0, weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None) -> Tensor: ...
    @overload
    def __call__(self, x: npt.ArrayLike, proxies: ArrayLike, labels: ArrayLike, *, margin: float = 0.35, scale: float = 64.0, weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None) -> Array: ...
    @overload
    def __call__(self, x: npt.ArrayLike, proxies: ArrayLike, labels: ArrayLike, *, margin: float = 0.35, scale: float = 64.0, weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None) -> Scalar: ...

cosface_loss: _CosfaceLoss

class _CosineDistanceLossGradients(_Transformed, Generic[_T, _N, _S, _O]):
    @overload
    def __call__(self, labels: IsTensor, predictions: ArrayLike, *, axis: int = -1, weights: ArrayLike = 1.0, normalize: bool = True, eps: float = 0.0, reduction: Reduction = 'sum_by_nonzero_weights', grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _T: ...
    @overload
    def __call__(self, labels: IsLazy, predictions: ArrayLike, *, axis: int = -1, weights: ArrayLike = 1.0, normalize: bool = True, eps: float = 0.0, reduction: Reduction = 'sum_by_nonzero_weights', grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> Any: ...
    @overload
    def __call__(self, labels: npt.ArrayLike, predictions: ArrayLike, *, axis: int = -1, weights: ArrayLike = 1.0, normalize: bool = True, eps: float = 0.0, reduction: Literal["none"], grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _N: ...
    @overload
    def __call__(self, labels: npt.ArrayLike, predictions: ArrayLike, *, axis: int = -1, weights: ArrayLike = 1.0, normalize: bool = True, eps: float = 0.0, reduction: Reduced = 'sum_by_nonzero_weights', grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _S: ...


class _CosineDistanceLoss(_Loss[_CosineDistanceLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _CosineDistanceLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _CosineDistanceLossGradients[Tensor, Array, Array, _Buffer], _CosineDistanceLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], None]):
    @overload
    def __call__(self, labels: IsTensor, predictions: ArrayLike, *, axis: int = -1, weights: ArrayLike = 1.0, normalize: bool = True, eps: float = 0.0, reduction: Reduction = 'sum_by_nonzero_weights') -> Tensor: ...
    @overload
    def __call__(self, labels: IsLazy, predictions: ArrayLike, *, axis: int = -1, weights: ArrayLike = 1.0, normalize: bool = True, eps: float = 0.0, reduction: Reduction = 'sum_by_nonzero_weights') -> Any: ...
    @overload
    def __call__(self, labels: npt.ArrayLike, predictions: ArrayLike, *, axis: int = -1, weights: ArrayLike = 1.0, normalize: bool = True, eps: float = 0.0, reduction: Literal["none"]) -> Array: ...
    @overload
    def __call__(self, labels: npt.ArrayLike, predictions: ArrayLike, *, axis: int = -1, weights: ArrayLike = 1.0, normalize: bool = True, eps: float = 0.0, reduction: Reduced = 'sum_by_nonzero_weights') -> Scalar: ...

cosine_distance_loss: _CosineDistanceLoss

class _CosineEmbeddingLossGradients(_Transformed, Generic[_T, _N, _S, _O]):
    @overload
    def __call__(self, input1: IsTensor, input2: ArrayLike, target: ArrayLike, *, margin: float = 0.0, pos_margin: float = 1.0, eps: float = 0.0, axis: int = -1, weight: ArrayLike | None = None, reduction: Reduction = 'mean', validate: bool | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _T: ...
    @overload
    def __call__(self, input1: IsLazy, input2: ArrayLike, target: ArrayLike, *, margin: float = 0.0, pos_margin: float = 1.0, eps: float = 0.0, axis: int = -1, weight: ArrayLike | None = None, reduction: Reduction = 'mean', validate: bool | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> Any: ...
    @overload
    def __call__(self, input1: npt.ArrayLike, input2: ArrayLike, target: ArrayLike, *, margin: float = 0.0, pos_margin: float = 1.0, eps: float = 0.0, axis: int = -1, weight: ArrayLike | None = None, reduction: Literal["none"], validate: bool | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _N: ...
    @overload
    def __call__(self, input1: npt.ArrayLike, input2: ArrayLike, target: ArrayLike, *, margin: float = 0.0, pos_margin: float = 1.0, eps: float = 0.0, axis: int = -1, weight: ArrayLike | None = None, reduction: Reduced = 'mean', validate: bool | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _S: ...


class _CosineEmbeddingLoss(_Loss[_CosineEmbeddingLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _CosineEmbeddingLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _CosineEmbeddingLossGradients[Tensor, Array, Array, _Buffer], _CosineEmbeddingLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], None]):
    @overload
    def __call__(self, input1: IsTensor, input2: ArrayLike, target: ArrayLike, *, margin: float = 0.0, pos_margin: float = 1.0, eps: float = 0.0, axis: int = -1, weight: ArrayLike | None = None, reduction: Reduction = 'mean', validate: bool | None = None) -> Tensor: ...
    @overload
    def __call__(self, input1: IsLazy, input2: ArrayLike, target: ArrayLike, *, margin: float = 0.0, pos_margin: float = 1.0, eps: float = 0.0, axis: int = -1, weight: ArrayLike | None = None, reduction: Reduction = 'mean', validate: bool | None = None) -> Any: ...
    @overload
    def __call__(self, input1: npt.ArrayLike, input2: ArrayLike, target: ArrayLike, *, margin: float = 0.0, pos_margin: float = 1.0, eps: float = 0.0, axis: int = -1, weight: ArrayLike | None = None, reduction: Literal["none"], validate: bool | None = None) -> Array: ...
    @overload
    def __call__(self, input1: npt.ArrayLike, input2: ArrayLike, target: ArrayLike, *, margin: float = 0.0, pos_margin: float = 1.0, eps: float = 0.0, axis: int = -1, weight: ArrayLike | None = None, reduction: Reduced = 'mean', validate: bool | None = None) -> Scalar: ...

cosine_embedding_loss: _CosineEmbeddingLoss

class _CosineSimilarityGradients(_Transformed, Generic[_T, _N, _S, _O]):
    @overload
    def __call__(self, x1: IsTensor, x2: ArrayLike, *, axis: int = -1, eps: float = 0.0, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _T: ...
    @overload
    def __call__(self, x1: IsLazy, x2: ArrayLike, *, axis: int = -1, eps: float = 0.0, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> Any: ...
    @overload
    def __call__(self, x1: npt.ArrayLike, x2: ArrayLike, *, axis: int = -1, eps: float = 0.0, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _N: ...


class _CosineSimilarity(_Loss[_CosineSimilarityGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _CosineSimilarityGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _CosineSimilarityGradients[Tensor, Array, Array, _Buffer], _CosineSimilarityGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], None]):
    @overload
    def __call__(self, x1: IsTensor, x2: ArrayLike, *, axis: int = -1, eps: float = 0.0) -> Tensor: ...
    @overload
    def __call__(self, x1: IsLazy, x2: ArrayLike, *, axis: int = -1, eps: float = 0.0) -> Any: ...
    @overload
    def __call__(self, x1: npt.ArrayLike, x2: ArrayLike, *, axis: int = -1, eps: float = 0.0) -> Array: ...

cosine_similarity: _CosineSimilarity

class _HingeEmbeddingLossGradients(_Transformed, Generic[_T, _N, _S, _O]):
    @overload
    def __call__(self, input: IsTensor, target: ArrayLike, *, margin: float = 1.0, weight: ArrayLike | None = None, reduction: Reduction = 'mean', validate: bool | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _T: ...
    @overload
    def __call__(self, input: IsLazy, target: ArrayLike, *, margin: float = 1.0, weight: ArrayLike | None = None, reduction: Reduction = 'mean', validate: bool | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> Any: ...
    @overload
    def __call__(self, input: npt.ArrayLike, target: ArrayLike, *, margin: float = 1.0, weight: ArrayLike | None = None, reduction: Literal["none"], validate: bool | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _N: ...
    @overload
    def __call__(self, input: npt.ArrayLike, target: ArrayLike, *, margin: float = 1.0, weight: ArrayLike | None = None, reduction: Reduced = 'mean', validate: bool | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _S: ...


class _HingeEmbeddingLoss(_Loss[_HingeEmbeddingLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _HingeEmbeddingLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _HingeEmbeddingLossGradients[Tensor, Array, Array, _Buffer], _HingeEmbeddingLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], None]):
    @overload
    def __call__(self, input: IsTensor, target: ArrayLike, *, margin: float = 1.0, weight: ArrayLike | None = None, reduction: Reduction = 'mean', validate: bool | None = None) -> Tensor: ...
    @overload
    def __call__(self, input: IsLazy, target: ArrayLike, *, margin: float = 1.0, weight: ArrayLike | None = None, reduction: Reduction = 'mean', validate: bool | None = None) -> Any: ...
    @overload
    def __call__(self, input: npt.ArrayLike, target: ArrayLike, *, margin: float = 1.0, weight: ArrayLike | None = None, reduction: Literal["none"], validate: bool | None = None) -> Array: ...
    @overload
    def __call__(self, input: npt.ArrayLike, target: ArrayLike, *, margin: float = 1.0, weight: ArrayLike | None = None, reduction: Reduced = 'mean', validate: bool | None = None) -> Scalar: ...

hinge_embedding_loss: _HingeEmbeddingLoss

class _InfoNceLossGradients(_Transformed, Generic[_T, _N, _S, _O]):
    @overload
    def __call__(self, x1: IsTensor, x2: ArrayLike, *, temperature: float | ArrayLike = 0.07, symmetric: bool = False, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _T: ...
    @overload
    def __call__(self, x1: npt.ArrayLike, x2: ArrayLike, *, temperature: float | ArrayLike = 0.07, symmetric: bool = False, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _N: ...
    @overload
    def __call__(self, x1: npt.ArrayLike, x2: ArrayLike, *, temperature: float | ArrayLike = 0.07, symmetric: bool = False, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _S: ...


class _InfoNceLossGathered(_Loss[_InfoNceLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _InfoNceLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _InfoNceLossGradients[Tensor, Array, Array, _Buffer], _InfoNceLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], None]):
    def __call__(self, x1: Tensor, x2: ArrayLike, *, temperature: float | ArrayLike = 0.07, symmetric: bool = False, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, gather: bool = False, process_group: ProcessGroup | None = None) -> Tensor: ...

class _InfoNceLoss(_Loss[_InfoNceLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _InfoNceLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _InfoNceLossGradients[Tensor, Array, Array, _Buffer], _InfoNceLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], _InfoNceLossGathered]):
    @overload
    def __call__(self, x1: IsTensor, x2: ArrayLike, *, temperature: float | ArrayLike = 0.07, symmetric: bool = False, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None) -> Tensor: ...
    @overload
    def __call__(self, x1: npt.ArrayLike, x2: ArrayLike, *, temperature: float | ArrayLike = 0.07, symmetric: bool = False, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None) -> Array: ...
    @overload
    def __call__(self, x1: npt.ArrayLike, x2: ArrayLike, *, temperature: float | ArrayLike = 0.07, symmetric: bool = False, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None) -> Scalar: ...

info_nce_loss: _InfoNceLoss

class _LiftedStructureLossGradients(_Transformed, Generic[_T, _N, _S, _O]):
    @overload
    def __call__(self, x: IsTensor, labels: ArrayLike, *, neg_margin: float = 1.0, pos_margin: float = 0.0, distance: ListwiseDistance = 'normalized_euclidean', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _T: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, neg_margin: float = 1.0, pos_margin: float = 0.0, distance: ListwiseDistance = 'normalized_euclidean', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _N: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, neg_margin: float = 1.0, pos_margin: float = 0.0, distance: ListwiseDistance = 'normalized_euclidean', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _S: ...


class _LiftedStructureLossGathered(_Loss[_LiftedStructureLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _LiftedStructureLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _LiftedStructureLossGradients[Tensor, Array, Array, _Buffer], _LiftedStructureLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], None]):
    def __call__(self, x: Tensor, labels: ArrayLike, *, neg_margin: float = 1.0, pos_margin: float = 0.0, distance: ListwiseDistance = 'normalized_euclidean', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, gather: bool = False, process_group: ProcessGroup | None = None) -> Tensor: ...

class _LiftedStructureLoss(_Loss[_LiftedStructureLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _LiftedStructureLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _LiftedStructureLossGradients[Tensor, Array, Array, _Buffer], _LiftedStructureLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], _LiftedStructureLossGathered]):
    @overload
    def __call__(self, x: IsTensor, labels: ArrayLike, *, neg_margin: float = 1.0, pos_margin: float = 0.0, distance: ListwiseDistance = 'normalized_euclidean', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None) -> Tensor: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, neg_margin: float = 1.0, pos_margin: float = 0.0, distance: ListwiseDistance = 'normalized_euclidean', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None) -> Array: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, neg_margin: float = 1.0, pos_margin: float = 0.0, distance: ListwiseDistance = 'normalized_euclidean', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None) -> Scalar: ...

lifted_structure_loss: _LiftedStructureLoss

class _ListwiseLossGradients(_Transformed, Generic[_T, _N, _S, _O]):
    @overload
    def __call__(self, x: IsTensor, labels: ArrayLike, loss: Listwise, *, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _T: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, loss: Listwise, *, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _N: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, loss: Listwise, *, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _S: ...


class _ListwiseLossGathered(_Loss[_ListwiseLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _ListwiseLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _ListwiseLossGradients[Tensor, Array, Array, _Buffer], _ListwiseLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], None]):
    def __call__(self, x: Tensor, labels: ArrayLike, loss: Listwise, *, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, gather: bool = False, process_group: ProcessGroup | None = None) -> Tensor: ...

class _ListwiseLoss(_Loss[_ListwiseLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _ListwiseLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _ListwiseLossGradients[Tensor, Array, Array, _Buffer], _ListwiseLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], _ListwiseLossGathered]):
    @overload
    def __call__(self, x: IsTensor, labels: ArrayLike, loss: Listwise, *, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None) -> Tensor: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, loss: Listwise, *, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None) -> Array: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, loss: Listwise, *, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None) -> Scalar: ...

listwise_loss: _ListwiseLoss

class _MultiSimilarityLossGradients(_Transformed, Generic[_T, _N, _S, _O]):
    @overload
    def __call__(self, x: IsTensor, labels: ArrayLike, *, alpha: float = 2.0, beta: float = 50.0, base: float = 0.5, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _T: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, alpha: float = 2.0, beta: float = 50.0, base: float = 0.5, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _N: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, alpha: float = 2.0, beta: float = 50.0, base: float = 0.5, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _S: ...


class _MultiSimilarityLossGathered(_Loss[_MultiSimilarityLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _MultiSimilarityLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _MultiSimilarityLossGradients[Tensor, Array, Array, _Buffer], _MultiSimilarityLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], None]):
    def __call__(self, x: Tensor, labels: ArrayLike, *, alpha: float = 2.0, beta: float = 50.0, base: float = 0.5, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, gather: bool = False, process_group: ProcessGroup | None = None) -> Tensor: ...

class _MultiSimilarityLoss(_Loss[_MultiSimilarityLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _MultiSimilarityLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _MultiSimilarityLossGradients[Tensor, Array, Array, _Buffer], _MultiSimilarityLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], _MultiSimilarityLossGathered]):
    @overload
    def __call__(self, x: IsTensor, labels: ArrayLike, *, alpha: float = 2.0, beta: float = 50.0, base: float = 0.5, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None) -> Tensor: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, alpha: float = 2.0, beta: float = 50.0, base: float = 0.5, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None) -> Array: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, alpha: float = 2.0, beta: float = 50.0, base: float = 0.5, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None) -> Scalar: ...

multi_similarity_loss: _MultiSimilarityLoss

class _NcaLossGradients(_Transformed, Generic[_T, _N, _S, _O]):
    @overload
    def __call__(self, x: IsTensor, labels: ArrayLike, *, scale: float = 1.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'normalized_sqeuclidean', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _T: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, scale: float = 1.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'normalized_sqeuclidean', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _N: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, scale: float = 1.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'normalized_sqeuclidean', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _S: ...


class _NcaLossGathered(_Loss[_NcaLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _NcaLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _NcaLossGradients[Tensor, Array, Array, _Buffer], _NcaLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], None]):
    def __call__(self, x: Tensor, labels: ArrayLike, *, scale: float = 1.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'normalized_sqeuclidean', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, gather: bool = False, process_group: ProcessGroup | None = None) -> Tensor: ...

class _NcaLoss(_Loss[_NcaLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _NcaLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _NcaLossGradients[Tensor, Array, Array, _Buffer], _NcaLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], _NcaLossGathered]):
    @overload
    def __call__(self, x: IsTensor, labels: ArrayLike, *, scale: float = 1.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'normalized_sqeuclidean', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None) -> Tensor: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, scale: float = 1.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'normalized_sqeuclidean', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None) -> Array: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, scale: float = 1.0, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'normalized_sqeuclidean', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None) -> Scalar: ...

nca_loss: _NcaLoss

class _NormalizedSoftmaxLossGradients(_Transformed, Generic[_T, _N, _S, _O]):
    @overload
    def __call__(self, x: IsTensor, proxies: ArrayLike, labels: ArrayLike, *, temperature: float | ArrayLike = 0.05, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _T: ...
    @overload
    def __call__(self, x: npt.ArrayLike, proxies: ArrayLike, labels: ArrayLike, *, temperature: float | ArrayLike = 0.05, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _N: ...
    @overload
    def __call__(self, x: npt.ArrayLike, proxies: ArrayLike, labels: ArrayLike, *, temperature: float | ArrayLike = 0.05, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _S: ...


class _NormalizedSoftmaxLossGathered(_Loss[_NormalizedSoftmaxLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _NormalizedSoftmaxLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _NormalizedSoftmaxLossGradients[Tensor, Array, Array, _Buffer], _NormalizedSoftmaxLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], None]):
    def __call__(self, x: Tensor, proxies: ArrayLike, labels: ArrayLike, *, temperature: float | ArrayLike = 0.05, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, gather: bool = False, process_group: ProcessGroup | None = None) -> Tensor: ...

class _NormalizedSoftmaxLoss(_Loss[_NormalizedSoftmaxLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _NormalizedSoftmaxLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _NormalizedSoftmaxLossGradients[Tensor, Array, Array, _Buffer], _NormalizedSoftmaxLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], _NormalizedSoftmaxLossGathered]):
    @overload
    def __call__(self, x: IsTensor, proxies: ArrayLike, labels: ArrayLike, *, temperature: float | ArrayLike = 0.05, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None) -> Tensor: ...
    @overload
    def __call__(self, x: npt.ArrayLike, proxies: ArrayLike, labels: ArrayLike, *, temperature: float | ArrayLike = 0.05, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None) -> Array: ...
    @overload
    def __call__(self, x: npt.ArrayLike, proxies: ArrayLike, labels: ArrayLike, *, temperature: float | ArrayLike = 0.05, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None) -> Scalar: ...

normalized_softmax_loss: _NormalizedSoftmaxLoss

class _PairedDistanceGradients(_Transformed, Generic[_T, _N, _S, _O]):
    @overload
    def __call__(self, x1: IsTensor, x2: ArrayLike, distance: DistanceLike | Callable[[Any, Any], Any] = 'euclidean', *, axis: int = -1, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _T: ...
    @overload
    def __call__(self, x1: IsLazy, x2: ArrayLike, distance: DistanceLike | Callable[[Any, Any], Any] = 'euclidean', *, axis: int = -1, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> Any: ...
    @overload
    def __call__(self, x1: npt.ArrayLike, x2: ArrayLike, distance: DistanceLike | Callable[[Any, Any], Any] = 'euclidean', *, axis: int = -1, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _N: ...


class _PairedDistance(_Loss[_PairedDistanceGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _PairedDistanceGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _PairedDistanceGradients[Tensor, Array, Array, _Buffer], _PairedDistanceGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], None]):
    @overload
    def __call__(self, x1: IsTensor, x2: ArrayLike, distance: DistanceLike | Callable[[Any, Any], Any] = 'euclidean', *, axis: int = -1) -> Tensor: ...
    @overload
    def __call__(self, x1: IsLazy, x2: ArrayLike, distance: DistanceLike | Callable[[Any, Any], Any] = 'euclidean', *, axis: int = -1) -> Any: ...
    @overload
    def __call__(self, x1: npt.ArrayLike, x2: ArrayLike, distance: DistanceLike | Callable[[Any, Any], Any] = 'euclidean', *, axis: int = -1) -> Array: ...

paired_distance: _PairedDistance

class _ProxyAnchorLossGradients(_Transformed, Generic[_T, _N, _S, _O]):
    @overload
    def __call__(self, x: IsTensor, proxies: ArrayLike, labels: ArrayLike, *, margin: float = 0.1, alpha: float = 32.0, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _T: ...
    @overload
    def __call__(self, x: npt.ArrayLike, proxies: ArrayLike, labels: ArrayLike, *, margin: float = 0.1, alpha: float = 32.0, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _N: ...
    @overload
    def __call__(self, x: npt.ArrayLike, proxies: ArrayLike, labels: ArrayLike, *, margin: float = 0.1, alpha: float = 32.0, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _S: ...


class _ProxyAnchorLossGathered(_Loss[_ProxyAnchorLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _ProxyAnchorLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _ProxyAnchorLossGradients[Tensor, Array, Array, _Buffer], _ProxyAnchorLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], None]):
    def __call__(self, x: Tensor, proxies: ArrayLike, labels: ArrayLike, *, margin: float = 0.1, alpha: float = 32.0, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, gather: bool = False, process_group: ProcessGroup | None = None) -> Tensor: ...

class _ProxyAnchorLoss(_Loss[_ProxyAnchorLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _ProxyAnchorLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _ProxyAnchorLossGradients[Tensor, Array, Array, _Buffer], _ProxyAnchorLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], _ProxyAnchorLossGathered]):
    @overload
    def __call__(self, x: IsTensor, proxies: ArrayLike, labels: ArrayLike, *, margin: float = 0.1, alpha: float = 32.0, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None) -> Tensor: ...
    @overload
    def __call__(self, x: npt.ArrayLike, proxies: ArrayLike, labels: ArrayLike, *, margin: float = 0.1, alpha: float = 32.0, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None) -> Array: ...
    @overload
    def __call__(self, x: npt.ArrayLike, proxies: ArrayLike, labels: ArrayLike, *, margin: float = 0.1, alpha: float = 32.0, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None) -> Scalar: ...

proxy_anchor_loss: _ProxyAnchorLoss

class _ProxyNcaLossGradients(_Transformed, Generic[_T, _N, _S, _O]):
    @overload
    def __call__(self, x: IsTensor, proxies: ArrayLike, labels: ArrayLike, *, scale: float = 1.0, distance: ListwiseDistance = 'normalized_sqeuclidean', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _T: ...
    @overload
    def __call__(self, x: npt.ArrayLike, proxies: ArrayLike, labels: ArrayLike, *, scale: float = 1.0, distance: ListwiseDistance = 'normalized_sqeuclidean', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _N: ...
    @overload
    def __call__(self, x: npt.ArrayLike, proxies: ArrayLike, labels: ArrayLike, *, scale: float = 1.0, distance: ListwiseDistance = 'normalized_sqeuclidean', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _S: ...


class _ProxyNcaLossGathered(_Loss[_ProxyNcaLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _ProxyNcaLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _ProxyNcaLossGradients[Tensor, Array, Array, _Buffer], _ProxyNcaLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], None]):
    def __call__(self, x: Tensor, proxies: ArrayLike, labels: ArrayLike, *, scale: float = 1.0, distance: ListwiseDistance = 'normalized_sqeuclidean', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, gather: bool = False, process_group: ProcessGroup | None = None) -> Tensor: ...

class _ProxyNcaLoss(_Loss[_ProxyNcaLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _ProxyNcaLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _ProxyNcaLossGradients[Tensor, Array, Array, _Buffer], _ProxyNcaLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], _ProxyNcaLossGathered]):
    @overload
    def __call__(self, x: IsTensor, proxies: ArrayLike, labels: ArrayLike, *, scale: float = 1.0, distance: ListwiseDistance = 'normalized_sqeuclidean', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None) -> Tensor: ...
    @overload
    def __call__(self, x: npt.ArrayLike, proxies: ArrayLike, labels: ArrayLike, *, scale: float = 1.0, distance: ListwiseDistance = 'normalized_sqeuclidean', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None) -> Array: ...
    @overload
    def __call__(self, x: npt.ArrayLike, proxies: ArrayLike, labels: ArrayLike, *, scale: float = 1.0, distance: ListwiseDistance = 'normalized_sqeuclidean', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None) -> Scalar: ...

proxy_nca_loss: _ProxyNcaLoss

class _SigmoidContrastiveLossGradients(_Transformed, Generic[_T, _N, _S, _O]):
    @overload
    def __call__(self, x1: IsTensor, x2: ArrayLike, *, temperature: float | ArrayLike = 0.1, bias: float | ArrayLike = -10.0, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _T: ...
    @overload
    def __call__(self, x1: npt.ArrayLike, x2: ArrayLike, *, temperature: float | ArrayLike = 0.1, bias: float | ArrayLike = -10.0, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _N: ...
    @overload
    def __call__(self, x1: npt.ArrayLike, x2: ArrayLike, *, temperature: float | ArrayLike = 0.1, bias: float | ArrayLike = -10.0, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _S: ...


class _SigmoidContrastiveLossGathered(_Loss[_SigmoidContrastiveLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _SigmoidContrastiveLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _SigmoidContrastiveLossGradients[Tensor, Array, Array, _Buffer], _SigmoidContrastiveLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], None]):
    def __call__(self, x1: Tensor, x2: ArrayLike, *, temperature: float | ArrayLike = 0.1, bias: float | ArrayLike = -10.0, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, gather: bool = False, process_group: ProcessGroup | None = None) -> Tensor: ...

class _SigmoidContrastiveLoss(_Loss[_SigmoidContrastiveLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _SigmoidContrastiveLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _SigmoidContrastiveLossGradients[Tensor, Array, Array, _Buffer], _SigmoidContrastiveLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], _SigmoidContrastiveLossGathered]):
    @overload
    def __call__(self, x1: IsTensor, x2: ArrayLike, *, temperature: float | ArrayLike = 0.1, bias: float | ArrayLike = -10.0, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None) -> Tensor: ...
    @overload
    def __call__(self, x1: npt.ArrayLike, x2: ArrayLike, *, temperature: float | ArrayLike = 0.1, bias: float | ArrayLike = -10.0, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None) -> Array: ...
    @overload
    def __call__(self, x1: npt.ArrayLike, x2: ArrayLike, *, temperature: float | ArrayLike = 0.1, bias: float | ArrayLike = -10.0, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None) -> Scalar: ...

sigmoid_contrastive_loss: _SigmoidContrastiveLoss

class _SupervisedContrastiveLossGradients(_Transformed, Generic[_T, _N, _S, _O]):
    @overload
    def __call__(self, x: IsTensor, labels: ArrayLike, *, temperature: float | ArrayLike = 0.1, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _T: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, temperature: float | ArrayLike = 0.1, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _N: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, temperature: float | ArrayLike = 0.1, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None, grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _S: ...


class _SupervisedContrastiveLossGathered(_Loss[_SupervisedContrastiveLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _SupervisedContrastiveLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _SupervisedContrastiveLossGradients[Tensor, Array, Array, _Buffer], _SupervisedContrastiveLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], None]):
    def __call__(self, x: Tensor, labels: ArrayLike, *, temperature: float | ArrayLike = 0.1, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None, gather: bool = False, process_group: ProcessGroup | None = None) -> Tensor: ...

class _SupervisedContrastiveLoss(_Loss[_SupervisedContrastiveLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _SupervisedContrastiveLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _SupervisedContrastiveLossGradients[Tensor, Array, Array, _Buffer], _SupervisedContrastiveLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], _SupervisedContrastiveLossGathered]):
    @overload
    def __call__(self, x: IsTensor, labels: ArrayLike, *, temperature: float | ArrayLike = 0.1, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduction = 'mean', block: int | None = None) -> Tensor: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, temperature: float | ArrayLike = 0.1, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Literal["none"], block: int | None = None) -> Array: ...
    @overload
    def __call__(self, x: npt.ArrayLike, labels: ArrayLike, *, temperature: float | ArrayLike = 0.1, ref: ArrayLike | None = None, ref_labels: ArrayLike | None = None, distance: ListwiseDistance = 'cosine', weight: ArrayLike | None = None, reduction: Reduced = 'mean', block: int | None = None) -> Scalar: ...

supervised_contrastive_loss: _SupervisedContrastiveLoss

class _TripletMarginLossGradients(_Transformed, Generic[_T, _N, _S, _O]):
    @overload
    def __call__(self, anchor: IsTensor, positive: ArrayLike, negative: ArrayLike, *, margin: float = 1.0, p: float = 2.0, eps: float = 1e-06, swap: bool = False, axis: int = -1, weight: ArrayLike | None = None, reduction: Reduction = 'mean', grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _T: ...
    @overload
    def __call__(self, anchor: IsLazy, positive: ArrayLike, negative: ArrayLike, *, margin: float = 1.0, p: float = 2.0, eps: float = 1e-06, swap: bool = False, axis: int = -1, weight: ArrayLike | None = None, reduction: Reduction = 'mean', grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> Any: ...
    @overload
    def __call__(self, anchor: npt.ArrayLike, positive: ArrayLike, negative: ArrayLike, *, margin: float = 1.0, p: float = 2.0, eps: float = 1e-06, swap: bool = False, axis: int = -1, weight: ArrayLike | None = None, reduction: Literal["none"], grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _N: ...
    @overload
    def __call__(self, anchor: npt.ArrayLike, positive: ArrayLike, negative: ArrayLike, *, margin: float = 1.0, p: float = 2.0, eps: float = 1e-06, swap: bool = False, axis: int = -1, weight: ArrayLike | None = None, reduction: Reduced = 'mean', grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _S: ...


class _TripletMarginLoss(_Loss[_TripletMarginLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _TripletMarginLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _TripletMarginLossGradients[Tensor, Array, Array, _Buffer], _TripletMarginLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], None]):
    @overload
    def __call__(self, anchor: IsTensor, positive: ArrayLike, negative: ArrayLike, *, margin: float = 1.0, p: float = 2.0, eps: float = 1e-06, swap: bool = False, axis: int = -1, weight: ArrayLike | None = None, reduction: Reduction = 'mean') -> Tensor: ...
    @overload
    def __call__(self, anchor: IsLazy, positive: ArrayLike, negative: ArrayLike, *, margin: float = 1.0, p: float = 2.0, eps: float = 1e-06, swap: bool = False, axis: int = -1, weight: ArrayLike | None = None, reduction: Reduction = 'mean') -> Any: ...
    @overload
    def __call__(self, anchor: npt.ArrayLike, positive: ArrayLike, negative: ArrayLike, *, margin: float = 1.0, p: float = 2.0, eps: float = 1e-06, swap: bool = False, axis: int = -1, weight: ArrayLike | None = None, reduction: Literal["none"]) -> Array: ...
    @overload
    def __call__(self, anchor: npt.ArrayLike, positive: ArrayLike, negative: ArrayLike, *, margin: float = 1.0, p: float = 2.0, eps: float = 1e-06, swap: bool = False, axis: int = -1, weight: ArrayLike | None = None, reduction: Reduced = 'mean') -> Scalar: ...

triplet_margin_loss: _TripletMarginLoss

class _TripletMarginWithDistanceLossGradients(_Transformed, Generic[_T, _N, _S, _O]):
    @overload
    def __call__(self, anchor: IsTensor, positive: ArrayLike, negative: ArrayLike, *, distance_function: DistanceLike | Callable[[Any, Any], Any] | None = None, margin: float = 1.0, swap: bool = False, axis: int = -1, weight: ArrayLike | None = None, reduction: Reduction = 'mean', grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _T: ...
    @overload
    def __call__(self, anchor: IsLazy, positive: ArrayLike, negative: ArrayLike, *, distance_function: DistanceLike | Callable[[Any, Any], Any] | None = None, margin: float = 1.0, swap: bool = False, axis: int = -1, weight: ArrayLike | None = None, reduction: Reduction = 'mean', grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> Any: ...
    @overload
    def __call__(self, anchor: npt.ArrayLike, positive: ArrayLike, negative: ArrayLike, *, distance_function: DistanceLike | Callable[[Any, Any], Any] | None = None, margin: float = 1.0, swap: bool = False, axis: int = -1, weight: ArrayLike | None = None, reduction: Literal["none"], grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _N: ...
    @overload
    def __call__(self, anchor: npt.ArrayLike, positive: ArrayLike, negative: ArrayLike, *, distance_function: DistanceLike | Callable[[Any, Any], Any] | None = None, margin: float = 1.0, swap: bool = False, axis: int = -1, weight: ArrayLike | None = None, reduction: Reduced = 'mean', grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False) -> _S: ...


class _TripletMarginWithDistanceLoss(_Loss[_TripletMarginWithDistanceLossGradients[tuple[Tensor, Tensor], tuple[Array, Array], tuple[Scalar, Array], _Buffer], _TripletMarginWithDistanceLossGradients[tuple[Tensor, tuple[Tensor, ...]], tuple[Array, tuple[Array, ...]], tuple[Scalar, tuple[Array, ...]], _Buffers], _TripletMarginWithDistanceLossGradients[Tensor, Array, Array, _Buffer], _TripletMarginWithDistanceLossGradients[tuple[Tensor, ...], tuple[Array, ...], tuple[Array, ...], _Buffers], None]):
    @overload
    def __call__(self, anchor: IsTensor, positive: ArrayLike, negative: ArrayLike, *, distance_function: DistanceLike | Callable[[Any, Any], Any] | None = None, margin: float = 1.0, swap: bool = False, axis: int = -1, weight: ArrayLike | None = None, reduction: Reduction = 'mean') -> Tensor: ...
    @overload
    def __call__(self, anchor: IsLazy, positive: ArrayLike, negative: ArrayLike, *, distance_function: DistanceLike | Callable[[Any, Any], Any] | None = None, margin: float = 1.0, swap: bool = False, axis: int = -1, weight: ArrayLike | None = None, reduction: Reduction = 'mean') -> Any: ...
    @overload
    def __call__(self, anchor: npt.ArrayLike, positive: ArrayLike, negative: ArrayLike, *, distance_function: DistanceLike | Callable[[Any, Any], Any] | None = None, margin: float = 1.0, swap: bool = False, axis: int = -1, weight: ArrayLike | None = None, reduction: Literal["none"]) -> Array: ...
    @overload
    def __call__(self, anchor: npt.ArrayLike, positive: ArrayLike, negative: ArrayLike, *, distance_function: DistanceLike | Callable[[Any, Any], Any] | None = None, margin: float = 1.0, swap: bool = False, axis: int = -1, weight: ArrayLike | None = None, reduction: Reduced = 'mean') -> Scalar: ...

triplet_margin_with_distance_loss: _TripletMarginWithDistanceLoss
# fmt: on

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
