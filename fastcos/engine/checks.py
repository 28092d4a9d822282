"""Checks of arguments that need no array: options, shapes, and what a sample's number may be."""

import math
import operator
from collections.abc import Sequence
from typing import get_args

import numpy as np

from fastcos import _hints
from fastcos.distances.record import real_number
from fastcos.engine.layout import ArrayLayout, Shape, without
from fastcos.typing import Reduction

REDUCTIONS: tuple[str, ...] = get_args(Reduction)


def check_reduction(reduction: object) -> str:
    """Returns a known reduction or raises with the list of them."""
    if not isinstance(reduction, str) or reduction not in REDUCTIONS:
        raise ValueError(
            f"reduction must be one of {', '.join(REDUCTIONS)}; got {reduction!r}"
            f"{_hints.hint(reduction, REDUCTIONS)}"
        )
    return reduction


def check_finite(name: str, value: object) -> float:
    """Returns a finite float or raises."""
    number = value if type(value) is float else real_number(name, value)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {value!r}")
    return number


def check_axis(axis: object) -> int:
    """Returns an integer or raises."""
    try:
        if not isinstance(axis, bool):
            return operator.index(axis)  # type: ignore[arg-type]
    except TypeError:
        pass
    raise TypeError(f"axis must be an integer, got {axis!r}")


def check_flag(name: str, value: object, optional: bool = False) -> bool | None:
    """Returns True, False or, where it is optional, None, or raises.

    What equals True or False stands for it: 1 and 0, scalars, arrays of no axes.
    """
    if value is True or value is False or (value is None and optional):
        return value
    truth = bool(value)
    if value == truth:
        return truth
    choices = "None, True or False" if optional else "True or False"
    raise TypeError(f"{name} must be {choices}, got {value!r}")


def feature_axis(names: tuple[str, ...], shapes: tuple[Shape, ...], axis: int) -> int:
    """The feature axis counted from the end, the same for all operands.

    A positive ``axis`` counts along the broadcast shape, that is along the operand of highest rank.

    Raises:
        ValueError: an operand is 0-d or lacks the axis, or the axis is empty or of unequal length.
    """
    rank = max(map(len, shapes))
    listing = _listing(names, shapes)
    if min(map(len, shapes)) == 0:
        raise ValueError(f"every operand needs a feature axis, got {listing}")
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is out of range for {listing}")
    from_end = axis if axis < 0 else axis - rank
    lengths = {shape[from_end] for shape in shapes if len(shape) >= -from_end}
    if any(len(shape) < -from_end for shape in shapes) or len(lengths) > 1:
        raise ValueError(f"the feature axis ({axis}) must have one length, got {listing}")
    if lengths == {0}:
        raise ValueError(f"the feature axis ({axis}) must not be empty, got {listing}")
    return from_end


def sample_shape(names: tuple[str, ...], shapes: tuple[Shape, ...], axis: int) -> Shape:
    """The broadcast leading shape: one loss per position.

    Raises:
        ValueError: the leading axes do not broadcast.
    """
    leading = [without(shape, axis) for shape in shapes]
    try:
        return np.broadcast_shapes(*leading)
    except ValueError:
        raise ValueError(
            f"leading axes must be equal or 1, got {_listing(names, shapes)}"
            f" with feature axis {axis}"
        ) from None


def check_rows(name: str, shape: Shape) -> None:
    """Raises unless it is the shape of rows with features."""
    if len(shape) != 2:
        raise ValueError(f"{name} must have shape (rows, features), got {shape}")
    if shape[1] == 0:
        raise ValueError(f"{name} must have features, got shape {shape}")


def check_one_length(names: Sequence[str], shapes: Sequence[Shape]) -> None:
    """Raises unless the rows of two sets have as many features."""
    if shapes[0][1] != shapes[1][1]:
        raise ValueError(
            f"{names[0]} and {names[1]} must have as many features, got shapes {shapes[0]} and"
            f" {shapes[1]}"
        )


def check_per_sample(name: str, shape: Shape, samples: Shape) -> None:
    """Raises unless ``shape`` is () or has the rank of the samples with every axis equal or 1."""
    fits = (
        not shape
        or shape == samples
        or (
            len(shape) == len(samples)
            and all(n in (1, of) for n, of in zip(shape, samples, strict=True))
        )
    )
    if not fits:
        raise ValueError(
            f"{name} must be a scalar or have the shape of the per-sample loss, {samples}, with"
            f" every axis equal or 1; got shape {shape}"
        )


def check_device(name: str, layout: ArrayLayout, device: int) -> None:
    """Raises unless an array is where the operands are."""
    if layout.device != device:
        raise ValueError(
            f"{name} is on device {layout.device}, the operands are on device {device}"
        )


def one_device(names: Sequence[str], layouts: Sequence[ArrayLayout]) -> int:
    """Where all of them are.

    Raises:
        ValueError: they are on two devices.
    """
    device = layouts[0].device
    for name, layout in zip(names, layouts, strict=True):
        if layout.device != device:
            raise ValueError(
                f"arrays on one device only: {names[0]} is on device {device} and {name} on device"
                f" {layout.device}"
            )
    return device


def check_out_fits(name: str, out: ArrayLayout, shape: Shape, dtype: object, device: int) -> None:
    """Raises unless a buffer of the caller's is like the gradient that is to go there."""
    if out.device != device:
        raise ValueError(
            f"out for {name} is on device {out.device}, the operands are on device {device}"
        )
    if out.shape != shape or out.dtype != dtype:
        error = ValueError if out.shape != shape else TypeError
        raise error(
            f"out for {name} must have shape {shape} and dtype {dtype}, got {out.shape} and"
            f" {out.dtype}"
        )


def _listing(names: Sequence[str], shapes: Sequence[Shape]) -> str:
    return ", ".join(f"{n} of shape {s}" for n, s in zip(names, shapes, strict=True))
