"""Problems in torch's autograd: one node each, with gradients from the fused kernels.

What is kept for the backward pass. Where the loss is reduced to one number, the forward pass has
the gradients already: value and gradient in one pass over the data move 4 N·D numbers, and a value
followed by a gradient 6 N·D. They are handed out if the upstream gradient is 1, as it is in
``loss.backward()``. If it is another, and with ``reduction="none"``, the backward pass computes
them from the inputs with that upstream gradient, in full precision; float16 inputs, whose losses
are usually scaled, wait for it. The inputs are kept too, by reference, for that and for second
derivatives, which come from torch's own operators.

Where gradients wait, on a CPU, the forward pass keeps what it has measured of each sample, a few
numbers: to measure it again took a third of the kernel that writes them.

What the forward pass has made is not given to hooks for saved tensors, which may round it, and
gradients are handed out as nobody else's. So there is none of it where such hooks are set:
checkpoints, and what keeps activations elsewhere, are there to hold less.

What a call comes to is remembered by the layouts of its tensors, for both passes
(:mod:`fastcos.adapters.torch.calls`). In the backward pass they are looked at again: a tensor may
have been given other memory through its ``data`` since, and what was measured is then of other
rows. Nobody sees that what is in a tensor is changed through its ``data``: as with torch's own
functions that save what they have computed, distances are then still those of before.

A GPU is not waited for: the kernel is launched in the backward pass in any case, into the gradients
of the forward pass, and leaves them as they are where it finds an upstream gradient of 1. What is
computed goes to the current stream, which the engine sees to be that of the forward pass.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastcos.engine import per_sample
from fastcos.engine.execute import execute
from fastcos.engine.layout import ArrayLayout
from fastcos.engine.plan import call_of, plan
from fastcos.engine.problem import Problem, with_arrays
from fastcos.engine.rows import Rows, array_of, gathered, layouts
from fastcos.engine.solve import operands_of

from .calls import Known, known, later

#: The hooks for saved tensors that are set now. Before torch 2.8 nobody can say.
hooks: Any = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", lambda _: None)


def evaluate(problem: Problem, adapter: Any) -> Tensor:
    """The value of a problem, recorded where a gradient may be asked for.

    ``adapter`` is the one for where the tensors are.
    """
    operands, target, weight = operands_of(adapter, problem), problem.target, problem.weight
    tensors = *map(array_of, operands), target, weight
    names = *problem.names, "", problem.weight_name
    wanted: tuple[str, ...] = ()
    if torch.is_grad_enabled():
        given = zip(names, tensors, strict=True)
        wanted = tuple([n for n, t in given if n and isinstance(t, Tensor) and t.requires_grad])
    if wanted and torch._C._are_functorch_transforms_active():
        raise RuntimeError(f"torch.func transforms: {_FIRST_ONLY}")
    device = tensors[0].device
    if problem.loss.labelled:
        target = _converted(adapter, "target", target, device, bool(wanted))
    if not per_sample.is_number(weight):
        weight = _converted(adapter, problem.weight_name, weight, device, bool(wanted))
    guard = adapter.device_guard and adapter.device_guard(tensors)
    with guard or contextlib.nullcontext():
        call, parameters = call_of(
            *(adapter, problem, wanted, layouts(adapter, operands)),
            adapter.layout(target) if problem.loss.labelled else None,
            per_sample.weight_layout(adapter, weight),
        )
        hooked = bool(wanted) and hooks(False) is not None
        found = known(call, parameters, problem.validate, hooked=hooked)
        return value_of(found, operands, target, weight)


def _converted(adapter: Any, name: str, given: Any, device: torch.device, kept: bool) -> Tensor:
    """Labels or weights as a tensor.

    Autograd watches those that are ``kept``. Anything else, a list or a NumPy array, could be
    changed unseen between the passes, and is copied.
    """
    # A subclass would be kept, too, and what is computed from it be of that class.
    found: Tensor = adapter.asarray(name, given)
    return found.to(device, copy=True) if kept and not isinstance(given, Tensor) else found


def value_of(known: Known, operands: tuple[Any, ...], target: Any, weight: Any) -> Tensor:
    """The value of a call that is known, recorded where a gradient is wanted.

    ``target`` and ``weight`` are tensors, too, or None; the weight may be a number. Their device is
    the current one.
    """
    if not known.call.wanted:
        found: Tensor = _executed(known, (*operands, target, weight, None))[0]
        return found
    tensors = tuple(map(array_of, operands)) if known.plan.lookup else operands
    value: Tensor = _apply(known, operands, *tensors, target, weight)
    return value


def _executed(known: Known, arrays: tuple[Any, ...], kept: Any = None) -> Any:
    """The value of a call, and the gradients that come with it."""
    options = known.plan, known.parameters, known.validate, arrays
    return execute(*options, result=known.result, kept=kept)


_FIRST_ONLY = (
    "this function has first derivatives only, and no batched ones; those of torch.nn.functional"
    " in fastcos.adapters.torch have derivatives of every order"
)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, known: Known, operands: Any, *tensors: Any) -> Any:
        *_, target, weight = tensors
        kept = None
        if known.keeps:
            shape = known.plan.samples, known.plan.state_words
            kept = known.call.adapter.scratch(shape, tensors[0]), _addresses(tensors)
        memory = kept and kept[0]
        value, grads = _executed(known, (*operands, target, weight, None), memory)
        # Without its tensors, which are autograd's to keep; a weight that is a number stays.
        number = None
        if weight is not None and not isinstance(weight, Tensor):
            number, tensors = weight, (*tensors[:-1], None)
        ctx.kept = known, number, kept, _without_tables(operands) if known.plan.lookup else ()
        ctx.grads = grads if known.at_once else None
        ctx.save_for_backward(*tensors)
        return value

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        known = ctx.kept[0]
        adapter = known.call.adapter
        look = adapter.array_layout(upstream)
        if torch.is_grad_enabled() or (look is None and not _is_readable(upstream)):
            return None, None, *_through_torch(ctx, upstream)
        # Handed out once: the tensor that the gradient goes to can then take it without a copy.
        grads, ctx.grads = ctx.grads, None
        if grads is None or not adapter.SCALARS_ARE_FREE or upstream.item() != 1:
            grads = _made(ctx, upstream, look, grads)
        grads = *grads, None
        return None, None, *[grads[position] for position in known.positions]


def _made(ctx: Any, upstream: Tensor, look: ArrayLayout | None, grads: Any) -> Any:
    """The gradients for an upstream gradient that looks like this.

    On a GPU they go into those of the forward pass, if there are any.
    """
    (known, number, kept, rows_of_tables), tensors = ctx.kept, ctx.saved_tensors
    adapter = known.call.adapter
    if adapter.device_guard:
        guard = adapter.device_guard(tensors)
        if guard is not None:
            with guard:
                return _made(ctx, upstream, look, grads)
    out = () if grads is None or adapter.SCALARS_ARE_FREE else grads
    if look is not None and tuple(map(adapter.array_layout, tensors)) == known.layouts:
        now, arrays = later(known, look), (*tensors, upstream)
        if number is not None:
            arrays = *tensors[:-1], number, upstream
        if kept is not None:
            # Let go with the first backward pass; another one measures again.
            ctx.kept = known, number, None, rows_of_tables
            memory, addresses = kept
            kept = memory if addresses == _addresses(tensors) else None
    else:
        # Rows of tables, and what was changed in the meantime. Kernels read what is in memory.
        tensors = tuple([t if t is None else t.resolve_neg() for t in tensors])
        *operands, target, weight = _restored(ctx, tensors)
        upstream = upstream.resolve_neg()
        problem = with_arrays(
            known.call.problem,
            layouts(adapter, operands),
            None if target is None else adapter.layout(target),
            per_sample.weight_layout(adapter, weight),
        )
        now = plan(known.call._replace(problem=problem, upstream=adapter.layout(upstream)))
        kept = None
        arrays = *operands, target, weight, upstream
    options = now, known.parameters, known.validate, arrays, out
    return execute(*options, valued=False, skip_if_one=bool(out), kept=kept)[1]


def _addresses(tensors: Sequence[Any]) -> tuple[int, ...]:
    """Where tensors begin; what is none has no address."""
    return tuple([t.data_ptr() if isinstance(t, Tensor) else 0 for t in tensors])


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


def _restored(ctx: Any, tensors: tuple[Any, ...]) -> tuple[Any, ...]:
    """Operands, target and weight, of the tensors that were kept of them."""
    *operands, target, weight = tensors
    _, number, _, rows_of_tables = ctx.kept
    if rows_of_tables:
        operands = [
            t if rows is None else dataclasses.replace(rows, array=t)
            for t, rows in zip(operands, rows_of_tables, strict=True)
        ]
    return *operands, target, weight if number is None else number


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
    known, tensors = ctx.kept[0], ctx.saved_tensors
    names, wanted = known.names, known.call.wanted
    if known.composite is None:
        raise RuntimeError(_FIRST_ONLY)
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views: one tensor given twice is two inputs here.
        inputs = [
            t.view_as(t) if name in wanted else t for name, t in zip(names, tensors, strict=True)
        ]
        value = known.composite(*map(gathered, _restored(ctx, tuple(inputs))))
        asked = [t for name, t in zip(names, inputs, strict=True) if name in wanted]
        grads = iter(torch.autograd.grad(value, asked, upstream, create_graph=create_graph))
    return [next(grads) if name in wanted else None for name in names]
