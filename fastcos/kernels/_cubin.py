"""From a kernel in Python to one that a GPU runs: compiled, kept on disk, loaded, launched.

Numba compiles; the launch goes past its dispatcher, which takes 40 to 70 µs to look at arguments
that are all numbers here. One through cuda.core takes a few.
"""

from __future__ import annotations

import functools
import importlib
import re
import threading
import types as python_types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import numpy as np
from numba.core.compiler_lock import global_compiler_lock

from fastcos import _extras
from fastcos.kernels.cache import digest, source_digest, stored
from fastcos.kernels.functions import is_ours, name_of

Launcher = Callable[[int, int, Sequence[int], Sequence[float]], None]

# What a kernel is compiled for before it is linked for the GPU at hand: the oldest that has the
# instructions for bfloat16.
_OLDEST = (8, 0)

_thread = threading.local()


def kernel(
    make: functools.partial[Any], signature: tuple[int, int], layout: Any, device: int, what: str
) -> Launcher:
    """What launches a kernel on a device.

    Args:
        make: A function of :mod:`fastcos.kernels.cuda` with all of its arguments but ``gpu``.
        signature: How many int64 and how many float64 numbers the kernel takes.
        layout: A :class:`fastcos.kernels.cuda.Layout`.
        device: The number of the GPU.
        what: What a person calls the kernel.

    Returns:
        ``(stream, blocks, integers, floats) -> None``, where ``stream`` is the address of one; the
        device has to be the current one.

    Raises:
        ImportError: what compiles and launches kernels is not installed.
        RuntimeError: the GPU is too old.
    """
    # By what it is made of, and not by what it is called.
    key = make.func, make.args, signature, layout, device
    if key not in _launchers:
        _launchers[key] = _launcher(*key, what)
    return _launchers[key]


_launchers: dict[tuple[Any, ...], Launcher] = {}


def _launcher(
    make: Callable[..., Any],
    arguments: tuple[Any, ...],
    signature: tuple[int, int],
    layout: Any,
    device: int,
    what: str,
) -> Launcher:
    core = toolchain()
    capability = tuple(core.Device(device).compute_capability)
    if capability < _OLDEST:
        raise RuntimeError(
            "device {} has compute capability {}.{}, fastcos needs {}.{} or newer".format(
                device, *capability, *_OLDEST
            )
        )
    binary, name = kept(make, arguments, signature, layout, capability, what)
    function = core.ObjectCode.from_cubin(binary).get_kernel(name)
    launch = core.launch

    @functools.lru_cache(maxsize=256)
    def grid(blocks: int) -> Any:
        return core.LaunchConfig(grid=blocks, block=layout.threads)

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
    """The module that launches, :mod:`cuda.core`, with all that compiles installed too.

    Raises:
        ImportError: something is missing; the message says what to install.
    """
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
            f"numba-cuda {metadata.version('numba-cuda')} cannot compile beside NumPy"
            f" {np.__version__}: {_extras.command('cuda')}"
        )
    return ""


def kept(
    make: Callable[..., Any],
    arguments: tuple[Any, ...],
    signature: tuple[int, int],
    layout: Any,
    capability: tuple[int, ...],
    what: str,
) -> tuple[bytes, str]:
    """A compiled kernel and its name, from disk where it has been compiled before."""

    def binary() -> bytes:
        text, name = ptx(make, arguments, signature, layout)
        return name.encode() + b"\0" + link(text, capability)[0]

    key = None
    if all(is_ours(function) for function in _functions(arguments)):
        # A user's function may be redefined under its old name, which the key would not see.
        parts = name_of(make), name_of(arguments), repr((signature, layout, capability))
        key = f"fastcos-{digest(_sources(), _versions(), *parts)}.cubin"
    what = "{}, for a GPU of compute capability {}.{}".format(what, *capability)
    # Under Numba's lock, which a fork waits for, and other threads that need the same kernel.
    with global_compiler_lock:
        name, _, code = stored(make, key, binary, what).partition(b"\0")
    return code, name.decode()


def ptx(
    make: Callable[..., Any],
    arguments: tuple[Any, ...],
    signature: tuple[int, int],
    layout: Any,
) -> tuple[str, str]:
    """What Numba makes of a kernel, and its name there. Needs no GPU."""
    from numba import cuda, types, void

    from fastcos.kernels import _gpu

    integers, floats = signature
    kind = void(types.UniTuple(types.int64, integers), types.UniTuple(types.float64, floats))
    with global_compiler_lock, _pretended():
        text, _ = cuda.compile(
            make(*arguments, _gpu),
            kind,
            device=False,
            abi="numba",
            cc=_OLDEST,
            output="ptx",
            launch_bounds=layout.threads,
        )
    entry = re.search(r"\.visible \.entry (\w+)\(", text)
    assert entry
    return text, entry[1]


@contextmanager
def _pretended() -> Iterator[None]:
    """While functions that kernels call are compiled: for the oldest GPU.

    numba-cuda asks the current device, which may be another one, or not be there at all.
    """
    from numba.cuda import dispatcher

    asked = dispatcher.get_current_device
    device = python_types.SimpleNamespace(compute_capability=_OLDEST)
    dispatcher.get_current_device = lambda: device
    try:
        yield
    finally:
        dispatcher.get_current_device = asked


def link(text: str, capability: tuple[int, ...]) -> tuple[bytes, str]:
    """PTX as a binary, and what the linker says of registers and spills. Needs no GPU."""
    from cuda.bindings import nvjitlink

    options = ["-arch=sm_{}{}".format(*capability), "-O3", "-verbose"]
    handle = nvjitlink.create(len(options), options)
    try:
        code = text.encode()
        nvjitlink.add_data(handle, nvjitlink.InputType.PTX, code, len(code), "fastcos")
        nvjitlink.complete(handle)
        binary = bytearray(nvjitlink.get_linked_cubin_size(handle))
        nvjitlink.get_linked_cubin(handle, binary)
        log = bytearray(nvjitlink.get_info_log_size(handle))
        nvjitlink.get_info_log(handle, log)
        return bytes(binary), log.rstrip(b"\0").decode(errors="replace")
    finally:
        nvjitlink.destroy(handle)


def _functions(part: Any) -> Iterator[Any]:
    """The functions among the arguments that a kernel is made of."""
    if isinstance(part, tuple):
        for each in part:
            yield from _functions(each)
    elif callable(part):
        yield part


@functools.cache
def _sources() -> str:
    return source_digest(
        "distances",
        "losses",
        "kernels",
        "kernels.functions",
        "kernels._gpu",
        "kernels.linear",
        "kernels.cuda",
    )


@functools.cache
def _versions() -> str:
    packages = "numba", "numba-cuda", "cuda-bindings", "nvidia-nvvm", "nvidia-nvjitlink"
    return repr([_version(package) for package in packages])


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
