"""Writes what type checkers read of the public functions: ``python tests/stubs.py``.

``fastcos/api/__init__.pyi`` is made of the signatures. What a loss returns depends on the library
of its first argument and on the reduction, and so does what ``value_and_grad`` makes of it, which
has three arguments more: overloads that are alike, and that nobody has to keep alike.
"""

import inspect
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent
STUB = ROOT / "fastcos" / "api" / "__init__.pyi"

HEAD = '''"""What type checkers read of the public functions: python tests/stubs.py writes it."""

# ruff: noqa: E501

from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, overload

import numpy as np
import numpy.typing as npt
from torch.distributed import ProcessGroup
from typing_extensions import TypeVar

from fastcos.api.compiled import compiled as compiled
from fastcos.api.rows import RowGradient as RowGradient
from fastcos.api.rows import rows as rows
from fastcos.distances import Distance, DistanceName
from fastcos.listwise import Listwise
from fastcos.typing import (
    Array,
    ArrayLike,
    DistanceLike,
    IsLazy,
    IsTensor,
    ListwiseDistance,
    Reduced,
    Reduction,
    Scalar,
    Tensor,
)

_Buffers: TypeAlias = (
    tuple[Array, ...] | tuple[Tensor, ...] | list[Array] | list[Tensor] | list[Array | Tensor]
)
_Buffer: TypeAlias = Array | Tensor | _Buffers
_Numbers: TypeAlias = npt.NDArray[np.int64]

_A = TypeVar("_A", default=Array)
# What comes of tensors, of arrays, and of arrays that are reduced; what gradients go to.
_T = TypeVar("_T")
_N = TypeVar("_N")
_S = TypeVar("_S")
_O = TypeVar("_O")
# What value_and_grad and grad make of a loss, with one gradient and with several, and the function
# of fastcos.adapters.torch. Covariant: a list of several losses is one of losses.
_V1 = TypeVar("_V1", covariant=True)
_V = TypeVar("_V", covariant=True)
_G1 = TypeVar("_G1", covariant=True)
_G = TypeVar("_G", covariant=True)
_Gathered = TypeVar("_Gathered", covariant=True)

class _Function:
    __name__: str
    __qualname__: str

class _Loss(_Function, Generic[_V1, _V, _G1, _G, _Gathered]):
    """A function that value_and_grad and grad take."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

class _Transformed(_Function):
    loss: Callable[..., Any]
    wanted: tuple[str, ...]
    alone: bool
    valued: bool
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

@overload
def value_and_grad(
    loss: _Loss[_V1, Any, Any, Any, Any], argnums: int | str
) -> _V1: ...
@overload
def value_and_grad(
    loss: _Loss[Any, _V, Any, Any, Any], argnums: Sequence[int | str] | None = None
) -> _V: ...
@overload
def grad(
    loss: _Loss[Any, Any, _G1, Any, Any], argnums: int | str
) -> _G1: ...
@overload
def grad(
    loss: _Loss[Any, Any, Any, _G, Any], argnums: Sequence[int | str] | None = None
) -> _G: ...

class Neighbors(NamedTuple, Generic[_A]):
    distances: _A
    indices: _A

class Within(NamedTuple, Generic[_A]):
    indptr: _A
    indices: _A
    distances: _A
'''

# What other functions return of tensors and of arrays; that of what is lazy, where it is taken.
RETURNED = {
    "nearest": ("Neighbors[Tensor]", "Neighbors[Array]", "Neighbors[Any]"),
    "neighbors_within": ("Within[Tensor]", "Within[Array]", None),
    "near_duplicates": ("Tensor", "_Numbers", None),
    "pairwise": ("Tensor", "Array", None),
    "mine_triplets": ("tuple[Tensor, Tensor, Tensor]", "tuple[_Numbers, _Numbers, _Numbers]", None),
}
OUT = {
    "nearest": ("tuple[Tensor, Tensor] | None", "tuple[Array, Array] | None"),
    "pairwise": ("Tensor | None", "Array | None"),
}
GRADIENTS = "grad_output: ArrayLike | None = None, out: _O | None = None, accumulate: bool = False"
GATHER = "gather: bool = False, process_group: ProcessGroup | None = None"


def arguments(function, first, more="", **instead):
    """What stands between the parentheses; ``instead`` of an annotation, without a default."""
    written, keyword = ["self"] if more is not None else [], False
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword:
            written.append("*")
            keyword = True
        annotation = instead.get(name, first if not {*written} - {"self"} else parameter.annotation)
        # A reduction that has to be named has no default.
        default = parameter.default
        if default is inspect.Parameter.empty or annotation == 'Literal["none"]':
            written.append(f"{name}: {annotation}")
        else:
            written.append(f"{name}: {annotation} = {default!r}")
    if more:
        written += [more] if keyword else ["*", more]
    return ", ".join(written)


def calls(function, returned, lazy, more=""):
    """The overloads of ``__call__``, of tensors, lazy arrays and others."""
    of_tensors, each, reduced = returned
    cases = [(of_tensors, "IsTensor", {})] + ([("Any", "IsLazy", {})] if lazy else [])
    if "reduction" in inspect.signature(function).parameters:
        cases.append((each, "npt.ArrayLike", {"reduction": 'Literal["none"]'}))
        cases.append((reduced, "npt.ArrayLike", {"reduction": "Reduced"}))
    else:
        cases.append((each, "npt.ArrayLike", {}))
    return "".join(
        f"    @overload\n    def __call__({arguments(function, first, more, **instead)})"
        f" -> {found}: ...\n"
        for found, first, instead in cases
    )


def stub_of_loss(loss):
    from fastcos.api.calls import BATCHED

    name, lazy = loss.__name__, loss not in BATCHED
    title = "".join(part.title() for part in name.split("_"))
    made = [
        f"_{title}Gradients[{of.format('Tensor', 'Tensor')}, {of.format('Array', 'Array')},"
        f" {of.format('Scalar', 'Array')}, {out}]"
        for of, out in (
            ("tuple[{}, {}]", "_Buffer"),
            ("tuple[{}, tuple[{}, ...]]", "_Buffers"),
            ("{1}", "_Buffer"),
            ("tuple[{1}, ...]", "_Buffers"),
        )
    ]
    text = f"""
class _{title}Gradients(_Transformed, Generic[_T, _N, _S, _O]):
{calls(loss, ("_T", "_N", "_S"), lazy, GRADIENTS)}
"""
    gathered = "None"
    if not lazy:
        gathered = f"_{title}Gathered"
        made_of = f"_Loss[{', '.join(made)}, None]"
        text += f"""
class {gathered}({made_of}):
    def __call__({arguments(loss, "Tensor", GATHER)}) -> Tensor: ...
"""
    return f"""{text}
class _{title}(_Loss[{", ".join(made)}, {gathered}]):
{calls(loss, ("Tensor", "Array", "Scalar"), lazy)}
{name}: _{title}
"""


def stub_of_function(function):
    name = function.__name__
    of_tensors, of_arrays, lazy = RETURNED[name]
    cases = [(of_tensors, "IsTensor"), (of_arrays, "npt.ArrayLike")]
    if lazy:
        cases.insert(1, (lazy, "IsLazy"))
    text = ""
    for found, first in cases:
        instead = {}
        if name in OUT:
            instead["out"] = OUT[name][first == "npt.ArrayLike"] if first != "IsLazy" else "None"
        given = arguments(function, first, None, **instead)
        text += f"@overload\ndef {name}({given}) -> {found}: ...\n"
    return text


def stub():
    """The text of the stub."""
    from fastcos import api
    from fastcos.api.calls import PUBLIC

    losses = sorted(PUBLIC, key=lambda loss: loss.__name__)
    assert {loss.__name__ for loss in losses} < {*api.__all__}
    text = HEAD + "".join(stub_of_function(getattr(api, name)) for name in RETURNED)
    text += "\n# fmt: off\n" + "".join(map(stub_of_loss, losses)) + "# fmt: on\n"
    text += f"\n__all__ = {api.__all__!r}\n"
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(STUB), "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    STUB.write_text(stub())
