"""Rows before and after the matrix products of a listwise loss, on a GPU: a warp has a row.

As on the CPU: :mod:`fastcos.kernels.cpu.unit`.
"""

import math
from collections.abc import Callable
from typing import Any

from fastcos.kernels.arguments import Project, Unit
from fastcos.kernels.cuda.teams import ROW_SHIFT, WARP, WHOLE_WARP, thread_of
from fastcos.kernels.functions import jitable

# Numbers beyond these are brought nearer to 1 before they are squared, by a power of two, which
# rounds nothing.
_SMALL, _LARGE, _UP, _DOWN = 2.0**-480, 2.0**480, 2.0**600, 2.0**-600
#: How many int64 and float64 numbers the kernels take: the scale of gradients comes as a number
#: where it has no address.
UNIT, PROJECT = (1 + len(Unit._fields), 0), (1 + len(Project._fields), 1)


def units(dtype: str, products: str, gpu: Any) -> Callable[..., None]:
    """The kernel that makes rows of a dtype ready for products of another: ``(rows, *Unit)``."""
    cuda, float64 = gpu.cuda, gpu.float64
    get_double, put_double = gpu.get_double, gpu.put_double
    source, target = gpu.STORAGE[dtype], gpu.STORAGE[products]
    get, size, put, to_size, number = (
        source.get,
        source.size,
        target.put,
        target.size,
        target.number,
    )
    narrow = size < 8
    sum_of_warp, largest_of_warp = _of_warp(gpu)

    @jitable()
    def scale_of(row: Any, lane: Any, features: Any) -> Any:
        """What a row is multiplied by before it is squared."""
        if narrow:
            return 1.0
        largest, k = float64(0.0), lane
        while k < features:
            x = abs(float64(get(row + size * k)))
            # A NaN is found by the sum of squares.
            largest = x if x > largest else largest
            k += WARP
        largest = largest_of_warp(largest)
        if largest == 0 or largest == math.inf or _SMALL <= largest <= _LARGE:
            return 1.0
        return _UP if largest < _SMALL else _DOWN

    @jitable()
    def length_of(row: Any, lane: Any, features: Any, by: Any) -> Any:
        total, k = float64(0.0), lane
        while k < features:
            x = float64(get(row + size * k)) * by
            total += x * x
            k += WARP
        return math.sqrt(sum_of_warp(total))

    @cuda.jit
    def visit(n: Any, d: Any) -> None:
        count, u = n[0], Unit(*n[1:])
        lane, _, t = thread_of(cuda, ROW_SHIFT)
        if t < count:
            row, found = u.rows + t * u.stride, u.units + to_size * u.features * t
            norm = by = inverse = float64(1.0)
            last = math.ldexp(1.0, u.exponent)
            if u.normalizes != 0:
                by = scale_of(row, lane, u.features)
                norm = length_of(row, lane, u.features, by)
                inverse = 1 / norm if norm > 0 else norm * 0
            square, k = float64(0.0), lane
            while k < u.features:
                x = float64(get(row + size * k))
                if u.normalizes != 0:
                    x = x * by * inverse
                if u.center != 0:
                    x -= get_double(u.center + 8 * k)
                y = number(x * last)
                put(found + to_size * k, y)
                square += float64(y) * float64(y)
                k += WARP
            square = sum_of_warp(square)
            if lane == 0:
                put_double(u.norms + 8 * t, norm / by)
                put_double(u.squares + 8 * t, square)
                put(u.narrow_squares + to_size * t, number(square))

    return visit


def projected(dtype: str, products: str, gpu: Any) -> Callable[..., None]:
    """The kernel that makes gradients of a dtype of what products have left: ``(rows, *Project)``.

    Its one float64 number is the scale, where that has no address.
    """
    # With u = x / |x|:  df/dx = (g - (g·u) u) / |x|,  g = df/du.
    # Distances of rows as they are: g = s x - Σ h y, of which the products have left the second.
    cuda, float64, get_double = gpu.cuda, gpu.float64, gpu.get_double
    source, target = gpu.STORAGE[products], gpu.STORAGE[dtype]
    get, size, put, to_size, number = (
        source.get,
        source.size,
        target.put,
        target.size,
        target.number,
    )
    get_target = target.get
    sum_of_warp, _ = _of_warp(gpu)

    @cuda.jit
    def visit(n: Any, d: Any) -> None:
        count, p = n[0], Project(*n[1:])
        lane, _, t = thread_of(cuda, ROW_SHIFT)
        if t < count:
            g, u = p.slopes + size * p.features * t, p.units + size * p.features * t
            row, along = p.target + t * p.stride, float64(0.0)
            scale = get_double(p.scale) if p.scale != 0 else d[0]
            if p.normalizes != 0:
                k = lane
                while k < p.features:
                    along -= float64(get(g + size * k)) * float64(get(u + size * k))
                    k += WARP
                along = sum_of_warp(along)
                norm = get_double(p.norms + 8 * t)
                scale = scale / norm if norm > 0 else norm * 0
            elif p.sums != 0:
                along = get_double(p.sums + 8 * t)
            k = lane
            while k < p.features:
                x = (float64(get(g + size * k)) + along * float64(get(u + size * k))) * scale
                if p.accumulate != 0:
                    x += float64(get_target(row + to_size * k))
                put(row + to_size * k, number(x))
                k += WARP

    return visit


def _of_warp(gpu: Any) -> tuple[Any, Any]:
    """``(number) -> sum`` and ``(number) -> largest`` over the threads of a warp, for each."""
    cuda = gpu.cuda

    @jitable()
    def sum_of_warp(number: Any) -> Any:
        step = WARP >> 1
        while step > 0:
            number += cuda.shfl_xor_sync(WHOLE_WARP, number, step)
            step >>= 1
        return number

    @jitable()
    def largest_of_warp(number: Any) -> Any:
        step = WARP >> 1
        while step > 0:
            other = cuda.shfl_xor_sync(WHOLE_WARP, number, step)
            number = other if other > number else number
            step >>= 1
        return number

    return sum_of_warp, largest_of_warp
