"""A fitted model on features that it has not seen, made with the same settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from voxelome.columns import IDENTIFIERS
from voxelome.errors import DataError
from voxelome.modelling import problems
from voxelome.modelling.cohort import COVARIATE, SITE, listed
from voxelome.modelling.settings import label_of

NEW_SITE = -1


def describe_model(settings: Any, result: Any, made_with: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a model file needs beside it, for JSON.

    Parameters
    ----------
    settings : AnalysisSettings
        Of the analysis.
    result : AnalysisResult
        What it found.
    made_with : mapping
        Settings that its features were made with.
    """
    metrics = result.metrics
    return {
        "Analysis": settings.name,
        "Outcome": settings.outcome,
        "Kind": settings.kind,
        "Positive": metrics.get("positive", "n/a"),
        "Features": [str(name) for name in result.model.feature_names_in_],
        "SiteColumn": settings.harmonise or "n/a",
        "Sites": result.sites,
        "FeatureSettings": dict(made_with),
    }


def check_same_settings(about: Mapping[str, Any], made_with: Mapping[str, Any]) -> None:
    """Raise a DataError where features were made with other settings than those of the model's training."""
    wanted = about["FeatureSettings"]
    for kind in sorted({*wanted, *made_with}):
        if kind in wanted and wanted[kind] != made_with.get(kind):
            theirs = made_with.get(kind, {})
            differ = [key for key, value in wanted[kind].items() if theirs.get(key) != value]
            problem = f"the features were made with other settings than those of the model ({listed(differ)})"
            raise DataError(problem, "make them again with the configuration that the model was trained with")


def apply_model(
    model: Any, about: Mapping[str, Any], features: pd.DataFrame, participants: pd.DataFrame | None
) -> pd.DataFrame:
    """Return the prediction of each visit.

    Parameters
    ----------
    model : estimator
        As :func:`voxelome.modelling.artifact.load_model` reads it.
    about : mapping
        As :func:`describe_model` gives.
    features : DataFrame
        One row a participant and visit.
    participants : DataFrame, optional
        participants.tsv, where the model takes covariates or a site.

    Raises
    ------
    DataError
        A feature, a covariate or a participant is missing.
    """
    names = list(about["Features"])
    others = [name for name in names if not name.startswith(COVARIATE) and name != SITE]
    if absent := [name for name in others if name not in features]:
        raise DataError(
            f"{len(absent)} features of the model are not there: {listed(absent)}", "measure them"
        )
    inputs = features[others].astype(np.float64).replace([np.inf, -np.inf], np.nan)
    if len(others) < len(names):
        inputs = inputs.join(
            _of_participants(about, names, features["participant_id"].astype(str), participants)
        )
    prediction = problems.predicted(str(about["Kind"]), model, inputs[names])
    column = {problems.BINARY: "probability", problems.SURVIVAL: "risk"}.get(about["Kind"], "prediction")
    return features[list(IDENTIFIERS)].assign(**{column: prediction})


def _of_participants(
    about: Mapping[str, Any], names: list[str], who: pd.Series, participants: pd.DataFrame | None
) -> pd.DataFrame:
    """Return the covariates and the site of each visit."""
    if participants is None:
        wanted = [name.removeprefix(COVARIATE) for name in names if name.startswith(COVARIATE)]
        raise DataError(f"the model takes {listed([*wanted, about['SiteColumn']])}", "give participants.tsv")
    people = participants.assign(participant_id=participants["participant_id"].astype(str))
    people = people.set_index("participant_id")
    if absent := sorted(set(who) - set(people.index)):
        raise DataError(f"participants.tsv has no row of {listed(absent)}", "add it")
    found = {}
    for name in names:
        if name == SITE:
            site = _column(people, str(about["SiteColumn"])).map(label_of, na_action="ignore")
            found[name] = site.map(about["Sites"]).fillna(NEW_SITE).reindex(who).to_numpy(dtype=np.float64)
        elif name.startswith(COVARIATE):
            column, _, value = name.removeprefix(COVARIATE).partition("=")
            given = _column(people, column).reindex(who)
            if value:
                text = given.map(label_of, na_action="ignore")
                found[name] = (text == value).astype(float).where(text.notna()).to_numpy()
            else:
                found[name] = pd.to_numeric(given, errors="coerce").to_numpy(dtype=np.float64)
    return pd.DataFrame(found, index=who.index)


def _column(people: pd.DataFrame, name: str) -> pd.Series:
    if name not in people:
        raise DataError(f"participants.tsv has no column {name}", "add it: the model takes it")
    return people[name]
