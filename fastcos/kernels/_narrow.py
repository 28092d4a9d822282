"""Gradients in float32 that lose nothing against those in float64."""

from __future__ import annotations

from typing import Any

from numba import float32


def narrow(linear: Any, fma: Any, jitable: Any) -> tuple[Any, Any]:
    """The gradient of one distance in float32, for distances whose gradient is linear.

    ``r (u x - y + e)`` loses nothing to cancellation: u is two float32 numbers, and y is subtracted
    from the product with the larger one before that is rounded. Each component is right to 2 ulp;
    where e cancels the rest, to 2 ulp of the largest, for e is far below the distance.

    Args:
        linear: The function of the distance; None for one that has none.
        fma: ``(a, b, c) -> a * b + c`` in float32, rounded once.
        jitable: What the functions are decorated with.

    Returns:
        ``coefficients(c, state, d) -> (fits, ...)``, for ``c`` times the gradient, and
        ``slopes(coefficients, x, y) -> (to x, to y)``. Where the coefficients do not fit float32 by
        far, or the distance is not finite, the gradient is to be computed in float64.
    """

    @jitable()
    def in_range(value: float) -> bool:
        return value == 0 or 2.0**-100 <= abs(value) <= 2.0**100

    @jitable()
    def slopes(coefficients: Any, x: Any, y: Any) -> Any:
        rx, ux, vx, ry, uy, vy, e = coefficients[1:]
        to_x = (fma(ux, x, -y) + fma(vx, x, e)) * rx
        return to_x, (fma(uy, y, -x) + fma(vy, y, -e)) * ry

    @jitable()
    def no_coefficients(c: float, s: Any, d: float) -> Any:
        o = float32(0)
        return False, o, o, o, o, o, o, o

    @jitable()
    def coefficients(c: float, s: Any, d: float) -> Any:
        rx, ux, ry, uy, e = linear(s, d)
        rx, ry = c * rx, c * ry
        fits = in_range(rx) and in_range(ux) and in_range(ry) and in_range(uy)
        fits = fits and 2.0**10 * abs(e) <= abs(d) < 2.0**100
        hx, hy = float32(ux), float32(uy)
        return (
            fits,
            float32(rx),
            hx,
            float32(ux - hx),
            float32(ry),
            hy,
            float32(uy - hy),
            float32(e),
        )

    return (coefficients if linear else no_coefficients), slopes
