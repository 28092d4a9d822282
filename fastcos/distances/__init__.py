"""The distances: one scalar definition each, value and derivative side by side.

A :class:`Distance` is a record of scalar functions. The loops in ``fastcos.kernels`` close over
them and know nothing else, so one definition serves pairs and triplets, value and gradient, every
dtype, and a user's own distances stand exactly where the built-in ones do.

What the functions see: ``x`` and ``y`` are one component of each row, already widened to the
accumulator type; ``zero`` is the accumulator's 0. They run compiled and as plain Python alike.

Here are the public names; the definitions are in ``angles``, ``norms``, ``ratios`` and
``hyperbolic``, the record is in ``record``.
"""

import types
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias, get_args

from fastcos.distances import angles, hyperbolic, norms, ratios
from fastcos.distances.angles import angular, cosine, dot
from fastcos.distances.hyperbolic import poincare
from fastcos.distances.norms import chebyshev, euclidean, lp, manhattan, sqeuclidean
from fastcos.distances.ratios import braycurtis, canberra
from fastcos.distances.record import Distance, FurtherPasses, Linear, Refinements, register
from fastcos.distances.record import Functions as Functions

__all__ = [
    "DISTANCES",
    "Distance",
    "DistanceName",
    "FurtherPasses",
    "Linear",
    "Refinements",
    "angular",
    "braycurtis",
    "canberra",
    "chebyshev",
    "cosine",
    "dot",
    "euclidean",
    "lp",
    "manhattan",
    "poincare",
    "sqeuclidean",
]

for _family in (angles, hyperbolic, norms, ratios):
    register(_family)

#: What a ``distance`` argument may be called by name.
DistanceName: TypeAlias = Literal[
    "cosine",
    "dot",
    "angular",
    "euclidean",
    "sqeuclidean",
    "manhattan",
    "chebyshev",
    "canberra",
    "braycurtis",
    "poincare",
]

#: What the names stand for, which is the functions so called, each with its default parameters. Not
#: to be changed, for calls are remembered by the name: a Distance of your own is passed as it is.
DISTANCES: Mapping[DistanceName, Callable[[], Distance]] = types.MappingProxyType(
    {name: globals()[name] for name in get_args(DistanceName)}
)


def __dir__() -> list[str]:
    return __all__
