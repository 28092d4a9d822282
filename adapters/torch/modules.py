"""torch's loss modules on the fused kernels.

Subclasses of torch's, so that everything that a module can do is torch's: state dict, pickling,
``size_average`` and ``reduce`` with their warning, scripting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastcos.distances import Distance
from fastcos.engine.problem import resolve_distance
from fastcos.typing import DistanceLike

from . import composites, functional
from .plain import REDUCTIONS
from .similarity import PairwiseDistance

#: What torch takes for a reduction; the last with a warning, and not for every loss.
_KNOWN = ("none", "mean", "sum", "elementwise_mean")


def _check_reduction(module: Any, known: tuple[str, ...] = _KNOWN) -> None:
    """Raises what torch does, which does it at the first call."""
    reduction = module.reduction
    if isinstance(reduction, str) and reduction not in known:
        raise ValueError(f"{reduction} is not a valid value for reduction")


class CosineEmbeddingLoss(nn.CosineEmbeddingLoss):
    r"""``torch.nn.CosineEmbeddingLoss`` on :func:`cosine_embedding_loss`.

    Args:
        margin: Cosine above which dissimilar pairs cost.
        size_average: Deprecated, as in torch.
        reduce: Deprecated, as in torch.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        pos_margin: Cosine below which similar pairs cost. Not in torch.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import CosineEmbeddingLoss
        >>> criterion = CosineEmbeddingLoss(margin=0.5)
        >>> x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]])
        >>> round(criterion(x, y, torch.tensor([-1])).item(), 6)
        0.1
    """

    def __init__(
        self,
        margin: float = 0.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        *,
        pos_margin: float = 1.0,
    ) -> None:
        super().__init__(margin, size_average, reduce, reduction)
        self.pos_margin = pos_margin
        _check_reduction(self)

    def forward(
        self, input1: Tensor, input2: Tensor, target: Tensor, weight: Tensor | None = None
    ) -> Tensor:
        """The loss; ``weight`` as in :func:`cosine_embedding_loss`."""
        if torch.jit.is_scripting():
            if weight is None and self.pos_margin == 1:
                return F.cosine_embedding_loss(
                    input1, input2, target, margin=self.margin, reduction=self.reduction
                )
            # It also says what is wrong with the arguments.
            each = F.cosine_embedding_loss(
                input1, input2, target, margin=self.margin, reduction="none"
            )
            if self.pos_margin != 1:
                pos_margin = float(self.pos_margin)
                each = composites.cosine_embedding(input1, input2, target, self.margin, pos_margin)
            return composites.weighted(each, weight, self.reduction)
        return functional.cosine_embedding_loss(
            input1,
            input2,
            target,
            self.margin,
            reduction=self.reduction,
            pos_margin=self.pos_margin,
            weight=weight,
        )

    if TYPE_CHECKING:  # of a module torch says Any

        def __call__(  # noqa: D102
            self, input1: Tensor, input2: Tensor, target: Tensor, weight: Tensor | None = None
        ) -> Tensor: ...

    def extra_repr(self) -> str:
        """The options, for printing."""
        extra = "" if self.pos_margin == 1 else f", pos_margin={self.pos_margin}"
        return f"margin={self.margin}, reduction={self.reduction!r}{extra}"


class TripletMarginLoss(nn.TripletMarginLoss):
    """``torch.nn.TripletMarginLoss`` on :func:`triplet_margin_loss`.

    Args:
        margin: By how much the negative is to be farther; > 0.
        p: Which norm; inf is the largest component.
        eps: Added to every difference, signed.
        swap: Takes the smaller of d(a,n) and d(p,n) for the negative distance.
        size_average: Deprecated, as in torch.
        reduce: Deprecated, as in torch.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import TripletMarginLoss
        >>> a, p, n = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 5.5]]).split(1)
        >>> round(TripletMarginLoss(eps=0.0)(a, p, n).item(), 6)
        0.5
    """

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(margin, p, eps, swap, size_average, reduce, reduction)
        _check_reduction(self)

    def forward(
        self, anchor: Tensor, positive: Tensor, negative: Tensor, weight: Tensor | None = None
    ) -> Tensor:
        """The loss; ``weight`` as in :func:`triplet_margin_loss`."""
        if torch.jit.is_scripting():
            losses = F.triplet_margin_loss(
                anchor,
                positive,
                negative,
                margin=self.margin,
                p=self.p,
                eps=self.eps,
                swap=self.swap,
                reduction=self.reduction if weight is None else "none",
            )
            return losses if weight is None else composites.weighted(losses, weight, self.reduction)
        return functional.triplet_margin_loss(
            anchor,
            positive,
            negative,
            self.margin,
            self.p,
            self.eps,
            self.swap,
            reduction=self.reduction,
            weight=weight,
        )

    if TYPE_CHECKING:  # of a module torch says Any

        def __call__(  # noqa: D102
            self, anchor: Tensor, positive: Tensor, negative: Tensor, weight: Tensor | None = None
        ) -> Tensor: ...

    def extra_repr(self) -> str:
        """The options, for printing."""
        return (
            f"margin={self.margin}, p={self.p}, eps={self.eps}, swap={self.swap},"
            f" reduction={self.reduction!r}"
        )


class TripletMarginWithDistanceLoss(nn.TripletMarginWithDistanceLoss):
    """``torch.nn.TripletMarginWithDistanceLoss`` on :func:`triplet_margin_with_distance_loss`.

    Args:
        distance_function: As there. A name can be pickled, a :class:`fastcos.Distance` too if it
            is of fastcos, and one of your own as far as its functions can.
        margin: By how much the negative is to be farther; > 0.
        swap: Takes the smaller of d(a,n) and d(p,n) for the negative distance.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import TripletMarginWithDistanceLoss
        >>> criterion = TripletMarginWithDistanceLoss(distance_function="cosine")
        >>> a, p, n = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]]).split(1)
        >>> round(criterion(a, p, n).item(), 6)
        0.8
    """

    def __init__(
        self,
        *,
        distance_function: DistanceLike | Callable[[Tensor, Tensor], Tensor] | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        if distance_function is None:
            distance_function = PairwiseDistance()
        elif isinstance(distance_function, str):
            resolve_distance("distance_function", distance_function)  # or it is found at the call
        super().__init__(
            distance_function=distance_function,  # type: ignore[arg-type]
            margin=margin,
            swap=swap,
            reduction=reduction,
        )
        _check_reduction(self, REDUCTIONS)

    def forward(
        self, anchor: Tensor, positive: Tensor, negative: Tensor, weight: Tensor | None = None
    ) -> Tensor:
        """The loss; ``weight`` as in :func:`triplet_margin_with_distance_loss`."""
        return functional.triplet_margin_with_distance_loss(
            anchor,
            positive,
            negative,
            distance_function=self.distance_function,
            margin=self.margin,
            swap=self.swap,
            reduction=self.reduction,
            weight=weight,
        )

    if TYPE_CHECKING:  # of a module torch says Any

        def __call__(  # noqa: D102
            self, anchor: Tensor, positive: Tensor, negative: Tensor, weight: Tensor | None = None
        ) -> Tensor: ...

    def extra_repr(self) -> str:
        """The options, for printing."""
        options = f"margin={self.margin}, swap={self.swap}, reduction={self.reduction!r}"
        given: Any = self.distance_function
        if isinstance(given, nn.Module):
            return options  # listed with its own options, as a submodule
        name = given.name if isinstance(given, Distance) else getattr(given, "__name__", given)
        return f"distance_function={name}, {options}"


class HingeEmbeddingLoss(nn.HingeEmbeddingLoss):
    """``torch.nn.HingeEmbeddingLoss`` on :func:`hinge_embedding_loss`.

    Args:
        margin: Distance below which dissimilar pairs cost.
        size_average: Deprecated, as in torch.
        reduce: Deprecated, as in torch.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Example:
        >>> import torch
        >>> from fastcos.adapters.torch import HingeEmbeddingLoss
        >>> HingeEmbeddingLoss()(torch.tensor([0.25]), torch.tensor([-1])).item()
        0.75
    """

    def __init__(
        self,
        margin: float = 1.0,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(margin, size_average, reduce, reduction)
        _check_reduction(self)

    def forward(self, input: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss; ``weight`` as in :func:`hinge_embedding_loss`."""
        if torch.jit.is_scripting():
            losses = F.hinge_embedding_loss(
                input,
                target,
                margin=self.margin,
                reduction=self.reduction if weight is None else "none",
            )
            return losses if weight is None else composites.weighted(losses, weight, self.reduction)
        return functional.hinge_embedding_loss(
            input, target, self.margin, reduction=self.reduction, weight=weight
        )

    if TYPE_CHECKING:  # of a module torch says Any

        def __call__(  # noqa: D102
            self, input: Tensor, target: Tensor, weight: Tensor | None = None
        ) -> Tensor: ...

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"margin={self.margin}, reduction={self.reduction!r}"
