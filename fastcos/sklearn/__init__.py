"""Learners for scikit-learn: a linear projection, learned with any loss of the library.

``from fastcos.sklearn import LinearEmbedding`` needs scikit-learn and SciPy, the extra ``learn``;
``import fastcos`` imports neither.
"""

from fastcos import _extras

try:
    from fastcos.sklearn.embedding import LinearEmbedding
except ModuleNotFoundError as error:
    _package = (error.name or "").partition(".")[0]
    if _package not in ("sklearn", "scipy", "threadpoolctl"):
        raise
    raise ImportError(
        f"fastcos.sklearn needs {_package}: {_extras.command('learn')}", name=_package
    ) from None

__all__ = ["LinearEmbedding"]


def __dir__() -> list[str]:
    return __all__
