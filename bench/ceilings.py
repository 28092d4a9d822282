"""What the memory of this machine gives: the most that a forward pass or a gradient could reach.

A forward pass reads its operands, so its ceiling is a sum over the same arrays. Value and gradient
read k arrays and write k arrays, and so does the copy. Both walk all their arrays at once, as the
kernels do, and share the work out among the same threads, except where the arrays are so small that
starting threads takes longer. Half types move as 64-bit integers: Numba has no bfloat16, and what
the numbers are makes no difference to a memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
from numba import prange

#: Bytes of one array from which the ceilings use all threads.
SHARE_FROM = 1 << 17


def _sums(parallel: bool) -> tuple[Callable[..., Any], ...]:
    jit = numba.njit(parallel=parallel, fastmath=True)

    @jit
    def one(a: Any) -> Any:
        total = a.dtype.type(0)
        for i in prange(a.size):
            total += a[i]
        return total

    @jit
    def two(a: Any, b: Any) -> Any:
        total = a.dtype.type(0)
        for i in prange(a.size):
            total += a[i] + b[i]
        return total

    @jit
    def three(a: Any, b: Any, c: Any) -> Any:
        total = a.dtype.type(0)
        for i in prange(a.size):
            total += a[i] + b[i] + c[i]
        return total

    return one, two, three


def _copies(parallel: bool) -> tuple[Callable[..., None], ...]:
    jit = numba.njit(parallel=parallel)

    @jit
    def one(a: Any, to_a: Any) -> None:
        for i in prange(a.size):
            to_a[i] = a[i]

    @jit
    def two(a: Any, b: Any, to_a: Any, to_b: Any) -> None:
        for i in prange(a.size):
            to_a[i] = a[i]
            to_b[i] = b[i]

    @jit
    def three(a: Any, b: Any, c: Any, to_a: Any, to_b: Any, to_c: Any) -> None:
        for i in prange(a.size):
            to_a[i] = a[i]
            to_b[i] = b[i]
            to_c[i] = c[i]

    return one, two, three


_SUMS = {parallel: _sums(parallel) for parallel in (False, True)}
_COPIES = {parallel: _copies(parallel) for parallel in (False, True)}


def flattened(array: Any) -> Any:
    """The same bytes in one dimension; of a half type whole groups of four numbers."""
    flat = array.reshape(-1)
    return flat if flat.itemsize > 2 else flat[: flat.size // 4 * 4].view(np.int64)


def read(arrays: Sequence[Any]) -> Callable[[], None]:
    """What reads up to three arrays of one size once."""
    function = _SUMS[arrays[0].nbytes >= SHARE_FROM][len(arrays) - 1]
    flat = [flattened(array) for array in arrays]
    return lambda: function(*flat)


def copy(sources: Sequence[Any], targets: Sequence[Any]) -> Callable[[], None]:
    """What reads up to three sources and writes as many targets, of one size, once."""
    function = _COPIES[sources[0].nbytes >= SHARE_FROM][len(sources) - 1]
    flat = [flattened(array) for array in (*sources, *targets)]
    return lambda: function(*flat)


def numpy_copy(sources: Sequence[Any], targets: Sequence[Any]) -> Callable[[], None]:
    """The same with NumPy, on one thread."""
    pairs = list(zip(targets, sources, strict=True))

    def run() -> None:
        for target, source in pairs:
            np.copyto(target, source)

    return run
