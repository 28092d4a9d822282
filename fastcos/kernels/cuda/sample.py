"""One sample: the value of its loss, and what its gradients are made of.

Both functions here make a ``sample`` as :func:`fastcos.kernels.cuda.kernel.kernel` calls it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from fastcos.distances import Functions
from fastcos.kernels import WRITE
from fastcos.kernels.arguments import Addresses
from fastcos.kernels.cuda.access import addresses, operand_count
from fastcos.kernels.cuda.measure import measure
from fastcos.kernels.cuda.teams import Team, Variant, Visit
from fastcos.kernels.cuda.unroll import tuple_of
from fastcos.kernels.cuda.write import write_and_sum, write_nothing, write_rows
from fastcos.kernels.functions import as_it_is, jitable, registered, times
from fastcos.losses import Loss


def distances_sample(loss: Loss, variant: Variant, gpu: Any) -> Any:
    """A sample that is given by its distances, one number per operand."""
    loss_of, count, float64 = registered(loss.function), loss.arity, gpu.float64
    storage = gpu.STORAGE[variant.dtype]
    get, put, number = storage.get, storage.put, storage.number
    rows_of = addresses(count, variant.columns, 1)
    grads_of = addresses(count, variant.columns, 1 + count)
    numbers = tuple_of(count, lambda k: lambda rows: float64(get(rows[k])))

    def writing(k: int) -> Any:
        def write_one(modes: Any, grads: Any, scale: Any, slopes: Any) -> bool:
            if modes[k] == WRITE:
                put(grads[k], number(times(scale, slopes[k])))
            return True

        return write_one

    write = tuple_of(count, writing)

    @jitable()
    def sample(team: Team, starts: Addresses, modes: Any, visit: Visit, parameters: Any) -> Any:
        d = numbers(rows_of(starts.rows, visit.position, visit.geometry))
        value, slopes = loss_of(d, visit.label, *parameters[1])
        grads = grads_of(starts.grads, visit.position, visit.geometry)
        write(modes, grads, visit.scale, slopes)
        return value

    return sample


class Term(NamedTuple):
    """The part of one distance in the gradients of a sample: ``factor`` times its gradient."""

    factor: Any  # the slope of the loss, times weight and scale
    state: Any  # of the distance, prepared for ``gradient``
    d: Any  # the distance


def rows_sample(loss: Loss, distance: Functions, variant: Variant, gpu: Any) -> Any:
    """A sample that is given by its rows."""
    loss_of, prepare = registered(loss.function), registered(distance.prepare or as_it_is)
    count = operand_count(loss.arity)
    rows_of = addresses(count, variant.columns, 1)
    grads_of = addresses(count, variant.columns, 1 + count)
    distances_of = measure(loss.arity, distance, variant, gpu)
    writers = {"none": write_nothing, "written": write_rows, "summed": write_and_sum}
    write = writers[variant.gradients](loss.arity, distance, variant, gpu)

    def term(k: int) -> Any:
        return lambda scale, slopes, states, d: Term(
            times(scale, slopes[k]), prepare(states[k], d[k]), d[k]
        )

    terms = tuple_of(loss.arity, term)

    @jitable()
    def sample(team: Team, starts: Addresses, modes: Any, visit: Visit, parameters: Any) -> Any:
        of_distance, of_loss = parameters
        rows = rows_of(starts.rows, visit.position, visit.geometry)
        states, d = distances_of(team, rows, visit.features, of_distance)
        value, slopes = loss_of(d, visit.label, *of_loss)
        grads = grads_of(starts.grads, visit.position, visit.geometry)
        there = Addresses(rows, grads, starts.sums)
        write(team, terms(visit.scale, slopes, states, d), there, modes, visit)
        return value

    return sample
