"""``fastcos.threads``: what it takes, and that it leaves things as they were.

How many threads are used is seen in ``test_processes.py``.
"""

import asyncio
import concurrent.futures
import contextvars
import functools
import gc
import inspect
import math

import numpy as np
import pytest

import fastcos
from fastcos import _limit


@pytest.mark.parametrize("n", [0, -1, np.int64(0)])
def test_less_than_one_thread(n):
    with pytest.raises(ValueError, match=rf"n must be at least 1, got {n}"):
        fastcos.threads(n)


@pytest.mark.parametrize("n", [1.0, "2", None, True, np.ones(2, int)])
def test_not_a_number_of_threads(n):
    with pytest.raises(TypeError, match="n must be an integer, at least 1; got"):
        fastcos.threads(n)


@pytest.mark.parametrize("n", [1, 2, np.int64(3), 1 << 80])
def test_a_call_within_is_the_call_outside(n):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 1024, 64), dtype=np.float32)
    f = fastcos.value_and_grad(fastcos.cosine_similarity)
    expected = f(x, y)

    @fastcos.threads(n)
    def decorated():
        return f(x, y)

    with fastcos.threads(n):
        found = f(x, y)
    for value, grads in (found, decorated(), decorated()):
        np.testing.assert_array_equal(value, expected[0])
        np.testing.assert_array_equal(grads, expected[1])


def test_torch_keeps_its_number():
    torch = pytest.importorskip("torch")
    x = torch.ones((1024, 64))
    before = torch.get_num_threads()
    with fastcos.threads(1):
        fastcos.cosine_similarity(x, x)
        assert torch.get_num_threads() == before
    fastcos.cosine_similarity(x, x)
    assert torch.get_num_threads() == before


# --------------------------------------------------------------------------------------------------
# Blocks that are suspended, and left elsewhere
# --------------------------------------------------------------------------------------------------


def test_an_async_generator_that_is_dropped():
    # The event loop closes it in a context of its own.
    failures, limits = [], []

    async def numbers():
        with fastcos.threads(1):
            yield 1
            yield 2

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, what: failures.append(what))
        for _ in range(3):
            async for _ in numbers():
                break
            gc.collect()
            await asyncio.sleep(0.01)
            limits.append(_limit.current())
        with fastcos.threads(2):
            limits.append(_limit.current())
        limits.append(_limit.current())

    asyncio.run(main())
    assert not failures
    assert limits == [math.inf] * 3 + [2, math.inf]


def test_a_generator_that_is_closed_in_another_thread():
    def numbers():
        with fastcos.threads(1):
            yield 1

    suspended = numbers()
    next(suspended)
    assert _limit.current() == 1
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(suspended.close).result()
    assert _limit.current() == math.inf


def test_blocks_that_are_not_left_in_the_order_they_were_entered():
    def numbers(n):
        with fastcos.threads(n):
            yield n

    first = numbers(1)
    next(first)
    with fastcos.threads(2):
        first.close()
        assert _limit.current() == 2
    assert _limit.current() == math.inf


def test_what_was_left_elsewhere_is_forgotten():
    for _ in range(3):
        block = fastcos.threads(1)
        block.__enter__()
        contextvars.Context().run(block.__exit__, None, None, None)
    with fastcos.threads(2):
        assert _limit._innermost.get().around is None


def test_one_object_in_several_places():
    block = fastcos.threads(2)

    async def task(log):
        with block:
            await asyncio.sleep(0)
            log.append(_limit.current())
            with block:
                await asyncio.sleep(0)
            log.append(_limit.current())
        log.append(_limit.current())

    async def main():
        logs = [], [], []
        await asyncio.gather(*map(task, logs))
        return logs

    assert asyncio.run(main()) == ([2, 2, math.inf],) * 3


class Callables:
    """Every kind of function; each tells the limit that it sees."""

    def plain(self):
        return _limit.current()

    async def coroutine(self):
        await asyncio.sleep(0)
        return _limit.current()

    def generator(self):
        sent = yield _limit.current()
        try:
            yield sent, _limit.current()
        except KeyError:
            yield "caught", _limit.current()
        return _limit.current()

    async def async_generator(self):
        sent = yield _limit.current()
        try:
            yield sent, _limit.current()
        except KeyError:
            yield "caught", _limit.current()

    class Object:
        async def __call__(self):
            return _limit.current()


def test_as_a_decorator_of_coroutines():
    limited = fastcos.threads(1)
    of_method, of_object = limited(Callables().coroutine), limited(Callables.Object())
    of_partial = limited(functools.partial(Callables.coroutine, Callables()))
    assert inspect.iscoroutinefunction(of_method)

    async def main():
        together = await asyncio.gather(of_method(), of_object(), of_partial())
        return *together, _limit.current()

    assert asyncio.run(main()) == (1, 1, 1, math.inf)


def test_as_a_decorator_of_generators():
    limited = fastcos.threads(1)(Callables().generator)
    assert inspect.isgeneratorfunction(limited)
    steps = limited()
    assert next(steps) == 1
    assert _limit.current() == math.inf  # suspended, it limits nobody
    assert steps.send("sent") == ("sent", 1)
    assert steps.throw(KeyError()) == ("caught", 1)
    with pytest.raises(StopIteration) as stopped:
        next(steps)
    assert stopped.value.value == 1
    assert _limit.current() == math.inf
    dropped = limited()
    next(dropped)
    dropped.close()
    assert list(dropped) == []


def test_as_a_decorator_of_async_generators():
    limited = fastcos.threads(1)(Callables().async_generator)
    assert inspect.isasyncgenfunction(limited)

    async def main():
        steps = limited()
        assert await anext(steps) == 1
        assert _limit.current() == math.inf
        assert await steps.asend("sent") == ("sent", 1)
        assert await steps.athrow(KeyError()) == ("caught", 1)
        assert [step async for step in steps] == []
        dropped = limited()
        await anext(dropped)
        await dropped.aclose()
        assert [step async for step in dropped] == []
        return _limit.current()

    assert asyncio.run(main()) == math.inf
