"""Rows of a table, as an operand of the public functions."""

from __future__ import annotations

import contextlib
from typing import Any, Literal, Protocol, overload

import numpy.typing as npt

from fastcos.api.calls import not_compiled
from fastcos.engine.checks import check_flag
from fastcos.engine.libraries import adapter_of_arrays
from fastcos.engine.rows import RowGradient as RowGradient
from fastcos.engine.rows import Rows
from fastcos.typing import Array, ArrayLike, IsLazy, IsTensor, Tensor


class _Sparse(IsLazy, Protocol):
    """Rows whose gradient is no array: as of lazy ones, type checkers say nothing of results."""

    def __array__(self) -> Array: ...


# To type checkers they are what they stand for.
@overload
def rows(table: IsTensor, index: ArrayLike, sparse: bool = ...) -> Tensor: ...
@overload
def rows(table: npt.ArrayLike, index: ArrayLike, sparse: Literal[True]) -> _Sparse: ...
@overload
def rows(table: npt.ArrayLike, index: ArrayLike, sparse: Literal[False] = ...) -> Array: ...
@overload
def rows(table: npt.ArrayLike, index: ArrayLike, sparse: bool) -> Any: ...
@not_compiled
def rows(table: ArrayLike, index: ArrayLike, sparse: bool = False) -> Any:
    r"""Rows of a table, in the place of an array of rows: nothing is gathered.

    .. math:: row_n = table_{index_n}

    Losses of pairs and triplets, ``cosine_similarity`` and ``paired_distance`` take it where they
    take an array of rows, beside plain arrays and rows of other tables. The leading shape is that
    of the index, and broadcasts like any other.

    **A table has one gradient**, of its own shape: the sum over all samples and all operands that
    are rows of it, as if the table were the argument. Operands share a table if they were given the
    same object; an array that is an argument itself is another one. ``value_and_grad`` returns one
    gradient for each array that was given: of ``rows(E, i)`` and ``rows(E, j)`` one, and not two.

    Args:
        table: Rows ``(R, D)``, or arrays of rows ``(R, ..., D)``. It is read where it is, by the
            rows that are named; it may be a memory map larger than memory. Copied are, as of any
            array, rows that are not contiguous or not of the dtype that is computed in: those that
            are named, or the table where that is less.
        index: Numbers of rows, integers of any shape; negative ones count from the end. They are
            copied.
        sparse: Whether the gradient is a :class:`RowGradient`, of the rows that are named alone
            (of a tensor: a coalesced sparse tensor, as ``torch.optim.SparseAdam`` takes it). No
            array of the size of the table is made then. Tensors have to be leaves. On a GPU the
            number of rows is waited for.

    Returns:
        The operand. It holds the table, and no copy, so that changes of an array are seen.

    Raises:
        IndexError: the table has no such row; the first one is named. On a GPU the loss of that
            sample is NaN, which needs no waiting.
        TypeError: an index of other than integers; a table that is rows of another.
        ValueError: a table of fewer than two axes; an index on another device.

    Example:
        >>> import numpy as np, fastcos
        >>> E = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> i, j = [0, 0], [1, 2]
        >>> f = fastcos.value_and_grad(fastcos.cosine_embedding_loss)
        >>> loss, (g,) = f(fastcos.rows(E, i), fastcos.rows(E, j), [1, 1])
        >>> g.shape == E.shape
        True
        >>> loss, (a, b) = f(E[i], E[j], [1, 1])  # the same by copies
        >>> np.allclose(g[0], a[0] + a[1]) and np.allclose(g[[1, 2]], b)
        True
        >>> fastcos.paired_distance(fastcos.rows(E, 0), E)
        array([0.        , 0.89442719, 1.41421356])
    """
    if isinstance(table, Rows):
        raise TypeError("table is rows of another table: index that table")
    if isinstance(index, Rows):
        raise TypeError("index must be integers, got rows of a table")
    if getattr(getattr(index, "dtype", None), "kind", "") == "O":
        raise TypeError("index must be integers, got dtype object")
    if isinstance(index, (str, bytes, slice, set, type(None), type(...))):
        raise TypeError(f"index must be integers, got a {type(index).__name__}")
    sparse = bool(check_flag("sparse", sparse))
    index = list(index) if isinstance(index, range) else index
    adapter = adapter_of_arrays(("table", "index"), (table, index), lazy=True)
    if adapter.lazy:
        raise TypeError("table and index must be in memory: of Dask arrays pass table[index]")
    array = adapter.asarray("table", table)
    if array.ndim < 2:
        raise ValueError(f"table must have rows, and so two axes or more; got shape {array.shape}")
    guard = adapter.device_guard and adapter.device_guard((array,))
    with guard or contextlib.nullcontext():
        # An empty list has no dtype.
        empty = isinstance(index, (list, tuple)) and not index
        numbers = adapter.arange(0, array) if empty else adapter.asarray("index", index)
    layout, own = adapter.layout(array), adapter.layout(numbers)
    if own.device != layout.device:
        raise ValueError(f"index is on device {own.device}, table on device {layout.device}")
    found = adapter.row_numbers(numbers, layout.shape[0])
    return Rows(table, found, sparse, array, layout)
