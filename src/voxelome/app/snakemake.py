"""One run of Snakemake: its command line, its process, and its events while it runs."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from voxelome.app import guard
from voxelome.app.deployment import RETRIES
from voxelome.app.events import Job, RunState, follow
from voxelome.images import CHECKED_VARIABLE
from voxelome.provenance import workflow_root

# What makes a job run again; the step's code and its environment enter as parameters (docs/reruns.md).
TRIGGERS = ("mtime", "input", "params")
# A flag that a profile sets cannot be taken back on the command line, but by a profile that comes later.
STOPPING = "config/profiles/stop.yaml"


@dataclass(frozen=True)
class RunSettings:
    """How Snakemake is to run."""

    configfile: Path
    work_dir: Path
    events: Path
    log: Path
    cores: int | None
    mem_mb: int | None = None
    profile: Path | None = None
    keep_going: bool = True
    retries: int = RETRIES
    # Whether somebody has looked at the container images that this run needs.
    images_checked: bool = False
    dry_run: bool = False
    lock: int | None = None
    # Settings of this run alone, put over those of the configfile.
    own: Path | None = None
    # Rules that may make files; all others' files are taken as they are.
    allowed: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()


def snakemake_command(settings: RunSettings, targets: Sequence[str]) -> list[str]:
    """Command line of Snakemake; it can be pasted and run again."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(workflow_root() / "Snakefile")]
    configs = [settings.configfile, *([settings.own] if settings.own else [])]
    command += ["--configfile", *map(str, configs), "--directory", str(settings.work_dir)]
    if settings.allowed:
        command += ["--allowed-rules", *settings.allowed]
    if settings.profile:
        command += ["--profile", str(settings.profile)]
        if not settings.keep_going:
            command += ["--profile", str(workflow_root() / STOPPING)]
    # What failed is tried again, with more memory (rules/common.smk).
    command += ["--retries", str(settings.retries)]
    if settings.cores:
        command += ["--cores", str(settings.cores)]
    command += ["--scheduler", "greedy", "--rerun-incomplete", "--rerun-triggers", *TRIGGERS]
    if settings.keep_going:
        command += ["--keep-going"]
    if settings.mem_mb:
        command += ["--resources", f"mem_mb={settings.mem_mb}"]
    if settings.dry_run:
        command += ["--dry-run"]
    command += ["--logger", "voxelome", "--logger-voxelome-events", str(settings.events)]
    return [*command, *settings.extra, "--", *targets] if targets else [*command, *settings.extra]


def run(
    settings: RunSettings,
    targets: Sequence[str],
    state: RunState,
    changed: Callable[[Job], None],
    refresh: Callable[[], None],
) -> int:
    """Run Snakemake to its end; return its exit code.

    Its own lines go to `settings.log`. Whatever ends this one early, such as an interrupt or a pipe that
    nobody reads, interrupts Snakemake, so that running steps end and the lock is removed.
    """
    command = snakemake_command(settings, targets)
    settings.log.parent.mkdir(parents=True, exist_ok=True)
    with settings.log.open("a", encoding="utf-8") as log:
        log.write(f"$ {shlex.join(command)}\n")
        log.flush()
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        if settings.images_checked:
            environment[CHECKED_VARIABLE] = "1"
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            pass_fds=() if settings.lock is None else (settings.lock,),
        )
        with _guarding(process):
            try:
                _watch(process, settings.events, state, changed, refresh)
            except BaseException:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGINT)
                process.wait()
                raise
    return process.returncode


@contextmanager
def _guarding(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a process and its group if this one is killed, or leaves while it runs."""
    watch = subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__, str(process.pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        # A guard that somebody has killed guards nothing, and that is all.
        with suppress(BrokenPipeError):
            watch.communicate(b"" if process.poll() is None else b"done\n")


def _watch(
    process: subprocess.Popen[bytes],
    events: Path,
    state: RunState,
    changed: Callable[[Job], None],
    refresh: Callable[[], None],
) -> None:
    """Take in events until the process has ended and the file is read to its end."""
    offset = 0
    ended = False
    while not ended:
        ended = process.poll() is not None
        found, offset = follow(events, offset)
        for event in found:
            job = state.apply(event)
            if job is not None:
                changed(job)
        refresh()
        if not ended:
            time.sleep(0.2)


def tail(log: Path, lines: int = 12) -> str:
    """Last lines of a log."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
