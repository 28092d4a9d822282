"""A batch that several processes hold together, each with rows of its own.

Each of them sweeps its own anchors against the candidates of all, in the memory and the time that
its share of the similarities takes. Sums over all anchors are added up in the order of the
processes, which makes them the same bits everywhere; what the slopes of all say of a candidate goes
to whom it belongs. How processes talk to each other is not known here: :class:`Peers` says what is
asked of those who do.

Every process says first whether its arguments are right and what it is about to do, and nobody goes
on unless all are and do the same: an error of one is an error of all, and none waits for another.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, NoReturn, Protocol

import numpy as np

from fastcos.engine.blocks import cut
from fastcos.engine.sweep import Pass, Sweep


class Peers(Protocol):
    """All processes that hold a batch, as one of them sees them in one call.

    Each of these functions is called by all of them, in the same order.
    """

    rank: int  # the number of this process, from 0 on
    size: int  # how many there are
    met: bool  # whether they have met already: exchange was called

    def exchange(self, numbers: Sequence[int]) -> list[list[int]]:
        """The numbers of all, as many of each, in the order of the processes."""

    def tell(self, text: str) -> list[str]:
        """The texts of all."""

    def apart(self, function: Callable[[], None]) -> None:
        """Calls a function where nothing of the library's watches it; this process alone."""

    def gather(self, array: Any, counts: Sequence[int]) -> Any:
        """The rows of all, one process after another, of which each has so many."""

    def scatter_sum(self, array: Any, counts: Sequence[int]) -> Any:
        """The rows of this process, of the sum of the arrays of all, added up in their order."""


class Part(NamedTuple):
    """The rows of one side that are this process's."""

    counts: tuple[int, ...]  # how many each process has
    first: int  # how many those before it have
    rows: int  # how many it has itself
    common: bool  # whether all have the same rows, of which each takes some

    @property
    def total(self) -> int:
        """How many all have."""
        return sum(self.counts)


class Share(NamedTuple):
    """What a process has to do of a batch."""

    peers: Peers | None  # None for all of it
    found: Any  # the checked batch, with the rows of others as far as they are needed
    anchors: Part
    candidates: Part
    begins: int  # where its own anchors begin among the rows of anchors that it has


@contextlib.contextmanager
def attended(peers: Peers | None) -> Iterator[None]:
    """Within, an error that comes before the others were met is told to them, and not awaited."""
    try:
        yield
    except Exception as error:
        if peers is not None and not peers.met:
            peers.apart(functools.partial(_fail, peers, f"{type(error).__name__}: {error}"))
        raise


def _fail(peers: Peers, text: str) -> None:
    # Whatever becomes of that, the error is the one that is told.
    with contextlib.suppress(Exception):
        peers.exchange([0, 0, 0, 0])
        peers.tell(text)


def alone(found: Any) -> Share:
    """All of a batch, by a process that has all of its rows."""
    anchors = _part((int(found.anchors.shape[0]),), 0)
    others = found.candidates
    return Share(
        None, found, anchors, anchors if others is None else _part((int(others.shape[0]),), 0), 0
    )


def _part(counts: Sequence[int], rank: int, common: bool = False) -> Part:
    return Part(tuple(counts), sum(counts[:rank]), counts[rank], common)


def shared(batch: Any, found: Any, wanted: Sequence[str], later: Sequence[str]) -> Share:
    """What this process has to do of a batch, with what it needs of the others.

    Raises:
        RuntimeError: another process has an error, which is named.
        ValueError: the processes do not agree on what is to be done.
    """
    peers: Peers = batch.peers
    x, y = found.anchors, found.candidates
    rows = [int(each.shape[0]) for each in (x, x if y is None else y)]
    heard = _meet(peers, rows, _agreed(batch, found, wanted, later))
    anchors = _part_of(peers, batch.anchors, [each[0] for each in heard])
    candidates = anchors
    if batch.candidates:
        candidates = _part_of(peers, batch.candidates, [each[1] for each in heard])
    survey = batch.loss.survey
    # Those of others are candidates, or what the survey of a candidate goes over.
    are_all = y is None or anchors.common or bool(survey and not survey.totals)
    own_labels = _labels(batch.anchors, x, anchors, found, peers if are_all else None)
    labels = own_labels
    if batch.candidates:
        labels = _labels(batch.candidates, y, candidates, found, peers)
    own_labels, labels = short(own_labels, labels)
    if are_all and not anchors.common:
        x = peers.gather(x, anchors.counts)
    if y is not None and not candidates.common:
        y = peers.gather(y, candidates.counts)
    weight, upstream = found.weight, found.upstream
    if anchors.common:
        weight, upstream = (_some(each, anchors) for each in (weight, upstream))
    known = found._replace(
        anchors=x,
        candidates=y,
        anchor_labels=own_labels,
        candidate_labels=labels,
        weight=weight,
        upstream=upstream,
    )
    return Share(peers, known, anchors, candidates, anchors.first if are_all else 0)


def _part_of(peers: Peers, side: Any, counts: list[int]) -> Part:
    if not side.common:
        return _part(counts, peers.rank)
    ends = [counts[0] * k // peers.size for k in range(peers.size + 1)]
    shares = [end - begin for begin, end in itertools.pairwise(ends)]
    return _part(shares, peers.rank, common=True)


def _some(numbers: Any, part: Part) -> Any:
    """Those of some anchors, of numbers of each or of one for all."""
    if getattr(numbers, "ndim", 0) == 0:
        return numbers
    return numbers[part.first : part.first + part.rows]


def _labels(side: Any, rows: Any, part: Part, found: Any, peers: Peers | None) -> Any:
    """The labels of a side, of all or, without peers, of this process alone."""
    adapter = found.adapter
    if not side.labels_name:
        numbers = adapter.numbered(part.total, rows)
        return numbers if peers else _some(numbers, part)
    own = adapter.classes(side.labels_name, adapter.asarray(side.labels_name, side.labels), None)
    if peers is None:
        return own
    if isinstance(own, np.ndarray):
        own = adapter.from_host(own.astype(np.int64), None)
    return adapter.classes(side.labels_name, peers.gather(own, part.counts), None)


def short(own: Any, others: Any) -> tuple[Any, Any]:
    """Labels of both sides as int32: those that it does not hold are numbered, alike on both."""
    both = own, others
    if not any(type(each) is np.ndarray and each.dtype == np.int64 for each in both):
        return both
    numbers = np.unique(np.concatenate(both), return_inverse=True)[1].astype(np.int32)
    return numbers[: len(own)], numbers[len(own) :]


# --------------------------------------------------------------------------------------------------
# What all have to agree on
# --------------------------------------------------------------------------------------------------


def _agreed(batch: Any, found: Any, wanted: Sequence[str], later: Sequence[str]) -> dict[str, str]:
    """By name what has to be the same for all processes."""
    sides = [(batch.anchors, found.anchors)]
    sides += [(batch.candidates, found.candidates)] if batch.candidates else []
    survey = batch.loss.survey
    said = {
        "loss": batch.loss.name,
        "survey": survey.loss.name if survey else "none",
        "arguments": ", ".join([side.name for side, _ in sides]),
        "distance": batch.distance,
        "reduction": batch.reduction,
        "number of features": int(found.anchors.shape[1]),
        "what needs a gradient": ", ".join(later or wanted) or "nothing",
        "when gradients are made": "later" if later else "at once",
    }
    said |= {f"dtype of {side.name}": array.dtype for side, array in sides}
    said |= {f"number of {side.name}": len(array) for side, array in sides if side.common}
    for name, value in batch.parameters.items():
        said[name] = value if type(value) is float else "an array"
    return {name: str(value) for name, value in said.items()}


def _meet(peers: Peers, rows: Sequence[int], agreed: dict[str, str]) -> list[list[int]]:
    """How many rows all have; raises unless all are right, and do the same."""
    text = json.dumps(agreed)
    digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "little")
    heard = peers.exchange([1, *rows, digest])
    if not all(each[0] and each[3] == digest for each in heard):
        _differ(heard, peers.tell(text))
    return [each[1:3] for each in heard]


def _differ(heard: list[list[int]], texts: list[str]) -> NoReturn:
    for rank, (right, *_) in enumerate(heard):
        if not right:
            raise RuntimeError(
                f"the call failed on rank {rank}, and so it does here: {texts[rank]}"
            )
    said = [json.loads(text) for text in texts]
    rank = next(k for k, each in enumerate(said) if each != said[0])
    # The first of them: others may follow from it.
    name = next(k for k in said[0] | said[rank] if said[0].get(k) != said[rank].get(k))
    one, other = (each.get(name, "not given") for each in (said[0], said[rank]))
    raise ValueError(
        f"all ranks have to make the same call; {name}: {one} on rank 0, {other} on rank {rank}"
    )


# --------------------------------------------------------------------------------------------------
# What is put together
# --------------------------------------------------------------------------------------------------


def joined(share: Share, numbers: Any, part: Part) -> Any:
    """Scratch memory with numbers of each row of a side, of all processes."""
    if share.peers is None:
        return numbers
    adapter = share.found.adapter
    return _kept(share, share.peers.gather(adapter.wrap(numbers), part.counts))


def added(share: Share, numbers: Sequence[Any]) -> list[Any]:
    """The sums over all processes of a few numbers."""
    if share.peers is None:
        return list(numbers)
    adapter = share.found.adapter
    own = adapter.scratch((1, len(numbers)), share.found.anchors)
    for k, number in enumerate(numbers):
        own[0, k] = number
    of_all = share.peers.gather(adapter.wrap(own), (1,) * share.peers.size)
    total = of_all[0]
    for k in range(1, share.peers.size):
        total = total + of_all[k]
    return [adapter.number(each) for each in total]


def exchanged(share: Share, whole: Sweep, sweep: Sweep, found: Pass) -> tuple[Sweep, Pass]:
    """The rows that this process has gradients of, and what the slopes of all make of them.

    Of rows that all have, those are all rows.
    """
    if share.peers is None:
        return sweep, found
    peers, anchors, candidates = share.peers, share.anchors, share.candidates

    def sent(array: Any) -> Any:
        if array is None:
            return None
        own = peers.scatter_sum(array, candidates.counts)
        return peers.gather(own, candidates.counts) if candidates.common else own

    def completed(array: Any) -> Any:
        if array is None or not anchors.common:
            return array
        return peers.gather(array, anchors.counts)

    def of_scratch(function: Any, numbers: Any) -> Any:
        if numbers is None:
            return None
        return _kept(share, function(share.found.adapter.wrap(numbers)))

    rows = sweep._replace(
        anchors=whole.anchors if anchors.common else sweep.anchors,
        candidates=whole.candidates
        if candidates.common
        else cut(whole.candidates, candidates.first, candidates.rows),
    )
    return rows, found._replace(
        anchors=completed(found.anchors),
        anchor_sums=of_scratch(completed, found.anchor_sums),
        candidates=sent(found.candidates),
        candidate_sums=of_scratch(sent, found.candidate_sums),
    )


def _kept(share: Share, array: Any) -> Any:
    """Numbers of the library as scratch memory."""
    adapter = share.found.adapter
    kept = adapter.scratch(tuple(array.shape), share.found.anchors)
    adapter.wrap(kept)[...] = array
    return kept


def portion(share: Share, number: Any, common: bool = True) -> Any:
    """What a process has of the gradient of something that all have: the portions add up to it."""
    return number / share.peers.size if share.peers and common else number
