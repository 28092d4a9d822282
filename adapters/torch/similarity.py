"""torch's similarity and distance of rows on the fused kernels, as functions and as modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastcos.engine.rows import Rows, gathered

from . import problems
from .plain import fused, refuse, with_axis


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    r"""``torch.nn.functional.cosine_similarity`` in one fused pass.

    .. math:: c = \frac{x_1 \cdot x_2}
        {\max(\lVert x_1 \rVert, eps)\,\max(\lVert x_2 \rVert, eps)}

    Args:
        x1: Rows along ``dim``.
        x2: Rows along ``dim``; other axes are broadcast.
        dim: The feature axis.
        eps: Smallest norm to divide by.

    Returns:
        The similarity of each pair of rows.

    Raises:
        RuntimeError, IndexError: as torch does.
        TypeError: a tensor on another kind of device, sparse, nested or quantised.

    Singular points: a zero row has similarity 0; its gradient is that of ``x1 · x2`` alone.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import cosine_similarity
        >>> cosine_similarity(torch.tensor([[3.0, 4.0]]), torch.tensor([[6.0, 8.0]])).tolist()
        [1.0]
    """
    if type(dim) is int and Rows in map(type, (x1, x2)):
        x1, x2 = with_axis(x1, dim), with_axis(x2, dim)
    value = fused(problems.cosine_similarity, (x1, x2), (dim, eps), everywhere=False)
    if value is not None:
        return value
    x1, x2 = gathered(x1), gathered(x2)
    refuse(x1=x1, x2=x2)
    return F.cosine_similarity(x1, x2, dim, eps)


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    r"""``torch.nn.functional.pairwise_distance`` in one fused pass.

    .. math:: d = \lVert x_1 - x_2 + eps \rVert_p

    Args:
        x1: Rows ``(..., D)``.
        x2: Rows ``(..., D)``; leading axes are broadcast.
        p: Which norm; inf is the largest component.
        eps: Added to every difference, signed.
        keepdim: Whether the feature axis stays, with length 1.

    Returns:
        The distance of each pair of rows.

    Raises:
        RuntimeError: as torch does.
        TypeError: a tensor on another kind of device, sparse, nested or quantised.

    Singular points: where the distance is 0 the gradient is 0; components that share the maximum
    norm share its gradient.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import pairwise_distance
        >>> x, y = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]])
        >>> pairwise_distance(x, y, p=1, eps=0).tolist()
        [7.0]
    """
    value = fused(problems.pairwise_distance, (x1, x2), (p, eps), everywhere=False)
    if value is not None:
        return value.unsqueeze(-1) if keepdim else value
    x1, x2 = gathered(x1), gathered(x2)
    refuse(x1=x1, x2=x2)
    return F.pairwise_distance(x1, x2, p, eps, keepdim)


class CosineSimilarity(nn.CosineSimilarity):
    """``torch.nn.CosineSimilarity`` on :func:`cosine_similarity`.

    Args:
        dim: The feature axis.
        eps: Smallest norm to divide by.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import CosineSimilarity
        >>> CosineSimilarity()(torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]])).tolist()
        [0.9599...]
    """

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """The similarity of each pair of rows."""
        if torch.jit.is_scripting():
            return F.cosine_similarity(x1, x2, self.dim, self.eps)
        return cosine_similarity(x1, x2, self.dim, self.eps)

    if TYPE_CHECKING:  # of a module torch says Any

        def __call__(self, x1: Tensor, x2: Tensor) -> Tensor:  # noqa: D102
            ...

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"dim={self.dim}, eps={self.eps}"


class PairwiseDistance(nn.PairwiseDistance):
    """``torch.nn.PairwiseDistance`` on :func:`pairwise_distance`.

    Args:
        p: Which norm; inf is the largest component.
        eps: Added to every difference, signed.
        keepdim: Whether the feature axis stays, with length 1.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import PairwiseDistance
        >>> PairwiseDistance(p=1, eps=0.0)(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])).tolist()
        [7.0]
    """

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """The distance of each pair of rows."""
        if torch.jit.is_scripting():
            return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)
        return pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)

    if TYPE_CHECKING:  # of a module torch says Any

        def __call__(self, x1: Tensor, x2: Tensor) -> Tensor:  # noqa: D102
            ...

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"p={self.norm}, eps={self.eps}, keepdim={self.keepdim}"
