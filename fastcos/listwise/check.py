"""A user's listwise loss against finite differences, and compiled against plain Python."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastcos.listwise import faults
from fastcos.listwise.record import SIMILARITY, Candidate, Listwise, Order, Row


def check_listwise(
    loss: Listwise,
    *,
    anchors: int = 9,
    classes: int = 3,
    low: float = -1.0,
    high: float = 1.0,
    rtol: float = 1e-6,
    seed: int = 0,
) -> None:
    r"""Checks the slopes of a listwise loss against finite differences of its value.

    .. math:: \frac{\partial l_i}{\partial s_{ij}}
        \approx \frac{8 (l_{+h} - l_{-h}) - (l_{+2h} - l_{-2h})}{12 h}

    Draws a matrix of similarities (or of distances, which are then at least 0) and labels, computes
    the sum of the losses with the functions as plain Python, differentiates it, and then runs the
    compiled kernel on unit rows, which must give what the functions give. Numbers with a kink
    within reach of the differences are left out.

    Args:
        loss: What to check.
        anchors: How many anchors, each the candidate of all others.
        classes: How many labels.
        low: Numbers are drawn uniformly from [low, high).
        high: See ``low``.
        rtol: Largest error allowed, relative to the largest slope.
        seed: Of the random numbers.

    Raises:
        ValueError: a slope is off, or the compiled kernel disagrees with the Python functions, or
            most numbers are at a kink.
        TypeError: not a :class:`Listwise`, or one whose functions cannot be called.

    Example:
        >>> import fastcos
        >>> spread = fastcos.Listwise(
        ...     "spread",
        ...     start=lambda row: (),
        ...     accumulate=lambda sums, c, each: (sums[0] + each.s * each.s,),
        ...     finalize=lambda sums, c, row: (sums[0], 1.0, ()),
        ...     slope=lambda c, each: 2 * each.s,
        ... )
        >>> fastcos.check_listwise(spread)
        >>> fastcos.check_listwise(spread._replace(slope=lambda c, each: each.s))
        Traceback (most recent call last):
            ...
        ValueError: slope of spread is wrong: of anchor ... differences give ...
    """
    faults.check(loss)
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(anchors) % classes)
    numbers = rng.uniform(low, high, (anchors, anchors))
    if loss.of != SIMILARITY:
        numbers = np.abs(numbers)
    # A survey finds the same of rows and of columns of a matrix that is its own mirror image.
    numbers = (numbers + numbers.T) / 2
    step = 1e-4 * (high - low)

    def total(matrix: Any) -> float:
        return float(sum(value for value, _, _ in _rows(loss, matrix, labels)))

    given = np.array([slopes for _, _, slopes in _rows(loss, numbers, labels)])
    coarse, fine = np.zeros_like(given), np.zeros_like(given)
    for i in range(anchors):
        for j in range(i + 1, anchors):
            for h, into in ((step, coarse), (step / 2, fine)):
                ahead = []
                for multiple in (1, -1, 2, -2):
                    moved = numbers.copy()
                    moved[i, j] = moved[j, i] = numbers[i, j] + multiple * h
                    ahead.append(total(moved))
                into[i, j] = (8 * (ahead[0] - ahead[1]) - (ahead[2] - ahead[3])) / (12 * h)
    given = np.triu(given + given.T, 1)
    scale = max(np.abs(fine).max(), np.finfo(float).tiny)
    # Two step lengths disagree where a kink lies between them: nothing can be said there.
    above = np.triu(np.ones_like(given, dtype=bool), 1)
    smooth = above & (np.abs(coarse - fine) <= 0.1 * rtol * scale)
    if smooth.sum() < 0.5 * above.sum():
        raise ValueError(
            f"{loss.name} is not smooth enough on [{low}, {high}) to be checked by differences"
        )
    error = np.where(smooth, np.abs(given - fine), 0) / scale
    error = np.where(above & np.isnan(given), math.inf, error)
    i, j = map(int, np.unravel_index(np.argmax(error), error.shape))
    if error[i, j] > rtol:
        raise ValueError(
            f"slope of {loss.name} is wrong: of anchor {i} and candidate {j}, both ways,"
            f" {float(given[i, j])!r}; differences give {float(fine[i, j])!r}"
        )
    _check_compiled(loss, rng.standard_normal((anchors, 4)), labels)


def _check_compiled(loss: Listwise, x: Any, labels: Any) -> None:
    from fastcos.api import listwise_loss, value_and_grad

    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    products = units @ units.T
    numbers = products if loss.of == SIMILARITY else 1 - products
    rows = _rows(loss, numbers, labels)
    expected = np.array([value for value, _, _ in rows])
    found, (grads,) = value_and_grad(listwise_loss)(x, labels, loss, reduction="none")
    if not np.allclose(found, expected, rtol=1e-9, atol=1e-12):
        worst = int(np.argmax(np.abs(found - expected)))
        raise ValueError(
            f"value of {loss.name} is {float(found[worst])!r} compiled and"
            f" {float(expected[worst])!r} as plain Python, anchor {worst}"
        )
    slopes = np.array([each for _, _, each in rows]) * (1 if loss.of == SIMILARITY else -1)
    # The chain rule through the products, and through the lengths.
    by_units = (slopes + slopes.T) @ units
    along = (by_units * units).sum(axis=1, keepdims=True)
    by_rows = (by_units - along * units) / np.linalg.norm(x, axis=1, keepdims=True)
    if not np.allclose(grads, by_rows, rtol=1e-7, atol=1e-9 * np.abs(by_rows).max()):
        i, k = map(int, np.unravel_index(np.argmax(np.abs(grads - by_rows)), x.shape))
        raise ValueError(
            f"gradient of {loss.name} is {float(grads[i, k])!r} compiled and"
            f" {float(by_rows[i, k])!r} as plain Python, d/dx[{i}, {k}]"
        )


def _rows(loss: Listwise, numbers: Any, labels: Any) -> list[tuple[Any, Any, Any]]:
    """Value, terms and slopes of each anchor of a matrix, by the functions as plain Python."""
    parameters: tuple[float, ...] = loss.parameters
    of_each = [0.0] * len(labels)
    if loss.survey:
        found = _rows(loss.survey.loss._replace(parameters=parameters), numbers, labels)
        if loss.survey.totals:
            parameters = (*parameters, *[sum(each[k] for each in found) for k in (0, 1)])
        else:
            of_each = [value for value, _, _ in found]
    rows = []
    for i, label in enumerate(labels):
        others = [j for j in range(len(labels)) if j != i]
        each = {
            j: Candidate(float(numbers[i, j]), bool(labels[j] == label), of_each[j], 1.0)
            for j in others
        }
        known = [sorted(c.s for c in each.values() if c.positive is p) for p in (True, False)]
        extremes = [e for k in known for e in (min(k, default=math.inf), max(k, default=-math.inf))]
        counts = float(len(known[0])), float(len(known[1]))
        row = Row._make((*counts, *extremes, of_each[i], 1.0))
        order = Order(np.array(known[0] + known[1]), len(known[0]), len(known[1]))
        more = (order,) if loss.ordered else ()
        context = loss.start(row, *parameters)
        sums: Any = (0.0,) * loss.sums
        for j in others:
            sums = loss.accumulate(sums, context, each[j], *more)
        value, terms, coefficients = loss.finalize(sums, context, row, *parameters)
        slopes = [0.0] * len(labels)
        for j in others:
            slopes[j] = loss.slope(coefficients, each[j], *more)
        rows.append((value, terms, slopes))
    return rows
