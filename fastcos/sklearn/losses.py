"""The losses as a learner sees them: of projected rows, and of what is told of these.

What a loss takes is read off its arguments, so that a new one needs nothing here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from fastcos import _hints, api, distances
from fastcos.distances import Distance
from fastcos.listwise import Listwise
from fastcos.sklearn.samples import Samples
from fastcos.typing import LossName

Array = npt.NDArray[Any]
#: What is told of rows: that some pairs are alike and others not; which of two rows is nearer to a
#: third; which two belong together; or labels, of a loss that compares rows with rows, with
#: proxies that are learned, or with the fixed directions of their classes.
Kind = Literal["pairs", "triplets", "matches", "labels", "proxies", "directions"]
#: Projected rows, proxies if the loss has any, samples -> loss, and the gradient of both.
Evaluate = Callable[[Array, Any, Samples], tuple[Any, Array, Any]]

_KINDS: dict[tuple[str, ...], Kind] = {
    ("input1", "input2", "target"): "pairs",
    ("input", "target"): "pairs",  # of distances
    ("anchor", "positive", "negative"): "triplets",
    ("x1", "x2"): "matches",
    ("x", "labels"): "labels",
    ("x", "labels", "loss"): "labels",  # one of the user's own
    ("x", "proxies", "labels"): "proxies",
    ("labels", "predictions"): "directions",
}
# What a learner takes where nothing is said. Of half of the digits, wine and breast cancer of
# scikit-learn, at a penalty of 0.03, 1-NN accuracy on the other half is 0.1 to 1.1 points higher
# than with the 0.1 that the loss has, which learns the first half by heart; cross-validation within
# that half prefers it, too (``python -m bench learners``).
_DEFAULTS: dict[str, dict[str, Any]] = {"supervised_contrastive_loss": {"temperature": 0.2}}
# They are one for each sample, or other rows, which are not those that are projected.
_NOT_OPTIONS = {"axis", "weight", "weights", "ref", "ref_labels", "validate"}


class Loss(NamedTuple):
    """A loss with its options."""

    name: str
    kind: Kind
    evaluate: Evaluate
    distance: str | Distance  # what it compares rows by


def _arguments(function: Any, kind: Any) -> tuple[str, ...]:
    return tuple(p.name for p in inspect.signature(function).parameters.values() if p.kind == kind)


_POSITIONAL, _NAMED = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
#: Those that a learner takes by name.
LOSSES: dict[str, Any] = {
    name: getattr(api, name) for name in get_args(LossName) if name.endswith("_loss")
}
KINDS: dict[str, Kind] = {
    name: _KINDS[_arguments(function, _POSITIONAL)] for name, function in LOSSES.items()
}


def loss_of(given: Any, options: Any) -> Loss:
    """The loss that ``loss`` and ``loss_options`` of a learner stand for; raises for others."""
    if isinstance(given, Listwise):
        options = _checked("the loss", api.listwise_loss, options, ())
        function: Any = api.value_and_grad(api.listwise_loss, "x")

        def own(z: Array, proxies: Any, samples: Samples) -> tuple[Any, Array, Any]:
            return *function(z, samples.told, given, **options), None

        return Loss("the loss", "labels", own, options.get("distance", "cosine"))
    name, function = _found(given)
    kind = KINDS[name]
    more: tuple[str, ...] = ()
    if name == "hinge_embedding_loss" or "distance_function" in _arguments(function, _NAMED):
        more = ("distance",)
    options = _DEFAULTS.get(name, {}) | _checked(name, function, options, more)
    return Loss(name, kind, _evaluation(function, kind, options), _distance(function, options))


def _found(given: Any) -> tuple[str, Any]:
    if isinstance(given, str):
        for name in (given, f"{given}_loss"):
            if name in LOSSES:
                return name, LOSSES[name]
        short = [name.removesuffix("_loss") for name in LOSSES]
        raise ValueError(
            f"loss must be one of {', '.join(short)}, or a function of fastcos, or a"
            f" fastcos.Listwise; got {given!r}{_hints.hint(given.removesuffix('_loss'), short)}"
        )
    for name, function in LOSSES.items():
        if given is function:
            return name, function
    raise TypeError(
        f"loss must be a loss of fastcos by name, its function or a fastcos.Listwise; got {given!r}"
    )


def _checked(name: str, function: Any, options: Any, more: tuple[str, ...]) -> dict[str, Any]:
    """The options of a loss by name; raises for those that it does not have."""
    if options is None:
        options = {}
    if not isinstance(options, Mapping):
        raise TypeError(
            f"loss_options must be None or a dict of options of the loss, got {options!r}"
        )
    known = [each for each in _arguments(function, _NAMED) if each not in _NOT_OPTIONS]
    known += [each for each in more if each not in known]
    for option in options:
        if option not in known:
            hint = _hints.hint(option, known) or "."
            raise ValueError(
                f"loss_options: {name} has no option {option!r}{hint} It has {', '.join(known)}"
            )
    if options.get("reduction") == "none":
        raise ValueError("loss_options: reduction must give one number, got 'none'")
    found = dict(options)
    if "distance_function" in known and "distance" in found:
        if "distance_function" in found:
            raise ValueError("loss_options has both distance and distance_function: give one")
        found["distance_function"] = found.pop("distance")
    return found


def _distance(function: Any, options: Mapping[str, Any]) -> str | Distance:
    """What a loss compares rows by."""
    parameters = inspect.signature(function).parameters
    of: dict[str, Any] = {name: parameter.default for name, parameter in parameters.items()}
    of |= options
    if "p" in of:
        return distances.lp(of["p"], of["eps"])
    if "distance_function" in of:
        return of["distance_function"] or distances.euclidean(1e-6)
    if "distance" in of or parameters.keys() >= {"input", "target"}:
        return of.get("distance", "euclidean")  # type: ignore[no-any-return]
    if of.get("normalize") is False:
        return "dot"
    return distances.cosine(of.get("eps", 0.0))


# --------------------------------------------------------------------------------------------------
# How each kind is evaluated: nothing is gathered where the loss takes rows of a table.
# --------------------------------------------------------------------------------------------------


def _evaluation(function: Any, kind: Kind, options: dict[str, Any]) -> Evaluate:
    if kind == "pairs" and "input" in _arguments(function, _POSITIONAL):
        return _of_distances(function, options)
    if kind == "matches":
        return _of_matches(function, options)
    only: Any = {"labels": "x", "directions": "predictions"}.get(kind)
    loss_and_grad: Any = api.value_and_grad(function, only)

    def of_table(z: Array, proxies: Any, samples: Samples) -> tuple[Any, Array, Any]:
        operands = [api.rows(z, each) for each in samples.rows.T]
        told = () if samples.told is None else (samples.told,)
        value, (dz,) = loss_and_grad(*operands, *told, **options)
        return value, dz, None

    def of_labels(z: Array, proxies: Any, samples: Samples) -> tuple[Any, Array, Any]:
        return *loss_and_grad(z, samples.told, **options), None

    def of_proxies(z: Array, proxies: Any, samples: Samples) -> tuple[Any, Array, Any]:
        value, (dz, slope) = loss_and_grad(z, proxies, samples.told, **options)
        return value, dz, slope

    def of_directions(z: Array, proxies: Any, samples: Samples) -> tuple[Any, Array, Any]:
        towards: Any = samples.told
        return *loss_and_grad(api.rows(proxies, towards), z, **options), None

    if kind == "labels":
        return of_labels
    if kind == "proxies":
        return of_proxies
    return of_directions if kind == "directions" else of_table


def _of_distances(function: Any, options: dict[str, Any]) -> Evaluate:
    """Of a loss of distances: two steps, the second takes the gradient of the first."""
    options = dict(options)
    distance = options.pop("distance", "euclidean")
    loss_and_grad = api.value_and_grad(function, "input")
    paired: Any = api.paired_distance
    distance_grad: Any = api.grad(api.paired_distance)

    def evaluate(z: Array, proxies: Any, samples: Samples) -> tuple[Any, Array, Any]:
        pairs = [api.rows(z, each) for each in samples.rows.T]
        far = paired(*pairs, distance)
        value, slope = loss_and_grad(far, samples.told, **options)
        (dz,) = distance_grad(*pairs, distance, grad_output=slope)
        return value, dz, None

    return evaluate


def _of_matches(function: Any, options: dict[str, Any]) -> Evaluate:
    """Of a loss of every first row with every second one, which takes arrays."""
    loss_and_grad = api.value_and_grad(function)

    def evaluate(z: Array, proxies: Any, samples: Samples) -> tuple[Any, Array, Any]:
        value, slopes = loss_and_grad(*(z[each] for each in samples.rows.T), **options)
        dz = np.zeros_like(z)
        for each, slope in zip(samples.rows.T, slopes, strict=True):
            np.add.at(dz, each, slope)
        return value, dz, None

    return evaluate


def similarity(loss: Loss, z: Array, pairs: Array) -> Array:
    """How alike the rows of each pair are by the distance of the loss: more is more alike.

    One minus the distance where that is one minus a similarity, else its negative.
    """
    distance = loss.distance
    name = distance.name if isinstance(distance, Distance) else distance
    if name.startswith("normalized_"):
        norms = np.linalg.norm(z, axis=1, keepdims=True)
        z = np.divide(z, norms, out=np.zeros_like(z), where=norms > 0)
        distance = name.removeprefix("normalized_")
    first, second = (api.rows(z, each) for each in pairs.T)
    found: Array = np.asarray(api.paired_distance(first, second, distance))  # type: ignore[arg-type]
    return 1 - found if name in ("cosine", "dot") else -found
