"""What :mod:`fastcos.engine.blocks` runs on arrays in the memory of a GPU.

The other place is :mod:`fastcos.engine.blocks_host`, with the same functions. Nothing here waits
for the device: what is computed there stays there, and numbers that are known here are launched
with the kernels, so that a call can be captured in a graph.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from fastcos.engine.sweep import Rows, Sweep
from fastcos.kernels.arguments import Block, Project, Unit
from fastcos.kernels.forks import importing
from fastcos.listwise import Listwise


def unit_rows(adapter: Any, array: Any, dtype: Any, normalizes: bool, center: Any) -> Rows:
    """Rows as the products take them; of unit length, or less the ``center``."""
    with importing():
        from fastcos.kernels import cuda

    count, features = map(int, array.shape)
    look = adapter.layout(array)
    own, size = adapter.float_name(look.dtype), look.dtype.itemsize
    if not own or not look.aligned or (features > 1 and look.strides[1] * look.unit != size):
        array = adapter.rows(array, -1, adapter.common_dtype([array]))
        look = adapter.layout(array)
        own = adapter.float_name(look.dtype)
    units = adapter.workspace((count, features), dtype, array)
    narrow = adapter.workspace((count,), dtype, array)
    norms, squares = adapter.scratch((count,), array), adapter.scratch((count,), array)
    address = adapter.address
    arguments = Unit(
        *(0, address(array), look.strides[0] * look.unit, features, int(normalizes)),
        *(0 if center is None else address(center), address(units)),
        *(address(norms), address(squares), address(narrow)),
    )
    make = functools.partial(cuda.units, own, adapter.float_name(dtype))
    what = f"rows ({own})"
    _launch_rows(adapter, make, cuda.UNIT, look.device, what, (count, *arguments), ())
    return Rows(units, norms, squares, narrow)


def bound(
    sweep: Sweep,
    loss: Listwise,
    parameters: Sequence[Any],
    numbers: Any,
    scales: Any,
    values: Any,
    sums: Any,
    learned: Any,
) -> Callable[[Any, int], None]:
    """``run(block, first)``: the kernel of a loss, for a block of anchors from the first on."""
    with importing():
        from fastcos.kernels import cuda
        from fastcos.kernels.cuda import launch
        from fastcos.kernels.listwise import Variant

    adapter, measure, like = sweep.adapter, sweep.measure, sweep.originals[0]
    address, stream = adapter.address, adapter.stream()
    dtype, paired = adapter.float_name(sweep.dtype), numbers is not None
    columns, count = int(sweep.candidates.units.shape[0]), len(parameters)
    variant = Variant(dtype, count, loss.sums, measure.of, loss.ordered, paired)
    make = functools.partial(cuda.of_anchors, loss.functions, variant)
    counts, threads = cuda.count_of_anchors(count), cuda.anchor_threads(columns)
    what = f"{loss.name} ({dtype})"
    kernel = launch.launcher(make, counts, threads, sweep.device, what)
    in_memory = [0 if isinstance(each, float) else address(each) for each in parameters]
    given = [each if isinstance(each, float) else 0.0 for each in parameters]

    def copied(array: Any, memory: Any) -> Any:
        memory[...] = array
        return memory

    def narrow(array: Any) -> Any:
        return copied(array, adapter.workspace((columns,), sweep.dtype, like))

    # In the dtype of the similarities, beside which they are read.
    narrow_numbers = narrow_scales = in_order = None
    if paired:
        narrow_numbers = narrow(numbers)
        narrow_scales = narrow(0.0 if scales is None else scales)
        numbers = copied(numbers, adapter.scratch((int(numbers.shape[0]),), like))
    if loss.ordered:
        in_order = adapter.workspace((sweep.height, columns), sweep.dtype, like)

    def place(array: Any) -> int:
        return 0 if array is None else address(array)

    def run(block: Any, first: int) -> None:
        anchors = int(block.shape[0])
        arguments = Block(
            losses=0,
            similarities=address(block),
            anchors=anchors,
            candidates=columns,
            first=first,
            excludes=int(sweep.excludes),
            anchor_labels=address(sweep.anchor_labels),
            candidate_labels=address(sweep.candidate_labels),
            anchor_rows=address(sweep.anchors.units),
            candidate_rows=address(sweep.candidates.units),
            features=int(sweep.anchors.units.shape[1]),
            anchor_squares=address(sweep.anchors.squares),
            candidate_squares=address(sweep.candidates.narrow_squares),
            anchor_numbers=place(numbers),
            candidate_numbers=place(narrow_numbers),
            anchor_scales=place(scales),
            candidate_scales=place(narrow_scales),
            values=address(values),
            sums=place(sums),
            learned=place(learned),
            sorted=place(in_order),
            parameters=0,
            offset=measure.offset,
            factor=measure.factor,
        )
        kernel(stream, anchors, (*arguments, *in_memory), given)

    return run


def project(
    sweep: Sweep, rows: Rows, slopes: Any, sums: Any, scale: Any, into: Any, accumulate: bool
) -> None:
    """Writes gradients of rows, or adds them to what is there, from what the products have left."""
    with importing():
        from fastcos.kernels import cuda

    adapter, look = sweep.adapter, sweep.adapter.layout(into)
    count, features = map(int, slopes.shape)
    target, address = into, adapter.address
    if not look.aligned or (features > 1 and look.strides[1] * look.unit != look.dtype.itemsize):
        target = adapter.empty_like(slopes, -1, look.dtype)
        look = adapter.layout(target)
    in_place, constant = target is into, isinstance(scale, float)
    arguments = Project(
        *(0, address(slopes), address(rows.units), features, int(sweep.measure.normalizes)),
        *(address(rows.norms), 0 if sums is None else address(sums)),
        *(0 if constant else address(scale), address(target), look.strides[0] * look.unit),
        int(accumulate and in_place),
    )
    own = adapter.float_name(look.dtype)
    make = functools.partial(cuda.projected, own, adapter.float_name(sweep.dtype))
    what, by = f"gradients of rows ({own})", (scale if constant else 1.0,)
    _launch_rows(adapter, make, cuda.PROJECT, sweep.device, what, (count, *arguments), by)
    if not in_place:
        into[...] = into + target if accumulate else target


def negated_sums(adapter: Any, sums: Any) -> Any:
    """Sums of slopes that the products have left, one in a row, as float64 with the other sign."""
    found = adapter.scratch((int(sums.shape[0]),), sums)
    found[...] = sums[:, 0]
    found *= -1.0
    return found


def _launch_rows(
    adapter: Any,
    make: functools.partial[Any],
    counts: tuple[int, int],
    device: int,
    what: str,
    integers: tuple[int, ...],
    floats: tuple[float, ...],
) -> None:
    """Launches a kernel of which each warp has a row, the first of the integers being how many."""
    with importing():
        from fastcos.kernels.cuda import launch, teams

    threads = teams.THREADS
    blocks = -(-(integers[0] << teams.ROW_SHIFT) // threads)
    if blocks:
        kernel = launch.launcher(make, counts, threads, device, what)
        kernel(adapter.stream(), blocks, integers, floats)
