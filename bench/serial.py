"""What a call does on one thread however many there are, and what waking the others takes.

    NUMBA_NUM_THREADS=8 python -m bench.serial

For ``docs/speed/threads.md``: times in microseconds, the median of many.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import time
from collections.abc import Callable

import numba
import numpy as np

import fastcos
from bench.runner import caches
from fastcos.kernels.cpu import compile

#: Seconds that each figure is measured for.
SECONDS = 0.3


def main(seconds: float = SECONDS) -> int:
    """Prints a line for each figure."""
    for count in (1 << 13, 1 << 17, 1_000_000, 1 << 22):
        _told(f"the sum of {count:,} losses", _sum_of_losses(count, seconds))
    for features in (128, 768):
        sums = np.ones((1, 256, features))
        took = _microseconds(lambda sums=sums: sums.sum(axis=1), seconds)
        _told(f"the sum of 256 tasks' float64 sums of a row of {features}", took)
    rng = np.random.default_rng(0)
    for rows, features in ((1_000_000, 16), (1_000_000, 128)):
        x, y = rng.standard_normal((2, rows, features), dtype=np.float32)
        took = _on(x, y, (1,), 0, 3 * seconds)
        _told(f"a call of {rows:,} x {features}, on one thread", took)
    x = rng.random(1 << 22, dtype=np.float32)
    marks = np.where(rng.random(1 << 22) < 0.5, 1, -1).astype(np.int8)
    with fastcos.threads(1):
        took = _microseconds(lambda: fastcos.hinge_embedding_loss(x, marks), seconds)
    _told(f"hinge_embedding_loss of {1 << 22:,} numbers, on one thread", took)
    x, y = rng.standard_normal((2, 32, 128), dtype=np.float32)
    _told(
        "a call of 32 x 128, on one thread",
        _microseconds(lambda: fastcos.cosine_similarity(x, y), seconds),
    )
    x, y = rng.standard_normal((2, 256, 128), dtype=np.float32)
    most = numba.config.NUMBA_NUM_THREADS
    counts = [n for n in (1, 2, 4, 8, 16, 32, 64, 128, 256) if n <= most]
    for count in counts:
        _told(f"a call of 256 x 128 on {count} threads", _on(x, y, (count,), 0, seconds))
    for count in counts:
        took = _on(x, y, (count,), 0.05, 5 * seconds)
        _told(f"the same, each after 50 ms, when threads sleep, on {count}", took)
    for count in counts[1:-1]:
        took = _on(x, y, (count, most), 0, seconds)
        _told(f"the same, on {count} and {most} by turns, each", took)
    return 0


def _told(what: str, microseconds: float) -> None:
    sys.stdout.write(f"{what:66} {microseconds:10.2f} us\n")
    sys.stdout.flush()


def _sum_of_losses(count: int, seconds: float) -> float:
    """As the loop over tasks takes it; of losses that are not in the first caches any more."""
    summed = numba.njit(lambda values: compile._sum(values))  # type: ignore[attr-defined]
    rotating = itertools.cycle([np.ones(count) for _ in range(1 + (64 << 20) // (8 * count))])
    if 8 * count <= caches().get("L2", 1 << 20):
        rotating = itertools.cycle([np.ones(count)])
    empty = np.ones(1)
    nothing = _microseconds(lambda: summed(empty), seconds / 4)
    return _microseconds(lambda: summed(next(rotating)), seconds) - nothing


def _on(x: object, y: object, counts: tuple[int, ...], pause: float, seconds: float) -> float:
    turn = itertools.cycle(counts)

    def call() -> None:
        with fastcos.threads(next(turn)):
            fastcos.cosine_similarity(x, y)

    return _microseconds(call, seconds, pause)


def _microseconds(call: Callable[[], object], seconds: float, pause: float = 0) -> float:
    for _ in range(3):
        call()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        if pause:
            time.sleep(pause)
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times)


if __name__ == "__main__":
    sys.exit(main())
