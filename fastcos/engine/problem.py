"""What a public function was asked, in terms of the records; nothing of layouts or kernels."""

from collections.abc import Callable
from typing import Any, NamedTuple

from fastcos import _hints
from fastcos.distances import DISTANCES, Distance
from fastcos.losses import Loss


class Problem(NamedTuple):
    """One call of a public function."""

    loss: Loss  # the loss of a sample's distances
    # What measures a sample's rows: a record, or a user's callable on whole arrays; None where the
    # operands are distances already
    distance: Distance | Callable[..., Any] | None
    names: tuple[str, ...]  # what the arguments are called that a gradient can be asked for
    operands: tuple[Any, ...]  # their values
    parameters: tuple[float, ...] = ()  # of the loss
    axis: int = -1  # the feature axis
    target: Any = None  # labels, for a loss that has them
    weight: Any = None  # the per-sample weight
    weight_name: str = "weight"  # what it is called
    reduction: str = "mean"  # one of the five
    validate: bool | None = None  # false leaves labels unchecked


def with_arrays(problem: Problem, operands: tuple[Any, ...], target: Any, weight: Any) -> Problem:
    """The problem with other arrays: what ``_replace`` does, in a third of the time."""
    loss, distance, names, _, parameters, axis, _, _, weight_name, reduction, validate = problem
    return Problem(
        *(loss, distance, names, operands, parameters, axis, target, weight),
        *(weight_name, reduction, validate),
    )


def resolve_distance(name: str, distance: Any) -> Distance | Callable[..., Any]:
    """The record or callable that an argument stands for.

    Raises:
        ValueError: an unknown name.
        TypeError: neither a name nor a Distance nor callable.
    """
    if isinstance(distance, Distance):
        return distance
    if isinstance(distance, str):
        factory = DISTANCES.get(distance)  # type: ignore[call-overload]  # any name is looked up
        if factory is None:
            hint = _hints.hint(distance, DISTANCES, _hints.DISTANCES_ELSEWHERE)
            raise ValueError(
                f"{name} must be one of {', '.join(DISTANCES)}; got {distance!r}{hint}"
            )
        return factory()  # type: ignore[no-any-return]
    if callable(distance):
        if str(getattr(distance, "__module__", None)).startswith("fastcos.distances."):
            called = distance.__name__
            raise TypeError(f"{name} is the function {called}: call it, as {called}(...)")
        return distance  # type: ignore[no-any-return]
    raise TypeError(
        f"{name} must be the name of a distance, a fastcos.Distance or a callable,"
        f" got {type(distance).__name__}"
    )
