"""Messages about compilation: a log record of each kernel, and one note to a person who waits."""

import contextlib
import functools
import logging
import sys
import time
from collections.abc import Iterator
from contextvars import ContextVar

_logger = logging.getLogger("fastcos")

# What a person who waits is told of kernels that are kept on disk, and of those that are not.
_KEPT = (
    "fastcos compiles the kernels of this call, for some seconds: once on this machine for each"
    " loss, distance and dtype, as they are kept on disk. To do it ahead: fastcos.warmup(), or"
    " python -m fastcos warmup"
)
_OWN = (
    "fastcos compiles the kernels of a distance of your own, for some seconds: once in each process"
    " for each loss and dtype. To do it before it is needed: fastcos.warmup(distances=...)"
)

_expected: ContextVar[bool] = ContextVar("fastcos.compiling is expected", default=False)


@contextlib.contextmanager
def expected() -> Iterator[None]:
    """A block within which compilation is expected, and needs no note."""
    token = _expected.set(True)
    try:
        yield
    finally:
        _expected.reset(token)


def begins(what: str, kept: bool, ours: bool) -> None:
    """A kernel is about to be compiled, and will be ``kept`` on disk or not.

    One of ``ours``, made of no function of the user's, should be: if not, that was warned of.
    """
    _logger.debug("compiling %s", what)
    asked = _logger.isEnabledFor(logging.INFO)
    if kept == ours and not asked and not _expected.get() and _is_interactive():
        _tell(_KEPT if ours else _OWN)


def ended(what: str, start: float) -> None:
    """A kernel was compiled, since a time of ``time.perf_counter``."""
    _logger.info("compiled %s in %.2f s", what, time.perf_counter() - start)


def loaded(what: str, start: float) -> None:
    """A kernel was found on disk."""
    _logger.debug("loaded %s from disk in %.3f s", what, time.perf_counter() - start)


@functools.cache
def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _is_interactive() -> bool:
    """Whether somebody waits: at a prompt, in a notebook, or in front of a terminal."""
    if sys.stderr is None:  # as in programs of Windows that have no console
        return False
    shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    if hasattr(sys, "ps1") or (shell and shell()):
        return True
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # a program's own idea of one, or one that is closed
        return False
