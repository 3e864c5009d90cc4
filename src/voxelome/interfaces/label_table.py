"""Tables that name the labels of an image (BIDS: `_dseg.tsv`)."""

from __future__ import annotations

import csv
from pathlib import Path

from voxelome.errors import DataError, InputError, blame


def read_label_table(path: Path | str) -> dict[int, str]:
    """Name by label value, the background (0) left out.

    Raises
    ------
    InputError
        The table cannot be read, lacks a column, or does not say which one name a label has.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, delimiter="\t")
            rows, columns = list(table), table.fieldnames or []
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "check the name") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, "is no tab-separated UTF-8 text", "save it as such") from error
    if not {"index", "name"} <= set(columns):
        raise InputError(path, "has no columns index and name", "add them, tab separated")
    found: dict[int, str] = {}
    with blame(path):
        for row in rows:
            label = _number(row["index"])
            # A cell that the row ends before is None.
            name = (row["name"] or "").strip()
            if label == 0:
                continue
            if not name:
                raise DataError(f"has no name for label {label}", "write it, tab separated")
            if found.setdefault(label, name) != name:
                raise DataError(f"names label {label} both {found[label]} and {name}", "keep one of them")
    return found


def _number(text: str | None) -> int:
    """Label value that a cell holds."""
    try:
        return int(text or "")
    except ValueError as error:
        raise DataError(f"has the index {text!r}, which is no whole number", "write one") from error
