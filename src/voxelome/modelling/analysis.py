"""One analysis, from the tables to predictions, metrics and a model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from voxelome.errors import DataError
from voxelome.modelling.artifact import load_model, save_model
from voxelome.modelling.beside import alternatives, leak_probe, permutation_test
from voxelome.modelling.cohort import Assembled, Repeated, assemble, listed
from voxelome.modelling.crossval import FoldResult, Split, fit_model, outer_splits, validate
from voxelome.modelling.importance import importance_of
from voxelome.modelling.judge import has_pairs, headline, judge, sample_size_of
from voxelome.modelling.metrics import mean_roc
from voxelome.modelling.problems import BINARY, SURVIVAL, strata
from voxelome.modelling.scoring import Scored, score_fold
from voxelome.modelling.settings import AnalysisSettings, parse_analysis
from voxelome.modelling.suspicions import giveaways, twins

__all__ = ["AnalysisResult", "AnalysisSettings", "load_model", "parse_analysis", "run_analysis", "save_model"]


@dataclass(frozen=True)
class AnalysisResult:
    """What an analysis finds.

    Attributes
    ----------
    predictions : DataFrame
        participant_id, session_id, repeat, fold, probability (of the positive class, held out) or
        prediction, outcome.
    metrics : dict
        Numbers and texts that JSON can hold.
    selected : DataFrame
        feature, frequency (share of the folds in which it is among the `selected_features` that the model
        makes most of), importance (mean share), coefficient (mean over the linear models that use it, in
        standard deviations), model_importance and model_coefficient (in the final model).
    sites : dict
        Number of each site in the model's column ``site``; empty where nothing is harmonised.
    model : Pipeline, VotingClassifier or VotingRegressor
        Fitted on everybody; takes a DataFrame with the columns `model.feature_names_in_`.
    roc : tuple of ndarray, or None
        False and true positive rates, averaged over folds; None where the outcome has no two classes.
    notes : list of str
        What the reader should know.
    """

    predictions: pd.DataFrame
    metrics: dict[str, Any]
    selected: pd.DataFrame
    model: Any
    roc: tuple[NDArray[np.float64], NDArray[np.float64]] | None
    notes: list[str]
    sites: dict[str, int]


def run_analysis(
    features: pd.DataFrame,
    participants: pd.DataFrame,
    settings: AnalysisSettings,
    *,
    repeated: Repeated | None = None,
    threads: int = 1,
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
    repeated : Repeated, optional
        The features measured again, for `minimum_reliability`.
    threads : int
        Folds fitted at a time. The result does not depend on it, nor on the order of rows and columns.

    Raises
    ------
    DataError
        The tables do not hold what the analysis needs.
    """
    data = assemble(features, participants, settings, repeated)
    notes = list(data.notes)
    folds = _fold_count(data, settings, notes)
    splits = outer_splits(data.cohort, settings, folds)
    results = validate(data.cohort, settings, splits, threads)
    scored = [score_fold(data.cohort, result) for result in results]
    _check_complete(results, scored, data, settings)
    everyone = np.arange(len(data.participants))
    model = fit_model(data.cohort, settings, everyone, data.features)
    metrics = _about(data, settings, splits) | judge(
        settings.kind, scored, data.cohort.target, settings.random_seed
    )
    metrics |= _beside(data, settings, splits, scored, threads)
    notes += _suspicions(data)
    return AnalysisResult(
        _predictions(results, data),
        metrics,
        _selected(results, model, data.features, settings.selected_features),
        model,
        _roc(data.cohort.kind, scored),
        notes,
        data.sites,
    )


def _beside(
    data: Assembled, settings: AnalysisSettings, splits: list[Split], scored: list[Scored], threads: int
) -> dict[str, Any]:
    """Return what belongs beside the model, as JSON holds it."""
    cohort = data.cohort
    others = alternatives(cohort, data.features, settings, splits, scored, threads)
    folds = max(split.fold for split in splits)
    permuted = permutation_test(cohort, settings, folds, scored, threads)
    probe = leak_probe(cohort, settings, splits)
    return {
        "alternatives": [_plain(asdict(other)) for other in others],
        "permutations": None
        if permuted is None
        else {"p": permuted.p, "null": [float(value) for value in permuted.null]},
        "leak_probe": None
        if probe is None
        else {"inside": probe.inside, "outside": probe.outside, "gap": probe.outside - probe.inside},
        "sample_size": sample_size_of(cohort, cohort.features, headline(cohort.kind, scored)),
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return a dictionary in which what is not a number is None."""
    return {
        key: None if isinstance(value, float) and np.isnan(value) else value for key, value in values.items()
    }


def _suspicions(data: Assembled) -> list[str]:
    """Return sentences on what looks like a mistake in the tables."""
    notes = []
    if pairs := twins(data.cohort, data.participants):
        told = listed(f"{one} and {other}" for one, other in pairs)
        notes.append(f"The features of {told} are identical: is it one participant under two names?")
    if names := giveaways(data.cohort, data.features):
        notes.append(f"{listed(names)} alone tells the outcome without an error: is it the outcome itself?")
    return notes


def _roc(kind: str, scored: list[Scored]) -> Any:
    """Return the ROC curve; None where the outcome has no two classes."""
    return mean_roc([(fold.target, fold.prediction) for fold in scored]) if kind == BINARY else None


def _fold_count(data: Assembled, settings: AnalysisSettings, notes: list[str]) -> int:
    """Return the number of outer folds: two participants of each class in each, where there are so many."""
    fewest = int(np.bincount(strata(data.cohort.kind, data.cohort.target)).min())
    groups = len(np.unique(data.cohort.group))
    if groups < 2:
        raise DataError(
            f"all participants have one {settings.groups}", "choose other groups, or leave them out"
        )
    if settings.validation == "leave_one_group_out":
        return groups
    folds = max(2, min(settings.outer_folds, fewest // 2, groups))
    if folds < settings.outer_folds:
        notes.append(
            f"{folds} instead of {settings.outer_folds} folds: the smaller class has {fewest} participants"
            f" and there are {groups} groups."
        )
    return folds


def _check_complete(
    results: list[FoldResult], scored: list[Scored], data: Assembled, settings: AnalysisSettings
) -> None:
    """Raise a DataError where groups are so uneven that the folds cannot hold out everybody."""
    held_out = sum(len(result.visits) for result in results)
    repeats = len({result.split.repeat for result in results})
    if not results or held_out != repeats * len(data.visits) or not has_pairs(data.cohort.kind, scored):
        raise DataError(
            f"the groups of {settings.groups} cannot be split into folds with both classes",
            "choose other groups, or fewer outer_folds",
        )


def _about(data: Assembled, settings: AnalysisSettings, splits: list[Split]) -> dict[str, Any]:
    """Return what the analysis was."""
    classes = {"positive": data.positive, "negative": data.negative} if data.positive else {}
    return {
        "name": settings.name,
        "outcome": settings.outcome,
        "kind": settings.kind,
        "model": settings.model,
        "validation": settings.validation,
        "groups": settings.groups,
        **classes,
        "n": len(data.participants),
        "n_visits": len(data.visits),
        "n_features": data.cohort.features,
        "harmonised": settings.harmonise,
        "folds": max(split.fold for split in splits),
        "repeats": max(split.repeat for split in splits),
        "random_seed": settings.random_seed,
    }


def _predictions(results: list[FoldResult], data: Assembled) -> pd.DataFrame:
    """Return every held-out prediction, in the order of repeats and visits."""
    if data.cohort.kind == BINARY:
        name, outcome = "probability", np.where(data.cohort.target, data.positive, data.negative)
    elif data.cohort.kind == SURVIVAL:
        name, outcome = "risk", np.where(data.cohort.target["event"], data.positive, data.negative)
    else:
        name, outcome = "prediction", data.cohort.target
    parts = [
        data.visits.iloc[result.visits].assign(
            repeat=result.split.repeat,
            fold=result.split.fold,
            **{name: result.prediction},
            outcome=outcome[data.cohort.participant[result.visits]],
            _row=result.visits,
        )
        for result in results
    ]
    table = pd.concat(parts).sort_values(["repeat", "_row"])
    return table.drop(columns="_row").reset_index(drop=True)


def _selected(results: list[FoldResult], model: Any, names: list[str], most: int) -> pd.DataFrame:
    """Return how often each feature is among those that a fold's model makes most of."""
    shares = np.array([result.importance.share for result in results])
    # The least share that is among the `most` largest of its fold.
    least = np.sort(shares, axis=1)[:, ::-1][:, : min(most, shares.shape[1])][:, -1:]
    chosen = (shares > 0) & (shares >= least)
    coefficients = np.array([result.importance.coefficient for result in results])
    known = np.isfinite(coefficients).sum(axis=0)
    final = importance_of(model, len(names))
    table = pd.DataFrame(
        {
            "feature": names,
            "frequency": chosen.mean(axis=0),
            "importance": shares.mean(axis=0),
            "coefficient": np.where(
                known > 0, np.nansum(coefficients, axis=0) / np.maximum(known, 1), np.nan
            ),
            "model_importance": final.share,
            "model_coefficient": final.coefficient,
        }
    )
    table = table[(table["frequency"] > 0) | (final.share > 0)]
    table = table.assign(_rank=-table["frequency"], _size=-table["importance"])
    return (
        table.sort_values(["_rank", "_size", "feature"])
        .drop(columns=["_size", "_rank"])
        .reset_index(drop=True)
    )
