"""What type checkers refuse: every line with an expression is an error, and named with its code."""

import numpy as np

import fastcos
from fastcos.adapters.torch import (
    SupConLoss,
    TripletMarginWithDistanceLoss,
    cosine_similarity,
    nca_loss,
)

x = np.ones((8, 16))
fastcos.cosine_embedding_loss(x, x, 1, reduction="avg")  # call-overload
fastcos.hinge_embedding_loss(x, 1, reduction="batchmean")  # call-overload
fastcos.paired_distance(x, x, "cityblock")  # call-overload
fastcos.triplet_margin_with_distance_loss(x, x, x, distance_function="l2")  # call-overload
fastcos.cosine_distance_loss(x, x, weight=x)  # call-overload
fastcos.triplet_margin_loss(x, x, x, margin="wide")  # call-overload
fastcos.warmup("cosine_loss")  # arg-type
fastcos.warmup(distances=["cubic"])  # list-item
fastcos.value_and_grad(fastcos.cosine_similarity, 1.5)  # call-overload
fastcos.threads("all")  # arg-type
cosine_similarity(x, x)  # arg-type
nca_loss(x, [0] * 8, scales=2.0)  # call-overload
SupConLoss(gather=2.0)  # arg-type
TripletMarginWithDistanceLoss(distance_function="cityblock")  # arg-type
