"""
What a margin does to angles
============================

The cosine embedding loss draws pairs of one digit together, and pushes others apart until their
cosine is the margin. Pairs beyond it cost nothing, so the margin is where they gather.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastcos
from fastcos.sklearn import LinearEmbedding

plt.rcParams.update({"font.size": 12, "figure.constrained_layout.use": True})
BLUE, ORANGE = "#0072B2", "#E69F00"

# %%
# First the loss itself, over the angle of a pair. ``value_and_grad`` returns the slope with it;
# dashed is what a pair of two digits costs with each margin.

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
# Then what is learned with it. A projection to sixteen numbers learns from half of the scanned
# digits, and the pairs are all pairs of the other half.

images, digits = load_digits(return_X_y=True)
learned, held_out, y_learned, y_held_out = train_test_split(
    images, digits, test_size=0.5, stratify=digits, random_state=0
)
i, j = np.triu_indices(len(held_out), k=1)
alike = y_held_out[i] == y_held_out[j]
angles, rates = {}, {}
for margin in MARGINS:
    embedding = LinearEmbedding(16, "cosine_embedding", loss_options={"margin": margin})
    rows = embedding.fit(learned, y_learned).transform(held_out)
    cosines = fastcos.cosine_similarity(fastcos.rows(rows, i), fastcos.rows(rows, j))
    angles[margin] = np.degrees(np.arccos(cosines))
    rates[margin] = fastcos.measures.verification(cosines, alike).equal_error_rate
    print(
        f"margin {margin:4}  equal error rate {rates[margin]:.1%}, median angle"
        f" same {np.median(angles[margin][alike]):3.0f}°,"
        f" different {np.median(angles[margin][~alike]):3.0f}°"
    )

# %%
# The black line is the angle of the margin. A large margin lets pairs of two digits lie at small
# angles; one that is too small asks for angles that ten classes cannot all have with each other.

figure, panels = plt.subplots(3, 1, figsize=(6, 7.5), sharex=True)
bins = np.linspace(0, 180, 91)
for axes, (margin, of_pairs) in zip(panels, angles.items(), strict=True):
    for kind, colour, name in ((~alike, ORANGE, "different"), (alike, BLUE, "same")):
        axes.hist(of_pairs[kind], bins, density=True, color=colour, alpha=0.6, label=name)
    axes.axvline(np.degrees(np.arccos(margin)), color="black", linewidth=2, label="margin")
    axes.set(title=f"Margin {margin:g}: {rates[margin]:.1%} equal errors", yticks=[])
panels[0].legend(fontsize=10)
panels[-1].set(xlabel="angle of the pair, degrees", xticks=range(0, 181, 30))
# sphinx_gallery_thumbnail_number = 2
plt.show()
