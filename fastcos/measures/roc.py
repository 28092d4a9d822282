"""Verification: how well a score tells pairs of the same thing from others.

All that is reported is read off the counts of accepted pairs, one point for each distinct score.
They are integers: no rounding decides where two rates cross, or which threshold is the best.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar, overload

import numpy as np
import numpy.typing as npt

from fastcos.api.calls import not_compiled
from fastcos.distances.record import real_number
from fastcos.engine.checks import check_flag
from fastcos.engine.libraries import adapter_of_arrays, lazy_adapter
from fastcos.typing import ArrayLike, IsLazy

#: What is reported of counts.
Report = TypeVar("Report")


class RocCurve(NamedTuple):
    """The rates at every threshold, from the strictest, which accepts nothing, to the last."""

    far: npt.NDArray[np.float64]  # accepted pairs that are not the same, a share of all such pairs
    tar: npt.NDArray[np.float64]  # accepted pairs that are the same, a share of all such pairs
    thresholds: npt.NDArray[np.float64]  # the first is infinite; the others are scores


class TarAtFar(NamedTuple):
    """The greatest true accept rate that a false accept rate leaves."""

    far: float  # what was asked for
    tar: float
    threshold: float


class Verification(NamedTuple):
    """How well a score verifies; printed, a table."""

    auc: float
    equal_error_rate: float
    equal_error_threshold: float
    accuracy: float
    accuracy_threshold: float
    tar_at_far: tuple[TarAtFar, ...]
    same: int  # how many pairs there are of each kind
    different: int

    def __str__(self) -> str:
        rates = [
            ("equal error rate", self.equal_error_rate, self.equal_error_threshold),
            ("best accuracy", self.accuracy, self.accuracy_threshold),
            *((f"TAR at FAR {far:g}", tar, at) for far, tar, at in self.tar_at_far),
        ]
        said = {
            "AUC": f"{self.auc:.4f}",
            **{name: f"{rate:.4f}  at threshold {at:.6g}" for name, rate, at in rates},
            "pairs": f"{self.same:,} the same, {self.different:,} not",
        }
        width = max(map(len, said)) + 2
        return "\n".join(f"{name:{width}}{text}" for name, text in said.items())


class EqualErrors(NamedTuple):
    """Where as large a share of either kind of pairs is sorted wrongly."""

    rate: float
    threshold: float


class Counts(NamedTuple):
    """How many pairs each threshold accepts, from none on."""

    same: npt.NDArray[np.int64]
    different: npt.NDArray[np.int64]
    thresholds: npt.NDArray[np.float64]


@overload
def verification(
    scores: IsLazy,
    labels: ArrayLike,
    far: float | Sequence[float] = ...,
    *,
    similarity: bool = ...,
) -> Any: ...
@overload
def verification(
    scores: ArrayLike,
    labels: ArrayLike,
    far: float | Sequence[float] = ...,
    *,
    similarity: bool = ...,
) -> Verification: ...
@not_compiled
def verification(
    scores: ArrayLike | IsLazy,
    labels: ArrayLike,
    far: float | Sequence[float] = (1e-1, 1e-2, 1e-3),
    *,
    similarity: bool = True,
) -> Verification:
    r"""How well scores of pairs tell those of the same thing from others.

    A pair is accepted where its score reaches a threshold ``t``. Of P pairs that are the same and N
    that are not,

    .. math:: TAR(t) = \frac{|\{same: s \ge t\}|}{P}, \quad
        FAR(t) = \frac{|\{different: s \ge t\}|}{N}, \quad FRR = 1 - TAR

    - AUC: the chance that a pair that is the same has the higher score; equal scores count half.
    - Equal error rate: where FAR = FRR, on the straight line between the two points of the curve
      where they cross. Its threshold lies between the scores of these in the same proportion.
    - TAR at a FAR: the greatest TAR whose FAR is not above it, and the strictest threshold that
      has it. Nothing is interpolated.
    - Accuracy: the best share of pairs that one threshold sorts rightly, and the strictest such
      threshold.

    Args:
        scores: One number for each pair, of any shape; infinite ones too.
        labels: Of the same shape: True or 1 for pairs that are the same, False, 0 or -1 for others.
        far: The false accept rates to report TAR at, from 0 to 1: one, several or none.
        similarity: Whether higher scores mean more alike. With False scores are distances: a pair
            is accepted where its score is at most the threshold.

    Returns:
        A :class:`Verification`, whose ``tar_at_far`` has a :class:`TarAtFar` for each rate.
        Thresholds are to be compared with scores as they were given. That of a TAR of 0 may be
        infinite: nothing is accepted.

    Raises:
        ValueError: no scores, a NaN among them, labels of another shape, other labels, labels of
            one kind only, a rate that is not from 0 to 1.
        TypeError: complex, object, string, masked or sparse input.

    Example:
        >>> import fastcos
        >>> scores = [0.9, 0.8, 0.6, 0.4, 0.3, 0.1]
        >>> found = fastcos.measures.verification(scores, [1, 1, 0, 1, 0, 0], far=(0.5, 0.1))
        >>> print(found)
        AUC               0.8889
        equal error rate  0.3333  at threshold 0.6
        best accuracy     0.8333  at threshold 0.8
        TAR at FAR 0.5    1.0000  at threshold 0.4
        TAR at FAR 0.1    0.6667  at threshold 0.8
        pairs             3 the same, 3 not
        >>> found.tar_at_far[0].tar
        1.0

    References:
        ISO/IEC 19795-1:2021 for the rates, which has false match and non-match rates for those of
        single comparisons; Fawcett, "An introduction to ROC analysis", 2006, for the curve; Hanley
        and McNeil, 1982, for AUC. AUC is scikit-learn's ``roc_auc_score``.
    """
    limits = _rates(far)
    return _reported(functools.partial(_verification, limits), scores, labels, similarity)


@overload
def roc_curve(scores: IsLazy, labels: ArrayLike, *, similarity: bool = ...) -> Any: ...
@overload
def roc_curve(scores: ArrayLike, labels: ArrayLike, *, similarity: bool = ...) -> RocCurve: ...
@not_compiled
def roc_curve(
    scores: ArrayLike | IsLazy, labels: ArrayLike, *, similarity: bool = True
) -> RocCurve:
    r"""The receiver operating characteristic: both rates at every threshold.

    .. math:: TAR(t) = \frac{|\{same: s \ge t\}|}{P}, \quad
        FAR(t) = \frac{|\{different: s \ge t\}|}{N}

    Args:
        scores: As in :func:`verification`.
        labels: The same.
        similarity: The same.

    Returns:
        A :class:`RocCurve` of float64 arrays ``(T + 1,)`` of T distinct scores. The first point is
        (0, 0), with a threshold of infinity (of distances minus infinity); the last is (1, 1).

    Raises:
        ValueError: as :func:`verification`.
        TypeError: the same.

    Example:
        >>> import fastcos
        >>> curve = fastcos.measures.roc_curve([0.9, 0.6, 0.6, 0.1], [1, 1, 0, 0])
        >>> curve.far
        array([0. , 0. , 0.5, 1. ])
        >>> curve.tar
        array([0. , 0.5, 1. , 1. ])
        >>> curve.thresholds
        array([inf, 0.9, 0.6, 0.1])

    References:
        Fawcett, "An introduction to ROC analysis", 2006; as scikit-learn's ``roc_curve`` with
        ``drop_intermediate=False``.
    """
    return _reported(curve_of, scores, labels, similarity)


def _reported(
    report: Callable[[Counts], Report], scores: Any, labels: Any, similarity: bool
) -> Report:
    """A report on the counts of accepted pairs; of lazy arrays a lazy one."""
    check_flag("similarity", similarity)
    lazy = lazy_adapter(("scores", "labels"), (scores, labels))
    if lazy:
        later: Report = lazy.verified(report, scores, labels, similarity)
        return later
    return report(counted(scores, labels, similarity))


def _verification(limits: Sequence[float], counts: Counts) -> Verification:
    same, different = int(counts.same[-1]), int(counts.different[-1])
    equal = equal_errors(counts)
    right = counts.same + (different - counts.different)
    best = int(right.argmax())
    return Verification(
        auc=area(counts),
        equal_error_rate=equal.rate,
        equal_error_threshold=equal.threshold,
        accuracy=int(right[best]) / (same + different),
        accuracy_threshold=float(counts.thresholds[best]),
        tar_at_far=tuple(
            TarAtFar(limit, int(counts.same[point]) / same, float(counts.thresholds[point]))
            for limit, point in ((limit, _strictest(counts, limit)) for limit in limits)
        ),
        same=same,
        different=different,
    )


class Tally(NamedTuple):
    """How many pairs of both kinds have each score, from the most alike on."""

    keys: npt.NDArray[np.float64]  # distinct scores, of distances with the other sign
    same: npt.NDArray[np.int64]
    different: npt.NDArray[np.int64]
    labels: frozenset[int]  # those of pairs that are not the same: 0 or -1


def counted(scores: Any, labels: Any, similarity: bool) -> Counts:
    """How many pairs are accepted at each distinct score; all arguments are checked here."""
    return counts_of(tallied(scores, labels, similarity), similarity)


def tallied(scores: Any, labels: Any, similarity: bool) -> Tally:
    """The tally of some pairs."""
    sign = 1 if similarity else -1
    values = _numbers("scores", scores).astype(np.float64)
    same, others = _same(_numbers("labels", labels), values.shape)
    values, same = values.ravel(), same.ravel()
    wrong = np.flatnonzero(np.isnan(values))
    if wrong.size:
        raise ValueError(f"scores must not be NaN; there are {wrong.size}, the first at {wrong[0]}")
    return _ordered(sign * values, same, ~same, others)


def merged(tallies: Sequence[Tally]) -> Tally:
    """The tally of all pairs of several."""
    keys, same, different = (
        np.concatenate([tally[part] for tally in tallies]) for part in range(3)
    )
    return _ordered(keys, same, different, frozenset().union(*[each.labels for each in tallies]))


def _ordered(
    keys: npt.NDArray[np.float64],
    same: npt.NDArray[Any],
    different: npt.NDArray[Any],
    labels: frozenset[int],
) -> Tally:
    order = keys.argsort()[::-1]
    keys = keys[order]
    last = np.flatnonzero(keys[1:] != keys[:-1])
    if keys.size:
        last = np.append(last, keys.size - 1)  # of each score

    def of_each(kind: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        return np.diff(np.cumsum(kind[order], dtype=np.int64)[last], prepend=0)

    return Tally(keys[last], of_each(same), of_each(different), labels)


def counts_of(tally: Tally, similarity: bool) -> Counts:
    """The counts of accepted pairs; raises where these are not of both kinds."""
    same, different = int(tally.same.sum()), int(tally.different.sum())
    if not same + different:
        raise ValueError("scores must not be empty")
    if len(tally.labels) > 1:
        raise ValueError("labels must be 1 and 0, or 1 and -1; got both 0 and -1")
    if not (same and different):
        kind = "the same" if same else "not the same"
        raise ValueError(f"labels must have both kinds of pairs; all {same + different} are {kind}")
    return Counts(
        np.append(0, np.cumsum(tally.same)),
        np.append(0, np.cumsum(tally.different)),
        (1 if similarity else -1) * np.append(math.inf, tally.keys),
    )


def curve_of(counts: Counts) -> RocCurve:
    """The rates."""
    same, different = counts.same / counts.same[-1], counts.different / counts.different[-1]
    return RocCurve(different, same, counts.thresholds)


def area(counts: Counts) -> float:
    """The area under the curve: pairs of pairs in the right order, equal ones counted half."""
    same, different = np.diff(counts.same), np.diff(counts.different)
    below = counts.different[-1] - counts.different[1:]
    twice = int(np.sum(same * (2 * below + different)))
    return twice / (2 * int(counts.same[-1]) * int(counts.different[-1]))


def equal_errors(counts: Counts) -> EqualErrors:
    """The equal error rate and its threshold."""
    same, different = int(counts.same[-1]), int(counts.different[-1])
    # FAR less FRR, times the pairs of both kinds. It rises from -1 to 1, at every point.
    excess = counts.different * same - (same - counts.same) * different
    after = int(np.searchsorted(excess, 0))
    low, high = int(excess[after - 1]), int(excess[after])
    share = -low / (high - low)
    accepted = counts.different[after - 1 : after + 1].tolist()
    rate = (accepted[0] + share * (accepted[1] - accepted[0])) / different
    above, below = counts.thresholds[after - 1 : after + 1].tolist()
    if share == 1 or math.isinf(above):
        return EqualErrors(rate, below)
    return EqualErrors(rate, (1 - share) * above + share * below)


def _strictest(counts: Counts, limit: float) -> int:
    """The first point with the greatest TAR of those whose FAR is not above the limit."""
    allowed = int(np.searchsorted(counts.different / counts.different[-1], limit, side="right"))
    return int(np.searchsorted(counts.same, counts.same[allowed - 1]))


def _numbers(name: str, value: Any) -> npt.NDArray[Any]:
    """An argument of any library as a NumPy array of numbers."""
    adapter = adapter_of_arrays((name,), (value,))
    found: npt.NDArray[Any] = adapter.host(adapter.asarray(name, value))
    return found


def _same(
    labels: npt.NDArray[Any], shape: tuple[int, ...]
) -> tuple[npt.NDArray[np.bool_], frozenset[int]]:
    """Which pairs are the same, of labels 1 and 0, or 1 and -1, and the labels of the others."""
    if labels.shape != shape:
        raise ValueError(f"labels must have the shape of scores, {shape}; got {labels.shape}")
    known = (labels == 1) | (labels == 0) | (labels == -1)
    if not known.all():
        first = int(np.flatnonzero(~known)[0])
        raise ValueError(
            f"labels must be 1 for pairs that are the same, and 0 or -1 for others; got"
            f" {labels.ravel()[first]} at {first}"
        )
    others = frozenset([other for other in (0, -1) if (labels == other).any()])
    return np.asarray(labels == 1), others


def _rates(far: Any) -> list[float]:
    """False accept rates as floats."""
    rates = [real_number("far", rate) for rate in (far if np.ndim(far) else [far])]
    for rate in rates:
        if not 0 <= rate <= 1:
            raise ValueError(f"far must be from 0 to 1, got {rate!r}")
    return rates
