"""A real Slurm of one node: subjects go there, each step in its image; what fails costs nothing else."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, Study
from tests.containers import machine
from tests.containers.conftest import (
    BROKEN,
    ONE_THREAD,
    check_that_the_failure_is_named_alone,
    results_of_the_other,
)

# Of a Slurm without accounting, asked often because nobody else does.
OPTIONS = (
    *(
        "--slurm-no-account",
        "--slurm-status-command",
        "squeue",
        "--slurm-init-seconds-before-status-checks",
        "2",
    ),
    *("--seconds-between-status-checks", "2", "--latency-wait", "5", "--retries", "0"),
)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Python with the plugin of Slurm, while Slurm runs."""
    if not os.environ.get("VOXELOME_TEST_SLURM"):
        pytest.skip("starting Slurm changes the machine: make test-slurm")
    try:
        python = machine.python_with("slurm")
        pids = machine.start_slurm(tmp_path_factory.mktemp("slurm"))
    except machine.CannotBuildError as reason:
        pytest.skip(str(reason))
    yield python
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    # With it there and Slurm gone, every start of Snakemake would wait.
    Path("/etc/slurm/slurm.conf").unlink()


@pytest.fixture(scope="module")
def queued(cohort: Study, images: Path, slurm: Path) -> tuple[Study, subprocess.CompletedProcess[str]]:
    """The cohort through Slurm with images."""
    command = [str(slurm), "-m", "voxelome.cli", str(cohort.bids), str(cohort.out), "participant"]
    command += ["--skip-bids-validation", "--derivatives", f"masks={cohort.bids / 'derivatives' / 'masks'}"]
    command += [
        "--profile",
        "slurm-apptainer",
        "--partition",
        "main",
        "--images-dir",
        str(images),
        *ONE_THREAD,
    ]
    environment = {**machine.environment(), "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [*command, "--", *OPTIONS], env=environment, capture_output=True, text=True, check=False
    )
    return cohort, done


def test_a_participant_through_slurm_and_images_has_the_results_of_a_local_run(queued, locally: Study):
    study, done = queued
    assert done.returncode == 1, done.stdout + done.stderr
    assert results_of_the_other(study) == results_of_the_other(locally)
    assert (study.out / "sub-01.html").is_file()


def test_the_job_that_failed_is_named_alone(queued):
    check_that_the_failure_is_named_alone(queued[0])


def test_what_the_other_steps_of_that_participant_have_made_is_kept(queued):
    study, _ = queued
    kept = {path.stem for path in (study.work / "steps" / BROKEN).glob("*.json")}
    assert {"preprocess", "register"} <= kept


def test_the_jobs_of_a_participant_went_to_the_queue_as_one(queued):
    study, _ = queued
    log = next((study.out / "logs").glob("*/snakemake.log")).read_text()
    submitted = [line for line in log.splitlines() if "has been submitted with SLURM jobid" in line]
    assert len(submitted) == 2


def test_every_step_ran_in_its_image(queued):
    study, _ = queued
    for path in (study.work / "logs").glob("sub-*/*.log"):
        # That of a step that waited for one that failed is empty.
        text = path.read_text()
        assert "/opt/voxelome/bin/python" in text or path.name == "report.log" or not text, path
