"""Whose arrays the arguments are, and the adapter that takes them; imported on first use.

Frameworks are known by the name of their module only.
"""

import functools
import importlib
from collections.abc import Iterable, Sequence
from typing import Any

from fastcos.engine.problem import Problem
from fastcos.engine.rows import array_of
from fastcos.kernels.forks import importing

# The top-level module of an argument's type -> the adapter that takes it. Anything not named here
# goes to NumPy, which reads lists, scalars, data frames and whatever else has numbers in it.
_ADAPTERS = {
    "numpy": "fastcos.adapters.numpy",
    "cupy": "fastcos.adapters.cupy",
    "torch": "fastcos.adapters.torch.arrays",
    "dask": "fastcos.adapters.dask",
}
#: What goes with arrays of a library beside its own; its chunks are such arrays.
_TAKES = {"dask": {"numpy", "cupy"}}
# Arrays that NumPy would read too, silently and as a copy on the host.
_NOT_YET = ("jax", "jaxlib", "tensorflow")


def adapter_for(problem: Problem, grad_output: Any = None) -> Any:
    """The adapter module that takes the arguments of a problem.

    Raises:
        TypeError: arrays of two libraries, or of one that is not supported.
        RuntimeError: tensors on two devices.
    """
    operands = map(array_of, problem.operands)
    arguments = (*operands, problem.target, problem.weight, grad_output)
    names = (*problem.names, "target", problem.weight_name, "grad_output")
    return adapter_of_arrays(names, arguments, lazy=True)


def adapter_of_arrays(names: Sequence[str], arrays: Sequence[Any], *, lazy: bool = False) -> Any:
    """The adapter module that takes arguments with these names; raises as :func:`adapter_for`.

    Arrays that are computed later are for callers that take such a ``lazy`` adapter.
    """
    adapter = adapter_of(*map(type, arrays))
    if adapter is None:
        raise _unfit(zip(names, arrays, strict=True))
    if adapter.lazy and not lazy:
        raise _not_lazy(zip(names, arrays, strict=True))
    return adapter.placed(names, arrays) if adapter.records else adapter


def lazy_adapter(names: Sequence[str], arrays: Sequence[Any]) -> Any | None:
    """The adapter of lazy arrays, where one of the arguments is one; others may be of any kind."""
    each = [adapter_of_arrays((n,), (x,), lazy=True) for n, x in zip(names, arrays, strict=True)]
    return next((adapter for adapter in each if adapter.lazy), None)


@functools.lru_cache(maxsize=256)
def adapter_of(*kinds: type) -> Any:
    """The adapter module that takes arguments of these types, or None."""
    libraries = {library_of(kind) for kind in kinds} - {None}
    for lazy in libraries & set(_TAKES):
        libraries -= _TAKES[str(lazy)]
    library = libraries.pop() if libraries else "numpy"
    return None if libraries or library not in _ADAPTERS else _adapter(_ADAPTERS[library])


def _not_lazy(arguments: Iterable[tuple[str, Any]]) -> TypeError:
    kinds: list[tuple[str, Any]] = [(name, type(value)) for name, value in arguments]
    name, kind = next((name, kind) for name, kind in kinds if str(library_of(kind)) in _TAKES)
    library = kind.__module__.partition(".")[0]
    return TypeError(
        f"{name} is a {library} {kind.__qualname__}, which is not in memory, and this needs all"
        f" rows at once: pass {name}.compute(). Dask arrays are taken by losses of pairs and"
        " triplets, their gradients, cosine_similarity, paired_distance, nearest and measures"
    )


def _unfit(arguments: Iterable[tuple[str, Any]]) -> TypeError:
    seen: dict[str, str] = {}
    for name, value in arguments:
        kind = type(value)
        library = library_of(type(value))  # type: ignore[arg-type]
        if library in _NOT_YET:
            return TypeError(
                f"{name} is a {library} array ({type(value).__name__}), which fastcos does not take"
                " yet: pass NumPy arrays, CuPy arrays or torch tensors"
            )
        if library is not None:
            # What NumPy reads may be of any library, whose name says more.
            root = kind.__module__.partition(".")[0]
            plain = root in ("__main__", "builtins", kind.__qualname__)
            foreign = kind.__qualname__ if plain else f"{root} {kind.__qualname__}"
            what = f"{library} array" if _named(kind) else foreign
            seen.setdefault(library, f"{name} is a {what}")
    return TypeError(f"arrays of one library only: {' and '.join(seen.values())}")


@functools.cache
def library_of(kind: type) -> str | None:
    """Whose arrays a type belongs to; None for what goes with any of them."""
    if issubclass(kind, (type(None), bool, int, float, complex, str, bytes, list, tuple)):
        return None
    # Memory of a GPU under whatever name is as good as CuPy's.
    return _named(kind) or ("cupy" if hasattr(kind, "__cuda_array_interface__") else "numpy")


def _named(kind: type) -> str | None:
    """The library that a type is of by name, or derived from, wherever that is defined."""
    roots = [one.__module__.partition(".")[0] for one in kind.__mro__]
    return next((root for root in roots if root in _ADAPTERS or root in _NOT_YET), None)


@functools.cache
def _adapter(name: str) -> Any:
    with importing():
        return importlib.import_module(name)
