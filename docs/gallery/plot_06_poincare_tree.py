"""
A tree in the hyperbolic disk
=============================

A tree has twice as many nodes at each level as at the one before. A plane has no such room: its
circles grow with the radius. Hyperbolic circles grow exponentially, and so a tree fits into the
Poincaré disk far better.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastcos

plt.rcParams.update({"font.size": 12, "figure.constrained_layout.use": True})
LEVELS = 6

# %%
# The root, node 0, has three children, and every other node has two: the parent of node ``n`` is
# ``(n - 2) // 2``. The distance of two nodes is the number of edges on the way between them. As
# children have higher numbers than their parents, the way is found by going up from the higher
# number until both are the same.

counts = np.r_[1, 3 * 2 ** np.arange(LEVELS - 1)]
level = np.repeat(np.arange(LEVELS), counts)
nodes = np.arange(counts.sum())
place = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])


def parent(n):
    """The node above each."""
    return np.maximum(n - 2, 0) // 2


i, j = np.triu_indices(len(nodes), k=1)
steps, a, b = np.zeros(len(i)), nodes[i], nodes[j]
while (a != b).any():
    steps += a != b
    a, b = np.where(a > b, parent(a), a), np.where(b > a, parent(b), b)
print(f"{len(nodes)} nodes, {len(i)} pairs, at most {steps.max():.0f} edges apart")

# %%
# Every node is a row of a table of two numbers. The rows are moved until the distance of every
# pair is its number of edges, times a length of edges. :func:`fastcos.rows` names the rows of
# the pairs, and the gradient has the shape of the table. In the disk it is scaled by the metric,
# (1 - ‖x‖²)² / 4, which makes steps short near the border. Both start from the same fan.

measure = fastcos.value_and_grad(fastcos.paired_distance)


def embed(distance, edge):
    """The table, and the distance of each pair as a share of what it should be."""
    angle = 2 * np.pi * place
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
    way = arc(disk[parent(child)], disk[child])
    axes.plot(way.real, way.imag, color="#777777", linewidth=1.2, zorder=1)
axes.scatter(*disk.T, c=level, cmap="cividis", s=180 / (level + 1), edgecolor="white", zorder=2)
axes.set(title="A tree of 94 nodes in the Poincaré disk", aspect="equal")
axes.axis("off")
plt.show()

# %%
# The distances of all pairs beside those that the tree has. In the plane branches are pressed
# together: nodes that are some edges apart on two branches may lie almost side by side.

figure, both = plt.subplots(1, 2, figsize=(7, 3.9), sharey=True)
for axes, name, ratio in zip(both, ("Disk", "Plane"), (of_disk, of_plane), strict=True):
    by_steps = [ratio[steps == n] for n in range(1, int(steps.max()) + 1)]
    axes.boxplot(by_steps, showfliers=False, medianprops={"color": "#0072B2", "linewidth": 2})
    axes.axhline(1, color="#D55E00", linewidth=1, zorder=0)
    axes.set(title=name, xlabel="edges between two nodes", ylim=(0, 1.6))
both[0].set_ylabel("distance / what it should be")
plt.show()
