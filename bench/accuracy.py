"""How far results are from the truth, and what becomes of singular rows.

``python -m bench accuracy`` times nothing. Each part draws rows from a seed, asks every provider
for values and gradients, and compares them with the definition in float64 (for rows of up to 32
bits a number) or in 60 digits (mpmath). A provider that is not installed, or lacks the function or
the dtype, is left out.
"""

from __future__ import annotations

import argparse
import functools
import math
import pathlib
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import ml_dtypes
import mpmath
import numba
import numpy as np
from scipy.spatial import distance as scipy_distance
from sklearn.metrics import pairwise as sklearn_pairwise

import fastcos
from bench import accuracy_report, cases, runner
from fastcos import value_and_grad

torch, pml = cases._installed("torch"), cases._installed("pytorch_metric_learning")
simsimd, numkong = cases.simsimd, cases.numkong

HALVES = ("float16", "bfloat16")
COSINE, EUCLIDEAN, TRIPLET = "cosine", "euclidean", "triplet"
#: Parts, each of them a table or two.
ORDINARY, PARALLEL, SCALED, EQUAL, ZERO, BAD, KINKS, THREADS = (
    *("ordinary", "parallel", "scaled", "equal", "zero", "bad", "kinks", "threads"),
)
_DIGITS = 60


class Sizes(NamedTuple):
    """How much of it."""

    lengths: tuple[int, ...]  # of rows, the longest for float32 alone
    rows: int  # of each length but the longest, of which there are two
    features: int  # everywhere else
    gaps: Mapping[str, tuple[float, ...]]  # 1 - c of nearly parallel rows, by dtype
    pairs: int  # of each gap
    equal: int  # rows that are compared with themselves
    batch: int  # of the comparison of threads
    numbers: int  # of the sum in it
    draws: int  # of it


FULL = Sizes(
    (128, 768, 1_000_000),
    256,
    768,
    {
        "float32": (1e-2, 1e-4, 1e-6, 1e-8, 1e-9, 1e-10, 1e-12),
        "float64": (1e-4, 1e-8, 1e-12, 1e-16, 1e-20),
    },
    20,
    1000,
    4096,
    1_000_003,
    10,
)
QUICK = Sizes((32, 1000), 4, 32, {"float32": (1e-2, 1e-9)}, 2, 5, 64, 10_007, 1)
#: Scales that rows are multiplied by.
SCALES = (
    *(("float32", scale) for scale in (1e10, 1e30, 1e-30)),
    *(("float64", scale) for scale in (1e200, 1e-200)),
    *(("float16", 100.0), ("bfloat16", 1e30)),
)


class Measured(NamedTuple):
    """What one provider made of one case.

    Args:
        part: The table.
        function: What was computed.
        provider: By whom.
        dtype: Of the rows.
        case: What is special about them.
        figures: What was found; ``"nan"`` and ``"inf"`` where it is no number.
    """

    part: str
    function: str
    provider: str
    dtype: str
    case: str
    figures: dict[str, Any]


class Answer(NamedTuple):
    """Values of rows and, where the provider has them, gradients of the sum; in their own dtype."""

    value: Any
    grads: tuple[Any, ...] | None = None


Call = Callable[..., Answer]


# --------------------------------------------------------------------------------------------------
# The truth
# --------------------------------------------------------------------------------------------------


def _root(x: Any) -> Any:
    return np.frompyfunc(mpmath.sqrt, 1, 1)(x) if x.dtype == object else np.sqrt(x)


def _dots(x: Any, y: Any) -> Any:
    return (x * y).sum(-1, keepdims=True)


def _true_cosine(x: Any, y: Any) -> tuple[Any, ...]:
    xx, yy = _dots(x, x), _dots(y, y)
    norms = _root(xx * yy)
    c = _dots(x, y) / norms
    return (1 - c)[:, 0], c * x / xx - y / norms, c * y / yy - x / norms


def _true_euclidean(x: Any, y: Any, eps: float = 0.0) -> tuple[Any, ...]:
    t = x - y + eps
    d = _root(_dots(t, t))
    return d[:, 0], t / d, -t / d


def _true_triplet(a: Any, p: Any, n: Any) -> tuple[Any, ...]:
    """Torch's, of losses that are above 0."""
    (ap, ap_a, ap_p), (an, an_a, an_n) = (_true_euclidean(a, other, 1e-6) for other in (p, n))
    return ap - an + 1, ap_a - an_a, ap_p, -an_n


_TRUTHS = {COSINE: _true_cosine, EUCLIDEAN: _true_euclidean, TRIPLET: _true_triplet}


def truth(function: str, rows: Sequence[Any], precise: bool = False) -> tuple[Any, ...]:
    """Value and gradients by the definition: float64, or numbers of 60 digits."""
    wide = [row.astype(np.float64) for row in rows]
    if not precise:
        return _TRUTHS[function](*wide)
    with mpmath.workdps(_DIGITS):
        return _TRUTHS[function](*(np.frompyfunc(mpmath.mpf, 1, 1)(row) for row in wide))


def ulp(scale: Any, dtype: Any) -> Any:
    """The distance of neighbouring numbers of the dtype at that magnitude."""
    info = ml_dtypes.finfo(dtype)
    exponent = np.maximum(np.frexp(np.abs(scale))[1] - 1, info.minexp)
    return np.ldexp(1.0, exponent - info.nmant)


def _off(given: Any, right: Any) -> Any:
    """The absolute difference, in float64."""
    with np.errstate(invalid="ignore"), mpmath.workdps(_DIGITS):
        given = np.asarray(given).astype(np.float64)
        if right.dtype == object:
            given = given.astype(object)
        return np.abs(given - right).astype(np.float64)


def _largest(gradient: Any) -> Any:
    """Of each row, which is the scale that its errors are taken of."""
    return np.abs(gradient).max(-1, keepdims=True).astype(np.float64)


def in_ulps(answer: Answer, right: Sequence[Any], dtype: Any) -> dict[str, Any]:
    """The worst error in units of the value, and of the largest component of a row's gradient."""
    value = _off(answer.value, right[0]) / ulp(right[0].astype(np.float64), dtype)
    figures = {"value": _number(value.max())}
    if answer.grads is not None:
        worst = [
            (_off(g, r) / ulp(_largest(r), dtype)).max()
            for g, r in zip(answer.grads, right[1:], strict=True)
        ]
        figures["gradient"] = _number(np.max(worst))
    return figures


def relative(answer: Answer, right: Sequence[Any]) -> dict[str, Any]:
    """The worst error as a share of the value, and of the largest component of a row's gradient."""
    value = _off(answer.value, right[0]) / np.abs(right[0]).astype(np.float64)
    figures = {"value": _number(value.max())}
    if answer.grads is not None:
        worst = [
            (_off(g, r) / _largest(r)).max() for g, r in zip(answer.grads, right[1:], strict=True)
        ]
        figures["gradient"] = _number(np.max(worst))
    return figures


def _number(x: Any) -> Any:
    """As JSON has it."""
    x = float(x)
    return x if math.isfinite(x) else "nan" if math.isnan(x) else "inf" if x > 0 else "-inf"


# --------------------------------------------------------------------------------------------------
# Providers: by function, rows -> answer
# --------------------------------------------------------------------------------------------------


class Provider(NamedTuple):
    """Who, the dtypes that they take, and what they have."""

    name: str
    dtypes: tuple[str, ...]
    calls: dict[str, Call]


def _ours(function: Callable[..., Any], *more: Any, **options: Any) -> Call:
    f = value_and_grad(function)
    return lambda *rows: Answer(*f(*rows, *more, **options))


def _numpy(name: str, precise: bool = False) -> Call:
    """The formula that the bench times, in the dtype of the rows (half types in float32)."""
    (case,) = (case for case in cases.CASES if case.name == name)

    def call(*rows: Any) -> Answer:
        dtype = rows[0].dtype
        wide = np.float64 if precise else np.float32 if dtype.itemsize == 2 else dtype
        values, grads = [], []
        for one in zip(*(row.astype(wide) for row in rows), strict=True):
            value, pull = case.formula(*(row[None] for row in one))
            values.append(np.asarray(value).reshape(()))
            grads.append([g[0] for g in pull(1)])
        stacked = tuple(np.stack(g).astype(dtype) for g in zip(*grads, strict=True))
        return Answer(np.stack(values).astype(dtype), stacked)

    return call


def _tensor(x: Any) -> Any:
    if x.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(x.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(x.copy())


def _array(x: Any) -> Any:
    x = x.detach()
    return (x.float() if x.itemsize == 2 else x).numpy()


def _torch(function: Callable[..., Any]) -> Call:
    def call(*rows: Any) -> Answer:
        leaves = [_tensor(row).requires_grad_() for row in rows]
        value = function(*leaves)
        value.sum().backward()
        return Answer(_array(value), tuple(_array(leaf.grad) for leaf in leaves))

    return call


def _each(function: Callable[..., Any]) -> Call:
    """One that takes a pair of rows."""
    return lambda *rows: Answer(np.array([function(*one) for one in zip(*rows, strict=True)]))


def _paired(function: Callable[..., Any]) -> Call:
    return lambda *rows: Answer(np.asarray(function(*rows)))


def _by_simsimd(name: str) -> Callable[..., Any]:
    def call(x: Any, y: Any) -> Any:
        function = getattr(simsimd, name)
        if x.dtype == ml_dtypes.bfloat16:
            return function(x.view(np.uint16), y.view(np.uint16), "bfloat16")
        return function(x, y)

    return call


def _cdist(metric: str) -> Callable[..., Any]:
    return lambda x, y: scipy_distance.cdist(x[None], y[None], metric)[0, 0]


def providers() -> list[Provider]:
    """All that are there, fastcos first."""
    floats, every = ("float32", "float64"), ("float32", "float64", *HALVES)
    names = ("paired_distance:cosine", "paired_distance:euclidean", "triplet_margin_loss")
    functions = (COSINE, EUCLIDEAN, TRIPLET)
    found = [
        Provider(
            runner.OURS,
            every,
            {
                COSINE: _ours(fastcos.paired_distance, "cosine"),
                EUCLIDEAN: _ours(fastcos.paired_distance, "euclidean"),
                TRIPLET: _ours(fastcos.triplet_margin_loss, reduction="none"),
            },
        )
    ]
    if torch is not None:
        f = torch.nn.functional

        def loss(x: Any, y: Any) -> Any:
            ones = torch.ones(len(x))
            return f.cosine_embedding_loss(x, y, ones, reduction="none")

        found += [
            Provider(
                "torch",
                every,
                {
                    COSINE: _torch(lambda x, y: 1 - f.cosine_similarity(x, y)),
                    EUCLIDEAN: _torch(functools.partial(f.pairwise_distance, eps=0.0)),
                    TRIPLET: _torch(functools.partial(f.triplet_margin_loss, reduction="none")),
                },
            ),
            Provider("torch loss", every, {COSINE: _torch(loss)}),
        ]
    found += [
        Provider("numpy", every, dict(zip(functions, map(_numpy, names), strict=True))),
        Provider(
            "numpy float64",
            (*HALVES, "float32"),
            dict(zip(functions, (_numpy(name, precise=True) for name in names), strict=True)),
        ),
        Provider(
            "scikit-learn",
            floats,
            {
                COSINE: _paired(sklearn_pairwise.paired_cosine_distances),
                EUCLIDEAN: _paired(sklearn_pairwise.paired_euclidean_distances),
            },
        ),
        Provider(
            "scipy",
            floats,
            {COSINE: _each(scipy_distance.cosine), EUCLIDEAN: _each(scipy_distance.euclidean)},
        ),
        Provider(
            "scipy cdist",
            floats,
            {COSINE: _each(_cdist("cosine")), EUCLIDEAN: _each(_cdist("euclidean"))},
        ),
    ]
    if simsimd is not None:
        each = {COSINE: _each(_by_simsimd("cosine")), EUCLIDEAN: _each(_by_simsimd("euclidean"))}
        found.append(Provider("simsimd", every, each))
    if numkong is not None:
        each = {COSINE: _each(numkong.angular), EUCLIDEAN: _each(numkong.euclidean)}
        found.append(Provider("numkong", every, each))
    return found


def _answers(function: str, rows: Sequence[Any]) -> Iterator[tuple[str, Answer]]:
    """Of all that take the rows; NaN where there is a warning is no warning here."""
    dtype = rows[0].dtype.name
    for provider in providers():
        if dtype in provider.dtypes and function in provider.calls:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield provider.name, provider.calls[function](*rows)


# --------------------------------------------------------------------------------------------------
# Errors
# --------------------------------------------------------------------------------------------------


def _triple(rng: Any, shape: tuple[int, int], dtype: str, positive: bool) -> list[Any]:
    """An anchor, a positive whose cosine with it is about 0.6, and a negative, in float64.

    Of one sign, which has sums grow with the length, where that is asked for.
    """
    a, b, n = rng.uniform(0.5, 1, (3, *shape)) if positive else rng.standard_normal((3, *shape))
    # Of distances around 1: the margin does not drown, and no loss is 0.
    scale = math.sqrt(shape[1])
    return [(z / scale).astype(dtype) for z in (a, 0.6 * a + 0.8 * b, 0.8 * a + 0.6 * n)]


def _ordinary(sizes: Sizes) -> Iterator[Measured]:
    lengths = {dtype: sizes.lengths[:-1] for dtype in HALVES} | {"float32": sizes.lengths}
    for dtype, of in lengths.items():
        for length in of:
            rng = np.random.default_rng(length)
            count = 2 if length == sizes.lengths[-1] else sizes.rows
            for kind in ("both signs", "one sign"):
                a, p, n = _triple(rng, (count, length), dtype, kind == "one sign")
                for function, rows in ((COSINE, (a, p)), (EUCLIDEAN, (a, p)), (TRIPLET, (a, p, n))):
                    right = truth(function, rows)
                    if right[0].min() <= 0:
                        raise RuntimeError("a loss that is 0 tells nothing")
                    for name, answer in _answers(function, rows):
                        figures = in_ulps(answer, right, dtype)
                        yield Measured(
                            *(ORDINARY, function, name, dtype, f"{length}, {kind}", figures)
                        )


def near(rng: Any, gap: float, shape: tuple[int, int], dtype: str) -> tuple[Any, Any]:
    """Rows of unlike length whose ``1 - c`` is about this."""
    x, n = rng.standard_normal((2, *shape))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    n -= (n * x).sum(1, keepdims=True) * x
    n /= np.linalg.norm(n, axis=1, keepdims=True)
    return (3 * x).astype(dtype), (x + math.sqrt(2 * gap) * n).astype(dtype)


def _parallel(sizes: Sizes) -> Iterator[Measured]:
    rng = np.random.default_rng(1)
    for dtype, gaps in sizes.gaps.items():
        for gap in gaps:
            rows = near(rng, gap, (sizes.pairs, sizes.features), dtype)
            right = truth(COSINE, rows, precise=True)
            for name, answer in _answers(COSINE, rows):
                figures = relative(answer, right)
                yield Measured(PARALLEL, COSINE, name, dtype, f"{gap:g}", figures)


def _scaled(sizes: Sizes) -> Iterator[Measured]:
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((2, 8, sizes.features))
    y = 0.6 * x + 0.8 * y
    for dtype, scale in SCALES:
        rows = [(scale * z).astype(dtype) for z in (x, y)]
        for function in (COSINE, EUCLIDEAN):
            right = truth(function, rows, precise=True)
            for name, answer in _answers(function, rows):
                figures = in_ulps(answer, right, dtype)
                yield Measured(SCALED, function, name, dtype, f"{scale:g}", figures)


# --------------------------------------------------------------------------------------------------
# Singular rows
# --------------------------------------------------------------------------------------------------


def _equal(sizes: Sizes) -> Iterator[Measured]:
    """``1 - c`` of a row and itself: how often it is not 0, and how often below."""
    x = 1.7 * np.random.default_rng(3).standard_normal((sizes.equal, sizes.features))
    for dtype in ("float32", "float64", *HALVES):
        row = x.astype(dtype)
        for name, answer in _answers(COSINE, (row, row.copy())):
            value = np.asarray(answer.value).astype(np.float64)
            figures = {
                "not 0": float((value != 0).mean()),
                "negative": float((value < 0).mean()),
                "largest": _number(np.abs(value).max()),
            }
            yield Measured(EQUAL, COSINE, name, dtype, "equal rows", figures)


def _zero(sizes: Sizes) -> Iterator[Measured]:
    """The cosine of a row of zeros with another, and with a row of zeros; and its gradient."""
    y = np.random.default_rng(4).standard_normal((2, sizes.features))
    y[1] = 0
    for dtype in ("float32", *HALVES):
        for name, answer in _answers(COSINE, (np.zeros(y.shape, dtype), y.astype(dtype))):
            c = 1 - np.asarray(answer.value).astype(np.float64)
            figures = {"with a row": _number(c[0]), "both": _number(c[1])}
            if answer.grads is not None:
                largest = np.abs(answer.grads[0].astype(np.float64)).max()
                figures["gradient"] = _number(largest)
            yield Measured(ZERO, COSINE, name, dtype, "a zero row", figures)


def _bad(sizes: Sizes) -> Iterator[Measured]:
    """A number that is not finite in one sample of eight: what it says, and what the others do."""
    rng, own = np.random.default_rng(5), 3
    a, p, n = _triple(rng, (8, sizes.features), "float32", positive=False)
    others = np.arange(8) != own
    for number in (np.nan, np.inf):
        spoilt = a.copy()
        spoilt[own, 1] = number
        for function, more in ((COSINE, (p,)), (EUCLIDEAN, (p,)), (TRIPLET, (p, n))):
            right = dict(_answers(function, (a, *more)))
            for provider in providers():
                if function not in provider.calls or provider.name not in right:
                    continue
                figures: dict[str, Any] = {}
                try:
                    with np.errstate(all="ignore"), warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        answer = provider.calls[function](spoilt, *more)
                except ValueError:
                    figures["refused"] = True
                else:
                    parts = zip(
                        (answer.value, *(answer.grads or ())),
                        (right[provider.name].value, *(right[provider.name].grads or ())),
                        strict=True,
                    )
                    same = [np.array_equal(one[others], was[others]) for one, was in parts]
                    figures |= {"own": _number(answer.value[own]), "others": all(same)}
                yield Measured(BAD, function, provider.name, "float32", str(number), figures)


# --------------------------------------------------------------------------------------------------
# Kinks
# --------------------------------------------------------------------------------------------------


def _kinks(sizes: Sizes) -> Iterator[Measured]:
    """Gradients at points that have none, in numbers that every dtype has."""
    f = {
        name: value_and_grad(getattr(fastcos, name))
        for name in (
            *("cosine_embedding_loss", "triplet_margin_loss", "hinge_embedding_loss"),
            "paired_distance",
        )
    }
    lp = fastcos.distances
    # At a margin of 0, for torch adds to the squares.
    right = np.float64([[1, 1, 0]]), np.float64([[1, -1, 1]])
    # Distances of 5 and 7, and a margin of 2; then of sqrt(2) twice.
    apart = np.float64([[0, 0]]), np.float64([[3, 4]]), np.float64([[0, 7]])
    tie = np.float64([[0, 1]]), np.float64([[0, -1]]), np.float64([[1, 0]])
    two, nothing = np.float64([[2, -2, 1]]), np.zeros((1, 3))
    rows = {
        "max(0, c) at c = 0": right,
        "max(0, z) of a triplet at z = 0": apart,
        "max(0, z) of the hinge loss at z = 0": (np.float64([0.5]),),
        "swap where d(a, n) = d(p, n)": tie,
        "maximum norm of (2, -2, 1)": (two, nothing),
        "Euclidean norm of 0": (two, two.copy()),
        "Manhattan norm of 0": (two, two.copy()),
    }
    ours = [
        lambda x, y: f["cosine_embedding_loss"](x, y, -1),
        lambda a, p, n: f["triplet_margin_loss"](a, p, n, margin=2.0, eps=0.0),
        lambda x: f["hinge_embedding_loss"](x, -1),
        lambda a, p, n: f["triplet_margin_loss"](a, p, n, margin=3.0, eps=0.0, swap=True),
        lambda x, y: f["paired_distance"](x, y, lp.chebyshev(0.0)),
        lambda x, y: f["paired_distance"](x, y, lp.euclidean(0.0)),
        lambda x, y: f["paired_distance"](x, y, lp.manhattan(0.0)),
    ]
    for (case, given), call in zip(rows.items(), ours, strict=True):
        yield _kink(case, runner.OURS, Answer(*call(*given)))
    if torch is None:
        return
    F, minus = torch.nn.functional, torch.tensor([-1])
    theirs = [
        lambda x, y: F.cosine_embedding_loss(x, y, minus),
        lambda a, p, n: F.triplet_margin_loss(a, p, n, margin=2.0, eps=0.0),
        lambda x: F.hinge_embedding_loss(x, minus, margin=0.5),
        lambda a, p, n: F.triplet_margin_loss(a, p, n, margin=3.0, eps=0.0, swap=True),
        *(
            functools.partial(F.pairwise_distance, p=power, eps=0.0)
            for power in (math.inf, 2.0, 1.0)
        ),
    ]
    for (case, given), function in zip(rows.items(), theirs, strict=True):
        yield _kink(case, "torch", _torch(function)(*given))
    if pml is not None:
        from pytorch_metric_learning import distances, losses

        loss = losses.TripletMarginLoss(
            margin=2.0, distance=distances.LpDistance(normalize_embeddings=False)
        )
        at = torch.tensor([0]), torch.tensor([1]), torch.tensor([2])

        def triplet(*given: Any) -> Any:
            return loss(torch.cat(given), indices_tuple=at, labels=torch.tensor([0, 0, 1]))

        yield _kink("max(0, z) of a triplet at z = 0", "pml", _torch(triplet)(*apart))


def _kink(case: str, provider: str, answer: Answer) -> Measured:
    gradient = [[round(float(c), 4) + 0.0 for c in g.reshape(-1)] for g in answer.grads or ()]
    return Measured(KINKS, "kink", provider, "float64", case, {"gradient": gradient})


# --------------------------------------------------------------------------------------------------
# Threads
# --------------------------------------------------------------------------------------------------


def _threads(sizes: Sizes) -> Iterator[Measured]:
    """How often value and gradients have other bits on two threads than on one."""
    if numba.config.NUMBA_NUM_THREADS < 2:
        return
    found: dict[tuple[str, str], list[tuple[Answer, Answer]]] = {}
    for seed in range(sizes.draws):
        rng = np.random.default_rng(seed)
        a, p, n = _triple(rng, (sizes.batch, sizes.features), "float32", positive=False)
        x = rng.uniform(0, 2, sizes.numbers).astype(np.float32)
        marks, labels = (np.where(rng.random(len(z)) < 0.5, 1, -1) for z in (x, a))
        few = slice(sizes.batch // 4)
        given = {
            "cosine_embedding_loss": (a, p),
            "triplet_margin_loss": (a, p, n),
            "hinge_embedding_loss": (x,),
            "info_nce_loss": (a[few], p[few]),
        }
        ours = {
            "cosine_embedding_loss": _ours(fastcos.cosine_embedding_loss, labels),
            "triplet_margin_loss": _ours(fastcos.triplet_margin_loss),
            "hinge_embedding_loss": _ours(fastcos.hinge_embedding_loss, marks),
            "info_nce_loss": _ours(fastcos.info_nce_loss),
        }
        for case, call in ours.items():
            answers = []
            for count in (1, 2):
                with fastcos.threads(count):
                    answers.append(call(*given[case]))
            found.setdefault((case, runner.OURS), []).append((answers[0], answers[1]))
        if torch is None:
            continue
        theirs = _torch_losses(torch.from_numpy(labels), torch.from_numpy(marks))
        before = torch.get_num_threads()
        try:
            for case, call in theirs.items():
                answers = []
                for count in (1, 2):
                    torch.set_num_threads(count)
                    answers.append(call(*given[case]))
                found.setdefault((case, "torch"), []).append((answers[0], answers[1]))
        finally:
            torch.set_num_threads(before)
    for (case, provider), pairs in found.items():
        unlike = [
            any(
                not np.array_equal(a, b)
                for a, b in zip(one.grads or (), other.grads or (), strict=True)
            )
            for one, other in pairs
        ]
        figures = {
            "value": sum(bool(one.value != other.value) for one, other in pairs),
            "gradient": sum(unlike),
            "of": len(pairs),
        }
        yield Measured(THREADS, case, provider, "float32", "1 and 2 threads", figures)


def _torch_losses(labels: Any, marks: Any) -> dict[str, Call]:
    """Those of the comparison of threads."""
    f = torch.nn.functional

    def info_nce(x: Any, y: Any) -> Any:
        products = f.normalize(x, dim=1) @ f.normalize(y, dim=1).T
        return f.cross_entropy(products / 0.07, torch.arange(len(x)))

    return {
        "cosine_embedding_loss": _torch(lambda x, y: f.cosine_embedding_loss(x, y, labels)),
        "triplet_margin_loss": _torch(f.triplet_margin_loss),
        "hinge_embedding_loss": _torch(lambda x: f.hinge_embedding_loss(x, marks)),
        "info_nce_loss": _torch(info_nce),
    }


# --------------------------------------------------------------------------------------------------
# The command line
# --------------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[Sizes], Iterator[Measured]]] = {
    ORDINARY: _ordinary,
    PARALLEL: _parallel,
    SCALED: _scaled,
    EQUAL: _equal,
    ZERO: _zero,
    BAD: _bad,
    KINKS: _kinks,
    THREADS: _threads,
}


def main(arguments: Sequence[str]) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench accuracy", description=__doc__)
    parser.add_argument("--json", type=pathlib.Path, help="file for the rows; replaced")
    parser.add_argument("--quick", action="store_true", help="few short rows, to see that it runs")
    given = parser.parse_args(arguments)
    missing = [
        *cases.MISSING,
        *(["torch"] if torch is None else []),
        *(["pytorch-metric-learning"] if pml is None else []),
    ]
    suite = runner.SUITE._replace(
        words=("accuracy",),
        versions=(*runner.SUITE.versions, "torch", "pytorch-metric-learning", "mpmath"),
        missing=missing,
    )
    for name in missing:
        sys.stdout.write(f"{name} is not installed and left out\n")
    entries: list[dict[str, Any]] = [runner.environment(suite, arguments)]
    for part, measured in PARTS.items():
        rows = [row._asdict() for row in measured(QUICK if given.quick else FULL)]
        entries += [{"kind": "result", **row} for row in rows]
        sys.stdout.write(f"{part}\n{accuracy_report.lines(rows)}\n")
        sys.stdout.flush()
    runner.write(given.json, entries)
    return 0
