"""What :mod:`fastcos.engine.blocks` runs on arrays in the memory of this machine.

The other place is :mod:`fastcos.engine.blocks_device`, with the same functions.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcos.engine import host
from fastcos.engine.passes import SHARED_FROM
from fastcos.engine.sweep import Memory, Rows, Sweep, arguments
from fastcos.kernels.arguments import Project, Scan, Unit
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
        from fastcos.kernels.cpu import compile

    count, features = map(int, array.shape)
    own = adapter.float_name(array.dtype)
    kernel = compile.unit_kernel_of(own, adapter.float_name(dtype) == "float64")
    units = adapter.workspace((count, features), dtype, array)
    narrow = adapter.workspace((count,), dtype, array)
    norms, squares = np.empty(count), np.empty(count)
    packed = Unit(
        *(0, adapter.address(array), stride, features, int(normalizes)),
        *(_place(center), exponent, adapter.address(units)),
        *(host.address_of(norms), host.address_of(squares), adapter.address(narrow)),
    )
    _launch(kernel, packed, count, count * features, adapter)
    return Rows(units, norms, squares, narrow)


def bound(
    sweep: Sweep, loss: Listwise, parameters: Sequence[Any], memory: Memory
) -> Callable[[Any, int], None]:
    """``run(block, first)``: the kernel of a loss, for a block of anchors from the first on."""
    with importing():
        from fastcos.kernels.cpu import compile
        from fastcos.kernels.listwise import Variant

    adapter = sweep.adapter
    dtype, paired = adapter.float_name(sweep.dtype), memory.numbers is not None
    variant = Variant(dtype, len(parameters), loss.sums, sweep.measure.of, loss.ordered, paired)
    kernel = compile.listwise_kernel_of(loss.functions, variant, f"{loss.name} ({dtype})")
    given = np.array([float(each) for each in parameters])

    def run(block: Any, first: int) -> None:
        packed = arguments(sweep, memory, block, first, _place(given), host.address_of)
        # To sort a number and bisect for it takes as long as fifty of others.
        work = packed.anchors * packed.candidates * (50 if loss.ordered else 1)
        _launch(kernel, packed, packed.anchors, work, adapter)

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
        from fastcos.kernels.cpu import compile

    adapter, name = sweep.adapter, sweep.adapter.float_name(target.dtype)
    count, features = map(int, slopes.shape)
    kernel = compile.project_kernel_of(name, adapter.float_name(sweep.dtype) == "float64")
    by = np.array([float(scale)])
    packed = Project(
        *(0, adapter.address(slopes), adapter.address(rows.units), features),
        *(int(sweep.measure.normalizes), _place(rows.norms), _place(sums), _place(by)),
        *(adapter.address(target), stride, int(accumulate)),
    )
    _launch(kernel, packed, count, count * features, adapter)


def negated_sums(adapter: Any, sums: Any) -> Any:
    """Sums of slopes that the products have left, one in a row, as float64 with the other sign."""
    return -adapter.host(sums)[:, 0].astype(np.float64)


def _place(array: Any) -> int:
    return 0 if array is None else host.address_of(array)


def _launch(kernel: Any, packed: tuple[int, ...], tasks: int, numbers: int, adapter: Any) -> None:
    # Integers, which are put into memory as they are.
    block, parallel = np.array(packed).view(float), numbers >= adapter.SHARED_BESIDE_PRODUCTS
    host.launch(kernel.address, block, tasks, 0, adapter.THREADS, parallel=parallel)


def scan(adapter: Any, array: Any, stride: int, units: Any, normalizes: bool, scores: Any) -> None:
    """Writes the scores of a few queries, float32 rows, with rows as they lie in memory."""
    with importing():
        from fastcos.kernels.cpu import compile
        from fastcos.kernels.cpu.scan import STRETCH

    count, features = map(int, array.shape)
    kernel = compile.scan_kernel_of(adapter.float_name(array.dtype), normalizes)
    packed = Scan(
        *(0, adapter.address(array), stride, count, features, int(units.shape[0])),
        *(adapter.address(units), host.address_of(scores)),
    )
    block, tasks = np.array(packed).view(float), -(-count // STRETCH)
    # No product is made beside it.
    parallel = count * features >= SHARED_FROM
    host.launch(kernel.address, block, tasks, 0, adapter.THREADS, parallel=parallel)
