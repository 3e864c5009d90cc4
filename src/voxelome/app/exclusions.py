"""Visits that a person has rated: those rated exclude are left out of the group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from voxelome.bids.names import unit_entities
from voxelome.errors import InputError, suggest

RATINGS = ("keep", "doubtful", "exclude")
_NEEDED = ("participant_id", "rating")


def excluded_visits(path: Path, units: Iterable[str]) -> dict[str, str]:
    """Visits rated exclude, and why, from the table that the group's report saves.

    Parameters
    ----------
    path : path
        Tab-separated, with the columns ``participant_id`` and ``rating`` (keep, doubtful, exclude; n/a
        and nothing are no rating), and optionally ``session_id`` and ``comment``. A row without a session
        is about all visits of the participant.
    units : iterable of str
        Visits that there are, such as ``sub-01_ses-1``.

    Raises
    ------
    InputError
        The file cannot be read, lacks a column, names an unknown participant, visit or rating, or rates one
        visit twice and differently.
    """
    known = _by_name(units)
    found: dict[str, tuple[str, str]] = {}
    for number, row in _rows(path):
        rating = row["rating"].strip().lower()
        if rating in ("", "n/a"):
            continue
        where = f"line {number}"
        if rating not in RATINGS:
            advice = f"{suggest(rating, list(RATINGS))} Ratings are {', '.join(RATINGS)}."
            raise InputError(path, f"{where} has the rating {rating!r}", advice)
        for unit in _named(path, where, row, known):
            before = found.get(unit)
            if before and before[0] != rating:
                raise InputError(
                    path, f"{where} rates {unit} {rating}, and a line above {before[0]}", "keep one of them"
                )
            found[unit] = rating, _filled(row.get("comment", ""))
    return {
        unit: f"rated exclude{f': {comment}' if comment else ''}"
        for unit, (rating, comment) in found.items()
        if rating == "exclude"
    }


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Lines of the table with their numbers; each has all columns."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(path, "is not UTF-8 text", "save it as tab-separated UTF-8 text") from error
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "check the name") from error
    header = [name.strip() for name in lines[0].split("\t")] if lines else []
    missing = [name for name in _NEEDED if name not in header]
    if missing:
        raise InputError(
            path, f"has no column {missing[0]!r}", f"its first line names {', '.join(_NEEDED)}, between tabs"
        )
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        cells = line.split("\t")
        if len(cells) != len(header):
            problem = f"line {number} has {len(cells)} cells, its header {len(header)}"
            raise InputError(path, problem, "separate the cells with single tabs")
        rows.append((number, dict(zip(header, cells, strict=True))))
    return rows


def _by_name(units: Iterable[str]) -> dict[str, dict[str, str]]:
    """Units of each participant by session; the key of one without sessions is empty."""
    known: dict[str, dict[str, str]] = {}
    for unit in units:
        entities = unit_entities(unit)
        session = entities.get("session", "")
        known.setdefault(f"sub-{entities['subject']}", {})[session and f"ses-{session}"] = unit
    return known


def _named(
    path: Path, where: str, row: Mapping[str, str], known: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """Units that a row is about."""
    participant, session = row["participant_id"].strip(), _filled(row.get("session_id", ""))
    participant = f"sub-{participant.removeprefix('sub-')}"
    if participant not in known:
        raise InputError(path, f"{where}: there is no {participant}", suggest(participant, list(known)))
    visits = known[participant]
    if not session:
        return list(visits.values())
    session = f"ses-{session.removeprefix('ses-')}"
    if session not in visits:
        raise InputError(path, f"{where}: {participant} has no {session}", suggest(session, list(visits)))
    return [visits[session]]


def _filled(cell: str) -> str:
    """Text of a cell; BIDS writes n/a where there is none."""
    return "" if cell.strip() in ("", "n/a") else " ".join(cell.split())
