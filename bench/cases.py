"""The cases: each public function, the NumPy formula that it replaces, and the peers that have it.

One table for the bench, which times the providers of a case, and for the tests, which hold them to
the same numbers. The formulas are what a careful NumPy user writes: vectorised, ``vecdot`` for the
sums of products, temporaries reused where they can be, the gradient by hand.
"""

from __future__ import annotations

import functools
import importlib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import numpy.typing as npt
from scipy.spatial import minkowski_distance, minkowski_distance_p
from sklearn.metrics.pairwise import (
    paired_cosine_distances,
    paired_euclidean_distances,
    paired_manhattan_distances,
)

import fastcos
from fastcos import distances

Array = npt.NDArray[Any]
#: From the slope of the loss in each distance (or one number for all) to the gradients.
Pull = Callable[[Any], tuple[Array, ...]]
Thunk = Callable[[], Any]

#: What is timed: the value, value and gradients into new arrays, and into the caller's (``out=``).
VALUE, GRADIENT, GRADIENT_OUT = "value", "value_and_grad", "value_and_grad_out"
DTYPES = ("float16", "bfloat16", "float32", "float64")
PEERS = ("numpy", "scikit-learn", "scipy", "simsimd", "numkong")
#: Those that read half types. SciPy and scikit-learn would make copies in float64.
_READ_HALF = ("numpy", "simsimd", "numkong")
MARGIN = 0.2


def _installed(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


# Whoever does not have them goes without.
simsimd, numkong = _installed("simsimd"), _installed("numkong")
MISSING = tuple(
    name for name, module in (("simsimd", simsimd), ("numkong", numkong)) if module is None
)


class Buffers(NamedTuple):
    """One set of arrays that a case may use: operands, gradients of three, and the rest."""

    rows: tuple[Array, Array, Array, Array]  # anchor, positive, negative, what is near the anchor
    grads: tuple[Array, Array, Array]
    labels: Array
    weights: Array
    marks: Array


class Case(NamedTuple):
    """One public function and its peers.

    Args:
        name: What ``--cases`` and the reports call it.
        function: The public function.
        formula: ``(*inputs) -> (value, pull)`` in NumPy; ``pull(1)`` gives the gradients.
        inputs: The positional arguments from a set of buffers, operands first.
        operands: How many of them have a gradient.
        keywords: Further arguments of ``function``.
        named: Which of its arguments the last inputs are, where it takes them by name only.
        peers: Other libraries' functions of the same inputs; values only.
    """

    name: str
    function: Callable[..., Any]
    formula: Callable[..., tuple[Any, Pull]]
    inputs: Callable[[Buffers], tuple[Array, ...]]
    operands: int
    keywords: Mapping[str, Any] = {}
    peers: Mapping[str, Callable[..., Any]] = {}
    named: tuple[str, ...] = ()


def draw(n: int, d: int, dtype: npt.DTypeLike, seed: int = 0) -> Buffers:
    """Data on which no provider can skip work: no loss is 0, and no pair nearly parallel by chance.

    Rows have norms around 1/2, so that every distance is defined, and cosines around 0.6. The
    negative is drawn around the anchor and the positive in turn, so that ``swap`` takes either. The
    fourth rows have cosines of 1 - 2^-13 with the anchors, as embeddings have late in training.
    """
    rng = np.random.default_rng(seed)
    wide = np.float64 if np.dtype(dtype) == np.float64 else np.float32
    base = rng.standard_normal((3, n, d), dtype=wide)
    a, p = base[0], 0.6 * base[0] + 0.8 * base[1]
    around = np.where(np.arange(n)[:, None] % 2, p, a)
    near = a + 2.0**-6 * base[1]
    drawn = (a, p, 0.6 * around + 0.8 * base[2], near)
    rows = tuple((0.5 / math.sqrt(d) * r).astype(dtype) for r in drawn)
    return Buffers(
        rows,
        tuple(np.zeros_like(r) for r in rows[:3]),
        np.where(rng.random(n) < 0.5, 1, -1),
        rng.uniform(0.5, 1.5, n).astype(dtype),
        np.where(rng.random(n * d) < 0.5, 1, -1).astype(np.int8),
    )


def calls(
    case: Case, buffers: Buffers, peers: Sequence[str] = PEERS
) -> dict[tuple[str, str], Thunk]:
    """What there is to time, by mode and provider, bound to its arguments."""
    inputs = case.inputs(buffers)
    split = len(inputs) - len(case.named)
    named = dict(zip(case.named, inputs[split:], strict=True))
    value = functools.partial(case.function, *inputs[:split], **named, **case.keywords)
    both = functools.partial(fastcos.value_and_grad(case.function), *value.args, **value.keywords)
    out = tuple(
        grad.reshape(operand.shape)
        for grad, operand in zip(buffers.grads, inputs[: case.operands], strict=False)
    )

    half = inputs[0].itemsize == 2
    formula, formula_with_gradient = (_half_formula if half else _formula)(case, inputs)
    others = {"numpy": formula} | {
        name: functools.partial(peer, *inputs)
        for name, peer in case.peers.items()
        if name in _READ_HALF or not half
    }
    every = {
        (VALUE, "fastcos"): value,
        **{(VALUE, name): peer for name, peer in others.items()},
        (GRADIENT_OUT, "fastcos"): functools.partial(both, out=out),
        (GRADIENT, "fastcos"): both,
        (GRADIENT, "numpy"): formula_with_gradient,
    }
    return {key: thunk for key, thunk in every.items() if key[1] in ("fastcos", *peers)}


def _formula(case: Case, inputs: Sequence[Array]) -> tuple[Thunk, Thunk]:
    """The value in NumPy, and value and gradients."""

    def value() -> Any:
        return case.formula(*inputs)[0]

    def both() -> Any:
        value, pull = case.formula(*inputs)
        return value, pull(1)

    return value, both


def _half_formula(case: Case, inputs: Sequence[Array]) -> tuple[Thunk, Thunk]:
    """The same for half types, by way of float32: NumPy's own float16 is many times slower."""
    narrow = inputs[0].dtype

    def widened() -> list[Array]:
        return [a.astype(np.float32) if a.dtype == narrow else a for a in inputs]

    def value() -> Any:
        return case.formula(*widened())[0].astype(narrow)

    def both() -> Any:
        value, pull = case.formula(*widened())
        return value.astype(narrow), tuple(g.astype(narrow) for g in pull(1))

    return value, both


def counted_bytes(case: Case, buffers: Buffers, mode: str) -> int:
    """The bytes that must move: each input once, and each gradient once where there are any."""
    inputs = case.inputs(buffers)
    read = sum(array.nbytes for array in inputs)
    return read + (0 if mode == VALUE else sum(a.nbytes for a in inputs[: case.operands]))


# --------------------------------------------------------------------------------------------------
# Distances: (x, y) -> (d, pull) where pull(c) = (c dd/dx, c dd/dy), c a number or one per row.
# pull may use up what the value left behind: it is called once.
# --------------------------------------------------------------------------------------------------


def _module(array: Any) -> Any:
    """Whose functions take the array: NumPy's or CuPy's, which NumPy's find by a detour."""
    return sys.modules[type(array).__module__]


def _dots(x: Array, y: Array) -> Array:
    xp = _module(x)
    if xp is not np:
        return _one_pass(xp, "double" if x.dtype == np.float64 else "float")(x, y, axis=1)
    if hasattr(np, "vecdot"):  # from NumPy 2, a tenth faster
        return np.vecdot(x, y)
    return np.einsum("ij,ij->i", x, y)


@functools.cache
def _one_pass(xp: Any, number: str) -> Callable[..., Any]:
    """The sums of products in CuPy, which has no ``vecdot``: without a temporary of that size."""
    product = f"{number}(x) * {number}(y)"
    given = "T x, T y", "T z", product, "a + b", "z = a", "0", "dots"
    return xp.ReductionKernel(*given, reduce_type=number)


def _column(c: Any) -> Any:
    return c[:, None] if getattr(c, "ndim", 0) else c


def _scaled(t: Array, c: Any) -> Array:
    """``c t``, in place; no pass over the array for c = 1."""
    if getattr(c, "ndim", 0) or c != 1:
        t *= _column(c)
    return t


def _similarity(x: Array, y: Array) -> tuple[Array, Pull]:
    xx, yy = _dots(x, x), _dots(y, y)
    r = 1 / _module(x).sqrt(xx * yy)
    s = _dots(x, y) * r

    def pull(c: Any) -> tuple[Array, Array]:
        gx = y * _column(c * r)
        gx -= x * _column(c * s / xx)
        gy = x * _column(c * r)
        gy -= y * _column(c * s / yy)
        return gx, gy

    return s, pull


def _cosine(x: Array, y: Array) -> tuple[Array, Pull]:
    s, pull = _similarity(x, y)
    return 1 - s, lambda c: pull(-c)


def _angular(x: Array, y: Array) -> tuple[Array, Pull]:
    s, pull = _similarity(x, y)
    return np.arccos(s) / math.pi, lambda c: pull(-c / (math.pi * np.sqrt(1 - s * s)))


def _dot(x: Array, y: Array) -> tuple[Array, Pull]:
    return 1 - _dots(x, y), lambda c: (y * _column(-c), x * _column(-c))


def _euclidean(x: Array, y: Array) -> tuple[Array, Pull]:
    t = x - y
    d = _module(x).sqrt(_dots(t, t))

    def pull(c: Any) -> tuple[Array, Array]:
        g = _scaled(t, c / d)
        return g, -g

    return d, pull


def _sqeuclidean(x: Array, y: Array) -> tuple[Array, Pull]:
    t = x - y

    def pull(c: Any) -> tuple[Array, Array]:
        g = _scaled(t, 2 * c)
        return g, -g

    return _dots(t, t), pull


def _manhattan(x: Array, y: Array) -> tuple[Array, Pull]:
    t = x - y

    def pull(c: Any) -> tuple[Array, Array]:
        g = _scaled(np.sign(t, out=t), c)
        return g, -g

    return np.abs(t).sum(axis=1), pull


def _chebyshev(x: Array, y: Array) -> tuple[Array, Pull]:
    t = x - y
    size = np.abs(t)
    at = np.arange(len(t)), size.argmax(axis=1)

    def pull(c: Any) -> tuple[Array, Array]:
        gx, gy = np.zeros_like(t), np.zeros_like(t)
        gx[at] = c * np.sign(t[at])
        gy[at] = -gx[at]
        return gx, gy

    return size[at], pull


def _cubic(x: Array, y: Array) -> tuple[Array, Pull]:
    # The 3-norm, with products in place of powers.
    t = x - y
    size = np.abs(t)
    d = np.cbrt(np.einsum("ij,ij,ij->i", size, size, size))

    def pull(c: Any) -> tuple[Array, Array]:
        g = t
        g *= size
        g *= _column(c / (d * d))
        return g, -g

    return d, pull


def _canberra(x: Array, y: Array) -> tuple[Array, Pull]:
    t = x - y
    m = np.abs(x)
    m += np.abs(y)
    ratio = np.abs(t)
    ratio /= m

    def pull(c: Any) -> tuple[Array, Array]:
        # sign(t)/m ∓ |t|/m² sign(x or y)
        np.divide(_column(c), m, out=m)
        first = np.sign(t, out=t)
        first *= m
        second = m
        second *= ratio
        gx = first - second * np.sign(x)
        gy = np.sign(y)
        gy *= second
        gy += first
        return gx, np.negative(gy, out=gy)

    return ratio.sum(axis=1), pull


def _braycurtis(x: Array, y: Array) -> tuple[Array, Pull]:
    less, more = x - y, x + y
    b = np.abs(more).sum(axis=1)
    d = np.abs(less).sum(axis=1) / b

    def pull(c: Any) -> tuple[Array, Array]:
        first = _scaled(np.sign(less, out=less), c / b)
        second = _scaled(np.sign(more, out=more), c * d / b)
        gx = first - second
        first += second
        return gx, np.negative(first, out=first)

    return d, pull


def _poincare(x: Array, y: Array) -> tuple[Array, Pull]:
    t = x - y
    n2, alpha, beta = _dots(t, t), 1 - _dots(x, x), 1 - _dots(y, y)
    u = 1 + 2 * n2 / (alpha * beta)

    def pull(c: Any) -> tuple[Array, Array]:
        k = 4 * c / (alpha * beta * np.sqrt(u * u - 1))
        g = _scaled(t, k)
        gx = x * _column(k * n2 / alpha)
        gx += g
        gy = y * _column(k * n2 / beta)
        gy -= g
        return gx, gy

    return np.arccosh(u), pull


# --------------------------------------------------------------------------------------------------
# Losses: inputs -> (value, pull) where pull(1) gives the gradients.
# --------------------------------------------------------------------------------------------------


def _cosine_embedding(x: Array, y: Array, target: Array) -> tuple[Any, Pull]:
    xp = _module(x)
    s, pull = _similarity(x, y)
    similar = target == 1
    value = xp.where(similar, 1 - s, xp.maximum(s - MARGIN, 0)).mean()

    def gradients(c: Any) -> tuple[Array, ...]:
        slope = xp.where(similar, -1, s >= MARGIN) * (c / len(s))
        return pull(slope.astype(s.dtype))

    return value, gradients


def _cosine_distance(labels: Array, predictions: Array, weights: Array) -> tuple[Any, Pull]:
    d, pull = _cosine(labels, predictions)
    count = int(np.count_nonzero(weights))  # a NumPy integer would make everything float64
    return d @ weights / count, lambda c: pull(weights * (c / count))


def _hinge_embedding(x: Array, target: Array) -> tuple[Any, Pull]:
    xp = _module(x)
    # Products with 0 and 1, several times faster than np.where on labels in random order.
    similar = (target == 1).astype(x.dtype)
    different = 1 - similar
    slack = 1 - x
    value = xp.maximum(slack, 0)
    value *= different
    value += similar * x

    def gradients(c: Any) -> tuple[Array]:
        g = (slack >= 0).astype(x.dtype)
        g *= different
        xp.subtract(similar, g, out=g)
        g *= c / x.size
        return (g,)

    return value.mean(), gradients


def _triplet(a: Array, p: Array, n: Array) -> tuple[Any, Pull]:
    xp = _module(a)
    ap, an = a - p, a - n
    ap += 1e-6
    an += 1e-6
    d1, d2 = xp.sqrt(_dots(ap, ap)), xp.sqrt(_dots(an, an))
    z = d1 - d2 + 1

    def gradients(c: Any) -> tuple[Array, ...]:
        slope = ((z >= 0) * (c / len(z))).astype(z.dtype)
        gn = _scaled(an, slope / d2)
        ga = _scaled(ap, slope / d1)
        gp = -ga
        ga -= gn
        return ga, gp, gn

    return xp.maximum(z, 0).mean(), gradients


def _triplet_swap(a: Array, p: Array, n: Array) -> tuple[Any, Pull]:
    xp = _module(a)
    ap, an, pn = a - p, a - n, p - n
    for t in (ap, an, pn):
        t += 1e-6
    d1, d2, d3 = (xp.sqrt(_dots(t, t)) for t in (ap, an, pn))
    z = d1 - xp.minimum(d2, d3) + 1

    def gradients(c: Any) -> tuple[Array, ...]:
        slope = ((z >= 0) * (c / len(z))).astype(z.dtype)
        first = slope * (0.5 * (d2 == d3) + (d2 < d3)).astype(z.dtype)
        ga = _scaled(ap, slope / d1)
        gp = -ga
        gn = _scaled(an, first / d2)
        ga -= gn
        from_p = _scaled(pn, (slope - first) / d3)
        gp -= from_p
        gn += from_p
        return ga, gp, gn

    return xp.maximum(z, 0).mean(), gradients


def _triplet_cosine(a: Array, p: Array, n: Array) -> tuple[Any, Pull]:
    xp = _module(a)
    (d1, pull_positive), (d2, pull_negative) = _cosine(a, p), _cosine(a, n)
    z = d1 - d2 + 1

    def gradients(c: Any) -> tuple[Array, ...]:
        slope = ((z >= 0) * (c / len(z))).astype(z.dtype)
        (ga, gp), (other, gn) = pull_positive(slope), pull_negative(-slope)
        ga += other
        return ga, gp, gn

    return xp.maximum(z, 0).mean(), gradients


# --------------------------------------------------------------------------------------------------
# The table
# --------------------------------------------------------------------------------------------------


def _pair(buffers: Buffers) -> tuple[Array, ...]:
    return buffers.rows[:2]


def _labelled_pair(buffers: Buffers) -> tuple[Array, ...]:
    return *buffers.rows[:2], buffers.labels


def _weighted_pair(buffers: Buffers) -> tuple[Array, ...]:
    return *buffers.rows[:2], buffers.weights


def _near_pair(buffers: Buffers) -> tuple[Array, ...]:
    return buffers.rows[0], buffers.rows[3], buffers.labels


def _three(buffers: Buffers) -> tuple[Array, ...]:
    return buffers.rows[:3]


def _numbers(buffers: Buffers) -> tuple[Array, ...]:
    return buffers.rows[0].reshape(-1), buffers.marks


def _minkowski(p: float) -> Callable[..., Any]:
    return functools.partial(minkowski_distance, p=p)


def _cosine_by_simsimd(x: Array, y: Array) -> Any:
    if x.dtype == ml_dtypes.bfloat16:  # which the buffer protocol has no letter for
        return np.asarray(simsimd.cosine(x.view(np.uint16), y.view(np.uint16), "bfloat16"))
    return np.asarray(simsimd.cosine(x, y))


def _cosine_by_numkong(x: Array, y: Array) -> Any:
    return np.asarray(numkong.angular(x, y))


_COSINES: dict[str, Callable[..., Any]] = {
    name: function
    for name, function in (
        ("scikit-learn", paired_cosine_distances),
        ("simsimd", _cosine_by_simsimd),
        ("numkong", _cosine_by_numkong),
    )
    if name not in MISSING
}


def _one_minus(distance: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, y: 1 - distance(x, y)


_DISTANCES: dict[
    str, tuple[fastcos.Distance, Callable[..., Any], dict[str, Callable[..., Any]]]
] = {
    "cosine": (distances.cosine(), _cosine, _COSINES),
    "angular": (distances.angular(), _angular, {}),
    "dot": (distances.dot(), _dot, {}),
    "euclidean": (
        distances.euclidean(),
        _euclidean,
        {"scikit-learn": paired_euclidean_distances, "scipy": _minkowski(2)},
    ),
    "sqeuclidean": (
        distances.sqeuclidean(),
        _sqeuclidean,
        {"scipy": functools.partial(minkowski_distance_p, p=2)},
    ),
    "manhattan": (
        distances.manhattan(),
        _manhattan,
        {"scikit-learn": paired_manhattan_distances, "scipy": _minkowski(1)},
    ),
    "chebyshev": (distances.chebyshev(), _chebyshev, {"scipy": _minkowski(math.inf)}),
    "lp3": (distances.lp(3), _cubic, {"scipy": _minkowski(3)}),
    "canberra": (distances.canberra(), _canberra, {}),
    "braycurtis": (distances.braycurtis(), _braycurtis, {}),
    "poincare": (distances.poincare(), _poincare, {}),
}

CASES: tuple[Case, ...] = (
    Case(
        "cosine_similarity",
        fastcos.cosine_similarity,
        _similarity,
        _pair,
        2,
        peers={name: _one_minus(distance) for name, distance in _COSINES.items()},
    ),
    *(
        Case(
            f"paired_distance:{name}",
            fastcos.paired_distance,
            formula,
            _pair,
            2,
            {"distance": d},
            peers,
        )
        for name, (d, formula, peers) in _DISTANCES.items()
    ),
    Case(
        "cosine_embedding_loss",
        fastcos.cosine_embedding_loss,
        _cosine_embedding,
        _labelled_pair,
        2,
        {"margin": MARGIN},
    ),
    Case(
        "cosine_embedding_loss:near",
        fastcos.cosine_embedding_loss,
        _cosine_embedding,
        _near_pair,
        2,
        {"margin": MARGIN},
    ),
    Case(
        "cosine_distance_loss",
        fastcos.cosine_distance_loss,
        _cosine_distance,
        _weighted_pair,
        2,
        named=("weights",),
    ),
    Case("triplet_margin_loss", fastcos.triplet_margin_loss, _triplet, _three, 3),
    Case(
        "triplet_margin_loss:swap",
        fastcos.triplet_margin_loss,
        _triplet_swap,
        _three,
        3,
        {"swap": True},
    ),
    Case(
        "triplet_margin_with_distance_loss:cosine",
        fastcos.triplet_margin_with_distance_loss,
        _triplet_cosine,
        _three,
        3,
        {"distance_function": "cosine"},
    ),
    Case("hinge_embedding_loss", fastcos.hinge_embedding_loss, _hinge_embedding, _numbers, 1),
)
