"""What :mod:`fastcos.engine.blocks` runs on arrays in the memory of a GPU.

The other place is :mod:`fastcos.engine.blocks_host`, with the same functions. Nothing here waits
for the device: what is computed there stays there, and numbers that are known here are launched
with the kernels, so that a call can be captured in a graph.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from fastcos.engine.sweep import Memory, Rows, Sweep, arguments
from fastcos.kernels.arguments import Project, Unit
from fastcos.kernels.forks import importing
from fastcos.listwise import Listwise


def unit_rows(
    adapter: Any,
    array: Any,
    stride: int,
    dtype: Any,
    normalizes: bool,
    center: Any,
    exponent: int = 0,
) -> Rows:
    """Rows as the products take them: of unit length, less the ``center``, times ``2^exponent``."""
    with importing():
        from fastcos.kernels import cuda

    count, features = map(int, array.shape)
    own, device = adapter.float_name(array.dtype), adapter.layout(array).device
    units = adapter.workspace((count, features), dtype, array)
    narrow = adapter.workspace((count,), dtype, array)
    norms, squares = adapter.scratch((count,), array), adapter.scratch((count,), array)
    address = adapter.address
    packed = Unit(
        *(0, address(array), stride, features, int(normalizes)),
        *(0 if center is None else address(center), exponent, address(units)),
        *(address(norms), address(squares), address(narrow)),
    )
    make = functools.partial(cuda.units, own, adapter.float_name(dtype))
    what = f"rows ({own})"
    _launch_rows(adapter, make, cuda.UNIT, device, what, (count, *packed), ())
    return Rows(units, norms, squares, narrow)


def bound(
    sweep: Sweep, loss: Listwise, parameters: Sequence[Any], memory: Memory
) -> Callable[[Any, int], None]:
    """``run(block, first)``: the kernel of a loss, for a block of anchors from the first on."""
    with importing():
        from fastcos.kernels import cuda
        from fastcos.kernels.cuda import launch
        from fastcos.kernels.listwise import Variant

    adapter = sweep.adapter
    address, stream = adapter.address, adapter.stream()
    dtype, paired = adapter.float_name(sweep.dtype), memory.numbers is not None
    columns, count = int(sweep.candidates.units.shape[0]), len(parameters)
    variant = Variant(dtype, count, loss.sums, sweep.measure.of, loss.ordered, paired)
    make = functools.partial(cuda.of_anchors, loss.functions, variant)
    counts, threads = cuda.count_of_anchors(count), cuda.anchor_threads(columns)
    what = f"{loss.name} ({dtype})"
    kernel = launch.launcher(make, counts, threads, sweep.device, what)
    in_memory = [0 if isinstance(each, float) else address(each) for each in parameters]
    given = [each if isinstance(each, float) else 0.0 for each in parameters]

    def run(block: Any, first: int) -> None:
        packed = arguments(sweep, memory, block, first, 0, address)
        kernel(stream, packed.anchors, (*packed, *in_memory), given)

    return run


def project(
    sweep: Sweep,
    rows: Rows,
    slopes: Any,
    sums: Any,
    scale: Any,
    target: Any,
    stride: int,
    accumulate: bool,
) -> None:
    """Writes gradients of rows, or adds them to what is there, from what the products have left."""
    with importing():
        from fastcos.kernels import cuda

    adapter, address = sweep.adapter, sweep.adapter.address
    count, features = map(int, slopes.shape)
    constant = isinstance(scale, float)
    packed = Project(
        *(0, address(slopes), address(rows.units), features, int(sweep.measure.normalizes)),
        *(address(rows.norms), 0 if sums is None else address(sums)),
        *(0 if constant else address(scale), address(target), stride, int(accumulate)),
    )
    own = adapter.float_name(target.dtype)
    make = functools.partial(cuda.projected, own, adapter.float_name(sweep.dtype))
    what, by = f"gradients of rows ({own})", (scale if constant else 1.0,)
    _launch_rows(adapter, make, cuda.PROJECT, sweep.device, what, (count, *packed), by)


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
