"""Python's part of a call of arrays on a GPU, without one: nothing is launched.

    python -m bench.host

CuPy is stood in for by a module whose arrays are as quick to ask as its own: attributes, and no
memory. What CuPy takes to allocate an array and cuda.core to launch a kernel comes on top. Tensors
are torch's own, of the CPU, which the adapter for those of a GPU is told to take for such.
"""

from __future__ import annotations

import functools
import importlib
import sys
import time
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import fastcos
from fastcos.api import calls
from fastcos.engine import libraries
from fastcos.kernels.cuda import launch

SAMPLES, FEATURES, CALLS, TURNS = 32, 128, 2000, 15

Parts = dict[str, Callable[[], object]]


class _Pointer(NamedTuple):
    ptr: int


class _Device(NamedTuple):
    id: int


class Array:
    """What is asked of an array on a GPU."""

    __slots__ = ("data", "device", "dtype", "ndim", "shape", "strides")

    def __init__(self, shape: tuple[int, ...], dtype: Any = np.float64) -> None:
        self.shape, self.dtype, self.ndim = shape, np.dtype(dtype), len(shape)
        item = self.dtype.itemsize
        self.strides = (item * shape[1], item) if len(shape) == 2 else (item,) * len(shape)
        self.data, self.device = _Pointer(1 << 20), _Device(0)


def stand_in() -> None:
    """Puts the arrays above in place of CuPy's, and nothing in place of a launch."""
    stream = _Pointer(1)
    runtime = types.SimpleNamespace(getDevice=lambda: 0)
    cupy: Any = types.ModuleType("cupy")
    cupy.ndarray, cupy.empty = Array, Array
    cupy.cuda = types.SimpleNamespace(runtime=runtime, get_current_stream=lambda: stream)
    cupy.where = cupy.nonzero = None  # which the adapter has under names of its own
    sys.modules["cupy"] = cupy
    Array.__module__ = "cupy"  # by which arrays are known

    def launcher(make: Any, counts: Any, threads: int, device: int, what: str) -> Any:
        return lambda stream, blocks, integers, floats: None

    vars(launch)["launcher"] = launcher


def of_arrays() -> Parts:
    """Calls of CuPy arrays, and what each of them does at least."""
    x, y = Array((SAMPLES, FEATURES), "float32"), Array((SAMPLES, FEATURES), "float32")
    target = Array((SAMPLES,), "int8")
    out = Array((SAMPLES, FEATURES), "float32"), Array((SAMPLES, FEATURES), "float32")
    for number, array in enumerate((x, y, target, *out)):
        array.data = _Pointer((1 + number) << 20)
    loss = fastcos.cosine_embedding_loss
    gradients = fastcos.value_and_grad(loss)
    adapter = importlib.import_module(libraries._ADAPTERS["cupy"])
    state: Any = loss.__wrapped__  # type: ignore[attr-defined]
    return {
        "CuPy, value": lambda: loss(x, y, target),
        "value and gradients": lambda: gradients(x, y, target),
        "value and gradients, out=": lambda: gradients(x, y, target, out=out),
        "  its layouts": lambda: [*map(adapter.array_layout, (x, y, target))],
        "  its plan, found": lambda: calls.planned(state, (), (x, y, target), {}),
        "  two arrays of the stand-in": lambda: (Array((1,)), Array(())),
    }


def of_tensors() -> Parts:
    """Calls of tensors, and what torch takes for its part of them."""
    import torch

    from fastcos.adapters.torch import arrays, cuda, functional, plain

    arrays.PLACES["cpu"] = arrays.PLACES["cuda"]
    vars(arrays)["device_of"] = lambda tensor: 0
    vars(cuda)["current"] = lambda: 0
    vars(cuda)["stream_of"] = lambda device: 1
    # What was found of tensors before they were taken for others is forgotten.
    found = functools.cache(arrays.at.__wrapped__)
    vars(arrays)["at"] = vars(plain)["at"] = found

    x, y = torch.ones(SAMPLES, FEATURES), torch.ones(SAMPLES, FEATURES)
    target = torch.ones(SAMPLES, dtype=torch.int8)
    leaf, other = x.clone().requires_grad_(), y.clone().requires_grad_()
    one, leaves = torch.ones(()), (leaf, other)
    loss, gradients = fastcos.cosine_embedding_loss, fastcos.value_and_grad
    both = gradients(loss)

    def backward() -> object:
        value = functional.cosine_embedding_loss(leaf, other, target)
        return torch.autograd.grad(value, leaves, one)

    class Nothing(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any, target: Any) -> Any:
            ctx.save_for_backward(x, y, target)
            return one.clone()

        @staticmethod
        def backward(ctx: Any, upstream: Any) -> Any:  # type: ignore[override]
            x, y, _ = ctx.saved_tensors
            return x, y, None

    def nothing() -> object:
        return torch.autograd.grad(Nothing.apply(leaf, other, target), leaves, one)

    return {
        "tensors, value": lambda: loss(x, y, target),
        "value and gradients": lambda: both(x, y, target),
        "torch's function, value": lambda: functional.cosine_embedding_loss(x, y, target),
        "forward": lambda: functional.cosine_embedding_loss(leaf, other, target),
        "forward and backward": backward,
        "  one empty tensor": lambda: torch.empty((), dtype=torch.float64, device=x.device),
        "  a node that does nothing": lambda: Nothing.apply(leaf, other, target),
        "  and backward": nothing,
    }


def best(parts: Parts, calls: int = CALLS, turns: int = TURNS) -> dict[str, float]:
    """The least seconds of each part, in turns."""
    found = dict.fromkeys(parts, float("inf"))
    for _ in range(turns):
        for name, call in parts.items():
            for _ in range(calls):
                start = time.perf_counter()
                call()
                found[name] = min(found[name], time.perf_counter() - start)
    return found


def main(calls: int = CALLS, turns: int = TURNS) -> None:
    """Prints the least time of each part."""
    stand_in()
    for parts in of_arrays, of_tensors:
        for name, seconds in best(parts(), calls, turns).items():
            print(f"{name:32} {seconds * 1e6:5.1f} us")


if __name__ == "__main__":
    main()
