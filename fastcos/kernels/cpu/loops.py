"""Compiled code that no loss or distance changes: loops over tasks, and the check of labels."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from numba import prange

from fastcos.kernels import DOUBLES, FLOATS, LONGS
from fastcos.kernels.cache import compiled, digest, folder_of
from fastcos.kernels.cpu.compile import digest_of_sources
from fastcos.kernels.cpu.emit import call
from fastcos.kernels.cpu.memory import doubles, floats, int8s, longs
from fastcos.kernels.functions import jitable


@functools.cache
def task_loop(parallel: bool) -> Any:
    """The loop over the tasks of any kernel; threads share a parallel one."""

    def loop(kernel: int, block: Any, tasks: int, samples: int) -> float:
        address, done = block.ctypes.data, 0
        # Filled in here, as to ask for the address of the block takes Python 0.2 us.
        losses = address + 8 * (block.size - samples)
        longs(address, 1)[0] = losses
        for t in prange(tasks):
            done += call(kernel, t, address)
        if done < tasks:  # a kernel returns 1, and 0 where a function raised
            raise RuntimeError("a function of the distance raised the exception shown on stderr")
        return _sum(doubles(losses, samples))

    loop.__qualname__ += f"_{digest(digest_of_sources(), str(parallel))}"
    what = "the loop that threads share" if parallel else "the loop over samples"
    return compiled(loop, what, parallel)


@jitable(fastmath={"reassoc", "contract"})
def _sum(values: Any) -> float:
    total = 0.0
    for i in range(values.shape[0]):
        total += values[i]
    return total


@functools.cache
def all_signs() -> Callable[[int, int, int], bool]:
    """The kernel that says whether each of ``count`` labels of a kind at an address is 1 or -1."""

    def kernel(address: int, count: int, kind: int) -> bool:
        wrong = 0
        if kind == DOUBLES:
            for label in doubles(address, count):
                wrong += abs(label) != 1
        elif kind == FLOATS:
            for label in floats(address, count):
                wrong += abs(label) != 1
        elif kind == LONGS:
            for label in longs(address, count):
                wrong += (label != 1) & (label != -1)
        else:
            for label in int8s(address, count):
                wrong += (label != 1) & (label != -1)
        return wrong == 0

    kernel.__qualname__ += f"_{digest_of_sources()}"
    return compiled(kernel, "the check of labels")


def cache_directory() -> str:
    """Where Numba keeps compiled kernels."""
    return str(folder_of(task_loop) or "none that can be written to")
