"""The bench times what it says: providers of a case agree, rows add up, reports render."""

import gc
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

import fastcos
from bench import __main__ as command
from bench import ceilings, report, runner, short_report, start
from bench.cases import (
    CASES,
    DTYPES,
    GRADIENT,
    GRADIENT_OUT,
    MISSING,
    VALUE,
    calls,
    counted_bytes,
    draw,
)

# Relative to the largest number of the array. NumPy adds up in the dtype of the rows; for half
# types in float32, and rounds each result once.
TOLERANCE = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 2e-5, "float64": 1e-12}
# SimSIMD starts from an approximate reciprocal root and takes one step of Newton's, which leaves
# 5e-9 of float64 on AVX-512 and AVX2; where there are float16 instructions it adds up in float16.
# NumKong reaches the tolerance of all.
OF_SIMSIMD = {"float16": 1e-2, "bfloat16": 8e-3, "float32": 2e-5, "float64": 1e-7}


def _flat(result):
    """A value, or a value and gradients, as float64 arrays."""
    if isinstance(result, tuple):
        return [array for part in result for array in _flat(part)]
    return [np.asarray(result, dtype=np.float64)]


def _case(name):
    (found,) = (case for case in CASES if case.name == name)
    return found


# Half types only where they matter to the comparison: each case would compile once more for each.
@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        *((case, dtype) for case in CASES for dtype in ("float32", "float64")),
        *((_case("paired_distance:cosine"), dtype) for dtype in ("float16", "bfloat16")),
        *((_case("cosine_embedding_loss"), dtype) for dtype in ("float16", "bfloat16")),
    ],
    ids=lambda given: given if isinstance(given, str) else given.name,
)
def test_providers_agree(case, dtype):
    given = draw(21, 13, dtype)
    before = [array.copy() for array in case.inputs(given)]
    results = {key: _flat(thunk()) for key, thunk in calls(case, given).items()}
    for (mode, provider), parts in results.items():
        expected = results[VALUE if mode == VALUE else GRADIENT, "numpy"]
        assert len(parts) == len(expected) == (1 if mode == VALUE else 1 + case.operands)
        for got, want in zip(parts, expected, strict=True):
            assert got.shape == want.shape, (mode, provider)
            error = np.abs(got - want).max()
            allowed = (OF_SIMSIMD if provider == "simsimd" else TOLERANCE)[dtype]
            assert error <= allowed * np.abs(want).max(), (mode, provider)
    for array, copy in zip(case.inputs(given), before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_formulas_stay_in_the_dtype_of_the_rows(case):
    # A float64 that slips in would make NumPy look slow.
    value, pull = case.formula(*case.inputs(draw(21, 13, "float32")))
    assert {np.asarray(a).dtype.name for a in (value, *pull(1))} == {"float32"}


@pytest.mark.parametrize("dtype", DTYPES)
def test_who_computes_row_cosines(dtype):
    providers = {name for mode, name in calls(_case("cosine_similarity"), draw(4, 8, dtype))}
    expected = {"fastcos", "numpy", "simsimd", "numkong"} - set(MISSING)
    if dtype in ("float32", "float64"):
        expected |= {"scikit-learn"}
    assert providers == expected
    chosen = calls(_case("cosine_similarity"), draw(4, 8, dtype), ["numkong"])
    assert {name for mode, name in chosen} == {"fastcos", "numkong"} - set(MISSING)


def test_every_distance_has_a_case():
    timed = {case.keywords["distance"].name for case in CASES if "distance" in case.keywords}
    assert timed == {*fastcos.distances.DISTANCES, "lp"}


def test_peers_that_are_not_installed_are_left_out():
    code = """
import sys
sys.modules["simsimd"] = sys.modules["numkong"] = None
from bench import cases
assert cases.MISSING == ("simsimd", "numkong"), cases.MISSING
for case in cases.CASES:
    calls = cases.calls(case, cases.draw(4, 8, "float32"))
    assert not {*cases.MISSING} & {name for _, name in calls}
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("peers", "said"), [("numpy,numkong", True), ("numpy", False)])
def test_the_run_says_who_is_left_out(peers, said, monkeypatch, capsys):
    monkeypatch.setattr(runner, "SUITE", runner.SUITE._replace(missing=("numkong",)))
    monkeypatch.setattr(runner, "SAMPLE", 0.0)
    given = ["--cases", "cosine_similarity", "--sizes", "8x24", "--repeats", "1"]
    assert command.main([*given, "--peers", peers]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert (first == "numkong is not installed and left out") == said


def test_half_types_are_drawn_from_the_same_numbers():
    wide = draw(21, 12, "float32")
    for dtype in ("float16", "bfloat16"):
        half = draw(21, 12, dtype)
        assert {a.dtype for a in (*half.rows, *half.grads, half.weights)} == {np.dtype(dtype)}
        for narrow, exact in zip(half.rows, wide.rows, strict=True):
            np.testing.assert_array_equal(narrow, exact.astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("copy", [ceilings.copy, ceilings.copy_past_caches])
def test_ceilings_move_every_byte(dtype, copy):
    given = draw(6, 52, dtype)
    sources, targets = given.rows[:2], [np.zeros_like(a) for a in given.rows[:2]]
    copy(sources, targets)()
    for source, target in zip(sources, targets, strict=True):
        np.testing.assert_array_equal(target, source)
    assert ceilings.flattened(sources[0]).nbytes == sources[0].nbytes
    ceilings.read(sources)()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_gradient_is_skipped(case):
    # A row whose loss is 0 costs the kernels less than the formulas; the data have none.
    _, grads = calls(case, draw(64, 33, "float64"))[GRADIENT, "fastcos"]()
    assert all(np.abs(g).sum(axis=-1).all() for g in grads)


def test_names_are_patterns_of_themselves():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert not any(set(name) & set("*?[],") for name in names)


def test_counted_bytes():
    given = draw(10, 8, "float32")
    (embedding,) = (c for c in CASES if c.name == "cosine_embedding_loss")
    rows, labels = 10 * 8 * 4, 10 * 8
    assert counted_bytes(embedding, given, VALUE) == 2 * rows + labels
    assert counted_bytes(embedding, given, GRADIENT) == 4 * rows + labels
    assert counted_bytes(embedding, given, GRADIENT_OUT) == 4 * rows + labels


def test_pool_exceeds_twice_the_last_cache():
    in_cache = runner.pool(runner.Size(8, 4), "float32", 1 << 16)
    assert len(in_cache) == 1
    size = runner.Size(2048, 2048)
    sets = runner.pool(size, "float32", 32 << 20)
    assert len(sets) * 2 * sets[0].rows[0].nbytes > 2 * (32 << 20)
    assert len({b.rows[0].ctypes.data for b in sets}) == len(sets)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A run of every case, too short to mean anything, and the documents that show it."""
    root = tmp_path_factory.mktemp("root")
    folder = root / report.RESULTS
    folder.mkdir(parents=True)
    path = folder / report.TABLE
    patched = pytest.MonkeyPatch()
    with patched.context() as patch:
        # To look through all that the suite has made took most of the time of this.
        patch.setattr(gc, "collect", lambda *generation: 0)
        patch.setattr(runner, "SAMPLE", 0.0)
        status = command.main(["--sizes", "40x24,8x24", "--repeats", "2", "--json", str(path)])
        assert status == 0
    for name in (report.SWEEP, report.DISTANCES):
        shutil.copy(path, folder / name)
    for block in report.BLOCKS:
        start, stop = report.markers(block.name)
        (root / block.document).parent.mkdir(parents=True, exist_ok=True)
        with (root / block.document).open("a", encoding="utf-8") as document:
            document.write(f"before\n{start}\nold\n{stop}\nafter\n")
    return root


def test_rows(results):
    run, rows = report.load(results / report.RESULTS / report.TABLE)
    assert run["versions"].keys() >= {"python", "numpy", "numba", "llvmlite", "scipy", "fastcos"}
    assert set(MISSING) == set(run["missing"]) == {"simsimd", "numkong"} - run["versions"].keys()
    assert run["threads"] >= 1
    assert run["command"].startswith("python -m bench --sizes 40x24,8x24")
    assert {row["case"] for row in rows} == {case.name for case in CASES}
    for row in rows:
        assert 0 < row["p20"] <= row["p50"] <= row["p80"]
        assert row["gbps"] == pytest.approx(row["bytes"] / row["p50"] / 1e9)
        key = {k: row[k] for k in ("case", "n", "d", "dtype")}
        (ceiling,) = (
            r
            for r in rows
            if r["mode"] == "ceiling"
            and r["provider"] == row["ceiling"]
            and key.items() <= r.items()
        )
        assert row["share"] == pytest.approx(row["gbps"] / ceiling["gbps"])
        timed = row["mode"] != "ceiling" and row["provider"] != runner.AGAIN
        assert bool(row["faster"]) == timed
        # The control is what it controls, another time.
        if runner.AGAIN in row["faster"]:
            assert row["provider"] == "fastcos"
            again = key | {"mode": row["mode"], "provider": runner.AGAIN}
            (control,) = (r for r in rows if again.items() <= r.items())
            ratio = control["p50"] / row["p50"]
            assert row["faster"][runner.AGAIN]["ratio"] == pytest.approx(ratio)
    assert {r["mode"] for r in rows if runner.AGAIN in r["faster"]} == {VALUE, GRADIENT_OUT}
    assert {r["provider"] for r in rows if r["mode"] == "ceiling"} == {
        *("read", "read again", "copy", "copy again", "copy by NumPy")
    }


def test_report_and_check(results, capsys):
    page, given = results / "docs" / "speed" / "arrays.md", ["--root", str(results)]
    assert report.main([*given, "--check"]) == 1
    assert report.main(given) == 0
    assert report.main([*given, "--check"]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert text.count("\n| `") == 2 * len(report._SHOWN) + 2 * len(CASES)
    # Nothing was measured through torch: its part stays, and what is made of it and others.
    for document in ("docs/speed/torch.md", "README.md"):
        assert "\nold\n" in (results / document).read_text(encoding="utf-8")
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1
    assert (results / report.RESULTS / report.PICTURE).stat().st_size > 10_000
    page.write_text(text.replace("%", "‰", 1), encoding="utf-8")
    capsys.readouterr()
    assert report.main([*given, "--check"]) == 1
    assert capsys.readouterr().err.startswith("docs/speed/arrays.md is not")
    page.write_text(text, encoding="utf-8")
    assert report.main([*given, "--full"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 100


def test_table_shows_the_control_beside_the_ratios(results):
    run, rows = report.load(results / report.RESULTS / report.TABLE)
    (row,) = (
        r
        for r in rows
        if (r["case"], r["mode"], r["provider"], r["n"])
        == ("cosine_embedding_loss", VALUE, "fastcos", 40)
    )
    row["faster"] = {
        "numpy": {"ratio": 2.5, "p20": 0.5, "p80": 12.0},
        runner.AGAIN: {"ratio": 1.03, "p20": 0.98, "p80": 1.1},
    }
    text = report.table(report.Results(run, rows))
    assert " | 2.5× (0.50 to 12) |  | 1.03 (0.98 to 1.10) | " in text
    # Results from before the control was measured have none.
    del row["faster"][runner.AGAIN]
    assert " | 2.5× (0.50 to 12) |  |  | " in report.table(report.Results(run, rows))


def test_shares_are_shown_by_size_and_bold_below_the_target():
    def row(share, mode, n, dtype, provider="fastcos", gbps=1.0):
        given = {"case": "paired_distance:dot", "mode": mode, "provider": provider, "n": n, "d": 8}
        cache = "in" if n == 4 else "out"
        given |= {"dtype": dtype, "cache": cache, "share": share, "others": 0.01, "gbps": gbps}
        return given | {"faster": {} if mode == "ceiling" else {runner.AGAIN: {"ratio": 1.02}}}

    rows = [
        *(row(0.9, mode, 4, "float16") for mode in (VALUE, GRADIENT_OUT)),
        *(row(0.894, mode, 90, "float16") for mode in (VALUE, GRADIENT_OUT)),
        *(row(0.5, mode, 4, "float64") for mode in (VALUE, GRADIENT_OUT)),
        *(row(1.02, mode, 90, "float64") for mode in (VALUE, GRADIENT_OUT)),
        row(0.97, "ceiling", 4, "float16", "copy again"),
        *(row(1.0, "ceiling", 4, "float16", "read", gbps) for gbps in (83.4, 47.6, 50.0)),
        *(row(1.0, "ceiling", 90, "float16", "read", gbps) for gbps in (40.2, 39.8)),
        *(row(1.0, "ceiling", n, "float64", "read", 60.0) for n in (4, 90)),
        *(row(1.0, "ceiling", n, t, "copy", 70.0) for n in (4, 90) for t in ("float16", "float64")),
    ]
    run = {
        **dict.fromkeys(("cpu", "architecture", "cores", "threads", "threading_layer"), "some"),
        **{"caches": {}, "versions": {"numpy": "1"}, "commit": "0", "time": "2026-01-01"},
    }
    text = report.distance_tables(report.Results(run, rows))
    assert text.count("\n| `dot` | 90% / **89%** | **50%** / 102% |\n") == 2
    assert "4 × 8, in the L2 cache; 90 × 8, out of cache" in text
    assert "\n| *read, GB/s* | 48 to 83 / 40 | 60 / 60 |\n" in text
    assert "\n| *copy, GB/s* | 70 / 70 | 70 / 70 |\n" in text
    assert text.count("\n2 of 4 reach 90%.\n") == 2
    assert "1.02 to 1.02 of the first" in text


def test_all_runs_each_in_a_process_and_renders(results, monkeypatch, tmp_path):
    commands, rendered = [], []

    def run(arguments, *, check):
        assert check
        commands.append(arguments)

    monkeypatch.setattr(command.subprocess, "run", run)
    monkeypatch.setattr(report, "main", lambda arguments: rendered.append(arguments) or 0)
    assert command.main(["all", "--quick", "--root", str(tmp_path)]) == 0
    assert rendered == [["--root", str(tmp_path)]]
    assert (tmp_path / report.RESULTS).is_dir()
    names = [
        *(report.TABLE, report.SWEEP, report.DISTANCES, report.TORCH, report.TORCH_WARM),
        *(report.ROWS, report.LISTWISE, report.NEAREST, report.SCALE, report.THREADS, report.START),
        report.ACCURACY,
    ]
    for name, given in zip(names, commands, strict=True):
        assert given[:3] == [sys.executable, "-m", "bench"]
        assert "--quick" in given
        # What goes into the file of results does not tell where somebody keeps it.
        assert given[-2] == "--json"
        assert given[-1].endswith(name)
        assert not given[-1].startswith("/")


def test_warm_calls_are_on_one_set_whatever_its_size(tmp_path):
    path, arguments = tmp_path / "rows.jsonl", ["--cases", "cosine_similarity", "--peers", "none"]
    arguments += ["--sizes", "2048x768", "--repeats", "1", "--json", str(path)]
    for more, cache in (([], "out"), (["--warm"], "in")):
        assert command.main([*arguments, *more]) == 0
        assert {row["cache"] for row in report.load(path).rows} == {cache}


def test_all_makes_what_the_notes_say():
    import shlex

    notes = (report.ROOT / "bench" / "README.md").read_text(encoding="utf-8")
    for name, run in command.RUNS:
        line = shlex.join(["python", "-m", "bench", *run, "--json", f"bench/results/{name}"])
        assert f"| `results/{name}` | `{line}` |" in notes


def test_what_it_takes_to_begin(monkeypatch, tmp_path, capsys):
    imported, called = start.seconds("fastcos.show_config()", tmp_path)
    assert imported > 0
    assert called > 0
    seen = []

    def seconds(call, cache):
        # The second process finds what the first has compiled.
        seen.append((call, cache))
        return 0.1, 0.4 if seen.count((call, cache)) > 1 else 6.0

    monkeypatch.setattr(start, "seconds", seconds)
    path = tmp_path / report.START
    assert start.main(["--repeats", "4", "--compilations", "2", "--json", str(path)]) == 0
    assert len(seen) == 6 * len(start.CALLS)
    results = report.load(path)
    by_mode = {(row["case"], row["mode"]): row for row in results.rows}
    assert by_mode["fastcos", start.IMPORT]["repeats"] == len(seen)
    for case in start.CALLS:
        assert by_mode[case, start.COMPILED]["p50"] == 6
        assert by_mode[case, start.KEPT]["p50"] == 0.4
    table = report.start_table(results)
    assert (
        "| `triplet_margin_loss` |  | **6 s** (6 s to 6 s) | 400 ms (400 ms to 400 ms) |" in table
    )
    assert "| `fastcos` | 100 ms (100 ms to 100 ms) |  |  |" in table
    assert "compiled     6.000 s" in capsys.readouterr().out


def test_a_slower_one_is_shown_in_bold():
    assert [report._times(r) for r in (12.34, 1.26, 1.0, 0.996, 0.5)] == [
        *("12×", "1.3×", "1.0×", "**1.0×**", "**0.50×**")
    ]


def test_the_control_is_neither_won_nor_lost():
    assert report._over("numpy", {"ratio": 0.9}) == "**0.90×** numpy"
    assert report._over(runner.AGAIN, {"ratio": 0.9}) == "0.90 fastcos again"


def test_markers_are_needed():
    start, stop = report.markers("bench")
    for text in ("", start, stop + start, (start + stop) * 2):
        with pytest.raises(ValueError, match="must hold"):
            report.rendered(text, "bench", "")


@pytest.mark.parametrize(
    "arguments",
    [
        *(["--cases", "none"], ["--sizes", "3by4"], ["--dtype", "int8"]),
        *(["--repeats", "0"], ["--peers", "nobody"], ["--peers", "numpy,none"]),
    ],
)
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit):
        command.main(arguments)
    assert arguments[0] in capsys.readouterr().err


def test_environment_is_json_without_host_name():
    import platform

    text = json.dumps(runner.environment(runner.SUITE, []))
    assert f'"{platform.node()}"' not in text


def test_the_short_table_has_every_line():
    found = [report.load(report.ROOT / report.RESULTS / name) for name in report.SHORT]
    text = report.short_table(*found)
    for line in short_report.LINES:
        (shown,) = (row for row in text.splitlines() if row.startswith(f"| {line.title} |"))
        assert len(re.findall(r"\d×", shown)) == len(line.peers)
    # Where fastcos is behind is shown like the rest.
    assert len(re.findall(r"\*\*[\d.]+×\*\*", text)) >= 3
    # A line that was not measured is left out, and so is a peer.
    table = report.Results(found[0].run, [r for r in found[0].rows if r["n"] != 8192])
    searches = [r | {"faster": {"torch": 2.0}} for r in found[-1].rows if r["part"] == "time"]
    text = report.short_table(table, *found[1:-1], report.Results(found[-1].run, searches))
    assert text.count("\n| ") == 1 + len(short_report.LINES) - 2
    assert text.count(" | 2.0× torch |\n") == 2
