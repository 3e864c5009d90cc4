"""A real Grid Engine of one node: a subject goes there as one job, and one that is killed is tried again."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import ROOT, Study
from tests.containers import machine
from tests.containers.conftest import ONE_THREAD, check_that_the_failure_is_named_alone, results_of_the_other

OPTIONS = ("--seconds-between-status-checks", "2", "--latency-wait", "5", "--retries", "1")
ENVIRONMENT = {"SGE_ROOT": "/var/lib/gridengine", "SGE_CELL": "default"}


@pytest.fixture(scope="module")
def grid_engine() -> Iterator[Path]:
    """Python with the plugin, while Grid Engine runs."""
    if not os.environ.get("VOXELOME_TEST_GRID_ENGINE"):
        pytest.skip("starting Grid Engine changes the machine: make test-grid-engine")
    try:
        python = machine.python_with("grid-engine")
        pids = machine.start_grid_engine()
    except machine.CannotBuildError as reason:
        pytest.skip(str(reason))
    yield python
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def jobs() -> list[str]:
    """Numbers of the jobs that wait or run."""
    done = subprocess.run(
        ["qstat"], env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=True
    )
    return [line.split()[0] for line in done.stdout.splitlines()[2:]]


@pytest.fixture(scope="module")
def queued(cohort: Study, grid_engine: Path) -> tuple[Study, str]:
    """The cohort through Grid Engine, with what the run said; the first job that comes is killed."""
    command = [str(grid_engine), "-m", "voxelome.cli", str(cohort.bids), str(cohort.out), "participant"]
    command += ["--skip-bids-validation", "--derivatives", f"masks={cohort.bids / 'derivatives' / 'masks'}"]
    command += ["--profile", "sge", *ONE_THREAD, "--", *OPTIONS]
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        while not (there := jobs()) and run.poll() is None:
            time.sleep(0.2)
        subprocess.run(["qdel", *there[:1]], env=environment, check=True, capture_output=True)
        said, _ = run.communicate(timeout=900)
    assert run.returncode == 1, said
    return cohort, said


def test_a_participant_through_grid_engine_has_the_results_of_a_local_run(queued, locally: Study):
    study, said = queued
    assert results_of_the_other(study) == results_of_the_other(locally), said


def test_a_job_that_was_killed_is_tried_again(queued):
    study, _ = queued
    log = next((study.out / "logs").glob("*/snakemake.log")).read_text()
    assert log.count("Submitted group job") >= 3
    assert (study.out / "sub-01.html").is_file()


def test_the_job_that_failed_is_named_alone(queued):
    check_that_the_failure_is_named_alone(queued[0])


def test_no_job_stays_in_the_queue(queued):
    assert jobs() == []
