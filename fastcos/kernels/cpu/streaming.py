"""Stores that bypass the caches, by way of write buffers.

A cache line that is written as a whole, and left in no cache, need not be read before. A third of a
copy's traffic.
"""

import functools
import math
import pathlib
from typing import Any

from llvmlite import binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastcos.kernels.cpu.memory import INT8, INT32, INT64, emitted, longs, words
from fastcos.kernels.functions import jitable

# Bytes of a write buffer: a header, which is a cache line with the start and the end of the pending
# bytes (addresses of the destination); then up to 62 pending bytes and a stretch of a gradient,
# aligned as at the destination. A stretch is at most a step of a kernel, 512 bytes, and 62 for
# alignment.
_BUFFER = 1024


def caches() -> dict[str, int]:
    """Bytes of each data cache of the first core by level; empty where the system does not say."""
    sizes = {}
    try:
        for index in sorted(pathlib.Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
            kind, level, size = (
                (index / name).read_text(encoding="ascii").strip()
                for name in ("type", "level", "size")
            )
            if kind != "Instruction":
                sizes[f"L{level}"] = int(size.rstrip("K")) * 1024
    except (OSError, ValueError):
        return {}
    return sizes


@functools.cache
def streaming_threshold() -> float:
    """Bytes read and written by a call from which gradients are faster stored past the caches.

    That is the size of the last level, or 32 MiB where the system does not say. It is infinity
    where this does not pay: an Intel processor (Emerald Rapids) sees for itself that lines are
    written as a whole, and was slower this way (docs/speed/tried.md).
    """
    if not llvm.get_host_cpu_name().startswith("znver"):
        return math.inf
    return max(caches().values(), default=32 << 20)


@emitted
def write_buffers(count: Any) -> Any:
    """The address of so many empty write buffers on the stack; ``count`` is a constant."""
    if not isinstance(count, types.IntegerLiteral):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        size = _BUFFER * count.literal_value
        place = cgutils.alloca_once(builder, ir.ArrayType(INT8, size))
        place.align = 64
        for number in range(count.literal_value):
            for word in range(2):
                at = builder.gep(place, [INT64(0), INT64(number * _BUFFER + 8 * word)])
                builder.store(INT64(0), builder.bitcast(at, INT64.as_pointer()))
        return builder.ptrtoint(place, INT64)

    return types.int64(count), codegen


@emitted
def stream_line(source: Any, target: Any) -> Any:
    """Copies 64 bytes to an address divisible by 64, bypassing the caches."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        line = ir.VectorType(ir.FloatType(), 16).as_pointer()
        source, target = (builder.inttoptr(address, line) for address in args)
        store = builder.store(builder.load(source, align=1), target, align=64)
        store.set_metadata("nontemporal", builder.module.add_metadata([INT32(1)]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@jitable()
def _copy(source: int, target: int, size: int) -> None:
    """Copies an even number of bytes: rows are aligned to their numbers."""
    read, written = words(source, size // 2), words(target, size // 2)
    for k in range(size // 2):
        written[k] = read[k]


@jitable(forceinline=False)
def _flush(buffer: int) -> None:
    """Writes the pending bytes of a buffer."""
    pending = longs(buffer, 2)
    _copy(buffer + 64 + pending[0] % 64, pending[0], pending[1] - pending[0])
    pending[0] = pending[1]


@jitable()
def buffer_slot(buffers: int, number: int, target: int) -> int:
    """Where to write a stretch that belongs at the target, which is there if there are no buffers.

    In a buffer, :func:`flush_lines` has to follow.
    """
    if buffers == 0:
        return target
    buffer = buffers + number * _BUFFER
    pending = longs(buffer, 2)
    if pending[1] != target:
        _flush(buffer)
        pending[0] = pending[1] = target
    return buffer + 64 + target % 64


@jitable(forceinline=False)
def flush_lines(buffers: int, number: int, size: int) -> None:
    """Stores the full cache lines of a buffer, to whose slot ``size`` bytes have been written."""
    buffer = buffers + number * _BUFFER
    pending = longs(buffer, 2)
    since, until = pending[0], pending[1] + size
    source, line = buffer + 64, since - since % 64
    if since != line and line + 64 <= until:
        # The bytes before ``since`` in this line belong to others.
        _copy(source + since % 64, since, line + 64 - since)
        source, line = source + 64, line + 64
        since = line
    while line + 64 <= until:
        stream_line(source, line)
        source, line = source + 64, line + 64
        since = line
    _copy(source, buffer + 64, 64)
    pending[0], pending[1] = since, until


@emitted
def _fence() -> Any:
    """Orders stores that bypass the caches before those that follow.

    On x86 this is an instruction with a lock, which also empties the buffers of such stores.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


@jitable(forceinline=False)
def drain(buffers: int, count: int) -> None:
    """Writes the pending bytes of all buffers; everything is in memory afterwards."""
    for number in range(count):
        _flush(buffers + number * _BUFFER)
    _fence()
