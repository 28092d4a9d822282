"""The exponentials of listwise losses on a GPU: the library's, in the type of their argument."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.cuda.extending import overload

from fastcos.listwise import scalars

_KINDS = {types.float32: np.float32, types.float64: np.float64}


def _exp(number: Any) -> Callable[[Any], Any]:
    return lambda x: math.exp(x)


def _softplus(number: Any) -> Callable[[Any], Any]:
    # Constants of the type of the argument: others would make float64 of float32.
    zero = number(0)
    return lambda x: (x if x > zero else zero) + math.log1p(math.exp(-abs(x)))


def _sigmoid(number: Any) -> Callable[[Any], Any]:
    zero, one = number(0), number(1)

    def sigmoid(x: Any) -> Any:
        e = math.exp(-abs(x))
        return (one if x >= zero else e) / (one + e)

    return sigmoid


def _provide(plain: Any, make: Callable[[Any], Callable[[Any], Any]]) -> None:
    def of_type(x: Any) -> Any:
        if x in _KINDS:
            return make(_KINDS[x])
        return lambda x: plain(float(x))

    overload(plain, strict=False, jit_options={"forceinline": True})(of_type)


_provide(scalars.exp, _exp)
_provide(scalars.softplus, _softplus)
_provide(scalars.sigmoid, _sigmoid)
