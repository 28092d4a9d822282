"""Measures: what is reported of embeddings, from rows and labels, or from the scores of pairs.

Retrieval, each row against the others, or queries against a gallery:
    recall_at_k                         whether one of the k nearest is right
    precision_at_r                      how many of the r nearest are right
    r_precision                         the same with as many as there are right ones
    mean_average_precision_at_r         the same, and the earlier they come the better
    mean_reciprocal_rank                how soon the first right one comes

Verification, pairs that are of the same thing or not:
    verification                        AUC, equal error rate, TAR at given FARs, best accuracy
    roc_curve                           both rates at every threshold

Results are Python floats; of Dask arrays ``dask.delayed`` ones. Neighbours are those of
:func:`fastcos.nearest`: exact, ties by index.

Example:
    >>> import numpy as np, fastcos
    >>> x = np.array([[1.0, 0.0], [0.9, 0.4], [0.7, 0.7], [0.4, 0.9], [0.0, 1.0]])
    >>> fastcos.measures.recall_at_k(x, [0, 0, 1, 1, 1], k=(1, 2))
    (0.6, 1.0)
"""

from fastcos.measures.retrieval import (
    mean_average_precision_at_r,
    mean_reciprocal_rank,
    precision_at_r,
    r_precision,
    recall_at_k,
)
from fastcos.measures.roc import RocCurve, TarAtFar, Verification, roc_curve, verification

__all__ = [
    "RocCurve",
    "TarAtFar",
    "Verification",
    "mean_average_precision_at_r",
    "mean_reciprocal_rank",
    "precision_at_r",
    "r_precision",
    "recall_at_k",
    "roc_curve",
    "verification",
]


def __dir__() -> list[str]:
    return __all__
