"""Which visits of a participant an analysis takes, and when they were."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from voxelome.columns import IDENTIFIERS
from voxelome.errors import DataError, listed
from voxelome.modelling.people import Flow, Tables, visits_wanted
from voxelome.modelling.settings import AnalysisSettings


def chosen_visits(
    table: pd.DataFrame, tables: Tables, settings: AnalysisSettings, flow: Flow
) -> pd.DataFrame:
    """Return the visits that the analysis takes, of each participant the first or last where so asked."""
    table = visits_wanted(table, tables, settings)
    flow.keep(table["participant_id"].nunique(), "with a visit", "no visit as where says")
    if settings.visits in ("first", "last"):
        when = visit_time(table, tables, settings)
        table = table.assign(_when=when).sort_values(["participant_id", "_when"], kind="stable")
        table = table.drop_duplicates("participant_id", keep=settings.visits).drop(columns="_when")
    return table.reset_index(drop=True)


def visit_time(visits: pd.DataFrame, tables: Tables, settings: AnalysisSettings) -> NDArray[np.float64]:
    """Return when each visit was: the column `visit_time`, dates in days; else the number of the visit.

    Parameters
    ----------
    visits : DataFrame
        participant_id and session_id, sorted.
    tables : Tables
        Where the column is.
    settings : AnalysisSettings
        Names the column.

    Raises
    ------
    DataError
        A visit has no time.
    """
    if settings.visit_time is None:
        return np.asarray(visits.groupby("participant_id").cumcount(), dtype=np.float64)
    given = tables.of_visits(visits, settings.visit_time, "time of the visits")
    when = pd.to_numeric(given, errors="coerce").astype(np.float64)
    if not when.notna().equals(given.notna()):
        dates = pd.to_datetime(given, errors="coerce", format="ISO8601", utc=True)
        when = (dates - pd.Timestamp(0, tz="UTC")).dt.total_seconds() / 86400
    if (lost := when.isna()).any():
        told = visits.loc[lost.to_numpy(), list(IDENTIFIERS)].astype(str).agg(" ".join, axis=1)
        raise DataError(f"{listed(told)} have no {settings.visit_time}", "fill in a number or a date")
    return np.asarray(when, dtype=np.float64)


def averaged(values: pd.DataFrame, visits: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the mean of each participant's visits, of what is known."""
    who = visits["participant_id"]
    mean = values.groupby(who.to_numpy()).mean().sort_index()
    people = pd.DataFrame({"participant_id": mean.index.astype(object), "session_id": None})
    return mean.reset_index(drop=True), people
