"""Open the locked hold-out of an analysis, once, and leave a log of it."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from voxelome.errors import InputError, blame
from voxelome.imageio import replacing, save_json
from voxelome.interfaces.analysis_inputs import read_tables, repeated_of
from voxelome.interfaces.predict import read_model
from voxelome.outcomes import HEADLINES
from voxelome.provenance import model_digest

LOG = "hold-out-openings.tsv"
COLUMNS = ("time", "analysis", "participants", "data", "configuration", "model", "measure", "value", "again")


def open_locked(
    folder: Path, participants: Path, again: str | None, steps: Path | None = None
) -> dict[str, Any]:
    """Judge a model on the participants locked away, write the result and log the opening.

    Parameters
    ----------
    folder : Path
        OUT_DIR/group/<analysis>, with model.skops and model.json.
    participants : Path
        participants.tsv; sessions.tsv files are looked for beside it.
    again : str, optional
        Why these participants are looked at once more; without it a second opening is refused.
    steps : Path, optional
        Folder with the records of the steps, for an analysis with `minimum_reliability`.

    Returns
    -------
    dict
        What hold_out.json holds.

    Raises
    ------
    InputError
        There is no model or no hold-out, or it has been opened before.
    """
    import pandas as pd

    from voxelome.modelling.cohort import locked_away
    from voxelome.modelling.hold_out import digest_of, open_hold_out
    from voxelome.modelling.settings import parse_analysis

    model, about = read_model(folder / "model.skops")
    table = folder.parent / "features.tsv"
    if not table.is_file():
        raise InputError(table, "there is no such file", "run the group level first")
    features = pd.read_csv(table, sep="\t", na_values="n/a", keep_default_na=False)
    tables = read_tables(participants)
    with blame(f"hold-out of {about['Analysis']}"):
        settings = parse_analysis(about["Settings"])
        people, _ = locked_away(features, tables, settings)
    digests = digest_of(people.index)
    log = _read_log(folder.parent / LOG)
    before = [row for row in log if set(row["data"].split()) & set(digests)]
    if before and not again:
        told = ", ".join(f"{row['analysis']} on {row['time']}" for row in before)
        remedy = 'a look counts once; if there must be another, give --again "why": it is logged and reported'
        raise InputError(folder, f"some of these participants were opened before, by {told}", remedy)
    with blame(f"hold-out of {about['Analysis']}"):
        repeated = repeated_of(steps) if settings.minimum_reliability else None
        predictions, metrics = open_hold_out(model, about, features, tables, settings, repeated)
    measure = HEADLINES[settings.kind].key
    row = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "analysis": settings.name,
        "participants": metrics["n"],
        "data": " ".join(digests),
        "configuration": _digest(json.dumps(about["Settings"], sort_keys=True).encode()),
        "model": model_digest(folder),
        "measure": measure,
        "value": metrics[measure],
        "again": again or "",
    }
    content = {**metrics, "Opening": row, "OpenedBefore": len(before)}
    # The log first, what could not be noted was not looked at; but no log of what cannot be written.
    json.dumps(content, allow_nan=False)
    _write_log(folder.parent / LOG, [*log, row])
    with replacing(folder / "hold_out_predictions.tsv") as temporary:
        predictions.to_csv(temporary, sep="\t", index=False, na_rep="n/a")
    save_json(folder / "hold_out.json", content)
    return content


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _read_log(path: Path) -> list[dict[str, Any]]:
    import pandas as pd

    if not path.is_file():
        return []
    rows: list[dict[str, Any]] = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False).to_dict(
        "records"
    )
    return rows


def _write_log(path: Path, rows: list[dict[str, Any]]) -> None:
    import pandas as pd

    with replacing(path) as temporary:
        pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(temporary, sep="\t", index=False)
