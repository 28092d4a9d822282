"""A distance as a function that the user's own compiled code calls, on two rows at a time.

It is made of what both targets know, arrays and loops over them, for Numba compiles the Python
function once more where a kernel of a GPU calls it. What differs between the two is here as
functions with an overload for each: :func:`_refuse` and :func:`_borrowed`.
"""

import functools
import math
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import float64, types
from numba.core import cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher
from numba.extending import intrinsic, overload
from numba.np import arrayobj

from fastcos.distances import Distance, Functions
from fastcos.kernels import content
from fastcos.kernels.cache import digest, kept, source_digest
from fastcos.kernels.functions import (
    PART,
    SCALAR_MODULES,
    as_it_is,
    is_ours,
    jitable,
    name_of,
    registered,
)

#: The modules whose source ends up in such a function.
SOURCES = (
    *(*SCALAR_MODULES, "kernels", "kernels.functions", "kernels.metric"),
    *("listwise", "listwise.order", "listwise.record", "listwise.scalars"),
)

# Explicitly, for Numba has a function that is compiled on behalf of another inherit the options of
# that one: under a caller's fastmath a row with NaN would be at some distance from others.
_OPTIONS = {"nopython": True, "nogil": True, "fastmath": False, "error_model": "numpy"}

# By what they are made of.
_metrics: dict[tuple[Any, ...], Any] = {}


def metric_of(distance: Distance, gradient: bool) -> Any:
    """The function of a distance, one for all equal records.

    Returns:
        ``(x, y) -> d``, or with ``gradient`` ``(x, y, out=None) -> (d, dd/dx)``: a dispatcher of
        Numba's.
    """
    functions = content.shared(distance.functions)
    # Parameters by their text: 0 and -0 are two numbers, and NaN is itself.
    key = distance.name, functions, tuple(map(repr, distance.parameters)), gradient
    if key not in _metrics:
        # Under Numba's lock, or threads that ask at once would each have one.
        with global_compiler_lock:
            if key not in _metrics:
                _metrics[key] = _Metric(distance, functions, gradient)
    return _metrics[key]


class _Metric(CPUDispatcher):  # type: ignore[misc]
    """Numba's dispatcher, pickled as what it was made of.

    Numba would pickle the Python function, which calls functions that are not registered in the
    process that reads it.
    """

    def __init__(self, distance: Distance, functions: Functions, gradient: bool) -> None:
        self._made_of = distance, gradient
        ours = all(f is None or is_ours(f) for f in functions)
        function = _function(distance, functions, gradient, ours)
        super().__init__(py_func=function, targetoptions=_OPTIONS)
        what = f"the {'gradient' if gradient else 'distance'} {distance.name} for compiled code"
        self._cache = kept(function, what, keep=ours)

    def __reduce__(self) -> Any:
        return metric_of, self._made_of

    def __repr__(self) -> str:
        distance, gradient = self._made_of
        return f"fastcos.compiled({distance!r}{', gradient=True' if gradient else ''})"


def _function(
    distance: Distance, functions: Functions, gradient: bool, ours: bool
) -> Callable[..., Any]:
    """The Python function. Rows are not handed on to others but where that is rare."""
    parameters = distance.parameters
    made_of = name_of(functions), repr(parameters), repr(gradient)
    tag = digest(_digest_of_sources(), *made_of) if ours else uuid.uuid4().hex
    init, accumulate, finalize, slopes = map(registered, functions[:4])
    revisit = registered(functions.revisit or _never)
    reaccumulate = registered(functions.reaccumulate or functions.accumulate)
    prepare, merge = registered(functions.prepare or as_it_is), registered(functions.merge)
    as_float64 = _caster(len(distance.init(0.0, *parameters)))

    # Sums are reordered by the compiler, and so vectorised, which also fuses product and sum.
    def take_in(state: Any, x: Any, y: Any) -> Any:
        return accumulate(state, float64(x), float64(y))

    def take_in_again(state: Any, x: Any, y: Any) -> Any:
        return reaccumulate(state, float64(x), float64(y))

    part: Any
    for part in (take_in, take_in_again):
        part.__qualname__ += f"_{tag}"
        jitable(fastmath={"reassoc", "contract"})(part)

    def first_pass(start: Any, x: Any, y: Any) -> Any:
        state = start
        for k in range(x.shape[0]):
            state = take_in(state, x[k], y[k])
        return state

    def pass_in_parts(start: Any, x: Any, y: Any) -> Any:
        # What has a ``merge`` is not vectorised. Four parts do not wait for each other, which pays
        # for their merging in longer rows.
        if x.shape[0] < 64:
            return first_pass(start, x, y)
        a, b, c, d = start, start, start, start
        whole = x.shape[0] - x.shape[0] % 4
        for k in range(0, whole, 4):
            a = take_in(a, x[k], y[k])
            b = take_in(b, x[k + 1], y[k + 1])
            c = take_in(c, x[k + 2], y[k + 2])
            d = take_in(d, x[k + 3], y[k + 3])
        for k in range(whole, x.shape[0]):
            a = take_in(a, x[k], y[k])
        return merge(merge(a, b), merge(c, d))

    take_all_in = pass_in_parts if merge else first_pass

    def further_passes(state: Any, x: Any, y: Any) -> Any:
        again = True
        while again:
            for k in range(x.shape[0]):
                state = take_in_again(state, x[k], y[k])
            again, state = revisit(state)
        return state, finalize(state)

    def measured(x: Any, y: Any) -> Any:
        state = take_all_in(as_float64(init(0.0, *parameters)), x, y)
        again, revised = revisit(state)
        if again:
            return further_passes(revised, x, y)
        return state, finalize(state)

    for part in (first_pass, pass_in_parts, further_passes, measured):
        part.__qualname__ += f"_{tag}"
        jitable(forceinline=part is not further_passes)(part)

    def metric(x: Any, y: Any) -> Any:
        if x.shape[0] != y.shape[0]:
            _refuse()
            return math.nan
        _, d = measured(_borrowed(x), _borrowed(y))
        return float64(d)

    def metric_and_gradient(x: Any, y: Any, out: Any = None) -> Any:
        out = _room(out, x)
        if x.shape[0] != y.shape[0] or x.shape[0] != out.shape[0]:
            _refuse()
            for k in range(out.shape[0]):
                out[k] = math.nan
            return math.nan, out
        a, b = _borrowed(x), _borrowed(y)
        state, d = measured(a, b)
        state = prepare(state, d)
        for k in range(a.shape[0]):
            out[k] = slopes(state, d, float64(a[k]), float64(b[k]))[0]
        return float64(d), out

    f: Any = metric_and_gradient if gradient else metric
    f.__qualname__ += f"_{tag}"
    return f


def _never(state: Any) -> Any:
    return False, state


@functools.cache
def _caster(count: int) -> Any:
    """``(state) -> state`` with its numbers, of which integers may be, as float64."""
    if count == 0:
        return jitable()(lambda state: state)
    last, before = count - 1, _caster(count - 1)

    def first(state: Any) -> Any:
        return (float64(state[0]),)

    def all_of_them(state: Any) -> Any:
        return (*before(state), float64(state[last]))

    cast = first if count == 1 else all_of_them
    cast.__qualname__ += f"_{count}"
    return jitable()(cast)


def _refuse() -> None:
    """Raises where there are exceptions, which is not on a GPU."""
    raise ValueError("rows must have one length, and out that of the rows")


@overload(_refuse, jit_options=PART)
def _refuse_anywhere() -> Any:
    return lambda: None


@overload(_refuse, jit_options=PART, target="cpu")
def _refuse_on_cpu() -> Any:
    def refuse() -> None:
        raise ValueError("rows must have one length, and out that of the rows")

    return refuse


def _room(out: Any, x: Any) -> Any:
    """An array for the gradient: that of the caller, or a new one."""
    return np.empty(x.shape[0]) if out is None else out


@overload(_room, jit_options=PART, strict=False)
def _room_by_type(out: Any, x: Any) -> Any:
    if isinstance(out, (types.NoneType, types.Omitted)):
        return lambda out, x: np.empty(x.shape[0])
    return lambda out, x: out


def _borrowed(array: Any) -> Any:
    """The array without its owner.

    Numba counts who refers to an array, by an atomic addition each time that it is handed on: two
    rows took 20 ns for that. The caller of the function holds them meanwhile.
    """
    return array


@overload(_borrowed, jit_options=PART, strict=False)
def _borrowed_anywhere(array: Any) -> Any:
    return lambda array: array


@overload(_borrowed, jit_options=PART, strict=False, target="cpu")
def _borrowed_on_cpu(array: Any) -> Any:
    return lambda array: _without_owner(array)


@intrinsic
def _without_owner(typing: Any, array: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = arrayobj.make_array(array)(context, builder, args[0])
        found.meminfo = cgutils.get_null_value(found.meminfo.type)
        found.parent = cgutils.get_null_value(found.parent.type)
        return found._getvalue()

    return array(array), codegen


@functools.cache
def _digest_of_sources() -> str:
    return source_digest(*SOURCES)
