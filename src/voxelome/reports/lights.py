"""The summary of a participant: a traffic light for each part of the work in each visit, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from voxelome.reports.model import Check, Failure, SessionSummary, StepSummary, SubjectReport

Light = Literal["green", "done", "amber", "red", "failed", "not run"]
WORDS: dict[Light, str] = {
    "green": "good",
    "done": "done",
    "amber": "look",
    "red": "doubtful",
    "failed": "failed",
    "not run": "not done",
}
"""What each light says; the colour alone says nothing to some readers."""

# In the order in which data flow; a step that is not here has a row of its own name.
PARTS = {
    "dataset": "Data",
    "preprocess": "Images and brain mask",
    "register": "Registration and template",
    "qsm": "Maps of gradient echoes",
    "segment": "Masks given with the data",
    "network": "Segmentation by networks",
    "fusion": "Fused segmentations",
    "radiomics": "Features",
    "robustness": "Robustness of features",
    "midway": "Space of all visits",
    "change": "Change between visits",
}


@dataclass(frozen=True)
class Cell:
    """Light of one part of the work in one visit, the first reason, how many more there are, and where."""

    light: Light
    why: str = ""
    more: int = 0
    anchor: str = ""


@dataclass(frozen=True)
class Row:
    """One part of the work: a cell a visit, None where it does not belong to the visit."""

    part: str
    cells: Sequence[Cell | None]


def traffic_lights(report: SubjectReport) -> list[Row]:
    """Rows of the summary: parts of the work by visits."""
    steps = [_stage(step.step) for session in report.sessions for step in session.steps]
    reported = [_stage(error.step) for error in report.errors]
    known = [part for part in PARTS if part in (*steps, *reported)]
    names = dict.fromkeys([*known, *steps])
    return [
        Row(
            PARTS.get(name, name),
            [_cell(report, session, name, number) for number, session in enumerate(report.sessions, 1)],
        )
        for name in names
    ]


def check_words(check: Check) -> str:
    """Sentence on a measure that is out of its range."""
    unit = "" if check.unit == "ratio" else f" {check.unit}"
    return f"{check.image}: {check.measure} is {check.value:.3g}{unit}, good is {check.green}"


def _cell(report: SubjectReport, session: SessionSummary, name: str, number: int) -> Cell | None:
    steps = [step for step in session.steps if _stage(step.step) == name]
    errors = [
        _reason(error)
        for error in report.errors
        if error.session == session.name and _stage(error.step) == name
    ]
    if not steps and not errors:
        return None
    reasons: dict[Light, list[str]] = {
        "failed": errors or ["its log says why" for step in steps if step.status == "failed"],
        "red": [check_words(check) for check in session.checks if _of(check, name, "red")],
        "amber": [*_doubts(session, steps, name)],
    }
    anchor = f"session-{number}-steps"
    for light, found in reasons.items():
        if found:
            others = sum(map(len, reasons.values())) - 1
            place = f"session-{number}-checks" if light == "red" else anchor
            return Cell(light, found[0].rstrip("."), others, place)
    done = [sentence for step in steps for sentence in step.done]
    skipped = [f"{what}: {why}" for step in steps for what, why in step.skipped]
    if name != "dataset" and skipped and not done:
        return Cell("not run", skipped[0].rstrip("."), len(skipped) - 1, anchor)
    # Good is only what was measured.
    measured = any(check.step == name for check in session.checks)
    return Cell("green" if measured else "done", anchor=anchor)


def _stage(step: str) -> str:
    """Stage of a step, whose name may go on with what it ran on, such as ``network synlesion``."""
    return step.partition(" ")[0]


def _reason(error: Failure) -> str:
    return ": ".join(filter(None, [error.step.partition(" ")[2], error.reason]))


def _of(check: Check, name: str, light: str) -> bool:
    return check.step == name and check.light == light


def _doubts(session: SessionSummary, steps: Sequence[StepSummary], name: str) -> Iterator[str]:
    if name == "dataset":
        yield from (f"{path}: {problem}" for path, problem, _ in session.problems)
    yield from (check_words(check) for check in session.checks if _of(check, name, "amber"))
    yield from (warning for step in steps for warning in step.warnings)
