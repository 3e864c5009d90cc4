"""Snakemake logger plugin: what happens to each job, as one JSON object a line.

``voxelome`` reads these lines while Snakemake runs: they feed the live display and the table of failures.
"""

import json
import os
import time
from dataclasses import dataclass, field
from logging import LogRecord
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

# Bytes of a log that hold its last lines.
_TAIL = 4000

__all__ = ["LogHandler", "LogHandlerSettings"]


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """Settings of the plugin."""

    # Snakemake makes an option of each field and takes plain types only.
    events: str = field(
        default="", metadata={"help": "File to which the events are appended", "required": True}
    )


class LogHandler(LogHandlerBase):
    """Append the events of jobs to a file."""

    writes_to_stream = False
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        """Begin without jobs."""
        self._logs: dict[int, str] = {}

    def emit(self, record: LogRecord) -> None:
        """Write one line where the record tells of a job or of the plan."""
        event = getattr(record, "event", None)
        content = _CONTENTS[event](record) if event in _CONTENTS else None
        path = getattr(self.settings, "events", "")
        if content is None or not path:
            return
        if event == LogEvent.JOB_INFO and content["log"]:
            self._logs[content["id"]] = content["log"][0]
        if event == LogEvent.JOB_ERROR:
            content["said"] = _tail(self._logs.get(content["id"], ""))
        line = json.dumps({"event": str(event), "time": time.time(), **content}, default=str)
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def _tail(log: str) -> str:
    """End of a step's log, now: if the step is tried again, its log begins anew."""
    try:
        with Path(log).open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - _TAIL)
            file.seek(start)
            text = file.read().decode("utf-8", errors="replace")
            return text.partition("\n")[2] if start else text
    except OSError:  # there is none
        return ""


def _plan(record: LogRecord) -> dict[str, Any]:
    """Give the number of jobs by rule."""
    return {"jobs": dict(getattr(record, "stats", {}))}


def _job(record: LogRecord) -> dict[str, Any]:
    """Say what a job is."""
    return {
        "id": getattr(record, "jobid", None),
        "rule": getattr(record, "rule_name", ""),
        "wildcards": dict(getattr(record, "wildcards", None) or {}),
        "log": [str(path) for path in getattr(record, "log", None) or []],
        "reason": str(getattr(record, "reason", "")),
    }


def _started(record: LogRecord) -> dict[str, Any]:
    return {"ids": list(getattr(record, "jobs", []))}


def _ended(record: LogRecord) -> dict[str, Any]:
    return {"id": getattr(record, "job_id", getattr(record, "jobid", None))}


_CONTENTS: dict[Any, Any] = {
    LogEvent.RUN_INFO: _plan,
    LogEvent.JOB_INFO: _job,
    LogEvent.JOB_STARTED: _started,
    LogEvent.JOB_FINISHED: _ended,
    LogEvent.JOB_ERROR: _ended,
}
