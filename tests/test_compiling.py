"""What is said of kernels that are compiled, and where there is no compiler."""

import io
import logging
import os
import re
import subprocess
import sys
import types

import devices
import numpy as np
import pytest

import fastcos
from fastcos import losses
from fastcos.commands import warmup as warming
from fastcos.distances import Refinements
from fastcos.engine import plan
from fastcos.kernels import cache, report
from fastcos.kernels.cpu import compile


def successor(number: int) -> int:
    return number + 1


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Compiles a function, or finds it on disk; nobody has been told of that yet."""
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    monkeypatch.delattr(sys, "ps1", raising=False)
    report._tell.cache_clear()
    yield lambda: cache.compiled(successor, "a test")(1)
    report._tell.cache_clear()


def own():
    """Compiles what belongs to the user."""
    from numba import int64

    cache.exported(successor, int64(int64), "a test", keep=False)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def at_a_prompt(monkeypatch):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)


def in_a_notebook(monkeypatch):
    shell = types.SimpleNamespace(get_ipython=lambda: "a shell")
    monkeypatch.setitem(sys.modules, "IPython", shell)


def at_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())


def said(capsys):
    """What has been said since this was last asked."""
    if not isinstance(sys.stderr, Terminal):
        return capsys.readouterr().err
    text = sys.stderr.getvalue()
    sys.stderr.seek(0)
    sys.stderr.truncate()
    return text


# --------------------------------------------------------------------------------------------------
# Records
# --------------------------------------------------------------------------------------------------


def messages(caplog):
    """What was said, without the seconds."""
    found = [(r.levelname, re.sub(r"\d+\.\d+ s$", "T", r.getMessage())) for r in caplog.records]
    assert {record.name for record in caplog.records} <= {"fastcos"}
    caplog.clear()
    return found


def test_a_kernel_that_is_compiled_is_recorded_and_one_that_is_loaded(made, caplog):
    caplog.set_level(logging.DEBUG, "fastcos")
    made()
    assert messages(caplog) == [
        ("DEBUG", "compiling a test"),
        ("INFO", "compiled a test in T"),
    ]
    made()
    assert messages(caplog) == [("DEBUG", "loaded a test from disk in T")]
    own()
    assert messages(caplog)[1:] == [("INFO", "compiled a test in T")]
    for name, expected in (("a", "INFO"), ("a", "DEBUG"), (None, "INFO"), (None, "INFO")):
        cache.stored(successor, name, lambda: b"binary", "a kernel of a GPU")
        assert messages(caplog)[-1][0] == expected


def test_the_time_is_that_of_compiling(made, caplog):
    caplog.set_level(logging.INFO, "fastcos")
    cache.stored(successor, None, lambda: __import__("time").sleep(0.05) or b"", "a test")
    (record,) = caplog.records
    assert 0.05 <= record.args[1] < 5


def test_a_kernel_is_called_what_a_person_calls_it(caplog):
    mine = fastcos.distances.manhattan()._replace(
        name="mine", finalize=lambda state: 2 * state[0], refinements=Refinements()
    )
    caplog.set_level(logging.INFO, "fastcos")
    fastcos.paired_distance(np.ones((2, 3)), np.ones((2, 3)), mine)
    assert ("INFO", "compiled paired_distance(mine, float64) in T") in messages(caplog)


def test_names_of_losses():
    names = [
        plan.kernel_name(losses.cosine_embedding, "cosine", "float16"),
        plan.kernel_name(losses.triplet_swap, "lp", "float32"),
        plan.kernel_name(losses.hinge_embedding, None, "bfloat16"),
    ]
    assert names == [
        "cosine_embedding(cosine, float16)",
        "triplet_swap(lp, float32)",
        "hinge_embedding(bfloat16)",
    ]


# --------------------------------------------------------------------------------------------------
# To a person who waits
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [at_a_prompt, in_a_notebook, at_a_terminal])
def test_a_person_who_waits_is_told_once(made, monkeypatch, capsys, tmp_path, place):
    place(monkeypatch)
    made()
    (line,) = said(capsys).splitlines()
    assert "once on this machine" in line
    assert "fastcos.warmup()" in line
    assert "python -m fastcos warmup" in line
    for path in tmp_path.rglob("*.nbc"):
        path.unlink()
    made()
    assert said(capsys) == ""


def test_of_a_distance_of_ones_own_it_is_told_apart(made, monkeypatch, capsys):
    at_a_prompt(monkeypatch)
    own()
    own()
    (line,) = said(capsys).splitlines()
    assert "once in each process" in line
    assert "fastcos.warmup(distances=...)" in line
    cache.stored(successor, None, lambda: b"", "a test")
    assert said(capsys) == ""
    made()
    assert "once on this machine" in said(capsys)


def test_nobody_waits_for_what_is_on_disk(made, monkeypatch, capsys):
    made()
    at_a_prompt(monkeypatch)
    made()
    assert said(capsys) == ""


def test_in_a_pipe_nothing_is_said(made, monkeypatch, capsys):
    # IPython may be there, and not run.
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: None))
    made()
    own()
    assert said(capsys) == ""


def closed():
    file = io.StringIO()
    file.close()
    return file


@pytest.mark.parametrize("stderr", [None, closed(), types.SimpleNamespace(write=len)])
def test_without_a_console_nothing_is_said(made, monkeypatch, stderr):
    monkeypatch.setattr(sys, "stderr", stderr)
    assert made() == 2
    if stderr is None:
        at_a_prompt(monkeypatch)
        own()


def test_who_reads_the_records_is_told_nothing_else(made, monkeypatch, capsys, caplog):
    at_a_prompt(monkeypatch)
    caplog.set_level(logging.INFO, "fastcos")
    made()
    assert said(capsys) == ""
    assert messages(caplog) == [("INFO", "compiled a test in T")]


def test_where_nothing_can_be_kept_the_warning_says_it(made, monkeypatch, capsys):
    at_a_prompt(monkeypatch)
    monkeypatch.setattr(cache, "folder_of", lambda function: None)
    cache._warn.cache_clear()
    with pytest.warns(RuntimeWarning, match="every process compiles its own"):
        made()
    cache._warn.cache_clear()
    assert said(capsys) == ""


def test_warmup_has_a_progress_of_its_own(made, monkeypatch, capsys):
    at_a_prompt(monkeypatch)
    monkeypatch.setattr(warming, "_run", lambda *_: (made(), own()))
    assert len(fastcos.warmup("cosine_similarity")) == 1
    assert said(capsys) == ""
    own()
    assert "once in each process" in said(capsys)


# --------------------------------------------------------------------------------------------------
# Without a compiler
# --------------------------------------------------------------------------------------------------

X = np.ones((2, 3))
WITHOUT = r"NUMBA_DISABLE_JIT=1.* unset NUMBA_DISABLE_JIT"


def of_tensors():
    torch = pytest.importorskip("torch")
    from fastcos.adapters import torch as functional

    x = torch.ones((2, 3), requires_grad=True)
    functional.cosine_embedding_loss(x, torch.ones((2, 3)), torch.ones(2))


@pytest.mark.parametrize(
    "call",
    [
        lambda: fastcos.paired_distance(X, X, "sqeuclidean"),
        lambda: fastcos.value_and_grad(fastcos.triplet_margin_loss)(X, X, X, swap=True),
        lambda: fastcos.grad(fastcos.hinge_embedding_loss)(X, [[1, -1, 1]] * 2),
        lambda: fastcos.check_distance(fastcos.distances.canberra(), low=0.1),
        lambda: fastcos.warmup("cosine_similarity"),
        of_tensors,
        lambda: compile.task_loop.__wrapped__(True),
        lambda: compile.all_signs.__wrapped__(),
        lambda: cache.stored(successor, None, bytes, "a test"),
    ],
)
def test_whatever_needs_a_kernel_says_that_it_needs_the_compiler(monkeypatch, call):
    devices.forget()
    monkeypatch.setattr(compile, "_kernels", {})
    monkeypatch.setattr("numba.config.DISABLE_JIT", 1)
    with pytest.raises(RuntimeError, match=WITHOUT):
        call()
    monkeypatch.undo()
    assert fastcos.paired_distance(X, X, "sqeuclidean").tolist() == [0, 0]


def test_a_process_without_a_compiler():
    code = """
import fastcos
print(fastcos.show_config()["cache"])
try:
    fastcos.paired_distance([1.0], [2.0], "sqeuclidean")
except RuntimeError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    where, error = done.stdout.splitlines()
    assert where == fastcos.show_config()["cache"]
    assert re.search(WITHOUT, error)
