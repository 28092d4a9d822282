"""
A distance of your own
======================

Four scalar functions are a distance: fastcos compiles them into the kernels that its own distances
have, with the gradient. This one forgives a few components that are far off.
"""

import math

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastcos

plt.rcParams.update({"font.size": 12, "figure.constrained_layout.use": True})
LOOKS = {"robust": "#0072B2", "manhattan": "#009E73", "euclidean": "#E69F00"}

# %%
# Of each component the robust distance takes log(1 + t²) with t the difference. Near 0 that is the
# square; far away it hardly grows any more. :func:`fastcos.check_distance` compares the gradient
# with finite differences, and the compiled kernel with the functions in plain Python. It raises if
# either is wrong, and is silent here.

robust = fastcos.Distance(
    "robust",
    init=lambda zero: (zero,),
    accumulate=lambda state, x, y: (state[0] + math.log1p((x - y) ** 2),),
    finalize=lambda state: state[0],
    gradient=lambda state, d, x, y: (
        2 * (x - y) / (1 + (x - y) ** 2),
        2 * (y - x) / (1 + (x - y) ** 2),
    ),
)
fastcos.check_distance(robust)

# %%
# What is equally far from the middle: a grid of points against the origin. Balls of the robust
# distance turn into stars as they grow, for one large difference costs less than two middling
# ones.

side = np.linspace(-6, 6, 201)
plane = np.stack(np.meshgrid(side, side), axis=-1)
figure, both = plt.subplots(1, 2, figsize=(7, 3.9), sharey=True)
for axes, (name, distance, levels) in zip(
    both,
    [("Euclidean", "euclidean", range(1, 9)), ("Robust", robust, np.arange(0.5, 7, 0.8))],
    strict=True,
):
    far = fastcos.paired_distance(plane, np.zeros(2), distance)
    axes.contourf(side, side, far, levels=levels, cmap="cividis", extend="both")
    axes.contour(side, side, far, levels=levels, colors="white", linewidths=0.8)
    axes.set(title=name, aspect="equal", xticks=[-5, 0, 5], yticks=[-5, 0, 5])
plt.show()

# %%
# What that is good for: in each held-out digit some of the 64 pixels are broken, which is to say
# white or black by chance. A row is then named after the nearest clean one.
# :func:`fastcos.nearest` takes any distance.

images, digits = load_digits(return_X_y=True)
clean, held_out, y_clean, y_held_out = train_test_split(
    images, digits, test_size=300, stratify=digits, random_state=0
)
rng = np.random.default_rng(0)
broken = np.arange(0, 41, 8)
rank = rng.random(held_out.shape).argsort(axis=1)
noise = rng.choice([0.0, 16.0], size=held_out.shape)
accuracy = {name: [] for name in LOOKS}
for count in broken:
    queries = np.where(rank < count, noise, held_out)
    for name in LOOKS:
        distance = robust if name == "robust" else name
        found = fastcos.nearest(queries, clean, 1, distance).indices[:, 0]
        accuracy[name].append(np.mean(y_clean[found] == y_held_out))
for name, shares in accuracy.items():
    print(f"{name:10}", "  ".join(f"{share:.0%}" for share in shares))

# %%
# The Euclidean distance squares each difference, so a few broken pixels outvote all the others.
# The Manhattan distance takes them as they are, and is in between. Of clean images the robust
# distance names a few less: that is its price.

figure, axes = plt.subplots(figsize=(6, 4.2))
for (name, colour), marker in zip(LOOKS.items(), "o^s", strict=True):
    axes.plot(broken, accuracy[name], marker=marker, color=colour, linewidth=2, label=name)
axes.set(xlabel="broken pixels of 64", ylabel="named rightly", ylim=(0, 1.02))
axes.set(title="Nearest clean digit of a broken one", xticks=broken)
axes.yaxis.set_major_formatter("{x:.0%}")
axes.legend(loc="lower left")
# sphinx_gallery_thumbnail_number = 1
plt.show()
