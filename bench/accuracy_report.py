"""What the page on accuracy shows of the results of ``python -m bench accuracy``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import ml_dtypes

from bench import report
from bench.report import _NOTHING, Results

_NAMES = {
    "fastcos": "fastcos",
    "torch": "torch",
    "torch loss": "torch, loss",
    "numpy": "NumPy",
    "numpy float64": "NumPy in float64",
    "scikit-learn": "scikit-learn",
    "scipy": "SciPy",
    "scipy cdist": "SciPy `cdist`",
    "simsimd": "SimSIMD",
    "numkong": "NumKong",
    "pml": "pytorch-metric-learning",
}
_TITLES = {"cosine": "1 - c", "euclidean": "Euclidean", "triplet": "triplet loss"}
_HALVES = "float16", "bfloat16"
#: What is promised, in units in the last place; and of a small ``1 - c``, as a share of it.
_PROMISED, _PROMISED_FLOAT64, _PROMISED_SHARE = 4, 32, 1e-6
#: From this share on nothing of a result is right.
_LOST = 0.1
Row = Mapping[str, Any]


def lines(rows: Sequence[Row]) -> str:
    """Rows as plain text, for whoever watches a run."""
    return "\n".join(
        f"  {r['function']:<22}{r['provider']:<15}{r['dtype']:<9}{r['case']:<37}{_figures(r)}"
        for r in rows
    )


def full(results: Results) -> str:
    """Every row."""
    header = ("part", "of", "provider", "dtype", "rows", "figures")
    keys = ("part", "function", "provider", "dtype", "case")
    body = [(*(str(r[key]) for key in keys), _figures(r)) for r in results.rows]
    return f"{report._machine(results.run)}\n\n{report._markdown(header, body)}"


def _figures(row: Row) -> str:
    return ", ".join(
        f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in row["figures"].items()
    )


def part(name: str, results: Results) -> str:
    """The tables of one part; that of all is where and with what it was measured."""
    if name not in _PARTS:
        return f"{report._machine(results.run)}\n"
    return _PARTS[name]([row for row in results.rows if row["part"] == name])


def _table(
    title: str,
    columns: Mapping[str, Iterable[Row]],
    cell: Callable[[list[Row]], str],
) -> str:
    """Providers by columns, each of the rows that it has of a provider; those without are left out.

    The title is the corner of the table.
    """
    found = {name: list(rows) for name, rows in columns.items()}
    there = {row["provider"] for rows in found.values() for row in rows}
    body = []
    for provider in (name for name in _NAMES if name in there):
        own = [[r for r in rows if r["provider"] == provider] for rows in found.values()]
        body.append((_NAMES[provider], *(cell(rows) if rows else _NOTHING for rows in own)))
    return "\n" + report._markdown((title, *found), body)


# --------------------------------------------------------------------------------------------------
# Errors
# --------------------------------------------------------------------------------------------------


def _units(figure: Any, dtype: str) -> str:
    """So many units in the last place; bold where it is more than promised."""
    if isinstance(figure, str):
        return {"nan": "**NaN**", "inf": "**inf**", "-inf": "**-inf**"}[figure]
    if figure * float(ml_dtypes.finfo(dtype).eps) > _LOST:
        return "**lost**"
    text = f"{max(figure, 0.5):.1f}" if figure < 9.95 else f"{figure:.0f}"
    promised = _PROMISED_FLOAT64 if dtype == "float64" else _PROMISED
    return text if float(text) <= promised else _b(text)


def _share(figure: Any) -> str:
    """Of the value; bold where it is more than promised."""
    if isinstance(figure, str):
        return _b({"nan": "NaN"}.get(figure, figure))
    if figure > _LOST:
        return "**lost**"
    text = f"{max(figure, 1e-17):.0e}".replace("e-0", "e-")
    return text if figure <= _PROMISED_SHARE else _b(text)


def _b(text: str) -> str:
    return f"**{text}**"


def _worst(rows: Sequence[Row], key: str) -> Any:
    """The largest of a figure; None where there is none, and what is no number before others."""
    found = [r["figures"][key] for r in rows if key in r["figures"]]
    texts = [figure for figure in found if isinstance(figure, str)]
    return texts[0] if texts else max(found, default=None)


def _both(rows: Sequence[Row]) -> str:
    """Value and gradient, in units."""
    dtype = rows[0]["dtype"]
    figures = (_worst(rows, key) for key in ("value", "gradient"))
    return " / ".join(_units(figure, dtype) for figure in figures if figure is not None)


def _ordinary(rows: Sequence[Row]) -> str:
    def of(row: Row) -> tuple[int, str]:
        length, _, kind = row["case"].partition(", ")
        return int(length), kind

    functions = list(dict.fromkeys(row["function"] for row in rows))
    longest = max(of(row)[0] for row in rows)
    shorter = sorted({of(row)[0] for row in rows} - {longest})
    text = ""
    for function in functions:
        own = [r for r in rows if (r["function"], r["dtype"]) == (function, "float32")]
        columns = {}
        for lengths in (shorter, [longest]):
            told = " and ".join(f"{length:,}" for length in lengths)
            for kind in ("both signs", "one sign"):
                named = [r for r in own if of(r)[0] in lengths and of(r)[1] == kind]
                columns[f"{told}, {kind}"] = named
        text += _table(f"{_TITLES[function]}, float32", columns, _both)
    for dtype in _HALVES:
        own = [row for row in rows if row["dtype"] == dtype]
        columns = {}
        for function in functions:
            named = [row for row in own if row["function"] == function]
            if function == "cosine":
                for kind in ("both signs", "one sign"):
                    of_kind = [row for row in named if of(row)[1] == kind]
                    columns[f"{_TITLES[function]}, {kind}"] = of_kind
            else:
                columns[_TITLES[function]] = named
        text += _table(f"{dtype}, {' and '.join(map(str, shorter))}", columns, _both)
    return text


def _parallel(rows: Sequence[Row]) -> str:
    text = ""
    for dtype in dict.fromkeys(row["dtype"] for row in rows):
        own = [row for row in rows if row["dtype"] == dtype]
        for key in ("value", "gradient"):
            columns = {
                f"{float(case):.0e}".replace("e-0", "e-"): [
                    r for r in own if r["case"] == case and key in r["figures"]
                ]
                for case in dict.fromkeys(row["case"] for row in own)
            }
            of = "1 - c" if key == "value" else "gradient"
            text += _table(
                f"{of}, {dtype}", columns, lambda found, key=key: _share(_worst(found, key))
            )
    return text


def _scaled(rows: Sequence[Row]) -> str:
    text = ""
    for function in dict.fromkeys(row["function"] for row in rows):
        own = [row for row in rows if row["function"] == function]
        of = list(dict.fromkeys((row["dtype"], row["case"]) for row in own))
        for dtypes in (("float32",), ("float64",), _HALVES):
            columns = {
                f"{case.replace('e+', 'e')}, {dtype}": [
                    r for r in own if (r["dtype"], r["case"]) == (dtype, case)
                ]
                for dtype, case in of
                if dtype in dtypes
            }
            text += _table(_TITLES[function], columns, _both)
    return text


# --------------------------------------------------------------------------------------------------
# Singular rows, kinks, threads
# --------------------------------------------------------------------------------------------------


def _percent(share: float) -> str:
    return f"{share:.0%}" if share == 0 or share >= 0.01 else f"{share:.1%}"


def _equal(rows: Sequence[Row]) -> str:
    def cell(found: list[Row]) -> str:
        (row,) = found
        figures = row["figures"]
        if figures["not 0"] == 0:
            return "always 0"
        below = f", {_percent(figures['negative'])} below 0" if figures["negative"] else ""
        return f"**{_percent(figures['not 0'])}**{below}, to {figures['largest']:.0e}"

    columns = {
        dtype: [row for row in rows if row["dtype"] == dtype]
        for dtype in dict.fromkeys(row["dtype"] for row in rows)
    }
    return _table("not 0", columns, cell)


def _zero(rows: Sequence[Row]) -> str:
    keys = {"with a row": "with another row", "both": "of two zero rows", "gradient": "gradient"}

    def cell(key: str) -> Callable[[list[Row]], str]:
        def told(found: list[Row]) -> str:
            figure = found[0]["figures"].get(key)
            if figure is None:
                return _NOTHING
            if isinstance(figure, str):
                return _b({"nan": "NaN"}.get(figure, figure))
            return f"{figure:.2g}" if figure == 0 else _b(f"{figure:.2g}".replace("e+0", "e"))

        return told

    text = ""
    for dtype in ("float32", "float16"):
        own = [row for row in rows if row["dtype"] == dtype]
        there = [name for name in _NAMES if any(row["provider"] == name for row in own)]
        body = []
        for name in there:
            named = [row for row in own if row["provider"] == name]
            body.append((_NAMES[name], *(cell(key)(named) for key in keys)))
        if body:
            text += "\n" + report._markdown((f"cosine, {dtype}", *keys.values()), body)
    return text


def _bad(rows: Sequence[Row]) -> str:
    def cell(found: list[Row]) -> str:
        figures = found[0]["figures"]
        if figures.get("refused"):
            return "refused"
        own, case = figures["own"], found[0]["case"]
        finite = not isinstance(own, str)
        text = f"{own:.2g}" if finite else {"nan": "NaN"}.get(own, own)
        if not figures["others"]:
            return f"**{text}, and others**"
        return _b(text) if finite or (case == "nan" and own != "nan") else text

    columns = {
        f"{_TITLES[function]}, {'NaN' if case == 'nan' else case}": [
            r for r in rows if (r["function"], r["case"]) == (function, case)
        ]
        for function in dict.fromkeys(row["function"] for row in rows)
        for case in dict.fromkeys(row["case"] for row in rows)
    }
    return _table("its own sample", columns, cell)


def _kinks(rows: Sequence[Row]) -> str:
    there = [name for name in _NAMES if any(row["provider"] == name for row in rows)]
    body = []
    for case in dict.fromkeys(row["case"] for row in rows):
        cells = {
            row["provider"]: f"({', '.join(f'{c:g}' for c in row['figures']['gradient'][0])})"
            for row in rows
            if row["case"] == case
        }
        # Where they differ.
        ours = cells.get("fastcos")
        shown = [cells.get(name, _NOTHING) for name in there]
        body.append((case, *(_b(c) if c not in (ours, _NOTHING) else c for c in shown)))
    return "\n" + report._markdown(("at", *(_NAMES[name] for name in there)), body)


def _threads(rows: Sequence[Row]) -> str:
    there = [name for name in _NAMES if any(row["provider"] == name for row in rows)]

    def cell(case: str, name: str) -> str:
        for row in rows:
            if (row["function"], row["provider"]) == (case, name):
                count = row["figures"]["of"]
                told = (row["figures"][key] for key in ("value", "gradient"))
                return " / ".join(f"**{n} of {count}**" if n else f"0 of {count}" for n in told)
        return _NOTHING

    body = [
        (f"`{case}`", *(cell(case, name) for name in there))
        for case in dict.fromkeys(row["function"] for row in rows)
    ]
    return "\n" + report._markdown(
        ("other bits: value / gradient", *(_NAMES[n] for n in there)), body
    )


_PARTS: dict[str, Callable[[Sequence[Row]], str]] = {
    "ordinary": _ordinary,
    "parallel": _parallel,
    "scaled": _scaled,
    "equal": _equal,
    "zero": _zero,
    "bad": _bad,
    "kinks": _kinks,
    "threads": _threads,
}
