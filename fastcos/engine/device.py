"""Kernels for arrays in the memory of a GPU: which one runs a pass, and how it is launched.

Nothing here waits for the device. What is launched goes to the stream that the caller is using, and
what it leaves is read by what is launched after it.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from fastcos.engine.passes import Pass
from fastcos.kernels import ADD, DOUBLES, WRITE, Spec
from fastcos.kernels.arguments import Numbers, device_count
from fastcos.kernels.forks import importing


class Run(NamedTuple):
    """A kernel loaded on a device, bound to a pass."""

    kernel: Callable[..., None]  # ``(stream, blocks, integers, floats) -> None``
    blocks: int  # how many
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
    blocks = -(-(visit.tasks << layout.shift) // layout.threads)
    return Run(found, blocks, layout.shift, visit, geometry)


def compile_for(capability: tuple[int, int], spec: Spec, visit: Pass) -> None:
    """Compiles the kernels of a pass and of its sum to disk, where they are found by a device."""
    with importing():
        from fastcos.kernels.cuda import binaries

    make, count, layout = _kernel(spec, visit)
    binaries.binary(make.func, make.args, count, layout.threads, capability, spec.what)
    make, count, threads, what = _finishing(spec.dtype)
    binaries.binary(make.func, make.args, count, threads, capability, what)


def _kernel(spec: Spec, visit: Pass) -> tuple[functools.partial[Any], tuple[int, int], Any]:
    """What makes the kernel of a pass, how many numbers it takes, and how threads share rows."""
    with importing():
        from fastcos.kernels import cuda

    columns = visit.geometry.shape[1]
    written = "summed" if ADD in visit.modes else "written" if WRITE in visit.modes else "none"
    layout = cuda.layout(visit.features, spec.dtype)
    variant = cuda.Variant(spec.dtype, *spec.counts, columns, written, layout.wide)
    if spec.distance is None:
        make = functools.partial(cuda.pointwise, spec.loss, variant)
    else:
        body = cuda.pair if spec.operands == 2 else cuda.triplet
        make = functools.partial(body, spec.loss, spec.distance, variant)
    return make, device_count(spec.operands, columns, sum(spec.counts)), layout


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
    adapter, visit = plan.adapter, bound.visit
    (rows, grads, sums), (labels, weights, scales) = addresses, numbers
    partial, each = adapter.scratch((bound.blocks,), like), None
    if losses is not None:
        # What is to be another dtype in the end is not rounded to the one computed in before.
        same, shape = losses == plan.dtype, plan.shape
        each = adapter.new(shape, plan.dtype, like) if same else adapter.scratch(shape, like)
    integers = (
        0 if each is None else adapter.address(each),
        int(each is not None and adapter.float_name(each.dtype) == "float64"),
        adapter.address(partial),
        *(visit.tasks, visit.inner, visit.segments, visit.features, bound.team_shift),
        *(*labels, *weights, *scales, *bound.skip),
        *(*rows, *grads, *sums, *visit.modes, *bound.geometry),
    )
    bound.kernel(adapter.stream(), bound.blocks, integers, (*constants, *parameters))
    return partial, each


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


def _finishing(dtype: str) -> tuple[functools.partial[Any], tuple[int, int], int, str]:
    """What makes the kernel of the last sum, the numbers it takes, its threads, and its name."""
    with importing():
        from fastcos.kernels import cuda

    make, what = functools.partial(cuda.finishing, dtype), f"the sum of losses ({dtype})"
    return make, (4, 1), cuda.FINISHING_THREADS, what
