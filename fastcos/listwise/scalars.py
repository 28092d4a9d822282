"""Exponentials for the functions of listwise losses, of the type of their argument.

As plain Python they are those of ``math``. In kernels for the CPU they are polynomials, so that the
loops that call them are vectorised (:mod:`fastcos.kernels.cpu.exponential`); on a GPU they are the
library's.
"""

import math
from typing import Any


def exp(x: Any) -> Any:
    """``e`` to the power of x; in float32 infinite from 88.38 on."""
    return math.inf if x > 709 else math.exp(x)


def softplus(x: Any) -> Any:
    """``log(1 + exp(x))``, which does not overflow."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def sigmoid(x: Any) -> Any:
    """``1 / (1 + exp(-x))``, the derivative of :func:`softplus`."""
    e = math.exp(-abs(x))
    return (1.0 if x >= 0 else e) / (1 + e)
