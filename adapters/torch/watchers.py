"""Who wants to see the operators of a call: what compiles, transforms, traces or records it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

_RECORDING = [
    getattr(torch._C._TorchDispatchModeKey, name) for name in ("FAKE", "FUNCTIONAL", "PROXY")
]
#: What to do where torch has to see what is computed.
BY_TORCH = "those of torch.nn.functional in fastcos.adapters.torch call torch's operators there"


def unseen(watcher: str) -> str:
    """What is said to those who want to see operators."""
    return f"{watcher}: this function runs a kernel, of which torch sees nothing; {BY_TORCH}"


# All that can be going on around a call, a few tens of nanoseconds each.
_is_compiling = torch.compiler.is_compiling
_is_transformed = torch._C._are_functorch_transforms_active
_modes = torch._C._len_torch_dispatch_stack
_tracing = torch._C._get_tracing_state


def is_ordinary() -> bool:
    """Whether nothing watches, transforms or compiles what is called now."""
    return not (
        _is_compiling()
        or _is_transformed()
        or _modes()
        or forward_ad._current_level >= 0
        or _tracing() is not None
    )


def watcher_of(values: Sequence[Any]) -> str:
    """Who wants to see the operators of a call on these tensors; empty for nobody."""
    tensors = [value for value in values if isinstance(value, Tensor)]
    if _tracing() is not None:
        return "torch.jit.trace"
    if _modes() and any(map(torch._C._get_dispatch_mode, _RECORDING)):
        return "make_fx, torch.export and fake tensors"
    if _is_transformed() and any(map(torch._C._functorch.is_functorch_wrapped_tensor, tensors)):
        return "torch.func transforms"
    unpacked: Any = forward_ad.unpack_dual
    if forward_ad._current_level >= 0 and any(unpacked(t).tangent is not None for t in tensors):
        return "forward-mode differentiation"
    return ""
