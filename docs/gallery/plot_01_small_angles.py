"""
Small angles keep their digits
==============================

One minus a cosine, for rows that are nearly the same. Written by hand in float32, the formula
has no digit left below a fiftieth of a degree. The distance of fastcos keeps all of them.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

import fastcos

plt.rcParams.update({"font.size": 12, "figure.constrained_layout.use": True})
BLUE, ORANGE, GREEN = "#0072B2", "#E69F00", "#009E73"

# %%
# Each pair below has a known angle: the second row is the first, turned towards a direction that
# is orthogonal to it. Both are then rounded to float32, which is what a model hands out.

rng = np.random.default_rng(0)
angles = np.geomspace(1e-5, 1.5, 400)[:, None]
x = rng.standard_normal((400, 128))
across = rng.standard_normal((400, 128))
across -= x * (x * across).sum(1, keepdims=True) / (x * x).sum(1, keepdims=True)
across *= np.linalg.norm(x, axis=1, keepdims=True) / np.linalg.norm(across, axis=1, keepdims=True)
y = x * np.cos(angles) + across * np.sin(angles)
x, y = x.astype(np.float32), y.astype(np.float32)

# %%
# What is right for the rounded rows comes from float64, by a formula that subtracts the rows and
# not their products: half the squared distance of the rows at unit length. All 400 pairs are then
# measured in float32; errors are relative.

u, v = (r.astype(float) / np.linalg.norm(r.astype(float), axis=1, keepdims=True) for r in (x, y))
exact = ((u - v) ** 2).sum(1) / 2

lengths = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
found = {
    "NumPy formula": 1 - (x * y).sum(1) / lengths,
    "torch": 1 - torch.cosine_similarity(torch.tensor(x), torch.tensor(y)).numpy(),
    "fastcos": fastcos.paired_distance(x, y, "cosine"),
}
for name, values in found.items():
    error = np.abs(values - exact) / exact
    print(f"{name:14} worst error {error.max():.0e}, {(values < 0).sum():2} below 0")

# %%
# Float32 numbers just below 1 are 6e-8 apart, and the cosine is one of them. The distance is what
# the subtraction leaves of it, about half the squared angle. So the relative error grows as the
# angle to the power of minus two, which is the slope of the cloud. The line at an error of 1 is
# made of pairs for which the formula gives 0. fastcos keeps its sums in float64, and for a small
# angle it reads the rows once more and adds up the squares of their difference. What remains is
# the rounding of the result to float32. It is :func:`fastcos.distances.cosine`, in every loss.

looks = {"NumPy formula": (ORANGE, "s"), "torch": (GREEN, "^"), "fastcos": (BLUE, "o")}
figure, axes = plt.subplots(figsize=(6, 4.5))
for name, values in found.items():
    colour, marker = looks[name]
    error = np.maximum(np.abs(values - exact) / exact, 1e-10)
    axes.loglog(angles, error, marker, color=colour, markersize=3.5, alpha=0.7, label=name)
axes.axhline(1, color="black", linestyle=":", linewidth=1)
axes.set(xlabel="angle between the rows, radians", ylabel="relative error of 1 - cos")
axes.set(title="Error of the float32 distance", ylim=(1e-11, 1e4))
axes.legend(loc="upper right", markerscale=2)
plt.show()

# %%
# The values themselves: those of the formula come in steps, and those at zero or below it have no
# place on this axis. All pairs of a step have the same loss, whichever of them is nearer.

figure, axes = plt.subplots(figsize=(6, 4.5))
for name in ("NumPy formula", "fastcos"):
    colour, marker = looks[name]
    axes.loglog(angles, found[name], marker, color=colour, markersize=3.5, label=name)
axes.loglog(angles, exact, color="black", linewidth=1, label="exact")
axes.set(xlabel="angle between the rows, radians", ylabel="1 - cos", xlim=(1e-5, 1e-2))
axes.set(title="The distance itself, in float32", ylim=(1e-11, 1e-4))
axes.legend(loc="upper left", markerscale=2)
plt.show()
