"""The bench of learned projections: figures are right, rows are complete, tables render."""

import importlib.util
import json
import math
import re
import shutil

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn import datasets

from bench import __main__ as command
from bench import learners, learners_cases, learners_report, report
from bench.learners_cases import COSINE, DATA_SETS, EUCLIDEAN, METHODS, METRIC_LEARN, OURS, Split
from bench.report import AGAIN

NAMES = [method.name for method in METHODS]
TUNED = [method.name for method in METHODS if method.tried]


def _method(name):
    return next(method for method in METHODS if method.name == name)


def test_splits():
    for data in DATA_SETS:
        one, again, other = (learners_cases.split(data, seed) for seed in (0, 0, 1))
        for mine, same in zip(one, again, strict=True):
            np.testing.assert_array_equal(mine, same)
        assert not np.array_equal(one.train_labels, other.train_labels)
        assert abs(len(one.train) - len(one.held_out)) <= 1
        shares = [np.bincount(labels) for labels in (one.train_labels, one.held_out_labels)]
        assert np.abs(shares[0] - shares[1]).max() <= 1
        if data.highest:
            assert one.train.min() == 0
            assert one.train.max() == 1
        else:  # by the training half alone
            np.testing.assert_allclose(one.train.mean(axis=0), 0, atol=1e-12)
            assert np.abs(one.held_out.mean(axis=0)).max() > 1e-3


def test_figures():
    """Few rows, of which both figures can be told by hand, and differ by distance."""
    train = np.array([[1.0, 0.0], [0.0, 1.0]])
    held_out = np.array([[9.0, 1.0], [0.5, 0.1], [0.1, 0.8], [0.1, 9.0]])
    halves = Split(train, np.array([0, 1]), held_out, np.array([0, 0, 1, 1]))
    nothing = _method("no projection").make(2, 0).fit(train)
    found = learners_cases.evaluate(nothing, halves)
    assert found.accuracy == {EUCLIDEAN: 1, COSINE: 1}
    # The second and the third are nearer to each other than to their like.
    assert found.map_at_r == {EUCLIDEAN: 0.5, COSINE: 1}


def test_settings_are_chosen_within_the_training_half(monkeypatch):
    halves = learners_cases.split(DATA_SETS[1], 0)
    asked = []

    def evaluate(estimator, part):
        asked.append((estimator.max_iter, len(part.train), len(part.held_out)))
        good = 0.9 if estimator.max_iter == 5 else 0.8
        return learners_cases.Quality(
            {EUCLIDEAN: good, COSINE: 0.0}, {EUCLIDEAN: 0.0, COSINE: good}
        )

    monkeypatch.setattr(learners_cases, "evaluate", evaluate)
    nca = _method("NCA")
    assert learners_cases.chosen(nca, halves, 4, 0) == {"max_iter": 5}
    assert len(asked) == learners_cases.FOLDS * (1 + len(nca.tried))
    assert {sum(sizes) for _, *sizes in asked} == {len(halves.train)}
    # Of equal ones the defaults.
    assert learners_cases.chosen(nca._replace(tried=({"tol": 1e-4},)), halves, 4, 0) == {}


def test_all_have_the_same_effort():
    assert {len(_method(name).tried) for name in TUNED} == {2}
    assert OURS in TUNED


def test_every_method_can_be_made():
    there = importlib.util.find_spec("metric_learn") is not None
    for method in METHODS:
        if method.library == METRIC_LEARN and not there:
            continue
        for settings in ({}, *method.tried):
            learners_cases.with_settings(method.make(2, 0), settings)
    why = learners_cases.why_not(METRIC_LEARN)
    assert there or why == "ModuleNotFoundError: No module named 'metric_learn'"
    assert learners_cases.why_not(learners_cases.SKLEARN) == ""


@pytest.fixture
def tiny(monkeypatch):
    """Runs on a few rows, without what others may have installed."""
    data = DATA_SETS[1]

    def load(return_X_y):
        rows, labels = datasets.load_wine(return_X_y=return_X_y)
        return rows[::3], labels[::3]

    monkeypatch.setattr(learners, "DATA_SETS", (data._replace(load=load, splits=2),))
    monkeypatch.setattr(learners, "_ASLEEP", 0.0)
    monkeypatch.setattr(learners_cases, "why_not", lambda library: "ImportError: not here")


def test_rows(tiny, tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    assert command.main(["learners", "--quick", "--json", str(path)]) == 0
    said = capsys.readouterr().out
    assert "metric-learn is left out (ImportError: not here)" in said
    assert "wine  30x13, 2 splits" in said
    run, rows = report.load(path)
    assert run["left_out"] == {METRIC_LEARN: "ImportError: not here"}
    assert run["blas_threads"] == 1
    assert METRIC_LEARN not in run["versions"]
    there = [method.name for method in METHODS if method.library != METRIC_LEARN]
    tuned = [name for name in TUNED if name in there]
    keys = [(row["provider"], row["tuned"]) for row in rows]
    assert keys == [*((n, False) for n in there), *((n, True) for n in tuned), (AGAIN, False)]
    for row in rows:
        assert row.keys() == {*learners.Row._fields, "kind"}
        assert len(row["seconds"]) == 2
        assert min(row["seconds"]) > 0
        assert len(row["settings"]) == 2 * row["tuned"]
        for figure in (row["accuracy"], row["map_at_r"]):
            assert {len(values) for values in figure.values()} == {2}
            assert all(0 < value <= 1 for values in figure.values() for value in values)
        wanted = {"LDA": 2, "no projection": 13}.get(row["provider"], 6)
        assert row["components"] == wanted
    text = learners_report.tables(report.Results(run, rows))
    assert "metric-learn is left out: ImportError: not here." in text
    assert "| fastcos, tuned | " in text


def test_a_run_fails_where_the_same_fit_differs(tiny, monkeypatch):
    count = iter(range(1000))
    same = {EUCLIDEAN: 0.5, COSINE: 0.5}
    monkeypatch.setattr(
        learners_cases,
        "evaluate",
        lambda estimator, halves: learners_cases.Quality({EUCLIDEAN: next(count)}, same),
    )
    with pytest.raises(ValueError, match="the same fit has other figures"):
        learners.measure(learners.DATA_SETS[0], [_method(OURS)], 1, tuning=False)


@pytest.mark.parametrize(
    ("option", "given"),
    [
        *(("--data", "iris"), ("--methods", "nobody"), ("--splits", "0")),
        ("--blas-threads", "0"),
    ],
)
def test_bad_arguments(option, given, capsys):
    with pytest.raises(SystemExit):
        command.main(["learners", option, given])
    assert option in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------
# Rendered
# --------------------------------------------------------------------------------------------------

RUN = {
    **dict.fromkeys(("cpu", "architecture", "cores", "threads", "threading_layer"), "some"),
    **{"caches": {}, "versions": {"metric-learn": "7"}, "commit": "0", "time": "2026-01-01"},
    **{"blas": ["some 1.0"], "blas_threads": 1, "left_out": {}, "kind": "run"},
    "first_fit": {"compiled": 4.0, "kept": 0.5},
}


def _row(provider, accuracy, map_at_r, seconds, tuned=False, settings=()):
    library = next((m.library for m in METHODS if m.name == provider), OURS)
    row = learners.Row(
        *("digits", provider, library, tuned, 898, 64, 10, 32),
        *(dict(zip((EUCLIDEAN, COSINE), of, strict=True)) for of in (accuracy, map_at_r)),
        *([seconds] * len(accuracy[0]), list(settings), 0.02),
    )
    return {"kind": "result", **row._asdict()}


ROWS = [
    _row(OURS, ([0.97, 0.99], [0.98, 0.98]), ([0.5, 0.5], [0.7, 0.72]), 0.5),
    _row("LMNN", ([0.98, 1.0], [0.9, 0.9]), ([0.6, 0.6], [0.6, 0.6]), 7.0),
    _row("PCA", ([0.9, 0.9], [0.91, 0.91]), ([0.4, 0.4], [0.4, 0.4]), 0.25),
    _row("no projection", ([0.9, 0.9], [0.9, 0.9]), ([0.4, 0.4], [0.4, 0.4]), 0.001),
    _row(OURS, ([0.9, 0.9], [0.9, 0.9]), ([0.4, 0.4], [0.4, 0.4]), 9.0, True, ({}, {"a": 1})),
    _row("LMNN", ([0.9, 0.9], [0.8, 0.8]), ([0.4, 0.4], [0.3, 0.3]), 8.0, True, ({}, {})),
    _row(AGAIN, ([0.97, 0.99], [0.98, 0.98]), ([0.5, 0.5], [0.7, 0.72]), 0.6),
]


def test_tables():
    text = learners_report.tables(report.Results(RUN, ROWS))
    assert "metric-learn 7" in text
    assert "Products are by some 1.0, with 1 thread." in text
    assert "| digits: 898 × 64, 10 classes, 32 components, 2 splits | 1-NN, euclidean |" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    # Better ones are bold by each distance; times of all that are shorter, but of nothing learned.
    for line in (
        "| fastcos | 98.0 ± 1.0 | 98.0 ± 0.0 | 50.0 ± 0.0 | 71.0 ± 1.0 | 500 ms |  |",
        "| LMNN | **99.0 ± 1.0** | 90.0 ± 0.0 | **60.0 ± 0.0** | 60.0 ± 0.0 | 7 s |  |",
        "| PCA | 90.0 ± 0.0 | 91.0 ± 0.0 | 40.0 ± 0.0 | 40.0 ± 0.0 | **250 ms** |  |",
        "| no projection | 90.0 ± 0.0 | 90.0 ± 0.0 | 40.0 ± 0.0 | 40.0 ± 0.0 | – |  |",
        # Tuned ones are compared with ours tuned: as good is not better, and 8 s is less than 9.
        "| LMNN, tuned | 90.0 ± 0.0 | 80.0 ± 0.0 | 40.0 ± 0.0 | 30.0 ± 0.0 | **8 s** |"
        " defaults (2) |",
    ):
        assert line in lines
    assert "| defaults (1), `a=1` (1) |" in text
    assert AGAIN not in text
    assert "took 1.20 to 1.20 of the time" in text
    assert text.endswith("later ones.\n")
    assert "4 s with nothing compiled, 500 ms with kernels on disk" in text


def test_comparisons():
    found = {
        key: ahead
        for *key, ahead in map(tuple, learners_report.comparisons(_results()))
        for key in [tuple(key)]
    }
    assert len(found) == 2 * 4
    ahead = found["digits", "LMNN", False, "accuracy"]
    # Each by the better distance: of ours, which has the same mean by both, the first.
    assert ahead == pytest.approx((0.01, 0.0))
    assert found["digits", "LMNN", False, "map_at_r"] == pytest.approx((-0.11, 0.01))
    assert found["digits", "LMNN", True, "accuracy"] == (0, 0)
    text = learners_report.tables(_results())
    assert (
        "Of 4 comparisons by 1-NN fastcos is behind in 1, by more than 2 standard errors of the"
        " difference within splits in 1, and ahead by more than that in 2."
    ) in text
    assert "Of 4 comparisons by MAP@R fastcos is behind in 0," in text


def _results():
    return report.Results(RUN, ROWS)


def test_one_split_has_no_error():
    assert learners_report.mean_of([0.5]).mean == 0.5
    assert math.isnan(learners_report.mean_of([0.5]).error)
    assert learners_report._percent(learners_report.mean_of([0.5])) == "50.0"
    mean, error = learners_report.mean_of([1.0, 2.0, 3.0, 4.0])
    assert mean == 2.5
    assert error == pytest.approx(np.std([1, 2, 3, 4], ddof=1) / 2)


def test_report_and_check(tmp_path, capsys):
    """The page of this repository copes with results and without."""
    (tmp_path / report.RESULTS).mkdir(parents=True)
    page = tmp_path / "docs" / "speed" / "learners.md"
    page.parent.mkdir(parents=True)
    shutil.copy(report.ROOT / "docs" / "speed" / page.name, page)
    given = ["--root", str(tmp_path)]
    assert report.main([*given, "--check"]) == 0
    path = tmp_path / report.RESULTS / report.LEARNERS
    path.write_text("\n".join(map(json.dumps, [RUN, *ROWS])) + "\n", encoding="utf-8")
    assert report.main([*given, "--check"]) == 1
    assert report.main(given) == 0
    assert report.main([*given, "--check"]) == 0
    assert "| LMNN | **99.0 ± 1.0** |" in page.read_text("utf-8")
    capsys.readouterr()
    assert report.main([*given, "--full"]) == 0
    assert "| digits | fastcos, tuned | 32 of 64 |" in capsys.readouterr().out


# --------------------------------------------------------------------------------------------------
# Committed
# --------------------------------------------------------------------------------------------------

COMMITTED = report.ROOT / report.RESULTS / report.LEARNERS


@pytest.mark.skipif(not COMMITTED.exists(), reason="not measured yet")
def test_committed_results_hold_everybody():
    run, rows = report.load(COMMITTED)
    assert run["left_out"] == {}
    assert {"scikit-learn", METRIC_LEARN, "numba"} <= run["versions"].keys()
    found = {(row["case"], row["provider"], row["tuned"]): row for row in rows}
    contenders = [*((n, False) for n in (*NAMES, AGAIN)), *((n, True) for n in TUNED)]
    assert found.keys() == {(data.name, *each) for data in DATA_SETS for each in contenders}
    for data in DATA_SETS:
        splits = {len(row["seconds"]) for row in rows if row["case"] == data.name}
        assert splits == {data.splits}
    # Nothing names the machine, or where somebody keeps what.
    text = COMMITTED.read_text(encoding="utf-8")
    assert not re.search(r"[\" ](/|[A-Z]:\\\\)", text)
