"""Records that the parts of a kernel share: what it is made for, and what it knows of a sample."""

from __future__ import annotations

from typing import Any, NamedTuple


class Variant(NamedTuple):
    """What a kernel is compiled for, apart from the functions.

    Args:
        dtype: Of the operands and gradients.
        distance_parameters: How many the distance has.
        loss_parameters: How many the loss has.
        columns: How many axes the geometry has.
        gradients: "none", "written", or "summed" where some are added up over shared rows.
        wide: Whether a team is a block.
    """

    dtype: str
    distance_parameters: int
    loss_parameters: int
    columns: int = 1
    gradients: str = "none"
    wide: bool = False


#: Which operands the distances of a loss are between, by how many those are.
PAIRS = {1: ((0, 1),), 2: ((0, 1), (0, 2)), 3: ((0, 1), (0, 2), (1, 2))}


def operand_count(arity: int) -> int:
    """How many operands a loss of so many distances has."""
    return 1 + max(j for _, j in PAIRS[arity])


class Where(NamedTuple):
    """Which sample a team visits.

    Args:
        position: In the order of the pass.
        geometry: Of the pass, row by row.
        features: The length of a row.
        task: The number of the task, and of its row of the float64 sums.
        first: Whether it is the first sample of the task.
    """

    position: Any
    geometry: Any
    features: Any
    task: Any
    first: Any


class Term(NamedTuple):
    """The part of one distance in the gradients of a sample: ``factor`` times its gradient.

    Args:
        factor: The slope of the loss, times weight and scale.
        state: Of the distance, prepared for ``gradient``.
        d: The distance.
    """

    factor: Any
    state: Any
    d: Any
