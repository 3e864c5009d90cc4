"""Results in plain words: one-sentence states, and what an AUC does and does not say."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np

from voxelome.reports.model import (
    AnalysisSummary,
    GroupReport,
    SessionSummary,
    Status,
    StepSummary,
    SubjectReport,
)

CHANCE = 0.5
SMALL_SAMPLE = 100
"""Below it the error of cross-validation is about 10 % and more (Varoquaux 2018, NeuroImage 180:68-77)."""

_GROUPED, _HUGE, _MINUTE = 1000, 1e15, 60


@dataclass(frozen=True)
class Notice:
    """One thing to look at."""

    kind: Literal["failed", "unusable file", "warning"]
    where: str
    text: str
    remedy: str = ""
    log: str = ""


def plural(count: int, one: str, many: str = "") -> str:
    """Return number and noun, such as ``2 warnings``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def subject_notices(report: SubjectReport) -> list[Notice]:
    """List what to look at in one participant: failures, then unusable files, then warnings."""
    failures = [
        Notice("failed", _where(error.session, error.step), error.reason, log=error.log)
        for error in report.errors
    ]
    reported = Counter((error.session, error.step) for error in report.errors)
    for session in report.sessions:
        for step in session.steps:
            if step.status == "failed":
                reported[session.name, step.step] -= 1
                if reported[session.name, step.step] < 0:
                    where = _where(session.name, step_name(session, step))
                    failures.append(Notice("failed", where, "The step failed; its log says why."))
    return [*failures, *chain.from_iterable(_session_notices(session) for session in report.sessions)]


def step_name(session: SessionSummary, step: StepSummary) -> str:
    """Name a step of a visit, with what it ran on where the visit has several of the kind."""
    several = sum(other.step == step.step for other in session.steps) > 1
    return f"{step.step} ({step.unit})" if several else step.step


def _session_notices(session: SessionSummary) -> list[Notice]:
    problems = [
        Notice("unusable file", path, f"{problem.rstrip('.')}.", remedy.rstrip("."))
        for path, problem, remedy in session.problems
    ]
    warnings = [
        Notice("warning", _where(session.name, step_name(session, step)), warning)
        for step in session.steps
        for warning in step.warnings
    ]
    return [*problems, *warnings]


def _where(*parts: str) -> str:
    return " \N{MIDDLE DOT} ".join(part for part in parts if part)


def subject_status(report: SubjectReport) -> tuple[Status, str]:
    """State of one participant, and a sentence that says it."""
    notices = subject_notices(report)
    failed = sum(notice.kind == "failed" for notice in notices)
    others = len(notices) - failed
    if not any(session.steps for session in report.sessions) and not notices:
        return "not run", "Nothing was run for this participant."
    if failed:
        more = f" {plural(others, 'other thing')} to look at." if others else ""
        return "failed", f"{plural(failed, 'step')} failed; all else that the data allow was done.{more}"
    checks = [check for session in report.sessions for check in session.checks]
    if red := sum(check.light == "red" for check in checks):
        return "warning", f"Do not use before somebody has looked: {plural(red, 'measure')} far out of range."
    if not others and (amber := sum(check.light == "amber" for check in checks)):
        return "warning", f"Everything that the data allow was done; {plural(amber, 'measure')} out of range."
    if others:
        return "warning", f"Everything that the data allow was done; {plural(others, 'thing')} to look at."
    return "done", "Everything that the data allow was done; nothing calls for attention."


def group_status(report: GroupReport) -> tuple[Status, str]:
    """State of the group, and a sentence that says it."""
    counts = {status: sum(row.status == status for row in report.rows) for status in _ORDER}
    people = plural(report.participants, "participant")
    parts = [f"{counts[status]:,} {words}" for status, words in _GROUP_WORDS if counts[status]]
    failures = plural(len(report.failures), "step") + " failed" if report.failures else ""
    left = plural(len(report.left_out), "visit") + " left out" if report.left_out else ""
    worst: Status = next((status for status in _ORDER if counts[status]), "done")
    if report.failures:
        worst = "failed"
    sentence = ": ".join(filter(None, [people, ", ".join(parts)]))
    return worst, "; ".join(filter(None, [sentence, failures, left])) + "."


_ORDER: tuple[Status, ...] = ("failed", "not run", "warning", "done")
_GROUP_WORDS: tuple[tuple[Status, str], ...] = (
    ("done", "done"),
    ("warning", "done with warnings"),
    ("failed", "with failures"),
    ("not run", "not run"),
)


def status_rank(status: Status) -> int:
    """Place of a state in a list that shows the worst first."""
    return _ORDER.index(status)


def analysis_sentence(analysis: AnalysisSummary) -> str:
    """Say the main result of an analysis in one sentence."""
    result = f"{analysis.outcome}: "
    if analysis.auc is not None:
        result += f"AUC {analysis.auc:.2f}"
        if analysis.low is not None and analysis.high is not None:
            result += f" (95 % interval {analysis.low:.2f} to {analysis.high:.2f})"
        result += ", "
    result += plural(analysis.n, "participant")
    if analysis.n_positive is not None:
        kind = f"with {analysis.positive}" if analysis.positive else "positive"
        result += f", {analysis.n_positive} {kind}"
    return result + (f"; validated by {analysis.validation}." if analysis.validation else ".")


def verdict(name: str, low: float | None, high: float | None, chance: float) -> tuple[Status, str]:
    """Say what the interval of a measure means, and whether that is good news.

    Parameters
    ----------
    name : str
        Of the measure.
    low, high : float, optional
        Ends of its interval.
    chance : float
        What chance reaches.
    """
    if low is None or high is None or not np.isfinite([low, high]).all():
        return "warning", f"The {name} has no interval, so how far chance could explain it is not known."
    if low <= chance <= high:
        return "warning", f"Not distinguishable from chance: the interval includes {chance:g}."
    if high < chance:
        told = f"Worse than chance: the interval lies below {chance:g}."
        return "warning", f"{told} Check how the outcome is coded."
    return "done", f"Better than chance: the interval lies above {chance:g}."


def small_sample(count: int, smaller: int | None = None) -> str:
    """Caution that a small sample calls for, empty for a large one; `smaller` counts the smaller class."""
    if count >= SMALL_SAMPLE:
        return ""
    told = "" if smaller is None else f", {smaller} of them in the smaller group"
    return (
        f"Small sample ({plural(count, 'participant')}{told}): another sample may give quite another "
        "value and other features. Confirm the result on independent data before it is used "
        "(Varoquaux 2018, NeuroImage 180:68-77)."
    )


def analysis_verdict(analysis: AnalysisSummary) -> tuple[Status, str]:
    """Say what the interval of an analysis' AUC means; nothing where it has another measure."""
    if analysis.auc is None:
        return "done", ""
    return verdict("AUC", analysis.low, analysis.high, CHANCE)


def analysis_caution(analysis: AnalysisSummary) -> str:
    """Caution that a small sample calls for, empty for a large one."""
    positive = analysis.n_positive
    return small_sample(analysis.n, None if positive is None else min(positive, analysis.n - positive))


def show_value(value: Any) -> str:
    """Value as text: four significant digits, ``n/a`` where there is none."""
    if value is None:
        return "n/a"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{int(value):,}"
    if isinstance(value, float | np.floating):
        return _show_float(float(value))
    if isinstance(value, list | tuple):
        return ", ".join(show_value(item) for item in value)
    return str(value)


def _show_float(value: float) -> str:
    if not np.isfinite(value):
        return "n/a"
    if value.is_integer() or abs(value) >= _GROUPED:
        return f"{value:,.0f}" if abs(value) < _HUGE else f"{value:.3e}"
    return f"{value:.4g}"


def show_seconds(seconds: float | None) -> str:
    """Time as text, such as ``4.2 s`` or ``3 min 05 s``."""
    if seconds is None:
        return ""
    if round(seconds, 1) < _MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), _MINUTE)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
