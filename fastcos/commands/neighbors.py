"""The commands ``search`` and ``duplicates``: neighbours of rows in files, into files."""

import argparse
import importlib.util
import math
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcos import api
from fastcos.api.neighbors import MAX_PAIRS
from fastcos.commands import files
from fastcos.distances import DISTANCES
from fastcos.engine.problem import resolve_distance

_LARGEST = 5  # groups that are listed


# --------------------------------------------------------------------------------------------------
# Arguments
# --------------------------------------------------------------------------------------------------


def add_to(commands: Any) -> None:
    """Declares the two commands."""
    search = commands.add_parser(
        "search",
        description="Finds the k nearest rows of a gallery for each query, exactly, as"
        " fastcos.nearest() does; prints a summary. The files are mapped into memory, and may be"
        " larger than it. The result is an .npz file with indices (queries, k) int64 and distances"
        " of the same shape, nearest first.",
    )
    search.add_argument("gallery", metavar="GALLERY.npy", help="rows to search, (rows, features)")
    search.add_argument("queries", metavar="QUERIES.npy", help="rows to search for")
    search.add_argument(
        "--k",
        metavar="N",
        type=_integer_from(1),
        required=True,
        help="how many neighbours, at most the rows of the gallery",
    )
    _add_common(search, ".npz")

    duplicates = commands.add_parser(
        "duplicates",
        description="Groups rows that are nearly the same, as fastcos.near_duplicates() does;"
        " prints a summary. The file is mapped into memory. The result is an .npy file with one"
        " int64 for each row: the number of the first row of its group, its own where it is alone.",
    )
    duplicates.add_argument("x", metavar="X.npy", help="the rows, (rows, features)")
    duplicates.add_argument(
        "--threshold",
        metavar="T",
        type=_number,
        required=True,
        help="the least similarity for cosine and dot, the greatest distance for others",
    )
    duplicates.add_argument(
        "--max-pairs",
        metavar="N",
        type=_integer_from(0),
        default=MAX_PAIRS,
        help="give up if more pairs than this are near (default: %(default)s)",
    )
    _add_common(duplicates, ".npy")


def _add_common(command: argparse.ArgumentParser, suffix: str) -> None:
    command.add_argument(
        "--out", metavar=f"PATH{suffix}", required=True, help="where the result goes"
    )
    command.add_argument(
        "--force", action="store_true", help="replace a file that is there already"
    )
    command.add_argument(
        "--distance",
        metavar="NAME",
        default="cosine",
        help=f"of {', '.join(DISTANCES)} (default: %(default)s)",
    )
    command.add_argument(
        "--block",
        metavar="N",
        type=_integer_from(1),
        help="rows that are taken at a time; the result does not depend on it (default: as many as"
        " suit the caches)",
    )
    command.add_argument(
        "--no-progress",
        action="store_true",
        help="show no progress; there is none either without tqdm or a terminal",
    )


def _integer_from(least: int) -> Callable[[str], int]:
    def integer(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"must be an integer, at least {least}; got {text!r}")
        return number

    return integer


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"must be a finite number, got {text!r}")
    return number


def _checked_output(arguments: argparse.Namespace, suffix: str, inputs: Iterable[str]) -> Path:
    """Where the result goes, before the work begins."""
    text = arguments.out
    if Path(text).suffix.lower() != suffix:
        raise files.Misused(f"argument --out: must end in {suffix}, got {text!r}")
    target = files.writable(text)
    for path in inputs:
        if target.exists() and os.path.samefile(target, path):
            raise files.Misused(f"argument --out: {text!r} is the file that is read")
    if target.exists() and not arguments.force:
        raise files.Refused(f"argument --out: {text!r} is there already: --force replaces it")
    return target


def _check_distance(name: str) -> None:
    try:
        resolve_distance("argument --distance:", name)
    except ValueError as error:
        raise files.Misused(str(error)) from None


def _shows(arguments: argparse.Namespace) -> bool:
    """Whether there is somebody to see the progress, and something to show it."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    return not arguments.no_progress and terminal and importlib.util.find_spec("tqdm") is not None


# --------------------------------------------------------------------------------------------------
# The commands
# --------------------------------------------------------------------------------------------------


def search(arguments: argparse.Namespace) -> None:
    """Writes the nearest of each query, and prints a summary.

    Raises:
        files.Refused: an argument or a file that will not do.
    """
    paths = arguments.gallery, arguments.queries
    gallery, queries = map(files.mapped, paths)
    if len(gallery) == 0:
        raise files.Refused(f"{paths[0]!r} must have rows, got shape {gallery.shape}")
    if gallery.shape[1] != queries.shape[1]:
        raise files.Refused(
            f"{paths[0]!r} and {paths[1]!r} must have as many features, got shapes"
            f" {gallery.shape} and {queries.shape}"
        )
    if arguments.k > len(gallery):
        raise files.Misused(
            f"argument --k: must be from 1 to {len(gallery)}, the rows of {paths[0]!r}; got"
            f" {arguments.k}"
        )
    _check_distance(arguments.distance)
    target = _checked_output(arguments, ".npz", paths)
    start = time.perf_counter()
    found = api.nearest(
        queries,
        gallery,
        arguments.k,
        arguments.distance,
        block=arguments.block,
        progress=_shows(arguments),
    )
    seconds = time.perf_counter() - start
    with files.replacing(target) as partial, open(partial, "wb") as file:
        np.savez(file, indices=found.indices, distances=found.distances)
    lines = [
        ("gallery", _described(paths[0], gallery)),
        ("queries", _described(paths[1], queries)),
        ("neighbours", f"{arguments.k:,} of each query, {arguments.distance} distance"),
        ("time", f"{seconds:.2f} s, {len(queries) / seconds:,.0f} queries a second"),
        *_spread(found.distances),
        ("written", f"{target}: indices int64, distances {found.distances.dtype}"),
    ]
    _print(lines)


def duplicates(arguments: argparse.Namespace) -> None:
    """Writes the group of each row, and prints a summary.

    Raises:
        files.Refused: an argument or a file that will not do, or too many pairs.
    """
    x = files.mapped(arguments.x)
    if len(x) == 0:
        raise files.Refused(f"{arguments.x!r} must have rows, got shape {x.shape}")
    _check_distance(arguments.distance)
    target = _checked_output(arguments, ".npy", [arguments.x])
    start = time.perf_counter()
    try:
        groups = api.near_duplicates(
            x,
            arguments.threshold,
            arguments.distance,
            max_pairs=arguments.max_pairs,
            block=arguments.block,
            progress=_shows(arguments),
        )
    except ValueError as error:  # of the threshold, or of what was found
        said = str(error).replace("threshold", "--threshold").replace("max_pairs", "--max-pairs")
        kind = files.Misused if said.startswith("--threshold") else files.Refused
        raise kind(said) from None
    seconds = time.perf_counter() - start
    with files.replacing(target) as partial, open(partial, "wb") as file:
        np.save(file, groups)
    lines = [
        ("rows", _described(arguments.x, x)),
        ("near", _nearness(arguments.distance, arguments.threshold)),
        ("time", f"{seconds:.2f} s"),
        *_sizes(groups),
        ("written", f"{target}: groups int64"),
    ]
    _print(lines)


# --------------------------------------------------------------------------------------------------
# Summaries
# --------------------------------------------------------------------------------------------------


def _described(path: str, rows: NDArray[Any]) -> str:
    count, features = rows.shape
    return f"{path}: {count:,} rows, {features:,} features, {rows.dtype.name}"


def _nearness(distance: str, threshold: float) -> str:
    if distance in ("cosine", "dot"):
        return f"{distance} similarity {threshold:g} or more"
    return f"{distance} distance {threshold:g} or less"


def _spread(distances: NDArray[Any]) -> Iterable[tuple[str, str]]:
    """The distances of the nearest and of the last, and who has fewer neighbours."""
    k = distances.shape[1]
    for name, column in (("nearest", 0), (f"number {k}", -1)) if k > 1 else (("nearest", 0),):
        d = distances[:, column]
        d = d[~np.isnan(d)]
        if len(d):
            least, median, greatest = d.min(), np.median(d.astype(np.float64)), d.max()
            yield name, f"distance {least:.4g} to {greatest:.4g}, median {median:.4g}"
    fewer = np.count_nonzero(np.isnan(distances[:, -1]))
    if fewer:
        where = "distance NaN, index -1 where there are no more neighbours"
        yield "incomplete", f"{fewer:,} of {len(distances):,} queries: {where}"


def _sizes(groups: NDArray[np.int64]) -> Iterable[tuple[str, str]]:
    """How many groups there are, and the largest."""
    sizes = np.bincount(groups)
    firsts = np.flatnonzero(sizes > 1)
    extra = int(sizes[firsts].sum()) - len(firsts)
    yield "groups", f"{len(firsts):,} of more than one row"
    yield (
        "duplicates",
        f"{extra:,} beside the first of each group, {extra / len(groups):.2%} of the rows",
    )
    largest = firsts[np.argsort(-sizes[firsts], kind="stable")[:_LARGEST]]
    if len(largest):
        yield "largest", ", ".join(f"{sizes[row]:,} rows (first: {row})" for row in largest)


def _print(lines: Iterable[tuple[str, str]]) -> None:
    lines = list(lines)
    width = max(len(name) for name, _ in lines) + 2
    print("\n".join(f"{name:{width}}{value}" for name, value in lines))
