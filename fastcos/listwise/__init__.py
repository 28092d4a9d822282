"""Listwise losses as records of scalar functions of one anchor and all candidates.

``fastcos.info_nce_loss`` and its like are made of the records in the modules here. ``Listwise`` is
one of your own; ``exp``, ``softplus`` and ``sigmoid`` are for its functions.
"""

from fastcos.listwise.record import Candidate, Listwise, Order, Row, Survey
from fastcos.listwise.scalars import exp, sigmoid, softplus

__all__ = ["Candidate", "Listwise", "Order", "Row", "Survey", "exp", "sigmoid", "softplus"]


def __dir__() -> list[str]:
    return __all__
