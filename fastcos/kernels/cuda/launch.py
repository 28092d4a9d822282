"""Kernels as launchers: loaded onto a device, and launched there.

Numba compiles; the launch goes past its dispatcher, which takes 40 to 70 µs to look at arguments
that are all numbers here. One through cuda.core takes a few.
"""

import functools
import importlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcos import _extras
from fastcos.kernels.cuda.binaries import OLDEST, binary

#: ``(stream, blocks, integers, floats) -> None``
Launcher = Callable[[int, int, Sequence[int], Sequence[float]], None]
# Devices of this number and larger ones are GPUs that are not there.
_ABSENT = 1 << 16

_thread = threading.local()


def launcher(
    make: functools.partial[Any], counts: tuple[int, int], threads: int, device: int, what: str
) -> Launcher:
    """The launcher of a kernel on a device; one that was asked for before is not loaded again.

    ``make`` is a function of :mod:`fastcos.kernels.cuda` with all of its arguments but ``gpu``; the
    kernel takes so many (``counts``) int64 and float64 numbers, and blocks of ``threads``.
    Launchers take the address of a stream of the current device, which has to be theirs.
    """
    # By what it is made of, and not by what a person calls it. How long rows are is no part of
    # that: rows of most lengths share a kernel.
    key = make.func, make.args, counts, threads, device
    if key not in _launchers:
        _launchers[key] = _loaded(*key, what)
    return _launchers[key]


_launchers: dict[tuple[Any, ...], Launcher] = {}


def absent(capability: tuple[int, int]) -> int:
    """The number of a GPU that is not there: launchers compile for it, to disk, and do nothing."""
    major, minor = capability
    return _ABSENT + (major << 8) + minor


def _loaded(
    make: Callable[..., Any],
    arguments: tuple[Any, ...],
    counts: tuple[int, int],
    threads: int,
    device: int,
    what: str,
) -> Launcher:
    core = toolchain()
    if device >= _ABSENT:
        binary(make, arguments, counts, threads, divmod(device - _ABSENT, 1 << 8), what)
        return lambda stream, blocks, integers, floats: None
    capability = tuple(core.Device(device).compute_capability)
    if capability < OLDEST:
        raise RuntimeError(
            "device {} has compute capability {}.{}, fastcos needs {}.{} or newer".format(
                device, *capability, *OLDEST
            )
        )
    code, name = binary(make, arguments, counts, threads, capability, what)
    function = core.ObjectCode.from_cubin(code).get_kernel(name)
    launch = core.launch

    @functools.lru_cache(maxsize=256)
    def grid(blocks: int) -> Any:
        return core.LaunchConfig(grid=blocks, block=threads)

    @functools.lru_cache(maxsize=256)
    def stream_at(address: int) -> Any:
        return core.Stream.from_handle(address)

    def launch_on(
        stream: int, blocks: int, integers: Sequence[int], floats: Sequence[float]
    ) -> None:
        # A thread in which nothing has called the runtime yet has no context, though it has a
        # current device.
        if getattr(_thread, "device", None) != device:
            core.Device(device).set_current()
            _thread.device = device
        launch(stream_at(stream), grid(blocks), function, *integers, *floats)

    return launch_on


@functools.cache
def toolchain() -> Any:
    """The module that launches, :mod:`cuda.core`; raises where it or a compiler is missing."""
    fault = missing()
    if fault:
        raise ImportError(f"arrays on a GPU need more than is installed: {fault}")
    return importlib.import_module("cuda.core")


def missing() -> str:
    """What keeps kernels from being compiled for a GPU; empty where nothing does."""
    for module, package in (("numba_cuda", "numba-cuda"), ("cuda.core", "cuda-core")):
        try:
            importlib.import_module(module)
        except ImportError as error:
            return f"{package} ({error}): {_extras.command('cuda')}"
    if np.lib.NumpyVersion(np.__version__) >= "2.5.0":
        return (
            f"numba-cuda {_extras.version('numba-cuda')} cannot compile beside NumPy"
            f" {np.__version__}: {_extras.command('cuda')}"
        )
    return ""
