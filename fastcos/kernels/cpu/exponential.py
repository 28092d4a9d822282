"""The exponentials of listwise losses as polynomials, which loops vectorise.

The C library's, which Numba calls, take one number at a time: ten times as long. Errors are, of the
result, less than 2⁻²³ in float32 and 2⁻⁵² in float64 for ``exp``, and twice that for ``softplus``
and ``sigmoid`` (``tests/test_exponential.py``). Less than half of the least normal number is 0.
"""

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import overload

from fastcos.kernels.cpu.memory import INT32, INT64, emitted
from fastcos.kernels.functions import PART
from fastcos.listwise import scalars

_LN2 = math.log(2)
# ln 2 in two parts, of which the first has zeros at its end: times an exponent it is exact.
_HIGH32, _HIGH64 = 0.693359375, 0.6931471803691238
_LOW32, _LOW64 = _LN2 - _HIGH32, 1.9082149292705877e-10
# Of expf in Cephes: e^r - 1 - r over r² on |r| <= ln 2 / 2.
_POLYNOMIAL32 = (
    *(1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3),
    *(4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1),
)
# The Taylor series: what is left out is less than 1e-17.
_POLYNOMIAL64 = tuple([1 / math.factorial(k) for k in range(13, 1, -1)])
# log(1 + e) = 2 artanh(z) = 2 z Σ z^2k / (2k + 1),  z = e / (2 + e) <= 1/3
_ARTANH32 = tuple([1 / (2 * k + 1) for k in range(8, 0, -1)])
_ARTANH64 = tuple([1 / (2 * k + 1) for k in range(17, 0, -1)])


class _Kind:
    """What the instructions for a type of float are made of."""

    def __init__(self, number: Any) -> None:
        narrow = number == types.float32
        self.number = ir.FloatType() if narrow else ir.DoubleType()
        self.integer, self.mantissa, self.bias = (INT32, 23, 127) if narrow else (INT64, 52, 1023)
        self.high, self.low = (_HIGH32, _LOW32) if narrow else (_HIGH64, _LOW64)
        self.polynomial = _POLYNOMIAL32 if narrow else _POLYNOMIAL64
        self.artanh = _ARTANH32 if narrow else _ARTANH64
        # Where 2^n, n the nearest integer to x / ln 2, has the exponent of 0, and of infinity.
        self.least, self.greatest = (-88.0, 89.0) if narrow else (-709.1, 709.8)

    def __call__(self, value: float) -> Any:
        return self.number(value)

    def fma(self, builder: Any, a: Any, b: Any, c: Any) -> Any:
        """As the processor has it: fused or not."""
        kind = ir.FunctionType(self.number, [self.number] * 3)
        function = builder.module.declare_intrinsic("llvm.fmuladd", [self.number], kind)
        return builder.call(function, [a, b, c])

    def horner(self, builder: Any, coefficients: Any, x: Any) -> Any:
        found = self(coefficients[0])
        for coefficient in coefficients[1:]:
            found = self.fma(builder, found, x, self(coefficient))
        return found

    def exp(self, builder: Any, x: Any) -> Any:
        # Within these, and no further: the power of 2 is 0 at one end, infinite at the other. A NaN
        # is less and greater than nothing, goes through, and makes NaN of whatever it becomes.
        low, high = self(self.least), self(self.greatest)
        at = builder.select(builder.fcmp_ordered("<", x, low), low, x)
        at = builder.select(builder.fcmp_ordered(">", at, high), high, at)
        n = self.unary(builder, "llvm.rint", builder.fmul(at, self(1 / _LN2)))
        r = self.fma(builder, n, self(-self.high), at)
        r = self.fma(builder, n, self(-self.low), r)
        p = self.horner(builder, self.polynomial, r)
        p = self.fma(builder, p, builder.fmul(r, r), r)
        p = builder.fadd(p, self(1.0))
        bits = builder.add(builder.fptosi(n, self.integer), self.integer(self.bias))
        power = builder.bitcast(builder.shl(bits, self.integer(self.mantissa)), self.number)
        return builder.fmul(p, power)

    def unary(self, builder: Any, name: str, x: Any) -> Any:
        """An instruction of one number that LLVM has by a name."""
        kind = ir.FunctionType(self.number, [self.number])
        return builder.call(builder.module.declare_intrinsic(name, [self.number], kind), [x])

    def falling(self, builder: Any, x: Any) -> Any:
        """``exp(-|x|)``."""
        return self.exp(builder, builder.fneg(self.unary(builder, "llvm.fabs", x)))


@emitted
def _exp(x: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _Kind(x).exp(builder, args[0])

    return x(x), codegen


@emitted
def _softplus(x: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind, (at,) = _Kind(x), args
        e = kind.falling(builder, at)
        z = builder.fdiv(e, builder.fadd(e, kind(2.0)))
        w = builder.fmul(z, z)
        series = builder.fmul(kind.horner(builder, kind.artanh, w), w)
        series = kind.fma(builder, series, z, z)
        above = builder.select(builder.fcmp_ordered("<", at, kind(0.0)), kind(0.0), at)
        return kind.fma(builder, series, kind(2.0), above)

    return x(x), codegen


@emitted
def _sigmoid(x: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind, (at,) = _Kind(x), args
        e = kind.falling(builder, at)
        falls = builder.fcmp_ordered("<", at, kind(0.0))
        return builder.fdiv(builder.select(falls, e, kind(1.0)), builder.fadd(e, kind(1.0)))

    return x(x), codegen


def _provide(plain: Any, emits: Any) -> None:
    def of_type(x: Any) -> Any:
        if x in (types.float32, types.float64):
            return lambda x: emits(x)
        return lambda x: emits(float(x))

    overload(plain, jit_options=PART, strict=False, target="cpu")(of_type)


_provide(scalars.exp, _exp)
_provide(scalars.softplus, _softplus)
_provide(scalars.sigmoid, _sigmoid)
