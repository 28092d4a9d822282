"""The whole matrix of distances, by a product in float64 where there is one.

A float64 product of rows that are of unit length, or near the origin, is right to some D·2⁻⁵³ of
the squares of these lengths. A distance is a difference of such squares; where that is too small
for what the result is to be right to, the pair is measured. Nothing else is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastcos import losses
from fastcos.distances.record import constant_of
from fastcos.engine import blocks_device, blocks_host, products
from fastcos.engine.problem import Problem
from fastcos.engine.search import Search, measured_pairs
from fastcos.engine.solve import of_arrays

#: Bytes of a block of float64 numbers.
_BLOCK_BYTES = 8 << 20
#: How many times the bound of its error a distance has to be, for a result of a dtype. Of float64,
#: where no product keeps all digits of a difference, the product has cost five bits at most.
_TIMES = {"float16": 2.0**12, "bfloat16": 2.0**9, "float32": 2.0**25}
_DOUBTFUL = 2.0**-5
#: A bound for all of a block is good enough if so many of its distances are right by it.
_MOSTLY = 0.99


def pairwise(search: Search, dtype: Any, out: Any) -> None:
    """Writes the distances of all queries to all of the gallery, of that dtype."""
    name = constant_of(search.distance)
    kind = products.kind_of(search.distance)
    if kind is None or name == "angles._ANGULAR":
        _measured(search, search.queries, search.gallery, dtype, out)
    else:
        with np.errstate(all="ignore"):  # what is not finite is seen in the result
            _multiplied(search, kind, name == "norms._EUCLIDEAN", dtype, out)


def _measured(search: Search, x: Any, y: Any, dtype: Any, out: Any) -> None:
    columns, features = map(int, y.shape)
    width = max(min(columns, (256 << 10) // (4 * features)), 64)
    height = max(_BLOCK_BYTES // (8 * width), 1)
    for column in range(0, columns, width):
        for first in range(0, int(x.shape[0]), height):
            rows, others = x[first : first + height, None], y[None, column : column + width]
            problem = Problem(
                losses.identity, search.distance, ("x", "y"), (rows, others), reduction="none"
            )
            found, _ = of_arrays(search.adapter, problem, result=dtype)
            out[first : first + height, column : column + width] = found


def _multiplied(search: Search, kind: products.Kind, root: bool, dtype: Any, out: Any) -> None:
    adapter, x, y = search.adapter, search.queries, search.gallery
    wrap = adapter.wrap
    place = blocks_host if adapter.layout(x).device < 0 else blocks_device
    double = adapter.DTYPES["float64"]
    frame = products.frame_of(adapter, place, kind, y, double)
    if frame is None:
        _measured(search, x, y, dtype, out)
        return
    count, (columns, features) = int(x.shape[0]), map(int, y.shape)
    exponent = frame.exponents[1]  # of both sides, here
    # What a square is multiplied by, or a product.
    unit = 2.0 ** -(2 * exponent) * (0.5 if frame.squares and kind.normalizes else 1.0)
    width = max(min(columns, (1 << 20) // (8 * features)), 256)
    height = max(_BLOCK_BYTES // (8 * width), 16)
    times = _TIMES.get(adapter.float_name(dtype) or "")

    def ready(array: Any) -> Any:
        return products.ready(
            *(adapter, place, array, double),
            normalizes=kind.normalizes,
            center=frame.center,
            exponent=exponent,
        )

    memory = adapter.workspace((height * width,), double, y)
    for column in range(0, columns, width):
        others = ready(y[column : column + width])
        wide = int(others.units.shape[0])
        for first in range(0, count, height):
            rows = ready(x[first : first + height])
            high = int(rows.units.shape[0])
            d = memory[: high * wide].reshape(high, wide)
            adapter.matmul(rows.units, others.units.T, d)
            p, q = wrap(rows.squares), wrap(others.squares)
            if frame.squares:
                d *= -2 * unit
                d += unit * p[:, None]
                d += unit * q[None]
            else:
                d *= -unit
                d += 1
            # A bound for all of the block is one pass; where rows are too unlike, one for each
            # pair. A GPU does not wait to see that.
            sure = None
            if place is blocks_host:
                sure = _is_sure(d, p.max() + q.max(), frame, unit, times)
            if sure is None or np.count_nonzero(adapter.host(sure)) < _MOSTLY * high * wide:
                sure = _is_sure(d, p[:, None] + q[None], frame, unit, times)
            if frame.squares and kind.normalizes:
                # A row without a direction is at distance 1.
                sure &= (wrap(rows.norms) != 0)[:, None] & (wrap(others.norms) != 0)[None]
            if root:
                d = d.clip(0) ** 0.5
            i, j = adapter.nonzero(~sure)
            if len(i):
                some, of = x[first : first + height], y[column : column + width]
                d[i, j] = measured_pairs(search, some, of, i, j)
            out[first : first + high, column : column + wide] = d


def _is_sure(d: Any, size: Any, frame: products.Frame, unit: float, times: float | None) -> Any:
    """Which distances, before any root, are right; NaN is not, and measured.

    ``size`` are the squares of the lengths of both rows, or are not less than these.
    """
    # A product is taken from 1, and a row of unit length is not right to more than its square.
    whole = size if frame.squares and not any(frame.normalizes) else size + 1 / unit
    if times is None:
        least = _DOUBTFUL * whole + frame.constant
    else:
        least = times * 2 * (frame.bound * whole + frame.constant)
    return (abs(d) > unit * least) & (size <= products.LARGE)
