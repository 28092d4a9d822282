"""A user's distance against finite differences, and its refinements against the plain functions.

This runs kernels; what can be said without them is in ``faults``.
"""

import math
from typing import Any

import numpy as np

from fastcos.distances import faults
from fastcos.distances.record import Distance


def check_distance(
    distance: Distance,
    *,
    features: int = 7,
    samples: int = 8,
    low: float = -1.0,
    high: float = 1.0,
    rtol: float = 1e-6,
    seed: int = 0,
) -> None:
    r"""Checks the gradient of a distance against finite differences of its value.

    .. math:: \frac{\partial d}{\partial x_k}
        \approx \frac{8 (d_{+h} - d_{-h}) - (d_{+2h} - d_{-2h})}{12 h}

    Draws rows, measures them with the functions as plain Python, differentiates, and then runs
    the compiled kernel on the same rows, which must give the same values and gradients. Components
    with a kink within reach of the differences are left out.

    Args:
        distance: What to check.
        features: The length of a row.
        samples: How many pairs of rows.
        low: Components are drawn uniformly from [low, high); choose a range inside the domain.
        high: See ``low``.
        rtol: Largest error allowed, relative to the largest component of the sample's gradient.
        seed: Of the random numbers.

    Raises:
        ValueError: a gradient is off, or the compiled kernel disagrees with the Python functions
            (the message shows the worst component), or :class:`~fastcos.distances.Linear` with
            ``gradient``, or float16 rows for which ``float32_sums`` or ``float32_gradient`` holds
            with float64 ones, or most components are at a kink.
        TypeError: not a Distance, or one whose functions do not take or return what they should.
        NameError, AttributeError, LookupError: what they raise.

    Example:
        >>> import fastcos
        >>> fastcos.check_distance(fastcos.distances.canberra(), low=0.1)
        >>> wrong = fastcos.distances.sqeuclidean()._replace(
        ...     gradient=lambda state, d, x, y: (x - y, y - x)
        ... )
        >>> fastcos.check_distance(wrong)
        Traceback (most recent call last):
            ...
        ValueError: gradient of sqeuclidean is wrong: ... differences give ...
    """
    if not isinstance(distance, Distance):
        raise TypeError(f"distance must be a fastcos.Distance, got {type(distance).__name__}")
    faults.floats(distance)
    faults.check(distance, doubtful=True)
    from fastcos.api import paired_distance, value_and_grad

    rng = np.random.default_rng(seed)
    x, y = rng.uniform(low, high, (2, samples, features))
    given = np.empty((2, samples, features))
    coarse, fine = np.empty_like(given), np.empty_like(given)
    values = np.empty(samples)
    step = 1e-3 * (high - low)
    for i in range(samples):
        values[i], given[:, i] = _evaluate(distance, x[i], y[i])
        for side, row in enumerate((x[i], y[i])):
            for k in range(features):
                coarse[side, i, k] = _difference(distance, x[i], y[i], row, k, step)
                fine[side, i, k] = _difference(distance, x[i], y[i], row, k, step / 2)
    # Two step lengths disagree where a kink lies between them: nothing can be said there.
    smooth = np.abs(coarse - fine) <= 0.1 * rtol * np.abs(fine).max()
    if smooth.mean() < 0.5:
        raise ValueError(
            f"{distance.name} is not smooth enough on [{low}, {high}) to be checked by differences"
        )
    _compare(distance, "gradient", given, np.where(smooth, fine, given), rtol, "differences give")

    functions = distance.functions
    if functions.linear:
        linear = np.stack([_linear(distance, *rows) for rows in zip(x, y, strict=True)], axis=1)
        _compare(distance, "linear gradient", linear, given, 1e-10, "gradient gives")
    compiled, grads = value_and_grad(paired_distance)(x, y, distance)
    if not np.allclose(compiled, values, rtol=1e-12, atol=0):
        worst = int(np.argmax(np.abs(compiled - values)))
        raise ValueError(
            f"value of {distance.name} is {compiled[worst]!r} compiled and {values[worst]!r} as"
            f" plain Python, sample {worst}"
        )
    _compare(distance, "compiled gradient", np.array(grads), given, 1e-10, "plain Python gives")
    if functions.linear:
        # Of use in float32 only. Away from singular points the rows lose 2⁻²⁴ by the conversion.
        narrow = value_and_grad(paired_distance)(np.float32(x), np.float32(y), distance)[1]
        _compare(distance, "float32 gradient", np.array(narrow), given, 1e-4, "float64 gives")
    if functions.suffices or functions.narrow:
        # Rows of one stretch of numbers, and of several.
        _check_half(distance, *rng.uniform(low, high, (2, samples, features)))
        _check_half(distance, *rng.uniform(low, high, (2, samples, 1000)))


def _check_half(distance: Distance, x: Any, y: Any) -> None:
    """Float16 rows, in float32 where that will do, against the same rows in float64."""
    from fastcos.api import paired_distance, value_and_grad

    with np.errstate(over="ignore"):
        x, y = x.astype(np.float16), y.astype(np.float16)
        (half, grads), (full, exact) = (
            value_and_grad(paired_distance)(x.astype(dtype), y.astype(dtype), distance)
            for dtype in (np.float16, np.float64)
        )
        rounded = full.astype(np.float16)
    # 2⁻⁹ is two units in the last place, 2⁻²⁴ the smallest number.
    wrong = np.flatnonzero(~np.isclose(half, rounded, rtol=2.0**-9, atol=2.0**-24, equal_nan=True))
    if wrong.size:
        i = wrong[0]
        raise ValueError(
            f"float32_sums of {distance.name} is wrong: float16 rows have distance {half[i]!r}, and"
            f" {full[i]!r} in float64, sample {i} of {x.shape[1]} features"
        )
    if distance.functions.narrow:
        largest, wide = float(np.finfo(np.float16).max), np.array(exact)
        exact, given = (
            np.where(np.isnan(wide), 0, np.clip(np.array(g, dtype=np.float64), -largest, largest))
            for g in (exact, grads)
        )
        given = np.where(abs(given - exact) <= 2.0**-24, exact, given)
        _compare(distance, "float32_gradient", given, exact, 2.0**-9, "float64 gives")


def _difference(distance: Distance, x: Any, y: Any, row: Any, k: int, step: float) -> float:
    """The derivative with respect to ``row[k]`` by five points; the error is of order step⁴."""
    at = row[k]
    ahead = []
    for multiple in (1, -1, 2, -2):
        row[k] = at + multiple * step
        ahead.append(_evaluate(distance, x, y)[0])
    row[k] = at
    return (8 * (ahead[0] - ahead[1]) - (ahead[2] - ahead[3])) / (12 * step)


def _evaluate(distance: Distance, x: Any, y: Any) -> tuple[float, Any]:
    """Value and gradient by the definition, as plain Python in float64."""
    d, state = _measure(distance, x, y)
    pairs = [distance.gradient(state, d, a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    return d, np.array(pairs, dtype=np.float64).T


def _linear(distance: Distance, x: Any, y: Any) -> Any:
    """The gradient as its linear coefficients have it."""
    coefficients = distance.functions.linear
    assert coefficients
    d, state = _measure(distance, x, y)
    rx, ux, ry, uy, e = coefficients(state, d)
    return np.array([rx * (ux * x - y + e), ry * (uy * y - x - e)])


def _measure(distance: Distance, x: Any, y: Any) -> tuple[Any, Any]:
    """The distance, and the state that its gradient is given."""
    passes, prepare = distance.refinements.further_passes, distance.refinements.prepare
    state = distance.init(0.0, *distance.parameters)
    for xk, yk in zip(x.tolist(), y.tolist(), strict=True):
        state = distance.accumulate(state, xk, yk)
    again, state = passes.revisit(state) if passes else (False, state)
    while passes and again:
        for xk, yk in zip(x.tolist(), y.tolist(), strict=True):
            state = passes.reaccumulate(state, xk, yk)
        again, state = passes.revisit(state)
    d = distance.finalize(state)
    return d, prepare(state, d) if prepare else state


def _compare(
    distance: Distance, what: str, given: Any, expected: Any, rtol: float, source: str
) -> None:
    scale = np.nanmax(np.abs(expected), axis=(0, 2), keepdims=True)
    error = np.abs(given - expected) / np.where(scale > 0, scale, 1)
    error = np.where(np.isnan(given), math.inf, error)
    side, i, k = np.unravel_index(np.argmax(error), error.shape)
    if error[side, i, k] > rtol:
        raise ValueError(
            f"{what} of {distance.name} is wrong: in sample {i}, d/d{'xy'[side]}[{k}] is"
            f" {float(given[side, i, k])!r}, {source} {float(expected[side, i, k])!r}"
        )
