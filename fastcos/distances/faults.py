"""What is wrong with a distance, in one sentence that names the field of the record.

The compiler would say it too, in a hundred lines about the inside of a kernel. Whether a gradient
fits its distance is not looked at here, but in ``check``.
"""

import inspect
import numbers
import re
import reprlib
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from fastcos.distances import record
from fastcos.distances.record import Distance, FurtherPasses, Linear, Refinements

# How the functions are called; those there must be are fields of the distance itself.
_ARGUMENTS = {
    "init": ("zero", "*parameters"),
    "accumulate": ("state", "x", "y"),
    "finalize": ("state",),
    "gradient": ("state", "d", "x", "y"),
    "revisit": ("state",),
    "reaccumulate": ("state", "x", "y"),
    "prepare": ("state", "d"),
    "merge": ("state", "other"),
    "float32_sums": ("state",),
    "float32_gradient": ("state", "d"),
    "coefficients": ("state", "d"),
}

# Errors that say that a function cannot be right. Others may be about the numbers alone: compiled,
# 1 / 0 is infinite and the root of -1 is NaN.
_WRONG = (NameError, TypeError, AttributeError, LookupError)


class _Fault(Exception):
    """The error that is to be raised, and whether other numbers might not have led to it."""

    def __init__(self, error: Exception, doubtful: bool = False) -> None:
        super().__init__(error)
        self.error, self.doubtful = error, doubtful


def check(distance: Distance, doubtful: bool = False) -> None:
    """Runs the functions of a user's distance once, as plain Python on numbers.

    ``doubtful``: also raises what may come of the numbers, as an index into a table or a complex
    power of a negative number.
    """
    if record.constant_of(distance) is None:
        fault = _first(distance, lambda function: function)
        if fault and (doubtful or not fault.doubtful):
            raise fault.error


def floats(distance: Distance) -> tuple[float, ...]:
    """The parameters as floats: a launch on a GPU would hand over the bits of an integer.

    Raises:
        TypeError: they are not a tuple, which does not change, of numbers.
        ValueError: one is beyond the range of float64.
    """
    given: Any = distance.parameters
    said, value = f"parameters of {distance.name}", given
    try:
        if isinstance(given, tuple):
            return tuple([record.real_number(said, value := number) for number in given])
    except TypeError:
        pass
    raise TypeError(f"{said} must be a tuple of numbers, got {_shown(value)}")


def explain(distance: Distance, error: Exception) -> None:
    """Raises what there is to say of an error that compiling a user's distance has ended with."""
    if record.constant_of(distance) is None:
        from fastcos.kernels.functions import alone

        fault = _first(distance, lambda function: function) or _first(distance, alone)
        said = f"{distance.name} does not compile: {_essence(error)}"
        raise (fault.error if fault else _from(error, said)) from error


def _first(distance: Distance, run: Callable[[Any], Any]) -> _Fault | None:
    """The first fault that shows when functions are called that ``run`` makes of those given."""
    try:
        _tour(distance, run)
    except _Fault as fault:
        return fault
    except Exception:
        pass
    return None


def _tour(distance: Distance, run: Callable[[Any], Any]) -> None:
    """Takes one component in, and calls every function."""
    functions = _functions(distance)

    def call(field: str, *args: Any) -> Any:
        return _called(distance, field, functions[field], run, args)

    def state_of(field: str, found: Any, length: int | None = None) -> Any:
        return _checked(distance, field, found, length, "a state")

    x, y = 0.5, 0.25
    with np.errstate(all="ignore"):
        state = state_of("init", call("init", 0.0, *distance.parameters))
        fields = len(state)
        state = state_of("accumulate", call("accumulate", state, x, y), fields)
        if "float32_sums" in functions:
            call("float32_sums", state)
        if "merge" in functions:
            state_of("merge", call("merge", state, state), fields)
        if "revisit" in functions:
            found = call("revisit", state)
            if not isinstance(found, tuple) or len(found) != 2:
                said = f"revisit of {distance.name} must return (again, state), got {_shown(found)}"
                raise _Fault(TypeError(said))
            again, state = found
            state_of("revisit", state, fields)
            further = state_of("reaccumulate", call("reaccumulate", state, x, y), fields)
            state = further if again else state
        d = call("finalize", state)
        if not _is_number(d):
            said = f"finalize of {distance.name} must return a number, got {_shown(d)}"
            raise _Fault(TypeError(said), type(d) is complex)
        if "prepare" in functions:
            state = call("prepare", state, d)
        if "coefficients" in functions:
            found, what = call("coefficients", state, d), "(rx, ux, ry, uy, e)"
            _checked(distance, "coefficients", found, 5, what)
        if "float32_gradient" in functions:
            call("float32_gradient", state, d)
        _checked(distance, "gradient", call("gradient", state, d, x, y), 2, "(dd/dx, dd/dy)")


def _functions(distance: Distance) -> dict[str, Any]:
    """The functions of a record and of the records in it, by their fields."""

    def fields_of(given: Any, field: str, kind: type[Any]) -> dict[str, Any]:
        if not isinstance(given, kind):
            said = f"{field} of {distance.name} must be a fastcos.distances.{kind.__name__}"
            raise _Fault(TypeError(f"{said}, got {_shown(given)}"))
        found: dict[str, Any] = given._asdict()
        return found

    found = {field: getattr(distance, field) for field in Distance._fields if field in _ARGUMENTS}
    for field, function in found.items():
        if function is None:
            raise _Fault(TypeError(f"{distance.name} has no {field}"))
    optional = fields_of(distance.refinements, "refinements", Refinements)
    found |= {field: one for field, one in optional.items() if one is not None}
    if "further_passes" in found:
        found |= fields_of(found.pop("further_passes"), "further_passes", FurtherPasses)
    if isinstance(optional["float32_gradient"], Linear):
        found |= found.pop("float32_gradient")._asdict()
    return found


def _called(
    distance: Distance, field: str, function: Any, run: Callable[[Any], Any], args: tuple[Any, ...]
) -> Any:
    said = f"{field} of {distance.name}"
    # What Numba compiles, or has compiled already; not a method, nor an object that can be called.
    kind = type(function)
    if not (isinstance(function, types.FunctionType) or kind.__module__.startswith("numba.")):
        linear = "a fastcos.distances.Linear or " if field == "float32_gradient" else ""
        wanted = f"{linear}a plain function"
        raise _Fault(TypeError(f"{said} must be {wanted}, got {_shown(function)}"))
    try:
        inspect.signature(function).bind(*args)
    except TypeError as error:
        takes = ", ".join(_ARGUMENTS[field])
        count = f", of which there are {len(args) - 1}" if field == "init" else ""
        raise _Fault(_from(error, f"{said} must take ({takes}){count}: {error}")) from error
    except ValueError:  # of which nothing is known
        pass
    try:
        return run(function)(*args)
    except Exception as error:
        unpacked = isinstance(error, ValueError) and "to unpack" in str(error)
        if isinstance(error, _WRONG) or unpacked:
            doubtful = isinstance(error, LookupError) or "complex" in str(error)
            raise _Fault(_from(error, f"{said}: {_essence(error)}"), doubtful) from error
        if type(error).__module__.startswith("numba."):
            raise _Fault(_from(error, f"{said} does not compile: {_essence(error)}")) from error
        raise


def _from(error: Exception, sentence: str) -> Exception:
    """An error of the same kind, with the other one for its cause."""
    found = type(error)(sentence)
    found.__cause__ = error
    return found


def _checked(distance: Distance, field: str, found: Any, length: int | None, what: str) -> Any:
    """A tuple of numbers that a function has returned."""
    said = f"{field} of {distance.name} must return {what}"
    # A list of two slopes compiles; a state, whose numbers are of several types, does not.
    if not isinstance(found, (tuple, list) if field == "gradient" else tuple):
        raise _Fault(TypeError(f"{said}, a tuple of numbers, got {_shown(found)}"))
    for number in found:
        if not _is_number(number):
            error = TypeError(f"{said}, a tuple of numbers, got {_shown(number)} in it")
            raise _Fault(error, type(number) is complex)
    if length is not None and len(found) != length:
        raise _Fault(ValueError(f"{said} of {length} numbers, got {len(found)}"))
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (numbers.Real, np.bool_))


def _shown(value: Any) -> str:
    return f"{type(value).__name__} {reprlib.repr(value)}"


def _essence(error: Exception) -> str:
    """What an error says, in one line: of those of Numba the first that is about the code."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("Failed in ")]
    if not lines:
        return type(error).__name__
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
