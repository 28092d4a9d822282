"""``value_and_grad`` and ``grad``: a loss as a function that returns its gradients."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fastcos import _hints
from fastcos.api.calls import (
    BATCHED,
    PUBLIC,
    arguments_of,
    check_weight,
    not_compiled,
    planned,
    stated,
)
from fastcos.engine.batch import solve as solve_batch
from fastcos.engine.checks import check_flag
from fastcos.engine.execute import execute
from fastcos.engine.lookup import arrays
from fastcos.engine.problem import Problem
from fastcos.engine.solve import solve
from fastcos.typing import Argnums


@not_compiled
def value_and_grad(loss: Callable[..., Any], argnums: Argnums = None) -> Transformed:
    r"""A function that returns a loss and its gradients, from one pass over the data.

    .. math:: f(\ldots) = \bigl(l,\ (\partial l / \partial x_1, \ldots) \cdot grad\_output\bigr)

    Args:
        loss: A function of this module; ``fastcos.typing.Loss`` is its type.
        argnums: With respect to what: positions or names of embedding arguments, or the name of the
            per-sample weight. None stands for all embedding arguments. One position or name, not
            in a sequence, gives one gradient, not in a tuple.

    Returns:
        ``f(*args, grad_output=None, out=None, accumulate=False, **kwargs) -> (value, grads)``,
        which takes the arguments of ``loss`` and three more; ``help(f)`` lists them.
        ``grad_output`` is the upstream gradient: a scalar, or with ``reduction="none"`` one value
        per sample. ``out`` is the buffers to write the gradients to, or to add them to if they are
        to ``accumulate``, in the order of ``argnums``; they are what is returned then.

        There is one gradient for each array: arguments that are :func:`rows` of one table have one
        between them, of the shape of the table, in the place of the first of them; the name of any
        of them stands for it. A gradient has the shape of its argument, summed over broadcast axes,
        and its dtype (that of the loss where the argument is of integers). ``f`` can be pickled.
        Of Dask arrays value and gradients are lazy, and of one graph: computed together, each chunk
        is read once.

    Raises:
        TypeError: ``loss`` is not a function of this module; ``argnums`` names something that has
            no gradient, such as ``target``; a gradient through a callable distance.
        ValueError: what the loss raises; ``out`` of the wrong shape, read-only, or sharing memory
            with an argument. A failed call leaves ``out`` as it was.

    Example:
        >>> import numpy as np, fastcos
        >>> f = fastcos.value_and_grad(fastcos.cosine_embedding_loss, argnums="input1")
        >>> loss, g1 = f(np.array([[1.0, 0.0]]), np.array([[0.6, 0.8]]), [1])
        >>> g1
        array([[ 0. , -0.8]])

        Two arguments that are rows of one table, and the one gradient of that table:

        >>> E = np.array([[1.0, 0.0], [0.6, 0.8], [5.0, 5.0]])
        >>> f = fastcos.value_and_grad(fastcos.cosine_embedding_loss)
        >>> loss, (g,) = f(fastcos.rows(E, [0]), fastcos.rows(E, [1]), [1])
        >>> g.round(2)
        array([[ 0.  , -0.8 ],
               [-0.64,  0.48],
               [ 0.  ,  0.  ]])
    """
    return Transformed(loss, argnums, valued=True)


@not_compiled
def grad(loss: Callable[..., Any], argnums: Argnums = None) -> Transformed:
    r"""A function that returns the gradients of a loss: :func:`value_and_grad` without the value.

    .. math:: f(\ldots) = (\partial l / \partial x_1, \ldots) \cdot grad\_output

    Args:
        loss: As in :func:`value_and_grad`.
        argnums: As in :func:`value_and_grad`.

    Returns:
        ``f(*args, grad_output=None, out=None, accumulate=False, **kwargs) -> grads``.

    Raises:
        TypeError: as :func:`value_and_grad`.
        ValueError: as :func:`value_and_grad`.

    Example:
        >>> import numpy as np, fastcos
        >>> fastcos.grad(fastcos.hinge_embedding_loss)(np.array([0.25, 2.0]), [-1, -1])
        (array([-0.5,  0. ]),)
    """
    return Transformed(loss, argnums, valued=False)


class Transformed:
    r"""A function of the arguments of a loss: what :func:`value_and_grad` and :func:`grad` return.

    .. math:: f(\ldots) = \bigl(l,\ (\partial l / \partial x_1, \ldots) \cdot grad\_output\bigr)

    No plain function, for that could not be pickled. Those of one loss and one choice of its
    arguments are equal; none can be changed.
    """

    loss: Any
    state: Callable[..., Problem]
    wanted: tuple[str, ...]
    alone: bool
    valued: bool

    def __init__(self, loss: Callable[..., Any], argnums: Argnums, *, valued: bool) -> None:
        # torch's functions of listwise losses, with options that are not for arrays.
        loss = getattr(loss, "of_arrays", loss)
        if loss not in PUBLIC:
            raise TypeError(f"loss must be a function of fastcos, got {loss!r}")
        alone = isinstance(argnums, (int, str))
        self.__dict__.update(
            _described(loss, valued, alone),
            loss=loss,
            state=loss.__wrapped__,  # type: ignore[union-attr]
            wanted=_wanted(loss, argnums),
            alone=alone,
            valued=valued,
        )

    @not_compiled
    def __call__(
        self,
        /,
        *args: Any,
        grad_output: Any = None,
        out: Any = None,
        accumulate: bool = False,
        **kwargs: Any,
    ) -> Any:
        """The gradients of a call of the loss, and its value."""
        wanted, alone = self.wanted, self.alone
        buffers: Any = ()
        known = None
        if out is not None:
            buffers = (out,) if alone and not isinstance(out, (tuple, list)) else out
        batched = self.loss in BATCHED
        if not batched and accumulate is False and (out is None or _fit(buffers, wanted)):
            known = planned(self.state, wanted, args, kwargs, grad_output, buffers)
        if known is not None:
            value, grads = execute(*known, buffers)
        else:
            problem: Any = stated(self.loss, args, kwargs, "grad_output", "out", "accumulate")
            if not batched:
                check_weight(problem, wanted)
            adds = bool(check_flag("accumulate", accumulate))
            _check_buffers(wanted if batched else arrays(problem, wanted), out, buffers, adds)
            run = solve_batch if batched else solve
            value, grads = run(problem, wanted, grad_output, buffers, accumulate=adds)
        chosen = grads[0] if alone else grads
        return (value, chosen) if self.valued else chosen

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Transformed) and self.__reduce__() == other.__reduce__()

    def __hash__(self) -> int:
        return hash(self.__reduce__())

    def __reduce__(self) -> tuple[Any, ...]:
        argnums = self.wanted[0] if self.alone else self.wanted
        return (value_and_grad if self.valued else grad), (self.loss, argnums)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{self!r} cannot be changed")

    def __repr__(self) -> str:
        transform, (loss, argnums) = self.__reduce__()
        return f"fastcos.{transform.__name__}(fastcos.{loss.__name__}, {argnums!r})"


@functools.cache
def _described(loss: Callable[..., Any], valued: bool, alone: bool) -> dict[str, Any]:
    """What ``help`` and ``inspect`` find of a transformed loss: its arguments and three more."""
    parameters = inspect.signature(loss).parameters.values()
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation="Any")
        for name in ("grad_output", "out")
    ]
    adds = inspect.Parameter("accumulate", more[0].kind, default=False, annotation="bool")
    grads = "Result" if alone else "tuple[Result, ...]"
    returned = f"tuple[Result, {grads}]" if valued else grads
    signature = inspect.Signature([*parameters, *more, adds], return_annotation=returned)
    transform = value_and_grad if valued else grad
    what = "The value and the gradients" if valued else "The gradients"
    value = "is the first of what is returned" if valued else "is not returned"
    doc = f"""{what} of :func:`{loss.__name__}`, as :func:`{transform.__name__}` says.

{loss.__name__}{signature}

``grad_output`` is the upstream gradient, ``out`` the buffers to write the gradients to, or to add
them to if they are to ``accumulate``. What follows is the help of the loss itself, whose value
{value}:

{inspect.getdoc(loss)}"""
    return {
        "__name__": loss.__name__,
        "__qualname__": loss.__qualname__,
        "__doc__": doc,
        "__wrapped__": loss,
        "__signature__": signature,
    }


def _fit(buffers: Any, wanted: Sequence[str]) -> bool:
    """Whether there is one buffer for each gradient."""
    return isinstance(buffers, (tuple, list)) and len(buffers) == len(wanted)


def _check_buffers(wanted: Sequence[str], out: Any, buffers: Any, accumulate: bool) -> None:
    """Raises unless buffers are as many as the gradients, where they are given or needed."""
    if out is None and accumulate:
        raise TypeError("accumulate adds gradients to what is in out, and needs out to be given")
    if out is not None and not _fit(buffers, wanted):
        length = f" of length {len(out)}" if isinstance(out, (tuple, list)) else ""
        raise TypeError(
            f"out must hold one buffer for each of {', '.join(wanted)}, got a"
            f" {type(out).__name__}{length}"
        )


def _wanted(loss: Callable[..., Any], argnums: Argnums) -> tuple[str, ...]:
    """The names that ``argnums`` stands for: each of something with a gradient, and once."""
    names, weights = _differentiable(loss)
    if argnums is None:
        return names
    several = [argnums] if isinstance(argnums, (int, str)) else argnums
    if not isinstance(several, Iterable):
        raise TypeError(f"argnums must be positions or names, got {argnums!r}")
    wanted = []
    for given in several:
        if isinstance(given, int) and not isinstance(given, bool) and 0 <= given < len(names):
            wanted.append(names[given])
        elif isinstance(given, str) and given in (*names, *weights):
            wanted.append(given)
        else:
            raise TypeError(
                f"argnums must be among {', '.join(names)} (or their positions)"
                f"{''.join(f' and {name}' for name in weights)}; got {given!r}"
                f"{_hints.hint(given, (*names, *weights))}"
            )
    if len(set(wanted)) < len(wanted):
        raise TypeError(f"argnums names an argument twice: {argnums!r}")
    return tuple(wanted)


@functools.cache
def _differentiable(loss: Callable[..., Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a public function has gradients of: its operands, and its weights if it takes any."""
    if loss in BATCHED:
        return BATCHED[loss]
    state: Callable[..., Problem] = loss.__wrapped__  # type: ignore[attr-defined]
    # A problem is stated without a look at its arrays.
    problem = state(*[None] * (state.__code__.co_argcount - len(state.__defaults__ or ())))
    weights = [name for name in arguments_of(state) if name == problem.weight_name]
    return problem.names, tuple(weights)
