"""Kernels for arrays in the memory of this machine: which one, and how it is run.

The other place is :mod:`fastcos._on_device`, with the same functions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcos import _plan
from fastcos.distances import Functions
from fastcos.losses import Loss


def kernel(
    loss: Loss,
    distance: Functions | None,
    counts: tuple[int, int],
    operands: int,
    dtype: str,
    run: _plan.Pass,
    device: int,
) -> tuple[int, Callable[..., bytes]]:
    """The address of what does a pass, and what lays out its arguments."""
    from fastcos.kernels import cpu

    if distance is None:
        compiled = cpu.pointwise(loss, counts, dtype)
    else:
        compiled = (cpu.pair if operands == 2 else cpu.triplet)(loss, distance, counts, dtype)
    return compiled.address, cpu.packer(operands, sum(counts))


def losses(
    adapter: Any, shape: tuple[int, ...], dtype: Any, result: Any, each: bool, like: Any
) -> Any:
    """Memory for the loss of each sample, whether or not ``each`` is wanted."""
    return adapter.scratch(shape, like)


def total(
    adapter: Any,
    kernel: Any,
    run: _plan.Pass,
    losses: Any,
    samples: int,
    rows: Sequence[int],
    grads: Sequence[int],
    sums: Sequence[int],
    labels: _plan.Number,
    weight: _plan.Number,
    scale: _plan.Number,
    parameters: Sequence[float],
    like: Any,
) -> float:
    """Runs a kernel over a pass, everything by address; the sum of the losses."""
    function, pack = kernel
    address = adapter.address(losses)
    packed = pack(
        address,
        run.inner,
        run.segments,
        run.features,
        run.address,
        run.geometry.shape[1],
        *labels[:3],
        *weight[:3],
        *scale[:3],
        *rows,
        *grads,
        *sums,
        *run.modes,
        labels[3],
        weight[3],
        scale[3],
        *parameters,
    )
    arguments = function, np.frombuffer(packed, np.int64), run.tasks, address, samples
    if run.parallel:
        return _launch()(arguments, adapter.THREADS)
    return _serial()(*arguments)


def value(
    adapter: Any, total: float, denominator: float, dtype: Any, like: Any, device: int
) -> Any:
    """The sum over the denominator, as what is returned to the caller."""
    return adapter.scalar(total / denominator if denominator else 0.0, dtype, like)


@functools.cache
def _serial() -> Callable[..., float]:
    from fastcos.kernels import cpu

    return cpu.serial()


@functools.cache
def _launch() -> Callable[..., float]:
    from fastcos.kernels import _threads, cpu

    return functools.partial(_threads.launch, cpu.threaded(), cpu.serial())
