"""What kernels use of a GPU: threads, and loads and stores at addresses, 16 bytes at a time.

The kernels of :mod:`fastcos.kernels.cuda` are made with a namespace of the names in ``__all__``.
Where they are compiled it is this module; a simulator is another one, where addresses are those of
the host's memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import cuda, float64, types
from numba.cuda.extending import intrinsic

__all__ = [
    "STORAGE",
    "cuda",
    "float64",
    "fma",
    "get_byte",
    "get_double",
    "get_float",
    "get_long",
    "put_double",
    "store_zeros",
    "transposed",
]

_BITS = {n: ir.IntType(n) for n in (8, 16, 32, 64)}
_HALF, _FLOAT, _DOUBLE = ir.HalfType(), ir.FloatType(), ir.DoubleType()


def _global(builder: Any, address: Any, word: Any) -> Any:
    """A pointer into global memory, which is what makes it ``ld.global`` and not a generic one."""
    return builder.inttoptr(address, ir.PointerType(word, addrspace=1))


def _getter(number: Any, word: Any, decode: Any = None) -> Any:
    @intrinsic
    def get(typingctx: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = builder.load(_global(builder, args[0], word))
            return decode(builder, value) if decode else value

        return number(types.int64), codegen

    return get


def _putter(number: Any, word: Any, encode: Any = None) -> Any:
    @intrinsic
    def put(typingctx: Any, address: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = encode(builder, args[1]) if encode else args[1]
            builder.store(value, _global(builder, args[0], word))
            return context.get_dummy_value()

        return types.void(types.int64, number), codegen

    return put


def _loader(number: Any, lane: Any, lanes: int, unpack: Any = None) -> Any:
    @intrinsic
    def load(typingctx: Any, address: Any) -> Any:
        count = lanes if unpack is None else 2 * lanes

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = ir.VectorType(lane, lanes)
            vector = builder.load(_global(builder, args[0], kind), align=16)
            words = [builder.extract_element(vector, _BITS[32](i)) for i in range(lanes)]
            if unpack:
                words = [value for word in words for value in unpack(builder, word)]
            return context.make_tuple(builder, signature.return_type, words)

        return types.UniTuple(number, count)(types.int64), codegen

    return load


def _storer(number: Any, lane: Any, lanes: int, pack: Any = None) -> Any:
    @intrinsic
    def store(typingctx: Any, address: Any, values: Any) -> Any:
        count = lanes if pack is None else 2 * lanes

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = ir.VectorType(lane, lanes)
            words = [builder.extract_value(args[1], i) for i in range(count)]
            if pack:
                pairs = zip(words[::2], words[1::2], strict=True)
                words = [pack(builder, *pair) for pair in pairs]
            vector = ir.Constant(kind, ir.Undefined)
            for i, word in enumerate(words):
                vector = builder.insert_element(vector, word, _BITS[32](i))
            builder.store(vector, _global(builder, args[0], kind), align=16)
            return context.get_dummy_value()

        return types.void(types.int64, types.UniTuple(number, count)), codegen

    return store


def _halves(builder: Any, word: Any) -> tuple[Any, Any]:
    low = builder.trunc(word, _BITS[16])
    high = builder.trunc(builder.lshr(word, _BITS[32](16)), _BITS[16])
    return _half(builder, low), _half(builder, high)


def _half(builder: Any, word: Any) -> Any:
    return builder.fpext(builder.bitcast(word, _HALF), _FLOAT)


def _bfloats(builder: Any, word: Any) -> tuple[Any, Any]:
    low = builder.shl(word, _BITS[32](16))
    high = builder.and_(word, _BITS[32](0xFFFF0000))
    return builder.bitcast(low, _FLOAT), builder.bitcast(high, _FLOAT)


def _bfloat(builder: Any, word: Any) -> Any:
    return _bfloats(builder, builder.zext(word, _BITS[32]))[0]


def _packing(dtype: str) -> tuple[Any, Any]:
    """Two float32 numbers as one word, the first in its lower half; and one as half a word."""
    # An instruction of compute capability 8.0; rounds to nearest, ties to even.
    kind = ir.FunctionType(_BITS[32], [_FLOAT, _FLOAT])
    convert = ir.InlineAsm(kind, f"cvt.rn.{dtype}x2.f32 $0, $1, $2;", "=r,f,f")

    def pack(builder: Any, low: Any, high: Any) -> Any:
        return builder.call(convert, [high, low])

    def encode(builder: Any, value: Any) -> Any:
        return builder.trunc(pack(builder, value, ir.Constant(_FLOAT, 0)), _BITS[16])

    return pack, encode


class Storage(NamedTuple):
    """How a dtype lies in memory: ``size`` bytes each, ``vector`` of them at a time.

    ``load`` and ``store`` take an address that is a multiple of 16 and a tuple of ``vector``
    numbers, ``get`` and ``put`` any address of a number and one of them: numbers of type ``number``
    and not of the dtype, which the machine may not compute in.
    """

    size: int
    vector: int
    number: Any
    load: Any
    store: Any
    get: Any
    put: Any


def _storage_of_halves(dtype: str, unpack: Any, decode: Any) -> Storage:
    pack, encode = _packing(dtype)
    return Storage(
        size=2,
        vector=8,
        number=types.float32,
        load=_loader(types.float32, _BITS[32], 4, unpack),
        store=_storer(types.float32, _BITS[32], 4, pack),
        get=_getter(types.float32, _BITS[16], decode),
        put=_putter(types.float32, _BITS[16], encode),
    )


def _storage_of(number: Any, word: Any, size: int) -> Storage:
    vector = 16 // size
    return Storage(
        size=size,
        vector=vector,
        number=number,
        load=_loader(number, word, vector),
        store=_storer(number, word, vector),
        get=_getter(number, word),
        put=_putter(number, word),
    )


STORAGE = {
    "float16": _storage_of_halves("f16", _halves, _half),
    "bfloat16": _storage_of_halves("bf16", _bfloats, _bfloat),
    "float32": _storage_of(types.float32, _FLOAT, 4),
    "float64": _storage_of(types.float64, _DOUBLE, 8),
}

get_float, get_double = STORAGE["float32"].get, STORAGE["float64"].get
put_double = STORAGE["float64"].put
get_long, get_byte = _getter(types.int64, _BITS[64]), _getter(types.int8, _BITS[8])


@intrinsic
def transposed(typingctx: Any, rows: Any) -> Any:
    """A tuple of tuples with rows and columns exchanged."""
    columns = [
        types.BaseTuple.from_types(column)
        for column in zip(*(row.types for row in rows), strict=True)
    ]

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        table = [
            [builder.extract_value(builder.extract_value(args[0], i), k) for i in range(len(rows))]
            for k in range(len(columns))
        ]
        made = [
            context.make_tuple(builder, kind, column)
            for kind, column in zip(columns, table, strict=True)
        ]
        return context.make_tuple(builder, signature.return_type, made)

    return types.BaseTuple.from_types(columns)(rows), codegen


@intrinsic
def store_zeros(typingctx: Any, address: Any) -> Any:
    """Stores 16 bytes of zeros at an address that is a multiple of 16."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.VectorType(_BITS[32], 4)
        builder.store(ir.Constant(kind, [0] * 4), _global(builder, args[0], kind), align=16)
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c`` in float32, rounded once."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fma(*args)

    return types.float32(types.float32, types.float32, types.float32), codegen
