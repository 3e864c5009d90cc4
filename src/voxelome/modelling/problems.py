"""What differs between outcomes: how folds are balanced, how a prediction is read and how wrong it is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import VotingClassifier, VotingRegressor

from voxelome.modelling.average_risk import AverageRisk
from voxelome.modelling.survival_metrics import harrell_concordance

BINARY, CONTINUOUS, SURVIVAL = "binary", "continuous", "survival"
MULTICLASS, ORDINAL = "multiclass", "ordinal"
# Outcomes of more than two classes: a prediction is the probability of each.
SEVERAL = (MULTICLASS, ORDINAL)
# Strata of a number, so that each fold holds low and high ones.
_STRATA = 4
# A probability of 0 that comes true would cost infinitely much.
_LEAST = 1e-6


def strata(kind: str, target: Any, folds: int = 1) -> NDArray[np.intp]:
    """Return the classes that folds are balanced by, shape (n,); of a number, as many as folds allow."""
    if kind in (BINARY, *SEVERAL):
        return np.asarray(target, dtype=np.intp)
    if kind == SURVIVAL:
        return np.asarray(target["event"], dtype=np.intp)
    ranks = np.argsort(np.argsort(target, kind="stable"), kind="stable")
    count = max(1, min(_STRATA, len(ranks) // folds))
    return np.asarray(ranks * count // len(ranks), dtype=np.intp)


def predicted(kind: str, model: Any, values: Any) -> NDArray[np.float64]:
    """Return the probability of the positive class, the number predicted, or the risk, shape (n,).

    Of several classes it is the probability of each, shape (n, n_classes).
    """
    if kind in (BINARY, *SEVERAL):
        found = model.predict_proba(values)
        found = found[:, 1] if kind == BINARY else found
    else:
        found = model.predict(values)
    return np.asarray(found, dtype=np.float64)


def loss(kind: str, target: Any, prediction: NDArray[np.float64]) -> float:
    """Return the sum over cases of the log loss or of the squared error; of risks, less than 0 is order.

    For survival it is half the cases less the share of pairs in order times the cases (Harrell's C).
    """
    if kind == BINARY:
        clipped = np.clip(prediction, _LEAST, 1 - _LEAST)
        return float(-np.sum(np.where(target, np.log(clipped), np.log1p(-clipped))))
    if kind in SEVERAL:
        found = prediction[np.arange(len(target)), np.asarray(target, dtype=np.intp)]
        return float(-np.sum(np.log(np.clip(found, _LEAST, 1.0))))
    if kind == SURVIVAL:
        if not comparable(target) or np.ptp(prediction) == 0:
            return 0.0
        return len(target) * (0.5 - harrell_concordance(target, prediction).value)
    return float(np.sum((np.asarray(target) - prediction) ** 2))


def comparable(target: Any) -> bool:
    """Return whether of any two cases it is known who had the event first."""
    seen = target["time"][target["event"]]
    return len(seen) > 0 and bool(np.any(target["time"] > seen.min()))


def naive(kind: str, target: Any, classes: int = 0) -> Any:
    """Return what is predicted without looking: prevalence, mean, the same risk for all, or class shares.

    Parameters
    ----------
    kind : str
        Of the outcome.
    target : ndarray, shape (n,)
        Outcome in training.
    classes : int
        Number of classes, where there are several; their shares have the shape (classes,).
    """
    if kind in SEVERAL:
        return np.bincount(np.asarray(target, dtype=np.intp), minlength=classes) / len(target)
    return 0.0 if kind == SURVIVAL else float(np.mean(target))


def average_of(kind: str, members: list[tuple[str, Any]]) -> Any:
    """Return an unfitted model that averages the predictions of others."""
    if kind in (BINARY, *SEVERAL):
        return VotingClassifier(members, voting="soft")
    if kind == SURVIVAL:
        return AverageRisk(members)
    return VotingRegressor(members)
