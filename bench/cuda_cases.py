"""Arrays on a GPU, beside the formulas in CuPy: ``python -m bench --device cuda``.

Cases and data are those of ``bench.cases``, rounds and quotients those of ``bench.runner``, and the
clock is that of ``bench.gpu``. The ceiling, of values too, is a copy from device to device.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bench import cases, gpu, runner
from bench.cases import GRADIENT, GRADIENT_OUT, VALUE, Buffers, Case, Thunk, counted_bytes
from bench.runner import AGAIN, COPY, OURS
from fastcos import _extras
from fastcos.kernels.cuda import launch

cp: Any = cases._installed("cupy")

CUPY = "cupy"
PEERS = (CUPY,)
SIZES = (
    "32x128,256x128,1024x128,4096x128,4096x512,65536x128,65536x512,65536x1024,"
    "1048576x128,1048576x512,1048576x1024"
)
_NAMES = (
    "cosine_embedding_loss",
    "cosine_embedding_loss:near",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss:cosine",
    "paired_distance:euclidean",
    "hinge_embedding_loss",
)
CASES = tuple(case for case in cases.CASES if case.name in _NAMES)

#: Arrays of the operands' size that one call may make: new gradients, temporaries of the formulas.
_MADE = 9
#: How many launches a call is, at most.
_LAUNCHES = {CUPY: 64}

_SPIN = r"""
extern "C" __global__ void spin(long long nanoseconds) {
    long long start, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(start));
    do {
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    } while (now - start < nanoseconds);
}
"""


def clock() -> gpu.Clock:
    """By CuPy's events."""
    spin = cp.RawKernel(_SPIN, "spin")
    return gpu.Clock(
        cp.cuda.Event(),
        cp.cuda.Event(),
        cp.cuda.get_elapsed_time,
        lambda nanoseconds: spin((1,), (1,), (np.int64(nanoseconds),)),
    )


def fault() -> str:
    """What keeps it from being measured here; empty where nothing does."""
    if cp is None:
        return f"CuPy is not installed: {_extras.command('cupy', 'cuda')}"
    if not cp.cuda.is_available():
        return "CuPy finds no GPU, or no driver for it"
    return launch.missing()


def cache() -> int:
    """Bytes of the GPU's second-level cache, its last."""
    return int(cp.cuda.Device().attributes["L2CacheSize"])


def pool(size: runner.Size, dtype: str, last_level: int) -> list[Buffers]:
    """The sets of buffers that calls of this size rotate over, by the rule of ``runner.pool``.

    There is none where the memory is too small for the sets and what calls allocate.
    """
    drawn = cases.draw(min(size.n, gpu.DRAWN), size.d, dtype)
    array = size.n * size.d * drawn.rows[0].itemsize
    each = 7 * array + size.n * size.d
    sets = gpu.sets(array, last_level)
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
        tuple(cp.empty(r.shape, r.dtype) for r in rows[:3]),
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
    timed, turn = clock(), itertools.count()
    contenders, batches = gpu.calibrated(
        timed,
        _contenders(case, sets, peers),
        turn,
        _LAUNCHES,
        (CUPY,),  # it has not every operation in every dtype
        f"{case.name} {size.n}x{size.d} {dtype}",
    )
    yield from gpu.rows(
        timed, contenders, batches, turn, repeats, case.name, size, dtype, len(sets)
    )


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
            **gpu.told_by_the_driver(device.pci_bus_id),
            "versions": gpu.versions(("cupy", "cupy"), *gpu.COMPILERS),
        }
    }


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
