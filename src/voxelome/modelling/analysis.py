"""One analysis, from the tables to predictions, metrics and a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from voxelome.errors import listed
from voxelome.modelling.artifact import load_model, save_model
from voxelome.modelling.beside import asdict_of, compare, leak_probe, p_of_permutations
from voxelome.modelling.cohort import Assembled, Repeated
from voxelome.modelling.crossval import FoldResult, fit_model
from voxelome.modelling.explanation import Explanation, explanation
from voxelome.modelling.fold_bootstrap import LEVEL, level_over_folds
from voxelome.modelling.folds import unsplittable
from voxelome.modelling.importance import importance_of
from voxelome.modelling.insight import associations, bootstrap_of, changes
from voxelome.modelling.judge import has_pairs, headline, judge, sample_size_of
from voxelome.modelling.judge_survival import judge_curves
from voxelome.modelling.metrics import mean_roc
from voxelome.modelling.people import Tables
from voxelome.modelling.plan import Plan, plan_analysis
from voxelome.modelling.predictions import columns_of, named_outcome
from voxelome.modelling.problems import BINARY
from voxelome.modelling.scoring import Scored, score_fold
from voxelome.modelling.settings import AnalysisSettings, parse_analysis
from voxelome.modelling.site_effects import site_effects
from voxelome.modelling.suspicions import giveaways
from voxelome.modelling.tasks import CURVE, MODEL, SIMPLER, Arrays, Task, permuted, results_of, tasks_of, work

__all__ = ["AnalysisResult", "AnalysisSettings", "load_model", "parse_analysis", "run_analysis", "save_model"]


@dataclass(frozen=True)
class AnalysisResult:
    """What an analysis finds.

    Attributes
    ----------
    predictions : DataFrame
        participant_id, session_id, repeat, fold, probability (of the positive class, held out), prediction or
        risk, or of several classes the probability of each and the predicted one; outcome.
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
        False and true positive rates, averaged over folds; None where the outcome has no two classes, or
        folds hold out fewer than two participants of one.
    notes : list of str
        What the reader should know.
    explanation : Explanation, optional
        What the model makes of clusters of features, where that was asked for.
    univariate : DataFrame
        What each feature alone tells of the outcome; it takes no part in the model.
    mixed : DataFrame, optional
        Features over repeated visits, by mixed models.
    held_out : list of str
        Participants who were locked away.
    """

    predictions: pd.DataFrame
    metrics: dict[str, Any]
    selected: pd.DataFrame
    model: Any
    roc: tuple[NDArray[np.float64], NDArray[np.float64]] | None
    notes: list[str]
    sites: dict[str, int]
    explanation: Explanation | None
    univariate: pd.DataFrame
    mixed: pd.DataFrame | None
    held_out: list[str]


def run_analysis(
    features: pd.DataFrame,
    participants: pd.DataFrame,
    settings: AnalysisSettings,
    *,
    sessions: pd.DataFrame | None = None,
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
    sessions : DataFrame, optional
        All sessions.tsv as one: participant_id, session_id, covariates.
    repeated : Repeated, optional
        The features measured again, for `minimum_reliability`.
    threads : int
        Fits at a time. The result does not depend on it, nor on the order of rows and columns.

    Raises
    ------
    DataError
        The tables do not hold what the analysis needs.
    """
    tables = Tables(participants, sessions)
    plan = plan_analysis(features, tables, settings, repeated)
    return conclude(plan, tables, work(plan, tasks_of(plan), threads))


def conclude(plan: Plan, tables: Tables, done: Mapping[Task, Arrays]) -> AnalysisResult:
    """Return what an analysis finds, once all of its tasks are done.

    Parameters
    ----------
    plan : Plan
        Of the analysis.
    tables : Tables
        That it was made of.
    done : mapping
        What each of :func:`voxelome.modelling.tasks.tasks_of` gave.
    """
    data, settings = plan.data, plan.settings
    cohort = data.cohort
    results = results_of(plan, done, MODEL)
    scored = _scored(plan, results)
    if not has_pairs(cohort.kind, scored):
        raise unsplittable(settings.groups, cohort.kind)
    repeats = max(split.repeat for split in plan.splits)
    metrics = _about(plan) | judge(
        settings.kind,
        scored,
        cohort.target,
        settings.random_seed,
        data.classes,
        level=level_over_folds(LEVEL, plan.folds, repeats),
        group=cohort.group,
    )
    if plan.times is not None:
        metrics |= judge_curves(cohort, results, plan.times, settings.horizons)
    metrics |= _beside(plan, done, scored)
    mixed, unchanged = changes(data, tables, settings)
    model = fit_model(cohort, settings, np.arange(len(data.participants)), data.features)
    selected = _selected(results, model, data.features, settings.selected_features)
    metrics["sites"] = site_effects(data, model, selected)
    return AnalysisResult(
        _predictions(results, data),
        metrics,
        selected,
        model,
        _roc(cohort.kind, scored),
        [*data.notes, *_suspicions(data), *unchanged],
        data.sites,
        explanation(plan, results, model),
        associations(data),
        mixed,
        data.held_out,
    )


def _roc(kind: str, scored: list[Scored]) -> Any:
    """Return the mean ROC curve of the folds; None where they hold out too few of a class to have one."""
    if kind != BINARY or min(min(fold.target.sum(), (~fold.target).sum()) for fold in scored) < 2:
        return None
    return mean_roc([(fold.target, fold.prediction) for fold in scored])


def _scored(plan: Plan, results: list[FoldResult]) -> list[Scored]:
    return [score_fold(plan.data.cohort, result) for result in results]


def _beside(plan: Plan, done: Mapping[Task, Arrays], scored: list[Scored]) -> dict[str, Any]:
    """Return what belongs beside the model, as JSON holds it."""
    cohort, settings = plan.data.cohort, plan.settings
    observed = headline(cohort.kind, scored)
    others = [
        compare(
            cohort.kind, other, plan.splits, scored, _scored(plan, results_of(plan, done, SIMPLER, which))
        )
        for which, other in enumerate(plan.simpler)
    ]
    null = list(permuted(plan, done))
    probe = leak_probe(cohort, settings, plan.splits)
    return {
        "alternatives": [asdict_of(other) for other in others],
        "permutations": {"p": p_of_permutations(observed, null), "null": null} if null else None,
        "leak_probe": None
        if probe is None
        else {"inside": probe.inside, "outside": probe.outside, "gap": probe.outside - probe.inside},
        "sample_size": sample_size_of(cohort, cohort.features, observed, scored),
        "learning_curve": _learning_curve(plan, done, scored),
        "bootstrap_632": bootstrap_of(cohort, settings) if settings.bootstrap else None,
    }


def _learning_curve(plan: Plan, done: Mapping[Task, Arrays], scored: list[Scored]) -> list[dict[str, float]]:
    """Return the measure for each share of the training participants, all of them last."""
    kind, points = plan.data.cohort.kind, []
    for which, share in sorted(enumerate(plan.settings.learning_curve), key=lambda pair: pair[1]):
        results = results_of(plan, done, CURVE, which)
        count = float(np.mean([len(result.split.train) for result in results]))
        points.append({"share": share, "n": count, "value": headline(kind, _scored(plan, results))})
    if points:
        everyone = float(np.mean([len(split.train) for split in plan.splits]))
        points.append({"share": 1.0, "n": everyone, "value": headline(kind, scored)})
    return points


def _suspicions(data: Assembled) -> list[str]:
    """Return sentences on what looks like a mistake in the tables."""
    notes = []
    if names := giveaways(data.cohort, data.features):
        notes.append(f"{listed(names)} alone tells the outcome without an error: is it the outcome itself?")
    return notes


def _about(plan: Plan) -> dict[str, Any]:
    """Return what the analysis was."""
    data, settings = plan.data, plan.settings
    two = dict(zip(("negative", "positive"), data.classes, strict=True)) if len(data.classes) == 2 else {}
    return {
        "name": settings.name,
        "outcome": settings.outcome,
        "kind": settings.kind,
        "model": settings.model,
        "validation": plan.design.validation,
        "groups": settings.groups,
        "classes": list(data.classes),
        **two,
        "n": len(data.participants),
        "n_visits": len(data.visits),
        "n_features": data.cohort.features,
        "n_held_out": len(data.held_out),
        "flow": data.flow,
        "harmonised": settings.harmonise,
        "folds": max(split.fold for split in plan.splits),
        "repeats": max(split.repeat for split in plan.splits),
        "random_seed": settings.random_seed,
    }


def _predictions(results: list[FoldResult], data: Assembled) -> pd.DataFrame:
    """Return every held-out prediction, in the order of repeats and visits."""
    outcome = named_outcome(data)
    parts = [
        data.visits.iloc[result.visits].assign(
            repeat=result.split.repeat,
            fold=result.split.fold,
            **columns_of(data.cohort.kind, result.prediction, data.classes),
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
