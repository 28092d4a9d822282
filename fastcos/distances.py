"""The distances: one scalar definition each, value and derivative side by side.

A :class:`Distance` is a record of scalar functions. The loops in ``fastcos.kernels`` close over
them and know nothing else, so one definition serves pairs and triplets, value and gradient, every
dtype, and a user's own distances stand exactly where the built-in ones do.

What the functions see: ``x`` and ``y`` are one component of each row, already widened to the
accumulator type; ``zero`` is the accumulator's 0. They run compiled and as plain Python alike.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

__all__ = [
    "DISTANCES",
    "Distance",
    "DistanceName",
    "angular",
    "braycurtis",
    "canberra",
    "chebyshev",
    "cosine",
    "dot",
    "euclidean",
    "lp",
    "manhattan",
    "poincare",
    "sqeuclidean",
]

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


#: A :class:`Distance` without its parameters.
Measure = tuple[Any, ...]


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
        revisit: Optional, ``(state) -> (again, state)``. For distances that one pass cannot always
            settle (sums out of range, cancellation): says whether the row is to be read once more
            and with which state. It must come to an end.
        reaccumulate: ``(state, x, y) -> state`` of such a further pass; goes with ``revisit``.
        prepare: Optional, ``(state, d) -> state`` that ``gradient`` is given in place of the one
            that the sums left: roots and quotients, taken once for a row. It is called with the
            state of no component, too, and what it returns for that is not used.
        linear: Optional, ``(state, d) -> (rx, ux, ry, uy, e)``, of the state that ``gradient`` is
            given. Where the gradient is ``rx (ux x - y + e)`` and ``ry (uy y - x - e)``, this lets
            kernels of float32 and of half types compute it in float32, to the same accuracy.
        merge: Optional, ``(state, other) -> state``, of two parts of a row, in which what ``init``
            gives is neutral. On a GPU several threads take a part each, and on a CPU the lanes of a
            vector do. Without it, a GPU adds up what the parts of each number of the state have
            gained: right for sums and constants.
        suffices: Optional, ``(state) -> bool``. With it, a CPU takes float16 and bfloat16 rows in
            float32, which takes half the time: ``accumulate`` sees float32 numbers then, also as
            its state. Says whether that will do for the row, or it is to be read once more and
            taken in float64 throughout. A state of sums and constants is summed 256 numbers at a
            time, and what these come to in float64; a sum is off by some 2⁻²⁴ of the magnitudes of
            its terms, 2⁻¹⁸ at worst where the compiler vectorises it. With ``merge``, parts of a
            row stay in float32 to its end, which is for maxima.
        narrow: Optional, ``(state, d) -> bool``, of the state that ``gradient`` is given; not used
            with ``linear``. With it, a CPU computes the gradient of float16 and bfloat16 rows in
            float32, of which it has twice as many in a vector: all that ``gradient`` sees are
            float32 numbers then, and an integer among them would make float64 of the rest. Says
            whether that will do for the row: d and the state fit float32, and nothing cancels.
            Triplets do not use it, as two gradients of theirs may cancel.
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
    revisit: Callable[[State], tuple[bool, State]] | None = None
    reaccumulate: Callable[[State, Any, Any], State] | None = None
    prepare: Callable[[State, Any], State] | None = None
    linear: Callable[[State, Any], State] | None = None
    merge: Callable[[State, State], State] | None = None
    suffices: Callable[[State], bool] | None = None
    narrow: Callable[[State, Any], bool] | None = None
    parameters: tuple[float, ...] = ()

    @property
    def functions(self) -> Functions:
        """The record without its name and parameters: what a kernel is compiled for."""
        return Functions._make(self[1:-1])

    def __repr__(self) -> str:
        if _constant_of(self) is None:
            return f"{type(self).__name__}({self.name!r}, ..., parameters={self.parameters!r})"
        # As the factory has them, which may take none, or init after its zero.
        code = globals().get(self.name, self.init).__code__
        names = [name for name in code.co_varnames[: code.co_argcount] if name != "zero"]
        given = zip(names, self.parameters, strict=False)
        return f"{self.name}({', '.join([f'{name}={value!r}' for name, value in given])})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        constant = _constant_of(self)
        if constant is None:
            return object.__reduce_ex__(self, protocol)
        return _built_in, (constant, self.name, self.parameters)


# --------------------------------------------------------------------------------------------------
# Range. Sums of squares leave float64 long before the distance does: (1e200)² is infinite. A sum
# outside [2⁻⁵⁰⁰, 2⁵⁰⁰] (the square root of the range, so that products of two sums stay inside too)
# sends the row through once more, multiplied by a power of two. Powers of two are exact: a row that
# needs them and one that does not give the same bits. float32 rows never leave the window.
# --------------------------------------------------------------------------------------------------

_LOW, _HIGH = 2.0**-500, 2.0**500


def _scale_for(total: float, scale: float) -> float:
    """The power of two for the next pass, given a sum of squares found at ``scale``."""
    if _LOW <= total <= _HIGH:  # first: it is nearly always so
        return scale
    if total == 0 or math.isinf(total):
        # No exponent to read. One step reaches every finite row; a row of zeros or one with an
        # infinity in it is the same after it, and is left at that.
        if scale != 1:
            return scale
        return 2.0**600 if total == 0 else 2.0**-600
    if math.isnan(total):
        return scale
    # To about 1, but by no more than 2⁴⁰⁰: the scale of a subnormal row must not overflow itself.
    return scale * math.ldexp(1.0, min(-(math.frexp(total)[1] // 2), 400))


# Half types are summed in float32, a stretch at a time, where a distance finds that what came out
# suffices. Sums of squares are to be in [2⁻¹⁰⁰, 2¹⁰⁰]: then no square that counts has left float32,
# and none of a float16 row is outside. What a difference of sums leaves is to be at least 2⁻⁶ of
# them: 12 good bits, where float16 has 11. Of a sum that cancels, as x·y, 2⁻¹⁰ of the magnitudes
# of its terms will do: that many of them do not round alike.

_LEAST, _MOST = 2.0**-100, 2.0**100
_LEFT, _SMALL = 2.0**-6, 2.0**-10


def _moderate(total: Any) -> Any:
    return _LEAST <= total <= _MOST


# --------------------------------------------------------------------------------------------------
# Cosine family. With s = x·y, P = x·x + eps, Q = y·y + eps, r = 1/√(PQ):
#
#     c = s r          dc/dx = y r - c x/P = (y - (s/P) x) r
#
# The last form is exactly 0 for x = y, where s/P = 1. Near c = ±1 the difference 1 - |c| loses its
# digits; there the row is read again for the chord, which does not (x̂ = x/√P, ŷ = y/√Q):
#
#     1 - |c| = ½ Σ (x̂ - sign(c) ŷ)² + ½ (eps/P + eps/Q),    x̂ ∓ ŷ = (x ∓ √(P/Q) y) / √P
#
# The error of P and Q enters it squared. For equal rows √(P/Q) is 1 and every term 0, also when the
# compiler fuses product and difference. A sum over 10⁶ components is off by 4e-12 at worst, so a
# threshold of 2⁻¹⁰ leaves the direct form at least 28 good bits.
#
# state = (s, x·x, y·y, ½Σ(x̂ ∓ ŷ)², scale of x, scale of y, side, eps for x, eps for y): the sums
# are of scaled rows, and eps is scaled with them; side is 0 on the plain passes and the sign of c
# on the chord's.
# --------------------------------------------------------------------------------------------------

_NEAR = 2.0**-10


def _squares(state: State) -> tuple[Any, Any]:
    return state[1] + state[7], state[2] + state[8]


def _cosine_of(state: State) -> Any:
    p, q = _squares(state)
    if p == 0 or q == 0:
        return 0 * p * q  # a zero vector is at right angles to everything; NaN stays NaN
    return state[0] / math.sqrt(p * q)


def _gap(state: State) -> Any:
    """1 - |c| from the chord."""
    p, q = _squares(state)
    return state[3] + 0.5 * (state[7] / p + state[8] / q)


def _cosine_init(zero: Any, eps: Any) -> State:
    one = zero + 1
    return zero, zero, zero, zero, one, one, zero, zero + eps, zero + eps


def _cosine_accumulate(state: State, x: Any, y: Any) -> State:
    s, xx, yy, half, sx, sy, side, ex, ey = state
    return s + x * y, xx + x * x, yy + y * y, half, sx, sy, side, ex, ey


def _cosine_reaccumulate(state: State, x: Any, y: Any) -> State:
    s, xx, yy, half, sx, sy, side, ex, ey = state
    x, y = x * sx, y * sy
    if side == 0:
        return s + x * y, xx + x * x, yy + y * y, half, sx, sy, side, ex, ey
    p, q = _squares(state)
    chord = (x - side * math.sqrt(p / q) * y) * (1 / math.sqrt(p))
    return s, xx, yy, half + 0.5 * (chord * chord), sx, sy, side, ex, ey


def _in_range(state: State) -> tuple[bool, State]:
    _, _, _, _, sx, sy, _, ex, ey = state
    p, q = _squares(state)
    if _LOW <= p <= _HIGH and _LOW <= q <= _HIGH:
        # What follows comes to the same, 10 instructions later of the 265 of a row of 16.
        return False, state
    new_sx, new_sy = _scale_for(p, sx), _scale_for(q, sy)
    if new_sx == sx and new_sy == sy:
        return False, state
    zero = 0 * sx
    fx, fy = new_sx / sx, new_sy / sy
    return True, (zero, zero, zero, zero, new_sx, new_sy, zero, ex * fx * fx, ey * fy * fy)


def _cosine_suffices(state: State) -> Any:
    s, xx, yy = state[:3]
    # Without eps: it only takes the cosine away from 1, and not its gradient from 0.
    return _moderate(xx) and _moderate(yy) and _SMALL <= abs(s) / math.sqrt(xx * yy) <= 1 - _LEFT


def _with_chord(state: State, side: float) -> tuple[bool, State]:
    s, xx, yy, half, sx, sy, _, ex, ey = state
    return True, (s, xx, yy, half, sx, sy, 0 * sx + side, ex, ey)


def _cosine_prepare(state: State, factor: Any) -> State:
    """For the slopes of ``-factor * c``."""
    s, sx, sy = state[0], state[4], state[5]
    p, q = _squares(state)
    if p == 0 or q == 0:
        zero = 0 * sx
        return zero, zero, sx, sy, zero, zero
    r = factor / math.sqrt(p * q)
    return s / p, s / q, sx, sy, r * sx, r * sy


def _cosine_gradient(state: State, d: Any, x: Any, y: Any) -> tuple[Any, Any]:
    u, v, sx, sy, rx, ry = state
    x, y = x * sx, y * sy
    return (u * x - y) * rx, (v * y - x) * ry


def _cosine_linear(state: State, d: Any) -> State:
    u, v, sx, sy, rx, ry = state
    return rx * sy, u * (sx / sy), ry * sx, v * (sy / sx), 0 * sx


def _cosine() -> Distance:
    def revisit(state: State) -> tuple[bool, State]:
        if state[6] != 0:
            return False, state
        again, state = _in_range(state)
        if not again and 1 - _cosine_of(state) < _NEAR:
            return _with_chord(state, 1.0)
        return again, state

    def finalize(state: State) -> Any:
        if state[6] != 0:
            return _gap(state)
        d = 1 - _cosine_of(state)
        return 2 + 0 * d if d > 2 else d

    def prepare(state: State, d: Any) -> State:
        return _cosine_prepare(state, 1.0)

    return Distance(
        "cosine",
        _cosine_init,
        _cosine_accumulate,
        finalize,
        _cosine_gradient,
        revisit,
        _cosine_reaccumulate,
        prepare,
        _cosine_linear,
        suffices=_cosine_suffices,
        parameters=(0.0,),
    )


def _similarity() -> Distance:
    def finalize(state: State) -> Any:
        c = _cosine_of(state)
        if c > 1:
            return 1 + 0 * c
        return 0 * c - 1 if c < -1 else c

    def prepare(state: State, d: Any) -> State:
        return _cosine_prepare(state, -1.0)

    return Distance(
        "cosine_similarity",
        _cosine_init,
        _cosine_accumulate,
        finalize,
        _cosine_gradient,
        _in_range,
        _cosine_reaccumulate,
        prepare,
        _cosine_linear,
        suffices=_cosine_suffices,
        parameters=(0.0,),
    )


def _clamped_similarity() -> Distance:
    # torch's cosine_similarity: norms of at least e, differentiated as if they were not clamped.
    # With u = max(√(x·x), e), v = max(√(y·y), e):
    #     c = s / (u v),    dc/dx = (y - s/(u √(x·x)) x) / (u v),   the second term 0 for x = 0
    # The state is that of the cosine with e² in the place of eps.
    def norms(state: State) -> tuple[Any, Any]:
        return math.sqrt(max(state[1], state[7])), math.sqrt(max(state[2], state[8]))

    def init(zero: Any, eps: Any) -> State:
        return _cosine_init(zero, eps * eps)

    def finalize(state: State) -> Any:
        u, v = norms(state)
        if u == 0 or v == 0:
            return 0 * u * v
        return state[0] / (u * v)

    def prepare(state: State, d: Any) -> State:
        s, xx, yy, _, sx, sy, _, _, _ = state
        u, v = norms(state)
        if u == 0 or v == 0:
            zero = 0 * sx
            return zero, zero, sx, sy, zero, zero
        r = -1 / (u * v)
        a = 0 * xx if xx == 0 else s / (u * math.sqrt(xx))
        b = 0 * yy if yy == 0 else s / (v * math.sqrt(yy))
        return a, b, sx, sy, r * sx, r * sy

    return Distance(
        "clamped_cosine_similarity",
        init,
        _cosine_accumulate,
        finalize,
        _cosine_gradient,
        _in_range,
        _cosine_reaccumulate,
        prepare,
        _cosine_linear,
        suffices=_cosine_suffices,
        parameters=(1e-8,),
    )


def _angular() -> Distance:
    # θ = arccos(c)/π. arccos is flat-footed at ±1, so with g = 1 - |c| there (from the chord):
    #     θ π = 2 asin(√(g/2))  for c > 0,   π - 2 asin(√(g/2))  for c < 0
    #     π dθ/dx = -1/√(1 - c²) dc/dx,      1 - c² = g (2 - g)
    def revisit(state: State) -> tuple[bool, State]:
        if state[6] != 0:
            return False, state
        again, state = _in_range(state)
        if not again:
            c = _cosine_of(state)
            if 1 - abs(c) < _NEAR:
                return _with_chord(state, math.copysign(1.0, c))
        return again, state

    def finalize(state: State) -> Any:
        side = state[6]
        if side == 0:
            return math.acos(_cosine_of(state)) / math.pi
        angle = 2 * math.asin(math.sqrt(0.5 * _gap(state))) / math.pi
        return angle if side > 0 else 1 - angle

    def prepare(state: State, d: Any) -> State:
        if state[6] == 0:
            c = _cosine_of(state)
            sine2 = (1 - c) * (1 + c)
        else:
            g = _gap(state)
            sine2 = g * (2 - g)
        # Below an angle of 1e-13 the direction is lost to the rounding of s and P in long rows.
        slope = 0 * sine2 if sine2 < 1e-26 else 1 / (math.pi * math.sqrt(sine2))
        return _cosine_prepare(state, slope)

    return Distance(
        "angular",
        _cosine_init,
        _cosine_accumulate,
        finalize,
        _cosine_gradient,
        revisit,
        _cosine_reaccumulate,
        prepare,
        _cosine_linear,
        suffices=_cosine_suffices,
        parameters=(0.0,),
    )


def _dot() -> Distance:
    # 1 - s: the cosine distance of rows that are taken as unit length already.
    def init(zero: Any) -> State:
        return (zero,)

    def accumulate(state: State, x: Any, y: Any) -> State:
        return (state[0] + x * y,)

    def finalize(state: State) -> Any:
        return 1 - state[0]

    def gradient(state: State, d: Any, x: Any, y: Any) -> tuple[Any, Any]:
        return -y, -x

    def linear(state: State, d: Any) -> State:
        zero = 0 * d
        return zero + 1, zero, zero + 1, zero, zero

    # No ``suffices``: x·y alone does not say what it has cancelled from.
    return Distance("dot", init, accumulate, finalize, gradient, linear=linear)


# --------------------------------------------------------------------------------------------------
# Norms of t = x - y + eps, with eps signed and inside as in torch, which has 1e-6 where
# 0 is the default here. dd/dy = -dd/dx throughout, and
# the gradient of a norm at 0 is 0.
# --------------------------------------------------------------------------------------------------


def _signed(size: Any, t: Any) -> Any:
    """A size with the sign of t; 0 for 0, NaN for NaN."""
    if t == 0 or math.isnan(t):
        return t * size
    return math.copysign(size, t)


def _euclidean() -> Distance:
    # d = √S / a,  S = Σ (a t)²,  dd/dx = t/d = (a t)/√S       state = (S, a, eps)
    def init(zero: Any, eps: Any) -> State:
        return zero, zero + 1, zero + eps

    def accumulate(state: State, x: Any, y: Any) -> State:
        total, scale, eps = state
        t = x - y + eps
        return total + t * t, scale, eps

    def reaccumulate(state: State, x: Any, y: Any) -> State:
        total, scale, eps = state
        t = (x - y + eps) * scale
        return total + t * t, scale, eps

    def revisit(state: State) -> tuple[bool, State]:
        total, scale, eps = state
        new = _scale_for(total, scale)
        return new != scale, (total if new == scale else 0 * scale, new, eps)

    def finalize(state: State) -> Any:
        return math.sqrt(state[0]) / state[1]

    def prepare(state: State, d: Any) -> State:
        total, scale, eps = state
        return 0 * total if total == 0 else 1 / math.sqrt(total), scale, eps

    def gradient(state: State, d: Any, x: Any, y: Any) -> tuple[Any, Any]:
        inverse, scale, eps = state
        g = (x - y + eps) * scale * inverse
        return g, -g

    def linear(state: State, d: Any) -> State:
        inverse, scale, eps = state
        r = inverse * scale
        return r, 0 * r + 1, r, 0 * r + 1, eps

    def suffices(state: State) -> Any:
        # Below eps the differences are mostly what rounding eps to float32 has left of them.
        total, _, eps = state
        return _moderate(total) and eps * eps <= total

    return Distance(
        "euclidean",
        init,
        accumulate,
        finalize,
        gradient,
        revisit,
        reaccumulate,
        prepare,
        linear,
        suffices=suffices,
        parameters=(0.0,),
    )


def _sqeuclidean() -> Distance:
    # d = Σ (x - y)²,  dd/dx = 2 (x - y)
    def init(zero: Any) -> State:
        return (zero,)

    def accumulate(state: State, x: Any, y: Any) -> State:
        t = x - y
        return (state[0] + t * t,)

    def finalize(state: State) -> Any:
        return state[0]

    def gradient(state: State, d: Any, x: Any, y: Any) -> tuple[Any, Any]:
        g = 2 * (x - y)
        return g, -g

    def linear(state: State, d: Any) -> State:
        zero = 0 * d
        return zero + 2, zero + 1, zero + 2, zero + 1, zero

    def suffices(state: State) -> Any:
        return _moderate(state[0])

    return Distance(
        "sqeuclidean", init, accumulate, finalize, gradient, linear=linear, suffices=suffices
    )


def _manhattan() -> Distance:
    # d = Σ |t|,  dd/dx = sign(t)                                            state = (d, eps, 1)
    def init(zero: Any, eps: Any) -> State:
        return zero, zero + eps, zero + 1

    def accumulate(state: State, x: Any, y: Any) -> State:
        total, eps, one = state
        return total + abs(x - y + eps), eps, one

    def finalize(state: State) -> Any:
        return state[0]

    def gradient(state: State, d: Any, x: Any, y: Any) -> tuple[Any, Any]:
        g = _signed(state[2], x - y + state[1])
        return g, -g

    def suffices(state: State) -> Any:
        # As for euclidean; here each of up to 10⁶ components may have lost 2⁻²⁴ eps.
        total, eps, _ = state
        return _moderate(total) and 2.0**10 * eps <= total

    def narrow(state: State, d: Any) -> Any:
        return suffices(state)

    return Distance(
        "manhattan",
        init,
        accumulate,
        finalize,
        gradient,
        suffices=suffices,
        narrow=narrow,
        parameters=(0.0,),
    )


def _chebyshev() -> Distance:
    # d = max |t|,  dd/dx = sign(t)/m on the m components that share the maximum, else 0
    # The maximum is told from the rest by the middle between it and the next |t|, which holds for
    # any rounding of t while the two are apart. Where they are the same, a second pass counts how
    # many share it. A row with a NaN has d = NaN, and no component below it. d is taken from the
    # largest difference: float32 would round its sum with eps, and distances that are equal,
    # a tie of swap, would differ by which of them was read in float64.
    #     state = (max |t|, the next one, x - y of the first, eps), or (max |t|, -1, m, eps), and
    #     then (1/m, what |t| is not below, eps), where 0 and NaN are their own share
    def init(zero: Any, eps: Any) -> State:
        return zero, zero, zero, zero + eps

    def accumulate(state: State, x: Any, y: Any) -> State:
        largest, second, difference, eps = state
        t = abs(x - y + eps)
        if t > largest or math.isnan(t):
            return t, largest, x - y, eps
        return largest, max(second, t), difference, eps

    def reaccumulate(state: State, x: Any, y: Any) -> State:
        largest, second, count, eps = state
        # A sum of 0 and 1 vectorises; a count that is changed or not took ten times as long.
        return largest, second, count + (1.0 if abs(x - y + eps) == largest else 0.0), eps

    def revisit(state: State) -> tuple[bool, State]:
        largest, second, _, eps = state
        if largest == second:
            zero = 0 * eps
            return True, (largest, zero - 1, zero, eps)
        return False, state

    def finalize(state: State) -> Any:
        largest, second, difference, eps = state
        return largest if second < 0 else abs(difference + eps)

    def prepare(state: State, d: Any) -> State:
        largest, second, count, eps = state
        middle = second + (largest - second) / 2
        share = 1 / count if second < 0 else 1.0
        return (
            largest if largest == 0 or math.isnan(largest) else share,
            middle if 0 <= second < middle else largest,
            eps,
        )

    def gradient(state: State, d: Any, x: Any, y: Any) -> tuple[Any, Any]:
        share, middle, eps = state
        t = x - y + eps
        g = share - share if abs(t) < middle else math.copysign(share, t)
        return g, -g

    def merge(state: State, other: State) -> State:
        largest, second, third, eps = state
        if second < 0:
            return largest, second, third + other[2], eps
        if other[0] > largest or math.isnan(other[0]):
            return other[0], max(largest, other[1]), other[2], eps
        return largest, max(second, other[0]), third, eps

    # In float32 |t| is off by 2⁻²³ of itself and of eps: the largest one is the largest, and alone.
    # That is False of one that is infinite there. Where eps all but cancels the difference, its
    # rounding would be seen in d.
    def suffices(state: State) -> Any:
        largest, second, _, eps = state
        apart = largest - second > 2.0**-19 * (largest + abs(eps))
        return apart and abs(eps) < 128 * largest

    def narrow(state: State, d: Any) -> Any:
        return _moderate(d) and d - state[1] > 2.0**-20 * (d + abs(state[2]))

    return Distance(
        "chebyshev",
        init,
        accumulate,
        finalize,
        gradient,
        revisit,
        reaccumulate,
        prepare,
        merge=merge,
        suffices=suffices,
        narrow=narrow,
        parameters=(0.0,),
    )


def _lp() -> Distance:
    # d = (Σ |t|^p)^(1/p),  dd/dx = sign(t) (|t|/d)^(p-1)
    # A power leaves the range at once (0.1^400 is 0), and a sum does not say how far it went: the
    # largest |t| does, and as the unit of a second pass it puts the sum into [1, D]. |t| ≤ d, so
    # the gradient needs no such care. A component at 0 has gradient 0 for every p, also for p < 1
    # where the slope is infinite.                        state = (Σ (|t|/u)^p, max |t|, u, p, eps)
    def init(zero: Any, p: Any, eps: Any) -> State:
        return zero, zero, zero + 1, zero + p, zero + eps

    def accumulate(state: State, x: Any, y: Any) -> State:
        total, largest, unit, p, eps = state
        t = abs(x - y + eps)
        return total + t**p, max(largest, t), unit, p, eps

    def reaccumulate(state: State, x: Any, y: Any) -> State:
        total, largest, unit, p, eps = state
        return total + (abs(x - y + eps) / unit) ** p, largest, unit, p, eps

    def revisit(state: State) -> tuple[bool, State]:
        total, largest, unit, p, eps = state
        if unit != 1 or _LOW <= total <= _HIGH or not 0 < largest < math.inf:
            return False, state
        return largest != 1, (0 * unit if largest != 1 else total, largest, largest, p, eps)

    def finalize(state: State) -> Any:
        total, _, unit, p, _ = state
        return total ** (1 / p) * unit

    def gradient(state: State, d: Any, x: Any, y: Any) -> tuple[Any, Any]:
        t = x - y + state[4]
        g = t if t == 0 else math.copysign((abs(t) / d) ** (state[3] - 1), t)
        return g, -g

    def merge(state: State, other: State) -> State:
        total, largest, unit, p, eps = state
        return total + other[0], max(largest, other[1]), unit, p, eps

    return Distance(
        "lp",
        init,
        accumulate,
        finalize,
        gradient,
        revisit,
        reaccumulate,
        merge=merge,
        parameters=(3.5, 0.0),
    )


def _whole_lp(p: int) -> Distance:
    # The same for a p that the compiler knows, and makes products of: 20 times as fast. With few
    # factors a power of two will do as the unit, and no component is divided by anything:
    #     d = (Σ |a t|^p)^(1/p) / a,   r = b t 1/(b d),   dd/dx = sign(r) |r|^(p-1)
    # Not the largest |t| tells the unit but their sum, taken in a pass of its own, with an a that
    # keeps it finite: all that the state has are sums, and these are reordered, and so vectorised.
    #            state = (Σ |a t|^p or Σ |a t|, 0 or 1 for which, a, p, eps), then (b, 1/(b d), eps)
    less = p - 1

    def accumulate(state: State, x: Any, y: Any) -> State:
        total, plain, scale, exponent, eps = state
        return total + abs(x - y + eps) ** p, plain, scale, exponent, eps

    def reaccumulate(state: State, x: Any, y: Any) -> State:
        total, plain, scale, exponent, eps = state
        t = abs(x - y + eps) * scale
        return total + (t if plain == 1 else t**p), plain, scale, exponent, eps

    def revisit(state: State) -> tuple[bool, State]:
        total, plain, scale, exponent, eps = state
        zero = 0 * scale
        if plain == 1:
            if total == 0 or math.isinf(total):
                return False, (total, zero, zero + 1, exponent, eps)
            # No more than 2¹⁰⁰⁰, as of a subnormal row: it is to be finite.
            new = scale * math.ldexp(1.0, min(-math.frexp(total)[1], 1000))
            return True, (zero, zero, new, exponent, eps)
        if scale != 1 or _LOW <= total <= _HIGH or math.isnan(total):
            return False, state
        return True, (zero, zero + 1, 2.0**-64 if total > _HIGH else 1.0, exponent, eps)

    def finalize(state: State) -> Any:
        total, _, scale, exponent, _ = state
        return total ** (1 / exponent) / scale

    def prepare(state: State, d: Any) -> State:
        scale = 2.0**600 if d < _LOW else 2.0**-600 if d > _HIGH else 1.0
        return scale, 0 * d if d == 0 else 1 / (d * scale), state[4]

    def gradient(state: State, d: Any, x: Any, y: Any) -> tuple[Any, Any]:
        scale, inverse, eps = state
        r = (x - y + eps) * scale * inverse
        g = math.copysign(r**less, r)
        return g, -g

    def suffices(state: State) -> Any:
        # As for euclidean.
        return _moderate(state[0]) and state[4] ** p <= state[0]

    def narrow(state: State, d: Any) -> Any:
        return _moderate(d) and 2.0**10 * state[2] <= d

    return _LP._replace(
        accumulate=accumulate,
        finalize=finalize,
        gradient=gradient,
        revisit=revisit,
        reaccumulate=reaccumulate,
        prepare=prepare,
        merge=None,
        suffices=suffices,
        narrow=narrow,
    )


# --------------------------------------------------------------------------------------------------
# Ratios of sums
# --------------------------------------------------------------------------------------------------


def _canberra() -> Distance:
    # d = Σ |x - y| / m,  m = |x| + |y|,  0/0 = 0.  Per component, n = x - y:
    #     dd/dx = sign(n)/m - |n| sign(x)/m²,   dd/dy = -sign(n)/m - |n| sign(y)/m²
    # which is sign(n) 2|y|/m² and -sign(n) 2|x|/m² where x and y have one sign (no cancellation),
    # and 0 where they have opposite signs, the term being 1 there. At x = 0 dd/dx is the mean of
    # its two sides. One division for both: vectors take all branches, and six were half the time.
    # State = (Σ |x - y| / m, Σ m, 1); the second says only whether any m was out of range.
    def init(zero: Any) -> State:
        return zero, zero, zero + 1

    def accumulate(state: State, x: Any, y: Any) -> State:
        n, m = abs(x - y), abs(x) + abs(y)
        return state[0] + (n if n == 0 else n / m), state[1] + m, state[2]

    def finalize(state: State) -> Any:
        return state[0]

    def gradient(state: State, d: Any, x: Any, y: Any) -> tuple[Any, Any]:
        a, b = abs(x), abs(y)
        m = a + b
        w = m if m == 0 else state[2] / m
        s = math.copysign(w, x - y)
        to_x, to_y = (b * w) * s, -(a * w) * s
        to_x, to_y = to_x + to_x, to_y + to_y
        if x == y or x == 0 or y == 0 or (x > 0) != (y > 0):
            to_x = to_y = m - m  # 0, and NaN for NaN
        return s if x == 0 else to_x, -s if y == 0 else to_y

    def suffices(state: State) -> Any:
        return _moderate(state[0]) and state[1] <= _MOST

    def narrow(state: State, d: Any) -> Any:
        # Beside such numbers, two subnormal ones of bfloat16 may have a slope of infinity where it
        # is 2¹²⁷ and more. To count them took 1.75 of the time of a value.
        return _moderate(state[1])

    return Distance(
        "canberra", init, accumulate, finalize, gradient, suffices=suffices, narrow=narrow
    )


def _braycurtis() -> Distance:
    # d = A/B,  A = Σ |x - y|,  B = Σ |x + y|,  0/0 = 0
    #     dd/dx = (sign(x - y) - d sign(x + y)) / B,   dd/dy = (-sign(x - y) - d sign(x + y)) / B
    def init(zero: Any) -> State:
        return zero, zero

    def accumulate(state: State, x: Any, y: Any) -> State:
        return state[0] + abs(x - y), state[1] + abs(x + y)

    def finalize(state: State) -> Any:
        return state[0] if state[0] == 0 else state[0] / state[1]

    def prepare(state: State, d: Any) -> State:
        lower = state[1]
        if lower == 0:
            return 0 * lower, 0 * lower
        return 1 / lower, d / lower

    def gradient(state: State, d: Any, x: Any, y: Any) -> tuple[Any, Any]:
        difference, both = _signed(state[0], x - y), _signed(state[1], x + y)
        return difference - both, -difference - both

    def suffices(state: State) -> Any:
        upper, lower = state
        moderate = _moderate(upper) and _moderate(lower)
        return moderate and abs(lower - upper) >= _LEFT * lower

    def narrow(state: State, d: Any) -> Any:
        return _moderate(state[0]) and _moderate(state[1]) and abs(1 - d) >= _LEFT

    return Distance(
        "braycurtis",
        init,
        accumulate,
        finalize,
        gradient,
        prepare=prepare,
        suffices=suffices,
        narrow=narrow,
    )


def _poincare() -> Distance:
    # The hyperbolic distance in the unit ball: with n = ‖x-y‖, α = 1 - x·x, β = 1 - y·y and
    # w = n/√(αβ),
    #     d = arcosh(1 + 2w²) = 2 arsinh(w)          (the second form keeps its digits near 0)
    #     dd/dx = 2 [(x - y)/n + x n/α] / √(αβ (1 + w²))
    # NaN for a row on or outside the unit sphere.   state = (Σ (a (x-y))², a, x·x, y·y)
    def init(zero: Any) -> State:
        return zero, zero + 1, zero, zero

    def accumulate(state: State, x: Any, y: Any) -> State:
        total, scale, xx, yy = state
        t = x - y
        return total + t * t, scale, xx + x * x, yy + y * y

    def reaccumulate(state: State, x: Any, y: Any) -> State:
        total, scale, xx, yy = state
        t = (x - y) * scale
        return total + t * t, scale, xx, yy

    def revisit(state: State) -> tuple[bool, State]:
        total, scale, xx, yy = state
        new = _scale_for(total, scale)
        return new != scale, (total if new == scale else 0 * scale, new, xx, yy)

    def room(xx: Any) -> Any:
        return 1 - xx if xx < 1 else math.nan

    def finalize(state: State) -> Any:
        total, scale, xx, yy = state
        return 2 * math.asinh(math.sqrt(total) / scale / math.sqrt(room(xx) * room(yy)))

    def prepare(state: State, d: Any) -> State:
        total, scale, xx, yy = state
        alpha, beta = room(xx), room(yy)
        if total == 0:
            return 0 * alpha, 0 * beta, 0 * total, 0 * total, scale
        root = math.sqrt(total)
        n = root / scale
        # √(αβ(1 + w²)) = √(αβ + n²)
        return n / alpha, n / beta, 2 / math.sqrt(alpha * beta + n * n), 1 / root, scale

    def gradient(state: State, d: Any, x: Any, y: Any) -> tuple[Any, Any]:
        out_x, out_y, factor, inverse, scale = state
        direction = (x - y) * scale * inverse
        return factor * (direction + x * out_x), factor * (y * out_y - direction)

    def linear(state: State, d: Any) -> State:
        out_x, out_y, factor, inverse, scale = state
        along = scale * inverse
        if along == 0:
            return along, along, along, along, along
        return factor * along, 1 + out_x / along, factor * along, 1 + out_y / along, 0 * along

    def suffices(state: State) -> Any:
        total, _, xx, yy = state
        return _moderate(total) and 1 - xx >= _LEFT and 1 - yy >= _LEFT

    return Distance(
        "poincare",
        init,
        accumulate,
        finalize,
        gradient,
        revisit,
        reaccumulate,
        prepare,
        linear,
        suffices=suffices,
    )


_COSINE, _SIMILARITY, _ANGULAR, _DOT = _cosine(), _similarity(), _angular(), _dot()
_CLAMPED_SIMILARITY = _clamped_similarity()
_EUCLIDEAN, _SQEUCLIDEAN, _MANHATTAN = _euclidean(), _sqeuclidean(), _manhattan()
_CHEBYSHEV, _LP = _chebyshev(), _lp()
_LP3, _LP4, _LP5, _LP6, _LP7, _LP8 = map(_whole_lp, range(3, 9))
_WHOLE_LP: dict[float, Distance] = {3: _LP3, 4: _LP4, 5: _LP5, 6: _LP6, 7: _LP7, 8: _LP8}
_CANBERRA, _BRAYCURTIS, _POINCARE = _canberra(), _braycurtis(), _poincare()


# --------------------------------------------------------------------------------------------------
# Names. A record above is found by that of its constant, and a function that was made for it as an
# attribute of that: ``_EUCLIDEAN.init``. Pickle finds both by it, and so does the cache of compiled
# kernels, which would take the functions of two powers for the same, were they called the same.
# --------------------------------------------------------------------------------------------------


def _named(function: Any, name: str) -> Any:
    if "<locals>" in getattr(function, "__qualname__", ""):
        function.__qualname__ = name
    return function


def _functions_of(constant: str, distance: Distance) -> Functions:
    fields = zip(Functions._fields, distance.functions, strict=True)
    return Functions._make([_named(function, f"{constant}.{field}") for field, function in fields])


# By the identities of the functions, for what is in a user's record may have no hash.
_CONSTANTS: dict[tuple[int, ...], str] = {
    tuple(map(id, _functions_of(constant, distance))): constant
    for constant, distance in [*globals().items()]
    if isinstance(distance, Distance)
}


def _constant_of(distance: Distance) -> str | None:
    """The name of the constant with the functions of a record; None for one of the user's own."""
    if type(distance) is not Distance:
        return None
    return _CONSTANTS.get(tuple(map(id, distance.functions)))


def _built_in(constant: str, name: str, parameters: tuple[float, ...]) -> Distance:
    """What a pickled record of this library is read as."""
    record: Distance = globals()[constant]
    return _with(record._replace(name=name), parameters)


def _with(distance: Distance, parameters: tuple[float, ...]) -> Distance:
    # What _replace does, in a third of the time: this is part of every call.
    return tuple.__new__(Distance, (*distance[:-1], parameters))


def real_number(name: str, value: Any) -> float:
    """Returns a float or raises."""
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


def _eps(value: Any) -> float:
    eps = value if type(value) is float else real_number("eps", value)
    if not 0 <= eps < math.inf:
        raise ValueError(f"eps must be finite and >= 0, got {value!r}")
    return eps


def cosine(eps: float = 0.0) -> Distance:
    r"""The cosine distance, exact near 0 and at any scale.

    .. math:: d = 1 - c, \quad c = \frac{x \cdot y}{\sqrt{(x \cdot x + eps)(y \cdot y + eps)}}

    Never negative, exactly 0 for equal rows, and accurate relative to itself however small it is.

    Args:
        eps: Added to both squared norms; 0 gives the textbook definition.

    Returns:
        A :class:`Distance` with values in [0, 2].

    Raises:
        ValueError: ``eps`` is negative, infinite or NaN.

    Singular points: with ``eps=0`` a zero row is at distance 1 from everything, with gradient 0.

    Example:
        >>> import numpy as np, fastcos
        >>> x, y = np.array([3.0, 4.0]), np.array([4.0, 3.0])
        >>> round(float(fastcos.paired_distance(x, y, fastcos.distances.cosine())), 6)
        0.04
    """
    return _with(_COSINE, (_eps(eps),))


def dot() -> Distance:
    r"""One minus the inner product: the cosine distance of rows of unit length.

    .. math:: d = 1 - x \cdot y

    Nothing is normalised and nothing is checked: on rows of other lengths it is not a distance and
    may be negative. It is what TensorFlow's ``tf.losses.cosine_distance`` computes.

    Returns:
        A :class:`Distance`.

    Example:
        >>> import numpy as np, fastcos
        >>> x, y = np.array([0.6, 0.8]), np.array([0.8, 0.6])
        >>> round(float(fastcos.paired_distance(x, y, fastcos.distances.dot())), 6)
        0.04
    """
    return _DOT


def angular() -> Distance:
    r"""The angle between two rows, as a fraction of a half turn.

    .. math:: d = \arccos(c) / \pi

    A metric on directions, unlike ``1 - c``; accurate for nearly parallel and nearly opposite rows.

    Returns:
        A :class:`Distance` with values in [0, 1].

    Singular points: a zero row is at 1/2 from everything, with gradient 0; the gradient of rows
    that are parallel, or opposite, to within 1e-13 is 0.

    Example:
        >>> import numpy as np, fastcos
        >>> x, y = np.array([1.0, 0.0]), np.array([1.0, 1.0])
        >>> round(float(fastcos.paired_distance(x, y, "angular")), 6)
        0.25

    References:
        Cer et al., Universal Sentence Encoder, 2018 (arXiv:1803.11175), section 5.
    """
    return _ANGULAR


def euclidean(eps: float = 0.0) -> Distance:
    r"""The Euclidean distance.

    .. math:: d = \sqrt{\textstyle\sum_k (x_k - y_k + eps)^2}

    Args:
        eps: Added to every difference, signed, as torch's ``pairwise_distance`` does, whose default
            is 1e-6. With any other than 0 it is neither symmetric nor 0 for equal rows.

    Returns:
        A :class:`Distance`.

    Raises:
        ValueError: ``eps`` is negative, infinite or NaN.

    Singular points: where d = 0 the gradient is 0.

    Example:
        >>> import numpy as np, fastcos
        >>> x, y = np.array([0.0, 0.0]), np.array([3.0, 4.0])
        >>> float(fastcos.paired_distance(x, y, fastcos.distances.euclidean()))
        5.0
    """
    return _with(_EUCLIDEAN, (_eps(eps),))


def sqeuclidean() -> Distance:
    r"""The squared Euclidean distance.

    .. math:: d = \textstyle\sum_k (x_k - y_k)^2

    Returns:
        A :class:`Distance`; smooth everywhere.

    Example:
        >>> import numpy as np, fastcos
        >>> x, y = np.array([0.0, 0.0]), np.array([3.0, 4.0])
        >>> float(fastcos.paired_distance(x, y, "sqeuclidean"))
        25.0
    """
    return _SQEUCLIDEAN


def manhattan(eps: float = 0.0) -> Distance:
    r"""The Manhattan (city-block, L1) distance.

    .. math:: d = \textstyle\sum_k |x_k - y_k + eps|

    Args:
        eps: Added to every difference, signed, as for :func:`euclidean`.

    Returns:
        A :class:`Distance`.

    Raises:
        ValueError: ``eps`` is negative, infinite or NaN.

    Singular points: the gradient of a component at 0 is 0.

    Example:
        >>> import numpy as np, fastcos
        >>> x, y = np.array([0.0, 0.0]), np.array([3.0, 4.0])
        >>> float(fastcos.paired_distance(x, y, fastcos.distances.manhattan()))
        7.0
    """
    return _with(_MANHATTAN, (_eps(eps),))


def chebyshev(eps: float = 0.0) -> Distance:
    r"""The Chebyshev (maximum, L∞) distance.

    .. math:: d = \max_k |x_k - y_k + eps|

    Args:
        eps: Added to every difference, signed, as for :func:`euclidean`.

    Returns:
        A :class:`Distance`.

    Raises:
        ValueError: ``eps`` is negative, infinite or NaN.

    Singular points: components that share the maximum share the gradient equally; where d = 0 it
    is 0.

    Example:
        >>> import numpy as np, fastcos
        >>> x, y = np.array([0.0, 0.0]), np.array([3.0, 4.0])
        >>> float(fastcos.paired_distance(x, y, fastcos.distances.chebyshev()))
        4.0
    """
    return _with(_CHEBYSHEV, (_eps(eps),))


def lp(p: float, eps: float = 0.0) -> Distance:
    r"""The p-norm of the difference.

    .. math:: d = \bigl(\textstyle\sum_k |x_k - y_k + eps|^p\bigr)^{1/p}

    Args:
        p: Any number > 0; ``inf`` gives :func:`chebyshev`, 1 and 2 are :func:`manhattan` and
            :func:`euclidean`. For p < 1 it is not a metric.
        eps: Added to every difference, signed, as for :func:`euclidean`.

    Returns:
        A :class:`Distance`.

    Raises:
        ValueError: ``p`` is not > 0, or ``eps`` is negative, infinite or NaN.

    Singular points: the gradient of a component at 0 is 0, and so it is where d = 0.

    Example:
        >>> import numpy as np, fastcos
        >>> x, y = np.array([0.0, 0.0, 0.0]), np.array([3.0, 4.0, 5.0])
        >>> round(float(fastcos.paired_distance(x, y, fastcos.distances.lp(3))), 6)
        6.0
    """
    power = real_number("p", p)
    if not power > 0:
        raise ValueError(f"p must be > 0 (inf for the maximum norm), got {p!r}")
    special = {1.0: _MANHATTAN, 2.0: _EUCLIDEAN, math.inf: _CHEBYSHEV}.get(power)
    if special is not None:
        return _with(special, (_eps(eps),))
    return _with(_WHOLE_LP.get(power, _LP), (power, _eps(eps)))


def canberra() -> Distance:
    r"""The Canberra distance.

    .. math:: d = \sum_k \frac{|x_k - y_k|}{|x_k| + |y_k|}, \quad 0/0 = 0

    Returns:
        A :class:`Distance`.

    Singular points: the gradient of a component with x = y is 0; at x = 0 it is the mean of its two
    sides.

    Example:
        >>> import numpy as np, fastcos
        >>> float(fastcos.paired_distance(np.array([1.0, 3.0]), np.array([1.0, 1.0]), "canberra"))
        0.5

    References:
        Lance and Williams, Mixed-data classificatory programs, 1967.
    """
    return _CANBERRA


def braycurtis() -> Distance:
    r"""The Bray-Curtis distance.

    .. math:: d = \sum_k |x_k - y_k| \Big/ \sum_k |x_k + y_k|, \quad 0/0 = 0

    Returns:
        A :class:`Distance`.

    Singular points: a component of either sum at 0 adds nothing to the gradient; where the lower
    sum is 0 the gradient is 0.

    Example:
        >>> import numpy as np, fastcos
        >>> float(fastcos.paired_distance(np.array([1.0, 3.0]), np.array([1.0, 1.0]), "braycurtis"))
        0.3333333333333333

    References:
        Bray and Curtis, An ordination of the upland forest communities, 1957.
    """
    return _BRAYCURTIS


def poincare() -> Distance:
    r"""The hyperbolic distance in the Poincaré ball.

    .. math:: d = \operatorname{arcosh}\left(1 + 2\,
        \frac{\lVert x - y\rVert^2}{(1 - \lVert x\rVert^2)(1 - \lVert y\rVert^2)}\right)

    Returns:
        A :class:`Distance`; NaN for a row on or outside the unit sphere.

    Singular points: where x = y the gradient is 0.

    Example:
        >>> import numpy as np, fastcos
        >>> x, y = np.array([0.0, 0.0]), np.array([0.6, 0.0])
        >>> bool(np.isclose(fastcos.paired_distance(x, y, "poincare"), 2 * np.arctanh(0.6)))
        True

    References:
        Nickel and Kiela, Poincaré embeddings for learning hierarchical representations, 2017
        (arXiv:1705.08039), equation 1.
    """
    return _POINCARE


#: What a ``distance`` argument may be called by name.
DistanceName: TypeAlias = Literal[
    "cosine",
    "dot",
    "angular",
    "euclidean",
    "sqeuclidean",
    "manhattan",
    "chebyshev",
    "canberra",
    "braycurtis",
    "poincare",
]

#: What the names stand for; each with its default parameters. Not to be changed, for calls are
#: remembered by the name: a Distance of your own is passed as it is.
DISTANCES: Mapping[DistanceName, Callable[[], Distance]] = types.MappingProxyType(
    {
        "cosine": cosine,
        "dot": dot,
        "angular": angular,
        "euclidean": euclidean,
        "sqeuclidean": sqeuclidean,
        "manhattan": manhattan,
        "chebyshev": chebyshev,
        "canberra": canberra,
        "braycurtis": braycurtis,
        "poincare": poincare,
    }
)


def __dir__() -> list[str]:
    return __all__
