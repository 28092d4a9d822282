"""What a call allocates beyond its inputs and results: O(N), whatever the length of the rows."""

import os
import pathlib
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

import fastcos
from fastcos.adapters import _memory

N, D = 8192, 256
MATRIX = N * D * 4
# A few float64 numbers per sample, and what Python needs.
PER_SAMPLE = N * 8 * 5 + (1 << 16)
assert PER_SAMPLE < MATRIX / 16

LOSSES = {
    "cosine_similarity": 2,
    "paired_distance": 2,
    "cosine_embedding_loss": 2,
    "cosine_distance_loss": 2,
    "triplet_margin_loss": 3,
}


def arguments(name):
    rng = np.random.default_rng(0)
    rows = [rng.standard_normal((N, D), dtype=np.float32) for _ in range(LOSSES[name])]
    labelled = name == "cosine_embedding_loss"
    return rows, [np.where(rng.random(N) < 0.5, 1, -1)] if labelled else []


def peak(function):
    """The most that NumPy and Python had allocated at a time during a call, beyond what it left."""
    result = function()  # compiled, and found by form
    del result
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        result = function()
        most = tracemalloc.get_traced_memory()[1] - before
        del result
        return most
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", LOSSES)
def test_a_value_takes_a_few_numbers_per_sample(name):
    rows, labels = arguments(name)
    assert peak(lambda: getattr(fastcos, name)(*rows, *labels)) < PER_SAMPLE


@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_takes_that_and_the_gradients(name, monkeypatch):
    rows, labels = arguments(name)
    f = fastcos.value_and_grad(getattr(fastcos, name))
    monkeypatch.setattr(_memory, "_kept", {})  # what earlier calls left
    held = []
    most = peak(lambda: held.append(f(*rows, *labels)))
    # Each begins with a huge page, in front of which there may be as much that is never touched.
    gradients, before = len(rows) * MATRIX, len(rows) * (2 << 20)
    assert gradients <= most < gradients + before + PER_SAMPLE


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_that_were_let_go_leave_their_memory_to_the_next(name):
    rows, labels = arguments(name)
    f = fastcos.value_and_grad(getattr(fastcos, name))

    def three_times():
        for _ in range(3):
            f(*rows, *labels)

    assert peak(three_times) < PER_SAMPLE


@pytest.mark.parametrize("name", LOSSES)
def test_out_takes_the_gradients_away(name):
    rows, labels = arguments(name)
    f = fastcos.value_and_grad(getattr(fastcos, name))
    out = tuple(map(np.empty_like, rows))

    def three_times():
        for _ in range(3):
            f(*rows, *labels, out=out)

    assert peak(three_times) < PER_SAMPLE


@pytest.mark.parametrize("weights", [False, True], ids=["plain", "weighted"])
def test_a_broadcast_row_is_not_copied(weights):
    rng = np.random.default_rng(0)
    gallery = rng.standard_normal((N, D), dtype=np.float32)
    query = gallery[0] + 1
    # Of rows of another stride neither.
    for rows in (gallery, np.repeat(gallery, 2, axis=0)[::2]):
        options = {"weights": rng.random(N)} if weights else {}
        value = peak(lambda r=rows, o=options: fastcos.cosine_distance_loss(query, r, **o))
        assert value < PER_SAMPLE
        f = fastcos.value_and_grad(fastcos.cosine_distance_loss)
        out = np.empty_like(query), np.empty_like(gallery)
        both = peak(lambda r=rows, o=options, f=f, out=out: f(query, r, out=out, **o))
        # The sums of its gradient, one for each of 256 tasks.
        assert both < PER_SAMPLE + 256 * D * 8


# --------------------------------------------------------------------------------------------------
# The memory of the process
# --------------------------------------------------------------------------------------------------


def script(code, *paths):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [int(number) for number in done.stdout.split()]


def available():
    """Bytes, as far as they can be known."""
    try:
        text = pathlib.Path("/proc/meminfo").read_text()
    except OSError:
        return 0
    (line,) = [line for line in text.splitlines() if line.startswith("MemAvailable")]
    return int(line.split()[1]) << 10


RESIDENT = """
import pathlib
import numpy as np, fastcos

def resident():
    # Not ru_maxrss, which starts at what the parent process had.
    text = pathlib.Path("/proc/self/status").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) << 10

f = fastcos.value_and_grad(fastcos.cosine_embedding_loss)
target = np.ones(1 << 18)
f(*np.ones((2, 1024, 64), np.float32), target[:1024])  # all threads
x, y = np.empty((2, 1 << 18, 512), np.float32)  # 512 MiB each
x[:], y[:] = np.random.default_rng(0).standard_normal((2, 512))
start = resident()
fastcos.cosine_embedding_loss(x, y, target)
value = resident() - start
f(x, y, target)
print(start, value, resident() - start)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
@pytest.mark.skipif(available() < 3 << 30, reason="takes 3 GiB of memory")
def test_resident_memory_on_a_gibibyte_of_input():
    input_bytes, slack = 1 << 30, 48 << 20
    start, value, both = script(RESIDENT)
    assert input_bytes < start
    assert value < slack
    assert input_bytes / 2 < both < input_bytes + slack


# --------------------------------------------------------------------------------------------------
# Memory maps
# --------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    """Two matrices on disk."""
    rng = np.random.default_rng(0)
    paths = tmp_path / "x", tmp_path / "y"
    for path in paths:
        rng.standard_normal((N, D), dtype=np.float32).tofile(path)
    return paths


def mapped(path, mode="r"):
    return np.memmap(path, np.float32, mode, shape=(N, D))


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_memory_maps_are_arrays(files, mode):
    x, y = (mapped(path, mode) for path in files)
    a, b = (np.fromfile(path, np.float32).reshape(N, D) for path in files)
    f = fastcos.value_and_grad(fastcos.cosine_similarity)
    expected, gradients = f(a, b)
    found, grads = f(x, y)
    np.testing.assert_array_equal(found, expected)
    for grad, gradient in zip(grads, gradients, strict=True):
        assert type(grad) is np.ndarray
        np.testing.assert_array_equal(grad, gradient)
    assert peak(lambda: fastcos.cosine_similarity(x, y)) < PER_SAMPLE


def test_gradients_go_into_memory_maps(files, tmp_path):
    x, y = map(mapped, files)
    f = fastcos.value_and_grad(fastcos.cosine_similarity)
    _, gradients = f(x, y)
    paths = tmp_path / "gx", tmp_path / "gy"
    out = tuple(mapped(path, "w+") for path in paths)
    _, found = f(x, y, out=out)
    for path, grad, buffer, gradient in zip(paths, found, out, gradients, strict=True):
        assert grad is buffer
        buffer.flush()
        np.testing.assert_array_equal(mapped(path), gradient)
    assert peak(lambda: f(x, y, out=out)) < PER_SAMPLE


def test_a_memory_map_that_is_read_only_is_no_out(files, tmp_path):
    x, y = map(mapped, files)
    mapped(tmp_path / "g", "w+")
    before = (tmp_path / "g").read_bytes()
    with pytest.raises(ValueError, match="out for x1 is read-only"):
        fastcos.value_and_grad(fastcos.cosine_similarity)(
            x, y, out=(mapped(tmp_path / "g"), np.empty((N, D), np.float32))
        )
    assert (tmp_path / "g").read_bytes() == before


# What of the process is in no file: at any time during the calls, beyond what there was before.
ANONYMOUS = """
import pathlib, sys, threading
import numpy as np, fastcos

def anonymous():
    text = pathlib.Path("/proc/self/status").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1]) << 10

x, y = (np.memmap(path, np.float32, "r").reshape(-1, 512) for path in sys.argv[1:3])
out = tuple(np.memmap(path, np.float32, "w+", shape=x.shape) for path in sys.argv[3:5])
f = fastcos.value_and_grad(fastcos.cosine_similarity)
f(x[:1024], y[:1024], out=tuple(np.empty((1024, 512), np.float32) for _ in range(2)))
before = most = anonymous()
ended = threading.Event()

def watch():
    global most
    while not ended.wait(0.001):
        most = max(most, anonymous())

thread = threading.Thread(target=watch)
thread.start()
for _ in range(3):
    fastcos.cosine_similarity(x, y)
    f(x, y, out=out)
ended.set()
thread.join()
print(x.nbytes, most - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc here")
def test_memory_maps_are_not_read_into_memory_of_the_process(tmp_path):
    paths = [tmp_path / name for name in ("x", "y", "gx", "gy")]
    rows = np.random.default_rng(0).standard_normal((1 << 10, 512), dtype=np.float32)
    for path in paths[:2]:
        with open(path, "wb") as file:
            for _ in range(64):
                file.write(rows.tobytes())
    size, most = script(ANONYMOUS, *paths)
    for path in paths:
        assert path.stat().st_size == size == 128 << 20
        path.unlink()
    assert most < size / 8
