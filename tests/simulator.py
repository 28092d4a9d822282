"""A GPU for the kernels of fastcos, in Python: threads are greenlets, addresses those of the host.

Deterministic, with any order of blocks and threads, and stricter than a GPU: it raises when a
kernel touches memory outside of all arrays, or at an address that is no multiple of the size, and
when threads wait at a shuffle or a barrier that others never reach. Shared memory holds NaN until
it is written.

``Library`` is the part of CuPy that the adapter uses, on this GPU.
"""

import bisect
import contextvars
import ctypes
import functools
import types
import weakref
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from greenlet import getcurrent, greenlet

WARP = 32


class Memory:
    """The memory that kernels may touch: the buffers that are alive, by address."""

    def __init__(self):
        self._starts, self._ends, self._views = [], {}, {}

    def add(self, buffer):
        """Adds a contiguous array of the host, for as long as there is one."""
        self.allow(buffer.ctypes.data, buffer.nbytes, buffer)

    def allow(self, start, size, owner):
        """Adds bytes of the host, for as long as there is an owner."""
        if not size:
            return  # its address may be in another's memory
        if start not in self._ends:
            bisect.insort(self._starts, start)
            weakref.finalize(owner, self._remove, start)
        self._ends[start] = start + size

    def _remove(self, start):
        self._starts.remove(start)
        del self._ends[start]
        for dtype in DTYPES:
            self._views.pop((start, dtype), None)

    def at(self, address, dtype, count=1):
        """An array that begins at or before an address, of which ``count`` are touched; where."""
        itemsize = _SIZES[dtype]
        size = itemsize * count
        at = bisect.bisect(self._starts, address) - 1
        if at < 0 or address + size > self._ends[self._starts[at]]:
            raise MemoryError(f"{size} bytes at {address:#x} are of no array")
        if address % size:
            raise MemoryError(f"{size} bytes at {address:#x}, which is no multiple")
        start = self._starts[at]
        view = self._views.get((start, dtype))
        if view is None:
            first = -(-start // itemsize) * itemsize
            room = (self._ends[start] - first) // itemsize * itemsize
            buffer = (ctypes.c_char * room).from_address(first)
            view = self._views[start, dtype] = np.frombuffer(buffer, dtype)
        return view, (address - start) // itemsize


#: The types of numbers in memory.
DTYPES = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.int64, np.int8)
_SIZES = {dtype: np.dtype(dtype).itemsize for dtype in DTYPES}


class Storage:
    def __init__(self, memory, dtype, number):
        self.size, self.number = np.dtype(dtype).itemsize, number
        self.vector = vector = 16 // self.size

        def load(address):
            view, k = memory.at(address, dtype, vector)
            return tuple(view[k : k + vector].astype(number))

        def store(address, values):
            assert len(values) == vector
            assert all(type(value) is number for value in values)
            view, k = memory.at(address, dtype, vector)
            view[k : k + vector] = values

        def get(address):
            view, k = memory.at(address, dtype)
            return number(view[k])

        def put(address, value):
            assert isinstance(value, (number, float))
            view, k = memory.at(address, dtype)
            view[k] = value

        self.load, self.store, self.get, self.put = load, store, get, put


class _Thread(greenlet):
    pass


class _Cuda:
    """What kernels use of ``numba.cuda``."""

    jit = staticmethod(lambda kernel: kernel)
    threadIdx = property(lambda self: getcurrent().thread)
    blockIdx = property(lambda self: getcurrent().block)
    blockDim = property(lambda self: getcurrent().dimension)

    def __init__(self):
        self.shared = types.SimpleNamespace(array=self._shared)

    def _shared(self, shape, dtype):
        thread = getcurrent()
        name = next(thread.names)
        if name not in thread.memory:
            thread.memory[name] = np.full(shape, np.nan)
        return thread.memory[name]

    def syncthreads(self):
        self._wait("block", None, None)

    def shfl_xor_sync(self, mask, value, step):
        return self._wait(mask, value, getcurrent().lane ^ step)

    def shfl_sync(self, mask, value, source):
        return self._wait(mask, value, source)

    def ballot_sync(self, mask, predicate):
        return self._wait(mask, 1 if predicate else 0, None)

    @staticmethod
    def popc(bits):
        return int(bits).bit_count()

    @staticmethod
    def ffs(bits):
        return (int(bits) & -int(bits)).bit_length()

    warpsize = WARP

    def _wait(self, whom, value, source):
        thread = getcurrent()
        if whom != "block" and source is not None:
            assert whom >> thread.lane & 1, "a shuffle that the thread itself takes no part in"
            assert whom >> source & 1, "a value from a thread that takes no part"
        thread.waits, thread.value, thread.source = whom, value, source
        thread.parent.switch()
        return thread.value


def _sharing(number):
    def share(shared, numbers):
        assert len(numbers) <= Gpu.SHARED
        shared[: len(numbers)] = [number(value) for value in numbers]

    def shared_like(shared, numbers):
        return tuple(number(value) for value in shared[: len(numbers)])

    return share, shared_like


class Gpu:
    """The namespace that kernels are made with, and ``launch`` to run them."""

    float64 = np.float64
    SHARED = 32

    def __init__(self, order="forward", seed=0):
        self.memory = Memory()
        self.order, self.rng = order, np.random.default_rng(seed)
        self.cuda = _Cuda()
        self.STORAGE = {
            "float16": Storage(self.memory, np.float16, np.float32),
            "bfloat16": Storage(self.memory, ml_dtypes.bfloat16, np.float32),
            "float32": Storage(self.memory, np.float32, np.float32),
            "float64": Storage(self.memory, np.float64, np.float64),
        }
        self.get_float, self.get_double = self.STORAGE["float32"].get, self.STORAGE["float64"].get
        self.put_double = self.STORAGE["float64"].put
        self.get_long = lambda address: self._integer(address, np.int64)
        self.get_byte = lambda address: self._integer(address, np.int8)
        self.put_long = self._put_long
        self.ARRAYS = {
            "float32": functools.partial(self._array, np.float32),
            "float64": functools.partial(self._array, np.float64),
        }
        self.SHARING = {"float32": _sharing(np.float32), "float64": _sharing(np.float64)}
        self.launches = 0

    def _integer(self, address, dtype):
        view, k = self.memory.at(address, dtype)
        return int(view[k])

    def _put_long(self, address, value):
        view, k = self.memory.at(address, np.int64)
        view[k] = value

    def _array(self, dtype, address, length):
        if address == 0 or length == 0:
            return None
        self.memory.at(address + (length - 1) * _SIZES[dtype], dtype)
        view, k = self.memory.at(address, dtype)
        return view[k : k + length]

    @staticmethod
    def transposed(rows):
        return tuple(zip(*rows, strict=True))

    def store_zeros(self, address):
        view, k = self.memory.at(address, np.float32, 4)
        view[k : k + 4] = 0

    @staticmethod
    def fma(a, b, c):
        # The product is exact in float64; the sum is rounded twice, which differs once in 2**29.
        return np.float32(float(a) * float(b) + float(c))

    def launch(self, kernel, blocks, threads, integers, floats):
        assert threads % WARP == 0
        # Of another type they are launched as other than 8 bytes each.
        assert all(type(n) is int for n in integers)
        assert all(isinstance(x, float) for x in floats)
        floats = tuple(map(np.float64, floats))
        numbers = self._ordered(blocks)
        self.launches += 1
        with np.errstate(all="ignore"):
            for block in numbers:
                self._run(kernel, block, threads, (integers, floats))

    def _ordered(self, count):
        numbers = list(range(count))
        if self.order == "reverse":
            numbers.reverse()
        elif self.order == "random":
            self.rng.shuffle(numbers)
        return numbers

    def _run(self, kernel, block, threads, arguments):
        memory, threads_of_block = {}, []
        # With NumPy's settings for overflows.
        context = contextvars.copy_context()
        for number in range(threads):
            thread = _Thread(kernel)
            thread.thread = types.SimpleNamespace(x=number)
            thread.block = types.SimpleNamespace(x=block)
            thread.dimension = types.SimpleNamespace(x=threads)
            thread.lane, thread.warp = number % WARP, number // WARP
            thread.memory, thread.names, thread.waits = memory, iter(range(9)), None
            thread.gr_context = context.copy()
            threads_of_block.append(thread)
        threads_of_block = [threads_of_block[number] for number in self._ordered(threads)]
        for thread in threads_of_block:
            thread.switch(*arguments)
        while True:
            alive = [thread for thread in threads_of_block if not thread.dead]
            if not alive:
                return
            ready = _ready(alive)
            if not ready:
                waiting = {thread.waits for thread in alive}
                raise RuntimeError(f"threads wait for others that do not come: {waiting}")
            for thread in ready:
                thread.waits = None
                thread.switch()


def _ready(alive):
    """The threads whose shuffle or barrier all others have reached; values are exchanged."""
    if all(thread.waits == "block" for thread in alive):
        # Threads that have ended are not waited for at a barrier, as on a GPU.
        return alive
    groups = {}
    for thread in alive:
        if thread.waits != "block":
            groups.setdefault((thread.warp, thread.waits), []).append(thread)
    ready = []
    for (_, mask), threads in groups.items():
        if len(threads) == mask.bit_count():
            values = {thread.lane: thread.value for thread in threads}
            for thread in threads:
                if thread.source is None:
                    thread.value = sum(bit << lane for lane, bit in values.items())
                else:
                    thread.value = values[thread.source]
            ready += threads
    return ready


def launcher(gpu, make, counts, threads, device, what):
    """Stands in for ``launch.launcher``, the arrays of a launch being of the host."""
    return _made(gpu, make.func, make.args, counts, threads)


@functools.lru_cache(maxsize=64)
def _made(gpu, make, arguments, counts, threads):
    function = make(*arguments, gpu)

    def launch(stream, blocks, integers, floats):
        assert (len(integers), len(floats)) == counts
        gpu.launch(function, blocks, threads, integers, floats)

    return launch


# --------------------------------------------------------------------------------------------------
# CuPy
# --------------------------------------------------------------------------------------------------


class Pointer(NamedTuple):
    """Where an array begins."""

    array: Any
    ptr: int

    def __add__(self, offset):
        return Pointer(self.array, self.ptr + offset)


class Array(np.ndarray):
    """An array that says where it is as CuPy's do, and whose scalars are arrays."""

    library, number = None, 0

    def __new__(cls, shape, dtype, memptr, strides):
        start = memptr.ptr - memptr.array.ctypes.data
        array = np.ndarray.__new__(cls, shape, dtype, memptr.array, start, strides)
        array.library = memptr.array.library
        return array

    @property
    def data(self):
        return Pointer(self, self.ctypes.data)

    @property
    def device(self):
        return Device(self.library, self.number)

    @property
    def __cuda_array_interface__(self):
        return {"data": (self.ctypes.data, False), "shape": self.shape, "version": 3}

    def __array_finalize__(self, source):
        self.library = getattr(source, "library", None)
        self.number = getattr(source, "number", 0)

    def __array_wrap__(self, array, context=None, return_scalar=False):
        self._check_current()
        return self.library.own(np.asarray(array))

    def _check_current(self):
        if self.number != self.library.current:
            raise ValueError(f"an array of device {self.number}, not the current one, is computed")

    def __getitem__(self, key):
        found = super().__getitem__(key)
        # What an index picks is memory of its own.
        if isinstance(found, Array) and np.may_share_memory(found, self):
            return found
        return self.library.own(np.asarray(found))

    def __repr__(self):
        return repr(np.asarray(self))

    def astype(self, dtype, order="K", copy=True):
        if not copy and self.dtype == dtype:
            return self
        self._check_current()
        return self.library.own(np.asarray(self).astype(dtype, order=order))

    def copy(self):
        self._check_current()
        return self.library.own(np.asarray(self).copy())

    def mean(self, axis=None, dtype=None, out=None):
        self._check_current()
        assert out is None
        return self.library.own(np.asarray(np.asarray(self).mean(axis=axis, dtype=dtype)))

    def sum(self, axis=None, keepdims=False):
        self._check_current()
        return self.library.own(np.asarray(np.asarray(self).sum(axis=axis, keepdims=keepdims)))

    def __bool__(self):
        if self.size != 1:
            raise TypeError("only arrays of one number are numbers")
        raise AssertionError("a number of the device is waited for")

    __float__ = __int__ = __index__ = __complex__ = item = tolist = __bool__


Array.__module__, Array.__name__ = "simulated", "ndarray"


class Device:
    """A device, which is the current one while it is entered."""

    def __init__(self, library, number):
        self.library, self.id = library, number

    def __enter__(self):
        self.before, self.library.current = self.library.current, self.id
        self.library.entered.append(self.id)

    def __exit__(self, *failure):
        self.library.current = self.before


class Library:
    """A module ``cupy`` whose arrays are the simulated GPU's.

    What it makes is on the ``current`` device; ``entered`` lists those that were made current.
    """

    ndarray = Array

    def __init__(self, gpu):
        self._gpu = gpu
        self.current, self.entered = 0, []
        self.cublas = types.SimpleNamespace(gemm=self._gemm)
        self.cuda = types.SimpleNamespace(
            runtime=types.SimpleNamespace(getDevice=lambda: self.current),
            get_current_stream=lambda: types.SimpleNamespace(ptr=7),
        )

    def own(self, array):
        """The same array as one of the device."""
        buffer = array if array.base is None else array.base
        if not isinstance(buffer, np.ndarray) or not buffer.flags.forc:
            array = buffer = array.copy()
        self._gpu.memory.add(buffer)
        view = array.view(Array)
        view.library, view.number = self, self.current
        return view

    def asarray(self, value, dtype=None):
        if isinstance(value, Array):
            return value if dtype in (None, value.dtype) else value.astype(dtype)
        return self.own(np.array(value, dtype=dtype))

    def array(self, value, dtype, order):
        return self.own(np.array(value, dtype=dtype, order=order, subok=False))

    def empty(self, shape, dtype=np.float64):
        # Bytes that no test expects.
        buffer = np.full(shape, 0, dtype)
        buffer.reshape(-1).view(np.uint8)[:] = 0xFF
        return self.own(buffer)

    def ascontiguousarray(self, array):
        return array if array.flags.c_contiguous else self.array(array, array.dtype, "C")

    def broadcast_to(self, array, shape):
        return np.broadcast_to(array, shape, subok=True)

    def where(self, condition, one, other):
        parts = (np.asarray(part) for part in (condition, one, other))
        return self.own(np.asarray(np.where(*parts)))

    def arange(self, count, dtype):
        return self.own(np.arange(count, dtype=dtype))

    def zeros(self, shape):
        return self.own(np.zeros(shape))

    def nonzero(self, mask):
        return tuple(self.own(each) for each in np.nonzero(np.asarray(mask)))

    def concatenate(self, arrays):
        return self.own(np.concatenate([np.asarray(each) for each in arrays]))

    def partition(self, array, kth, axis):
        return self.own(np.partition(np.asarray(array), kth, axis))

    def cumsum(self, array, dtype):
        return self.own(np.cumsum(np.asarray(array), dtype=dtype))

    def _gemm(self, transa, transb, a, b, out, beta=0.0):
        assert (transa, transb) == ("N", "N")
        assert a.dtype == b.dtype == out.dtype
        with np.errstate(all="ignore"):
            product = np.asarray(a) @ np.asarray(b)
            # What is there is not read, and may be NaN, where it is times 0.
            out[...] = product if beta == 0 else product + beta * np.asarray(out)

    moveaxis = staticmethod(np.moveaxis)
    may_share_memory = staticmethod(np.may_share_memory)

    @staticmethod
    def asnumpy(array):
        return np.array(array, subok=False)


# --------------------------------------------------------------------------------------------------
# Tensors
# --------------------------------------------------------------------------------------------------


class Lent:
    """Tensors of the host that stand in for those of a device.

    A kernel may touch those that are there of which the addresses were asked for, and nothing else;
    ``streams`` are those that launches went to.
    """

    def __init__(self, gpu):
        self._gpu, self._asked, self.streams = gpu, {}, []

    def address(self, tensor):
        """Where a tensor begins, which launches may touch."""
        self._asked[id(tensor)] = weakref.ref(tensor)
        return tensor.data_ptr()

    def launcher(self, make, counts, threads, device, what):
        """Stands in for ``launch.launcher``."""
        run = launcher(self._gpu, make, counts, threads, device, what)

        def launch(stream, blocks, integers, floats):
            self._asked = {key: ask for key, ask in self._asked.items() if ask() is not None}
            storages = [ask().untyped_storage() for ask in self._asked.values()]
            loan = type("Loan", (), {})()
            for start, size in {s.data_ptr(): s.nbytes() for s in storages}.items():
                self._gpu.memory.allow(start, size, loan)
            self.streams.append(stream)
            run(stream, blocks, integers, floats)

        return launch
