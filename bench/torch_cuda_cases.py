"""The torch adapter on a GPU beside torch: ``python -m bench torch --device cuda``.

Cases, modes and providers are those of ``bench.torch_cases``, the clock is that of ``bench.gpu``.
The ceiling, of the forward pass too, is a copy from device to device.
"""

from __future__ import annotations

import functools
import gc
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from bench import gpu, runner, torch_cases
from bench.cases import Thunk
from bench.runner import AGAIN, COPY, OURS
from bench.torch_cases import BOTH, COMPILE, EAGER, FORWARD, PEERS, Case, Tensors
from fastcos.kernels.cuda import launch

SIZES = "32x128,1024x128,4096x512,65536x1024,1048576x1024"
#: Each is compiled for every mode, size and dtype, which takes more time than all the rest.
CHOSEN = (
    "cosine_embedding_loss,triplet_margin_loss,triplet_margin_with_distance_loss*,pairwise_distance"
)
#: Arrays of the operands' size that there are beside a set: targets of the copy, and what a call
#: makes. Eager torch makes 8 of them at most.
_MADE = 12
#: How many launches a call is, at most.
_LAUNCHES = {OURS: 8, AGAIN: 8, EAGER: 100, COMPILE: 16}
_DEVICE = "cuda"
#: What the clock of a GPU is taken from: about a millisecond.
_CYCLES = 1 << 21


def fault() -> str:
    """What keeps it from being measured here; empty where nothing does."""
    if not torch.backends.cuda.is_built():
        return f"torch {torch.__version__} is built without CUDA"
    if not torch.cuda.is_available():
        return "torch finds no GPU, or no driver for it"
    return launch.missing()


def cache() -> int:
    """Bytes of the GPU's second-level cache, its last."""
    return int(_properties().L2_cache_size)


def _properties() -> Any:
    return torch.cuda.get_device_properties(torch.cuda.current_device())


def clock() -> gpu.Clock:
    """By torch's events. What spins counts cycles, whose rate is measured first."""
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def rate() -> float:
        start.record()
        torch.cuda._sleep(_CYCLES)
        stop.record()
        stop.synchronize()
        return float(_CYCLES / (start.elapsed_time(stop) * 1e6))

    # The fastest, so that no spin is too short; the first ones wake the device.
    per_nanosecond = max(rate() for _ in range(5))
    return gpu.Clock(
        start,
        stop,
        lambda one, other: float(one.elapsed_time(other)),
        lambda nanoseconds: torch.cuda._sleep(int(nanoseconds * per_nanosecond)),
    )


def pool(size: runner.Size, dtype: str, last_level: int) -> list[Tensors]:
    """The sets of tensors that calls of this size rotate over, by the rule of ``runner.pool``.

    There is none where the memory is too small for the sets and what calls allocate.
    """
    drawn = torch_cases.drawn(runner.Size(min(size.n, gpu.DRAWN), size.d), dtype)
    array = size.n * size.d * drawn.rows[0].itemsize
    each = 3 * array + size.n * size.d
    sets = gpu.sets(array, last_level)
    gc.collect()
    torch.cuda.empty_cache()
    if sets * each + _MADE * array > torch.cuda.mem_get_info()[0]:
        return []
    return [_on_device(drawn, size) for _ in range(sets)]


def _on_device(drawn: Tensors, size: runner.Size) -> Tensors:
    """The numbers that were drawn, over and over."""

    def repeated(tensor: Tensor, length: int) -> Tensor:
        whole = torch.empty((length, *tensor.shape[1:]), dtype=tensor.dtype, device=_DEVICE)
        for at in range(0, length, len(tensor)):
            whole[at : at + len(tensor)] = tensor[: length - at]
        return whole

    part = Tensors(tuple(r.to(_DEVICE) for r in drawn.rows), *(t.to(_DEVICE) for t in drawn[1:]))
    return Tensors(
        tuple(repeated(r, size.n) for r in part.rows),
        repeated(part.labels, size.n),
        repeated(part.distances, size.n),
        repeated(part.marks, size.n * size.d),
    )


def measure(
    case: Case,
    size: runner.Size,
    dtype: str,
    sets: Sequence[Tensors],
    repeats: int,
    peers: Sequence[str] = PEERS,
) -> Iterator[runner.Row]:
    """The rows of a case: every contender of a mode in every round, each call on the next set."""
    for mode in (FORWARD, BOTH):
        yield from _measured(case, mode, size, dtype, sets, repeats, peers)


def _measured(
    case: Case,
    mode: str,
    size: runner.Size,
    dtype: str,
    sets: Sequence[Tensors],
    repeats: int,
    peers: Sequence[str],
) -> list[runner.Row]:
    timed, turn = clock(), itertools.count()
    providers = torch_cases._afresh(case, peers)
    every = torch_cases._contenders(case, sets, mode, providers, _ceiling(case, sets))
    where = f"{case.name} {size.n}x{size.d} {dtype}"
    contenders, batches = gpu.calibrated(timed, every, turn, _LAUNCHES, peers, where)
    peaks = {c.provider: peak_bytes(c.thunks[0]) for c in contenders if c.provider in providers}
    with torch._dynamo.config.patch(error_on_recompile=True):
        rows = gpu.rows(
            timed, contenders, batches, turn, repeats, case.name, size, dtype, len(sets)
        )
    return [row._replace(peak_bytes=peaks.get(row.provider)) for row in rows]


def _ceiling(case: Case, sets: Sequence[Tensors]) -> runner._Contender:
    operands = [case.inputs(t)[: case.operands] for t in sets]
    # One target for all, because autograd writes to the block that it freed before.
    target = [torch.empty_like(x) for x in operands[0]]
    copies: tuple[Thunk, ...] = tuple(functools.partial(_copy, xs, target) for xs in operands)
    once = sum(x.nbytes for x in operands[0])
    return runner._Contender("ceiling", COPY, copies, 2 * once, once)


def _copy(operands: Sequence[Tensor], target: Sequence[Tensor]) -> None:
    for to, operand in zip(target, operands, strict=True):
        to.copy_(operand)


def peak_bytes(call: Thunk) -> int:
    """What a call has allocated at most, by torch's allocator, beyond what was there before.

    Its result is among it, and so are the gradients. What an earlier call left is not.
    """
    call()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return int(torch.cuda.max_memory_allocated()) - before


def _details() -> dict[str, Any]:
    found = _properties()
    return {
        "gpu": {
            "name": found.name,
            "capability": f"{found.major}{found.minor}",
            "multiprocessors": found.multi_processor_count,
            "memory": found.total_memory,
            "L2": cache(),
            "cuda_runtime": torch.version.cuda,
            **gpu.told_by_the_driver(f"GPU-{found.uuid}"),
            "versions": gpu.versions(("triton", "triton"), *gpu.COMPILERS),
        }
    }


SUITE = runner.Suite(
    words=("torch", "--device", "cuda"),
    title="Times the torch adapter on a GPU against torch, eager and compiled.",
    cases=torch_cases.CASES,
    sizes=SIZES,
    dtypes="float32,bfloat16",
    repeats=15,
    peers=PEERS,
    missing=(),
    versions=("torch",),
    fault=fault,
    cache=cache,
    pool=pool,
    measure=measure,
    details=_details,
    chosen=CHOSEN,
)
