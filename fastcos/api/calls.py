"""A call of a public function: the problem that it states, planned once and remembered.

Most calls look like an earlier one but for the numbers in their arrays. The plan of a call is
therefore remembered by the function, the layout of the arrays and the options: for a few rows a
call takes longer than its kernel, and half of that would be to find out what to do. Arguments that
are no arrays of their library yet, such as lists, go through ``solve`` each time.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from fastcos import _hints
from fastcos.distances import Distance
from fastcos.engine import batch
from fastcos.engine.execute import execute
from fastcos.engine.layout import ArrayLayout, may_overlap_itself
from fastcos.engine.libraries import adapter_of
from fastcos.engine.per_sample import is_number, weight_layout
from fastcos.engine.plan import Plan, call_of, plan
from fastcos.engine.problem import Problem
from fastcos.engine.solve import evaluate
from fastcos.typing import Result

P = ParamSpec("P")
Function = TypeVar("Function", bound=Callable[..., Any])

#: The public functions that state a problem.
PUBLIC: set[Any] = set()


def not_compiled(function: Function) -> Function:
    """What torch.compiler.disable does, by the attributes that it sets: torch is not imported."""
    vars(function)["_torchdynamo_disable"] = True
    vars(function)["_torchdynamo_disable_msg"] = (
        "it runs a kernel and none of torch's operators; the functions of fastcos.adapters.torch"
        " can be compiled"
    )
    return function


def public(problem: Callable[P, Result]) -> Callable[P, Result]:
    """A function that states a problem, as one that returns its value.

    It is annotated with what the public one returns, which has its signature.
    """

    @not_compiled
    @functools.wraps(problem)
    def function(*args: P.args, **kwargs: P.kwargs) -> Result:
        known = planned(problem, (), args, kwargs)
        if known is not None:
            return execute(*known)[0]
        return evaluate(stated(function, args, kwargs))

    PUBLIC.add(function)
    return function


#: Those of them that are listwise, with the names of what they have gradients of: those that are
#: meant where nothing is said, and the others.
BATCHED: dict[Any, tuple[tuple[str, ...], tuple[str, ...]]] = {}


def batched(
    *names: str, more: tuple[str, ...] = ()
) -> Callable[[Callable[P, Result]], Callable[P, Result]]:
    """As :func:`public`, of a function that states a :class:`~fastcos.engine.batch.Batch`.

    ``names`` are what it has gradients of, ``more`` what it has if they are asked for.
    """

    def decorate(state: Callable[P, Result]) -> Callable[P, Result]:
        @not_compiled
        @functools.wraps(state)
        def function(*args: P.args, **kwargs: P.kwargs) -> Result:
            stated_batch: Any = stated(function, args, kwargs)
            return batch.evaluate(stated_batch)

        PUBLIC.add(function)
        BATCHED[function] = names, more
        return function

    return decorate


def stated(
    loss: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any], *more: str
) -> Problem:
    """The problem of a call of a public function.

    Raises:
        TypeError: an option that neither it nor ``more`` has, with those that there are.
    """
    problem: Callable[..., Problem] = loss.__wrapped__  # type: ignore[attr-defined]
    try:
        return problem(*args, **options)
    except TypeError:
        known = (*arguments_of(problem), *more)
        unknown = [name for name in options if name not in known]
        if not unknown:
            raise
    (name, *_), instead = unknown, _hints.OPTIONS_ELSEWHERE
    if instead.get(name) in known:
        hint = f": did you mean {instead[name]!r}?"
    elif name in ("argnums", "grad_output", "out", "accumulate"):
        hint = ": that is for fastcos.value_and_grad and what it returns."
    else:
        hint = _hints.hint(name, known) or "."
    raise TypeError(
        f"{loss.__name__}() got an unexpected keyword argument {name!r}{hint}"
        f" {loss.__name__} takes {', '.join(known)}"
    )


def arguments_of(problem: Callable[..., Problem]) -> tuple[str, ...]:
    """The names of the arguments of a function."""
    code = problem.__code__
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


#: Option types: equal values give the same plan. Arguments of any other type may be arrays.
OPTIONS = {str, int, float, bool, type(None), Distance}
_NO_SIGNS: tuple[float, ...] = ()
Planned = tuple[Plan, tuple[float, ...], bool | None, tuple[Any, ...]]


def planned(
    loss: Callable[..., Problem],
    wanted: tuple[str, ...],
    args: tuple[Any, ...],
    options: dict[str, Any],
    grad_output: Any = None,
    out: Sequence[Any] = (),
) -> Planned | None:
    """What a call is executed with: its plan, parameters, whether labels are checked, and arrays.

    None where an argument has to be converted first, or where there may be an error to be raised.
    ``wanted`` names what gradients are wanted of, ``out`` are the caller's buffers for these.
    """
    named = tuple(options.values())
    given = args + named
    adapter = adapter_of(type(given[0])) if given else None  # type: ignore[arg-type]
    if adapter is not None and adapter.records:
        adapter = None if adapter.lazy else adapter.unrecorded(given)
    if adapter is None:
        return None
    layout_of, upstream, signs = adapter.array_layout, None, _NO_SIGNS
    if grad_output is not None:
        upstream = layout_of(grad_output)
        # One that is a number makes the same call whatever it is.
        if upstream is None and not is_number(grad_output):
            return None
    looks, arrays, plain = [*map(layout_of, args)], args, named
    try:
        # Mostly arrays come by position and nothing else does.
        if all(looks) and (not named or OPTIONS.issuperset(map(type, named))):
            looks += named
        else:
            looks = [*map(layout_of, given)]
            plain = tuple([x for x, look in zip(given, looks, strict=True) if look is None])
            if not OPTIONS.issuperset(map(type, plain)):
                return None
            arrays = tuple([value for value, look in zip(given, looks, strict=True) if look])
            looks = [x if look is None else look for x, look in zip(given, looks, strict=True)]
        if plain and Distance in map(type, plain):
            signs = signs_of(plain)
        if out:
            others = arrays if upstream is None else (*arrays, grad_output)
            into = [*map(layout_of, out)]
            if None in into or not adapter.no_overlap(out, others):
                return None
            looks += into
        # Not sooner: what has no layout may say that it is on a GPU where there is none.
        if adapter.device_guard is not None and adapter.device_guard(given) is not None:
            return None
        key = loss, wanted, adapter, len(args), tuple(options), signs
        found = _planned(*key, *looks, upstream)
    except (TypeError, OverflowError):
        return None  # lists, as parameters of a distance: they may change
    if found is None:
        return None
    known, parameters, validate, pick = found
    return known, parameters, validate, pick((*given, *out, grad_output))


def signs_of(options: Sequence[Any]) -> tuple[float, ...]:
    """The signs of the parameters of distances: 0.0 is -0.0 for a key, but not for every distance.

    Raises:
        TypeError, OverflowError: a parameter is no number, or none that a float holds.
    """
    records = [value for value in options if type(value) is Distance]
    return tuple([math.copysign(1, p) for record in records for p in record.parameters])


# By type too: 1 is True and 1.0 for a key.
@functools.lru_cache(maxsize=1024, typed=True)
def _planned(
    loss: Callable[..., Problem],
    wanted: tuple[str, ...],
    adapter: Any,
    positions: int,
    names: tuple[str, ...],
    signs: tuple[float, ...],
    *looks: Any,
) -> tuple[Plan, tuple[float, ...], bool | None, Callable[[Any], tuple[Any, ...]]] | None:
    """What a call that looks like this is executed with, and what picks its arrays.

    It looks like this: arguments by position and by name, buffers, and the upstream gradient; with
    a layout in place of each array.
    """
    count = positions + len(names)
    out, upstream = looks[count:-1], looks[-1]
    try:
        problem = loss(*looks[:positions], **dict(zip(names, looks[positions:count], strict=True)))
        check_weight(problem, wanted)
        target = problem.target if problem.loss.labelled else None
        weight = problem.weight
        arrays = [x for x in (*problem.operands, target, weight) if type(x) is ArrayLayout]
        # No array among the options, which would be taken for its layout, and no number among what
        # has to be an array.
        given = [look for look in looks[:count] if type(look) is ArrayLayout]
        numbers = not (weight is None or type(weight) is ArrayLayout)
        expected = len(problem.operands) + problem.loss.labelled + (weight is not None) - numbers
        if len(arrays) < expected or {*map(id, arrays)} != {*map(id, given)}:
            return None
        arrays += [upstream] if upstream else []
        if not all(map(adapter.is_read, arrays)) or any(map(may_overlap_itself, out)):
            return None
        if numbers and (problem.weight_name in wanted or not is_number(weight)):
            return None
        weights = weight if type(weight) is ArrayLayout else weight_layout(adapter, weight)
        call, parameters = call_of(
            adapter, problem, wanted, problem.operands, target, weights, upstream, out
        )
        found = plan(call)
    except (TypeError, ValueError):
        return None  # to be raised where the arrays are at hand, and not their layouts
    # By identity, for two arrays may look the same. In place of what there is none of (-1) stands
    # the last argument, which nobody looks at.
    where = {id(look): place for place, look in enumerate(looks)}
    taken = *problem.operands, target, weight, upstream
    pick = operator.itemgetter(*[where.get(id(each), -1) for each in taken])
    return found, parameters, problem.validate, pick


def check_weight(problem: Problem, wanted: tuple[str, ...]) -> None:
    """Raises where the gradient of a weight is wanted and there is no weight."""
    name = problem.weight_name
    if problem.weight is None and name in wanted:
        raise TypeError(f"the gradient of {name} needs {name} to be given")
