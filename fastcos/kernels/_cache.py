"""Compiled kernels on disk, and what happens where the disk does not take them.

Numba refuses to compile where it finds no directory to write to, and overlooks one that it can read
but not write to, which is what a container image with kernels compiled ahead has. Here the first
goes without the cache, with one warning, and the second is read.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pathlib
import tempfile
import warnings
from collections.abc import Callable
from typing import Any

import numba
from numba.core import caching, sigutils
from numba.core.ccallback import CFunc


def compiled(function: Callable[..., Any], parallel: bool = False) -> Any:
    """A function that is compiled when called, outside the GIL, and kept on disk.

    Args:
        function: The function.
        parallel: Whether ``prange`` shares out its work.

    Returns:
        Numba's dispatcher.
    """
    dispatcher: Any = numba.njit(function, nogil=True, parallel=parallel)
    _keep(dispatcher, function)
    return dispatcher


def exported(function: Callable[..., Any], signature: Any, cache: bool) -> Any:
    """A function compiled to be called by its address; a division by zero gives infinity or NaN.

    Args:
        function: The function.
        signature: Numba's, of what it takes and returns.
        cache: Whether to keep it on disk; where that fails it is compiled all the same.

    Returns:
        Numba's callback, with its ``address``.
    """
    # What numba.cfunc() does, which has no place for another cache.
    parts = sigutils.normalize_signature(signature)
    callback: Any = CFunc(function, parts, locals={}, options={"error_model": "numpy"})
    if cache:
        _keep(callback, function)
    callback.compile()
    return callback


def stored(function: Callable[..., Any], name: str, make: Callable[[], bytes]) -> bytes:
    """The contents of a file where the compiled kernels of a function are kept, made if need be.

    Processes that make it at once each write all of it, and one after the other puts it there.
    """
    try:
        folder = pathlib.Path(_Cache(function).cache_path)
    except RuntimeError:
        _no_directory()
        return make()
    try:
        return (folder / name).read_bytes()
    except OSError:
        content = make()
    file = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(content)
        os.replace(file.name, folder / name)
    except OSError as error:
        if file:
            pathlib.Path(file.name).unlink(missing_ok=True)
        _warn(str(folder), error.strerror)
    return content


def digest(*texts: str) -> str:
    """A name for texts, different for different ones."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:32]


def source_digest(*modules: str) -> str:
    """A digest of the sources of modules of fastcos.

    Numba's disk cache looks at the file, name and closure of a function alone, and would serve the
    old result after an edit of a function that it calls. The digest enters the name.
    """
    package = pathlib.Path(__file__).parents[1]
    paths = [package.joinpath(*module.split(".")) for module in modules]
    files = [path / "__init__.py" if path.is_dir() else path.with_suffix(".py") for path in paths]
    return digest(*(file.read_text() for file in files))


def _keep(dispatcher: Any, function: Callable[..., Any]) -> None:
    try:
        # What dispatcher.enable_caching() does, with a class that takes no for an answer.
        dispatcher._cache = _Cache(function)
    except RuntimeError:
        _no_directory()


def _no_directory() -> None:
    directory = numba.config.CACHE_DIR or pathlib.Path(__file__).parent / "__pycache__"
    _warn(str(directory), "cannot be written to")


@functools.cache
def _warn(directory: str, reason: str) -> None:
    warnings.warn(
        f"fastcos cannot keep compiled kernels in {directory} ({reason}): every process compiles"
        " its own, for seconds each. Set NUMBA_CACHE_DIR to a directory that can be written to",
        RuntimeWarning,
        stacklevel=2,
    )


def _readable(locator: type) -> type:
    """One of Numba's ways to find the directory, that is content to read there."""

    class Readable(locator):  # type: ignore[misc]
        def ensure_cache_path(self) -> None:
            os.scandir(self.get_cache_path()).close()

    return Readable


# NUMBA_CACHE_DIR, __pycache__ beside the source, the user's own; and what is not in files.
_named, _beside, _own, *_others = caching.CompileResultCacheImpl._locator_classes


class _Files(caching.CompileResultCacheImpl):  # type: ignore[misc]
    # A directory that the user has named comes before all others, readable or writable; of the
    # others those that can be written to.
    _locator_classes = (
        *(_named, _readable(_named)),
        *(_beside, _own, *_others),
        *(_readable(_beside), _readable(_own)),
    )


class _Cache(caching.FunctionCache):  # type: ignore[misc]
    """Numba's own, where a file that cannot be read is no file, and one not written is no error."""

    _impl_class = _Files

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(signature, target_context)
        except OSError as error:
            return _warn(self.cache_path, error.strerror)

    def save_overload(self, signature: Any, data: Any) -> None:
        try:
            super().save_overload(signature, data)
        except OSError as error:  # a full disk, a directory made read-only, or one taken away
            _warn(self.cache_path, error.strerror)
