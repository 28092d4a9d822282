"""A distance as a function for the user's own compiled code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, overload

from fastcos.distances import Distance, DistanceName
from fastcos.engine.checks import check_flag
from fastcos.engine.metric import metric
from fastcos.typing import Array


class _WithGradient(Protocol):
    """What comes of ``gradient=True``."""

    def __call__(self, x: Array, y: Array, out: Array | None = None) -> tuple[float, Array]: ...


@overload
def compiled(
    distance: DistanceName | Distance, gradient: Literal[False] = ...
) -> Callable[[Array, Array], float]: ...
@overload
def compiled(distance: DistanceName | Distance, gradient: Literal[True]) -> _WithGradient: ...
@overload
def compiled(distance: DistanceName | Distance, gradient: bool) -> Callable[..., Any]: ...
def compiled(distance: DistanceName | Distance, gradient: bool = False) -> Callable[..., Any]:
    r"""A distance as a function that Numba has compiled, for code of one's own.

    .. math:: f(x, y) = d(x, y) \quad\text{or}\quad
        f(x, y) = \left(d(x, y), \frac{\partial d}{\partial x}\right)

    It can be called in ``@njit`` and in ``@cuda.jit`` functions, wherever a metric may be a Numba
    function or any callable (pynndescent, UMAP, scikit-learn), and from Python. Its sums are in
    float64 and rows are read again where that is needed, as in the other functions of fastcos:
    near 0 and at any scale it is as accurate as they are, to the last bits, in which they may
    differ.

    Equal distances give the same function, so that what calls it is compiled once. It can be
    pickled as far as the distance can, and is compiled at the first call for each dtype and layout.

    Args:
        distance: A name (``fastcos.distances.DISTANCES``, with its default parameters) or a
            :class:`Distance`, whose parameters are part of the function.
        gradient: Whether the function returns the gradient, too, as the metrics of UMAP with
            gradients do.

    Returns:
        ``f(x, y)`` of two rows ``(D,)``, contiguous or not, of float32, float64, integers or bool,
        which need not be of one dtype; on a GPU of float16, too. It returns a float64 number. With
        ``gradient=True`` it is ``f(x, y, out=None)``, which returns that number and ``out``, the
        gradient with respect to x ``(D,)``: a new float64 array if none is given. On a GPU, which
        has no new arrays, ``out`` must be given.

    Raises:
        ValueError: an unknown name. When the function is called: rows of different lengths, or an
            ``out`` of another one; on a GPU, which has no exceptions, all results are NaN then.
        TypeError: neither a name nor a Distance, or a Distance with a mistake in it.

    Singular points: those of the distance.

    Example:
        >>> import numba, numpy as np, fastcos
        >>> cosine = fastcos.compiled("cosine")
        >>> @numba.njit
        ... def nearest(row, rows):
        ...     return np.array([cosine(row, other) for other in rows]).argmin()
        >>> nearest(np.array([1.0, 2.0]), np.array([[2.0, 1.0], [3.0, 6.0], [1.0, 0.0]]))
        1
        >>> d, slope = fastcos.compiled("euclidean", gradient=True)(np.zeros(2), np.array([3.0, 4]))
        >>> float(d), slope
        (5.0, array([-0.6, -0.8]))
    """
    return metric("distance", distance, bool(check_flag("gradient", gradient)))
