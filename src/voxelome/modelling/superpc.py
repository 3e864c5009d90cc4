"""Supervised principal components: what the features that tell something have in common."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from scipy.linalg import eigh
from scipy.special import expit
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.utils import ClassifierTags, RegressorTags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from voxelome.imageio import Array, MaskArray
from voxelome.modelling.association import Outcome, best, p_values, read_outcome, unit_columns
from voxelome.modelling.cox import breslow, fit_cox, partial_log_likelihood, survival_probability
from voxelome.modelling.survival_outcome import balanced_folds, read_survival

Kind = Literal["survival", "binary", "continuous"]
# Numbers of features that are tried.
_CANDIDATES = 20
# Variance of a component, as a share of that of the first, below which it is rounding.
_RANK = 1e-10


def _of_kind(kind: Kind) -> Any:
    return lambda model: model.kind == kind


class SupervisedPrincipalComponents(BaseEstimator):
    """A model of few principal components of the features that each alone tell most of the outcome.

    Features are standardised and ordered by the score test of a Cox model with each alone, or by its F for
    a binary or continuous outcome. The components of the first `n_features` of them, with unit variance,
    go into a Cox model, a logistic or a linear regression; coefficients of the former two have a standard
    normal prior, so that components that separate all cases still have finite ones.

    Where `n_features` is to be found (the threshold of the paper, as a number of features, so that it means
    the same in folds of fewer cases), inner folds are asked: ranking, components and model are made without
    a fold, and the number taken is that with the best likelihood of held-out cases (for survival the partial
    likelihood of all cases less that of the others), or the least squared error. Of equals it is the least.

    Parameters
    ----------
    kind : {"survival", "binary", "continuous"}
        Kind of the outcome.
    n_features : int, optional
        Number of features to keep; found by inner folds by default.
    n_components : int
        Number of components, 1 to 3.
    folds : int
        Number of inner folds, at most.
    seed : int
        Of the inner folds.

    Attributes
    ----------
    p_values_ : ndarray, shape (n_features_in_,)
        Of each feature alone.
    support_ : ndarray of bool, shape (n_features_in_,)
        Features kept.
    candidates_, losses_ : ndarray
        Numbers of features tried, and the loss of held-out cases of each; where one was found.
    coef_, centre_ : ndarray, shape (n_features_in_,)
        The linear predictor of `X` is ``(X - centre_) @ coef_ + intercept_``.
    intercept_ : float
        0 for survival.
    event_times_, baseline_hazard_ : ndarray
        Of a survival: when the cumulative hazard of a case with the linear predictor 0 steps up, to what.
    classes_ : ndarray, shape (2,)
        Of a binary outcome.

    References
    ----------
    Bair and Tibshirani (2004), PLoS Biology 2:e108.
    Bair, Hastie, Paul and Tibshirani (2006), Journal of the American Statistical Association 101:119-137.
    Kickingereder et al. (2016), Radiology 280:880-889; with radiomics of glioblastoma.
    Verweij and van Houwelingen (1993), Statistics in Medicine 12:2305-2314; cross-validated likelihood.
    """

    def __init__(
        self,
        kind: Kind = "survival",
        n_features: int | None = None,
        n_components: int = 1,
        folds: int = 5,
        seed: int = 0,
    ) -> None:
        self.kind = kind
        self.n_features = n_features
        self.n_components = n_components
        self.folds = folds
        self.seed = seed

    def fit(self, X: Any, y: Any) -> SupervisedPrincipalComponents:
        """Learn from `X` (n_samples, n_features) and `y` (n_samples,).

        Raises
        ------
        ValueError
            A setting is not possible, no feature varies, or `y` is not of the kind.
        DataError
            Survival has too few events, or times that cannot be.
        """
        self._check_settings()
        X, outcome = self._validated(X, y)
        if not np.any(X.max(axis=0) > X.min(axis=0)):
            raise ValueError("no feature varies")
        count = self._found(X, outcome) if self.n_features is None else self.n_features
        self.p_values_ = p_values(X, outcome, by_rank=False)
        self.support_ = _kept(X, self.p_values_, count)
        self.centre_ = X.mean(axis=0)
        self.coef_, self.intercept_ = _linear(X, self.support_, self.n_components, outcome)
        if self.kind == "survival":
            self.event_times_, self.baseline_hazard_ = breslow((X - self.centre_) @ self.coef_, outcome)
        return self

    def predict(self, X: Any) -> Any:
        """Return the log hazard ratio (higher is earlier), the class or the number of each case; (n,)."""
        predictor = self._predictor(X)
        return self.classes_[(predictor > 0).astype(int)] if self.kind == "binary" else predictor

    def _predict_proba(self, X: Any) -> Any:
        """Return the probability of each class, shape (n, 2)."""
        positive = expit(self._predictor(X))
        return np.stack([1 - positive, positive], axis=1)

    def _predict_survival(self, X: Any, times: Any) -> Any:
        """Return the probability of no event until each time, shape (n, len(times))."""
        predictor = self._predictor(X)
        return survival_probability(self.event_times_, self.baseline_hazard_, predictor, times)

    predict_proba = available_if(_of_kind("binary"))(_predict_proba)
    predict_survival = available_if(_of_kind("survival"))(_predict_survival)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        if self.kind == "binary":
            tags.estimator_type, tags.classifier_tags = "classifier", ClassifierTags(multi_class=False)
        elif self.kind == "continuous":
            tags.estimator_type, tags.regressor_tags = "regressor", RegressorTags()
        return tags

    def _check_settings(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind is {self.kind!r}, but must be one of {', '.join(get_args(Kind))}")
        if self.n_components not in (1, 2, 3):
            raise ValueError(f"n_components is {self.n_components}, but must be 1, 2 or 3")
        if self.n_features is not None and self.n_features < self.n_components:
            raise ValueError(f"{self.n_features} features have no {self.n_components} components")
        if self.folds < 2:
            raise ValueError(f"folds is {self.folds}, but must be at least 2")

    def _validated(self, X: Any, y: Any) -> tuple[Array, Outcome]:
        if self.kind == "survival":  # scikit-learn takes no structured array for an outcome
            X = validate_data(self, X, dtype=np.float64, ensure_min_samples=3)
            check_consistent_length(X, y)
            # With two events, none of the inner folds leaves the others without one.
            return X, read_survival(y, least_events=2)
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=3)
        if self.kind == "binary":
            self.classes_ = np.unique(y)
        return X, read_outcome(y, self.kind)

    def _predictor(self, X: Any) -> Any:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return (X - self.centre_) @ self.coef_ + self.intercept_

    def _found(self, X: Array, outcome: Outcome) -> int:
        """Return the number of features that does best in inner folds."""
        varying = int(np.count_nonzero(X.max(axis=0) > X.min(axis=0)))
        least = min(self.n_components, varying)
        self.candidates_ = np.unique(np.geomspace(least, varying, _CANDIDATES).round().astype(int))
        fold = balanced_folds(outcome, min(self.folds, len(X)), self.seed)
        self.losses_ = np.sum([self._losses(X, outcome, fold == held) for held in np.unique(fold)], axis=0)
        return int(self.candidates_[np.argmin(self.losses_)])

    def _losses(self, X: Array, outcome: Outcome, held: MaskArray) -> Array:
        """Return the loss of the cases that are held out with each number of features."""
        known, rest = X[~held], outcome.take(~held)
        p = p_values(known, rest, by_rank=False)
        losses = []
        for count in self.candidates_:
            coef, intercept = _linear(known, _kept(known, p, count), self.n_components, rest)
            losses.append(_loss((X - known.mean(axis=0)) @ coef + intercept, outcome, held))
        return np.array(losses)


def _kept(X: Array, p: Array, count: int) -> MaskArray:
    """Return the mask of the features with the least p-values; a constant is never kept."""
    kept: MaskArray = best(-p, count) & (X.max(axis=0) > X.min(axis=0))
    return kept


def _linear(X: Array, kept: MaskArray, n_components: int, outcome: Outcome) -> tuple[Array, float]:
    """Return coefficients and intercept of centred features of a model of their components."""
    coef = np.zeros(X.shape[1])
    weights = _component_weights(X[:, kept], n_components)
    scores = (X[:, kept] - X[:, kept].mean(axis=0)) @ weights
    if outcome.kind == "survival":
        slope, intercept = fit_cox(scores, outcome), 0.0
    elif outcome.kind == "binary":
        model = LogisticRegression(C=1.0).fit(scores, outcome.values)
        slope, intercept = model.coef_[0], float(model.intercept_[0])
    else:
        intercept = float(outcome.values.mean())
        slope = np.linalg.lstsq(scores, outcome.values - intercept)[0]
    coef[kept] = weights @ slope
    return coef, intercept


def _component_weights(X: Array, n_components: int) -> Array:
    """Return what makes of centred columns their components with unit variance, shape (columns, m)."""
    n, columns = X.shape
    if columns == 0:  # as where what varies is held out: a score that is 0 for all
        return np.zeros((0, 1))
    unit = unit_columns(X)
    wide = columns > n
    product = unit @ unit.T if wide else unit.T @ unit
    m = min(n_components, len(product))
    values, vectors = eigh(product, subset_by_index=(len(product) - m, len(product) - 1))
    real = values > _RANK * values[-1]
    values, vectors = values[real], vectors[:, real]
    directions = unit.T @ vectors / np.sqrt(values) if wide else vectors
    weights: Array = directions / np.sqrt(values) / X.std(axis=0)[:, None]
    return weights


def _loss(predictor: Array, outcome: Outcome, held: MaskArray) -> float:
    """Return the loss of the cases held out, given the linear predictor of all."""
    if outcome.kind == "survival":
        everyone = partial_log_likelihood(predictor[:, None], outcome)
        others = partial_log_likelihood(predictor[~held, None], outcome.take(~held))
        return float(2 * (others - everyone)[0])
    if outcome.kind == "binary":
        return float(2 * np.logaddexp(0, np.where(outcome.values, -predictor, predictor)[held]).sum())
    return float(np.sum((outcome.values - predictor)[held] ** 2))
