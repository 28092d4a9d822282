"""Functions of kernels made of LLVM instructions, and which instructions the processor has."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from llvmlite import binding as llvm
from llvmlite import ir
from numba import config, types
from numba.extending import lower_builtin, type_callable

INT8, INT16, INT32, INT64 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)


def emitted(define: Callable[..., Any]) -> Any:
    """Makes a function whose instructions are emitted at the place that calls it.

    ``define`` is written as for Numba's ``@intrinsic``, ``(*types) -> (signature, codegen)``, but
    stays a function of a module, which the disk cache knows by its name when it is in a closure; an
    intrinsic is an object with a new identity in each process. A function around an intrinsic would
    do too, and takes 40 ms to compile for each type of argument: of these there are forty in a
    kernel.
    """

    @functools.wraps(define)
    def typed(*kinds: Any) -> Any:
        found = define(*kinds)
        return found and found[0]

    type_callable(define)(lambda context: typed)

    @lower_builtin(define, types.VarArg(types.Any))
    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return define(*signature.args)[1](context, builder, signature, args)

    return define


def has(feature: str) -> bool:
    """Whether the target processor has a feature; any that is not x86 counts as having it.

    Features that come with the name of a processor (``NUMBA_CPU_NAME``) are not known here.
    """
    if config.CPU_NAME or config.CPU_FEATURES:
        return f"+{feature}" in (config.CPU_FEATURES or "")
    return bool(llvm.get_host_cpu_features().get(feature, True))


@emitted
def call(function: Any, first: Any, second: Any) -> Any:
    """Calls the C function of two int64 arguments at an address, and returns its int64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(INT64, [INT64, INT64])
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])

    return types.int64(types.int64, types.int64, types.int64), codegen


@emitted
def fma(a: Any, b: Any, c: Any) -> Any:
    """``a * b + c`` in float32, rounded once."""
    signature = types.float32(types.float32, types.float32, types.float32)
    return signature, lambda context, builder, signature, args: builder.fma(*args)


def has_fma() -> bool:
    """Whether the target processor has an instruction for :func:`fma`; the C library is slow."""
    return has("fma")
