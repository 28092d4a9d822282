"""Compiled kernels are kept on disk, found again, and never outlive the source they came from."""

import ctypes
import hashlib
import importlib.util
import itertools
import marshal
import os
import pathlib
import py_compile
import shutil
import subprocess
import sys
import zipfile

import pytest

import fastcos
from fastcos import adapters
from fastcos.kernels import cache

PACKAGE = pathlib.Path(fastcos.__file__).parent
ADAPTERS = pathlib.Path(adapters.__file__).parent

MEASURE = """
import numpy as np, fastcos
from fastcos.kernels import Spec
from fastcos.kernels.cpu import compile
from fastcos import losses, distances
x, y = np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]])
d = fastcos.paired_distance(x, y, "sqeuclidean")
kernel = compile.kernel_of(
    Spec(losses.identity, distances.sqeuclidean().functions, (0, 0), 2, "float64", ""))
print(fastcos.__file__, float(d[0]), kernel.cache_hits)
"""


@pytest.fixture
def copy(tmp_path):
    """The package in a folder of its own, with a cache of its own."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "fastcos", ignore=ignore)
    # Where fastcos/adapters is a link, it was followed.
    adapters = tmp_path / "fastcos" / "adapters"
    shutil.copytree(ADAPTERS, adapters, ignore=ignore, dirs_exist_ok=True)
    return tmp_path


def run_in(folder, code, environment):
    environment = {"PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(folder / "nbc"), **environment}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def measure(folder, code=MEASURE):
    where, value, hits = run_in(folder, code, {}).split()
    assert pathlib.Path(where).parent.parent == folder.resolve()
    return float(value), int(hits)


def test_hits_across_processes_and_never_stale(copy):
    assert measure(copy) == (13.0, 0)
    assert measure(copy) == (13.0, 1)

    # One distance edited: its new result is seen at once, and cached in its turn.
    source = copy / "fastcos" / "distances" / "norms.py"
    text = source.read_text()
    assert text.count("return (state[0] + t * t,)") == 1
    source.write_text(text.replace("return (state[0] + t * t,)", "return (state[0] + 3 * t * t,)"))
    assert measure(copy) == (39.0, 0)
    assert measure(copy) == (39.0, 1)

    # The same for a function that the distance does not hold itself, but the kernel calls.
    source = copy / "fastcos" / "kernels" / "cpu" / "storage.py"
    text = source.read_text()
    read = "lambda context, builder, signature, args: args[0]"
    assert text.count(read) == 1
    source.write_text(text.replace(read, read.replace("args[0]", "builder.fadd(args[0], args[0])")))
    assert measure(copy) == (4 * 39.0, 0)


def test_a_named_directory_serves_the_package_wherever_it_lies(copy):
    assert measure(copy) == (13.0, 0)
    elsewhere = copy / "elsewhere"
    elsewhere.mkdir()
    (copy / "fastcos").rename(elsewhere / "fastcos")
    environment = {"PYTHONPATH": str(elsewhere)}
    assert run_in(copy, MEASURE, environment).split()[1:] == ["13.0", "1"]


WHOLE_P = """
import numpy as np, fastcos
from fastcos.kernels import Spec
from fastcos.kernels.cpu import compile
from fastcos import losses, distances
x, y, hits = np.array([[1.0, 3.0]]), np.array([[0.0, 1.0]]), 0
for p, right in {powers}:
    record = distances.lp(p, eps=0)
    d = fastcos.paired_distance(x, y, record)
    spec = Spec(losses.identity, record.functions, (2, 0), 2, "float64", "")
    hits += compile.kernel_of(spec).cache_hits
    assert round(float(d[0]) ** p) == right
print(fastcos.__file__, right, hits)
"""


def test_every_whole_power_has_a_kernel_of_its_own(copy):
    assert measure(copy, WHOLE_P.format(powers=[(3, 9)])) == (9, 0)
    assert measure(copy, WHOLE_P.format(powers=[(4, 17), (3, 9)])) == (9, 1)


KEPT = """
from fastcos import losses
from fastcos.distances.record import BUILT_IN
from fastcos.kernels import Spec
from fastcos.kernels.cpu import compile
compile.exported = lambda function, signature, what, keep: (function.__qualname__, keep)
for record in BUILT_IN.values():
    counts = len(record.parameters), 0
    spec = Spec(losses.identity, record.functions, counts, 2, "float64", "")
    name, keep = compile.kernel_of(spec)
    assert keep, record
    print(name)
"""


def test_the_kernel_of_every_distance_is_found_by_the_next_process(copy):
    # By the name of its file. Nothing is compiled for this.
    first, second = (run_in(copy, KEPT, {}).splitlines() for _ in range(2))
    assert first == second
    assert len({*first}) == len(first) > 10


def test_two_users_at_once(copy):
    code = """
import sys, threading, numpy as np, fastcos
x = np.random.default_rng(0).standard_normal(4)
results = []
threads = [threading.Thread(target=lambda: results.append(
    fastcos.hinge_embedding_loss(x, 1, reduction="none").tobytes())) for _ in range(4)]
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
    for dtype in ("f2", "f8"):
        assert measure(copy, ONE_DTYPE.format(dtypes=[dtype])) == (38.0, 1)
    for dtypes in (["f2", "f8"], ["f8", "f2"]):
        assert measure(copy, ONE_DTYPE.format(dtypes=dtypes)) == (2 * 38.0, 2)


# --------------------------------------------------------------------------------------------------
# Files that are damaged
# --------------------------------------------------------------------------------------------------


def cut(content):
    return content[:-100]


def empty(content):
    return b""


def shorter_than_a_digest(content):
    return content[:7]


def garbage(content):
    return b"\x80\x04garbage" * 100


def zeros(content):
    return bytes(len(content))


def one_bit(content):
    return content[:200] + bytes([content[200] ^ 1]) + content[201:]


def unsealed(content):
    """As by a version that had no seal."""
    return content[:-32]


def another_make(content):
    """Whole, but nothing that can be taken apart."""
    other = b"of another make"
    return other + hashlib.sha256(other).digest()


DAMAGES = (
    *(cut, empty, shorter_than_a_digest, garbage),
    *(zeros, one_bit, unsealed, another_make),
)
each_damage = pytest.mark.parametrize("damage", DAMAGES)


def damage_files(folder, damage, pattern="*.nb?"):
    """Damages all files, and says how many there are."""
    files = [path for path in folder.rglob(pattern) if path.is_file()]
    for path in files:
        path.write_bytes(damage(path.read_bytes()))
    return len(files)


def successor(number: int) -> int:
    return number + 1


def exported_to_c(function):
    from numba import int64

    callback = cache.exported(function, int64(int64), "a test", keep=True)
    address = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(callback.address)
    return address(1), callback.cache_hits


def called_by_python(function):
    dispatcher = cache.compiled(function, "a test")
    return dispatcher(1), sum(dispatcher.stats.cache_hits.values())


@each_damage
@pytest.mark.parametrize("make", [called_by_python, exported_to_c])
def test_a_damaged_file_is_no_file(tmp_path, monkeypatch, make, damage):
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    assert [make(successor), make(successor)] == [(2, 0), (2, 1)]
    assert damage_files(tmp_path, damage) == 1
    assert [make(successor), make(successor)] == [(2, 0), (2, 1)]
    assert len(os.listdir(*tmp_path.iterdir())) == 1


@pytest.mark.parametrize("damage", [d for d in DAMAGES if d is not another_make])
def test_a_damaged_binary_of_a_gpu_is_no_file(tmp_path, monkeypatch, damage):
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    made = []

    def make():
        made.append(None)
        return b"binary" * 100

    for expected in (1, 1):
        assert cache.stored(successor, "fastcos-1.cubin", make, "a test") == b"binary" * 100
        assert len(made) == expected
    assert damage_files(tmp_path, damage, "*.cubin") == 1
    for expected in (2, 2):
        assert cache.stored(successor, "fastcos-1.cubin", make, "a test") == b"binary" * 100
        assert len(made) == expected


@pytest.mark.skipif(os.name == "nt", reason="no permissions of this kind")
def test_files_are_for_others_too(tmp_path, monkeypatch):
    # An image is made by root, and used by somebody else.
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    before = os.umask(0o022)
    try:
        cache.stored(successor, "fastcos-1.cubin", lambda: b"binary", "a test")
        called_by_python(successor)
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()]
    assert modes == [0o644, 0o644]


EVERYTHING = """
import numpy as np, fastcos
from fastcos.kernels import Spec
from fastcos.kernels.cpu import compile
out = np.empty(2, "f4"),  # labels are looked at, by a kernel, before this is written to
d, _ = fastcos.value_and_grad(fastcos.hinge_embedding_loss)(
    np.array([0.5, 0.25], "f4"), [1, -1], out=out)
kernels = compile.kernel_of(Spec(fastcos.losses.hinge_embedding, None, (0, 2), 1, "float32", "")),
loops = compile.all_signs(), compile.task_loop(parallel=False)
print(fastcos.__file__, float(d), sum(k.cache_hits for k in kernels)
      + sum(sum(loop.stats.cache_hits.values()) for loop in loops))
"""


def test_processes_after_the_damage(copy):
    assert measure(copy, EVERYTHING) == (0.625, 0)
    assert measure(copy, EVERYTHING) == (0.625, 3)
    files = sorted((copy / "nbc").rglob("*.nb?"))
    for path, damage in zip(files, itertools.cycle((cut, garbage, empty))):
        path.write_bytes(damage(path.read_bytes()))
    assert measure(copy, EVERYTHING) == (0.625, 0)
    assert measure(copy, EVERYTHING) == (0.625, 3)


# --------------------------------------------------------------------------------------------------
# Without sources
# --------------------------------------------------------------------------------------------------

GRADIENT = """
import numpy as np, fastcos
from fastcos.kernels import Spec
from fastcos.kernels.cpu import compile
from fastcos import losses, distances
x, y = np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]])
value, (grad, _) = fastcos.value_and_grad(fastcos.paired_distance)(x, y, "sqeuclidean")
assert grad.tolist() == [[-4, -6]]
kernel = compile.kernel_of(
    Spec(losses.identity, distances.sqeuclidean().functions, (0, 0), 2, "float64", ""))
print(fastcos.__file__, float(value[0]), kernel.cache_hits)
"""


# A quarter of the time to compile.
POINTWISE = """
import numpy as np, fastcos
from fastcos.kernels import Spec
from fastcos.kernels.cpu import compile
losses = np.array([0.5, 0.25])
value, (grad,) = fastcos.value_and_grad(fastcos.hinge_embedding_loss)(losses, [1, -1])
assert grad.tolist() == [0.5, -0.5]
kernel = compile.kernel_of(Spec(fastcos.losses.hinge_embedding, None, (0, 2), 1, "float64", ""))
print(fastcos.__file__, float(value), kernel.cache_hits)
"""


def test_modules_from_their_sources_and_from_bytecode_beside_them(copy):
    # The first process reads sources and writes bytecode, the next one reads that.
    environment = {"PYTHONDONTWRITEBYTECODE": ""}
    for hits in (0, 1):
        assert run_in(copy, POINTWISE, environment).split()[1:] == ["0.625", str(hits)]
    assert list((copy / "fastcos" / "kernels" / "cpu" / "__pycache__").glob("compile.*.pyc"))


def test_bytecode_alone(copy):
    for path in sorted((copy / "fastcos").rglob("*.py")):
        py_compile.compile(str(path), cfile=f"{path}c", dfile=f"/nowhere/{path.name}")
        path.unlink()
    assert measure(copy, GRADIENT) == (13.0, 0)
    assert measure(copy, GRADIENT) == (13.0, 1)
    # Beside the package, too.
    code = POINTWISE.replace("print(", "print(fastcos.show_config()['cache']) or print(")
    environment = {"NUMBA_CACHE_DIR": ""}
    for hits in (0, 1):
        where, value = run_in(copy, code, environment).splitlines()
        assert where == str(copy / "fastcos" / "kernels" / "cpu" / "__pycache__")
        assert value.split()[1:] == ["0.625", str(hits)]


@pytest.mark.parametrize(("suffix", "named"), [(".py", True), (".pyc", False)])
def test_in_a_zip_file(copy, suffix, named):
    archive = copy / "library.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((copy / "fastcos").rglob("*.py")):
            name = path.relative_to(copy).as_posix()
            if suffix == ".pyc":
                py_compile.compile(str(path), cfile=f"{path}c", dfile=name)
            file.write(path.with_suffix(suffix), pathlib.Path(name).with_suffix(suffix))
    shutil.rmtree(copy / "fastcos")
    environment = {"PYTHONPATH": str(archive)}
    if not named:  # in the user's own directory
        own = {"NUMBA_CACHE_DIR": "", "XDG_CACHE_HOME": str(copy / "own"), "HOME": str(copy)}
        environment.update(own)
    for hits in (0, 1):
        found = run_in(copy, POINTWISE, environment).split()
        assert found == [str(archive / "fastcos" / f"__init__{suffix}"), "0.625", str(hits)]


@pytest.mark.parametrize("module", ["distances.norms", "kernels", "kernels.cuda"])
def test_the_digest_of_bytecode(module):
    # The same in each process, whatever the order of its sets and the addresses of its objects,
    # and another one after an edit.
    source = importlib.util.find_spec(f"fastcos.{module}").loader.get_source(f"fastcos.{module}")
    code = compile(source, "somewhere", "exec")
    described = cache._described(code)
    assert described == cache._described(marshal.loads(marshal.dumps(code)))
    assert " at 0x" not in described
    edited = compile(source + "\nlast = lambda x: 2 * x", "somewhere", "exec")
    again = compile(source + "\nlast = lambda x: 3 * x", "somewhere", "exec")
    assert len({described, *map(cache._described, (edited, again))}) == 3


def test_a_frozen_application_uses_the_users_own_directory(tmp_path, monkeypatch):
    # It may be unpacked to another place each time it starts.
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr("numba.config.CACHE_DIR", "")
    for variable in ("HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, str(tmp_path))
    folder = cache.folder_of(successor)
    assert tmp_path in folder.parents
    monkeypatch.setattr(sys.modules[__name__], "__file__", "/elsewhere/module.pyc")
    assert cache.folder_of(successor) == folder


# --------------------------------------------------------------------------------------------------
# Directories that are not there, not to be written to, or full
# --------------------------------------------------------------------------------------------------

# Two kernels, for there is to be one warning; how many of them came from the disk.
WITHOUT = """
import sys, warnings, numpy as np
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import fastcos
    from fastcos.kernels import Spec
    from fastcos.kernels.cpu import compile
    losses, f = np.array([0.5, 0.25]), fastcos.value_and_grad(fastcos.hinge_embedding_loss)
    values = [float(f(losses.astype(dtype), [1, -1])[0]) for dtype in ("f4", "f8")]
    kernels = [compile.kernel_of(Spec(fastcos.losses.hinge_embedding, None, (0, 2), 1, name, ""))
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
    beside = copy / "fastcos" / "kernels" / "cpu" / "__pycache__"
    beside.touch()
    hits, where, caught = uncached(copy, None)
    assert (hits, where) == (0, "none that can be written to")
    assert_warned_once(caught, beside)
    # A path that cannot be made, which is named.
    hits, _, caught = uncached(copy, copy / "file" / "cache")
    assert hits == 0
    assert_warned_once(caught, copy / "file" / "cache")


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


@pytest.mark.parametrize("named", [True, False], ids=["NUMBA_CACHE_DIR", "__pycache__"])
def test_a_directory_that_is_missing_is_made_and_one_that_can_only_be_read_is_read(copy, named):
    directory = copy / "not" / "yet" if named else None
    for expected in (0, 2):
        hits, where, caught = uncached(copy, directory)
        assert (hits, caught) == (expected, [])
        assert (directory or copy) in pathlib.Path(where).parents
    if sys.platform != "linux":  # which it takes to make root obey permissions
        return
    # The largest is one of the two kernels, and not the one that checks labels.
    max(pathlib.Path(where).glob("*.nbc"), key=lambda path: path.stat().st_size).unlink()
    pathlib.Path(where).chmod(0o555)
    try:
        hits, again, caught = uncached(copy, directory, before=no_privilege)
    finally:
        pathlib.Path(where).chmod(0o755)
    assert (hits, again) == (1, where)
    assert_warned_once(caught, where)
