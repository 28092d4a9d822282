"""Rows before and after the matrix products of a listwise loss.

Before: brought to unit length, moved to where they are near the origin, scaled, in the dtype of the
products. After: what the products have left, led back through that to the gradient of a row. A task
is one row.
"""

import math
from collections.abc import Callable
from typing import Any

from numba import float32, float64

from fastcos.kernels.arguments import Project, Unit
from fastcos.kernels.cpu.memory import doubles, floats, long_tuple
from fastcos.kernels.cpu.storage import Storage

# Squares of numbers within these, and sums of as many as there can be, are normal float64 numbers.
UNIT, PROJECT = len(Unit._fields), len(Project._fields)
_SMALL, _LARGE = 2.0**-480, 2.0**480


def unit_kernel(storage: Storage, wide: bool, jitable: Any) -> Callable[[int, int], int]:
    """``kernel(t, address of a Unit) -> 1``, to float64 rows if ``wide``, else to float32."""
    decode, source_row = storage.decode, storage.row
    array, number, size = (doubles, float64, 8) if wide else (floats, float32, 4)
    narrow = storage.size < 8

    @jitable(fastmath={"reassoc", "contract"})
    def square_of(row: Any, by: Any) -> Any:
        total = 0.0
        for k in range(row.shape[0]):
            x = float64(decode(row[k])) * by
            total += x * x
        return total

    @jitable()
    def largest_of(row: Any) -> Any:
        largest = 0.0
        for k in range(row.shape[0]):
            x = abs(float64(decode(row[k])))
            # A NaN is found by the sum of squares.
            largest = x if x > largest else largest
        return largest

    @jitable(fastmath={"reassoc", "contract"})
    def square_of_rounded(row: Any) -> Any:
        total = 0.0
        for k in range(row.shape[0]):
            total += float64(row[k]) * float64(row[k])
        return total

    def kernel(t: int, block: int) -> int:
        n = Unit(*long_tuple(block, UNIT))
        row = source_row(n.rows + t * n.stride, n.features)
        found = array(n.units + size * t * n.features, n.features)
        center = doubles(n.center, n.features)
        norm, last = 1.0, math.ldexp(1.0, n.exponent)
        if n.normalizes:
            by = 1.0
            if not narrow:
                # By a power of two, which rounds nothing.
                largest = largest_of(row)
                if 0 < largest < _SMALL or _LARGE < largest < math.inf:
                    by = math.ldexp(1.0, -max(min(math.frexp(largest)[1], 1000), -1000))
            norm = math.sqrt(square_of(row, by))
            inverse = 1 / norm if norm > 0 else norm * 0
            if n.center != 0:
                for k in range(n.features):
                    found[k] = number((float64(decode(row[k])) * by * inverse - center[k]) * last)
            else:
                for k in range(n.features):
                    found[k] = number(float64(decode(row[k])) * by * inverse * last)
            norm = norm / by
        elif n.center != 0:
            for k in range(n.features):
                found[k] = number((float64(decode(row[k])) - center[k]) * last)
        elif n.exponent != 0:
            for k in range(n.features):
                found[k] = number(float64(decode(row[k])) * last)
        else:
            for k in range(n.features):
                found[k] = number(decode(row[k]))
        square = square_of_rounded(found)
        doubles(n.norms + 8 * t, 1)[0] = norm
        doubles(n.squares + 8 * t, 1)[0] = square
        array(n.narrow_squares + size * t, 1)[0] = number(square)
        return 1

    return kernel


def project_kernel(storage: Storage, wide: bool, jitable: Any) -> Callable[[int, int], int]:
    """``kernel(t, address of a Project) -> 1``, of float64 slopes if ``wide``, else of float32."""
    # With u = x / |x|:  df/dx = (g - (g·u) u) / |x|,  g = df/du.
    # Distances of rows as they are: g = s x - Σ h y, of which the products have left the second.
    decode, encode, target_row = storage.decode, storage.encode, storage.row
    array, size = (doubles, 8) if wide else (floats, 4)
    result = float64 if storage.size == 8 else float32

    @jitable(fastmath={"reassoc", "contract"})
    def product_of(g: Any, u: Any) -> Any:
        total = 0.0
        for k in range(g.shape[0]):
            total += float64(g[k]) * float64(u[k])
        return total

    def kernel(t: int, block: int) -> int:
        n = Project(*long_tuple(block, PROJECT))
        g = array(n.slopes + size * t * n.features, n.features)
        u = array(n.units + size * t * n.features, n.features)
        target = target_row(n.target + t * n.stride, n.features)
        scale, along = doubles(n.scale, 1)[0], 0.0
        if n.normalizes:
            norm = doubles(n.norms + 8 * t, 1)[0]
            along = -product_of(g, u)
            scale = scale / norm if norm > 0 else norm * 0
        elif n.sums != 0:
            along = doubles(n.sums + 8 * t, 1)[0]
        if n.accumulate:
            for k in range(n.features):
                more = (float64(g[k]) + along * float64(u[k])) * scale
                target[k] = encode(result(float64(decode(target[k])) + more))
        else:
            for k in range(n.features):
                more = (float64(g[k]) + along * float64(u[k])) * scale
                target[k] = encode(result(more))
        return 1

    return kernel
