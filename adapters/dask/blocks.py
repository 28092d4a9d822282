"""Pair and triplet losses on arrays of Dask, with their gradients.

The axes of the samples are cut into blocks, in each of which every argument has one chunk. A task
calls fastcos on a block and leaves all that is wanted of it together, so that no chunk is read
twice: the sum of its losses, or each of them, and its part of every gradient. What follows takes
these apart, adds up sums and gradients of rows that blocks share along trees, in float64, and
divides once.

What the sums are divided by follows from weights and from how many samples there are. It is known
before the first task, or a sum of the weights alone, so kernels scale gradients by it as they do in
memory: where no gradient has to be added up they are those of one call in memory to the last bit.
Where one has, its operand is taken in float64, and the others with it: to 1 ulp.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import dask.array as da
import numpy as np

from fastcos import losses
from fastcos.engine import checks, per_sample
from fastcos.engine import solve as memory
from fastcos.engine.plan import axes
from fastcos.engine.problem import Problem, with_arrays

from . import arrays
from .arrays import asarray, features_in_one, one_like, only

_DOUBLE = np.dtype(np.float64)
_NO_FEATURES: Mapping[int, int] = {}


class Block(NamedTuple):
    """What a task is to do with the chunks of a block."""

    loss: str  # the name of the loss in fastcos.losses, for records of losses are not pickled
    problem: Problem  # without arrays and without its loss
    wanted: tuple[str, ...]  # what gradients are wanted of
    in_float64: tuple[bool, ...]  # of which operands, for their parts are added up
    each: bool  # whether the loss of each sample is wanted in float64, whatever it is reduced to


class Stated(NamedTuple):
    """A call, with arguments that are arrays of Dask in chunks that fit."""

    problem: Problem
    axis: int  # the feature axis, counted from the end; 0 where the operands are distances
    operands: tuple[Any, ...]  # with the feature axis last
    chunks: tuple[Any, ...]  # those that they were given in
    shape: tuple[int, ...]  # of the samples
    counts: tuple[int, ...]  # how many blocks there are along each of their axes
    target: Any
    weight: Any  # an array, or a number, or None
    upstream: Any  # the same
    dtypes: tuple[Any, ...]  # of the value, and of what gradients are wanted of


def evaluate(problem: Any, adapter: Any) -> Any:
    """The value of a problem, lazy."""
    return solve(problem)[0]


def solve(
    problem: Problem, wanted: tuple[str, ...] = (), grad_output: Any = None, out: Sequence[Any] = ()
) -> tuple[Any, tuple[Any, ...]]:
    """The value of a problem and its gradients, lazy; of one graph, to be computed at once.

    Raises:
        TypeError: buffers to write to.
    """
    if out:
        raise TypeError(
            "out is for arrays in memory, which are written to at once: what is returned of Dask"
            " arrays is computed later, and can be stored with dask.array.store"
        )
    if problem.weight_name in wanted and problem.weight is None:
        raise TypeError(f"the gradient of {problem.weight_name} needs it to be given")
    call = _stated(problem, wanted, grad_output)
    denominator = _denominator(call)
    # As with arrays in memory: where a gradient of the weight is wanted, the losses are wanted
    # without their weights, which go into the slopes instead.
    weighs = problem.weight_name in wanted
    none = problem.reduction == "none"
    scale = call.upstream
    if not none:
        scale = per_sample.quotient(arrays, _upstream(call), denominator)
    if weighs:
        # In float64, as kernels have it, whatever the weight is stored in.
        scale = call.weight.astype(_DOUBLE) * (1.0 if scale is None else scale)
    found = _blocks(call, wanted, None if weighs else call.weight, scale, each=weighs)

    losses_of = None
    if none or weighs:
        dtype = _DOUBLE if weighs else call.dtypes[0]
        losses_of = _taken(call, found, 0, dtype)
    slopes: Any = None
    if weighs:
        value, slopes = _weighted(call, losses_of, denominator)
    elif none:
        value = losses_of
    else:
        value = _mean(
            call, _taken(call, found, 0, _DOUBLE, range(len(call.shape))).sum(), denominator
        )
    grads = []
    operands = [name for name in wanted if name != problem.weight_name]
    for name, dtype in zip(wanted, call.dtypes[1:], strict=True):
        if name == problem.weight_name:
            grads.append(slopes.astype(dtype))
        else:
            grads.append(_gradient(call, found, name, 1 + operands.index(name), dtype))
    return value, tuple(grads)


# --------------------------------------------------------------------------------------------------
# Arguments
# --------------------------------------------------------------------------------------------------


def _stated(problem: Problem, wanted: tuple[str, ...], grad_output: Any) -> Stated:
    names, reduction = problem.names, checks.check_reduction(problem.reduction)
    operands = [asarray(name, value) for name, value in zip(names, problem.operands, strict=True)]
    shapes, chunks = (
        tuple([getattr(operand, each) for operand in operands]) for each in ("shape", "chunks")
    )
    problem = problem._replace(axis=checks.check_axis(problem.axis), reduction=reduction)
    axis, shape, _ = axes(problem, shapes)
    if axis:
        both = zip(names, operands, strict=True)
        operands = [features_in_one(name, operand, axis) for name, operand in both]
    numbers = {"target": problem.target if problem.loss.labelled else None}
    numbers |= {problem.weight_name: problem.weight, "grad_output": grad_output}
    found: dict[str, Any] = {}
    for name, value in numbers.items():
        found[name] = value
        # Labels are an array in any case, and so is a weight whose gradient is wanted.
        if value is None or (per_sample.is_number(value) and name not in ("target", *wanted)):
            continue
        found[name] = asarray(name, value)
        of_one = name == "grad_output" and reduction != "none"
        checks.check_per_sample(name, found[name].shape, () if of_one else shape)
    target, weight, upstream = found.values()
    operands, (target, weight, upstream), counts = _aligned(
        axis, len(shape), operands, (target, weight, upstream)
    )
    stated = Stated(
        problem._replace(axis=-1) if axis else problem,
        *(axis, tuple(operands), chunks, shape, counts, target, weight, upstream, ()),
    )
    return stated._replace(dtypes=_dtypes(stated, wanted))


def _aligned(
    axis: int, samples: int, operands: list[Any], others: tuple[Any, ...]
) -> tuple[list[Any], tuple[Any, ...], tuple[int, ...]]:
    """The arrays in chunks that fit each other along the axes that they share, and how many."""
    pairs: list[Any] = []
    for operand in operands:
        pairs += [operand, _operand_index(axis, samples, operand)]
    for other in others:
        if isinstance(other, da.Array):
            pairs += [other, _index(samples, other.ndim)]
    chunks, unified = da.core.unify_chunks(*pairs)
    fit = iter(unified)
    return (
        [next(fit) for _ in operands],
        tuple([next(fit) if isinstance(other, da.Array) else other for other in others]),
        tuple([len(chunks[k]) for k in range(samples)]),
    )


def _index(samples: int, rank: int) -> tuple[int, ...]:
    """The last so many axes of the samples."""
    return tuple(range(samples - rank, samples))


def _operand_index(axis: int, samples: int, operand: Any) -> tuple[int, ...]:
    """The axes of the samples that an operand has, and that of the features."""
    if not axis:
        return _index(samples, operand.ndim)
    return (*_index(samples, operand.ndim - 1), samples)


def _dtypes(call: Stated, wanted: tuple[str, ...]) -> tuple[Any, ...]:
    """The dtypes of the value and the gradients, by a call on one sample.

    What is wrong with the options is found here, and not in the midst of a computation. The kernel
    is compiled, too: workers that share a directory for kernels find it there.
    """
    operands = tuple([_one(operand, bool(call.axis)) for operand in call.operands])
    problem = with_arrays(call.problem, operands, _one(call.target), _one(call.weight))
    value, grads = memory.solve(problem, wanted, _one(call.upstream))
    return tuple([each.dtype for each in (value, *grads)])


def _one(array: Any, features: bool = False) -> Any:
    """One sample in place of an array, of ones; what is no array is left as it is."""
    if not isinstance(array, da.Array):
        return array
    last = array.shape[-1:] if features else ()
    return one_like(array, (1,) * (array.ndim - len(last)) + last)


# --------------------------------------------------------------------------------------------------
# What sums are divided by
# --------------------------------------------------------------------------------------------------


def _denominator(call: Stated) -> Any:
    """What the sum of the weighted losses is divided by: a number, or an array of one."""
    weight = call.weight
    if isinstance(weight, da.Array):
        weight = weight.astype(_DOUBLE)
    else:
        weight = 1.0 if weight is None else float(weight)
    reduction, count = call.problem.reduction, math.prod(call.shape)
    return per_sample.denominator(arrays, reduction, weight, count)


def _upstream(call: Stated) -> Any:
    """The upstream gradient: a number, or float64 ones."""
    upstream = 1.0 if call.upstream is None else call.upstream
    return upstream.astype(_DOUBLE) if isinstance(upstream, da.Array) else upstream


def _mean(call: Stated, total: Any, denominator: Any) -> Any:
    """The value of sums, rounded once; as of arrays in memory 0, not NaN, where nothing weighs."""
    if not math.prod(call.shape):
        nothing = math.nan if call.problem.reduction == "mean" else 0.0
        return da.full_like(total, nothing, dtype=call.dtypes[0])
    if isinstance(denominator, da.Array):
        found = da.where(denominator == 0, 0.0, arrays.quotient(total, denominator))
    else:
        found = total / denominator if denominator else da.zeros_like(total)
    return found.astype(call.dtypes[0])


def _weighted(call: Stated, losses_of: Any, denominator: Any) -> tuple[Any, Any]:
    """The value, and the gradient of the weight: it takes the losses of the samples alone.

    For ``l = Σ w l_i / n`` it is ``l_i / n``, and ``(l_i - l) / n`` where n is the sum of weights.
    """
    weighted = losses_of * call.weight.astype(_DOUBLE)
    if call.problem.reduction == "none":
        value, less = weighted.astype(call.dtypes[0]), 0.0
        scale = _upstream(call)
    else:
        mean = per_sample.quotient(arrays, weighted.sum(), denominator)
        less = mean if call.problem.reduction == "mean" else 0.0
        any_samples = math.prod(call.shape)
        value = mean.astype(call.dtypes[0]) if any_samples else _mean(call, mean, denominator)
        scale = per_sample.quotient(arrays, _upstream(call), denominator)
    slopes = (losses_of - less) * scale
    weight = call.weight
    if not weight.ndim:
        return value, slopes.sum()
    axes = tuple([axis for axis, length in enumerate(weight.shape) if length == 1])
    return value, slopes.sum(axis=axes, keepdims=True) if axes else slopes


# --------------------------------------------------------------------------------------------------
# The graph
# --------------------------------------------------------------------------------------------------


def _blocks(call: Stated, wanted: tuple[str, ...], weight: Any, scale: Any, each: bool) -> Any:
    """An object for each block: the value of it, and its parts of the gradients of operands."""
    problem, samples = call.problem, len(call.shape)
    names = tuple([name for name in wanted if name != problem.weight_name])
    block = Block(
        loss=next(name for name in losses.__all__ if getattr(losses, name) is problem.loss),
        problem=with_arrays(problem, (), None, None)._replace(loss=None),  # type: ignore[arg-type]
        wanted=names,
        in_float64=tuple(
            [
                name in names and any(call.counts[axis] > 1 for axis in _shared(call, operand))
                for name, operand in zip(problem.names, call.operands, strict=True)
            ]
        ),
        each=each,
    )
    if any(block.in_float64):
        # Another kernel than that which _dtypes has compiled.
        ones = [_one(each, bool(call.axis)) for each in call.operands]
        _solved(*ones, *(_one(each) for each in (call.target, weight, scale)), block=block)
    pairs: list[Any] = []
    for operand in call.operands:
        pairs += [operand, _operand_index(call.axis, samples, operand)]
    for array in (call.target, weight, scale):
        is_array = isinstance(array, da.Array)
        pairs += [array, _index(samples, array.ndim) if is_array else None]
    return da.blockwise(
        _solved,
        tuple(range(samples)),
        *pairs,
        block=block,
        concatenate=False,
        dtype=object,
        meta=np.empty((0,) * samples, object),
    )


def _solved(*chunks: Any, block: Block) -> tuple[Any, ...]:
    """The task of a block: a call of fastcos on its chunks."""
    *rows, target, weight, scale = chunks
    operands = [*map(only, rows)]
    for place, wide in enumerate(block.in_float64):
        if wide:
            # Parts of a gradient are added up, and rounded once. Sums are float64 in any case.
            operands[place] = operands[place].astype(_DOUBLE)
    problem = block.problem._replace(loss=getattr(losses, block.loss))
    problem = with_arrays(problem, tuple(operands), target, weight)
    result = None if problem.reduction == "none" and not block.each else _DOUBLE
    if block.each or problem.reduction != "none":
        problem = problem._replace(reduction="none" if block.each else "sum")
    try:
        value, grads = memory.solve(problem, block.wanted, scale, result=result)
    except ValueError as error:  # a label, the one thing that is seen when it is read
        raise ValueError(f"{error} of its block") from error
    return value, *grads


def _shared(call: Stated, operand: Any) -> list[int]:
    """The axes of the samples along which an operand is broadcast."""
    samples = len(call.shape)
    index = _operand_index(call.axis, samples, operand)
    own = dict(zip(index, operand.shape, strict=True))
    return [axis for axis in range(samples) if own.get(axis, 1) != call.shape[axis]]


def _taken(
    call: Stated,
    found: Any,
    place: int,
    dtype: Any,
    single: Sequence[int] = (),
    features: Mapping[int, int] = _NO_FEATURES,
) -> Any:
    """One thing of what the blocks have left, as an array; along ``single`` axes one from each."""
    samples = tuple(range(len(call.shape)))
    rank = len(samples) + len(features)
    return da.blockwise(
        _part,
        (*samples, *features),
        *(found, samples),
        place=place,
        rank=rank,
        as_dtype=dtype,
        dtype=dtype,
        new_axes=dict(features),
        adjust_chunks=dict.fromkeys(single, _single),
        meta=np.empty_like(call.operands[0]._meta, shape=(0,) * rank, dtype=dtype),
    )


def _gradient(call: Stated, found: Any, name: str, place: int, dtype: Any) -> Any:
    """The gradient of an operand: the parts of blocks, added up where they share its rows."""
    position, samples = call.problem.names.index(name), len(call.shape)
    operand = call.operands[position]
    shared = _shared(call, operand)
    features = {samples: operand.shape[-1]} if call.axis else _NO_FEATURES
    parts = _taken(call, found, place, _DOUBLE if shared else dtype, shared, features)
    if shared:
        parts = parts.sum(axis=tuple(shared), keepdims=True).astype(dtype)
    missing = parts.ndim - operand.ndim
    if missing:
        parts = parts[(0,) * missing]
    if call.axis not in (-1, 0):
        parts = da.moveaxis(parts, -1, call.axis)
    return parts.rechunk(call.chunks[position])


def _part(found: tuple[Any, ...], *, place: int, rank: int, as_dtype: Any) -> Any:
    """One thing of what a block has left, with as many axes as the samples have."""
    part = found[place]
    # A scalar of NumPy is no array.
    part = np.asarray(part) if isinstance(part, np.generic) else part
    return part.reshape((1,) * (rank - part.ndim) + part.shape).astype(as_dtype, copy=False)


def _single(length: int) -> int:
    return 1
