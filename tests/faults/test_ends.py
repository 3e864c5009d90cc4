"""Whatever ends voxelome ends its Snakemake: nothing works on unseen, and nothing is left locked."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.faults.runs import wait_for
from voxelome.app import snakemake
from voxelome.app.events import RunState
from voxelome.app.snakemake import RunSettings

# In the place of Snakemake: it notes its process and that of a step, and works for ten minutes.
BUSY = """
import os, signal, subprocess, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, {how})
step = subprocess.Popen(["sleep", "600"])
Path({pids!r}).with_suffix(".part").write_text(f"{{os.getpid()}} {{step.pid}}")
Path({pids!r}).with_suffix(".part").rename({pids!r})
step.wait()
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunSettings:
    code = BUSY.format(pids=str(tmp_path / "pids"), how="signal.default_int_handler")
    monkeypatch.setattr(snakemake, "snakemake_command", lambda *_: [sys.executable, "-c", code])
    names = ("configfile", "work_dir", "events", "log")
    return RunSettings(**{name: tmp_path / name for name in names}, cores=1)


def fail(pids: Path, error: BaseException) -> None:
    if pids.exists():
        raise error


def at_work(pids: Path) -> list[int]:
    found = map(int, pids.read_text().split())
    return [pid for pid in found if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(1), OSError(28, "No space left on device")], ids=repr
)
def test_what_ends_voxelome_ends_snakemake_and_its_steps(
    settings: RunSettings, tmp_path: Path, error: BaseException
):
    pids = tmp_path / "pids"
    with pytest.raises(type(error)):
        snakemake.run(settings, ["all"], RunState(), print, lambda: fail(pids, error))
    assert at_work(pids) == []


def test_a_snakemake_that_does_not_listen_is_ended_by_the_guard(tmp_path: Path):
    pids = tmp_path / "pids"
    code = BUSY.format(pids=str(pids), how="signal.SIG_IGN")
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    wait_for(pids.exists)
    with pytest.raises(KeyboardInterrupt), snakemake._guarding(process):
        raise KeyboardInterrupt
    assert at_work(pids) == []
    process.wait()
