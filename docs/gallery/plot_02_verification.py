"""
Verification of pairs, before and after learning
================================================

Do two images show the same digit? The score of a pair is the cosine of its rows. A linear
projection, learned on other images, pulls the scores of both kinds of pairs apart.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastcos
from fastcos.sklearn import LinearEmbedding

plt.rcParams.update({"font.size": 12, "figure.constrained_layout.use": True})

# %%
# The data are 1,797 scanned digits of 8 x 8 pixels that ship with scikit-learn. Half of them are
# learned from. The pairs are all pairs of the other half.

images, digits = load_digits(return_X_y=True)
learned, held_out, y_learned, y_held_out = train_test_split(
    images, digits, test_size=0.5, stratify=digits, random_state=0
)
i, j = np.triu_indices(len(held_out), k=1)
same = y_held_out[i] == y_held_out[j]

embedding = LinearEmbedding(16, "supervised_contrastive").fit(learned, y_learned)
rows = {"pixels": held_out, "16 learned numbers": embedding.transform(held_out)}

# %%
# :func:`fastcos.rows` names the rows of a pair, so no pair is copied.
# :func:`fastcos.measures.verification` says how well one threshold on the score can tell the two
# kinds of pairs apart.

scores = {
    name: fastcos.cosine_similarity(fastcos.rows(table, i), fastcos.rows(table, j))
    for name, table in rows.items()
}
for name, of_pairs in scores.items():
    print(f"{name}\n{fastcos.measures.verification(of_pairs, same)}\n")

# %%
# Pixels are never negative, and so no cosine of raw images is: their scores crowd on the right.
# The learned rows use nearly the whole range. The dashed line is the threshold at which as large a
# share of one kind of pairs is sorted wrongly as of the other.

figure, both = plt.subplots(2, 1, figsize=(6, 6), sharex=True)
for axes, (name, of_pairs) in zip(both, scores.items(), strict=True):
    fastcos.plots.scores(of_pairs, same, ax=axes, limits=(-1, 1))
    axes.set(title=f"Cosines of pairs: {name}", xlabel="")
both[0].legend(loc="upper left", fontsize=10)
both[1].set(xlabel="cosine of the pair")
plt.show()

# %%
# The ROC curve shows all thresholds at once: what is accepted rightly, over what is accepted
# wrongly. What lets in few wrong pairs lies at its left end, so that axis is logarithmic. The
# dotted line is chance.

figure, axes = plt.subplots(figsize=(6, 4.5))
for (name, of_pairs), colour in zip(scores.items(), ("#E69F00", "#0072B2"), strict=True):
    fastcos.plots.roc(of_pairs, same, ax=axes, label=name, color=colour)
axes.set(xscale="log", xlim=(1e-4, 1), title="ROC of pairs of held-out digits")
axes.legend(loc="upper left", fontsize=10)
plt.show()
