"""A model on participants who were locked away until it was done."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from voxelome.errors import DataError, listed
from voxelome.modelling import problems
from voxelome.modelling.apply import inputs_of
from voxelome.modelling.beside import Alternative, asdict_of, compare, simpler_models
from voxelome.modelling.cohort import Assembled, Repeated, assemble, locked_away
from voxelome.modelling.crossval import fit_model
from voxelome.modelling.folds import Split
from voxelome.modelling.judge import judge
from voxelome.modelling.outcomes import target_of
from voxelome.modelling.people import Tables
from voxelome.modelling.predictions import columns_of
from voxelome.modelling.scoring import Scored, mean_of
from voxelome.modelling.settings import AnalysisSettings
from voxelome.modelling.which_visits import averaged


def digest_of(names: Iterable[str]) -> list[str]:
    """Return a digest of each participant, in order: a log need not hold names.

    What was measured of them and which outcome was asked for do not count: neither makes them unseen.
    """
    return sorted(hashlib.sha256(name.encode()).hexdigest()[:12] for name in names)


def require_as_trained(about: Mapping[str, Any], people: pd.DataFrame, settings: AnalysisSettings) -> None:
    """Raise a DataError unless those locked away are those whom the training left out."""
    known, now = set(about["HeldOut"]), set(map(str, people.index))
    if strangers := sorted(now - known):
        problem = f"hold_out now takes {listed(strangers)}, whom the model may have been trained on"
        raise DataError(problem, f"give the participants.tsv of the training ({settings.name})")
    if lost := sorted(known - now):
        problem = f"{listed(lost)} were locked away and are not there, or have no outcome or features"
        raise DataError(problem, "give the tables of the training")


def open_hold_out(
    model: Any,
    about: Mapping[str, Any],
    features: pd.DataFrame,
    tables: Tables,
    settings: AnalysisSettings,
    repeated: Repeated | None = None,
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
    repeated : Repeated, optional
        As the analysis was given.

    Raises
    ------
    DataError
        Nobody is held out, others are than those whom the training left out, or they cannot be judged.
    """
    people, visits = locked_away(features, tables, settings)
    require_as_trained(about, people, settings)
    target = target_of(people, settings, tuple(about["Classes"]))
    _require_both(settings, target, len(about["Classes"]))
    developed = assemble(features, tables, settings, repeated)
    inputs, rows = _rows(inputs_of(about, visits, tables), visits, settings)
    try:
        prediction = problems.predicted(settings.kind, model, inputs)
    except ValueError as error:
        remedy = "a site that was not in training can be held out with unseen_site: keep"
        raise DataError(f"harmonisation of those locked away: {error}", remedy) from error
    place = people.index.get_indexer(rows["participant_id"])
    naive = problems.naive(settings.kind, developed.cohort.target, developed.cohort.classes)
    if settings.kind == problems.SURVIVAL:
        own = pd.DataFrame(developed.cohort.values, columns=developed.features)
        naive = float(np.median(model.predict(own)))
    scored = [Scored(np.arange(len(people)), target, mean_of(place, prediction), naive)]
    # One group cannot be drawn from: its members then count one by one.
    group = pd.factorize(people["group"])[0] if people["group"].nunique() > 1 else np.arange(len(people))
    classes = tuple(about["Classes"])
    metrics = judge(settings.kind, scored, target, settings.random_seed, classes, group=group)
    others = _beside(developed, visits, tables, settings, scored, place)
    metrics |= {"n": len(people), "alternatives": [asdict_of(other) for other in others]}
    outcome = people["outcome"].reindex(rows["participant_id"]).to_numpy()
    columns = columns_of(settings.kind, prediction, tuple(about["Classes"]))
    table = rows[["participant_id", "session_id"]].assign(**columns, outcome=outcome)
    return table, metrics


def _require_both(settings: AnalysisSettings, target: Any, classes: int) -> None:
    """Raise a DataError where those held out cannot tell a good model from a bad one."""
    if settings.kind == problems.CONTINUOUS:
        return
    found = len(np.unique(problems.strata(settings.kind, target)))
    if found < max(classes, 2):
        told = "no event, or nothing but events" if settings.kind == problems.SURVIVAL else "not every class"
        raise DataError(f"those held out have {told} of {settings.outcome}", "lock away participants of each")


def _rows(
    inputs: pd.DataFrame, visits: pd.DataFrame, settings: AnalysisSettings
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows that are predicted: those of visits, or of participants where visits are averaged."""
    return averaged(inputs, visits) if settings.visits == "mean" else (inputs, visits)


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
        about |= {"Settings": {"covariates": settings.covariates}}
        inputs, _ = _rows(inputs_of(about, visits, tables), visits, settings)
        prediction = problems.predicted(settings.kind, fitted, inputs)
        other = [Scored(scored[0].who, scored[0].target, mean_of(place, prediction), scored[0].naive)]
        found.append(compare(settings.kind, simpler, split, scored, other))
    return found
