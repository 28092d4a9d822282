"""What fastcos knows about Dask: calls on lazy arrays, as graphs of calls on their chunks.

An array of Dask is no memory but work to be done, so this adapter has nothing that kernels need. It
answers the calls itself: pair and triplet losses and their gradients in ``blocks``, neighbours in
``neighbors``, measures in ``measures``. Chunks may be NumPy's or CuPy's: each task of the graph is
a call of fastcos on what its chunks are.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from .arrays import asarray
from .blocks import evaluate, solve
from .measures import retrieval, verified
from .neighbors import nearest

__all__ = ["asarray", "evaluate", "nearest", "placed", "retrieval", "solve", "verified"]

records = True
lazy = True
#: Where chunks are, their calls find out.
device_guard = None


def placed(names: Sequence[str], values: Sequence[Any]) -> Any:
    """The adapter for where arguments are: this."""
    return sys.modules[__name__]


def __dir__() -> list[str]:
    return __all__
