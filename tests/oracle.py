"""What the library should return, from the definitions and to more digits than it has.

Nothing here is taken from the library. The formulas are those of the papers and of the contract in
extended precision (``np.longdouble``: 64 bits of mantissa, exponents to ±4932, so neither 1e200 nor
1e-200 needs care), vectorised over rows; and in 50 digits (``mpmath``) where that is not enough.

``DISTANCES`` and ``LOSSES`` are the tables that the tests walk: a distance or a loss without a row
here fails them.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import mpmath
import numpy as np

LD = np.longdouble
PI = LD("3.14159265358979323846264338327950288")


def wide(value: Any) -> Any:
    """As extended precision; half types have no direct way there in every NumPy."""
    array = np.asarray(value)
    return (array.astype(np.float32) if array.dtype.itemsize == 2 else array).astype(LD)


# --------------------------------------------------------------------------------------------------
# Distances: (x, y, **parameters) -> (d, dd/dx, dd/dy), rows along the last axis
# --------------------------------------------------------------------------------------------------


def _over(numerator: Any, denominator: Any) -> Any:
    """The quotient, 0 where the denominator is 0."""
    empty = denominator == 0
    return np.where(empty, LD(0), numerator / np.where(empty, LD(1), denominator))


def cosine_similarity(x: Any, y: Any, eps: float = 0.0) -> tuple[Any, Any, Any]:
    """c = x·y / √((x·x + eps)(y·y + eps)); 0 with gradient 0 for a zero row."""
    xx = (x * x).sum(-1, keepdims=True) + LD(eps)
    yy = (y * y).sum(-1, keepdims=True) + LD(eps)
    norms = np.sqrt(xx * yy)
    zero = norms == 0
    c = np.where(zero, LD(0), (x * y).sum(-1, keepdims=True) / norms)
    dx = np.where(zero, LD(0), y / norms - c * x / xx)
    dy = np.where(zero, LD(0), x / norms - c * y / yy)
    return c[..., 0], dx, dy


def cosine(x: Any, y: Any, eps: float = 0.0) -> tuple[Any, Any, Any]:
    """1 - c."""
    c, dx, dy = cosine_similarity(x, y, eps)
    return 1 - c, -dx, -dy


def dot(x: Any, y: Any) -> tuple[Any, Any, Any]:
    """1 - x·y."""
    return 1 - (x * y).sum(-1), -y + 0 * x, -x + 0 * y


def angular(x: Any, y: Any) -> tuple[Any, Any, Any]:
    """arccos(c) / π, by Kahan's formula, which has no flat spot at c = ±1.

    With unit rows u and v the angle is 2 atan2(‖u - v‖, ‖u + v‖); moving x turns u towards or away
    from v, so the gradient is the unit vector along u's tangent away from v, over π‖x‖.
    """
    nx = np.sqrt((x * x).sum(-1, keepdims=True))
    ny = np.sqrt((y * y).sum(-1, keepdims=True))
    u, v = _over(x, nx), _over(y, ny)
    c = (u * v).sum(-1, keepdims=True)
    angle = 2 * np.arctan2(_norm(u - v), _norm(u + v))
    zero = (nx == 0) | (ny == 0)
    tangent_x, tangent_y = c * u - v, c * v - u
    dx = _over(_over(tangent_x, _norm(tangent_x)), PI * nx)
    dy = _over(_over(tangent_y, _norm(tangent_y)), PI * ny)
    return (
        np.where(zero, LD(0.5), angle / PI)[..., 0],
        np.where(zero, LD(0), dx),
        np.where(zero, LD(0), dy),
    )


def _norm(x: Any) -> Any:
    return np.sqrt((x * x).sum(-1, keepdims=True))


def lp(x: Any, y: Any, p: float, eps: float = 0.0) -> tuple[Any, Any, Any]:
    """(Σ|x - y + eps|^p)^(1/p); p = inf the maximum, whose ties share the gradient equally."""
    t = x - y + LD(eps)
    size = np.abs(t)
    largest = size.max(-1, keepdims=True)
    if math.isinf(p):
        top = (size == largest) & (size > 0)
        dx = _over(np.sign(t) * top, top.sum(-1, keepdims=True) + 0 * largest)
        return largest[..., 0], dx, -dx
    # In units of the largest component: |t|^400 leaves even this range.
    total = (_over(size, largest) ** LD(p)).sum(-1, keepdims=True)
    d = largest * total ** (1 / LD(p))
    ratio = np.where(size == 0, LD(1), _over(size, d))
    dx = np.sign(t) * ratio ** (LD(p) - 1)
    return d[..., 0], dx, -dx


def euclidean(x: Any, y: Any, eps: float = 0.0) -> tuple[Any, Any, Any]:
    """The root of Σ(x - y + eps)²; gradient 0 at 0."""
    t = x - y + LD(eps)
    d = _norm(t)
    return d[..., 0], _over(t, d), -_over(t, d)


def manhattan(x: Any, y: Any, eps: float = 0.0) -> tuple[Any, Any, Any]:
    """Σ|x - y + eps|."""
    t = x - y + LD(eps)
    return np.abs(t).sum(-1), np.sign(t), -np.sign(t)


def chebyshev(x: Any, y: Any, eps: float = 0.0) -> tuple[Any, Any, Any]:
    """max|x - y + eps|."""
    return lp(x, y, math.inf, eps)


def sqeuclidean(x: Any, y: Any) -> tuple[Any, Any, Any]:
    """Σ(x - y)²."""
    t = x - y
    return (t * t).sum(-1), 2 * t, -2 * t


def canberra(x: Any, y: Any) -> tuple[Any, Any, Any]:
    """Σ|x - y|/(|x| + |y|), 0/0 = 0, by the quotient rule with sign(0) = 0."""
    n, m = np.abs(x - y), np.abs(x) + np.abs(y)
    side = np.sign(x - y)
    dx = _over(side, m) - _over(_over(n, m) * np.sign(x), m)
    dy = -_over(side, m) - _over(_over(n, m) * np.sign(y), m)
    return _over(n, m).sum(-1), np.where(n == 0, LD(0), dx), np.where(n == 0, LD(0), dy)


def braycurtis(x: Any, y: Any) -> tuple[Any, Any, Any]:
    """Σ|x - y| / Σ|x + y|, 0/0 = 0; gradient 0 where the lower sum is 0."""
    upper = np.abs(x - y).sum(-1, keepdims=True)
    lower = np.abs(x + y).sum(-1, keepdims=True)
    side, both = np.sign(x - y), np.sign(x + y)
    d = np.where(upper == 0, LD(0), upper / np.where(upper == 0, LD(1), lower))
    d_or_0 = np.where(lower == 0, LD(0), d)
    return d[..., 0], _over(side - d_or_0 * both, lower), _over(-side - d_or_0 * both, lower)


def poincare(x: Any, y: Any) -> tuple[Any, Any, Any]:
    """Nickel and Kiela 2017, equations 1 and 4: arcosh(γ), γ = 1 + 2‖x-y‖²/((1-‖x‖²)(1-‖y‖²)).

    arcosh(1 + u) = log1p(u + √(u(u + 2))), which keeps the digits of a small u.
    """
    xx, yy = (x * x).sum(-1, keepdims=True), (y * y).sum(-1, keepdims=True)
    xy = (x * y).sum(-1, keepdims=True)
    alpha, beta = 1 - xx, 1 - yy
    u = 2 * ((x - y) ** 2).sum(-1, keepdims=True) / (alpha * beta)
    root = np.sqrt(u * (u + 2))
    dx = _over(4 * ((yy - 2 * xy + 1) / alpha**2 * x - y / alpha), beta * root)
    dy = _over(4 * ((xx - 2 * xy + 1) / beta**2 * y - x / beta), alpha * root)
    outside = (alpha <= 0) | (beta <= 0)
    return (
        np.where(outside, LD("nan"), np.log1p(u + root))[..., 0],
        np.where(outside, LD("nan"), dx),
        np.where(outside, LD("nan"), dy),
    )


# How large the terms are that the result is a difference of, where they can cancel. The library
# sums in float64, so that float32 results do not notice; float64 results are measured against this.


def _cosine_terms(x: Any, y: Any) -> tuple[Any, Any, Any]:
    nx, ny = _norm(x), _norm(y)
    dx = np.maximum(np.abs(x) / nx, np.abs(y) / ny).max(-1, keepdims=True)
    return 1 + 0 * nx[..., 0], dx / nx, dx / ny


def _angular_terms(x: Any, y: Any) -> tuple[Any, Any, Any]:
    # arccos loses 1/sin θ of its digits and its slope as many again. Below 1/32 the loss must stop.
    sine = np.maximum(np.sin(PI * angular(x, y)[0]), LD(1) / 32)
    one, dx, dy = _cosine_terms(x, y)
    loss = 1 / sine[..., None] ** 2
    return one / sine, dx * loss, dy * loss


def _dot_terms(x: Any, y: Any) -> tuple[Any, Any, Any]:
    _, dx, dy = dot(x, y)
    return 1 + np.abs(x * y).sum(-1), np.abs(dx), np.abs(dy)


def _braycurtis_terms(x: Any, y: Any) -> tuple[Any, Any, Any]:
    d = braycurtis(x, y)[0]
    g = (1 + d[..., None]) / np.abs(x + y).sum(-1, keepdims=True)
    return d, g, g


class DistanceRow(NamedTuple):
    """One distance: its formula, where it is defined, and how large its terms are."""

    formula: Callable[..., tuple[Any, Any, Any]]
    unit_ball: bool = False
    terms: Callable[..., tuple[Any, Any, Any]] | None = None


#: By the names that the library uses, plus the p-norm that takes a parameter.
DISTANCES: dict[str, DistanceRow] = {
    "cosine": DistanceRow(cosine, terms=_cosine_terms),
    "dot": DistanceRow(dot, terms=_dot_terms),
    "angular": DistanceRow(angular, terms=_angular_terms),
    "euclidean": DistanceRow(euclidean),
    "sqeuclidean": DistanceRow(sqeuclidean),
    "manhattan": DistanceRow(manhattan),
    "chebyshev": DistanceRow(chebyshev),
    "canberra": DistanceRow(canberra),
    "braycurtis": DistanceRow(braycurtis, terms=_braycurtis_terms),
    "poincare": DistanceRow(poincare, unit_ball=True),
    "lp": DistanceRow(lp),
    "cosine_similarity": DistanceRow(cosine_similarity, terms=_cosine_terms),
}


def distance(name: str, x: Any, y: Any, **parameters: float) -> tuple[Any, Any, Any]:
    """A row of ``DISTANCES`` on arrays of any dtype; leading axes broadcast, gradients do not."""
    with np.errstate(all="ignore"):
        return DISTANCES[name].formula(wide(x), wide(y), **parameters)


def distance_terms(name: str, x: Any, y: Any, **parameters: float) -> tuple[Any, Any, Any]:
    """The magnitudes that float64 results of ``distance`` are accurate to."""
    row = DISTANCES[name]
    if row.terms is not None:
        return row.terms(wide(x), wide(y))
    d, dx, dy = distance(name, x, y, **parameters)
    return np.abs(d), row_scale(dx), row_scale(dy)


def draw(rng: Any, name: str, shape: tuple[int, ...], dtype: Any = np.float64) -> Any:
    """Random rows in the domain of a distance."""
    x = rng.standard_normal(shape)
    if DISTANCES[name].unit_ball:
        x *= rng.uniform(0.1, 0.9, (*shape[:-1], 1)) / np.linalg.norm(x, axis=-1, keepdims=True)
    return x.astype(dtype)


# --------------------------------------------------------------------------------------------------
# Losses of one sample: (operands, target, **parameters) -> (l, (dl/d operand, ...))
# --------------------------------------------------------------------------------------------------


def _hinge(z: Any) -> tuple[Any, Any]:
    """max(0, z) and its slope: 1 at z = 0; NaN for NaN."""
    slope = np.where(np.isnan(z), z, (z >= 0).astype(LD))
    return np.where(z < 0, LD(0), z), slope


def _rows(slope: Any, gradient: Any) -> Any:
    """slope · gradient per row; a slope of 0 gives 0 whatever the gradient."""
    slope = slope[..., None]
    return np.where(slope == 0, LD(0), slope * gradient)


def cosine_embedding_loss(
    operands: Any, target: Any, margin: float = 0.0, pos_margin: float = 1.0, eps: float = 0.0
) -> Any:
    """y = +1: max(0, pos_margin - c); y = -1: max(0, c - margin)."""
    c, dx, dy = cosine_similarity(*operands, eps)
    y = np.broadcast_to(target, c.shape)
    z = np.where(y > 0, LD(pos_margin) - c, c - LD(margin))
    value, slope = _hinge(z)
    slope = slope * np.where(y > 0, -1, 1)
    return value, (_rows(slope, dx), _rows(slope, dy))


def cosine_distance_loss(
    operands: Any, target: Any, normalize: bool = True, eps: float = 0.0
) -> Any:
    """1 - c, or 1 - x·y on rows that are of unit length already."""
    d, dx, dy = cosine(*operands, eps) if normalize else dot(*operands)
    return d, (dx, dy)


def triplet_margin_with_distance_loss(
    operands: Any,
    target: Any,
    distance_function: str | None = None,
    margin: float = 1.0,
    swap: bool = False,
    **parameters: float,
) -> Any:
    """max(0, d(a,p) - d(a,n) + margin); swap takes min(d(a,n), d(p,n)), half and half at a tie."""
    if distance_function is None:  # torch's own
        distance_function, parameters = "euclidean", {"eps": 1e-6}
    measure = DISTANCES[distance_function].formula
    a, p, n = operands
    ap, ap_a, ap_p = measure(a, p, **parameters)
    an, an_a, an_n = measure(a, n, **parameters)
    pn, pn_p, pn_n = measure(p, n, **parameters)
    share = LD(1) + 0 * an
    nearest = an
    if swap:
        share = np.where(an == pn, LD(0.5), (an < pn).astype(LD))
        nearest = np.minimum(an, pn)
    value, slope = _hinge(ap - nearest + LD(margin))
    return value, (
        _rows(slope, ap_a) - _rows(slope * share, an_a),
        _rows(slope, ap_p) - _rows(slope * (1 - share), pn_p),
        -_rows(slope * share, an_n) - _rows(slope * (1 - share), pn_n),
    )


def triplet_margin_loss(
    operands: Any,
    target: Any,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
) -> Any:
    """The triplet loss in a p-norm."""
    return triplet_margin_with_distance_loss(operands, target, "lp", margin, swap, p=p, eps=eps)


def hinge_embedding_loss(operands: Any, target: Any, margin: float = 1.0) -> Any:
    """y = +1: x; y = -1: max(0, margin - x)."""
    (x,) = operands
    y = np.broadcast_to(target, x.shape)
    value, slope = _hinge(LD(margin) - x)
    return np.where(y > 0, x, value), (np.where(y > 0, LD(1), -slope),)


class LossRow(NamedTuple):
    """One loss: its formula, its operands, and what it does when not told otherwise."""

    formula: Callable[..., Any]
    operand_names: tuple[str, ...]
    has_target: bool
    reduction: str = "mean"
    on_rows: bool = True


LOSSES: dict[str, LossRow] = {
    "cosine_embedding_loss": LossRow(cosine_embedding_loss, ("input1", "input2"), True),
    "cosine_distance_loss": LossRow(
        cosine_distance_loss, ("labels", "predictions"), False, "sum_by_nonzero_weights"
    ),
    "triplet_margin_loss": LossRow(triplet_margin_loss, ("anchor", "positive", "negative"), False),
    "triplet_margin_with_distance_loss": LossRow(
        triplet_margin_with_distance_loss, ("anchor", "positive", "negative"), False
    ),
    "hinge_embedding_loss": LossRow(hinge_embedding_loss, ("input",), True, on_rows=False),
}

REDUCTIONS = ("none", "sum", "mean", "sum_over_batch_size", "sum_by_nonzero_weights")


class Result(NamedTuple):
    """What a call gives.

    Args:
        value: The loss.
        grads: With respect to each operand.
        weight_grad: With respect to the weight; None where none was given.
        magnitude: Of the sum that ``value`` is, every loss counted as one more than it is: what a
            float64 value is accurate to.
        weight_magnitude: The same for ``weight_grad``.
    """

    value: Any
    grads: tuple[Any, ...]
    weight_grad: Any = None
    magnitude: Any = None
    weight_magnitude: Any = None


def loss(
    name: str,
    operands: Any,
    target: Any = None,
    *,
    weight: Any = None,
    reduction: str | None = None,
    grad_output: Any = 1.0,
    axis: int = -1,
    **parameters: Any,
) -> Result:
    """A row of ``LOSSES``, weighted, reduced, and with its gradients.

    With w the weight, g the upstream gradient, and W the denominator of the reduction,

        L = Σ w l / W,    dL/dx = g w/W dl/dx,    dL/dw = g (l - L dW/dw)/W

    where dW/dw is 1 for "mean" and 0 else. W = 0 gives 0 everywhere (NaN for the mean of nothing).
    """
    row = LOSSES[name]
    given = [wide(x) for x in operands]
    rows = [np.moveaxis(x, axis, -1) for x in given] if row.on_rows else given
    features = rows[0].shape[-1:] if row.on_rows else ()
    samples = np.broadcast_shapes(*(x.shape[: x.ndim - len(features)] for x in rows))
    rows = [np.broadcast_to(x, samples + features) for x in rows]
    labels = None
    if target is not None:
        labels = np.asarray(target)
        labels = np.broadcast_to(np.where(labels > 0, 1, -1), samples)
    with np.errstate(all="ignore"):
        losses, slopes = row.formula(rows, labels, **parameters)
    w = np.broadcast_to(wide(1.0 if weight is None else weight), samples)
    g = wide(grad_output)
    reduction = reduction or row.reduction
    total = (w * losses).sum()
    denominator = {
        "none": LD(1),
        "sum": LD(1),
        "mean": w.sum(),
        "sum_over_batch_size": LD(w.size),
        "sum_by_nonzero_weights": LD(np.count_nonzero(w)),
    }[reduction]
    magnitude = np.abs(w) * (np.abs(losses) + 1)
    if reduction != "none":
        magnitude = magnitude.sum() / (np.abs(denominator) if denominator != 0 else 1)
    if reduction == "none":
        value = w * losses
    elif w.size == 0:
        value = LD("nan") if reduction == "mean" else LD(0)
    else:
        value = total / denominator if denominator != 0 else LD(0)
    per_loss = np.broadcast_to(g / denominator if denominator != 0 else 0 * g, samples)
    per_row = (w * per_loss).reshape(samples + (1,) * len(features))
    grads = []
    for x, slope in zip(given, slopes, strict=True):
        full = np.where(per_row == 0, LD(0), per_row * slope)
        if row.on_rows:
            full = np.moveaxis(full, -1, axis)
        grads.append(unbroadcast(full, x.shape))
    weight_grad = weight_magnitude = None
    if weight is not None:
        less = value if reduction == "mean" and w.size else LD(0)
        weight_grad = unbroadcast((losses - less) * per_loss, np.shape(weight))
        terms = (np.abs(losses) + np.abs(less) + 1) * np.abs(per_loss)
        weight_magnitude = unbroadcast(terms, np.shape(weight))
    return Result(value, tuple(grads), weight_grad, magnitude, weight_magnitude)


def unbroadcast(array: Any, shape: tuple[int, ...]) -> Any:
    """Sums over the axes along which something of ``shape`` was broadcast."""
    array = array.sum(axis=tuple(range(array.ndim - len(shape))))
    kept = tuple(k for k, n in enumerate(shape) if n == 1 and array.shape[k] != 1)
    return array.sum(axis=kept, keepdims=True)


def parameter_names(name: str) -> set[str]:
    """The parameters of a loss that its formula knows."""
    names = set(inspect.signature(LOSSES[name].formula).parameters)
    return names - {"operands", "target", "parameters"}


# --------------------------------------------------------------------------------------------------
# 50 digits, for what 64 bits cannot resolve: 1 - c of float64 rows that are nearly parallel
# --------------------------------------------------------------------------------------------------

_DIGITS = 50


def precise_cosine_distance(x: Any, y: Any) -> Any:
    """1 - c of two rows, as an mpmath number of 50 digits beyond the cancellation."""
    with mpmath.workdps(2 * _DIGITS):
        u = [mpmath.mpf(float(k)) for k in x]
        v = [mpmath.mpf(float(k)) for k in y]
        uu, vv, uv = mpmath.fdot(u, u), mpmath.fdot(v, v), mpmath.fdot(u, v)
        return 1 - uv / mpmath.sqrt(uu * vv)


def precise_angle(x: Any, y: Any) -> Any:
    """arccos(c)/π of two rows, as an mpmath number."""
    with mpmath.workdps(2 * _DIGITS):
        return mpmath.acos(1 - precise_cosine_distance(x, y)) / mpmath.pi


def precise_cosine_gradient(x: Any, y: Any) -> Any:
    """d(1 - c)/dx of two rows, in float64 rounded from 50 digits."""
    with mpmath.workdps(2 * _DIGITS):
        u = [mpmath.mpf(float(k)) for k in x]
        v = [mpmath.mpf(float(k)) for k in y]
        uu, vv, uv = mpmath.fdot(u, u), mpmath.fdot(v, v), mpmath.fdot(u, v)
        norms = mpmath.sqrt(uu * vv)
        return np.array([float((uv / uu * a - b) / norms) for a, b in zip(u, v, strict=True)])


# --------------------------------------------------------------------------------------------------
# Assertions, in units in the last place
# --------------------------------------------------------------------------------------------------


def ulp(scale: Any, dtype: Any) -> Any:
    """The distance between neighbouring numbers of ``dtype`` at the magnitude ``scale``."""
    info = ml_dtypes.finfo(dtype)
    fraction, exponent = np.frexp(np.abs(wide(scale)))
    exponent = np.where(fraction == 0, info.minexp, np.maximum(exponent - 1, info.minexp))
    return np.ldexp(LD(1), exponent - info.nmant)


def assert_within_ulps(actual: Any, expected: Any, ulps: float, *, scale: Any = None) -> None:
    """Fails where ``actual`` is off by more than ``ulps`` units in the last place of ``scale``.

    Args:
        actual: What the library returned; its dtype says what a unit is.
        expected: The oracle's value.
        ulps: The bound.
        scale: The magnitude that units are taken of, by default that of ``expected`` itself.
    """
    actual, expected = np.asarray(actual), wide(expected)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    given = wide(actual)
    same = (given == expected) | (np.isnan(given) & np.isnan(expected))
    unit = np.broadcast_to(ulp(expected if scale is None else scale, actual.dtype), given.shape)
    with np.errstate(invalid="ignore"):
        error = np.where(same, LD(0), np.abs(given - expected) / unit)
    error = np.where(np.isnan(error), LD("inf"), error)
    if error.size and error.max() > ulps:
        at = np.unravel_index(np.argmax(error), error.shape)
        raise AssertionError(
            f"{float(error[at]):.3g} ulp off at {tuple(map(int, at))}, allowed {ulps}:"
            f" {given[at]!r}, expected {expected[at]!r}; {int((error > ulps).sum())} of"
            f" {error.size} are off"
        )


def row_scale(expected: Any, axis: int = -1) -> Any:
    """The scale of each row of a gradient: its largest component."""
    if np.ndim(expected) == 0:
        return np.abs(expected)
    return np.abs(expected).max(axis=axis, keepdims=True)


def assert_rows_within_ulps(actual: Any, expected: Any, ulps: float, *, axis: int = -1) -> None:
    """Gradients: every component within ``ulps`` of the largest component of its row."""
    expected = wide(expected)
    assert_within_ulps(actual, expected, ulps, scale=row_scale(expected, axis))


def assert_same_bits(actual: Any, expected: Any) -> None:
    """Fails unless both have the same dtype, shape and bits (NaNs included)."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.dtype == expected.dtype, f"dtype {actual.dtype}, expected {expected.dtype}"
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    word = f"u{actual.dtype.itemsize}"
    different = np.ascontiguousarray(actual).view(word) != np.ascontiguousarray(expected).view(word)
    assert not different.any(), f"{int(different.sum())} of {different.size} differ in their bits"


#: float32 and the half types: what the library promises. float64: what its sums of a few dozen
#: terms may lose, of the scale that says what they cancel from.
ULPS = {"float16": 4, "bfloat16": 4, "float32": 4, "float64": 32}


def assert_results_agree(given: Result, expected: Result, *, axis: int = -1) -> None:
    """Value, gradients and gradient of the weight, each to the accuracy of its dtype."""
    value = np.asarray(given.value)
    scale = expected.magnitude if value.dtype == np.float64 else None
    assert_within_ulps(value, expected.value, ULPS[value.dtype.name], scale=scale)
    assert len(given.grads) == len(expected.grads)
    for grad, right in zip(given.grads, expected.grads, strict=True):
        assert_rows_within_ulps(grad, right, ULPS[np.asarray(grad).dtype.name], axis=axis)
    if given.weight_grad is not None:
        bound = ULPS[np.asarray(given.weight_grad).dtype.name]
        scale = expected.weight_magnitude
        assert_within_ulps(given.weight_grad, expected.weight_grad, bound, scale=scale)
