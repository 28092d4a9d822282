"""What type checkers make of fastcos: a user's page passes in strict mode, errors are found."""

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent
PAGE, WRONG = (pathlib.Path("tests", "typed", f"{name}.py") for name in ("page", "wrong"))
CODE = re.compile(r"^(\S+?):(\d+): error: .*\[([a-z-]+)\]$", re.MULTILINE)


def test_a_page_of_a_user_passes_and_every_error_is_found():
    # In one run: most of its time goes into what is imported, torch above all.
    command = [sys.executable, "-m", "mypy", "--strict", str(PAGE), str(WRONG)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1, done.stdout + done.stderr
    found = {(path, int(line), code) for path, line, code in CODE.findall(done.stdout)}
    lines = enumerate((ROOT / WRONG).read_text().splitlines(), start=1)
    expected = {
        (str(WRONG), number, line.rpartition("  # ")[2]) for number, line in lines if "  # " in line
    }
    assert len(expected) > 10
    assert found == expected, done.stdout


ARRAYS = """
import numpy as np, fastcos
x, f = np.ones((2, 3)), fastcos.value_and_grad(fastcos.cosine_embedding_loss)
reveal_type(fastcos.cosine_similarity(x, x))
reveal_type(fastcos.cosine_embedding_loss(x, x, [1, -1]))
reveal_type(f(x, x, [1, -1])[1])
"""


def test_results_of_arrays_have_types_without_torch(tmp_path):
    # Where torch is not installed, Tensor is Any, and must not be what every argument fits.
    (tmp_path / "page.py").write_text(ARRAYS)
    (tmp_path / "mypy.ini").write_text("[mypy]\n[mypy-torch.*]\nfollow_imports = skip\n")
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "page.py"]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    found = re.findall(r'Revealed type is "(.*)"', done.stdout)
    for kind, text in zip(("ndarray", "floating", r"tuple\[.*ndarray"), found, strict=True):
        assert re.search(kind, text), found
