"""CuPy arrays, and whatever CuPy takes without copying: anything with ``__cuda_array_interface__``.

Everything goes to CuPy's current stream, on the device of the arrays, with memory of CuPy's current
allocator. Nothing waits for the device but ``host``, ``distinct`` and ``nonzero``.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcos import _extras
from fastcos.engine.layout import ArrayLayout, may_overlap_itself, without
from fastcos.engine.rows import check_integers
from fastcos.kernels import DOUBLES
from fastcos.kernels.lookup import OPERAND_BITS

from .numpy import (
    ACCEPTED,
    common_dtype,
    extent,
    features_last,
    float_name,
    label_kind,
    overlap,
    overlaps_itself,
    row_gradient,
    sum_to,
)
from .numpy import asarray as of_host

try:
    import cupy as cp
except ImportError as error:
    raise ImportError(
        f"arrays on a GPU need CuPy ({error}): {_extras.command('cupy', 'cuda')}"
    ) from None

__all__ = [
    "common_dtype",
    "features_last",
    "float_name",
    "label_kind",
    "row_gradient",
    "sum_to",
]

Array = Any

#: Threads are no matter of a GPU, and CuPy records nothing for later.
THREADS = None
records = False
#: Whether arrays are work to be done later.
lazy = False


def asarray(name: str, value: Any) -> Array:
    """The argument as a numeric array on a device; numbers and lists go to the current one.

    Raises:
        TypeError: it is complex, or of another dtype that is not supported.
        RuntimeError: there is no GPU.
        ValueError: it is a list of unequal depth, or begins in the middle of a number.
    """
    array = value
    if not isinstance(value, cp.ndarray):
        # What is refused is refused in the same words, wherever the other arguments are.
        foreign = hasattr(value, "__cuda_array_interface__")
        array = _taken(name, value if foreign else of_host(name, value))
    if float_name(array.dtype) is None and array.dtype.kind not in "iub":
        raise TypeError(f"{name} has dtype {array.dtype}; accepted are {ACCEPTED}")
    if array.data.ptr % array.dtype.itemsize:
        # No GPU reads such numbers, CuPy's copy of them neither.
        raise ValueError(f"{name} begins at an address that is no multiple of its item size")
    return array


def _taken(name: str, value: Any) -> Array:
    """What CuPy makes of an array of another library, or of the host.

    Raises:
        RuntimeError: there is no GPU, or something is not installed.
    """
    try:
        return cp.asarray(value)
    except RuntimeError as error:
        from fastcos.commands.info import missing_for_gpus

        missing = missing_for_gpus()
        if not missing:
            raise
        raise RuntimeError(f"{name} cannot be taken to a GPU: {missing} ({error})") from None


def float64(name: str, value: Any) -> Array:
    """The argument as C-contiguous float64."""
    return asarray(name, value).astype(np.float64, order="C")


def layout(array: Array) -> ArrayLayout:
    """The layout of an array."""
    aligned = array.data.ptr % array.dtype.itemsize == 0
    return ArrayLayout(array.shape, array.strides, array.dtype, aligned, 1, array.device.id)


def array_layout(value: Any) -> ArrayLayout | None:
    """The layout of what is an array already, perhaps of a dtype to be converted; else None."""
    return layout(value) if isinstance(value, cp.ndarray) else None


def is_read(layout: ArrayLayout) -> bool:
    """Whether :func:`asarray` gives an array of this layout back as it is."""
    plain = float_name(layout.dtype) is not None or layout.dtype.kind in "iub"
    return plain and layout.aligned


def rows(array: Array, axis: int, dtype: Any) -> Array:
    """A C-contiguous copy in the dtype to compute in, the feature axis last."""
    return cp.array(features_last(array, axis), dtype=dtype, order="C")


#: Dtypes by name, for the matrices of listwise losses.
DTYPES = {"float32": np.dtype(np.float32), "float64": np.dtype(np.float64)}


def workspace(shape: tuple[int, ...], dtype: Any, like: Array) -> Array:
    """Memory for matrices that products are made of."""
    return cp.empty(shape, dtype)


def _cublas() -> Any:
    """CuPy's access to cuBLAS, which nothing but products needs to be installed.

    Raises:
        ImportError: it is not.
    """
    if not hasattr(cp, "cublas"):
        try:
            importlib.import_module("cupy.cublas")
        except ImportError as error:
            raise ImportError(
                f"listwise losses on a GPU need cuBLAS: pip install nvidia-cublas ({error})"
            ) from None
    return cp.cublas


def matmul(a: Array, b: Array, out: Array) -> None:
    """Writes the product of two matrices.

    By cuBLAS itself: CuPy's own function would make the transpose of a matrix first, and does not
    add to what is there. Of float32 these are products in float32, and not in TF32, which CuPy's
    setting (CUPY_TF32) has its own function use and not this one; NVIDIA_TF32_OVERRIDE would.
    """
    if out.size:
        _cublas().gemm("N", "N", a, b, out=out)


def product_roundoff() -> float:
    """What float32 numbers are rounded by before they are multiplied: not at all, see there."""
    return 2.0**-11 if os.environ.get("NVIDIA_TF32_OVERRIDE") == "1" else 0.0


def kth_largest(array: Array, k: int) -> Array:
    """The k-th largest number of each row."""
    return -cp.partition(-array, k - 1, axis=1)[:, k - 1]


def factors(matrices: tuple[Array, Array], arrays: tuple[Array, Array]) -> tuple[Array, Array]:
    """What products take in place of the matrices of the rows of arrays: these."""
    return matrices


def add_matmul(a: Array, b: Array, out: Array) -> None:
    """Adds the product of two matrices to what is there."""
    if out.size:
        _cublas().gemm("N", "N", a, b, out=out, beta=1.0)


def center(array: Array) -> Array:
    """The mean row, in float64."""
    if float_name(array.dtype) not in DTYPES:
        array = array.astype(np.float64)
    return array.mean(axis=0, dtype=np.float64)


def numbered(count: int, like: Array) -> Array:
    """The first int64 numbers, as labels."""
    return arange(count, like)


def classes(name: str, labels: Array, count: int | None) -> Array:
    """Labels as int64 numbers.

    To look at them would be to wait for them: of labels below 0 those that are equal are a class,
    and one that is not less than the count is of no class, as one below 0 is: such an anchor has no
    positives.

    Raises:
        TypeError: they are no integers.
    """
    if labels.dtype.kind not in "iub":
        raise TypeError(f"{name} must be integers, got dtype {labels.dtype}")
    return cp.ascontiguousarray(labels.astype(np.int64, copy=False))


def ratio_with(anchor_labels: Array, candidate_labels: Array) -> Array:
    """The number of anchors, which are classes, over that of those with a candidate."""
    anchors = anchor_labels.size
    wrong = (candidate_labels < 0) | (candidate_labels >= anchors)
    there = cp.zeros(anchors + 1)
    there[cp.where(wrong, anchors, candidate_labels)] = 1.0
    some = there[:anchors].sum()
    return anchors / cp.where(some > 0, some, 1.0)


where, nonzero = cp.where, cp.nonzero  # the latter waits for how many there are


def numbered_like(array: Array) -> Array:
    """A number for each of an array, from 0 on."""
    return cp.arange(len(array), dtype=np.int64)


def joined(parts: Sequence[Array], like: Array) -> Array:
    """Numbers of rows, one part after the other."""
    return cp.concatenate([cp.empty(0, np.int64), *parts])


def scratch(shape: tuple[int, ...], like: Array) -> Array:
    """Memory for float64 numbers."""
    return cp.empty(shape)


def wrap(numbers: Array) -> Array:
    """Scratch memory as an array of this library."""
    return numbers


def new(shape: tuple[int, ...], dtype: Any, like: Array) -> Array:
    """Memory for what is returned."""
    return cp.empty(shape, dtype)


def empty_like(array: Array, axis: int, dtype: Any, count: int | None = None) -> Array:
    """A new array of the same shape whose rows along ``axis`` are contiguous.

    With a ``count`` it has so many along its first axis.
    """
    shape = array.shape if count is None else (count, *array.shape[1:])
    if axis in (-1, 0):
        return cp.empty(shape, dtype)
    return cp.moveaxis(cp.empty((*without(shape, axis), shape[axis]), dtype), -1, axis)


def arange(count: int, like: Array) -> Array:
    """The first int64 numbers."""
    return cp.arange(count, dtype=np.int64)


def row_numbers(index: Array, rows: int) -> Array:
    """Numbers of the rows of a table, none negative, in memory that nobody else writes to.

    ``rows`` stands for all that the table does not have: to say which these are would be to wait
    for them.

    Raises:
        TypeError: they are no integers.
        IndexError: the table has no rows at all.
    """
    check_integers(index.dtype, index.dtype.kind in "iu")
    if index.size and not rows:
        raise IndexError("index names rows, the table has 0 rows")
    found = index.astype(np.int64, order="C")
    # Those of uint64 that are negative now were too large before.
    lowest = 0 if index.dtype.kind == "u" else -rows
    wrong = (found < lowest) | (found >= rows)
    return cp.where(wrong, rows, cp.where(found < 0, found + rows, found))


def sorted_words(
    numbers: Sequence[tuple[int, Array]], samples: tuple[int, ...], shift: int, bits: int
) -> Array:
    """The words of operands and the numbers of their rows (:mod:`fastcos.kernels.lookup`)."""
    words = cp.empty((len(numbers), *samples), np.int64)
    counted = cp.arange(math.prod(samples), dtype=np.int64).reshape(samples) << OPERAND_BITS
    for place, (operand, rows) in enumerate(numbers):
        words[place, ...] = (rows << shift) | counted | operand
    words = words.reshape(-1)
    words.sort()
    return words


def distinct(words: Array, shift: int, inner: int) -> tuple[Array, Array]:
    """As the adapter for NumPy's arrays has it; waits for the number of rows."""
    keys = words >> shift
    rows = keys // inner
    first = cp.empty(rows.shape, np.bool_)
    first[:1] = True
    first[1:] = rows[1:] != rows[:-1]
    places = (cp.cumsum(first, dtype=np.int64) - 1) * inner + keys % inner
    return rows[first], places << shift | words & ((1 << shift) - 1)


def host(array: Array) -> Any:
    """The same as a NumPy array; waits for it."""
    return cp.asnumpy(array)


def from_host(array: Any, like: Array) -> Array:
    """An array of NumPy as one of this library."""
    return cp.asarray(array)


def device_guard(operands: Sequence[Any]) -> Any:
    """A context manager that makes the device of the arrays the current one; None if it is."""
    for operand in operands:
        if isinstance(operand, cp.ndarray):
            device = operand.device
            return None if device.id == cp.cuda.runtime.getDevice() else device
    return None


def stream() -> int:
    """The address of the current stream."""
    return int(cp.cuda.get_current_stream().ptr)


def number(array: Array) -> Array:
    """A number that was computed; where it is, so as not to wait for it."""
    return array


def quotient(numerator: Any, denominator: Array) -> Array:
    """The quotient; 0 where the denominator is 0."""
    zero = denominator == 0
    return cp.where(zero, 0.0, numerator / cp.where(zero, 1.0, denominator))


def labels(given: Array) -> tuple[Array, int]:
    """Labels as kernels read them, one after another, and in which dtype."""
    kind = label_kind(given.dtype)
    if kind is None:
        return given.astype(np.float64, order="C"), DOUBLES
    return cp.ascontiguousarray(given), kind


def numbers(array: Array, samples: tuple[int, ...]) -> Array:
    """Numbers for the kernels: one for all samples, or one for each in C order."""
    if array.shape == samples or array.size == 1:
        return cp.ascontiguousarray(array)
    return cp.ascontiguousarray(cp.broadcast_to(array, samples))


def values(losses: Array, dtype: Any) -> Array:
    """What is returned for one loss per sample."""
    return losses.astype(dtype, copy=False)


def scalar(number: Any, dtype: Any, like: Array) -> Array:
    """What is returned for one number."""
    return cp.asarray(number, dtype=dtype)


def address(array: Array) -> int:
    """Where the data begin."""
    return int(array.data.ptr)


def check_out(name: str, out: Any, others: dict[str, Any]) -> None:
    """Raises unless ``out`` is memory of its own.

    Raises:
        TypeError: not a CuPy array.
        ValueError: sharing memory with an argument, with another buffer, or with itself.
    """
    if not isinstance(out, cp.ndarray):
        raise TypeError(f"{name} must be a CuPy array, got {type(out).__name__}")
    if may_overlap_itself(layout(out)) and overlaps_itself(_extent(out)):
        raise ValueError(
            f"{name} is a broadcast view or overlaps itself: its elements share memory"
        )
    for other, value in others.items():
        if isinstance(value, cp.ndarray) and overlap(_extent(out), _extent(value)):
            raise ValueError(f"{name} shares memory with {other}")


def no_overlap(buffers: Sequence[Array], others: Sequence[Array]) -> bool:
    """Whether buffers lie, from first byte to last, apart from all others."""
    taken = [*map(_span, others)]
    for start, end in map(_span, buffers):
        if any([start < other_end and other < end for other, other_end in taken]):
            return False
        taken.append((start, end))
    return True


def _span(array: Array) -> tuple[int, int]:
    """The addresses of the first byte and of that after the last; the same where there is none."""
    start = address(array)
    end = start + array.dtype.itemsize
    for n, stride in zip(array.shape, array.strides, strict=True):
        if n == 0:
            return start, start
        if stride < 0:
            start += (n - 1) * stride
        else:
            end += (n - 1) * stride
    return start, end


def _extent(array: Array) -> Any:
    return extent(address(array), array.shape, array.strides, array.dtype.itemsize)
