"""The NumPy tests, run on arrays of a GPU: ``fastcos`` with all arrays taken there and back.

Which GPU: the simulated one, or the one that CuPy finds.
"""

import functools
import importlib
import importlib.util
import inspect
import sys

import numpy as np
import pytest
import simulator

import fastcos
from fastcos import _dispatch
from fastcos.kernels import _cubin

#: What a test may be run on; the markers are tiers of their own.
NAMES = (
    "numpy",
    pytest.param("simulated", marks=pytest.mark.simulated),
    pytest.param("cupy", marks=pytest.mark.gpu),
)
_LOSSES = {name for name in fastcos.__all__ if name.endswith("_loss")}
_ON_ARRAYS = {"cosine_similarity", "paired_distance", *_LOSSES}


class Elsewhere:
    """The public functions, called with the arguments of the host, on a device."""

    def __init__(self, there, back):
        self._there, self._back = there, back

    def __getattr__(self, name):
        found = getattr(fastcos, name)
        if name in ("value_and_grad", "grad"):
            return functools.partial(self._transformed, found)
        return functools.partial(self._call, found, found) if name in _ON_ARRAYS else found

    def _transformed(self, transform, loss, argnums=None):
        loss = loss.args[0] if isinstance(loss, functools.partial) else loss
        return functools.partial(self._call, loss, transform(loss, argnums))

    def _call(self, loss, function, *args, **kwargs):
        if "validate" in inspect.signature(loss).parameters:
            # On the host labels are checked without being asked for.
            kwargs.setdefault("validate", True)
        args = [self._taken(value) for value in args]
        given, out = kwargs.get("out"), None
        kwargs = {name: self._taken(value) for name, value in kwargs.items()}
        found = function(*args, **kwargs)
        if given is not None:
            for own, buffer in zip(_listed(given), _listed(kwargs["out"]), strict=True):
                own[...] = self._back(buffer)
            out = {
                id(buffer): own
                for own, buffer in zip(_listed(given), _listed(kwargs["out"]), strict=True)
            }
        return self._returned(found, out or {})

    def _taken(self, value):
        if isinstance(value, (tuple, list)) and any(isinstance(v, np.ndarray) for v in value):
            return tuple(map(self._taken, value))
        return self._there(value) if isinstance(value, (np.ndarray, np.generic)) else value

    def _returned(self, value, out):
        if isinstance(value, tuple):
            return tuple(self._returned(each, out) for each in value)
        return out[id(value)] if id(value) in out else self._back(value)[()]


def _listed(out):
    return out if isinstance(out, (tuple, list)) else (out,)


def on(name, monkeypatch):
    """``fastcos`` on a device."""
    if name == "simulated":
        gpu, library = _simulated()
        monkeypatch.setattr(_cubin, "kernel", functools.partial(simulator.kernel, gpu))
        monkeypatch.setitem(_dispatch._ADAPTERS, "simulated", _ADAPTER)
        return Elsewhere(library.asarray, library.asnumpy)
    cupy = pytest.importorskip("cupy", reason="no CuPy here")
    if not cupy.cuda.is_available():
        pytest.skip("no GPU here")
    return Elsewhere(cupy.asarray, cupy.asnumpy)


_ADAPTER = "fastcos.adapters.simulated"


@functools.cache
def _simulated():
    """The simulated GPU, its CuPy, and the adapter of the real one on top of that."""
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
