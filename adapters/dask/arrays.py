"""Arguments as arrays of Dask whose chunks fit each other."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Sequence
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.array import PerformanceWarning
from dask.utils import format_bytes

from fastcos.engine.checks import check_rows
from fastcos.engine.libraries import adapter_of
from fastcos.engine.rows import Rows


def asarray(name: str, value: Any) -> Any:
    """The argument as an array of Dask; what is in memory becomes one of a single chunk.

    Raises:
        TypeError: rows of a table, another collection of Dask, or what NumPy and CuPy do not take.
        ValueError: it does not know how many rows it has.
    """
    if type(value) is Rows:
        raise TypeError(
            f"{name} is rows of a table, which Dask arrays have none of: pass table[index]"
        )
    if isinstance(value, da.Array):
        if any(math.isnan(length) for length in value.shape):
            raise ValueError(
                f"{name} has chunks of unknown length, shape {value.shape}: call"
                f" {name}.compute_chunk_sizes() first (of data frames to_dask_array(lengths=True))"
            )
        return value
    if dask.is_dask_collection(value):
        kind: Any = type(value)
        how = "to_dask_array(lengths=True)" if hasattr(kind, "to_dask_array") else "compute()"
        if isinstance(getattr(value, "data", None), da.Array):  # of xarray
            how = "data"
        called = f"{kind.__module__.partition('.')[0]} {kind.__name__}"
        raise TypeError(f"{name} is a {called}, and no array: pass {name}.{how}")
    memory: Any = adapter_of(type(value))  # type: ignore[arg-type]
    if memory.records:
        raise TypeError(f"{name} is a torch array, which does not go with Dask arrays")
    array = memory.asarray(name, value)
    return da.from_array(array, chunks=array.shape, asarray=False)


def number(array: Any) -> Any:
    """A number that is to be computed, which stays an array."""
    return array


def quotient(numerator: Any, denominator: Any) -> Any:
    """The quotient by such a number; 0 times the numerator where that is 0."""
    zero = denominator == 0
    return da.where(zero, 0.0 * numerator, numerator / da.where(zero, 1.0, denominator))


def features_in_one(name: str, array: Any, axis: int) -> Any:
    """The array with its feature axis last, and in one chunk; warns of what that costs."""
    parts = array.numblocks[axis]
    if parts > 1:
        largest = math.prod(map(max, array.chunks)) * array.dtype.itemsize
        warnings.warn(
            f"{name} is split along its feature axis into {parts} chunks, which are put together:"
            f" {format_bytes(array.nbytes)} are moved, between workers if they are on several, and"
            f" a chunk of {format_bytes(largest)} becomes one of up to"
            f" {format_bytes(largest * parts)}. Store it with whole rows, or rechunk it once:"
            f" {name}.rechunk({{{axis}: -1}})",
            PerformanceWarning,
            stacklevel=_outside(),
        )
        array = array.rechunk({array.ndim + axis: -1})
    return array if axis == -1 else da.moveaxis(array, axis, -1)


def _outside() -> int:
    """How far up the caller is who is not of fastcos."""
    level, frame = 1, inspect.currentframe()
    while frame and str(frame.f_globals.get("__name__")).startswith("fastcos."):
        level, frame = level + 1, frame.f_back
    return level - 1


def rows_of(name: str, value: Any) -> Any:
    """Rows ``(N, D)``, each in one chunk.

    Raises:
        ValueError: another shape.
    """
    array = asarray(name, value)
    check_rows(name, tuple(array.shape))
    return features_in_one(name, array, -1)


def only(chunks: Any) -> Any:
    """What comes in a list of one: the chunk of rows along their features, or what was merged.

    Dask would put the chunks of a list together, and copy them, were it only one: a third of the
    time of a loss of pairs.
    """
    while isinstance(chunks, list):
        (chunks,) = chunks
    return chunks


def one_like(array: Any, shape: Sequence[int]) -> Any:
    """Memory of the kind that the chunks of an array are, with ones in it."""
    return np.ones_like(array._meta, shape=tuple(shape))
