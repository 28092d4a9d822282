"""Memory of gradients that were let go: who gets it, when, and how much of it is kept."""

import concurrent.futures
import gc
import itertools
import pickle
import subprocess
import sys
import weakref

import numpy as np
import pytest

import fastcos
from fastcos.adapters import _memory

# The least of which memory is kept: half a mebibyte of float32.
N, D = 1024, 128
BLOCK = N * D * 4
assert BLOCK == _memory.KEPT_FROM

f = fastcos.value_and_grad(fastcos.cosine_similarity)


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    monkeypatch.setattr(_memory, "_kept", {})
    # Of what earlier tests have left a collection takes a second, and there are eighty here.
    gc.freeze()
    yield
    gc.unfreeze()


def rows(seed, dtype=np.float32, samples=N):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2, samples, D)).astype(dtype)


def address(array):
    return array.__array_interface__["data"][0]


def kept():
    return sum(size * len(blocks) for size, blocks in _memory._kept.items())


# --------------------------------------------------------------------------------------------------
# Memory that somebody holds
# --------------------------------------------------------------------------------------------------

HOLDERS = {
    "itself": lambda g: g,
    "a_slice": lambda g: g[10:20, ::3],
    "a_row": lambda g: g[-1],
    "transposed": lambda g: g.T,
    "a_view_of_a_view": lambda g: g[1:].T[2:].reshape(D - 2, -1)[::-1],
    "other_words": lambda g: g.reshape(-1).view(np.int16)[5:],
    "asarray_of_a_view": lambda g: np.asarray(g[3:].T),
    "a_memoryview": memoryview,
    "array_of_a_memoryview": lambda g: np.frombuffer(memoryview(g[7:]), np.float32),
    "array_in_a_memoryview": lambda g: np.ndarray((9,), np.float32, memoryview(g[7:])),
    "base": lambda g: g.base[100:200],
    "base_of_a_view": lambda g: g[1:].base[1:],
    "a_subclass": lambda g: g.view(np.recarray),
    "a_masked_array": lambda g: np.ma.masked_array(g[2:]),
    "broadcast": lambda g: np.broadcast_to(g[2], (3, D)),
    "strided": lambda g: np.lib.stride_tricks.sliding_window_view(g[2], 5),
    "a_pickle_buffer": lambda g: pickle.PickleBuffer(g),
    "by_its_interface": lambda g: np.asarray(Foreign(g)),
    "dlpack": lambda g: np.from_dlpack(g[4:]),
}


class Foreign:
    """An array of another library, for NumPy."""

    def __init__(self, array):
        self.__array_struct__ = array[1:].__array_struct__


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("holder", HOLDERS)
def test_what_is_held_stays_as_it_is(holder, number):
    gradients = f(*rows(0))[1]
    held = HOLDERS[holder](gradients[number])
    expected = np.array(held)
    del gradients
    gc.collect()
    assert kept() == BLOCK
    for seed in range(1, 4):
        f(*rows(seed))  # let go at once
        later = f(*rows(seed))[1]
        assert not any(np.shares_memory(np.asarray(held), gradient) for gradient in later)
    np.testing.assert_array_equal(np.asarray(held), expected)
    # No more was taken than were there at a time.
    del later
    assert kept() == 4 * BLOCK
    del held
    gc.collect()
    assert kept() == 5 * BLOCK


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
@pytest.mark.parametrize("axis", [-1, 0])
def test_rows_along_any_axis_in_any_dtype(dtype, axis):
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    x, y = rows(0, dtype, 4 * N)
    if axis == 0:
        x, y = x.T, y.T
    expected = f(x, y, axis=axis)[1][0].copy()
    held = f(x, y, axis=axis)[1][0].T
    f(y, x, axis=axis)
    f(y, x, axis=axis)
    assert held.dtype == dtype
    assert np.array_equal(held.T.astype(float), expected.astype(float))


def test_memory_goes_to_the_next_of_its_size():
    x, y = rows(0)
    first = {address(g) for g in f(x, y)[1]}
    assert kept() == 2 * x.nbytes
    held = f(x, y)[1][0]
    assert {address(held)} < first
    again = f(x, y)[1]
    assert address(held) not in map(address, again)
    assert len({*map(address, again)} & first) == 1
    half = f(x[: N - 1], y[: N - 1])[1]
    assert not {*map(address, half)} & first


def test_few_numbers_are_memory_of_their_own():
    x, y = rows(0)
    gradient = f(x[1:], y[1:])[1][0]
    assert gradient.base is None
    del gradient
    assert not _memory._kept


def test_buffers_of_the_caller_are_left_to_them():
    x, y = rows(0)
    out = np.empty_like(x), np.empty_like(y)
    found = f(x, y, out=out)[1]
    assert found[0] is out[0]
    assert found[1] is out[1]
    del out, found
    assert not _memory._kept


def test_a_gradient_is_an_array_like_any_other():
    gradient = f(*rows(0))[1][0]
    assert type(gradient) is np.ndarray
    flags = gradient.flags
    assert flags.c_contiguous
    assert flags.aligned
    assert flags.writeable
    flags.writeable = False
    flags.writeable = True
    gradient[...] = 3
    assert (pickle.loads(pickle.dumps(gradient)) == 3).all()
    assert (pickle.loads(pickle.dumps(gradient, protocol=5)) == 3).all()
    gradient.shape = -1
    with pytest.raises(ValueError, match="does not own its data"):
        gradient.resize(3)


def test_tensors_share_the_memory():
    torch = pytest.importorskip("torch")
    from fastcos.adapters.torch import cosine_similarity

    x, y = (torch.from_numpy(a).requires_grad_() for a in rows(0, samples=2 * N))

    def gradient():
        x.grad = y.grad = None
        cosine_similarity(x, y).sum().backward()
        return x.grad

    held = gradient()[5:].numpy().T
    expected = held.copy()
    for _ in range(3):
        assert not np.shares_memory(held, gradient().numpy())
    np.testing.assert_array_equal(held, expected)
    before = kept()
    x.grad = y.grad = None
    assert kept() == before + 2 * x.nbytes
    of_tensors = {address(block) for block in _memory._kept[x.nbytes]}
    arrays = f(x.detach().numpy(), y.detach().numpy())[1]
    assert {*map(address, arrays)} <= of_tensors


# --------------------------------------------------------------------------------------------------
# Blocks
# --------------------------------------------------------------------------------------------------

MEBI = 1 << 20


def test_blocks_begin_with_a_line_and_large_ones_with_a_huge_page():
    held = [_memory.block(size) for size in range(MEBI // 2 + 1, 4 * MEBI, 100_001)]
    for block in held:
        start, step = address(block), 64 if block.size < 2 * MEBI else 2 * MEBI
        assert start % step == 0
        block[[0, -1]] = 1  # it is there
    addresses = sorted((address(block), block.size) for block in held)
    for (start, size), (following, _) in itertools.pairwise(addresses):
        assert start + size <= following


def test_no_more_is_kept_than_the_bound():
    held = [_memory.block(24 * MEBI) for _ in range(3)]
    del held
    assert kept() == 48 * MEBI
    # All of another size goes first.
    held = [_memory.block(10 * MEBI) for _ in range(8)]
    assert kept() == 48 * MEBI
    most = 0
    while held:
        held.pop()
        most = max(most, kept())
    assert most <= _memory.KEPT_AT_MOST
    assert kept() == 60 * MEBI
    # A block that is larger than all that may be kept.
    whole = _memory.block(_memory.KEPT_AT_MOST)
    larger = _memory.block(_memory.KEPT_AT_MOST + 1)
    del larger
    assert kept() == 60 * MEBI
    del whole
    assert kept() == _memory.KEPT_AT_MOST
    assert list(_memory._kept) == [_memory.KEPT_AT_MOST]


def test_threads_have_blocks_of_their_own():
    arguments = [rows(seed) for seed in range(4)]
    expected = [[g.copy() for g in f(*each)[1]] for each in arguments]

    def calls(own):
        for turn in range(60):
            x, y = arguments[own]
            few = N - turn % 3  # of three sizes, two of which are not kept
            found = f(x, y)[1]
            held = found[turn % 2][1:].T
            _memory.block((20 + own) * MEBI)  # one that has the others go
            del found
            f(x[:few] + 1, y[:few])
            np.testing.assert_array_equal(held, expected[own][turn % 2][1:].T)

    with concurrent.futures.ThreadPoolExecutor(4) as threads, fastcos.threads(1):
        for _ in threads.map(calls, range(4)):
            pass
    assert 0 < kept() <= _memory.KEPT_AT_MOST


def test_a_collection_may_come_at_any_time(monkeypatch):
    class Cycle:
        def __init__(self, block):
            self.block, self.own = block, self

    ignored = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    before = gc.get_threshold()
    gc.freeze()  # all that there is elsewhere, for which a collection takes a quarter of a second
    try:
        # With the next object that is made while a block is taken back, with the one after it, ...
        for later in range(40):
            _memory._kept.clear()
            held = [_memory.block(size * MEBI) for size in range(1, 5)]
            gc.disable()
            for size in range(5, 9):
                Cycle(_memory.block(size * MEBI))
            gc.set_threshold(gc.get_count()[0] + later, 1, 1)
            gc.enable()
            del held
            gc.set_threshold(*before)
            gc.collect()
            assert kept() == sum(range(1, 9)) * MEBI
    finally:
        gc.set_threshold(*before)
        gc.enable()
        gc.unfreeze()
    assert not ignored


def test_an_array_holds_its_memory_by_itself():
    # What is to be done when it goes may be gone first, at the end of the process.
    memory = np.empty(8, np.int8)
    there = weakref.ref(memory)
    array = np.asarray(_memory._Lent(memory))[1:]
    del memory
    assert there() is not None
    del array
    assert there() is None


def test_gradients_that_are_there_at_the_end_of_the_process():
    code = """
import numpy as np, fastcos
x = np.ones((1024, 128), np.float32)
_, gradients = fastcos.value_and_grad(fastcos.cosine_similarity)(x, x)
class Last:
    def __init__(self):
        self.view = gradients[0].T
    def __del__(self):
        self.view[...] = 1
        print(self.view[5, 5], flush=True)
last = Last()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout == "1.0\n"
