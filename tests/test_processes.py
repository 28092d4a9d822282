"""Threads, forks and processes, without torch: the same bits, and never a crash or a hang.

Each test runs this file as a script in a process of its own, for a crash takes the process with it,
and a threading layer is for life.
"""

import asyncio
import concurrent.futures
import functools
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import scenarios
from scenarios import each_layer

import fastcos

run = functools.partial(scenarios.run, __file__, 240)
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


# --------------------------------------------------------------------------------------------------
# What the processes compute
# --------------------------------------------------------------------------------------------------


def _cosine_embedding(a, p, n, target, weight):
    f = fastcos.value_and_grad(fastcos.cosine_embedding_loss)
    return f(a, p, target, margin=0.2, weight=weight)


def _weights(a, p, n, target, weight):
    f = fastcos.value_and_grad(fastcos.cosine_distance_loss, argnums=("labels", "weights"))
    return f(a, p, weights=weight)


def _triplet(a, p, n, target, weight):
    f = fastcos.value_and_grad(fastcos.triplet_margin_loss)
    return f(a, p, n, reduction="none", grad_output=weight)


def _hinge(a, p, n, target, weight):
    f = fastcos.value_and_grad(fastcos.hinge_embedding_loss)
    return f(a, np.broadcast_to(target[:, None], a.shape), margin=2.0)


def _broadcast(a, p, n, target, weight):
    # Gradients that are added up over the tasks.
    return fastcos.value_and_grad(fastcos.cosine_similarity)(a[:1], p)


LOSSES = (_cosine_embedding, _weights, _triplet, _hinge, _broadcast)
# Enough for all threads, and too little to share out.
SHAPES = ((1024, 64), (16, 24))


def draw(shape):
    rng = np.random.default_rng(shape[0])
    rows = rng.standard_normal((3, *shape), dtype=np.float32)
    return *rows, np.where(rng.random(shape[0]) < 0.5, 1, -1), rng.random(shape[0])


DATA = [draw(shape) for shape in SHAPES]


def one(number):
    """The bits of a loss at a size: value and gradients."""
    loss, data = LOSSES[number % len(LOSSES)], DATA[number // len(LOSSES)]
    value, grads = loss(*data)
    return b"".join(np.asarray(part).tobytes() for part in (value, *grads))


NUMBERS = range(len(LOSSES) * len(DATA))


def everything(first=0):
    """All of them, beginning with any one, so that they meet in other orders each time."""
    count = len(NUMBERS)
    found = {(first + k) % count: one((first + k) % count) for k in range(count)}
    return [found[number] for number in NUMBERS]


def serial():
    """The same, in this thread alone."""
    with fastcos.threads(1):
        return everything()


def start_threads(layer):
    """The pools of the layer, and what all of them are to find."""
    import numba

    expected = serial()
    assert everything() == expected
    assert numba.threading_layer() == layer
    return expected


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    """On disk, for all processes: what takes long is then not the compiler."""
    everything()
    serial()


# --------------------------------------------------------------------------------------------------
# Python threads
# --------------------------------------------------------------------------------------------------


def at_once(count, rounds):
    """What so many threads get, who begin together."""
    barrier = threading.Barrier(count)

    def work(number):
        barrier.wait()
        return [everything(number + k) for k in range(rounds)]

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return [result for results in pool.map(work, range(count)) for result in results]


def python_threads(layer):
    """Nothing ran before: the kernels are made, and launched for the first time, by all at once."""
    results = at_once(8, 3)
    expected = start_threads(layer)
    assert len(results) == 24
    assert all(result == expected for result in results)


@each_layer
def test_python_threads(layer):
    run(layer, "python_threads")


# --------------------------------------------------------------------------------------------------
# Processes
# --------------------------------------------------------------------------------------------------


def processes(layer, method):
    """Processes that start with the pools running (fork), or with nothing (spawn)."""
    expected = start_threads(layer)
    count = 4 if method == "fork" else 1
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(count, mp_context=context) as pool:
        assert list(pool.map(everything, range(2 * count))) == [expected] * 2 * count
    assert everything() == expected


@each_layer
def test_spawned_processes(layer):
    run(layer, "processes", "spawn")


def fork_of_fork(layer):
    """A child that has children, and uses Python threads."""
    expected = start_threads(layer)
    child = os.fork()
    if child == 0:
        grandchild = os.fork()
        right = all(result == expected for result in at_once(4, 1))
        if grandchild:
            right = right and os.waitpid(grandchild, 0)[1] == 0
        os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert everything() == expected


def stress(layer):
    """8 threads here, who go on while 4 processes are forked and compute the same."""
    expected = start_threads(layer)
    children_ended = threading.Event()
    barrier = threading.Barrier(9)

    def work(number):
        barrier.wait()
        results = [everything(number)]
        while not children_ended.is_set():
            results.append(everything(number + len(results)))
        return results

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(work, number) for number in range(8)]
        barrier.wait()
        children = []
        for number in range(4):
            child = os.fork()
            if child == 0:
                right = all(everything(number + k) == expected for k in range(4))
                os._exit(0 if right else 1)
            children.append(child)
        codes = [os.waitpid(child, 0)[1] for child in children]
        children_ended.set()
        results = [result for future in futures for result in future.result()]
    assert codes == [0] * 4
    assert len(results) >= 8
    assert all(result == expected for result in results)
    assert everything() == expected


def forks(layer):
    """All of it in one process, whose pools run from the first on."""
    processes(layer, "fork")
    fork_of_fork(layer)
    stress(layer)


@needs_fork
@each_layer
def test_forked_processes(layer):
    run(layer, "forks")


def workers(layer, backend):
    import joblib

    expected = start_threads(layer)
    with joblib.parallel_config(backend=backend, n_jobs=2):
        results = joblib.Parallel()(joblib.delayed(everything)(k) for k in range(6))
    assert list(results) == [expected] * 6


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_joblib(backend):
    pytest.importorskip("joblib")
    run(next(filter(scenarios.present, scenarios.LAYERS)), "workers", backend)


# --------------------------------------------------------------------------------------------------
# Forks while another thread imports, compiles, or loads from disk
# --------------------------------------------------------------------------------------------------


def small(wrong=False):
    """A call that needs a kernel, the loop and the check of labels."""
    losses, labels = np.array([0.5, 0.25], np.float32), np.array([1, -1])
    try:
        return float(fastcos.hinge_embedding_loss(losses, 2 * labels if wrong else labels))
    except ValueError:
        return math.nan


def child_of(fork, call):
    """A child is forked now, whose call is right; an alarm ends it where nothing else does."""
    if fork == "os.fork":
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            os._exit(0 if call() else 1)
        status = os.waitpid(child, 0)[1]
    else:
        process = multiprocessing.get_context("fork").Process(target=in_time, args=(call,))
        process.start()
        process.join()
        status = process.exitcode
    assert status == 0, status


def in_time(call):
    signal.alarm(60)
    assert call()


def right():
    """The same calls in this thread, and in another."""
    found = []

    def work():
        found.append((small(), math.isnan(small(wrong=True))))

    work()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found == [(0.625, True)] * 2


def linger(stay):
    """Calls ``stay`` with what is about to be imported, compiled or loaded, under their locks."""
    from fastcos.kernels import cache

    class Finder:
        """Sees every import, and finds nothing."""

        @staticmethod
        def find_spec(name, path=None, target=None):
            stay(name)

    load = cache._Cache.load_overload

    def slowly(self, *args):
        stay(self._what)
        return load(self, *args)

    sys.meta_path.insert(0, Finder)
    cache._Cache.load_overload = slowly


def fork_within(layer, moment, fork="os.fork"):
    """A fork while another thread is at a moment of its first call, and stays there for a while."""
    reached = threading.Event()

    def stay(where):
        if where == moment and not reached.is_set():
            reached.set()
            time.sleep(1)

    linger(stay)
    thread = threading.Thread(target=small, args=(moment == "the check of labels",))
    thread.start()
    assert reached.wait(60)
    child_of(fork, right)
    thread.join()
    assert right()


MOMENTS = [
    *("fastcos.adapters.numpy", "fastcos.kernels.cpu"),
    *("hinge_embedding(float32)", "the loop over samples", "the check of labels"),
]


@needs_fork
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_fork_while_another_thread_begins(moment):
    run("workqueue", "fork_within", moment)


@needs_fork
def test_a_fork_while_another_thread_compiles(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    run("workqueue", "fork_within", "hinge_embedding(float32)", "multiprocessing")
    assert list(tmp_path.rglob("*.nbc"))


def forks_all_along(layer):
    """Forks of several threads, one after another, while others make their first calls."""
    linger(lambda where: time.sleep(0.3 if " " in where else 0))
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(small, wrong) for wrong in (False, True)]
        for _ in range(4):
            time.sleep(0.1)
            calls.append(pool.submit(child_of, "os.fork", right))
        for call in calls:
            call.result()
    assert right()


@needs_fork
def test_forks_of_several_threads():
    run("workqueue", "forks_all_along")


def fork_in_the_thread_that_holds_the_lock(layer):
    from fastcos.kernels.cache import global_compiler_lock

    with global_compiler_lock:
        child_of("os.fork", lambda: small() == 0.625)

        def after():
            # The child leaves the block as the parent does, and then its threads come in.
            global_compiler_lock.release()
            return right()

        child_of("os.fork", after)
    assert not global_compiler_lock.is_locked()
    assert right()


@needs_fork
def test_a_fork_in_the_thread_that_holds_the_lock():
    run("workqueue", "fork_in_the_thread_that_holds_the_lock")


@needs_fork
def test_a_fork_while_another_thread_makes_a_record():
    # Logging holds its lock across forks, too: taken in the other order, neither would go on.
    code = """
import os, threading, time, fastcos, logging
from fastcos.kernels import cache
reached = threading.Event()
def successor(n): return n + 1
def work():
    with cache.global_compiler_lock:
        reached.set()
        time.sleep(1)
        cache.stored(successor, None, bytes, "a test")
thread = threading.Thread(target=work)
thread.start()
reached.wait()
child = os.fork()
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
thread.join()
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


# --------------------------------------------------------------------------------------------------
# The number of threads
# --------------------------------------------------------------------------------------------------


def _worker():
    """A distance that says which of its threads Numba computes it in."""
    from numba import get_thread_id

    return fastcos.Distance(
        "worker",
        init=lambda zero: (zero,),
        accumulate=lambda state, x, y: state,
        finalize=lambda state: get_thread_id(),
        gradient=lambda state, d, x, y: (0.0, 0.0),
    )


ROWS = np.zeros((1024, 64))


def used(distance):
    """How many threads a call uses."""
    return len(set(fastcos.paired_distance(ROWS, ROWS, distance).tolist()))


AVAILABLE = 3


def limits(layer):
    """The limit is that of the block, in this thread and in this coroutine."""
    worker = _worker()

    def expect(limit, found):
        most = min(limit, AVAILABLE)
        # TBB's threads take work when they come to it, and may find none left.
        assert found == most or (layer == "tbb" and found < most), (limit, found)

    expect(AVAILABLE, used(worker))
    for n in (1, 2, 3, 100):
        with fastcos.threads(n):
            expect(n, used(worker))
    expect(AVAILABLE, used(worker))
    with fastcos.threads(2):
        with fastcos.threads(1):
            expect(1, used(worker))
        with fastcos.threads(3):
            expect(2, used(worker))
        expect(2, used(worker))
        other = []
        thread = threading.Thread(target=lambda: other.append(used(worker)))
        thread.start()
        thread.join()
        expect(AVAILABLE, *other)
    try:
        with fastcos.threads(1):
            raise KeyError
    except KeyError:
        expect(AVAILABLE, used(worker))

    async def coroutine(n):
        with fastcos.threads(n):
            for _ in range(3):
                expect(n, used(worker))
                await asyncio.sleep(0)

    async def together():
        await asyncio.gather(*map(coroutine, (1, 2, 3, 100)))

    asyncio.run(together())
    expect(AVAILABLE, used(worker))
    frameworks()


def frameworks():
    """The limit, and a framework's number of threads beside it: the smaller one rules."""
    import numba

    from fastcos.kernels.cpu.threads import launch

    for own in (1, 2, 3, 100):
        for n in (1, 2, 3, 100):
            changed = []
            with fastcos.threads(n):
                count = launch(
                    numba.get_num_threads, lambda: 1, (), (lambda o=own: o, changed.append)
                )
            assert count == min(own, n, AVAILABLE), (own, n, count)
            assert not changed
            assert numba.get_num_threads() == AVAILABLE


@each_layer
def test_limits(layer):
    # Numba's number is what counts, in every layer.
    run(layer, "limits", numba_threads=AVAILABLE, omp_threads=1)


def same_bits(layer, digest):
    import hashlib

    for n in (1, 2, 3, 4):
        with fastcos.threads(n):
            assert hashlib.sha256(b"".join(everything())).hexdigest() == digest
    start_threads(layer)


@each_layer
@pytest.mark.parametrize(("numba_threads", "omp_threads"), [(1, 4), (4, 1)])
def test_the_number_of_threads_changes_no_bit(layer, numba_threads, omp_threads):
    import hashlib

    digest = hashlib.sha256(b"".join(serial())).hexdigest()
    run(layer, "same_bits", digest, numba_threads=numba_threads, omp_threads=omp_threads)


def _kinds():
    """Calls of every kind that shares work out: what they leave, value and gradients."""
    rng = np.random.default_rng(7)
    x, y, z = rng.standard_normal((3, 700, 96), dtype=np.float32)
    pair = fastcos.value_and_grad(fastcos.cosine_embedding_loss)
    distances = fastcos.value_and_grad(fastcos.paired_distance)
    labels, target = np.arange(700) % 50, np.where(rng.random(700) < 0.5, 1, -1)
    i, j = rng.integers(0, 700, (2, 3000))
    marks = np.where(rng.random(3000) < 0.5, 1, -1)

    def rows(table):
        return pair(fastcos.rows(table, i), fastcos.rows(table, j), marks)

    yield lambda: pair(x, y, target, reduction="none", grad_output=x[:, 0])
    # What is rounded to float32 would hide sums in another order.
    wide = x.astype(np.float64), y.astype(np.float64)
    yield lambda: pair(*wide, target)
    yield lambda: distances(wide[0][:1], wide[1])
    yield lambda: fastcos.value_and_grad(fastcos.triplet_margin_loss)(x, y, z, swap=True)
    # Both broadcast, over axes of their own: two passes, and sums for each row of both.
    yield lambda: distances(x[:40, None], y[None, :30])
    yield lambda: distances(x[:1].astype(np.float16), y.astype(np.float16), "canberra")
    yield lambda: rows(x)
    yield lambda: fastcos.value_and_grad(fastcos.info_nce_loss)(x, y)
    yield lambda: fastcos.value_and_grad(fastcos.batch_hard_triplet_loss)(x, labels)
    yield lambda: (*fastcos.nearest(x[:1], y, 5), ())
    yield lambda: (*fastcos.nearest(x, y, 5), ())


def more_than_cores(layer):
    """Eight threads, and fewer that do not divide tasks evenly: the bits of one."""

    def bits(call):
        return [np.asarray(part).tobytes() for part in _flat(call())]

    for number, call in enumerate(_kinds()):
        with fastcos.threads(1):
            expected = bits(call)
        for n in (8, 7, 3, 2, 8):
            with fastcos.threads(n):
                assert bits(call) == expected, (number, n)


def _flat(found):
    if isinstance(found, tuple):
        return [part for each in found for part in _flat(each)]
    return [found]


@each_layer
def test_more_threads_than_cores_change_no_bit(layer):
    run(layer, "more_than_cores", numba_threads=8, omp_threads=8)


SCENARIOS = {
    f.__name__: f
    for f in (
        *(python_threads, processes, forks, workers),
        *(fork_within, forks_all_along, fork_in_the_thread_that_holds_the_lock),
        *(limits, same_bits, more_than_cores),
    )
}

if __name__ == "__main__":
    SCENARIOS[sys.argv[1]](*sys.argv[2:])
    sys.stdout.write(f"{sys.argv[1]} ended\n")
