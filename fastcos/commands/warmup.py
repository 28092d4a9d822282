"""Compiling ahead: public functions called once, in every way that needs a kernel of its own."""

from __future__ import annotations

import functools
import importlib
import math
import sys
import time
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar, get_args

import numpy as np

from fastcos import _hints, api
from fastcos.api.calls import BATCHED, stated
from fastcos.distances import Distance
from fastcos.engine import batch
from fastcos.engine import device as gpu
from fastcos.engine.libraries import adapter_of
from fastcos.engine.passes import SHARED_FROM
from fastcos.engine.plan import call_of, plan_at
from fastcos.engine.problem import resolve_distance
from fastcos.engine.rows import RowsLayout
from fastcos.kernels import report
from fastcos.kernels.forks import importing
from fastcos.typing import DistanceLike, DtypeName, Loss, LossName

Name = TypeVar("Name", bound=str)

DTYPES: tuple[DtypeName, ...] = get_args(DtypeName)


class _Signature(NamedTuple):
    """How a loss is called."""

    arrays: int  # how many
    labelled: bool = False  # whether labels follow them
    axes: int = 1  # how many a sample's part of an array has: a row, or one number
    distance: str = ""  # the name of the argument that takes a distance
    ways: tuple[dict[str, Any], ...] = ({},)  # the options that make kernels of their own


_SWAPS: tuple[dict[str, Any], ...] = ({}, {"swap": True})
_SIGNATURES: dict[LossName, _Signature] = {
    "cosine_similarity": _Signature(2),
    "paired_distance": _Signature(2, distance="distance"),
    "cosine_embedding_loss": _Signature(2, labelled=True),
    "cosine_distance_loss": _Signature(2, ways=({}, {"normalize": False})),
    "triplet_margin_loss": _Signature(3, ways=_SWAPS),
    "triplet_margin_with_distance_loss": _Signature(3, distance="distance_function", ways=_SWAPS),
    "hinge_embedding_loss": _Signature(1, labelled=True, axes=0),
}
# The listwise losses: what their rows meet, and the options that make kernels of their own.
_PAIRS, _LABELS, _PROXIES = range(3)
# Candidates that take as many threads of a GPU as there can be.
_MANY = 257
_BATCHES: dict[LossName, tuple[int, tuple[dict[str, Any], ...]]] = {
    "info_nce_loss": (_PAIRS, ({}, {"symmetric": True})),
    "sigmoid_contrastive_loss": (_PAIRS, ({},)),
    "supervised_contrastive_loss": (_LABELS, ({},)),
    "contrastive_loss": (_LABELS, ({}, {"reduction": "sum"})),
    "multi_similarity_loss": (_LABELS, ({},)),
    "circle_loss": (_LABELS, ({},)),
    "lifted_structure_loss": (_LABELS, ({},)),
    "nca_loss": (_LABELS, ({},)),
    "batch_hard_triplet_loss": (_LABELS, ({}, {"soft": True})),
    "batch_semi_hard_triplet_loss": (_LABELS, ({},)),
    "batch_all_triplet_loss": (_LABELS, ({},)),
    "normalized_softmax_loss": (_PROXIES, ({},)),
    "cosface_loss": (_PROXIES, ({},)),
    "arcface_loss": (_PROXIES, ({},)),
    "proxy_nca_loss": (_PROXIES, ({},)),
    "proxy_anchor_loss": (_PROXIES, ({},)),
}
LOSSES = (*_SIGNATURES, *_BATCHES)


class _Call(NamedTuple):
    """A call that compiles: what it looks like, and the call."""

    name: str
    run: Callable[[], None]


class _Arguments(NamedTuple):
    """What a loss is called with."""

    function: Loss
    signature: _Signature
    dtype: Any
    options: dict[str, Any]
    shapes: list[tuple[int, ...]]  # of a sample's part of an array
    tables: bool  # whether rows of tables stand in the place of arrays


class _Batch(NamedTuple):
    """What a listwise loss is called with."""

    function: Loss
    dtype: Any
    options: dict[str, Any]
    meets: int  # _PAIRS, _LABELS or _PROXIES
    features: int


def warmup(
    losses: LossName | Iterable[LossName] | None = None,
    dtypes: DtypeName | Iterable[DtypeName] = ("float32",),
    *,
    distances: DistanceLike | Iterable[DistanceLike] = ("euclidean",),
    device: str | None = None,
    features: int | Iterable[int] = 64,
    tables: bool = False,
    progress: bool = False,
) -> dict[str, float]:
    """Compiles what losses need ahead of the first call, and leaves it on disk.

    Values and gradients, for arrays small and large, of NumPy and torch; for the triplet losses
    with and without ``swap``, for :func:`cosine_distance_loss` with and without ``normalize``. The
    functions of ``fastcos.adapters.torch`` use the same kernels, but for its ``cosine_similarity``,
    which has one of its own. Listwise losses are compiled for their default ``distance``.

    Kernels fit processors like the one that compiled them, or GPUs of the ``device`` that is named,
    which need not be there: images for machines that have one are built on others. A GPU finds what
    calls of arrays need that are not broadcast. Kernels of one's own distances stay in
    this process. What uses threads is compiled only where calls may use them: not within
    ``threads(1)``, nor after a fork.

    Args:
        losses: Names of functions of fastcos that :func:`value_and_grad` takes; None takes all.
        dtypes: ``"float16"``, ``"bfloat16"``, ``"float32"``, ``"float64"``. bfloat16 needs
            ``ml_dtypes``.
        distances: For the losses that take one: names, or :class:`Distance` records. The p-norms of
            :func:`triplet_margin_loss` other than 2 are those of
            :func:`triplet_margin_with_distance_loss` with ``"manhattan"``, ``"chebyshev"`` or
            ``fastcos.distances.lp(p)``.
        device: The compute capability of a GPU, as ``"9.0"``, at least 8.0; None for this machine's
            processor.
        features: The lengths of rows. On a GPU kernels differ for those of more than 6144 bytes.
        tables: Whether also for :func:`rows` of tables, which have kernels of their own.
        progress: Shows it on stderr, as a bar where tqdm is installed.

    Returns:
        Every call that was made, and its seconds, few of them for what the disk had already.

    Raises:
        ValueError: a name that is none of those, or no capability, naming the argument.
        TypeError: a distance that is neither a name nor a :class:`Distance`.
        ImportError: packages that compile for a GPU are missing.
        ModuleNotFoundError: bfloat16 without ``ml_dtypes``.

    Example:
        >>> import fastcos
        >>> list(fastcos.warmup("cosine_distance_loss"))
        ['cosine_distance_loss(float32)', 'cosine_distance_loss(float32, normalize=False)']
    """
    names = _named("losses", LOSSES if losses is None else losses, LOSSES)
    kinds, records = _named("dtypes", dtypes, DTYPES), _records(distances)
    lengths = _lengths(features)
    capability = None if device is None else _capability(device)
    calls = [
        call
        for kind in kinds
        for name in names
        for call in _calls(name, kind, records, lengths, capability, tables)
    ]
    seconds = {}
    with report.expected():
        for call in _shown(calls) if progress else calls:
            start = time.perf_counter()
            call.run()
            seconds[call.name] = time.perf_counter() - start
    return seconds


def _named(argument: str, given: Name | Iterable[Name], known: Sequence[Name]) -> tuple[Name, ...]:
    names: tuple[Any, ...] = (given,) if isinstance(given, str) else tuple(given)
    for name in names:
        if name not in known:
            raise ValueError(
                f"{argument} must be among {', '.join(known)}; got {name!r}"
                f"{_hints.hint(name, known)}"
            )
    return names


def _records(given: DistanceLike | Iterable[DistanceLike]) -> tuple[Distance, ...]:
    alone = isinstance(given, (str, Distance)) or callable(given)
    several = (given,) if alone else tuple(given)
    records = []
    for one in several:
        record = resolve_distance("distances", one)
        if not isinstance(record, Distance):
            raise TypeError(
                f"distances must hold names or fastcos.Distance records, got {one!r}: a callable"
                " has nothing to compile"
            )
        records.append(record)
    return tuple(records)


def _lengths(given: int | Iterable[int]) -> tuple[int, ...]:
    lengths = tuple(given) if isinstance(given, Iterable) else (given,)
    for length in lengths or (None,):
        if not isinstance(length, int) or isinstance(length, bool) or length < 1:
            raise ValueError(f"features must be integers, at least 1; got {length!r}")
    return lengths


def _capability(given: str) -> tuple[int, int]:
    """The compute capability that is named, of a GPU that can be compiled for here."""
    with importing():
        from fastcos.kernels.cuda import binaries, launch

    major, _, minor = str(given).partition(".")
    if not (major.isdecimal() and minor.isdecimal()):
        raise ValueError(f"device must be a compute capability, as '9.0'; got {given!r}")
    if (int(major), int(minor)) < binaries.OLDEST:
        raise ValueError("device must be {}.{} or newer, got {}".format(*binaries.OLDEST, given))
    launch.toolchain()
    return int(major), int(minor)


def _calls(
    loss: LossName,
    dtype: DtypeName,
    distances: tuple[Distance, ...],
    lengths: tuple[int, ...],
    capability: tuple[int, int] | None,
    tables: bool,
) -> Iterator[_Call]:
    """The calls of one loss, each of which needs a kernel of its own."""
    kind = _dtype(dtype)
    if loss in _BATCHES:
        meets, options_of = _BATCHES[loss]
        for way in options_of:
            options = [f"{k}={v}" for k, v in way.items()]
            name = f"{loss}({', '.join([dtype, *options])})"
            function = getattr(api, loss)
            given_batch = _Batch(function, kind, way, meets, lengths[0])
            yield _Call(name, functools.partial(_run_batch, given_batch, capability))
        return
    signature = _SIGNATURES[loss]
    ways, run = signature.ways, _run if capability is None else functools.partial(_for, capability)
    if signature.distance:
        ways = tuple({signature.distance: record, **way} for record in distances for way in ways)
    for way in ways:
        options = [f"{k}={v.name if isinstance(v, Distance) else v}" for k, v in way.items()]
        shapes = [(length,) * signature.axes for length in lengths]
        # Distances are no rows.
        for looked_up in (False, True)[: 1 + (tables and signature.axes > 0)]:
            name = f"{loss}({', '.join([dtype, *options, *['rows'] * looked_up])})"
            given = _Arguments(getattr(api, loss), signature, kind, way, shapes, looked_up)
            yield _Call(name, functools.partial(run, given))


def _dtype(name: str) -> Any:
    if name != "bfloat16":
        return np.dtype(name)
    try:
        return np.dtype(importlib.import_module("ml_dtypes").bfloat16)
    except ModuleNotFoundError as error:
        if error.name != "ml_dtypes":
            raise
        raise ModuleNotFoundError(
            "dtypes: bfloat16 needs ml_dtypes: pip install ml_dtypes", name="ml_dtypes"
        ) from None


def _run(given: _Arguments) -> None:
    """Calls a function; one length of rows is as good as another."""
    function, signature, dtype, options, shapes, tables = given
    # As few samples as there can be, and just enough to be shared out to threads; so is the order
    # of rows, by itself.
    for samples in (1, SHARED_FROM if tables else max(2, SHARED_FROM // math.prod(shapes[0]))):
        shape = (samples, *shapes[0])
        # Away from all singular points, with norms below 1.
        arrays = [np.full(shape, (1 + k) / 64, dtype) for k in range(signature.arrays)]
        labels = [[1] * samples] if signature.labelled else []
        if tables:
            rows = [api.rows(array, np.arange(samples)) for array in arrays]
            api.value_and_grad(function)(*rows, *labels, **options)
            continue
        function(*arrays, *labels, **options)
        # Labels are looked at, by a kernel of their own, before the buffers are written to.
        out = tuple(map(np.empty_like, arrays))
        api.value_and_grad(function)(*arrays, *labels, **options, out=out)


def _run_batch(given: _Batch, capability: tuple[int, int] | None) -> None:
    """Calls a listwise loss; few rows are as good as many, but on a GPU, where threads are more."""
    function, dtype, options, meets, features = given
    for rows in (4,) if capability is None else (4, _MANY):
        x, labels = np.eye(rows, features, dtype=dtype), np.repeat([0, 1], [2, rows - 2])
        others = (labels,) if meets == _LABELS else (x,) if meets == _PAIRS else (x, labels)
        if capability is None:
            function(x, *others, **options)
            api.value_and_grad(function)(x, *others, **options)
        else:
            names, _ = BATCHED[function]
            problem: Any = stated(function, (x, *others), options)
            batch.solve(problem, names, adapter=_absent(capability))


def _absent(capability: tuple[int, int]) -> Any:
    """The adapter of NumPy's arrays, which takes them for those of a GPU that is not there.

    What is launched is compiled, and leaves memory as it is.
    """
    with importing():
        from fastcos.kernels.cuda import launch

    found, device = types.SimpleNamespace(**vars(adapter_of(np.ndarray))), launch.absent(capability)
    layout_of = found.layout
    found.layout = lambda array: layout_of(array)._replace(device=device)
    found.scratch = lambda shape, like: np.zeros(shape)
    found.stream = lambda: 0
    return found


def _for(capability: tuple[int, int], given: _Arguments) -> None:
    """Compiles what a call of a function needs on a GPU, with and without gradients."""
    function, signature, dtype, options, shapes, tables = given
    place = types.SimpleNamespace(
        bind=lambda spec, visit, _: gpu.compile_for(capability, spec, visit)
    )
    adapter = adapter_of(np.ndarray)
    for shape in shapes:
        rows = adapter.layout(np.empty((1, *shape), dtype))._replace(device=0)
        labels = adapter.layout(np.empty(1, np.int8))._replace(device=0)
        arrays: list[Any] = [rows] * signature.arrays
        if tables:
            arrays = [RowsLayout(rows, (1,), False, group) for group in range(signature.arrays)]
        problem = stated(function, (*arrays, *[labels] * signature.labelled), options)
        for wanted in ((), problem.names):
            call, _ = call_of(adapter, problem, wanted, problem.operands, problem.target, None)
            plan_at(call, place)


def _shown(calls: Sequence[_Call]) -> Iterator[_Call]:
    """The calls, one after the other, with what goes on on stderr."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        for number, call in enumerate(calls, start=1):
            print(f"{number}/{len(calls)} {call.name}", file=sys.stderr, flush=True)
            yield call
        return
    with tqdm(total=len(calls), unit="kernel") as bar:
        for call in calls:
            bar.set_description(call.name)
            yield call
            bar.update()
