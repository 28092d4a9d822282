"""Records that the parts of a kernel share: what it is made for, and what it knows of a sample."""

from __future__ import annotations

from typing import Any, NamedTuple


class Variant(NamedTuple):
    """What a kernel is compiled for, apart from the functions."""

    dtype: str  # of the operands and gradients
    distance_parameters: int  # how many the distance has
    loss_parameters: int  # how many the loss has
    columns: int = 1  # how many axes the geometry has
    # "none", "written", or "summed" where some are added up over shared rows
    gradients: str = "none"
    wide: bool = False  # whether a team is a block


#: Which operands the distances of a loss are between, by how many those are.
PAIRS = {1: ((0, 1),), 2: ((0, 1), (0, 2)), 3: ((0, 1), (0, 2), (1, 2))}


def operand_count(arity: int) -> int:
    """How many operands a loss of so many distances has."""
    return 1 + max(j for _, j in PAIRS[arity])


class Where(NamedTuple):
    """Which sample a team visits."""

    position: Any  # in the order of the pass
    geometry: Any  # of the pass, row by row
    features: Any  # the length of a row
    task: Any  # the number of the task, and of its row of the float64 sums
    first: Any  # whether it is the first sample of the task


class Term(NamedTuple):
    """The part of one distance in the gradients of a sample: ``factor`` times its gradient."""

    factor: Any  # the slope of the loss, times weight and scale
    state: Any  # of the distance, prepared for ``gradient``
    d: Any  # the distance
