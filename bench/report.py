"""Tables and a picture from the committed results."""

from __future__ import annotations

import argparse
import functools
import json
import math
import pathlib
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from bench.runner import Row

ROOT = pathlib.Path(__file__).parents[1]
ROOT_HELP = "folder of README.md, docs/ and bench/"
RESULTS = pathlib.Path("bench", "results")
#: Where the results lie, as seen from the pages that show them.
FROM_PAGES = f"../../{RESULTS.as_posix()}"
#: Every case at a few sizes; a few cases at every size; every distance in every dtype; torch.
TABLE, SWEEP, DISTANCES, TORCH = "cpu.jsonl", "cpu-sizes.jsonl", "distances.jsonl", "torch.jsonl"
PICTURE = "cpu.png"
#: Torch, on tensors that every call finds in the caches, where they fit.
TORCH_WARM = "torch-warm.jsonl"
#: Arrays on a GPU, where there was one; and tensors.
CUDA, CUDA_PICTURE = "cuda.jsonl", "cuda.png"
TORCH_CUDA, TORCH_CUDA_PICTURE = "torch-cuda.jsonl", "torch-cuda.png"
#: Rows of a table.
ROWS = "rows.jsonl"
#: Losses of all rows with all rows.
LISTWISE, LISTWISE_PICTURE = "listwise.jsonl", "listwise.png"
LISTWISE_LARGE = "listwise-large.jsonl"
#: Nearest rows of a gallery.
NEAREST = "nearest.jsonl"
#: Learned projections.
LEARNERS = "learners.jsonl"
#: Several processes.
SCALE = "scale.jsonl"
#: Several numbers of threads.
THREADS, THREADS_PICTURE = "threads.jsonl", "threads.png"
#: Cycles of a distance, by llvm-mca.
PORTS = "ports.jsonl"
#: What the first call takes.
START = "start.jsonl"
#: Errors, singular rows, kinks; and the parts of the page that they are in.
ACCURACY = "accuracy.jsonl"
ACCURACY_PARTS = "", "ordinary", "parallel", "scaled", "equal", "zero", "bad", "kinks", "threads"
#: All of them, in the order in which they are shown.
FILES = (
    *(TABLE, SWEEP, DISTANCES, TORCH, TORCH_WARM, CUDA, TORCH_CUDA),
    *(ROWS, LISTWISE, LISTWISE_LARGE, NEAREST, LEARNERS, SCALE, THREADS, PORTS, START, ACCURACY),
)

_DTYPE = "float32"
#: What did not fit the memory, or is not measured.
_NOTHING = "–"
AGAIN = "fastcos again"
#: The same call, or the same ceiling, on one thread.
ALONE = "one thread"
#: Providers of whom more than one module knows.
FASTCOS_TORCH, EAGER, COMPILE = "fastcos-torch", "eager", "compile"
PML, ST = "pml", "st"
NUMPY_PRODUCTS, TORCH_PRODUCTS = "numpy products", "torch products"
TORCH_AGAIN = "fastcos-torch again"
#: Bandwidth to reach, as a share of the ceiling.
TARGET = 0.9
#: Numbers in an array of a GPU from which it is to be reached.
LARGE = 64 << 20
#: What is shown of the cases, in this order.
_SHOWN = (
    "cosine_similarity",
    "paired_distance:euclidean",
    "paired_distance:manhattan",
    "paired_distance:chebyshev",
    "paired_distance:lp3",
    "paired_distance:canberra",
    "paired_distance:poincare",
    "cosine_embedding_loss",
    "cosine_distance_loss",
    "triplet_margin_loss",
    "triplet_margin_loss:swap",
    "triplet_margin_with_distance_loss:cosine",
    "hinge_embedding_loss",
)


class Results(NamedTuple):
    """One run: where and when, and its rows."""

    run: dict[str, Any]
    rows: list[dict[str, Any]]


class Block(NamedTuple):
    """A part of a document, between markers, and the files that it is rendered from."""

    document: str
    name: str
    results: str | tuple[str, ...]
    render: Callable[..., str]

    def content(self, found: Mapping[str, Results]) -> str | None:
        """What belongs there; None where there are not all results."""
        names = (self.results,) if isinstance(self.results, str) else self.results
        if not all(name in found for name in names):
            return None
        return self.render(*(found[name] for name in names))


def main(arguments: Sequence[str]) -> int:
    """Renders what the documents show of the results, and the picture; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench report")
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if out of date")
    parser.add_argument("--full", action="store_true", help="print every row, write nothing")
    parser.add_argument("--root", type=pathlib.Path, default=ROOT, help=ROOT_HELP)
    given = parser.parse_args(arguments)
    folder = given.root / RESULTS
    found = {name: load(folder / name) for name in FILES if (folder / name).exists()}
    if given.full:
        found = {name: each for name, each in found.items() if name not in (START, SCALE, PORTS)}
        others = {
            LISTWISE: listwise_full,
            LISTWISE_LARGE: listwise_full,
            NEAREST: nearest_full,
            LEARNERS: learners_full,
            ACCURACY: accuracy_full,
        }
        for name, results in found.items():
            every = others.get(name, full)
            sys.stdout.write(f"## {name}\n\n{every(results)}\n")
        return 0
    status = 0
    contents: dict[str, dict[str, str]] = {}
    for block in BLOCKS:
        content = block.content(found)
        if content is not None:
            contents.setdefault(block.document, {})[block.name] = content
    for document, blocks in contents.items():
        path = given.root / document
        text = wanted = path.read_text(encoding="utf-8")
        for name, content in blocks.items():
            wanted = rendered(wanted, name, content)
        if not given.check:
            path.write_text(wanted, encoding="utf-8")
        elif text != wanted:
            sys.stderr.write(
                f"{document} is not what the results render to: run python -m bench report\n"
            )
            status = 1
    if not given.check:
        from bench import picture

        torch = found[TORCH].rows if TORCH in found else []
        if SWEEP in found:
            picture.draw(found[SWEEP], torch, folder / PICTURE)
        if CUDA in found:
            picture.draw_cuda(found[CUDA], folder / CUDA_PICTURE)
        if TORCH_CUDA in found:
            picture.draw_torch_cuda(found[TORCH_CUDA], folder / TORCH_CUDA_PICTURE)
        if LISTWISE in found:
            picture.draw_listwise(found[LISTWISE], folder / LISTWISE_PICTURE)
        if THREADS in found:
            picture.draw_threads(found[THREADS], folder / THREADS_PICTURE)
    return status


def load(path: pathlib.Path) -> Results:
    """The run and the rows of a file of JSON lines."""
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    (run,) = (e for e in entries if e["kind"] == "run")
    return Results(run, [e for e in entries if e["kind"] == "result"])


def markers(name: str) -> tuple[str, str]:
    """What a block stands between."""
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"


def rendered(text: str, name: str, content: str) -> str:
    """The text with the content between the markers of the block.

    Raises:
        ValueError: the markers are not there, once each and in order.
    """
    start, stop = markers(name)
    head, begin, rest = text.partition(start)
    _, end, tail = rest.partition(stop)
    if not (begin and end) or start in rest or stop in tail:
        raise ValueError(f"the text must hold {start} and then {stop}, once each")
    return f"{head}{start}\n{content}{stop}{tail}"


# --------------------------------------------------------------------------------------------------
# Every case, on arrays
# --------------------------------------------------------------------------------------------------


def table(results: Results) -> str:
    """Shares and ratios at the largest size, times and ratios at the smallest."""
    sizes = _sizes(results)
    (few, short), (n, d) = sizes[0], sizes[-1]

    def row(case: str, mode: str, size: tuple[int, int]) -> dict[str, Any]:
        return _find(results, case, mode, "fastcos", size)

    large = row("cosine_embedding_loss", "value_and_grad_out", sizes[-1])
    where = "out of cache" if large["cache"] == "out" else "in cache"
    text = (
        f"Pairs and triplets of {n:,} × {d} {_DTYPE} arrays, {where} (the calls rotate over"
        f" {_bytes(large['working_set'])}). {_machine(results.run)}\n\n"
        "*Ceiling* is the bandwidth that a parallel read of the same arrays (for values) or a"
        " parallel copy (for value and gradient) reached in the same process, in turn with the"
        " rest. The other numbers are times faster, with the 20% and 80% quantiles within a round,"
        " than the NumPy formula with its hand-written gradient, and than SciPy, scikit-learn,"
        " SimSIMD and NumKong where they have the function. *Again* is fastcos against itself, the"
        " same call measured twice in every round: what it differs from 1 is the machine's noise."
        " **Bold**: slower.\n\n"
    )
    header: tuple[str, ...] = (
        f"{n} × {d}",
        "value: of ceiling",
        "vs NumPy",
        "vs others",
        "again",
        "value and gradient: of ceiling",
        "vs NumPy",
        "again",
    )
    body: list[tuple[str, ...]] = []
    for case in _SHOWN:
        value, both = (row(case, mode, sizes[-1]) for mode in ("value", "value_and_grad_out"))
        body.append(
            (
                f"`{case}`",
                f"{value['share']:.0%}",
                _spread(value["faster"]["numpy"]),
                _others(value),
                _again(value),
                f"{both['share']:.0%}",
                _spread(both["faster"]["numpy"]),
                _again(both),
            )
        )
    text += _markdown(header, body)
    control = _find(results, "cosine_embedding_loss", "ceiling", "copy again", sizes[-1])
    text += (
        f"\nThe copy measured a second time as a control: {control['share']:.0%} of itself"
        f" ({control['share_p20']:.0%} to {control['share_p80']:.0%} within a round).\n\n"
    )
    header = (
        f"{few} × {short}",
        *("value", "vs NumPy", "vs others", "again"),
        *("value and gradient", "vs NumPy", "again"),
        "new arrays, vs NumPy",
    )
    body = []
    for case in _SHOWN:
        modes = ("value", "value_and_grad_out", "value_and_grad")
        value, both, new = (row(case, mode, sizes[0]) for mode in modes)
        cells = [f"`{case}`"]
        for small in (value, both):
            others = [_others(small)] if small is value else []
            numpy = _spread(small["faster"]["numpy"])
            cells += [_seconds(small["p50"]), numpy, *others, _again(small)]
        body.append((*cells, f"{_seconds(new['p50'])}, {_spread(new['faster']['numpy'])}"))
    return (
        text
        + _markdown(header, body)
        + (
            "\nGradients are written into the caller's arrays (`out=`) unless they are *new*."
            " Every row: `python -m bench report --full`.\n"
        )
    )


def _others(row: Mapping[str, Any]) -> str:
    """Times faster than all but NumPy and itself."""
    named = ((name, q) for name, q in row["faster"].items() if name not in ("numpy", AGAIN))
    return ", ".join(f"{_spread(quotient)} {name}" for name, quotient in named)


# --------------------------------------------------------------------------------------------------
# Every distance, in every dtype
# --------------------------------------------------------------------------------------------------


def distance_tables(results: Results) -> str:
    """Shares of the ceiling, for value and for value and gradient: distance by dtype by size."""
    sizes = _sizes(results)
    dtypes, cases = (list(dict.fromkeys(r[key] for r in results.rows)) for key in ("dtype", "case"))

    def share(case: str, mode: str, dtype: str, size: tuple[int, int]) -> str:
        return _share(_find(results, case, mode, "fastcos", size, dtype))

    def place(size: tuple[int, int]) -> str:
        places = {r["cache"] for r in results.rows if (r["n"], r["d"]) == size}
        where = {"in": "in the L2 cache", "out": "out of cache"}
        # A size between the two: which it is depends on the dtype.
        return where[places.pop()] if len(places) == 1 else "in cache or out of it, by dtype"

    def ceilings(provider: str, dtype: str, size: tuple[int, int]) -> str:
        found = [
            r["gbps"]
            for r in results.rows
            if (r["provider"], r["dtype"], r["n"], r["d"]) == (provider, dtype, *size)
        ]
        low, high = f"{min(found):.0f}", f"{max(found):.0f}"
        return low if low == high else f"{low} to {high}"

    def line(name: str, cell: Callable[[str, tuple[int, int]], str]) -> tuple[str, ...]:
        return (name, *(" / ".join(cell(t, size) for size in sizes) for t in dtypes))

    named = "; ".join(f"{n} × {d}, {place((n, d))}" for n, d in sizes)
    text = (
        f"{_machine(results.run)}\n\nBandwidth as a share of the ceiling, fastcos, at {named}."
        f" **Bold**: below {TARGET:.0%}. The ceilings are in GB/s, from the slowest to the fastest"
        " that the calls of a column ran beside.\n"
    )
    modes = (("value", "value", "read"), ("value_and_grad_out", "value and gradient", "copy"))
    for mode, title, ceiling in modes:
        body = [
            line(f"*{ceiling}, GB/s*", functools.partial(ceilings, ceiling)),
            *(
                line(f"`{case.partition(':')[2] or case}`", functools.partial(share, case, mode))
                for case in cases
            ),
        ]
        text += f"\n{_markdown((title, *dtypes), body)}"
        reached = [
            r["share"] >= TARGET
            for r in results.rows
            if (r["mode"], r["provider"]) == (mode, "fastcos")
        ]
        text += f"\n{sum(reached)} of {len(reached)} reach {TARGET:.0%}.\n"
    return text + "\n" + _controls(results)


# --------------------------------------------------------------------------------------------------
# Torch
# --------------------------------------------------------------------------------------------------

_TITLES = {"forward": "forward", "forward_backward": "forward + backward"}
_NAMES = {"fastcos": "fastcos", "eager": "torch", "compile": "torch.compile"}
#: How many times faster fastcos is to be where the tensors fit the caches.
_WARM_TARGETS = {"eager": 1, "compile": 1.5}
_HOW_TO_READ = (
    "*Again*: than fastcos, the same call measured twice in every round; from the least to the most"
    " of the rows above. **Bold**: slower."
)


def torch_tables(results: Results) -> str:
    """Times and quotients by size, and what is kept for the backward pass."""
    run, named = results.run, _named(results)
    dtypes, cases, sizes = named.dtypes, named.cases, named.sizes
    providers, peers = _providers(results)

    def kept(dtype: str, case: str, provider: str) -> str:
        row = named.rows.get((dtype, "forward_backward", case, *sizes[-1], provider))
        return _NOTHING if row is None else _count(row["saved_bytes"])

    text = (
        f"{_machine(run)} torch has {run['torch_threads']} threads.\n\nTime per call, and times"
        f" faster than {' / '.join(_NAMES[p] for p in peers)}. {_HOW_TO_READ}\n"
    )
    for dtype in dtypes:
        for mode in _TITLES:
            text += _by_size(named, dtype, mode, peers)
        n, d = sizes[-1]
        header = (f"kept for backward, {dtype}, {n} × {d}", *(_NAMES[p] for p in providers))
        body = [(f"`{c}`", *(kept(dtype, c, p) for p in providers)) for c in cases]
        text += f"\n{_markdown(header, body)}"
    return text + "\n" + _controls(results)


def torch_warm_tables(results: Results) -> str:
    """Times and quotients by size, on tensors that every call finds where the last one left them.

    What is to be reached: 1.5 times as fast as ``torch.compile``, and nowhere slower than torch.
    """
    named, (_, peers) = _named(results), _providers(results)
    run = results.run
    text = (
        f"{_machine(run)} torch has {run['torch_threads']} threads.\n\nEvery call on the same"
        f" tensors. Time per call, and times faster than {' / '.join(_NAMES[p] for p in peers)}; to"
        f" be reached: {' / '.join(f'{_WARM_TARGETS[p]}×' for p in peers)}. {_HOW_TO_READ}\n"
    )
    for dtype in named.dtypes:
        for mode in _TITLES:
            text += _by_size(named, dtype, mode, peers)
    return text + "\n" + _controls(results)


def _providers(results: Results) -> tuple[list[str], list[str]]:
    """Those that are timed, and all of them but fastcos."""
    timed = dict.fromkeys(r["provider"] for r in results.rows if r["mode"] in _TITLES)
    providers = [name for name in timed if name != AGAIN]
    return providers, [name for name in providers if name != "fastcos"]


def _by_size(named: _Named, dtype: str, mode: str, peers: Sequence[str], host: bool = False) -> str:
    """A table of times and quotients, of the device (or the CPU) or of the host that feeds it."""

    def found(case: str, size: tuple[int, int], provider: str = "fastcos") -> dict[str, Any]:
        return named.rows.get((dtype, mode, case, *size, provider), {})

    def ratio(case: str, size: tuple[int, int], peer: str) -> float | None:
        mine, other = found(case, size), found(case, size, peer)
        if host and mine and other:
            return float(other["host"]["p50"] / mine["host"]["p50"])
        return mine["faster"][peer]["ratio"] if peer in mine.get("faster", ()) else None

    def times(case: str, size: tuple[int, int]) -> str:
        row = found(case, size)
        if not row:
            return _NOTHING
        ratios = (ratio(case, size, peer) for peer in peers)
        faster = " / ".join(_NOTHING if r is None else _times(r) for r in ratios)
        return f"{_seconds((row['host'] if host else row)['p50'])}, {faster}"

    def noise(size: tuple[int, int]) -> str:
        ratios = [r for case in named.cases if (r := ratio(case, size, AGAIN)) is not None]
        return f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else ""

    title = f"{_TITLES[mode]}{', host' if host else ''}, {dtype}"
    body = [(f"`{c}`", *(times(c, size) for size in named.sizes)) for c in named.cases]
    again = [noise(size) for size in named.sizes]
    if any(again):
        body.append(("*again*", *again))
    return f"\n{_markdown((title, *(f'{n} × {d}' for n, d in named.sizes)), body)}"


# --------------------------------------------------------------------------------------------------
# Rows of a table
# --------------------------------------------------------------------------------------------------

MADE_BEFORE = "made before"
_ROWS_PEERS = {
    "copies": "copies",
    "add.at": "copies, `np.add.at`",
    "scipy": "copies, SciPy",
    "torch": "torch",
    "torch-sparse": "torch, sparse",
}


def rows_tables(results: Results) -> str:
    """Times and quotients by table and dtype; of values the share of the ceiling; what is kept."""
    keys = ("n", "table", "d", "dtype")
    found = {(r["mode"], r["provider"], *(r[key] for key in keys)): r for r in results.rows}
    shapes = list(dict.fromkeys(tuple(r[key] for key in keys) for r in results.rows))

    def times(row: Mapping[str, Any] | None, peer: str = "") -> str:
        if row is None:
            return _NOTHING
        against = row["faster"].get(peer)
        return _seconds(row["p50"]) + (f", {_times(against['ratio'])}" if against else "")

    def beyond(shape: tuple[Any, ...], mode: str) -> str:
        """Bytes a sample, without the gradient itself."""
        value, row = (found[(m, "fastcos", *shape)] for m in ("value", mode))
        return _count(max(0, round((row["peak_bytes"] - row["bytes"] + value["bytes"]) / row["n"])))

    def line(shape: tuple[Any, ...], mode: str, peers: Sequence[str]) -> tuple[str, ...]:
        mine = found[(mode, "fastcos", *shape)]
        before, torch = (found.get((mode, p, *shape)) for p in (MADE_BEFORE, FASTCOS_TORCH))
        against = (mine["faster"].get(peer) for peer in peers)
        n, table, d, dtype = shape
        return (
            f"{n:,} pairs of {table:,} × {d}, {dtype}",
            *(times(mine), times(before), times(torch, "torch"), _again(mine)),
            *(_spread(quotient) if quotient else _NOTHING for quotient in against),
            *([_share(mine)] if mode == "value" else []),
            beyond(shape, mode),
        )

    text = (
        f"{_machine(results.run)}\n\nCosine embedding loss of pairs of rows of one table. Time per"
        " call of fastcos, with operands made in it and before it, and of fastcos on a tensor (and"
        " times faster than torch); and times faster, with the 20% and 80% quantiles within a"
        f" round, than the others. **Bold**: slower, or below {TARGET:.0%} of the ceiling. *Bytes*"
        " are what a call has allocated at most for each sample, beside the gradient.\n"
    )
    for mode, title in (("value", "value"), ("value_and_grad", "value and gradient")):
        faster = {
            peer
            for (m, provider, *_), r in found.items()
            if (m, provider) == (mode, "fastcos")
            for peer in r["faster"]
        }
        peers = [peer for peer in _ROWS_PEERS if peer in faster]
        header = (
            *(title, "fastcos", "made before", "on a tensor (vs torch)", "again"),
            *(f"vs {_ROWS_PEERS[peer]}" for peer in peers),
            *(["of ceiling"] if mode == "value" else []),
            "bytes",
        )
        text += f"\n{_markdown(header, [line(shape, mode, peers) for shape in shapes])}"
    return f"{text}\n{_controls(results)}"


# --------------------------------------------------------------------------------------------------
# Losses of all rows with all rows
# --------------------------------------------------------------------------------------------------

_LIBRARIES = {PML: "PML", ST: "ST"}
#: Why something is not known, in a table.
_WHY = {"memory": "does not fit", "failed": "failed"}


def listwise_tables(results: Results) -> str:
    """Times, quotients, shares of the products and memory, by case and size; then the picture."""
    return (
        f"{_listwise_machine(results)}\n\n"
        "Value and gradients of N rows of D float32 numbers: the least time of the rounds, on NumPy"
        " arrays and on tensors through autograd. *Of ceiling*: what the three products of a call"
        " alone take of it, by the same library, in blocks as high as those of fastcos. Then times"
        " faster, on tensors, than torch's operators, as they are and compiled, and than"
        " pytorch-metric-learning (PML) and sentence-transformers (ST) where they have the loss."
        " *Memory* is what a call takes at most, beyond the arrays that it is given; gradients are"
        " in it. **Bold**: slower, or more memory than the least of the others.\n\n"
        f"{_listwise_table(results)}\n"
        f"![Memory of a call by the number of rows]({FROM_PAGES}/{LISTWISE_PICTURE})\n"
    )


def listwise_large_table(results: Results) -> str:
    """The same of a batch that takes minutes."""
    return f"{_listwise_machine(results)}\n\n{_listwise_table(results)}"


def _listwise_machine(results: Results) -> str:
    run, rows = results.run, results.rows
    commits = dict.fromkeys(r["commit"] for r in rows if r["commit"] != run["commit"])
    earlier = f" Some rows are of {', '.join(commits)}." if commits else ""
    return (
        f"{_machine(run)}{earlier} NumPy's products are by {run['blas']}; torch has"
        f" {run['torch_threads']} threads."
    )


def _listwise_table(results: Results) -> str:
    rows = results.rows
    found = {(r["case"], r["n"], r["d"], r["provider"]): r for r in rows}
    keys = list(dict.fromkeys((r["case"], r["n"], r["d"]) for r in rows))

    def time(row: Mapping[str, Any]) -> str:
        return _seconds(row["least"]) if row.get("least") else _why(row, "left_out")

    def share(row: Mapping[str, Any]) -> str:
        return f"{row['share']:.0%}" if row.get("share") else _NOTHING

    def against(key: tuple[Any, ...], peer: str) -> str:
        """How much longer a peer takes, than on tensors; or why that is not known."""
        ratio = found.get((*key, FASTCOS_TORCH), {}).get("faster", {}).get(peer)
        return _why(found.get((*key, peer), {}), "left_out") if ratio is None else _times(ratio)

    def peak(key: tuple[Any, ...], provider: str) -> str:
        row, others = found.get((*key, provider), {}), [(*key, p) for p in (EAGER, *_LIBRARIES)]
        if row.get("peak_bytes") is None:
            return _why(row, "no_peak")
        text = _count(row["peak_bytes"])
        least = min((found[k]["peak_bytes"] or math.inf for k in others if k in found), default=0)
        more = provider in ("fastcos", FASTCOS_TORCH) and 0 < least < row["peak_bytes"]
        return f"**{text}**" if more else text

    def libraries(key: tuple[Any, ...], cell: Callable[[tuple[Any, ...], str], str]) -> str:
        there = [p for p in _LIBRARIES if (*key, p) in found]
        return ", ".join(f"{cell(key, p)} {_LIBRARIES[p]}" for p in there) or _NOTHING

    def line(key: tuple[Any, ...]) -> tuple[str, ...]:
        arrays, tensors = (found.get((*key, p), {}) for p in ("fastcos", FASTCOS_TORCH))
        again = tensors.get("faster", {}).get(TORCH_AGAIN)
        return (
            f"`{key[0]}` {key[1]:,} × {key[2]}",
            *(time(arrays), share(arrays), time(tensors), share(tensors)),
            _NOTHING if again is None else f"{again:.2f}",
            *(against(key, EAGER), against(key, COMPILE), libraries(key, against)),
            *(peak(key, p) for p in ("fastcos", FASTCOS_TORCH, EAGER)),
            libraries(key, peak),
        )

    header = (
        "value and gradients, N × D",
        *("NumPy arrays", "of ceiling", "tensors", "of ceiling", "again"),
        *("vs torch", "vs torch.compile", "vs PML, ST"),
        *("memory: arrays", "tensors", "torch", "PML, ST"),
    )
    ratios = [
        ratio
        for r in rows
        if r["provider"] == FASTCOS_TORCH
        for peer, ratio in r["faster"].items()
        if peer in (EAGER, COMPILE, *_LIBRARIES)
    ]
    slower = sum(ratio < 1 for ratio in ratios)
    again = [r["faster"][TORCH_AGAIN] for r in rows if TORCH_AGAIN in r["faster"]]
    noise = f", the same call measured twice, {_range(again)}" if again else ""
    slow = f"In {slower} of {len(ratios)} comparisons fastcos is the slower one. " if ratios else ""
    alike = f"*Again* is it against itself{noise}. " if again else ""
    return (
        f"{_markdown(header, map(line, keys))}\n"
        f"{slow}{alike}Other processes took at most {max(r['others'] for r in rows):.0%} of the"
        " machine.\n"
    )


def _why(row: Mapping[str, Any], key: str) -> str:
    return _WHY.get(row.get(key, ""), _NOTHING)


def _range(ratios: Sequence[float]) -> str:
    return f"{min(ratios):.2f} to {max(ratios):.2f}"


def listwise_lines(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of a case and size as plain text, for whoever watches a run."""
    first = rows[0]
    out = [f"{first['case']}  {first['n']}x{first['d']}, blocks of {first['block']}"]
    for r in rows:
        timed = "left out" if r["least"] is None else _seconds(r["least"])
        share = "" if r["share"] is None else f"{r['share']:.0%}"
        peak = "" if r["peak_bytes"] is None else _count(r["peak_bytes"])
        peers = ", ".join(
            f"{ratio:.2f} {name}" if name.endswith(" again") else f"{_times(ratio)} {name}"
            for name, ratio in r["faster"].items()
        )
        told = f"  {r['provider']:<22}{timed:>9}{r['repeats']:>4}{share:>6}{peak:>10}  {peers}"
        out.append(told.rstrip())
    return "\n".join(out)


def listwise_full(results: Results) -> str:
    """Every row, in the order of the file."""
    header = (
        *("case", "provider", "size", "least", "p50", "rounds"),
        *("of the products", "times faster than", "memory"),
    )
    body = [
        (
            *(r["case"], r["provider"], shape(r["n"], r["d"])),
            *(_NOTHING if r[q] is None else _seconds(r[q]) for q in ("least", "p50")),
            str(r["repeats"]),
            _NOTHING if r["share"] is None else f"{r['share']:.0%}",
            ", ".join(f"{ratio:.2f} {name}" for name, ratio in r["faster"].items()),
            _why(r, "no_peak") if r["peak_bytes"] is None else _count(r["peak_bytes"]),
        )
        for r in results.rows
    ]
    return _machine(results.run) + "\n\n" + _markdown(header, body)


# --------------------------------------------------------------------------------------------------
# A GPU
# --------------------------------------------------------------------------------------------------


def cuda_tables(results: Results) -> str:
    """Shares of the copy's bandwidth at the large sizes, times at the smallest and the largest."""
    run, named = results.run, _named(results)
    found, dtypes, cases, sizes = named
    modes = "value", "value_and_grad_out"

    def times(*key: Any) -> tuple[str, ...]:
        row = found.get((*key, "fastcos"))
        if row is None:
            return (_NOTHING,) * 4
        device, host = row["faster"].get("cupy"), ""
        if device:
            formula = (key[0], key[1].removesuffix("_out"), *key[2:], "cupy")
            host = _times(found[formula]["host"]["p50"] / row["host"]["p50"])
        over = _spread(device) if device else ""
        return _seconds(row["p50"]), over, _seconds(row["host"]["p50"]), host

    text = (
        f"{_gpu(run)}\n\nBandwidth as a share of that of a copy from device to device, measured in"
        " turn with the rest: value / value and gradient (`out=`), the bytes counted that must"
        f" move. **Bold**: below {TARGET:.0%}.\n"
    )
    for dtype in dtypes:
        text += _shares(named, dtype, modes)
    text += (
        "\nTime per call on the device and on the host, which enqueues it, and times faster than"
        " the formula in CuPy, with its gradient by hand. **Bold**: slower.\n"
    )
    for dtype in dtypes:
        for n, d in dict.fromkeys((sizes[0], sizes[-1])):
            header = [f"{n} × {d}, {dtype}"]
            for title in ("value", "value and gradient"):
                header += [f"{title}: device", "vs CuPy", "host", "vs CuPy"]
            body = [
                (f"`{c}`", *(t for m in modes for t in times(dtype, m, c, n, d))) for c in cases
            ]
            text += f"\n{_markdown(header, body)}"
    return f"{text}\n{_controls(results)}\n{_shown(CUDA_PICTURE)}"


def torch_cuda_tables(results: Results) -> str:
    """Times of the device and of the host by size, shares of the copy's bandwidth, peak memory."""
    named = _named(results)
    providers, peers = _providers(results)
    modes = tuple(_TITLES)
    others = " / ".join(_NAMES[p] for p in peers)

    def peak(dtype: str, mode: str, case: str, provider: str) -> str:
        key = (dtype, mode, case, *named.sizes[-1])
        row, rival = (named.rows.get((*key, name)) for name in (provider, "compile"))
        if row is None:
            return _NOTHING
        text = _count(row["peak_bytes"])
        more = provider == "fastcos" and rival and row["peak_bytes"] > rival["peak_bytes"]
        return f"**{text}**" if more else text

    text = (
        f"{_gpu(results.run)}\n\nTime per call on the device, and on the host, which enqueues it,"
        f" and times faster than {others}. Of calls in a row a program sees the larger of the two."
        f" {_HOW_TO_READ}\n"
    )
    for dtype in named.dtypes:
        for mode in modes:
            text += _by_size(named, dtype, mode, peers)
            text += _by_size(named, dtype, mode, peers, host=True)
    text += (
        "\nBandwidth as a share of that of a copy from device to device, measured in turn with the"
        " rest: forward / forward + backward, the bytes counted that must move. **Bold**: below"
        f" {TARGET:.0%}.\n"
    )
    for dtype in named.dtypes:
        text += _shares(named, dtype, modes)
    text += (
        "\nWhat a call allocates at most, its result and the gradients among it. **Bold**: more"
        " than torch.compile.\n"
    )
    (n, d), columns = named.sizes[-1], [(mode, p) for mode in modes for p in providers]
    for dtype in named.dtypes:
        titles = (f"{_TITLES[mode]}: {_NAMES[p]}" for mode, p in columns)
        body = [(f"`{c}`", *(peak(dtype, m, c, p) for m, p in columns)) for c in named.cases]
        text += f"\n{_markdown((f'{n} × {d}, {dtype}', *titles), body)}"
    return f"{text}\n{_controls(results)}\n{_shown(TORCH_CUDA_PICTURE)}"


def _shares(named: _Named, dtype: str, modes: Sequence[str]) -> str:
    """A table of the shares of fastcos at the large sizes, every mode in one cell."""
    large = [size for size in named.sizes if math.prod(size) >= LARGE] or named.sizes[-1:]

    def share(*key: Any) -> str:
        row = named.rows.get((*key, "fastcos"))
        return _share(row) if row else _NOTHING

    body = [
        (f"`{c}`", *(" / ".join(share(dtype, m, c, *size) for m in modes) for size in large))
        for c in named.cases
    ]
    return f"\n{_markdown((dtype, *(f'{n} × {d}' for n, d in large)), body)}"


def _shown(picture: str) -> str:
    title = "Bandwidth as a share of that of a copy, by size"
    return f"![{title}]({FROM_PAGES}/{picture})\n"


def _gpu(run: dict[str, Any]) -> str:
    gpu = run["gpu"]
    versions = run["versions"] | gpu["versions"]
    names = {name: name for name in gpu["versions"]} | _VERSIONS
    numbers = ", ".join(f"{names[key]} {versions[key]}" for key in names if key in versions)
    driver = gpu.get("driver_version") or f"for CUDA {gpu.get('cuda_of_driver', '(not known)')}"
    return (
        f"{gpu['name']}, {_bytes(gpu['memory'])}, L2 {_bytes(gpu['L2'])}, driver {driver}, CUDA"
        f" runtime {gpu['cuda_runtime']}; host {run['cpu']}, {run['cores']} cores; {numbers};"
        f" fastcos {run['commit']}, {run['time'][:10]}."
    )


def start_table(results: Results) -> str:
    """What a new process takes, and what it is to take; bold where it takes longer."""
    from bench.start import COMPILED, IMPORT, KEPT, TARGETS

    def cell(row: Mapping[str, Any]) -> str:
        low, middle, high = (_seconds(row[q]) for q in ("p20", "p50", "p80"))
        middle = middle if row["p50"] <= TARGETS[row["mode"]] else f"**{middle}**"
        return f"{middle} ({low} to {high})"

    by_case: dict[str, dict[str, str]] = {}
    for row in results.rows:
        by_case.setdefault(row["case"], {})[row["mode"]] = cell(row)
    modes = {
        IMPORT: "import, with NumPy",
        COMPILED: "first call, compiled",
        KEPT: "first call, kernels on disk",
    }
    header = ["", *(f"{name} (≤ {TARGETS[mode]:g} s)" for mode, name in modes.items())]
    body = [[f"`{case}`", *(found.get(m, "") for m in modes)] for case, found in by_case.items()]
    return f"{_machine(results.run)}\n\n{_markdown(header, body)}"


def nearest_tables(results: Results) -> str:
    """Of nearest rows: times, memory, and how many answers are wrong."""
    from bench import nearest_report

    return nearest_report.tables(results)


def nearest_full(results: Results) -> str:
    """Every row of nearest rows."""
    from bench import nearest_report

    return nearest_report.full(results)


def learners_tables(results: Results) -> str:
    """Of learned projections: what they find, and how long it takes."""
    from bench import learners_report

    return learners_report.tables(results)


def learners_full(results: Results) -> str:
    """Every row of learned projections."""
    from bench import learners_report

    return learners_report.full(results)


def _two_digits(number: float) -> float:
    return float(f"{number:.2g}")


def scale_table(results: Results) -> str:
    """Every row of several processes, and the rates that follow."""
    header = ("", "", "rows", "time", "rows a second", "GB/s", "GFLOP/s")
    body = [
        (
            *(r["case"], r["way"], f"{r['count']:,} × {r['features']}", _seconds(r["seconds"])),
            f"{_two_digits(r['count'] / r['seconds']):,.0f}",
            f"{r['bytes'] / r['seconds'] / 1e9:.1f}" if r["bytes"] else _NOTHING,
            f"{r['work'] / r['seconds'] / 1e9:.0f}" if r["work"] else _NOTHING,
        )
        for r in results.rows
    ]
    return f"{_machine(results.run)}\n\n{_markdown(header, body)}"


def ports_tables(results: Results) -> str:
    """Of distances: cycles by the ports of processors, and those that memory leaves."""
    from bench import ports_report

    return ports_report.tables(results)


def accuracy_part(part: str, results: Results) -> str:
    """Of errors: where they were measured, or the tables of a part."""
    from bench import accuracy_report

    return accuracy_report.part(part, results)


def accuracy_full(results: Results) -> str:
    """Every row of errors."""
    from bench import accuracy_report

    return accuracy_report.full(results)


def threads_tables(results: Results) -> str:
    """Of several numbers of threads: times, and how many times faster than one."""
    from bench import threads_report

    return threads_report.tables(results)


def short_table(*results: Results) -> str:
    """A line each of what people do."""
    from bench import short_report

    return short_report.table(*results)


#: What the short table is made of.
SHORT = TABLE, TORCH, ROWS, LISTWISE, NEAREST
#: What is rendered where.
BLOCKS = (
    Block("README.md", "bench-short", SHORT, short_table),
    Block("docs/speed/index.md", "bench-short", SHORT, short_table),
    Block("docs/speed/arrays.md", "bench", TABLE, table),
    Block("docs/speed/arrays.md", "bench-distances", DISTANCES, distance_tables),
    Block("docs/speed/torch.md", "bench-torch", TORCH, torch_tables),
    Block("docs/speed/torch.md", "bench-torch-warm", TORCH_WARM, torch_warm_tables),
    Block("docs/speed/tables.md", "bench-rows", ROWS, rows_tables),
    Block("docs/speed/batches.md", "bench-listwise", LISTWISE, listwise_tables),
    Block("docs/speed/batches.md", "bench-listwise-large", LISTWISE_LARGE, listwise_large_table),
    Block("docs/speed/search.md", "bench-nearest", NEAREST, nearest_tables),
    Block("docs/speed/learners.md", "bench-learners", LEARNERS, learners_tables),
    Block("docs/speed/threads.md", "bench-threads", THREADS, threads_tables),
    Block("docs/speed/ports.md", "bench-ports", PORTS, ports_tables),
    Block("docs/speed/start.md", "bench-start", START, start_table),
    Block("docs/speed/gpu.md", "bench-cuda", CUDA, cuda_tables),
    Block("docs/speed/gpu.md", "bench-torch-cuda", TORCH_CUDA, torch_cuda_tables),
    Block("docs/guides/scale.md", "bench-scale", SCALE, scale_table),
    *(
        Block(
            "docs/accuracy.md",
            "-".join(filter(None, ("bench-accuracy", part))),
            ACCURACY,
            functools.partial(accuracy_part, part),
        )
        for part in ACCURACY_PARTS
    ),
)


# --------------------------------------------------------------------------------------------------
# Every row
# --------------------------------------------------------------------------------------------------


def full(results: Results) -> str:
    """Every row, in the order measured."""
    header = (
        *("case", "mode", "provider", "size", "dtype", "cache", "p20", "p50", "p80"),
        *("GB/s", "of ceiling (20% to 80%)", "times faster than (20% to 80%)"),
    )
    body = [
        (
            *(r["case"], r["mode"], _on_threads(r)),
            *(shape(r["n"], r["d"], r.get("table")), r["dtype"], r["cache"]),
            *(_seconds(r[q]) for q in ("p20", "p50", "p80")),
            f"{r['gbps']:.1f}",
            f"{r['share']:.0%} of {r['ceiling']} ({r['share_p20']:.0%} to {r['share_p80']:.0%})",
            ", ".join(
                f"{_over(name, q)} ({q['p20']:.3g} to {q['p80']:.3g})"
                for name, q in r["faster"].items()
            ),
        )
        for r in results.rows
    ]
    return _machine(results.run) + "\n\n" + _markdown(header, body)


def _on_threads(row: Mapping[str, Any]) -> str:
    """Who, and on how many threads where these are compared."""
    threads = row.get("threads")
    return (
        f"{row['provider']}, {threads} thread{'s'[threads < 2 :]}" if threads else row["provider"]
    )


def lines(rows: Sequence[Row]) -> str:
    """Rows as plain text, for whoever watches a run."""
    first = rows[0]
    where = "out of cache" if first.cache == "out" else "in cache"
    of = shape(first.n, first.d, first.table)
    out = [f"{first.case}  {of} {first.dtype}, {where}"]
    for r in rows:
        peers = ", ".join(_over(name, q) for name, q in r.faster.items())
        host = f"host {_seconds(r.host['p50'])}  " if r.host else ""
        on = "" if r.threads is None else f"{r.threads:>3} "
        out.append(
            f"  {on}{r.mode:<19}{r.provider:<15}{_seconds(r.p50):>9}{r.gbps:8.1f} GB/s"
            f"{r.share:7.0%} of {r.ceiling:<5} {host}{peers}"
        )
    kept = [f"{_count(r.saved_bytes)} {r.provider}" for r in rows if r.saved_bytes is not None]
    if kept:
        out.append(f"  kept for backward: {', '.join(kept)}")
    for mode in dict.fromkeys(r.mode for r in rows if r.peak_bytes is not None):
        peaks = ((r.peak_bytes, r.provider) for r in rows if r.mode == mode)
        told = ", ".join(f"{_count(peak)} {name}" for peak, name in peaks if peak is not None)
        out.append(f"  peak of {mode}: {told}")
    return "\n".join(out)


def shape(n: int, d: int, table: int | None = None) -> str:
    """As ``--sizes`` takes it."""
    return f"{n}of{table}x{d}" if table else f"{n}x{d}"


class _Named(NamedTuple):
    """Rows by dtype, mode, case, size and provider; and what there is of these."""

    rows: dict[tuple[Any, ...], dict[str, Any]]
    dtypes: list[str]
    cases: list[str]
    sizes: list[tuple[int, int]]


def _named(results: Results) -> _Named:
    keys = ("dtype", "mode", "case", "n", "d", "provider")
    dtypes, cases = (list(dict.fromkeys(r[key] for r in results.rows)) for key in ("dtype", "case"))
    rows = {tuple(r[key] for key in keys): r for r in results.rows}
    return _Named(rows, dtypes, cases, _sizes(results))


def _sizes(results: Results) -> list[tuple[int, int]]:
    return sorted({(r["n"], r["d"]) for r in results.rows}, key=math.prod)


def _find(
    results: Results,
    case: str,
    mode: str,
    provider: str,
    size: tuple[int, int],
    dtype: str = _DTYPE,
) -> dict[str, Any]:
    wanted = (case, mode, provider, *size, dtype)
    for row in results.rows:
        if tuple(row[k] for k in ("case", "mode", "provider", "n", "d", "dtype")) == wanted:
            return row
    raise LookupError(f"the results have no row {wanted}")


_VERSIONS = {
    "python": "Python",
    "numpy": "NumPy",
    "numba": "Numba",
    "scipy": "SciPy",
    "scikit-learn": "scikit-learn",
    "simsimd": "SimSIMD",
    "numkong": "NumKong",
    "torch": "torch",
    "cupy": "CuPy",
    "triton": "Triton",
    "pytorch-metric-learning": "pytorch-metric-learning",
    "sentence-transformers": "sentence-transformers",
    "faiss-cpu": "FAISS",
    "usearch": "usearch",
    "metric-learn": "metric-learn",
}


def _machine(run: dict[str, Any]) -> str:
    versions = run["versions"]
    numbers = ", ".join(
        f"{name} {versions[key]}" for key, name in _VERSIONS.items() if key in versions
    )
    caches = ", ".join(f"{level} {_bytes(size)}" for level, size in run["caches"].items())
    return (
        f"{run['cpu']} ({run['architecture']}), {run['cores']} cores, {run['threads']} threads"
        f" ({run['threading_layer']}), {caches}; {numbers}; fastcos {run['commit']},"
        f" {run['time'][:10]}."
    )


def _controls(results: Results) -> str:
    """How far what is measured twice differs, ceilings and calls, and who else was there."""
    ceilings = [r for r in results.rows if r["provider"] in ("read again", "copy again")]
    low, high = (f(r["share"] for r in ceilings) for f in (min, max))
    text = (
        f"The ceilings measured a second time, as a control: {low:.0%} to {high:.0%} of the first."
    )
    again = [r["faster"][AGAIN]["ratio"] for r in results.rows if AGAIN in r["faster"]]
    if again:
        text += (
            f" The same call of fastcos measured a second time: {min(again):.2f} to"
            f" {max(again):.2f} of the first, half of them within"
            f" {statistics.median(abs(q - 1) for q in again):.1%}."
        )
    busy = max(r["others"] for r in results.rows)
    return f"{text} Other processes took at most {busy:.0%} of the machine.\n"


def _markdown(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (header, rule, *body))


def _share(row: Mapping[str, Any]) -> str:
    """Of the ceiling; bold where it is below the target."""
    text = f"{row['share']:.0%}"
    return text if row["share"] >= TARGET else f"**{text}**"


def _times(ratio: float) -> str:
    """How many times faster; bold where it is slower."""
    text = f"{_number(ratio)}×"
    return text if ratio >= 1 else f"**{text}**"


def _spread(quotient: Mapping[str, float]) -> str:
    """The same with the quantiles within a round."""
    low, high = (_number(quotient[q]) for q in ("p20", "p80"))
    return f"{_times(quotient['ratio'])} ({low} to {high})"


def _over(name: str, quotient: Mapping[str, float]) -> str:
    """Times faster than whom; the control is neither won nor lost."""
    ratio = quotient["ratio"]
    return f"{ratio:.2f} {name}" if name == AGAIN else f"{_times(ratio)} {name}"


def _number(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 9.95 else f"{ratio:.1f}" if ratio >= 0.95 else f"{ratio:.2f}"


def _again(row: Mapping[str, Any]) -> str:
    """The control of a row, where it was measured: neither a win nor a loss."""
    quotient = row["faster"].get(AGAIN)
    return "{ratio:.2f} ({p20:.2f} to {p80:.2f})".format(**quotient) if quotient else ""


def _seconds(value: float) -> str:
    for unit, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= unit:
            return f"{value / unit:.3g} {name}"
    return f"{value * 1e9:.3g} ns"


def _bytes(count: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count / 1024:.3g} KiB"


def _count(count: int) -> str:
    return f"{count} B" if count < 1024 else _bytes(count)
