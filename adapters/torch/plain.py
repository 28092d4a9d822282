"""Which calls are plain: tensors that kernels can read, and nobody who wants to see how.

All else goes to torch's operators. What both ways share is here too.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import _reduction as legacy

from fastcos.api.calls import OPTIONS, signs_of
from fastcos.distances import Distance
from fastcos.engine import per_sample
from fastcos.engine.plan import call_of
from fastcos.engine.rows import Rows, array_of, check_unchanged, gathered
from fastcos.engine.rows import layouts as layouts_of_operands

from .arrays import FLOATS, array_layout, at, is_exact
from .autocast import autocast_dtype
from .autograd import hooks, value_of
from .calls import Known, known
from .problems import Stated
from .watchers import is_ordinary

REDUCTIONS = ("mean", "sum", "none")
_CONVERTED = (torch.bool, torch.uint8)
_HALVES = (torch.float16, torch.bfloat16)
#: What torch's functions are asked: the functions of :mod:`fastcos.adapters.torch.problems`.
State = Callable[..., Stated | None]
_NO_TARGET = object()


def fused(
    state: State,
    rows: tuple[Any, ...],
    options: tuple[Any, ...],
    target: Any = _NO_TARGET,
    weight: Any = None,
    *,
    everywhere: bool = True,
) -> Tensor | None:
    """The value of a call; None where it is not a plain one, and torch decides what happens.

    Autocast widens half types ``everywhere``, or on a GPU only.

    What ``state`` makes of the layouts and options is remembered by these. Looked at each time is
    who else wants to see the call, and that what is given are tensors that kernels can read.
    """
    if not is_ordinary():
        return None
    arrays: tuple[Any, ...] = rows
    looks: list[Any] = [*map(array_layout, rows)]
    if None in looks:
        if Rows not in map(type, rows):
            return None
        arrays = tuple(map(array_of, rows))
        looks = [*map(array_layout, arrays)]
        if None in looks:
            return None
        for each in rows:
            if type(each) is Rows:
                check_unchanged(at("cpu"), "an argument", each)
    if looks[0].device >= 0:
        # What is compiled is compiled for the device of the tensors, and runs there.
        guard = at("cuda").device_guard(arrays)
        if guard is not None:
            with guard:
                return fused(state, rows, options, target, weight, everywhere=everywhere)
    if arrays is not rows:
        looks = [*layouts_of_operands(at("cpu"), rows)]
    if target is _NO_TARGET:
        target = None
    else:
        look: Any = array_layout(target)
        if look is None:
            return None
        if look.dtype in _CONVERTED:
            target = target.to(torch.int8)  # as torch compares them: 255 of uint8 is -1
            look = array_layout(target)
        looks.append(look)
    of_weight: Any = None
    given = arrays
    if weight is not None:
        if not (per_sample.is_number(weight) or isinstance(weight, Tensor)):
            # Autograd watches tensors; anything else could be changed unseen between the passes.
            device = arrays[0].device
            weight = at(device.type).asarray("weight", weight).to(device, copy=True)
        if isinstance(weight, Tensor):
            weight = weight.resolve_neg() if weight.is_neg() else weight
            given, of_weight = (*arrays, weight), array_layout(weight)
            if of_weight is None:
                return None
        elif not per_sample.is_no_weight(weight):
            of_weight = False
    looks.append(of_weight)
    wanted: tuple[bool, ...] = ()
    hooked = False
    if torch.is_grad_enabled():
        wanted = tuple([t.requires_grad for t in given])
        if True in wanted:
            hooked = hooks(False) is not None
        else:
            wanted = ()
    halves = looks[0].dtype in _HALVES
    autocast = autocast_dtype(*rows, everywhere=everywhere) if halves else None
    of_tensors = state, autocast, wanted, hooked, tuple(looks)
    if OPTIONS.issuperset(map(type, options)):
        try:
            signs = signs_of(options) if Distance in map(type, options) else ()
            found = _remembered(*of_tensors, signs, *options)
        except (TypeError, OverflowError):
            # Parameters of a distance that are lists, which may change, or are to be refused.
            found = _remembered.__wrapped__(*of_tensors, (), *options)
    else:
        found = _remembered.__wrapped__(*of_tensors, (), *options)
    if found is None:
        return None
    if wanted:
        given = given if target is None else (*given, target)
        if True in [t.is_inference() for t in given]:
            # These cannot be kept for the backward pass, and torch does not always have to.
            assert found.composite is not None
            return found.composite(*map(gathered, rows), target, weight)
    return value_of(found, rows, target, weight)


# By type too: 1 is True and 1.0 for a key.
@functools.lru_cache(maxsize=1024, typed=True)
def _remembered(
    state: State,
    autocast: torch.dtype | None,
    wanted: tuple[bool, ...],
    hooked: bool,
    looks: tuple[Any, ...],
    signs: tuple[float, ...],  # of the parameters of a distance: 0.0 is -0.0 for a key
    *options: Any,
) -> Known | None:
    device = looks[0].device
    if any([look.device != device for look in looks if look]):
        return None
    stated = state(autocast, looks, *options)
    if stated is None:
        return None
    problem = stated.problem
    operands, target, weight = problem.operands, problem.target, looks[-1]
    if any([look.dtype not in FLOATS or 0 in look.shape for look in operands]):
        return None
    names = *problem.names, problem.weight_name
    asked = tuple([name for name, wants in zip(names, wanted, strict=False) if wants])
    adapter = at("cpu" if device < 0 else "cuda")
    call, parameters = call_of(adapter, problem, asked, operands, target, weight)
    return known(call, parameters, problem.validate, stated.composite, stated.result, hooked)


def are_plain(rows: tuple[Any, ...]) -> bool:
    """Whether nobody watches, and kernels can read these rows."""
    if not is_ordinary():
        return False
    looks: list[Any] = [*map(array_layout, map(array_of, rows))]
    return all([look and look.dtype in FLOATS and 0 not in look.shape for look in looks]) and all(
        [look.device == looks[0].device for look in looks]
    )


def with_axis(x: Any, dim: int) -> Any:
    """An operand, and rows of a table as a tensor where the axis is one of their index."""
    if type(x) is not Rows:
        return x
    from_end = dim if dim < 0 else dim - x.ndim
    return x if len(x.layout.shape) + from_end >= 1 else gathered(x)


def refuse(**tensors: Any) -> None:
    """Raises for tensors that are neither the kernels' nor, for now, torch's.

    Raises:
        TypeError: on another kind of device, sparse, nested or quantised.
    """
    if not is_ordinary():
        return
    for name, t in tensors.items():
        if is_exact(t) and not (t.is_meta or t.is_complex()):
            odd = t.is_quantized or t.is_nested or t.layout is not torch.strided
            if odd or not (t.is_cpu or t.is_cuda):
                kind = "quantised" if t.is_quantized else f"of layout {t.layout}"
                kind = "nested" if t.is_nested else kind if odd else f"on {t.device}"
                raise TypeError(
                    f"{name} is {kind}: fastcos takes strided tensors on the CPU or on a CUDA"
                    " device; torch.nn.functional has this loss for others"
                )


def is_usual(size_average: bool | None, reduce: bool | None, reduction: str) -> bool:
    """Whether nothing about the reduction is deprecated or unknown."""
    return size_average is None and reduce is None and reduction in REDUCTIONS


def reduction_of(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction that is meant, with torch's warning or error."""
    if size_average is not None or reduce is not None:
        return legacy.legacy_get_string(size_average, reduce)
    legacy.get_enum(reduction)
    return reduction
