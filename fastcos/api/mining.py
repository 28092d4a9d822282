"""Triplets that are found within a batch: losses of them, and the triplets themselves."""

from __future__ import annotations

from typing import Any, Literal

from fastcos import _hints
from fastcos.api.calls import batched, not_compiled
from fastcos.api.listwise import labelled
from fastcos.engine import mining
from fastcos.engine.batch import check_count, real
from fastcos.engine.checks import check_flag
from fastcos.listwise import triplets
from fastcos.typing import ArrayLike, ListwiseDistance, Reduction, Result


@batched("x", more=("ref",))
def batch_hard_triplet_loss(
    x: ArrayLike,
    labels: ArrayLike,
    *,
    margin: float = 5.0,
    soft: bool = False,
    ref: ArrayLike | None = None,
    ref_labels: ArrayLike | None = None,
    distance: ListwiseDistance = "euclidean",
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    block: int | None = None,
) -> Result:
    r"""The triplet of each anchor with its farthest positive and its nearest negative.

    .. math:: l_i = \max\bigl(0,\ \max_{P_i} d_{ip} - \min_{N_i} d_{in} + margin\bigr)

    Args:
        x: Rows ``(N, D)``.
        labels: One integer, at least 0, for each row.
        margin: By how much the negative is to be farther.
        soft: Takes :math:`\log(1 + e^z)` in place of :math:`\max(0, z)`; the source has no margin
            then.
        ref: As in :func:`supervised_contrastive_loss`.
        ref_labels: The same.
        distance: As in :func:`contrastive_loss`.
        weight: One number for each anchor, or for all.
        reduction: As for the other losses. ``"mean"`` is over the anchors that have a positive and
            a negative.
        block: As in :func:`info_nce_loss`.

    Returns:
        A number, or with ``reduction="none"`` the loss of each anchor; 0 for one without positives
        or negatives.

    Raises:
        ValueError: shapes that do not fit, negative labels, an unknown distance.
        TypeError: labels that are no integers; complex, object, string, masked or sparse input.

    Singular points: at a loss of 0 the gradient passes; candidates equally far share it; that of a
    distance 0 is 0.

    Example:
        >>> import numpy as np, fastcos
        >>> x = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 2.0]])
        >>> float(fastcos.batch_hard_triplet_loss(x, [0, 0, 1], margin=1.0).round(6))
        3.197224

    Source: Hermans et al., arXiv 1703.07737; as ``BatchHardTripletLoss`` and
    ``BatchHardSoftMarginTripletLoss`` of sentence-transformers.
    """
    record = triplets.soft_hard if check_flag("soft", soft) else triplets.hard
    return labelled(
        record,
        (x, labels, ref, ref_labels),
        real({"margin": margin}, arrays=False),
        (distance, weight, reduction, block),
    )


@batched("x", more=("ref",))
def batch_semi_hard_triplet_loss(
    x: ArrayLike,
    labels: ArrayLike,
    *,
    margin: float = 5.0,
    ref: ArrayLike | None = None,
    ref_labels: ArrayLike | None = None,
    distance: ListwiseDistance = "euclidean",
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    block: int | None = None,
) -> Result:
    r"""Each pair of one label with the nearest negative that is farther than the positive.

    .. math:: l_i = \sum_{p \in P_i} \max(0,\ d_{ip} - d_{in(p)} + margin), \quad
        n(p) = \arg\min_{N_i} \{d_{in} : d_{in} > d_{ip}\}

    or the farthest negative of all where none is farther than the positive.

    Args:
        x: Rows ``(N, D)``.
        labels: One integer, at least 0, for each row.
        margin: By how much the negative is to be farther.
        ref: As in :func:`supervised_contrastive_loss`.
        ref_labels: The same.
        distance: As in :func:`contrastive_loss`.
        weight: One number for each anchor, or for all.
        reduction: As for the other losses. ``"mean"`` is over the pairs of one label.
        block: As in :func:`info_nce_loss`.

    Returns:
        A number, or with ``reduction="none"`` the sum over the positives of each anchor.

    Raises:
        ValueError: shapes that do not fit, negative labels, an unknown distance.
        TypeError: labels that are no integers; complex, object, string, masked or sparse input.

    Singular points: at a loss of 0 the gradient passes; candidates equally far share it; that of a
    distance 0 is 0.

    Example:
        >>> import numpy as np, fastcos
        >>> x = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 2.0]])
        >>> float(fastcos.batch_semi_hard_triplet_loss(x, [0, 0, 1], margin=1.0).round(6))
        3.197224

    Source: Schroff et al., arXiv 1503.03832; as ``BatchSemiHardTripletLoss`` of
    sentence-transformers.
    """
    return labelled(
        triplets.semi_hard_triplets,
        (x, labels, ref, ref_labels),
        real({"margin": margin}, arrays=False),
        (distance, weight, reduction, block),
    )


@batched("x", more=("ref",))
def batch_all_triplet_loss(
    x: ArrayLike,
    labels: ArrayLike,
    *,
    margin: float = 5.0,
    ref: ArrayLike | None = None,
    ref_labels: ArrayLike | None = None,
    distance: ListwiseDistance = "euclidean",
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    block: int | None = None,
) -> Result:
    r"""All triplets of the batch.

    .. math:: l_i = \sum_{p \in P_i} \sum_{n \in N_i} \max(0,\ d_{ip} - d_{in} + margin)

    By sorting: in the time of ``N log N`` for an anchor, and not of positives times negatives.

    Args:
        x: Rows ``(N, D)``.
        labels: One integer, at least 0, for each row.
        margin: By how much the negative is to be farther.
        ref: As in :func:`supervised_contrastive_loss`.
        ref_labels: The same.
        distance: As in :func:`contrastive_loss`.
        weight: One number for each anchor, or for all.
        reduction: As for the other losses. ``"mean"`` is over the triplets that cost something.
        block: As in :func:`info_nce_loss`.

    Returns:
        A number, or with ``reduction="none"`` the sum over the triplets of each anchor.

    Raises:
        ValueError: shapes that do not fit, negative labels, an unknown distance.
        TypeError: labels that are no integers; complex, object, string, masked or sparse input.

    Singular points: at a loss of 0 the gradient passes; that of a distance 0 is 0.

    Example:
        >>> import numpy as np, fastcos
        >>> x = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 2.0]])
        >>> float(fastcos.batch_all_triplet_loss(x, [0, 0, 1], margin=1.0).round(6))
        3.197224

    Source: Hermans et al., arXiv 1703.07737; as ``BatchAllTripletLoss`` of sentence-transformers
    and ``TripletMarginLoss`` of pytorch-metric-learning.
    """
    return labelled(
        triplets.all_triplets,
        (x, labels, ref, ref_labels),
        real({"margin": margin}, arrays=False),
        (distance, weight, reduction, block),
    )


@not_compiled
def mine_triplets(
    x: ArrayLike,
    labels: ArrayLike,
    kind: Literal["hard", "semi-hard", "all"] = "hard",
    *,
    margin: float = 5.0,
    ref: ArrayLike | None = None,
    ref_labels: ArrayLike | None = None,
    distance: ListwiseDistance = "euclidean",
    block: int | None = None,
    max_triplets: int = 100_000_000,
) -> tuple[Result, Result, Result]:
    r"""Triplets of a batch, as numbers of rows: for :func:`rows`, or for indexing.

    .. math:: (a,\ p,\ n): \quad y_a = y_p \ne y_n

    ``"hard"``: each anchor with its farthest positive and its nearest negative. ``"semi-hard"``:
    each pair of one label with the nearest negative that is farther than the positive, or the
    farthest of all, where the triplet costs something. ``"all"``: all that cost something.

    Args:
        x: Rows ``(N, D)``.
        labels: One integer, at least 0, for each row.
        kind: Which triplets.
        margin: A triplet costs something if ``d(a, p) - d(a, n) + margin > 0``. Not of use for
            ``"hard"``.
        ref: Rows ``(M, D)`` that positives and negatives are taken from; by default those of ``x``.
        ref_labels: Their labels.
        distance: As in :func:`contrastive_loss`.
        block: As in :func:`info_nce_loss`.
        max_triplets: With more of them it is an error, before memory is at its end.

    Returns:
        The numbers of the anchors, those of the positives and those of the negatives, as int64
        arrays of the library of ``x``, on its device, in the order of the anchors.

    Raises:
        ValueError: an unknown kind, more triplets than ``max_triplets``, which is at least 1,
            shapes that do not fit.
        TypeError: labels that are no integers; complex, object, string, masked or sparse input.

    Singular points: of candidates equally far the first is taken.

    Example:
        >>> import numpy as np, fastcos
        >>> x = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 2.0]])
        >>> a, p, n = fastcos.mine_triplets(x, [0, 0, 1])
        >>> a, p, n
        (array([0, 1]), array([1, 0]), array([2, 2]))
        >>> r = fastcos.rows
        >>> round(float(fastcos.triplet_margin_loss(r(x, a), r(x, p), r(x, n), eps=0)), 6)
        3.197224

    Source: Hermans et al., arXiv 1703.07737; Schroff et al., arXiv 1503.03832.
    """
    if kind not in mining.KINDS:
        hint = _hints.hint(kind, mining.KINDS)
        raise ValueError(f"kind must be one of {', '.join(mining.KINDS)}; got {kind!r}{hint}")
    batch: Any = labelled(
        triplets.hard, (x, labels, ref, ref_labels), {}, (distance, None, "mean", block)
    )
    by = real({"margin": margin}, arrays=False)["margin"]
    return mining.mine(batch, kind, by, check_count("max_triplets", max_triplets))
