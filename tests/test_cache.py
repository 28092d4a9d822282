"""Compiled kernels are kept on disk, found again, and never outlive the source they came from."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

import fastcos
from fastcos import adapters

PACKAGE = pathlib.Path(fastcos.__file__).parent
ADAPTERS = pathlib.Path(adapters.__file__).parent

MEASURE = """
import numpy as np, fastcos
from fastcos.kernels import cpu
from fastcos import losses, distances
x, y = np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]])
d = fastcos.paired_distance(x, y, "sqeuclidean")
kernel = cpu.pair(losses.identity, distances.sqeuclidean().functions, (0, 0), "float64")
print(fastcos.__file__, float(d[0]), kernel.cache_hits)
"""


@pytest.fixture
def copy(tmp_path):
    """The package in a folder of its own, with a cache of its own."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "fastcos", ignore=ignore)
    shutil.copytree(ADAPTERS, tmp_path / "fastcos" / "adapters", ignore=ignore)
    return tmp_path


def measure(folder, code=MEASURE):
    environment = {**os.environ, "PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(folder / "nbc")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    where, value, hits = done.stdout.split()
    assert pathlib.Path(where).parent.parent == folder.resolve()
    return float(value), int(hits)


def test_hits_across_processes_and_never_stale(copy):
    assert measure(copy) == (13.0, 0)
    assert measure(copy) == (13.0, 1)

    # One distance edited: its new result is seen at once, and cached in its turn.
    source = copy / "fastcos" / "distances.py"
    text = source.read_text()
    assert text.count("return (state[0] + t * t,)") == 1
    source.write_text(text.replace("return (state[0] + t * t,)", "return (state[0] + 3 * t * t,)"))
    assert measure(copy) == (39.0, 0)
    assert measure(copy) == (39.0, 1)

    # The same for a function that the distance does not hold itself, but the kernel calls.
    source = copy / "fastcos" / "kernels" / "_memory.py"
    text = source.read_text()
    assert text.count("    return value\n") == 1
    source.write_text(text.replace("    return value\n", "    return value + value\n"))
    assert measure(copy)[1] == 0


def test_two_users_at_once(copy):
    code = """
import sys, threading, numpy as np, fastcos
x = np.random.default_rng(0).standard_normal((4, 3))
results = []
threads = [threading.Thread(target=lambda: results.append(
    fastcos.paired_distance(x, x[::-1], "manhattan").tobytes())) for _ in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
print(fastcos.__file__, float(len(set(results))), len(results))
"""
    assert measure(copy, code) == (1.0, 4)


ONE_DTYPE = """
import sys, numpy as np, fastcos
x, y = np.array([[1.0, 2.0, 3.0]]), np.array([[3.0, 5.0, 8.0]])
total = 0.0
for dtype in {dtypes}:
    d, (gx, gy) = fastcos.value_and_grad(fastcos.paired_distance)(
        x.astype(dtype), y.astype(dtype), "sqeuclidean")
    assert (gx == 2 * (x - y)).all() and (gy == 2 * (y - x)).all(), dtype
    total += float(d[0])
print(fastcos.__file__, total, len({dtypes}))
"""


def test_kernels_from_several_processes_do_not_mix(copy):
    # Numba names symbols by function, argument types and a number counted up per process: cached by
    # processes of their own, the kernels of two dtypes agreed in all three, and the one that was
    # loaded second ran the code of the first, past the end of its arrays.
    for dtype in ("f2", "f4", "f8"):
        assert measure(copy, ONE_DTYPE.format(dtypes=[dtype])) == (38.0, 1)
    for dtypes in (["f2", "f4", "f8"], ["f8", "f4", "f2"], ["f4", "f8", "f2"]):
        assert measure(copy, ONE_DTYPE.format(dtypes=dtypes)) == (3 * 38.0, 3)
