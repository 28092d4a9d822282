"""``fastcos.warmup`` and ``python -m fastcos warmup``: afterwards nothing is left to compile."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest

import fastcos
from fastcos.__main__ import main
from fastcos.api.calls import PUBLIC
from fastcos.commands import warmup as warming
from fastcos.engine import device
from fastcos.engine.layout import RowLayout
from fastcos.engine.passes import passes
from fastcos.kernels import Spec
from fastcos.kernels.cuda import binaries, launch

# What the user may do with the losses that are named, in a process that finds them on disk.
USE = """
import sys, numpy as np, fastcos
from numba.core import event
rng = np.random.default_rng(0)
with event.install_recorder("numba:compile") as recorder:
    for n in (3, 33_000):
        x, y = rng.standard_normal((2, n, 2)).astype("float32")
        w = rng.random(n)
        for target in (rng.random(n) < 0.5, np.ones(n, "i8"), np.ones(n, "i1"), [-1] * n, 1):
            f = fastcos.value_and_grad(fastcos.hinge_embedding_loss)
            f(x[:, 0], target, margin=2, weight=w, reduction="none", grad_output=w)
        f(x, 1, out=(np.empty_like(x),))
        f = fastcos.value_and_grad(fastcos.paired_distance)
        f(x, y, "sqeuclidean", grad_output=w)
        f(x[0], y.copy(order="F"), "sqeuclidean")
        f(x[:, None], y[:2], "sqeuclidean")
        f(x.T, y.T, "sqeuclidean", axis=0, out=(np.empty_like(x.T), np.empty_like(y.T)))
        fastcos.paired_distance(x.astype("i2"), y, "sqeuclidean")
        looked_up = fastcos.rows(x, rng.integers(n, size=n)), fastcos.rows(y, 0, sparse=True)
        f(*looked_up, "sqeuclidean", grad_output=w)
    print(len(recorder.buffer))
    fastcos.hinge_embedding_loss(np.ones(2), 1)  # float64, which nobody has compiled
    print(len(recorder.buffer) > 0)
"""


def python(*arguments, cache):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_what_was_compiled_ahead_is_there_in_another_process(tmp_path):
    names = ["hinge_embedding_loss", "paired_distance"]
    done = python(
        *("-m", "fastcos", "warmup", "--losses", *names),
        *("--distances", "sqeuclidean", "--dtypes", "float32", "--tables"),
        cache=tmp_path,
    )
    *table, total, where = done.stdout.splitlines()
    assert [line.rsplit(maxsplit=2)[0] for line in table] == [
        "hinge_embedding_loss(float32)",
        "paired_distance(float32, distance=sqeuclidean)",
        "paired_distance(float32, distance=sqeuclidean, rows)",
    ]
    assert total.startswith("total")
    assert where.startswith(f"kept in {tmp_path}")
    assert table[-1].split("(")[0] in done.stderr  # the progress
    assert python("-c", USE, cache=tmp_path).stdout.split() == ["0", "True"]


def called(monkeypatch):
    """The calls that warmup makes, which then compile nothing."""
    seen = []

    def record(given, capability=None):
        seen.append((given.function.__name__, str(given.dtype), given.options))

    monkeypatch.setattr(warming, "_run", record)
    monkeypatch.setattr(warming, "_run_batch", record)
    return seen


def test_every_loss_is_warmed_up(monkeypatch):
    seen = called(monkeypatch)
    seconds = fastcos.warmup()
    # All but the one that takes a loss of the user's own.
    assert {name for name, _, _ in seen} == {f.__name__ for f in PUBLIC} - {"listwise_loss"}
    assert {dtype for _, dtype, _ in seen} == {"float32"}
    assert len(seconds) == len(seen)
    assert all(took >= 0 for took in seconds.values())


def test_dtypes_and_distances(monkeypatch):
    seen = called(monkeypatch)
    cubic = fastcos.distances.lp(3)
    fastcos.warmup(
        ["paired_distance", "triplet_margin_with_distance_loss"],
        ("float16", "bfloat16", "float64"),
        distances=("cosine", cubic),
    )
    cosine = fastcos.distances.cosine()
    triplet = "triplet_margin_with_distance_loss"
    assert seen == [
        call
        for dtype in ("float16", "bfloat16", "float64")
        for call in (
            *(("paired_distance", dtype, {"distance": d}) for d in (cosine, cubic)),
            *(
                (triplet, dtype, {"distance_function": d, **swap})
                for d in (cosine, cubic)
                for swap in ({}, {"swap": True})
            ),
        )
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"losses": ["cosine_loss"]}, "losses must be among cosine_similarity, .*'cosine_loss'"),
        ({"losses": "value_and_grad"}, "losses must be among .*'value_and_grad'"),
        ({"losses": [fastcos.cosine_similarity]}, "losses must be among .*<function"),
        ({"dtypes": "int8"}, "dtypes must be among float16, bfloat16, float32, float64; got 'int8"),
        ({"dtypes": [np.float32]}, "dtypes must be among"),
        ({"distances": ["cubic"]}, "distances must be one of cosine, .*'cubic'"),
    ],
)
def test_names_that_are_none(monkeypatch, arguments, message):
    seen = called(monkeypatch)
    with pytest.raises(ValueError, match=message):
        fastcos.warmup(**arguments)
    assert not seen


def test_a_callable_has_nothing_to_compile():
    with pytest.raises(TypeError, match=r"distances must hold names or .*<lambda>"):
        fastcos.warmup(distances=lambda x, y: abs(x - y).sum(-1))


def test_without_ml_dtypes(monkeypatch, capsys):
    seen = called(monkeypatch)
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    assert main(["warmup", "--dtypes", "bfloat16"]) == 2
    assert "bfloat16 needs ml_dtypes: pip install ml_dtypes" in capsys.readouterr().err
    assert not seen


def test_without_tqdm_it_prints_lines(monkeypatch, capsys):
    called(monkeypatch)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    fastcos.warmup("cosine_distance_loss", progress=True)
    assert capsys.readouterr().err.splitlines() == [
        "1/2 cosine_distance_loss(float32)",
        "2/2 cosine_distance_loss(float32, normalize=False)",
    ]


def test_without_progress_it_says_nothing(monkeypatch, capsys):
    called(monkeypatch)
    fastcos.warmup()
    captured = capsys.readouterr()
    assert not captured.out
    assert not captured.err


@pytest.mark.parametrize("option", ["--losses", "--dtypes", "--distances"])
def test_wrong_names_on_the_command_line(option, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["warmup", option, "wrong"])
    assert stopped.value.code == 2
    assert "invalid choice: 'wrong'" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------
# For a GPU, which need not be there
# --------------------------------------------------------------------------------------------------


@pytest.mark.compiled
def test_kernels_for_a_gpu_are_compiled_ahead(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    made, ptx = [], binaries.ptx
    monkeypatch.setattr(binaries, "ptx", lambda *given: made.append(given[0]) or ptx(*given))
    options = {"dtypes": "float32", "device": "9.0"}
    assert list(fastcos.warmup("hinge_embedding_loss", **options)) == [
        "hinge_embedding_loss(float32)"
    ]
    # The value, value and gradient, and the sum of the sums of blocks.
    assert len(made) == len(list(tmp_path.rglob("*.cubin"))) == 3
    fastcos.warmup("hinge_embedding_loss", **options)
    assert len(made) == 3
    # What a device asks for is among them.
    visit = passes((5,), 1, [RowLayout((5,), (4,))], [None], on_device=True)[0]
    spec = Spec(fastcos.losses.hinge_embedding, None, (0, 2), 1, "float32", "")
    device.compile_for((9, 0), spec, visit)
    assert len(made) == 3


@pytest.mark.compiled
def test_listwise_kernels_for_a_gpu_are_compiled_ahead(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    made, ptx = [], binaries.ptx
    monkeypatch.setattr(binaries, "ptx", lambda *given: made.append(given[0]) or ptx(*given))
    options = {"dtypes": "float32", "device": "9.0"}
    assert list(fastcos.warmup("nca_loss", **options)) == ["nca_loss(float32)"]
    # Rows before and after the products, and anchors by few threads and by many.
    assert len(made) == len(list(tmp_path.rglob("*.cubin"))) == 4
    fastcos.warmup("nca_loss", **options)
    launch._launchers.clear()
    fastcos.warmup("nca_loss", **options)
    assert len(made) == 4


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"device": "hopper"}, "device must be a compute capability.*'hopper'"),
        ({"device": "7.5"}, "device must be 8.0 or newer, got 7.5"),
        ({"features": 0}, "features must be integers, at least 1; got 0"),
        ({"features": [64, 1.5]}, "features must be integers, at least 1; got 1.5"),
        ({"features": []}, "features must be integers, at least 1; got None"),
    ],
)
def test_what_is_no_gpu_or_no_row_is_named(options, said, capsys):
    with pytest.raises(ValueError, match=said):
        fastcos.warmup("hinge_embedding_loss", **options)
    assert main(["warmup", "--device", "7.5"]) == 2
    assert "device must be 8.0 or newer" in capsys.readouterr().err
