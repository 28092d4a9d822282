"""What is shown of several numbers of threads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.report import (
    AGAIN,
    ALONE,
    FROM_PAGES,
    THREADS_PICTURE,
    Results,
    _machine,
    _markdown,
    _seconds,
    _sizes,
    _times,
)

#: Modes by their title, and the ceiling of each.
MODES = {
    "value": ("value", "read"),
    "value_and_grad_out": ("value and gradient", "copy"),
    "value_and_grad": ("value and gradient, new arrays", "copy"),
}


def tables(results: Results) -> str:
    """A table for each size, a row for each case and mode, beside the ceilings."""
    run, rows = results.run, results.rows
    counts = sorted({r["threads"] for r in rows})
    text = (
        f"{_machine(run)}\n\nTime per call by the number of threads, times faster than on one, and"
        " the share of the ceiling on as many. **Bold**: slower than on one. *Read* and *copy* are"
        " the ceilings, which have GB/s in place of a share: of each case its own, for the copy of"
        " a triplet moves three arrays.\n"
    )
    for n, d in _sizes(results):
        found = {
            (r["case"], r["mode"], r["provider"], r["threads"]): r
            for r in rows
            if (r["n"], r["d"]) == (n, d)
        }
        keys = list(dict.fromkeys(key[:3] for key in found))
        cases = list(dict.fromkeys(case for case, *_ in keys))
        body = []
        for case in cases:
            for mode, (title, ceiling) in MODES.items():
                line = [found.get((case, mode, "fastcos", count)) for count in counts]
                body.append((f"`{case}`, {title}", *map(_cell, line)))
                if mode != "value_and_grad":
                    of = [found.get((case, "ceiling", ceiling, count)) for count in counts]
                    body.append((f"*{ceiling}*", *map(_ceiling, of)))
        where = {"in": "in cache", "out": "out of cache"}[next(iter(found.values()))["cache"]]
        threads = [f"{count} thread{'s'[count < 2 :]}" for count in counts]
        text += f"\n{_markdown((f'{n} × {d}, {where}', *threads), body)}"
    again = [r["faster"][AGAIN]["ratio"] for r in rows if AGAIN in r["faster"]]
    ceilings = [r["share"] for r in rows if r["provider"] in ("read again", "copy again")]
    return (
        f"{text}\nMeasured a second time, as a control: the ceilings {min(ceilings):.0%} to"
        f" {max(ceilings):.0%} of the first, calls {min(again):.2f} to {max(again):.2f}. Other"
        f" processes took at most {max(r['others'] for r in rows):.0%} of the machine.\n\n"
        f"![Times faster than one thread, by threads]({FROM_PAGES}/{THREADS_PICTURE})\n"
    )


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "–"
    return _faster(row) + f", {row['share']:.0%}"


def _ceiling(row: Mapping[str, Any] | None) -> str:
    return "–" if row is None else f"{_faster(row)}, {row['gbps']:.0f}"


def _faster(row: Mapping[str, Any]) -> str:
    text = _seconds(row["p50"])
    return text if row["threads"] == 1 else f"{text}, {_times(row['faster'][ALONE]['ratio'])}"
