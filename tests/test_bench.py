"""The bench times what it says: providers of a case agree, rows add up, reports render."""

import json

import numpy as np
import pytest

from bench import __main__ as command
from bench import report, runner
from bench.cases import CASES, GRADIENT, GRADIENT_OUT, VALUE, calls, counted_bytes, draw

# Relative to the largest number of the array. NumPy adds up in the dtype of the rows.
TOLERANCE = {"float32": 2e-5, "float64": 1e-12}


def _flat(result):
    """A value, or a value and gradients, as float64 arrays."""
    if isinstance(result, tuple):
        return [array for part in result for array in _flat(part)]
    return [np.asarray(result, dtype=np.float64)]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
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
            assert error <= TOLERANCE[dtype] * np.abs(want).max(), (mode, provider)
    for array, copy in zip(case.inputs(given), before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_formulas_stay_in_the_dtype_of_the_rows(case):
    # A float64 that slips in would make NumPy look slow.
    value, pull = case.formula(*case.inputs(draw(21, 13, "float32")))
    assert {np.asarray(a).dtype.name for a in (value, *pull(1))} == {"float32"}


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
    """A run of every case, too short to mean anything."""
    folder = tmp_path_factory.mktemp("results")
    path = folder / report.TABLE
    large = "x".join(map(str, report._LARGE))
    patched = pytest.MonkeyPatch()
    with patched.context() as patch:
        patch.setattr(report, "_LARGE", (40, 24))
        patch.setattr(report, "_SMALL", (8, 24))
        patch.setattr(runner, "SAMPLE", 0.0)
        status = command.main(["--sizes", "40x24,8x24", "--repeats", "2", "--json", str(path)])
        assert status == 0
        (folder / report.SWEEP).write_bytes(path.read_bytes())
        assert large not in path.read_text(encoding="utf-8")
        yield folder


def test_rows(results):
    run, rows = report.load(results / report.TABLE)
    assert run["versions"].keys() >= {"python", "numpy", "numba", "llvmlite", "scipy", "fastcos"}
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
        if row["mode"] != "ceiling":
            assert row["faster"]
    assert {r["provider"] for r in rows if r["mode"] == "ceiling"} == {
        *("read", "read again", "copy", "copy again", "copy by NumPy")
    }


def test_report_and_check(results, tmp_path, capsys):
    readme = tmp_path / "README.md"
    given = ["--readme", str(readme), "--results", str(results)]
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", encoding="utf-8")
    assert report.main([*given, "--check"]) == 1
    assert report.main(given) == 0
    assert report.main([*given, "--check"]) == 0
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert text.count("\n| `") == len(report._SHOWN)
    assert (results / report.PLOT).stat().st_size > 10_000
    readme.write_text(text.replace("%", "‰", 1), encoding="utf-8")
    assert report.main([*given, "--check"]) == 1
    capsys.readouterr()
    assert report.main([*given, "--full"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 100


def test_a_slower_one_is_shown_in_bold():
    assert [report._times(r) for r in (12.34, 1.26, 1.0, 0.996, 0.5)] == [
        *("12×", "1.3×", "1.0×", "**1.0×**", "**0.50×**")
    ]


def test_markers_are_needed():
    for text in ("", report.BEGIN, report.END + report.BEGIN, (report.BEGIN + report.END) * 2):
        with pytest.raises(ValueError, match="must hold"):
            report.rendered(text, "")


@pytest.mark.parametrize(
    "arguments", [["--cases", "none"], ["--sizes", "3by4"], ["--dtype", "int8"], ["--repeats", "0"]]
)
def test_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit):
        command.main(arguments)
    assert arguments[0] in capsys.readouterr().err


def test_environment_is_json_without_host_name():
    import platform

    text = json.dumps(runner.environment([]))
    assert f'"{platform.node()}"' not in text
