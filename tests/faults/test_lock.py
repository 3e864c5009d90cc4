"""One run at a time; a killed run is told from one at work, and the exact command that unlocks is said."""

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Study
from tests.faults.runs import beside, kill_group, start, wait_for
from voxelome.app.lock import LOCK, hold, leftovers, sweep, unlock_command
from voxelome.errors import InputError

COMMAND = ["/data/my study", "/data/out", "participant", "--", "--notemp"]
HOLDER = """
import sys, time
from pathlib import Path
from voxelome.app.lock import hold
with hold(Path(sys.argv[1]), []):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("unlock", [False, True])
def test_a_second_run_is_refused_and_the_first_keeps_the_lock(tmp_path: Path, holder, unlock: bool):
    says = rf"is in use by another run that began .* \(process {holder.pid}\); wait for its end"
    for _ in range(2):
        with pytest.raises(InputError, match=says), hold(tmp_path, COMMAND, unlock=unlock):
            pass
    assert json.loads((tmp_path / LOCK).read_text())["pid"] == holder.pid


def test_after_a_run_that_was_killed_the_next_one_goes_on_without_being_told(tmp_path: Path, holder):
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("steps/sub-01/preprocess.json\n")
    holder.kill()
    holder.wait()
    with hold(tmp_path, COMMAND) as lock:
        assert lock.killed is not None
        assert lock.killed.pid == holder.pid
        assert not locks.exists()
    with hold(tmp_path, COMMAND) as lock:
        assert lock.killed is None


def test_an_error_or_an_interrupt_gives_the_lock_back(tmp_path: Path):
    def fail(error: BaseException) -> None:
        with hold(tmp_path, COMMAND):
            raise error

    for error in (ValueError(), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            fail(error)
    with hold(tmp_path, COMMAND) as lock:
        assert lock.killed is None


def note(work: Path, **more: object) -> None:
    """Leave the note of a run of long ago, as if it was killed: by itself, on this machine."""
    owner = {"host": os.uname().nodename, "boot": "another", "pid": 2**22 + 1, "began": "2026-01-02 03:04:05"}
    (work / LOCK).write_text(json.dumps({**owner, **more}))


def test_of_a_run_on_another_machine_nobody_knows_and_the_exact_command_is_said(tmp_path: Path):
    note(tmp_path, host="node7")
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    says = "unlock: voxelome '/data/my study' /data/out participant --unlock -- --notemp"
    with pytest.raises(InputError, match=re.escape(says)), hold(tmp_path, COMMAND):
        pass
    assert locks.exists()
    with hold(tmp_path, COMMAND, unlock=True):
        assert not locks.exists()
    with hold(tmp_path, COMMAND) as lock:
        assert lock.killed is None


def test_the_command_that_unlocks_is_the_same_call_with_one_option_more():
    assert unlock_command(["a", "b", "group"]) == "voxelome a b group --unlock"


def test_a_lock_file_of_nonsense_is_that_of_no_run(tmp_path: Path):
    (tmp_path / LOCK).write_text("{")
    with hold(tmp_path, COMMAND) as lock:
        assert lock.killed is None


def test_steps_that_outlived_their_run_are_named_and_waited_for(tmp_path: Path):
    note(tmp_path)
    script = tmp_path / "bin" / "report_subject.py"
    script.parent.mkdir()
    script.write_text("import time; time.sleep(600)")
    with started(tmp_path, sys.executable, str(script), "--report", "sub-01.html") as pid:
        assert leftovers(tmp_path) == [pid]
        says = rf"still at work \(processes {pid}\); wait for them, or end them: kill {pid}"
        with pytest.raises(InputError, match=says), hold(tmp_path, COMMAND):
            pass
    with hold(tmp_path, COMMAND) as lock:
        assert lock.killed is not None


@contextmanager
def started(folder: Path, *command: str) -> Iterator[int]:
    """Run a command in a folder; give its process."""
    process = subprocess.Popen(command, cwd=folder)
    try:
        wait_for(lambda: Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(command[0].encode()))
        yield process.pid
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("command", [["-m", "snakemake", "--cores", "1"], ["bin/snakemake"]])
def test_a_snakemake_is_known_however_it_was_started(tmp_path: Path, command: list[str]):
    program = tmp_path / ("snakemake.py" if "-m" in command else command[0])
    program.parent.mkdir(exist_ok=True)
    program.write_text("import time; time.sleep(600)")
    with started(tmp_path, sys.executable, *command) as pid:
        assert leftovers(tmp_path) == [pid]


def test_other_programs_in_the_work_folder_are_no_steps(tmp_path: Path):
    for name in (".snakemake/log/x.snakemake.log", "preprocess_session.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        with started(tmp_path, "tail", "-f", name, "--retry", "--follow=name"):
            assert leftovers(tmp_path) == []


def test_of_a_run_whose_jobs_are_in_a_queue_nothing_is_cleared_away_unasked(tmp_path: Path):
    note(tmp_path, executor="slurm")
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    says = (
        r"jobs may still be in the queue \(slurm\): look there; if it is over, unlock: voxelome .* --unlock"
    )
    with pytest.raises(InputError, match=says), hold(tmp_path, COMMAND):
        pass
    assert locks.exists()
    with hold(tmp_path, COMMAND, unlock=True):
        assert not locks.exists()
    with hold(tmp_path, COMMAND, executor="slurm"):
        assert json.loads((tmp_path / LOCK).read_text())["executor"] == "slurm"
    with hold(tmp_path, COMMAND) as lock:
        assert lock.killed is None


@pytest.mark.parametrize("pid", [2**22 + 1, os.getpid()], ids=["gone", "there"])
def test_where_a_file_system_has_no_locks_a_run_that_did_not_end_is_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pid: int
):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with hold(tmp_path, COMMAND) as lock:
        assert lock.killed is None
    note(tmp_path, pid=pid)
    with (
        pytest.raises(InputError, match="no locks that tell; if it is over, unlock: "),
        hold(tmp_path, COMMAND),
    ):
        pass
    with hold(tmp_path, COMMAND, unlock=True) as lock:
        assert lock.killed is not None


def test_only_half_written_files_are_swept(tmp_path: Path):
    (tmp_path / "sub-01").mkdir()
    half, whole = tmp_path / "sub-01" / ".tmp-7-sub-01_T1w.nii.gz", tmp_path / "sub-01" / "sub-01_T1w.nii.gz"
    for path in (half, whole):
        path.write_bytes(b"x")
    assert sweep(tmp_path) == [half]
    assert [path.name for path in (tmp_path / "sub-01").iterdir()] == [whole.name]
    assert sweep(tmp_path / "absent") == []


def test_two_runs_at_once_the_second_says_so_and_the_first_goes_on(finished: Study, tmp_path: Path):
    study = beside(finished, tmp_path / "out")
    process = start(study, "--stages", "preprocess")
    try:
        wait_for(lambda: list((study.work / "logs").glob("*/preprocess.log")))
        before = {path: path.read_bytes() for path in study.work.glob("inventory/*")}
        for more in ((), ("--dry-run",), ("--unlock",)):
            second = study.call("participant", *more)
            assert second.returncode == 3, second.stdout + second.stderr
            (line,) = second.stderr.splitlines()
            assert "is in use by another run that began" in line
            assert f"process {process.pid}" in line
        assert process.poll() is None
        assert {path: path.read_bytes() for path in study.work.glob("inventory/*")} == before
        assert (study.work / ".snakemake" / "locks").is_dir()
    finally:
        kill_group(process)
        wait_for(lambda: not leftovers(study.work), 20)
