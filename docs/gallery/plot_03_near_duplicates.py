"""
Near duplicates among images
============================

Copies of an image that are darker, or a little noisy, are found by the cosine of their pixels:
every pair above a threshold, and the groups that these pairs make.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import fastcos

plt.rcParams.update({"font.size": 12, "figure.constrained_layout.use": True})
BLUE, ORANGE = "#0072B2", "#E69F00"

# %%
# To 1,797 scanned digits we add three copies of each of six: one at half the brightness, and two
# with noise. Then all rows are shuffled.

rng = np.random.default_rng(0)
images = load_digits(return_X_y=True)[0]
chosen = rng.choice(len(images), 6, replace=False)
copies = np.concatenate(
    [
        images[chosen] / 2,
        np.clip(images[chosen] + rng.normal(0, 0.3, (6, 64)), 0, 16),
        np.clip(images[chosen] + rng.normal(0, 0.6, (6, 64)), 0, 16),
    ]
)
order = rng.permutation(len(images) + len(copies))
rows = np.concatenate([images, copies])[order]
original = np.concatenate([np.arange(len(images)), chosen, chosen, chosen])[order]

# %%
# Where to put the threshold? The cosine of each row with its nearest other row shows it. Rows at
# half the brightness have the same direction, and their distance is exactly 0.

halves = fastcos.paired_distance(images[chosen], images[chosen] / 2, "cosine")
print("distance to a half as bright copy:", halves.max())

nearest = fastcos.nearest(rows, None, 1).distances[:, 0]
copied = np.isin(original, chosen)
THRESHOLD = 0.994

figure, axes = plt.subplots(figsize=(6, 4))
limits = np.linspace(0.9, 1, 60)
axes.hist(1 - nearest[~copied], limits, color=ORANGE, label="scans")
axes.hist(1 - nearest[copied], limits, color=BLUE, label="copied ones, and their copies")
axes.axvline(THRESHOLD, color="black", linestyle="--", label="threshold")
axes.set(title="How near is the nearest other row?", xlabel="cosine with it", ylabel="rows")
axes.set_yscale("log")
axes.legend(loc="upper left", fontsize=10)
plt.show()

# %%
# The axis of the counts is logarithmic, so that a bar of two rows is seen, too: there are two
# scans that nobody copied, and that are nearly as near to each other as copies are.
#
# :func:`fastcos.near_duplicates` gives every row the smallest number in its group. The search is
# exact: no pair above the threshold is missed, and none below it is in.

groups = fastcos.near_duplicates(rows, THRESHOLD)
firsts, sizes = np.unique(groups, return_counts=True)
pairs = fastcos.neighbors_within(rows, None, 1 - THRESHOLD)
print(f"{len(pairs.indices)} pairs of {len(rows)} rows in {(sizes > 1).sum()} groups")
print(f"{len(firsts)} rows are left if each group keeps one")
whole = sum(len(set(groups[original == row])) == 1 for row in chosen)
print(f"{whole} of 6 images are grouped with all copies")

# %%
# The groups as images. Groups are joined by pairs: two of their rows may be farther apart
# than the threshold, if others lie between them.

largest = firsts[np.argsort(-sizes, kind="stable")][:7]
figure, grid = plt.subplots(sizes.max(), len(largest), figsize=(6, 3.9))
for axes in grid.flat:
    axes.axis("off")
for column, first in zip(grid.T, largest, strict=True):
    for axes, row in zip(column, np.flatnonzero(groups == first), strict=False):
        axes.imshow(rows[row].reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
figure.suptitle("Groups of near duplicates, one in a column")
# sphinx_gallery_thumbnail_number = 2
plt.show()
