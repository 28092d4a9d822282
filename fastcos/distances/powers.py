"""The norms of any power of the differences; those of 1, 2 and infinity are in ``norms``."""

from __future__ import annotations

import math
from typing import Any

from fastcos.distances import norms
from fastcos.distances.ranges import HIGH, LOW, moderate
from fastcos.distances.record import (
    Distance,
    FurtherPasses,
    Refinements,
    State,
    checked_eps,
    real_number,
    with_parameters,
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

    return Distance(
        "lp",
        init=init,
        accumulate=accumulate,
        finalize=finalize,
        gradient=gradient,
        refinements=Refinements(merge=merge, further_passes=FurtherPasses(revisit, reaccumulate)),
        parameters=(3.5, 0.0),
    )


_LP = _lp()


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

    return _LP._replace(
        accumulate=accumulate,
        finalize=finalize,
        gradient=gradient,
        refinements=Refinements(
            prepare=prepare,
            further_passes=FurtherPasses(revisit, reaccumulate),
            float32_sums=float32_sums,
            float32_gradient=float32_gradient,
        ),
    )


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
    power = real_number("p", p)
    if not power > 0:
        raise ValueError(f"p must be > 0 (inf for the maximum norm), got {p!r}")
    special = {1.0: norms._MANHATTAN, 2.0: norms._EUCLIDEAN, math.inf: norms._CHEBYSHEV}.get(power)
    if special is not None:
        return with_parameters(special, (checked_eps(eps),))
    return with_parameters(_WHOLE_LP.get(power, _LP), (power, checked_eps(eps)))
