"""What this installation has: versions, processor, threads, GPUs, caches."""

import importlib
import importlib.util
import platform
from typing import Any

from fastcos import _extras
from fastcos.kernels.forks import importing

_PACKAGES = (
    *("numpy", "numba", "llvmlite", "ml_dtypes", "torch", "dask", "distributed", "scikit-learn"),
    *("numba-cuda", "cuda-core"),
)
# CuPy is distributed under a name for each CUDA.
_CUPY = ("cupy-cuda13x", "cupy-cuda12x", "cupy")


def show_config() -> dict[str, Any]:
    """What fastcos runs on here.

    Compiles nothing and starts no threads.

    Returns:
        A dictionary of plain values, which ``python -m fastcos info`` prints. In it are ``fastcos``
        and ``python``, versions; ``platform``, the system; ``packages``, the version of each or
        None; ``cpu`` with its name and the vector extensions that the compiler will use;
        ``threads`` with the number and the layer; ``gpu`` with the ``devices``, each by name and
        compute capability, and what is ``missing`` for arrays on them, and where kernels for them
        are kept; ``cache``, where those of the CPU are.

    Example:
        >>> import fastcos
        >>> sorted(fastcos.show_config())
        ['cache', 'cpu', 'fastcos', 'gpu', 'packages', 'platform', 'python', 'threads']
    """
    from fastcos._version import __version__

    with importing():
        import llvmlite.binding as llvm
        import numba

        from fastcos.kernels import cache, cuda
        from fastcos.kernels.cpu import compile

    features = llvm.get_host_cpu_features()
    notable = ("sse4.2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bf16", "neon", "sve")
    return {
        "fastcos": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _extras.version(name) for name in _PACKAGES}
        | {"cupy": next(filter(None, map(_extras.version, _CUPY)), None)},
        "cpu": {
            "name": llvm.get_host_cpu_name(),
            "features": [name for name in notable if features.get(name)],
        },
        "threads": {"count": numba.get_num_threads(), "layer": numba.config.THREADING_LAYER},
        "gpu": {
            "devices": _devices(),
            "missing": missing_for_gpus() or "nothing",
            "cache": cache.directory(cuda.pair),
        },
        "cache": cache.directory(compile.task_loop),
    }


def missing_for_gpus() -> str:
    """What there is not, of what arrays on a GPU need; empty where nothing is missing."""
    with importing():
        from fastcos.kernels.cuda import launch

    faults = [launch.missing()]
    if importlib.util.find_spec("cupy") is None:
        faults.append(f"no CuPy: {_extras.command('cupy')}")
    if not _devices():
        faults.append("no GPU or no driver")
    return "; ".join(filter(None, faults))


def _devices() -> list[str]:
    """The GPUs by name and compute capability; none where there is no driver to ask."""
    try:
        core = importlib.import_module("cuda.core")
        devices = core.Device.get_all_devices()
        return ["{} ({}.{})".format(d.name, *d.compute_capability) for d in devices]
    except Exception:  # whatever the driver, or its absence, comes up with
        return []
