"""Problems in torch's autograd: one node each, with gradients from the fused kernels.

What is kept for the backward pass. Where the loss is reduced to one number, the forward pass has
the gradients already: value and gradient in one pass over the data move 4 N·D numbers, and a value
followed by a gradient 6 N·D. They are handed out if the upstream gradient is 1, as it is in
``loss.backward()``. If it is another, and with ``reduction="none"``, the backward pass computes
them from the inputs with that upstream gradient, in full precision; float16 inputs, whose losses
are usually scaled, wait for it. The inputs are kept too, by reference, for that and for second
derivatives, which come from torch's own operators.

Gradients that the forward pass has are not given to hooks for saved tensors, which may round them,
and are handed out as nobody else's. So there are none where such hooks are set: checkpoints, and
what keeps activations elsewhere, are there to hold less.

A GPU is not waited for: the kernel is launched in the backward pass in any case, into the gradients
of the forward pass, and leaves them as they are where it finds an upstream gradient of 1. What is
computed goes to the current stream, which the engine sees to be that of the forward pass.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from fastcos.engine import per_sample
from fastcos.engine.execute import execute
from fastcos.engine.layout import ArrayLayout
from fastcos.engine.lookup import arrays
from fastcos.engine.plan import call_of, plan
from fastcos.engine.problem import Problem, with_arrays
from fastcos.engine.rows import Rows, array_of, gathered
from fastcos.engine.rows import layouts as layouts_of
from fastcos.engine.solve import of_arrays, operands_of, solve

#: The hooks for saved tensors that are set now. Before torch 2.8 nobody can say.
hooks: Any = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", lambda _: None)

Composite = Callable[..., Tensor] | None
Layouts = tuple[ArrayLayout | None, ...] | None


def evaluate(
    problem: Problem,
    adapter: Any,
    layouts: Layouts = None,
    composite: Composite = None,
    result: torch.dtype | None = None,
) -> Tensor:
    """The value of a problem on tensors, recorded where a gradient may be asked for.

    Args:
        problem: The problem.
        adapter: For where the tensors are.
        layouts: Of operands, target and weight, if these are known to be tensors that the kernels
            can read, all on one device; None among them for what is no tensor, or has to be
            converted.
        composite: ``(*operands, target, weight) -> value`` in torch's own operators, for second
            derivatives; None where there is none.
        result: The dtype of the value; None for that which is computed in.
    """
    operands, target, weight = problem.operands, problem.target, problem.weight
    if layouts is None:
        operands = operands_of(adapter, problem)
        # A subclass would be kept, and what is computed from it be of that class.
        if isinstance(target, Tensor):
            target = adapter.asarray("target", target)
        if isinstance(weight, Tensor):
            weight = adapter.asarray(problem.weight_name, weight)
        problem = with_arrays(problem, operands, target, weight)
    if torch.is_grad_enabled():
        tensors = (*map(array_of, operands), target, weight)
        names = (*problem.names, "", problem.weight_name)
        given = [(name, t) for name, t in zip(names, tensors, strict=True) if isinstance(t, Tensor)]
        wanted = tuple([name for name, t in given if name and t.requires_grad])
        if wanted:
            if torch._C._are_functorch_transforms_active():
                raise RuntimeError(f"torch.func transforms: {_FIRST_ONLY}")
            if composite and any([t.is_inference() for _, t in given]):
                # These cannot be kept for the backward pass, and torch does not always have to.
                return composite(*map(gathered, operands), target, weight)
            # Autograd watches tensors; anything else could be changed unseen between the passes.
            if problem.loss.labelled and not isinstance(target, Tensor):
                target = _copied(adapter, "target", target, tensors[0].device)
            if weight is not None and not isinstance(weight, (Tensor, float, int)):
                weight = _copied(adapter, problem.weight_name, weight, tensors[0].device)
            if target is not problem.target or weight is not problem.weight:
                problem = with_arrays(problem, operands, target, weight)
            call = adapter, problem, layouts, composite, result, names, wanted
            return _apply(call, *tensors[:-2], target, weight)
    return _solved(adapter, problem, layouts, (), result)[0]


def _copied(adapter: Any, name: str, given: Any, device: torch.device) -> Tensor:
    """Labels or weights as they are now: of a list or a NumPy array a copy."""
    found: Tensor = adapter.asarray(name, given).to(device, copy=True)
    return found


def _solved(
    adapter: Any, problem: Problem, layouts: Layouts, wanted: tuple[str, ...], result: Any
) -> Any:
    """Value and gradients; with the layouts at hand, without another look at the tensors."""
    operands, target, weight = problem.operands, problem.target, problem.weight
    if adapter.device_guard and adapter.device_guard([*map(array_of, operands)]) is not None:
        return solve(problem, wanted, adapter=adapter, result=result)
    if layouts is None:
        layouts = *layouts_of(adapter, operands), None, None
    of_operands: Any
    *of_operands, of_target, of_weight = layouts
    if of_target is None and problem.loss.labelled:
        target = adapter.asarray("target", target)
        of_target = adapter.layout(target)
    if of_weight is None and weight is not None:
        if not per_sample.is_number(weight):
            weight = adapter.asarray(problem.weight_name, weight)
        of_weight = per_sample.weight_layout(adapter, weight)
    call, parameters = call_of(adapter, problem, wanted, tuple(of_operands), of_target, of_weight)
    arrays = *operands, target, weight, None
    return execute(plan(call), parameters, problem.validate, arrays, result=result)


_FIRST_ONLY = (
    "this function has first derivatives only, and no batched ones; those of fastcos.adapters.torch"
    " have derivatives of every order"
)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: Any, *tensors: Any) -> Any:
        adapter, problem, layouts, composite, result, names, wanted = call
        at_once = _are_at_once(adapter, problem, wanted)
        value, grads = _solved(adapter, problem, layouts, wanted if at_once else (), result)
        ctx.grads = grads if at_once else None
        # Without its tensors, which are autograd's to keep; a weight that is a number stays.
        weight = None if isinstance(tensors[-1], Tensor) else tensors[-1]
        looks_up = Rows in map(type, problem.operands)
        rows = _without_tables(problem.operands) if looks_up else ()
        ctx.kept = adapter, with_arrays(problem, rows, None, weight), composite, wanted, names
        ctx.save_for_backward(*[t if isinstance(t, Tensor) else None for t in tensors])
        return value

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        adapter, bare, _, wanted, names = ctx.kept
        if torch.is_grad_enabled() or not _is_readable(upstream):
            return None, *_through_torch(ctx, upstream)
        # Handed out once: the tensor that the gradient goes to can then take it without a copy.
        grads, ctx.grads = ctx.grads, None
        if grads is None or not adapter.SCALARS_ARE_FREE or upstream.item() != 1:
            # Kernels read what is in memory.
            tensors = [t if t is None else t.resolve_neg() for t in ctx.saved_tensors]
            problem, upstream = _restored(bare, tuple(tensors)), upstream.resolve_neg()
            out = () if grads is None or adapter.SCALARS_ARE_FREE else grads
            options = {"valued": False, "skip_if_one": bool(out)}
            tensors = [*map(array_of, problem.operands)]
            guard = adapter.device_guard and adapter.device_guard(tensors)
            with guard or contextlib.nullcontext():
                _, grads = of_arrays(adapter, problem, wanted, upstream, out, **options)
        names_of_grads = arrays(bare, wanted) if bare.operands else wanted
        found = dict(zip(names_of_grads, grads, strict=True))
        return None, *[found.get(name) for name in names]


def _without_tables(operands: Sequence[Any]) -> tuple[Rows | None, ...]:
    """Rows with their numbers alone, and for each table something to know it by."""
    tables: dict[int, object] = {}
    return tuple(
        [
            dataclasses.replace(each, array=None, table=tables.setdefault(id(each.table), object()))
            if type(each) is Rows
            else None
            for each in operands
        ]
    )


# The apply of the base class in C; what Function.apply does before it concerns transforms only.
_apply: Any = super(torch.autograd.Function, _Fused).apply


def _are_at_once(adapter: Any, problem: Problem, wanted: tuple[str, ...]) -> bool:
    """Whether gradients come with the value, for an upstream gradient of 1."""
    first, *others = problem.operands
    if problem.reduction == "none" or any([t.dtype is torch.float16 for t in problem.operands]):
        return False
    if hooks(False) is not None:
        return False
    # On a GPU where the kernel alone makes them: what follows it could not be left out there.
    return adapter.SCALARS_ARE_FREE or (
        problem.weight_name not in wanted
        and Rows not in map(type, problem.operands)
        and all([t.shape == first.shape and t.dtype is first.dtype for t in others])
    )


def _restored(bare: Problem, tensors: tuple[Any, ...]) -> Problem:
    """The problem with its tensors."""
    *given, target, weight = tensors
    operands = (
        given
        if not bare.operands
        else [
            t if rows is None else dataclasses.replace(rows, array=t)
            for t, rows in zip(given, bare.operands, strict=True)
        ]
    )
    return with_arrays(bare, tuple(operands), target, bare.weight if weight is None else weight)


def _is_readable(upstream: Tensor) -> bool:
    """Whether the numbers of a tensor are there to be read.

    Those of a batched gradient (``is_grads_batched``, ``vmap``) are not.
    """
    try:
        return upstream.data_ptr() != 0 or not upstream.numel()
    except RuntimeError:
        return False


def _through_torch(ctx: Any, upstream: Tensor) -> list[Tensor | None]:
    """The gradients as a function of the inputs that torch can differentiate again."""
    _, bare, composite, wanted, names = ctx.kept
    if composite is None:
        raise RuntimeError(_FIRST_ONLY)
    weight = bare.weight if ctx.saved_tensors[-1] is None else ctx.saved_tensors[-1]
    tensors = (*ctx.saved_tensors[:-1], weight)
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views: one tensor given twice is two inputs here.
        inputs = [
            t.view_as(t) if name in wanted else t for name, t in zip(names, tensors, strict=True)
        ]
        looked_up = _restored(bare, tuple(inputs)).operands
        value = composite(*map(gathered, looked_up), *inputs[-2:])
        asked = [t for name, t in zip(names, inputs, strict=True) if name in wanted]
        grads = iter(torch.autograd.grad(value, asked, upstream, create_graph=create_graph))
    return [next(grads) if name in wanted else None for name in names]
