"""How the numbers of a dtype lie in memory, and 16-bit floats as words.

NumPy has no bfloat16 and Numba no float16 on the CPU; as words both need neither.
"""

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

from fastcos.kernels.cpu.memory import INT16, INT32, doubles, emitted, floats, has, words

# Without an instruction for it, LLVM calls functions that only C compilers bring, and the process
# ends: "Symbol not found: __extendhfsf2". Integers and one addition need none of these, and no
# subnormal float32 number, which the thread may be set to take for 0.
_ONE = 1 << 23  # one step of a float32 exponent


@emitted
def _decode_half(word: Any) -> Any:
    def by_instruction(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    def by_integers(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        given = builder.zext(args[0], INT32)
        bits = builder.shl(builder.and_(given, INT32(0x7FFF)), INT32(13))
        # 2⁻¹⁴ + m 2⁻²⁴ less 2⁻¹⁴, where the exponent is 0.
        raised = builder.bitcast(builder.add(bits, INT32(113 * _ONE)), ir.FloatType())
        small = builder.bitcast(builder.fsub(raised, ir.FloatType()(2.0**-14)), INT32)
        usual = builder.add(bits, INT32(112 * _ONE))
        found = builder.select(builder.icmp_unsigned("<", bits, INT32(_ONE)), small, usual)
        endless = builder.or_(bits, INT32(255 * _ONE))
        found = builder.select(builder.icmp_unsigned(">=", bits, INT32(31 * _ONE)), endless, found)
        sign = builder.shl(builder.and_(given, INT32(0x8000)), INT32(16))
        return builder.bitcast(builder.or_(found, sign), ir.FloatType())

    return types.float32(types.uint16), by_instruction if has("f16c") else by_integers


@emitted
def _encode_half(value: Any) -> Any:
    def by_instruction(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), INT16)

    def by_integers(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        given = builder.bitcast(args[0], INT32)
        sign = builder.and_(given, INT32(0x80000000))
        bits = builder.xor(given, sign)
        # To nearest, ties to even: by a carry, or by adding a number whose unit is 2⁻²⁴.
        odd = builder.and_(builder.lshr(bits, INT32(13)), INT32(1))
        carried = builder.add(bits, builder.add(odd, INT32(0xFFF)))
        usual = builder.lshr(builder.sub(carried, INT32(112 * _ONE)), INT32(13))
        added = builder.fadd(builder.bitcast(bits, ir.FloatType()), ir.FloatType()(0.5))
        small = builder.sub(builder.bitcast(added, INT32), INT32(126 * _ONE))
        found = builder.select(builder.icmp_unsigned("<", bits, INT32(113 * _ONE)), small, usual)
        infinite = builder.icmp_unsigned(">=", bits, INT32(143 * _ONE))
        found = builder.select(infinite, INT32(0x7C00), found)
        payload = builder.and_(builder.lshr(bits, INT32(13)), INT32(0x1FF))
        nan = builder.icmp_unsigned(">", bits, INT32(255 * _ONE))
        found = builder.select(nan, builder.or_(payload, INT32(0x7E00)), found)
        found = builder.or_(found, builder.lshr(sign, INT32(16)))
        return builder.trunc(found, INT16)

    return types.uint16(types.float32), by_instruction if has("f16c") else by_integers


# In 32 bits throughout: Numba's own arithmetic would widen to 64, with half as many per vector.
@emitted
def _decode_bfloat(word: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = builder.shl(builder.zext(args[0], INT32), INT32(16))
        return builder.bitcast(bits, ir.FloatType())

    return types.float32(types.uint16), codegen


@emitted
def _encode_bfloat(value: Any) -> Any:
    # To nearest, ties to even; a NaN keeps its quiet bit, which the carry could clear.
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], INT32)
        high = builder.lshr(bits, INT32(16))
        half = builder.add(builder.and_(high, INT32(1)), INT32(0x7FFF))
        rounded = builder.lshr(builder.add(bits, half), INT32(16))
        is_nan = builder.fcmp_unordered("uno", args[0], args[0])
        chosen = builder.select(is_nan, builder.or_(high, INT32(0x40)), rounded)
        return builder.trunc(chosen, INT16)

    return types.uint16(types.float32), codegen


@emitted
def _load_two_bfloats(address: Any, k: Any) -> Any:
    """The numbers 2 k and 2 k + 1: two at a time, no word moves to another place of a vector."""
    kind = types.UniTuple(types.float32, 2)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        words = builder.inttoptr(args[0], INT32.as_pointer())
        both = builder.load(builder.gep(words, [args[1]]), align=2)
        halves = builder.shl(both, INT32(16)), builder.and_(both, INT32(0xFFFF0000))
        return context.make_tuple(
            builder, kind, [builder.bitcast(half, ir.FloatType()) for half in halves]
        )

    return kind(types.int64, types.int64), codegen


@emitted
def _store_two_bfloats(address: Any, k: Any, first: Any, second: Any) -> Any:
    """Stores the numbers 2 k and 2 k + 1, rounded.

    A NaN among them comes from arithmetic or from a bfloat16. Its lower half is 0, so the carry
    stays in that half.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def rounded(value: Any) -> Any:
            bits = builder.bitcast(value, INT32)
            odd = builder.and_(builder.lshr(bits, INT32(16)), INT32(1))
            return builder.add(builder.add(bits, INT32(0x7FFF)), odd)

        low, high = (rounded(value) for value in args[2:])
        both = builder.or_(builder.lshr(low, INT32(16)), builder.and_(high, INT32(0xFFFF0000)))
        words = builder.inttoptr(args[0], INT32.as_pointer())
        builder.store(both, builder.gep(words, [args[1]]), align=2)
        return context.get_dummy_value()

    number = types.float32
    return types.void(types.int64, types.int64, number, number), codegen


@emitted
def _unchanged(value: Any) -> Any:
    return value(value), lambda context, builder, signature, args: args[0]


class Storage(NamedTuple):
    """How the numbers of a dtype are read and written, as words.

    The functions are all of this module, for the disk cache, which knows them by name.
    """

    name: str  # of the dtype
    size: int  # bytes of a number
    row: Any  # ``(address, length) -> array`` of words
    decode: Any  # ``(word) -> number``
    encode: Any  # ``(number) -> word``
    # ``(address, k) -> (number 2 k, number 2 k + 1)``; None where it is no faster
    load_two: Any = None
    # ``(address, k, number 2 k, number 2 k + 1)``; None where it is no faster
    store_two: Any = None


STORAGE = {
    "float16": Storage("float16", 2, words, _decode_half, _encode_half),
    "bfloat16": Storage(
        "bfloat16", 2, words, _decode_bfloat, _encode_bfloat, _load_two_bfloats, _store_two_bfloats
    ),
    "float32": Storage("float32", 4, floats, _unchanged, _unchanged),
    "float64": Storage("float64", 8, doubles, _unchanged, _unchanged),
}
