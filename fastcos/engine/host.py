"""Kernels for arrays in the memory of this machine: which one runs a pass, and how it is run.

The other place is :mod:`fastcos.engine.device`, with the same functions.
"""

import ctypes
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcos.engine.passes import SHARED_FROM, Pass
from fastcos.kernels import ALIGNED, WRITE, Spec
from fastcos.kernels.arguments import (
    CONSTANTS,
    PER_TABLE,
    Numbers,
    OfTable,
    Order,
    TableIntegers,
    Tables,
    host_packer,
)
from fastcos.kernels.forks import importing
from fastcos.kernels.lookup import OPERAND_BITS

_pointer, _HEADER = ctypes.c_void_p.from_address, object.__basicsize__


def address_of(array: Any) -> int:
    """Where the data of a NumPy array begin; not for NumPy's scalars, which are none."""
    # The first field after the header of the object, as NumPy promises to those who compile against
    # it (PyArray_DATA of its C API): an eighth of what array.ctypes.data takes.
    return _pointer(id(array) + _HEADER).value  # type: ignore[return-value]


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """A compiled kernel, bound to a pass."""

    kernel: int  # the address of the kernel
    words: int  # how many numbers its arguments are
    pack_into: Callable[..., None]  # what puts them into a block of memory
    order: Order  # in which samples are visited
    visit: Pass
    modes: tuple[int, ...]  # those of the pass
    tasks: int
    parallel: bool  # whether threads share the tasks


def bind(spec: Spec, visit: Pass, gpu: int) -> Run:
    """The kernel for a pass, compiled or loaded."""
    with importing():
        from fastcos.kernels.cpu import compile, storage, streaming

    compiled = compile.kernel_of(spec)
    words, pack_into = host_packer(spec.operands, sum(spec.counts), spec.does != ALIGNED)
    geometry = visit.geometry
    whole = spec.distance is not None and all(mode == WRITE for mode in visit.modes)
    numbers = spec.operands * visit.outer * visit.inner * visit.features
    # As much is written as is read.
    moved = 2 * numbers * storage.STORAGE[spec.dtype].size
    past_caches = whole and moved >= streaming.streaming_threshold()
    address, columns = geometry.ctypes.data, geometry.shape[1]
    order = Order(visit.inner, visit.segments, visit.features, address, columns, past_caches)
    ran = visit, visit.modes, visit.tasks, visit.parallel
    return Run(compiled.address, words, pack_into, order, *ran)


def run(
    plan: Any,
    bound: Run,
    addresses: tuple[Sequence[int], Sequence[int], Sequence[int]],
    numbers: tuple[Numbers, Numbers, Numbers],
    constants: tuple[float, float, float],
    parameters: Sequence[float],
    losses: Any,
    like: Any,
    kept: Any = None,
    is_measured: bool = False,
) -> tuple[float, Any]:
    """Runs a pass of a plan.

    Args:
        plan: The plan.
        bound: The kernel of the pass.
        addresses: Of the operands, of the gradients and of their sums; 0 for what is not wanted.
        numbers: Labels, weights and scales.
        constants: Theirs.
        parameters: Of the distance, then of the loss.
        losses: The dtype in which the loss of each sample is wanted, or None.
        like: An array where memory is to be allocated.
        kept: Memory for what gradients need of each sample, or None.
        is_measured: Whether that is in it.

    Returns:
        The sum of the losses, and each of them: in float64, or in the dtype that the adapter calls
        ``NARROW`` if that is wanted; None where ``losses`` is None.
    """
    (rows, grads, sums), (labels, weights, scales) = addresses, numbers
    # The arguments of the kernel, and behind them the losses: one piece of memory for both.
    words, samples = bound.words, plan.samples
    block = np.empty(words + samples)
    at = 0 if kept is None else address_of(kept)
    narrow, into = None, 0
    if losses is not None and losses is plan.adapter.NARROW:
        narrow = np.empty(samples, np.float32)
        into = address_of(narrow)
    bound.pack_into(
        *(block, 0, 0, *bound.order, *labels, *weights, *scales, at, is_measured, into),
        *(*rows, *grads, *sums, *bound.modes, *constants, *parameters),
    )
    total = _shared(plan, bound.kernel, block, bound.tasks, samples, bound.parallel)
    if losses is None:
        return total, None
    each = block[words:] if narrow is None else narrow
    # A view less, where it has the shape: 0.15 of the 8 us of a small call.
    return total, each if len(plan.shape) == 1 else each.reshape(plan.shape)


def look_up(
    plan: Any,
    tables: Tables,
    kept: tuple[int, int],
    numbers: tuple[Numbers, Numbers, Numbers],
    constants: tuple[float, float, float],
    parameters: Sequence[float],
    losses: Any,
    like: Any,
) -> tuple[float, Any]:
    """Visits the samples of a plan with rows of tables; as :func:`run`.

    ``kept`` is where to keep what gradients need of each sample, 0 for nowhere, and how many bytes.
    """
    bound, order, samples = plan.runs[0], plan.runs[0].order, plan.samples
    block = np.empty(bound.words + samples)
    integers = TableIntegers(
        *(0, samples, bound.tasks, order.features, order.geometry, order.columns),
        *(*numbers[0], *numbers[1], *numbers[2], *kept),
    )
    bound.pack_into(
        *(block, 0, *integers, *tables.address, *tables.index, *tables.stride),
        *(*constants, *parameters),
    )
    total = _shared(plan, bound.kernel, block, bound.tasks, samples, bound.parallel)
    return total, None if losses is None else block[bound.words :].reshape(plan.shape)


def gradient(
    plan: Any,
    kept: tuple[int, int],
    of: OfTable,
    tasks: int,
    parameters: Sequence[float],
    like: Any,
) -> None:
    """Makes the gradient of a table in so many tasks; the rest as for :func:`look_up`."""
    bound, features = plan.runs[1], plan.lookup.features
    sums = plan.adapter.scratch((tasks, 2, features), like)
    block = np.empty(bound.words)
    no_tables = (0,) * (PER_TABLE * len(plan.lookup.reads))
    for finishing in range(min(tasks, 2)):
        integers = TableIntegers(
            *(0, plan.samples, tasks, features, 0, 1, *(0,) * 9, *kept, *of),
            sums=plan.adapter.address(sums),
            finishing=finishing,
        )
        bound.pack_into(block, 0, *integers, *no_tables, *(0.0,) * CONSTANTS, *parameters)
        _shared(plan, bound.kernel, block, tasks, 0, tasks > 1 and not finishing)


def sorted_words(
    numbers: Sequence[tuple[int, Any]], samples: int, shift: int, bits: int, threads: Any
) -> Any:
    """The sorted words of operands and the numbers of their rows, of so many ``bits``.

    Each operand comes with a number for each sample, one after another; ``threads`` are those of
    the adapter.
    """
    words = np.empty(len(numbers) * samples, np.int64)
    if words.size < SHARED_FROM:
        counted = np.arange(samples) << OPERAND_BITS
        for k, (operand, rows) in enumerate(numbers):
            words[k * samples : (k + 1) * samples] = rows.reshape(-1) << shift | counted | operand
        words.sort()
        return words
    with importing():
        from fastcos.kernels.cpu import compile, order

    kernel, passes = compile.digit_sorter().address, -(-max(bits, 1) // order.DIGIT)
    digit = -(-max(bits, 1) // passes)
    addresses = [rows.ctypes.data for _, rows in numbers]
    operands = sum(operand << k * OPERAND_BITS for k, (operand, _) in enumerate(numbers))
    made_of = samples, operands, *addresses, *(0,) * (3 - len(addresses))
    other, counts = np.empty_like(words), np.empty((order.TASKS, 1 << digit), np.int64)
    for number in range(passes):
        source, target, at = (each.ctypes.data for each in (words, other, counts))
        for scatters in (0, 1):
            if scatters:
                # Where each task begins with each digit: after all smaller ones, and those of the
                # tasks before it.
                counts[...] = np.cumsum(counts.T).reshape(counts.T.shape).T - counts
            place = shift + number * digit
            block = order.Digits(
                *(0, source if number else 0, target, at, words.size),
                *(place, digit, scatters, shift, *made_of),
            )
            _launch()((kernel, np.array(block).view(float), order.TASKS, 0), threads)
        words, other = other, words
    return words


def launch(
    kernel: int, block: Any, tasks: int, samples: int, threads: Any, *, parallel: bool
) -> float:
    """Runs the tasks of a kernel, on several threads if that is worth it."""
    if parallel:
        return _launch()((kernel, block, tasks, samples), threads)
    return _serial()(kernel, block, tasks, samples)


def _shared(plan: Any, kernel: int, block: Any, tasks: int, samples: int, parallel: bool) -> float:
    return launch(kernel, block, tasks, samples, plan.adapter.THREADS, parallel=parallel)


def value(plan: Any, total: float, denominator: float, dtype: Any, like: Any) -> Any:
    """The sum over the denominator, as what is returned to the caller."""
    return plan.adapter.scalar(total / denominator if denominator else 0.0, dtype, like)


@functools.cache
def _serial() -> Callable[..., float]:
    """The loop over tasks on this thread."""
    with importing():
        from fastcos.kernels.cpu import compile

    return compile.task_loop(parallel=False)  # type: ignore[no-any-return]


@functools.cache
def _launch() -> Callable[..., float]:
    """What has threads share the tasks where they may."""
    with importing():
        from fastcos.kernels.cpu import compile, threads

    return functools.partial(threads.launch, compile.task_loop(parallel=True), _serial())


def on_one_thread() -> Any:
    """A context in which no work is shared with other threads."""
    with importing():
        from fastcos.kernels.cpu import threads

    return threads.one()


def thread_count() -> int:
    """On how many threads work may be shared here and now."""
    with importing():
        from fastcos.kernels.cpu import threads

    return threads.count()
