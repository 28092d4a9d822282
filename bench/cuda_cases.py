"""Arrays on a GPU, beside the formulas in CuPy: ``python -m bench --device cuda``.

Cases, data, rounds and quotients are those of ``bench.cases`` and ``bench.runner``. Times are the
device's, by events; what the host takes for a call is measured on the same calls. The ceiling, of
values too, is a copy from device to device.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import math
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from bench import cases, runner
from bench.cases import GRADIENT, GRADIENT_OUT, VALUE, Buffers, Case, Thunk, counted_bytes
from bench.runner import AGAIN, COPY, OURS
from fastcos.kernels import _cubin

cp: Any = cases._installed("cupy")

CUPY = "cupy"
PEERS = (CUPY,)
SIZES = (
    "32x128,256x128,1024x128,4096x128,4096x512,65536x128,65536x512,65536x1024,"
    "1048576x128,1048576x512,1048576x1024"
)
_NAMES = (
    "cosine_embedding_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss:cosine",
    "paired_distance:euclidean",
    "hinge_embedding_loss",
)
CASES = tuple(case for case in cases.CASES if case.name in _NAMES)

#: Rows that are drawn. A larger set repeats them: a memory does not look at the numbers, and to
#: draw a billion of them takes longer than all that is measured.
_DRAWN = 4096
#: Arrays of the operands' size that one call may make: new gradients, temporaries of the formulas.
_MADE = 9
#: What may wait to be launched; a call that finds no place there waits for the device.
_QUEUE = 1000
#: How many launches a call is, at most.
_LAUNCHES = {CUPY: 64}
_FEW = 4
#: Up to so many times the rounds asked for: others who use the host do not slow the device down.
_PATIENCE = 2

# What a GPU does while calls are enqueued: then it has them all, and waits for none in between.
_SPIN = r"""
extern "C" __global__ void spin(long long nanoseconds) {
    long long start, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
    do {
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    } while (now - start < nanoseconds);
}
"""


class Batch(NamedTuple):
    """A sample of a contender: how many calls, and the nanoseconds until the first one begins."""

    calls: int
    delay: int = 0


class Clock:
    """Seconds per call of the device and of the host, for calls on the current stream."""

    def __init__(self) -> None:
        self._start, self._stop = cp.cuda.Event(), cp.cuda.Event()
        self._spin = cp.RawKernel(_SPIN, "spin")

    def __call__(
        self, c: runner._Contender, batch: Batch, turn: Iterator[int]
    ) -> tuple[float, float]:
        thunks = [c.thunks[next(turn) % len(c.thunks)] for _ in range(batch.calls)]
        self._spin((1,), (1,), (np.int64(batch.delay),))
        self._start.record()
        begin = time.perf_counter()
        for thunk in thunks:
            thunk()
        host = time.perf_counter() - begin
        self._stop.record()
        self._stop.synchronize()
        device = cp.cuda.get_elapsed_time(self._start, self._stop) * 1e-3
        return device / batch.calls, host / batch.calls


def fault() -> str:
    """What keeps it from being measured here; empty where nothing does."""
    if cp is None:
        return "CuPy is not installed: pip install 'fastcos[cupy,cuda]'"
    if not cp.cuda.is_available():
        return "CuPy finds no GPU, or no driver for it"
    return _cubin.missing()


def cache() -> int:
    """Bytes of the GPU's second-level cache, its last."""
    return int(cp.cuda.Device().attributes["L2CacheSize"])


def pool(size: runner.Size, dtype: str, last_level: int) -> list[Buffers]:
    """The sets of buffers that calls of this size rotate over, by the rule of ``runner.pool``.

    There is one where a pair and its gradients fit the cache together, and none where the memory
    is too small for the sets and what calls allocate.
    """
    drawn = cases.draw(min(size.n, _DRAWN), size.d, dtype)
    array = size.n * size.d * drawn.rows[0].itemsize
    each = 6 * array + size.n * size.d
    sets = 1 if 4 * array <= last_level else math.ceil(2 * last_level / (2 * array)) + 1
    cp.get_default_memory_pool().free_all_blocks()
    if sets * each + _MADE * array > cp.cuda.runtime.memGetInfo()[0]:
        return []
    return [_on_device(drawn, size) for _ in range(sets)]


def _on_device(drawn: Buffers, size: runner.Size) -> Buffers:
    """The numbers that were drawn, over and over."""

    def repeated(array: Any) -> Any:
        part = cp.asarray(array)
        whole = cp.empty((size.n, *array.shape[1:]), array.dtype)
        for at in range(0, size.n, len(array)):
            whole[at : at + len(array)] = part[: size.n - at]
        return whole

    rows = tuple(map(repeated, drawn.rows))
    return Buffers(
        rows,
        tuple(cp.empty(r.shape, r.dtype) for r in rows),
        repeated(drawn.labels),
        repeated(drawn.weights),
        repeated(drawn.marks.reshape(-1, size.d)).reshape(-1),
    )


def calls(
    case: Case, buffers: Buffers, peers: Sequence[str] = PEERS
) -> dict[tuple[str, str], Thunk]:
    """What there is to time, by mode and provider; the formula in the dtype of the rows."""
    found = cases.calls(case, buffers, ())
    if CUPY in peers:
        found[VALUE, CUPY], found[GRADIENT, CUPY] = cases._formula(case, case.inputs(buffers))
    return found


def measure(
    case: Case,
    size: runner.Size,
    dtype: str,
    sets: Sequence[Buffers],
    repeats: int,
    peers: Sequence[str] = PEERS,
) -> Iterator[runner.Row]:
    """The rows of a case: every contender in every round, each call on the next set of buffers."""
    clock, turn = Clock(), itertools.count()
    contenders, batches = [], []
    for c in _contenders(case, sets, peers):
        try:
            batches.append(_calibrated(clock, c, turn))
        except Exception as error:
            if c.provider != CUPY:
                raise
            # It has not every operation in every dtype.
            where = f"{case.name} {c.mode} {size.n}x{size.d} {dtype}"
            sys.stdout.write(f"{where}: CuPy is left out ({type(error).__name__}: {error})\n")
        else:
            contenders.append(c)
    samples, others = runner._rounds(contenders, batches, turn, repeats, clock, _PATIENCE)
    device, host = (
        {(c.mode, c.provider): samples[:, j, k] for j, c in enumerate(contenders)} for k in (0, 1)
    )
    (limit,) = (c for c in contenders if (c.mode, c.provider) == ("ceiling", COPY))
    for c, batch in zip(contenders, batches, strict=True):
        times = device[c.mode, c.provider]
        share = c.bytes / limit.bytes * runner._quotient(device["ceiling", COPY], times)
        row = runner.summary(
            *(c, case.name, size, dtype, len(sets), times, batch.calls, COPY, share),
            runner._peers(device, c),
            others,
        )
        yield row._replace(host=runner.quantiles(host[c.mode, c.provider]))


def _calibrated(clock: Clock, c: runner._Contender, turn: Iterator[int]) -> Batch:
    """How many calls make a sample, and the time to enqueue them; compiles on the way."""
    clock(c, Batch(len(c.thunks)), turn)
    seconds = min(clock(c, Batch(1), turn)[0] for _ in range(3))
    enough = max(1, math.ceil(runner.SAMPLE / seconds))
    batch = Batch(min(enough, _QUEUE // _LAUNCHES.get(c.provider, _FEW)))
    host = min(clock(c, batch, turn)[1] for _ in range(2))
    return batch._replace(delay=int(1.5e9 * host * batch.calls))


def _contenders(
    case: Case, sets: Sequence[Buffers], peers: Sequence[str]
) -> list[runner._Contender]:
    """The copy, then each provider; fastcos and the copy a second time as controls."""
    bound = [calls(case, b, peers) for b in sets]
    operands = [case.inputs(b)[: case.operands] for b in sets]
    copies = [functools.partial(_copy, *given) for given in zip(operands, sets, strict=True)]
    moved = 2 * sum(array.nbytes for array in operands[0])

    def ceiling(name: str) -> runner._Contender:
        return runner._Contender("ceiling", name, tuple(copies), moved, moved)

    def provider(mode: str, name: str) -> runner._Contender:
        moved = counted_bytes(case, sets[0], mode)
        touched = moved if mode == GRADIENT_OUT else counted_bytes(case, sets[0], VALUE)
        return runner._Contender(mode, name, tuple(b[mode, name] for b in bound), moved, touched)

    return [
        ceiling(COPY),
        *itertools.starmap(provider, bound[0]),
        *(provider(mode, OURS)._replace(provider=AGAIN) for mode in (VALUE, GRADIENT_OUT)),
        ceiling(f"{COPY} again"),
    ]


def _copy(operands: Sequence[Any], buffers: Buffers) -> None:
    """The operands, copied to where the gradients go."""
    for operand, grad in zip(operands, buffers.grads, strict=False):
        cp.copyto(grad.reshape(operand.shape), operand)


def _details() -> dict[str, Any]:
    device, runtime = cp.cuda.Device(), cp.cuda.runtime
    properties = runtime.getDeviceProperties(device.id)
    return {
        "gpu": {
            "name": properties["name"].decode(),
            "capability": device.compute_capability,
            "multiprocessors": properties["multiProcessorCount"],
            "memory": properties["totalGlobalMem"],
            "L2": cache(),
            "cuda_of_driver": runtime.driverGetVersion(),
            "cuda_runtime": runtime.runtimeGetVersion(),
            **_told_by_the_driver(device.pci_bus_id),
            "versions": {
                name: importlib.import_module(module).__version__
                for name, module in (
                    *(("cupy", "cupy"), ("numba-cuda", "numba_cuda"), ("cuda-core", "cuda.core")),
                )
            },
        }
    }


def _told_by_the_driver(bus: str) -> dict[str, str]:
    """The driver's version, and clocks as they are now; nothing where the program is missing."""
    names = "driver_version,clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,power.limit"
    command = ["nvidia-smi", f"--id={bus}", f"--query-gpu={names}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return {}
    told = [text.strip() for text in done.stdout.split(",")]
    return dict(zip(names.split(","), told, strict=False))


SUITE = runner.Suite(
    words=("--device", "cuda"),
    title="Times arrays on a GPU against a copy there and the formulas in CuPy.",
    cases=CASES,
    sizes=SIZES,
    dtypes="float32,bfloat16,float16",
    repeats=20,
    peers=PEERS,
    missing=(),
    versions=(),
    fault=fault,
    cache=cache,
    pool=pool,
    measure=measure,
    details=_details,
)
