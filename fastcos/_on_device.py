"""Kernels for arrays in the memory of a GPU: which one, and how it is launched.

Nothing here waits for the device. What is launched goes to the stream that the caller is using, and
what it leaves is read by what is launched after it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from fastcos import _plan
from fastcos.distances import Functions
from fastcos.kernels import ADD, DOUBLES, WRITE
from fastcos.kernels._forks import importing
from fastcos.kernels.arguments import Addresses, device_arguments, device_count
from fastcos.losses import Loss


class Launch(NamedTuple):
    """What there is to be launched for a pass.

    Args:
        kernel: ``(stream, blocks, integers, floats) -> None``.
        blocks: How many.
        shift: Logarithm of how many threads take a row.
        geometry: Of the pass, one number after another.
        skip_address: The address of a number, or 0: where it is 1, the kernel does nothing.
        skip_kind: How that is stored.
    """

    kernel: Callable[..., None]
    blocks: int
    shift: int
    geometry: tuple[int, ...]
    skip_address: int = 0
    skip_kind: int = DOUBLES


def kernel(
    loss: Loss,
    distance: Functions | None,
    counts: tuple[int, int],
    operands: int,
    dtype: str,
    run: _plan.Pass,
    device: int,
    what: str,
) -> Launch:
    """What does a pass on a device, by the name that a person knows it by."""
    with importing():
        from fastcos.kernels import _content, cuda
        from fastcos.kernels.cuda import launch

    functions = distance and _content.shared(distance)
    columns = run.geometry.shape[1]
    written = "summed" if ADD in run.modes else "written" if WRITE in run.modes else "none"
    layout = cuda.layout(run.features, dtype)
    variant = cuda.Variant(dtype, *counts, columns, written, layout.wide)
    if functions is None:
        make = functools.partial(cuda.pointwise, loss, variant)
    else:
        body = cuda.pair if operands == 2 else cuda.triplet
        make = functools.partial(body, loss, functions, variant)
    numbers = device_count(operands, columns, sum(counts))
    found = launch.launcher(make, numbers, layout, device, what)
    if distance and functions:
        _content.keep(distance, functions)
    geometry = tuple(run.geometry.ravel().tolist())
    blocks = -(-(run.tasks << layout.shift) // layout.threads)
    return Launch(found, blocks, layout.shift, geometry)


def total(
    adapter: Any,
    kernel: Launch,
    run: _plan.Pass,
    dtype: Any,
    each: Any,
    shape: tuple[int, ...],
    samples: int,
    rows: Sequence[int],
    grads: Sequence[int],
    sums: Sequence[int],
    labels: _plan.Number,
    weight: _plan.Number,
    scale: _plan.Number,
    parameters: Sequence[float],
    like: Any,
) -> tuple[Any, Any]:
    """Launches a kernel over a pass, everything by address.

    Returns:
        The sums of the blocks, and the loss of each sample; None where ``each`` is None.
    """
    partial = adapter.scratch((kernel.blocks,), like)
    losses = None
    if each is not None:
        # What is to be another dtype in the end is not rounded to the one computed in before.
        same = each == dtype
        losses = adapter.new(shape, dtype, like) if same else adapter.scratch(shape, like)
    fixed = (  # as DeviceIntegers has them
        0 if losses is None else adapter.address(losses),
        int(losses is not None and adapter.float_name(losses.dtype) == "float64"),
        adapter.address(partial),
        run.tasks,
        run.inner,
        run.segments,
        run.features,
        kernel.shift,
        *labels[:3],
        *weight[:3],
        *scale[:3],
        kernel.skip_address,
        kernel.skip_kind,
    )
    constants, addresses = (labels[3], weight[3], scale[3]), Addresses(rows, grads, sums)
    integers, floats = device_arguments(
        fixed, constants, addresses, run.modes, kernel.geometry, parameters
    )
    kernel.kernel(adapter.stream(), kernel.blocks, integers, floats)
    return partial, losses


def value(adapter: Any, total: Any, denominator: Any, dtype: Any, like: Any, device: int) -> Any:
    """The sum over the denominator, as what is returned to the caller: an array of one number."""
    found = adapter.new((), dtype, like)
    constant = isinstance(denominator, float)
    integers = (
        adapter.address(total),
        math.prod(total.shape),
        0 if constant else adapter.address(denominator),
        adapter.address(found),
    )
    floats = (denominator if constant else 1.0,)
    finish = _finish(adapter.float_name(dtype), device)
    finish(adapter.stream(), 1, integers, floats)
    return found


@functools.cache
def _finish(dtype: str, device: int) -> Callable[..., None]:
    with importing():
        from fastcos.kernels import cuda
        from fastcos.kernels.cuda import launch

    make, what = functools.partial(cuda.finishing, dtype), f"the sum of losses ({dtype})"
    return launch.launcher(make, (4, 1), cuda.FINISHING, device, what)
