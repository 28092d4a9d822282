"""torch tensors on a GPU: what is different there from :mod:`fastcos.adapters.torch.arrays`.

Everything goes to torch's current stream, on the device of the tensors, with memory of torch's
caching allocator. Nothing waits for the device but ``host``, ``distinct`` and ``nonzero``, and
numbers and lists that are copied there. What is allocated here is used on that one stream, so that
none of it has to be recorded on another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastcos.engine.rows import check_integers
from fastcos.kernels.lookup import OPERAND_BITS

from . import arrays
from .arrays import (
    arange,
    array_layout,
    check_out,
    common_dtype,
    empty_like,
    evaluate,
    features_last,
    float_name,
    host,
    is_read,
    label_kind,
    labels,
    layout,
    lazy,
    no_overlap,
    numbers,
    placed,
    records,
    row_gradient,
    rows,
    sum_to,
    values,
)
from .halves import Halves, are_multiplied, halves, multiply
from .matrices import (
    DTYPES,
    from_host,
    joined,
    kth_largest,
    nonzero,
    numbered_like,
    product_roundoff,
    where,
)
from .watchers import unseen

__all__ = [
    "DTYPES",
    "add_matmul",
    "arange",
    "array_layout",
    "check_out",
    "common_dtype",
    "empty_like",
    "evaluate",
    "features_last",
    "float_name",
    "from_host",
    "host",
    "is_read",
    "joined",
    "kth_largest",
    "label_kind",
    "labels",
    "layout",
    "lazy",
    "no_overlap",
    "nonzero",
    "numbered_like",
    "numbers",
    "placed",
    "product_roundoff",
    "records",
    "row_gradient",
    "rows",
    "sum_to",
    "values",
    "where",
]

Dtype = torch.dtype

#: Threads are no matter of a GPU.
THREADS = None
#: Whether a number can be read without waiting for a device.
SCALARS_ARE_FREE = False
#: Where numbers and lists go.
_PLACE = "cuda"


def asarray(name: str, value: Any) -> Tensor:
    """The argument as a strided tensor; numbers and lists on the current device.

    Raises:
        TypeError: as for tensors on the CPU.
    """
    if not isinstance(value, Tensor):
        value = arrays.converted(name, value, _PLACE)
    return arrays.asarray(name, value)


def float64(name: str, value: Any) -> Tensor:
    """The argument as contiguous float64, detached."""
    return asarray(name, value).detach().to(torch.float64).contiguous()


def scratch(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Memory for float64 numbers."""
    return new(shape, torch.float64, like)


def wrap(numbers: Tensor) -> Tensor:
    """Scratch memory as a tensor."""
    return numbers


def new(shape: tuple[int, ...], dtype: Dtype, like: Tensor) -> Tensor:
    """Memory for what is returned."""
    return torch.empty(shape, dtype=dtype, device=like.device)


def workspace(shape: tuple[int, ...], dtype: Dtype, like: Tensor) -> Tensor:
    """Memory for matrices that products are made of."""
    return new(shape, dtype, like)


def matmul(a: Any, b: Any, out: Tensor) -> None:
    """Writes the product of two matrices, of which each may be in two (:func:`factors`).

    Of float32 it is in float32, unless the program asks torch for TF32, for all of its products
    (``torch.backends.cuda.matmul.allow_tf32``, ``torch.set_float32_matmul_precision``). Autocast
    leaves products into given memory as they are.
    """
    if isinstance(b, Halves):
        multiply(a, b, out, adds=False)
    else:
        torch.mm(a, b, out=out)


def add_matmul(a: Any, b: Any, out: Tensor) -> None:
    """Adds the product of two such matrices to what is there."""
    if isinstance(b, Halves):
        multiply(a, b, out, adds=True)
    else:
        out.addmm_(a, b)


def factors(matrices: tuple[Tensor, Tensor], arrays: tuple[Tensor, Tensor]) -> tuple[Any, Any]:
    """The float32 matrices of the rows of arrays, each in two where all rows are of half types.

    Not where the program has asked torch to round products of float32: then these are as quick.
    """
    if product_roundoff() or not all([are_multiplied(array.dtype) for array in arrays]):
        return matrices
    x, y = matrices
    first = halves(x)
    return first, first if y is x else halves(y)


def center(array: Tensor) -> Tensor:
    """The mean row, in float64."""
    return array.detach().mean(0, dtype=torch.float64)


def numbered(count: int, like: Tensor) -> Tensor:
    """The first int64 numbers, as labels."""
    return arange(count, like)


def classes(name: str, labels: Tensor, count: int | None) -> Tensor:
    """Labels as int64 numbers.

    To look at them would be to wait for them: of labels below 0 those that are equal are a class,
    and one that is not less than the count is of no class, as one below 0 is: such an anchor has no
    positives.

    Raises:
        TypeError: they are no integers.
    """
    if labels.is_floating_point() or labels.is_complex():
        raise TypeError(f"{name} must be integers, got dtype {labels.dtype}")
    return labels.detach().to(torch.int64).contiguous()


def ratio_with(anchor_labels: Tensor, candidate_labels: Tensor) -> Tensor:
    """The number of anchors, which are classes, over that of those with a candidate."""
    anchors = anchor_labels.numel()
    wrong = (candidate_labels < 0) | (candidate_labels >= anchors)
    there = torch.zeros(anchors + 1, dtype=torch.float64, device=anchor_labels.device)
    there.index_fill_(0, torch.where(wrong, anchors, candidate_labels), 1.0)
    return anchors / there[:anchors].sum().clamp(min=1.0)


def row_numbers(index: Tensor, rows: int) -> Tensor:
    """Numbers of the rows of a table, in memory that nobody else writes to.

    None is negative, and ``rows`` stands for all that the table does not have: to say which these
    are would be to wait for them.

    Raises:
        TypeError: they are no integers.
        IndexError: the table has no rows at all.
    """
    check_integers(index.dtype, arrays.is_integer(index.dtype))
    if rows == 0 and index.numel():
        raise IndexError("index names rows, the table has 0 rows")
    found = index.detach().to(torch.int64)
    found = torch.where(found < 0, found + rows, found)
    return torch.where((found < 0) | (found > rows), rows, found).contiguous()


def sorted_words(
    numbers: Sequence[tuple[int, Tensor]], samples: tuple[int, ...], shift: int, bits: int
) -> Tensor:
    """The words of operands and the numbers of their rows (:mod:`fastcos.kernels.lookup`)."""
    counted = arange(math.prod(samples), numbers[0][1]).reshape(samples) << OPERAND_BITS
    words = [(rows << shift | counted | operand).flatten() for operand, rows in numbers]
    return torch.cat(words).sort().values


def distinct(words: Tensor, shift: int, inner: int) -> tuple[Tensor, Tensor]:
    """As the adapter for NumPy's arrays has it; waits for the number of rows."""
    keys = words >> shift
    rows, places = torch.unique_consecutive(keys // inner, return_inverse=True)
    return rows, (places * inner + keys % inner) << shift | words & ((1 << shift) - 1)


def number(array: Tensor) -> Tensor:
    """A number that was computed; where it is, so as not to wait for it."""
    # A count times a float would be of the default dtype.
    return array.to(torch.float64)


def quotient(numerator: Any, denominator: Tensor) -> Tensor:
    """The quotient; 0 where the denominator is 0."""
    zero = denominator == 0
    return torch.where(zero, 0.0, numerator / torch.where(zero, 1.0, denominator))


def scalar(number: Any, dtype: Dtype, like: Tensor) -> Tensor:
    """What is returned for one number."""
    if isinstance(number, Tensor):
        return number.to(dtype)
    return torch.full((), number, dtype=dtype, device=like.device)


def address(array: Tensor) -> int:
    """Where the data begin.

    Raises:
        RuntimeError: as for tensors on the CPU.
    """
    try:
        return array.data_ptr()
    except RuntimeError as error:
        raise RuntimeError(unseen("torch.func transforms")) from error


def device_guard(operands: Sequence[Any]) -> Any:
    """A context manager that makes the device of the tensors the current one; None if it is."""
    for operand in operands:
        if isinstance(operand, Tensor):
            device = arrays.device_of(operand)
            return None if device == current() else torch.cuda.device(device)
    return None


def stream() -> int:
    """The address of the current stream."""
    return stream_of(current())


def current() -> int:
    """The number of the current device."""
    return int(torch._C._cuda_getDevice())


def stream_of(device: int) -> int:
    """The address of the current stream of a device."""
    # As Inductor asks for it: torch.cuda.current_stream makes an object first.
    return int(torch._C._cuda_getCurrentRawStream(device))
