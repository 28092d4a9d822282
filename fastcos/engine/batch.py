"""A listwise loss: what was asked for, checked and planned, and what becomes of the sums.

The counterpart of ``problem``, ``plan`` and ``execute`` for a batch with labels, or for two sets of
rows, where every row meets every other. The loop over blocks of anchors is in ``blocks``.
"""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

from fastcos import _hints
from fastcos.engine import blocks, per_sample, sharing
from fastcos.engine.checks import (
    check_device,
    check_finite,
    check_out_fits,
    check_per_sample,
    check_reduction,
    one_device,
)
from fastcos.engine.libraries import adapter_of_arrays
from fastcos.engine.rows import Rows
from fastcos.engine.sweep import Asked
from fastcos.kernels import EUCLIDEAN, PRODUCT, SQUARED
from fastcos.listwise import Listwise
from fastcos.typing import ListwiseDistance

DISTANCES: tuple[str, ...] = get_args(ListwiseDistance)


class Side(NamedTuple):
    """The anchors of a batch, or its candidates."""

    name: str  # what the argument is called
    rows: Any  # (N, D)
    labels: Any = None  # one integer for each; None for 0, 1, 2, ...
    labels_name: str = ""
    common: bool = False  # whether all of several processes have these rows: proxies


class Batch(NamedTuple):
    """One call of a listwise loss."""

    loss: Listwise
    anchors: Side
    candidates: Side | None  # None for the anchors, of which none is a candidate of its own
    distance: str
    parameters: dict[str, Any]  # of the loss, by name; floats, or arrays of one number
    weight: Any = None  # one for each anchor, or for all
    reduction: str = "mean"
    block: int | None = None  # how many anchors are taken at a time
    square: bool = False  # whether there have to be as many candidates as anchors
    # Whether a last parameter is the number of anchors over that of those with positives
    ratio: bool = False
    weight_name: str = "weight"
    peers: sharing.Peers | None = None  # the processes that hold the batch, if it is not this alone


class Measure(NamedTuple):
    """How the numbers of a row come of products: ``offset + factor * q``."""

    normalizes: bool  # whether rows are brought to unit length
    of: int  # what q is: PRODUCT, SQUARED or EUCLIDEAN
    offset: int
    factor: int


_KINDS = {
    "cosine": (True, PRODUCT),
    "dot": (False, PRODUCT),
    "euclidean": (False, EUCLIDEAN),
    "sqeuclidean": (False, SQUARED),
    "normalized_euclidean": (True, EUCLIDEAN),
    "normalized_sqeuclidean": (True, SQUARED),
}


def measure_of(distance: Any, of: str) -> Measure:
    """How a loss of similarities, or of distances, takes rows.

    Raises:
        ValueError: an unknown name.
    """
    if not isinstance(distance, str) or distance not in _KINDS:
        hint = _hints.hint(distance, DISTANCES)
        raise ValueError(f"distance must be one of {', '.join(DISTANCES)}; got {distance!r}{hint}")
    normalizes, kind = _KINDS[distance]
    similar = of == "similarity"
    offset = 1 if distance == "cosine" and not similar else 0
    return Measure(normalizes, kind, offset, 1 if (kind == PRODUCT) == similar else -1)


class Checked(NamedTuple):
    """A batch whose arguments are arrays of one library, on one device."""

    adapter: Any
    anchors: Any  # arrays of rows
    candidates: Any | None
    anchor_labels: Any  # int32
    candidate_labels: Any
    dtype: Any  # that of the value, and the one that rows are promoted to
    parameters: list[Any]  # floats, or arrays of one float64 number
    weight: Any  # float64: a number, or one for each anchor
    upstream: Any  # the same
    device: int


def evaluate(batch: Batch) -> Any:
    """The value of a batch; whether that is recorded for later is the framework's affair."""
    adapter = adapter_of_arrays(*arguments(batch))
    if adapter.records:
        return adapter.evaluate(batch, adapter)
    return solve(batch, adapter=adapter)[0]


def solve(
    batch: Batch,
    wanted: tuple[str, ...] = (),
    grad_output: Any = None,
    out: Sequence[Any] = (),
    *,
    adapter: Any = None,
    result: Any = None,
    accumulate: bool = False,
    wide: bool = False,
    later: Sequence[str] = (),
) -> tuple[Any, tuple[Any, ...]]:
    """The value of a listwise loss, and its gradients with respect to what is named in ``wanted``.

    The value is of dtype ``result``, or of that of the rows; gradients of half types are float32 if
    they are to be ``wide``. Everything that can be wrong is found before anything is written.
    ``later`` names what gradients will be asked of, in a call of its own.
    """
    names, arrays = arguments(batch)
    adapter = adapter or adapter_of_arrays([*names, "grad_output"], [*arrays, grad_output])
    guard = adapter.device_guard and adapter.device_guard(arrays)
    for name in wanted:
        if name not in names:
            raise TypeError(f"the gradient of {name} needs {name} to be given")
    with guard or contextlib.nullcontext():
        found = checked(batch, adapter, grad_output)
        if out:
            _check_out(batch, found, wanted, out)
        share = sharing.shared(batch, found, wanted, later) if batch.peers else sharing.alone(found)
        return _solved(batch, found, share, wanted, out, result or found.dtype, accumulate, wide)


def arguments(batch: Batch) -> tuple[list[str], list[Any]]:
    """The names and values of all arguments that are, or may be, arrays."""
    sides = [side for side in (batch.anchors, batch.candidates) if side]
    named = [(side.name, side.rows) for side in sides]
    named += [(side.labels_name, side.labels) for side in sides if side.labels_name]
    named += [(batch.weight_name, batch.weight), *batch.parameters.items()]
    return [name for name, _ in named], [value for _, value in named]


def _beside(adapter: Any, name: str, value: Any, rows: Any) -> Any:
    """An argument as an array where the rows are."""
    array = adapter.asarray(name, value)
    check_device(name, adapter.layout(array), adapter.layout(rows).device)
    return array


def _rows(adapter: Any, name: str, value: Any) -> Any:
    if type(value) is Rows:
        raise TypeError(
            f"{name} is rows of a table: a listwise loss takes an array, such as table[index]"
        )
    array = adapter.asarray(name, value)
    if array.ndim != 2:
        raise ValueError(f"{name} must have shape (N, D), got {tuple(array.shape)}")
    if array.shape[1] == 0:
        raise ValueError(f"{name} must have features, got shape {tuple(array.shape)}")
    return array


def _labels(adapter: Any, side: Side, rows: Any, classes: int | None) -> Any:
    """The labels of a side as int32; numbers from 0 on where it has none."""
    count = int(rows.shape[0])
    if not side.labels_name:
        return adapter.numbered(count, rows)
    if side.labels is None:
        raise TypeError(
            f"{side.labels_name} must be given, one integer for each row of {side.name}"
        )
    labels = _beside(adapter, side.labels_name, side.labels, rows)
    if tuple(labels.shape) != (count,):
        raise ValueError(
            f"{side.labels_name} must have shape ({count},), one for each row of {side.name};"
            f" got {tuple(labels.shape)}"
        )
    return adapter.classes(side.labels_name, labels, classes)


def checked(batch: Batch, adapter: Any, grad_output: Any) -> Checked:
    """The arguments of a batch as arrays; raises where they do not fit."""
    one, two = batch.anchors, batch.candidates
    x = _rows(adapter, one.name, one.rows)
    y = x if two is None else _rows(adapter, two.name, two.rows)
    if two and x.shape[1] != y.shape[1]:
        raise ValueError(
            f"{one.name} and {two.name} must have as many features, got shapes {tuple(x.shape)} and"
            f" {tuple(y.shape)}"
        )
    if two and batch.square and x.shape[0] != y.shape[0]:
        raise ValueError(
            f"{one.name} and {two.name} must have as many rows, for row i belongs to row i; got"
            f" shapes {tuple(x.shape)} and {tuple(y.shape)}"
        )
    device = adapter.layout(x).device
    if two:
        one_device((one.name, two.name), (adapter.layout(x), adapter.layout(y)))
    # Where one side has no labels its rows are the classes.
    numbered = [len(a) for side, a in ((one, x), (two, y)) if side and not side.labels_name]
    classes = numbered[0] if len(numbered) == 1 else None
    own = _labels(adapter, one, x, classes)
    others = own if two is None else _labels(adapter, two, y, classes)
    own, others = sharing.short(own, others)
    weight = _per_anchor(adapter, batch.weight_name, batch.weight, len(x), x)
    check_reduction(batch.reduction)
    if not per_sample.is_number(grad_output) and grad_output is not None:
        grad_output = adapter.asarray("grad_output", grad_output)
        of_none = batch.reduction == "none"
        check_per_sample("grad_output", tuple(grad_output.shape), (len(x),) if of_none else ())
    upstream = _per_anchor(adapter, "grad_output", grad_output, len(x), x)
    parameters = [
        value if type(value) is float else _one_number(adapter, name, value, x)
        for name, value in batch.parameters.items()
    ]
    return Checked(
        *(adapter, x, None if two is None else y, own, others),
        *(adapter.common_dtype([x, y]), parameters, weight, upstream, device),
    )


def _one_number(adapter: Any, name: str, value: Any, rows: Any) -> Any:
    array = adapter.float64(name, _beside(adapter, name, value, rows))
    if array.ndim:
        raise ValueError(f"{name} must be one number, got shape {tuple(array.shape)}")
    return array


def _per_anchor(adapter: Any, name: str, value: Any, anchors: int, like: Any) -> Any:
    """A number, or scratch memory with one float64 number for each anchor."""
    if value is None:
        return 1.0
    if per_sample.is_number(value):
        return float(value)
    array = adapter.float64(name, _beside(adapter, name, value, like))
    check_per_sample(name, tuple(array.shape), (anchors,))
    if array.ndim == 0:
        return adapter.number(array)
    found = adapter.scratch((anchors,), like)
    adapter.wrap(found)[...] = array
    return found


def _check_out(batch: Batch, found: Checked, wanted: tuple[str, ...], out: Sequence[Any]) -> None:
    """Raises unless the caller's buffers may be written to."""
    adapter = found.adapter
    names, arrays = arguments(batch)
    taken = {
        name: array if adapter.array_layout(array) else adapter.asarray(name, array)
        for name, array in zip(names, arrays, strict=True)
        if not per_sample.is_number(array) and array is not None
    }
    for name, buffer in zip(wanted, out, strict=True):
        label = f"out for {name}"
        adapter.check_out(label, buffer, taken)
        taken[label] = buffer
        shape, dtype = _like(batch, found, name)
        check_out_fits(name, adapter.layout(buffer), shape, dtype, found.device)


def _like(batch: Batch, found: Checked, name: str) -> tuple[tuple[int, ...], Any]:
    """Shape and dtype of the gradient with that name."""
    if name in batch.parameters:
        return (), found.dtype
    array: Any = found.anchors if name == batch.anchors.name else found.candidates
    dtype = array.dtype if found.adapter.float_name(array.dtype) else found.dtype
    return tuple(array.shape), dtype


def _solved(
    batch: Batch,
    found: Checked,
    share: sharing.Share,
    wanted: tuple[str, ...],
    out: Sequence[Any],
    result: Any,
    accumulate: bool,
    wide: bool,
) -> tuple[Any, tuple[Any, ...]]:
    adapter, loss, own = found.adapter, batch.loss, share.found
    none = batch.reduction == "none"
    measure = measure_of(batch.distance, loss.of)
    upstream = own.upstream if none else 1.0
    whole = blocks.prepared(own, measure, batch.block, loss.ordered)
    sweep = blocks.part(whole, share.begins, share.anchors.rows)
    parameters = found.parameters
    if batch.ratio:
        parameters = [*parameters, adapter.ratio_with(whole.anchor_labels, whole.candidate_labels)]
    numbers = None
    if loss.survey and loss.survey.totals:
        of_each = blocks.run(sweep, loss.survey.loss, parameters).values
        totals = [blocks.total(adapter, of_each[:, k], own.weight) for k in (0, 1)]
        parameters = [*parameters, *sharing.added(share, totals)]
    elif loss.survey:
        turned = blocks.part(blocks.turned(whole), share.candidates.first, share.candidates.rows)
        of_each = blocks.run(turned, loss.survey.loss, parameters).values[:, 0]
        numbers = sharing.joined(share, of_each, share.candidates)
    scales = of_candidates = None
    if wanted:
        scales = blocks.scales(sweep, own.weight, upstream)
        of_candidates = None if numbers is None else sharing.joined(share, scales, share.anchors)
    asked = Asked(
        anchors=batch.anchors.name in wanted,
        candidates=batch.candidates is not None and batch.candidates.name in wanted,
        learned=any(name in batch.parameters for name in wanted),
    )
    pass_ = blocks.run(sweep, loss, parameters, numbers, scales, asked, of_candidates)
    learned: Sequence[Any] = pass_.learned
    value_of = pass_.values[:, 0]
    if none:
        weighted = value_of * own.weight
        if share.anchors.common:
            weighted = sharing.joined(share, weighted, share.anchors)
        value, last = adapter.values(weighted, result), 1.0
        if asked.learned:
            learned = sharing.added(share, learned)
    else:
        total = blocks.total(adapter, value_of, own.weight)
        denominator = blocks.denominator(adapter, batch.reduction, pass_.values, own.weight)
        total, of_all, *learned = sharing.added(share, [total, denominator, *learned])
        if batch.reduction != "sum":
            denominator = of_all
        mean = per_sample.quotient(adapter, total, denominator)
        if share.anchors.total == 0 and batch.reduction == "mean":
            mean = math.nan
        value = adapter.scalar(mean, result, found.anchors)
        last = per_sample.quotient(adapter, found.upstream, denominator)
    rows, pass_ = sharing.exchanged(share, whole, sweep, pass_)
    rows = rows._replace(originals=(found.anchors, found.candidates))
    grads = []
    for position, name in enumerate(wanted):
        _, dtype = _like(batch, found, name)
        if wide and adapter.float_name(dtype) in ("float16", "bfloat16"):
            dtype = sweep.dtype
        into = out[position] if out else None
        if name in batch.parameters:
            slopes = loss.learnable(*learned, *parameters)  # type: ignore[misc]
            slope = sharing.portion(share, slopes[[*batch.parameters].index(name)] * last)
            grad = adapter.scalar(slope, dtype, found.anchors)
            if into is not None:
                into[...] = into + grad if accumulate else grad
                grad = into
        else:
            of_anchors = name == batch.anchors.name
            common = (share.anchors if of_anchors else share.candidates).common
            scale = sharing.portion(share, last, common)
            side = "anchors" if of_anchors else "candidates"
            grad = blocks.gradient(rows, pass_, side, scale, into, dtype, accumulate)
        grads.append(grad)
    return value, tuple(grads)


def real(values: dict[str, Any], arrays: bool = True) -> dict[str, Any]:
    """Returns parameters as finite floats, or as the ``arrays`` they are, or raises."""
    for name, value in values.items():
        # A float would be made of it, and its gradient lost.
        if getattr(value, "requires_grad", False) and not (arrays and value.ndim == 0):
            if arrays:
                raise ValueError(f"{name} must be one number, got shape {tuple(value.shape)}")
            raise RuntimeError(f"{name} has no gradient here: pass {name}.detach()")
    return {
        name: value
        if arrays and getattr(value, "ndim", None) == 0 and not per_sample.is_number(value)
        else check_finite(name, value)
        for name, value in values.items()
    }


def positive(values: dict[str, Any], arrays: bool = True) -> dict[str, Any]:
    """The same of parameters that are greater than 0; numbers in the memory of a GPU may not be."""
    found = real(values, arrays)
    for name, value in found.items():
        if not getattr(value, "is_cuda", hasattr(value, "__cuda_array_interface__")):
            if not (value > 0 and value < math.inf):
                raise ValueError(f"{name} must be greater than 0, got {values[name]!r}")
    return found


def check_block(block: Any) -> int | None:
    """Returns a number of anchors, or None, or raises."""
    return None if block is None else check_count("block", block, ", or None")


def check_count(name: str, value: Any, more: str = "") -> int:
    """Returns an integer that is at least 1, or raises."""
    try:
        count = operator.index(value)
    except TypeError:
        count = None
    if count is None or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, at least 1{more}; got {value!r}")
    if count < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return count
