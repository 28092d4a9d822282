"""Gradients of large calls, which are written past the caches: the same bits, and nothing else."""

import types

import devices
import numpy as np
import pytest

import fastcos
from fastcos.kernels.cpu import streaming

# As many numbers as make up cache lines, a few more and a few less; blocks, steps, and their rests.
FEATURES = [1, 2, 7, 31, 32, 33, 64, 97, 256, 300, 517]


@pytest.fixture
def past_caches_from(monkeypatch):
    """Sets from how many bytes that is."""

    def set_to(size):
        assert not asked
        asked.append(None)
        monkeypatch.setattr(streaming, "streaming_threshold", lambda: asked.clear() or size)
        devices.forget()

    asked = []
    yield set_to
    devices.forget()
    assert not asked


def gradients(past_caches_from, size, f, rows, others, start, gap):
    """Value and gradients as bytes, the gaps between rows and what is around the arrays among them.

    The arrays begin ``start`` numbers into a cache line, each later one 7 more, and have ``gap``
    numbers between rows.
    """
    past_caches_from(size)
    count, features = rows[0].shape
    item, length = rows[0].itemsize, count * (features + gap)
    around, out = [], []
    for number in range(len(rows)):
        memory = np.full(length * item + 640, 0x5A, np.uint8)
        first = -memory.ctypes.data % 64 + 64 + (start + 7 * number) * item
        table = memory[first : first + length * item].view(rows[0].dtype)
        out.append(table.reshape(count, features + gap)[:, :features])
        around.append(memory[first - 64 : first + length * item + 64])
    value, _ = f(*rows, *others, out=tuple(out))
    return value, [memory.tobytes() for memory in around]


@pytest.mark.parametrize("start", [0, 1, 31])
@pytest.mark.parametrize("gap", [0, 1, 16])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_pairs(past_caches_from, rng, dtype, gap, start):
    f = fastcos.value_and_grad(fastcos.cosine_embedding_loss)
    for features in FEATURES:
        rows = [rng.standard_normal((37, features)).astype(dtype) for _ in range(2)]
        # Without a gradient: rows whose loss is 0, among others.
        rows[1][5:8] = rows[0][5:8]
        labels = np.where(rng.random(37) < 0.5, 1, -1)
        labels[5:8] = 1
        layout = {"start": start, "gap": gap}
        expected = gradients(past_caches_from, np.inf, f, rows, (labels,), **layout)
        assert gradients(past_caches_from, 0, f, rows, (labels,), **layout) == expected


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("gap", [0, 1])
@pytest.mark.parametrize("swap", [False, True])
def test_triplets(past_caches_from, rng, swap, gap, start):
    def f(*rows, out):
        return fastcos.value_and_grad(fastcos.triplet_margin_loss)(*rows, swap=swap, out=out)

    for features in FEATURES:
        rows = [rng.standard_normal((37, features)).astype(np.float32) for _ in range(3)]
        rows[2][9:12] += 100
        expected = gradients(past_caches_from, np.inf, f, rows, (), start=start, gap=gap)
        assert gradients(past_caches_from, 0, f, rows, (), start=start, gap=gap) == expected


def test_threads_share_cache_lines(past_caches_from, rng):
    # Rows of 129 float32 numbers in 256 tasks: most of these end within a cache line.
    f = fastcos.value_and_grad(fastcos.cosine_embedding_loss)
    rows = [rng.standard_normal((16384, 129)).astype(np.float32) for _ in range(2)]
    layout = {"start": 1, "gap": 0}
    expected = gradients(past_caches_from, np.inf, f, rows, (np.ones(16384),), **layout)
    for _ in range(5):
        assert gradients(past_caches_from, 0, f, rows, (np.ones(16384),), **layout) == expected


def test_from_the_size_of_the_last_cache(monkeypatch, tmp_path):
    found = streaming.streaming_threshold.__wrapped__
    monkeypatch.setattr(streaming.llvm, "get_host_cpu_name", lambda: "znver5")
    assert 1 << 20 <= found() < 1 << 32
    for size in (["no number\n"], []):
        folder = tmp_path / f"{len(size)}"
        for text in size:
            (folder / "index3").mkdir(parents=True)
            for name, said in {"type": "Unified", "level": "3", "size": text}.items():
                (folder / "index3" / name).write_text(said)
        found_there = types.SimpleNamespace(Path=lambda _, folder=folder: folder)
        monkeypatch.setattr(streaming, "pathlib", found_there)
        assert found() == 32 << 20
    monkeypatch.setattr(streaming.llvm, "get_host_cpu_name", lambda: "emeraldrapids")
    assert found() == np.inf
