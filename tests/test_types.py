"""What type checkers make of fastcos: a user's page passes in strict mode, errors are found."""

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
