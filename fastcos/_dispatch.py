"""From a problem to its kernels: where the data live, what is allocated, what is handed over.

A :class:`Problem` is what a public function was asked, in terms of the records. Nothing here knows
a formula or a loop; frameworks are known by the name of their module only, and imported when one of
their arrays comes in.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from fastcos import _faults, _names, _on_device, _on_host, _plan
from fastcos.distances import DISTANCES, Distance, Measure
from fastcos.kernels import ADD, BOOLS, DOUBLES, FLOATS, OWN
from fastcos.kernels.forks import importing
from fastcos.losses import Loss, identity

# The top-level module of an argument's type -> the adapter that takes it. Anything not named here
# goes to NumPy, which reads lists, scalars, data frames and whatever else has numbers in it.
_ADAPTERS = {
    "numpy": "fastcos.adapters.numpy",
    "cupy": "fastcos.adapters.cupy",
    "torch": "fastcos.adapters.torch.arrays",
}
# Arrays that NumPy would read too, silently and as a copy on the host.
_NOT_YET = ("jax", "jaxlib", "tensorflow")


class Problem(NamedTuple):
    """One call of a public function.

    Args:
        loss: The loss of a sample's distances.
        distance: What measures a sample's rows: a record, or a user's callable on whole arrays;
            None where the operands are distances already.
        names: What the arguments are called that a gradient can be asked for.
        operands: Their values.
        parameters: Of the loss.
        axis: The feature axis.
        target: Labels, for a loss that has them.
        weight: The per-sample weight.
        weight_name: What it is called.
        reduction: One of the five.
        validate: False leaves labels unchecked.
    """

    loss: Loss
    distance: Distance | Callable[..., Any] | None
    names: tuple[str, ...]
    operands: tuple[Any, ...]
    parameters: tuple[float, ...] = ()
    axis: int = -1
    target: Any = None
    weight: Any = None
    weight_name: str = "weight"
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
        factory = DISTANCES.get(distance)  # type: ignore[call-overload]  # any name is looked up
        if factory is None:
            hint = _names.hint(distance, DISTANCES, _names.DISTANCES_ELSEWHERE)
            raise ValueError(
                f"{name} must be one of {', '.join(DISTANCES)}; got {distance!r}{hint}"
            )
        return factory()  # type: ignore[no-any-return]
    if callable(distance):
        if getattr(distance, "__module__", None) == Distance.__module__:
            called = distance.__name__
            raise TypeError(f"{name} is the function {called}: call it, as {called}(...)")
        return distance  # type: ignore[no-any-return]
    raise TypeError(
        f"{name} must be the name of a distance, a fastcos.Distance or a callable,"
        f" got {type(distance).__name__}"
    )


def adapter_for(problem: Problem, grad_output: Any = None) -> Any:
    """The adapter module that takes the arguments of a problem.

    Raises:
        TypeError: arrays of two libraries, or of one that is not supported.
        RuntimeError: tensors on two devices.
    """
    arguments = (*problem.operands, problem.target, problem.weight, grad_output)
    adapter = adapter_of(*map(type, arguments))
    if adapter is not None and not adapter.records:
        return adapter
    names = (*problem.names, "target", problem.weight_name, "grad_output")
    if adapter is None:
        raise _unfit(zip(names, arguments, strict=True))
    return adapter.placed(names, arguments)


@functools.lru_cache(maxsize=256)
def adapter_of(*kinds: type) -> Any:
    """The adapter module that takes arguments of these types, or None."""
    libraries = {_library(kind) for kind in kinds} - {None}
    library = libraries.pop() if libraries else "numpy"
    return None if libraries or library not in _ADAPTERS else _adapter(_ADAPTERS[library])


def _unfit(arguments: Iterable[tuple[str, Any]]) -> TypeError:
    seen: dict[str, str] = {}
    for name, value in arguments:
        kind = type(value)
        library = _library(type(value))  # type: ignore[arg-type]
        if library in _NOT_YET:
            return TypeError(
                f"{name} is a {library} array ({type(value).__name__}), which fastcos does not take"
                " yet: pass NumPy arrays, CuPy arrays or torch tensors"
            )
        if library is not None:
            # What NumPy reads may be of any library, whose name says more.
            root = kind.__module__.partition(".")[0]
            plain = root in ("__main__", "builtins", kind.__qualname__)
            foreign = kind.__qualname__ if plain else f"{root} {kind.__qualname__}"
            what = f"{library} array" if _named(kind) else foreign
            seen.setdefault(library, f"{name} is a {what}")
    return TypeError(f"arrays of one library only: {' and '.join(seen.values())}")


@functools.cache
def _library(kind: type) -> str | None:
    """Whose arrays a type belongs to; None for what goes with any of them."""
    if issubclass(kind, (type(None), bool, int, float, complex, str, bytes, list, tuple)):
        return None
    # Memory of a GPU under whatever name is as good as CuPy's.
    return _named(kind) or ("cupy" if hasattr(kind, "__cuda_array_interface__") else "numpy")


def _named(kind: type) -> str | None:
    """The library that a type is of by name, or derived from, wherever that is defined."""
    roots = [one.__module__.partition(".")[0] for one in kind.__mro__]
    return next((root for root in roots if root in _ADAPTERS or root in _NOT_YET), None)


@functools.cache
def _adapter(name: str) -> Any:
    with importing():
        return importlib.import_module(name)


class _Call(NamedTuple):
    """What follows from the layout of the arrays alone: found once, the same for the next batch.

    Args:
        axis: The feature axis, counted from the end; 0 where the operands are distances.
        shape: Of the per-sample loss.
        samples: How many.
        features: Length of a row.
        in_place: Per operand, whether its rows are read where they lie.
        grads: Per operand, the dtype of its gradient, or None where none is wanted.
        grads_in_place: Per operand, whether its gradient is written where it is wanted.
        device: The GPU that the arrays are on, or -1.
        where: What runs kernels there, :mod:`fastcos._on_host` or :mod:`fastcos._on_device`.
        passes: Over what a kernel runs; none where there is no sample.
        kernels: What runs, for each pass.
    """

    axis: int
    shape: tuple[int, ...]
    samples: int
    features: int
    in_place: tuple[bool, ...]
    grads: tuple[Any, ...]
    grads_in_place: tuple[bool, ...]
    device: int
    where: Any
    passes: tuple[_plan.Pass, ...]
    kernels: tuple[Any, ...]


def evaluate(problem: Problem) -> Any:
    """The value of a problem; what else there is to do with it is the framework's affair."""
    if problem.distance is not None and not isinstance(problem.distance, Distance):
        problem = _measured(problem)
    adapter = adapter_for(problem)
    if adapter.records:
        return adapter.evaluate(problem, adapter)
    return solve(problem, adapter=adapter)[0]


def solve(
    problem: Problem,
    wanted: tuple[str, ...] = (),
    grad_output: Any = None,
    out: tuple[Any, ...] | None = None,
    result: Any = None,
    adapter: Any = None,
    valued: bool = True,
    kept: tuple[Any, ...] | None = None,
) -> tuple[Any, tuple[Any, ...]]:
    """The value of a problem, and its gradients with respect to the arguments named in ``wanted``.

    The value is of dtype ``result``, or of that which is computed in; it is None where it is not
    ``valued``. ``kept`` are gradients on a GPU that hold for an upstream gradient of exactly 1: for
    another one they are replaced, which the GPU decides. They are of operands of one shape and
    dtype. Everything that can be wrong is found before a byte of the caller's is written.
    """
    adapter = adapter or adapter_for(problem, grad_output)
    elsewhere = adapter.elsewhere(problem.operands)
    if elsewhere is not None:
        with elsewhere:
            return solve(problem, wanted, grad_output, out, result, adapter, valued, kept)
    if problem.distance is not None and not isinstance(problem.distance, Distance):
        if wanted:
            raise _unknown_gradient(problem.distance)
        problem = _measured(problem)
    loss, _, names, operands, _, axis, target, weight, weight_name, reduction, _ = problem
    given, buffers = _NONE_GIVEN, ()
    if out is not None:
        given = _given(adapter, problem, wanted, grad_output, out)
        buffers = tuple([adapter.form(given[name]) for name in wanted])
    elif kept is not None:
        # They look like new ones, which they were.
        given = dict(zip(wanted, kept, strict=True))
    forms = tuple([adapter.direct(array) for array in operands])
    of_labels = adapter.direct(target) if loss.labelled else None
    of_weight = None if is_no_weight(weight) else adapter.direct(weight)
    if of_weight or is_no_weight(weight):
        look = functools.partial(learn, adapter, problem, wanted, forms, of_labels, of_weight)
        of_upstream = adapter.direct(grad_output)
        known = look(of_upstream, buffers) if of_upstream or is_number(grad_output) else None
        if known is None and not is_number(grad_output):
            known = look(None, buffers)
            if known is not None:
                # All but the upstream gradients is as kernels read it.
                grad_output = _readable(adapter, grad_output, known.direct)
                known = look(adapter.direct(grad_output), buffers)
        if known is not None:
            taken = *operands, target, weight, grad_output
            return again(known, taken, result, given, valued, kept is not None)
    axis, reduction = _plan.check_axis(axis), _plan.check_reduction(reduction)
    measure, parameters, counts = _split(problem)
    arrays = [*map(adapter.asarray, names, operands)]
    dtype = adapter.common_dtype(arrays)
    call = _prepared(
        adapter,
        loss,
        measure,
        dtype,
        names,
        tuple(map(adapter.form, arrays)),
        axis,
        _wants(names, wanted, buffers),
        counts,
    )
    if kept is not None:
        kind = _float_kind(adapter, adapter.form(grad_output), dtype)
        if kind is not None:
            call = _unless_one(call, adapter.address(grad_output), kind)
    shape = call.shape
    labels = _labels(adapter, problem, call)
    weights = upstream = 1.0
    if weight is not None:
        weights = _per_sample(adapter, weight_name, weight, shape, call.device)
    if grad_output is not None:
        samples = shape if reduction == "none" else ()
        upstream = _per_sample(adapter, "grad_output", grad_output, samples, call.device)
    denominator = _denominator(adapter, reduction, weights, call.samples)
    grads = _buffers(adapter, given, call, names, arrays)
    slopes = None
    if weight_name in wanted:
        # The losses are wanted without their weights: the weights go into the slopes instead.
        array = adapter.asarray(weight_name, weight)
        own = _own(adapter, array, dtype)
        if weight_name in given:
            form = adapter.form(given[weight_name])
            _check_fit(weight_name, form, array.shape, own, call.device)
        slopes = given.get(weight_name, adapter.empty_like(array, -1, own))

    scale = _over(adapter, upstream, denominator)
    in_slopes = weights * scale if weight_name in wanted else None
    numbers = labels, weights, scale, in_slopes
    like, none = arrays[0], reduction == "none"
    each: Any = (result or dtype) if none else None
    if in_slopes is not None:
        each = "float64"
    total, losses = _run(adapter, call, parameters, dtype, arrays, numbers, grads, each)
    weighted, mean = losses, None
    if in_slopes is not None:
        losses = adapter.wrap(losses)
        weighted = losses * weights
        mean = _over(adapter, adapter.number(weighted.sum()), denominator)
    if not call.passes:
        mean = math.nan if reduction == "mean" else 0.0

    value = None
    if valued and none:
        value = adapter.values(weighted, result or dtype)
    elif valued and mean is None:
        value = call.where.value(adapter, total, denominator, result or dtype, like, call.device)
    elif valued:
        value = adapter.scalar(mean, result or dtype, like)
    if not given and wanted == names:
        return value, tuple([g if g.ndim else g[()] for g in grads])
    results: dict[str, Any] = dict(zip(names, grads, strict=True))
    if slopes is not None:
        less = mean if reduction == "mean" else 0.0
        slopes[...] = adapter.sum_to((losses - less) * scale, tuple(slopes.shape))
        results[weight_name] = slopes
    found = tuple([results[name] for name in wanted])
    # A gradient of one number is a scalar like the value, but what the caller gave is handed back.
    return value, found if given else tuple([g if g.ndim else g[()] for g in found])


_NONE_GIVEN: dict[str, Any] = {}


_FLOATS = {float}


def _split(problem: Problem) -> tuple[Measure | None, tuple[float, ...], tuple[int, int]]:
    """The distance, all parameters, and how many are its own and the loss's."""
    distance, of_loss = problem.distance, problem.parameters
    if not isinstance(distance, Distance):
        return None, of_loss, (0, len(of_loss))
    own = distance.parameters
    if type(own) is not tuple or not _FLOATS.issuperset(map(type, own)):
        own = _faults.floats(distance)
    return distance[:-1], own + of_loss, (len(own), len(of_loss))


def _wants(
    names: tuple[str, ...], wanted: tuple[str, ...], buffers: tuple[_plan.Form, ...]
) -> tuple[_plan.Form | bool, ...]:
    """Per operand the form of the buffer for its gradient, or whether one is wanted."""
    given = dict(zip(wanted, buffers, strict=True)) if buffers else {}
    return tuple([given.get(name, name in wanted) for name in names])


class _Direct(NamedTuple):
    """A call whose arrays are read and written where they lie, in one pass.

    Args:
        adapter: Of the arrays.
        names: Of the operands.
        call: The call.
        run: Its pass.
        kernel: What runs.
        dtype: What is computed in.
        reduction: What becomes of the losses.
        graded: Whether a gradient is wanted.
        denominator: What the sum of the losses is divided by; None where the weights say.
        labels: Of the labels the step from one to the next, 0 where there is one for all, and how
            they are written; None where there are none.
        weights: The same of the weights.
        upstream: The same of the upstream gradients.
    """

    adapter: Any
    names: tuple[str, ...]
    call: _Call
    run: _plan.Pass
    kernel: Any
    dtype: Any
    reduction: str
    graded: bool
    denominator: float | None
    labels: tuple[int, int] | None
    weights: tuple[int, int] | None
    upstream: tuple[int, int] | None


@functools.lru_cache(maxsize=1024)
def _direct(
    adapter: Any,
    loss: Loss,
    distance: Measure | None,
    names: tuple[str, ...],
    axis: int,
    reduction: str,
    wanted: tuple[str, ...],
    operands: tuple[_plan.Form | None, ...],
    target: _plan.Form | None,
    weight: _plan.Form | None,
    upstream: _plan.Form | None,
    buffers: tuple[_plan.Form, ...],
    counts: tuple[int, int],
) -> _Direct | None:
    """The direct call for arrays of these forms, or None where there is more to do.

    Most calls are direct, and look exactly like the last one but for the numbers.

    Raises:
        ValueError: shapes that do not fit.
    """
    if wanted != tuple(name for name in names if name in wanted):
        return None
    if any(_plan.may_overlap_itself(buffer) for buffer in buffers):
        return None
    forms = [form for form in operands if form and adapter.float_name(form.dtype)]
    if len(forms) < len(operands) or (loss.labelled and not target):
        return None
    dtype = adapter.common_dtype(forms)
    wants = _wants(names, wanted, buffers)
    call = _prepared(adapter, loss, distance, dtype, names, tuple(forms), axis, wants, counts)
    if len(call.passes) != 1 or ADD in call.passes[0].modes:
        return None
    if not all(call.in_place) or not all(call.grads_in_place):
        return None
    device, samples = call.device, call.shape
    labels = weights = upstreams = None
    if target:
        labels = _as_given(target, adapter.label_kind(target.dtype), samples, device)
    if weight and device < 0:
        weights = _as_given(weight, _float_kind(adapter, weight, dtype), samples, device)
    if upstream:
        each = samples if reduction == "none" else ()
        upstreams = _as_given(upstream, _float_kind(adapter, upstream, dtype), each, device)
    for form, numbers in ((target, labels), (weight, weights), (upstream, upstreams)):
        if form and not numbers:
            return None
    by_weight = weights and reduction in ("mean", "sum_by_nonzero_weights")
    return _Direct(
        adapter,
        names,
        call,
        call.passes[0],
        call.kernels[0],
        dtype,
        reduction,
        any(wants),
        None if by_weight else _denominator(adapter, reduction, 1.0, call.samples),
        labels,
        weights,
        upstreams,
    )


def _readable(adapter: Any, grad_output: Any, direct: _Direct) -> Any:
    """Upstream gradients for a call as kernels read them: a number, or float64 in C order.

    Raises:
        ValueError, TypeError: they do not fit.
    """
    call = direct.call
    samples = call.shape if direct.reduction == "none" else ()
    upstream = _per_sample(adapter, "grad_output", grad_output, samples, call.device)
    return upstream if isinstance(upstream, float) else adapter.numbers(upstream, samples)


def _as_given(
    form: _plan.Form, kind: int | None, samples: tuple[int, ...], device: int
) -> tuple[int, int] | None:
    """How kernels read numbers of the samples where they lie; None where they cannot."""
    fits = form.shape in ((), samples) and form.aligned and form.device == device
    if kind is None or not fits:
        return None
    if not any(form.strides):
        return 0, kind  # one number, perhaps expanded, as the gradient of a sum is
    return (1, kind) if _plan.is_packed(form) else None


class Known(NamedTuple):
    """All there is to know of a call but its arrays.

    Args:
        direct: What follows from their layout.
        wanted: Of what the gradients are.
        parameters: Of the distance, then of the loss.
        checked: Whether the labels have to be looked at.
    """

    direct: _Direct
    wanted: tuple[str, ...]
    parameters: tuple[float, ...]
    checked: bool


def learn(
    adapter: Any,
    problem: Problem,
    wanted: tuple[str, ...],
    operands: tuple[_plan.Form | None, ...],
    target: _plan.Form | None,
    weight: _plan.Form | None,
    upstream: _plan.Form | None,
    buffers: tuple[_plan.Form, ...] = (),
) -> Known | None:
    """What is to be kept of a call, for :func:`again`; None where :func:`solve` has more to do.

    It is a call whose distance is no callable. The forms are those of the operands, of the labels,
    weights and upstream gradients where there are arrays of these, and of the caller's buffers for
    gradients, and stand for the arrays: what is in the problem is not looked at.

    Raises:
        ValueError, TypeError: as :func:`solve`.
    """
    axis, reduction = _plan.check_axis(problem.axis), _plan.check_reduction(problem.reduction)
    measure, parameters, counts = _split(problem)
    direct = _direct(
        adapter,
        problem.loss,
        measure,
        problem.names,
        axis,
        reduction,
        wanted,
        operands,
        target,
        weight,
        upstream,
        buffers,
        counts,
    )
    if direct is None:
        return None
    labels, device = direct.labels, direct.call.device
    checked = labels is not None and _to_be_checked(problem.validate, labels[1], device)
    return Known(direct, wanted, parameters, checked)


def is_no_weight(weight: Any) -> bool:
    """Whether all samples weigh the same, as they do without a weight."""
    return weight is None or (type(weight) is float and weight == 1)


def is_number(upstream: Any) -> bool:
    """Whether an upstream gradient is one number, or none is given."""
    return upstream is None or isinstance(upstream, (int, float))


def again(
    known: Known,
    arrays: Sequence[Any],
    result: Any = None,
    given: dict[str, Any] = _NONE_GIVEN,
    valued: bool = True,
    unless: bool = False,
) -> tuple[Any, tuple[Any, ...]]:
    """What :func:`solve` gives, for arrays that look like those of a call that is known.

    They are the operands, the labels, the weights and the upstream gradients, which may be a number
    too; those that there are none of are not looked at. ``unless`` leaves all as it is for an
    upstream gradient of 1.
    """
    direct, _, parameters, to_be_checked = known
    (
        adapter,
        names,
        call,
        run,
        kernel,
        dtype,
        reduction,
        graded,
        denominator,
        of_labels,
        of_weights,
        of_upstream,
    ) = direct
    *operands, target, weight, upstream = arrays
    device, address, each = call.device, adapter.address, reduction == "none"
    labels, weights = _NO_LABELS, _ONE
    if of_labels:
        step, kind = of_labels
        labels = address(target), step, kind, 1.0
        if to_be_checked and (given or device >= 0):
            # What the caller gave is left as it was by a call that fails.
            _check_labels(adapter, target, target, kind, device, step)
            to_be_checked = False
    if of_weights:
        weights = address(weight), *of_weights, 1.0
        if denominator is None:
            wide = adapter.float64("weight", weight)
            denominator = _denominator(adapter, reduction, wide, call.samples)
    over = 1 / denominator if denominator else 0.0
    scale = 0, 0, DOUBLES, over
    if of_upstream:
        scale = address(upstream), *of_upstream, over
        if unless:
            kernel = kernel._replace(unless=(scale[0], scale[2]))
    elif upstream is not None:
        scale = 0, 0, DOUBLES, _over(adapter, upstream, denominator)
    result = result or dtype
    grads: list[Any] = []
    nowhere: Sequence[int] = _NOWHERE[: len(operands)]
    into = nowhere
    if graded:
        grads = _buffers(adapter, given, call, names, operands)
        into = [0 if g is None else address(g) for g in grads]
    total, losses = call.where.total(
        adapter,
        kernel,
        run,
        dtype,
        result if each else None,
        call.shape,
        call.samples,
        [*map(address, operands)],
        into,
        nowhere,
        labels,
        weights,
        scale,
        parameters,
        operands[0],
    )
    # A label that is neither 1 nor -1 gives a loss of NaN.
    if to_be_checked and math.isnan(total):
        _check_labels(adapter, target, target, kind, device, step)
    value = None
    if valued and each:
        value = adapter.values(losses, result)
    elif valued:
        value = call.where.value(adapter, total, denominator, result, operands[0], device)
    if not graded:
        return value, ()
    return value, tuple([g if g.ndim or given else g[()] for g in grads if g is not None])


def _float_kind(adapter: Any, form: _plan.Form, dtype: Any) -> int | None:
    """How kernels that compute in a dtype read weights or upstream gradients; None: they do not."""
    if form.device >= 0 and form.dtype == dtype:
        return OWN
    kind = adapter.label_kind(form.dtype)
    return kind if kind in (DOUBLES, FLOATS) else None


def _unless_one(call: _Call, address: int, kind: int) -> _Call:
    """The call, which changes nothing where the number there, an upstream gradient, is 1."""
    unless = address, kind
    return call._replace(kernels=tuple([k._replace(unless=unless) for k in call.kernels]))


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
    adapter = adapter_for(problem)
    arrays = [
        adapter.asarray(*given) for given in zip(problem.names, problem.operands, strict=True)
    ]
    pairs = ((0, 1), (0, 2), (1, 2))[: problem.loss.arity]
    names = [f"distance_function({problem.names[i]}, {problem.names[j]})" for i, j in pairs]
    measured = [measure(arrays[i], arrays[j]) for i, j in pairs]
    for name, i, d in zip(names, (i for i, _ in pairs), measured, strict=True):
        here, there = (_library(type(each)) for each in (d, arrays[i]))  # type: ignore[arg-type]
        if here not in (None, there) and there != "numpy":
            raise TypeError(f"{name} is a {here} array, its arguments are {there} arrays")
    return problem._replace(distance=None, names=tuple(names), operands=tuple(measured))


def _own(adapter: Any, array: Any, dtype: Any) -> Any:
    """The dtype of the gradient of an array: its own, that of the loss where it is of integers."""
    return array.dtype if adapter.float_name(array.dtype) else dtype


def _given(
    adapter: Any, problem: Problem, wanted: tuple[str, ...], grad_output: Any, out: tuple[Any, ...]
) -> dict[str, Any]:
    """The caller's buffers by the name of what they are for; whether they fit is seen later."""
    taken = dict(zip(problem.names, problem.operands, strict=True))
    taken |= {problem.weight_name: problem.weight, "target": problem.target}
    taken["grad_output"] = grad_output
    # What is no array may be read where it is, and share its memory with one.
    taken = {
        name: value if is_number(value) or adapter.direct(value) else adapter.asarray(name, value)
        for name, value in taken.items()
    }
    given = {}
    for name, buffer in zip(wanted, out, strict=True):
        label = f"out for {name}"
        adapter.check_out(label, buffer, taken)
        given[name] = taken[label] = buffer
    return given


def _check_fit(
    name: str, given: _plan.Form, shape: tuple[int, ...], dtype: Any, device: int
) -> None:
    if given.device != device:
        raise ValueError(
            f"out for {name} is on device {given.device}, the operands are on device {device}"
        )
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
    distance: Measure | None,
    dtype: Any,
    names: tuple[str, ...],
    operands: tuple[_plan.Form, ...],
    axis: int,
    grads: tuple[_plan.Form | bool, ...],
    counts: tuple[int, int],
) -> _Call:
    """The call for operands, and gradients, of these forms.

    A gradient's is True where it is wanted in a new array, False where it is not wanted. Counts are
    those of the parameters of the distance and of the loss.

    Raises:
        ValueError: shapes that do not fit.
        TypeError: a gradient's buffer of another dtype.
        Exception: of many kinds, for a user's distance that does not compile.
    """
    # What the parameters are is no matter here.
    record = None if distance is None else Distance._make((*distance, (1.0,) * counts[0]))
    if record:
        _faults.check(record)
    shapes = tuple(operand.shape for operand in operands)
    device = _one_device(names, operands)
    if distance is None:
        if len(set(shapes)) > 1:
            raise ValueError(f"the distances have unequal shapes: {shapes}")
        axis, shape, features = 0, shapes[0], 1
    else:
        axis = _plan.feature_axis(names, shapes, axis)
        shape, features = _plan.sample_shape(names, shapes, axis), shapes[0][axis]
    rows = [_plan.rows(operand, axis, dtype) for operand in operands]
    written: list[tuple[_plan.Layout, bool] | None] = []
    owns = []
    for name, operand, grad in zip(names, operands, grads, strict=True):
        own = _own(adapter, operand, dtype)
        if isinstance(grad, _plan.Form):
            _check_fit(name, grad, operand.shape, own, device)
            written.append(_plan.rows(grad, axis, dtype))
        else:
            new = _plan.new(operand, axis, own)
            written.append(_plan.rows(new, axis, dtype) if grad else None)
        owns.append(own if grad else None)
    where = _on_host if device < 0 else _on_device
    passes, kernels = cast(tuple[_plan.Pass, ...], ()), []
    if math.prod(shape):
        layouts = [layout for layout, _ in rows]
        into = [g and g[0] for g in written]
        passes = _plan.plan(shape, features, layouts, into, on_device=device >= 0)
        known_as = adapter.float_name(dtype)
        functions = record and record.functions
        what = _spoken(loss, record and record.name, known_as)
        try:
            kernels = [
                where.kernel(loss, functions, counts, len(rows), known_as, run, device, what)
                for run in passes
            ]
        except (ImportError, OSError, RuntimeError):
            raise  # about the machine
        except Exception as error:
            if record:
                _faults.explain(record, error)
            raise
    return _Call(
        axis,
        shape,
        math.prod(shape),
        features,
        tuple(there for _, there in rows),
        tuple(owns),
        tuple(g is None or g[1] for g in written),
        device,
        where,
        passes,
        tuple(kernels),
    )


def _spoken(loss: Loss, distance: str | None, dtype: str) -> str:
    """What a person calls a kernel."""
    name = "paired_distance" if loss is identity else loss.function.__qualname__.split(".")[0]
    options = dtype if distance is None else f"{distance}, {dtype}"
    return f"{name.strip('_')}({options})"


def _one_device(names: tuple[str, ...], forms: Sequence[_plan.Form]) -> int:
    """Where all of them are.

    Raises:
        ValueError: they are on two devices.
    """
    device = forms[0].device
    for name, form in zip(names, forms, strict=True):
        if form.device != device:
            raise ValueError(
                f"arrays on one device only: {names[0]} is on device {device} and {name} on device"
                f" {form.device}"
            )
    return device


def _labels(adapter: Any, problem: Problem, call: _Call) -> tuple[Any, int]:
    """The labels, or 0 where the loss has none, and how they are written."""
    if not problem.loss.labelled:
        return 0.0, DOUBLES
    given = adapter.asarray("target", problem.target)
    _plan.check_per_sample("target", tuple(given.shape), call.shape)
    _check_place(adapter, "target", given, call.device)
    labels, kind = adapter.labels(given)
    if _to_be_checked(problem.validate, kind, call.device):
        _check_labels(adapter, given, labels, kind, call.device)
    return labels, kind


def _to_be_checked(validate: bool | None, kind: int, device: int) -> bool:
    """Whether labels have to be looked at: on a GPU that means to wait for it."""
    return kind != BOOLS and (device < 0 if validate is None else validate)


def _check_labels(
    adapter: Any, given: Any, labels: Any, kind: int, device: int, step: int = 1
) -> None:
    """Raises unless all labels are 1 or -1; with a step of 0 there is one in memory."""
    if device < 0:
        address = adapter.address(labels)
    else:
        labels = adapter.host(labels)
        address = labels.ctypes.data
    if not _all_signs()(address, math.prod(labels.shape) if step else 1, kind):
        raise _wrong_label(adapter.host(given))


@functools.cache
def _all_signs() -> Callable[..., bool]:
    with importing():
        from fastcos.kernels import cpu

    return cpu.all_signs()


def _check_place(adapter: Any, name: str, array: Any, device: int) -> None:
    there = adapter.form(array).device
    if there != device:
        raise ValueError(f"{name} is on device {there}, the operands are on device {device}")


def _wrong_label(given: Any) -> ValueError:
    first = np.flatnonzero(np.abs(given.astype(np.float64)) != 1)[0]
    index = tuple(int(i) for i in np.unravel_index(first, given.shape))
    hint = ""
    if np.isin(given, (0, 1)).all():
        hint = "; for 0/1 labels pass 2 * target - 1 or target.astype(bool)"
    return ValueError(
        f"target must be +1 or -1 (or bool), got {given[index]!s} at index {index}{hint}"
    )


def _per_sample(adapter: Any, name: str, value: Any, samples: tuple[int, ...], device: int) -> Any:
    """A number, or a float64 array of one per sample; of what is on a GPU always an array."""
    if isinstance(value, (int, float)):
        return float(value)
    given = adapter.asarray(name, value)
    _check_place(adapter, name, given, device)
    array = adapter.float64(name, given)
    _plan.check_per_sample(name, tuple(array.shape), samples)
    return array if array.ndim else adapter.number(array)


def _denominator(adapter: Any, reduction: str, weight: Any, count: int) -> Any:
    """What the sum of the weighted losses is divided by."""
    if reduction in ("none", "sum"):
        return 1.0
    if reduction == "sum_over_batch_size":
        return float(count)
    if isinstance(weight, float):
        return weight * count if reduction == "mean" else float((weight != 0) * count)
    # Every weight counts once for each sample that it is broadcast to.
    size = math.prod(weight.shape)
    total = weight.sum() if reduction == "mean" else (weight != 0).sum()
    return adapter.number(total) * float(count // size if size else 0)


def _over(adapter: Any, numerator: Any, denominator: Any) -> Any:
    """The quotient; 0 where the denominator is 0."""
    if isinstance(denominator, float):
        return numerator / denominator if denominator else 0 * numerator
    return adapter.quotient(numerator, denominator)


def _buffers(
    adapter: Any,
    given: dict[str, Any],
    call: _Call,
    names: tuple[str, ...],
    arrays: Sequence[Any],
) -> list[Any]:
    """Where the gradients go: the caller's buffers, or new ones; None for nowhere."""
    new, axis = adapter.empty_like, call.axis
    return [
        given.get(name) if dtype is None or name in given else new(array, axis, dtype)
        for name, array, dtype in zip(names, arrays, call.grads, strict=True)
    ]


def _run(
    adapter: Any,
    call: _Call,
    parameters: tuple[float, ...],
    dtype: Any,
    arrays: list[Any],
    numbers: tuple[tuple[Any, int], Any, Any, Any],
    wanted: list[Any],
    each: Any,
) -> tuple[Any, Any]:
    """Runs the passes: the sum of the weighted losses, each of them, and the gradients.

    The numbers of the samples are the labels and how they are written, the weight, the scale, and
    either None or what the slopes are multiplied by where the losses are wanted without weights.
    """
    if not call.passes:
        for buffer in wanted:
            if buffer is not None:
                buffer[...] = 0
        return 0.0, adapter.scratch(call.shape, arrays[0])

    rows, views, grads = arrays, wanted, wanted
    if not all(call.in_place):
        rows = [
            array if there else adapter.rows(array, call.axis, dtype)
            for array, there in zip(arrays, call.in_place, strict=True)
        ]
    if call.axis != -1 or not all(call.grads_in_place):
        # A gradient is written in place where its rows are contiguous and of the computing dtype.
        views = [None if g is None else adapter.features_last(g, call.axis) for g in wanted]
        grads = [
            view if there else adapter.empty_like(view, -1, dtype)
            for view, there in zip(views, call.grads_in_place, strict=True)
        ]
    # Named here, for an address does not keep its array alive.
    (labels, kind), weight, scale, in_slopes = numbers
    if in_slopes is not None:
        weight, scale = 1.0, in_slopes
    label_numbers, labels = _numbers(adapter, labels, call.shape, kind)
    weight_numbers, weight = _numbers(adapter, weight, call.shape)
    scale_numbers, scale = _numbers(adapter, scale, call.shape)
    address = adapter.address
    row_addresses = tuple(map(address, rows))
    grad_addresses = tuple([0 if g is None else address(g) for g in grads])
    found: tuple[Any, Any] | None = None
    for run, kernel in zip(call.passes, call.kernels, strict=True):
        added, sums = [], _NOWHERE[: len(arrays)]
        if ADD in run.modes:
            added = [
                adapter.scratch((run.tasks, call.features), arrays[0]) if mode == ADD else None
                for mode in run.modes
            ]
            sums = tuple([0 if s is None else address(s) for s in added])
        now = call.where.total(
            adapter,
            kernel,
            run,
            dtype,
            None if found else each,
            call.shape,
            call.samples,
            row_addresses,
            grad_addresses,
            sums,
            label_numbers,
            weight_numbers,
            scale_numbers,
            parameters,
            arrays[0],
        )
        found = found or now
        for grad, part in zip(grads, added, strict=False):
            if part is not None:
                by_row = part.reshape(run.outer, run.segments, call.features).sum(axis=1)
                grad[...] = adapter.wrap(by_row.reshape(tuple(grad.shape)))
    if grads is not views:
        for view, grad in zip(views, grads, strict=True):
            if grad is not view:
                view[...] = grad
    assert found
    return found


_ONE = (0, 0, DOUBLES, 1.0)
_NO_LABELS = (0, 0, DOUBLES, 0.0)
# In place of the addresses of gradients, or sums of them, that are not wanted.
_NOWHERE = (0, 0, 0)


def _numbers(
    adapter: Any, given: Any, samples: tuple[int, ...], kind: int = DOUBLES
) -> tuple[_plan.Number, Any]:
    """Numbers of the samples as a kernel takes them, and what is to be kept alive for them."""
    if isinstance(given, float):
        return (0, 0, DOUBLES, given), None
    array = adapter.numbers(given, samples)
    return (adapter.address(array), int(math.prod(array.shape) > 1), kind, 1.0), array
