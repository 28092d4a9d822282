"""One sample: the value of its loss, and what its gradients are made of.

Both functions here make a ``sample`` as :func:`fastcos.kernels.cuda.kernel.kernel` calls it.
"""

from __future__ import annotations

from typing import Any

from fastcos.distances import Functions
from fastcos.kernels import WRITE
from fastcos.kernels.arguments import Addresses
from fastcos.kernels.cuda.access import addresses
from fastcos.kernels.cuda.measure import measure
from fastcos.kernels.cuda.records import Term, Variant, Where, operand_count
from fastcos.kernels.cuda.teams import Team
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
    def sample(
        team: Team,
        starts: Addresses,
        modes: Any,
        where: Where,
        label: Any,
        scale: Any,
        distance_parameters: Any,
        loss_parameters: Any,
    ) -> Any:
        d = numbers(rows_of(starts.rows, where.position, where.geometry))
        value, slopes = loss_of(d, label, *loss_parameters)
        write(modes, grads_of(starts.grads, where.position, where.geometry), scale, slopes)
        return value

    return sample


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
    def sample(
        team: Team,
        starts: Addresses,
        modes: Any,
        where: Where,
        label: Any,
        scale: Any,
        distance_parameters: Any,
        loss_parameters: Any,
    ) -> Any:
        rows = rows_of(starts.rows, where.position, where.geometry)
        states, d = distances_of(team, rows, where.features, distance_parameters)
        value, slopes = loss_of(d, label, *loss_parameters)
        grads = grads_of(starts.grads, where.position, where.geometry)
        there = Addresses(rows, grads, starts.sums)
        write(team, terms(scale, slopes, states, d), there, modes, where)
        return value

    return sample
