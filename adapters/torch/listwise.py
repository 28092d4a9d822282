"""Listwise losses in torch's autograd: one node each, with the gradients made in the forward pass.

The forward pass has all similarities at hand, block by block, and keeps none: gradients that are
made there take three products in all, those of a backward pass of its own one more. The backward
pass multiplies them by the upstream gradient; those of half types are float32 until then. With
``reduction="none"``, and where hooks for saved tensors are set (checkpoints), the backward pass
makes them, from the inputs. Processes that hold a batch together talk to each other in the pass
that makes gradients, and so in the backward pass only then.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fastcos.engine.batch import Batch, solve
from fastcos.engine.sharing import attended

from . import autograd
from .autocast import autocast_dtype

_FIRST_ONLY = (
    "listwise losses have first derivatives only, and no batched ones: what would be differentiated"
    " again are the similarities of all rows to all rows, which are not kept"
)


def evaluate(problem: Any, adapter: Any) -> Tensor:
    """The value of a problem, or of a listwise loss, recorded where a gradient may be asked for."""
    if type(problem) is Batch:
        return _evaluate(problem, adapter)
    return autograd.evaluate(problem, adapter)


def _evaluate(batch: Batch, adapter: Any) -> Tensor:
    sides = [side for side in (batch.anchors, batch.candidates) if side]
    given = {side.name: side.rows for side in sides} | batch.parameters
    tensors = {name: value for name, value in given.items() if isinstance(value, Tensor)}
    rows = [side.rows for side in sides if isinstance(side.rows, Tensor)]
    result = autocast_dtype(*rows) if rows else None
    if torch.is_grad_enabled():
        wanted = tuple([name for name, t in tensors.items() if t.requires_grad])
        if isinstance(batch.weight, Tensor) and batch.weight.requires_grad:
            raise RuntimeError("weight has no gradient here: pass weight.detach()")
        if wanted:
            labels = [side.labels for side in sides]
            value: Tensor = _apply(
                (adapter, batch, wanted, tuple(tensors), result),
                *tensors.values(),
                *labels,
                batch.weight,
            )
            return value
    found: Tensor = solve(batch, adapter=adapter, result=result)[0]
    return found


class _Made(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: Any, *arrays: Any) -> Any:
        adapter, batch, wanted, names, result = call
        at_once = batch.reduction != "none" and autograd.hooks(False) is None
        now, later = (wanted, ()) if at_once else ((), wanted)
        value, grads = solve(batch, now, adapter=adapter, result=result, wide=True, later=later)
        ctx.at_once = at_once
        ctx.dtypes = [array.dtype for array in arrays[: len(names)]]
        ctx.call = adapter, _emptied(batch), wanted, names
        if at_once:
            ctx.save_for_backward(*grads)
        else:
            # What is no tensor could be changed unseen: labels and weights as they are now.
            kept = [
                array
                if array is None or isinstance(array, (Tensor, float, int))
                else adapter.asarray("an argument", array).clone()
                for array in arrays
            ]
            ctx.plain = [None if isinstance(array, Tensor) else array for array in kept]
            ctx.save_for_backward(*[array if isinstance(array, Tensor) else None for array in kept])
        return value

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        adapter, bare, wanted, names = ctx.call
        peers = bare.peers.again() if bare.peers and not ctx.at_once else None
        with attended(peers):
            if torch.is_grad_enabled():
                raise RuntimeError(_FIRST_ONLY)
            # Once: a checkpoint makes them when they are asked for.
            grads = saved = ctx.saved_tensors
            scale: Tensor | None = upstream
            if not ctx.at_once:
                both = zip(saved, ctx.plain, strict=True)
                arrays = [plain if tensor is None else tensor for tensor, plain in both]
                batch = _filled(bare, names, arrays)._replace(peers=peers)
                _, grads = solve(batch, wanted, upstream, adapter=adapter, wide=True)
                scale = None
        found = dict(zip(wanted, grads, strict=True))
        more = len(ctx.needs_input_grad) - 1 - len(names)
        of_names = [
            _scaled(found[name], scale, dtype) if name in found else None
            for name, dtype in zip(names, ctx.dtypes, strict=True)
        ]
        return None, *of_names, *[None] * more


_apply: Any = _Made.apply


def _scaled(grad: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    if scale is not None and (scale.is_cuda or scale.item() != 1):
        grad = grad * scale.to(grad.dtype)
    return grad.to(dtype)


def _emptied(batch: Batch) -> Batch:
    """The batch without its arrays, which are autograd's to keep."""
    one, two = batch.anchors, batch.candidates
    return batch._replace(
        anchors=one._replace(rows=None, labels=None),
        candidates=two and two._replace(rows=None, labels=None),
        parameters={
            name: None if isinstance(value, Tensor) else value
            for name, value in batch.parameters.items()
        },
        weight=None,
    )


def _filled(bare: Batch, names: tuple[str, ...], arrays: list[Any]) -> Batch:
    """The batch with its arrays: those with names, labels, and the weight."""
    given = dict(zip(names, arrays, strict=False))
    *labels, weight = arrays[len(names) :]
    one, two = bare.anchors, bare.candidates
    parameters = {name: given.get(name, value) for name, value in bare.parameters.items()}
    return bare._replace(
        anchors=one._replace(rows=given[one.name], labels=labels[0]),
        candidates=two and two._replace(rows=given[two.name], labels=labels[1]),
        parameters=parameters,
        weight=weight,
    )
