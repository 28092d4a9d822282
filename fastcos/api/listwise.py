"""A listwise loss of the user's own, and what it has in common with those of the library."""

from __future__ import annotations

from typing import Any

from fastcos.api.calls import batched
from fastcos.engine.batch import Batch, Side, check_block, real
from fastcos.listwise import Listwise, faults
from fastcos.typing import ArrayLike, ListwiseDistance, Reduction, Result


def labelled(
    record: Listwise,
    rows: tuple[Any, Any, Any, Any],
    parameters: dict[str, Any],
    options: tuple[Any, Any, Any, Any],
) -> Any:
    """The batch of a loss of rows, their labels, and perhaps a memory bank of candidates."""
    x, labels, ref, ref_labels = rows
    distance, weight, reduction, block = options
    if ref is None and ref_labels is not None:
        raise TypeError("ref_labels are the labels of ref, which is not given")
    bank = None if ref is None else Side("ref", ref, ref_labels, "ref_labels")
    return Batch(
        record,
        Side("x", x, labels, "labels"),
        bank,
        distance,
        parameters,
        weight=weight,
        reduction=reduction,
        block=check_block(block),
    )


@batched("x", more=("ref",))
def listwise_loss(
    x: ArrayLike,
    labels: ArrayLike,
    loss: Listwise,
    *,
    ref: ArrayLike | None = None,
    ref_labels: ArrayLike | None = None,
    distance: ListwiseDistance = "cosine",
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    block: int | None = None,
) -> Result:
    r"""A listwise loss of one's own: :class:`Listwise` has an example.

    .. math:: l_i = l(s_{i1}, s_{i2}, \ldots)

    Args:
        x: Rows ``(N, D)``.
        labels: One integer, at least 0, for each row.
        loss: The loss.
        ref: As in :func:`supervised_contrastive_loss`.
        ref_labels: The same.
        distance: As in :func:`info_nce_loss` for a loss of similarities, as in
            :func:`contrastive_loss` for one of distances.
        weight: One number for each anchor, or for all.
        reduction: As for the other losses. ``"mean"`` is over the terms that the loss counts.
        block: As in :func:`info_nce_loss`.

    Returns:
        A number, or with ``reduction="none"`` the loss of each anchor.

    Raises:
        ValueError: shapes that do not fit, negative labels, an unknown distance.
        TypeError: not a :class:`Listwise`; labels that are no integers.

    Singular points: those of the loss and of the distance.

    Example:
        >>> import numpy as np, fastcos
        >>> mean = fastcos.Listwise(
        ...     "mean similarity",
        ...     start=lambda row: (1.0,),
        ...     accumulate=lambda sums, c, each: (sums[0] + each.s,),
        ...     finalize=lambda sums, c, row: (sums[0], row.positives + row.negatives, c),
        ...     slope=lambda c, each: c[0],
        ... )
        >>> round(float(fastcos.listwise_loss(np.eye(3)[[0, 0, 1]], [0, 1, 2], mean)), 6)
        0.333333
    """
    faults.check(loss)
    names = [f"parameters[{k}]" for k in range(len(loss.parameters))]
    parameters = real(dict(zip(names, loss.parameters, strict=True)), arrays=False)
    return labelled(
        loss, (x, labels, ref, ref_labels), parameters, (distance, weight, reduction, block)
    )
