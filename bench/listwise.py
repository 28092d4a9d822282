"""Losses of all rows with all rows: ``python -m bench listwise``.

Ours on tensors and the others are timed in turn, in one process, beside the three products that a
call makes, and held to the same numbers before; ours on arrays and the products of NumPy in another
process, right after. In one process the threads of one library's products wait, spinning, while
those of the other's are timed, for three times as long. What counts is the least time of the
rounds. What a call takes of memory is found in processes of their own, too (``bench.peak``).

A file of results keeps the rows of what is not measured this time.
"""

from __future__ import annotations

import argparse
import fnmatch
import gc
import itertools
import math
import multiprocessing
import os
import pathlib
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from bench import peak, report, runner
from bench.cases import Thunk
from bench.listwise_cases import (
    CASES,
    MISSING,
    PEERS,
    VERSIONS,
    Case,
    call,
    ceilings,
    check,
    chosen,
    draw,
    flat,
    height,
    sized,
    torch,
)
from bench.report import AGAIN, COMPILE, FASTCOS_TORCH, NUMPY_PRODUCTS, TORCH_AGAIN, TORCH_PRODUCTS
from bench.runner import OURS, Size

#: A call is timed as it is held to the others; then, if it takes longer than this, in seconds, in
#: one round, and if it takes longer than that in none.
SLOW, LONG = 1.0, 5.0
#: All rounds of a contender are to take no longer than this; but there are so many at least.
_TIME, _FEW = 0.4, 2
#: Seconds after which threads that wait for work do not spin any more.
_ASLEEP = 0.3
REPEATS, QUICK_REPEATS = 20, 2
QUICK = "64x32"
#: So many rows are called first, to compile what is called.
_WARM = 64
#: Up to how many anchors memory is measured, but for those of whom it always is. What is compiled
#: is not among what is compared, and ours take on arrays what they take on tensors.
_PEAK_UP_TO = {COMPILE: 0, OURS: 4096}
_CONTROLS = {OURS: AGAIN, FASTCOS_TORCH: TORCH_AGAIN}
#: What has to be the same for rows to be of one table.
_ALIKE = ("cpu", "cores", "threads", "torch_threads", "blas", "versions")


class Row(NamedTuple):
    """One provider of one case: value and gradients. Seconds are per call.

    Args:
        case: The case.
        provider: Who; or whose products, of the blocks of ours or of whole matrices.
        n: Anchors.
        d: Features of each.
        dtype: Of the rows.
        candidates: How many there are.
        block: How many anchors a block of ours has.
        least: The least time of the rounds; None if it was not called.
        p50: Their median.
        repeats: Rounds.
        calls: Calls in a round.
        share: The least time of the products in blocks, by the same library, over this one's.
        faster: By peer, its least time over this one's.
        left_out: Why it was not called.
        peak_bytes: What a call takes of memory at most, beyond the arrays, its gradients included.
        no_peak: Why that is not known.
        others: The share of the machine that other processes took meanwhile.
        commit: Of the sources.
        time: When it was measured.
    """

    case: str
    provider: str
    n: int
    d: int
    dtype: str
    candidates: int
    block: int
    least: float | None
    p50: float | None
    repeats: int
    calls: int
    share: float | None
    faster: dict[str, float]
    left_out: str
    peak_bytes: int | None
    no_peak: str
    others: float
    commit: str
    time: str


class _Contender(NamedTuple):
    provider: str
    thunk: Thunk
    seconds: float  # of a call


class _Samples(NamedTuple):
    seconds: list[float]  # per call, of each round
    calls: int


# --------------------------------------------------------------------------------------------------
# Measured
# --------------------------------------------------------------------------------------------------


def measure(
    case: Case,
    size: Size,
    repeats: int = REPEATS,
    peers: Sequence[str] = PEERS,
    peaks: dict[str, int | str] | None = None,
    elsewhere: Executor | None = None,
) -> list[Row]:
    """The rows of a case at a size: every contender in every round, slow ones in a few.

    Args:
        case: The case.
        size: The size.
        repeats: Rounds at most.
        peers: Whom ours are compared with.
        peaks: By provider, bytes, or why they are not known. Those for whom memory was not enough
            are not called.
        elsewhere: Where what is on arrays is timed; None for in turn with the others.

    Raises:
        ValueError: the contenders do not agree.
    """
    peaks = peaks or {}
    out = {name: peak.MEMORY for name, found in peaks.items() if found == peak.MEMORY}
    names = chosen(case, size, peers)
    _warm(case, size, names)
    drawn = draw(case, size)
    busy, own, start = runner._busy_seconds(), runner._own_seconds(), time.perf_counter()
    contenders = list(_tried(case, size, drawn, names, out))
    samples: dict[str, _Samples] = {}
    if elsewhere:
        contenders = [c for c in contenders if _ceiling(c.provider) != NUMPY_PRODUCTS]
        time.sleep(_ASLEEP)
    samples = _rounds(contenders, repeats)
    if elsewhere:
        on_arrays = elsewhere.submit(_on_arrays, case.name, size, repeats, OURS in out).result()
        samples = {**on_arrays, **samples}
    taken = (runner._busy_seconds() - busy) - (runner._own_seconds() - own)
    others = max(0.0, taken / (time.perf_counter() - start) / (os.cpu_count() or 1))

    least = {name: min(found.seconds) for name, found in samples.items()}
    candidates = len(drawn.operands[-1])
    rows = []
    for name in dict.fromkeys((*samples, *names)):
        found, bytes_ = samples.get(name), peaks.get(name, peak.UNKNOWN)
        known = isinstance(bytes_, int)
        rows.append(
            Row(
                *(case.name, name, size.n, size.d, "float32", candidates),
                height(case, size.n, candidates),
                least=least.get(name),
                p50=float(np.median(found.seconds)) if found else None,
                repeats=len(found.seconds) if found else 0,
                calls=found.calls if found else 0,
                share=least[_ceiling(name)] / least[name] if found else None,
                faster=_faster(name, least),
                left_out="" if found else out.get(name, peak.FAILED),
                peak_bytes=int(bytes_) if known else None,
                no_peak="" if known else str(bytes_),
                others=others,
                commit=runner._commit(),
                time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            )
        )
    return rows


def _on_arrays(name: str, size: Size, repeats: int, left_out: bool) -> dict[str, _Samples]:
    """The samples of what is on arrays."""
    case = next(case for case in CASES if case.name == name)
    names = () if left_out else (OURS,)
    _warm(case, size, names)
    tried = _tried(case, size, draw(case, size), names, {})
    return _rounds([c for c in tried if _ceiling(c.provider) == NUMPY_PRODUCTS], repeats)


def _ceiling(provider: str) -> str:
    """The products by the library that a provider calls."""
    by_numpy = provider in (OURS, AGAIN) or provider.startswith(NUMPY_PRODUCTS)
    return NUMPY_PRODUCTS if by_numpy else TORCH_PRODUCTS


def _faster(provider: str, least: dict[str, float]) -> dict[str, float]:
    """Of ours: how much longer the others take, and the same call another time."""
    if provider not in _CONTROLS or provider not in least:
        return {}
    control = _CONTROLS[provider]
    peers = [name for name in (OURS, FASTCOS_TORCH, *PEERS, control) if name != provider]
    return {name: least[name] / least[provider] for name in peers if name in least}


def _warm(case: Case, size: Size, names: Sequence[str]) -> None:
    """Compiles and loads what is called, but for what is compiled anew for each size."""
    small = Size(_WARM, size.d)
    drawn = draw(case, small)
    for name in names:
        if name != COMPILE:
            call(case, name, small, drawn)()


def _tried(
    case: Case, size: Size, drawn: Any, names: Sequence[str], out: dict[str, str]
) -> Iterator[_Contender]:
    """The products and those that can be called, each with the seconds of a call.

    Ours are held to each other, and all to ours. Who cannot be called is added to ``out``.

    Raises:
        ValueError: they do not agree.
    """
    by = {_ceiling(name) for name in names}
    limits = {k: v for k, v in ceilings(case, drawn) if _ceiling(k) in by}
    for name, products in limits.items():
        yield _Contender(name, products, _timed(products)[0])
    expected: list[Any] = []
    timed = []
    for name in names:
        if name in out:
            _say_left_out(case, size, name, out[name])
            continue
        try:
            with warnings.catch_warnings():  # of what the compiler looks at, and imports
                warnings.simplefilter("ignore")
                thunk = call(case, name, size, drawn)
                if name == COMPILE:
                    thunk()
            seconds, result = _timed(thunk)
        except Exception as error:
            if name in (OURS, FASTCOS_TORCH):
                raise
            out[name] = peak.MEMORY if peak.lacks_memory(error) else type(error).__name__
            _say_left_out(case, size, name, f"{type(error).__name__}: {error}")
            continue
        expected = expected or flat(result)
        check(case, name, result, expected)
        del result
        timed.append(_Contender(name, thunk, seconds))
    yield from timed
    for contender in timed:
        if contender.provider in _CONTROLS and contender.seconds <= SLOW:
            yield contender._replace(provider=_CONTROLS[contender.provider])


def _say_left_out(case: Case, size: Size, provider: str, why: str) -> None:
    first = why.strip().splitlines()[0] if why.strip() else ""
    sys.stdout.write(f"{case.name} {size.n}x{size.d}: {provider} is left out ({first})\n")


def _rounds(contenders: Sequence[_Contender], repeats: int) -> dict[str, _Samples]:
    """The samples of each: in every round one of all, but of slow ones in the first rounds only."""
    numbers = [max(1, math.ceil(runner.SAMPLE / c.seconds)) for c in contenders]
    # The first call is one of them. That of a control is another's.
    found = [[] if c.provider in _CONTROLS.values() else [c.seconds] for c in contenders]
    gc.collect()
    gc.disable()
    try:
        for turn in range(repeats):
            for contender, number, seconds in zip(contenders, numbers, found, strict=True):
                if turn < _turns(min([contender.seconds, *seconds])):
                    seconds.append(_timed(contender.thunk, number)[0])
    finally:
        gc.enable()
    named = zip(contenders, found, numbers, strict=True)
    return {c.provider: _Samples(seconds, number) for c, seconds, number in named}


def _turns(seconds: float) -> int:
    """How many rounds one takes part in whose calls take so long."""
    if seconds > SLOW:
        return 0 if seconds > LONG else 1
    return max(_FEW, int(_TIME / seconds))


def _timed(thunk: Thunk, number: int = 1) -> tuple[float, Any]:
    """Seconds of a call, and what it returns."""
    runner._wake()
    result = None
    start = time.perf_counter()
    for _ in range(number):
        result = thunk()
    return (time.perf_counter() - start) / number, result


# --------------------------------------------------------------------------------------------------
# The command line
# --------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench listwise", description=__doc__)
    parser.add_argument("--cases", default="*", help="patterns of names, separated by commas")
    parser.add_argument(
        "--sizes", help="NxD, separated by commas; by default each case has its own"
    )
    parser.add_argument(
        "--peers", default=",".join(PEERS), help=f"none, or among {', '.join(PEERS)}"
    )
    parser.add_argument("--repeats", type=int, default=REPEATS, help="rounds at most")
    parser.add_argument(
        "--json", type=pathlib.Path, help="file for the rows; those of what is not measured stay"
    )
    parser.add_argument(
        "--no-peaks", action="store_true", help="times only; the file keeps what it has of memory"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"{QUICK_REPEATS} repeats, {QUICK}; memory of the first case",
    )
    given = parser.parse_args(arguments)
    if given.quick:
        given.repeats, given.sizes = QUICK_REPEATS, given.sizes or QUICK
    patterns = given.cases.split(",")
    cases = [c for c in CASES if any(fnmatch.fnmatchcase(c.name, p) for p in patterns)]
    if not cases:
        parser.error(f"--cases {given.cases} matches none of {', '.join(c.name for c in CASES)}")
    if given.repeats < 1:
        parser.error("--repeats must be at least 1")
    peers = [] if given.peers == "none" else given.peers.split(",")
    for name in peers:
        if name not in PEERS:
            parser.error(f"--peers must be none, or among {', '.join(PEERS)}, got {name}")
    sizes = {}
    for case in cases:
        texts = (given.sizes or case.sizes).split(",")
        sizes[case.name] = [size for size in map(sized, texts) if size and min(size[:2]) > 1]
        if len(sizes[case.name]) != len(texts):
            parser.error(f"--sizes must be NxD, from 2x2 on, got {given.sizes}")
    for name in MISSING:
        if name in (FASTCOS_TORCH, *peers):
            sys.stdout.write(f"{name} is not installed and left out\n")

    run = _environment(arguments)
    complete = (given.cases, given.sizes, given.peers) == ("*", None, ",".join(PEERS))
    before: list[dict[str, Any]] = []
    if given.json and given.json.exists() and not (complete and not given.no_peaks):
        old = report.load(given.json)
        if unlike := [key for key in _ALIKE if _of(old.run, key) != _of(run, key)]:
            parser.error(f"{given.json} is of other {', '.join(unlike)}: name another file")
        before = old.rows
    if given.json:  # found out now that it cannot be written, not in half an hour
        _write(given.json, run, before)
    return _run(cases, sizes, given, peers, run, before)


def _run(
    cases: Sequence[Case],
    sizes: dict[str, list[Size]],
    given: argparse.Namespace,
    peers: Sequence[str],
    run: dict[str, Any],
    rows: list[dict[str, Any]],
) -> int:
    status = 0
    context = multiprocessing.get_context("spawn")
    elsewhere = None if given.quick else ProcessPoolExecutor(1, mp_context=context)
    for case in cases:
        skipped = given.no_peaks or (given.quick and case is not cases[0])
        found = {} if skipped else _peaks(case, sizes[case.name], peers)
        status |= any(peak.FAILED in peaks.values() for peaks in found.values())
        for size in sizes[case.name]:
            peaks = _known(rows, case, size) if skipped else found[size]
            try:
                with peak.limited():
                    new = measure(case, size, given.repeats, peers, peaks, elsewhere)
            except Exception:
                sys.stderr.write(f"{case.name} {size.n}x{size.d} failed\n")
                traceback.print_exc()
                status = 1
                continue
            fresh = [{"kind": "result", **row._asdict()} for row in new]
            rows = [row for row in rows if _key(row) != (case.name, size.n, size.d)] + fresh
            sys.stdout.write(report.listwise_lines(fresh) + "\n")
            sys.stdout.flush()
            if given.json:
                _write(given.json, run, rows)
    return status


def _peaks(
    case: Case, sizes: Sequence[Size], peers: Sequence[str]
) -> dict[Size, dict[str, int | str]]:
    """By size and provider, bytes, or why they are not known."""
    found: dict[Size, dict[str, int | str]] = {size: {} for size in sizes}
    every = dict.fromkeys(itertools.chain(*(chosen(case, size, peers) for size in sizes)))
    for name in every:
        up_to = _PEAK_UP_TO.get(name, math.inf)
        those = [s for s in sizes if name in chosen(case, s, peers) and s.n <= up_to]
        if not those:
            continue
        for size, bytes_ in peak.peaks(case, name, those).items():
            found[size][name] = bytes_
    return found


def _known(rows: Sequence[dict[str, Any]], case: Case, size: Size) -> dict[str, int | str]:
    """What earlier rows have of memory."""
    return {
        row["provider"]: row["no_peak"] or row["peak_bytes"]
        for row in rows
        if _key(row) == (case.name, size.n, size.d)
    }


def _key(row: dict[str, Any]) -> tuple[str, int, int]:
    return row["case"], row["n"], row["d"]


def _of(run: dict[str, Any], key: str) -> Any:
    """What a run has; of the versions those of others."""
    found = run.get(key)
    return {**found, "fastcos": ""} if isinstance(found, dict) else found


def _write(path: pathlib.Path, run: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """The file, with the rows in the order of the cases and of their sizes."""
    order = [case.name for case in CASES]
    known = [row for row in rows if row["case"] in order]
    known.sort(key=lambda row: (order.index(row["case"]), row["d"], row["n"]))
    runner.write(path, (run, *known))


def _environment(arguments: Sequence[str]) -> dict[str, Any]:
    def details() -> dict[str, Any]:
        try:
            blas: Any = np.show_config(mode="dicts")
            blas = blas["Build Dependencies"]["blas"]
        except (TypeError, KeyError):
            blas = {}
        return {
            "blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
            "torch_threads": torch.get_num_threads() if torch else None,
        }

    suite = runner.SUITE._replace(
        words=("listwise",), versions=VERSIONS, missing=MISSING, details=details
    )
    # Distributions are missing, or not; which peers are is another thing.
    found = runner.environment(suite._replace(missing=()), arguments)
    return {**found, "missing": list(MISSING)}
