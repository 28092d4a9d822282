"""The torch adapter beside torch, eager and compiled: ``python -m bench torch``.

What a training loop calls is timed: the forward pass of tensors that need no gradient, and forward
with backward through autograd. Data, rounds, ceilings and quotients are those of the other cases,
in ``bench.cases`` and ``bench.runner``.
"""

from __future__ import annotations

import argparse
import fnmatch
import functools
import gc
import importlib
import itertools
import json
import math
import pathlib
import re
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench import ceilings, report, runner
from bench.cases import MARGIN, Thunk, draw

ft = importlib.import_module("fastcos.adapters.torch")

FORWARD, BOTH = "forward", "forward_backward"
#: By what limits it, the modes.
_CEILINGS = {FORWARD: runner.READ, BOTH: runner.COPY}
OURS, EAGER, COMPILE = "fastcos", "eager", "compile"
PEERS = (EAGER, COMPILE)
SIZES = "32x128,128x128,1024x128,1024x768,4096x128,8192x768,65536x768"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
RESULTS = pathlib.Path(__file__).parent / "results" / "torch.jsonl"


class Tensors(NamedTuple):
    """One set of what a case may use."""

    rows: tuple[Tensor, Tensor, Tensor]
    labels: Tensor
    distances: Tensor
    marks: Tensor


class Case(NamedTuple):
    """One function.

    Args:
        name: What ``--cases`` and the report call it.
        function: Its name in ``torch.nn.functional`` and in the adapter.
        inputs: The positional arguments from a set of tensors, operands first.
        operands: How many of them have a gradient.
        keywords: Further arguments.
        ours: Those that the adapter is given in another way.
    """

    name: str
    function: str
    inputs: Callable[[Tensors], tuple[Tensor, ...]]
    operands: int
    keywords: Mapping[str, Any] = {}
    ours: Mapping[str, Any] = {}


def _cosine_distance(x: Tensor, y: Tensor) -> Tensor:
    return 1 - functional.cosine_similarity(x, y)


CASES = (
    Case("cosine_similarity", "cosine_similarity", lambda t: t.rows[:2], 2),
    Case("pairwise_distance", "pairwise_distance", lambda t: t.rows[:2], 2),
    Case(
        "cosine_embedding_loss",
        "cosine_embedding_loss",
        lambda t: (*t.rows[:2], t.labels),
        2,
        {"margin": MARGIN},
    ),
    Case("triplet_margin_loss", "triplet_margin_loss", lambda t: t.rows, 3),
    Case(
        "triplet_margin_with_distance_loss:cosine",
        "triplet_margin_with_distance_loss",
        lambda t: t.rows,
        3,
        {"distance_function": _cosine_distance},
        {"distance_function": "cosine"},
    ),
    # On one distance for each sample, as it is used, and on as many numbers as the rows have.
    Case("hinge_embedding_loss", "hinge_embedding_loss", lambda t: (t.distances, t.labels), 1),
    Case(
        "hinge_embedding_loss:rows",
        "hinge_embedding_loss",
        lambda t: (t.rows[0].view(-1), t.marks),
        1,
    ),
)


def pool(size: runner.Size, dtype: str, last_level: int) -> list[Tensors]:
    """The sets of tensors that calls of this size rotate over, by the rule of ``runner.pool``.

    Gradients are not among them: autograd allocates anew, and its blocks come back from the
    allocator as the last call left them, whoever calls.
    """
    buffers = draw(size.n, size.d, "float32")
    rows = tuple(torch.from_numpy(a) for a in buffers.rows)
    a, p, n = (r.to(DTYPES[dtype]) for r in rows)
    first = Tensors(
        (a, p, n),
        torch.from_numpy(buffers.labels),
        _cosine_distance(rows[0], rows[1]).to(DTYPES[dtype]),
        torch.from_numpy(buffers.marks),
    )
    array = a.nbytes
    if array <= runner.caches().get("L2", 2 << 20):
        return [first]
    # The target of the copy counts as a set.
    each = 3 * array + first.marks.nbytes
    enough = math.ceil(2 * last_level / (2 * array)) + 1
    affordable = int(min(runner._MEMORY, runner._available() // 2) // each) - 1
    return [first, *(_copied(first) for _ in range(max(2, min(enough, affordable)) - 1))]


def _copied(t: Tensors) -> Tensors:
    a, p, n = (r.clone() for r in t.rows)
    return Tensors((a, p, n), t.labels.clone(), t.distances.clone(), t.marks.clone())


def calls(
    case: Case, sets: Sequence[Tensors], mode: str, peers: Sequence[str] = PEERS
) -> dict[str, list[Thunk]]:
    """What there is to time, by provider: one call for each set of tensors."""
    return {
        provider: [step(case, function, keywords, t, mode) for t in sets]
        for provider, (function, keywords) in _providers(case, peers).items()
    }


def _providers(
    case: Case, peers: Sequence[str]
) -> dict[str, tuple[Callable[..., Tensor], Mapping[str, Any]]]:
    function = getattr(functional, case.function)

    def compiled(*inputs: Tensor) -> Tensor:
        result: Tensor = function(*inputs, **case.keywords)
        return result

    every = {
        OURS: (getattr(ft, case.function), {**case.keywords, **case.ours}),
        EAGER: (function, case.keywords),
        # Static shapes, the better case; each mode and size is compiled for itself.
        COMPILE: (torch.compile(compiled, fullgraph=True, dynamic=False), {}),
    }
    return {name: every[name] for name in (OURS, *peers)}


def step(
    case: Case,
    function: Callable[..., Tensor],
    keywords: Mapping[str, Any],
    tensors: Tensors,
    mode: str,
) -> Thunk:
    """One call, as a training loop makes it; with backward it returns result and gradients.

    The operands are leaves of this provider's own. Their gradients are let go in the call that made
    them: whoever comes next on the same memory neither adds to them nor pays for freeing them.
    """
    inputs = case.inputs(tensors)
    if mode == FORWARD:
        return functools.partial(function, *inputs, **keywords)
    leaves, rest = _leaves(case, inputs), inputs[case.operands :]
    # A loss starts its own backward pass; one number for each sample needs something upstream.
    upstream = None
    if case.function in ("cosine_similarity", "pairwise_distance"):
        upstream = torch.ones_like(tensors.distances)

    def both() -> tuple[Tensor, list[Tensor | None]]:
        result = function(*leaves, *rest, **keywords)
        result.backward(upstream)
        grads = [leaf.grad for leaf in leaves]
        for leaf in leaves:
            leaf.grad = None
        return result, grads

    return both


def _leaves(case: Case, inputs: Sequence[Tensor]) -> list[Tensor]:
    return [x.detach().requires_grad_() for x in inputs[: case.operands]]


def held_bytes(
    case: Case,
    function: Callable[..., Tensor],
    keywords: Mapping[str, Any],
    tensors: Tensors,
) -> int:
    """What is kept from forward to backward, beyond the inputs and the result.

    Allocations are counted that the forward pass made and did not free: those of torch's allocator,
    which its profiler sees, and NumPy's, which ``tracemalloc`` sees. Saved tensors are among them,
    and so is whatever else hangs on the graph; hooks on saved tensors would miss the latter.
    """
    inputs = case.inputs(tensors)
    arguments = (*_leaves(case, inputs), *inputs[case.operands :])
    function(*arguments, **keywords)  # what is kept from the first call on is no part of the graph
    gc.disable()  # and what is freed meanwhile is not either
    tracemalloc.start()
    try:
        with torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
        ) as profiler:
            result = function(*arguments, **keywords)
        snapshot = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
        gc.enable()
    events = profiler.profiler.kineto_results.events()  # type: ignore[union-attr]
    by_torch = sum(event.nbytes() for event in events if event.name() == "[memory]")
    of_numpy = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    by_numpy = sum(trace.size for trace in snapshot.filter_traces([of_numpy]).traces)
    return by_torch + by_numpy - result.untyped_storage().nbytes()


def counted_bytes(case: Case, tensors: Tensors, mode: str) -> int:
    """Every input once, and with backward every gradient once."""
    inputs = case.inputs(tensors)
    grads = inputs[: case.operands] if mode == BOTH else ()
    return sum(t.nbytes for t in (*inputs, *grads))


def measure(
    case: Case,
    size: runner.Size,
    dtype: str,
    sets: Sequence[Tensors],
    repeats: int,
    peers: Sequence[str] = PEERS,
) -> Iterator[dict[str, Any]]:
    """The rows of a case: every contender of a mode in every round, each on the next set.

    A row has the fields of ``runner.Row``, and ``saved_bytes`` where there is a backward pass.
    """
    # What compiles in processes of its own would go on while others are timed.
    torch._inductor.config.compile_threads = 1
    for mode, ceiling in _CEILINGS.items():
        # Compiled code is found by guards that are tried in turn: nobody's but its own.
        torch.compiler.reset()
        providers = _providers(case, peers)
        contenders = _contenders(case, sets, mode, providers)
        turn = itertools.count()
        numbers = [runner._calibrated(c, turn) for c in contenders]
        saved = {
            name: held_bytes(case, *provider, sets[0]) if mode == BOTH else None
            for name, provider in providers.items()
        }
        with torch._dynamo.config.patch(error_on_recompile=True):
            samples, others = runner._rounds(contenders, numbers, turn, repeats)
        times = {(c.mode, c.provider): samples[:, j] for j, c in enumerate(contenders)}
        limit = contenders[0].bytes
        for c, number in zip(contenders, numbers, strict=True):
            mine = times[c.mode, c.provider]
            share = c.bytes / limit * runner._quotient(times["ceiling", ceiling], mine)
            against = {} if c.mode == "ceiling" else runner._peers(times, c)
            row = runner.summary(
                c, case.name, size, dtype, len(sets), mine, number, ceiling, share, against, others
            )
            yield {"kind": "result", **row._asdict(), "saved_bytes": saved.get(c.provider)}


def _contenders(
    case: Case,
    sets: Sequence[Tensors],
    mode: str,
    providers: Mapping[str, tuple[Callable[..., Tensor], Mapping[str, Any]]],
) -> list[runner._Contender]:
    """The ceiling, each provider, and the ceiling a second time as the control."""
    operands = [[_array(x) for x in case.inputs(t)[: case.operands]] for t in sets]
    limit: list[Thunk]
    if mode == FORWARD:
        limit = [ceilings.read(arrays) for arrays in operands]
    else:
        # One target for all, because autograd writes to the block that it freed before.
        target = [np.zeros_like(array) for array in operands[0]]
        limit = [ceilings.copy(arrays, target) for arrays in operands]
    once = sum(array.nbytes for array in operands[0])
    total = once * (1 if mode == FORWARD else 2)
    moved = counted_bytes(case, sets[0], mode)
    touched = counted_bytes(case, sets[0], FORWARD)

    def ceiling(name: str) -> runner._Contender:
        return runner._Contender("ceiling", name, tuple(limit), total, once)

    def provider(name: str) -> runner._Contender:
        thunks = tuple(step(case, *providers[name], t, mode) for t in sets)
        return runner._Contender(mode, name, thunks, moved, touched)

    name = _CEILINGS[mode]
    return [ceiling(name), *map(provider, providers), ceiling(f"{name} again")]


def _array(tensor: Tensor) -> Any:
    """The same bytes in NumPy, which has no bfloat16: two of them are one float32."""
    flat = tensor.view(-1)
    if tensor.dtype == torch.bfloat16:
        flat = flat[: flat.numel() // 2 * 2].view(torch.float32)
    return flat.numpy()


def environment(arguments: Sequence[str]) -> dict[str, Any]:
    """That of ``runner``, and torch."""
    run = runner.environment(["torch", *arguments])
    run["versions"]["torch"] = torch.__version__
    run["torch_threads"] = torch.get_num_threads()
    run["torch_vectors"] = torch.backends.cpu.get_cpu_capability()
    return run


# --------------------------------------------------------------------------------------------------
# The report
# --------------------------------------------------------------------------------------------------

_TITLES = {FORWARD: "forward", BOTH: "forward + backward"}
_NAMES = {OURS: "fastcos", EAGER: "torch", COMPILE: "torch.compile"}


def render(path: pathlib.Path) -> str:
    """Markdown tables of a file of results: times and quotients by size, and what is kept."""
    run, rows = report.load(path)
    found = {(r["dtype"], r["mode"], r["case"], r["n"], r["d"], r["provider"]): r for r in rows}
    dtypes, cases = (list(dict.fromkeys(r[key] for r in rows)) for key in ("dtype", "case"))
    sizes = sorted({(r["n"], r["d"]) for r in rows}, key=math.prod)
    providers = list(dict.fromkeys(r["provider"] for r in rows if r["mode"] in _TITLES))
    peers = [name for name in providers if name != OURS]

    def times(dtype: str, mode: str, case: str, size: tuple[int, int]) -> str:
        row = found.get((dtype, mode, case, *size, OURS))
        if row is None:
            return ""
        faster = " / ".join(report._times(row["faster"][peer]["ratio"]) for peer in peers)
        return f"{report._seconds(row['p50'])}, {faster}"

    def kept(dtype: str, case: str, provider: str) -> str:
        row = found.get((dtype, BOTH, case, *sizes[-1], provider))
        return "" if row is None else _count(row["saved_bytes"])

    text = (
        f"{report._machine(run)} torch {run['versions']['torch']},"
        f" {run['torch_threads']} threads.\n\nTime per call, and times faster than"
        f" {' / '.join(_NAMES[p] for p in peers)}. **Bold**: slower.\n"
    )
    for dtype in dtypes:
        for mode, title in _TITLES.items():
            header = (f"{title}, {dtype}", *(f"{n} × {d}" for n, d in sizes))
            body = [(f"`{c}`", *(times(dtype, mode, c, size) for size in sizes)) for c in cases]
            text += f"\n{report._markdown(header, body)}"
        n, d = sizes[-1]
        header = (f"kept for backward, {dtype}, {n} × {d}", *(_NAMES[p] for p in providers))
        body = [(f"`{c}`", *(kept(dtype, c, p) for p in providers)) for c in cases]
        text += f"\n{report._markdown(header, body)}"
    control = [r for r in rows if r["mode"] == "ceiling" and r["provider"].endswith("again")]
    low, high = (f(r["share"] for r in control) for f in (min, max))
    busy = max(r["others"] for r in rows)
    return text + (
        f"\nThe ceilings measured a second time, as a control: {low:.0%} to {high:.0%} of the"
        f" first. Other processes took at most {busy:.0%} of the machine.\n"
    )


def _count(count: int) -> str:
    return f"{count} B" if count < 1024 else report._bytes(count)


# --------------------------------------------------------------------------------------------------
# The command line
# --------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    """``python -m bench torch``: measures; with ``report`` first, renders. Returns the status."""
    if arguments[:1] == ["report"]:
        return _report(arguments[1:])
    parser = argparse.ArgumentParser(
        prog="python -m bench torch",
        description="Times the torch adapter against torch, eager and compiled.",
        epilog="python -m bench torch report prints the committed results as tables.",
    )
    parser.add_argument("--cases", default="*", help="patterns of names, separated by commas")
    parser.add_argument("--sizes", default=SIZES, help="NxD, separated by commas")
    parser.add_argument("--dtype", default="float32", help=f"among {', '.join(DTYPES)}")
    parser.add_argument("--peers", default=",".join(PEERS), help=f"among {', '.join(PEERS)}")
    parser.add_argument("--repeats", type=int, default=30, help="samples of each contender")
    parser.add_argument("--json", type=pathlib.Path, help="file for the rows; replaced")
    given = parser.parse_args(arguments)

    patterns = given.cases.split(",")
    cases = [c for c in CASES if any(fnmatch.fnmatchcase(c.name, p) for p in patterns)]
    if not cases:
        parser.error(f"--cases {given.cases} matches none of {', '.join(c.name for c in CASES)}")
    if given.repeats < 1:
        parser.error("--repeats must be at least 1")
    dtypes, peers = given.dtype.split(","), given.peers.split(",")
    for option, names, known in (("--dtype", dtypes, DTYPES), ("--peers", peers, PEERS)):
        for name in names:
            if name not in known:
                parser.error(f"{option} must be among {', '.join(known)}, got {name}")
    sizes = []
    for text in given.sizes.split(","):
        match = re.fullmatch(r"(\d+)x(\d+)", text)
        if not match:
            parser.error(f"--sizes must be NxD, got {text}")
        sizes.append(runner.Size(*map(int, match.groups())))

    lines = [json.dumps(environment(arguments))]
    if given.json:  # found out now that it cannot be written, not in half an hour
        given.json.write_text("", encoding="utf-8")
    for dtype in dtypes:
        for size in sizes:
            sets = pool(size, dtype, runner.last_level_cache())
            for case in cases:
                rows = list(measure(case, size, dtype, sets, given.repeats, peers))
                lines += map(json.dumps, rows)
                sys.stdout.write(_plain(rows) + "\n")
                sys.stdout.flush()
                if given.json:
                    given.json.write_text("\n".join(lines) + "\n", encoding="utf-8")
            del sets
    return 0


def _plain(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as text, for whoever watches a run."""
    text = report.lines([runner.Row(*(row[key] for key in runner.Row._fields)) for row in rows])
    kept = ", ".join(
        f"{_count(row['saved_bytes'])} {row['provider']}" for row in rows if row["mode"] == BOTH
    )
    return f"{text}\n  kept for backward: {kept}"


def _report(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench torch report")
    parser.add_argument("--full", action="store_true", help="print every row")
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS)
    given = parser.parse_args(arguments)
    full = given.full
    sys.stdout.write(report.full(report.load(given.results)) if full else render(given.results))
    return 0
