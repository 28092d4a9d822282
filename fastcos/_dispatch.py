"""From a problem to its kernels: where the data live, what is allocated, what is handed over.

A :class:`Problem` is what a public function was asked, in terms of the records. Nothing here knows
a formula or a loop; frameworks are known by the name of their module only, and imported when one of
their arrays comes in.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from fastcos import _plan
from fastcos.distances import DISTANCES, Distance, Functions
from fastcos.kernels import ADD
from fastcos.losses import Loss

# The top-level module of an argument's type -> the adapter that takes it. Anything not named here
# goes to NumPy, which reads lists, scalars, data frames and whatever else has numbers in it.
_ADAPTERS = {"numpy": "fastcos.adapters.numpy", "torch": "fastcos.adapters.torch.arrays"}
# Arrays that NumPy would read too, silently and as a copy on the host.
_NOT_YET = ("cupy", "jax", "jaxlib", "tensorflow")


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
    libraries = {_library(type(value)) for _, value in arguments}  # type: ignore[arg-type]
    libraries.discard(None)
    library = libraries.pop() if libraries else "numpy"
    if libraries or library not in _ADAPTERS:
        raise _unfit(arguments)
    return _adapter(_ADAPTERS[library])


def _unfit(arguments: Sequence[tuple[str, Any]]) -> TypeError:
    seen: dict[str, str] = {}
    for name, value in arguments:
        library = _library(type(value))  # type: ignore[arg-type]
        if library in _NOT_YET:
            return TypeError(
                f"{name} is a {library} array ({type(value).__name__}), which fastcos does not take"
                " yet: pass NumPy arrays"
            )
        if library is not None:
            seen.setdefault(library, name)
    listing = " and ".join(f"{name} is a {library} array" for library, name in seen.items())
    return TypeError(f"arrays of one library only: {listing}")


@functools.cache
def _library(kind: type) -> str | None:
    """Whose arrays a type belongs to; None for what goes with any of them."""
    if issubclass(kind, (type(None), bool, int, float, list, tuple)):
        return None
    library = kind.__module__.partition(".")[0]
    return library if library in (*_ADAPTERS, *_NOT_YET) else "numpy"


_adapter = functools.cache(importlib.import_module)


class _Call(NamedTuple):
    """What follows from the layout of the arrays alone: found once, the same for the next batch.

    Args:
        axis: The feature axis, counted from the end; 0 where the operands are distances.
        shape: Of the per-sample loss.
        features: Length of a row.
        operands: Per operand, whether its rows are read where they lie.
        grads: Per operand, whether its gradient's rows are written where they are wanted.
        kernel: What runs; None where there is no sample.
        twin: Where the kernel is a parallel one, what gives the serial one.
        passes: How often, and over what.
    """

    axis: int
    shape: tuple[int, ...]
    features: int
    operands: tuple[bool, ...]
    grads: tuple[bool, ...]
    kernel: Callable[..., float] | None
    twin: Callable[[], Callable[..., float]] | None
    passes: tuple[_plan.Pass, ...]


def evaluate(problem: Problem) -> Any:
    """The value of a problem; what else there is to do with it is the framework's affair."""
    if problem.distance is not None and not isinstance(problem.distance, Distance):
        problem = _measured(problem)
    adapter = _adapter_of(problem)
    return adapter.evaluate(problem) if hasattr(adapter, "evaluate") else solve(problem)[0]


def _adapter_of(problem: Problem, grad_output: Any = None) -> Any:
    labels, upstream = ("target", problem.target), ("grad_output", grad_output)
    return adapter_for((*problem.operands, labels, problem.weight, upstream))


def solve(
    problem: Problem,
    wanted: tuple[str, ...] = (),
    grad_output: Any = None,
    out: tuple[Any, ...] | None = None,
    result: Any = None,
) -> tuple[Any, tuple[Any, ...]]:
    """The value of a problem, and its gradients with respect to the arguments named in ``wanted``.

    The value is of dtype ``result``, or of that which is computed in. Everything that can be wrong
    is found before the first kernel runs or a byte is written.
    """
    distance = problem.distance
    if distance is not None and not isinstance(distance, Distance):
        if wanted:
            raise _unknown_gradient(distance)
        problem, distance = _measured(problem), None
    weight_name, weight_value = problem.weight
    adapter = _adapter_of(problem, grad_output)
    reduction = _plan.check_reduction(problem.reduction)
    names = tuple([name for name, _ in problem.operands])
    arrays = tuple([adapter.asarray(name, value) for name, value in problem.operands])
    dtype = adapter.common_dtype(arrays)
    given = {} if out is None else _given(adapter, problem, wanted, grad_output, out)
    call = _prepared(
        adapter,
        problem.loss,
        distance and distance.functions,
        dtype,
        names,
        tuple([adapter.form(array) for array in arrays]),
        _plan.check_axis(problem.axis),
        tuple([adapter.form(given[n]) if n in given else n in wanted for n in names]),
    )
    target = _labels(adapter, problem, call.shape)
    weight = _per_sample(adapter, weight_name, weight_value, call.shape)
    upstream = _per_sample(
        adapter, "grad_output", grad_output, call.shape if reduction == "none" else ()
    )
    denominator = _denominator(reduction, weight, call.shape)
    grads = [
        None
        if name not in wanted
        else given[name]
        if name in given
        else adapter.empty_like(array, call.axis, _own(adapter, array, dtype))
        for name, array in zip(names, arrays, strict=True)
    ]
    if weight_name in wanted:
        array = adapter.asarray(weight_name, weight_value)
        own = _own(adapter, array, dtype)
        if weight_name in given:
            _check_fit(weight_name, adapter.form(given[weight_name]), array.shape, own)
        slopes = given.get(weight_name, adapter.empty_like(array, -1, own))

    scale = upstream / denominator if denominator else 0 * upstream
    if weight_name in wanted:
        # The losses are wanted without their weights: the weights go into the slopes instead.
        losses, _ = _run(adapter, problem, call, dtype, arrays, target, 1.0, weight * scale, grads)
        total = float((weight * losses).sum())
    else:
        losses, total = _run(adapter, problem, call, dtype, arrays, target, weight, scale, grads)

    result = result or dtype
    if reduction == "none":
        value = adapter.values(losses * weight if weight_name in wanted else losses, result)
    else:
        empty_mean = reduction == "mean" and call.kernel is None
        mean = total / denominator if denominator else (math.nan if empty_mean else 0.0)
        value = adapter.scalar(mean, result, losses)
    results: dict[str, Any] = dict(zip(names, grads, strict=True))
    if weight_name in wanted:
        less = mean if reduction == "mean" else 0.0
        results[weight_name] = slopes
        slopes[...] = adapter.sum_to((losses - less) * scale, slopes.shape)
    found = tuple([results[name] for name in wanted])
    # A gradient of one number is a scalar like the value, but what the caller gave is handed back.
    return value, found if out is not None else tuple([g if g.ndim else g[()] for g in found])


def _unknown_gradient(distance: Any) -> TypeError:
    name = getattr(distance, "__name__", "mine")
    return TypeError(
        f"the gradient of the callable {name} is not known. Write it as a Distance:\n"
        f'    fastcos.Distance("{name}",\n'
        "        init=lambda zero: (zero,),\n"
        "        accumulate=lambda state, x, y: (state[0] + (x - y) ** 2,),\n"
        "        finalize=lambda state: state[0],\n"
        "        gradient=lambda state, d, x, y: (2 * (x - y), -2 * (x - y)))\n"
        "and test it with fastcos.check_distance"
    )


def _measured(problem: Problem) -> Problem:
    """The problem with its rows replaced by the distances that a user's callable gives."""
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


def _own(adapter: Any, array: Any, dtype: Any) -> Any:
    """The dtype of the gradient of an array: its own, that of the loss where it is of integers."""
    return array.dtype if adapter.float_name(array.dtype) else dtype


def _given(
    adapter: Any, problem: Problem, wanted: tuple[str, ...], grad_output: Any, out: tuple[Any, ...]
) -> dict[str, Any]:
    """The caller's buffers by the name of what they are for; whether they fit is seen later."""
    taken = {**dict(problem.operands), problem.weight[0]: problem.weight[1]}
    taken |= {"target": problem.target, "grad_output": grad_output}
    given = {}
    for name, buffer in zip(wanted, out, strict=True):
        label = f"out for {name}"
        adapter.check_out(label, buffer, taken)
        given[name] = taken[label] = buffer
    return given


def _check_fit(name: str, given: _plan.Form, shape: tuple[int, ...], dtype: Any) -> None:
    if given.shape != shape or given.dtype != dtype:
        error = ValueError if given.shape != shape else TypeError
        raise error(
            f"out for {name} must have shape {shape} and dtype {dtype}, got {given.shape} and"
            f" {given.dtype}"
        )


@functools.lru_cache(maxsize=1024)
def _prepared(
    adapter: Any,
    loss: Loss,
    distance: Functions | None,
    dtype: Any,
    names: tuple[str, ...],
    operands: tuple[_plan.Form, ...],
    axis: int,
    grads: tuple[_plan.Form | bool, ...],
) -> _Call:
    """The call for operands, and gradients, of these forms.

    A gradient's is True where it is wanted in a new array, False where it is not wanted.

    Raises:
        ValueError: shapes that do not fit.
        TypeError: a gradient's buffer of another dtype.
    """
    shapes = tuple(operand.shape for operand in operands)
    if distance is None:
        if len(set(shapes)) > 1:
            raise ValueError(f"the distances have unequal shapes: {shapes}")
        axis, shape, features = 0, shapes[0], 1
    else:
        axis = _plan.feature_axis(names, shapes, axis)
        shape, features = _plan.sample_shape(names, shapes, axis), shapes[0][axis]
    rows = [_plan.rows(operand, axis, dtype) for operand in operands]
    written: list[tuple[_plan.Layout, bool] | None] = []
    for name, operand, grad in zip(names, operands, grads, strict=True):
        own = _own(adapter, operand, dtype)
        if isinstance(grad, _plan.Form):
            _check_fit(name, grad, operand.shape, own)
            written.append(_plan.rows(grad, axis, dtype))
        else:
            new = _plan.new(operand, axis, own)
            written.append(_plan.rows(new, axis, dtype) if grad else None)
    in_place = [g is not None and g[1] for g in written]
    kernel, twin, passes = None, None, cast(tuple[_plan.Pass, ...], ())
    if math.prod(shape):
        plan = _plan.plan(
            shape, features, [layout for layout, _ in rows], [g and g[0] for g in written]
        )
        of = loss, distance, len(rows), adapter.float_name(dtype)
        kernel, passes = _kernel(*of, plan.parallel), plan.passes
        twin = functools.partial(_kernel, *of, False) if plan.parallel else None
    return _Call(
        axis,
        shape,
        features,
        tuple(there for _, there in rows),
        tuple(in_place),
        kernel,
        twin,
        passes,
    )


def _kernel(
    loss: Loss, distance: Functions | None, operands: int, dtype: str, parallel: bool
) -> Callable[..., float]:
    from fastcos.kernels import cpu

    if distance is None:
        return cpu.pointwise(loss, dtype, parallel)
    loops = cpu.pair if operands == 2 else cpu.triplet
    return loops(loss, distance, dtype, parallel)


def _labels(adapter: Any, problem: Problem, samples: tuple[int, ...]) -> Any:
    """Labels as +1 and -1 in float64; 0 where the loss has none."""
    if not problem.loss.labelled:
        return 0.0
    given = adapter.asarray("target", problem.target)
    _plan.check_per_sample("target", given.shape, samples)
    labels = adapter.float64("target", given)
    if adapter.is_bool(given):
        return 2 * labels - 1
    if problem.validate is not False and not adapter.all_signs(labels):
        raise _wrong_label(adapter.host(given), adapter.host(labels))
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
    size = math.prod(weight.shape)
    total = weight.sum() if reduction == "mean" else (weight != 0).sum()
    return float(total) * (count // size if size else 0)


def _run(
    adapter: Any,
    problem: Problem,
    call: _Call,
    dtype: Any,
    arrays: tuple[Any, ...],
    target: Any,
    weight: Any,
    scale: Any,
    wanted: list[Any],
) -> tuple[Any, float]:
    """Runs the passes: the weighted loss of each sample, their sum, and the gradients."""
    losses = adapter.empty(call.shape, None, arrays[0])
    if call.kernel is None:
        for buffer in wanted:
            if buffer is not None:
                buffer[...] = 0
        return losses, 0.0
    from fastcos.kernels._threads import launch

    rows = [
        array if there else adapter.rows(array, call.axis, dtype)
        for array, there in zip(arrays, call.operands, strict=True)
    ]
    # A gradient is written in place where its rows are contiguous and of the computing dtype.
    views = [None if g is None else adapter.features_last(g, call.axis) for g in wanted]
    grads = [
        view if there or view is None else adapter.empty(view.shape, dtype, view)
        for view, there in zip(views, call.grads, strict=True)
    ]
    # Kept here, for an address does not keep its array alive.
    numbers = [
        n if isinstance(n, float) else adapter.numbers(n, call.shape)
        for n in (target, weight, scale)
    ]
    labels, weights, scales = [
        (0, 0, n)
        if isinstance(n, float)
        else (adapter.address(n), int(math.prod(n.shape) > 1), 0.0)
        for n in numbers
    ]
    count = math.prod(call.shape)
    row_addresses = tuple([adapter.address(row) for row in rows])
    grad_addresses = tuple([0 if g is None else adapter.address(g) for g in grads])
    for run in call.passes:
        sums = [
            adapter.empty((run.tasks, call.features), None, losses) if mode == ADD else None
            for mode in run.modes
        ]
        arguments = (
            run.tasks,
            count,
            adapter.address(losses),
            row_addresses,
            grad_addresses,
            tuple([0 if s is None else adapter.address(s) for s in sums]),
            run.modes,
            run.geometry,
            run.inner,
            run.segments,
            call.features,
            labels,
            weights,
            scales,
            problem.distance.parameters if isinstance(problem.distance, Distance) else (),
            problem.parameters,
        )
        if call.twin is None:
            total = call.kernel(*arguments)
        else:
            total = launch(call.kernel, call.twin, arguments, adapter.THREADS)
        for grad, part in zip(grads, sums, strict=True):
            if grad is not None and part is not None:
                by_row = part.reshape(run.outer, run.segments, call.features).sum(axis=1)
                grad[...] = by_row.reshape(grad.shape)
    for view, grad in zip(views, grads, strict=True):
        if view is not None and grad is not view:
            view[...] = grad
    return losses, total
