"""The picture: speed-up over the peers, and share of the ceiling, over the size of the problem."""

from __future__ import annotations

import collections
import math
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from bench.report import AGAIN, ALONE, EAGER, FASTCOS_TORCH, PML, ST, TARGET, Results, _bytes

_CASE, _DTYPE = "cosine_embedding_loss", "float32"
#: What SimSIMD and NumKong have of it.
_COSINE = "cosine_similarity"


class _Curve(NamedTuple):
    """A line over the sizes.

    Args:
        label: For the legend.
        torch: Of the rows of torch; else of those on arrays.
        case: The case.
        mode: Of a share, its mode; of a speed-up, that of fastcos.
        provider: Of a share, whose; of a speed-up, over whom.
        style: How it is drawn.
    """

    label: str
    torch: bool
    case: str
    mode: str
    provider: str
    style: dict[str, Any]


class _Column(NamedTuple):
    """Two panels: speed-ups above, shares below."""

    title: str
    speedups: tuple[_Curve, ...]
    shares: tuple[_Curve, ...]


_OURS = {"color": "black", "marker": "o"}
_OURS_NEW = {"color": "black", "marker": "o", "mfc": "white", "ls": ":"}
_OURS_TORCH = {"color": "0.5", "marker": "D"}
_NUMPY = {"color": "tab:orange", "marker": "s"}
_NUMPY_NEW = {"color": "tab:orange", "marker": "s", "mfc": "white", "ls": ":"}
_EAGER = {"color": "tab:red", "marker": "^"}
_COMPILE = {"color": "tab:purple", "marker": "v"}
_SIMSIMD = {"color": "tab:green", "marker": "P"}
_NUMKONG = {"color": "tab:cyan", "marker": "X"}

_PEERS_OF_VALUES = (
    _Curve("NumPy formula", False, _CASE, "value", "numpy", _NUMPY),
    _Curve("torch", True, _CASE, "forward", "eager", _EAGER),
    _Curve("torch.compile", True, _CASE, "forward", "compile", _COMPILE),
    _Curve("SimSIMD, cosines only", False, _COSINE, "value", "simsimd", _SIMSIMD),
    _Curve("NumKong, cosines only", False, _COSINE, "value", "numkong", _NUMKONG),
)
_PEERS_IN_TORCH = (
    _Curve("torch", True, _CASE, "forward_backward", "eager", _EAGER),
    _Curve("torch.compile", True, _CASE, "forward_backward", "compile", _COMPILE),
)
_COLUMNS = (
    _Column(
        "value",
        _PEERS_OF_VALUES,
        (
            _Curve("fastcos", False, _CASE, "value", "fastcos", _OURS),
            _Curve("fastcos through torch", True, _CASE, "forward", "fastcos", _OURS_TORCH),
            *_PEERS_OF_VALUES,
        ),
    ),
    _Column(
        "value and gradient",
        (
            _Curve("NumPy formula", False, _CASE, "value_and_grad_out", "numpy", _NUMPY),
            # Like with like: the formula makes new arrays, too.
            _Curve("NumPy formula, both new", False, _CASE, "value_and_grad", "numpy", _NUMPY_NEW),
            *_PEERS_IN_TORCH,
        ),
        (
            _Curve("fastcos", False, _CASE, "value_and_grad_out", "fastcos", _OURS),
            _Curve("fastcos, new arrays", False, _CASE, "value_and_grad", "fastcos", _OURS_NEW),
            _Curve(
                *("fastcos through torch", True, _CASE, "forward_backward", "fastcos"), _OURS_TORCH
            ),
            _Curve("NumPy formula", False, _CASE, "value_and_grad", "numpy", _NUMPY),
            *_PEERS_IN_TORCH,
        ),
    ),
)


def draw(sweep: Results, torch: Sequence[dict[str, Any]], path: pathlib.Path) -> None:
    """Draws what there is of the curves. Lines are medians, bands the 20% to 80% quantiles."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(
        2, 2, figsize=(12, 9), sharex=True, sharey="row", layout="constrained"
    )
    for (above, below), column in zip(panels.T, _COLUMNS, strict=True):
        for curve in column.speedups:
            found = _rows(torch if curve.torch else sweep.rows, curve, "fastcos")
            _line(above, curve, _speedups(found, curve.provider))
        for curve in column.shares:
            found = _rows(torch if curve.torch else sweep.rows, curve, curve.provider)
            _line(below, curve, _shares(found))
        ours = column.shares[0]
        noise = _speedups(_rows(sweep.rows, ours, "fastcos"), AGAIN)
        if noise:
            size, low, _, high = zip(*noise, strict=True)
            label = "the same call again: noise"
            above.fill_between(size, low, high, color="black", alpha=0.3, lw=0, label=label)
        above.set(title=f"{_CASE}: {column.title}", xscale="log", yscale="log")
        below.set(xlabel="bytes that must move", yscale="log")
    speedup, share = panels
    low, high = speedup[0].get_ylim()
    low, high = min(low, 0.4), max(high, 2.5) * 2.5  # the legend is on top
    for axes in speedup:
        axes.axhline(1, color="black", lw=1)
        axes.axhspan(low, 1, color="tab:red", alpha=0.08, lw=0, zorder=0)
        axes.annotate("fastcos is slower", (0.99, 0.02), xycoords="axes fraction", ha="right")
        axes.legend(fontsize=8, loc="upper left", ncols=2)
        axes.set_ylim(low, high)
    low, high = share[0].get_ylim()
    for axes in share:
        axes.axhline(1, color="black", lw=1)
        axes.axhline(TARGET, color="black", lw=1, ls="--")
        axes.legend(fontsize=8, loc="lower right", ncols=2)
        axes.set_ylim(low / 3, max(high, 1.2))
    speedup[0].set_ylabel("times faster than the peer")
    share[0].set_ylabel(f"bandwidth, as a share of the ceiling (dashed: {TARGET:.0%})")
    _marks(speedup[0], "{x:g}×")
    _marks(share[0], _percent)
    for axes in panels.flat:
        axes.grid(which="both", alpha=0.2)
    run = sweep.run
    _save(
        figure,
        path,
        f"{run['cpu']} ({run['architecture']}), {run['threads']} threads, {_DTYPE};"
        " lines are medians, bands 20% to 80% of the rounds",
    )


def draw_cuda(results: Results, path: pathlib.Path) -> None:
    """Draws arrays on a GPU beside the formulas in CuPy, which make new arrays."""
    modes = (("value", "value"), ("value_and_grad_out", "value and gradient"))
    _draw_shares(results, modes, (("cupy", "CuPy", "s"),), path)


def draw_torch_cuda(results: Results, path: pathlib.Path) -> None:
    """Draws tensors on a GPU beside torch's own functions."""
    modes = (("forward", "forward"), ("forward_backward", "forward + backward"))
    _draw_shares(results, modes, (("eager", "torch", "^"), ("compile", "torch.compile", "v")), path)


def _draw_shares(
    results: Results,
    modes: Sequence[tuple[str, str]],
    peers: Sequence[tuple[str, str, str]],
    path: pathlib.Path,
) -> None:
    """Draws shares of the copy's bandwidth on a GPU: dtypes in rows, modes in columns."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    dtypes, cases = (list(dict.fromkeys(r[key] for r in results.rows)) for key in ("dtype", "case"))
    figure, panels = plt.subplots(
        *(len(dtypes), len(modes)),
        figsize=(12, 1 + 4 * len(dtypes)),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for row, dtype in zip(panels, dtypes, strict=True):
        for axes, (mode, title) in zip(row, modes, strict=True):
            for number, case in enumerate(cases):
                style = {"color": f"C{number}", "marker": "o"}
                curve = _Curve(case, False, case, mode, "fastcos", style)
                _line(axes, curve, _shares(_rows(results.rows, curve, "fastcos", dtype)))
                for peer, label, marker in peers:
                    theirs = curve._replace(
                        label=f"{case}, {label}",
                        mode=mode.removesuffix("_out"),
                        style={**style, "marker": marker, "mfc": "white", "ls": ":"},
                    )
                    _line(axes, theirs, _shares(_rows(results.rows, theirs, peer, dtype)))
            axes.axhline(1, color="black", lw=1)
            axes.axhline(TARGET, color="black", lw=1, ls="--")
            axes.set(title=f"{title}, {dtype}", xscale="log", yscale="log")
            _marks(axes, _percent)
            axes.grid(which="both", alpha=0.2)
        row[0].set_ylabel(f"share of the copy's bandwidth (dashed: {TARGET:.0%})")
    for axes in panels[-1]:
        axes.set_xlabel("bytes that must move")
    handles = panels[0, 0].get_legend_handles_labels()
    figure.legend(*handles, fontsize=8, loc="outside lower center", ncols=1 + len(peers))
    _save(
        figure,
        path,
        f"{results.run['gpu']['name']}; lines are medians, bands 20% to 80% of the rounds",
    )


#: Whose memory is drawn, with the label and the marker.
_OF_MEMORY = (
    (FASTCOS_TORCH, "fastcos", {"color": "black", "marker": "o"}),
    (EAGER, "torch", _EAGER),
    (PML, "pytorch-metric-learning", {"color": "tab:orange", "marker": "s"}),
    (ST, "sentence-transformers", {"color": "tab:green", "marker": "P"}),
)


def draw_listwise(results: Results, path: pathlib.Path) -> None:
    """Draws what a call takes of memory over the number of rows, a panel for each case.

    The rows are as long as most that were measured. A cross is where memory was not enough.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib import ticker

    rows = results.rows
    d = collections.Counter(r["d"] for r in rows).most_common(1)[0][0]
    cases = list(dict.fromkeys(r["case"] for r in rows))
    columns = min(4, len(cases))
    figure, panels = plt.subplots(
        *(math.ceil(len(cases) / columns), columns),
        figsize=(3.4 * columns, 1 + 3 * math.ceil(len(cases) / columns)),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axes in panels.flat[len(cases) :]:
        axes.set_visible(False)
    for axes, case in zip(panels.flat, cases, strict=False):
        mine = sorted((r for r in rows if (r["case"], r["d"]) == (case, d)), key=lambda r: r["n"])
        for provider, label, style in _OF_MEMORY:
            own = [r for r in mine if r["provider"] == provider]
            # No pages at all would have no place on this axis.
            known = [
                (r["n"], max(r["peak_bytes"], 4096)) for r in own if r["peak_bytes"] is not None
            ]
            if known:
                axes.plot(*zip(*known, strict=True), label=label, ms=4, **style)
            lacking = [r["n"] for r in own if r["no_peak"] == "memory"]
            most = [results.run["memory"]] * len(lacking)
            axes.plot(lacking, most, "x", color=style["color"], label="_")
        each = sorted({(r["n"], 4 * r["n"] * r["candidates"]) for r in mine})
        if each:
            style = {"color": "0.5", "lw": 1, "ls": "--"}
            axes.plot(*zip(*each, strict=True), label="all similarities, float32", **style)
        axes.set_title(case, fontsize=9)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_locator(ticker.LogLocator(base=8))
        axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda n, _: f"{n:,.0f}"))
        axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda n, _: _bytes(n)))
        axes.tick_params(axis="x", labelrotation=60)
        axes.grid(which="both", alpha=0.2)
    by_label = {
        label: handle
        for axes in panels.flat
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    columns = 5 if columns > 2 else 2
    figure.legend(
        by_label.values(), by_label.keys(), fontsize=8, loc="outside lower center", ncols=columns
    )
    _save(
        figure,
        path,
        f"What a call takes beyond the arrays, over the number of rows of {d}\n"
        "(crosses: does not fit the memory of this machine)",
    )


def draw_threads(results: Results, path: pathlib.Path) -> None:
    """Draws times faster than one thread over threads: sizes in columns, modes in rows."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib import ticker

    run, rows = results.run, results.rows
    sizes = sorted({(r["n"], r["d"]) for r in rows}, key=math.prod)
    cases = list(dict.fromkeys(r["case"] for r in rows))
    counts = sorted({r["threads"] for r in rows})
    modes = (("value", "read", "value"), ("value_and_grad_out", "copy", "value and gradient"))
    figure, panels = plt.subplots(
        *(len(modes), len(sizes)),
        figsize=(1 + 5 * len(sizes), 8),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for line, (mode, ceiling, title) in zip(panels, modes, strict=True):
        for axes, size in zip(line, sizes, strict=True):
            for number, case in enumerate(cases):
                style = {"color": f"C{number}", "marker": "o"}
                dotted = {**style, "marker": "s", "mfc": "white", "ls": ":"}
                for what, provider, label, look in (
                    (mode, "fastcos", case, style),
                    ("ceiling", ceiling, f"{ceiling} of as many arrays", dotted),
                ):
                    wanted = (case, what, provider, *size)
                    keys = ("case", "mode", "provider", "n", "d")
                    own = [r for r in rows if tuple(r[key] for key in keys) == wanted]
                    points = sorted(
                        (r["threads"], *(r["faster"][ALONE][q] for q in ("p20", "ratio", "p80")))
                        for r in own
                    )
                    _line(axes, _Curve(label, False, case, what, provider, look), points)
            axes.plot(counts, counts, color="0.5", lw=1, ls="--", label="as many as threads")
            axes.axvline(run["cores"], color="black", lw=1, label="as many threads as cores")
            axes.set(title=f"{title}, {size[0]} × {size[1]}")
            axes.set_xscale("log", base=2)
            axes.set_yscale("log", base=2)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(ticker.FuncFormatter(lambda n, _: f"{n:.2g}"))
            axes.grid(which="both", alpha=0.2)
        line[0].set_ylabel("times faster than one thread")
        line[0].legend(fontsize=8, loc="upper left")
    for axes in panels[-1]:
        axes.set_xlabel("threads")
    _save(
        figure,
        path,
        f"{run['cpu']} ({run['architecture']}), {run['cores']} cores;"
        " lines are medians, bands 20% to 80% of the rounds",
    )


def _save(figure: Any, path: pathlib.Path, title: str) -> None:
    from matplotlib import pyplot as plt

    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=110, facecolor="white", metadata={"Software": None})
    plt.close(figure)


#: A size in bytes; and the low quantile, the median and the high quantile there.
_Point = tuple[int, float, float, float]


def _rows(
    rows: Sequence[dict[str, Any]], curve: _Curve, provider: str, dtype: str = _DTYPE
) -> list[dict[str, Any]]:
    wanted = (curve.case, curve.mode, provider, dtype)
    found = (r for r in rows if (r["case"], r["mode"], r["provider"], r["dtype"]) == wanted)
    return sorted(found, key=lambda r: int(r["bytes"]))


def _shares(rows: Sequence[dict[str, Any]]) -> list[_Point]:
    return [(r["bytes"], r["share_p20"], r["share"], r["share_p80"]) for r in rows]


def _speedups(rows: Sequence[dict[str, Any]], over: str) -> list[_Point]:
    found = [(r["bytes"], r["faster"][over]) for r in rows if over in r["faster"]]
    return [(size, q["p20"], q["ratio"], q["p80"]) for size, q in found]


def _line(axes: Any, curve: _Curve, points: Sequence[_Point]) -> None:
    """The median as a line in its band; nothing for results that do not have it."""
    if points:
        size, low, middle, high = zip(*points, strict=True)
        axes.plot(size, middle, label=curve.label, ms=5, **curve.style)
        axes.fill_between(size, low, high, color=curve.style["color"], alpha=0.15, lw=0)


def _percent(part: float, _: int) -> str:
    return f"{100 * part:g}%"


def _marks(axes: Any, form: Any) -> None:
    """What stands at a logarithmic axis."""
    from matplotlib import ticker

    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(form)
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())
