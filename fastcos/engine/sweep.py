"""Records of the loop of a listwise loss: rows, a sweep over them, and what a pass has found."""

from typing import Any, NamedTuple


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
    excludes: bool  # whether anchors are the candidates
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
