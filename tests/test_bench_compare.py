"""Two trees in turn: that it measures what it says, of this tree and of a revision."""

import shutil
import subprocess
import sys

import pytest

from bench import __main__ as command
from bench import compare, report

QUICK = ["--cases", "cosine_similarity", "--sizes", "8x24", "--rounds", "3"]


def lines(capsys):
    return [line for line in capsys.readouterr().out.splitlines() if "control" in line]


def test_a_folder(capsys):
    assert command.main(["compare", str(report.ROOT), *QUICK]) == 0
    value, both = lines(capsys)
    assert value.startswith("cosine_similarity 8x24 value ")
    assert both.startswith("cosine_similarity 8x24 value_and_grad_out ")
    assert " µs " in value


def test_a_tree_that_is_slower_is_told(tmp_path, capsys, monkeypatch):
    """A copy in which each call of cosine_similarity waits; only its value, for it is compiled."""
    monkeypatch.setattr(compare, "_calls", lambda *_: [("cosine_similarity", "8x24", "value")])
    tree = tmp_path / "tree"
    shutil.copytree(report.ROOT / "fastcos", tree / "fastcos", symlinks=True)
    if (tree / "fastcos" / "adapters").is_symlink():
        shutil.copytree(report.ROOT / "adapters", tree / "adapters")
    calls = tree / "fastcos" / "api" / "calls.py"
    text = calls.read_text(encoding="utf-8")
    step = "        known = planned(problem, (), args, kwargs)\n"
    slow = text.replace(step, f"        __import__('time').sleep(0.002)\n{step}")
    assert slow != text
    calls.write_text(slow, encoding="utf-8")
    assert command.main(["compare", str(tree), *QUICK]) == 0
    (value,) = lines(capsys)
    ratio = float(value.split("µs")[1].split()[0])
    assert ratio > 5


@pytest.mark.skipif(not (report.ROOT / ".git").exists(), reason="no history here")
def test_a_revision_is_checked_out_and_taken_away():
    with compare._tree("HEAD", None) as tree:
        assert (tree / "fastcos" / "__init__.py").exists()
        assert str(tree) in worktrees()
    assert not tree.exists()
    assert str(tree) not in worktrees()


def worktrees():
    command = ["git", "-C", str(report.ROOT), "worktree", "list"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_what_is_wrong_is_said(capsys):
    for arguments, message in (
        (["no-such-revision"], "is no checkout and no revision"),
        (["HEAD", "--cases", "x"], "matches none of"),
        (["HEAD", "--sizes", "x"], "small, medium, large or NxD"),
        (["HEAD", "--dtype", "float32,float64"], "invalid choice: 'float32,float64'"),
        (["HEAD", "--rounds", "0"], "at least 1"),
    ):
        with pytest.raises(SystemExit):
            command.main(["compare", *arguments])
        assert message in capsys.readouterr().err


def test_a_process_has_the_tree_that_it_is_told(tmp_path):
    done = subprocess.run(
        [sys.executable, compare.__file__, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode
    assert "not that of" in done.stderr
