"""Listwise losses of two sets of rows, or of a batch with labels, without proxies or triplets.

Each function states its batch in terms of the records; ``calls`` makes a public function of that.
"""

from __future__ import annotations

from fastcos.api.calls import batched
from fastcos.api.listwise import labelled
from fastcos.engine.batch import Batch, Side, check_block, positive, real
from fastcos.engine.checks import check_flag
from fastcos.listwise import pairs, softmax
from fastcos.typing import ArrayLike, ListwiseDistance, Reduction, Result


@batched("x1", "x2", more=("temperature",))
def info_nce_loss(
    x1: ArrayLike,
    x2: ArrayLike,
    *,
    temperature: float | ArrayLike = 0.07,
    symmetric: bool = False,
    distance: ListwiseDistance = "cosine",
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    block: int | None = None,
) -> Result:
    r"""InfoNCE: row i of one set belongs to row i of the other, and to no other row.

    .. math:: l_i = -\log \frac{\exp(s_{ii} / T)}{\sum_j \exp(s_{ij} / T)}

    with the similarity :math:`s_{ij}` of row i of ``x1`` to row j of ``x2``. It is the loss of CPC,
    of SimCLR between two views (without the negatives of the same view), multiple negatives ranking
    and, if ``symmetric``, of CLIP.

    Args:
        x1: Rows ``(N, D)``, the anchors.
        x2: Rows ``(N, D)``, their candidates.
        temperature: T, > 0; a number, or an array of one number, of which a gradient can be asked.
        symmetric: Takes the mean of this loss and of that with ``x1`` and ``x2`` exchanged.
        distance: What the similarity is: ``"cosine"``, ``"dot"``, or the negative of a distance:
            ``"euclidean"``, ``"sqeuclidean"``, or those of rows of unit length,
            ``"normalized_euclidean"`` and ``"normalized_sqeuclidean"``.
        weight: One number for each anchor, or for all.
        reduction: As for the other losses.
        block: How many anchors are taken at a time; by default their similarities have at most 64
            MiB. Results depend on it by rounding only.

    Returns:
        A number, or with ``reduction="none"`` the loss of each anchor.

    Raises:
        ValueError: shapes that do not fit, a temperature that is not > 0, an unknown distance.
        TypeError: complex, object, string, masked or sparse input.

    Singular points: a zero row has cosine 0 with every row, and gradient 0.

    Example:
        >>> import numpy as np, fastcos
        >>> x1, x2 = np.eye(2), np.array([[1.0, 0.0], [0.6, 0.8]])
        >>> round(float(fastcos.info_nce_loss(x1, x2, temperature=1.0)), 6)
        0.442058

    Source: van den Oord et al., arXiv 1807.03748; Radford et al., arXiv 2103.00020.
    """
    both, values = check_flag("symmetric", symmetric), positive({"temperature": temperature})
    record = softmax.symmetric_softmax if both else softmax.softmax
    parameters = values if both else {**values, "margin": 0.0}
    return Batch(
        record,
        Side("x1", x1),
        Side("x2", x2),
        distance,
        parameters,
        weight=weight,
        reduction=reduction,
        block=check_block(block),
        square=True,
    )


@batched(
    "x1",
    "x2",
    more=(
        "temperature",
        "bias",
    ),
)
def sigmoid_contrastive_loss(
    x1: ArrayLike,
    x2: ArrayLike,
    *,
    temperature: float | ArrayLike = 0.1,
    bias: float | ArrayLike = -10.0,
    distance: ListwiseDistance = "cosine",
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    block: int | None = None,
) -> Result:
    r"""SigLIP: whether two rows belong together, for each pair by itself.

    .. math:: l_i = \sum_j \log\bigl(1 + \exp(-z_{ij} (s_{ij} / T + b))\bigr), \quad
        z_{ij} = 1 \text{ for } i = j, \ -1 \text{ else}

    Args:
        x1: Rows ``(N, D)``, the anchors.
        x2: Rows ``(N, D)``; row i belongs to row i of ``x1``.
        temperature: T, > 0, the inverse of the paper's t; a number, or an array of one number, of
            which a gradient can be asked.
        bias: b; the same.
        distance: As in :func:`info_nce_loss`.
        weight: One number for each anchor, or for all.
        reduction: As for the other losses.
        block: As in :func:`info_nce_loss`.

    Returns:
        A number, or with ``reduction="none"`` the loss of each anchor.

    Raises:
        ValueError: shapes that do not fit, a temperature that is not > 0, an unknown distance.
        TypeError: complex, object, string, masked or sparse input.

    Singular points: a zero row has cosine 0 with every row, and gradient 0.

    Example:
        >>> import numpy as np, fastcos
        >>> x1, x2 = np.eye(2), np.array([[1.0, 0.0], [0.6, 0.8]])
        >>> round(float(fastcos.sigmoid_contrastive_loss(x1, x2, temperature=1.0, bias=0.0)), 6)
        1.207499

    Source: Zhai et al., Sigmoid Loss for Language Image Pre-Training, arXiv 2303.15343.
    """
    return Batch(
        softmax.sigmoid_contrastive,
        Side("x1", x1),
        Side("x2", x2),
        distance,
        {**positive({"temperature": temperature}), **real({"bias": bias})},
        weight=weight,
        reduction=reduction,
        block=check_block(block),
        square=True,
    )


@batched(
    "x",
    more=(
        "temperature",
        "ref",
    ),
)
def supervised_contrastive_loss(
    x: ArrayLike,
    labels: ArrayLike,
    *,
    temperature: float | ArrayLike = 0.1,
    ref: ArrayLike | None = None,
    ref_labels: ArrayLike | None = None,
    distance: ListwiseDistance = "cosine",
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    block: int | None = None,
) -> Result:
    r"""SupCon: rows of one label are drawn together, the logarithm outside the sum.

    .. math:: l_i = -\frac{1}{|P_i|} \sum_{p \in P_i}
        \log \frac{\exp(s_{ip} / T)}{\sum_j \exp(s_{ij} / T)}

    over the candidates j, of which :math:`P_i` have the label of the anchor.

    Args:
        x: Rows ``(N, D)``.
        labels: One integer, at least 0, for each row.
        temperature: T, > 0; a number, or an array of one number, of which a gradient can be asked.
        ref: Rows ``(M, D)`` that are the candidates, such as a memory bank. By default those are
            the rows of ``x``, and none is a candidate of its own.
        ref_labels: Their labels.
        distance: As in :func:`info_nce_loss`.
        weight: One number for each anchor, or for all.
        reduction: As for the other losses. ``"mean"`` is over the anchors that have a positive.
        block: As in :func:`info_nce_loss`.

    Returns:
        A number, or with ``reduction="none"`` the loss of each anchor; 0 for one without positives.

    Raises:
        ValueError: shapes that do not fit, negative labels, a temperature that is not > 0.
        TypeError: labels that are no integers; complex, object, string, masked or sparse input.

    Singular points: a zero row has cosine 0 with every row, and gradient 0.

    Example:
        >>> import numpy as np, fastcos
        >>> x = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> round(float(fastcos.supervised_contrastive_loss(x, [0, 0, 1], temperature=1.0)), 6)
        0.617813

    Source: Khosla et al., arXiv 2004.11362, :math:`L_{out}`; as ``SupConLoss`` of
    pytorch-metric-learning.
    """
    return labelled(
        softmax.softmax,
        (x, labels, ref, ref_labels),
        {**positive({"temperature": temperature}), "margin": 0.0},
        (distance, weight, reduction, block),
    )


@batched("x", more=("ref",))
def contrastive_loss(
    x: ArrayLike,
    labels: ArrayLike,
    *,
    pos_margin: float = 0.0,
    neg_margin: float = 1.0,
    ref: ArrayLike | None = None,
    ref_labels: ArrayLike | None = None,
    distance: ListwiseDistance = "normalized_euclidean",
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    block: int | None = None,
) -> Result:
    r"""The contrastive loss of all pairs: those of one label are near, others are apart.

    .. math:: l_i = \sum_{p \in P_i} \max(0,\ d_{ip} - pos\_margin)
        + \sum_{n \in N_i} \max(0,\ neg\_margin - d_{in})

    Args:
        x: Rows ``(N, D)``.
        labels: One integer, at least 0, for each row.
        pos_margin: The distance up to which a pair of one label costs nothing.
        neg_margin: The distance from which on another pair costs nothing.
        ref: As in :func:`supervised_contrastive_loss`.
        ref_labels: The same.
        distance: ``"cosine"`` (one minus the cosine), ``"dot"`` (minus the product),
            ``"euclidean"``, ``"sqeuclidean"``, or those of rows of unit length,
            ``"normalized_euclidean"`` and ``"normalized_sqeuclidean"``.
        weight: One number for each anchor, or for all.
        reduction: As for the other losses, but for ``"mean"``: the mean over the pairs of one label
            that cost something, plus that over the others that do.
        block: As in :func:`info_nce_loss`.

    Returns:
        A number, or with ``reduction="none"`` the sum over the pairs of each anchor.

    Raises:
        ValueError: shapes that do not fit, negative labels, an unknown distance.
        TypeError: labels that are no integers; complex, object, string, masked or sparse input.

    Singular points: at a margin the gradient of max(0, ·) passes; that of a distance 0 is 0.

    Example:
        >>> import numpy as np, fastcos
        >>> x = np.array([[0.0, 0.0], [0.6, 0.8], [0.0, 0.5]])
        >>> round(float(fastcos.contrastive_loss(x, [0, 0, 1], distance="euclidean")), 6)
        1.41459

    Source: Hadsell, Chopra, LeCun 2006, with a margin for both, and without the square, as
    ``ContrastiveLoss`` of pytorch-metric-learning.
    """
    margins = real({"pos_margin": pos_margin, "neg_margin": neg_margin}, arrays=False)
    mean = reduction == "mean"
    return labelled(
        pairs.contrastive_mean if mean else pairs.contrastive,
        (x, labels, ref, ref_labels),
        margins if mean else {**margins, "of_positives": 1.0, "of_negatives": 1.0},
        (distance, weight, "sum" if mean else reduction, block),
    )


@batched("x", more=("ref",))
def multi_similarity_loss(
    x: ArrayLike,
    labels: ArrayLike,
    *,
    alpha: float = 2.0,
    beta: float = 50.0,
    base: float = 0.5,
    ref: ArrayLike | None = None,
    ref_labels: ArrayLike | None = None,
    distance: ListwiseDistance = "cosine",
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    block: int | None = None,
) -> Result:
    r"""The multi-similarity loss, of all pairs.

    .. math:: l_i = \frac{1}{\alpha} \log\Bigl(1 + \sum_{P_i} e^{-\alpha (s_{ip} - base)}\Bigr)
        + \frac{1}{\beta} \log\Bigl(1 + \sum_{N_i} e^{\beta (s_{in} - base)}\Bigr)

    Args:
        x: Rows ``(N, D)``.
        labels: One integer, at least 0, for each row.
        alpha: How sharp the part of the positives is, > 0.
        beta: How sharp the part of the negatives is, > 0.
        base: The similarity that both are compared with.
        ref: As in :func:`supervised_contrastive_loss`.
        ref_labels: The same.
        distance: As in :func:`info_nce_loss`.
        weight: One number for each anchor, or for all.
        reduction: As for the other losses.
        block: As in :func:`info_nce_loss`.

    Returns:
        A number, or with ``reduction="none"`` the loss of each anchor.

    Raises:
        ValueError: shapes that do not fit, negative labels, ``alpha`` or ``beta`` that is not > 0.
        TypeError: labels that are no integers; complex, object, string, masked or sparse input.

    Singular points: a zero row has cosine 0 with every row, and gradient 0.

    Example:
        >>> import numpy as np, fastcos
        >>> x = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> round(float(fastcos.multi_similarity_loss(x, [0, 0, 1])), 6)
        0.39938

    Source: Wang et al., arXiv 1904.06627; as ``MultiSimilarityLoss`` of pytorch-metric-learning,
    without a miner.
    """
    sharp = positive({"alpha": alpha, "beta": beta}, arrays=False)
    return labelled(
        pairs.multi_similarity,
        (x, labels, ref, ref_labels),
        {**sharp, **real({"base": base}, arrays=False)},
        (distance, weight, reduction, block),
    )


@batched("x", more=("ref",))
def circle_loss(
    x: ArrayLike,
    labels: ArrayLike,
    *,
    margin: float = 0.4,
    gamma: float = 80.0,
    ref: ArrayLike | None = None,
    ref_labels: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    block: int | None = None,
) -> Result:
    r"""The circle loss of cosines, each weighted by how far it is from where it should be.

    .. math:: l_i = \log\Bigl(1 + \sum_{N_i} e^{\gamma \alpha_n (s_{in} - m)}
        \sum_{P_i} e^{-\gamma \alpha_p (s_{ip} - 1 + m)}\Bigr), \quad
        \alpha_p = \max(0,\ 1 + m - s_{ip}), \ \alpha_n = \max(0,\ s_{in} + m)

    The :math:`\alpha` are weights: the gradient does not go through them, as in the paper.

    Args:
        x: Rows ``(N, D)``.
        labels: One integer, at least 0, for each row.
        margin: The m of the formula: cosines of one label are drawn above 1 - m, others below m.
        gamma: The scale, > 0.
        ref: As in :func:`supervised_contrastive_loss`.
        ref_labels: The same.
        weight: One number for each anchor, or for all.
        reduction: As for the other losses. ``"mean"`` is over the anchors with a loss above 0,
            which have a positive and a negative.
        block: As in :func:`info_nce_loss`.

    Returns:
        A number, or with ``reduction="none"`` the loss of each anchor; 0 for one without positives
        or negatives.

    Raises:
        ValueError: shapes that do not fit, negative labels, a ``gamma`` that is not > 0.
        TypeError: labels that are no integers; complex, object, string, masked or sparse input.

    Singular points: a zero row has cosine 0 with every row, and gradient 0.

    Example:
        >>> import numpy as np, fastcos
        >>> x = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> round(float(fastcos.circle_loss(x, [0, 0, 1], gamma=1.0)), 6)
        0.789009

    Source: Sun et al., arXiv 2002.10857; as ``CircleLoss`` of pytorch-metric-learning.
    """
    scale = positive({"gamma": gamma}, arrays=False)
    return labelled(
        pairs.circle,
        (x, labels, ref, ref_labels),
        {**scale, **real({"margin": margin}, arrays=False)},
        ("cosine", weight, reduction, block),
    )


@batched("x")
def lifted_structure_loss(
    x: ArrayLike,
    labels: ArrayLike,
    *,
    neg_margin: float = 1.0,
    pos_margin: float = 0.0,
    distance: ListwiseDistance = "normalized_euclidean",
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    block: int | None = None,
) -> Result:
    r"""The lifted structure loss: each pair of one label against all negatives of both.

    .. math:: l_i = \frac{1}{2} \sum_{p \in P_i} \max(0,\ J_{ip})^2, \quad
        J_{ip} = \log\Bigl(\sum_{N_i} e^{neg\_margin - d_{in}} + \sum_{N_p} e^{neg\_margin - d_{pn}}
        \Bigr) + d_{ip} - pos\_margin

    Args:
        x: Rows ``(N, D)``.
        labels: One integer, at least 0, for each row.
        neg_margin: What the distances of negatives are subtracted from.
        pos_margin: What is subtracted from the distance of a positive.
        distance: As in :func:`contrastive_loss`.
        weight: One number for each anchor, or for all.
        reduction: As for the other losses. ``"mean"`` is over the pairs of one label.
        block: As in :func:`info_nce_loss`.

    Returns:
        A number, or with ``reduction="none"`` the sum over the positives of each anchor.

    Raises:
        ValueError: shapes that do not fit, negative labels, an unknown distance.
        TypeError: labels that are no integers; complex, object, string, masked or sparse input.

    Singular points: the gradient of a distance 0 is 0.

    Example:
        >>> import numpy as np, fastcos
        >>> x = np.array([[0.0, 0.0], [0.6, 0.8], [0.0, 0.5]])
        >>> round(float(fastcos.lifted_structure_loss(x, [0, 0, 1], distance="euclidean")), 6)
        2.228963

    Source: Song et al., arXiv 1511.06452; as ``LiftedStructureLoss`` of pytorch-metric-learning.
    """
    margins = real({"neg_margin": neg_margin, "pos_margin": pos_margin}, arrays=False)
    options = distance, weight, reduction, block
    return labelled(pairs.lifted_structure, (x, labels, None, None), margins, options)


@batched("x", more=("ref",))
def nca_loss(
    x: ArrayLike,
    labels: ArrayLike,
    *,
    scale: float = 1.0,
    ref: ArrayLike | None = None,
    ref_labels: ArrayLike | None = None,
    distance: ListwiseDistance = "normalized_sqeuclidean",
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    block: int | None = None,
) -> Result:
    r"""Neighbourhood components analysis: the chance of a neighbour of the same label.

    .. math:: l_i = -\log \frac{\sum_{P_i} \exp(scale\ s_{ip})}{\sum_j \exp(scale\ s_{ij})}

    Args:
        x: Rows ``(N, D)``.
        labels: One integer, at least 0, for each row.
        scale: What similarities are multiplied by, > 0.
        ref: As in :func:`supervised_contrastive_loss`.
        ref_labels: The same.
        distance: As in :func:`info_nce_loss`: the similarity is the negative of a distance.
        weight: One number for each anchor, or for all.
        reduction: As for the other losses. ``"mean"`` is over the anchors that have a positive.
        block: As in :func:`info_nce_loss`.

    Returns:
        A number, or with ``reduction="none"`` the loss of each anchor; 0 for one without positives.

    Raises:
        ValueError: shapes that do not fit, negative labels, a ``scale`` that is not > 0.
        TypeError: labels that are no integers; complex, object, string, masked or sparse input.

    Singular points: those of the distance.

    Example:
        >>> import numpy as np, fastcos
        >>> x = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> round(float(fastcos.nca_loss(x, [0, 0, 1])), 6)
        0.588149

    Source: Goldberger et al. 2004; as ``NCALoss`` of pytorch-metric-learning.
    """
    return labelled(
        pairs.nca,
        (x, labels, ref, ref_labels),
        positive({"scale": scale}, arrays=False),
        (distance, weight, reduction, block),
    )
