"""Kernels for arrays in the memory of this machine: which one, and how it is run.

The other place is :mod:`fastcos._on_device`, with the same functions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastcos import _plan
from fastcos.distances import Functions
from fastcos.kernels import WRITE
from fastcos.kernels.arguments import Addresses, Order, PerSample, host_packer
from fastcos.kernels.forks import importing
from fastcos.losses import Loss


class Run(NamedTuple):
    """What there is to be run for a pass.

    Args:
        kernel: The address of the kernel.
        words: How many numbers its arguments are.
        pack: What puts them into a block of memory.
        order: Those that say in which order samples are visited, and whether past the caches.
        modes: What becomes of each gradient.
        tasks: How many.
        parallel: Whether threads share them.
    """

    kernel: int
    words: int
    pack: Callable[..., None]
    order: Order
    modes: tuple[int, ...]
    tasks: int
    parallel: bool


def kernel(
    loss: Loss,
    distance: Functions | None,
    counts: tuple[int, int],
    operands: int,
    dtype: str,
    run: _plan.Pass,
    device: int,
    what: str,
) -> Run:
    """What does a pass, by the name that a person knows it by."""
    with importing():
        from fastcos.kernels import content, cpu

    if distance is None:
        compiled = cpu.pointwise(loss, counts, dtype, what)
    else:
        make, functions = cpu.pair if operands == 2 else cpu.triplet, content.shared(distance)
        compiled = make(loss, functions, counts, dtype, what)
        content.keep(distance, functions)
    words, pack = host_packer(operands, sum(counts))
    columns = run.geometry.shape[1]
    numbers = operands * run.outer * run.inner * run.features
    whole = distance is not None and all(mode == WRITE for mode in run.modes)
    past = whole and cpu.past_caches(numbers, dtype)
    order = Order(run.inner, run.segments, run.features, run.address, columns, past)
    return Run(compiled.address, words, pack, order, run.modes, run.tasks, run.parallel)


def total(
    adapter: Any,
    kernel: Run,
    run: _plan.Pass,
    dtype: Any,
    each: Any,
    shape: tuple[int, ...],
    samples: int,
    rows: Sequence[int],
    grads: Sequence[int],
    sums: Sequence[int],
    labels: PerSample,
    weight: PerSample,
    scale: PerSample,
    parameters: Sequence[float],
    like: Any,
) -> tuple[float, Any]:
    """Runs a kernel over a pass, everything by address.

    Returns:
        The sum of the losses, and in float64 each of them; None where ``each``, the dtype that
        they are wanted in, is None.
    """
    function, words, pack, order, modes, tasks, parallel = kernel
    # The arguments of the kernel, and behind them the losses: one piece of memory for both.
    block = np.empty(words + samples)
    pack(block, order, labels, weight, scale, Addresses(rows, grads, sums), modes, parameters)
    arguments = function, block, tasks, samples
    total = _launch()(arguments, adapter.THREADS) if parallel else _serial()(*arguments)
    return total, None if each is None else block[words:].reshape(shape)


def value(
    adapter: Any, total: float, denominator: float, dtype: Any, like: Any, device: int
) -> Any:
    """The sum over the denominator, as what is returned to the caller."""
    return adapter.scalar(total / denominator if denominator else 0.0, dtype, like)


@functools.cache
def _serial() -> Callable[..., float]:
    with importing():
        from fastcos.kernels import cpu

    return cpu.serial()


@functools.cache
def _launch() -> Callable[..., float]:
    with importing():
        from fastcos.kernels import cpu
    from fastcos.kernels.cpu import threads

    return functools.partial(threads.launch, cpu.threaded(), cpu.serial())
