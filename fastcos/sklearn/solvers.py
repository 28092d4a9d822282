"""How a projection is found: the objective, and the two ways to its minimum.

Parameters are one flat array of float64, components before proxies, whatever the rows are of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from fastcos.engine.libraries import adapter_of
from fastcos.sklearn.losses import Loss
from fastcos.sklearn.samples import Integers, Samples, part, renumbered

Array = npt.NDArray[Any]
Float64 = npt.NDArray[np.float64]
#: What is told of each iteration: its number, from 1 on, and the loss.
Report = Callable[[int, float], object]


class Objective(NamedTuple):
    """What is minimised: a loss, and ``penalty`` times the squared distance from the start."""

    loss: Loss
    start: Float64  # (K, D)
    directions: Float64 | None  # (C, K): proxies that are not learned
    penalty: float


class Found(NamedTuple):
    """Where a solver ended."""

    flat: Float64
    curve: list[float]  # the objective after each iteration
    said: str  # why it ended before it had converged; empty if it had


def split(objective: Objective, flat: Float64) -> tuple[Float64, Any]:
    """Components and proxies."""
    count, shape = objective.start.size, objective.start.shape
    proxies = flat[count:].reshape(-1, shape[0]) if len(flat) > count else objective.directions
    return flat[:count].reshape(shape), proxies


def evaluate(
    objective: Objective, flat: Float64, x: Array, samples: Samples
) -> tuple[float, Float64]:
    """The objective and its gradient: of z = x @ components.T that is dz.T @ x, one product.

    Raises:
        ValueError: the loss or its gradient is not finite.
    """
    components, proxies = split(objective, flat)
    z = x @ components.T.astype(x.dtype)
    given = None if proxies is None else proxies.astype(x.dtype)
    value, dz, slope = objective.loss.evaluate(z, given, samples)
    moved = components - objective.start
    gradient = np.empty_like(flat)
    gradient[: moved.size] = (dz.T @ x + 2 * objective.penalty * moved).ravel()
    if slope is not None:
        gradient[moved.size :] = slope.ravel()
    if not (np.isfinite(value) and np.isfinite(gradient).all()):
        raise ValueError(
            f"{objective.loss.name} is {float(value)}, or its gradient is not finite: the projected"
            " rows are too large for it, or where its distance is not defined; scale X"
        )
    return float(value) + objective.penalty * float(np.sum(moved**2)), gradient


def rows_of(x: Array, mean: Array, used: Integers) -> Array:
    """Rows less the mean. ``used`` ascends, and names none twice."""
    return (x if len(used) == len(x) else x[used]) - mean


# Up to this many multiplications in a product one BLAS thread does it. Its others, which wait
# spinning for the next product, would take the cores from Numba's threads: of 898 x 64 x 32
# an evaluation takes 14 ms on 2 cores, and not 6. One thread does 2**28 in 26 ms.
_SMALL = 1 << 28


def _blas_threads(objective: Objective, count: int) -> AbstractContextManager[Any]:
    """One thread for small products, which makes results not depend on their number either."""
    components, features = objective.start.shape
    longest = max(features, count if objective.loss.kind in ("labels", "matches") else 0)
    small = count * longest * components <= _SMALL
    products: Any = adapter_of(np.ndarray)
    return (small and products.products_on_one_thread()) or nullcontext()


def lbfgs(
    objective: Objective,
    flat: Float64,
    x: Array,
    mean: Array,
    samples: Samples,
    *,
    max_iter: int,
    tol: float,
    report: Report,
) -> Found:
    """L-BFGS over all samples."""
    used, samples = renumbered(samples)
    rows = rows_of(x, mean, used)
    curve: list[float] = []

    def seen(intermediate_result: Any) -> None:
        curve.append(float(intermediate_result.fun))
        report(len(curve), curve[-1])

    # The loss of float32 rows is rounded to 6e-8 of it: SciPy's 2e-9 would never be reached.
    least = 2e-9 if rows.dtype == np.float64 else 1e-6
    # Proxies are as large as projected rows, components as rotations are: in units of their own.
    units = np.ones_like(flat)
    proxies = slice(objective.start.size, None)
    if flat[proxies].size:
        units[proxies] = np.sqrt(np.mean(flat[proxies] ** 2)) or 1.0

    def scaled(reduced: Float64) -> tuple[float, Float64]:
        value, gradient = evaluate(objective, reduced * units, rows, samples)
        return value, gradient * units

    with _blas_threads(objective, len(samples.rows)):
        found = minimize(
            scaled,
            flat / units,
            jac=True,
            method="L-BFGS-B",
            callback=seen,
            options={"maxiter": max_iter, "gtol": tol, "ftol": least, "maxfun": 20 * max_iter},
        )
    if not curve:  # it started at a minimum
        curve.append(float(found.fun))
    said = "" if found.success else str(found.message).strip(" :.")
    return Found(np.asarray(found.x * units), curve, said)


# --------------------------------------------------------------------------------------------------
# Mini-batches.
# --------------------------------------------------------------------------------------------------

_DECAY, _DECAY_OF_SQUARES, _TINY = 0.9, 0.999, 1e-8  # as Kingma and Ba have them
_PATIENCE = 10  # epochs without progress, as scikit-learn's MLPClassifier has them


class Adam(NamedTuple):
    """Parameters on their way, with what Adam keeps of their gradients."""

    flat: Float64
    rate: Float64  # how far a step goes at the most, of each parameter
    mean: Float64
    square: Float64
    steps: int


def adam(objective: Objective, flat: Float64, learning_rate: float) -> Adam:
    """Where it begins: a step is a share of the root mean square of components, or of proxies."""
    count = objective.start.size
    rate = np.empty_like(flat)
    for section in (slice(0, count), slice(count, None)):
        if flat[section].size:
            rate[section] = learning_rate * np.sqrt(np.mean(flat[section] ** 2))
    return Adam(flat, rate, np.zeros_like(flat), np.zeros_like(flat), 0)


def step(state: Adam, gradient: Float64) -> Adam:
    """One step of Adam."""
    flat, rate, mean, square, steps = state
    steps += 1
    mean = _DECAY * mean + (1 - _DECAY) * gradient
    square = _DECAY_OF_SQUARES * square + (1 - _DECAY_OF_SQUARES) * gradient**2
    along = mean / (1 - _DECAY**steps)
    across = np.sqrt(square / (1 - _DECAY_OF_SQUARES**steps)) + _TINY
    return Adam(flat - rate * along / across, rate, mean, square, steps)


def epoch(
    objective: Objective,
    state: Adam,
    x: Array,
    mean: Array,
    samples: Samples,
    batches: Iterator[Integers],
) -> tuple[Adam, float]:
    """A step for each batch of samples; the mean of the objective over them."""
    total = 0.0
    for which in batches:
        used, batch = renumbered(part(samples, which))
        value, gradient = evaluate(objective, state.flat, rows_of(x, mean, used), batch)
        state = step(state, gradient)
        total += value * len(which)
    return state, total / len(samples.rows)


def in_batches(order: Integers, size: int) -> Iterator[Integers]:
    """An order of samples in parts of nearly equal size, each ascending: memory is read onwards."""
    for each in np.array_split(order, -(-len(order) // size)):
        yield np.sort(each)


def sgd(
    objective: Objective,
    state: Adam,
    x: Array,
    mean: Array,
    samples: Samples,
    *,
    rng: np.random.Generator,
    batch_size: int,
    max_iter: int,
    tol: float,
    report: Report,
) -> tuple[Adam, Found]:
    """Epochs of mini-batches, until ten in turn have not been better by ``tol`` than the best."""
    curve: list[float] = []
    best, waited = np.inf, 0
    with _blas_threads(objective, min(batch_size, len(samples.rows))):
        while len(curve) < max_iter and waited < _PATIENCE:
            order = rng.permutation(len(samples.rows))
            batches = in_batches(order, batch_size)
            state, value = epoch(objective, state, x, mean, samples, batches)
            curve.append(value)
            report(len(curve), value)
            waited = waited + 1 if value > best - tol else 0
            best = min(best, value)
    said = "" if waited == _PATIENCE else f"no {_PATIENCE} epochs in turn were without progress"
    return state, Found(state.flat, curve, said)


def one_pass(
    objective: Objective,
    state: Adam,
    x: Array,
    mean: Array,
    samples: Samples,
    *,
    batch_size: int,
) -> tuple[Adam, float]:
    """One epoch in the order given."""
    batches = in_batches(np.arange(len(samples.rows)), batch_size)
    with _blas_threads(objective, min(batch_size, len(samples.rows))):
        return epoch(objective, state, x, mean, samples, batches)
