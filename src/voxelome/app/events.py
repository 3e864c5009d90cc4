"""The state of a run, from the events that the Snakemake plugin writes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Jobs that only collect files: they are no step of a subject.
TARGETS = ("all", "participant", "group", "cohort")
# Rules whose jobs work on the group as a whole.
GROUP_RULES = ("group", "cohort", "features", "reliability", "fold", "model", "report_group")


@dataclass
class Job:
    """One job: its rule, what it works on, how far it is, how often it was begun, the end of its log."""

    rule: str
    wildcards: dict[str, str]
    log: str = ""
    reason: str = ""
    state: str = "waiting"
    attempt: int = 1
    start: float = 0.0
    end: float = 0.0
    said: str = ""

    @property
    def unit(self) -> str:
        """Visit, subject or analysis that the job works on."""
        if "subject" in self.wildcards:
            return f"sub-{self.wildcards['subject']}"
        return self.wildcards.get("unit") or self.wildcards.get("analysis") or "group"

    @property
    def title(self) -> str:
        """What to call the job on the screen."""
        telling = ("label", "part", "model", "fusion", "compared")
        label = next((self.wildcards[name] for name in telling if self.wildcards.get(name)), "")
        step = {"report_subject": "report", "report_group": "report"}.get(self.rule, self.rule)
        return f"{self.unit} {step}" + (f" ({label})" if label else "")


@dataclass
class RunState:
    """What is planned, running, done and failed."""

    planned: Counter[str] = field(default_factory=Counter)
    jobs: dict[int, Job] = field(default_factory=dict)
    time: float = 0.0

    def apply(self, event: Mapping[str, Any]) -> Job | None:
        """Take in one event; return the job whose state changed, if any."""
        self.time = float(event["time"])
        kind = event["event"]
        if kind == "run_info":
            counts = {rule: int(n) for rule, n in event["jobs"].items() if rule not in (*TARGETS, "total")}
            self.planned = Counter(counts)
        elif kind == "job_info" and event["rule"] not in TARGETS:
            log = event["log"][0] if event["log"] else ""
            before = self.jobs.get(int(event["id"]))
            attempt = before.attempt + 1 if before else 1
            job = Job(event["rule"], event["wildcards"], log, event["reason"], "running", attempt, self.time)
            self.jobs[int(event["id"])] = job
            return job
        elif kind in ("job_finished", "job_error"):
            found = self.jobs.get(int(event["id"]))
            if found is not None and found.state == "running":
                found.state, found.end = ("done" if kind == "job_finished" else "failed"), self.time
                found.said = event.get("said", "")
                return found
        return None

    def of(self, state: str) -> list[Job]:
        """Jobs in a state."""
        return [job for job in self.jobs.values() if job.state == state]

    @property
    def total(self) -> int:
        """Number of steps of this run."""
        return sum(self.planned.values())

    @property
    def subjects(self) -> tuple[int, int]:
        """Subjects done and to do, counted by their reports."""
        done = sum(job.rule == "report_subject" for job in self.of("done"))
        return done, self.planned["report_subject"]

    def seconds_left(self, cores: int, now: float) -> float | None:
        """Estimate of the time left from the durations seen so far; None before the first step is done."""
        done = self.of("done")
        if not done:
            return None
        mean = sum(job.end - job.start for job in done) / len(done)
        by_rule: dict[str, list[float]] = {}
        for job in done:
            by_rule.setdefault(job.rule, []).append(job.end - job.start)
        work = 0.0
        for rule, count in self.planned.items():
            seen = [job for job in self.jobs.values() if job.rule == rule]
            duration = sum(by_rule[rule]) / len(by_rule[rule]) if rule in by_rule else mean
            running = [job for job in seen if job.state == "running"]
            work += max(count - len(seen), 0) * duration
            work += sum(max(duration - (now - job.start), 0.0) for job in running)
        return work / max(cores, 1)


def follow(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """Events written to `path` since `offset`, and the new offset; a half line waits for its end."""
    if not path.is_file():
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        content = file.read()
    whole = content[: content.rfind(b"\n") + 1]
    return [json.loads(line) for line in whole.splitlines()], offset + len(whole)
