"""Kernels as binaries: compiled to PTX, linked for a GPU, and cached on disk.

No GPU is needed for any of it. Loading and launching them is in
:mod:`fastcos.kernels.cuda.launch`.
"""

import functools
import re
import types as python_types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from numba.core.compiler_lock import global_compiler_lock

from fastcos import _extras
from fastcos.kernels.cache import digest, source_digest, stored
from fastcos.kernels.functions import SCALAR_MODULES, is_ours, name_of

#: What a kernel is compiled for before it is linked for the GPU at hand: the oldest that has the
#: instructions for bfloat16.
OLDEST = (8, 0)

#: The modules of fastcos that end up in a kernel.
SOURCES = (
    *(*SCALAR_MODULES, "kernels", "kernels.functions", "kernels.linear", "kernels.lookup"),
    *("kernels.listwise", "listwise", "listwise.order", "listwise.record", "listwise.scalars"),
    *("kernels.arguments", "kernels.cuda", "kernels.cuda.access", "kernels.cuda.kernel"),
    *("kernels.cuda.exponential", "kernels.cuda.listwise", "kernels.cuda.unit"),
    *("kernels.cuda.measure", "kernels.cuda.merge", "kernels.cuda.storage"),
    *("kernels.cuda.tables", "kernels.cuda.teams", "kernels.cuda.unroll", "kernels.cuda.write"),
)


def binary(
    make: Callable[..., Any],
    arguments: tuple[Any, ...],
    counts: tuple[int, int],
    threads: int,
    capability: tuple[int, ...],
    what: str,
) -> tuple[bytes, str]:
    """A compiled kernel and its name, from disk where it has been compiled before."""

    def compiled() -> bytes:
        text, name = ptx(make, arguments, counts, threads)
        return name.encode() + b"\0" + link(text, capability)[0]

    key = None
    if all(map(is_ours, _functions(arguments))):
        # A user's function may be redefined under its old name, which the key would not see.
        parts = name_of(make), name_of(arguments), repr((counts, threads, capability))
        key = f"fastcos-{digest(_sources(), _versions(), *parts)}.cubin"
    what = "{}, for a GPU of compute capability {}.{}".format(what, *capability)
    # Under Numba's lock, which a fork waits for, and other threads that need the same kernel.
    with global_compiler_lock:
        name, _, code = stored(make, key, compiled, what).partition(b"\0")
    return code, name.decode()


def ptx(
    make: Callable[..., Any], arguments: tuple[Any, ...], counts: tuple[int, int], threads: int
) -> tuple[str, str]:
    """The PTX that Numba compiles a kernel to, and its name there."""
    from numba import cuda, types, void

    from fastcos.kernels.cuda import storage

    integers, floats = counts
    kind = void(types.UniTuple(types.int64, integers), types.UniTuple(types.float64, floats))
    with global_compiler_lock, for_oldest_gpu():
        options = {"device": False, "abi": "numba", "cc": OLDEST, "output": "ptx"}
        kernel = make(*arguments, storage)
        text, _ = cuda.compile(kernel.py_func, kind, launch_bounds=threads, **options)
    entry = re.search(r"\.visible \.entry (\w+)\(", text)
    assert entry
    return text, entry[1]


@contextmanager
def for_oldest_gpu() -> Iterator[None]:
    """Has the functions that kernels call compiled for the oldest GPU.

    numba-cuda asks the current device, which may be another one, or not be there at all.
    """
    from numba.cuda import dispatcher

    asked = dispatcher.get_current_device
    device = python_types.SimpleNamespace(compute_capability=OLDEST)
    dispatcher.get_current_device = lambda: device
    try:
        yield
    finally:
        dispatcher.get_current_device = asked


def link(text: str, capability: tuple[int, ...]) -> tuple[bytes, str]:
    """PTX as a binary, and what the linker says of registers and spills."""
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
    return source_digest(*SOURCES)


@functools.cache
def _versions() -> str:
    packages = "numba", "numba-cuda", "cuda-bindings", "nvidia-nvvm", "nvidia-nvjitlink"
    return repr([_extras.version(package) for package in packages])
