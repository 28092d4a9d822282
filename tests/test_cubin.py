"""From a kernel to a binary: once, kept on disk by what it is made of (tier 2)."""

import concurrent.futures
import pathlib

import pytest

from fastcos import distances, losses
from fastcos.kernels import _cubin, cuda

pytestmark = pytest.mark.compiled

LAYOUT = cuda.layout(16, "float32")
VARIANT = cuda.Variant("float32", (1, 0))
WHAT = "a kernel"
SIGNATURE = cuda.signature(2, VARIANT)


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

    monkeypatch.setattr(_cubin, "ptx", text)
    monkeypatch.setattr(_cubin, "link", lambda text, capability: (f"{capability}".encode(), ""))
    return tmp_path, made


def kept(distance, capability=(9, 0), layout=LAYOUT):
    return _cubin.kept(cuda.pair, arguments(distance), SIGNATURE, layout, capability, WHAT)


def files(folder):
    return sorted(path for path in pathlib.Path(folder).rglob("fastcos-*"))


def test_what_is_on_disk_is_not_compiled_again(folder):
    folder, made = folder
    first = kept(distances.manhattan())
    assert first == (b"(9, 0)", "entry")
    assert kept(distances.manhattan()) == first
    assert len(made) == len(files(folder)) == 1


def test_whatever_changes_a_kernel_changes_its_name(folder, monkeypatch):
    folder, made = folder
    kept(distances.manhattan())
    kept(distances.sqeuclidean())
    kept(distances.manhattan(), capability=(8, 0))
    kept(distances.manhattan(), layout=cuda.layout(10**5, "float32"))
    monkeypatch.setattr(_cubin, "_sources", lambda: "edited")
    kept(distances.manhattan())
    monkeypatch.setattr(_cubin, "_versions", lambda: "a new compiler")
    kept(distances.manhattan())
    assert len(made) == len(files(folder)) == 6


def test_functions_of_a_user_are_compiled_in_every_process(folder):
    folder, made = folder
    mine = distances.manhattan()._replace(finalize=lambda state: 2 * state[0])
    kept(mine)
    kept(mine)
    assert len(made) == 2
    assert files(folder) == []


def test_many_at_once_leave_one_whole_file(folder):
    folder, _ = folder
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: kept(distances.canberra()), range(32)))
    assert found == {(b"(9, 0)", "entry")}
    assert len(files(folder)) == 1
    assert [path for path in folder.rglob("tmp*") if path.is_file()] == []


def test_a_directory_that_takes_nothing_warns(folder, monkeypatch):
    folder, made = folder
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "no space")))
    with pytest.warns(RuntimeWarning, match="no space"):
        assert kept(distances.braycurtis()) == (b"(9, 0)", "entry")
    assert [path for path in folder.rglob("*") if path.is_file()] == []
    assert len(made) == 1


def test_a_fork_waits_for_what_is_compiled(folder, monkeypatch):
    from numba.core.compiler_lock import global_compiler_lock

    held = []
    for name, step in (("ptx", _cubin.ptx), ("link", _cubin.link)):

        def watched(*args, step=step):
            held.append(global_compiler_lock.is_locked())
            return step(*args)

        monkeypatch.setattr(_cubin, name, watched)
    kept(distances.manhattan())
    kept(distances.manhattan()._replace(finalize=lambda state: 2 * state[0]))
    assert held == [True] * 4


def test_a_kernel_is_compiled_and_linked():
    text, name = _cubin.ptx(cuda.pair, arguments(distances.manhattan()), SIGNATURE, LAYOUT)
    assert name in text
    assert _cubin.link(text, (9, 0))[0] != _cubin.link(text, (8, 0))[0]


def test_a_gpu_that_is_too_old_is_named(monkeypatch):
    class Core:
        @staticmethod
        def Device(number):
            return type("Device", (), {"compute_capability": (7, 5)})

    monkeypatch.setattr(_cubin, "toolchain", lambda: Core)
    with pytest.raises(RuntimeError, match=r"device 1 has compute capability 7\.5"):
        _cubin._launcher(cuda.pair, arguments(distances.dot()), SIGNATURE, LAYOUT, 1, WHAT)
