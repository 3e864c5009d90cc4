"""The cohort of an analysis: features joined with the outcome, and what was left out and why."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from voxelome.columns import IDENTIFIERS
from voxelome.errors import DataError, listed
from voxelome.modelling import problems
from voxelome.modelling.outcomes import read_target
from voxelome.modelling.people import (
    COVARIATE,
    Flow,
    Tables,
    covariates_of,
    people_of,
    sites_of,
)
from voxelome.modelling.scaled_images import with_landmarks
from voxelome.modelling.settings import AnalysisSettings
from voxelome.modelling.suspicions import check_not_parted, of_one_person, twins
from voxelome.modelling.visits import Cohort
from voxelome.modelling.which_visits import averaged, chosen_visits
from voxelome.outcomes import rules_in_words

# Name of the column with the number of the site.
SITE = "site"


@dataclass(frozen=True)
class Assembled:
    """A cohort and the names of what is in it.

    Attributes
    ----------
    cohort : Cohort
        Numbers.
    features : list of str
        Names of the columns.
    visits : DataFrame
        participant_id and session_id of each row of the features.
    participants : list of str
        Names of the participants, in order.
    classes : tuple of str
        Names of the classes, the positive one of two last; empty where the outcome is a number.
    notes : list of str
        What was left out, and what the reader should know.
    sites : dict
        Number of each site, where features are harmonised.
    flow : list of dict
        Participants from participants.tsv to those analysed, see :class:`voxelome.modelling.people.Flow`.
    held_out : list of str
        Participants who are locked away.
    """

    cohort: Cohort
    features: list[str]
    visits: pd.DataFrame
    participants: list[str]
    classes: tuple[str, ...]
    notes: list[str] = field(default_factory=list)
    sites: dict[str, int] = field(default_factory=dict)
    flow: list[dict[str, Any]] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Repeated:
    """Features that were measured again.

    Attributes
    ----------
    names : list of str
        Columns of the table of features.
    visits : list of (str, str)
        participant_id and session_id (empty where there is none).
    values : ndarray, shape (n_features, n_visits, n_measurements)
    """

    names: list[str]
    visits: list[tuple[str, str]]
    values: NDArray[np.float32]


def assemble(
    features: pd.DataFrame,
    tables: Tables,
    settings: AnalysisSettings,
    repeated: Repeated | None = None,
) -> Assembled:
    """Return the visits that have an outcome, with the features offered.

    Parameters
    ----------
    features : DataFrame
        One row a participant and visit, as :func:`voxelome.modelling.table.widen` gives.
    tables : Tables
        participants.tsv and sessions.tsv.
    settings : AnalysisSettings
        Outcome, features and groups.
    repeated : Repeated, optional
        The features measured again, where only reliable ones are wanted.

    Raises
    ------
    DataError
        The tables do not hold what the analysis needs.
    """
    notes: list[str] = []
    flow = Flow()
    flow.start(len(tables.participants), "in participants.tsv")
    everybody = people_of(tables, settings)
    flow.keep(len(everybody), "of the analysis", f"not as where says: {rules_in_words(settings.where)}")
    visits = chosen_visits(_with_outcome(features, everybody, settings, notes, flow), tables, settings, flow)
    people = everybody.loc[sorted(set(visits["participant_id"]))]
    offered, who = _offered(visits, settings, notes), visits["participant_id"]
    pairs = twins(offered.to_numpy(), list(who))
    people, visits, held_out = _unlocked(people, visits, settings, notes, flow)
    check_not_parted(pairs, held_out)
    target, classes = read_target(people, settings)
    offered = offered[~who.isin(held_out)].reset_index(drop=True)
    values = pd.concat([offered, *covariates_of(visits, tables, settings)], axis=1)
    if settings.visits == "mean":
        values, visits = averaged(values, visits)
    values = _varying(values.sort_index(axis=1), notes)
    values, scaled = with_landmarks(values, visits, settings.standard_scale, notes)
    sites: dict[str, int] = {}
    if settings.harmonise:
        code, sites = sites_of(people, settings)
        # The last column, so that the others keep their places when ComBat takes it away.
        values[SITE] = visits["participant_id"].map(code).to_numpy(dtype=np.float64)
    index = {name: number for number, name in enumerate(people.index)}
    group, told = of_one_person(pairs, dict(people["group"]), settings)
    notes += told
    cohort = Cohort(
        kind=settings.kind,
        values=values.to_numpy(dtype=np.float64),
        participant=visits["participant_id"].map(index).to_numpy(dtype=np.intp),
        target=target,
        group=np.asarray(pd.factorize(np.array(list(group.values()), dtype=object))[0], dtype=np.intp),
        classes=len(classes) if settings.kind in problems.SEVERAL else 0,
        scaled=scaled,
    )
    _note_visits(cohort, notes)
    if settings.harmonise:
        kept = [name for name in values if _is_kept(str(name), settings)]
        if lost := [str(name).removeprefix(COVARIATE) for name in kept if values[name].isna().any()]:
            remedy = "fill it in, or leave these participants out by where"
            raise DataError(f"{listed(lost)}, whose effect ComBat keeps, is not known of everybody", remedy)
        keep = [number for number, name in enumerate(values.columns) if _is_kept(name, settings)]
        cohort = replace(cohort, site=values.shape[1] - 1, keep=tuple(keep))
    names = [str(name) for name in values.columns]
    if settings.minimum_reliability:
        cohort = replace(cohort, repeated=_aligned(repeated, visits, names, settings))
    identity = visits[list(IDENTIFIERS)].reset_index(drop=True)
    found = (identity, list(people.index), classes, notes, sites, flow.steps, held_out)
    return Assembled(cohort, names, *found)


def locked_away(
    features: pd.DataFrame, tables: Tables, settings: AnalysisSettings
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the participants of the locked hold-out (outcome, time), and the rows of their visits.

    Raises
    ------
    DataError
        The analysis has no hold-out, or nobody in it has an outcome and features.
    """
    if not settings.hold_out:
        raise DataError(f"the analysis {settings.name} has no hold_out", "name the participants to lock away")
    everybody = people_of(tables, settings)
    everybody = everybody[everybody["held_out"].to_numpy(dtype=bool)]
    flow = Flow()
    flow.start(len(everybody), "locked away")
    visits = chosen_visits(_with_outcome(features, everybody, settings, [], flow), tables, settings, flow)
    return everybody.loc[sorted(set(visits["participant_id"]))], visits


def _is_kept(name: str, settings: AnalysisSettings) -> bool:
    """Return whether harmonisation keeps the effect of a column: a covariate, or an indicator of one."""
    covariate = name.removeprefix(COVARIATE).split("=")[0]
    return name.startswith(COVARIATE) and covariate in settings.harmonise_keep


def _aligned(
    repeated: Repeated | None, table: pd.DataFrame, names: list[str], settings: AnalysisSettings
) -> NDArray[np.float32]:
    """Return the repeated measurements in the order of visits and features; NaN where there are none."""
    if repeated is None:
        problem = f"minimum_reliability is {settings.minimum_reliability}, but no feature was measured again"
        raise DataError(problem, "set radiomics: {perturbations: 50}, and run the participant level again")
    session = table["session_id"].astype(object).where(table["session_id"].notna(), "").astype(str)
    visits = list(zip(table["participant_id"], session, strict=True))
    values = np.full((len(names), len(visits), repeated.values.shape[2]), np.nan, dtype=np.float32)
    rows = {name: index for index, name in enumerate(repeated.names)}
    columns = {visit: index for index, visit in enumerate(repeated.visits)}
    here = [(to, rows[name]) for to, name in enumerate(names) if name in rows]
    seen = [(to, columns[visit]) for to, visit in enumerate(visits) if visit in columns]
    if here and seen:
        (to_row, from_row), (to_column, from_column) = zip(*here, strict=True), zip(*seen, strict=True)
        values[np.ix_(to_row, to_column)] = repeated.values[np.ix_(from_row, from_column)]
    return values


def _with_outcome(
    features: pd.DataFrame, people: pd.DataFrame, settings: AnalysisSettings, notes: list[str], flow: Flow
) -> pd.DataFrame:
    """Return the rows whose participant has an outcome, sorted, and note the others."""
    table = features.assign(participant_id=features["participant_id"].astype(str))
    if "session_id" not in table:
        table["session_id"] = None
    names = sorted(set(table["participant_id"]))
    if absent := [name for name in names if name not in people.index]:
        told = listed(absent)
        notes.append(f"{len(absent)} participant(s) with features have no row in participants.tsv: {told}.")
    known = people.index[people["outcome"].notna()]
    if lost := [name for name in names if name in people.index and name not in known]:
        told = listed(lost)
        notes.append(f"{len(lost)} participant(s) have no {settings.outcome} and are left out: {told}.")
    if without := sorted(set(known) - set(names)):
        notes.append(f"{len(without)} participant(s) have an outcome and no features: {listed(without)}.")
    kept = table[table["participant_id"].isin(known)]
    if not len(kept):
        raise DataError(
            f"no participant has features and the outcome {settings.outcome}",
            f"features are of {listed(names) or 'nobody'}, outcomes of {listed(known) or 'nobody'}",
        )
    if kept.duplicated(list(IDENTIFIERS)).any():
        raise DataError("a visit has several rows of features", "keep one row a participant and visit")
    flow.keep(len(known), f"with {settings.outcome}", f"{settings.outcome} is not known")
    flow.keep(kept["participant_id"].nunique(), "with features", "no features")
    order = kept["session_id"].astype(object).where(kept["session_id"].notna(), "").astype(str)
    kept = kept.assign(_order=order).sort_values(["participant_id", "_order"])
    return kept.drop(columns="_order").reset_index(drop=True)


def _unlocked(
    people: pd.DataFrame, visits: pd.DataFrame, settings: AnalysisSettings, notes: list[str], flow: Flow
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Return who is not locked away, and the names of those who are."""
    locked = people["held_out"].to_numpy(dtype=bool)
    held_out = [str(name) for name in people.index[locked]]
    if not settings.hold_out:
        return people, visits, held_out
    if locked.all() or not locked.any():
        problem = (
            f"hold_out takes {int(locked.sum())} of {len(locked)} participants with outcome and features"
        )
        raise DataError(problem, "hold out some, and leave some to train on")
    if settings.harmonise and settings.unseen_site == "refuse":
        sites, known = (set(map(str, people["site"][which])) for which in (locked, ~locked))
        if strange := sorted(sites - known):
            problem = f"hold_out has the {settings.harmonise} {listed(strange)}, and nobody else has"
            raise DataError(problem, "give unseen_site: keep, or hold out others")
    flow.keep(
        int((~locked).sum()), "to develop the model", f"locked hold-out: {rules_in_words(settings.hold_out)}"
    )
    notes.append(f"{len(held_out)} participants are locked away (hold_out): nothing here has looked at them.")
    return people[~locked], visits[~visits["participant_id"].isin(held_out)].reset_index(drop=True), held_out


def _offered(table: pd.DataFrame, settings: AnalysisSettings, notes: list[str]) -> pd.DataFrame:
    """Return the columns of features that the patterns offer."""
    names = [str(name) for name in table.columns if name not in IDENTIFIERS]
    for pattern in settings.features:
        if not any(fnmatchcase(name, pattern) for name in names):
            remedy = f"features are named like {listed(names[:2]) or '(none)'}"
            raise DataError(f"no feature matches {pattern}", remedy)
    chosen = [
        name
        for name in names
        if any(fnmatchcase(name, pattern) for pattern in settings.features)
        and not any(fnmatchcase(name, pattern) for pattern in settings.exclude)
    ]
    if not chosen:
        raise DataError("every feature is excluded", "offer some with features, or exclude fewer")
    offered = table[chosen]
    if texts := [name for name in chosen if not pd.api.types.is_numeric_dtype(offered[name])]:
        raise DataError(f"{listed(texts)} hold text, not numbers", "exclude them from the analysis")
    infinite = int(np.isinf(offered.to_numpy(dtype=np.float64)).sum())
    if infinite:
        notes.append(f"{infinite} infinite value(s) of features count as missing.")
    return offered.astype(np.float64).replace([np.inf, -np.inf], np.nan)


def _varying(values: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Return the columns that are known and vary; neither looks at the outcome."""
    varying = values.columns[(values.max() > values.min()).to_numpy()]
    if not len(varying):
        raise DataError("no feature varies between the participants", "offer other features to the analysis")
    if len(varying) < values.shape[1]:
        dropped = values.shape[1] - len(varying)
        notes.append(f"{dropped} feature(s) that are missing or constant were not offered.")
    return values[varying]


def _note_visits(cohort: Cohort, notes: list[str]) -> None:
    """Note participants with several visits."""
    if several := int(np.sum(np.bincount(cohort.participant) > 1)):
        notes.append(
            f"{several} participant(s) have several visits: visits of one participant stay on one side of"
            " every fold, and a participant's prediction is the mean of the visits'."
        )
