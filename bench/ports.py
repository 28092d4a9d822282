"""Is it the processor's ports that a distance waits for, or memory? By llvm-mca.

    apt install llvm-19
    python -m bench ports --mca llvm-mca-19 --json bench/results/ports.jsonl

The kernels are compiled for this machine, the loop that sums a row up and the one that writes both
gradients are cut out of them, and llvm-mca says in how many cycles the ports of a processor are
through with one turn, all numbers being in the first cache. Beside that stands what a number takes
here, of rows in the second cache on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from bench import ports_report, report

CPUS, DTYPES = "znver4,sapphirerapids", "float32,bfloat16,float16"
DISTANCES = "chebyshev,canberra,lp3,lp1.5,euclidean,cosine"
#: Turns of a loop that are simulated.
_TURNS = 200
#: Rows of a call that is timed here, and of another; both are in the second cache.
_FEWER, _MORE = 16, 40
_FEATURES, _REPEATS = 768, 1000

_JUMP = re.compile(r"\s+j\w+\s+(\.L\w+)$")
_ARITHMETIC = r"\tv(add|sub|mul|div|fn?m\w+|max|min|cmp\w*)p"
_PACKED, _DOUBLE = re.compile(_ARITHMETIC + r"[sd]\b"), re.compile(_ARITHMETIC + r"d\b")
#: An operand in memory that is no constant, and not on the stack.
_ROW = re.compile(r"-?\w*(\((?!%rsp|%rbp|%rip)[^)]*\))")
#: What reads or writes half as many bytes as its registers have.
_HALVES = re.compile(r"vcvtps2pd|vcvtps2ph|vcvtph2ps|vpmovzxwd|vpmovsxwd|vpmovdw")


class Loop(NamedTuple):
    """A loop of a kernel without another in it."""

    lines: tuple[str, ...]  # instructions and labels
    read: int  # bytes of both rows in a turn
    written: int  # bytes of both gradients

    def count(self, pattern: re.Pattern[str]) -> int:
        """How many instructions look like that."""
        return sum(bool(pattern.match(line)) for line in self.lines)


def loops(assembly: str) -> list[Loop]:
    """The loops of the kernel itself, and of no function that it calls."""
    functions = re.split(r"\n(?=[\w\"$@.]*\w[\w\"$@.<>]*:)(?!\.L)", assembly)
    kernels = [text for text in functions if "pair_kernel" in text.split(":", 1)[0]]
    lines = [
        line.split("#")[0].rstrip()
        for line in max(kernels, key=len).splitlines()
        if line.startswith((".L", "\t")) and not line.startswith("\t.")
    ]
    place = {line.rstrip(":"): k for k, line in enumerate(lines) if line.startswith(".L")}
    last: dict[int, int] = {}
    for k, line in enumerate(lines):
        found = _JUMP.match(line)
        start = place.get(found[1], k) if found else k
        if start < k:
            last[start] = k
    spans = list(last.items())
    return [
        _loop(lines[start + 1 : stop + 1])
        for start, stop in spans
        if not any((a, b) != (start, stop) and start <= a and b <= stop for a, b in spans)
    ]


def _loop(lines: Sequence[str]) -> Loop:
    read: dict[str, dict[str, int]] = {}
    written: dict[str, dict[str, int]] = {}
    for line in lines:
        found = _ROW.search(line)
        registers = re.findall(r"%([xyz])mm", line)
        if found and registers and "{1to" not in line and "broadcast" not in line:
            size = {"x": 16, "y": 32, "z": 64}[max(registers)]
            size //= 2 if _HALVES.match(line.split()[0]) else 1
            # The target is the last operand.
            stored = re.search(r"\)(\s*\{[^}]*\})*$", line)
            by_row = (written if stored else read).setdefault(found[1], {})
            by_row[found[0]] = size
    return Loop(tuple(lines), _of_two(read), _of_two(written))


def _of_two(rows: dict[str, dict[str, int]]) -> int:
    """Bytes at the two pointers through which most are moved: the rest are tables of constants."""
    return sum(sorted((sum(each.values()) for each in rows.values()), reverse=True)[:2])


def chosen(found: Sequence[Loop], gradient: bool, double: bool) -> Loop:
    """The vectorised loop of sums, or of both gradients, in double precision or not.

    Of several the one with the fewest instructions for a number; but that over whole blocks where
    the compiler has unrolled these, which asks for lines of the next rows, too.
    """
    fitting = [
        loop
        for loop in found
        if loop.count(_PACKED) >= 2
        and (loop.written >= 32 if gradient else loop.read >= 64 and not loop.written)
        and (loop.count(_DOUBLE) * 2 > loop.count(_PACKED)) == double
        and (not gradient or loop.count(_JUMP) == 1)
    ]
    blocks = [loop for loop in fitting if any("prefetch" in line for line in loop.lines)]
    whole = [loop for loop in blocks if loop.read >= 1024]
    return min(whole or fitting, key=lambda loop: len(loop.lines) / (loop.written or loop.read))


def emitted(distances: Sequence[str], dtypes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The loops that are compiled for this machine, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        # An empty cache: what is read from one has no assembly.
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        command = [sys.executable, "-m", "bench.ports", ",".join(distances), ",".join(dtypes)]
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    for line in done.stdout.decode().splitlines():
        yield json.loads(line)


def _emit(distances: Sequence[str], dtypes: Sequence[str]) -> None:
    from fastcos.kernels import Spec
    from fastcos.kernels.cpu import compile
    from fastcos.losses import identity

    for name in distances:
        record = _distance(name)
        functions = record.functions
        for dtype in dtypes:
            spec = Spec(identity, functions, (len(record.parameters), 0), 2, dtype, "mine")
            found = loops(compile.kernel_of(spec)._library.get_asm_str())
            half = dtype != "float32"
            doubles = {
                "value": not (half and functions.suffices),
                "gradient": not (functions.linear or (half and functions.narrow)),
            }
            for mode, double in doubles.items():
                loop = chosen(found, mode == "gradient", double)
                size = 2 if half else 4
                told = {
                    **{"distance": name, "dtype": dtype, "mode": mode},
                    "numbers": (loop.written or loop.read) // (2 * size),
                    "calls": sum("\tcall" in line for line in loop.lines),
                    "lines": loop.lines,
                }
                sys.stdout.write(json.dumps(told) + "\n")


def _distance(name: str) -> Any:
    from fastcos import distances

    if name.startswith("lp"):
        return distances.lp(float(name[2:]))
    return getattr(distances, name)()


def cycles(mca: str, cpu: str, lines: Sequence[str]) -> dict[str, Any]:
    """What llvm-mca says of a turn: cycles, those of the ports alone, and the busiest ones."""
    command = [mca, "-mtriple=x86_64", f"-mcpu={cpu}", f"-iterations={_TURNS}", "-json"]
    # Calls are not followed, and jumps are taken never.
    text = "\n".join(line for line in lines if not line.startswith("\tcall")) + "\n"
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    (region,) = found["CodeRegions"]
    summary = region["SummaryView"]
    # Of several units of a kind the number is a byte, and not a digit: Zn4FP45.0.
    names = [re.sub(r"\W+$", "", name) for name in found["TargetInfo"]["Resources"]]
    pressure = dict.fromkeys(names, 0.0)
    count = len(region["Instructions"])
    for each in region["ResourcePressureView"]["ResourcePressureInfo"]:
        if each["InstructionIndex"] < count:
            pressure[names[each["ResourceIndex"]]] += each["ResourceUsage"]
    most = max(pressure.values())
    return {
        "cycles": summary["TotalCycles"] / summary["Iterations"],
        "ports_cycles": summary["BlockRThroughput"],
        "ports": [name for name, used in pressure.items() if used > 0.97 * most],
        "instructions": count,
    }


# --------------------------------------------------------------------------------------------------
# On this machine
# --------------------------------------------------------------------------------------------------


def clock() -> float:
    """Cycles a second: a chain of squares, 3 cycles each, and additions, 1 cycle each."""
    import numba

    @numba.njit
    def chain(x: int, count: int) -> int:
        for _ in range(count):
            x = x * x + 1  # what is not linear the compiler cannot take several steps of at once
        return x

    count = 1_000_000
    chain(1, count)
    return 4 * count / min(_seconds(lambda: chain(1, count)) for _ in range(50))


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measured(name: str, dtype: str) -> dict[str, float]:
    """Seconds that a number takes more, by mode: of rows in the second cache, on one thread."""
    import numpy as np

    import fastcos
    from bench.cases import draw

    drawn = draw(_MORE, _FEATURES, dtype)
    distance, gradients = _distance(name), fastcos.value_and_grad(fastcos.paired_distance)

    def calls(rows: int) -> dict[str, Callable[[], object]]:
        x, y = (array[:rows] for array in drawn.rows[:2])
        out = np.empty_like(x), np.empty_like(y)
        return {
            "value": lambda: fastcos.paired_distance(x, y, distance),
            "gradient": lambda: gradients(x, y, distance, out=out),
        }

    few, many = calls(_FEWER), calls(_MORE)
    found = {}
    with fastcos.threads(1):
        for mode in few:
            times = [(_seconds(few[mode]), _seconds(many[mode])) for _ in range(_REPEATS)]
            less, more = (statistics.median(each) for each in zip(*times, strict=True))
            found[mode] = (more - less) / ((_MORE - _FEWER) * _FEATURES)
    return found


def _beside(rows: Sequence[dict[str, Any]], name: str, dtype: str, mode: str) -> dict[str, Any]:
    """What all distances were measured at: the GB/s of the ceiling, and the share of this one."""
    size = {"n": 8192, "d": _FEATURES, "dtype": dtype}
    wanted, ceiling = ("value", "read") if mode == "value" else ("value_and_grad_out", "copy")
    those = [row for row in rows if size.items() <= row.items()]
    gbps = statistics.median(row["gbps"] for row in those if row["provider"] == ceiling)
    own = {"case": f"paired_distance:{name}", "mode": wanted, "provider": "fastcos"}
    shares = [row["share"] for row in those if own.items() <= row.items()]
    return {"gbps": gbps, "share": shares[0] if shares else None}


def main(arguments: Sequence[str]) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench ports", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--mca", default="llvm-mca", help="the program")
    parser.add_argument("--cpus", default=CPUS, help="as LLVM calls them")
    parser.add_argument("--distances", default=DISTANCES, help="as here; lp with its power")
    parser.add_argument("--dtype", default=DTYPES)
    parser.add_argument("--json", type=pathlib.Path, help="file for the rows; replaced")
    given = parser.parse_args(arguments)
    try:
        version = subprocess.run([given.mca, "--version"], capture_output=True, text=True).stdout
    except OSError:
        parser.exit(2, f"{parser.prog}: there is no {given.mca} here; see --mca\n")
    distances, dtypes = given.distances.split(","), given.dtype.split(",")
    from bench import runner

    details = {"mca": " ".join(version.split()[:4]), "clock": clock()}
    suite = runner.SUITE._replace(words=("ports",), versions=(), missing=())
    entries = [{**runner.environment(suite, arguments), **details}]
    ceilings = report.load(report.ROOT / report.RESULTS / report.DISTANCES).rows
    here = {(name, dtype): measured(name, dtype) for name in distances for dtype in dtypes}
    found = list(emitted(distances, dtypes))
    for cpu in given.cpus.split(","):
        for loop in found:
            told = cycles(given.mca, cpu, loop["lines"])
            seconds = here[loop["distance"], loop["dtype"]][loop["mode"]]
            row = {"kind": "result", "processor": cpu, **loop, **told, "seconds": seconds}
            del row["lines"]
            row |= _beside(ceilings, loop["distance"], loop["dtype"], loop["mode"])
            entries.append(row)
            sys.stdout.write(ports_report.line(row, details["clock"]) + "\n")
            sys.stdout.flush()
    runner.write(given.json, entries)
    return 0


if __name__ == "__main__":
    _emit(*(text.split(",") for text in sys.argv[1:]))
