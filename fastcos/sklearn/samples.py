"""What a loss is told of the rows: their labels, or pairs and triplets, given or drawn."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Integers = npt.NDArray[np.int64]


class Samples(NamedTuple):
    """Rows by their numbers, one, two or three to a sample, and what is said of them."""

    rows: Integers  # (M, 1) of rows with labels, (M, 2) of pairs, (M, 3) of triplets
    told: Integers | None  # (M,): the class of a row, +1 or -1 of a pair; nothing of a triplet


def part(samples: Samples, which: Integers) -> Samples:
    """Some of the samples."""
    told = samples.told
    return Samples(samples.rows[which], None if told is None else told[which])


def renumbered(samples: Samples) -> tuple[Integers, Samples]:
    """The rows that occur, and the samples with the places of these for numbers.

    A row with a label is a sample: there are as many, in the same order.
    """
    if samples.rows.shape[1] == 1:
        places = np.arange(len(samples.rows))[:, None]
        return samples.rows[:, 0], samples._replace(rows=places)
    used, places = np.unique(samples.rows, return_inverse=True)
    return used, samples._replace(rows=places.reshape(samples.rows.shape))


# --------------------------------------------------------------------------------------------------
# Drawn from labels. With rows ordered by label those of one label are a run. No list of all pairs
# is made: of 100,000 rows there are five billion.
# --------------------------------------------------------------------------------------------------


class _Runs(NamedTuple):
    """Rows ordered by label, and for each place in that order where its run begins and ends."""

    order: Integers
    begin: Integers
    end: Integers


def _runs(labels: Integers) -> _Runs:
    order = np.argsort(labels, kind="stable")
    ordered = labels[order]
    begin, end = (np.searchsorted(ordered, ordered, side=side) for side in ("left", "right"))
    return _Runs(order, begin, end)


def draw_pairs(labels: Integers, count: int, rng: np.random.Generator) -> Samples:
    """As many pairs of one label as of two, ``count`` in all or fewer, none of them twice."""
    order, _, end = _runs(labels)
    places = np.arange(len(labels))
    # A place is paired with later ones: of one label in its own run, of another label beyond it.
    same = _numbered_pairs(places + 1, end, count - count // 2, rng)
    others = _numbered_pairs(end, np.full_like(end, len(labels)), count // 2, rng)
    few = min(len(same), len(others))
    rows = order[np.concatenate([same[:few], others[:few]])]
    return Samples(rows, np.repeat(np.array([1, -1]), few))


def _numbered_pairs(
    begin: Integers, end: Integers, count: int, rng: np.random.Generator
) -> Integers:
    """``count`` pairs of places p and q with begin[p] <= q < end[p], or all if there are fewer."""
    last = np.cumsum(end - begin)
    total = int(last[-1])
    numbers = rng.choice(total, min(count, total), replace=False)
    first = np.searchsorted(last, numbers, side="right")
    return np.stack([first, end[first] - (last[first] - numbers)], axis=1)


def draw_triplets(labels: Integers, count: int, rng: np.random.Generator) -> Samples:
    """``count`` triplets, each any of all that there are: one may be drawn twice."""
    order, begin, end = _runs(labels)
    others = len(labels) - (end - begin)
    weight = (end - begin - 1) * others.astype(np.float64)
    anchor = rng.choice(len(labels), count, p=weight / weight.sum())
    begin, end = begin[anchor], end[anchor]
    positive = rng.integers(begin, end - 1)
    positive += positive >= anchor  # the anchor itself is left out
    negative = rng.integers(others[anchor])
    negative += np.where(negative >= begin, end - begin, 0)  # and so is its run
    return Samples(order[np.stack([anchor, positive, negative], axis=1)], None)


# --------------------------------------------------------------------------------------------------
# Given.
# --------------------------------------------------------------------------------------------------


def check_numbers(name: str, numbers: Any, width: int, count: int) -> Integers:
    """Numbers of rows, ``width`` to a sample, counted from 0; raises unless they are that."""
    found = np.asarray(numbers)
    if found.ndim != 2 or found.shape[1] != width:
        raise ValueError(
            f"{name} must be numbers of rows of X, of shape (n, {width}); got shape {found.shape}"
        )
    if not len(found):
        raise ValueError(f"{name} must not be empty, got shape {found.shape}")
    if found.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, numbers of rows of X; got dtype {found.dtype}")
    bad = (found < -count) | (found >= count)
    if bad.any():
        place = tuple(map(int, np.argwhere(bad)[0]))
        raise IndexError(
            f"{name} must name rows of X, which has {count}; got {found[place]} at {place}"
        )
    found = found.astype(np.int64)
    return np.where(found < 0, found + count, found)


def check_alike(y: Any, count: int) -> Integers:
    """Which pairs are alike as +1 and -1; raises unless ``y`` says so of each."""
    found = np.asarray(y)
    if found.shape != (count,):
        raise ValueError(
            f"y must be one label for each of the {count} pairs; got shape {found.shape}"
        )
    if found.dtype.kind == "b":
        return np.where(found, 1, -1)
    if found.dtype.kind not in "iuf":
        raise TypeError(f"y must be +1 and -1, or bool; got dtype {found.dtype}")
    bad = np.flatnonzero((found != 1) & (found != -1))
    if len(bad):
        zero = ": 0 is no label, y == 1 makes it bool" if found[bad[0]] == 0 else ""
        raise ValueError(
            f"y must be +1 (alike) or -1 (not alike); got {found[bad[0]]} at {bad[0]}{zero}"
        )
    return found.astype(np.int64)
