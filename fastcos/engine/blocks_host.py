"""What :mod:`fastcos.engine.blocks` runs on arrays in the memory of this machine.

The other place is :mod:`fastcos.engine.blocks_device`, with the same functions.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcos.engine import host
from fastcos.engine.sweep import Rows, Sweep
from fastcos.kernels.arguments import Block, Project, Unit
from fastcos.kernels.forks import importing
from fastcos.listwise import Listwise


def unit_rows(adapter: Any, array: Any, dtype: Any, normalizes: bool, center: Any) -> Rows:
    """Rows as the products take them; of unit length, or less the ``center``."""
    with importing():
        from fastcos.kernels.cpu import compile

    count, features = map(int, array.shape)
    look = adapter.layout(array)
    own, size = adapter.float_name(look.dtype), look.dtype.itemsize
    if not own or not look.aligned or (features > 1 and look.strides[1] * look.unit != size):
        array = adapter.rows(array, -1, adapter.common_dtype([array]))
        look = adapter.layout(array)
        own = adapter.float_name(look.dtype)
    kernel = compile.unit_kernel_of(own, adapter.float_name(dtype) == "float64")
    units = adapter.workspace((count, features), dtype, array)
    narrow = adapter.workspace((count,), dtype, array)
    norms, squares = np.empty(count), np.empty(count)
    arguments = Unit(
        *(0, adapter.address(array), look.strides[0] * look.unit, features, int(normalizes)),
        *(_place(center), adapter.address(units)),
        *(host.address_of(norms), host.address_of(squares), adapter.address(narrow)),
    )
    _launch(kernel, arguments, count, count * features, adapter)
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
        from fastcos.kernels.cpu import compile
        from fastcos.kernels.listwise import Variant

    adapter, measure, like = sweep.adapter, sweep.measure, sweep.originals[0]
    dtype = adapter.float_name(sweep.dtype)
    paired = numbers is not None
    variant = Variant(dtype, len(parameters), loss.sums, measure.of, loss.ordered, paired)
    kernel = compile.listwise_kernel_of(loss.functions, variant, f"{loss.name} ({dtype})")
    given = np.array([float(each) for each in parameters])
    columns, of_candidates = len(sweep.candidates.units), np.dtype(dtype)
    in_order = (
        adapter.workspace((sweep.height, columns), sweep.dtype, like) if loss.ordered else None
    )
    # In the dtype of the similarities, beside which they are read.
    narrow_numbers = numbers.astype(of_candidates) if paired else None
    narrow_scales = None
    if paired:
        narrow_scales = (
            np.zeros(columns, of_candidates) if scales is None else (scales.astype(of_candidates))
        )
        numbers = np.ascontiguousarray(numbers)

    def run(block: Any, first: int) -> None:
        arguments = Block(
            losses=0,
            similarities=adapter.address(block),
            anchors=len(block),
            candidates=columns,
            first=first,
            excludes=int(sweep.excludes),
            anchor_labels=_place(sweep.anchor_labels),
            candidate_labels=_place(sweep.candidate_labels),
            anchor_rows=adapter.address(sweep.anchors.units),
            candidate_rows=adapter.address(sweep.candidates.units),
            features=sweep.anchors.units.shape[1],
            anchor_squares=_place(sweep.anchors.squares),
            candidate_squares=adapter.address(sweep.candidates.narrow_squares),
            anchor_numbers=_place(numbers),
            candidate_numbers=_place(narrow_numbers),
            anchor_scales=_place(scales),
            candidate_scales=_place(narrow_scales),
            values=_place(values),
            sums=_place(sums),
            learned=_place(learned),
            sorted=0 if in_order is None else adapter.address(in_order),
            parameters=_place(given),
            offset=measure.offset,
            factor=measure.factor,
        )
        # To sort a number and bisect for it takes as long as fifty of others.
        work = len(block) * columns * (50 if loss.ordered else 1)
        _launch(kernel, arguments, len(block), work, adapter)

    return run


def project(
    sweep: Sweep, rows: Rows, slopes: Any, sums: Any, scale: Any, into: Any, accumulate: bool
) -> None:
    """Writes gradients of rows, or adds them to what is there, from what the products have left."""
    with importing():
        from fastcos.kernels.cpu import compile

    adapter, look = sweep.adapter, sweep.adapter.layout(into)
    count, features = map(int, slopes.shape)
    target = into
    if not look.aligned or (features > 1 and look.strides[1] * look.unit != look.dtype.itemsize):
        target = adapter.empty_like(slopes, -1, look.dtype)
        look = adapter.layout(target)
    name = adapter.float_name(look.dtype)
    kernel = compile.project_kernel_of(name, adapter.float_name(sweep.dtype) == "float64")
    by = np.array([float(scale)])
    in_place = target is into
    arguments = Project(
        *(0, adapter.address(slopes), adapter.address(rows.units), features),
        *(int(sweep.measure.normalizes), _place(rows.norms), _place(sums), _place(by)),
        *(adapter.address(target), look.strides[0] * look.unit, int(accumulate and in_place)),
    )
    _launch(kernel, arguments, count, count * features, adapter)
    if not in_place:
        into[...] = into + target if accumulate else target


def negated_sums(adapter: Any, sums: Any) -> Any:
    """Sums of slopes that the products have left, one in a row, as float64 with the other sign."""
    return -adapter.host(sums)[:, 0].astype(np.float64)


def _place(array: Any) -> int:
    return 0 if array is None else host.address_of(array)


def _launch(
    kernel: Any, arguments: tuple[int, ...], tasks: int, numbers: int, adapter: Any
) -> None:
    # Integers, which are put into memory as they are.
    block, parallel = np.array(arguments).view(float), numbers >= adapter.SHARED_BESIDE_PRODUCTS
    host.launch(kernel.address, block, tasks, 0, adapter.THREADS, parallel=parallel)
