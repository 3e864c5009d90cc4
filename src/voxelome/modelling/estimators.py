"""Estimators in the manner of scikit-learn: everything learned is learned in `fit`."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.feature_selection import SelectorMixin, f_classif
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted, validate_data

L1_RATIO = 0.5
MAXIMUM_CORRELATION = 0.9


class SelectUncorrelated(SelectorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Keep the features that separate the classes best, and of correlated ones the best alone.

    Features are taken by descending F of a one-way analysis of variance; one that correlates with a
    feature already taken by more than `maximum_correlation` (absolute, Pearson) is left out, and so is one
    that is constant.

    Parameters
    ----------
    max_features : int
        Number of features to keep at most.
    maximum_correlation : float
        Largest correlation between two features kept.

    Attributes
    ----------
    scores_ : ndarray, shape (n_features,)
        F of each feature; NaN where it is constant.
    ranking_ : ndarray of int
        Indices of the features kept, best first.
    """

    def __init__(self, max_features: int = 10, maximum_correlation: float = MAXIMUM_CORRELATION) -> None:
        self.max_features = max_features
        self.maximum_correlation = maximum_correlation

    def fit(self, X: Any, y: Any) -> SelectUncorrelated:
        """Choose features of `X` (n_samples, n_features) for the classes `y`."""
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        if self.max_features < 1:
            raise ValueError(f"max_features is {self.max_features}, but must be at least 1")
        deviation = X - X.mean(axis=0)
        length = np.sqrt((deviation**2).sum(axis=0))
        unit = deviation / np.where(length > 0, length, 1.0)
        self.scores_ = np.full(X.shape[1], np.nan)
        if (length > 0).any():
            with np.errstate(divide="ignore", invalid="ignore"):
                self.scores_[length > 0] = f_classif(X[:, length > 0], y)[0]
        free = ~np.isnan(self.scores_)
        order = np.argsort(-np.where(free, self.scores_, -np.inf), kind="stable")
        ranking: list[int] = []
        for index in order:
            if len(ranking) == self.max_features:
                break
            if free[index]:
                ranking.append(int(index))
                free &= np.abs(unit[:, index] @ unit) <= self.maximum_correlation
        if not ranking:
            raise ValueError("no feature varies")
        self.ranking_ = np.array(ranking, dtype=np.intp)
        return self

    def _get_support_mask(self) -> Any:
        check_is_fitted(self)
        mask = np.zeros(self.n_features_in_, dtype=bool)
        mask[self.ranking_] = True
        return mask

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def make_preparation(selected_features: int) -> Pipeline:
    """Return what is learned before the classifier: medians, scales and the choice of features."""
    return Pipeline(
        [
            ("impute", SimpleImputer(strategy="median", keep_empty_features=True)),
            ("scale", StandardScaler()),
            ("select", SelectUncorrelated(selected_features)),
        ]
    )


def make_classifier(strength: float, seed: int) -> LogisticRegression:
    """Return a logistic regression with an elastic net (Zou and Hastie 2005); `strength` is its C."""
    return LogisticRegression(
        C=strength, l1_ratio=L1_RATIO, solver="saga", max_iter=10000, tol=1e-4, random_state=seed
    )


def chosen_features(preparation: Pipeline) -> Any:
    """Return the indices, in the columns given to a fitted preparation, of the features it keeps."""
    return preparation.named_steps["select"].get_support(indices=True)
