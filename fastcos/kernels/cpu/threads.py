"""Whether a kernel may use threads here and now.

Numba's threading layers fail in ways that end the process: after a fork OpenMP hangs in the child,
or is killed; the ``workqueue`` layer aborts when two Python threads run parallel code at once.
Every call can be done by a serial loop that gives the same bits; this module says which one runs.
"""

import math
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import numba

from fastcos import _limit

Loop = Callable[..., float]

_alone = threading.Lock()
# "forked": this process came out of a fork, and the threads did not come with it;
# "layer": which threading layer Numba took, known after the first launch.
_state = {"forked": False, "layer": ""}


def _forked() -> None:
    _state["forked"] = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def launch(
    parallel: Loop,
    serial: Loop,
    arguments: tuple[Any, ...],
    threads: tuple[Callable[[], int], Callable[[int], None]] | None,
) -> float:
    """Runs a parallel loop where that is safe, else the serial one.

    Args:
        parallel: The loop shared out to threads.
        serial: The loop on this one.
        arguments: Of either.
        threads: How to ask for and set the number of threads of the framework that the arrays
            belong to, which is respected and left as it was. None takes Numba's. The limit of
            ``fastcos.threads`` holds for both.
    """
    # Arrays of no framework: the limit is Numba's, but torch may be there, and share the pool.
    limit = min(_limit.current(), threads[0]() if threads else math.inf)
    others = threads or _of_torch()
    before = others[0]() if others else 0
    if _state["forked"] or limit == 1:
        return serial(*arguments)
    if _state["layer"] in ("omp", "tbb"):
        total = _with_at_most(limit, parallel, arguments)
    elif _alone.acquire(blocking=False):
        try:
            total = _with_at_most(limit, parallel, arguments)
            _state["layer"] = numba.threading_layer()
        finally:
            _alone.release()
    else:
        return serial(*arguments)
    # Numba sets the number of OpenMP threads when it starts, and may share the pool.
    if others and others[0]() != before:
        others[1](before)
    return total


def _of_torch() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """How to ask for and set torch's number of threads, if it can change: at the first launch."""
    torch = None if _state["layer"] else sys.modules.get("torch")
    return (torch.get_num_threads, torch.set_num_threads) if torch else None


def _with_at_most(limit: float, loop: Loop, arguments: tuple[Any, ...]) -> float:
    own = numba.get_num_threads()
    if limit >= own:
        return loop(*arguments)
    numba.set_num_threads(int(limit))
    try:
        return loop(*arguments)
    finally:
        numba.set_num_threads(own)


def one() -> Any:
    """A context in which one thread is used."""
    return _limit.threads(1)


def count() -> int:
    """How many threads may be used here and now."""
    return 1 if _state["forked"] else int(min(_limit.current(), numba.get_num_threads()))
