"""A user's functions, compared by content and not by identity.

A record that comes with every task of a process pool has new functions each time, and a kernel of
its own for each would take seconds to compile and two megabytes that are never given back. Equal
functions therefore share one *stand-in*, which is what kernels are compiled of.

A stand-in is a copy with the globals and the closure as they were, helper functions among them:
Numba freezes these when it compiles, which may be later, and again for the next dtype. A function
redefined since, or a helper or number that it names, is another content and has a stand-in of its
own. What can change without being replaced (an array, a module, any object) has no content: a
function that names one stands for itself alone.
"""

import types
import weakref
from typing import Any

import numba
import numpy as np

from fastcos.distances import Functions
from fastcos.kernels.functions import globals_of, is_ours

# Types whose objects are compared by identity, as they do not change; and modules of which nobody
# rebinds a name.
_CONSTANT = (type, types.BuiltinFunctionType, np.ufunc, numba.types.Type)
_MODULES = ("math", "cmath", "numpy")
_NUMBERS = (bool, int, str, bytes, type(None))

# Stand-ins by the functions that kernels have been compiled for; None for those that stand for
# themselves. As these come and go, the stand-ins stay, one for each content.
_known: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
_stand_ins: dict[tuple[Any, ...], Any] = {}


class _Incomparable(Exception):
    """Something has no content."""


def shared(functions: Functions) -> Functions:
    """The functions of a distance, or those that stand for them."""
    return Functions._make([_shared(function) for function in functions])


def keep(functions: Functions, found: Functions) -> None:
    """Remembers what :func:`shared` has found: as with Numba, what was compiled stays as it was.

    This comes after the compilation: until then, a name that is missing may still be defined.
    """
    for function, stand_in in zip(functions, found, strict=True):
        if _is_a_users(function):
            _known[function] = None if stand_in is function else stand_in


def _is_a_users(value: Any) -> bool:
    return isinstance(value, types.FunctionType) and not is_ours(value)


def _shared(function: Any) -> Any:
    if not _is_a_users(function):
        return function
    if function in _known:
        return _known[function] or function
    try:
        return _stand_in(function, {})
    except _Incomparable:
        return function


def _stand_in(function: Any, copies: dict[Any, Any]) -> Any:
    """``copies`` are those that are being made, for functions that call each other."""
    if function in copies:
        return copies[function]
    content = _content(function)
    if content in _stand_ins:
        return _stand_ins[content]
    names: dict[str, Any] = {
        "__builtins__": function.__builtins__,
        "__name__": function.__globals__.get("__name__"),
    }
    cells = [types.CellType() for _ in function.__closure__ or ()]
    copy = types.FunctionType(function.__code__, names, function.__name__, None, tuple(cells))
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    copies[function] = copy

    def frozen(value: Any) -> Any:
        if type(value) is tuple:
            return tuple([frozen(each) for each in value])
        return _stand_in(value, copies) if _is_a_users(value) else value

    copy.__defaults__ = frozen(function.__defaults__)
    copy.__kwdefaults__ = {k: frozen(v) for k, v in (function.__kwdefaults__ or {}).items()} or None
    for own, given in zip(cells, function.__closure__ or (), strict=True):
        own.cell_contents = frozen(given.cell_contents)
    names.update({name: frozen(value) for name, value in globals_of(function).items()})
    # Another thread may have been first.
    return _stand_ins.setdefault(content, copy)


def _content(function: Any) -> tuple[Any, ...]:
    """What is equal for functions that do the same.

    Raises:
        _Incomparable: it names something that may change.
    """
    seen: dict[Any, int] = {}
    parts: list[Any] = []

    def of(value: Any) -> Any:
        kind = type(value)
        if kind in _NUMBERS:
            return kind, value
        if kind is float:
            return kind, value.hex()
        if kind is complex:
            return kind, value.real.hex(), value.imag.hex()
        if isinstance(value, np.generic) and value.dtype.kind in "biufc":
            return kind, value.tobytes()
        if kind is tuple:
            return kind, tuple([of(each) for each in value])
        if isinstance(value, types.ModuleType) and value.__name__.split(".")[0] in _MODULES:
            return kind, id(value)
        if isinstance(value, _CONSTANT) or (
            isinstance(value, types.FunctionType) and is_ours(value)
        ):
            return kind, id(value)
        if not isinstance(value, types.FunctionType):
            raise _Incomparable
        if value not in seen:
            seen[value] = len(seen)
            try:
                cells = tuple([of(cell.cell_contents) for cell in value.__closure__ or ()])
            except ValueError:  # nothing in it yet
                raise _Incomparable from None
            named = tuple([(name, of(each)) for name, each in globals_of(value).items()])
            options = tuple([(k, of(v)) for k, v in (value.__kwdefaults__ or {}).items()])
            # Code is equal by instructions, constants (with sign and type), names and lines.
            code = value.__code__
            parts.append((seen[value], code, of(value.__defaults__), options, cells, named))
        return kind, seen[value]

    of(function)
    return tuple(parts)
