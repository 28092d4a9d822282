"""The bench of rows of a table: contenders agree or it says so, rows add up, tables render."""

import gc
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from bench import __main__ as command
from bench import cases, ceilings, report, rows_cases, runner
from bench.cases import GRADIENT, MARGIN, VALUE
from bench.report import FASTCOS_TORCH, MADE_BEFORE
from bench.rows_cases import ADD_AT, COPIES, PEERS, SCIPY, TORCH, TORCH_SPARSE
from bench.runner import AGAIN, OURS

(CASE,) = rows_cases.CASES
SIZE = runner.Size(70, 24, 9)
WITHOUT_TORCH = (COPIES, ADD_AT, SCIPY)
INSTALLED = [peer for peer in PEERS if peer not in rows_cases.MISSING]


def _providers(mode):
    values = (OURS, MADE_BEFORE, COPIES, TORCH, FASTCOS_TORCH)
    both = (OURS, MADE_BEFORE, ADD_AT, SCIPY, TORCH, TORCH_SPARSE, FASTCOS_TORCH)
    providers = values if mode == VALUE else both
    return {name for name in providers if name not in rows_cases.MISSING}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_providers_agree_with_the_formula(dtype):
    pairs = rows_cases.draw(SIZE, dtype)
    before = [array.copy() for array in pairs]
    table = pairs.table.astype(np.float64)
    (formula,) = (c.formula for c in cases.CASES if c.name == CASE.name)
    value, pull = formula(table[pairs.i], table[pairs.j], pairs.labels)
    gradient = np.zeros_like(table)
    for numbers, part in zip((pairs.i, pairs.j), pull(1), strict=True):
        np.add.at(gradient, numbers, part)
    bound = rows_cases.calls(CASE, pairs)
    assert list(bound) == [(m, p) for m in (VALUE, GRADIENT) for p in _sorted(_providers(m))]
    for (mode, provider), thunk in bound.items():
        for _ in range(2):  # gradients do not add up
            result = thunk()
            assert len(rows_cases.flat(result)) == (1 if mode == VALUE else 2)
            rows_cases.check(mode, provider, result, (np.float64(value), gradient), dtype)
    for array, copy in zip(pairs, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def _sorted(providers):
    return sorted(providers, key=(OURS, MADE_BEFORE, *PEERS).index)


def test_no_gradient_is_skipped():
    pairs = rows_cases.draw(runner.Size(500, 128, 40), "float32")
    assert (pairs.i != pairs.j).all()
    x, y = (pairs.table[k] for k in (pairs.i, pairs.j))
    norms = [np.linalg.norm(rows, axis=1) for rows in (x, y)]
    cosines = (x * y).sum(axis=1) / (norms[0] * norms[1])
    assert MARGIN < cosines.min() < cosines.max() < 1


@pytest.mark.parametrize(
    ("mode", "result", "named"),
    [
        (VALUE, 1.001, "value of add.at is off"),
        (GRADIENT, (1.0, np.array([[1.0, 2.001]])), "gradient of add.at is off"),
        (GRADIENT, (1.0, np.array([[1.0, np.nan]])), "gradient of add.at is off"),
        (GRADIENT, (1.0, np.array([1.0, 2.0])), "gradient of add.at has shape"),
    ],
)
def test_what_does_not_agree_is_found(mode, result, named):
    expected = [np.array(1.0), np.array([[1.0, 2.0]])]
    rows_cases.check(GRADIENT, ADD_AT, tuple(expected), expected, "float32")
    with pytest.raises(ValueError, match=named):
        rows_cases.check(mode, ADD_AT, result, expected, "float32")


def test_a_run_fails_where_a_contender_is_wrong(monkeypatch, capsys):
    def wrong(case, pairs):
        (thunk,) = rows_cases._add_at(case, pairs).values()

        def both():
            value, gradient = thunk()
            return value, gradient * 1.001

        return {GRADIENT: both}

    monkeypatch.setitem(rows_cases._PROVIDERS, ADD_AT, wrong)
    given = ["rows", "--sizes", "70of9x24", "--dtype", "float32", "--repeats", "1"]
    assert command.main([*given, "--peers", ADD_AT]) == 1
    told = capsys.readouterr()
    assert "ValueError: gradient of add.at is off by" in told.err
    assert "GB/s" not in told.out


def test_torch_that_is_not_installed_is_left_out():
    code = """
import sys
class Missing:
    def find_spec(self, name, *_):
        if name == "torch":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
from bench import rows_cases, runner
assert rows_cases.MISSING == ("torch", "torch-sparse", "fastcos-torch")
pairs = rows_cases.draw(runner.Size(7, 8, 3), "float32")
calls = rows_cases.calls(rows_cases.CASES[0], pairs)
assert not {*rows_cases.MISSING} & {name for _, name in calls}
assert "torch" not in runner.environment(rows_cases.SUITE, [])["versions"]
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_ceiling_reads_every_row_that_is_named(dtype):
    table = (np.arange(9 * 24).reshape(9, 24) % 5).astype(dtype)
    numbers = np.random.default_rng(0).integers(0, 9, 300)
    total = ceilings.read_rows(table, numbers)()
    words = ceilings.row_words(table)
    assert words.nbytes == table.nbytes
    assert int(total) % 2**32 == int(words[numbers].sum(dtype=np.float64)) % 2**32


def test_rows_are_words_of_whatever_they_are_made_of():
    kinds = {
        (dtype, d): ceilings.row_words(np.zeros((3, d), dtype)).dtype.name
        for dtype in ("bfloat16", "float32", "float64")
        for d in (7, 8)
    }
    half = {("bfloat16", 7): "uint16", ("bfloat16", 8): "uint32"}
    assert kinds == {key: half.get(key, key[0]) for key in kinds}


def test_counted_bytes():
    pairs = rows_cases.draw(runner.Size(10, 8, 3), "bfloat16")
    read = 2 * 10 * 8 * 2 + 3 * 10 * 8  # rows; numbers and labels
    assert rows_cases.counted_bytes(pairs, VALUE) == read
    assert rows_cases.counted_bytes(pairs, GRADIENT) == read + 3 * 8 * 2


def test_allocated_bytes_are_those_at_once():
    def thunk():
        np.ones(3000)
        return np.ones(5000)

    assert 40_000 <= rows_cases.allocated_bytes(thunk) < 42_000


def test_what_does_not_fit_is_left_out(monkeypatch):
    assert len(rows_cases.pool(SIZE, "float32", 0)) == 1
    monkeypatch.setattr(runner, "_available", lambda: 50_000)
    assert rows_cases.pool(SIZE, "bfloat16", 0) == []


def test_the_machine_for_which_it_is_made_has_memory_for_all_sizes(monkeypatch):
    monkeypatch.setattr(runner, "_available", lambda: 20 << 30)
    monkeypatch.setattr(rows_cases, "draw", lambda size, dtype: size)
    sizes = [rows_cases.sized(text) for text in rows_cases.SUITE.sizes.split(",")]
    assert [size.n for size in sizes] == [500_000, 200_000, 1_000_000]
    for size in sizes:
        for dtype in rows_cases.SUITE.dtypes.split(","):
            assert rows_cases.pool(size, dtype, 0) == [size]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A run too short to mean anything, and a document that shows it."""
    root = tmp_path_factory.mktemp("root")
    path = root / report.RESULTS / report.ROWS
    path.parent.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "collect", lambda *generation: 0)
        patch.setattr(runner, "SAMPLE", 0.0)
        given = ["--sizes", "70of9x24,70of20x24", "--repeats", "2", "--json", str(path)]
        assert command.main(["rows", *given]) == 0
    return root


def test_rows(results):
    run, rows = report.load(results / report.RESULTS / report.ROWS)
    assert run["command"].startswith("python -m bench rows --sizes 70of9x24,70of20x24")
    assert ("torch" in run["versions"]) == ("torch_threads" in run) == (TORCH in INSTALLED)
    keys = ("n", "table", "d", "dtype", "mode", "provider")
    found = {tuple(r[key] for key in keys): r for r in rows}
    contenders = {
        *((mode, name) for mode in (VALUE, GRADIENT) for name in _providers(mode) | {AGAIN}),
        *(("ceiling", name) for name in ("read", "read again")),
    }
    assert len(found) == len(rows)
    assert found.keys() == {
        (70, table, 24, dtype, *contender)
        for table in (9, 20)
        for dtype in ("float32", "bfloat16")
        for contender in contenders
    }
    for key, row in found.items():
        *shape, mode, provider = key
        assert row.keys() == {*runner.Row._fields, "kind"}
        assert 0 < row["p20"] <= row["p50"] <= row["p80"]
        limit = found[(*shape, "ceiling", "read")]
        assert row["share"] == pytest.approx(row["gbps"] / limit["gbps"])
        peers = _providers(mode) - {provider}
        if provider == OURS:
            assert row["faster"].keys() == peers | {AGAIN}
            gradient = (
                found[(*shape, GRADIENT, OURS)]["bytes"] - found[(*shape, VALUE, OURS)]["bytes"]
            )
            assert row["peak_bytes"] >= (gradient if mode == GRADIENT else 0)
        else:
            assert row["faster"].keys() == (peers if provider in _providers(mode) else set())
            assert row["peak_bytes"] is None
        for peer, quotient in row["faster"].items():
            other = found[(*shape, mode, peer)]
            assert quotient["ratio"] == pytest.approx(other["p50"] / row["p50"])


def test_report_and_check(results, tmp_path, capsys):
    """The page of this repository copes with results and without."""
    (tmp_path / report.RESULTS).mkdir(parents=True)
    page = tmp_path / "docs" / "speed" / "tables.md"
    page.parent.mkdir(parents=True)
    shutil.copy(report.ROOT / "docs" / "speed" / page.name, page)
    given = ["--root", str(tmp_path)]
    assert report.main([*given, "--check"]) == 0
    shutil.copy(results / report.RESULTS / report.ROWS, tmp_path / report.RESULTS)
    assert report.main([*given, "--check"]) == 1
    assert report.main(given) == 0
    assert report.main([*given, "--check"]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.count("\n| 70 pairs of 9 × 24, float32 | ") == 2
    assert text.count("\n| 70 pairs of 20 × 24, bfloat16 | ") == 2
    capsys.readouterr()
    assert report.main([*given, "--full"]) == 0
    assert "| cosine_embedding_loss | value | fastcos | 70of9x24 |" in capsys.readouterr().out


def test_tables(results):
    run, rows = report.load(results / report.RESULTS / report.ROWS)
    mine = [r for r in rows if r["provider"] == OURS]
    mine[0]["faster"][COPIES] = {"ratio": 0.5, "p20": 0.4, "p80": 0.6}
    mine[1]["faster"][SCIPY] = {"ratio": 2.5, "p20": 2.0, "p80": 3.0}
    gradient = mine[1]["bytes"] - mine[0]["bytes"]
    mine[0] |= {"share": 0.5, "peak_bytes": 70 * 17}
    mine[1] |= {"peak_bytes": gradient + 70 * 2000}
    left_out = [r for r in rows if r is not mine[1] and r["provider"] != MADE_BEFORE]
    for shown in (rows, [*left_out, mine[1]]):
        text = report.rows_tables(report.Results(run, shown))
        value, both = (block for block in text.split("\n\n") if block.startswith("| "))
        assert " | **0.50×** (0.40 to 0.60) | " in value
        assert " | **50%** | 17 B |\n" in value
        assert " | 2.5× (2.0 to 3.0) | " in both
        assert " | 1.95 KiB |\n" in both
        for block in (value, both):
            assert len({line.count("|") for line in block.splitlines()}) == 1
    assert text.count(f" | {report._NOTHING} | ") >= 8  # made before


def test_slow_contenders_are_in_rounds_of_their_own(monkeypatch, capsys):
    counts, rounds = [], runner._rounds
    monkeypatch.setattr(gc, "collect", lambda *generation: 0)

    def counted(contenders, numbers, turn, repeats, **keywords):
        counts.append(([c.provider for c in contenders], repeats))
        return rounds(contenders, numbers, turn, repeats, **keywords)

    monkeypatch.setattr(runner, "_rounds", counted)
    monkeypatch.setattr(runner, "SAMPLE", 0.0)
    monkeypatch.setattr(rows_cases, "SLOW", 0.0)
    sets = rows_cases.pool(SIZE, "float32", 0)
    peers = [*WITHOUT_TORCH]
    rows = list(rows_cases.measure(CASE, SIZE, "float32", sets, 5, peers))
    quick = ["read", OURS, MADE_BEFORE, AGAIN, OURS, MADE_BEFORE, AGAIN, "read again"]
    assert counts == [
        (quick, 5),
        (["read", OURS, MADE_BEFORE, COPIES], 2),
        (["read", OURS, MADE_BEFORE, ADD_AT, SCIPY], 2),
    ]
    by_name = {(r.mode, r.provider): r for r in rows}
    assert len(by_name) == len(rows) == 11
    assert by_name[GRADIENT, OURS].faster.keys() == {MADE_BEFORE, AGAIN, ADD_AT, SCIPY}
    assert by_name[GRADIENT, OURS].repeats == 5
    assert by_name[GRADIENT, ADD_AT].repeats == 2
    for row in rows:
        assert runner.Row(**json.loads(json.dumps(row._asdict()))) == row

    monkeypatch.setattr(rows_cases, "LIMIT", 0.0)
    capsys.readouterr()
    rows = list(rows_cases.measure(CASE, SIZE, "float32", sets, 1, peers))
    assert {r.provider for r in rows} == {OURS, MADE_BEFORE, AGAIN, "read", "read again"}
    assert "add.at is left out, value_and_grad: a call takes" in capsys.readouterr().out


def test_sizes():
    assert rows_cases.sized("70of9x24") == SIZE
    assert report.shape(*SIZE) == "70of9x24"
    assert rows_cases.sized("small") == rows_cases.SIZES["small"]
    assert rows_cases.sized("9x24") is None
    assert report.shape(*runner.sized("9x24")) == "9x24"


@pytest.mark.parametrize(
    ("option", "given"),
    [
        *(("--cases", "none"), ("--sizes", "9x24"), ("--dtype", "int8")),
        *(("--repeats", "0"), ("--peers", "numpy"), ("--device", "cuda")),
    ],
)
def test_bad_arguments(option, given, capsys):
    with pytest.raises(SystemExit):
        command.main(["rows", option, given])
    assert option in capsys.readouterr().err
