"""Kernels for arrays in the memory of a GPU: which one runs a pass, and how it is launched.

Nothing here waits for the device. What is launched goes to the stream that the caller is using, and
what it leaves is read by what is launched after it.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from fastcos.engine.passes import Pass
from fastcos.kernels import ADD, ALIGNED, DOUBLES, LOOKED_UP, OF_TABLE, WRITE, Spec
from fastcos.kernels.arguments import DeviceOfTable, Numbers, OfTable, Tables, device_count
from fastcos.kernels.forks import importing

# How many int64 and float64 numbers the kernels of the gradient of a table take.
_COUNT_OF_TABLE = (len(DeviceOfTable._fields), 0)


class Run(NamedTuple):
    """A kernel loaded on a device, bound to a pass."""

    kernel: Callable[..., None]  # ``(stream, blocks, integers, floats) -> None``
    blocks: int  # how many, of the tasks of the pass
    threads: int  # of a block
    team_shift: int  # logarithm of how many threads take a row
    visit: Pass  # the pass
    geometry: tuple[int, ...]  # of the pass, one number after another
    # The address of a number that makes the pass superfluous where it is 1, or 0, and how that is
    # stored
    skip: tuple[int, int] = (0, DOUBLES)


def bind(spec: Spec, visit: Pass, gpu: int) -> Run:
    """The kernel for a pass on a device, compiled or loaded."""
    with importing():
        from fastcos.kernels.cuda import launch

    make, count, layout = _kernel(spec, visit)
    found = launch.launcher(make, count, layout.threads, gpu, spec.what)
    geometry = tuple(visit.geometry.ravel().tolist())
    blocks = _blocks(visit.tasks, layout.shift, layout.threads)
    return Run(found, blocks, layout.threads, layout.shift, visit, geometry)


def _blocks(tasks: int, team_shift: int, threads: int) -> int:
    """How many blocks of so many threads the teams of so many tasks are."""
    return -(-(tasks << team_shift) // threads)


def compile_for(capability: tuple[int, int], spec: Spec, visit: Pass) -> None:
    """Compiles the kernels of a pass and of its sum to disk, where they are found by a device."""
    with importing():
        from fastcos.kernels.cuda import binaries

    make, count, layout = _kernel(spec, visit)
    binaries.binary(make.func, make.args, count, layout.threads, capability, spec.what)
    if spec.does == OF_TABLE:
        make, count, threads, what = _joining(spec.dtype, layout.threads)
    else:
        make, count, threads, what = _finishing(spec.dtype)
    binaries.binary(make.func, make.args, count, threads, capability, what)


def _kernel(spec: Spec, visit: Pass) -> tuple[functools.partial[Any], tuple[int, int], Any]:
    """What makes the kernel of a pass, how many numbers it takes, and how threads share rows."""
    with importing():
        from fastcos.kernels import cuda

    columns, parameters = visit.geometry.shape[1], sum(spec.counts)
    distance: Any = spec.distance
    if spec.does == OF_TABLE:
        layout = cuda.layout_of_table(visit.features, spec.dtype)
        # The same for all losses of as many distances.
        variant = cuda.Variant(spec.dtype, spec.counts[0], 0)
        make = functools.partial(cuda.of_table, spec.loss.arity, distance, variant)
        return make, _COUNT_OF_TABLE, layout
    written = "summed" if ADD in visit.modes else "written" if WRITE in visit.modes else "none"
    layout = cuda.layout(visit.features, spec.dtype)
    variant = cuda.Variant(spec.dtype, *spec.counts, columns, written, layout.wide)
    if spec.does == LOOKED_UP:
        make = functools.partial(cuda.looked_up, spec.loss, distance, variant)
    elif distance is None:
        make = functools.partial(cuda.pointwise, spec.loss, variant)
    else:
        body = cuda.pair if spec.operands == 2 else cuda.triplet
        make = functools.partial(body, spec.loss, distance, variant)
    return make, device_count(spec.operands, columns, parameters, spec.does != ALIGNED), layout


def run(
    plan: Any,
    bound: Run,
    addresses: tuple[Sequence[int], Sequence[int], Sequence[int]],
    numbers: tuple[Numbers, Numbers, Numbers],
    constants: tuple[float, float, float],
    parameters: Sequence[float],
    losses: Any,
    like: Any,
) -> tuple[Any, Any]:
    """Launches a pass of a plan; as :func:`fastcos.engine.host.run`.

    Returns:
        The sums of the blocks, and the loss of each sample; None where ``losses`` is None.
    """
    rows, grads, sums = addresses
    partial, each, fixed = _prepared(plan, bound, numbers, losses, like)
    integers = *fixed, *rows, *grads, *sums, *bound.visit.modes, *bound.geometry
    bound.kernel(plan.adapter.stream(), bound.blocks, integers, (*constants, *parameters))
    return partial, each


def _prepared(
    plan: Any, bound: Run, numbers: tuple[Numbers, Numbers, Numbers], losses: Any, like: Any
) -> tuple[Any, Any, tuple[int, ...]]:
    """Memory for the sums of the blocks and for losses, and the fixed integers of a kernel."""
    adapter, visit, (labels, weights, scales) = plan.adapter, bound.visit, numbers
    partial, each = adapter.scratch((bound.blocks,), like), None
    if losses is not None:
        # What is to be another dtype in the end is not rounded to the one computed in before.
        same, shape = losses == plan.dtype, plan.shape
        each = adapter.new(shape, plan.dtype, like) if same else adapter.scratch(shape, like)
    fixed = (
        0 if each is None else adapter.address(each),
        int(each is not None and adapter.float_name(each.dtype) == "float64"),
        adapter.address(partial),
        *(visit.tasks, visit.inner, visit.segments, visit.features, bound.team_shift),
        *(*labels, *weights, *scales, *bound.skip),
    )
    return partial, each, fixed


def look_up(
    plan: Any,
    tables: Tables,
    kept: tuple[int, int],
    numbers: tuple[Numbers, Numbers, Numbers],
    constants: tuple[float, float, float],
    parameters: Sequence[float],
    losses: Any,
    like: Any,
) -> tuple[Any, Any]:
    """Visits the samples of a plan with rows of tables; as :func:`fastcos.engine.host.look_up`.

    Returns:
        As :func:`run`.
    """
    bound = plan.runs[0]
    partial, each, fixed = _prepared(plan, bound, numbers, losses, like)
    rows = [how.rows for how in plan.lookup.reads]
    integers = (
        *(*fixed, *tables.address, *tables.index, *tables.stride, *rows),
        *(*kept, *bound.geometry),
    )
    bound.kernel(plan.adapter.stream(), bound.blocks, integers, (*constants, *parameters))
    return partial, each


def gradient(
    plan: Any,
    kept: tuple[int, int],
    of: OfTable,
    tasks: int,
    parameters: Sequence[float],
    like: Any,
) -> None:
    """Makes the gradient of a table in so many tasks; as :func:`fastcos.engine.host.gradient`.

    Rows that no sample names are left as they are.
    """
    bound, adapter, features = plan.runs[1], plan.adapter, plan.lookup.features
    sums = adapter.scratch((tasks, 2, features), like)
    # A flag is launched as an integer.
    into = map(int, of)
    integers = (tasks, features, bound.team_shift, *kept, adapter.address(sums), *into)
    blocks, stream = _blocks(tasks, bound.team_shift, bound.threads), adapter.stream()
    bound.kernel(stream, blocks, integers, ())
    if tasks > 1:
        join = _join(adapter.float_name(plan.dtype), bound.threads, plan.device)
        join(stream, blocks, integers, ())


def value(plan: Any, total: Any, denominator: Any, dtype: Any, like: Any) -> Any:
    """The sum over the denominator, as what is returned to the caller: an array of one number."""
    adapter = plan.adapter
    found = adapter.new((), dtype, like)
    constant = isinstance(denominator, float)
    integers = (
        adapter.address(total),
        math.prod(total.shape),
        0 if constant else adapter.address(denominator),
        adapter.address(found),
    )
    floats = (denominator if constant else 1.0,)
    finish = _finish(adapter.float_name(dtype), plan.device)
    finish(adapter.stream(), 1, integers, floats)
    return found


@functools.cache
def _finish(dtype: str, gpu: int) -> Callable[..., None]:
    with importing():
        from fastcos.kernels.cuda import launch

    make, count, threads, what = _finishing(dtype)
    return launch.launcher(make, count, threads, gpu, what)


@functools.cache
def _join(dtype: str, threads: int, gpu: int) -> Callable[..., None]:
    with importing():
        from fastcos.kernels.cuda import launch

    make, count, threads, what = _joining(dtype, threads)
    return launch.launcher(make, count, threads, gpu, what)


def _joining(dtype: str, threads: int) -> tuple[functools.partial[Any], tuple[int, int], int, str]:
    """The same of the kernel that adds up the parts of the gradients of rows."""
    with importing():
        from fastcos.kernels import cuda

    make, what = functools.partial(cuda.joining, dtype), f"the sum of gradients ({dtype})"
    return make, _COUNT_OF_TABLE, threads, what


def _finishing(dtype: str) -> tuple[functools.partial[Any], tuple[int, int], int, str]:
    """What makes the kernel of the last sum, the numbers it takes, its threads, and its name."""
    with importing():
        from fastcos.kernels import cuda

    make, what = functools.partial(cuda.finishing, dtype), f"the sum of losses ({dtype})"
    return make, (4, 1), cuda.FINISHING_THREADS, what
