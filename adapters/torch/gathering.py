"""The listwise losses of a batch that the processes of a group hold together.

Each of them is the function of ``fastcos`` with two options more: ``gather`` and ``process_group``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from torch import Tensor

from fastcos import api
from fastcos.api.calls import not_compiled, stated
from fastcos.engine.batch import Batch, evaluate
from fastcos.engine.checks import check_flag
from fastcos.engine.sharing import attended

from .peers import group_of

if TYPE_CHECKING:
    from fastcos.api import _Loss  # of the stub

Function = TypeVar("Function")

_ARGUMENTS = """
    gather: Takes the rows of all processes of the group for one batch, of which each passes its
        own: as many as it has, or none. The value is that of the whole batch, on all of them; with
        ``reduction="none"`` it is that of the own anchors. Gradients of the own rows are those of
        the whole batch. Of what all processes have alike (proxies, a temperature that is learned)
        each gets an equal portion of the gradient of the whole batch: they add up to it.
        DistributedDataParallel divides by the number of processes; multiply the loss by it. A
        memory bank is gathered too: each passes its own part of it.
    process_group: Which processes, instead of the default group; with one rows are gathered."""
_RAISES = """
    RuntimeError: no process group to gather from, or an error on another rank, which is named.
    ValueError: ranks that do not make the same call."""


def gathering(loss: _Loss[Any, Any, Any, Any, Function]) -> Function:
    """The function of ``fastcos`` with the two options."""

    @not_compiled
    @functools.wraps(loss)
    def function(*args: Any, gather: Any = False, process_group: Any = None, **options: Any) -> Any:
        peers = group_of(check_flag("gather", gather), process_group)
        with attended(peers):
            batch: Any = stated(loss, args, options, "gather", "process_group")
            if peers is not None:
                _check_tensors(batch)
                batch = batch._replace(peers=peers)
            return evaluate(batch)

    described: Any = function
    described.__module__ = __name__.rpartition(".")[0]
    described.__signature__ = _signature(loss)
    described.__doc__ = _documented(inspect.getdoc(loss) or "")
    described.of_arrays = loss  # what value_and_grad takes in its place
    FUNCTIONS.append(described)
    return described


#: All of them.
FUNCTIONS: list[Any] = []


def _signature(loss: Callable[..., Any]) -> inspect.Signature:
    signature = inspect.signature(loss)
    keyword = inspect.Parameter.KEYWORD_ONLY
    more = [
        inspect.Parameter("gather", keyword, default=False, annotation="bool"),
        inspect.Parameter("process_group", keyword, default=None, annotation="ProcessGroup | None"),
    ]
    return signature.replace(parameters=[*signature.parameters.values(), *more])


def _documented(doc: str) -> str:
    for title, more in (("\n\nReturns:", _ARGUMENTS), ("\n\nSingular points:", _RAISES)):
        doc = doc.replace(title, more + title, 1)
    return doc


def _check_tensors(batch: Batch) -> None:
    for side in (batch.anchors, batch.candidates):
        if side and not isinstance(side.rows, Tensor):
            found = type(side.rows).__name__
            raise TypeError(f"{side.name} must be a tensor to be gathered, got a {found}")


arcface_loss: Final = gathering(api.arcface_loss)
batch_all_triplet_loss: Final = gathering(api.batch_all_triplet_loss)
batch_hard_triplet_loss: Final = gathering(api.batch_hard_triplet_loss)
batch_semi_hard_triplet_loss: Final = gathering(api.batch_semi_hard_triplet_loss)
circle_loss: Final = gathering(api.circle_loss)
contrastive_loss: Final = gathering(api.contrastive_loss)
cosface_loss: Final = gathering(api.cosface_loss)
info_nce_loss: Final = gathering(api.info_nce_loss)
lifted_structure_loss: Final = gathering(api.lifted_structure_loss)
listwise_loss: Final = gathering(api.listwise_loss)
multi_similarity_loss: Final = gathering(api.multi_similarity_loss)
nca_loss: Final = gathering(api.nca_loss)
normalized_softmax_loss: Final = gathering(api.normalized_softmax_loss)
proxy_anchor_loss: Final = gathering(api.proxy_anchor_loss)
proxy_nca_loss: Final = gathering(api.proxy_nca_loss)
sigmoid_contrastive_loss: Final = gathering(api.sigmoid_contrastive_loss)
supervised_contrastive_loss: Final = gathering(api.supervised_contrastive_loss)
