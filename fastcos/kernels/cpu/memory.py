"""Addresses as arrays, tuples and values, and functions that are emitted as instructions.

Kernels take addresses and not arrays: one compiled kernel then serves every layout, read-only or
not, and a row is contiguous to the compiler whatever the stride between rows, so it vectorises.
What the numbers of a dtype are is in :mod:`fastcos.kernels.cpu.storage`.
"""

import functools
from collections.abc import Callable
from typing import Any

from llvmlite import binding as llvm
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import lower_builtin, type_callable
from numba.np import arrayobj

from fastcos.kernels.functions import jitable

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
def wide_vectors() -> Any:
    """Has loops of the function that calls this use vectors of 512 bits, where there are any.

    The compiler prefers 256 on processors that lowered their clock for the wider ones. Loops that
    compute take a third of the time with these; those that wait for memory do not care.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        # Past the check of llvmlite's set, which knows the attributes without a value only.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), codegen


@emitted
def equal(a: Any, b: Any) -> Any:
    """``a == b`` of two integers of one type; Numba's own makes 64 bits of them first."""
    signature = types.boolean(a, a) if a == b else None
    return signature, lambda context, builder, signature, args: builder.icmp_signed("==", *args)


def _chosen(a: Any, less: str) -> Any:
    # Loops that find extremes are vectorised where nothing has to be done for NaN and -0, and
    # where each instruction says so: Numba's fastmath does not mark a selection.
    marks = ("nnan", "nsz")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first = builder.fcmp_ordered(less, *args, flags=marks)
        return builder.select(first, *args, flags=marks)

    return a(a, a), codegen


@emitted
def lesser(a: Any, b: Any) -> Any:
    """The lesser of two floats of one type, neither of them NaN."""
    return _chosen(a, "<")


@emitted
def greater(a: Any, b: Any) -> Any:
    """The greater of two floats of one type, neither of them NaN."""
    return _chosen(a, ">")


@emitted
def fma(a: Any, b: Any, c: Any) -> Any:
    """``a * b + c`` in float32, rounded once."""
    signature = types.float32(types.float32, types.float32, types.float32)
    return signature, lambda context, builder, signature, args: builder.fma(*args)


def has_fma() -> bool:
    """Whether the target processor has an instruction for :func:`fma`; the C library is slow."""
    return has("fma")


def _array_at(word: Any, address: Any, *shape: Any) -> Any:
    """Signature and codegen of an array of words at an address."""
    kind = types.Array(word, len(shape), "C")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, (place, *lengths) = arrayobj.make_array(kind)(context, builder), args
        size = context.get_constant(types.intp, word.bitwidth // 8)
        strides = [size]
        for length in lengths[:0:-1]:
            strides.insert(0, builder.mul(length, strides[0]))
        pointer = context.get_data_type(word).as_pointer()
        arrayobj.populate_array(
            array, builder.inttoptr(place, pointer), lengths, strides, size, meminfo=None
        )
        return array._getvalue()

    return kind(types.int64, *[types.int64] * len(shape)), codegen


@emitted
def words(address: Any, length: Any) -> Any:
    """The 16-bit words at an address."""
    return _array_at(types.uint16, address, length)


@emitted
def ints(address: Any, length: Any) -> Any:
    """The int32 numbers at an address."""
    return _array_at(types.int32, address, length)


@emitted
def floats(address: Any, length: Any) -> Any:
    """The float32 numbers at an address."""
    return _array_at(types.float32, address, length)


@emitted
def doubles(address: Any, length: Any) -> Any:
    """The float64 numbers at an address."""
    return _array_at(types.float64, address, length)


@emitted
def longs(address: Any, length: Any) -> Any:
    """The int64 numbers at an address."""
    return _array_at(types.int64, address, length)


@emitted
def long_table(address: Any, rows: Any, columns: Any) -> Any:
    """The int64 numbers of a table at an address, one row after another."""
    return _array_at(types.int64, address, rows, columns)


@emitted
def int8s(address: Any, length: Any) -> Any:
    """The int8 numbers at an address."""
    return _array_at(types.int8, address, length)


def _tuple_at(number: Any, address: Any, count: Any) -> Any:
    """Signature and codegen of a tuple of numbers at an address; None if the count varies."""
    if not isinstance(count, types.IntegerLiteral):
        return None
    kind = types.UniTuple(number, count.literal_value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], context.get_value_type(number).as_pointer())
        places = [builder.gep(pointer, [INT64(i)]) for i in range(len(kind))]
        return context.make_tuple(builder, kind, [builder.load(place) for place in places])

    return kind(types.int64, count), codegen


@emitted
def long_tuple(address: Any, count: Any) -> Any:
    """The int64 numbers at an address as a tuple; the count is a constant of the caller."""
    return _tuple_at(types.int64, address, count)


@emitted
def double_tuple(address: Any, count: Any) -> Any:
    """The float64 numbers at an address as a tuple; the count is a constant of the caller."""
    return _tuple_at(types.float64, address, count)


@emitted
def _prefetch(address: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = INT8.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, INT32, INT32, INT32])
        function = builder.module.declare_intrinsic("llvm.prefetch", (pointer,), kind)
        # For reading, into all levels of the data cache.
        builder.call(function, [builder.inttoptr(args[0], pointer), INT32(0), INT32(3), INT32(1)])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@jitable()
def prefetch(address: Any, size: Any) -> None:
    """Prefetches the cache lines of ``size`` bytes; harmless where there is no such memory."""
    for offset in range(0, size, 64):
        _prefetch(address + offset)


@emitted
def stack_slot(like: Any) -> Any:
    """The address of memory for a value of a type, on the stack of the function that calls this.

    It is for values that live from one iteration of a loop to the next and are seldom read. As
    variables they would be moved about in every iteration.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = cgutils.alloca_once(builder, context.get_data_type(like))
        # Through assembly that does nothing: LLVM would turn memory that it knows into variables.
        kind = ir.FunctionType(INT64, [INT64])
        return builder.asm(kind, "", "=r,0", [builder.ptrtoint(place, INT64)], True)

    return types.int64(like), codegen


@emitted
def hidden(count: Any) -> Any:
    """An int64 number that the compiler does not know, although it is a constant.

    A loop over so many is not unrolled altogether.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(INT64, [INT64])
        return builder.asm(kind, "", "=r,0", [args[0]], False)

    return types.int64(types.int64), codegen


@emitted
def store(address: Any, value: Any) -> Any:
    """Stores a value at an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.inttoptr(args[0], context.get_data_type(value).as_pointer())
        context.pack_value(builder, value, args[1], place)
        return context.get_dummy_value()

    return types.void(types.int64, value), codegen


@emitted
def load(address: Any, like: Any) -> Any:
    """The value that was stored at an address, of the type of ``like``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.inttoptr(args[0], context.get_data_type(like).as_pointer())
        return context.unpack_value(builder, like, place)

    return like(types.int64, like), codegen


def _reaches(builder: Any, number: Any, address: Any, limit: Any, shifts: Any = None) -> Any:
    """Which of 64 numbers at an address, less their shifts, are not below a limit; a bit each."""
    kind = ir.VectorType(number, 64)

    def numbers(place: Any) -> Any:
        pointer = builder.inttoptr(place, kind.as_pointer())
        return builder.load(pointer, align=4 if number == ir.FloatType() else 8)

    found = numbers(address)
    if shifts is not None:
        found = builder.fsub(found, numbers(shifts))
    limits = ir.Constant(kind, ir.Undefined)
    limits = builder.insert_element(limits, limit, INT32(0))
    zeros = ir.Constant(ir.VectorType(INT32, 64), [0] * 64)
    limits = builder.shuffle_vector(limits, limits, zeros)
    return builder.bitcast(builder.fcmp_ordered(">=", found, limits), INT64)


@emitted
def bits_from(address: Any, limit: Any) -> Any:
    """Which of the 64 numbers at an address are at least ``limit``, as the bits of an int64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _reaches(builder, context.get_value_type(limit), *args)

    return types.int64(types.int64, limit), codegen


@emitted
def bits_shifted_from(address: Any, shifts: Any, limit: Any) -> Any:
    """The same of numbers less those at ``shifts``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _reaches(builder, context.get_value_type(limit), args[0], args[2], args[1])

    return types.int64(types.int64, types.int64, limit), codegen


@emitted
def lowest_bit(bits: Any) -> Any:
    """The number of the lowest bit of an int64 that is set."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.int64(types.int64), codegen
