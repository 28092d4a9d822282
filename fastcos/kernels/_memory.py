"""Addresses as rows, and 16-bit floats as words.

Kernels take addresses and not arrays: one compiled kernel then serves every layout, read-only or
not, and a row is contiguous to the compiler whatever the stride between rows, so it vectorises.
NumPy has no bfloat16 and Numba no float16 on the CPU; as words both need neither.
"""

from __future__ import annotations

import functools
import math
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import binding as llvm
from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import lower_builtin, type_callable
from numba.np import arrayobj

from fastcos.kernels.functions import jitable


def _emitted(define: Callable[..., Any]) -> Any:
    """A function of kernels whose instructions are put where it is called.

    It is defined as for Numba's ``@intrinsic``, ``(*types) -> (signature, codegen)``, and differs
    from that in what the disk cache sees in a closure: a function of a module, known by its name,
    and not an object with a new identity in each process. A function around an intrinsic would do
    too, and takes 40 ms to compile for each type of argument: of these there are forty in a kernel.
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


_LONG = ir.IntType(64)


def _has(feature: str) -> bool:
    """Whether the processor that is compiled for has a feature; those of other kinds have it all.

    Features that come with the name of a processor (``NUMBA_CPU_NAME``) are not known here.
    """
    if config.CPU_NAME or config.CPU_FEATURES:
        return f"+{feature}" in (config.CPU_FEATURES or "")
    return bool(llvm.get_host_cpu_features().get(feature, True))


# Without an instruction for it, LLVM calls functions that only C compilers bring, and the process
# ends: "Symbol not found: __extendhfsf2". The way by integers and one addition needs none, and no
# subnormal float32 number, which the thread may be set to take for 0.
_WORD, _ONE = ir.IntType(32), 1 << 23  # one step of a float32 exponent


@_emitted
def _decode_half(word: Any) -> Any:
    def by_instruction(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    def by_integers(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        given = builder.zext(args[0], _WORD)
        bits = builder.shl(builder.and_(given, _WORD(0x7FFF)), _WORD(13))
        # 2⁻¹⁴ + m 2⁻²⁴ less 2⁻¹⁴, where the exponent is 0.
        raised = builder.bitcast(builder.add(bits, _WORD(113 * _ONE)), ir.FloatType())
        small = builder.bitcast(builder.fsub(raised, ir.FloatType()(2.0**-14)), _WORD)
        usual = builder.add(bits, _WORD(112 * _ONE))
        found = builder.select(builder.icmp_unsigned("<", bits, _WORD(_ONE)), small, usual)
        endless = builder.or_(bits, _WORD(255 * _ONE))
        found = builder.select(builder.icmp_unsigned(">=", bits, _WORD(31 * _ONE)), endless, found)
        sign = builder.shl(builder.and_(given, _WORD(0x8000)), _WORD(16))
        return builder.bitcast(builder.or_(found, sign), ir.FloatType())

    return types.float32(types.uint16), by_instruction if _has("f16c") else by_integers


@_emitted
def _encode_half(value: Any) -> Any:
    def by_instruction(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), ir.IntType(16))

    def by_integers(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        given = builder.bitcast(args[0], _WORD)
        sign = builder.and_(given, _WORD(0x80000000))
        bits = builder.xor(given, sign)
        # To nearest, ties to even: by a carry, or by adding a number whose unit is 2⁻²⁴.
        odd = builder.and_(builder.lshr(bits, _WORD(13)), _WORD(1))
        carried = builder.add(bits, builder.add(odd, _WORD(0xFFF)))
        usual = builder.lshr(builder.sub(carried, _WORD(112 * _ONE)), _WORD(13))
        added = builder.fadd(builder.bitcast(bits, ir.FloatType()), ir.FloatType()(0.5))
        small = builder.sub(builder.bitcast(added, _WORD), _WORD(126 * _ONE))
        found = builder.select(builder.icmp_unsigned("<", bits, _WORD(113 * _ONE)), small, usual)
        infinite = builder.icmp_unsigned(">=", bits, _WORD(143 * _ONE))
        found = builder.select(infinite, _WORD(0x7C00), found)
        payload = builder.and_(builder.lshr(bits, _WORD(13)), _WORD(0x1FF))
        nan = builder.icmp_unsigned(">", bits, _WORD(255 * _ONE))
        found = builder.select(nan, builder.or_(payload, _WORD(0x7E00)), found)
        found = builder.or_(found, builder.lshr(sign, _WORD(16)))
        return builder.trunc(found, ir.IntType(16))

    return types.uint16(types.float32), by_instruction if _has("f16c") else by_integers


# In 32 bits throughout: Numba's own arithmetic would widen to 64, for half as many lanes.
@_emitted
def _decode_bfloat(word: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = ir.IntType(32)
        return builder.bitcast(builder.shl(builder.zext(args[0], bits), bits(16)), ir.FloatType())

    return types.float32(types.uint16), codegen


@_emitted
def _encode_bfloat(value: Any) -> Any:
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


@_emitted
def _two_bfloats(address: Any, k: Any) -> Any:
    """Two numbers at a time: no word has to change its place among the others."""
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


@_emitted
def _put_two_bfloats(address: Any, k: Any, first: Any, second: Any) -> Any:
    """The way back, of numbers that are NaN by arithmetic or as a bfloat16 is.

    The lower half of such a NaN is 0, and the carry stays in it.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = ir.IntType(32)

        def rounded(value: Any) -> Any:
            given = builder.bitcast(value, bits)
            odd = builder.and_(builder.lshr(given, bits(16)), bits(1))
            return builder.add(builder.add(given, bits(0x7FFF)), odd)

        low, high = (rounded(value) for value in args[2:])
        both = builder.or_(builder.lshr(low, bits(16)), builder.and_(high, bits(0xFFFF0000)))
        place = builder.inttoptr(args[0], bits.as_pointer())
        builder.store(both, builder.gep(place, [args[1]]), align=2)
        return context.get_dummy_value()

    number = types.float32
    return types.void(types.int64, types.int64, number, number), codegen


@_emitted
def _plain(value: Any) -> Any:
    return value(value), lambda context, builder, signature, args: args[0]


def _array_at(word: Any, address: Any, *shape: Any) -> Any:
    """What emits an array of words at an address."""
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


@_emitted
def words(address: Any, length: Any) -> Any:
    """The 16-bit words at an address."""
    return _array_at(types.uint16, address, length)


@_emitted
def floats(address: Any, length: Any) -> Any:
    """The float32 numbers at an address."""
    return _array_at(types.float32, address, length)


@_emitted
def doubles(address: Any, length: Any) -> Any:
    """The float64 numbers at an address."""
    return _array_at(types.float64, address, length)


@_emitted
def longs(address: Any, length: Any) -> Any:
    """The int64 numbers at an address."""
    return _array_at(types.int64, address, length)


@_emitted
def long_table(address: Any, rows: Any, columns: Any) -> Any:
    """The int64 numbers of a table at an address, one row after another."""
    return _array_at(types.int64, address, rows, columns)


@_emitted
def int8s(address: Any, length: Any) -> Any:
    """The int8 numbers at an address."""
    return _array_at(types.int8, address, length)


def _tuple_at(number: Any, address: Any, count: Any) -> Any:
    """What emits a tuple of numbers at an address, where the count is a constant."""
    if not isinstance(count, types.IntegerLiteral):
        return None
    kind = types.UniTuple(number, count.literal_value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], context.get_value_type(number).as_pointer())
        places = [builder.gep(pointer, [_LONG(i)]) for i in range(len(kind))]
        return context.make_tuple(builder, kind, [builder.load(place) for place in places])

    return kind(types.int64, count), codegen


@_emitted
def long_tuple(address: Any, count: Any) -> Any:
    """The int64 numbers at an address as a tuple; the count is a constant of the caller."""
    return _tuple_at(types.int64, address, count)


@_emitted
def double_tuple(address: Any, count: Any) -> Any:
    """The float64 numbers at an address as a tuple; the count is a constant of the caller."""
    return _tuple_at(types.float64, address, count)


@_emitted
def _prefetch(address: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, word, word, word])
        function = builder.module.declare_intrinsic("llvm.prefetch", (pointer,), kind)
        # For reading, into all levels of the data cache.
        builder.call(function, [builder.inttoptr(args[0], pointer), word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@jitable()
def prefetch(address: Any, size: Any) -> None:
    """Asks for the cache lines of ``size`` bytes; harmless where there is no such memory."""
    for offset in range(0, size, 64):
        _prefetch(address + offset)


# The memory of this, of lanes() and of queues() is the stack's, and goes when the function that
# asked for it ends.
@_emitted
def room(like: Any) -> Any:
    """The address of memory for a value like this one.

    For what is kept from one turn of a loop to the next and seldom looked at. In variables it would
    be moved about in every turn.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = cgutils.alloca_once(builder, context.get_data_type(like))
        # By way of an assembler that does nothing: a compiler that knew this memory would undo it.
        kind = ir.FunctionType(_LONG, [_LONG])
        return builder.asm(kind, "", "=r,0", [builder.ptrtoint(place, _LONG)], True)

    return types.int64(like), codegen


@_emitted
def put(address: Any, value: Any) -> Any:
    """Keeps a value at an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.inttoptr(args[0], context.get_data_type(value).as_pointer())
        context.pack_value(builder, value, args[1], place)
        return context.get_dummy_value()

    return types.void(types.int64, value), codegen


@_emitted
def take(address: Any, like: Any) -> Any:
    """The value kept at an address, of the type of ``like``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.inttoptr(args[0], context.get_data_type(like).as_pointer())
        return context.unpack_value(builder, like, place)

    return like(types.int64, like), codegen


#: How many states lie side by side. A loop over fewer is unrolled before it could be vectorised.
LANES = 32


def _in_lane(builder: Any, number: Any, address: Any, lane: Any, i: int) -> Any:
    """Where a number of the state of a lane is: beside the same number of the other lanes."""
    place = builder.inttoptr(address, number.as_pointer())
    return builder.gep(place, [builder.add(lane, _LONG(i * LANES))])


def _marked(builder: Any, instruction: Any, mark: str) -> Any:
    """A load or a store, marked as one in lanes, ``alias.scope``, or as one elsewhere, ``noalias``.

    Else every number of a row might be in a lane, to the compiler, and the states would have to be
    in memory whenever one is read.
    """
    domain = builder.module.add_metadata(["fastcos"])
    scope = builder.module.add_metadata(["lanes", domain])
    instruction.set_metadata(mark, builder.module.add_metadata([scope]))
    return instruction


@_emitted
def beside_lanes(values: Any, k: Any) -> Any:
    """The number k of an array that is not in lanes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = arrayobj.make_array(values)(context, builder, args[0])
        return _marked(builder, builder.load(builder.gep(array.data, [args[1]])), "noalias")

    return values.dtype(values, types.int64), codegen


def _put_lane(number: Any, state: Any) -> Any:
    """What emits the way of a state to its lane, as numbers of a type."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = context.get_value_type(number)
        for i, kind in enumerate(state):
            value = context.cast(builder, builder.extract_value(args[2], i), kind, number)
            place = _in_lane(builder, word, args[0], args[1], i)
            _marked(builder, builder.store(value, place), "alias.scope")
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, state), codegen


def _take_lane(number: Any, like: Any) -> Any:
    """What emits the way back."""
    kind = types.UniTuple(number, len(like))

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = context.get_value_type(number)
        places = [_in_lane(builder, word, args[0], args[1], i) for i in range(len(like))]
        numbers = [_marked(builder, builder.load(place), "alias.scope") for place in places]
        return context.make_tuple(builder, kind, numbers)

    return kind(types.int64, types.int64, like), codegen


@_emitted
def lanes(like: Any) -> Any:
    """The address of memory for as many states like this one."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = cgutils.alloca_once(builder, ir.ArrayType(ir.DoubleType(), len(like) * LANES))
        place.align = 64
        return builder.ptrtoint(place, _LONG)

    return types.int64(like), codegen


@_emitted
def put_lane(address: Any, lane: Any, state: Any) -> Any:
    """Keeps the state of a lane, as float64."""
    return _put_lane(types.float64, state)


@_emitted
def take_lane(address: Any, lane: Any, like: Any) -> Any:
    """The state of a lane, of as many numbers as ``like``."""
    return _take_lane(types.float64, like)


@_emitted
def put_slim_lane(address: Any, lane: Any, state: Any) -> Any:
    """Keeps the state of a lane, as float32."""
    return _put_lane(types.float32, state)


@_emitted
def take_slim_lane(address: Any, lane: Any, like: Any) -> Any:
    """The state of a lane that was kept as float32."""
    return _take_lane(types.float32, like)


def _all_as(number: Any, state: Any) -> Any:
    """What emits the numbers of a tuple as one type."""
    kind = types.UniTuple(number, len(state))

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.cast(builder, args[0], state, kind)

    return kind(state), codegen


@_emitted
def wide(state: Any) -> Any:
    """The numbers of a tuple as float64, integers among them."""
    return _all_as(types.float64, state)


@_emitted
def slim(state: Any) -> Any:
    """The numbers of a tuple as float32."""
    return _all_as(types.float32, state)


def _since_start(state: Any, part: Any, start: Any, number: Any) -> Any:
    """What emits a state in float64 after a part in float32, number by number.

    Each is ``number(builder, same, total, now, before)``: ``total`` in the state, ``now`` in the
    part and ``before`` at its start, in float64 all; ``same`` where the part left it as it was.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        numbers = []
        for i in range(len(state)):
            total, now, before = (builder.extract_value(given, i) for given in args)
            same = builder.fcmp_ordered("==", now, before)
            now, before = (builder.fpext(given, ir.DoubleType()) for given in (now, before))
            numbers.append(number(builder, same, total, now, before))
        return context.make_tuple(builder, state, numbers)

    return state(state, part, start), codegen


@_emitted
def gained(state: Any, part: Any, start: Any) -> Any:
    """A state in float64, with what a part in float32 has gained since its start.

    What has not changed has gained nothing, also where it is infinite in float32.
    """

    def number(builder: Any, same: Any, total: Any, now: Any, before: Any) -> Any:
        gain = builder.select(same, ir.DoubleType()(0.0), builder.fsub(now, before))
        return builder.fadd(total, gain)

    return _since_start(state, part, start, number)


@_emitted
def changed(state: Any, part: Any, start: Any) -> Any:
    """A state in float64, but the numbers of a part in float32 where they are not as at its start.

    For maxima, which do not grow by a difference, and may start at infinity.
    """

    def number(builder: Any, same: Any, total: Any, now: Any, before: Any) -> Any:
        return builder.select(same, total, now)

    return _since_start(state, part, start, number)


# --------------------------------------------------------------------------------------------------
# Past the caches: a cache line that is written as a whole, and left in no cache, need not be read
# before. A third of a copy's traffic.
# --------------------------------------------------------------------------------------------------

# Bytes of a queue: the addresses from where and up to where numbers wait to be written, in a cache
# line of their own; up to 62 bytes of these numbers; and a stretch of a gradient, all as they lie
# in their cache lines. A stretch is at most a step of a kernel, 512 bytes, and 62 for alignment.
_QUEUE = 1024


def caches() -> dict[str, int]:
    """Bytes of each data cache that the first core sees; empty where the system does not say."""
    sizes = {}
    try:
        for index in sorted(pathlib.Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
            kind, level, size = (
                (index / name).read_text(encoding="ascii").strip()
                for name in ("type", "level", "size")
            )
            if kind != "Instruction":
                sizes[f"L{level}"] = int(size.rstrip("K")) * 1024
    except (OSError, ValueError):
        return {}
    return sizes


@functools.cache
def past_caches_from() -> float:
    """From how many bytes, read and written by a call, gradients had better go past the caches.

    Those of the last level, or 32 MiB where the system does not say. Infinity where it does not
    pay: an Intel processor (Emerald Rapids) sees for itself that lines are written as a whole, and
    was slower this way (bench/README.md).
    """
    if not llvm.get_host_cpu_name().startswith("znver"):
        return math.inf
    return max(caches().values(), default=32 << 20)


@_emitted
def queues(count: Any) -> Any:
    """The address of so many empty queues; how many is a constant of the caller."""
    if not isinstance(count, types.IntegerLiteral):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        size = _QUEUE * count.literal_value
        place = cgutils.alloca_once(builder, ir.ArrayType(ir.IntType(8), size))
        place.align = 64
        for queue in range(count.literal_value):
            for word in range(2):
                at = builder.gep(place, [_LONG(0), _LONG(queue * _QUEUE + 8 * word)])
                builder.store(_LONG(0), builder.bitcast(at, _LONG.as_pointer()))
        return builder.ptrtoint(place, _LONG)

    return types.int64(count), codegen


@_emitted
def stream_line(source: Any, target: Any) -> Any:
    """Copies 64 bytes to an address divisible by 64, past the caches."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        line = ir.VectorType(ir.FloatType(), 16).as_pointer()
        source, target = (builder.inttoptr(address, line) for address in args)
        store = builder.store(builder.load(source, align=1), target, align=64)
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.IntType(32)(1)]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@jitable()
def _copy(source: int, target: int, size: int) -> None:
    """Copies an even number of bytes: rows are aligned to their numbers."""
    given, taken = words(source, size // 2), words(target, size // 2)
    for k in range(size // 2):
        taken[k] = given[k]


@jitable(forceinline=False)
def _flush(queue: int) -> None:
    """Writes what waits in a queue."""
    waiting = longs(queue, 2)
    _copy(queue + 64 + waiting[0] % 64, waiting[0], waiting[1] - waiting[0])
    waiting[0] = waiting[1]


@jitable()
def place(queue: int, number: int, target: int) -> int:
    """Where to put what :func:`stream` will write to the target: a queue, or there without one."""
    if queue == 0:
        return target
    queue += number * _QUEUE
    waiting = longs(queue, 2)
    if waiting[1] != target:
        _flush(queue)
        waiting[0] = waiting[1] = target
    return queue + 64 + target % 64


@jitable(forceinline=False)
def stream(queue: int, number: int, size: int) -> None:
    """Writes ``size`` bytes, put into their place; but for a cache line that is not full yet."""
    queue += number * _QUEUE
    waiting = longs(queue, 2)
    since, until = waiting[0], waiting[1] + size
    source, line = queue + 64, since - since % 64
    if since != line and line + 64 <= until:
        # What comes before in this line is not ours.
        _copy(source + since % 64, since, line + 64 - since)
        source, line = source + 64, line + 64
        since = line
    while line + 64 <= until:
        stream_line(source, line)
        source, line = source + 64, line + 64
        since = line
    _copy(source, queue + 64, 64)
    waiting[0], waiting[1] = since, until


@_emitted
def _fence() -> Any:
    """Has what went past the caches arrive before what is written after this.

    An instruction with a lock on x86, which empties the buffers of such stores, too.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


@jitable(forceinline=False)
def finish(queue: int, count: int) -> None:
    """Writes all that waits in so many queues, and what was written before is there after."""
    for number in range(count):
        _flush(queue + number * _QUEUE)
    _fence()


@_emitted
def call(function: Any, first: Any, second: Any) -> Any:
    """Calls the C function of two int64 arguments at an address, and returns its int64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_LONG, [_LONG, _LONG])
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])

    return types.int64(types.int64, types.int64, types.int64), codegen


@_emitted
def fma(a: Any, b: Any, c: Any) -> Any:
    """``a * b + c`` in float32, rounded once."""
    return types.float32(types.float32, types.float32, types.float32), (
        lambda context, builder, signature, args: builder.fma(*args)
    )


def has_fma() -> bool:
    """Whether the processor compiled for has an instruction for it: the C library's is slow."""
    return _has("fma")


class Storage(NamedTuple):
    """How a dtype lies in memory: a row of words, and the way from word to number and back.

    ``pair``, where it is faster, is ``(address, k) -> (number 2 k, number 2 k + 1)``, and the way
    back ``put_pair``, ``(address, k, number 2 k, number 2 k + 1)``.

    All functions of this module: the disk cache's key then names them.
    """

    name: str
    size: int
    row: Any
    decode: Any
    encode: Any
    pair: Any = None
    put_pair: Any = None


STORAGE = {
    "float16": Storage("float16", 2, words, _decode_half, _encode_half),
    "bfloat16": Storage(
        "bfloat16", 2, words, _decode_bfloat, _encode_bfloat, _two_bfloats, _put_two_bfloats
    ),
    "float32": Storage("float32", 4, floats, _plain, _plain),
    "float64": Storage("float64", 8, doubles, _plain, _plain),
}
