"""Rows of a table, named and not copied, beside copies of them: ``python -m bench rows``.

What is timed is a loss of pairs of rows of one table, and its gradient of that table. Whoever has
no operand that names rows copies them, and sums up afterwards, for each row of the table, the
gradients of its copies. All contenders are held to the same numbers before the clock starts. Rounds
and quotients are those of the other cases, in ``bench.runner``.
"""

from __future__ import annotations

import functools
import gc
import importlib
import itertools
import math
import re
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

import fastcos
from bench import ceilings, runner
from bench.cases import GRADIENT, MARGIN, VALUE, Array, Thunk, _installed
from bench.report import FASTCOS_TORCH, MADE_BEFORE
from bench.runner import OURS, READ

torch: Any = _installed("torch")

#: Copies of the rows: their values; and gradients, by what sums them up.
COPIES, ADD_AT, SCIPY = "copies", "add.at", "scipy"
TORCH, TORCH_SPARSE = "torch", "torch-sparse"
PEERS = (COPIES, ADD_AT, SCIPY, TORCH, TORCH_SPARSE, FASTCOS_TORCH)
MISSING = () if torch else (TORCH, TORCH_SPARSE, FASTCOS_TORCH)
#: Those of fastcos that name rows.
_OURS = (OURS, MADE_BEFORE, FASTCOS_TORCH)

#: Relative to the largest number of the array. Torch rounds to half types after every operation.
TOLERANCE = {"float16": 2e-3, "bfloat16": 8e-3, "float32": 2e-5, "float64": 1e-12}
_OF_TORCH = {**TOLERANCE, "float16": 1e-2, "bfloat16": 4e-2}

#: Peers that take longer than this, in seconds, are in rounds of their own, and in so many;
SLOW, _FEW = 1.0, 2
#: those that take longer than this are left out.
LIMIT = 15.0
#: Rounds in which others had the machine are taken again, up to so many times those asked for; not
#: those of the slow ones.
_PATIENCE = 2
#: On so many pairs and rows all is compiled before the calls that tell how slow they are.
_WARM = 64, 16
#: What a contender and what it is held to take at most, in arrays of a row for each pair, and in
#: arrays like the table. Torch takes most.
_BY_PAIR, _BY_TABLE = 8, 5

SIZES = {
    "small": runner.Size(1000, 128, 100),
    "medium": runner.Size(20_000, 128, 2000),
    "large": runner.Size(500_000, 128, 50_000),
}


class Pairs(NamedTuple):
    """Rows of a table, by their numbers, and which pairs of them are alike."""

    table: Array
    i: Array
    j: Array
    labels: Array


class Case(NamedTuple):
    """One loss of pairs, by its name in fastcos, in the adapter and in ``torch.nn.functional``."""

    name: str
    keywords: Mapping[str, Any]


CASES = (Case("cosine_embedding_loss", {"margin": MARGIN}),)


def sized(text: str) -> runner.Size | None:
    """The size that a name or ``PAIRSofROWSxD`` tells, or None."""
    match = re.fullmatch(r"(\d+)of(\d+)x(\d+)", text)
    if not match:
        return SIZES.get(text)
    pairs, rows, d = map(int, match.groups())
    return runner.Size(pairs, d, rows)


def draw(size: runner.Size, dtype: str, seed: int = 0) -> Pairs:
    """Pairs of different rows with cosines around 0.6: no loss is 0, and no gradient is."""
    rng = np.random.default_rng(seed)
    wide = np.float64 if dtype == "float64" else np.float32
    table = rng.standard_normal((size.table, size.d), dtype=wide)
    table *= math.sqrt(0.4)
    table += math.sqrt(0.6) * rng.choice(np.array([-1, 1], wide), size.d)
    table *= 0.5 / math.sqrt(size.d)
    i = rng.integers(0, size.table, size.n)
    j = (i + rng.integers(1, size.table, size.n)) % size.table
    labels = np.where(rng.random(size.n) < 0.5, 1, -1)
    return Pairs(table.astype(dtype, copy=False), i, j, labels)


def pool(size: runner.Size, dtype: str, last_level: int) -> list[Pairs]:
    """One set, of which all calls read rows at random; none where the copies do not fit."""
    itemsize = 8 if dtype == "float64" else 4  # half types are widened in part
    needed = (_BY_PAIR * size.n + _BY_TABLE * size.table) * size.d * itemsize
    return [draw(size, dtype)] if needed < runner._available() else []


# --------------------------------------------------------------------------------------------------
# Contenders: what there is to call, by mode. A gradient is one array, of the shape of the table.
# --------------------------------------------------------------------------------------------------


def _named(case: Case, pairs: Pairs) -> dict[str, Thunk]:
    """Ours, with operands made in every call: numbers of rows are copied, checked and sorted."""
    function = getattr(fastcos, case.name)
    both = fastcos.value_and_grad(function)

    def called(f: Callable[..., Any]) -> Any:
        x, y = (fastcos.rows(pairs.table, numbers) for numbers in (pairs.i, pairs.j))
        return f(x, y, pairs.labels, **case.keywords)

    return {VALUE: lambda: called(function), GRADIENT: lambda: _one_gradient(called(both))}


def _made_before(case: Case, pairs: Pairs) -> dict[str, Thunk]:
    """The same with operands that are there already."""
    function = getattr(fastcos, case.name)
    both = fastcos.value_and_grad(function)
    x, y = (fastcos.rows(pairs.table, numbers) for numbers in (pairs.i, pairs.j))
    given = functools.partial(function, x, y, pairs.labels, **case.keywords)
    return {VALUE: given, GRADIENT: lambda: _one_gradient(both(*given.args, **given.keywords))}


def _one_gradient(result: tuple[Any, Any]) -> tuple[Any, Array]:
    value, (gradient,) = result
    return value, gradient


def _on_copies(case: Case, pairs: Pairs, differentiated: bool = False) -> Any:
    """The loss of copies of the rows, and the gradients of these."""
    function = getattr(fastcos, case.name)
    x, y = pairs.table[pairs.i], pairs.table[pairs.j]
    called = fastcos.value_and_grad(function) if differentiated else function
    return called(x, y, pairs.labels, **case.keywords)


def _copies(case: Case, pairs: Pairs) -> dict[str, Thunk]:
    return {VALUE: lambda: _on_copies(case, pairs)}


def _wide(array: Array) -> Array:
    """What NumPy and SciPy add up quickly: half types in float32."""
    return array.astype(np.float32) if array.itemsize == 2 else array


def _add_at(case: Case, pairs: Pairs) -> dict[str, Thunk]:
    def both() -> tuple[Any, Array]:
        value, grads = _on_copies(case, pairs, differentiated=True)
        total = np.zeros(pairs.table.shape, _wide(pairs.table[:0]).dtype)
        for numbers, gradient in zip((pairs.i, pairs.j), grads, strict=True):
            np.add.at(total, numbers, _wide(gradient))
        return value, total.astype(pairs.table.dtype, copy=False)

    return {GRADIENT: both}


def _scipy(case: Case, pairs: Pairs) -> dict[str, Thunk]:
    """Sums as products with a matrix of ones and zeros, which is there already."""
    n, rows = len(pairs.labels), len(pairs.table)
    ones = np.ones(n, _wide(pairs.table[:0]).dtype)
    at = np.arange(n)
    sums = [sparse.csr_matrix((ones, (k, at)), shape=(rows, n)) for k in (pairs.i, pairs.j)]

    def both() -> tuple[Any, Array]:
        value, grads = _on_copies(case, pairs, differentiated=True)
        total = sums[0] @ _wide(grads[0])
        total += sums[1] @ _wide(grads[1])
        return value, total.astype(pairs.table.dtype, copy=False)

    return {GRADIENT: both}


def _tensor(array: Array) -> Any:
    """The same memory as a tensor; torch takes no bfloat16 from NumPy: as integers."""
    if array.itemsize == 2:
        return torch.from_numpy(array.view(np.int16)).view(getattr(torch, array.dtype.name))
    return torch.from_numpy(array)


def _by_autograd(pairs: Pairs, loss: Callable[[Any, Any, Any, Any], Any]) -> dict[str, Thunk]:
    """A loss of a table, two tensors of numbers of rows, and labels, in torch.

    The gradient is let go in the call that made it, as its leaf is nobody else's.
    """
    table, *rest = map(_tensor, pairs)
    leaf = table.detach().requires_grad_()

    def both() -> tuple[Any, Any]:
        value = loss(leaf, *rest)
        value.backward()
        gradient, leaf.grad = leaf.grad, None
        return value.detach(), gradient

    return {VALUE: lambda: loss(table, *rest), GRADIENT: both}


def _torch(case: Case, pairs: Pairs, is_sparse: bool = False) -> dict[str, Thunk]:
    functional = torch.nn.functional
    function = getattr(functional, case.name)
    embedding = functools.partial(functional.embedding, sparse=is_sparse)

    def loss(table: Any, i: Any, j: Any, labels: Any) -> Any:
        return function(embedding(i, table), embedding(j, table), labels, **case.keywords)

    return _by_autograd(pairs, loss)


def _torch_sparse(case: Case, pairs: Pairs) -> dict[str, Thunk]:
    """Torch's sparse gradient, as ``backward()`` leaves it: rows side by side, not summed up."""
    return {GRADIENT: _torch(case, pairs, is_sparse=True)[GRADIENT]}


def _fastcos_torch(case: Case, pairs: Pairs) -> dict[str, Thunk]:
    """Ours on a tensor, with operands made in every call."""
    function = getattr(importlib.import_module("fastcos.adapters.torch"), case.name)

    def loss(table: Any, i: Any, j: Any, labels: Any) -> Any:
        x, y = (fastcos.rows(table, numbers) for numbers in (i, j))
        return function(x, y, labels, **case.keywords)

    return _by_autograd(pairs, loss)


#: By name, what there is to call.
_PROVIDERS: dict[str, Callable[[Case, Pairs], dict[str, Thunk]]] = {
    OURS: _named,
    MADE_BEFORE: _made_before,
    COPIES: _copies,
    ADD_AT: _add_at,
    SCIPY: _scipy,
    TORCH: _torch,
    TORCH_SPARSE: _torch_sparse,
    FASTCOS_TORCH: _fastcos_torch,
}


def calls(case: Case, pairs: Pairs, peers: Sequence[str] = PEERS) -> dict[tuple[str, str], Thunk]:
    """What there is to time, by mode and provider, values first."""
    chosen = (OURS, MADE_BEFORE, *(peer for peer in peers if peer not in MISSING))
    by_name = {name: _PROVIDERS[name](case, pairs) for name in chosen}
    return {
        (mode, name): thunks[mode]
        for mode in (VALUE, GRADIENT)
        for name, thunks in by_name.items()
        if mode in thunks
    }


# --------------------------------------------------------------------------------------------------
# Do they agree?
# --------------------------------------------------------------------------------------------------


def flat(result: Any) -> list[Array]:
    """A value, or a value and a gradient, as arrays of at least float32."""
    parts = result if isinstance(result, tuple) else (result,)
    return [_array(part) for part in parts]


def _array(part: Any) -> Array:
    if torch and isinstance(part, torch.Tensor):
        dense = part.to_dense() if part.is_sparse else part
        part = (dense.float() if dense.itemsize == 2 else dense).numpy()
    return _wide(np.asarray(part))


def check(mode: str, provider: str, result: Any, expected: Sequence[Array], dtype: str) -> None:
    """Raises unless a result is what it is expected to be: a value, and perhaps a gradient.

    Raises:
        ValueError: it is not; what differs, and by how much.
    """
    allowed = (_OF_TORCH if provider in (TORCH, TORCH_SPARSE) else TOLERANCE)[dtype]
    wanted = expected if mode == GRADIENT else expected[:1]
    for what, got, want in zip(("value", "gradient"), flat(result), wanted, strict=False):
        if got.shape != want.shape:
            raise ValueError(f"{what} of {provider} has shape {got.shape}, not {want.shape}")
        error = float(np.abs(got - want).max() / np.abs(want).max())
        if not error <= allowed:
            raise ValueError(f"{what} of {provider} is off by {error:.2g} of the largest number")


def _tried(case: Case, pairs: Pairs, peers: Sequence[str], dtype: str) -> Iterator[_Paced]:
    """Those whose calls can be made, held to the numbers of ours, with the seconds of that call.

    Raises:
        ValueError: they do not agree.
    """
    bound = calls(case, pairs, peers)
    expected = flat(bound[GRADIENT, OURS]())
    for (mode, provider), thunk in bound.items():
        start = time.perf_counter()
        result = thunk()
        seconds = time.perf_counter() - start
        check(mode, provider, result, expected, dtype)
        del result
        touched = pairs.table.nbytes + sum(array.nbytes for array in pairs[1:])
        c = runner._Contender(mode, provider, (thunk,), counted_bytes(pairs, mode), touched)
        yield _Paced(c, seconds)


def _left_out(mode: str, provider: str, why: str) -> None:
    sys.stdout.write(f"{provider} is left out, {mode}: {why}\n")


# --------------------------------------------------------------------------------------------------
# Measured
# --------------------------------------------------------------------------------------------------


def counted_bytes(pairs: Pairs, mode: str) -> int:
    """Every row as often as it is named, numbers and labels once, and the gradient once."""
    once = sum(array.nbytes for array in pairs[1:])
    gradient = 0 if mode == VALUE else pairs.table.nbytes
    return 2 * len(pairs.i) * pairs.table[0].nbytes + once + gradient


def allocated_bytes(thunk: Thunk) -> int:
    """What a call has allocated through NumPy at most, beyond what was there before."""
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        result = thunk()
        _, peak = tracemalloc.get_traced_memory()
        del result
    finally:
        tracemalloc.stop()
        gc.enable()
    return int(peak - before)


def measure(
    case: Case,
    size: runner.Size,
    dtype: str,
    sets: Sequence[Pairs],
    repeats: int,
    peers: Sequence[str] = PEERS,
) -> Iterator[runner.Row]:
    """The rows of a case: every contender in every round, but those that are slow in a few.

    Raises:
        ValueError: the contenders do not agree.
    """
    (pairs,) = sets
    turn = itertools.count()
    _warm(case, size, dtype, peers)
    contenders = list(_tried(case, pairs, peers, dtype))
    limit = _ceiling(pairs, turn)
    times = functools.partial(_rows, case, size, dtype, pairs, turn=turn)

    found = times(_in_turn(contenders, limit), repeats, _PATIENCE)
    for mode in (VALUE, GRADIENT):
        slow = _slow_in_turn([p for p in contenders if p.contender.mode == mode])
        few = times([limit, *slow], min(repeats, _FEW), 1) if slow else {}
        for key, row in few.items():
            first = found.setdefault(key, row)
            found[key] = first._replace(faster={**row.faster, **first.faster})
    thunks = {(p.contender.mode, p.contender.provider): p.contender.thunks[0] for p in contenders}
    for key, row in found.items():
        peak = allocated_bytes(thunks[key]) if row.provider == OURS else None
        yield row._replace(peak_bytes=peak)


class _Paced(NamedTuple):
    """A contender, and the seconds of a call."""

    contender: runner._Contender
    seconds: float


def _warm(case: Case, size: runner.Size, dtype: str, peers: Sequence[str]) -> None:
    """Compiles what is called."""
    n, rows = _WARM
    pairs = draw(runner.Size(n, size.d, rows), dtype)
    for thunk in calls(case, pairs, peers).values():
        thunk()


def _is_slow(paced: _Paced) -> bool:
    return paced.contender.provider not in (OURS, MADE_BEFORE) and paced.seconds > SLOW


def _in_turn(contenders: Sequence[_Paced], limit: _Paced) -> list[_Paced]:
    """Those of a round: the ceiling, values, gradients, and ours and the ceiling as controls."""
    found = [limit]
    for mode in (VALUE, GRADIENT):
        quick = [p for p in contenders if p.contender.mode == mode and not _is_slow(p)]
        found += [*quick, *(_again(p) for p in quick if p.contender.provider == OURS)]
    return [*found, _again(limit)]


def _slow_in_turn(contenders: Sequence[_Paced]) -> list[_Paced]:
    """Those of a round of slow ones, after those of fastcos; none where nobody is slow."""
    slow = [paced for paced in contenders if _is_slow(paced)]
    timed = [paced for paced in slow if paced.seconds <= LIMIT]
    for c, seconds in slow:
        if seconds > LIMIT:
            _left_out(c.mode, c.provider, f"a call takes {seconds:.3g} s")
    ours = [p for p in contenders if p.contender.provider in _OURS and not _is_slow(p)]
    return [*ours, *timed] if timed else []


def _again(paced: _Paced) -> _Paced:
    """The control: the same contender another time."""
    name = f"{paced.contender.provider} again"
    return paced._replace(contender=paced.contender._replace(provider=name))


def _ceiling(pairs: Pairs, turn: Iterator[int]) -> _Paced:
    """What reads the same rows at the same places."""
    numbers = np.stack([pairs.i, pairs.j], axis=1).ravel()
    thunks = (ceilings.read_rows(pairs.table, numbers),)
    moved = numbers.size * pairs.table[0].nbytes + numbers.nbytes
    limit = runner._Contender("ceiling", READ, thunks, moved, pairs.table.nbytes + numbers.nbytes)
    return _Paced(limit, runner._timed(limit, 1, turn))


def _rows(
    case: Case,
    size: runner.Size,
    dtype: str,
    pairs: Pairs,
    chosen: Sequence[_Paced],
    repeats: int,
    patience: int,
    turn: Iterator[int],
) -> dict[tuple[str, str], runner.Row]:
    """By mode and provider a row of each that is chosen; all are timed in every round."""
    contenders = [paced.contender for paced in chosen]
    numbers = [max(1, math.ceil(runner.SAMPLE / paced.seconds)) for paced in chosen]
    samples, others = runner._rounds(contenders, numbers, turn, repeats, patience=patience)
    times = {(c.mode, c.provider): samples[:, k] for k, c in enumerate(contenders)}
    where = "in" if pairs.table.nbytes <= runner.last_level_cache() else "out"
    found = {}
    for c, number in zip(contenders, numbers, strict=True):
        mine = times[c.mode, c.provider]
        share = c.bytes / contenders[0].bytes * runner._quotient(times["ceiling", READ], mine)
        against = runner._peers(times, c)
        row = runner.summary(
            c, case.name, size, dtype, 1, mine, number, READ, share, against, others
        )
        found[c.mode, c.provider] = row._replace(cache=where, table=size.table)
    return found


def _details() -> dict[str, Any]:
    return {"torch_threads": torch.get_num_threads()} if torch else {}


SUITE = runner.Suite(
    words=("rows",),
    title="Times rows of a table, named and not copied, against copies and torch's embedding.",
    cases=CASES,
    sizes="500000of50000x128,200000of20000x768,1000000of1000000x128",
    dtypes="float32,bfloat16",
    repeats=8,
    peers=PEERS,
    missing=MISSING,
    versions=("scipy", "torch"),
    fault=str,
    cache=runner.last_level_cache,
    pool=pool,
    measure=measure,
    details=_details,
    sized=sized,
    spelling=f"PAIRSofROWSxD or {', '.join(SIZES)}",
)
