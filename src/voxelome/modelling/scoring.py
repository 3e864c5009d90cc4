"""From predictions of visits to predictions of participants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelome.modelling.crossval import Cohort, FoldResult


@dataclass(frozen=True)
class Scored:
    """Held-out participants of one fold.

    Attributes
    ----------
    who : ndarray of int, shape (n,)
        Participants.
    target : ndarray, shape (n,)
        Their outcome.
    prediction : ndarray, shape (n,)
        Mean over their visits.
    naive : float
        Prevalence or mean in training.
    """

    who: NDArray[np.intp]
    target: NDArray[Any]
    prediction: NDArray[np.float64]
    naive: float


def score_fold(cohort: Cohort, result: FoldResult) -> Scored:
    """Return outcome and mean prediction of the participants held out in a fold."""
    return score_rows(cohort, result.visits, result.prediction, result.naive)


def score_rows(
    cohort: Cohort, visits: NDArray[np.intp], prediction: NDArray[np.float64], naive: float
) -> Scored:
    """Return outcome and mean prediction of the participants of some visits."""
    who, inverse = np.unique(cohort.participant[visits], return_inverse=True)
    mean = np.bincount(inverse, weights=prediction) / np.bincount(inverse)
    return Scored(who, cohort.target[who], mean, naive)
