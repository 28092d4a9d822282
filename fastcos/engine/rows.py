"""Rows of a table: the operand that names them, and what is known of it without its numbers."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastcos.engine.layout import ArrayLayout, Shape


@dataclasses.dataclass(frozen=True, eq=False, repr=False, slots=True)
class Rows:
    """Rows of a table, in the place of an array of them: what :func:`fastcos.rows` returns."""

    table: Any  # as it was given
    index: Any  # the numbers of the rows: int64, none negative, of nobody else
    sparse: bool  # whether the gradient is to be a :class:`RowGradient`
    array: Any  # the table as an array of its library
    layout: ArrayLayout  # of that, when it was given

    @property
    def shape(self) -> Shape:
        """The shape of ``table[index]``."""
        return (*self.index.shape, *self.layout.shape[1:])

    @property
    def dtype(self) -> Any:
        """The dtype of the table."""
        return self.layout.dtype

    @property
    def ndim(self) -> int:
        """The number of axes of ``table[index]``."""
        return len(self.shape)

    def __repr__(self) -> str:
        table, index = tuple(self.layout.shape), tuple(self.index.shape)
        sparse = ", sparse=True" if self.sparse else ""
        return f"fastcos.rows(table of {table}, index of {index}{sparse})"


class RowGradient(NamedTuple):
    """The gradient of the rows of a table that samples name; that of all other rows is 0.

    Args:
        rows: The numbers of the rows, ascending, each once.
        values: The gradient of each, as an array of as many rows.

    Example:
        >>> import numpy as np, fastcos
        >>> E = np.array([[3.0, 4.0], [0.0, 0.0], [0.0, 0.0]])
        >>> f = fastcos.grad(fastcos.paired_distance, argnums="x1")
        >>> g = f(fastcos.rows(E, [0, 0], sparse=True), np.zeros(2), grad_output=[1.0, 4.0])
        >>> g
        RowGradient(rows=array([0]), values=array([[3., 4.]]))
        >>> E[g.rows] -= 0.5 * g.values
        >>> E[0]
        array([1.5, 2. ])
    """

    rows: npt.NDArray[np.int64]  # the numbers of the rows, ascending, each once
    values: npt.NDArray[Any]  # the gradient of each

    @property
    def ndim(self) -> int:
        """The number of axes of the table."""
        return int(self.values.ndim)

    # A tuple would be repeated, or made longer.
    def __mul__(self, other: object) -> Any:
        raise TypeError("a RowGradient is no array: compute with its values")

    def __rmul__(self, other: object) -> Any:
        return self * other

    def __add__(self, other: object) -> Any:
        return self * other


class RowsLayout(NamedTuple):
    """The layout of :class:`Rows`."""

    table: ArrayLayout
    numbers: Shape  # the shape of the index
    sparse: bool
    group: int  # which table it is, among those of a call

    @property
    def shape(self) -> Shape:
        """The shape of ``table[index]``."""
        return (*self.numbers, *self.table.shape[1:])

    @property
    def dtype(self) -> Any:
        """The dtype of the table."""
        return self.table.dtype

    @property
    def device(self) -> int:
        """Where the table is."""
        return self.table.device


def array_of(operand: Any) -> Any:
    """The array that an operand is, or is rows of."""
    return operand.array if type(operand) is Rows else operand


def group_of(operand: Any) -> int | None:
    """Which table an operand is rows of, as one that others may be rows of, too."""
    if type(operand) is Rows:
        return id(operand.table)
    return operand.group if type(operand) is RowsLayout else None


def layouts(adapter: Any, operands: Sequence[Any]) -> tuple[Any, ...]:
    """The layouts of operands; those of one table, the same object, are of one group."""
    groups: dict[int, int] = {}
    found: list[Any] = []
    for operand in operands:
        if type(operand) is not Rows:
            found.append(adapter.layout(operand))
            continue
        group = groups.setdefault(id(operand.table), len(groups))
        own = adapter.layout(operand.array)
        found.append(RowsLayout(own, tuple(operand.index.shape), operand.sparse, group))
    return tuple(found)


def check_unchanged(adapter: Any, name: str, operand: Rows) -> None:
    """Raises unless the table is as it was when its rows were named.

    Raises:
        ValueError: it has another shape.
        TypeError: it has another dtype.
    """
    now, then = adapter.layout(operand.array), operand.layout
    if now.shape != then.shape or now.dtype != then.dtype:
        error = ValueError if now.shape != then.shape else TypeError
        raise error(
            f"{name} is rows of a table that has changed since: it had shape {then.shape} and dtype"
            f" {then.dtype}, and has {now.shape} and {now.dtype}; call fastcos.rows again"
        )


def gathered(operand: Any) -> Any:
    """The rows as an array of their own, for a function that takes arrays."""
    return operand.array[operand.index] if type(operand) is Rows else operand


def check_integers(dtype: Any, are_integers: bool) -> None:
    """Raises unless the numbers of an index are integers."""
    if not are_integers:
        hint = ": pass the numbers of the rows where it is True" if "bool" in str(dtype) else ""
        raise TypeError(f"index must be integers, got dtype {dtype}{hint}")


def out_of_range(index: Any, first: Sequence[int], rows: int) -> IndexError:
    """The error for the number at a position, which the table does not have.

    On a GPU nobody knows the number any more: it is None.
    """
    place = tuple(int(i) for i in first)
    at = place[0] if len(place) == 1 else place
    where = f" at position {at}" if place else ""
    number = "out of range" if index is None else int(index)
    return IndexError(f"index is {number}{where}, the table has {rows} rows")
