"""What a call of a listwise loss takes of memory at most, in a process of its own.

    python -m bench.peak supervised_contrastive_loss eager 1024x128 4096x128

For each size, the smallest first, one line of JSON: the size, and the bytes that the process had at
most during the call, beyond what it had before, with the arrays there already; gradients are among
them (``bench.memory``). In their place ``"memory"`` where that was not enough.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from bench.listwise_cases import CASES, Case, call, draw, sized
from bench.memory import FAILED, MEMORY, UNKNOWN, lacks_memory, limited, peak_bytes
from bench.runner import Size

__all__ = ["FAILED", "MEMORY", "UNKNOWN", "lacks_memory", "limited", "peak_bytes", "peaks"]

#: So many rows are called first: all is compiled and loaded then.
_WARM = 256
#: So much is told of an error, in characters.
_TOLD = 2000
#: Seconds for the sizes of a case in all.
_PATIENCE = 600


def peaks(case: Case, provider: str, sizes: Sequence[Size]) -> dict[Size, int | str]:
    """What each call takes, by a process that goes over the sizes."""
    texts = [f"{size.n}x{size.d}" for size in sizes]
    command = [sys.executable, "-m", "bench.peak", case.name, provider, *texts]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
        lines, why = done.stdout, done.stderr[-_TOLD:] if done.returncode else ""
    except subprocess.TimeoutExpired as error:
        lines, why = (error.stdout or b"").decode(), f"takes longer than {_PATIENCE} s"
    if why:
        sys.stderr.write(f"peak of {provider}, {case.name}, is not known for all sizes:\n{why}\n")
    found = dict(json.loads(line) for line in lines.splitlines() if line.endswith("]"))
    return {size: found.get(text, FAILED) for size, text in zip(sizes, texts, strict=True)}


def main(arguments: Sequence[str]) -> int:
    """Runs the command line; returns the exit status."""
    name, provider, *texts = arguments
    (case,) = (case for case in CASES if case.name == name)
    sizes = [size for text in texts if (size := sized(text))]
    too_many = float("inf")  # anchors, for which memory was not enough
    with limited():
        for d in dict.fromkeys(size.d for size in sizes):
            warm = Size(_WARM, d)
            call(case, provider, warm, draw(case, warm))()
        for size in sorted(sizes, key=lambda size: size.n):
            peak: int | str = MEMORY
            if size.n < too_many:
                thunk = call(case, provider, size, draw(case, size))
                try:
                    peak = peak_bytes(thunk)
                except (MemoryError, RuntimeError) as error:
                    if not lacks_memory(error):
                        raise
                    too_many = size.n
                del thunk
            sys.stdout.write(json.dumps([f"{size.n}x{size.d}", peak]) + "\n")
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
