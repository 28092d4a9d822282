"""The bench of accuracy: the truth is true, providers are judged right, the page is rendered."""

import ast
import functools
import json
import re
import shutil

import ml_dtypes
import numpy as np
import oracle
import pytest

from bench import __main__ as command
from bench import accuracy, accuracy_report, report, runner
from bench.accuracy import COSINE, EUCLIDEAN, TRIPLET, Answer

PAGE = "docs/accuracy.md"
ORACLES = {
    COSINE: functools.partial(oracle.distance, "cosine"),
    EUCLIDEAN: functools.partial(oracle.distance, "euclidean"),
}


# --------------------------------------------------------------------------------------------------
# The truth, and how far from it something is
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precise", [False, True])
def test_the_truth_is_that_of_the_oracle(rng, precise):
    a, p, n = rng.standard_normal((3, 4, 17))
    expected = {name: formula(a, p) for name, formula in ORACLES.items()}
    given = oracle.loss("triplet_margin_loss", (a, p, n), reduction="none")
    expected[TRIPLET] = (given.value, *given.grads)
    right = given.value > 0
    assert right.any()
    for function, parts in expected.items():
        rows = (a, p, n) if function == TRIPLET else (a, p)
        found = accuracy.truth(function, [row[right] for row in rows], precise=precise)
        for one, other in zip(found, parts, strict=True):
            assert one.dtype == (object if precise else np.float64)
            np.testing.assert_allclose(
                one.astype(np.float64), other[right].astype(np.float64), rtol=1e-13, atol=1e-15
            )


def test_the_truth_of_rows_that_are_nearly_parallel(rng):
    for gap, dtype in ((1e-3, "float32"), (1e-12, "float32"), (1e-18, "float64")):
        x, y = accuracy.near(rng, gap, (3, 29), dtype)
        d, gx, _ = accuracy.truth(COSINE, (x, y), precise=True)
        for i in range(3):
            right = oracle.precise_cosine_distance(x[i], y[i])
            assert abs(d[i] - right) < 1e-25 * right
            assert 0.3 * gap < right < 3 * gap
            slope = oracle.precise_cosine_gradient(x[i], y[i])
            np.testing.assert_allclose(gx[i].astype(np.float64), slope, rtol=1e-15)


def test_units():
    for dtype in (np.float16, ml_dtypes.bfloat16, np.float32, np.float64):
        for scale in (1.0, 1.5, 0.99, 3e-8, 1e4):
            assert accuracy.ulp(scale, dtype) == oracle.ulp(scale, dtype)


def test_errors_are_seen():
    right = np.array([1.0, 3.0]), np.array([[1.0, 1e-3], [4.0, 2.0]])
    eps = float(np.finfo(np.float32).eps)

    def found(value, gradient):
        answer = Answer(np.array(value), (np.array(gradient),))
        return accuracy.in_ulps(answer, right, "float32"), accuracy.relative(answer, right)

    assert found(*right) == ({"value": 0, "gradient": 0},) * 2
    # Of a gradient the unit is that of the largest component.
    units, shares = found([1 + 3 * eps, 3.0], [[1.0, 1e-3 + 2 * eps], [4.0, 2.0]])
    assert units == {"value": pytest.approx(3), "gradient": pytest.approx(2, rel=1e-6)}
    assert shares["value"] == pytest.approx(3 * eps)
    assert shares["gradient"] == pytest.approx(2 * eps, rel=1e-6)
    for bad, text in ((np.nan, "nan"), (np.inf, "inf")):
        for figures in found([1.0, bad], [[bad, 0], [0, 0]]):
            assert figures == {"value": text, "gradient": text}
    assert accuracy.in_ulps(Answer(right[0]), right, "float32") == {"value": 0}
    precise = [np.frompyfunc(accuracy.mpmath.mpf, 1, 1)(part) for part in right]
    assert accuracy.in_ulps(Answer(right[0]), precise, "float64") == {"value": 0}


# --------------------------------------------------------------------------------------------------
# A run
# --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    path = tmp_path_factory.mktemp("accuracy") / report.ACCURACY
    assert command.main(["accuracy", "--quick", "--json", str(path)]) == 0
    return report.load(path)


def test_it_runs(results):
    run, rows = results
    assert run["command"].startswith("python -m bench accuracy --quick")
    assert run["versions"].keys() >= {"numpy", "scipy", "scikit-learn", "mpmath"}
    assert {row["part"] for row in rows} >= {*report.ACCURACY_PARTS[1:]} - {"threads"}
    names = {provider.name for provider in accuracy.providers()}
    assert {row["provider"] for row in rows} - {"pml"} == names
    assert names <= accuracy_report._NAMES.keys()
    # What is no number has a name, as JSON has none for it.
    for row in rows:
        assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_fastcos_keeps_what_is_promised(results):
    own = [row for row in results.rows if row["provider"] == runner.OURS]
    for row in own:
        figures = row["figures"]
        if row["part"] in (accuracy.ORDINARY, accuracy.SCALED):
            assert max(figures.values()) <= oracle.ULPS[row["dtype"]], row
        elif row["part"] == accuracy.PARALLEL:
            assert max(figures.values()) < 1e-6, row
        elif row["part"] == accuracy.EQUAL:
            assert figures == {"not 0": 0, "negative": 0, "largest": 0}, row
        elif row["part"] == accuracy.ZERO:
            assert figures == {"with a row": 0, "both": 0, "gradient": 0}, row
        elif row["part"] == accuracy.BAD:
            far = row["case"] == "inf" and row["function"] == EUCLIDEAN
            assert figures == {"own": "inf" if far else "nan", "others": True}, row
        elif row["part"] == accuracy.THREADS:
            assert (figures["value"], figures["gradient"]) == (0, 0), row


def test_kinks_are_torchs(results):
    kinks = [row for row in results.rows if row["part"] == accuracy.KINKS]
    by_name = {(row["provider"], row["case"]): row["figures"] for row in kinks}
    ours = {case: figures for (name, case), figures in by_name.items() if name == runner.OURS}
    assert len(ours) == 7
    if accuracy.torch is not None:
        assert {case: by_name["torch", case] for case in ours} == ours


def test_whoever_is_missing_is_left_out(monkeypatch, tmp_path, capsys):
    for name in ("torch", "pml", "simsimd", "numkong"):
        monkeypatch.setattr(accuracy, name, None)
    monkeypatch.setattr(accuracy.cases, "MISSING", ("simsimd", "numkong"))
    left = ["fastcos", "numpy", "numpy float64", "scikit-learn", "scipy", "scipy cdist"]
    assert [provider.name for provider in accuracy.providers()] == left
    parts = accuracy.KINKS, accuracy.THREADS
    monkeypatch.setattr(accuracy, "PARTS", {part: accuracy.PARTS[part] for part in parts})
    path = tmp_path / report.ACCURACY
    assert command.main(["accuracy", "--quick", "--json", str(path)]) == 0
    assert "pytorch-metric-learning is not installed and left out" in capsys.readouterr().out
    run, rows = report.load(path)
    assert run["missing"] == ["simsimd", "numkong", "torch", "pytorch-metric-learning"]
    assert {row["provider"] for row in rows} == {runner.OURS}


# --------------------------------------------------------------------------------------------------
# The page
# --------------------------------------------------------------------------------------------------


def _row(part, provider, figures, case="", function=COSINE, dtype="float32"):
    keys = "part", "function", "provider", "dtype", "case", "figures"
    return dict(zip(keys, (part, function, provider, dtype, case, figures), strict=True))


def _shown(part, *rows):
    return accuracy_report.part(part, report.Results({}, list(rows)))


def test_units_are_bold_beyond_the_promise():
    rows = [
        *(_row("ordinary", "torch", {"value": v}, f"128, {k}") for k, v in
          (("both signs", 4.0), ("one sign", 240.3))),
        _row("ordinary", "torch", {"value": "nan", "gradient": 9e6}, "1000, both signs"),
        _row("ordinary", "fastcos", {"value": 0.2, "gradient": 2.25}, "1000, both signs"),
    ]  # fmt: skip
    text = _shown("ordinary", *rows)
    assert "| torch | 4.0 | **240** | **NaN** / **lost** | – |" in text
    assert "| fastcos | – | – | 0.5 / 2.2 | – |" in text
    rows = [_row("scaled", "fastcos", {"value": u}, "1e+200", dtype="float64") for u in (5, 31)]
    assert "| 1 - c | 1e200, float64 |" in _shown("scaled", *rows)
    assert "| fastcos | 31 |" in _shown("scaled", *rows)


@pytest.mark.parametrize("dtype", oracle.ULPS)
def test_the_promise_is_that_of_the_tests(dtype):
    promised = float(oracle.ULPS[dtype])
    assert not accuracy_report._units(promised, dtype).startswith("**")
    assert accuracy_report._units(1.1 * promised, dtype).startswith("**")


def test_shares_are_bold_beyond_the_promise():
    figures = {"1e-06": {"value": 3e-8}, "1e-09": {"value": 2e-6}, "1e-10": {"value": 1.2}}
    rows = [_row("parallel", "numpy", given, case) for case, given in figures.items()]
    text = _shown("parallel", *rows)
    assert "| 1 - c, float32 | 1e-6 | 1e-9 | 1e-10 |" in text
    assert "| NumPy | 3e-8 | **2e-6** | **lost** |" in text


def test_singular_rows_and_threads_are_shown():
    equal = {"not 0": 0.59, "negative": 0.004, "largest": 4e-7}
    assert "| torch | **59%**, 0.4% below 0, to 4e-07 |" in _shown(
        "equal", _row("equal", "torch", equal)
    )
    zero = {"with a row": 0.5, "both": "nan", "gradient": 1.2e7}
    assert "| torch | **0.5** | **NaN** | **1.2e7** |" in _shown(
        "zero", _row("zero", "torch", zero)
    )
    for figures, case, cell in (
        ({"refused": True}, "nan", "refused"),
        ({"own": "nan", "others": True}, "nan", "NaN"),
        ({"own": "nan", "others": False}, "nan", "**NaN, and others**"),
        ({"own": 1.0, "others": True}, "nan", "**1**"),
        ({"own": "inf", "others": True}, "inf", "inf"),
    ):
        assert f"| SciPy | {cell} |" in _shown("bad", _row("bad", "scipy", figures, case))
    threads = {"value": 2, "gradient": 0, "of": 10}
    assert "| `loss` | **2 of 10** / 0 of 10 |" in _shown(
        "threads", _row("threads", "torch", threads, function="loss")
    )
    kinks = [_row("kinks", "fastcos", {"gradient": [[1.0, -0.5]]}, "0")]
    kinks.append(_row("kinks", "pml", {"gradient": [[0.0, 0.0]]}, "0"))
    assert "| 0 | (1, -0.5) | **(0, 0)** |" in _shown("kinks", *kinks)


def test_report_and_check(results, tmp_path, capsys):
    """The page is what the committed results render to; others are rendered, too."""
    folder = tmp_path / report.RESULTS
    folder.mkdir(parents=True)
    (tmp_path / PAGE).parent.mkdir()
    shutil.copy(report.ROOT / PAGE, tmp_path / PAGE)
    shutil.copy(report.ROOT / report.RESULTS / report.ACCURACY, folder)
    given = ["--root", str(tmp_path)]
    assert report.main([*given, "--check"]) == 0
    entries = [results.run, *results.rows]
    text = "\n".join(map(json.dumps, entries)) + "\n"
    (folder / report.ACCURACY).write_text(text, encoding="utf-8")
    assert report.main([*given, "--check"]) == 1
    assert report.main(given) == 0
    assert report.main([*given, "--check"]) == 0
    for block in (tmp_path / PAGE).read_text(encoding="utf-8").split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1
    capsys.readouterr()
    assert report.main([*given, "--full"]) == 0
    assert capsys.readouterr().out.count("\n") > len(results.rows)


def test_the_tests_that_the_page_names_are_there():
    text = (report.ROOT / PAGE).read_text(encoding="utf-8")
    named = re.findall(r"`(\w+\.py)::(\w+)`", text)
    assert len(named) >= 20
    for file in {file for file, _ in named}:
        tree = ast.parse((report.ROOT / "tests" / file).read_text(encoding="utf-8"))
        there = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert {test for other, test in named if other == file} <= there
