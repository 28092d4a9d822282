"""The arguments of kernels: one table that names every number, for the CPU and for GPUs.

A kernel takes int64 numbers (addresses, strides in bytes, counts, codes) and float64 numbers, one
after another:

- integers: a record of fixed ones, :class:`HostIntegers` or :class:`DeviceIntegers`; then, with one
  number per operand, the addresses of its rows, of its gradient, of its float64 sums (a row of them
  per task), and its mode (SKIP, WRITE or ADD); on a GPU also the geometry, row by row, whose
  address the host's kernels are given instead;
- floats: :class:`Constants`, the parameters of the distance, those of the loss.

The geometry has a column for each axis of the pass. Its rows are the length of the axis, the stride
of each operand, of each gradient, and that of a sample's position in C order.

:mod:`fastcos.engine.host` and :mod:`fastcos.engine.device` pack the numbers in this order; kernels
unpack them into these records, which costs nothing: the compiled code is the same.
"""

import functools
import struct
from collections.abc import Callable
from typing import Any, NamedTuple


class PerSample(NamedTuple):
    """Numbers of the samples: labels, weights, or scales (upstream gradients, divided)."""

    address: int  # of the first; 0 where all samples have the same
    step: int  # 1, or 0 where there is one in memory for all samples
    kind: int  # how they are stored: DOUBLES, FLOATS, ...
    constant: float  # what each is multiplied by; without an address the number itself


#: Address, step and kind of a :class:`PerSample`: its constant comes later, with those of others.
Numbers = tuple[int, int, int]


class Order(NamedTuple):
    """In which order the host visits the samples of a pass, as part of :class:`HostIntegers`."""

    # Task ``o * segments + s`` visits the samples ``o * inner + i``, with i in the s-th part of
    # ``range(inner)``
    inner: int
    segments: int
    features: int  # the length of a row
    geometry: int  # the address of the geometry
    columns: int  # how many columns that has
    past_caches: int  # whether gradients that are written in full bypass the caches


class HostIntegers(NamedTuple):
    """The fixed integers of a kernel for the CPU: see :class:`Order` and :class:`PerSample`."""

    losses: int  # the address of the weighted loss of each sample; the loop over tasks fills it in
    inner: int
    segments: int
    features: int
    geometry: int
    columns: int
    past_caches: int
    label_address: int
    label_step: int
    label_kind: int
    weight_address: int
    weight_step: int
    weight_kind: int
    scale_address: int
    scale_step: int
    scale_kind: int
    # Where the distances of each sample and their states are kept (:func:`state_words`), 0 for
    # nowhere; and whether they are there already, from a call that left them for the gradients
    kept: int
    is_measured: int
    narrow: int  # the address of the same losses as float32, 0 for nowhere


class OfTable(NamedTuple):
    """What the gradient of a table is made of, and where it goes."""

    words: int  # the address of the sorted words (:mod:`fastcos.kernels.lookup`)
    word_count: int  # how many
    shift: int  # of the number of a row, within a word
    rows: int  # how many the gradient has
    grad: int  # the address of its row 0
    stride: int  # bytes from one row of it to the next
    accumulate: int  # whether it is added to what is there


class TableIntegers(NamedTuple):
    """The fixed integers of a kernel for the CPU that looks rows up in tables.

    Task s visits the samples in the s-th part of ``range(samples)``; of the kernel that makes the
    gradient of a table, the words in the s-th part of ``range(words)``.
    """

    losses: int  # the address of the weighted loss of each sample; the loop over tasks fills it in
    samples: int
    segments: int  # how many tasks there are
    features: int  # the length of a row
    geometry: int  # the address of the geometry
    columns: int  # how many columns that has
    label_address: int
    label_step: int
    label_kind: int
    weight_address: int
    weight_step: int
    weight_kind: int
    scale_address: int
    scale_step: int
    scale_kind: int
    # What is kept of each sample (:mod:`fastcos.kernels.lookup`): the address, 0 where no gradient
    # is wanted, and how many bytes
    kept: int
    kept_size: int
    # Of the gradient of a table alone: see :class:`OfTable`
    words: int = 0
    word_count: int = 0
    shift: int = 0
    rows: int = 0
    grad: int = 0
    stride: int = 0
    accumulate: int = 0
    sums: int = 0  # the address of two rows of float64 sums for each task
    finishing: int = 0  # whether to put those rows together that several tasks have parts of


class DeviceIntegers(NamedTuple):
    """The fixed integers of a kernel for a GPU: see :class:`PerSample`."""

    losses: int  # the address of the weighted loss of each sample; 0 where they are not wanted
    losses_are_float64: int  # whether those are float64, and not of the dtype computed in
    block_sums: int  # the address of the sums of the blocks, float64
    # Task ``o * segments + s`` visits the samples ``o * inner + i`` for i = s, s + segments, ...
    tasks: int
    inner: int
    segments: int
    features: int  # the length of a row
    team_shift: int  # the logarithm of the number of threads of a team
    label_address: int
    label_step: int
    label_kind: int
    weight_address: int
    weight_step: int
    weight_kind: int
    scale_address: int
    scale_step: int
    scale_kind: int
    # The address of a number, or 0: where it is exactly 1, the kernel does nothing
    skip_address: int
    skip_kind: int  # how that is stored


class DeviceOfTable(NamedTuple):
    """The integers of a kernel for a GPU that makes the gradient of a table: see :class:`OfTable`.

    Task s visits the words in the s-th part of ``range(words)``.
    """

    tasks: int
    features: int  # the length of a row
    team_shift: int  # the logarithm of the number of threads of a team
    kept: int  # the address of what is kept of each sample
    kept_size: int  # how many bytes that is
    sums: int  # the address of two rows of float64 sums for each task
    words: int
    word_count: int
    shift: int
    rows: int
    grad: int
    stride: int
    accumulate: int


class Constants(NamedTuple):
    """The ``constant`` of the labels, of the weights and of the scales."""

    label: float
    weight: float
    scale: float


class Tables(NamedTuple):
    """Per operand: the address of its table, of the numbers of its rows, and bytes between rows."""

    address: Any  # of row 0
    # Of int64 numbers of rows, at bytes that the geometry has for a sample; 0 where it has the
    # number itself
    index: Any
    stride: Any


class DeviceTables(NamedTuple):
    """The same for a GPU, on which nobody has looked at the numbers yet: see :class:`Tables`."""

    address: Any
    numbers: Any  # the index
    stride: Any
    rows: Any  # how many rows the table has


class Kept(NamedTuple):
    """What is kept of each sample (:mod:`fastcos.kernels.lookup`)."""

    address: Any  # 0 where no gradient is wanted
    size: Any  # how many bytes


class Addresses(NamedTuple):
    """Addresses per operand: of its rows, its gradient, and the float64 sums of that."""

    rows: Any
    grads: Any
    sums: Any


#: Fixed numbers, and how many there are for each operand.
HOST_FIXED, DEVICE_FIXED, PER_OPERAND = len(HostIntegers._fields), len(DeviceIntegers._fields), 4
CONSTANTS = len(Constants._fields)
TABLE_FIXED, PER_TABLE = len(TableIntegers._fields), len(Tables._fields)


@functools.cache
def host_packer(
    operands: int, parameters: int, tables: bool = False
) -> tuple[int, Callable[..., None]]:
    """How many 8-byte words the arguments of a host kernel are, and what packs them into a block.

    Returns:
        ``words`` and ``pack_into(block, 0, *HostIntegers, *rows, *grads, *sums, *modes, *Constants,
        *parameters)``; with ``tables`` ``*TableIntegers, *Tables`` in place of the integers.
    """
    integers = HOST_FIXED + PER_OPERAND * operands
    if tables:
        integers = TABLE_FIXED + PER_TABLE * operands
    layout = struct.Struct(f"={integers}q{CONSTANTS + parameters}d")
    return layout.size // 8, layout.pack_into


def state_words(functions: Any, parameters: int, arity: int) -> int:
    """How many 8-byte words host kernels keep of a sample for its gradients.

    The distances and the state of each; of triplets there is room for the third, ``swap`` or not. 0
    where that cannot be told.
    """
    try:
        each = 1 + len(functions.init(0.0, *[1.0] * parameters))
    except Exception:  # of such parameters, as plain Python: compiled, 1 / 0 is infinite
        return 0
    return each if arity == 1 else 3 * each


def device_count(
    operands: int, columns: int, parameters: int, tables: bool = False
) -> tuple[int, int]:
    """How many int64 and how many float64 numbers a device kernel takes.

    Those are ``*DeviceIntegers, *rows, *grads, *sums, *modes, *geometry``, or with ``tables``
    ``*DeviceIntegers, *DeviceTables, *Kept, *geometry``; then ``*Constants, *parameters``.
    """
    per_operand = len(DeviceTables._fields) if tables else PER_OPERAND
    geometry = (2 + 2 * operands) * columns + len(Kept._fields) * tables
    return DEVICE_FIXED + per_operand * operands + geometry, CONSTANTS + parameters


class Block(NamedTuple):
    """The arguments of a kernel of a listwise loss: a block of anchors, all of them int64.

    Addresses are 0 where there is nothing of the kind. What is of each anchor, or candidate, begins
    with that of the first of all, and not of the block. The kernel for a GPU has the parameters by
    themselves (:func:`fastcos.kernels.cuda.listwise.count_of_anchors`).
    """

    losses: int  # what the host's loop over tasks fills in; not of use here
    similarities: int  # of the anchors of the block to all candidates, of the dtype computed in
    anchors: int  # how many the block has
    candidates: int  # how many there are
    first: int  # the number of the first anchor of the block
    excludes: int  # whether an anchor is no candidate of its own
    ahead: int  # how many candidates are ahead of the one that the first of all anchors is then
    anchor_labels: int  # int32; on a GPU, where nobody has looked at them, int64
    candidate_labels: int
    anchor_rows: int  # of the dtype computed in, for distances that are measured again
    candidate_rows: int
    features: int
    anchor_squares: int  # of their lengths, float64, for distances
    candidate_squares: int  # the same of candidates, of the dtype computed in
    anchor_numbers: int  # what the survey found, float64
    candidate_numbers: int  # the same of candidates, of the dtype computed in
    anchor_scales: int  # what slopes are multiplied by, float64; 0 where they are not wanted
    candidate_scales: int  # the same of candidates as anchors, of the dtype computed in
    values: int  # where value and terms of each anchor go, float64
    sums: int  # where the sum of the slopes of each anchor goes, of distances; float64
    learned: int  # where the sums of slopes, and of s times slope, of each anchor go; float64
    sorted: int  # memory for the numbers of the rows of the block in order
    parameters: int  # those of the loss, float64
    offset: int  # what a number is: offset + factor * product or distance
    factor: int


class Unit(NamedTuple):
    """The arguments of a kernel that makes rows for products, all of them int64."""

    losses: int  # what the host's loop over tasks fills in; not of use here
    rows: int  # the address of the first
    stride: int  # bytes from one to the next
    features: int
    normalizes: int  # whether they are brought to unit length
    center: int  # the address of what is subtracted from each then, float64; 0 for nothing
    exponent: int  # of the power of two that they are multiplied by at last
    units: int  # where they go, one after another, in the dtype of the products
    norms: int  # where their lengths go, or 1; float64
    squares: int  # where the squares of the lengths that they have then go; float64
    narrow_squares: int  # the same in the dtype of the products


class Project(NamedTuple):
    """The arguments of a kernel that makes gradients of what products have left, all int64."""

    losses: int  # what the host's loop over tasks fills in; not of use here
    slopes: int  # the address of what the products have left
    units: int  # the rows that they were products of
    features: int
    normalizes: int  # whether these are of unit length
    norms: int  # the lengths that they had, float64
    sums: int  # what the rows are multiplied by and added with, float64; 0 for nothing
    scale: int  # the address of what all is multiplied by, float64
    target: int  # where the gradients go
    stride: int  # bytes from one to the next
    accumulate: int  # whether they are added to what is there


class Select(NamedTuple):
    """The arguments of the kernel that keeps what may be among the nearest, all of them int64.

    What is of each query is there once for each row of the block of scores.
    """

    losses: int  # what the host's loop over tasks fills in; not of use here
    scores: int  # of the queries with the candidates of the block: the higher, the nearer
    columns: int  # how many candidates the block has
    first: int  # the number of the first of them
    own: int  # the number of each query as a candidate, which it is not of its own; 0 for none
    shifts: int  # what is taken from the scores of each candidate, of their dtype; 0 for nothing
    widening: int  # the address of how much lower a bound is by than a score for each of a shift
    slacks: int  # by how much a score of a query may be wrong, float64
    nearest: int  # how many are wanted; 0 for all at the threshold or above
    strict: int  # whether a candidate has to be above the threshold, for scores are exact
    capacity: int  # how many a list holds
    numbers: int  # the lists: the numbers of the candidates
    uppers: int  # what their scores are at most, float64
    lowers: int  # and at least
    counts: int  # how many are in a list
    thresholds: int  # what the score of one of the nearest is at least, float64
    positions: int  # the column from which on a query goes over the block, and where it has stopped


class Scan(NamedTuple):
    """The arguments of the kernel that scores rows as they lie in memory, all of them int64."""

    losses: int  # what the host's loop over tasks fills in; not of use here
    rows: int  # the address of the first
    stride: int  # bytes from one to the next
    height: int  # how many there are
    features: int
    queries: int  # how many there are
    units: int  # the queries, one after another, float32
    scores: int  # of each query with all rows, float32
