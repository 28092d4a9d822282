"""The losses: scalar functions of one or more distances, value and slopes side by side.

A :class:`Loss` knows no rows and no features. The loops hand it the distances of one sample; it
gives the loss and its slope with respect to each distance, and the chain rule
``slope * gradient of the distance`` is written once, in the compile.

Kinks take torch's side: at ``z == 0`` the gradient of ``max(0, z)`` passes.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = [
    "Loss",
    "cosine_embedding",
    "hinge_embedding",
    "identity",
    "triplet",
    "triplet_swap",
]


#: Which operands the distances of a loss are between: the first of these, or two, or all.
PAIRS = (0, 1), (0, 2), (1, 2)


def operand_count(arity: int) -> int:
    """How many operands a loss of so many distances has."""
    return 1 + PAIRS[arity - 1][1]


class Loss(NamedTuple):
    """A loss of one sample as a function of its distances.

    Args:
        arity: How many distances it takes: 1 for pairs, 2 for triplets, 3 for triplets with swap.
        function: ``(d, target, *parameters) -> (value, slopes)`` with ``d`` and ``slopes`` tuples
            of one length; ``target`` is 1 or -1, or 0 where the loss has no target. The last
            parameter is the loss of a sample whose target is neither; for triplets, which have no
            target, it is the slope of one whose loss is NaN.
        labelled: Whether it has a target.
    """

    arity: int
    function: Callable[..., tuple[Any, tuple[Any, ...]]]
    labelled: bool = False


def _ramp(z: Any) -> tuple[Any, Any]:
    """``max(0, z)`` and its slope; NaN stays NaN in both."""
    # Chosen, and not branched to: nobody foresees the sign, and to be wrong costs 5 ns.
    rest = z if math.isnan(z) else 1.0
    return 0.0 if z < 0 else z, 0.0 if z < 0 else rest


def _identity() -> Loss:
    # l = d
    def function(d: Any, target: Any) -> Any:
        return d[0], (1.0,)

    return Loss(1, function)


def _cosine_embedding() -> Loss:
    # With d = 1 - c:
    #     y = +1:  l = max(0, pos_margin - c) = max(0, d - (1 - pos_margin))     dl/dd =  1
    #     y = -1:  l = max(0, c - margin)     = max(0, (1 - margin) - d)         dl/dd = -1
    # In d, which keeps its digits for nearly parallel rows, where c has lost them.
    # Any other target: l = other, dl/dd = other d; other is NaN here and 0 in torch, where a NaN
    # row has NaN gradients whatever its target.
    def function(d: Any, target: Any, margin: Any, pos_margin: Any, other: Any) -> Any:
        # Not target == 1: equality is two flags of the processor, and what depends on two branches.
        alike = target > 0
        if abs(target) == 1:
            # Chosen, and not branched to: nobody foresees a label, and to be wrong costs 9 ns.
            above, below = d[0] - (1 - pos_margin), (1 - margin) - d[0]
            value, slope = _ramp(above if alike else below)
            return value, (0 + target * slope,)  # 0 +: never -0
        return other, (other * d[0],)

    return Loss(1, function, labelled=True)


def _hinge_embedding() -> Loss:
    # y = +1:  l = d                     dl/dd =  1
    # y = -1:  l = max(0, margin - d)    dl/dd = -1
    # Any other target: other times the sum of both; other is NaN here and 1 in torch, where also
    # the slope of max(0, NaN) is 0.
    def function(d: Any, target: Any, margin: Any, other: Any) -> Any:
        value, slope = _ramp(margin - d[0])
        if math.isnan(slope):
            slope = other - 1
        if target == 1:
            return d[0], (1.0,)
        if target == -1:
            return value, (0 - slope,)  # not -slope: 0 and not -0
        return other * (d[0] + value), (other * (1 - slope),)

    return Loss(1, function, labelled=True)


# lost: the slope of a triplet whose loss is NaN. NaN makes its gradients NaN; torch, which clamps
# distances that are operands of their own, has 0.


def _triplet() -> Loss:
    # l = max(0, d(a,p) - d(a,n) + margin)
    def function(d: Any, target: Any, margin: Any, lost: Any) -> Any:
        value, slope = _ramp(d[0] - d[1] + margin)
        if math.isnan(slope):
            slope = lost
        return value, (slope, -slope)

    return Loss(2, function)


def _triplet_swap() -> Loss:
    # l = max(0, d(a,p) - min(d(a,n), d(p,n)) + margin); a tie of the minimum splits half and half.
    def function(d: Any, target: Any, margin: Any, lost: Any) -> Any:
        first = 0.5 if d[1] == d[2] else (1.0 if d[1] < d[2] else 0.0)
        nearest = d[1] if first > 0 else d[2]
        if math.isnan(d[1]):
            nearest = d[1]  # comparisons do not see a NaN; the minimum of it is NaN
        value, slope = _ramp(d[0] - nearest + margin)
        if math.isnan(slope):
            slope = lost
        return value, (slope, -slope * first, -slope * (1 - first))

    return Loss(3, function)


identity = _identity()
cosine_embedding = _cosine_embedding()
hinge_embedding = _hinge_embedding()
triplet = _triplet()
triplet_swap = _triplet_swap()


def __dir__() -> list[str]:
    return __all__
