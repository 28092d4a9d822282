"""Times the providers of a case in turn, beside the ceilings, and keeps one row for each."""

from __future__ import annotations

import gc
import importlib.metadata
import itertools
import json
import math
import os
import pathlib
import platform
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import llvmlite
import llvmlite.binding
import numba
import numpy as np

import fastcos
from bench import ceilings
from bench.cases import (
    CASES,
    GRADIENT,
    GRADIENT_OUT,
    MISSING,
    PEERS,
    VALUE,
    Buffers,
    Case,
    Thunk,
    calls,
    counted_bytes,
    draw,
)
from fastcos.kernels.cpu.streaming import caches

#: A sample repeats its call until it takes about this long, in seconds.
SAMPLE = 1e-3
#: Rounds are judged together until they took this long: clock ticks are 10 ms.
_BATCH = 0.3
#: A batch in which other processes had more of the machine than this is taken again,
QUIET = 0.05
#: up to so many times the rounds asked for; then the quietest batches are taken.
_PATIENCE = 5
#: What sets of buffers may take in all, in bytes.
_MEMORY = 4 << 30
READ, COPY = "read", "copy"
OURS = "fastcos"
#: The control: the same call once more in every round, at the end of its mode.
AGAIN = "fastcos again"


class Size(NamedTuple):
    """Samples, and features of a row; and rows of the table that samples name, if they do."""

    n: int
    d: int
    table: int = 0


SIZES = {"small": Size(32, 128), "medium": Size(1024, 256), "large": Size(8192, 768)}


def sized(text: str) -> Size | None:
    """The size that a name or ``NxD`` tells, or None."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    return Size(*map(int, match.groups())) if match else SIZES.get(text)


class Row(NamedTuple):
    """One provider of one case. Seconds are per call; quotients are of medians, above 1 is better.

    Args:
        case: The case.
        mode: ``value``, ``value_and_grad`` or ``value_and_grad_out``; ``ceiling`` for a ceiling.
        provider: Who.
        n: Samples.
        d: Features of each.
        dtype: Of the rows.
        cache: ``"in"`` if the calls reuse one set of arrays, ``"out"`` if they rotate.
        sets: Number of sets.
        working_set: Bytes of the sets that the calls of this row touch.
        repeats: Samples taken.
        calls: Calls per sample.
        bytes: Counted bytes per call.
        p20: Quantile of the samples.
        p50: Median.
        p80: Quantile.
        gbps: Counted bytes over the median, in 10⁹ bytes per second.
        ceiling: The ceiling compared with.
        share: Bandwidth over that of the ceiling.
        share_p20: Quantile of the same quotient within a round.
        share_p80: Quantile.
        faster: By peer, its median over this one, with quantiles of the quotient within a round.
        others: The share of the machine that other processes took, at worst.
        saved_bytes: What is kept for the backward pass, where there is one.
        host: Where the seconds are a GPU's, those of the host, with quantiles.
        peak_bytes: What a call has allocated at most, beyond what was there before: on a GPU; and
            where rows of a table are named, through NumPy.
        table: Where rows of a table are named, how many it has.
        threads: On how many, where several numbers of them are compared.
    """

    case: str
    mode: str
    provider: str
    n: int
    d: int
    dtype: str
    cache: str
    sets: int
    working_set: int
    repeats: int
    calls: int
    bytes: int
    p20: float
    p50: float
    p80: float
    gbps: float
    ceiling: str
    share: float
    share_p20: float
    share_p80: float
    faster: dict[str, dict[str, float]]
    others: float
    saved_bytes: int | None = None
    host: dict[str, float] | None = None
    peak_bytes: int | None = None
    table: int | None = None
    threads: int | None = None


class Suite(NamedTuple):
    """What there is to measure and to choose from, for the command line.

    Args:
        words: Of the command, after ``python -m bench``.
        title: What it does.
        cases: Each has a ``name``.
        sizes: Measured unless others are asked for.
        dtypes: Likewise.
        repeats: Likewise.
        peers: Whom fastcos can be compared with.
        missing: Peers that this machine has not.
        versions: Distributions of the peers, for the record of the run.
        fault: What keeps it from being measured here; empty where nothing does.
        cache: Bytes of the last-level cache.
        pool: Sets of buffers of a size and a dtype, given that; none where they do not fit.
        measure: The rows of a case, a size, a dtype, sets, a number of repeats, and peers.
        details: What else the record of the run has.
        chosen: Patterns of the names of the cases that are measured unless others are asked for.
        sized: The size that a text tells, or None.
        spelling: What such a text looks like.
    """

    words: tuple[str, ...]
    title: str
    cases: Sequence[Any]
    sizes: str
    dtypes: str
    repeats: int
    peers: Sequence[str]
    missing: Sequence[str]
    versions: Sequence[str]
    fault: Callable[[], str]
    cache: Callable[[], int]
    pool: Callable[[Size, str, int], Sequence[Any]]
    measure: Callable[[Any, Size, str, Sequence[Any], int, Sequence[str]], Iterator[Row]]
    details: Callable[[], dict[str, Any]]
    chosen: str = "*"
    sized: Callable[[str], Size | None] = sized
    spelling: str = f"NxD or {', '.join(SIZES)}"


class _Contender(NamedTuple):
    mode: str
    provider: str
    thunks: tuple[Thunk, ...]
    bytes: int
    touched: int  # bytes of one set


def pool(size: Size, dtype: str, last_level: int) -> list[Buffers]:
    """The sets of buffers that calls of this size rotate over.

    Where one array fits the second-level cache of a core, a caller would find it there, and there
    is one set. Beyond, there are so many that the operands of a pair alone exceed twice the last
    level, memory permitting.
    """
    first = draw(size.n, size.d, dtype)
    array = first.rows[0].nbytes
    if array <= caches().get("L2", 2 << 20):
        return [first]
    each = sum(a.nbytes for a in (*first.rows, *first.grads, first.marks))
    enough = math.ceil(2 * last_level / (2 * array)) + 1
    affordable = int(min(_MEMORY, _available() // 2) // each)
    copies = max(2, min(enough, affordable)) - 1
    return [first, *(_copied(first) for _ in range(copies))]


def _copied(b: Buffers) -> Buffers:
    rows, grads = (tuple(a.copy() for a in arrays) for arrays in (b.rows, b.grads))
    return Buffers(rows, grads, b.labels.copy(), b.weights.copy(), b.marks.copy())


def measure(
    case: Case,
    size: Size,
    dtype: str,
    sets: Sequence[Buffers],
    repeats: int,
    peers: Sequence[str] = PEERS,
) -> Iterator[Row]:
    """The rows of a case: every contender in every round, each call on the next set of buffers."""
    contenders = _contenders(case, sets, peers)
    turn = itertools.count()
    numbers = [_calibrated(c, turn) for c in contenders]
    samples, others = _rounds(contenders, numbers, turn, repeats)
    by_name = {(c.mode, c.provider): samples[:, j] for j, c in enumerate(contenders)}
    for c, number in zip(contenders, numbers, strict=True):
        times = by_name[c.mode, c.provider]
        ceiling = ceiling_of(c)
        best = by_name["ceiling", ceiling]
        (limit,) = (k for k in contenders if (k.mode, k.provider) == ("ceiling", ceiling))
        share = c.bytes / limit.bytes * _quotient(best, times)
        against = _peers(by_name, c)
        yield summary(
            c, case.name, size, dtype, len(sets), times, number, ceiling, share, against, others
        )


def ceiling_of(c: _Contender) -> str:
    """The ceiling that a contender is compared with; of a ceiling measured again, that itself."""
    own = c.provider.partition(" ")[0] if c.mode == "ceiling" else ""
    return own or (READ if c.mode == VALUE else COPY)


def summary(
    c: _Contender,
    case: str,
    size: Size,
    dtype: str,
    sets: int,
    times: Any,
    number: int,
    ceiling: str,
    share: Any,
    peers: dict[str, Any],
    others: float,
) -> Row:
    """The row of one contender, from its samples and those of its peers."""
    p20, p50, p80 = quantiles(times).values()
    return Row(
        case,
        c.mode,
        c.provider,
        size.n,
        size.d,
        dtype,
        "in" if sets == 1 else "out",
        sets,
        c.touched * sets,
        len(times),
        number,
        c.bytes,
        p20,
        p50,
        p80,
        c.bytes / p50 / 1e9,
        ceiling,
        *share,
        {
            name: dict(zip(("ratio", "p20", "p80"), _quotient(peer, times), strict=True))
            for name, peer in peers.items()
        },
        others,
    )


def quantiles(times: Any) -> dict[str, float]:
    """What is kept of samples."""
    return dict(zip(("p20", "p50", "p80"), np.quantile(times, (0.2, 0.5, 0.8)), strict=True))


def _contenders(case: Case, sets: Sequence[Buffers], peers: Sequence[str]) -> list[_Contender]:
    """Ceilings, then each provider; fastcos and the ceilings a second time as controls."""
    bound = [calls(case, b, peers) for b in sets]
    operands = [case.inputs(b)[: case.operands] for b in sets]
    targets = [
        tuple(g.reshape(o.shape) for g, o in zip(b.grads, ops, strict=False))
        for b, ops in zip(sets, operands, strict=True)
    ]
    once = sum(a.nbytes for a in operands[0])

    def ceiling(name: str, thunks: Iterable[Thunk]) -> _Contender:
        total = once * (2 if name.startswith(COPY) else 1)
        return _Contender("ceiling", name, tuple(thunks), total, total)

    def provider(mode: str, name: str) -> _Contender:
        moved = counted_bytes(case, sets[0], mode)
        touched = moved if mode == GRADIENT_OUT else counted_bytes(case, sets[0], VALUE)
        return _Contender(mode, name, tuple(b[mode, name] for b in bound), moved, touched)

    names = list(bound[0])
    copies = ceilings.best_copies(operands, targets)
    return [
        ceiling(READ, map(ceilings.read, operands)),
        *(provider(mode, name) for mode, name in names if mode == VALUE),
        provider(VALUE, OURS)._replace(provider=AGAIN),
        ceiling(f"{READ} again", map(ceilings.read, operands)),
        ceiling(COPY, copies),
        *(provider(mode, name) for mode, name in names if mode != VALUE),
        provider(GRADIENT_OUT, OURS)._replace(provider=AGAIN),
        ceiling(f"{COPY} again", copies),
        ceiling(f"{COPY} by NumPy", map(ceilings.numpy_copy, operands, targets)),
    ]


def _peers(by_name: dict[tuple[str, str], Any], c: _Contender) -> dict[str, Any]:
    """The other providers of what this one computes; new arrays or the caller's are the same.

    The control is a peer of fastcos alone, and has none; nor have the ceilings.
    """
    if c.mode == "ceiling" or c.provider == AGAIN:
        return {}
    mode = GRADIENT if c.mode == GRADIENT_OUT else c.mode
    found = {
        name: times
        for (m, name), times in by_name.items()
        if m == mode and name not in (c.provider, AGAIN)
    }
    if c.provider == OURS and (c.mode, AGAIN) in by_name:
        found[AGAIN] = by_name[c.mode, AGAIN]
    return found


def _quotient(above: Any, below: Any) -> Any:
    """Of the medians, then the quantiles of the quotient within a round."""
    low, high = np.quantile(above / below, (0.2, 0.8))
    return np.array([np.median(above) / np.median(below), low, high])


def _calibrated(c: _Contender, turn: Iterator[int]) -> int:
    """How many calls make a sample; compiles on the way."""
    _timed(c, 1, turn)
    seconds = min(_timed(c, 1, turn) for _ in range(3))
    return max(1, math.ceil(SAMPLE / seconds))


def _timed(c: _Contender, number: int, turn: Iterator[int]) -> float:
    thunks = [c.thunks[next(turn) % len(c.thunks)] for _ in range(number)]
    _wake()
    start = time.perf_counter()
    for thunk in thunks:
        thunk()
    return (time.perf_counter() - start) / number


@numba.njit(parallel=True)
def _spread(out: Any) -> None:
    for i in numba.prange(out.size):
        out[i] = i


_AWAKE = np.empty(64)


def _wake() -> None:
    """Wakes the threads, which sleep while a peer runs on one, so that nobody pays for it."""
    _spread(_AWAKE)


def _rounds(
    contenders: Sequence[_Contender],
    numbers: Sequence[Any],
    turn: Iterator[int],
    repeats: int,
    timed: Callable[[_Contender, Any, Iterator[int]], Any] = _timed,
    patience: int = _PATIENCE,
) -> tuple[Any, float]:
    """Seconds per call, by round and contender, and what other processes took meanwhile.

    Rounds are kept or taken again whole, so that no contender has better weather than another.
    """
    batches: list[tuple[float, list[list[Any]]]] = []
    quiet = taken = 0
    gc.collect()
    gc.disable()
    try:
        while quiet < repeats and taken < patience * repeats:
            rounds: list[list[Any]] = []
            start, busy, own = time.perf_counter(), _busy_seconds(), _own_seconds()
            while time.perf_counter() - start < _BATCH and len(rounds) < repeats:
                rounds.append([timed(c, k, turn) for c, k in zip(contenders, numbers, strict=True)])
            others = (_busy_seconds() - busy) - (_own_seconds() - own)
            share = max(0.0, others / (time.perf_counter() - start) / (os.cpu_count() or 1))
            batches.append((share, rounds))
            taken += len(rounds)
            quiet += len(rounds) if share <= QUIET else 0
    finally:
        gc.enable()
    chosen: list[list[Any]] = []
    worst = 0.0
    for share, rounds in sorted(batches, key=lambda batch: batch[0]):
        if len(chosen) < repeats:
            chosen += rounds
            worst = share
    return np.array(chosen[:repeats]), worst


def _own_seconds() -> float:
    return sum(os.times()[:2])


def _busy_seconds() -> float:
    """What the processors worked so far, for anybody, and what a hypervisor took from them."""
    try:
        line = pathlib.Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0]
    except OSError:
        return _own_seconds()
    user, nice, system, _, _, irq, softirq, steal = map(int, line.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


# --------------------------------------------------------------------------------------------------
# Where it ran
# --------------------------------------------------------------------------------------------------


def write(path: pathlib.Path | None, entries: Iterable[Mapping[str, Any]]) -> None:
    """A file of results, a line for each entry, where one is wanted; ``report.load`` reads it."""
    if path:
        lines = [json.dumps(entry) for entry in entries]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def environment(suite: Suite, arguments: Sequence[str]) -> dict[str, Any]:
    """Versions, processor, threads, time and the command line; nothing that names the machine."""
    _wake()
    peers = [name for name in suite.versions if name not in suite.missing]
    return {
        "kind": "run",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": shlex.join(["python", "-m", "bench", *suite.words, *arguments]),
        "commit": _commit(),
        "versions": {
            "fastcos": fastcos.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": numba.__version__,
            "llvmlite": llvmlite.__version__,
            **{name: importlib.metadata.version(name) for name in peers},
        },
        "missing": list(suite.missing),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_model(),
        "architecture": llvmlite.binding.get_host_cpu_name(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "threads": numba.get_num_threads(),
        "threading_layer": numba.threading_layer(),
        "caches": caches(),
        "memory": _available(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        **suite.details(),
    }


def last_level_cache() -> int:
    """The largest cache, or 64 MiB where it is not known."""
    return max(caches().values(), default=64 << 20)


def _available() -> int:
    try:
        text = pathlib.Path("/proc/meminfo").read_text(encoding="ascii")
        return int(text.split("MemAvailable:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        return _MEMORY


def _cpu_model() -> str:
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit() -> str:
    """The revision that was measured, with a plus where the package was edited since.

    A copy that came without its history is told by ``FASTCOS_COMMIT``.
    """
    root = pathlib.Path(__file__).parent.parent
    if told := os.environ.get("FASTCOS_COMMIT"):
        return told

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
            )
        except OSError:
            return ""
        return done.stdout.strip()

    edited = git("status", "--porcelain", "--", "fastcos", "adapters", "bench/*.py")
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + ("+" if edited else "")


SUITE = Suite(
    words=(),
    title="Times every case against the ceilings of this machine and its peers.",
    cases=CASES,
    sizes=",".join(SIZES),
    dtypes="float32",
    repeats=30,
    peers=PEERS,
    missing=MISSING,
    versions=("scipy", "scikit-learn", "simsimd", "numkong"),
    fault=str,
    cache=last_level_cache,
    pool=pool,
    measure=measure,
    details=dict,
)
