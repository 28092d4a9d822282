"""Compiled kernels are kept on disk, found again, and never outlive the source they came from."""

import ctypes
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
    read = "lambda context, builder, signature, args: args[0]"
    assert text.count(read) == 1
    source.write_text(text.replace(read, read.replace("args[0]", "builder.fadd(args[0], args[0])")))
    assert measure(copy) == (4 * 39.0, 0)


WHOLE_P = """
import numpy as np, fastcos
from fastcos.kernels import cpu
from fastcos import losses, distances
record, x, y = distances.lp({p}, eps=0), np.array([[1.0, 3.0]]), np.array([[0.0, 1.0]])
d = fastcos.paired_distance(x, y, record)
kernel = cpu.pair(losses.identity, record.functions, (2, 0), "float64")
print(fastcos.__file__, round(float(d[0]) ** {p}), kernel.cache_hits)
"""


def test_every_whole_power_has_a_kernel_of_its_own(copy):
    for p, right, hits in ((3, 9, 0), (4, 17, 0), (3, 9, 1), (4, 17, 1)):
        assert measure(copy, WHOLE_P.format(p=p)) == (right, hits)


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


# --------------------------------------------------------------------------------------------------
# Directories that are not there, not to be written to, or full
# --------------------------------------------------------------------------------------------------

# Two kernels, for there is to be one warning; how many of them came from the disk.
WITHOUT = """
import sys, warnings, numpy as np
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import fastcos
    from fastcos.kernels import cpu
    losses, f = np.array([0.5, 0.25]), fastcos.value_and_grad(fastcos.hinge_embedding_loss)
    values = [float(f(losses.astype(dtype), [1, -1])[0]) for dtype in ("f4", "f8")]
    kernels = [cpu.pointwise(fastcos.losses.hinge_embedding, (0, 2), name)
               for name in ("float32", "float64")]
    where = fastcos.show_config()["cache"]
assert values == [0.625, 0.625]
print(sum(kernel.cache_hits for kernel in kernels))
print(where)
for warning in caught:
    if issubclass(warning.category, RuntimeWarning):  # Numba has its own, of another kind
        print(warning.message)
"""


def uncached(folder, numba_cache, code=WITHOUT, before=None):
    """Hits, the directory that ``show_config`` names, and the warnings."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        # No home either: a file.
        **dict.fromkeys(("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"), str(folder / "file")),
    }
    environment.pop("NUMBA_CACHE_DIR", None)
    if numba_cache:
        environment["NUMBA_CACHE_DIR"] = str(numba_cache)
    (folder / "file").touch()
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        preexec_fn=before,
    )
    assert done.returncode == 0, done.stderr
    hits, where, *caught = done.stdout.splitlines()
    return int(hits), where, caught


def assert_warned_once(caught, directory):
    (warning,) = caught
    assert warning.startswith("fastcos cannot keep compiled kernels in")
    assert str(directory) in warning
    assert "NUMBA_CACHE_DIR" in warning


def test_without_any_directory(copy):
    beside = copy / "fastcos" / "kernels" / "__pycache__"
    beside.touch()
    hits, where, caught = uncached(copy, None)
    assert (hits, where) == (0, "none that can be written to")
    assert_warned_once(caught, beside)
    # A path that cannot be made, which is named.
    hits, _, caught = uncached(copy, copy / "file" / "cache")
    assert hits == 0
    assert_warned_once(caught, copy / "file" / "cache")


def test_a_directory_that_is_missing_is_made(copy):
    directory = copy / "not" / "yet"
    for expected in (0, 2):
        hits, where, caught = uncached(copy, directory)
        assert (hits, caught) == (expected, [])
        assert directory in pathlib.Path(where).parents


def no_space():
    """Every write to a file fails, as on a full disk, for root too."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def no_privilege():
    """Takes from root the right to write where the permissions say no."""
    PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1
    if os.geteuid() == 0 and ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE):
        raise PermissionError


@pytest.mark.skipif(sys.platform == "win32", reason="no limits of this kind")
def test_a_full_disk(copy):
    hits, where, caught = uncached(copy, copy / "nbc", before=no_space)
    assert hits == 0
    assert copy / "nbc" in pathlib.Path(where).parents
    assert_warned_once(caught, where)
    assert not [path for path in (copy / "nbc").rglob("*") if path.is_file()]


@pytest.mark.skipif(sys.platform != "linux", reason="takes Linux to make root obey permissions")
@pytest.mark.parametrize("named", [True, False], ids=["NUMBA_CACHE_DIR", "__pycache__"])
def test_a_directory_that_can_only_be_read_is_read(copy, named):
    directory = copy / "nbc" if named else None
    assert uncached(copy, directory)[0] == 0
    hits, where, caught = uncached(copy, directory)
    assert (hits, caught) == (2, [])
    # The largest is one of the two kernels, and not the one that checks labels.
    max(pathlib.Path(where).glob("*.nbc"), key=lambda path: path.stat().st_size).unlink()
    pathlib.Path(where).chmod(0o555)
    try:
        hits, again, caught = uncached(copy, directory, before=no_privilege)
    finally:
        pathlib.Path(where).chmod(0o755)
    assert (hits, again) == (1, where)
    assert_warned_once(caught, where)
