"""From predictions of visits to predictions of participants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelome.modelling.crossval import FoldResult
from voxelome.modelling.visits import Cohort


@dataclass(frozen=True)
class Scored:
    """Held-out participants of one fold.

    Attributes
    ----------
    who : ndarray of int, shape (n,)
        Participants.
    target : ndarray, shape (n,)
        Their outcome.
    prediction : ndarray, shape (n,) or (n, n_classes)
        Mean over their visits.
    naive : float or ndarray, shape (n_classes,)
        Prevalence, mean or shares of the classes in training.
    """

    who: NDArray[np.intp]
    target: NDArray[Any]
    prediction: NDArray[np.float64]
    naive: Any


def score_fold(cohort: Cohort, result: FoldResult) -> Scored:
    """Return outcome and mean prediction of the participants held out in a fold."""
    return score_rows(cohort, result.visits, result.prediction, result.naive)


def score_rows(
    cohort: Cohort, visits: NDArray[np.intp], prediction: NDArray[np.float64], naive: Any
) -> Scored:
    """Return outcome and mean prediction of the participants of some visits."""
    who, inverse = np.unique(cohort.participant[visits], return_inverse=True)
    return Scored(who, cohort.target[who], mean_of(inverse, prediction), naive)


def mean_of(place: NDArray[np.intp], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the values at each place, shape (n_places,) or (n_places, columns)."""
    times = np.bincount(place)
    if values.ndim == 1:
        return np.asarray(np.bincount(place, weights=values) / times, dtype=np.float64)
    return np.stack([mean_of(place, column) for column in values.T], axis=1)
