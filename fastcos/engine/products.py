"""Neighbours by matrix products: how a distance is ordered by a product, and how wrong that may be.

A product is fast and rounds; it only proposes. All that is claimed of it here is a bound on its
error, and the exact kernels measure every candidate that the bound leaves in doubt.

The score of a query ``a`` and a candidate ``b``, the higher the nearer, is one of

    product   σ = a·b              cosine and angular (rows of unit length), dot
    square    σ = a·b - ½|b|²      euclidean, sqeuclidean: ½|a - b|² = ½|a|² - σ;
                                   cosine and angular of rows that lie in a cone: 1 - c = ½|a - b|²

A square does not change when the same vector is taken from all rows, and far from the origin, or in
a narrow cone, the products of what is left are small, and so is their error. Rows are multiplied by
a power of two, that they be neither too large to be squared nor too small.

**The bound.** Let ω be the unit roundoff of the dtype of the products (2⁻²⁴ or 2⁻⁵³), u and v the
rows as they were made ready, p = |u| and q = |v|.

1. Rows are made ready in float64 and rounded once: |u - a| ≤ ρ|a| + τ with ρ = ω + 2⁻⁵². Of unit
   rows τ = (D/2 + 8)·2⁻⁵³, the error of the length, of a division and a difference; else τ = 0.
2. A product of D terms, added up in any order, fused or not, is off by at most γ p q with
   γ = Dω / (1 - Dω) (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1),
   and by what underflows, together less than η = D·2⁻¹⁰⁰ for rows no longer than 2²⁰.
3. |u·v - a·b| ≤ |u - a| q + |a| |v - b| ≤ 2ρ p q + τ(p + q) + ..., |½q² - ½|b|²| ≤ ρq² + τq + ...,
   where what is left out is a product of two of these small numbers.
4. The difference ``u·v - ½q²`` and the rounding of ½q² add ω(pq + q²).
5. A library that is allowed to round float32 numbers to β before it multiplies them (TF32: 2⁻¹¹)
   is off by 2β p q more.

With pq ≤ ½(p² + q²) the sum of all is at most c(p² + q²) + 16τ + η, where
c = 1.01(½γ + 5ω + β) + D·2⁻⁵¹ leaves room for what was left out. So a score lies within
``c p² + 16τ + η``, which is of the query, and ``c q²``, of the candidate, of what was computed.

A scan of rows as they lie in memory (:mod:`fastcos.kernels.cpu.scan`), for a few queries, has
bounds of its own. A cosine is a product and a square of D terms, a root and a division:
1.02(1.5γ + 10ω). Half the square of a distance has positive terms alone: 1.02(γ + 10ω) of itself.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastcos.distances import Distance
from fastcos.distances.record import constant_of
from fastcos.engine.blocks import readable
from fastcos.engine.sweep import Rows

#: Rows whose squares are more than this are measured, and not multiplied.
LARGE = 2.0**40
#: Rows of so many numbers and more are measured: the bounds of float32 are not small there.
LONGEST = 1 << 21
# Rows beyond these powers of two are measured, for their distances may leave the range of float64
# where scores do not.
_FAR, _LONG = 300, 2.0**500
#: Rows of a sample, of which the center and the scale are taken.
_SAMPLE = 1024
# If the mean of unit rows has this square, they lie in a cone: half of each row is the mean.
_CONE = 0.5


class Kind(NamedTuple):
    """How a distance is ordered by products."""

    normalizes: bool  # whether both rows are of unit length
    squares: bool  # whether scores are squares; of unit rows: where they lie in a cone


_KINDS = {
    "angles._COSINE": Kind(normalizes=True, squares=False),
    "angles._ANGULAR": Kind(normalizes=True, squares=False),
    "angles._DOT": Kind(normalizes=False, squares=False),
    "norms._EUCLIDEAN": Kind(normalizes=False, squares=True),
    "norms._SQEUCLIDEAN": Kind(normalizes=False, squares=True),
}


def kind_of(distance: Distance) -> Kind | None:
    """How products order a distance; None where they do not."""
    # With an eps rows of other distances are as far as those of this.
    return None if any(distance.parameters) else _KINDS.get(constant_of(distance) or "")


class Frame(NamedTuple):
    """What rows are brought to before they are multiplied."""

    dtype: Any  # of the products
    normalizes: tuple[bool, bool]  # queries, candidates
    center: Any | None  # what is taken from all rows
    exponents: tuple[int, int]  # of the power of two that queries, candidates are multiplied by
    squares: bool  # whether scores are squares
    bound: float  # c
    constant: float  # 16τ + η


def frame_of(adapter: Any, place: Any, kind: Kind, array: Any, dtype: Any) -> Frame | None:
    """What rows are brought to, by a sample of the candidates; any sample gives right answers.

    None where products are of no use.
    """
    name = "float64" if adapter.float_name(dtype) == "float64" else "float32"
    products = adapter.DTYPES[name]
    step = -(-int(array.shape[0]) // _SAMPLE)
    sample = array[::step]
    features = int(array.shape[1])
    if features >= LONGEST:
        return None
    center, exponent, squares = None, 0, kind.squares
    if kind.normalizes:
        units = ready(adapter, place, sample, products, normalizes=True)
        mean = adapter.center(units.units)
        if _is_finite(adapter, mean) and _square(adapter, mean) > _CONE:
            center, squares = mean, True
    else:
        # In float64, which holds the squares of all that float32 does.
        if squares:
            mean = adapter.center(sample)
            center = mean if _is_finite(adapter, mean) else None
        moved = ready(adapter, place, sample, adapter.DTYPES["float64"], center=center)
        exponent = _exponent(adapter.host(adapter.wrap(moved.squares)))
        if abs(exponent) > _FAR:
            return None
    unit = 2.0**-53 if name == "float64" else 2.0**-24
    gamma = features * unit / (1 - features * unit)
    rounded = 0.0 if name == "float64" else adapter.product_roundoff()
    lost = (features / 2 + 8) * 2.0**-53 if kind.normalizes or not kind.squares else 0.0
    return Frame(
        products,
        # A query is as long as one likes where scores are products.
        (kind.normalizes or not kind.squares, kind.normalizes),
        center,
        (exponent if kind.squares else 0, exponent),
        squares,
        1.01 * (gamma / 2 + 5 * unit + rounded) + features * 2.0**-51,
        16 * lost + features * 2.0**-100,
    )


def ready(
    adapter: Any,
    place: Any,
    array: Any,
    dtype: Any,
    *,
    normalizes: bool = False,
    center: Any = None,
    exponent: int = 0,
) -> Rows:
    """Rows as they are multiplied."""
    found: Rows = place.unit_rows(
        adapter, *readable(adapter, array), dtype, normalizes, center, exponent
    )
    return found


def _is_finite(adapter: Any, center: Any) -> bool:
    return math.isfinite(_square(adapter, center))


def _square(adapter: Any, center: Any) -> float:
    with np.errstate(over="ignore"):
        return float(np.square(adapter.host(adapter.wrap(center))).sum())


def _exponent(squares: Any) -> int:
    """That of the power of two by which rows of such squares are about 1 long."""
    usual = squares[(squares > 0) & (squares < math.inf)]
    if not len(usual):
        return 0
    return int(np.clip(-np.round(np.median(np.log2(usual)) / 2), -1000, 1000))


class Bounds(NamedTuple):
    """What is known of scores before there are any."""

    slacks: Any  # for each query, float64
    widening: float


def query_bounds(frame: Frame, squares: Any, norms: Any) -> Bounds:
    """By how much scores of queries of these squares, divided by these norms, may be wrong."""
    c = frame.bound
    slacks = c * squares + frame.constant
    if frame.squares:
        return Bounds(slacks, 4 * c / (1 - 2 * c))
    if frame.normalizes[1]:
        # Those of the candidates are 1, to their last digits.
        return Bounds(slacks + 1.01 * c, 0.0)
    # Products that differ by less than this are the same beside 1.
    with np.errstate(all="ignore"):
        beside = 2.0**-51 * 2.0 ** frame.exponents[1] / norms
    return Bounds(slacks + beside, -2.0)


def shifts(frame: Frame, squares: Any) -> Any | None:
    """What is taken from the scores of candidates of these squares; None for nothing."""
    c = frame.bound
    if frame.squares:
        return (0.5 - c) * squares
    return None if frame.normalizes[1] else -c * squares


def out_of_reach(frame: Frame, squares: Any, norms: Any, of: int) -> Any:
    """Which rows products do not order, of the queries (0) or the candidates (1)."""
    # NaN is near nothing, however it is measured; of infinity one has to see.
    found = (squares > LARGE) | (norms > _LONG)
    # A row without a direction is 1 from all others: as a query it has ties alone, and in a cone
    # squares would say otherwise.
    if frame.normalizes[of] and (of == 0 or frame.squares):
        found |= norms == 0
    return found


def least_scores(
    distance: Distance, frame: Frame, squares: Any, norms: Any, radius: Any
) -> tuple[Any, Any]:
    """What the score of a candidate within a radius is at least, and what is enough of it.

    Args:
        distance: The distance.
        frame: What rows were brought to.
        squares: Those of the queries.
        norms: What queries were divided by.
        radius: The greatest distance, of all queries or of each.
    """
    # What is beyond float64 is infinite here, too, and keeps everything.
    with np.errstate(all="ignore"):
        return _least_scores(constant_of(distance), frame, squares, norms, radius)


def _least_scores(
    name: str | None, frame: Frame, squares: Any, norms: Any, radius: Any
) -> tuple[Any, Any]:
    scale = 2.0 ** frame.exponents[1]
    if name == "angles._DOT":
        # Of queries that have a length: others are out of reach.
        half = (radius - 1) * scale / norms
        least = -half
    else:
        # ½|a - b|² at the radius.
        if name == "angles._COSINE":
            half = np.asarray(radius)
        elif name == "angles._ANGULAR":
            half = 2 * np.sin(math.pi / 2 * np.minimum(radius, 1.0)) ** 2
        elif name == "norms._SQEUCLIDEAN":
            half = 0.5 * (radius * scale * scale)
        else:
            half = 0.5 * np.square(radius * scale)
        least = (0.5 * squares if frame.squares else 1.0) - half
    room = frame.bound * squares + frame.constant + (np.abs(least) + np.abs(half)) * 2.0**-48
    return least - room, least + room


class ScanBounds(NamedTuple):
    """By how much the scores of a scan may be wrong."""

    slack: float
    relative: float  # to the score


def scan_bounds(kind: Kind, features: int) -> ScanBounds:
    """By how much the scores of a scan may be wrong, of rows that have so many numbers."""
    unit = 2.0**-24
    gamma = features * unit / (1 - features * unit)
    if kind.normalizes:
        return ScanBounds(1.02 * (1.5 * gamma + 10 * unit), 0.0)
    # What underflows is all that is absolute.
    return ScanBounds(features * 2.0**-120, 1.02 * (gamma + 10 * unit))
