"""One analysis, from the tables to predictions, metrics and a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from voxelome.errors import DataError
from voxelome.modelling.artifact import load_model, save_model
from voxelome.modelling.cohort import Assembled, assemble
from voxelome.modelling.crossval import FoldResult, fit_model, validate
from voxelome.modelling.estimators import chosen_features
from voxelome.modelling.metrics import (
    auc_interval,
    cross_validated_auc,
    decision_metrics,
    mean_roc,
    pairs_of,
)
from voxelome.modelling.settings import AnalysisSettings, parse_analysis

__all__ = ["AnalysisResult", "AnalysisSettings", "load_model", "parse_analysis", "run_analysis", "save_model"]

LEVEL = 0.95
AUC_METHOD = (
    "Share of pairs of a positive and a negative participant, held out in one fold, that the fold's model"
    " orders rightly, over all repeats. 95% interval: Newcombe (2006), method 5, with the number of"
    " participants; it does not include the variation between models trained on other participants."
)


@dataclass(frozen=True)
class AnalysisResult:
    """What an analysis finds.

    Attributes
    ----------
    predictions : DataFrame
        participant_id, session_id, repeat, fold, probability (of the positive class, held out), outcome.
    metrics : dict
        Numbers and texts that JSON can hold.
    selected : DataFrame
        feature, frequency (share of the folds' models that use it), coefficient (mean over these, in
        standard deviations), model_coefficient (in the final model, NaN where it is not used).
    model : Pipeline
        Fitted on everybody; takes a DataFrame with the columns `model.feature_names_in_`.
    roc : tuple of ndarray
        False and true positive rates, averaged over folds.
    notes : list of str
        What the reader should know.
    """

    predictions: pd.DataFrame
    metrics: dict[str, Any]
    selected: pd.DataFrame
    model: Pipeline
    roc: tuple[NDArray[np.float64], NDArray[np.float64]]
    notes: list[str]


def run_analysis(
    features: pd.DataFrame, participants: pd.DataFrame, settings: AnalysisSettings, *, threads: int = 1
) -> AnalysisResult:
    """Return a validation by repeated nested cross-validation, and the model fitted on everybody.

    Parameters
    ----------
    features : DataFrame
        One row a participant and visit: participant_id, session_id, features.
    participants : DataFrame
        participants.tsv: participant_id, the outcome, covariates.
    settings : AnalysisSettings
        See :func:`voxelome.modelling.settings.parse_analysis`.
    threads : int
        Folds fitted at a time. The result does not depend on it, nor on the order of rows and columns.

    Raises
    ------
    DataError
        The tables do not hold what the analysis needs.
    """
    data = assemble(features, participants, settings)
    notes = list(data.notes)
    folds = _fold_count(data, settings, notes)
    results = validate(data.cohort, settings, folds, threads)
    _check_complete(results, data, settings)
    everyone = np.arange(len(data.participants))
    model = fit_model(data.cohort, settings, everyone, data.features)
    scored = [_by_participant(result, data) for result in results]
    pairs = [(positive, score) for positive, score, _ in scored]
    metrics = _metrics(data, settings, folds, scored)
    return AnalysisResult(
        _predictions(results, data),
        metrics,
        _selected(results, model, data.features),
        model,
        mean_roc(pairs),
        notes,
    )


def _fold_count(data: Assembled, settings: AnalysisSettings, notes: list[str]) -> int:
    """Return the number of outer folds: two participants of each class in each, where there are so many."""
    fewest = min(int(data.cohort.positive.sum()), int((~data.cohort.positive).sum()))
    groups = len(np.unique(data.cohort.group))
    folds = min(settings.outer_folds, fewest // 2, groups)
    if folds < 2:
        raise DataError(
            f"all participants have one {settings.groups}", "choose other groups, or leave them out"
        )
    if folds < settings.outer_folds:
        notes.append(
            f"{folds} instead of {settings.outer_folds} folds: the smaller class has {fewest} participants"
            f" and there are {groups} groups."
        )
    return folds


def _check_complete(results: list[FoldResult], data: Assembled, settings: AnalysisSettings) -> None:
    """Raise a DataError where groups are so uneven that the folds cannot hold out everybody."""
    held_out = sum(len(result.visits) for result in results)
    together = any(pairs_of(_by_participant(result, data)[0]) for result in results)
    if held_out != settings.repeats * len(data.visits) or not together:
        raise DataError(
            f"the groups of {settings.groups} cannot be split into folds with both classes",
            "choose other groups, or fewer outer_folds",
        )


def _by_participant(result: FoldResult, data: Assembled) -> tuple[Any, Any, Any]:
    """Return outcome, mean probability and decision of the participants held out in a fold."""
    who, inverse = np.unique(data.cohort.participant[result.visits], return_inverse=True)
    probability = np.bincount(inverse, weights=result.probability) / np.bincount(inverse)
    # Where one class is rare no probability may pass 1/2: the cut is the prevalence in training.
    return data.cohort.positive[who], probability, probability > result.prevalence


def _metrics(
    data: Assembled, settings: AnalysisSettings, folds: int, scored: list[tuple[Any, Any, Any]]
) -> dict[str, Any]:
    """Return the metrics of the held-out predictions."""
    truth = data.cohort.positive
    n_positive, n_negative = int(truth.sum()), int((~truth).sum())
    value = cross_validated_auc([(positive, score) for positive, score, _ in scored])
    low, high = auc_interval(value, n_positive, n_negative, LEVEL)
    prevalence = n_positive / len(truth)
    # All folds of all repeats hold every participant out equally often.
    positive, probability, decided = (np.concatenate(column) for column in zip(*scored, strict=True))
    chance = "includes" if low <= 0.5 <= high else "does not include"
    return {
        "name": settings.name,
        "outcome": settings.outcome,
        "kind": settings.kind,
        "model": settings.model,
        "positive": data.positive,
        "negative": data.negative,
        "n": len(truth),
        "n_positive": n_positive,
        "n_negative": n_negative,
        "n_visits": len(data.visits),
        "n_features": len(data.features),
        "folds": folds,
        "repeats": settings.repeats,
        "random_seed": settings.random_seed,
        "auc": value,
        "auc_low": low,
        "auc_high": high,
        "auc_level": LEVEL,
        "auc_method": AUC_METHOD,
        **decision_metrics(positive, probability, decided),
        "brier_of_prevalence": prevalence * (1 - prevalence),
        "chance": f"The interval of the AUC {chance} 0.5, which is chance.",
    }


def _predictions(results: list[FoldResult], data: Assembled) -> pd.DataFrame:
    """Return every held-out prediction, in the order of repeats and visits."""
    labels = np.where(data.cohort.positive, data.positive, data.negative)
    parts = [
        data.visits.iloc[result.visits].assign(
            repeat=result.repeat,
            fold=result.fold,
            probability=result.probability,
            outcome=labels[data.cohort.participant[result.visits]],
            _row=result.visits,
        )
        for result in results
    ]
    table = pd.concat(parts).sort_values(["repeat", "_row"])
    return table.drop(columns="_row").reset_index(drop=True)


def _selected(results: list[FoldResult], model: Pipeline, names: list[str]) -> pd.DataFrame:
    """Return how often the folds' models use each feature, the most frequent first."""
    weights = np.zeros((len(results), len(names)))
    for row, result in zip(weights, results, strict=True):
        row[result.features] = result.coefficients
    final = np.zeros(len(names))
    final[chosen_features(model)] = model.named_steps["classify"].coef_[0]
    used = (weights != 0).sum(axis=0)
    table = pd.DataFrame(
        {
            "feature": names,
            "frequency": used / len(results),
            "coefficient": weights.sum(axis=0) / np.maximum(used, 1),
            "model_coefficient": np.where(final != 0, final, np.nan),
        }
    )
    table = table[(used > 0) | (final != 0)]
    table = table.assign(_size=-table["coefficient"].abs(), _rank=-table["frequency"])
    return (
        table.sort_values(["_rank", "_size", "feature"])
        .drop(columns=["_size", "_rank"])
        .reset_index(drop=True)
    )
