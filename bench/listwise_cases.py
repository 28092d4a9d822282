"""Listwise losses and what else computes them, for ``python -m bench listwise``.

A call makes the value and the gradient of every operand. Ours are on NumPy arrays and on tensors,
through autograd; the others are torch's operators, as they are and compiled, and the losses of
pytorch-metric-learning (PML) and of sentence-transformers (ST) where they compute the same. Those
two are optional, as torch is.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import fastcos
from bench.cases import Array, Thunk, _installed
from bench.report import COMPILE, EAGER, FASTCOS_TORCH, NUMPY_PRODUCTS, PML, ST, TORCH_PRODUCTS
from bench.runner import OURS, Size
from fastcos.engine import blocks

torch: Any = _installed("torch")

PEERS = (EAGER, COMPILE, PML, ST)
#: By peer, the distribution that it comes from, and its module.
_FROM = {
    FASTCOS_TORCH: ("torch", "torch"),
    EAGER: ("torch", "torch"),
    COMPILE: ("torch", "torch"),
    PML: ("pytorch-metric-learning", "pytorch_metric_learning"),
    ST: ("sentence-transformers", "sentence_transformers"),
}
MISSING = tuple(
    name
    for name, (_, module) in _FROM.items()
    if not torch or importlib.util.find_spec(module) is None
)
VERSIONS = tuple(dict.fromkeys(of for name, (of, _) in _FROM.items() if name not in MISSING))
#: Anchors up to which the products of whole matrices are a ceiling, too.
WHOLE_UP_TO = 4096
WHOLE = "{}, whole"
#: Anchors of which there are fewer and more that formulas are compiled for, which takes seconds.
_NOT_COMPILED = (512, 2048)

#: Rows with a label; and classes of those losses that have proxies.
OF_A_LABEL, CLASSES = 8, 1000
#: What the operands are: rows and those that belong to them, rows with labels, or rows, proxies and
#: the numbers of these.
PAIRS, LABELLED, PROXIES = "pairs", "labelled", "proxies"
_SIZES = "256x128,1024x128,2048x128,4096x128,256x768,1024x768,2048x768,4096x768"


class Drawn(NamedTuple):
    """What a loss is called with: arrays that have a gradient, and perhaps labels."""

    operands: tuple[Array, ...]
    labels: Array | None


class Peer(NamedTuple):
    """A loss of another library.

    Args:
        made: ``(size) -> loss``, which is called with tensors: rows, and their labels.
        up_to: How many anchors it is called with at most.
    """

    made: Callable[[Size], Callable[..., Any]]
    up_to: float = math.inf


class Case(NamedTuple):
    """One loss.

    Args:
        name: What ``--cases`` and the report call it.
        function: Its name in fastcos.
        takes: What the operands are.
        formula: The same in torch's operators, of tensors: operands, and labels if there are any.
        keywords: Further arguments, for ours.
        others: By name, who else has it.
        sizes: Measured unless others are asked for.
        ordered: Whether ours sorts the rows of a block, beside which there is a second one then.
        tolerance: What gradients may differ by, relative to their length.
    """

    name: str
    function: str
    takes: str
    formula: Callable[..., Any]
    keywords: Mapping[str, Any] = {}
    others: Mapping[str, Peer] = {}
    sizes: str = _SIZES
    ordered: bool = False
    tolerance: float = 1e-3


def sized(text: str) -> Size | None:
    """The size that ``NxD`` tells, or None."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    return Size(*map(int, match.groups())) if match else None


def draw(case: Case, size: Size, seed: int = 0) -> Drawn:
    """Rows that are nearer to those of their own than to others, but not by much: no loss is 0.

    Labels are in no order.
    """
    rng = np.random.default_rng(seed)

    def rows(count: int) -> Array:
        return rng.standard_normal((count, size.d), dtype=np.float32)

    x = rows(size.n)
    if case.takes == PAIRS:
        return Drawn((x, rows(size.n) + 0.5 * x), None)
    if case.takes == PROXIES:
        proxies, labels = rows(CLASSES), rng.integers(0, CLASSES, size.n)
        x += 0.5 * proxies[labels]
        return Drawn((x, proxies), labels)
    labels = rng.permutation(size.n) // OF_A_LABEL
    x += 0.5 * rows(size.n // OF_A_LABEL + 1)[labels]
    return Drawn((x,), labels)


# --------------------------------------------------------------------------------------------------
# The formulas in torch
# --------------------------------------------------------------------------------------------------


def _cosines(x: Any, y: Any) -> Any:
    unit = torch.nn.functional.normalize
    return unit(x) @ unit(y).T


def _distances(x: Any) -> Any:
    squares = (x * x).sum(1)
    # The least number keeps the root of a distance 0 from an infinite derivative.
    return (squares[:, None] + squares - 2 * x @ x.T).clamp_min(1e-12).sqrt()


def _same(labels: Any) -> tuple[Any, Any]:
    """Which pairs have one label, and which of those are not of a row with itself."""
    same = labels[:, None] == labels
    return same, same & ~torch.eye(len(labels), dtype=torch.bool)


def _info_nce(x: Any, y: Any) -> Any:
    return torch.nn.functional.cross_entropy(_cosines(x, y) / 0.07, torch.arange(len(x)))


def _symmetric_info_nce(x: Any, y: Any) -> Any:
    entropy, own = torch.nn.functional.cross_entropy, torch.arange(len(x))
    logits = _cosines(x, y) / 0.07
    return (entropy(logits, own) + entropy(logits.T, own)) / 2


def _supervised_contrastive(x: Any, labels: Any) -> Any:
    logits = _cosines(x, x) / 0.1
    logits = logits.masked_fill(torch.eye(len(x), dtype=torch.bool), -math.inf)
    _, positive = _same(labels)
    found = torch.where(positive, torch.log_softmax(logits, 1), 0).sum(1)
    return -(found / positive.sum(1).clamp_min(1)).sum() / positive.any(1).sum()


def _multi_similarity(x: Any, labels: Any) -> Any:
    beyond = _cosines(x, x) - 0.5
    same, positive = _same(labels)
    of_positives = torch.where(positive, torch.exp(-2 * beyond), 0).sum(1)
    of_negatives = torch.where(same, 0, torch.exp(50 * beyond)).sum(1)
    return (torch.log1p(of_positives) / 2 + torch.log1p(of_negatives) / 50).mean()


def _batch_all(x: Any, labels: Any) -> Any:
    """Of pairs of one label, each beside all candidates: N³ numbers would not fit."""
    distances, (same, positive) = _distances(x), _same(labels)
    anchors, positives = positive.nonzero(as_tuple=True)
    beyond = distances[anchors, positives][:, None] - distances[anchors] + 5
    losses = torch.relu(beyond.masked_fill(same[anchors], 0))
    return losses.sum() / (losses > 0).sum()


def _batch_hard(x: Any, labels: Any) -> Any:
    distances, (same, positive) = _distances(x), _same(labels)
    farthest = distances.masked_fill(~positive, -math.inf).amax(1)
    nearest = distances.masked_fill(same, math.inf).amin(1)
    return torch.relu(farthest - nearest + 5).mean()


def _arcface(x: Any, proxies: Any, labels: Any) -> Any:
    cosines = _cosines(x, proxies)
    own = cosines.gather(1, labels[:, None])
    larger = torch.cos(torch.acos(own) + math.radians(28.6))
    return torch.nn.functional.cross_entropy(
        64 * cosines.scatter(1, labels[:, None], larger), labels
    )


# --------------------------------------------------------------------------------------------------
# The losses of others
# --------------------------------------------------------------------------------------------------


def _of_pml(name: str, **options: Any) -> Callable[[Size], Callable[..., Any]]:
    def made(size: Size) -> Callable[..., Any]:
        losses = _quietly("pytorch_metric_learning.losses")
        loss: Callable[..., Any] = getattr(losses, name)(**options)
        return loss

    return made


def _triplets_of_pml(size: Size) -> Callable[..., Any]:
    distance = _quietly("pytorch_metric_learning.distances").LpDistance(normalize_embeddings=False)
    return _of_pml("TripletMarginLoss", margin=5, distance=distance)(size)


def _arcface_of_pml(size: Size) -> Callable[..., Any]:
    """It has proxies of its own, as a parameter; here it is given them, transposed."""
    loss = _of_pml("ArcFaceLoss", num_classes=CLASSES, embedding_size=size.d)(size)
    del loss.W  # type: ignore[attr-defined]

    def called(x: Any, proxies: Any, labels: Any) -> Any:
        loss.W = proxies.T  # type: ignore[attr-defined]
        return loss(x, labels)

    return called


def _of_st(name: str, method: str) -> Callable[[Size], Callable[..., Any]]:
    def made(size: Size) -> Callable[..., Any]:
        try:
            losses = _quietly("sentence_transformers.sentence_transformer.losses")
        except ImportError:  # where they were
            losses = _quietly("sentence_transformers.losses")
        loss = getattr(getattr(losses, name)(None, margin=5), method)
        return lambda x, labels: loss(labels, x)

    return made


def _quietly(module: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(module)


CASES = (
    Case(
        *("info_nce_loss", "info_nce_loss", PAIRS, _info_nce),
        sizes=f"{_SIZES},16384x128,16384x768,32768x64,65536x128",
    ),
    Case(
        *("info_nce_loss:symmetric", "info_nce_loss", PAIRS, _symmetric_info_nce),
        keywords={"symmetric": True},
    ),
    Case(
        *("supervised_contrastive_loss", "supervised_contrastive_loss", LABELLED),
        _supervised_contrastive,
        others={PML: Peer(_of_pml("SupConLoss"))},
        sizes=f"{_SIZES},16384x128,65536x128",
    ),
    Case(
        *("multi_similarity_loss", "multi_similarity_loss", LABELLED, _multi_similarity),
        others={PML: Peer(_of_pml("MultiSimilarityLoss"))},
    ),
    Case(
        *("batch_all_triplet_loss", "batch_all_triplet_loss", LABELLED, _batch_all),
        others={
            # Of more rows it takes all memory.
            PML: Peer(_triplets_of_pml, up_to=512),
            ST: Peer(_of_st("BatchAllTripletLoss", "batch_all_triplet_loss")),
        },
        sizes=_SIZES.replace("256x128", "256x128,512x128").replace("256x768", "256x768,512x768"),
        ordered=True,
    ),
    Case(
        *("batch_hard_triplet_loss", "batch_hard_triplet_loss", LABELLED, _batch_hard),
        others={ST: Peer(_of_st("BatchHardTripletLoss", "batch_hard_triplet_loss"))},
        # Of two candidates that are as far but for rounding either may be taken.
        tolerance=0.1,
    ),
    Case(
        *("arcface_loss", "arcface_loss", PROXIES, _arcface),
        others={PML: Peer(_arcface_of_pml)},
    ),
)


# --------------------------------------------------------------------------------------------------
# What there is to call
# --------------------------------------------------------------------------------------------------


def _given(drawn: Drawn) -> tuple[Array, ...]:
    return drawn.operands if drawn.labels is None else (*drawn.operands, drawn.labels)


def _ours(case: Case, drawn: Drawn) -> Thunk:
    both = fastcos.value_and_grad(getattr(fastcos, case.function))
    given = _given(drawn)
    return lambda: both(*given, **case.keywords)


def _ours_on_tensors(case: Case, drawn: Drawn) -> Thunk:
    function = getattr(fastcos, case.function)
    return _by_autograd(lambda *tensors: function(*tensors, **case.keywords), drawn)


def _by_autograd(loss: Callable[..., Any], drawn: Drawn) -> Thunk:
    """A loss and its gradients; these are let go in the call that made them."""
    tensors = [torch.from_numpy(array) for array in _given(drawn)]
    count = len(drawn.operands)
    leaves = [tensor.requires_grad_() for tensor in tensors[:count]]

    def both() -> tuple[Any, tuple[Any, ...]]:
        value = loss(*tensors)
        value.backward()
        grads = tuple([leaf.grad for leaf in leaves])
        for leaf in leaves:
            leaf.grad = None
        return value.detach(), grads

    return both


def _compiled(formula: Callable[..., Any]) -> Callable[..., Any]:
    """For one size, the better case; compiled by the first call, as if nothing had been before."""
    # What compiles in processes of its own would go on while others are timed.
    torch._inductor.config.compile_threads = 1
    torch.compiler.reset()
    compiled: Callable[..., Any] = torch.compile(formula, dynamic=False)
    return compiled


def has(case: Case, provider: str, size: Size) -> bool:
    """Whether a provider computes this case, at this size, and is installed."""
    if provider in MISSING:
        return False
    if provider == COMPILE:
        return size.n <= WHOLE_UP_TO and size.n not in _NOT_COMPILED
    if provider in (PML, ST):
        return provider in case.others and size.n <= case.others[provider].up_to
    return True


def call(case: Case, provider: str, size: Size, drawn: Drawn) -> Thunk:
    """What there is to call; nothing has been compiled or loaded before its first call."""
    if provider == OURS:
        return _ours(case, drawn)
    if provider == FASTCOS_TORCH:
        return _ours_on_tensors(case, drawn)
    if provider == EAGER:
        return _by_autograd(case.formula, drawn)
    if provider == COMPILE:
        return _by_autograd(_compiled(case.formula), drawn)
    return _by_autograd(case.others[provider].made(size), drawn)


def chosen(case: Case, size: Size, peers: Sequence[str] = PEERS) -> list[str]:
    """Those that compute a case at a size: ours, then the peers."""
    return [name for name in (OURS, FASTCOS_TORCH, *peers) if has(case, name, size)]


# --------------------------------------------------------------------------------------------------
# Ceilings
# --------------------------------------------------------------------------------------------------


def height(case: Case, anchors: int, candidates: int) -> int:
    """How many anchors a block of ours has."""
    # Numbers are float32; beside those of a block there may be the same in order.
    row = 4 * candidates * (2 if case.ordered else 1)
    return max(min(blocks.height(row, on_host=True), anchors), 1)


def ceilings(case: Case, drawn: Drawn) -> Iterator[tuple[str, Thunk]]:
    """The three products of a call alone, by NumPy and torch: in the blocks of ours, and whole."""
    x, y = drawn.operands[0], drawn.operands[-1]
    step = height(case, len(x), len(y))
    steps = [("{}", step)]
    if step < len(x) <= WHOLE_UP_TO:
        steps.append((WHOLE, len(x)))
    for name, step in steps:
        yield name.format(NUMPY_PRODUCTS), _numpy_products(x, y, step)
        if torch:
            yield name.format(TORCH_PRODUCTS), _torch_products(x, y, step)


def _numpy_products(x: Array, y: Array, step: int) -> Thunk:
    similarities = np.empty((step, len(y)), x.dtype)
    of_x, of_y = np.empty((step, x.shape[1]), x.dtype), np.empty_like(y)

    def products() -> None:
        for first in range(0, len(x), step):
            rows = x[first : first + step]
            block = similarities[: len(rows)]
            np.matmul(rows, y.T, out=block)
            np.matmul(block, y, out=of_x[: len(rows)])
            np.matmul(block.T, rows, out=of_y)

    return products


def _torch_products(x: Array, y: Array, step: int) -> Thunk:
    anchors, candidates = torch.from_numpy(x).detach(), torch.from_numpy(y).detach()
    similarities = torch.empty((step, len(y)))
    of_x, of_y = torch.empty((step, x.shape[1])), torch.empty(y.shape)

    def products() -> None:
        for first in range(0, len(x), step):
            rows = anchors[first : first + step]
            block = similarities[: len(rows)]
            torch.mm(rows, candidates.T, out=block)
            torch.mm(block, candidates, out=of_x[: len(rows)])
            torch.mm(block.T, rows, out=of_y)

    return products


# --------------------------------------------------------------------------------------------------
# Do they agree?
# --------------------------------------------------------------------------------------------------


def flat(result: tuple[Any, Sequence[Any]]) -> list[Array]:
    """A value and gradients, as arrays."""
    value, grads = result
    return [np.asarray(part) for part in (value, *grads)]


def check(case: Case, provider: str, result: Any, expected: Sequence[Array]) -> None:
    """Raises unless a value and gradients are what they are expected to be.

    Raises:
        ValueError: they are not; what differs, and by how much.
    """
    found = flat(result)
    if len(found) != len(expected):
        raise ValueError(f"{provider} has {len(found) - 1} gradients, not {len(expected) - 1}")
    for number, (got, want) in enumerate(zip(found, expected, strict=True)):
        what = f"gradient {number}" if number else "value"
        if got.shape != want.shape:
            raise ValueError(f"{what} of {provider} has shape {got.shape}, not {want.shape}")
        error = float(np.linalg.norm(got - want) / np.linalg.norm(want))
        if not error <= (case.tolerance if number else 1e-4):
            raise ValueError(f"{what} of {provider} is off by {error:.2g} of its length")
