"""What the memory of this machine gives: the most that a forward pass or a gradient could reach.

A forward pass reads its operands, so its ceiling is a sum over the same arrays. Value and gradient
read k arrays and write k arrays, and so does the copy. Both share their work out among the same
threads as the kernels, except where the arrays are so small that starting threads takes longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from numba import prange

#: Elements of one array from which the ceilings use all threads.
SHARE_FROM = 1 << 15
# Elements that a thread takes at a time: one array after another, in runs that fit the L1 cache.
_RUN = 2048


def _sum(parallel: bool) -> Any:
    @numba.njit(parallel=parallel, fastmath=True)
    def total(array: Any) -> Any:
        result = array.dtype.type(0)
        for i in prange(array.size):
            result += array[i]
        return result

    return total


def _copy(parallel: bool) -> Any:
    @numba.njit(parallel=parallel)
    def copy(sources: Any, targets: Any) -> None:
        size = sources[0].size
        for run in prange((size + _RUN - 1) // _RUN):
            first, last = run * _RUN, min(size, (run + 1) * _RUN)
            for a in range(len(sources)):
                source, target = sources[a], targets[a]
                for i in range(first, last):
                    target[i] = source[i]

    return copy


_SUM = {parallel: _sum(parallel) for parallel in (False, True)}
_COPY = {parallel: _copy(parallel) for parallel in (False, True)}


def read(arrays: Sequence[Any]) -> None:
    """Reads every array once."""
    total = _SUM[arrays[0].size >= SHARE_FROM]
    for array in arrays:
        total(array)


def copy(sources: Sequence[Any], targets: Sequence[Any]) -> None:
    """Reads every source and writes every target once."""
    _COPY[sources[0].size >= SHARE_FROM](tuple(sources), tuple(targets))


def numpy_copy(sources: Sequence[Any], targets: Sequence[Any]) -> None:
    """The same with NumPy, on one thread."""
    for source, target in zip(sources, targets, strict=True):
        np.copyto(target, source)
