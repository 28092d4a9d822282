"""What it takes to begin: ``python -m bench start``.

Each sample is a process of its own. It says how long ``import fastcos`` took, NumPy included, and
how long the first call of a loss: where its kernels are on disk, and where they are to be compiled.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from bench import runner

IMPORT, KEPT, COMPILED = "import", "kept", "compiled"
#: Seconds to reach.
TARGETS = {IMPORT: 0.15, KEPT: 0.5, COMPILED: 5.0}
#: The call of each case, on rows ``x``, ``y``, ``z`` of 32 x 128 float32, and labels.
CALLS = {
    "cosine_similarity": "fastcos.cosine_similarity(x, y)",
    "cosine_embedding_loss": "fastcos.cosine_embedding_loss(x, y, labels)",
    "cosine_distance_loss": "fastcos.cosine_distance_loss(x, y)",
    "triplet_margin_loss": "fastcos.triplet_margin_loss(x, y, z)",
    "triplet_margin_with_distance_loss": "fastcos.triplet_margin_with_distance_loss(x, y, z)",
    "hinge_embedding_loss": "fastcos.hinge_embedding_loss(x[:, 0], labels)",
}
_IMPORT = """
import json, time
begun = time.perf_counter()
import fastcos
imported = time.perf_counter()
"""
_CALL = """
import numpy as np
x, y, z = np.random.default_rng(0).standard_normal((3, 32, 128), dtype=np.float32)
labels = np.where(np.arange(32) % 2, 1, -1)
"""


class Row(NamedTuple):
    """The times of one case: the 20 %, 50 % and 80 % quantiles of its samples, in seconds."""

    case: str
    mode: str
    repeats: int
    p20: float
    p50: float
    p80: float


def seconds(call: str, cache: pathlib.Path) -> tuple[float, float]:
    """What a new process takes for the import and then for a call, kernels being in ``cache``."""
    script = f"{_IMPORT}{_CALL}start = time.perf_counter()\n{call}\nend = time.perf_counter()\n"
    script += "print(json.dumps([imported - begun, end - start]))"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    imported, called = json.loads(done.stdout)
    return imported, called


def measure(repeats: int, compilations: int, calls: dict[str, str] = CALLS) -> Iterator[Row]:
    """The rows: each case compiled so many times, then taken from disk, then the import."""
    imports = []
    for case, call in calls.items():
        compiled = []
        with tempfile.TemporaryDirectory() as folder:
            caches = [pathlib.Path(folder, str(k)) for k in range(compilations)]
            compiled = [seconds(call, cache) for cache in caches]
            kept = [seconds(call, caches[0]) for _ in range(repeats)]
        imports += [imported for imported, _ in (*compiled, *kept)]
        yield _row(case, COMPILED, [called for _, called in compiled])
        yield _row(case, KEPT, [called for _, called in kept])
    yield _row("fastcos", IMPORT, imports)


def _row(case: str, mode: str, samples: list[float]) -> Row:
    return Row(case, mode, len(samples), **runner.quantiles(samples))


def main(arguments: Sequence[str]) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench start", description=__doc__)
    parser.add_argument("--repeats", type=int, default=9, help="processes that find kernels")
    parser.add_argument("--compilations", type=int, default=3, help="processes that find none")
    parser.add_argument("--json", type=pathlib.Path, help="file for the rows; replaced")
    parser.add_argument("--quick", action="store_true", help="3 and 1")
    given = parser.parse_args(arguments)
    if given.quick:
        given.repeats, given.compilations = 3, 1
    suite = runner.SUITE._replace(words=("start",), versions=(), missing=())
    entries: list[dict[str, Any]] = [runner.environment(suite, arguments)]
    for row in measure(given.repeats, given.compilations):
        entries.append({"kind": "result", **row._asdict()})
        sys.stdout.write(f"{row.case:<36}{row.mode:<10}{row.p50:8.3f} s\n")
        sys.stdout.flush()
    runner.write(given.json, entries)
    return 0
