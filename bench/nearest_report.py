"""What the documents show of the results of ``python -m bench nearest``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench import report
from bench.report import AGAIN, Results

_LIBRARIES = {
    "faiss": "FAISS",
    "scikit-learn": "scikit-learn",
    "usearch": "usearch",
    "torch": "torch",
    "numpy": "NumPy",
}
_NAMES = {"fastcos": "fastcos", **_LIBRARIES}
_CASE = ("case", "dtype", "n", "d", "queries", "k")


def tables(results: Results) -> str:
    """Times, shares of the ceiling, quotients and memory, by case; then who is how often wrong."""
    run, found = results.run, _named(results)
    told = any(row.get("candidates") is not None for row in results.rows)
    peers = _peers(results)
    header = (
        "gallery, queries, k",
        *("fastcos", "of ceiling", "again"),
        *(["candidates"] if told else []),
        *(f"vs {_LIBRARIES[peer]}" for peer in peers),
        *("memory: fastcos", "least of the others"),
    )
    text = f"{report._machine(run)} NumPy's products are by {run['blas']}.{_earlier(results)}\n"
    for distance, stored in dict.fromkeys(key[:2] for key in found):
        body = [
            (
                _case(key),
                *(_time(rows.get("fastcos")), _share(rows.get("fastcos")), _again(rows)),
                *([_candidates(rows)] if told else []),
                *(_against(rows, peer) for peer in peers),
                *_memory(rows),
            )
            for key, rows in found.items()
            if key[:2] == (distance, stored)
        ]
        text += f"\n`{distance}`, {stored}:\n\n{report._markdown(header, body)}"
    ratios = [
        ratio
        for rows in found.values()
        for peer, ratio in rows.get("fastcos", {}).get("faster", {}).items()
        if peer != AGAIN
    ]
    again = [
        ratio
        for rows in found.values()
        if (ratio := rows.get("fastcos", {}).get("faster", {}).get(AGAIN)) is not None
    ]
    if ratios:
        slower = sum(ratio < 1 for ratio in ratios)
        noise = f" *Again* is it against itself, {report._range(again)}." if again else ""
        others = max(row["others"] for rows in found.values() for row in rows.values())
        text += (
            f"\nIn {slower} of {len(ratios)} comparisons fastcos is the slower one.{noise} Other"
            f" processes took at most {others:.0%} of the machine.\n"
        )
    return text + _answers(results)


def _named(results: Results) -> dict[tuple[Any, ...], dict[str, dict[str, Any]]]:
    """By case the times of all, by provider."""
    found: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for row in results.rows:
        if row["part"] == "time":
            found.setdefault(tuple(row[key] for key in _CASE), {})[row["provider"]] = row
    return found


def _peers(results: Results) -> list[str]:
    there = {row["provider"] for row in results.rows if row["part"] == "time"}
    return [name for name in _LIBRARIES if name in there]


def _case(key: Sequence[Any]) -> str:
    *_, n, d, queries, k = key
    return f"{n:,} × {d}, {queries:,}, {k}"


def _time(row: Mapping[str, Any] | None) -> str:
    if not row or row["least"] is None:
        return report._NOTHING
    return report._seconds(row["least"])


def _share(row: Mapping[str, Any] | None) -> str:
    return f"{row['share']:.0%}" if row and row["share"] else report._NOTHING


def _again(rows: Mapping[str, Mapping[str, Any]]) -> str:
    ratio = rows.get("fastcos", {}).get("faster", {}).get(AGAIN)
    return report._NOTHING if ratio is None else f"{ratio:.2f}"


def _candidates(rows: Mapping[str, Mapping[str, Any]]) -> str:
    found = rows.get("fastcos", {}).get("candidates")
    return report._NOTHING if found is None else f"{found:.1f}"


def _against(rows: Mapping[str, Mapping[str, Any]], peer: str) -> str:
    """How much longer a peer takes; or why that is not known."""
    ratio = rows.get("fastcos", {}).get("faster", {}).get(peer)
    if ratio is None:
        return report._why(rows.get(peer, {}), "left_out")
    return report._times(ratio)


def _memory(rows: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    """Of ours, bold where it is more; and the least of the others, and whose that is."""
    bytes_ = {
        name: row["peak_bytes"]
        for name, row in rows.items()
        if name in _NAMES and row["peak_bytes"] is not None
    }
    mine = bytes_.pop("fastcos", None)
    least = min(bytes_, key=lambda name: bytes_[name], default=None)
    text = report._NOTHING if mine is None else report._count(mine)
    if least is None:
        return text, report._NOTHING
    more = mine is not None and mine > bytes_[least]
    theirs = f"{report._count(bytes_[least])} {_LIBRARIES[least]}"
    return (f"**{text}**" if more else text), theirs


def _earlier(results: Results) -> str:
    commits = {row["commit"] for row in results.rows} - {results.run["commit"]}
    return f" Some rows are of {', '.join(sorted(commits))}." if commits else ""


def _answers(results: Results) -> str:
    """How many answers are wrong: provider by data, order / rows."""
    rows = [row for row in results.rows if row["part"] == "answers"]
    if not rows:
        return ""
    found = {(row["provider"], row["data"], row["case"]): row for row in rows}
    kinds = list(dict.fromkeys((row["data"], row["case"]) for row in rows))
    providers = [name for name in _NAMES if any(key[0] == name for key in found)]

    def cell(provider: str, kind: tuple[str, str]) -> str:
        row = found.get((provider, *kind), {})
        if row.get("wrong_order") is None:
            return report._NOTHING
        cells = [_percent(row[key], row["queries"]) for key in ("wrong_order", "wrong_rows")]
        return " / ".join(cells)

    first = rows[0]
    header = ("wrong answers: order / rows", *(f"{data}, {case}" for data, case in kinds))
    body = [(_NAMES[name], *(cell(name, kind) for kind in kinds)) for name in providers]
    return (
        f"\nOf {first['queries']:,} queries of a gallery of {first['n']:,} × {first['d']}, those"
        f" whose {first['k']} nearest rows are not the right ones in the right order / are not the"
        " right ones. **Bold**: any.\n\n"
        f"{report._markdown(header, body)}"
    )


def _percent(share: float, count: int) -> str:
    if not share:
        return "0"
    text = f"{share:.1%}" if share * 100 % 1 and count >= 200 and share < 0.1 else f"{share:.0%}"
    return f"**{text}**"


def lines(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of a case as plain text, for whoever watches a run."""
    first = rows[0]
    size = report.shape(first["n"], first["d"])
    if first["part"] == "answers":
        out = [f"{first['data']}, {first['case']}  {size}, wrong answers: order, rows"]
        for r in rows:
            cells = (r["wrong_order"], r["wrong_rows"])
            texts = [" left out" if c is None else f"{c:>9.1%}" for c in cells]
            out.append(f"  {r['provider']:<22}{''.join(texts)}".rstrip())
        return "\n".join(out)
    case = f"{first['case']}, {first['dtype']}"
    out = [f"{case}  {size}, {first['queries']} queries, k {first['k']}"]
    for r in rows:
        timed = "left out" if r["least"] is None else report._seconds(r["least"])
        share = "" if r["share"] is None else f"{r['share']:.0%}"
        peak = "" if r["peak_bytes"] is None else report._count(r["peak_bytes"])
        peers = ", ".join(
            f"{ratio:.2f} {name}" if name == AGAIN else f"{report._times(ratio)} {name}"
            for name, ratio in r["faster"].items()
        )
        told = f"  {r['provider']:<22}{timed:>9}{r['repeats']:>4}{share:>6}{peak:>10}  {peers}"
        out.append(told.rstrip())
    return "\n".join(out)


def full(results: Results) -> str:
    """Every row, in the order of the file."""
    header = (
        *("distance", "stored", "provider", "gallery", "queries", "k", "least", "p50", "turns"),
        *("of the ceiling", "times faster than", "memory"),
    )
    body = [
        (
            *(r["case"], r["dtype"], r["provider"], report.shape(r["n"], r["d"])),
            *(str(r["queries"]), str(r["k"])),
            *(report._NOTHING if r[q] is None else report._seconds(r[q]) for q in ("least", "p50")),
            str(r["repeats"]),
            report._NOTHING if r["share"] is None else f"{r['share']:.0%}",
            ", ".join(f"{ratio:.2f} {name}" for name, ratio in r["faster"].items()),
            report._NOTHING if r["peak_bytes"] is None else report._count(r["peak_bytes"]),
        )
        for r in results.rows
        if r["part"] == "time"
    ]
    return f"{report._machine(results.run)}\n\n{report._markdown(header, body)}{_answers(results)}"
