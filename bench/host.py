"""Python's part of a call of arrays on a GPU, without one: nothing is launched.

    python -m bench.host

CuPy is stood in for by a module whose arrays are as quick to ask as its own: attributes, and no
memory. What CuPy takes to allocate an array and cuda.core to launch a kernel comes on top.
"""

from __future__ import annotations

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
    sys.modules["cupy"] = cupy
    Array.__module__ = "cupy"  # by which arrays are known

    def launcher(make: Any, counts: Any, threads: int, device: int, what: str) -> Any:
        return lambda stream, blocks, integers, floats: None

    vars(launch)["launcher"] = launcher


def parts() -> dict[str, Callable[[], object]]:
    """The calls, and what each of them does at least."""
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
        "value": lambda: loss(x, y, target),
        "value and gradients": lambda: gradients(x, y, target),
        "value and gradients, out=": lambda: gradients(x, y, target, out=out),
        "  its layouts": lambda: [*map(adapter.array_layout, (x, y, target))],
        "  its plan, found": lambda: calls.planned(state, (), (x, y, target), {}),
        "  two arrays of the stand-in": lambda: (Array((1,)), Array(())),
    }


def main() -> None:
    """Prints the least time of each part, in turns."""
    stand_in()
    found = parts()
    best = dict.fromkeys(found, float("inf"))
    for _ in range(TURNS):
        for name, call in found.items():
            for _ in range(CALLS):
                start = time.perf_counter()
                call()
                best[name] = min(best[name], time.perf_counter() - start)
    for name, seconds in best.items():
        print(f"{name:32} {seconds * 1e6:5.1f} us")


if __name__ == "__main__":
    main()
