"""The command line: ``fastcos``, or ``python -m fastcos``.

``demo`` learns on real data, ``info`` tells versions, ``warmup`` compiles ahead; ``search`` and
``duplicates`` take rows from files. What a command needs beyond NumPy is imported inside it.
"""

import _thread
import argparse
import contextlib
import io
import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fastcos
from fastcos import _extras, _hints
from fastcos.commands import files, neighbors, warmup

LOSSES = (
    "cosine_embedding_loss",
    "cosine_distance_loss",
    "triplet_margin_with_distance_loss",
    "hinge_embedding_loss",
    "supervised_contrastive_loss",
)
# Two of them come with scikit-learn.
_EXTRAS = ("matplotlib", "scipy", "sklearn", "threadpoolctl", "tqdm")

#: What each command does, and an example of it.
_COMMANDS = {
    "demo": (
        "learn a projection of scanned digits: a table and a picture",
        "--loss supervised_contrastive_loss --out digits.png",
    ),
    "info": ("versions, processor, threads, GPU, cache of compiled kernels", "--json"),
    "warmup": (
        "compile ahead, for example when a container image is built",
        "--losses triplet_margin_loss --dtypes float32",
    ),
    "search": (
        "the nearest rows of a gallery, for each query of a file",
        "gallery.npy queries.npy --k 10 --out found.npz",
    ),
    "duplicates": (
        "groups of rows of a file that are nearly the same",
        "rows.npy --threshold 0.99 --out groups.npy",
    ),
}
_MORE = """The options of a command: %(prog)s COMMAND --help
The guide to all of this: docs/guides/command_line.md
The library: help(fastcos) in Python"""

_FAILED, _MISSING, _WRONG, _INTERRUPTED = 1, 2, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: The arguments; None takes those of the process.

    Returns:
        The exit code: 0, 1 for files that cannot be read or written or do not fit and for a reader
        of the output that goes away, 2 for a wrong argument or a missing package, 130 after Ctrl-C.
        Arguments that argparse refuses leave through ``SystemExit(2)``.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        # Names of files have letters that a terminal, or a file that output goes to, may not have.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            return _run(sys.argv[1:] if argv is None else argv)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        # As of "| head -1". What Python writes in the end, too, then goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED


def _run(argv: Sequence[str]) -> int:
    """Runs a command; output may still be on its way."""
    parser, commands = _parsers()
    # What stands before a command takes no value.
    given = next((each for each in argv if not each.startswith("-")), None)
    if given is not None and given not in commands:
        hint = _hints.hint(given, commands)
        parser.error(f"there is no command {given!r}{hint or ': ' + ', '.join(commands)}")
    arguments, unknown = parser.parse_known_args(argv)
    if arguments.command is None:
        if unknown:
            parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        parser.print_help()
        return 0
    if unknown:
        known = [f"--{name.replace('_', '-')}" for name in vars(arguments)]
        wrong = next((each for each in unknown if each.startswith("-")), "").partition("=")[0]
        hint = _hints.hint(wrong, known)
        commands[arguments.command].error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    with _listening() as lost:
        try:
            if arguments.command == "info":
                return _show_info(arguments.json)
            if arguments.command == "warmup":
                return _warm_up(arguments)
            if arguments.command in ("search", "duplicates"):
                return _find(arguments)
            return _run_demo(arguments.loss, arguments.out, arguments.seed)
        except KeyboardInterrupt:
            return _complain("interrupted", _INTERRUPTED)
        except RuntimeError:
            if not lost:
                raise
            return _complain("interrupted", _INTERRUPTED)


@contextlib.contextmanager
def _listening() -> Iterator[list[threading.Timer]]:
    """Has a Ctrl-C come again that was lost, as in a callback of the compiler, which may then fail.

    What it yields is filled where that was so.
    """
    again: list[threading.Timer] = []
    before = sys.unraisablehook

    def lost(what: Any) -> None:
        if what.exc_type is KeyboardInterrupt:
            again.append(threading.Timer(0.05, _thread.interrupt_main))
            again[-1].start()
        else:
            before(what)

    sys.unraisablehook = lost
    try:
        yield again
    finally:
        sys.unraisablehook = before
        for timer in again:
            timer.cancel()


class _Help(argparse.HelpFormatter):
    """Help of at most 88 columns, with examples as they were written."""

    def __init__(self, prog: str) -> None:
        width = min(shutil.get_terminal_size().columns, 90) - 2
        super().__init__(prog, max_help_position=18, width=width)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return text
        return super()._fill_text(text, width, indent)


def _program() -> str:
    """What this was called as."""
    name = Path(sys.argv[0]).stem.lower()
    return "fastcos" if name in ("fastcos", "fastcos-script") else "python -m fastcos"


def _parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    return _parsers()[0]


def _parsers() -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """The parser of the command line, and those of the commands."""
    width = max(map(len, _COMMANDS)) + 2
    listed = "\n".join(f"  {name:{width}}{says}" for name, (says, _) in _COMMANDS.items())
    examples = "\n".join(f"  %(prog)s {name} {given}" for name, (_, given) in _COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog=_program(),
        usage="%(prog)s [-h] [--version] COMMAND ...",
        description=(fastcos.__doc__ or "").partition("\n")[0]
        + " This is its command line; the library is imported in Python.",
        epilog=f"commands:\n{listed}\n\nexamples:\n{examples}\n\n{_MORE}",
        formatter_class=_Help,
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"fastcos {fastcos.__version__}",
        help="print the version and exit",
    )
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", help=argparse.SUPPRESS, prog=parser.prog
    )

    demo = commands.add_parser(
        "demo",
        description="Learns a linear projection of scikit-learn's scanned digits on one half of"
        " them, and compares verification and nearest-neighbour accuracy on the other half before"
        " and after. The first run compiles the kernels, which takes most of its time.",
    )
    demo.add_argument(
        "--loss",
        metavar="NAME",
        type=_one_of(("all", *LOSSES)),
        default="all",
        help=f"all (default), or one of {', '.join(LOSSES)}",
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
        description="Prints what fastcos runs on here, as fastcos.show_config() returns it.",
    )
    info.add_argument("--json", action="store_true", help="print JSON")

    warm = commands.add_parser(
        "warmup",
        description="Compiles what the losses need, as fastcos.warmup() does, into the directory"
        " that NUMBA_CACHE_DIR names, or beside the package; prints what it took in seconds.",
    )
    known: tuple[str, ...]
    for option, known, default in (
        ("losses", warmup.LOSSES, warmup.LOSSES),
        ("dtypes", warmup.DTYPES, ("float32",)),
        ("distances", tuple(fastcos.distances.DISTANCES), ("euclidean",)),
    ):
        warm.add_argument(
            f"--{option}",
            nargs="+",
            metavar="NAME",
            type=_one_of(known, _hints.DISTANCES_ELSEWHERE if option == "distances" else {}),
            default=default,
            help=f"of {', '.join(known)}"
            f" (default: {'all' if default == known else ' '.join(default)})",
        )
    warm.add_argument(
        "--device",
        metavar="M.N",
        help="the compute capability of a GPU, as 9.0, that need not be here (default: this"
        " machine's processor)",
    )
    warm.add_argument(
        "--features",
        nargs="+",
        metavar="N",
        type=int,
        default=(64,),
        help="lengths of rows; a GPU has other kernels for long ones (default: 64)",
    )
    warm.add_argument(
        "--tables",
        action="store_true",
        help="also for rows of tables, which have kernels of their own",
    )
    neighbors.add_to(commands)
    for name, command in commands.choices.items():
        command.epilog = f"example:\n  %(prog)s {_COMMANDS[name][1]}"
        command.formatter_class = _Help
    return parser, commands.choices


def _one_of(
    known: Sequence[str], elsewhere: Mapping[str, str] | None = None
) -> Callable[[str], str]:
    """What takes a known name, as ``choices`` does, and says of another what is near to it."""

    def name(text: str) -> str:
        if text in known:
            return text
        raise argparse.ArgumentTypeError(
            f"invalid choice: {text!r} (choose from {', '.join(known)})"
            f"{_hints.hint(text, known, elsewhere)}"
        )

    return name


def _png_path(text: str) -> Path:
    """A path that a PNG can be written to, found out before the work begins."""
    if Path(text).suffix.lower() not in ("", ".png"):
        raise argparse.ArgumentTypeError(f"the picture is a PNG, {text!r} ends otherwise")
    try:
        return files.writable(text)
    except files.Refused as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seed(text: str) -> int:
    """A seed that NumPy and scikit-learn both take."""
    if not (text.isdecimal() and int(text) < 2**32):
        raise argparse.ArgumentTypeError(f"must be an integer from 0 to {2**32 - 1}, got {text!r}")
    return int(text)


def _run_demo(loss: str, out: Path, seed: int) -> int:
    """The table to stdout, the progress to stderr, the picture to ``out``."""
    try:
        from tqdm import tqdm

        from fastcos.commands import demo, demo_plot
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        return _complain(f"the demo needs {package}: {_extras.command('demo')}", _MISSING)

    split = demo.load(seed)
    print(demo.preamble(split, seed), flush=True)
    results = []
    losses = LOSSES if loss == "all" else (loss,)
    with tqdm(total=demo.ITERATIONS * len(losses), unit=" iterations") as bar:
        for done, name in enumerate(losses, start=1):
            bar.set_description(name)
            results.append(demo.run(name, split, seed, on_iteration=bar.update))
            bar.update(demo.ITERATIONS * done - bar.n)  # it may have converged before
    print(demo.table(results), flush=True)

    try:
        with files.replacing(out) as partial:
            demo_plot.draw(results).savefig(partial, format="png")
    except files.Refused as error:
        return _complain(str(error), _FAILED)
    print(f"\nPicture: {out}")
    return 0


def _warm_up(arguments: argparse.Namespace) -> int:
    """The table to stdout, the progress to stderr."""
    try:
        seconds = fastcos.warmup(
            arguments.losses,
            arguments.dtypes,
            distances=arguments.distances,
            device=arguments.device,
            features=arguments.features,
            tables=arguments.tables,
            progress=True,
        )
    except ValueError as error:
        return _complain(str(error), _WRONG)
    except ImportError as error:
        if getattr(error, "name", None) not in ("ml_dtypes", None):
            raise
        return _complain(str(error), _MISSING)
    width = max(map(len, seconds))
    for name, took in seconds.items():
        print(f"{name:{width}}  {took:6.2f} s")
    print(f"{'total':{width}}  {sum(seconds.values()):6.2f} s")
    config = fastcos.show_config()
    print(f"kept in {(config['gpu'] if arguments.device else config)['cache']}")
    return 0


def _find(arguments: argparse.Namespace) -> int:
    """The summary to stdout, the progress to stderr, the result to a file."""
    command = neighbors.search if arguments.command == "search" else neighbors.duplicates
    try:
        command(arguments)
    except files.Refused as error:
        return _complain(str(error), _WRONG if isinstance(error, files.Misused) else _FAILED)
    except MemoryError as error:
        return _complain(f"not enough memory: {error}", _FAILED)
    return 0


def _show_info(as_json: bool) -> int:
    config = fastcos.show_config()
    if as_json:
        print(json.dumps(config, indent=2))
        return 0
    rows = list(_rows(config))
    width = max(len(name) for name, _ in rows) + 2
    print("\n".join(f"{name:{width}}{value}".rstrip() for name, value in rows))
    return 0


def _rows(config: Mapping[str, Any], indent: str = "") -> Iterator[tuple[str, str]]:
    """Names, indented by their depth, and values as a person reads them."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield indent + name, ""
            yield from _rows(value, indent + "  ")
        elif isinstance(value, (list, tuple)):
            yield indent + name, ", ".join(map(str, value)) or "none"
        else:
            yield indent + name, "not installed" if value is None else str(value)


def _complain(message: str, code: int) -> int:
    print(f"{_program()}: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
