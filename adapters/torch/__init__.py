"""torch's losses with torch's signatures: change the import, keep everything else.

The functions and modules of this module take the place of those of the same name in
``torch.nn.functional`` and ``torch.nn``: the same arguments, defaults, broadcasting, dtypes and
errors, the same treatment of ``eps`` and of targets other than ±1. Plain calls run in one fused
kernel: tensors of float16, bfloat16, float32 or float64 on the CPU or on one GPU, of any strides,
rows broadcast or not, any reduction, under autocast or not. On a GPU nothing waits for the device:
a call goes to torch's current stream, and can be captured in a graph once it has been made before.

torch's own operator is called instead, and decides what happens, for

- ``torch.compile``, ``torch.export``, ``torch.jit``, ``make_fx``, fake and meta tensors;
- ``torch.func`` transforms (``grad``, ``vmap``, ``jvp``, ...), forward mode, batched gradients;
- second and higher derivatives (the first derivative of such a call is the fused one);
- tensor subclasses, complex and integer tensors, empty tensors;
- shapes that broadcast other than row by row, norms with ``p <= 0``, ``size_average`` and
  ``reduce``, and every call that is an error.

In the place of a tensor of rows each of them takes ``fastcos.rows`` of a table, which is the leaf;
torch's own operators are given ``table[index]`` then, whose gradient is dense. Make such rows
outside of what is transformed, traced or exported: ``fastcos.rows`` itself is none of torch's.

Sparse, nested and quantised tensors, and those on other kinds of devices, raise a ``TypeError``;
tensors on two devices torch's ``RuntimeError``.

The listwise losses, of a batch with labels, are not torch's: they are the functions of ``fastcos``
itself, and modules of them, ``InfoNCELoss``, ``SupConLoss`` and so on. What is said of the
functions of ``fastcos`` holds for them.

Here they have two options more. With ``gather=True``, or a ``process_group``, the batch is that of
all processes of the group, of which each passes its own rows, as many as it has: the value is that
of the whole batch, and so are the gradients of the own rows. Each process sweeps its own anchors
against all candidates, in the memory of one block of similarities and a few copies of all rows. All
processes have to make the call, and the backward pass alike; what is wrong with the arguments of
one is an error on all of them, and the group can be used after it. Processes talk to each other in
the forward pass, or with ``reduction="none"`` and in checkpoints in the backward pass too, and wait
for the device once. The gradients of all processes add up to that of the whole batch; that of what
all of them have alike, such as proxies, is in equal portions. ``DistributedDataParallel`` takes the
mean: multiply the loss by the number of processes, and each step is that of one process with the
whole batch.

The functions of ``fastcos`` itself take tensors too, with first derivatives only:
``torch.compile`` leaves them out of its graphs; under transforms, tracing and export, and for
second derivatives, they raise an error that names this module. Of a subclass they take the numbers,
and return plain tensors.
"""

from . import compiling, gathering
from .functional import (
    cosine_embedding_loss,
    hinge_embedding_loss,
    triplet_margin_loss,
    triplet_margin_with_distance_loss,
)
from .gathering import (
    arcface_loss,
    batch_all_triplet_loss,
    batch_hard_triplet_loss,
    batch_semi_hard_triplet_loss,
    circle_loss,
    contrastive_loss,
    cosface_loss,
    info_nce_loss,
    lifted_structure_loss,
    listwise_loss,
    multi_similarity_loss,
    nca_loss,
    normalized_softmax_loss,
    proxy_anchor_loss,
    proxy_nca_loss,
    sigmoid_contrastive_loss,
    supervised_contrastive_loss,
)
from .listwise_modules import (
    CircleLoss,
    ContrastiveLoss,
    InfoNCELoss,
    LiftedStructureLoss,
    MultiSimilarityLoss,
    NCALoss,
    SigmoidContrastiveLoss,
    SupConLoss,
)
from .modules import (
    CosineEmbeddingLoss,
    HingeEmbeddingLoss,
    TripletMarginLoss,
    TripletMarginWithDistanceLoss,
)
from .proxy_modules import (
    ArcFaceLoss,
    CosFaceLoss,
    NormalizedSoftmaxLoss,
    ProxyAnchorLoss,
    ProxyNCALoss,
)
from .similarity import CosineSimilarity, PairwiseDistance, cosine_similarity, pairwise_distance
from .triplet_modules import BatchAllTripletLoss, BatchHardTripletLoss, BatchSemiHardTripletLoss

compiling.leave_alone(*gathering.FUNCTIONS)

__all__ = [
    "ArcFaceLoss",
    "BatchAllTripletLoss",
    "BatchHardTripletLoss",
    "BatchSemiHardTripletLoss",
    "CircleLoss",
    "ContrastiveLoss",
    "CosFaceLoss",
    "CosineEmbeddingLoss",
    "CosineSimilarity",
    "HingeEmbeddingLoss",
    "InfoNCELoss",
    "LiftedStructureLoss",
    "MultiSimilarityLoss",
    "NCALoss",
    "NormalizedSoftmaxLoss",
    "PairwiseDistance",
    "ProxyAnchorLoss",
    "ProxyNCALoss",
    "SigmoidContrastiveLoss",
    "SupConLoss",
    "TripletMarginLoss",
    "TripletMarginWithDistanceLoss",
    "arcface_loss",
    "batch_all_triplet_loss",
    "batch_hard_triplet_loss",
    "batch_semi_hard_triplet_loss",
    "circle_loss",
    "contrastive_loss",
    "cosface_loss",
    "cosine_embedding_loss",
    "cosine_similarity",
    "hinge_embedding_loss",
    "info_nce_loss",
    "lifted_structure_loss",
    "listwise_loss",
    "multi_similarity_loss",
    "nca_loss",
    "normalized_softmax_loss",
    "pairwise_distance",
    "proxy_anchor_loss",
    "proxy_nca_loss",
    "sigmoid_contrastive_loss",
    "supervised_contrastive_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]


def __dir__() -> list[str]:
    return __all__
