"""The live display of a run: on a terminal a table that moves, elsewhere plain lines."""

from __future__ import annotations

import time
from collections import Counter
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from voxelome.app.events import Job, RunState

ORDER = (
    "preprocess",
    "register",
    "qsm",
    "segment",
    "network",
    "fusion",
    "change",
    "radiomics",
    "features",
    "fold",
    "model",
    "report_subject",
    "report_group",
)


def duration(seconds: float) -> str:
    """Time in the words of a person.

    Examples
    --------
    >>> duration(3.21), duration(75), duration(7300)
    ('3 s', '1 min 15 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def remaining(seconds: float | None) -> str:
    """Time left in words.

    Examples
    --------
    >>> remaining(75), remaining(None)
    ('about 1 min 15 s left', 'time left not known yet')
    """
    return "time left not known yet" if seconds is None else f"about {duration(seconds)} left"


def open_console() -> Console:
    """Console of the terminal; a log file gets lines wide enough for tables."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=110)


class Display:
    """Show the state of a run; a context manager."""

    def __init__(self, console: Console, cores: int, retries: int = 0) -> None:
        self.console, self.cores, self.retries = console, cores, retries
        self.state = RunState()
        self.begun = time.time()
        self.live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()

    def changed(self, job: Job, reason: str) -> None:
        """Tell of a job that has ended; `reason` says why it failed."""
        ended = len(self.state.of("done")) + len(self.state.of("failed"))
        if job.state == "failed" and job.attempt <= self.retries:
            self.console.print(Text(f"{job.title} is tried again: {reason}"), soft_wrap=True)
        elif job.state == "failed":
            self.console.print(Text(f"FAILED {job.title}: {reason}", style="bold red"), soft_wrap=True)
        elif job.state == "done" and not self.live:
            left = self.state.seconds_left(self.cores, time.time())
            took = duration(job.end - job.start)
            line = f"[{ended}/{self.state.total}] {job.title} done in {took}, {remaining(left)}"
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def refresh(self) -> None:
        """Draw the table again."""
        if self.live:
            self.live.update(self._table(), refresh=True)

    def _table(self) -> Group:
        state, now = self.state, time.time()
        counts = {name: Counter(job.rule for job in state.of(name)) for name in ("done", "running", "failed")}
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("step", "done", "running", "failed", ""):
            table.add_column(column, justify="left" if column in ("step", "") else "right")
        for rule in sorted(
            state.planned, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER)
        ):
            total = state.planned[rule]
            failed = counts["failed"][rule]
            table.add_row(
                rule.replace("_", " "),
                f"{counts['done'][rule]}/{total}",
                str(counts["running"][rule] or ""),
                Text(str(failed or ""), style="bold red"),
                ProgressBar(total=max(total, 1), completed=counts["done"][rule], width=24),
            )
        done, subjects = state.subjects
        head = (
            f"{done} of {subjects} subjects done, " if subjects else ""
        ) + f"{duration(now - self.begun)} so far, {remaining(state.seconds_left(self.cores, now))}"
        running = ", ".join(job.title for job in state.of("running")[:6])
        return Group(Text(head, style="bold"), table, Text(f"now: {running}" if running else "", style="dim"))
