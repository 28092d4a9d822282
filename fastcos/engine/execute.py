"""A plan executed: arrays in, value and gradients out. The only code that touches memory."""

import math
from collections.abc import Sequence
from typing import Any

from fastcos.engine import lookup, per_sample
from fastcos.engine.passes import Pass
from fastcos.engine.plan import Plan
from fastcos.engine.rows import array_of
from fastcos.kernels import ADD, DOUBLES
from fastcos.kernels.arguments import Numbers

# In place of numbers in memory, where one constant is that of all samples.
_CONSTANT = (0, 0, DOUBLES)
# In place of the addresses of gradients, or of sums, that are not wanted: by how many operands.
_NOWHERE = ((), (0,), (0, 0), (0, 0, 0))


def execute(
    plan: Plan,
    parameters: tuple[float, ...],
    validate: bool | None,
    arrays: Sequence[Any],
    out: Sequence[Any] = (),
    *,
    result: Any = None,
    valued: bool = True,
    skip_if_one: bool = False,
    kept: Any = None,
) -> tuple[Any, tuple[Any, ...]]:
    """The value of a call and the gradients that are wanted.

    Args:
        plan: The plan for arrays of these layouts.
        parameters: Of the distance, then of the loss.
        validate: Whether labels are checked, and numbers of rows on a GPU; None for those in the
            memory of this machine.
        arrays: The operands, the labels, the weights and the upstream gradients; the last two may
            be numbers, and what there is none of is not looked at.
        out: Buffers for the gradients; empty for new arrays.
        result: The dtype of the value; None for that which is computed in.
        valued: False gives None in place of the value.
        skip_if_one: On a GPU, leaves all in ``out`` as it is for an upstream gradient of exactly 1.
        kept: Memory for ``plan.state_words`` of each sample, or None. A call without gradients
            leaves there what one with gradients takes from there, and does not measure again.

    Raises:
        ValueError: labels other than 1 and -1; nothing is written to ``out`` then.
        IndexError: a table on a GPU does not have a row, where labels are checked.
    """
    *operands, target, weight, upstream = arrays
    place, runs, adapter, like = plan.place, plan.runs, plan.adapter, operands[0]
    address, none = adapter.address, plan.reduction == "none"
    result = result or plan.dtype
    each = "float64" if plan.weight_gradient else result if none else None
    checked = plan.checks_labels and (plan.device < 0 if validate is None else validate)
    if checked and (out or plan.device >= 0 or not runs):
        per_sample.check_labels(adapter, target, plan.device)
        checked = False
    if plan.lookup:
        like = array_of(like)
        if plan.device >= 0 and validate:
            lookup.check_numbers(plan, operands)
    # Names hold what was converted: an address does not keep its array alive.
    numbers, constants, factor, scale, denominator, _converted = _numbers(
        plan, target, weight, upstream
    )
    if skip_if_one and plan.upstream_kind is not None:
        skip = address(upstream), plan.upstream_kind
        runs = tuple([run._replace(skip=skip) for run in runs])

    total: Any = None
    losses: Any = None
    grads: Any = ()
    if plan.lookup:
        per = numbers, constants
        total, losses, grads = lookup.run(plan, operands, per, parameters, each, out)
    else:
        rows = operands
        if plan.copied:
            rows = [
                adapter.rows(array, plan.axis, plan.dtype) if copied else array
                for array, copied in zip(operands, plan.copied, strict=True)
            ]
        nowhere: Sequence[int] = _NOWHERE[len(rows)]
        into, grad_addresses = grads, nowhere
        if plan.gradients:
            grads = _buffers(plan, operands, out)
            into = _views(plan, grads) if plan.staged or plan.sums else grads
            grad_addresses = [0 if grad is None else address(grad) for grad in into]
        addresses = [*map(address, rows)], grad_addresses, nowhere
        for run in runs:
            if plan.sums:
                sums, sum_addresses = _sums(plan, run.visit, like)
                addresses = *addresses[:2], sum_addresses
            with_kept = () if kept is None else (kept, bool(plan.order))
            passed = numbers, constants, parameters, each, like
            found = place.run(plan, run, addresses, *passed, *with_kept)
            if total is None:
                (total, losses), each = found, None
            if plan.sums:
                for grad, part in zip(into, sums, strict=True):
                    if part is not None:
                        _gather(adapter, run.visit, part, grad)
        if not runs:
            total, losses = _of_no_samples(plan, grads, like)
        elif plan.staged:
            _copy_staged(plan, grads, into)
    # A label that is neither 1 nor -1 gives a loss of NaN.
    if checked and math.isnan(total):
        per_sample.check_labels(adapter, target, plan.device)

    weighted: Any = losses
    mean: Any = None
    if plan.weight_gradient:
        losses = adapter.wrap(losses)
        weighted = losses * factor
        mean = per_sample.quotient(adapter, adapter.number(weighted.sum()), denominator)
    if not runs:
        mean = math.nan if plan.reduction == "mean" else 0.0
    value = None
    if valued and none:
        value = adapter.values(weighted, result)
    elif valued and mean is None:
        value = place.value(plan, total, denominator, result, like)
    elif valued:
        value = adapter.scalar(mean, result, like)
    if plan.weight_gradient:
        less = mean if plan.reduction == "mean" else 0.0
        position, own, _ = plan.weight_gradient
        slopes = out[position] if out else adapter.empty_like(weight, -1, own)
        found = adapter.sum_to((losses - less) * scale, tuple(slopes.shape))
        slopes[...] = slopes + found if plan.accumulate else found
        grads = *grads, slopes
    if out or not plan.order:
        return value, tuple(out)
    # A gradient of one number is a scalar like the value.
    return value, tuple([grads[i] if grads[i].ndim else grads[i][()] for i in plan.order])


def _numbers(
    plan: Plan, target: Any, weight: Any, upstream: Any
) -> tuple[tuple[Numbers, Numbers, Numbers], tuple[float, float, float], Any, Any, Any, Any]:
    """Labels, weights and scales as kernels take them, and what is needed of these elsewhere.

    Returns:
        Them, and their constants; the weights and the scales as numbers or arrays, where they are
        not read in place; the denominator; what has to be kept alive.
    """
    adapter, denominator = plan.adapter, plan.denominator
    labels = weights = scales = _CONSTANT
    label, in_weights = 0.0, 1.0
    factor: Any = 1.0
    scale: Any = 1.0
    if plan.labels:
        step, kind, in_place = plan.labels
        if in_place:
            labels, label = (adapter.address(target), step, kind), 1.0
        else:
            labels, label, target = _packed(plan, *adapter.labels(target))
    if plan.weights:
        step, kind, in_place = plan.weights
        if in_place:
            weights = adapter.address(weight), step, kind
            if denominator is None:
                factor = adapter.float64(plan.weight_name, weight)
        else:
            factor = per_sample.converted(adapter, plan.weight_name, weight)
            weights, in_weights, weight = _packed(plan, factor)
        if denominator is None:
            denominator = per_sample.denominator(adapter, plan.reduction, factor, plan.samples)
    if upstream is None and not plan.weight_gradient and type(denominator) is float:
        in_scales = 1 / denominator if denominator else 0.0
    elif plan.upstream and plan.upstream.in_place:
        step, kind, _ = plan.upstream
        scales = adapter.address(upstream), step, kind
        in_scales = 1 / denominator if denominator else 0.0
    else:
        if upstream is not None:
            scale = per_sample.converted(adapter, "grad_output", upstream)
        scale = in_kernel = per_sample.quotient(adapter, scale, denominator)
        if plan.weight_gradient:
            # The losses are wanted without their weights, which go into the slopes instead.
            weights, in_weights, in_kernel = _CONSTANT, 1.0, factor * scale
        scales, in_scales, upstream = _packed(plan, in_kernel)
    numbers, constants = (labels, weights, scales), (label, in_weights, in_scales)
    return numbers, constants, factor, scale, denominator, (target, weight, upstream)


def _packed(plan: Plan, given: Any, kind: int = DOUBLES) -> tuple[Numbers, float, Any]:
    """Numbers of the samples as kernels take them, their constant, and the array they are in."""
    if isinstance(given, float):
        return _CONSTANT, given, None
    array = plan.adapter.numbers(given, plan.shape)
    step = int(math.prod(array.shape) > 1)
    return (plan.adapter.address(array), step, kind), 1.0, array


def _buffers(plan: Plan, operands: Sequence[Any], out: Sequence[Any]) -> list[Any]:
    """Where the gradients of the operands go; None for nowhere."""
    new, axis = plan.adapter.empty_like, plan.axis
    return [
        gradient and (out[gradient.position] if out else new(operand, axis, gradient.dtype))
        for gradient, operand in zip(plan.gradients, operands, strict=True)
    ]


def _views(plan: Plan, grads: Sequence[Any]) -> list[Any]:
    """What kernels write to: gradients with the feature axis last, or memory for staged ones."""
    adapter, views = plan.adapter, []
    for gradient, grad in zip(plan.gradients, grads, strict=True):
        view = None if gradient is None else adapter.features_last(grad, plan.axis)
        staged = gradient is not None and gradient.staged
        views.append(adapter.empty_like(view, -1, plan.dtype) if staged else view)
    return views


def _sums(plan: Plan, visit: Pass, like: Any) -> tuple[list[Any], list[int]]:
    """Memory for the float64 sums of the gradients that a pass adds up: a row for each task."""
    adapter, shape = plan.adapter, (visit.tasks, visit.features)
    sums = [adapter.scratch(shape, like) if mode == ADD else None for mode in visit.modes]
    return sums, [0 if part is None else adapter.address(part) for part in sums]


def _copy_staged(plan: Plan, grads: Sequence[Any], into: Sequence[Any]) -> None:
    """Copies gradients from memory of their own to where they go, or adds them there."""
    for gradient, grad, staged in zip(plan.gradients, grads, into, strict=True):
        if gradient and gradient.staged:
            view = plan.adapter.features_last(grad, plan.axis)
            view[...] = view + staged if plan.accumulate else staged


def _gather(adapter: Any, visit: Pass, sums: Any, grad: Any) -> None:
    """Adds up the sums of the tasks that share a row of a gradient."""
    by_row = sums.reshape(visit.outer, visit.segments, visit.features).sum(axis=1)
    grad[...] = adapter.wrap(by_row.reshape(tuple(grad.shape)))


def _of_no_samples(plan: Plan, grads: Sequence[Any], like: Any) -> tuple[Any, Any]:
    """The sum of no losses, and each of them; gradients are 0."""
    for grad in grads:
        if grad is not None and not plan.accumulate:
            grad[...] = 0
    return 0.0, plan.adapter.scratch(plan.shape, like)
