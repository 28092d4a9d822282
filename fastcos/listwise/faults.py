"""What may be wrong with a user's listwise loss, in words."""

from __future__ import annotations

import inspect
import math
from typing import Any

from fastcos.listwise.record import (
    DISTANCE,
    SIMILARITY,
    Candidate,
    Listwise,
    Order,
    Row,
    Survey,
)


def check(loss: Any) -> None:
    """Raises unless this is a listwise loss whose fields are of the right kind.

    Raises:
        TypeError: it is something else, or one of its functions cannot be called, or does not
            return what it should.
        ValueError: a field has a value that is not accepted.
    """
    if not isinstance(loss, Listwise):
        raise TypeError(f"loss must be a fastcos.Listwise, got {type(loss).__name__}")
    for name in ("start", "accumulate", "finalize", "slope"):
        if not callable(getattr(loss, name)):
            raise TypeError(
                f"{name} of {loss.name} must be a function, got {getattr(loss, name)!r}"
            )
    if loss.of not in (SIMILARITY, DISTANCE):
        raise ValueError(
            f"of of {loss.name} must be {SIMILARITY!r} or {DISTANCE!r}, got {loss.of!r}"
        )
    if type(loss.sums) is not int or loss.sums < 1:
        raise ValueError(f"sums of {loss.name} must be an integer, at least 1; got {loss.sums!r}")
    if type(loss.parameters) is not tuple:
        raise TypeError(f"parameters of {loss.name} must be a tuple, got {loss.parameters!r}")
    if loss.survey is None:
        _try(loss)
    elif type(loss.survey) is not Survey:
        raise TypeError(f"survey of {loss.name} must be a Survey, got {loss.survey!r}")
    else:
        check(loss.survey.loss._replace(parameters=loss.parameters))


# How the functions are called.
_ARGUMENTS = {
    "start": ("row", "*parameters"),
    "accumulate": ("sums", "context", "candidate", "*order"),
    "finalize": ("sums", "context", "row", "*parameters"),
    "slope": ("coefficients", "candidate", "*order"),
}

# An anchor with a positive and a negative, and what it is in order.
_ROW = Row(1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.0, 1.0)
_LONE = (
    (
        _ROW._replace(positives=0.0, least_positive=math.inf, greatest_positive=-math.inf),
        "positive",
    ),
    (
        _ROW._replace(negatives=0.0, least_negative=math.inf, greatest_negative=-math.inf),
        "negative",
    ),
)
_CANDIDATES = Candidate(0.5, True, 0.0, 0.0), Candidate(0.25, False, 0.0, 0.0)
_ORDER = Order((0.5, 0.25), 1, 1)


def _try(loss: Listwise) -> None:
    """Calls the functions as plain Python: what they return would be said in Numba's words else."""
    name, more = loss.name, (_ORDER,) if loss.ordered else ()
    several = {"*parameters": len(loss.parameters), "*order": len(more)}
    for field, arguments in _ARGUMENTS.items():
        count = sum(several.get(argument, 1) for argument in arguments)
        takes = [argument for argument in arguments if several.get(argument, 1)]
        _check_arguments(f"{field} of {name}", getattr(loss, field), count, takes)
    context = loss.start(_ROW, *loss.parameters)
    _check_tuple(f"start of {name} must return", context)
    sums: tuple[Any, ...] = (0.0,) * loss.sums
    for each in _CANDIDATES:
        sums = loss.accumulate(sums, context, each, *more)
        _check_tuple(f"accumulate of {name} must return", sums, loss.sums)
    found = loss.finalize(sums, context, _ROW, *loss.parameters)
    _check_tuple(f"finalize of {name} must return value, terms and coefficients:", found, 3)
    _check_tuple(f"the coefficients that finalize of {name} returns must be", found[2])
    for each in _CANDIDATES:
        slope = loss.slope(found[2], each, *more)
        if isinstance(slope, tuple):
            raise TypeError(f"slope of {name} must return a number, got {slope!r}")
    for row, lacks in _LONE:
        try:
            lone = loss.finalize(
                (0.0,) * loss.sums, loss.start(row, *loss.parameters), row, *loss.parameters
            )
        except (ArithmeticError, ValueError):  # what is no error in a compiled function
            continue
        _check_tuple(f"finalize of {name} must return value, terms and coefficients:", lone, 3)
        _check_tuple(f"the coefficients that finalize of {name} returns must be", lone[2])
        if len(lone[2]) != len(found[2]):
            raise TypeError(
                f"the coefficients that finalize of {name} returns must be of one length, got"
                f" {found[2]!r}, and {lone[2]!r} of an anchor without a {lacks}"
            )


def _check_arguments(said: str, function: Any, count: int, takes: list[str]) -> None:
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError as error:
        names = ", ".join(takes).replace("*order", "order")
        raise TypeError(f"{said} must take {count} arguments, ({names}): {error}") from error
    except ValueError:  # of which nothing is known
        pass


def _check_tuple(what: str, value: Any, length: int | None = None) -> None:
    if not isinstance(value, tuple) or (length is not None and len(value) != length):
        of = "" if length is None else f" of {length}"
        raise TypeError(f"{what} a tuple{of}, got {value!r}")
