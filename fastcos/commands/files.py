"""Files of the commands: arrays mapped into memory, and results that are never half written."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcos.engine.libraries import adapter_of


class Refused(Exception):
    """What the user can mend, said in one line."""


class Misused(Refused):
    """An argument that is wrong whatever the files hold, or wrong for these."""


def mapped(path: str) -> NDArray[Any]:
    """The rows of a ``.npy`` file, ``(rows, features)``, which are read as they are needed.

    Raises:
        Refused: there is no such file, it is none of these, or it holds no rows of numbers.
    """
    array = _opened(path)
    if array.ndim != 2:
        raise Refused(f"{path!r} must have shape (rows, features), got {array.shape}")
    if array.shape[1] == 0:
        raise Refused(f"{path!r} must have features, got shape {array.shape}")
    try:
        adapter_of(np.ndarray).asarray(repr(path), array[:0])
    except TypeError as error:
        # .npy files have no name for bfloat16.
        lost = "; of bfloat16 save float32" if array.dtype == np.dtype("V2") else ""
        raise Refused(f"{error}{lost}") from None
    return array


def _opened(path: str) -> NDArray[Any]:
    try:
        # Who opens a pipe waits for somebody to write.
        if Path(path).exists() and not Path(path).is_file():
            raise Refused(f"cannot read {path!r}: not a regular file")
        with open(path, "rb") as file:
            start = file.read(6)
        if start[:2] == b"PK":
            raise Refused(f"{path!r} is an archive, perhaps .npz: save its array with numpy.save")
        if start != b"\x93NUMPY":
            raise Refused(f"{path!r} is no .npy file: save the array with numpy.save")
        return np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise Refused(f"cannot read {path!r}: {error.strerror or error}") from None
    except (Refused, MemoryError):
        raise
    except Exception as error:  # whatever NumPy comes up with for a header that makes no sense
        if "Python objects" in str(error):
            raise Refused(f"{path!r} holds Python objects: save an array of numbers") from None
        plain = isinstance(error, ValueError) and str(error)
        reason = plain.splitlines()[0] if plain else "its header makes no sense"
        raise Refused(f"{path!r} is a broken .npy file: {reason}") from None


def writable(path: str) -> Path:
    """A path that a file can be written to, found out before the work begins.

    Raises:
        Refused: it is no place for a file, or the user may not write there.
    """
    try:
        target = Path(path).resolve()
        if target.exists() and not target.is_file():
            raise Refused(f"cannot write {path!r}: not a regular file")
        if target.exists() and not os.access(target, os.W_OK):
            raise Refused(f"cannot write {path!r}: it is read-only")
        try:
            _partial(target).touch()
        finally:
            _partial(target).unlink(missing_ok=True)
    except OSError as error:
        raise Refused(f"cannot write {path!r}: {error.strerror or error}") from None
    return target


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Where a file is written, which takes its name in the end; nothing is left of one that fails.

    It is beside the file, and so on the same file system.

    Raises:
        Refused: the disk is full, or whatever else there is that keeps it from being written.
    """
    partial = _partial(target)
    try:
        yield partial
        partial.replace(target)
    except OSError as error:
        raise Refused(f"cannot write {target}: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)


def _partial(target: Path) -> Path:
    return target.with_name(f".fastcos-{os.getpid()}.part")
