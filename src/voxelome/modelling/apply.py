"""A fitted model on features that it has not seen, made with the same settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from voxelome.columns import IDENTIFIERS
from voxelome.errors import DataError, listed
from voxelome.modelling import problems
from voxelome.modelling.cohort import SITE
from voxelome.modelling.people import COVARIATE, Tables
from voxelome.modelling.predictions import columns_of
from voxelome.modelling.scaled_images import landmarks_of
from voxelome.modelling.settings import label_of
from voxelome.modelling.which_visits import averaged

NEW_SITE = -1


def describe_model(
    settings: Any, result: Any, made_with: Mapping[str, Any], software: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return what a model file needs beside it, for JSON.

    Parameters
    ----------
    settings : AnalysisSettings
        Of the analysis.
    result : AnalysisResult
        What it found.
    made_with : mapping
        Settings that its features were made with.
    software : mapping, optional
        Versions of the programs that they were made with.
    """
    metrics = result.metrics
    return {
        "Analysis": settings.name,
        "Outcome": settings.outcome,
        "Kind": settings.kind,
        "Positive": metrics.get("positive", "n/a"),
        "Classes": metrics["classes"],
        "Features": [str(name) for name in result.model.feature_names_in_],
        "SiteColumn": settings.harmonise or "n/a",
        "Sites": result.sites,
        "FeatureSettings": dict(made_with),
        "HeldOut": list(result.held_out),
        "FeatureSoftware": dict(software or {}),
        "Settings": asdict(settings),
    }


def check_same_settings(trained: Mapping[str, Any], made_with: Mapping[str, Any]) -> None:
    """Raise a DataError where features were made with other settings than those of a model's training.

    Parameters
    ----------
    trained, made_with : mapping
        Settings by what they are of; kinds that the training did not know of are not compared.
    """
    for kind in sorted(trained):
        theirs = made_with.get(kind, {})
        if trained[kind] != theirs:
            keys = dict.fromkeys((*trained[kind], *theirs))
            differ = [key for key in keys if theirs.get(key) != trained[kind].get(key)]
            problem = f"the features were made with other settings than those of the model ({listed(differ)})"
            raise DataError(problem, "make them again with the configuration that the model was trained with")


def apply_model(
    model: Any, about: Mapping[str, Any], features: pd.DataFrame, tables: Tables | None
) -> pd.DataFrame:
    """Return the prediction of each visit, or of each participant where the model takes the mean of visits.

    Parameters
    ----------
    model : estimator
        As :func:`voxelome.modelling.artifact.load_model` reads it.
    about : mapping
        As :func:`describe_model` gives.
    features : DataFrame
        One row a participant and visit.
    tables : Tables, optional
        participants.tsv and sessions.tsv, where the model takes covariates or a site.

    Raises
    ------
    DataError
        A feature, a covariate or a participant is missing.
    """
    inputs, rows = inputs_of(about, features, tables), features
    if about["Settings"]["visits"] == "mean":
        inputs, rows = averaged(inputs, features)
    prediction = problems.predicted(str(about["Kind"]), model, inputs)
    columns = columns_of(str(about["Kind"]), prediction, tuple(about["Classes"]))
    return rows[list(IDENTIFIERS)].assign(**columns)


def inputs_of(about: Mapping[str, Any], features: pd.DataFrame, tables: Tables | None) -> pd.DataFrame:
    """Return the columns that a model takes, in its order; as :func:`apply_model`."""
    names = list(about["Features"])
    landmarks = landmarks_of(names)
    others = [name for name in names if not name.startswith(COVARIATE) and name not in (SITE, *landmarks)]
    if absent := [name for name in dict.fromkeys([*others, *landmarks.values()]) if name not in features]:
        raise DataError(
            f"{len(absent)} features of the model are not there: {listed(absent)}", "measure them"
        )
    inputs = features[others].join(features[list(landmarks.values())].set_axis(list(landmarks), axis=1))
    inputs = inputs.astype(np.float64).replace([np.inf, -np.inf], np.nan)
    if inputs.shape[1] < len(names):
        inputs = inputs.join(_beside_features(about, names, features, tables))
    return inputs[names]


def _beside_features(
    about: Mapping[str, Any], names: list[str], features: pd.DataFrame, tables: Tables | None
) -> pd.DataFrame:
    """Return the covariates and the site of each visit."""
    if tables is None:
        wanted = [name.removeprefix(COVARIATE) for name in names if name.startswith(COVARIATE)]
        raise DataError(f"the model takes {listed([*wanted, about['SiteColumn']])}", "give participants.tsv")
    visits = features[list(IDENTIFIERS)].assign(participant_id=features["participant_id"].astype(str))
    names_known = tables.participants["participant_id"].astype(str)
    if names_known.duplicated().any():
        twice = listed(names_known[names_known.duplicated()].unique())
        raise DataError(f"there are several rows of {twice}", "keep one row a participant")
    known = set(names_known)
    if absent := sorted(set(visits["participant_id"]) - known):
        raise DataError(f"participants.tsv has no row of {listed(absent)}", "add it")
    found = {}
    for name in names:
        if name == SITE:
            given = tables.of_visits(visits, str(about["SiteColumn"]), "site that the model takes")
            site = given.map(label_of, na_action="ignore")
            found[name] = site.map(about["Sites"]).fillna(NEW_SITE).to_numpy(dtype=np.float64)
        elif name.startswith(COVARIATE):
            column, value = _parted(name.removeprefix(COVARIATE), about)
            given = tables.of_visits(visits, column, "covariate that the model takes")
            if value:
                text = given.map(label_of, na_action="ignore")
                found[name] = (text == value).astype(float).where(text.notna()).to_numpy()
            else:
                found[name] = pd.to_numeric(given, errors="coerce").to_numpy(dtype=np.float64)
    return pd.DataFrame(found, index=features.index)


def _parted(name: str, about: Mapping[str, Any]) -> tuple[str, str]:
    """Return the column of a covariate, and the value that it indicates; empty for a number."""
    covariates = about["Settings"]["covariates"]
    if name in covariates:
        return name, ""
    column = max((each for each in covariates if name.startswith(f"{each}=")), key=len)
    return column, name[len(column) + 1 :]
