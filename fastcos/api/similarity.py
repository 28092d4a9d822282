"""The similarity, and any distance, of row i of one array and row i of another.

Each function states its problem in terms of the records; ``calls`` makes a public function of that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import numpy.typing as npt

from fastcos import losses
from fastcos.api.calls import public
from fastcos.distances import angles
from fastcos.engine.problem import Problem, resolve_distance
from fastcos.typing import Array, ArrayLike, DistanceLike, IsTensor, Result, Tensor


@overload
def cosine_similarity(
    x1: IsTensor, x2: ArrayLike, *, axis: int = ..., eps: float = ...
) -> Tensor: ...
@overload
def cosine_similarity(
    x1: npt.ArrayLike, x2: ArrayLike, *, axis: int = ..., eps: float = ...
) -> Array: ...
@public
def cosine_similarity(x1: ArrayLike, x2: ArrayLike, *, axis: int = -1, eps: float = 0.0) -> Result:
    r"""The cosine of the angle between rows.

    .. math:: c = \frac{x_1 \cdot x_2}{\sqrt{(x_1 \cdot x_1 + eps)(x_2 \cdot x_2 + eps)}}

    Always within [-1, 1], exactly 1 for equal rows, and the same bits for rows multiplied by powers
    of two (``eps=0``).

    Args:
        x1: Rows ``(..., D)``.
        x2: Rows ``(..., D)``, leading axes broadcast with those of ``x1``.
        axis: The feature axis.
        eps: Added to both squared norms.

    Returns:
        The similarity of each sample, of the broadcast leading shape.

    Raises:
        ValueError: shapes that do not fit, an empty feature axis, a negative ``eps``.
        TypeError: complex, object, string, masked or sparse input.

    Singular points: with ``eps=0`` a zero row has similarity 0 with everything, and gradient 0.

    Example:
        >>> import numpy as np, fastcos
        >>> query = np.array([1.0, 0.0])
        >>> gallery = np.array([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])
        >>> fastcos.cosine_similarity(query, gallery)
        array([ 1.,  0., -1.])
    """
    distance = angles.cosine_similarity(eps)
    return Problem(losses.identity, distance, ("x1", "x2"), (x1, x2), axis=axis, reduction="none")


@overload
def paired_distance(
    x1: IsTensor,
    x2: ArrayLike,
    distance: DistanceLike | Callable[[Any, Any], Any] = ...,
    *,
    axis: int = ...,
) -> Tensor: ...
@overload
def paired_distance(
    x1: npt.ArrayLike,
    x2: ArrayLike,
    distance: DistanceLike | Callable[[Any, Any], Any] = ...,
    *,
    axis: int = ...,
) -> Array: ...
@public
def paired_distance(
    x1: ArrayLike,
    x2: ArrayLike,
    distance: DistanceLike | Callable[[Any, Any], Any] = "euclidean",
    *,
    axis: int = -1,
) -> Result:
    r"""The distance between row i of one array and row i of another.

    .. math:: d_i = d(x_{1,i}, x_{2,i})

    Args:
        x1: Rows ``(..., D)``.
        x2: Rows ``(..., D)``, leading axes broadcast with those of ``x1``.
        distance: A name (``fastcos.distances.DISTANCES``, with its default parameters) or a
            :class:`Distance`.
        axis: The feature axis.

    Returns:
        The distance of each sample, of the broadcast leading shape.

    Raises:
        ValueError: an unknown name, shapes that do not fit, an empty feature axis.
        TypeError: complex, object, string, masked or sparse input.

    Singular points: those of the distance.

    Example:
        >>> import numpy as np, fastcos
        >>> x1, x2 = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[3.0, 4.0], [1.0, 3.0]])
        >>> fastcos.paired_distance(x1, x2, "manhattan")
        array([7., 2.])
        >>> fastcos.paired_distance(x1, x2, fastcos.distances.lp(3)).round(3)
        array([4.498, 2.   ])
    """
    found = resolve_distance("distance", distance)
    return Problem(losses.identity, found, ("x1", "x2"), (x1, x2), axis=axis, reduction="none")
