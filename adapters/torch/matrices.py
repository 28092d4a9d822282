"""What listwise losses ask of torch, on the CPU: products of matrices, and labels as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import numpy as of_numpy

#: torch.dtypes by name, for the matrices of listwise losses.
DTYPES = {"float32": torch.float32, "float64": torch.float64}


#: From how many numbers on threads share the work on rows between two products. Those of torch's
#: products are the same pool, and to wake them takes as long as 30,000 numbers.
SHARED_BESIDE_PRODUCTS = 1 << 16


def from_host(array: Any, like: Tensor | None) -> Tensor:
    """An array of NumPy as a tensor, where another is."""
    found = torch.from_numpy(array)
    return found if like is None else found.to(like.device)


def matmul(a: Tensor, b: Tensor, out: Tensor) -> None:
    """Writes the product of two matrices."""
    torch.mm(a, b, out=out)


def products_on_one_thread() -> None:
    """Its threads are ours, and there is no need."""


def product_roundoff() -> float:
    """What torch may round float32 numbers by before it multiplies them, relative to them.

    ``torch.set_float32_matmul_precision`` allows it, and what has replaced that since; on a
    processor with instructions for it, too.
    """
    backends = torch.backends
    places = (
        backends,
        backends.mkldnn,
        getattr(backends.mkldnn, "matmul", None),
        backends.cuda.matmul,
    )
    names = {str(getattr(place, "fp32_precision", "")) for place in places}
    if "bf16" in names:
        return 2.0**-8
    if "tf32" in names:
        return 2.0**-11
    try:
        precision = torch.get_float32_matmul_precision()
    except RuntimeError:  # the new settings are in use, and were looked at
        return 0.0
    return {"highest": 0.0, "high": 2.0**-11}.get(precision, 2.0**-8)


def kth_largest(array: Tensor, k: int) -> Tensor:
    """The k-th largest number of each row."""
    return array.topk(k, dim=1).values[:, -1]


def factors(matrices: tuple[Tensor, Tensor], arrays: tuple[Any, Any]) -> tuple[Tensor, Tensor]:
    """What products take in place of the matrices of the rows of arrays: these."""
    return matrices


def add_matmul(a: Tensor, b: Tensor, out: Tensor) -> None:
    """Adds the product of two matrices to what is there."""
    out.addmm_(a, b)


def center(array: Tensor) -> Any:
    """The mean row, in float64."""
    return array.detach().mean(0, dtype=torch.float64).numpy()


def numbered(count: int, like: Tensor) -> Any:
    """The first int32 numbers."""
    return np.arange(count, dtype=np.int32)


def classes(name: str, labels: Tensor, count: int | None) -> Any:
    """As the adapter for NumPy's arrays has it."""
    if labels.is_floating_point() or labels.is_complex():
        raise TypeError(f"{name} must be integers, got dtype {labels.dtype}")
    return of_numpy.classes(name, labels.detach().numpy(), count)


ratio_with = of_numpy.ratio_with


def nonzero(mask: Tensor) -> tuple[Tensor, ...]:
    """Where a mask is true, by axes."""
    return mask.nonzero(as_tuple=True)


where = torch.where


def numbered_like(array: Tensor) -> Tensor:
    """A number for each of a tensor, from 0 on."""
    return torch.arange(len(array), device=array.device)


def joined(parts: Sequence[Tensor], like: Tensor) -> Tensor:
    """Numbers of rows, one part after the other."""
    return torch.cat([torch.empty(0, dtype=torch.int64, device=like.device), *parts])
