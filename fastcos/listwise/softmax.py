"""Losses that are the logarithm of a softmax, or of sigmoids, of similarities."""

import math
from typing import Any

from fastcos.listwise.record import Listwise, Survey
from fastcos.listwise.scalars import exp, sigmoid, softplus

# In all of these the exponents are shifted by their greatest, which the extremes of the row give:
# no term is greater than 1, and one of them is 1. The greatest is subtracted from the similarities,
# of which it is one, and not from their multiples, which are rounded: where these have no digits
# after the point in float32, what they are off by is itself too much for an exponential.


def _softmax() -> Listwise:
    # a = (s - m) / T for positives, s / T for negatives, less the greatest;  lse = log Σ exp(a)
    # l = lse - (Σ_P a) / |P|,    dl/ds = (exp(a - lse) - [positive] / |P|) / T
    # With one positive for each anchor this is the cross entropy; with several, SupCon's L_out.
    # m is cosface's margin, and 0 elsewhere. s / T is all that T enters by where m is 0:
    # dl/dT = -(Σ s dl/ds) / T.
    def start(row: Any, temperature: Any, margin: Any) -> Any:
        inverse = 1 / temperature
        top = max(row.greatest_positive - margin, row.greatest_negative)
        return inverse, top, margin * inverse, 0.0

    def accumulate(sums: Any, context: Any, each: Any) -> Any:
        inverse, top, less, zero = context
        a = (each.s - top) * inverse - (less if each.positive else zero)
        return sums[0] + exp(a), sums[1] + (a if each.positive else zero)

    def finalize(sums: Any, context: Any, row: Any, temperature: Any, margin: Any) -> Any:
        inverse, top, less, _ = context
        if row.positives == 0:
            return 0.0, 0.0, (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        lse = math.log(sums[0])
        value = lse - sums[1] / row.positives
        return value, 1.0, (inverse, top, lse, lse + less, inverse / row.positives, 0.0)

    def slope(coefficients: Any, each: Any) -> Any:
        inverse, top, lse, lse_and_margin, share, zero = coefficients
        less = lse_and_margin if each.positive else lse
        return inverse * exp((each.s - top) * inverse - less) - (share if each.positive else zero)

    def learnable(slopes: Any, s_slopes: Any, temperature: Any, margin: Any) -> Any:
        return -s_slopes / temperature, math.nan

    return Listwise("softmax", start, accumulate, finalize, slope, sums=2, learnable=learnable)


def _log_sum() -> Listwise:
    # l = T log Σ exp(s / T): what the symmetric loss has to know of the other direction. It is not
    # less than any s, also as it is rounded.
    def start(row: Any, temperature: Any) -> Any:
        return 1 / temperature, max(row.greatest_positive, row.greatest_negative)

    def accumulate(sums: Any, context: Any, each: Any) -> Any:
        inverse, top = context
        return (sums[0] + exp((each.s - top) * inverse),)

    def finalize(sums: Any, context: Any, row: Any, temperature: Any) -> Any:
        inverse, top = context
        value = top + temperature * math.log(sums[0])
        return value, 1.0, (inverse, value)

    def slope(coefficients: Any, each: Any) -> Any:
        inverse, value = coefficients
        return exp((each.s - value) * inverse)

    return Listwise("log_sum", start, accumulate, finalize, slope)


def _symmetric() -> Listwise:
    # The mean of both directions. With lse_i of the row of anchor i, and lse'_j of the column of
    # candidate j, which the survey has found as T lse'_j, and w the scales of the pairs:
    # l_i = (lse_i + lse'_i) / 2 - s_ii / T
    # Σ_i w_i l_i has the slope (w_i exp(a - lse_i) + w_j exp(a - lse'_j)) / 2T - [i = j] w_i / T
    def start(row: Any, temperature: Any) -> Any:
        inverse = 1 / temperature
        return inverse, max(row.greatest_positive, row.greatest_negative), 0.0

    def accumulate(sums: Any, context: Any, each: Any) -> Any:
        inverse, top, zero = context
        a = (each.s - top) * inverse
        return sums[0] + exp(a), sums[1] + (a if each.positive else zero)

    def finalize(sums: Any, context: Any, row: Any, temperature: Any) -> Any:
        inverse, top, _ = context
        lse = math.log(sums[0])
        value = 0.5 * (lse + (row.number - top) * inverse) - sums[1]
        half = 0.5 * inverse
        return value, 1.0, (inverse, top, lse, half * row.scale, half, row.scale * inverse, 0.0)

    def slope(coefficients: Any, each: Any) -> Any:
        inverse, top, lse, of_row, half, share, zero = coefficients
        in_row = of_row * exp((each.s - top) * inverse - lse)
        in_column = half * each.scale * exp((each.s - each.number) * inverse)
        return in_row + in_column - (share if each.positive else zero)

    def learnable(slopes: Any, s_slopes: Any, temperature: Any) -> Any:
        return (-s_slopes / temperature,)

    return Listwise(
        *("symmetric_softmax", start, accumulate, finalize, slope),
        sums=2,
        survey=Survey(log_sum),
        learnable=learnable,
    )


def _sigmoid_contrastive() -> Listwise:
    # u = s / T + b, and a = -u for positives, u for negatives
    # l = Σ softplus(a),    dl/ds = ∓ sigmoid(a) / T,    dl/dT = -(Σ s dl/ds) / T,
    # dl/db = T Σ dl/ds
    def start(row: Any, temperature: Any, bias: Any) -> Any:
        return 1 / temperature, -1 / temperature, bias, -bias

    def accumulate(sums: Any, context: Any, each: Any) -> Any:
        inverse, minus, bias, minus_bias = context
        a = each.s * (minus if each.positive else inverse)
        return (sums[0] + softplus(a + (minus_bias if each.positive else bias)),)

    def finalize(sums: Any, context: Any, row: Any, temperature: Any, bias: Any) -> Any:
        return sums[0], 1.0, context

    def slope(coefficients: Any, each: Any) -> Any:
        inverse, minus, bias, minus_bias = coefficients
        factor = minus if each.positive else inverse
        return factor * sigmoid(each.s * factor + (minus_bias if each.positive else bias))

    def learnable(slopes: Any, s_slopes: Any, temperature: Any, bias: Any) -> Any:
        return -s_slopes / temperature, temperature * slopes

    return Listwise("sigmoid_contrastive", start, accumulate, finalize, slope, learnable=learnable)


def _arcface() -> Listwise:
    # With θ the angle of an anchor to the proxy of its class, and r = √(1 - s²); along and across
    # are cos m and sin m:
    # a = scale cos(θ + m) = scale (s cos m - r sin m) for it, scale s for the others
    # l = lse - a_P,    dl/ds = (exp(a - lse) - [positive]) da/ds
    # da/ds = scale (cos m + s sin m / r) for the positive, without its second part where r = 0.
    def start(row: Any, scale: Any, along: Any, across: Any) -> Any:
        s = min(max(row.greatest_positive, -1.0), 1.0)
        turned = s * along - math.sqrt(max(1 - s * s, 0.0)) * across
        top = max(turned, row.greatest_negative)
        if row.positives == 0:
            top = row.greatest_negative
        return scale, scale * top, scale * turned

    def accumulate(sums: Any, context: Any, each: Any) -> Any:
        scale, shift, turned = context
        return (sums[0] + exp((turned if each.positive else each.s * scale) - shift),)

    def finalize(sums: Any, context: Any, row: Any, scale: Any, along: Any, across: Any) -> Any:
        if row.positives == 0:
            return 0.0, 0.0, (0.0, 0.0, 0.0)
        _, shift, turned = context
        lse = shift + math.log(sums[0])
        s = min(max(row.greatest_positive, -1.0), 1.0)
        r = math.sqrt(max(1 - s * s, 0.0))
        turning = along + (s * across / r if r > 0 else 0.0)
        return lse - turned, 1.0, (scale, lse, (math.exp(turned - lse) - 1) * scale * turning)

    def slope(coefficients: Any, each: Any) -> Any:
        scale, lse, of_positive = coefficients
        return of_positive if each.positive else scale * exp(each.s * scale - lse)

    return Listwise("arcface", start, accumulate, finalize, slope)


softmax = _softmax()
log_sum = _log_sum()
symmetric_softmax = _symmetric()
sigmoid_contrastive = _sigmoid_contrastive()
arcface = _arcface()
