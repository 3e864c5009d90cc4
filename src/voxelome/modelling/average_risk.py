"""The average of survival models whose risks have different units."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from voxelome.modelling.survival import predicted_survival


class AverageRisk(BaseEstimator):
    """Average risks of several models, each in standard deviations of its risks in training.

    Parameters
    ----------
    estimators : list of (str, estimator)
        Models whose `predict` gives a risk, larger for earlier events.

    Attributes
    ----------
    estimators_ : list of estimator
        Fitted.
    centre_, scale_ : ndarray, shape (n_estimators,)
        Mean and standard deviation of the risks in training.
    feature_names_in_ : ndarray of str
        Columns, where it was fitted on a DataFrame.
    """

    def __init__(self, estimators: list[tuple[str, Any]]) -> None:
        self.estimators = estimators

    def fit(self, X: Any, y: Any) -> AverageRisk:
        """Fit every model to `X` (n_samples, n_features) and the structured array of events and times `y`."""
        self.estimators_ = [clone(model).fit(X, y) for _, model in self.estimators]
        risks = np.array([model.predict(X) for model in self.estimators_])
        spread = risks.std(axis=1)
        self.centre_, self.scale_ = risks.mean(axis=1), np.where(spread > 0, spread, 1.0)
        if hasattr(X, "columns"):
            self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return the average risk of each row, shape (n_samples,)."""
        check_is_fitted(self)
        risks = np.array([model.predict(X) for model in self.estimators_])
        average: NDArray[np.float64] = ((risks - self.centre_[:, None]) / self.scale_[:, None]).mean(axis=0)
        return average

    def predict_survival(self, X: Any, times: Any) -> NDArray[np.float64]:
        """Return the average probability of no event until each time, shape (n_samples, len(times))."""
        check_is_fitted(self)
        found = [predicted_survival(model, X, times) for model in self.estimators_]
        return np.asarray(np.mean(found, axis=0), dtype=np.float64)
