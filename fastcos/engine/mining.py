"""Triplets found in a batch, block by block: numbers of rows, as array operations of the library.

No N x N matrix: a block of anchors at a time, and of their pairs as many as a block has numbers.
"""

from __future__ import annotations

import contextlib
from typing import Any

from fastcos.engine import blocks
from fastcos.engine.batch import Batch, arguments, checked, measure_of
from fastcos.engine.libraries import adapter_of_arrays
from fastcos.kernels import EUCLIDEAN, PRODUCT

HARD, SEMI_HARD, ALL = "hard", "semi-hard", "all"
KINDS = (HARD, SEMI_HARD, ALL)


def mine(batch: Batch, kind: str, margin: float, most: int) -> tuple[Any, Any, Any]:
    """The numbers of anchors, positives and negatives of the triplets of a kind.

    Raises:
        ValueError: there are more than ``most`` of them.
    """
    names, arrays = arguments(batch)
    adapter = adapter_of_arrays(names, arrays)
    guard = adapter.device_guard and adapter.device_guard(arrays)
    with guard or contextlib.nullcontext():
        sweep = blocks.prepared(
            checked(batch, adapter, None),
            measure_of(batch.distance, "distance"),
            batch.block,
            False,
        )
        parts = []
        count = 0
        for found in _by_block(sweep, kind, margin):
            parts.append(found)
            count += int(found[0].shape[0])
            if count > most:
                raise ValueError(
                    f"there are more than {most} triplets: raise max_triplets, lower the margin, or"
                    " use batch_all_triplet_loss, which needs none of them"
                )
        a, p, n = (
            adapter.joined([part[k] for part in parts], sweep.originals[0]) for k in range(3)
        )
        return a, p, n


def _by_block(sweep: Any, kind: str, margin: float) -> Any:
    """The triplets of each block of anchors, or of part of one."""
    adapter, wrap = sweep.adapter, sweep.adapter.wrap
    labels, others = wrap(sweep.anchor_labels), wrap(sweep.candidate_labels)
    anchors, columns = len(sweep.anchors.units), len(sweep.candidates.units)
    similarities = adapter.workspace((sweep.height, columns), sweep.dtype, sweep.originals[0])
    numbers = wrap(adapter.numbered(columns, sweep.originals[0]))
    # Without candidates there is no triplet, and no greatest or least number of a row.
    for first in range(0, anchors if columns else 0, sweep.height):
        last = min(first + sweep.height, anchors)
        block = similarities[: last - first]
        adapter.matmul(sweep.anchors.units[first:last], sweep.candidates.units.T, block)
        d = _distances(sweep, block, first, last)
        alike = labels[first:last, None] == others[None]
        positive, negative = alike, ~alike
        if sweep.excludes:
            own = numbers[first:last, None] == numbers[None]
            positive = alike & ~own
        if kind == HARD:
            yield _hard(adapter, d, positive, negative, first)
            continue
        a, p = adapter.nonzero(positive)
        # Each pair meets all candidates: as many pairs at a time as make a block.
        step = max(sweep.height, 1)
        for start in range(0, len(a), step):
            pairs = a[start : start + step], p[start : start + step]
            find = _semi_hard if kind == SEMI_HARD else _all
            yield find(adapter, d, negative, pairs, margin, first)


def _distances(sweep: Any, products: Any, first: int, last: int) -> Any:
    measure, wrap = sweep.measure, sweep.adapter.wrap
    if measure.of == PRODUCT:
        return measure.offset + measure.factor * products
    squares = wrap(sweep.anchors.squares)[first:last, None] + wrap(sweep.candidates.squares)[None]
    squared = (squares - 2 * products).clip(0)
    return squared**0.5 if measure.of == EUCLIDEAN else squared


def _hard(adapter: Any, d: Any, positive: Any, negative: Any, first: int) -> Any:
    """Each anchor with its farthest positive and its nearest negative."""
    whole = positive.any(1) & negative.any(1)
    (a,) = adapter.nonzero(whole)
    p = adapter.where(positive, d, -float("inf")).argmax(1)
    n = adapter.where(negative, d, float("inf")).argmin(1)
    return a + first, p[a], n[a]


def _semi_hard(
    adapter: Any, d: Any, negative: Any, pairs: tuple[Any, Any], margin: float, first: int
) -> Any:
    """Each pair with the nearest negative beyond it, or the farthest of all."""
    a, p = pairs
    own, to = d[a, p], negative[a]
    rows = d[a]
    beyond = adapter.where(to & (rows > own[:, None]), rows, float("inf"))
    farthest = adapter.where(to, rows, -float("inf")).argmax(1)
    has_any, has_beyond = to.any(1), (beyond < float("inf")).any(1)
    n = adapter.where(has_beyond, beyond.argmin(1), farthest)
    z = own - rows[adapter.numbered_like(n), n] + margin
    (kept,) = adapter.nonzero(has_any & (z > 0))
    return a[kept] + first, p[kept], n[kept]


def _all(
    adapter: Any, d: Any, negative: Any, pairs: tuple[Any, Any], margin: float, first: int
) -> Any:
    """Each pair with each negative for which the triplet costs something."""
    a, p = pairs
    costs = negative[a] & (d[a, p][:, None] - d[a] + margin > 0)
    pair, n = adapter.nonzero(costs)
    return a[pair] + first, p[pair], n
