"""Choice of features by what models of all of them together make of each.

All are fitted inside the folds of a cross-validation, on finite values, and choose no penalty by a
cross-validation of their own. What is drawn at random depends on the contents of the table alone, not on
the order of its rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.stats import binom
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.utils import check_random_state

from voxelome.imageio import Array
from voxelome.modelling.association import Kind, Outcome, best, martingale_residuals
from voxelome.modelling.penalty_path import within
from voxelome.modelling.selection import SupervisedSelector

# Trees of Boruta: with 2000 features and a given time, few splits that each choose among many features find
# more that count than the usual full depth with a square root of them.
_DEPTH = 3
_CANDIDATES = 0.1
_LARGEST_SEED = np.iinfo(np.int32).max


class SelectByPenalty(SupervisedSelector):
    """Keep the features that a LASSO or an elastic net leaves in a model.

    The penalty is lowered from one that leaves no feature until `max_features` are in the model. Where more
    would come to be in it, the features before that are kept, and if there were none, those with the
    largest coefficients. The model is a linear, a logistic or a Cox regression; of several classes each has
    a logistic one against the rest, and a feature in any of them is kept. Features are brought to one scale
    before.

    Parameters
    ----------
    kind : str
        Kind of the outcome; "auto" derives it from `y` (:func:`~voxelome.modelling.selection.read_outcome`).
    l1_ratio : float
        Share of the LASSO in the penalty, above 0; 1 is the LASSO, less an elastic net.
    max_features : int
        Number of features to keep at most.

    Attributes
    ----------
    coef_ : ndarray, shape (n_models, n_features)
        Coefficients by standard deviation of each feature, under the penalty chosen.

    References
    ----------
    Friedman, Hastie and Tibshirani (2010), Journal of Statistical Software 33(1):1-22.
    Simon, Friedman, Hastie and Tibshirani (2011), Journal of Statistical Software 39(5):1-13.
    """

    def __init__(self, kind: Kind = "auto", l1_ratio: float = 1.0, max_features: int = 20) -> None:
        self.kind = kind
        self.l1_ratio = l1_ratio
        self.max_features = max_features

    def fit(self, X: Any, y: Any) -> SelectByPenalty:
        """Choose features of `X` (n_samples, n_features) for `y`."""
        if not 0 < self.l1_ratio <= 1 or self.max_features < 1:
            raise ValueError(f"{self} needs an l1_ratio in (0, 1] and at least 1 feature")
        X, outcome = self._validated(X, y)
        self.coef_ = within(X, outcome, self.l1_ratio, self.max_features)
        self.support_ = np.any(self.coef_, axis=0)
        if not self.support_.any():
            raise ValueError("no feature tells anything of y")
        return self


class StabilitySelection(SupervisedSelector):
    """Keep the features that a LASSO chooses in most halves of the cases.

    In each of `n_subsamples` halves the LASSO of :class:`SelectByPenalty` chooses up to `max_features`
    features. Halves are drawn in complementary pairs, with classes and events in proportion.

    Parameters
    ----------
    kind : str
        Kind of the outcome; "auto" derives it from `y` (:func:`~voxelome.modelling.selection.read_outcome`).
    n_subsamples : int
        Number of halves; even.
    threshold : float
        Share of the halves in which a feature must be chosen.
    max_features : int
        Number of features to choose in each half at most.
    random_state : int, RandomState or None
        Draws the halves.
    minimum : int
        Number of the most frequent features to keep where fewer pass, so that a pipeline always has
        something to go on with.

    Attributes
    ----------
    frequencies_ : ndarray, shape (n_features,)
        Share of the halves in which each feature was chosen.
    expected_false_ : float
        Bound of Meinshausen and Bühlmann on the expected number of features that pass without telling
        anything, on their assumptions; infinite for a threshold of 0.5 or less.

    References
    ----------
    Meinshausen and Bühlmann (2010), Journal of the Royal Statistical Society B 72:417-473.
    Shah and Samworth (2013), Journal of the Royal Statistical Society B 75:55-80; complementary pairs.
    """

    def __init__(
        self,
        kind: Kind = "auto",
        n_subsamples: int = 50,
        threshold: float = 0.6,
        max_features: int = 20,
        random_state: Any = None,
        minimum: int = 1,
    ) -> None:
        self.kind = kind
        self.n_subsamples = n_subsamples
        self.threshold = threshold
        self.max_features = max_features
        self.random_state = random_state
        self.minimum = minimum

    def fit(self, X: Any, y: Any) -> StabilitySelection:
        """Choose features of `X` (n_samples, n_features) for `y`."""
        if self.n_subsamples < 2 or self.n_subsamples % 2 or self.max_features < 1:
            raise ValueError(f"{self} needs an even number of halves and at least 1 feature")
        X, outcome = self._validated(X, y)
        rows, columns = _canonical_order(X, outcome)
        X, outcome = X[np.ix_(rows, columns)], outcome.take(rows)
        chosen = np.zeros(X.shape[1])
        sizes = []
        for half in _halves(outcome, self.n_subsamples // 2, _generator(self.random_state)):
            support = within(X[half], outcome.take(half), 1.0, self.max_features).any(axis=0)
            chosen += support
            sizes.append(int(support.sum()))
        self.frequencies_ = np.empty(len(chosen))
        self.frequencies_[columns] = chosen / self.n_subsamples
        self.expected_false_ = _false_bound(float(np.mean(sizes)), self.threshold, len(chosen))
        passing = int((self.frequencies_ >= self.threshold).sum())
        self.support_ = best(self.frequencies_, max(passing, self.minimum))
        return self


class Boruta(SupervisedSelector):
    """Keep the features that are of more use to trees than any feature can be by chance.

    In each round extremely randomised trees, 3 splits deep, are grown on the features and on shadows,
    copies with permuted rows. A feature scores that is more important (mean decrease of impurity) than the
    best shadow. It is kept once it has scored too often, and thrown out once too rarely, for a fair coin
    (binomial tests, Bonferroni's correction for the number of features). What is undecided in the end is
    left out. For survival the trees explain the martingale residuals.

    Parameters
    ----------
    kind : str
        Kind of the outcome; "auto" derives it from `y` (:func:`~voxelome.modelling.selection.read_outcome`).
    n_estimators : int
        Number of trees in each round.
    max_iter : int
        Number of rounds at most.
    alpha : float
        Level of the tests.
    random_state : int, RandomState or None
        Draws shadows and trees.
    minimum : int
        Number of features that scored most often (of those, the most important) to keep where fewer pass,
        so that a pipeline always has something to go on with.

    Attributes
    ----------
    hits_ : ndarray of int, shape (n_features,)
        Number of rounds in which each feature scored.
    confirmed_ : ndarray of bool, shape (n_features,)
        Whether it scored too often for chance.
    n_iter_ : int
        Number of rounds.

    References
    ----------
    Kursa and Rudnicki (2010), Journal of Statistical Software 36(11):1-13.
    Geurts, Ernst and Wehenkel (2006), Machine Learning 63:3-42; the trees.
    """

    def __init__(
        self,
        kind: Kind = "auto",
        n_estimators: int = 100,
        max_iter: int = 30,
        alpha: float = 0.05,
        random_state: Any = None,
        minimum: int = 1,
    ) -> None:
        self.kind = kind
        self.n_estimators = n_estimators
        self.max_iter = max_iter
        self.alpha = alpha
        self.random_state = random_state
        self.minimum = minimum

    def fit(self, X: Any, y: Any) -> Boruta:
        """Choose features of `X` (n_samples, n_features) for `y`."""
        if self.max_iter < 1:
            raise ValueError(f"max_iter is {self.max_iter}, but must be at least 1")
        X, outcome = self._validated(X, y)
        rows, columns = _canonical_order(X, outcome)
        X, outcome = X[np.ix_(rows, columns)], outcome.take(rows)
        generator = _generator(self.random_state)
        n_features = X.shape[1]
        hits, importance = np.zeros(n_features, dtype=np.intp), np.zeros(n_features)
        confirmed, undecided = np.zeros(n_features, dtype=bool), np.ones(n_features, dtype=bool)
        for rounds in range(1, self.max_iter + 1):
            active = np.flatnonzero(confirmed | undecided)
            here, bar = _importances(X[:, active], outcome, self.n_estimators, generator)
            importance[active] += here
            hits[active] += here > bar
            level = self.alpha / n_features
            confirmed |= undecided & (binom.sf(hits - 1, rounds, 0.5) < level)
            undecided &= ~confirmed & (binom.cdf(hits, rounds, 0.5) >= level)
            if not undecided.any():
                break
        self.n_iter_ = rounds
        self.hits_, self.confirmed_ = np.empty_like(hits), np.empty_like(confirmed)
        self.hits_[columns], self.confirmed_[columns] = hits, confirmed
        score = np.empty(n_features)
        # Those confirmed come first, whatever the rounds they were in; importances sum to less than a hit.
        score[columns] = confirmed * (rounds + 1.0) + hits + importance / (rounds + 1)
        self.support_ = best(score, max(int(confirmed.sum()), self.minimum))
        return self


def _canonical_order(X: Array, outcome: Outcome) -> tuple[Array, Array]:
    """Return orders of the rows and of the columns that depend on their contents alone."""
    # The sum that fsum rounds but once does not depend on the order of the columns.
    rows = np.lexsort((np.array([math.fsum(row) for row in X]), outcome.values, outcome.event))
    contents = np.ascontiguousarray(X[rows].T) + 0.0  # one zero of the two that floats have
    keys = contents.view(np.dtype((np.void, contents.itemsize * contents.shape[1])))[:, 0]
    return rows, np.argsort(keys, kind="stable")


def _generator(random_state: Any) -> np.random.Generator:
    """Return a generator that is seeded as scikit-learn's estimators are."""
    return np.random.default_rng(check_random_state(random_state).randint(_LARGEST_SEED))


def _halves(outcome: Outcome, pairs: int, generator: np.random.Generator) -> Iterator[Array]:
    """Give the cases of halves, two and two without a common one."""
    classes = outcome.values if outcome.kind in ("binary", "multiclass") else outcome.event
    for _ in range(pairs):
        order = generator.permutation(len(classes))
        # Sorted by class, every other case makes a half with the classes in proportion.
        order = order[np.argsort(classes[order], kind="stable")]
        size = len(order) // 2 * 2
        yield order[0:size:2]
        yield order[1:size:2]


def _false_bound(chosen: float, threshold: float, n_features: int) -> float:
    """Return the bound on the expected number of false features, where `chosen` are in a half."""
    return chosen**2 / ((2 * threshold - 1) * n_features) if threshold > 0.5 else math.inf


def _importances(
    X: Array, outcome: Outcome, n_estimators: int, generator: np.random.Generator
) -> tuple[Array, float]:
    """Return the importance of each feature, and that of the best of all shadows."""
    n_features = X.shape[1]
    # With few features the best shadow would be no bar: there are at least five, as in the R package.
    shadows = generator.permuted(X[:, np.arange(max(5, n_features)) % n_features], axis=0)
    grow = ExtraTreesClassifier if outcome.kind in ("binary", "multiclass") else ExtraTreesRegressor
    seed = int(generator.integers(_LARGEST_SEED))
    trees = grow(n_estimators, max_depth=_DEPTH, max_features=_CANDIDATES, random_state=seed)
    target = martingale_residuals(outcome) if outcome.kind == "survival" else outcome.values
    importance = trees.fit(np.hstack([X, shadows]), target).feature_importances_
    return importance[:n_features], float(importance[n_features:].max())
