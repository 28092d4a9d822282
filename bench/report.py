"""Tables and a plot from the committed results."""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from bench.runner import Row

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
OF_TORCH = "<!-- bench-torch:begin -->", "<!-- bench-torch:end -->"
_HERE = pathlib.Path(__file__).parent
#: Every case at a few sizes, for the tables; a few cases at every size, for the plot.
TABLE, SWEEP, PLOT = "cpu.jsonl", "cpu-sizes.jsonl", "cpu.png"
TORCH = "torch.jsonl"

_SMALL, _LARGE = (32, 128), (8192, 768)
_DTYPE = "float32"
#: What the README shows of the cases, in this order.
_SHOWN = (
    "cosine_similarity",
    "paired_distance:euclidean",
    "paired_distance:manhattan",
    "paired_distance:chebyshev",
    "paired_distance:lp3",
    "paired_distance:canberra",
    "paired_distance:poincare",
    "cosine_embedding_loss",
    "cosine_distance_loss",
    "triplet_margin_loss",
    "triplet_margin_loss:swap",
    "triplet_margin_with_distance_loss:cosine",
    "hinge_embedding_loss",
)


class Results(NamedTuple):
    """One run: where and when, and its rows."""

    run: dict[str, Any]
    rows: list[dict[str, Any]]


def main(arguments: Sequence[str]) -> int:
    """Renders the README's table and the plot; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench report")
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if out of date")
    parser.add_argument("--full", action="store_true", help="print every row, write nothing")
    parser.add_argument("--readme", type=pathlib.Path, default=_HERE.parent / "README.md")
    parser.add_argument("--results", type=pathlib.Path, default=_HERE / "results")
    given = parser.parse_args(arguments)
    results = load(given.results / TABLE)
    if given.full:
        sys.stdout.write(full(results))
        return 0
    text = given.readme.read_text(encoding="utf-8")
    wanted = rendered(text, table(results))
    if (given.results / TORCH).exists():
        from bench import torch_cases

        wanted = rendered(wanted, torch_cases.render(given.results / TORCH), *OF_TORCH)
    if given.check:
        if text != wanted:
            sys.stderr.write(
                f"{given.readme.name} is not what the results render to:"
                " run python -m bench report\n"
            )
        return int(text != wanted)
    given.readme.write_text(wanted, encoding="utf-8")
    sweep = given.results / SWEEP
    if sweep.exists():
        plot(load(sweep), given.results / PLOT)
    return 0


def load(path: pathlib.Path) -> Results:
    """The run and the rows of a file of JSON lines."""
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    (run,) = (e for e in entries if e["kind"] == "run")
    return Results(run, [e for e in entries if e["kind"] == "result"])


def rendered(text: str, content: str, start: str = BEGIN, stop: str = END) -> str:
    """The text with the content between the markers.

    Raises:
        ValueError: the markers are not there, once each and in order.
    """
    head, begin, rest = text.partition(start)
    _, end, tail = rest.partition(stop)
    if not (begin and end) or start in rest or stop in tail:
        raise ValueError(f"the text must hold {start} and then {stop}, once each")
    return f"{head}{start}\n{content}{stop}{tail}"


def table(results: Results) -> str:
    """The README's table, with what was measured and where above it."""
    n, d = _LARGE
    large = _find(results, "cosine_embedding_loss", "value_and_grad_out", "fastcos", _LARGE)
    where = "out of cache" if large["cache"] == "out" else "in cache"
    text = (
        f"Pairs and triplets of {n:,} × {d} {_DTYPE} arrays, {where} (the calls rotate over"
        f" {_bytes(large['working_set'])}), and calls on {_SMALL[0]} × {_SMALL[1]}."
        f" {_machine(results.run)}\n\n"
        "*Ceiling* is the bandwidth that a parallel read of the same arrays (for values) or a"
        " parallel copy (for value and gradient) reached in the same process, in turn with the"
        " rest. Times faster than the NumPy formula with its hand-written gradient, and than"
        " the fastest of SciPy and scikit-learn where they have the function. **Bold**: slower.\n\n"
    )
    header = (
        "",
        "value: of ceiling",
        "vs NumPy",
        "vs SciPy, scikit-learn",
        "value and gradient: of ceiling",
        "vs NumPy",
        f"{_SMALL[0]} × {_SMALL[1]}: value",
        "value and gradient",
    )
    body = []
    for case in _SHOWN:
        value = _find(results, case, "value", "fastcos", _LARGE)
        both = _find(results, case, "value_and_grad_out", "fastcos", _LARGE)
        others = {k: v for k, v in value["faster"].items() if k != "numpy"}
        small = [
            _find(results, case, mode, "fastcos", _SMALL) for mode in ("value", "value_and_grad")
        ]
        body.append(
            (
                f"`{case}`",
                f"{value['share']:.0%}",
                _times(value["faster"]["numpy"]["ratio"]),
                _times(min(peer["ratio"] for peer in others.values())) if others else "",
                f"{both['share']:.0%}",
                _times(both["faster"]["numpy"]["ratio"]),
                *(f"{_seconds(s['p50'])}, {_times(s['faster']['numpy']['ratio'])}" for s in small),
            )
        )
    control = _find(results, "cosine_embedding_loss", "ceiling", "copy again", _LARGE)
    noise = (
        f"\nThe copy measured a second time as a control: {control['share']:.0%} of itself"
        f" ({control['share_p20']:.0%} to {control['share_p80']:.0%} within a round)."
        " Every row: `python -m bench report --full`; how it is measured: `bench/README.md`.\n"
    )
    return text + _markdown(header, body) + noise


def full(results: Results) -> str:
    """Every row, in the order measured."""
    header = (
        *("case", "mode", "provider", "n × d", "dtype", "cache", "p20", "p50", "p80"),
        *("GB/s", "of ceiling (20% to 80%)", "times faster than (20% to 80%)"),
    )
    body = [
        (
            *(r["case"], r["mode"], r["provider"], f"{r['n']} × {r['d']}", r["dtype"], r["cache"]),
            *(_seconds(r[q]) for q in ("p20", "p50", "p80")),
            f"{r['gbps']:.1f}",
            f"{r['share']:.0%} of {r['ceiling']} ({r['share_p20']:.0%} to {r['share_p80']:.0%})",
            ", ".join(
                f"{name} {_times(q['ratio'])} ({q['p20']:.3g} to {q['p80']:.3g})"
                for name, q in r["faster"].items()
            ),
        )
        for r in results.rows
    ]
    return _machine(results.run) + "\n\n" + _markdown(header, body)


def lines(rows: Sequence[Row]) -> str:
    """Rows as plain text, for whoever watches a run."""
    out = [f"{rows[0].case}  {rows[0].n}x{rows[0].d} {rows[0].dtype}, {rows[0].cache} of cache"]
    for r in rows:
        peers = ", ".join(f"{_times(q['ratio'])} {name}" for name, q in r.faster.items())
        out.append(
            f"  {r.mode:<19}{r.provider:<15}{_seconds(r.p50):>9}{r.gbps:8.1f} GB/s"
            f"{r.share:7.0%} of {r.ceiling:<5} {peers}"
        )
    return "\n".join(out)


def plot(results: Results, path: pathlib.Path) -> None:
    """Bandwidth and speed-up of value and gradient over the size of the problem."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib import ticker

    rows = [r for r in results.rows if r["dtype"] == _DTYPE]
    cases = list(dict.fromkeys(r["case"] for r in rows))

    def curve(case: str, mode: str, provider: str) -> list[dict[str, Any]]:
        chosen = (
            r for r in rows if (r["case"], r["mode"], r["provider"]) == (case, mode, provider)
        )
        return sorted(chosen, key=lambda r: r["bytes"])

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    shown = "cosine_embedding_loss"
    for label, mode, provider, style in (
        ("copy, the ceiling", "ceiling", "copy", {"color": "0.5", "ls": "--"}),
        ("fastcos", "value_and_grad_out", "fastcos", {"color": "C0", "marker": "o"}),
        (
            "fastcos, new arrays",
            "value_and_grad",
            "fastcos",
            {"color": "C0", "marker": "o", "ls": ":"},
        ),
        ("NumPy", "value_and_grad", "numpy", {"color": "C1", "marker": "s"}),
    ):
        found = curve(shown, mode, provider)
        left.plot([r["bytes"] for r in found], [r["gbps"] for r in found], label=label, **style)
    left.set(
        title=f"{shown}: value and gradient",
        xlabel="bytes that must move",
        ylabel="10⁹ bytes per second",
        xscale="log",
        yscale="log",
    )
    for case in cases:
        found = curve(case, "value_and_grad_out", "fastcos")
        ratios = [r["faster"]["numpy"] for r in found]
        x = [r["bytes"] for r in found]
        (line,) = right.plot(x, [q["ratio"] for q in ratios], marker="o", label=case)
        low, high = ([q[p] for q in ratios] for p in ("p20", "p80"))
        right.fill_between(x, low, high, color=line.get_color(), alpha=0.15, lw=0)
    right.axhline(1, color="0.5", ls="--", lw=1)
    right.set(
        title="times faster than NumPy, value and gradient",
        xlabel="bytes that must move",
        xscale="log",
        yscale="log",
    )
    right.yaxis.set_major_formatter("{x:g}×")
    right.yaxis.set_minor_formatter(ticker.NullFormatter())
    for axes in (left, right):
        axes.grid(which="both", alpha=0.2)
        axes.legend(fontsize=8)
    run = results.run
    figure.suptitle(f"{run['cpu']} ({run['architecture']}), {run['threads']} threads", fontsize=10)
    figure.savefig(path, dpi=130, metadata={"Software": None})
    plt.close(figure)


def _find(
    results: Results, case: str, mode: str, provider: str, size: tuple[int, int]
) -> dict[str, Any]:
    wanted = (case, mode, provider, *size, _DTYPE)
    for row in results.rows:
        if tuple(row[k] for k in ("case", "mode", "provider", "n", "d", "dtype")) == wanted:
            return row
    raise LookupError(f"the results have no row {wanted}")


def _machine(run: dict[str, Any]) -> str:
    versions = run["versions"]
    caches = ", ".join(f"{level} {_bytes(size)}" for level, size in run["caches"].items())
    return (
        f"{run['cpu']} ({run['architecture']}), {run['cores']} cores, {run['threads']} threads"
        f" ({run['threading_layer']}), {caches}; Python {versions['python']},"
        f" NumPy {versions['numpy']}, Numba {versions['numba']}, SciPy {versions['scipy']},"
        f" scikit-learn {versions['scikit-learn']}; fastcos {run['commit']}, {run['time'][:10]}."
    )


def _markdown(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (header, rule, *body))


def _times(ratio: float) -> str:
    """How many times faster; bold where it is slower."""
    text = (
        f"{ratio:.0f}×" if ratio >= 9.95 else f"{ratio:.1f}×" if ratio >= 0.95 else f"{ratio:.2f}×"
    )
    return text if ratio >= 1 else f"**{text}**"


def _seconds(value: float) -> str:
    for unit, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= unit:
            return f"{value / unit:.3g} {name}"
    return f"{value * 1e9:.3g} ns"


def _bytes(count: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count / 1024:.3g} KiB"
