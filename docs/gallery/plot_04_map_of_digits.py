"""
Two numbers for an image
========================

Sixty-four pixels become two numbers, once without and once with the labels. Both maps are linear
projections of the same images; what differs is what they were asked for.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split

from fastcos.measures import mean_average_precision_at_r, recall_at_k
from fastcos.sklearn import LinearEmbedding

plt.rcParams.update({"font.size": 12, "figure.constrained_layout.use": True})
COLOURS = ["#000000", "#E69F00", "#56B4E9", "#009E73", "#B8A800"]
COLOURS += ["#0072B2", "#D55E00", "#CC79A7", "#882255", "#777777"]

# %%
# Principal components keep as much of the variance as two directions can.
# :class:`fastcos.sklearn.LinearEmbedding` starts from them and goes down a loss,
# :func:`fastcos.nca_loss`: it rates the chance that a neighbour of a row, drawn by its distance in
# the plane, has the label of the row.

images, digits = load_digits(return_X_y=True)
learned, held_out, y_learned, y_held_out = train_test_split(
    images, digits, test_size=0.5, stratify=digits, random_state=0
)
pca = PCA(2, random_state=0).fit(learned)
embedding = LinearEmbedding(
    2, "nca", loss_options={"distance": "sqeuclidean", "scale": 0.02}, penalty=0.01
).fit(learned, y_learned)

# %%
# The maps show images that neither has seen, each as the digit that it is. Recall at 1 is the
# share of them whose nearest neighbour in the map is the same digit; MAP@R looks at all images of
# the digit.

maps = {
    "Principal components": pca.transform(held_out),
    "Learned from labels": embedding.transform(held_out),
}
for name, points in maps.items():
    recall = recall_at_k(points, y_held_out, k=1, distance="euclidean")
    precision = mean_average_precision_at_r(points, y_held_out, distance="euclidean")
    print(f"{name:21} recall {recall:.1%}, MAP@R {precision:.1%}")

# %%
# First what the variance shows.


def draw(name):
    """Every image of a map as its digit, and the median of each digit."""
    points = maps[name]
    axes = plt.subplots(figsize=(6, 5))[1]
    for digit in range(10):
        shown = points[y_held_out == digit]
        axes.scatter(*shown.T, s=36, marker=f"${digit}$", color=COLOURS[digit], linewidths=0.3)
        middle = np.median(shown, axis=0)
        box = {"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": COLOURS[digit]}
        axes.text(*middle, str(digit), color=COLOURS[digit], weight="bold", bbox=box)
    axes.set(title=f"{name}, held-out digits", xticks=[], yticks=[])
    plt.show()


draw("Principal components")

# %%
# Then what the labels do. Ten classes do not come apart in two linear directions, but most of them
# leave the crowd.

# sphinx_gallery_thumbnail_number = 2
draw("Learned from labels")

# %%
# What was minimised, over the iterations of L-BFGS.

figure, axes = plt.subplots(figsize=(6, 3.5))
axes.plot(embedding.loss_curve_, color="#0072B2", linewidth=2)
axes.set(title="Loss while it learns", xlabel="iteration", ylabel="loss")
plt.show()
