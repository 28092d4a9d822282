"""What a user writes in a page: for type checkers in their strict modes, and not run."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from typing_extensions import assert_type

import fastcos
from fastcos import Distance, distances
from fastcos.adapters import torch as fused
from fastcos.typing import Array, DistanceName, Reduction, Scalar

Rows = npt.NDArray[np.float32]


def rows(seed: int) -> Rows:
    return np.random.default_rng(seed).standard_normal((8, 16), dtype=np.float32)


x, y, z = rows(0), rows(1), rows(2)
labels = np.where(np.arange(8) < 4, 1, -1)

# NumPy: an array for each sample, or one number.
assert_type(fastcos.cosine_similarity(x, y), Array)
assert_type(fastcos.paired_distance(x, y, "manhattan"), Array)
assert_type(fastcos.paired_distance([[1.0, 2.0]], [[0.0, 4.0]], distances.lp(3)), Array)
assert_type(fastcos.cosine_embedding_loss(x, y, labels, margin=0.2), Scalar)
assert_type(fastcos.cosine_embedding_loss(x, y, labels > 0, reduction="none"), Array)
assert_type(fastcos.cosine_distance_loss(x, y, weights=np.ones(8), reduction="sum"), Scalar)
assert_type(fastcos.triplet_margin_loss(anchor=x, positive=y, negative=z, p=1, swap=True), Scalar)
assert_type(fastcos.hinge_embedding_loss([0.5, 1.5], [1, -1]), Scalar)
loss: float = float(fastcos.triplet_margin_with_distance_loss(x, y, z, distance_function="cosine"))


def chosen(reduction: Reduction, name: DistanceName) -> float:
    d = fastcos.paired_distance(x, y, name)
    return float(np.sum(fastcos.hinge_embedding_loss(d, labels, reduction=reduction)))


for name in distances.DISTANCES:
    chosen("sum_over_batch_size", name)

# Measures: floats, as many as are asked for.
assert_type(fastcos.measures.recall_at_k(x, labels), float)
assert_type(fastcos.measures.recall_at_k(x, labels, k=(1, 5), gallery=y), tuple[float, ...])
assert_type(fastcos.measures.verification([0.5, 0.1], [1, 0]).auc, float)

# Gradients: several, or one where one is asked for.
both = fastcos.value_and_grad(fastcos.cosine_embedding_loss)
value, (g1, g2) = both(x, y, labels, margin=0.2, weight=np.ones(8))
assert_type(g1, Array)
alone = fastcos.value_and_grad(fastcos.cosine_embedding_loss, argnums="input1")
value, g = alone(x, y, labels, grad_output=2.0)
assert_type(g, Array)
assert_type(fastcos.grad(fastcos.triplet_margin_loss)(x, y, z), tuple[Array, ...])
assert_type(fastcos.grad(fastcos.triplet_margin_loss, 0)(x, y, z), Array)
out = np.empty_like(x), np.empty_like(y)
value, grads = both(x, y, labels, out=out)
assert_type(grads, tuple[Array, ...])
value, grads = both(input1=x, input2=y, target=labels)
again = pickle.loads(pickle.dumps(both))


def objective(flat: npt.NDArray[np.float64]) -> tuple[float, Array]:
    w = flat.reshape(16, 4)
    value, (ga, gb) = both(x @ w, y @ w, labels)
    return float(value), (x.T @ ga + y.T @ gb).ravel()


# A distance of one's own.
def init(zero: float) -> tuple[float, ...]:
    return (zero,)


def accumulate(state: tuple[float, ...], a: float, b: float) -> tuple[float, ...]:
    return (state[0] + math.log(math.cosh(a - b)),)


def finalize(state: tuple[float, ...]) -> float:
    return state[0]


def gradient(state: tuple[float, ...], d: float, a: float, b: float) -> tuple[float, float]:
    return math.tanh(a - b), -math.tanh(a - b)


log_cosh = Distance("log_cosh", init, accumulate, finalize, gradient)
fastcos.check_distance(log_cosh)
fastcos.paired_distance(x, y, log_cosh)
fastcos.triplet_margin_with_distance_loss(x, y, z, distance_function=log_cosh)


def l_infinity(a: Any, b: Any) -> Any:
    return np.abs(a - b).max(axis=-1)


fastcos.triplet_margin_with_distance_loss(x, y, z, distance_function=l_infinity)

# Around the calls.
with fastcos.threads(2):
    fastcos.cosine_similarity(x, y)
seconds: dict[str, float] = fastcos.warmup(
    ["cosine_similarity", "paired_distance"], "float32", distances=["cosine", distances.lp(3)]
)
config: dict[str, Any] = fastcos.show_config()

# torch: tensors come back, through fastcos' functions and through torch's own.
a, b, t = torch.ones(8, 16, requires_grad=True), torch.zeros(8, 16), torch.ones(8)
assert_type(fastcos.cosine_embedding_loss(a, b, t, reduction="none"), Tensor)
assert_type(fastcos.paired_distance(a, b, "chebyshev"), Tensor)
assert_type(both(a, b, t), tuple[Tensor, tuple[Tensor, ...]])
assert_type(alone(a, b, t), tuple[Tensor, Tensor])
torch.autograd.backward(fused.cosine_embedding_loss(a, b, t, margin=0.2, pos_margin=0.9))
assert_type(fused.info_nce_loss(a, b, temperature=0.1), Tensor)
assert_type(fused.info_nce_loss(a, b, temperature=0.1, gather=True), Tensor)
assert_type(fused.nca_loss(a, t.int(), process_group=None), Tensor)
learned: Tensor = fused.SupConLoss(gather=True)(a, t.int())
criterion = fused.TripletMarginWithDistanceLoss(distance_function="cosine")
total: Tensor = criterion(a, b, b) + fused.PairwiseDistance(p=1.0)(a, b).sum()
