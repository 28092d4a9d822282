"""
Learning from chunks
====================

A Dask array is computed a chunk at a time. Losses take such arrays as they take others, so that a
projection is learned from pairs of which only a chunk is in memory.
"""

import tracemalloc

import dask
import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import fastcos

plt.rcParams.update({"font.size": 12, "figure.constrained_layout.use": True})
BLUE, ORANGE = "#0072B2", "#E69F00"

# %%
# A part of the pairs is made when it is asked for: two digits, with noise in every pixel. In a
# program of your own this function would read a file.

images, digits = load_digits(return_X_y=True)
images = (images / 16).astype(np.float32)


@dask.delayed(pure=True)
def part(number, count):
    """Both sides of some pairs, 64 pixels each, and in the last column 1 or -1."""
    rng = np.random.default_rng(number)
    i, j = rng.integers(len(images), size=(2, count))
    half = count // 2
    order = digits.argsort(kind="stable")  # in the first half of the pairs both are one digit
    i[:half], j[:half] = order[:-1][i[:half] % 1796], order[1:][i[:half] % 1796]
    noise = 0.3 * rng.standard_normal((count, 128), dtype=np.float32)
    label = np.where(digits[i] == digits[j], np.float32(1), np.float32(-1))
    return np.hstack([np.hstack([images[i], images[j]]) + noise, label[:, None]])


def store(parts, count):
    """Lazy arrays of so many parts."""
    chunks = [
        da.from_delayed(part(number, count), (count, 129), dtype=np.float32)
        for number in range(parts)
    ]
    table = da.concatenate(chunks)
    return table[:, :64], table[:, 64:128], table[:, 128]


# %%
# The loss and the gradients of the projected rows come out lazy, too. The chain rule turns these
# into a gradient of the projection: one matrix of each chunk, added up. ``dask.compute`` goes over
# the chunks once for both. The scheduler is the one that takes a chunk after another, so that their
# memory can be counted below.

loss_and_grad = fastcos.value_and_grad(fastcos.cosine_embedding_loss)


def step(first, second, label, projection):
    """The loss, and its gradient with respect to the projection; lazy for lazy arrays."""
    loss, (g1, g2) = loss_and_grad(first @ projection, second @ projection, label, margin=0.2)
    return loss, first.T @ g1 + second.T @ g2


def learn(first, second, label):
    """The losses of gradient descent with momentum, and the projection that it learns."""
    projection = np.random.default_rng(0).standard_normal((64, 16)).astype(np.float32) / 8
    velocity, losses = np.zeros_like(projection), []
    for _ in range(20):
        asked = step(first, second, label, projection)
        loss, slope = dask.compute(*asked, scheduler="synchronous")
        velocity = 0.8 * velocity - 4 * slope
        projection += velocity
        losses.append(float(loss))
    return losses, projection


lazy = store(parts=6, count=2048)
in_chunks, learned = learn(*lazy)
at_once, other = learn(*dask.compute(*lazy))
print(f"loss {in_chunks[0]:.4f} -> {in_chunks[-1]:.4f}, at once {at_once[-1]:.4f}")
print(f"the projections are {np.abs(learned - other).max():.0e} apart")

figure, axes = plt.subplots(figsize=(6, 4))
axes.plot(at_once, color=ORANGE, linewidth=5, alpha=0.6, label="arrays in memory")
axes.plot(in_chunks, "o-", color=BLUE, markersize=4, label="chunks")
axes.set(title="Loss of a projection, learned either way", xlabel="step", ylabel="loss")
axes.set_xticks(range(0, 20, 5))
axes.legend()
plt.show()

# %%
# The same is done with more and more pairs, in chunks of 4,096 pairs and in one chunk of all of
# them. ``tracemalloc`` counts what NumPy allocates.

pairs = 4096 * np.array([1, 2, 4, 8, 16])
projection = np.eye(64, 16, dtype=np.float32)
used = {"one chunk": [], "chunks of 4,096": []}
for count in pairs:
    for name, parts in (("one chunk", 1), ("chunks of 4,096", count // 4096)):
        asked = step(*store(parts, count // parts), projection)
        tracemalloc.start()
        dask.compute(*asked, scheduler="synchronous")
        used[name].append(tracemalloc.get_traced_memory()[1] / 2**20)
        tracemalloc.stop()
for name, mebibytes in used.items():
    print(f"{name:16}", "".join(f"{m:6.1f}" for m in mebibytes), "MiB")

# %%
# Memory is that of a chunk, however many there are.

figure, axes = plt.subplots(figsize=(6, 4.2))
for (name, mebibytes), colour, mark in zip(used.items(), (ORANGE, BLUE), "so", strict=True):
    axes.loglog(pairs, mebibytes, mark + "-", color=colour, linewidth=2, label=name)
axes.set(title="Peak memory of a step", xlabel="pairs", ylabel="MiB")
axes.set_xticks(pairs, [f"{n:,}" for n in pairs])
axes.set_yticks([5, 10, 20, 50, 100], [5, 10, 20, 50, 100])
axes.minorticks_off()
axes.legend()
# sphinx_gallery_thumbnail_number = 2
plt.show()
