"""Forks while another thread imports, compiles or loads kernels.

The child of a fork has one thread, and every lock as it was: what another thread held nobody will
release, and the compiler is as that thread left it, in the middle of something. So a process forks
while no thread is at it: a fork waits, at most for as long as a kernel takes to be compiled.

What is called within the compiler's lock must not fork: that goes for handlers of the logger
``fastcos``, too.
"""

import contextlib

# Before what is registered below. What is registered last is called first: a fork then takes the
# locks here before that of logging, as a thread does that compiles and makes a record of it.
import logging  # noqa: F401
import os
import threading
from collections.abc import Iterator
from typing import Any

# In the order in which they are taken. The first is that of imports.
_locks: list[Any] = [threading.RLock()]
_forking = threading.local()


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """A block that imports what is not imported with fastcos: no fork happens meanwhile.

    Python's own locks of modules would be the child's for ever.
    """
    with _locks[0]:
        yield


def held(*locks: Any) -> None:
    """Has a fork take these locks too, after those that it takes already."""
    _locks.extend(locks)


def _before() -> None:
    _forking.locks = contextlib.ExitStack()
    # Others may be added until the first is taken.
    for lock in _locks:
        _forking.locks.enter_context(lock)


def _after() -> None:
    # In the child too, where the thread that forked is the one that has them.
    _forking.locks.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
