"""What autocast asks for: the dtype of results, and operands cast for torch's own operators."""

from __future__ import annotations

import torch
from torch import Tensor

from fastcos.engine.rows import array_of


def autocast_dtype(*inputs: Tensor, everywhere: bool = True) -> torch.dtype | None:
    """float32 where autocast computes in it what is given in a half type.

    That is the losses ``everywhere``, what they are made of on a GPU only.
    """
    first = array_of(inputs[0])
    if first.itemsize == 2 and (everywhere or first.is_cuda):
        enabled = torch.is_autocast_enabled(first.device.type)
        halves = enabled and all([array_of(t).itemsize == 2 for t in inputs])
        return torch.float32 if halves else None
    return None


def cast(result: torch.dtype | None, *inputs: Tensor) -> tuple[Tensor, ...]:
    """The inputs in the dtype of the result, or as they are."""
    return inputs if result is None else tuple([t.to(result) for t in inputs])
