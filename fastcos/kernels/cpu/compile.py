"""From the functions of a loss and a distance to a compiled kernel, in memory and on disk.

What a kernel does is in :mod:`~fastcos.kernels.cpu.pair_kernel` and its siblings; files are the
subject of :mod:`fastcos.kernels.cache`.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable
from typing import Any

from numba import int64
from numba.core.compiler_lock import global_compiler_lock

from fastcos.distances import Functions
from fastcos.kernels.cache import digest, exported, source_digest
from fastcos.kernels.cpu.storage import STORAGE
from fastcos.kernels.cpu.unpack import Counts, unpacker
from fastcos.kernels.functions import is_ours, jitable, name_of, registered

# The modules whose source ends up in a compiled kernel.
SOURCES = (
    *("distances", "losses", "kernels", "kernels.arguments", "kernels.functions", "kernels.linear"),
    *("kernels.cpu", "kernels.cpu.compile", "kernels.cpu.emit", "kernels.cpu.gradients"),
    *("kernels.cpu.loops", "kernels.cpu.measure", "kernels.cpu.memory", "kernels.cpu.pair_kernel"),
    *("kernels.cpu.pointwise_kernel", "kernels.cpu.samples", "kernels.cpu.states"),
    *("kernels.cpu.storage", "kernels.cpu.streaming", "kernels.cpu.triplet_kernel"),
    "kernels.cpu.unpack",
)

_kernels: dict[tuple[Any, ...], Any] = {}


def kernel_of(
    what: str,
    body: Callable[..., Callable[[int, int], int]],
    function: Callable[..., Any],
    functions: Functions | None,
    counts: Counts,
    dtype: str,
) -> Any:
    """The compiled kernel of the function of a loss and the functions of a distance, if it has one.

    ``body`` is ``(function, functions, storage, unpack, jitable) -> kernel``.
    """
    key = body, function, functions, counts, dtype
    if key in _kernels:
        return _kernels[key]
    # Under Numba's lock, or threads that need a kernel at once would each compile it.
    with global_compiler_lock:
        if key not in _kernels:
            # A user's function may be redefined under its old name and place (a notebook cell),
            # which the key of the disk cache does not see: only our own kernels go there.
            ours = all(f is None or is_ours(f) for f in (function, *(functions or ())))
            content = digest_of_sources(), *key
            tag = digest(*map(name_of, content)) if ours else uuid.uuid4().hex
            functions = functions and Functions._make(map(registered, functions))
            parts = registered(function), functions, STORAGE[dtype], unpacker(counts)
            kernel = body(*parts, _tagged(tag))
            kernel.__qualname__ += f"_{tag}"
            _kernels[key] = exported(kernel, int64(int64, int64), what, keep=ours)
        return _kernels[key]


def _tagged(tag: str) -> Any:
    """A :func:`jitable` that puts ``tag`` into the name of the function.

    The symbols of a compiled function are made of its name, the types of its arguments and a number
    that Numba counts up in each process. Two kernels that were cached by two processes can agree in
    all three, and loaded into a third one would run the code of the other.
    """

    def tagged(**options: Any) -> Any:
        def decorate(function: Any) -> Any:
            function.__qualname__ += f"_{tag}"
            return jitable(**options)(function)

        return decorate

    return tagged


@functools.cache
def digest_of_sources() -> str:
    """A digest of the sources that end up in a compiled kernel."""
    return source_digest(*SOURCES)
