"""An embedding network on scanned digits, trained by several processes with one batch.

    torchrun --nproc_per_node 2 examples/ddp_contrastive.py

Each process has its own part of the batch, and the loss is that of the whole: every image is
compared with those of all processes. Any number of processes makes the same steps, to rounding.
"""

from __future__ import annotations

import argparse
import os
import sys

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

import fastcos
from fastcos.adapters.torch import SupConLoss

BATCH = 256  # of all processes together


def main() -> int:
    """Trains as the command line says; the first process prints how it went."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    steps = parser.parse_args().steps
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        losses, before, after = train(steps)
        if distributed.get_rank() == 0:
            sys.stdout.write(
                f"{distributed.get_world_size()} processes, {steps} steps\n"
                f"loss                 {losses[0]:.6f} -> {losses[-1]:.6f}\n"
                f"held-out recall at 1 {before:.4f}   -> {after:.4f}\n"
            )
    finally:
        distributed.destroy_process_group()
    return 0


def train(steps: int) -> tuple[list[float], float, float]:
    """The losses of the steps, and the held-out recall before and after them."""
    rank, world = distributed.get_rank(), distributed.get_world_size()
    place = torch.device("cpu")
    if torch.cuda.is_available():
        place = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(place)
    images, digits = load_digits(return_X_y=True)
    parts = train_test_split(images / 16, digits, test_size=0.5, stratify=digits, random_state=0)
    x, held_out = (torch.tensor(part, dtype=torch.float32, device=place) for part in parts[:2])
    y, held_out_digits = (torch.tensor(part, device=place) for part in parts[2:])

    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 32)).to(place)
    model = DistributedDataParallel(network)
    criterion = SupConLoss(gather=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    draw = torch.Generator().manual_seed(0)
    before, losses = recall(network, held_out, held_out_digits), []
    for _ in range(steps):
        mine = torch.randint(len(x), (BATCH,), generator=draw)[rank::world]
        loss = criterion(model(x[mine]), y[mine])
        optimizer.zero_grad()
        # The gradients of all processes add up to that of the batch, of which DDP takes the mean.
        (world * loss).backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, before, recall(network, held_out, held_out_digits)


@torch.no_grad()
def recall(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """How often the nearest of the others is of the same digit."""
    return fastcos.measures.recall_at_k(network(x), y, k=1)


if __name__ == "__main__":
    sys.exit(main())
