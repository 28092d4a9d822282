"""Plain Python functions as parts of kernels, of the CPU and of a GPU."""

import functools
import types
from collections.abc import Iterator
from typing import Any

from numba import njit
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.extending import register_jitable

from fastcos.distances.record import BUILT_IN
from fastcos.listwise import scalars


class _Part(JITCodeLibrary):  # type: ignore[misc]
    """The code of a function that kernels call: linked into theirs, and never run by itself.

    Numba makes machine code of every function, a seventh of the time of a kernel. It optimises each
    one by itself, too, and again in what calls it; that stays, for without it the gradients of
    large triplets took 1.04 of the time, and sums came in another order.
    """

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        return 0  # there is none

    @property
    def codegen(self) -> Any:
        # Asked to put the environment of a function beside its code.
        return types.SimpleNamespace(set_env=lambda name, environment: None)


class _Compiler(Compiler):  # type: ignore[misc]
    """Numba's own, of parts."""

    def compile_extra(self, function: Any) -> Any:
        self.state.library = _Part(self.state.targetctx.codegen(), function.__qualname__)
        return super().compile_extra(function)


#: How a function that kernels call is compiled. Without the wrapper by which C would call it, which
#: Numba adds to every function: compiling those took a quarter of the time of a kernel.
PART: dict[str, Any] = {
    "forceinline": True,
    "no_cfunc_wrapper": True,
    "pipeline_class": _Compiler,
}
#: Makes a function one that kernels call.
jitable = functools.partial(register_jitable, **PART)

#: The modules of the functions that kernels are made for. The cache on disk knows their sources.
SCALAR_MODULES = (
    *("distances.angles", "distances.hyperbolic", "distances.norms"),
    *("distances.ranges", "distances.ratios", "losses"),
    *("listwise.pairs", "listwise.scalars", "listwise.softmax", "listwise.triplets"),
)
_OURS = tuple([f"fastcos.{module}" for module in SCALAR_MODULES])

#: Those that are registered; the exponentials are in kernels what each kind of machine has.
_registered: set[Any] = {scalars.exp, scalars.sigmoid, scalars.softplus}


def registered(function: Any) -> Any:
    """Makes a plain Python function, and those it calls, callable from compiled code."""
    if isinstance(function, types.FunctionType) and function not in _registered:
        _registered.add(function)
        jitable()(function)
        for cell in function.__closure__ or ():
            registered(cell.cell_contents)
        for used in globals_of(function).values():
            registered(used)
    return function


def register_built_in() -> None:
    """Makes the functions of all distances callable from any compiled code.

    Numba calls it when it compiles for the first time, also where nothing of fastcos has run: the
    entry point ``numba_extensions`` names it, for ``import fastcos`` does not import Numba.
    """
    for record in BUILT_IN.values():
        for function in record.functions:
            registered(function)


def alone(function: Any) -> Any:
    """A function compiled when called, to see whether it compiles; Numba's own are already."""
    return njit(registered(function)) if isinstance(function, types.FunctionType) else function


def globals_of(function: types.FunctionType) -> dict[str, Any]:
    """The globals that a function uses, itself or in functions within it."""
    known = function.__globals__
    # With the names of attributes, of which one may be that of a global, too.
    names = dict.fromkeys(_names(function.__code__))
    return {name: known[name] for name in names if name in known}


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def is_ours(function: Any) -> bool:
    """Whether it is of this library, and so known by its name."""
    return getattr(function, "__module__", None) in _OURS


def name_of(part: Any) -> str:
    """A name for a part of a kernel's content: functions of this library, or plain values."""
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
    """``c * slope``, but 0 for a slope of 0: 0 times infinity is 0 here, and not NaN."""
    return 0.0 if slope == 0 else c * slope
