"""Losses of triplets that are found within a batch as modules, with their options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastcos.typing import ListwiseDistance, Reduction

from . import gathering
from .listwise_modules import OfLabels

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup  # not in every build


class BatchHardTripletLoss(OfLabels):
    """:func:`fastcos.batch_hard_triplet_loss` as a module, with its options.

    Args:
        margin: As the function has it.
        soft: As the function has it.
        distance: The same.
        reduction: The same.
        block: The same.
        gather: As the function of ``fastcos.adapters.torch`` has it.
        process_group: The same.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import BatchHardTripletLoss
        >>> criterion = BatchHardTripletLoss()
        >>> x = torch.eye(4, requires_grad=True)
        >>> criterion(x, torch.tensor([0, 0, 1, 1])).backward()
        >>> x.grad.shape
        torch.Size([4, 4])
    """

    _function = staticmethod(gathering.batch_hard_triplet_loss)

    def __init__(
        self,
        margin: float = 5.0,
        soft: bool = False,
        *,
        distance: ListwiseDistance = "euclidean",
        reduction: Reduction = "mean",
        block: int | None = None,
        gather: bool = False,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        self._set(
            margin=margin,
            soft=soft,
            distance=distance,
            reduction=reduction,
            block=block,
            gather=gather,
            process_group=process_group,
        )


class BatchSemiHardTripletLoss(OfLabels):
    """:func:`fastcos.batch_semi_hard_triplet_loss` as a module, with its options.

    Args:
        margin: As the function has it.
        distance: The same.
        reduction: The same.
        block: The same.
        gather: As the function of ``fastcos.adapters.torch`` has it.
        process_group: The same.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import BatchSemiHardTripletLoss
        >>> criterion = BatchSemiHardTripletLoss()
        >>> x = torch.eye(4, requires_grad=True)
        >>> criterion(x, torch.tensor([0, 0, 1, 1])).backward()
        >>> x.grad.shape
        torch.Size([4, 4])
    """

    _function = staticmethod(gathering.batch_semi_hard_triplet_loss)

    def __init__(
        self,
        margin: float = 5.0,
        *,
        distance: ListwiseDistance = "euclidean",
        reduction: Reduction = "mean",
        block: int | None = None,
        gather: bool = False,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        self._set(
            margin=margin,
            distance=distance,
            reduction=reduction,
            block=block,
            gather=gather,
            process_group=process_group,
        )


class BatchAllTripletLoss(OfLabels):
    """:func:`fastcos.batch_all_triplet_loss` as a module, with its options.

    Args:
        margin: As the function has it.
        distance: The same.
        reduction: The same.
        block: The same.
        gather: As the function of ``fastcos.adapters.torch`` has it.
        process_group: The same.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import BatchAllTripletLoss
        >>> criterion = BatchAllTripletLoss()
        >>> x = torch.eye(4, requires_grad=True)
        >>> criterion(x, torch.tensor([0, 0, 1, 1])).backward()
        >>> x.grad.shape
        torch.Size([4, 4])
    """

    _function = staticmethod(gathering.batch_all_triplet_loss)

    def __init__(
        self,
        margin: float = 5.0,
        *,
        distance: ListwiseDistance = "euclidean",
        reduction: Reduction = "mean",
        block: int | None = None,
        gather: bool = False,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        self._set(
            margin=margin,
            distance=distance,
            reduction=reduction,
            block=block,
            gather=gather,
            process_group=process_group,
        )
