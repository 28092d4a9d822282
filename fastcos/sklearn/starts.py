"""Where learning starts: components by the rows alone, proxies by the classes of the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Float64 = npt.NDArray[np.float64]


def components(kind: str, centred: Array, count: int, rng: np.random.Generator) -> Float64:
    """``(count, D)``: principal axes, unit vectors of the features, or random directions."""
    features = centred.shape[1]
    if kind == "identity":
        return np.eye(count, features)
    if kind == "random":
        return np.asarray(rng.standard_normal((count, features)) / np.sqrt(features))
    return principal_axes(centred.astype(np.float64, copy=False), count)


def principal_axes(centred: Float64, count: int) -> Float64:
    """The first of the axes along which centred rows vary most, and beyond their rank any others.

    The largest number of each is positive: which way LAPACK turns them is not said.
    """
    with np.errstate(over="ignore"):
        finite = np.isfinite(np.sum(centred**2))
    if not finite:
        raise ValueError("the squares of X are beyond float64: scale X")
    if len(centred) >= centred.shape[1]:
        axes = np.linalg.eigh(centred.T @ centred)[1].T[::-1]
    else:
        axes = np.linalg.svd(centred, full_matrices=count > len(centred))[2]
    axes = axes[:count]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return np.where(largest < 0, -axes, axes)


def class_means(z: Array, classes: Any, count: int, rng: np.random.Generator) -> Float64:
    """``(count, K)``: the mean of the rows of each class; a random row for one that has none."""
    sums = np.zeros((count, z.shape[1]))
    np.add.at(sums, classes, z)
    rows = np.bincount(classes, minlength=count)[:, None]
    means = sums / np.maximum(rows, 1)
    size = np.sqrt(np.mean(z.astype(np.float64) ** 2))
    return np.where(rows > 0, means, size * rng.standard_normal(means.shape))


def directions(means: Float64) -> Float64:
    """Vectors as far apart as so many can be, turned towards the means of the classes.

    Of all matrices with orthonormal columns (one fewer than classes: the means less their own mean
    sum to 0) the one nearest to the means is the polar factor of their matrix. Its rows have a
    cosine of -1/(C - 1) for C classes, if there are as many components as that takes.
    """
    left, _, right = np.linalg.svd(means - means.mean(axis=0), full_matrices=False)
    rank = min(len(means) - 1, means.shape[1])
    return np.asarray(left[:, :rank] @ right[:rank])
