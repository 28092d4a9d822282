"""How much faster more threads make a call, beside what they make of the ceilings.

    python -m bench --threads 1,2,4,8 --json bench/results/threads.jsonl

One process has as many threads as the largest number; each contender is measured with the first so
many of them, and all numbers are in every round. On a machine of several memory nodes start it with
``numactl --interleave=all``: one thread draws the arrays, and all would lie in its node.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numba

import fastcos
from bench import runner
from bench.cases import Buffers, Case
from bench.report import ALONE
from bench.runner import AGAIN, COPY, OURS, Row, Size, Suite

#: Seconds after a change of the number until threads that were started for it are on their cores.
#: Without them the first sample took up to 3.6 times as long.
_SETTLED = 5e-3
_CPUS, _NODES = pathlib.Path("/sys/devices/system/cpu"), pathlib.Path("/sys/devices/system/node")


class _On(NamedTuple):
    """A contender on so many threads."""

    threads: int
    contender: runner._Contender

    @property
    def thunks(self) -> Any:
        return self.contender.thunks


def numbers(text: str) -> tuple[int, ...] | None:
    """The numbers of threads that a text tells, one among them; None where it tells none."""
    words = text.split(",")
    if not all(word.isdecimal() and int(word) for word in words):
        return None
    return tuple(sorted({1, *map(int, words)}))


def enough(most: int, arguments: Sequence[str]) -> int | None:
    """The exit status of a process that has so many threads; None where this one has."""
    if most <= numba.config.NUMBA_NUM_THREADS:
        return None
    # More than cores: how many there may be is settled when Numba is imported.
    environment = {**os.environ, "NUMBA_NUM_THREADS": str(most)}
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, env=environment, check=False).returncode


def suite(text: str, counts: Sequence[int]) -> Suite:
    """What there is to measure on these numbers of threads, for the command line."""
    return runner.SUITE._replace(
        words=("--threads", text),
        title="Times cases on several numbers of threads, beside the ceilings on as many.",
        chosen="cosine_embedding_loss,triplet_margin_loss",
        sizes="256x128,1024x128,8192x768",
        repeats=15,
        peers=(),
        missing=(),
        versions=(),
        cache=_last_caches,
        measure=functools.partial(_measure, counts),
        details=lambda: {"nodes": len(list(_NODES.glob("node[0-9]*"))) or None},
    )


def _last_caches() -> int:
    """Bytes of the last-level caches of all cores, each of which a few cores may share."""
    level = max((name for name in runner.caches() if name.startswith("L")), default="L3")
    shared = {
        path.read_text(encoding="ascii")
        for path in _CPUS.glob(f"cpu[0-9]*/cache/index{level[1:]}/shared_cpu_list")
    }
    return max(1, len(shared)) * runner.last_level_cache()


def _measure(
    counts: Sequence[int],
    case: Case,
    size: Size,
    dtype: str,
    sets: Sequence[Buffers],
    repeats: int,
    peers: Sequence[str],
) -> Iterator[Row]:
    """The rows of a case, as :func:`bench.runner.measure`, on each number of threads."""
    contenders = []
    for count in counts:
        with _on(count):  # which kind of copy is faster is tried on as many
            those = runner._contenders(case, sets, peers)
        contenders += [_On(count, c) for c in those if c.provider != f"{COPY} by NumPy"]
    turn = itertools.count()
    calls = []
    for each in contenders:
        with _on(each.threads):
            calls.append(runner._calibrated(each.contender, turn))
    samples, others = runner._rounds(contenders, calls, turn, repeats, timed=_timed)
    found = {
        (each.threads, each.contender.mode, each.contender.provider): samples[:, j]
        for j, each in enumerate(contenders)
    }
    for (count, c), number in zip(contenders, calls, strict=True):
        times = found[count, c.mode, c.provider]
        of = runner.ceiling_of(c)
        (limit,) = (
            k.contender
            for k in contenders
            if (k.threads, k.contender.mode, k.contender.provider) == (count, "ceiling", of)
        )
        share = c.bytes / limit.bytes * runner._quotient(found[count, "ceiling", of], times)
        against = {ALONE: found[1, c.mode, c.provider]}
        if c.provider == OURS and (count, c.mode, AGAIN) in found:
            against[AGAIN] = found[count, c.mode, AGAIN]
        row = runner.summary(
            *(c, case.name, size, dtype, len(sets), times, number, of, share, against, others)
        )
        yield row._replace(threads=count)


@contextlib.contextmanager
def _on(count: int) -> Iterator[None]:
    """So many threads, for the ceilings and for fastcos, which with one wakes no other."""
    if numba.get_num_threads() != count:
        numba.set_num_threads(count)
        end = time.perf_counter() + _SETTLED
        while time.perf_counter() < end:
            runner._wake()
    with fastcos.threads(count):
        yield


def _timed(each: _On, number: int, turn: Iterator[int]) -> float:
    with _on(each.threads):
        return runner._timed(each.contender, number, turn)
