"""Losses of pairs: sums, and logarithms of sums, over positives and over negatives apart."""

import math
from typing import Any

from fastcos.listwise.record import DISTANCE, Listwise, Survey
from fastcos.listwise.scalars import exp, sigmoid, softplus

#: What the survey says of an anchor without negatives: the logarithm of nothing, but finite, for
#: two of them are subtracted. Less the opposite, all exponents are those of 0: where an anchor has
#: no loss the slopes are 0 times these, and not 0 times what overflows.
NOTHING = -1e30


def _counted() -> Listwise:
    # How many positive pairs, and how many negative ones, have a loss.
    def start(row: Any, pos_margin: Any, neg_margin: Any) -> Any:
        return pos_margin, neg_margin, 1.0, 0.0

    def accumulate(sums: Any, context: Any, each: Any) -> Any:
        pos_margin, neg_margin, one, zero = context
        return (
            sums[0] + (one if each.positive and each.s > pos_margin else zero),
            sums[1] + (one if not each.positive and each.s < neg_margin else zero),
        )

    def finalize(sums: Any, context: Any, row: Any, pos_margin: Any, neg_margin: Any) -> Any:
        return sums[0], sums[1], context

    def slope(coefficients: Any, each: Any) -> Any:
        return 0 * each.s

    return Listwise("counted", start, accumulate, finalize, slope, sums=2, of=DISTANCE)


def _contrastive() -> Listwise:
    # l = Σ_P max(0, d - m₊) / n₊ + Σ_N max(0, m₋ - d) / n₋
    # n₊ and n₋ are 1 or, for the mean, the numbers of pairs in the batch that have a loss, each
    # times the weight of its anchor.
    def start(
        row: Any, pos_margin: Any, neg_margin: Any, of_positives: Any, of_negatives: Any
    ) -> Any:
        return pos_margin, neg_margin, 0.0

    def accumulate(sums: Any, context: Any, each: Any) -> Any:
        pos_margin, neg_margin, zero = context
        above, below = each.s - pos_margin, neg_margin - each.s
        return (
            sums[0] + (above if each.positive and above > zero else zero),
            sums[1] + (below if not each.positive and below > zero else zero),
        )

    def finalize(
        sums: Any,
        context: Any,
        row: Any,
        pos_margin: Any,
        neg_margin: Any,
        of_positives: Any,
        of_negatives: Any,
    ) -> Any:
        up = 1 / of_positives if of_positives != 0 else 0.0
        down = 1 / of_negatives if of_negatives != 0 else 0.0
        return up * sums[0] + down * sums[1], 1.0, (pos_margin, neg_margin, up, -down, 0.0)

    def slope(coefficients: Any, each: Any) -> Any:
        pos_margin, neg_margin, up, down, zero = coefficients
        if each.positive:
            return up if each.s >= pos_margin else zero
        return down if each.s <= neg_margin else zero

    return Listwise("contrastive", start, accumulate, finalize, slope, sums=2, of=DISTANCE)


def _multi_similarity() -> Listwise:
    # l = log(1 + Σ_P exp(-α (s - λ))) / α + log(1 + Σ_N exp(β (s - λ))) / β
    # The 1 is exp(0): 0 is among the exponents of both. Without positives, or negatives, log 1 = 0.
    # dl/ds = -exp(-α (s - λ) - lse₊) for positives, exp(β (s - λ) - lse₋) for negatives
    # Each s is compared with the edge whose exponent is the greatest: the least positive, the
    # greatest negative, or λ; in the slopes with lse₊ and lse₋ as similarities, which are beyond.
    def start(row: Any, alpha: Any, beta: Any, base: Any) -> Any:
        return min(row.least_positive, base), max(row.greatest_negative, base), -alpha, beta, 0.0

    def accumulate(sums: Any, context: Any, each: Any) -> Any:
        edge_positive, edge_negative, of_positive, of_negative, zero = context
        apart = each.s - (edge_positive if each.positive else edge_negative)
        e = exp(apart * (of_positive if each.positive else of_negative))
        return sums[0] + (e if each.positive else zero), sums[1] + (zero if each.positive else e)

    def finalize(sums: Any, context: Any, row: Any, alpha: Any, beta: Any, base: Any) -> Any:
        edge_positive, edge_negative, _, _, _ = context
        sum_positive = sums[0] + math.exp(alpha * (edge_positive - base))
        sum_negative = sums[1] + math.exp(beta * (base - edge_negative))
        at_positive = edge_positive - math.log(sum_positive) / alpha
        at_negative = edge_negative + math.log(sum_negative) / beta
        return at_negative - at_positive, 1.0, (at_positive, at_negative, -alpha, beta, -1.0, 1.0)

    def slope(coefficients: Any, each: Any) -> Any:
        at_positive, at_negative, of_positive, of_negative, minus, plus = coefficients
        apart = each.s - (at_positive if each.positive else at_negative)
        e = exp(apart * (of_positive if each.positive else of_negative))
        return e * (minus if each.positive else plus)

    return Listwise("multi_similarity", start, accumulate, finalize, slope, sums=2)


def _circle() -> Listwise:
    # a = -γ α₊ (s - Δ₊) for positives, γ α₋ (s - Δ₋) for negatives, with
    # α₊ = max(0, 1 + m - s),  Δ₊ = 1 - m,    α₋ = max(0, s + m),  Δ₋ = m
    # l = softplus(lse₊ + lse₋),    dl/ds = sigmoid(lse₊ + lse₋) exp(a - lse±) (∓ γ α±)
    # α is a weight, and not differentiated, as in the paper. a is convex in s where it is not 0:
    # its greatest value is at the least or the greatest s, or 0.
    def start(row: Any, gamma: Any, m: Any) -> Any:
        top_positive = top_negative = 0.0
        if row.positives > 0:
            top_positive = max(
                -gamma * max(0.0, 1 + m - row.least_positive) * (row.least_positive - 1 + m),
                -gamma * max(0.0, 1 + m - row.greatest_positive) * (row.greatest_positive - 1 + m),
            )
        if row.negatives > 0:
            top_negative = max(
                gamma * max(0.0, row.least_negative + m) * (row.least_negative - m),
                gamma * max(0.0, row.greatest_negative + m) * (row.greatest_negative - m),
            )
        return 1 + m, m, 1 - m, gamma, -gamma, top_positive, top_negative, 0.0

    def accumulate(sums: Any, context: Any, each: Any) -> Any:
        above, m, near, gamma, minus, top_positive, top_negative, zero = context
        weight = above - each.s if each.positive else each.s + m
        weight = weight if weight > zero else zero
        a = weight * (minus if each.positive else gamma) * (each.s - (near if each.positive else m))
        e = exp(a - (top_positive if each.positive else top_negative))
        return sums[0] + (e if each.positive else zero), sums[1] + (zero if each.positive else e)

    def finalize(sums: Any, context: Any, row: Any, gamma: Any, m: Any) -> Any:
        above, _, near, _, minus, top_positive, top_negative, _ = context
        if row.positives == 0 or row.negatives == 0:
            return 0.0, 0.0, (above, m, near, gamma, minus, -NOTHING, -NOTHING, 0.0, 0.0)
        positive = top_positive + math.log(sums[0])
        negative = top_negative + math.log(sums[1])
        z = positive + negative
        value, by = softplus(z), sigmoid(z)
        terms = 1.0 if value > 0 else 0.0
        return value, terms, (above, m, near, gamma, minus, positive, negative, by, 0.0)

    def slope(coefficients: Any, each: Any) -> Any:
        above, m, near, gamma, minus, positive, negative, by, zero = coefficients
        weight = above - each.s if each.positive else each.s + m
        weight = (weight if weight > zero else zero) * (minus if each.positive else gamma)
        a = weight * (each.s - (near if each.positive else m))
        return by * weight * exp(a - (positive if each.positive else negative))

    return Listwise("circle", start, accumulate, finalize, slope, sums=2)


def _nearby() -> Listwise:
    # l = log Σ_N exp(m₋ - d), what the lifted structure loss knows of an anchor and of a positive.
    def start(row: Any, neg_margin: Any, pos_margin: Any) -> Any:
        return row.least_negative, 0.0

    def accumulate(sums: Any, context: Any, each: Any) -> Any:
        nearest, zero = context
        return (sums[0] + (zero if each.positive else exp(nearest - each.s)),)

    def finalize(sums: Any, context: Any, row: Any, neg_margin: Any, pos_margin: Any) -> Any:
        nearest, _ = context
        value = NOTHING if row.negatives == 0 else neg_margin - nearest + math.log(sums[0])
        return value, 1.0, (0.0,)

    def slope(coefficients: Any, each: Any) -> Any:
        return 0 * each.s

    return Listwise("nearby", start, accumulate, finalize, slope, of=DISTANCE)


def _lifted_structure() -> Listwise:
    # e_i = Σ_N exp(m₋ - d_in), of anchor i and of each candidate by the survey, as logarithms
    # J_ij = log(e_i + e_j) + d_ij - m₊,    l_i = Σ_P max(0, J_ij)² / 2
    # J_ij is J_ji. With w the scales of the anchors, Σ w_i l_i has the slopes
    #     w_i max(0, J_ij)  at a positive j,  and at a negative n
    #     -exp(m₋ - d_in) / e_i  Σ_P (w_i + w_j) max(0, J_ij) e_i / (e_i + e_j)
    def start(row: Any, neg_margin: Any, pos_margin: Any) -> Any:
        return row.number, pos_margin, row.scale, 0.0

    def accumulate(sums: Any, context: Any, each: Any) -> Any:
        own, pos_margin, scale, zero = context
        j = own + softplus(each.number - own) + each.s - pos_margin
        j = j if each.positive and j > zero else zero
        share = (scale + each.scale) * j * sigmoid(own - each.number)
        return sums[0] + j * j, sums[1] + share

    def finalize(sums: Any, context: Any, row: Any, neg_margin: Any, pos_margin: Any) -> Any:
        coefficients = row.number, pos_margin, row.scale, -sums[1], neg_margin - row.number, 0.0
        return 0.5 * sums[0], row.positives, coefficients

    def slope(coefficients: Any, each: Any) -> Any:
        own, pos_margin, scale, share, less, zero = coefficients
        j = own + softplus(each.number - own) + each.s - pos_margin
        at_positive = scale * (j if j > zero else zero)
        return at_positive if each.positive else share * exp(less - each.s)

    return Listwise(
        *("lifted_structure", start, accumulate, finalize, slope),
        sums=2,
        of=DISTANCE,
        survey=Survey(nearby),
    )


def _nca() -> Listwise:
    # a = scale s;  p = Σ_P exp(a) / Σ exp(a),  l = -log p = softplus(lse₋ - lse₊)
    # With q = 1 - p = sigmoid(lse₋ - lse₊):
    # dl/ds = -scale q exp(a - lse₊) for positives, scale q exp(a - lse₋) for negatives
    # Each s is compared with the greatest of its kind, whose exponent is 0 then.
    def start(row: Any, scale: Any) -> Any:
        top_positive = row.greatest_positive if row.positives > 0 else 0.0
        top_negative = row.greatest_negative if row.negatives > 0 else 0.0
        return scale, top_positive, top_negative, 0.0

    def accumulate(sums: Any, context: Any, each: Any) -> Any:
        scale, top_positive, top_negative, zero = context
        e = exp((each.s - (top_positive if each.positive else top_negative)) * scale)
        return sums[0] + (e if each.positive else zero), sums[1] + (zero if each.positive else e)

    def finalize(sums: Any, context: Any, row: Any, scale: Any) -> Any:
        _, top_positive, top_negative, _ = context
        if row.positives == 0:
            return 0.0, 0.0, (scale, 0.0, 0.0, -NOTHING, -NOTHING, 0.0, 0.0)
        if row.negatives == 0:
            return 0.0, 1.0, (scale, 0.0, 0.0, -NOTHING, -NOTHING, 0.0, 0.0)
        positive, negative = math.log(sums[0]), math.log(sums[1])
        z = scale * (top_negative - top_positive) + negative - positive
        by = scale * sigmoid(z)
        coefficients = scale, top_positive, top_negative, positive, negative, -by, by
        return softplus(z), 1.0, coefficients

    def slope(coefficients: Any, each: Any) -> Any:
        scale, top_positive, top_negative, positive, negative, of_positive, of_negative = (
            coefficients
        )
        a = (each.s - (top_positive if each.positive else top_negative)) * scale
        e = exp(a - (positive if each.positive else negative))
        return e * (of_positive if each.positive else of_negative)

    return Listwise("nca", start, accumulate, finalize, slope, sums=2)


def _proxy_anchor() -> Listwise:
    # The proxies are the anchors here, and the rows of the batch their candidates.
    # l = r log(1 + Σ_P exp(-α (s - δ))) + log(1 + Σ_N exp(α (s + δ)))
    # r is the number of proxies over that of proxies with positives, so that the mean of l is that
    # of each part over the proxies that it is of. The 1 is exp(0). Edges as in multi-similarity.
    def start(row: Any, margin: Any, alpha: Any, ratio: Any) -> Any:
        edges = min(row.least_positive, margin), max(row.greatest_negative, -margin)
        return edges[0], edges[1], -alpha, alpha, 0.0

    def accumulate(sums: Any, context: Any, each: Any) -> Any:
        edge_positive, edge_negative, minus, alpha, zero = context
        apart = each.s - (edge_positive if each.positive else edge_negative)
        e = exp(apart * (minus if each.positive else alpha))
        return sums[0] + (e if each.positive else zero), sums[1] + (zero if each.positive else e)

    def finalize(sums: Any, context: Any, row: Any, margin: Any, alpha: Any, ratio: Any) -> Any:
        edge_positive, edge_negative, _, _, _ = context
        sum_positive = sums[0] + math.exp(alpha * (edge_positive - margin))
        sum_negative = sums[1] + math.exp(-alpha * (margin + edge_negative))
        at_positive = edge_positive - math.log(sum_positive) / alpha
        at_negative = edge_negative + math.log(sum_negative) / alpha
        value = alpha * (ratio * (margin - at_positive) + margin + at_negative)
        return value, 1.0, (at_positive, at_negative, -alpha, alpha, -alpha * ratio)

    def slope(coefficients: Any, each: Any) -> Any:
        at_positive, at_negative, minus, alpha, of_positive = coefficients
        apart = each.s - (at_positive if each.positive else at_negative)
        e = exp(apart * (minus if each.positive else alpha))
        return e * (of_positive if each.positive else alpha)

    return Listwise("proxy_anchor", start, accumulate, finalize, slope, sums=2)


counted = _counted()
contrastive = _contrastive()
contrastive_mean = contrastive._replace(survey=Survey(counted, totals=True))
multi_similarity = _multi_similarity()
circle = _circle()
nearby = _nearby()
lifted_structure = _lifted_structure()
nca = _nca()
proxy_anchor = _proxy_anchor()
