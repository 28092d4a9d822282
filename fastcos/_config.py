"""What this installation has: versions, processor, threads, GPUs, caches."""

from __future__ import annotations

import platform
from typing import Any


def show_config() -> dict[str, Any]:
    """What fastcos runs on here.

    Compiles nothing and starts no threads.

    Returns:
        A dictionary of plain values, which ``python -m fastcos info`` prints: ``fastcos`` and
        ``python`` versions; ``packages``, the version of each or None; ``cpu`` with its name and
        the vector extensions that the compiler will use; ``threads`` with the number and the layer;
        ``gpu``; ``cache``, where compiled kernels are kept.

    Example:
        >>> import fastcos
        >>> sorted(fastcos.show_config())
        ['cache', 'cpu', 'fastcos', 'gpu', 'packages', 'platform', 'python', 'threads']
    """
    import llvmlite.binding as llvm
    import numba

    from fastcos._version import __version__
    from fastcos.kernels import cpu

    features = llvm.get_host_cpu_features()
    notable = ("sse4.2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bf16", "neon", "sve")
    return {
        "fastcos": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {
            name: _version(name)
            for name in ("numpy", "numba", "llvmlite", "ml_dtypes", "torch", "cupy", "numba-cuda")
        },
        "cpu": {
            "name": llvm.get_host_cpu_name(),
            "features": [name for name in notable if features.get(name)],
        },
        "threads": {"count": numba.get_num_threads(), "layer": numba.config.THREADING_LAYER},
        "gpu": "not supported by this version",
        "cache": cpu.cache_directory(),
    }


def _version(package: str) -> str | None:
    from importlib import metadata  # takes 30 ms, half of what importing fastcos takes beside NumPy

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
