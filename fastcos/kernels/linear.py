"""Gradients in float32 that lose nothing against those in float64."""

from typing import Any, NamedTuple

import numpy as np
from numba import float32

from fastcos.kernels.functions import jitable


class Scaled(NamedTuple):
    """``c`` times the gradient of a distance d, whose ``state`` has been through ``prepare``."""

    c: float
    state: Any
    d: float


class Coefficients(NamedTuple):
    """``rx (ux x - y + e)`` and ``ry (uy y - x - e)`` in float32, where u is ``u + v``."""

    fits: bool
    rx: Any
    ux: Any
    vx: Any
    ry: Any
    uy: Any
    vy: Any
    e: Any


class TripletCoefficients(NamedTuple):
    """The numbers of :func:`linear_triplet_gradient` in float32."""

    fits: bool  # whether they may be used
    of_p: bool  # whether q is the positive
    first: Coefficients  # of the first distance
    second: Coefficients
    pivoted: bool  # whether o and n, with r and s, have changed places
    t: Any
    w: Any  # to float32
    rest: Any  # what that leaves of w
    r: Any  # twice
    g: Any  # half of it


@jitable()
def _in_range(value: float) -> bool:
    return value == 0 or 2.0**-100 <= abs(value) <= 2.0**100


@jitable()
def _are_parallel(u: float, other_u: float, d: float) -> bool:
    near = 1 - 2.0**-10 < u * other_u < 1 + 2.0**-40
    return near and (u != 1 or abs(d) < 2.0**-40)  # or it is a norm


@jitable()
def _no_coefficients(c: float, state: Any, d: float) -> Any:
    o = float32(0)
    return Coefficients(False, o, o, o, o, o, o, o)


def kept_coefficients(linear: Any, prepare: Any, jitable: Any) -> Any:
    """``(c, state, d) -> numbers`` that are kept of a distance until its gradient is computed.

    Those are ``r`` and ``u`` of both rows, and ``e``, of ``c`` times the gradient, all float64; 0
    where ``c`` is, whatever the rows are.
    """

    @jitable()
    def coefficients(c: float, state: Any, d: float) -> Any:
        if c == 0:
            return 0.0, 0.0, 0.0, 0.0, 0.0
        rx, ux, ry, uy, e = linear(prepare(state, d), d)
        # Of a distance that is not finite no gradient is 0 altogether.
        lost = d - d
        if lost != 0 and rx == 0 and ux == 0:
            rx = lost
        if lost != 0 and ry == 0 and uy == 0:
            ry = lost
        # Integers among them become float64.
        return c * rx, 1.0 * ux, c * ry, 1.0 * uy, 1.0 * e

    return coefficients


@jitable()
def of_side(kept: Any, side: int) -> Any:
    """``r``, ``u`` and ``e`` of the gradient ``r (u x - y + e)`` to one row of a distance.

    ``side`` is 0 for the first row, and 1 for the second; x is that row, y the other one.
    """
    rx, ux, ry, uy, e = kept
    return (ry, uy, -e) if side else (rx, ux, e)


@jitable()
def has_say(r: float, u: float) -> bool:
    """Whether a gradient of these is one of a sample that has a slope, and not 0 in any case.

    Both are 0 where it has none, and only there; ``r`` alone is 0 beside an infinite row.
    """
    return r != 0 or u != 0


def linear_gradient(linear: Any, fma: Any, jitable: Any) -> tuple[Any, Any]:
    """The gradient of one distance in float32, for distances whose gradient is linear.

    ``r (u x - y + e)`` loses nothing to cancellation: u is two float32 numbers, and y is subtracted
    from the product with the larger one before that is rounded. Each component is right to 2 ulp;
    where e cancels the rest, to 2 ulp of the largest, for e is far below the distance.

    Args:
        linear: The function of the distance; None for one that has none.
        fma: ``(a, b, c) -> a * b + c`` in float32, rounded once.
        jitable: What decorates the functions.

    Returns:
        ``coefficients(c, state, d) -> Coefficients``, for ``c`` times the gradient, and
        ``slopes(coefficients, x, y) -> (to x, to y)``. Where the coefficients do not fit float32 by
        far, or the distance is not finite, ``fits`` is False, and the gradient is to be computed in
        float64.
    """

    @jitable()
    def slopes(k: Any, x: Any, y: Any) -> Any:
        to_x = (fma(k.ux, x, -y) + fma(k.vx, x, k.e)) * k.rx
        return to_x, (fma(k.uy, y, -x) + fma(k.vy, y, -k.e)) * k.ry

    @jitable()
    def coefficients(c: float, state: Any, d: float) -> Any:
        rx, ux, ry, uy, e = linear(state, d)
        rx, ry = c * rx, c * ry
        fits = _in_range(rx) and _in_range(ux) and _in_range(ry) and _in_range(uy)
        fits = fits and 2.0**10 * abs(e) <= abs(d) < 2.0**100
        hx, hy = float32(ux), float32(uy)
        return Coefficients(
            fits, float32(rx), hx, float32(ux - hx), float32(ry), hy, float32(uy - hy), float32(e)
        )

    return (coefficients if linear else _no_coefficients), slopes


def linear_triplet_gradient(linear: Any, swap: bool, fma: Any, jitable: Any) -> tuple[Any, Any]:
    """The gradients of a triplet in float32, for rows of half types.

    With q the operand that both distances share, o the other one of the first distance and n the
    negative, q has the gradient ::

        r (u q - o + e) + s (v q - n + f) = t (w q - n) - r (o - n - g),
        t = r + s,   w = (r u + s v) / t,   g = (r e + s f) / r

    whose numbers are taken in float64. Where the two parts cancel, as for o near n, or both small
    beside q, the terms of the right side are small, too. That is for ``|r| <= |s|``: else ``r n``
    may be large beside both parts (``o`` small beside ``n`` under the cosine, near q under the
    euclidean distance), and o and n, with r and s, change places. As r is about 1 over the distance
    or the norm of its operand, ``r (o - n)`` is then no larger than the two parts could be alone.

    Nor may one of the parts cancel by itself, as that of parallel rows does under the cosine, where
    ``u q`` and ``o`` would no longer be subtracted before anything is rounded. With u' what u is to
    the other row, ``u u'`` is the square of the cosine there; of a norm both are 1.

    Without ``swap`` q is the anchor; the other arguments are those of :func:`linear_gradient`.

    Returns:
        ``coefficients(first, second, of_p) -> TripletCoefficients``, of the two :class:`Scaled`
        and whether q is the positive; and ``slopes(coefficients, a, p, n)``, all three.
    """
    of_one, slopes_of_one = linear_gradient(linear, fma, jitable)
    half = np.float32(0.5)

    @jitable()
    def slopes(k: Any, a: Any, p: Any, n: Any) -> Any:
        of_p = swap and k.of_p
        q, o = (p, a) if of_p else (a, p)
        other, pivot = (n, o) if k.pivoted else (o, n)
        # Of the halves: the difference of two numbers of bfloat16 may be infinite in float32.
        difference = fma(half, other, -half * pivot) - k.g
        both = fma(-k.r, difference, k.t * fma(k.rest, q, fma(k.w, q, -pivot)))
        to_a, to_p = slopes_of_one(k.first, a, p)
        _, to_n = slopes_of_one(k.second, q, n)
        return (to_a if of_p else both), (both if of_p else to_p), to_n

    @jitable()
    def none(first: Any, second: Any, of_p: bool) -> Any:
        o, single = float32(0), of_one(*first)
        return TripletCoefficients(False, of_p, single, single, False, o, o, o, o, o)

    @jitable()
    def coefficients(first: Any, second: Any, of_p: bool) -> Any:
        rx, ux, ry, uy, e = linear(first.state, first.d)
        s, v, _, other_v, f = linear(second.state, second.d)
        cancels = _are_parallel(ux, uy, first.d) or _are_parallel(v, other_v, second.d)
        r, u, e = (first.c * ry, uy, -e) if of_p else (first.c * rx, ux, e)
        s *= second.c
        t, m = r + s, r * u + s * v
        w = m if m == 0 else m / t
        pivoted = abs(r) > abs(s)
        smaller = s if pivoted else r
        g = (r * e + s * f) / smaller
        of_first, of_second = of_one(*first), of_one(*second)
        fits = of_first.fits and of_second.fits and not cancels
        fits = fits and smaller != 0 and abs(w) <= 2.0**20
        large = float32(w)
        rest, twice, half_g = float32(w - large), float32(2 * smaller), float32(g / 2)
        return TripletCoefficients(
            fits, of_p, of_first, of_second, pivoted, float32(t), large, rest, twice, half_g
        )

    return (coefficients if linear else none), slopes
