"""What calls take beyond one process: on workers of Dask, and on ranks of torch.distributed.

    python -m bench scale --json bench/results/scale.jsonl

For ``docs/guides/scale.md``: how fast pairs, neighbours and batches go through two
processes of one thread, beside one process of two threads, and what a block of a graph costs.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

import fastcos
from bench import runner

FEATURES = 768
WORKERS = 2


class Sizes(NamedTuple):
    """How much of it."""

    rows: int  # of a chunk of pairs
    chunks: int
    gallery: int  # rows of a chunk of the gallery
    galleries: int
    queries: int
    blocks: int  # of one row
    batch: int
    repeats: int


FULL = Sizes(32_768, 32, 32_768, 8, 1_000, 2_000, 8_192, 5)
QUICK = Sizes(256, 2, 256, 2, 16, 10, 64, 1)


class Measured(NamedTuple):
    """One way of doing one thing."""

    case: str
    way: str
    count: int  # of rows, or of blocks
    features: int
    seconds: float  # the median
    bytes: int  # read and written by it, or sent
    work: float = 0.0  # floating-point operations of its products


def main(arguments: Sequence[str]) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench scale", description=__doc__)
    parser.add_argument("--json", type=pathlib.Path, help="file for the rows; replaced")
    parser.add_argument("--quick", action="store_true", help="small, to see that it runs")
    parser.add_argument("--rank", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    sizes = QUICK if given.quick else FULL
    if given.rank:
        rank, world, meeting = given.rank
        sys.stdout.write(f"{_rank(int(rank), int(world), meeting, sizes)}\n")
        return 0
    suite = runner.SUITE._replace(words=("scale",), versions=("dask", "distributed", "torch"))
    entries = [runner.environment(suite._replace(missing=()), arguments)]
    for found in [*_pairs(sizes), *_on_dask(sizes), *_batches(sizes, given.quick)]:
        entries.append({"kind": "result", **found._asdict()})
        sys.stdout.write(f"{found.case:24} {found.way:40} {found.seconds:9.4f} s\n")
    runner.write(given.json, entries)
    return 0


def _median(call: Callable[[], object], repeats: int) -> float:
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


# --------------------------------------------------------------------------------------------------
# Pairs and neighbours
# --------------------------------------------------------------------------------------------------


@functools.cache
def _base(seed: int, rows: int) -> Any:
    return np.random.default_rng(seed).standard_normal((rows, FEATURES), dtype=np.float32)


def _chunk(seed: int, rows: int, block_info: Any = None) -> Any:
    """A chunk, at the speed of memory: as it would come from a file that is in its cache."""
    return _base(seed, rows) * np.float32(1 + block_info[None]["chunk-location"][0])


def _table(seed: int, rows: int, chunks: int) -> Any:
    import dask.array as da

    return da.map_blocks(
        *(_chunk, seed, rows),
        chunks=((rows,) * chunks, (FEATURES,)),
        dtype=np.float32,
        meta=np.empty((0, 0), np.float32),
    )


def _both(rows: int, block_info: Any = None) -> Any:
    """A chunk of pairs, with both rows of a pair one after the other."""
    one = _base(1, 2 * rows) * np.float32(1 + block_info[None]["chunk-location"][0])
    return one.reshape(rows, 2, FEATURES)


def _pairs_together(rows: int, chunks: int) -> Any:
    import dask.array as da

    return da.map_blocks(
        *(_both, rows),
        chunks=((rows,) * chunks, (2,), (FEATURES,)),
        dtype=np.float32,
        meta=np.empty((0, 0, 0), np.float32),
    )


def _pairs(sizes: Sizes) -> Iterator[Measured]:
    """One call in memory, of a chunk: both arrays read, both gradients written."""
    x, y = _base(1, sizes.rows), _base(2, sizes.rows)
    out = [np.empty_like(x), np.empty_like(y)]
    f = fastcos.value_and_grad(fastcos.cosine_distance_loss)
    seconds = _median(lambda: f(x, y, out=out), 4 * sizes.repeats)
    yield Measured("pairs", "one call", sizes.rows, FEATURES, seconds, 4 * x.nbytes)
    queries, gallery = _base(3, sizes.queries), _base(1, sizes.gallery)
    seconds = _median(lambda: fastcos.nearest(queries, gallery, 10), sizes.repeats)
    work = 2.0 * FEATURES * sizes.queries * sizes.gallery
    yield Measured("nearest", "one call", sizes.gallery, FEATURES, seconds, gallery.nbytes, work)


@contextlib.contextmanager
def _cluster() -> Iterator[None]:
    import dask
    from distributed import Client, LocalCluster

    # A worker is one thread, and so are its kernels and products.
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    with (
        dask.config.set({"distributed.worker.memory.pause": 0.95}),
        LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            memory_limit="3GiB",
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
            env=dict.fromkeys(names, "1"),
        ) as cluster,
        Client(cluster),
    ):
        yield


def _on_dask(sizes: Sizes) -> Iterator[Measured]:
    import dask
    import dask.array as da

    f = fastcos.value_and_grad(fastcos.cosine_distance_loss)
    with _cluster():
        together = _pairs_together(sizes.rows, sizes.chunks)
        count, both = len(together), together.nbytes
        value, grads = f(together[:, 0], together[:, 1])
        x, y = (_table(seed, sizes.rows, sizes.chunks) for seed in (1, 2))
        ways = {
            "chunks made, and summed": (both, [together.sum()]),
            "value": (both, [value]),
            "value and gradients": (2 * both, [value, *[abs(g).sum() for g in grads]]),
            "value, both sides apart": (both, [f(x, y)[0]]),
        }
        for way, (size, wanted) in ways.items():
            seconds = _median(lambda wanted=wanted: dask.compute(*wanted), sizes.repeats)
            yield Measured("pairs on Dask", way, count, FEATURES, seconds, size)

        gallery, queries = _table(1, sizes.gallery, sizes.galleries), _base(3, sizes.queries)
        found = fastcos.nearest(queries, gallery, 10)
        seconds = _median(lambda: dask.compute(*found), sizes.repeats)
        work = 2.0 * FEATURES * sizes.queries * len(gallery)
        yield Measured(
            *("nearest on Dask", "lists merged", len(gallery), FEATURES),
            *(seconds, gallery.nbytes, work),
        )

        one = np.ones((sizes.blocks, 1), np.float32)
        x, y = [da.from_array(one, chunks=(1, 1)) for _ in range(2)]
        value, grads = f(x, y)
        graphs = {
            "value and gradients": [value, *[abs(g).sum() for g in grads]],
            "three sums of Dask's own": [(x * y).sum(), abs(x - y).sum(), abs(x + y).sum()],
        }
        for way, wanted in graphs.items():
            seconds = _median(lambda wanted=wanted: dask.compute(*wanted), 1)
            yield Measured("blocks of a graph", way, sizes.blocks, 1, seconds, 0)


# --------------------------------------------------------------------------------------------------
# Batches
# --------------------------------------------------------------------------------------------------


def _batches(sizes: Sizes, quick: bool) -> Iterator[Measured]:
    """InfoNCE with gradients: one process of two threads, then two of one with half a batch."""
    rows, work = sizes.batch, 6.0 * FEATURES * sizes.batch**2
    for world in (1, WORKERS):
        threads = str(WORKERS // world)
        names = "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"
        with tempfile.TemporaryDirectory() as folder:
            meeting = pathlib.Path(folder, "meeting").as_uri()
            ranks = [
                subprocess.Popen(
                    [
                        *(sys.executable, "-m", "bench", "scale", *(["--quick"] if quick else [])),
                        *("--rank", str(rank), str(world), meeting),
                    ],
                    env={**os.environ, **dict.fromkeys(names, threads)},
                    stdout=subprocess.PIPE,
                    text=True,
                )
                for rank in range(world)
            ]
            said = [rank.communicate()[0] for rank in ranks]
        if any(rank.returncode for rank in ranks):
            raise RuntimeError("a rank failed")
        # To each rank: the candidates of the others, and their part of the slopes of its own.
        others = 2 * (world - 1) * (rows // world) * FEATURES * 4
        way = f"{world} process{'es' if world > 1 else ''} of {threads} thread{'s'[world > 1 :]}"
        seconds = max(float(text.splitlines()[-1]) for text in said)
        yield Measured("InfoNCE", way, rows, FEATURES, seconds, others, work)


def _rank(rank: int, world: int, meeting: str, sizes: Sizes) -> float:
    import torch
    from torch import distributed

    from fastcos.adapters.torch import info_nce_loss

    distributed.init_process_group("gloo", meeting, rank=rank, world_size=world)
    try:
        torch.manual_seed(rank)
        x, y = torch.randn(2, sizes.batch // world, FEATURES)

        def step() -> None:
            rows = x.requires_grad_(), y.requires_grad_()
            distributed.barrier()
            info_nce_loss(*rows, gather=world > 1).backward()

        return _median(step, sizes.repeats)
    finally:
        distributed.destroy_process_group()
