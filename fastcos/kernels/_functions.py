"""Plain Python functions as parts of kernels, of the CPU and of a GPU."""

from __future__ import annotations

import functools
import inspect
import types
from typing import Any

from numba.extending import register_jitable

#: Makes a function one that kernels call. Without the wrapper by which C would call it, which
#: Numba adds to every function: compiling those took a quarter of the time of a kernel.
jitable = functools.partial(register_jitable, forceinline=True, no_cfunc_wrapper=True)

_registered: set[Any] = set()


def registered(function: Any) -> Any:
    """Makes a plain Python function, and those it calls, callable from compiled code."""
    if isinstance(function, types.FunctionType) and function not in _registered:
        _registered.add(function)
        jitable()(function)
        names = inspect.getclosurevars(function)
        for used in (*names.globals.values(), *names.nonlocals.values()):
            registered(used)
    return function


def is_ours(function: Any) -> bool:
    """Whether it is of this library, and so known by its name."""
    module = getattr(function, "__module__", None)
    return module in ("fastcos.distances", "fastcos.losses")


def name_of(part: Any) -> str:
    """Names a part of what a kernel is made of: functions of ours, or plain values."""
    if isinstance(part, tuple):
        return ",".join(map(name_of, part))
    if callable(part):
        return f"{part.__module__}.{part.__qualname__}"
    return repr(part)


def as_it_is(state: Any, d: Any) -> Any:
    """The ``prepare`` of a distance that has none."""
    return state


@jitable()
def times(c: float, slope: float) -> float:
    """``c * slope``; a slope of 0 lets nothing through, not even an infinity."""
    return 0.0 if slope == 0 else c * slope
