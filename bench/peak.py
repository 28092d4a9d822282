"""What a call of a listwise loss takes of memory at most, in a process of its own.

    python -m bench.peak supervised_contrastive_loss eager 1024x128 4096x128

For each size, the smallest first, one line of JSON: the size, and the bytes that the process had at
most during the call, beyond what it had before, with the arrays there already; gradients are among
them. In their place ``"memory"`` where that was not enough. The kernel counts pages, whoever asked
for them, and is told to forget the peak of before (Linux).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator, Sequence

from bench.cases import Thunk
from bench.listwise_cases import CASES, Case, call, draw, sized
from bench.runner import Size, _available

#: In place of bytes: what was not enough; what this system does not say; what came to no end.
MEMORY, UNKNOWN, FAILED = "memory", "unknown", "failed"
#: A process may take so much of the memory that is free.
_PART = 0.9
#: So many rows are called first: all is compiled and loaded then.
_WARM = 256
#: So much is told of an error, in characters.
_TOLD = 2000
#: Seconds for the sizes of a case in all.
_PATIENCE = 600
_STATUS, _FORGET = pathlib.Path("/proc/self/status"), pathlib.Path("/proc/self/clear_refs")


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


def peak_bytes(thunk: Thunk) -> int | str:
    """What this process has at most during a call, beyond what it had before."""
    gc.collect()
    # What was freed and kept would be taken again, unseen.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        _FORGET.write_text("5", encoding="ascii")
        before = _bytes("VmRSS")
    except OSError:
        return UNKNOWN
    result = thunk()
    most = _bytes("VmHWM")
    del result
    return max(0, most - before)


def _bytes(name: str) -> int:
    text = _STATUS.read_text(encoding="ascii")
    return int(text.split(f"{name}:")[1].split()[0]) << 10


def lacks_memory(error: BaseException) -> bool:
    """Whether that is what an error of NumPy, or of torch, says."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and "memory" in str(error).lower()
    )


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Asking for more memory than is free is an error here, and not the end of some process."""
    try:
        import resource

        mine = _bytes("VmSize")
    except (ImportError, OSError):
        yield
        return
    kind = resource.RLIMIT_AS
    before = resource.getrlimit(kind)
    most = mine + int(_PART * _available())
    bounds = [most, *(b for b in before if b != resource.RLIM_INFINITY)]
    resource.setrlimit(kind, (min(bounds), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
