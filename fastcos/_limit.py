"""How many threads a caller wants used: a limit that holds for a block of code."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import operator
from collections.abc import AsyncGenerator, Callable, Generator
from contextvars import ContextVar
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


class _Scope:
    """A block that was entered: its limit, the blocks around it, and whether it has been left.

    That is marked here and not only in the context: a generator that is dropped within its block is
    closed by the event loop or the garbage collector, in another context than the one it ran in.
    """

    def __init__(self, limit: float, around: _Scope | None) -> None:
        self.limit, self.around, self.left = limit, around, False


# Not Numba's own number of threads: that belongs to the Python thread, and a coroutine that waits
# within the block would leave it to the others.
_innermost: ContextVar[_Scope | None] = ContextVar("fastcos.threads", default=None)


def current() -> float:
    """The limit that holds here; infinity where none was set."""
    limit, scope = math.inf, _innermost.get()
    while scope:
        if not scope.left:
            limit = min(limit, scope.limit)
        scope = scope.around
    return limit


def threads(n: int) -> _Limit:
    """Limits the threads that fastcos uses for a call, within a ``with`` block.

    A call uses min(n, all limits around it, ``NUMBA_NUM_THREADS``, and for tensors torch's number
    of threads) threads. Results are the same bits for every n. The limit holds for the calls that
    the block itself makes: a thread started within starts without one, as does a process; an
    asyncio task started within has it until the block is left. With n = 1 no other thread is woken.

    As a decorator it limits what the function does, coroutines and generators included. A ``with``
    block in a generator also limits the code that the generator yields to, until it is left.

    Args:
        n: How many, at least 1. More than there are means all.

    Returns:
        A context manager, which is a decorator for functions too.

    Raises:
        TypeError: ``n`` is not an integer.
        ValueError: ``n`` is less than 1.

    Example:
        >>> import numpy as np, fastcos
        >>> x = np.ones((1024, 64))
        >>> with fastcos.threads(1):
        ...     alone = fastcos.cosine_similarity(x, x)
        >>> bool((alone == fastcos.cosine_similarity(x, x)).all())
        True
    """
    try:
        count = operator.index(n)
    except TypeError:
        count = None
    if count is None or isinstance(n, bool):
        raise TypeError(f"n must be an integer, at least 1; got {n!r}")
    if count < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    return _Limit(count)


class _Limit(contextlib.AbstractContextManager[None]):
    """What :func:`threads` returns."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._entered: list[_Scope] = []

    def __enter__(self) -> None:
        around = _innermost.get()
        while around and around.left:
            around = around.around
        scope = _Scope(self._n, around)
        self._entered.append(scope)
        _innermost.set(scope)

    def __exit__(self, *_: object) -> None:
        # Mostly the innermost block of this context; one object may be entered in several.
        here = _innermost.get()
        scope = here if here in self._entered else self._entered[-1]
        assert scope
        self._entered.remove(scope)
        scope.left = True
        if scope is here:
            _innermost.set(scope.around)

    def __call__(self, function: Function) -> Function:
        """The function, within the limit."""
        return functools.wraps(function)(_decorated(function, self._n))  # type: ignore[return-value]


def _decorated(function: Callable[..., Any], n: int) -> Callable[..., Any]:
    """A function of the same kind, whose code runs within the limit, and nobody else's does."""

    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        with _Limit(n):
            return await function(*args, **kwargs)

    def generator(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        return (yield from _Steps(function(*args, **kwargs), n))

    async def asynchronous(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        steps = function(*args, **kwargs)
        step = steps.asend(None)
        try:
            while True:
                try:
                    with _Limit(n):
                        value = await step
                except StopAsyncIteration:
                    return
                try:
                    step = steps.asend((yield value))
                except GeneratorExit:
                    raise
                except BaseException as error:
                    step = steps.athrow(error)
        finally:
            with _Limit(n):
                await steps.aclose()

    def plain(*args: Any, **kwargs: Any) -> Any:
        with _Limit(n):
            return function(*args, **kwargs)

    for is_one, decorated in (
        (inspect.iscoroutinefunction, coroutine),
        (inspect.isgeneratorfunction, generator),
        (inspect.isasyncgenfunction, asynchronous),
    ):
        # Of an object that is called like a function the method says what it is.
        if is_one(function) or is_one(type(function).__call__):
            return decorated
    return plain


class _Steps(Generator[Any, Any, Any]):
    """A generator that is within the limit while it runs, and not while others do."""

    def __init__(self, steps: Generator[Any, Any, Any], n: int) -> None:
        self._steps, self._n = steps, n

    def send(self, value: Any) -> Any:
        with _Limit(self._n):
            return self._steps.send(value)

    def throw(self, *error: Any) -> Any:
        with _Limit(self._n):
            return self._steps.throw(*error)
