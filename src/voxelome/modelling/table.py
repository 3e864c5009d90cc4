"""The feature table: from one value a row to one participant and visit a row."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from voxelome.columns import FEATURE_KEYS, IDENTIFIERS, SEPARATOR
from voxelome.errors import DataError


def widen(table: pd.DataFrame) -> pd.DataFrame:
    """Return the feature table with one row a participant and visit.

    Parameters
    ----------
    table : DataFrame
        One value a row: participant_id, session_id (missing where the dataset has no sessions), image,
        roi, filter, class, feature, value.

    Returns
    -------
    DataFrame
        participant_id, session_id, then the columns ``<image>__<roi>__<filter>__<class>__<feature>`` in
        alphabetical order; rows in the order of participant and visit. Values that are missing are NaN.

    Raises
    ------
    DataError
        A column is absent, or a visit has a feature twice.
    """
    if absent := [name for name in (*IDENTIFIERS, *FEATURE_KEYS, "value") if name not in table]:
        problem = f"the table of features has no column {', '.join(absent)}"
        raise DataError(problem, "run the radiomics stage again")
    frame = pd.DataFrame({"participant_id": table["participant_id"].astype(str)})
    # A missing visit must not drop out of the pivot.
    session = table["session_id"].astype(object)
    frame["session_id"] = session.where(session.notna(), "").astype(str)
    frame["name"] = table[FEATURE_KEYS[0]].astype(str)
    for part in FEATURE_KEYS[1:]:
        frame["name"] += SEPARATOR + table[part].astype(str)
    frame["value"] = pd.to_numeric(table["value"])
    keys = [*IDENTIFIERS, "name"]
    if (twice := frame.duplicated(keys)).any():
        first = frame.loc[twice, keys].iloc[0]
        raise DataError(
            f"{int(twice.sum())} features are there twice, the first {first['name']} of"
            f" {' '.join(first[list(IDENTIFIERS)]).strip()}",
            "give every visit once",
        )
    wide = frame.pivot(index=list(IDENTIFIERS), columns="name", values="value")
    wide = wide.sort_index(axis=0).sort_index(axis=1).reset_index()
    wide.columns.name = None
    wide["session_id"] = wide["session_id"].astype(object).where(wide["session_id"] != "", None)
    return wide


def assemble(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return one wide table of the long tables of visits, which are read one after the other.

    Parameters
    ----------
    tables : iterable of DataFrame
        Long tables as :func:`widen` takes; a visit may have several, with different features.

    Returns
    -------
    DataFrame
        As :func:`widen` gives.

    Raises
    ------
    DataError
        A column is absent, or a visit has a feature twice.
    """
    visits: dict[tuple[str, str], list[pd.Series]] = {}
    for table in tables:
        wide = widen(table)
        for _, row in wide.iterrows():
            key = (str(row["participant_id"]), str(row["session_id"] or ""))
            values = row.drop(list(IDENTIFIERS)).astype(np.float64)
            visits.setdefault(key, []).append(values)
    names = sorted({str(name) for parts in visits.values() for part in parts for name in part.index})
    place = {name: index for index, name in enumerate(names)}
    numbers = np.full((len(visits), len(names)), np.nan)
    for line, key in enumerate(sorted(visits)):
        joined = pd.concat(visits[key])
        if (twice := joined.index.duplicated()).any():
            problem = f"{joined.index[twice][0]} of {' '.join(key).strip()} is there twice"
            raise DataError(problem, "give every visit once")
        numbers[line, [place[str(name)] for name in joined.index]] = joined.to_numpy()
    keys = pd.DataFrame(sorted(visits), columns=list(IDENTIFIERS), dtype=object)
    keys["session_id"] = keys["session_id"].where(keys["session_id"] != "", None)
    return pd.concat([keys, pd.DataFrame(numbers, columns=names)], axis=1)
