"""The estimator: parameters checked, rows and labels taken as scikit-learn does, a solver run."""

from __future__ import annotations

import numbers
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from fastcos import _hints
from fastcos.listwise import Listwise
from fastcos.sklearn import solvers, starts
from fastcos.sklearn.losses import Kind, Loss, loss_of, similarity
from fastcos.sklearn.samples import (
    Integers,
    Samples,
    check_alike,
    check_numbers,
    draw_pairs,
    draw_triplets,
)

Array = npt.NDArray[Any]

_SOLVERS = ("lbfgs", "sgd")
_STARTS = ("pca", "identity", "random")
_DTYPES = (np.float64, np.float32)
# What each kind of loss can be told, in words.
_TAKES: dict[Kind, str] = {
    "pairs": "labels, fit(X, y), or pairs, fit_pairs(X, pairs, y)",
    "triplets": "labels, fit(X, y), or triplets, fit_triplets(X, triplets)",
    "matches": "pairs that belong together, fit_pairs(X, pairs)",
    "labels": "labels, fit(X, y)",
    "proxies": "labels, fit(X, y)",
    "directions": "labels, fit(X, y)",
}


class LinearEmbedding(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    r"""A linear projection of rows, learned from labels, pairs or triplets with a loss of fastcos.

    .. math:: \min_C \ loss\bigl((X - mean) C^\top\bigr) + penalty\ \lVert C - C_0 \rVert^2

    with the components C at the start, :math:`C_0`. The gradient of C is one product of the rows
    with the gradient of the projected rows, which the loss gives; of pairs and triplets no rows are
    gathered.

    What a loss is told decides which method learns with it. ``fit(X, y)`` takes all but
    ``info_nce`` and ``sigmoid_contrastive``; for those of pairs and triplets it draws these from
    the labels. ``fit_pairs`` takes ``cosine_embedding`` and ``hinge_embedding`` (of the distances
    of the pairs), and with pairs that belong together those two; ``fit_triplets`` those of
    triplets. ``normalized_softmax``, ``cosface``, ``arcface``, ``proxy_nca`` and ``proxy_anchor``
    learn a proxy for each class as well. ``cosine_distance`` only attracts, and so draws each row
    towards the direction of its class, which is fixed: as far from the others as there is room.

    Args:
        n_components: How many numbers a projected row has, at most as many as it had. None: as
            many.
        loss: The name of a loss, with or without ``_loss``, its function, or a
            :class:`fastcos.Listwise`.
        loss_options: The options of the loss, such as ``{"temperature": 0.1}``; by default its own,
            but a temperature of 0.2 for ``supervised_contrastive``. ``distance`` is among them for
            every loss that has a choice of it: a name or a :class:`fastcos.Distance` for those of
            triplets and for ``hinge_embedding``, a name for those of all rows. Per-sample weights
            and memory banks are not.
        solver: ``"lbfgs"`` takes all samples at once; ``"sgd"`` mini-batches, by Adam: for more
            rows than some 10,000, if the loss compares all of them with all.
        init: ``"pca"`` starts from the principal axes, ``"identity"`` from the first features,
            ``"random"`` from random directions.
        penalty: What keeps the components near their start. Without it a few thousand rows are
            learned by heart.
        max_iter: The most iterations of L-BFGS, or epochs.
        batch_size: How many samples a step of Adam takes: rows, pairs or triplets.
        learning_rate: How far a step of Adam goes, as a share of the root mean square of what it
            changes. Not of use for ``"lbfgs"``.
        tol: L-BFGS ends when no component of the gradient is larger; Adam when ten epochs in turn
            have not been better by as much.
        n_tuples: How many pairs, half of them alike, or triplets are drawn from labels. There may
            be fewer pairs.
        random_state: Of what is drawn, of a random start, and of the order of mini-batches.
        verbose: 1 prints a line for each iteration or epoch; a function is called with its number
            and the loss instead.
        warm_start: Whether ``fit`` starts from what was learned before, and keeps its mean.

    Attributes:
        components_: ``(n_components, n_features)``, of the dtype of X.
        mean_: ``(n_features,)``, the mean of X in ``fit``, which is subtracted before projecting.
        n_iter_: How many iterations or epochs there were.
        loss_curve_: What was minimised, after each of them.
        classes_: The labels of ``fit``, in order; of ``partial_fit`` for losses with proxies or
            directions.
        proxies_: ``(n_classes, n_components)``, of losses that have them.
        n_features_in_, feature_names_in_: As scikit-learn has them.

    Raises:
        ValueError: parameters and options out of range, one class only, a loss that cannot be told
            what the method takes, rows for which the loss is not finite.
        TypeError: a sparse X; a distance without a gradient.
        IndexError: pairs or triplets that name rows that X does not have.

    Singular points: those of the loss. With a cosine a row that is the mean has direction 0.

    Example:
        >>> import numpy as np
        >>> from fastcos.sklearn import LinearEmbedding
        >>> X = np.array([[0.0, 5.0], [1.0, -5.0], [10.0, 5.0], [11.0, -5.0]])
        >>> embedding = LinearEmbedding(1, "triplet_margin", random_state=0).fit(X, [0, 0, 1, 1])
        >>> z = embedding.transform(X)
        >>> bool(np.abs(z[0] - z[1]) < np.abs(z[0] - z[2]))
        True
        >>> embedding.score_pairs(X, [[0, 1], [0, 2]]).argmax()
        np.int64(0)

    Source: Bellet, Habrard, Sebban, A survey on metric learning, arXiv 1306.6709; Byrd et al.,
    A limited memory algorithm for bound constrained optimization, 1995; Kingma, Ba, Adam, arXiv
    1412.6980.
    """

    def __init__(
        self,
        n_components: int | None = None,
        loss: str | Callable[..., Any] | Listwise = "supervised_contrastive",
        *,
        loss_options: Mapping[str, Any] | None = None,
        solver: Literal["lbfgs", "sgd"] = "lbfgs",
        init: Literal["pca", "identity", "random"] = "pca",
        penalty: float = 0.03,
        max_iter: int = 200,
        batch_size: int = 256,
        learning_rate: float = 0.02,
        tol: float = 1e-5,
        n_tuples: int = 10_000,
        random_state: Any = None,
        verbose: int | Callable[[int, float], object] = 0,
        warm_start: bool = False,
    ) -> None:
        self.n_components = n_components
        self.loss = loss
        self.loss_options = loss_options
        self.solver = solver
        self.init = init
        self.penalty = penalty
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.tol = tol
        self.n_tuples = n_tuples
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start

    # -- learning ----------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any) -> LinearEmbedding:
        """Learns from labels.

        Args:
            X: Rows ``(N, D)``.
            y: The class of each: integers, text, whatever scikit-learn takes for classes.

        Returns:
            The estimator.
        """
        loss = self._loss("fit", ("labels", "proxies", "directions", "pairs", "triplets"))
        X, y = _validated(self, X, y, ensure_min_samples=2)
        check_classification_targets(y)
        self.classes_, classes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y must be of two classes or more, got 1 class: {self.classes_[0]}")
        rng = self._generator()
        return self._learn(loss, X, self._samples(loss, classes, rng), rng)

    def fit_pairs(self, X: Any, pairs: Any, y: Any = None) -> LinearEmbedding:
        """Learns from pairs of rows.

        Args:
            X: Rows ``(N, D)``.
            pairs: ``(M, 2)`` numbers of rows; negative ones count from the end.
            y: For each pair +1 or True if it is alike, -1 or False if not. Losses of pairs that
                belong together need none, and take +1 only.

        Returns:
            The estimator.
        """
        loss = self._loss("fit_pairs", ("pairs", "matches"))
        X = _validated(self, X, ensure_min_samples=2)
        rows = check_numbers("pairs", pairs, 2, len(X))
        if y is None and loss.kind == "pairs":
            raise ValueError(f"y must say of each pair whether it is alike: {loss.name} needs both")
        told = None if y is None else check_alike(y, len(rows))
        if loss.kind == "matches":
            if told is not None and (told < 0).any():
                raise ValueError(
                    f"{loss.name} takes pairs that belong together, and all others for different:"
                    f" y must be +1, got -1 at {int(np.argmin(told))}"
                )
            told = None
        self.__dict__.pop("classes_", None)  # of an earlier fit
        return self._learn(loss, X, Samples(rows, told), self._generator())

    def fit_triplets(self, X: Any, triplets: Any) -> LinearEmbedding:
        """Learns from triplets of rows.

        Args:
            X: Rows ``(N, D)``.
            triplets: ``(M, 3)`` numbers of rows: an anchor, one that is to be near to it, and one
                that is to be farther from it. Negative numbers count from the end.

        Returns:
            The estimator.
        """
        loss = self._loss("fit_triplets", ("triplets",))
        X = _validated(self, X, ensure_min_samples=2)
        rows = check_numbers("triplets", triplets, 3, len(X))
        self.__dict__.pop("classes_", None)
        return self._learn(loss, X, Samples(rows, None), self._generator())

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> LinearEmbedding:
        """Learns from some rows with labels: one pass over them by Adam, whatever the solver.

        Rows are taken in the order given, ``batch_size`` of them to a step; of a loss of pairs or
        triplets ``n_tuples`` of them are drawn among the rows. The mean, the start and the proxies
        are those of the first call, so let its rows be like the others; after ``fit`` it goes on
        from there.

        Args:
            X: Rows ``(N, D)``.
            y: The class of each.
            classes: All classes that there will be, for losses with proxies or directions; looked
                at in the first call. By default those of y.

        Returns:
            The estimator.
        """
        loss = self._loss("partial_fit", ("labels", "proxies", "directions", "pairs", "triplets"))
        first = not hasattr(self, "components_")
        X, y = _validated(self, X, y, reset=first)
        check_classification_targets(y)
        rng = self._generator()
        numbers = self._classes_of(loss, y, classes)
        samples = self._samples(loss, numbers, rng)
        objective, flat = self._start(loss, X, samples, rng, again=not first)
        state = getattr(self, "_adam", None)
        if first or state is None or len(state.flat) != len(flat):
            state = solvers.adam(objective, flat, self.learning_rate)
        state, value = solvers.one_pass(
            objective, state, X, self.mean_, samples, batch_size=self.batch_size
        )
        curve = [*(() if first else self.loss_curve_), value]
        self._report()(len(curve), value)
        self._keep(objective, solvers.Found(state.flat, curve, ""), X.dtype, state)
        return self

    # -- use ---------------------------------------------------------------------------------------

    def transform(self, X: Any) -> Array:
        """The projected rows, (X - mean) C^T.

        Args:
            X: Rows ``(N, D)``.

        Returns:
            Rows ``(N, n_components)``.
        """
        check_is_fitted(self)
        X = _validated(self, X, reset=False)
        return np.asarray((X - self.mean_) @ self.components_.T)

    def score_pairs(self, X: Any, pairs: Any) -> Array:
        """How alike the rows of each pair are, once projected: more is more alike.

        By the distance that the loss has: their cosine or product if it is one minus these, else
        the negative of their distance.

        Args:
            X: Rows ``(N, D)``.
            pairs: ``(M, 2)`` numbers of rows; negative ones count from the end.

        Returns:
            One number for each pair.
        """
        check_is_fitted(self)
        X = _validated(self, X, reset=False)
        rows = check_numbers("pairs", pairs, 2, len(X))
        z = (X - self.mean_) @ self.components_.T
        return similarity(loss_of(self.loss, self.loss_options), z, rows)

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _more_tags(self) -> dict[str, Any]:  # scikit-learn before 1.6
        return {"requires_y": True, "preserves_dtype": list(_DTYPES)}

    # -- the steps of learning ---------------------------------------------------------------------

    def _loss(self, method: str, kinds: tuple[Kind, ...]) -> Loss:
        """The loss, once all parameters are what they may be and it can be told what is given."""
        _check_one_of("solver", self.solver, _SOLVERS)
        _check_one_of("init", self.init, _STARTS)
        _check_number("penalty", self.penalty, 0)
        _check_number("tol", self.tol, 0)
        _check_number("learning_rate", self.learning_rate, 0)
        for name in ("max_iter", "batch_size", "n_tuples"):
            _check_count(name, getattr(self, name), 2 if name == "n_tuples" else 1)
        if self.n_components is not None:
            _check_count("n_components", self.n_components, 1)
        loss = loss_of(self.loss, self.loss_options)
        if loss.kind not in kinds:
            raise ValueError(
                f"{method} cannot learn with {loss.name}: it takes {_TAKES[loss.kind]}"
            )
        return loss

    def _generator(self) -> np.random.Generator:
        return np.random.default_rng(check_random_state(self.random_state).randint(2**31 - 1))

    def _classes_of(self, loss: Loss, y: Array, classes: Any) -> Integers:
        """Labels of ``partial_fit`` as numbers; sets ``classes_`` where they have to be known."""
        if loss.kind not in ("proxies", "directions"):
            return np.unique(y, return_inverse=True)[1]
        if not (hasattr(self, "components_") and hasattr(self, "classes_")):
            self.classes_ = np.unique(y if classes is None else classes)
        numbers = np.searchsorted(self.classes_, y)
        known = self.classes_[np.minimum(numbers, len(self.classes_) - 1)] == y
        if not np.all(known):
            raise ValueError(
                f"y must be of the classes {self.classes_}, got {y[int(np.argmin(known))]!r}: the"
                " first call of partial_fit takes all that there will be as classes"
            )
        return numbers

    def _samples(self, loss: Loss, classes: Integers, rng: np.random.Generator) -> Samples:
        """What the loss is told of rows with labels."""
        if loss.kind in ("proxies", "directions"):
            return Samples(np.arange(len(classes))[:, None], classes)
        counts = np.bincount(classes)
        if len(counts) < 2 or counts.max() < 2:
            raise ValueError(
                f"{loss.name} compares rows of one class, and these with others: y must have two"
                f" rows of a class, and two classes; got {len(classes)} rows of {len(counts)}"
            )
        if loss.kind == "labels":
            return Samples(np.arange(len(classes))[:, None], classes)
        draw = draw_pairs if loss.kind == "pairs" else draw_triplets
        return draw(classes, self.n_tuples, rng)

    def _start(
        self, loss: Loss, X: Array, samples: Samples, rng: np.random.Generator, again: bool
    ) -> tuple[solvers.Objective, Array]:
        """The objective, and the parameters to begin with; ``again`` from those that there are."""
        features = X.shape[1]
        count = features if self.n_components is None else self.n_components
        if count > features:
            raise ValueError(
                f"n_components must be at most the number of features, {features}; got {count}"
            )
        if not again:
            self.mean_ = X.mean(axis=0, dtype=np.float64).astype(X.dtype)
        if again and self.components_.shape != (count, features):
            raise ValueError(
                f"what was learned before has components of shape {self.components_.shape}, X and"
                f" n_components ask for {(count, features)}: begin anew, with a fit and"
                " warm_start=False"
            )
        if not again:
            self._first = starts.components(self.init, X - self.mean_, count, rng)
        self.mean_ = self.mean_.astype(
            X.dtype, copy=False
        )  # of an earlier call, perhaps of another
        begin = self.components_.astype(np.float64) if again else self._first
        fixed, proxies = None, np.empty((0, count))
        if loss.kind in ("proxies", "directions"):
            of = loss.name, *self.classes_
            if again and getattr(self, "_proxies_of", ()) == of:
                proxies = self.proxies_.astype(np.float64)
            else:
                z = (X - self.mean_) @ begin.T.astype(X.dtype)
                proxies = starts.class_means(z, samples.told, len(self.classes_), rng)
                proxies = starts.directions(proxies) if loss.kind == "directions" else proxies
            self._proxies_of = of
        if loss.kind == "directions":
            fixed, proxies = proxies, proxies[:0]
        objective = solvers.Objective(loss, self._first, fixed, float(self.penalty))
        return objective, np.concatenate([begin.ravel(), proxies.ravel()])

    def _learn(
        self, loss: Loss, X: Array, samples: Samples, rng: np.random.Generator
    ) -> LinearEmbedding:
        """From the start to where the solver ends."""
        again = bool(self.warm_start) and hasattr(self, "components_")
        objective, flat = self._start(loss, X, samples, rng, again)
        report = self._report()
        state = None
        limits: dict[str, Any] = {"max_iter": self.max_iter, "tol": self.tol, "report": report}
        if self.solver == "lbfgs":
            found = solvers.lbfgs(objective, flat, X, self.mean_, samples, **limits)
        else:
            state = solvers.adam(objective, flat, self.learning_rate)
            given = objective, state, X, self.mean_, samples
            state, found = solvers.sgd(*given, rng=rng, batch_size=self.batch_size, **limits)
        self._keep(objective, found, X.dtype, state)
        if found.said:
            warnings.warn(
                f"{self.solver} did not converge in {self.n_iter_} iterations: {found.said}."
                " Raise max_iter or tol, or scale X",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    def _keep(
        self, objective: solvers.Objective, found: solvers.Found, dtype: Any, state: Any
    ) -> None:
        components, proxies = solvers.split(objective, found.flat)
        self.components_ = components.astype(dtype)
        if proxies is None:
            self.__dict__.pop("proxies_", None)  # of another loss, before
        else:
            self.proxies_ = proxies.astype(dtype)
        self.loss_curve_, self.n_iter_ = found.curve, len(found.curve)
        self._adam = state

    def _report(self) -> Callable[[int, float], object]:
        """What is told of each iteration."""
        told: Any = self.verbose
        if callable(told):
            return told  # type: ignore[no-any-return]
        if not isinstance(told, (numbers.Integral, np.bool_)):
            raise TypeError(f"verbose must be an integer or a function, got {told!r}")
        if not told:
            return lambda iteration, loss: None
        began = time.perf_counter()

        def line(iteration: int, loss: float) -> None:
            seconds = time.perf_counter() - began
            print(f"[LinearEmbedding] iteration {iteration:4d}, loss {loss:.6g}, {seconds:.1f} s")

        return line


# -- checks ----------------------------------------------------------------------------------------


def _validated(estimator: Any, X: Any, *y: Any, **options: Any) -> Any:
    """Rows, and labels if there are any, as scikit-learn checks them."""
    options = {"dtype": list(_DTYPES), **options}
    try:
        from sklearn.utils.validation import validate_data
    except ImportError:  # scikit-learn before 1.6
        return estimator._validate_data(X, *y, **options)
    return validate_data(estimator, X, *y, **options)


def _check_one_of(name: str, given: object, known: tuple[str, ...]) -> None:
    if not isinstance(given, str) or given not in known:
        hint = _hints.hint(given, known)
        raise ValueError(f"{name} must be one of {', '.join(known)}; got {given!r}{hint}")


def _check_count(name: str, given: object, least: int) -> None:
    if isinstance(given, (bool, np.bool_)) or not isinstance(given, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {given!r}")
    if given < least:
        raise ValueError(f"{name} must be at least {least}, got {given}")


def _check_number(name: str, given: Any, least: float) -> None:
    if isinstance(given, (bool, np.bool_)) or not isinstance(given, numbers.Real):
        raise TypeError(f"{name} must be a number, got {given!r}")
    if not (least <= float(given) < np.inf):
        raise ValueError(f"{name} must be at least {least} and finite, got {given}")
