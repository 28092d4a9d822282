"""What is said of names that do not exist: the nearest that does, or what it is called here."""

from collections.abc import Iterable, Mapping

_LP = "a p-norm is fastcos.distances.lp(p)"
#: What distances are called elsewhere.
DISTANCES_ELSEWHERE = {
    "l1": "l1 is manhattan here",
    "cityblock": "cityblock is manhattan here",
    "taxicab": "taxicab is manhattan here",
    "l2": "l2 is euclidean here",
    "linf": "linf is chebyshev here",
    "l_inf": "l_inf is chebyshev here",
    "l_infinity": "l_infinity is chebyshev here",
    "max": "the largest difference is chebyshev here",
    "lp": _LP,
    "minkowski": _LP,
    "pnorm": _LP,
    "p-norm": _LP,
    "l2_squared": "the square of l2 is sqeuclidean here",
    "squared_euclidean": "squared_euclidean is sqeuclidean here",
    "cosine_distance": "cosine_distance is cosine here",
    "cosine_similarity": "cosine is one minus it; fastcos.cosine_similarity is the similarity",
    "inner_product": "one minus the inner product is dot here",
    "ip": "one minus the inner product is dot here",
    "hyperbolic": "the hyperbolic distance in the unit ball is poincare here",
    "correlation": "that is cosine of rows less their own means: x - x.mean(-1, keepdims=True)",
    "mahalanobis": "that is euclidean of rows multiplied by a matrix L with L @ L.T the inverse"
    " covariance: x @ L",
    "seuclidean": "that is euclidean of rows divided by the standard deviations",
    "hellinger": "that is euclidean of the square roots of rows, divided by √2",
    "hamming": "of rows of 0 and 1 that is manhattan divided by their length",
    "jaccard": "no distance of sets is here: it has no gradient; braycurtis is near to it",
}
#: What options are called elsewhere, or in another function of fastcos.
OPTIONS_ELSEWHERE = {
    "dim": "axis",
    "distance": "distance_function",
    "distance_function": "distance",
    "metric": "distance",
    "sample_weight": "weight",
}


def hint(given: object, known: Iterable[str], elsewhere: Mapping[str, str] | None = None) -> str:
    """What a message about an unknown name ends with; empty where nothing is near."""
    if not isinstance(given, str):
        return ""
    said = (elsewhere or {}).get(given.lower())
    if said is not None:
        return f": {said}"
    from difflib import get_close_matches  # of use to those who misspell only

    named = {name.lower(): name for name in known}
    nearest = get_close_matches(given.lower(), named, n=1)
    return f": did you mean {named[nearest[0]]!r}?" if nearest else ""
