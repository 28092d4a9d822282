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
from fastcos.kernels.forks import importing
from fastcos.losses import Loss


class Launch(NamedTuple):
    """What there is to be launched for a pass.

    Args:
        kernel: ``(stream, blocks, integers, floats) -> None``.
        blocks: How many.
        shift: Logarithm of how many threads take a row.
        geometry: Of the pass, one number after another.
        unless: The address of a number that makes it superfluous where it is 1, or 0, and how that
            is written.
    """

    kernel: Callable[..., None]
    blocks: int
    shift: int
    geometry: tuple[int, ...]
    unless: tuple[int, int] = (0, DOUBLES)


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
        from fastcos.kernels import _cubin, content, cuda

    functions = distance and content.shared(distance)
    columns = run.geometry.shape[1]
    written = "summed" if ADD in run.modes else "written" if WRITE in run.modes else "none"
    layout = cuda.layout(run.features, dtype)
    variant = cuda.Variant(dtype, counts, columns, written, layout.wide)
    if functions is None:
        make = functools.partial(cuda.pointwise, loss, variant)
    else:
        body = cuda.pair if operands == 2 else cuda.triplet
        make = functools.partial(body, loss, functions, variant)
    found = _cubin.kernel(make, cuda.signature(operands, variant), layout, device, what)
    if distance and functions:
        content.keep(distance, functions)
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
    integers = (
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
        *kernel.unless,
        *rows,
        *grads,
        *sums,
        *run.modes,
        *kernel.geometry,
    )
    floats = labels[3], weight[3], scale[3], *parameters
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
        from fastcos.kernels import _cubin, cuda

    make, what = functools.partial(cuda.finishing, dtype), f"the sum of losses ({dtype})"
    return _cubin.kernel(make, (4, 1), cuda.FINISHING, device, what)
