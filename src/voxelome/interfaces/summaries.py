"""From the records of steps to what the reports show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import voxelome
from voxelome.bids.names import unit_entities
from voxelome.quality import MEASURES, interval
from voxelome.reports.model import (
    Check,
    Failure,
    Problem,
    SessionSummary,
    Status,
    StepSummary,
    SubjectRow,
)
from voxelome.step import StepRecord

BRAIN_VOLUME = "brain volume (ml)"
TOGETHER = "All visits"
Reason = str | Mapping[str, str]
"""Why a visit is left out of the group: somebody's words, or ``step`` and ``reason`` of one that failed."""


def visit_name(unit: str) -> str:
    """Name of a unit's visit, such as ``ses-1``; empty where the subject has no sessions."""
    session = unit_entities(unit).get("session")
    return f"ses-{session}" if session else ""


def summarise_visit(
    unit: str, plan: dict[str, Any], records: list[StepRecord], failures: Iterable[dict[str, str]]
) -> SessionSummary:
    """Summary of one visit for its subject's report."""
    from voxelome.interfaces.pictures import figures_of

    by_step: dict[str, list[StepRecord]] = {}
    for record in records:
        by_step.setdefault(record.step, []).append(record)
    steps = [summarise_step(record) for record in records]
    steps += [StepSummary(row["step"], unit, "failed") for row in failures if row["unit"] == unit]
    skipped = [(item["what"], item["why"]) for item in plan["skipped"]]
    found = [
        f"Images: {', '.join(plan['images']) or 'none'}.",
        f"Masks: {', '.join(plan['masks']) or 'none'}.",
    ]
    steps.insert(0, StepSummary("dataset", unit, done=found, skipped=skipped))
    regions = [
        (name.removesuffix(" (ml)"), float(value))
        for step in ("segment", "network", "fusion")
        for record in by_step.get(step, [])
        for name, value in record.quality.items()
        if name.endswith("(ml)")
    ]
    regions += [
        ("brain", float(r.quality[BRAIN_VOLUME]))
        for r in by_step.get("preprocess", [])
        if BRAIN_VOLUME in r.quality
    ]
    problems = [*plan["problems"], *(item for record in records for item in record.problems)]
    return SessionSummary(
        name=visit_name(unit),
        steps=steps,
        figures=figures_of(by_step),
        checks=[summarise_check(row, record.step) for record in records for row in record.checks],
        regions=regions,
        problems=[Problem(item["path"], item["problem"], item["remedy"]) for item in problems],
    )


def summarise_check(row: dict[str, Any], step: str) -> Check:
    """Measure with its traffic light, from a step's record."""
    measure = MEASURES[row["measure"]]
    return Check(
        row["image"],
        row["measure"],
        row["value"],
        measure.unit,
        row["light"],
        interval(measure.green),
        measure.meaning,
        step,
    )


def summarise_together(records: list[StepRecord], failures: Iterable[dict[str, str]]) -> list[SessionSummary]:
    """Summary of what was done with all visits of a subject together, or failed; none of nothing."""
    from voxelome.interfaces.pictures import midway_figures
    from voxelome.interfaces.segmentation_pictures import change_figures

    steps = [summarise_step(record) for record in records]
    steps += [StepSummary(row["step"], row["unit"], "failed") for row in failures]
    if not steps:
        return []
    midway = [record for record in records if record.step == "midway"]
    changes = [record for record in records if record.step == "change" and midway]
    figures = [figure for record in midway for figure in midway_figures(record)]
    figures += [figure for record in changes for figure in change_figures(record, midway[0])]
    return [
        SessionSummary(
            name=TOGETHER,
            steps=steps,
            figures=figures,
            checks=[summarise_check(row, record.step) for record in midway for row in record.checks],
        )
    ]


def summarise_step(record: StepRecord) -> StepSummary:
    """Readable part of a step's record."""
    status: Status = "warning" if record.warnings else "done"
    return StepSummary(
        record.step,
        record.unit,
        status,
        done=record.done,
        warnings=record.warnings,
        skipped=[(item["what"], item["why"]) for item in record.skipped],
        quality=list(record.quality.items()),
        parameters=record.parameters,
        seconds=record.seconds,
    )


def software_of(records: Iterable[StepRecord]) -> dict[str, str]:
    """Versions of the programs that steps ran with, and of voxelome; several where they differ."""
    found: dict[str, set[str]] = {"voxelome": {voxelome.__version__}}
    for record in records:
        for name, version in record.software.items():
            found.setdefault(name, set()).add(version)
    return {name: ", ".join(sorted(versions)) for name, versions in found.items()}


def left_out_row(unit: str, why: Reason) -> Failure:
    """Row of a visit that the group level left out."""
    step, reason = ("", why) if isinstance(why, str) else (why["step"], why["reason"])
    return Failure(f"sub-{unit_entities(unit)['subject']}", visit_name(unit), step, reason)


def subject_rows(visits: Mapping[str, list[StepRecord]], left_out: Mapping[str, Reason]) -> list[SubjectRow]:
    """One row a subject for the overview."""
    subjects: dict[str, list[str]] = {}
    for unit in dict.fromkeys([*visits, *left_out]):
        subjects.setdefault(unit_entities(unit)["subject"], []).append(unit)
    rows = []
    for subject, units in sorted(subjects.items()):
        records = [record for unit in units for record in visits.get(unit, [])]
        warnings = sum(len(record.warnings) for record in records)
        lights = Counter(row["light"] for record in records for row in record.checks)
        gone = [left_out_row(unit, left_out[unit]) for unit in units if unit in left_out]
        failed = sum(bool(row.step) for row in gone)
        # With a visit less the participant is still in the tables.
        left = gone[0].reason if len(gone) == len(units) and not failed else ""
        volumes = [record.quality[BRAIN_VOLUME] for record in records if BRAIN_VOLUME in record.quality]
        status: Status = "warning" if warnings or lights["red"] or lights["amber"] else "done"
        if failed or left:
            status = "failed" if failed else "not run"
        rows.append(
            SubjectRow(
                f"sub-{subject}",
                status,
                len(units),
                f"sub-{subject}.html",
                warnings,
                failed,
                sum(volumes) / len(volumes) if volumes else None,
                lights["red"],
                lights["amber"],
                left,
            )
        )
    return rows
