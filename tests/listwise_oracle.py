"""What the listwise losses should return, from the formulas of their papers and to more digits.

Nothing here is taken from the library. A loss is written down on the whole matrix of similarities,
or of distances, in extended precision (``np.longdouble``), where the library goes over it by blocks
and rows. Its gradients are differences of that, of the fourth order: with 64 bits of mantissa and
the step below they have ten digits.

``LOSSES`` is the table that the tests walk: adding a loss is one line there, and its formula.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from oracle import wide

LD = np.longdouble

# --------------------------------------------------------------------------------------------------
# Numbers of all pairs of rows
# --------------------------------------------------------------------------------------------------

DISTANCES = (
    "cosine",
    "dot",
    "euclidean",
    "sqeuclidean",
    "normalized_euclidean",
    "normalized_sqeuclidean",
)


def numbers(x: Any, y: Any, distance: str, of: str) -> Any:
    """The similarity, or the distance, of each row of x to each row of y."""
    if distance == "cosine" or distance.startswith("normalized_"):
        x, y = _units(x), _units(y)
    if distance in ("cosine", "dot"):
        products = (x[:, None] * y[None]).sum(-1)
        if of == "similarity":
            return products
        return 1 - products if distance == "cosine" else -products
    apart = ((x[:, None] - y[None]) ** 2).sum(-1)
    apart = apart if distance.endswith("sqeuclidean") else np.sqrt(apart)
    return -apart if of == "similarity" else apart


def _units(x: Any) -> Any:
    """Rows of length 1; a zero row stays one, so that its cosine with all rows is 0."""
    norms = np.sqrt((x * x).sum(-1, keepdims=True))
    return x / np.where(norms == 0, LD(1), norms)


# --------------------------------------------------------------------------------------------------
# Losses: (matrix, which are positives, which are negatives, the matrix as a constant, **options) ->
# parts of the loss of each anchor, each (value, how many terms it is the sum of)
# --------------------------------------------------------------------------------------------------


def _sum(values: Any, where: Any) -> Any:
    return np.where(where, values, LD(0)).sum(-1)


def _log_sum(exponents: Any, where: Any, and_one: bool = False) -> Any:
    """log Σ exp over what is asked for, and perhaps 1; minus infinity for nothing."""
    top = np.max(exponents, axis=-1, where=where, initial=-np.inf)
    top = np.maximum(top, 0) if and_one else np.where(np.isneginf(top), LD(0), top)
    total = _sum(np.exp(np.where(where, exponents - top[..., None], LD(0))), where)
    return top + np.log(total + (np.exp(-top) if and_one else LD(0)))


def _softplus(z: Any) -> Any:
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def _ones(s: Any) -> Any:
    return np.ones(len(s), LD)


def info_nce_loss(
    s: Any, pos: Any, neg: Any, fixed: Any, temperature: Any = 0.07, symmetric: bool = False
) -> Any:
    """-log exp(s_ii / T) / Σ_j exp(s_ij / T); CLIP's is the mean of that and of the transpose."""
    a = s / LD(temperature)
    everything = np.ones_like(pos)
    rows = _log_sum(a, everything) - np.diag(a)
    columns = _log_sum(a.T, everything) - np.diag(a)
    return [((rows + columns) / 2 if symmetric else rows, _ones(s))]


def sigmoid_contrastive_loss(
    s: Any, pos: Any, neg: Any, fixed: Any, temperature: Any = 0.1, bias: Any = -10.0
) -> Any:
    """Σ_j log(1 + exp(-z_ij (s_ij / T + b))), z = 1 on the diagonal and -1 off it."""
    z = np.where(np.eye(len(s), dtype=bool), LD(1), LD(-1))
    return [(_softplus(-z * (s / LD(temperature) + LD(bias))).sum(-1), _ones(s))]


def supervised_contrastive_loss(
    s: Any, pos: Any, neg: Any, fixed: Any, temperature: Any = 0.1
) -> Any:
    """-1/|P| Σ_P log exp(s_ip / T) / Σ_j exp(s_ij / T)."""
    a, count = s / LD(temperature), pos.sum(-1)
    logs = a - np.where(count > 0, _log_sum(a, pos | neg), LD(0))[:, None]
    return [(-_sum(logs, pos) / np.maximum(count, 1), LD(1) * (count > 0))]


def contrastive_loss(
    d: Any, pos: Any, neg: Any, fixed: Any, pos_margin: float = 0.0, neg_margin: float = 1.0
) -> Any:
    """Σ_P max(0, d - m₊), and Σ_N max(0, m₋ - d): each has a mean of its own."""
    near, far = np.maximum(d - LD(pos_margin), 0), np.maximum(LD(neg_margin) - d, 0)
    return [
        (_sum(near, pos), LD(1) * (pos & (near > 0)).sum(-1)),
        (_sum(far, neg), LD(1) * (neg & (far > 0)).sum(-1)),
    ]


def multi_similarity_loss(
    s: Any,
    pos: Any,
    neg: Any,
    fixed: Any,
    alpha: float = 2.0,
    beta: float = 50.0,
    base: float = 0.5,
) -> Any:
    """log(1 + Σ_P exp(-α (s - λ))) / α + log(1 + Σ_N exp(β (s - λ))) / β."""
    alpha, beta, base = LD(alpha), LD(beta), LD(base)
    near = _log_sum(-alpha * (s - base), pos, and_one=True) / alpha
    return [(near + _log_sum(beta * (s - base), neg, and_one=True) / beta, _ones(s))]


def circle_loss(
    s: Any, pos: Any, neg: Any, fixed: Any, margin: float = 0.4, gamma: float = 80.0
) -> Any:
    """log(1 + Σ_N exp(γ α_n (s - m)) Σ_P exp(-γ α_p (s - 1 + m))), the α constants."""
    m, gamma = LD(margin), LD(gamma)
    a_p, a_n = np.maximum(1 + m - fixed, 0), np.maximum(fixed + m, 0)
    both = _log_sum(-gamma * a_p * (s - 1 + m), pos) + _log_sum(gamma * a_n * (s - m), neg)
    any_of_both = pos.any(-1) & neg.any(-1)
    value = np.where(any_of_both, _softplus(np.where(any_of_both, both, LD(0))), LD(0))
    return [(value, LD(1) * any_of_both)]


def lifted_structure_loss(
    d: Any, pos: Any, neg: Any, fixed: Any, neg_margin: float = 1.0, pos_margin: float = 0.0
) -> Any:
    """Σ_P max(0, J)² / 2, J_ip = log(Σ_N_i exp(m - d_in) + Σ_N_p exp(m - d_pn)) + d_ip - m₊."""
    of_each = np.exp(_log_sum(LD(neg_margin) - d, neg))
    j = np.log(of_each[:, None] + of_each[None]) + d - LD(pos_margin)
    return [(_sum(np.maximum(j, 0) ** 2, pos) / 2, LD(1) * pos.sum(-1))]


def nca_loss(s: Any, pos: Any, neg: Any, fixed: Any, scale: float = 1.0) -> Any:
    """-log Σ_P exp(scale s) / Σ_j exp(scale s)."""
    some = pos.any(-1)
    a = LD(scale) * s
    value = _log_sum(a, pos | neg) - np.where(some, _log_sum(a, pos), LD(0))
    return [(np.where(some, value, LD(0)), LD(1) * some)]


def batch_hard_triplet_loss(
    d: Any, pos: Any, neg: Any, fixed: Any, margin: float = 5.0, soft: bool = False
) -> Any:
    """max(0, max_P d - min_N d + m), or its softplus."""
    both = pos.any(-1) & neg.any(-1)
    farthest = np.max(d, axis=-1, where=pos, initial=-np.inf)
    nearest = np.min(d, axis=-1, where=neg, initial=np.inf)
    z = np.where(both, farthest - nearest + LD(margin), LD(0))
    return [(np.where(both, _softplus(z) if soft else np.maximum(z, 0), LD(0)), LD(1) * both)]


def batch_semi_hard_triplet_loss(
    d: Any, pos: Any, neg: Any, fixed: Any, margin: float = 5.0
) -> Any:
    """Σ_P max(0, d_ip - d_in + m), n the nearest negative beyond p, or else the farthest of all."""
    beyond = neg[:, None, :] & (d[:, None, :] > d[:, :, None])
    nearest = np.min(
        np.broadcast_to(d[:, None, :], beyond.shape), axis=-1, where=beyond, initial=np.inf
    )
    farthest = np.max(d, axis=-1, where=neg, initial=-np.inf)[:, None]
    chosen = np.where(beyond.any(-1), nearest, farthest)
    used = pos & neg.any(-1)[:, None]
    return [(_sum(np.maximum(d - chosen + LD(margin), 0), used), LD(1) * used.sum(-1))]


def batch_all_triplet_loss(d: Any, pos: Any, neg: Any, fixed: Any, margin: float = 5.0) -> Any:
    """Σ_P Σ_N max(0, d_ip - d_in + m)."""
    z = np.maximum(d[:, :, None] - d[:, None, :] + LD(margin), 0)
    z = np.where(pos[:, :, None] & neg[:, None, :], z, LD(0))
    return [(z.sum((1, 2)), LD(1) * (z > 0).sum((1, 2)))]


def normalized_softmax_loss(s: Any, pos: Any, neg: Any, fixed: Any, temperature: Any = 0.05) -> Any:
    """The cross entropy of s / T."""
    a = s / LD(temperature)
    return [(_log_sum(a, pos | neg) - _sum(a, pos), _ones(s))]


def cosface_loss(
    s: Any, pos: Any, neg: Any, fixed: Any, margin: float = 0.35, scale: float = 64.0
) -> Any:
    """The cross entropy of scale (s - margin) for the class, scale s for the others."""
    a = LD(scale) * np.where(pos, s - LD(margin), s)
    return [(_log_sum(a, pos | neg) - _sum(a, pos), _ones(s))]


def arcface_loss(
    s: Any, pos: Any, neg: Any, fixed: Any, margin: float = 28.6, scale: float = 64.0
) -> Any:
    """The cross entropy of scale cos(θ + margin) for the class, scale cos θ for the others."""
    degree = np.arccos(LD(-1)) / 180
    turned = np.cos(np.arccos(np.clip(s, -1, 1)) + LD(margin) * degree)
    a = LD(scale) * np.where(pos, turned, s)
    return [(_log_sum(a, pos | neg) - _sum(a, pos), _ones(s))]


def proxy_anchor_loss(
    s: Any, pos: Any, neg: Any, fixed: Any, margin: float = 0.1, alpha: float = 32.0
) -> Any:
    """C / C₊ log(1 + Σ_P exp(-α (s - δ))) + log(1 + Σ_N exp(α (s + δ))), a proxy in each row."""
    alpha, margin = LD(alpha), LD(margin)
    ratio = LD(len(s)) / max(int(pos.any(-1).sum()), 1)
    near = _log_sum(-alpha * (s - margin), pos, and_one=True)
    return [(ratio * near + _log_sum(alpha * (s + margin), neg, and_one=True), _ones(s))]


# --------------------------------------------------------------------------------------------------
# The table
# --------------------------------------------------------------------------------------------------

#: What a loss is called with: two sets of rows; rows, labels and perhaps a memory bank; or rows,
#: proxies and labels.
PAIRS, LABELLED, ALONE, PROXIES = "pairs", "labelled", "labelled, without a bank", "proxies"


class LossRow(NamedTuple):
    """One loss: its formula, what it is called with, and what it does when not told otherwise."""

    formula: Callable[..., Any]
    kind: str
    of: str = "similarity"
    distance: str = "cosine"
    others: tuple[dict[str, Any], ...] = ()  # options worth testing
    learnable: tuple[str, ...] = ()  # options that it has gradients of
    takes_distance: bool = True
    anchors: str = "x"  # which argument has one loss for each row


_OF = {"of": "distance", "distance": "euclidean"}
_NORMALIZED = {"of": "distance", "distance": "normalized_euclidean"}
_COSINE = {"takes_distance": False}
LOSSES: dict[str, LossRow] = {
    "info_nce_loss": LossRow(
        info_nce_loss,
        PAIRS,
        others=({"symmetric": True}, {"temperature": 1.5}),
        learnable=("temperature",),
        anchors="x1",
    ),
    "sigmoid_contrastive_loss": LossRow(
        sigmoid_contrastive_loss,
        PAIRS,
        others=({"temperature": 0.8, "bias": 0.3},),
        learnable=("temperature", "bias"),
        anchors="x1",
    ),
    "supervised_contrastive_loss": LossRow(
        supervised_contrastive_loss,
        LABELLED,
        others=({"temperature": 1.0},),
        learnable=("temperature",),
    ),
    "contrastive_loss": LossRow(
        contrastive_loss, LABELLED, **_NORMALIZED, others=({"pos_margin": 0.9, "neg_margin": 1.4},)
    ),
    "multi_similarity_loss": LossRow(
        multi_similarity_loss, LABELLED, others=({"alpha": 5.0, "beta": 3.0, "base": -0.2},)
    ),
    "circle_loss": LossRow(
        circle_loss, LABELLED, **_COSINE, others=({"margin": 0.1, "gamma": 3.0},)
    ),
    "lifted_structure_loss": LossRow(
        lifted_structure_loss, ALONE, **_NORMALIZED, others=({"neg_margin": -1.0},)
    ),
    "nca_loss": LossRow(
        nca_loss, LABELLED, distance="normalized_sqeuclidean", others=({"scale": 7.0},)
    ),
    "batch_hard_triplet_loss": LossRow(
        batch_hard_triplet_loss,
        LABELLED,
        **_OF,
        others=({"margin": -0.5}, {"margin": 0.0, "soft": True}),
    ),
    "batch_semi_hard_triplet_loss": LossRow(
        batch_semi_hard_triplet_loss, LABELLED, **_OF, others=({"margin": 0.2},)
    ),
    "batch_all_triplet_loss": LossRow(
        batch_all_triplet_loss, LABELLED, **_OF, others=({"margin": -0.4},)
    ),
    "normalized_softmax_loss": LossRow(
        normalized_softmax_loss,
        PROXIES,
        others=({"temperature": 0.6},),
        learnable=("temperature",),
    ),
    "cosface_loss": LossRow(cosface_loss, PROXIES, **_COSINE, others=({"scale": 3.0},)),
    "arcface_loss": LossRow(
        arcface_loss, PROXIES, **_COSINE, others=({"margin": 90.0, "scale": 3.0},)
    ),
    "proxy_nca_loss": LossRow(
        nca_loss, PROXIES, distance="normalized_sqeuclidean", others=({"scale": 3.0},)
    ),
    "proxy_anchor_loss": LossRow(
        proxy_anchor_loss, PROXIES, others=({"margin": 0.3, "alpha": 4.0},), anchors="proxies"
    ),
}

# --------------------------------------------------------------------------------------------------
# Batches
# --------------------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """The arrays of a call: rows by the name of their argument, and labels."""

    rows: dict[str, Any]
    labels: dict[str, Any]

    @property
    def args(self) -> tuple[Any, ...]:
        """What is given by position, in the order of all signatures."""
        given = {**self.rows, **self.labels}
        return tuple([given[k] for k in ("x1", "x2", "x", "proxies", "labels") if k in given])

    @property
    def kwargs(self) -> dict[str, Any]:
        """What is given by name."""
        return {k: v for k, v in {**self.rows, **self.labels}.items() if k.startswith("ref")}

    def astype(self, dtype: Any) -> Batch:
        """The same with rows of another dtype."""
        return self._replace(rows={name: array.astype(dtype) for name, array in self.rows.items()})


def draw(
    rng: Any, name: str, n: int, d: int, *, bank: int | None = None, classes: int | None = None
) -> Batch:
    """Random rows that float32 holds, and labels of which one is of a row alone if there are three.

    Args:
        rng: Random numbers.
        name: Of the loss.
        n: How many rows.
        d: How many features.
        bank: How many rows the memory bank has; None for no bank.
        classes: How many labels; by default a third as many as rows. There are two proxies more.
    """

    def rows(count: int) -> Any:
        return rng.standard_normal((count, d)).astype(np.float32).astype(np.float64)

    kind = LOSSES[name].kind
    if kind == PAIRS:
        return Batch({"x1": rows(n), "x2": rows(n)}, {})
    classes = classes or n // 3 + 1
    labels = rng.integers(0, classes, n)
    if kind == PROXIES:
        return Batch({"x": rows(n), "proxies": rows(classes + 2)}, {"labels": labels})
    if n >= 3:
        labels[n // 2] = classes
    if bank is None:
        return Batch({"x": rows(n)}, {"labels": labels})
    of_bank = {"labels": labels, "ref_labels": rng.integers(0, classes, bank)}
    return Batch({"x": rows(n), "ref": rows(bank)}, of_bank)


def parts(
    name: str, batch: Batch, distance: str | None = None, at: Batch | None = None, **options: Any
) -> Any:
    """The parts of the loss of each anchor; constants are those of the batch ``at``."""
    row = LOSSES[name]

    def matrix(of: Batch) -> Any:
        arrays = {key: wide(value) for key, value in of.rows.items()}
        first = arrays.pop(row.anchors)
        second = next(iter(arrays.values()), first)
        return numbers(first, second, distance or row.distance, row.of)

    s = matrix(batch)
    positive = _positives(row, batch)
    candidates = np.ones_like(positive)
    if row.kind in (LABELLED, ALONE) and "ref" not in batch.rows:
        np.fill_diagonal(candidates, False)
    with np.errstate(divide="ignore", invalid="ignore"):
        fixed = s if at is None else matrix(at)
        return row.formula(s, positive & candidates, ~positive & candidates, fixed, **options)


def _positives(row: LossRow, batch: Batch) -> Any:
    if row.kind == PAIRS:
        return np.eye(len(batch.rows["x1"]), len(batch.rows["x2"]), dtype=bool)
    labels = np.asarray(batch.labels["labels"])
    if row.kind == PROXIES:
        same = labels[:, None] == np.arange(len(batch.rows["proxies"]))
        return same.T if row.anchors == "proxies" else same
    return labels[:, None] == np.asarray(batch.labels.get("ref_labels", labels))


def reduced(found: Any, weight: Any = 1.0, reduction: str = "mean") -> Any:
    """The losses of the anchors as one number, or with "none" times their weights.

    The mean is Σ w l / Σ w t, with t the terms of each anchor; that of a loss of two parts is the
    sum of theirs. What is divided by 0 is 0.
    """
    anchors = len(found[0][0])
    w = np.broadcast_to(wide(weight), (anchors,))
    if reduction == "none":
        return w * sum(values for values, _ in found)
    if reduction == "mean":
        sums = [((w * values).sum(), (w * terms).sum()) for values, terms in found]
        return sum(total / count if count else LD(0) for total, count in sums)
    total = (w * sum(values for values, _ in found)).sum()
    of = {"sum": 1, "sum_over_batch_size": anchors, "sum_by_nonzero_weights": (w != 0).sum()}
    return total / LD(of[reduction]) if of[reduction] else LD(0)


def value(
    name: str, batch: Batch, *, weight: Any = 1.0, reduction: str = "mean", **options: Any
) -> Any:
    """The loss of a batch."""
    return reduced(parts(name, batch, **options), weight, reduction)


# --------------------------------------------------------------------------------------------------
# Gradients
# --------------------------------------------------------------------------------------------------

#: Errors of the differences grow with its fourth power: (160 step)⁴ for the sharpest of the losses
#: here. Those of rounding are 2⁻⁶⁴ / step.
STEP = LD(3e-6)


def slope(
    name: str,
    batch: Batch,
    direction: Mapping[str, Any],
    *,
    weight: Any = 1.0,
    reduction: str = "mean",
    grad_output: Any = 1.0,
    **options: Any,
) -> Any:
    """The derivative of a loss, times the upstream gradient, in a direction.

    ``direction`` says for the names of arrays, or of options that are learned, where these go.
    """

    def ahead(step: Any) -> Any:
        rows = {
            key: wide(array) + step * wide(direction[key]) if key in direction else array
            for key, array in batch.rows.items()
        }
        moved = {
            key: LD(given[key]) + step * LD(direction[key]) if key in direction else given[key]
            for key in given
        }
        found = parts(name, batch._replace(rows=rows), at=batch, **moved)
        return (wide(grad_output) * reduced(found, weight, reduction)).sum()

    given = {key: default_of(name, key) for key in direction if key not in batch.rows} | options
    both = [ahead(k * STEP) - ahead(-k * STEP) for k in (1, 2)]
    return (8 * both[0] - both[1]) / (12 * STEP)


def gradient(name: str, batch: Batch, of: str, **options: Any) -> Any:
    """The gradient with respect to one array of rows, a component at a time."""
    found = np.zeros(batch.rows[of].shape, LD)
    for place in np.ndindex(found.shape):
        along = np.zeros(found.shape, LD)
        along[place] = 1
        found[place] = slope(name, batch, {of: along}, **options)
    return found


def default_of(name: str, option: str) -> float:
    """What a loss takes for an option that is not given."""
    formula = LOSSES[name].formula
    names = formula.__code__.co_varnames[: formula.__code__.co_argcount]
    defaults = formula.__defaults__ or ()
    return dict(zip(names[-len(defaults) :], defaults, strict=True))[option]
