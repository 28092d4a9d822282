"""What a call takes of memory at most, and calls that are to have no more than there is.

The kernel counts pages, whoever asked for them, and is told to forget the peak of before (Linux).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from bench.runner import _available

#: In place of bytes: what was not enough; what this system does not say; what came to no end.
MEMORY, UNKNOWN, FAILED = "memory", "unknown", "failed"
#: A process may take so much of the memory that is free.
_PART = 0.9
_STATUS, _FORGET = pathlib.Path("/proc/self/status"), pathlib.Path("/proc/self/clear_refs")


def peak_bytes(thunk: Callable[[], Any]) -> int | str:
    """What this process has at most during a call, beyond what it had before."""
    gc.collect()
    # What was freed and kept would be taken again, unseen.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        _FORGET.write_text("5", encoding="ascii")
        before = _bytes("VmRSS")
    except OSError:
        thunk()
        return UNKNOWN
    result = thunk()
    most = _bytes("VmHWM")
    del result
    return max(0, most - before)


def _bytes(name: str) -> int:
    text = _STATUS.read_text(encoding="ascii")
    return int(text.split(f"{name}:")[1].split()[0]) << 10


def lacks_memory(error: BaseException) -> bool:
    """Whether that is what an error of NumPy, or of torch, says."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and "memory" in str(error).lower()
    )


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Asking for more memory than is free is an error here, and not the end of some process."""
    try:
        import resource

        mine = _bytes("VmSize")
    except (ImportError, OSError):
        yield
        return
    kind = resource.RLIMIT_AS
    before = resource.getrlimit(kind)
    most = mine + int(_PART * _available())
    bounds = [most, *(b for b in before if b != resource.RLIM_INFINITY)]
    resource.setrlimit(kind, (min(bounds), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)
