"""
The same training run in torch
==============================

``fastcos.adapters.torch`` has torch's losses under torch's names. Here one network is trained twice
from the same seed, and the runs differ by the module that the loss comes from.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

import fastcos.adapters.torch

plt.rcParams.update({"font.size": 12, "figure.constrained_layout.use": True})
torch.set_num_threads(1)
BLUE, ORANGE = "#0072B2", "#E69F00"

# %%
# Triplets of scanned digits: two images of one digit, and one of another.

images, digits = load_digits(return_X_y=True)
x = torch.tensor(images / 16, dtype=torch.float32)
rng = np.random.default_rng(0)
STEPS, BATCH = 100, 128


def triplets():
    """Numbers of images: an anchor, one of its digit, and one of another."""
    anchor = rng.integers(len(x), size=BATCH)
    same = digits[anchor, None] == digits
    draw = rng.random(same.shape)
    return anchor, np.where(same, draw, -1).argmax(1), np.where(same, -1, draw).argmax(1)


batches = [triplets() for _ in range(STEPS)]


# %%
# The training loop takes the module of losses as an argument. Nothing in it knows which it is.


def train(losses, dtype):
    """The loss of each step."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 32)).to(dtype)
    criterion = losses.TripletMarginLoss(margin=1.0)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.2)
    values = []
    for batch in batches:
        optimizer.zero_grad()
        loss = criterion(*(network(x[i].to(dtype)) for i in batch))
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    return np.array(values)


runs = {
    (name, dtype): train(losses, dtype)
    for dtype in (torch.float32, torch.float64)
    for name, losses in (("torch", torch.nn), ("fastcos", fastcos.adapters.torch))
}
for (name, dtype), values in runs.items():
    print(f"{name:8} {dtype}  loss {values[0]:.7f} -> {values[-1]:.7f}")

# %%
# The curves lie on each other. What sets them apart is rounding: each step starts from weights that
# differ in their last digits. In float64 the difference is as many digits lower. Steps with equal
# losses have no place on this axis, and no point.

figure, (above, below) = plt.subplots(2, 1, figsize=(6, 7), sharex=True)
above.plot(runs["torch", torch.float32], color=ORANGE, linewidth=5, alpha=0.6, label="torch.nn")
above.plot(runs["fastcos", torch.float32], color=BLUE, label="fastcos.adapters.torch")
above.set(title="Training loss, float32", ylabel="triplet loss", ylim=(0, None))
above.legend()
for dtype, colour in ((torch.float32, "#D55E00"), (torch.float64, "#009E73")):
    apart = np.abs(runs["fastcos", dtype] - runs["torch", dtype])
    name = str(dtype).removeprefix("torch.")
    below.semilogy(np.where(apart > 0, apart, np.nan), ".", color=colour, label=name)
below.set(title="Difference of the two runs", xlabel="step", ylabel="absolute difference")
below.set_ylim(1e-19, 1e-5)
below.legend(loc="center right")
plt.show()
