"""How many threads a caller wants used: a limit that holds for a block of code."""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Iterator
from contextvars import ContextVar

# Not Numba's own number of threads: that belongs to the Python thread, and a coroutine that waits
# within the block would leave it to the others.
_limit: ContextVar[float] = ContextVar("fastcos.threads", default=math.inf)


def current() -> float:
    """The limit that holds here; infinity where none was set."""
    return _limit.get()


def threads(n: int) -> contextlib.AbstractContextManager[None]:
    """Limits the threads that fastcos uses for a call, within a ``with`` block.

    A call uses min(n, all limits around it, ``NUMBA_NUM_THREADS``, and for tensors torch's number
    of threads) threads. Results are the same bits for every n. The limit holds for the calls that
    the block itself makes: a thread started within starts without one, as do other coroutines and
    processes. With n = 1 no other thread is woken.

    Args:
        n: How many, at least 1. More than there are means all.

    Returns:
        A context manager, which is a decorator for functions too.

    Raises:
        TypeError: ``n`` is not an integer.
        ValueError: ``n`` is less than 1.

    Example:
        >>> import numpy as np, fastcos
        >>> x = np.ones((1024, 64))
        >>> with fastcos.threads(1):
        ...     alone = fastcos.cosine_similarity(x, x)
        >>> bool((alone == fastcos.cosine_similarity(x, x)).all())
        True
    """
    try:
        count = operator.index(n)
    except TypeError:
        count = None
    if count is None or isinstance(n, bool):
        raise TypeError(f"n must be an integer, at least 1; got {n!r}")
    if count < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    return _limited(count)


@contextlib.contextmanager
def _limited(n: int) -> Iterator[None]:
    token = _limit.set(min(n, _limit.get()))
    try:
        yield
    finally:
        _limit.reset(token)
