"""``python -m bench`` measures, ``python -m bench report`` renders what was measured.

``python -m bench torch`` measures the torch adapter, and needs torch. With ``--device cuda`` either
measures a GPU, and needs one: CuPy arrays, or torch's. ``python -m bench rows`` measures rows of a
table, ``python -m bench listwise`` losses of all rows with all rows, ``python -m bench nearest``
the nearest rows of a gallery, ``python -m bench learners`` learned projections, ``python -m bench
scale`` several processes, ``python -m bench accuracy`` errors. ``python -m bench all`` makes every
committed file of results of the CPU anew, and renders them; but for the learners, whose peers need
an environment of their own. ``python -m bench --threads 1,2,4`` times cases on several numbers of
threads, and ``python -m bench compare REVISION`` this tree and another in turn.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib
import os
import pathlib
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from bench import report

if TYPE_CHECKING:
    from bench.runner import Suite

#: By what is measured and on which device, the module of what there is to measure.
SUITES = {
    ("", "cpu"): "bench.runner",
    ("", "cuda"): "bench.cuda_cases",
    ("torch", "cpu"): "bench.torch_cases",
    ("torch", "cuda"): "bench.torch_cuda_cases",
    ("rows", "cpu"): "bench.rows_cases",
}
#: What ``all`` measures: the file of results, and the arguments that make it.
RUNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (report.TABLE, ("--sizes", "small,medium,large", "--repeats", "12")),
    (
        report.SWEEP,
        (
            *("--cases", "cosine_similarity,cosine_embedding_loss", "--sizes"),
            "32x128,128x128,256x256,1024x256,2048x512,4096x768,8192x768,32768x768",
            *("--repeats", "15"),
        ),
    ),
    (
        report.DISTANCES,
        (
            *("--cases", "paired_distance:*", "--sizes", "512x256,8192x768,32768x768"),
            *("--dtype", "float16,bfloat16,float32,float64", "--peers", "none", "--repeats", "8"),
        ),
    ),
    (
        report.TORCH,
        (
            *("torch", "--cases"),
            "cosine_embedding_loss,triplet_margin_loss,triplet_margin_with_distance_loss*,"
            "pairwise_distance",
            *("--sizes", "32x128,1024x128,4096x128,1024x768,8192x768,65536x768"),
            *("--dtype", "float32,bfloat16", "--repeats", "6"),
        ),
    ),
    (
        report.TORCH_WARM,
        (
            *("torch", "--warm", "--cases"),
            "cosine_embedding_loss,triplet_margin_loss,triplet_margin_with_distance_loss*,"
            "pairwise_distance",
            *("--sizes", "1024x128,4096x128,1024x768,4096x768", "--repeats", "12"),
        ),
    ),
    (report.ROWS, ("rows",)),
    (report.LISTWISE, ("listwise",)),
    (report.NEAREST, ("nearest",)),
    (report.SCALE, ("scale",)),
    (report.THREADS, ("--threads", "1,2,4,8")),
    (report.START, ("start",)),
    (report.ACCURACY, ("accuracy",)),
)


def main(arguments: Sequence[str]) -> int:
    """Runs the command line; returns the exit status."""
    if arguments[:1] == ["report"]:
        return report.main(arguments[1:])
    if arguments[:1] == ["all"]:
        return _all(arguments[1:])
    if arguments[:1] in (
        ["start"],
        ["accuracy"],
        ["listwise"],
        ["nearest"],
        ["learners"],
        ["scale"],
        ["compare"],
        ["ports"],
    ):
        module = importlib.import_module(f"bench.{arguments[0]}")
        return module.main(arguments[1:])  # type: ignore[no-any-return]
    known = {name for name, _ in SUITES}
    what = arguments[0] if arguments and arguments[0] in known else ""
    parser = argparse.ArgumentParser(prog="python -m bench", add_help=False, allow_abbrev=False)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", default="")
    given, rest = parser.parse_known_args(arguments[1:] if what else arguments)
    if given.threads:
        if (what, given.device) != ("", "cpu"):
            parser.error("--threads is for arrays in the memory of this machine")
        return _on_threads(given.threads, arguments, rest, parser)
    if (what, given.device) not in SUITES:
        parser.error(f"{what} is not measured with --device {given.device}")
    # Only the one that is asked for: each needs another library.
    module = importlib.import_module(SUITES[what, given.device])
    return _measured(module.SUITE, rest)


def _on_threads(
    text: str, arguments: Sequence[str], rest: Sequence[str], parser: argparse.ArgumentParser
) -> int:
    from bench import threads

    counts = threads.numbers(text)
    if counts is None:
        parser.error(f"--threads must be numbers from 1 on, separated by commas; got {text}")
    status = threads.enough(counts[-1], arguments)
    return _measured(threads.suite(text, counts), rest) if status is None else status


def _all(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench all",
        description="Makes every file of results of the CPU anew, and what is rendered from them.",
    )
    parser.add_argument("--quick", action="store_true", help="3 repeats, small and medium")
    parser.add_argument("--root", type=pathlib.Path, default=report.ROOT, help=report.ROOT_HELP)
    given = parser.parse_args(arguments)
    folder = given.root / report.RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    for name, run in RUNS:
        path = os.path.relpath(folder / name)  # which the file of results will tell
        command = [*run, *(["--quick"] if given.quick else []), "--json", path]
        # Each in a process of its own, as if it had been called by itself: no other library's
        # threads, no memory that another run left behind.
        subprocess.run([sys.executable, "-m", "bench", *command], check=True)
    return report.main(["--root", str(given.root)])


def _measured(suite: Suite, arguments: Sequence[str]) -> int:
    from bench import runner
    from bench.cases import DTYPES

    parser = argparse.ArgumentParser(
        prog=" ".join(("python -m bench", *suite.words)),
        description=suite.title,
        epilog="See also: python -m bench {torch,rows,listwise,all,report} --help, --device cuda,"
        " --threads 1,2,4.",
    )
    parser.add_argument(
        "--cases", default=suite.chosen, help="patterns of names, separated by commas"
    )
    parser.add_argument("--sizes", default=suite.sizes, help=suite.spelling)
    parser.add_argument("--dtype", default=suite.dtypes, help=f"among {', '.join(DTYPES)}")
    parser.add_argument(
        "--peers", default=",".join(suite.peers), help=f"none, or among {', '.join(suite.peers)}"
    )
    parser.add_argument(
        "--repeats", type=int, default=suite.repeats, help="samples of each contender"
    )
    parser.add_argument("--json", type=pathlib.Path, help="file for the rows; replaced")
    parser.add_argument("--quick", action="store_true", help="3 repeats, small and medium")
    parser.add_argument(
        "--warm", action="store_true", help="every call on the same arrays, whatever their size"
    )
    given = parser.parse_args(arguments)
    if given.quick:
        given.repeats, given.sizes = 3, "small,medium"

    patterns = given.cases.split(",")
    cases = [c for c in suite.cases if any(fnmatch.fnmatchcase(c.name, p) for p in patterns)]
    if not cases:
        known = ", ".join(c.name for c in suite.cases)
        parser.error(f"--cases {given.cases} matches none of {known}")
    if given.repeats < 1:
        parser.error("--repeats must be at least 1")
    dtypes = given.dtype.split(",")
    peers = [] if given.peers in ("", "none") else given.peers.split(",")
    for option, names, known in (("--dtype", dtypes, DTYPES), ("--peers", peers, suite.peers)):
        for name in names:
            if name not in known:
                parser.error(f"{option} must be among {', '.join(known)}, got {name}")
    sizes = []
    for text in given.sizes.split(","):
        size = suite.sized(text)
        if size is None:
            parser.error(f"--sizes must be {suite.spelling}, got {text}")
        sizes.append(size)

    if fault := suite.fault():
        parser.exit(2, f"{parser.prog}: {fault}\n")
    for name in suite.missing:
        if name in peers:
            sys.stdout.write(f"{name} is not installed and left out\n")
    entries = [runner.environment(suite, arguments)]
    if given.json:  # found out now that it cannot be written, not in half an hour
        given.json.write_text("", encoding="utf-8")
    status = 0
    for dtype in dtypes:
        for size in sizes:
            what = f"{report.shape(*size)} {dtype}"
            sets = _tried(what, suite.pool, size, dtype, suite.cache())
            status |= sets is None
            if sets is not None and not sets:
                sys.stdout.write(f"{what} does not fit and is left out\n")
            if given.warm and sets:
                sets = sets[:1]
            for case in cases if sets else ():
                measured = suite.measure(case, size, dtype, sets, given.repeats, peers)
                rows = _tried(f"{case.name} {what}", list, measured)
                if not rows:
                    status = 1
                    continue
                entries += [{"kind": "result", **row._asdict()} for row in rows]
                sys.stdout.write(report.lines(rows) + "\n")
                sys.stdout.flush()
                runner.write(given.json, entries)
            del sets
    return status


def _tried(what: str, make: Callable[..., Any], *arguments: Any) -> Any:
    """What is made, or None: what fails is told, and does not take the rest of the run along."""
    try:
        return make(*arguments)
    except Exception:
        sys.stderr.write(f"{what} failed\n")
        traceback.print_exc()
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
