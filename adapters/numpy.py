"""NumPy arrays, and whatever NumPy reads as numbers: lists, scalars, memory maps, data frames."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

FLOATS = ("float16", "bfloat16", "float32", "float64")
ACCEPTED = "float16, bfloat16, float32, float64, integers or bool"


@functools.cache
def float_name(dtype: np.dtype[Any]) -> str | None:
    """The name that the kernels know a dtype by, None for one that they do not compute in.

    Cached: ``dtype.name`` takes several microseconds.
    """
    return dtype.name if dtype.name in FLOATS else None


def asarray(name: str, value: Any) -> Array:
    """The argument as a numeric array in native byte order.

    Raises:
        TypeError: it is complex, object, string, masked, sparse, or of a float type not supported.
        ValueError: it is a list of unequal depth.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name} is a masked array: pass {name}.filled(0) and a weight that is 0 where a sample"
            f" is masked, or {name}.compressed()"
        )
    if type(value).__module__.partition(".")[0] == "scipy" and hasattr(value, "toarray"):
        raise TypeError(f"{name} is a sparse {type(value).__name__}: pass {name}.toarray()")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} is not a rectangular array: {error}") from None
    if float_name(array.dtype) is None and array.dtype.kind not in "iub":
        raise TypeError(f"{name} has dtype {array.dtype}; accepted are {ACCEPTED}")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array


def float64(name: str, value: Any) -> Array:
    """The argument as C-contiguous float64."""
    return asarray(name, value).astype(np.float64, order="C")


def common_dtype(arrays: Sequence[Array]) -> np.dtype[Any]:
    """The dtype to compute in: NumPy's promotion, never below float32 where an integer takes part.

    float16 and bfloat16 hold neither each other's range nor precision and meet in float32.
    """
    dtypes = {array.dtype for array in arrays}
    if len(dtypes) == 1:
        (only,) = dtypes
        if float_name(only):
            return only
    wide = [d for d in dtypes if float_name(d) not in ("float16", "bfloat16")]
    return np.result_type(np.float32, *wide)


def rows(array: Array, axis: int, dtype: np.dtype[Any]) -> Array:
    """The array with the feature axis last and contiguous, in the dtype to compute in.

    A view where that is possible: any strides of the other axes are taken as they are.
    """
    array = features_last(array, axis)
    if array.dtype != dtype:
        return np.ascontiguousarray(array, dtype=dtype)
    return array if _has_rows(array) else array.copy(order="C")


def rows_for_writing(view: Array, dtype: np.dtype[Any]) -> Array:
    """The view itself if a kernel can write its rows, else a new array of its shape."""
    return view if view.dtype == dtype and _has_rows(view) else np.empty(view.shape, dtype)


def features_last(array: Array, axis: int) -> Array:
    """A view with the feature axis last; with an axis of length 1 added for ``axis`` 0."""
    if axis == 0:
        return array[..., None]
    return array if axis == -1 else np.moveaxis(array, axis, -1)


def _has_rows(array: Array) -> bool:
    contiguous = array.shape[-1] == 1 or array.strides[-1] == array.itemsize
    return contiguous and array.flags.aligned


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """A new array."""
    return np.empty(shape, dtype)


def empty_like(array: Array, axis: int, dtype: Any) -> Array:
    """A new array of the same shape whose rows along ``axis`` are contiguous."""
    if axis in (-1, 0):
        return np.empty(array.shape, dtype)
    return np.moveaxis(np.empty(np.moveaxis(array, axis, -1).shape, dtype), -1, axis)


def numbers(array: Array, samples: tuple[int, ...]) -> Array:
    """Float64 numbers for the kernels: one for all samples, or one for each in C order."""
    if array.size == 1 or array.shape == samples:
        return np.ascontiguousarray(array)
    return np.ascontiguousarray(np.broadcast_to(array, samples))


def sum_to(array: Array, shape: tuple[int, ...]) -> Array:
    """The sum over the axes along which something of ``shape`` was broadcast."""
    if not shape:
        return np.asarray(array.sum())
    axes = tuple(a for a, n in enumerate(shape) if n == 1)
    return cast(Array, array.sum(axis=axes, keepdims=True))


def address(array: Array) -> int:
    """Where the data begin."""
    return array.ctypes.data


def check_out(
    name: str, out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], others: dict[str, Any]
) -> Array:
    """Returns ``out`` if a gradient can be written there.

    Raises:
        TypeError: not a NumPy array, or of another dtype.
        ValueError: of another shape, read-only, or sharing memory with an argument, with another
            buffer, or with itself.
    """
    if not isinstance(out, np.ndarray) or isinstance(out, (np.ma.MaskedArray, np.matrix)):
        raise TypeError(f"{name} must be a NumPy array, got {type(out).__name__}")
    if out.shape != shape or out.dtype != dtype:
        error = ValueError if out.shape != shape else TypeError
        raise error(
            f"{name} must have shape {shape} and dtype {dtype}, got {out.shape} and {out.dtype}"
        )
    if not out.flags.writeable:
        raise ValueError(f"{name} is read-only")
    if any(n > 1 and stride == 0 for n, stride in zip(out.shape, out.strides, strict=True)):
        raise ValueError(f"{name} is a broadcast view: its elements share memory")
    for other, value in others.items():
        if isinstance(value, np.ndarray) and _overlap(out, value):
            raise ValueError(f"{name} shares memory with {other}")
    return out


def _overlap(a: Array, b: Array) -> bool:
    try:
        # Exact, so that two halves of one buffer may be used; the bound is for wild strides.
        return np.shares_memory(a, b, max_work=10_000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True
