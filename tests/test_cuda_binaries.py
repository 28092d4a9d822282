"""From a kernel to a binary: once, kept on disk by what it is made of (tier 2)."""

import concurrent.futures
import functools
import importlib.util
import pathlib
import pkgutil

import pytest
from test_architecture import PACKAGE, imports_of

from fastcos import distances, losses
from fastcos.kernels import cuda
from fastcos.kernels.arguments import device_count
from fastcos.kernels.cuda import binaries, launch

pytestmark = pytest.mark.compiled

THREADS = cuda.layout(16, "float32").threads
VARIANT = cuda.Variant("float32", 1, 0)
WHAT = "a kernel"
COUNTS = device_count(2, 1, 1)


def arguments(distance):
    return losses.identity, distance.functions, VARIANT


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty directory for what is compiled, which is then as good as nothing."""
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    made = []

    def text(*given):
        made.append(given)
        return "PTX", "entry"

    monkeypatch.setattr(binaries, "ptx", text)
    monkeypatch.setattr(binaries, "link", lambda text, capability: (f"{capability}".encode(), ""))
    return tmp_path, made


def binary(distance, capability=(9, 0), threads=THREADS):
    return binaries.binary(cuda.pair, arguments(distance), COUNTS, threads, capability, WHAT)


def files(folder):
    return sorted(path for path in pathlib.Path(folder).rglob("fastcos-*"))


def test_what_is_on_disk_is_not_compiled_again(folder):
    folder, made = folder
    first = binary(distances.manhattan())
    assert first == (b"(9, 0)", "entry")
    assert binary(distances.manhattan()) == first
    assert len(made) == len(files(folder)) == 1


def test_whatever_changes_a_kernel_changes_its_name(folder, monkeypatch):
    folder, made = folder
    binary(distances.manhattan())
    binary(distances.sqeuclidean())
    binary(distances.manhattan(), capability=(8, 0))
    binary(distances.manhattan(), threads=cuda.layout(10**5, "float32").threads)
    monkeypatch.setattr(binaries, "_sources", lambda: "edited")
    binary(distances.manhattan())
    monkeypatch.setattr(binaries, "_versions", lambda: "a new compiler")
    binary(distances.manhattan())
    assert len(made) == len(files(folder)) == 6


def test_rows_of_most_lengths_share_a_kernel(monkeypatch):
    loaded = []
    monkeypatch.setattr(launch, "_launchers", {})
    monkeypatch.setattr(launch, "_loaded", lambda *given: loaded.append(given))
    for features in (1, 3, 16, 64, 100, 384, 768, 1536):
        threads = cuda.layout(features, "float32").threads
        make = functools.partial(cuda.pair, *arguments(distances.manhattan()))
        launch.launcher(make, COUNTS, threads, 0, WHAT)
    assert len(loaded) == 1


def test_the_sources_are_all_that_end_up_in_a_kernel():
    sources = {f"fastcos.{name}" for name in binaries.SOURCES}
    modules = {f"fastcos.kernels.cuda.{m.name}" for m in pkgutil.iter_modules(cuda.__path__)}
    assert modules - sources == {"fastcos.kernels.cuda.binaries", "fastcos.kernels.cuda.launch"}
    every = {m.name for m in pkgutil.walk_packages([str(PACKAGE)], "fastcos.")}
    for name in sources:
        path = pathlib.Path(importlib.util.find_spec(name).origin)
        # A record holds functions, and is none that ends up in a kernel.
        records = {"fastcos.distances", "fastcos.distances.record"}
        assert imports_of(path) & every <= sources | records, name


def test_functions_of_a_user_are_compiled_in_every_process(folder):
    folder, made = folder
    mine = distances.manhattan()._replace(finalize=lambda state: 2 * state[0])
    binary(mine)
    binary(mine)
    assert len(made) == 2
    assert files(folder) == []


def test_many_at_once_leave_one_whole_file(folder):
    folder, _ = folder
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: binary(distances.canberra()), range(32)))
    assert found == {(b"(9, 0)", "entry")}
    assert len(files(folder)) == 1
    assert [path for path in folder.rglob("tmp*") if path.is_file()] == []


def test_a_directory_that_takes_nothing_warns(folder, monkeypatch):
    folder, made = folder
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "no space")))
    with pytest.warns(RuntimeWarning, match="no space"):
        assert binary(distances.braycurtis()) == (b"(9, 0)", "entry")
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    assert len(made) == 1


def test_a_fork_waits_for_what_is_compiled(folder, monkeypatch):
    from numba.core.compiler_lock import global_compiler_lock

    held = []
    for name, step in (("ptx", binaries.ptx), ("link", binaries.link)):

        def watched(*args, step=step):
            held.append(global_compiler_lock.is_locked())
            return step(*args)

        monkeypatch.setattr(binaries, name, watched)
    binary(distances.manhattan())
    binary(distances.manhattan()._replace(finalize=lambda state: 2 * state[0]))
    assert held == [True] * 4


def test_a_kernel_is_compiled_and_linked():
    text, name = binaries.ptx(cuda.pair, arguments(distances.manhattan()), COUNTS, THREADS)
    assert name in text
    assert binaries.link(text, (9, 0))[0] != binaries.link(text, (8, 0))[0]


def test_a_gpu_that_is_too_old_is_named(monkeypatch):
    class Core:
        @staticmethod
        def Device(number):
            return type("Device", (), {"compute_capability": (7, 5)})

    monkeypatch.setattr(launch, "toolchain", lambda: Core)
    with pytest.raises(RuntimeError, match=r"device 1 has compute capability 7\.5"):
        launch._loaded(cuda.pair, arguments(distances.dot()), COUNTS, THREADS, 1, WHAT)
