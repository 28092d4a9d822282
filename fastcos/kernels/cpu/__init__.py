"""Kernels for the CPU: a compiled one for a loss, a distance and a dtype.

A kernel does one *task*, a run of samples; two loops over tasks, one of them with ``prange``, serve
all kernels. A task's work does not depend on which thread does it, and nothing is added up across
tasks in an order that threads could change: the results are the same bits for every thread count.

Accumulators are float64 for every dtype; of half types those of a few hundred numbers are float32,
where the distance finds that it suffices. Only the accumulating pass may reorder its sums, which is
what lets it vectorise; values, slopes and gradients are strict IEEE, so NaN goes where it should.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastcos.distances import Functions
from fastcos.kernels.cpu.compile import all_signs, cache_directory, kernel_of, task_loop
from fastcos.kernels.cpu.pair_kernel import pair_kernel
from fastcos.kernels.cpu.pointwise_kernel import pointwise_kernel
from fastcos.kernels.cpu.samples import Counts
from fastcos.kernels.cpu.storage import STORAGE
from fastcos.kernels.cpu.streaming import streaming_threshold
from fastcos.kernels.cpu.triplet_kernel import triplet_kernel, triplet_swap_kernel
from fastcos.losses import Loss

__all__ = [
    "all_signs",
    "cache_directory",
    "pair",
    "past_caches",
    "pointwise",
    "serial",
    "threaded",
    "triplet",
]


def pair(
    loss: Loss, distance: Functions, parameters: tuple[int, int], dtype: str, what: str = ""
) -> Any:
    """The kernel of a loss of one distance between two operands.

    Args:
        loss: The loss.
        distance: The functions of the distance.
        parameters: How many parameters the distance has, and how many the loss.
        dtype: Of the operands and gradients.
        what: What a person calls the kernel.

    Returns:
        Numba's callback; its ``address`` is what a loop takes.
    """
    return kernel_of(what, pair_kernel, loss.function, distance, Counts(2, *parameters), dtype)


def triplet(
    loss: Loss, distance: Functions, parameters: tuple[int, int], dtype: str, what: str = ""
) -> Any:
    """The kernel of a loss of the distances (a,p), (a,n) and, for a loss of three, (p,n).

    As :func:`pair`, with three operands.
    """
    body = triplet_swap_kernel if loss.arity == 3 else triplet_kernel
    return kernel_of(what, body, loss.function, distance, Counts(3, *parameters), dtype)


def pointwise(loss: Loss, parameters: tuple[int, int], dtype: str, what: str = "") -> Any:
    """The kernel of a loss of distances that were computed elsewhere.

    As :func:`pair`, with rows of length 1, the distances, as operands.
    """
    counts = Counts(loss.arity, *parameters)
    return kernel_of(what, pointwise_kernel, loss.function, None, counts, dtype)


def serial() -> Callable[..., float]:
    """The loop over tasks on the calling thread.

    Its arguments: the address of the kernel, the block of memory into which
    :func:`fastcos.kernels.arguments.host_packer` packed the kernel's arguments, how many tasks and
    how many samples. The end of the block is for the weighted losses of the samples.

    Returns:
        The loop; it returns the sum of the losses.
    """
    return task_loop(parallel=False)


def threaded() -> Callable[..., float]:
    """:func:`serial`, shared out to threads."""
    return task_loop(parallel=True)


def past_caches(numbers: int, dtype: str) -> bool:
    """Whether gradients are faster stored past the caches, for rows of so many numbers in all."""
    return 2 * numbers * STORAGE[dtype].size >= streaming_threshold()
