"""Choice of features by what they are, or by what each alone tells of an outcome.

All are fitted inside the folds of a cross-validation, on finite values: thousands of features take a
fraction of a second. What ties is taken in the order of the columns; nothing depends on that of the rows.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from scipy.stats import false_discovery_control, rankdata
from sklearn.base import BaseEstimator
from sklearn.feature_selection import SelectorMixin
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from voxelome.imageio import Array, MaskArray
from voxelome.modelling.association import (
    Kind,
    Outcome,
    best,
    blocks,
    p_values,
    read_outcome,
    relevance,
    rounded,
    unit_columns,
)

# Features whose correlations with all others are in memory at a time.
_WIDTH = 512
# mRMR divides by the mean correlation: without a floor, one that is 0 by chance would decide alone.
_LEAST_REDUNDANCY = 1e-3


class Selector(SelectorMixin, BaseEstimator):
    """A choice of columns, which `fit` leaves in the mask `support_`, shape (n_features,)."""

    support_: MaskArray

    def _get_support_mask(self) -> MaskArray:
        check_is_fitted(self)
        return self.support_


class SupervisedSelector(Selector):
    """A choice of columns for an outcome of the kind `kind`."""

    kind: Kind

    def _validated(self, X: Any, y: Any) -> tuple[Array, Outcome]:
        """Return the checked features, shape (n_samples, n_features), and the outcome."""
        if getattr(getattr(y, "dtype", None), "names", None) is None:
            X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=3)
        else:  # scikit-learn takes no structured array for an outcome
            X = validate_data(self, X, dtype=np.float64, ensure_min_samples=3)
            check_consistent_length(X, y)
        return X, read_outcome(y, self.kind)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


class NearZeroVariance(Selector):
    """Leave out features that are almost constant.

    That is one whose most common value is more than `frequency_ratio` times as frequent as the second most
    common, while its distinct values are at most the share `unique_share` of the cases: the rule of
    `nearZeroVar` of the R package caret, with its limits as defaults. A constant is always left out.

    Parameters
    ----------
    frequency_ratio : float
        Largest ratio of the frequencies of the two most common values that is still let pass.
    unique_share : float
        Share of distinct values above which a feature is kept whatever the ratio.

    References
    ----------
    Kuhn (2008), Journal of Statistical Software 28(5):1-26.
    """

    def __init__(self, frequency_ratio: float = 19, unique_share: float = 0.1) -> None:
        self.frequency_ratio = frequency_ratio
        self.unique_share = unique_share

    def fit(self, X: Any, y: Any = None) -> NearZeroVariance:
        """Choose features of `X` (n_samples, n_features); `y` is not looked at."""
        X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        support = np.empty(X.shape[1], dtype=bool)
        for block in blocks(*X.shape):
            distinct, first, second = _frequencies(X[:, block])
            dominated = first > self.frequency_ratio * second
            support[block] = (distinct > 1) & ~(dominated & (distinct <= self.unique_share * len(X)))
        if not support.any():
            raise ValueError("no feature varies enough")
        self.support_ = support
        return self


class CorrelationFilter(Selector):
    """Of features that correlate keep those that correlate least with all.

    Features are taken by ascending mean absolute correlation to all others, the criterion of
    `findCorrelation` of the R package caret; one that correlates with a feature already taken by more than
    `maximum` is left out. So no two that are kept correlate by more, and each left out does with one kept.
    A constant feature correlates with none: :class:`NearZeroVariance` is there for it.

    Parameters
    ----------
    maximum : float
        Largest absolute correlation between two features kept.
    method : {"spearman", "pearson"}
        Correlation of ranks, or of values.

    Attributes
    ----------
    mean_correlation_ : ndarray, shape (n_features,)
        Mean absolute correlation of each feature to the others.
    """

    def __init__(self, maximum: float = 0.9, method: Literal["spearman", "pearson"] = "spearman") -> None:
        self.maximum = maximum
        self.method = method

    def fit(self, X: Any, y: Any = None) -> CorrelationFilter:
        """Choose features of `X` (n_samples, n_features); `y` is not looked at."""
        if not 0 < self.maximum <= 1 or self.method not in ("spearman", "pearson"):
            raise ValueError(f"{self} needs a maximum in (0, 1] and the method spearman or pearson")
        X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        unit = unit_columns(rankdata(X, axis=0) if self.method == "spearman" else X)
        self.mean_correlation_ = _mean_correlation(unit)
        order = np.argsort(rounded(self.mean_correlation_), kind="stable")
        self.support_ = np.zeros(X.shape[1], dtype=bool)
        self.support_[_uncorrelated(unit, order, self.maximum)] = True
        return self


class UnivariateFDR(SupervisedSelector):
    """Keep the features whose association with the outcome passes a false discovery rate.

    The test is by the kind of outcome that of Kruskal and Wallis (for two classes that of Mann and Whitney,
    both in their large-sample form without correction for continuity), of Spearman's correlation, or the
    score test of a Cox model with the ranks of the feature alone (ties of times as Breslow's). With values
    in the place of ranks (`test` "t") these are Student's t and the F of an analysis of variance, the test
    of Pearson's correlation, and the score test with the values. P-values are adjusted as by Benjamini and
    Hochberg.

    Parameters
    ----------
    kind : str
        Kind of the outcome; "auto" derives it from `y` (:func:`read_outcome`).
    level : float
        False discovery rate.
    minimum : int
        Number of best features to keep where fewer pass, so that a pipeline always has something to go on
        with; beyond those that pass, nothing is claimed of them.
    maximum : int, optional
        Number of best features to keep where more pass.
    test : {"rank", "t"}
        Whether the test is of ranks or of values.

    Attributes
    ----------
    p_values_, q_values_ : ndarray, shape (n_features,)
        P-value of each feature, 1 where it is constant, and its adjusted form.

    References
    ----------
    Benjamini and Hochberg (1995), Journal of the Royal Statistical Society B 57:289-300.
    """

    def __init__(
        self,
        kind: Kind = "auto",
        level: float = 0.05,
        minimum: int = 5,
        maximum: int | None = None,
        test: Literal["rank", "t"] = "rank",
    ) -> None:
        self.kind = kind
        self.level = level
        self.minimum = minimum
        self.maximum = maximum
        self.test = test

    def fit(self, X: Any, y: Any) -> UnivariateFDR:
        """Choose features of `X` (n_samples, n_features) for `y`."""
        if self.test not in ("rank", "t"):
            raise ValueError(f"test is {self.test!r}, but must be 'rank' or 't'")
        X, outcome = self._validated(X, y)
        self.p_values_ = p_values(X, outcome, by_rank=self.test == "rank")
        self.q_values_ = false_discovery_control(self.p_values_)
        count = max(int((self.q_values_ <= self.level).sum()), self.minimum)
        self.support_ = best(-self.p_values_, count if self.maximum is None else min(count, self.maximum))
        return self


class MRMR(SupervisedSelector):
    """Keep features of most relevance and least redundancy, one after the other.

    The next feature is that with the largest quotient of its F (analysis of variance for classes,
    regression for a continuous outcome, chi-squared of the score test of a Cox model for survival) and its
    mean absolute Pearson correlation with those already taken (at least 0.001): the variant FCQ of Zhao,
    Anand and Wang. Constant features are never taken.

    Parameters
    ----------
    n_features : int
        Number of features to keep, if so many vary.
    kind : str
        Kind of the outcome; "auto" derives it from `y` (:func:`read_outcome`).

    Attributes
    ----------
    relevance_ : ndarray, shape (n_features_in,)
        F of each feature.
    ranking_ : ndarray of int
        Indices of the features kept, in the order in which they were taken.

    References
    ----------
    Ding and Peng (2005), Journal of Bioinformatics and Computational Biology 3:185-205.
    Zhao, Anand and Wang (2019), arXiv:1908.05376.
    """

    def __init__(self, n_features: int = 20, kind: Kind = "auto") -> None:
        self.n_features = n_features
        self.kind = kind

    def fit(self, X: Any, y: Any) -> MRMR:
        """Choose features of `X` (n_samples, n_features) for `y`."""
        if self.n_features < 1:
            raise ValueError(f"n_features is {self.n_features}, but must be at least 1")
        X, outcome = self._validated(X, y)
        self.relevance_ = relevance(X, outcome)
        count = min(self.n_features, int((self.relevance_ > 0).sum()))
        if not count:
            raise ValueError("no feature tells anything of y")
        self.ranking_ = _relevant_not_redundant(unit_columns(X), self.relevance_, count)
        self.support_ = np.zeros(X.shape[1], dtype=bool)
        self.support_[self.ranking_] = True
        return self


def _frequencies(values: Array) -> tuple[Array, Array, Array]:
    """Return of each column the number of distinct values, and how often the two most common occur."""
    ordered = np.sort(values.T, axis=1)
    starts = np.ones(ordered.shape, dtype=bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    distinct = starts.sum(axis=1)
    lengths = np.diff(np.flatnonzero(starts), append=starts.size)
    columns = np.cumsum(distinct) - distinct
    first = np.maximum.reduceat(lengths, columns)
    common = lengths == np.repeat(first, distinct)
    rest = np.maximum.reduceat(np.where(common, 0, lengths), columns)
    return distinct, first, np.where(np.add.reduceat(common, columns, dtype=int) > 1, first, rest)


def _mean_correlation(unit: Array) -> Array:
    """Return the mean absolute correlation of each feature to the others, shape (n_features,)."""
    n_features = unit.shape[1]
    total = np.zeros(n_features)
    for start in range(0, n_features, _WIDTH):
        # Each pair once: the features of a block meet themselves and those after.
        stop = min(start + _WIDTH, n_features)
        correlation = np.abs(unit[:, start:stop].T @ unit[:, start:])
        np.fill_diagonal(correlation, 0)
        total[start:stop] += correlation.sum(axis=1)
        total[stop:] += correlation[:, stop - start :].sum(axis=0)
    mean: Array = total / max(1, n_features - 1)
    return mean


def _uncorrelated(unit: Array, order: Array, maximum: float) -> list[int]:
    """Return the features, taken in `order`, that correlate with none taken before by more than that."""
    limit = maximum + 1e-10  # a correlation that is the limit, but for rounding, is not beyond it
    kept: list[int] = []
    for start in range(0, len(order), _WIDTH):
        candidates = order[start : start + _WIDTH]
        free = np.all(np.abs(unit[:, kept].T @ unit[:, candidates]) <= limit, axis=0)
        candidates = candidates[free]
        close = np.abs(unit[:, candidates].T @ unit[:, candidates]) > limit
        left = np.ones(len(candidates), dtype=bool)
        for index in range(len(candidates)):
            if left[index]:
                kept.append(int(candidates[index]))
                left &= ~close[index]
    return kept


def _relevant_not_redundant(unit: Array, relevance: Array, count: int) -> Array:
    """Return the indices of `count` features by maximum relevance and minimum redundancy."""
    taken = [int(best(relevance, 1).argmax())]
    redundancy = np.zeros(len(relevance))
    while len(taken) < count:
        redundancy += np.abs(unit[:, taken[-1]] @ unit)
        quotient = relevance / np.maximum(redundancy / len(taken), _LEAST_REDUNDANCY)
        quotient[taken] = -np.inf
        taken.append(int(rounded(quotient).argmax()))
    return np.array(taken, dtype=np.intp)
