"""What calls on tensors come to, remembered: the plans of their forward and backward passes.

Most calls look like an earlier one but for the numbers in their tensors, and at a few rows it took
longer to find out what to do than to do it: 9 of the 15 us of a forward pass of 32 x 128.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor

from fastcos.engine.layout import ArrayLayout
from fastcos.engine.lookup import arrays, looks_up
from fastcos.engine.plan import Call, Plan, plan

#: ``(*operands, target, weight) -> value`` in torch's own operators; None where there is none.
Composite = Callable[..., Tensor] | None


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Known:
    """What a call comes to on tensors of some layouts, of which some require gradients."""

    call: Call  # without the upstream gradient, which is not there yet
    parameters: tuple[float, ...]  # of the kernels
    validate: bool | None  # whether labels are checked
    composite: Composite  # for second derivatives
    result: Any  # the dtype of the value; None for that which is computed in
    at_once: bool  # whether the gradients come with the value, for an upstream gradient of 1
    # Whether the backward pass takes from the forward pass what it has measured of each sample
    keeps: bool
    plan: Plan  # of the forward pass
    names: tuple[str, ...]  # of the tensors: the operands, the target (nameless) and the weight
    layouts: tuple[ArrayLayout | None, ...]  # of these; None for what is no tensor
    # Per tensor the position of its gradient among those that are made, the last being None
    positions: tuple[int, ...]


@functools.lru_cache(maxsize=1024)
def known(
    call: Call,
    parameters: tuple[float, ...],
    validate: bool | None,
    composite: Composite = None,
    result: Any = None,
    hooked: bool = False,
) -> Known:
    """What a call comes to; ``hooked`` says whether hooks for saved tensors are set.

    Raises:
        ValueError, TypeError, Exception: as :func:`fastcos.engine.plan.plan` does.
    """
    problem, wanted = call.problem, call.wanted
    at_once = not hooked and _are_at_once(call)
    names = *problem.names, "", problem.weight_name
    looks = *problem.operands, problem.target, problem.weight
    made = arrays(problem, wanted)
    forward = plan(call if at_once else call._replace(wanted=()))
    return Known(
        call=call,
        parameters=parameters,
        validate=validate,
        composite=composite,
        result=result,
        at_once=at_once,
        keeps=bool(wanted) and not (at_once or hooked) and _is_worth_keeping(call, forward),
        plan=forward,
        names=names,
        layouts=tuple([look if type(look) is ArrayLayout else None for look in looks]),
        positions=tuple([made.index(name) if name in made else -1 for name in names]),
    )


@functools.lru_cache(maxsize=1024)
def later(one: Known, upstream: ArrayLayout) -> Plan:
    """The plan of the backward pass of a call, for an upstream gradient of this layout."""
    return plan(one.call._replace(upstream=upstream))


def _is_worth_keeping(call: Call, forward: Plan) -> bool:
    """Whether what is measured of a sample can be kept, and takes no more than its rows."""
    if not forward.state_words:
        return False
    problem = call.problem
    rows = [look.shape[problem.axis] * look.dtype.itemsize for look in problem.operands]
    return 8 * forward.state_words <= sum(rows)


def _are_at_once(call: Call) -> bool:
    """Whether gradients come with the value, for an upstream gradient of 1."""
    adapter, problem, wanted = call.adapter, call.problem, call.wanted
    first, *others = problem.operands
    half = [each for each in problem.operands if adapter.float_name(each.dtype) == "float16"]
    if not wanted or problem.reduction == "none" or half:
        return False
    # On a GPU where the kernel alone makes them: what follows it could not be left out there.
    return adapter.SCALARS_ARE_FREE or (
        problem.weight_name not in wanted
        and not looks_up(problem.operands)
        and all([each.shape == first.shape and each.dtype is first.dtype for each in others])
    )
