"""A distance as a function of compiled code: what is asked, before any compiler is imported."""

from collections.abc import Callable
from typing import Any

from fastcos.distances import Distance, faults
from fastcos.distances.record import with_parameters
from fastcos.engine.problem import resolve_distance
from fastcos.kernels.forks import importing


def metric(name: str, distance: Any, gradient: bool) -> Callable[..., Any]:
    """The function of a distance that an argument stands for.

    Raises:
        ValueError: an unknown name.
        TypeError: neither a name nor a Distance, or one that is wrong.
    """
    record = resolve_distance(name, distance)
    if not isinstance(record, Distance):
        raise TypeError(
            f"{name} must be the name of a distance or a fastcos.Distance, got {record!r}: a"
            " callable has nothing to compile"
        )
    record = with_parameters(record, faults.floats(record))
    faults.check(record)
    with importing():
        from fastcos.kernels.metric import metric_of
    found: Callable[..., Any] = metric_of(record, gradient)
    return found
