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

from fastcos.kernels._cache import digest, source_digest, stored
from fastcos.kernels.cpu import _is_ours, _name

Launcher = Callable[[int, int, Sequence[int], Sequence[float]], None]

# Threads that a processor is to hold: of its 65536 registers each then has 128, which no kernel
# exceeds by so much that it would spill.
_RESIDENT = 512

_lock = threading.Lock()


def kernel(
    make: functools.partial[Any], signature: tuple[int, int], threads: int, device: int
) -> Launcher:
    """What launches a kernel on a device.

    Args:
        make: A function of :mod:`fastcos.kernels.cuda` with all of its arguments but ``gpu``.
        signature: How many int64 and how many float64 numbers the kernel takes.
        threads: Of a block.
        device: The number of the GPU.

    Returns:
        ``(stream, blocks, integers, floats) -> None``, where ``stream`` is the address of one; the
        device has to be the current one.

    Raises:
        ImportError: what compiles and launches kernels is not installed.
    """
    return _kernel(make.func, make.args, signature, threads, device)


@functools.cache
def _kernel(
    make: Callable[..., Any],
    arguments: tuple[Any, ...],
    signature: tuple[int, int],
    threads: int,
    device: int,
) -> Launcher:
    core = toolchain()
    capability = tuple(core.Device(device).compute_capability)
    binary, name = kept(make, arguments, signature, threads, capability)
    function = core.ObjectCode.from_cubin(binary).get_kernel(name)
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
            return f"{package} ({error}): pip install 'fastcos[cuda]'"
    if np.lib.NumpyVersion(np.__version__) >= "2.5.0":
        return (
            f"numba-cuda {metadata.version('numba-cuda')} cannot compile beside NumPy"
            f" {np.__version__}: pip install 'fastcos[cuda]', which takes a NumPy below 2.5"
        )
    return ""


def kept(
    make: Callable[..., Any],
    arguments: tuple[Any, ...],
    signature: tuple[int, int],
    threads: int,
    capability: tuple[int, ...],
) -> tuple[bytes, str]:
    """A compiled kernel and its name, from disk where it has been compiled before."""
    content = _name(make), _name(arguments), repr(signature), str(threads), repr(capability)
    if not all(_is_ours(f) for f in _functions(arguments)):
        # A user's function may be redefined under its old name, which the key would not see.
        return _linked(*ptx(make, arguments, signature, threads, capability), capability)

    def binary() -> bytes:
        code, name = _linked(*ptx(make, arguments, signature, threads, capability), capability)
        return name.encode() + b"\0" + code

    key = digest(_sources(), _versions(), *content)
    name, _, code = stored(make, f"fastcos-{key}.cubin", binary).partition(b"\0")
    return code, name.decode()


def ptx(
    make: Callable[..., Any],
    arguments: tuple[Any, ...],
    signature: tuple[int, int],
    threads: int,
    capability: tuple[int, ...],
) -> tuple[str, str]:
    """What Numba makes of a kernel, and its name there. Needs no GPU."""
    from numba import cuda, types, void

    from fastcos.kernels import _gpu

    integers, floats = signature
    kind = void(types.UniTuple(types.int64, integers), types.UniTuple(types.float64, floats))
    with _lock, _pretended(capability):
        text, _ = cuda.compile(
            make(*arguments, _gpu),
            kind,
            device=False,
            abi="numba",
            cc=capability,
            output="ptx",
            launch_bounds=(threads, _RESIDENT // threads),
        )
    entry = re.search(r"\.visible \.entry (\w+)\(", text)
    assert entry
    return text, entry[1]


@contextmanager
def _pretended(capability: tuple[int, ...]) -> Iterator[None]:
    """While functions that kernels call are compiled: for that capability, GPU or no GPU.

    numba-cuda asks the current device, which there may not be, or be another one.
    """
    from numba.cuda import dispatcher

    asked = dispatcher.get_current_device
    device = python_types.SimpleNamespace(compute_capability=capability)
    dispatcher.get_current_device = lambda: device
    try:
        yield
    finally:
        dispatcher.get_current_device = asked


def _linked(text: str, name: str, capability: tuple[int, ...]) -> tuple[bytes, str]:
    return link(text, capability)[0], name


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
        "distances", "losses", "kernels", "kernels._gpu", "kernels._narrow", "kernels.cuda"
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
