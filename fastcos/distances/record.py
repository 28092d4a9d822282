"""What a distance is: the record of its functions, here :class:`Distance`.

The records of this library are found by name here, too, for pickles and the cache of compiled
kernels. Their formulas are in the modules beside this one; what may be wrong with a user's record
is said in ``faults``.
"""

import math
import sys
import types
from collections.abc import Callable
from typing import Any, NamedTuple

State = tuple[Any, ...]
Function = Callable[..., Any]


class Functions(NamedTuple):
    """The functions of a :class:`Distance`, flat: what a kernel is compiled for."""

    init: Function
    accumulate: Function
    finalize: Function
    gradient: Function
    revisit: Function | None = None
    reaccumulate: Function | None = None
    prepare: Function | None = None
    linear: Function | None = None
    merge: Function | None = None
    suffices: Function | None = None
    narrow: Function | None = None


class FurtherPasses(NamedTuple):
    """For distances that one pass cannot always settle (sums out of range, cancellation).

    Args:
        revisit: ``(state) -> (again, state)``, after each pass: says whether the row is to be read
            once more and with which state. It must come to an end.
        reaccumulate: ``(state, x, y) -> state`` of such a further pass.
    """

    revisit: Callable[[State], tuple[bool, State]]
    reaccumulate: Callable[[State, Any, Any], State]


class Linear(NamedTuple):
    """A gradient that is linear in the rows: ``rx (ux x - y + e)`` and ``ry (uy y - x - e)``.

    Kernels of float32 and of half types then compute it in float32, to the same accuracy.

    Args:
        coefficients: ``(state, d) -> (rx, ux, ry, uy, e)``, of the state that ``gradient`` is
            given.
    """

    coefficients: Callable[[State, Any], State]


class Refinements(NamedTuple):
    """Optional functions of a :class:`Distance`, for precision and speed. Each may be left out.

    Args:
        prepare: ``(state, d) -> state`` that ``gradient`` is given in place of the one
            that the sums left: roots and quotients, taken once for a row. It is called with the
            state of no component, too, and what it returns for that is not used.
        merge: ``(state, other) -> state``, of two parts of a row, in which what ``init``
            gives is neutral. On a GPU several threads take a part each, and on a CPU the lanes of a
            vector do. Without it, a GPU adds up what the parts of each number of the state have
            gained: right for sums and constants.
        further_passes: :class:`FurtherPasses`, for distances that one pass cannot always settle.
        float32_sums: ``(state) -> bool``. With it, a CPU takes float16 and bfloat16 rows in
            float32, which takes half the time: ``accumulate`` sees float32 numbers then, also as
            its state. Says whether that will do for the row, or it is to be read once more and
            taken in float64 throughout. A state of sums and constants is summed 256 numbers at a
            time, and what these come to in float64; a sum is off by some 2⁻²⁴ of the magnitudes of
            its terms, 2⁻¹⁸ at worst where the compiler vectorises it. With ``merge``, parts of a
            row stay in float32 to its end, which is for maxima.
        float32_gradient: :class:`Linear`, for a gradient that is linear in the rows. For others
            ``(state, d) -> bool``, of the state that ``gradient`` is given: with it, a CPU computes
            the gradient of float16 and bfloat16 rows in float32, of which it has twice as many in
            a vector. All that ``gradient`` sees are float32 numbers then, and an integer among
            them would make float64 of the rest. Says whether that will do for the row: d and the
            state fit float32, and nothing cancels. Triplets do not use it, as two gradients of
            theirs may cancel.

    Example:
        A norm that takes its root once for a row, and not for each component:

        >>> import math, numpy as np, fastcos
        >>> from fastcos.distances import Linear, Refinements
        >>> norm = fastcos.Distance(
        ...     "norm",
        ...     init=lambda zero: (zero,),
        ...     accumulate=lambda state, x, y: (state[0] + (x - y) ** 2,),
        ...     finalize=lambda state: math.sqrt(state[0]),
        ...     gradient=lambda state, d, x, y: ((x - y) * state[0], (y - x) * state[0]),
        ...     refinements=Refinements(
        ...         prepare=lambda state, d: (1 / d,),
        ...         float32_gradient=Linear(lambda state, d: (1 / d, 1.0, 1 / d, 1.0, 0.0)),
        ...     ),
        ... )
        >>> fastcos.check_distance(norm)
    """

    prepare: Callable[[State, Any], State] | None = None
    merge: Callable[[State, State], State] | None = None
    further_passes: FurtherPasses | None = None
    float32_sums: Callable[[State], bool] | None = None
    float32_gradient: Linear | Callable[[State, Any], bool] | None = None


class Distance(NamedTuple):
    r"""A distance between two rows, as scalar functions that the loops are built around.

    .. math:: d(x, y) = \mathrm{finalize}(s_D), \quad
        s_k = \mathrm{accumulate}(s_{k-1}, x_k, y_k), \quad s_0 = \mathrm{init}(0)

    Args:
        name: What error messages call it.
        init: ``(zero, *parameters) -> state``, a tuple of scalars to start from.
        accumulate: ``(state, x, y) -> state``, one component taken in. Sums may be reordered by
            the compiler, which is what lets it vectorise; everything else is strict IEEE.
        finalize: ``(state) -> d``.
        gradient: ``(state, d, x, y) -> (dd/dx, dd/dy)`` of one component. Give 0 where the distance
            has a kink.
        refinements: Optional functions for precision and speed:
            :class:`fastcos.distances.Refinements`.
        parameters: Numbers handed to ``init``. They are arguments of the compiled kernel, so a new
            value compiles nothing.

    The functions may call plain Python functions of theirs and ``math``. They are compiled with
    Numba at the first call, with the globals and helpers that they name as they are then. A
    function that is defined again is compiled again, unless its code and all that it names are
    equal. Mistakes show at that call; :func:`fastcos.check_distance` also compares the gradient
    with finite differences.

    A record of this library can be pickled, one of your own as far as its functions can.

    Example:
        The fourth power of the 4-norm, everywhere a built-in distance can be used:

        >>> import numpy as np, fastcos
        >>> quartic = fastcos.Distance(
        ...     "quartic",
        ...     init=lambda zero: (zero,),
        ...     accumulate=lambda state, x, y: (state[0] + (x - y) ** 4,),
        ...     finalize=lambda state: state[0],
        ...     gradient=lambda state, d, x, y: (4 * (x - y) ** 3, -4 * (x - y) ** 3),
        ... )
        >>> fastcos.check_distance(quartic)
        >>> fastcos.paired_distance(np.array([[1.0, 2.0]]), np.array([[0.0, 4.0]]), quartic)
        array([17.])
    """

    name: str
    init: Callable[..., State]
    accumulate: Callable[[State, Any, Any], State]
    finalize: Callable[[State], Any]
    gradient: Callable[[State, Any, Any, Any], tuple[Any, Any]]
    refinements: Refinements = Refinements()
    parameters: tuple[float, ...] = ()

    @property
    def measure(self) -> tuple[Any, ...]:
        """The record without its parameters, equal for calls that run in the same kernel."""
        return self[:-1]

    @property
    def functions(self) -> Functions:
        """The functions alone, which are what a kernel is compiled for."""
        more = self.refinements
        passes, slopes = more.further_passes, more.float32_gradient
        return Functions(
            init=self.init,
            accumulate=self.accumulate,
            finalize=self.finalize,
            gradient=self.gradient,
            revisit=passes.revisit if passes else None,
            reaccumulate=passes.reaccumulate if passes else None,
            prepare=more.prepare,
            linear=slopes.coefficients if isinstance(slopes, Linear) else None,
            merge=more.merge,
            suffices=more.float32_sums,
            narrow=None if isinstance(slopes, Linear) else slopes,
        )

    def __repr__(self) -> str:
        constant = constant_of(self)
        if constant is None:
            return f"{type(self).__name__}({self.name!r}, ..., parameters={self.parameters!r})"
        # As the factory has them, which may take none, or init after its zero.
        module = sys.modules[f"{__package__}.{constant.partition('.')[0]}"]
        code = getattr(module, self.name, self.init).__code__
        names = [name for name in code.co_varnames[: code.co_argcount] if name != "zero"]
        given = zip(names, self.parameters, strict=False)
        return f"{self.name}({', '.join([f'{name}={value!r}' for name, value in given])})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        constant = constant_of(self)
        if constant is None:
            return object.__reduce_ex__(self, protocol)
        return _built_in, (constant, self.name, self.parameters)


def built(make: Callable[[], Distance]) -> Distance:
    """The record in place of the function that makes it, which holds its derivation."""
    return make()


def with_parameters(distance: Distance, parameters: tuple[float, ...]) -> Distance:
    """The record with other parameters."""
    # What _replace does, in a third of the time: this is part of every call.
    return tuple.__new__(Distance, (*distance[:-1], parameters))


# --------------------------------------------------------------------------------------------------
# Names. A record of this library is found by its module and constant, and a function that was made
# for it as an attribute of the module: ``_EUCLIDEAN_init``. Pickle finds both by it, and so does
# the cache of compiled kernels, which would take the functions of two powers for the same, were
# they called the same.
# --------------------------------------------------------------------------------------------------

#: The records of this library, as ``norms._EUCLIDEAN``.
BUILT_IN: dict[str, Distance] = {}
_CONSTANTS: dict[Any, str] = {}


def register(module: types.ModuleType) -> None:
    """Names the records of a module, and the functions in them, by their constants."""
    for constant, record in [*vars(module).items()]:
        if not isinstance(record, Distance):
            continue
        for field, function in record.functions._asdict().items():
            if "<locals>" in getattr(function, "__qualname__", ""):
                function.__qualname__ = f"{constant}_{field}"
                setattr(module, function.__qualname__, function)
        name = f"{module.__name__.rpartition('.')[2]}.{constant}"
        BUILT_IN[name], _CONSTANTS[_identity(record[1:-1])] = record, name


def _identity(part: Any) -> Any:
    """The identities of functions: what is in a user's record may have no hash."""
    return tuple(map(_identity, part)) if isinstance(part, tuple) else id(part)


def constant_of(distance: Distance) -> str | None:
    """The name in ``BUILT_IN`` of a record with these functions; None for a user's own."""
    if type(distance) is not Distance:
        return None
    return _CONSTANTS.get(_identity(distance[1:-1]))


def _built_in(constant: str, name: str, parameters: tuple[float, ...]) -> Distance:
    """What a pickled record of this library is read as."""
    return with_parameters(BUILT_IN[constant]._replace(name=name), parameters)


# --------------------------------------------------------------------------------------------------
# Arguments of factories
# --------------------------------------------------------------------------------------------------


def real_number(name: str, value: Any) -> float:
    """Returns a float or raises."""
    if hasattr(type(value), "__dask_graph__"):
        raise TypeError(f"{name} is not computed yet: pass {name}.compute()")
    try:
        # float() reads text and bytes too, which are no numbers, and what holds them: np.str_,
        # arrays. Of complex scalars it takes the real part.
        held = type(value.item() if hasattr(value, "item") else value)
        if hasattr(held, "__float__") or hasattr(held, "__index__"):
            return float(value)
    except OverflowError:
        raise ValueError(f"{name} is beyond the range of float64") from None
    except (TypeError, ValueError):
        pass
    raise TypeError(f"{name} must be a real number, got {value!r}")


def checked_eps(value: Any) -> float:
    """Returns a float or raises."""
    eps = value if type(value) is float else real_number("eps", value)
    if not 0 <= eps < math.inf:
        raise ValueError(f"eps must be finite and >= 0, got {value!r}")
    return eps
