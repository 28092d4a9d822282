"""The NumPy tests, run on arrays of a GPU: ``fastcos`` with all arrays taken there and back.

Which GPU: the simulated one, or the one that CuPy finds.
"""

import ctypes
import functools
import importlib
import importlib.util
import inspect
import itertools
import math
import sys

import numpy as np
import pytest

import fastcos
from fastcos.api import calls
from fastcos.engine import device, libraries, plan
from fastcos.engine.rows import Rows
from fastcos.kernels import cuda, linear
from fastcos.kernels.cuda import launch, teams

#: What a test may be run on; the markers are tiers of their own.
NAMES = (
    "numpy",
    pytest.param("simulated", marks=pytest.mark.simulated),
    pytest.param("cupy", marks=pytest.mark.gpu),
)
#: And in chunks.
CHUNKED = pytest.param("dask", marks=pytest.mark.chunked)
#: The same of tensors: on the CPU, there but taken for a GPU's, on a GPU.
OF_TENSORS = (
    "cpu",
    pytest.param("lent", marks=pytest.mark.simulated),
    pytest.param("cuda", marks=pytest.mark.gpu),
)
_LOSSES = {name for name in fastcos.__all__ if name.endswith("_loss")}
_ON_ARRAYS = {"cosine_similarity", "paired_distance", *_LOSSES}


#: The most components that a call on the simulated GPU may visit: half a second or so.
LARGEST = 20_000
#: Where sums, vectors, warps and teams begin and end.
CORNERS = (1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97)


def corner_sizes(device):
    """Pairs of corner sizes: all of them, or every one once as N and once as D where time matters.

    On a GPU teams are chosen by D alone, and N says only how many there are.
    """
    if device == "simulated":
        return list(zip(CORNERS[5:] + CORNERS[:5], CORNERS, strict=True))
    return list(itertools.product(CORNERS, CORNERS))


class Elsewhere:
    """The public functions, called with the arguments of the host, on a device.

    Arrays are laid out there as they are here; one that is given twice is the same one there.
    """

    def __init__(self, library, largest=None):
        self._library, self._largest = library, largest

    def __getattr__(self, name):
        found = getattr(fastcos, name)
        if name in ("value_and_grad", "grad"):
            return functools.partial(self._transformed, found)
        return functools.partial(self._call, found, found) if name in _ON_ARRAYS else found

    def _transformed(self, transform, loss, argnums=None):
        loss = loss.args[0] if isinstance(loss, functools.partial) else loss
        return functools.partial(self._call, loss, transform(loss, argnums))

    def _call(self, loss, function, *args, **kwargs):
        if any(isinstance(value, self._library.ndarray) for value in args):
            # From within a function that was called there.
            return function(*args, **kwargs)
        parameters = inspect.signature(loss).parameters
        self._check_size([x for x, name in zip(args, parameters, strict=False) if name != "target"])
        if "validate" in parameters:
            # On the host labels are checked without being asked for.
            kwargs.setdefault("validate", True)
        taken = {}
        args = [self._taken(value, taken) for value in args]
        given, out = kwargs.get("out"), {}
        kwargs = {name: self._taken(value, taken) for name, value in kwargs.items()}
        found = function(*args, **kwargs)
        if given is not None:
            for own, buffer in zip(_listed(given), _listed(kwargs["out"]), strict=True):
                own[...] = self._back(buffer)
                out[id(buffer)] = own
        # Lists alone are NumPy's.
        return self._returned(found, out) if taken else found

    def _check_size(self, values):
        shapes = [value.shape for value in values if isinstance(value, np.ndarray)]
        try:
            size = math.prod(np.broadcast_shapes(*shapes))
        except ValueError:
            size = 0  # there is to be an error
        if self._largest and size > self._largest:
            pytest.skip("so many components would take the simulated GPU too long")

    def _taken(self, value, taken):
        if isinstance(value, Rows):
            table, index = self._taken(value.table, taken), self._taken(value.index, taken)
            return fastcos.rows(table, index, value.sparse)
        if isinstance(value, (tuple, list)) and any(isinstance(v, np.ndarray) for v in value):
            return type(value)([self._taken(v, taken) for v in value])
        if not isinstance(value, (np.ndarray, np.generic)):
            return value
        if id(value) not in taken:
            taken[id(value)] = self._there(value), value
        return taken[id(value)][0]

    def _there(self, value):
        if value.dtype.kind not in "biufcV" or value.dtype.char in "gG":
            return value  # of a dtype that no GPU has; to be refused by its name
        if isinstance(value, np.generic) or not value.size or value.dtype.kind not in "biufV":
            return self._library.asarray(value)
        if value.flags.c_contiguous and value.flags.aligned:
            return self._library.asarray(value)
        low = value.ctypes.data + sum(
            min(0, (n - 1) * stride) for n, stride in zip(value.shape, value.strides, strict=True)
        )
        high = value.ctypes.data + value.itemsize
        high += sum(
            max(0, (n - 1) * stride) for n, stride in zip(value.shape, value.strides, strict=True)
        )
        # Memory there begins at a multiple of 16.
        before = low % 16
        there = np.zeros(before + high - low, np.uint8)
        there[before:] = np.frombuffer((ctypes.c_char * (high - low)).from_address(low), np.uint8)
        offset = before + value.ctypes.data - low
        memory = self._library.asarray(there).data + offset
        return self._library.ndarray(value.shape, value.dtype, memory, value.strides)

    def _back(self, value):
        return self._library.asnumpy(value)

    def _returned(self, value, out):
        if isinstance(value, fastcos.RowGradient):
            return value._make(self._returned(each, out) for each in value)
        if isinstance(value, tuple):
            return tuple(self._returned(each, out) for each in value)
        if id(value) in out:
            return out[id(value)]
        assert isinstance(value, self._library.ndarray)
        return self._back(value)[()]


class InChunks(Elsewhere):
    """The public functions on lazy arrays: those of the host in chunks, and what is computed."""

    def __init__(self):
        self._da = importlib.import_module("dask.array")

    def _call(self, loss, function, *args, **kwargs):
        if kwargs.get("out") is not None or kwargs.get("accumulate"):
            pytest.skip("what is lazy is not written to a buffer")
        parameters = inspect.signature(loss).parameters
        per_sample = {"target", "weight", "weights", "grad_output"}
        of_distances = loss is fastcos.hinge_embedding_loss
        axis = kwargs.get("axis", -1)
        given = dict(zip(parameters, args, strict=False)) | kwargs
        rows = [value for name, value in given.items() if name not in per_sample]
        rank = max([x.ndim for x in rows if isinstance(x, np.ndarray)], default=0)
        whole = axis - rank if isinstance(axis, int) and axis >= 0 else axis

        def there(name, value):
            if not isinstance(value, (np.ndarray, np.generic)) or isinstance(
                value, np.ma.MaskedArray
            ):
                return value
            value = np.asarray(value)
            chunks = [max(1, -(-n * 2 // 5)) for n in value.shape]
            if name not in per_sample and not of_distances and isinstance(whole, int):
                if -value.ndim <= whole < value.ndim:
                    chunks[whole] = -1
            return self._da.from_array(value, chunks=tuple(chunks))

        args = [there(name, value) for name, value in zip(parameters, args, strict=False)]
        kwargs = {name: there(name, value) for name, value in kwargs.items()}
        if not any(isinstance(value, self._da.Array) for value in (*args, *kwargs.values())):
            return function(*args, **kwargs)
        found = function(*args, **kwargs)
        try:
            return self._computed(found)
        except ValueError as error:
            if "at index" in str(error):
                pytest.skip("a label is named by where it is in its chunk")
            raise

    def _computed(self, found):
        if isinstance(found, tuple):
            return tuple(map(self._computed, importlib.import_module("dask").compute(*found)))
        if isinstance(found, self._da.Array):
            found = found.compute()
        return found[()]  # one number, which Dask may have as an array


def _listed(out):
    return out if isinstance(out, (tuple, list)) else (out,)


def on(name, monkeypatch):
    """``fastcos`` on a device."""
    forget()
    if name == "dask":
        return InChunks()
    if name == "simulated":
        _, library = simulated(monkeypatch)
        return Elsewhere(library, LARGEST)
    cupy = pytest.importorskip("cupy", reason="no CuPy here")
    if not cupy.cuda.is_available():
        pytest.skip("no GPU here")
    return Elsewhere(cupy)


def forget():
    """Kernels are made anew, for they are kept by the number of their device, whatever it is."""
    cached = [calls._planned, plan.plan, device._finish, device._join]
    if "fastcos.adapters.torch.plain" in sys.modules:
        from fastcos.adapters.torch import calls as of_torch
        from fastcos.adapters.torch import plain

        cached += [plain._remembered, of_torch.known, of_torch.later]
    for each in cached:
        each.cache_clear()


def simulated(monkeypatch, threads=64):
    """The simulated GPU and its CuPy, where kernels now run, in blocks of so many threads.

    A quarter of what a real one has, as every thread of a block takes its time in Python: the least
    that is more than one warp.
    """
    import simulator

    gpu, library = _simulated()
    monkeypatch.setattr(launch, "launcher", functools.partial(simulator.launcher, gpu))
    monkeypatch.setattr(teams, "THREADS", threads)
    monkeypatch.setattr(teams, "ANCHOR_THREADS", threads)
    monkeypatch.setattr(cuda, "FINISHING_THREADS", threads)
    # Numba's types called outside of what it compiles do the same, in fifty times as long.
    monkeypatch.setattr(linear, "float32", np.float32)
    monkeypatch.setitem(libraries._ADAPTERS, "simulated", _ADAPTER)
    return gpu, library


def place():
    """The type of the device that tensors are made on now."""
    import torch

    return torch.empty(0).device.type


def made_on(place, monkeypatch):
    """What makes tensors makes them there, and NumPy gets them from there; drawn on the CPU."""
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils import _device

    makers = {f.__name__ for f in _device._device_constructors()}

    class There(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            kwargs, name = kwargs or {}, getattr(function, "__name__", "")
            if name in makers and kwargs.get("device") is None:
                needs = kwargs.pop("requires_grad", False)
                made = function(*args, **kwargs).to(place)
                return made.requires_grad_() if needs else made
            if name in ("numpy", "__array__"):
                args = args[0].cpu(), *args[1:]
            return function(*args, **kwargs)

    from_numpy = torch.from_numpy
    monkeypatch.setattr(torch, "from_numpy", lambda array: from_numpy(array).to(place))
    return There()


def lent(monkeypatch, threads=64):
    """Tensors of the CPU are taken for those of a GPU: the adapter for these, the simulated one."""
    import simulator

    from fastcos.adapters.torch import arrays, halves, plain
    from fastcos.adapters.torch import cuda as adapter

    gpu, _ = simulated(monkeypatch, threads)
    tensors = simulator.Lent(gpu)
    monkeypatch.setattr(launch, "launcher", tensors.launcher)
    monkeypatch.setitem(arrays.PLACES, "cpu", arrays.PLACES["cuda"])
    monkeypatch.setattr(arrays, "device_of", lambda tensor: 0)
    for name, value in {
        "_PLACE": "cpu",
        "address": tensors.address,
        "current": lambda: 0,
        "stream_of": lambda device: STREAM,
    }.items():
        monkeypatch.setattr(adapter, name, value)
    # Products of half types that are left in float32 are a GPU's.
    write, add = (
        (lambda a, b, out: out.copy_(_product(a, b))),
        (lambda a, b, out: out.add_(_product(a, b))),
    )
    monkeypatch.setattr(halves, "_write", write)
    monkeypatch.setattr(halves, "_add", add)
    # An adapter is found once by the type of a device, and this one only in the test.
    at = functools.cache(arrays.at.__wrapped__)
    for module in (arrays, plain):
        monkeypatch.setattr(module, "at", at)
    return tensors


def _product(a, b):
    """A product of bfloat16 matrices, in float32."""
    assert {str(a.dtype), str(b.dtype)} == {"torch.bfloat16"}
    return a.float() @ b.float()


#: The address of torch's current stream, where there is no GPU.
STREAM = 7

_ADAPTER = "fastcos.adapters.simulated"


@functools.cache
def _simulated():
    """The simulated GPU, its CuPy, and the adapter of the real one on top of that.

    Imported where it is used, for its threads are greenlets, which a GPU's machine may not have.
    """
    import simulator

    gpu = simulator.Gpu()
    library = simulator.Library(gpu)
    path = importlib.util.find_spec("fastcos.adapters.cupy").origin
    spec = importlib.util.spec_from_file_location(_ADAPTER, path)
    adapter = importlib.util.module_from_spec(spec)
    real = sys.modules.get("cupy")
    sys.modules["cupy"], sys.modules[_ADAPTER] = library, adapter
    try:
        spec.loader.exec_module(adapter)
    finally:
        sys.modules.pop("cupy")
        if real:
            sys.modules["cupy"] = real
    return gpu, library
