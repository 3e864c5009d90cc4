"""One run at a time; a killed run is told from one at work, and the exact command that unlocks is said."""

import json
import os
import re
import signal
import subprocess
import sys
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


def elsewhere(work: Path) -> None:
    owner = {"host": "node7", "boot": "another", "pid": os.getpid(), "began": "2026-01-02 03:04:05"}
    (work / LOCK).write_text(json.dumps(owner))


def test_of_a_run_on_another_machine_nobody_knows_and_the_exact_command_is_said(tmp_path: Path):
    elsewhere(tmp_path)
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
    elsewhere(tmp_path)
    owner = json.loads((tmp_path / LOCK).read_text())
    (tmp_path / LOCK).write_text(json.dumps({**owner, "host": os.uname().nodename, "pid": 2**22 + 1}))
    step = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)", "--record", "steps/sub-01/qsm.json"],
        cwd=tmp_path,
    )
    shell = subprocess.Popen(["sleep", "600"], cwd=tmp_path)
    try:
        assert leftovers(tmp_path) == [step.pid]
        says = rf"still at work \(processes {step.pid}\); wait for them, or end them: kill {step.pid}"
        with pytest.raises(InputError, match=says), hold(tmp_path, COMMAND):
            pass
    finally:
        for process in (step, shell):
            process.send_signal(signal.SIGKILL)
            process.wait()
    with hold(tmp_path, COMMAND) as lock:
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
