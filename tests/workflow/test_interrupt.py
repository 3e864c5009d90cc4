"""A run that is interrupted ends its steps, leaves no lock, and goes on from there."""

import os
import shlex
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.conftest import ROOT, Study

# Whoever starts the tests in the background has set SIGINT to be ignored, and children inherit that.
MAIN = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from voxelome.cli import main; sys.exit(main())"
)


def start(study: Study) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", MAIN, str(study.bids), str(study.out), "participant"]
    return subprocess.Popen(
        [*command, "--nprocs", "2", "--skip-bids-validation"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_a_step(study: Study) -> None:
    deadline = time.monotonic() + 60
    while not list((study.work / "logs").glob("*/preprocess.log")):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def processes_of(study: Study) -> list[psutil.Process]:
    """Processes of this run: Snakemake, shells and steps."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(study.out) in line or ("preprocess_session" in line and str(study.bids) in line):
            found.append(process)
    return found


@pytest.fixture
def fresh(finished: Study, tmp_path) -> Study:
    study = Study(finished.folder)
    study.out = tmp_path / "out"
    study.work = study.out / ".voxelome"
    return study


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_step_and_no_lock(fresh: Study, kind: signal.Signals):
    process = start(fresh)
    wait_for_a_step(fresh)
    process.send_signal(kind)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "the same command goes on from here" in output
    assert processes_of(fresh) == []
    assert (fresh.out / "dataset_description.json").is_file()
    assert "would run sub-01 preprocess" in fresh.call("participant", "--dry-run").stdout


def test_a_snakemake_of_the_users_own_that_was_killed_is_named_with_the_command_that_unlocks(fresh: Study):
    assert fresh.call("participant", "--dry-run").returncode == 0
    locks = fresh.work / ".snakemake" / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    (locks / "0.output.lock").write_text("steps/sub-01/preprocess.json\n")
    done = fresh.call("participant")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "if there is none, unlock: voxelome " in done.stderr
    unlock = shlex.split(done.stderr.rpartition("unlock: voxelome ")[2])
    assert unlock[-1] == "--unlock"
    assert fresh.call("participant", *unlock[3:]).returncode == 0
    assert not locks.exists()
