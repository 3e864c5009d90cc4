"""Who is in an analysis: participants.tsv and sessions.tsv, queries on them, sites and covariates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from voxelome.columns import IDENTIFIERS
from voxelome.errors import DataError, listed, suggest
from voxelome.modelling.settings import AnalysisSettings, label_of
from voxelome.outcomes import rules_in_words

COVARIATE = "covariate__"
# The fewest participants that show the effects of a site.
FEWEST_OF_A_SITE = 4


@dataclass(frozen=True)
class Tables:
    """What is known beside the features.

    Attributes
    ----------
    participants : DataFrame
        participants.tsv.
    sessions : DataFrame, optional
        All sessions.tsv as one: participant_id, session_id, and columns of each visit.
    """

    participants: pd.DataFrame
    sessions: pd.DataFrame | None = None

    def per_visit(self, name: str) -> bool:
        """Return whether sessions.tsv has a column."""
        return self.sessions is not None and name in self.sessions and name not in IDENTIFIERS

    def column(self, name: str, use: str) -> pd.Series:
        """Return a column of participants.tsv, or raise a DataError that offers similar names."""
        if name not in self.participants:
            if self.per_visit(name):
                remedy = "it is in sessions.tsv: what differs between visits cannot be it"
                raise DataError(f"there is no column {name} in participants.tsv, the {use}", remedy)
            known = [*self.participants.columns, *([] if self.sessions is None else self.sessions.columns)]
            others = sorted({str(column) for column in known} - set(IDENTIFIERS))
            raise DataError(f"there is no column {name}, the {use}", suggest(name, others))
        return self.participants[name]

    def of_visits(self, visits: pd.DataFrame, name: str, use: str) -> pd.Series:
        """Return a column for each visit: that of sessions.tsv where it has a value, else the participant's.

        Parameters
        ----------
        visits : DataFrame
            participant_id and session_id.
        name, use : str
            Column, and what for.
        """
        who = visits["participant_id"]
        if name in self.participants or not self.per_visit(name):
            given = self.column(name, use).astype(object)
            names = self.participants["participant_id"].astype(str).to_numpy()
            found = pd.Series(given.where(given != "", None).to_numpy(), index=names).reindex(who)
        else:
            found = pd.Series(None, index=who, dtype=object)
        found.index = visits.index
        if self.per_visit(name) and self.sessions is not None:
            keys = pd.MultiIndex.from_frame(self.sessions[list(IDENTIFIERS)].astype(str))
            own = self.sessions[name].astype(object)
            own = pd.Series(own.where(own != "", None).to_numpy(), index=keys)
            visit = pd.MultiIndex.from_frame(visits[list(IDENTIFIERS)].astype(object).fillna("").astype(str))
            own = own[~own.index.duplicated()].reindex(visit)
            found = found.where(own.isna().to_numpy(), own.to_numpy())
        return found


@dataclass
class Flow:
    """How many participants there were, and how many were left out why (TRIPOD's diagram).

    Attributes
    ----------
    steps : list of dict
        ``n`` participants, a ``label`` of who they are, and ``left_out``, dicts of ``n`` and ``why``, of
        those who do not come to the next step.
    """

    steps: list[dict[str, Any]] = field(default_factory=list)

    def start(self, count: int, label: str) -> None:
        """Begin with so many."""
        self.steps.append({"n": count, "label": label, "left_out": []})

    def keep(self, count: int, label: str, why: str) -> None:
        """Go on with so many; nothing is noted where nobody was left out."""
        before = self.steps[-1]
        if lost := before["n"] - count:
            before["left_out"].append({"n": lost, "why": why})
            self.start(count, label)


def people_of(tables: Tables, settings: AnalysisSettings) -> pd.DataFrame:
    """Return outcome (text or missing), group, time and site of every participant wanted, indexed by name.

    Raises
    ------
    DataError
        A column is not there, a participant has two rows or no group, or nobody is as `where` says.
    """
    names = tables.column("participant_id", "name of the participants").astype(str)
    if names.duplicated().any():
        twice = listed(names[names.duplicated()].unique())
        raise DataError(f"there are several rows of {twice}", "keep one row a participant")
    outcome = tables.column(settings.outcome, "outcome")
    text = [None if pd.isna(value) or value == "" else label_of(value) for value in outcome.tolist()]
    group = tables.column(settings.groups, "group")
    columns = {"outcome": text, "group": group.to_numpy()}
    if settings.time:
        columns["time"] = tables.column(settings.time, "time").to_numpy()
    if settings.harmonise:
        columns["site"] = tables.column(settings.harmonise, "site").to_numpy()
    people = pd.DataFrame(columns, index=names.to_numpy(), dtype=object)
    wanted = pd.Series(True, index=tables.participants.index)
    for name, rule in settings.where.items():
        if name in tables.participants or not tables.per_visit(name):
            wanted &= fits(tables.column(name, "column of where"), name, rule)
    if not wanted.any():
        raise DataError(f"no participant is as where says: {rules_in_words(settings.where)}", "mend it")
    people["held_out"] = _held_out(tables, settings).to_numpy()
    people = people[wanted.to_numpy()]
    if (lost := people["group"].isna() & people["outcome"].notna()).any():
        raise DataError(
            f"{listed(people.index[lost])} have no {settings.groups}", "fill it in: groups must not be split"
        )
    return people


def visits_wanted(table: pd.DataFrame, tables: Tables, settings: AnalysisSettings) -> pd.DataFrame:
    """Return the visits that are as `where` says of columns of sessions.tsv."""
    wanted = pd.Series(True, index=table.index)
    for name, rule in settings.where.items():
        if name not in tables.participants and tables.per_visit(name):
            wanted &= fits(tables.of_visits(table, name, "column of where"), name, rule)
    if not wanted.any():
        raise DataError(f"no visit is as where says: {rules_in_words(settings.where)}", "mend it")
    return table[wanted.to_numpy()]


def fits(column: pd.Series, name: str, rule: Any) -> pd.Series:
    """Return which values are as a rule says: a value, several values, or {min: , max: }."""
    if isinstance(rule, Mapping):
        if unknown := [key for key in rule if key not in ("min", "max")]:
            raise DataError(f"where {name} has {unknown[0]!r}", "give min, max or both")
        numbers = pd.to_numeric(column, errors="coerce")
        return numbers.between(rule.get("min", -np.inf), rule.get("max", np.inf))
    allowed = [label_of(value) for value in (rule if isinstance(rule, list | tuple) else [rule])]
    return column.map(label_of, na_action="ignore").isin(allowed)


def _held_out(tables: Tables, settings: AnalysisSettings) -> pd.Series:
    """Return which participants are locked away until the model is done."""
    held_out = pd.Series(bool(settings.hold_out), index=tables.participants.index)
    for name, rule in settings.hold_out.items():
        held_out &= fits(tables.column(name, "column of hold_out"), name, rule)
    if settings.hold_out and not held_out.any():
        raise DataError(f"no participant is as hold_out says: {rules_in_words(settings.hold_out)}", "mend it")
    if held_out.any() and settings.groups != "participant_id":
        group = tables.column(settings.groups, "group")
        if shared := sorted(
            set(map(str, group[held_out].dropna())) & set(map(str, group[~held_out].dropna()))
        ):
            problem = f"{settings.groups} {listed(shared)} has participants in hold_out and others"
            raise DataError(problem, "hold out whole groups")
    return held_out


def sites_of(people: pd.DataFrame, settings: AnalysisSettings) -> tuple[pd.Series, dict[str, int]]:
    """Return the number of each participant's site, and that of each site by name."""
    if (lost := people["site"].isna()).any():
        raise DataError(f"{listed(people.index[lost])} have no {settings.harmonise}", "fill it in")
    names = people["site"].map(label_of)
    counts = names.value_counts()
    if len(few := counts[counts < FEWEST_OF_A_SITE]):
        told = listed(f"{name} ({count})" for name, count in sorted(few.items()))
        remedy = "take them out by where, or put sites together"
        raise DataError(f"too few participants to harmonise have the {settings.harmonise} {told}", remedy)
    sites = {name: number for number, name in enumerate(sorted(counts.index))}
    return names.map(sites), sites


def covariates_of(visits: pd.DataFrame, tables: Tables, settings: AnalysisSettings) -> list[pd.Series]:
    """Return the covariates of each visit: numbers as they are, texts as one indicator a value."""
    columns = []
    for name in settings.covariates:
        column = tables.of_visits(visits, name, "covariate")
        number = pd.to_numeric(column, errors="coerce").astype(np.float64)
        if number.notna().equals(column.notna()):
            columns.append(number.rename(f"{COVARIATE}{name}"))
            continue
        text = column.map(label_of, na_action="ignore")
        # The first value is where all indicators are 0.
        for value in sorted(text.dropna().unique())[1:]:
            indicator = (text == value).astype(np.float64).where(text.notna())
            columns.append(indicator.rename(f"{COVARIATE}{name}={value}"))
    return columns
