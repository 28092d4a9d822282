"""Passes over the rows of a sample, and the distances that they leave.

A thread accumulates its part of each row; the parts are merged in
:mod:`fastcos.kernels.cuda.merge`.
"""

from typing import Any

from fastcos.distances import Functions
from fastcos.kernels.cuda.access import are_aligned
from fastcos.kernels.cuda.merge import merging, state_size
from fastcos.kernels.cuda.teams import Team, Variant, components, threads_of_warp
from fastcos.kernels.cuda.unroll import at_each, fold, tuple_of
from fastcos.kernels.functions import jitable, registered
from fastcos.losses import PAIRS, operand_count


def measure(arity: int, distance: Functions, variant: Variant, gpu: Any) -> Any:
    """``(team, rows, features, parameters) -> (states, distances)``, for the team as a whole."""
    init, finalize = registered(distance.init), registered(distance.finalize)
    accumulate, float64, pairs = registered(distance.accumulate), gpu.float64, PAIRS[:arity]
    merge = merging(distance, variant, gpu)
    settle = _settling(distance, merge, variant, gpu)
    as_float64 = tuple_of(state_size(distance, variant), lambda k: lambda state: float64(state[k]))
    for_each_distance = tuple_of(arity, lambda k: lambda start: start)
    distances = tuple_of(arity, lambda k: lambda states: finalize(states[k]))

    def accumulating(k: int) -> Any:
        i, j = pairs[k]
        return lambda states, n: accumulate(states[k], float64(n[i]), float64(n[j]))

    def settling(k: int) -> Any:
        i, j = pairs[k]

        def settled(team: Team, parts: Any, start: Any, rows: Any, features: Any) -> Any:
            return settle(team, merge(team, parts[k], start), (rows[i], rows[j]), features)

        return settled

    # Of memory that answers after 700 ns, 25 KB have to be under way to each processor.
    in_flight = 4 if arity == 1 and variant.gradients != "summed" else 2
    first_pass = _pass(operand_count(arity), in_flight, tuple_of(arity, accumulating), variant, gpu)
    settle_all = tuple_of(arity, settling)

    @jitable()
    def measured(team: Team, rows: Any, features: Any, parameters: Any) -> Any:
        start = as_float64(init(0.0, *parameters))
        parts = first_pass(for_each_distance(start), rows, features, team)
        states = settle_all(team, parts, start, rows, features)
        return states, distances(states)

    return measured


def _settling(distance: Functions, merge: Any, variant: Variant, gpu: Any) -> Any:
    """``(team, state, rows, features) -> state`` after the further passes that it asks for."""
    revisit, reaccumulate = registered(distance.revisit), registered(distance.reaccumulate)
    if not revisit:
        return jitable()(lambda team, state, rows, features: state)
    cuda, float64, storage = gpu.cuda, gpu.float64, gpu.STORAGE[variant.dtype]
    get, size, vector = at_each(2, storage.get), storage.size, storage.vector
    first, following = components(vector)

    # In the order of the first pass: a row that has to be scaled has the bits of one that has not.
    @jitable()
    def further_pass(state: Any, rows: Any, features: Any, team: Team) -> Any:
        whole = features & -vector
        k = first(team, whole)
        while k < features:
            x, y = get(rows, k * size)
            state = reaccumulate(state, float64(x), float64(y))
            k = following(team, whole, k)
        return state

    @jitable()
    def agreed(team: Team, again: bool) -> bool:
        # What the first thread says: all have merged the same parts, but perhaps in another order.
        mask, first = threads_of_warp(cuda, team)
        return cuda.shfl_sync(mask, 1 if again else 0, first) == 1

    @jitable()
    def settle(team: Team, state: Any, rows: Any, features: Any) -> Any:
        again, state = revisit(state)
        while agreed(team, again):
            part = further_pass(state, rows, features, team)
            again, state = revisit(merge(team, part, state))
        return state

    return settle


def _pass(count: int, in_flight: int, accumulate: Any, variant: Variant, gpu: Any) -> Any:
    """``(states, rows, features, team) -> states`` of one thread's part of ``count`` rows.

    So many vectors of each row are ``in_flight`` before the first is accumulated; ``accumulate``,
    ``(states, numbers) -> states``, takes one component of each row.
    """
    storage, transposed = gpu.STORAGE[variant.dtype], gpu.transposed
    size, vector = storage.size, storage.vector
    load, get = at_each(count, storage.load), at_each(count, storage.get)
    aligned, (first, following) = are_aligned(count), components(vector)
    accumulate_components = fold(vector, accumulate)
    accumulate_vector = jitable()(
        lambda states, loaded: accumulate_components(states, transposed(loaded))
    )
    accumulate_vectors = fold(in_flight, accumulate_vector)
    load_vectors = tuple_of(
        in_flight, lambda i: lambda rows, offset, step: load(rows, offset + i * step)
    )

    @jitable()
    def one_pass(states: Any, rows: Any, features: Any, team: Team) -> Any:
        whole = features & -vector
        k, step = first(team, whole), team.width * vector
        if aligned(rows):
            while k + (in_flight - 1) * step < whole:
                states = accumulate_vectors(states, load_vectors(rows, k * size, step * size))
                k += in_flight * step
            while k < whole:
                states = accumulate_vector(states, load(rows, k * size))
                k += step
            k = whole + team.lane
        # The same numbers in the same order: a row has the same bits wherever it lies.
        while k < features:
            states = accumulate(states, get(rows, k * size))
            k = following(team, whole, k)
        return states

    return one_pass
