"""The state of a run follows the events that the Snakemake plugin writes."""

import json
import logging
from pathlib import Path

import pytest
from rich.console import Console
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_voxelome import LogHandler, LogHandlerSettings
from voxelome.app.events import RunState, follow
from voxelome.app.failures import SILENT, reason_of
from voxelome.app.progress import Display, duration, remaining

PLAN = {
    "event": "run_info",
    "time": 0.0,
    "jobs": {"preprocess": 2, "report_subject": 2, "cohort": 1, "total": 5},
}


def job(identity, rule="preprocess", time=0.0, **wildcards):
    return {
        "event": "job_info",
        "time": time,
        "id": identity,
        "rule": rule,
        "wildcards": wildcards,
        "log": ["x.log"],
        "reason": "",
    }


def ended(identity, time, kind="job_finished"):
    return {"event": kind, "time": time, "id": identity}


def test_targets_and_the_total_are_not_counted_as_steps():
    state = RunState()
    state.apply(PLAN)
    assert state.total == 4
    assert state.subjects == (0, 2)


def test_a_failed_job_is_counted_once_however_often_it_is_reported():
    state = RunState()
    for event in (PLAN, job(1, unit="sub-01"), ended(1, 2.0, "job_error"), ended(1, 2.5, "job_error")):
        state.apply(event)
    assert [found.title for found in state.of("failed")] == ["sub-01 preprocess"]


def test_the_time_left_is_what_the_steps_so_far_took_spread_over_the_cores():
    state = RunState()
    for event in (PLAN, job(1, unit="sub-01"), ended(1, 10.0)):
        state.apply(event)
    # one more preprocess and two reports are to come; all that is known is 10 s a step
    assert state.seconds_left(cores=2, now=10.0) == pytest.approx(15.0)


def test_a_half_written_line_waits_for_its_end(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    path.write_text(json.dumps(PLAN) + '\n{"event": "job')
    events, offset = follow(path, 0)
    assert len(events) == 1
    with path.open("a") as file:
        file.write('_finished", "time": 1, "id": 1}\n')
    assert [event["event"] for event in follow(path, offset)[0]] == ["job_finished"]


def test_the_plugin_writes_what_the_state_reads(tmp_path: Path):
    handler = LogHandler(None, LogHandlerSettings(events=str(tmp_path / "events.jsonl")))
    records = (
        {"event": LogEvent.RUN_INFO, "stats": {"preprocess": 1, "total": 1}},
        {
            "event": LogEvent.JOB_INFO,
            "jobid": 7,
            "rule_name": "preprocess",
            "wildcards": {"unit": "sub-01"},
            "log": ["logs/a.log"],
            "reason": "missing",
        },
        {"event": LogEvent.JOB_ERROR, "jobid": 7},
    )
    for extra in records:
        record = logging.makeLogRecord(extra)
        handler.emit(record)
    state = RunState()
    for event in follow(tmp_path / "events.jsonl", 0)[0]:
        state.apply(event)
    assert [(found.unit, found.log) for found in state.of("failed")] == [("sub-01", "logs/a.log")]


def test_without_a_terminal_the_display_is_plain_lines(capsys):
    with Display(Console(force_terminal=False), cores=1) as display:
        for event in (PLAN, job(1, unit="sub-01"), ended(1, 65.0)):
            found = display.state.apply(event)
            if found:
                display.changed(found, "")
        display.refresh()
    assert capsys.readouterr().out.startswith("[1/4] sub-01 preprocess done in 1 min 5 s, about ")


def test_durations_read_like_speech():
    assert [duration(s) for s in (3.2, 75, 7300)] == ["3 s", "1 min 15 s", "2 h 1 min"]
    assert [remaining(s) for s in (None, 75)] == ["time left not known yet", "about 1 min 15 s left"]


def test_a_job_that_is_tried_again_and_done_has_not_failed():
    state = RunState()
    events = (PLAN, job(1, unit="sub-01"), ended(1, 2.0, "job_error"), job(1, unit="sub-01"), ended(1, 5.0))
    for event in events:
        state.apply(event)
    (done,) = state.of("done")
    assert (state.of("failed"), done.attempt) == ([], 2)


def test_what_a_job_said_when_it_failed_is_kept_though_the_next_try_begins_its_log_anew(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    handler = LogHandler(None, LogHandlerSettings(events=str(tmp_path / "events.jsonl")))

    def emit(kind, **about):
        record = logging.LogRecord("snakemake", logging.INFO, "", 0, "", (), None)
        vars(record).update(event=kind, **about)
        handler.emit(record)

    command = "$ " + "x" * 5000 + "\n"
    for identity, text in enumerate((command + "voxelome: error: a.nii: is empty\n", command, ""), 1):
        emit(
            LogEvent.JOB_INFO, jobid=identity, rule_name="preprocess", wildcards={}, log=["a.log"], reason=""
        )
        (tmp_path / "a.log").write_text(text)
        emit(LogEvent.JOB_ERROR, jobid=identity)
        (tmp_path / "a.log").write_text("$ the next try\n")
    emit(LogEvent.JOB_INFO, jobid=9, rule_name="preprocess", wildcards={}, log=["none.log"], reason="")
    emit(LogEvent.JOB_ERROR, jobid=9)
    state = RunState()
    for event in follow(tmp_path / "events.jsonl", 0)[0]:
        state.apply(event)
    reasons = [reason_of(found.said, tmp_path) for found in state.of("failed")]
    assert reasons == ["a.nii: is empty", SILENT, SILENT, SILENT]


@pytest.mark.parametrize(
    ("attempt", "says"), [(1, "is tried again: why"), (2, "FAILED sub-01 preprocess: why")]
)
def test_only_the_last_try_is_shown_as_a_failure(capsys, attempt, says):
    display = Display(Console(width=200), 1, retries=1)
    for event in (PLAN, *[job(1, unit="sub-01"), ended(1, 2.0, "job_error")] * attempt):
        changed = display.state.apply(event)
    display.changed(changed, "why")
    assert says in capsys.readouterr().out
