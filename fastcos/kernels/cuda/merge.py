"""Merging: the state of a row from the parts that the threads of a team have accumulated.

Whether parts may be added up, and which of their numbers change at all, is found out by calling the
functions of the distance as plain Python.
"""

import functools
import itertools
import math
from typing import Any

from fastcos.distances import Functions
from fastcos.kernels.cuda.teams import WARP, WHOLE_WARP, Team, Variant, threads_of_warp
from fastcos.kernels.cuda.unroll import tuple_of
from fastcos.kernels.functions import is_ours, jitable, registered


def state_size(distance: Functions, variant: Variant) -> int:
    """How many numbers the state of a distance has."""
    return len(distance.init(0.0, *[1.0] * variant.distance_parameters))


def merging(distance: Functions, variant: Variant, gpu: Any) -> Any:
    """``(team, part, start) -> state``: the parts of a team, which all started from ``start``."""
    cuda, merge = gpu.cuda, registered(distance.merge)
    if not merge and not is_ours(distance.init):
        _check_sums(distance, variant)
    changing = _changing(distance, variant)
    fields, count = state_size(distance, variant), len(changing)

    def exchanging(i: int) -> Any:
        k = changing[i]
        return lambda part, mask, step: cuda.shfl_xor_sync(mask, part[k], step)

    def adding(k: int) -> Any:
        if k not in changing:
            return lambda state, other, start: state[k]
        i = changing.index(k)
        return lambda state, other, start: state[k] + (other[i] - start[k])

    exchange = tuple_of(count, exchanging)
    if merge:
        merge_two = jitable()(lambda state, other, start: merge(state, other))
    else:
        merge_two = tuple_of(fields, adding)

    @jitable()
    def within_warp(part: Any, start: Any, mask: Any, width: Any) -> Any:
        step = width >> 1
        while step > 0:
            part = merge_two(part, exchange(part, mask, step), start)
            step >>= 1
        return part

    if not variant.wide:

        @jitable()
        def merge_warp(team: Team, part: Any, start: Any) -> Any:
            mask, _ = threads_of_warp(cuda, team)
            return within_warp(part, start, mask, team.width)

        return merge_warp

    def saving(i: int) -> Any:
        k = changing[i]

        def save_one(shared: Any, at: Any, state: Any) -> bool:
            shared[at + i] = state[k]
            return True

        return save_one

    def loading(k: int) -> Any:
        if k not in changing:
            return lambda shared, at, start: start[k]
        i = changing.index(k)
        return lambda shared, at, start: shared[at + i]

    save, load = tuple_of(count, saving), tuple_of(fields, loading)

    @jitable()
    def merge_block(team: Team, part: Any, start: Any) -> Any:
        shared, lane = team.shared, team.lane
        part = within_warp(part, start, WHOLE_WARP, WARP)
        cuda.syncthreads()
        if lane & (WARP - 1) == 0:
            save(shared, lane // WARP * count, part)
        cuda.syncthreads()
        if lane < WARP:
            part = load(shared, lane * count, start) if lane < team.width // WARP else start
            part = within_warp(part, start, WHOLE_WARP, WARP)
            if lane == 0:
                save(shared, WARP * count, part)
        cuda.syncthreads()
        return load(shared, WARP * count, start)

    return merge_block


_ROW = ((0.25, -1.5), (2.0, 0.75), (-0.5, 1.75), (1.0, -0.25), (1.25, 1.5), (-2.25, 0.5))


def _check_sums(distance: Functions, variant: Variant) -> None:
    """Raises where the distance of a row is another one when it is taken in two parts.

    Parts of a state are added up, which a function of the user's may not allow.
    """
    accumulate, prepare = distance.accumulate, distance.prepare
    start = distance.init(0.0, *[1.0 / 64] * variant.distance_parameters)

    def results(*parts: Any) -> Any:
        states = [functools.reduce(lambda s, each: accumulate(s, *each), p, start) for p in parts]
        state = tuple(at + sum(state[k] - at for state in states) for k, at in enumerate(start))
        d = distance.finalize(state)
        state = prepare(state, d) if prepare else state
        return [d, *(g for x, y in _ROW for g in distance.gradient(state, d, x, y))]

    try:
        compared = zip(results(_ROW), results(_ROW[:3], _ROW[3:]), strict=True)
    except ArithmeticError:  # which is no error once compiled
        return
    if not all(math.isclose(whole, parts, rel_tol=1e-9) for whole, parts in compared):
        raise ValueError(
            "on a GPU a row is taken in parts, and the state of this distance is not made of sums:"
            " give it refinements=Refinements(merge=lambda state, other: ...), the state of two"
            " parts together"
        )


# Rows that a distance may ask to see again, or not, and numbers of every kind.
_TRIED = (0.0, 1.0, -1.0, 0.75, -3.0, 1e-200, -1e200, math.inf, math.nan)


def _changing(distance: Functions, variant: Variant) -> tuple[int, ...]:
    """Which numbers of the state a pass changes: the others need not be merged.

    Found by trying: a function returns what it does not change, the very same object. That is
    sure enough for the one pass that most distances make; what those that ask for more do in the
    further ones depends on their state, and is tried for ours only, which are tested.
    """
    revisit: Any = distance.revisit
    everything = tuple(range(state_size(distance, variant)))
    if distance.merge or (revisit and not is_ours(revisit)):
        return everything
    changed: set[int] = set()

    def watched(function: Any, state: Any, x: float, y: float) -> Any:
        new = function(state, x, y)
        changed.update(k for k in everything if new[k] is not state[k])
        return new

    def measure(x: float, y: float) -> None:
        row = (x, y), (y, x), (0.5, 0.25)
        state = distance.init(0.0, *[1.0 / 64] * variant.distance_parameters)
        for each in row:
            state = watched(distance.accumulate, state, *each)
        again, state = revisit(state) if revisit else (False, state)
        while again:
            for each in row:
                state = watched(distance.reaccumulate, state, *each)
            again, state = revisit(state)

    try:
        for x, y in itertools.product(_TRIED, repeat=2):
            measure(x, y)
            measure(x, 0.5)
    except ArithmeticError:  # which is no error once compiled
        return everything
    return tuple(sorted(changed))
