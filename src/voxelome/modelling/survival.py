"""Models of the time to an event, in the manner of scikit-learn and scikit-survival.

All take a structured array of events and times, as `survival_outcome` of the module of that name makes it;
`predict` is a risk, higher where the event comes earlier, and `predict_survival` the probability that nothing
has happened until given times. Settings are those that others found to do, not what is best on some table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from sksurv.ensemble import GradientBoostingSurvivalAnalysis, RandomSurvivalForest

from voxelome.modelling.cox import checked_times
from voxelome.modelling.cox_elastic_net import CoxElasticNet
from voxelome.modelling.superpc import SupervisedPrincipalComponents
from voxelome.modelling.survival_outcome import read_survival

__all__ = [
    "CoxElasticNet",
    "SupervisedPrincipalComponents",
    "SurvivalBoosting",
    "SurvivalForest",
    "gradient_boosting",
    "predicted_survival",
    "random_survival_forest",
]


class SurvivalForest(RandomSurvivalForest):
    """A random survival forest that tells the probability of survival at any time.

    References
    ----------
    Ishwaran, Kogalur, Blackstone and Lauer (2008), Annals of Applied Statistics 2:841-860.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SurvivalForest:
        """Learn from `X` (n_samples, n_features) and the survival `y`; DataError without an event."""
        read_survival(y)
        super().fit(X, y, sample_weight)
        return self

    @property
    def feature_importances_(self) -> Any:
        """Not there: trees of survival have no impurity that a feature could remove."""
        raise AttributeError("a survival forest has no feature_importances_")

    def predict_survival(self, X: Any, times: Any) -> NDArray[np.float64]:
        """Return the probability of no event until each time, shape (n, len(times))."""
        return _steps(self, X, times)


class SurvivalBoosting(GradientBoostingSurvivalAnalysis):
    """Gradient boosting of Cox's partial likelihood that tells the probability of survival at any time.

    References
    ----------
    Ridgeway (1999), Computing Science and Statistics 31:172-181.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None, monitor: Any = None) -> SurvivalBoosting:
        """Learn from `X` (n_samples, n_features) and the survival `y`; DataError without an event."""
        read_survival(y)
        super().fit(X, y, sample_weight, monitor)
        return self

    def predict_survival(self, X: Any, times: Any) -> NDArray[np.float64]:
        """Return the probability of no event until each time, shape (n, len(times))."""
        return _steps(self, X, times)


def random_survival_forest(seed: int = 0, trees: int = 300, least_leaf: int = 8) -> SurvivalForest:
    """Return an unfitted forest for some tens to hundreds of cases.

    Leaves are larger than those of a classification: each has a survival curve to tell, of which the
    censored cases know little.

    Parameters
    ----------
    seed : int
        Of the cases and features that trees see.
    trees : int
        Number of trees.
    least_leaf : int
        Cases in a leaf at least; a split needs twice as many (the node size 15 of randomForestSRC).
    """
    return SurvivalForest(
        n_estimators=trees,
        min_samples_leaf=least_leaf,
        min_samples_split=2 * least_leaf,
        max_features="sqrt",
        random_state=seed,
    )


def gradient_boosting(seed: int = 0, rounds: int = 100, rate: float = 0.05) -> SurvivalBoosting:
    """Return an unfitted boosting of small trees, each of a part of cases and features.

    Parameters
    ----------
    seed : int
        Of the cases and features that trees see.
    rounds : int
        Number of trees.
    rate : float
        How much of each tree is taken.
    """
    return SurvivalBoosting(
        loss="coxph",
        n_estimators=rounds,
        learning_rate=rate,
        max_depth=2,
        min_samples_leaf=5,
        subsample=0.7,
        max_features="sqrt",
        random_state=seed,
    )


def predicted_survival(model: Any, X: Any, times: Any) -> NDArray[np.float64]:
    """Return the probability of no event until each time, shape (n, len(times)), also of a pipeline.

    Parameters
    ----------
    model : estimator
        Fitted: one of this module, or a pipeline that ends with one.
    X : array_like, shape (n, features)
        Cases.
    times : array_like, shape (t,)
        After the last time of an event in training the probability stays what it is.
    """
    if isinstance(model, Pipeline):
        X, model = model[:-1].transform(X), model[-1]
    return np.asarray(model.predict_survival(X, times), dtype=np.float64)


def _steps(model: Any, X: Any, times: Any) -> NDArray[np.float64]:
    """Return the survival functions of a model of scikit-survival at any times."""
    place = np.searchsorted(model.unique_times_, checked_times(times), side="right")
    curves = model.predict_survival_function(X, return_array=True)
    return np.asarray(np.pad(curves, ((0, 0), (1, 0)), constant_values=1.0)[:, place], dtype=np.float64)
