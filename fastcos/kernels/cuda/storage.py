"""What kernels use of a GPU: threads, and loads and stores at addresses, 16 bytes at a time.

The kernels of :mod:`fastcos.kernels.cuda` are made with a namespace of the names in ``__all__``.
Where they are compiled it is this module; a simulator is another one, where addresses are those of
the host's memory.
"""

from typing import Any, NamedTuple

from llvmlite import ir
from numba import cuda, float64, types
from numba.cuda.extending import intrinsic

from fastcos.kernels.cuda import exponential  # noqa: F401  # what the functions of losses call

__all__ = [
    "ARRAYS",
    "SHARED",
    "SHARING",
    "STORAGE",
    "cuda",
    "float64",
    "fma",
    "get_byte",
    "get_double",
    "get_float",
    "get_long",
    "put_double",
    "put_long",
    "store_zeros",
    "transposed",
]

_BITS = {n: ir.IntType(n) for n in (8, 16, 32, 64)}
_HALF, _FLOAT, _DOUBLE = ir.HalfType(), ir.FloatType(), ir.DoubleType()


def _global(builder: Any, address: Any, word: Any) -> Any:
    """A pointer into global memory, which is what makes it ``ld.global`` and not a generic one."""
    return builder.inttoptr(address, ir.PointerType(word, addrspace=1))


def _instructions(signature: Any, emit: Any) -> Any:
    """A function of kernels with the body ``emit(builder, *arguments)``, a list being a tuple."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = emit(builder, *args)
        if signature.return_type == types.void:
            return context.get_dummy_value()
        is_list = isinstance(value, list)
        return context.make_tuple(builder, signature.return_type, value) if is_list else value

    # Numba counts the arguments of what it is given.
    found = signature, codegen
    one, two, three = lambda _, a: found, lambda _, a, b: found, lambda _, a, b, c: found
    return intrinsic((one, two, three)[len(signature.args) - 1])


def _getter(number: Any, word: Any, decode: Any = None) -> Any:
    def get(builder: Any, address: Any) -> Any:
        value = builder.load(_global(builder, address, word))
        return decode(builder, value) if decode else value

    return _instructions(number(types.int64), get)


def _putter(number: Any, word: Any, encode: Any = None) -> Any:
    def put(builder: Any, address: Any, value: Any) -> None:
        value = encode(builder, value) if encode else value
        builder.store(value, _global(builder, address, word))

    return _instructions(types.void(types.int64, number), put)


def _loader(number: Any, lane: Any, lanes: int, unpack: Any = None) -> Any:
    kind, count = ir.VectorType(lane, lanes), lanes if unpack is None else 2 * lanes

    def load(builder: Any, address: Any) -> list[Any]:
        vector = builder.load(_global(builder, address, kind), align=16)
        words = [builder.extract_element(vector, _BITS[32](i)) for i in range(lanes)]
        return [value for word in words for value in unpack(builder, word)] if unpack else words

    return _instructions(types.UniTuple(number, count)(types.int64), load)


def _storer(number: Any, lane: Any, lanes: int, pack: Any = None) -> Any:
    kind, count = ir.VectorType(lane, lanes), lanes if pack is None else 2 * lanes

    def store(builder: Any, address: Any, values: Any) -> None:
        words = [builder.extract_value(values, i) for i in range(count)]
        if pack:
            pairs = zip(words[::2], words[1::2], strict=True)
            words = [pack(builder, *pair) for pair in pairs]
        vector = ir.Constant(kind, ir.Undefined)
        for i, word in enumerate(words):
            vector = builder.insert_element(vector, word, _BITS[32](i))
        builder.store(vector, _global(builder, address, kind), align=16)

    return _instructions(types.void(types.int64, types.UniTuple(number, count)), store)


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
    number, (pack, encode) = types.float32, _packing(dtype)
    load, store = _loader(number, _BITS[32], 4, unpack), _storer(number, _BITS[32], 4, pack)
    get, put = _getter(number, _BITS[16], decode), _putter(number, _BITS[16], encode)
    return Storage(2, 8, number, load, store, get, put)


def _storage_of(number: Any, word: Any, size: int) -> Storage:
    load, store = _loader(number, word, 16 // size), _storer(number, word, 16 // size)
    get, put = _getter(number, word), _putter(number, word)
    return Storage(size, 16 // size, number, load, store, get, put)


STORAGE = {
    "float16": _storage_of_halves("f16", _halves, _half),
    "bfloat16": _storage_of_halves("bf16", _bfloats, _bfloat),
    "float32": _storage_of(types.float32, _FLOAT, 4),
    "float64": _storage_of(types.float64, _DOUBLE, 8),
}

get_float, get_double = STORAGE["float32"].get, STORAGE["float64"].get
put_double = STORAGE["float64"].put
get_long, get_byte = _getter(types.int64, _BITS[64]), _getter(types.int8, _BITS[8])
put_long = _putter(types.int64, _BITS[64])


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


_ZEROS = ir.Constant(ir.VectorType(_BITS[32], 4), [0] * 4)
#: Stores 16 bytes of zeros at an address that is a multiple of 16.
store_zeros = _instructions(
    types.void(types.int64),
    lambda builder, at: builder.store(_ZEROS, _global(builder, at, _ZEROS.type), align=16),
)
#: ``a * b + c`` in float32, rounded once.
fma = _instructions(
    types.float32(types.float32, types.float32, types.float32),
    lambda builder, a, b, c: builder.fma(a, b, c),
)


def _array_of(number: Any) -> Any:
    """``(address, length) -> array`` in global memory."""
    kind = types.Array(number, 1, "C")

    @intrinsic
    def array_at(typingctx: Any, address: Any, length: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            array = context.make_array(kind)(context, builder)
            word = context.get_data_type(number)
            # Arrays have generic pointers; of one that is made of a global one the compiler knows.
            pointer = builder.addrspacecast(_global(builder, args[0], word), word.as_pointer())
            size = context.get_constant(types.intp, number.bitwidth // 8)
            context.populate_array(
                array, data=pointer, shape=[args[1]], strides=[size], itemsize=size, meminfo=None
            )
            return array._getvalue()

        return kind(types.int64, types.int64), codegen

    return array_at


def _sharing(number: Any) -> tuple[Any, Any]:
    """``share(shared, numbers)`` and ``shared_like(shared, numbers) -> numbers``.

    A tuple rounded to a type of number, from one thread to all; it has as many numbers as another,
    of which nothing else is used.
    """

    def check(numbers: Any) -> None:
        if len(numbers) > SHARED:
            raise ValueError(f"{len(numbers)} numbers, of at most {SHARED}, in a tuple")

    @intrinsic
    def share(typingctx: Any, shared: Any, numbers: Any) -> Any:
        check(numbers)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = context.make_array(shared)(context, builder, args[0]).data
            for k, own in enumerate(numbers.types):
                value = builder.extract_value(args[1], k)
                value = context.cast(builder, value, own, number)
                value = context.cast(builder, value, number, types.float64)
                builder.store(value, builder.gep(data, [_BITS[32](k)]))
            return context.get_dummy_value()

        return types.void(shared, numbers), codegen

    @intrinsic
    def shared_like(typingctx: Any, shared: Any, numbers: Any) -> Any:
        check(numbers)
        kind = types.BaseTuple.from_types([number] * len(numbers))

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            data = context.make_array(shared)(context, builder, args[0]).data
            places = [builder.gep(data, [_BITS[32](k)]) for k in range(len(numbers))]
            found = [
                context.cast(builder, builder.load(place), types.float64, number)
                for place in places
            ]
            return context.make_tuple(builder, kind, found)

        return kind(shared, numbers), codegen

    return share, shared_like


#: How many numbers a tuple may have that one thread shares with all.
SHARED = 32
_NUMBERS = {"float32": types.float32, "float64": types.float64}
#: Arrays at addresses, to be read, by dtype.
ARRAYS = {name: _array_of(number) for name, number in _NUMBERS.items()}
#: What gives a tuple of a dtype to all threads, and what takes it there.
SHARING = {name: _sharing(number) for name, number in _NUMBERS.items()}
