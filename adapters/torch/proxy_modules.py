"""Listwise losses of proxies as modules, whose parameters the proxies are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fastcos.typing import ListwiseDistance, Reduction

from . import gathering
from .listwise_modules import Options

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup  # not in every build


class _OfProxies(Options):
    """A loss of rows, their labels, and proxies, which are the parameter of the module.

    They begin as normal random rows; ``module.proxies`` may be given other numbers.
    """

    _function: Any

    def __init__(self, num_classes: int, embedding_size: int) -> None:
        super().__init__()
        self.proxies: nn.Parameter = nn.Parameter(torch.empty(num_classes, embedding_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the proxies anew."""
        nn.init.normal_(self.proxies)

    def forward(self, x: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss; the arguments are those of the function."""
        proxies = self.proxies
        found: Tensor = type(self)._function(x, proxies, labels, weight=weight, **self._options())
        return found

    if TYPE_CHECKING:  # of a module torch says Any

        def __call__(self, x: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor: ...

    def extra_repr(self) -> str:
        """The options, for printing."""
        classes, size = self.proxies.shape
        return f"{classes}, {size}, {super().extra_repr()}"


class NormalizedSoftmaxLoss(_OfProxies):
    """:func:`fastcos.normalized_softmax_loss` as a module, with its options and its proxies.

    Args:
        num_classes: How many proxies there are.
        embedding_size: How many features they have.
        temperature: As the function has it.
        distance: The same.
        reduction: The same.
        block: The same.
        gather: As the function of ``fastcos.adapters.torch`` has it.
        process_group: The same.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import NormalizedSoftmaxLoss
        >>> criterion = NormalizedSoftmaxLoss(3, 2)
        >>> criterion(torch.eye(2), torch.tensor([0, 2])).backward()
        >>> criterion.proxies.grad.shape
        torch.Size([3, 2])
    """

    _function = staticmethod(gathering.normalized_softmax_loss)

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        temperature: float = 0.05,
        *,
        distance: ListwiseDistance = "cosine",
        reduction: Reduction = "mean",
        block: int | None = None,
        gather: bool = False,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__(num_classes, embedding_size)
        self._set(
            temperature=temperature,
            distance=distance,
            reduction=reduction,
            block=block,
            gather=gather,
            process_group=process_group,
        )


class CosFaceLoss(_OfProxies):
    """:func:`fastcos.cosface_loss` as a module, with its options and its proxies.

    Args:
        num_classes: How many proxies there are.
        embedding_size: How many features they have.
        margin: As the function has it.
        scale: As the function has it.
        reduction: The same.
        block: The same.
        gather: As the function of ``fastcos.adapters.torch`` has it.
        process_group: The same.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import CosFaceLoss
        >>> criterion = CosFaceLoss(3, 2)
        >>> criterion(torch.eye(2), torch.tensor([0, 2])).backward()
        >>> criterion.proxies.grad.shape
        torch.Size([3, 2])
    """

    _function = staticmethod(gathering.cosface_loss)

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float = 0.35,
        scale: float = 64.0,
        *,
        reduction: Reduction = "mean",
        block: int | None = None,
        gather: bool = False,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__(num_classes, embedding_size)
        self._set(
            margin=margin,
            scale=scale,
            reduction=reduction,
            block=block,
            gather=gather,
            process_group=process_group,
        )


class ArcFaceLoss(_OfProxies):
    """:func:`fastcos.arcface_loss` as a module, with its options and its proxies.

    Args:
        num_classes: How many proxies there are.
        embedding_size: How many features they have.
        margin: As the function has it.
        scale: As the function has it.
        reduction: The same.
        block: The same.
        gather: As the function of ``fastcos.adapters.torch`` has it.
        process_group: The same.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import ArcFaceLoss
        >>> criterion = ArcFaceLoss(3, 2)
        >>> criterion(torch.eye(2), torch.tensor([0, 2])).backward()
        >>> criterion.proxies.grad.shape
        torch.Size([3, 2])
    """

    _function = staticmethod(gathering.arcface_loss)

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float = 28.6,
        scale: float = 64.0,
        *,
        reduction: Reduction = "mean",
        block: int | None = None,
        gather: bool = False,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__(num_classes, embedding_size)
        self._set(
            margin=margin,
            scale=scale,
            reduction=reduction,
            block=block,
            gather=gather,
            process_group=process_group,
        )


class ProxyNCALoss(_OfProxies):
    """:func:`fastcos.proxy_nca_loss` as a module, with its options and its proxies.

    Args:
        num_classes: How many proxies there are.
        embedding_size: How many features they have.
        scale: As the function has it.
        distance: The same.
        reduction: The same.
        block: The same.
        gather: As the function of ``fastcos.adapters.torch`` has it.
        process_group: The same.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import ProxyNCALoss
        >>> criterion = ProxyNCALoss(3, 2)
        >>> criterion(torch.eye(2), torch.tensor([0, 2])).backward()
        >>> criterion.proxies.grad.shape
        torch.Size([3, 2])
    """

    _function = staticmethod(gathering.proxy_nca_loss)

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        scale: float = 1.0,
        *,
        distance: ListwiseDistance = "normalized_sqeuclidean",
        reduction: Reduction = "mean",
        block: int | None = None,
        gather: bool = False,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__(num_classes, embedding_size)
        self._set(
            scale=scale,
            distance=distance,
            reduction=reduction,
            block=block,
            gather=gather,
            process_group=process_group,
        )


class ProxyAnchorLoss(_OfProxies):
    """:func:`fastcos.proxy_anchor_loss` as a module, with its options and its proxies.

    Args:
        num_classes: How many proxies there are.
        embedding_size: How many features they have.
        margin: As the function has it.
        alpha: As the function has it.
        distance: The same.
        reduction: The same.
        block: The same.
        gather: As the function of ``fastcos.adapters.torch`` has it.
        process_group: The same.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import ProxyAnchorLoss
        >>> criterion = ProxyAnchorLoss(3, 2)
        >>> criterion(torch.eye(2), torch.tensor([0, 2])).backward()
        >>> criterion.proxies.grad.shape
        torch.Size([3, 2])
    """

    _function = staticmethod(gathering.proxy_anchor_loss)

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float = 0.1,
        alpha: float = 32.0,
        *,
        distance: ListwiseDistance = "cosine",
        reduction: Reduction = "mean",
        block: int | None = None,
        gather: bool = False,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__(num_classes, embedding_size)
        self._set(
            margin=margin,
            alpha=alpha,
            distance=distance,
            reduction=reduction,
            block=block,
            gather=gather,
            process_group=process_group,
        )
