"""The distances that are ratios of sums, or sums of ratios.

Each block has its derivation, its record and its public factory.
"""

import math
from typing import Any

from fastcos.distances.norms import signed
from fastcos.distances.ranges import LEFT, MOST, moderate
from fastcos.distances.record import Distance, Refinements, State, built


@built
def _CANBERRA() -> Distance:
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

    def float32_sums(state: State) -> Any:
        return moderate(state[0]) and state[1] <= MOST

    def float32_gradient(state: State, d: Any) -> Any:
        # Beside such numbers, two subnormal ones of bfloat16 may have a slope of infinity where it
        # is 2¹²⁷ and more. To count them took 1.75 of the time of a value.
        return moderate(state[1])

    refinements = Refinements(float32_sums=float32_sums, float32_gradient=float32_gradient)
    return Distance("canberra", init, accumulate, finalize, gradient, refinements)


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


@built
def _BRAYCURTIS() -> Distance:
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
        difference, both = signed(state[0], x - y), signed(state[1], x + y)
        return difference - both, -difference - both

    def float32_sums(state: State) -> Any:
        upper, lower = state
        fits = moderate(upper) and moderate(lower)
        return fits and abs(lower - upper) >= LEFT * lower

    def float32_gradient(state: State, d: Any) -> Any:
        return moderate(state[0]) and moderate(state[1]) and abs(1 - d) >= LEFT

    refinements = Refinements(
        prepare=prepare, float32_sums=float32_sums, float32_gradient=float32_gradient
    )
    return Distance("braycurtis", init, accumulate, finalize, gradient, refinements)


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
