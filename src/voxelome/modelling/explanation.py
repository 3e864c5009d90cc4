"""What the models of an analysis make of clusters of features, in participants they have not seen."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from voxelome.modelling import problems
from voxelome.modelling.choosing import HARMONISE, SCALE
from voxelome.modelling.clusters import Clusters
from voxelome.modelling.comparison import corrected_t_test
from voxelome.modelling.crossval import FoldResult
from voxelome.modelling.explain import (
    Array,
    partial_dependence,
    permuted_predictions,
    shapley_values,
)
from voxelome.modelling.folds import Split
from voxelome.modelling.judge import has_pairs, headline
from voxelome.modelling.ordinal import expected_class
from voxelome.modelling.plan import Plan
from voxelome.modelling.scoring import score_rows
from voxelome.modelling.visits import Cohort

REPEATS = 5
# The number of all clusters that are not told one by one.
OTHERS = -1
# Visits of a fold that are explained one by one, and of all those that a dependence is the mean of.
_EACH, _MEAN = 20, 200
_SHOWN, _CURVES = 10, 3


@dataclass(frozen=True)
class Explanation:
    """What a model makes of clusters of features.

    Attributes
    ----------
    clusters : DataFrame
        feature, cluster, representative (whether the cluster is named by it), and importance, low and high of
        the cluster: by how much the measure drops where the cluster's features are dealt out anew among the
        participants held out.
    contributions : DataFrame
        participant_id, session_id, cluster, representative, value (of the representative), contribution to
        the held-out prediction (Shapley value) and its standard error, for the foremost clusters of the fold
        and all others together (cluster 0); empty for several unordered classes.
    summary : dict
        What a report shows, as JSON holds it.
    """

    clusters: pd.DataFrame
    contributions: pd.DataFrame
    summary: dict[str, Any]


def look_into(
    cohort: Cohort, model: Any, split: Split, clusters: Clusters, seed: int
) -> Mapping[str, NDArray[Any]]:
    """Return what a fold's model makes of clusters in the visits held out.

    Parameters
    ----------
    cohort : Cohort
        All visits.
    model : estimator
        Fitted on the training part of the fold.
    split : Split
        The fold.
    clusters : Clusters
        Of the features.
    seed : int
        Of permutations and draws.

    Returns
    -------
    mapping
        ``drop`` of the measure, shape (n_clusters, repeats), NaN where the fold does not tell; ``rows``, the
        visits explained; ``players``, the clusters that matter most in this fold, and -1 for all others;
        ``contribution`` and ``error``, shape (n_rows, n_players).
    """
    rows = cohort.visits(split.test)
    values, background = cohort.values[rows], cohort.values[cohort.visits(split.train)]
    first, model = parted(model)
    if first is not None:
        # A feature of one site with the number of another would be harmonised wrongly, as a percentile of one
        # brain would be scaled by the landmarks of another.
        values, background = first.transform(values), first.transform(background)
    known = problems.predicted(cohort.kind, model, values)
    permuted = permuted_predictions(
        lambda given: problems.predicted(cohort.kind, model, given), values, clusters.labels, REPEATS, seed
    )
    found: dict[str, NDArray[Any]] = {"drop": _drops(cohort, split, rows, known, permuted)}
    if cohort.kind == problems.MULTICLASS:
        return found
    # The measure of a fold may be at its limit, or not told: how far predictions move always is.
    moved = np.abs(permuted - known).reshape(len(permuted), -1).mean(axis=1)
    foremost = np.argsort(-moved, kind="stable")[:_SHOWN]
    players = [np.flatnonzero(clusters.labels == k) for k in foremost]
    others = np.flatnonzero(~np.isin(clusters.labels, foremost))
    if len(others):
        players, foremost = [*players, others], np.append(foremost, OTHERS)
    rng = np.random.default_rng((seed, split.fold))
    chosen = np.sort(rng.permutation(len(rows))[:_EACH])

    def predict(given: Array) -> Array:
        return _one_number(cohort.kind, model, given)

    parts = shapley_values(predict, values[chosen], background, players, seed=seed)
    return found | {
        "rows": rows[chosen],
        "players": foremost,
        "contribution": parts.values,
        "error": parts.error,
    }


def parted(model: Any) -> tuple[Any, Any]:
    """Return the fitted first steps of a model that need more than features, and the model without them.

    They are the standard scale and the harmonisation, None where it has neither. All members of an average
    have learned the same ones, from the same participants.
    """
    members = [model] if isinstance(model, Pipeline) else model.estimators_
    count = sum(name in members[0].named_steps for name in (SCALE, HARMONISE))
    if not count:
        return None, model
    first, rest = members[0][:count], [member[count:] for member in members]
    if isinstance(model, Pipeline):
        return first, rest[0]
    without = copy(model)
    without.estimators_ = rest
    return first, without


def _one_number(kind: str, model: Any, values: Array) -> Array:
    """Return the prediction as one number: probability, expected class, number or risk."""
    found = problems.predicted(kind, model, values)
    return expected_class(found) if kind == problems.ORDINAL else found


def _drops(cohort: Cohort, split: Split, rows: NDArray[np.intp], known: Array, permuted: Array) -> Array:
    """Return by how much the measure of the fold drops, shape (n_clusters, repeats)."""
    naive = problems.naive(cohort.kind, cohort.target[split.train], cohort.classes)
    scored = score_rows(cohort, rows, known, naive)
    unknown = not has_pairs(cohort.kind, [scored])
    if unknown or (cohort.kind == problems.CONTINUOUS and np.ptp(scored.target) == 0):
        return np.full(permuted.shape[:2], np.nan)

    def measure(prediction: Array) -> float:
        return headline(cohort.kind, [score_rows(cohort, rows, prediction, naive)])

    best = headline(cohort.kind, [scored])
    return np.array([[best - measure(prediction) for prediction in cluster] for cluster in permuted])


def explanation(plan: Plan, results: list[FoldResult], model: Any) -> Explanation | None:
    """Return what the models of the folds make of clusters, together; None where that was not asked for.

    Parameters
    ----------
    plan : Plan
        Of the analysis.
    results : list of FoldResult
        Folds of the model.
    model : estimator
        Fitted on everybody; the partial dependences are its own.
    """
    if plan.clusters is None:
        return None
    looked = [result for result in results if result.explained]
    names = plan.data.features
    importance = _importance(looked, len(plan.clusters.medoids))
    table = pd.DataFrame({"feature": names[: plan.data.cohort.features], "cluster": plan.clusters.labels + 1})
    table["representative"] = np.isin(np.arange(len(table)), plan.clusters.medoids)
    for name, column in zip(("importance", "low", "high"), importance.T, strict=True):
        table[name] = column[plan.clusters.labels]
    table = table.sort_values(["importance", "cluster", "representative"], ascending=[False, True, False])
    order = np.argsort(-importance[:, 0], kind="stable")
    return Explanation(
        table.reset_index(drop=True), _contributions(plan, looked), _summary(plan, importance, order, model)
    )


def _importance(looked: list[FoldResult], clusters: int) -> Array:
    """Return the mean drop over folds and its interval, shape (n_clusters, 3): corrected resampled t-test."""
    drops = np.array([result.explained["drop"].mean(axis=1) for result in looked])
    told = drops[np.isfinite(drops).all(axis=1)]
    found = np.full((clusters, 3), np.nan)
    if len(told):
        found[:, 0] = told.mean(axis=0)
    train, test = np.mean([(len(each.split.train), len(each.split.test)) for each in looked], axis=0)
    for cluster in range(clusters if len(told) > 1 else 0):
        bounds = corrected_t_test(told[:, cluster], np.zeros(len(told)), train, test).difference
        found[cluster, 1:] = (bounds.low, bounds.high)
    return found


def _contributions(plan: Plan, looked: list[FoldResult]) -> pd.DataFrame:
    """Return one row a visit explained and cluster."""
    assert plan.clusters is not None  # else nothing was looked into
    medoids, parts = plan.clusters.medoids, []
    names = np.append(np.asarray(plan.data.features, dtype=object)[medoids], "all others")
    values = np.c_[plan.data.cohort.values[:, medoids], np.full(len(plan.data.visits), np.nan)]
    for result in looked:
        if "rows" not in result.explained:
            continue
        # The last of the names and values is that of all others, as of all lists the one before the first.
        rows, players = result.explained["rows"], result.explained["players"]
        part = plan.data.visits.iloc[np.repeat(rows, len(players))].reset_index(drop=True)
        part["cluster"] = np.tile(players + 1, len(rows))
        part["representative"] = np.tile(names[players], len(rows))
        part["value"] = values[np.ix_(rows, players)].ravel()
        part["contribution"] = result.explained["contribution"].ravel()
        part["standard_error"] = result.explained["error"].ravel()
        parts.append(part)
    added = ["cluster", "representative", "value", "contribution", "standard_error"]
    return (
        pd.concat(parts, ignore_index=True)
        if parts
        else pd.DataFrame(columns=[*plan.data.visits.columns, *added])
    )


def _summary(plan: Plan, importance: Array, order: NDArray[np.intp], model: Any) -> dict[str, Any]:
    """Return the foremost clusters, and how the final model depends on what stands for them."""
    assert plan.clusters is not None  # else there is nothing to tell
    cohort, names = plan.data.cohort, plan.data.features
    sizes = np.bincount(plan.clusters.labels)
    foremost = [
        {
            "cluster": int(k) + 1,
            "representative": names[plan.clusters.medoids[k]],
            "features": int(sizes[k]),
            **{
                name: float(value) if np.isfinite(value) else None
                for name, value in zip(("importance", "low", "high"), importance[k], strict=True)
            },
        }
        for k in order[:_SHOWN]
    ]
    curves = []
    if cohort.kind != problems.MULTICLASS:
        rows = np.random.default_rng(plan.settings.random_seed).permutation(len(cohort.values))[:_MEAN]
        values = cohort.values[np.sort(rows)]
        first, rest = parted(model)
        if first is not None:
            values = first.transform(pd.DataFrame(values, columns=names))

        def predict(given: Array) -> Array:
            asked = given if first is not None else pd.DataFrame(given, columns=names)
            return _one_number(cohort.kind, rest, asked)

        known = [k for k in order[:_CURVES] if np.isfinite(values[:, plan.clusters.medoids[k]]).any()]
        for k in known:
            column = int(plan.clusters.medoids[k])
            found = partial_dependence(predict, values, column)
            curves.append(
                {"feature": names[column], **{key: value.tolist() for key, value in found._asdict().items()}}
            )
    return {"foremost": foremost, "clusters": len(sizes), "dependence": curves}
