"""Products of rows of half types on a GPU: by its units for half types, which add up in float32.

What is multiplied is float32: rows that were brought to unit length, and slopes. Such a number is
the sum of two bfloat16 numbers, to 2^-16 of it:

    h = bfloat16(x),  l = bfloat16(x - h),  |l| <= 2^-8 |x|,  |x - h - l| <= 2^-16 |x|

so that  x y = h h' + h l' + l h'  within 3 · 2^-16 of |x y|: three products of a half type, which
take less time on such a GPU than one of float32, and leave twice the digits of a half type.
bfloat16, whatever the rows are, for it has float32's range: slopes may be of any size. What is not
finite leaves NaN.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

_HALVES = (torch.float16, torch.bfloat16)


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Halves:
    """A float32 matrix as the sum of two of bfloat16."""

    high: Tensor
    low: Tensor

    def __getitem__(self, rows: slice) -> Halves:
        return Halves(self.high[rows], self.low[rows])

    @property
    def T(self) -> Halves:
        """The transposed matrix."""
        return Halves(self.high.T, self.low.T)


def are_multiplied(dtype: torch.dtype) -> bool:
    """Whether rows of this dtype are multiplied so."""
    # From torch 2.8 on products of half types may be left in float32.
    return dtype in _HALVES and hasattr(torch.ops.aten.mm, "dtype_out")


def halves(matrix: Tensor) -> Halves:
    """A float32 matrix in two."""
    high = matrix.to(torch.bfloat16)
    return Halves(high, (matrix - high).to(torch.bfloat16))


def multiply(a: Any, b: Any, out: Tensor, *, adds: bool) -> None:
    """Writes the product of two matrices, each float32 or in two, or adds it to what is there."""
    a, b = (each if isinstance(each, Halves) else halves(each) for each in (a, b))
    (_add if adds else _write)(a.high, b.high, out)
    _add(a.high, b.low, out)
    _add(a.low, b.high, out)


def _write(a: Tensor, b: Tensor, out: Tensor) -> None:
    torch.mm(a, b, out_dtype=torch.float32, out=out)


def _add(a: Tensor, b: Tensor, out: Tensor) -> None:
    torch.addmm(out, a, b, out_dtype=torch.float32, out=out)
