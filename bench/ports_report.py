"""What is shown of the cycles that a distance takes, and of those that memory leaves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.report import Results, _machine, _markdown

#: What is to be reached of the ceiling.
WANTED = 0.85
_MODES = {"value": "value", "gradient": "value and gradient"}


def tables(results: Results) -> str:
    """A table for values, one for value and gradient: a row for each distance and dtype."""
    run, rows = results.run, results.rows
    processors = list(dict.fromkeys(r["processor"] for r in rows))
    found = {(r["processor"], r["distance"], r["dtype"], r["mode"]): r for r in rows}
    keys = list(dict.fromkeys((r["distance"], r["dtype"]) for r in rows))
    text = (
        f"{_machine(run)} {run['mca']}. The clock is {run['clock'] / 1e9:.2f} GHz.\n\n"
        "Cycles of a core for each number of a row (a number of x and one of y): what llvm-mca says"
        " of the loops, with the ports that are busy to the last in brackets; what it takes *here*,"
        " on one thread, of rows in the second cache; and in how many *memory* delivers it to each"
        " core, at the GB/s of the ceilings of the table of all distances, 8192 × 768. *At most*"
        " is the share of the ceiling that the cycles here leave, if all of them pass while memory"
        " is waited for; then the share that was measured there."
        f" **Bold**: below {WANTED:.0%}.\n"
    )
    for mode, title in _MODES.items():
        body = []
        for distance, dtype in keys:
            loops = [_loops(found, (name, distance, dtype), mode) for name in processors]
            last = found[processors[0], distance, dtype, mode]
            here, memory = last["seconds"] * run["clock"], _memory(last, run)
            most = min(1.0, memory / here)
            body.append(
                (
                    f"`{distance}`, {dtype}",
                    *loops,
                    f"{here:.2f}",
                    f"{memory:.2f}",
                    _share(most),
                    "–" if last["share"] is None else _share(last["share"]),
                )
            )
        header = (title, *processors, "here", "memory", "at most", "measured")
        text += f"\n{_markdown(header, body)}"
    return text


def _loops(found: Mapping[Any, Mapping[str, Any]], key: tuple[str, ...], mode: str) -> str:
    """Cycles of the loops of a mode, a gradient being written while a row is summed up."""
    loops = [found[(*key, each)] for each in ("value", "gradient")[: 1 + (mode == "gradient")]]
    if any(loop["calls"] for loop in loops):
        return "calls `pow`"
    cycles = sum(loop["cycles"] / loop["numbers"] for loop in loops)
    return f"{cycles:.2f} ({_ports(loops[-1]['ports'])})"


def _ports(names: Sequence[str]) -> str:
    """Without what all names begin with: ``Zn4FP1`` and ``SPRPort05`` are FP1 and 05."""
    return ", ".join(name.replace("Zn4", "").replace("SPRPort", "p") for name in names)


def _memory(row: Mapping[str, Any], run: Mapping[str, Any]) -> float:
    """Cycles in which memory delivers what a number needs to a core, all of which ask for it."""
    size = {"float32": 4, "float64": 8}.get(row["dtype"], 2)
    moved = size * (2 if row["mode"] == "value" else 4)
    return float(moved * run["clock"] * run["cores"] / (row["gbps"] * 1e9))


def _share(share: float) -> str:
    return f"{share:.0%}" if share >= WANTED else f"**{share:.0%}**"


def line(row: Mapping[str, Any], clock: float) -> str:
    """A row as plain text, for whoever watches a run."""
    numbers = row["numbers"]
    return (
        f"{row['processor']:16}{row['distance']:12}{row['dtype']:10}{row['mode']:10}"
        f"{row['instructions']:4} instructions for {numbers:3} numbers,"
        f" {row['cycles'] / numbers:6.3f} cycles each, ports {row['ports_cycles'] / numbers:6.3f}"
        f" ({_ports(row['ports'])}), here {row['seconds'] * clock:6.3f}"
        + (f", {row['calls']} calls" if row["calls"] else "")
    )
