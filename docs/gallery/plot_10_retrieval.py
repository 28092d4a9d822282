"""
Retrieval: the nearest images
=============================

Each query is answered with the images that are nearest to it, by the cosine of their pixels and by
that of sixteen numbers that a projection has learned.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastcos
from fastcos.sklearn import LinearEmbedding

plt.rcParams.update({"font.size": 12, "figure.constrained_layout.use": True})
BLUE, ORANGE, RED = "#0072B2", "#E69F00", "#D55E00"

# %%
# The projection learns from one half of the scanned digits. The other half is new to it: a hundred
# of these images are the queries, and the rest is the gallery.

images, digits = load_digits(return_X_y=True)
learned, held_out, y_learned, y_held_out = train_test_split(
    images, digits, test_size=0.5, stratify=digits, random_state=0
)
embedding = LinearEmbedding(16, "supervised_contrastive").fit(learned, y_learned)
queries, gallery = np.split(held_out, [100])
y_queries, y_gallery = np.split(y_held_out, [100])

DEPTH = 60
found = {
    "pixels": fastcos.nearest(queries, gallery, DEPTH).indices,
    "learned": fastcos.nearest(
        embedding.transform(queries), embedding.transform(gallery), DEPTH
    ).indices,
}

# %%
# How many of the first images show the digit of the query? The first few do by their pixels, too.
# Farther down what was learned finds more of the images of a digit, which look less and less alike.

figure, axes = plt.subplots(figsize=(6, 4))
k = np.arange(1, DEPTH + 1)
for (name, rows), colour in zip(found.items(), (ORANGE, BLUE), strict=True):
    right = y_gallery[rows] == y_queries[:, None]
    share = (right.cumsum(axis=1) / k).mean(axis=0)
    print(f"{name:8} of 1: {share[0]:.0%}, of 10: {share[9]:.0%}, of {DEPTH}: {share[-1]:.0%}")
    axes.plot(k, share, color=colour, linewidth=2.5, label=name)
axes.set(title="Right ones among the nearest", xlabel="how many are looked at", ylabel="right")
axes.yaxis.set_major_formatter("{x:.0%}")
axes.legend()
plt.show()

# %%
# The first query of each digit from 0 to 5, with the nearest image and every tenth one. A thick
# frame is around images of another digit.

shown = [np.flatnonzero(y_queries == digit)[0] for digit in range(6)]
ranks = np.r_[1, 10 * np.arange(1, DEPTH // 10 + 1)]


def draw(name, title):
    """The queries and their answers, a query a line."""
    rows = found[name]
    figure, grid = plt.subplots(6, 8, figsize=(6, 5))
    for line, query in zip(grid, shown, strict=True):
        answers = rows[query, ranks - 1]
        pictures = [queries[query], *gallery[answers]]
        right = [True, *(y_gallery[answers] == y_queries[query])]
        for axes, picture, is_right in zip(line, pictures, right, strict=True):
            axes.imshow(picture.reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
            axes.set(xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set(color="#BBBBBB" if is_right else RED, linewidth=1 if is_right else 4)
    for axes, rank in zip(grid[0], ["query", *ranks], strict=True):
        axes.set_title(rank, fontsize=11)
    figure.suptitle(title)
    plt.show()


draw("pixels", "Nearest by pixels")

# %%
# The same queries, answered by what was learned.

draw("learned", "Nearest by what was learned")
# sphinx_gallery_thumbnail_number = 3
