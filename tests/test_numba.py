"""Numba compiles the functions of the distances, in code of the user's, where fastcos has run none.

Each test is about a process in which nothing was compiled yet.
"""

import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture
def run(tmp_path):
    """Runs code in a new process, with what is declared of the package as an installer writes it.

    The tests may run where it was installed before the declaration was there.
    """
    text = (ROOT / "pyproject.toml").read_text()
    (table,) = re.findall(r"^\[project\.entry-points\.(\w+)\]\n((?:\w+ = \".*\"\n)+)", text, re.M)
    folder = tmp_path / "fastcos-0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: fastcos\nVersion: 0\n")
    (folder / "entry_points.txt").write_text(f"[{table[0]}]\n{table[1]}".replace('"', ""))
    path = os.pathsep.join([str(tmp_path), str(ROOT)])

    def run(code):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_a_function_of_a_record_compiles(run):
    code = """
import sys, fastcos
assert "numba" not in sys.modules
import numba
record = fastcos.distances.cosine()
state = record.accumulate(record.accumulate(record.init(0.0, 0.0), 0.5, 0.25), 1.0, 2.0)
assert numba.njit(record.finalize)(state) == record.finalize(state)
print("done")
"""
    assert run(code) == "done"


def test_code_that_calls_any_of_them_compiles(run):
    # Numba came first and has compiled, and fastcos is imported by none but its entry point.
    code = """
import numba
assert numba.njit(lambda x: x + 1)(1) == 2
from fastcos import distances
from fastcos.distances import angles
from fastcos.kernels.functions import globals_of
accumulate = distances.euclidean().accumulate
def mine(state, x, y):
    return accumulate(state, x, y)
assert numba.njit(mine)((1.0, 1.0, 0.5), 2.0, 1.0) == mine((1.0, 1.0, 0.5), 2.0, 1.0)

context, seen = numba.core.registry.cpu_target.typing_context, set()
def check(function):
    if type(function) is type(check) and function not in seen:
        seen.add(function)
        assert context.resolve_value_type(function), function
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        for used in (*globals_of(function).values(), *cells):
            check(used)
for p in (3, 4, 5, 6, 7, 8, 2.5):
    [*map(check, distances.lp(p).functions)]
for record in (angles._SIMILARITY, angles._CLAMPED_SIMILARITY):
    [*map(check, record.functions)]
for factory in distances.DISTANCES.values():
    [*map(check, factory().functions)]
assert angles._gap in seen
print(len(seen))
"""
    assert int(run(code)) > 100
