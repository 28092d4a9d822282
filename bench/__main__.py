"""``python -m bench`` measures, ``python -m bench report`` renders what was measured.

``python -m bench torch`` does both for the torch adapter, and needs torch.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import pathlib
import re
import sys
from collections.abc import Sequence

from bench import report

DTYPES = ("float32", "float64")


def main(arguments: Sequence[str]) -> int:
    """Runs the command line; returns the exit status."""
    if arguments[:1] == ["report"]:
        return report.main(arguments[1:])
    if arguments[:1] == ["torch"]:
        from bench import torch_cases

        return torch_cases.main(arguments[1:])
    from bench import runner
    from bench.cases import CASES

    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Times every case against the ceilings of this machine and its peers.",
        epilog="python -m bench report renders the README's table from the committed results;"
        " python -m bench torch --help is for torch.",
    )
    parser.add_argument("--cases", default="*", help="patterns of names, separated by commas")
    parser.add_argument(
        "--sizes", default=",".join(runner.SIZES), help=f"NxD or {', '.join(runner.SIZES)}"
    )
    parser.add_argument("--dtype", default="float32", help=f"among {', '.join(DTYPES)}")
    parser.add_argument("--repeats", type=int, default=30, help="samples of each contender")
    parser.add_argument("--json", type=pathlib.Path, help="file for the rows; replaced")
    parser.add_argument("--quick", action="store_true", help="3 repeats, small and medium")
    given = parser.parse_args(arguments)
    if given.quick:
        given.repeats, given.sizes = 3, "small,medium"

    patterns = given.cases.split(",")
    cases = [c for c in CASES if any(fnmatch.fnmatchcase(c.name, p) for p in patterns)]
    dtypes = given.dtype.split(",")
    if not cases:
        parser.error(f"--cases {given.cases} matches none of {', '.join(c.name for c in CASES)}")
    if given.repeats < 1:
        parser.error("--repeats must be at least 1")
    for dtype in dtypes:
        if dtype not in DTYPES:
            parser.error(f"--dtype must be among {', '.join(DTYPES)}, got {dtype}")
    sizes = []
    for text in given.sizes.split(","):
        match = re.fullmatch(r"(\d+)x(\d+)", text)
        if text not in runner.SIZES and not match:
            parser.error(f"--sizes must be NxD or {', '.join(runner.SIZES)}, got {text}")
        sizes.append(runner.Size(*map(int, match.groups())) if match else runner.SIZES[text])

    lines = [json.dumps(runner.environment(arguments))]
    if given.json:  # found out now that it cannot be written, not in half an hour
        given.json.write_text("", encoding="utf-8")
    for dtype in dtypes:
        for size in sizes:
            sets = runner.pool(size, dtype, runner.last_level_cache())
            for case in cases:
                rows = list(runner.measure(case, size, dtype, sets, given.repeats))
                lines += [json.dumps({"kind": "result", **row._asdict()}) for row in rows]
                sys.stdout.write(report.lines(rows) + "\n")
                sys.stdout.flush()
                if given.json:
                    given.json.write_text("\n".join(lines) + "\n", encoding="utf-8")
            del sets
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
