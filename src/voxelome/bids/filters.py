"""The filter file that users of fMRIPrep know (``--bids-filter-file``)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from voxelome.bids.entities import KNOWN
from voxelome.errors import InputError

# Suffix that each query is about, unless it names another.
QUERIES = {
    "t1w": "T1w", "t2w": "T2w", "flair": "FLAIR", "pdw": "PDw", "megre": "MEGRE", "t2starw": "T2starw",
}  # fmt: skip
NONE, ANY = ("query.none",), ("*", "query.any", "query.required")
Filters = Mapping[str, Mapping[str, Any]]


def check_filters(filters: Filters) -> None:
    """Raise an InputError for a query or an entity that does not exist."""
    for query, wanted in filters.items():
        if query not in QUERIES:
            _refuse(f"query {query!r}", query, list(QUERIES))
        if not isinstance(wanted, Mapping):
            raise InputError(f"filter {query!r}", "holds no entities", 'write {"acquisition": "mprage"}, for instance')
        for entity in wanted:
            if entity not in KNOWN:
                _refuse(f"entity {entity!r} in query {query!r}", entity, sorted(KNOWN))


def _refuse(what: str, word: str, known: list[str]) -> None:
    near = difflib.get_close_matches(word, known, n=2)
    raise InputError(
        "--bids-filter-file", f"does not know {what}",
        f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known)}",
    )  # fmt: skip


def passes(entities: Mapping[str, str], filters: Filters) -> bool:
    """Whether a file of these entities is kept: it fits the query that is about its suffix, or none is."""
    for query, wanted in filters.items():
        suffixes = _values(wanted.get("suffix", QUERIES[query]))
        if entities.get("suffix") in suffixes:
            return all(_fits(entities.get(name), value) for name, value in wanted.items() if name != "suffix")
    return True


def _values(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def _fits(found: str | None, wanted: Any) -> bool:
    if wanted is None or (isinstance(wanted, str) and wanted.lower() in NONE):
        return found is None
    if isinstance(wanted, str) and wanted.lower() in ANY:
        return found is not None
    if isinstance(wanted, str) and wanted.lower() == "query.optional":
        return True
    if isinstance(wanted, list):
        return any(_fits(found, item) for item in wanted)
    if found is None:
        return False
    # run: 1 in JSON is run-1 and run-01
    same_number = isinstance(wanted, int) and found.isdigit() and int(found) == wanted
    return same_number or found == str(wanted)
