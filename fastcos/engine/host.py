"""Kernels for arrays in the memory of this machine: which one runs a pass, and how it is run.

The other place is :mod:`fastcos.engine.device`, with the same functions.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcos.engine.passes import Pass
from fastcos.kernels import WRITE, Spec
from fastcos.kernels.arguments import Numbers, Order, host_packer
from fastcos.kernels.forks import importing


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """A compiled kernel, bound to a pass."""

    kernel: int  # the address of the kernel
    words: int  # how many numbers its arguments are
    pack_into: Callable[..., None]  # what puts them into a block of memory
    order: Order  # in which samples are visited
    visit: Pass
    modes: tuple[int, ...]  # those of the pass
    tasks: int
    parallel: bool  # whether threads share the tasks


def bind(spec: Spec, visit: Pass, gpu: int) -> Run:
    """The kernel for a pass, compiled or loaded."""
    with importing():
        from fastcos.kernels.cpu import compile, storage, streaming

    compiled = compile.kernel_of(spec)
    words, pack_into = host_packer(spec.operands, sum(spec.counts))
    geometry = visit.geometry
    whole = spec.distance is not None and all(mode == WRITE for mode in visit.modes)
    numbers = spec.operands * visit.outer * visit.inner * visit.features
    # As much is written as is read.
    moved = 2 * numbers * storage.STORAGE[spec.dtype].size
    past_caches = whole and moved >= streaming.streaming_threshold()
    address, columns = geometry.ctypes.data, geometry.shape[1]
    order = Order(visit.inner, visit.segments, visit.features, address, columns, past_caches)
    ran = visit, visit.modes, visit.tasks, visit.parallel
    return Run(compiled.address, words, pack_into, order, *ran)


def run(
    plan: Any,
    bound: Run,
    addresses: tuple[Sequence[int], Sequence[int], Sequence[int]],
    numbers: tuple[Numbers, Numbers, Numbers],
    constants: tuple[float, float, float],
    parameters: Sequence[float],
    losses: Any,
    like: Any,
) -> tuple[float, Any]:
    """Runs a pass of a plan.

    Args:
        plan: The plan.
        bound: The kernel of the pass.
        addresses: Of the operands, of the gradients and of their sums; 0 for what is not wanted.
        numbers: Labels, weights and scales.
        constants: Theirs.
        parameters: Of the distance, then of the loss.
        losses: The dtype in which the loss of each sample is wanted, or None.
        like: An array where memory is to be allocated.

    Returns:
        The sum of the losses, and in float64 each of them; None where ``losses`` is None.
    """
    (rows, grads, sums), (labels, weights, scales) = addresses, numbers
    # The arguments of the kernel, and behind them the losses: one piece of memory for both.
    words, samples = bound.words, plan.samples
    block = np.empty(words + samples)
    order, modes = bound.order, bound.modes
    bound.pack_into(
        *(block, 0, 0, *order, *labels, *weights, *scales, *rows, *grads, *sums, *modes),
        *constants,
        *parameters,
    )
    if bound.parallel:
        total = _launch()((bound.kernel, block, bound.tasks, samples), plan.adapter.THREADS)
    else:
        total = _serial()(bound.kernel, block, bound.tasks, samples)
    if losses is None:
        return total, None
    each = block[words:]
    # A view less, where it has the shape: 0.15 of the 8 us of a small call.
    return total, each if len(plan.shape) == 1 else each.reshape(plan.shape)


def value(plan: Any, total: float, denominator: float, dtype: Any, like: Any) -> Any:
    """The sum over the denominator, as what is returned to the caller."""
    return plan.adapter.scalar(total / denominator if denominator else 0.0, dtype, like)


@functools.cache
def _serial() -> Callable[..., float]:
    """The loop over tasks on this thread."""
    with importing():
        from fastcos.kernels.cpu import compile

    return compile.task_loop(parallel=False)  # type: ignore[no-any-return]


@functools.cache
def _launch() -> Callable[..., float]:
    """What has threads share the tasks where they may."""
    with importing():
        from fastcos.kernels.cpu import compile, threads

    return functools.partial(threads.launch, compile.task_loop(parallel=True), _serial())
