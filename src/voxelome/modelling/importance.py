"""How much a fitted model makes of each feature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from voxelome.modelling.families import FILTERS


@dataclass(frozen=True)
class Importance:
    """What a model makes of the features it was given.

    Attributes
    ----------
    share : ndarray, shape (n_features,)
        Sums to 1 where the model tells: shares of the absolute coefficients, or of the impurity that a
        feature removes in trees, averaged over the members of an ensemble. All 0 where no member tells.
    coefficient : ndarray, shape (n_features,)
        Mean coefficient of the linear members, in standard deviations of the feature; NaN where none uses it.
    """

    share: NDArray[np.float64]
    coefficient: NDArray[np.float64]


def importance_of(model: Any, features: int) -> Importance:
    """Return what a fitted model makes of its features.

    Parameters
    ----------
    model : Pipeline, VotingClassifier or VotingRegressor
        A fitted model of :mod:`voxelome.modelling.families`, or an average of several.
    features : int
        Number of columns that it was given.
    """
    members = getattr(model, "estimators_", None)
    if isinstance(model, Pipeline) or members is None:
        members = [model]
    shares, coefficients = zip(*(_of_pipeline(member, features) for member in members), strict=True)
    # Members of a stack have weights, those of an average do not.
    weights = np.asarray(getattr(model, "weights_", np.ones(len(members))))
    told = [place for place, share in enumerate(shares) if share.any() and weights[place] > 0]
    share = np.zeros(features)
    if told:
        share = np.average([shares[place] for place in told], axis=0, weights=weights[told])
    linear = np.array(coefficients)
    used = np.isfinite(linear).sum(axis=0)
    coefficient = np.where(used > 0, np.nansum(linear, axis=0) / np.maximum(used, 1), np.nan)
    return Importance(share, coefficient)


def _of_pipeline(pipeline: Pipeline, features: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return shares, and coefficients that are NaN where the model has none."""
    last = getattr(pipeline[-1], "regressor_", pipeline[-1])
    place = np.arange(features)
    # Landmarks and the site, which are taken away, come after the features.
    for name in ("reliable", *FILTERS, "select"):
        if name in pipeline.named_steps:
            place = place[pipeline.named_steps[name].get_support(indices=True)]
    share, coefficient = np.zeros(features), np.full(features, np.nan)
    if hasattr(last, "coef_"):
        weights = np.atleast_2d(last.coef_)
        if len(weights) == 1:  # of several classes there is a weight for each, and no one direction
            used = np.flatnonzero(weights[0])
            coefficient[place[used]] = weights[0][used]
        share[place[: weights.shape[1]]] = np.abs(weights).mean(axis=0)
    elif hasattr(last, "feature_importances_"):
        share[place[: len(last.feature_importances_)]] = last.feature_importances_
    total = share.sum()
    return (share / total if total > 0 else share), coefficient
