"""Averages of models with the weights that predict best what the models have not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.utils import _safe_indexing, get_tags, indexable
from sklearn.utils.validation import check_is_fitted, validate_data

from voxelome.modelling import problems
from voxelome.modelling.ordinal import read_classes
from voxelome.modelling.survival import predicted_survival

# A probability of 0 that comes true would cost infinitely much.
_LEAST = 1e-6
# Within-class variance, and with it the choice of features, needs two.
_FEWEST_TO_LEARN_FROM = 2

Members = list[tuple[str, Any]]
# Returns what is to be made small, and its slope, for weights of shape (members,).
Objective = Callable[[NDArray[np.float64]], tuple[float, NDArray[np.float64]]]


def stacked(kind: str, members: Members, folds: int = 5, seed: int = 0) -> Any:
    """Return an unfitted stack of models for a kind of outcome.

    Parameters
    ----------
    kind : str
        ``binary``, ``multiclass``, ``ordinal``, ``continuous`` or ``survival``.
    members, folds, seed
        As of :class:`StackedClassifier`.
    """
    if kind == problems.SURVIVAL:
        return StackedRisk(members, folds, seed)
    return (StackedRegressor if kind == problems.CONTINUOUS else StackedClassifier)(members, folds, seed)


class _Stacked(BaseEstimator):
    """What stacks of all kinds have in common."""

    def __init__(self, estimators: Members, folds: int = 5, seed: int = 0) -> None:
        self.estimators = estimators
        self.folds = folds
        self.seed = seed

    def _out_of_fold(self, X: Any, y: Any, strata: NDArray[np.intp], groups: Any) -> Iterator[Any]:
        """Yield the members fitted to the training part of each fold, its training rows and the others."""
        if len(self.estimators) == 0:
            raise ValueError("a stack needs at least one model")
        if len(self.estimators) == 1:
            return
        for train, test in balanced_splits(strata, groups, self.folds, self.seed):
            known = _safe_indexing(X, train)
            fitted = [clone(model).fit(known, y[train]) for _, model in self.estimators]
            yield fitted, train, test

    def _finish(self, X: Any, y: Any, objectives: Sequence[Objective]) -> None:
        """Find the weights, and fit all members to all rows."""
        self.weights_ = convex_weights(objectives, len(self.estimators))
        self.estimators_ = [clone(model).fit(X, y) for _, model in self.estimators]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        of_members = [get_tags(model).input_tags for _, model in self.estimators]
        tags.input_tags.allow_nan = all(each.allow_nan for each in of_members)
        tags.input_tags.sparse = all(each.sparse for each in of_members)
        return tags


class StackedClassifier(ClassifierMixin, _Stacked):
    """Average the probabilities of several classifiers, with weights that are not negative and sum to 1.

    The weights are those with the smallest log loss of predictions of cases that the members have not seen:
    the members are fitted in folds with the classes balanced and groups whole. Then they are fitted to all.
    Weights that may not be negative follow noise little, and a stack does about as well as its best member or
    better. Of members that are equally good, or good for nothing, chance prefers one in small tables. The
    weights are equal where a class has too few groups to be learned in folds.

    Parameters
    ----------
    estimators : list of (str, estimator)
        Models with `predict_proba`.
    folds : int
        Folds; fewer where a class has fewer groups.
    seed : int
        Of the folds. With groups, and members to which the order of the rows does not matter, it does not
        matter to the stack.

    Attributes
    ----------
    weights_ : ndarray, shape (n_estimators,)
        Not negative; they sum to 1.
    estimators_ : list of estimator
        Fitted to all rows.
    classes_ : ndarray, shape (n_classes,)
        Classes, ascending.
    feature_names_in_ : ndarray of str
        Columns, where it was fitted on a DataFrame.

    References
    ----------
    Van der Laan, Polley and Hubbard (2007), Statistical Applications in Genetics and Molecular Biology 6:25.
    Breiman (1996), Machine Learning 24:49-64.
    """

    def fit(self, X: Any, y: Any, groups: Any = None) -> StackedClassifier:
        """Fit to `X` (n_samples, n_features) and the classes `y`.

        Rows with one of `groups` (n_samples,), such as the visits of a participant, share a fold.
        """
        X, y = validate_data(self, X, y, skip_check_array=True)
        self.classes_, codes = read_classes(y)
        X, codes = indexable(X, codes)
        y = self.classes_[codes]
        of_truth = []
        for fitted, _, test in self._out_of_fold(X, y, codes, groups):
            unseen, true = _safe_indexing(X, test), (np.arange(len(test)), codes[test])
            of_truth.append(np.stack([self._probability(model, unseen)[true] for model in fitted], axis=1))
        self._finish(X, y, [log_loss_of(np.concatenate(of_truth))] if of_truth else [])
        return self

    def _probability(self, model: Any, X: Any) -> NDArray[np.float64]:
        """Return the probability of each class, 0 of those that a fold did not have in training."""
        found = model.predict_proba(X)
        if len(model.classes_) == len(self.classes_):
            return np.asarray(found, dtype=np.float64)
        every = np.zeros((len(found), len(self.classes_)))
        every[:, np.searchsorted(self.classes_, model.classes_)] = found
        return every

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the weighted probability of each class, shape (n_samples, n_classes)."""
        check_is_fitted(self)
        each = [self._probability(model, X) for model in self.estimators_]
        # Weights sum to 1 but for rounding.
        return np.clip(np.tensordot(self.weights_, each, axes=1), 0.0, 1.0)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each row, shape (n_samples,)."""
        most = np.argmax(self.predict_proba(X), axis=1)
        return np.asarray(self.classes_[most])


class StackedRegressor(RegressorMixin, _Stacked):
    """Average the numbers that several models predict, with weights that are not negative and sum to 1.

    The weights are those with the smallest squared error of predictions of cases that the members have not
    seen. Parameters, attributes and references are those of :class:`StackedClassifier`, without classes;
    folds are balanced by the quarters of the outcome.
    """

    def fit(self, X: Any, y: Any, groups: Any = None) -> StackedRegressor:
        """Fit to `X` (n_samples, n_features) and the numbers `y`; rows with one of `groups` share a fold."""
        X, _ = validate_data(self, X, y, skip_check_array=True)
        X, y = indexable(X, validate_data(self, X="no_validation", y=y, y_numeric=True))
        strata = problems.strata(problems.CONTINUOUS, y)
        parts = [
            (y[test], np.stack([model.predict(_safe_indexing(X, test)) for model in fitted]))
            for fitted, _, test in self._out_of_fold(X, y, strata, groups)
        ]
        objectives = []
        if parts:
            truth, found = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
            objectives.append(squared_error_of(truth, found.T))
        self._finish(X, y, objectives)
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return the weighted prediction of each row, shape (n_samples,)."""
        check_is_fitted(self)
        return np.asarray(self.weights_ @ [model.predict(X) for model in self.estimators_], dtype=np.float64)


class StackedRisk(_Stacked):
    """Average the risks of several survival models, with weights that are not negative and sum to 1.

    Risks have different units: each counts in standard deviations of the model's risks in training. The
    weights are those with the largest partial likelihood of Cox of the average risk of cases that the
    members have not seen, each compared with those held out in the same fold. Parameters, attributes and
    references are those of :class:`StackedClassifier`, without classes, and with these:

    Attributes
    ----------
    centre_, scale_ : ndarray, shape (n_estimators,)
        Mean and standard deviation of the risks in training.
    """

    def fit(self, X: Any, y: Any, groups: Any = None) -> StackedRisk:
        """Fit to `X` (n_samples, n_features) and the structured array of events and times `y`.

        Rows with one of `groups` (n_samples,) share a fold.
        """
        X, y = indexable(validate_data(self, X, skip_check_array=True), y)
        objectives = []
        strata = problems.strata(problems.SURVIVAL, y)
        for fitted, train, test in self._out_of_fold(X, y, strata, groups):
            known, unseen = (_safe_indexing(X, rows) for rows in (train, test))
            units = [_unit(model.predict(known)) for model in fitted]
            risks = [
                (model.predict(unseen) - centre) / scale
                for model, (centre, scale) in zip(fitted, units, strict=True)
            ]
            event, time = (y[name][test] for name in ("event", "time"))
            objectives.append(partial_likelihood_of(event, time, np.stack(risks, axis=1)))
        self._finish(X, y, objectives)
        self.centre_, self.scale_ = np.array([_unit(model.predict(X)) for model in self.estimators_]).T
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return the weighted risk of each row, shape (n_samples,)."""
        check_is_fitted(self)
        risks = np.array([model.predict(X) for model in self.estimators_])
        return np.asarray(self.weights_ @ ((risks - self.centre_[:, None]) / self.scale_[:, None]))

    def predict_survival(self, X: Any, times: Any) -> NDArray[np.float64]:
        """Return the weighted probability of no event until each time, shape (n_samples, len(times))."""
        check_is_fitted(self)
        found = [predicted_survival(model, X, times) for model in self.estimators_]
        return np.asarray(np.tensordot(self.weights_, found, axes=1), dtype=np.float64)


def _unit(risk: NDArray[np.float64]) -> tuple[float, float]:
    """Return mean and standard deviation, 1 where all are equal."""
    return float(np.mean(risk)), float(np.std(risk)) or 1.0


def balanced_splits(
    strata: NDArray[np.intp], groups: Any, folds: int, seed: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield training and test rows of folds with strata balanced and groups whole.

    Folds that leave too few of a stratum to learn from are left out; all are where a stratum has one group.

    Parameters
    ----------
    strata : ndarray of int, shape (n,)
        Number of the stratum, from 0.
    groups : array_like, shape (n,), or None
        Rows of one group share a fold; None takes each row for itself.
    folds, seed : int
        How many, at least 2, and the seed of the draw. There are fewer where a stratum has fewer groups.
    """
    if folds < 2:
        raise ValueError(f"folds is {folds}, but must be at least 2")
    groups = np.arange(len(strata)) if groups is None else np.asarray(groups)
    if len(groups) != len(strata):
        raise ValueError(f"there are {len(groups)} groups for {len(strata)} rows")
    fewest = min(len(np.unique(groups[strata == stratum])) for stratum in np.unique(strata))
    if fewest < 2:
        return
    splitter = StratifiedGroupKFold(min(folds, fewest), shuffle=True, random_state=seed)
    for train, test in splitter.split(np.zeros((len(strata), 1)), strata, groups):
        least = np.bincount(strata[train], minlength=strata.max() + 1)[np.unique(strata)].min()
        if len(test) and least >= _FEWEST_TO_LEARN_FROM:
            yield train, test


def convex_weights(objectives: Sequence[Objective], members: int) -> NDArray[np.float64]:
    """Return the weights, not negative and summing to 1, with the smallest sum of convex objectives.

    Without objectives they are equal. The search starts there: of weights that are as good, such as those of
    members that are the same, it takes such as are near.
    """
    equal = np.full(members, 1 / members)
    if not objectives or members == 1:
        return equal

    def total(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        values, slopes = zip(*(objective(weights) for objective in objectives), strict=True)
        return float(np.sum(values)), np.sum(slopes, axis=0)

    found = minimize(
        total,
        equal,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * members,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(members)},
        options={"maxiter": 500, "ftol": 1e-12},
    )
    weights = np.where(found.x > 1e-9, found.x, 0.0)
    weights /= weights.sum()
    return np.asarray(weights if total(weights)[0] <= total(equal)[0] else equal, dtype=np.float64)


def log_loss_of(of_truth: NDArray[np.float64]) -> Objective:
    """Return the mean log loss of a mixture, of the probabilities of what came true (n, members)."""
    given = np.maximum(of_truth, _LEAST)

    def objective(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        mixed = np.maximum(given @ weights, _LEAST)
        return -float(np.mean(np.log(mixed))), -np.mean(given / mixed[:, None], axis=0)

    return objective


def squared_error_of(truth: NDArray[np.float64], found: NDArray[np.float64]) -> Objective:
    """Return the mean squared error of a mixture of predictions (n, members), relative to the variance."""
    scale = float(np.var(truth)) or 1.0

    def objective(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        error = found @ weights - truth
        return float(np.mean(error**2)) / scale, 2 * (error @ found) / len(truth) / scale

    return objective


def partial_likelihood_of(
    event: NDArray[np.bool_], time: NDArray[np.float64], risk: NDArray[np.float64]
) -> Objective:
    """Return the negative log partial likelihood (ties as Breslow's) of a mixture of risks (n, members)."""
    at_risk = time >= time[event][:, None]

    def objective(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        mixed = np.where(at_risk, risk @ weights, -np.inf)
        total = logsumexp(mixed, axis=1)
        expected = np.exp(mixed - total[:, None]) @ risk
        value = total.sum() - (risk[event] @ weights).sum()
        return float(value), np.asarray(expected.sum(axis=0) - risk[event].sum(axis=0), dtype=np.float64)

    return objective
