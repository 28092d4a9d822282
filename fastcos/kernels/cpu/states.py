"""States of rows: as float32 or float64 numbers, and many side by side, in lanes.

A state is the tuple of numbers in which a distance accumulates a row.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.np import arrayobj

from fastcos.kernels.cpu.memory import INT64, emitted

#: Number of lanes. A loop over fewer is unrolled before it could be vectorised.
LANES = 32

# What the compiler is told of memory that does not overlap: the gradients of the operands.
_GRADIENTS = ("gradient 0", "gradient 1", "gradient 2")


def _in_lane(builder: Any, number: Any, address: Any, lane: Any, i: int) -> Any:
    """Pointer to number i of the state of a lane: all lanes' numbers i are side by side."""
    place = builder.inttoptr(address, number.as_pointer())
    return builder.gep(place, [builder.add(lane, INT64(i * LANES))])


def _marked(builder: Any, instruction: Any, *, of: str = "", apart: Sequence[str] = ()) -> Any:
    """Marks a load or a store as one of a kind of memory, and as touching none of others.

    Without the marks the compiler has to assume that a number of a row may lie in a lane, and has
    to write the states to memory before each is read; and it looks, before every stretch of a
    gradient, whether that overlaps what the gradient is computed from.
    """
    domain = builder.module.add_metadata(["fastcos"])
    for mark, names in (("alias.scope", [of] if of else []), ("noalias", apart)):
        if names:
            scopes = [builder.module.add_metadata([name, domain]) for name in names]
            instruction.set_metadata(mark, builder.module.add_metadata(scopes))
    return instruction


@emitted
def load_element(values: Any, k: Any) -> Any:
    """``values[k]``, of a row of an operand, which overlaps neither the lanes nor gradients."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = arrayobj.make_array(values)(context, builder, args[0])
        loaded = builder.load(builder.gep(array.data, [args[1]]))
        return _marked(builder, loaded, apart=("lanes", *_GRADIENTS))

    return values.dtype(values, types.int64), codegen


@emitted
def store_gradient(values: Any, k: Any, value: Any, number: Any) -> Any:
    """``values[k] = value``, of the gradient of an operand, whose ``number`` is a constant."""
    if not isinstance(number, types.IntegerLiteral):
        return None
    own = _GRADIENTS[number.literal_value]

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = arrayobj.make_array(values)(context, builder, args[0])
        cast = context.cast(builder, args[2], value, values.dtype)
        stored = builder.store(cast, builder.gep(array.data, [args[1]]))
        _marked(builder, stored, of=own, apart=[name for name in _GRADIENTS if name != own])
        return context.get_dummy_value()

    return types.void(values, types.int64, value, number), codegen


def _store_lane(number: Any, state: Any) -> Any:
    """Signature and codegen that store the state of a lane as numbers of a type."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = context.get_value_type(number)
        for i, kind in enumerate(state):
            value = context.cast(builder, builder.extract_value(args[2], i), kind, number)
            place = _in_lane(builder, word, args[0], args[1], i)
            _marked(builder, builder.store(value, place), of="lanes")
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, state), codegen


def _load_lane(number: Any, like: Any) -> Any:
    """Signature and codegen that load the state of a lane, stored as numbers of a type."""
    kind = types.UniTuple(number, len(like))

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = context.get_value_type(number)
        places = [_in_lane(builder, word, args[0], args[1], i) for i in range(len(like))]
        numbers = [_marked(builder, builder.load(place), of="lanes") for place in places]
        return context.make_tuple(builder, kind, numbers)

    return kind(types.int64, types.int64, like), codegen


@emitted
def lane_memory(like: Any) -> Any:
    """The address of stack memory for a state of each lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = cgutils.alloca_once(builder, ir.ArrayType(ir.DoubleType(), len(like) * LANES))
        place.align = 64
        return builder.ptrtoint(place, INT64)

    return types.int64(like), codegen


@emitted
def store_lane(address: Any, lane: Any, state: Any) -> Any:
    """Stores the state of a lane as float64."""
    return _store_lane(types.float64, state)


@emitted
def load_lane(address: Any, lane: Any, like: Any) -> Any:
    """The state of a lane, stored as float64; it has as many numbers as ``like``."""
    return _load_lane(types.float64, like)


@emitted
def store_float32_lane(address: Any, lane: Any, state: Any) -> Any:
    """Stores the state of a lane as float32."""
    return _store_lane(types.float32, state)


@emitted
def load_float32_lane(address: Any, lane: Any, like: Any) -> Any:
    """The state of a lane, stored as float32."""
    return _load_lane(types.float32, like)


def _cast(number: Any, state: Any) -> Any:
    """Signature and codegen that cast the numbers of a tuple to one type."""
    kind = types.UniTuple(number, len(state))

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.cast(builder, args[0], state, kind)

    return kind(state), codegen


@emitted
def as_float64(state: Any) -> Any:
    """The numbers of a tuple as float64, integers among them."""
    return _cast(types.float64, state)


@emitted
def as_float32(state: Any) -> Any:
    """The numbers of a tuple as float32."""
    return _cast(types.float32, state)


@emitted
def add_up(total: Any, part: Any) -> Any:
    """The sum of two tuples of numbers, of the type of the first."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole, more = args[0], context.cast(builder, args[1], part, total)
        both = [
            builder.fadd(builder.extract_value(whole, i), builder.extract_value(more, i))
            for i in range(len(total))
        ]
        return context.make_tuple(builder, total, both)

    return total(total, part), codegen


def _with_stretch(state: Any, end: Any, start: Any, combine: Any) -> Any:
    """Signature and codegen that update a float64 state by a stretch accumulated in float32.

    Each number becomes ``combine(builder, same, total, now, before)``: ``total`` in the state,
    ``now`` at the end of the stretch and ``before`` at its start, all in float64; ``same`` says
    whether the stretch left the number as it was.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        numbers = []
        for i in range(len(state)):
            total, now, before = (builder.extract_value(given, i) for given in args)
            same = builder.fcmp_ordered("==", now, before)
            now, before = (builder.fpext(given, ir.DoubleType()) for given in (now, before))
            numbers.append(combine(builder, same, total, now, before))
        return context.make_tuple(builder, state, numbers)

    return state(state, end, start), codegen


@emitted
def add_gain(state: Any, end: Any, start: Any) -> Any:
    """A float64 state plus what each number gained over a stretch in float32.

    A number that has not changed has gained nothing, also where it is infinite in float32.
    """

    def combine(builder: Any, same: Any, total: Any, now: Any, before: Any) -> Any:
        gain = builder.select(same, ir.DoubleType()(0.0), builder.fsub(now, before))
        return builder.fadd(total, gain)

    return _with_stretch(state, end, start, combine)


@emitted
def replace_changed(state: Any, end: Any, start: Any) -> Any:
    """A float64 state, with the numbers that changed over a stretch in float32 replaced.

    This is for maxima, which do not grow by a difference, and may start at infinity.
    """

    def combine(builder: Any, same: Any, total: Any, now: Any, before: Any) -> Any:
        return builder.select(same, total, now)

    return _with_stretch(state, end, start, combine)
