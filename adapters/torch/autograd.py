"""Problems in torch's autograd: one node each, with gradients from the fused kernels.

What is kept for the backward pass. Where the loss is reduced to one number, the forward pass has
the gradients already: value and gradient in one pass over the data move 4 N·D numbers, and a value
followed by a gradient 6 N·D. They are handed out if the upstream gradient is 1, as it is in
``loss.backward()``. If it is another, and with ``reduction="none"``, the backward pass computes
them from the inputs with that upstream gradient, in full precision; float16 inputs, whose losses
are usually scaled, wait for it. The inputs are kept too, by reference, for that and for second
derivatives, which come from torch's own operators.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fastcos import _dispatch
from fastcos._dispatch import Problem


class Recorded(NamedTuple):
    """A problem without its tensors, which autograd keeps.

    Args:
        problem: The problem; the values of its operands, target and weight are None.
        composite: ``(*operands, target, weight) -> value`` in torch's own operators, for second
            derivatives; None where there is none.
        result: The dtype of the value; None for that which is computed in.
    """

    problem: Problem
    composite: Callable[..., Tensor] | None
    result: torch.dtype | None


def evaluate(
    problem: Problem,
    composite: Callable[..., Tensor] | None = None,
    result: torch.dtype | None = None,
) -> Tensor:
    """The value of a problem on tensors, recorded where a gradient may be asked for."""
    weight_name, weight = problem.weight
    if torch.is_grad_enabled():
        tensors = [*[value for _, value in problem.operands], weight]
        if any([isinstance(t, Tensor) and t.requires_grad for t in tensors]):
            recorded = Recorded(
                problem._replace(
                    operands=tuple([(name, None) for name, _ in problem.operands]),
                    target=None,
                    weight=(weight_name, None),
                ),
                composite,
                result,
            )
            target = problem.target
            value: Tensor = _Fused.apply(  # type: ignore[no-untyped-call]
                recorded, *tensors[:-1], target, weight
            )
            return value
    return _dispatch.solve(problem, result=result)[0]  # type: ignore[no-any-return]


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, recorded: Recorded, *tensors: Any) -> Tensor:
        problem = _with(recorded.problem, tensors)
        needed = ctx.needs_input_grad[1:]
        ctx.wanted = tuple(
            [name for name, need in zip(_names(problem), needed, strict=True) if need and name]
        )
        halves = any(isinstance(t, Tensor) and t.dtype is torch.float16 for t in tensors)
        at_once = problem.reduction != "none" and not halves
        value, grads = _dispatch.solve(
            problem, ctx.wanted if at_once else (), result=recorded.result
        )
        ctx.recorded = recorded
        ctx.grads = grads if at_once else None
        ctx.others = tuple([None if isinstance(t, Tensor) else t for t in tensors])
        ctx.save_for_backward(*[t if isinstance(t, Tensor) else None for t in tensors])
        return value  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        saved = zip(ctx.saved_tensors, ctx.others, strict=True)
        tensors = tuple([other if tensor is None else tensor for tensor, other in saved])
        if torch.is_grad_enabled() or not _is_readable(upstream):
            return None, *_through_torch(ctx, tensors, upstream)
        # Handed out once: the tensor that the gradient goes to can then take it without a copy.
        grads, ctx.grads = ctx.grads, None
        if grads is None or upstream.item() != 1:
            problem = _with(ctx.recorded.problem, tensors)
            grads = _dispatch.solve(problem, ctx.wanted, grad_output=upstream)[1]
        found = dict(zip(ctx.wanted, grads, strict=True))
        return None, *[found.get(name) for name in _names(ctx.recorded.problem)]


def _names(problem: Problem) -> tuple[str, ...]:
    """Of the tensors in the order of the node; the target, which has no gradient, has none."""
    return (*[name for name, _ in problem.operands], "", problem.weight[0])


def _with(problem: Problem, tensors: tuple[Any, ...]) -> Problem:
    *operands, target, weight = tensors
    names = [name for name, _ in problem.operands]
    return problem._replace(
        operands=tuple(zip(names, operands, strict=True)),
        target=target,
        weight=(problem.weight[0], weight),
    )


def _is_readable(upstream: Tensor) -> bool:
    """Whether the numbers of a tensor are there to be read.

    Those of a batched gradient (``is_grads_batched``, ``vmap``) are not.
    """
    try:
        return upstream.data_ptr() != 0
    except RuntimeError:
        return False


def _through_torch(ctx: Any, tensors: tuple[Any, ...], upstream: Tensor) -> list[Tensor | None]:
    """The gradients as a function of the inputs that torch can differentiate again."""
    composite = ctx.recorded.composite
    if composite is None:
        raise RuntimeError(
            "this function has first derivatives only, and no batched ones. The functions of"
            " fastcos.adapters.torch have derivatives of every order"
        )
    names = _names(ctx.recorded.problem)
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views: one tensor given twice is two inputs here.
        inputs = [
            t.view_as(t) if name in ctx.wanted else t
            for name, t in zip(names, tensors, strict=True)
        ]
        value = composite(*inputs)
        asked = [t for name, t in zip(names, inputs, strict=True) if name in ctx.wanted]
        grads = iter(torch.autograd.grad(value, asked, upstream, create_graph=create_graph))
    return [next(grads) if name in ctx.wanted else None for name in names]
