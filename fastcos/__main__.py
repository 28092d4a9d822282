"""The command line, ``python -m fastcos``: ``demo`` learns on real data, ``info`` says what is here.

What a command needs beyond NumPy is imported inside it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fastcos

_LOSSES = (
    "cosine_embedding_loss",
    "cosine_distance_loss",
    "triplet_margin_with_distance_loss",
    "hinge_embedding_loss",
)
_EXTRAS = {"matplotlib", "scipy", "sklearn", "tqdm"}  # scipy comes with scikit-learn

_FAILED, _USAGE, _INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: The arguments; None takes those of the process.

    Returns:
        The exit code: 0, 1 where a result could not be written, 2 for a missing package, 130 after
        Ctrl-C. Wrong arguments leave through ``SystemExit(2)``, as argparse has it.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return 0
    try:
        return _info(arguments.json) if arguments.command == "info" else _demo(arguments)
    except KeyboardInterrupt:
        return _complain("interrupted", _INTERRUPTED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fastcos", description=fastcos.__doc__)
    parser.add_argument("--version", action="version", version=f"fastcos {fastcos.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    demo = commands.add_parser(
        "demo",
        help="learn a projection of scanned digits, print a table and draw a picture",
        description="Learns a linear projection of scikit-learn's scanned digits on one half of"
        " them, and compares verification and nearest-neighbour accuracy on the held-out half"
        " before and after. The first run compiles the kernels, which takes most of its time.",
    )
    demo.add_argument(
        "--loss",
        metavar="NAME",
        choices=("all", *_LOSSES),
        default="all",
        help=f"one of {', '.join(_LOSSES)}, or all (default)",
    )
    demo.add_argument(
        "--out",
        metavar="PATH.png",
        type=_png_path,
        default="fastcos-demo.png",
        help="where the picture goes (default: %(default)s)",
    )
    demo.add_argument(
        "--seed",
        metavar="N",
        type=_seed,
        default=0,
        help="of the split, the pairs and the triplets (default: %(default)s)",
    )

    info = commands.add_parser(
        "info",
        help="versions, processor, threads, GPU, cache of compiled kernels",
        description="Prints what fastcos runs on here: fastcos.show_config().",
    )
    info.add_argument("--json", action="store_true", help="as JSON")
    return parser


def _png_path(text: str) -> Path:
    """An argument that a PNG can be written to, found out before the work begins."""
    path = Path(text)
    if path.suffix.lower() not in ("", ".png"):
        raise argparse.ArgumentTypeError(f"the picture is a PNG, got the name {text!r}")
    try:
        path = path.resolve()
        if path.exists() and not path.is_file():
            raise argparse.ArgumentTypeError(f"{text!r} is not a regular file")
        if path.exists() and not os.access(path, os.W_OK):
            raise argparse.ArgumentTypeError(f"cannot write {text!r}: read-only")
        with _replacing(path) as partial:
            partial.touch()
            partial.unlink()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot write {text!r}: {error.strerror}") from None
    return path
