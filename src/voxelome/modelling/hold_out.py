"""A model on participants who were locked away until it was done."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd

from voxelome.errors import DataError
from voxelome.modelling import problems
from voxelome.modelling.apply import inputs_of
from voxelome.modelling.beside import Alternative, asdict_of, compare, simpler_models
from voxelome.modelling.cohort import Assembled, assemble, locked_away
from voxelome.modelling.crossval import fit_model
from voxelome.modelling.folds import Split
from voxelome.modelling.judge import judge
from voxelome.modelling.outcomes import target_of
from voxelome.modelling.people import Tables
from voxelome.modelling.predictions import columns_of
from voxelome.modelling.scoring import Scored, mean_of
from voxelome.modelling.settings import AnalysisSettings


def digest_of(features: pd.DataFrame, tables: Tables, settings: AnalysisSettings) -> str:
    """Return a digest of who is held out, with their outcomes: the same data are known under another name.

    It leaves the features out: measuring them again does not make the participants unseen.

    Raises
    ------
    DataError
        The analysis has no hold-out, or nobody in it has an outcome and features.
    """
    people, _ = locked_away(features, tables, settings)
    return hashlib.sha256(people["outcome"].sort_index().to_csv().encode()).hexdigest()[:16]


def open_hold_out(
    model: Any, about: Any, features: pd.DataFrame, tables: Tables, settings: AnalysisSettings
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return predictions of the participants locked away, and how good they are.

    Beside the model stand the simpler ones (covariates alone, size alone, no covariates), fitted to the same
    participants as the model; of two classes the difference is tested as DeLong does.

    Parameters
    ----------
    model : estimator
        Fitted on those not held out.
    about : mapping
        As :func:`voxelome.modelling.apply.describe_model` gives.
    features : DataFrame
        One row a participant and visit, of all.
    tables : Tables
        participants.tsv and sessions.tsv.
    settings : AnalysisSettings
        Of the analysis.

    Raises
    ------
    DataError
        Nobody is held out, or those who are cannot be judged.
    """
    people, visits = locked_away(features, tables, settings)
    target = target_of(people, settings, tuple(about["Classes"]))
    _require_both(settings, target)
    prediction = problems.predicted(settings.kind, model, inputs_of(about, visits, tables))
    place = people.index.get_indexer(visits["participant_id"])
    developed = assemble(features, tables, settings)
    naive = problems.naive(settings.kind, developed.cohort.target, developed.cohort.classes)
    if settings.kind == problems.SURVIVAL:
        naive = float(np.median(model.predict(inputs_of(about, _own(features, developed), tables))))
    scored = [Scored(np.arange(len(people)), target, mean_of(place, prediction), naive)]
    others = _beside(developed, visits, tables, settings, scored, place)
    metrics = judge(settings.kind, scored, target, settings.random_seed, tuple(about["Classes"]))
    metrics |= {"n": len(people), "alternatives": [asdict_of(other) for other in others]}
    outcome = people["outcome"].reindex(visits["participant_id"]).to_numpy()
    columns = columns_of(settings.kind, prediction, tuple(about["Classes"]))
    table = visits[["participant_id", "session_id"]].assign(**columns, outcome=outcome)
    return table, metrics


def _require_both(settings: AnalysisSettings, target: Any) -> None:
    """Raise a DataError where those held out cannot tell a good model from a bad one."""
    if settings.kind == problems.CONTINUOUS:
        return
    classes = problems.strata(settings.kind, target)
    if len(np.unique(classes)) < 2:
        raise DataError(f"those held out have one {settings.outcome}", "lock away participants of both")


def _own(features: pd.DataFrame, developed: Assembled) -> pd.DataFrame:
    """Return the rows of the participants that the model was made with."""
    return features[features["participant_id"].astype(str).isin(developed.participants)]


def _beside(
    developed: Assembled,
    visits: pd.DataFrame,
    tables: Tables,
    settings: AnalysisSettings,
    scored: list[Scored],
    place: Any,
) -> list[Alternative]:
    """Return the simpler models, fitted as the model was."""
    everyone = np.arange(len(developed.participants))
    split = [Split(1, 1, everyone, scored[0].who)]
    found = []
    for simpler in simpler_models(developed.cohort, developed.features, settings):
        names = [developed.features[column] for column in simpler.columns]
        fitted = fit_model(simpler.cohort, simpler.settings, everyone, names)
        about = {"Features": names, "Sites": developed.sites, "SiteColumn": settings.harmonise or "n/a"}
        prediction = problems.predicted(settings.kind, fitted, inputs_of(about, visits, tables))
        other = [Scored(scored[0].who, scored[0].target, mean_of(place, prediction), scored[0].naive)]
        found.append(compare(settings.kind, simpler, split, scored, other))
    return found
