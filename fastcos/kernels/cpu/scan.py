"""Scores of a few queries with rows as they lie in memory, which is read once, at its own speed.

Sums are in float32, and a score may be as wrong as :mod:`fastcos.engine.products` says. A task is a
stretch of rows.
"""

import math
from collections.abc import Callable
from typing import Any

from numba import float32

from fastcos.kernels.arguments import Scan
from fastcos.kernels.cpu.memory import floats, long_tuple, prefetch, wide_vectors
from fastcos.kernels.cpu.storage import Storage

FIELDS = len(Scan._fields)
#: Rows of a task.
STRETCH = 256
#: Bytes ahead of the row that is read that are fetched: what memory takes to answer, at its speed.
AHEAD = 4096
#: Squares of lengths in float32 between which nothing has left its range.
LOW, HIGH = 2.0**-60, 2.0**60


def scan_kernel(storage: Storage, normalizes: bool, jitable: Any) -> Callable[..., int]:
    """``kernel(t, address of a Scan) -> 1``, of rows of at most 32 bits.

    Args:
        storage: How the numbers of the rows lie in memory.
        normalizes: Whether scores are products divided by the lengths of the rows; else they are
            half the squares of the distances, negative.
        jitable: As elsewhere.
    """
    decode, source_row = storage.decode, storage.row
    size = storage.size

    @jitable(fastmath={"reassoc", "contract"})
    def product_of(row: Any, u: Any) -> Any:
        wide_vectors()
        total = float32(0)
        for k in range(row.shape[0]):
            total += float32(decode(row[k])) * u[k]
        return total

    @jitable(fastmath={"reassoc", "contract"})
    def product_and_square_of(row: Any, u: Any) -> Any:
        wide_vectors()
        total, square = float32(0), float32(0)
        for k in range(row.shape[0]):
            x = float32(decode(row[k]))
            total += x * u[k]
            square += x * x
        return total, square

    @jitable(fastmath={"reassoc", "contract"})
    def distance_of(row: Any, u: Any) -> Any:
        wide_vectors()
        total = float32(0)
        for k in range(row.shape[0]):
            t = float32(decode(row[k])) - u[k]
            total += t * t
        return float32(-0.5) * total

    def kernel(t: int, block: int) -> int:
        n = Scan(*long_tuple(block, FIELDS))
        first, last = t * STRETCH, min((t + 1) * STRETCH, n.height)
        scores = floats(n.scores, n.queries * n.height)
        for j in range(first, last):
            at = n.rows + j * n.stride
            prefetch(at + AHEAD, size * n.features)
            row = source_row(at, n.features)
            if normalizes:
                u = floats(n.units, n.features)
                product, square = product_and_square_of(row, u)
                inverse = float32(math.nan)
                if LOW <= square <= HIGH:
                    inverse = float32(1) / math.sqrt(square)
                scores[j] = product * inverse
                for i in range(1, n.queries):
                    u = floats(n.units + 4 * i * n.features, n.features)
                    scores[i * n.height + j] = product_of(row, u) * inverse
            else:
                for i in range(n.queries):
                    u = floats(n.units + 4 * i * n.features, n.features)
                    scores[i * n.height + j] = distance_of(row, u)
        return 1

    return kernel
