"""From a problem to its kernels: where the data live, what is allocated, what is handed over.

A :class:`Problem` is what a public function was asked, in terms of the records. Nothing here knows
a formula or a loop; frameworks are known by the name of their module only, and imported when one of
their arrays comes in.
"""

from __future__ import annotations

import functools
import importlib
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastcos import _plan
from fastcos.distances import DISTANCES, Distance
from fastcos.kernels import ADD
from fastcos.losses import Loss

# The top-level module of an argument's type -> the adapter that takes it. Anything not named here
# goes to NumPy, which reads lists, scalars, data frames and whatever else has numbers in it.
_ADAPTERS = {"numpy": "fastcos.adapters.numpy"}
# Arrays that NumPy would read too, silently and as a copy on the host.
_NOT_YET = ("torch", "cupy", "jax", "jaxlib", "tensorflow")


class Problem(NamedTuple):
    """One call of a public function.

    Args:
        loss: The loss of a sample's distances.
        distance: What measures a sample's rows: a record, or a user's callable on whole arrays;
            None where the operands are distances already.
        operands: Names and values of the arguments that a gradient can be asked for.
        parameters: Of the loss.
        axis: The feature axis.
        target: Labels, for a loss that has them.
        weight: Name and value of the per-sample weight.
        reduction: One of the five.
        validate: False leaves labels unchecked.
    """

    loss: Loss
    distance: Distance | Callable[..., Any] | None
    operands: tuple[tuple[str, Any], ...]
    parameters: tuple[float, ...] = ()
    axis: int = -1
    target: Any = None
    weight: tuple[str, Any] = ("weight", None)
    reduction: str = "mean"
    validate: bool | None = None


def resolve_distance(name: str, distance: Any) -> Distance | Callable[..., Any]:
    """The record or callable that an argument stands for.

    Raises:
        ValueError: an unknown name.
        TypeError: neither a name nor a Distance nor callable.
    """
    if isinstance(distance, Distance):
        return distance
    if isinstance(distance, str):
        if distance not in DISTANCES:
            hint = "; for a p-norm pass fastcos.distances.lp(p)" if distance == "lp" else ""
            known = ", ".join(DISTANCES)
            raise ValueError(f"{name} must be one of {known}; got {distance!r}{hint}")
        return DISTANCES[distance]()
    if callable(distance):
        return distance  # type: ignore[no-any-return]
    raise TypeError(
        f"{name} must be the name of a distance, a fastcos.Distance or a callable,"
        f" got {type(distance).__name__}"
    )


def adapter_for(arguments: Sequence[tuple[str, Any]]) -> Any:
    """The adapter module that takes these arguments.

    Raises:
        TypeError: arrays of two libraries, or of one that is not supported.
    """
    seen: dict[str, str] = {}
    for name, value in arguments:
        library = _library(type(value))  # type: ignore[arg-type]
        if library in _NOT_YET:
            raise TypeError(
                f"{name} is a {library} array ({type(value).__name__}), which fastcos does not take"
                " yet: pass NumPy arrays"
            )
        if library is not None:
            seen.setdefault(library, name)
    if len(seen) > 1:
        listing = " and ".join(f"{name} is a {library} array" for library, name in seen.items())
        raise TypeError(f"arrays of one library only: {listing}")
    return _adapter(_ADAPTERS[next(iter(seen), "numpy")])


@functools.cache
def _library(kind: type) -> str | None:
    """Whose arrays a type belongs to; None for what goes with any of them."""
    if issubclass(kind, (type(None), bool, int, float, list, tuple)):
        return None
    library = kind.__module__.partition(".")[0]
    return library if library in (*_ADAPTERS, *_NOT_YET) else "numpy"


_adapter = functools.cache(importlib.import_module)


class _Samples(NamedTuple):
    """The layout of a call, checked; axis -1, -2, ... or 0 where the operands are distances."""

    arrays: tuple[Any, ...]
    axis: int
    shape: tuple[int, ...]
    features: int
    dtype: Any


def solve(
    problem: Problem,
    wanted: tuple[str, ...] = (),
    grad_output: Any = None,
    out: tuple[Any, ...] | None = None,
) -> tuple[Any, tuple[Any, ...]]:
    """The value of a problem, and its gradients with respect to the arguments named in ``wanted``.

    Everything that can be wrong is found before the first kernel runs or a byte is written.
    """
    if problem.distance is not None and not isinstance(problem.distance, Distance):
        problem = _measured(problem, wanted)
    weight_name, weight_value = problem.weight
    adapter = adapter_for(
        (
            *problem.operands,
            ("target", problem.target),
            problem.weight,
            ("grad_output", grad_output),
        )
    )
    reduction = _plan.check_reduction(problem.reduction)
    samples = _layout(problem, adapter)
    target = _labels(adapter, problem, samples.shape)
    weight = _per_sample(adapter, weight_name, weight_value, samples.shape)
    upstream = _per_sample(
        adapter, "grad_output", grad_output, samples.shape if reduction == "none" else ()
    )
    buffers = _buffers(adapter, problem, samples, wanted, grad_output, out)
    denominator = _denominator(reduction, weight, samples.shape)

    scale = upstream / denominator if denominator else 0 * upstream
    if weight_name in wanted:
        # The losses are wanted without their weights: the weights go into the slopes instead.
        losses, _ = _run(adapter, problem, samples, target, 1.0, weight * scale, buffers)
        total = float((weight * losses).sum())
    else:
        losses, total = _run(adapter, problem, samples, target, weight, scale, buffers)

    if reduction == "none":
        value = (losses * weight if weight_name in wanted else losses).astype(samples.dtype)[()]
    else:
        empty_mean = reduction == "mean" and losses.size == 0
        mean = total / denominator if denominator else (math.nan if empty_mean else 0.0)
        value = samples.dtype.type(mean)
    if weight_name in wanted:
        less = mean if reduction == "mean" else 0.0
        buffers[weight_name][...] = adapter.sum_to((losses - less) * scale, np.shape(weight))
    # A gradient of one number is a scalar like the value, but what the caller gave is handed back.
    scalars = out is None
    grads = (buffers[name] for name in wanted)
    return value, tuple(g[()] if scalars and g.ndim == 0 else g for g in grads)


def _measured(problem: Problem, wanted: tuple[str, ...]) -> Problem:
    """The problem with its rows replaced by the distances that a user's callable gives."""
    if wanted:
        name = getattr(problem.distance, "__name__", "mine")
        raise TypeError(
            f"the gradient of the callable {name} is not known. Write it as a Distance:\n"
            f'    fastcos.Distance("{name}",\n'
            "        init=lambda zero: (zero,),\n"
            "        accumulate=lambda state, x, y: (state[0] + (x - y) ** 2,),\n"
            "        finalize=lambda state: state[0],\n"
            "        gradient=lambda state, d, x, y: (2 * (x - y), -2 * (x - y)))\n"
            "and test it with fastcos.check_distance"
        )
    measure = problem.distance
    assert callable(measure)
    adapter = adapter_for(problem.operands)
    arrays = [adapter.asarray(name, value) for name, value in problem.operands]
    pairs = ((0, 1), (0, 2), (1, 2))[: problem.loss.arity]
    measured = tuple(
        (
            f"distance_function({', '.join(problem.operands[k][0] for k in pair)})",
            measure(*(arrays[k] for k in pair)),
        )
        for pair in pairs
    )
    return problem._replace(distance=None, operands=measured)


def _layout(problem: Problem, adapter: Any) -> _Samples:
    names = tuple(name for name, _ in problem.operands)
    arrays = tuple(adapter.asarray(name, value) for name, value in problem.operands)
    shapes = tuple(array.shape for array in arrays)
    dtype = adapter.common_dtype(arrays)
    if problem.distance is None:
        if len(set(shapes)) > 1:
            raise ValueError(f"the distances have unequal shapes: {shapes}")
        return _Samples(arrays, 0, shapes[0], 1, dtype)
    try:
        axis = operator.index(problem.axis)
    except TypeError:
        raise TypeError(f"axis must be an integer, got {problem.axis!r}") from None
    axis = _plan.feature_axis(names, shapes, axis)
    shape = _plan.sample_shape(names, shapes, axis)
    return _Samples(arrays, axis, shape, shapes[0][axis], dtype)


def _labels(adapter: Any, problem: Problem, samples: tuple[int, ...]) -> Any:
    """Labels as +1 and -1 in float64; 0 where the loss has none."""
    if not problem.loss.labelled:
        return 0.0
    given = adapter.asarray("target", problem.target)
    _plan.check_per_sample("target", given.shape, samples)
    labels = given.astype(np.float64)
    if given.dtype == bool:
        return 2 * labels - 1
    if problem.validate is not False and not (np.abs(labels) == 1).all():
        raise _wrong_label(given, labels)
    return labels


def _wrong_label(given: Any, labels: Any) -> ValueError:
    first = np.flatnonzero(np.abs(labels) != 1)[0]
    index = tuple(int(i) for i in np.unravel_index(first, labels.shape))
    hint = ""
    if np.isin(labels, (0, 1)).all():
        hint = "; for 0/1 labels pass 2 * target - 1 or target.astype(bool)"
    return ValueError(
        f"target must be +1 or -1 (or bool), got {given[index]!s} at index {index}{hint}"
    )


def _per_sample(adapter: Any, name: str, value: Any, samples: tuple[int, ...]) -> Any:
    """A number, or a float64 array of one per sample; 1 where none is given."""
    if value is None:
        return 1.0
    array = adapter.float64(name, value)
    _plan.check_per_sample(name, array.shape, samples)
    return array if array.ndim else float(array)


def _denominator(reduction: str, weight: Any, samples: tuple[int, ...]) -> float:
    """What the sum of the weighted losses is divided by."""
    if reduction in ("none", "sum"):
        return 1.0
    count = math.prod(samples)
    if reduction == "sum_over_batch_size":
        return float(count)
    if isinstance(weight, float):
        return weight * count if reduction == "mean" else float((weight != 0) * count)
    # Every weight counts once for each sample that it is broadcast to.
    times = count // weight.size if weight.size else 0
    total = weight.sum() if reduction == "mean" else np.count_nonzero(weight)
    return float(total) * times


def _buffers(
    adapter: Any,
    problem: Problem,
    samples: _Samples,
    wanted: tuple[str, ...],
    grad_output: Any,
    out: tuple[Any, ...] | None,
) -> dict[str, Any]:
    """An array for each gradient asked for: the caller's, checked, or a new one."""
    arguments = {**dict(problem.operands), problem.weight[0]: problem.weight[1]}
    arrays = dict(zip((name for name, _ in problem.operands), samples.arrays, strict=True))
    buffers: dict[str, Any] = {}
    taken = {**arguments, "target": problem.target, "grad_output": grad_output}
    for position, name in enumerate(wanted):
        array = arrays[name] if name in arrays else adapter.asarray(name, arguments[name])
        axis = samples.axis if name in arrays else -1
        dtype = array.dtype if adapter.float_name(array.dtype) else samples.dtype
        if out is None:
            buffers[name] = adapter.empty_like(array, axis, dtype)
        else:
            label = f"out[{position}]"
            buffers[name] = adapter.check_out(label, out[position], array.shape, dtype, taken)
            taken[label] = out[position]
    return buffers


def _run(
    adapter: Any,
    problem: Problem,
    samples: _Samples,
    target: Any,
    weight: Any,
    scale: Any,
    buffers: dict[str, Any],
) -> tuple[Any, float]:
    """Runs the passes: the weighted loss of each sample, their sum, and the gradients."""
    wanted = [buffers.get(name) for name, _ in problem.operands]
    losses = adapter.empty(samples.shape, np.float64)
    if losses.size == 0:
        for buffer in wanted:
            if buffer is not None:
                buffer[...] = 0
        return losses, 0.0

    rows = [adapter.rows(array, samples.axis, samples.dtype) for array in samples.arrays]
    # A gradient is written in place where its rows are contiguous and of the computing dtype.
    views = [None if b is None else adapter.features_last(b, samples.axis) for b in wanted]
    grads = [None if v is None else adapter.rows_for_writing(v, samples.dtype) for v in views]
    plan = _plan.plan(
        samples.shape,
        samples.features,
        tuple(_plan.Layout(row.shape[:-1], row.strides[:-1]) for row in rows),
        tuple(None if g is None else _plan.Layout(g.shape[:-1], g.strides[:-1]) for g in grads),
    )
    kernel = _kernel(problem, len(rows), adapter.float_name(samples.dtype), plan.parallel)
    # Kept here, for an address does not keep its array alive.
    numbers = [
        n if isinstance(n, float) else adapter.numbers(n, samples.shape)
        for n in (target, weight, scale)
    ]
    labels, weights, scales = (
        (0, 0, n) if isinstance(n, float) else (adapter.address(n), int(n.size > 1), 0.0)
        for n in numbers
    )
    for run in plan.passes:
        sums = [
            adapter.empty((run.tasks, samples.features), np.float64) if mode == ADD else None
            for mode in run.modes
        ]
        total = kernel(
            run.tasks,
            losses.size,
            adapter.address(losses),
            tuple(map(adapter.address, rows)),
            tuple(0 if g is None else adapter.address(g) for g in grads),
            tuple(0 if s is None else adapter.address(s) for s in sums),
            run.modes,
            run.geometry,
            run.inner,
            run.segments,
            samples.features,
            labels,
            weights,
            scales,
            problem.distance.parameters if isinstance(problem.distance, Distance) else (),
            problem.parameters,
        )
        for grad, part in zip(grads, sums, strict=True):
            if part is not None and grad is not None:
                by_row = part.reshape(run.outer, run.segments, samples.features)
                grad[...] = by_row.sum(axis=1).reshape(grad.shape)
    for view, grad in zip(views, grads, strict=True):
        if view is not None and grad is not None and grad is not view:
            view[...] = grad
    return losses, total


def _kernel(problem: Problem, operands: int, dtype: str, parallel: bool) -> Callable[..., float]:
    from fastcos.kernels import cpu

    if not isinstance(problem.distance, Distance):
        return cpu.pointwise(problem.loss, dtype, parallel)
    loops = cpu.pair if operands == 2 else cpu.triplet
    return loops(problem.loss, problem.distance, dtype, parallel)
