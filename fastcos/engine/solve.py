"""Problems solved: arguments of any kind made arrays, then planned and executed."""

from collections.abc import Sequence
from typing import Any

from fastcos.distances import Distance
from fastcos.engine import per_sample
from fastcos.engine.execute import execute
from fastcos.engine.libraries import adapter_for, library_of
from fastcos.engine.lookup import arrays
from fastcos.engine.plan import call_of, plan
from fastcos.engine.problem import Problem, with_arrays
from fastcos.engine.rows import Rows, array_of, check_unchanged, gathered, layouts
from fastcos.losses import PAIRS


def evaluate(problem: Problem) -> Any:
    """The value of a problem; whether that is recorded for later is the framework's affair."""
    if problem.distance is not None and not isinstance(problem.distance, Distance):
        problem = _measured(problem)
    adapter = adapter_for(problem)
    if adapter.records:
        return adapter.evaluate(problem, adapter)
    return solve(problem, adapter=adapter)[0]


def solve(
    problem: Problem,
    wanted: tuple[str, ...] = (),
    grad_output: Any = None,
    out: Sequence[Any] = (),
    *,
    adapter: Any = None,
    result: Any = None,
    accumulate: bool = False,
) -> tuple[Any, tuple[Any, ...]]:
    """The value of a problem, and its gradients with respect to the arguments named in ``wanted``.

    The value is of dtype ``result``, or of that which is computed in; gradients are added to what
    is in ``out`` if that is to ``accumulate``. Everything that can be wrong is found before a byte
    of the caller's is written.
    """
    adapter = adapter or adapter_for(problem, grad_output)
    guard = adapter.device_guard and adapter.device_guard([*map(array_of, problem.operands)])
    if guard is not None:
        with guard:
            options = {"adapter": adapter, "result": result, "accumulate": accumulate}
            return solve(problem, wanted, grad_output, out, **options)
    if problem.distance is not None and not isinstance(problem.distance, Distance):
        if wanted:
            raise _unknown_gradient(problem.distance)
        problem = _measured(problem)
    if adapter.lazy:
        found: tuple[Any, tuple[Any, ...]] = adapter.solve(problem, wanted, grad_output, out)
        return found
    if out:
        _check_out(adapter, problem, wanted, grad_output, out)
    array = adapter.asarray
    operands = operands_of(adapter, problem)
    target, weight, upstream = problem.target, problem.weight, grad_output
    if problem.loss.labelled:
        target = array("target", target)
    if problem.weight_name in wanted or not per_sample.is_number(weight):
        weight = array(problem.weight_name, weight)
    if not per_sample.is_number(upstream):
        upstream = array("grad_output", upstream)
        given = *problem.operands, problem.target, problem.weight
        if any(a is not b for a, b in zip(given, (*operands, target, weight), strict=True)):
            # A call that converts its arguments divides here, and not in the kernel.
            upstream = per_sample.converted(adapter, "grad_output", upstream)
    problem = with_arrays(problem, operands, target, weight)
    options = {"result": result, "accumulate": accumulate}
    return of_arrays(adapter, problem, wanted, upstream, out, **options)


def of_arrays(
    adapter: Any,
    problem: Problem,
    wanted: tuple[str, ...] = (),
    upstream: Any = None,
    out: Sequence[Any] = (),
    *,
    result: Any = None,
    valued: bool = True,
    skip_if_one: bool = False,
    accumulate: bool = False,
) -> tuple[Any, tuple[Any, ...]]:
    """:func:`solve`, where all that is no number is an array of the adapter's already.

    ``valued`` and ``skip_if_one`` are those of :func:`fastcos.engine.execute.execute`; with the
    latter ``out`` was made by an earlier call.
    """
    layout = adapter.layout
    operands, target, weight = problem.operands, problem.target, problem.weight
    call, parameters = call_of(
        adapter,
        problem,
        wanted,
        layouts(adapter, operands),
        layout(target) if problem.loss.labelled else None,
        per_sample.weight_layout(adapter, weight),
        None if per_sample.is_number(upstream) else layout(upstream),
        () if skip_if_one else tuple(map(layout, out)),
        accumulate,
    )
    arrays = *operands, target, weight, upstream
    return execute(
        *(plan(call), parameters, problem.validate, arrays, out),
        result=result,
        valued=valued,
        skip_if_one=skip_if_one,
    )


def operands_of(adapter: Any, problem: Problem) -> tuple[Any, ...]:
    """The operands of a problem as arrays of the adapter's; rows of tables are left as they are.

    Raises:
        TypeError: rows of a table where distances are expected.
    """
    found = []
    for name, operand in zip(problem.names, problem.operands, strict=True):
        if type(operand) is not Rows:
            operand = adapter.asarray(name, operand)
        elif problem.distance is None:
            raise TypeError(f"{name} must be distances, got rows of a table")
        else:
            check_unchanged(adapter, name, operand)
        found.append(operand)
    return tuple(found)


def _unknown_gradient(distance: Any) -> TypeError:
    name = getattr(distance, "__name__", "mine")
    return TypeError(
        f"the gradient of the callable {name} is not known. Write it as a Distance:\n"
        f'    fastcos.Distance("{name}",\n'
        "        init=lambda zero: (zero,),\n"
        "        accumulate=lambda state, x, y: (state[0] + (x - y) ** 2,),\n"
        "        finalize=lambda state: state[0],\n"
        "        gradient=lambda state, d, x, y: (2 * (x - y), -2 * (x - y)))\n"
        "and test it with fastcos.check_distance"
    )


def _measured(problem: Problem) -> Problem:
    """The problem with its rows replaced by the distances that a user's callable gives."""
    measure = problem.distance
    assert callable(measure)
    adapter = adapter_for(problem)
    arrays = [*map(gathered, operands_of(adapter, problem))]
    pairs = PAIRS[: problem.loss.arity]
    names = [f"distance_function({problem.names[i]}, {problem.names[j]})" for i, j in pairs]
    measured = [measure(arrays[i], arrays[j]) for i, j in pairs]
    for name, i, d in zip(names, (i for i, _ in pairs), measured, strict=True):
        here, there = (library_of(type(each)) for each in (d, arrays[i]))  # type: ignore[arg-type]
        if here not in (None, there) and there != "numpy":
            raise TypeError(f"{name} is a {here} array, its arguments are {there} arrays")
    return problem._replace(distance=None, names=tuple(names), operands=tuple(measured))


def _check_out(
    adapter: Any, problem: Problem, wanted: tuple[str, ...], grad_output: Any, out: Sequence[Any]
) -> None:
    """Raises unless the caller's buffers may be written to; whether they fit is seen later."""
    taken = dict(zip(problem.names, map(array_of, problem.operands), strict=True))
    taken |= {problem.weight_name: problem.weight, "target": problem.target}
    taken["grad_output"] = grad_output
    # What is no array may be read where it is, and share its memory with one.
    for name, value in taken.items():
        if not per_sample.is_number(value) and not adapter.array_layout(value):
            taken[name] = adapter.asarray(name, value)
    wanted = arrays(problem, wanted)
    for name, buffer in zip(wanted, out, strict=True):
        label = f"out for {name}"
        adapter.check_out(label, buffer, taken)
        taken[label] = buffer
