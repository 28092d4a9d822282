"""The same bits as another tree: thousands of random calls, one process for each tree.

    python bench/bits.py /path/to/other/checkout --calls 4000 --seed 0

Functions, distances, dtypes, layouts, labels, weights, upstream gradients, buffers, reductions and
threads are drawn at random, for NumPy arrays and torch tensors. A call that fails has to fail with
the same error. Prints the first calls that differ, and ends with 1 if any does.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import pathlib
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import torch

Rng = np.random.Generator

_DTYPES = {
    "float32": (np.float32, torch.float32),
    "float64": (np.float64, torch.float64),
    "float16": (np.float16, torch.float16),
    "bfloat16": (ml_dtypes.bfloat16, torch.bfloat16),
}
# A kernel takes seconds to compile: all distances in float32, some of them in the other dtypes.
_DISTANCES = {
    "float32": (
        *("cosine", "dot", "angular", "euclidean", "sqeuclidean", "manhattan", "chebyshev"),
        *("canberra", "braycurtis", "poincare", "lp(3)", "lp(0.5)", "lp(1)", "cosine(0.01)"),
    ),
    "float64": ("cosine", "euclidean", "chebyshev", "lp(3)", "poincare"),
    "float16": ("cosine", "euclidean", "manhattan", "canberra", "chebyshev"),
    "bfloat16": ("cosine", "euclidean", "braycurtis"),
}
_TRIPLETS = ("euclidean", "cosine", "manhattan")
_SIZES = (0, 1, 2, 3, 5, 16, 31, 33, 64, 97, 400)


def main() -> int:
    """Compares two trees, or prints the calls of this one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", nargs="?", type=pathlib.Path)
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.other is None:
        for i in range(arguments.calls):
            print(_described(np.random.default_rng((arguments.seed, i))), flush=True)
        return 0
    here = pathlib.Path(__file__).resolve().parent.parent
    mine, others = (_lines(tree, arguments) for tree in (here, arguments.other.resolve()))
    differ = [
        (i, *pair) for i, pair in enumerate(zip(mine, others, strict=True)) if len({*pair}) > 1
    ]
    for i, one, other in differ[:10]:
        print(f"call {i}\n  here  {one}\n  there {other}")
    failed = sum("->" in line and "Error" in line.partition("->")[2] for line in mine)
    print(f"{len(mine)} calls, {failed} of them errors, {len(differ)} differ")
    return min(len(differ), 1)


def _lines(tree: pathlib.Path, arguments: argparse.Namespace) -> list[str]:
    command = [sys.executable, __file__, f"--calls={arguments.calls}", f"--seed={arguments.seed}"]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()


def _described(rng: Rng) -> str:
    """One call, as text, and a digest of all that comes of it."""
    what, call = (_of_torch if rng.random() < 0.35 else _of_numpy)(rng)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found = " ".join(_digests(call()))
    except Exception as error:
        found = f"{type(error).__name__}: {error}".replace("\n", " ")
    return f"{what} -> {found}"


def _digests(value: Any) -> list[str]:
    if isinstance(value, (tuple, list)):
        return [text for each in value for text in _digests(each)]
    if value is None:
        return ["None"]
    kind = type(value).__name__
    if isinstance(value, torch.Tensor):
        value = value.detach()
        strides, dtype = value.stride(), value.dtype
        array = np.array(value.double() if value.is_floating_point() else value)
    else:
        strides, dtype = np.asarray(value).strides, np.asarray(value).dtype
        array = np.array(value)
    # The sign of a NaN depends on where its row begins.
    array[array != array] = np.nan
    content = hashlib.sha256(array.tobytes()).hexdigest()[:12]
    return [f"{kind}{tuple(np.shape(value))}{strides}{dtype}:{content}"]


# --------------------------------------------------------------------------------------------------
# NumPy
# --------------------------------------------------------------------------------------------------


def _of_numpy(rng: Rng) -> tuple[str, Callable[[], Any]]:
    import fastcos

    dtype = str(rng.choice(list(_DTYPES), p=(0.5, 0.2, 0.2, 0.1)))
    name = str(
        rng.choice(
            [
                *("cosine_embedding_loss", "cosine_distance_loss", "paired_distance"),
                *("triplet_margin_with_distance_loss", "triplet_margin_loss"),
                *("hinge_embedding_loss", "cosine_similarity"),
            ]
        )
    )
    loss = getattr(fastcos, name)
    operands = {"hinge_embedding_loss": 1}.get(name, 3 if name.startswith("triplet") else 2)
    shapes, axis = _shapes(rng, operands, rowless=operands == 1)
    arrays = [_laid_out(rng, _numbers(rng, shape), dtype) for shape in shapes]
    options: dict[str, Any] = {}
    samples = _samples(shapes, axis)
    args: list[Any] = [*arrays]
    if operands > 1 and (axis != -1 or rng.random() < 0.3):
        options["axis"] = axis
    if name in ("paired_distance", "triplet_margin_with_distance_loss"):
        known = _TRIPLETS if operands == 3 else _DISTANCES[dtype]
        distance = str(rng.choice(known))
        record = (
            eval(f"distances.{distance}", {"distances": fastcos.distances})
            if "(" in distance
            else distance
        )
        options["distance" if operands == 2 else "distance_function"] = record
    if name.startswith("triplet") and rng.random() < 0.4:
        options["swap"] = bool(rng.random() < 0.5)
    if name in ("cosine_embedding_loss", "hinge_embedding_loss"):
        args.append(_labels(rng, samples))
    if name.endswith("loss") and name != "cosine_distance_loss" and rng.random() < 0.5:
        options["margin"] = float(rng.choice([0.0, 0.1, 0.5, 1.0]))
    weighted = "weights" if name == "cosine_distance_loss" else "weight"
    if name.endswith("loss"):
        reductions = ["mean", "sum", "none", "sum_over_batch_size", "sum_by_nonzero_weights"]
        options["reduction"] = str(rng.choice(reductions))
        if rng.random() < 0.45:
            options[weighted] = _weights(rng, samples)
    function, wanted = loss, 0
    if rng.random() < 0.65:
        argnums = _argnums(rng, fastcos, loss, operands, weighted if weighted in options else None)
        function = fastcos.value_and_grad(loss, argnums)
        wanted = len(function.wanted)
        none = options.get("reduction", "none") == "none"
        if rng.random() < 0.4:
            options["grad_output"] = _upstream(rng, samples if none else ())
        by_name = {n: a for n, a in zip(_names(loss), args, strict=False)} | options
        if rng.random() < 0.25 and all(isinstance(by_name[n], np.ndarray) for n in function.wanted):
            out = [
                _laid_out(rng, np.zeros(by_name[n].shape), str(by_name[n].dtype), whole=True)
                if str(by_name[n].dtype) in _DTYPES
                else np.zeros(by_name[n].shape, np.float32)
                for n in function.wanted
            ]
            options["out"] = tuple(out)
    threads = int(rng.choice([1, 2]))

    def call() -> Any:
        with fastcos.threads(threads):
            found = [function(*args, **options) for _ in range(2)]
        return (*found, [*options.get("out", ())])

    shown = {k: np.shape(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    shown["out"] = "out" in options
    what = f"{name} {dtype} {[np.shape(a) for a in args]} {shown} wanted={wanted}"
    return what.replace("\n", " "), call


def _names(loss: Any) -> list[str]:
    import inspect

    return list(inspect.signature(loss).parameters)


def _argnums(rng: Rng, fastcos: Any, loss: Any, operands: int, weight: str | None) -> Any:
    chosen: list[Any] = [i for i in range(operands) if rng.random() < 0.7]
    if weight and rng.random() < 0.4:
        chosen.append(weight)
    if not chosen:
        return None
    rng.shuffle(chosen)
    return chosen[0] if len(chosen) == 1 and rng.random() < 0.5 else tuple(chosen)


def _shapes(rng: Rng, operands: int, rowless: bool) -> tuple[list[tuple[int, ...]], int]:
    """Shapes that mostly fit, and the feature axis."""
    rank = int(rng.choice([0, 1, 2, 3], p=(0.1, 0.6, 0.2, 0.1)))
    sizes = _SIZES if rank < 2 else _SIZES[1:6]
    leading = [int(rng.choice(sizes)) for _ in range(rank)]
    if rank == 1 and rng.random() < 0.02:
        leading = [3000]
    features = int(rng.choice(_SIZES[1:]))
    axis = -1 if rng.random() < 0.75 else -int(rng.integers(1, rank + 2))
    shapes = []
    for _ in range(operands):
        own = [1 if rng.random() < 0.15 else n for n in leading]
        if rng.random() < 0.05:
            own = own[int(rng.integers(0, len(own) + 1)) :]
        if rng.random() < 0.01:
            own = [n + 1 for n in own]
        if not rowless:
            at = max(len(own) + 1 + axis, 0)
            own = [*own[:at], features, *own[at:]]
        shapes.append(tuple(own))
    return shapes, axis


def _samples(shapes: list[tuple[int, ...]], axis: int) -> tuple[int, ...]:
    if len(shapes) == 1:
        return shapes[0]
    try:
        return np.broadcast_shapes(*[tuple(np.delete(s, len(s) + axis).tolist()) for s in shapes])
    except (ValueError, IndexError):
        return (1,)


def _numbers(rng: Rng, shape: tuple[int, ...]) -> np.ndarray:
    drawn = rng.standard_normal(shape) * float(rng.choice([1, 0.1, 1e-3, 30]))
    if rng.random() < 0.15:
        drawn = np.round(drawn)
    if rng.random() < 0.05 and drawn.size:
        drawn.flat[int(rng.integers(drawn.size))] = float(rng.choice([np.nan, np.inf, 1e30]))
    return drawn


def _laid_out(rng: Rng, numbers: np.ndarray, dtype: str, whole: bool = False) -> Any:
    """An array of these numbers, in memory in one way or another."""
    own = _DTYPES[dtype][0]
    kind = str(
        rng.choice(["plain"] * 8 + ["strided", "reversed", "fortran", "unaligned", "offset"])
    )
    if not whole and rng.random() < 0.12:
        kind = str(rng.choice(["other dtype", "integers", "list", "swapped", "expanded"]))
    with np.errstate(all="ignore"):
        array = numbers.astype(own)
    if kind == "strided":
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]) if array.ndim else (), own)
        view = wide[..., ::2] if array.ndim else wide
    elif kind == "reversed":
        view = np.zeros_like(array)[::-1] if array.ndim else np.zeros_like(array)
    elif kind == "fortran":
        view = np.zeros(array.shape, own, order="F")
    elif kind == "unaligned":
        memory = np.zeros(array.nbytes + 1, np.uint8)
        view = memory[1:].view(own).reshape(array.shape)
    elif kind == "offset":
        view = np.zeros((array.size + 3,), own)[3:].reshape(array.shape)
    elif kind == "other dtype":
        return numbers.astype(np.float64 if own is not np.float64 else np.float32)
    elif kind == "integers":
        return np.nan_to_num(np.clip(np.round(3 * numbers), -99, 99)).astype(np.int32)
    elif kind == "list":
        return numbers.astype(np.float32).tolist()
    elif kind == "swapped" and dtype != "bfloat16":
        return array.astype(array.dtype.newbyteorder())
    elif kind == "expanded" and array.ndim:
        return np.broadcast_to(array[:1], array.shape)
    else:
        return array
    view[...] = array
    return view


def _labels(rng: Rng, samples: tuple[int, ...]) -> Any:
    shape = samples
    if rng.random() < 0.15:
        shape = tuple(1 if rng.random() < 0.5 else n for n in samples)
    if rng.random() < 0.1:
        shape = ()
    signs = np.where(rng.random(shape) < 0.5, 1, -1)
    if rng.random() < 0.03 and signs.size:
        signs = np.array(signs)
        signs.flat[-1] = 0
    kind = str(
        rng.choice(["int64", "float32", "float64", "int8", "bool", "int32", "float16", "list"])
    )
    if kind == "list":
        return signs.tolist()
    labels = np.asarray(signs > 0 if kind == "bool" else signs).astype(kind)
    if rng.random() < 0.1 and labels.ndim:
        labels = np.repeat(labels, 2, axis=-1)[..., ::2]
    return labels


def _weights(rng: Rng, samples: tuple[int, ...]) -> Any:
    if rng.random() < 0.15:
        return rng.choice([1.0, 0.5, 2.0, 0.0]).item()
    shape = samples
    if rng.random() < 0.2:
        shape = tuple(1 if rng.random() < 0.5 else n for n in samples)
    if rng.random() < 0.1:
        shape = ()
    drawn = np.where(rng.random(shape) < 0.2, 0.0, rng.uniform(0.5, 2, shape))
    kind = str(
        rng.choice(["float64", "float32", "float16", "int64", "list"], p=(0.4, 0.3, 0.1, 0.1, 0.1))
    )
    if kind == "list":
        return drawn.tolist()
    weights = np.asarray(drawn).astype(kind)
    if rng.random() < 0.1 and weights.ndim:
        weights = np.repeat(weights, 2, axis=-1)[..., ::2]
    return weights


def _upstream(rng: Rng, samples: tuple[int, ...]) -> Any:
    if rng.random() < 0.4:
        return rng.choice([1.0, 2.0, -0.3]).item()
    drawn = rng.standard_normal(samples if rng.random() < 0.8 else ())
    return np.asarray(drawn).astype(rng.choice(["float64", "float32", "float16"]))


# --------------------------------------------------------------------------------------------------
# torch
# --------------------------------------------------------------------------------------------------


def _of_torch(rng: Rng) -> tuple[str, Callable[[], Any]]:
    import fastcos
    from fastcos.adapters import torch as drop_ins

    dtype = str(rng.choice(list(_DTYPES), p=(0.55, 0.2, 0.15, 0.1)))
    plain = rng.random() < 0.25
    names = [
        "cosine_embedding_loss",
        "triplet_margin_loss",
        "hinge_embedding_loss",
        "cosine_similarity",
    ]
    if not plain:
        names += ["pairwise_distance", "triplet_margin_with_distance_loss"]
    name = str(rng.choice(names))
    operands = 1 if name.startswith("hinge") else 3 if name.startswith("triplet") else 2
    shapes, _ = _shapes(rng, operands, rowless=operands == 1)
    if name == "cosine_embedding_loss" and not plain:
        n, d = int(rng.choice(_SIZES[1:])), int(rng.choice(_SIZES[1:]))
        shapes = [(n, d), (n, d) if rng.random() < 0.85 else (1, d)]
    samples = _samples(shapes, -1)
    rows = [_tensor(rng, _numbers(rng, shape), dtype) for shape in shapes]
    wanted = [bool(rng.random() < 0.7) for _ in rows]
    args: list[Any] = rows
    options: dict[str, Any] = {}
    if name in ("cosine_embedding_loss", "hinge_embedding_loss"):
        labels = np.where(rng.random(samples) < 0.5, 1, -1)
        kind = str(rng.choice(["int64", "float32", "int8", "float64", "int32"]))
        args = [*rows, torch.as_tensor(np.asarray(labels).astype(kind))]
        if rng.random() < 0.5:
            options["margin"] = float(rng.choice([0.1, 0.5]))
    if name == "cosine_similarity":
        options = {} if plain else {"dim": -1}
    if name == "pairwise_distance":
        options["p"] = float(rng.choice([1, 2, 3, np.inf] if dtype == "float32" else [2]))
    if name.startswith("triplet"):
        options["swap"] = bool(rng.random() < 0.3)
        if name == "triplet_margin_with_distance_loss":
            options["distance_function"] = str(rng.choice(_TRIPLETS))
    if name.endswith("loss"):
        options["reduction"] = str(rng.choice(["mean", "sum", "none"]))
        if rng.random() < 0.3:
            drawn = rng.uniform(0.5, 2, samples)
            options["weight"] = torch.as_tensor(
                np.asarray(drawn).astype(rng.choice(["float32", "float64"]))
            )
            if rng.random() < 0.4:
                options["weight"].requires_grad_()
    factor = float(rng.choice([1.0, 1.0, 2.0, -0.3]))
    function = getattr(fastcos if plain else drop_ins, name)

    def call() -> Any:
        leaves = [row.detach().requires_grad_(w) for row, w in zip(rows, wanted, strict=True)]
        value = function(*leaves, *args[len(rows) :], **options)
        if value.requires_grad:
            (factor * value).sum().backward()
        weight = options.get("weight")
        grads = [leaf.grad for leaf in leaves]
        if weight is not None:
            grads.append(weight.grad)
            weight.grad = None
        return (value, grads)

    shown = {k: tuple(v.shape) if isinstance(v, torch.Tensor) else v for k, v in options.items()}
    shown |= {"shapes": [tuple(a.shape) for a in args], "wanted": wanted, "factor": factor}
    return f"torch{' plain' * plain} {name} {dtype} {shown}", call


def _tensor(rng: Rng, numbers: np.ndarray, dtype: str) -> torch.Tensor:
    tensor = torch.as_tensor(numbers).to(_DTYPES[dtype][1])
    kind = rng.random()
    if kind < 0.1 and tensor.ndim:
        return tensor.repeat_interleave(2, -1)[..., ::2]
    if kind < 0.2 and tensor.ndim > 1:
        return tensor.transpose(0, -1).contiguous().transpose(0, -1)
    if kind < 0.25 and tensor.ndim:
        return tensor[:1].expand(tensor.shape)
    return tensor


if __name__ == "__main__":
    sys.exit(main())
