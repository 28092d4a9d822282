"""Addresses as rows, and 16-bit floats as words.

Kernels take addresses and not arrays: one compiled kernel then serves every layout, read-only or
not, and a row is contiguous to the compiler whatever the stride between rows, so it vectorises.
NumPy has no bfloat16 and Numba no float16 on the CPU; as words both need neither.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import binding as llvm
from llvmlite import ir
from numba import carray, config, types
from numba.core import cgutils
from numba.extending import intrinsic, overload, register_jitable


@intrinsic
def _half_to_float(typingctx: Any, word: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), codegen


@intrinsic
def _float_to_half(typingctx: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(types.float32), codegen


# In 32 bits throughout: Numba's own arithmetic would widen to 64, for half as many lanes.
@intrinsic
def _bfloat_to_float(typingctx: Any, word: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = ir.IntType(32)
        return builder.bitcast(builder.shl(builder.zext(args[0], bits), bits(16)), ir.FloatType())

    return types.float32(types.uint16), codegen


@intrinsic
def _float_to_bfloat(typingctx: Any, value: Any) -> Any:
    # To nearest, ties to even; a NaN keeps its quiet bit, which the carry could clear.
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = ir.IntType(32)
        bits = builder.bitcast(args[0], word)
        high = builder.lshr(bits, word(16))
        half = builder.add(builder.and_(high, word(1)), word(0x7FFF))
        rounded = builder.lshr(builder.add(bits, half), word(16))
        is_nan = builder.fcmp_unordered("uno", args[0], args[0])
        chosen = builder.select(is_nan, builder.or_(high, word(0x40)), rounded)
        return builder.trunc(chosen, ir.IntType(16))

    return types.uint16(types.float32), codegen


@intrinsic
def _bfloat_pair(typingctx: Any, address: Any, k: Any) -> Any:
    kind = types.UniTuple(types.float32, 2)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = ir.IntType(32)
        place = builder.inttoptr(args[0], bits.as_pointer())
        both = builder.load(builder.gep(place, [args[1]]), align=2)
        halves = builder.shl(both, bits(16)), builder.and_(both, bits(0xFFFF0000))
        return context.make_tuple(
            builder, kind, [builder.bitcast(half, ir.FloatType()) for half in halves]
        )

    return kind(types.int64, types.int64), codegen


@register_jitable(forceinline=True)
def _two_bfloats(address: Any, k: Any) -> Any:
    """Two numbers at a time: no word has to change its place among the others."""
    return _bfloat_pair(address, k)


@register_jitable(forceinline=True)
def _plain(value: Any) -> Any:
    return value


@register_jitable(forceinline=True)
def _decode_half(word: Any) -> Any:
    return _half_to_float(word)


@register_jitable(forceinline=True)
def _encode_half(value: Any) -> Any:
    return _float_to_half(types.float32(value))


@register_jitable(forceinline=True)
def _decode_bfloat(word: Any) -> Any:
    return _bfloat_to_float(word)


@register_jitable(forceinline=True)
def _encode_bfloat(value: Any) -> Any:
    return _float_to_bfloat(types.float32(value))


def _pointer_to(word: Any) -> Any:
    @intrinsic
    def pointer(typingctx: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(word)(types.intp), codegen

    return pointer


_words, _floats, _doubles = (_pointer_to(t) for t in (types.uint16, types.float32, types.float64))
_longs, _bytes = _pointer_to(types.int64), _pointer_to(types.int8)


@register_jitable(forceinline=True)
def words(address: Any, length: Any) -> Any:
    """The 16-bit words at an address."""
    return carray(_words(address), (length,))


@register_jitable(forceinline=True)
def floats(address: Any, length: Any) -> Any:
    """The float32 numbers at an address."""
    return carray(_floats(address), (length,))


@register_jitable(forceinline=True)
def doubles(address: Any, length: Any) -> Any:
    """The float64 numbers at an address."""
    return carray(_doubles(address), (length,))


@register_jitable(forceinline=True)
def longs(address: Any, length: Any) -> Any:
    """The int64 numbers at an address."""
    return carray(_longs(address), (length,))


@register_jitable(forceinline=True)
def long_table(address: Any, rows: Any, columns: Any) -> Any:
    """The int64 numbers of a table at an address, one row after another."""
    return carray(_longs(address), (rows, columns))


@register_jitable(forceinline=True)
def int8s(address: Any, length: Any) -> Any:
    """The int8 numbers at an address."""
    return carray(_bytes(address), (length,))


def _tuple_of(number: Any) -> Any:
    @intrinsic(prefer_literal=True)
    def load(typingctx: Any, address: Any, count: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer = builder.inttoptr(args[0], context.get_value_type(number).as_pointer())
            at = [ir.IntType(64)(i) for i in range(count.literal_value)]
            numbers = [builder.load(builder.gep(pointer, [i])) for i in at]
            return context.make_tuple(builder, signature.return_type, numbers)

        if isinstance(count, types.IntegerLiteral):
            return types.UniTuple(number, count.literal_value)(address, count), codegen
        return None

    return load


_long_tuple, _double_tuple = _tuple_of(types.int64), _tuple_of(types.float64)


def long_tuple(address: Any, count: Any) -> Any:
    """The int64 numbers at an address as a tuple; the count is a constant of the caller."""
    raise NotImplementedError


def double_tuple(address: Any, count: Any) -> Any:
    """The float64 numbers at an address as a tuple; the count is a constant of the caller."""
    raise NotImplementedError


# Overloads, for only they see the constant, and because an intrinsic in a closure would change the
# key of the disk cache in every process.
@overload(long_tuple, prefer_literal=True, strict=False)
def _long_tuple_at(address: Any, count: Any) -> Any:
    if not isinstance(count, types.IntegerLiteral):
        return None
    length = count.literal_value
    return lambda address, count: _long_tuple(address, length)


@overload(double_tuple, prefer_literal=True, strict=False)
def _double_tuple_at(address: Any, count: Any) -> Any:
    if not isinstance(count, types.IntegerLiteral):
        return None
    length = count.literal_value
    return lambda address, count: _double_tuple(address, length)


@intrinsic
def _prefetch(typingctx: Any, address: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, word, word, word])
        function = builder.module.declare_intrinsic("llvm.prefetch", (pointer,), kind)
        # For reading, into all levels of the data cache.
        builder.call(function, [builder.inttoptr(args[0], pointer), word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(types.intp), codegen


@register_jitable(forceinline=True)
def prefetch(address: Any, size: Any) -> None:
    """Asks for the cache lines of ``size`` bytes; harmless where there is no such memory."""
    for offset in range(0, size, 64):
        _prefetch(address + offset)


@intrinsic
def _room(typingctx: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = cgutils.alloca_once(builder, context.get_data_type(signature.args[0]))
        # By way of an assembler that does nothing: a compiler that knew this memory would undo it.
        word = ir.IntType(64)
        kind = ir.FunctionType(word, [word])
        return builder.asm(kind, "", "=r,0", [builder.ptrtoint(place, word)], True)

    return types.int64(value), codegen


@intrinsic
def _put(typingctx: Any, address: Any, value: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args[1]
        place = builder.inttoptr(args[0], context.get_data_type(kind).as_pointer())
        context.pack_value(builder, kind, args[1], place)
        return context.get_dummy_value()

    return types.void(types.int64, value), codegen


@intrinsic
def _take(typingctx: Any, address: Any, like: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.return_type
        place = builder.inttoptr(args[0], context.get_data_type(kind).as_pointer())
        return context.unpack_value(builder, kind, place)

    return like(types.int64, like), codegen


# Inlined as Python: the memory is the stack's, and goes when the function that asked for it ends.
@register_jitable(inline="always")
def room(like: Any) -> Any:
    """The address of memory for a value like this one.

    For what is kept from one turn of a loop to the next and seldom looked at. In variables it would
    be moved about in every turn.
    """
    return _room(like)


@register_jitable(forceinline=True)
def put(address: Any, value: Any) -> None:
    """Keeps a value at an address."""
    _put(address, value)


@register_jitable(forceinline=True)
def take(address: Any, like: Any) -> Any:
    """The value kept at an address, of the type of ``like``."""
    return _take(address, like)


#: How many states lie side by side. A loop over fewer is unrolled before it could be vectorised.
LANES = 32


def _in_lane(builder: Any, address: Any, lane: Any, number: int) -> Any:
    """Where a number of the state of a lane is: beside the same number of the other lanes."""
    place = builder.inttoptr(address, ir.DoubleType().as_pointer())
    return builder.gep(place, [builder.add(lane, ir.IntType(64)(number * LANES))])


@intrinsic
def _lanes(typingctx: Any, like: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = cgutils.alloca_once(builder, ir.ArrayType(ir.DoubleType(), len(like) * LANES))
        place.align = 64
        return builder.ptrtoint(place, ir.IntType(64))

    return types.int64(like), codegen


@intrinsic
def _put_lane(typingctx: Any, address: Any, lane: Any, state: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        for i, kind in enumerate(state):
            value = builder.extract_value(args[2], i)
            value = context.cast(builder, value, kind, types.float64)
            builder.store(value, _in_lane(builder, args[0], args[1], i))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, state), codegen


@intrinsic
def _take_lane(typingctx: Any, address: Any, lane: Any, like: Any) -> Any:
    kind = types.UniTuple(types.float64, len(like))

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        places = [_in_lane(builder, args[0], args[1], i) for i in range(len(like))]
        return context.make_tuple(builder, kind, [builder.load(place) for place in places])

    return kind(types.int64, types.int64, like), codegen


# As room().
@register_jitable(inline="always")
def lanes(like: Any) -> Any:
    """The address of memory for as many states like this one."""
    return _lanes(like)


@register_jitable(forceinline=True)
def put_lane(address: Any, lane: Any, state: Any) -> None:
    """Keeps the state of a lane."""
    _put_lane(address, lane, state)


@register_jitable(forceinline=True)
def take_lane(address: Any, lane: Any, like: Any) -> Any:
    """The state of a lane, of as many numbers as ``like``."""
    return _take_lane(address, lane, like)


@intrinsic
def _wide(typingctx: Any, state: Any) -> Any:
    kind = types.UniTuple(types.float64, len(state))

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.cast(builder, args[0], signature.args[0], kind)

    return kind(state), codegen


@register_jitable(forceinline=True)
def wide(state: Any) -> Any:
    """The numbers of a tuple as float64, integers among them."""
    return _wide(state)


@intrinsic
def call(typingctx: Any, function: Any, first: Any, second: Any) -> Any:
    """Calls the C function of two int64 arguments at an address, and returns its int64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        long = ir.IntType(64)
        kind = ir.FunctionType(long, [long, long])
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])

    return types.int64(types.int64, types.int64, types.int64), codegen


@intrinsic
def _fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fma(*args)

    return types.float32(types.float32, types.float32, types.float32), codegen


@register_jitable(forceinline=True)
def fma(a: Any, b: Any, c: Any) -> Any:
    """``a * b + c`` in float32, rounded once."""
    return _fma(a, b, c)


def has_fma() -> bool:
    """Whether the processor compiled for has an instruction for it: the C library's is slow."""
    if config.CPU_NAME or config.CPU_FEATURES:
        return "+fma" in (config.CPU_FEATURES or "")
    return bool(llvm.get_host_cpu_features().get("fma", True))


class Storage(NamedTuple):
    """How a dtype lies in memory: a row of words, and the way from word to number and back.

    ``pair``, where it is faster, is ``(address, k) -> (number 2 k, number 2 k + 1)``.

    All functions of this module: the disk cache's key then names them, and stays the same from
    process to process (an intrinsic in a closure has a new identity in each).
    """

    name: str
    size: int
    row: Any
    decode: Any
    encode: Any
    pair: Any = None


STORAGE = {
    "float16": Storage("float16", 2, words, _decode_half, _encode_half),
    "bfloat16": Storage("bfloat16", 2, words, _decode_bfloat, _encode_bfloat, _two_bfloats),
    "float32": Storage("float32", 4, floats, _plain, _plain),
    "float64": Storage("float64", 8, doubles, _plain, _plain),
}
