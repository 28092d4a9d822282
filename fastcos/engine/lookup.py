"""Calls with rows of tables: how each operand is read, and the gradient of each array.

One kernel visits the samples, as always. It keeps of each what its gradients need, and these are
made array by array: who takes part in which row is sorted out by the array's library, and a second
kernel then writes the rows one after the other (:mod:`fastcos.kernels.lookup`). An operand that is
a plain array is a table, too, of which each sample has the row that broadcasting gives it.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastcos.engine import checks, layout
from fastcos.engine.layout import ArrayLayout, RowLayout, Shape
from fastcos.engine.passes import SHARED_FROM, Pass, passes
from fastcos.engine.rows import Rows, RowsLayout, array_of, group_of, out_of_range
from fastcos.kernels.arguments import OfTable, Tables
from fastcos.kernels.lookup import LINE, kept_words, word_shift

# Tasks of the gradient of a table, of so many components or more. Each has two rows of sums, which
# are to be less than 3 bytes a sample of a pair where there are more than a few tasks.
_TASK, _TASKS, _FEW_TASKS, _WORDS_PER_SUM = 1 << 13, 128, 16, 11
# On a GPU each is a team's, and so many components of a row are a thread for each vector of them.
_COMPONENTS_OF_DEVICE = 1 << 20


class Read(NamedTuple):
    """How the rows of an operand are read."""

    copied: str  # "table": in a copy; "rows": in a copy of those that are named; "": in place
    # Bytes from one row of a table to the next; 1 of a plain array, for which the geometry has them
    stride: int
    inner: int  # how many rows a number of the index stands for: 1 but for tables of three axes
    rows: int  # how many the table has, or its copy, inner ones counted; 0 of a plain array


class Target(NamedTuple):
    """A gradient of an array that was given, and who takes part in it."""

    operands: tuple[int, ...]  # numbers of the operands that are rows of it
    position: int  # among the gradients
    dtype: Any  # of the gradient
    sparse: bool  # whether it is a :class:`RowGradient`
    staged: bool  # whether it is computed into memory of its own
    shape: Shape  # of the leading axes of the array
    stride: int  # bytes between rows of what is computed into


class Lookup(NamedTuple):
    """The part of a plan that is about tables."""

    reads: tuple[Read, ...]
    targets: tuple[Target, ...]
    order: tuple[int, ...]  # the gradients in this order: numbers of targets, the weight the last
    features: int
    kept: int  # how many words of 8 bytes are kept of a sample


def looks_up(operands: Sequence[Any]) -> bool:
    """Whether one of the operands is rows of a table."""
    kinds = set(map(type, operands))
    return Rows in kinds or RowsLayout in kinds


def arrays(problem: Any, wanted: Sequence[str]) -> tuple[str, ...]:
    """The names of what gradients are wanted of, with one name for each array."""
    groups = dict(zip(problem.names, map(group_of, problem.operands), strict=True))
    seen, found = set(), []
    for name in wanted:
        group = groups.get(name)
        if group is None or group not in seen:
            found.append(name)
        seen.add(group)
    return tuple(found)


def position(problem: Any, wanted: Sequence[str], name: str) -> int:
    """The position of a gradient among those of a call."""
    return arrays(problem, wanted).index(name)


def plan(
    call: Any, axis: int, shape: Shape, features: int, dtype: Any, gpu: int
) -> tuple[Lookup, tuple[Pass, ...]]:
    """The part of a plan that is about tables, and the visits of its kernels.

    Raises:
        ValueError: an axis that the rows of a table do not have; operands of one table that do not
            agree.
    """
    problem, on_device = call.problem, gpu >= 0
    names, operands = problem.names, problem.operands
    check_axis(names, operands, axis)
    wanted = arrays(problem, call.wanted)
    own = tuple([name for name in wanted if name in names])
    samples = math.prod(shape)
    goals = tuple([_target(call, wanted, name, samples, axis, dtype, gpu) for name in own])
    order = tuple([own.index(name) if name in own else len(own) for name in wanted])
    found, where = reads(operands, axis, dtype, on_device)
    functions, counts = problem.distance.functions, len(problem.distance.parameters)
    kept = kept_words(functions, counts, problem.loss.arity, dtype.itemsize)
    visits: tuple[Pass, ...] = ()
    if samples:
        visits = passes(shape, features, where, [None] * len(where), on_device)
        visits *= 1 + bool(goals)
    return Lookup(tuple(found), goals, order, features, kept), visits


def reads(
    operands: Sequence[Any], axis: int, dtype: Any, on_device: bool
) -> tuple[list[Read], list[RowLayout]]:
    """How operands are read, and where a sample finds its row, or the number of it."""
    found, where = [], []
    for operand in operands:
        if type(operand) is not RowsLayout:
            row, in_place = layout.rows(operand, axis, dtype)
            found.append(Read("" if in_place else "table", 1, 1, 0))
            where.append(row)
            continue
        table = operand.table
        row, in_place = layout.rows(table, axis, dtype)
        stride = layout.stride_of_all(row)
        inner, size = math.prod(row.shape[1:]), table.shape[axis] * dtype.itemsize
        shape, rows = (*operand.numbers, *row.shape[1:]), math.prod(row.shape)
        if in_place and stride is not None:
            found.append(Read("", stride, inner, rows))
        elif math.prod(operand.numbers) < table.shape[0]:
            # Each sample has a row of its own in the copy. On a GPU it has a number, too, by which
            # to tell a row that the table does not have.
            if not on_device:
                found.append(Read("rows", 1, inner, rows))
                where.append(RowLayout(shape, layout.contiguous(shape, size)))
                continue
            found.append(Read("rows", size, inner, math.prod(shape)))
        else:
            found.append(Read("table", size, inner, rows))
        where.append(RowLayout(shape, layout.contiguous(shape, 8)))
    return found, where


def check_axis(names: Sequence[str], operands: Sequence[Any], axis: int) -> None:
    """Raises unless the feature axis is one of the rows of every table, and none of an index."""
    for name, operand in zip(names, operands, strict=True):
        if type(operand) is RowsLayout and len(operand.table.shape) + axis < 1:
            raise ValueError(
                f"axis {axis} of {name} is not one of the table's rows, whose shape is"
                f" {operand.table.shape[1:]}"
            )


def _target(
    call: Any, wanted: Sequence[str], name: str, samples: int, axis: int, dtype: Any, gpu: int
) -> Target:
    """Where the gradient of an array goes."""
    problem = call.problem
    number = problem.names.index(name)
    operand, at = problem.operands[number], wanted.index(name)
    looked_up = type(operand) is RowsLayout
    array: ArrayLayout = operand.table if looked_up else operand
    own = array.dtype if call.adapter.float_name(array.dtype) else dtype
    group: tuple[int, ...] = (number,)
    if looked_up:
        members = [
            m
            for m, other in enumerate(problem.operands)
            if type(other) is RowsLayout and other.group == operand.group
        ]
        group = tuple(members)
        _check_agree(problem, group)
    sparse = looked_up and operand.sparse
    into = call.out[at] if call.out else None
    if into and sparse:
        raise ValueError(f"out for {name}: the gradient is sparse, and is not written to a buffer")
    if into:
        checks.check_out_fits(name, into, array.shape, own, gpu)
    row, in_place = layout.rows(into or layout.new(array, axis, own), axis, dtype)
    rows = math.prod(row.shape)
    if rows.bit_length() + word_shift(samples) > 63:
        raise ValueError(f"{name}: {rows} rows and {samples} samples are too many for one call")
    stride = layout.stride_of_all(row)
    staged = not in_place or stride is None
    if staged or stride is None:
        stride = array.shape[axis] * dtype.itemsize
    return Target(group, at, own, sparse, staged, row.shape, stride)


def _check_agree(problem: Any, group: Sequence[int]) -> None:
    """Raises unless all operands of one table take it for the same, and ask for the same.

    A list or a data frame is converted whenever its rows are named, and may have grown since.
    """
    first, *others = [problem.operands[m] for m in group]
    for m, other in zip(group[1:], others, strict=True):
        if other.table.shape != first.table.shape or other.dtype != first.dtype:
            raise ValueError(
                f"{problem.names[group[0]]} and {problem.names[m]} are rows of one table, which has"
                f" changed from one to the other: it had shape {first.table.shape} and dtype"
                f" {first.dtype}, and has {other.table.shape} and {other.dtype}"
            )
    flags = [problem.operands[m].sparse for m in group]
    if len(set(flags)) > 1:
        dense, sparse = (problem.names[group[flags.index(flag)]] for flag in (False, True))
        raise ValueError(
            f"{dense} and {sparse} are rows of one table, which has one gradient: sparse must be"
            " the same for both"
        )


def tasks(words: int, rows: int, features: int, on_device: bool) -> int:
    """In how many tasks the gradient of a table is made; its shape alone says so."""
    if on_device:
        return max(1, min(words, _COMPONENTS_OF_DEVICE // features))
    components = (words + rows) * features
    if components < SHARED_FROM:
        return 1
    most = min(_TASKS, max(_FEW_TASKS, words // (_WORDS_PER_SUM * features)))
    return max(1, min(words, most, components // _TASK))


def check_numbers(plan: Any, operands: Sequence[Any]) -> None:
    """Raises unless tables on a GPU have all rows that are named; waits for it.

    Raises:
        IndexError: one has not; the position of the first number is named.
    """
    for operand in operands:
        if type(operand) is Rows:
            rows = operand.layout.shape[0]
            wrong = np.argwhere(plan.adapter.host(operand.index) >= rows)
            if len(wrong):
                raise out_of_range(None, wrong[0], rows)


class _Found(NamedTuple):
    """The operands of a call as kernels find them."""

    tables: Tables
    numbers: tuple[Any, ...]  # per operand the numbers of its rows; None of a plain array
    arrays: tuple[Any, ...]  # what has to be kept alive


def find(plan: Any, operands: Sequence[Any]) -> _Found:
    """Where the rows of a call are."""
    adapter = plan.adapter
    numbers: list[Any] = []
    read: list[Any] = []
    indexes: list[Any] = []
    for operand, how in zip(operands, plan.lookup.reads, strict=True):
        if type(operand) is not Rows:
            array = adapter.rows(operand, plan.axis, plan.dtype) if how.copied else operand
            read.append(array)
            numbers.append(None)
            indexes.append(None)
            continue
        table, index = operand.array, operand.index
        if len(operand.layout.shape) > 2:
            mid = layout.without(tuple(table.shape), plan.axis)[1:]
            index = index.reshape(-1, 1) * how.inner + adapter.arange(how.inner, index)
            index = index.reshape((*operand.index.shape, *mid))
        places = index
        if how.copied == "rows" and plan.device < 0:
            table, places = table[operand.index], None
        elif how.copied == "rows":
            rows, count = table.shape[0], how.rows
            table = table[operand.index.clip(max=rows - 1)]
            places = adapter.arange(count, index).reshape(index.shape)
            places = places + (index >= rows * how.inner) * count
        if how.copied:
            table = adapter.rows(table, plan.axis, plan.dtype)
        read.append(table)
        numbers.append(index)
        indexes.append(places)
    found = Tables(
        tuple(map(adapter.address, read)),
        tuple([0 if index is None else adapter.address(index) for index in indexes]),
        tuple([how.stride for how in plan.lookup.reads]),
    )
    return _Found(found, tuple(numbers), (*read, *indexes))


def run(
    plan: Any,
    operands: Sequence[Any],
    per_sample: tuple[Any, Any],
    parameters: Sequence[float],
    losses: Any,
    out: Sequence[Any],
) -> tuple[Any, Any, list[Any]]:
    """The sum of the losses, each of them, and the gradients of arrays in their order.

    ``per_sample`` is labels, weights and scales, and their constants; ``losses`` is the dtype in
    which the loss of each sample is wanted, or None.
    """
    adapter, lookup, place = plan.adapter, plan.lookup, plan.place
    targets = lookup.targets
    arrays = [array_of(operands[target.operands[0]]) for target in targets]
    if not plan.runs:
        no_losses = adapter.scratch(plan.shape, array_of(operands[0]))
        return 0.0, no_losses, _zeros(plan, arrays, out)
    found = find(plan, operands)
    like = found.arrays[0]
    # Before anything else is allocated: to sort takes twice the memory of the words.
    orders = [
        _order(plan, target, found, array) for target, array in zip(targets, arrays, strict=True)
    ]
    kept, keeps = None, (0, 0)
    if targets:
        # From the start of a cache line on.
        kept = adapter.scratch((plan.samples * lookup.kept + LINE - 1,), like)
        keeps = -(-adapter.address(kept) // (8 * LINE)) * 8 * LINE, 8 * lookup.kept
    total, each = place.look_up(*(plan, found.tables, keeps, *per_sample, parameters, losses, like))
    grads = []
    for target, array, order in zip(targets, arrays, orders, strict=True):
        buffer = out[target.position] if out else None
        grads.append(_gradient(plan, target, order, keeps, parameters, array, buffer))
    return total, each, grads


class _Order(NamedTuple):
    """The samples in the order of the rows of an array that they name."""

    words: Any  # sorted by the rows that they name
    shift: int  # of the number of a row, within a word
    named: Any  # the rows that are named, which the words then count; None for all rows


def _order(plan: Any, target: Target, found: _Found, array: Any) -> _Order:
    """Who takes part in which row of an array."""
    adapter, rows = plan.adapter, math.prod(target.shape)
    numbers = []
    for m in target.operands:
        own = found.numbers[m]
        if own is None:
            own = adapter.arange(rows, array).reshape(target.shape)
        numbers.append((m, own))
    shift = word_shift(plan.samples)
    words = adapter.sorted_words(numbers, plan.shape, shift, rows.bit_length())
    if not target.sparse:
        return _Order(words, shift, None)
    named, words = adapter.distinct(words, shift, math.prod(target.shape[1:]))
    if plan.device >= 0 and adapter.host(named[-1:])[0] >= target.shape[0]:
        # What stands for all that there are not comes last, and its words are not looked at.
        named = named[:-1]
    return _Order(words, shift, named)


def _gradient(
    plan: Any,
    target: Target,
    order: _Order,
    keeps: tuple[int, int],
    parameters: Sequence[float],
    array: Any,
    out: Any,
) -> Any:
    """The gradient of one array."""
    adapter, axis, named = plan.adapter, plan.axis, order.named
    rows, count = math.prod(target.shape), len(order.words)
    grad = out
    if target.sparse:
        grad = adapter.empty_like(array, axis, target.dtype, len(named))
        rows = len(named) * math.prod(target.shape[1:])
    elif out is None:
        grad = adapter.empty_like(array, axis, target.dtype)
    view = adapter.features_last(grad, axis)
    into = adapter.empty_like(view, -1, plan.dtype) if target.staged else view
    of = OfTable(
        *(adapter.address(order.words), count, order.shift),
        *(rows, adapter.address(into), target.stride, plan.accumulate and not target.staged),
    )
    if plan.device >= 0 and plan.lookup.reads[target.operands[0]].rows and not of.accumulate:
        # Of the rows that no sample names; each row of a plain array has its samples.
        into[...] = 0
    shared = tasks(count, rows, plan.lookup.features, plan.device >= 0)
    plan.place.gradient(plan, keeps, of, shared, parameters, into)
    if target.staged:
        view[...] = view + into if plan.accumulate else into
    return grad if named is None else adapter.row_gradient(named, grad, array)


def _zeros(plan: Any, arrays: Sequence[Any], out: Sequence[Any]) -> list[Any]:
    """The gradients of a call without samples."""
    adapter, grads = plan.adapter, []
    for target, array in zip(plan.lookup.targets, arrays, strict=True):
        if target.sparse:
            grad = adapter.empty_like(array, plan.axis, target.dtype, 0)
            grads.append(adapter.row_gradient(adapter.arange(0, array), grad, array))
            continue
        grad = adapter.empty_like(array, plan.axis, target.dtype)
        if out:
            grad = out[target.position]
        if not plan.accumulate:
            grad[...] = 0
        grads.append(grad)
    return grads
