"""The loop of a listwise loss over blocks of anchors: products, the kernel over rows, products.

For a block of anchors their similarities to all candidates come from the array library's own
matrix product, into one buffer that all blocks share. The kernel leaves slopes in their place, of
which two products more make the gradients: three products in all, and none is made twice. What a
loss has to know of other rows before it can give slopes, its survey, takes one more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastcos.engine import blocks_device, blocks_host, layout
from fastcos.engine.sweep import Asked, Memory, Pass, Rows, Sweep
from fastcos.kernels import PRODUCT
from fastcos.listwise import Listwise

#: Bytes of the similarities of a block at most, unless the caller says how many anchors it has.
BLOCK_BYTES = 64 << 20
_NOTHING = Asked()
#: Fewer anchors than this make the products slower than they could be.
_AT_LEAST = 16
# On a processor slopes that are still in its caches are worth more than high blocks, once these are
# high enough: 4,096 x 4,096 of 128 features took 66 ms in blocks of 1,024 anchors, 77 in one.
_ENOUGH, _CACHED_BYTES = 256, 16 << 20


def prepared(found: Any, measure: Any, block: int | None, ordered: bool) -> Sweep:
    """Rows made ready for products, and how high blocks are."""
    adapter, x, y = found.adapter, found.anchors, found.candidates
    place = blocks_host if found.device < 0 else blocks_device
    name = "float64" if adapter.float_name(found.dtype) == "float64" else "float32"
    dtype = adapter.DTYPES[name]
    moves = measure.of != PRODUCT and not measure.normalizes
    others = x if y is None else y
    center = adapter.center(others) if moves and len(others) else None

    def ready(array: Any) -> Rows:
        where = readable(adapter, array)
        found: Rows = place.unit_rows(adapter, *where, dtype, measure.normalizes, center)
        return found

    anchors = ready(x)
    candidates = anchors if y is None else ready(y)
    columns = len(candidates.units)
    size = 8 if name == "float64" else 4
    if block is None:
        block = height(size * columns * (2 if ordered else 1), on_host=found.device < 0)
    return Sweep(
        *(adapter, place, measure, dtype, anchors, candidates),
        *(found.anchor_labels, found.candidate_labels, y is None, 0),
        *(max(min(block, len(anchors.units)), 1), found.device, (x, x if y is None else y)),
    )


def readable(adapter: Any, array: Any) -> tuple[Any, int]:
    """Rows that a kernel can read, themselves or as a copy, and the bytes from one to the next."""
    dtype = adapter.common_dtype([array])
    where, as_they_are = layout.rows(adapter.layout(array), -1, dtype)
    return array if as_they_are else adapter.rows(array, -1, dtype), where.strides[0]


def height(row: int, on_host: bool) -> int:
    """How many anchors a block has whose similarities are so many bytes each."""
    most = max(BLOCK_BYTES // max(row, 1), _AT_LEAST)
    return min(most, max(_ENOUGH, _CACHED_BYTES // max(row, 1))) if on_host else most


def part(sweep: Sweep, first: int, count: int) -> Sweep:
    """The same with some of the anchors only, one after another."""
    if count == len(sweep.anchors.units):
        return sweep
    return sweep._replace(
        anchors=cut(sweep.anchors, first, count),
        anchor_labels=sweep.anchor_labels[first : first + count],
        ahead=sweep.ahead + first,
        height=max(min(sweep.height, count), 1),
    )


def cut(rows: Rows, first: int, count: int) -> Rows:
    """Some of the rows, one after another."""
    return rows if count == len(rows.units) else Rows(*[x[first : first + count] for x in rows])


def turned(sweep: Sweep) -> Sweep:
    """The same with anchors and candidates exchanged."""
    return sweep._replace(
        anchors=sweep.candidates,
        candidates=sweep.anchors,
        anchor_labels=sweep.candidate_labels,
        candidate_labels=sweep.anchor_labels,
        height=max(min(sweep.height, len(sweep.candidates.units)), 1),
        originals=sweep.originals[::-1],
    )


def scales(sweep: Sweep, weight: Any, upstream: Any) -> Any:
    """What the slopes of each anchor are multiplied by, but for what all have in common."""
    found = sweep.adapter.scratch((len(sweep.anchors.units),), sweep.originals[0])
    found[...] = weight * upstream
    return found


def run(
    sweep: Sweep,
    loss: Listwise,
    parameters: Sequence[Any],
    numbers: Any = None,
    scales: Any = None,
    asked: Asked = _NOTHING,
    candidate_scales: Any = None,
) -> Pass:
    """Goes over all blocks.

    Args:
        sweep: The rows.
        loss: The loss.
        parameters: Its parameters.
        numbers: What its survey has found, one number for each candidate.
        scales: Those of the anchors, where slopes are wanted.
        asked: Which gradients are.
        candidate_scales: The scales of the candidates as anchors, where there are numbers.
    """
    adapter, place, like = sweep.adapter, sweep.place, sweep.originals[0]
    anchors, columns = len(sweep.anchors.units), len(sweep.candidates.units)
    features = sweep.anchors.units.shape[1]
    values = adapter.scratch((anchors, 2), like)
    if not anchors:
        values[...] = 0
    new = adapter.workspace
    similarities = new((sweep.height, columns), sweep.dtype, like)
    needs_anchors = asked.anchors
    needs_candidates = asked.candidates or (sweep.excludes and asked.anchors)
    of_anchors: Any = None
    of_candidates: Any = None
    sums = column_sums = learned = None
    ones: Any = None
    if needs_anchors:
        of_anchors = new((anchors, features), sweep.dtype, like)
    if needs_candidates:
        of_candidates = new((columns, features), sweep.dtype, like)
        of_candidates[...] = 0
    summed = sweep.measure.of != PRODUCT and not sweep.measure.normalizes
    if summed and (needs_anchors or needs_candidates):
        sums = adapter.scratch((anchors,), like)
        column_sums, ones = (
            new((columns, 1), sweep.dtype, like),
            new((sweep.height, 1), sweep.dtype, like),
        )
        column_sums[...], ones[...] = 0, 1
    if asked.learned:
        learned = adapter.scratch((anchors, 2), like)
        if not anchors:
            learned[...] = 0
    memory = Memory(
        *(values, sums, learned, scales, *_paired(sweep, numbers, candidate_scales)),
        in_order=new((sweep.height, columns), sweep.dtype, like) if loss.ordered else None,
    )
    kernel = place.bound(sweep, loss, parameters, memory)
    x, y = sweep.anchors.units, sweep.candidates.units
    # Distances are measured again where they have lost more than float32 rounds, and no more.
    if sweep.measure.of == PRODUCT:
        x, y = adapter.factors((x, y), sweep.originals)
    for first in range(0, anchors, sweep.height):
        last = min(first + sweep.height, anchors)
        block, own = similarities[: last - first], x[first:last]
        adapter.matmul(own, y.T, block)
        kernel(block, first)
        if needs_anchors:
            adapter.matmul(block, y, of_anchors[first:last])
        if needs_candidates:
            adapter.add_matmul(block.T, own, of_candidates)
            if column_sums is not None:
                adapter.add_matmul(block.T, ones[: last - first], column_sums)
    both = (
        (0.0, 0.0)
        if learned is None
        else tuple([adapter.number(adapter.wrap(learned[:, k]).sum()) for k in (0, 1)])
    )
    if column_sums is not None:
        # What a row is multiplied by in its own gradient: the slopes are of the other sign here.
        column_sums = place.negated_sums(adapter, column_sums)
    return Pass(values, of_anchors, of_candidates, sums, column_sums, both)


def _paired(sweep: Sweep, numbers: Any, scales: Any) -> tuple[Any, Any, Any]:
    """The numbers of the anchors, and scales and numbers of candidates as they are read."""
    if numbers is None:
        return None, None, None
    adapter, like = sweep.adapter, sweep.originals[0]
    columns = len(sweep.candidates.units)

    def beside_similarities(values: Any) -> Any:
        beside = adapter.workspace((columns,), sweep.dtype, like)
        beside[...] = 0 if values is None else adapter.wrap(values)
        return beside

    # One after another.
    found = adapter.scratch((columns,), like)
    found[...] = numbers
    own = found[sweep.ahead : sweep.ahead + len(sweep.anchors.units)]
    return own, beside_similarities(scales), beside_similarities(found)


def total(adapter: Any, values: Any, weight: Any) -> Any:
    """The weighted sum over the anchors."""
    return adapter.number(adapter.wrap(values * weight).sum())


def denominator(adapter: Any, reduction: str, values: Any, weight: Any) -> Any:
    """What the weighted sum of the losses is divided by."""
    anchors = values.shape[0]
    if reduction == "sum":
        return 1.0
    if reduction == "sum_over_batch_size":
        return float(anchors)
    if reduction == "mean":
        return total(adapter, values[:, 1], weight)
    if isinstance(weight, float):
        return float(anchors if weight else 0)
    # On a GPU one number for all is an array, too.
    return adapter.number((weight != 0).sum()) * float(1 if weight.ndim else anchors)


def gradient(
    sweep: Sweep, found: Pass, side: str, scale: Any, out: Any, dtype: Any, accumulate: bool
) -> Any:
    """The gradient of one side, from what the products have left."""
    adapter = sweep.adapter
    of_anchors = side == "anchors"
    rows = sweep.anchors if of_anchors else sweep.candidates
    slopes = found.anchors if of_anchors else found.candidates
    sums = found.anchor_sums if of_anchors else found.candidate_sums
    if sweep.excludes:
        slopes += found.candidates
        sums = None if sums is None else sums + found.candidate_sums
    into = adapter.empty_like(sweep.originals[not of_anchors], -1, dtype) if out is None else out
    where, in_place = layout.rows(adapter.layout(into), -1, into.dtype)
    target = into if in_place else adapter.empty_like(slopes, -1, into.dtype)
    adds = accumulate and out is not None
    sweep.place.project(
        sweep, rows, slopes, sums, scale, target, where.strides[0], adds and in_place
    )
    if not in_place:
        into[...] = into + target if adds else target
    return into
