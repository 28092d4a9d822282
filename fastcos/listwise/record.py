"""What a listwise loss is: the record of its functions, here :class:`Listwise`.

Its functions see one anchor and its similarities, or distances, to all candidates. The loops that
call them (:mod:`fastcos.kernels.cpu.listwise`) know where a row of similarities comes from and what
becomes of the slopes; nothing of that is known here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

#: What the numbers of a row are: the nearer the greater, or the nearer the less.
SIMILARITY, DISTANCE = "similarity", "distance"


class Row(NamedTuple):
    """What is known of the candidates of an anchor before they are gone over; all of it float64."""

    positives: Any  # how many candidates have the label of the anchor
    negatives: Any  # how many have another
    least_positive: Any  # the least number among the positives; infinite where there are none
    greatest_positive: Any  # the greatest; minus infinity where there are none
    least_negative: Any  # the same of the negatives
    greatest_negative: Any
    number: Any  # what the survey has found of the anchor, 0 without one
    scale: Any  # what the slopes of the anchor are multiplied by


class Candidate(NamedTuple):
    """One candidate of an anchor; numbers are of the dtype that is computed in."""

    s: Any  # its similarity to the anchor, or the distance
    positive: Any  # whether it has the label of the anchor
    number: Any  # what the survey has found of it, 0 without one
    scale: Any  # what the slopes of the candidate, as an anchor, are multiplied by; 0 without one


class Order(NamedTuple):
    """The numbers of a row in ascending order, for losses that ask for them."""

    values: Any  # an array: those of the positives, then those of the negatives
    positives: Any  # how many positives there are
    negatives: Any  # how many negatives


class Survey(NamedTuple):
    """A first look at all similarities, for losses whose slopes depend on more than one row.

    Args:
        loss: What is computed of each row, a listwise loss whose slopes are not asked for. It has
            the parameters of the loss that it is for.
        totals: If true, the sums over all anchors of what its ``finalize`` returns, value and
            terms, are two parameters more of the loss. Otherwise candidates are its anchors, and
            their values the ``number`` of each.
    """

    loss: Listwise
    totals: bool = False


class Listwise(NamedTuple):
    r"""A loss of an anchor and all candidates, as scalar functions that the loops are built around.

    .. math:: l_i = \mathrm{finalize}\Bigl(\sum_j \mathrm{terms}(s_{ij})\Bigr), \quad
        \frac{\partial l_i}{\partial s_{ij}} = \mathrm{slope}(s_{ij})

    Args:
        name: What error messages call it.
        start: ``(row, *parameters) -> context``: a tuple of numbers for the functions that go over
            the candidates, made of the counts and extremes in ``row`` (:class:`Row`). What it
            returns is rounded to the dtype that is computed in.
        accumulate: ``(sums, context, candidate) -> sums``: one candidate (:class:`Candidate`) taken
            in. ``sums`` begin with 0, and are added up in float64 after every 256 candidates; the
            compiler may reorder what is added.
        finalize: ``(sums, context, row, *parameters) -> (value, terms, coefficients)``: the loss of
            the anchor, how many terms it is the sum of, which ``reduction="mean"`` divides by, and
            a tuple of numbers for ``slope``.
        slope: ``(coefficients, candidate) -> dl/ds``.
        sums: How many sums there are.
        of: What the numbers of a row are, ``"similarity"`` or ``"distance"``.
        ordered: If true, ``accumulate`` and ``slope`` are given one argument more, an
            :class:`Order`: all numbers of the row, sorted.
        survey: A :class:`Survey`, if there has to be one. Where it finds a number for each
            candidate, slopes are not multiplied by the weight of their anchor: ``row.scale`` and
            ``candidate.scale`` are there to do that.
        learnable: ``(sum of slopes, sum of s * slope, *parameters) -> (dl/dparameter, ...)``, one
            for each parameter, where these follow from the two sums; None where they do not. Of
            use to the losses of this library: :func:`listwise_loss` has no gradient of parameters.
        parameters: Numbers handed to ``start``, ``finalize`` and ``learnable``. They are arguments
            of the compiled kernel, so a new value compiles nothing.

    The functions may call plain Python functions of theirs, ``math``, and the exponentials of
    :mod:`fastcos.listwise`, which the compiler vectorises. Floats written into ``accumulate`` and
    ``slope`` make float64 of float32 numbers, which takes twice the time: put them in the context.

    Example:
        The sum of squares of what the similarities of different rows are above a margin:

        >>> import numpy as np, fastcos
        >>> apart = fastcos.Listwise(
        ...     "apart",
        ...     start=lambda row, margin: (margin,),
        ...     accumulate=lambda sums, c, each: (
        ...         sums[0] + (0.0 if each.positive else max(each.s - c[0], 0.0) ** 2),
        ...     ),
        ...     finalize=lambda sums, c, row, margin: (sums[0], 1.0, (margin,)),
        ...     slope=lambda c, each: 0.0 if each.positive else 2 * max(each.s - c[0], 0.0),
        ...     parameters=(0.5,),
        ... )
        >>> fastcos.check_listwise(apart)
        >>> x = np.array([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
        >>> round(float(fastcos.listwise_loss(x, [0, 1, 1], apart)), 4)
        0.0667
    """

    name: str
    start: Callable[..., tuple[Any, ...]]
    accumulate: Callable[..., tuple[Any, ...]]
    finalize: Callable[..., tuple[Any, Any, tuple[Any, ...]]]
    slope: Callable[..., Any]
    sums: int = 1
    of: str = SIMILARITY
    ordered: bool = False
    survey: Survey | None = None
    learnable: Callable[..., tuple[Any, ...]] | None = None
    parameters: tuple[float, ...] = ()

    @property
    def functions(self) -> tuple[Any, ...]:
        """What a kernel is compiled for."""
        return self.start, self.accumulate, self.finalize, self.slope
