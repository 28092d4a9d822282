"""What the benches of a GPU share, whoever's arrays they are: the clock, batches, rows, the driver.

Times are the device's, by events; what the host takes for a call is measured on the same calls.
"""

from __future__ import annotations

import importlib
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bench import runner
from bench.runner import COPY

#: Rows that are drawn. A larger set repeats them: a memory does not look at the numbers, and to
#: draw a billion of them takes longer than all that is measured.
DRAWN = 4096
#: What may wait to be launched; a call that finds no place there waits for the device.
_QUEUE = 1000
#: How many launches a call is, at most, of whom nothing else is said.
_FEW = 4
#: What fastcos compiles and launches with: distributions and their modules.
COMPILERS = (("numba-cuda", "numba_cuda"), ("cuda-core", "cuda.core"))
#: Up to so many times the rounds asked for: others who use the host do not slow the device down.
_PATIENCE = 2


class Batch(NamedTuple):
    """A sample of a contender: how many calls, and the nanoseconds until the first one begins."""

    calls: int
    delay: int = 0


class Clock(NamedTuple):
    """Seconds per call of the device and of the host, for calls on the current stream.

    Args:
        start: An event.
        stop: Another.
        elapsed: Milliseconds between two events.
        spin: Keeps the device busy for so many nanoseconds. So it has all the calls when it begins,
            and waits for none in between.
    """

    start: Any
    stop: Any
    elapsed: Callable[[Any, Any], float]
    spin: Callable[[int], None]

    def __call__(
        self, c: runner._Contender, batch: Batch, turn: Iterator[int]
    ) -> tuple[float, float]:
        thunks = [c.thunks[next(turn) % len(c.thunks)] for _ in range(batch.calls)]
        self.spin(batch.delay)
        self.start.record()
        begin = time.perf_counter()
        for thunk in thunks:
            thunk()
        host = time.perf_counter() - begin
        self.stop.record()
        self.stop.synchronize()
        device = self.elapsed(self.start, self.stop) * 1e-3
        return device / batch.calls, host / batch.calls


def sets(array: int, last_level: int) -> int:
    """How many sets calls rotate over, given the bytes of one operand: the rule of ``runner.pool``.

    There is one where a pair and its gradients fit the cache together.
    """
    return 1 if 4 * array <= last_level else math.ceil(2 * last_level / (2 * array)) + 1


def calibrated(
    clock: Clock,
    contenders: Sequence[runner._Contender],
    turn: Iterator[int],
    launches: Mapping[str, int],
    peers: Sequence[str],
    where: str,
) -> tuple[list[runner._Contender], list[Batch]]:
    """The contenders and their samples; a peer that cannot do it is left out, and the run says so.

    Args:
        clock: Times them, which compiles on the way.
        contenders: Who.
        turn: Which set is next.
        launches: By provider, how many launches a call is, at most.
        peers: Who may be left out.
        where: What is measured, for whoever watches.
    """
    able, batches = [], []
    for c in contenders:
        try:
            batches.append(_calibrated(clock, c, turn, launches.get(c.provider, _FEW)))
        except Exception as error:
            if c.provider not in peers:
                raise
            told = f"{c.provider} is left out ({type(error).__name__}: {error})"
            sys.stdout.write(f"{where} {c.mode}: {told}\n")
        else:
            able.append(c)
    return able, batches


def _calibrated(clock: Clock, c: runner._Contender, turn: Iterator[int], launches: int) -> Batch:
    """How many calls make a sample, and the time to enqueue them."""
    clock(c, Batch(len(c.thunks)), turn)
    seconds = min(clock(c, Batch(1), turn)[0] for _ in range(3))
    enough = max(1, math.ceil(runner.SAMPLE / seconds))
    batch = Batch(min(enough, _QUEUE // launches))
    host = min(clock(c, batch, turn)[1] for _ in range(2))
    return batch._replace(delay=int(1.5e9 * host * batch.calls))


def rows(
    clock: Clock,
    contenders: Sequence[runner._Contender],
    batches: Sequence[Batch],
    turn: Iterator[int],
    repeats: int,
    case: str,
    size: runner.Size,
    dtype: str,
    number: int,
) -> list[runner.Row]:
    """The rows of a case, on so many sets: every contender in every round, beside the copy."""
    samples, others = runner._rounds(contenders, batches, turn, repeats, clock, _PATIENCE)
    device, host = (
        {(c.mode, c.provider): samples[:, j, k] for j, c in enumerate(contenders)} for k in (0, 1)
    )
    (limit,) = (c for c in contenders if (c.mode, c.provider) == ("ceiling", COPY))
    found = []
    for c, batch in zip(contenders, batches, strict=True):
        times = device[c.mode, c.provider]
        share = c.bytes / limit.bytes * runner._quotient(device["ceiling", COPY], times)
        row = runner.summary(
            *(c, case, size, dtype, number, times, batch.calls, COPY, share),
            runner._peers(device, c),
            others,
        )
        found.append(row._replace(host=runner.quantiles(host[c.mode, c.provider])))
    return found


def versions(*modules: tuple[str, str]) -> dict[str, str]:
    """The versions of distributions, each given with its module."""
    return {name: importlib.import_module(module).__version__ for name, module in modules}


def told_by_the_driver(device: str) -> dict[str, str]:
    """The driver's version, and clocks as they are now; nothing where the program is missing.

    Args:
        device: The address of the GPU on its bus, or its UUID.
    """
    names = "driver_version,clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,power.limit"
    command = ["nvidia-smi", f"--id={device}", f"--query-gpu={names}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return {}
    told = [text.strip() for text in done.stdout.split(",")]
    return dict(zip(names.split(","), told, strict=False))
