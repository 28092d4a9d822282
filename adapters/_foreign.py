"""What is no array of a library that fastcos knows: how it is read, or why not and what to do.

No library is imported or known by name where what its objects have will do.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

# What a type has that keeps numbers in chunks: on disk, over a network, or compressed. h5py, zarr,
# h5netcdf, blosc2 and cubed; PyTables; netCDF4; tensorstore. Arrow's columns and those of data
# frames, in memory, have chunks or a dtype, and not both.
_OF_CHUNKS = ("chunks", "chunkshape", "chunking", "chunk_layout")
_OF_MEMORY = ("__array__", "__array_interface__", "__array_struct__")
# Kinds of devices in DLPack whose memory the host reads: its own, and what CUDA and ROCm pin of it.
_HOSTS = (1, 3, 11)


def check_in_memory(name: str, value: Any) -> None:
    """Raises for what NumPy would read whole, from a file or by computing it, without a word.

    Raises:
        TypeError: it, or an element of a list, lies in chunks or is computed when asked for.
    """
    if isinstance(value, (list, tuple)):
        kinds = set(map(type, value))
        if any(map(_may_be_elsewhere, kinds)):
            for place, each in enumerate(value):
                check_in_memory(f"{name}[{place}]", each)
        elif not kinds.isdisjoint((list, tuple)):
            # Of lists within it the first: those of numbers would take as long as to read them.
            check_in_memory(f"{name}[0]", value[0])
        return
    kind: Any = type(value)
    if not _may_be_elsewhere(kind):
        return
    what = f"{name} is {_called(kind)}, which is not in memory"
    if not _has_graph(kind):
        whole = "[()]" if getattr(value, "shape", None) == () else "[:]"
        raise TypeError(f"{what} as one array: pass {name}{whole}, or np.asarray({name})")
    # xarray has a graph where its arrays are Dask's, and says itself what is still in a file.
    if value.__dask_graph__() is not None:
        raise TypeError(
            f"{what}: call fastcos on its pieces, by map_blocks (of data frames map_partitions),"
            f" or on the Dask array that it holds (of xarray {name}.data), or pass {name}.compute()"
        )
    if getattr(value, "_in_memory", True) is False:
        raise TypeError(f"{what}: pass {name}.compute()")


@functools.cache
def _may_be_elsewhere(kind: Any) -> bool:
    if issubclass(kind, (np.ndarray, np.generic)):
        return False
    in_chunks = hasattr(kind, "dtype") and any(hasattr(kind, name) for name in _OF_CHUNKS)
    return in_chunks or _has_graph(kind)


def _has_graph(kind: type) -> bool:
    return callable(getattr(kind, "__dask_graph__", None))


def _root(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def _called(kind: type) -> str:
    return f"a {_root(kind)} {kind.__qualname__}"


def read(name: str, value: Any) -> npt.NDArray[Any]:
    """The argument as an array, without a copy where it gives access to its memory.

    Raises:
        TypeError: it is not in memory, or in that of another device, or refuses.
        ValueError: it is a list of unequal depth.
    """
    check_in_memory(name, value)
    if _has_dlpack_alone(value):
        try:
            kind, number = value.__dlpack_device__()
            if kind in _HOSTS:
                return np.from_dlpack(value)
        except Exception as error:  # whatever the library that exports it raises
            raise TypeError(f"{name} cannot be read by DLPack: {error}") from error
        raise TypeError(
            f"{name} is on another device (DLPack calls it {int(kind)}, number {number}): pass"
            f" cupy.from_dlpack({name}), or a copy in the memory of this machine"
        )
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} is not a rectangular array: {error}") from None
    except (TypeError, RuntimeError) as error:
        raise TypeError(f"{name} cannot be read as an array: {error}") from error


def _has_dlpack_alone(value: Any) -> bool:
    kind = type(value)
    if not hasattr(kind, "__dlpack__") or any(hasattr(kind, name) for name in _OF_MEMORY):
        return False
    try:
        memoryview(value)
    except TypeError:
        return True
    return False


def cure(name: str, value: Any, array: npt.NDArray[Any]) -> str:
    """What to do about an argument of which NumPy made an array of objects; empty if unknown."""
    if not array.ndim:
        kind = type(value)
        if hasattr(kind, "collect"):
            return f"it is {_called(kind)}, which is not in memory: pass {name}.collect()"
        many = isinstance(value, Iterable) and not isinstance(value, dict)
        return f"pass list({name})" if many else ""
    items = list(zip(np.ndindex(array.shape), array.flat, strict=True))
    rows = [(at, item) for at, item in items if _is_row(item)]
    missing = [at for at, item in items if _is_missing(item)]
    texts = [(at, item) for at, item in items if isinstance(item, (str, bytes))]
    as_numbers = f'np.asarray({name}, dtype="float64")'
    if _root(type(value)) == "pandas":
        na_value = ", na_value=np.nan" if missing else ""
        as_numbers = f'{name}.to_numpy(dtype="float64"{na_value})'
    if rows:
        for at, item in items:
            if not _is_row(item):
                return (
                    f"it holds vectors, and none at index {at}: leave such rows out, or pass the"
                    " column of vectors alone"
                )
        at, first = rows[0]
        for other, item in rows:
            if len(item) != len(first):
                return (
                    f"it holds vectors of unequal length, {len(first)} at index {at} and"
                    f" {len(item)} at index {other}"
                )
        # Arrow iterates over scalars of its own, and a frame over its columns.
        plain = name if _root(type(value)) != "pyarrow" else f"np.asarray({name})"
        stacked = f"np.stack({plain})"
        if array.ndim > 1:
            one = array.shape[1:] == (1,)
            rest = f"np.array(np.asarray({name}).tolist())"
            stacked = f"np.stack(np.asarray({name})[:, 0])" if one else rest
        return f"it holds vectors: pass {stacked}"
    if texts:
        at, text = texts[0]
        cure = f"leave it out, or pass {as_numbers}" if _is_a_number(text) else "leave it out"
        return f"it holds text, {text!r} at index {at}: {cure}"
    if missing:
        return (
            f"it has no value at index {missing[0]}: leave such rows out or fill them, or pass"
            f" {as_numbers}, which has NaN there"
        )
    kinds = {type(item) for _, item in items}
    if not all(hasattr(kind, "__float__") for kind in kinds):
        return ""
    listing = ", ".join(sorted(kind.__name__ for kind in kinds))
    return f"it holds numbers as objects ({listing}): pass {as_numbers}"


def _is_row(item: Any) -> bool:
    is_sized = hasattr(item, "__len__") and not isinstance(item, (str, bytes, dict))
    return is_sized and getattr(item, "ndim", 1) > 0


def _is_a_number(text: str | bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_missing(item: Any) -> bool:
    # pandas' NA and NaT, which is neither imported nor needed for None.
    return item is None or type(item).__name__ in ("NAType", "NaTType")
