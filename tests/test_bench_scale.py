"""The bench of several processes: that it runs, and what is rendered of it."""

import pytest

from bench import __main__ as command
from bench import report, scale

pytest.importorskip("dask")
pytest.importorskip("torch")


def test_it_runs_and_renders(tmp_path):
    folder = tmp_path / report.RESULTS
    folder.mkdir(parents=True)
    path = folder / report.SCALE
    assert command.main(["scale", "--quick", "--json", str(path)]) == 0
    run, rows = report.load(path)
    assert run["versions"].keys() >= {"fastcos", "numpy", "dask", "distributed", "torch"}
    assert {row["case"] for row in rows} == {
        *("pairs", "nearest", "pairs on Dask", "nearest on Dask", "blocks of a graph", "InfoNCE"),
    }
    assert all(row["seconds"] > 0 for row in rows)
    text = report.scale_table(report.Results(run, rows))
    assert text.count("\n| ") == 2 + len(rows)
    assert "| InfoNCE | 2 processes of 1 thread | 64 × 768 |" in text


def test_a_rate_has_two_digits():
    row = scale.Measured("pairs", "one call", 123_456, 8, 1.0, 4_000_000_000, 5e10)._asdict()
    run = {
        **dict.fromkeys(("cpu", "architecture", "cores", "threads", "threading_layer"), "some"),
        **{"caches": {}, "versions": {"numpy": "1"}, "commit": "0", "time": "2026-01-01"},
    }
    text = report.scale_table(report.Results(run, [row]))
    assert "| pairs | one call | 123,456 × 8 | 1 s | 120,000 | 4.0 | 50 |" in text
