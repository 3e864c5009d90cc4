"""What the steps of an analysis read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from nipype.interfaces.base import Directory, File, isdefined, traits

from voxelome.errors import InputError
from voxelome.imageio import load_json
from voxelome.interfaces.base import StepInputs
from voxelome.step import StepRecord


class AnalysisInputs(StepInputs):
    """Inputs of the steps of an analysis."""

    features = File(mandatory=True, desc="record of the feature table, one row a participant and visit")
    participants = File(
        mandatory=True, desc="participants.tsv of the dataset; sessions.tsv files are looked for beside it"
    )
    analysis = traits.Str(mandatory=True, desc="the analysis, as JSON (see config/schemas/analysis.yaml)")
    cohort = File(exists=True, desc="text file with the visits of the group, for minimum_reliability")
    steps_dir = Directory(desc="folder with the records, <visit>/robustness.json, for minimum_reliability")


class Planned(NamedTuple):
    """An analysis with its tables, and the settings and programs that its features were made with."""

    plan: Any
    tables: Any
    made_with: dict[str, Any]
    software: dict[str, Any]


def plan_of(spec: Any) -> Planned:
    """Return the analysis that the inputs of a step ask for.

    Raises
    ------
    DataError
        The analysis, or a table, is wrong.
    """
    import pandas as pd

    from voxelome.modelling.plan import plan_analysis
    from voxelome.modelling.settings import parse_analysis
    from voxelome.modelling.suspicions import check_not_taught

    table = StepRecord.load(spec.features).path("features")
    assert table is not None  # the step before writes it or fails
    features = pd.read_csv(table, sep="\t", na_values="n/a", keep_default_na=False)
    tables = read_tables(Path(spec.participants))
    settings = parse_analysis(json.loads(spec.analysis))
    repeated = _repeated(spec) if settings.minimum_reliability else None
    plan = plan_analysis(features, tables, settings, repeated)
    about = load_json(table.with_suffix(".json"))
    check_not_taught([*plan.data.participants, *plan.data.held_out], about.get("ScaleTaughtBy", []))
    return Planned(plan, tables, about.get("Settings", {}), about.get("Software", {}))


def read_tables(participants: Path) -> Any:
    """Return participants.tsv, and all sub-*/sub-*_sessions.tsv beside it as one table."""
    from voxelome.modelling.people import Tables

    people = _read(participants, "participant_id", "an analysis takes its outcome from it")
    found = []
    for path in sorted(participants.parent.glob("sub-*/sub-*_sessions.tsv")):
        table = _read(path, "session_id", "")
        table["participant_id"] = path.parent.name
        found.append(table)
    return Tables(people, _together(found))


def _together(tables: list[Any]) -> Any:
    import pandas as pd

    return pd.concat(tables, ignore_index=True) if tables else None


def _read(path: Path, key: str, use: str) -> Any:
    """A table of strings and numbers, with the first column that BIDS asks for."""
    import pandas as pd

    if not path.is_file():
        raise InputError(path, "there is no such file", use)
    table = pd.read_csv(path, sep="\t", na_values="n/a", keep_default_na=False)
    if key not in table:
        raise InputError(path, f"has no column {key}", "BIDS asks for it as the first column")
    return table


def _repeated(spec: Any) -> Any:
    """Return the features of the visits that were measured again; None where there are none."""
    if not isdefined(spec.cohort) or not isdefined(spec.steps_dir):
        return None
    return repeated_of(Path(spec.steps_dir), Path(spec.cohort).read_text(encoding="utf-8").split())


def repeated_of(steps: Path | None, units: list[str] | None = None) -> Any:
    """Return the features that were measured again, of some visits or of those of the group; else None."""
    from voxelome.interfaces.reliability import perturbed_of
    from voxelome.modelling.cohort import Repeated

    if steps is None:
        return None
    if units is None:
        units = (steps / "group" / "cohort.txt").read_text(encoding="utf-8").split()
    found = perturbed_of(units, steps)
    if found is None:
        return None
    units, names, values = found
    # Participant and session, as the table of features names them.
    visits = [(unit.partition("_")[0], unit.partition("_")[2]) for unit in units]
    return Repeated(names, visits, values.astype("float32"))
