"""The bench of several numbers of threads: that it runs, and what is rendered of it."""

import json
import os
import subprocess
import sys

import pytest

from bench import __main__ as command
from bench import picture, report, runner, serial, threads


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A run with more threads than there are cores, too short to mean anything."""
    most = 2 * (os.cpu_count() or 1) + 1
    path = tmp_path_factory.mktemp("results") / report.THREADS
    given = ["--cases", "cosine_embedding_loss", "--sizes", "8x24,512x64", "--repeats", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--threads", f"2,{most}", *given, "--json", str(path)],
        cwd=report.ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "NUMBA_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"},
    )
    assert done.returncode == 0, done.stderr
    assert f"\n  {most:>3} value_and_grad_out fastcos " in done.stdout
    return path


def test_every_number_has_the_same_rows(path):
    run, rows = report.load(path)
    counts = sorted({row["threads"] for row in rows})
    assert counts[:2] == [1, 2]
    assert run["threads"] == counts[-1] > run["cores"]
    assert run["command"].startswith(f"python -m bench --threads 2,{counts[-1]} ")
    by_count = [
        [(r["n"], r["mode"], r["provider"]) for r in rows if r["threads"] == count]
        for count in counts
    ]
    assert by_count[0] == by_count[1] == by_count[2]
    assert len(set(by_count[0])) == len(by_count[0]) == 2 * 9
    for row in rows:
        key = {k: row[k] for k in ("n", "mode", "provider")}
        (alone,) = (r for r in rows if {**key, "threads": 1}.items() <= r.items())
        assert row["faster"][report.ALONE]["ratio"] == pytest.approx(alone["p50"] / row["p50"])
        # The ceiling is that on as many threads.
        key |= {"mode": "ceiling", "provider": row["ceiling"], "threads": row["threads"]}
        (ceiling,) = (r for r in rows if key.items() <= r.items())
        assert row["share"] == pytest.approx(row["gbps"] / ceiling["gbps"])


def test_it_is_rendered(path, tmp_path):
    results = report.load(path)
    text = report.threads_tables(results)
    most = results.run["threads"]
    assert f"| 512 × 64, in cache | 1 thread | 2 threads | {most} threads |" in text
    assert text.count("\n| `cosine_embedding_loss`, value |") == 2
    assert text.count("\n| *copy* |") == 2
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1
    assert f"fastcos, {most} threads" in report.full(results)
    assert "fastcos, 1 thread |" in report.full(results)
    picture.draw_threads(results, tmp_path / report.THREADS_PICTURE)
    assert (tmp_path / report.THREADS_PICTURE).stat().st_size > 10_000


def test_what_stands_in_a_table():
    def row(mode, provider, count, seconds, faster, share):
        return {
            **{"kind": "result", "case": "triplet", "mode": mode, "provider": provider},
            **{"n": 4096, "d": 64, "cache": "out", "threads": count, "p50": seconds},
            **{"faster": {"one thread": {"ratio": faster}}, "share": share, "gbps": 123.4},
            "others": 0.01,
        }

    rows = [
        row("value", "fastcos", 1, 4e-3, 1.0, 0.9),
        row("value", "fastcos", 16, 5e-4, 8.0, 0.85),
        row("value", "fastcos", 128, 5e-3, 0.8, 0.5),
        row("ceiling", "read", 1, 3e-3, 1.0, 1.0),
        row("ceiling", "read", 16, 4e-4, 9.0, 1.0),
        row("ceiling", "read again", 1, 3e-3, 1.0, 0.98),
    ]
    rows[0]["faster"]["fastcos again"] = {"ratio": 1.02}
    run = {
        **dict.fromkeys(("cpu", "architecture", "cores", "threads", "threading_layer"), "some"),
        **{"caches": {}, "versions": {"numpy": "1"}, "commit": "0", "time": "2026-01-01"},
    }
    text = report.threads_tables(report.Results(run, rows))
    assert "| 4096 × 64, out of cache | 1 thread | 16 threads | 128 threads |" in text
    assert "| `triplet`, value | 4 ms, 90% | 500 µs, 8.0×, 85% | 5 ms, **0.80×**, 50% |" in text
    assert "| *read* | 3 ms, 123 | 400 µs, 9.0×, 123 | – |" in text
    assert "the ceilings 98% to 98% of the first, calls 1.02 to 1.02." in text


@pytest.mark.parametrize("given", ["0", "1,,2", "two", "1.5", "-1"])
def test_no_numbers_of_threads(given, capsys):
    with pytest.raises(SystemExit):
        command.main([f"--threads={given}"])
    assert "--threads must be numbers from 1 on" in capsys.readouterr().err


def test_only_of_arrays_in_memory(capsys):
    for given in (["torch", "--threads", "2"], ["--threads", "2", "--device", "cuda"]):
        with pytest.raises(SystemExit):
            command.main(given)
        assert "--threads is for arrays in the memory of this machine" in capsys.readouterr().err


def test_numbers_have_one_among_them():
    assert threads.numbers("8,2,4") == (1, 2, 4, 8)
    assert threads.numbers("1") == (1,)


def test_caches_of_all_cores(tmp_path, monkeypatch):
    """Eight cores, of which four each share a cache."""
    for cpu in range(8):
        index = tmp_path / f"cpu{cpu}" / "cache" / "index3"
        index.mkdir(parents=True)
        (index / "shared_cpu_list").write_text("0-3\n" if cpu < 4 else "4-7\n", encoding="ascii")
    monkeypatch.setattr(threads, "_CPUS", tmp_path)
    monkeypatch.setattr(runner, "caches", lambda: {"L1": 1 << 15, "L3": 32 << 20})
    assert threads._last_caches() == 64 << 20


def test_what_is_done_on_one_thread(capsys):
    assert serial.main(0.001) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("the sum of 1,000,000 losses ")
    assert all(float(line.split()[-2]) > 0 for line in lines)


def test_the_committed_results_are_of_the_command():
    path = report.ROOT / report.RESULTS / report.THREADS
    run = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    told = dict(command.RUNS)[report.THREADS]
    assert run["command"] == " ".join(
        ["python", "-m", "bench", *told, "--json", f"bench/results/{report.THREADS}"]
    )
