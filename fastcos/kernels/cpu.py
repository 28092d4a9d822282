"""Pair, triplet and pointwise loops for the CPU.

Each is one function over *tasks* (runs of samples), compiled twice: with ``prange`` over the tasks
and as a plain loop for calls too small to share out. A task's work does not depend on which thread
does it, and nothing is added up across tasks in an order that threads could change: the results are
the same bits for every thread count.

Accumulators are float64 for every dtype. Only the accumulating pass may reorder its sums, which is
what lets it vectorise; values, slopes and gradients are strict IEEE, so NaN goes where it should.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import pathlib
import types as python_types
import uuid
from collections.abc import Callable
from typing import Any

from numba import float64, prange
from numba.extending import register_jitable

from fastcos.distances import Functions
from fastcos.kernels import ADD, BOOLS, DOUBLES, FLOATS, LONGS, SKIP, WRITE
from fastcos.kernels._cache import compiled
from fastcos.kernels._memory import STORAGE, doubles, floats, int8s, longs, prefetch
from fastcos.losses import Loss

# What the compiler may do to the sums: reorder them, and fuse product and sum.
_REORDER = {"reassoc", "contract"}

# Numbers that are summed before the same stretch of the next row is asked for. The processor does
# not foresee the start of a row; asking for all of it at once stalls.
_BLOCK = 192


def pair(loss: Loss, distance: Functions, dtype: str, parallel: bool) -> Callable[..., float]:
    """The kernel of a loss of one distance between two operands.

    Its arguments, in order; addresses are integers, strides bytes, numbers of samples float64:

    - ``rows``, ``grads``, ``sums``, ``modes``: per operand the address of the data, of the
      gradient, of the float64 sums (one row per task), and SKIP, WRITE or ADD;
    - ``geometry``: int64, one column per axis of the pass: the length of the axis, the strides of
      each operand, of each gradient, and the position of the sample in C order;
    - ``inner``, ``segments``: task ``o * segments + s`` visits samples ``o * inner + i`` for i in
      the s-th part of the inner range;
    - ``features``: the length of a row;
    - ``target``, ``weight``, ``scale``: (address, step, constant) each; an address of 0 means the
      constant for all samples. ``target`` says in a fourth number how it is written; ``scale`` is
      the upstream gradient over the reduction's denominator;
    - ``out``: address of the weighted loss per sample;
    - ``distance_parameters``, ``loss_parameters``.

    Returns:
        The kernel; it returns the sum of ``out``.
    """
    return _compiled(_pair, loss.function, distance, dtype, parallel)


def triplet(loss: Loss, distance: Functions, dtype: str, parallel: bool) -> Callable[..., float]:
    """The kernel of a loss of the distances (a,p), (a,n) and, for a loss of three, (p,n).

    Arguments as in :func:`pair`, with three operands.
    """
    body = _triplet_swap if loss.arity == 3 else _triplet
    return _compiled(body, loss.function, distance, dtype, parallel)


def pointwise(loss: Loss, dtype: str, parallel: bool) -> Callable[..., float]:
    """The kernel of a loss of distances that were computed elsewhere.

    Arguments as in :func:`pair`, with rows of length 1: the distances.
    """
    return _compiled(_POINTWISE[loss.arity], loss.function, (), dtype, parallel)


@functools.cache
def all_signs() -> Callable[[int, int, int], bool]:
    """The kernel that says whether each of ``count`` labels of a kind at an address is 1 or -1."""

    def kernel(address: int, count: int, kind: int) -> bool:
        wrong = 0
        if kind == DOUBLES:
            for label in doubles(address, count):
                wrong += abs(label) != 1
        elif kind == FLOATS:
            for label in floats(address, count):
                wrong += abs(label) != 1
        elif kind == LONGS:
            for label in longs(address, count):
                wrong += (label != 1) & (label != -1)
        else:
            for label in int8s(address, count):
                wrong += (label != 1) & (label != -1)
        return wrong == 0

    kernel.__qualname__ += f"_{_source_digest()}"
    return compiled(kernel, cache=True)


# --------------------------------------------------------------------------------------------------
# Compilation
# --------------------------------------------------------------------------------------------------


@functools.cache
def _compiled(
    body: Callable[..., Callable[..., None]],
    function: Callable[..., Any],
    distance: Functions,
    dtype: str,
    parallel: bool,
) -> Any:
    # A user's function may be redefined under its old name and place (a notebook cell), which the
    # key of the disk cache does not see: only our own kernels go there.
    ours = all(f is None or _is_ours(f) for f in (function, *distance))
    content = (_source_digest(), body, function, distance, dtype, parallel)
    tag = _digest(*map(_name, content)) if ours else uuid.uuid4().hex
    task = body(_jitable(function), tuple(map(_jitable, distance)), STORAGE[dtype], _named(tag))
    return _loop(task, parallel, ours, tag)


def _named(tag: str) -> Any:
    """A ``register_jitable`` that puts ``tag`` into the name of the function.

    The symbols of a compiled function are made of its name, the types of its arguments and a number
    that Numba counts up in each process. Two kernels that were cached by two processes can agree in
    all three, and loaded into a third one would run the code of the other.
    """

    def jitable(**options: Any) -> Any:
        def decorate(function: Any) -> Any:
            function.__qualname__ += f"_{tag}"
            return register_jitable(forceinline=True, **options)(function)

        return decorate

    return jitable


def _loop(task: Any, parallel: bool, cache: bool, tag: str) -> Any:
    # Spelt out: prange takes tuples of scalars, but not *args.
    def kernel(
        tasks: int,
        samples: int,
        out: int,
        rows: Any,
        grads: Any,
        sums: Any,
        modes: Any,
        geometry: Any,
        inner: int,
        segments: int,
        features: int,
        target: Any,
        weight: Any,
        scale: Any,
        distance_parameters: Any,
        loss_parameters: Any,
    ) -> float:
        for t in prange(tasks):
            task(
                t,
                out,
                (rows, grads, sums, modes),
                (geometry, inner, segments, features),
                (target, weight, scale),
                distance_parameters,
                loss_parameters,
            )
        return _total(doubles(out, samples))

    kernel.__qualname__ += f"_{tag}"
    return compiled(kernel, cache, parallel, error_model="numpy")


@register_jitable(forceinline=True, fastmath=_REORDER)
def _total(values: Any) -> float:
    total = 0.0
    for i in range(values.shape[0]):
        total += values[i]
    return total


@functools.cache
def _source_digest() -> str:
    """A digest of the sources that end up in a compiled kernel.

    Numba's disk cache looks at the file, name and closure of the kernel alone, and would serve the
    old result after an edit of a function that the kernel calls. The digest enters the name.
    """
    folder = pathlib.Path(__file__).parent
    sources = [folder.parent / "distances.py", folder.parent / "losses.py", *folder.glob("*.py")]
    return _digest(*(path.read_text() for path in sorted(sources)))


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:32]


def _name(part: Any) -> str:
    """Names a part of what a kernel is made of: functions of ours, or plain values."""
    if isinstance(part, tuple):
        return ",".join(map(_name, part))
    if callable(part):
        return f"{part.__module__}.{part.__qualname__}"
    return repr(part)


def cache_directory() -> str:
    """Where Numba keeps compiled kernels."""
    kernel: Any = _loop(_same, False, True, "")
    return str(kernel.stats.cache_path or "none that can be written to")


def _is_ours(function: Any) -> bool:
    module = getattr(function, "__module__", None)
    return module in ("fastcos.distances", "fastcos.losses")


def _never(state: Any) -> Any:
    return False, state


def _same(state: Any, x: Any, y: Any) -> Any:
    return state


_registered: set[Any] = set()


def _jitable(function: Any) -> Any:
    """Makes a plain Python function, and those it calls, callable from compiled code."""
    if isinstance(function, python_types.FunctionType) and function not in _registered:
        _registered.add(function)
        register_jitable(forceinline=True)(function)
        names = inspect.getclosurevars(function)
        for used in (*names.globals.values(), *names.nonlocals.values()):
            _jitable(used)
    return function


# --------------------------------------------------------------------------------------------------
# Bodies. Each returns the function of one task.
# --------------------------------------------------------------------------------------------------


@register_jitable(forceinline=True)
def _offset(position: int, geometry: Any, operand: int) -> int:
    """Byte offset of a sample's row, from its position in the order of the pass."""
    last = geometry.shape[1] - 1
    if last == 0:
        return position * geometry[operand, 0]
    offset = 0
    for axis in range(last, -1, -1):
        length = geometry[0, axis]
        offset += (position % length) * geometry[operand, axis]
        position //= length
    return offset


@register_jitable(forceinline=True)
def _at(values: Any, i: int) -> float:
    """The number of sample i, as :func:`pair` has it."""
    address, step, constant = values
    return constant if address == 0 else doubles(address, i + 1)[i * step]


@register_jitable(forceinline=True)
def _times(c: float, slope: float) -> float:
    """``c * slope``; a slope of 0 lets nothing through, not even an infinity."""
    return 0.0 if slope == 0 else c * slope


@register_jitable(forceinline=True)
def _label(labels: Any, i: int) -> float:
    """The label of sample i: :func:`_at`, in the dtype that the labels are written in."""
    address, step, constant, kind = labels
    if address == 0:
        return constant
    i *= step
    if kind == DOUBLES:
        return doubles(address, i + 1)[i]
    if kind == FLOATS:
        return float64(floats(address, i + 1)[i])
    if kind == LONGS:
        return float64(longs(address, i + 1)[i])
    label = float64(int8s(address, i + 1)[i])
    return 2 * label - 1 if kind == BOOLS else label


@register_jitable(forceinline=True)
def _row_and_next(address: int, position: int, geometry: Any, operand: int) -> tuple[int, int]:
    """Where a sample's row is, and the next one's if that is another row."""
    this = address + _offset(position, geometry, operand)
    following = address + _offset(position + 1, geometry, operand)
    return this, 0 if following == this else following


@register_jitable(forceinline=True)
def _nothing(work: Any, start: int, stop: int) -> None:
    pass


def _measure(distance: Any, storage: Any, jitable: Any, meanwhile: Any = _nothing) -> Any:
    """``(x, y, next_x, next_y, features, parameters, work) -> (state, d)`` for rows by address.

    The next rows, where not 0, are those that will be read after these. After each stretch of the
    sums ``meanwhile(work, start, stop)`` is called: memory that is read and written in turns, by
    the stretch and not by the row, is busy all the time.
    """
    init, accumulate, finalize, _, revisit, reaccumulate = distance
    revisit, reaccumulate = _jitable(revisit or _never), _jitable(reaccumulate or _same)
    row, decode, size = storage.row, storage.decode, storage.size

    @jitable(fastmath=_REORDER)
    def first_pass(state: Any, x: Any, y: Any, features: int) -> Any:
        for k in range(features):
            state = accumulate(state, float64(decode(x[k])), float64(decode(y[k])))
        return state

    @jitable(fastmath=_REORDER)
    def further_pass(state: Any, x: Any, y: Any, features: int) -> Any:
        for k in range(features):
            state = reaccumulate(state, float64(decode(x[k])), float64(decode(y[k])))
        return state

    @jitable()
    def stretch(state: Any, x: int, y: int, next_x: int, next_y: int, at: int) -> Any:
        if next_x != 0:
            prefetch(next_x + at, _BLOCK * size)
        if next_y != 0:
            prefetch(next_y + at, _BLOCK * size)
        return first_pass(state, row(x + at, _BLOCK), row(y + at, _BLOCK), _BLOCK)

    @jitable()
    def measure(
        x: int, y: int, next_x: int, next_y: int, features: int, parameters: Any, work: Any
    ) -> Any:
        state = init(0.0, *parameters)
        whole = features - features % _BLOCK
        # Two loops, or the compiler takes the square roots of the work out of the loop, and then
        # does them also where there is no work: 50 ns a row.
        if work[-1] == 0:
            for start in range(0, whole, _BLOCK):
                state = stretch(state, x, y, next_x, next_y, start * size)
        else:
            for start in range(0, whole, _BLOCK):
                state = stretch(state, x, y, next_x, next_y, start * size)
                meanwhile(work, start, start + _BLOCK)
        at, rest = whole * size, features - whole
        state = first_pass(state, row(x + at, rest), row(y + at, rest), rest)
        meanwhile(work, whole, features)
        again, state = revisit(state)
        while again:
            state = further_pass(state, row(x, features), row(y, features), features)
            again, state = revisit(state)
        return state, finalize(state)

    return measure


def _sweep(gradient: Any, storage: Any, jitable: Any, side: int) -> Any:
    """Puts ``c * dd/d(side)`` of one distance into the gradient of one operand."""
    decode, encode = storage.decode, storage.encode

    @jitable()
    def sweep(mode: int, g: Any, total: Any, c: float, s: Any, d: float, x: Any, y: Any) -> None:
        features = x.shape[0]
        if mode == WRITE:
            if c == 0:
                for k in range(features):
                    g[k] = 0
            else:
                for k in range(features):
                    xk, yk = float64(decode(x[k])), float64(decode(y[k]))
                    g[k] = encode(c * gradient(s, d, xk, yk)[side])
        elif mode == ADD and c != 0:
            for k in range(features):
                xk, yk = float64(decode(x[k])), float64(decode(y[k]))
                total[k] += c * gradient(s, d, xk, yk)[side]

    return sweep


def _sweep_pair(gradient: Any, storage: Any, jitable: Any) -> tuple[Any, Any]:
    """Writes both gradients of a sample while the next one is measured.

    Returns:
        ``begin(c, state, d, x, y, gx, gy, features) -> work`` and ``go_on(work, start, stop)``, to
        be called for every stretch of the row. No work is that of no features.
    """
    row, decode, encode, size = storage.row, storage.decode, storage.encode, storage.size

    @jitable()
    def write(c: float, s: Any, d: float, x: Any, y: Any, gx: Any, gy: Any) -> None:
        for k in range(x.shape[0]):
            dx, dy = gradient(s, d, float64(decode(x[k])), float64(decode(y[k])))
            gx[k] = encode(c * dx)
            gy[k] = encode(c * dy)

    @jitable()
    def begin(c: float, s: Any, d: float, x: int, y: int, gx: int, gy: int, features: int) -> Any:
        # Up to a cache line first: large NumPy arrays begin 16 bytes after one, and every vector
        # stored would straddle two.
        head = min(features, (-gx % 64) // size)
        write(c, s, d, row(x, head), row(y, head), row(gx, head), row(gy, head))
        at = head * size
        return c, s, d, x + at, y + at, gx + at, gy + at, features - head

    @jitable()
    def go_on(work: Any, start: int, stop: int) -> None:
        c, s, d, x, y, gx, gy, features = work
        length = min(stop, features) - start
        if length > 0:
            x, y, gx, gy = x + start * size, y + start * size, gx + start * size, gy + start * size
            write(c, s, d, row(x, length), row(y, length), row(gx, length), row(gy, length))

    return begin, go_on


def _sweep_three(gradient: Any, storage: Any, jitable: Any) -> tuple[Any, Any]:
    """:func:`_sweep_pair` for the distances (a,p) and (a,n), and three gradients."""
    row, decode, encode, size = storage.row, storage.decode, storage.encode, storage.size

    @jitable()
    def write(first: Any, second: Any, a: Any, p: Any, n: Any, ga: Any, gp: Any, gn: Any) -> None:
        c1, s1, d1 = first
        c2, s2, d2 = second
        for k in range(a.shape[0]):
            ak = float64(decode(a[k]))
            da, dp = gradient(s1, d1, ak, float64(decode(p[k])))
            da2, dn = gradient(s2, d2, ak, float64(decode(n[k])))
            ga[k] = encode(c1 * da + c2 * da2)
            gp[k] = encode(c1 * dp)
            gn[k] = encode(c2 * dn)

    @jitable()
    def part(first: Any, second: Any, rows: Any, grads: Any, start: int, length: int) -> None:
        at = start * size
        a, p, n = row(rows[0] + at, length), row(rows[1] + at, length), row(rows[2] + at, length)
        ga, gp = row(grads[0] + at, length), row(grads[1] + at, length)
        write(first, second, a, p, n, ga, gp, row(grads[2] + at, length))

    @jitable()
    def begin(first: Any, second: Any, rows: Any, grads: Any, features: int) -> Any:
        head = min(features, (-grads[0] % 64) // size)
        part(first, second, rows, grads, 0, head)
        return first, second, rows, grads, head, features - head

    @jitable()
    def go_on(work: Any, start: int, stop: int) -> None:
        first, second, rows, grads, head, features = work
        length = min(stop, features) - start
        if length > 0:
            part(first, second, rows, grads, head + start, length)

    return begin, go_on


def _sweep_both(gradient: Any, storage: Any, jitable: Any, side1: int, side2: int) -> Any:
    """The same for an operand that takes part in two distances."""
    decode, encode = storage.decode, storage.encode
    sweep1, sweep2 = (
        _sweep(gradient, storage, jitable, side1),
        _sweep(gradient, storage, jitable, side2),
    )

    @jitable()
    def sweep_both(mode: int, g: Any, total: Any, first: Any, second: Any) -> None:
        c1, s1, d1, x1, y1 = first
        c2, s2, d2, x2, y2 = second
        features = x1.shape[0]
        if mode == WRITE and c1 != 0 and c2 != 0:
            for k in range(features):
                xk, yk = float64(decode(x1[k])), float64(decode(y1[k]))
                part = c1 * gradient(s1, d1, xk, yk)[side1]
                xk, yk = float64(decode(x2[k])), float64(decode(y2[k]))
                g[k] = encode(part + c2 * gradient(s2, d2, xk, yk)[side2])
        elif mode == WRITE and c1 == 0:
            sweep2(mode, g, total, c2, s2, d2, x2, y2)
        elif mode == WRITE:
            sweep1(mode, g, total, c1, s1, d1, x1, y1)
        elif mode == ADD:
            sweep1(mode, g, total, c1, s1, d1, x1, y1)
            sweep2(mode, g, total, c2, s2, d2, x2, y2)

    return sweep_both


@register_jitable(forceinline=True)
def _clear(sums: Any, modes: Any, t: int, features: int) -> None:
    for operand in range(len(modes)):
        if modes[operand] == ADD:
            total = doubles(sums[operand] + t * features * 8, features)
            for k in range(features):
                total[k] = 0


def _pair(function: Any, distance: Any, storage: Any, jitable: Any) -> Any:
    init, gradient, row = distance[0], distance[3], storage.row
    sweep_x, sweep_y = _sweep(gradient, storage, jitable, 0), _sweep(gradient, storage, jitable, 1)
    begin_pair, go_on = _sweep_pair(gradient, storage, jitable)
    measure = _measure(distance, storage, jitable, meanwhile=go_on)

    @jitable()
    def task(
        t: int, out: int, operands: Any, order: Any, numbers: Any, of_distance: Any, of_loss: Any
    ) -> None:
        rows, grads, sums, modes = operands
        geometry, inner, segments, features = order
        target, weight, scale = numbers
        o, segment = t // segments, t % segments
        _clear(sums, modes, t, features)
        sum_x = doubles(sums[0] + t * features * 8, features)
        sum_y = doubles(sums[1] + t * features * 8, features)
        work = (0.0, init(0.0, *of_distance), 0.0, 0, 0, 0, 0, 0)
        for inside in range(segment * inner // segments, (segment + 1) * inner // segments):
            position = o * inner + inside
            x, next_x = _row_and_next(rows[0], position, geometry, 1)
            y, next_y = _row_and_next(rows[1], position, geometry, 2)
            i = _offset(position, geometry, 5)
            state, d = measure(x, y, next_x, next_y, features, of_distance, work)
            value, slopes = function((d,), _label(target, i), *of_loss)
            w = _at(weight, i)
            doubles(out, i + 1)[i] = w * value
            c = _times(w * _at(scale, i), slopes[0])
            gx = grads[0] + _offset(position, geometry, 3)
            gy = grads[1] + _offset(position, geometry, 4)
            both = modes[0] == WRITE and modes[1] == WRITE and c != 0
            work = begin_pair(c, state, d, x, y, gx, gy, features if both else 0)
            if both:
                continue
            xs, ys = row(x, features), row(y, features)
            if modes[0] != SKIP:
                sweep_x(modes[0], row(gx, features), sum_x, c, state, d, xs, ys)
            if modes[1] != SKIP:
                sweep_y(modes[1], row(gy, features), sum_y, c, state, d, xs, ys)
        go_on(work, 0, features)

    return task


def _triplet_task(function: Any, distance: Any, storage: Any, jitable: Any, swap: bool) -> Any:
    init, gradient, row = distance[0], distance[3], storage.row
    begin, go_on = _sweep_three(gradient, storage, jitable)
    measure = _measure(distance, storage, jitable)
    measure_and_write = _measure(distance, storage, jitable, meanwhile=go_on)
    sweep_a = _sweep_both(gradient, storage, jitable, 0, 0)
    if swap:
        sweep_p = _sweep_both(gradient, storage, jitable, 1, 0)
        sweep_n = _sweep_both(gradient, storage, jitable, 1, 1)
        third = measure

        @jitable()
        def judge(d1: float, d2: float, d3: float, label: float, parameters: Any) -> Any:
            return function((d1, d2, d3), label, *parameters)

    else:
        alone = _sweep(gradient, storage, jitable, 1)

        @jitable()
        def sweep_p(mode: int, g: Any, total: Any, first: Any, second: Any) -> None:
            alone(mode, g, total, *first)

        sweep_n = sweep_p

        @jitable()
        def third(
            x: int, y: int, next_x: int, next_y: int, features: int, parameters: Any, work: Any
        ) -> Any:
            return init(0.0, *parameters), 0.0

        @jitable()
        def judge(d1: float, d2: float, d3: float, label: float, parameters: Any) -> Any:
            value, slopes = function((d1, d2), label, *parameters)
            return value, (slopes[0], slopes[1], 0.0)

    @jitable()
    def task(
        t: int, out: int, operands: Any, order: Any, numbers: Any, of_distance: Any, of_loss: Any
    ) -> None:
        rows, grads, sums, modes = operands
        geometry, inner, segments, features = order
        target, weight, scale = numbers
        o, segment = t // segments, t % segments
        _clear(sums, modes, t, features)
        sum_a = doubles(sums[0] + t * features * 8, features)
        sum_p = doubles(sums[1] + t * features * 8, features)
        sum_n = doubles(sums[2] + t * features * 8, features)
        none = 0.0, init(0.0, *of_distance), 0.0
        work = none, none, (0, 0, 0), (0, 0, 0), 0, 0
        for inside in range(segment * inner // segments, (segment + 1) * inner // segments):
            position = o * inner + inside
            at_a, next_a = _row_and_next(rows[0], position, geometry, 1)
            at_p, next_p = _row_and_next(rows[1], position, geometry, 2)
            at_n, next_n = _row_and_next(rows[2], position, geometry, 3)
            a, p, n = row(at_a, features), row(at_p, features), row(at_n, features)
            i = _offset(position, geometry, 7)
            s1, d1 = measure_and_write(at_a, at_p, next_a, next_p, features, of_distance, work)
            s2, d2 = measure(at_a, at_n, 0, next_n, features, of_distance, (0,))
            s3, d3 = third(at_p, at_n, 0, 0, features, of_distance, (0,))
            value, slopes = judge(d1, d2, d3, _label(target, i), of_loss)
            w = _at(weight, i)
            doubles(out, i + 1)[i] = w * value
            c = w * _at(scale, i)
            ap = (_times(c, slopes[0]), s1, d1, a, p)
            an = (_times(c, slopes[1]), s2, d2, a, n)
            pn = (_times(c, slopes[2]), s3, d3, p, n)
            at_ga = grads[0] + _offset(position, geometry, 4)
            at_gp = grads[1] + _offset(position, geometry, 5)
            at_gn = grads[2] + _offset(position, geometry, 6)
            write_all = modes[0] == WRITE and modes[1] == WRITE and modes[2] == WRITE
            three = write_all and ap[0] != 0 and an[0] != 0 and pn[0] == 0
            work = begin(
                ap[:3], an[:3], (at_a, at_p, at_n), (at_ga, at_gp, at_gn), features if three else 0
            )
            if three:
                continue
            if modes[0] != SKIP:
                sweep_a(modes[0], row(at_ga, features), sum_a, ap, an)
            if modes[1] != SKIP:
                sweep_p(modes[1], row(at_gp, features), sum_p, ap, pn)
            if modes[2] != SKIP:
                sweep_n(modes[2], row(at_gn, features), sum_n, an, pn)
        go_on(work, 0, features)

    return task


def _triplet(function: Any, distance: Any, storage: Any, jitable: Any) -> Any:
    return _triplet_task(function, distance, storage, jitable, swap=False)


def _triplet_swap(function: Any, distance: Any, storage: Any, jitable: Any) -> Any:
    return _triplet_task(function, distance, storage, jitable, swap=True)


def _pointwise_task(function: Any, jitable: Any, gather: Any, scatter: Any) -> Any:
    @jitable()
    def task(
        t: int, out: int, operands: Any, order: Any, numbers: Any, of_distance: Any, of_loss: Any
    ) -> None:
        rows, grads, _, modes = operands
        geometry, inner, segments, _ = order
        target, weight, scale = numbers
        o, segment = t // segments, t % segments
        for inside in range(segment * inner // segments, (segment + 1) * inner // segments):
            position = o * inner + inside
            i = _offset(position, geometry, geometry.shape[0] - 1)
            d = gather(rows, position, geometry)
            value, slopes = function(d, _label(target, i), *of_loss)
            w = _at(weight, i)
            doubles(out, i + 1)[i] = w * value
            scatter(grads, modes, position, geometry, w * _at(scale, i), slopes)

    return task


def _pointwise_1(function: Any, distance: Any, storage: Any, jitable: Any) -> Any:
    number, put = _number_at(storage, jitable), _put_at(storage, jitable)

    @jitable()
    def gather(rows: Any, position: int, geometry: Any) -> Any:
        return (number(rows[0] + _offset(position, geometry, 1)),)

    @jitable()
    def scatter(
        grads: Any, modes: Any, position: int, geometry: Any, c: float, slopes: Any
    ) -> None:
        put(modes[0], grads[0] + _offset(position, geometry, 2), _times(c, slopes[0]))

    return _pointwise_task(function, jitable, gather, scatter)


def _pointwise_2(function: Any, distance: Any, storage: Any, jitable: Any) -> Any:
    number, put = _number_at(storage, jitable), _put_at(storage, jitable)

    @jitable()
    def gather(rows: Any, position: int, geometry: Any) -> Any:
        d1 = number(rows[0] + _offset(position, geometry, 1))
        return d1, number(rows[1] + _offset(position, geometry, 2))

    @jitable()
    def scatter(
        grads: Any, modes: Any, position: int, geometry: Any, c: float, slopes: Any
    ) -> None:
        put(modes[0], grads[0] + _offset(position, geometry, 3), _times(c, slopes[0]))
        put(modes[1], grads[1] + _offset(position, geometry, 4), _times(c, slopes[1]))

    return _pointwise_task(function, jitable, gather, scatter)


def _pointwise_3(function: Any, distance: Any, storage: Any, jitable: Any) -> Any:
    number, put = _number_at(storage, jitable), _put_at(storage, jitable)

    @jitable()
    def gather(rows: Any, position: int, geometry: Any) -> Any:
        d1 = number(rows[0] + _offset(position, geometry, 1))
        d2 = number(rows[1] + _offset(position, geometry, 2))
        return d1, d2, number(rows[2] + _offset(position, geometry, 3))

    @jitable()
    def scatter(
        grads: Any, modes: Any, position: int, geometry: Any, c: float, slopes: Any
    ) -> None:
        put(modes[0], grads[0] + _offset(position, geometry, 4), _times(c, slopes[0]))
        put(modes[1], grads[1] + _offset(position, geometry, 5), _times(c, slopes[1]))
        put(modes[2], grads[2] + _offset(position, geometry, 6), _times(c, slopes[2]))

    return _pointwise_task(function, jitable, gather, scatter)


def _number_at(storage: Any, jitable: Any) -> Any:
    row, decode = storage.row, storage.decode

    @jitable()
    def number(address: int) -> float:
        return float64(decode(row(address, 1)[0]))

    return number


def _put_at(storage: Any, jitable: Any) -> Any:
    row, encode = storage.row, storage.encode

    @jitable()
    def put(mode: int, address: int, number: float) -> None:
        if mode == WRITE:
            row(address, 1)[0] = encode(number)

    return put


_POINTWISE = {1: _pointwise_1, 2: _pointwise_2, 3: _pointwise_3}
