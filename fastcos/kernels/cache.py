"""Compiled kernels on disk, and what happens where the disk does not take them.

Numba keeps an index and numbered files, believes what it finds in them, and refuses to compile
where it finds no source or no directory to write to. Here a kernel is a file of its own, named by
all that it was made of, which is read only where it is whole; a directory that can only be read,
which is what a container image with kernels compiled ahead has, is read; and without any directory
kernels are compiled all the same, with one warning.
"""

import functools
import hashlib
import importlib.util
import os
import pathlib
import pickle
import sys
import tempfile
import time
import types
import uuid
import warnings
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES
from typing import Any

import llvmlite
import numba
from llvmlite.binding import ffi
from numba.core import caching, sigutils
from numba.core.ccallback import CFunc
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.serialize import dumps
from numba.misc.appdirs import AppDirs
from numba.np.ufunc import parallel as threading_layers

from fastcos.kernels import forks, report

# Numba's, of all that is compiled or loaded, for a GPU too; of the start of its threads, which may
# happen within it; and that of LLVM, which each call of it takes.
forks.held(global_compiler_lock, threading_layers._backend_init_thread_lock, ffi.lib._lock)


def compiled(function: Callable[..., Any], what: str, parallel: bool = False) -> Any:
    """A function that is compiled when called, outside the GIL, and kept on disk."""
    _check_compiler()
    dispatcher: Any = numba.njit(function, nogil=True, parallel=parallel)
    dispatcher._cache = _Cache(function, what, keep=True)
    return dispatcher


def exported(function: Callable[..., Any], signature: Any, what: str, keep: bool) -> Any:
    """A function compiled to be called by its ``address``, with 1 / 0 infinite and 0 / 0 NaN.

    Where it is to be kept on disk and that fails, it is compiled all the same.
    """
    _check_compiler()
    # What numba.cfunc() does, which has no place for another cache.
    parts = sigutils.normalize_signature(signature)
    callback: Any = CFunc(function, parts, locals={}, options={"error_model": "numpy"})
    callback._cache = _Cache(function, what, keep)
    callback.compile()
    return callback


def kept(function: Callable[..., Any], what: str, keep: bool) -> Any:
    """What a dispatcher of Numba's has for its cache, with kernels on disk where they are kept."""
    return _Cache(function, what, keep)


def stored(
    function: Callable[..., Any], name: str | None, make: Callable[[], bytes], what: str
) -> bytes:
    """The contents of a file where the compiled kernels of a function are kept, made if need be.

    Processes that make it at once each write all of it, and one after the other puts it there. What
    has no name is not kept.
    """
    _check_compiler()
    start = time.perf_counter()
    folder = _folder_or_warning(function) if name else None
    path = folder / name if folder and name else None
    content = _read(path) if path else None
    if content is not None:
        report.loaded(what, start)
        return content
    report.begins(what, kept=path is not None, ours=name is not None)
    content = make()
    report.ended(what, start)
    if path:
        _write(path, content)
    return content


def _check_compiler() -> None:
    """Raises where Numba's compiler is turned off."""
    if numba.config.DISABLE_JIT:
        raise RuntimeError(
            "fastcos cannot run with NUMBA_DISABLE_JIT=1, as its kernels work on addresses of"
            " memory and have to be compiled: unset NUMBA_DISABLE_JIT"
        )


def digest(*texts: str) -> str:
    """A name for texts, different for different ones."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:32]


def source_digest(*modules: str) -> str:
    """A digest of the sources of modules of fastcos, or of their code where the sources are absent.

    What is on disk is known by the name, code and closure of a function, and would be the old one
    after an edit of a function that it calls. The digest enters the name.
    """
    return digest(*map(_text, modules))


def _text(module: str) -> str:
    name = f"fastcos.{module}"
    spec = importlib.util.find_spec(name)
    loader: Any = spec and spec.loader
    # Of a module that is in a zip file, or is frozen, only its loader knows where it is.
    source = loader.get_source(name)
    return _described(loader.get_code(name)) if source is None else source


def _described(code: types.CodeType) -> str:
    """A text of what code does; it is the same in every process, which that of marshal is not."""
    constants = [c if not isinstance(c, types.CodeType) else _described(c) for c in code.co_consts]
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    return repr((code.co_code, names, constants))


def folder_of(function: Callable[..., Any]) -> pathlib.Path | None:
    """Where the compiled kernels of a function are kept; None where there is no directory.

    A directory that the user has named comes before all others, writable or readable; of the others
    those that can be written to. In both a file is what its name says, wherever the package lies:
    other than Numba's, it is found again by the next environment or checkout.
    """
    named = [pathlib.Path(numba.config.CACHE_DIR, "fastcos")] if numba.config.CACHE_DIR else []
    # A frozen application of one file unpacks itself to another place each time.
    frozen = getattr(sys, "frozen", False)
    beside = [] if frozen else [_beside(function)]
    own = pathlib.Path(AppDirs(appname="numba", appauthor=False).user_cache_dir, "fastcos")
    for folders in (named, [*beside, own]):
        for usable in (_is_writable, _is_readable):
            for folder in folders:
                if usable(folder):
                    return folder
    return None


def directory(function: Callable[..., Any]) -> str:
    """:func:`folder_of`, for people."""
    return str(folder_of(function) or "none that can be written to")


def _beside(function: Callable[..., Any]) -> pathlib.Path:
    return pathlib.Path(str(sys.modules[function.__module__].__file__)).parent / "__pycache__"


def _is_writable(folder: pathlib.Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def _is_readable(folder: pathlib.Path) -> bool:
    try:
        os.scandir(folder).close()
    except OSError:
        return False
    return True


def _folder_or_warning(function: Callable[..., Any]) -> pathlib.Path | None:
    folder = folder_of(function)
    if folder is None:
        _warn(str(numba.config.CACHE_DIR or _beside(function)), "cannot be written to")
    return folder


@functools.cache
def _warn(directory: str, reason: str) -> None:
    warnings.warn(
        f"fastcos cannot keep compiled kernels in {directory} ({reason}): every process compiles"
        " its own, for seconds each. Set NUMBA_CACHE_DIR to a directory that can be written to",
        RuntimeWarning,
        stacklevel=2,
    )


_SEAL = hashlib.sha256().digest_size


def _read(path: pathlib.Path) -> bytes | None:
    """What :func:`_write` wrote to a file; None if there is no file, or it is damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    content, seal = content[:-_SEAL], content[-_SEAL:]
    return content if hashlib.sha256(content).digest() == seal else None


def _write(path: pathlib.Path, content: bytes) -> None:
    """Writes a file at once, in place of any that is there; warns where that fails.

    The seal at its end says that it is whole: a machine that loses its power may leave a file of
    the right name and size, with zeros in it, and a cut binary of a GPU does not show by itself.
    """
    # Not a file of tempfile's, which nobody else may read.
    partial = path.with_name(f"{path.name}.tmp.{uuid.uuid4().hex[:16]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content + hashlib.sha256(content).digest())
        os.replace(partial, path)
    except OSError as error:  # a full disk, a directory made read-only, or one taken away
        try:
            partial.unlink(missing_ok=True)
        except OSError:
            pass
        # Where another process reads the file, as Windows has it, it is there already.
        if _read(path) is None:
            _warn(str(path.parent), error.strerror)


class _Cache(caching.FunctionCache):  # type: ignore[misc]
    """The cache of one function, from which Numba loads compiled code, and to which it saves it."""

    def __init__(self, function: Callable[..., Any], what: str, keep: bool) -> None:
        self._py_func, self._what, self._keep = function, what, keep
        self._folder = _folder_or_warning(function) if keep else None
        self._start = 0.0

    @property
    def cache_path(self) -> str | None:
        return str(self._folder) if self._folder else None

    def flush(self) -> None:
        """Does nothing: a file holds what its name says, also after another compilation."""

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        self._start = time.perf_counter()
        target_context.refresh()
        path = self._path(signature, target_context.codegen())
        content = _read(path) if path else None
        try:
            found = content and CompileResult._rebuild(target_context, *pickle.loads(content))
        except Exception:  # a file of another make may raise anything
            found = None
        if found:
            report.loaded(self._what, self._start)
            return found
        report.begins(self._what, kept=path is not None, ours=self._keep)
        return None

    def save_overload(self, signature: Any, data: Any) -> None:
        report.ended(self._what, self._start)
        path = self._path(signature, data.codegen)
        if path and not data.library.has_dynamic_globals:
            _write(path, dumps(data._reduce()))

    def _path(self, signature: Any, codegen: Any) -> pathlib.Path | None:
        """The file, named by all that a compiled function depends on."""
        if self._folder is None:
            return None
        # Not by Numba's key, which has a pickle of the closure: of a module that is read from its
        # source, and from its .pyc by the next process, these differ. The name holds the content.
        magic = codegen.magic_tuple()
        # Of Python the name of its extensions, which has the version, its flags and the platform.
        made_by = numba.__version__, llvmlite.__version__, EXTENSION_SUFFIXES[0]
        key = *made_by, signature, magic
        name = self._py_func.__qualname__.rpartition(".")[2]
        return self._folder / f"{name}-{digest(repr(key))}.nbc"
