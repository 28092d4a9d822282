"""The short table of speed: what people do, one line each, from several files of results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from bench import report
from bench.report import Results

_NAMES = {
    **{"numpy": "NumPy", "scikit-learn": "scikit-learn", "simsimd": "SimSIMD"},
    **{"numkong": "NumKong", "eager": "torch", "torch": "torch", "compile": "torch.compile"},
    **{"scipy": "SciPy", "add.at": "`np.add.at`", "pml": "PML", "faiss": "FAISS"},
    **{"usearch": "usearch"},
}


class _Line(NamedTuple):
    """A line of the table: what it says, from which file, and which row that is."""

    title: str
    results: str
    row: dict[str, Any]
    peers: tuple[str, ...]
    has_ceiling: bool = True


_BOTH = {"mode": "value_and_grad_out", "provider": "fastcos", "n": 8192, "d": 768}
_TENSORS = {"mode": "forward_backward", "provider": "fastcos", "dtype": "float32"}
_BATCH = {"provider": "fastcos-torch"}
_SEARCH = {"part": "time", "case": "cosine", "provider": "fastcos", "k": 10}
_TORCH = "eager", "compile"
LINES = (
    _Line(
        "Cosine embedding loss and gradients, 8,192 × 768 arrays",
        report.TABLE,
        {"case": "cosine_embedding_loss", **_BOTH},
        ("numpy",),
    ),
    _Line(
        "The same on tensors, `backward()` included",
        report.TORCH,
        {"case": "cosine_embedding_loss", "n": 8192, "d": 768, **_TENSORS},
        _TORCH,
    ),
    _Line(
        "Triplet margin loss and gradients, 8,192 × 768 arrays",
        report.TABLE,
        {"case": "triplet_margin_loss", **_BOTH},
        ("numpy",),
    ),
    _Line(
        "500,000 pairs of rows of a 50,000 × 128 table, loss and gradient",
        report.ROWS,
        {
            **{"case": "cosine_embedding_loss", "mode": "value_and_grad", "provider": "fastcos"},
            **{"n": 500_000, "d": 128, "table": 50_000, "dtype": "float32"},
        },
        ("torch", "scipy"),
        has_ceiling=False,
    ),
    _Line(
        "Supervised contrastive loss and gradient, batch of 4,096 × 128",
        report.LISTWISE,
        {"case": "supervised_contrastive_loss", "n": 4096, "d": 128, **_BATCH},
        (*_TORCH, "pml"),
    ),
    _Line(
        "10 nearest of 1,000,000 × 128 rows, 100 queries",
        report.NEAREST,
        {"n": 1_000_000, "d": 128, "queries": 100, **_SEARCH},
        ("faiss", "usearch", "torch", "scikit-learn"),
    ),
    _Line(
        "10 nearest of 100,000 × 768 rows, 2,000 queries",
        report.NEAREST,
        {"n": 100_000, "d": 768, "queries": 2000, **_SEARCH},
        ("faiss", "usearch", "torch", "scikit-learn"),
    ),
    _Line(
        "Symmetric InfoNCE and gradients, batch of 256 × 768",
        report.LISTWISE,
        {"case": "info_nce_loss:symmetric", "n": 256, "d": 768, **_BATCH},
        _TORCH,
    ),
    _Line(
        "Cosine similarity of 32 pairs of rows of 128",
        report.TABLE,
        {
            **{"case": "cosine_similarity", "mode": "value", "provider": "fastcos"},
            **{"n": 32, "d": 128},
        },
        ("numpy", "simsimd"),
    ),
    _Line(
        "`pairwise_distance` of 32 × 128 tensors, `backward()` included",
        report.TORCH,
        {"case": "pairwise_distance", "n": 32, "d": 128, **_TENSORS},
        _TORCH,
    ),
)


def table(*results: Results) -> str:
    """Time, share of the ceiling and times faster, of what the results (``SHORT``) have."""
    found = dict(zip(report.SHORT, results, strict=True))
    body = []
    for line in LINES:
        row = _row(found[line.results], line.row)
        if row is not None:
            share = f"{row['share']:.0%}" if line.has_ceiling else report._NOTHING
            seconds = report._seconds(row.get("least") or row["p50"])
            body.append((line.title, seconds, share, _faster(row, line.peers)))
    header = ("float32", "time", "of ceiling", "times faster than")
    machines = {
        "on arrays and tensors": found[report.TABLE],
        "batches": found[report.LISTWISE],
        "search": found[report.NEAREST],
    }
    told = "; ".join(f"{what}: {_machine(each.run)}" for what, each in machines.items())
    return (
        f"{report._markdown(header, body)}\n"
        "*Ceiling*: the share of the time that a parallel read of the same arrays, a parallel copy"
        " (with gradients), or the matrix products alone (batches, search) take. **Bold**: slower."
        f" PML is pytorch-metric-learning. Processors: {told}.\n"
    )


def _row(results: Results, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    for row in results.rows:
        if wanted.items() <= row.items():
            return row
    return None


def _faster(row: Mapping[str, Any], peers: tuple[str, ...]) -> str:
    def ratio(peer: str) -> float | None:
        quotient: Mapping[str, float] | float | None = row["faster"].get(peer)
        return quotient["ratio"] if isinstance(quotient, Mapping) else quotient

    ratios = ((peer, ratio(peer)) for peer in peers)
    told = [f"{report._times(r)} {_NAMES[peer]}" for peer, r in ratios if r is not None]
    return ", ".join(told) or report._NOTHING


def _machine(run: Mapping[str, Any]) -> str:
    return f"{run['cpu'].replace('(R)', '')} ({run['architecture']}), {run['cores']} cores"
