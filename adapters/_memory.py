"""Memory of large arrays: what was let go is kept for the next ones, and new is quick to touch.

malloc gives large blocks back to the system and takes them anew, page by page, and the system fills
each with zeros: value and gradients of 1024 x 768 float32 took 3 to 8 times as long as into buffers
of the caller's, and take 1.0 to 1.05 times as long with memory that is kept.
"""

from __future__ import annotations

import collections
import contextlib
import weakref

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.int8]

#: From how many bytes on. Smaller blocks malloc keeps by itself; to have one here takes 4 us, where
#: the 128 page faults of half a mebibyte take 100.
KEPT_FROM = 1 << 19
# In all. What exceeds it alone is never kept.
KEPT_AT_MOST = 64 << 20
_LINE, _HUGE_PAGE = 64, 2 << 20

# By size. There is no lock: a collection could come to want it on the thread that has it, for what
# it finds is kept at once. Each step is one that no other thread, and no collection, can divide.
_kept: dict[int, collections.deque[Bytes]] = {}


class _Lent:
    """What the array of a block has for a base: while there is a view of that, there is this.

    No array: a view of a view has the first array that owns memory for its base, and arrays in
    between may be gone while it is there.
    """

    __slots__ = ("__array_interface__", "__weakref__", "memory")

    def __init__(self, memory: Bytes) -> None:
        self.__array_interface__ = memory.__array_interface__  # an address, which holds nothing
        self.memory = memory


def block(size: int) -> Bytes:
    """So many bytes of any content, for arrays of at least :data:`KEPT_FROM`.

    When the last array that looks into them is gone, they are kept for another.
    """
    try:
        memory = _kept[size].pop()
    except (KeyError, IndexError):
        memory = _new(size)
    if size > KEPT_AT_MOST:
        return memory
    lent = _Lent(memory)
    weakref.finalize(lent, _keep, memory).atexit = False
    return np.asarray(lent)


def _new(size: int) -> Bytes:
    # NumPy asks for huge pages from 4 MiB on, which it takes with the margin. A page that begins
    # before the block, or ends after what was allocated, would be 512 small ones: new gradients of
    # 4096 x 768 take 14 page faults instead of 1029, and 0.5 to 0.65 of the time.
    step = _LINE if size < _HUGE_PAGE else _HUGE_PAGE
    around = np.empty(size + step, np.int8)
    start = -around.ctypes.data % step
    return around[start : start + size]


def _keep(memory: Bytes) -> None:
    """Takes memory that nobody holds any more; beyond the bound that of other sizes goes first."""
    size = memory.size
    same = _kept.setdefault(size, collections.deque())
    same.append(memory)
    if _bytes() > KEPT_AT_MOST:
        for other in list(_kept):
            if other != size:
                _kept.pop(other, None)
        with contextlib.suppress(IndexError):
            while _bytes() > KEPT_AT_MOST:
                same.pop()


def _bytes() -> int:
    """How many are kept."""
    # Over a list of the keys: one of pairs makes tuples, and a collection that comes with these may
    # change what is kept.
    return sum([size * len(_kept.get(size, ())) for size in list(_kept)])
