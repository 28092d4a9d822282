"""The distances of directions: the cosine family, and the inner product of rows of unit length.

Each block has its derivation, its record and its public factory.
"""

import math
from typing import Any

from fastcos.distances import record
from fastcos.distances.ranges import HIGH, LEFT, LOW, SMALL, moderate, scale_for
from fastcos.distances.record import Distance, FurtherPasses, Linear, Refinements, State, built

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
# state = (s, x·x, y·y, Σ(x ∓ √(P/Q) y)², scale of x, scale of y, side, eps): the sums are of scaled
# rows; side is 0 on the plain passes, and on the chord's ±√(P/Q), with the sign of c. Roots and
# quotients are taken once for a row: in the loop a GPU's compiler made 115 instructions of them,
# for each component.
# --------------------------------------------------------------------------------------------------

_FAR = (1 - 2.0**-10) ** 2


def _scaled_eps(state: State) -> tuple[Any, Any]:
    _, _, _, _, sx, sy, _, eps = state
    return (eps * sx) * sx, (eps * sy) * sy  # in this order: 0 times infinity is NaN


def _squares(state: State) -> tuple[Any, Any]:
    ex, ey = _scaled_eps(state)
    return state[1] + ex, state[2] + ey


def _cosine_of(state: State) -> Any:
    p, q = _squares(state)
    if p == 0 or q == 0:
        return 0 * p * q  # a zero vector is at right angles to everything; NaN stays NaN
    return state[0] / math.sqrt(p * q)


def _gap(state: State) -> Any:
    """1 - |c| from the chord."""
    p, q = _squares(state)
    ex, ey = _scaled_eps(state)
    return 0.5 * ((state[3] + ex) / p + ey / q)


def _cosine_init(zero: Any, eps: Any) -> State:
    one = zero + 1
    return zero, zero, zero, zero, one, one, zero, zero + eps


def _cosine_accumulate(state: State, x: Any, y: Any) -> State:
    s, xx, yy, chord, sx, sy, side, eps = state
    return s + x * y, xx + x * x, yy + y * y, chord, sx, sy, side, eps


def _cosine_reaccumulate(state: State, x: Any, y: Any) -> State:
    s, xx, yy, chord, sx, sy, side, eps = state
    x, y = x * sx, y * sy
    t = x - side * y
    return s + x * y, xx + x * x, yy + y * y, chord + t * t, sx, sy, side, eps


def _in_range(state: State) -> tuple[bool, State]:
    _, _, _, _, sx, sy, _, eps = state
    p, q = _squares(state)
    if LOW <= p <= HIGH and LOW <= q <= HIGH:
        # What follows comes to the same, 10 instructions later of the 265 of a row of 16.
        return False, state
    new_sx, new_sy = scale_for(p, sx), scale_for(q, sy)
    if new_sx == sx and new_sy == sy:
        return False, state
    zero = 0 * sx
    return True, (zero, zero, zero, zero, new_sx, new_sy, zero, eps)


def _cosine_float32_sums(state: State) -> Any:
    s, xx, yy = state[:3]
    # Without eps: it only takes the cosine away from 1, and not its gradient from 0.
    return moderate(xx) and moderate(yy) and SMALL <= abs(s) / math.sqrt(xx * yy) <= 1 - LEFT


def _with_chord(state: State, both: bool) -> tuple[bool, State]:
    """Whether a row is near c = 1, or -1 if ``both`` are asked for, and the state of its chord."""
    s, _, _, _, sx, sy, _, eps = state
    p, q = _squares(state)
    # Not a condition on the sign of its own: of random rows nobody foresees it, and to be wrong
    # costs 5 ns.
    if s * (s if both else abs(s)) > _FAR * p * q:
        # 1 for P = Q, as the root of a square is exact.
        zero = 0 * sx
        return True, (zero, zero, zero, zero, sx, sy, math.copysign(math.sqrt(p / q), s), eps)
    return False, state


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


def _cosine_coefficients(state: State, d: Any) -> State:
    u, v, sx, sy, rx, ry = state
    if sx == sy:  # so it is of nearly all rows, and two divisions less
        return rx * sy, u, ry * sx, v, 0 * sx
    return rx * sy, u * (sx / sy), ry * sx, v * (sy / sx), 0 * sx


def _of_angle(
    name: str,
    *,
    init: Any = _cosine_init,
    finalize: Any,
    prepare: Any,
    revisit: Any = _in_range,
    eps: float = 0.0,
) -> Distance:
    """A distance of the state above; what it comes to, and when the chord is taken, is its own."""
    accumulate, gradient = _cosine_accumulate, _cosine_gradient
    refinements = Refinements(
        prepare=prepare,
        further_passes=FurtherPasses(revisit, _cosine_reaccumulate),
        float32_sums=_cosine_float32_sums,
        float32_gradient=Linear(_cosine_coefficients),
    )
    return Distance(name, init, accumulate, finalize, gradient, refinements, (eps,))


@built
def _COSINE() -> Distance:
    def revisit(state: State) -> tuple[bool, State]:
        if state[6] != 0:
            return False, state
        again, state = _in_range(state)
        return (again, state) if again else _with_chord(state, False)

    def finalize(state: State) -> Any:
        if state[6] != 0:
            return _gap(state)
        d = 1 - _cosine_of(state)
        return 2 + 0 * d if d > 2 else d

    def prepare(state: State, d: Any) -> State:
        return _cosine_prepare(state, 1.0)

    return _of_angle("cosine", finalize=finalize, prepare=prepare, revisit=revisit)


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
    return record.with_parameters(_COSINE, (record.checked_eps(eps),))


@built
def _SIMILARITY() -> Distance:
    def finalize(state: State) -> Any:
        c = _cosine_of(state)
        if c > 1:
            return 1 + 0 * c
        return 0 * c - 1 if c < -1 else c

    def prepare(state: State, d: Any) -> State:
        return _cosine_prepare(state, -1.0)

    return _of_angle("cosine_similarity", finalize=finalize, prepare=prepare)


def cosine_similarity(eps: float = 0.0) -> Distance:
    """The similarity c itself, for :func:`fastcos.cosine_similarity`; ``eps`` as for the cosine."""
    return record.with_parameters(_SIMILARITY, (record.checked_eps(eps),))


@built
def _CLAMPED_SIMILARITY() -> Distance:
    # torch's cosine_similarity: norms of at least e, differentiated as if they were not clamped.
    # With u = max(√(x·x), e), v = max(√(y·y), e):
    #     c = s / (u v),    dc/dx = (y - s/(u √(x·x)) x) / (u v),   the second term 0 for x = 0
    # The state is that of the cosine with e² in the place of eps.
    def norms(state: State) -> tuple[Any, Any]:
        ex, ey = _scaled_eps(state)
        return math.sqrt(max(state[1], ex)), math.sqrt(max(state[2], ey))

    def init(zero: Any, eps: Any) -> State:
        return _cosine_init(zero, eps * eps)

    def finalize(state: State) -> Any:
        u, v = norms(state)
        if u == 0 or v == 0:
            return 0 * u * v
        return state[0] / (u * v)

    def prepare(state: State, d: Any) -> State:
        s, xx, yy, _, sx, sy, _, _ = state
        u, v = norms(state)
        if u == 0 or v == 0:
            zero = 0 * sx
            return zero, zero, sx, sy, zero, zero
        r = -1 / (u * v)
        a = 0 * xx if xx == 0 else s / (u * math.sqrt(xx))
        b = 0 * yy if yy == 0 else s / (v * math.sqrt(yy))
        return a, b, sx, sy, r * sx, r * sy

    return _of_angle(
        "clamped_cosine_similarity", init=init, finalize=finalize, prepare=prepare, eps=1e-8
    )


def clamped_cosine_similarity(eps: float) -> Distance:
    """The similarity as torch defines it, with norms of at least ``eps``."""
    return record.with_parameters(_CLAMPED_SIMILARITY, (float(eps),))


@built
def _ANGULAR() -> Distance:
    # θ = arccos(c)/π. arccos is flat-footed at ±1, so with g = 1 - |c| there (from the chord):
    #     θ π = 2 asin(√(g/2))  for c > 0,   π - 2 asin(√(g/2))  for c < 0
    #     π dθ/dx = -1/√(1 - c²) dc/dx,      1 - c² = g (2 - g)
    def revisit(state: State) -> tuple[bool, State]:
        if state[6] != 0:
            return False, state
        again, state = _in_range(state)
        return (again, state) if again else _with_chord(state, True)

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

    return _of_angle("angular", finalize=finalize, prepare=prepare, revisit=revisit)


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


@built
def _DOT() -> Distance:
    # 1 - s: the cosine distance of rows that are taken as unit length already.
    def init(zero: Any) -> State:
        return (zero,)

    def accumulate(state: State, x: Any, y: Any) -> State:
        return (state[0] + x * y,)

    def finalize(state: State) -> Any:
        return 1 - state[0]

    def gradient(state: State, d: Any, x: Any, y: Any) -> tuple[Any, Any]:
        return -y, -x

    def coefficients(state: State, d: Any) -> State:
        zero = 0 * d
        return zero + 1, zero, zero + 1, zero, zero

    # No ``float32_sums``: x·y alone does not say what it has cancelled from.
    refinements = Refinements(float32_gradient=Linear(coefficients))
    return Distance("dot", init, accumulate, finalize, gradient, refinements)


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
