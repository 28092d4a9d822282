"""Nearest rows of a gallery: ``python -m bench nearest``.

How long it takes to find them, what of memory, and how many of the answers are wrong, each of ours
and of others. Every library is in a process of its own, for the threads of one would wait,
spinning, while those of another are timed. The processes take turns, and the threads of each are
asleep when another begins. What counts is the least time of the turns.

A file of results keeps the rows of what is not measured this time.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import math
import multiprocessing
import os
import pathlib
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

import numpy as np

from bench import memory, nearest_cases, nearest_report, report, runner
from bench.nearest_cases import (
    CEILINGS,
    COSINE,
    EUCLIDEAN,
    GALLERIES,
    KINDS,
    MISSING,
    MORE,
    MOST,
    NEIGHBOURS,
    PEERS,
    QUERIES,
    SQEUCLIDEAN,
    STORED,
    Drawn,
    Galleries,
    Kind,
    sized,
)
from bench.report import AGAIN, NUMPY_PRODUCTS
from bench.runner import OURS, READ, Size

#: Threads of each library.
THREADS = 2
_THREADS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"),
    *("VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS"),
)
#: A call that takes longer than this, in seconds, is timed once more, and one that takes longer
#: than that has been timed by then.
SLOW, LONG = 1.0, 4.0
#: All turns of a contender are to take no longer than this; but there are so many at least.
_TIME, _FEW = 1.0, 3
#: A turn has so many calls that it takes about as long.
_SAMPLE = 0.04
#: Seconds after which threads that wait for work do not spin any more.
_ASLEEP = 0.2
REPEATS, QUICK_REPEATS = 7, 2
QUICK = Galleries(COSINE, "3000x32")
#: Part of the nearest rows of ordinary rows that all have to find: float32 confuses a few.
_ALIKE = 0.99
#: Rows that are searched first, to compile what is called, and queries.
_WARM = Size(256, 8)
#: Where answers are counted.
ANSWERS, QUICK_ANSWERS = Size(20_000, 128), Size(2_000, 16)
ANSWERS_QUERIES, ANSWERS_K = 200, 10
#: What has to be the same for rows to be of one table.
_ALIKE_RUNS = ("cpu", "cores", "threads", "blas", "versions")
#: Whose calls go to one process: ours, and the ceilings.
_OURS_TOO = (OURS, *CEILINGS)


class Row(NamedTuple):
    """The time of one provider. Seconds are per call.

    Args:
        part: ``"time"``.
        case: The distance.
        provider: Who; or what is a ceiling.
        n: Rows of the gallery.
        d: Features of each.
        dtype: How the rows are stored: their dtype, and whether they are a file that is mapped.
        queries: How many a call has.
        k: How many neighbours of each are looked for.
        least: The least time of the turns; None if it was not called.
        p50: Their median.
        repeats: Turns.
        calls: Calls in a turn.
        share: The least time of the ceiling over this one's: of reading the gallery for one query,
            of the products alone for more.
        faster: By peer, its least time over this one's.
        left_out: Why it was not called.
        peak_bytes: What a call takes of memory at most, beyond the arrays and what is kept of them.
        no_peak: Why that is not known.
        candidates: How many rows ours measured once more for a query.
        others: The share of the machine that other processes took meanwhile.
        commit: Of the sources.
        time: When it was measured.
    """

    part: str
    case: str
    provider: str
    n: int
    d: int
    dtype: str
    queries: int
    k: int
    least: float | None
    p50: float | None
    repeats: int
    calls: int
    share: float | None
    faster: dict[str, float]
    left_out: str
    peak_bytes: int | None
    no_peak: str
    candidates: float | None
    others: float
    commit: str
    time: str


class Answers(NamedTuple):
    """How many answers of one provider are wrong.

    Args:
        part: ``"answers"``.
        case: The distance.
        data: What the rows are like.
        provider: Who.
        n: Rows of the gallery.
        d: Features of each.
        dtype: Of the rows.
        queries: How many.
        k: How many neighbours of each are looked for.
        wrong_order: Share of the queries whose neighbours are others, or in another order.
        wrong_rows: Share of the queries whose neighbours are others.
        left_out: Why it was not called.
        commit: Of the sources.
        time: When it was found out.
    """

    part: str
    case: str
    data: str
    provider: str
    n: int
    d: int
    dtype: str
    queries: int
    k: int
    wrong_order: float | None
    wrong_rows: float | None
    left_out: str
    commit: str
    time: str


# --------------------------------------------------------------------------------------------------
# In the process of a library
# --------------------------------------------------------------------------------------------------


class _Call(NamedTuple):
    """What a process is asked to do."""

    provider: str
    queries: int
    k: int


class _First(NamedTuple):
    """What the first call took and found."""

    seconds: float
    peak: int | str
    found: Any
    cpu: float


class _Sample(NamedTuple):
    """Seconds of a call, and what the process worked in all."""

    seconds: float
    cpu: float


_drawn: Drawn | None = None
_searches: dict[str, nearest_cases.Search] = {}
_refused: dict[str, str] = {}  # who cannot be called, and why


def _open(folder: str, names: Sequence[str], distance: str, stored: str) -> dict[str, str]:
    """Takes the arrays of a folder; returns who cannot be called, and why."""
    global _drawn
    _drawn = None  # one gallery at a time
    _searches.clear()
    gc.collect()
    _drawn = nearest_cases.kept(pathlib.Path(folder), stored)
    out = {}
    for name in names:
        if why := nearest_cases.takes(name, stored):
            out[name] = why
            continue
        try:
            _warmed(name, distance, _drawn.rows.shape[1], stored)
            with memory.limited():
                _searches[name] = nearest_cases.search(name, _drawn.rows, distance, THREADS)
        except Exception as error:
            out[name] = _why(error)
    _refused.clear()
    _refused.update(out)
    return out


def _warmed(name: str, distance: str, features: int, stored: str) -> None:
    """Compiles and loads what is called."""
    small = nearest_cases.draw(Size(_WARM.n, features), _WARM.d, stored=stored)
    called = nearest_cases.search(name, small.rows, distance, THREADS)
    for queries in (1, _WARM.d):
        called(small.queries[:queries], 1)


def _first(call: _Call) -> _First | str:
    """The first call of its kind, with what it takes; or why it could not be."""
    assert _drawn
    if call.provider not in _searches:
        return _refused.get(call.provider, memory.FAILED)
    queries, found, seconds = _drawn.queries[: call.queries], None, 0.0

    def timed() -> Any:
        nonlocal found, seconds
        start = time.perf_counter()
        found = _searches[call.provider](queries, call.k)
        seconds = time.perf_counter() - start
        return found

    begun = time.process_time()
    try:
        with memory.limited():
            peak = memory.peak_bytes(timed)
    except Exception as error:
        return _why(error)
    result = None if call.provider in CEILINGS else np.asarray(found).astype(np.int64)
    return _First(seconds, peak, result, time.process_time() - begun)


def _sample(call: _Call, number: int) -> _Sample:
    """So many calls in a row, after one that wakes the threads where there are more."""
    assert _drawn
    queries, called = _drawn.queries[: call.queries], _searches[call.provider]
    begun = time.process_time()
    gc.collect()
    gc.disable()
    try:
        if number > 1:
            called(queries, call.k)
        start = time.perf_counter()
        for _ in range(number):
            called(queries, call.k)
        seconds = (time.perf_counter() - start) / number
    finally:
        gc.enable()
    return _Sample(seconds, time.process_time() - begun)


def _candidates(distance: str, queries: int, k: int) -> float | None:
    assert _drawn
    return nearest_cases.count_candidates(_drawn.queries[:queries], _drawn.rows, k, distance)


def _why(error: BaseException) -> str:
    if memory.lacks_memory(error):
        return memory.MEMORY
    told = str(error).strip().splitlines()
    return f"{type(error).__name__}: {told[0] if told else ''}"


# --------------------------------------------------------------------------------------------------
# In the process that asks them
# --------------------------------------------------------------------------------------------------


class Processes:
    """One for each library: who is called is called there."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self._pools: dict[str, ProcessPoolExecutor] = {}
        self._ended: set[str] = set()  # with the gallery of now

    def open(self, folder: str, distance: str, stored: str) -> dict[str, str]:
        """Has all take the arrays of a folder; returns who cannot be called, and why."""
        self._ended.clear()
        out: dict[str, str] = {}
        for names in (tuple(group) for _, group in itertools.groupby(self.names, _place)):
            failed = self.ask(names[0], _open, folder, names, distance, stored)
            out |= failed if isinstance(failed, dict) else dict.fromkeys(names, failed)
        return out

    def ask(self, provider: str, function: Any, *given: Any) -> Any:
        """What a function returns in the process of a provider; a text if that came to an end."""
        place = _place(provider)
        if place not in self._ended:
            try:
                return self._pool(place).submit(function, *given).result()
            except BrokenProcessPool:
                self._pools.pop(place)
                self._ended.add(place)
        return memory.MEMORY  # for want of which the system ends processes

    def close(self) -> None:
        """Ends them."""
        for pool in self._pools.values():
            pool.shutdown()
        self._pools.clear()

    def _pool(self, place: str) -> ProcessPoolExecutor:
        if place not in self._pools:
            context = multiprocessing.get_context("spawn")
            self._pools[place] = ProcessPoolExecutor(1, mp_context=context)
            with _few_threads():  # a process is started by what it is first asked
                self._pools[place].submit(os.getpid).result()
        return self._pools[place]


def _place(provider: str) -> str:
    return OURS if provider in _OURS_TOO else provider


@contextlib.contextmanager
def _few_threads() -> Iterator[None]:
    """Processes that are started have so many threads in every library."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, str(THREADS)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def chosen(peers: Sequence[str] = PEERS) -> list[str]:
    """Who is called: ours, the ceilings, and the peers that are there."""
    return [name for name in (*_OURS_TOO, *peers) if name not in MISSING]


class _Contender(NamedTuple):
    name: str  # of the row
    call: _Call
    seconds: list[float]
    number: int


def measure(
    processes: Processes, plan: Plan, queries: int, k: int, repeats: int = REPEATS
) -> list[Row]:
    """The rows of a case: every contender in every turn, slow ones in a few.

    Raises:
        ValueError: the contenders do not find the same rows.
        RuntimeError: ours cannot be called.
    """
    distance, size = plan.distance, plan.size
    ceiling = READ if queries == 1 else NUMPY_PRODUCTS
    names = [name for name in processes.names if name == ceiling or name not in CEILINGS]
    busy, own, start = runner._busy_seconds(), runner._own_seconds(), time.perf_counter()
    worked = 0.0
    contenders, peaks, out = [], {}, {}
    right: Any = None
    for name in names:
        call = _Call(name, queries, k)
        time.sleep(_ASLEEP)
        first = processes.ask(name, _first, call)
        if isinstance(first, str):
            if name in _OURS_TOO:  # who take all galleries
                raise RuntimeError(f"{name} cannot be called: {first}")
            out[name] = first
            sys.stdout.write(f"{distance} {size.n}x{size.d}: {name} is left out ({first})\n")
            continue
        worked += first.cpu
        peaks[name] = first.peak
        if name not in CEILINGS:
            right = first.found if right is None else right
            _check(name, first.found, right)
        number = max(1, math.ceil(_SAMPLE / first.seconds))
        contenders.append(_Contender(name, call, [first.seconds], number))
    contenders += [
        _Contender(AGAIN, c.call, [], c.number)
        for c in contenders
        if c.name == OURS and c.seconds[0] <= SLOW
    ]
    for turn in range(repeats):
        for contender in contenders:
            times = contender.seconds
            # A ceiling whose first call met memory for the first time would be none.
            again = contender.name in CEILINGS and turn == 0
            if again or turn < _turns(min(times or contenders[0].seconds)):
                time.sleep(_ASLEEP)
                sample = processes.ask(
                    contender.call.provider, _sample, contender.call, contender.number
                )
                if isinstance(sample, str):
                    raise RuntimeError(f"{contender.name} came to an end")
                times.append(sample.seconds)
                worked += sample.cpu
    taken = (runner._busy_seconds() - busy) - (runner._own_seconds() - own) - worked
    others = max(0.0, taken / (time.perf_counter() - start) / (os.cpu_count() or 1))
    candidates = processes.ask(OURS, _candidates, distance, queries, k)  # no part of that

    samples = {c.name: c for c in contenders if c.seconds}
    least = {name: min(c.seconds) for name, c in samples.items()}
    rows = []
    for name in dict.fromkeys((*samples, *names)):
        found, bytes_ = samples.get(name), peaks.get(name, memory.UNKNOWN)
        known = isinstance(bytes_, int) and name not in CEILINGS
        rows.append(
            Row(
                *("time", distance, name, size.n, size.d, plan.stored, queries, k),
                least=least.get(name),
                p50=float(np.median(found.seconds)) if found else None,
                repeats=len(found.seconds) if found else 0,
                calls=found.number if found else 0,
                share=least[ceiling] / least[name] if found and ceiling in least else None,
                faster=_faster(least) if name == OURS else {},
                left_out="" if found else out.get(name, memory.FAILED),
                peak_bytes=int(bytes_) if known else None,
                no_peak="" if known else out.get(name, memory.UNKNOWN),
                candidates=candidates if name == OURS else None,
                others=others,
                commit=runner._commit(),
                time=_now(),
            )
        )
    return rows


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _faster(least: dict[str, float]) -> dict[str, float]:
    """How much longer the others take than ours, and the same call another time."""
    return {n: least[n] / least[OURS] for n in (*PEERS, AGAIN) if n in least and OURS in least}


def _turns(seconds: float) -> int:
    """How many turns one takes part in whose calls take so long."""
    if seconds > SLOW:
        return 0 if seconds > LONG else 1
    return max(_FEW, int(_TIME / seconds))


def _check(name: str, found: Any, right: Any) -> None:
    """Raises unless neighbours of ordinary rows are those that are expected, nearly all of them.

    Raises:
        ValueError: they are not.
    """
    if found.shape != right.shape:
        raise ValueError(f"what {name} finds has shape {found.shape}, not {right.shape}")
    pairs = zip(found, right, strict=True)
    alike = np.mean([np.isin(mine, theirs).mean() for mine, theirs in pairs])
    if not alike >= _ALIKE:
        raise ValueError(f"{name} finds {alike:.1%} of the neighbours that {OURS} finds")


def answers(processes: Processes, kind: Kind, size: Size) -> list[Answers]:
    """How many of the answers of each are wrong, for one kind of data."""
    count, k = ANSWERS_QUERIES, ANSWERS_K
    drawn = kind.draw(np.random.default_rng(0), size, count)
    with tempfile.TemporaryDirectory() as folder:
        nearest_cases.keep(drawn, pathlib.Path(folder))
        out = processes.open(folder, kind.distance, STORED[0])
    right = nearest_cases.truth(drawn, k, kind.distance)
    rows = []
    for name in processes.names:
        if name in CEILINGS:
            continue
        first: Any = out.get(name) or processes.ask(name, _first, _Call(name, count, k))
        why = first if isinstance(first, str) else ""
        found = None if isinstance(first, str) else nearest_cases.wrong(first.found, right)
        if why:
            sys.stdout.write(f"{kind.name} {kind.distance}: {name} is left out ({first})\n")
        rows.append(
            Answers(
                *("answers", kind.distance, kind.name, name, size.n, size.d, "float32", count, k),
                wrong_order=found.order if found else None,
                wrong_rows=found.rows if found else None,
                left_out=why,
                commit=runner._commit(),
                time=_now(),
            )
        )
    return rows


# --------------------------------------------------------------------------------------------------
# The command line
# --------------------------------------------------------------------------------------------------


class Plan(NamedTuple):
    """What is measured of one gallery."""

    distance: str
    size: Size
    cases: tuple[tuple[int, int], ...]  # queries and k
    stored: str  # one of STORED


def main(arguments: Sequence[str]) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench nearest", description=__doc__)
    distances = (COSINE, SQEUCLIDEAN, EUCLIDEAN)
    parser.add_argument("--distances", help=f"among {', '.join(distances)}")
    parser.add_argument("--sizes", help="NxD of galleries, separated by commas")
    parser.add_argument(
        "--stored", help=f"how galleries are: {'; '.join(STORED)}; separated by semicolons"
    )
    parser.add_argument("--queries", help=f"of a call; by default {_text(QUERIES)}")
    parser.add_argument("--k", help=f"neighbours; by default {_text(NEIGHBOURS)}")
    parser.add_argument(
        "--peers", default=",".join(PEERS), help=f"none, or among {', '.join(PEERS)}"
    )
    parser.add_argument("--repeats", type=int, default=REPEATS, help="turns at most")
    parser.add_argument(
        "--json", type=pathlib.Path, help="file for the rows; those of what is not measured stay"
    )
    parser.add_argument(
        "--all", action="store_true", help=f"{MORE}, too, and many queries of large galleries"
    )
    parser.add_argument("--no-times", action="store_true", help="only how many answers are wrong")
    parser.add_argument("--no-answers", action="store_true", help="only times and memory")
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_REPEATS} turns, {QUICK.sizes}"
    )
    given = parser.parse_args(arguments)
    if given.quick:
        given.repeats, given.sizes = QUICK_REPEATS, given.sizes or QUICK.sizes
    if given.repeats < 1:
        parser.error("--repeats must be at least 1")
    peers = [] if given.peers == "none" else given.peers.split(",")
    for option, names, known in (
        ("--peers", peers, PEERS),
        ("--distances", (given.distances or COSINE).split(","), distances),
        ("--stored", (given.stored or STORED[0]).split(";"), STORED),
    ):
        for name in names:
            if name not in known:
                parser.error(f"{option} must be among {', '.join(known)}, got {name}")
    numbers = {}
    for option, text in (("queries", given.queries), ("k", given.k)):
        numbers[option] = [int(n) for n in (text or "").split(",") if n.isdecimal() and int(n)]
        if text and len(numbers[option]) != len(text.split(",")):
            parser.error(f"--{option} must be numbers from 1 on, got {text}")
    for text in (given.sizes or "").split(","):
        if text and not sized(text):
            parser.error(f"--sizes must be NxD, got {text}")
    plans = _plans(given, numbers["queries"], numbers["k"])
    for plan in plans:
        most = max(k for _, k in plan.cases)
        if plan.size.n < most:
            parser.error(f"--k must be at most the rows of a gallery, {plan.size.n}, got {most}")
    for name in MISSING:
        if name in peers:
            sys.stdout.write(f"{name} is not installed and left out\n")

    run = _environment(arguments)
    before: list[dict[str, Any]] = []
    of_all = (given.distances, given.sizes, given.stored, given.queries, given.k) == (None,) * 5
    whole = of_all and not (given.no_times or given.no_answers) and peers == list(PEERS)
    if given.json and given.json.exists() and not whole:
        old = report.load(given.json)
        if unlike := [key for key in _ALIKE_RUNS if _of(old.run, key) != _of(run, key)]:
            parser.error(f"{given.json} is of other {', '.join(unlike)}: name another file")
        before = old.rows
    if given.json:  # found out now that it cannot be written, not in half an hour
        _write(given.json, run, before)
    processes = Processes(chosen(peers))
    try:
        return _run(processes, () if given.no_times else plans, given, run, before)
    finally:
        processes.close()


def _text(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))


def _plans(given: argparse.Namespace, queries: Sequence[int], ks: Sequence[int]) -> list[Plan]:
    """What is asked for; of the default and of ``--all``, without what takes too long."""
    found = GALLERIES
    if given.distances or given.sizes or given.stored:
        sizes = given.sizes or GALLERIES[0].sizes
        found = tuple(
            Galleries(d, sizes, stored=s)
            for d in (given.distances or COSINE).split(",")
            for s in (given.stored or STORED[0]).split(";")
        )
    elif given.all:
        found = tuple(
            g._replace(sizes=f"{g.sizes},{MORE}") if g.stored == STORED[0] else g for g in found
        )
    plans = []
    for galleries in found:
        for size in filter(None, map(sized, galleries.sizes.split(","))):
            asked = queries or [
                q for q in galleries.queries if given.all or q * size.n * size.d <= MOST
            ]
            cases = itertools.product(asked, ks or NEIGHBOURS)
            plans.append(Plan(galleries.distance, size, tuple(cases), galleries.stored))
    return plans


def _fits(size: Size, processes: Processes) -> bool:
    """Whether each of the processes can have a copy of the gallery, and this one the file."""
    copies = len({_place(name) for name in processes.names}) + 1
    return 4 * size.n * size.d * copies < 0.9 * runner._available()


def _run(
    processes: Processes,
    plans: Sequence[Plan],
    given: argparse.Namespace,
    run: dict[str, Any],
    rows: list[dict[str, Any]],
) -> int:
    status = 0

    def tell(new: Sequence[Row | Answers]) -> None:
        nonlocal rows
        fresh = [{"kind": "result", **row._asdict()} for row in new]
        keys = {_key(row) for row in fresh}
        rows = [row for row in rows if _key(row) not in keys] + fresh
        sys.stdout.write(nearest_report.lines(fresh) + "\n")
        sys.stdout.flush()
        if given.json:
            _write(given.json, run, rows)

    for plan in plans:
        what = f"{plan.distance} {plan.size.n}x{plan.size.d} {plan.stored}"
        if not _fits(plan.size, processes):
            sys.stdout.write(f"{what} does not fit and is left out\n")
            continue
        try:
            out = _opened(processes, plan)
        except Exception:
            status |= _failed(what)
            continue
        for name, why in out.items():
            sys.stdout.write(f"{what}: {name} cannot be called ({why})\n")
        for queries, k in plan.cases:
            try:
                tell(measure(processes, plan, queries, k, given.repeats))
            except Exception:
                status |= _failed(f"{what}, {queries} queries, k {k}")
    for kind in () if given.no_answers else KINDS:
        try:
            tell(answers(processes, kind, QUICK_ANSWERS if given.quick else ANSWERS))
        except Exception:
            status |= _failed(f"{kind.name} {kind.distance}")
    return status


def _opened(processes: Processes, plan: Plan) -> dict[str, str]:
    """Has all take the gallery of a plan."""
    with tempfile.TemporaryDirectory() as folder:
        most = max(queries for queries, _ in plan.cases)
        drawn = nearest_cases.draw(plan.size, most, stored=plan.stored)
        nearest_cases.keep(drawn, pathlib.Path(folder))
        del drawn
        gc.collect()
        return processes.open(folder, plan.distance, plan.stored)


def _failed(what: str) -> int:
    sys.stderr.write(f"{what} failed\n")
    traceback.print_exc()
    return 1


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    """What a row is of: rows of all that were called are replaced together."""
    keys: tuple[str, ...] = ("case", "n", "d", "dtype", "queries", "k")
    if row["part"] == "answers":  # one table, of one size
        keys = ("case", "data")
    return (row["part"], *(row[key] for key in keys))


def _of(run: dict[str, Any], key: str) -> Any:
    """What a run has; of the versions those of others."""
    found = run.get(key)
    return {**found, "fastcos": ""} if isinstance(found, dict) else found


def _write(path: pathlib.Path, run: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """The file, with the rows in the order of what they are of."""
    kinds = [(kind.distance, kind.name) for kind in KINDS]
    distances = (COSINE, SQEUCLIDEAN, EUCLIDEAN)

    def order(row: dict[str, Any]) -> tuple[Any, ...]:
        if row["part"] == "answers":
            return (1, kinds.index((row["case"], row["data"])))
        keys = ("n", "d", "queries", "k")
        of = distances.index(row["case"]), STORED.index(row["dtype"])
        return (0, *of, *(row[key] for key in keys))

    runner.write(path, (run, *sorted(rows, key=order)))


def _environment(arguments: Sequence[str]) -> dict[str, Any]:
    def details() -> dict[str, Any]:
        try:
            blas: Any = np.show_config(mode="dicts")
            blas = blas["Build Dependencies"]["blas"]
        except (TypeError, KeyError):
            blas = {}
        return {"blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()}

    suite = runner.SUITE._replace(words=("nearest",), versions=(), missing=(), details=details)
    found = runner.environment(suite, arguments)
    others = {of: v for of, v in nearest_cases.versions(PEERS).items() if of != "fastcos"}
    # Those of the processes that are started; this one has as many as there are cores.
    return {
        **{**found, "threads": THREADS, "missing": list(MISSING)},
        "versions": {**found["versions"], **others},
    }
