"""What Numba calls when it compiles for the first time, also where nothing of fastcos has run.

The entry point ``numba_extensions`` of the package names it. Here and not at import, for ``import
fastcos`` does not import Numba.
"""

from __future__ import annotations

from fastcos.distances.record import BUILT_IN
from fastcos.kernels.functions import registered


def init() -> None:
    """Makes the functions of all distances callable from any compiled code."""
    for record in BUILT_IN.values():
        for function in record.functions:
            registered(function)
