"""The norms of differences, and the squared one.

Each block has its derivation, its record and its public factory.
"""

import math
from typing import Any

from fastcos.distances import record
from fastcos.distances.ranges import HIGH, LOW, moderate, scale_for
from fastcos.distances.record import Distance, FurtherPasses, Linear, Refinements, State, built

# --------------------------------------------------------------------------------------------------
# Norms of t = x - y + eps, with eps signed and inside as in torch, which has 1e-6 where 0 is the
# default here. dd/dy = -dd/dx throughout, and the gradient of a norm at 0 is 0.
# --------------------------------------------------------------------------------------------------


def signed(size: Any, t: Any) -> Any:
    """A size with the sign of t; 0 for 0, NaN for NaN."""
    if t == 0 or math.isnan(t):
        return t * size
    return math.copysign(size, t)


@built
def _EUCLIDEAN() -> Distance:
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
        new = scale_for(total, scale)
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

    def coefficients(state: State, d: Any) -> State:
        inverse, scale, eps = state
        r = inverse * scale
        return r, 0 * r + 1, r, 0 * r + 1, eps

    def float32_sums(state: State) -> Any:
        # Below eps the differences are mostly what rounding eps to float32 has left of them.
        total, _, eps = state
        return moderate(total) and eps * eps <= total

    refinements = Refinements(
        prepare=prepare,
        further_passes=FurtherPasses(revisit, reaccumulate),
        float32_sums=float32_sums,
        float32_gradient=Linear(coefficients),
    )
    return Distance("euclidean", init, accumulate, finalize, gradient, refinements, (0.0,))


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
    return record.with_parameters(_EUCLIDEAN, (record.checked_eps(eps),))


@built
def _SQEUCLIDEAN() -> Distance:
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

    def coefficients(state: State, d: Any) -> State:
        zero = 0 * d
        return zero + 2, zero + 1, zero + 2, zero + 1, zero

    def float32_sums(state: State) -> Any:
        return moderate(state[0])

    refinements = Refinements(float32_sums=float32_sums, float32_gradient=Linear(coefficients))
    return Distance("sqeuclidean", init, accumulate, finalize, gradient, refinements)


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


@built
def _MANHATTAN() -> Distance:
    # d = Σ |t|,  dd/dx = sign(t)                                            state = (d, eps, 1)
    def init(zero: Any, eps: Any) -> State:
        return zero, zero + eps, zero + 1

    def accumulate(state: State, x: Any, y: Any) -> State:
        total, eps, one = state
        return total + abs(x - y + eps), eps, one

    def finalize(state: State) -> Any:
        return state[0]

    def gradient(state: State, d: Any, x: Any, y: Any) -> tuple[Any, Any]:
        g = signed(state[2], x - y + state[1])
        return g, -g

    def float32_sums(state: State) -> Any:
        # As for euclidean; here each of up to 10⁶ components may have lost 2⁻²⁴ eps.
        total, eps, _ = state
        return moderate(total) and 2.0**10 * eps <= total

    def float32_gradient(state: State, d: Any) -> Any:
        return float32_sums(state)

    refinements = Refinements(float32_sums=float32_sums, float32_gradient=float32_gradient)
    return Distance("manhattan", init, accumulate, finalize, gradient, refinements, (0.0,))


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
    return record.with_parameters(_MANHATTAN, (record.checked_eps(eps),))


@built
def _CHEBYSHEV() -> Distance:
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

    # Without branches: of rows that were not seen before, nobody foresees which of two lanes has
    # the larger maximum, and to be wrong costs 5 ns.
    def merge(state: State, other: State) -> State:
        largest, second, third, eps = state
        takes = (other[0] > largest) | math.isnan(other[0])
        first, lower = (other[0], largest) if takes else (largest, other[0])
        beside = max(lower, other[1] if takes else second)
        difference = other[2] if takes else third
        if second < 0:
            return first, second, third + other[2], eps
        return first, beside, difference, eps

    # In float32 |t| is off by 2⁻²³ of itself and of eps: the largest one is the largest, and alone.
    # That is False of one that is infinite there. Where eps all but cancels the difference, its
    # rounding would be seen in d.
    def float32_sums(state: State) -> Any:
        largest, second, _, eps = state
        apart = largest - second > 2.0**-19 * (largest + abs(eps))
        return apart and abs(eps) < 128 * largest

    def float32_gradient(state: State, d: Any) -> Any:
        return moderate(d) and d - state[1] > 2.0**-20 * (d + abs(state[2]))

    refinements = Refinements(
        prepare=prepare,
        merge=merge,
        further_passes=FurtherPasses(revisit, reaccumulate),
        float32_sums=float32_sums,
        float32_gradient=float32_gradient,
    )
    return Distance("chebyshev", init, accumulate, finalize, gradient, refinements, (0.0,))


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
    return record.with_parameters(_CHEBYSHEV, (record.checked_eps(eps),))


@built
def _LP() -> Distance:
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
        if unit != 1 or LOW <= total <= HIGH or not 0 < largest < math.inf:
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

    refinements = Refinements(merge=merge, further_passes=FurtherPasses(revisit, reaccumulate))
    return Distance("lp", init, accumulate, finalize, gradient, refinements, (3.5, 0.0))


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
        if scale != 1 or LOW <= total <= HIGH or math.isnan(total):
            return False, state
        return True, (zero, zero + 1, 2.0**-64 if total > HIGH else 1.0, exponent, eps)

    def finalize(state: State) -> Any:
        total, _, scale, exponent, _ = state
        return total ** (1 / exponent) / scale

    def prepare(state: State, d: Any) -> State:
        scale = 2.0**600 if d < LOW else 2.0**-600 if d > HIGH else 1.0
        return scale, 0 * d if d == 0 else 1 / (d * scale), state[4]

    def gradient(state: State, d: Any, x: Any, y: Any) -> tuple[Any, Any]:
        scale, inverse, eps = state
        r = (x - y + eps) * scale * inverse
        g = math.copysign(r**less, r)
        return g, -g

    def float32_sums(state: State) -> Any:
        # As for euclidean.
        return moderate(state[0]) and state[4] ** p <= state[0]

    def float32_gradient(state: State, d: Any) -> Any:
        return moderate(d) and 2.0**10 * state[2] <= d

    refinements = Refinements(
        prepare=prepare,
        further_passes=FurtherPasses(revisit, reaccumulate),
        float32_sums=float32_sums,
        float32_gradient=float32_gradient,
    )
    return Distance("lp", _LP.init, accumulate, finalize, gradient, refinements, _LP.parameters)


_LP3, _LP4, _LP5, _LP6, _LP7, _LP8 = map(_whole_lp, range(3, 9))
_WHOLE_LP: dict[float, Distance] = {3: _LP3, 4: _LP4, 5: _LP5, 6: _LP6, 7: _LP7, 8: _LP8}


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
    power = record.real_number("p", p)
    if not power > 0:
        raise ValueError(f"p must be > 0 (inf for the maximum norm), got {p!r}")
    special = {1.0: _MANHATTAN, 2.0: _EUCLIDEAN, math.inf: _CHEBYSHEV}.get(power)
    if special is not None:
        return record.with_parameters(special, (record.checked_eps(eps),))
    return record.with_parameters(_WHOLE_LP.get(power, _LP), (power, record.checked_eps(eps)))
