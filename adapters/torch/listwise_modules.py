"""Listwise losses as modules, with their options and what is learned of these."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fastcos.engine.batch import positive
from fastcos.typing import ListwiseDistance, Reduction

from . import gathering

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup  # not in every build


class Options(nn.Module):
    """A loss whose options are attributes."""

    def _set(self, **options: Any) -> None:
        self._named = tuple(options)
        for name, value in options.items():
            setattr(self, name, value)

    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._named}

    def extra_repr(self) -> str:
        """The options, for printing; without those of processes where there are none."""
        options = self._options()
        for name in ("gather", "process_group"):
            if not options.get(name):
                options.pop(name, None)
        logarithm = getattr(self, "log_temperature", None)
        if logarithm is not None:
            learnable = logarithm.requires_grad
            options = {
                "temperature": round(math.exp(logarithm.item()), 6),
                "learnable": learnable,
            } | options
        return ", ".join([f"{name}={value!r}" for name, value in options.items()])


class OfLabels(Options):
    """A loss of rows and their labels, and perhaps of a memory bank."""

    _function: Any

    def forward(
        self,
        x: Tensor,
        labels: Tensor,
        ref: Tensor | None = None,
        ref_labels: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> Tensor:
        """The loss; the arguments are those of the function."""
        bank = {} if ref is None and ref_labels is None else {"ref": ref, "ref_labels": ref_labels}
        found: Tensor = type(self)._function(x, labels, weight=weight, **bank, **self._options())
        return found

    if TYPE_CHECKING:  # of a module torch says Any

        def __call__(  # noqa: D102
            self,
            x: Tensor,
            labels: Tensor,
            ref: Tensor | None = None,
            ref_labels: Tensor | None = None,
            weight: Tensor | None = None,
        ) -> Tensor: ...


class InfoNCELoss(Options):
    """:func:`fastcos.info_nce_loss` as a module; with a temperature that is learned, as CLIP's.

    Args:
        temperature: T, to begin with if it is learned.
        symmetric: Takes the mean of both directions, as CLIP does.
        learnable: Makes ``log_temperature`` a parameter of the module.
        distance: As the function has it.
        reduction: The same.
        block: The same.
        gather: As the function of ``fastcos.adapters.torch`` has it.
        process_group: The same.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import InfoNCELoss
        >>> criterion = InfoNCELoss(symmetric=True, learnable=True)
        >>> criterion(torch.eye(3), torch.eye(3)).backward()
        >>> bool(criterion.log_temperature.grad > 0)
        True
    """

    def __init__(
        self,
        temperature: float = 0.07,
        symmetric: bool = False,
        *,
        learnable: bool = False,
        distance: ListwiseDistance = "cosine",
        reduction: Reduction = "mean",
        block: int | None = None,
        gather: bool = False,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        # A temperature is positive, and so its logarithm is what is learned.
        (begin,) = positive({"temperature": temperature}, arrays=False).values()
        logarithm = torch.tensor(math.log(begin))
        self.log_temperature: nn.Parameter = nn.Parameter(logarithm, requires_grad=learnable)
        self._set(
            symmetric=symmetric,
            distance=distance,
            reduction=reduction,
            block=block,
            gather=gather,
            process_group=process_group,
        )

    def forward(self, x1: Tensor, x2: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss; the arguments are those of the function."""
        temperature = self.log_temperature.exp()
        found: Tensor = gathering.info_nce_loss(
            x1, x2, temperature=temperature, weight=weight, **self._options()
        )
        return found

    if TYPE_CHECKING:  # of a module torch says Any

        def __call__(self, x1: Tensor, x2: Tensor, weight: Tensor | None = None) -> Tensor:  # noqa: D102
            ...


class SigmoidContrastiveLoss(Options):
    """:func:`fastcos.sigmoid_contrastive_loss` as a module, whose two numbers are learned.

    Args:
        temperature: T, to begin with.
        bias: b, to begin with.
        learnable: Makes ``log_temperature`` and ``bias`` parameters of the module.
        distance: As the function has it.
        reduction: The same.
        block: The same.
        gather: As the function of ``fastcos.adapters.torch`` has it.
        process_group: The same.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import SigmoidContrastiveLoss
        >>> criterion = SigmoidContrastiveLoss()
        >>> criterion(torch.eye(3), torch.eye(3)).backward()
        >>> criterion.bias.grad is not None
        True
    """

    def __init__(
        self,
        temperature: float = 0.1,
        bias: float = -10.0,
        *,
        learnable: bool = True,
        distance: ListwiseDistance = "cosine",
        reduction: Reduction = "mean",
        block: int | None = None,
        gather: bool = False,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        (begin,) = positive({"temperature": temperature}, arrays=False).values()
        logarithm = torch.tensor(math.log(begin))
        self.log_temperature: nn.Parameter = nn.Parameter(logarithm, requires_grad=learnable)
        self.bias: nn.Parameter = nn.Parameter(torch.tensor(float(bias)), requires_grad=learnable)
        self._set(
            distance=distance,
            reduction=reduction,
            block=block,
            gather=gather,
            process_group=process_group,
        )

    def forward(self, x1: Tensor, x2: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss; the arguments are those of the function."""
        found: Tensor = gathering.sigmoid_contrastive_loss(
            x1,
            x2,
            temperature=self.log_temperature.exp(),
            bias=self.bias,
            weight=weight,
            **self._options(),
        )
        return found

    if TYPE_CHECKING:  # of a module torch says Any

        def __call__(self, x1: Tensor, x2: Tensor, weight: Tensor | None = None) -> Tensor:  # noqa: D102
            ...


class SupConLoss(OfLabels):
    """:func:`fastcos.supervised_contrastive_loss` as a module, with its options.

    Args:
        temperature: As the function has it.
        distance: The same.
        reduction: The same.
        block: The same.
        gather: As the function of ``fastcos.adapters.torch`` has it.
        process_group: The same.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import SupConLoss
        >>> criterion = SupConLoss()
        >>> x = torch.eye(4, requires_grad=True)
        >>> criterion(x, torch.tensor([0, 0, 1, 1])).backward()
        >>> x.grad.shape
        torch.Size([4, 4])
    """

    _function = staticmethod(gathering.supervised_contrastive_loss)

    def __init__(
        self,
        temperature: float = 0.1,
        *,
        distance: ListwiseDistance = "cosine",
        reduction: Reduction = "mean",
        block: int | None = None,
        gather: bool = False,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        self._set(
            temperature=temperature,
            distance=distance,
            reduction=reduction,
            block=block,
            gather=gather,
            process_group=process_group,
        )


class ContrastiveLoss(OfLabels):
    """:func:`fastcos.contrastive_loss` as a module, with its options.

    Args:
        pos_margin: As the function has it.
        neg_margin: As the function has it.
        distance: The same.
        reduction: The same.
        block: The same.
        gather: As the function of ``fastcos.adapters.torch`` has it.
        process_group: The same.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import ContrastiveLoss
        >>> criterion = ContrastiveLoss()
        >>> x = torch.eye(4, requires_grad=True)
        >>> criterion(x, torch.tensor([0, 0, 1, 1])).backward()
        >>> x.grad.shape
        torch.Size([4, 4])
    """

    _function = staticmethod(gathering.contrastive_loss)

    def __init__(
        self,
        pos_margin: float = 0.0,
        neg_margin: float = 1.0,
        *,
        distance: ListwiseDistance = "normalized_euclidean",
        reduction: Reduction = "mean",
        block: int | None = None,
        gather: bool = False,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        self._set(
            pos_margin=pos_margin,
            neg_margin=neg_margin,
            distance=distance,
            reduction=reduction,
            block=block,
            gather=gather,
            process_group=process_group,
        )


class MultiSimilarityLoss(OfLabels):
    """:func:`fastcos.multi_similarity_loss` as a module, with its options.

    Args:
        alpha: As the function has it.
        beta: As the function has it.
        base: As the function has it.
        distance: The same.
        reduction: The same.
        block: The same.
        gather: As the function of ``fastcos.adapters.torch`` has it.
        process_group: The same.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import MultiSimilarityLoss
        >>> criterion = MultiSimilarityLoss()
        >>> x = torch.eye(4, requires_grad=True)
        >>> criterion(x, torch.tensor([0, 0, 1, 1])).backward()
        >>> x.grad.shape
        torch.Size([4, 4])
    """

    _function = staticmethod(gathering.multi_similarity_loss)

    def __init__(
        self,
        alpha: float = 2.0,
        beta: float = 50.0,
        base: float = 0.5,
        *,
        distance: ListwiseDistance = "cosine",
        reduction: Reduction = "mean",
        block: int | None = None,
        gather: bool = False,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        self._set(
            alpha=alpha,
            beta=beta,
            base=base,
            distance=distance,
            reduction=reduction,
            block=block,
            gather=gather,
            process_group=process_group,
        )


class CircleLoss(OfLabels):
    """:func:`fastcos.circle_loss` as a module, with its options.

    Args:
        margin: As the function has it.
        gamma: As the function has it.
        reduction: The same.
        block: The same.
        gather: As the function of ``fastcos.adapters.torch`` has it.
        process_group: The same.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import CircleLoss
        >>> criterion = CircleLoss()
        >>> x = torch.eye(4, requires_grad=True)
        >>> criterion(x, torch.tensor([0, 0, 1, 1])).backward()
        >>> x.grad.shape
        torch.Size([4, 4])
    """

    _function = staticmethod(gathering.circle_loss)

    def __init__(
        self,
        margin: float = 0.4,
        gamma: float = 80.0,
        *,
        reduction: Reduction = "mean",
        block: int | None = None,
        gather: bool = False,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        self._set(
            margin=margin,
            gamma=gamma,
            reduction=reduction,
            block=block,
            gather=gather,
            process_group=process_group,
        )


class LiftedStructureLoss(OfLabels):
    """:func:`fastcos.lifted_structure_loss` as a module, with its options.

    Args:
        neg_margin: As the function has it.
        pos_margin: As the function has it.
        distance: The same.
        reduction: The same.
        block: The same.
        gather: As the function of ``fastcos.adapters.torch`` has it.
        process_group: The same.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import LiftedStructureLoss
        >>> criterion = LiftedStructureLoss()
        >>> x = torch.eye(4, requires_grad=True)
        >>> criterion(x, torch.tensor([0, 0, 1, 1])).backward()
        >>> x.grad.shape
        torch.Size([4, 4])
    """

    _function = staticmethod(gathering.lifted_structure_loss)

    def __init__(
        self,
        neg_margin: float = 1.0,
        pos_margin: float = 0.0,
        *,
        distance: ListwiseDistance = "normalized_euclidean",
        reduction: Reduction = "mean",
        block: int | None = None,
        gather: bool = False,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        self._set(
            neg_margin=neg_margin,
            pos_margin=pos_margin,
            distance=distance,
            reduction=reduction,
            block=block,
            gather=gather,
            process_group=process_group,
        )


class NCALoss(OfLabels):
    """:func:`fastcos.nca_loss` as a module, with its options.

    Args:
        scale: As the function has it.
        distance: The same.
        reduction: The same.
        block: The same.
        gather: As the function of ``fastcos.adapters.torch`` has it.
        process_group: The same.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import NCALoss
        >>> criterion = NCALoss()
        >>> x = torch.eye(4, requires_grad=True)
        >>> criterion(x, torch.tensor([0, 0, 1, 1])).backward()
        >>> x.grad.shape
        torch.Size([4, 4])
    """

    _function = staticmethod(gathering.nca_loss)

    def __init__(
        self,
        scale: float = 1.0,
        *,
        distance: ListwiseDistance = "normalized_sqeuclidean",
        reduction: Reduction = "mean",
        block: int | None = None,
        gather: bool = False,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        self._set(
            scale=scale,
            distance=distance,
            reduction=reduction,
            block=block,
            gather=gather,
            process_group=process_group,
        )
