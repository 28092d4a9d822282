"""A projection learned from pairs that do not fit into memory, on workers of Dask.

    python examples/dask_pairs.py

The pairs are a folder of parts, ``pairs-000.npy`` and ``label-000.npy`` and so on, written by the
script if they are not there: vectors of 128 numbers, of which 16 say what a vector is of, and the
others are louder. Both vectors of a pair lie in one part, so that one worker has them. Each step
reads the store once. The loss and the gradients of the projected rows come from one pass over each
chunk; what goes back is one matrix.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile
from typing import Any, NamedTuple

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster

import fastcos
from fastcos.measures import verification

FEATURES, USEFUL, DIMENSIONS, CLASSES = 128, 16, 16, 200
ROWS = 1 << 15  # of a part: 16 MiB of each side
RATE, MOMENTUM = 20.0, 0.8


class Store(NamedTuple):
    """Pairs of rows, row i of one with row i of the other, and 1 or -1; lazy."""

    first: Any
    second: Any
    label: Any


def write(folder: pathlib.Path, parts: int, rows: int) -> None:
    """Writes so many parts of so many pairs."""
    centers = np.random.default_rng(0).standard_normal((CLASSES, USEFUL))
    mix = np.linalg.qr(np.random.default_rng(1).standard_normal((FEATURES, FEATURES)))[0]
    for part in range(parts):
        rng = np.random.default_rng([2, part])
        label = np.where(rng.random(rows) < 0.5, 1, -1)
        own = rng.integers(CLASSES, size=rows)
        other = np.where(label == 1, own, rng.integers(CLASSES, size=rows))
        pairs = 3 * rng.standard_normal((rows, 2, FEATURES))
        pairs[..., :USEFUL] = centers[np.stack([own, other], axis=1)]
        pairs[..., :USEFUL] += 0.5 * rng.standard_normal((rows, 2, USEFUL))
        np.save(folder / f"pairs-{part:03}.npy", (pairs @ mix).astype(np.float32))
        np.save(folder / f"label-{part:03}.npy", label)


def read(folder: pathlib.Path) -> Store:
    """The store as lazy arrays, a chunk for each part; nothing but the headers is read."""

    def parts(name: str) -> Any:
        files = sorted(folder.glob(f"{name}-*.npy"))
        one = np.load(files[0], mmap_mode="r")
        load = dask.delayed(np.load, pure=True)
        lengths = [np.load(file, mmap_mode="r").shape for file in files]
        return da.concatenate(
            [
                da.from_delayed(load(file), shape, dtype=one.dtype)
                for file, shape in zip(files, lengths, strict=True)
            ]
        )

    pairs = parts("pairs")
    return Store(pairs[:, 0], pairs[:, 1], parts("label"))


def learn(store: Store, steps: int) -> tuple[Any, list[float]]:
    """The projection after so many steps of gradient descent with momentum, and the losses."""
    rng = np.random.default_rng(3)
    projection = rng.standard_normal((FEATURES, DIMENSIONS)).astype(np.float32)
    projection /= np.sqrt(FEATURES)
    velocity = np.zeros_like(projection)
    loss_and_grad = fastcos.value_and_grad(fastcos.cosine_embedding_loss)
    losses = []
    for _ in range(steps):
        rows = store.first @ projection, store.second @ projection
        loss, grads = loss_and_grad(*rows, store.label, margin=0.2)
        # The chain rule, in chunks: a 128 x 16 matrix of each, added up.
        of_projection = store.first.T @ grads[0] + store.second.T @ grads[1]
        value, slope = dask.compute(loss, of_projection)
        velocity = MOMENTUM * velocity - RATE * slope
        projection += velocity
        losses.append(float(value))
    return projection, losses


def auc(store: Store, projection: Any) -> float:
    """How well the cosine tells pairs of one thing from others, of all pairs."""
    scores = fastcos.cosine_similarity(store.first @ projection, store.second @ projection)
    found: Any = verification(scores, store.label)
    return float(found.compute().auc)


def main() -> int:
    """Learns from a store and prints how it went."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--store", type=pathlib.Path, help="a folder; by default one for this run")
    parser.add_argument("--parts", type=int, default=48, help="how many to write, if it is empty")
    parser.add_argument("--rows", type=int, default=ROWS, help="of each part")
    parser.add_argument("--memory", default="512MiB", help="of each of two workers")
    parser.add_argument("--steps", type=int, default=10)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = given.store or pathlib.Path(folder)
        path.mkdir(exist_ok=True)
        if not any(path.iterdir()):
            write(path, given.parts, given.rows)
        store = read(path)
        with (
            LocalCluster(
                n_workers=2,
                threads_per_worker=1,
                memory_limit=given.memory,
                dashboard_address=None,
            ) as cluster,
            Client(cluster),
        ):
            before = auc(store, np.eye(FEATURES, dtype=np.float32))
            projection, losses = learn(store, given.steps)
            after = auc(store, projection)
    size = (store.first.nbytes + store.second.nbytes) / 2**20
    sys.stdout.write(
        f"{len(store.label):,} pairs, {size:,.0f} MiB, two workers of {given.memory}\n"
        f"loss  {losses[0]:.4f} -> {losses[-1]:.4f}\n"
        f"AUC   {before:.4f} -> {after:.4f}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
