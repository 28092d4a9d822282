"""Listwise losses whose candidates are proxies, or the weights of classes."""

from __future__ import annotations

import math
from typing import Any

from fastcos.api.calls import batched
from fastcos.engine.batch import Batch, Side, check_block, positive, real
from fastcos.listwise import Listwise, pairs, softmax
from fastcos.typing import ArrayLike, ListwiseDistance, Reduction, Result

# The scale of a softmax is the inverse of its temperature.


def _of_classes(
    record: Listwise,
    rows: tuple[Any, Any, Any],
    parameters: dict[str, Any],
    options: tuple[Any, Any, Any, Any],
) -> Any:
    """The batch of a loss whose candidates are proxies, one for each class."""
    x, proxies, labels = rows
    distance, weight, reduction, block = options
    return Batch(
        record,
        Side("x", x, labels, "labels"),
        Side("proxies", proxies, common=True),
        distance,
        parameters,
        weight=weight,
        reduction=reduction,
        block=check_block(block),
    )


@batched("x", "proxies", more=("temperature",))
def normalized_softmax_loss(
    x: ArrayLike,
    proxies: ArrayLike,
    labels: ArrayLike,
    *,
    temperature: float | ArrayLike = 0.05,
    distance: ListwiseDistance = "cosine",
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    block: int | None = None,
) -> Result:
    r"""The cross entropy of similarities to proxies: a linear classifier of unit vectors.

    .. math:: l_i = -\log \frac{\exp(s_{i y_i} / T)}{\sum_c \exp(s_{ic} / T)}

    Args:
        x: Rows ``(N, D)``.
        proxies: One row for each class, ``(C, D)``.
        labels: The class of each row, from 0 to C - 1.
        temperature: T, > 0; a number, or an array of one number, of which a gradient can be asked.
        distance: As in :func:`info_nce_loss`.
        weight: One number for each row of ``x``, or for all.
        reduction: As for the other losses.
        block: As in :func:`info_nce_loss`.

    Returns:
        A number, or with ``reduction="none"`` the loss of each row of ``x``.

    Raises:
        ValueError: shapes that do not fit, labels beyond the proxies, a temperature not > 0.
        TypeError: labels that are no integers; complex, object, string, masked or sparse input.

    Singular points: a zero row has cosine 0 with every row, and gradient 0.

    Example:
        >>> import numpy as np, fastcos
        >>> x, proxies = np.array([[1.0, 0.0], [0.6, 0.8]]), np.eye(2)
        >>> round(float(fastcos.normalized_softmax_loss(x, proxies, [0, 1], temperature=1.0)), 6)
        0.4557

    Source: Zhai, Wu, arXiv 1811.12649; as ``NormalizedSoftmaxLoss`` of pytorch-metric-learning.
    """
    return _of_classes(
        softmax.softmax,
        (x, proxies, labels),
        {**positive({"temperature": temperature}), "margin": 0.0},
        (distance, weight, reduction, block),
    )


@batched("x", "proxies")
def cosface_loss(
    x: ArrayLike,
    proxies: ArrayLike,
    labels: ArrayLike,
    *,
    margin: float = 0.35,
    scale: float = 64.0,
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    block: int | None = None,
) -> Result:
    r"""CosFace: cross entropy of cosines, with a margin off the cosine to the right proxy.

    .. math:: l_i = -\log \frac{e^{scale (s_{i y_i} - margin)}}
        {e^{scale (s_{i y_i} - margin)} + \sum_{c \ne y_i} e^{scale\ s_{ic}}}

    Args:
        x: Rows ``(N, D)``.
        proxies: One row for each class, ``(C, D)``.
        labels: The class of each row, from 0 to C - 1.
        margin: What is subtracted from the cosine.
        scale: What cosines are multiplied by, > 0.
        weight: One number for each row of ``x``, or for all.
        reduction: As for the other losses.
        block: As in :func:`info_nce_loss`.

    Returns:
        A number, or with ``reduction="none"`` the loss of each row of ``x``.

    Raises:
        ValueError: shapes that do not fit, labels beyond the proxies, a ``scale`` not > 0.
        TypeError: labels that are no integers; complex, object, string, masked or sparse input.

    Singular points: a zero row has cosine 0 with every row, and gradient 0.

    Example:
        >>> import numpy as np, fastcos
        >>> x, proxies = np.array([[1.0, 0.0], [0.6, 0.8]]), np.eye(2)
        >>> round(float(fastcos.cosface_loss(x, proxies, [0, 1], scale=1.0)), 6)
        0.595506

    Source: Wang et al., arXiv 1801.09414; as ``CosFaceLoss`` of pytorch-metric-learning.
    """
    inverse = 1 / positive({"scale": scale}, arrays=False)["scale"]
    return _of_classes(
        softmax.softmax,
        (x, proxies, labels),
        {"temperature": inverse, **real({"margin": margin}, arrays=False)},
        ("cosine", weight, reduction, block),
    )


@batched("x", "proxies")
def arcface_loss(
    x: ArrayLike,
    proxies: ArrayLike,
    labels: ArrayLike,
    *,
    margin: float = 28.6,
    scale: float = 64.0,
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    block: int | None = None,
) -> Result:
    r"""ArcFace: cross entropy of cosines, with a margin on the angle to the right proxy.

    .. math:: l_i = -\log \frac{e^{scale \cos(\theta_{i y_i} + margin)}}
        {e^{scale \cos(\theta_{i y_i} + margin)} + \sum_{c \ne y_i} e^{scale \cos \theta_{ic}}}

    Args:
        x: Rows ``(N, D)``.
        proxies: One row for each class, ``(C, D)``.
        labels: The class of each row, from 0 to C - 1.
        margin: What is added to the angle, in degrees.
        scale: What cosines are multiplied by, > 0.
        weight: One number for each row of ``x``, or for all.
        reduction: As for the other losses.
        block: As in :func:`info_nce_loss`.

    Returns:
        A number, or with ``reduction="none"`` the loss of each row of ``x``.

    Raises:
        ValueError: shapes that do not fit, labels beyond the proxies, a ``scale`` not > 0.
        TypeError: labels that are no integers; complex, object, string, masked or sparse input.

    Singular points: a zero row has cosine 0 with every row, and gradient 0; at an angle of 0 or 180
    degrees the derivative of the cosine of the larger angle is taken as ``cos(margin)``.

    Example:
        >>> import numpy as np, fastcos
        >>> x, proxies = np.array([[1.0, 0.0], [0.6, 0.8]]), np.eye(2)
        >>> round(float(fastcos.arcface_loss(x, proxies, [0, 1], scale=1.0)), 6)
        0.568697

    Source: Deng et al., arXiv 1801.07698; as ``ArcFaceLoss`` of pytorch-metric-learning.
    """
    angle = math.radians(real({"margin": margin}, arrays=False)["margin"])
    turn = {"along": math.cos(angle), "across": math.sin(angle)}
    return _of_classes(
        softmax.arcface,
        (x, proxies, labels),
        {**positive({"scale": scale}, arrays=False), **turn},
        ("cosine", weight, reduction, block),
    )


@batched("x", "proxies")
def proxy_nca_loss(
    x: ArrayLike,
    proxies: ArrayLike,
    labels: ArrayLike,
    *,
    scale: float = 1.0,
    distance: ListwiseDistance = "normalized_sqeuclidean",
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    block: int | None = None,
) -> Result:
    r"""ProxyNCA: :func:`nca_loss` with proxies in place of neighbours.

    .. math:: l_i = -\log \frac{\exp(scale\ s_{i y_i})}{\sum_c \exp(scale\ s_{ic})}

    Args:
        x: Rows ``(N, D)``.
        proxies: One row for each class, ``(C, D)``.
        labels: The class of each row, from 0 to C - 1.
        scale: What similarities are multiplied by, > 0.
        distance: As in :func:`info_nce_loss`: the similarity is the negative of a distance.
        weight: One number for each row of ``x``, or for all.
        reduction: As for the other losses.
        block: As in :func:`info_nce_loss`.

    Returns:
        A number, or with ``reduction="none"`` the loss of each row of ``x``.

    Raises:
        ValueError: shapes that do not fit, labels beyond the proxies, a ``scale`` not > 0.
        TypeError: labels that are no integers; complex, object, string, masked or sparse input.

    Singular points: those of the distance.

    Example:
        >>> import numpy as np, fastcos
        >>> x, proxies = np.array([[1.0, 0.0], [0.6, 0.8]]), np.eye(2)
        >>> round(float(fastcos.proxy_nca_loss(x, proxies, [0, 1])), 6)
        0.319972

    Source: Movshovitz-Attias et al., arXiv 1703.07464, with the positive in the denominator, as
    ``ProxyNCALoss`` of pytorch-metric-learning has it.
    """
    return _of_classes(
        pairs.nca,
        (x, proxies, labels),
        positive({"scale": scale}, arrays=False),
        (distance, weight, reduction, block),
    )


@batched("x", "proxies")
def proxy_anchor_loss(
    x: ArrayLike,
    proxies: ArrayLike,
    labels: ArrayLike,
    *,
    margin: float = 0.1,
    alpha: float = 32.0,
    distance: ListwiseDistance = "cosine",
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    block: int | None = None,
) -> Result:
    r"""Proxy-Anchor: each proxy against all rows of the batch.

    .. math:: l_c = \frac{C}{C_+}
        \log\Bigl(1 + \sum_{i: y_i = c} e^{-\alpha (s_{ic} - margin)}\Bigr)
        + \log\Bigl(1 + \sum_{i: y_i \ne c} e^{\alpha (s_{ic} + margin)}\Bigr)

    of the C proxies, of which :math:`C_+` have a row in the batch.

    Args:
        x: Rows ``(N, D)``.
        proxies: One row for each class, ``(C, D)``.
        labels: The class of each row, from 0 to C - 1.
        margin: By how much similarities are to be beyond 0.
        alpha: What they are multiplied by, > 0.
        distance: As in :func:`info_nce_loss`.
        weight: One number for each proxy, or for all.
        reduction: As for the other losses, over the proxies. Without weights ``"mean"`` is the mean
            of the first part over the proxies that have a row, plus that of the second over all.
        block: How many proxies are taken at a time; else as in :func:`info_nce_loss`.

    Returns:
        A number, or with ``reduction="none"`` the loss of each proxy.

    Raises:
        ValueError: shapes that do not fit, labels beyond the proxies, an ``alpha`` not > 0.
        TypeError: labels that are no integers; complex, object, string, masked or sparse input.

    Singular points: a zero row has cosine 0 with every row, and gradient 0.

    Example:
        >>> import numpy as np, fastcos
        >>> x, proxies = np.array([[1.0, 0.0], [0.6, 0.8]]), np.eye(2)
        >>> round(float(fastcos.proxy_anchor_loss(x, proxies, [0, 1], alpha=1.0)), 6)
        1.295961

    Source: Kim et al., arXiv 2003.13911; as ``ProxyAnchorLoss`` of pytorch-metric-learning.
    """
    sharp = positive({"alpha": alpha}, arrays=False)
    return Batch(
        pairs.proxy_anchor,
        Side("proxies", proxies, common=True),
        Side("x", x, labels, "labels"),
        distance,
        {**real({"margin": margin}, arrays=False), **sharp},
        weight=weight,
        reduction=reduction,
        block=check_block(block),
        ratio=True,
    )
