"""What may be wrong with a user's listwise loss, in words."""

from __future__ import annotations

from typing import Any

from fastcos.listwise.record import DISTANCE, SIMILARITY, Listwise


def check(loss: Any) -> None:
    """Raises unless this is a listwise loss whose fields are of the right kind.

    Raises:
        TypeError: it is something else, or one of its functions cannot be called.
        ValueError: a field has a value that is not accepted.
    """
    if not isinstance(loss, Listwise):
        raise TypeError(f"loss must be a fastcos.Listwise, got {type(loss).__name__}")
    for name in ("start", "accumulate", "finalize", "slope"):
        if not callable(getattr(loss, name)):
            raise TypeError(
                f"{name} of {loss.name} must be a function, got {getattr(loss, name)!r}"
            )
    if loss.of not in (SIMILARITY, DISTANCE):
        raise ValueError(
            f"of of {loss.name} must be {SIMILARITY!r} or {DISTANCE!r}, got {loss.of!r}"
        )
    if type(loss.sums) is not int or loss.sums < 1:
        raise ValueError(f"sums of {loss.name} must be an integer, at least 1; got {loss.sums!r}")
    if loss.survey:
        check(loss.survey.loss)
