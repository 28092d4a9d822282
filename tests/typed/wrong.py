"""What type checkers refuse: every line with a code is an error, of which that is mypy's."""

import numpy as np
import torch

import fastcos
from fastcos.adapters.torch import (
    SupConLoss,
    TripletMarginWithDistanceLoss,
    cosine_similarity,
    nca_loss,
)

x, a = np.ones((8, 16)), torch.ones(8, 16)
fastcos.cosine_embedding_loss(x, x, 1, reduction="avg")  # call-overload
fastcos.hinge_embedding_loss(x, 1, reduction="batchmean")  # call-overload
fastcos.paired_distance(x, x, "cityblock")  # call-overload
fastcos.triplet_margin_with_distance_loss(x, x, x, distance_function="l2")  # call-overload
fastcos.cosine_distance_loss(x, x, weight=x)  # call-overload
fastcos.cosine_embedding_loss(x, x)  # call-overload
fastcos.triplet_margin_loss(x, x, x, margin="wide")  # call-overload
fastcos.warmup("cosine_loss")  # arg-type
fastcos.warmup(distances=["cubic"])  # list-item
fastcos.threads("all")  # arg-type
cosine_similarity(x, x)  # arg-type
nca_loss(a, [0] * 8, scales=2.0)  # call-arg
SupConLoss(gather=2.0)  # arg-type
SupConLoss()(a)  # call-arg
TripletMarginWithDistanceLoss(distance_function="cityblock")  # arg-type

# Listwise losses and searches.
fastcos.info_nce_loss(x, x, temprature=0.1)  # call-overload
fastcos.supervised_contrastive_loss(x, [0] * 8, distance="manhattan")  # call-overload
fastcos.nca_loss(x)  # call-overload
fastcos.nearest(x, x)  # call-overload
fastcos.nearest(x, x, 3, metric="dot")  # call-overload
fastcos.mine_triplets(x, [0] * 8, "easy")  # call-overload

# What value_and_grad and grad make of a loss.
f = fastcos.value_and_grad(fastcos.cosine_embedding_loss)
f(x, x)  # call-overload
f(x, x, 1, marign=0.1)  # call-overload
f(x, x, 1, reduction="avg")  # call-overload
f(x, x, 1, out=x)  # call-overload
f(x, x, 1, accumulates=True)  # call-overload
f(x, x, target=1)[1] + 1.0  # operator
fastcos.grad(fastcos.nca_loss, "x")(x, [0] * 8, temperature=0.1)  # call-overload
fastcos.value_and_grad(fastcos.cosine_similarity, 1.5)  # call-overload
fastcos.value_and_grad(np.mean)  # call-overload
