"""``.ci/gpu``: what it says where there is no GPU, where all of its tests would be skipped."""

import pathlib
import subprocess
import sys

import pytest

from fastcos.commands import info

ROOT = pathlib.Path(__file__).parents[1]


def script(tmp_path, *arguments, limit=60):
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": sys.executable, "OUT": str(tmp_path)}
    return subprocess.run(
        ["bash", ROOT / ".ci" / "gpu", *arguments],
        env={**environment, "LIMIT": str(limit)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_a_stage_that_skips_everything_has_failed(tmp_path):
    if info._devices():
        pytest.skip("a GPU is here")
    done = script(tmp_path, "only", "tests/test_gpu.py", "-n", "0")
    assert done.returncode == 1
    assert "== 0 tests have run, " in done.stdout
    assert "== 0 tests have run, " in (tmp_path / "gpu.log").read_text()


def test_stages_are_left_out_when_time_is_up(tmp_path):
    done = script(tmp_path, "bench", "cpu", "nonsense", limit=5)
    assert done.returncode == 1
    assert "== bench: left out" in done.stdout
    assert "== cpu-1: left out" in done.stdout
    assert "no such stage: nonsense" in done.stdout
