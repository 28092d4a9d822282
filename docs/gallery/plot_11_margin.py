"""
What a margin does to angles
============================

The cosine embedding loss draws pairs of one class together, and pushes others apart until their
cosine is the margin. Pairs beyond it cost nothing, so the margin is where the push ends.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastcos

plt.rcParams.update({"font.size": 12, "figure.constrained_layout.use": True})
BLUE, ORANGE = "#0072B2", "#E69F00"

# %%
# First the loss itself, over the angle of a pair. Dashed is what a pair of two classes costs with
# each margin.

turn = np.radians(np.linspace(0, 180, 181))
one, other = np.array([1.0, 0.0]), np.stack([np.cos(turn), np.sin(turn)], axis=-1)
MARGINS = {-0.4: "#CC79A7", 0.0: "#009E73", 0.6: "#E69F00"}

figure, axes = plt.subplots(figsize=(6, 4.2))
same = fastcos.cosine_embedding_loss(one, other, 1, reduction="none")
axes.plot(np.degrees(turn), same, color=BLUE, linewidth=2.5, label="same")
for margin, colour in MARGINS.items():
    loss = fastcos.cosine_embedding_loss(one, other, -1, margin=margin, reduction="none")
    axes.plot(np.degrees(turn), loss, "--", color=colour, linewidth=2, label=f"margin {margin:g}")
axes.set(title="Loss of a pair", xlabel="angle of the pair, degrees", ylabel="loss")
axes.set_xticks(range(0, 181, 30))
axes.legend()
plt.show()

# %%
# Then rows that are free to move: ten classes of twelve rows each, in sixteen dimensions. They
# start in a narrow cone and go down the gradient of the mean over all pairs. Few of these pairs
# are of one class, and so their weight is larger: both kinds count as much.

CLASSES, ROWS, STEPS = 10, 12, 80
labels = np.repeat(np.arange(CLASSES), ROWS)
i, j = np.triu_indices(len(labels), k=1)
alike = labels[i] == labels[j]
weight = np.where(alike, 1 / alike.mean(), 1 / (~alike).mean())
loss_and_grad = fastcos.value_and_grad(fastcos.cosine_embedding_loss)


def move(margin):
    """For each step, the angles of the pairs: quantiles of both kinds, in degrees."""
    rng = np.random.default_rng(0)
    table = 1 + 0.5 * rng.standard_normal((len(labels), 16))
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    seen = []
    for _ in range(STEPS):
        pairs = fastcos.rows(table, i), fastcos.rows(table, j)
        angles = np.degrees(np.arccos(fastcos.cosine_similarity(*pairs)))
        seen.append([np.quantile(angles[kind], (0.05, 0.5, 0.95)) for kind in (alike, ~alike)])
        _, (slope,) = loss_and_grad(*pairs, alike, margin=margin, weight=weight)
        table -= 20 * slope
    return np.array(seen)


seen = {margin: move(margin) for margin in sorted(MARGINS, reverse=True)}
for margin, quantiles in seen.items():
    same, different = quantiles[-1, :, 1]
    at = np.degrees(np.arccos(margin))
    print(f"margin {margin:4} ({at:5.1f}°): same {same:.1f}°, different {different:.1f}°")
print(f"ten directions, equally far apart: {np.degrees(np.arccos(-1 / 9)):.1f}°")

# %%
# Bands hold nine tenths of the pairs, and lines are medians. Classes that are too near are pushed
# as far as the margin, and no farther. A margin of -0.4 is out of reach: ten directions cannot all
# be more than 96.4° apart, where the cosine is -1/9, and some of them stay nearer than that.

figure, panels = plt.subplots(3, 1, figsize=(6, 8), sharex=True)
for axes, (margin, quantiles) in zip(panels, seen.items(), strict=True):
    for kind, colour, name in ((1, ORANGE, "different"), (0, BLUE, "same")):
        low, middle, high = quantiles[:, kind].T
        axes.fill_between(np.arange(STEPS), low, high, color=colour, alpha=0.35, linewidth=0)
        axes.plot(middle, color=colour, linewidth=2.5, label=name)
    axes.axhline(np.degrees(np.arccos(margin)), color="black", linestyle="--", label="margin")
    axes.set(title=f"Margin {margin:g}", ylabel="degrees", ylim=(0, 135), yticks=range(0, 121, 30))
panels[0].legend(fontsize=10, ncols=3, loc="upper right")
panels[-1].set(xlabel="step")
# sphinx_gallery_thumbnail_number = 1
plt.show()
