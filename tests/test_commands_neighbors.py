"""``python -m fastcos search`` and ``duplicates``: what the functions find, in whole files."""

import io
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import types

import ml_dtypes
import numpy as np
import pytest

import fastcos
from fastcos.__main__ import main
from fastcos.commands import neighbors

GALLERY = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
GALLERY[20:24] = 2 * GALLERY[5]
GALLERY[31] = GALLERY[7]
QUERIES = np.random.default_rng(1).standard_normal((7, 8)).astype(np.float32)
SEARCH = ("search", "g.npy", "q.npy", "--k", "3", "--out", "hits.npz")
DUPLICATES = ("duplicates", "g.npy", "--threshold", "0.99", "--out", "groups.npy")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with both files, where commands run."""
    monkeypatch.chdir(tmp_path)
    np.save("g.npy", GALLERY)
    np.save("q.npy", QUERIES)
    return tmp_path


def succeeds(capsys, *arguments):
    """The summary of a command, by the names of its lines."""
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return dict(line.split(maxsplit=1) for line in captured.out.splitlines())


def fails(capsys, *arguments, code=1):
    """The one line that a command says when it fails, having written nothing."""
    before = contents()
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("python -m fastcos: ")
    assert captured.err.count("\n") == 1
    assert contents() == before
    return captured.err


def contents():
    return {path.name: path.is_file() and path.read_bytes() for path in pathlib.Path().iterdir()}


@pytest.fixture
def no_work(monkeypatch):
    """Whatever fails does so before the work."""
    monkeypatch.setattr(neighbors, "api", None)


# -- results ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", "int8"])
@pytest.mark.parametrize("distance", ["cosine", "manhattan"])
def test_search_is_nearest(capsys, dtype, distance):
    gallery, queries = (np.asarray(10 * rows, dtype) for rows in (GALLERY, QUERIES))
    np.save("g.npy", gallery)
    np.save("q.npy", queries)
    succeeds(capsys, *SEARCH, "--distance", distance, "--block", "7")
    expected = fastcos.nearest(queries, gallery, 3, distance)
    with np.load("hits.npz") as hits:
        assert set(hits) == {"indices", "distances"}
        assert hits["indices"].dtype == np.int64
        assert hits["distances"].dtype == expected.distances.dtype
        np.testing.assert_array_equal(hits["indices"], expected.indices)
        np.testing.assert_array_equal(hits["distances"], expected.distances)


@pytest.mark.parametrize(
    ("distance", "threshold"), [("cosine", 0.9), ("dot", 15.0), ("euclidean", 2.0)]
)
def test_duplicates_are_near_duplicates(capsys, distance, threshold):
    given = ("--distance", distance, "--threshold", str(threshold), "--block", "7")
    succeeds(capsys, *DUPLICATES, *given)
    expected = fastcos.near_duplicates(GALLERY, threshold, distance)
    groups = np.load("groups.npy")
    assert groups.dtype == np.int64
    np.testing.assert_array_equal(groups, expected)
    assert 1 < len(np.unique(groups)) < len(groups)


def test_files_in_order_of_columns(capsys):
    np.save("g.npy", np.asfortranarray(GALLERY))
    succeeds(capsys, *SEARCH)
    expected = fastcos.nearest(QUERIES, GALLERY, 3).indices
    np.testing.assert_array_equal(np.load("hits.npz")["indices"], expected)


@pytest.mark.parametrize("arguments", [SEARCH, DUPLICATES])
def test_rows_are_taken_as_many_at_a_time_as_is_said(arguments, capsys, monkeypatch):
    taken = []

    def watched(function):
        return lambda *given, **options: (
            taken.append(options["block"]) or function(*given, **options)
        )

    functions = map(watched, (fastcos.nearest, fastcos.near_duplicates))
    named = zip(("nearest", "near_duplicates"), functions, strict=True)
    monkeypatch.setattr(neighbors, "api", types.SimpleNamespace(**dict(named)))
    succeeds(capsys, *arguments)
    succeeds(capsys, *arguments, "--force", "--block", "7")
    assert taken == [None, 7]


def test_summary_of_a_search(capsys, folder):
    queries = QUERIES.copy()
    queries[2, 0] = np.nan
    np.save("q.npy", queries)
    said = succeeds(capsys, *SEARCH)
    distances = fastcos.nearest(queries, GALLERY, 3).distances
    assert said["gallery"] == "g.npy: 60 rows, 8 features, float32"
    assert said["queries"] == "q.npy: 7 rows, 8 features, float32"
    assert said["neighbours"] == "3 of each query, cosine distance"
    assert "queries a second" in said["time"]
    for name, column in (("nearest", distances[:, 0]), ("number", distances[:, 2])):
        least, middle, greatest = np.nanquantile(column.astype(np.float64), [0, 0.5, 1])
        assert said[name].endswith(f"distance {least:.4g} to {greatest:.4g}, median {middle:.4g}")
    assert said["number"].split()[0] == "3"
    assert said["incomplete"].startswith("1 of 7 queries: distance NaN, index -1")
    assert said["written"] == f"{folder / 'hits.npz'}: indices int64, distances float32"


def test_summary_of_one_neighbour(capsys):
    said = succeeds(capsys, *SEARCH, "--k", "1")
    assert "nearest" in said
    assert not {"number", "incomplete"} & set(said)


def test_summary_of_duplicates(capsys, folder):
    said = succeeds(capsys, *DUPLICATES)
    assert said["rows"] == "g.npy: 60 rows, 8 features, float32"
    assert said["near"] == "cosine similarity 0.99 or more"
    assert said["groups"] == "2 of more than one row"
    assert said["duplicates"] == "5 beside the first of each group, 8.33% of the rows"
    assert said["largest"] == "5 rows (first: 5), 2 rows (first: 7)"
    assert said["written"] == f"{folder / 'groups.npy'}: groups int64"


def test_summary_without_duplicates(capsys):
    said = succeeds(capsys, *DUPLICATES, "--distance", "euclidean", "--threshold", "0")
    assert said["near"] == "euclidean distance 0 or less"
    assert said["groups"].startswith("2 ")  # rows 20 to 23, and 7 with 31
    np.save("g.npy", GALLERY[:10])
    said = succeeds(capsys, *DUPLICATES, "--force")
    assert said["groups"].startswith("0 ")
    assert said["duplicates"] == "0 beside the first of each group, 0.00% of the rows"
    assert "largest" not in said


def test_no_queries(capsys):
    np.save("q.npy", QUERIES[:0])
    said = succeeds(capsys, *SEARCH)
    assert not {"nearest", "number", "incomplete"} & set(said)
    assert np.load("hits.npz")["indices"].shape == (0, 3)


# -- the result is whole ---------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [SEARCH, DUPLICATES])
def test_a_file_that_is_there_is_replaced_if_told(arguments, capsys):
    out = pathlib.Path(arguments[-1])
    out.write_bytes(b"old")
    said = fails(capsys, *arguments)
    assert said.endswith(f"argument --out: '{out}' is there already: --force replaces it\n")
    succeeds(capsys, *arguments, "--force")
    assert out.read_bytes() != b"old"
    assert set(contents()) == {"g.npy", "q.npy", out.name}


def test_what_is_read_is_not_replaced(no_work, capsys):
    os.link("g.npy", "other.npy")
    said = fails(capsys, *DUPLICATES, "--out", "other.npy", "--force", code=2)
    assert "argument --out: 'other.npy' is the file that is read" in said


@pytest.mark.parametrize("arguments", [SEARCH, DUPLICATES])
def test_a_full_disk_leaves_the_old_file(arguments, capsys, monkeypatch):
    pathlib.Path(arguments[-1]).write_bytes(b"old")

    def disk_full(file, *_, **__):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", disk_full)
    monkeypatch.setattr(np, "savez", disk_full)
    said = fails(capsys, *arguments, "--force")
    assert said.endswith(f"{arguments[-1]}: No space left on device\n")


@pytest.mark.parametrize("place", ["work", "writing"])
@pytest.mark.parametrize("arguments", [SEARCH, DUPLICATES])
def test_interrupted(arguments, place, capsys, monkeypatch):
    def interrupted(*given, **_):
        if place == "writing":
            given[0].write(b"half of it")
        raise KeyboardInterrupt

    if place == "work":
        functions = types.SimpleNamespace(nearest=interrupted, near_duplicates=interrupted)
        monkeypatch.setattr(neighbors, "api", functions)
    else:
        monkeypatch.setattr(np, "save", interrupted)
        monkeypatch.setattr(np, "savez", interrupted)
    before = contents()
    assert main(arguments) == 130
    assert capsys.readouterr().err == "python -m fastcos: interrupted\n"
    assert contents() == before


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_interrupted_by_a_signal():
    code = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import numpy as np
from fastcos.__main__ import main
def save(file, array):
    file.write(b"half of it")
    print("writing", flush=True)
    signal.pause()
np.save = save
sys.exit(main())
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *DUPLICATES],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    before = contents()
    assert process.stdout.readline() == "writing\n"
    assert len(contents()) == len(before) + 1
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr == "python -m fastcos: interrupted\n"
    assert contents() == before


def test_not_enough_memory(capsys, monkeypatch):
    def too_large(*_, **__):
        raise MemoryError("Unable to allocate 7 GiB")

    monkeypatch.setattr(neighbors, "api", types.SimpleNamespace(nearest=too_large))
    assert "not enough memory: Unable to allocate 7 GiB" in fails(capsys, *SEARCH)


# -- errors ----------------------------------------------------------------------------------------


def broken(name):
    """Makes a file that holds no rows of numbers; returns its name."""
    path = pathlib.Path(f"{name}.npy")
    if name == "folder":
        path.mkdir()
    elif name == "text":
        path.write_text("0.5 0.25\n")
    elif name == "empty":
        path.touch()
    elif name == "pickled":
        path.write_bytes(pickle.dumps(GALLERY))
    elif name == "archive":
        np.savez("archive.npz", GALLERY)
        pathlib.Path("archive.npz").rename(path)
    elif name == "cut":
        path.write_bytes(pathlib.Path("g.npy").read_bytes()[:-1])
    elif name == "header":
        path.write_bytes(pathlib.Path("g.npy").read_bytes().replace(b"{", b"(", 1))
    elif name != "absent":
        np.save(path, ARRAYS[name])
    return path.name


ARRAYS = {
    "objects": np.array([[1, None]], object),
    "vector": np.ones(3),
    "cube": np.ones((2, 2, 2)),
    "complex": np.ones((2, 8), complex),
    "words": np.array([["a", "b"]]),
    "named": np.zeros((2, 8), [("a", "f4")]),
    "bfloat16": GALLERY.astype(ml_dtypes.bfloat16),
    "no_features": np.ones((5, 0)),
}
BROKEN = {
    "absent": "cannot read 'absent.npy': No such file or directory",
    "folder": "cannot read 'folder.npy': not a regular file",
    "text": "'text.npy' is no .npy file: save the array with numpy.save",
    "empty": "'empty.npy' is no .npy file",
    "pickled": "'pickled.npy' is no .npy file",
    "archive": "'archive.npy' is an archive, perhaps .npz",
    "cut": "'cut.npy' is a broken .npy file: ",
    "header": "'header.npy' is a broken .npy file: ",
    "objects": "'objects.npy' holds Python objects: save an array of numbers",
    "vector": "'vector.npy' must have shape (rows, features), got (3,)",
    "cube": "'cube.npy' must have shape (rows, features), got (2, 2, 2)",
    "complex": "'complex.npy' has dtype complex128; accepted are float16,",
    "words": "'words.npy' has dtype <U1; accepted are float16,",
    "named": "'named.npy' has dtype [('a', '<f4')]; accepted are float16,",
    "bfloat16": "'bfloat16.npy' has dtype |V2; accepted are float16, bfloat16, float32, float64,"
    " integers or bool; of bfloat16 save float32",
    "no_features": "'no_features.npy' must have features, got shape (5, 0)",
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_hold_no_rows(name, no_work, capsys):
    path = broken(name)
    for arguments in (
        ("search", path, *SEARCH[2:]),
        ("search", "g.npy", path, *SEARCH[3:]),
        ("duplicates", path, *DUPLICATES[2:]),
    ):
        assert fails(capsys, *arguments).startswith(f"python -m fastcos: {BROKEN[name]}")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_files_that_may_not_be_read(no_work, capsys):
    os.chmod("g.npy", 0)
    assert "cannot read 'g.npy': Permission denied" in fails(capsys, *SEARCH)


def test_a_pipe_is_not_waited_for(no_work, capsys):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes with names")
    os.mkfifo("pipe.npy")
    assert "not a regular file" in fails(capsys, "duplicates", "pipe.npy", *DUPLICATES[2:])


@pytest.mark.parametrize("arguments", [SEARCH, DUPLICATES])
def test_no_rows(arguments, no_work, capsys):
    np.save("g.npy", GALLERY[:0])
    assert "'g.npy' must have rows, got shape (0, 8)" in fails(capsys, *arguments)


def test_files_that_do_not_fit(no_work, capsys):
    np.save("q.npy", QUERIES[:, :5])
    assert "'g.npy' and 'q.npy' must have as many features, got shapes (60, 8) and (7, 5)" in fails(
        capsys, *SEARCH
    )


def test_more_neighbours_than_rows(no_work, capsys):
    said = fails(capsys, *SEARCH, "--k", "61", code=2)
    assert said.endswith("argument --k: must be from 1 to 60, the rows of 'g.npy'; got 61\n")


@pytest.mark.parametrize("arguments", [SEARCH, DUPLICATES])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--distance", "cosin"), "argument --distance: must be one of cosine, dot, "),
        (("--distance", "cosin"), "got 'cosin': did you mean 'cosine'?"),
        (("--distance", "l1"), "l1 is manhattan here"),
        (("--out", "absent/x{}"), "cannot write 'absent/x{}': No such file or directory"),
        (("--out", "g.npy/x{}"), "cannot write 'g.npy/x{}': "),
        (("--out", "folder{}"), "cannot write 'folder{}': not a regular file"),
        (("--out", "hits.txt"), "argument --out: must end in {}, got 'hits.txt'"),
        (("--out", ""), "argument --out: must end in {}, got ''"),
    ],
)
def test_wrong_arguments_are_found_before_the_work(arguments, given, said, no_work, capsys):
    suffix = pathlib.Path(arguments[-1]).suffix
    os.mkdir(f"folder{suffix}")
    given = [text.format(suffix) for text in given]
    code = 1 if said.startswith("cannot write") else 2
    assert said.format(suffix) in fails(capsys, *arguments, *given, code=code)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_read_only_places_are_found_before_the_work(no_work, capsys):
    os.mkdir("folder", mode=0o555)
    pathlib.Path("hits.npz").touch(mode=0o444)
    assert "it is read-only" in fails(capsys, *SEARCH, "--force")
    assert "Permission denied" in fails(capsys, *SEARCH, "--out", "folder/hits.npz")


def test_a_folder_that_refuses_is_found_before_the_work(no_work, capsys, monkeypatch):
    def refused(path, *_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "touch", refused)
    for arguments in (SEARCH, DUPLICATES):
        said = f"cannot write '{arguments[-1]}': Permission denied\n"
        assert fails(capsys, *arguments).endswith(said)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--threshold", "1.5"), "--threshold must be a cosine, at most 1; got 1.5"),
        (("--threshold", "-1", "--distance", "lp"), "argument --distance: must be one of"),
        (("--threshold=-1", "--distance", "euclidean"), "--threshold must be a distance, at least"),
        (("--threshold", "-1", "--max-pairs", "9"), "there are more than 9 pairs"),
        (("--threshold", "-1", "--max-pairs", "9"), "be some 1,770: raise the --threshold"),
        (("--threshold", "-1", "--max-pairs", "9"), "or raise --max-pairs"),
    ],
)
def test_thresholds_that_will_not_do(given, said, capsys):
    code = 1 if "--max-pairs" in given else 2
    assert said in fails(capsys, *DUPLICATES, *given, code=code)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("search", "g.npy"), "the following arguments are required: QUERIES.npy"),
        (SEARCH[:3], "the following arguments are required: --k, --out"),
        (DUPLICATES[:2], "the following arguments are required: --threshold, --out"),
        ((*SEARCH, "--k", "0"), "argument --k: must be an integer, at least 1; got '0'"),
        ((*SEARCH, "--k", "1.5"), "argument --k: must be an integer, at least 1; got '1.5'"),
        ((*SEARCH, "--block", "0"), "argument --block: must be an integer, at least 1; got '0'"),
        ((*SEARCH, "--max-pairs", "5"), "unrecognized arguments: --max-pairs"),
        ((*DUPLICATES, "--block", "-1"), "argument --block: must be an integer, at least 1"),
        (
            (*DUPLICATES, "--max-pairs", "-1"),
            "argument --max-pairs: must be an integer, at least 0",
        ),
        ((*DUPLICATES, "--threshold", "x"), "argument --threshold: must be a finite number, got"),
        ((*DUPLICATES, "--threshold", "nan"), "argument --threshold: must be a finite number, got"),
    ],
)
def test_a_wrong_command_line(arguments, said, no_work, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
    assert set(contents()) == {"g.npy", "q.npy"}


@pytest.mark.parametrize("command", ["search", "duplicates"])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    for option in ("--out", "--force", "--distance", "--block", "--no-progress"):
        assert option in text
    assert all(name in text for name in fastcos.distances.DISTANCES)


# -- progress --------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("arguments", [SEARCH, DUPLICATES])
def test_progress_on_a_terminal(arguments, monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert main(arguments) == 0
    assert "100%" in sys.stderr.getvalue()
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert main((*arguments, "--force", "--no-progress")) == 0
    assert sys.stderr.getvalue() == ""


@pytest.mark.parametrize("arguments", [SEARCH, DUPLICATES])
def test_no_progress_without_tqdm(arguments, monkeypatch):
    for name in ("tqdm", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert main(arguments) == 0
    assert sys.stderr.getvalue() == ""


# -- memory ----------------------------------------------------------------------------------------

# RLIMIT_DATA counts memory of one's own, and no files that are mapped to be read.
LIMITED = """
import pathlib, resource, sys
import numpy as np
from fastcos.__main__ import main

np.save("small.npy", np.load("g.npy", mmap_mode="r")[:4096])
assert main(["search", "small.npy", "q.npy", "--k", "3", "--out", "small.npz"]) == 0
text = pathlib.Path("/proc/self/status").read_text()
(line,) = [line for line in text.splitlines() if line.startswith("VmData")]
limit = (int(line.split()[1]) << 10) + (64 << 20)
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    np.array(np.load("g.npy", mmap_mode="r"))
except MemoryError:
    pass
else:
    raise AssertionError("a copy fits")
sys.exit(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is read and set as on Linux")
def test_a_gallery_larger_than_the_memory_there_is():
    rows, features = 1 << 18, 128
    gallery = np.lib.format.open_memmap("g.npy", "w+", np.float32, (rows, features))  # 128 MiB
    queries = np.random.default_rng(2).standard_normal((2, features)).astype(np.float32)
    places = np.array([[9, rows // 2], [rows - 1, 5000]])
    gallery.reshape(-1, 4096, features)[:] = np.random.default_rng(3).standard_normal((4096, 128))
    gallery[places[:, 0]] = queries
    gallery[places[:, 1]] = queries + 0.1
    gallery.flush()
    np.save("q.npy", queries)
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *SEARCH, "--k", "2"],
        # Every thread takes memory of its own.
        env={**os.environ, "NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "262,144 rows, 128 features" in done.stdout
    np.testing.assert_array_equal(np.load("hits.npz")["indices"], places)
