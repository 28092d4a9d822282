"""torch tensors as arrays: the adapter's contract, without autograd.

This is the adapter for tensors in the memory of this machine; what is different for those on a GPU
is in :mod:`fastcos.adapters.torch.cuda`.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastcos import kernels
from fastcos.engine.layout import ArrayLayout, may_overlap_itself
from fastcos.engine.rows import check_integers
from fastcos.kernels import BOOLS, BYTES, DOUBLES, LONGS

from .. import numpy as of_numpy
from .._foreign import check_in_memory
from .._memory import block
from ..numpy import asarray as of_host
from ..numpy import extent, overlap, overlaps_itself
from .listwise import evaluate as evaluate
from .matrices import DTYPES as DTYPES
from .matrices import SHARED_BESIDE_PRODUCTS as SHARED_BESIDE_PRODUCTS
from .matrices import add_matmul as add_matmul
from .matrices import center as center
from .matrices import classes as classes
from .matrices import factors as factors
from .matrices import from_host as from_host
from .matrices import joined as joined
from .matrices import matmul as matmul
from .matrices import nonzero as nonzero
from .matrices import numbered as numbered
from .matrices import numbered_like as numbered_like
from .matrices import product_roundoff as product_roundoff
from .matrices import products_on_one_thread as products_on_one_thread
from .matrices import ratio_with as ratio_with
from .matrices import where as where
from .watchers import BY_TORCH, is_ordinary, unseen, watcher_of

Dtype = torch.dtype

FLOATS = {
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
    torch.float32: "float32",
    torch.float64: "float64",
}
#: Whether operations are recorded for later, by :func:`evaluate`.
records = True
lazy = False
#: The losses that kernels give in this dtype, for it takes an operator 2 us to convert a few.
NARROW = torch.float32
#: How to ask for and set the number of threads.
THREADS = (torch.get_num_threads, torch.set_num_threads)

#: Whether a number can be read without waiting for a device.
SCALARS_ARE_FREE = True
#: Where tensors may be, and the adapter for it.
PLACES = {"cpu": "fastcos.adapters.torch.arrays", "cuda": "fastcos.adapters.torch.cuda"}

_HERE = torch.device("cpu")
_INTEGERS = {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
_READ, _STRIDED, _Parameter = {*FLOATS, *_INTEGERS}, torch.strided, torch.nn.Parameter
_ACCEPTED = "float16, bfloat16, float32, float64, integers or bool"
# From how many bytes on memory is not torch's. Half of that pays for NumPy's arrays; torch's memory
# came without page faults there, and took four fifths of the time.
_BLOCKS_FROM = 1 << 20


def float_name(dtype: Dtype) -> str | None:
    """The name that the kernels know a dtype by, None for one that they do not compute in."""
    return FLOATS.get(dtype)


def placed(names: Sequence[str], values: Sequence[Any]) -> Any:
    """The adapter for where tensors are.

    Raises:
        RuntimeError: they are on two devices; torch transforms or records the call.
    """
    watcher = "" if is_ordinary() else watcher_of(values)
    if watcher:
        raise RuntimeError(unseen(watcher))
    first, place = "", torch.device("cpu")
    for name, value in zip(names, values, strict=True):
        # Others are refused by name, later.
        if isinstance(value, Tensor) and value.device.type in PLACES:
            if first:
                _check_device(first, place, name, value.device)
            else:
                first, place = name, value.device
    return at(place.type)


def unrecorded(values: Sequence[Any]) -> Any:
    """The adapter for where tensors are, the first value among them; None where more is to be seen.

    That is where somebody watches, where a gradient may be asked for later, and of other tensors
    than those on a CPU or on a GPU.
    """
    first = values[0]
    if not isinstance(first, Tensor) or not is_ordinary():
        return None
    if torch.is_grad_enabled():
        for value in values:
            if isinstance(value, Tensor) and value.requires_grad:
                return None
    return at("cpu") if first.is_cpu else at("cuda") if first.is_cuda else None


@functools.cache
def at(place: str) -> Any:
    """The adapter for tensors on devices of a type."""
    return importlib.import_module(PLACES[place])


def _check_device(one: str, here: torch.device, other: str, there: torch.device) -> None:
    # The type of torch's own error, and how that begins.
    if here != there:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but {one} is on {here} and {other} is"
            f" on {there}"
        )


def asarray(name: str, value: Any) -> Tensor:
    """The argument as a strided tensor; numbers and lists in the memory of this machine.

    A subclass is taken for the numbers in its memory, and hears of nothing.

    Raises:
        TypeError: it is on another device than a GPU, sparse, nested, quantised, complex, without
            memory, or of a class that has operators of its own.
    """
    if not isinstance(value, Tensor):
        value = converted(name, value, "cpu")
    fault = unfit(value)
    if fault:
        raise TypeError(f"{name} {fault}")
    if not is_exact(value):
        _check_operators(name, value)
        with torch._C.DisableTorchFunctionSubclass():
            value = value.as_subclass(Tensor)
    return value.resolve_neg() if value.is_neg() else value


def converted(name: str, value: Any, place: str) -> Tensor:
    """What is no tensor, as one in a place.

    Raises:
        TypeError, ValueError: it holds no numbers, or not in memory; in the words of all libraries.
    """
    check_in_memory(name, value)
    if isinstance(value, torch.fx.Proxy):
        raise RuntimeError(unseen("torch.fx"))
    try:
        return torch.as_tensor(value, device=place)
    except (TypeError, ValueError, RuntimeError):
        of_host(name, value)
        raise


def _check_operators(name: str, value: Tensor) -> None:
    if type(value).__torch_dispatch__ is not Tensor.__torch_dispatch__:
        what = f"is a {type(value).__name__}, which has operators of its own"
        raise TypeError(f"{name} {what}; {BY_TORCH}")


def is_exact(value: Any) -> bool:
    """Whether this is a tensor, and of no class of another name that could change what it does."""
    return type(value) is Tensor or type(value) is _Parameter


def unfit(value: Tensor) -> str:
    """Why the kernels cannot take a tensor; empty where they can."""
    if value.dtype not in FLOATS and value.dtype not in _INTEGERS:
        return f"has dtype {value.dtype}; accepted are {_ACCEPTED}"
    if not (value.is_cpu or value.is_cuda):
        return f"is on {value.device}; accepted are tensors on the CPU or on a CUDA device"
    if value.layout is not torch.strided or value.is_nested:
        kind = "a nested tensor" if value.is_nested else f"of layout {value.layout}"
        return f"is {kind}; accepted are strided tensors"
    try:
        memory = value.data_ptr()
    except RuntimeError:
        memory = 0
    if memory == 0 and value.numel():
        return f"has no memory of its own (it is a fake, wrapped or zero tensor); {BY_TORCH}"
    return ""


def float64(name: str, value: Any) -> Tensor:
    """The argument as contiguous float64, detached."""
    return asarray(name, value).detach().to(torch.float64).contiguous()


def common_dtype(arrays: Sequence[Tensor]) -> Dtype:
    """The dtype to compute in: torch's promotion, never below float32 where an integer takes part.

    float16 and bfloat16 meet in float32.
    """
    first = arrays[0].dtype
    if first in FLOATS and all([array.dtype is first for array in arrays]):
        return first
    dtypes = [a.dtype if a.dtype in FLOATS else torch.float32 for a in arrays]
    return functools.reduce(torch.promote_types, dtypes)


def layout(array: Tensor) -> ArrayLayout:
    """The layout of a tensor."""
    size, aligned = array.itemsize, array.data_ptr() % array.itemsize == 0
    fields = tuple(array.shape), array.stride(), array.dtype, aligned, size, device_of(array)
    return tuple.__new__(ArrayLayout, fields)


def is_read(layout: ArrayLayout) -> bool:
    """Whether an array of this layout is read without :func:`asarray`: all that have one are."""
    return True


#: The number of the GPU that a tensor is on, or -1.
device_of = Tensor.get_device


def array_layout(value: Any) -> ArrayLayout | None:
    """The layout of a tensor that kernels could take as it is; None for what is to be converted."""
    # is_exact, unfit and layout in one: each tensor of a call is asked for it, in both passes.
    kind = type(value)
    if (
        (kind is not Tensor and kind is not _Parameter)
        or (dtype := value.dtype) not in _READ
        or value.layout is not _STRIDED
        or not (value.is_cpu or value.is_cuda)
        or value.is_neg()
        or value.is_nested
    ):
        return None
    try:
        memory = value.data_ptr()
    except RuntimeError:
        return None
    if not memory and value.numel():
        return None
    size = dtype.itemsize
    fields = tuple(value.shape), value.stride(), dtype, memory % size == 0, size, device_of(value)
    return tuple.__new__(ArrayLayout, fields)  # what ArrayLayout() does, in half the time


def rows(array: Tensor, axis: int, dtype: Dtype) -> Tensor:
    """A C-contiguous copy in the dtype to compute in, the feature axis last."""
    view = features_last(array.detach(), axis)
    return _new(view, dtype).copy_(view)


def features_last(array: Tensor, axis: int) -> Tensor:
    """A view with the feature axis last; with an axis of length 1 added for ``axis`` 0."""
    if axis == 0:
        return array.unsqueeze(-1)
    return array if axis == -1 else array.movedim(axis, -1)


def _new(like: Tensor, dtype: Dtype, shape: Sequence[int] | None = None) -> Tensor:
    """A new contiguous tensor of the same shape, or of another."""
    size = (like.numel() if shape is None else math.prod(shape)) * dtype.itemsize
    if size < _BLOCKS_FROM or like.is_cuda:
        if shape is not None:
            return like.new_empty(shape, dtype=dtype)
        # Not torch.empty, which follows the default device.
        if like.dtype is dtype and like.is_contiguous():
            return torch.empty_like(like)
        return torch.empty_like(like, dtype=dtype, memory_format=torch.contiguous_format)
    # Not a view any more, which could not be detached in place.
    return torch.from_numpy(block(size)).view(dtype).view(shape or like.shape).detach()


def empty_like(array: Tensor, axis: int, dtype: Dtype, count: int | None = None) -> Tensor:
    """A new tensor of the same shape whose rows along ``axis`` are contiguous.

    With a ``count`` it has so many along its first axis.
    """
    if array.nbytes < _BLOCKS_FROM and array.dtype is dtype and axis in (-1, 0) and count is None:
        if array.is_contiguous():
            return torch.empty_like(array)  # as _new does: a third of a small backward pass
    view = array if axis in (-1, 0) else array.movedim(axis, -1)
    shape = None if count is None else (count, *view.shape[1:])
    found = _new(view, dtype, shape)
    return found if axis in (-1, 0) else found.movedim(-1, axis)


def arange(count: int, like: Tensor) -> Tensor:
    """The first int64 numbers."""
    return torch.arange(count, dtype=torch.int64, device=like.device)


def is_integer(dtype: Dtype) -> bool:
    """Whether numbers of a dtype may be those of rows."""
    return dtype in _INTEGERS and dtype is not torch.bool


def row_numbers(index: Tensor, rows: int) -> Tensor:
    """As the adapter for NumPy's arrays has it."""
    check_integers(index.dtype, is_integer(index.dtype))
    found = of_numpy.row_numbers(index.numpy(), rows)
    found.flags.writeable = True  # torch has no other arrays
    return torch.from_numpy(found)


def sorted_words(
    numbers: Sequence[tuple[int, Tensor]], samples: tuple[int, ...], shift: int, bits: int
) -> Any:
    """As the adapter for NumPy's arrays has it."""
    found = [(operand, rows.numpy()) for operand, rows in numbers]
    return of_numpy.sorted_words(found, samples, shift, bits, THREADS)


distinct = of_numpy.distinct


def row_gradient(rows: Any, values: Tensor, table: Tensor) -> Tensor:
    """The gradient of these rows of a table, as a coalesced sparse tensor."""
    if not isinstance(rows, Tensor):
        rows = torch.from_numpy(rows)
    # Which are ascending and distinct, so that there is nothing to look for in them.
    return torch.sparse_coo_tensor(
        rows.unsqueeze(0), values, table.shape, check_invariants=False, is_coalesced=True
    )


def workspace(shape: tuple[int, ...], dtype: Dtype, like: Tensor) -> Tensor:
    """Memory for matrices that products are made of."""
    return _new(like.detach(), dtype, shape)


def scratch(shape: tuple[int, ...], like: Tensor) -> Any:
    """Memory for float64 numbers: NumPy's, which is there in a tenth of the time."""
    return np.empty(shape)


def wrap(numbers: Any) -> Tensor:
    """Scratch memory as a tensor."""
    return torch.from_numpy(numbers)


def host(array: Tensor) -> Any:
    """The same as a NumPy array."""
    array = array.detach().cpu()
    return (array.float() if array.dtype is torch.bfloat16 else array).numpy()


#: There is one device only.
device_guard = None


def number(array: Tensor) -> float:
    """A number that was computed."""
    return float(array)


_KINDS = {
    torch.float64: DOUBLES,
    torch.float32: kernels.FLOATS,
    torch.int64: LONGS,
    torch.int8: BYTES,
    torch.bool: BOOLS,
}


def label_kind(dtype: Dtype) -> int | None:
    """How kernels read labels of a dtype, None where they do not."""
    return _KINDS.get(dtype)


def labels(given: Tensor) -> tuple[Tensor, int]:
    """Labels as kernels read them, one after another, and in which dtype."""
    kind = label_kind(given.dtype)
    if kind is None:
        return given.detach().to(torch.float64).contiguous(), DOUBLES
    packed = given.detach().contiguous()
    return packed.clone() if packed.data_ptr() % packed.itemsize else packed, kind


def numbers(array: Tensor, samples: tuple[int, ...]) -> Tensor:
    """Numbers for the kernels: one for all samples, or one for each in C order."""
    if array.numel() != 1 and array.shape != samples:
        array = array.expand(samples)
    return array.contiguous()


def sum_to(array: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The sum over the axes along which something of ``shape`` was broadcast."""
    axes = [a for a, n in enumerate(shape) if n == 1]
    if not shape:
        return array.sum()
    return array.sum(axes, keepdim=True) if axes else array


def values(losses: Any, dtype: Dtype) -> Tensor:
    """What is returned for one loss per sample."""
    if not isinstance(losses, np.ndarray):
        return losses.to(dtype)
    found = torch.from_numpy(losses)
    return found if found.dtype is dtype else found.to(dtype)


def scalar(number: float, dtype: Dtype, like: Tensor) -> Tensor:
    """What is returned for one number."""
    return torch.scalar_tensor(number, dtype=dtype, device=_HERE)


def address(array: Any) -> int:
    """Where the data begin.

    Raises:
        RuntimeError: of a new tensor, which ``torch.func.grad`` wraps, as all that is computed.
    """
    try:
        found: int = array.data_ptr()
        return found
    except AttributeError:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    except RuntimeError as error:
        raise RuntimeError(unseen("torch.func transforms")) from error


def check_out(name: str, out: Any, others: dict[str, Any]) -> None:
    """Raises unless ``out`` is memory of its own.

    Raises:
        TypeError: not a tensor that kernels could write to.
        RuntimeError: on another device than an argument.
        ValueError: part of a graph, or sharing memory with an argument, with another buffer, or
            with itself.
    """
    if not isinstance(out, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(out).__name__}")
    fault = unfit(out)
    if fault:
        raise TypeError(f"{name} {fault}")
    if out.requires_grad:
        raise ValueError(f"{name} requires a gradient: pass a detached tensor")
    if may_overlap_itself(layout(out)) and overlaps_itself(_extent(out)):
        raise ValueError(
            f"{name} is an expanded view or overlaps itself: its elements share memory"
        )
    for other, value in others.items():
        if not isinstance(value, Tensor):
            continue
        _check_device(name, out.device, other, value.device)
        if overlap(_extent(out), _extent(value)):
            raise ValueError(f"{name} shares memory with {other}")
    _check_operators(name, out)


def no_overlap(buffers: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Whether buffers may be written to and lie, from first byte to last, apart from all others."""
    taken = [*map(_span, others)]
    for buffer in buffers:
        if buffer.requires_grad:
            return False
        start, end = span = _span(buffer)
        if any([start < other_end and other < end for other, other_end in taken]):
            return False
        taken.append(span)
    return True


def _span(array: Tensor) -> tuple[int, int]:
    """The addresses of the first byte and of that after the last; the same where there is none."""
    start = array.data_ptr()
    if not array.numel():
        return start, start
    last = sum([(n - 1) * stride for n, stride in zip(array.shape, array.stride(), strict=True)])
    return start, start + (last + 1) * array.itemsize


def _extent(array: Tensor) -> Any:
    size = array.itemsize
    return extent(array.data_ptr(), array.shape, [size * s for s in array.stride()], size)
