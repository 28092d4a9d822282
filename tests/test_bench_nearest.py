"""The bench of nearest rows: providers agree, the truth is true, rows are kept, tables render."""

import gc
import json
import shutil

import numpy as np
import pytest

from bench import __main__ as command
from bench import memory, nearest, nearest_cases, nearest_report, report, runner
from bench.nearest_cases import (
    CEILINGS,
    COSINE,
    EUCLIDEAN,
    KINDS,
    MISSING,
    NUMPY,
    PEERS,
    SKLEARN,
    SQEUCLIDEAN,
    STORED,
    Drawn,
)
from bench.report import AGAIN, NUMPY_PRODUCTS
from bench.runner import OURS, READ, Size

SIZE = Size(300, 16)
THERE = [name for name in (OURS, *PEERS) if name not in MISSING]


@pytest.mark.parametrize("distance", [COSINE, SQEUCLIDEAN, EUCLIDEAN])
@pytest.mark.parametrize("provider", THERE)
def test_providers_find_the_nearest(provider, distance, monkeypatch):
    monkeypatch.setattr(nearest_cases, "_MATRIX", 4 * 300 * 4)  # four queries at a time
    drawn = nearest_cases.draw(SIZE, 7)
    before = [array.copy() for array in drawn]
    search = nearest_cases.search(provider, drawn.rows, distance, 2)
    for queries, k in ((7, 5), (1, 1), (1, 300)):
        found = search(drawn.queries[:queries], k)
        right = nearest_cases.truth(Drawn(drawn.rows, drawn.queries[:queries]), k, distance)
        assert nearest_cases.wrong(found, right) == (0, 0)
    for array, copy in zip(drawn, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_the_truth():
    rows = np.array([[3, 0], [0, 2], [1, 1], [1, 0], [0, 0.5]], np.float32)
    queries = np.array([[2, 0.5]], np.float32)
    for distance, order in ((COSINE, [0, 3, 2, 1, 4]), (EUCLIDEAN, [0, 2, 3, 4, 1])):
        found = nearest_cases.truth(Drawn(rows, queries), 5, distance)
        assert found.tolist() == [order]
    equal = Drawn(np.repeat(rows, 2, axis=0), queries)
    assert nearest_cases.truth(equal, 3, COSINE).tolist() == [[0, 1, 6]]
    # The second and third of these are apart by less than float64 tells: 1e-17 of the distance.
    close = np.array([[1, 1e-17], [1, 2e-17], [1, 0]], np.float64)
    found = nearest_cases.truth(Drawn(close, np.array([[0.0, 1.0]])), 3, EUCLIDEAN)
    assert found.tolist() == [[1, 0, 2]]


def test_what_is_wrong():
    right = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9], [1, 3, 5]])
    found = np.array([[1, 2, 3], [5, 4, 6], [7, 8, 0], [1, 3, 5]])
    assert nearest_cases.wrong(right.astype(np.uint64), right) == (0, 0)
    assert nearest_cases.wrong(found, right) == (0.5, 0.25)


@pytest.mark.parametrize("stored", STORED)
def test_galleries_are_what_they_are_said_to_be(stored, tmp_path):
    drawn = nearest_cases.draw(SIZE, 7, stored=stored)
    nearest_cases.keep(drawn, tmp_path)
    found = nearest_cases.kept(tmp_path, stored)
    for mine, other in zip(found, drawn, strict=True):
        assert str(mine.dtype) == stored.removesuffix(", mapped")
        np.testing.assert_array_equal(mine.astype(np.float64), other.astype(np.float64))
    assert isinstance(found.rows, np.memmap) == stored.endswith("mapped")
    for name in (OURS, *CEILINGS, *THERE):
        if not nearest_cases.takes(name, stored):
            right = nearest_cases.truth(found, 5, COSINE)
            near = nearest_cases.search(name, found.rows, COSINE, 2)(found.queries, 5)
            if name not in CEILINGS:
                # Who rounds rows of unit length confuses some.
                assert nearest_cases.wrong(near, right).rows < (0.5 if name != OURS else 1e-9)


def test_who_does_not_take_a_gallery_is_left_out_of_the_rows(quick, tmp_path):
    stored = "float16;float32, mapped"
    given = ["--sizes", "300x16", "--queries", "1,3", "--k", "2", "--stored", stored]
    rows = _run(tmp_path / "rows.jsonl", *given, "--no-answers").rows
    assert {row["dtype"] for row in rows} == {"float16", "float32, mapped"}
    for row in rows:
        assert (row["least"] is None) == (row["provider"] in (NUMPY, SKLEARN)), row
        if row["least"] is None:
            assert row["left_out"] in ("takes no float16", "keeps a copy in memory")
    text = nearest_report.tables(report.load(tmp_path / "rows.jsonl"))
    assert "`cosine`, float16:" in text
    assert "`cosine`, float32, mapped:" in text


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.name} {kind.distance}")
def test_data_are_what_they_are_called(kind):
    drawn = kind.draw(np.random.default_rng(0), Size(100, 8), 5)
    assert [a.shape for a in drawn] == [(100, 8), (5, 8)]
    assert {a.dtype for a in drawn} == {np.dtype(np.float32)}
    rows = np.unique(drawn.rows.astype(np.float64), axis=0)
    assert len(rows) == 100
    apart = np.linalg.norm(rows[:, None] - rows, axis=2)
    size = np.linalg.norm(rows, axis=1).mean()
    near = np.median(np.sort(apart, axis=1)[:, 1]) / size
    bounds = {"ordinary": (0.1, 2), "narrow cone": (1e-5, 1e-3), "near duplicates": (1e-8, 1e-5)}
    low, high = bounds.get(kind.name, (1e-5, 1e-2))
    assert low < near < high


def test_candidates():
    drawn = nearest_cases.draw(SIZE, 7)
    assert nearest_cases.count_candidates(drawn.queries[:1], drawn.rows, 5, COSINE) is None
    found = nearest_cases.count_candidates(drawn.queries, drawn.rows, 5, COSINE)
    assert 5 <= found < 300


def test_ceilings():
    drawn = nearest_cases.draw(SIZE, 7)
    for name in CEILINGS:
        nearest_cases.search(name, drawn.rows, COSINE, 2)(drawn.queries, 3)
    blocks = []

    def matmul(a, b, out):
        blocks.append(out.shape)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "matmul", matmul)
        nearest_cases._multiply(drawn.queries, drawn.rows, 128)
    assert blocks == [(7, 128), (7, 128), (7, 44)]


class Here(nearest.Processes):
    """All in this process."""

    def open(self, folder, distance, stored):
        return nearest._open(folder, self.names, distance, stored)

    def ask(self, provider, function, *given):
        return function(*given)


@pytest.fixture
def quick(monkeypatch):
    """Runs that measure next to nothing, in this process."""
    monkeypatch.setattr(nearest, "Processes", Here)
    monkeypatch.setattr(memory, "peak_bytes", lambda thunk: thunk() is None or 4096)
    monkeypatch.setattr(gc, "collect", lambda *generation: 0)
    for name in ("_ASLEEP", "_SAMPLE", "_TIME"):
        monkeypatch.setattr(nearest, name, 0.0)
    monkeypatch.setattr(nearest, "ANSWERS", Size(64, 8))


def _run(path, *given):
    options = ["--peers", f"{NUMPY},{SKLEARN}", "--repeats", "2", "--json", str(path), *given]
    assert command.main(["nearest", *options]) == 0
    return report.load(path)


def test_rows(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(nearest_cases, "count_candidates", lambda *given: 12.5)
    path = tmp_path / "rows.jsonl"
    given = ["--sizes", "300x16", "--queries", "1,3", "--k", "2"]
    run, rows = _run(path, *given)
    assert run["command"].startswith("python -m bench nearest --peers numpy,scikit-learn")
    assert run["threads"] == 2
    times = {(r["queries"], r["provider"]): r for r in rows if r["part"] == "time"}
    names = (OURS, NUMPY, SKLEARN, AGAIN)
    assert times.keys() == {
        (queries, name)
        for queries, ceiling in ((1, READ), (3, NUMPY_PRODUCTS))
        for name in (*names, ceiling)
    }
    for (queries, name), row in times.items():
        assert row.keys() == {*nearest.Row._fields, "kind"}
        assert 0 < row["least"] <= row["p50"]
        limit = times[queries, READ if queries == 1 else NUMPY_PRODUCTS]
        assert row["share"] == pytest.approx(limit["least"] / row["least"])
        assert (row["peak_bytes"] == 4096) == (name in names[:3])
        assert row["candidates"] == (12.5 if name == OURS else None)
        assert row["faster"].keys() == ({NUMPY, SKLEARN, AGAIN} if name == OURS else set())
        for peer, ratio in row["faster"].items():
            assert ratio == pytest.approx(times[queries, peer]["least"] / row["least"])
    answers = {(r["data"], r["case"], r["provider"]): r for r in rows if r["part"] == "answers"}
    assert answers.keys() == {(k.name, k.distance, n) for k in KINDS for n in names[:3]}
    for (_, _, name), row in answers.items():
        assert row.keys() == {*nearest.Answers._fields, "kind"}
        assert 0 <= row["wrong_rows"] <= row["wrong_order"] <= (0 if name == OURS else 1)
    assert answers["narrow cone", COSINE, NUMPY]["wrong_order"] == 1

    # What is not measured stays.
    monkeypatch.setenv("FASTCOS_COMMIT", "later")
    run, rows = _run(path, *given[:2], "--queries", "3", "--k", "2,4", "--no-answers")
    later = {(r["queries"], r["k"]) for r in rows if r["commit"] == "later"}
    assert later == {(3, 2), (3, 4)}
    assert {(r["queries"], r["k"]) for r in rows if r["commit"] != "later"} == {(1, 2), (200, 10)}
    text = nearest_report.tables(report.Results(run, rows))
    assert "| 300 × 16, 3, 4 | " in text
    assert "| candidates | " in text
    assert "Some rows are of " in text
    assert "| fastcos | 0 / 0 | 0 / 0 | 0 / 0 | 0 / 0 | 0 / 0 | 0 / 0 |" in text


def test_who_cannot_be_called_is_left_out(quick, tmp_path, monkeypatch, capsys):
    def lacking(rows, distance, threads):
        if len(rows) == 300:
            raise MemoryError
        return nearest_cases._numpy(rows, distance, threads)

    monkeypatch.setitem(nearest_cases._MADE, NUMPY, lacking)
    given = ["--sizes", "300x16", "--queries", "3", "--k", "2", "--no-answers"]
    _, rows = _run(tmp_path / "rows.jsonl", *given)
    (row,) = (r for r in rows if r["provider"] == NUMPY)
    assert (row["least"], row["peak_bytes"]) == (None, None)
    assert "numpy cannot be called (memory)" in capsys.readouterr().out


def test_a_run_fails_where_others_are_found(quick, monkeypatch, capsys):
    def wrong(rows, distance, threads):
        return lambda queries, k: np.zeros((len(queries), k), int)

    monkeypatch.setitem(nearest_cases._MADE, NUMPY, wrong)
    given = ["--sizes", "300x16", "--queries", "3", "--k", "2", "--no-answers", "--peers", NUMPY]
    assert command.main(["nearest", *given]) == 1
    assert "ValueError: numpy finds " in capsys.readouterr().err


def test_what_does_not_fit_is_left_out(quick, monkeypatch, capsys):
    monkeypatch.setattr(runner, "_available", lambda: 1 << 20)
    given = ["--sizes", "100000x128", "--no-answers", "--peers", "none"]
    assert command.main(["nearest", *given]) == 0
    assert "cosine 100000x128 float32 does not fit and is left out" in capsys.readouterr().out


def test_processes_of_their_own():
    processes = nearest.Processes([OURS, *CEILINGS, NUMPY])
    try:
        ours, mine = (processes.ask(name, nearest.os.getpid) for name in (OURS, NUMPY))
        assert len({ours, mine, nearest.os.getpid()}) == 3
        assert processes.ask(READ, nearest.os.getpid) == ours
        threads = processes.ask(NUMPY, nearest.os.getenv, "OMP_NUM_THREADS")
        assert threads == str(nearest.THREADS)
        # One that ends is not asked again with this gallery.
        assert processes.ask(NUMPY, nearest.os._exit, 1) == memory.MEMORY
        assert processes.ask(NUMPY, nearest.os.getpid) == memory.MEMORY
    finally:
        processes.close()


def test_what_is_measured_by_default_is_not_too_long():
    given = nearest.argparse.Namespace(distances=None, sizes=None, stored=None, all=False)
    plans = nearest._plans(given, (), ())
    sizes = {(plan.distance, plan.size) for plan in plans}
    assert (COSINE, Size(1_000_000, 384)) in sizes
    assert (COSINE, Size(1_000_000, 768)) not in sizes
    for plan in plans:
        for queries, _ in plan.cases:
            assert queries * plan.size.n * plan.size.d <= nearest_cases.MOST
    given.all = True
    every = nearest._plans(given, (), ())
    assert {plan.distance for plan in every} == {COSINE, SQEUCLIDEAN}
    assert all(len(plan.cases) == 6 for plan in every)
    assert sum(plan.size == Size(1_000_000, 768) for plan in every) == 2


RUN = {
    **dict.fromkeys(("cpu", "architecture", "cores", "threads", "threading_layer"), "some"),
    **{"caches": {}, "versions": {"numpy": "1"}, "commit": "0", "time": "2026-01-01"},
    **{"blas": "some", "memory": 1 << 34, "kind": "run"},
}


def _result(provider, **given):
    row = nearest.Row(
        *("time", COSINE, provider, 1000, 128, "float32", 1, 10),
        *(1e-3, 2e-3, 3, 1, 0.5, {}, "", 1 << 20, "", None, 0.01, "0", "2026-01-01"),
    )
    return {"kind": "result", **row._asdict(), **given}


def _answer(provider, *wrong):
    row = nearest.Answers(
        *("answers", COSINE, "ordinary", provider, 1000, 128, "float32", 200, 10),
        *(*wrong, "", "0", "2026-01-01"),
    )
    return {"kind": "result", **row._asdict()}


ROWS = [
    _result(OURS, faster={NUMPY: 2.0, AGAIN: 1.04}, peak_bytes=3 << 20),
    _result(NUMPY),
    _result(SKLEARN, least=None, left_out="memory", peak_bytes=None),
    *(_answer(OURS, 0.0, 0.0), _answer(NUMPY, 0.025, 0.005), _answer(SKLEARN, None, None)),
]


def test_tables():
    text = nearest_report.tables(report.Results(RUN, ROWS))
    assert (
        "| 1,000 × 128, 1, 10 | 1 ms | 50% | 1.04 | does not fit | 2.0× | **3 MiB** | 1 MiB NumPy |"
    ) in text
    assert "In 0 of 1 comparisons fastcos is the slower one." in text
    assert "| fastcos | 0 / 0 |\n| scikit-learn | – |\n| NumPy | **2.5%** / **0.5%** |" in text
    lines = nearest_report.lines(ROWS[:3]).splitlines()
    assert lines[0] == "cosine, float32  1000x128, 1 queries, k 10"
    assert lines[1].endswith("2.0× numpy, 1.04 fastcos again")
    assert "left out" in lines[3]
    assert nearest_report.lines(ROWS[3:]).splitlines()[2].split() == ["numpy", "2.5%", "0.5%"]


def test_report_and_check(tmp_path, capsys):
    """The page of this repository copes with results and without."""
    (tmp_path / report.RESULTS).mkdir(parents=True)
    page = tmp_path / "docs" / "speed" / "search.md"
    page.parent.mkdir(parents=True)
    shutil.copy(report.ROOT / "docs" / "speed" / page.name, page)
    given = ["--root", str(tmp_path)]
    assert report.main([*given, "--check"]) == 0
    path = tmp_path / report.RESULTS / report.NEAREST
    path.write_text("\n".join(map(json.dumps, [RUN, *ROWS])) + "\n", encoding="utf-8")
    assert report.main([*given, "--check"]) == 1
    assert report.main(given) == 0
    assert report.main([*given, "--check"]) == 0
    assert "| NumPy | **2.5%** / **0.5%** |" in page.read_text(encoding="utf-8")
    capsys.readouterr()
    assert report.main([*given, "--full"]) == 0
    assert "| cosine | float32 | numpy | 1000x128 | 1 | 10 | " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "given"),
    [
        *(("--distances", "manhattan"), ("--sizes", "9of9x24"), ("--sizes", "8x8")),
        *(("--queries", "0"), ("--queries", "1,x"), ("--k", "-1")),
        *(("--repeats", "0"), ("--peers", "eager"), ("--device", "cuda")),
    ],
)
def test_bad_arguments(option, given, capsys):
    with pytest.raises(SystemExit):
        command.main(["nearest", option, given])
    assert ("--k" if given == "8x8" else option) in capsys.readouterr().err
