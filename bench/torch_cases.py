"""The torch adapter beside torch, eager and compiled: ``python -m bench torch``.

What a training loop calls is timed: the forward pass of tensors that need no gradient, and forward
with backward through autograd. Data, rounds, ceilings and quotients are those of the other cases,
in ``bench.cases`` and ``bench.runner``.
"""

from __future__ import annotations

import functools
import gc
import importlib
import itertools
import math
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench import ceilings, runner
from bench.cases import MARGIN, Thunk, draw
from bench.runner import AGAIN, OURS

ft = importlib.import_module("fastcos.adapters.torch")

#: By name, a function and its keywords.
Providers = dict[str, tuple[Callable[..., Tensor], Mapping[str, Any]]]

FORWARD, BOTH = "forward", "forward_backward"
#: By what limits it, the modes.
_CEILINGS = {FORWARD: runner.READ, BOTH: runner.COPY}
EAGER, COMPILE = "eager", "compile"
PEERS = (EAGER, COMPILE)
SIZES = "32x128,128x128,1024x128,1024x768,4096x128,8192x768,65536x768"


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


def drawn(size: runner.Size, dtype: str) -> Tensors:
    """One set, on the host."""
    narrow = getattr(torch, dtype)
    # Drawn wide: torch takes no bfloat16 from NumPy.
    buffers = draw(size.n, size.d, "float64" if dtype == "float64" else "float32")
    rows = tuple(torch.from_numpy(a) for a in buffers.rows[:3])
    a, p, n = (r.to(narrow) for r in rows)
    return Tensors(
        (a, p, n),
        torch.from_numpy(buffers.labels),
        _cosine_distance(rows[0], rows[1]).to(narrow),
        torch.from_numpy(buffers.marks),
    )


def pool(size: runner.Size, dtype: str, last_level: int) -> list[Tensors]:
    """The sets of tensors that calls of this size rotate over, by the rule of ``runner.pool``.

    Gradients are not among them: autograd allocates anew, and its blocks come back from the
    allocator as the last call left them, whoever calls.
    """
    first = drawn(size, dtype)
    array = first.rows[0].nbytes
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


def _afresh(case: Case, peers: Sequence[str]) -> Providers:
    """The providers for a mode, with the compiler as if nothing had been compiled before."""
    # What compiles in processes of its own would go on while others are timed.
    torch._inductor.config.compile_threads = 1
    # Compiled code is found by guards that are tried in turn: nobody's but its own.
    torch.compiler.reset()
    return _providers(case, peers)


def _providers(case: Case, peers: Sequence[str]) -> Providers:
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
) -> Iterator[runner.Row]:
    """The rows of a case: every contender of a mode in every round, each on the next set."""
    for mode, ceiling in _CEILINGS.items():
        providers = _afresh(case, peers)
        contenders = _contenders(case, sets, mode, providers, _ceiling(case, sets, mode))
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
            against = runner._peers(times, c)
            row = runner.summary(
                c, case.name, size, dtype, len(sets), mine, number, ceiling, share, against, others
            )
            yield row._replace(saved_bytes=saved.get(c.provider))


def _contenders(
    case: Case,
    sets: Sequence[Tensors],
    mode: str,
    providers: Providers,
    ceiling: runner._Contender,
) -> list[runner._Contender]:
    """The ceiling, each provider, and fastcos and the ceiling a second time as controls."""
    moved = counted_bytes(case, sets[0], mode)
    touched = counted_bytes(case, sets[0], FORWARD)

    def provider(name: str) -> runner._Contender:
        thunks = tuple(step(case, *providers[name], t, mode) for t in sets)
        return runner._Contender(mode, name, thunks, moved, touched)

    return [
        ceiling,
        *map(provider, providers),
        provider(OURS)._replace(provider=AGAIN),
        ceiling._replace(provider=f"{ceiling.provider} again"),
    ]


def _ceiling(case: Case, sets: Sequence[Tensors], mode: str) -> runner._Contender:
    operands = [[_array(x) for x in case.inputs(t)[: case.operands]] for t in sets]
    limit: list[Thunk]
    if mode == FORWARD:
        limit = [ceilings.read(arrays) for arrays in operands]
    else:
        # One target for all, because autograd writes to the block that it freed before.
        target = [np.zeros_like(array) for array in operands[0]]
        limit = ceilings.best_copies(operands, [target] * len(operands))
    once = sum(array.nbytes for array in operands[0])
    total = once * (1 if mode == FORWARD else 2)
    return runner._Contender("ceiling", _CEILINGS[mode], tuple(limit), total, once)


def _array(tensor: Tensor) -> Any:
    """The same bytes in NumPy, which has no bfloat16 of torch's: integers in its place."""
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _details() -> dict[str, Any]:
    return {
        "torch_threads": torch.get_num_threads(),
        "torch_vectors": torch.backends.cpu.get_cpu_capability(),
    }


SUITE = runner.Suite(
    words=("torch",),
    title="Times the torch adapter against torch, eager and compiled.",
    cases=CASES,
    sizes=SIZES,
    dtypes="float32",
    repeats=30,
    peers=PEERS,
    missing=(),
    versions=("scipy", "scikit-learn", "torch"),
    fault=str,
    cache=runner.last_level_cache,
    pool=pool,
    measure=measure,
    details=_details,
)
