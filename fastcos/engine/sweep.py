"""Records of the loop of a listwise loss: rows, a sweep over them, and what a pass has found."""

from collections.abc import Callable
from typing import Any, NamedTuple

from fastcos.kernels.arguments import Block


class Rows(NamedTuple):
    """The rows of one side as the products take them."""

    units: Any  # in the dtype of the products, one after another
    norms: Any  # float64: what they were divided by, or 1
    squares: Any  # float64: the squares of the lengths that they have
    narrow_squares: Any  # the same in the dtype of the products


class Sweep(NamedTuple):
    """What all passes over the similarities of a call share."""

    adapter: Any
    place: Any  # blocks_host or blocks_device
    measure: Any
    dtype: Any  # of the products
    anchors: Rows
    candidates: Rows
    anchor_labels: Any
    candidate_labels: Any
    excludes: bool  # whether anchors are candidates, and none is one of its own
    ahead: int  # how many candidates are ahead of the one that the first anchor is, or belongs to
    height: int  # how many anchors a block has
    device: int
    originals: tuple[Any, Any]  # the arrays that the rows were made of


class Asked(NamedTuple):
    """Which gradients a pass is to make."""

    anchors: bool = False
    candidates: bool = False
    learned: bool = False


class Pass(NamedTuple):
    """What a pass has found."""

    values: Any  # (N, 2) float64: the loss of each anchor, and how many terms it has
    anchors: Any = None  # what the products left of the slopes, for the gradients of the anchors
    candidates: Any = None  # and of the candidates
    anchor_sums: Any = None  # of the slopes of each anchor, for distances
    candidate_sums: Any = None
    learned: tuple[Any, Any] = (0.0, 0.0)  # the sums of slopes, and of s times slope


class Memory(NamedTuple):
    """What a kernel reads and writes beside rows and their similarities; None for nothing.

    All of it is scratch memory, float64, with something for each anchor, but for what is marked as
    a workspace: memory of the dtype of the products.
    """

    values: Any
    sums: Any
    learned: Any
    scales: Any
    numbers: Any
    candidate_scales: Any  # a workspace
    candidate_numbers: Any  # a workspace
    in_order: Any  # a workspace


def arguments(
    sweep: Sweep,
    memory: Memory,
    block: Any,
    first: int,
    parameters: int,
    scratch: Callable[..., int],
) -> Block:
    """The arguments of the kernel for a block of anchors, from the first on.

    ``parameters`` is the address of those of the loss, ``scratch`` gives that of scratch memory.
    """
    adapter, measure = sweep.adapter, sweep.measure

    def workspace(array: Any) -> int:
        return 0 if array is None else adapter.address(array)

    def own(array: Any) -> int:
        return 0 if array is None else scratch(array)

    return Block(
        losses=0,
        similarities=adapter.address(block),
        anchors=int(block.shape[0]),
        candidates=int(sweep.candidates.units.shape[0]),
        first=first,
        excludes=int(sweep.excludes),
        ahead=sweep.ahead,
        anchor_labels=scratch(sweep.anchor_labels),
        candidate_labels=scratch(sweep.candidate_labels),
        anchor_rows=adapter.address(sweep.anchors.units),
        candidate_rows=adapter.address(sweep.candidates.units),
        features=int(sweep.anchors.units.shape[1]),
        anchor_squares=scratch(sweep.anchors.squares),
        candidate_squares=adapter.address(sweep.candidates.narrow_squares),
        anchor_numbers=own(memory.numbers),
        candidate_numbers=workspace(memory.candidate_numbers),
        anchor_scales=own(memory.scales),
        candidate_scales=workspace(memory.candidate_scales),
        values=scratch(memory.values),
        sums=own(memory.sums),
        learned=own(memory.learned),
        sorted=workspace(memory.in_order),
        parameters=parameters,
        offset=measure.offset,
        factor=measure.factor,
    )
