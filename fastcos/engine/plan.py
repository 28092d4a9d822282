"""A plan: all that follows from the layout of a call's arrays and from its options.

Most calls look like an earlier one but for the numbers in their arrays, so plans are cached. A plan
says how every argument is read, which passes run, and what becomes of the sums; ``execute`` follows
it and decides nothing else. ::

    operand            in place, or a copy in the computing dtype with contiguous rows
    label, weight,     in place, or converted (per_sample)
    upstream gradient
    gradient           in place, or staged in the computing dtype, or summed over shared rows
"""

import dataclasses
import functools
import math
from typing import Any, Literal, NamedTuple

from fastcos.distances import Distance, faults
from fastcos.distances.record import with_parameters
from fastcos.engine import checks, device, host, layout, lookup, per_sample
from fastcos.engine.layout import ArrayLayout, RowLayout, Shape
from fastcos.engine.lookup import Lookup
from fastcos.engine.passes import Pass, passes
from fastcos.engine.per_sample import CONVERTED, Source
from fastcos.engine.problem import Problem
from fastcos.kernels import ADD, ALIGNED, BOOLS, LOOKED_UP, OF_TABLE, Spec
from fastcos.kernels.arguments import state_words
from fastcos.kernels.forks import importing
from fastcos.losses import Loss, identity


class Call(NamedTuple):
    """All of a call that its plan depends on: no array, and no value of a parameter."""

    adapter: Any  # of the arrays
    # With layouts in place of arrays, False of a weight that is one number, and 1 of each parameter
    problem: Problem
    wanted: tuple[str, ...]  # the names of what gradients are wanted of, in the order of the result
    upstream: ArrayLayout | None  # of the upstream gradients; None for one number, or none
    out: tuple[ArrayLayout, ...]  # of the caller's buffers for the gradients, if there are any
    accumulate: bool  # whether gradients are added to what is in these


class Gradient(NamedTuple):
    """Where a gradient goes."""

    position: int  # among those that are wanted
    dtype: Any  # its dtype
    staged: bool  # whether it is computed into memory of its own, and copied from there


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How a call is executed."""

    adapter: Any  # of the arrays
    place: Any  # where kernels run: :mod:`fastcos.engine.host` or :mod:`fastcos.engine.device`.
    device: int  # the number of the GPU that the arrays are on, or -1
    axis: int  # the feature axis, counted from the end; 0 where the operands are distances
    shape: Shape  # of the per-sample loss
    samples: int  # how many there are
    dtype: Any  # what is computed in
    reduction: str  # what becomes of the losses
    denominator: float | None  # what their sum is divided by; None where the weights say
    # Per operand, whether its rows are read in a copy; empty where none is
    copied: tuple[bool, ...]
    # Per operand, where its gradient goes; empty where none is wanted
    gradients: tuple[Gradient | None, ...]
    weight_gradient: Gradient | None  # the same of the weight
    weight_name: str  # what the weight is called
    # Which gradients are wanted, in this order: numbers of operands, the weight the last
    order: tuple[int, ...]
    labels: Source | None  # how the labels are read
    # Whether they may be other than 1 and -1, which is looked at unless a call says otherwise; on a
    # GPU, where that means to wait, if it says so
    checks_labels: bool
    weights: Source | None  # how the weights are read; None where there is none
    # How the upstream gradients are read; None where there is none, or one number
    upstream: Source | None
    # How an upstream gradient that kernels look at is stored, if they can
    upstream_kind: int | None
    runs: tuple[Any, ...]  # A kernel and a pass each; none where there is no sample
    staged: bool  # whether a gradient is staged
    sums: bool  # whether gradients are summed over the samples that share a row
    accumulate: bool  # whether gradients are added to what is in the caller's buffers
    # How many words of 8 bytes gradients need of each sample, if a call of its own leaves them; 0
    # where none can
    state_words: int
    lookup: Lookup | None  # of a call with rows of tables; it then says where gradients go


def call_of(
    adapter: Any,
    problem: Problem,
    wanted: tuple[str, ...],
    operands: tuple[Any, ...],
    target: ArrayLayout | None,
    weight: ArrayLayout | Literal[False] | None,
    upstream: ArrayLayout | None = None,
    out: tuple[ArrayLayout, ...] = (),
    accumulate: bool = False,
) -> tuple[Call, tuple[float, ...]]:
    """The call of a problem on arrays of these layouts, and the parameters of its kernels.

    What is in the problem in the place of the arrays is not looked at.

    Raises:
        ValueError, TypeError: options that there are not; parameters that are no numbers.
    """
    loss, distance, names, _, of_loss, axis, _, _, weight_name, reduction, _ = problem
    axis, reduction = checks.check_axis(axis), checks.check_reduction(reduction)
    of_distance: tuple[float, ...] = ()
    if isinstance(distance, Distance):
        of_distance = distance.parameters
        if type(of_distance) is not tuple or not _FLOATS.issuperset(map(type, of_distance)):
            of_distance = faults.floats(distance)
        distance = with_parameters(distance, (1.0,) * len(of_distance))
    ones = (1.0,) * len(of_loss)
    layouts = loss, distance, names, operands, ones, axis, target, weight, weight_name, reduction
    # What Problem() and Call() do, in half the time.
    asked = tuple.__new__(Problem, (*layouts, None))
    return tuple.__new__(
        Call, (adapter, asked, wanted, upstream, out, accumulate)
    ), of_distance + of_loss


_FLOATS = {float}


@functools.lru_cache(maxsize=1024)
def plan(call: Call) -> Plan:
    """The plan of a call, where its arrays are.

    Raises:
        ValueError: shapes that do not fit, arrays on two devices.
        TypeError: a buffer for a gradient of another dtype.
        Exception: of many kinds, for a user's distance that does not compile.
    """
    on_host = call.problem.operands[0].device < 0
    return plan_at(call, host if on_host else device)


def plan_at(call: Call, place: Any) -> Plan:
    """The plan of a call in a place: what ``place.bind`` makes is what runs."""
    adapter, problem, wanted = call.adapter, call.problem, call.wanted
    names, operands, weight = problem.names, problem.operands, problem.weight
    if isinstance(problem.distance, Distance):
        faults.check(problem.distance)
    dtype = adapter.common_dtype(operands)
    gpu = checks.one_device(names, operands)
    shapes = tuple([operand.shape for operand in operands])
    axis, shape, features = axes(problem, shapes)
    weight_gradient = _weight_gradient(call, dtype, gpu)
    labels, weights, upstream = _sources(call, shape, dtype, gpu)
    samples = math.prod(shape)
    visits: tuple[Pass, ...] = ()
    copied: tuple[bool, ...] = ()
    gradients: tuple[Gradient | None, ...] = ()
    if lookup.looks_up(operands):
        looked_up, visits = lookup.plan(call, axis, shape, features, dtype, gpu)
        staged = sums = False
    else:
        looked_up = None
        read = [layout.rows(operand, axis, dtype) for operand in operands]
        gradients, written = _gradients(call, axis, dtype, gpu)
        if samples:
            layouts = [row for row, _ in read]
            visits = passes(shape, features, layouts, written, on_device=gpu >= 0)
        copied = tuple([not in_place for _, in_place in read])
        staged = any([gradient.staged for gradient in gradients if gradient])
        sums = any(ADD in visit.modes for visit in visits)
    # Whether all that is done outside of the kernel is to divide the sum of the losses.
    simple = (
        (len(visits) == 1 or looked_up is not None)
        and not (any(copied) or staged or sums or weight_gradient or weight is False)
        and all([numbers is None or numbers.in_place for numbers in (labels, weights)])
        and wanted == tuple([name for name in names if name in wanted])
    )
    denominator: float | None = None
    if weight is None or problem.reduction not in ("mean", "sum_by_nonzero_weights"):
        denominator = per_sample.denominator(adapter, problem.reduction, 1.0, samples)
    return Plan(
        adapter=adapter,
        place=place,
        device=gpu,
        axis=axis,
        shape=shape,
        samples=samples,
        dtype=dtype,
        reduction=problem.reduction,
        denominator=denominator,
        copied=copied if any(copied) else (),
        gradients=gradients if any(gradients) or weight_gradient else (),
        weight_gradient=weight_gradient,
        weight_name=problem.weight_name,
        order=_order(call) if looked_up is None else looked_up.order,
        labels=labels,
        checks_labels=labels is not None and labels.kind != BOOLS,
        weights=weights,
        # Else their quotient with the denominator is taken outside of the kernel.
        upstream=upstream if simple or upstream is None else CONVERTED,
        upstream_kind=call.upstream and per_sample.float_kind(adapter, call.upstream, dtype),
        runs=_runs(problem, adapter.float_name(dtype), place, visits, gpu, looked_up is not None),
        staged=staged,
        sums=sums,
        accumulate=call.accumulate,
        state_words=_state_words(problem) if visits and gpu < 0 and looked_up is None else 0,
        lookup=looked_up,
    )


def _state_words(problem: Problem) -> int:
    record: Any = problem.distance
    if record is None:
        return 0
    return state_words(record.functions, len(record.parameters), problem.loss.arity)


def _order(call: Call) -> tuple[int, ...]:
    """The gradients that are wanted, in this order: numbers of operands, the weight the last."""
    names = *call.problem.names, call.problem.weight_name
    return tuple([names.index(name) for name in call.wanted])


def axes(problem: Problem, shapes: tuple[Shape, ...]) -> tuple[int, Shape, int]:
    """The feature axis, the shape of the per-sample loss and the length of a row.

    Raises:
        ValueError: shapes that do not fit.
    """
    if problem.distance is None:
        if len(set(shapes)) > 1:
            raise ValueError(f"the distances have unequal shapes: {shapes}")
        return 0, shapes[0], 1
    axis = checks.feature_axis(problem.names, shapes, problem.axis)
    return axis, checks.sample_shape(problem.names, shapes, axis), shapes[0][axis]


def _gradients(
    call: Call, axis: int, dtype: Any, gpu: int
) -> tuple[tuple[Gradient | None, ...], list[RowLayout | None]]:
    """Where gradients of the operands go, and where kernels find their rows."""
    gradients: list[Gradient | None] = []
    written: list[RowLayout | None] = []
    for name, operand in zip(call.problem.names, call.problem.operands, strict=True):
        if name not in call.wanted:
            gradients.append(None)
            written.append(None)
            continue
        position, own, into = _wanted(call, name, operand, dtype, gpu)
        new = layout.new(operand, axis, own)
        rows, in_place = layout.rows(into or new, axis, dtype)
        if call.accumulate:
            # Into memory of its own, which is added to the buffer.
            rows, in_place = layout.rows(new, axis, dtype)[0], False
        gradients.append(Gradient(position, own, not in_place))
        written.append(rows)
    return tuple(gradients), written


def _weight_gradient(call: Call, dtype: Any, gpu: int) -> Gradient | None:
    """Where the gradient of the weight goes."""
    name, weight = call.problem.weight_name, call.problem.weight
    if name not in call.wanted:
        return None
    position, own, _ = _wanted(call, name, weight, dtype, gpu)
    return Gradient(position, own, staged=True)


def _wanted(
    call: Call, name: str, of: ArrayLayout, dtype: Any, gpu: int
) -> tuple[int, Any, ArrayLayout | None]:
    """The position and the dtype of a gradient that is wanted, and the caller's buffer for it.

    The dtype is that of the argument, or of the loss where the argument is of integers.
    """
    position = lookup.position(call.problem, call.wanted, name)
    own = of.dtype if call.adapter.float_name(of.dtype) else dtype
    into = call.out[position] if call.out else None
    if into:
        checks.check_out_fits(name, into, of.shape, own, gpu)
    return position, own, into


def _sources(
    call: Call, shape: Shape, dtype: Any, gpu: int
) -> tuple[Source | None, Source | None, Source | None]:
    """How labels, weights and upstream gradients are read."""
    adapter, problem, upstream = call.adapter, call.problem, call.upstream
    target, weight, name = problem.target, problem.weight, problem.weight_name
    labels = weights = upstreams = None
    if target:
        checks.check_device("target", target, gpu)
        checks.check_per_sample("target", target.shape, shape)
        labels = per_sample.source(target, adapter.label_kind(target.dtype), shape)
    if weight is False:
        weights = CONVERTED
    elif weight is not None:
        checks.check_device(name, weight, gpu)
        checks.check_per_sample(name, weight.shape, shape)
        # On a GPU their sum is not waited for, and in the quotient by it they are float64.
        kind = per_sample.float_kind(adapter, weight, dtype) if gpu < 0 else None
        weights = CONVERTED if name in call.wanted else per_sample.source(weight, kind, shape)
    if upstream:
        each = shape if problem.reduction == "none" else ()
        checks.check_device("grad_output", upstream, gpu)
        checks.check_per_sample("grad_output", upstream.shape, each)
        kind = per_sample.float_kind(adapter, upstream, dtype)
        upstreams = per_sample.source(upstream, kind, each)
    return labels, weights, upstreams


def _runs(
    problem: Problem,
    dtype: str,
    place: Any,
    visits: tuple[Pass, ...],
    gpu: int,
    looks_up: bool,
) -> tuple[Any, ...]:
    """What runs, for each pass."""
    record: Any = problem.distance
    counts = len(record.parameters) if record else 0, len(problem.parameters)
    what = kernel_name(problem.loss, record and record.name, dtype)
    functions = record and record.functions
    spec = Spec(problem.loss, functions, counts, len(problem.operands), dtype, what)
    if not visits:
        return ()
    try:
        with importing():
            from fastcos.kernels import content
        shared = functions and content.shared(functions)
        spec = spec._replace(distance=shared)
        does = (LOOKED_UP, OF_TABLE) if looks_up else (ALIGNED,) * len(visits)
        runs = tuple(
            [place.bind(spec._replace(does=d), v, gpu) for d, v in zip(does, visits, strict=False)]
        )
        if functions:
            content.keep(functions, shared)
        return runs
    except (ImportError, OSError, RuntimeError):
        raise  # about the machine
    except Exception as error:
        if record:
            faults.explain(record, error)
        raise


def kernel_name(loss: Loss, distance: str | None, dtype: str) -> str:
    """What a person calls a kernel."""
    name = "paired_distance" if loss is identity else loss.function.__qualname__.partition(".")[0]
    options = dtype if distance is None else f"{distance}, {dtype}"
    return f"{name.strip('_')}({options})"
