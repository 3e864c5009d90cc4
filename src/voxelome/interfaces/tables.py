"""Small tables beside images: what is listed in them, and the names of labels."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from voxelome.imageio import save_text


def save_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> Path:
    """Write rows as TSV, numbers with four digits, and n/a for what a row does not have; return `path`."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return save_text(path, text.getvalue())


def save_label_names(image: Path, names: Mapping[int, str]) -> Path:
    """Write the table of a label image, which names its values, beside it; return the table's path."""
    rows = ({"index": value, "name": name} for value, name in sorted(names.items()))
    return save_table(image.with_name(image.name.split(".")[0] + ".tsv"), ("index", "name"), rows)


def _cell(value: object) -> str:
    if value is None:
        return "n/a"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
