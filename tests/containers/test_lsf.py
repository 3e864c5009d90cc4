"""The profile of LSF through Snakemake's plugin, against a stand-in for LSF's commands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Study
from tests.containers import machine
from tests.containers.conftest import ONE_THREAD, check_that_the_failure_is_named_alone, results_of_the_other

OPTIONS = ("--seconds-between-status-checks", "2", "--latency-wait", "5", "--retries", "1")


@pytest.fixture(scope="module")
def queued(cohort: Study, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    """The cohort through the stand-in, whose folder comes with it."""
    if not os.environ.get("VOXELOME_TEST_LSF"):
        pytest.skip("the stand-in for LSF takes minutes: make test-lsf")
    try:
        python = machine.python_with("lsf")
    except machine.CannotBuildError as reason:
        pytest.skip(str(reason))
    folder = tmp_path_factory.mktemp("lsf")
    environment = {**os.environ, "LSF_STAND_IN": str(folder), "PYTHONPATH": str(ROOT / "src")}
    make = "from tests.containers.stand_in_lsf import prepare; prepare()"
    subprocess.run([sys.executable, "-c", make], cwd=ROOT, env=environment, check=True)
    environment["PATH"] = f"{folder / 'bin'}:{os.environ['PATH']}"
    command = [str(python), "-m", "voxelome.cli", str(cohort.bids), str(cohort.out), "participant"]
    command += ["--skip-bids-validation", "--derivatives", f"masks={cohort.bids / 'derivatives' / 'masks'}"]
    command += ["--profile", "lsf", *ONE_THREAD, "--", *OPTIONS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=1500)
    assert done.returncode == 1, done.stdout + done.stderr
    return cohort, folder


def test_a_participant_through_the_plugin_has_the_results_of_a_local_run(queued, locally: Study):
    assert results_of_the_other(queued[0]) == results_of_the_other(locally)


def test_every_job_names_its_queue_its_time_and_its_memory(queued):
    options = [path.read_text() for path in (queued[1] / "jobs").glob("*/options")]
    assert options
    assert all("-q normal -W " in text and "rusage[mem=" in text and "hosts=1" in text for text in options)


def test_names_of_files_leave_room_for_long_labels(queued):
    """A group's would hold the labels of all its jobs, and 255 letters are what a name may have."""
    logs = (queued[0].work / ".snakemake" / "lsf_logs").rglob("*")
    assert max(len(path.name) for path in logs) < 85


def test_the_job_that_failed_is_named_alone(queued):
    check_that_the_failure_is_named_alone(queued[0])
