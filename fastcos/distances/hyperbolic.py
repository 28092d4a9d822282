"""The hyperbolic distance.

The block has its derivation, its record and its public factory.
"""

import math
from typing import Any

from fastcos.distances.ranges import LEFT, moderate, scale_for
from fastcos.distances.record import Distance, FurtherPasses, Linear, Refinements, State, built


@built
def _POINCARE() -> Distance:
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
        new = scale_for(total, scale)
        return new != scale, (total if new == scale else 0 * scale, new, xx, yy)

    def to_sphere(xx: Any) -> Any:
        return 1 - xx if xx < 1 else math.nan

    def finalize(state: State) -> Any:
        total, scale, xx, yy = state
        return 2 * math.asinh(math.sqrt(total) / scale / math.sqrt(to_sphere(xx) * to_sphere(yy)))

    def prepare(state: State, d: Any) -> State:
        total, scale, xx, yy = state
        alpha, beta = to_sphere(xx), to_sphere(yy)
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

    def coefficients(state: State, d: Any) -> State:
        out_x, out_y, factor, inverse, scale = state
        along = scale * inverse
        if along == 0:
            return along, along, along, along, along
        return factor * along, 1 + out_x / along, factor * along, 1 + out_y / along, 0 * along

    def float32_sums(state: State) -> Any:
        total, _, xx, yy = state
        return moderate(total) and 1 - xx >= LEFT and 1 - yy >= LEFT

    refinements = Refinements(
        prepare=prepare,
        further_passes=FurtherPasses(revisit, reaccumulate),
        float32_sums=float32_sums,
        float32_gradient=Linear(coefficients),
    )
    return Distance("poincare", init, accumulate, finalize, gradient, refinements)


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
