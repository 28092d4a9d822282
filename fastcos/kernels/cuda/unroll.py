"""Loops over tuples, unrolled into calls of one function per index.

A loop within a kernel would index its tuple, which puts that into local memory; unrolled, it stays
in registers. What is computed per index is given by the callers.
"""

from collections.abc import Callable
from typing import Any

from fastcos.kernels.functions import jitable


def tuple_of(count: int, make: Callable[[int], Any]) -> Any:
    """``(*args) -> (make(0)(*args), make(1)(*args), ...)``."""
    if count > 3:
        # Three at a time: the compiler takes 10 ms for each function.
        before, after = tuple_of(3, make), tuple_of(count - 3, lambda k: make(k + 3))
        return jitable()(lambda *args: (*before(*args), *after(*args)))
    each: list[Any] = [jitable()(make(k)) for k in range(count)]
    first, second, third = (*each, None, None)[:3]
    return jitable()(
        (
            lambda *args: (first(*args),),
            lambda *args: (first(*args), second(*args)),
            lambda *args: (first(*args), second(*args), third(*args)),
        )[count - 1]
    )


def all_of(count: int, make: Callable[[int], Any]) -> Any:
    """``(*args) -> make(0)(*args) and make(1)(*args) ...``."""
    last = jitable()(make(count - 1))
    if count == 1:
        return last
    before = all_of(count - 1, make)
    return jitable()(lambda *args: before(*args) and last(*args))


def fold(count: int, step: Any) -> Any:
    """``(state, values) -> step(... step(step(state, values[0]), values[1]) ...)``."""
    k = count - 1
    if k == 0:
        return jitable()(lambda state, values: step(state, values[0]))
    before = fold(k, step)
    return jitable()(lambda state, values: step(before(state, values), values[k]))


def at_each(count: int, function: Any) -> Any:
    """``(addresses, offset) -> (function(addresses[0] + offset), ...)``."""
    return tuple_of(count, lambda k: lambda addresses, offset: function(addresses[k] + offset))
