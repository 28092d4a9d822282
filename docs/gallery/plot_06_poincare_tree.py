"""
A tree in the hyperbolic disk
=============================

A tree has twice as many nodes at every level. A plane has no such room: its circles grow with the
radius. Hyperbolic circles grow exponentially, and so a tree fits into the Poincaré disk far better.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastcos

plt.rcParams.update({"font.size": 12, "figure.constrained_layout.use": True})
DEPTH = 6

# %%
# Node ``n`` of a binary tree has the children ``2n`` and ``2n + 1``. The distance of two nodes is
# the number of edges between them: how far both are below their last common ancestor.

nodes = np.arange(1, 2**DEPTH)
level = np.floor(np.log2(nodes)).astype(int)
i, j = np.triu_indices(len(nodes), k=1)
steps = np.zeros(len(i))
a, b = nodes[i], nodes[j]
while (a != b).any():
    steps += a != b
    a, b = np.where(a > b, a // 2, a), np.where(b > a, b // 2, b)
print(f"{len(nodes)} nodes, {len(i)} pairs, {steps.max():.0f} edges between the farthest")

# %%
# Every node is a row of a table of two numbers. The rows are moved until the distance of every
# pair is its number of edges, times a length of edges. ``fastcos.rows`` names the rows of the
# pairs, and the gradient has the shape of the table. In the disk it is scaled by the metric,
# (1 - ‖x‖²)² / 4, which makes steps short near the border. Both start from the same fan.

measure = fastcos.value_and_grad(fastcos.paired_distance)


def embed(distance, edge):
    """The table, and the distance of each pair as a share of what it should be."""
    angle = 2 * np.pi * (nodes + 0.5) / 2.0**level
    radius = np.tanh(edge * level / 2) if distance == "poincare" else edge * level
    table = (radius * np.stack([np.cos(angle), np.sin(angle)])).T
    pairs = fastcos.rows(table, i), fastcos.rows(table, j)
    velocity = np.zeros_like(table)
    for _ in range(600):
        ratio = measure(*pairs, distance)[0] / (edge * steps)
        _, (slope,) = measure(*pairs, distance, grad_output=(ratio - 1) / (edge * steps))
        if distance == "poincare":
            slope *= (1 - (table**2).sum(1, keepdims=True)) ** 2 / 4
        velocity = 0.9 * velocity - 0.05 * slope
        table += velocity
    return table, fastcos.paired_distance(*pairs, distance) / (edge * steps)


disk, of_disk = embed("poincare", edge=0.8)
plane, of_plane = embed("euclidean", edge=0.8)
for name, ratio in (("hyperbolic", of_disk), ("Euclidean", of_plane)):
    print(f"{name:10} mean error of a distance {np.abs(ratio - 1).mean():.1%}")

# %%
# In the disk the shortest way between two nodes is an arc of a circle. All edges below have much
# the same hyperbolic length, though they look short near the border.


def arc(p, q):
    """Points on the shortest way from p to q, by moving p to the middle of the disk."""
    p, q = complex(*p), complex(*q)
    turned = (q - p) / (1 - p.conjugate() * q)
    way = turned * np.linspace(0, 1, 30)
    return (way + p) / (1 + p.conjugate() * way)


figure, axes = plt.subplots(figsize=(6, 6.3))
axes.add_patch(plt.Circle((0, 0), 1, facecolor="#F4F4F4", edgecolor="black"))
for child in range(1, len(nodes)):
    way = arc(disk[nodes[child] // 2 - 1], disk[child])
    axes.plot(way.real, way.imag, color="#777777", linewidth=1.2, zorder=1)
axes.scatter(*disk.T, c=level, cmap="cividis", s=150 / (level + 1), edgecolor="white", zorder=2)
axes.set(title="A binary tree in the Poincaré disk", aspect="equal")
axes.axis("off")
plt.show()

# %%
# The distances of all pairs beside those that the tree has. The plane has to press the leaves
# together: its short distances come out too long and its long ones too short.

figure, both = plt.subplots(1, 2, figsize=(7, 3.9), sharey=True)
for axes, name, ratio in zip(both, ("Disk", "Plane"), (of_disk, of_plane), strict=True):
    axes.boxplot([ratio[steps == n] for n in range(1, int(steps.max()) + 1)], showfliers=False)
    axes.axhline(1, color="#D55E00", linewidth=1, zorder=0)
    axes.set(title=name, xlabel="edges between two nodes", ylim=(0, 2.5))
    axes.set_xticklabels(range(1, int(steps.max()) + 1))
both[0].set_ylabel("distance / what it should be")
plt.show()
