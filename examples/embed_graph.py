"""Embeddings of the nodes of a graph, learned from its edges, without a framework.

    python examples/embed_graph.py

The nodes are scanned digits, the edges join each to its nearest ones, and the images are not looked
at again: what is learned is a table with one row for each node. Edges and pairs drawn at random
name rows of that table, and the gradient of a step is that of its rows alone.
"""

from __future__ import annotations

import argparse
import sys
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import kneighbors_graph

import fastcos

DIMENSIONS, NEIGHBOURS = 16, 10
EDGES = 256  # of a step, and as many random pairs
RATE = 100.0  # the loss is a mean over the pairs, and a row is in few of them

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


class Graph(NamedTuple):
    """Edges to learn from, edges held out, and what digits the nodes show."""

    edges: Integers  # (number, 2)
    held_out: Integers
    labels: Integers


def load(rng: np.random.Generator) -> Graph:
    """The graph of the nearest neighbours of 1,797 scanned digits; a tenth of it is held out."""
    images, labels = load_digits(return_X_y=True)
    edges = np.argwhere(kneighbors_graph(images, NEIGHBOURS).toarray())
    edges = rng.permutation(edges)
    return Graph(edges[len(edges) // 10 :], edges[: len(edges) // 10], labels)


def train(graph: Graph, rng: np.random.Generator, epochs: int) -> tuple[Floats, list[float]]:
    """The table of embeddings, and the mean loss of each epoch."""
    nodes = len(graph.labels)
    table = rng.standard_normal((nodes, DIMENSIONS), dtype=np.float32)
    loss_and_grad = fastcos.value_and_grad(fastcos.cosine_embedding_loss)
    target = np.repeat([1.0, -1.0], EDGES)
    means = []
    for _ in range(epochs):
        losses = []
        order = rng.permutation(len(graph.edges))
        for start in range(0, len(order) - EDGES + 1, EDGES):
            drawn = graph.edges[order[start : start + EDGES]]
            pairs = np.concatenate([drawn, rng.integers(nodes, size=(EDGES, 2))])
            first, second = (fastcos.rows(table, side, sparse=True) for side in pairs.T)
            loss, (gradient,) = loss_and_grad(first, second, target, margin=0.2)
            table[gradient.rows] -= RATE * gradient.values
            losses.append(float(loss))
        means.append(float(np.mean(losses)))
    return table, means


def auc(table: Floats, graph: Graph, rng: np.random.Generator) -> float:
    """How well the cosine tells held-out edges from pairs drawn at random, as ROC-AUC."""
    edges = graph.held_out
    pairs = np.concatenate([edges, rng.integers(len(table), size=edges.shape)])
    scores = fastcos.cosine_similarity(*(fastcos.rows(table, side) for side in pairs.T))
    return float(roc_auc_score(np.repeat([1, 0], len(edges)), scores))


def main() -> int:
    """Learns the embeddings and prints how well they tell edges from other pairs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    graph = load(rng)
    table, losses = train(graph, rng, given.epochs)
    start = rng.standard_normal(table.shape, dtype=np.float32)
    sys.stdout.write(
        f"{len(table)} nodes, {len(graph.edges)} edges to learn from\n"
        f"loss                   {losses[0]:.4f} -> {losses[-1]:.4f}\n"
        f"AUC of held-out edges  {auc(start, graph, rng):.4f} -> {auc(table, graph, rng):.4f}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
