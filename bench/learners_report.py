"""What the documents show of the results of ``python -m bench learners``."""

from __future__ import annotations

import collections
import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bench import report
from bench.report import AGAIN, Results

_OURS = "fastcos"
_DISTANCES = ("euclidean", "cosine")
_FIGURES = {"accuracy": "1-NN", "map_at_r": "MAP@R"}
#: Standard errors of a difference beyond which it is taken for one.
_CLEAR = 2


class _Mean(NamedTuple):
    mean: float
    error: float  # the standard error; NaN of one split


def tables(results: Results) -> str:
    """A table for each data set: both figures by both distances, and the time of a fit."""
    text = f"{report._machine(results.run)} {_blas(results)}{_left_out(results)}\n"
    header = [
        *("percent",),
        *(f"{title}, {distance}" for title in _FIGURES.values() for distance in _DISTANCES),
        *("fit", "chosen"),
    ]
    for name, rows in _by_case(results).items():
        header[0] = _told(name, rows)
        body = [
            (
                _named(row),
                *(
                    _shown(row, _against(rows, row), figure, distance)
                    for figure in _FIGURES
                    for distance in _DISTANCES
                ),
                _time(row, _against(rows, row)),
                _chosen(row),
            )
            for row in rows
            if row["provider"] != AGAIN
        ]
        text += f"\n{report._markdown(header, body)}"
    return f"{text}\n{_counted(results)}{_first(results)}"


def full(results: Results) -> str:
    """Every row, in the order of the file."""
    header = (
        *("data set", "method", "components"),
        *(f"{title}, {distance}" for title in _FIGURES.values() for distance in _DISTANCES),
        *("fit: least", "median", "most", "chosen"),
    )
    body = [
        (
            *(row["case"], _named(row), f"{row['components']} of {row['d']}"),
            *(
                _shown(row, None, figure, distance)
                for figure in _FIGURES
                for distance in _DISTANCES
            ),
            *(report._seconds(f(row["seconds"])) for f in (min, statistics.median, max)),
            _chosen(row),
        )
        for row in results.rows
    ]
    return f"{report._machine(results.run)}\n\n{report._markdown(header, body)}"


def lines(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of a data set as plain text, for whoever watches a run."""
    first = rows[0]
    splits = len(first["seconds"])
    out = [f"{first['case']}  {first['n']}x{first['d']}, {splits} splits: {', '.join(_columns())}"]
    for row in rows:
        figures = (_of(row, figure, distance) for figure in _FIGURES for distance in _DISTANCES)
        told = "  ".join(f"{_percent(figure):>12}" for figure in figures)
        median = report._seconds(statistics.median(row["seconds"]))
        out.append(f"  {_named(row):<28}{told}{median:>10}  {_chosen(row)}".rstrip())
    return "\n".join(out)


def _columns() -> Iterator[str]:
    return (f"{title} {distance}" for title in _FIGURES.values() for distance in _DISTANCES)


# --------------------------------------------------------------------------------------------------
# Numbers
# --------------------------------------------------------------------------------------------------


def mean_of(values: Sequence[float]) -> _Mean:
    """Of the splits of a row, or of differences within splits."""
    if len(values) == 1:
        return _Mean(values[0], math.nan)
    return _Mean(statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values)))


def best(row: Mapping[str, Any], figure: str) -> str:
    """The distance that does better for a row; of equal ones the first."""
    return max(_DISTANCES, key=lambda distance: statistics.fmean(row[figure][distance]))


def _of(row: Mapping[str, Any], figure: str, distance: str) -> _Mean:
    return mean_of(row[figure][distance])


def _percent(figure: _Mean) -> str:
    if math.isnan(figure.error):
        return f"{100 * figure.mean:.1f}"
    return f"{100 * figure.mean:.1f} ± {100 * figure.error:.1f}"


def _shown(
    row: Mapping[str, Any],
    ours: Mapping[str, Any] | None,
    figure: str,
    distance: str,
) -> str:
    """A figure of a row; bold where it beats ours."""
    found = _of(row, figure, distance)
    text = _percent(found)
    if ours is None or row["provider"] == _OURS:
        return text
    mine = _of(ours, figure, distance)
    return f"**{text}**" if found.mean > mine.mean else text


def _time(row: Mapping[str, Any], ours: Mapping[str, Any] | None) -> str:
    """The median; bold where it is less than ours. What has nothing to learn has no time."""
    if row["provider"] == "no projection":
        return report._NOTHING
    median = statistics.median(row["seconds"])
    text = report._seconds(median)
    beaten = ours is not None and median < statistics.median(ours["seconds"])
    return f"**{text}**" if beaten else text


def comparisons(results: Results) -> Iterator[tuple[str, str, bool, str, _Mean]]:
    """Data set, method, whether tuned, figure, and by how much the method is ahead of ours.

    Differences are within splits; each side has the distance that does better for it.
    """
    for case, rows in _by_case(results).items():
        for row in rows:
            ours = _against(rows, row)
            if ours is None or row["provider"] in (_OURS, AGAIN):
                continue
            for figure in _FIGURES:
                pairs = zip(
                    row[figure][best(row, figure)], ours[figure][best(ours, figure)], strict=True
                )
                ahead = mean_of([theirs - mine for theirs, mine in pairs])
                yield case, row["provider"], row["tuned"], figure, ahead


def _counted(results: Results) -> str:
    """How often fastcos is behind, clearly or not, and how far the same fit differs in time."""
    found = list(comparisons(results))
    if not found:
        return ""
    parts = []
    for figure, title in _FIGURES.items():
        ahead = [each for *_, name, each in found if name == figure]
        behind = sum(each.mean > 0 for each in ahead)
        clearly = sum(each.mean > _CLEAR * each.error for each in ahead)
        won = sum(-each.mean > _CLEAR * each.error for each in ahead)
        parts.append(
            f"Of {len(ahead)} comparisons by {title} fastcos is behind in {behind}, by more than"
            f" {_CLEAR} standard errors of the difference within splits in {clearly}, and ahead by"
            f" more than that in {won}."
        )
    again = [
        statistics.median(row["seconds"]) / statistics.median(ours["seconds"])
        for rows in _by_case(results).values()
        for row in rows
        if row["provider"] == AGAIN and (ours := _against(rows, row))
    ]
    if again:
        parts.append(f"The same fit another time took {report._range(again)} of the time.")
    others = max(row["others"] for row in results.rows)
    return f"{' '.join(parts)} Other processes took at most {others:.0%} of the machine.\n"


def _first(results: Results) -> str:
    first = results.run.get("first_fit")
    if not first:
        return ""
    return (
        f"\nThe first fit of fastcos in a process took {report._seconds(first['compiled'])} with"
        f" nothing compiled, {report._seconds(first['kept'])} with kernels on disk; the times above"
        " are of later ones.\n"
    )


# --------------------------------------------------------------------------------------------------
# Words
# --------------------------------------------------------------------------------------------------


def _by_case(results: Results) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in results.rows:
        found.setdefault(row["case"], []).append(row)
    return found


def _against(rows: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Ours, tuned where the row is."""
    for each in rows:
        if (each["provider"], each["tuned"]) == (_OURS, row["tuned"]):
            return each
    return None


def _title(provider: str, tuned: bool) -> str:
    return f"{provider}, tuned" if tuned else provider


def _named(row: Mapping[str, Any]) -> str:
    return _title(row["provider"], row["tuned"])


def _told(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    first = rows[0]
    return (
        f"{name}: {first['n']} × {first['d']}, {first['classes']} classes,"
        f" {first['components']} components, {len(first['seconds'])} splits"
    )


def _chosen(row: Mapping[str, Any]) -> str:
    """Which settings were chosen, and how often."""
    counts = collections.Counter(json.dumps(settings) for settings in row["settings"])
    return ", ".join(f"{_setting(text)} ({count})" for text, count in counts.most_common())


def _setting(text: str) -> str:
    found = json.loads(text)
    return " ".join(f"`{name}={value!r}`" for name, value in found.items()) or "defaults"


def _blas(results: Results) -> str:
    run = results.run
    threads = f"{run['blas_threads']} thread{'s' if run['blas_threads'] > 1 else ''}"
    return f"Products are by {', '.join(run['blas'])}, with {threads}."


def _left_out(results: Results) -> str:
    return "".join(f" {name} is left out: {why}." for name, why in results.run["left_out"].items())
