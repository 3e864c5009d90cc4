"""What an analysis is going to do, before anything is fitted: cohort, folds and what stands beside."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from voxelome.errors import DataError
from voxelome.modelling import problems
from voxelome.modelling.beside import Simpler, simpler_models
from voxelome.modelling.clusters import Clusters, correlation_clusters
from voxelome.modelling.cohort import Assembled, Repeated, assemble
from voxelome.modelling.folds import (
    LEAVE_OUT,
    Split,
    compares_within,
    outer_splits,
    part_of,
    rarest,
    smallest_class,
    unsplittable,
)
from voxelome.modelling.nyul import shown_features
from voxelome.modelling.people import Tables
from voxelome.modelling.settings import AnalysisSettings
from voxelome.modelling.survival_outcome import grid_of_times
from voxelome.modelling.visits import Cohort


@dataclass(frozen=True)
class Plan:
    """An analysis that can be worked on fold by fold.

    Attributes
    ----------
    data : Assembled
        Cohort.
    settings : AnalysisSettings
        What was asked for.
    design : AnalysisSettings
        The same, with the validation that is done: folds, where to leave out a group would part the classes.
    folds : int
        Folds of a repeat.
    splits : list of Split
        All folds of all repeats.
    simpler : list of Simpler
        Models that stand beside.
    times : ndarray, optional
        Times at which survival is told.
    clusters : Clusters, optional
        Of the features, where the model is explained. Clustering has not seen the outcome.
    """

    data: Assembled
    settings: AnalysisSettings
    design: AnalysisSettings
    folds: int
    splits: list[Split]
    simpler: list[Simpler]
    times: NDArray[np.float64] | None
    clusters: Clusters | None


def plan_analysis(
    features: pd.DataFrame, tables: Tables, settings: AnalysisSettings, repeated: Repeated | None = None
) -> Plan:
    """Return what an analysis is going to do; it does not depend on the order of rows and columns.

    Parameters
    ----------
    features : DataFrame
        One row a participant and visit: participant_id, session_id, features.
    tables : Tables
        participants.tsv and sessions.tsv.
    settings : AnalysisSettings
        See :func:`voxelome.modelling.settings.parse_analysis`.
    repeated : Repeated, optional
        The features measured again, for `minimum_reliability`.

    Raises
    ------
    DataError
        The tables do not hold what the analysis needs.
    """
    data = assemble(features, tables, settings, repeated)
    cohort = data.cohort
    folds, design = _fold_count(data, settings), settings
    splits = outer_splits(cohort, settings, folds)
    if settings.validation == LEAVE_OUT and not compares_within(cohort, splits):
        folds, design = max(2, smallest_class(cohort)), replace(settings, validation="kfold")
        splits = outer_splits(cohort, design, folds)
        data.notes.append(
            f"To leave out one {settings.groups} would hold out one class alone, and predictions of"
            f" different models cannot be compared: one of each class is left out at a time, in {folds} folds"
            " (Airola et al. 2011, Computational Statistics & Data Analysis 55:1828-1844)."
        )
    _check_complete(splits, data, settings)
    simpler = simpler_models(cohort, data.features, settings)
    survival = cohort.kind == problems.SURVIVAL
    times = grid_of_times(cohort.target) if survival else None
    clusters = correlation_clusters(_within_sites(cohort)) if settings.explain else None
    return Plan(data, settings, design, folds, splits, simpler, times, clusters)


def _within_sites(cohort: Cohort) -> NDArray[np.float64]:
    """Return the features less the median of their site, which would make all features alike."""
    values = shown_features(cohort)
    if cohort.site is None:
        return values
    values, site = values.copy(), cohort.values[:, cohort.site]
    for each in np.unique(site):
        known = np.isfinite(values[site == each]).any(axis=0)
        values[np.ix_(site == each, known)] -= np.nanmedian(values[np.ix_(site == each, known)], axis=0)
    return values


def shuffled(plan: Plan, number: int) -> Plan:
    """Return the plan with the outcome dealt out at random, validated once."""
    rng = np.random.default_rng((plan.settings.random_seed, number))
    cohort = plan.data.cohort
    cohort = cohort.with_target(rng.permutation(cohort.target))
    settings = replace(plan.design, repeats=1, random_seed=plan.settings.random_seed + number)
    splits = outer_splits(cohort, settings, plan.folds)
    # The seed of the models stays that of the analysis; that of the folds is another each time.
    once = replace(plan.settings, repeats=1)
    return replace(plan, data=replace(plan.data, cohort=cohort), settings=once, splits=splits)


def thinned(plan: Plan, share: float) -> list[Split]:
    """Return the folds of the first repeat with a share of the training participants, by class."""
    cohort, seed = plan.data.cohort, plan.settings.random_seed
    return [
        replace(split, train=part_of(cohort, split.train, share, (seed, split.fold, round(1000 * share))))
        for split in plan.splits
        if split.repeat == 1
    ]


def _fold_count(data: Assembled, settings: AnalysisSettings) -> int:
    """Return the number of outer folds: two participants of each class in each, where there are so many."""
    cohort = data.cohort
    fewest = rarest(cohort, np.arange(len(cohort.target)))
    groups = len(np.unique(data.cohort.group))
    if groups < 2:
        raise DataError(
            f"all participants have one {settings.groups}", "choose other groups, or leave them out"
        )
    if settings.validation == LEAVE_OUT:
        return groups
    folds = max(2, min(settings.outer_folds, fewest // 2, groups))
    if folds < settings.outer_folds:
        of = "there are" if cohort.kind == problems.CONTINUOUS else "the smaller class has"
        data.notes.append(
            f"{folds} instead of {settings.outer_folds} folds: {of} {fewest} participants"
            f" and there are {groups} groups."
        )
    return folds


def _check_complete(splits: list[Split], data: Assembled, settings: AnalysisSettings) -> None:
    """Raise a DataError where groups are so uneven that the folds cannot hold out everybody."""
    held_out = sum(len(split.test) for split in splits)
    repeats = len({split.repeat for split in splits})
    everybody = held_out == repeats * len(data.participants)
    if not splits or not everybody or not compares_within(data.cohort, splits):
        raise unsplittable(settings.groups, data.cohort.kind)
