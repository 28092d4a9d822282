"""Learned projections: ``python -m bench learners``.

What ``fastcos.sklearn.LinearEmbedding`` finds beside what others do, and how long each takes: all
in one process, in turn within every split of a data set into two halves. Nobody's settings are
chosen by what is held out: one row of each is at its defaults, and another with settings that
cross-validation within the training half chose.

metric-learn 0.7.0 does not work with scikit-learn from 1.8 on; where a library does not work it is
left out, and the run says so. What is committed comes from an environment in which all do.
"""

from __future__ import annotations

import argparse
import fnmatch
import gc
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from bench import learners_cases, learners_report, runner
from bench.learners_cases import (
    DATA_SETS,
    METHODS,
    METRIC_LEARN,
    OURS,
    SKLEARN,
    DataSet,
    Method,
    Quality,
    Settings,
    Split,
)
from bench.report import AGAIN

#: Seconds after which threads that wait for work do not spin any more.
_ASLEEP = 0.2
#: Of the products of all. With two, while others want the cores, LMNN took ten times as long.
BLAS_THREADS = 1
QUICK_DATA, QUICK_SPLITS = "wine", 2
#: The first fit, in a process of its own: with nothing compiled, and then with kernels on disk.
_FIRST = """
import time
from bench import learners_cases as cases
rows, labels = cases.split(cases.DATA_SETS[1], 0)[:2]
estimator = cases.METHODS[0].make(cases.components(rows.shape[1]), 0)
begun = time.perf_counter()
cases.fit(estimator, rows, labels)
print(time.perf_counter() - begun)
"""


class Row(NamedTuple):
    """One method on one data set. Lists have a number for each split; seconds are of a fit.

    Args:
        case: The data set.
        provider: The method.
        library: Whose it is.
        tuned: Whether settings were chosen within the training half, or are the defaults.
        n: Rows of the training half.
        d: Features of each.
        classes: Of how many classes they are.
        components: To how many features they are projected.
        accuracy: By distance, the share of held-out rows of the class of the nearest row of the
            training half.
        map_at_r: By distance, mean average precision at R of the held-out rows among themselves.
        seconds: Of the fit; with that of the search where settings were searched for.
        settings: What was chosen.
        others: The share of the machine that other processes took meanwhile.
    """

    case: str
    provider: str
    library: str
    tuned: bool
    n: int
    d: int
    classes: int
    components: int
    accuracy: dict[str, list[float]]
    map_at_r: dict[str, list[float]]
    seconds: list[float]
    settings: list[Settings]
    others: float


class _Turn(NamedTuple):
    """A contender: a method at its defaults, the same once more as a control, or tuned."""

    name: str
    method: Method
    tuned: bool


class _Fit(NamedTuple):
    """What came of one turn."""

    quality: Quality
    seconds: float
    settings: Settings
    components: int


# --------------------------------------------------------------------------------------------------
# Measured
# --------------------------------------------------------------------------------------------------


def measure(
    data: DataSet,
    methods: Sequence[Method],
    splits: int,
    tuning: bool = True,
    blas_threads: int = BLAS_THREADS,
) -> list[Row]:
    """The rows of a data set: every contender in turn within every split.

    Raises:
        ValueError: the control found something else than what it controls.
    """
    busy, own, start = runner._busy_seconds(), runner._own_seconds(), time.perf_counter()
    turns = list(_turns(methods, tuning))
    found: list[list[_Fit]] = [[] for _ in turns]
    first = learners_cases.split(data, 0)
    with threadpool_limits(blas_threads, user_api="blas"):
        _warm(methods, first)
        for seed in range(splits):
            halves = learners_cases.split(data, seed)
            # Nobody is always the first.
            shift = seed * len(turns) // splits
            order = [*range(shift, len(turns)), *range(shift)]
            for which in order:
                found[which].append(_fit(turns[which], halves, seed))
    taken = (runner._busy_seconds() - busy) - (runner._own_seconds() - own)
    others = max(0.0, taken / (time.perf_counter() - start) / (os.cpu_count() or 1))
    _check(turns, found)
    n, d = first.train.shape
    return [
        Row(
            *(data.name, turn.name, turn.method.library, turn.tuned, n, d),
            len(np.unique(first.train_labels)),
            fits[0].components,
            accuracy=_by_distance([fit.quality.accuracy for fit in fits]),
            map_at_r=_by_distance([fit.quality.map_at_r for fit in fits]),
            seconds=[fit.seconds for fit in fits],
            settings=[fit.settings for fit in fits] if turn.tuned else [],
            others=others,
        )
        for turn, fits in zip(turns, found, strict=True)
    ]


def _turns(methods: Sequence[Method], tuning: bool) -> Iterator[_Turn]:
    for method in methods:
        yield _Turn(method.name, method, False)
    for method in methods:
        if tuning and method.tried:
            yield _Turn(method.name, method, True)
    # The control is as far as can be from what it controls.
    for method in methods:
        if method.library == OURS:
            yield _Turn(AGAIN, method, False)


def _warm(methods: Sequence[Method], halves: Split) -> None:
    """Compiles and loads what is called."""
    count = learners_cases.components(halves.train.shape[1])
    few = slice(None, None, 4)
    for method in methods:
        rows, labels = halves.train[few], halves.train_labels[few]
        learners_cases.fit(method.make(count, 0), rows, labels)


def _fit(turn: _Turn, halves: Split, seed: int) -> _Fit:
    count = learners_cases.components(halves.train.shape[1])
    time.sleep(_ASLEEP)
    gc.collect()
    start = time.perf_counter()
    settings: Settings = {}
    if turn.tuned:
        settings = learners_cases.chosen(turn.method, halves, count, seed)
    estimator = learners_cases.with_settings(turn.method.make(count, seed), settings)
    learners_cases.fit(estimator, halves.train, halves.train_labels)
    seconds = time.perf_counter() - start
    quality = learners_cases.evaluate(estimator, halves)
    width = learners_cases.transform(estimator, halves.train[:1]).shape[1]
    return _Fit(quality, seconds, settings, width)


def _check(turns: Sequence[_Turn], found: Sequence[list[_Fit]]) -> None:
    """Raises unless the same fit has the same figures."""
    fits = {turn.name: of for turn, of in zip(turns, found, strict=True) if not turn.tuned}
    for one, other in zip(fits.get(OURS, ()), fits.get(AGAIN, ()), strict=True):
        if one.quality != other.quality:
            raise ValueError(f"the same fit has other figures: {one.quality}, {other.quality}")


def _by_distance(found: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    return {name: [each[name] for each in found] for name in learners_cases.DISTANCES}


def first_fit() -> dict[str, float]:
    """Seconds of the first fit of a process: with nothing compiled, and with kernels on disk."""
    with tempfile.TemporaryDirectory() as folder:
        return {name: _first_fit(folder) for name in ("compiled", "kept")}


def _first_fit(folder: str) -> float:
    environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
    command = [sys.executable, "-c", _FIRST]
    root = pathlib.Path(__file__).parents[1]
    done = subprocess.run(
        command, env=environment, cwd=root, check=True, capture_output=True, text=True
    )
    return float(done.stdout)


# --------------------------------------------------------------------------------------------------
# The command line
# --------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench learners", description=__doc__)
    known = [data.name for data in DATA_SETS]
    parser.add_argument("--data", help=f"among {', '.join(known)}, separated by commas")
    parser.add_argument("--methods", default="*", help="patterns of names, separated by commas")
    parser.add_argument("--splits", type=int, help="by default each data set has its own number")
    parser.add_argument(
        "--blas-threads", type=int, default=BLAS_THREADS, help="of the products of all"
    )
    parser.add_argument("--no-tuning", action="store_true", help="only at the defaults")
    parser.add_argument("--json", type=pathlib.Path, help="file for the rows; replaced")
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_SPLITS} splits of {QUICK_DATA}"
    )
    given = parser.parse_args(arguments)
    if given.quick:
        given.data, given.splits = given.data or QUICK_DATA, given.splits or QUICK_SPLITS
    names = (given.data or ",".join(known)).split(",")
    for name in names:
        if name not in known:
            parser.error(f"--data must be among {', '.join(known)}, got {name}")
    if given.splits is not None and given.splits < 1:
        parser.error(f"--splits must be at least 1, got {given.splits}")
    if given.blas_threads < 1:
        parser.error(f"--blas-threads must be at least 1, got {given.blas_threads}")
    patterns = given.methods.split(",")
    methods = [m for m in METHODS if any(fnmatch.fnmatchcase(m.name, p) for p in patterns)]
    if not methods:
        known = [method.name for method in METHODS]
        parser.error(f"--methods {given.methods} matches none of {', '.join(known)}")

    left_out = {}
    if any(method.library == METRIC_LEARN for method in methods):
        if why := learners_cases.why_not(METRIC_LEARN):
            left_out[METRIC_LEARN] = why
            sys.stdout.write(f"{METRIC_LEARN} is left out ({why})\n")
            methods = [method for method in methods if method.library != METRIC_LEARN]
    run = _environment(arguments, left_out, given.blas_threads)
    entries: list[dict[str, Any]] = [run]
    if given.json:  # found out now that it cannot be written, not in ten minutes
        given.json.write_text("", encoding="utf-8")
    if not given.quick:
        run["first_fit"] = first_fit()
    for data in DATA_SETS:
        if data.name not in names:
            continue
        splits = given.splits or data.splits
        rows = measure(data, methods, splits, not given.no_tuning, given.blas_threads)
        fresh = [{"kind": "result", **row._asdict()} for row in rows]
        sys.stdout.write(learners_report.lines(fresh) + "\n")
        sys.stdout.flush()
        entries += fresh
        runner.write(given.json, entries)
    return 0


def _environment(
    arguments: Sequence[str], left_out: dict[str, str], blas_threads: int
) -> dict[str, Any]:
    details = {
        "blas": learners_cases.blas(),
        "blas_threads": blas_threads,
        "left_out": left_out,
    }
    suite = runner.SUITE._replace(
        words=("learners",),
        versions=(SKLEARN, "scipy", METRIC_LEARN),
        missing=tuple(left_out),
        details=lambda: details,
    )
    return runner.environment(suite, arguments)
