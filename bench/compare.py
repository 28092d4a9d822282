"""Two revisions in turn: is this tree slower than that one, or is it the machine?

    python -m bench compare HEAD~5 --cases 'cosine*' --sizes medium,large

Three processes hold the same arrays: one with fastcos of this tree, one with that of the other, and
one more with that of this tree, the control. In each round each of them makes the same calls, in an
order that is drawn. A quotient of two processes of one round has the machine's mood in both; what
the control differs from 1 by is what is left of it.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

HERE = pathlib.Path(__file__).resolve().parent.parent
CASES = "cosine_similarity,paired_distance:euclidean,cosine_embedding_loss,triplet_margin_loss"
#: Of a round, for each process: longer than a clock and the change of processes take.
SAMPLE = 5e-3


class Contender(NamedTuple):
    """A process with fastcos of some tree, that is told what to call and says how long it took."""

    name: str
    process: subprocess.Popen[str]

    def asked(self, *words: object) -> str:
        """The answer to a line."""
        told: Any = self.process.stdin
        told.write(" ".join(map(str, words)) + "\n")
        told.flush()
        heard: Any = self.process.stdout
        answer = heard.readline()
        if not answer:
            raise RuntimeError(f"the process of {self.name} ended")
        return answer.strip()


class Compared(NamedTuple):
    """One case: seconds a call, and quotients of rounds, above 1 where this tree is faster."""

    seconds: float
    ratio: tuple[float, float, float]  # the median between the quantiles of 20 and 80%
    control: tuple[float, float, float]


def main(arguments: Sequence[str]) -> int:
    """Runs the command line; returns the exit status."""
    from bench.cases import DTYPES

    parser = argparse.ArgumentParser(
        prog="python -m bench compare", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("other", help="a revision of git, or the folder of a checkout")
    parser.add_argument("--cases", default=CASES, help="patterns of names, separated by commas")
    parser.add_argument("--sizes", default="small,medium,large", help="names, or NxD")
    parser.add_argument("--dtype", default="float32", choices=DTYPES)
    parser.add_argument("--rounds", type=int, default=25)
    given = parser.parse_args(arguments)
    if given.rounds < 1:
        parser.error("--rounds must be at least 1")
    calls = _calls(given, parser)
    with contextlib.ExitStack() as stack:
        tree = stack.enter_context(_tree(given.other, parser))
        contenders = [
            stack.enter_context(_contender(name, where))
            for name, where in (("this tree", HERE), (given.other, tree), ("the control", HERE))
        ]
        sys.stdout.write(
            f"How many times faster this tree is than {given.other}, and than itself (20% to 80%)\n"
        )
        for case, size, mode in calls:
            found = _compared(contenders, (case, size, given.dtype, mode), given.rounds)
            what = f"{case} {size} {mode}"
            sys.stdout.write(
                f"{what:60} {found.seconds * 1e6:10.1f} µs  {_told(found.ratio)}"
                f"  control {_told(found.control)}\n"
            )
            sys.stdout.flush()
    return 0


def _calls(given: Any, parser: argparse.ArgumentParser) -> list[tuple[str, str, str]]:
    from bench.cases import CASES as KNOWN
    from bench.cases import GRADIENT_OUT, VALUE
    from bench.runner import sized

    patterns, sizes = given.cases.split(","), given.sizes.split(",")
    names = [c.name for c in KNOWN if any(fnmatch.fnmatchcase(c.name, p) for p in patterns)]
    if not names:
        parser.error(f"--cases {given.cases} matches none of {', '.join(c.name for c in KNOWN)}")
    for size in sizes:
        if sized(size) is None:
            parser.error(f"--sizes must be small, medium, large or NxD; got {size}")
    return [
        (name, size, mode) for name in names for size in sizes for mode in (VALUE, GRADIENT_OUT)
    ]


@contextlib.contextmanager
def _tree(other: str, parser: argparse.ArgumentParser) -> Iterator[pathlib.Path]:
    """The folder of the other tree: a checkout, or one of a revision as long as it is used."""
    if pathlib.Path(other, "fastcos").is_dir():
        yield pathlib.Path(other).resolve()
        return
    with tempfile.TemporaryDirectory() as folder:
        tree = pathlib.Path(folder, "tree")
        git = ["git", "-C", str(HERE), "worktree"]
        made = subprocess.run(
            [*git, "add", "--detach", str(tree), other], capture_output=True, text=True, check=False
        )
        if made.returncode:
            parser.error(f"{other} is no checkout and no revision: {made.stderr.strip()}")
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


@contextlib.contextmanager
def _contender(name: str, tree: pathlib.Path) -> Iterator[Contender]:
    command = [sys.executable, __file__, str(tree)]
    # Threads that wait for work sleep, for others work meanwhile.
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_WAIT_POLICY": "passive"}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Contender(name, process)
        finally:
            process.kill()


def _compared(
    contenders: Sequence[Contender], call: tuple[str, str, str, str], rounds: int
) -> Compared:
    """All rounds of one call."""
    first = [float(each.asked("make", *call)) for each in contenders]
    number = max(round(SAMPLE / first[0]), 1)
    times: list[list[float]] = [[] for _ in contenders]
    draw = random.Random(0)
    for _ in range(rounds):
        for place in draw.sample(range(len(contenders)), len(contenders)):
            times[place].append(float(contenders[place].asked("call", number)) / number)
    here, other, control = times
    return Compared(_quantiles(here)[0], _quotients(other, here), _quotients(control, here))


def _quotients(above: Sequence[float], below: Sequence[float]) -> tuple[float, float, float]:
    return _quantiles([a / b for a, b in zip(above, below, strict=True)])


def _quantiles(numbers: Sequence[float]) -> tuple[float, float, float]:
    import numpy as np

    middle, low, high = np.quantile(numbers, (0.5, 0.2, 0.8)).tolist()
    return middle, low, high


def _told(ratio: tuple[float, float, float]) -> str:
    middle, low, high = ratio
    return f"{middle:5.2f} ({low:.2f} to {high:.2f})"


# --------------------------------------------------------------------------------------------------
# In the processes
# --------------------------------------------------------------------------------------------------


def serve(tree: pathlib.Path) -> None:
    """Answers lines: ``make CASE SIZE DTYPE MODE`` and ``call NUMBER``, both with seconds."""
    import fastcos

    found = pathlib.Path(fastcos.__file__).resolve()
    if tree.resolve() not in found.parents:
        raise RuntimeError(f"fastcos is that of {found}, not that of {tree}")
    # The cases are those of this tree, whatever is compared.
    sys.path.insert(0, str(HERE))
    from bench.cases import CASES as KNOWN
    from bench.cases import calls, draw
    from bench.runner import sized

    by_name = {case.name: case for case in KNOWN}
    thunk: Any = None
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "make":
            name, size, dtype, mode = rest
            n, d, _ = sized(size)  # type: ignore[misc]
            thunk = calls(by_name[name], draw(n, d, dtype), ())[mode, "fastcos"]
            thunk()
            number = 3
        else:
            number = int(rest[0])
        start = time.perf_counter()
        for _ in range(number):
            thunk()
        seconds = time.perf_counter() - start
        print(seconds / 3 if word == "make" else seconds, flush=True)


if __name__ == "__main__":
    serve(pathlib.Path(sys.argv[1]))
