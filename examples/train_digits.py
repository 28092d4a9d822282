"""An embedding network on scanned digits, trained with torch's losses or with those of fastcos.

    python examples/train_digits.py --loss triplet --losses fastcos
    python examples/train_digits.py --loss triplet --losses torch

The two differ by the module that the loss comes from, and by nothing else.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

#: Where a loss can come from: the one import that changes.
LOSSES = {"fastcos": "fastcos.adapters.torch", "torch": "torch.nn"}
BATCH = 256
RATE = 2e-3
# Where a gradient is 0 but for rounding, Adam divides rounding by rounding and takes a full step in
# a direction of chance. This is small beside the gradients, and large beside their rounding.
EPSILON = 1e-4

Objective = Callable[[nn.Module], Tensor]


class Split(NamedTuple):
    """Images, one per row, with the digits they show."""

    train: Tensor
    train_labels: Tensor
    held_out: Tensor
    held_out_labels: Tensor


class Result(NamedTuple):
    """The loss of each step, and the held-out ROC-AUC without and with the training."""

    losses: list[float]
    auc_before: float
    auc_after: float


def load(seed: int) -> Split:
    """The digits, 1,797 scans of 8 x 8 pixels, in two halves with every digit in equal shares."""
    images, labels = load_digits(return_X_y=True)
    train, held_out, train_labels, held_out_labels = train_test_split(
        images / 16, labels, test_size=0.5, stratify=labels, random_state=seed
    )
    return Split(
        torch.tensor(train, dtype=torch.float32),
        torch.tensor(train_labels),
        torch.tensor(held_out, dtype=torch.float32),
        torch.tensor(held_out_labels),
    )


def embedding() -> nn.Module:
    """64 pixels to 32 numbers."""
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 32))


def train(module: ModuleType, loss: str, seed: int, steps: int) -> Result:
    """Trains the network on the training half, and scores pairs of the other half.

    Args:
        module: Where the loss comes from: ``torch.nn`` or ``fastcos.adapters.torch``.
        loss: ``"triplet"`` or ``"cosine"``.
        seed: Of the split, the network and the batches.
        steps: Of Adam, each on a batch of its own.
    """
    split = load(seed)
    torch.manual_seed(seed)
    network = embedding()
    draw = torch.Generator().manual_seed(seed)
    objective = OBJECTIVES[loss](module, split, draw)
    before = auc(network, loss, split)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE, eps=EPSILON)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        value = objective(network)
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(value.item())
    return Result(losses, before, auc(network, loss, split))


def _triplets(module: ModuleType, split: Split, draw: torch.Generator) -> Objective:
    """Other digits farther than the same digit by 1, in Euclidean distance."""
    criterion = module.TripletMarginLoss(margin=1.0)

    def objective(network: nn.Module) -> Tensor:
        anchor, positive, negative = (network(split.train[i]) for i in draw_triplets(split, draw))
        loss: Tensor = criterion(anchor, positive, negative)
        return loss

    return objective


def _pairs(module: ModuleType, split: Split, draw: torch.Generator) -> Objective:
    """Cosines of the same digit up to 1, of two digits down to 0.2."""
    criterion = module.CosineEmbeddingLoss(margin=0.2)

    def objective(network: nn.Module) -> Tensor:
        anchor, positive, negative = draw_triplets(split, draw)
        first, second = torch.cat([anchor, anchor]), torch.cat([positive, negative])
        target = torch.tensor([1.0, -1.0]).repeat_interleave(BATCH)
        loss: Tensor = criterion(network(split.train[first]), network(split.train[second]), target)
        return loss

    return objective


OBJECTIVES = {"triplet": _triplets, "cosine": _pairs}


def draw_triplets(split: Split, draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers of images, each with one of the same digit and one of another."""
    labels = split.train_labels
    anchor = torch.randint(len(labels), (BATCH,), generator=draw)
    same = labels[anchor, None] == labels[None]
    # The largest of random numbers over the images that will do: each of them as likely.
    positive, negative = (
        torch.rand(same.shape, generator=draw).masked_fill_(~kind, -1).argmax(dim=1)
        for kind in (same, ~same)
    )
    return anchor, positive, negative


@torch.no_grad()
def auc(network: nn.Module, loss: str, split: Split) -> float:
    """How well likeness tells held-out pairs of one digit from pairs of two, as ROC-AUC.

    Likeness is what the loss works on: the cosine, or minus the Euclidean distance. It is computed
    by torch in any case, so that the figure does not depend on where the loss came from.
    """
    rows = network(split.held_out)
    if loss == "cosine":
        rows = nn.functional.normalize(rows)
        likeness = rows @ rows.T
    else:
        likeness = -torch.cdist(rows, rows)
    first, second = np.triu_indices(len(rows), k=1)
    same = split.held_out_labels[first] == split.held_out_labels[second]
    return float(roc_auc_score(same.numpy(), likeness[first, second].numpy()))


def main() -> int:
    """Trains as the command line says and prints how it went."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--loss", choices=OBJECTIVES, default="triplet")
    parser.add_argument("--losses", choices=LOSSES, default="fastcos", help="where it comes from")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    module = importlib.import_module(LOSSES[given.losses])
    losses, before, after = train(module, given.loss, given.seed, given.steps)
    sys.stdout.write(
        f"{given.loss} loss of {given.losses}, {given.steps} steps\n"
        f"loss          {losses[0]:.6f} -> {losses[-1]:.6f}\n"
        f"held-out AUC  {before:.4f}   -> {after:.4f}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
