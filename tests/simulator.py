"""A GPU for the kernels of fastcos, in Python: threads are greenlets, addresses those of the host.

Deterministic, with the order of blocks and threads as one likes, and stricter than a GPU: it ends
with an error when a kernel touches what is of no array, or reads or writes at an address that is no
multiple of the size, and when not all come to a shuffle or a barrier that are waited for. Shared
memory holds NaN until it is written.

``Library`` is a CuPy for it, of as much as the adapter uses.
"""

import bisect
import contextvars
import ctypes
import functools
import types
import weakref

import ml_dtypes
import numpy as np
from greenlet import getcurrent, greenlet

WARP = 32


class Memory:
    """What may be touched: the buffers that are alive, by address."""

    def __init__(self):
        self._starts, self._ends = [], {}

    def add(self, buffer):
        """Adds a contiguous array of the host, for as long as there is one."""
        start = buffer.ctypes.data
        if start not in self._ends:
            bisect.insort(self._starts, start)
        self._ends[start] = start + buffer.nbytes
        weakref.finalize(buffer, self._remove, start)

    def _remove(self, start):
        self._starts.remove(start)
        del self._ends[start]

    def check(self, address, size):
        at = bisect.bisect(self._starts, address) - 1
        if at < 0 or address + size > self._ends[self._starts[at]]:
            raise MemoryError(f"{size} bytes at {address:#x} are of no array")
        if address % size:
            raise MemoryError(f"{size} bytes at {address:#x}, which is no multiple")


def _numbers(memory, address, dtype, count):
    size = np.dtype(dtype).itemsize * count
    memory.check(int(address), size)
    buffer = (ctypes.c_char * size).from_address(int(address))
    return np.frombuffer(buffer, dtype)


class Storage:
    def __init__(self, memory, dtype, number):
        self.size, self.number = np.dtype(dtype).itemsize, number
        self.vector = 16 // self.size

        def load(address):
            return tuple(_numbers(memory, address, dtype, self.vector).astype(number))

        def store(address, values):
            assert len(values) == self.vector
            assert all(type(value) is number for value in values)
            _numbers(memory, address, dtype, self.vector)[:] = values

        def get(address):
            return number(_numbers(memory, address, dtype, 1)[0])

        def put(address, value):
            assert isinstance(value, (number, float))
            _numbers(memory, address, dtype, 1)[:] = value

        self.load, self.store, self.get, self.put = load, store, get, put


class _Thread(greenlet):
    pass


class _Cuda:
    """What kernels use of ``numba.cuda``."""

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
        self._meet("block", None, None)

    def shfl_xor_sync(self, mask, value, step):
        return self._meet(mask, value, getcurrent().lane ^ step)

    def shfl_sync(self, mask, value, source):
        return self._meet(mask, value, source)

    def _meet(self, whom, value, source):
        thread = getcurrent()
        if whom != "block":
            assert whom >> thread.lane & 1, "a shuffle that the thread itself takes no part in"
            assert whom >> source & 1, "a value from a thread that takes no part"
        thread.waits, thread.value, thread.source = whom, value, source
        thread.parent.switch()
        return thread.value


class Gpu:
    """The namespace that kernels are made with, and ``launch`` to run them."""

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
        self.get_long = lambda address: int(_numbers(self.memory, address, np.int64, 1)[0])
        self.get_byte = lambda address: int(_numbers(self.memory, address, np.int8, 1)[0])
        self.launches = 0

    @staticmethod
    def turned(rows):
        return tuple(zip(*rows, strict=True))

    def clear(self, address):
        _numbers(self.memory, address, np.float32, 4)[:] = 0

    @staticmethod
    def fma(a, b, c):
        # The product is exact in float64; the sum is rounded twice, which differs once in 2**29.
        return np.float32(np.float64(a) * np.float64(b) + np.float64(c))

    def launch(self, kernel, blocks, threads, integers, floats):
        assert threads % WARP == 0
        assert all(isinstance(n, int) for n in integers)
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
        memory, team = {}, []
        # With what NumPy is to say of overflows.
        context = contextvars.copy_context()
        for number in range(threads):
            thread = _Thread(kernel)
            thread.thread = types.SimpleNamespace(x=number)
            thread.block = types.SimpleNamespace(x=block)
            thread.dimension = types.SimpleNamespace(x=threads)
            thread.lane, thread.warp = number % WARP, number // WARP
            thread.memory, thread.names, thread.waits = memory, iter(range(9)), None
            thread.gr_context = context.copy()
            team.append(thread)
        team = [team[number] for number in self._ordered(threads)]
        for thread in team:
            thread.switch(*arguments)
        while True:
            alive = [thread for thread in team if not thread.dead]
            if not alive:
                return
            met = _who_met(alive, team)
            if not met:
                waiting = {thread.waits for thread in alive}
                raise RuntimeError(f"threads wait for others that do not come: {waiting}")
            for thread in met:
                thread.waits = None
                thread.switch()


def _who_met(alive, team):
    """The threads of which all that are waited for wait; their values are exchanged."""
    if all(thread.waits == "block" for thread in alive):
        # Those that have ended count for a barrier as little as they do on a GPU.
        return alive
    groups = {}
    for thread in alive:
        if thread.waits != "block":
            groups.setdefault((thread.warp, thread.waits), []).append(thread)
    met = []
    for (_, mask), threads in groups.items():
        if len(threads) == mask.bit_count():
            values = {thread.lane: thread.value for thread in threads}
            for thread in threads:
                thread.value = values[thread.source]
            met += threads
    return met


def kernel(gpu, make, signature, layout, device):
    """Stands in for ``fastcos.kernels._cubin.kernel``, the arrays of a launch being of the host."""
    return _made(gpu, make.func, make.args, signature, layout.threads)


@functools.lru_cache(maxsize=64)
def _made(gpu, make, arguments, signature, threads):
    function = make(*arguments, gpu)

    def launch(stream, blocks, integers, floats):
        assert (len(integers), len(floats)) == signature
        gpu.launch(function, blocks, threads, integers, floats)

    return launch


# --------------------------------------------------------------------------------------------------
# CuPy
# --------------------------------------------------------------------------------------------------


class Array(np.ndarray):
    """An array that says where it is as CuPy's do, and whose scalars are arrays."""

    library = None

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.ctypes.data)

    @property
    def device(self):
        return types.SimpleNamespace(id=0)

    def __array_finalize__(self, source):
        self.library = getattr(source, "library", None)

    def __array_wrap__(self, array, context=None, return_scalar=False):
        return self.library.own(np.asarray(array))

    def __getitem__(self, key):
        found = super().__getitem__(key)
        return found if isinstance(found, Array) else self.library.own(np.asarray(found))

    def astype(self, dtype, order="K", copy=True):
        if not copy and self.dtype == dtype:
            return self
        return self.library.own(np.asarray(self).astype(dtype, order=order))

    def copy(self):
        return self.library.own(np.asarray(self).copy())

    def sum(self, axis=None, keepdims=False):
        return self.library.own(np.asarray(np.asarray(self).sum(axis=axis, keepdims=keepdims)))

    def __bool__(self):
        raise AssertionError("a number of the device is waited for")

    __float__ = __int__ = __bool__


Array.__module__ = "simulated"


class Library:
    """A module ``cupy`` whose arrays are the simulated GPU's."""

    ndarray = Array

    def __init__(self, gpu):
        self._gpu = gpu
        self.cuda = types.SimpleNamespace(
            runtime=types.SimpleNamespace(getDevice=lambda: 0),
            get_current_stream=lambda: types.SimpleNamespace(ptr=7),
        )

    def own(self, array):
        """The same array as one of the device."""
        buffer = array if array.base is None else array.base
        if not isinstance(buffer, np.ndarray) or not buffer.flags.forc:
            array = buffer = array.copy()
        self._gpu.memory.add(buffer)
        view = array.view(Array)
        view.library = self
        return view

    def asarray(self, value, dtype=None):
        if isinstance(value, Array):
            return value if dtype in (None, value.dtype) else value.astype(dtype)
        return self.own(np.array(value, dtype=dtype))

    def array(self, value, dtype, order):
        return self.own(np.array(value, dtype=dtype, order=order, subok=False))

    def empty(self, shape, dtype=np.float64):
        # Bytes that are no number that anyone would expect.
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

    moveaxis = staticmethod(np.moveaxis)
    may_share_memory = staticmethod(np.may_share_memory)

    @staticmethod
    def asnumpy(array):
        return np.array(array, subok=False)
