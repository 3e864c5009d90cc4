"""The cohort of an analysis: features joined with the outcome, and what was left out and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from voxelome.columns import IDENTIFIERS
from voxelome.errors import DataError, suggest
from voxelome.modelling import problems
from voxelome.modelling.crossval import Cohort
from voxelome.modelling.settings import AnalysisSettings, label_of
from voxelome.modelling.survival_outcome import survival_outcome

COVARIATE = "covariate__"
MINIMUM_PER_CLASS = 4
MINIMUM_OF_NUMBERS = 10
# Name of the column with the number of the site, and the fewest participants that show its effects.
SITE = "site"
FEWEST_OF_A_SITE = 4
CLASSES = 2
_SHOWN = 8


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
    positive, negative : str
        The two classes; empty where the outcome is a number.
    notes : list of str
        What was left out, and what the reader should know.
    sites : dict
        Number of each site, where features are harmonised.
    """

    cohort: Cohort
    features: list[str]
    visits: pd.DataFrame
    participants: list[str]
    positive: str
    negative: str
    notes: list[str] = field(default_factory=list)
    sites: dict[str, int] = field(default_factory=dict)


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
    participants: pd.DataFrame,
    settings: AnalysisSettings,
    repeated: Repeated | None = None,
) -> Assembled:
    """Return the visits that have an outcome, with the features offered.

    Parameters
    ----------
    features : DataFrame
        One row a participant and visit, as :func:`voxelome.modelling.table.widen` gives.
    participants : DataFrame
        participants.tsv.
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
    people = _people(participants, settings)
    table = features.assign(participant_id=features["participant_id"].astype(str))
    if "session_id" not in table:
        table["session_id"] = None
    table = _with_outcome(table, people, settings, notes)
    people = people.loc[sorted(set(table["participant_id"]))]
    positive = negative = ""
    if settings.kind == problems.SURVIVAL:
        positive, negative = _classes(people["outcome"], settings)
        target: Any = _survival(people, positive, settings)
    elif settings.kind == problems.BINARY:
        positive, negative = _classes(people["outcome"], settings)
        target = (people["outcome"] == positive).to_numpy(dtype=bool)
    else:
        target = _numbers(people["outcome"], settings)
    offered = _offered(table, settings, notes)
    values = pd.concat([offered, *_covariates(table["participant_id"], participants, settings)], axis=1)
    values = _varying(values.sort_index(axis=1), notes)
    sites: dict[str, int] = {}
    if settings.harmonise:
        code, sites = _sites(people, settings)
        # The last column, so that the others keep their places when ComBat takes it away.
        values[SITE] = table["participant_id"].map(code).to_numpy(dtype=np.float64)
    index = {name: number for number, name in enumerate(people.index)}
    cohort = Cohort(
        kind=settings.kind,
        values=values.to_numpy(dtype=np.float64),
        participant=table["participant_id"].map(index).to_numpy(dtype=np.intp),
        target=target,
        group=np.asarray(pd.factorize(people["group"])[0], dtype=np.intp),
    )
    _note_visits(cohort, notes)
    if settings.harmonise:
        keep = [number for number, name in enumerate(values.columns) if _is_kept(name, settings)]
        cohort = replace(cohort, site=values.shape[1] - 1, keep=tuple(keep))
    visits = table[list(IDENTIFIERS)].reset_index(drop=True)
    if settings.minimum_reliability:
        cohort = replace(cohort, repeated=_aligned(repeated, table, list(values.columns), settings))
    found = (list(values.columns), visits, list(people.index), positive, negative, notes)
    return Assembled(cohort, *found, sites)


def listed(names: Iterable[object]) -> str:
    """Return names as text, the first few where there are many."""
    every = [str(name) for name in names]
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more


def _column(participants: pd.DataFrame, name: str, use: str) -> pd.Series:
    """Return a column of participants.tsv, or raise a DataError that offers similar names."""
    if name not in participants:
        others = [str(column) for column in participants.columns if column != "participant_id"]
        raise DataError(f"there is no column {name}, the {use}", suggest(name, others))
    return participants[name]


def _people(participants: pd.DataFrame, settings: AnalysisSettings) -> pd.DataFrame:
    """Return outcome (text or missing) and group of every participant, indexed by name."""
    names = _column(participants, "participant_id", "name of the participants").astype(str)
    if names.duplicated().any():
        twice = listed(names[names.duplicated()].unique())
        raise DataError(f"there are several rows of {twice}", "keep one row a participant")
    outcome = _column(participants, settings.outcome, "outcome")
    text = [None if pd.isna(value) or value == "" else label_of(value) for value in outcome.tolist()]
    group = _column(participants, settings.groups, "group")
    columns = {"outcome": text, "group": group.to_numpy()}
    if settings.time:
        columns["time"] = _column(participants, settings.time, "time").to_numpy()
    if settings.harmonise:
        columns["site"] = _column(participants, settings.harmonise, "site").to_numpy()
    people = pd.DataFrame(columns, index=names.to_numpy(), dtype=object)
    people = people[_wanted(participants, settings).to_numpy()]
    if (lost := people["group"].isna() & people["outcome"].notna()).any():
        raise DataError(
            f"{listed(people.index[lost])} have no {settings.groups}", "fill it in: groups must not be split"
        )
    return people


def _wanted(participants: pd.DataFrame, settings: AnalysisSettings) -> pd.Series:
    """Return which rows of participants.tsv the analysis is about."""
    wanted = pd.Series(True, index=participants.index)
    for name, rule in settings.where.items():
        column = _column(participants, name, "column of where")
        if isinstance(rule, Mapping):
            if unknown := [key for key in rule if key not in ("min", "max")]:
                raise DataError(f"where {name} has {unknown[0]!r}", "give min, max or both")
            numbers = pd.to_numeric(column, errors="coerce")
            wanted &= numbers.between(rule.get("min", -np.inf), rule.get("max", np.inf))
        else:
            allowed = [label_of(value) for value in (rule if isinstance(rule, list | tuple) else [rule])]
            wanted &= column.map(label_of, na_action="ignore").isin(allowed)
    if not wanted.any():
        raise DataError(f"no participant is as where says: {dict(settings.where)}", "mend it")
    return wanted


def _is_kept(name: str, settings: AnalysisSettings) -> bool:
    """Return whether harmonisation keeps the effect of a column: a covariate, or an indicator of one."""
    covariate = name.removeprefix(COVARIATE).split("=")[0]
    return name.startswith(COVARIATE) and covariate in settings.harmonise_keep


def _sites(people: pd.DataFrame, settings: AnalysisSettings) -> tuple[pd.Series, dict[str, int]]:
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
    table: pd.DataFrame, people: pd.DataFrame, settings: AnalysisSettings, notes: list[str]
) -> pd.DataFrame:
    """Return the rows whose participant has an outcome, sorted, and note the others."""
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
    order = kept["session_id"].astype(object).where(kept["session_id"].notna(), "").astype(str)
    kept = kept.assign(_order=order).sort_values(["participant_id", "_order"])
    return kept.drop(columns="_order").reset_index(drop=True)


def _classes(outcome: pd.Series, settings: AnalysisSettings) -> tuple[str, str]:
    """Return the positive and the negative class, or raise a DataError."""
    counts = outcome.value_counts()
    labels = sorted(counts.index, key=_numeric_first)
    told = listed(f"{label} ({counts[label]})" for label in labels)
    if len(labels) != CLASSES:
        raise DataError(
            f"{settings.outcome} has {len(labels)} different value(s) where there are features: {told}",
            "this version predicts outcomes with two; name a column that has two",
        )
    if settings.positive is not None and settings.positive not in labels:
        raise DataError(
            f"no participant has the positive class {settings.positive}", f"the classes are {told}"
        )
    if counts.min() < MINIMUM_PER_CLASS:
        remedy = f"at least {MINIMUM_PER_CLASS} participants of each are needed"
        raise DataError(f"{settings.outcome} has the classes {told}", remedy)
    positive = settings.positive or labels[-1]
    return positive, next(label for label in labels if label != positive)


def _numbers(outcome: pd.Series, settings: AnalysisSettings) -> NDArray[np.float64]:
    """Return the outcome as numbers, or raise a DataError."""
    numbers = pd.to_numeric(outcome, errors="coerce")
    if (wrong := numbers.isna() | np.isinf(numbers)).any():
        seen = listed(outcome[wrong].unique())
        raise DataError(
            f"{settings.outcome} is no number where it is {seen}", "mend it, or give kind: binary"
        )
    if len(numbers) < MINIMUM_OF_NUMBERS or numbers.nunique() < CLASSES + 1:
        problem = (
            f"{settings.outcome} has {numbers.nunique()} different value(s) in {len(numbers)} participants"
        )
        raise DataError(problem, f"a number takes {MINIMUM_OF_NUMBERS} participants and more than two values")
    return np.asarray(numbers, dtype=np.float64)


def _survival(people: pd.DataFrame, positive: str, settings: AnalysisSettings) -> NDArray[Any]:
    """Return events and times, or raise a DataError."""
    time = pd.to_numeric(people["time"], errors="coerce")
    if (lost := time.isna() | np.isinf(time)).any():
        told = listed(people.index[lost])
        raise DataError(f"{told} have no {settings.time}", "fill it in, or leave them out by where")
    if (wrong := time < 0).any():
        raise DataError(f"{settings.time} of {listed(people.index[wrong])} is negative", "mend it")
    return survival_outcome((people["outcome"] == positive).to_numpy(), time.to_numpy(dtype=np.float64))


def _numeric_first(label: str) -> tuple[int, float, str]:
    """Sort key: numbers by value, then texts."""
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label


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


def _covariates(who: pd.Series, participants: pd.DataFrame, settings: AnalysisSettings) -> list[pd.Series]:
    """Return the covariates of each visit: numbers as they are, texts as one indicator a value."""
    columns = []
    names = participants["participant_id"].astype(str).to_numpy()
    for name in settings.covariates:
        given = _column(participants, name, "covariate").astype(object)
        column = pd.Series(given.where(given != "", None).to_numpy(), index=names).reindex(who)
        column.index = who.index
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
