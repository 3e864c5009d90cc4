"""Classes of unequal size, balanced for the fit, and the probabilities set back to how frequent they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing, get_tags, indexable
from sklearn.utils.validation import check_array, check_is_fitted, has_fit_parameter, validate_data

from voxelome.errors import DataError
from voxelome.modelling.ordinal import read_classes

HOWS = ("weights", "undersample", "oversample", "smote")
NEIGHBOURS = 5


class Balanced(ClassifierMixin, BaseEstimator):
    """Fit a classifier to classes of equal size or weight, which the training rows alone are made to have.

    A model of balanced classes takes rare ones for frequent: its probabilities are far too high. They are
    divided by the shares of the classes that it was fitted to and multiplied by those of the training rows,
    which for two classes shifts the log odds by a constant. The order of cases of two classes stays.

    Parameters
    ----------
    estimator : estimator
        A classifier with `predict_proba`.
    how : str
        ``weights`` gives each class the same weight; ``undersample`` leaves out rows, drawn by lot, of the
        larger classes; ``oversample`` repeats rows of the smaller ones, drawn by lot; ``smote`` makes up rows
        of the smaller ones (:func:`smote`). Rows are drawn, not participants: with visits, those of a
        participant may become more or fewer than those of another.
    seed : int
        Of the draws.
    correct_prevalence : bool
        Whether to set the probabilities back.
    nominal : tuple of int
        Columns of numbers that are names, such as a site, which cannot be mixed (for ``smote``).

    Attributes
    ----------
    estimator_ : estimator
        Fitted.
    classes_ : ndarray, shape (n_classes,)
        Classes, ascending.
    prevalence_, fitted_to_ : ndarray, shape (n_classes,)
        Shares of the classes in training, and in what the model was fitted to.
    feature_names_in_ : ndarray of str
        Columns, where it was fitted on a DataFrame.

    References
    ----------
    Elkan (2001), IJCAI 17:973-978, theorem 2. King and Zeng (2001), Political Analysis 9:137-163.
    Van den Goorbergh, van Smeden, Timmerman and Van Calster (2022), Journal of the American Medical
    Informatics Association 29:1525-1534: what balancing does to probabilities that are not set back.
    """

    def __init__(
        self,
        estimator: Any,
        how: str = "weights",
        seed: int = 0,
        correct_prevalence: bool = True,
        nominal: tuple[int, ...] = (),
    ) -> None:
        self.estimator = estimator
        self.how = how
        self.seed = seed
        self.correct_prevalence = correct_prevalence
        self.nominal = nominal

    def fit(self, X: Any, y: Any) -> Balanced:
        """Fit to `X` (n_samples, n_features) and the classes `y`.

        Raises
        ------
        DataError
            Weights are asked for, which the model does not take.
        ValueError
            `how` is unknown.
        """
        if self.how not in HOWS:
            raise ValueError(f"how is {self.how!r}, but must be one of {', '.join(HOWS)}")
        X, y = validate_data(self, X, y, skip_check_array=True)
        self.classes_, codes = read_classes(y)
        X, codes = indexable(X, codes)
        counts = np.bincount(codes)
        self.prevalence_ = counts / len(codes)
        model, weights = clone(self.estimator), {}
        if self.how == "weights":
            weights = {weight_of(model): len(codes) / (len(counts) * counts[codes])}
            self.fitted_to_ = np.full(len(counts), 1 / len(counts))
        else:
            X, codes = self._resampled(X, codes)
            self.fitted_to_ = np.bincount(codes) / len(codes)
        self.estimator_ = model.fit(X, self.classes_[codes], **weights)
        return self

    def _resampled(self, X: Any, codes: NDArray[np.intp]) -> tuple[Any, NDArray[np.intp]]:
        """Return rows, and the numbers of their classes, in which the classes are of one size."""
        rng = np.random.default_rng(self.seed)
        if self.how == "smote":
            return _with_made_up(X, codes, rng, self.nominal)
        rows = (undersampled if self.how == "undersample" else oversampled)(codes, rng)
        return _safe_indexing(X, rows), codes[rows]

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each class, shape (n_samples, n_classes)."""
        check_is_fitted(self)
        found = np.asarray(self.estimator_.predict_proba(X), dtype=np.float64)
        return with_prevalence(found, self.fitted_to_, self.prevalence_) if self.correct_prevalence else found

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each row, shape (n_samples,)."""
        most = np.argmax(self.predict_proba(X), axis=1)
        return np.asarray(self.classes_[most])

    @property
    def coef_(self) -> Any:
        """Coefficients of the model, where it is linear."""
        return self.estimator_.coef_

    @property
    def feature_importances_(self) -> Any:
        """Importances of the model, where it is of trees."""
        return self.estimator_.feature_importances_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        tags.input_tags.sparse = tags.input_tags.sparse and self.how != "smote"
        return tags


def with_prevalence(
    probability: NDArray[np.float64], fitted_to: NDArray[np.float64], prevalence: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return probabilities of each class (n, n_classes) as they are where classes have other shares.

    Parameters
    ----------
    probability : ndarray, shape (n, n_classes)
        As they are where the classes have the shares `fitted_to`.
    fitted_to, prevalence : ndarray, shape (n_classes,)
        Shares of the classes; all of `fitted_to` above 0.
    """
    weighed = probability * (prevalence / fitted_to)
    return np.asarray(weighed / weighed.sum(axis=1, keepdims=True), dtype=np.float64)


def weight_of(model: Any) -> str:
    """Return the argument of `fit` that takes the weights of cases, in a pipeline those of its last step.

    Raises
    ------
    DataError
        The model takes none.
    """
    if isinstance(model, Pipeline):
        name, last = model.steps[-1]
        return f"{name}__{weight_of(last)}"
    # What holds a model passes the weights on to it.
    inner = getattr(model, "estimator", None)
    if not has_fit_parameter(model, "sample_weight") or (
        inner is not None and not has_fit_parameter(inner, "sample_weight")
    ):
        name = type(model if inner is None else inner).__name__
        raise DataError(f"{name} takes no weights of cases", "balance the classes by sampling, or not at all")
    return "sample_weight"


def undersampled(codes: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
    """Return rows, ascending, with as many of each class as there are of the smallest, none twice."""
    fewest = np.bincount(codes).min()
    return np.sort(np.concatenate([rng.choice(own, fewest, replace=False) for own in _by_class(codes)]))


def oversampled(codes: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
    """Return all rows, ascending, some of them again, with as many of each class as of the largest."""
    most = np.bincount(codes).max()
    again = [rng.choice(own, most - len(own)) for own in _by_class(codes)]
    return np.sort(np.concatenate([np.arange(len(codes)), *again]))


def smote(
    values: NDArray[np.float64],
    cases: NDArray[np.intp],
    count: int,
    rng: np.random.Generator,
    nominal: Sequence[int] = (),
) -> NDArray[np.float64]:
    """Return made-up cases of one class, each somewhere between a case and one of its nearest neighbours.

    Neighbours are those of the class, in standard deviations of all rows, with the median for what is
    missing. What the case lacks, the made-up case lacks too; what the neighbour lacks, it has of the case.

    Parameters
    ----------
    values : ndarray, shape (n, n_features)
        All rows, NaN where missing.
    cases : ndarray of int
        Rows of the class. A case alone has no neighbour, and is repeated.
    count : int
        Number of cases to make up.
    rng : Generator
        Draws the case, the neighbour, and how far it is towards it.
    nominal : sequence of int
        Columns that are copied from the case, and in which neighbours may differ.

    Returns
    -------
    made_up : ndarray, shape (count, n_features)
        In the units of `values`.

    References
    ----------
    Chawla, Bowyer, Hall and Kegelmeyer (2002), Journal of Artificial Intelligence Research 16:321-357.
    """
    mixed = np.setdiff1d(np.arange(values.shape[1]), nominal)
    of_class = values[cases]
    chosen = rng.integers(len(cases), size=count)
    made_up = of_class[chosen]
    k = min(NEIGHBOURS, len(cases) - 1)
    if k == 0 or len(mixed) == 0:
        return made_up
    search = NearestNeighbors(n_neighbors=k).fit(_standardised(values[:, mixed])[cases])
    # Asked for its own rows, it leaves each out of its own neighbours.
    near = search.kneighbors(return_distance=False)
    other = of_class[near[chosen, rng.integers(k, size=count)]]
    step = (other - made_up)[:, mixed] * rng.random((count, 1))
    made_up[:, mixed] += np.where(np.isnan(other[:, mixed]), 0.0, step)
    return made_up


def _with_made_up(
    X: Any, codes: NDArray[np.intp], rng: np.random.Generator, nominal: Sequence[int]
) -> tuple[Any, NDArray[np.intp]]:
    """Return all rows, and after them made-up ones of the smaller classes."""
    values = check_array(X, dtype=np.float64, ensure_all_finite="allow-nan")
    own = _by_class(codes)
    most = max(len(cases) for cases in own)
    made_up = [smote(values, cases, most - len(cases), rng, nominal) for cases in own]
    every: Any = np.vstack([values, *made_up])
    if hasattr(X, "columns"):
        every = type(X)(every, columns=X.columns)
    return every, np.append(codes, np.repeat(np.arange(len(own)), [most - len(cases) for cases in own]))


def _by_class(codes: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    return [np.flatnonzero(codes == k) for k in range(codes.max() + 1)]


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return columns with mean 0 and standard deviation 1, the median where missing; 0 where empty."""
    missing = np.isnan(values)
    known = np.where(missing.all(axis=0), 0.0, values)
    filled = np.where(np.isnan(known), np.nanmedian(known, axis=0), known)
    spread = filled.std(axis=0)
    return np.asarray((filled - filled.mean(axis=0)) / np.where(spread > 0, spread, 1.0), dtype=np.float64)
