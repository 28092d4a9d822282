"""NumPy arrays, and whatever NumPy reads as numbers: lists, scalars, memory maps, data frames."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
import types
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from fastcos.engine.host import address_of
from fastcos.engine.host import sorted_words as host_words
from fastcos.engine.layout import ArrayLayout, may_overlap_itself, without
from fastcos.engine.rows import RowGradient, check_integers, out_of_range
from fastcos.kernels import BOOLS, BYTES, DOUBLES, FLOATS, LONGS
from fastcos.kernels.forks import held

from . import _foreign
from ._memory import KEPT_FROM, block

Array = npt.NDArray[Any]

_as_tuple = tuple.__new__

FLOAT_NAMES = ("float16", "bfloat16", "float32", "float64")
#: Losses of each sample are float64 until they are returned.
NARROW = None
#: NumPy has no number of threads of its own, and records nothing for later.
THREADS = None
records = False
#: Whether arrays are work to be done later.
lazy = False
ACCEPTED = "float16, bfloat16, float32, float64, integers or bool"


@functools.cache
def float_name(dtype: np.dtype[Any]) -> str | None:
    """The name that the kernels know a dtype by, None for one that they do not compute in.

    Cached: ``dtype.name`` takes several microseconds.
    """
    return dtype.name if dtype.name in FLOAT_NAMES and dtype.isnative else None


@functools.cache
def _is_plain(dtype: np.dtype[Any]) -> bool:
    return float_name(dtype) is not None or (dtype.kind in "iub" and dtype.isnative)


def asarray(name: str, value: Any) -> Array:
    """The argument as a numeric array in native byte order.

    Raises:
        TypeError: it is complex, object, string, masked, sparse, of a float type not supported, or
            not in memory.
        ValueError: it is a list of unequal depth.
    """
    if type(value) is np.ndarray and _is_plain(value.dtype):
        return value
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name} is a masked array: pass {name}.filled(0) and a weight that is 0 where a sample"
            f" is masked, or {name}.compressed()"
        )
    if type(value).__module__.partition(".")[0] == "scipy" and hasattr(value, "toarray"):
        raise TypeError(f"{name} is a sparse {type(value).__name__}: pass {name}.toarray()")
    array = _foreign.read(name, value)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if not _is_plain(array.dtype):
        hint = _foreign.cure(name, value, array) if array.dtype == object else ""
        if array.dtype.kind in "US" and "labels" in name:
            hint = f"for names of classes pass np.unique({name}, return_inverse=True)[1]"
        raise TypeError(
            f"{name} has dtype {array.dtype}; accepted are {ACCEPTED}{hint and '; '}{hint}"
        )
    return array


def float64(name: str, value: Any) -> Array:
    """The argument as C-contiguous float64."""
    return asarray(name, value).astype(np.float64, order="C")


def common_dtype(arrays: Sequence[Array]) -> np.dtype[Any]:
    """The dtype to compute in: NumPy's promotion, never below float32 where an integer takes part.

    float16 and bfloat16 hold neither each other's range nor precision and meet in float32.
    """
    dtypes = {array.dtype for array in arrays}
    first = arrays[0].dtype
    if len(dtypes) == 1 and float_name(first):
        return first
    wide = [d for d in dtypes if float_name(d) not in ("float16", "bfloat16")]
    return np.result_type(np.float32, *wide)


def layout(array: Array) -> ArrayLayout:
    """The layout of an array."""
    # What ArrayLayout(...) does, in half of the time: this is part of every call, for every array.
    look = array.shape, array.strides, array.dtype, array.flags.aligned, 1, -1
    return _as_tuple(ArrayLayout, look)


def array_layout(value: Any) -> ArrayLayout | None:
    """The layout of what is an array already, perhaps of a dtype to be converted; else None."""
    if type(value) is not np.ndarray:
        return None
    # As layout() does it: part of every call, for every array.
    own = value.shape, value.strides, value.dtype, value.flags.aligned, 1, -1
    return _as_tuple(ArrayLayout, own)


def is_read(layout: ArrayLayout) -> bool:
    """Whether :func:`asarray` gives an array of this layout back as it is."""
    return _is_plain(layout.dtype)


def rows(array: Array, axis: int, dtype: np.dtype[Any]) -> Array:
    """A C-contiguous copy in the dtype to compute in, the feature axis last."""
    return np.array(features_last(array, axis), dtype=dtype, order="C")


def features_last(array: Array, axis: int) -> Array:
    """A view with the feature axis last; with an axis of length 1 added for ``axis`` 0."""
    if axis == 0:
        return array[..., None]
    return array if axis == -1 else np.moveaxis(array, axis, -1)


#: From how many numbers on threads share the work on rows between two products. OpenBLAS's wait for
#: the next product in a loop, on the same processors, and so do ours: on 2 cores both ways to and
#: fro took 8 ms more, for 5 ms of work of one thread on a block of 16 MiB.
SHARED_BESIDE_PRODUCTS = 1 << 24
#: Dtypes by name, for the matrices of listwise losses.
DTYPES = {"float32": np.dtype(np.float32), "float64": np.dtype(np.float64)}


def workspace(shape: tuple[int, ...], dtype: Any, like: Array) -> Array:
    """Memory for matrices that products are made of."""
    return np.empty(shape, dtype)


def matmul(a: Array, b: Array, out: Array) -> None:
    """Writes the product of two matrices."""
    with np.errstate(all="ignore"):  # what is not finite is seen in the result
        np.matmul(a, b, out=out)


def products_on_one_thread() -> contextlib.AbstractContextManager[None] | None:
    """A context in which each product is made on the thread that asks for it; or None.

    OpenBLAS's own threads wait for the next product in a loop, on the processors that others would
    work on. It takes threadpoolctl, which comes with scikit-learn, to have them sleep.
    """
    return _limited() if _controller() else None


# The limit is of the process: of calls that overlap the first sets it, and the last takes it away.
_limit_lock = threading.Lock()
_limits: list[Any] = []
held(_limit_lock)


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    with _limit_lock:
        # The same for all but the first, which knows how many threads there were.
        _limits.append(_limits[0] if _limits else _controller().limit(limits=1, user_api="blas"))
    try:
        yield
    finally:
        with _limit_lock:
            last = _limits.pop()
            if not _limits:
                last.restore_original_limits()


@functools.cache
def _controller() -> Any:
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    found = ThreadpoolController().select(user_api="blas")
    return found if len(found) else None


def product_roundoff() -> float:
    """What float32 numbers are rounded by before they are multiplied, relative to them."""
    return 0.0


def factors(matrices: tuple[Array, Array], arrays: tuple[Array, Array]) -> tuple[Array, Array]:
    """What products take in place of the matrices of the rows of arrays: these."""
    return matrices


def add_matmul(a: Array, b: Array, out: Array) -> None:
    """Adds the product of two matrices to what is there."""
    with np.errstate(all="ignore"):
        out += a @ b


def center(array: Array) -> Array:
    """The mean row, in float64."""
    with np.errstate(all="ignore"):
        return cast(Array, array.mean(axis=0, dtype=np.float64))


def numbered(count: int, like: Array) -> Array:
    """The first int32 numbers."""
    return np.arange(count, dtype=np.int32)


def classes(name: str, labels: Array, count: int | None) -> Array:
    """Labels as int32 numbers, or as int64 ones; less than a count, if there is one.

    Raises:
        TypeError: they are no integers.
        ValueError: one is negative, or not less than the count.
    """
    if labels.dtype.kind not in "iub":
        raise TypeError(f"{name} must be integers, got dtype {labels.dtype}")
    low, high = (labels.min(), labels.max()) if labels.size else (0, 0)
    if low < 0 or (count is not None and labels.size and high >= count):
        wrong = (labels < 0) | (labels >= count) if count is not None else labels < 0
        first = int(np.flatnonzero(wrong)[0])
        accepted = (
            "at least 0"
            if count is None
            else f"from 0 to {count - 1}, as there are {count} classes"
        )
        raise ValueError(f"{name} must be {accepted}; got {labels[first]} at position {first}")
    return np.ascontiguousarray(labels, np.int32 if high <= np.iinfo(np.int32).max else np.int64)


def ratio_with(anchor_labels: Array, candidate_labels: Array) -> float:
    """The number of anchors, which are classes, over that of those with a candidate."""
    return anchor_labels.size / max(np.unique(candidate_labels).size, 1)


where = np.where
nonzero = np.nonzero


def numbered_like(array: Array) -> Array:
    """A number for each of an array, from 0 on."""
    return np.arange(len(array))


def joined(parts: Sequence[Array], like: Array) -> Array:
    """Numbers of rows, one part after the other."""
    return np.concatenate([np.empty(0, np.int64), *parts]).astype(np.int64, copy=False)


def scratch(shape: tuple[int, ...], like: Array) -> Array:
    """Memory for float64 numbers."""
    return np.empty(shape)


def wrap(numbers: Array) -> Array:
    """Scratch memory as an array of this library."""
    return numbers


def empty_like(array: Array, axis: int, dtype: Any, count: int | None = None) -> Array:
    """A new array of the same shape whose rows along ``axis`` are contiguous.

    With a ``count`` it has so many along its first axis.
    """
    shape = array.shape if count is None else (count, *array.shape[1:])
    new = np.empty if count is None and array.size < _FEW else _new
    if axis in (-1, 0):
        return new(shape, dtype)
    outer = without(shape, axis)
    return np.moveaxis(new((*outer, shape[axis]), dtype), -1, axis)


# Of any dtype so many numbers are less than is kept: a call of _new takes 0.3 us.
_FEW = KEPT_FROM // 8


def _new(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    size = math.prod(shape) * dtype.itemsize
    return np.empty(shape, dtype) if size < KEPT_FROM else np.ndarray(shape, dtype, block(size))


def arange(count: int, like: Array) -> Array:
    """The first int64 numbers."""
    return np.arange(count, dtype=np.int64)


def row_numbers(index: Array, rows: int) -> Array:
    """Numbers of the rows of a table, none negative, in memory that nobody else writes to.

    Raises:
        TypeError: they are no integers.
        IndexError: the table has no such row; the first of them is named.
    """
    check_integers(index.dtype, index.dtype.kind in "iu")
    low, high = (index.min(), index.max()) if index.size else (0, -1)
    if low < -rows or high >= rows:
        wrong = (index < -rows) | (index >= rows)
        first = np.unravel_index(np.flatnonzero(wrong)[0], index.shape)
        raise out_of_range(index[first], first, rows)
    found = index.astype(np.int64, order="C")
    if low < 0:
        found[found < 0] += rows
    found.flags.writeable = False
    return found


def sorted_words(
    numbers: Sequence[tuple[int, Array]],
    samples: tuple[int, ...],
    shift: int,
    bits: int,
    threads: Any = THREADS,
) -> Array:
    """The words of operands and the numbers of their rows (:mod:`fastcos.kernels.lookup`).

    The numbers have so many ``bits``.
    """
    each = [(m, np.ascontiguousarray(np.broadcast_to(rows, samples))) for m, rows in numbers]
    words: Array = host_words(each, math.prod(samples), shift, bits, threads)
    return words


def distinct(words: Array, shift: int, inner: int) -> tuple[Array, Array]:
    """The rows that sorted words name, and the words with their places among these.

    A row of the table is ``inner`` rows of the words.
    """
    keys = words >> shift
    rows = keys // inner
    first = np.empty(len(rows), np.bool_)
    first[:1] = True
    np.not_equal(rows[1:], rows[:-1], out=first[1:])
    places = np.cumsum(first) - 1
    places *= inner
    places += keys % inner
    places <<= shift
    places |= words & ((1 << shift) - 1)
    return rows[first], places


def row_gradient(rows: Array, values: Array, table: Array) -> RowGradient:
    """The gradient of these rows of a table."""
    return RowGradient(rows, values)


def host(array: Array) -> Array:
    """The same as a NumPy array."""
    return array


def from_host(array: Array, like: Array) -> Array:
    """An array of NumPy as one of this library."""
    return array


#: There is one device only.
device_guard = None


def number(array: Array) -> float:
    """A number that was computed."""
    return float(array)


_KINDS = {"float64": DOUBLES, "float32": FLOATS, "int64": LONGS, "int8": BYTES, "bool": BOOLS}


@functools.cache
def label_kind(dtype: np.dtype[Any]) -> int | None:
    """How kernels read labels of a dtype, None where they do not."""
    return _KINDS.get(dtype.name) if dtype.isnative else None


def labels(given: Array) -> tuple[Array, int]:
    """Labels as kernels read them, one after another, and in which dtype."""
    kind = label_kind(given.dtype)
    if kind is None:
        return given.astype(np.float64, order="C"), DOUBLES
    return np.require(given, requirements=("C", "A")), kind


def numbers(array: Array, samples: tuple[int, ...]) -> Array:
    """Numbers for the kernels: one for all samples, or one for each in C order."""
    if array.shape == samples or array.size == 1:
        return array if array.flags.c_contiguous else np.ascontiguousarray(array)
    return np.ascontiguousarray(np.broadcast_to(array, samples))


def sum_to(array: Array, shape: tuple[int, ...]) -> Array:
    """The sum over the axes along which something of ``shape`` was broadcast."""
    if not shape:
        return np.asarray(array.sum())
    axes = tuple(a for a, n in enumerate(shape) if n == 1)
    return cast(Array, array.sum(axis=axes, keepdims=True))


def values(losses: Array, dtype: np.dtype[Any]) -> Any:
    """What is returned for one loss per sample."""
    found = losses.astype(dtype)
    return found if found.ndim else found[()]


def scalar(number: float, dtype: np.dtype[Any], like: Array) -> Any:
    """What is returned for one number."""
    return dtype.type(number)


def address(array: Array) -> int:
    """Where the data of an array begin; not for NumPy's scalars, which are none."""
    return address_of(array)


def check_out(name: str, out: Any, others: dict[str, Any]) -> None:
    """Raises unless ``out`` is memory of its own.

    Raises:
        TypeError: not a NumPy array.
        ValueError: read-only, or sharing memory with an argument, with another buffer, or with
            itself.
    """
    if not isinstance(out, np.ndarray) or isinstance(out, (np.ma.MaskedArray, np.matrix)):
        raise TypeError(f"{name} must be a NumPy array, got {type(out).__name__}")
    if not out.flags.writeable:
        raise ValueError(f"{name} is read-only")
    if may_overlap_itself(layout(out)) and overlaps_itself(out):
        raise ValueError(
            f"{name} is a broadcast view or overlaps itself: its elements share memory"
        )
    for other, value in others.items():
        if isinstance(value, np.ndarray) and overlap(out, value):
            raise ValueError(f"{name} shares memory with {other}")


def no_overlap(buffers: Sequence[Array], others: Sequence[Array]) -> bool:
    """Whether buffers may be written to and lie, from first byte to last, apart from all others."""
    taken = [*others]
    for buffer in buffers:
        if not buffer.flags.writeable or any([np.may_share_memory(buffer, x) for x in taken]):
            return False
        taken.append(buffer)
    return True


def extent(address: int, shape: Sequence[int], strides: Sequence[int], size: int) -> Array:
    """An array of elements of that size at addresses anywhere, not to be looked into."""
    # An empty tensor begins at 0, which NumPy before 2.3 takes for no address at all.
    where = {"data": (address or 1, False), "shape": tuple(shape), "strides": tuple(strides)}
    kind = {"typestr": f"|V{size}", "version": 3}
    return np.asarray(types.SimpleNamespace(__array_interface__=where | kind))


def overlaps_itself(array: Array) -> bool:
    """Whether two elements of an array share memory, by their addresses."""
    while array.size and array.ndim:
        # Two that differ in their first index. How far apart they are does not depend on where
        # they are, so one of them may be taken to be at 0; then those that are both at 0.
        if overlap(array[:1], array[1:]):
            return True
        array = array[0, ...]
    return False


def overlap(a: Array, b: Array) -> bool:
    """Whether two arrays share memory, by their addresses."""
    try:
        # Exact, so that two halves of one buffer may be used; the bound is for wild strides.
        return np.may_share_memory(a, b) and np.shares_memory(a, b, max_work=10_000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True
